//! Key services: what wraps and unwraps a SOPS data key outside this process. One file per kind, each both directions.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "azure")]
mod azure_certificate;
pub mod environment;
pub mod error;
#[cfg(feature = "gcp")]
pub mod gcp;
mod gpg;
#[cfg(feature = "keyservice")]
pub mod grpc;
#[cfg(feature = "keyservice")]
mod grpc_wire;
pub mod guard;
pub mod hckms;
mod http;
mod services;
#[cfg(feature = "vault")]
pub mod vault;

use async_trait::async_trait;

pub use gpg::Gpg;
pub use services::{Connect, DataKeys};

use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// Something that wraps and unwraps data keys, or shares of them, for keys of some kinds.
///
/// Each call is bounded in time by the service itself. Errors hold no key material, no plaintext and no credential.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Whether a key of this kind and address may be asked for here. What is refused by an allow-list is served with an
    /// error that says so, not passed over.
    fn serves(&self, key: &KeyRef) -> bool;

    /// What is asked for the key: when it is found away, the other keys of the same text are not tried in that run.
    fn endpoint(&self, key: &KeyRef) -> String {
        key.endpoint()
    }

    /// The key with what it leaves open filled in, as it is to be written into a file: the current version of a Key Vault
    /// key. Most kinds leave nothing open.
    async fn complete(&self, key: &KeyRef) -> Result<KeyRef, KeyError> {
        Ok(key.clone())
    }

    /// Encrypts to the key. The text is what SOPS keeps under `enc`, in the kind's own encoding.
    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped;

    /// Decrypts what a file holds for the key.
    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped;
}
