//! Which documents of a YAML stream belong together: one SOPS stream has one MAC and the same block in each document,
//! while a concatenation of files may mix plain documents and several SOPS streams.

use std::ops::Range;

use super::{Document, metadata};
use crate::pure::format::merge::marker_line;
use crate::pure::format::{self, Branch, Format, FormatError, Item, Scalar, Value, split_documents};

/// A run of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Byte range in the stream: whole documents, `---` lines included. Parts follow each other without a gap.
    pub bytes: Range<usize>,
    /// Numbers of the documents, from 0.
    pub documents: Range<usize>,
    /// What they are.
    pub kind: PartKind,
}

/// What a run of documents is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// One document without a `sops` block.
    Plain,
    /// Documents under one MAC: give their bytes to [`super::parse`] as they are.
    Sops,
    /// One document that does not parse.
    Invalid(FormatError),
}

/// Splits a file into runs of documents that are opened together. In every format but YAML the file is one part.
///
/// A run of SOPS documents reaches from the first to the last document with the same MAC, whatever stands between, plus
/// following documents without a block that still hold ciphertext: taking something out of a run or putting something
/// into it must break its MAC and not go unseen.
///
/// # Errors
/// Too many documents in one file; all else is told per document.
pub fn parts(bytes: &[u8], format: Format) -> Result<Vec<Part>, FormatError> {
    if format != Format::Yaml {
        let kind = match format::parse(bytes, super::carrier(format)) {
            _ if super::is_sops(bytes, format) => PartKind::Sops,
            // A plain binary file need not be JSON.
            Err(error) if format != Format::Binary => PartKind::Invalid(error),
            _ => PartKind::Plain,
        };
        return Ok(vec![Part { bytes: 0..bytes.len(), documents: 0..1, kind }]);
    }
    let documents: Vec<(Range<usize>, Seen)> = split_documents(bytes)?
        .into_iter()
        .map(|document| {
            let seen = look(bytes.get(document.span.clone()).unwrap_or_default());
            (document.span, seen)
        })
        .collect();
    let mut parts: Vec<Part> = Vec::new();
    let mut index = 0;
    while let Some((span, seen)) = documents.get(index) {
        let (end, kind) = match seen {
            Seen::Sops(mac) => (end_of_run(&documents, index, mac), PartKind::Sops),
            Seen::Plain | Seen::Ciphertext => (index + 1, PartKind::Plain),
            Seen::Invalid(error) => (index + 1, PartKind::Invalid(error.clone())),
        };
        let last = documents.get(end - 1).map_or(span.end, |(span, _)| span.end);
        parts.push(Part { bytes: span.start..last, documents: index..end, kind });
        index = end;
    }
    Ok(parts)
}

/// The format in which the bytes are a SOPS file, or look like a damaged one: that of the name, else, under a name that
/// says nothing, whatever format has a `sops` block. `None` for a file that has nothing to do with SOPS.
pub fn format_of(bytes: &[u8], path: &str) -> Option<Format> {
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    if !has(b"sops") {
        return None;
    }
    let named = Format::of_path(path);
    if named != Format::Binary {
        let whole = parts(bytes, named).is_ok_and(|parts| parts.iter().any(|part| part.kind == PartKind::Sops));
        // A file with conflict markers in it does not parse, and must not pass for one without secrets.
        return (whole || has(b"ENC[AES256_GCM,data:")).then_some(named);
    }
    [Format::Binary, Format::Yaml, Format::Dotenv, Format::Ini]
        .into_iter()
        .find(|format| super::is_sops(bytes, *format))
}

/// A file that is one SOPS document and nothing else, as its name says: what [`format_of`], [`parts`] and
/// [`super::parse`] would find one after the other, read once. `None` for every other file.
pub fn only_document(bytes: &[u8], path: &str) -> Option<Document> {
    super::parse(bytes, Format::of_path(path)).ok().filter(|document| document.len() == 1)
}

enum Seen {
    Sops(String),
    Plain,
    Ciphertext,
    Invalid(FormatError),
}

fn end_of_run(documents: &[(Range<usize>, Seen)], start: usize, mac: &str) -> usize {
    let same = |seen: &Seen| matches!(seen, Seen::Sops(other) if other == mac);
    let last = documents.iter().rposition(|(_, seen)| same(seen)).unwrap_or(start).max(start);
    let tail = documents.iter().skip(last + 1).take_while(|(_, seen)| matches!(seen, Seen::Ciphertext)).count();
    last + 1 + tail
}

/// Why a document of a file cannot be read: what [`parts`] says of it, with the lines of `bytes`.
pub fn unreadable(bytes: &[u8], format: Format) -> Option<FormatError> {
    reason(bytes, format, format::parse(bytes, format).err()?)
}

/// What stands behind an error of the parser. `None`: nothing is wrong, the document just cannot be a SOPS file.
fn reason(bytes: &[u8], format: Format, error: FormatError) -> Option<FormatError> {
    let marker = marker_line(bytes).filter(|_| format == Format::Yaml);
    // A marker in front of everything makes the document one text, and the marker is why.
    if format == Format::Yaml && marker.is_none() && matches!(error, FormatError::NotAMap { .. }) {
        return None;
    }
    let what = "a conflict marker of a merge; resolve the conflict";
    Some(marker.map_or(error, |line| FormatError::Syntax { format, line, what: what.into() }))
}

fn look(bytes: &[u8]) -> Seen {
    let tree = match format::parse(bytes, Format::Yaml) {
        Ok(tree) => tree,
        Err(error) => return reason(bytes, Format::Yaml, error).map_or(Seen::Plain, Seen::Invalid),
    };
    let Some(branch) = tree.branches.first() else { return Seen::Plain };
    match metadata::find(branch, Format::Yaml) {
        Ok(Some(map)) => {
            let mac = map.iter().find(|(key, _)| key.eq_ignore_ascii_case("mac")).and_then(|(_, mac)| mac.as_str());
            Seen::Sops(mac.unwrap_or_default().to_owned())
        }
        Ok(None) if holds_ciphertext(branch) => Seen::Ciphertext,
        _ => Seen::Plain,
    }
}

fn holds_ciphertext(branch: &Branch) -> bool {
    fn any(items: &[Item]) -> bool {
        items.iter().any(|item| match item {
            Item::Comment(comment) => super::cipher::looks_encrypted(comment.text.expose()),
            Item::Entry(entry) => value(&entry.value.value),
            Item::Element(element) => value(&element.value.value),
        })
    }
    fn value(value: &Value) -> bool {
        match value {
            Value::Scalar(Scalar::Text(text)) => super::cipher::looks_encrypted(text.expose()),
            Value::Scalar(_) => false,
            Value::Map(items) | Value::List(items) => any(items),
        }
    }
    any(&branch.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_their_mac() {
        let sops = |mac: &str| format!("a: 1\nsops:\n  mac: {mac}\n  version: 3.13.3\n");
        let enc = "b: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]\n";
        let plain = "a: 1\nsops: {enabled: true}\n";
        let shape = |documents: &[&str]| {
            let text = documents.join("---\n");
            let parts = parts(text.as_bytes(), Format::Yaml).expect("splits");
            assert_eq!(parts.iter().map(|part| part.bytes.len()).sum::<usize>(), text.len());
            let kind = |kind: &PartKind| match kind {
                PartKind::Plain => 'p',
                PartKind::Sops => 's',
                PartKind::Invalid(_) => 'x',
            };
            parts
                .iter()
                .map(|part| format!("{}{}", kind(&part.kind), part.documents.len()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (m, n) = (sops("m"), sops("n"));
        assert_eq!(shape(&[plain]), "p1");
        assert_eq!(shape(&[&m, &m]), "s2");
        assert_eq!(shape(&[&m, &n]), "s1 s1");
        assert_eq!(shape(&[plain, &m, &m, plain, &n, plain]), "p1 s2 p1 s1 p1");
        assert_eq!(shape(&[&m, plain, &m]), "s3", "a document put into a stream must break its MAC");
        assert_eq!(shape(&[&m, enc, plain]), "s2 p1", "later documents may have lost their block");
        assert_eq!(shape(&[&m, "a: b: c\n", plain, "- x\n"]), "s1 x1 p1 p1");
        assert_eq!(shape(&[enc]), "p1");
        let conflict = format!("<<<<<<< ours\n{enc}=======\n{enc}>>>>>>> theirs\n{m}");
        assert_eq!(shape(&[&conflict]), "x1", "a marker in front of everything is no plain text");
        assert_eq!(shape(&[plain, &conflict, &m]), "p1 x1 s1");
    }

    #[test]
    fn one_document_is_read_at_once() {
        let text = include_str!("../../../tests/vectors/sops/default/yaml/encrypted.yaml");
        for (bytes, path, is_one) in [
            (text.to_owned(), "a.yaml", true),
            (format!("{text}---\nb: 1\n"), "a.yaml", false),
            (text.to_owned(), "a.json", false),
            ("a: 1\n".to_owned(), "a.yaml", false),
        ] {
            let document = only_document(bytes.as_bytes(), path);
            assert_eq!(document.is_some(), is_one, "{path}");
            let parts = parts(bytes.as_bytes(), Format::of_path(path)).expect("splits");
            let one = parts.len() == 1 && parts[0].kind == PartKind::Sops;
            assert_eq!(one, is_one, "{path}");
        }
    }

    #[test]
    fn files_are_found_by_content() {
        let yaml = "a: 1\nsops:\n  mac: m\n";
        for (text, path, format) in [
            (yaml, "a.yaml", Some(Format::Yaml)),
            (yaml, "a.yaml.enc", Some(Format::Yaml)),
            ("{\"data\": \"\", \"sops\": {\"mac\": \"\"}}", "key.pem", Some(Format::Binary)),
            ("A=1\nsops_mac=m\n", "prod", Some(Format::Dotenv)),
            ("[s]\na = 1\n[sops]\nmac = m\n", "x.conf", Some(Format::Ini)),
            ("a: b: ENC[AES256_GCM,data:\nsops:\n", "a.yaml", Some(Format::Yaml)),
            ("see sops: it is good\n", "README.md", None),
            ("sops: {enabled: true}\n", "a.yaml", None),
            ("a: 1\n", "a.yaml", None),
        ] {
            assert_eq!(format_of(text.as_bytes(), path), format, "{text} {path}");
        }
    }

    #[test]
    fn other_formats_are_one_part() {
        let kind = |text: &str, format| parts(text.as_bytes(), format).expect("splits")[0].kind.clone();
        assert_eq!(kind("a=1\nsops_mac=x\n", Format::Dotenv), PartKind::Sops);
        assert_eq!(kind("\u{1}\u{2}", Format::Binary), PartKind::Plain);
        assert_eq!(kind("{\"data\":\"\",\"sops\":{\"mac\":\"\"}}", Format::Binary), PartKind::Sops);
        assert!(matches!(kind("{", Format::Json), PartKind::Invalid(_)));
    }
}
