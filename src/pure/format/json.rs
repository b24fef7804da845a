//! JSON with spans. Numbers are typed as SOPS types them: integers of 64 bits are integers, all others floats.

use zeroize::Zeroizing;

use super::number::float_json;
use super::{Branch, Element, Entry, Format, FormatError, Item, Layout, Node, Scalar, Value, line_of};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

const FLOW: Layout = Layout { flow: true, indent: 0, alias: false };

/// Reads one JSON object. Duplicate names are kept in order, as SOPS keeps and hashes them.
pub(super) fn read(source: &str) -> Result<Branch, FormatError> {
    let mut reader = Reader { source, at: 0, nodes: 0 };
    if source.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.blanks();
    let line = line_of(source.as_bytes(), reader.at);
    let node = reader.value(1)?;
    let Value::Map(items) = node.value else { return Err(FormatError::NotAMap { format: Format::Json, line }) };
    reader.blanks();
    if reader.at < source.len() {
        return Err(reader.error("text follows the object"));
    }
    let mut branch = Branch::of_items(0..source.len(), items);
    branch.body_end = node.span.end.saturating_sub(1);
    branch.flow = true;
    Ok(branch)
}

struct Reader<'s> {
    source: &'s str,
    at: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, FormatError> {
        if depth > limits::NESTING_DEPTH {
            return Err(FormatError::TooDeep { line: self.line(), limit: limits::NESTING_DEPTH });
        }
        self.nodes += 1;
        if self.nodes > limits::VALUES_PER_FILE {
            return Err(FormatError::TooManyValues { line: self.line(), limit: limits::VALUES_PER_FILE });
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.items(b'}', depth)?,
            Some(b'[') => self.items(b']', depth)?,
            Some(b'"') => Value::Scalar(Scalar::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Value::Scalar(self.number()?),
            _ => Value::Scalar(self.word()?),
        };
        Ok(Node::new(start..self.at, value, FLOW))
    }

    fn items(&mut self, close: u8, depth: usize) -> Result<Value, FormatError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks();
            if items.is_empty() && self.eat(close) {
                break;
            }
            let start = self.at;
            if close == b'}' {
                if self.peek() != Some(b'"') {
                    return Err(self.error("a name in double quotes is missing"));
                }
                let key = self.string()?;
                let key_span = start..self.at;
                self.blanks();
                if !self.eat(b':') {
                    return Err(self.error("a colon is missing"));
                }
                self.blanks();
                let value = self.value(depth + 1)?;
                let key = key.expose_str().unwrap_or_default().to_owned();
                items.push(Item::Entry(Entry { key, key_span, value }));
            } else {
                items.push(Item::Element(Element { start, value: self.value(depth + 1)? }));
            }
            self.blanks();
            if self.eat(close) {
                break;
            }
            if !self.eat(b',') {
                return Err(self.error("a comma or a closing bracket is missing"));
            }
        }
        Ok(if close == b'}' { Value::Map(items) } else { Value::List(items) })
    }

    fn string(&mut self) -> Result<Plaintext, FormatError> {
        self.at += 1;
        let mut out = Zeroizing::new(Vec::new());
        loop {
            match self.peek() {
                None | Some(0..=0x1f) => return Err(self.error("a string is not closed or holds a control character")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Plaintext::copy_of(&out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let decoded = self.escape()?;
                    let mut buffer = [0; 4];
                    out.extend_from_slice(decoded.encode_utf8(&mut buffer).as_bytes());
                }
                Some(byte) => {
                    self.at += 1;
                    out.push(byte);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, FormatError> {
        let byte = self.peek();
        self.at += 1;
        Ok(match byte {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                match first {
                    0xd800..=0xdbff => {
                        // A lone surrogate becomes U+FFFD, as in Go.
                        let mark = self.at;
                        if self.eat(b'\\') && self.eat(b'u') {
                            let second = self.hex()?;
                            if (0xdc00..=0xdfff).contains(&second) {
                                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                            }
                        }
                        self.at = mark;
                        char::REPLACEMENT_CHARACTER
                    }
                    code => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, FormatError> {
        let digits = self.source.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.error("an escape needs four hexadecimal digits"))
    }

    fn number(&mut self) -> Result<Scalar, FormatError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
            self.at += 1;
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        if !is_number(text) {
            return Err(self.error("not a number"));
        }
        if let Ok(value) = text.parse::<i64>() {
            return Ok(Scalar::Int(value));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Scalar::Float(value)),
            _ => Err(self.error("a number is out of range")),
        }
    }

    fn word(&mut self) -> Result<Scalar, FormatError> {
        for (word, scalar) in [("null", Scalar::Null), ("true", Scalar::Bool(true)), ("false", Scalar::Bool(false))] {
            if self.source.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
                self.at += word.len();
                return Ok(scalar);
            }
        }
        Err(self.error("a value is missing"))
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn line(&self) -> usize {
        line_of(self.source.as_bytes(), self.at)
    }

    fn error(&self, what: &str) -> FormatError {
        FormatError::Syntax { format: Format::Json, line: self.line(), what: what.to_owned() }
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || whole > 1 && rest.starts_with('0') {
        return false;
    }
    let mut rest = rest.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = fraction.get(length..).unwrap_or_default();
    }
    match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        None => rest.is_empty(),
    }
}

/// The text of a scalar; `None` when JSON cannot say it (infinity, not a number).
pub fn scalar_text(scalar: &Scalar) -> Option<Plaintext> {
    Some(Plaintext::from(match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Float(value) => float_json(*value)?,
        Scalar::Time(value) => format!("\"{value}\""),
        Scalar::Text(text) => return Some(quote(text.expose())),
    }))
}

/// A JSON string, with Go's choice of escapes (`<`, `>`, `&`, U+2028 and U+2029 too). Bytes that are not UTF-8 become
/// U+FFFD.
pub fn quote(bytes: &[u8]) -> Plaintext {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() + 16));
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\u{8}' => out.extend_from_slice(b"\\b"),
                '\u{c}' => out.extend_from_slice(b"\\f"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                }
                c => {
                    let mut buffer = [0; 4];
                    out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
    Plaintext::copy_of(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_errors() {
        for (text, ok) in [
            ("{\"a\":1}", true),
            ("{\"a\":01}", false),
            ("{\"a\":1.}", false),
            ("{\"a\":-}", false),
            ("{\"a\":1e400}", false),
            ("{\"a\":1e5}", true),
            ("{\"a\":\"\\ud83d\\ude00\\ud800\"}", true),
            ("{\"a\":\"\\x\"}", false),
            ("{\"a\":1,}", false),
            ("{\"a\":1} x", false),
            ("{\"a\" 1}", false),
            ("[1]", false),
            ("", false),
            (" {} \n", true),
        ] {
            assert_eq!(read(text).is_ok(), ok, "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
        assert!(matches!(read(&deep), Err(FormatError::TooDeep { .. })));
    }

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        assert_eq!(
            quote(b"a\"<&>\n\x01\xffz").expose(),
            "\"a\\\"\\u003c\\u0026\\u003e\\n\\u0001\u{fffd}z\"".as_bytes()
        );
    }
}
