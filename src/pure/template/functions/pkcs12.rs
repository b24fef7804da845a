//! PKCS#12 (RFC 7292): keys and certificates in one file, under a password.
//!
//! Files of every profile that ExternalSecrets' library reads are read; what is written is its modern profile (AES-256
//! in CBC mode under PBKDF2 with SHA-256, MAC with SHA-256) and Java's trust store.

mod crypt;
mod name;
mod read;
mod write;

use super::super::bytes::Buffer;
use super::super::error::Fault;
use super::super::types::Type;
use super::encoding::base64_of;
use super::keys::{Key, decode, encode};
use super::{Arguments, Context, Function, Result, made, prefixed, text};

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("pkcs12key", &[STR], |context, args| key(context, b"", args.bytes(0))),
    Function::new("pkcs12keyPass", &[STR, STR], |context, args| key(context, args.bytes(0), args.bytes(1))),
    Function::new("pkcs12cert", &[STR], |context, args| certificates(context, b"", args.bytes(0))),
    Function::new("pkcs12certPass", &[STR, STR], |context, args| certificates(context, args.bytes(0), args.bytes(1))),
    Function::new("pemToPkcs12", &[STR, STR], |context, args| {
        first_only(context, args.bytes(0), args.bytes(1), args.bytes(2))
    }),
    Function::new("pemToPkcs12Pass", &[STR, STR, STR], |context, args| {
        first_only(context, args.bytes(0), args.bytes(1), args.bytes(2))
    }),
    Function::new("fullPemToPkcs12", &[STR, STR], |context, args| {
        whole_chain(context, args.bytes(0), args.bytes(1), args.bytes(2))
    }),
    Function::new("fullPemToPkcs12Pass", &[STR, STR, STR], |context, args| {
        whole_chain(context, args.bytes(0), args.bytes(1), args.bytes(2))
    }),
    Function::new("pemTruststoreToPKCS12", &[STR], |context, args| trust_store(context, args.bytes(0), args.bytes(1))),
    Function::new("pemTruststoreToPKCS12Pass", &[STR, STR], |context, args| {
        trust_store(context, args.bytes(0), args.bytes(1))
    }),
];

type Der = zeroize::Zeroizing<Vec<u8>>;

fn key(context: &mut Context<'_, '_>, password: &[u8], file: &[u8]) -> Result {
    let opened = read::open(context.environment, file, password)
        .map_err(|fault| prefixed("unable to decode pkcs12 with password", fault))?;
    let mut out = Buffer::new();
    let plain = opened.key.normal().ok_or_else(|| Fault::withheld("the private key cannot be encoded"))?;
    encode(&mut out, "PRIVATE KEY", &[], &plain);
    made(out)
}

/// All certificates from leaf to root if they are one chain, else as they stand in the file.
fn certificates(context: &mut Context<'_, '_>, password: &[u8], file: &[u8]) -> Result {
    let opened = read::open(context.environment, file, password)
        .map_err(|fault| prefixed("unable to decode pkcs12 certificate with password", fault))?;
    let mut out = Buffer::new();
    opened.certificates.iter().for_each(|der| encode(&mut out, "CERTIFICATE", &[], der));
    let unordered = out.into_vec();
    match super::external::chain(&unordered) {
        Ok(links) => {
            let mut out = Buffer::new();
            links.iter().for_each(|link| encode(&mut out, "CERTIFICATE", &[], &link.block.der));
            made(out)
        }
        Err(_) => text(unordered),
    }
}

/// The first certificate of `rest`, which is cut. Go's library fails on a nil pointer where there is no PEM block.
fn certificate(rest: &mut &[u8]) -> std::result::Result<Der, Fault> {
    let (block, tail) = decode(rest).ok_or_else(|| Fault::withheld("no certificate: what is left is no PEM block"))?;
    *rest = tail;
    let whole = x509_parser::parse_x509_certificate(&block.der).is_ok_and(|(left, _)| left.is_empty());
    if whole { Ok(block.der) } else { Err(Fault::withheld("x509: malformed certificate")) }
}

fn certificates_of(mut rest: &[u8]) -> std::result::Result<Vec<Der>, Fault> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        all.push(certificate(&mut rest)?);
    }
    Ok(all)
}

fn private_key(pem: &[u8]) -> std::result::Result<Key, Fault> {
    let (block, _) = decode(pem).ok_or_else(|| Fault::withheld("no private key: the text is no PEM block"))?;
    Key::from_der(&block.der).ok_or_else(|| Fault::plain("unable to parse private key type"))
}

fn first_only(context: &mut Context<'_, '_>, certificates: &[u8], key: &[u8], password: &[u8]) -> Result {
    let leaf = certificate(&mut &*certificates)?;
    let file = write::key_store(context.environment, &private_key(key)?, &leaf, &[], password)?;
    text(base64_of(&file))
}

fn whole_chain(context: &mut Context<'_, '_>, certificates: &[u8], key: &[u8], password: &[u8]) -> Result {
    let mut rest = certificates;
    let leaf = certificate(&mut rest)?;
    let others = certificates_of(rest)?;
    let file = write::key_store(context.environment, &private_key(key)?, &leaf, &others, password)?;
    text(base64_of(&file))
}

fn trust_store(context: &mut Context<'_, '_>, certificates: &[u8], password: &[u8]) -> Result {
    let file = write::trust_store(context.environment, &certificates_of(certificates)?, password)?;
    text(base64_of(&file))
}
