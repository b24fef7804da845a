//! The operator's HTTP listeners: health and the kinds' routes on one, metrics on the other.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::pure::limits;

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
    router.layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
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
    Router::new().route("/metrics", get(render))
}

/// Binds `address`; port 0 takes a free one. `[::]` means both families where the machine has both. Logs where it listens.
pub async fn bind(address: SocketAddr, what: &str) -> std::io::Result<TcpListener> {
    let listener = match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
        }
        other => other?,
    };
    tracing::info!(address = %listener.local_addr()?, "{what} listening");
    Ok(listener)
}

/// Serves until `stop`, then lets open requests end for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let stopped = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stopped.cancelled().await });
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    tokio::select! {
        result = server => if let Err(error) = result { tracing::error!(%error, "HTTP server ended") },
        () = grace => {}
    }
}
