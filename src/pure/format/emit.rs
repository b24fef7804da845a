//! Printing a tree from scratch, for a target that is not the source's format. Layout follows what SOPS prints: YAML
//! indented by four, JSON by a tab, comments dropped in JSON.

use zeroize::Zeroizing;

use super::json::{quote, scalar_text as json_scalar};
use super::number::float_general;
use super::yaml::{Room, key_text, scalar_text as yaml_scalar};
use super::{Branch, Element, Entry, Format, Item, Layout, Node, Scalar, Value, dotenv, ini};
use crate::pure::secret::Plaintext;

/// A tree that the target format cannot hold. Names the entry, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum EmitError {
    #[error("entry {entry}: {format} has no nested values")]
    Nested { format: Format, entry: String },
    #[error("entry {entry}: {format} cannot hold a number that is infinite or not a number")]
    NotFinite { format: Format, entry: String },
    #[error("entry {entry}: {format} cannot hold null")]
    Null { format: Format, entry: String },
    #[error("entry {entry}: {format} cannot hold this name")]
    Name { format: Format, entry: String },
    #[error("a comment is not UTF-8 text, or holds control characters, which {format} cannot hold")]
    Comment { format: Format },
    #[error("{format} cannot be indented so: 0 or more blanks, not above 1000 in json, where -1 is a tab")]
    Indent { format: Format },
    #[error("binary output needs exactly one text value named \"data\" at the top")]
    NotBinary,
}

/// A name longer than this stands behind a question mark, as yaml.v3 writes it: a reader of YAML need not look further
/// than 1024 characters for the colon (YAML 1.2, 7.4.2).
const IMPLICIT_KEY_BYTES: usize = 128;

/// Widest level of JSON: a file whose rules ask for a billion blanks must not take the memory.
const JSON_WIDTH: usize = 1000;

/// Indentation as `.sops.yaml` (`stores`) or `--indent` asks for it; `None` where nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indent {
    /// Columns per level in YAML.
    pub yaml: Option<i64>,
    /// Blanks per level in JSON; -1 for one tab.
    pub json: Option<i64>,
    /// The same in the JSON that an encrypted binary file is.
    pub json_binary: Option<i64>,
}

impl Indent {
    /// The same number of blanks everywhere.
    pub fn of_width(width: i64) -> Self {
        Self { yaml: Some(width), json: Some(width), json_binary: Some(width) }
    }

    /// Whether anybody asks for an indentation of a format.
    pub fn asks_for(self, format: Format) -> bool {
        match format {
            Format::Yaml => self.yaml.is_some(),
            Format::Json => self.json.is_some(),
            Format::Dotenv | Format::Ini | Format::Binary => false,
        }
    }

    /// Columns per level in YAML: 4 where nobody asks, or for 0; 2 for what yaml.v3 does not take.
    fn yaml_step(self) -> Result<usize, EmitError> {
        match self.yaml.unwrap_or(0) {
            0 => Ok(4),
            ..0 => Err(EmitError::Indent { format: Format::Yaml }),
            width => Ok(usize::try_from(width).ok().filter(|width| (2..=9).contains(width)).unwrap_or(2)),
        }
    }

    /// What a level of JSON is indented by.
    pub(in crate::pure) fn json_unit(self) -> Result<String, EmitError> {
        match self.json.unwrap_or(-1) {
            -1 => Ok("\t".to_owned()),
            width => match usize::try_from(width) {
                Ok(width) if width <= JSON_WIDTH => Ok(" ".repeat(width)),
                _ => Err(EmitError::Indent { format: Format::Json }),
            },
        }
    }
}

/// Prints `branches` as `format`. Every format but YAML holds the first document only, as in SOPS.
pub fn emit(branches: &[Branch], format: Format) -> Result<Plaintext, EmitError> {
    emit_with(branches, format, Indent::default())
}

/// [`emit`] with an indentation.
pub fn emit_with(branches: &[Branch], format: Format, indent: Indent) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    let first: &[Item] = branches.first().map_or(&[], |branch| &branch.items);
    match format {
        Format::Yaml => {
            let step = indent.yaml_step()?;
            for (index, branch) in branches.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b"---\n");
                }
                readable(&branch.items)?;
                yaml_top(&mut out, &branch.items, step);
            }
        }
        Format::Json => {
            json_items(&mut out, first, true, 1, &Unit::Lines(indent.json_unit()?), "")?;
            out.push(b'\n');
        }
        Format::Dotenv => dotenv_items(&mut out, first)?,
        Format::Ini => ini_items(&mut out, first)?,
        Format::Binary => return binary(first),
    }
    Ok(Plaintext::copy_of(&out))
}

/// Comments of dotenv and INI hold any bytes. YAML with such a one could not be read back (SOPS panics there, or writes
/// what it refuses to read), and what one of YAML's other line breaks is followed by would be an entry.
fn readable(items: &[Item]) -> Result<(), EmitError> {
    for item in items {
        match item {
            Item::Comment(comment) if !is_yaml_comment(comment.text.expose()) => {
                return Err(EmitError::Comment { format: Format::Yaml });
            }
            Item::Comment(_) => {}
            Item::Entry(Entry { value, .. }) | Item::Element(Element { value, .. }) => match &value.value {
                Value::Map(items) | Value::List(items) => readable(items)?,
                Value::Scalar(_) => {}
            },
        }
    }
    Ok(())
}

fn is_yaml_comment(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let breaks = |c| matches!(c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split('\n').all(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        !line.contains(|c: char| breaks(c) || (c.is_control() && c != '\t'))
    })
}

fn binary(items: &[Item]) -> Result<Plaintext, EmitError> {
    let mut entries = items.iter().filter(|item| !matches!(item, Item::Comment(_)));
    match (entries.next(), entries.next()) {
        (Some(Item::Entry(Entry { key, value: Node { value: Value::Scalar(Scalar::Text(text)), .. }, .. })), None)
            if key == "data" =>
        {
            Ok(text.duplicate())
        }
        _ => Err(EmitError::NotBinary),
    }
}

fn yaml_top(out: &mut Vec<u8>, items: &[Item], step: usize) {
    yaml_items(out, items, 0, step);
    if items.iter().all(|item| matches!(item, Item::Comment(_))) {
        out.extend_from_slice(b"{}\n");
    }
}

/// Prints items, each line indented by `column`.
fn yaml_items(out: &mut Vec<u8>, items: &[Item], column: usize, step: usize) {
    for item in items {
        out.extend(std::iter::repeat_n(b' ', column));
        yaml_item(out, item, column, step);
    }
}

/// Prints an item whose indentation stands already.
fn yaml_item(out: &mut Vec<u8>, item: &Item, column: usize, step: usize) {
    match item {
        Item::Comment(comment) if comment.element => {
            out.extend_from_slice(b"- ");
            out.extend_from_slice(comment.text.expose());
            out.push(b'\n');
        }
        Item::Comment(comment) => {
            for (index, line) in comment.text.expose().split(|byte| *byte == b'\n').enumerate() {
                if index > 0 {
                    out.extend(std::iter::repeat_n(b' ', column));
                }
                out.push(b'#');
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
        Item::Entry(entry) => {
            let key = key_text(&entry.key);
            if entry.key.len() > IMPLICIT_KEY_BYTES {
                out.extend_from_slice(b"? ");
                out.extend_from_slice(key.as_bytes());
                out.push(b'\n');
                out.extend(std::iter::repeat_n(b' ', column));
            } else {
                out.extend_from_slice(key.as_bytes());
            }
            out.push(b':');
            yaml_value(out, &entry.value, column, step, true);
        }
        Item::Element(element) => {
            out.push(b'-');
            yaml_value(out, &element.value, column, step, false);
        }
    }
}

fn is_line_comment(item: &Item) -> bool {
    matches!(item, Item::Comment(comment) if !comment.element)
}

/// The column of what stands below an entry or an element at `column`: in a list that of what follows the dash, else the
/// next multiple of the step, as yaml.v3 has it.
fn below(column: usize, step: usize, in_map: bool) -> usize {
    if in_map { (column / step.max(1) + 1) * step.max(1) } else { column + 2 }
}

fn yaml_value(out: &mut Vec<u8>, node: &Node, column: usize, step: usize, in_map: bool) {
    match &node.value {
        Value::Scalar(scalar) => {
            out.push(b' ');
            let layout = Layout { flow: false, indent: column, alias: false };
            let room = Room { block: true, step: below(column, step, in_map) - column };
            out.extend_from_slice(yaml_scalar(scalar, layout, room).expose());
            out.push(b'\n');
        }
        // With nothing but comments below it, the name would have the value null.
        Value::Map(items) | Value::List(items) if items.iter().all(is_line_comment) => {
            out.extend_from_slice(if matches!(node.value, Value::Map(_)) { b" {}\n" } else { b" []\n" });
            yaml_items(out, items, column, step);
        }
        Value::Map(items) | Value::List(items) if in_map || matches!(items.first(), Some(Item::Comment(_))) => {
            out.push(b'\n');
            yaml_items(out, items, below(column, step, in_map), step);
        }
        Value::Map(items) | Value::List(items) => {
            // The first item of a collection in a list stands on the line of the dash.
            out.push(b' ');
            if let Some((first, rest)) = items.split_first() {
                yaml_item(out, first, column + 2, step);
                yaml_items(out, rest, column + 2, step);
            }
        }
    }
}

/// What a level of JSON is indented by.
enum Unit {
    /// All on one line.
    Inline,
    /// A line per item.
    Lines(String),
}

impl Unit {
    fn of(unit: Option<&str>) -> Self {
        unit.map_or(Self::Inline, |unit| Self::Lines(unit.to_owned()))
    }
}

fn json_indent(out: &mut Vec<u8>, depth: usize, unit: &Unit) {
    if let Unit::Lines(unit) = unit {
        out.push(b'\n');
        (0..depth).for_each(|_| out.extend_from_slice(unit.as_bytes()));
    }
}

fn json_items(
    out: &mut Vec<u8>,
    items: &[Item],
    map: bool,
    depth: usize,
    unit: &Unit,
    path: &str,
) -> Result<(), EmitError> {
    out.push(if map { b'{' } else { b'[' });
    let mut first = true;
    for item in items {
        let element;
        let (name, node) = match item {
            Item::Comment(comment) if comment.element => {
                let text = Value::Scalar(Scalar::Text(comment.text.duplicate()));
                element = Node::new(comment.span.clone(), text, Layout::default());
                (None, &element)
            }
            Item::Comment(_) => continue,
            Item::Entry(entry) => (Some(entry.key.as_str()), &entry.value),
            Item::Element(element) => (None, &element.value),
        };
        if !first {
            out.extend_from_slice(if matches!(unit, Unit::Inline) { b", " } else { b"," });
        }
        first = false;
        json_indent(out, depth, unit);
        let path = join(path, name);
        if let Some(name) = name {
            out.extend_from_slice(quote(name.as_bytes()).expose());
            out.extend_from_slice(b": ");
        }
        match &node.value {
            Value::Scalar(scalar) => {
                let Some(text) = json_scalar(scalar) else {
                    return Err(EmitError::NotFinite { format: Format::Json, entry: path });
                };
                out.extend_from_slice(text.expose());
            }
            Value::Map(items) => json_items(out, items, true, depth + 1, unit, &path)?,
            Value::List(items) => json_items(out, items, false, depth + 1, unit, &path)?,
        }
    }
    if !first {
        json_indent(out, depth - 1, unit);
    }
    out.push(if map { b'}' } else { b']' });
    Ok(())
}

fn join(path: &str, name: Option<&str>) -> String {
    match name {
        None => path.to_owned(),
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
    }
}

fn dotenv_items(out: &mut Vec<u8>, items: &[Item]) -> Result<(), EmitError> {
    let format = Format::Dotenv;
    for item in items {
        match item {
            Item::Comment(comment) => {
                out.push(b'#');
                out.extend_from_slice(dotenv::escape(comment.text.expose()).expose());
            }
            Item::Entry(entry) => {
                if entry.key.contains(['=', '\n']) || entry.key.starts_with('#') {
                    return Err(EmitError::Name { format, entry: entry.key.clone() });
                }
                let text = flat_text(&entry.value, format, &entry.key)?;
                out.extend_from_slice(entry.key.as_bytes());
                out.push(b'=');
                out.extend_from_slice(dotenv::escape(text.expose()).expose());
            }
            Item::Element(_) => continue,
        }
        out.push(b'\n');
    }
    Ok(())
}

fn ini_items(out: &mut Vec<u8>, items: &[Item]) -> Result<(), EmitError> {
    let format = Format::Ini;
    for item in items {
        let Item::Entry(section) = item else { continue };
        let Value::Map(children) = &section.value.value else {
            return Err(EmitError::Nested { format, entry: section.key.clone() });
        };
        if !out.is_empty() {
            out.push(b'\n');
        }
        if section.key != ini::DEFAULT {
            out.extend_from_slice(format!("[{}]\n", section.key).as_bytes());
        }
        ini_lines(out, children, Some(&section.key))?;
    }
    Ok(())
}

/// The lines of a section.
fn ini_lines(out: &mut Vec<u8>, children: &[Item], section: Option<&str>) -> Result<(), EmitError> {
    let format = Format::Ini;
    let names = children.iter().filter_map(|child| match child {
        Item::Entry(entry) => Some(ini::line_key(&entry.key).len()),
        _ => None,
    });
    // In bytes, as ini.v1 counts.
    let width = names.max().unwrap_or_default();
    for child in children {
        match child {
            Item::Comment(comment) => {
                for (index, line) in comment.text.expose().split(|byte| *byte == b'\n').enumerate() {
                    if index == 0 || !ini::is_comment(line) {
                        out.extend_from_slice(b"; ");
                    }
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
            }
            Item::Entry(entry) => {
                let path = section.map_or(entry.key.clone(), |section| join(section, Some(&entry.key)));
                let text = flat_text(&entry.value, format, &path)?;
                let name = ini::line_key(&entry.key);
                out.extend_from_slice(name.as_bytes());
                out.resize(out.len() + width - name.len(), b' ');
                out.extend_from_slice(b" = ");
                out.extend_from_slice(ini::value_text(text.expose()).expose());
                out.push(b'\n');
            }
            Item::Element(_) => {}
        }
    }
    Ok(())
}

/// A scalar as the text of a format that has only text.
fn flat_text(node: &Node, format: Format, entry: &str) -> Result<Plaintext, EmitError> {
    let Value::Scalar(scalar) = &node.value else { return Err(EmitError::Nested { format, entry: entry.to_owned() }) };
    plain_text(scalar).ok_or_else(|| EmitError::Null { format, entry: entry.to_owned() })
}

/// A scalar as text alone, as dotenv, INI and the environment of a process have it; `None` for null, which they lack.
pub fn plain_text(scalar: &Scalar) -> Option<Plaintext> {
    Some(Plaintext::from(match scalar {
        Scalar::Null => return None,
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Float(value) => {
            let text = float_general(*value).replace('e', "E");
            // A point keeps it apart from an integer.
            if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { format!("{text}.0") } else { text }
        }
        Scalar::Time(value) => value.clone(),
        Scalar::Text(text) => return Some(text.duplicate()),
    }))
}

/// The lines of top-level items, for insertion into a file in lines (all formats but JSON).
pub(in crate::pure) fn emit_lines(
    items: &[Item],
    format: Format,
    column: usize,
    indent: Indent,
) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    match format {
        Format::Dotenv => dotenv_items(&mut out, items)?,
        Format::Ini => ini_items(&mut out, items)?,
        _ => yaml_items(&mut out, items, column, indent.yaml_step()?),
    }
    Ok(Plaintext::copy_of(&out))
}

/// Entries for insertion into a section of an INI file.
pub(in crate::pure) fn emit_ini_lines(items: &[Item]) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    ini_lines(&mut out, items, None)?;
    Ok(Plaintext::copy_of(&out))
}

/// Entries for insertion between braces, in JSON's syntax, which is YAML's as well. `unit` indents one level; without
/// it all stands on one line.
pub(in crate::pure) fn emit_entry(items: &[Item], unit: &Option<String>) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    json_items(&mut out, items, true, 1, &Unit::of(unit.as_deref()), "")?;
    let inner = out.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_default();
    Ok(Plaintext::copy_of(inner.trim_ascii()))
}

/// A value for insertion in braces or brackets, on one line, in JSON's syntax.
pub(in crate::pure) fn emit_element(node: &Node) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    match &node.value {
        Value::Map(items) => json_items(&mut out, items, true, 1, &Unit::Inline, "")?,
        Value::List(items) => json_items(&mut out, items, false, 1, &Unit::Inline, "")?,
        Value::Scalar(scalar) => {
            let entry = String::from("(the value)");
            let text = json_scalar(scalar).ok_or(EmitError::NotFinite { format: Format::Json, entry })?;
            out.extend_from_slice(text.expose());
        }
    }
    Ok(Plaintext::copy_of(&out))
}

/// One value alone, as `--extract` prints it: YAML with a line break, JSON without.
pub fn emit_value(node: &Node, format: Format, indent: Indent) -> Result<Plaintext, EmitError> {
    let mut out = Zeroizing::new(Vec::new());
    match (&node.value, format) {
        (Value::List(items), Format::Json) => {
            json_items(&mut out, items, false, 1, &Unit::Lines(indent.json_unit()?), "")?;
        }
        (Value::List(items), Format::Yaml) if items.iter().all(is_line_comment) => {
            yaml_items(&mut out, items, 0, indent.yaml_step()?);
            out.extend_from_slice(b"[]\n");
        }
        (Value::Map(items), Format::Yaml) => yaml_top(&mut out, items, indent.yaml_step()?),
        (Value::List(items), Format::Yaml) => yaml_items(&mut out, items, 0, indent.yaml_step()?),
        (Value::Scalar(scalar), Format::Yaml) => {
            let layout = Layout::default();
            out.extend_from_slice(yaml_scalar(scalar, layout, Room { block: false, step: 4 }).expose());
            out.push(b'\n');
        }
        _ => return emit_element(node),
    }
    Ok(Plaintext::copy_of(&out))
}
