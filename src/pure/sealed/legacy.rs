//! The deprecated form: one sealed value that holds a whole Secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use zeroize::ZeroizeOnDrop;

use super::blob;
use crate::pure::crd::sealed_secret::{text_list, texts};
use crate::pure::secret::{Plaintext, SecretData};

/// What such a Secret says beside its data.
pub struct LegacySecret {
    /// `type`.
    pub kind: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// `immutable`.
    pub immutable: Option<bool>,
}

/// A text, and nothing that YAML takes for a number or a truth value: nobody knows which text was meant.
#[derive(ZeroizeOnDrop)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// What is null is empty, as Go reads it.
#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<WireMetadata>,
    #[serde(rename = "type")]
    secret_type: Option<String>,
    immutable: Option<bool>,
    data: Option<BTreeMap<String, Option<Text>>>,
    #[serde(rename = "stringData")]
    string_data: Option<BTreeMap<String, Option<Text>>>,
}

#[derive(Deserialize, Default)]
struct WireMetadata {
    #[serde(default, deserialize_with = "texts")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "texts")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "text_list")]
    finalizers: Vec<String>,
}

/// Reads the opened value: JSON, as `kubeseal` sealed it, or else YAML, as the incumbent's decoder takes it, too. `None`
/// when it is not a Secret; the cause could quote it, so there is none.
pub fn parse(value: &Plaintext) -> Option<(LegacySecret, SecretData)> {
    let text = value.expose_str()?;
    let wire: Wire = match serde_json::from_str(text) {
        Ok(wire) => wire,
        Err(_) => serde_saphyr::from_str(text).ok()?,
    };
    let says =
        |word: &Option<String>, wanted: &str| word.as_deref().is_none_or(|word| word.is_empty() || word == wanted);
    if !says(&wire.kind, "Secret") || !says(&wire.api_version, "v1") {
        return None;
    }
    let mut data = SecretData::new();
    for (name, text) in wire.data.into_iter().flatten() {
        let bytes = blob::decode(text.as_ref().map_or("", |text| &text.0)).ok()?;
        data.insert(name, Plaintext::new(bytes));
    }
    // As the API server merges them: stringData wins.
    for (name, text) in wire.string_data.into_iter().flatten() {
        data.insert(name, Plaintext::copy_of(text.as_ref().map_or(&[], |text| text.0.as_bytes())));
    }
    let metadata = wire.metadata.unwrap_or_default();
    let legacy = LegacySecret {
        kind: wire.secret_type.unwrap_or_default(),
        labels: metadata.labels,
        annotations: metadata.annotations,
        finalizers: metadata.finalizers,
        immutable: wire.immutable,
    };
    Some((legacy, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_secret_is_read_and_string_data_wins() {
        let json = br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"other","creationTimestamp":null,
            "labels":{"a":"b"}},"type":"kubernetes.io/tls","data":{"a":"MQ==","b":"Mg=="},"stringData":{"a":"3"}}"#;
        let (legacy, data) = parse(&Plaintext::copy_of(json)).expect("reads");
        assert_eq!(legacy.kind, "kubernetes.io/tls");
        assert_eq!(legacy.labels.get("a").map(String::as_str), Some("b"));
        assert_eq!(data.get("a").and_then(Plaintext::expose_str), Some("3"));
        assert_eq!(data.get("b").and_then(Plaintext::expose_str), Some("2"));
        for bad in [
            &b"{"[..],
            b"[]",
            b"\xff",
            b"text",
            br#"{"kind":"ConfigMap"}"#,
            br#"{"kind":"Secret","data":{"a":1}}"#,
            br#"{"apiVersion":"v2","kind":"Secret"}"#,
            b"kind: ConfigMap\n",
            b"data: {a: '*'}\n",
            b"data: {a: 1234}\n",
            b"stringData: {a: true}\n",
        ] {
            assert!(parse(&Plaintext::copy_of(bad)).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn yaml_is_read_as_well_and_null_is_empty() {
        let yaml = b"---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: other\n  labels: {a: null, b: x}\n  annotations: null\n  finalizers: [f]\ntype: x.y/z\nimmutable: true\ndata:\n  a: MQ==\n  none: null\nstringData: {b: two words}\n";
        let json = br#"{"metadata":{"labels":{"a":null,"b":"x"},"finalizers":["f"]},"type":"x.y/z","immutable":true,
            "data":{"a":"MQ==","none":null},"stringData":{"b":"two words"}}"#;
        for text in [&yaml[..], json] {
            let (legacy, data) = parse(&Plaintext::copy_of(text)).expect("reads");
            assert_eq!((legacy.kind.as_str(), legacy.immutable), ("x.y/z", Some(true)));
            assert_eq!((legacy.labels["a"].as_str(), legacy.labels["b"].as_str()), ("", "x"));
            assert_eq!((legacy.annotations.len(), legacy.finalizers), (0, vec!["f".to_owned()]));
            let shown = ["a", "b", "none"].map(|name| data.get(name).and_then(Plaintext::expose_str));
            assert_eq!(shown, [Some("1"), Some("two words"), Some("")]);
        }
    }
}
