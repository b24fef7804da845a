//! The wire format of one sealed value.
//!
//! base64 (standard alphabet, padded; CR and LF are ignored) of: a 2-byte big-endian length N, N bytes of RSA-OAEP
//! ciphertext of the session key, and the AES-256-GCM ciphertext with its 16-byte tag.

use sha2::{Digest as _, Sha256};

/// Bytes of the AES-GCM tag.
pub const TAG_BYTES: usize = 16;

/// A text that is not base64, with the offset that Go's decoder reports for it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("illegal base64 data at input byte {0}")]
pub struct IllegalBase64(pub usize);

/// A sealed value, split. It names neither its key nor its scope nor its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// RSA-OAEP ciphertext of the session key.
    pub wrapped: Vec<u8>,
    /// AES-GCM ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Identifies a sealed value: SHA-256 of its wrapped session key. Ciphertext, so nothing secret.
pub type BlobDigest = [u8; 32];

/// Bytes that cannot be a sealed value: fewer than they say or than the format needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value is cut short")]
pub struct TooShort;

impl Blob {
    /// Splits the decoded bytes. Values without a whole tag pass here, since only opening can tell what they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let (length, rest) = bytes.split_at_checked(2).ok_or(TooShort)?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (wrapped, ciphertext) = rest.split_at_checked(length).ok_or(TooShort)?;
        Ok(Self { wrapped: wrapped.to_vec(), ciphertext: ciphertext.to_vec() })
    }

    /// The bytes again.
    pub fn to_bytes(&self) -> Vec<u8> {
        // An RSA ciphertext has at most 1 KiB: the largest key taken is 8192 bits.
        let length = u16::try_from(self.wrapped.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(2 + self.wrapped.len() + self.ciphertext.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.wrapped);
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// See [`BlobDigest`].
    pub fn digest(&self) -> BlobDigest {
        Sha256::digest(&self.wrapped).into()
    }
}

/// Decodes as Go's `base64.StdEncoding` does, with its error offsets: users and tests read them.
pub fn decode(text: &str) -> Result<Vec<u8>, IllegalBase64> {
    let input = text.as_bytes();
    let mut out = Vec::with_capacity(input.len() / 4 * 3 + 3);
    let mut at = 0;
    loop {
        let (mut quantum, mut count) = (0u32, 0usize);
        while count < 4 {
            let Some(byte) = input.get(at).copied() else {
                // The offset counts back over the characters of the unfinished group.
                return if count == 0 { Ok(out) } else { Err(IllegalBase64(at - count)) };
            };
            at += 1;
            match (sextet(byte), byte) {
                (Some(bits), _) => {
                    quantum = quantum << 6 | bits;
                    count += 1;
                }
                (None, b'\r' | b'\n') => {}
                (None, b'=') if count >= 2 => {
                    check_padding(input, at, count)?;
                    let bytes = (quantum << (6 * (4 - count))).to_be_bytes();
                    out.extend(bytes.iter().skip(1).take(count - 1));
                    return Ok(out);
                }
                _ => return Err(IllegalBase64(at - 1)),
            }
        }
        out.extend(quantum.to_be_bytes().iter().skip(1));
    }
}

/// Checks what follows the first `=` of a group of `count` characters, and that nothing but line ends comes after it.
fn check_padding(input: &[u8], mut at: usize, count: usize) -> Result<(), IllegalBase64> {
    let skip = |mut at: usize| {
        while matches!(input.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    if count == 2 {
        at = skip(at);
        match input.get(at) {
            None => return Err(IllegalBase64(input.len())),
            Some(b'=') => at += 1,
            Some(_) => return Err(IllegalBase64(at - 1)),
        }
    }
    at = skip(at);
    if at < input.len() { Err(IllegalBase64(at)) } else { Ok(()) }
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_go_decodes_with_its_offsets() {
        // Answers of Go 1.26's base64.StdEncoding.DecodeString.
        for (text, expected) in [
            ("", Ok(&b""[..])),
            ("Zg==", Ok(b"f")),
            ("Zm8=", Ok(b"fo")),
            ("Zm9v", Ok(b"foo")),
            ("Zm\n9v\r\nYg\n=\n=\n", Ok(b"foob")),
            ("Zh==", Ok(b"f")),
            ("Z", Err(0)),
            ("Zg", Err(0)),
            ("Zg=", Err(3)),
            ("Zm9vZ", Err(4)),
            ("Zm9vZg", Err(4)),
            ("Zm9v Zg==", Err(4)),
            ("Zm9v=", Err(4)),
            ("Z===", Err(1)),
            ("Zg=a", Err(2)),
            ("Zg==Zg==", Err(4)),
            ("Zm8==", Err(4)),
            ("====", Err(0)),
            ("Zm-v", Err(2)),
            ("\u{e9}", Err(0)),
            ("Zm\n8", Err(1)),
            ("Zg\n=\n", Err(5)),
            ("Zm9vZm\n9", Err(5)),
        ] {
            let expected = expected.map(<[u8]>::to_vec).map_err(IllegalBase64);
            assert_eq!(decode(text), expected, "{text:?}");
        }
    }

    #[test]
    fn blobs_split_and_join() {
        let bytes = [0, 3, 1, 2, 3, 9, 9];
        let blob = Blob::parse(&bytes).expect("parses");
        assert_eq!((blob.wrapped.as_slice(), blob.ciphertext.as_slice()), (&[1, 2, 3][..], &[9, 9][..]));
        assert_eq!(blob.to_bytes(), bytes);
        for short in [&[][..], &[0], &[0, 1], &[1, 0, 1, 2]] {
            assert_eq!(Blob::parse(short), Err(TooShort), "{short:?}");
        }
        assert!(Blob::parse(&[0, 0]).is_ok());
    }
}
