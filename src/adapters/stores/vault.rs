//! Vault and OpenBao, the KV engine, with a token.
//!
//! Requests and their headers are vaultrs'; the transport below is ours, since vaultrs' own reads answers of any size,
//! drops `Retry-After`, logs what the server says, and takes its settings from the process's environment.

use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;
use rustify::Endpoint;
use rustify::client::Client as RestClient;
use rustify::errors::ClientError;
use vaultrs::api::EndpointMiddleware;
use vaultrs::api::{kv1, kv2, token};

use super::{Answer, CONNECT_TIMEOUT, OnCall, Store, StoreError, Validity, Want};
use crate::pure::crd::secret_store::VaultVersion;
use crate::pure::external::vault::{self, Location};
use crate::pure::external::{Dialect, Fetched, RemoteKey, StoreId};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

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
    /// Longest wait for one call; [`super::CALL_TIMEOUT`] unless a test is in a hurry.
    pub timeout: Duration,
}

/// A KV engine.
pub struct VaultStore {
    store: StoreId,
    mount: Option<String>,
    version: VaultVersion,
    transport: Transport,
    middleware: EndpointMiddleware,
    timeout: Duration,
    on_call: OnCall,
}

const PROVIDER: &str = "HashiCorp/Vault";

impl VaultStore {
    /// Builds the client of this store alone.
    pub fn new(config: VaultConfig, on_call: OnCall) -> Result<Self, StoreError> {
        let refuse = |detail: &str| StoreError::Config { store: config.store.to_string(), detail: detail.into() };
        let url = reqwest::Url::parse(&config.server).map_err(|_| refuse("server is not an address"))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(refuse("server is neither http nor https"));
        }
        // A file with a token usually ends in a line break.
        let token = match &config.token {
            Some(token) => token.expose_str().map(str::trim).ok_or_else(|| refuse("the token is not text"))?,
            None => "",
        };
        // vaultrs panics on what no header can hold.
        let header = |text: &str| HeaderValue::from_str(text).is_ok();
        if !header(token) || !config.namespace.as_deref().is_none_or(header) {
            return Err(refuse("token or namespace holds characters that no header can"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) else {
                return Err(refuse("headers holds a name or a value that no header can"));
            };
            headers.insert(name, value);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(config.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(same_scheme());
        if url.scheme() == "http" {
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
        Ok(Self {
            transport: Transport { http, base: url.as_str().trim_end_matches('/').to_owned() },
            middleware: EndpointMiddleware {
                token: token.to_owned(),
                version: "v1".into(),
                wrap: None,
                namespace: config.namespace.filter(|namespace| !namespace.is_empty()),
            },
            timeout: config.timeout,
            store: config.store,
            mount: config.mount,
            version: config.version,
            on_call,
        })
    }

    async fn value(&self, key: &RemoteKey) -> Result<Plaintext, StoreError> {
        let store = self.store.to_string();
        let Some(at) = vault::locate(self.mount.as_deref(), self.version, &key.key) else {
            let detail = "the key is not a path below a mount; set provider.vault.path or begin the key with the mount";
            return Err(StoreError::Invalid { store, key: key.key.clone(), detail });
        };
        let version = match key.version.as_deref().map(str::parse) {
            None => None,
            Some(Ok(version)) => Some(version),
            Some(Err(_)) => {
                let detail = "the version is not a number";
                return Err(StoreError::Invalid { store, key: key.key.clone(), detail });
            }
        };
        let missing_part = |detail| StoreError::Invalid { store: store.clone(), key: key.key.clone(), detail };
        if key.metadata {
            if self.version == VaultVersion::V1 {
                let what = "metadataPolicy Fetch with version v1 of the engine".into();
                return Err(StoreError::Unsupported { store: self.store.to_string(), what });
            }
            let request = kv2::requests::ReadSecretMetadataRequest { mount: at.mount, path: at.path };
            let body = self.send("ReadSecretMetadata", &key.key, request).await?;
            return vault::metadata(body.expose()).ok_or_else(|| missing_part("it is not the metadata of a value"));
        }
        let body = self.read_value(&key.key, at, version).await?;
        vault::document(self.version, body.expose()).ok_or_else(|| {
            missing_part("it is not a value of this version of the engine; check provider.vault.version")
        })
    }

    async fn read_value(&self, key: &str, at: Location, version: Option<u64>) -> Result<Plaintext, StoreError> {
        let Location { mount, path } = at;
        match self.version {
            VaultVersion::V1 => {
                let request = kv1::requests::GetSecretRequest { mount, path };
                self.send("ReadSecretData", key, request).await
            }
            VaultVersion::V2 => {
                let request = kv2::requests::ReadSecretRequest { mount, path, version };
                self.send("ReadSecretData", key, request).await
            }
        }
    }

    /// Sends one request and returns the body of an answer that is a success.
    async fn send(&self, call: &'static str, key: &str, request: impl Endpoint) -> Result<Plaintext, StoreError> {
        let result = self.exchange(key, request).await;
        // A value that does not exist is an answer, not a failed call.
        (self.on_call)(PROVIDER, call, result.as_ref().err().is_none_or(StoreError::is_missing));
        result
    }

    async fn exchange(&self, key: &str, request: impl Endpoint) -> Result<Plaintext, StoreError> {
        let (store, key) = (self.store.to_string(), key.to_owned());
        let Ok(result) = request.with_middleware(&self.middleware).exec(&self.transport).await else {
            return Err(StoreError::Invalid { store, key, detail: "no request can be made for this key" });
        };
        let mut response = result.response;
        let status = response.status().as_u16();
        let body = Plaintext::new(std::mem::take(response.body_mut()));
        match response.extensions().get::<Failure>() {
            Some(Failure::Timeout) => return Err(StoreError::Timeout { store, key, limit: self.timeout }),
            Some(Failure::Connection) => {
                return Err(StoreError::Unavailable { store, key, code: "no connection".into() });
            }
            Some(Failure::Interrupted) => {
                return Err(StoreError::Unavailable { store, key, code: "the answer broke off".into() });
            }
            Some(Failure::TooLarge) => {
                return Err(StoreError::Invalid { store, key, detail: "it is larger than 4 MiB" });
            }
            None => {}
        }
        let code = status.to_string();
        Err(match status {
            200..=299 => return Ok(body),
            404 if vault::says_missing(body.expose()) => StoreError::NotFound { store, key },
            401 | 403 => StoreError::Denied { store, key, code },
            429 => StoreError::Throttled { store, key, code, after: retry_after(response.headers()) },
            // 412: a standby that has not caught up. 472, 473: a replica that cannot answer.
            412 | 472 | 473 | 500..=599 => StoreError::Unavailable { store, key, code },
            _ => StoreError::Refused { store, key, code },
        })
    }
}

#[async_trait]
impl Store for VaultStore {
    async fn read(&self, want: &Want) -> Answer {
        match want {
            Want::Value(key) => {
                self.value(key).await.map(|value| Fetched::Value(std::sync::Arc::new(value), Dialect::Vault))
            }
            Want::Matches(_) => {
                let what = "dataFrom.find with provider vault".into();
                Err(StoreError::Unsupported { store: self.store.to_string(), what })
            }
        }
    }

    async fn validate(&self) -> Result<Validity, StoreError> {
        let request = token::requests::LookupTokenSelfRequest {};
        self.send("LookupSelf", "auth/token/lookup-self", request).await.map(|_| Validity::Valid)
    }
}

/// Follows a standby to its leader, but never from https to http: the token goes along.
fn same_scheme() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let same = attempt.previous().last().is_some_and(|from| from.scheme() == attempt.url().scheme());
        if attempt.previous().len() > 3 || !same { attempt.stop() } else { attempt.follow() }
    })
}

/// `Retry-After` in seconds, at most five minutes: the longest wait between two tries anyway.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 300)))
}

/// Why there is no answer; carried in the extensions of an empty one.
#[derive(Clone, Copy)]
enum Failure {
    Timeout,
    Connection,
    Interrupted,
    TooLarge,
}

impl Failure {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() || error.is_request() {
            Self::Connection
        } else {
            Self::Interrupted
        }
    }
}

struct Transport {
    http: reqwest::Client,
    base: String,
}

impl Transport {
    async fn exchange(&self, request: reqwest::Request) -> Result<http::Response<Vec<u8>>, Failure> {
        let mut answer = self.http.execute(request).await.map_err(|e| Failure::of(&e))?;
        let mut response = http::Response::new(vec![]);
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        if answer.content_length().is_some_and(|length| length > limits::STORE_BODY_BYTES as u64) {
            return Err(Failure::TooLarge);
        }
        while let Some(chunk) = answer.chunk().await.map_err(|e| Failure::of(&e))? {
            if response.body().len() + chunk.len() > limits::STORE_BODY_BYTES {
                return Err(Failure::TooLarge);
            }
            response.body_mut().extend_from_slice(&chunk);
        }
        Ok(response)
    }
}

#[async_trait]
impl RestClient for Transport {
    fn base(&self) -> &str {
        &self.base
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, ClientError> {
        let request =
            reqwest::Request::try_from(request).map_err(|source| ClientError::ReqwestBuildError { source })?;
        Ok(self.exchange(request).await.unwrap_or_else(|failure| {
            let mut response = http::Response::new(vec![]);
            response.extensions_mut().insert(failure);
            response
        }))
    }

    /// Unlike rustify's own, an answer that is not a success is an answer, and is not logged as an error.
    async fn execute(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, ClientError> {
        self.send(request).await
    }
}
