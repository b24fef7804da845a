//! A parsed document as a Kubernetes object: what it calls itself, and the types that the stage works with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;

use super::error::StageError;
use crate::pure::desired::Candidate;
use crate::pure::format::{self, Branch, Element, Entry, Format, Item, Node, Scalar, Value};
use crate::pure::secret::{Plaintext, SecretData};

/// Annotation by which Flux leaves a resource encrypted for a later decryptor. The value is read without regard to
/// case.
const DECRYPT: &str = "kustomize.toolkit.fluxcd.io/decrypt";

/// Written by `kubectl apply`: a copy of the whole object, values included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a document calls itself. Empty where it does not say, or says it in ciphertext.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Whether it asks to be left as it is.
    pub decrypt_disabled: bool,
}

impl Header {
    /// Reads the header of a document.
    pub fn of(items: &[Item]) -> Self {
        let metadata = map(items, "metadata").unwrap_or_default();
        let annotations = map(metadata, "annotations").unwrap_or_default();
        Self {
            api_version: name(items, "apiVersion"),
            kind: name(items, "kind"),
            namespace: name(metadata, "namespace"),
            name: name(metadata, "name"),
            decrypt_disabled: text(annotations, DECRYPT).eq_ignore_ascii_case("disabled"),
        }
    }

    /// Whether it is a v1 Secret.
    pub fn is_secret(&self) -> bool {
        self.kind == "Secret" && self.api_version == "v1"
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// The entries of a map, without comments.
pub(super) fn entries(items: &[Item]) -> impl Iterator<Item = &Entry> {
    items.iter().filter_map(|item| match item {
        Item::Entry(entry) => Some(entry),
        _ => None,
    })
}

/// The values of a list, without comments.
pub(super) fn elements(items: &[Item]) -> impl Iterator<Item = &Node> {
    items.iter().filter_map(|item| match item {
        Item::Element(Element { value, .. }) => Some(value),
        _ => None,
    })
}

fn value<'a>(items: &'a [Item], name: &str) -> Option<&'a Value> {
    entries(items).find(|entry| entry.key == name).map(|entry| &entry.value.value)
}

fn map<'a>(items: &'a [Item], name: &str) -> Option<&'a [Item]> {
    match value(items, name) {
        Some(Value::Map(items)) => Some(items),
        _ => None,
    }
}

fn text(items: &[Item], name: &str) -> String {
    match value(items, name) {
        Some(Value::Scalar(Scalar::Text(text))) => text.expose_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// A text that names something. Ciphertext names nothing: `sops -e` without a selector encrypts the name, too.
fn name(items: &[Item], field: &str) -> String {
    let text = text(items, field);
    if is_ciphertext(text.as_bytes()) { String::new() } else { text }
}

fn is_ciphertext(text: &[u8]) -> bool {
    text.starts_with(b"ENC[AES256_GCM,data:") && text.trim_ascii_end().ends_with(b"]")
}

/// The document as a typed object.
pub(super) fn decode<T: DeserializeOwned>(branch: &Branch) -> Result<T, StageError> {
    let json = format::emit(std::slice::from_ref(branch), Format::Json)
        .map_err(|error| StageError::Object { what: error.to_string() })?;
    serde_json::from_slice(json.expose()).map_err(|error| StageError::Object { what: shape(&error) })
}

/// serde's text without the value that it may quote, and without a place in text that nobody wrote.
fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").and_then(|at| text.get(..at)).unwrap_or(&text);
    if !["invalid type", "invalid value", "unknown variant"].iter().any(|quotes| text.contains(quotes)) {
        return text.to_owned();
    }
    let head = text.find(['"', '`']).and_then(|at| text.get(..at)).unwrap_or(text);
    let expected = text.rfind(", expected ").and_then(|at| text.get(at..)).filter(|tail| !head.contains(tail));
    format!("{}{}", head.trim_end(), expected.unwrap_or_default())
}

/// A v1 Secret, before the guards.
pub(super) fn secret(branch: &Branch) -> Result<Candidate, StageError> {
    let items = &branch.items;
    let header = Header::of(items);
    let metadata = map(items, "metadata").unwrap_or_default();
    let mut data = SecretData::new();
    for entry in map_field(items, "data", "data")? {
        let Some(encoded) = string(&entry.value, "data", &entry.key)? else { continue };
        // The API server ignores line breaks inside, as Go's decoder does.
        let bytes: Vec<u8> = encoded.expose().iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
        let bytes = Plaintext::new(bytes);
        let decoded = STANDARD.decode(bytes.expose()).map_err(|_| StageError::Object {
            what: format!("data.{} is not base64; put plain text under stringData", entry.key),
        })?;
        data.insert(entry.key.clone(), Plaintext::new(decoded));
    }
    for entry in map_field(items, "stringData", "stringData")? {
        if let Some(text) = string(&entry.value, "stringData", &entry.key)? {
            data.insert(entry.key.clone(), text.duplicate());
        }
    }
    let mut annotations = strings(metadata, "annotations")?;
    annotations.remove(LAST_APPLIED);
    let immutable = match value(items, "immutable") {
        Some(Value::Scalar(Scalar::Bool(flag))) => Some(*flag),
        None | Some(Value::Scalar(Scalar::Null)) => None,
        Some(_) => return Err(StageError::Object { what: "immutable is neither true nor false".into() }),
    };
    Ok(Candidate {
        namespace: header.namespace,
        name: header.name,
        kind: text(items, "type"),
        labels: strings(metadata, "labels")?,
        annotations,
        finalizers: vec![],
        owners: vec![],
        immutable,
        data,
    })
}

fn map_field<'a>(
    items: &'a [Item],
    name: &str,
    path: &str,
) -> Result<impl Iterator<Item = &'a Entry> + use<'a>, StageError> {
    let items = match value(items, name) {
        None | Some(Value::Scalar(Scalar::Null)) => &[][..],
        Some(Value::Map(items)) => items,
        Some(_) => return Err(StageError::Object { what: format!("{path} is not a map") }),
    };
    Ok(entries(items))
}

fn string<'a>(node: &'a Node, map: &str, key: &str) -> Result<Option<&'a Plaintext>, StageError> {
    match &node.value {
        Value::Scalar(Scalar::Text(text)) => Ok(Some(text)),
        Value::Scalar(Scalar::Null) => Ok(None),
        _ => Err(StageError::Object { what: format!("{map}.{key} is not a string; put it in quotes") }),
    }
}

fn strings(metadata: &[Item], name: &str) -> Result<std::collections::BTreeMap<String, String>, StageError> {
    let path = format!("metadata.{name}");
    let mut found = std::collections::BTreeMap::new();
    for entry in map_field(metadata, name, &path)? {
        if let Some(text) = string(&entry.value, &path, &entry.key)? {
            let text = text.expose_str().unwrap_or_default();
            found.insert(entry.key.clone(), text.to_owned());
        }
    }
    Ok(found)
}

/// The first entry, as a path, whose value is SOPS ciphertext.
pub(super) fn ciphertext(items: &[Item]) -> Option<String> {
    fn in_value(value: &Value) -> Option<String> {
        match value {
            Value::Scalar(Scalar::Text(text)) => is_ciphertext(text.expose()).then(String::new),
            Value::Scalar(_) => None,
            Value::Map(items) => ciphertext(items),
            Value::List(items) => elements(items)
                .enumerate()
                .find_map(|(index, node)| in_value(&node.value).map(|rest| join(&index.to_string(), &rest))),
        }
    }
    entries(items).find_map(|entry| in_value(&entry.value.value).map(|rest| join(&entry.key, &rest)))
}

fn join(head: &str, rest: &str) -> String {
    if rest.is_empty() { head.to_owned() } else { format!("{head}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(yaml: &str) -> Branch {
        format::parse(yaml.as_bytes(), Format::Yaml).expect("parses").branches.remove(0)
    }

    #[test]
    fn a_secret_is_read_as_the_api_server_reads_it() {
        let secret = secret(&branch(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: n\n  labels: {x: 'y'}\n  annotations:\n    \
             kubectl.kubernetes.io/last-applied-configuration: '{}'\n    k: v\ntype: T\nimmutable: true\n\
             data:\n  one: MQ==\n  both: MQ==\n  wrapped: |\n    MT\n    I=\n  none:\nstringData:\n  both: text\n",
        ))
        .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((secret.namespace.as_str(), secret.name.as_str(), secret.kind.as_str()), ("n", "a", "T"));
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.labels.get("x").map(String::as_str), Some("y"));
        assert_eq!(secret.annotations.keys().collect::<Vec<_>>(), ["k"], "the copy of the whole object is dropped");
        let data: Vec<_> = secret.data.iter().map(|(k, v)| format!("{k}={}", v.expose_str().unwrap_or("?"))).collect();
        assert_eq!(data, ["both=text", "one=1", "wrapped=12"]);
    }

    #[test]
    fn what_the_api_server_would_refuse_is_named_without_its_value() {
        for (yaml, what) in [
            ("data: {a: 'not base64!'}", "data.a is not base64; put plain text under stringData"),
            ("stringData: {a: 8080}", "stringData.a is not a string; put it in quotes"),
            ("data: [1]", "data is not a map"),
            ("metadata: {labels: {a: true}}", "metadata.labels.a is not a string; put it in quotes"),
            ("immutable: maybe", "immutable is neither true nor false"),
        ] {
            match secret(&branch(yaml)) {
                Err(StageError::Object { what: found }) => assert_eq!(found, what),
                _ => panic!("{yaml} is refused"),
            }
        }
    }

    #[test]
    fn ciphertext_is_found_wherever_it_stands() {
        let enc = "'ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]'";
        assert_eq!(ciphertext(&branch(&format!("a: 1\nb: {{c: [x, {enc}]}}")).items).as_deref(), Some("b.c.1"));
        assert_eq!(ciphertext(&branch("a: 'see ENC[AES256_GCM,data:...] in the manual'").items), None);
    }

    #[test]
    fn decode_errors_do_not_quote_values() {
        let error = serde_json::from_str::<u8>("\"hunter2\"").expect_err("no number");
        assert_eq!(shape(&error), "invalid type: string, expected u8");
    }
}
