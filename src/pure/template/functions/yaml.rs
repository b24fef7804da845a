//! `toYaml` and `fromYaml`, as sigs.k8s.io/yaml has them: through JSON, with the rules of go-yaml 2.
//!
//! A little longer than other files: what is quoted when it is written follows from how it would be read.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::floats;
use super::super::numeric::{parse_float, parse_int, parse_uint};
use super::super::runes::{self, is_digit, is_letter};
use super::super::types::Type;
use super::super::value::{Object, Value};
use super::json;
use super::{Arguments, Context, Function, Result, text};
use crate::pure::format;
use crate::pure::limits;

pub(super) const EXTERNAL: &[Function] =
    &[Function::new("toYaml", &[Type::Any], to_yaml), Function::new("fromYaml", &[Type::Str], from_yaml)];

/// Largest map whose keys are put into go-yaml's order, by insertion; larger ones stay in byte order.
const LARGEST_SORTED: usize = 1_000;

/// Columns after which a long scalar is continued on the next line.
const WIDTH: usize = 80;

fn to_yaml(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    // What JSON cannot hold is an error there, which the function turns into nothing.
    match json::encoded(args.at(0), json::Style::Raw) {
        Err(Fault::Plain(_) | Fault::Withheld(_)) => return text(""),
        Err(limit) => return Err(limit),
        Ok(_) => {}
    }
    let mut writer = Writer { out: Buffer::new(), column: 0 };
    writer.node(args.at(0), 0, Place::Root)?;
    let whole = writer.out.as_slice();
    text(whole.strip_suffix(b"\n").unwrap_or(whole))
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// After `key:`.
    Value,
    /// After `- `.
    Item,
}

struct Writer {
    out: Buffer,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.text(text);
        match text.rsplit_once('\n') {
            Some((_, last)) => self.column = last.chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn line(&mut self, indent: usize) {
        self.put("\n");
        self.put(&" ".repeat(indent));
    }

    fn node(&mut self, value: &Value, indent: usize, place: Place) -> std::result::Result<(), Fault> {
        if indent > limits::NESTING_DEPTH * 2 {
            return Err(Fault::limit("nesting of YAML", limits::NESTING_DEPTH, "levels"));
        }
        super::strings::room(self.out.len())?;
        match value {
            Value::List(list) if !list.is_nil() && !list.items().is_empty() => {
                // A list below a key stands in the key's own column.
                let indent = if place == Place::Value { indent.saturating_sub(2) } else { indent };
                if place == Place::Item {
                    self.put(" ");
                }
                for (index, item) in list.items().iter().enumerate() {
                    if index > 0 || place == Place::Value {
                        self.line(indent);
                    }
                    self.put("-");
                    self.node(item, indent + 2, Place::Item)?;
                }
            }
            Value::Map(map) if !map.is_nil() && !map.is_empty() => self.map(map.entries(), indent, place)?,
            Value::Object(Object::Certificate(certificate, key)) => {
                let entries =
                    vec![("Cert".into(), Value::Str(certificate.clone())), ("Key".into(), Value::Str(key.clone()))];
                self.map(entries, indent, place)?;
            }
            scalar => self.scalar(scalar, indent, place),
        }
        if place == Place::Root && !self.out.as_slice().ends_with(b"\n") {
            self.put("\n");
        }
        Ok(())
    }

    fn map(
        &mut self,
        mut entries: Vec<(ByteStr, Value)>,
        indent: usize,
        place: Place,
    ) -> std::result::Result<(), Fault> {
        // They come in byte order. go-yaml's own is not transitive, which no library sort may be given.
        if entries.len() <= LARGEST_SORTED {
            for end in 1..entries.len() {
                let mut at = end;
                while at > 0 && follows(&entries, at) {
                    entries.swap(at - 1, at);
                    at -= 1;
                }
            }
        }
        if place == Place::Item {
            self.put(" ");
        }
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 || place == Place::Value {
                self.line_after_block(indent);
            }
            self.string(&key.lossy(), indent + 2, true);
            self.put(":");
            self.node(value, indent + 2, Place::Value)?;
        }
        Ok(())
    }

    /// A block scalar ends its last line itself.
    fn line_after_block(&mut self, indent: usize) {
        if self.out.as_slice().ends_with(b"\n") { self.put(&" ".repeat(indent)) } else { self.line(indent) }
    }

    fn scalar(&mut self, value: &Value, indent: usize, place: Place) {
        if place != Place::Root {
            self.put(" ");
        }
        let indent = if place == Place::Root { 2 } else { indent };
        match value {
            Value::Missing | Value::Nil => self.put("null"),
            Value::Bool(flag) => self.put(if *flag { "true" } else { "false" }),
            Value::Int(_, number) => self.put(&number.to_string()),
            Value::Uint(_, number) => self.put(&number.to_string()),
            Value::Float(number) => {
                let json = json::float_text(*number);
                let whole = parse_int(json.as_bytes(), 10).is_ok() || parse_uint(json.as_bytes(), 10).is_ok();
                // Minus zero is an integer without a sign there.
                let text = match whole {
                    true if json == "-0" => "0".to_owned(),
                    true => json,
                    false => floats::format(*number, b'g', None),
                };
                self.put(&text);
            }
            Value::Str(text) => self.string(&text.lossy(), indent, false),
            Value::List(list) if !list.is_nil() => self.put("[]"),
            Value::Map(map) if !map.is_nil() => self.put("{}"),
            Value::List(_) | Value::Map(_) => self.put("null"),
            Value::Bytes(bytes) => self.string(&super::encoding::base64_of(bytes), indent, false),
            Value::Object(Object::Time(time)) => {
                self.string(&time.format("2006-01-02T15:04:05.999999999Z07:00"), indent, false);
            }
            Value::Object(Object::Version(version)) => self.string(&version.text(), indent, false),
            _ => self.put("{}"),
        }
    }

    fn string(&mut self, text: &str, indent: usize, key: bool) {
        let traits = Traits::of(text);
        if text.contains('\n') && traits.block && !key {
            return self.literal(text, indent);
        }
        let quoted = text.contains('\n') || !is_string(text);
        if !quoted && traits.plain && !(text.is_empty() && key) {
            return self.broken(text, indent, key, |_| None, false);
        }
        if !quoted && traits.single {
            self.put("'");
            self.broken(text, indent, key, |c| (c == '\'').then(|| "''".to_owned()), true);
            return self.put("'");
        }
        self.put("\"");
        self.double(text, indent, key);
        self.put("\"");
    }

    /// Writes a text with a line break in place of a blank where the line is full.
    fn broken(&mut self, text: &str, indent: usize, key: bool, escape: fn(char) -> Option<String>, inner: bool) {
        let characters: Vec<char> = text.chars().collect();
        let mut blank = false;
        for (at, c) in characters.iter().enumerate() {
            let last = at + 1 == characters.len();
            let next_blank = characters.get(at + 1) == Some(&' ');
            let edge = inner && (at == 0 || last);
            if *c == ' ' && !key && !blank && self.column > WIDTH && !next_blank && !edge {
                self.line(indent);
            } else {
                let escaped = escape(*c).unwrap_or_else(|| c.to_string());
                self.put(&escaped);
            }
            blank = *c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        let characters: Vec<char> = text.chars().collect();
        let mut blank = false;
        for (at, c) in characters.iter().enumerate() {
            let last = at + 1 == characters.len();
            if *c == ' ' {
                if !key && !blank && self.column > WIDTH && at > 0 && !last {
                    self.line(indent);
                    if characters.get(at + 1) == Some(&' ') {
                        self.put("\\");
                    }
                } else {
                    self.put(" ");
                }
                blank = true;
                continue;
            }
            blank = false;
            if is_printable(*c) && !is_break(*c) && !matches!(c, '"' | '\\') {
                self.put(c.encode_utf8(&mut [0; 4]));
                continue;
            }
            let escaped = match *c as u32 {
                0 => "\\0".to_owned(),
                7 => "\\a".to_owned(),
                8 => "\\b".to_owned(),
                9 => "\\t".to_owned(),
                10 => "\\n".to_owned(),
                11 => "\\v".to_owned(),
                12 => "\\f".to_owned(),
                13 => "\\r".to_owned(),
                27 => "\\e".to_owned(),
                34 => "\\\"".to_owned(),
                92 => "\\\\".to_owned(),
                0x85 => "\\N".to_owned(),
                0xa0 => "\\_".to_owned(),
                0x2028 => "\\L".to_owned(),
                0x2029 => "\\P".to_owned(),
                code if code <= 0xff => format!("\\x{code:02X}"),
                code if code <= 0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
            self.put(&escaped);
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with(' ') || text.starts_with(is_break) {
            self.put("2");
        }
        let mut tail = text.chars().rev();
        match (tail.next(), tail.next()) {
            (Some(last), _) if !is_break(last) => self.put("-"),
            (Some(_), None) => self.put("+"),
            (Some(_), Some(before)) if is_break(before) => self.put("+"),
            _ => {}
        }
        self.put("\n");
        let mut lines = text.split_inclusive('\n');
        for line in &mut lines {
            if line != "\n" {
                self.put(&" ".repeat(indent));
            }
            self.put(line);
        }
    }
}

/// Whether the entry at `at` belongs before the one in front of it.
fn follows(entries: &[(ByteStr, Value)], at: usize) -> bool {
    match (entries.get(at - 1), entries.get(at)) {
        (Some((before, _)), Some((key, _))) => natural(key, before) == Ordering::Less,
        _ => false,
    }
}

/// What go-yaml's emitter finds out about a scalar.
struct Traits {
    plain: bool,
    single: bool,
    block: bool,
}

impl Traits {
    fn of(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        if characters.is_empty() {
            return Self { plain: true, single: true, block: false };
        }
        let blank = |at: Option<usize>| {
            at.and_then(|at| characters.get(at)).is_none_or(|c| matches!(c, ' ' | '\t') || is_break(*c))
        };
        let (mut indicator, mut special, mut breaks) =
            (text.starts_with("---") || text.starts_with("..."), false, false);
        let (mut break_space, mut space_break) = (false, false);
        for (at, c) in characters.iter().enumerate() {
            let followed = match characters.get(at + 1) {
                None => true,
                Some(next) => matches!(next, ' ' | '\t'),
            };
            indicator |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | '-' if at == 0 => followed,
                ':' => followed,
                '#' => blank(at.checked_sub(1)),
                _ => false,
            };
            special |= !is_printable(*c);
            let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied();
            if *c == ' ' {
                break_space |= before.is_some_and(is_break);
            } else if is_break(*c) {
                breaks = true;
                space_break |= before == Some(' ');
            }
        }
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let edges = edge(characters.first()) || edge(characters.last());
        Self {
            plain: !(edges || break_space || space_break || special || breaks || indicator),
            single: !(break_space || space_break || special),
            block: !(characters.last() == Some(&' ') || space_break || special),
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// Whether a plain scalar of this text would be read as a string again.
fn is_string(text: &str) -> bool {
    if go_bool(text).is_some() {
        return false;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" | ".nan" | ".NaN" | ".NAN" => return false,
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return false;
    }
    match text.bytes().next() {
        Some(b'.') => parse_float(text.as_bytes()).is_err(),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            let bytes = plain.as_bytes();
            let integer = parse_int(bytes, 0).is_ok() || parse_uint(bytes, 0).is_ok();
            let resolved = format::parse(format!("a: {text}\n").as_bytes(), format::Format::Yaml);
            let time = matches!(resolved.ok().and_then(first_scalar), Some(true));
            !(integer || is_styled_float(bytes) || time || is_base60(text))
        }
        _ => true,
    }
}

/// Whether the only value of a document is a timestamp.
fn first_scalar(tree: format::Tree) -> Option<bool> {
    let entry = tree.branches.first()?.entry("a")?;
    Some(matches!(entry.value.value, format::Value::Scalar(format::Scalar::Time(_))))
}

fn is_styled_float(bytes: &[u8]) -> bool {
    let shaped = bytes.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    shaped && parse_float(bytes).is_ok()
}

/// `12:30.5`: a number to base 60 in YAML 1.1, quoted for old readers.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (parts, fraction) = unsigned.split_once('.').map_or((unsigned, ""), |(parts, fraction)| (parts, fraction));
    let mut parts = parts.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && !rest.is_empty()
        && rest.iter().all(|part| {
            matches!(part.len(), 1 | 2)
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part.len() == 1 || part.starts_with(['0', '1', '2', '3', '4', '5']))
        })
        && digits(fraction)
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// go-yaml's order of keys: numbers inside names by value, letters after other characters.
fn natural(left: &[u8], right: &[u8]) -> Ordering {
    let characters = |bytes: &[u8]| runes::runes(bytes).map(|(_, c, ..)| c).collect::<Vec<_>>();
    let (left, right) = (characters(left), characters(right));
    let number = |text: &[char], from: usize, start: i64| {
        let digits: Vec<char> = text.iter().skip(from).take_while(|c| is_digit(**c)).copied().collect();
        let value = digits
            .iter()
            .fold(start, |sum, c| sum.wrapping_mul(10).wrapping_add(i64::from(*c as u32) - i64::from('0' as u32)));
        (value, digits.len())
    };
    for (at, (a, b)) in left.iter().zip(&right).enumerate() {
        if a == b {
            continue;
        }
        match (is_letter(*a), is_letter(*b)) {
            (true, true) => return a.cmp(b),
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        let zeros = *a == '0' || *b == '0';
        let inside = left.iter().take(at).rev().take_while(|c| is_digit(**c)).any(|c| *c != '0');
        let start = i64::from(zeros && inside);
        let ((a_value, a_length), (b_value, b_length)) = (number(&left, at, start), number(&right, at, start));
        return a_value.cmp(&b_value).then(a_length.cmp(&b_length)).then(a.cmp(b));
    }
    left.len().cmp(&right.len())
}

// --- reading ---

fn from_yaml(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let source = args.bytes(0);
    let failed =
        |message: String| Ok(Value::map_any(BTreeMap::from([(ByteStr::from("Error"), Value::string(message))])));
    match format::parse(source, format::Format::Yaml) {
        Err(error) => failed(error.to_string()),
        Ok(tree) => match tree.branches.first() {
            Some(branch) => Ok(Value::map_any(entries(&branch.items, source))),
            None => Ok(Value::map_any(BTreeMap::new())),
        },
    }
}

fn entries(items: &[format::Item], source: &[u8]) -> BTreeMap<ByteStr, Value> {
    let mut own = BTreeMap::new();
    let mut merged: Vec<Value> = Vec::new();
    for item in items {
        let format::Item::Entry(entry) = item else { continue };
        let value = converted(&entry.value, source);
        let plain = source.get(entry.key_span.clone()) == Some(b"<<".as_slice());
        match value {
            Value::Map(_) if plain => merged.push(value),
            Value::List(list) if plain => merged.extend(list.items().iter().cloned()),
            // Of two entries with one name the last counts.
            value => {
                own.insert(ByteStr::from(entry.key.as_str()), value);
            }
        }
    }
    for value in merged {
        if let Value::Map(map) = value {
            for (key, value) in map.entries() {
                own.entry(key).or_insert(value);
            }
        }
    }
    own
}

/// A value as JSON has it: every number is a float64.
fn converted(node: &format::Node, source: &[u8]) -> Value {
    match &node.value {
        format::Value::Map(items) => Value::map_any(entries(items, source)),
        format::Value::List(items) => {
            let item = |item: &format::Item| match item {
                format::Item::Element(element) => Some(converted(&element.value, source)),
                _ => None,
            };
            Value::list_any(items.iter().filter_map(item).collect())
        }
        format::Value::Scalar(scalar) => match scalar {
            format::Scalar::Null => Value::Nil,
            format::Scalar::Bool(flag) => Value::Bool(*flag),
            format::Scalar::Int(number) => Value::Float(*number as f64),
            format::Scalar::Unsigned(number) => Value::Float(*number as f64),
            format::Scalar::Float(number) => Value::Float(*number),
            // go-yaml 2 keeps the text of a timestamp.
            format::Scalar::Time(_) => Value::string(source.get(node.span.clone()).unwrap_or_default().to_vec()),
            format::Scalar::Text(text) => {
                let written = source.get(node.span.clone()).unwrap_or_default();
                let plain = written == text.expose();
                match std::str::from_utf8(text.expose()).ok().and_then(go_bool).filter(|_| plain) {
                    Some(flag) => Value::Bool(flag),
                    None => Value::Str(ByteStr::copy_of(text.expose())),
                }
            }
        },
    }
}
