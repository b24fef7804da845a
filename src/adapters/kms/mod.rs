//! Key services: what wraps and unwraps a SOPS data key outside this process. One file per kind, each both directions.

mod services;

use async_trait::async_trait;

pub use services::{Connect, DataKeys};

use crate::pure::keys::{KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// Something that wraps and unwraps data keys, or shares of them, for keys of some kinds.
///
/// Each call is bounded in time by the service itself. Errors hold no key material, no plaintext and no credential.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Whether a key of this kind and address may be asked for here. What is refused by an allow-list is served with an
    /// error that says so, not passed over.
    fn serves(&self, key: &KeyRef) -> bool;

    /// Encrypts to the key. The text is what SOPS keeps under `enc`, in the kind's own encoding.
    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped;

    /// Decrypts what a file holds for the key.
    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped;
}
