//! Google Cloud KMS over REST: `POST v1/{key}:encrypt` and `…:decrypt`.
//!
//! Tokens are the business of Google's own library; the calls go over our client, so that they are bounded and trust
//! what the rest of the program trusts.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use google_cloud_auth::credentials::{
    Builder, CacheableResource, Credentials, external_account, impersonated, service_account, user_account,
};
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::KeyService;
use super::error::{Asked, KmsError};
use super::http as exchange;
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

const SERVICE: &str = "Google Cloud KMS";
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];
const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Whose rights are used.
pub enum GcpCredentials {
    /// An access token.
    Token(Plaintext),
    /// The JSON that Google hands out or `gcloud` writes.
    Json(Plaintext),
    /// The same from somebody else: a service account's key and nothing that reads files, asks addresses or starts
    /// programs of ours.
    ServiceAccountOnly(Plaintext),
    /// Application default credentials: GOOGLE_APPLICATION_CREDENTIALS, what `gcloud` left, the metadata server.
    Default,
}

/// Everything that a client needs.
pub struct GcpKmsConfig {
    /// Credentials.
    pub credentials: GcpCredentials,
    /// Address of the service.
    pub endpoint: String,
    /// Longest wait for one call.
    pub timeout: Duration,
}

impl GcpCredentials {
    /// As SOPS finds them: GOOGLE_CREDENTIALS (a path or the JSON), GOOGLE_OAUTH_ACCESS_TOKEN, else the default ones.
    ///
    /// # Errors
    /// A text that names the variable and says what is wrong with it.
    pub fn from_environment() -> Result<Self, String> {
        Ok(match (variable("GOOGLE_CREDENTIALS"), variable("GOOGLE_OAUTH_ACCESS_TOKEN")) {
            (Some(text), _) if Path::new(&text).exists() => {
                let bytes = std::fs::read(&text).map_err(|error| format!("GOOGLE_CREDENTIALS: {text}: {error}"))?;
                Self::Json(Plaintext::new(bytes))
            }
            (Some(text), _) => Self::Json(Plaintext::from(text)),
            (None, Some(token)) => Self::Token(Plaintext::from(token)),
            (None, None) => Self::Default,
        })
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl GcpKmsConfig {
    /// Credentials at Google's own address.
    pub fn new(credentials: GcpCredentials) -> Self {
        Self { credentials, endpoint: ENDPOINT.into(), timeout: exchange::CALL_TIMEOUT }
    }

    /// The user's credentials ([`GcpCredentials::from_environment`]) at the address that the variables of SOPS name.
    ///
    /// # Errors
    /// A text that names the variable and says what is wrong with it.
    pub fn from_environment() -> Result<Self, String> {
        let mut config = Self::new(GcpCredentials::from_environment()?);
        if let Some(endpoint) = variable("SOPS_GCP_KMS_ENDPOINT") {
            // The real sops speaks gRPC by default, where an endpoint has no scheme.
            config.endpoint = if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") };
        } else if let Some(domain) = variable("SOPS_GCP_KMS_UNIVERSE_DOMAIN") {
            config.endpoint = format!("https://cloudkms.{domain}");
        }
        Ok(config)
    }
}

/// Keys of Cloud KMS.
pub struct GcpKms {
    /// As it was given, for texts.
    address: String,
    endpoint: Url,
    timeout: Duration,
    http: OnceCell<Client>,
    login: Login,
}

/// Whoever asks, at any of Google's services. The library's credentials are made at the first call.
pub struct Login {
    credentials: GcpCredentials,
    built: OnceCell<Credentials>,
}

/// Why there is nothing to log in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// The credentials are none, or were refused: what to do.
    Credentials(&'static str),
    /// Where tokens come from does not answer now.
    Unavailable,
}

impl Login {
    /// Nothing is contacted.
    pub fn new(credentials: GcpCredentials) -> Self {
        Self { credentials, built: OnceCell::new() }
    }

    /// The headers that prove who asks.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn headers(&self) -> Result<HeaderMap, LoginError> {
        let bad = LoginError::Credentials;
        if let GcpCredentials::Token(token) = &self.credentials {
            let text = Zeroizing::new(format!("Bearer {}", token.expose_str().unwrap_or_default().trim()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| bad("the access token is not a token"))?;
            value.set_sensitive(true);
            return Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
        }
        let build = || async { build(&self.credentials) };
        let credentials = self.built.get_or_try_init(build).await.map_err(bad)?;
        match credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Err(bad("the library gave none")),
            Err(error) if error.is_transient() => Err(LoginError::Unavailable),
            Err(_) => Err(bad("no access token was given for them; log in again, or check the key file")),
        }
    }
}

impl GcpKms {
    /// Makes a client; nothing is contacted.
    ///
    /// # Errors
    /// A text that says which setting cannot be used.
    pub fn new(config: GcpKmsConfig) -> Result<Self, String> {
        let endpoint = Url::parse(&config.endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let endpoint = endpoint.ok_or("the endpoint of Cloud KMS is not an address")?;
        let GcpKmsConfig { credentials, endpoint: address, timeout } = config;
        Ok(Self { address, endpoint, timeout, http: OnceCell::new(), login: Login::new(credentials) })
    }

    /// Another HTTP client than our own: with its own proxy and certificate authorities. It must follow no redirect.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.http = OnceCell::new_with(Some(client));
        self
    }

    async fn client(&self, asked: &Asked) -> Result<&Client, KmsError> {
        let build = || async { exchange::client().build() };
        let detail = "no HTTP client can be built";
        let bad = |_| KmsError::Settings { asked: asked.clone(), detail: detail.into() };
        self.http.get_or_try_init(build).await.map_err(bad)
    }

    async fn authorization(&self, asked: &Asked) -> Result<HeaderMap, KmsError> {
        self.login.headers().await.map_err(|error| match error {
            LoginError::Credentials(detail) => KmsError::Credentials { asked: asked.clone(), detail: detail.into() },
            LoginError::Unavailable => KmsError::Unavailable { asked: asked.clone(), code: "no access token".into() },
        })
    }

    async fn ask(
        &self,
        key: &KeyRef,
        call: &'static str,
        body: Zeroizing<String>,
    ) -> Result<exchange::Answer, KmsError> {
        let asked = Asked::new(SERVICE, call, key);
        let asked = if self.address == ENDPOINT { asked } else { asked.at(&self.address) };
        let KeyRef::GcpKms { resource_id } = key else { return Err(KmsError::Unsupported { asked }) };
        if !is_key(resource_id) {
            let detail = "it is not of the form projects/P/locations/L/keyRings/R/cryptoKeys/K";
            return Err(KmsError::Key { asked, detail });
        }
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}/v1/{resource_id}:{call}", url.path().trim_end_matches('/')));
        let all = async {
            let mut headers = self.authorization(&asked).await?;
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let mut request = Request::new(Method::POST, url);
            *request.headers_mut() = headers;
            // The client's own copy of the body is not zeroised; it is freed with the request.
            *request.body_mut() = Some(body.to_string().into());
            let client = self.client(&asked).await?;
            let answer = exchange::call(client, request, &asked, self.timeout).await?;
            if answer.status.is_success() { Ok(answer) } else { Err(refusal(&asked, &answer)) }
        };
        let limit = self.timeout;
        tokio::time::timeout(limit, all)
            .await
            .unwrap_or_else(|_| Err(KmsError::Timeout { asked: asked.clone(), limit }))
    }
}

/// The four names of a key. They become part of an address, so they hold what Google's names may hold and no more.
fn is_key(resource_id: &str) -> bool {
    let parts: Vec<&str> = resource_id.split('/').collect();
    let ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] = parts.as_slice() else {
        return false;
    };
    let word = |text: &str, more: &[u8]| {
        let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b) || more.contains(&b));
        !text.is_empty() && all && text != "." && text != ".."
    };
    word(project, b".:") && word(location, b"") && word(ring, b"") && word(key, b"")
}

/// Makes credentials of what was given; nothing is contacted.
fn build(credentials: &GcpCredentials) -> Result<Credentials, &'static str> {
    let (text, foreign) = match credentials {
        GcpCredentials::Default => {
            let none = "there are no default ones; log in with `gcloud auth application-default login`, or set \
                        GOOGLE_CREDENTIALS";
            return Builder::default().with_scopes(SCOPES).build().map_err(|_| none);
        }
        GcpCredentials::Token(_) => return Err("an access token stands for itself"),
        GcpCredentials::Json(text) => (text, false),
        GcpCredentials::ServiceAccountOnly(text) => (text, true),
    };
    let json: serde_json::Value =
        serde_json::from_slice(text.expose()).map_err(|_| "they are neither a file that exists nor JSON")?;
    let kind = json.get("type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let built = match kind.as_str() {
        "service_account" => {
            let scopes = service_account::AccessSpecifier::from_scopes(SCOPES);
            service_account::Builder::new(json).with_access_specifier(scopes).build()
        }
        _ if foreign => return Err("only those of type service_account are taken here"),
        "authorized_user" => {
            let uri = json.get("token_uri").and_then(serde_json::Value::as_str).map(str::to_owned);
            let builder = user_account::Builder::new(json).with_scopes(SCOPES);
            match uri {
                Some(uri) => builder.with_token_uri(uri).build(),
                None => builder.build(),
            }
        }
        "external_account" => external_account::Builder::new(json).with_scopes(SCOPES).build(),
        "impersonated_service_account" => impersonated::Builder::new(json).with_scopes(SCOPES).build(),
        _ => return Err("their type is not one of service_account, authorized_user, external_account"),
    };
    built.map_err(|_| "they lack an entry that their type needs, or hold a key that is no key")
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: RefusalBody<'a>,
}

#[derive(Deserialize)]
struct RefusalBody<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
}

fn refusal(asked: &Asked, answer: &exchange::Answer) -> KmsError {
    let body: Option<Refusal<'_>> = serde_json::from_slice(answer.body.expose()).ok();
    let word = body.as_ref().map(|body| body.error.status.as_ref());
    exchange::refusal(asked, answer, word)
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted<'a> {
    #[serde(borrow)]
    plaintext: Cow<'a, str>,
}

#[async_trait]
impl KeyService for GcpKms {
    fn serves(&self, key: &KeyRef) -> bool {
        matches!(key, KeyRef::GcpKms { .. })
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        let encoded = Zeroizing::new(STANDARD.encode(secret.expose()));
        let body = Zeroizing::new(format!("{{\"plaintext\":\"{}\"}}", &*encoded));
        let answer = self.ask(key, "encrypt", body).await?;
        let encrypted: Encrypted = exchange::json(&answer, &Asked::new(SERVICE, "encrypt", key))?;
        Ok(encrypted.ciphertext)
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        let asked = Asked::new(SERVICE, "decrypt", &key.key);
        let enc = key.enc.trim();
        STANDARD.decode(enc).map_err(|_| KmsError::Damaged { asked: asked.clone() })?;
        let body = Zeroizing::new(serde_json::json!({ "ciphertext": enc }).to_string());
        let answer = self.ask(&key.key, "decrypt", body).await?;
        let bad = |detail| KmsError::Answer { asked: asked.clone(), detail };
        let decrypted: Decrypted<'_> =
            serde_json::from_slice(answer.body.expose()).map_err(|_| bad("it is not the JSON of this call"))?;
        let plain = STANDARD.decode(decrypted.plaintext.as_bytes()).map_err(|_| bad("it is not base64"))?;
        Ok::<_, KeyError>(Plaintext::new(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_keys_become_part_of_an_address() {
        for good in [
            "projects/p-1/locations/global/keyRings/r_1/cryptoKeys/K",
            "projects/example.com:p/locations/europe-west3/keyRings/r/cryptoKeys/k",
        ] {
            assert!(is_key(good), "{good}");
        }
        for bad in [
            "",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k:destroy",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k?x",
            "projects/../locations/l/keyRings/r/cryptoKeys/k",
            "projects/p%2f/locations/l/keyRings/r/cryptoKeys/k",
        ] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn foreign_credentials_are_a_service_accounts_key_and_nothing_else() {
        for kind in [
            "external_account",
            "authorized_user",
            "impersonated_service_account",
            "external_account_authorized_user",
            "",
        ] {
            let json = format!(
                r#"{{"type":"{kind}","audience":"a","subject_token_type":"t","token_url":"https://evil.test","credential_source":{{"file":"/etc/passwd"}}}}"#
            );
            let refused = build(&GcpCredentials::ServiceAccountOnly(Plaintext::from(json)));
            assert!(refused.is_err_and(|why| why.contains("service_account")), "{kind}");
        }
    }
}
