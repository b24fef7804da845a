//! One exchange with a key service over HTTP: what its faults and refusals are called here.

use std::time::Duration;

use reqwest::{Client, Request};

use super::error::{Asked, KmsError};
use crate::adapters::exchange::{self, Bounds, Fault, Refusal};
pub(super) use crate::adapters::exchange::{Answer, client};
use crate::pure::limits;

/// Longest wait for one call, all tries included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends a request, again after faults that may pass. Any status is an answer.
pub(super) async fn call(
    client: &Client,
    request: Request,
    asked: &Asked,
    limit: Duration,
) -> Result<Answer, KmsError> {
    let answer = exchange::call(client, request, Bounds::new(limit, limits::KEY_SERVICE_BODY_BYTES)).await;
    let asked = || asked.clone();
    answer.map_err(|fault| match fault {
        Fault::Timeout => KmsError::Timeout { asked: asked(), limit },
        Fault::Unavailable(code) => KmsError::Unavailable { asked: asked(), code: code.into() },
        Fault::TooLarge => KmsError::Answer { asked: asked(), detail: "it is larger than any of this service" },
    })
}

/// The body as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(answer: &Answer, asked: &Asked) -> Result<T, KmsError> {
    let detail = "it is not the JSON of this call";
    serde_json::from_slice(answer.body.expose()).map_err(|_| KmsError::Answer { asked: asked.clone(), detail })
}

/// What an answer that is no success means; `word` is the service's own word for it.
pub(super) fn refusal(asked: &Asked, answer: &Answer, word: Option<&str>) -> KmsError {
    let asked = asked.clone();
    match answer.refusal(word) {
        Refusal::Denied { code } => KmsError::Denied { asked, code },
        Refusal::NotFound { code } => KmsError::NotFound { asked, code },
        Refusal::Throttled { code, after } => KmsError::Throttled { asked, code, after },
        Refusal::Unavailable { code } => KmsError::Unavailable { asked, code },
        Refusal::Redirected { to } => KmsError::Redirected { asked, to },
        Refusal::Other { code } => KmsError::Refused { asked, code },
    }
}
