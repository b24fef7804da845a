//! AWS Secrets Manager with static keys.

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, CONNECT_TIMEOUT, OnCall, Store, StoreError, Validity, Want};
use crate::pure::error::aws::{Refusal, refusal};
use crate::pure::external::{Dialect, Fetched, RemoteKey, StoreId};
use crate::pure::secret::Plaintext;

/// Everything that a Secrets Manager store needs.
pub struct AwsConfig {
    /// The store, for error texts.
    pub store: StoreId,
    /// Region.
    pub region: String,
    /// Address in place of the region's own; the operator's variable `AWS_SECRETSMANAGER_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Access key ID.
    pub access_key_id: Plaintext,
    /// Secret access key.
    pub secret_access_key: Plaintext,
    /// Token of temporary keys.
    pub session_token: Option<Plaintext>,
    /// Put before every key.
    pub prefix: String,
    /// Longest wait for one call, repeats included; [`super::CALL_TIMEOUT`] unless a test is in a hurry.
    pub timeout: Duration,
}

/// Secrets Manager in one region.
pub struct AwsStore {
    store: StoreId,
    prefix: String,
    client: Client,
    timeout: Duration,
    on_call: OnCall,
}

const PROVIDER: &str = "AWS/SecretsManager";
/// Tries per call, the first included: the SDK's own default.
const TRIES: u32 = 3;

impl AwsStore {
    /// Builds the client of this store alone.
    pub fn new(config: AwsConfig, on_call: OnCall) -> Result<Self, StoreError> {
        let refuse = |detail: &str| StoreError::Config { store: config.store.to_string(), detail: detail.into() };
        // The SDK would write values into the log at trace level.
        if std::env::var_os("LOG_SENSITIVE_BODIES").is_some() {
            return Err(refuse("LOG_SENSITIVE_BODIES is set in the environment of the operator; remove it"));
        }
        if config.region.is_empty() {
            return Err(refuse("region is empty"));
        }
        let text = |value: &Plaintext, what: &str| {
            let text = value.expose_str().map(str::trim).filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or_else(|| refuse(&format!("the {what} is empty or not text")))
        };
        let credentials = Credentials::new(
            text(&config.access_key_id, "access key ID")?,
            text(&config.secret_access_key, "secret access key")?,
            config.session_token.as_ref().map(|token| text(token, "session token")).transpose()?,
            None,
            "SecretStore",
        );
        let http = Builder::new().build_with_connector_fn(|settings, _| {
            let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
            if let Some(settings) = settings {
                connector = connector.connector_settings(settings.clone());
            }
            connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()
        });
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(config.timeout)
            // Time for a second try after one that hangs.
            .operation_attempt_timeout(config.timeout * 2 / 3)
            .build();
        let mut builder = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(timeouts);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        Ok(Self { client, store: config.store, prefix: config.prefix, timeout: config.timeout, on_call })
    }

    async fn value(&self, key: &RemoteKey) -> Result<Plaintext, StoreError> {
        let name = format!("{}{}", self.prefix, key.key);
        if key.metadata {
            return self.tags(&name, &key.key).await;
        }
        let mut request = self.client.get_secret_value().secret_id(&name);
        request = match key.version.as_deref() {
            Some(version) => match version.strip_prefix("uuid/") {
                Some(id) => request.version_id(id),
                None => request.version_stage(version),
            },
            None => request.version_stage("AWSCURRENT"),
        };
        let answer = self.counted("GetSecretValue", &key.key, request.send().await)?;
        // The SDK's own copies are not zeroised; they are dropped here.
        match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Ok(Plaintext::from(text)),
            (None, Some(bytes)) => Ok(Plaintext::new(bytes.into_inner())),
            (None, None) => Err(StoreError::Invalid {
                store: self.store.to_string(),
                key: key.key.clone(),
                detail: "it has neither a text nor bytes",
            }),
        }
    }

    /// The tags as a JSON object.
    async fn tags(&self, name: &str, key: &str) -> Result<Plaintext, StoreError> {
        let request = self.client.describe_secret().secret_id(name);
        let answer = self.counted("DescribeSecret", key, request.send().await)?;
        let tags: std::collections::BTreeMap<String, String> = answer
            .tags
            .unwrap_or_default()
            .into_iter()
            .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
            .collect();
        Ok(Plaintext::from(serde_json::json!(tags).to_string()))
    }

    fn counted<T, E: ProvideErrorMetadata>(
        &self,
        call: &'static str,
        key: &str,
        result: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, StoreError> {
        let result = result.map_err(|error| failure(&self.store, key, self.timeout, &error));
        (self.on_call)(PROVIDER, call, result.as_ref().err().is_none_or(StoreError::is_missing));
        result
    }
}

#[async_trait]
impl Store for AwsStore {
    async fn read(&self, want: &Want) -> Answer {
        match want {
            Want::Value(key) => self.value(key).await.map(|value| Fetched::Value(Arc::new(value), Dialect::Aws)),
            Want::Matches(_) => {
                let what = "dataFrom.find with provider aws".into();
                Err(StoreError::Unsupported { store: self.store.to_string(), what })
            }
        }
    }

    /// The keys are there and have the form of keys; no call is made, as External Secrets Operator makes none: which
    /// rights the keys have is known only once a value is read.
    async fn validate(&self) -> Result<Validity, StoreError> {
        Ok(Validity::Valid)
    }
}

/// Maps the SDK's error by its code; the service's own text is not passed on.
fn failure<E: ProvideErrorMetadata>(
    store: &StoreId,
    key: &str,
    limit: Duration,
    error: &SdkError<E, HttpResponse>,
) -> StoreError {
    let (store, key) = (store.to_string(), key.to_owned());
    match error {
        SdkError::TimeoutError(_) => StoreError::Timeout { store, key, limit },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => StoreError::Timeout { store, key, limit },
        SdkError::DispatchFailure(_) => StoreError::Unavailable { store, key, code: "no connection".into() },
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().filter(|code| is_code(code)).map(str::to_owned);
            let code = code.unwrap_or_else(|| status.to_string());
            // A secret that is scheduled for deletion answers with a general code and only the text says why.
            let deleted = service
                .err()
                .message()
                .is_some_and(|text| text.contains("marked for deletion") || text.contains("marked deleted"));
            match refusal(&code, status) {
                _ if code == "ResourceNotFoundException" => StoreError::NotFound { store, key },
                _ if deleted && code == "InvalidRequestException" => StoreError::NotFound { store, key },
                Refusal::Denied => StoreError::Denied { store, key, code },
                Refusal::Throttled => StoreError::Throttled { store, key, code, after: None },
                Refusal::Unavailable => StoreError::Unavailable { store, key, code },
                Refusal::Other if (200..300).contains(&status) => {
                    StoreError::Invalid { store, key, detail: "it is not an answer of Secrets Manager" }
                }
                Refusal::Other => StoreError::Refused { store, key, code },
            }
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let code = status.to_string();
            match refusal(&code, status) {
                Refusal::Denied => StoreError::Denied { store, key, code },
                Refusal::Throttled => StoreError::Throttled { store, key, code, after: None },
                Refusal::Unavailable => StoreError::Unavailable { store, key, code },
                Refusal::Other => StoreError::Invalid { store, key, detail: "it is not an answer of Secrets Manager" },
            }
        }
        SdkError::ConstructionFailure(_) => {
            StoreError::Config { store, detail: "no request can be made from the region, endpoint and keys".into() }
        }
        _ => StoreError::Unavailable { store, key, code: "unknown".into() },
    }
}

/// Codes are words. Anything else could be a quotation.
fn is_code(code: &str) -> bool {
    code.len() <= 64 && !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric())
}
