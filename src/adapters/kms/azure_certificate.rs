//! A service principal's certificate: a statement about ourselves, signed with its private key. Azure's library does the
//! same with OpenSSL, which would be a second TLS stack.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
use azure_core::http::{ClientMethodOptions, ClientOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::pure::secret::Plaintext;

/// Life of one statement.
const SECONDS: u64 = 600;
const AUTHORITY: &str = "https://login.microsoftonline.com/";

/// Signs statements for one service principal.
pub(super) struct Assertion {
    key: RsaKeyPair,
    thumbprint: String,
    audience: String,
    client: String,
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").finish_non_exhaustive()
    }
}

impl Assertion {
    /// Reads a PEM text with a certificate and its RSA key.
    pub fn new(tenant: &str, client: &str, pem: &Plaintext, options: &ClientOptions) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.expose()).map_err(|_| {
            "the client certificate's file holds no certificate in PEM; convert a .pfx with `openssl pkcs12 -nodes`"
        })?;
        let no_key = "the client certificate's file holds no RSA private key without a passphrase in PEM";
        let key = match PrivateKeyDer::from_pem_slice(pem.expose()) {
            Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(no_key.into()),
        };
        let key = key.map_err(|_| no_key)?;
        let authority = match options.cloud.as_deref() {
            Some(azure_core::cloud::CloudConfiguration::Custom(custom)) => custom.authority_host.clone(),
            _ => std::env::var("AZURE_AUTHORITY_HOST").unwrap_or_else(|_| AUTHORITY.into()),
        };
        Ok(Self {
            key,
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(certificate)),
            audience: format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/')),
            client: client.to_owned(),
        })
    }

    fn sign(&self, now: u64) -> Result<String, String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| "no randomness")?;
        let header = serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let claims = serde_json::json!({
            "aud": self.audience, "iss": self.client, "sub": self.client,
            "jti": hex::encode(id), "nbf": now, "iat": now, "exp": now + SECONDS,
        });
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the private key cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait]
impl azure_identity::ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.sign(now).map_err(|what| azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, what))
    }
}
