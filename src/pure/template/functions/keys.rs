//! PEM, DER and private keys for the functions that make or read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::PrivateKeyInfo;
use zeroize::Zeroizing;

use super::super::bytes::Buffer;
use super::super::error::Fault;
use super::strings::{find, trim_space};

/// A PEM block.
pub(super) struct Block {
    pub label: String,
    pub headers: Vec<(String, String)>,
    pub der: Zeroizing<Vec<u8>>,
}

/// The first block of `text` and what follows it. Broken blocks are skipped, as in Go.
pub(super) fn decode(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut rest = text;
    loop {
        let at = find(rest, b"-----BEGIN ")?;
        let line_start = at == 0 || rest.get(at - 1) == Some(&b'\n');
        let after = rest.get(at + 11..)?;
        rest = after;
        if !line_start {
            continue;
        }
        let line_end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
        let line = trim_end(after.get(..line_end)?);
        let Some(label) = line.strip_suffix(b"-----").and_then(|label| std::str::from_utf8(label).ok()) else {
            continue;
        };
        let body = after.get((line_end + 1).min(after.len())..)?;
        let end = format!("-----END {label}-----");
        let Some(end_at) = find(body, end.as_bytes()) else { continue };
        let tail = body.get(end_at + end.len()..)?;
        let tail_end = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |at| at + 1);
        if !trim_space(tail.get(..tail_end)?).is_empty() {
            continue;
        }
        let Some((headers, base64)) = headers(body.get(..end_at)?) else { continue };
        let compact: Zeroizing<Vec<u8>> =
            Zeroizing::new(base64.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let Ok(der) = STANDARD.decode(compact.as_slice()) else { continue };
        let block = Block { label: label.to_owned(), headers, der: Zeroizing::new(der) };
        return Some((block, tail.get(tail_end..)?));
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).map_or(0, |at| at + 1);
    line.get(..end).unwrap_or_default()
}

type Headers = Vec<(String, String)>;

fn headers(body: &[u8]) -> Option<(Headers, &[u8])> {
    let (mut headers, mut rest) = (Vec::new(), body);
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let Some((key, value)) = line.split_once(':') else { return Some((headers, rest)) };
        headers.push((key.trim().to_owned(), value.trim().to_owned()));
        rest = rest.get((end + 1).min(rest.len())..)?;
    }
}

/// A PEM block with lines of 64 characters.
pub(super) fn encode(out: &mut Buffer, label: &str, headers: &[(String, String)], der: &[u8]) {
    out.text(&format!("-----BEGIN {label}-----\n"));
    if !headers.is_empty() {
        let mut sorted: Vec<_> = headers.iter().collect();
        sorted.sort_by_key(|(key, _)| (key != "Proc-Type", key.as_str()));
        sorted.iter().for_each(|(key, value)| out.text(&format!("{key}: {value}\n")));
        out.push(b'\n');
    }
    let base64 = Zeroizing::new(STANDARD.encode(der));
    for line in base64.as_bytes().chunks(64) {
        out.extend(line);
        out.push(b'\n');
    }
    out.text(&format!("-----END {label}-----\n"));
}

/// A DER element.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 6));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = (length as u64).to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | (8 - skip) as u8);
            out.extend(bytes.iter().skip(skip));
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A DER integer from big-endian bytes.
pub(super) fn integer(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(skip..).unwrap_or_default();
    if digits.first().is_none_or(|first| *first >= 0x80) { der(2, &[&[0], digits]) } else { der(2, &[digits]) }
}

/// Reads one DER element: tag, content, rest.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    let (length, start) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
        (digits.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)), 2 + count)
    };
    Some((tag, bytes.get(start..start + length)?, bytes.get(start + length..)?))
}

/// What a private key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Kind {
    /// The curve's object identifier, as DER.
    pub fn curve(self) -> &'static [u8] {
        match self {
            Self::P256 => &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
            Self::P384 => &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
            Self::P521 => &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
            Self::Rsa | Self::Ed25519 => &[],
        }
    }

    fn of_curve(oid: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|kind| kind.curve() == oid)
    }

    /// The algorithm identifier of public and PKCS#8 keys.
    pub fn algorithm(self) -> Zeroizing<Vec<u8>> {
        const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
        const EC: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
        match self {
            Self::Rsa => der(0x30, &[RSA]),
            Self::Ed25519 => der(0x30, &[ED25519]),
            curve => der(0x30, &[EC, curve.curve()]),
        }
    }

    pub fn signature(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

/// A private key.
pub(super) struct Key {
    pub kind: Kind,
    /// PKCS#8.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

/// PKCS#8 around the inner form of a key.
pub(super) fn pkcs8(kind: Kind, inner: &[u8]) -> Zeroizing<Vec<u8>> {
    der(0x30, &[&[2, 1, 0], &kind.algorithm(), &der(4, &[inner])])
}

impl Key {
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let info = PrivateKeyInfo::try_from(bytes).ok()?;
        let kind = match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => Kind::Rsa,
            "1.3.101.112" => Kind::Ed25519,
            "1.2.840.10045.2.1" => match info.algorithm.parameters_oid().ok()?.to_string().as_str() {
                "1.2.840.10045.3.1.7" => Kind::P256,
                "1.3.132.0.34" => Kind::P384,
                "1.3.132.0.35" => Kind::P521,
                _ => return None,
            },
            _ => return None,
        };
        let key = Self { kind, pkcs8: Zeroizing::new(bytes.to_vec()) };
        key.pair().map(|_| key)
    }

    pub fn from_pkcs1(bytes: &[u8]) -> Option<Self> {
        let key = Self { kind: Kind::Rsa, pkcs8: pkcs8(Kind::Rsa, bytes) };
        key.pair().map(|_| key)
    }

    /// SEC 1, which must name its curve.
    pub fn from_sec1(bytes: &[u8]) -> Option<Self> {
        let (_, mut rest, _) = element(bytes).filter(|(tag, ..)| *tag == 0x30)?;
        while let Some((tag, content, tail)) = element(rest) {
            if tag == 0xa0 {
                let kind = Kind::of_curve(content)?;
                let key = Self { kind, pkcs8: pkcs8(kind, bytes) };
                return key.pair().map(|_| key);
            }
            rest = tail;
        }
        None
    }

    /// For signing. `None` is a key that the library refuses.
    pub fn pair(&self) -> Option<rcgen::KeyPair> {
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&self.pkcs8.as_slice().into(), self.kind.signature()).ok()
    }

    fn inner(&self) -> Option<&[u8]> {
        PrivateKeyInfo::try_from(self.pkcs8.as_slice()).ok().map(|info| info.private_key)
    }

    /// Label and DER as sprig writes a key: PKCS#1 for RSA, SEC 1 for curves, PKCS#8 for the rest.
    pub fn traditional(&self) -> Option<(&'static str, Zeroizing<Vec<u8>>)> {
        match self.kind {
            Kind::Ed25519 => Some(("PRIVATE KEY", self.without_public()?)),
            Kind::Rsa => Some(("RSA PRIVATE KEY", Zeroizing::new(self.inner()?.to_vec()))),
            kind => {
                let (_, content, _) = element(self.inner()?)?;
                let (mut parts, mut rest) = (Vec::new(), content);
                while let Some((tag, content, tail)) = element(rest) {
                    if tag != 0xa0 {
                        parts.push(der(tag, &[content]));
                    }
                    rest = tail;
                }
                // The curve goes between the number and the public key.
                parts.insert(2.min(parts.len()), der(0xa0, &[kind.curve()]));
                let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
                Some(("EC PRIVATE KEY", der(0x30, &parts)))
            }
        }
    }

    /// PKCS#8 as Go writes it: no attributes, a curve named once and its point always there.
    pub fn normal(&self) -> Option<Zeroizing<Vec<u8>>> {
        let inner = self.inner()?;
        if matches!(self.kind, Kind::Rsa | Kind::Ed25519) {
            return Some(pkcs8(self.kind, inner));
        }
        let (_, content, _) = element(inner)?;
        let (_, _, rest) = element(content)?;
        let (_, secret, _) = element(rest)?;
        let pair = self.pair()?;
        let point = der(0xa1, &[&der(3, &[&[0], pair.public_key_raw()])]);
        Some(pkcs8(self.kind, &der(0x30, &[&[2, 1, 1], &der(4, &[secret]), &point])))
    }

    /// PKCS#8 version 1: aws-lc adds the public key of Ed25519, Go does not.
    fn without_public(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(pkcs8(self.kind, self.inner()?))
    }

    /// Any of the three forms, as ExternalSecrets tries them.
    pub fn from_der(bytes: &[u8]) -> Option<Self> {
        Self::from_pkcs1(bytes).or_else(|| Self::from_pkcs8(bytes)).or_else(|| Self::from_sec1(bytes))
    }

    /// The key of a PEM text, with sprig's errors.
    pub fn from_pem(text: &[u8]) -> Result<Self, Fault> {
        let Some((block, _)) = decode(text) else { return Err(Fault::plain("no PEM data in input")) };
        let refused = |what: &str| Fault::withheld(what.to_owned());
        match block.label.strip_suffix("PRIVATE KEY") {
            Some("") => Self::from_pkcs8(&block.der).ok_or_else(|| refused("decoding PEM as PKCS#8")),
            Some("RSA ") => Self::from_pkcs1(&block.der).ok_or_else(|| refused("parsing RSA private key from PEM")),
            Some("EC ") => Self::from_sec1(&block.der).ok_or_else(|| refused("parsing EC private key from PEM")),
            Some("DSA ") => Err(refused("DSA keys are not supported")),
            Some(other) if other.ends_with(' ') => {
                Err(Fault::plain(format!("invalid private key type {}", other.trim_end())))
            }
            _ => Err(Fault::plain(format!("no private key data in PEM block of type {}", block.label))),
        }
    }
}
