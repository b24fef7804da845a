//! What one process remembers of a source: ciphertext and digests, so that a damaged Secret is mended without a fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::access::SourceKeys;
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

/// What a fetch was started for. The object may ask for something else by the time it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) generation: Option<i64>,
    pub(super) requested_at: Option<String>,
}

/// A fetch under way, and where its result comes out.
pub(super) struct Fetch {
    pub(super) wish: Wish,
    pub(super) result: oneshot::Receiver<Result<Fetched, GitError>>,
}

/// Whose memory it is: another object of the same name has other files, and in another term of leadership another
/// replica may have applied a newer commit meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: Option<String>,
    pub(super) term: u64,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Memory {
    owner: Owner,
    /// The fetch under way.
    pub(super) fetch: Option<Fetch>,
    /// What the last fetch that ended, well or not, was for.
    pub(super) attempted: Option<Wish>,
    pub(super) revision: String,
    pub(super) commit: Option<String>,
    pub(super) fetched: Option<Instant>,
    pub(super) generation: Option<i64>,
    /// Files of the commit that hold Secrets or failed. `None` when there is no commit, or too much of it.
    pub(super) files: Option<Vec<TreeFile>>,
    /// Documents of the commit that are nobody's here.
    pub(super) ignored: Vec<FileStatus>,
    pub(super) failure: Option<FetchFailure>,
    failures: u32,
    /// What opens the files.
    pub(super) keys: Option<SourceKeys>,
    /// Secrets as written last, by name.
    pub(super) applied: BTreeMap<String, Applied>,
    /// Names of all Secrets that the commit holds.
    pub(super) wanted: BTreeSet<String>,
    /// Status as written last, and the version of the object that it was written over.
    pub(super) written: Option<(String, EncryptedSourceStatus)>,
}

impl Memory {
    /// Forgets everything when it is another owner's. A fetch under way is given up with it.
    pub(super) fn belong_to(&mut self, owner: Owner) {
        if self.owner != owner {
            *self = Self { owner, ..Self::default() };
        }
    }

    /// Takes in what a fetch brought. Returns whether the files are new and must all be looked at.
    pub(super) fn take_in(&mut self, interval: Duration, retry: Option<Duration>) -> bool {
        let Some(mut fetch) = self.fetch.take() else { return false };
        let arrived = match fetch.result.try_recv() {
            Ok(arrived) => arrived,
            Err(oneshot::error::TryRecvError::Empty) => {
                self.fetch = Some(fetch);
                return false;
            }
            // It ended abnormally, and is as if it had not begun.
            Err(oneshot::error::TryRecvError::Closed) => return false,
        };
        let generation = fetch.wish.generation;
        self.attempted = Some(fetch.wish);
        match arrived {
            Ok(fetched) => {
                self.failure = None;
                self.failures = 0;
                self.revision = fetched.revision;
                self.commit = Some(fetched.commit);
                self.fetched = Some(Instant::now());
                self.generation = generation;
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

    /// Whether a failed fetch for `wish` is still waiting for its time. Another wish need not wait for it.
    pub(super) fn is_waiting(&self, wish: &Wish) -> bool {
        self.attempted.as_ref() == Some(wish)
            && self.failure.as_ref().is_some_and(|failure| failure.retry > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(generation: i64, requested_at: Option<&str>) -> Wish {
        Wish { generation: Some(generation), requested_at: requested_at.map(str::to_owned) }
    }

    fn owner(uid: &str, term: u64) -> Owner {
        Owner { uid: Some(uid.into()), term }
    }

    /// A memory of the commit that was fetched for `wish`.
    fn fetched(wish: Wish) -> Memory {
        let (sender, result) = oneshot::channel();
        let mut memory = Memory::default();
        memory.belong_to(owner("u", 1));
        memory.fetch = Some(Fetch { wish, result });
        assert!(!memory.take_in(Duration::from_secs(60), None) && memory.fetch.is_some(), "not there yet");
        let arrived = Fetched { revision: "main@sha1:1".into(), commit: "1".into(), files: Some(vec![]) };
        assert!(sender.send(Ok(arrived)).is_ok());
        assert!(memory.take_in(Duration::from_secs(60), None));
        memory
    }

    #[test]
    fn files_are_those_of_the_wish_that_they_were_fetched_for() {
        let memory = fetched(wish(1, Some("first")));
        assert_eq!(memory.generation, Some(1), "not that of the object by now");
        assert_eq!(memory.attempted, Some(wish(1, Some("first"))));
        assert!(memory.fetch.is_none());
    }

    #[test]
    fn another_object_or_another_term_starts_with_nothing() {
        for (case, next, kept) in [
            ("the same", owner("u", 1), true),
            ("made again under its name", owner("v", 1), false),
            ("leadership was lost and gained", owner("u", 2), false),
        ] {
            let mut memory = fetched(wish(1, None));
            memory.belong_to(next);
            assert_eq!(memory.files.is_some(), kept, "{case}");
            assert_eq!(memory.attempted.is_some(), kept, "{case}");
        }
        let (sender, result) = oneshot::channel::<Result<Fetched, GitError>>();
        let mut memory = Memory { fetch: Some(Fetch { wish: wish(1, None), result }), ..Memory::default() };
        memory.belong_to(owner("u", 2));
        assert!(memory.fetch.is_none() && sender.is_closed(), "a fetch for the old owner brings nothing");
    }

    #[test]
    fn only_the_wish_that_failed_waits() {
        let (sender, result) = oneshot::channel();
        let mut memory = Memory { fetch: Some(Fetch { wish: wish(1, None), result }), ..Memory::default() };
        assert!(sender.send(Err(GitError::Timeout(Duration::from_secs(1)))).is_ok());
        assert!(!memory.take_in(Duration::from_secs(60), None));
        assert!(memory.is_waiting(&wish(1, None)));
        assert!(!memory.is_waiting(&wish(2, None)), "a changed spec");
        assert!(!memory.is_waiting(&wish(1, Some("now"))), "a request");
        let (sender, result) = oneshot::channel();
        memory.fetch = Some(Fetch { wish: wish(1, None), result });
        drop(sender);
        assert!(!memory.take_in(Duration::from_secs(60), None) && memory.fetch.is_none(), "ended abnormally");
    }
}
