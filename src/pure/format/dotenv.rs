//! `KEY=value` lines as SOPS reads them: no trimming, no quotes, no `export`; `\n` is the only escape.

use super::{Branch, Comment, Entry, Format, FormatError, Item, Layout, Node, Scalar, Value, line_of};
use crate::pure::secret::Plaintext;

/// Reads a dotenv file. Values may hold bytes that are not UTF-8; names may not.
pub(super) fn read(source: &[u8]) -> Result<Branch, FormatError> {
    let mut items = Vec::new();
    let mut offset = 0;
    for raw in source.split(|byte| *byte == b'\n') {
        let start = offset;
        offset += raw.len() + 1;
        if raw.is_empty() {
            continue;
        }
        if let Some(text) = raw.strip_prefix(b"#") {
            items.push(Item::Comment(Comment {
                text: unescape(text),
                span: start..start + raw.len(),
                own_line: true,
                changed: false,
                element: false,
            }));
            continue;
        }
        let line = || line_of(source, start);
        let Some(at) = raw.iter().position(|byte| *byte == b'=') else {
            return Err(FormatError::Syntax {
                format: Format::Dotenv,
                line: line(),
                what: "no \"=\" in the line".into(),
            });
        };
        let (key, value) = (raw.get(..at).unwrap_or_default(), raw.get(at + 1..).unwrap_or_default());
        let key = String::from_utf8(key.to_vec())
            .map_err(|_| FormatError::NotText { format: Format::Dotenv, line: line() })?;
        let span = start + at + 1..start + raw.len();
        let node = Node::new(span, Value::Scalar(Scalar::Text(unescape(value))), Layout::default());
        items.push(Item::Entry(Entry { key, key_span: start..start + at, value: node }));
    }
    Ok(Branch::of_items(0..source.len(), items))
}

/// The two characters `\n` stand for a line break; nothing stands for the two characters.
fn unescape(bytes: &[u8]) -> Plaintext {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', Some(after)) = (first, tail.strip_prefix(b"n")) {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Plaintext::new(out)
}

/// The text of a value after the equals sign.
pub(super) fn escape(bytes: &[u8]) -> Plaintext {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(*byte),
        }
    }
    Plaintext::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_literally() {
        let branch = read(b"# c\n\nfoo = bar \nexport B=\"x\\ny\"\r\nE=\nF=a=b").expect("reads");
        let seen: Vec<String> = branch
            .items
            .iter()
            .map(|item| match item {
                Item::Comment(comment) => format!("#{}", comment.text.expose_str().unwrap_or_default()),
                Item::Entry(entry) => match &entry.value.value {
                    Value::Scalar(Scalar::Text(text)) => {
                        format!("{}|{}", entry.key, text.expose_str().unwrap_or_default())
                    }
                    _ => "?".into(),
                },
                Item::Element(_) => "?".into(),
            })
            .collect();
        assert_eq!(seen, ["# c", "foo | bar ", "export B|\"x\ny\"\r", "E|", "F|a=b"]);
        assert!(matches!(read(b"a=1\nb"), Err(FormatError::Syntax { line: 2, .. })));
    }
}
