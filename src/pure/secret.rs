//! The only place where secret bytes are defined.
//!
//! [`Plaintext`] has no `Debug`, `Display`, `Clone`, `PartialEq`, `Deref` or `Serialize`: a value cannot reach a log, an
//! error text or a status by accident, because none of those would compile (the proofs stand in `tests/walls.rs` and
//! in the examples of [`Plaintext`]).
//! [`Fingerprint`] is the only shadow of a secret that may be compared, stored or logged.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes, overwritten with zeros when dropped.
///
/// ```
/// use latchwork::pure::secret::Plaintext;
/// let secret = Plaintext::from("hunter2".to_owned());
/// assert_eq!(secret.expose(), b"hunter2");
/// ```
///
/// It cannot be printed, compared by `==`, cloned or serialised:
///
/// ```compile_fail
/// # use latchwork::pure::secret::Plaintext;
/// format!("{:?}", Plaintext::new(vec![]));
/// ```
/// ```compile_fail
/// # use latchwork::pure::secret::Plaintext;
/// format!("{}", Plaintext::new(vec![]));
/// ```
/// ```compile_fail
/// # use latchwork::pure::secret::Plaintext;
/// let copy = Plaintext::new(vec![]).clone();
/// ```
/// ```compile_fail
/// # use latchwork::pure::secret::Plaintext;
/// serde_json::to_string(&Plaintext::new(vec![]));
/// ```
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Takes ownership of `bytes`; the caller must not keep a copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Copies `bytes` out of a buffer that the caller cannot give away (an SDK's response, a parser's input).
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// The only way in. Call it as late as possible and do not keep the reference's content anywhere.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where a format needs text. `None` when they are not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes. Lengths are not treated as secret: ciphertexts show them anyway.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equality in constant time for equal lengths.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// A second copy, where two Secrets must carry the same value. Named so that copies can be found.
    pub fn duplicate(&self) -> Self {
        Self::copy_of(&self.0)
    }
}

impl From<String> for Plaintext {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

/// The `data` of one Kubernetes Secret: entry name to bytes, in name order.
#[derive(Default)]
pub struct SecretData(BTreeMap<String, Plaintext>);

impl SecretData {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an entry and returns what it replaced.
    pub fn insert(&mut self, name: impl Into<String>, value: Plaintext) -> Option<Plaintext> {
        self.0.insert(name.into(), value)
    }

    /// Removes an entry.
    pub fn remove(&mut self, name: &str) -> Option<Plaintext> {
        self.0.remove(name)
    }

    /// One entry.
    pub fn get(&self, name: &str) -> Option<&Plaintext> {
        self.0.get(name)
    }

    /// Entry names in order. Names are not secret.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Entries in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Plaintext)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sum of all values in bytes; the API server refuses Secrets above 1 MiB.
    pub fn total_bytes(&self) -> usize {
        self.0.values().map(Plaintext::len).sum()
    }

    /// Same names and same values, compared in constant time per value.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|((name, value), (other_name, other_value))| name == other_name && value.same_as(other_value))
    }

    /// A second copy; see [`Plaintext::duplicate`].
    pub fn duplicate(&self) -> Self {
        self.iter().map(|(name, value)| (name.to_owned(), value.duplicate())).collect()
    }
}

impl FromIterator<(String, Plaintext)> for SecretData {
    fn from_iter<T: IntoIterator<Item = (String, Plaintext)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl IntoIterator for SecretData {
    type Item = (String, Plaintext);
    type IntoIter = std::collections::btree_map::IntoIter<String, Plaintext>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Key of the fingerprints of one process (or one installation, where fingerprints are stored). 32 random bytes, so
/// that a fingerprint of a low-entropy secret cannot be guessed by hashing candidates.
pub struct FingerprintKey(Zeroizing<[u8; 64]>);

impl FingerprintKey {
    /// Wraps 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        // HMAC pads a short key with zeros to the block of its hash; done here, no length can be refused later.
        let mut block = Zeroizing::new([0; 64]);
        for (padded, byte) in block.iter_mut().zip(key) {
            *padded = byte;
        }
        Self(block)
    }

    /// Keyed digest over length-prefixed parts, so that moving a byte between parts changes it.
    pub fn digest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Fingerprint(mac.finalize().into_bytes().into())
    }

    /// Digest of a whole Secret's data.
    pub fn of_data(&self, data: &SecretData) -> Fingerprint {
        self.digest(data.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose()]))
    }
}

/// Keyed digest (HMAC-SHA256) of content. Safe to compare, keep and print.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries.iter().map(|(name, value)| ((*name).to_owned(), Plaintext::from((*value).to_owned()))).collect()
    }

    #[test]
    fn fingerprints_depend_on_key_names_and_borders() {
        let key = FingerprintKey::new([7; 32]);
        let base = key.of_data(&data(&[("a", "xy"), ("b", "z")]));
        assert_eq!(base, key.of_data(&data(&[("b", "z"), ("a", "xy")])), "order of insertion does not count");
        assert_ne!(base, key.of_data(&data(&[("a", "x"), ("b", "yz")])), "a byte moved across a border counts");
        assert_ne!(base, key.of_data(&data(&[("a", "xy"), ("c", "z")])), "names count");
        assert_ne!(base, FingerprintKey::new([8; 32]).of_data(&data(&[("a", "xy"), ("b", "z")])), "the key counts");
    }

    #[test]
    fn data_compares_by_names_and_values() {
        assert!(data(&[("a", "1")]).same_as(&data(&[("a", "1")])));
        assert!(!data(&[("a", "1")]).same_as(&data(&[("a", "2")])));
        assert!(!data(&[("a", "1")]).same_as(&data(&[("b", "1")])));
        assert!(!data(&[("a", "1")]).same_as(&data(&[("a", "1"), ("b", "1")])));
    }
}
