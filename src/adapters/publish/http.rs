//! One exchange: bounded in time, in tries and in size, and never redirected.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, ClientBuilder, Request, redirect};

use super::PublishError;
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// Longest wait for one try: a file of the largest size over a slow line.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries, the first included.
const TRIES: u32 = 3;
/// Wait before the second try; doubled before the third.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A client that follows no redirect: a credential must not wander.
pub(super) fn client() -> Result<Client, PublishError> {
    bounded(Client::builder())
        .build()
        .map_err(|_| PublishError::Settings { detail: "no HTTP client can be built".into() })
}

fn bounded(builder: ClientBuilder) -> ClientBuilder {
    builder.connect_timeout(CONNECT_TIMEOUT).redirect(redirect::Policy::none())
}

/// A complete answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Plaintext,
}

/// Sends a request, again after faults that may pass: what is published is the same after one try and after three.
pub(super) async fn call(client: &Client, request: Request) -> Result<Answer, PublishError> {
    let mut wait = FIRST_WAIT;
    let mut tried = 1;
    loop {
        let Some(mut this) = request.try_clone() else {
            return Err(PublishError::Answer { detail: "the request cannot be sent" });
        };
        *this.timeout_mut() = Some(TRY_TIMEOUT);
        let result = once(client, this).await;
        let passing = match &result {
            // 501 is what a service says to a call that it does not know.
            Ok(answer) => {
                answer.status == StatusCode::TOO_MANY_REQUESTS
                    || (answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED)
            }
            Err(error) => matches!(error, PublishError::Unavailable { .. }),
        };
        if !passing || tried == TRIES {
            return result;
        }
        tokio::time::sleep(wait).await;
        (wait, tried) = (wait * 2, tried + 1);
    }
}

async fn once(client: &Client, request: Request) -> Result<Answer, PublishError> {
    let trouble = |error: reqwest::Error| {
        if error.is_timeout() {
            return PublishError::Timeout { limit: TRY_TIMEOUT };
        }
        let code = if error.is_connect() || error.is_request() { "no connection" } else { "the answer broke off" };
        PublishError::Unavailable { code: code.into() }
    };
    let mut answer = client.execute(request).await.map_err(trouble)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(trouble)? {
        if body.len() + chunk.len() > limits::STORE_BODY_BYTES {
            return Err(PublishError::Answer { detail: "it is larger than any of this service" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: Plaintext::new(std::mem::take(&mut *body)) })
}

/// What a status that is no success means; `code` is the service's own word for it.
pub(super) fn refusal(answer: &Answer, code: Option<&str>) -> PublishError {
    // Codes are words. Anything else could be a quotation.
    let is_code = |code: &&str| {
        (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let status = answer.status.as_u16();
    let code = match code.filter(is_code) {
        Some(word) => format!("{status} {word}"),
        None => status.to_string(),
    };
    match status {
        401 | 403 => PublishError::Denied { code },
        404 | 410 => PublishError::NotFound { code },
        429 | 500..=599 => PublishError::Unavailable { code },
        300..=399 => {
            let to = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            let origin = to.and_then(|to| reqwest::Url::parse(to).ok()).map(|url| url.origin().ascii_serialization());
            PublishError::Redirected { to: origin.unwrap_or_else(|| "another place".into()) }
        }
        _ => PublishError::Refused { code },
    }
}
