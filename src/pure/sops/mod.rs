//! SOPS files: parse, say who can open them, open with the MAC verified over the original bytes, seal, edit, turn keys.
//!
//! This is a library of its own: `latchwork` with `default-features = false`. It does no I/O and has no global state.
//! Bytes, keys, the time (RFC 3339 in seconds, UTC) and randomness are arguments, so every function gives the same answer
//! for the same arguments. What it prints keeps the user's formatting byte for byte.
//!
//! # Open
//! A [`Document`] holds ciphertext and public facts only: it may be cached and printed. [`Document::recipients`] says who
//! can open it, [`rules::Config`] what `.sops.yaml` wants for it, [`key_change`] the difference.
//! ```
//! use latchwork::pure::{format::Format, keys::age::Identities, sops};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = include_bytes!("../../../tests/vectors/sops/default/yaml/encrypted.yaml");
//! # let keys = include_str!("../../../tests/vectors/sops/keys.txt");
//! let document = sops::parse(bytes, Format::Yaml)?;
//! for wrapped in document.recipients() {
//!     println!("{} {}", wrapped.key.kind(), wrapped.key);       // age age1…
//! }
//! let identities = Identities::parse(keys, "keys.txt")?;
//! let opened = sops::open(&document, &identities)?;             // every value authenticated, the MAC verified
//! let plain = opened.emit(Format::Yaml)?;                       // the file as it was, without ciphertext
//! # assert!(plain.expose_str().is_some_and(|text| !text.contains("ENC[")));
//! let json = opened.emit(Format::Json)?;                        // the same values, printed anew
//! let password = opened.get(r#"["stringData"]["password"]"#)?.text();         // one value; `None` for a map, a list and null
//! # assert!(password.is_some());
//! # assert!(json.expose().starts_with(b"{"));
//! # Ok(()) }
//! ```
//!
//! # Seal, edit, turn keys
//! ```
//! use latchwork::pure::format::{self, Format, place};
//! use latchwork::pure::keys::{KeyRef, age::Identities};
//! use latchwork::pure::secret::Plaintext;
//! use latchwork::pure::sops::{self, Edit, Plan, Selector};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let keys = include_str!("../../../tests/vectors/sops/keys.txt");
//! # let recipient = |line| keys.lines().filter_map(|l| l.strip_prefix("# public key: ")).nth(line).unwrap_or_default();
//! # let (first, second) = (recipient(0).to_owned(), recipient(1).to_owned());
//! # let now = "2026-01-02T03:04:05Z";
//! # let mut state = 1u64;
//! # let mut random = |buffer: &mut [u8]| buffer.iter_mut().for_each(|byte| {
//! #     state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
//! #     *byte = (state >> 56) as u8;
//! # });
//! // Seal: who may open it, and what is encrypted.
//! let mut plan = Plan::for_keys(vec![KeyRef::Age { recipient: first }]);
//! plan.selector = Some(Selector::new("encrypted_regex", "^(data|stringData)$")?);
//! let tree = format::parse(b"kind: Secret   # kept\nstringData:\n  password: old\n", Format::Yaml)?;
//! let identities = Identities::parse(keys, "keys.txt")?;
//! let mut wrap = sops::wrap_local(&identities);
//! let sealed = sops::seal(&tree, Format::Yaml, &plan, now, &mut random, &mut wrap)?;
//! # assert!(sealed.expose_str().is_some_and(|text| text.starts_with("kind: Secret   # kept\n")));
//!
//! // Edit: the bytes of these values, of the MAC and of the time change, and no others.
//! let document = sops::parse(sealed.expose(), Format::Yaml)?;
//! let opened = sops::open(&document, &identities)?;
//! let mut edit = Edit::new(&opened)?;
//! edit.set_text(r#"["stringData"]["password"]"#, Plaintext::from("new".to_owned()))?;
//! edit.set(r#"["stringData"]["ports"]"#, place::from_json(&serde_json::json!([80, 443])))?;
//! edit.unset(r#"["kind"]"#)?;
//! let edited = edit.seal(now, &mut random)?;
//!
//! // Turn keys: the same data key for other recipients, or a new data key.
//! let document = sops::parse(edited.expose(), Format::Yaml)?;
//! let opened = sops::open(&document, &identities)?;
//! let groups = vec![vec![KeyRef::Age { recipient: second }]];
//! let rewrapped = sops::rewrap(&document, opened.data_key(), &groups, 0, now, &mut random, &mut wrap)?;
//! let rotated = sops::rotate(&opened, &groups, 0, now, &mut random, &mut wrap)?;
//! # for bytes in [rewrapped, rotated] {
//! #     let document = sops::parse(bytes.expose(), Format::Yaml)?;
//! #     assert!(sops::open(&document, &identities).is_ok());
//! # }
//! # Ok(()) }
//! ```
//!
//! # Keys of your own
//! What opens and wraps data keys is a trait: [`LocalKeys`](super::keys::LocalKeys) for what is asked one key at a time,
//! [`Unlock`] with [`Unlocking`] for services that are asked at the same time.
//! ```
//! use latchwork::pure::{format::Format, secret::Plaintext, sops};
//! use latchwork::pure::keys::{Identities, KeyError, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
//!
//! /// A service that knows one transit key.
//! struct Transit;
//!
//! impl LocalKeys for Transit {
//!     fn unwrap(&self, wrapped: &WrappedKey) -> Option<Unwrapped> {
//!         let KeyRef::HcVault { key, .. } = &wrapped.key else { return None };     // not ours to answer
//!         Some(Err(KeyError::Service { message: format!("{key}: the service is away") }))
//!     }
//!     fn wrap(&self, _: &KeyRef, _: &Plaintext) -> Option<Wrapped> {
//!         None
//!     }
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = include_bytes!("../../../tests/vectors/sops/default/yaml/encrypted.yaml");
//! // The user's identities first, then the service.
//! let keys = Identities::default().then(Transit);
//! // Errors are closed enums: match on them. No text of theirs holds a value.
//! match sops::open(&sops::parse(bytes, Format::Yaml)?, &keys) {
//!     Ok(opened) => drop(opened.emit(Format::Yaml)?),
//!     Err(sops::SopsError::Keys(report)) => {
//!         for tried in &report.tried {
//!             println!("group {}: {}: {}", tried.group, tried.key, tried.error);
//!         }
//!     }
//!     Err(sops::SopsError::MacMismatch) => println!("the file was changed by hand"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(()) }
//! ```

mod adopt;
mod block;
mod cipher;
mod edit;
mod error;
mod ini_comments;
mod inspect;
mod merge;
mod metadata;
mod open;
mod pattern;
mod recipients;
pub mod rules;
mod seal;
mod selector;
mod shown;
mod stream;
mod unlock;
mod value;
mod walk;

pub use edit::Edit;
pub use error::{KeyReport, SopsError, Tried, WrapFailure};
pub use inspect::{Spot, SpotState, inspect, would_encrypt};
pub use merge::{KeyNews, MergeError, MergedFile, merge};
pub use metadata::Metadata;
pub use open::{MacPolicy, Opened, open, open_with_key};
pub use pattern::Pattern;
pub use recipients::{KeyChange, key_change, same_key};
pub use seal::{
    CLAIMED_VERSION, Plan, Random, Wrap, check_groups, reseal, reseal_to, rewrap, rotate, seal, wrap_local,
};
pub use selector::{DEFAULT_UNENCRYPTED_SUFFIX, Selector};
pub use shown::{EditedBlock, take_apart};
pub use stream::{Part, PartKind, format_of, only_document, parts, unreadable};
pub use unlock::{DecryptionOrder, DuplicateKind, Unlock, Unlocking, unlock};

use std::fmt;

use super::format::{self, Format, OddKey, Tree};
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
    let mut tree = format::parse(bytes, carrier)?;
    adopt::comments(&mut tree);
    let first = tree.branches.first().ok_or(SopsError::NotSops)?;
    let metadata = metadata::read(&metadata::find(first, carrier)?.ok_or(SopsError::NotSops)?)?;
    check(&tree)?;
    Ok(Document { tree, format, metadata })
}

/// What SOPS refuses in any file that it reads. Later documents of a stream may have duplicate names, as there.
pub(super) fn check(tree: &Tree) -> Result<(), SopsError> {
    for (index, branch) in tree.branches.iter().enumerate() {
        if let Some(OddKey { line, is_collection }) = branch.odd_key {
            return Err(SopsError::OddKey { line, is_collection });
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
