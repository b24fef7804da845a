//! Setting and removing one value of a plain file, by its path, with nothing else touched.

use super::emit::{emit_element, emit_entry, emit_ini_lines, emit_lines};
use super::ini;
use super::splice::{self, Edit};
use super::{Branch, Entry, Format, Indent, Item, Layout, Node, Scalar, Span, Tree, Value, duplicate_item};
use crate::pure::secret::Plaintext;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A name in a map.
    Key(String),
    /// A position in a list.
    Index(usize),
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// There is no such entry.
    Missing,
    /// The path asks for a name of a list, a position of a map, or something below a scalar.
    Kind,
    /// The value cannot stand there.
    Value,
    /// The entry is written as an alias: changing it would change its anchor.
    Alias,
    /// A map that is a pair in a list, `[a: 1]`, has no braces for a second name.
    Pair,
    /// `<<` takes maps alone: no reader of YAML opens a file with anything else there.
    Merge,
}

/// Reads a path as SOPS writes it: `["a"][0]["b"]`, single quotes allowed. `None` when it is none.
pub fn parse_path(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        rest = rest.strip_prefix('[')?;
        let quote = rest.chars().next()?;
        if quote == '"' || quote == '\'' {
            let inner = rest.get(1..)?;
            let close = inner.find(&format!("{quote}]"))?;
            steps.push(Step::Key(inner.get(..close)?.to_owned()));
            rest = inner.get(close + 2..)?;
        } else {
            let (index, tail) = rest.split_once(']')?;
            steps.push(Step::Index(index.trim().parse().ok()?));
            rest = tail;
        }
    }
    Some(steps)
}

/// The node at a path of the first document.
pub fn find<'t>(branches: &'t [Branch], path: &[Step]) -> Result<&'t Node, PathError> {
    let items: &[Item] = branches.first().map_or(&[], |branch| &branch.items);
    let (first, rest) = path.split_first().ok_or(PathError::Missing)?;
    let mut node = child(items, first).ok_or(PathError::Missing)?;
    for step in rest {
        node = match (&node.value, step) {
            (Value::Map(items), Step::Key(_)) | (Value::List(items), Step::Index(_)) => {
                child(items, step).ok_or(PathError::Missing)?
            }
            // Nothing is there, which may become a map or a list.
            (Value::Scalar(Scalar::Null), _) => return Err(PathError::Missing),
            _ => return Err(PathError::Kind),
        };
    }
    Ok(node)
}

fn child<'t>(items: &'t [Item], step: &Step) -> Option<&'t Node> {
    position(items, step).and_then(|at| match items.get(at)? {
        Item::Entry(entry) => Some(&entry.value),
        Item::Element(element) => Some(&element.value),
        Item::Comment(_) => None,
    })
}

fn position(items: &[Item], step: &Step) -> Option<usize> {
    match step {
        Step::Key(key) => items.iter().position(|item| matches!(item, Item::Entry(entry) if entry.key == *key)),
        Step::Index(index) => {
            let mut elements = items.iter().enumerate().filter(|(_, item)| matches!(item, Item::Element(_)));
            elements.nth(*index).map(|(at, _)| at)
        }
    }
}

/// Sets the value at `path` of the first document and returns the whole file. Missing names are added at the end of
/// their map, an index past the end appends.
pub fn set(tree: &Tree, path: &[Step], value: Node) -> Result<Plaintext, PathError> {
    let source = tree.source.expose();
    let branch = tree.branches.first().ok_or(PathError::Missing)?;
    refuse_aliases(tree, path)?;
    if !can_hold(tree.format, path, &value.value) {
        return Err(PathError::Value);
    }
    // The same value in other quotes is no change.
    if find(&tree.branches, path).is_ok_and(|node| same_scalar(&node.value, &value.value)) {
        return Ok(tree.source.duplicate());
    }
    if tree.format == Format::Yaml && !can_merge(path, &value.value) {
        return Err(PathError::Merge);
    }
    let editor = Editor { tree, source, branch };
    let wanted = value.duplicate();
    let edit = editor.set(path, value)?;
    let text = cut_as_before(tree, splice::apply(source, 0..source.len(), vec![edit]));
    if matches!(tree.format, Format::Ini | Format::Dotenv) && !reads_back(&text, tree.format, path, &wanted) {
        return Err(PathError::Value);
    }
    Ok(text)
}

/// Whether a reader finds the texts that were set, and under their names. INI and dotenv have names, and INI texts, that
/// no quotes can hold.
fn reads_back(text: &Plaintext, format: Format, path: &[Step], wanted: &Node) -> bool {
    let Ok(tree) = super::parse(text.expose(), format) else { return false };
    let Ok(found) = find(&tree.branches, path) else { return false };
    match (&wanted.value, &found.value) {
        (Value::Map(wanted), Value::Map(found)) => wanted.iter().all(|item| match item {
            Item::Entry(entry) => {
                let same = child(found, &Step::Key(entry.key.clone()));
                same.is_some_and(|node| same_text(&entry.value, node))
            }
            _ => true,
        }),
        _ => same_text(wanted, found),
    }
}

fn same_text(left: &Node, right: &Node) -> bool {
    left.text().zip(right.text()).is_some_and(|(left, right)| left.same_as(&right))
}

/// A file without a line break at its end goes on having none, unless the break belongs to the value that ends it now.
fn cut_as_before(tree: &Tree, text: Plaintext) -> Plaintext {
    let bytes = text.expose();
    let Some(kept) = bytes.strip_suffix(b"\n").filter(|_| !tree.source.expose().ends_with(b"\n")) else { return text };
    let kept = kept.strip_suffix(b"\r").filter(|_| tree.format == Format::Yaml).unwrap_or(kept);
    let is_block = |tree: Tree| {
        let items = tree.branches.last().map_or(&[][..], |branch| &branch.items);
        last_scalar(items).is_some_and(owns_break)
    };
    // Only a block scalar of YAML ends in a line break of its own.
    let owned = tree.format == Format::Yaml && super::parse(bytes, tree.format).ok().is_none_or(is_block);
    if owned { text } else { Plaintext::copy_of(kept) }
}

/// The scalar that ends the last entry.
pub(in crate::pure) fn last_scalar(items: &[Item]) -> Option<&Node> {
    let node = match items.iter().rev().find(|item| !matches!(item, Item::Comment(_)))? {
        Item::Entry(entry) => &entry.value,
        Item::Element(element) => &element.value,
        Item::Comment(_) => return None,
    };
    match &node.value {
        Value::Scalar(_) => Some(node),
        Value::Map(items) | Value::List(items) => last_scalar(items),
    }
}

/// Whether the line break behind a scalar that ends a file may be part of its value.
pub(in crate::pure) fn owns_break(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(Scalar::Text(text)) if text.expose().ends_with(b"\n"))
}

/// Removes the entry at `path` of the first document and returns the whole file.
pub fn unset(tree: &Tree, path: &[Step]) -> Result<Plaintext, PathError> {
    let source = tree.source.expose();
    let branch = tree.branches.first().ok_or(PathError::Missing)?;
    refuse_aliases(tree, path)?;
    let (last, parents) = path.split_last().ok_or(PathError::Missing)?;
    let (items, flow, end, map) = if parents.is_empty() {
        (&branch.items, branch.flow, branch.body_end, true)
    } else {
        let parent = find(&tree.branches, parents)?;
        if parent.layout.alias {
            return Err(PathError::Alias);
        }
        match &parent.value {
            Value::Map(items) | Value::List(items) => {
                let flow = in_brackets(tree, parent);
                (items, flow, parent.span.end, matches!(parent.value, Value::Map(_)))
            }
            Value::Scalar(Scalar::Null) => return Err(PathError::Missing),
            Value::Scalar(_) => return Err(PathError::Kind),
        }
    };
    if map != matches!(last, Step::Key(_)) {
        return Err(PathError::Kind);
    }
    let at = position(items, last).ok_or(PathError::Missing)?;
    let item = items.get(at).ok_or(PathError::Missing)?;
    let only = items.iter().filter(|item| !matches!(item, Item::Comment(_))).count() == 1;
    let line = line_start(source, item.start());
    let first_on_line = source.get(line..item.start()).unwrap_or_default().iter().all(|byte| b" \t?".contains(byte));
    let (span, text) = if flow || tree.format == Format::Json {
        (splice::removal(source, items, at, end, true), "")
    } else if tree.format != Format::Yaml {
        (line..line_end(source, item.end()), "")
    } else if only {
        // An empty block collection would read as null. A list may stand as far left as its name; brackets may not.
        let column = match item {
            Item::Element(element) => element.value.layout.indent,
            _ => usize::MAX,
        };
        let parent = find(&tree.branches, parents).map_or(0, |parent| parent.layout.indent);
        (
            item_start(source, item)..item.end(),
            if map {
                "{}"
            } else if column <= parent {
                " []"
            } else {
                "[]"
            },
        )
    } else if !first_on_line {
        let next = items.iter().skip(at + 1).find(|item| !matches!(item, Item::Comment(_)));
        (item.start()..next.ok_or(PathError::Value)?.start(), "")
    } else {
        let next_line = line_end(source, item.end());
        (line..splice::next_start(items, at).map_or(next_line, |next| line_start(source, next).max(next_line)), "")
    };
    let edit = Edit { span, text: Plaintext::copy_of(text.as_bytes()) };
    Ok(cut_as_before(tree, splice::apply(source, 0..source.len(), vec![edit])))
}

/// The value as a format writes it: dotenv, INI and binary files have nothing but texts.
pub fn fitted(value: Node, format: Format) -> Node {
    match value.text() {
        Some(text) if !matches!(format, Format::Yaml | Format::Json) => {
            Node::new(0..0, Value::Scalar(Scalar::Text(text)), Layout::default())
        }
        _ => value,
    }
}

/// Whether a format has such a value at such a place: INI has texts in sections, dotenv and binary files texts alone.
fn can_hold(format: Format, path: &[Step], value: &Value) -> bool {
    let is_text = |value: &Value| matches!(value, Value::Scalar(Scalar::Text(_)));
    match (format, path, value) {
        (Format::Yaml | Format::Json, ..) => true,
        (Format::Ini, [_], Value::Map(items)) => items.iter().all(|item| match item {
            Item::Entry(entry) => {
                matches!(&entry.value.value, Value::Scalar(scalar) if !matches!(scalar, Scalar::Null))
            }
            _ => true,
        }),
        (Format::Ini, [_, _], value) | (Format::Dotenv, [_], value) => is_text(value),
        (Format::Binary, [Step::Key(name)], value) => name == "data" && is_text(value),
        _ => false,
    }
}

/// Whether what would stand under a merge key is a map or a list of maps.
fn can_merge(path: &[Step], value: &Value) -> bool {
    let is_merge = |step: Option<&Step>| matches!(step, Some(Step::Key(key)) if key == "<<");
    let is_map = |item: &Item| match item {
        Item::Element(element) => matches!(element.value.value, Value::Map(_)),
        _ => true,
    };
    match path.split_last() {
        Some((Step::Index(_), parents)) if is_merge(parents.last()) => matches!(value, Value::Map(_)),
        Some((last, _)) if is_merge(Some(last)) => match value {
            Value::Map(_) => true,
            Value::List(items) => items.iter().all(is_map),
            Value::Scalar(_) => false,
        },
        _ => true,
    }
}

fn same_scalar(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Scalar(Scalar::Text(left)), Value::Scalar(Scalar::Text(right))) => left.same_as(right),
        (Value::Scalar(Scalar::Int(left)), Value::Scalar(Scalar::Int(right))) => left == right,
        (Value::Scalar(Scalar::Float(left)), Value::Scalar(Scalar::Float(right))) => left == right,
        (Value::Scalar(Scalar::Bool(left)), Value::Scalar(Scalar::Bool(right))) => left == right,
        (Value::Scalar(Scalar::Null), Value::Scalar(Scalar::Null)) => true,
        _ => false,
    }
}

/// What stands under an alias has no bytes of its own to change.
fn refuse_aliases(tree: &Tree, path: &[Step]) -> Result<(), PathError> {
    let above = (1..path.len()).filter_map(|depth| find(&tree.branches, path.get(..depth)?).ok());
    if above.into_iter().any(|node| node.layout.alias) { Err(PathError::Alias) } else { Ok(()) }
}

/// Whether a collection is written in braces or brackets (the section of an INI file is not, for all its bracket). A list
/// in lines begins where its first element does, which may be a bracket of its own.
fn in_brackets(tree: &Tree, node: &Node) -> bool {
    let bracket = matches!(tree.source.expose().get(node.span.start), Some(b'{' | b'['));
    matches!(tree.format, Format::Yaml | Format::Json) && bracket && has_flow_items(node).unwrap_or(true)
}

/// Whether the items of a collection stand in a line, be it in brackets of their own or, as in `[a: 1]`, of others.
fn has_flow_items(node: &Node) -> Option<bool> {
    let (Value::Map(items) | Value::List(items)) = &node.value else { return None };
    items.iter().find_map(|item| match item {
        Item::Entry(Entry { value, .. }) | Item::Element(super::Element { value, .. }) => Some(value.layout.flow),
        Item::Comment(_) => None,
    })
}

/// Where an item begins: at the question mark of a name that has one.
fn item_start(source: &[u8], item: &Item) -> usize {
    let before = source.get(..item.start()).unwrap_or_default();
    let mark = before.trim_ascii_end();
    let own_line = before.get(mark.len()..).is_some_and(|blanks| !blanks.is_empty() && !blanks.contains(&b'\n'));
    match item {
        Item::Entry(_) if own_line && mark.ends_with(b"?") => mark.len() - 1,
        _ => item.start(),
    }
}

fn line_start(source: &[u8], at: usize) -> usize {
    source.get(..at).and_then(|before| before.iter().rposition(|byte| *byte == b'\n')).map_or(0, |newline| newline + 1)
}

/// Offset after the line break that ends the line of `at`.
fn line_end(source: &[u8], at: usize) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(source.len(), |newline| at + newline + 1)
}

struct Editor<'t> {
    tree: &'t Tree,
    source: &'t [u8],
    branch: &'t Branch,
}

impl Editor<'_> {
    fn set(&self, path: &[Step], value: Node) -> Result<Edit, PathError> {
        match find(&self.tree.branches, path) {
            Ok(node) => self.replace(path, node, value),
            Err(PathError::Missing) => self.add(path, value),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, path: &[Step], node: &Node, value: Node) -> Result<Edit, PathError> {
        if node.layout.alias {
            return Err(PathError::Alias);
        }
        if let (Value::Scalar(_), Value::Scalar(_), None) = (&node.value, &value.value, &node.tag)
            && (!node.span.is_empty() || self.tree.format != Format::Yaml)
        {
            let node = Node { changed: true, value: value.value, ..node.duplicate() };
            let entry = Entry { key: String::new(), key_span: node.span.clone(), value: node };
            let branch = Branch {
                items: vec![Item::Entry(entry)],
                span: self.branch.span.clone(),
                placeholder: None,
                duplicate: None,
                ..*self.branch
            };
            let edits = splice::changes(&branch, self.source, self.tree.format, splice::Aliases::Keep);
            return edits.ok().and_then(|mut edits| edits.pop()).ok_or(PathError::Value);
        }
        if node.layout.flow || self.tree.format == Format::Json {
            let text = self.inline(&value)?;
            // `{a: }` has no value to replace, `{a}` not even the colon before it.
            let before = self.source.get(..node.span.start).unwrap_or_default().trim_ascii_end();
            let lead: &[u8] = match before.last() {
                _ if !node.span.is_empty() => b"",
                Some(b':') if !self.is_colon_of_name(path) => b" ",
                _ => b": ",
            };
            return Ok(Edit { span: node.span.clone(), text: Plaintext::new([lead, text.expose()].concat()) });
        }
        // The whole entry is written again: a collection and a scalar stand differently behind a name.
        let (last, parents) = path.split_last().ok_or(PathError::Missing)?;
        let items = self.items(parents)?;
        let item = position(items, last).and_then(|at| items.get(at)).ok_or(PathError::Missing)?;
        let new = match item {
            Item::Entry(entry) => Item::Entry(Entry { key: entry.key.clone(), key_span: 0..0, value }),
            other => with_value(other, value),
        };
        let text = self.lines(&new, node.layout.indent)?;
        let start = item_start(self.source, item);
        Ok(Edit { span: start..item.end(), text: Plaintext::copy_of(text.expose().trim_ascii()) })
    }

    /// In `{a:, b}` the colon is the name's.
    fn is_colon_of_name(&self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let Ok(items) = self.items(parents) else { return false };
        let item = position(items, last).and_then(|at| items.get(at));
        matches!(item, Some(Item::Entry(entry)) if splice::is_bare(entry))
    }

    /// The items of the collection at `path`.
    fn items(&self, path: &[Step]) -> Result<&[Item], PathError> {
        if path.is_empty() {
            return Ok(&self.branch.items);
        }
        match &find(&self.tree.branches, path)?.value {
            Value::Map(items) | Value::List(items) => Ok(items),
            Value::Scalar(_) => Err(PathError::Kind),
        }
    }

    /// Adds what is missing of `path` to the deepest collection that exists.
    fn add(&self, path: &[Step], value: Node) -> Result<Edit, PathError> {
        let depth = (0..path.len())
            .rev()
            .find(|depth| *depth == 0 || find(&self.tree.branches, path.get(..*depth).unwrap_or_default()).is_ok());
        let depth = depth.ok_or(PathError::Missing)?;
        let (parents, missing) = path.split_at(depth);
        let (first, rest) = missing.split_first().ok_or(PathError::Missing)?;
        let mut value = value;
        for step in rest.iter().rev() {
            let item = new_item(step, value);
            let inner = if matches!(step, Step::Key(_)) { Value::Map(vec![item]) } else { Value::List(vec![item]) };
            value = Node::new(0..0, inner, Layout::default());
        }
        let item = new_item(first, value);
        if parents.is_empty() {
            return match first {
                Step::Key(_) => self.append(&self.branch.items, self.branch.flow, self.branch.body_end, 0, &item),
                Step::Index(_) => Err(PathError::Kind),
            };
        }
        let parent = find(&self.tree.branches, parents)?;
        if parent.layout.alias {
            return Err(PathError::Alias);
        }
        match (&parent.value, first) {
            (Value::Scalar(Scalar::Null), step) => {
                let inner = if matches!(step, Step::Key(_)) { Value::Map(vec![item]) } else { Value::List(vec![item]) };
                self.replace(parents, parent, Node::new(0..0, inner, Layout::default()))
            }
            (Value::Map(items), Step::Key(_)) | (Value::List(items), Step::Index(_)) => {
                let flow = in_brackets(self.tree, parent);
                if !flow && has_flow_items(parent) == Some(true) {
                    return Err(PathError::Pair);
                }
                let end = if flow { parent.span.end - 1 } else { parent.span.end };
                self.append(items, flow, end, parent.layout.indent, &item)
            }
            _ => Err(PathError::Kind),
        }
    }

    fn append(&self, items: &[Item], flow: bool, end: usize, indent: usize, item: &Item) -> Result<Edit, PathError> {
        let last = items.iter().rev().find(|item| !matches!(item, Item::Comment(_)));
        let is_root = std::ptr::eq(items.as_ptr(), self.branch.items.as_ptr());
        if let (true, Some(span)) = (is_root, &self.branch.placeholder) {
            let text = Plaintext::copy_of(self.lines(item, 0)?.expose().trim_ascii_end());
            return Ok(Edit { span: span.clone(), text });
        }
        if self.tree.format == Format::Ini && matches!(item, Item::Entry(entry) if entry.key == ini::DEFAULT) {
            // What has no header stands before the first one.
            let end: &[u8] = if items.is_empty() { b"" } else { b"\n" };
            let text = Plaintext::new([self.lines(item, 0)?.expose(), end].concat());
            let start = self.branch.span.start;
            return Ok(Edit { span: start..start, text });
        }
        if flow {
            let text = self.inline_item(item)?;
            let Some(last) = last else { return Ok(Edit { span: end..end, text }) };
            let before = self.source.get(..last.start()).unwrap_or_default();
            let lead: Vec<u8> = before.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).copied().collect();
            let lead: Vec<u8> = if lead.contains(&b'\n') { lead.into_iter().rev().collect() } else { b" ".to_vec() };
            let text = Plaintext::new([splice::comma(self.source, last), lead.as_slice(), text.expose()].concat());
            return Ok(Edit { span: last.end()..last.end(), text });
        }
        let column = match last {
            Some(Item::Entry(entry)) => entry.value.layout.indent,
            Some(Item::Element(element)) => element.value.layout.indent,
            _ => indent,
        };
        let text = self.lines(item, column)?;
        let at = last.map_or(end, |last| line_end(self.source, last.end()).min(self.branch.body_end));
        let needs_break = at > self.branch.span.start && self.source.get(at - 1) != Some(&b'\n');
        let breaks: &[u8] = match needs_break {
            true if self.has_crlf() => b"\r\n",
            true => b"\n",
            false => b"",
        };
        Ok(Edit { span: at..at, text: Plaintext::new([breaks, text.expose()].concat()) })
    }

    /// Whether the lines of a YAML file end as on Windows.
    fn has_crlf(&self) -> bool {
        self.tree.format == Format::Yaml && splice::is_crlf(self.source)
    }

    fn lines(&self, item: &Item, column: usize) -> Result<Plaintext, PathError> {
        let items = [duplicate_item(item)];
        match self.tree.format {
            // A key of an INI section, not a section: printed as one line.
            Format::Ini if matches!(item, Item::Entry(entry) if matches!(entry.value.value, Value::Scalar(_))) => {
                emit_ini_lines(&items).map_err(|_| PathError::Value)
            }
            format => {
                let text = emit_lines(&items, format, column, Indent::default()).map_err(|_| PathError::Value)?;
                Ok(if format == Format::Yaml { splice::with_breaks_of(self.source, text) } else { text })
            }
        }
    }

    fn inline(&self, value: &Node) -> Result<Plaintext, PathError> {
        emit_element(value).map_err(|_| PathError::Value)
    }

    fn inline_item(&self, item: &Item) -> Result<Plaintext, PathError> {
        match item {
            Item::Element(element) => self.inline(&element.value),
            item => emit_entry(&[duplicate_item(item)], &None).map_err(|_| PathError::Value),
        }
    }
}

fn new_item(step: &Step, value: Node) -> Item {
    match step {
        Step::Key(key) => Item::Entry(Entry { key: key.clone(), key_span: 0..0, value }),
        Step::Index(_) => Item::Element(super::Element { start: 0, value }),
    }
}

fn with_value(item: &Item, value: Node) -> Item {
    match item {
        Item::Element(element) => Item::Element(super::Element { start: element.start, value }),
        other => duplicate_item(other),
    }
}

/// A tree without spans of a JSON value, for [`set`].
pub fn from_json(value: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let nowhere: Span = 0..0;
    let value = match value {
        Json::Null => Value::Scalar(Scalar::Null),
        Json::Bool(value) => Value::Scalar(Scalar::Bool(*value)),
        Json::Number(number) => Value::Scalar(match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Scalar::Int(value),
            (None, Some(value)) => Scalar::Unsigned(value),
            _ => Scalar::Float(number.as_f64().unwrap_or_default()),
        }),
        Json::String(text) => Value::Scalar(Scalar::text(text.as_str())),
        Json::Array(items) => {
            Value::List(items.iter().map(|item| new_item(&Step::Index(0), from_json(item))).collect())
        }
        Json::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| new_item(&Step::Key(key.clone()), from_json(value))).collect())
        }
    };
    Node::new(nowhere, value, Layout::default())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn run(text: &str, format: Format, path: &str, value: Option<&str>) -> Result<String, PathError> {
        let tree = parse(text.as_bytes(), format).expect("parses");
        let path = parse_path(path).expect("a path");
        let out = match value {
            Some(value) => set(&tree, &path, from_json(&serde_json::from_str(value).expect("json")))?,
            None => unset(&tree, &path)?,
        };
        let text = out.expose_str().expect("text").to_owned();
        parse(text.as_bytes(), format).unwrap_or_else(|error| panic!("{error}: {text}"));
        Ok(text)
    }

    #[test]
    fn paths() {
        let key = |key: &str| Step::Key(key.into());
        assert_eq!(parse_path(r#"["a"][0]['b.c']"#), Some(vec![key("a"), Step::Index(0), key("b.c")]));
        for bad in ["a", "[", "[a]", r#"["a""#, r#"["a"]x"#, "[-1]"] {
            assert_eq!(parse_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_are_set_in_place() {
        use Format::{Dotenv, Ini, Json, Yaml};
        for (text, format, path, value, expected) in [
            ("# c\na:   'x' # d\nb: 1", Yaml, r#"["a"]"#, "\"w\"", "# c\na:   w # d\nb: 1"),
            ("a: 1\n", Yaml, r#"["b"]"#, "2", "a: 1\nb: 2\n"),
            ("a: 1", Yaml, r#"["b"]["c"]"#, "[1]", "a: 1\nb:\n    c:\n        - 1"),
            ("a: 1", Yaml, r#"["b"]"#, r#""x\ny\n""#, "a: 1\nb: |\n    x\n    y\n"),
            ("a: 1\r\nb: 2", Yaml, r#"["c"]["d"]"#, "[1]", "a: 1\r\nb: 2\r\nc:\r\n    d:\r\n        - 1"),
            ("a: 1\r\nb:\r\n", Yaml, r#"["b"]"#, "[1, 2]", "a: 1\r\nb:\r\n    - 1\r\n    - 2\r\n"),
            ("a:\n  b: 1 # x\n\n# d\nc: 2\n", Yaml, r#"["a"]["m"]"#, "\"v\"", "a:\n  b: 1 # x\n  m: v\n\n# d\nc: 2\n"),
            ("l:\n- a\n- b\nz: 1\n", Yaml, r#"["l"][5]"#, "\"c\"", "l:\n- a\n- b\n- c\nz: 1\n"),
            ("l:\n- a\n- b\n", Yaml, r#"["l"][1]"#, "{\"k\": 1}", "l:\n- a\n- k: 1\n"),
            ("a: {b: 1}\n", Yaml, r#"["a"]["c"]"#, "2", "a: {b: 1, \"c\": 2}\n"),
            ("a: {b: , c: }\n", Yaml, r#"["a"]["b"]"#, "2", "a: {b: 2 , c: }\n"),
            ("a: {b:, c: }\n", Yaml, r#"["a"]["b:"]"#, "2", "a: {b:: 2, c: }\n"),
            ("a: {b}\n", Yaml, r#"["a"]["b"]"#, "2", "a: {b: 2}\n"),
            ("a: {b: }\n", Yaml, r#"["a"]["c"]"#, "2", "a: {b: , \"c\": 2 }\n"),
            ("a: 1  \n", Yaml, r#"["a"]"#, r#""x\ny\n""#, "a: \"x\\ny\\n\"  \n"),
            ("a: 1\r\n", Yaml, r#"["a"]"#, r#""x\ny\n""#, "a: |\r\n    x\r\n    y\r\n"),
            ("l:\n- {a: 1}\n", Yaml, r#"["l"][1]"#, "2", "l:\n- {a: 1}\n- 2\n"),
            ("? a\n: - 1\n? b\n: 2\n", Yaml, r#"["a"]"#, "3", "a: 3\n? b\n: 2\n"),
            ("a: {}\n", Yaml, r#"["a"]["c"]"#, "\"x\"", "a: {\"c\": \"x\"}\n"),
            ("a:\n  b: 1\nc: 2\n", Yaml, r#"["a"]"#, "5", "a: 5\nc: 2\n"),
            ("a:\nc: 2\n", Yaml, r#"["a"]"#, "5", "a: 5\nc: 2\n"),
            ("{\n  \"a\": 1\n}\n", Json, r#"["b"]"#, "\"x\"", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n"),
            ("{\"a\": [1]}", Json, r#"["a"][0]"#, "{\"x\": null}", "{\"a\": [{\"x\": null}]}"),
            ("a:\nc: 2\n", Yaml, r#"["a"]["b"]"#, "5", "a:\n    b: 5\nc: 2\n"),
            ("a: null # x\n", Yaml, r#"["a"][0]"#, "5", "a:\n    - 5 # x\n"),
            ("# x\n{}\n", Yaml, r#"["a"]"#, "5", "# x\na: 5\n"),
            ("# x\n~\n", Yaml, r#"["a"]["b"]"#, "5", "# x\na:\n    b: 5\n"),
            ("{} # x\n", Yaml, r#"["a"]"#, "5", "{\"a\": 5} # x\n"),
            ("{\"a\": null}", Json, r#"["a"]["b"]"#, "5", "{\"a\": {\"b\": 5}}"),
            ("A=1\n", Dotenv, r#"["A"]"#, "\"x\\ny\"", "A=x\\ny\n"),
            ("A=1\n", Dotenv, r#"["B"]"#, "\"x\"", "A=1\nB=x\n"),
            ("A=1", Dotenv, r#"["B"]"#, "\"x\"", "A=1\nB=x"),
            ("[s]\na = 1\n", Ini, r#"["s"]["a"]"#, "\"2\"", "[s]\na = 2\n"),
            ("[s]\na = 1\n\n[t]\nx = 1\n", Ini, r#"["s"]["b"]"#, "\"2\"", "[s]\na = 1\nb = 2\n\n[t]\nx = 1\n"),
            ("[s]\na = 1\n", Ini, r#"["s"]["b"]"#, r#""x\ny""#, "[s]\na = 1\nb = \"\"\"x\ny\"\"\"\n"),
            ("[s]\na = 1\n", Ini, r#"["s"]["b"]"#, r#"" x;y""#, "[s]\na = 1\nb = ` x;y`\n"),
            ("[s]\na = 1\n", Ini, r#"["s"]["b:c"]"#, r#""x""#, "[s]\na = 1\n`b:c` = x\n"),
            ("; c\n[s]\na = 1\n", Ini, r#"["DEFAULT"]["b"]"#, r#""x""#, "b = x\n\n; c\n[s]\na = 1\n"),
        ] {
            assert_eq!(run(text, format, path, Some(value)).as_deref(), Ok(expected), "{text:?} {path}");
        }
        for (format, path, value) in [
            (Ini, r#"["top"]"#, "\"x\""),
            (Ini, r#"["s"]["a"]"#, "{\"b\": \"c\"}"),
            (Ini, r#"["s"]"#, "{\"b\": null}"),
            // Names and texts that a reader would find changed.
            (Ini, r#"["s"][" b"]"#, "\"x\""),
            (Ini, r#"["s"]["-"]"#, "\"x\""),
            (Ini, r#"["t"]"#, "{\" b\": \"x\"}"),
            (Dotenv, "[\"#b\"]", "\"x\""),
            (Dotenv, r#"["B"]"#, r#""C:\\new""#),
            (Dotenv, r#"["A"]"#, "[1]"),
            (Dotenv, r#"["A"]"#, "null"),
        ] {
            let text = if format == Ini { "[s]\na = 1\n" } else { "A=1\n" };
            assert_eq!(run(text, format, path, Some(value)), Err(PathError::Value), "{format} {path} {value}");
        }
        assert_eq!(run("a: 1\n", Yaml, r#"["a"]["b"]"#, Some("1")), Err(PathError::Kind));
        assert_eq!(run("a: [1]\n", Yaml, r#"["a"]["b"]"#, Some("1")), Err(PathError::Kind));
        assert_eq!(run("a: [b: 1]\n", Yaml, r#"["a"][0]["c"]"#, Some("1")), Err(PathError::Pair));
        let merges = "b: &b {k: 1}\na:\n  <<: {c: 1}\n  d: 1\ne:\n  <<: [*b]\n";
        for (path, value) in [
            (r#"["a"]["<<"]"#, "\"x\""),
            (r#"["a"]["<<"]"#, "null"),
            (r#"["a"]["<<"]"#, "[{\"k\": 1}, 2]"),
            (r#"["b"]["<<"]"#, "1"),
            (r#"["e"]["<<"][1]"#, "[]"),
        ] {
            assert_eq!(run(merges, Yaml, path, Some(value)), Err(PathError::Merge), "{path} {value}");
        }
        assert!(run(merges, Yaml, r#"["a"]["<<"]"#, Some("{\"k\": 2}")).is_ok());
        assert!(run(merges, Yaml, r#"["a"]["<<"]["c"]"#, Some("2")).is_ok());
        assert!(run("{\"a\": 1}", Json, r#"["<<"]"#, Some("2")).is_ok());
        assert_eq!(run("a: &x {k: 1}\nb: *x\n", Yaml, r#"["b"]["k"]"#, Some("1")), Err(PathError::Alias));
    }

    #[test]
    fn entries_are_removed_without_a_trace() {
        use Format::{Dotenv, Json, Yaml};
        for (text, format, path, expected) in [
            ("a: 1 # c\nb: 2\n", Yaml, r#"["a"]"#, "b: 2\n"),
            ("a: 1\r\nb: 2", Yaml, r#"["b"]"#, "a: 1"),
            ("a: |\n  x\nb: 2", Yaml, r#"["b"]"#, "a: |\n  x\n"),
            ("a: 1\nb:\n  c: 1\n  d: 2\n\ne: 3\n", Yaml, r#"["b"]["d"]"#, "a: 1\nb:\n  c: 1\n\ne: 3\n"),
            ("a:\n  b: 1\nc: 2\n", Yaml, r#"["a"]["b"]"#, "a:\n  {}\nc: 2\n"),
            ("? a\n: 1\nb: 2\n", Yaml, r#"["a"]"#, "b: 2\n"),
            ("l:\n- a\n- b\n", Yaml, r#"["l"][0]"#, "l:\n- b\n"),
            ("l:\n- a\nb: 1\n", Yaml, r#"["l"][0]"#, "l:\n []\nb: 1\n"),
            ("m:\n  l:\n  - {a: 1}\n", Yaml, r#"["m"]["l"][0]"#, "m:\n  l:\n   []\n"),
            ("m:\n  ? a\n  : 1\nb: 1\n", Yaml, r#"["m"]["a"]"#, "m:\n  {}\nb: 1\n"),
            ("m:\n  a: 1\n  b:\n    # c\n    x\n", Yaml, r#"["m"]["a"]"#, "m:\n  b:\n    # c\n    x\n"),
            ("l:\n- a\n-\n  # c\n  b\n", Yaml, r#"["l"][0]"#, "l:\n-\n  # c\n  b\n"),
            ("l:\n- a: 1\n  b: 2\n", Yaml, r#"["l"][0]["a"]"#, "l:\n- b: 2\n"),
            ("a: {b: 1, c: 2}\n", Yaml, r#"["a"]["c"]"#, "a: {b: 1}\n"),
            ("a: [b: 1, c]\n", Yaml, r#"["a"][0]["b"]"#, "a: [{}, c]\n"),
            ("{\"a\": 1, \"b\": 2}", Json, r#"["a"]"#, "{\"b\": 2}"),
            ("A=1\nB=2\n", Dotenv, r#"["A"]"#, "B=2\n"),
            ("[s]\na = 1 ; c\n\n[t]\nb = 2\n", Format::Ini, r#"["s"]["a"]"#, "[s]\n\n[t]\nb = 2\n"),
        ] {
            assert_eq!(run(text, format, path, None).as_deref(), Ok(expected), "{text:?} {path}");
        }
        assert_eq!(run("a: 1\n", Yaml, r#"["b"]"#, None), Err(PathError::Missing));
        assert_eq!(run("a: [1]\n", Yaml, r#"["a"][1]"#, None), Err(PathError::Missing));
    }
}
