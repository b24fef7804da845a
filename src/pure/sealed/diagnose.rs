//! Why a value did not open, as far as it can be known by whoever holds the keys.
//!
//! Other scopes, names and keys are tried here for the message only: whatever opens is dropped at once. The answer
//! stays inside the controller and its status; over HTTP it would be an oracle.

use std::fmt;

use super::blob::Blob;
use super::keys::{KeyState, SealingKey, SealingKeys};
use super::scope::Scope;
use super::unseal::{object_key, object_scope};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::limits;

/// What is known about a value that did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No text, or something that is not a text.
    Empty,
    /// Shorter than it says it is.
    CutShort,
    /// Key and scope are right, the text was changed.
    Damaged {
        /// Name of the key.
        key: String,
    },
    /// It opens under another scope.
    OtherScope {
        /// The scope it was sealed for.
        sealed: Scope,
        /// The scope that the object asks for.
        asked: Scope,
    },
    /// It opens under another name or namespace that the object mentions.
    OtherObject {
        /// `namespace/name`, or only the namespace.
        sealed: String,
    },
    /// It opens with a key that is no longer active.
    RetiredKey {
        /// Name of the key.
        key: String,
        /// Value of its label.
        state: String,
    },
    /// No key of this size is here.
    NoKeyOfThisSize {
        /// Modulus in bits.
        bits: usize,
    },
    /// There is no active key at all.
    NoKeys,
    /// None of the above.
    Unknown,
    /// It was not looked for yet.
    NotYetKnown,
    /// It is not looked for: [`limits::SEALED_DIAGNOSES`] others were.
    NotLookedFor,
}

impl Cause {
    /// Stable PascalCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "EmptyEntry",
            Self::CutShort | Self::Damaged { .. } => "DamagedEntry",
            Self::OtherScope { .. } => "WrongScope",
            Self::OtherObject { .. } => "WrongObject",
            Self::RetiredKey { .. } => "RetiredKey",
            Self::NoKeyOfThisSize { .. } | Self::NoKeys | Self::Unknown | Self::NotYetKnown | Self::NotLookedFor => {
                "NoKey"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the entry is empty or not a string"),
            Self::CutShort => f.write_str("the text is cut short"),
            Self::Damaged { key } => {
                write!(f, "key {key} and the scope are right, but the text was changed or cut after it was sealed")
            }
            Self::OtherScope { sealed, asked: Scope::Strict } => {
                write!(f, "it was sealed with {sealed} scope; {}", annotate(*sealed))
            }
            Self::OtherScope { sealed, asked } => {
                write!(
                    f,
                    "it was sealed with {sealed} scope, and the object is annotated {asked}; {}",
                    annotate(*sealed)
                )
            }
            Self::OtherObject { sealed } => {
                write!(f, "it was sealed for {sealed}; seal it again for this name and namespace")
            }
            Self::RetiredKey { key, state } => {
                write!(f, "it was sealed with key {key}, which is labelled {state:?} and not used; seal it again")
            }
            Self::NoKeyOfThisSize { bits } => {
                write!(f, "it was sealed with a {bits}-bit key, and no active key here has that size")
            }
            Self::NoKeys => f.write_str("there is no active sealing key"),
            Self::NotYetKnown => f.write_str("the reason is looked for"),
            Self::NotLookedFor => f.write_str("the reason was not looked for"),
            Self::Unknown => f.write_str(
                "it was sealed for another cluster, with a key that is gone, or for another name or namespace; \
                 seal it again with the current certificate, or restore the key",
            ),
        }
    }
}

fn annotate(scope: Scope) -> String {
    match scope.annotation() {
        Some(annotation) => format!("annotate the SealedSecret with {annotation}: \"true\", or seal it again"),
        None => "remove the scope annotation of the SealedSecret, or seal it again".into(),
    }
}

/// Looks for the cause of a value that no active key opened under the scope of its object. `opens` says whether its session
/// key opens with a key under a label; `None` ends the search, since that is not known now.
pub fn diagnose(
    object: &SealedSecret,
    blob: &Blob,
    keys: &SealingKeys,
    mut opens: impl FnMut(&SealingKey, &[u8]) -> Option<bool>,
) -> Cause {
    if keys.is_empty() {
        return Cause::NoKeys;
    }
    if !keys.iter().any(|key| key.fits(blob)) {
        return Cause::NoKeyOfThisSize { bits: blob.wrapped.len() * 8 };
    }
    let labels = labels_to_try(object);
    let mut attempts = 0;
    for (index, (label, cause)) in labels.into_iter().enumerate() {
        for key in keys.iter().filter(|key| key.fits(blob)) {
            // Active keys were tried under the first label already: that one is the object's own.
            let retired = match key.state() {
                KeyState::Active if index == 0 => continue,
                KeyState::Active => None,
                KeyState::Retired(_) => {
                    Some(Cause::RetiredKey { key: key.name().into(), state: key.state().to_string() })
                }
            };
            if attempts >= limits::SEALED_DIAGNOSIS_ATTEMPTS {
                return Cause::Unknown;
            }
            attempts += 1;
            match opens(key, &label) {
                Some(false) => {}
                Some(true) => return retired.or(cause).unwrap_or(Cause::Unknown),
                None => return Cause::NotYetKnown,
            }
        }
    }
    Cause::Unknown
}

/// The object's own label, then what it could have been sealed with, the likeliest first.
fn labels_to_try(object: &SealedSecret) -> Vec<(Vec<u8>, Option<Cause>)> {
    let asked = object_scope(object);
    let own = object_key(object);
    let mut labels = vec![(asked.label(&own.namespace, &own.name), None)];
    let mut push = |label: Vec<u8>, cause: Cause| {
        if !labels.iter().any(|(seen, _)| *seen == label) {
            labels.push((label, Some(cause)));
        }
    };
    for sealed in Scope::ALL {
        push(sealed.label(&own.namespace, &own.name), Cause::OtherScope { sealed, asked });
    }
    // What kubeseal wrote into the template is what it sealed for; "default" is where it seals without a namespace.
    let template = object.spec.template.get().map(|template| &template.metadata).ok();
    let given =
        |text: Option<&String>, own: &str| text.filter(|text| !text.is_empty()).map_or(own.to_owned(), Clone::clone);
    let name = given(template.map(|meta| &meta.name), &own.name);
    let namespace = given(template.map(|meta| &meta.namespace), &own.namespace);
    for (namespace, name) in [(&namespace, &name), (&own.namespace, &name), (&namespace, &own.name)] {
        push(Scope::Strict.label(namespace, name), Cause::OtherObject { sealed: format!("{namespace}/{name}") });
    }
    push(Scope::NamespaceWide.label(&namespace, ""), Cause::OtherObject { sealed: format!("namespace {namespace}") });
    let default = "default";
    push(Scope::Strict.label(default, &own.name), Cause::OtherObject { sealed: format!("{default}/{}", own.name) });
    push(Scope::NamespaceWide.label(default, ""), Cause::OtherObject { sealed: format!("namespace {default}") });
    labels
}
