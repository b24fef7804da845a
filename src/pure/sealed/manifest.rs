//! One SealedSecret from the text of a request or a file.

use serde::Deserialize as _;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::blob::{self, IllegalBase64};
use super::shape::{SEALED_SECRET, Shape, Type};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::error::one_line;
use crate::pure::template::quoted_rune;

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
    #[error("{0}")]
    Type(String),
    #[error("couldn't get version/kind; json parse error: invalid character {0} after top-level value")]
    Behind(String),
    #[error("{0}")]
    Data(IllegalBase64),
    #[error("the field {0} stands there twice, in one case and another")]
    Twice(&'static str),
}

/// Reads exactly one SealedSecret in JSON or YAML.
pub fn read_one(text: &[u8]) -> Result<SealedSecret, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    typed(parse(text)?)
}

/// The same of a file that a command takes for a SealedSecret: where it does not name its version or kind, as an answer of the
/// incumbent's controller does not, it is one.
pub fn read_named(text: &[u8]) -> Result<SealedSecret, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    alone(text)?;
    let mut value = parse(text)?;
    // Nothing else may be capitalised where it reads one file.
    for field in ["kind", "apiVersion"] {
        rename(&mut value, field)?;
    }
    name(&mut value);
    checked(value)
}

/// Refuses what stands behind a JSON object: where one is read, no mark ends it.
fn alone(text: &str) -> Result<(), ManifestError> {
    if !text.trim_start().starts_with('{') {
        return Ok(());
    }
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    if !matches!(objects.next(), Some(Ok(_))) {
        return Ok(());
    }
    let behind = text.as_bytes().get(objects.byte_offset()..).unwrap_or_default().trim_ascii_start();
    behind.first().map_or(Ok(()), |byte| Err(ManifestError::Behind(quoted_rune(char::from(*byte)))))
}

/// Reads every SealedSecret of a JSON or YAML text; documents without content are left out. The incumbent does not mind the
/// case of a field's name here.
pub fn read_all(text: &[u8]) -> Result<Vec<SealedSecret>, ManifestError> {
    let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
    let fold = |mut value| {
        fold(&mut value, &SEALED_SECRET)?;
        name(&mut value);
        checked(value)
    };
    documents(text)?.into_iter().map(fold).collect()
}

/// Names what has a `spec` and does not say what it is.
fn name(value: &mut Value) {
    let Some(fields) = value.as_object_mut().filter(|fields| fields.contains_key("spec")) else { return };
    for (field, word) in [("apiVersion", "bitnami.com/v1alpha1"), ("kind", "SealedSecret")] {
        if fields.get(field).is_none_or(Value::is_null) {
            fields.insert(field.into(), word.into());
        }
    }
}

/// Brings a field that is written in another case to its own.
fn rename(value: &mut Value, field: &'static str) -> Result<(), ManifestError> {
    let Some(fields) = value.as_object_mut() else { return Ok(()) };
    let mut names = fields.keys().filter(|name| name.eq_ignore_ascii_case(field)).cloned();
    let (found, another) = (names.next(), names.next());
    if another.is_some() {
        return Err(ManifestError::Twice(field));
    }
    if let Some(value) = found.filter(|found| found != field).and_then(|found| fields.shift_remove(&found)) {
        fields.insert(field.to_owned(), value);
    }
    Ok(())
}

/// The same of every field of a struct and of those inside.
fn fold(value: &mut Value, kind: &'static Type) -> Result<(), ManifestError> {
    for (field, kind) in kind.fields() {
        rename(value, field)?;
        value.get_mut(*field).map_or(Ok(()), |value| fold(value, kind))?;
    }
    Ok(())
}

/// The object, when every field has the type that the incumbent wants.
fn checked(value: Value) -> Result<SealedSecret, ManifestError> {
    let shape = Shape::deserialize(&value).map_err(|_| ManifestError::Shape)?;
    let data = value.pointer("/spec/data").and_then(Value::as_str).map(|data| blob::decode(data).map(drop));
    let object = typed(value);
    if !matches!(object, Err(ManifestError::Kind(_))) {
        SEALED_SECRET.check(&shape, false).map_err(ManifestError::Type)?;
        if let Some(data) = data {
            data.map_err(ManifestError::Data)?;
        }
    }
    object
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

/// A document, and whether it is YAML.
pub type Document<T> = (T, bool);

/// The documents of a text: JSON objects, one behind the other as `kubeseal`, `jq` and `kubectl` print them or with YAML's
/// marks between, and YAML. The marks may stand on the line on which an object ends.
///
/// # Errors
/// Where the text is wrong, ready for the end of a message. The parser's own words could quote a value.
pub fn read_documents<T: DeserializeOwned>(text: &str) -> Result<Vec<Document<T>>, String> {
    let mut found = vec![];
    let mut rest = behind_mark(text);
    while rest.trim_start().starts_with('{') {
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        if !matches!(objects.next(), Some(Ok(_))) {
            break;
        }
        let (object, after) = rest.split_at_checked(objects.byte_offset()).unwrap_or((rest, ""));
        // What is JSON is YAML, which takes a number where text is wanted. The incumbent tries both, too.
        let document = serde_json::from_str(object).or_else(|error| {
            let line = error.line() + lines_before(text, rest);
            serde_saphyr::from_str(object).map_err(|_| format!(" (line {line})"))
        });
        found.push((document?, false));
        rest = behind_mark(after);
    }
    if !rest.trim().is_empty() {
        let line = |at: u64| at + lines_before(text, rest) as u64;
        // `.inf` or `1e999` is text where text is wanted, and nothing else.
        let options = serde_saphyr::options! { non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString };
        let spaced = spaced(rest);
        let marked = spaced.as_ref().map_or(rest, |text| text.as_str());
        let documents: Vec<T> = serde_saphyr::from_multiple_with_options(marked, options)
            .map_err(|e| e.location().map(|l| format!(" (line {})", line(l.line()))).unwrap_or_default())?;
        found.extend(documents.into_iter().map(|document| (document, true)));
    }
    Ok(found)
}

fn lines_before(text: &str, rest: &str) -> usize {
    text.get(..text.len() - rest.len()).unwrap_or_default().matches('\n').count()
}

/// The text with a space in marks like `---#1`, which the incumbent takes for marks and YAML does not; `None` without any.
fn spaced(text: &str) -> Option<Zeroizing<String>> {
    const MARK: &str = "\n---#";
    text.contains(MARK).then(|| Zeroizing::new(text.replace(MARK, "\n--- #")))
}

/// What follows the marks of a document's end, as far as nothing else is on their lines.
fn behind_mark(mut text: &str) -> &str {
    while let Some(after) = text.trim_start().strip_prefix("---") {
        let (line, rest) = after.split_once('\n').unwrap_or((after, ""));
        if !matches!(line.trim().as_bytes(), [] | [b'#', ..]) {
            break;
        }
        text = rest;
    }
    text
}

fn documents(text: &str) -> Result<Vec<Value>, ManifestError> {
    let documents = read_documents::<Value>(text).map_err(ManifestError::Syntax)?;
    Ok(documents.into_iter().map(|(document, _)| document).filter(|document| !document.is_null()).collect())
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
        let half = json.replace(r#""kind":"SealedSecret","#, "");
        assert!(read_named(half.as_bytes()).is_ok() && read_all(half.as_bytes()).is_ok());
        for (behind, shown) in
            [("---", "'-'"), ("\n---\n", "'-'"), (" {}", "'{'"), ("\n\u{1}", r"'\x01'"), ("'", r"'\''")]
        {
            let error = read_named(format!("{json}{behind}").as_bytes()).expect_err(behind);
            assert_eq!(error, ManifestError::Behind(shown.into()));
        }
        assert!(read_named(format!("---\n {json}\n---\n").as_bytes()).is_ok());
        for (data, at) in [("YWI", Some(0)), ("hunter2!", Some(7)), ("YWJj", None), ("", None)] {
            let text = json.replace("\"spec\":{", &format!("\"spec\":{{\"data\":\"{data}\","));
            for read in [read_named(text.as_bytes()).err(), read_all(text.as_bytes()).err()] {
                assert_eq!(read, at.map(|at| ManifestError::Data(IllegalBase64(at))), "{data}");
            }
        }
        for other in [&br#"{"kind":"Secret","spec":{}}"#[..], br#"{"data":{"a":"b"}}"#, b"text"] {
            assert!(matches!(read_named(other), Err(ManifestError::Kind(_))));
        }
        let kind = read_one(br#"{"apiVersion":"v1","kind":"Secret"}"#).err().map(|e| e.to_string());
        assert_eq!(kind.as_deref(), Some("unexpected resource type: v1, Kind=Secret"));
        for bad in [&b"\xff"[..], b"", b"a: [", b"just text", b"{\"a\":"] {
            assert!(read_one(bad).is_err());
        }
    }
    #[test]
    fn a_mark_may_stand_on_the_line_of_an_object() {
        let read = |text: &str| {
            let found = read_documents::<Option<Value>>(text)?;
            Ok::<_, String>(
                found.into_iter().filter_map(|(value, _)| Some(value?.get("a")?.to_string())).collect::<Vec<_>>(),
            )
        };
        for text in [
            "{\"a\":1}---\n{\"a\":2}",
            "{\"a\":1}--- {\"a\":2}",
            "{\"a\":1} --- \n---\na: 2\n",
            "{\"a\":1}\n---\n# c\na: 2",
            "{\"a\":1}---#x\n{\"a\":2}\n---#",
            "---#x\na: 1\n---#x\na: 2\n---#x\n",
            "a: 1\n---\n{\"a\":2}",
            "---\n{\"a\":1}---\n{\"a\":2}",
        ] {
            assert_eq!(read(text).expect(text), ["1", "2"], "{text}");
        }
        assert_eq!(read("{\"a\":1}---").expect("one"), ["1"]);
        // What is lost there in silence is refused.
        for text in ["{\"a\":1}}", "{\"a\":1},{\"a\":2}", "{\"a\":1}\n]"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("{\"a\":1}\n\n---\n]").expect_err("no YAML"), " (line 4)");
    }

    #[test]
    fn what_is_no_number_to_anybody_is_text() {
        let text = "a: .inf\nb: 1e999\nc: 012\n";
        let texts = read_documents::<std::collections::BTreeMap<String, String>>(text).expect("reads").remove(0).0;
        assert_eq!(texts.into_values().collect::<Vec<_>>(), [".inf", "1e999", "012"]);
        assert!(read_documents::<Shape>(text).is_ok());
    }

    #[test]
    fn the_case_of_a_field_is_no_matter_where_many_are_read() {
        let text = br#"{"APIVERSION":"bitnami.com/v1alpha1","Kind":"SealedSecret","Metadata":{"Name":"a"},"Spec":{"EncryptedData":{"x":"y"},
            "template":{"Immutable":true}}}"#;
        let all = read_all(text).expect("reads");
        assert_eq!(all[0].metadata.name.as_deref(), Some("a"));
        assert_eq!(all[0].spec.encrypted_data.0.len(), 1);
        assert_eq!(all[0].spec.template.get().expect("read").immutable, Some(true));
        assert!(read_named(text).expect("reads").spec.encrypted_data.0.is_empty());
        let twice = br#"{"kind":"SealedSecret","spec":{},"Spec":{}}"#;
        assert_eq!(read_all(twice).err(), Some(ManifestError::Twice("spec")));
        let wrong = br#"{"kind":"SealedSecret","spec":{"template":{"immutable":"true"}}}"#;
        for read in [read_all(wrong).err(), read_named(wrong).err()] {
            assert!(matches!(read, Some(ManifestError::Type(why)) if why.contains("template.immutable of type bool")));
        }
    }
}
