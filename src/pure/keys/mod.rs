//! Keys that wrap a SOPS data key: what a file says about each, and the kinds that are opened in process.

pub mod age;
mod age_locked;
mod age_pq;
mod age_x25519;
pub mod allow;
mod identities;
pub mod pgp;
pub mod shamir;

use std::fmt;

use zeroize::Zeroizing;

pub use identities::Identities;

use super::secret::Plaintext;

/// Length of a SOPS data key in bytes (AES-256).
pub const DATA_KEY_BYTES: usize = 32;

/// Largest plaintext of a wrapped key: a data key or one share, with room for neither more nor less.
const WRAPPED_BYTES: u64 = DATA_KEY_BYTES as u64 + 1;

/// A file's AES key. No `Debug`, no copy; zeroised on drop.
pub struct DataKey(Zeroizing<[u8; DATA_KEY_BYTES]>);

impl DataKey {
    /// Wraps 32 bytes; `None` for another length.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; DATA_KEY_BYTES]);
        if bytes.len() != DATA_KEY_BYTES {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// The only way in.
    pub fn expose(&self) -> &[u8; DATA_KEY_BYTES] {
        &self.0
    }
}

/// What kind of key wraps a data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// age: X25519, post-quantum, ssh.
    Age,
    /// OpenPGP.
    Pgp,
    /// AWS KMS.
    Kms,
    /// Google Cloud KMS.
    GcpKms,
    /// Azure Key Vault.
    AzureKv,
    /// Vault or OpenBao transit.
    HcVault,
    /// Huawei Cloud KMS.
    Hckms,
}

impl KeyKind {
    /// The name in SOPS metadata and in a decryption order.
    pub fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Pgp => "pgp",
            Self::Kms => "kms",
            Self::GcpKms => "gcp_kms",
            Self::AzureKv => "azure_kv",
            Self::HcVault => "hc_vault",
            Self::Hckms => "hckms",
        }
    }

    /// The kind of a name in a decryption order.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Age, Self::Pgp, Self::Kms, Self::GcpKms, Self::AzureKv, Self::HcVault, Self::Hckms]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Whether a key of this kind needs no network: these are tried first.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Age | Self::Pgp)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which key: all that is needed to ask for it. Addresses in here come from the file and are not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the metadata, reference: SOPS key types")]
pub enum KeyRef {
    Age { recipient: String },
    Pgp { fingerprint: String },
    Kms { arn: String, role: String, context: Vec<(String, String)>, profile: String },
    GcpKms { resource_id: String },
    AzureKv { vault_url: String, name: String, version: String },
    HcVault { address: String, engine: String, key: String },
    Hckms { key_id: String },
}

impl KeyRef {
    /// Its kind.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Age { .. } => KeyKind::Age,
            Self::Pgp { .. } => KeyKind::Pgp,
            Self::Kms { .. } => KeyKind::Kms,
            Self::GcpKms { .. } => KeyKind::GcpKms,
            Self::AzureKv { .. } => KeyKind::AzureKv,
            Self::HcVault { .. } => KeyKind::HcVault,
            Self::Hckms { .. } => KeyKind::Hckms,
        }
    }
}

impl KeyRef {
    /// Whether it leaves something open that must be known before it stands in a file.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::AzureKv { version, .. } if version.is_empty())
    }

    /// What is asked for the key, and with whose rights: a region with a role and a profile, a vault, a server. Keys of
    /// one kind with the same text here are served or not served together.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Kms { arn, role, profile, .. } => {
                let region = arn.split(':').take(4).collect::<Vec<_>>().join(":");
                format!("{region} {role} {profile}")
            }
            Self::AzureKv { vault_url, .. } => vault_url.trim_end_matches('/').to_owned(),
            Self::HcVault { address, .. } => address.trim_end_matches('/').to_owned(),
            Self::Age { .. } | Self::Pgp { .. } | Self::GcpKms { .. } | Self::Hckms { .. } => String::new(),
        }
    }

    /// The key of a text as flags, variables and rules name it: a recipient, a fingerprint, `arn[+role]`, a resource id,
    /// `https://vault/keys/name[/version]`, `https://host/v1/engine/keys/name`, a key id.
    ///
    /// # Errors
    /// A short text that says what is wrong.
    pub fn of_text(kind: KeyKind, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = |what: &str| Err(format!("\"{text}\" is not {what}"));
        Ok(match kind {
            KeyKind::Age => Self::Age { recipient: text.to_owned() },
            KeyKind::Pgp => Self::Pgp { fingerprint: text.split_whitespace().collect() },
            KeyKind::Kms => {
                let (arn, role) = text.split_once('+').unwrap_or((text, ""));
                let (arn, role, context, profile) = (arn.to_owned(), role.to_owned(), vec![], String::new());
                Self::Kms { arn, role, context, profile }
            }
            KeyKind::GcpKms => Self::GcpKms { resource_id: text.to_owned() },
            KeyKind::Hckms => Self::Hckms { key_id: text.to_owned() },
            KeyKind::AzureKv => {
                let Some((vault_url, key)) = text.split_once("/keys/") else { return bad("a Key Vault key") };
                let (name, version) = key.split_once('/').unwrap_or((key, ""));
                Self::AzureKv { vault_url: vault_url.into(), name: name.into(), version: version.into() }
            }
            KeyKind::HcVault => {
                let Some((address, path)) = text.split_once("/v1/") else { return bad("a transit key") };
                let Some((engine, key)) = path.rsplit_once("/keys/") else { return bad("a transit key") };
                if engine.is_empty() || key.is_empty() || key.contains('/') {
                    return bad("a transit key");
                }
                Self::HcVault { address: address.into(), engine: engine.into(), key: key.into() }
            }
        })
    }
}

/// The text by which SOPS compares, shows and removes keys.
impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age { recipient } => f.write_str(recipient),
            Self::Pgp { fingerprint } => f.write_str(fingerprint),
            Self::Kms { arn, role, context, profile } => {
                f.write_str(arn)?;
                if !role.is_empty() {
                    write!(f, "+{role}")?;
                }
                let mut pairs: Vec<String> = context.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                pairs.sort();
                if !pairs.is_empty() || !profile.is_empty() {
                    write!(f, "|{}", pairs.join(","))?;
                }
                if !profile.is_empty() {
                    write!(f, "|{profile}")?;
                }
                Ok(())
            }
            Self::GcpKms { resource_id } => f.write_str(resource_id),
            Self::AzureKv { vault_url, name, version } => {
                write!(f, "{}/keys/{name}/{version}", vault_url.trim_end_matches('/'))
            }
            Self::HcVault { address, engine, key } => {
                write!(f, "{}/v1/{engine}/keys/{key}", address.trim_end_matches('/'))
            }
            Self::Hckms { key_id } => f.write_str(key_id),
        }
    }
}

/// A data key, or a share of it, encrypted to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The key it was encrypted to.
    pub key: KeyRef,
    /// Ciphertext in the kind's own encoding.
    pub enc: String,
    /// When it was wrapped, RFC 3339; absent for age.
    pub created_at: Option<String>,
}

/// Why a key did not wrap, or did not open what was wrapped to it. The text never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum KeyError {
    #[error("no identity was given")]
    NoIdentity,
    #[error("none of the {tried} identities at hand opens it")]
    NoMatch { tried: usize },
    #[error("the wrapped key is damaged")]
    Damaged,
    #[error("keys of kind {kind} cannot be used here")]
    Unsupported { kind: KeyKind },
    /// What a program or library of this machine said.
    #[error("{message}")]
    Local { message: String },
    /// What a key service said.
    #[error("{message}")]
    Service { message: String },
    /// The service cannot be reached, or has no credentials to ask with: whatever the key, the answer is the same.
    #[error("{message}")]
    Unreachable { message: String },
    #[error("{service} did not answer within {seconds} seconds")]
    TimedOut { service: &'static str, seconds: u64 },
}

impl KeyError {
    /// Whether the same question may be answered later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Service { .. } | Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// Whether it says nothing about the key, but that the whole service is away.
    pub fn is_of_service(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}

/// An unwrapped data key or share.
pub type Unwrapped = Result<Plaintext, KeyError>;

/// A data key or share, encrypted to one key: what SOPS keeps under `enc`.
pub type Wrapped = Result<String, KeyError>;

/// What opens and makes wrapped keys on this machine: identities, a keyring, a program. `None` stands for a key that is
/// not of its kinds.
pub trait LocalKeys: Sync {
    /// Opens a wrapped key.
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped>;

    /// Encrypts a data key or share to a key.
    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped>;

    /// Asks `next` for what these do not open or wrap: the user's identities first, then a service.
    /// ```
    /// use latchwork::pure::keys::{Identities, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
    /// use latchwork::pure::secret::Plaintext;
    ///
    /// struct Service;
    /// impl LocalKeys for Service {
    ///     fn unwrap(&self, wrapped: &WrappedKey) -> Option<Unwrapped> {
    ///         matches!(wrapped.key, KeyRef::Age { .. }).then(|| Ok(Plaintext::new(vec![7; 32])))
    ///     }
    ///     fn wrap(&self, _: &KeyRef, _: &Plaintext) -> Option<Wrapped> {
    ///         None
    ///     }
    /// }
    ///
    /// let keys = Identities::default().then(Service);     // no identities: the service answers
    /// let key = KeyRef::Age { recipient: "age1...".into() };
    /// let wrapped = WrappedKey { key, enc: String::new(), created_at: None };
    /// assert!(matches!(keys.unwrap(&wrapped), Some(Ok(_))));
    /// ```
    fn then<K: LocalKeys>(self, next: K) -> Then<Self, K>
    where
        Self: Sized,
    {
        Then { first: self, next }
    }
}

/// Keys that are asked one after the other ([`LocalKeys::then`]).
pub struct Then<A, B> {
    first: A,
    next: B,
}

impl<A: LocalKeys, B: LocalKeys> LocalKeys for Then<A, B> {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        match self.first.unwrap(key) {
            Some(Ok(opened)) => Some(Ok(opened)),
            failed => self.next.unwrap(key).or(failed),
        }
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        match self.first.wrap(key, secret) {
            Some(Ok(wrapped)) => Some(Ok(wrapped)),
            failed => self.next.wrap(key, secret).or(failed),
        }
    }
}
