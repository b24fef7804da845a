//! The operator's HTTP listeners: health and the kinds' routes on one, metrics on the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::settings::HttpTimes;
use crate::adapters::listen::{self, Family};
use crate::pure::limits;
use crate::pure::template::functions::url;

/// Says whether the process is ready, with one line for each thing that is not.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// `/healthz` (200 as soon as the server listens), `/readyz` (503 with what is missing), and `routes`.
pub fn main_router(readiness: Readiness, routes: Vec<Router>) -> Router {
    let ready = move || {
        let missing = readiness();
        let answer = if missing.is_empty() {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
        };
        std::future::ready(answer)
    };
    let router = Router::new().route("/healthz", any(|| async { "ok\n" })).route("/readyz", any(ready));
    let router = routes.into_iter().fold(router, Router::merge);
    let router = router.fallback(elsewhere);
    router.layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
}

/// A path that none of the routes has, as the incumbent's server answers: with the path that was meant, where there is
/// something to clean away, else in its words for what it does not have.
async fn elsewhere(method: Method, uri: Uri) -> Response {
    let clean = clean(uri.path());
    if clean == uri.path() || method == Method::CONNECT {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let path = url::escaped_path(clean.as_bytes());
    let path = String::from_utf8_lossy(&path).into_owned();
    let place = uri.query().filter(|query| !query.is_empty()).map_or(path.clone(), |query| format!("{path}?{query}"));
    let mut answer = StatusCode::TEMPORARY_REDIRECT.into_response();
    if method == Method::GET || method == Method::HEAD {
        let shown = place.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let shown = shown.replace('"', "&#34;").replace('\'', "&#39;");
        let text = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        answer = (StatusCode::TEMPORARY_REDIRECT, kind, text).into_response();
    }
    if let Ok(place) = HeaderValue::try_from(place) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

/// A path without empty parts, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

/// `/metrics`: the classic text format, or OpenMetrics for those who ask for it.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    let render = move |headers: HeaderMap| {
        let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let open = accepted.contains("application/openmetrics-text");
        let text = if open { metrics.render() } else { metrics.render_classic() };
        let kind = if open {
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        } else {
            "text/plain; version=0.0.4; charset=utf-8"
        };
        std::future::ready(match text {
            Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        })
    };
    Router::new().route("/metrics", any(render)).fallback(elsewhere)
}

/// Binds `address`; port 0 takes a free one. `[::]` means both families where the machine has both. Logs where it listens.
pub async fn bind(address: SocketAddr, what: &str) -> std::io::Result<TcpListener> {
    let listener = listen::on(address, Family::Any).await?;
    tracing::info!(address = %listener.local_addr()?, "{what} listening");
    Ok(listener)
}

/// Longest wait for the head of the next request, however long a whole request may take: an idle connection is closed.
const HEAD: Duration = Duration::from_secs(30);

/// Serves until `stop`, then lets open requests end for a few seconds. At most [`limits::HTTP_CONNECTIONS`] at a time.
pub async fn serve(listener: TcpListener, router: Router, times: HttpTimes, stop: CancellationToken) {
    let whole = times.read + times.write;
    let bounded = move |request: Request, next: Next| async move {
        let answer = tokio::time::timeout(whole, next.run(request)).await;
        answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
    };
    let router = router.layer(middleware::from_fn(bounded));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD.min(times.read));
    let (open, slots) = (GracefulShutdown::new(), Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS)));
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! { next = next => next, () = stop.cancelled() => break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or the client is gone already: nothing to do but to go on, and not in a circle.
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that went away, or was too slow, is its own matter.
            let _ended = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    let _in_time = tokio::time::timeout(Duration::from_secs(5), open.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, cleaned) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("//healthz", "/healthz"),
            ("/v1/../healthz", "/healthz"),
            ("/../..", "/"),
            ("/v1/./verify", "/v1/verify"),
            ("/v1/verify/.", "/v1/verify"),
            ("/v1/verify//", "/v1/verify/"),
            ("/v1/verify/", "/v1/verify/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a"),
            ("/...", "/..."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        assert_eq!(url::escaped_path(b"/a%20b!*/~$&+,:;=@"), b"/a%2520b%21%2A/~$&+,:;=@");
    }

    #[tokio::test]
    async fn slow_clients_are_cut_off_and_the_others_served() {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "test").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let echo = Router::new().route("/", any(|body: String| async move { body }));
        let times = HttpTimes { read: Duration::from_millis(200), write: Duration::from_millis(100) };
        let server = tokio::spawn(serve(listener, echo, times, stop.clone()));
        let answer_to = |text: &'static str| async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // Ends when the server closes.
            tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            answer
        };
        let answers = tokio::join!(
            answer_to("GET / HTTP/1.1\r\nhost: a\r\n"),
            answer_to("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal"),
            answer_to("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nwhole"),
        );
        assert!(!answers.0.starts_with("HTTP/1.1 2"), "half a head: {}", answers.0);
        assert!(answers.1.starts_with("HTTP/1.1 408 "), "half a body: {}", answers.1);
        assert!(answers.2.starts_with("HTTP/1.1 200 ") && answers.2.ends_with("whole"), "{}", answers.2);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), server).await.expect("ends").unwrap();
    }
}
