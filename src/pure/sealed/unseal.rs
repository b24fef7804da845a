//! A whole SealedSecret opened: every entry is attempted, and the errors are grouped as the incumbent groups them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::blob::{self, IllegalBase64};
use super::diagnose::Cause;
use super::hints::{Found, Hints, Learnt};
use super::keys::SealingKeys;
use super::legacy;
use super::opener::{Effort, Opener, Unopened};
use super::render;
use super::scope::Scope;
use crate::pure::crd::sealed_secret::{SealedSecret, SecretTemplate};
use crate::pure::desired::{Candidate, ObservedSecret, Proof};
use crate::pure::error::{Explain, Retry};
use crate::pure::limits;
use crate::pure::queue::ObjectKey;
use crate::pure::secret::SecretData;
use crate::pure::template::kept::{Kept, Live, Target};

/// What an object asks of us, beyond the drop-in defaults.
#[derive(Clone, Copy, Debug)]
pub struct UnsealOptions {
    /// Whether the deprecated `spec.data` is opened; the incumbent's default is yes.
    pub deprecated_data: bool,
    /// How much may be spent.
    pub effort: Effort,
}

impl Default for UnsealOptions {
    fn default() -> Self {
        Self { deprecated_data: true, effort: Effort::Explain }
    }
}

/// Why one entry did not open.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryFailure {
    /// Not base64.
    Base64(IllegalBase64),
    /// No active key opened it under the scope of its object.
    NoKey(Cause),
    /// The template of this entry failed; the text names no value.
    Template(String),
}

impl fmt::Display for EntryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64(error) => error.fmt(f),
            Self::NoKey(_) => f.write_str("no key could decrypt secret"),
            Self::Template(text) => f.write_str(text),
        }
    }
}

/// A SealedSecret did not open. The texts are the incumbent's, which users and tests read; what is more is in the hint.
#[derive(Debug, PartialEq, Eq)]
pub enum UnsealError {
    /// Some entries failed, by name.
    Entries(BTreeMap<String, EntryFailure>),
    /// The deprecated `spec.data` did not open.
    DeprecatedData(EntryFailure),
    /// What `spec.data` held is not a Secret.
    NotASecret,
    /// Both forms at once.
    BothForms,
    /// The deprecated form, which was turned off.
    DeprecatedOff,
    /// The turn ([`Effort::Turn`]) is over, and not every key was tried.
    TurnOver,
    /// The template has another shape than the schema says.
    MalformedTemplate {
        /// Path of the field.
        field: String,
    },
}

impl fmt::Display for UnsealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(failures) => {
                let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
                for (entry, failure) in failures {
                    groups.entry(failure.to_string()).or_default().push(entry);
                }
                let lines: Vec<_> =
                    groups.iter().map(|(text, entries)| format!("{text} ({})", named(entries))).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::DeprecatedData(failure) => failure.fmt(f),
            Self::NotASecret => f.write_str("the deprecated field 'data' does not hold a v1 Secret"),
            Self::BothForms => {
                f.write_str("cannot use the field 'encryptedData' and the deprecated field 'data' at the same time")
            }
            Self::DeprecatedOff => {
                f.write_str("using deprecated 'data' field, use 'encryptedData' or flip the feature flag")
            }
            Self::TurnOver => f.write_str("not every key was tried yet"),
            Self::MalformedTemplate { field } => write!(f, "{field} does not have the type that the schema gives it"),
        }
    }
}

impl std::error::Error for UnsealError {}

/// Names, so many that a message stays readable, and the number of the rest.
fn named(entries: &[&str]) -> String {
    let shown = entries.get(..limits::SEALED_NAMED).unwrap_or(entries).join(", ");
    match entries.len().saturating_sub(limits::SEALED_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl UnsealError {
    /// Whether the reason of some entry can be found and is not known yet.
    pub fn is_unexplained(&self) -> bool {
        let pending = |failure: &EntryFailure| *failure == EntryFailure::NoKey(Cause::NotYetKnown);
        match self {
            Self::Entries(failures) => failures.values().any(pending),
            Self::DeprecatedData(failure) => pending(failure),
            _ => false,
        }
    }
}

impl Explain for UnsealError {
    fn reason(&self) -> &'static str {
        let of_entry = |failure: &EntryFailure| match failure {
            EntryFailure::Base64(_) => "IllegalBase64",
            EntryFailure::NoKey(cause) => cause.reason(),
            EntryFailure::Template(_) => "TemplateFailed",
        };
        match self {
            // The first in name order: a reason is one word.
            Self::Entries(failures) => failures.values().next().map_or("NoKey", of_entry),
            Self::DeprecatedData(failure) => of_entry(failure),
            Self::NotASecret => "NotASecret",
            Self::BothForms => "BothForms",
            Self::DeprecatedOff => "DeprecatedData",
            Self::TurnOver => "TurnOver",
            Self::MalformedTemplate { .. } => "MalformedTemplate",
        }
    }

    fn retry(&self) -> Retry {
        if *self == Self::TurnOver { Retry::Backoff } else { Retry::OnChange }
    }

    fn hint(&self) -> String {
        match self {
            Self::Entries(failures) => causes(failures),
            Self::DeprecatedData(EntryFailure::NoKey(cause)) => cause.to_string(),
            Self::DeprecatedData(_) | Self::TurnOver => String::new(),
            Self::NotASecret => "seal it again with kubeseal".into(),
            Self::BothForms => "remove spec.data".into(),
            Self::DeprecatedOff => "seal it again with kubeseal, or allow the deprecated form".into(),
            Self::MalformedTemplate { .. } => "correct the field; it is not used as it is".into(),
        }
    }
}

/// Each cause with the entries that fail for it, in the order of their names.
fn causes(failures: &BTreeMap<String, EntryFailure>) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = vec![];
    let mut not_looked_for = 0;
    for (entry, failure) in failures {
        match failure {
            EntryFailure::NoKey(Cause::NotLookedFor) => not_looked_for += 1,
            EntryFailure::NoKey(Cause::NotYetKnown) | EntryFailure::Base64(_) | EntryFailure::Template(_) => {}
            EntryFailure::NoKey(cause) => {
                let text = cause.to_string();
                match groups.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, entries)) => entries.push(entry),
                    None => groups.push((text, vec![entry])),
                }
            }
        }
    }
    let mut lines: Vec<_> = groups.iter().map(|(text, entries)| format!("{}: {text}", named(entries))).collect();
    if not_looked_for > 0 {
        lines.push(format!("why {not_looked_for} more entries fail was not looked for"));
    }
    lines.join("; ")
}

/// The values of a SealedSecret, opened but not rendered. This is all that an HTTP endpoint may make: templates are not
/// covered by the seal, and rendering them on request is an oracle for the values.
pub struct OpenedEntries {
    /// The values.
    pub data: SecretData,
    /// Which key opened which, for the inventory.
    pub found: Vec<Found>,
    /// What the deprecated form said about type and metadata.
    pub legacy: Option<legacy::LegacySecret>,
}

/// A SealedSecret opened and rendered.
pub struct Unsealed {
    candidate: Candidate,
    skip_owner: bool,
    found: Vec<Found>,
    kept: Kept,
}

impl Unsealed {
    /// Which key opened which entry.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Whether the template asks for a Secret without an owner reference.
    pub fn skip_owner(&self) -> bool {
        self.skip_owner
    }

    /// Puts results of random templates that are still good in place of those just made, see [`Kept::settle`].
    pub(super) fn keep(&mut self, live: Option<&ObservedSecret>) {
        let Candidate { data, labels, annotations, .. } = &mut self.candidate;
        let live = live.map(|live| Live { data: &live.data, labels: &live.labels, annotations: &live.annotations });
        self.kept.settle(&mut Target { data, labels, annotations }, live.as_ref());
    }

    /// The Secret before the guards, without its SealedSecret as the owner, and the proof that its values opened under the scope of
    /// their object. [`super::decide`] adds the owner.
    pub fn into_candidate(self) -> (Candidate, Proof) {
        (self.candidate, Proof::sealed_opened())
    }
}

/// Name and namespace of the object.
pub fn object_key(object: &SealedSecret) -> ObjectKey {
    let meta = &object.metadata;
    ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The scope that the object's own annotations ask for. Those of its template have no say.
pub fn object_scope(object: &SealedSecret) -> Scope {
    object.metadata.annotations.as_ref().map_or(Scope::Strict, Scope::of)
}

/// Opens and renders with the drop-in defaults. `now` is for templates that ask for the time.
pub fn unseal(
    object: &SealedSecret,
    keys: &SealingKeys,
    hints: &Hints,
    now: Timestamp,
) -> Result<Unsealed, UnsealError> {
    unseal_with(object, keys, hints, now, UnsealOptions::default())
}

/// Opens and renders.
pub fn unseal_with(
    object: &SealedSecret,
    keys: &SealingKeys,
    hints: &Hints,
    now: Timestamp,
    options: UnsealOptions,
) -> Result<Unsealed, UnsealError> {
    unseal_and_learn(object, keys, hints, now, options).0
}

/// Opens and renders, and says what was found out on the way, whether it failed or not: for [`Hints::learn`].
pub fn unseal_and_learn(
    object: &SealedSecret,
    keys: &SealingKeys,
    hints: &Hints,
    now: Timestamp,
    options: UnsealOptions,
) -> (Result<Unsealed, UnsealError>, Learnt) {
    let template = match template(object) {
        Ok(template) => template,
        Err(error) => return (Err(error), Learnt::default()),
    };
    let mut opener = Opener::new(object, keys, hints, options.effort);
    let unsealed = opened(object, &mut opener, options)
        .and_then(|opened| render_opened(object, template, opened, (keys, hints, now)));
    (unsealed, opener.learnt)
}

fn render_opened(
    object: &SealedSecret,
    template: &SecretTemplate,
    opened: OpenedEntries,
    (keys, hints, now): (&SealingKeys, &Hints, Timestamp),
) -> Result<Unsealed, UnsealError> {
    let key = object_key(object);
    let skip_owner = template.metadata.annotations.get(super::decide::SKIP_OWNER).is_some_and(|value| value == "true");
    let mut kept = Kept::new([]);
    let candidate = match opened.legacy {
        Some(legacy) => Candidate {
            namespace: key.namespace,
            name: key.name,
            kind: legacy.kind,
            labels: legacy.labels,
            annotations: legacy.annotations,
            finalizers: legacy.finalizers,
            owners: vec![],
            immutable: legacy.immutable,
            data: opened.data,
        },
        None => Candidate {
            namespace: key.namespace,
            name: key.name,
            kind: template.kind.clone(),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            // Where the SealedSecret is not to be the owner, its template may name others.
            owners: if skip_owner { owners(template) } else { vec![] },
            immutable: template.immutable,
            data: {
                let (data, random) =
                    render::render(template, opened.data, hints.templates(), now).map_err(UnsealError::Entries)?;
                kept = random;
                kept.keyed_by(keys.active().map(|key| key.marks()));
                data
            },
        },
    };
    Ok(Unsealed { candidate, skip_owner, found: opened.found, kept })
}

fn owners(template: &SecretTemplate) -> Vec<OwnerReference> {
    let named = template.metadata.rest.get("ownerReferences").cloned();
    named.and_then(|named| serde_json::from_value(named).ok()).unwrap_or_default()
}

/// The template, or which field of it is not what it should be.
pub fn template(object: &SealedSecret) -> Result<&SecretTemplate, UnsealError> {
    object.spec.template.get().map_err(|field| UnsealError::MalformedTemplate { field: field.into() })
}

/// Opens every value, and renders nothing.
pub fn open_entries(
    object: &SealedSecret,
    keys: &SealingKeys,
    hints: &Hints,
    options: UnsealOptions,
) -> Result<OpenedEntries, UnsealError> {
    opened(object, &mut Opener::new(object, keys, hints, options.effort), options)
}

fn opened(
    object: &SealedSecret,
    opener: &mut Opener<'_>,
    options: UnsealOptions,
) -> Result<OpenedEntries, UnsealError> {
    let mut open = |entry: &str, text: &str| {
        let bytes = blob::decode(text).map_err(EntryFailure::Base64)?;
        opener.open(entry, &bytes)
    };
    let Some(deprecated) = &object.spec.data else {
        let mut data = SecretData::new();
        let mut failures = BTreeMap::new();
        for (entry, text) in &object.spec.encrypted_data.0 {
            match open(entry, text) {
                Ok(value) => drop(data.insert(entry.as_str(), value)),
                Err(Unopened::Failed(failure)) => drop(failures.insert(entry.clone(), failure)),
                Err(Unopened::TurnOver) => return Err(UnsealError::TurnOver),
            }
            if options.effort == Effort::Verdict && !failures.is_empty() {
                break;
            }
        }
        if failures.is_empty() {
            return Ok(OpenedEntries { data, found: opener.learnt.found.clone(), legacy: None });
        }
        return Err(UnsealError::Entries(failures));
    };
    if !options.deprecated_data {
        return Err(UnsealError::DeprecatedOff);
    }
    if !object.spec.encrypted_data.0.is_empty() {
        return Err(UnsealError::BothForms);
    }
    let value = open("", deprecated).map_err(|unopened| match unopened {
        Unopened::Failed(failure) => UnsealError::DeprecatedData(failure),
        Unopened::TurnOver => UnsealError::TurnOver,
    })?;
    let (legacy, data) = legacy::parse(&value).ok_or(UnsealError::NotASecret)?;
    Ok(OpenedEntries { data, found: opener.learnt.found.clone(), legacy: Some(legacy) })
}
