//! A key service behind an allow-list: what the list does not cover is answered here and never gets as far as a client.

use std::sync::Arc;

use async_trait::async_trait;

use super::KeyService;
use super::error::{Asked, KmsError};
use crate::pure::keys::allow::KeyAllowList;
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// See the module's text.
pub struct Guarded {
    service: Arc<dyn KeyService>,
    allowed: KeyAllowList,
    by: &'static str,
}

impl Guarded {
    /// `by` is where the list is kept, for the text of a refusal.
    pub fn new(service: Arc<dyn KeyService>, allowed: KeyAllowList, by: &'static str) -> Self {
        Self { service, allowed, by }
    }

    fn check(&self, call: &'static str, key: &KeyRef) -> Result<(), KeyError> {
        if self.allowed.allows(key) {
            return Ok(());
        }
        Err(KmsError::NotAllowed { asked: Asked::new("key service", call, key), by: self.by }.into())
    }
}

#[async_trait]
impl KeyService for Guarded {
    fn serves(&self, key: &KeyRef) -> bool {
        self.service.serves(key)
    }

    fn endpoint(&self, key: &KeyRef) -> String {
        self.service.endpoint(key)
    }

    async fn complete(&self, key: &KeyRef) -> Result<KeyRef, KeyError> {
        self.check("look up", key)?;
        self.service.complete(key).await
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        self.check("encrypt", key)?;
        self.service.wrap(key, secret).await
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        self.check("decrypt", &key.key)?;
        self.service.unwrap(key).await
    }
}
