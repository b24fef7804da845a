//! Writing changed nodes over the spans they came from, and nothing else.

use std::collections::HashSet;

use zeroize::Zeroizing;

use super::json::scalar_text as json_scalar;
use super::yaml::{Room, scalar_text as yaml_scalar};
use super::{Branch, Comment, Entry, Format, Item, Layout, Node, Scalar, Span, Value, dotenv, float_text, ini};
use crate::pure::secret::Plaintext;

/// New bytes for a span.
pub struct Edit {
    /// What is replaced; empty for an insertion.
    pub span: Span,
    /// What stands there afterwards.
    pub text: Plaintext,
}

/// A non-finite number, which JSON cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// Offset in the source.
    pub at: usize,
}

/// What becomes of a YAML alias whose anchor changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aliases {
    /// It stays: it still stands for what the anchor holds.
    Keep,
    /// It is replaced by its value where that differs from what the anchor holds afterwards (a value is encrypted under
    /// its own path, so a copy is another ciphertext).
    Expand,
}

/// Applies edits to the part `range` of `source`. Edits must lie in the range and must not overlap; an edit inside an
/// earlier one is dropped, so that a removal wins over changes in what it removes.
pub fn apply(source: &[u8], range: Span, mut edits: Vec<Edit>) -> Plaintext {
    edits.sort_by_key(|edit| (edit.span.start, std::cmp::Reverse(edit.span.end)));
    let mut out = Zeroizing::new(Vec::with_capacity(range.len()));
    let mut at = range.start;
    for edit in &edits {
        if edit.span.start < at || edit.span.end > range.end {
            continue;
        }
        out.extend_from_slice(source.get(at..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.text.expose());
        at = edit.span.end;
    }
    out.extend_from_slice(source.get(at..range.end).unwrap_or_default());
    Plaintext::new(std::mem::take(&mut *out))
}

/// The edits that write every changed node and comment of a branch.
pub fn changes(branch: &Branch, source: &[u8], format: Format, aliases: Aliases) -> Result<Vec<Edit>, Unwritable> {
    let part = source.get(branch.span.clone()).unwrap_or_default();
    // The first test is much the faster one.
    let crlf = part.contains(&b'\r') && part.windows(2).any(|pair| pair == b"\r\n");
    let mut changed = HashSet::new();
    if aliases == Aliases::Expand {
        changed_spans(&branch.items, &mut changed);
    }
    let step = indent_step(part);
    let mut writer = Writer { source, format, end: branch.span.end, crlf, step, changed, edits: Vec::new() };
    writer.items(&branch.items)?;
    Ok(writer.edits)
}

/// The text of a scalar that replaces another one on the same line, with the same room.
pub(in crate::pure) fn scalar_over(scalar: &Scalar, layout: Layout, format: Format) -> Option<Plaintext> {
    let writer =
        Writer { source: &[], format, end: 0, crlf: false, step: 2, changed: HashSet::new(), edits: Vec::new() };
    writer.scalar(scalar, layout, &(0..0)).ok()
}

/// Starts of the changed scalars that stand in the source themselves.
fn changed_spans(items: &[Item], out: &mut HashSet<usize>) {
    for item in items {
        let node = match item {
            Item::Comment(_) => continue,
            Item::Entry(entry) => &entry.value,
            Item::Element(element) => &element.value,
        };
        match &node.value {
            Value::Map(items) | Value::List(items) => changed_spans(items, out),
            Value::Scalar(_) if node.changed => {
                out.insert(node.span.start);
            }
            Value::Scalar(_) => {}
        }
    }
}

/// The bytes that the entry `index` of `items` takes, so that without them the rest still reads the same. `end` is where
/// the items end.
pub fn removal(source: &[u8], items: &[Item], index: usize, end: usize, flow: bool) -> Span {
    let Some(item) = items.get(index) else { return end..end };
    if !flow {
        let line_start =
            |at: usize| source.get(..at).and_then(|b| b.iter().rposition(|b| *b == b'\n')).map_or(0, |p| p + 1);
        return line_start(item.start())..next_start(items, index).map_or(end, line_start);
    }
    // A comment behind the closing bracket is an item too; only values are separated by commas.
    let value = |item: &&Item| !matches!(item, Item::Comment(_));
    let previous = items.iter().take(index).rev().find(value);
    let next = items.iter().skip(index + 1).find(value);
    match (previous, next) {
        (_, Some(next)) => item.start()..next.start(),
        (Some(previous), None) => previous.end()..item.end(),
        (None, None) => item.start()..item.end(),
    }
}

/// Where what follows the entry `index` begins. A comment between a name and its value stands before the entry among the
/// items, and behind its name in the file.
pub fn next_start(items: &[Item], index: usize) -> Option<usize> {
    let rest = items.get(index + 1..)?;
    let entry = rest.iter().find(|item| !matches!(item, Item::Comment(_)));
    rest.first().into_iter().chain(entry).map(Item::start).min()
}

/// What parts an entry that is added in braces from `last`, the one before it. Directly behind a colon a comma is part of
/// the name for yaml.v3.
pub fn comma(source: &[u8], last: &Item) -> &'static [u8] {
    let bare = matches!(last, Item::Entry(entry) if entry.value.span.is_empty() && !is_bare(entry));
    let colon = source.get(..last.end()).is_some_and(|before| before.ends_with(b":"));
    if bare && colon { b" ," } else { b"," }
}

/// Whether an entry is a name alone, without a colon behind it.
pub fn is_bare(entry: &Entry) -> bool {
    entry.value.span.is_empty() && entry.value.span.start == entry.key_span.end
}

struct Writer<'s> {
    source: &'s [u8],
    format: Format,
    end: usize,
    crlf: bool,
    step: usize,
    /// Where scalars change, if aliases of them are to be expanded.
    changed: HashSet<usize>,
    edits: Vec<Edit>,
}

impl Writer<'_> {
    fn items(&mut self, items: &[Item]) -> Result<(), Unwritable> {
        for (index, item) in items.iter().enumerate() {
            match item {
                Item::Comment(comment) if comment.element => self.element_comment(comment, items),
                Item::Comment(comment) if comment.changed => self.comment(comment),
                Item::Comment(_) => {}
                Item::Entry(entry) => {
                    self.node(&entry.value)?;
                    self.header_comment(items, index, &entry.value);
                }
                Item::Element(element) => self.node(&element.value)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Unwritable> {
        if node.layout.alias {
            if self.is_stale(node) {
                self.edits.push(Edit { span: node.span.clone(), text: flow_text(node) });
            }
            return Ok(());
        }
        match &node.value {
            Value::Map(items) | Value::List(items) => self.items(items),
            Value::Scalar(scalar) if node.changed => {
                let text = self.scalar(scalar, node.layout, &node.span)?;
                if let Some(tag) = &node.tag {
                    self.edits.push(Edit { span: tag.clone(), text: Plaintext::new(Vec::new()) });
                }
                self.edits.push(Edit { span: node.span.clone(), text });
                Ok(())
            }
            Value::Scalar(_) => Ok(()),
        }
    }

    /// Whether what an alias stands for differs from what its anchor holds afterwards.
    fn is_stale(&self, node: &Node) -> bool {
        let in_items = |items: &[Item]| {
            items.iter().any(|item| match item {
                Item::Comment(_) => false,
                Item::Entry(entry) => self.is_stale(&entry.value),
                Item::Element(element) => self.is_stale(&element.value),
            })
        };
        match &node.value {
            _ if self.changed.is_empty() => false,
            Value::Map(items) | Value::List(items) => in_items(items),
            Value::Scalar(_) => node.changed || self.changed.contains(&node.anchor.unwrap_or(node.span.start)),
        }
    }

    /// A comment in the header of a block scalar (`key: | # comment`) is inside the span that the new value takes: it is
    /// written again behind the value.
    fn header_comment(&mut self, items: &[Item], index: usize, node: &Node) {
        let before = index.checked_sub(1).and_then(|before| items.get(before));
        let Some(Item::Comment(comment)) = before else { return };
        let inside = node.changed && comment.span.start > node.span.start && comment.span.end <= node.span.end;
        let marker: &[u8] = b" #";
        if let (true, Some(edit)) = (inside, self.edits.last_mut()) {
            edit.text = Plaintext::new([edit.text.expose(), marker, comment.text.expose()].concat());
        }
    }

    /// A comment that was an element of its list becomes one again, in place. Where it cannot be an element any more it
    /// stays a comment, which every SOPS reads as well.
    fn element_comment(&mut self, comment: &Comment, items: &[Item]) {
        let start = self.source.get(..comment.span.start).unwrap_or_default();
        let line_start = start.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let alone = start.get(line_start..).unwrap_or_default().iter().all(|byte| *byte == b' ');
        let layout = items.iter().find_map(|item| match item {
            Item::Element(element) => Some(element.value.layout),
            _ => None,
        });
        let Some(layout) = layout.filter(|layout| alone && !layout.flow) else { return self.comment(comment) };
        let mut text = vec![b' '; layout.indent];
        text.extend_from_slice(b"- ");
        text.extend_from_slice(comment.text.expose());
        self.edits.push(Edit { span: line_start..comment.span.end, text: Plaintext::new(text) });
    }

    fn scalar(&self, scalar: &Scalar, layout: Layout, span: &Span) -> Result<Plaintext, Unwritable> {
        match self.format {
            Format::Yaml => {
                let text = yaml_scalar(scalar, layout, Room { block: self.line_ends(span), step: self.step });
                Ok(self.with_line_breaks(text))
            }
            Format::Json => json_scalar(scalar).ok_or(Unwritable { at: span.start }),
            Format::Dotenv => Ok(dotenv::escape(plain_text(scalar).expose())),
            Format::Ini => Ok(ini::value_text(plain_text(scalar).expose())),
            Format::Binary => Ok(plain_text(scalar)),
        }
    }

    /// Whether nothing but a line break follows the value: then a block scalar may take its place. Blanks would become
    /// part of it.
    fn line_ends(&self, span: &Span) -> bool {
        let rest = self.source.get(span.end..self.end).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    }

    fn comment(&mut self, comment: &Comment) {
        let old = self.source.get(comment.span.clone()).unwrap_or_default();
        // In INI the blanks behind the comment character are no part of the text, and any number of characters may stand.
        let marker = match old.iter().take_while(|byte| b" #;".contains(byte)).count() {
            lead if self.format == Format::Ini && lead > 0 => old.get(..lead).unwrap_or_default(),
            _ if self.format == Format::Ini => b"; ",
            _ => b"#",
        };
        let line_start = self.source.get(..comment.span.start).and_then(|b| b.iter().rposition(|b| *b == b'\n'));
        let before = self.source.get(line_start.map_or(0, |at| at + 1)..comment.span.start).unwrap_or_default();
        let mut out = Zeroizing::new(Vec::new());
        for (index, line) in comment.text.expose().split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                if self.format == Format::Dotenv {
                    out.extend_from_slice(b"\\n");
                    out.extend_from_slice(line);
                    continue;
                }
                out.push(b'\n');
                // A further line is a comment of its own, under the first one.
                out.extend(std::iter::repeat_n(b' ', before.len()));
            }
            if index == 0 || !(self.format == Format::Ini && ini::is_comment(line)) {
                out.extend_from_slice(marker);
            }
            out.extend_from_slice(line);
        }
        self.edits.push(Edit { span: comment.span.clone(), text: self.with_line_breaks(Plaintext::copy_of(&out)) });
    }

    fn with_line_breaks(&self, text: Plaintext) -> Plaintext {
        if !self.crlf || !text.expose().contains(&b'\n') {
            return text;
        }
        let mut out = Vec::with_capacity(text.len() + 16);
        for byte in text.expose() {
            if *byte == b'\n' {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        Plaintext::new(out)
    }
}

/// A scalar where the format has only text: the bytes that SOPS encrypts for it, booleans in lower case.
fn plain_text(scalar: &Scalar) -> Plaintext {
    Plaintext::from(match scalar {
        Scalar::Null => String::new(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Float(value) => float_text(*value),
        Scalar::Time(value) => value.clone(),
        Scalar::Text(text) => return text.duplicate(),
    })
}

/// The smallest indentation of a line, which is what a nested level adds; SOPS' own 4 when nothing is nested.
fn indent_step(part: &[u8]) -> usize {
    let indents = part.split(|byte| *byte == b'\n').filter_map(|line| {
        let width = line.iter().take_while(|byte| **byte == b' ').count();
        line.get(width).filter(|byte| !byte.is_ascii_whitespace()).map(|_| width)
    });
    indents.filter(|width| *width > 0).min().map_or(4, |width| width.clamp(2, 8))
}

/// A node on one line: a collection in braces and brackets, a scalar as any other at its place.
fn flow_text(node: &Node) -> Plaintext {
    fn write(node: &Node, flow: bool, out: &mut Vec<u8>) {
        let layout = Layout { flow, indent: 0, alias: false };
        let room = Room { block: false, step: 0 };
        match &node.value {
            Value::Scalar(scalar) => out.extend_from_slice(yaml_scalar(scalar, layout, room).expose()),
            Value::Map(items) | Value::List(items) => {
                let layout = Layout { flow: true, ..layout };
                let map = matches!(node.value, Value::Map(_));
                out.push(if map { b'{' } else { b'[' });
                let mut first = true;
                for item in items {
                    let value = match item {
                        Item::Comment(_) => continue,
                        Item::Entry(entry) => &entry.value,
                        Item::Element(element) => &element.value,
                    };
                    if !std::mem::take(&mut first) {
                        out.extend_from_slice(b", ");
                    }
                    if let Item::Entry(entry) = item {
                        let key = yaml_scalar(&Scalar::text(entry.key.as_str()), layout, room);
                        // The merge key must stay plain to stay one.
                        out.extend_from_slice(if entry.key == "<<" { b"<<" } else { key.expose() });
                        out.extend_from_slice(b": ");
                    }
                    write(value, true, out);
                }
                out.push(if map { b'}' } else { b']' });
            }
        }
    }
    let mut out = Zeroizing::new(Vec::new());
    write(node, node.layout.flow, &mut out);
    Plaintext::copy_of(&out)
}

/// Whether lines end as on Windows.
pub(in crate::pure) fn is_crlf(source: &[u8]) -> bool {
    source.windows(2).any(|pair| pair == b"\r\n")
}

/// A text whose lines end as those of `source` do.
pub(in crate::pure) fn with_breaks_of(source: &[u8], text: Plaintext) -> Plaintext {
    if !is_crlf(source) {
        return text;
    }
    Plaintext::from(text.expose_str().unwrap_or_default().replace('\n', "\r\n"))
}
