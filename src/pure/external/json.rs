//! A JSON reader that keeps the text of each value. serde_json would print numbers its own way, and what stands in a
//! Secret must be what stands in the store. Nodes borrow from the document, so that reading copies no value.

use zeroize::Zeroizing;

use crate::pure::limits;

/// One value with the text it was read from.
pub(super) struct Node<'a> {
    /// Text of the value, without blanks around it.
    pub raw: &'a str,
    /// What it is.
    pub kind: Kind<'a>,
}

/// What a value is.
pub(super) enum Kind<'a> {
    Null,
    Bool,
    Number,
    String,
    Array(Vec<Node<'a>>),
    /// Fields in document order, repeats included.
    Object(Vec<(String, Node<'a>)>),
}

/// Reads one document. `None` when it is not JSON or nests too deeply.
pub(super) fn parse(text: &str) -> Option<Node<'_>> {
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(0)?;
    reader.blanks();
    (reader.at == text.len()).then_some(node)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth > limits::NESTING_DEPTH {
            return None;
        }
        self.blanks();
        let start = self.at;
        let kind = match self.peek()? {
            b'{' => self.object(depth)?,
            b'[' => self.array(depth)?,
            b'"' => {
                self.string()?;
                Kind::String
            }
            b't' => self.word("true", Kind::Bool)?,
            b'f' => self.word("false", Kind::Bool)?,
            b'n' => self.word("null", Kind::Null)?,
            _ => self.number()?,
        };
        Some(Node { raw: self.text.get(start..self.at)?, kind })
    }

    fn word(&mut self, word: &str, kind: Kind<'a>) -> Option<Kind<'a>> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            kind
        })
    }

    fn number(&mut self) -> Option<Kind<'a>> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        // serde_json holds the grammar of numbers.
        serde_json::from_str::<serde_json::Number>(self.text.get(start..self.at)?).ok().map(|_| Kind::Number)
    }

    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            let digits = self.text.as_bytes().get(self.at + 1..self.at + 5)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 5;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }

    fn array(&mut self, depth: usize) -> Option<Kind<'a>> {
        self.take(b'[')?;
        let mut items = vec![];
        self.blanks();
        if self.take(b']').is_some() {
            return Some(Kind::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.take(b']').is_some() {
                return Some(Kind::Array(items));
            }
            self.take(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Kind<'a>> {
        self.take(b'{')?;
        let mut fields = vec![];
        self.blanks();
        if self.take(b'}').is_some() {
            return Some(Kind::Object(fields));
        }
        loop {
            self.blanks();
            let name = unquote(self.string()?).to_string();
            self.blanks();
            self.take(b':')?;
            fields.push((name, self.value(depth + 1)?));
            self.blanks();
            if self.take(b'}').is_some() {
                return Some(Kind::Object(fields));
            }
            self.take(b',')?;
        }
    }
}

/// The text that a JSON string stands for. Half a surrogate pair becomes U+FFFD, as in Go.
pub(super) fn unquote(raw: &str) -> Zeroizing<String> {
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw);
    // The result is never longer than the source, so that it does not grow and leave copies behind.
    let mut out = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some(letter) = rest.chars().next() else { break };
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => {
                let unit = hex4(rest);
                rest = rest.get(4..).unwrap_or_default();
                let low = rest.strip_prefix("\\u").map(hex4).filter(|low| (0xDC00..0xE000).contains(low));
                match (unit, low) {
                    (0xD800..0xDC00, Some(low)) => {
                        rest = rest.get(6..).unwrap_or_default();
                        let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    _ => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            other => out.push(other),
        }
    }
    out.push_str(rest);
    out
}

fn hex4(text: &str) -> u32 {
    text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xFFFD)
}

/// The document with sorted fields and no blanks, as Go prints a map: what a store that answers in objects gives as
/// the text of a whole value. Of repeated fields the last one stays.
pub(super) fn sorted(node: &Node<'_>) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(node.raw.len() * 2));
    write_sorted(node, &mut out);
    out
}

fn write_sorted(node: &Node<'_>, out: &mut String) {
    match &node.kind {
        Kind::Null | Kind::Bool | Kind::Number => out.push_str(node.raw),
        Kind::String => write_string(&unquote(node.raw), out),
        Kind::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        Kind::Object(fields) => {
            out.push('{');
            let fields: std::collections::BTreeMap<&str, &Node<'_>> =
                fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // Go escapes the two that JavaScript takes for line ends.
            '\0'..'\u{20}' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_serde_json_takes_and_nothing_else() {
        let nested = format!("{}1{}", "[".repeat(limits::NESTING_DEPTH + 1), "]".repeat(limits::NESTING_DEPTH + 1));
        assert!(parse(&nested).is_none(), "too deep");
        for text in [
            "{}",
            "[]",
            " { \"a\" : [ 1 , -2.5e+3 , true , null ] } ",
            "\"\\u00e9\"",
            "{\"a\":1,\"a\":2}",
            "1",
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            "+1",
            "- 1",
            "tru",
            "nulll",
            "\"\\x\"",
            "\"\n\"",
            "[1 2]",
            "{} {}",
            "\"\\u12\"",
            "'a'",
            "NaN",
            "\"abc",
            "1e5",
            "1e",
            ".5",
            "--1",
            "\u{feff}1",
        ] {
            let ours = parse(text).is_some();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn strings_are_unquoted_as_go_does() {
        for (raw, want) in [
            (r#""a\n\"\\\/é""#, "a\n\"\\/é"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d""#, "\u{FFFD}"),
            (r#""\ud83dx""#, "\u{FFFD}x"),
            (r#""\ude00\u0041""#, "\u{FFFD}A"),
        ] {
            assert_eq!(*unquote(raw), want, "{raw}");
        }
    }

    #[test]
    fn sorted_keeps_numbers_and_sorts_fields() {
        let node = parse(r#" {"b": 1.0, "a": {"z": 12345678901234567890123, "y": "<&>\u2028\u0001"}, "b": 2.50} "#);
        let text = node.map(|node| sorted(&node).to_string());
        assert_eq!(
            text.as_deref(),
            Some("{\"a\":{\"y\":\"<&>\\u2028\\u0001\",\"z\":12345678901234567890123},\"b\":2.50}")
        );
    }
}
