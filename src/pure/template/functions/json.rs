//! JSON as Go's `encoding/json` writes and reads it.

use std::collections::BTreeMap;

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::floats;
use super::super::runes::{self, runes as characters};
use super::super::types::Type;
use super::super::value::{Map, Object, Value};
use super::encoding::base64_of;
use super::strings::room;
use super::{Arguments, Function, Result, made};
use crate::pure::limits;

const ANY: Type = Type::Any;

pub(super) const TABLE: &[Function] = &[
    Function::new("toJson", &[ANY], |_, args| or_empty(encoded(args.at(0), Style::Plain))),
    Function::new("mustToJson", &[ANY], |_, args| encoded(args.at(0), Style::Plain)),
    Function::new("toPrettyJson", &[ANY], |_, args| or_empty(encoded(args.at(0), Style::Pretty))),
    Function::new("mustToPrettyJson", &[ANY], |_, args| encoded(args.at(0), Style::Pretty)),
    Function::new("toRawJson", &[ANY], |_, args| encoded(args.at(0), Style::Raw)),
    Function::new("mustToRawJson", &[ANY], |_, args| encoded(args.at(0), Style::Raw)),
    Function::new("fromJson", &[Type::Str], |_, args| match decode(args.bytes(0)) {
        Err(Fault::Plain(_) | Fault::Withheld(_)) => Ok(Value::Nil),
        other => other,
    }),
    Function::new("mustFromJson", &[Type::Str], |_, args| decode(args.bytes(0))),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// One line, with `<`, `>` and `&` escaped.
    Plain,
    /// Indented by two, escaped.
    Pretty,
    /// One line, not escaped.
    Raw,
}

fn or_empty(result: Result) -> Result {
    match result {
        Err(Fault::Plain(_) | Fault::Withheld(_)) => Ok(Value::string("")),
        other => other,
    }
}

/// `json.Marshal` and its relatives.
pub(super) fn encoded(value: &Value, style: Style) -> Result {
    let mut writer = Writer { out: Buffer::new(), style };
    writer.value(value, 0)?;
    made(writer.out)
}

struct Writer {
    out: Buffer,
    style: Style,
}

/// A number as JSON shows a float.
pub(super) fn float_text(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = floats::format(value, b'e', None);
        // e-09 becomes e-9.
        return match text.split_once("e-0") {
            Some((mantissa, exponent)) => format!("{mantissa}e-{exponent}"),
            None => text,
        };
    }
    floats::format(value, b'f', None)
}

impl Writer {
    fn line(&mut self, depth: usize) {
        if self.style == Style::Pretty {
            self.out.push(b'\n');
            self.out.fill(b' ', depth * 2);
        }
    }

    fn value(&mut self, value: &Value, depth: usize) -> std::result::Result<(), Fault> {
        if depth > limits::NESTING_DEPTH {
            return Err(Fault::limit("nesting of JSON", limits::NESTING_DEPTH, "levels"));
        }
        room(self.out.len())?;
        match value {
            Value::Missing | Value::Nil => self.out.text("null"),
            Value::Bool(flag) => self.out.text(if *flag { "true" } else { "false" }),
            Value::Int(_, number) => self.out.text(&number.to_string()),
            Value::Uint(_, number) => self.out.text(&number.to_string()),
            Value::Float(number) if !number.is_finite() => {
                let shown = floats::format(*number, b'g', None);
                return Err(Fault::plain(format!("json: unsupported value: {shown}")));
            }
            Value::Float(number) => self.out.text(&float_text(*number)),
            Value::Complex(..) => return Err(Fault::plain("json: unsupported type: complex128")),
            Value::Str(text) => self.string(text),
            Value::Bytes(bytes) => self.string(base64_of(bytes).as_bytes()),
            Value::List(list) if list.is_nil() => self.out.text("null"),
            Value::List(list) => {
                self.out.push(b'[');
                for (index, item) in list.items().iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.line(depth + 1);
                    self.value(item, depth + 1)?;
                }
                if !list.items().is_empty() {
                    self.line(depth);
                }
                self.out.push(b']');
            }
            Value::Map(map) => self.map(map, depth)?,
            Value::Object(object) => self.object(object, depth)?,
        }
        Ok(())
    }

    fn map(&mut self, map: &Map, depth: usize) -> std::result::Result<(), Fault> {
        if map.is_nil() {
            self.out.text("null");
            return Ok(());
        }
        self.entries(map.entries(), depth)
    }

    fn entries(&mut self, entries: Vec<(ByteStr, Value)>, depth: usize) -> std::result::Result<(), Fault> {
        self.out.push(b'{');
        let empty = entries.is_empty();
        for (index, (key, item)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.line(depth + 1);
            self.string(&key);
            self.out.text(if self.style == Style::Pretty { ": " } else { ":" });
            self.value(&item, depth + 1)?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn object(&mut self, object: &Object, depth: usize) -> std::result::Result<(), Fault> {
        match object {
            Object::Time(time) => {
                let year = time.civil().year;
                if !(0..=9999).contains(&year) {
                    return Err(Fault::plain(
                        "json: error calling MarshalJSON for type time.Time: Time.MarshalJSON: year outside of range [0,9999]",
                    ));
                }
                self.string(time.format("2006-01-02T15:04:05.999999999Z07:00").as_bytes());
            }
            Object::Version(version) => self.string(version.text().as_bytes()),
            Object::Location(_) => self.out.text("{}"),
            Object::Certificate(certificate, key) => {
                let entries =
                    vec![("Cert".into(), Value::Str(certificate.clone())), ("Key".into(), Value::Str(key.clone()))];
                self.entries(entries, depth)?;
            }
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        for (at, c, width, valid) in characters(bytes) {
            match c {
                '"' => self.out.text("\\\""),
                '\\' => self.out.text("\\\\"),
                '\u{8}' => self.out.text("\\b"),
                '\u{c}' => self.out.text("\\f"),
                '\n' => self.out.text("\\n"),
                '\r' => self.out.text("\\r"),
                '\t' => self.out.text("\\t"),
                c if c < ' ' => self.out.text(&format!("\\u{:04x}", c as u32)),
                '<' | '>' | '&' if self.style != Style::Raw => self.out.text(&format!("\\u{:04x}", c as u32)),
                '\u{2028}' | '\u{2029}' => self.out.text(&format!("\\u{:04x}", c as u32)),
                _ if !valid => self.out.text("\\ufffd"),
                _ => self.out.extend(bytes.get(at..at + width).unwrap_or_default()),
            }
        }
        self.out.push(b'"');
    }
}

/// `json.Unmarshal` into an `interface{}`.
///
/// # Errors
/// Go's text where it names no piece of the data.
pub(super) fn decode(bytes: &[u8]) -> Result {
    let mut reader = Reader { bytes, at: 0, out_of_range: false };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at < bytes.len() {
        return Err(invalid());
    }
    if reader.out_of_range {
        return Err(Fault::withheld("json: a number is out of the range of float64"));
    }
    Ok(value)
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    out_of_range: bool,
}

/// Go shows the character.
fn invalid() -> Fault {
    Fault::withheld("invalid character in JSON")
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self) -> Fault {
        let inside = matches!(self.bytes.last(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'+' | b'-'));
        if self.at >= self.bytes.len() && !inside {
            return Fault::plain("unexpected end of JSON input");
        }
        // Inside a word or a number Go complains about the blank it puts after the input.
        invalid()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> std::result::Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result {
        for byte in word.bytes() {
            self.take(byte)?;
        }
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result {
        if depth > limits::NESTING_DEPTH {
            return Err(Fault::limit("nesting of JSON", limits::NESTING_DEPTH, "levels"));
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Str(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Nil),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault()),
        }
    }

    fn list(&mut self, depth: usize) -> Result {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::list_any(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.fault()),
            }
        }
        self.at += 1;
        Ok(Value::list_any(items))
    }

    fn object(&mut self, depth: usize) -> Result {
        self.at += 1;
        let mut entries = BTreeMap::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::map_any(entries));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.blanks();
            self.take(b':')?;
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.fault()),
            }
        }
        self.at += 1;
        Ok(Value::map_any(entries))
    }

    fn digits(&mut self) -> std::result::Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.fault());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1
        } else {
            self.digits()?
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.bytes.get(start..self.at).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = text.and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
        self.out_of_range |= !number.is_finite();
        Ok(Value::Float(number))
    }

    fn string(&mut self) -> std::result::Result<ByteStr, Fault> {
        self.take(b'"')?;
        let mut out = Buffer::new();
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|byte| (b' '..0x80).contains(*byte) && !matches!(byte, b'"' | b'\\'));
            let plain = plain.count();
            out.extend(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(byte) if byte >= 0x80 => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    let (c, width, _) = runes::decode(rest).unwrap_or((runes::REPLACEMENT, 1, false));
                    out.character(c);
                    self.at += width;
                }
                _ => return Err(self.fault()),
            }
        }
    }

    fn escape(&mut self, out: &mut Buffer) -> std::result::Result<(), Fault> {
        self.at += 1;
        let code = self.peek().ok_or_else(|| self.fault())?;
        match code {
            b'"' | b'\\' | b'/' => out.push(code),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                self.at += 1;
                let high = self.unit()?;
                let mut c = char::from_u32(high);
                if (0xd800..0xdc00).contains(&high) && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        c = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                    } else {
                        // A lone half: the next escape is read again by itself.
                        self.at = before;
                    }
                }
                out.character(c.unwrap_or(runes::REPLACEMENT));
                return Ok(());
            }
            _ => return Err(invalid()),
        }
        self.at += 1;
        Ok(())
    }

    fn unit(&mut self) -> std::result::Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16)).ok_or_else(|| self.fault())?;
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }
}
