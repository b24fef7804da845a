//! What one process remembers of a source: ciphertext and digests, so that a damaged Secret is mended without a fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::adapters::git::{Fetched, GitError};
use crate::pure::crd::encrypted_source::{EncryptedSourceStatus, FileStatus};
use crate::pure::error::{Explain as _, Retry};
use crate::pure::gitops::decide::Applied;
use crate::pure::gitops::tree::TreeFile;

/// First wait after a failed fetch; it doubles up to the source's interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// A failed fetch, and when to try again.
pub(super) struct FetchFailure {
    pub(super) error: GitError,
    pub(super) retry: Instant,
    pub(super) wait: Duration,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Memory {
    /// A fetch is under way.
    pub(super) fetching: bool,
    /// It ended, and nobody has looked yet.
    pub(super) arrived: Option<Result<Fetched, GitError>>,
    pub(super) revision: String,
    pub(super) commit: Option<String>,
    pub(super) fetched: Option<Instant>,
    pub(super) generation: Option<i64>,
    /// Generation for which the fetch under way was started.
    pub(super) fetching_for: Option<i64>,
    /// Files of the commit that hold Secrets or failed. `None` when there is no commit, or too much of it.
    pub(super) files: Option<Vec<TreeFile>>,
    /// Documents of the commit that are nobody's here.
    pub(super) ignored: Vec<FileStatus>,
    pub(super) failure: Option<FetchFailure>,
    failures: u32,
    /// Secrets as written last, by name.
    pub(super) applied: BTreeMap<String, Applied>,
    /// Names of all Secrets that the commit holds.
    pub(super) wanted: BTreeSet<String>,
    /// Status as written last, and the version of the object that it was written over.
    pub(super) written: Option<(String, EncryptedSourceStatus)>,
}

impl Memory {
    /// Takes in what a fetch brought. Returns whether the files are new and must all be looked at.
    pub(super) fn take_in(&mut self, interval: Duration, retry: Option<Duration>) -> bool {
        let Some(arrived) = self.arrived.take() else { return false };
        match arrived {
            Ok(fetched) => {
                self.failure = None;
                self.failures = 0;
                self.revision = fetched.revision;
                self.commit = Some(fetched.commit);
                self.fetched = Some(Instant::now());
                self.generation = self.fetching_for;
                let new = fetched.files.is_some();
                if new {
                    self.files = fetched.files;
                    self.ignored.clear();
                }
                new
            }
            Err(error) => {
                let wait = match error.retry() {
                    Retry::OnChange => interval,
                    _ => retry.unwrap_or_else(|| {
                        FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(interval.max(FIRST_RETRY))
                    }),
                };
                self.failures = self.failures.saturating_add(1);
                self.failure = Some(FetchFailure { error, retry: Instant::now() + wait, wait });
                false
            }
        }
    }

    /// Whether a failed fetch is still waiting for its time.
    pub(super) fn is_waiting(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.retry > Instant::now())
    }
}
