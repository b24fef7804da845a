//! Git's smart HTTP over our own client: one deadline, one byte budget, credentials for one origin.
//!
//! gix brings an HTTP client of its own; it has no cap on what a server may send, its timeouts start anew with each
//! read, and it refuses redirects as soon as a request is configured. Hence this one.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use gix::protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use reqwest::Url;
use reqwest::blocking::Response;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use zeroize::Zeroizing;

use super::{Credentials, GitError, Request};
use crate::pure::limits;

/// Longest wait for a TCP and TLS connection: a name that resolves to nothing that listens must not use up the whole
/// time of a fetch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Redirects followed for one request.
const REDIRECTS: usize = 5;

/// The first failure that the transport saw, which is more precise than what Git makes of it.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<GitError>>>);

impl Failure {
    pub(super) fn take(&self) -> Option<GitError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: GitError) -> std::io::Error {
        // 401 is told apart by its kind; everything else only has to fail.
        let kind = match error {
            GitError::Denied(_) => std::io::ErrorKind::PermissionDenied,
            _ => std::io::ErrorKind::Other,
        };
        let text = error.to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        std::io::Error::new(kind, text)
    }
}

/// What one fetch may still use.
struct Budget {
    deadline: Instant,
    timeout: Duration,
    bytes: AtomicU64,
    interrupt: Arc<AtomicBool>,
}

impl Budget {
    fn left(&self) -> Result<Duration, GitError> {
        if self.interrupt.load(Ordering::SeqCst) {
            return Err(GitError::Interrupted);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(GitError::Timeout(self.timeout)) } else { Ok(left) }
    }

    fn spend(&self, bytes: usize) -> Result<(), GitError> {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        if before.saturating_add(bytes as u64) > limits::GIT_BYTES {
            return Err(GitError::TooLarge(limits::GIT_BYTES));
        }
        self.left().map(drop)
    }
}

/// What is shared by all requests of one fetch.
struct Inner {
    client: reqwest::blocking::Client,
    /// Sent to `origin` only.
    authorization: Option<HeaderValue>,
    origin: Url,
    budget: Budget,
    failure: Failure,
}

/// The HTTP client of one fetch.
pub(super) struct Client {
    inner: Arc<Inner>,
    redirected: Option<String>,
}

impl Client {
    pub(super) fn new(
        request: &Request,
        origin: Url,
        deadline: Instant,
        interrupt: Arc<AtomicBool>,
    ) -> Result<Self, GitError> {
        let mut builder = reqwest::blocking::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Each request gets what is left of the fetch's own time instead.
            .timeout(None)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &request.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca)
                .map_err(|_| GitError::BadCertificates("ca.crt is not PEM".into()))?;
            if certificates.is_empty() {
                return Err(GitError::BadCertificates("ca.crt holds no certificate".into()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(pem) = &request.client_certificate {
            let identity = reqwest::Identity::from_pem(pem)
                .map_err(|_| GitError::BadCertificates("tls.crt or tls.key is not PEM".into()))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|e| GitError::BadCertificates(crate::pure::error::chain(&e)))?;
        let budget = Budget { deadline, timeout: request.timeout, bytes: AtomicU64::new(0), interrupt };
        let authorization = request.credentials.as_ref().map(authorization).transpose()?;
        let inner = Arc::new(Inner { client, authorization, origin, budget, failure: Failure::default() });
        Ok(Self { inner, redirected: None })
    }

    pub(super) fn failure(&self) -> Failure {
        self.inner.failure.clone()
    }
}

fn authorization(credentials: &Credentials) -> Result<HeaderValue, GitError> {
    let text = match credentials {
        Credentials::Basic { username, password } => {
            if username.contains(':') {
                return Err(GitError::BadCredentials("a user name holds no colon"));
            }
            let mut pair = Zeroizing::new(Vec::with_capacity(username.len() + 1 + password.len()));
            pair.extend_from_slice(username.as_bytes());
            pair.push(b':');
            pair.extend_from_slice(password.expose());
            let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*pair));
            Zeroizing::new(format!("Basic {}", *encoded))
        }
        Credentials::Bearer(token) => {
            let token = token.expose_str().ok_or(GitError::BadCredentials("the token is not text"))?;
            Zeroizing::new(format!("Bearer {}", token.trim()))
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| GitError::BadCredentials("they hold characters that HTTP does not take"))?;
    // Hides it from Debug and from HTTP/2's header compression.
    value.set_sensitive(true);
    Ok(value)
}

impl Inner {
    fn headers(lines: &[String]) -> HeaderMap {
        lines
            .iter()
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
            })
            .collect()
    }

    fn same_origin(&self, url: &Url) -> bool {
        url.scheme() == self.origin.scheme()
            && url.host_str() == self.origin.host_str()
            && url.port_or_known_default() == self.origin.port_or_known_default()
    }

    /// Sends one request and follows redirects that keep `tail`. Returns the answer and the URL that gave it.
    fn send(&self, url: &str, tail: &str, lines: &[String], body: Option<&[u8]>) -> Result<(Response, Url), GitError> {
        let mut url = Url::parse(url).map_err(|_| GitError::BadUrl("it does not parse"))?;
        for _ in 0..=REDIRECTS {
            let left = self.budget.left()?;
            let mut request = match body {
                Some(body) => self.client.post(url.clone()).body(body.to_vec()),
                None => self.client.get(url.clone()),
            };
            request = request.headers(Self::headers(lines)).timeout(left);
            if let Some(value) = self.authorization.as_ref().filter(|_| self.same_origin(&url)) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = request.send().map_err(|e| self.unreachable(e))?;
            let status = response.status();
            if status.is_redirection() {
                url = next(&url, response.headers(), tail)?;
                continue;
            }
            return match status.as_u16() {
                200..=299 => Ok((response, url)),
                code @ (401 | 403) => Err(GitError::Denied(code)),
                404 | 410 => Err(GitError::NoRepository),
                code => Err(GitError::Status(code)),
            };
        }
        Err(GitError::Redirect("too many addresses".into()))
    }

    fn unreachable(&self, error: reqwest::Error) -> GitError {
        if self.budget.interrupt.load(Ordering::SeqCst) {
            GitError::Interrupted
        } else if error.is_timeout() && !error.is_connect() {
            GitError::Timeout(self.budget.timeout)
        } else {
            let text = crate::pure::error::chain(&error.without_url());
            GitError::Unreachable(crate::pure::error::clip(&crate::pure::error::one_line(&text), 300))
        }
    }
}

/// The address that an answer redirects to, if it may be followed: never from https to http, and only when the rest of
/// the request's path stays, so that a login page is not taken for a repository.
fn next(from: &Url, headers: &HeaderMap, tail: &str) -> Result<Url, GitError> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = || {
        let mut shown = from.join(location).unwrap_or_else(|_| from.clone());
        shown.set_query(None);
        let _ = (shown.set_username(""), shown.set_password(None));
        GitError::Redirect(crate::pure::error::clip(shown.as_str(), 200))
    };
    let to = from.join(location).map_err(|_| refused())?;
    let safe = matches!((from.scheme(), to.scheme()), (_, "https") | ("http", "http"));
    let plain = to.username().is_empty() && to.password().is_none();
    if safe && plain && to.as_str().ends_with(tail) && !location.is_empty() { Ok(to) } else { Err(refused()) }
}

impl Http for Client {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, Body>> {
        let lines: Vec<_> = headers.into_iter().map(|line| line.as_ref().to_owned()).collect();
        let tail = url.strip_prefix(base_url).unwrap_or(url);
        let (response, answered) = self
            .inner
            .send(url, tail, &lines, None)
            .map_err(|error| gix::Error::from_error(self.inner.failure.keep(error)))?;
        if answered.as_str() != url {
            self.redirected = answered.as_str().strip_suffix(tail).map(str::to_owned);
        }
        let exchange = Exchange::answered(self.inner.clone(), response);
        let shared = Arc::new(Mutex::new(exchange));
        Ok(GetResponse { headers: Headers::new(shared.clone()), body: Body::new(shared) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, Body, PostBody>> {
        let lines = headers.into_iter().map(|line| line.as_ref().to_owned()).collect();
        let tail = url.strip_prefix(base_url).unwrap_or(url).to_owned();
        let shared = Arc::new(Mutex::new(Exchange {
            inner: self.inner.clone(),
            waiting: Some(Waiting { url: url.to_owned(), tail, lines, body: vec![] }),
            headers: None,
            body: None,
        }));
        Ok(PostResponse {
            post_body: PostBody(shared.clone()),
            headers: Headers::new(shared.clone()),
            body: Body::new(shared),
        })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        // Git configuration has no say here.
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

struct Waiting {
    url: String,
    tail: String,
    lines: Vec<String>,
    body: Vec<u8>,
}

/// A request that is sent when somebody begins to read its answer, and the answer's two halves.
pub(super) struct Exchange {
    inner: Arc<Inner>,
    waiting: Option<Waiting>,
    headers: Option<Cursor<Vec<u8>>>,
    body: Option<BufReader<Counted>>,
}

impl Exchange {
    fn answered(inner: Arc<Inner>, response: Response) -> Self {
        let mut exchange = Self { inner, waiting: None, headers: None, body: None };
        exchange.take(response);
        exchange
    }

    fn take(&mut self, response: Response) {
        let mut text = vec![];
        for (name, value) in response.headers() {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        self.headers = Some(Cursor::new(text));
        self.body = Some(BufReader::with_capacity(64 * 1024, Counted { inner: self.inner.clone(), response }));
    }

    fn ensure_sent(&mut self) -> std::io::Result<()> {
        if let Some(waiting) = self.waiting.take() {
            let sent = self.inner.send(&waiting.url, &waiting.tail, &waiting.lines, Some(&waiting.body));
            let (response, _) = sent.map_err(|error| self.inner.failure.keep(error))?;
            self.take(response);
        }
        Ok(())
    }
}

type Shared = Arc<Mutex<Exchange>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Exchange> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Body of a request. Git's are small: what is wanted and what is had.
pub(super) struct PostBody(Shared);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(waiting) = lock(&self.0).waiting.as_mut() {
            waiting.body.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Headers of an answer, line by line.
pub(super) struct Headers {
    shared: Shared,
    text: Option<Cursor<Vec<u8>>>,
}

impl Headers {
    fn new(shared: Shared) -> Self {
        Self { shared, text: None }
    }

    fn text(&mut self) -> std::io::Result<&mut Cursor<Vec<u8>>> {
        if self.text.is_none() {
            let mut exchange = lock(&self.shared);
            exchange.ensure_sent()?;
            self.text = exchange.headers.take();
        }
        Ok(self.text.get_or_insert_default())
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.text()?.read(buffer)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.text()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(text) = &mut self.text {
            text.consume(amount);
        }
    }
}

/// Body of an answer.
pub(super) struct Body {
    shared: Shared,
    reader: Option<BufReader<Counted>>,
}

impl Body {
    fn new(shared: Shared) -> Self {
        Self { shared, reader: None }
    }

    fn reader(&mut self) -> std::io::Result<&mut BufReader<Counted>> {
        if self.reader.is_none() {
            let mut exchange = lock(&self.shared);
            exchange.ensure_sent()?;
            self.reader = exchange.body.take();
        }
        self.reader.as_mut().ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader()?.read(buffer)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.reader()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(reader) = &mut self.reader {
            reader.consume(amount);
        }
    }
}

/// Counts what arrives against the budget.
struct Counted {
    inner: Arc<Inner>,
    response: Response,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let keep = |error| self.inner.failure.keep(error);
        self.inner.budget.left().map_err(keep)?;
        let count = self.response.read(buffer).map_err(|error| {
            let late = self.inner.budget.left().err();
            let lost = || GitError::Unreachable("the connection broke".into());
            match late {
                Some(late) => self.inner.failure.keep(late),
                None if error.kind() == std::io::ErrorKind::TimedOut => {
                    self.inner.failure.keep(GitError::Timeout(self.inner.budget.timeout))
                }
                None => self.inner.failure.keep(lost()),
            }
        })?;
        self.inner.budget.spend(count).map_err(|error| self.inner.failure.keep(error))?;
        Ok(count)
    }
}
