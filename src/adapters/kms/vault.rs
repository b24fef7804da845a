//! Vault and OpenBao, the transit engine: `PUT v1/{engine}/encrypt/{key}` and `…/decrypt/{key}`.
//!
//! The address is the file's. The token goes there and nowhere else: a redirect is followed once, to the same origin or
//! to an address that the allow-list names.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::KeyService;
use super::error::{Asked, KmsError};
use super::http as exchange;
use crate::pure::keys::allow::KeyAllowList;
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, WrappedKey};
use crate::pure::secret::Plaintext;

const SERVICE: &str = "Vault";
/// The variable of SOPS that lists the addresses that files may name.
pub const ALLOW_VARIABLE: &str = "SOPS_HC_VAULT_ALLOWLIST";

/// Which addresses may be contacted.
pub struct Addresses {
    /// `None` allows all.
    pub list: Option<KeyAllowList>,
    /// Where the list is kept, for error texts.
    pub by: &'static str,
}

/// Everything that a client needs.
pub struct TransitConfig {
    /// Token.
    pub token: Option<Plaintext>,
    /// Vault namespace.
    pub namespace: Option<String>,
    /// Certificate authorities in PEM that replace the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate and private key of this client, both PEM in one text.
    pub identity: Option<Plaintext>,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
    /// An agent that is asked in place of the file's address.
    pub agent: Option<String>,
    /// A proxy for these calls alone.
    pub proxy: Option<String>,
    /// Which addresses of files are contacted.
    pub addresses: Addresses,
    /// Longest wait for one call.
    pub timeout: Duration,
}

impl TransitConfig {
    /// A token for the addresses of a list, and the system's authorities.
    pub fn with_token(token: Option<Plaintext>, addresses: Addresses) -> Self {
        Self {
            token,
            namespace: None,
            ca_pem: None,
            identity: None,
            skip_verify: false,
            agent: None,
            proxy: None,
            addresses,
            timeout: exchange::CALL_TIMEOUT,
        }
    }
}

/// Why a call has no headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// There is no token, or none that a header can hold: what to do.
    Token(&'static str),
    /// The namespace cannot be in a header.
    Namespace(&'static str),
}

impl TransitConfig {
    /// What every call to Vault carries: token, namespace, and that it is meant for Vault.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn headers(&self) -> Result<HeaderMap, HeaderError> {
        let mut headers = HeaderMap::new();
        // Agents and proxies of Vault refuse what does not say that it is meant for them.
        headers.insert("X-Vault-Request", HeaderValue::from_static("true"));
        match &self.token {
            Some(token) => {
                // A file with a token usually ends in a line break.
                let text = token.expose_str().map(str::trim).ok_or(HeaderError::Token("the token is not text"))?;
                let value = HeaderValue::from_str(text);
                let mut value = value.map_err(|_| HeaderError::Token("the token is not a token"))?;
                value.set_sensitive(true);
                headers.insert("X-Vault-Token", value);
            }
            // An agent may add one.
            None if self.agent.is_some() => {}
            None => return Err(HeaderError::Token("set VAULT_TOKEN, or log in so that ~/.vault-token exists")),
        }
        if let Some(namespace) = &self.namespace {
            let bad = |_| HeaderError::Namespace("the namespace holds characters that no header can");
            headers.insert("X-Vault-Namespace", HeaderValue::from_str(namespace).map_err(bad)?);
        }
        Ok(headers)
    }

    /// A client for addresses of a scheme, that follows no redirect.
    ///
    /// # Errors
    /// A text that says which setting cannot be used.
    pub fn client(&self, scheme: &str) -> Result<Client, String> {
        let mut builder = exchange::client();
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|_| "the proxy is not an address")?);
        }
        if scheme == "http" {
            // Nothing to verify: the system's authorities are not read.
            return builder.tls_certs_only([]).build().map_err(|_| NO_CLIENT.to_owned());
        }
        if let Some(pem) = &self.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty());
            builder = builder.tls_certs_only(certificates.ok_or("the certificate authorities are not PEM")?);
        }
        if let Some(pem) = &self.identity {
            let identity = reqwest::Identity::from_pem(pem.expose());
            builder = builder.identity(identity.map_err(|_| "the client certificate or its key is not PEM")?);
        }
        builder.tls_danger_accept_invalid_certs(self.skip_verify).build().map_err(|_| NO_CLIENT.to_owned())
    }
}

/// Transit keys at whatever addresses the files name and the configuration allows.
pub struct Transit {
    config: TransitConfig,
    plain: Client,
    /// Made apart: reading the system's authorities takes longer than a whole call, and an `http` address needs none.
    tls: tokio::sync::OnceCell<Client>,
}

impl Transit {
    /// Makes a client; nothing is contacted.
    ///
    /// # Errors
    /// A text that says which setting cannot be used.
    pub fn new(config: TransitConfig) -> Result<Self, String> {
        let plain = config.client("http")?;
        Ok(Self { config, plain, tls: tokio::sync::OnceCell::new() })
    }

    async fn client(&self, url: &Url, asked: &Asked) -> Result<&Client, KmsError> {
        if url.scheme() == "http" {
            return Ok(&self.plain);
        }
        let build = || async { self.config.client("https") };
        let settings = |detail: String| KmsError::Settings { asked: asked.clone(), detail };
        self.tls.get_or_try_init(build).await.map_err(settings)
    }

    /// The address of a call, if the key may be asked for.
    fn url(&self, key: &KeyRef, call: &str, asked: &Asked) -> Result<Url, KmsError> {
        let KeyRef::HcVault { address, engine, key: name } = key else {
            return Err(KmsError::Unsupported { asked: asked.clone() });
        };
        let bad = |detail| KmsError::Key { asked: asked.clone(), detail };
        if self.config.addresses.list.as_ref().is_some_and(|list| !list.allows(key)) {
            return Err(KmsError::NotAllowed { asked: asked.clone(), by: self.config.addresses.by });
        }
        let mut url = Url::parse(self.config.agent.as_ref().unwrap_or(address))
            .map_err(|_| bad("its address is not of the form https://host[:port]"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(bad("its address is not of the form https://host[:port]"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("its address has a query or a fragment"));
        }
        let engine: Vec<&str> = engine.trim_matches('/').split('/').collect();
        let odd = |part: &&str| part.is_empty() || *part == "." || *part == ".." || part.contains(['/', '\\']);
        if engine.iter().any(odd) || odd(&name.as_str()) {
            return Err(bad("its engine or name is empty or climbs in the path"));
        }
        {
            let mut path = url.path_segments_mut().map_err(|()| bad("its address has no path"))?;
            // What is special in an address is encoded, not obeyed.
            path.pop_if_empty().push("v1").extend(engine).push(call).push(name);
        }
        Ok(url)
    }

    fn request(&self, url: Url, body: &Zeroizing<String>, asked: &Asked) -> Result<Request, KmsError> {
        let mut headers = self.config.headers().map_err(|error| match error {
            HeaderError::Token(detail) => KmsError::Credentials { asked: asked.clone(), detail: detail.into() },
            HeaderError::Namespace(detail) => KmsError::Settings { asked: asked.clone(), detail: detail.into() },
        })?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut request = Request::new(Method::PUT, url);
        *request.headers_mut() = headers;
        // The client's own copy of the body is not zeroised; it is freed with the request.
        *request.body_mut() = Some(body.to_string().into());
        Ok(request)
    }

    async fn ask(
        &self,
        key: &KeyRef,
        call: &'static str,
        body: Zeroizing<String>,
    ) -> Result<exchange::Answer, KmsError> {
        let asked = Asked::new(SERVICE, call, key);
        let asked = match &self.config.agent {
            Some(agent) => asked.at(agent),
            None => asked,
        };
        let mut url = self.url(key, call, &asked)?;
        for redirected in [false, true] {
            let request = self.request(url.clone(), &body, &asked)?;
            let client = self.client(&url, &asked).await?;
            let answer = exchange::call(client, request, &asked, self.config.timeout).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let next = if redirected { None } else { self.redirect(&url, &answer) };
            match next {
                Some(next) => url = next,
                None => return Err(refusal(&asked, &answer)),
            }
        }
        Err(KmsError::Answer { asked, detail: "it redirects to itself" })
    }

    /// Where a standby points to, if the token may go there.
    fn redirect(&self, from: &Url, answer: &exchange::Answer) -> Option<Url> {
        if !matches!(answer.status.as_u16(), 307 | 308) {
            return None;
        }
        let to = from.join(answer.headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
        let list = self.config.addresses.list.as_ref();
        let named = list.is_some_and(|list| to.scheme() == from.scheme() && list.allows_address(to.as_str()));
        (to.origin() == from.origin() || named).then_some(to)
    }
}

const NO_CLIENT: &str = "no HTTP client can be built from these settings";

/// A wrong key or ciphertext is a 400, as is a key that does not exist.
fn refusal(asked: &Asked, answer: &exchange::Answer) -> KmsError {
    let says = |text: &str| answer.body.expose_str().is_some_and(|body| body.contains(text));
    match answer.status.as_u16() {
        400 if says("encryption key not found") => KmsError::NotFound { asked: asked.clone(), code: "400".into() },
        404 => KmsError::NotFound { asked: asked.clone(), code: "404, no such engine".into() },
        // A standby that has not caught up.
        412 | 472 | 473 => KmsError::Unavailable { asked: asked.clone(), code: answer.status.as_u16().to_string() },
        _ => exchange::refusal(asked, answer, None),
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
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
impl KeyService for Transit {
    fn serves(&self, key: &KeyRef) -> bool {
        matches!(key, KeyRef::HcVault { .. })
    }

    fn endpoint(&self, key: &KeyRef) -> String {
        self.config.agent.clone().unwrap_or_else(|| key.endpoint())
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Result<String, KeyError> {
        let encoded = Zeroizing::new(STANDARD.encode(secret.expose()));
        let body = Zeroizing::new(format!("{{\"plaintext\":\"{}\"}}", &*encoded));
        let answer = self.ask(key, "encrypt", body).await?;
        let envelope: Envelope<Encrypted> = exchange::json(&answer, &Asked::new(SERVICE, "encrypt", key))?;
        Ok(envelope.data.ciphertext)
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        let asked = Asked::new(SERVICE, "decrypt", &key.key);
        let body = Zeroizing::new(serde_json::json!({ "ciphertext": key.enc.trim() }).to_string());
        let answer = self.ask(&key.key, "decrypt", body).await?;
        let detail = "it is not the JSON of this call";
        let envelope: Envelope<Decrypted<'_>> = serde_json::from_slice(answer.body.expose())
            .map_err(|_| KmsError::Answer { asked: asked.clone(), detail })?;
        let plain = STANDARD.decode(envelope.data.plaintext.as_bytes());
        Ok(plain.map(Plaintext::new).map_err(|_| KmsError::Answer { asked, detail: "it is not base64" })?)
    }
}

impl TransitConfig {
    /// The variables of Vault's own clients, and the token that `vault login` leaves in the user's home.
    ///
    /// # Errors
    /// A text that names the variable and says what is wrong with it.
    pub fn from_environment() -> Result<Self, String> {
        let token = variable("VAULT_TOKEN")?.map(Plaintext::from);
        let token = match token {
            Some(token) => Some(token),
            None => token_file()?,
        };
        let list = match variable(ALLOW_VARIABLE)?.as_deref() {
            None | Some("all") => None,
            Some("none") => Some(KeyAllowList::new()),
            Some(text) => {
                Some(KeyAllowList::parse(text.split(',')).map_err(|what| format!("{ALLOW_VARIABLE}: {what}"))?)
            }
        };
        let mut config = Self::with_token(token, Addresses { list, by: ALLOW_VARIABLE });
        config.namespace = variable("VAULT_NAMESPACE")?.filter(|namespace| namespace.trim_matches('/') != "root");
        config.agent = variable("VAULT_AGENT_ADDR")?;
        config.proxy = match variable("VAULT_PROXY_ADDR")? {
            Some(proxy) => Some(proxy),
            None => variable("VAULT_HTTP_PROXY")?,
        };
        config.ca_pem = authorities()?;
        config.identity = match (variable("VAULT_CLIENT_CERT")?, variable("VAULT_CLIENT_KEY")?) {
            (Some(certificate), Some(key)) => {
                let mut pem = Zeroizing::new(read("VAULT_CLIENT_CERT", &certificate)?);
                pem.push(b'\n');
                pem.extend_from_slice(&Zeroizing::new(read("VAULT_CLIENT_KEY", &key)?));
                Some(Plaintext::new(std::mem::take(&mut *pem)))
            }
            (None, None) => None,
            _ => return Err("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY belong together".into()),
        };
        if let Some(flag) = variable("VAULT_SKIP_VERIFY")? {
            config.skip_verify = match flag.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => true,
                "0" | "f" | "false" => false,
                _ => return Err("VAULT_SKIP_VERIFY is neither true nor false".into()),
            };
        }
        if let Some(text) = variable("VAULT_CLIENT_TIMEOUT")? {
            let number = text.strip_suffix('s').unwrap_or(&text).parse::<u64>().ok().filter(|seconds| *seconds > 0);
            config.timeout =
                number.map(Duration::from_secs).ok_or("VAULT_CLIENT_TIMEOUT is not a number of seconds")?;
        }
        for unknown in ["VAULT_TLS_SERVER_NAME", "VAULT_SRV_LOOKUP"] {
            if variable(unknown)?.is_some() {
                return Err(format!("{unknown} is set and not supported"));
            }
        }
        Ok(config)
    }
}

/// Where the user's Vault is, as Vault's own clients find it.
///
/// # Errors
/// A text that names the variable and says what is wrong with it.
pub fn server_of_user() -> Result<String, String> {
    let named = match variable("VAULT_AGENT_ADDR")? {
        Some(agent) => Some(agent),
        None => variable("VAULT_ADDR")?,
    };
    Ok(named.unwrap_or_else(|| "https://127.0.0.1:8200".into()))
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is not text")),
    }
}

fn read(variable: &str, path: impl AsRef<Path>) -> Result<Vec<u8>, String> {
    std::fs::read(&path).map_err(|error| format!("{variable}: {}: {error}", path.as_ref().display()))
}

fn token_file() -> Result<Option<Plaintext>, String> {
    let Some(path) = std::env::home_dir().map(|home| home.join(".vault-token")) else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
        Ok(bytes) => Ok(Some(Plaintext::new(bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// `VAULT_CACERT` before `VAULT_CACERT_BYTES` before `VAULT_CAPATH`, as Vault's client chooses.
fn authorities() -> Result<Option<Vec<u8>>, String> {
    if let Some(path) = variable("VAULT_CACERT")? {
        return read("VAULT_CACERT", path).map(Some);
    }
    if let Some(pem) = variable("VAULT_CACERT_BYTES")? {
        return Ok(Some(pem.into_bytes()));
    }
    let Some(folder) = variable("VAULT_CAPATH")? else { return Ok(None) };
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("VAULT_CAPATH: {folder}: {error}"))?;
    let mut all = vec![];
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()) {
        all.extend(read("VAULT_CAPATH", path)?);
        all.push(b'\n');
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transit(list: Option<KeyAllowList>) -> Transit {
        let addresses = Addresses { list, by: ALLOW_VARIABLE };
        Transit::new(TransitConfig::with_token(Some(Plaintext::from("t".to_owned())), addresses)).unwrap()
    }

    fn key(address: &str, engine: &str, key: &str) -> KeyRef {
        KeyRef::HcVault { address: address.into(), engine: engine.into(), key: key.into() }
    }

    fn url(key: &KeyRef, list: Option<KeyAllowList>) -> Result<String, KmsError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        transit(list).url(key, "decrypt", &Asked::new(SERVICE, "decrypt", key)).map(String::from)
    }

    #[test]
    fn addresses_are_those_of_the_transit_engine_and_cannot_climb() {
        let good = url(&key("https://vault.test:8200/", "team/transit", "k?#%"), None).unwrap();
        assert_eq!(good, "https://vault.test:8200/v1/team/transit/decrypt/k%3F%23%25");
        for bad in [
            key("https://u:p@vault.test", "transit", "k"),
            key("file:///etc", "transit", "k"),
            key("vault.test", "transit", "k"),
            key("https://vault.test?x=", "transit", "k"),
            key("https://vault.test", "transit/../sys", "k"),
            key("https://vault.test", "transit", ".."),
            key("https://vault.test", "transit", "a/b"),
            key("https://vault.test", "", "k"),
        ] {
            assert!(matches!(url(&bad, None), Err(KmsError::Key { .. })), "{bad}");
        }
    }

    #[test]
    fn an_address_that_is_not_listed_is_not_asked() {
        let list = KeyAllowList::parse(["https://vault.test"]).unwrap();
        assert!(url(&key("https://vault.test", "transit", "k"), Some(list.clone())).is_ok());
        let refused = url(&key("https://evil.test", "transit", "k"), Some(list)).unwrap_err();
        assert!(refused.to_string().contains(ALLOW_VARIABLE), "{refused}");
        assert!(url(&key("https://vault.test", "transit", "k"), Some(KeyAllowList::new())).is_err());
    }
}
