//! Why a document was not opened.

use super::tree::TreeError;
use crate::pure::desired::GuardError;
use crate::pure::error::{Explain, Retry};
use crate::pure::external::{ExternalError, StoreError};
use crate::pure::format::FormatError;
use crate::pure::sealed::UnsealError;
use crate::pure::sops::SopsError;

/// Why a document was not opened. No text holds a value.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum StageError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Sops(#[from] SopsError),
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error("the manifest is not usable: {what}")]
    Object { what: String },
    #[error("{entry} is SOPS ciphertext, but the document has no sops block")]
    LostMetadata { entry: String },
    #[error("{object} comes from {first} too")]
    Duplicate { object: String, first: String },
    #[error("the namespace \"{found}\" is not that of the source, \"{allowed}\"")]
    ForeignNamespace { found: String, allowed: String },
}

impl StageError {
    fn inner(&self) -> Option<&dyn Explain> {
        match self {
            Self::Tree(error) => Some(error),
            Self::Format(error) => Some(error),
            Self::Sops(error) => Some(error),
            Self::Unseal(error) => Some(error),
            Self::External(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Guard(error) => Some(error),
            _ => None,
        }
    }
}

impl Explain for StageError {
    fn reason(&self) -> &'static str {
        match self {
            Self::LostMetadata { .. } => "MetadataMissing",
            Self::Duplicate { .. } => "DuplicateObject",
            Self::ForeignNamespace { .. } => "ForeignNamespace",
            other => other.inner().map_or("InvalidManifest", Explain::reason),
        }
    }

    fn retry(&self) -> Retry {
        self.inner().map_or(Retry::OnChange, Explain::retry)
    }

    fn hint(&self) -> String {
        match self {
            Self::Object { .. } => "correct the manifest".into(),
            Self::LostMetadata { .. } => "restore the sops block from history".into(),
            Self::Duplicate { .. } => "remove one of the two".into(),
            Self::ForeignNamespace { .. } => "move the file to a source in that namespace".into(),
            other => other.inner().map(Explain::hint).unwrap_or_default(),
        }
    }
}
