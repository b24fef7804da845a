//! Data keys of many SOPS files: the private keys are looked up once for all of them.

use super::sops::keys::Keyring;
use crate::pure::keys::age::Identities;
use crate::pure::keys::{DataKey, KeyRef};
use crate::pure::sops::{self, Document, SopsError};

/// The private keys of a run.
pub struct DataKeys {
    ring: Keyring,
    more: Identities,
}

impl DataKeys {
    /// Those that SOPS would find, and `more`.
    pub fn load(more: Identities) -> Self {
        Self { ring: Keyring::load(""), more }
    }

    /// The data key of a file.
    ///
    /// # Errors
    /// No key fits; the error says what was tried.
    pub fn unlock(&self, document: &Document) -> Result<DataKey, SopsError> {
        sops::unlock(document, |key| {
            if let KeyRef::Age { recipient } = &key.key
                && let Ok(opened) = self.more.unwrap(recipient, &key.enc)
            {
                return Ok(opened);
            }
            self.ring.unwrap(key)
        })
    }

    /// Wraps a data key or share to a key.
    pub fn wrap(&self, key: &KeyRef, secret: &crate::pure::secret::Plaintext) -> Result<String, String> {
        sops::wrap_local(key, secret)
    }
}
