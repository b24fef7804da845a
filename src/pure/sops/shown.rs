//! A plaintext with its `sops` block in sight, for people who edit both, and taking the two apart again.

use super::block;
use super::error::SopsError;
use super::metadata::{self, Metadata};
use super::open::Opened;
use super::seal::write;
use super::{Document, carrier, check};
use crate::pure::format::{self, Branch, Format, Indent, Item, Scalar, Tree, Value, splice};
use crate::pure::keys::KeyRef;
use crate::pure::secret::Plaintext;

impl Opened<'_> {
    /// The whole plaintext with the `sops` block of the file at its end. A binary file is the JSON that its encrypted form
    /// is.
    ///
    /// # Errors
    /// A binary file that is not UTF-8, which JSON cannot show.
    pub fn emit_with_block(&self) -> Result<Plaintext, SopsError> {
        let document = self.document();
        let plain = self.emit(document.format)?;
        let tree = format::parse(plain.expose(), document.format)?;
        write(
            &tree,
            &tree.branches,
            document.format,
            Indent::default(),
            |_| Ok(document.metadata.clone()),
            Some(document),
        )
    }
}

/// What an edited text of [`Opened::emit_with_block`] asks for.
pub struct EditedBlock {
    /// The plaintext alone.
    pub plain: Tree,
    /// The keys that the file is to have, per group.
    pub groups: Vec<Vec<KeyRef>>,
    /// Groups needed to open; 0 for all.
    pub shamir_threshold: usize,
    /// Whether these are other keys than those of the file, so that the data key has to be wrapped anew.
    pub has_other_keys: bool,
}

/// Takes an edited text of [`Opened::emit_with_block`] apart. Of the block the keys, the groups and the threshold count;
/// a key that is added needs no `enc`.
///
/// # Errors
/// A text that does not parse, a block that is gone or cannot be read, and changes of its other fields, which are not for
/// people to make.
pub fn take_apart(document: &Document, edited: &[u8]) -> Result<EditedBlock, SopsError> {
    let format = carrier(document.format);
    let tree = format::parse(edited, format)?;
    check(&tree)?;
    let first = tree.branches.first().ok_or(SopsError::NotSops)?;
    let new = metadata::read(&metadata::find(first, format)?.ok_or(SopsError::NotSops)?)?;
    let old = &document.metadata;
    let rest = Metadata { groups: old.groups.clone(), shamir_threshold: old.shamir_threshold, ..new.clone() };
    if rest != *old {
        return Err(SopsError::Block { what: "only keys, key groups and shamir_threshold can be changed here" });
    }
    let typed = |key: &KeyRef, enc: &str| {
        let known = old.keys().find(|known| known.key == *key);
        known.is_some_and(|known| !enc.trim().is_empty() && known.enc.trim() != enc.trim())
    };
    if new.keys().any(|key| typed(&key.key, &key.enc)) {
        return Err(SopsError::Block { what: "the enc of a key cannot be typed; leave it, or leave it out" });
    }
    let keys = |metadata: &Metadata| -> Vec<Vec<KeyRef>> {
        metadata.groups.iter().map(|group| group.iter().map(|key| key.key.clone()).collect()).collect()
    };
    let groups = keys(&new);
    let has_other_keys = groups != keys(old) || (groups.len() > 1 && new.shamir_threshold != old.shamir_threshold);
    let plain = plain_of(&tree, document.format)?;
    Ok(EditedBlock { plain, groups, shamir_threshold: new.shamir_threshold, has_other_keys })
}

/// The text without its block.
fn plain_of(tree: &Tree, format: Format) -> Result<Tree, SopsError> {
    let source = tree.source.expose();
    if format == Format::Binary {
        let data = tree.branches.first().and_then(|branch| branch.entry("data")).map(|entry| &entry.value.value);
        let Some(Value::Scalar(Scalar::Text(text))) = data else {
            return Err(SopsError::Block { what: "\"data\" must be a text: it is the content of the file" });
        };
        return Ok(format::parse(text.expose(), format)?);
    }
    let mut out = zeroize::Zeroizing::new(Vec::new());
    for branch in &tree.branches {
        let own = branch.items.iter().filter(|item| !metadata::is_metadata(item, format)).map(format::duplicate_item);
        let own: Vec<Item> = own.collect();
        let without = Branch::of_items(branch.span.clone(), own);
        let edits = block::removed(source, branch, &without, format);
        out.extend_from_slice(splice::apply(source, branch.span.clone(), edits).expose());
    }
    Ok(format::parse(&out, format)?)
}
