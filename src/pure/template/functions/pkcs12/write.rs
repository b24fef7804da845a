//! Writing PKCS#12 files: a key with its certificates, and Java's trust store.

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::super::super::budget::Environment;
use super::super::super::error::Fault;
use super::super::keys::{Key, der};
use super::crypt::{self, Password, WRITTEN_ROUNDS};
use super::{Der, name};

type Outcome<T> = Result<T, Fault>;

/// Object identifiers as whole DER elements.
const DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const SEALED_KEY_BAG: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 0x0a, 1, 2];
const CERTIFICATE_BAG: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 0x0c, 0x0a, 1, 3];
const X509: &[u8] = &[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x16, 1];
const FRIENDLY_NAME: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x14];
const LOCAL_KEY_ID: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x15];
/// 2.16.840.1.113894.746875.1.1: Java trusts what carries it, for the uses in it.
const JAVA_TRUST: &[u8] = &[6, 12, 0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1];
const ANY_USE: &[u8] = &[6, 4, 0x55, 0x1d, 0x25, 0];

fn oid(content: &[u8]) -> Der {
    der(6, &[content])
}

/// A file with a key, its certificate and the certificates above it. The key and its certificate are tied by the
/// certificate's SHA-1 digest, as every program does it.
pub(super) fn key_store(
    environment: &mut Environment<'_>,
    key: &Key,
    leaf: &[u8],
    others: &[Der],
    password: &[u8],
) -> Outcome<Der> {
    let password = Password::new(password)?;
    let id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf);
    let id = attribute(LOCAL_KEY_ID, &der(4, &[id.as_ref()]));
    let mut bags = vec![certificate_bag(leaf, &[&id])];
    bags.extend(others.iter().map(|other| certificate_bag(other, &[])));
    let certificates = encrypted_part(environment, &password, &sequence(&bags))?;

    let plain = key.normal().ok_or_else(|| Fault::withheld("the private key cannot be encoded"))?;
    let (algorithm, sealed) = sealed(environment, &password, &plain)?;
    let info = der(0x30, &[&algorithm, &der(4, &[&sealed])]);
    let bag = der(0x30, &[SEALED_KEY_BAG, &der(0xa0, &[&info]), &der(0x31, &[&id])]);
    let bags = der(0x30, &[&bag]);
    let keys = der(0x30, &[DATA, &der(0xa0, &[&der(4, &[&bags])])]);
    file(environment, &password, &[certificates, keys])
}

/// A file of certificates that Java takes for trusted. Each is known by its subject.
pub(super) fn trust_store(environment: &mut Environment<'_>, certificates: &[Der], password: &[u8]) -> Outcome<Der> {
    let password = Password::new(password)?;
    let mut bags = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        let subject = name::subject(certificate).ok_or_else(|| Fault::withheld("x509: malformed certificate"))?;
        let friendly = attribute(FRIENDLY_NAME, &der(0x1e, &[&crypt::wide(subject.as_bytes())?]));
        let mut attributes = [friendly, attribute(JAVA_TRUST, ANY_USE)];
        // A SET OF is in the order of its encoded members.
        attributes.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        bags.push(certificate_bag(certificate, &attributes.each_ref().map(|attribute| attribute.as_slice())));
    }
    let part = encrypted_part(environment, &password, &sequence(&bags))?;
    file(environment, &password, &[part])
}

fn sequence(of: &[Der]) -> Der {
    der(0x30, &of.iter().map(|part| part.as_slice()).collect::<Vec<_>>())
}

fn attribute(id: &[u8], value: &[u8]) -> Der {
    der(0x30, &[id, &der(0x31, &[value])])
}

fn certificate_bag(certificate: &[u8], attributes: &[&[u8]]) -> Der {
    let content = der(0xa0, &[&der(0x30, &[X509, &der(0xa0, &[&der(4, &[certificate])])])]);
    if attributes.is_empty() {
        return der(0x30, &[CERTIFICATE_BAG, &content]);
    }
    der(0x30, &[CERTIFICATE_BAG, &content, &der(0x31, attributes)])
}

/// The algorithm identifier of an encryption, and what it made of `plain`.
fn sealed(environment: &mut Environment<'_>, password: &Password, plain: &[u8]) -> Outcome<(Der, Der)> {
    let (mut salt, mut vector) = ([0; 16], [0; 16]);
    environment.random(&mut salt);
    environment.random(&mut vector);
    let sealed = crypt::encrypt(environment, password, &salt, vector, plain)?;
    let prf = der(0x30, &[&oid(crypt::OID_HMAC_SHA256), &[5, 0]]);
    let derivation = der(0x30, &[&der(4, &[&salt]), &rounds(), &prf]);
    let derivation = der(0x30, &[&oid(crypt::OID_PBKDF2), &derivation]);
    let scheme = der(0x30, &[&oid(crypt::OID_AES_256), &der(4, &[&vector])]);
    let algorithm = der(0x30, &[&oid(crypt::OID_PBES2), &der(0x30, &[&derivation, &scheme])]);
    Ok((algorithm, sealed))
}

fn rounds() -> Der {
    der(2, &[&WRITTEN_ROUNDS.to_be_bytes()])
}

fn encrypted_part(environment: &mut Environment<'_>, password: &Password, bags: &[u8]) -> Outcome<Der> {
    let (algorithm, sealed) = sealed(environment, password, bags)?;
    let info = der(0x30, &[DATA, &algorithm, &der(0x80, &[&sealed])]);
    let encrypted = der(0x30, &[&[2, 1, 0], &info]);
    Ok(der(0x30, &[ENCRYPTED, &der(0xa0, &[&encrypted])]))
}

fn file(environment: &mut Environment<'_>, password: &Password, parts: &[Der]) -> Outcome<Der> {
    let content = sequence(parts);
    let mut salt = Zeroizing::new([0; 16]);
    environment.random(salt.as_mut_slice());
    let key = crypt::mac_key(environment, crypt::OID_SHA256, password, salt.as_slice(), WRITTEN_ROUNDS.into())?;
    let mac = hmac::sign(&key, &content);
    let algorithm = der(0x30, &[&oid(crypt::OID_SHA256), &[5, 0]]);
    let info = der(0x30, &[&algorithm, &der(4, &[mac.as_ref()])]);
    let mac = der(0x30, &[&info, &der(4, &[salt.as_slice()]), &rounds()]);
    let safe = der(0x30, &[DATA, &der(0xa0, &[&der(4, &[&content])])]);
    Ok(der(0x30, &[&[2, 1, 3], &safe, &mac]))
}
