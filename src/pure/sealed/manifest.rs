//! One SealedSecret from the text of a request or a file.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::error::one_line;

/// A text that is not exactly one SealedSecret. The message quotes nothing of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ManifestError {
    #[error("the text is not UTF-8")]
    NotText,
    #[error("the text is neither JSON nor YAML{0}")]
    Syntax(String),
    #[error("the text holds several documents, and one is wanted")]
    Several,
    #[error("unexpected resource type: {0}")]
    Kind(String),
    #[error("the SealedSecret cannot be read: its metadata do not have the right types")]
    Shape,
}

/// Reads exactly one SealedSecret in JSON or YAML.
pub fn read_one(text: &[u8]) -> Result<SealedSecret, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    typed(parse(text)?)
}

/// The same of a file that a command takes for a SealedSecret: where it names neither version nor kind, as an answer of the
/// incumbent's controller does not, it is one.
pub fn read_named(text: &[u8]) -> Result<SealedSecret, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    let mut value = parse(text)?;
    if let Some(fields) = value.as_object_mut().filter(|fields| fields.get("spec").is_some_and(Value::is_object)) {
        let unnamed = |fields: &Map<String, Value>, field| fields.get(field).is_none_or(Value::is_null);
        if unnamed(fields, "apiVersion") && unnamed(fields, "kind") {
            fields.insert("apiVersion".into(), "bitnami.com/v1alpha1".into());
            fields.insert("kind".into(), "SealedSecret".into());
        }
    }
    typed(value)
}

/// Reads every SealedSecret of a JSON or YAML text; documents without content are left out.
pub fn read_all(text: &[u8]) -> Result<Vec<SealedSecret>, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    documents(text)?.into_iter().map(typed).collect()
}

/// A SealedSecret of a file, or why it cannot be read, with the number of its document from 1.
pub type Numbered = (usize, Result<SealedSecret, ManifestError>);

/// Reads the SealedSecrets among the documents of a file, those inside a List, too; other objects are passed over.
pub fn find(text: &[u8]) -> Result<Vec<Numbered>, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    let mut found = vec![];
    for (index, mut document) in documents(text)?.into_iter().enumerate() {
        let items = match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![document],
        };
        let sealed = items.into_iter().filter(|item| item.get("kind").is_some_and(|kind| kind == "SealedSecret"));
        found.extend(sealed.map(|item| (index + 1, typed(item))));
    }
    Ok(found)
}

fn typed(mut value: Value) -> Result<SealedSecret, ManifestError> {
    let word = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if (word("apiVersion"), word("kind")) != ("bitnami.com/v1alpha1", "SealedSecret") {
        return Err(ManifestError::Kind(one_line(&format!("{}, Kind={}", word("apiVersion"), word("kind")))));
    }
    // What is not there is empty, as Go reads it: such an object has no name, or no values.
    for field in ["metadata", "spec"] {
        if value.get(field).is_none_or(Value::is_null)
            && let Some(fields) = value.as_object_mut()
        {
            fields.insert(field.into(), Value::Object(Map::new()));
        }
    }
    // A label that is null is empty, too.
    for field in ["/metadata/labels", "/metadata/annotations"] {
        let texts = value.pointer_mut(field).and_then(Value::as_object_mut);
        for text in texts.into_iter().flat_map(Map::values_mut).filter(|text| text.is_null()) {
            *text = Value::String(String::new());
        }
    }
    serde_json::from_value(value).map_err(|_| ManifestError::Shape)
}

fn parse(text: &str) -> Result<Value, ManifestError> {
    let mut documents = documents(text)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(value), true) => Ok(value),
        (None, _) => Err(ManifestError::Syntax(": it is empty".into())),
        (Some(_), false) => Err(ManifestError::Several),
    }
}

/// The objects of a text that is JSON: one, or several behind each other, as `kubeseal`, `jq` and `kubectl` print them.
pub fn json_stream<'de, T: Deserialize<'de>>(text: &'de str) -> Option<Vec<T>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()
}

fn documents(text: &str) -> Result<Vec<Value>, ManifestError> {
    if let Some(values) = json_stream(text) {
        return Ok(values);
    }
    let mut documents = serde_saphyr::from_multiple::<Value>(text).map_err(|e| {
        ManifestError::Syntax(e.location().map(|l| format!(" (line {})", l.line())).unwrap_or_default())
    })?;
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_secrets_are_found_among_others() {
        let sealed =
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: NAME}\nspec: {encryptedData: {}}\n";
        let text = format!(
            "kind: Secret\n---\n{}---\nkind: List\nitems:\n- {{kind: Other}}\n- {{apiVersion: x, kind: SealedSecret}}\n",
            sealed.replace("NAME", "a")
        );
        let found = find(text.as_bytes()).expect("reads");
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(found[0].1.as_ref().ok().and_then(|object| object.metadata.name.as_deref()), Some("a"));
        assert!(matches!(found[1].1, Err(ManifestError::Kind(_))));
        assert!(find(b"{{ template }}").is_err());
    }

    #[test]
    fn exactly_one_sealed_secret_is_read() {
        let json = r#"{"apiVersion":"bitnami.com/v1alpha1","kind":"SealedSecret","metadata":{"name":"a"},"spec":{"encryptedData":{}}}"#;
        assert_eq!(read_one(json.as_bytes()).expect("reads").metadata.name.as_deref(), Some("a"));
        let yaml = "---\napiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a}\nspec: {encryptedData: {}}\n";
        assert!(read_one(yaml.as_bytes()).is_ok());
        assert_eq!(read_one(format!("{yaml}{yaml}").as_bytes()).err(), Some(ManifestError::Several));
        let null = json.replace("\"name\":\"a\"", "\"name\":\"a\",\"labels\":{\"x\":null},\"annotations\":null");
        let labels = read_one(null.as_bytes()).expect("reads").metadata.labels.expect("labels");
        assert_eq!(labels.get("x").map(String::as_str), Some(""));
        // Of JSON one follows the other without anything between them.
        assert_eq!(read_one(format!("{json}{json}").as_bytes()).err(), Some(ManifestError::Several));
        for stream in [format!("{json}{json}"), format!(" {json}\n{json}\n"), format!("{json}\n---\n{yaml}")] {
            assert_eq!(read_all(stream.as_bytes()).map(|objects| objects.len()).ok(), Some(2), "{stream}");
        }
        let unnamed = br#"{"metadata":{"name":"a"},"spec":{"encryptedData":{}}}"#;
        assert!(read_named(unnamed).is_ok() && read_named(json.as_bytes()).is_ok() && read_one(unnamed).is_err());
        for other in [&br#"{"kind":"Secret","spec":{}}"#[..], br#"{"data":{"a":"b"}}"#, b"text"] {
            assert!(matches!(read_named(other), Err(ManifestError::Kind(_))));
        }
        let kind = read_one(br#"{"apiVersion":"v1","kind":"Secret"}"#).err().map(|e| e.to_string());
        assert_eq!(kind.as_deref(), Some("unexpected resource type: v1, Kind=Secret"));
        for bad in [&b"\xff"[..], b"", b"a: [", b"just text", b"{\"a\":"] {
            assert!(read_one(bad).is_err());
        }
    }
}
