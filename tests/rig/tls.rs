//! A certificate authority for one server or one cluster.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub certificate_pem: String,
}

/// A certificate and its private key, both PEM.
pub struct Pair {
    pub certificate_pem: String,
    pub key_pem: String,
}

fn name(common_name: &str, organisations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    for organisation in organisations {
        name.push(DnType::OrganizationName, *organisation);
    }
    name
}

impl Ca {
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("key pair");
        let certificate_pem = params.self_signed(&key).expect("self-signed certificate").pem();
        Self { issuer: Issuer::new(params, key), certificate_pem }
    }

    /// For a server that is reached by `names` (host names or addresses).
    pub fn server(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("subject alternative names");
        params.distinguished_name = name("server", &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// For a Kubernetes user and its groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("key pair");
        let certificate_pem = params.signed_by(&key, &self.issuer).expect("signed certificate").pem();
        Pair { certificate_pem, key_pem: key.serialize_pem() }
    }
}

/// The settings of a TLS server with this certificate.
pub fn server_config(pair: &Pair) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    install_provider();
    let certificate = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).expect("certificate");
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("private key");
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("certificate and key belong together")
}

/// Names the TLS provider for clients that take the process-wide one.
pub fn install_provider() {
    // An error means that it is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
