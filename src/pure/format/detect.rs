//! Borders of the documents of a YAML stream, found without parsing them: one broken document must not hide the rest.

use super::{FormatError, Span};
use crate::pure::limits;

/// One document of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSpan {
    /// Its bytes with the `---` line before it and everything up to the next one.
    pub span: Span,
    /// Offset after the `---` marker, or the start of the span when it has none.
    pub body_start: usize,
    /// Offset of the `...` line that ends it, or the end of the span.
    pub body_end: usize,
}

/// Splits a YAML stream. `---` and `...` at the start of a line are markers wherever they stand (YAML 1.2, 9.1.2), in
/// block and quoted scalars too, so lines decide. The spans follow each other without a gap; an empty file is one
/// document.
///
/// # Errors
/// More than [`limits::DOCUMENTS_PER_FILE`] documents.
pub fn split_documents(bytes: &[u8]) -> Result<Vec<DocumentSpan>, FormatError> {
    let mut documents = Vec::new();
    let mut current = DocumentSpan { span: 0..0, body_start: 0, body_end: bytes.len() };
    // What was seen since the current document began.
    let (mut marked, mut content, mut ended) = (false, false, false);
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let start = offset;
        offset += line.len();
        let (opens, closes) = (is_marker(line, b"---"), is_marker(line, b"..."));
        let bare = !opens && !closes && is_content(line, ended || !content && !marked);
        if opens && (marked || content || ended) || ended && (bare || line.first() == Some(&b'%')) {
            // A comment after `...` stays with the document before it: every byte has one owner.
            let end = start;
            current.span.end = end;
            current.body_end = current.body_end.min(end);
            documents.push(std::mem::replace(
                &mut current,
                DocumentSpan { span: end..end, body_start: end, body_end: bytes.len() },
            ));
            if documents.len() >= limits::DOCUMENTS_PER_FILE {
                return Err(FormatError::TooManyDocuments { limit: limits::DOCUMENTS_PER_FILE });
            }
            (marked, content, ended) = (false, false, false);
        }
        if opens {
            marked = true;
            current.body_start = start + 3;
        } else if closes {
            if !ended {
                current.body_end = start;
            }
            ended = true;
        } else if bare {
            content = true;
        }
    }
    current.span.end = bytes.len();
    current.body_end = current.body_end.min(bytes.len());
    documents.push(current);
    Ok(documents)
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(|byte| b" \t\r\n".contains(byte)))
}

/// Neither blank nor a comment nor, where one may stand, a directive.
fn is_content(line: &[u8], directives: bool) -> bool {
    let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii();
    match text.first() {
        None | Some(b'#') => false,
        Some(b'%') => !directives || line.first() != Some(&b'%'),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_decide_where_documents_end() {
        for (text, parts) in [
            ("", vec![""]),
            ("a: 1\n", vec!["a: 1\n"]),
            ("---\na: 1\n", vec!["---\na: 1\n"]),
            ("# c\n---\na: 1\n", vec!["# c\n---\na: 1\n"]),
            ("%YAML 1.2\n---\na: 1\n", vec!["%YAML 1.2\n---\na: 1\n"]),
            ("a: 1\n--- # x\nb: 2", vec!["a: 1\n", "--- # x\nb: 2"]),
            ("a: 1\n---\n---\nb: 2\n---", vec!["a: 1\n", "---\n", "---\nb: 2\n", "---"]),
            ("a: |\n  ---\n---x: 1\n", vec!["a: |\n  ---\n---x: 1\n"]),
            ("a: 1\n...\n# c\n---\nb: 2\n", vec!["a: 1\n...\n# c\n", "---\nb: 2\n"]),
            ("a: 1\n...\nb: 2\n", vec!["a: 1\n...\n", "b: 2\n"]),
            ("a: 1\r\n---\r\nb: 2\r\n", vec!["a: 1\r\n", "---\r\nb: 2\r\n"]),
            ("a: 1\n...\n", vec!["a: 1\n...\n"]),
        ] {
            let spans = split_documents(text.as_bytes()).expect("splits");
            let got: Vec<_> = spans.iter().map(|d| &text[d.span.clone()]).collect();
            assert_eq!(got, parts, "{text:?}");
        }
        let spans = split_documents(b"--- # x\na: 1\n...\n").expect("splits");
        assert_eq!(spans, vec![DocumentSpan { span: 0..17, body_start: 3, body_end: 13 }]);
    }

    #[test]
    fn a_bomb_of_documents_is_refused() {
        let text = "---\n".repeat(limits::DOCUMENTS_PER_FILE + 1);
        assert!(matches!(split_documents(text.as_bytes()), Err(FormatError::TooManyDocuments { .. })));
    }
}
