//! Base64, base32, hexadecimal and checksums. A decoder's error is returned as the text itself.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::bytes::{Buffer, ByteStr};
use super::super::types::Type;
use super::super::value::Value;
use super::strings::room;
use super::{Arguments, Function, Result, made, text};

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("b64enc", &[STR], |_, args| text(base64_of(args.bytes(0)))),
    Function::new("b64dec", &[STR], |_, args| decoded(base64_to(args.bytes(0)))),
    Function::new("b32enc", &[STR], |_, args| base32(args.bytes(0))),
    Function::new("b32dec", &[STR], |_, args| decoded(base32_to(args.bytes(0)))),
    Function::new("sha1sum", &[STR], |_, args| digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, args.bytes(0))),
    Function::new("sha256sum", &[STR], |_, args| digest(&aws_lc_rs::digest::SHA256, args.bytes(0))),
    Function::new("sha512sum", &[STR], |_, args| digest(&aws_lc_rs::digest::SHA512, args.bytes(0))),
    Function::new("adler32sum", &[STR], |_, args| text(adler32(args.bytes(0)).to_string())),
];

/// ExternalSecrets' copy of sprig has one more.
pub(super) const EXTERNAL: &[Function] = &[Function::new("hexdec", &[STR], |_, args| decoded(hex_to(args.bytes(0))))];

/// A decode error: Go's text. The offset is no secret.
pub(super) struct Illegal(pub String);

fn decoded(result: std::result::Result<Vec<u8>, Illegal>) -> Result {
    text(result.unwrap_or_else(|Illegal(message)| message.into_bytes()))
}

pub(super) fn base64_of(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Go's standard decoder: line ends inside are skipped, padding must be there, bits beyond the end do not matter.
pub(super) fn base64_to(bytes: &[u8]) -> std::result::Result<Vec<u8>, Illegal> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let clean: Vec<u8>;
    let plain = if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        clean = bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        clean.as_slice()
    } else {
        bytes
    };
    LENIENT.decode(plain).map_err(|_| Illegal(format!("illegal base64 data at input byte {}", base64_fault(bytes))))
}

/// Where Go's decoder stops. It reads quanta of four, and counts line ends.
fn base64_fault(bytes: &[u8]) -> usize {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let (mut at, length) = (0, bytes.len());
    let skip = |mut at: usize| {
        while matches!(bytes.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    loop {
        let mut taken = 0;
        while taken < 4 {
            let Some(byte) = bytes.get(at).copied() else {
                return if taken == 0 { length } else { at - taken };
            };
            at += 1;
            if matches!(byte, b'\r' | b'\n') {
                continue;
            }
            if digit(byte) {
                taken += 1;
                continue;
            }
            if byte != b'=' || taken < 2 {
                return at - 1;
            }
            if taken == 2 {
                at = skip(at);
                match bytes.get(at) {
                    None => return length,
                    Some(b'=') => at += 1,
                    Some(_) => return at - 1,
                }
            }
            return skip(at);
        }
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> Result {
    room(bytes.len().saturating_mul(2))?;
    let mut out = Buffer::with_capacity(bytes.len() * 8 / 5 + 8);
    for chunk in bytes.chunks(5) {
        let mut block = [0u8; 8];
        block.iter_mut().skip(3).zip(chunk).for_each(|(to, from)| *to = *from);
        let bits = u64::from_be_bytes(block);
        let digits = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let code = usize::try_from(bits >> (35 - 5 * index) & 31).unwrap_or(0);
            out.push(if index < digits { BASE32.get(code).copied().unwrap_or(b'A') } else { b'=' });
        }
    }
    made(out)
}

fn base32_to(bytes: &[u8]) -> std::result::Result<Vec<u8>, Illegal> {
    let fault = |at: usize| Illegal(format!("illegal base32 data at input byte {at}"));
    // Go takes the line ends out first, and counts without them.
    let clean: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut out = Vec::with_capacity(clean.len() * 5 / 8 + 5);
    let mut at = 0;
    while at < clean.len() {
        let (mut bits, mut digits, mut padded) = (0u64, 0usize, false);
        while digits < 8 {
            let Some(byte) = clean.get(at).copied() else {
                // The data ends inside a quantum.
                return Err(fault(clean.len() - digits));
            };
            at += 1;
            // Padding is looked for in the last quantum only.
            if byte == b'=' && digits >= 2 && clean.len() - at < 8 {
                let rest = clean.get(at..).unwrap_or_default();
                let wanted = 7 - digits;
                if rest.len() < wanted {
                    return Err(fault(clean.len()));
                }
                if let Some(bad) = rest.iter().take(wanted).position(|byte| *byte != b'=') {
                    return Err(fault(at + bad - 1));
                }
                if matches!(digits, 3 | 6) || digits == 1 {
                    return Err(fault(at - 1));
                }
                at += wanted;
                padded = true;
                break;
            }
            let Some(code) = BASE32.iter().position(|digit| *digit == byte) else { return Err(fault(at - 1)) };
            bits = bits << 5 | code as u64;
            digits += 1;
        }
        let block = (bits << (5 * (8 - digits))).to_be_bytes();
        out.extend(block.iter().skip(3).take(digits * 5 / 8));
        if padded {
            // Go's decoder does not look at what follows the end.
            break;
        }
    }
    Ok(out)
}

fn hex_to(bytes: &[u8]) -> std::result::Result<Vec<u8>, Illegal> {
    if let Some(bad) = bytes.iter().find(|byte| !byte.is_ascii_hexdigit()) {
        // Go shows the byte, which may be one of a secret; the text is a value here, not an error.
        let shown = super::super::runes::code_point(*bad as char);
        return Err(Illegal(format!("encoding/hex: invalid byte: {shown}")));
    }
    hex::decode(bytes).map_err(|_| Illegal("encoding/hex: odd length hex string".to_owned()))
}

fn digest(algorithm: &'static aws_lc_rs::digest::Algorithm, bytes: &[u8]) -> Result {
    Ok(Value::Str(ByteStr::from(hex::encode(aws_lc_rs::digest::digest(algorithm, bytes)))))
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    high << 16 | low
}
