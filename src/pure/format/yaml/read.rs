//! Events of the YAML parser into a [`Branch`] with byte spans.
//!
//! Comments become items where SOPS has them: an inline comment stands before the item on its line, a comment on its
//! own line before what follows it, in the collection that yaml.v3 hangs it on ([`super::comments`]).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use zeroize::Zeroizing;

use granit_parser::{Event, Parser, Placement, ScalarStyle, ScanError, StrInput, Tag, options};

use super::{comments, resolve};
use crate::pure::format::{
    Branch, Comment, DocumentSpan, Element, Entry, Format, FormatError, Item, Layout, Node, OddKey, Scalar, Span,
    Value, line_of,
};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// Reads the document at `span` of `source`.
pub(in crate::pure::format) fn read(source: &str, document: &DocumentSpan) -> Result<Branch, FormatError> {
    let text = source.get(document.span.clone()).unwrap_or_default();
    let mut hidden = Hidden::default();
    loop {
        let shown = hidden.in_text(text);
        let mut reader = reader(source, document, shown.as_deref().map_or(text, String::as_str), &hidden.colons);
        let error = match reader.document(document) {
            Ok(branch) => return Ok(branch),
            Err(error) => error,
        };
        let colon = reader.failed_at;
        if !colon.is_some_and(|at| hidden.hide(text, at)) {
            return Err(error);
        }
    }
}

/// Colons that the parser must not see. In braces, to yaml.v3 a colon that a comma or bracket follows is part of the text
/// before it: `{a: b:}` is `{a: "b:"}`. The parser refuses it, and gets another character in its place.
#[derive(Default)]
struct Hidden {
    /// Offsets in the text of the document.
    colons: Vec<usize>,
}

impl Hidden {
    /// Each of them costs another reading of the document.
    const MOST: usize = 64;

    /// Hides the colon at which the parser stopped; `false` when it stopped for another reason.
    fn hide(&mut self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        let is_text = bytes.get(at) == Some(&b':')
            && bytes.get(at + 1).is_some_and(|next| b",]}".contains(next))
            && bytes.get(..at).and_then(<[u8]>::last).is_some_and(|before| !before.is_ascii_whitespace());
        let is_new = is_text && self.colons.len() < Self::MOST && !self.colons.contains(&at);
        if is_new {
            self.colons.push(at);
        }
        is_new
    }

    /// The text without them, if there are any.
    fn in_text(&self, text: &str) -> Option<Zeroizing<String>> {
        let mut shown = (!self.colons.is_empty()).then(|| Zeroizing::new(text.to_owned()))?;
        for at in &self.colons {
            shown.replace_range(*at..at + 1, ".");
        }
        Some(shown)
    }
}

fn reader<'s>(source: &'s str, document: &DocumentSpan, text: &'s str, hidden: &'s [usize]) -> Reader<'s> {
    // libyaml's reading of a last line without a line break, which Go shares.
    let options = options! { block_scalar_eof_without_line_feed: true, max_buffered_comment_events: 100_000 };
    Reader {
        source,
        text,
        hidden,
        failed_at: None,
        base: document.span.start,
        parser: Parser::new_from_str_with_options(text, options),
        pending: Vec::new(),
        homes: None,
        body: document.body_start - document.span.start..document.body_end - document.span.start,
        open: Vec::new(),
        opened: 0,
        cursor: document.body_start - document.span.start,
        nodes: 0,
        anchors: HashMap::new(),
        duplicate: None,
        odd_key: None,
    }
}

struct Pending {
    comment: Comment,
    /// The number of the collection that it hangs on.
    home: usize,
}

struct Reader<'s> {
    source: &'s str,
    text: &'s str,
    /// Offsets in `text` of the colons that stand as something else there.
    hidden: &'s [usize],
    /// Offset in `text` at which the parser stopped.
    failed_at: Option<usize>,
    base: usize,
    parser: Parser<'s, StrInput<'s>>,
    /// Comments that were read and belong to no collection yet.
    pending: Vec<Pending>,
    /// The collections of the comments, once there is one.
    homes: Option<HashMap<usize, usize>>,
    /// Range in `text` without the markers.
    body: Span,
    /// Numbers of the open collections.
    open: Vec<usize>,
    /// How many collections have begun.
    opened: usize,
    /// Offset in `text` after the last token.
    cursor: usize,
    nodes: usize,
    anchors: HashMap<usize, Node>,
    duplicate: Option<(String, usize)>,
    odd_key: Option<OddKey>,
}

struct Found<'s> {
    event: Event<'s>,
    /// Range in `text`.
    range: Span,
    tag: Option<Span>,
    column: usize,
}

impl<'s> Reader<'s> {
    fn document(&mut self, document: &DocumentSpan) -> Result<Branch, FormatError> {
        let (mut items, mut flow, mut placeholder) = (Vec::new(), false, None);
        loop {
            let found = self.next()?;
            match found.event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::MappingStart(style, ..) => {
                    flow = style == granit_parser::StructureStyle::Flow;
                    items = self.collection(flow, 0, 1, true)?;
                    let span = self.base + found.range.start..self.base + self.cursor;
                    // A comment within the braces would go with them.
                    let is_outside = |item: &Item| matches!(item, Item::Comment(c) if !span.contains(&c.span.start));
                    placeholder = (flow && items.iter().all(is_outside)).then_some(span);
                }
                Event::Scalar(ref text, ScalarStyle::Plain, ..)
                    if matches!(resolve::resolve_plain(text), Scalar::Null) =>
                {
                    let Span { start, end } = found.range;
                    placeholder = (start < end).then_some(self.base + start..self.base + end);
                }
                _ => {
                    let line = self.line(found.range.start);
                    return Err(FormatError::NotAMap { format: Format::Yaml, line });
                }
            }
        }
        self.place_comments(&mut items);
        // What stands behind it on its line would end up behind other entries.
        let line =
            |at: usize| self.source.as_bytes().get(at..).and_then(|rest| rest.split(|byte| *byte == b'\n').next());
        let placeholder =
            placeholder.filter(|span: &Span| line(span.end).is_none_or(|rest| rest.trim_ascii().is_empty()));
        let body_end = if flow { self.base + self.cursor.saturating_sub(1) } else { document.body_end };
        Ok(Branch {
            span: document.span.clone(),
            body_end,
            items,
            flow,
            placeholder,
            duplicate: self.duplicate.take(),
            odd_key: self.odd_key.take(),
        })
    }

    /// The next event that is no comment; comments are put aside.
    fn next(&mut self) -> Result<Found<'s>, FormatError> {
        loop {
            let (event, span) = match self.parser.next_event() {
                Some(Ok(found)) => found,
                Some(Err(error)) => return Err(self.syntax(&error)),
                None => return Err(self.error(self.cursor, "the document ends too early")),
            };
            let range = span.byte_range().unwrap_or(self.cursor..self.cursor);
            if let Event::Comment(text, placement) = event {
                let inline = placement == Placement::Right;
                let comment = Comment {
                    text: Plaintext::copy_of(text.as_bytes()),
                    span: self.base + range.start..self.base + range.end,
                    own_line: !inline,
                    changed: false,
                    element: false,
                };
                let homes = self.homes.get_or_insert_with(|| comments::homes(self.text, &self.body, self.base == 0));
                self.pending.push(Pending { comment, home: homes.get(&range.start).copied().unwrap_or_default() });
                continue;
            }
            let tag = span.tag_span().and_then(|tag| tag.byte_range());
            return Ok(Found { event, range, tag, column: span.start.col() });
        }
    }

    /// The items of a map or list up to its end.
    fn collection(&mut self, flow: bool, indent: usize, depth: usize, map: bool) -> Result<Vec<Item>, FormatError> {
        if depth > limits::NESTING_DEPTH {
            return Err(FormatError::TooDeep { line: self.line(self.cursor), limit: limits::NESTING_DEPTH });
        }
        self.open.push(self.opened);
        self.opened += 1;
        let mut items = Vec::new();
        let mut names = Names::default();
        let mut column = None;
        loop {
            let found = self.next()?;
            if matches!(found.event, Event::MappingEnd | Event::SequenceEnd) {
                if flow {
                    self.cursor = self.cursor.max(found.range.end);
                }
                self.place_comments(&mut items);
                self.open.pop();
                return Ok(items);
            }
            self.place_comments(&mut items);
            if map {
                let own = *column.get_or_insert_with(|| self.key_column(&found));
                let entry = self.entry(found, Layout { flow, indent: own, alias: false }, depth, &mut items)?;
                if !names.is_new(&entry.key, &items) && self.duplicate.is_none() {
                    self.duplicate = Some((entry.key.clone(), line_of(self.source.as_bytes(), entry.key_span.start)));
                }
                push(&mut items, Item::Entry(entry));
            } else {
                let (start, own) = if flow { (found.range.start, indent) } else { self.find_dash(found.range.start) };
                let value = self.node(found, Layout { flow, indent: own, alias: false }, depth)?;
                let value = if flow { self.unpaired(value) } else { value };
                push(&mut items, Item::Element(Element { start: self.base + start, value }));
            }
        }
    }

    /// `[x:, y]`: to yaml.v3, `x:` is a text where a comma or bracket follows the colon, and not a name without a value.
    fn unpaired(&self, node: Node) -> Node {
        let Value::Map(items) = &node.value else { return node };
        let [Item::Entry(Entry { key_span, value, .. })] = items.as_slice() else { return node };
        if self.source.as_bytes().get(node.span.start) == Some(&b'{') {
            return node;
        }
        let end = value.span.start;
        let text = self.source.get(key_span.start..end).unwrap_or_default();
        let is_text =
            self.with_colon(key_span, value).is_some() && !text.starts_with(['"', '\'', '?', '{', '[', '&', '!', '*']);
        if !is_text {
            return node;
        }
        let scalar = Scalar::Text(Plaintext::copy_of(text.as_bytes()));
        Node::new(key_span.start..end, Value::Scalar(scalar), node.layout)
    }

    fn entry(
        &mut self,
        found: Found<'s>,
        layout: Layout,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<Entry, FormatError> {
        let start = found.range.start;
        let is_plain = layout.flow && matches!(found.event, Event::Scalar(_, ScalarStyle::Plain, ..));
        let key_node = self.node(found, layout, depth)?;
        let mut found = self.next()?;
        let is_collection = matches!(found.event, Event::MappingStart(..) | Event::SequenceStart(..));
        // Between a key and a nested collection: those that are not the key's belong to what is nested.
        let here = self.open.last().copied().unwrap_or_default();
        let (own, held) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|pending| !is_collection || pending.home == here);
        items.extend(own.into_iter().map(|pending| Item::Comment(pending.comment)));
        self.pending = held;
        if found.range.is_empty() && matches!(found.event, Event::Scalar(..)) {
            // The parser puts a missing value before the colon.
            let colon = self.skip(b" \t\r\n").filter(|at| self.text.as_bytes().get(*at) == Some(&b':'));
            let at = colon.map_or(found.range.start.max(self.cursor), |colon| colon + 1);
            found.range = at..at;
        }
        let value = self.node(found, layout, depth)?;
        if let Some(span) = is_plain.then(|| self.with_colon(&key_node.span, &value)).flatten() {
            let key = self.source.get(span.clone()).unwrap_or_default().to_owned();
            return Ok(Entry { key, key_span: span, value });
        }
        let key = match &key_node.value {
            Value::Scalar(Scalar::Text(text)) => text.expose_str().unwrap_or_default().to_owned(),
            other => {
                let line = line_of(self.source.as_bytes(), self.base + start);
                self.odd_key.get_or_insert(OddKey { line, is_collection: !matches!(other, Value::Scalar(_)) });
                self.source.get(key_node.span.clone()).unwrap_or_default().to_owned()
            }
        };
        Ok(Entry { key, key_span: key_node.span, value })
    }

    /// `{x:, y: 1}`: to yaml.v3 a colon that a comma or bracket follows is part of the name, which has no value. The span of
    /// name and colon.
    fn with_colon(&self, key: &Span, value: &Node) -> Option<Span> {
        let is_missing = matches!(value.value, Value::Scalar(Scalar::Null)) && value.span.is_empty();
        let text = self.source.get(key.start..value.span.start).filter(|_| is_missing)?;
        let next = self.source.as_bytes().get(value.span.start)?;
        let is_name = text.ends_with(':') && !text.contains('\n') && b",]}".contains(next);
        is_name.then_some(key.start..value.span.start)
    }

    fn node(&mut self, found: Found<'s>, layout: Layout, depth: usize) -> Result<Node, FormatError> {
        self.nodes += 1;
        if self.nodes > limits::VALUES_PER_FILE {
            let line = self.line(found.range.start);
            return Err(FormatError::TooManyValues { line, limit: limits::VALUES_PER_FILE });
        }
        match found.event {
            Event::Scalar(text, style, anchor, tag) => {
                let range = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => self.block_scalar(&found.range),
                    _ => found.range,
                };
                let with_colon = self.ends_in_hidden(&range).then(|| {
                    let mut text = Zeroizing::new(text.clone().into_owned());
                    text.pop();
                    text.push(':');
                    text
                });
                let text = with_colon.as_deref().map_or(&*text, String::as_str);
                let value = self.scalar(text, style, tag.as_deref(), range.start)?;
                self.cursor = self.cursor.max(range.end);
                let mut node = Node::new(self.absolute(&range), Value::Scalar(value), layout);
                node.tag = found.tag.map(|tag| self.absolute(&tag));
                self.remember(anchor, &node);
                Ok(node)
            }
            Event::MappingStart(style, anchor, _) | Event::SequenceStart(style, anchor, _) => {
                let map = matches!(found.event, Event::MappingStart(..));
                let flow = style == granit_parser::StructureStyle::Flow;
                if flow {
                    self.cursor = self.cursor.max(found.range.end);
                }
                let items = self.collection(flow, layout.indent, depth + 1, map)?;
                let end = if flow {
                    self.base + self.cursor
                } else {
                    items.last().map_or(self.base + self.cursor, Item::end)
                };
                let span = self.base + found.range.start..end;
                let node = Node::new(span, if map { Value::Map(items) } else { Value::List(items) }, layout);
                self.remember(anchor, &node);
                Ok(node)
            }
            Event::Alias(id) => {
                self.cursor = self.cursor.max(found.range.end);
                let Some(target) = self.anchors.get(&id) else {
                    return Err(self.error(found.range.start, "an alias stands inside its own anchor"));
                };
                self.nodes += target.size();
                let span = self.absolute(&found.range);
                let anchor = target.anchor.or(Some(target.span.start));
                Ok(Node { span, tag: None, layout: Layout { alias: true, ..layout }, anchor, ..target.duplicate() })
            }
            _ => Err(self.error(found.range.start, "a value is missing")),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: usize) -> Result<Scalar, FormatError> {
        let plain = style == ScalarStyle::Plain;
        // The namespace, not the core schema alone: `!!binary` and `!!timestamp` are types, too.
        let scalar = match tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:")) {
            None if plain => Some(resolve::resolve_plain(text)),
            Some(Some(name)) => resolve::resolve_tagged(&name, text),
            // yaml.v3 takes every unknown tag for text, but not "!" alone.
            Some(None) if plain && tag.is_some_and(|tag| matches!(tag.parts(), ("", "!") | ("!", ""))) => {
                Some(resolve::resolve_plain(text))
            }
            _ => Some(Scalar::Text(Plaintext::copy_of(text.as_bytes()))),
        };
        scalar.ok_or_else(|| self.error(at, "the value does not fit its tag"))
    }

    /// A colon can only be hidden at the end of a text.
    fn ends_in_hidden(&self, range: &Span) -> bool {
        !self.hidden.is_empty() && range.end.checked_sub(1).is_some_and(|last| self.hidden.contains(&last))
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.duplicate());
        }
    }

    /// Puts the waiting comments of the innermost open collection at the end of its `items`, an inline one before the item
    /// that it stands behind. Those of a collection that has ended go with them; the others wait.
    fn place_comments(&mut self, items: &mut Vec<Item>) {
        if self.pending.is_empty() {
            return;
        }
        let here = self.open.last().copied();
        for pending in std::mem::take(&mut self.pending) {
            let is_open = self.open.contains(&pending.home);
            if here == Some(pending.home) {
                let behind = matches!(items.last(), Some(Item::Entry(_) | Item::Element(_)));
                let at = items.len() - usize::from(behind && !pending.comment.own_line);
                items.insert(at, Item::Comment(pending.comment));
            } else if here.is_none() || !is_open && pending.home < self.opened {
                place_comment(pending.comment, items);
            } else {
                self.pending.push(pending);
            }
        }
    }

    /// Offset in `text` and column of the dash before the item that starts at `limit`.
    fn find_dash(&mut self, limit: usize) -> (usize, usize) {
        let start = self.skip_to(b"-", b" \t\r\n:?").unwrap_or(limit);
        self.cursor = self.cursor.max((start + 1).min(self.text.len()));
        (start, self.column(start))
    }

    /// Column of a map's first key, with the question mark, tag and anchor before it.
    fn key_column(&self, found: &Found<'s>) -> usize {
        let mark = self.skip(b" \t\r\n:").filter(|at| {
            let before = self.text.as_bytes().get(*at..found.range.start).unwrap_or_default();
            matches!(before, [b'?', b' ' | b'\t' | b'\n' | b'\r', ..])
        });
        if let Some(mark) = mark {
            return self.column(mark);
        }
        // Those on the key's own line: a line before holds the properties of the map.
        let properties = self.skip(b" \t\r\n:?").and_then(|at| {
            let between = self.text.get(at..found.range.start)?;
            let own = between.rsplit('\n').next()?.trim_start_matches([' ', '\t']);
            own.starts_with(['&', '!']).then_some(found.range.start - own.len())
        });
        properties.map_or(found.column, |at| self.column(at))
    }

    fn column(&self, at: usize) -> usize {
        let line_start = self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        self.text.get(line_start..at).map_or(0, |before| before.chars().count())
    }

    /// Offset of the first of `wanted` from the cursor on, if only blanks, comments, anchors and tags stand before it.
    fn skip_to(&mut self, wanted: &[u8], blanks: &[u8]) -> Option<usize> {
        loop {
            let at = self.skip(blanks)?;
            let bytes = self.text.as_bytes();
            match bytes.get(at) {
                Some(byte) if wanted.contains(byte) => return Some(at),
                Some(b'&' | b'!') => {
                    let length = bytes.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_whitespace));
                    self.cursor = at + length.unwrap_or(1);
                }
                _ => return None,
            }
        }
    }

    /// First offset from the cursor on that is neither one of `blanks` nor inside a comment.
    fn skip(&self, blanks: &[u8]) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = self.cursor;
        while let Some(byte) = bytes.get(at) {
            if *byte == b'#' {
                at += bytes.get(at..)?.iter().position(|b| *b == b'\n')?;
            } else if blanks.contains(byte) {
                at += 1;
            } else {
                return Some(at);
            }
        }
        None
    }

    /// The range of a block scalar with its header; the parser gives the content alone.
    fn block_scalar(&mut self, content: &Span) -> Span {
        let start = self.skip_to(b"|>", b" \t\r\n-?:").unwrap_or(content.start);
        let bytes = self.text.as_bytes();
        let line = bytes.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
        let header_end = line.map_or(bytes.len(), |length| start + length);
        let body = self.text.get(header_end..content.end.max(header_end)).unwrap_or_default();
        let end = header_end + body.trim_end_matches([' ', '\t', '\r', '\n']).len();
        // An empty body leaves the header alone.
        let header_text = self.text.get(start..end).unwrap_or_default();
        start..start + header_text.trim_end_matches(['\r', ' ', '\t']).len()
    }

    fn absolute(&self, range: &Span) -> Span {
        self.base + range.start..self.base + range.end
    }

    fn line(&self, offset: usize) -> usize {
        line_of(self.source.as_bytes(), self.base + offset)
    }

    fn error(&self, at: usize, what: &str) -> FormatError {
        FormatError::Syntax { format: Format::Yaml, line: self.line(at), what: what.to_owned() }
    }

    fn syntax(&mut self, error: &ScanError) -> FormatError {
        let at = error.marker().byte_offset().unwrap_or(self.cursor);
        self.failed_at = Some(at);
        // The kind's text names grammar only; it never quotes a scalar.
        self.error(at, &error.kind().to_string())
    }
}

/// Appends an item. A vector begins with room for four, which is more than most maps hold: in a file of many small maps it
/// would be most of the memory.
fn push(items: &mut Vec<Item>, item: Item) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(1));
    }
    items.push(item);
}

/// Tells whether a name is new in its map.
#[derive(Default)]
struct Names {
    /// Hashes of the names, from when on there are many.
    hashes: HashSet<u64>,
    state: RandomState,
}

impl Names {
    /// Names that are compared one by one: no table is needed for fewer.
    const FEW: usize = 16;

    /// Whether no entry among `items` has the name. Called once for each entry, before it is appended.
    fn is_new(&mut self, name: &str, items: &[Item]) -> bool {
        let names =
            || items.iter().filter_map(|item| if let Item::Entry(entry) = item { Some(&*entry.key) } else { None });
        if items.len() < Self::FEW {
            return names().all(|other| other != name);
        }
        if self.hashes.is_empty() {
            self.hashes.extend(names().map(|name| self.state.hash_one(name)));
        }
        // Two names may share a hash.
        self.hashes.insert(self.state.hash_one(name)) || names().all(|other| other != name)
    }
}

pub(in crate::pure) fn place_comment(comment: Comment, items: &mut Vec<Item>) {
    let inline = !comment.own_line;
    let item = Item::Comment(comment);
    if let (true, Some(Item::Entry(Entry { value: Node { value, layout, .. }, .. }))) = (inline, items.last_mut())
        && let (false, Value::Map(inner) | Value::List(inner)) = (layout.alias, value)
        && !inner.is_empty()
    {
        // Behind a closing bracket: yaml.v3 makes it the first comment inside.
        inner.insert(0, item);
        return;
    }
    match items.last() {
        Some(Item::Entry(_) | Item::Element(_)) if inline => {
            let at = items.len() - 1;
            items.insert(at, item);
        }
        _ => items.push(item),
    }
}
