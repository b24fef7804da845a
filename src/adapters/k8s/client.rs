//! One client, bounded calls, closed errors.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use kube::client::middleware::AuthLayer;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::{Layer as _, ServiceExt as _};
use zeroize::Zeroizing;

use super::proxy;
use super::usable::{Chosen, Unusable};
use crate::pure::error::{Explain, Retry, causes, chain, one_line, system};

/// Longest wait for one call. The API server's own limit for a request is 60 s; a controller that waits that long for
/// one object starves the rest.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest silence of a watch before it is opened anew. The server ends a watch after [`WATCH_SECONDS`] and sends a
/// bookmark about once a minute, so silence beyond that is a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(150);

/// How long the server is asked to keep a watch open.
pub const WATCH_SECONDS: u32 = 240;

/// A connection to one API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// What puts the credentials on a request: a bearer token or a password, where the connection has one of them.
    auth: Option<Arc<AuthLayer>>,
    default_namespace: String,
}

/// What a command line may put in the place of the kubeconfig's values; the names are kubectl's.
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct Overrides {
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub server: Option<String>,
    pub token: Option<Zeroizing<String>>,
    pub username: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub impersonate: Option<String>,
    pub impersonate_uid: Option<String>,
    pub impersonate_groups: Vec<String>,
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
    pub certificate_authority: Option<PathBuf>,
    pub insecure: bool,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    pub disable_compression: bool,
}

/// A failed call. Texts name the object; answers to calls that carry a Secret's body are not quoted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ApiError {
    #[error("no usable kubeconfig or service account: {0}")]
    Config(String),
    #[error("{0}")]
    Chosen(String),
    #[error("{0}")]
    Unconfigured(String),
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("{what} already exists")]
    AlreadyExists { what: String },
    #[error("{what} was changed by somebody else meanwhile")]
    Conflict { what: String },
    #[error("not allowed: {message}")]
    Denied { message: String },
    #[error("{message}")]
    Invalid { what: String, message: String },
    #[error("the API server asks to come back in {} s", .0.as_secs())]
    Busy(Duration),
    #[error("the API server answered {code} {reason} for {what}")]
    Other { what: String, code: u16, reason: String },
    #[error("the API server's answer for {what} cannot be read: {why}")]
    Decode { what: String, why: String },
    #[error("this replica does not lead and writes nothing")]
    NotLeading,
}

impl Explain for ApiError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Chosen(_) | Self::Unconfigured(_) => "NoCluster",
            Self::Unreachable(_) => "ApiServerUnreachable",
            Self::Timeout(_) => "ApiServerTimeout",
            Self::NotFound { .. } => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Denied { .. } => "Forbidden",
            Self::Invalid { .. } => "Invalid",
            Self::Busy(_) => "ApiServerBusy",
            Self::Other { .. } => "ApiServerError",
            Self::Decode { .. } => "UnreadableAnswer",
            Self::NotLeading => "NotLeading",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Busy(wait) => Retry::After(*wait),
            Self::Invalid { .. } => Retry::OnChange,
            _ => Retry::Backoff,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Config(_) => "set KUBECONFIG, pass --kubeconfig, or run in a pod with a service account".into(),
            Self::Denied { .. } => "grant the verb to the operator's service account (deploy/base/rbac.yaml)".into(),
            _ => String::new(),
        }
    }
}

impl ApiError {
    /// Maps kube's error. `what` names the object; `quote` is false for calls that carried a Secret's body.
    pub fn of(error: kube::Error, what: &str, quote: bool) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(e) => {
                let why = format!("{:?} at line {} column {}", e.classify(), e.line(), e.column());
                return Self::Decode { what: what.into(), why };
            }
            other => return Self::Unreachable(one_line(&chain(&other))),
        };
        let what = what.to_owned();
        let wait = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0);
        let message = if quote { one_line(&status.message) } else { unquoted(&status, &what) };
        match (status.code, status.reason.as_str()) {
            (404, _) => Self::NotFound { what },
            (409, "AlreadyExists") => Self::AlreadyExists { what },
            (409, _) => Self::Conflict { what },
            (401 | 403, _) => Self::Denied { message },
            (400 | 413 | 422, _) => Self::Invalid { what, message },
            (429, _) => Self::Busy(Duration::from_secs(u64::from(wait.unwrap_or(1)).min(60))),
            (code, reason) => Self::Other { what, code, reason: reason.into() },
        }
    }

    /// Whether the object is simply absent.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether reading the object again and deciding anew is the answer.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::AlreadyExists { .. })
    }
}

impl Overrides {
    pub(super) fn apply_to(&self, auth: &mut kube::config::AuthInfo) {
        if let Some(token) = &self.token {
            auth.token = Some(token.as_str().to_owned().into());
            auth.token_file = None;
        }
        if let Some(password) = &self.password {
            auth.password = Some(password.as_str().to_owned().into());
        }
        auth.username = self.username.clone().or(auth.username.take());
        auth.impersonate = self.impersonate.clone().or(auth.impersonate.take());
        auth.impersonate_uid = self.impersonate_uid.clone().or(auth.impersonate_uid.take());
        if !self.impersonate_groups.is_empty() {
            auth.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        if let Some(path) = &self.client_certificate {
            auth.client_certificate = Some(path.clone());
            auth.client_certificate_data = None;
        }
        if let Some(path) = &self.client_key {
            auth.client_key = Some(path.clone());
            auth.client_key_data = None;
        }
    }

    /// Whether anything is said about the cluster itself.
    pub(super) fn name_a_cluster(&self) -> bool {
        let texts = [&self.server, &self.tls_server_name, &self.proxy_url];
        texts.iter().any(|text| text.is_some())
            || self.certificate_authority.is_some()
            || self.insecure
            || self.disable_compression
    }

    pub(super) fn apply_to_cluster(&self, cluster: &mut kube::config::Cluster) {
        // Who trusts anybody, or another authority, does not mean the file's authority; who names another server, not the
        // name of the file's.
        if self.insecure || self.certificate_authority.is_some() {
            cluster.insecure_skip_tls_verify = Some(self.insecure);
            cluster.certificate_authority =
                self.certificate_authority.as_ref().map(|path| path.to_string_lossy().into_owned());
            cluster.certificate_authority_data = None;
        }
        if self.server.is_some() || self.tls_server_name.is_some() {
            cluster.tls_server_name.clone_from(&self.tls_server_name);
        }
        cluster.server = self.server.clone().or(cluster.server.take());
        cluster.proxy_url = self.proxy_url.clone().or(cluster.proxy_url.take());
        if self.disable_compression {
            cluster.disable_compression = Some(true);
        }
    }
}

/// What the API server says about a body that held a Secret, without what stood in it: the text of a syntax error (400)
/// goes as a whole, and of an invalid field only what follows the quoted value stays.
fn unquoted(status: &kube::core::Status, what: &str) -> String {
    match status.code {
        400 => status.reason.clone(),
        422 => {
            let found = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let told = found.iter().map(|cause| {
                let said = cause.message.rsplit_once("\": ").map_or_else(
                    || if cause.message.contains('"') { cause.reason.as_str() } else { cause.message.as_str() },
                    |(_, after)| after,
                );
                format!("{}: {}", cause.field, one_line(said))
            });
            let named = status.details.as_ref().filter(|details| !details.kind.is_empty() && !details.name.is_empty());
            let what = named.map_or(what.to_owned(), |details| format!("{} {:?}", details.kind, details.name));
            format!("{what} is invalid: {}", causes(&told.collect::<Vec<_>>()))
        }
        _ => one_line(&status.message),
    }
}

/// The kubeconfig as kubectl finds it: the named file, else those of the list in KUBECONFIG that exist, else
/// `~/.kube/config`. `None` without any.
fn kubeconfig(named: Option<&Path>) -> Result<Option<Kubeconfig>, ApiError> {
    let found = match (named, variable("KUBECONFIG")) {
        (Some(path), _) => return read(path).map(Some),
        (None, Some(list)) => std::env::split_paths(&list).collect(),
        (None, None) => variable("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect(),
    };
    merged(found)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn merged(paths: Vec<PathBuf>) -> Result<Option<Kubeconfig>, ApiError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let file = read(path)?;
        merged = Some(match merged {
            Some(first) => first.merge(file).map_err(|e| ApiError::Config(one_line(&chain(&e))))?,
            None => file,
        });
    }
    Ok(merged)
}

fn read(path: &Path) -> Result<Kubeconfig, ApiError> {
    let mut file = Kubeconfig::read_from(path).map_err(|e| {
        ApiError::Config(match e {
            // Its text shows the lines around, and they may hold a token.
            KubeconfigError::Parse(error) => {
                let line = error.location().map(|place| format!(" line {}:", place.line())).unwrap_or_default();
                format!("{:?}: yaml:{line} not a kubeconfig", path.display().to_string())
            }
            e => one_line(&chain(&e)),
        })
    })?;
    // kubectl writes an empty one into files that have none; it must not go before that of the next file.
    file.current_context = file.current_context.filter(|context| !context.is_empty());
    Ok(file)
}

/// The same, with failures as client-go words them.
fn named_kubeconfig(named: Option<&Path>) -> Result<Option<Kubeconfig>, ApiError> {
    if let Some(path) = named
        && let Err(error) = std::fs::metadata(path)
    {
        return Err(ApiError::Chosen(format!("stat {}: {}", path.display(), system(&error))));
    }
    kubeconfig(named).map_err(|error| match error {
        ApiError::Config(text) => ApiError::Chosen(format!("error loading config file {text}")),
        other => other,
    })
}

/// The namespace that was asked for, else that of the kubeconfig's context, else that of the pod. No connection is made.
///
/// # Errors
/// A kubeconfig that cannot be read; and, where no namespace was asked for, one that cannot be used.
pub fn context_namespace(
    kubeconfig: Option<&Path>,
    overrides: &Overrides,
    asked: Option<&str>,
) -> Result<String, ApiError> {
    let file = named_kubeconfig(kubeconfig)?.unwrap_or_default();
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    match Chosen::of(&file, overrides).namespace() {
        Ok((namespace, true)) => Ok(namespace),
        Ok(_) | Err(Unusable::Empty) if in_a_pod() => Ok(pod_namespace()),
        Ok((namespace, false)) => Ok(namespace),
        Err(unusable) => Err(unusable.into()),
    }
}

/// The namespace of the pod that this process runs in; `default` outside of one.
pub fn pod_namespace() -> String {
    let named = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
    let own = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    named
        .or_else(|| own().map(|text| text.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".into())
}

/// Whether this process has a service account to speak for.
fn in_a_pod() -> bool {
    let named = |name| variable(name).is_some();
    named("KUBERNETES_SERVICE_HOST")
        && named("KUBERNETES_SERVICE_PORT")
        && Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").is_file()
}

impl From<Unusable> for ApiError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Wrong(text) => Self::Chosen(text),
            Unusable::Empty => {
                let text = "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable";
                let missing = |list: &OsString| std::env::split_paths(list).all(|path| !path.exists());
                Self::Unconfigured(match variable("KUBECONFIG").filter(missing) {
                    Some(list) => format!("{text}; {}: no such file", Path::new(&list).display()),
                    None => text.into(),
                })
            }
        }
    }
}

impl Cluster {
    /// Connects by `kubeconfig` (and `context`), else by KUBECONFIG or `~/.kube/config`, else as a pod.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ApiError> {
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let Some(file) = self::kubeconfig(kubeconfig)? else {
            return match context {
                Some(context) => {
                    Err(ApiError::Config(format!("there is no kubeconfig that could have a context {context:?}")))
                }
                None => Self::without_a_file(),
            };
        };
        let config = Config::from_custom_kubeconfig(file, &options).await;
        Self::from_config(config.map_err(|e| ApiError::Config(one_line(&chain(&e))))?)
    }

    /// Connects by `kubeconfig` or the usual places, with values of the command line in the place of the file's, else as a
    /// pod. Failures are worded as client-go words them.
    pub async fn connect_with(kubeconfig: Option<&Path>, overrides: &Overrides) -> Result<Self, ApiError> {
        let file = named_kubeconfig(kubeconfig)?.unwrap_or_default();
        let file = match Chosen::of(&file, overrides).usable() {
            Ok(file) => file,
            Err(Unusable::Empty) if in_a_pod() => return Self::in_cluster(),
            Err(unusable) => return Err(unusable.into()),
        };
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Self::from_config(config.map_err(|e| ApiError::Config(one_line(&chain(&e))))?)
    }

    /// As a pod. Where this is none, what was looked for is said.
    fn without_a_file() -> Result<Self, ApiError> {
        Self::in_cluster().map_err(|error| match (error, variable("KUBECONFIG")) {
            (ApiError::Config(text), Some(list)) => {
                ApiError::Config(format!("{}: no such file; {text}", Path::new(&list).display()))
            }
            (error, _) => error,
        })
    }

    /// Connects as a pod, and only so: the incumbent controllers read no kubeconfig.
    pub fn in_cluster() -> Result<Self, ApiError> {
        Self::from_config(Config::incluster().map_err(|e| ApiError::Config(one_line(&chain(&e))))?)
    }

    fn from_config(mut config: Config) -> Result<Self, ApiError> {
        // kube would repeat a call for minutes by itself; the queue decides about retries, and a lease must never be
        // renewed late.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(READ_TIMEOUT);
        let named = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        if config.proxy_url.as_ref().is_none_or(|found| proxy::is_of_environment(found, named)) {
            let found = proxy::of_environment(&config.cluster_url, named).map(|text| text.parse()).transpose();
            config.proxy_url =
                found.map_err(|_| ApiError::Config("HTTPS_PROXY is not the address of a proxy".into()))?;
        }
        let default_namespace = config.default_namespace.clone();
        let unusable = |e: kube::Error| ApiError::Config(one_line(&chain(&e)));
        // Who acts as somebody else must not be known as themselves elsewhere.
        let shown = config.auth_info.impersonate.is_none();
        let auth = config.auth_layer().map_err(unusable)?.filter(|_| shown).map(Arc::new);
        let client = Client::try_from(config).map_err(unusable)?;
        Ok(Self { client, auth, default_namespace })
    }

    /// The bare client, for typed calls about anything but Secrets.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The bearer token that this connection shows to the API server, out of a kubeconfig, a file or a plugin; `None` with
    /// other credentials. For somebody behind the API server's proxy, which takes it off, and who has asked for it.
    pub async fn bearer(&self) -> Option<Zeroizing<String>> {
        let mirror = tower::service_fn(|request: Request<Body>| async move {
            let mut answer = Response::new(());
            if let Some(shown) = request.headers().get(header::AUTHORIZATION) {
                answer.headers_mut().insert(header::AUTHORIZATION, shown.clone());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer)
        });
        let mirrored = self.auth.as_ref()?.layer(mirror).oneshot(Request::new(Body::empty())).await.ok()?;
        let shown = mirrored.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        Some(Zeroizing::new(shown.strip_prefix("Bearer ")?.to_owned()))
    }

    /// Namespace of the kubeconfig's context or of the pod.
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// Runs one typed call within [`CALL_TIMEOUT`]. `what` names the object in errors.
    pub async fn call<T>(&self, what: &str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result.map_err(|e| ApiError::of(e, what, true)),
            Err(_) => Err(ApiError::Timeout(CALL_TIMEOUT)),
        }
    }

    /// One raw request whose body or answer may hold a Secret: nothing of it is logged or quoted.
    pub async fn raw(
        &self,
        what: &str,
        method: http::Method,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Zeroizing<String>, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header("accept", "application/json");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body).map_err(|e| ApiError::Decode { what: what.into(), why: e.to_string() })?;
        match tokio::time::timeout(CALL_TIMEOUT, self.client.request_text(request)).await {
            Ok(result) => result.map(Zeroizing::new).map_err(|e| ApiError::of(e, what, false)),
            Err(_) => Err(ApiError::Timeout(CALL_TIMEOUT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(causes: &[(&str, &str)]) -> ApiError {
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, text)| serde_json::json!({"reason": "FieldValueInvalid", "field": field, "message": text}))
            .collect();
        let status = serde_json::json!({
            "code": 422, "reason": "Invalid", "message": "Secret \"s\" is invalid: hunter2",
            "details": {"kind": "Secret", "name": "s", "causes": causes},
        });
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        ApiError::of(kube::Error::Api(Box::new(status)), "Secret team/s", false)
    }

    #[test]
    fn kubeconfigs_of_a_list_are_merged_and_those_that_are_missing_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let clusters = file("a", "{current-context: '', clusters: [{name: c, cluster: {server: 'https://c.test'}}]}");
        let contexts =
            file("b", "{current-context: one, contexts: [{name: one, context: {cluster: c, namespace: n}}]}");
        let missing = || folder.path().join("missing");
        let found = merged(vec![missing(), clusters, contexts]).unwrap().unwrap();
        assert_eq!((found.current_context.as_deref(), found.clusters.len(), found.contexts.len()), (Some("one"), 1, 1));
        assert!(merged(vec![missing()]).unwrap().is_none());
        assert!(merged(vec![file("broken", "[")]).is_err(), "one that is there is meant");
        assert!(kubeconfig(Some(&missing())).is_err(), "so is one that is named");
    }

    #[test]
    fn what_stood_in_a_refused_secret_is_not_repeated() {
        let label = ("metadata.labels", "Invalid value: \"hunter2 \\\": x\": a valid label must be short");
        let error = invalid(&[label]);
        assert_eq!(error.to_string(), "Secret \"s\" is invalid: metadata.labels: a valid label must be short");
        let frozen = ("data", "Forbidden: field is immutable when `immutable` is set");
        let error = invalid(&[frozen]);
        assert!(error.to_string().ends_with("data: Forbidden: field is immutable when `immutable` is set"), "{error}");
        let error = invalid(&[("data", "Invalid value: \"hunter2\"")]);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(
            invalid(&[label, frozen]).to_string(),
            "Secret \"s\" is invalid: [metadata.labels: a valid label must be short, data: Forbidden: field is immutable when `immutable` is set]"
        );
    }
}
