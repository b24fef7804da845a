//! The tree that every format is read into: ordered items with the spans they came from.

use std::ops::Range;

use super::Format;
use crate::pure::secret::Plaintext;

/// Byte range in the source of a [`Tree`].
pub type Span = Range<usize>;

/// A file: its bytes and what was read from them.
pub struct Tree {
    /// What the bytes were read as.
    pub format: Format,
    /// The bytes, complete and unchanged.
    pub source: Plaintext,
    /// The documents; exactly one in every format but YAML.
    pub branches: Vec<Branch>,
}

/// One document.
pub struct Branch {
    /// All bytes of the document, its `---` line included. The spans of all branches follow each other without a gap.
    pub span: Span,
    /// Where the content ends: before a `...` line or the closing brace, else the end of the span.
    pub body_end: usize,
    /// The top-level map in document order.
    pub items: Vec<Item>,
    /// The top level is written in braces.
    pub flow: bool,
    /// What stands for no entries at all: the braces of `{}`, or a written null. Entries that are added take its place.
    pub placeholder: Option<Span>,
    /// The first key that occurs twice in one map: its name and line.
    pub duplicate: Option<(String, usize)>,
    /// The first map key that is not a string.
    pub odd_key: Option<OddKey>,
}

/// A map key that is not a string.
#[derive(Clone, Copy, Debug)]
pub struct OddKey {
    /// Its line.
    pub line: usize,
    /// A map or a list, and no scalar.
    pub is_collection: bool,
}

impl Branch {
    /// The tree of a plain binary file: one value named `data`, as SOPS has it.
    pub fn binary(bytes: &[u8]) -> Self {
        let node = Node::new(0..bytes.len(), Value::Scalar(Scalar::Text(Plaintext::copy_of(bytes))), Layout::default());
        let entry = Entry { key: "data".into(), key_span: 0..0, value: node };
        Self::of_items(0..bytes.len(), vec![Item::Entry(entry)])
    }

    /// A document with these items and nothing remarkable.
    pub fn of_items(span: Span, items: Vec<Item>) -> Self {
        Self { body_end: span.end, span, items, flow: false, placeholder: None, duplicate: None, odd_key: None }
    }

    /// The first entry of that name.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.items.iter().find_map(|item| match item {
            Item::Entry(entry) if entry.key == key => Some(entry),
            _ => None,
        })
    }
}

/// What a map or a list is made of.
pub enum Item {
    /// A comment, in a map or a list.
    Comment(Comment),
    /// A named value of a map.
    Entry(Entry),
    /// A value of a list.
    Element(Element),
}

impl Item {
    /// Offset of the item's first byte (the `#`, the key, the dash).
    pub fn start(&self) -> usize {
        match self {
            Self::Comment(comment) => comment.span.start,
            Self::Entry(entry) => entry.key_span.start,
            Self::Element(element) => element.start,
        }
    }

    /// Offset after the item's last byte, not counting a line break.
    pub fn end(&self) -> usize {
        match self {
            Self::Comment(comment) => comment.span.end,
            Self::Entry(entry) => entry.value.end().max(entry.key_span.end),
            Self::Element(element) => element.value.end(),
        }
    }
}

/// One comment line.
pub struct Comment {
    /// The text after the comment character; a leading blank belongs to it.
    pub text: Plaintext,
    /// From the comment character to the end of the text; in a tree that was opened, the span that it replaces.
    pub span: Span,
    /// Stands alone on its line.
    pub own_line: bool,
    /// Differs from the source and must be written.
    pub changed: bool,
    /// Is written as an element of its list: SOPS encrypts the comments of a list that way.
    pub element: bool,
}

/// A name and its value.
pub struct Entry {
    /// Decoded name.
    pub key: String,
    /// Where the name stands, quotes included.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// An item of a list.
pub struct Element {
    /// Offset of the dash, or of the value in a list in brackets.
    pub start: usize,
    /// The value.
    pub value: Node,
}

/// Where a node stands, as far as rewriting it needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Inside braces or brackets: no block scalars, no line breaks.
    pub flow: bool,
    /// Column of the key or dash that the value belongs to, in characters.
    pub indent: usize,
    /// An alias stands here: the value was written elsewhere, under an anchor.
    pub alias: bool,
}

/// A value and where it stands.
pub struct Node {
    /// The bytes of the value, without tag and anchor; a block scalar with its header.
    pub span: Span,
    /// An explicit tag before the value.
    pub tag: Option<Span>,
    /// The value.
    pub value: Value,
    /// How it may be rewritten.
    pub layout: Layout,
    /// Differs from the source and must be written.
    pub changed: bool,
    /// For an alias: where the span of what it stands for starts.
    pub anchor: Option<usize>,
}

impl Node {
    /// An unchanged, untagged node.
    pub fn new(span: Span, value: Value, layout: Layout) -> Self {
        Self { span, tag: None, value, layout, changed: false, anchor: None }
    }

    /// A deep copy, for aliases.
    pub fn duplicate(&self) -> Self {
        Self { span: self.span.clone(), tag: self.tag.clone(), value: self.value.duplicate(), ..*self }
    }

    /// The value of a scalar as text alone, numbers and truth values as dotenv writes them. `None` for null, a map, a list.
    pub fn text(&self) -> Option<Plaintext> {
        match &self.value {
            Value::Scalar(scalar) => super::plain_text(scalar),
            _ => None,
        }
    }

    /// Offset after the last byte of the value or of its last descendant.
    pub fn end(&self) -> usize {
        self.span.end
    }

    /// Number of scalars, maps and lists in it.
    pub fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::Map(items) | Value::List(items) => 1 + items.iter().map(item_size).sum::<usize>(),
        }
    }
}

fn item_size(item: &Item) -> usize {
    match item {
        Item::Comment(_) => 1,
        Item::Entry(entry) => entry.value.size(),
        Item::Element(element) => element.value.size(),
    }
}

/// A scalar, a map or a list.
pub enum Value {
    /// A leaf.
    Scalar(Scalar),
    /// Comments and entries.
    Map(Vec<Item>),
    /// Comments and elements.
    List(Vec<Item>),
}

impl Value {
    /// A deep copy, for aliases.
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Scalar(scalar) => Self::Scalar(scalar.duplicate()),
            Self::Map(items) => Self::Map(items.iter().map(duplicate_item).collect()),
            Self::List(items) => Self::List(items.iter().map(duplicate_item).collect()),
        }
    }
}

/// A deep copy of an item.
pub(in crate::pure) fn duplicate_item(item: &Item) -> Item {
    match item {
        Item::Comment(comment) => {
            Item::Comment(Comment { text: comment.text.duplicate(), span: comment.span.clone(), ..*comment })
        }
        Item::Entry(entry) => Item::Entry(Entry {
            key: entry.key.clone(),
            key_span: entry.key_span.clone(),
            value: entry.value.duplicate(),
        }),
        Item::Element(element) => Item::Element(Element { start: element.start, value: element.value.duplicate() }),
    }
}

/// A leaf with the type that Go's readers give it: the type decides what is hashed and what `type:` is written.
pub enum Scalar {
    /// Never encrypted, never hashed.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Fits in 64 bits with sign.
    Int(i64),
    /// Above the range of `Int`: SOPS cannot represent it.
    Unsigned(u64),
    /// Everything else that is a number.
    Float(f64),
    /// A timestamp, as RFC 3339 with as many fraction digits as needed.
    Time(String),
    /// Text, or raw bytes where the format cannot say more.
    Text(Plaintext),
}

impl Scalar {
    /// Text that is not secret: what is written by the program itself.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Plaintext::from(text.into()))
    }

    /// A copy, for aliases.
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::Bool(value) => Self::Bool(*value),
            Self::Int(value) => Self::Int(*value),
            Self::Unsigned(value) => Self::Unsigned(*value),
            Self::Float(value) => Self::Float(*value),
            Self::Time(value) => Self::Time(value.clone()),
            Self::Text(value) => Self::Text(value.duplicate()),
        }
    }
}

/// Line number, from 1, of the byte at `offset`.
pub fn line_of(source: &[u8], offset: usize) -> usize {
    1 + source.iter().take(offset).filter(|byte| **byte == b'\n').count()
}
