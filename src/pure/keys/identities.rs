//! Private keys of every kind that opens in this process, from text.

use std::sync::Arc;

use super::age::{self, IdentityError, Outside};
use super::{KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey, pgp};
use crate::pure::secret::Plaintext;

/// Private keys at hand: age, ssh, OpenPGP. No `Debug`.
#[derive(Default)]
pub struct Identities {
    age: age::Identities,
    pgp: pgp::Identities,
}

impl Identities {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads an age identity file, an ssh private key, or armoured OpenPGP secret keys. `source_name` is for errors.
    ///
    /// # Errors
    /// Nothing usable in the text.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, IdentityError> {
        Ok(if text.contains(pgp::ARMOUR) {
            Self { pgp: pgp::Identities::parse(text, source_name)?, ..Self::default() }
        } else {
            Self { age: age::Identities::parse(text, source_name)?, ..Self::default() }
        })
    }

    /// Like [`Self::parse`], and takes what needs somebody to ask as well: age identity files and ssh keys with a
    /// passphrase, identities of plugins.
    ///
    /// # Errors
    /// Nothing usable in the text.
    pub fn parse_asking(bytes: &[u8], source_name: &str, outside: &Arc<dyn Outside>) -> Result<Self, IdentityError> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(pgp::ARMOUR) => Self::parse(text, source_name),
            _ => Ok(Self { age: age::Identities::parse_asking(bytes, source_name, outside)?, ..Self::default() }),
        }
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.age.extend(more.age);
        self.pgp.extend(more.pgp);
    }

    /// Those that open age files.
    pub fn age(&self) -> &age::Identities {
        &self.age
    }

    /// Number of private keys.
    pub fn len(&self) -> usize {
        self.age.len() + self.pgp.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl LocalKeys for Identities {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        match &key.key {
            KeyRef::Pgp { .. } => Some(self.pgp.unwrap(&key.enc)),
            _ => self.age.unwrap(key),
        }
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        self.age.wrap(key, secret)
    }
}
