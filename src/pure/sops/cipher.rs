//! The encrypted value `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`: AES-256-GCM under the data key, with the path of the
//! value as additional data.

use aes_gcm::AesGcm;
use aes_gcm::aead::array::{Array, ArraySize};
use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pure::keys::DataKey;
use crate::pure::secret::Plaintext;

/// Bytes of the nonce that SOPS writes; GCM hashes anything but 12 bytes into its first counter.
pub(super) const NONCE_BYTES: usize = 32;

/// Why a value did not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CipherError {
    /// Not of the form of an encrypted value.
    NotEncrypted,
    /// Authentication failed.
    Damaged,
}

/// The fields of an encrypted value.
pub(super) struct Encrypted<'t> {
    pub data: Vec<u8>,
    pub iv: Vec<u8>,
    pub tag: [u8; 16],
    pub kind: &'t str,
}

impl<'t> Encrypted<'t> {
    /// Reads the text; what follows the closing bracket is ignored, as in SOPS.
    pub(super) fn parse(text: &'t [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let rest = text.strip_prefix("ENC[AES256_GCM,data:")?;
        let (data, rest) = rest.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, rest) = rest.split_once(",type:")?;
        let (kind, _) = rest.rsplit_once(']')?;
        if data.is_empty() || kind.is_empty() {
            return None;
        }
        let decode = |text: &str| STANDARD.decode(text).ok();
        let (data, iv, tag) = (decode(data)?, decode(iv)?, decode(tag)?);
        Some(Self { data, iv, tag: tag.try_into().ok()?, kind })
    }

    /// The text, always with padding.
    fn text(&self) -> String {
        // What Base64 makes of the three fields, and what stands around them.
        let length = (self.data.len() + self.iv.len() + self.tag.len()) * 4 / 3 + self.kind.len() + 64;
        let mut text = String::with_capacity(length);
        for (name, field) in [("ENC[AES256_GCM,data:", self.data.as_slice()), (",iv:", &self.iv), (",tag:", &self.tag)]
        {
            text.push_str(name);
            STANDARD.encode_string(field, &mut text);
        }
        for part in [",type:", self.kind, "]"] {
            text.push_str(part);
        }
        text
    }
}

/// Whether the text has the form of an encrypted value.
pub(super) fn looks_encrypted(text: &[u8]) -> bool {
    Encrypted::parse(text).is_some()
}

/// A data key made ready.
pub(super) struct Cipher {
    wide: Box<AesGcm<Aes256, U32>>,
    key: Array<u8, U32>,
}

impl Drop for Cipher {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key.0);
    }
}

impl Cipher {
    pub(super) fn new(key: &DataKey) -> Self {
        let key = Array(*key.expose());
        Self { wide: Box::new(AesGcm::new(&key)), key }
    }

    /// Reads and decrypts the text of a value under `aad`; the type that it names comes along. Nonces of 12, 16 and 32
    /// bytes are read; SOPS writes 32.
    pub(super) fn open_text<'t>(&self, text: &'t [u8], aad: &str) -> Result<(Plaintext, &'t str), CipherError> {
        let Encrypted { data, iv, tag, kind } = Encrypted::parse(text).ok_or(CipherError::NotEncrypted)?;
        let mut buffer = zeroize::Zeroizing::new(data);
        let opened = match iv.len() {
            32 => open_in_place::<U32>(&self.wide, &iv, tag, aad, &mut buffer),
            12 => open_in_place::<U12>(&AesGcm::new(&self.key), &iv, tag, aad, &mut buffer),
            16 => open_in_place::<U16>(&AesGcm::new(&self.key), &iv, tag, aad, &mut buffer),
            _ => None,
        };
        opened.ok_or(CipherError::Damaged)?;
        Ok((Plaintext::new(std::mem::take(&mut *buffer)), kind))
    }

    /// The text of a value, encrypted under `aad` with a nonce that must never repeat for this key with another plaintext.
    pub(super) fn seal_text(
        &self,
        plaintext: &[u8],
        kind: &str,
        aad: &str,
        nonce: [u8; NONCE_BYTES],
    ) -> Option<String> {
        let mut data = plaintext.to_vec();
        let tag = self.wide.encrypt_inout_detached(&Array(nonce), aad.as_bytes(), data.as_mut_slice().into()).ok()?;
        Some(Encrypted { data, iv: nonce.to_vec(), tag: tag.into(), kind }.text())
    }
}

fn open_in_place<N: ArraySize>(
    cipher: &AesGcm<Aes256, N>,
    iv: &[u8],
    tag: [u8; 16],
    aad: &str,
    buffer: &mut [u8],
) -> Option<()> {
    let nonce = Array::<u8, N>::try_from(iv).ok()?;
    cipher.decrypt_inout_detached(&nonce, aad.as_bytes(), buffer.into(), &Array(tag)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    cpufeatures::new!(always, "sse2");
    #[cfg(target_arch = "x86_64")]
    cpufeatures::new!(several, "aes", "avx2", "vaes");

    /// `deploy/cpufeatures`, which the cipher asks.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_the_processor_can_do_is_told_as_the_standard_library_tells_it() {
        use std::arch::is_x86_feature_detected as has;
        assert!(always::get() && always::init().get() && always::InitToken::init_get().1);
        let all = has!("aes") && has!("avx2") && has!("vaes");
        assert_eq!([several::get(), several::init_get().1, several::InitToken::init().get()], [all; 3]);
    }

    #[test]
    fn values_open_only_at_their_place() {
        let cipher = Cipher::new(&DataKey::new(&[1; 32]).expect("length"));
        let text = cipher.seal_text(b"value", "str", "a:b:", [9; 32]).expect("seals");
        let open = |text: &str, aad: &str| {
            cipher.open_text(text.as_bytes(), aad).map(|(p, k)| (p.expose().to_vec(), k.to_owned()))
        };
        assert_eq!(open(&text, "a:b:"), Ok((b"value".to_vec(), "str".into())));
        assert_eq!(open(&format!("{text} tail"), "a:b:"), Ok((b"value".to_vec(), "str".into())));
        assert_eq!(open(&text, "a:c:"), Err(CipherError::Damaged));
        for broken in
            ["", "value", " ENC[", "ENC[AES256_GCM,data:,iv:AA==,tag:AA==,type:str]", &text.replace("data:", "data:%")]
        {
            assert_eq!(open(broken, "a:b:"), Err(CipherError::NotEncrypted), "{broken}");
        }
        let short = Encrypted { iv: vec![0; 13], ..Encrypted::parse(text.as_bytes()).expect("what was sealed") };
        assert_eq!(open(&short.text(), "a:b:"), Err(CipherError::Damaged));
    }
}
