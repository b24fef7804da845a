//! Places where `sops publish` brings files: one file per kind. Credentials and settings are arguments.

#[cfg(feature = "gcp")]
pub mod gcs;
#[cfg(feature = "aws")]
pub mod s3;
#[cfg(feature = "vault")]
pub mod vault;

use std::time::Duration;

use reqwest::{Client, Request};

use crate::adapters::exchange::{self, Answer, Bounds, Fault, Refusal};
use crate::pure::error::{Explain, Retry};
use crate::pure::limits;

/// Longest wait for one call, all tries included: two of a file of the largest size over a slow line.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// Why a file was not published. No variant holds a value, a credential or a text of the other side; the place is told by
/// whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum PublishError {
    #[error("{detail}")]
    Settings { detail: String },
    #[error("no credentials: {detail}")]
    Credentials { detail: String },
    #[error("access denied ({code})")]
    Denied { code: String },
    #[error("there is no such place ({code})")]
    NotFound { code: String },
    #[error("unavailable ({code})")]
    Unavailable { code: String },
    #[error("no answer within {} s", .limit.as_secs_f32())]
    Timeout { limit: Duration },
    #[error("refused ({code})")]
    Refused { code: String },
    #[error("redirected to {to}, where the credential was not sent")]
    Redirected { to: String },
    #[error("the answer cannot be used: {detail}")]
    Answer { detail: &'static str },
}

impl Explain for PublishError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "PublishSettings",
            Self::Credentials { .. } => "PublishCredentials",
            Self::Denied { .. } => "PublishDenied",
            Self::NotFound { .. } => "PublishNotFound",
            Self::Unavailable { .. } => "PublishUnavailable",
            Self::Timeout { .. } => "PublishTimeout",
            Self::Refused { .. } => "PublishRefused",
            Self::Redirected { .. } => "PublishRedirected",
            Self::Answer { .. } => "PublishAnswer",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Settings { .. } | Self::Redirected { .. } => Retry::OnChange,
            _ => Retry::Backoff,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Settings { .. } | Self::Credentials { .. } => String::new(),
            Self::Denied { .. } => "check the credential, its expiry, and its right to write there".into(),
            Self::NotFound { .. } => "check the names in the destination rule".into(),
            Self::Unavailable { .. } => "try again later".into(),
            Self::Timeout { .. } => "check the address and the network".into(),
            Self::Refused { .. } => "check the destination rule".into(),
            Self::Redirected { .. } => "name that place in the destination rule, or its region".into(),
            Self::Answer { .. } => "check that the address is that of the service and of no proxy in between".into(),
        }
    }
}

/// A client that follows no redirect.
fn client() -> Result<Client, PublishError> {
    exchange::client().build().map_err(|_| PublishError::Settings { detail: "no HTTP client can be built".into() })
}

/// Sends a request, again after faults that may pass. Any status is an answer.
async fn call(client: &Client, request: Request) -> Result<Answer, PublishError> {
    let answer = exchange::call(client, request, Bounds::new(CALL_TIMEOUT, limits::STORE_BODY_BYTES)).await;
    answer.map_err(|fault| match fault {
        Fault::Timeout => PublishError::Timeout { limit: CALL_TIMEOUT },
        Fault::Unavailable(code) => PublishError::Unavailable { code: code.into() },
        Fault::TooLarge => PublishError::Answer { detail: "it is larger than any of this service" },
    })
}

/// What an answer that is no success means; `word` is the service's own word for it.
fn refusal(answer: &Answer, word: Option<&str>) -> PublishError {
    match answer.refusal(word) {
        Refusal::Denied { code } => PublishError::Denied { code },
        Refusal::NotFound { code } => PublishError::NotFound { code },
        Refusal::Throttled { code, .. } | Refusal::Unavailable { code } => PublishError::Unavailable { code },
        Refusal::Redirected { to } => PublishError::Redirected { to },
        Refusal::Other { code } => PublishError::Refused { code },
    }
}
