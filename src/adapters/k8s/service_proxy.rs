//! Requests to a Service or one of its pods through the API server, as `kubeseal` reaches its controller.

use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use kube::client::Body;

use super::client::Cluster;
use super::error::ApiError;
use super::secrets::segment;

/// The API server's own limit for a request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a request that is refused for its rate is repeated, as client-go does.
const ATTEMPTS: usize = 10;

/// Longest wait that the other side may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Largest answer that is read.
const ANSWER_BYTES: usize = crate::pure::limits::HTTP_BODY_BYTES;

/// A Service's answer.
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Body.
    pub body: Vec<u8>,
    /// Whether it says that it is text, or says nothing.
    pub text: bool,
}

/// The API server's answer for a Service.
pub async fn service(cluster: &Cluster, namespace: &str, service: &str) -> Result<Answer, ApiError> {
    let what = format!("services {service:?}");
    let uri = format!("/api/v1/namespaces/{}/services/{}", segment(namespace), segment(service));
    send(cluster, what, &uri, Method::GET, vec![], &[("accept", "application/json")]).await
}

/// Name of the first port of a Service that was found; empty when it has none.
pub fn port_name(found: &Answer) -> Result<String, serde_json::Error> {
    let found: Service = serde_json::from_slice(&found.body)?;
    let ports = found.spec.and_then(|spec| spec.ports).unwrap_or_default();
    Ok(ports.into_iter().next().and_then(|port| port.name).unwrap_or_default())
}

/// One request over plain HTTP to a port of a Service, with further headers. An answer 429 with a time to come back is obeyed.
pub async fn call(
    cluster: &Cluster,
    (namespace, service, port): (&str, &str, &str),
    method: Method,
    path: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Result<Answer, ApiError> {
    let what = format!("service {namespace}/{service}");
    let (namespace, service, port) = (segment(namespace), segment(service), segment(port));
    let uri = format!("/api/v1/namespaces/{namespace}/services/http:{service}:{port}/proxy{path}");
    send(cluster, what, &uri, method, body, headers).await
}

/// One pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// Name of the pod.
    pub pod: String,
    /// Number of its port.
    pub port: i32,
}

/// The pods that are ready behind a Service, by its EndpointSlices, in order.
pub async fn replicas(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<Replica>, ApiError> {
    let api: Api<EndpointSlice> = Api::namespaced(cluster.client(), namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = cluster.call(&format!("the endpoints of service {namespace}/{service}"), api.list(&params)).await?;
    let mut found = vec![];
    for slice in slices.items {
        let ports = slice.ports.unwrap_or_default();
        let named = ports.iter().find(|port| port.name.as_deref() == Some("http")).or(ports.first());
        let Some(port) = named.and_then(|port| port.port) else { continue };
        for endpoint in slice.endpoints {
            let ready = endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
            found.extend(pod.and_then(|pod| pod.name).filter(|_| ready).map(|pod| Replica { pod, port }));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// One GET over plain HTTP to one pod.
pub async fn ask(cluster: &Cluster, namespace: &str, replica: &Replica, path: &str) -> Result<Answer, ApiError> {
    let Replica { pod, port } = replica;
    let what = format!("pod {namespace}/{pod}");
    let uri = format!("/api/v1/namespaces/{}/pods/http:{}:{port}/proxy{path}", segment(namespace), segment(pod));
    send(cluster, what, &uri, Method::GET, vec![], &[]).await
}

async fn send(
    cluster: &Cluster,
    what: String,
    uri: &str,
    method: Method,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Result<Answer, ApiError> {
    for attempt in 1.. {
        let mut request = Request::builder().method(method.clone()).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", "application/x-pem-file, */*");
        }
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value);
            let mut value = value.map_err(|e| ApiError::Decode { what: what.clone(), why: e.to_string() })?;
            // One of them may be a token.
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let request = request
            .body(Body::from(body.clone()))
            .map_err(|e| ApiError::Decode { what: what.clone(), why: e.to_string() })?;
        let client = cluster.client();
        let exchange = async {
            let response = client.send(request).await?;
            let (head, body) = response.into_parts();
            Ok((head, body.collect_bytes().await?))
        };
        let (head, body) = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(cluster.unanswered(error, &what, &method, uri).await),
            Err(_) => return Err(ApiError::Timeout(TIMEOUT)),
        };
        let wait = head.headers.get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        match wait.map(Duration::from_secs) {
            Some(wait) if head.status == StatusCode::TOO_MANY_REQUESTS && attempt < ATTEMPTS => {
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
            _ if body.len() > ANSWER_BYTES => {
                return Err(ApiError::Decode { what, why: format!("it is longer than {ANSWER_BYTES} bytes") });
            }
            _ => {
                let kind = head.headers.get("content-type").map(|kind| kind.as_bytes().starts_with(b"text/"));
                return Ok(Answer { status: head.status, body: body.to_vec(), text: kind.unwrap_or(true) });
            }
        }
    }
    Err(ApiError::Busy(LONGEST_WAIT))
}
