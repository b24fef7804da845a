//! The messages of SOPS' key service (`keyservice/keyservice.proto`): the calls `/KeyService/Encrypt` and
//! `/KeyService/Decrypt`, without a package. Written by hand, so that no protocol compiler is needed.

use std::collections::HashMap;
use std::fmt;

use prost::{Message, Oneof};

use crate::pure::keys::KeyRef;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Key {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Kms(Kms),
    #[prost(message, tag = "2")]
    Pgp(One),
    #[prost(message, tag = "3")]
    GcpKms(One),
    #[prost(message, tag = "4")]
    AzureKv(Three),
    #[prost(message, tag = "5")]
    HcVault(Three),
    #[prost(message, tag = "6")]
    Age(One),
    #[prost(message, tag = "7")]
    Hckms(One),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Kms {
    #[prost(string, tag = "1")]
    pub arn: String,
    #[prost(string, tag = "2")]
    pub role: String,
    #[prost(map = "string, string", tag = "3")]
    pub context: HashMap<String, String>,
    #[prost(string, tag = "4")]
    pub profile: String,
}

/// A key that one text names: fingerprint, resource id, recipient, key id.
#[derive(Clone, PartialEq, Message)]
pub(super) struct One {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// A key of three texts: vault, name, version; or address, engine, key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Three {
    #[prost(string, tag = "1")]
    pub first: String,
    #[prost(string, tag = "2")]
    pub second: String,
    #[prost(string, tag = "3")]
    pub third: String,
}

/// Both requests: a key, and the plaintext to encrypt or the ciphertext to decrypt.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Request {
    #[prost(message, optional, tag = "1")]
    pub key: Option<Key>,
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}

/// Both answers. The ciphertext is exactly what SOPS keeps under `enc`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Response {
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
}

// The libraries may print messages; these hold data keys.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").finish_non_exhaustive()
    }
}

impl From<&KeyRef> for Key {
    fn from(key: &KeyRef) -> Self {
        let one = |id: &String| One { id: id.clone() };
        let three = |first: &String, second: &String, third: &String| {
            let (first, second, third) = (first.clone(), second.clone(), third.clone());
            Three { first, second, third }
        };
        let kind = match key {
            KeyRef::Age { recipient } => Kind::Age(one(recipient)),
            KeyRef::Pgp { fingerprint } => Kind::Pgp(one(fingerprint)),
            KeyRef::Kms { arn, role, context, profile } => {
                let (arn, role, profile) = (arn.clone(), role.clone(), profile.clone());
                Kind::Kms(Kms { arn, role, context: context.iter().cloned().collect(), profile })
            }
            KeyRef::GcpKms { resource_id } => Kind::GcpKms(one(resource_id)),
            KeyRef::AzureKv { vault_url, name, version } => Kind::AzureKv(three(vault_url, name, version)),
            KeyRef::HcVault { address, engine, key } => Kind::HcVault(three(address, engine, key)),
            KeyRef::Hckms { key_id } => Kind::Hckms(one(key_id)),
        };
        Self { kind: Some(kind) }
    }
}

impl Key {
    /// The key that is meant; `None` when it says none.
    pub fn key(self) -> Option<KeyRef> {
        Some(match self.kind? {
            Kind::Age(One { id }) => KeyRef::Age { recipient: id },
            Kind::Pgp(One { id }) => KeyRef::Pgp { fingerprint: id },
            Kind::Kms(Kms { arn, role, context, profile }) => {
                let mut context: Vec<_> = context.into_iter().collect();
                context.sort();
                KeyRef::Kms { arn, role, context, profile }
            }
            Kind::GcpKms(One { id }) => KeyRef::GcpKms { resource_id: id },
            Kind::AzureKv(Three { first, second, third }) => {
                KeyRef::AzureKv { vault_url: first, name: second, version: third }
            }
            Kind::HcVault(Three { first, second, third }) => {
                KeyRef::HcVault { address: first, engine: second, key: third }
            }
            Kind::Hckms(One { id }) => KeyRef::Hckms { key_id: id },
        })
    }
}
