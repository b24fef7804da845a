//! AWS KMS: Encrypt and Decrypt with the key's ARN, which names the region too.
//!
//! Credentials are the SDK's default chain (environment, profile files, web identity, containers, instances), or one
//! static set; a role that the key names is assumed with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::retry::RetryConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::OnceCell;

use super::KeyService;
use super::error::{Asked, KmsError};
use super::http::CALL_TIMEOUT;
use crate::adapters::aws_http;
use crate::adapters::exchange::{NO_CONNECTION, is_code};
use crate::pure::error::aws::{Refusal, refusal};
use crate::pure::keys::{KeyError, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

const SERVICE: &str = "AWS KMS";
/// Tries per call, the first included: the SDK's own default.
const TRIES: u32 = 3;
/// Most clients kept: one for each region, role and profile that files name.
const CLIENTS: usize = 64;
/// Longest name of a session of an assumed role.
const SESSION_NAME_BYTES: usize = 64;

/// Whose rights are used.
pub enum AwsCredentials {
    /// One set of keys, whatever profile a file names.
    Static(Credentials),
    /// The SDK's default chain, with the profile that a file names.
    Chain,
    /// The same for a program that serves others: the profiles of files are their authors' and mean nothing here.
    ChainWithoutProfiles,
}

/// Everything that a client needs.
pub struct AwsKmsConfig {
    /// Credentials.
    pub credentials: AwsCredentials,
    /// Address in place of the regions' own, for KMS and STS; the SDK's variables `AWS_ENDPOINT_URL` and
    /// `AWS_ENDPOINT_URL_KMS` count without it.
    pub endpoint: Option<String>,
    /// Names the sessions of assumed roles: `sops@` and this.
    pub host: String,
    /// Longest wait for one call, repeats included.
    pub timeout: Duration,
}

impl AwsKmsConfig {
    /// As the user's other AWS programs find their credentials.
    pub fn from_environment() -> Self {
        let host = std::fs::read_to_string("/etc/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        Self {
            credentials: AwsCredentials::Chain,
            endpoint: None,
            host: host.unwrap_or_default(),
            timeout: CALL_TIMEOUT,
        }
    }
}

type Which = (String, String, String);

/// KMS in whatever regions the files name.
pub struct AwsKms {
    config: AwsKmsConfig,
    http: SharedHttpClient,
    clients: Mutex<HashMap<Which, Arc<OnceCell<Client>>>>,
}

/// What a key says, taken apart.
struct Key<'k> {
    arn: &'k str,
    role: &'k str,
    profile: &'k str,
    region: &'k str,
    context: HashMap<String, String>,
}

impl AwsKms {
    /// Makes a client; nothing is contacted.
    ///
    /// # Errors
    /// A text that says which setting is refused.
    pub fn new(config: AwsKmsConfig) -> Result<Self, String> {
        // The SDK would write data keys into the log at trace level.
        if std::env::var_os("LOG_SENSITIVE_BODIES").is_some() {
            return Err("LOG_SENSITIVE_BODIES is set in the environment; remove it".into());
        }
        Ok(Self { config, http: http_client(), clients: Mutex::default() })
    }

    /// The client for a region, a role and a profile; made once.
    async fn client(&self, key: &Key<'_>) -> Client {
        let profile = if matches!(self.config.credentials, AwsCredentials::Chain) { key.profile } else { "" };
        let which = (key.region.to_owned(), key.role.to_owned(), profile.to_owned());
        let cell = {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            if clients.len() >= CLIENTS && !clients.contains_key(&which) {
                clients.clear();
            }
            clients.entry(which).or_default().clone()
        };
        cell.get_or_init(|| self.connect(key.region, key.role, profile)).await.clone()
    }

    async fn connect(&self, region: &str, role: &str, profile: &str) -> Client {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(aws_http::timeouts(self.config.timeout));
        if let AwsCredentials::Static(credentials) = &self.config.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        if !profile.is_empty() {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &self.config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let mut config = loader.load().await;
        if !role.is_empty() {
            let session = session_name(&self.config.host);
            let provider = AssumeRoleProvider::builder(role).session_name(session).configure(&config).build().await;
            let provider = aws_credential_types::provider::SharedCredentialsProvider::new(provider);
            config = config.into_builder().credentials_provider(provider).build();
        }
        Client::new(&config)
    }

    /// A service-level deadline too: the SDK bounds each call, but finding credentials is several.
    async fn bounded<T>(&self, asked: &Asked, call: impl Future<Output = Result<T, KmsError>>) -> Result<T, KmsError> {
        let limit = self.config.timeout;
        let late = || KmsError::Timeout { asked: asked.clone(), limit };
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
    }
}

fn http_client() -> SharedHttpClient {
    aws_http::client(limits::KEY_SERVICE_BODY_BYTES)
}

/// The user's own settings and credentials, as all AWS programs find them, for what is no key service.
pub async fn settings_of_user() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client()).load().await
}

/// `sops@host` with the characters that a session name may have, as SOPS forms it.
fn session_name(host: &str) -> String {
    let kept = host.chars().filter(|c| c.is_ascii_alphanumeric() || "=,.@-".contains(*c));
    format!("sops@{}", kept.collect::<String>()).chars().take(SESSION_NAME_BYTES).collect()
}

/// Takes an ARN apart: `arn:aws*:kms:REGION:ACCOUNT:key/…` or `…:alias/…`. The region becomes part of an address.
fn parse<'k>(key: &'k KeyRef, asked: &Asked) -> Result<Key<'k>, KmsError> {
    let KeyRef::Kms { arn, role, context, profile } = key else {
        return Err(KmsError::Unsupported { asked: asked.clone() });
    };
    let bad = |detail| KmsError::Key { asked: asked.clone(), detail };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "kms", region, account, name] = parts.as_slice() else {
        return Err(bad("it is not an ARN of a KMS key"));
    };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let named = ["key/", "alias/"].iter().any(|kind| name.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
    if !partition.starts_with("aws") || !word(partition) || !word(region) || !word(account) || !named {
        return Err(bad("it is not an ARN of a KMS key"));
    }
    if !role.is_empty() && !role.starts_with("arn:") {
        return Err(bad("its role is not an ARN"));
    }
    Ok(Key { arn, role, profile, region, context: context.iter().cloned().collect() })
}

#[async_trait]
impl KeyService for AwsKms {
    fn serves(&self, key: &KeyRef) -> bool {
        matches!(key, KeyRef::Kms { .. })
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        let asked = Asked::new(SERVICE, "encrypt", key);
        let key = parse(key, &asked)?;
        let call = async {
            let request = self.client(&key).await.encrypt().key_id(key.arn);
            // The SDK's own copy is not zeroised; it is dropped with the request.
            let request = request.plaintext(Blob::new(secret.expose())).set_encryption_context(context(&key));
            let answer = request.send().await.map_err(|error| failure(&asked, self.config.timeout, &error))?;
            let detail = "it holds no ciphertext";
            let blob = answer.ciphertext_blob.ok_or(KmsError::Answer { asked: asked.clone(), detail })?;
            Ok(STANDARD.encode(blob.into_inner()))
        };
        Ok(self.bounded(&asked, call).await?)
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Unwrapped {
        let asked = Asked::new(SERVICE, "decrypt", &wrapped.key);
        let key = parse(&wrapped.key, &asked)?;
        let blob = STANDARD.decode(wrapped.enc.trim()).map_err(|_| KmsError::Damaged { asked: asked.clone() })?;
        let call = async {
            let request = self.client(&key).await.decrypt().key_id(key.arn).ciphertext_blob(Blob::new(blob));
            let answer = request.set_encryption_context(context(&key)).send().await;
            let answer = answer.map_err(|error| failure(&asked, self.config.timeout, &error))?;
            let detail = "it holds no data key";
            let plain = answer.plaintext.ok_or(KmsError::Answer { asked: asked.clone(), detail })?;
            Ok(Plaintext::new(plain.into_inner()))
        };
        self.bounded(&asked, call).await.map_err(KeyError::from)
    }
}

fn context(key: &Key<'_>) -> Option<HashMap<String, String>> {
    Some(key.context.clone()).filter(|context| !context.is_empty())
}

/// Maps the SDK's error by its code; the service's own text is not passed on.
fn failure<E>(asked: &Asked, limit: Duration, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let asked = asked.clone();
    if let Some(error) = credentials_error(error) {
        return KmsError::Credentials { asked, detail: why_no_credentials(error).into() };
    }
    match error {
        SdkError::TimeoutError(_) => KmsError::Timeout { asked, limit },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => KmsError::Timeout { asked, limit },
        SdkError::DispatchFailure(_) => KmsError::Unavailable { asked, code: NO_CONNECTION.into() },
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let word = service.err().code().filter(|code| is_code(code)).map(str::to_owned);
            let code = word.unwrap_or_else(|| status.to_string());
            match refusal(&code, status) {
                _ if code == "NotFoundException" => KmsError::NotFound { asked, code },
                Refusal::Denied => KmsError::Denied { asked, code },
                Refusal::Throttled => KmsError::Throttled { asked, code, after: None },
                Refusal::Unavailable => KmsError::Unavailable { asked, code },
                Refusal::Other => KmsError::Refused { asked, code },
            }
        }
        SdkError::ResponseError(_) => KmsError::Answer { asked, detail: "it is not an answer of KMS" },
        SdkError::ConstructionFailure(_) => {
            KmsError::Settings { asked, detail: "no request can be made for this region and key".into() }
        }
        _ => KmsError::Unavailable { asked, code: "unknown".into() },
    }
}

fn credentials_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn why_no_credentials(error: &CredentialsError) -> &'static str {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "none found in the environment, in profile files, or from this machine; set AWS_PROFILE or \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in"
        }
        CredentialsError::ProviderTimedOut(_) => "their source did not answer in time",
        CredentialsError::InvalidConfiguration(_) => {
            "the profile cannot be used; check the profile that the key names, ~/.aws/config and ~/.aws/credentials"
        }
        CredentialsError::ProviderError(_) => {
            "their source refused; check the role that the key names, or log in again"
        }
        _ => "their source failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(arn: &str) -> KeyRef {
        KeyRef::Kms { arn: arn.into(), role: String::new(), context: vec![], profile: String::new() }
    }

    #[test]
    fn the_region_comes_out_of_the_arn_and_is_a_word() {
        let asked = |key: &KeyRef| Asked::new(SERVICE, "decrypt", key);
        for (arn, region) in [
            ("arn:aws:kms:eu-central-1:111122223333:key/1-2", "eu-central-1"),
            ("arn:aws-us-gov:kms:us-gov-west-1:1:alias/a/b", "us-gov-west-1"),
        ] {
            assert_eq!(parse(&key(arn), &asked(&key(arn))).unwrap().region, region);
        }
        for arn in [
            "",
            "arn:aws:s3:eu-central-1:1:key/1",
            "arn:aws:kms:eu.evil.test/:1:key/1",
            "arn:aws:kms:eu-central-1@evil:1:key/1",
            "arn:aws:kms::1:key/1",
            "arn:aws:kms:eu-central-1:1:key/",
            "arn:aws:kms:eu-central-1:1:grant/1",
            "arn:evil:kms:eu-central-1:1:key/1",
        ] {
            assert!(parse(&key(arn), &asked(&key(arn))).is_err(), "{arn}");
        }
    }

    #[test]
    fn sessions_are_named_as_sops_names_them() {
        assert_eq!(session_name("my_host.example\n"), "sops@myhost.example");
        assert_eq!(session_name(&"x".repeat(100)).len(), SESSION_NAME_BYTES);
    }
}
