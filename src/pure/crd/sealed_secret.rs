//! `SealedSecret`, bitnami.com/v1alpha1: the incumbent's type, field for field.
//!
//! Decoding is tolerant on purpose. One stored object that does not match the type (older CRDs had no schema) must not
//! end a whole list or watch, so what cannot be read becomes a value that fails later, for that object and entry only:
//! an entry that is not a string is read as an empty one, an `encryptedData` that is no object as an empty map, and a
//! template of the wrong shape is kept as it is and refused by name when it is used.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Name of the file under `crds/`.
pub const FILE: &str = "bitnami.com_sealedsecrets.yaml";

/// The only condition type that the incumbent sets. It stands first: the printer columns read the first one.
pub const SYNCED: &str = "Synced";
/// The same for programs that wait for an object by the words of kstatus.
pub const READY: &str = "Ready";
/// kstatus: it failed, and will not get better by waiting. Absent otherwise.
pub const STALLED: &str = "Stalled";
/// kstatus: it failed, and is tried again by itself. Absent otherwise.
pub const RECONCILING: &str = "Reconciling";
/// The Secret was left as the object asks; the message is a mark by which a restart knows that (see `pure::sealed::mark`).
/// A condition, and no field of its own: the incumbent's schema keeps conditions and would drop a field.
pub const IN_FORCE: &str = "latchwork.dev/InForce";

/// What a SealedSecret asks for.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bitnami.com",
    version = "v1alpha1",
    kind = "SealedSecret",
    plural = "sealedsecrets",
    singular = "sealedsecret",
    namespaced,
    status = "SealedSecretStatus",
    doc = "A Secret that was sealed with a public key of the cluster: safe to store anywhere, and opened only there.",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[0].message"}"#,
    printcolumn = r#"{"name":"Synced","type":"string","jsonPath":".status.conditions[0].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
// Required by the schema, as the incumbent has it, and yet read when it is missing.
#[schemars(extend("required" = ["encryptedData"]))]
pub struct SealedSecretSpec {
    /// Shape of the Secret that is made: metadata, type, immutable, and data rendered from the decrypted values.
    #[serde(default, skip_serializing_if = "Template::is_empty")]
    #[schemars(schema_with = "template_schema")]
    pub template: Template,

    /// Deprecated: a whole Secret sealed as one value. Use encryptedData.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "tolerant_text")]
    #[schemars(schema_with = "bytes_schema")]
    pub data: Option<String>,

    /// Entry names with their sealed values: base64 of RSA-OAEP wrapped session key and AES-GCM ciphertext.
    #[schemars(schema_with = "encrypted_data_schema")]
    #[serde(default)]
    pub encrypted_data: EncryptedData,
}

/// `spec.encryptedData`: entry name to base64 text, in name order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptedData(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for EncryptedData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(entries) = Value::deserialize(deserializer)? else { return Ok(Self::default()) };
        let text = |value| if let Value::String(text) = value { text } else { String::new() };
        Ok(Self(entries.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}

impl Serialize for EncryptedData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// `spec.template`, read or kept as it stood.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// Of the right shape.
    Read(SecretTemplate),
    /// Of another shape.
    Malformed {
        /// Path of the first field that could not be read. Never a value.
        field: String,
        /// What stood there, for writing it back.
        raw: Value,
    },
}

impl Default for Template {
    fn default() -> Self {
        Self::Read(SecretTemplate::default())
    }
}

impl Template {
    /// Whether nothing would be written for it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Read(template) if *template == SecretTemplate::default())
    }

    /// The template, or the path of the field that could not be read.
    pub fn get(&self) -> Result<&SecretTemplate, &str> {
        match self {
            Self::Read(template) => Ok(template),
            Self::Malformed { field, .. } => Err(field),
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        if raw.is_null() {
            return Ok(Self::default());
        }
        Ok(match SecretTemplate::deserialize(&raw) {
            Ok(template) => Self::Read(template),
            Err(_) => Self::Malformed { field: malformed_field(&raw), raw },
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(template) => template.serialize(serializer),
            Self::Malformed { raw, .. } => raw.serialize(serializer),
        }
    }
}

/// Path of the first field of a template that is not what it should be. serde's own text may quote the value.
fn malformed_field(raw: &Value) -> String {
    let decodes = |field: &str, value: &Value| {
        SecretTemplate::deserialize(Value::Object(Map::from_iter([(field.to_owned(), value.clone())]))).is_ok()
    };
    let Value::Object(fields) = raw else { return "spec.template".into() };
    let Some((field, value)) = fields.iter().find(|(field, value)| !decodes(field, value)) else {
        return "spec.template".into();
    };
    if let ("metadata", Value::Object(metadata)) = (field.as_str(), value) {
        let wrong = metadata.iter().find(|(name, value)| {
            TemplateMetadata::deserialize(Value::Object(Map::from_iter([((*name).clone(), (*value).clone())]))).is_err()
        });
        if let Some((name, _)) = wrong {
            return format!("spec.template.metadata.{name}");
        }
    }
    format!("spec.template.{field}")
}

/// Shape of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretTemplate {
    /// Metadata of the Secret; name and namespace are always those of the SealedSecret.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "TemplateMetadata::is_empty")]
    pub metadata: TemplateMetadata,
    /// `type` of the Secret; empty means Opaque.
    #[serde(rename = "type", default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `immutable` of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Entries rendered from the decrypted values. `null` for a name drops that entry from the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<BTreeMap<String, Option<String>>>,
}

/// `spec.template.metadata`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemplateMetadata {
    /// Written by `kubeseal`, not used.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Written by `kubeseal`, not used.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels of the Secret.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers of the Secret.
    #[serde(default, deserialize_with = "text_list", skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Everything else, kept for writing it back (old clients emit `creationTimestamp: null`).
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl TemplateMetadata {
    /// Whether nothing would be written for it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretStatus {
    /// Generation of the spec that the conditions speak of.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub observed_generation: Option<i64>,
    /// Conditions; "Synced" is the first.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<SealedSecretCondition>,
}

/// State of a SealedSecret at a certain point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretCondition {
    /// Type of the condition: "Synced", and beside it "Ready", "Stalled" and "Reconciling" as kstatus reads them.
    #[serde(rename = "type")]
    pub kind: String,
    /// "True", "False" or "Unknown".
    pub status: String,
    /// Last time that this condition was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_update_time: Option<Time>,
    /// Last time that its status changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_transition_time: Option<Time>,
    /// One word for the state.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong, for people; empty when nothing is.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl SealedSecretStatus {
    /// The `Synced` condition, if it was ever set.
    pub fn synced(&self) -> Option<&SealedSecretCondition> {
        self.condition(SYNCED)
    }

    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&SealedSecretCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// `null` is the default value.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `null` is the default value, of the whole and of each text: so Go reads it.
pub(in crate::pure) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let texts: BTreeMap<String, Option<String>> = nullable(deserializer)?;
    Ok(texts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect())
}

/// The same of a list.
pub(in crate::pure) fn text_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<Option<String>> = nullable(deserializer)?;
    Ok(texts.into_iter().map(Option::unwrap_or_default).collect())
}

/// Whatever cannot be read is the default value: status is output only, nothing is decided from a broken one.
fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// `null` is absent; anything else that is not a string is a text that no key opens.
fn tolerant_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        _ => Some(String::new()),
    })
}

fn encrypted_data_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Entry names with their sealed values: base64 of RSA-OAEP wrapped session key and AES-GCM ciphertext.",
        "type": "object",
        "additionalProperties": { "type": "string" },
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn bytes_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Deprecated: a whole Secret sealed as one value. Use encryptedData.",
        "type": "string",
        "format": "byte",
    })
}

fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

fn template_schema(_: &mut SchemaGenerator) -> Schema {
    let strings = json_schema!({ "type": "object", "additionalProperties": { "type": "string" } });
    json_schema!({
        "description": "Shape of the Secret that is made: metadata, type, immutable, and data rendered from the decrypted values.",
        "type": "object",
        "properties": {
            "metadata": {
                "description": "Metadata of the Secret. Name and namespace are always those of the SealedSecret.",
                "type": "object",
                "nullable": true,
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "name": { "type": "string" },
                    "namespace": { "type": "string" },
                    "labels": strings,
                    "annotations": strings,
                    "finalizers": { "type": "array", "items": { "type": "string" } },
                },
            },
            "type": { "description": "Type of the Secret; Opaque when empty.", "type": "string" },
            "immutable": {
                "description": "If true, the data of the Secret cannot be changed any more.",
                "type": "boolean",
            },
            "data": {
                "description": "Entries that are Go templates over the decrypted values. Null drops the entry of that name.",
                "type": "object",
                "nullable": true,
                "additionalProperties": { "type": "string", "nullable": true },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt as _;
    use serde_json::json;

    fn object(spec: Value) -> SealedSecret {
        serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": { "name": "s", "namespace": "n", "creationTimestamp": null }, "spec": spec,
        }))
        .expect("every spec decodes")
    }

    #[test]
    fn one_bad_entry_or_field_never_fails_the_object() {
        let o = object(json!({ "encryptedData": { "a": 1, "b": null, "c": ["x"], "d": "text" } }));
        let entries: Vec<_> = o.spec.encrypted_data.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(entries, [("a", ""), ("b", ""), ("c", ""), ("d", "text")]);
        for odd in [json!(null), json!("text"), json!([1]), json!(7)] {
            assert!(object(json!({ "encryptedData": odd })).spec.encrypted_data.0.is_empty());
        }
        assert!(object(json!({})).spec.encrypted_data.0.is_empty());
        assert_eq!(object(json!({ "data": null })).spec.data, None);
        assert_eq!(object(json!({ "data": "" })).spec.data.as_deref(), Some(""));
        assert_eq!(object(json!({ "data": {} })).spec.data.as_deref(), Some(""));
    }

    #[test]
    fn a_malformed_template_is_named_and_written_back() {
        for (template, field) in [
            (json!("x"), "spec.template"),
            (json!({ "metadata": { "labels": { "a": 1 } } }), "spec.template.metadata.labels"),
            (json!({ "metadata": "x" }), "spec.template.metadata"),
            (json!({ "type": 5 }), "spec.template.type"),
            (json!({ "immutable": "yes" }), "spec.template.immutable"),
            (json!({ "data": ["s3cret"] }), "spec.template.data"),
        ] {
            let o = object(json!({ "template": template, "encryptedData": {} }));
            assert_eq!(o.spec.template.get().err(), Some(field), "{template}");
            assert_eq!(serde_json::to_value(&o.spec.template).expect("serializes"), template);
        }
    }

    #[test]
    fn what_old_and_new_clients_write_is_read() {
        let o = object(json!({
            "encryptedData": {},
            "template": {
                "metadata": { "creationTimestamp": null, "name": "s", "namespace": "n", "labels": null,
                              "annotations": { "a": "b", "none": null }, "finalizers": [null], "generateName": "g" },
                "type": "kubernetes.io/tls", "data": { "a": "{{ .b }}", "gone": null }, "unknown": 1,
            },
        }));
        let template = o.spec.template.get().expect("read");
        assert_eq!(template.kind, "kubernetes.io/tls");
        assert_eq!(template.metadata.annotations.get("a").map(String::as_str), Some("b"));
        assert_eq!(template.metadata.annotations.get("none").map(String::as_str), Some(""));
        assert_eq!(template.metadata.finalizers, [""]);
        assert_eq!(template.metadata.rest.get("generateName"), Some(&json!("g")));
        assert_eq!(template.data.as_ref().and_then(|d| d.get("gone")), Some(&None));
        for null in [json!(null), json!({ "metadata": null, "data": null })] {
            assert!(
                object(json!({ "template": (null.clone()), "encryptedData": {} })).spec.template.is_empty(),
                "{null}"
            );
        }
    }

    #[test]
    fn a_broken_status_is_no_status() {
        let status: SealedSecretStatus =
            serde_json::from_value(json!({ "observedGeneration": "x", "conditions": [{ "type": 1 }] })).expect("reads");
        assert_eq!(status, SealedSecretStatus::default());
        let status: SealedSecretStatus = serde_json::from_value(json!({ "conditions": [
            { "type": "Synced", "status": "True", "lastUpdateTime": null, "lastTransitionTime": "2026-01-02T03:04:05Z" }
        ] }))
        .expect("reads");
        assert_eq!(status.synced().map(|c| c.status.as_str()), Some("True"));
    }

    #[test]
    fn the_schema_is_the_incumbents() {
        let crd = serde_json::to_value(SealedSecret::crd()).expect("serializes");
        let version = crd.pointer("/spec/versions/0").expect("one version");
        let schema = version.pointer("/schema/openAPIV3Schema").expect("schema");
        assert_eq!(schema.pointer("/required"), Some(&json!(["spec"])));
        assert_eq!(schema.pointer("/properties/spec/required"), Some(&json!(["encryptedData"])));
        let preserve = "x-kubernetes-preserve-unknown-fields";
        for path in ["encryptedData", "template/properties/metadata"] {
            let field = schema.pointer(&format!("/properties/spec/properties/{path}")).expect(path);
            assert_eq!(field.get(preserve), Some(&json!(true)), "{path}");
        }
        for path in ["metadata", "data"] {
            let field = format!("/properties/spec/properties/template/properties/{path}/nullable");
            assert_eq!(schema.pointer(&field), Some(&json!(true)), "{path}");
        }
        let condition = schema.pointer("/properties/status/properties/conditions/items").expect("conditions");
        assert_eq!(condition.get("required"), Some(&json!(["status", "type"])));
        assert_eq!(version.pointer("/subresources/status"), Some(&json!({})));
        let columns = version.pointer("/additionalPrinterColumns").and_then(Value::as_array).expect("columns");
        let names: Vec<_> = columns.iter().filter_map(|column| column.get("name")?.as_str()).collect();
        assert_eq!(names, ["Status", "Synced", "Age"]);
        let names = crd.pointer("/spec/names").expect("names");
        assert_eq!(names.get("plural"), Some(&json!("sealedsecrets")));
        assert_eq!(names.get("singular"), Some(&json!("sealedsecret")));
        assert!(names.get("shortNames").is_none_or(|n| n == &json!([])));
    }
}
