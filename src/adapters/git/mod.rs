//! Git in process: a shallow fetch of one commit into a private, bare, temporary repository, whose blobs are read
//! straight from its objects. There is never a work tree, a hook, a filter, a submodule or a user's Git configuration.
//!
//! http and https go through `http`, where time, bytes, redirects and credentials are bounded; `file` needs the `git`
//! program, which then serves the repository.

mod http;
mod tree;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice as _;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http::Transport as HttpTransport;
use gix::remote::fetch::{Shallow, Tags};
use zeroize::Zeroizing;

use crate::pure::error::{Explain, Retry, chain, one_line};
use crate::pure::gitops::tree::TreeFile;
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// Longest time for one fetch when nothing else is asked for, as in Flux.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after its deadline a fetch may still take to notice it.
const GRACE: Duration = Duration::from_secs(2);

/// How often the size of a repository that `git` serves is looked at.
const SIZE_CHECK: Duration = Duration::from_millis(50);

/// What to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The repository's HEAD.
    Head,
    /// A branch.
    Branch(String),
    /// A tag, annotated or not.
    Tag(String),
    /// A full reference name.
    Name(String),
    /// A commit, 40 hexadecimal digits.
    Commit(String),
}

impl Reference {
    fn spec(&self) -> String {
        match self {
            Self::Head => "+HEAD".into(),
            Self::Branch(name) => format!("+refs/heads/{name}"),
            Self::Tag(name) => format!("+refs/tags/{name}"),
            Self::Name(name) => format!("+{name}"),
            Self::Commit(id) => id.clone(),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Name(name) => f.write_str(name),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// How to identify to the server.
pub enum Credentials {
    /// HTTP Basic.
    Basic {
        /// User name.
        username: String,
        /// Password or token.
        password: Plaintext,
    },
    /// `Authorization: Bearer`.
    Bearer(Plaintext),
}

/// One fetch.
pub struct Request {
    /// `http://`, `https://` or `file://`.
    pub url: String,
    /// What to take.
    pub reference: Reference,
    /// Directory inside the repository; empty for all of it.
    pub path: String,
    /// Identification, sent to this URL's own host and port only.
    pub credentials: Option<Credentials>,
    /// Further certificate authorities, PEM.
    pub ca: Option<Vec<u8>>,
    /// Client certificate and key, PEM.
    pub client_certificate: Option<Zeroizing<Vec<u8>>>,
    /// Longest time for all of it.
    pub timeout: Duration,
    /// Commit whose tree the caller still has; it is not fetched again.
    pub known_commit: Option<String>,
}

/// What came of a fetch.
pub struct Fetched {
    /// `<branch, tag or reference>@sha1:<commit>`, as Flux writes it.
    pub revision: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The manifests below the path, in order; `None` when the commit is the known one.
    pub files: Option<Vec<TreeFile>>,
}

/// A failed fetch. No text holds a credential: URLs with user information are refused before they are used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum GitError {
    #[error("the repository's URL is not usable: {0}")]
    BadUrl(&'static str),
    #[error("file:// needs the program git, and there is none here")]
    NoGitProgram,
    #[error("the certificates for the Git server are not usable: {0}")]
    BadCertificates(String),
    #[error("the credentials for the Git server cannot be sent: {0}")]
    BadCredentials(&'static str),
    #[error("the Git server did not finish within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the Git server does not answer: {0}")]
    Unreachable(String),
    #[error("the Git server wants other credentials (HTTP {0})")]
    Denied(u16),
    #[error("the Git server knows no such repository (HTTP 404)")]
    NoRepository,
    #[error("the Git server answered HTTP {0}")]
    Status(u16),
    #[error("the Git server redirects to {0}, which is not followed")]
    Redirect(String),
    #[error("the repository has no {0}")]
    NoReference(String),
    #[error("the repository is larger than {} MiB", .0 / 1024 / 1024)]
    TooLarge(u64),
    #[error("the Git server's answer is not understood: {0}")]
    Protocol(String),
    #[error("the fetch was interrupted")]
    Interrupted,
    #[error("no space for the repository: {0}")]
    Disk(String),
}

impl Explain for GitError {
    fn reason(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "InvalidURL",
            Self::NoGitProgram => "NoGitProgram",
            Self::BadCertificates(_) => "InvalidCertificates",
            Self::BadCredentials(_) => "InvalidCredentials",
            Self::Timeout(_) => "GitTimeout",
            Self::Unreachable(_) => "GitUnreachable",
            Self::Denied(_) => "AuthenticationFailed",
            Self::NoRepository => "RepositoryNotFound",
            Self::Status(_) => "GitServerError",
            Self::Redirect(_) => "GitRedirected",
            Self::NoReference(_) => "ReferenceNotFound",
            Self::TooLarge(_) => "RepositoryTooLarge",
            Self::Protocol(_) => "GitProtocolError",
            Self::Interrupted => "Interrupted",
            Self::Disk(_) => "StorageOperationFailed",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::BadUrl(_) | Self::NoGitProgram | Self::BadCertificates(_) | Self::BadCredentials(_) => {
                Retry::OnChange
            }
            _ => Retry::Backoff,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::BadUrl(_) | Self::NoRepository => "correct spec.git.url".into(),
            Self::NoGitProgram => "use http:// or https://".into(),
            Self::BadCertificates(_) => {
                "correct ca.crt, tls.crt and tls.key of the Secret in spec.git.secretRef".into()
            }
            Self::BadCredentials(_) | Self::Denied(_) => {
                "correct username and password, or bearerToken, of the Secret in spec.git.secretRef".into()
            }
            Self::Timeout(_) => "check that the server answers, or raise spec.git.timeout".into(),
            Self::Redirect(_) => "put the new address into spec.git.url".into(),
            Self::NoReference(_) => "correct spec.git.ref".into(),
            Self::TooLarge(_) => "split the repository".into(),
            Self::Unreachable(_) | Self::Status(_) | Self::Protocol(_) | Self::Interrupted | Self::Disk(_) => {
                String::new()
            }
        }
    }
}

/// Fetches in a thread of its own and returns within the timeout and a short grace, whatever the server does.
pub async fn fetch(request: Request) -> Result<Fetched, GitError> {
    let (timeout, interrupt) = (request.timeout, Arc::new(AtomicBool::new(false)));
    // Also when this future is dropped: the thread must not go on for nobody.
    let _stop = StopOnDrop(interrupt.clone());
    let work = tokio::task::spawn_blocking(move || fetch_blocking(&request, &interrupt));
    match tokio::time::timeout(timeout + GRACE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(GitError::Protocol("it made the Git client fail".into())),
        Err(_) => Err(GitError::Timeout(timeout)),
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn fetch_blocking(request: &Request, interrupt: &Arc<AtomicBool>) -> Result<Fetched, GitError> {
    let url = reqwest::Url::parse(&request.url).map_err(|_| GitError::BadUrl("it does not parse"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(GitError::BadUrl("it holds a user name or password"));
    }
    let deadline = Instant::now() + request.timeout;
    let directory = tempfile::Builder::new().prefix("latchwork-git-").tempdir().map_err(disk)?;
    let repository = init(directory.path())?;
    match url.scheme() {
        "http" | "https" => {
            let client = http::Client::new(request, url, deadline, interrupt.clone())?;
            let failure = client.failure();
            let address = gix::url::parse(request.url.as_bytes().as_bstr())
                .map_err(|_| GitError::BadUrl("Git cannot read it"))?;
            let transport = HttpTransport::new_http(client, address, Protocol::V2, false);
            // What the transport saw is more precise than what Git made of it.
            take(request, &repository, Via::Http(Box::new(transport)), interrupt)
                .map_err(|error| failure.take().unwrap_or(error))
        }
        "file" => {
            if !has_git_program() {
                return Err(GitError::NoGitProgram);
            }
            let watch = watch_size(directory.path(), deadline, interrupt.clone());
            let result = take(request, &repository, Via::GitProgram, interrupt);
            let cut = watch.end();
            result.map_err(|error| match cut {
                Some(Cut::Size) => GitError::TooLarge(limits::GIT_BYTES),
                Some(Cut::Time) => GitError::Timeout(request.timeout),
                None => error,
            })
        }
        _ => Err(GitError::BadUrl("its scheme is none of https, http and file")),
    }
}

enum Via {
    Http(Box<HttpTransport<http::Client>>),
    GitProgram,
}

fn init(directory: &Path) -> Result<gix::Repository, GitError> {
    let options = gix::open::Options::isolated().config_overrides([
        // No single object may take more memory than a whole fetch may take bytes.
        format!("gitoxide.objects.allocLimit={}", limits::GIT_BYTES),
        "protocol.version=2".into(),
        "protocol.allow=always".into(),
    ]);
    let create = gix::create::Options { destination_must_be_empty: Some(true), ..Default::default() };
    gix::ThreadSafeRepository::init_opts(directory, gix::create::Kind::Bare, create, options)
        .map(|repository| repository.to_thread_local())
        .map_err(|error| GitError::Disk(one_line(&chain(&error))))
}

fn take(
    request: &Request,
    repository: &gix::Repository,
    via: Via,
    interrupt: &AtomicBool,
) -> Result<Fetched, GitError> {
    let spec = request.reference.spec();
    let remote = repository
        .remote_at(request.url.as_str())
        .map_err(|_| GitError::BadUrl("Git cannot read it"))?
        .with_refspecs([spec.as_str()], gix::remote::Direction::Fetch)
        .map_err(|_| GitError::NoReference(request.reference.to_string()))?
        .with_fetch_tags(Tags::None);
    match via {
        Via::Http(transport) => {
            receive(request, repository, remote.to_connection_with_transport(*transport), interrupt)
        }
        Via::GitProgram => {
            let connection = remote.connect(gix::remote::Direction::Fetch).map_err(|e| protocol(&e))?;
            receive(request, repository, connection, interrupt)
        }
    }
}

fn receive<T: Transport>(
    request: &Request,
    repository: &gix::Repository,
    connection: gix::remote::Connection<'_, '_, '_, T>,
    interrupt: &AtomicBool,
) -> Result<Fetched, GitError> {
    // Never a credential helper: it would be a program, and somebody else's credentials.
    let connection = connection.with_credentials(|_| Ok(None));
    let prepared = connection
        .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
        .map_err(|e| protocol(&e))?;
    let missing = || GitError::NoReference(request.reference.to_string());
    let source = &prepared.ref_map().mappings.first().ok_or_else(missing)?.remote;
    let wanted = source.peeled_id().ok_or_else(missing)?.to_owned();
    let name = source.as_target().or_else(|| source.as_name()).map(|name| name.to_str_lossy().into_owned());
    let revision = revision(&request.reference, name.as_deref(), &wanted.to_string());
    if request.known_commit.as_deref() == Some(wanted.to_string().as_str()) {
        return Ok(Fetched { revision, commit: wanted.to_string(), files: None });
    }
    let depth = NonZeroU32::MIN;
    prepared
        .with_shallow(Shallow::DepthAtRemote(depth))
        .receive(gix::progress::Discard, interrupt)
        .map_err(|e| if interrupt.load(Ordering::SeqCst) { GitError::Interrupted } else { protocol(&e) })?;
    let object = repository.find_object(wanted).map_err(|e| protocol(&e))?;
    let commit = object.peel_to_commit().map_err(|_| missing())?;
    let files = tree::read(repository, &commit, &request.path, interrupt)?;
    Ok(Fetched { revision, commit: commit.id().to_string(), files: Some(files) })
}

/// Flux's text for a revision. HEAD is named by the branch that it stands for.
fn revision(reference: &Reference, name: Option<&str>, commit: &str) -> String {
    let short =
        |name: &str| ["refs/heads/", "refs/tags/"].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name).to_owned();
    match reference {
        Reference::Commit(_) => format!("sha1:{commit}"),
        Reference::Branch(name) | Reference::Tag(name) => format!("{name}@sha1:{commit}"),
        Reference::Name(name) => format!("{name}@sha1:{commit}"),
        Reference::Head => format!("{}@sha1:{commit}", name.map_or_else(|| "HEAD".into(), short)),
    }
}

fn protocol(error: &gix::Error) -> GitError {
    GitError::Protocol(crate::pure::error::clip(&one_line(&chain(error)), 300))
}

fn disk(error: std::io::Error) -> GitError {
    GitError::Disk(error.kind().to_string())
}

fn has_git_program() -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join("git").is_file()))
}

/// Why [`watch_size`] interrupted a fetch.
#[derive(Clone, Copy)]
enum Cut {
    Size,
    Time,
}

struct SizeWatch {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Option<Cut>>,
}

impl SizeWatch {
    fn end(self) -> Option<Cut> {
        drop(self.done);
        self.thread.join().ok().flatten()
    }
}

/// Interrupts when the directory grows over the limit or the deadline passes. Only for `file`, where bytes do not pass
/// through [`http`].
fn watch_size(directory: &Path, deadline: Instant, interrupt: Arc<AtomicBool>) -> SizeWatch {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let directory = directory.to_owned();
    let thread = std::thread::spawn(move || {
        loop {
            if let Err(std::sync::mpsc::RecvTimeoutError::Disconnected) = ended.recv_timeout(SIZE_CHECK) {
                return None;
            }
            let cut = if Instant::now() >= deadline {
                Some(Cut::Time)
            } else {
                (size_of(&directory) > limits::GIT_BYTES).then_some(Cut::Size)
            };
            if cut.is_some() {
                interrupt.store(true, Ordering::SeqCst);
                return cut;
            }
        }
    });
    SizeWatch { done, thread }
}

fn size_of(directory: &Path) -> u64 {
    ignore::WalkBuilder::new(directory)
        .standard_filters(false)
        .build()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

#[cfg(test)]
mod tests;
