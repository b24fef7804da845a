//! Reading a PKCS#12 file.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::super::super::budget::Environment;
use super::super::super::error::Fault;
use super::super::keys::{Key, element};
use super::Der;
use super::crypt::{self, Password};

type Outcome<T> = Result<T, Fault>;

/// DER elements one after the other.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

fn malformed() -> Fault {
    Fault::withheld("pkcs12: error reading P12 data: it is not a PKCS#12 file in DER")
}

impl<'a> Reader<'a> {
    /// The content of the next element, which must have this tag.
    pub fn take(&mut self, tag: u8) -> Outcome<&'a [u8]> {
        self.optional(tag).ok_or_else(malformed)
    }

    /// The same, if the next element has this tag.
    pub fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (_, content, rest) = element(self.0).filter(|(found, ..)| *found == tag)?;
        self.0 = rest;
        Some(content)
    }

    /// A reader of the next element's content.
    pub fn inner(&mut self, tag: u8) -> Outcome<Self> {
        self.take(tag).map(Reader)
    }

    /// A small number that is not negative.
    pub fn number(&mut self) -> Outcome<u64> {
        let digits = self.take(2)?;
        match digits.first() {
            Some(0..0x80) if digits.len() <= 8 => Ok(digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit))),
            _ => Err(malformed()),
        }
    }
}

/// What a file holds: one key, and certificates, of which the first is the key's.
pub(super) struct Opened {
    pub key: Key,
    pub certificates: Vec<Vec<u8>>,
}

const OID_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const OID_ENCRYPTED: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const OID_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 0x0a, 1, 1];
const OID_SEALED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 0x0a, 1, 2];
const OID_CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 0x0a, 1, 3];
const OID_X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x16, 1];

/// Checks the MAC and takes the file apart.
pub(super) fn open(environment: &mut Environment<'_>, file: &[u8], password: &[u8]) -> Outcome<Opened> {
    let mut password = Password::new(password)?;
    let mut reader = Reader(file);
    let mut pfx = reader.inner(0x30)?;
    if !reader.0.is_empty() {
        return Err(malformed());
    }
    let version = pfx.number()?;
    let mut safe = pfx.inner(0x30)?;
    if version != 3 {
        return Err(Fault::plain("pkcs12: can only decode v3 PFX PDU's"));
    }
    if safe.take(6)? != OID_DATA {
        return Err(Fault::plain("pkcs12: only password-protected PFX is implemented"));
    }
    let content = safe.inner(0xa0)?.take(4)?;
    match pfx.optional(0x30) {
        Some(mac) => verify(environment, Reader(mac), content, &mut password)?,
        None if password.is_empty() => {}
        None => return Err(Fault::plain("pkcs12: no MAC in data")),
    }
    let mut parts = Reader(content).inner(0x30)?;
    let mut contents = Vec::new();
    while !parts.0.is_empty() {
        contents.push(parts.inner(0x30)?);
    }
    if !(1..=2).contains(&contents.len()) {
        return Err(Fault::plain(format!(
            "pkcs12: expected between 1 and 2 items in the authenticated safe, but this file has {}",
            contents.len()
        )));
    }
    let mut bags = Bags { key: None, certificates: Vec::new() };
    for part in contents {
        let data = opened_part(environment, part, &password)?;
        bags.read(environment, Reader(&data).inner(0x30)?, &password)?;
    }
    if bags.certificates.is_empty() {
        return Err(Fault::plain("pkcs12: certificate missing"));
    }
    let key = bags.key.ok_or_else(|| Fault::plain("pkcs12: private key missing"))?;
    Ok(Opened { key, certificates: bags.certificates })
}

fn verify(
    environment: &mut Environment<'_>,
    mut mac: Reader<'_>,
    content: &[u8],
    password: &mut Password,
) -> Outcome<()> {
    let mut info = mac.inner(0x30)?;
    let algorithm = info.inner(0x30)?.take(6)?;
    let digest = info.take(4)?;
    let salt = mac.take(4)?;
    let count = if mac.0.is_empty() { 1 } else { mac.number()? };
    let key = crypt::mac_key(environment, algorithm, password, salt, count)?;
    if hmac::verify(&key, content, digest).is_ok() {
        return Ok(());
    }
    if password.is_empty() {
        // Some programs take no password for no bytes at all, and not for two zeros.
        let absent = Password::absent();
        let key = crypt::mac_key(environment, algorithm, &absent, salt, count)?;
        if hmac::verify(&key, content, digest).is_ok() {
            *password = absent;
            return Ok(());
        }
    }
    Err(Fault::plain("pkcs12: decryption password incorrect"))
}

/// The bags of one part of the file, plain.
fn opened_part(environment: &mut Environment<'_>, mut part: Reader<'_>, password: &Password) -> Outcome<Der> {
    match part.take(6)? {
        OID_DATA => Ok(Zeroizing::new(part.inner(0xa0)?.take(4)?.to_vec())),
        OID_ENCRYPTED => {
            let mut encrypted = part.inner(0xa0)?.inner(0x30)?;
            if encrypted.number()? != 0 {
                return Err(Fault::plain("pkcs12: only version 0 of EncryptedData is supported"));
            }
            let mut info = encrypted.inner(0x30)?;
            info.take(6)?;
            let algorithm = info.take(0x30)?;
            let sealed = info.optional(0x80).unwrap_or_default();
            crypt::decrypt(environment, algorithm, password, sealed)
        }
        _ => Err(Fault::plain("pkcs12: only data and encryptedData content types are supported in authenticated safe")),
    }
}

struct Bags {
    key: Option<Key>,
    certificates: Vec<Vec<u8>>,
}

impl Bags {
    fn read(&mut self, environment: &mut Environment<'_>, mut bags: Reader<'_>, password: &Password) -> Outcome<()> {
        while !bags.0.is_empty() {
            let mut bag = bags.inner(0x30)?;
            let kind = bag.take(6)?;
            let content = bag.take(0xa0)?;
            match kind {
                OID_CERTIFICATE_BAG => self.certificates.push(certificate(Reader(content))?),
                OID_KEY_BAG => self.add_key(content)?,
                OID_SEALED_KEY_BAG => {
                    let mut info = Reader(content).inner(0x30)?;
                    let algorithm = info.take(0x30)?;
                    let plain = crypt::decrypt(environment, algorithm, password, info.take(4)?);
                    let wrapped = |fault| super::prefixed("pkcs12: error decrypting PKCS#8 shrouded key bag", fault);
                    self.add_key(&plain.map_err(wrapped)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_key(&mut self, pkcs8: &[u8]) -> Outcome<()> {
        if self.key.is_some() {
            return Err(Fault::plain("pkcs12: expected exactly one key bag"));
        }
        let key = Key::from_pkcs8(pkcs8);
        self.key = Some(key.ok_or_else(|| Fault::withheld("pkcs12: error parsing PKCS#8 private key"))?);
        Ok(())
    }
}

fn certificate(mut bag: Reader<'_>) -> Outcome<Vec<u8>> {
    let mut bag = bag.inner(0x30)?;
    if bag.take(6)? != OID_X509 {
        return Err(Fault::plain("pkcs12: only X509 certificates are supported in cert bags"));
    }
    let der = bag.inner(0xa0)?.take(4)?;
    let whole = x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
    if whole { Ok(der.to_vec()) } else { Err(Fault::withheld("x509: malformed certificate")) }
}
