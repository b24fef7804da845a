//! Opening: data key, every value under its own authentication, and the MAC over all of them.

use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::cipher::{Cipher, CipherError};
use super::error::SopsError;
use super::unlock::Unlock;
use super::walk::{CommentLeaf, Leaf, Place, Visit, unwritable, walk};
use super::{Document, block, carrier, edit, ini_comments, metadata, value};
use crate::pure::desired::Proof;
use crate::pure::format::{
    self, Branch, Comment, Entry, Format, Indent, Item, Layout, Node, Scalar, Value, place, splice,
};
use crate::pure::keys::DataKey;
use crate::pure::secret::Plaintext;

/// Whether the MAC decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacPolicy {
    /// The only policy of the operator and the pipeline.
    Verify,
    /// A person asked for it on the command line (`--ignore-mac`). What is opened so gives no [`Proof`].
    IgnoreOnUsersRequest,
}

/// An opened file. No `Debug`.
pub struct Opened<'d> {
    document: &'d Document,
    branches: Vec<Branch>,
    key: DataKey,
    verified: bool,
}

/// Opens a file with the keys at hand: unwraps the data key, decrypts every value, verifies the MAC.
///
/// # Errors
/// No key opens ([`SopsError::Keys`] with what was tried), a value that was tampered with (its path and line), a missing
/// or different MAC.
pub fn open<'d>(document: &'d Document, keys: &dyn Unlock) -> Result<Opened<'d>, SopsError> {
    open_with_key(document, keys.unlock(document)?, MacPolicy::Verify)
}

/// Opens a file whose data key is known.
pub fn open_with_key(document: &Document, key: DataKey, policy: MacPolicy) -> Result<Opened<'_>, SopsError> {
    let metadata = &document.metadata;
    if metadata.mac.is_empty() && policy == MacPolicy::Verify {
        return Err(SopsError::MacMissing);
    }
    let cipher = Cipher::new(&key);
    let mut opener = Opener { cipher: &cipher, mac: Mac::new(metadata.mac_only_encrypted) };
    let tree = &document.tree;
    let mut branches = walk(&tree.branches, tree.source.expose(), tree.format, &metadata.selector, &mut opener)?;
    if tree.format == Format::Ini {
        ini_comments::part(&mut branches);
    }
    if policy == MacPolicy::Verify {
        opener.mac.verify(&cipher, metadata)?;
    }
    Ok(Opened { document, branches, key, verified: policy == MacPolicy::Verify })
}

/// The hash over the values: no names, no separators, no types; comments and null do not count.
pub(super) struct Mac {
    hash: Sha512,
    only_encrypted: bool,
}

impl Mac {
    pub(super) fn new(only_encrypted: bool) -> Self {
        let mut hash = Sha512::new();
        if only_encrypted {
            // A file cannot be turned from one way of hashing to the other.
            hash.update(Sha256::digest(b"sops"));
        }
        Self { hash, only_encrypted }
    }

    pub(super) fn add(&mut self, bytes: &[u8], encrypted: bool) {
        if encrypted || !self.only_encrypted {
            self.hash.update(bytes);
        }
    }

    /// 128 upper-case hexadecimal digits.
    pub(super) fn text(self) -> String {
        hex::encode_upper(self.hash.finalize())
    }

    fn verify(self, cipher: &Cipher, metadata: &metadata::Metadata) -> Result<(), SopsError> {
        let aad = metadata.mac_aad().ok_or(SopsError::MacDamaged)?;
        let (stored, _) = cipher.open_text(metadata.mac.as_bytes(), &aad).map_err(|_| SopsError::MacDamaged)?;
        if bool::from(stored.expose().ct_eq(self.text().as_bytes())) { Ok(()) } else { Err(SopsError::MacMismatch) }
    }
}

struct Opener<'c> {
    cipher: &'c Cipher,
    mac: Mac,
}

impl Visit for Opener<'_> {
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
        let entry = || place.entry();
        let clear = |opener: &mut Self| {
            if let Some((_, bytes)) = value::to_bytes(scalar) {
                opener.mac.add(bytes.expose(), false);
            }
            Leaf::Same
        };
        if matches!(scalar, Scalar::Unsigned(_)) {
            return Err(SopsError::NumberRange { entry: entry(), line: place.line() });
        }
        if !place.encrypted {
            return Ok(clear(self));
        }
        let text = match scalar {
            // Never encrypted: null, and the empty string, which adds nothing to the hash.
            Scalar::Null => return Ok(Leaf::Same),
            Scalar::Text(text) if text.is_empty() => return Ok(Leaf::Same),
            Scalar::Text(text) => text,
            _ => return Err(SopsError::NotEncrypted { entry: entry(), line: place.line() }),
        };
        let (bytes, kind) = self.cipher.open_text(text.expose(), &place.aad()).map_err(|error| match error {
            CipherError::NotEncrypted => SopsError::NotEncrypted { entry: entry(), line: place.line() },
            CipherError::Damaged => SopsError::Damaged { entry: entry(), line: place.line() },
        })?;
        if kind == "comment" {
            // SOPS writes the comments of a list as its elements.
            if place.in_list {
                return Ok(Leaf::Comment(bytes));
            }
            return Err(SopsError::Type { entry: entry(), line: place.line(), kind: "value".into() });
        }
        let opened = value::from_bytes(kind, bytes).ok_or_else(|| {
            let is_name = kind.bytes().all(|b| b.is_ascii_lowercase()) && kind.len() < 10;
            let kind = if is_name { kind } else { "value" }.to_owned();
            SopsError::Type { entry: entry(), line: place.line(), kind }
        })?;
        if let Some((_, bytes)) = value::to_bytes(&opened) {
            self.mac.add(bytes.expose(), true);
        }
        Ok(Leaf::Changed(opened))
    }

    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
        // What the selector leaves clear stays clear: what was opened here would be written in clear the next time.
        if !place.encrypted {
            return Ok(None);
        }
        // A formatter may have put a blank behind the comment character.
        let text = comment.text.expose().trim_ascii_start();
        // What opens at no place is clear, as in files from before comments were encrypted.
        for aad in place.comment_aads() {
            match self.cipher.open_text(text, &aad) {
                Ok((text, _)) => return Ok(Some(CommentLeaf { text, element: false })),
                Err(CipherError::NotEncrypted) => return Ok(None),
                Err(CipherError::Damaged) => {}
            }
        }
        Ok(None)
    }
}

/// The entries of an INI file as another format shows them: with the section of keys that stand before any other, even
/// where it is empty. `None`: as they are.
pub(super) fn shown_elsewhere(branches: &[Branch], format: Format, target: Format) -> Option<Vec<Branch>> {
    let has_section = || branches.iter().any(|branch| branch.entry(format::INI_DEFAULT).is_some());
    (format == Format::Ini && target != Format::Ini && !has_section()).then(|| with_default_section(branches))
}

fn with_default_section(branches: &[Branch]) -> Vec<Branch> {
    let with = |branch: &Branch| {
        let value = Node::new(0..0, Value::Map(Vec::new()), Layout::default());
        let section = Item::Entry(Entry { key: format::INI_DEFAULT.to_owned(), key_span: 0..0, value });
        let items = std::iter::once(section).chain(branch.items.iter().map(format::duplicate_item)).collect();
        Branch::of_items(branch.span.clone(), items)
    };
    branches.iter().map(with).collect()
}

impl Opened<'_> {
    /// Evidence for a Secret made of this file.
    ///
    /// # Errors
    /// [`SopsError::MacIgnored`] when the MAC was not verified.
    pub fn proof(&self) -> Result<Proof, SopsError> {
        if self.verified { Ok(Proof::sops_opened()) } else { Err(SopsError::MacIgnored) }
    }

    /// The encrypted file that this was opened from.
    pub fn document(&self) -> &Document {
        self.document
    }

    /// The data key, to seal the file again without new wrapped keys.
    pub fn data_key(&self) -> &DataKey {
        &self.key
    }

    /// The plaintext trees, without the `sops` block, in document order.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The value at a path of the first document, written as `sops decrypt --extract` takes it:
    /// `["stringData"]["password"]`, `["list"][0]`. [`Node::text`] is its text.
    ///
    /// # Errors
    /// [`SopsError::Path`]: there is none.
    pub fn get(&self, path: &str) -> Result<&Node, SopsError> {
        let steps = edit::steps(path)?;
        place::find(&self.branches, &steps).map_err(|error| edit::failure(path, error))
    }

    /// The whole plaintext. With the file's own format the user's formatting is kept byte for byte; another format is
    /// printed anew and holds the first document only, unless it is YAML.
    ///
    /// # Errors
    /// [`SopsError::Emit`]: the target cannot hold the values.
    pub fn emit(&self, target: Format) -> Result<Plaintext, SopsError> {
        self.emit_with(target, Indent::default())
    }

    /// [`Opened::emit`] with an indentation: who asks for one gets it, in the file's own format too, which is printed anew.
    pub fn emit_with(&self, target: Format, indent: Indent) -> Result<Plaintext, SopsError> {
        if target != self.document.format || target == Format::Binary || indent.asks_for(target) {
            let shown = shown_elsewhere(&self.branches, self.document.format, target);
            return Ok(format::emit_with(shown.as_deref().unwrap_or(&self.branches), target, indent)?);
        }
        let mut out = zeroize::Zeroizing::new(Vec::new());
        for index in 0..self.branches.len() {
            out.extend_from_slice(self.emit_document(index)?.expose());
        }
        Ok(Plaintext::new(std::mem::take(&mut *out)))
    }

    /// The plaintext of one document of a stream in the file's own format, its `---` line included. Empty when there is
    /// no such document.
    pub fn emit_document(&self, index: usize) -> Result<Plaintext, SopsError> {
        let tree = &self.document.tree;
        let source = tree.source.expose();
        let (Some(branch), Some(original)) = (self.branches.get(index), tree.branches.get(index)) else {
            return Ok(Plaintext::new(Vec::new()));
        };
        if self.document.format == Format::Binary {
            return Ok(format::emit(&self.branches, Format::Binary)?);
        }
        if branch.items.is_empty() && self.branches.len() == 1 && matches!(tree.format, Format::Yaml | Format::Json) {
            return Ok(Plaintext::copy_of(b"{}\n"));
        }
        let mut edits = splice::changes(branch, source, tree.format, splice::Aliases::Keep)
            .map_err(|error| unwritable(error, source, tree.format))?;
        let mut block = block::removed(source, original, branch, carrier(self.document.format));
        let has_entries = branch.items.iter().any(|item| !matches!(item, Item::Comment(_)));
        let starts = source.get(original.span.clone()).is_some_and(|text| text.starts_with(b"---"));
        if let (Some(first), false, false, 0, 2..) =
            (block.first_mut(), has_entries, starts, index, self.branches.len())
        {
            // Nothing would be left of the first document but the line that begins the second.
            first.text = Plaintext::copy_of(b"{}\n");
        }
        edits.extend(block);
        Ok(splice::apply(source, original.span.clone(), edits))
    }
}
