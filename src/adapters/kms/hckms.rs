//! Huawei Cloud KMS: known, and not served. A file that has another key as well opens with that one.

use async_trait::async_trait;

use super::KeyService;
use super::error::{Asked, KmsError};
use crate::pure::keys::{KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// Says what to do instead.
pub struct Huawei;

fn unsupported(call: &'static str, key: &KeyRef) -> KmsError {
    KmsError::Unsupported { asked: Asked::new("Huawei Cloud KMS", call, key) }
}

#[async_trait]
impl KeyService for Huawei {
    fn serves(&self, key: &KeyRef) -> bool {
        matches!(key, KeyRef::Hckms { .. })
    }

    async fn wrap(&self, key: &KeyRef, _: &Plaintext) -> Wrapped {
        Err(unsupported("encrypt", key).into())
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        Err(unsupported("decrypt", &key.key).into())
    }
}
