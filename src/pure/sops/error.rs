//! What can be wrong with a SOPS file. Texts name the entry, line and key; never a value.

use std::fmt;

use crate::pure::error::{Explain, Retry};
use crate::pure::format::{EmitError, Format, FormatError};
use crate::pure::keys::{KeyError, KeyRef};

/// A file that could not be opened, sealed or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum SopsError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("not encrypted with SOPS: there is no \"sops\" metadata")]
    NotSops,
    #[error("the \"sops\" metadata cannot be read: {what}")]
    Metadata { what: String },
    #[error("the \"sops\" metadata names the version \"{version}\", which is not a semantic version")]
    Version { version: String },
    #[error("{selector} \"{pattern}\" is not a valid pattern: {what}")]
    Pattern { selector: &'static str, pattern: String, what: String },
    #[error("the file has {count} recipients, more than the {limit} that are tried")]
    TooManyRecipients { count: usize, limit: usize },
    #[error("line {line}: the name \"{key}\" occurs twice in one map")]
    DuplicateKey { key: String, line: usize },
    #[error("line {line}: names must be strings")]
    OddKey { line: usize, is_collection: bool },
    #[error("no key of the file could be used: {0}")]
    Keys(KeyReport),
    #[error("the data key has {bytes} bytes instead of 32")]
    DataKeyLength { bytes: usize },
    #[error("line {line}: entry {entry} should be encrypted and is not")]
    NotEncrypted { entry: String, line: usize },
    #[error("line {line}: entry {entry} was changed after encryption, or belongs to another place or file")]
    Damaged { entry: String, line: usize },
    #[error("line {line}: entry {entry} decrypts to something that is no {kind}")]
    Type { entry: String, line: usize, kind: String },
    #[error("line {line}: entry {entry} is a number above the range of SOPS (64 bits with sign)")]
    NumberRange { entry: String, line: usize },
    #[error("entry {entry}: the name is reserved for the metadata; the file may be encrypted already")]
    AlreadyEncrypted { entry: String },
    #[error("no recipients are given")]
    NoRecipients,
    #[error("key group {group} is empty")]
    EmptyGroup { group: usize },
    #[error("the threshold {threshold} does not fit {groups} key groups: it lies between 2 and their number")]
    Threshold { threshold: usize, groups: usize },
    #[error("the data key could not be encrypted to {}", join(.failures))]
    Wrap { failures: Vec<WrapFailure> },
    #[error("an encrypted comment would match the pattern that keeps comments clear")]
    CommentMatches,
    #[error("{target} holds one document and the file has {documents}")]
    OneDocument { target: Format, documents: usize },
    #[error("what was written does not read back as what was meant, so nothing is written")]
    NotVerified,
    #[error(".sops.yaml: {what}")]
    Rules { what: String },
    #[error("the \"sops\" block: {what}")]
    Block { what: &'static str },
    #[error("{path}: {what}")]
    Path { path: String, what: &'static str },
    #[error("the file has no MAC")]
    MacMissing,
    #[error("the MAC of the file cannot be read: the MAC or \"lastmodified\" was changed after encryption")]
    MacDamaged,
    #[error("MAC mismatch: a value was added, removed, changed or moved after encryption")]
    MacMismatch,
    #[error("the MAC was not checked, so nothing may be made of this file")]
    MacIgnored,
    #[error(transparent)]
    Emit(#[from] EmitError),
}

impl Explain for SopsError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Format(error) => error.reason(),
            Self::NotSops => "NotEncrypted",
            Self::Metadata { .. } | Self::Version { .. } | Self::Pattern { .. } => "InvalidMetadata",
            Self::TooManyRecipients { .. } => "FileTooComplex",
            Self::DuplicateKey { .. } | Self::OddKey { .. } | Self::NumberRange { .. } => "InvalidFile",
            Self::Keys(_) => "NoMatchingKey",
            Self::DataKeyLength { .. } => "InvalidMetadata",
            Self::NotEncrypted { .. } | Self::Damaged { .. } | Self::Type { .. } => "DecryptionFailed",
            Self::MacMissing => "MacMissing",
            Self::MacDamaged | Self::MacMismatch => "MacMismatch",
            Self::MacIgnored => "MacIgnored",
            Self::AlreadyEncrypted { .. } => "AlreadyEncrypted",
            Self::NoRecipients | Self::EmptyGroup { .. } | Self::Threshold { .. } => "InvalidRecipients",
            Self::Wrap { .. } => "WrapFailed",
            Self::CommentMatches | Self::OneDocument { .. } => "FormatMismatch",
            Self::NotVerified => "NotVerified",
            Self::Block { .. } => "InvalidMetadata",
            Self::Path { .. } => "InvalidPath",
            Self::Rules { .. } => "InvalidRules",
            Self::Emit(_) => "FormatMismatch",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            // A key service that was away may come back.
            Self::Keys(report) if report.tried.iter().any(|t| t.error.may_pass()) => Retry::Backoff,
            Self::Wrap { failures } if failures.iter().any(|failure| failure.error.may_pass()) => Retry::Backoff,
            _ => Retry::OnChange,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Format(error) => error.hint(),
            Self::NotSops => "encrypt it with sops, or leave it out".into(),
            Self::Metadata { .. } | Self::Version { .. } => "restore the \"sops\" block from history".into(),
            Self::Pattern { .. } => "write a pattern of Go's RE2 syntax".into(),
            Self::TooManyRecipients { .. } => "use fewer recipients".into(),
            Self::DuplicateKey { .. } => "remove one of the two".into(),
            Self::OddKey { .. } => "put the name in quotes".into(),
            Self::Keys(_) => "give an identity of one of the recipients, or have the file encrypted to yours".into(),
            Self::DataKeyLength { .. } => "restore the \"sops\" block from history".into(),
            Self::NotEncrypted { .. } | Self::Damaged { .. } | Self::Type { .. } => {
                "restore the value from history, or set it again with sops".into()
            }
            Self::NumberRange { .. } => "put the number in quotes".into(),
            Self::MacMissing | Self::MacDamaged | Self::MacMismatch => {
                "restore the file from history; if the change was meant, re-encrypt it with sops after a review".into()
            }
            Self::MacIgnored => "open the file with its MAC".into(),
            Self::AlreadyEncrypted { .. } => "edit the encrypted file instead, or rename the entry".into(),
            Self::NoRecipients | Self::EmptyGroup { .. } => "name at least one recipient in each group".into(),
            Self::Threshold { .. } => "correct the threshold".into(),
            Self::Wrap { .. } => "correct or remove the recipient".into(),
            Self::CommentMatches => "choose a pattern that does not match base64 text".into(),
            Self::OneDocument { .. } => "split the file, or write YAML".into(),
            Self::NotVerified => "report this with a file without secrets that shows it".into(),
            Self::Block { .. } | Self::Path { .. } => String::new(),
            Self::Rules { .. } => "correct the rules".into(),
            Self::Emit(_) => "choose another output format".into(),
        }
    }
}

/// A key to which the data key could not be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapFailure {
    /// The key.
    pub key: KeyRef,
    /// Why.
    pub error: KeyError,
}

fn join(failures: &[WrapFailure]) -> String {
    let one = |failure: &WrapFailure| format!("{} {}: {}", failure.key.kind(), failure.key, failure.error);
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What was tried with each key of each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Number of key groups in the file.
    pub groups: usize,
    /// Number of groups that must open.
    pub threshold: usize,
    /// Numbers, from 0, of the groups that opened.
    pub opened: Vec<usize>,
    /// The failures in the order of the trials.
    pub tried: Vec<Tried>,
}

/// One failed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Group number from 0.
    pub group: usize,
    /// The key.
    pub key: KeyRef,
    /// Why it did not open.
    pub error: KeyError,
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.groups > 1 {
            write!(f, "{} of {} key groups opened, {} needed", self.opened.len(), self.groups, self.threshold)?;
            if !self.tried.is_empty() {
                f.write_str("; ")?;
            }
        } else if self.tried.is_empty() {
            f.write_str("the file has no keys")?;
        }
        for (index, tried) in self.tried.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if self.groups > 1 {
                write!(f, "group {}, ", tried.group)?;
            }
            write!(f, "{} {}: {}", tried.key.kind(), tried.key, tried.error)?;
        }
        Ok(())
    }
}
