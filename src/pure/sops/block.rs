//! Writing the `sops` block: alphabetical fields, quoted timestamps, empty fields left out (what SOPS 3.12 and 3.13 both
//! read), in the layout of the file that it is written into.

use serde_json::{Map, Value as Json};

use super::Document;
use super::error::SopsError;
use super::metadata::{self, DOTENV_PREFIX, Metadata, NAME};
use crate::pure::format::place::{last_scalar, owns_break};
use crate::pure::format::splice::{self, Edit, is_crlf, with_breaks_of};
use crate::pure::format::{
    Branch, Element, EmitError, Entry, Format, Indent, Item, Layout, Node, Scalar, Value, emit_entry, emit_lines,
};
use crate::pure::keys::{KeyKind, KeyRef, WrappedKey};
use crate::pure::secret::Plaintext;

/// The fields as one tree. Objects of this crate keep insertion order, so the names are inserted in order.
pub(super) fn fields(metadata: &Metadata) -> Map<String, Json> {
    let mut fields: Vec<(&str, Json)> = Vec::new();
    match metadata.groups.as_slice() {
        [] => {}
        [group] => fields.extend(group_fields(group)),
        groups => {
            let groups = groups.iter().map(|group| sorted(group_fields(group))).collect();
            fields.push(("key_groups", Json::Array(groups)));
            fields.push(("shamir_threshold", Json::from(metadata.shamir_threshold)));
        }
    }
    let (name, text) = metadata.selector.parts();
    if metadata.selector_is_written {
        fields.push((name, Json::from(text)));
    }
    if metadata.mac_only_encrypted {
        fields.push(("mac_only_encrypted", Json::from(true)));
    }
    fields.push(("lastmodified", Json::from(metadata.last_modified.clone())));
    fields.push(("mac", Json::from(metadata.mac.clone())));
    fields.push(("version", Json::from(metadata.version.clone())));
    match sorted(fields) {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn sorted(mut fields: Vec<(&str, Json)>) -> Json {
    fields.sort_by_key(|(name, _)| *name);
    Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn group_fields(group: &[WrappedKey]) -> Vec<(&'static str, Json)> {
    let mut fields: Vec<(&'static str, Json)> = Vec::new();
    for key in group {
        let name = key.key.kind().name();
        let entry = key_fields(key);
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, Json::Array(list))) => list.push(entry),
            _ => fields.push((name, Json::Array(vec![entry]))),
        }
    }
    fields
}

fn key_fields(key: &WrappedKey) -> Json {
    let text = |text: &String| Json::from(text.clone());
    let mut fields = match &key.key {
        KeyRef::Age { recipient } => vec![("recipient", text(recipient))],
        KeyRef::Pgp { fingerprint } => vec![("fp", text(fingerprint))],
        KeyRef::Kms { arn, role, context, profile } => {
            let mut fields = vec![("arn", text(arn)), ("aws_profile", text(profile))];
            if !role.is_empty() {
                fields.push(("role", text(role)));
            }
            if !context.is_empty() {
                let pairs = context.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
                fields.push(("context", sorted(pairs)));
            }
            fields
        }
        KeyRef::GcpKms { resource_id } => vec![("resource_id", text(resource_id))],
        KeyRef::AzureKv { vault_url, name, version } => {
            vec![("vault_url", text(vault_url)), ("name", text(name)), ("version", text(version))]
        }
        KeyRef::HcVault { address, engine, key } => {
            vec![("vault_address", text(address)), ("engine_path", text(engine)), ("key_name", text(key))]
        }
        KeyRef::Hckms { key_id } => vec![("key_id", text(key_id))],
    };
    fields.push(("enc", text(&key.enc)));
    if let (Some(created_at), true) = (&key.created_at, key.key.kind() != KeyKind::Age) {
        fields.push(("created_at", text(created_at)));
    }
    sorted(fields)
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Scalar(Scalar::Null),
        Json::Bool(value) => Value::Scalar(Scalar::Bool(*value)),
        Json::Number(number) => Value::Scalar(Scalar::Int(number.as_i64().unwrap_or_default())),
        Json::String(text) => Value::Scalar(Scalar::text(text.as_str())),
        Json::Array(items) => {
            Value::List(items.iter().map(|item| Item::Element(Element { start: 0, value: node(item) })).collect())
        }
        Json::Object(map) => Value::Map(map.iter().map(|(key, value)| entry(key, value)).collect()),
    };
    Node::new(0..0, value, Layout::default())
}

fn entry(key: &str, value: &Json) -> Item {
    Item::Entry(Entry { key: key.to_owned(), key_span: 0..0, value: node(value) })
}

/// The items to add to the top level of a tree that is printed from scratch.
pub(super) fn items(metadata: &Metadata, format: Format) -> Vec<Item> {
    let fields = fields(metadata);
    match format {
        Format::Dotenv => {
            flat(&fields, format).iter().map(|(key, text)| entry(&format!("{DOTENV_PREFIX}{key}"), text)).collect()
        }
        Format::Ini => vec![entry(NAME, &Json::Object(flat(&fields, format)))],
        _ => vec![entry(NAME, &Json::Object(fields))],
    }
}

/// `a[0].b` as `a__list_0__map_b`, all values text.
fn flat(fields: &Map<String, Json>, format: Format) -> Map<String, Json> {
    fn walk(path: String, value: &Json, out: &mut Vec<(String, String)>) {
        match value {
            Json::Object(map) => map.iter().for_each(|(key, value)| walk(format!("{path}__map_{key}"), value, out)),
            Json::Array(list) => {
                list.iter().enumerate().for_each(|(index, value)| walk(format!("{path}__list_{index}"), value, out));
            }
            Json::String(text) => out.push((path, text.clone())),
            other => out.push((path, other.to_string())),
        }
    }
    let mut out = Vec::new();
    for (key, value) in fields {
        walk(key.clone(), value, &mut out);
    }
    out.sort();
    // Dotenv has no line breaks in a value: two characters stand for one. INI has them in triple quotes, which every version
    // reads; the two characters, which others write, are more than 3.13.0 and 3.13.1 understand there.
    let text = |text: String| if format == Format::Ini { text } else { text.replace('\n', "\\n") };
    out.into_iter().map(|(key, value)| (key, Json::from(text(value)))).collect()
}

/// The edits that put the block into one document: in place of the old one, else at its end.
pub(super) fn edits(
    metadata: &Metadata,
    source: &[u8],
    branch: &Branch,
    format: Format,
    indent: Indent,
) -> Result<Vec<Edit>, SopsError> {
    let mut edits: Vec<Edit> = Vec::new();
    for (index, item) in branch.items.iter().enumerate() {
        if !metadata::is_metadata(item, format) {
            continue;
        }
        let whole = if branch.flow {
            item.start()..item.end()
        } else {
            splice::removal(source, &branch.items, index, branch.body_end, false)
        };
        edits.push(Edit { span: whole, text: Plaintext::new(Vec::new()) });
    }
    let column = branch.items.iter().find_map(|item| match item {
        Item::Entry(entry) => Some(entry.value.layout.indent),
        _ => None,
    });
    let block = items(metadata, format);
    let in_braces = is_in_braces(branch);
    let text = if in_braces {
        let unit = json_unit(source, branch, indent)?;
        emit_entry(&block, &unit)?
    } else {
        emit_lines(&block, format, column.unwrap_or(0), indent)?
    };
    let text = if format == Format::Yaml || in_braces { with_breaks_of(source, text) } else { text };
    if branch.placeholder.is_some() {
        return Ok(append(source, branch, format, &text));
    }
    match (edits.first_mut(), branch.flow) {
        (Some(first), _) => {
            // A file that ends in the block, without a line break, goes on doing so.
            let cut = !branch.flow && !source.get(..branch.body_end).is_some_and(|part| part.ends_with(b"\n"));
            first.text = if cut { without_break(&text) } else { text };
        }
        (None, false) => edits.extend(append_lines(source, branch, format, text)),
        (None, true) => edits.push(append_flow(source, branch, &text)),
    }
    Ok(edits)
}

/// The edit that adds a block whose text is known already.
pub(super) fn append(source: &[u8], branch: &Branch, format: Format, text: &Plaintext) -> Vec<Edit> {
    if let Some(span) = &branch.placeholder {
        vec![Edit { span: span.clone(), text: without_break(text) }]
    } else if branch.flow {
        vec![append_flow(source, branch, text)]
    } else {
        append_lines(source, branch, format, text.duplicate())
    }
}

/// Whether entries stand in braces: a map without any does not count, since what is added takes the place of its braces.
pub(super) fn is_in_braces(branch: &Branch) -> bool {
    branch.flow && branch.placeholder.is_none()
}

/// The block of a document as it stands, with only the MAC and the time replaced: its layout and fields that are not
/// known here stay. `None` when it cannot be done: braces and lines (`flow`) have no block in common.
pub(super) fn patched(document: &Document, index: usize, flow: bool, metadata: &Metadata) -> Option<Plaintext> {
    let tree = &document.tree;
    let source = tree.source.expose();
    let branch = tree.branches.get(index).or(tree.branches.first())?;
    if branch.flow != flow {
        return None;
    }
    let own: Vec<usize> = (0..branch.items.len())
        .filter(|at| branch.items.get(*at).is_some_and(|i| metadata::is_metadata(i, tree.format)))
        .collect();
    let (first, last) = (*own.first()?, *own.last()?);
    if last - first + 1 != own.len() {
        return None;
    }
    let items = branch.items.get(first..=last)?;
    let start = splice::removal(source, &branch.items, first, branch.body_end, branch.flow).start;
    let span = if branch.flow {
        branch.items.get(first)?.start()..branch.items.get(last)?.end()
    } else {
        start..splice::removal(source, &branch.items, last, branch.body_end, false).end
    };
    let (fields, prefix): (&[Item], &str) = match items {
        [Item::Entry(Entry { value: Node { value: Value::Map(fields), .. }, .. })] => (fields, ""),
        _ if tree.format == Format::Dotenv => (items, DOTENV_PREFIX),
        _ => return None,
    };
    let mut edits = Vec::new();
    for (name, text) in [("mac", &metadata.mac), ("lastmodified", &metadata.last_modified)] {
        let field = fields.iter().find_map(|item| match item {
            Item::Entry(entry) => {
                let key = entry.key.strip_prefix(prefix)?;
                key.eq_ignore_ascii_case(name).then_some(&entry.value)
            }
            _ => None,
        })?;
        let layout = field.layout;
        let text = splice::scalar_over(&Scalar::text(text.as_str()), layout, tree.format)?;
        edits.push(Edit { span: field.span.clone(), text });
    }
    Some(splice::apply(source, span, edits))
}

/// The block behind the last line; in INI behind an empty line as well. A file without a line break at its end has none
/// afterwards, which is how [`removed`] knows.
fn append_lines(source: &[u8], branch: &Branch, format: Format, text: Plaintext) -> Vec<Edit> {
    let at = branch.body_end;
    let before = source.get(branch.span.start..at).unwrap_or_default();
    let (mut out, mut edits) = (Vec::new(), Vec::new());
    let cut = !before.is_empty() && !before.ends_with(b"\n");
    let text = without_break(&text);
    let line_break: &[u8] = if format == Format::Yaml && is_crlf(source) { b"\r\n" } else { b"\n" };
    if cut {
        out.extend_from_slice(line_break);
        // The line break that the block needs would become part of a block scalar that stands last.
        edits.extend(last_scalar(&branch.items).and_then(|node| without_last_break(source, node)));
    }
    // One blank line more, always: what takes the block away takes this line with it.
    if format == Format::Ini && !before.is_empty() {
        out.push(b'\n');
    }
    out.extend_from_slice(text.expose());
    if !cut {
        out.extend_from_slice(line_break);
    }
    edits.push(Edit { span: at..at, text: Plaintext::new(out) });
    edits
}

fn without_break(text: &Plaintext) -> Plaintext {
    let bytes = text.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Plaintext::copy_of(bytes.strip_suffix(b"\r").unwrap_or(bytes))
}

/// The edits that take the block out of a document, with what [`append_lines`] put before it. `opened` is the branch that
/// will be written.
pub(super) fn removed(source: &[u8], branch: &Branch, opened: &Branch, format: Format) -> Vec<Edit> {
    let own = branch.items.iter().enumerate().filter(|(_, item)| metadata::is_metadata(item, format));
    let mut spans: Vec<_> =
        own.map(|(at, _)| splice::removal(source, &branch.items, at, branch.body_end, branch.flow)).collect();
    let ends_file = spans.last().is_some_and(|last| last.end == branch.body_end);
    if let (Some(first), true, false) = (spans.first_mut(), ends_file, branch.flow) {
        let before = source.get(branch.span.start..first.start).unwrap_or_default();
        let mut kept = before;
        if format == Format::Ini && [&b"\n\n"[..], b"\n\r\n"].iter().any(|lines| before.ends_with(lines)) {
            kept = kept.strip_suffix(b"\n").unwrap_or(kept);
            kept = kept.strip_suffix(b"\r").unwrap_or(kept);
        }
        // The last line break of a block scalar belongs to its value.
        let cut = !source.get(..branch.body_end).is_some_and(|part| part.ends_with(b"\n"));
        if cut && !last_scalar(&opened.items).is_some_and(owns_break) {
            kept = kept.strip_suffix(b"\n").unwrap_or(kept);
            kept = kept.strip_suffix(b"\r").unwrap_or(kept);
        }
        first.start -= before.len() - kept.len();
    }
    spans.into_iter().map(|span| Edit { span, text: Plaintext::new(Vec::new()) }).collect()
}

/// Sets the chomping of a block scalar without a final line break to "strip". Where the scalar is rewritten as a whole,
/// that edit wins.
fn without_last_break(source: &[u8], node: &Node) -> Option<Edit> {
    let Value::Scalar(Scalar::Text(text)) = &node.value else { return None };
    let start = node.span.start;
    let header = source.get(start..)?.split(|byte| *byte == b'\n').next()?;
    if !matches!(header.first(), Some(b'|' | b'>')) || text.expose().ends_with(b"\n") {
        return None;
    }
    let header = header.split(|byte| byte.is_ascii_whitespace()).next()?;
    let span = match header.iter().position(|byte| matches!(byte, b'+' | b'-')) {
        Some(at) => start + at..start + at + 1,
        None => start + 1..start + 1,
    };
    Some(Edit { span, text: Plaintext::copy_of(b"-") })
}

/// After the last item, with a comma, in the layout of the items before it.
fn append_flow(source: &[u8], branch: &Branch, text: &Plaintext) -> Edit {
    let last = branch.items.iter().rev().find(|item| !matches!(item, Item::Comment(_)));
    let mut out = Vec::new();
    let at = match last {
        Some(last) => {
            out.extend_from_slice(splice::comma(source, last));
            let start = source.get(..last.start()).unwrap_or_default();
            let lead: Vec<u8> = start.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).copied().collect();
            if lead.contains(&b'\n') {
                out.extend(lead.iter().rev());
            } else {
                out.push(b' ');
            }
            last.end()
        }
        None => branch.body_end,
    };
    out.extend_from_slice(text.expose());
    Edit { span: at..at, text: Plaintext::new(out) }
}

/// What one level of a JSON file is indented by: `None` for a file on one line.
fn json_unit(source: &[u8], branch: &Branch, indent: Indent) -> Result<Option<String>, EmitError> {
    let Some(first) = branch.items.iter().find(|item| !matches!(item, Item::Comment(_))) else {
        return indent.json_unit().map(Some);
    };
    let before = source.get(..first.start()).unwrap_or_default();
    let Some(lead) = before.iter().rposition(|byte| *byte == b'\n').and_then(|at| before.get(at + 1..)) else {
        return Ok(None);
    };
    Ok(lead.iter().all(|byte| matches!(byte, b' ' | b'\t')).then(|| String::from_utf8_lossy(lead).into_owned()))
}
