//! One exchange with a key service over HTTP: bounded in time, in tries and in size, and never redirected.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request, redirect};

use super::error::{Asked, KmsError, NO_CONNECTION};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// Longest wait for one call, all tries included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries per call, the first included.
const TRIES: u32 = 3;
/// Wait before the second try; doubled before the third.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest time that an answer may ask to wait before the next try; for a longer one the call fails.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A client that follows no redirect: a credential must not wander.
pub(super) fn client() -> reqwest::ClientBuilder {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(redirect::Policy::none())
}

/// A complete answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Plaintext,
}

impl Answer {
    /// The body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, asked: &Asked) -> Result<T, KmsError> {
        let detail = "it is not the JSON of this call";
        serde_json::from_slice(self.body.expose()).map_err(|_| KmsError::Answer { asked: asked.clone(), detail })
    }
}

enum Trouble {
    Timeout,
    Connection,
    Interrupted,
    TooLarge,
}

/// Sends a request, again after faults that may pass. Any status but 429 and 5xx is an answer.
pub(super) async fn call(
    client: &Client,
    request: Request,
    asked: &Asked,
    limit: Duration,
) -> Result<Answer, KmsError> {
    match tokio::time::timeout(limit, tries(client, request, asked, limit)).await {
        Ok(result) => result,
        Err(_) => Err(KmsError::Timeout { asked: asked.clone(), limit }),
    }
}

async fn tries(client: &Client, request: Request, asked: &Asked, limit: Duration) -> Result<Answer, KmsError> {
    let mut wait = FIRST_WAIT;
    let mut tried = 1;
    loop {
        // Bodies here are bytes, which can be sent again.
        let again = request.try_clone().filter(|_| tried < TRIES);
        let Some(mut this) = request.try_clone() else {
            return Err(KmsError::Answer { asked: asked.clone(), detail: "the request cannot be sent" });
        };
        // Time for a second try after one that hangs.
        *this.timeout_mut() = Some(limit * 2 / 3);
        let error = match once(client, this).await {
            Ok(answer) if !is_passing(answer.status) => return Ok(answer),
            Ok(answer) => refusal(asked, answer.status, None, &answer.headers),
            Err(Trouble::Timeout) => KmsError::Timeout { asked: asked.clone(), limit },
            Err(Trouble::Connection) => KmsError::Unavailable { asked: asked.clone(), code: NO_CONNECTION.into() },
            Err(Trouble::Interrupted) => {
                KmsError::Unavailable { asked: asked.clone(), code: "the answer broke off".into() }
            }
            Err(Trouble::TooLarge) => {
                return Err(KmsError::Answer { asked: asked.clone(), detail: "it is larger than any of this service" });
            }
        };
        let asked_to_wait = match &error {
            KmsError::Throttled { after, .. } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if again.is_none() || asked_to_wait > LONGEST_WAIT {
            return Err(error);
        }
        tokio::time::sleep(wait.max(asked_to_wait)).await;
        (wait, tried) = (wait * 2, tried + 1);
    }
}

fn is_passing(status: StatusCode) -> bool {
    // 501 is what a service says to a call that it does not know.
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

async fn once(client: &Client, request: Request) -> Result<Answer, Trouble> {
    let trouble = |error: reqwest::Error| {
        if error.is_timeout() {
            Trouble::Timeout
        } else if error.is_connect() || error.is_request() {
            Trouble::Connection
        } else {
            Trouble::Interrupted
        }
    };
    let mut answer = client.execute(request).await.map_err(trouble)?;
    if answer.content_length().is_some_and(|length| length > limits::KEY_SERVICE_BODY_BYTES as u64) {
        return Err(Trouble::TooLarge);
    }
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = zeroize::Zeroizing::new(Vec::with_capacity(limits::KEY_SERVICE_BODY_BYTES));
    while let Some(chunk) = answer.chunk().await.map_err(trouble)? {
        if body.len() + chunk.len() > limits::KEY_SERVICE_BODY_BYTES {
            return Err(Trouble::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: Plaintext::new(std::mem::take(&mut *body)) })
}

/// What a status that is no success means; `code` is the service's own word for it.
pub(super) fn refusal(asked: &Asked, status: StatusCode, code: Option<&str>, headers: &HeaderMap) -> KmsError {
    let asked = asked.clone();
    let code = match code.filter(|code| is_code(code)) {
        Some(word) => format!("{} {word}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    match status.as_u16() {
        401 | 403 => KmsError::Denied { asked, code },
        404 | 410 => KmsError::NotFound { asked, code },
        429 => KmsError::Throttled { asked, code, after: retry_after(headers) },
        500..=599 => KmsError::Unavailable { asked, code },
        300..=399 => {
            let to = headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            let origin = to.and_then(|to| reqwest::Url::parse(to).ok()).map(|url| url.origin().ascii_serialization());
            KmsError::Redirected { asked, to: origin.unwrap_or_else(|| "another place".into()) }
        }
        _ => KmsError::Refused { asked, code },
    }
}

/// Codes are words. Anything else could be a quotation.
pub(super) fn is_code(code: &str) -> bool {
    !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// `Retry-After` in seconds, at most five minutes: the longest wait between two tries anyway.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 300)))
}
