//! The Secret that should exist, and the guards that every Secret passes before it may be written.
//!
//! Only [`guard`] makes a [`DesiredSecret`], only from a [`Proof`] that a decryption or a render succeeded, and the one
//! writer in `adapters::k8s` takes nothing else.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::{Explain, Retry};
use super::limits;
use super::secret::{Plaintext, SecretData};

/// Evidence that the bytes of a candidate were verified. Only code of the pure floor can make one, next to the check
/// that it stands for.
pub struct Proof(ProofKind);

enum ProofKind {
    Sops,
    Sealed,
    External,
}

impl Proof {
    /// A SOPS document whose MAC was verified over the bytes of the file.
    pub(in crate::pure) fn sops_opened() -> Self {
        Self(ProofKind::Sops)
    }

    /// Sealed items whose authenticated encryption opened under the scope of their object.
    pub(in crate::pure) fn sealed_opened() -> Self {
        Self(ProofKind::Sealed)
    }

    /// Values that a store returned for exactly the references of an ExternalSecret.
    pub(in crate::pure) fn external_rendered() -> Self {
        Self(ProofKind::External)
    }
}

/// Everything a Secret is made of, before the guards.
pub struct Candidate {
    /// Namespace; empty only on the command line, where the manifest leaves it to `kubectl`.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// `type`; empty means that the field is left out, which the API server reads as `Opaque`.
    pub kind: String,
    /// `metadata.labels`, complete.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, complete.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.finalizers`, complete.
    pub finalizers: Vec<String>,
    /// `metadata.ownerReferences`, complete.
    pub owners: Vec<OwnerReference>,
    /// `immutable`.
    pub immutable: Option<bool>,
    /// `data`, decoded.
    pub data: SecretData,
}

/// What the guards allow beyond the safe default. An admin's grant, never a field of the guarded object.
#[derive(Clone, Debug, Default)]
pub struct GuardPolicy {
    /// Namespace that the Secret must be in; `None` on the command line.
    pub namespace: Option<String>,
    /// Allows the types that make the control plane mint credentials.
    pub allow_token_types: bool,
    /// Allows a Secret without a name, which is printed and not written.
    pub allow_unnamed: bool,
}

/// Secret types that make the control plane mint a credential for whoever may write them (CVE-2026-42876 and kin).
const TOKEN_TYPES: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// Label that turns a Secret of the operator's namespace into a sealing key. It must never come out of user content.
pub const SEALING_KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

/// A refused Secret. The text names the Secret and the entry, never a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum GuardError {
    #[error("Secret {secret}: entry \"{entry}\" still holds SOPS ciphertext")]
    StillEncrypted { secret: String, entry: String },
    #[error("Secret {secret}: type {kind} makes the control plane mint a credential")]
    ForbiddenType { secret: String, kind: String },
    #[error("Secret {secret}: label {label} is reserved for sealing keys")]
    ReservedLabel { secret: String, label: String },
    #[error("Secret {secret} belongs to namespace \"{found}\", and only \"{allowed}\" may be written here")]
    ForeignNamespace { secret: String, found: String, allowed: String },
    #[error("Secret {secret}: entry name \"{entry}\" is not valid")]
    EntryName { secret: String, entry: String },
    #[error("Secret {secret} holds {bytes} bytes, and the API server takes at most {max}")]
    TooLarge { secret: String, bytes: usize, max: usize },
    #[error("a Secret without a name")]
    NoName,
}

impl Explain for GuardError {
    fn reason(&self) -> &'static str {
        match self {
            Self::StillEncrypted { .. } => "StillEncrypted",
            Self::ForbiddenType { .. } => "ForbiddenType",
            Self::ReservedLabel { .. } => "ReservedLabel",
            Self::ForeignNamespace { .. } => "ForeignNamespace",
            Self::EntryName { .. } => "InvalidEntryName",
            Self::TooLarge { .. } => "SecretTooLarge",
            Self::NoName => "NoName",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::StillEncrypted { .. } => {
                "the value was encrypted twice, or the encryption rule of the file leaves it out of its own MAC; encrypt the plaintext again".into()
            }
            Self::ForbiddenType { .. } => "use another type, or have an administrator create this Secret".into(),
            Self::ReservedLabel { .. } => "remove the label; sealing keys are added by an administrator with kubectl".into(),
            Self::ForeignNamespace { .. } => "move the file to a source in that namespace".into(),
            Self::EntryName { .. } => "entry names take letters, digits, '-', '_' and '.', at most 253".into(),
            Self::TooLarge { .. } => "split it into several Secrets".into(),
            Self::NoName => "set metadata.name".into(),
        }
    }
}

/// A Secret that passed the guards: the only thing that the writer takes.
pub struct DesiredSecret(Candidate);

/// Checks a candidate. Anything that fails stays unwritten, and the last good Secret is kept.
pub fn guard(candidate: Candidate, proof: Proof, policy: &GuardPolicy) -> Result<DesiredSecret, GuardError> {
    if candidate.name.is_empty() && !policy.allow_unnamed {
        return Err(GuardError::NoName);
    }
    let secret = display_name(&candidate.namespace, &candidate.name);
    if let Some(allowed) = &policy.namespace
        && *allowed != candidate.namespace
    {
        return Err(GuardError::ForeignNamespace { secret, found: candidate.namespace, allowed: allowed.clone() });
    }
    if TOKEN_TYPES.contains(&candidate.kind.as_str()) && !policy.allow_token_types {
        return Err(GuardError::ForbiddenType { secret, kind: candidate.kind });
    }
    if candidate.labels.contains_key(SEALING_KEY_LABEL) {
        return Err(GuardError::ReservedLabel { secret, label: SEALING_KEY_LABEL.into() });
    }
    for (name, value) in candidate.data.iter() {
        if !is_entry_name(name) {
            return Err(GuardError::EntryName { secret, entry: name.into() });
        }
        // A value sealed or stored elsewhere may rightly be somebody's SOPS file; one that came out of SOPS may not.
        if matches!(proof.0, ProofKind::Sops) && value.expose().starts_with(b"ENC[AES256_GCM,") {
            return Err(GuardError::StillEncrypted { secret, entry: name.into() });
        }
    }
    let bytes = candidate.data.total_bytes();
    if bytes > limits::SECRET_BYTES {
        return Err(GuardError::TooLarge { secret, bytes, max: limits::SECRET_BYTES });
    }
    Ok(DesiredSecret(candidate))
}

/// Whether `name` may stand in a Secret's `data` (the API server's rule: `[-._a-zA-Z0-9]+`, at most 253, not `.` or `..`).
pub fn is_entry_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= limits::ENTRY_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !name.starts_with("..")
        && name != "."
}

fn display_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl DesiredSecret {
    /// Namespace, possibly empty on the command line.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `type`; empty when left out.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.0.labels
    }

    /// Annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.0.annotations
    }

    /// Finalizers.
    pub fn finalizers(&self) -> &[String] {
        &self.0.finalizers
    }

    /// Owner references.
    pub fn owners(&self) -> &[OwnerReference] {
        &self.0.owners
    }

    /// `immutable`.
    pub fn immutable(&self) -> Option<bool> {
        self.0.immutable
    }

    /// Decoded data.
    pub fn data(&self) -> &SecretData {
        &self.0.data
    }

    /// Whether a replacement of `live` by this Secret would change anything that a user or workload can see.
    pub fn differs_from(&self, live: &ObservedSecret) -> bool {
        // The API server stores an absent type as Opaque.
        let kind = if self.0.kind.is_empty() { "Opaque" } else { &self.0.kind };
        kind != live.kind
            || self.0.labels != live.labels
            || self.0.annotations != live.annotations
            || self.0.finalizers != live.finalizers
            || self.0.owners != live.owners
            || self.0.immutable.unwrap_or(false) != live.immutable.unwrap_or(false)
            || !self.0.data.same_as(&live.data)
    }

    /// The manifest as JSON, values in base64, ready for the API server. `resource_version` makes a replacement fail
    /// when somebody else wrote meanwhile.
    pub fn manifest(&self, resource_version: Option<&str>) -> Zeroizing<Vec<u8>> {
        let mut metadata = serde_json::Map::new();
        if !self.0.name.is_empty() {
            metadata.insert("name".into(), self.0.name.clone().into());
        }
        if !self.0.namespace.is_empty() {
            metadata.insert("namespace".into(), self.0.namespace.clone().into());
        }
        for (field, map) in [("labels", &self.0.labels), ("annotations", &self.0.annotations)] {
            if !map.is_empty() {
                metadata.insert(field.into(), serde_json::json!(map));
            }
        }
        if !self.0.finalizers.is_empty() {
            metadata.insert("finalizers".into(), self.0.finalizers.clone().into());
        }
        if !self.0.owners.is_empty() {
            let owners = self.0.owners.iter().map(owner_json).collect::<Vec<_>>();
            metadata.insert("ownerReferences".into(), owners.into());
        }
        if let Some(version) = resource_version {
            metadata.insert("resourceVersion".into(), version.into());
        }
        // Room for the whole body, so that growing it does not leave copies of values behind in freed memory.
        let mut body = Vec::with_capacity(1024 + self.0.data.total_bytes() * 4 / 3 + self.0.data.len() * 300);
        body.extend_from_slice(br#"{"apiVersion":"v1","kind":"Secret","metadata":"#);
        body.extend_from_slice(serde_json::Value::Object(metadata).to_string().as_bytes());
        if !self.0.kind.is_empty() {
            body.extend_from_slice(br#","type":"#);
            body.extend_from_slice(serde_json::Value::from(self.0.kind.as_str()).to_string().as_bytes());
        }
        if let Some(immutable) = self.0.immutable {
            body.extend_from_slice(format!(r#","immutable":{immutable}"#).as_bytes());
        }
        body.extend_from_slice(br#","data":{"#);
        for (index, (name, value)) in self.0.data.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            body.extend_from_slice(b":\"");
            let encoded = Zeroizing::new(STANDARD.encode(value.expose()));
            body.extend_from_slice(encoded.as_bytes());
            body.push(b'"');
        }
        body.extend_from_slice(b"}}");
        Zeroizing::new(body)
    }
}

fn owner_json(owner: &OwnerReference) -> serde_json::Value {
    let mut value = serde_json::json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    for (field, flag) in [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)] {
        if let (Some(flag), Some(object)) = (flag, value.as_object_mut()) {
            object.insert(field.into(), flag.into());
        }
    }
    value
}

/// A Secret as the API server has it.
pub struct ObservedSecret {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Version for optimistic locking.
    pub resource_version: String,
    /// When it was created, RFC 3339.
    pub created: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// Owner references.
    pub owners: Vec<OwnerReference>,
    /// Who wrote which fields.
    pub managed_fields: Vec<ManagedFieldsEntry>,
    /// `type`.
    pub kind: String,
    /// `immutable`.
    pub immutable: Option<bool>,
    /// Decoded data.
    pub data: SecretData,
}

/// The body of a Secret could not be read. Says where, never what stood there.
#[derive(Debug, thiserror::Error)]
#[error("the API server's answer is not a Secret: {0}")]
pub struct ObservedError(String);

impl ObservedSecret {
    /// Decodes the API server's JSON. The clear copies made on the way are zeroised; the caller zeroises `body`.
    pub fn from_json(body: &[u8]) -> Result<Self, ObservedError> {
        // serde_json's text may quote the offending value: keep the place only.
        let wire: WireSecret = serde_json::from_slice(body).map_err(|e| {
            ObservedError(format!("{:?} error at line {} column {}", e.classify(), e.line(), e.column()))
        })?;
        Self::from_wire(wire)
    }

    /// Decodes the items of a SecretList.
    pub fn list_from_json(body: &[u8]) -> Result<Vec<Self>, ObservedError> {
        let list: WireList = serde_json::from_slice(body).map_err(|e| {
            ObservedError(format!("{:?} error at line {} column {}", e.classify(), e.line(), e.column()))
        })?;
        list.items.into_iter().map(Self::from_wire).collect()
    }

    fn from_wire(wire: WireSecret) -> Result<Self, ObservedError> {
        let mut data = SecretData::new();
        for (name, value) in wire.data.unwrap_or_default() {
            let bytes = STANDARD
                .decode(value.0.as_bytes())
                .map_err(|_| ObservedError(format!("entry \"{name}\" is not base64")))?;
            data.insert(name, Plaintext::new(bytes));
        }
        let meta = wire.metadata;
        Ok(Self {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            created: meta.creation_timestamp.map(|t| t.0.to_string()),
            deleting: meta.deletion_timestamp.is_some(),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default(),
            managed_fields: meta.managed_fields.unwrap_or_default(),
            kind: wire.kind.unwrap_or_default(),
            immutable: wire.immutable,
            data,
        })
    }

    /// The owner reference with `controller: true`, if any.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller == Some(true))
    }
}

/// base64 text of a value, zeroised after decoding.
#[derive(Deserialize, zeroize::ZeroizeOnDrop)]
struct WireValue(String);

#[derive(Deserialize)]
struct WireSecret {
    #[serde(default)]
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    #[serde(rename = "type")]
    kind: Option<String>,
    immutable: Option<bool>,
    data: Option<BTreeMap<String, WireValue>>,
}

#[derive(Deserialize)]
struct WireList {
    #[serde(default)]
    items: Vec<WireSecret>,
}

/// What a decision wants done with one Secret.
pub enum SecretAction {
    /// It is as it should be: no call at all.
    Keep,
    /// Write it.
    Write {
        /// The Secret.
        secret: DesiredSecret,
        /// How.
        how: WriteMode,
    },
    /// Delete exactly this object: the API server refuses when the UID is another one.
    Delete {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// UID precondition.
        uid: String,
    },
}

/// How a Secret is written. Drop-in kinds write as the incumbent does, since users see the field manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// POST; fails when it exists.
    Create {
        /// Field manager.
        manager: String,
    },
    /// PUT; fails when `resource_version` is not the current one.
    Replace {
        /// Field manager.
        manager: String,
        /// Version that the decision was made on.
        resource_version: String,
    },
    /// Server-side apply.
    Apply {
        /// Field manager.
        manager: String,
        /// Take over fields that another manager holds.
        force: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(entries: &[(&str, &[u8])]) -> Candidate {
        Candidate {
            namespace: "team".into(),
            name: "db".into(),
            kind: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            finalizers: vec![],
            owners: vec![],
            immutable: None,
            data: entries.iter().map(|(k, v)| ((*k).to_owned(), Plaintext::copy_of(v))).collect(),
        }
    }

    fn refused(candidate: Candidate, proof: Proof, policy: &GuardPolicy) -> &'static str {
        guard(candidate, proof, policy).err().map(|e| e.reason()).unwrap_or("accepted")
    }

    #[test]
    fn guards_refuse_what_must_never_be_written() {
        let here = GuardPolicy { namespace: Some("team".into()), ..Default::default() };
        assert_eq!(refused(candidate(&[("a", b"ok")]), Proof::sops_opened(), &here), "accepted");
        let cipher: &[(&str, &[u8])] = &[("a", b"ENC[AES256_GCM,data:x")];
        assert_eq!(refused(candidate(cipher), Proof::sops_opened(), &here), "StillEncrypted");
        assert_eq!(refused(candidate(cipher), Proof::external_rendered(), &here), "accepted");
        for kind in TOKEN_TYPES {
            let mut c = candidate(&[]);
            c.kind = kind.into();
            assert_eq!(refused(c, Proof::sealed_opened(), &here), "ForbiddenType");
        }
        let mut c = candidate(&[]);
        c.labels.insert(SEALING_KEY_LABEL.into(), "active".into());
        assert_eq!(refused(c, Proof::sealed_opened(), &here), "ReservedLabel");
        let elsewhere = GuardPolicy { namespace: Some("other".into()), ..Default::default() };
        assert_eq!(refused(candidate(&[]), Proof::sealed_opened(), &elsewhere), "ForeignNamespace");
        for name in ["", "a/b", "..", "..a", ".", "ü"] {
            assert_eq!(refused(candidate(&[(name, b"")]), Proof::sealed_opened(), &here), "InvalidEntryName", "{name}");
        }
        let big = vec![0u8; limits::SECRET_BYTES + 1];
        assert_eq!(refused(candidate(&[("a", &big)]), Proof::sealed_opened(), &here), "SecretTooLarge");
    }

    #[test]
    fn manifest_round_trips_through_the_api_shape() {
        let mut c = candidate(&[("bin", b"\xff\x00"), ("text", b"hello \"quoted\"")]);
        c.labels.insert("a".into(), "b\"c".into());
        c.immutable = Some(true);
        c.owners.push(OwnerReference {
            api_version: "bitnami.com/v1alpha1".into(),
            kind: "SealedSecret".into(),
            name: "db".into(),
            uid: "u".into(),
            controller: Some(true),
            block_owner_deletion: None,
        });
        let secret = guard(c, Proof::sealed_opened(), &GuardPolicy::default()).expect("accepted");
        let live = ObservedSecret::from_json(&secret.manifest(Some("7"))).expect("parses");
        assert_eq!(live.resource_version, "7");
        assert_eq!(live.controller().map(|o| o.uid.as_str()), Some("u"));
        assert!(live.data.same_as(secret.data()));
        let live = ObservedSecret { kind: "Opaque".into(), ..live };
        assert!(!secret.differs_from(&live), "an absent type is Opaque");
        let live = ObservedSecret { kind: "other".into(), ..live };
        assert!(secret.differs_from(&live));
    }

    #[test]
    fn a_bad_body_is_reported_without_its_content() {
        let error = ObservedSecret::from_json(br#"{"data":{"a":"hunter2 is not base64"}}"#).err().expect("refused");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = ObservedSecret::from_json(br#"{"data":{"a":["hunter2"]}}"#).err().expect("refused");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
