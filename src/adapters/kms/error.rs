//! Why a key service did not wrap or unwrap.

use std::fmt;
use std::time::Duration;

use crate::adapters::exchange::NO_CONNECTION;
use crate::pure::error::{Explain, Retry, clip};
use crate::pure::keys::{KeyError, KeyRef};

/// Longest text of a key in a message: it comes from a file.
const KEY_TEXT_BYTES: usize = 300;

/// What was asked, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The service, such as `Vault`.
    pub service: &'static str,
    /// `encrypt` or `decrypt`, or what had to be done first.
    pub call: &'static str,
    /// The key, as SOPS shows it.
    pub key: String,
    /// Where, when the key does not say it.
    pub at: Option<String>,
}

impl Asked {
    /// A call about a key.
    pub fn new(service: &'static str, call: &'static str, key: &KeyRef) -> Self {
        Self { service, call, key: clip(&key.to_string(), KEY_TEXT_BYTES), at: None }
    }

    /// The same at an address that the key does not name.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        self.at = Some(clip(address, KEY_TEXT_BYTES));
        self
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} with {}", self.service, self.call, self.key)?;
        match &self.at {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}

/// Closed set of failures of a key service. No variant holds a value, a credential or a text of the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum KmsError {
    #[error("{asked}: not contacted, since {by} does not allow it")]
    NotAllowed { asked: Asked, by: &'static str },
    #[error("{asked}: the key cannot be used: {detail}")]
    Key { asked: Asked, detail: &'static str },
    #[error("{asked}: {detail}")]
    Settings { asked: Asked, detail: String },
    #[error("{asked}: no credentials: {detail}")]
    Credentials { asked: Asked, detail: String },
    #[error("{asked}: access denied ({code})")]
    Denied { asked: Asked, code: String },
    #[error("{asked}: there is no such key ({code})")]
    NotFound { asked: Asked, code: String },
    #[error("{asked}: too many requests ({code})")]
    Throttled { asked: Asked, code: String, after: Option<Duration> },
    #[error("{asked}: unavailable ({code})")]
    Unavailable { asked: Asked, code: String },
    #[error("{asked}: no answer within {}", seconds(.limit))]
    Timeout { asked: Asked, limit: Duration },
    #[error("{asked}: the service refuses ({code})")]
    Refused { asked: Asked, code: String },
    #[error("{asked}: the answer cannot be used: {detail}")]
    Answer { asked: Asked, detail: &'static str },
    #[error("{asked}: redirected to {to}, where the credential was not sent")]
    Redirected { asked: Asked, to: String },
    #[error("{asked}: what the file holds is not an encrypted data key of this kind")]
    Damaged { asked: Asked },
    #[error("{asked}: not supported")]
    Unsupported { asked: Asked },
}

fn seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f32())
}

impl KmsError {
    /// Whether it is the same for every key at that address and with these credentials.
    fn is_of_service(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Credentials { .. } => true,
            Self::Unavailable { code, .. } => code == NO_CONNECTION,
            _ => false,
        }
    }
}

impl Explain for KmsError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "KeyServiceNotAllowed",
            Self::Key { .. } => "KeyInvalid",
            Self::Settings { .. } => "KeyServiceSettings",
            Self::Credentials { .. } => "KeyServiceCredentials",
            Self::Denied { .. } => "KeyServiceDenied",
            Self::NotFound { .. } => "KeyNotFound",
            Self::Throttled { .. } => "KeyServiceThrottled",
            Self::Unavailable { .. } => "KeyServiceUnavailable",
            Self::Timeout { .. } => "KeyServiceTimeout",
            Self::Refused { .. } => "KeyServiceRefused",
            Self::Answer { .. } => "KeyServiceAnswer",
            Self::Redirected { .. } => "KeyServiceRedirected",
            Self::Damaged { .. } => "WrappedKeyDamaged",
            Self::Unsupported { .. } => "KeyKindUnsupported",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Throttled { after: Some(after), .. } => Retry::After(*after),
            Self::Throttled { .. } | Self::Unavailable { .. } | Self::Timeout { .. } | Self::Answer { .. } => {
                Retry::Backoff
            }
            // Rights are granted outside of what is watched.
            Self::Denied { .. } | Self::NotFound { .. } | Self::Credentials { .. } | Self::Refused { .. } => {
                Retry::Backoff
            }
            Self::NotAllowed { .. }
            | Self::Key { .. }
            | Self::Settings { .. }
            | Self::Redirected { .. }
            | Self::Damaged { .. }
            | Self::Unsupported { .. } => Retry::OnChange,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotAllowed { by, .. } => format!("add the key or its address to {by} if you trust it"),
            Self::Key { .. } | Self::Settings { .. } => String::new(),
            Self::Credentials { .. } => String::new(),
            Self::Denied { asked, .. } => {
                format!("check the credential, its expiry, and its right to {} with this key", asked.call)
            }
            Self::NotFound { .. } => "check the name, and that the key was not deleted or disabled".into(),
            Self::Throttled { .. } | Self::Unavailable { .. } => "try again later".into(),
            Self::Timeout { .. } => "check the address and the network".into(),
            Self::Refused { asked, .. } => match asked.call {
                "decrypt" => "the data key was encrypted with another key, or the key is disabled".into(),
                _ => "check that the key is enabled and may encrypt".into(),
            },
            Self::Answer { .. } => "check that the address is that of the service and of no proxy in between".into(),
            Self::Redirected { .. } => "name the address that it redirects to in the file".into(),
            Self::Damaged { .. } => "restore the entry enc of this key from an older version of the file".into(),
            Self::Unsupported { .. } => "use another key of the file, or add one with the program that wrote it".into(),
        }
    }
}

impl From<KmsError> for KeyError {
    fn from(error: KmsError) -> Self {
        match error {
            KmsError::Damaged { .. } => Self::Damaged,
            error if error.is_of_service() => Self::Unreachable { message: error.line() },
            error if error.retry() == Retry::OnChange => Self::Local { message: error.line() },
            error => Self::Service { message: error.line() },
        }
    }
}
