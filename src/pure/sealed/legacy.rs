//! The deprecated form: one sealed value that holds the JSON of a whole Secret.

use std::collections::BTreeMap;

use serde::Deserialize;
use zeroize::ZeroizeOnDrop;

use crate::pure::desired::ObservedSecret;
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

#[derive(Deserialize, ZeroizeOnDrop)]
struct Text(String);

#[derive(Deserialize)]
struct Strings {
    kind: Option<String>,
    #[serde(rename = "stringData")]
    string_data: Option<BTreeMap<String, Text>>,
}

/// Reads the opened value. `None` when it is not a Secret; the cause could quote it, so there is none.
pub fn parse(value: &Plaintext) -> Option<(LegacySecret, SecretData)> {
    let strings: Strings = serde_json::from_slice(value.expose()).ok()?;
    if strings.kind.is_some_and(|kind| kind != "Secret") {
        return None;
    }
    let secret = ObservedSecret::from_json(value.expose()).ok()?;
    let mut data = secret.data;
    // As the API server merges them: stringData wins.
    for (name, text) in strings.string_data.into_iter().flatten() {
        data.insert(name, Plaintext::copy_of(text.0.as_bytes()));
    }
    let legacy = LegacySecret {
        kind: secret.kind,
        labels: secret.labels,
        annotations: secret.annotations,
        finalizers: secret.finalizers,
        immutable: secret.immutable,
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
        for bad in [&b"{"[..], b"[]", br#"{"kind":"ConfigMap"}"#, br#"{"kind":"Secret","data":{"a":1}}"#] {
            assert!(parse(&Plaintext::copy_of(bad)).is_none());
        }
    }
}
