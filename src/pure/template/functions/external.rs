//! What ExternalSecrets' engine v2 adds to sprig: PEM, certificate chains, JSON web keys, RSA.

use rsa::BigUint;
use rsa::pkcs8::EncodePrivateKey;
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::types::Type;
use super::super::value::{Map, Value};
use super::json;
use super::keys::{Block, Key, Kind, decode, der, encode, integer, pkcs8};
use super::strings::find;
use super::{Arguments, Context, Function, Result, made, text};

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("filterPEM", &[STR, STR], filter_pem),
    Function::new("filterCertChain", &[STR, STR], filter_cert_chain),
    Function::new("certSANs", &[STR], cert_sans),
    Function::new("jwkPublicKeyPem", &[STR], |_, args| jwk(args.bytes(0), false)),
    Function::new("jwkPrivateKeyPem", &[STR], |_, args| jwk(args.bytes(0), true)),
    Function::new("rsaDecrypt", &[STR, STR, STR, STR], rsa_decrypt),
];

/// Text before the first block does not matter.
fn without_junk(bytes: &[u8]) -> &[u8] {
    find(bytes, b"-----BEGIN").and_then(|at| bytes.get(at..)).unwrap_or(bytes)
}

fn filter_pem(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let wanted = args.bytes(0);
    let mut rest = without_junk(args.bytes(1));
    let mut out = Buffer::new();
    while let Some((block, tail)) = decode(rest) {
        rest = tail;
        if block.label.as_bytes().eq_ignore_ascii_case(wanted) {
            encode(&mut out, &block.label, &block.headers, &block.der);
        }
    }
    if out.is_empty() && !rest.is_empty() {
        return Err(Fault::plain("error filtering pem: found junk"));
    }
    made(out)
}

/// A certificate with the identifiers that chain it.
pub(super) struct Link {
    pub block: Block,
    authority: Option<Vec<u8>>,
    subject: Option<Vec<u8>>,
}

fn identifiers(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let (mut authority, mut subject) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(found) => {
                authority = found.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectKeyIdentifier(found) => subject = Some(found.0.to_vec()),
            _ => {}
        }
    }
    (authority, subject)
}

impl Link {
    fn is_root(&self) -> bool {
        self.authority.is_none() || self.authority == self.subject
    }
}

/// Certificates from leaf to root.
pub(super) fn chain(bytes: &[u8]) -> std::result::Result<Vec<Link>, Fault> {
    let (mut links, mut rest) = (Vec::new(), bytes);
    while let Some((block, tail)) = decode(rest) {
        rest = tail;
        let (authority, subject) = match x509_parser::parse_x509_certificate(&block.der) {
            Ok((_, certificate)) => identifiers(&certificate),
            Err(_) => return Err(Fault::withheld("x509: malformed certificate")),
        };
        links.push(Link { block, authority, subject });
    }
    // Go compares two absent identifiers as equal.
    let id = |id: &Option<Vec<u8>>| id.clone().unwrap_or_default();
    let parents: Vec<Option<usize>> = links
        .iter()
        .enumerate()
        .map(|(at, link)| {
            let of = id(&link.authority);
            links.iter().enumerate().position(|(other, parent)| other != at && id(&parent.subject) == of)
        })
        .collect();
    let mut leaves = (0..links.len()).filter(|at| !parents.contains(&Some(*at)));
    let leaf = leaves.next().ok_or_else(|| Fault::plain("no leaf certificate found"))?;
    if leaves.next().is_some() {
        return Err(Fault::plain("found multiple leaf or disjunct certificates"));
    }
    let (mut order, mut next) = (Vec::new(), Some(leaf));
    while let Some(at) = next {
        if order.len() == links.len() {
            return Err(Fault::plain("constructing chain resulted in cycle"));
        }
        order.push(at);
        next = parents.get(at).copied().flatten();
    }
    let mut links: Vec<Option<Link>> = links.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| links.get_mut(at).and_then(Option::take)).collect())
}

fn filter_cert_chain(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let chain = chain(args.bytes(1))?;
    let mut out = Buffer::new();
    let mut put = |link: &Link| encode(&mut out, "CERTIFICATE", &[], &link.block.der);
    match args.bytes(0) {
        b"leaf" => chain.first().filter(|leaf| !leaf.is_root()).into_iter().for_each(&mut put),
        b"intermediate" => chain.iter().skip(1).take_while(|link| !link.is_root()).for_each(&mut put),
        b"root" => chain.last().filter(|root| root.is_root()).into_iter().for_each(&mut put),
        _ => {}
    }
    made(out)
}

fn cert_sans(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (block, _) = decode(without_junk(args.bytes(0))).ok_or_else(|| Fault::plain("failed to decode PEM block"))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&block.der).map_err(|_| Fault::withheld("failed to parse certificate"))?;
    let (mut names, mut addresses, mut mails, mut uris) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let san = certificate.subject_alternative_name().ok().flatten();
    for name in san.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::RFC822Name(mail) => mails.push((*mail).to_owned()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(|bytes| core::net::Ipv4Addr::from(bytes).to_string());
                let six = <[u8; 16]>::try_from(*bytes)
                    .map(|bytes| core::net::Ipv6Addr::from(bytes).to_canonical().to_string());
                addresses.extend(four.or(six).ok());
            }
            _ => {}
        }
    }
    let all = names.into_iter().chain(addresses).chain(mails).chain(uris);
    Ok(Value::strings(all.map(ByteStr::from)))
}

// --- JSON web keys ---

fn member(key: &Map, name: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let Some(Value::Str(text)) = key.get(name.as_bytes()) else { return None };
    let plain = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(&text);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(plain).ok()
}

fn jwk(bytes: &[u8], private: bool) -> Result {
    let failed = |what: &str| Fault::withheld(format!("the JSON web key cannot be used: {what}"));
    let Value::Map(key) = json::decode(bytes).map_err(|_| failed("not JSON"))? else {
        return Err(failed("not a JSON object"));
    };
    let word = |name: &str| match key.get(name.as_bytes()) {
        Some(Value::Str(text)) => text.lossy().to_string(),
        _ => String::new(),
    };
    let missing = || failed("a member is missing");
    let (kind, public, inner) = match (word("kty").as_str(), word("crv").as_str()) {
        ("RSA", _) => {
            let (n, e) = (member(&key, "n").ok_or_else(missing)?, member(&key, "e").ok_or_else(missing)?);
            let inner = if private { Some(rsa_inner(&key, &n, &e).ok_or_else(missing)?) } else { None };
            (Kind::Rsa, der(0x30, &[&integer(&n), &integer(&e)]), inner)
        }
        ("EC", curve) => {
            let (kind, size): (Kind, usize) = match curve {
                "P-256" => (Kind::P256, 32),
                "P-384" => (Kind::P384, 48),
                "P-521" => (Kind::P521, 66),
                _ => return Err(failed("unknown curve")),
            };
            let sized = |name: &str| {
                let bytes = member(&key, name)?;
                let pad = size.checked_sub(bytes.len())?;
                Some([vec![0; pad], bytes].concat())
            };
            let (x, y) = (sized("x").ok_or_else(missing)?, sized("y").ok_or_else(missing)?);
            let point = zeroize::Zeroizing::new([&[4], x.as_slice(), y.as_slice()].concat());
            let inner = match private {
                false => None,
                true => {
                    let d = zeroize::Zeroizing::new(sized("d").ok_or_else(missing)?);
                    let public = der(0xa1, &[&der(3, &[&[0], &point])]);
                    Some(der(0x30, &[&[2, 1, 1], &der(4, &[&d]), &public]))
                }
            };
            (kind, point, inner)
        }
        ("OKP", "Ed25519") => {
            let x = member(&key, "x").ok_or_else(missing)?;
            let inner = if private { Some(der(4, &[&member(&key, "d").ok_or_else(missing)?])) } else { None };
            (Kind::Ed25519, zeroize::Zeroizing::new(x), inner)
        }
        _ => return Err(failed("unknown kind of key")),
    };
    if !private && key.get(b"d").is_some() {
        // The incumbent's library gives a private key here, which Go does not take for a public one.
        let kind = match kind {
            Kind::Rsa => "*rsa.PrivateKey",
            Kind::Ed25519 => "ed25519.PrivateKey",
            _ => "*ecdsa.PrivateKey",
        };
        return Err(Fault::plain(format!("x509: unsupported public key type: {kind}")));
    }
    let mut out = Buffer::new();
    match inner {
        Some(inner) => encode(&mut out, "PRIVATE KEY", &[], &pkcs8(kind, &inner)),
        None if private => return Err(missing()),
        None => {
            let spki = der(0x30, &[&kind.algorithm(), &der(3, &[&[0], &public])]);
            encode(&mut out, "PUBLIC KEY", &[], &spki);
        }
    }
    made(out)
}

/// PKCS#1 of an RSA key, with the parts for the remainder theorem computed anew.
fn rsa_inner(key: &Map, n: &[u8], e: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
    let d = number(&member(key, "d")?);
    let primes = vec![number(&member(key, "p")?), number(&member(key, "q")?)];
    let rsa = rsa::RsaPrivateKey::from_components(number(n), number(e), d, primes).ok()?;
    let pkcs8 = rsa.to_pkcs8_der().ok()?;
    rsa::pkcs8::PrivateKeyInfo::try_from(pkcs8.as_bytes())
        .ok()
        .map(|info| zeroize::Zeroizing::new(info.private_key.to_vec()))
}

// --- RSA ---

fn rsa_decrypt(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    use aws_lc_rs::rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepPrivateDecryptingKey,
        PrivateDecryptingKey,
    };
    match args.bytes(0) {
        b"None" => return Ok(Value::Str(args.string(2))),
        b"RSA-OAEP" => {}
        other if context.literal(0) => {
            let shown = String::from_utf8_lossy(other);
            return Err(Fault::plain(format!("decryption scheme {shown} is not supported")));
        }
        _ => return Err(Fault::withheld("the decryption scheme is not supported")),
    }
    let (block, _) = decode(args.bytes(3)).ok_or_else(|| Fault::plain("failed to decode PEM block"))?;
    let key = Key::from_der(&block.der)
        .ok_or_else(|| Fault::plain("could not parse private key: unable to parse private key type"))?;
    if key.kind != Kind::Rsa {
        return Err(Fault::plain("could not parse RSA private key"));
    }
    context.environment.cost(5)?;
    let failed = || Fault::plain("error decrypting data with RSA: crypto/rsa: decryption error");
    let algorithm = match args.bytes(1) {
        b"SHA1" => &OAEP_SHA1_MGF1SHA1,
        b"SHA512" => &OAEP_SHA512_MGF1SHA512,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let key = PrivateDecryptingKey::from_pkcs8(&key.pkcs8).map_err(|_| failed())?;
    let key = OaepPrivateDecryptingKey::new(key).map_err(|_| failed())?;
    let mut room = zeroize::Zeroizing::new(vec![0; key.min_output_size()]);
    let plain = key.decrypt(algorithm, args.bytes(2), &mut room, None).map_err(|_| failed())?;
    text(&*plain)
}
