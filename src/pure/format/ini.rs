//! INI as SOPS reads it through Go's `ini.v1`: sections of `key = value` (or `key: value`), keys before a section in
//! `DEFAULT`, inline comments after `#` or `;`, values in `"""` or backticks over several lines.

use super::{Branch, Comment, Entry, Format, FormatError, Item, Layout, Node, Scalar, Span, Value, line_of};
use crate::pure::secret::Plaintext;

/// Name of the section that keys before any header belong to.
pub(in crate::pure) const DEFAULT: &str = "DEFAULT";

/// Reads an INI file. A comment above a section header is an item of that section, as in SOPS.
pub(super) fn read(source: &str) -> Result<Branch, FormatError> {
    let mut reader = Reader { source, at: 0, sections: Vec::new(), comments: Vec::new(), duplicate: None };
    while reader.at < source.len() {
        reader.line()?;
    }
    let trailing = std::mem::take(&mut reader.comments);
    reader.current(0).extend(trailing.into_iter().map(Item::Comment));
    let mut items = Vec::new();
    for (key, key_span, children) in reader.sections {
        if children.is_empty() && key_span.is_empty() {
            continue;
        }
        let end = children.last().map_or(key_span.end, Item::end);
        let value = Node::new(key_span.start..end, Value::Map(children), Layout::default());
        items.push(Item::Entry(Entry { key, key_span, value }));
    }
    let mut branch = Branch::of_items(0..source.len(), items);
    branch.duplicate = reader.duplicate;
    Ok(branch)
}

struct Reader<'s> {
    source: &'s str,
    at: usize,
    sections: Vec<(String, Span, Vec<Item>)>,
    comments: Vec<Comment>,
    duplicate: Option<(String, usize)>,
}

impl<'s> Reader<'s> {
    /// Items of the section that is open; `DEFAULT` when there is none yet.
    fn current(&mut self, at: usize) -> &mut Vec<Item> {
        if self.sections.is_empty() {
            self.sections.push((DEFAULT.to_owned(), at..at, Vec::new()));
        }
        let last = self.sections.len() - 1;
        // The list was just made non-empty.
        #[allow(clippy::indexing_slicing, reason = "last is in range")]
        &mut self.sections[last].2
    }

    fn line(&mut self) -> Result<(), FormatError> {
        let rest = self.source.get(self.at..).unwrap_or_default();
        let raw = rest.split_inclusive('\n').next().unwrap_or_default();
        let text = raw.trim_start_matches([' ', '\t', '\u{feff}', '\r', '\n']);
        let start = self.at + raw.len() - text.len();
        let text = text.trim_end();
        let end = start + text.len();
        let after = self.at + raw.len();
        match text.chars().next() {
            None => self.at = after,
            Some('#' | ';') => {
                self.comments.push(comment(text, start..end, true));
                self.at = after;
            }
            Some('[') => {
                let Some(close) = text.rfind(']') else { return Err(self.error(start, "a section is not closed")) };
                // Blanks belong to the name, as in ini.v1: it is part of what every value of the section is bound to.
                let name = text.get(1..close).unwrap_or_default().to_owned();
                if name.is_empty() {
                    return Err(self.error(start, "a section has no name"));
                }
                let comments = std::mem::take(&mut self.comments).into_iter().map(Item::Comment).collect();
                self.sections.push((name, start..start + close + 1, comments));
                self.at = after;
            }
            Some(_) => {
                let (key, value_at) = self.key(text, start)?;
                let waiting = std::mem::take(&mut self.comments);
                let (entry, inline) = self.value(key, start, value_at, end, after)?;
                let line = line_of(self.source.as_bytes(), start);
                let items = self.current(start);
                let known = items.iter().any(|item| matches!(item, Item::Entry(e) if e.key == entry.key));
                let duplicate = known.then(|| (entry.key.clone(), line));
                items.extend(waiting.into_iter().chain(inline).map(Item::Comment));
                items.push(Item::Entry(entry));
                self.duplicate = self.duplicate.take().or(duplicate);
            }
        }
        Ok(())
    }

    /// Name, its span's end, and the offset after the delimiter.
    fn key(&self, text: &str, start: usize) -> Result<((String, usize), usize), FormatError> {
        let (name, end) = match ["\"\"\"", "`", "\""].into_iter().find(|quote| opens(text, quote)) {
            Some(quote) => {
                let inner = text.get(quote.len()..).unwrap_or_default();
                let Some(close) = inner.find(quote) else {
                    return Err(self.error(start, "a quoted key is not closed"));
                };
                (inner.get(..close).unwrap_or_default().trim(), quote.len() * 2 + close)
            }
            None => {
                let name = text.split(['=', ':']).next().unwrap_or_default().trim_end();
                (name, name.len())
            }
        };
        let Some(delimiter) = text.get(end..).and_then(|rest| rest.find(['=', ':'])) else {
            return Err(self.error(start, "no \"=\" in the line"));
        };
        if name.is_empty() {
            return Err(self.error(start, "a key has no name"));
        }
        if name == "-" {
            // ini.v1 reads `#1`, the next one `#2`, and what it writes then is a comment.
            return Err(self.error(start, "the key \"-\" stands for a number"));
        }
        Ok(((name.to_owned(), start + end), start + end + delimiter + 1))
    }

    fn value(
        &mut self,
        (key, key_end): (String, usize),
        start: usize,
        value_at: usize,
        end: usize,
        after: usize,
    ) -> Result<(Entry, Option<Comment>), FormatError> {
        let line = self.source.get(value_at..end.max(value_at)).unwrap_or_default();
        let text = line.trim_start();
        let from = value_at + line.len() - text.len();
        self.at = after;
        let make = |text: &str, span: Span| {
            let node =
                Node::new(span, Value::Scalar(Scalar::Text(Plaintext::copy_of(text.as_bytes()))), Layout::default());
            Entry { key, key_span: start..key_end, value: node }
        };
        for quote in ["\"\"\"", "`"] {
            if !text.starts_with(quote) {
                continue;
            }
            let open = from + quote.len();
            let Some(length) = self.source.get(open..).and_then(|rest| rest.find(quote)) else {
                return Err(self.error(from, "a quoted value is not closed"));
            };
            let close = open + length;
            let entry = make(self.source.get(open..close).unwrap_or_default(), from..close + quote.len());
            let rest = self.source.get(close + quote.len()..).unwrap_or_default();
            let tail = rest.split_inclusive('\n').next().unwrap_or_default();
            self.at = close + quote.len() + tail.len();
            let lead = tail.len() - tail.trim_start().len();
            let tail_at = close + quote.len() + lead;
            let note = tail.trim();
            let inline = note.starts_with(['#', ';']).then(|| comment(note, tail_at..tail_at + note.len(), false));
            if inline.is_none() && !note.is_empty() {
                return Err(self.error(tail_at, "text follows a quoted value"));
            }
            return Ok((entry, inline));
        }
        if text.ends_with('\\') {
            return Err(self.error(from, "a line that is continued with a backslash is not supported"));
        }
        let (value, note) = match text.find(['#', ';']) {
            Some(at) => (text.get(..at).unwrap_or_default().trim_end(), text.get(at..).map(|note| (note, from + at))),
            None => (text, None),
        };
        let inline = note.map(|(note, at)| comment(note, at..at + note.len(), false));
        // Quotes go when they are the first and the last character, and there is none between.
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote).filter(|inner| !inner.contains(*quote)));
        Ok((make(bare.unwrap_or(value), from..from + value.len()), inline))
    }

    fn error(&self, at: usize, what: &str) -> FormatError {
        FormatError::Syntax { format: Format::Ini, line: line_of(self.source.as_bytes(), at), what: what.to_owned() }
    }
}

/// Whether the name of a key begins with this quote. Three of them need something between, as in ini.v1.
fn opens(text: &str, quote: &str) -> bool {
    text.starts_with(quote) && (quote.len() == 1 || text.len() > quote.len() * 2)
}

/// Whether a further line of a comment has its comment character already: SOPS leaves it there.
pub(super) fn is_comment(line: &[u8]) -> bool {
    matches!(line.first(), Some(b';' | b'#'))
}

/// SOPS strips comment characters and blanks from the front.
fn comment(text: &str, span: Span, own_line: bool) -> Comment {
    let text = text.trim_start_matches([' ', '#', ';']);
    Comment { text: Plaintext::copy_of(text.as_bytes()), span, own_line, changed: false, element: false }
}

/// The text of a value, quoted where a reader would change it.
pub fn value_text(value: &[u8]) -> Plaintext {
    let text = String::from_utf8_lossy(value);
    let quoted_alike = ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote));
    let out = if text.contains(['\n', '`']) {
        format!("\"\"\"{text}\"\"\"")
    } else if text.contains(['#', ';']) || quoted_alike || text.ends_with('\\') || text.trim() != text {
        format!("`{text}`")
    } else {
        text.into_owned()
    };
    Plaintext::from(out)
}

/// The text of a key.
pub fn line_key(key: &str) -> String {
    let quote = if key.contains(['"', '=', ':']) || key.starts_with(['[', '#', ';']) { "`" } else { "" };
    format!("{quote}{key}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<String> {
        let branch = read(text).expect("reads");
        let mut out = Vec::new();
        for item in &branch.items {
            let Item::Entry(section) = item else { continue };
            let Value::Map(children) = &section.value.value else { continue };
            for child in children {
                out.push(match child {
                    Item::Comment(comment) => {
                        format!("{};{}", section.key, comment.text.expose_str().unwrap_or_default())
                    }
                    Item::Entry(Entry {
                        key,
                        value: Node { value: Value::Scalar(Scalar::Text(text)), span, .. },
                        ..
                    }) => {
                        assert!(span.end >= span.start);
                        format!("{}.{key}={}", section.key, text.expose_str().unwrap_or_default())
                    }
                    _ => "?".into(),
                });
            }
        }
        out
    }

    #[test]
    fn ini_v1_rules() {
        let text =
            "a = 1\n; about s\n[s]\nk: \"v w\" ; note\nt = `x;y`\nm = \"\"\"1\n2\"\"\"\n`q=r` = 3\ne =\n[s]\nz=1";
        assert_eq!(
            shape(text),
            ["DEFAULT.a=1", "s;about s", "s;note", "s.k=v w", "s.t=x;y", "s.m=1\n2", "s.q=r=3", "s.e=", "s.z=1"]
        );
        assert_eq!(shape("x = \"a\" \"b\"\n"), ["DEFAULT.x=\"a\" \"b\""]);
        assert_eq!(shape("[ s ]\na=1\n"), [" s .a=1"]);
        assert!(read("[a\n").is_err());
        assert!(read("[]\n").is_err());
        for text in ["novalue\n", "=\n", " : x\n", "\"\" = x\n", "a = 1\n\":\"\n", "`=`\n", "\"a = 1\n", "- = 1\n"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(shape("\"=\" : 1\n\"\"\"b\"\"\" = 2\n"), ["DEFAULT.==1", "DEFAULT.b=2"]);
        assert_eq!(read("a=1\na=2\n").expect("reads").duplicate, Some(("a".into(), 2)));
    }

    #[test]
    fn written_values_read_back() {
        for value in ["", "x", "a;b", " lead", "\"q\"", "'q'", "two\nlines", "tick`s", "end\\", "a=b"] {
            let text = value_text(value.as_bytes());
            let line = format!("k = {}\n", text.expose_str().expect("text"));
            assert_eq!(shape(&line), [format!("DEFAULT.k={value}")], "{line}");
        }
    }
}
