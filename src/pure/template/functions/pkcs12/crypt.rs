//! Key derivation, ciphers and the MAC of PKCS#12.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey};
use aws_lc_rs::cipher::{EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, pbkdf2};
use des::cipher::{Array, BlockCipherDecrypt, BlockSizeUser, KeyInit};
use zeroize::Zeroizing;

use super::super::super::budget::Environment;
use super::super::super::error::Fault;
use super::super::super::runes;
use super::Der;
use super::read::Reader;

type Outcome<T> = Result<T, Fault>;

/// Rounds of a digest in a millisecond, roughly: a file names its own count.
const ROUNDS_PER_MS: u64 = 1_000;

/// What a password is used as.
pub(super) struct Password {
    /// UTF-16, big endian, with two zeros at its end; quite empty for files that some programs write without a password.
    wide: Zeroizing<Vec<u8>>,
    utf8: Zeroizing<String>,
}

impl Password {
    pub fn new(bytes: &[u8]) -> Outcome<Self> {
        let mut wide = wide(bytes)?;
        wide.extend([0, 0]);
        Ok(Self { wide, utf8: runes::runes(bytes).map(|(_, c, ..)| c).collect::<String>().into() })
    }

    pub fn is_empty(&self) -> bool {
        self.utf8.is_empty()
    }

    /// The other form of no password at all.
    pub fn absent() -> Self {
        Self { wide: Zeroizing::default(), utf8: Zeroizing::default() }
    }
}

/// A BMPString, which holds no character above U+FFFF.
pub(super) fn wide(bytes: &[u8]) -> Outcome<Der> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 2 + 2));
    for (_, c, ..) in runes::runes(bytes) {
        let unit = u16::try_from(u32::from(c))
            .map_err(|_| Fault::plain("pkcs12: string contains characters that cannot be encoded in UCS-2"))?;
        out.extend(unit.to_be_bytes());
    }
    Ok(out)
}

/// Takes the work of `rounds` from the budget, and gives them as a number that counts.
fn rounds(environment: &mut Environment<'_>, rounds: u64) -> Outcome<NonZeroU32> {
    environment.cost(usize::try_from(rounds / ROUNDS_PER_MS).unwrap_or(usize::MAX).saturating_add(1))?;
    let rounds = u32::try_from(rounds).ok().and_then(NonZeroU32::new);
    rounds.ok_or_else(|| Fault::withheld("pkcs12: an iteration count is out of range"))
}

/// Purposes of derived bytes (RFC 7292, appendix B.3).
const KEY: u8 = 1;
const VECTOR: u8 = 2;
const MAC: u8 = 3;

/// The derivation of RFC 7292, appendix B.2: `size` bytes for one purpose.
fn derive(
    hash: &'static digest::Algorithm,
    password: &[u8],
    salt: &[u8],
    rounds: NonZeroU32,
    purpose: u8,
    size: usize,
) -> Der {
    let block = hash.block_len();
    let repeated = |of: &[u8]| -> Der {
        let length = of.len().div_ceil(block) * block;
        Zeroizing::new(of.iter().copied().cycle().take(length).collect())
    };
    let mut input = repeated(salt);
    input.extend_from_slice(&repeated(password));
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    loop {
        let mut first = digest::Context::new(hash);
        first.update(&vec![purpose; block]);
        first.update(&input);
        let mut piece = first.finish();
        for _ in 1..rounds.get() {
            piece = digest::digest(hash, piece.as_ref());
        }
        let left = size.saturating_sub(out.len());
        out.extend(piece.as_ref().iter().take(left));
        if out.len() >= size {
            return out;
        }
        // Each block of the input becomes itself plus the repeated digest plus one, modulo its length.
        let addend: Der = Zeroizing::new(piece.as_ref().iter().copied().cycle().take(block).collect());
        for number in input.chunks_mut(block) {
            let mut carry = 1u16;
            for (digit, add) in number.iter_mut().zip(addend.iter()).rev() {
                let sum = u16::from(*digit) + u16::from(*add) + carry;
                *digit = sum as u8;
                carry = sum >> 8;
            }
        }
    }
}

const OID_SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
pub(super) const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const OID_SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// The MAC of a file, and the key to check it with.
pub(super) fn mac_key(
    environment: &mut Environment<'_>,
    algorithm: &[u8],
    password: &Password,
    salt: &[u8],
    count: u64,
) -> Outcome<hmac::Key> {
    let (hash, mac) = match algorithm {
        OID_SHA1 => (&SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        OID_SHA256 => (&SHA256, hmac::HMAC_SHA256),
        OID_SHA512 => (&SHA512, hmac::HMAC_SHA512),
        _ => return Err(Fault::withheld("pkcs12: MAC digest algorithm not supported")),
    };
    let count = rounds(environment, count)?;
    Ok(hmac::Key::new(mac, &derive(hash, &password.wide, salt, count, MAC, hash.output_len())))
}

const OID_3DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 1, 3];
const OID_RC2_128: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 1, 5];
const OID_RC2_40: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 1, 6];
pub(super) const OID_PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d];
pub(super) const OID_PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0c];
const OID_HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];
pub(super) const OID_HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const OID_HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 0x0b];
const OID_AES_128: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
const OID_AES_192: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x16];
pub(super) const OID_AES_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a];

fn malformed() -> Fault {
    Fault::withheld("pkcs12: malformed parameters of an encryption")
}

/// Decrypts `sealed` as its algorithm identifier (the content of it) says, and takes the padding off.
pub(super) fn decrypt(
    environment: &mut Environment<'_>,
    algorithm: &[u8],
    password: &Password,
    sealed: &[u8],
) -> Outcome<Der> {
    let mut reader = Reader(algorithm);
    let oid = reader.take(6)?;
    let mut parameters = reader.inner(0x30)?;
    let legacy = |bytes: usize| (bytes, KEY);
    let (plain, block) = match oid {
        OID_PBES2 => (pbes2(environment, parameters, password, sealed)?, 16),
        OID_3DES | OID_RC2_128 | OID_RC2_40 => {
            let salt = parameters.take(4)?;
            let count = rounds(environment, parameters.number()?)?;
            let bytes = |(size, purpose)| derive(&SHA1_FOR_LEGACY_USE_ONLY, &password.wide, salt, count, purpose, size);
            let vector = bytes((8, VECTOR));
            let plain = match oid {
                OID_3DES => cbc(des::TdesEde3::new_from_slice(&bytes(legacy(24))), &vector, sealed)?,
                OID_RC2_128 => cbc(rc2::Rc2::new_from_slice(&bytes(legacy(16))), &vector, sealed)?,
                _ => cbc(rc2::Rc2::new_from_slice(&bytes(legacy(5))), &vector, sealed)?,
            };
            (plain, 8)
        }
        _ => return Err(Fault::withheld("pkcs12: pbe algorithm is not supported")),
    };
    unpadded(plain, block)
}

/// CBC mode over a block cipher that aws-lc does not have.
fn cbc<C: BlockCipherDecrypt + BlockSizeUser>(
    cipher: Result<C, des::cipher::InvalidLength>,
    vector: &[u8],
    sealed: &[u8],
) -> Outcome<Der> {
    let cipher = cipher.map_err(|_| malformed())?;
    let mut out = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let mut previous = vector;
    for sealed in sealed.chunks(C::block_size()) {
        let mut block: Array<u8, C::BlockSize> = Array::try_from(sealed).map_err(|_| not_blocks())?;
        cipher.decrypt_block(&mut block);
        out.extend(block.iter().zip(previous).map(|(a, b)| a ^ b));
        previous = sealed;
    }
    Ok(out)
}

fn not_blocks() -> Fault {
    Fault::plain("pkcs12: input is not a multiple of the block size")
}

fn unpadded(mut plain: Der, block: usize) -> Outcome<Der> {
    let count = plain.last().copied().map(usize::from);
    let count = count.ok_or_else(|| Fault::plain("pkcs12: empty encrypted data"))?;
    let kept = plain.len().checked_sub(count).filter(|_| (1..=block).contains(&count));
    let kept = kept.filter(|kept| plain.iter().skip(*kept).all(|byte| usize::from(*byte) == count));
    let kept = kept.ok_or_else(|| Fault::plain("pkcs12: decryption error, incorrect padding"))?;
    plain.truncate(kept);
    Ok(plain)
}

/// RFC 8018: PBKDF2 and AES.
fn pbes2(environment: &mut Environment<'_>, mut of: Reader<'_>, password: &Password, sealed: &[u8]) -> Outcome<Der> {
    let unsupported = |what: &str| Fault::withheld(format!("pkcs12: the {what} of an encryption is not supported"));
    let (mut derivation, mut scheme) = (of.inner(0x30)?, of.inner(0x30)?);
    if derivation.take(6)? != OID_PBKDF2 {
        return Err(unsupported("key derivation"));
    }
    let mut parameters = derivation.inner(0x30)?;
    let salt = parameters.take(4)?;
    let count = rounds(environment, parameters.number()?)?;
    // The length of the key may stand here; the cipher says it too.
    let _ = parameters.optional(2);
    let prf = match parameters.optional(0x30) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(content) => match Reader(content).take(6)? {
            OID_HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
            OID_HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            OID_HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(unsupported("pseudo-random function")),
        },
    };
    let (aes, size) = match scheme.take(6)? {
        OID_AES_128 => (&AES_128, 16),
        OID_AES_192 => (&AES_192, 24),
        OID_AES_256 => (&AES_256, 32),
        _ => return Err(unsupported("cipher")),
    };
    let vector: [u8; 16] = scheme.take(4)?.try_into().map_err(|_| malformed())?;
    let mut key = Zeroizing::new(vec![0; size]);
    pbkdf2::derive(prf, count, salt, password.utf8.as_bytes(), &mut key);
    if !sealed.len().is_multiple_of(16) {
        return Err(not_blocks());
    }
    let mut plain = Zeroizing::new(sealed.to_vec());
    if !plain.is_empty() {
        let key = UnboundCipherKey::new(aes, &key).map_err(|_| malformed())?;
        let key = DecryptingKey::cbc(key).map_err(|_| malformed())?;
        key.decrypt(&mut plain, DecryptionContext::Iv128(FixedLength::from(vector))).map_err(|_| malformed())?;
    }
    Ok(plain)
}

/// Rounds of every derivation that is written, as ExternalSecrets' library has it.
pub(super) const WRITTEN_ROUNDS: u16 = 2048;

/// AES-256 in CBC mode with a key of PBKDF2 with SHA-256.
pub(super) fn encrypt(
    environment: &mut Environment<'_>,
    password: &Password,
    salt: &[u8; 16],
    vector: [u8; 16],
    plain: &[u8],
) -> Outcome<Der> {
    let failed = |_| Fault::withheld("encryption failed");
    let count = rounds(environment, WRITTEN_ROUNDS.into())?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, salt, password.utf8.as_bytes(), key.as_mut_slice());
    let padding = 16 - plain.len() % 16;
    let mut blocks = Zeroizing::new(Vec::with_capacity(plain.len() + padding));
    blocks.extend_from_slice(plain);
    blocks.resize(plain.len() + padding, padding as u8);
    let key = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(failed)?;
    let key = EncryptingKey::cbc(key).map_err(failed)?;
    key.less_safe_encrypt(&mut blocks, EncryptionContext::Iv128(FixedLength::from(vector))).map_err(failed)?;
    Ok(blocks)
}
