//! A new sealing key, exactly of the incumbent's kind, so that either controller can use what the other made.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::keys::ACTIVE;
use super::pem;
use crate::pure::desired::SEALING_KEY_LABEL;

/// What to generate.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Modulus in bits: 2048, 3072, 4096 or 8192. The incumbent's default is 4096.
    pub bits: usize,
    /// Common name of subject and issuer; empty for an empty name, the incumbent's default.
    pub common_name: String,
    /// Start of the validity.
    pub now: Timestamp,
    /// Length of the validity; the incumbent's default is 10 times 365 days.
    pub validity: SignedDuration,
}

/// A generated key pair in PEM.
pub struct Generated {
    /// `tls.key`: PKCS#1.
    pub key_pem: Zeroizing<String>,
    /// `tls.crt`.
    pub cert_pem: String,
}

/// The Secret that holds a new sealing key. Beside what passes the guards this is the only Secret that is ever written:
/// the guards refuse its label, which must not come out of anybody's content.
pub struct KeySecret {
    namespace: String,
    manifest: Zeroizing<Vec<u8>>,
}

impl KeySecret {
    /// A key Secret that comes back out of a backup, under its own name.
    pub(super) fn restored(namespace: &str, manifest: Zeroizing<Vec<u8>>) -> Self {
        Self { namespace: namespace.into(), manifest }
    }

    /// Where it belongs.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The manifest as JSON.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }
}

impl Generated {
    /// The Secret, as the incumbent makes it: named by the server after `prefix`, labelled active. `labels` and
    /// `annotations` are what an administrator wants on it besides.
    pub fn into_secret(
        self,
        namespace: &str,
        prefix: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> KeySecret {
        let mut labels = labels.clone();
        labels.insert(SEALING_KEY_LABEL.into(), ACTIVE.into());
        let head = serde_json::json!({ "generateName": prefix, "namespace": namespace, "labels": labels, "annotations": annotations });
        let key = Zeroizing::new(STANDARD.encode(self.key_pem.as_bytes()));
        let cert = STANDARD.encode(self.cert_pem.as_bytes());
        // One piece with room for all, so that no copy of the key is left behind by growing.
        let mut manifest = Zeroizing::new(Vec::with_capacity(1024 + key.len() + cert.len()));
        for part in [
            r#"{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls","metadata":"#,
            &head.to_string(),
            r#","data":{"tls.crt":""#,
            &cert,
            r#"","tls.key":""#,
            &key,
            r#""}}"#,
        ] {
            manifest.extend_from_slice(part.as_bytes());
        }
        KeySecret { namespace: namespace.into(), manifest }
    }
}

/// A key could not be generated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GenerateError {
    /// A size that the cryptographic library does not make.
    #[error("sealing keys can have 2048, 3072, 4096 or 8192 bits, not {0}")]
    Size(usize),
    /// The library failed, or the validity is out of range.
    #[error("the sealing key could not be generated: {0}")]
    Library(&'static str),
}

/// Makes a key pair: RSA with exponent 65537, and a self-signed certificate with a random 128-bit serial, critical
/// `encipherOnly` key usage, critical `CA:TRUE` and a subject key identifier. Takes about a second for 4096 bits.
///
/// The numbers come from aws-lc's system generator: prime search needs a stream of them, and a key made from bytes
/// that a caller chose is a key that a caller can repeat.
pub fn generate(new: &NewKey) -> Result<Generated, GenerateError> {
    let size = match new.bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        8192 => KeySize::Rsa8192,
        other => return Err(GenerateError::Size(other)),
    };
    let key = PrivateDecryptingKey::generate(size).map_err(|_| GenerateError::Library("RSA"))?;
    let pkcs8 = AsDer::<Pkcs8V1Der<'static>>::as_der(&key).map_err(|_| GenerateError::Library("PKCS#8"))?;
    let pkcs1 = pem::unwrap_pkcs1(pkcs8.as_ref()).ok_or(GenerateError::Library("PKCS#1"))?;
    Ok(Generated {
        key_pem: pem::encode_private("RSA PRIVATE KEY", pkcs1),
        cert_pem: self_signed(pkcs8.as_ref(), new)?,
    })
}

fn self_signed(pkcs8: &[u8], new: &NewKey) -> Result<String, GenerateError> {
    let failed = |_| GenerateError::Library("certificate");
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &rcgen::PKCS_RSA_SHA256).map_err(failed)?;
    let mut serial = [0u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| GenerateError::Library("serial number"))?;

    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !new.common_name.is_empty() {
        params.distinguished_name.push(rcgen::DnType::CommonName, new.common_name.as_str());
    }
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::EncipherOnly];
    let end = new.now.checked_add(new.validity).map_err(|_| GenerateError::Library("validity out of range"))?;
    for (field, time) in [(&mut params.not_before, new.now), (&mut params.not_after, end)] {
        // X.509 has seconds, and no dates before 1970 are needed.
        let seconds = u64::try_from(time.as_second()).map_err(|_| GenerateError::Library("time before 1970"))?;
        *field = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    }
    let certificate = params.self_signed(&pair).map_err(failed)?;
    Ok(pem::encode("CERTIFICATE", certificate.der()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::sealed::keys::SealingKeys;
    use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

    fn new_key(name: &str) -> NewKey {
        NewKey {
            bits: 2048,
            common_name: name.into(),
            now: "2026-05-06T07:08:09.5Z".parse().expect("time"),
            validity: SignedDuration::from_hours(87_600),
        }
    }

    #[test]
    fn the_certificate_is_of_the_incumbents_kind() {
        for name in ["", "my.cluster"] {
            let made = generate(&new_key(name)).expect("generates");
            assert!(made.key_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
            let block = pem::blocks(made.cert_pem.as_bytes()).next().expect("one block");
            let (_, cert) = X509Certificate::from_der(&block.der).expect("parses");
            let subject = if name.is_empty() { String::new() } else { format!("CN={name}") };
            assert_eq!((cert.subject().to_string(), cert.issuer().to_string()), (subject.clone(), subject));
            assert_eq!(cert.validity().not_before.timestamp(), 1_778_051_289);
            assert_eq!(cert.validity().not_after.timestamp(), 1_778_051_289 + 87_600 * 3600);
            let usage = cert.key_usage().expect("reads").expect("there");
            assert!(usage.critical && usage.value.encipher_only());
            assert_eq!(usage.value.flags.count_ones(), 1);
            let basic = cert.basic_constraints().expect("reads").expect("there");
            assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint.is_none());
            let ski = cert
                .extensions()
                .iter()
                .any(|e| matches!(e.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_)));
            assert!(ski);
            assert!(cert.raw_serial().len() >= 14, "random, 128 bits");
            assert_eq!(cert.extensions().len(), 3);

            let mut keys = SealingKeys::new();
            assert_eq!(keys.add_pem("k", made.key_pem.as_bytes(), Some(made.cert_pem.as_bytes())), Ok(None));
            assert!(keys.current().is_some());

            let labels = BTreeMap::from([("a".into(), "b".into()), (SEALING_KEY_LABEL.into(), "other".into())]);
            let secret = made.into_secret("ns", "sealed-secrets-key", &labels, &BTreeMap::new());
            let json: serde_json::Value = serde_json::from_slice(secret.manifest()).expect("JSON");
            assert_eq!(json["metadata"]["generateName"], "sealed-secrets-key");
            assert_eq!(json["metadata"]["labels"][SEALING_KEY_LABEL], ACTIVE, "cannot be overridden");
            assert_eq!(json["metadata"]["labels"]["a"], "b");
            let stored = crate::pure::desired::ObservedSecret::from_json(secret.manifest()).expect("a Secret");
            let entry = |name: &str| stored.data.get(name).map(|value| value.expose().to_vec()).unwrap_or_default();
            let (key, cert) = (entry("tls.key"), entry("tls.crt"));
            assert_eq!(keys.add_pem("again", &key, Some(&cert)), Ok(None));
        }
        assert!(matches!(generate(&NewKey { bits: 1024, ..new_key("") }).err(), Some(GenerateError::Size(1024))));
    }
}
