//! One client, bounded calls, closed errors.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Uri, header};
use kube::client::middleware::AuthLayer;
use kube::client::{Body, ConfigExt as _};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tower::{Layer as _, ServiceExt as _};
use zeroize::Zeroizing;

use super::dial;
use super::error::ApiError;
use super::kubeconfig::{self, Chosen, Overrides, Unusable};
use super::proxy;
use crate::pure::error::{chain, one_line};

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
    /// Where the API server is; `None` behind a proxy, whose faults are not the server's.
    server: Option<Uri>,
}

impl Cluster {
    /// Connects by `kubeconfig` (and `context`), else by KUBECONFIG or `~/.kube/config`, else as a pod.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ApiError> {
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let Some(file) = kubeconfig::find(kubeconfig)? else {
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
        let file = kubeconfig::find_named(kubeconfig)?.unwrap_or_default();
        let file = match Chosen::of(&file, overrides).usable() {
            Ok(file) => file,
            Err(Unusable::Empty) if kubeconfig::in_a_pod() => return Self::in_cluster(),
            Err(unusable) => return Err(unusable.into()),
        };
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Self::from_config(config.map_err(|e| ApiError::Config(one_line(&chain(&e))))?)
    }

    /// As a pod. Where this is none, what was looked for is said.
    fn without_a_file() -> Result<Self, ApiError> {
        Self::in_cluster().map_err(|error| match (error, kubeconfig::variable("KUBECONFIG")) {
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
        let named = |name: &str| kubeconfig::variable(name).and_then(|value| value.into_string().ok());
        if config.proxy_url.as_ref().is_none_or(|found| proxy::is_of_environment(found, named)) {
            let found = proxy::of_environment(&config.cluster_url, named).map(|text| text.parse()).transpose();
            config.proxy_url =
                found.map_err(|_| ApiError::Config("HTTPS_PROXY is not the address of a proxy".into()))?;
        }
        let server = Some(config.cluster_url.clone()).filter(|_| config.proxy_url.is_none());
        let default_namespace = config.default_namespace.clone();
        let unusable = |e: kube::Error| ApiError::Config(one_line(&chain(&e)));
        // Who acts as somebody else must not be known as themselves elsewhere.
        let shown = config.auth_info.impersonate.is_none();
        let auth = config.auth_layer().map_err(unusable)?.filter(|_| shown).map(Arc::new);
        let client = Client::try_from(config).map_err(unusable)?;
        Ok(Self { client, auth, default_namespace, server })
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

    /// Why no answer came to a request for `path`, in the words of client-go where the error has the facts for them.
    pub(super) async fn unanswered(&self, error: kube::Error, what: &str, method: &Method, path: &str) -> ApiError {
        if let (kube::Error::Service(cause), Some(server)) = (&error, &self.server)
            && let Some(why) = dial::fault(cause.as_ref(), server).await
        {
            let verb = match method.as_str() {
                "POST" => "Post",
                _ => "Get",
            };
            let base = server.to_string();
            return ApiError::Dialled(format!("{verb} \"{}{path}\": {why}", base.trim_end_matches('/')));
        }
        ApiError::of(error, what, true)
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
        method: Method,
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
