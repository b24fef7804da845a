//! One value, sealed and opened: RSA-OAEP (SHA-256 for hash and MGF1, the scope as label) around a 32-byte session
//! key, AES-256-GCM around the value with twelve zero bytes as nonce and no associated data.
//!
//! Randomness: `pure` takes random bytes as arguments, with this one exception. OAEP draws its own padding inside
//! aws-lc, so a seal can never be repeatable, and a session key handed in from outside could be handed in twice, which
//! under a fixed nonce would give the plaintext away. Both therefore come from the library's system generator.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey};
use zeroize::Zeroizing;

use super::blob::{Blob, TAG_BYTES};
use crate::pure::secret::Plaintext;

const SESSION_KEY_BYTES: usize = 32;

/// Room for what an RSA key can hold: the largest modulus that aws-lc takes is 8192 bits.
const LARGEST_MODULUS_BYTES: usize = 1024;

/// Why one key did not open one value. Says nothing about the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// The session key does not open: another key, or another scope, name or namespace. RSA cannot tell which.
    NotThisKey,
    /// The session key opened, so key and scope are right, and yet the value fails its tag: the text was changed.
    Damaged,
}

/// The value could not be sealed.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("sealing failed in the cryptographic library; is the public key at least 2048 bits?")]
pub struct SealFailure;

/// Opens one value under one key and label. Costs one private-key operation, whether it succeeds or not.
pub fn open(blob: &Blob, key: &OaepPrivateDecryptingKey, label: &[u8]) -> Result<Plaintext, OpenFailure> {
    if blob.wrapped.len() != key.key_size_bytes() {
        return Err(OpenFailure::NotThisKey);
    }
    let mut room = Zeroizing::new([0u8; LARGEST_MODULUS_BYTES]);
    let room = room.get_mut(..key.min_output_size()).ok_or(OpenFailure::NotThisKey)?;
    let session_key =
        key.decrypt(&OAEP_SHA256_MGF1SHA256, &blob.wrapped, room, Some(label)).map_err(|_| OpenFailure::NotThisKey)?;
    let cipher = cipher(session_key).map_err(|_| OpenFailure::Damaged)?;
    let mut value = Zeroizing::new(blob.ciphertext.clone());
    let length = cipher.open_in_place(nonce(), Aad::empty(), &mut value).map_err(|_| OpenFailure::Damaged)?.len();
    value.truncate(length);
    Ok(Plaintext::new(std::mem::take(&mut *value)))
}

/// Seals one value to a public key under a label.
pub fn seal(value: &Plaintext, key: &OaepPublicEncryptingKey, label: &[u8]) -> Result<Blob, SealFailure> {
    let mut session_key = Zeroizing::new([0u8; SESSION_KEY_BYTES]);
    SystemRandom::new().fill(session_key.as_mut_slice()).map_err(|_| SealFailure)?;
    let mut wrapped = vec![0u8; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, session_key.as_slice(), &mut wrapped, Some(label))
        .map_err(|_| SealFailure)?
        .len();
    wrapped.truncate(length);
    // Room for the tag from the start: growing would leave a copy of the value behind.
    let mut ciphertext = Vec::with_capacity(value.len() + TAG_BYTES);
    ciphertext.extend_from_slice(value.expose());
    cipher(session_key.as_slice())?
        .seal_in_place_append_tag(nonce(), Aad::empty(), &mut ciphertext)
        .map_err(|_| SealFailure)?;
    Ok(Blob { wrapped, ciphertext })
}

fn cipher(session_key: &[u8]) -> Result<LessSafeKey, SealFailure> {
    UnboundKey::new(&AES_256_GCM, session_key).map(LessSafeKey::new).map_err(|_| SealFailure)
}

/// Safe as a constant only because each session key is used once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0u8; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};

    fn pair() -> (OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey) {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("generates");
        let public = OaepPublicEncryptingKey::new(private.public_key()).expect("public");
        (OaepPrivateDecryptingKey::new(private.clone()).expect("private"), public, private)
    }

    #[test]
    fn opens_only_under_its_key_label_and_bytes() {
        let (private, public, _) = pair();
        for value in [&b""[..], b"x", &[0xff; 5000]] {
            let blob = seal(&Plaintext::copy_of(value), &public, b"ns/name").expect("seals");
            assert_eq!(blob.to_bytes().len(), 2 + 256 + value.len() + TAG_BYTES);
            assert!(open(&blob, &private, b"ns/name").is_ok_and(|v| v.expose() == value));
            for label in [&b""[..], b"ns", b"ns/other"] {
                assert_eq!(open(&blob, &private, label).err(), Some(OpenFailure::NotThisKey));
            }
            let mut damaged = blob.clone();
            *damaged.ciphertext.last_mut().expect("tag") ^= 1;
            assert_eq!(open(&damaged, &private, b"ns/name").err(), Some(OpenFailure::Damaged));
            damaged.ciphertext.clear();
            assert_eq!(open(&damaged, &private, b"ns/name").err(), Some(OpenFailure::Damaged));
            assert_eq!(open(&blob, &pair().0, b"ns/name").err(), Some(OpenFailure::NotThisKey));
            damaged.wrapped.pop();
            assert_eq!(open(&damaged, &private, b"ns/name").err(), Some(OpenFailure::NotThisKey));
        }
    }

    /// The `rsa` crate is a second implementation: what we seal it must open, by the description of the format alone.
    #[test]
    fn a_second_implementation_agrees() {
        use aes_gcm::aead::{Aead as _, KeyInit as _};
        use rsa::pkcs8::DecodePrivateKey as _;
        let (_, public, private) = pair();
        let der = AsDer::<Pkcs8V1Der<'static>>::as_der(&private);
        let theirs = rsa::RsaPrivateKey::from_pkcs8_der(der.expect("der").as_ref()).expect("parses");
        let blob = seal(&Plaintext::copy_of(b"hello"), &public, b"ns").expect("seals");
        let padding = rsa::Oaep::new_with_label::<rsa::sha2::Sha256, _>("ns");
        let key = theirs.decrypt(padding, &blob.wrapped).expect("opens");
        let cipher = aes_gcm::Aes256Gcm::new_from_slice(&key).expect("32 bytes");
        let nonce = aes_gcm::Nonce::try_from(&[0u8; 12][..]).expect("12 bytes");
        assert_eq!(cipher.decrypt(&nonce, blob.ciphertext.as_slice()).expect("opens"), b"hello");
    }
}
