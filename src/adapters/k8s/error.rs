//! What became of a failed call, as a closed set.

use std::time::Duration;

use crate::pure::error::{Explain, Retry, causes, chain, one_line};

/// A failed call. Texts name the object; answers to calls that carry a Secret's body are not quoted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ApiError {
    #[error("no usable kubeconfig or service account: {0}")]
    Config(String),
    #[error("{0}")]
    Chosen(String),
    #[error("{0}")]
    Unconfigured(String),
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Dialled(String),
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("{what} already exists")]
    AlreadyExists { what: String },
    #[error("{what} was changed by somebody else meanwhile")]
    Conflict { what: String },
    #[error("not allowed: {message}")]
    Denied { message: String },
    #[error("{message}")]
    Invalid { what: String, message: String },
    #[error("the API server asks to come back in {} s", .0.as_secs())]
    Busy(Duration),
    #[error("the API server answered {code} {reason} for {what}")]
    Other { what: String, code: u16, reason: String },
    #[error("the API server's answer for {what} cannot be read: {why}")]
    Decode { what: String, why: String },
    #[error("this replica does not lead and writes nothing")]
    NotLeading,
}

impl Explain for ApiError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Chosen(_) | Self::Unconfigured(_) => "NoCluster",
            Self::Unreachable(_) | Self::Dialled(_) => "ApiServerUnreachable",
            Self::Timeout(_) => "ApiServerTimeout",
            Self::NotFound { .. } => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Denied { .. } => "Forbidden",
            Self::Invalid { .. } => "Invalid",
            Self::Busy(_) => "ApiServerBusy",
            Self::Other { .. } => "ApiServerError",
            Self::Decode { .. } => "UnreadableAnswer",
            Self::NotLeading => "NotLeading",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Busy(wait) => Retry::After(*wait),
            Self::Invalid { .. } => Retry::OnChange,
            _ => Retry::Backoff,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Config(_) => "set KUBECONFIG, pass --kubeconfig, or run in a pod with a service account".into(),
            Self::Denied { .. } => "grant the verb to the operator's service account (deploy/base/rbac.yaml)".into(),
            _ => String::new(),
        }
    }
}

impl ApiError {
    /// Maps kube's error. `what` names the object; `quote` is false for calls that carried a Secret's body.
    pub fn of(error: kube::Error, what: &str, quote: bool) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(e) => {
                let why = format!("{:?} at line {} column {}", e.classify(), e.line(), e.column());
                return Self::Decode { what: what.into(), why };
            }
            other => return Self::Unreachable(one_line(&chain(&other))),
        };
        let what = what.to_owned();
        let wait = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0);
        let message = if quote { one_line(&status.message) } else { unquoted(&status, &what) };
        match (status.code, status.reason.as_str()) {
            (404, _) => Self::NotFound { what },
            (409, "AlreadyExists") => Self::AlreadyExists { what },
            (409, _) => Self::Conflict { what },
            (401 | 403, _) => Self::Denied { message },
            (400 | 413 | 422, _) => Self::Invalid { what, message },
            (429, _) => Self::Busy(Duration::from_secs(u64::from(wait.unwrap_or(1)).min(60))),
            (code, reason) => Self::Other { what, code, reason: reason.into() },
        }
    }

    /// Whether the object is simply absent.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether reading the object again and deciding anew is the answer.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::AlreadyExists { .. })
    }
}

/// What the API server says about a body that held a Secret, without what stood in it: the text of a syntax error (400)
/// goes as a whole, and of an invalid field only what follows the quoted value stays.
fn unquoted(status: &kube::core::Status, what: &str) -> String {
    match status.code {
        400 => status.reason.clone(),
        422 => {
            let found = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let told = found.iter().map(|cause| {
                let said = cause.message.rsplit_once("\": ").map_or_else(
                    || if cause.message.contains('"') { cause.reason.as_str() } else { cause.message.as_str() },
                    |(_, after)| after,
                );
                format!("{}: {}", cause.field, one_line(said))
            });
            let named = status.details.as_ref().filter(|details| !details.kind.is_empty() && !details.name.is_empty());
            let what = named.map_or(what.to_owned(), |details| format!("{} {:?}", details.kind, details.name));
            format!("{what} is invalid: {}", causes(&told.collect::<Vec<_>>()))
        }
        _ => one_line(&status.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(causes: &[(&str, &str)]) -> ApiError {
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, text)| serde_json::json!({"reason": "FieldValueInvalid", "field": field, "message": text}))
            .collect();
        let status = serde_json::json!({
            "code": 422, "reason": "Invalid", "message": "Secret \"s\" is invalid: hunter2",
            "details": {"kind": "Secret", "name": "s", "causes": causes},
        });
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        ApiError::of(kube::Error::Api(Box::new(status)), "Secret team/s", false)
    }

    #[test]
    fn what_stood_in_a_refused_secret_is_not_repeated() {
        let label = ("metadata.labels", "Invalid value: \"hunter2 \\\": x\": a valid label must be short");
        let error = invalid(&[label]);
        assert_eq!(error.to_string(), "Secret \"s\" is invalid: metadata.labels: a valid label must be short");
        let frozen = ("data", "Forbidden: field is immutable when `immutable` is set");
        let error = invalid(&[frozen]);
        assert!(error.to_string().ends_with("data: Forbidden: field is immutable when `immutable` is set"), "{error}");
        let error = invalid(&[("data", "Invalid value: \"hunter2\"")]);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(
            invalid(&[label, frozen]).to_string(),
            "Secret \"s\" is invalid: [metadata.labels: a valid label must be short, data: Forbidden: field is immutable when `immutable` is set]"
        );
    }
}
