//! AWS Secrets Manager with static keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{ApiErrorType, Filter, FilterNameStringType, SecretListEntry};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Answer, OnCall, Store, StoreError, Validity, Want};
use crate::adapters::aws_http;
use crate::adapters::exchange::{NO_CONNECTION, is_code};
use crate::pure::error::aws::{Refusal, refusal};
use crate::pure::external::find::Found;
use crate::pure::external::store::Repeats;
use crate::pure::external::{Dialect, Fetched, RemoteKey, Search, StoreId};
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

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
    /// How calls are repeated; three tries without it.
    pub repeats: Option<Repeats>,
}

/// Secrets Manager in one region.
pub struct AwsStore {
    store: StoreId,
    prefix: String,
    client: Client,
    timeout: Duration,
    /// The keys may read values, but not several at a time.
    one_by_one: AtomicBool,
    on_call: OnCall,
}

const PROVIDER: &str = "AWS/SecretsManager";
/// Tries per call, the first included: the SDK's own default.
const TRIES: u32 = 3;
/// Most names that one answer to ListSecrets holds: the service's own limit.
const LIST: i32 = 100;
/// Most values that one call asks for: the service's own limit.
const BATCH: usize = 20;

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
        let tries = config.repeats.and_then(|repeats| repeats.retries).map_or(TRIES, |retries| 1 + retries);
        let mut retry = RetryConfig::standard().with_max_attempts(tries);
        if let Some(wait) = config.repeats.and_then(|repeats| repeats.wait) {
            retry = retry.with_initial_backoff(wait).with_max_backoff(wait);
        }
        let mut builder = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .http_client(aws_http::client(limits::STORE_BODY_BYTES))
            .retry_config(retry)
            .timeout_config(aws_http::timeouts(config.timeout));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        Ok(Self {
            client,
            store: config.store,
            prefix: config.prefix,
            timeout: config.timeout,
            one_by_one: AtomicBool::new(false),
            on_call,
        })
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
        self.content(&key.key, answer.secret_string, answer.secret_binary)
    }

    /// A value as the SDK has it. Its own copies are not zeroised; they are dropped here.
    fn content(&self, key: &str, text: Option<String>, bytes: Option<Blob>) -> Result<Plaintext, StoreError> {
        match (text, bytes) {
            (Some(text), _) => Ok(Plaintext::from(text)),
            (None, Some(bytes)) => Ok(Plaintext::new(bytes.into_inner())),
            (None, None) => {
                let detail = "it has neither a text nor bytes";
                Err(StoreError::Invalid { store: self.store.to_string(), key: key.to_owned(), detail })
            }
        }
    }

    /// All values that match, by their whole names: `prefix` is for keys alone, as with External Secrets Operator.
    async fn find(&self, search: &Search) -> Result<SecretData, StoreError> {
        let names = self.names(search).await?;
        let batches: Vec<Vec<String>> = names.chunks(BATCH).map(<[String]>::to_vec).collect();
        let mut batches =
            stream::iter(batches).map(|batch| self.batch(batch)).buffer_unordered(limits::FIND_REQUESTS / 2);
        let mut found = Found::default();
        while let Some(values) = batches.try_next().await? {
            for (name, value) in values {
                found.add(search, &self.store, name, value)?;
            }
        }
        Ok(found.into_data())
    }

    /// The names of all secrets that match. The service's filters match prefixes, and keys and values of tags apart from
    /// each other; what they let through is looked at once more.
    async fn names(&self, search: &Search) -> Result<Vec<String>, StoreError> {
        let names = search.names(&self.store)?;
        if names.is_none() && search.tags.is_empty() {
            let detail = "dataFrom.find needs name or tags with provider aws".into();
            return Err(StoreError::Config { store: self.store.to_string(), detail });
        }
        let path = search.path.as_deref().filter(|path| !path.is_empty());
        let mut filters = vec![];
        let mut filter = |kind, value: &str| filters.push(Filter::builder().key(kind).values(value).build());
        if let Some(path) = path {
            filter(FilterNameStringType::Name, path);
        }
        if names.is_none() {
            for (key, value) in &search.tags {
                filter(FilterNameStringType::TagKey, key);
                filter(FilterNameStringType::TagValue, value);
            }
        }
        let wanted = |entry: &SecretListEntry, name: &str| match &names {
            Some(names) => names.is_match(name),
            None => search.has_tags(|wanted| {
                let tag = entry.tags().iter().find(|tag| tag.key() == Some(wanted));
                tag.and_then(|tag| tag.value())
            }),
        };
        let (mut found, mut next, mut seen) = (vec![], None, 0);
        loop {
            let mut request = self.client.list_secrets().max_results(LIST).set_next_token(next);
            if !filters.is_empty() {
                request = request.set_filters(Some(filters.clone()));
            }
            let answer = self.counted("ListSecrets", &search.place(), request.send().await)?;
            for entry in answer.secret_list() {
                let Some(name) = entry.name() else { continue };
                if path.is_none_or(|path| name.starts_with(path)) && wanted(entry, name) {
                    found.push(name.to_owned());
                }
            }
            // An answer may hold few names or none, and yet not be the last.
            seen += answer.secret_list().len().max(10);
            next = answer.next_token;
            if next.is_none() {
                return Ok(found);
            }
            if seen > limits::FIND_NAMES {
                return Err(search.refuse(&self.store, "there are more than 10000 secrets; narrow it with path"));
            }
        }
    }

    /// Values of at most [`BATCH`] names. One that was deleted in the meantime is left out.
    async fn batch(&self, names: Vec<String>) -> Result<Vec<(String, Plaintext)>, StoreError> {
        let (mut values, mut open) = (vec![], BTreeSet::from_iter(names.iter().cloned()));
        if let [first, _, ..] = names.as_slice()
            && !self.one_by_one.load(Ordering::Relaxed)
        {
            let request = self.client.batch_get_secret_value().set_secret_id_list(Some(names.clone()));
            match self.counted("BatchGetSecretValue", first, request.send().await) {
                Ok(answer) => {
                    for value in answer.secret_values.unwrap_or_default() {
                        // What was not asked for is not looked at.
                        if let Some(name) = value.name.filter(|name| open.remove(name)) {
                            let value = self.content(&name, value.secret_string, value.secret_binary)?;
                            values.push((name, value));
                        }
                    }
                    for error in answer.errors.unwrap_or_default() {
                        self.refused(&error, &mut open)?;
                    }
                }
                // Rights on each value need not come with the right to ask for several, and emulators may lack the call.
                Err(StoreError::Denied { .. } | StoreError::Refused { .. }) => {
                    self.one_by_one.store(true, Ordering::Relaxed)
                }
                Err(error) => return Err(error),
            }
        }
        let rest = stream::iter(open).map(|name| async move {
            let request = self.client.get_secret_value().secret_id(&name).version_stage("AWSCURRENT");
            match self.counted("GetSecretValue", &name, request.send().await) {
                Ok(answer) => {
                    let value = self.content(&name, answer.secret_string, answer.secret_binary)?;
                    Ok(Some((name, value)))
                }
                Err(error) if error.is_missing() => Ok(None),
                Err(error) => Err(error),
            }
        });
        let mut rest = rest.buffer_unordered(limits::FIND_REQUESTS);
        while let Some(value) = rest.try_next().await? {
            values.extend(value);
        }
        Ok(values)
    }

    /// A value that a batch did not bring. One that is refused fails the search: a Secret that lacks an entry cannot be told
    /// from one that never had it.
    fn refused(&self, error: &ApiErrorType, open: &mut BTreeSet<String>) -> Result<(), StoreError> {
        let (store, key) = (self.store.to_string(), error.secret_id().unwrap_or_default().to_owned());
        let code = error.error_code().filter(|code| is_code(code)).unwrap_or("unknown").to_owned();
        match refusal(&code, 400) {
            _ if code == "ResourceNotFoundException" => {
                open.remove(&key);
                Ok(())
            }
            Refusal::Denied => Err(StoreError::Denied { store, key, code }),
            Refusal::Throttled => Err(StoreError::Throttled { store, key, code, after: None }),
            Refusal::Unavailable => Err(StoreError::Unavailable { store, key, code }),
            Refusal::Other => Err(StoreError::Refused { store, key, code }),
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

    fn counted<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
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
            Want::Matches(search) => super::in_time(&self.store, search, self.find(search)).await,
        }
    }

    /// The keys are there and have the form of keys; no call is made, as External Secrets Operator makes none: which
    /// rights the keys have is known only once a value is read.
    async fn validate(&self) -> Result<Validity, StoreError> {
        Ok(Validity::Valid)
    }
}

/// Maps the SDK's error by its code; the service's own text is not passed on.
fn failure<E: ProvideErrorMetadata + std::error::Error + 'static>(
    store: &StoreId,
    key: &str,
    limit: Duration,
    error: &SdkError<E, HttpResponse>,
) -> StoreError {
    let (store, key) = (store.to_string(), key.to_owned());
    if aws_http::is_too_large(error) {
        return StoreError::Invalid { store, key, detail: "it is larger than 4 MiB" };
    }
    match error {
        SdkError::TimeoutError(_) => StoreError::Timeout { store, key, limit },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => StoreError::Timeout { store, key, limit },
        SdkError::DispatchFailure(_) => StoreError::Unavailable { store, key, code: NO_CONNECTION.into() },
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
