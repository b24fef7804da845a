//! One exchange over HTTP: bounded in time, in tries and in size. Any adapter may stand on it; what a fault or a refusal
//! is called there is the adapter's own affair.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, ClientBuilder, Request, redirect};
use zeroize::Zeroizing;

use crate::pure::secret::Plaintext;

/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// [`Fault::Unavailable`] when nobody is there.
pub const NO_CONNECTION: &str = "no connection";
/// First capacity for a body whose length is not told.
const FIRST_BYTES: usize = 8 * 1024;

/// A client that follows no redirect: a credential must not wander.
pub fn client() -> ClientBuilder {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(redirect::Policy::none())
}

/// How far one call may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest wait, all tries included.
    pub limit: Duration,
    /// Tries, the first included.
    pub tries: u32,
    /// Wait before the second try; doubled before each further one, up to `longest_wait`.
    pub wait: Duration,
    /// Longest wait between two tries. An answer that asks for a longer one is the last.
    pub longest_wait: Duration,
    /// Largest body in bytes.
    pub body: usize,
}

impl Bounds {
    /// Longest wait between two tries unless somebody wants another.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

    /// Three tries, which is enough to get past a server that restarts.
    pub fn new(limit: Duration, body: usize) -> Self {
        Self { limit, tries: 3, wait: Duration::from_millis(200), longest_wait: Self::LONGEST_WAIT, body }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None within [`Bounds::limit`].
    Timeout,
    /// Sending or reading failed; in which way.
    Unavailable(&'static str),
    /// There was one with more than [`Bounds::body`] bytes.
    TooLarge,
}

impl Fault {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() || error.is_request() {
            Self::Unavailable(NO_CONNECTION)
        } else {
            Self::Unavailable("the answer broke off")
        }
    }
}

/// A complete answer, whatever its status.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Plaintext,
}

/// What a status that is no success means. `code` is the status and the service's own word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Refusal {
    Denied {
        code: String,
    },
    NotFound {
        code: String,
    },
    /// `after`: what the answer asks to wait.
    Throttled {
        code: String,
        after: Option<Duration>,
    },
    Unavailable {
        code: String,
    },
    /// To another origin, or `another place`.
    Redirected {
        to: String,
    },
    Other {
        code: String,
    },
}

impl Answer {
    /// What the answer means if it is no success; `word` is the service's own word for it, passed on if it is one.
    pub fn refusal(&self, word: Option<&str>) -> Refusal {
        let status = self.status.as_u16();
        let code = match word.filter(|word| is_code(word)) {
            Some(word) => format!("{status} {word}"),
            None => status.to_string(),
        };
        match status {
            401 | 403 => Refusal::Denied { code },
            404 | 410 => Refusal::NotFound { code },
            429 => Refusal::Throttled { code, after: self.retry_after() },
            500..=599 => Refusal::Unavailable { code },
            300..=399 => {
                let to = self.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
                let url = to.and_then(|to| reqwest::Url::parse(to).ok());
                let origin = url.map(|url| url.origin().ascii_serialization());
                Refusal::Redirected { to: origin.unwrap_or_else(|| "another place".into()) }
            }
            _ => Refusal::Other { code },
        }
    }

    /// `Retry-After` in seconds, at most five minutes: the longest wait between two tries anyway.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
        Some(Duration::from_secs(seconds.clamp(1, 300)))
    }

    fn may_pass(&self) -> bool {
        // 501 is what a service says to a call that it does not know.
        self.status == StatusCode::TOO_MANY_REQUESTS
            || (self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED)
    }
}

/// Whether a text is a code. Codes are words; anything else could be a quotation.
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Sends a request, again after faults that may pass: what is asked for is the same after one try and after three.
///
/// # Errors
/// See [`Fault`].
pub async fn call(client: &Client, request: Request, bounds: Bounds) -> Result<Answer, Fault> {
    tokio::time::timeout(bounds.limit, tries(client, request, bounds)).await.unwrap_or(Err(Fault::Timeout))
}

async fn tries(client: &Client, request: Request, bounds: Bounds) -> Result<Answer, Fault> {
    let end = tokio::time::Instant::now() + bounds.limit;
    let mut wait = bounds.wait;
    let mut tried = 1;
    loop {
        // Bodies here are bytes, which can be sent again.
        let Some(mut this) = request.try_clone() else {
            return Err(Fault::Unavailable("the request cannot be repeated"));
        };
        if bounds.tries > 1 {
            // Time for a second try after one that hangs.
            *this.timeout_mut() = Some(bounds.limit * 2 / 3);
        }
        let result = once(client, this, bounds.body).await;
        let asked_to_wait = match &result {
            // A server with a fault says it by rote; one that throttles means it.
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => answer.retry_after().unwrap_or_default(),
            Ok(answer) if answer.may_pass() => Duration::ZERO,
            Err(Fault::Timeout | Fault::Unavailable(_)) => Duration::ZERO,
            Ok(_) | Err(Fault::TooLarge) => return result,
        };
        let pause = wait.max(asked_to_wait);
        // An answer tells more than that time ran out.
        let late = tokio::time::Instant::now() + pause >= end;
        if tried >= bounds.tries || asked_to_wait > bounds.longest_wait || late {
            return result;
        }
        tokio::time::sleep(pause).await;
        (wait, tried) = (wait.saturating_mul(2).min(bounds.longest_wait), tried + 1);
    }
}

async fn once(client: &Client, request: Request, largest: usize) -> Result<Answer, Fault> {
    let mut answer = client.execute(request).await.map_err(|error| Fault::of(&error))?;
    let length = answer.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if length.is_some_and(|length| length > largest) {
        return Err(Fault::TooLarge);
    }
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Zeroizing::new(Vec::with_capacity(length.unwrap_or(FIRST_BYTES)));
    while let Some(chunk) = answer.chunk().await.map_err(|error| Fault::of(&error))? {
        if body.len() + chunk.len() > largest {
            return Err(Fault::TooLarge);
        }
        append(&mut body, &chunk);
    }
    Ok(Answer { status, headers, body: Plaintext::new(std::mem::take(&mut *body)) })
}

/// Appends, and wipes what it moves out of: a vector that grows by itself leaves its old bytes in freed memory.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + chunk.len()).max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(header::HeaderName, &str)]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().expect("a value"));
        }
        Answer { status: StatusCode::from_u16(status).expect("a status"), headers: map, body: Plaintext::new(vec![]) }
    }

    #[test]
    fn refusals_pass_on_words_and_origins_only() {
        let code = |code: &str| code.to_owned();
        assert_eq!(answer(403, &[]).refusal(Some("Expired")), Refusal::Denied { code: code("403 Expired") });
        assert_eq!(answer(400, &[]).refusal(Some("your key is x")), Refusal::Other { code: code("400") });
        assert_eq!(answer(400, &[]).refusal(Some(&"x".repeat(65))), Refusal::Other { code: code("400") });
        let to = "https://other.test/path?token=x";
        let redirected = answer(307, &[(header::LOCATION, to)]).refusal(None);
        assert_eq!(redirected, Refusal::Redirected { to: "https://other.test".into() });
        let relative = answer(301, &[(header::LOCATION, "/x")]).refusal(None);
        assert_eq!(relative, Refusal::Redirected { to: "another place".into() });
        for (value, seconds) in [("7", Some(7)), ("0", Some(1)), ("100000", Some(300)), ("Fri, 31 Dec", None)] {
            let after = seconds.map(Duration::from_secs);
            let throttled = answer(429, &[(header::RETRY_AFTER, value)]).refusal(None);
            assert_eq!(throttled, Refusal::Throttled { code: code("429"), after }, "{value}");
        }
        assert!(answer(503, &[]).may_pass() && answer(429, &[]).may_pass());
        assert!(!answer(501, &[]).may_pass() && !answer(404, &[]).may_pass());
    }

    #[test]
    fn a_body_grows_without_losing_a_byte() {
        let mut body = Zeroizing::new(Vec::with_capacity(1));
        let mut whole = vec![];
        for byte in 0..200u8 {
            let chunk = vec![byte; usize::from(byte)];
            whole.extend_from_slice(&chunk);
            append(&mut body, &chunk);
        }
        assert_eq!(*body, whole);
    }
}
