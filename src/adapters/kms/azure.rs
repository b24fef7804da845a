//! Azure Key Vault keys: RSA-OAEP-256, `POST keys/{name}/{version}/encrypt` and `…/decrypt`.
//!
//! Tokens come from Azure's own library, over our client. They are for the cloud whose vaults end in the address's
//! domain, so a file cannot have one sent to a host of its author.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_identity as identity;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::KeyService;
use super::azure_certificate::Assertion;
use super::error::{Asked, KmsError};
use super::http as exchange;
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

const SERVICE: &str = "Azure Key Vault";
const ALGORITHM: &str = "RSA-OAEP-256";
const API_VERSION: &str = "7.4";
/// Domains of vaults and of managed HSMs, per cloud; a token is asked for `https://` and this.
const DOMAINS: [&str; 7] = [
    "vault.azure.net",
    "managedhsm.azure.net",
    "vault.azure.cn",
    "managedhsm.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.usgovcloudapi.net",
    "vault.microsoftazure.de",
];
/// How long a machine that may have no identity of its own is asked for one, before the next source is tried.
const PROBE: Duration = Duration::from_secs(2);

/// Whose rights are used.
pub enum AzureCredentials {
    /// A service principal with a secret; `authority` is another login address than that of the public cloud.
    #[allow(missing_docs, reason = "Azure's own names")]
    Secret { tenant: String, client: String, secret: Plaintext, authority: Option<String> },
    /// A service principal with a certificate and its private key, both PEM in one text.
    #[allow(missing_docs, reason = "Azure's own names")]
    Certificate { tenant: String, client: String, pem: Plaintext, authority: Option<String> },
    /// The identity of this machine or pod, of the client ID if there are several.
    ManagedIdentity(Option<String>),
    /// Environment, workload identity, managed identity, `az login`, in this order.
    Chain,
}

/// Keys of vaults at whatever addresses the files name, as long as they are Azure's.
pub struct AzureKeyVault {
    credentials: AzureCredentials,
    timeout: Duration,
    http: OnceCell<Client>,
    sources: OnceCell<Vec<Source>>,
}

/// One place where a token may come from.
struct Source {
    name: &'static str,
    credential: Arc<dyn TokenCredential>,
    /// Whether it may simply not exist here.
    probe: bool,
}

/// What a key says, checked.
struct Key<'k> {
    vault: Url,
    scope: String,
    name: &'k str,
    version: &'k str,
}

impl AzureKeyVault {
    /// Makes a client; nothing is contacted.
    pub fn new(credentials: AzureCredentials) -> Self {
        Self { credentials, timeout: exchange::CALL_TIMEOUT, http: OnceCell::new(), sources: OnceCell::new() }
    }

    /// Longest wait for one call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Another HTTP client than our own: with its own proxy and certificate authorities. It must follow no redirect.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.http = OnceCell::new_with(Some(client));
        self
    }

    async fn client(&self, asked: &Asked) -> Result<&Client, KmsError> {
        let build = || async { exchange::client().timeout(self.timeout).build() };
        let detail = "no HTTP client can be built";
        let bad = |_| KmsError::Settings { asked: asked.clone(), detail: detail.into() };
        self.http.get_or_try_init(build).await.map_err(bad)
    }

    /// A token from the first source that has one.
    async fn token(&self, scope: &str, asked: &Asked) -> Result<HeaderValue, KmsError> {
        let bad = |detail: String| KmsError::Credentials { asked: asked.clone(), detail };
        let client = self.client(asked).await?.clone();
        let sources =
            self.sources.get_or_try_init(|| async { sources(&self.credentials, &client) }).await.map_err(bad)?;
        let mut tried = vec![];
        for source in sources {
            let scopes = [scope];
            let ask = source.credential.get_token(&scopes, None);
            let limit = if source.probe { PROBE } else { self.timeout };
            let Ok(Ok(token)) = tokio::time::timeout(limit, ask).await else {
                tried.push(source.name);
                continue;
            };
            let text = Zeroizing::new(format!("Bearer {}", token.token.secret()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| bad("the token is not a token".into()))?;
            value.set_sensitive(true);
            return Ok(value);
        }
        Err(bad(format!("no token from {}; log in with `az login`, or check the service principal", tried.join(", "))))
    }

    async fn send(
        &self,
        key: &Key<'_>,
        asked: &Asked,
        method: Method,
        path: &[&str],
        body: Option<Zeroizing<String>>,
    ) -> Result<exchange::Answer, KmsError> {
        let mut url = key.vault.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        let all = async {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, self.token(&key.scope, asked).await?);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let mut request = Request::new(method, url);
            *request.headers_mut() = headers;
            // The client's own copy of the body is not zeroised; it is freed with the request.
            *request.body_mut() = body.map(|body| body.to_string().into());
            let answer = exchange::call(self.client(asked).await?, request, asked, self.timeout).await?;
            if answer.status.is_success() { Ok(answer) } else { Err(refusal(asked, &answer)) }
        };
        let limit = self.timeout;
        tokio::time::timeout(limit, all)
            .await
            .unwrap_or_else(|_| Err(KmsError::Timeout { asked: asked.clone(), limit }))
    }

    async fn operate(&self, key: &KeyRef, call: &'static str, value: Zeroizing<String>) -> Result<Plaintext, KmsError> {
        let asked = Asked::new(SERVICE, call, key);
        let parts = parse(key, &asked)?;
        let body = Zeroizing::new(format!("{{\"alg\":\"{ALGORITHM}\",\"value\":\"{}\"}}", &*value));
        // Without a version the service takes the current one.
        let path: Vec<&str> = ["keys", parts.name, parts.version, call].into_iter().filter(|p| !p.is_empty()).collect();
        let answer = self.send(&parts, &asked, Method::POST, &path, Some(body)).await?;
        let bad = |detail| KmsError::Answer { asked: asked.clone(), detail };
        let result: Operation<'_> =
            serde_json::from_slice(answer.body.expose()).map_err(|_| bad("it is not the JSON of this call"))?;
        let bytes = URL_SAFE_NO_PAD.decode(result.value.trim_end_matches('=').as_bytes());
        bytes.map(Plaintext::new).map_err(|_| bad("it is not base64"))
    }
}

/// Vault, name and version. They become part of an address and decide where a token goes.
fn parse<'k>(key: &'k KeyRef, asked: &Asked) -> Result<Key<'k>, KmsError> {
    let KeyRef::AzureKv { vault_url, name, version } = key else {
        return Err(KmsError::Unsupported { asked: asked.clone() });
    };
    let bad = |detail| KmsError::Key { asked: asked.clone(), detail };
    let vault = Url::parse(vault_url).map_err(|_| bad("its vault is not an address"))?;
    let host = vault.host_str().unwrap_or_default().to_ascii_lowercase();
    let domain = DOMAINS.iter().find(|domain| {
        host.strip_suffix(*domain).and_then(|name| name.strip_suffix('.')).is_some_and(|name| !name.is_empty())
    });
    let Some(domain) = domain else { return Err(bad("its vault is not at an address of Azure's")) };
    let bare = vault.username().is_empty() && vault.password().is_none() && vault.query().is_none();
    if vault.scheme() != "https" || vault.port().is_some() || vault.path() != "/" || !bare {
        return Err(bad("its vault is not of the form https://NAME.vault.azure.net"));
    }
    let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.is_empty() || !word(name) || !word(version) {
        return Err(bad("its name or version holds what no name of a key can"));
    }
    Ok(Key { vault, scope: format!("https://{domain}/.default"), name, version })
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    value: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default)]
    code: String,
}

fn refusal(asked: &Asked, answer: &exchange::Answer) -> KmsError {
    let body: Option<Refusal> = serde_json::from_slice(answer.body.expose()).ok();
    exchange::refusal(asked, answer, body.as_ref().map(|body| body.error.code.as_str()))
}

#[derive(Deserialize)]
struct Described {
    key: DescribedKey,
}

#[derive(Deserialize)]
struct DescribedKey {
    kid: String,
}

#[async_trait]
impl KeyService for AzureKeyVault {
    fn serves(&self, key: &KeyRef) -> bool {
        matches!(key, KeyRef::AzureKv { .. })
    }

    /// Looks up the current version: without it, a file could not be opened after the next rotation of the key.
    async fn complete(&self, key: &KeyRef) -> Result<KeyRef, KeyError> {
        let asked = Asked::new(SERVICE, "get the version", key);
        let parts = parse(key, &asked)?;
        let KeyRef::AzureKv { vault_url, name, .. } = key else { return Ok(key.clone()) };
        if !parts.version.is_empty() {
            return Ok(key.clone());
        }
        let answer = self.send(&parts, &asked, Method::GET, &["keys", name], None).await?;
        let described: Described = exchange::json(&answer, &asked)?;
        let version = described.key.kid.rsplit('/').next().unwrap_or_default().to_owned();
        let whole = KeyRef::AzureKv { vault_url: vault_url.clone(), name: name.clone(), version };
        parse(&whole, &asked)?;
        Ok(whole)
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.expose()));
        Ok(URL_SAFE_NO_PAD.encode(self.operate(key, "encrypt", value).await?.expose()))
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        let enc = key.enc.trim().trim_end_matches('=');
        let damaged = |_| KmsError::Damaged { asked: Asked::new(SERVICE, "decrypt", &key.key) };
        URL_SAFE_NO_PAD.decode(enc).map_err(damaged)?;
        Ok(self.operate(&key.key, "decrypt", Zeroizing::new(enc.to_owned())).await?)
    }
}

/// The sources of tokens that the credentials stand for.
fn sources(credentials: &AzureCredentials, client: &Client) -> Result<Vec<Source>, String> {
    let options = |authority: Option<&str>| options(client, authority);
    let one = |name, credential| vec![Source { name, credential, probe: false }];
    Ok(match credentials {
        AzureCredentials::Secret { tenant, client, secret, authority } => {
            let secret = secret.expose_str().ok_or("the client secret is not text")?.trim().to_owned();
            one("the client secret", principal(tenant, client, secret, options(authority.as_deref())?)?)
        }
        AzureCredentials::Certificate { tenant, client, pem, authority } => {
            one("the client certificate", certified(tenant, client, pem, options(authority.as_deref())?)?)
        }
        AzureCredentials::ManagedIdentity(id) => one("managed identity", managed(id.clone(), options(None)?)?),
        AzureCredentials::Chain => chain(client)?,
    })
}

/// Our client under Azure's library, which otherwise brings one of its own.
fn options(client: &Client, authority: Option<&str>) -> Result<ClientOptions, String> {
    let retry = ExponentialRetryOptions { max_retries: 2, ..Default::default() };
    let mut options = ClientOptions {
        transport: Some(Transport::new(Arc::new(client.clone()))),
        retry: RetryOptions::exponential(retry),
        ..Default::default()
    };
    if let Some(authority) = authority {
        let known = Url::parse(authority).ok().filter(|url| url.scheme() == "https");
        let mut cloud = azure_core::cloud::CustomConfiguration::default();
        cloud.authority_host = known.ok_or("the login address is not https")?.to_string();
        options.cloud = Some(Arc::new(cloud.into()));
    }
    Ok(options)
}

type Credential = Arc<dyn TokenCredential>;

fn principal(tenant: &str, client: &str, secret: String, options: ClientOptions) -> Result<Credential, String> {
    let options = identity::ClientSecretCredentialOptions { client_options: options };
    let made = identity::ClientSecretCredential::new(tenant, client.to_owned(), Secret::new(secret), Some(options));
    Ok(made.map_err(|_| "tenant, client ID or secret is empty or malformed")?)
}

fn certified(tenant: &str, client: &str, pem: &Plaintext, options: ClientOptions) -> Result<Credential, String> {
    let assertion = Assertion::new(tenant, client, pem, &options)?;
    let options = identity::ClientAssertionCredentialOptions { client_options: options };
    let (tenant, client) = (tenant.to_owned(), client.to_owned());
    let made = identity::ClientAssertionCredential::new(tenant, client, assertion, Some(options));
    Ok(made.map_err(|_| "tenant or client ID is empty or malformed")?)
}

fn managed(id: Option<String>, options: ClientOptions) -> Result<Credential, String> {
    let user_assigned_id = id.map(identity::UserAssignedId::ClientId);
    let options = identity::ManagedIdentityCredentialOptions { user_assigned_id, client_options: options };
    Ok(identity::ManagedIdentityCredential::new(Some(options))
        .map_err(|_| "this kind of managed identity is unknown")?)
}

/// As Azure's SDKs chain them. A source whose settings are not there is left out; one whose settings are wrong is an
/// error.
fn chain(client: &Client) -> Result<Vec<Source>, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let options = || options(client, None);
    let wanted = variable("AZURE_TOKEN_CREDENTIALS").map(|text| text.to_ascii_lowercase());
    let wants = |name: &str, group: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == group || wanted == name.to_ascii_lowercase())
    };
    let mut sources: Vec<Source> = vec![];
    let id = variable("AZURE_CLIENT_ID");
    if let (true, Some(tenant), Some(id)) = (wants("EnvironmentCredential", "prod"), variable("AZURE_TENANT_ID"), &id) {
        if let Some(secret) = variable("AZURE_CLIENT_SECRET") {
            let credential = principal(&tenant, id, secret, options()?)?;
            sources.push(Source { name: "AZURE_CLIENT_SECRET", credential, probe: false });
        } else if let Some(path) = variable("AZURE_CLIENT_CERTIFICATE_PATH") {
            let pem = std::fs::read(&path).map_err(|e| format!("AZURE_CLIENT_CERTIFICATE_PATH: {path}: {e}"))?;
            let credential = certified(&tenant, id, &Plaintext::new(pem), options()?)?;
            sources.push(Source { name: "AZURE_CLIENT_CERTIFICATE_PATH", credential, probe: false });
        }
    }
    if wants("WorkloadIdentityCredential", "prod") && variable("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        let assertion = identity::ClientAssertionCredentialOptions { client_options: options()? };
        let all = identity::WorkloadIdentityCredentialOptions { credential_options: assertion, ..Default::default() };
        let made = identity::WorkloadIdentityCredential::new(Some(all));
        let made = made.map_err(|_| "AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID or AZURE_CLIENT_ID cannot be used")?;
        sources.push(Source { name: "workload identity", credential: made, probe: false });
    }
    if wants("ManagedIdentityCredential", "prod")
        && let Ok(credential) = managed(id, options()?)
    {
        let probe = variable("IDENTITY_ENDPOINT").is_none();
        sources.push(Source { name: "managed identity", credential, probe });
    }
    if wants("AzureCLICredential", "dev")
        && let Ok(credential) = identity::AzureCliCredential::new(None)
    {
        sources.push(Source { name: "az", credential, probe: false });
    }
    if sources.is_empty() {
        return Err("AZURE_TOKEN_CREDENTIALS leaves no source that is configured here".into());
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(vault: &str, name: &str, version: &str) -> Result<String, KmsError> {
        let key = KeyRef::AzureKv { vault_url: vault.into(), name: name.into(), version: version.into() };
        parse(&key, &Asked::new(SERVICE, "decrypt", &key)).map(|key| key.scope)
    }

    #[test]
    fn a_token_goes_to_vaults_of_azure_only() {
        assert_eq!(scope("https://team.vault.azure.net", "k", "1").unwrap(), "https://vault.azure.net/.default");
        assert_eq!(scope("https://Team.Vault.azure.cn/", "k", "").unwrap(), "https://vault.azure.cn/.default");
        for bad in [
            "https://evil.test",
            "https://vault.azure.net",
            "https://evilvault.azure.net",
            "https://team.vault.azure.net.evil.test",
            "https://team.vault.azure.net@evil.test",
            "https://user@team.vault.azure.net",
            "http://team.vault.azure.net",
            "https://team.vault.azure.net:8443",
            "https://team.vault.azure.net/path",
            "team.vault.azure.net",
        ] {
            assert!(scope(bad, "k", "1").is_err(), "{bad}");
        }
        for (name, version) in [("", "1"), ("a/b", "1"), ("k", "../x"), ("k?", "1")] {
            assert!(scope("https://team.vault.azure.net", name, version).is_err(), "{name} {version}");
        }
    }
}
