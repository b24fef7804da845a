//! age's hybrid post-quantum recipients (`age1pq1…`, `AGE-SECRET-KEY-PQ-1…`), which the age library does not know:
//! HPKE base mode (RFC 9180) with the X-Wing KEM (ML-KEM-768 and X25519), HKDF-SHA256 and ChaCha20-Poly1305.

use std::collections::HashSet;

use ::age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::bech32_decode;
use age_core::secrecy::ExposeSecret as _;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ml_kem::kem::Decapsulate as _;
use ml_kem::{EncapsulateDeterministic as _, Encoded, EncodedSizeUser, KemCore, MlKem768};
use sha2::Sha256;
use sha3::digest::{ExtendableOutput as _, Update as _, XofReader as _};
use sha3::{Digest as _, Sha3_256, Shake256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const STANZA: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// KEM X-Wing, KDF HKDF-SHA256, AEAD ChaCha20-Poly1305.
const SUITE: &[u8] = b"HPKE\x64\x7a\x00\x01\x00\x03";
const X_WING_LABEL: &[u8] = b"\\.//^\\";

const SEED_BYTES: usize = 32;
const KEM_PUBLIC_BYTES: usize = 1184;
const KEM_CIPHERTEXT_BYTES: usize = 1088;
const X25519_BYTES: usize = 32;
const BODY_BYTES: usize = FILE_KEY_BYTES + 16;

type Decapsulation = <MlKem768 as KemCore>::DecapsulationKey;
type Encapsulation = <MlKem768 as KemCore>::EncapsulationKey;

/// A private key: its seed, expanded.
pub(super) struct Identity {
    kem: Decapsulation,
    x25519: StaticSecret,
    x25519_public: PublicKey,
}

/// A public key.
pub(super) struct Recipient {
    kem: Encapsulation,
    x25519: PublicKey,
}

/// The bytes of a key of age in text: exactly `length`, behind exactly this prefix.
pub(super) fn decode(text: &str, prefix: &str, length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = bech32_decode(
        text,
        |_| (),
        |found| if found.as_str().eq_ignore_ascii_case(prefix) { Ok(()) } else { Err(()) },
        |_, bytes| Ok(Zeroizing::new(bytes.collect::<Vec<u8>>())),
    );
    bytes.ok().filter(|bytes| bytes.len() == length)
}

impl Identity {
    /// Reads `AGE-SECRET-KEY-PQ-1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let seed = decode(text, "age-secret-key-pq-", SEED_BYTES)?;
        let mut expanded = Zeroizing::new([0; 96]);
        let mut shake = Shake256::default();
        shake.update(&seed);
        shake.finalize_xof().read(expanded.as_mut_slice());
        let part = |at: usize| -> Option<[u8; 32]> { expanded.get(at..at + 32)?.try_into().ok() };
        let (d, z, x) = (Zeroizing::new(part(0)?), Zeroizing::new(part(32)?), Zeroizing::new(part(64)?));
        let (kem, _) = MlKem768::generate_deterministic(&(*d).into(), &(*z).into());
        let x25519 = StaticSecret::from(*x);
        let x25519_public = PublicKey::from(&x25519);
        Some(Self { kem, x25519, x25519_public })
    }

    fn open(&self, encapsulation: &[u8], body: &[u8]) -> Option<FileKey> {
        let (kem, x) = encapsulation.split_at_checked(KEM_CIPHERTEXT_BYTES)?;
        let kem_secret = self.kem.decapsulate(&ml_kem::array::Array::try_from(kem).ok()?).ok()?;
        let x: [u8; X25519_BYTES] = x.try_into().ok()?;
        let shared = self.x25519.diffie_hellman(&PublicKey::from(x));
        let secret = combine(&kem_secret, shared.as_bytes(), &x, self.x25519_public.as_bytes());
        let (key, nonce) = schedule(&secret)?;
        let mut buffer = Zeroizing::new(body.to_vec());
        let plain = key.open_in_place(nonce, Aad::empty(), buffer.as_mut_slice()).ok()?;
        let file_key: [u8; FILE_KEY_BYTES] = (&*plain).try_into().ok()?;
        Some(FileKey::new(Box::new(file_key)))
    }
}

impl ::age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA {
            return None;
        }
        let [argument] = stanza.args.as_slice() else { return Some(Err(DecryptError::InvalidHeader)) };
        let encapsulation = STANDARD_NO_PAD.decode(argument).ok();
        let fits = |bytes: &Vec<u8>| bytes.len() == KEM_CIPHERTEXT_BYTES + X25519_BYTES;
        let Some(encapsulation) = encapsulation.filter(fits).filter(|_| stanza.body.len() == BODY_BYTES) else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        // A failure says only that it was made for another key.
        self.open(&encapsulation, &stanza.body).map(Ok)
    }
}

impl Recipient {
    /// Reads `age1pq1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = decode(text, "age1pq", KEM_PUBLIC_BYTES + X25519_BYTES)?;
        let (kem, x) = bytes.split_at_checked(KEM_PUBLIC_BYTES)?;
        let kem = Encapsulation::from_bytes(&Encoded::<Encapsulation>::try_from(kem).ok()?);
        let x: [u8; X25519_BYTES] = x.try_into().ok()?;
        Some(Self { kem, x25519: PublicKey::from(x) })
    }

    /// Encapsulation and encrypted file key. The random bytes are drawn here, as the age library does for its own kinds.
    fn seal(&self, file_key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut m, mut x) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        aws_lc_rs::rand::fill(m.as_mut_slice()).ok()?;
        aws_lc_rs::rand::fill(x.as_mut_slice()).ok()?;
        let (kem, kem_secret) = self.kem.encapsulate_deterministic(&(*m).into()).ok()?;
        let ephemeral = StaticSecret::from(*x);
        let public = PublicKey::from(&ephemeral);
        let shared = ephemeral.diffie_hellman(&self.x25519);
        let secret = combine(&kem_secret, shared.as_bytes(), public.as_bytes(), self.x25519.as_bytes());
        let (key, nonce) = schedule(&secret)?;
        let mut body = file_key.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        Some(([kem.as_slice(), public.as_bytes()].concat(), body))
    }
}

impl ::age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let failed = || EncryptError::Io(std::io::Error::other("post-quantum encryption failed"));
        let (encapsulation, body) = self.seal(file_key.expose_secret()).ok_or_else(failed)?;
        let stanza = Stanza { tag: STANZA.into(), args: vec![STANDARD_NO_PAD.encode(encapsulation)], body };
        Ok((vec![stanza], HashSet::from(["postquantum".to_owned()])))
    }
}

/// X-Wing's combiner.
fn combine(kem: &[u8], shared: &[u8], ephemeral: &[u8], public: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha3_256::default();
    for part in [kem, shared, ephemeral, public, X_WING_LABEL] {
        sha3::Digest::update(&mut hash, part);
    }
    Zeroizing::new(hash.finalize().into())
}

/// HPKE's key schedule in base mode, for one message.
fn schedule(secret: &[u8; 32]) -> Option<(LessSafeKey, Nonce)> {
    let psk = extract(b"", b"psk_id_hash", b"")?;
    let info = extract(b"", b"info_hash", INFO)?;
    let context = [&[0u8][..], psk.as_slice(), info.as_slice()].concat();
    let prk = extract(secret, b"secret", b"")?;
    let key = expand(&prk, b"key", &context, 32)?;
    let nonce = expand(&prk, b"base_nonce", &context, 12)?;
    let nonce: [u8; 12] = nonce.get(..12)?.try_into().ok()?;
    Some((LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).ok()?), Nonce::assume_unique_for_key(nonce)))
}

fn extract(salt: &[u8], label: &[u8], input: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).ok()?;
    for part in [b"HPKE-v1", SUITE, label, input] {
        mac.update(part);
    }
    Some(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// At most 32 bytes: one block of HKDF-Expand, cut by the caller.
fn expand(prk: &[u8; 32], label: &[u8], info: &[u8], length: u16) -> Option<Zeroizing<[u8; 32]>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(prk).ok()?;
    for part in [&length.to_be_bytes()[..], b"HPKE-v1", SUITE, label, info, &[1]] {
        mac.update(part);
    }
    Some(Zeroizing::new(mac.finalize().into_bytes().into()))
}
