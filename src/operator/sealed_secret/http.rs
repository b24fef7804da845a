//! The incumbent's HTTP endpoints. Every authenticated user of the cluster can reach them through the service proxy:
//! they render no template, explain no failure, never widen a scope, and are limited in rate, number and time.
//!
//! The API server takes the caller's own credentials off what it proxies, so a caller that must be known
//! ([`Endpoints::Authorised`]) sends a bearer token for the operator in a header of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::Sealed;
use crate::adapters::k8s::ApiError;
use crate::adapters::k8s::review::{self, Caller, Wish};
use crate::operator::settings::Endpoints;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::error::Explain as _;
use crate::pure::limits;
use crate::pure::sealed::opener::Effort;
use crate::pure::sealed::rate::{RateLimit, Verdict};
use crate::pure::sealed::reseal::{reseal, reseal_old};
use crate::pure::sealed::unseal::{OpenedEntries, UnsealOptions, object_key, open_entries};
use crate::pure::sealed::{Hints, KEEP_HEADER, TOKEN_HEADER, UnsealError, manifest};

const CERT: &str = "/v1/cert.pem";

/// Audience of tokens that are good for nothing but these endpoints (`kubectl create token … --audience latchwork.dev`).
const AUDIENCE: &str = "latchwork.dev";

/// Where a token may stand. The second one passes the API server's service proxy, which removes the first.
const TOKEN_HEADERS: [&str; 2] = ["authorization", TOKEN_HEADER];

/// Longest token that is passed on: those with large sets of groups have a few kilobytes.
const TOKEN_BYTES: usize = 16 * 1024;

/// How long a body may take to arrive. Those who send slowly hold one of few places.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The two endpoints that open values.
#[derive(Clone, Copy)]
enum Work {
    Verify,
    Rotate,
}

impl Work {
    fn path(self) -> &'static str {
        match self {
            Self::Verify => "/v1/verify",
            Self::Rotate => "/v1/rotate",
        }
    }

    fn subresource(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Rotate => "rotate",
        }
    }
}

struct Served {
    sealed: Arc<Sealed>,
    limit: Mutex<RateLimit>,
    /// Places for requests whose body is held.
    admitted: Semaphore,
    /// Requests opened at a time: half of the processors. The caller's name in the rate limit is a header that anybody
    /// can write, so this is what keeps a flood from taking the processors away from the reconciler.
    turns: Semaphore,
}

/// The routes. Methods are not checked, as the incumbent does not.
pub(super) fn routes(sealed: Arc<Sealed>) -> Router {
    let settings = &sealed.context.settings.sealing;
    let limit = Mutex::new(RateLimit::new(settings.rate_limit, settings.rate_limit_burst));
    let endpoints = settings.endpoints;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let turns = Semaphore::new((processors / 2).max(1));
    let state = Arc::new(Served { sealed, limit, admitted: Semaphore::new(limits::HTTP_ADMITTED), turns });
    let mut router = Router::new().route(CERT, any(certificate));
    if endpoints != Endpoints::Off {
        router = router.route(Work::Verify.path(), any(verify)).route(Work::Rotate.path(), any(rotate));
    }
    router.with_state(state)
}

async fn certificate(State(state): State<Arc<Served>>, method: Method) -> Response {
    let started = Instant::now();
    let keys = state.sealed.keys.current_set();
    let pem = keys.current().and_then(|key| key.certificate()).map(|certificate| certificate.pem().to_owned());
    let answer = match pem {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "cannot get certificate\n").into_response(),
    };
    state.count(CERT, &method, answer, started)
}

async fn verify(State(state): State<Arc<Served>>, request: Request) -> Response {
    state.serve(Work::Verify, request).await
}

async fn rotate(State(state): State<Arc<Served>>, request: Request) -> Response {
    state.serve(Work::Rotate, request).await
}

impl Served {
    fn count(&self, path: &'static str, method: &Method, answer: Response, started: Instant) -> Response {
        self.sealed.metrics.served(path, method.as_str(), answer.status().as_u16(), started.elapsed());
        answer
    }

    /// One request, and the limit's headers on its answer.
    async fn serve(self: Arc<Self>, work: Work, request: Request) -> Response {
        let (started, method) = (Instant::now(), request.method().clone());
        let verdict = self.ask(work, request.headers());
        let mut answer = match verdict.allowed {
            true => self.clone().admit(work, request).await.unwrap_or_else(|refused| refused),
            false => (StatusCode::TOO_MANY_REQUESTS, "limit exceeded\n").into_response(),
        };
        for (name, value) in rate_headers(&verdict) {
            answer.headers_mut().insert(name, value);
        }
        self.count(work.path(), &method, answer, started)
    }

    fn ask(&self, work: Work, headers: &HeaderMap) -> Verdict {
        let forwarded = headers.get("x-forwarded-for").map(HeaderValue::as_bytes).unwrap_or_default();
        let caller = format!("{} {}", work.path(), String::from_utf8_lossy(forwarded.get(..256).unwrap_or(forwarded)));
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).ask(&caller, Instant::now())
    }

    /// What a request within its rate gets: a place, its caller known where that is asked for, its body read, a turn.
    async fn admit(self: Arc<Self>, work: Work, request: Request) -> Result<Response, Response> {
        let busy = || (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "busy\n").into_response();
        let Ok(_place) = self.admitted.try_acquire() else { return Err(busy()) };
        let caller = match self.sealed.context.settings.sealing.endpoints {
            Endpoints::Authorised => Some(self.caller(request.headers()).await?),
            Endpoints::Open | Endpoints::Off => None,
        };
        let keep = request.headers().contains_key(KEEP_HEADER);
        let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST.into_response())?.map_err(IntoResponse::into_response)?;
        let object = manifest::read_one(&body).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        drop(body);
        if let Some(caller) = caller {
            self.may(&caller, work, &object).await?;
        }
        // Never closed, so this only waits.
        let _turn = self.turns.acquire().await;
        Ok(match work {
            Work::Verify => self.clone().verified(object).await,
            Work::Rotate => self.clone().rotated(object, keep).await,
        })
    }

    /// Whose token the request carries.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Response> {
        let token = TOKEN_HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.map(|token| Zeroizing::new(token.trim().to_owned())).find(|token| !token.is_empty());
        let Some(token) = token.filter(|token| token.len() <= TOKEN_BYTES) else {
            return Err(unknown("this endpoint takes requests with a bearer token only"));
        };
        let cluster = &self.sealed.context.cluster;
        // A token that was made for this purpose first: it is the one that may be sent without a second thought.
        for audience in [Some(AUDIENCE), None] {
            match review::authenticate(cluster, &token, audience).await {
                Ok(Some(caller)) => return Ok(caller),
                Ok(None) => {}
                Err(error) => return Err(unasked(&error)),
            }
        }
        Err(unknown("the API server does not take this bearer token"))
    }

    async fn may(&self, caller: &Caller, work: Work, object: &SealedSecret) -> Result<(), Response> {
        let key = object_key(object);
        let subresource = work.subresource();
        let (group, resource) = ("bitnami.com", "sealedsecrets");
        let wish = Wish { verb: "create", group, resource, subresource, namespace: &key.namespace, name: &key.name };
        match review::allowed(&self.sealed.context.cluster, caller, wish).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = format!(
                    "{} may not create {resource}.{group}/{subresource} in namespace {:?}\n",
                    caller.username, key.namespace
                );
                Err((StatusCode::FORBIDDEN, text).into_response())
            }
            Err(error) => Err(unasked(&error)),
        }
    }

    async fn verified(self: Arc<Self>, object: SealedSecret) -> Response {
        match blocking(move || Some(self.open(&object).is_ok())).await {
            Some(true) => StatusCode::OK.into_response(),
            Some(false) => StatusCode::CONFLICT.into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    async fn rotated(self: Arc<Self>, object: SealedSecret, keep: bool) -> Response {
        let made = blocking(move || {
            let keys = self.sealed.keys.current_set();
            let certificate = keys.current()?.certificate()?;
            let anew = if keep { reseal_old } else { reseal };
            let made = anew(&object, self.open(&object).ok()?, certificate).ok()?;
            serde_json::to_vec(&made).ok()
        });
        match made.await {
            Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn open(&self, object: &SealedSecret) -> Result<OpenedEntries, UnsealError> {
        let deprecated_data = self.sealed.context.settings.sealing.deprecated_data;
        let options = UnsealOptions { deprecated_data, effort: Effort::Verdict };
        open_entries(object, &self.sealed.keys.current_set(), &Hints::default(), options)
    }
}

fn unknown(why: &str) -> Response {
    let text = format!("{why}; send it as Authorization (through the API server's service proxy: as {TOKEN_HEADER})\n");
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

/// The API server could not be asked: nobody is let in, and the log says why.
fn unasked(error: &ApiError) -> Response {
    tracing::warn!(
        reason = error.reason(),
        "a caller cannot be checked (ClusterRole system:auth-delegator): {}",
        error.line()
    );
    (StatusCode::SERVICE_UNAVAILABLE, "callers cannot be checked at the moment\n").into_response()
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
