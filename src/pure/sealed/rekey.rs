//! The SealedSecrets of a file, each value with the place where it stands, so that single values can be sealed anew
//! while everything else stays byte for byte.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::blob::{self, Blob};
use super::inventory::WHOLE_SECRET;
use super::item::{self, OpenFailure, SealFailure};
use super::keys::{Certificate, SealingKey, SealingKeys};
use super::unseal::{object_key, object_scope};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::format::splice::Edit;
use crate::pure::format::{self, Branch, Entry, Format, Item, Scalar, Span, Tree, Value, duplicate_item, line_of};
use crate::pure::secret::Plaintext;

/// A SealedSecret in a file.
pub struct Placed {
    /// The object.
    pub object: SealedSecret,
    /// Line of its `kind`.
    pub line: usize,
    /// Its values in the order of the file; the deprecated `spec.data` under the name [`WHOLE_SECRET`].
    pub entries: Vec<PlacedEntry>,
}

/// One sealed value in a file.
pub struct PlacedEntry {
    /// Entry name.
    pub name: String,
    /// The base64 text; empty for what is no text.
    pub text: String,
    /// Line on which the value begins.
    pub line: usize,
    span: Span,
    quote: Option<u8>,
    alias: bool,
}

/// A SealedSecret that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Line of its `kind`.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Where the values of a JSON text stand that follow each other without anything between them, as `kubeseal` and `jq`
/// print them. Text that is no such stream is one value: its parser says what is wrong with it.
pub fn json_values(text: &[u8]) -> Vec<Range<usize>> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
    let (mut spans, mut start) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        let end = values.byte_offset();
        if value.is_err() {
            return std::iter::once(0..text.len()).collect();
        }
        spans.push(start..end);
        start = end;
    }
    if spans.len() > 1 { spans } else { std::iter::once(0..text.len()).collect() }
}

/// Every SealedSecret of a file: documents of a stream, and items of Lists.
pub fn find(tree: &Tree) -> Vec<Result<Placed, Unreadable>> {
    let mut found = Vec::new();
    for branch in &tree.branches {
        let duplicate = branch.duplicate.as_ref().map(|(name, line)| format!("line {line}: {name} occurs twice"));
        visit(tree, &branch.items, &mut |items, line| {
            found.push(match &duplicate {
                Some(what) => Err(Unreadable { line, what: what.clone() }),
                None => read(tree, items, line),
            });
        });
    }
    found
}

fn visit(tree: &Tree, items: &[Item], found: &mut impl FnMut(&[Item], usize)) {
    let Some(kind) = entry(items, "kind") else { return };
    match (text(kind), entry(items, "items").map(|entry| &entry.value.value)) {
        ("SealedSecret", _) if entry(items, "apiVersion").map(text) == Some("bitnami.com/v1alpha1") => {
            found(items, line_of(tree.source.expose(), kind.key_span.start));
        }
        (kind, Some(Value::List(elements))) if kind.ends_with("List") => {
            for element in elements {
                if let Item::Element(element) = element
                    && let Value::Map(items) = &element.value.value
                {
                    visit(tree, items, found);
                }
            }
        }
        _ => {}
    }
}

fn entry<'i>(items: &'i [Item], name: &str) -> Option<&'i Entry> {
    items.iter().find_map(|item| match item {
        Item::Entry(entry) if entry.key == name => Some(entry),
        _ => None,
    })
}

fn text(entry: &Entry) -> &str {
    match &entry.value.value {
        Value::Scalar(Scalar::Text(text)) => text.expose_str().unwrap_or_default(),
        _ => "",
    }
}

fn read(tree: &Tree, items: &[Item], line: usize) -> Result<Placed, Unreadable> {
    let unreadable = |what: &str| Unreadable { line, what: what.to_owned() };
    let branch = Branch::of_items(0..0, items.iter().map(duplicate_item).collect());
    let json = format::emit(&[branch], Format::Json).map_err(|_| unreadable("it holds a value that JSON cannot"))?;
    let object: SealedSecret =
        serde_json::from_slice(json.expose()).map_err(|_| unreadable("its metadata do not have the right types"))?;
    let mut entries = Vec::new();
    if let Some(Entry { value, .. }) = entry(items, "spec")
        && let Value::Map(spec) = &value.value
    {
        entries.extend(entry(spec, "data").map(|data| placed(tree, WHOLE_SECRET, data)));
        if let Some(Entry { value, .. }) = entry(spec, "encryptedData")
            && let Value::Map(data) = &value.value
        {
            entries.extend(data.iter().filter_map(|item| match item {
                Item::Entry(entry) => Some(placed(tree, &entry.key, entry)),
                _ => None,
            }));
        }
    }
    Ok(Placed { object, line, entries })
}

fn placed(tree: &Tree, name: &str, entry: &Entry) -> PlacedEntry {
    let source = tree.source.expose();
    let span = entry.value.span.clone();
    let quote = source.get(span.start).copied().filter(|byte| matches!(byte, b'"' | b'\''));
    PlacedEntry {
        name: name.to_owned(),
        text: text(entry).to_owned(),
        line: line_of(source, entry.key_span.start),
        quote,
        alias: entry.value.layout.alias,
        span,
    }
}

impl PlacedEntry {
    /// The edit that puts another sealed value in its place, in the quotes that it had. `None` when it stands under a
    /// YAML alias and has no place of its own.
    pub fn edit(&self, sealed: &str) -> Option<Edit> {
        let quote = self.quote.map(|quote| char::from(quote).to_string()).unwrap_or_default();
        (!self.alias)
            .then(|| Edit { span: self.span.clone(), text: Plaintext::from(format!("{quote}{sealed}{quote}")) })
    }
}

/// Which key a value needs.
pub enum Needs<'k> {
    /// The current one already.
    Current,
    /// This older one.
    Old(&'k SealingKey),
    /// None of those at hand.
    Unknown,
    /// It is no sealed value, or was changed; the text says which.
    Broken(String),
}

/// Finds the key of a value by trying them, that of `certificate` first. Costs a private-key operation for each key
/// tried.
pub fn needs<'k>(
    object: &SealedSecret,
    text: &str,
    keys: &'k SealingKeys,
    certificate: &Certificate,
) -> (Needs<'k>, Option<Plaintext>) {
    let is_current = |key: &SealingKey| key.fingerprint() == certificate.fingerprint();
    let (current, old): (Vec<_>, Vec<_>) = keys.iter().partition(|key| is_current(key));
    match try_keys(object, text, current.into_iter().chain(old)) {
        Ok(Some((key, value))) if is_current(key) => (Needs::Current, Some(value)),
        Ok(Some((key, value))) => (Needs::Old(key), Some(value)),
        Ok(None) => (Needs::Unknown, None),
        Err(what) => (Needs::Broken(what), None),
    }
}

/// The key that opens a value; `None` when none of them does.
///
/// # Errors
/// What is no sealed value, or was changed; the text says which.
pub fn opener<'k>(
    object: &SealedSecret,
    text: &str,
    keys: &'k SealingKeys,
) -> Result<Option<&'k Arc<SealingKey>>, String> {
    Ok(try_keys(object, text, keys.iter())?.map(|(key, _)| key))
}

fn try_keys<'k>(
    object: &SealedSecret,
    text: &str,
    keys: impl Iterator<Item = &'k Arc<SealingKey>>,
) -> Result<Option<(&'k Arc<SealingKey>, Plaintext)>, String> {
    let bytes = blob::decode(text).map_err(|error| error.to_string())?;
    let blob = Blob::parse(&bytes).map_err(|error| error.to_string())?;
    let key = object_key(object);
    let label = object_scope(object).label(&key.namespace, &key.name);
    for key in keys {
        match item::open(&blob, key.private(), &label) {
            Ok(value) => return Ok(Some((key, value))),
            Err(OpenFailure::Damaged) => return Err("it was changed after sealing".into()),
            Err(OpenFailure::NotThisKey) => {}
        }
    }
    Ok(None)
}

/// Seals an opened value for the entry of an object, under the scope that the object has.
pub fn seal_again(object: &SealedSecret, value: &Plaintext, certificate: &Certificate) -> Result<String, SealFailure> {
    let key = object_key(object);
    let label = object_scope(object).label(&key.namespace, &key.name);
    Ok(STANDARD.encode(item::seal(value, certificate.public(), &label)?.to_bytes()))
}

/// Whether two texts hold the same SealedSecrets but for the sealed values themselves.
pub fn same_but_values(left: &Tree, right: &Tree) -> bool {
    let shape = |tree: &Tree| -> Option<Vec<serde_json::Value>> {
        find(tree)
            .into_iter()
            .map(|placed| {
                let mut object = placed.ok()?.object;
                object.spec.encrypted_data.0.values_mut().for_each(String::clear);
                object.spec.data.iter_mut().for_each(String::clear);
                serde_json::to_value(object).ok()
            })
            .collect()
    };
    shape(left).is_some_and(|left| Some(left) == shape(right))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};

    use super::*;
    use crate::pure::format::splice;
    use crate::pure::sealed::pem;

    /// Two keys, the second one current, and its certificate.
    fn keys() -> (SealingKeys, Certificate) {
        let mut keys = SealingKeys::new();
        let mut certificate = None;
        for name in ["old", "new"] {
            let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("generates");
            let der = private.as_der();
            let der: Pkcs8V1Der<'_> = der.expect("der");
            let key = pem::encode_private("PRIVATE KEY", der.as_ref());
            let made = rcgen::KeyPair::from_pem(&key).expect("pair");
            let cert = rcgen::CertificateParams::new(vec![]).expect("parameters").self_signed(&made).expect("signs");
            keys.add_pem(name, key.as_bytes(), Some(cert.pem().as_bytes())).expect("adds");
            certificate = Certificate::parse(name, cert.pem().as_bytes()).ok();
        }
        (keys, certificate.expect("made"))
    }

    fn sealed(keys: &SealingKeys, key: &str, label: &str) -> String {
        let certificate = keys.by_name(key).and_then(|key| key.certificate()).expect("known");
        let blob = item::seal(&Plaintext::copy_of(b"value"), certificate.public(), label.as_bytes()).expect("seals");
        STANDARD.encode(blob.to_bytes())
    }

    #[test]
    fn only_values_on_old_keys_change() {
        let (keys, certificate) = keys();
        let (old, new) = (sealed(&keys, "old", "n/s"), sealed(&keys, "new", "n/s"));
        let yaml = format!(
            "# kept\napiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: bitnami.com/v1alpha1\n  kind: SealedSecret\n  metadata: {{name: s, namespace: n}}\n  spec:\n    encryptedData:\n      a: \"{old}\" # why\n      b:   {new}\n      c: AgA=\n    template: {{type: Opaque}}\n"
        );
        let tree = format::parse(yaml.as_bytes(), Format::Yaml).expect("parses");
        let placed = find(&tree).remove(0).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((placed.line, placed.entries.len()), (9, 3));
        let mut edits = Vec::new();
        for entry in &placed.entries {
            match (entry.name.as_str(), needs(&placed.object, &entry.text, &keys, &certificate)) {
                ("a", (Needs::Old(key), Some(value))) => {
                    assert_eq!(key.name(), "old");
                    let text = seal_again(&placed.object, &value, &certificate).expect("seals");
                    edits.push(entry.edit(&text).expect("has a place"));
                }
                ("b", (Needs::Current, Some(_))) | ("c", (Needs::Unknown | Needs::Broken(_), None)) => {}
                (name, _) => panic!("{name}"),
            }
        }
        let out = splice::apply(tree.source.expose(), 0..yaml.len(), edits);
        let text = out.expose_str().expect("text");
        let after = format::parse(text.as_bytes(), Format::Yaml).expect("parses");
        assert!(same_but_values(&tree, &after));
        let lines: Vec<_> = yaml.lines().zip(text.lines()).filter(|(before, after)| before != after).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].1.starts_with("      a: \"AQ") && lines[0].1.ends_with("\" # why"));
        let again = find(&after).remove(0).unwrap_or_else(|error| panic!("{error:?}"));
        let (needs, value) = needs(&again.object, &again.entries[0].text, &keys, &certificate);
        assert!(matches!(needs, Needs::Current) && value.is_some_and(|value| value.expose() == b"value"));
    }

    #[test]
    fn json_values_one_after_the_other_have_each_a_place() {
        let parts = |text: &str| -> Vec<String> {
            json_values(text.as_bytes()).into_iter().map(|span| text[span].to_owned()).collect()
        };
        assert_eq!(parts("{\"a\":1}{\"b\":2}\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(parts(" {}\n\n{\"b\":\"}{\"}"), [" {}", "\n\n{\"b\":\"}{\"}"]);
        // One value, none, and what is no JSON: whole.
        for whole in ["{\"a\":1}\n", "", " \n", "{} {", "{}\n---\n{}", "\u{feff}{}{}"] {
            assert_eq!(parts(whole), [whole]);
        }
    }

    #[test]
    fn what_has_no_place_or_no_shape_is_named() {
        let object = |spec: &str| {
            format!("apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {{name: s}}\nspec:\n{spec}")
        };
        let read = |text: &str| find(&format::parse(text.as_bytes(), Format::Yaml).expect("parses")).remove(0);
        let alias = read(&object("  encryptedData:\n    a: &x AgA=\n    b: *x\n")).expect("reads");
        assert!(alias.entries[0].edit("AgB=").is_some() && alias.entries[1].edit("AgB=").is_none());
        let twice = read(&object("  encryptedData:\n    a: AgA=\n    a: AgA=\n")).err().expect("refused");
        assert!(twice.what.contains("occurs twice"), "{twice:?}");
        assert_eq!(
            read("apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: 5\n").err().map(|e| e.line),
            Some(2)
        );
        let whole = read(&object("  data: AgA=\n")).expect("reads");
        assert_eq!(whole.entries[0].name, WHOLE_SECRET);
    }
}
