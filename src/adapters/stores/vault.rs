//! Vault and OpenBao, the KV engine, with a token.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url, redirect};

use super::{Answer, OnCall, Store, StoreError, Validity, Want};
use crate::adapters::exchange::{self, Bounds, Fault, Refusal};
use crate::pure::crd::secret_store::VaultVersion;
use crate::pure::external::find::Found;
use crate::pure::external::store::Repeats;
use crate::pure::external::vault::{self, Location};
use crate::pure::external::{Dialect, Fetched, RemoteKey, Search, StoreId};
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

/// Everything that a Vault store needs.
pub struct VaultConfig {
    /// The store, for error texts.
    pub store: StoreId,
    /// Address, `http` or `https`.
    pub server: String,
    /// Mount of the engine.
    pub mount: Option<String>,
    /// Version of the engine.
    pub version: VaultVersion,
    /// Vault namespace.
    pub namespace: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Certificate authorities in PEM that replace the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Token; `None` where an agent in between adds it.
    pub token: Option<Plaintext>,
    /// Longest wait for one call, repeats included; [`super::CALL_TIMEOUT`] unless a test is in a hurry.
    pub timeout: Duration,
    /// How calls are repeated; not at all without it, since whoever reads comes back anyway.
    pub repeats: Option<Repeats>,
}

/// A KV engine.
pub struct VaultStore {
    store: StoreId,
    mount: Option<String>,
    version: VaultVersion,
    http: Client,
    server: Url,
    bounds: Bounds,
    on_call: OnCall,
}

const PROVIDER: &str = "HashiCorp/Vault";
/// Wait before a call is repeated for the first time; the real client's own.
const FIRST_WAIT: Duration = Duration::from_secs(1);

impl VaultStore {
    /// Builds the client of this store alone.
    pub fn new(config: VaultConfig, on_call: OnCall) -> Result<Self, StoreError> {
        let refuse = |detail: &str| StoreError::Config { store: config.store.to_string(), detail: detail.into() };
        let server = Url::parse(&config.server).map_err(|_| refuse("server is not an address"))?;
        if !matches!(server.scheme(), "http" | "https") || server.cannot_be_a_base() {
            return Err(refuse("server is neither http nor https"));
        }
        let mut builder = exchange::client().default_headers(headers(&config)?).redirect(same_scheme());
        if server.scheme() == "http" {
            // Nothing to verify: do not read the system's authorities.
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = &config.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| refuse("the certificate authorities are not PEM"))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|_| refuse("no HTTP client can be built from these settings"))?;
        let wait = config.repeats.and_then(|repeats| repeats.wait).unwrap_or(FIRST_WAIT);
        let retries = config.repeats.and_then(|repeats| repeats.retries).unwrap_or(0);
        Ok(Self {
            http,
            server,
            bounds: Bounds {
                tries: 1 + retries,
                wait,
                longest_wait: wait.max(Bounds::LONGEST_WAIT),
                ..Bounds::new(config.timeout, limits::STORE_BODY_BYTES)
            },
            store: config.store,
            mount: config.mount,
            version: config.version,
            on_call,
        })
    }

    async fn value(&self, key: &RemoteKey) -> Result<Plaintext, StoreError> {
        let invalid = |detail| StoreError::Invalid { store: self.store.to_string(), key: key.key.clone(), detail };
        let at = vault::locate(self.mount.as_deref(), self.version, &key.key).ok_or_else(|| {
            invalid("the key is not a path below a mount; set provider.vault.path or begin the key with the mount")
        })?;
        let version: Option<u64> = match key.version.as_deref().map(str::parse) {
            None => None,
            Some(Ok(version)) => Some(version),
            Some(Err(_)) => return Err(invalid("the version is not a number")),
        };
        if key.metadata {
            let body = self.metadata(&key.key, &at, "metadataPolicy Fetch").await?;
            return vault::metadata(body.expose()).ok_or_else(|| invalid("it is not the metadata of a value"));
        }
        self.value_at(&key.key, &at, version).await
    }

    async fn value_at(&self, key: &str, at: &Location, version: Option<u64>) -> Result<Plaintext, StoreError> {
        let mut url = self.url(at, "data");
        // Version 1 has no versions, as with External Secrets Operator.
        if let (Some(version), VaultVersion::V2) = (version, self.version) {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        let body = self.get("ReadSecretData", key, url).await?;
        let detail = "it is not a value of this version of the engine; check provider.vault.version";
        vault::document(self.version, body.expose()).ok_or_else(|| StoreError::Invalid {
            store: self.store.to_string(),
            key: key.to_owned(),
            detail,
        })
    }

    async fn metadata(&self, key: &str, at: &Location, what: &str) -> Result<Plaintext, StoreError> {
        if self.version == VaultVersion::V1 {
            let what = format!("{what} with version v1 of the engine");
            return Err(StoreError::Unsupported { store: self.store.to_string(), what });
        }
        self.get("ReadSecretMetadata", key, self.url(at, "metadata")).await
    }

    /// All values that match, by their path: that of the search and what follows it.
    async fn find(&self, search: &Search) -> Result<SecretData, StoreError> {
        if self.version == VaultVersion::V1 && !search.tags.is_empty() {
            let what = "dataFrom.find by tags with version v1 of the engine".into();
            return Err(StoreError::Unsupported { store: self.store.to_string(), what });
        }
        let names = search.names(&self.store)?;
        let folder = vault::folder(self.mount.as_deref(), self.version, search.path.as_deref()).ok_or_else(|| {
            let detail = "the path is not below a mount; set provider.vault.path or begin the path with the mount";
            search.refuse(&self.store, detail)
        })?;
        let begin = match search.path.as_deref().map(|path| path.trim_end_matches('/')) {
            None | Some("") => String::new(),
            Some(path) => format!("{path}/"),
        };
        let mut hits: Vec<(String, Location)> = vec![];
        for below in self.walk(search, &folder).await? {
            let name = format!("{begin}{below}");
            if names.as_ref().is_none_or(|names| names.is_match(&name)) {
                hits.push((name, folder.below(&below)));
            }
        }
        let by_tags = names.is_none() && !search.tags.is_empty();
        let mut reads = stream::iter(hits)
            .map(|(name, at)| async move {
                let value = self.matching(search, by_tags, &name, &at).await;
                value.map(|value| value.map(|value| (name, value)))
            })
            .buffer_unordered(limits::FIND_REQUESTS);
        let mut found = Found::default();
        while let Some(read) = reads.try_next().await? {
            if let Some((name, value)) = read {
                found.add(search, &self.store, name, value)?;
            }
        }
        Ok(found.into_data())
    }

    /// One value that was listed, if its tags are those wanted, and it was not deleted.
    async fn matching(
        &self,
        search: &Search,
        by_tags: bool,
        name: &str,
        at: &Location,
    ) -> Result<Option<Plaintext>, StoreError> {
        if by_tags {
            let body = self.metadata(name, at, "dataFrom.find by tags").await?;
            let Some(tags) = vault::tags(body.expose()) else {
                let detail = "it is not the metadata of a value";
                return Err(StoreError::Invalid { store: self.store.to_string(), key: name.to_owned(), detail });
            };
            if !search.has_tags(|tag| tags.get(tag).map(String::as_str)) {
                return Ok(None);
            }
        }
        match self.value_at(name, at, None).await {
            Err(error) if error.is_missing() => Ok(None),
            value => value.map(Some),
        }
    }

    /// Paths of all values below a folder, from that folder on.
    async fn walk(&self, search: &Search, folder: &Location) -> Result<Vec<String>, StoreError> {
        let (mut paths, mut folders, mut listed) = (vec![], vec![String::new()], 0);
        while !folders.is_empty() {
            listed += folders.len();
            if listed > limits::FIND_FOLDERS {
                return Err(search.refuse(&self.store, "it has more than 1000 folders; narrow it with path"));
            }
            let lists = stream::iter(std::mem::take(&mut folders)).map(|below| async move {
                let place = if below.is_empty() { search.place() } else { below.clone() };
                let mut url = self.url(&folder.below(&below), "metadata");
                url.query_pairs_mut().append_pair("list", "true");
                match self.get("ListSecrets", &place, url).await {
                    // It was there a moment ago.
                    Err(error) if error.is_missing() && !below.is_empty() => Ok((below, vec![])),
                    Err(error) => Err(error),
                    Ok(body) => {
                        let detail = "it is not a list of names";
                        let names = vault::names(body.expose()).ok_or_else(|| search.refuse(&self.store, detail))?;
                        Ok((below, names))
                    }
                }
            });
            let mut lists = lists.buffer_unordered(limits::FIND_REQUESTS);
            while let Some((below, names)) = lists.try_next().await? {
                for name in names {
                    let path = format!("{below}{name}");
                    if path.ends_with('/') { folders.push(path) } else { paths.push(path) }
                }
                if paths.len() > limits::FIND_NAMES {
                    return Err(search.refuse(&self.store, "it has more than 10000 values; narrow it with path"));
                }
            }
        }
        Ok(paths)
    }

    /// The address of a value, or of a folder. `part` is what the versioned engine has between mount and path.
    fn url(&self, at: &Location, part: &str) -> Url {
        let part = Some(part).filter(|_| self.version == VaultVersion::V2);
        self.address(at.mount.split('/').chain(part).chain(at.path.split('/')))
    }

    fn address<'p>(&self, parts: impl Iterator<Item = &'p str>) -> Url {
        let mut url = self.server.clone();
        // The scheme was looked at: such an address has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            // What is special in an address is encoded, not obeyed.
            path.pop_if_empty().push("v1").extend(parts);
        }
        url
    }

    /// Reads an address; the body of an answer that is a success.
    async fn get(&self, call: &'static str, key: &str, url: Url) -> Result<Plaintext, StoreError> {
        let answer = exchange::call(&self.http, Request::new(Method::GET, url), self.bounds).await;
        let result = self.body(key, answer);
        // A value that does not exist is an answer, not a failed call.
        (self.on_call)(PROVIDER, call, result.as_ref().err().is_none_or(StoreError::is_missing));
        result
    }

    fn body(&self, key: &str, answer: Result<exchange::Answer, Fault>) -> Result<Plaintext, StoreError> {
        let (store, key) = (self.store.to_string(), key.to_owned());
        let answer = match answer {
            Ok(answer) => answer,
            Err(Fault::Timeout) => return Err(StoreError::Timeout { store, key, limit: self.bounds.limit }),
            Err(Fault::Unavailable(code)) => {
                return Err(StoreError::Unavailable { store, key, code: code.into() });
            }
            Err(Fault::TooLarge) => {
                return Err(StoreError::Invalid { store, key, detail: "it is larger than 4 MiB" });
            }
        };
        let status = answer.status.as_u16();
        Err(match answer.refusal(None) {
            _ if answer.status.is_success() => return Ok(answer.body),
            _ if status == 404 && vault::says_missing(answer.body.expose()) => StoreError::NotFound { store, key },
            // A standby that has not caught up, and replicas that cannot answer.
            _ if matches!(status, 412 | 472 | 473) => StoreError::Unavailable { store, key, code: status.to_string() },
            Refusal::Denied { code } => StoreError::Denied { store, key, code },
            Refusal::Throttled { code, after } => StoreError::Throttled { store, key, code, after },
            Refusal::Unavailable { code } => StoreError::Unavailable { store, key, code },
            Refusal::Redirected { to } => StoreError::Refused { store, key, code: format!("{status} to {to}") },
            Refusal::NotFound { code } | Refusal::Other { code } => StoreError::Refused { store, key, code },
        })
    }
}

/// What every call carries.
fn headers(config: &VaultConfig) -> Result<HeaderMap, StoreError> {
    let refuse = |detail: &str| StoreError::Config { store: config.store.to_string(), detail: detail.into() };
    let mut headers = HeaderMap::new();
    // Agents and proxies of Vault refuse what does not say that it is meant for them.
    headers.insert("X-Vault-Request", HeaderValue::from_static("true"));
    for (name, value) in &config.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) else {
            return Err(refuse("headers holds a name or a value that no header can"));
        };
        headers.insert(name, value);
    }
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| refuse("token or namespace holds characters that no header can"))
    };
    if let Some(token) = &config.token {
        // A file with a token usually ends in a line break.
        let token = token.expose_str().map(str::trim).ok_or_else(|| refuse("the token is not text"))?;
        let mut token = value(token)?;
        token.set_sensitive(true);
        headers.insert("X-Vault-Token", token);
    }
    if let Some(namespace) = config.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        headers.insert("X-Vault-Namespace", value(namespace)?);
    }
    Ok(headers)
}

#[async_trait]
impl Store for VaultStore {
    async fn read(&self, want: &Want) -> Answer {
        match want {
            Want::Value(key) => {
                self.value(key).await.map(|value| Fetched::Value(std::sync::Arc::new(value), Dialect::Vault))
            }
            Want::Matches(search) => super::in_time(&self.store, search, self.find(search)).await,
        }
    }

    async fn validate(&self) -> Result<Validity, StoreError> {
        let url = self.address(["auth", "token", "lookup-self"].into_iter());
        self.get("LookupSelf", "auth/token/lookup-self", url).await.map(|_| Validity::Valid)
    }
}

/// Follows a standby to its leader, but never from https to http: the token goes along.
fn same_scheme() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let same = attempt.previous().last().is_some_and(|from| from.scheme() == attempt.url().scheme());
        if attempt.previous().len() > 3 || !same { attempt.stop() } else { attempt.follow() }
    })
}
