//! SOPS files: parse, say who can open them, open with the MAC verified over the original bytes, emit.
//!
//! ```
//! use latchwork::pure::{format::Format, keys::age::Identities, sops};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = include_bytes!("../../../tests/vectors/sops/default/yaml/encrypted.yaml");
//! # let identity = include_str!("../../../tests/vectors/sops/keys.txt");
//! let document = sops::parse(bytes, Format::Yaml)?;         // ciphertext only: may be cached and printed
//! let identities = Identities::parse(identity, "keys.txt")?;
//! let opened = sops::open(&document, &identities)?;         // every value authenticated, the MAC verified
//! let plain = opened.emit(Format::Yaml)?;                   // the file as it was, without ciphertext
//! # assert!(plain.expose_str().is_some_and(|text| !text.contains("ENC[")));
//! # Ok(()) }
//! ```

mod block;
mod cipher;
mod edit;
mod error;
mod merge;
mod metadata;
mod open;
mod pattern;
mod recipients;
pub mod rules;
mod seal;
mod selector;
mod stream;
mod unlock;
mod value;
mod walk;

pub use edit::Edit;
pub use error::{KeyReport, SopsError, Tried, WrapFailure};
pub use merge::{MergeError, MergedFile, merge};
pub use metadata::Metadata;
pub use open::{MacPolicy, Opened, open, open_with_key};
pub use pattern::Pattern;
pub use recipients::{KeyChange, key_change, same_key};
pub use seal::{CLAIMED_VERSION, Plan, Random, Wrap, reseal, rewrap, rotate, seal, wrap_local};
pub use selector::{DEFAULT_UNENCRYPTED_SUFFIX, Selector};
pub use stream::{Part, PartKind, format_of, parts};
pub use unlock::{DecryptionOrder, DuplicateKind, Unlock, Unlocking, unlock};

use std::fmt;

use super::format::{self, Format, Tree};
use super::keys::WrappedKey;

/// An encrypted file: ciphertext, clear values and public facts. May be cached and printed.
pub struct Document {
    pub(super) tree: Tree,
    pub(super) format: Format,
    pub(super) metadata: Metadata,
}

impl Document {
    /// Format of the plaintext. A binary file is JSON while it is encrypted.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The `sops` block; in a stream, that of the first document.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every wrapped key of the file, all groups.
    pub fn recipients(&self) -> impl Iterator<Item = &WrappedKey> {
        self.metadata.keys()
    }

    /// Number of YAML documents; 1 in every other format.
    pub fn len(&self) -> usize {
        self.tree.branches.len()
    }

    /// Whether there is no document at all, which no file has.
    pub fn is_empty(&self) -> bool {
        self.tree.branches.is_empty()
    }

    /// The bytes it was parsed from.
    pub fn bytes(&self) -> &[u8] {
        self.tree.source.expose()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipients: Vec<String> = self.recipients().map(|key| key.key.to_string()).collect();
        f.debug_struct("Document")
            .field("format", &self.format)
            .field("documents", &self.len())
            .field("bytes", &self.bytes().len())
            .field("recipients", &recipients)
            .finish_non_exhaustive()
    }
}

/// What the encrypted form of a format is written in: binary files are wrapped in JSON.
fn carrier(format: Format) -> Format {
    if format == Format::Binary { Format::Json } else { format }
}

/// Whether the bytes are a SOPS file, by structure: they parse as `format` and have a `sops` block with the fields that
/// every version writes. Bytes that do not parse are none. In a stream of YAML documents one block is enough.
pub fn is_sops(bytes: &[u8], format: Format) -> bool {
    let carrier = carrier(format);
    let Ok(tree) = format::parse(bytes, carrier) else { return false };
    tree.branches.iter().any(|branch| !matches!(metadata::find(branch, carrier), Ok(None)))
}

/// Reads an encrypted file. Nothing is decrypted and no key is needed.
///
/// # Errors
/// Bytes that do not parse, have no `sops` block or a broken one, an invalid selector pattern, a name that occurs twice
/// in a map of the first document, names that are not strings, limits.
pub fn parse(bytes: &[u8], format: Format) -> Result<Document, SopsError> {
    let carrier = carrier(format);
    let tree = format::parse(bytes, carrier)?;
    let first = tree.branches.first().ok_or(SopsError::NotSops)?;
    let metadata = metadata::read(&metadata::find(first, carrier)?.ok_or(SopsError::NotSops)?)?;
    check(&tree)?;
    Ok(Document { tree, format, metadata })
}

/// What SOPS refuses in any file that it reads. Later documents of a stream may have duplicate names, as there.
pub(super) fn check(tree: &Tree) -> Result<(), SopsError> {
    for (index, branch) in tree.branches.iter().enumerate() {
        if let Some(line) = branch.odd_key {
            return Err(SopsError::OddKey { line });
        }
        // SOPS keeps and hashes duplicate names in JSON and in later documents of a stream.
        let strict = index == 0 && tree.format != Format::Json;
        if let (true, Some((key, line))) = (strict, &branch.duplicate) {
            return Err(SopsError::DuplicateKey { key: key.clone(), line: *line });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
