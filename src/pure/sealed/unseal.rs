//! A whole SealedSecret opened: every entry is attempted, and the errors are grouped as the incumbent groups them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::blob::{self, Blob, BlobDigest, IllegalBase64};
use super::diagnose::{Cause, diagnose};
use super::item::{self, OpenFailure};
use super::keys::{KeyFingerprint, SealingKey, SealingKeys};
use super::legacy;
use super::render;
use super::scope::Scope;
use crate::pure::crd::sealed_secret::{SealedSecret, SecretTemplate};
use crate::pure::desired::{Candidate, ObservedSecret, Proof};
use crate::pure::error::{Explain, Retry};
use crate::pure::limits;
use crate::pure::queue::ObjectKey;
use crate::pure::secret::SecretData;
use crate::pure::template::TemplateCache;
use crate::pure::template::kept::{Kept, Live, Target};

/// What an object asks of us, beyond the drop-in defaults.
#[derive(Clone, Copy, Debug)]
pub struct UnsealOptions {
    /// Whether the deprecated `spec.data` is opened; the incumbent's default is yes.
    pub deprecated_data: bool,
    /// Whether every entry is attempted and failures are explained. Never for a caller over HTTP: the explanation says
    /// what other scopes hold, and a body full of entries that no key opens would cost a private-key operation for each
    /// entry and key. Without it the first failure ends the work, and so does the number of operations
    /// ([`limits::HTTP_KEY_OPERATIONS`]).
    pub explain: bool,
}

impl Default for UnsealOptions {
    fn default() -> Self {
        Self { deprecated_data: true, explain: true }
    }
}

/// What makes the next time cheaper, nothing of it secret. Which key opened which value: ciphertext digests and key
/// fingerprints, bounded: when the younger half is full, the older half is dropped. And the templates, parsed.
#[derive(Default)]
pub struct Hints {
    young: HashMap<BlobDigest, KeyFingerprint>,
    old: HashMap<BlobDigest, KeyFingerprint>,
    templates: TemplateCache,
}

impl Hints {
    /// The key that opened this value.
    pub fn get(&self, digest: &BlobDigest) -> Option<&KeyFingerprint> {
        self.young.get(digest).or_else(|| self.old.get(digest))
    }

    /// What is known about the values of one object, as a map of its own: the shared one is then free for others.
    pub fn for_object(&self, object: &SealedSecret) -> Self {
        let texts = object.spec.encrypted_data.0.values().chain(&object.spec.data);
        let digests = texts.filter_map(|text| Some(Blob::parse(&blob::decode(text).ok()?).ok()?.digest()));
        let young = digests.filter_map(|digest| Some((digest, self.get(&digest)?.clone()))).collect();
        Self { young, old: HashMap::new(), templates: self.templates.clone() }
    }

    /// The templates that were parsed.
    pub fn templates(&self) -> &TemplateCache {
        &self.templates
    }

    /// Remembers that this key opens every value of the object.
    pub fn remember_all(&mut self, object: &SealedSecret, key: &KeyFingerprint) {
        let texts = object.spec.encrypted_data.0.iter().map(|(entry, text)| (entry.as_str(), text));
        let texts = texts.chain(object.spec.data.iter().map(|text| ("", text)));
        let found = texts.filter_map(|(entry, text)| {
            let digest = Blob::parse(&blob::decode(text).ok()?).ok()?.digest();
            Some(Found { entry: entry.into(), digest, key: key.clone() })
        });
        self.remember(&found.collect::<Vec<_>>());
    }

    /// Remembers what a call of [`open_entries`] or [`unseal`] found.
    pub fn remember(&mut self, found: &[Found]) {
        for Found { digest, key, .. } in found {
            if self.young.len() >= limits::SEALED_HINTS / 2 {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(*digest, key.clone());
        }
    }
}

/// One value and the key that opened it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Entry name; empty for the deprecated `spec.data`.
    pub entry: String,
    /// Identifies the value.
    pub digest: BlobDigest,
    /// Fingerprint of the key.
    pub key: KeyFingerprint,
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
                    groups.iter().map(|(text, entries)| format!("{text} ({})", entries.join(", "))).collect();
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
            Self::MalformedTemplate { field } => write!(f, "{field} does not have the type that the schema gives it"),
        }
    }
}

impl std::error::Error for UnsealError {}

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
            Self::MalformedTemplate { .. } => "MalformedTemplate",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        let explain = |entry: &str, failure: &EntryFailure| match failure {
            EntryFailure::NoKey(cause) if entry.is_empty() => Some(cause.to_string()),
            EntryFailure::NoKey(cause) => Some(format!("{entry}: {cause}")),
            EntryFailure::Base64(_) | EntryFailure::Template(_) => None,
        };
        match self {
            Self::Entries(failures) => {
                // One entry's cause stands for all that share it.
                let mut seen: Vec<&Cause> = vec![];
                let mut lines = vec![];
                for (entry, failure) in failures {
                    if let EntryFailure::NoKey(cause) = failure {
                        if seen.contains(&cause) {
                            continue;
                        }
                        seen.push(cause);
                    }
                    lines.extend(explain(entry, failure));
                }
                lines.join("; ")
            }
            Self::DeprecatedData(failure) => explain("", failure).unwrap_or_default(),
            Self::NotASecret => "seal it again with kubeseal".into(),
            Self::BothForms => "remove spec.data".into(),
            Self::DeprecatedOff => "seal it again with kubeseal, or allow the deprecated form".into(),
            Self::MalformedTemplate { .. } => "correct the field; it is not used as it is".into(),
        }
    }
}

/// The values of a SealedSecret, opened but not rendered. This is all that an HTTP endpoint may make: templates are not
/// covered by the seal, and rendering them on request is an oracle for the values.
pub struct OpenedEntries {
    /// The values.
    pub data: SecretData,
    /// Which key opened which, for [`Hints::remember`] and for the inventory.
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

    /// The Secret before the guards, without owner references, and the proof that its values opened under the scope of
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
    let template = template(object)?;
    let opened = open_entries(object, keys, hints, options)?;
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
            owners: vec![],
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
    let explain = options.explain;
    let operations = if explain { usize::MAX } else { limits::HTTP_KEY_OPERATIONS };
    let mut opener = Opener { object, keys, hints, sibling: None, found: vec![], diagnoses: 0, explain, operations };
    let Some(deprecated) = &object.spec.data else {
        let mut data = SecretData::new();
        let mut failures = BTreeMap::new();
        for (entry, text) in &object.spec.encrypted_data.0 {
            match opener.open(entry, text) {
                Ok(value) => drop(data.insert(entry.as_str(), value)),
                Err(failure) => drop(failures.insert(entry.clone(), failure)),
            }
            if !options.explain && !failures.is_empty() {
                break;
            }
        }
        if failures.is_empty() {
            return Ok(OpenedEntries { data, found: opener.found, legacy: None });
        }
        return Err(UnsealError::Entries(failures));
    };
    if !options.deprecated_data {
        return Err(UnsealError::DeprecatedOff);
    }
    if !object.spec.encrypted_data.0.is_empty() {
        return Err(UnsealError::BothForms);
    }
    let value = opener.open("", deprecated).map_err(UnsealError::DeprecatedData)?;
    let (legacy, data) = legacy::parse(&value).ok_or(UnsealError::NotASecret)?;
    Ok(OpenedEntries { data, found: opener.found, legacy: Some(legacy) })
}

struct Opener<'a> {
    object: &'a SealedSecret,
    keys: &'a SealingKeys,
    hints: &'a Hints,
    sibling: Option<Arc<SealingKey>>,
    found: Vec<Found>,
    diagnoses: usize,
    explain: bool,
    /// Private-key operations that may still be spent.
    operations: usize,
}

impl Opener<'_> {
    fn open(&mut self, entry: &str, text: &str) -> Result<crate::pure::secret::Plaintext, EntryFailure> {
        let bytes = blob::decode(text).map_err(EntryFailure::Base64)?;
        if bytes.is_empty() {
            return Err(EntryFailure::NoKey(Cause::Empty));
        }
        let blob = Blob::parse(&bytes).map_err(|_| EntryFailure::NoKey(Cause::CutShort))?;
        let digest = blob.digest();
        let key = object_key(self.object);
        let label = object_scope(self.object).label(&key.namespace, &key.name);
        for candidate in self.candidates(&digest) {
            if self.operations == 0 {
                break;
            }
            self.operations -= 1;
            match item::open(&blob, candidate.private(), &label) {
                Ok(value) => {
                    let key = candidate.fingerprint().clone();
                    self.found.push(Found { entry: entry.into(), digest, key });
                    self.sibling = Some(candidate);
                    return Ok(value);
                }
                Err(OpenFailure::Damaged) => {
                    let key = candidate.name().to_owned();
                    return Err(EntryFailure::NoKey(Cause::Damaged { key }));
                }
                Err(OpenFailure::NotThisKey) => {}
            }
        }
        // Finding out why costs as much as trying again with every key: for the first entries only.
        if !self.explain || self.diagnoses >= limits::SEALED_DIAGNOSES {
            return Err(EntryFailure::NoKey(Cause::Unknown));
        }
        self.diagnoses += 1;
        Err(EntryFailure::NoKey(diagnose(self.object, &blob, self.keys)))
    }

    /// The remembered key, the sibling's key, then all from the newest on; each key pair once.
    fn candidates(&self, digest: &BlobDigest) -> Vec<Arc<SealingKey>> {
        let hinted = self.hints.get(digest).and_then(|fingerprint| self.keys.by_fingerprint(fingerprint));
        let mut order: Vec<Arc<SealingKey>> = Vec::with_capacity(self.keys.len());
        for key in hinted.into_iter().chain(self.sibling.as_ref()).chain(self.keys.active()) {
            if !order.iter().any(|seen| seen.fingerprint() == key.fingerprint()) {
                order.push(key.clone());
            }
        }
        order
    }
}
