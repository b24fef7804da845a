//! The order in which SOPS visits a file: depth first, with the path of names and the comments of each level. Opening
//! and sealing are two visitors of the same walk.

use super::error::SopsError;
use super::metadata::is_metadata;
use super::selector::Selector;
use crate::pure::format::splice::Unwritable;
use crate::pure::format::{
    Branch, Comment, Element, EmitError, Entry, Format, Item, Node, Scalar, Span, Value, line_of,
};

/// What is done with each leaf.
pub(super) trait Visit {
    /// A value; `encrypted` is the selector's word. Returns what stands there afterwards.
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError>;
    /// A comment; the text that stands there afterwards, if it changes. The comment's own path is that of its parent.
    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError>;
}

/// Result of a visited value.
pub(super) enum Leaf {
    /// The same as before.
    Same,
    /// Another scalar.
    Changed(Scalar),
    /// The element of a list is a comment.
    Comment(crate::pure::secret::Plaintext),
}

/// Result of a visited comment that changes.
pub(super) struct CommentLeaf {
    pub text: crate::pure::secret::Plaintext,
    /// Becomes an element of its list.
    pub element: bool,
}

/// Where a leaf stands.
pub(super) struct Place<'w> {
    pub path: &'w [String],
    pub encrypted: bool,
    pub in_list: bool,
    pub span: &'w Span,
    source: &'w [u8],
    document: usize,
    /// Path of the value visited before this one, for comments that a reader hangs elsewhere.
    previous: &'w [String],
}

impl Place<'_> {
    /// Additional data of the leaf: names joined and closed with colons.
    pub(super) fn aad(&self) -> String {
        aad(self.path)
    }

    /// Additional data under which a comment at this place may have been encrypted: that of its parent, and of the places
    /// where another reader may have hung it: outer levels, and the levels of the value before it. Never that value's own,
    /// or its ciphertext could be passed off as a comment. Authentication tells the right one.
    pub(super) fn comment_aads(&self) -> impl Iterator<Item = String> {
        let outer = (0..=self.path.len()).rev().filter_map(|length| self.path.get(..length));
        let before = (1..self.previous.len()).rev().filter_map(|length| self.previous.get(..length));
        outer.chain(before).map(aad)
    }

    /// Name for errors: document number from 1 where it is not the first, then the path.
    pub(super) fn entry(&self) -> String {
        let path = if self.path.is_empty() { "(top level)".to_owned() } else { self.path.join(".") };
        if self.document == 0 { path } else { format!("{path} of document {}", self.document + 1) }
    }

    pub(super) fn line(&self) -> usize {
        line_of(self.source, self.span.start)
    }
}

/// The error of a value that could not be written, named by its line.
pub(super) fn unwritable(error: Unwritable, source: &[u8], format: Format) -> SopsError {
    EmitError::NotFinite { format, entry: format!("on line {}", line_of(source, error.at)) }.into()
}

fn aad(path: &[String]) -> String {
    format!("{}:", path.join(":"))
}

/// Walks `branches` and returns what they are afterwards, with changed nodes marked. Items of the `sops` block are left
/// out of the walk and of the result.
pub(super) fn walk(
    branches: &[Branch],
    source: &[u8],
    format: Format,
    selector: &Selector,
    visit: &mut dyn Visit,
) -> Result<Vec<Branch>, SopsError> {
    let mut out = Vec::with_capacity(branches.len());
    for (document, branch) in branches.iter().enumerate() {
        let mut walker = Walker { source, document, selector, visit, path: vec![], comments: vec![], previous: vec![] };
        let top: Vec<&Item> = branch.items.iter().filter(|item| !is_metadata(item, format)).collect();
        let items = walker.items(&top, false)?;
        let (span, placeholder) = (branch.span.clone(), branch.placeholder.clone());
        out.push(Branch { items, span, placeholder, duplicate: None, ..*branch });
    }
    Ok(out)
}

struct Walker<'w> {
    source: &'w [u8],
    document: usize,
    selector: &'w Selector,
    visit: &'w mut dyn Visit,
    path: Vec<String>,
    comments: Vec<Vec<Vec<u8>>>,
    previous: Vec<String>,
}

impl Walker<'_> {
    fn items(&mut self, items: &[&Item], in_list: bool) -> Result<Vec<Item>, SopsError> {
        self.comments.push(Vec::new());
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            out.push(match item {
                Item::Comment(comment) => match items.get(index + 1).and_then(|next| self.emptied(comment, next)) {
                    Some(name) => {
                        self.path.push(name.to_owned());
                        let item = self.comment(comment, in_list);
                        self.path.pop();
                        item?
                    }
                    None => self.comment(comment, in_list)?,
                },
                Item::Entry(entry) => {
                    self.path.push(entry.key.clone());
                    let item = self.node(&entry.value, entry.key_span.start, false, |value| {
                        Item::Entry(Entry { key: entry.key.clone(), key_span: entry.key_span.clone(), value })
                    });
                    self.path.pop();
                    item?
                }
                Item::Element(element) => self.node(&element.value, element.start, true, |value| {
                    Item::Element(Element { start: element.start, value })
                })?,
            });
            if let (false, Some(level)) = (matches!(item, Item::Comment(_)), self.comments.last_mut()) {
                level.clear();
            }
        }
        self.comments.pop();
        Ok(out)
    }

    /// The name of the empty map or list on whose line the comment stands, which has no items to stand among: to yaml.v3
    /// it is inside.
    fn emptied<'i>(&self, comment: &Comment, next: &'i Item) -> Option<&'i str> {
        let Item::Entry(Entry { key, value: Node { value, span, layout, .. }, .. }) = next else { return None };
        let (Value::Map(items) | Value::List(items)) = value else { return None };
        let between = self.source.get(span.end..comment.span.start)?;
        let is_inside = items.is_empty()
            && !layout.alias
            && !comment.own_line
            && !between.is_empty()
            && between.iter().all(|byte| b" \t,".contains(byte));
        is_inside.then_some(key.as_str())
    }

    fn comment(&mut self, comment: &Comment, in_list: bool) -> Result<Item, SopsError> {
        if let Some(level) = self.comments.last_mut() {
            level.push(comment.text.expose().to_vec());
        }
        let encrypted = self.selector.selects(&self.path, &self.comments, true);
        let place = Place {
            path: &self.path,
            encrypted,
            in_list,
            span: &comment.span,
            source: self.source,
            document: self.document,
            previous: &self.previous,
        };
        let base = Comment { text: comment.text.duplicate(), span: comment.span.clone(), ..*comment };
        Ok(Item::Comment(match self.visit.comment(comment, &place)? {
            None => base,
            Some(leaf) => Comment { text: leaf.text, changed: true, element: leaf.element, ..base },
        }))
    }

    fn node(
        &mut self,
        node: &Node,
        start: usize,
        in_list: bool,
        wrap: impl FnOnce(Node) -> Item,
    ) -> Result<Item, SopsError> {
        let same = |value| Node { span: node.span.clone(), tag: node.tag.clone(), value, ..*node };
        match &node.value {
            Value::Map(items) => {
                let items = self.items(&items.iter().collect::<Vec<_>>(), false)?;
                Ok(wrap(same(Value::Map(items))))
            }
            Value::List(items) => {
                let items = self.items(&items.iter().collect::<Vec<_>>(), true)?;
                Ok(wrap(same(Value::List(items))))
            }
            Value::Scalar(scalar) => {
                let encrypted = self.selector.selects(&self.path, &self.comments, false);
                let place = Place {
                    path: &self.path,
                    encrypted,
                    in_list,
                    span: &node.span,
                    source: self.source,
                    document: self.document,
                    previous: &self.previous,
                };
                let leaf = self.visit.scalar(scalar, &place)?;
                self.previous.clone_from(&self.path);
                Ok(match leaf {
                    Leaf::Same => wrap(same(Value::Scalar(scalar.duplicate()))),
                    Leaf::Changed(scalar) => wrap(Node { changed: true, ..same(Value::Scalar(scalar)) }),
                    Leaf::Comment(text) => Item::Comment(Comment {
                        text,
                        span: start..node.span.end,
                        own_line: true,
                        changed: true,
                        element: false,
                    }),
                })
            }
        }
    }
}
