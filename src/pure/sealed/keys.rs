//! The sealing keys of one cluster, and the order among them.
//!
//! The newest active key that has a certificate is the current one: it is served to clients and seals. Every active
//! key opens. A key whose Secret carries another label value than `active` (usually `compromised`) opens nothing, and
//! is kept only to explain and to count what still depends on it.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::backup::{self, BackupMarks};
use super::blob::Blob;
use super::pem;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::{Explain, Retry};
use crate::pure::secret::{FingerprintKey, Plaintext};

/// SSH-style fingerprint of a public key, `SHA256:` and unpadded base64, as the incumbent logs it.
pub type KeyFingerprint = Arc<str>;

/// Value of the sealing-key label for a key in use.
pub const ACTIVE: &str = "active";

/// Value of the sealing-key label for a key that nothing needs any more.
pub const RETIRED: &str = "retired";

/// Value of the sealing-key label for a key that somebody else may have.
pub const COMPROMISED: &str = "compromised";

/// Key material that cannot be used. Names the key, never a byte of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum KeyError {
    #[error("sealing key {key}: no private key in PEM (PKCS#1 or PKCS#8) was found")]
    NoPrivateKey { key: String },
    #[error("sealing key {key}: the private key cannot be used; it must be RSA with 2048 to 8192 bits")]
    Unusable { key: String },
    #[error("sealing key {key}: no certificate in PEM was found")]
    NoCertificate { key: String },
    #[error("sealing key {key}: the certificate cannot be read, or its key is not RSA with 2048 to 8192 bits")]
    BadCertificate { key: String },
    #[error("sealing key {key}: the certificate belongs to another private key")]
    Mismatch { key: String },
}

impl Explain for KeyError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoPrivateKey { .. } => "NoPrivateKey",
            Self::Unusable { .. } => "UnusablePrivateKey",
            Self::NoCertificate { .. } => "NoCertificate",
            Self::BadCertificate { .. } => "BadCertificate",
            Self::Mismatch { .. } => "CertificateMismatch",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::NoPrivateKey { .. } => "give the key as tls.key of a Secret, or as a PEM file",
            Self::Unusable { .. } => "replace the key; elliptic-curve and encrypted keys cannot open sealed values",
            Self::NoCertificate { .. } | Self::BadCertificate { .. } => "give the certificate as tls.crt of the Secret",
            Self::Mismatch { .. } => {
                "give the certificate that was made for this key; until then it opens but is never served"
            }
        }
        .into()
    }
}

/// A public key to seal with, from a certificate.
pub struct Certificate {
    pem: String,
    not_before: Timestamp,
    not_after: Timestamp,
    common_name: String,
    public: OaepPublicEncryptingKey,
    fingerprint: KeyFingerprint,
}

impl Certificate {
    /// Reads the first certificate of a PEM text; what follows it is ignored, as the incumbent does. `name` is for
    /// the error.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, KeyError> {
        let block = pem::blocks(text)
            .find(|block| block.label == "CERTIFICATE")
            .ok_or_else(|| KeyError::NoCertificate { key: name.into() })?;
        Self::from_der(&block.der).ok_or_else(|| KeyError::BadCertificate { key: name.into() })
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let public = PublicEncryptingKey::from_der(certificate.public_key().raw).ok()?;
        Some(Self {
            pem: pem::encode("CERTIFICATE", der),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            common_name: common_name.unwrap_or_default().to_owned(),
            fingerprint: fingerprint(&public)?,
            public: OaepPublicEncryptingKey::new(public).ok()?,
        })
    }

    /// This one certificate in PEM, with a final line end.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Start of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Common name of its subject; empty without one, which is usual.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The key to seal with.
    pub fn public(&self) -> &OaepPublicEncryptingKey {
        &self.public
    }

    /// Fingerprint of that key.
    pub fn fingerprint(&self) -> &KeyFingerprint {
        &self.fingerprint
    }
}

/// Which time orders the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// Start of the certificate's validity.
    #[default]
    CertNotBefore,
    /// Creation of the Secret that holds the key.
    SecretCreationTimestamp,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// It opens, and may be the current one.
    Active,
    /// Its label has this other value (`compromised`, or whatever was written): it opens nothing.
    Retired(String),
}

impl KeyState {
    /// From the value of the sealing-key label.
    pub fn from_label(value: &str) -> Self {
        if value == ACTIVE { Self::Active } else { Self::Retired(value.into()) }
    }
}

impl std::fmt::Display for KeyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str(ACTIVE),
            Self::Retired(value) if value.is_empty() => f.write_str("unlabelled"),
            Self::Retired(value) => f.write_str(value),
        }
    }
}

/// One key pair.
pub struct SealingKey {
    name: String,
    state: KeyState,
    created: Option<Timestamp>,
    private: OaepPrivateDecryptingKey,
    fingerprint: KeyFingerprint,
    certificate: Option<Certificate>,
    backups: BackupMarks,
    marks: FingerprintKey,
}

impl SealingKey {
    /// Reads a private key and, where there is one, its certificate. A certificate that cannot be used leaves a key
    /// that opens and is never served; the second part of the answer says why.
    pub fn parse(
        name: &str,
        key_pem: &[u8],
        cert_pem: Option<&[u8]>,
        state: KeyState,
        created: Option<Timestamp>,
    ) -> Result<(Self, Option<KeyError>), KeyError> {
        let key = || name.to_owned();
        let (private, fingerprint, marks) = parse_private(key_pem, name)?;
        let (certificate, problem) = match cert_pem.map(|text| Certificate::parse(name, text)) {
            None => (None, None),
            Some(Err(problem)) => (None, Some(problem)),
            Some(Ok(certificate)) if certificate.fingerprint != fingerprint => {
                (None, Some(KeyError::Mismatch { key: key() }))
            }
            Some(Ok(certificate)) => (Some(certificate), None),
        };
        let backups = BackupMarks::default();
        Ok((Self { name: key(), state, created, private, fingerprint, certificate, backups, marks }, problem))
    }

    /// Reads a key Secret: `tls.key`, `tls.crt`, and the state from its label. A Secret without the label is active only
    /// where it is the one of the oldest controllers (`legacy`), which wrote none.
    pub fn from_secret(secret: &ObservedSecret, legacy: bool) -> Result<(Self, Option<KeyError>), KeyError> {
        let state = match secret.labels.get(SEALING_KEY_LABEL) {
            Some(value) => KeyState::from_label(value),
            None if legacy => KeyState::Active,
            None => KeyState::from_label(""),
        };
        let entry = |name: &str| secret.data.get(name).map(Plaintext::expose);
        let (key, cert) = (entry("tls.key").unwrap_or_default(), entry("tls.crt"));
        let (mut key, problem) = Self::parse(&secret.name, key, cert, state, backup::created(secret))?;
        key.backups = BackupMarks::of(&secret.annotations);
        Ok((key, problem))
    }

    /// Name of the Secret or file that it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands.
    pub fn state(&self) -> &KeyState {
        &self.state
    }

    /// When its Secret was first created.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// Fingerprint of its public half.
    pub fn fingerprint(&self) -> &KeyFingerprint {
        &self.fingerprint
    }

    /// Its certificate, if a usable one is known.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Which backups it stands in, as its Secret says.
    pub fn backups(&self) -> &BackupMarks {
        &self.backups
    }

    /// Size of its modulus.
    pub fn bits(&self) -> usize {
        self.private.key_size_bytes() * 8
    }

    /// Whether a value of this form can be for it, by the size of its session key.
    pub fn fits(&self, blob: &Blob) -> bool {
        self.private.key_size_bytes() == blob.wrapped.len()
    }

    /// Its private half.
    pub fn private(&self) -> &OaepPrivateDecryptingKey {
        &self.private
    }

    /// Key of digests that only a holder of this private key can make (see [`super::mark`], and the kept
    /// results of templates).
    pub fn marks(&self) -> &FingerprintKey {
        &self.marks
    }

    /// The time that orders it. A key without that time is older than all that have one.
    pub fn order_time(&self, order: KeyOrder) -> Timestamp {
        match order {
            KeyOrder::CertNotBefore => self.certificate.as_ref().map(Certificate::not_before),
            KeyOrder::SecretCreationTimestamp => self.created,
        }
        .unwrap_or(Timestamp::MIN)
    }
}

fn parse_private(
    text: &[u8],
    name: &str,
) -> Result<(OaepPrivateDecryptingKey, KeyFingerprint, FingerprintKey), KeyError> {
    let unusable = || KeyError::Unusable { key: name.into() };
    let block = pem::blocks(text)
        .find(|block| block.label.ends_with("PRIVATE KEY"))
        .ok_or_else(|| KeyError::NoPrivateKey { key: name.into() })?;
    let private = match block.label {
        "PRIVATE KEY" => PrivateDecryptingKey::from_pkcs8(&block.der),
        "RSA PRIVATE KEY" => PrivateDecryptingKey::from_pkcs8(&pem::wrap_pkcs1(&block.der).ok_or_else(unusable)?),
        _ => return Err(unusable()),
    }
    .map_err(|_| unusable())?;
    let fingerprint = fingerprint(&private.public_key()).ok_or_else(unusable)?;
    let marks = marks_key(&block.der).ok_or_else(unusable)?;
    Ok((OaepPrivateDecryptingKey::new(private).map_err(|_| unusable())?, fingerprint, marks))
}

/// HKDF-SHA256 of the private key as it is stored, for a purpose of its own: it gives nothing of the key away.
fn marks_key(der: &[u8]) -> Option<FingerprintKey> {
    let mut key = Zeroizing::new([0; 32]);
    let derived = Salt::new(HKDF_SHA256, b"latchwork.dev").extract(der);
    derived.expand(&[b"marks of SealedSecrets"], HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
    Some(FingerprintKey::new(*key))
}

/// SHA-256 over the `ssh-rsa` public key blob (RFC 4253 section 6.6), printed as OpenSSH prints it.
fn fingerprint(key: &PublicEncryptingKey) -> Option<KeyFingerprint> {
    let der = AsDer::<PublicKeyX509Der<'static>>::as_der(key).ok()?;
    let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der.as_ref()).ok()?;
    let x509_parser::public_key::PublicKey::RSA(rsa) = info.parsed().ok()? else { return None };
    let mut blob = Vec::with_capacity(1100);
    for part in [b"ssh-rsa", rsa.exponent, rsa.modulus] {
        blob.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
        blob.extend_from_slice(part);
    }
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))).into())
}

/// Name, fingerprint and state of every key of a set: what decides what opens, and what is said of what does not. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStates(Arc<[(String, KeyFingerprint, KeyState)]>);

/// The keys of a cluster, newest first. Cheap to clone: a reconcile works on the set that it started with.
#[derive(Clone, Default)]
pub struct SealingKeys {
    order: KeyOrder,
    keys: Vec<Arc<SealingKey>>,
}

impl SealingKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// No keys, to be ordered by this time.
    pub fn ordered_by(order: KeyOrder) -> Self {
        Self { order, keys: vec![] }
    }

    /// Adds an active key in PEM; see [`SealingKey::parse`]. A certificate that cannot be used is in the answer.
    pub fn add_pem(
        &mut self,
        name: &str,
        key_pem: &[u8],
        cert_pem: Option<&[u8]>,
    ) -> Result<Option<KeyError>, KeyError> {
        let (key, problem) = SealingKey::parse(name, key_pem, cert_pem, KeyState::Active, None)?;
        self.add(key);
        Ok(problem)
    }

    /// Adds a key, in the place of one of the same name.
    pub fn add(&mut self, key: SealingKey) {
        self.remove(&key.name);
        self.keys.push(Arc::new(key));
        let order = self.order;
        // On a tie the key whose Secret is older comes first; names make the order total.
        self.keys.sort_by(|a, b| {
            (b.order_time(order).cmp(&a.order_time(order)))
                .then_with(|| a.created.cmp(&b.created))
                .then_with(|| a.name.cmp(&b.name))
        });
    }

    /// Removes the key of this name; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        self.keys.len() != before
    }

    /// The key that is served and seals: the newest active one with a certificate.
    pub fn current(&self) -> Option<&Arc<SealingKey>> {
        self.active().find(|key| key.certificate.is_some())
    }

    /// Keys that open, newest first.
    pub fn active(&self) -> impl Iterator<Item = &Arc<SealingKey>> {
        self.keys.iter().filter(|key| key.state == KeyState::Active)
    }

    /// Keys that open, the likeliest for something sealed at `time` first: the one that was the newest then, those before
    /// it, and last those that came after it. Newest first where the time is not known.
    pub fn likeliest(&self, time: Option<Timestamp>) -> impl Iterator<Item = &Arc<SealingKey>> {
        let there = move |key: &&Arc<SealingKey>| time.is_none_or(|time| key.order_time(self.order) <= time);
        let later = self.keys.iter().rev().filter(move |key| key.state == KeyState::Active && !there(key));
        self.active().filter(there).chain(later)
    }

    /// All keys, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SealingKey>> {
        self.keys.iter()
    }

    /// The active key with this fingerprint.
    pub fn by_fingerprint(&self, fingerprint: &str) -> Option<&Arc<SealingKey>> {
        self.active().find(|key| &*key.fingerprint == fingerprint)
    }

    /// The key of this name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<SealingKey>> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Number of keys in any state.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What one set has that another has not, apart from times, certificates and backups.
    pub fn states(&self) -> KeyStates {
        let state = |key: &Arc<SealingKey>| (key.name.clone(), key.fingerprint.clone(), key.state.clone());
        KeyStates(self.keys.iter().map(state).collect())
    }

    /// Which time orders them.
    pub fn order(&self) -> KeyOrder {
        self.order
    }
}
