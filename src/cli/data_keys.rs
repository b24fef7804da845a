//! The private keys of verbs that have flags for them: what the flags name first, then what SOPS would find.

use super::sops::ring::Keyring;
use crate::pure::keys::{Identities, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// The private keys of a run.
pub struct FlagsFirst {
    named: Identities,
    ring: Keyring,
}

impl FlagsFirst {
    /// Those that the flags name, and the user's own.
    pub fn new(named: Identities, ring: Keyring) -> Self {
        Self { named, ring }
    }
}

impl LocalKeys for FlagsFirst {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        match LocalKeys::unwrap(&self.named, key) {
            Some(Ok(opened)) => Some(Ok(opened)),
            _ => self.ring.unwrap(key),
        }
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        self.ring.wrap(key, secret)
    }
}
