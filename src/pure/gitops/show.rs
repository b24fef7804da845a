//! What a document looks like on standard output: as it stands, opened, converted, redacted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::StageError;
use super::object::{Header, elements, entries};
use crate::pure::desired::DesiredSecret;
use crate::pure::format::{self, Branch, Comment, Element, Entry, Format, Indent, Item, Node, Scalar, Value};
use crate::pure::secret::Plaintext;
use crate::pure::sops::SopsError;

/// How documents are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    /// YAML keeps the bytes of every file; JSON prints each object anew.
    pub json: bool,
    /// Values of Secrets and everything that was decrypted are replaced by their length.
    pub redact: bool,
}

/// Layout of what is printed anew, as `kubectl` prints it.
const INDENT: Indent = Indent { yaml: Some(2), json: Some(2), json_binary: Some(2) };

impl Show {
    fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Yaml }
    }

    /// A plain document. `None`: its bytes as they stand.
    pub(super) fn plain(self, branch: &Branch) -> Result<Option<Plaintext>, StageError> {
        let hide = self.redact && holds_secret(&branch.items);
        if !self.json && !hide {
            return Ok(None);
        }
        if branch.items.is_empty() {
            return Ok(Some(Plaintext::new(vec![])));
        }
        if hide { self.print(&redacted(branch)) } else { self.print(branch) }.map(Some)
    }

    /// A document that was opened. `text` gives it in the layout of its file.
    pub(super) fn opened(
        self,
        branch: &Branch,
        text: impl FnOnce() -> Result<Plaintext, SopsError>,
    ) -> Result<Plaintext, StageError> {
        match self {
            Self { redact: true, .. } => self.print(&redacted(branch)),
            Self { json: true, .. } => self.print(branch),
            _ => Ok(text()?),
        }
    }

    /// A Secret that was made.
    pub fn secret(self, secret: &DesiredSecret) -> Result<Plaintext, StageError> {
        let manifest = secret.manifest(None);
        let tree = format::parse(&manifest, Format::Json)?;
        let Some(branch) = tree.branches.first() else { return Ok(Plaintext::new(vec![])) };
        if self.redact { self.print(&redacted(branch)) } else { self.print(branch) }
    }

    fn print(self, branch: &Branch) -> Result<Plaintext, StageError> {
        let text = format::emit_with(std::slice::from_ref(branch), self.format(), INDENT).map_err(SopsError::Emit)?;
        Ok(text)
    }
}

/// Whether a v1 Secret is in it, also inside a List.
fn holds_secret(items: &[Item]) -> bool {
    Header::of(items).is_secret()
        || members(items).any(|node| matches!(&node.value, Value::Map(map) if holds_secret(map)))
}

/// The objects of a List.
fn members(items: &[Item]) -> impl Iterator<Item = &Node> {
    let list = Header::of(items).kind.ends_with("List");
    entries(items).filter(move |entry| list && entry.key == "items").flat_map(|entry| match &entry.value.value {
        Value::List(items) => elements(items).collect::<Vec<_>>(),
        _ => vec![],
    })
}

/// What of a value is hidden.
#[derive(Clone, Copy, PartialEq)]
enum Hide {
    /// Only what was decrypted.
    Changed,
    /// Every leaf.
    All,
    /// Every leaf, which is base64.
    Base64,
    /// `data` and `stringData` of the Secret that begins here.
    Object,
    /// The Secrets among the objects that are listed here.
    Members,
}

fn redacted(branch: &Branch) -> Branch {
    Branch::of_items(branch.span.clone(), object(&branch.items))
}

fn object(items: &[Item]) -> Vec<Item> {
    let header = Header::of(items);
    let (secret, list) = (header.is_secret(), header.kind.ends_with("List"));
    let rule = |key: &str| match key {
        "data" if secret => Hide::Base64,
        "stringData" if secret => Hide::All,
        "items" if list => Hide::Members,
        _ => Hide::Changed,
    };
    items.iter().map(|item| hidden(item, &rule)).collect()
}

fn hidden(item: &Item, rule: &dyn Fn(&str) -> Hide) -> Item {
    match item {
        Item::Comment(comment) => {
            let text = if comment.changed { length(comment.text.len()) } else { comment.text.duplicate() };
            Item::Comment(Comment { text, span: comment.span.clone(), ..*comment })
        }
        Item::Entry(entry) => Item::Entry(Entry {
            key: entry.key.clone(),
            key_span: entry.key_span.clone(),
            value: node(&entry.value, rule(&entry.key)),
        }),
        Item::Element(element) => {
            Item::Element(Element { start: element.start, value: node(&element.value, rule("")) })
        }
    }
}

fn node(from: &Node, hide: Hide) -> Node {
    let value = match (&from.value, hide) {
        (Value::Map(items), Hide::Object) => Value::Map(object(items)),
        (Value::List(items), Hide::Members) => {
            Value::List(items.iter().map(|item| hidden(item, &|_| Hide::Object)).collect())
        }
        (Value::Map(items), hide) => Value::Map(items.iter().map(|item| hidden(item, &|_| hide)).collect()),
        (Value::List(items), hide) => Value::List(items.iter().map(|item| hidden(item, &|_| hide)).collect()),
        (Value::Scalar(scalar), hide) if from.changed || matches!(hide, Hide::All | Hide::Base64) => {
            Value::Scalar(leaf(scalar, hide == Hide::Base64))
        }
        (other, _) => other.duplicate(),
    };
    Node { value, span: from.span.clone(), tag: None, ..*from }
}

fn leaf(scalar: &Scalar, base64: bool) -> Scalar {
    match scalar {
        Scalar::Null => Scalar::Null,
        Scalar::Text(text) => {
            let decoded = if base64 { STANDARD.decode(text.expose()).ok().map(Plaintext::new) } else { None };
            Scalar::Text(length(decoded.map_or(text.len(), |bytes| bytes.len())))
        }
        // The length of a number or a truth value would say more than its type does.
        _ => Scalar::text("<redacted>"),
    }
}

fn length(bytes: usize) -> Plaintext {
    Plaintext::from(format!("<{bytes} bytes>"))
}
