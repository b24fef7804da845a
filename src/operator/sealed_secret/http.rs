//! The incumbent's HTTP endpoints. Every authenticated user of the cluster can reach them through the service proxy:
//! they render no template, explain no failure, never widen a scope, and are limited in rate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::sync::Semaphore;

use super::Sealed;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::sealed::rate::{RateLimit, Verdict};
use crate::pure::sealed::reseal::reseal;
use crate::pure::sealed::unseal::{UnsealOptions, open_entries};
use crate::pure::sealed::{Hints, manifest};

const CERT: &str = "/v1/cert.pem";
const VERIFY: &str = "/v1/verify";
const ROTATE: &str = "/v1/rotate";

/// Requests opened at a time. The caller's name in the rate limit is a header that anybody can write, so this is what
/// keeps a flood from taking the processors away from the reconciler.
const AT_A_TIME: usize = 2;

struct Endpoints {
    sealed: Arc<Sealed>,
    limit: Mutex<RateLimit>,
    turns: Semaphore,
}

/// The routes. Methods are not checked, as the incumbent does not.
pub(super) fn routes(sealed: Arc<Sealed>) -> Router {
    let settings = &sealed.context.settings.sealing;
    let limit = Mutex::new(RateLimit::new(settings.rate_limit, settings.rate_limit_burst));
    let state = Arc::new(Endpoints { sealed, limit, turns: Semaphore::new(AT_A_TIME) });
    Router::new().route(CERT, any(certificate)).route(VERIFY, any(verify)).route(ROTATE, any(rotate)).with_state(state)
}

async fn certificate(State(state): State<Arc<Endpoints>>, method: Method) -> Response {
    let started = Instant::now();
    let keys = state.sealed.keys.current_set();
    let pem = keys.current().and_then(|key| key.certificate()).map(|certificate| certificate.pem().to_owned());
    let answer = match pem {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "cannot get certificate\n").into_response(),
    };
    state.count(CERT, &method, answer, started)
}

async fn verify(State(state): State<Arc<Endpoints>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let answer = state.limited(VERIFY, &headers, state.clone().verified(body)).await;
    state.count(VERIFY, &method, answer, started)
}

async fn rotate(State(state): State<Arc<Endpoints>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let answer = state.limited(ROTATE, &headers, state.clone().rotated(body)).await;
    state.count(ROTATE, &method, answer, started)
}

impl Endpoints {
    fn count(&self, path: &'static str, method: &Method, answer: Response, started: Instant) -> Response {
        self.sealed.metrics.served(path, method.as_str(), answer.status().as_u16(), started.elapsed());
        answer
    }

    /// Runs `work` if the caller is within its rate, and puts the limit's headers on the answer.
    async fn limited(&self, path: &str, headers: &HeaderMap, work: impl Future<Output = Response>) -> Response {
        let forwarded = headers.get("x-forwarded-for").map(HeaderValue::as_bytes).unwrap_or_default();
        let caller = format!("{path} {}", String::from_utf8_lossy(forwarded.get(..256).unwrap_or(forwarded)));
        let verdict = self.limit.lock().unwrap_or_else(PoisonError::into_inner).ask(&caller, Instant::now());
        let mut answer = if verdict.allowed {
            // Closed never, so this only waits.
            let _turn = self.turns.acquire().await;
            work.await
        } else {
            (StatusCode::TOO_MANY_REQUESTS, "limit exceeded\n").into_response()
        };
        for (name, value) in rate_headers(&verdict) {
            answer.headers_mut().insert(name, value);
        }
        answer
    }

    async fn verified(self: Arc<Self>, body: Bytes) -> Response {
        let opened = blocking(move || {
            let object = manifest::read_one(&body).ok()?;
            Some(self.open(&object).is_ok())
        });
        match opened.await {
            Some(true) => StatusCode::OK.into_response(),
            Some(false) => StatusCode::CONFLICT.into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    async fn rotated(self: Arc<Self>, body: Bytes) -> Response {
        let made = blocking(move || {
            let object = manifest::read_one(&body).ok()?;
            let keys = self.sealed.keys.current_set();
            let certificate = keys.current()?.certificate()?;
            let made = reseal(&object, self.open(&object).ok()?, certificate).ok()?;
            serde_json::to_vec(&made).ok()
        });
        match made.await {
            Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn open(
        &self,
        object: &SealedSecret,
    ) -> Result<crate::pure::sealed::unseal::OpenedEntries, crate::pure::sealed::UnsealError> {
        let deprecated_data = self.sealed.context.settings.sealing.deprecated_data;
        let options = UnsealOptions { deprecated_data, explain: false };
        open_entries(object, &self.sealed.keys.current_set(), &Hints::default(), options)
    }
}

/// Runs computation beside the runtime's threads. `None` when it gave none, or panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

fn rate_headers(verdict: &Verdict) -> Vec<(HeaderName, HeaderValue)> {
    let seconds = |time: Duration| HeaderValue::from(time.as_secs() + u64::from(time.subsec_nanos() > 0));
    let name = HeaderName::from_static;
    let mut headers = vec![
        (name("x-ratelimit-limit"), verdict.limit.into()),
        (name("x-ratelimit-remaining"), verdict.remaining.into()),
        (name("x-ratelimit-reset"), seconds(verdict.reset)),
    ];
    headers.extend(verdict.retry.map(|wait| (header::RETRY_AFTER, seconds(wait))));
    headers
}
