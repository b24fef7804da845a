//! What can go wrong between an ExternalSecret and its Secret. Texts name the store, the remote key and the provider's
//! code, never a value and never a provider's own words: those may quote what was sent.

use std::time::Duration;

use crate::pure::desired::GuardError;
use crate::pure::error::{Explain, Retry};

/// Why a store did not answer a read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum StoreError {
    #[error("{store} has no \"{key}\"")]
    NotFound { store: String, key: String },
    #[error("{store} denies \"{key}\" ({code})")]
    Denied { store: String, key: String, code: String },
    #[error("{store} is throttling reads of \"{key}\" ({code})")]
    Throttled { store: String, key: String, code: String, after: Option<Duration> },
    #[error("{store} is unavailable while reading \"{key}\" ({code})")]
    Unavailable { store: String, key: String, code: String },
    #[error("{store} did not answer for \"{key}\" within {} s", limit.as_secs())]
    Timeout { store: String, key: String, limit: Duration },
    #[error("{store} refuses the request for \"{key}\" ({code})")]
    Refused { store: String, key: String, code: String },
    #[error("the answer of {store} for \"{key}\" cannot be used: {detail}")]
    Invalid { store: String, key: String, detail: &'static str },
    #[error("{store}: {detail}")]
    Config { store: String, detail: String },
    #[error("{store} uses {what}, which is not supported")]
    Unsupported { store: String, what: String },
}

impl StoreError {
    /// Whether the store said that the value does not exist; `deletionPolicy` decides what that means.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl Explain for StoreError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "RemoteKeyNotFound",
            Self::Denied { .. } => "StoreDenied",
            Self::Throttled { .. } => "StoreThrottled",
            Self::Unavailable { .. } => "StoreUnavailable",
            Self::Timeout { .. } => "StoreTimeout",
            Self::Refused { .. } => "StoreRefused",
            Self::Invalid { .. } => "StoreAnswerInvalid",
            Self::Config { .. } => "InvalidProviderConfig",
            Self::Unsupported { .. } => "ProviderUnsupported",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Throttled { after: Some(after), .. } => Retry::After(*after),
            // What a store lacks, denies or refuses may be mended there, and no watch tells us.
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Refused { .. }
            | Self::Invalid { .. } => Retry::Backoff,
            // Credentials and certificate authorities are other objects, which may still be on their way.
            Self::Config { .. } => Retry::Backoff,
            Self::Unsupported { .. } => Retry::OnChange,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => "create it in the store, or correct the key, path or version of the reference",
            Self::Denied { .. } => "check the store's credentials and the rights they have on this key",
            Self::Throttled { .. } => "reads are repeated later; a longer refreshInterval asks less often",
            Self::Unavailable { .. } => "reads are repeated; check that the server is up and reachable from here",
            Self::Timeout { .. } => "reads are repeated; check the server's address and the network between",
            Self::Refused { .. } => "check the key, the version and the store's settings",
            Self::Invalid { .. } => "check that the reference names a value of the expected kind",
            Self::Config { .. } => "correct the store or the object it refers to",
            Self::Unsupported { .. } => "use another provider or way to log in",
        }
        .into()
    }
}

/// Why an ExternalSecret has no up-to-date Secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ExternalError {
    #[error("{place}: {source}")]
    Store { place: String, source: StoreError },
    #[error("{store} is not ready")]
    NotReady { store: String },
    #[error("{place}: no store is named")]
    NoStore { place: String },
    #[error("using cluster store \"{store}\" is not allowed from namespace \"{namespace}\": denied by spec.condition")]
    StoreNotAllowed { store: String, namespace: String },
    #[error("{place}: \"{key}\" has no property \"{property}\"")]
    NoProperty { place: String, key: String, property: String },
    #[error("{place}: property \"{property}\" uses syntax that is not supported")]
    PropertySyntax { place: String, property: String },
    #[error("{place}: \"{key}\" is not a JSON object")]
    NotAnObject { place: String, key: String },
    #[error("{place}: entry \"{entry}\" is not {encoding}")]
    Decode { place: String, entry: String, encoding: &'static str },
    #[error("{place}: entry \"{entry}\" holds a zero byte")]
    NullByte { place: String, entry: String },
    #[error("{place}: two names become \"{entry}\" by conversion")]
    Collision { place: String, entry: String },
    #[error("{place}: \"{entry}\" cannot be the name of an entry")]
    EntryName { place: String, entry: String },
    #[error("{place}: {detail}")]
    Rewrite { place: String, detail: String },
    #[error("{place}: {detail}")]
    Template { place: String, detail: String },
    #[error("{detail}")]
    Spec { detail: String },
    #[error("{what} is not supported yet")]
    Unsupported { what: String },
    #[error("none of the values exist")]
    Nothing,
    #[error("Secret {secret} is owned by ExternalSecret {owner}")]
    OwnedByAnother { secret: String, owner: String },
    #[error("Secret {secret} is already controlled by {owner}")]
    Controlled { secret: String, owner: String },
    #[error("Secret {secret} is immutable and would have to change")]
    Immutable { secret: String },
    #[error(transparent)]
    Guard(#[from] GuardError),
}

impl ExternalError {
    /// Text of the `Ready` condition: a fixed sentence per stage, as External Secrets Operator has them. The detail
    /// goes into the event.
    pub fn condition_message(&self) -> &'static str {
        match self {
            Self::OwnedByAnother { .. } => "target is owned by another ExternalSecret",
            Self::Controlled { .. } => "failed to take ownership of target secret",
            Self::Immutable { .. } => "could not update secret, target is immutable",
            Self::Template { .. } | Self::Guard(_) => "could not update secret",
            _ => "could not get secret data from provider",
        }
    }
}

impl Explain for ExternalError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.reason(),
            Self::NotReady { .. } => "StoreNotReady",
            Self::NoStore { .. } => "NoStore",
            Self::StoreNotAllowed { .. } => "StoreNotAllowed",
            Self::NoProperty { .. } => "PropertyNotFound",
            Self::PropertySyntax { .. } => "PropertySyntax",
            Self::NotAnObject { .. } => "NotAnObject",
            Self::Decode { .. } => "DecodingFailed",
            Self::NullByte { .. } => "NullByte",
            Self::Collision { .. } => "NameCollision",
            Self::EntryName { .. } => "InvalidEntryName",
            Self::Rewrite { .. } => "RewriteFailed",
            Self::Template { .. } => "TemplateFailed",
            Self::Spec { .. } => "InvalidSpec",
            Self::Unsupported { .. } => "Unsupported",
            Self::Nothing => "NoValues",
            Self::OwnedByAnother { .. } => "OwnedByAnother",
            Self::Controlled { .. } => "AlreadyControlled",
            Self::Immutable { .. } => "SecretImmutable",
            Self::Guard(guard) => guard.reason(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store { source, .. } => source.retry(),
            Self::NotReady { .. }
            | Self::NoProperty { .. }
            | Self::NotAnObject { .. }
            | Self::Decode { .. }
            | Self::NullByte { .. }
            | Self::Collision { .. }
            | Self::EntryName { .. }
            | Self::Rewrite { .. }
            | Self::Template { .. }
            | Self::Nothing
            // Labels of the namespace may change, and they are not watched.
            | Self::StoreNotAllowed { .. } => Retry::Backoff,
            Self::NoStore { .. }
            | Self::PropertySyntax { .. }
            | Self::Spec { .. }
            | Self::Unsupported { .. }
            | Self::OwnedByAnother { .. }
            | Self::Controlled { .. }
            | Self::Immutable { .. } => Retry::OnChange,
            // What a guard refuses may come from the store, and be mended there, where no watch sees it.
            Self::Guard(_) => Retry::Backoff,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Store { source, .. } => return source.hint(),
            Self::Guard(guard) => return guard.hint(),
            Self::NotReady { .. } => "see the conditions of the store",
            Self::NoStore { .. } => "set spec.secretStoreRef, or sourceRef of the entry",
            Self::StoreNotAllowed { .. } => "have an administrator add the namespace to the conditions of the store",
            Self::NoProperty { .. } => "correct the property, or add the field to the value in the store",
            Self::PropertySyntax { .. } => "use a name, a dotted path, an index or a query of the form #(name==\"x\")",
            Self::NotAnObject { .. } => "use data in place of dataFrom.extract, or store a JSON object",
            Self::Decode { .. } => "correct decodingStrategy or the value in the store",
            Self::NullByte { .. } => "set nullBytePolicy to Ignore if binary values are meant",
            Self::Collision { .. } => "use conversionStrategy Unicode, or rewrite",
            Self::EntryName { .. } => "use rewrite to give it a name of letters, digits, '-', '_' and '.'",
            Self::Rewrite { .. } | Self::Template { .. } | Self::Spec { .. } => "correct the spec",
            Self::Unsupported { .. } => "",
            Self::Nothing => "create the values in the store",
            Self::OwnedByAnother { .. } => "give each ExternalSecret a target.name of its own",
            Self::Controlled { .. } => "use creationPolicy Merge, or another target.name",
            Self::Immutable { .. } => "delete the Secret to have it made again",
        }
        .into()
    }
}
