//! What `kubeseal` does with a Secret: every value sealed, everything else carried in the template.
//!
//! Messages are the incumbent's, word for word: scripts read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use zeroize::ZeroizeOnDrop;

use super::blob::{self, IllegalBase64};
use super::item::SealFailure;
use super::keys::Certificate;
use super::manifest::read_documents;
use super::reseal::{LAST_APPLIED, seal_entries, set_scope};
use super::scope::Scope;
use super::shape::{SECRET, Shape, is_metadata};
use crate::pure::crd::sealed_secret::{SealedSecret, SealedSecretSpec, SecretTemplate, Template, TemplateMetadata};
use crate::pure::secret::{Plaintext, SecretData};

/// A Secret could not be sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum SealError {
    #[error("no secrets found. Ensure the input is valid and UTF-8 encoded")]
    NoSecrets,
    #[error("no secrets found. Ensure the input is valid and UTF-8 encoded: it is not a Secret in JSON or YAML{0}")]
    Syntax(String),
    #[error(
        "secret.data is empty in input Secret, assuming this is an error and aborting. To work with empty data, --allow-empty-data can be used"
    )]
    Empty,
    #[error("missing metadata.name in input Secret")]
    NoName,
    #[error("namespace mismatch: input secret is in namespace {found:?} but {asked:?} was specified")]
    Namespace { found: String, asked: String },
    #[error("secret must declare a namespace")]
    NoNamespace,
    #[error("entry {entry} of the input Secret: {cause}")]
    Base64 { entry: String, cause: IllegalBase64 },
    #[error("{0}")]
    Seal(SealFailure),
    #[error("failed to encrypt using an expired certificate on {0}")]
    Expired(String),
    #[error("{0}")]
    Type(String),
    #[error("{0} does not have the type that the schema gives it")]
    MalformedTemplate(String),
}

/// Text that is wiped when it is dropped.
#[derive(Deserialize, ZeroizeOnDrop)]
struct Text(String);

/// A Secret as a user writes it. Its `kind` is not checked, as the incumbent does not; and the incumbent does not mind the
/// case of a field's name: what passed for `data` is not left out in silence.
#[derive(Default)]
pub struct SecretInput {
    metadata: TemplateMetadata,
    kind: String,
    immutable: Option<bool>,
    /// Whether it says what it is: nothing else is looked at, but such a document is not an empty one.
    is_named: bool,
    data: BTreeMap<String, Option<Text>>,
    string_data: BTreeMap<String, Option<Text>>,
}

/// The fields of an object, whatever their case. One that stands there twice is an error: one of the two was not meant.
fn fields<'de, A: MapAccess<'de>>(
    mut map: A,
    mut take: impl FnMut(&str, &mut A) -> Result<bool, A::Error>,
) -> Result<(), A::Error> {
    let mut seen = BTreeSet::new();
    while let Some(name) = map.next_key::<String>()? {
        let name = name.to_ascii_lowercase();
        if !take(&name, &mut map)? {
            map.next_value::<IgnoredAny>()?;
        } else if !seen.insert(name) {
            return Err(A::Error::custom("a field stands there twice"));
        }
    }
    Ok(())
}

/// The next value; what is null is empty.
fn value<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

impl<'de> Deserialize<'de> for SecretInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = SecretInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Secret")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretInput, A::Error> {
                let mut secret = SecretInput::default();
                fields(map, |name, map| {
                    match name {
                        "metadata" => secret.metadata = value::<_, Metadata>(map)?.0,
                        "type" => secret.kind = value(map)?,
                        "immutable" => secret.immutable = map.next_value()?,
                        "data" => secret.data = value(map)?,
                        "stringdata" => secret.string_data = value(map)?,
                        "kind" | "apiversion" => secret.is_named |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(secret)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What of its metadata goes into the template. The rest belongs to the live object, or is no field of metadata.
#[derive(Default)]
struct Metadata(TemplateMetadata);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Metadata, A::Error> {
                let mut metadata = TemplateMetadata::default();
                let texts = |texts: BTreeMap<String, Option<String>>| {
                    texts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect()
                };
                fields(map, |name, map| {
                    match name {
                        "name" => metadata.name = value(map)?,
                        "namespace" => metadata.namespace = value(map)?,
                        "labels" => metadata.labels = texts(value(map)?),
                        "annotations" => metadata.annotations = texts(value(map)?),
                        "finalizers" => {
                            let texts: Vec<Option<String>> = value(map)?;
                            metadata.finalizers = texts.into_iter().map(Option::unwrap_or_default).collect();
                        }
                        "generatename" => {
                            let text: String = value(map)?;
                            if !text.is_empty() {
                                metadata.rest.insert("generateName".into(), text.into());
                            }
                        }
                        "managedfields" => {
                            let entries: Vec<Value> = value(map)?;
                            if !entries.is_empty() {
                                metadata.rest.insert("managedFields".into(), entries.into());
                            }
                        }
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(Metadata(metadata))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What the command line says about a sealing.
#[derive(Clone, Debug, Default)]
pub struct SealRequest {
    /// Scope; strict leaves the choice to the annotations of the input.
    pub scope: Scope,
    /// Name in the place of the input's.
    pub name: Option<String>,
    /// Namespace in the place of the input's (`--merge-into`).
    pub namespace: Option<String>,
    /// Namespace of an input that has none.
    pub default_namespace: String,
    /// Whether that namespace was asked for explicitly: another one in the input is an error then.
    pub namespace_asked: bool,
    /// Whether a Secret without data is fine.
    pub allow_empty: bool,
}

/// Reads every Secret of a JSON or YAML text.
pub fn read_secrets(text: &[u8]) -> Result<Vec<SecretInput>, SealError> {
    let text = std::str::from_utf8(text).map_err(|_| SealError::NoSecrets)?;
    for (shape, is_yaml) in read_documents::<Shape>(text).map_err(SealError::Syntax)? {
        // What is no object is told below, with its line.
        if !matches!(shape, Shape::Map(_)) {
            continue;
        }
        let reader = if is_yaml { "error unmarshaling JSON: while decoding JSON: " } else { "" };
        SECRET.check(&shape, true).map_err(|why| SealError::Type(format!("{reader}{why}")))?;
    }
    let secrets = read_documents::<Option<SecretInput>>(text).map_err(SealError::Syntax)?;
    let secrets = secrets.into_iter().filter_map(|(secret, _)| secret).filter(|secret| !secret.is_nothing());
    let secrets: Vec<_> = secrets.collect();
    if secrets.is_empty() { Err(SealError::NoSecrets) } else { Ok(secrets) }
}

impl SecretInput {
    fn is_nothing(&self) -> bool {
        !self.is_named
            && self.metadata.is_empty()
            && self.kind.is_empty()
            && self.data.is_empty()
            && self.string_data.is_empty()
    }

    fn take_data(&mut self) -> Result<SecretData, SealError> {
        let mut data = SecretData::new();
        for (entry, text) in std::mem::take(&mut self.data) {
            let bytes = blob::decode(text.as_ref().map_or("", |text| &text.0))
                .map_err(|cause| SealError::Base64 { entry: entry.clone(), cause })?;
            data.insert(entry, Plaintext::new(bytes));
        }
        for (entry, text) in std::mem::take(&mut self.string_data) {
            data.insert(entry, Plaintext::copy_of(text.as_ref().map_or(&[], |text| text.0.as_bytes())));
        }
        Ok(data)
    }
}

/// Refuses a certificate that has ended: values sealed with it may never open.
pub fn check_expiry(certificate: &Certificate, now: Timestamp) -> Result<(), SealError> {
    if now > certificate.not_after() {
        return Err(SealError::Expired(certificate.not_after().strftime("%B %-d, %Y").to_string()));
    }
    Ok(())
}

/// Seals one Secret.
pub fn seal_secret(
    mut input: SecretInput,
    request: &SealRequest,
    certificate: &Certificate,
) -> Result<SealedSecret, SealError> {
    let data = input.take_data()?;
    if data.is_empty() && !request.allow_empty {
        return Err(SealError::Empty);
    }
    let mut metadata = input.metadata;
    if let Some(name) = request.name.as_ref().filter(|name| !name.is_empty()) {
        metadata.name.clone_from(name);
    }
    if metadata.name.is_empty() {
        return Err(SealError::NoName);
    }
    if let Some(namespace) = request.namespace.as_ref().filter(|namespace| !namespace.is_empty()) {
        metadata.namespace.clone_from(namespace);
    }
    if request.scope != Scope::Strict {
        set_scope(&mut metadata.annotations, request.scope);
    }
    let scope = Scope::of(&metadata.annotations);
    if scope != Scope::ClusterWide {
        if metadata.namespace.is_empty() {
            metadata.namespace.clone_from(&request.default_namespace);
        } else if request.namespace_asked && metadata.namespace != request.default_namespace {
            let asked = request.default_namespace.clone();
            return Err(SealError::Namespace { found: metadata.namespace, asked });
        }
        if metadata.namespace.is_empty() {
            return Err(SealError::NoNamespace);
        }
    }
    strip(&mut metadata);
    let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
    let encrypted_data = seal_entries(&data, certificate, scope, &namespace, &name).map_err(SealError::Seal)?;
    let template =
        SecretTemplate { metadata, kind: std::mem::take(&mut input.kind), immutable: input.immutable, data: None };
    let mut sealed =
        SealedSecret::new(&name, SealedSecretSpec { template: Template::Read(template), data: None, encrypted_data });
    sealed.metadata.namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    if let Some(annotation) = scope.annotation() {
        sealed.metadata.annotations = Some([(annotation.to_owned(), "true".to_owned())].into());
    }
    Ok(sealed)
}

/// Takes away what would carry its values in clear.
fn strip(metadata: &mut TemplateMetadata) {
    metadata.annotations.retain(|name, _| !LAST_APPLIED.contains(&name.as_str()));
}

/// Puts the entries, labels and annotations of `update` into `original`; `update` wins.
pub fn merge(original: &mut SealedSecret, update: SealedSecret) -> Result<(), SealError> {
    original.spec.encrypted_data.0.extend(update.spec.encrypted_data.0);
    let Template::Read(update) = update.spec.template else { return Ok(()) };
    match &mut original.spec.template {
        Template::Malformed { field, .. } => Err(SealError::MalformedTemplate(field.clone())),
        Template::Read(template) => {
            template.metadata.annotations.extend(update.metadata.annotations);
            template.metadata.labels.extend(update.metadata.labels);
            Ok(())
        }
    }
}

/// The object as `kubeseal` prints it: without a status, with the fields in Go's order.
pub fn printable(object: &SealedSecret) -> Result<Value, serde_json::Error> {
    let mut metadata = serde_json::to_value(&object.metadata)?;
    if let Some(fields) = metadata.as_object_mut() {
        for field in ["creationTimestamp", "deletionTimestamp", "generation", "managedFields"] {
            fields.shift_remove(field);
        }
    }
    let mut spec = serde_json::to_value(&object.spec)?;
    // Go prints a struct that is empty.
    if let (Template::Read(_), Some(fields)) = (&object.spec.template, spec.as_object_mut()) {
        let mut template = Map::from_iter([("metadata".to_owned(), Value::Object(Map::new()))]);
        template.extend(
            fields.shift_remove("template").and_then(|template| template.as_object().cloned()).unwrap_or_default(),
        );
        let mut ordered = Map::from_iter([("template".to_owned(), Value::Object(template))]);
        ordered.append(fields);
        *fields = ordered;
    }
    if let Some(Value::Object(fields)) = spec.pointer_mut("/template/metadata") {
        fields.retain(|field, _| is_metadata(field));
    }
    for metadata in [Some(&mut metadata), spec.pointer_mut("/template/metadata")].into_iter().flatten() {
        in_order(metadata);
    }
    let mut object_fields = Map::new();
    object_fields.insert("kind".into(), "SealedSecret".into());
    object_fields.insert("apiVersion".into(), "bitnami.com/v1alpha1".into());
    object_fields.insert("metadata".into(), metadata);
    object_fields.insert("spec".into(), spec);
    Ok(object_fields.into())
}

/// Go's order of the fields of metadata; what is no such field follows as it stood.
fn in_order(metadata: &mut Value) {
    let Some(fields) = metadata.as_object_mut() else { return };
    let mut ordered = Map::new();
    for field in ["name", "generateName", "namespace"] {
        ordered.extend(fields.shift_remove(field).map(|value| (field.to_owned(), value)));
    }
    let last = ["labels", "annotations", "ownerReferences", "finalizers", "managedFields"];
    let last: Map<_, _> =
        last.into_iter().filter_map(|field| Some((field.to_owned(), fields.shift_remove(field)?))).collect();
    ordered.append(fields);
    ordered.extend(last);
    *fields = ordered;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sealed/keys/old.crt");
        Certificate::parse("old", &std::fs::read(path).expect("vector")).expect("parses")
    }

    fn sealed(text: &str, request: &SealRequest) -> Result<Vec<SealedSecret>, SealError> {
        let certificate = certificate();
        read_secrets(text.as_bytes())?.into_iter().map(|input| seal_secret(input, request, &certificate)).collect()
    }

    fn request() -> SealRequest {
        SealRequest { default_namespace: "here".into(), ..Default::default() }
    }

    #[test]
    fn namespaces_scopes_and_names_follow_the_incumbent() {
        let with = |metadata: &str, request: &SealRequest| {
            sealed(&format!("kind: Secret\nmetadata: {metadata}\nstringData: {{a: b}}\n"), request)
                .map(|mut all| all.remove(0))
        };
        let plain = with("{name: s}", &request()).expect("seals");
        assert_eq!(plain.metadata.namespace.as_deref(), Some("here"));
        let wide = SealRequest { scope: Scope::ClusterWide, ..request() };
        let object = with("{name: s}", &wide).expect("seals");
        assert_eq!(object.metadata.namespace, None, "cluster-wide keeps an empty namespace");
        assert!(object.metadata.annotations.expect("scope").contains_key(super::super::scope::CLUSTER_WIDE));
        // Strict is the default and does not override an annotation of the input.
        let annotated = "{name: s, annotations: {sealedsecrets.bitnami.com/namespace-wide: 'true', note: x}}";
        let object = with(annotated, &request()).expect("seals");
        assert_eq!(object.metadata.annotations.expect("scope").len(), 1, "only the scope is copied to the top");
        assert_eq!(object.spec.template.get().expect("read").metadata.annotations.len(), 2);

        let asked = SealRequest { namespace_asked: true, ..request() };
        let error = with("{name: s, namespace: other}", &asked).err().expect("refused").to_string();
        assert_eq!(error, "namespace mismatch: input secret is in namespace \"other\" but \"here\" was specified");
        assert!(with("{name: s, namespace: other}", &request()).is_ok());
        assert_eq!(with("{}", &request()).err(), Some(SealError::NoName));
        let named = SealRequest { name: Some("t".into()), ..request() };
        assert_eq!(with("{name: s}", &named).expect("seals").metadata.name.as_deref(), Some("t"));
    }

    #[test]
    fn what_belongs_to_the_server_or_holds_values_is_stripped() {
        let text = r#"{"kind":"Secret","metadata":{"name":"s","namespace":"n","uid":"u","resourceVersion":"1",
            "creationTimestamp":"2026-01-01T00:00:00Z","generation":2,"generateName":"g","foo":"bar","managedFields":[],"ownerReferences":[{}],"finalizers":["f"],
            "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{secret}","keep":"x"}},
            "data":{"a":"Yg=="},"stringData":{"a":"wins"},"immutable":true,"type":"t"}"#;
        let object = sealed(text, &request()).expect("seals").remove(0);
        let json = printable(&object).expect("prints").to_string();
        for gone in [
            "last-applied",
            "resourceVersion",
            "creationTimestamp",
            "ownerReferences",
            "\"uid\"",
            "generation",
            "foo",
            "managedFields",
        ] {
            assert!(!json.contains(gone), "{gone} in {json}");
        }
        assert!(json.starts_with(r#"{"kind":"SealedSecret","apiVersion":"bitnami.com/v1alpha1","metadata":{"name":"s","namespace":"n"},"spec":{"template":{"metadata":{"name":"s","generateName":"g","namespace":"n","#), "{json}");
        let template = object.spec.template.get().expect("read");
        assert_eq!((template.kind.as_str(), template.immutable), ("t", Some(true)));
        assert_eq!(template.metadata.finalizers, ["f"]);
    }

    #[test]
    fn documents_and_errors() {
        let two = "---\nkind: Secret\nmetadata: {name: a}\nstringData: {x: y}\n---\nmetadata: {name: b}\ndata: {x: eQ==}\n---\n";
        assert_eq!(sealed(two, &request()).expect("seals").len(), 2);
        for (text, error) in [
            ("", "no secrets found. Ensure the input is valid and UTF-8 encoded"),
            ("---\n", "no secrets found. Ensure the input is valid and UTF-8 encoded"),
            (
                "metadata: {name: a}\n",
                "secret.data is empty in input Secret, assuming this is an error and aborting. To work with empty data, --allow-empty-data can be used",
            ),
            (
                "metadata: {name: a}\ndata: {x: 'secret?'}\n",
                "entry x of the input Secret: illegal base64 data at input byte 6",
            ),
        ] {
            assert_eq!(sealed(text, &request()).err().expect("refused").to_string(), error, "{text:?}");
        }
        let broken = sealed("data: {x: [hunter2]}\n", &request()).err().expect("refused").to_string();
        assert!(!broken.contains("hunter2"), "{broken}");
        let empty = SealRequest { allow_empty: true, ..request() };
        assert!(sealed("metadata: {name: a}\n", &empty).is_ok());
    }

    #[test]
    fn an_expired_certificate_is_refused_with_its_day() {
        let certificate = certificate();
        let day = certificate.not_after().strftime("%B %-d, %Y").to_string();
        let after = certificate.not_after().checked_add(jiff::SignedDuration::from_secs(1)).expect("in range");
        assert_eq!(check_expiry(&certificate, certificate.not_after()), Ok(()));
        let error = check_expiry(&certificate, after).err().expect("refused");
        assert_eq!(error.to_string(), format!("failed to encrypt using an expired certificate on {day}"));
    }

    #[test]
    fn merging_adds_and_replaces() {
        let mut original = sealed("metadata: {name: a, namespace: n}\nstringData: {x: '1', y: '2'}\n", &request())
            .expect("seals")
            .remove(0);
        let before = original.spec.encrypted_data.0.clone();
        let update =
            sealed("metadata: {name: a, namespace: n, labels: {l: m}}\nstringData: {y: '3', z: '4'}\n", &request())
                .expect("seals")
                .remove(0);
        merge(&mut original, update).expect("merges");
        let after = &original.spec.encrypted_data.0;
        assert_eq!(after.keys().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert!(after.get("x") == before.get("x") && after.get("y") != before.get("y"));
        assert_eq!(original.spec.template.get().expect("read").metadata.labels.len(), 1);
    }
}
