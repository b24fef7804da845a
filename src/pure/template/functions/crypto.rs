//! sprig's cryptographic functions. Salts and initial vectors come from the environment's random source; prime search
//! and signatures use aws-lc's own generator, which takes no other.

use core::net::IpAddr;

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::types::{INT, ObjectKind, Type, UintKind};
use super::super::value::{Object, Value};
use super::encoding::{Illegal, base64_of, base64_to};
use super::keys::{Key, Kind, decode, der, element, encode};
use super::{Arguments, Context, Function, Result, made, prefixed, text};

const STR: Type = Type::Str;
const LIST: Type = Type::List(&Type::Any);
const CERTIFICATE: Type = Type::Object(ObjectKind::Certificate);

/// Estimated milliseconds of each costly function.
const BCRYPT: usize = 60;
const SCRYPT: usize = 250;
const RSA_2048: usize = 300;
const RSA_4096: usize = 1_500;

pub(super) const TABLE: &[Function] = &[
    Function::new("bcrypt", &[STR], |context, args| text(bcrypt_text(context, args.bytes(0))?)),
    Function::new("htpasswd", &[STR, STR], htpasswd),
    Function::new("derivePassword", &[Type::Uint(UintKind::Uint32), STR, STR, STR, STR], derive_password),
    Function::new("encryptAES", &[STR, STR], encrypt_aes),
    Function::new("decryptAES", &[STR, STR], decrypt_aes),
    Function::new("genPrivateKey", &[STR], gen_private_key),
    Function::new("buildCustomCert", &[STR, STR], build_custom_cert),
    Function::new("genCA", &[STR, INT], |context, args| {
        let key = new_key(context, Kind::Rsa, RSA_2048)?;
        authority(context, args, &key)
    }),
    Function::new("genCAWithKey", &[STR, INT, STR], |context, args| {
        let key = given_key(args.bytes(2))?;
        authority(context, args, &key)
    }),
    Function::new("genSelfSignedCert", &[STR, LIST, LIST, INT], |context, args| {
        let key = new_key(context, Kind::Rsa, RSA_2048)?;
        self_signed(context, args, &key)
    }),
    Function::new("genSelfSignedCertWithKey", &[STR, LIST, LIST, INT, STR], |context, args| {
        let key = given_key(args.bytes(4))?;
        self_signed(context, args, &key)
    }),
    Function::new("genSignedCert", &[STR, LIST, LIST, INT, CERTIFICATE], |context, args| {
        let key = new_key(context, Kind::Rsa, RSA_2048)?;
        signed(context, args, &key)
    }),
    Function::new("genSignedCertWithKey", &[STR, LIST, LIST, INT, CERTIFICATE, STR], |context, args| {
        let key = given_key(args.bytes(5))?;
        signed(context, args, &key)
    }),
];

/// ExternalSecrets' `htpasswd` also knows which hash to use.
pub(super) const EXTERNAL: &[Function] = &[Function::new("htpasswd", &[STR, STR], htpasswd).rest(STR)];

/// A bcrypt hash of cost 10, or sprig's text for an error.
fn bcrypt_text(context: &mut Context<'_, '_>, password: &[u8]) -> std::result::Result<String, Fault> {
    if password.len() > 72 {
        return Ok("failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned());
    }
    context.environment.cost(BCRYPT)?;
    let mut salt = [0; 16];
    context.environment.random(&mut salt);
    match bcrypt::hash_with_salt(password, 10, salt) {
        Ok(parts) => Ok(parts.format_for_version(bcrypt::Version::TwoA)),
        Err(_) => Err(Fault::withheld("the password cannot be hashed")),
    }
}

fn htpasswd(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (user, password) = (args.bytes(0), args.bytes(1));
    if user.contains(&b':') {
        return text([b"invalid username: ", user].concat());
    }
    let hash = if args.bytes(2) == b"sha" {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, password);
        format!("{{SHA}}{}", base64_of(digest.as_ref()))
    } else {
        bcrypt_text(context, password)?
    };
    text([user, b":", hash.as_bytes()].concat())
}

/// The Master Password algorithm, version 3: which characters a letter of a template stands for.
fn characters(letter: u8) -> &'static [u8] {
    match letter {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

fn password_templates(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        b"maximum" => "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno",
        b"long" => {
            "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv CvccCvcvCvcvno CvcvnoCvccCvcv \
             CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc CvcvCvcvnoCvcc CvcvCvcvCvccno CvccnoCvccCvcv CvccCvccnoCvcv \
             CvccCvccCvcvno CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno CvccnoCvcvCvcc CvccCvcvnoCvcc CvccCvcvCvccno"
        }
        b"medium" => "CvcnoCvc CvcCvcno",
        b"short" => "Cvcn",
        b"basic" => "aaanaaan aannaaan aaannaaa",
        b"pin" => "nnnn",
        _ => return None,
    })
}

fn derive_password(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    const SEED: &[u8] = b"com.lyndir.masterpassword";
    let counter = match args.at(0) {
        Value::Uint(_, counter) => *counter as u32,
        _ => 0,
    };
    let (kind, password, user, site) = (args.bytes(1), args.bytes(2), args.bytes(3), args.bytes(4));
    let Some(templates) = password_templates(kind) else {
        return text([b"cannot find password template ", kind].concat());
    };
    context.environment.cost(SCRYPT)?;
    let length = |bytes: &[u8]| (bytes.len() as u32).to_be_bytes();
    let failed = || Fault::withheld("the password cannot be derived");
    let salt = [SEED, &length(user), user].concat();
    let mut key = Zeroizing::new([0u8; 64]);
    let params = scrypt::Params::new(15, 8, 2, 64).map_err(|_| failed())?;
    scrypt::scrypt(password, &salt, &params, key.as_mut_slice()).map_err(|_| failed())?;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_slice()).map_err(|_| failed())?;
    mac.update(&[SEED, &length(site), site, &counter.to_be_bytes()].concat());
    let seed = mac.finalize().into_bytes();
    let templates: Vec<&str> = templates.split_ascii_whitespace().collect();
    let first = seed.first().copied().map_or(0, usize::from);
    let template = templates.get(first % templates.len().max(1)).copied().unwrap_or_default();
    let mut out = Buffer::new();
    for (letter, byte) in template.bytes().zip(seed.iter().skip(1)) {
        let alphabet = characters(letter);
        out.push(alphabet.get(usize::from(*byte) % alphabet.len()).copied().unwrap_or(b'0'));
    }
    made(out)
}

fn aes_key(password: &[u8]) -> std::result::Result<UnboundCipherKey, Fault> {
    let mut key = Zeroizing::new([0u8; 32]);
    key.iter_mut().zip(password).for_each(|(to, from)| *to = *from);
    UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(|_| Fault::withheld("the key cannot be used"))
}

/// AES-256-CBC with PKCS#7; the password is cut or padded with zeros to 32 bytes.
fn encrypt_aes(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let plain = args.bytes(1);
    if plain.is_empty() {
        return text("");
    }
    let mut iv = [0u8; 16];
    context.environment.random(&mut iv);
    let padding = 16 - plain.len() % 16;
    let mut blocks = Zeroizing::new(plain.to_vec());
    blocks.resize(plain.len() + padding, padding as u8);
    let failed = |_| Fault::withheld("encryption failed");
    let key = EncryptingKey::cbc(aes_key(args.bytes(0))?).map_err(failed)?;
    key.less_safe_encrypt(&mut blocks, EncryptionContext::Iv128(FixedLength::from(iv))).map_err(failed)?;
    text(base64_of(&[iv.as_slice(), blocks.as_slice()].concat()))
}

fn decrypt_aes(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if args.bytes(1).is_empty() {
        return text("");
    }
    let mut sealed = base64_to(args.bytes(1)).map_err(|Illegal(message)| Fault::plain(message))?;
    let length = sealed.len();
    let Some((iv, blocks)) = sealed.split_at_mut_checked(16) else {
        return Err(Fault::withheld(format!("the data has {length} bytes, fewer than an initial vector")));
    };
    if blocks.len() % 16 != 0 {
        return Err(Fault::plain("crypto/cipher: input not full blocks"));
    }
    let mut vector = [0u8; 16];
    vector.copy_from_slice(iv);
    let key = DecryptingKey::cbc(aes_key(args.bytes(0))?).map_err(|_| Fault::withheld("decryption failed"))?;
    let mut plain = Zeroizing::new(blocks.to_vec());
    if !plain.is_empty() {
        key.decrypt(&mut plain, DecryptionContext::Iv128(FixedLength::from(vector)))
            .map_err(|_| Fault::withheld("decryption failed"))?;
    }
    // The last byte says how many to take off; a wrong password makes it any number.
    let padding = plain.last().copied().map(usize::from);
    match padding.and_then(|padding| plain.len().checked_sub(padding)) {
        Some(end) => text(plain.get(..end).unwrap_or_default()),
        None => Err(Fault::withheld("the data does not end in padding: the password may be wrong")),
    }
}

// --- keys and certificates ---

fn new_key(context: &mut Context<'_, '_>, kind: Kind, cost: usize) -> std::result::Result<Key, Fault> {
    context.environment.cost(cost)?;
    let pair = match cost {
        RSA_4096 => rcgen::KeyPair::generate_rsa_for(kind.signature(), rcgen::RsaKeySize::_4096),
        _ => rcgen::KeyPair::generate_for(kind.signature()),
    };
    let pair = pair.map_err(|_| Fault::withheld("a key cannot be generated"))?;
    Ok(Key { kind, pkcs8: Zeroizing::new(pair.serialize_der()) })
}

fn given_key(pem: &[u8]) -> std::result::Result<Key, Fault> {
    Key::from_pem(pem).map_err(|fault| prefixed("parsing private key", fault))
}

fn key_pem(key: &Key) -> std::result::Result<ByteStr, Fault> {
    let (label, der) = key.traditional().ok_or_else(|| Fault::withheld("a key cannot be encoded"))?;
    let mut out = Buffer::new();
    encode(&mut out, label, &[], &der);
    Ok(out.into())
}

fn gen_private_key(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (kind, cost) = match args.bytes(0) {
        b"" | b"rsa" => (Kind::Rsa, RSA_4096),
        b"ecdsa" => (Kind::P256, 1),
        b"ed25519" => (Kind::Ed25519, 1),
        b"dsa" => return Err(Fault::withheld("DSA keys are not supported")),
        other => return text([b"Unknown type ", other].concat()),
    };
    let key = new_key(context, kind, cost)?;
    Ok(Value::Str(key_pem(&key)?))
}

fn certificate(certificate: ByteStr, key: ByteStr) -> Result {
    Ok(Value::Object(Object::Certificate(certificate, key)))
}

fn build_custom_cert(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let cert = base64_to(args.bytes(0)).map_err(|_| Fault::plain("unable to decode base64 certificate"))?;
    let key = base64_to(args.bytes(1)).map_err(|_| Fault::plain("unable to decode base64 private key"))?;
    let (block, _) = decode(&cert).ok_or_else(|| Fault::plain("unable to decode certificate"))?;
    x509_parser::parse_x509_certificate(&block.der)
        .map_err(|_| Fault::withheld("error parsing certificate: decodedCert.Bytes"))?;
    Key::from_pem(&key).map_err(|fault| prefixed("error parsing private key", fault))?;
    certificate(ByteStr::from_vec(cert), ByteStr::from_vec(key))
}

fn strings<'v>(list: &'v Value, bad: &str) -> std::result::Result<Vec<&'v str>, Fault> {
    let Value::List(list) = list else { return Ok(Vec::new()) };
    let text = |item: &'v Value| match item {
        Value::Str(text) => std::str::from_utf8(text).map_err(|_| Fault::withheld(format!("{bad}: not UTF-8"))),
        _ => Err(Fault::withheld(format!("{bad}: an item is not a string"))),
    };
    list.items().iter().map(text).collect()
}

/// What all certificates have in common.
fn parameters(
    context: &mut Context<'_, '_>,
    name: &[u8],
    ips: &Value,
    names: &Value,
    days: i64,
) -> std::result::Result<rcgen::CertificateParams, Fault> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(rcgen::DnType::CommonName, String::from_utf8_lossy(name).as_ref());
    }
    for ip in strings(ips, "error parsing ip")? {
        let ip: IpAddr = ip.parse().map_err(|_| Fault::withheld("error parsing ip"))?;
        params.subject_alt_names.push(rcgen::SanType::IpAddress(ip));
    }
    for name in strings(names, "error processing alternate dns name")? {
        let name = name.try_into().map_err(|_| Fault::withheld("error processing alternate dns name: not ASCII"))?;
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    }
    let mut serial = [0u8; 16];
    context.environment.random(&mut serial);
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    let (now, _) = context.environment.now();
    let end = days.checked_mul(86_400).and_then(|span| now.checked_add(span));
    for (field, seconds) in [(&mut params.not_before, Some(now)), (&mut params.not_after, end)] {
        // X.509 ends with the year 9999, and nothing here starts before 1970.
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s < 253_402_300_800);
        let seconds = seconds.ok_or_else(|| Fault::withheld("the validity is out of range"))?;
        *field = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    }
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn finished(made: std::result::Result<rcgen::Certificate, rcgen::Error>, key: &Key) -> Result {
    let made = made.map_err(|_| Fault::withheld("error creating certificate"))?;
    with_key(made.der(), key)
}

fn with_key(made: &[u8], key: &Key) -> Result {
    let mut pem = Buffer::new();
    encode(&mut pem, "CERTIFICATE", &[], made);
    certificate(pem.into(), key_pem(key)?)
}

/// The certificate with the issuer's name byte for byte as the issuer has it, signed anew: the library writes names anew
/// and keeps one attribute of each kind, so that a chain through such an authority would not verify.
fn issued_by(made: &[u8], issuer: &[u8], signer: &rcgen::KeyPair) -> Option<Zeroizing<Vec<u8>>> {
    use rcgen::SigningKey as _;
    let (_, whole, _) = element(made)?;
    let (_, mut rest, after) = element(whole)?;
    let (algorithm_tag, algorithm, _) = element(after)?;
    let mut parts = Vec::new();
    while let Some((tag, content, tail)) = element(rest) {
        // Version, serial number, algorithm, issuer.
        parts.push(if parts.len() == 3 { Zeroizing::new(issuer.to_vec()) } else { der(tag, &[content]) });
        rest = tail;
    }
    let inner = der(0x30, &parts.iter().map(|part| part.as_slice()).collect::<Vec<_>>());
    let signature = signer.sign(&inner).ok()?;
    Some(der(0x30, &[&inner, &der(algorithm_tag, &[algorithm]), &der(3, &[&[0], &signature])]))
}

fn pair(key: &Key) -> std::result::Result<rcgen::KeyPair, Fault> {
    key.pair().ok_or_else(|| Fault::withheld("the private key cannot be used"))
}

/// Says that the certificate is no authority. The library's own way adds a key identifier, which Go gives to authorities
/// only, and by which chains are put in order.
fn no_authority(params: &mut rcgen::CertificateParams) {
    let mut constraints = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0]);
    constraints.set_criticality(true);
    params.custom_extensions.push(constraints);
}

fn authority(context: &mut Context<'_, '_>, args: &[Value], key: &Key) -> Result {
    let mut params = parameters(context, args.bytes(0), &Value::Nil, &Value::Nil, args.int(1))?;
    params.key_usages.push(rcgen::KeyUsagePurpose::KeyCertSign);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    finished(params.self_signed(&pair(key)?), key)
}

fn self_signed(context: &mut Context<'_, '_>, args: &[Value], key: &Key) -> Result {
    let mut params = parameters(context, args.bytes(0), args.at(1), args.at(2), args.int(3))?;
    no_authority(&mut params);
    finished(params.self_signed(&pair(key)?), key)
}

fn signed(context: &mut Context<'_, '_>, args: &[Value], key: &Key) -> Result {
    let Value::Object(Object::Certificate(ca, ca_key)) = args.at(4) else { return Ok(Value::Nil) };
    let (block, _) = decode(ca).ok_or_else(|| Fault::plain("unable to decode certificate"))?;
    let ca_key = Key::from_pem(ca_key).map_err(|fault| prefixed("error parsing private key", fault))?;
    let mut params = parameters(context, args.bytes(0), args.at(1), args.at(2), args.int(3))?;
    no_authority(&mut params);
    params.use_authority_key_identifier_extension = true;
    let ca_key = pair(&ca_key)?;
    let (_, authority) = x509_parser::parse_x509_certificate(&block.der)
        .map_err(|_| Fault::withheld("error parsing certificate: decodedSignerCert.Bytes"))?;
    if *authority.public_key().subject_public_key.data != *ca_key.public_key_raw() {
        let text = "error creating certificate: x509: provided PrivateKey doesn't match parent's PublicKey";
        return Err(Fault::plain(text));
    }
    let issuer = rcgen::Issuer::from_ca_cert_der(&block.der.as_slice().into(), ca_key)
        .map_err(|_| Fault::withheld("error parsing certificate: decodedSignerCert.Bytes"))?;
    let failed = || Fault::withheld("error creating certificate");
    let made = params.signed_by(&pair(key)?, &issuer).map_err(|_| failed())?;
    let made = issued_by(made.der(), authority.subject().as_raw(), issuer.key()).ok_or_else(failed)?;
    with_key(&made, key)
}
