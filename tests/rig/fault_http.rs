//! A server that answers as badly as a test wants, and keeps what it was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::http1::{Answer, Reply, Request, Server};
use super::tls::Ca;

/// How the server behaves now.
#[derive(Clone)]
pub enum Fault {
    /// This reply to every request.
    Reply(Reply),
    /// Accept, read the request, never answer.
    Hang,
    /// Close without a byte.
    Close,
}

struct State {
    fault: Fault,
    requests: Vec<Request>,
}

pub struct FaultServer {
    server: Server,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultServer {
    pub fn start(fault: Fault) -> Self {
        let state = Arc::new(Mutex::new(State { fault, requests: Vec::new() }));
        Self { server: Server::start(handler(&state)), state }
    }

    pub fn start_tls(ca: &Ca, fault: Fault) -> Self {
        let state = Arc::new(Mutex::new(State { fault, requests: Vec::new() }));
        Self { server: Server::start_tls(ca, handler(&state)), state }
    }

    /// A server that answers `status` with a short JSON error body.
    pub fn status(status: u16) -> Self {
        Self::start(Fault::Reply(json_error(status)))
    }

    /// A server that accepts and never answers.
    pub fn hanging() -> Self {
        Self::start(Fault::Hang)
    }

    /// Changes the behaviour for the requests to come.
    pub fn set(&self, fault: Fault) {
        lock(&self.state).fault = fault;
    }

    pub fn set_status(&self, status: u16) {
        self.set(Fault::Reply(json_error(status)));
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        lock(&self.state).requests.len()
    }

    /// Takes the requests that came so far.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).requests)
    }
}

fn json_error(status: u16) -> Reply {
    let reply = Reply::new(status, format!("{{\"errors\":[\"fault {status}\"]}}"))
        .with_header("Content-Type", "application/json");
    if status == 429 || status == 503 { reply.with_header("Retry-After", "1") } else { reply }
}

fn handler(state: &Arc<Mutex<State>>) -> impl Fn(Request) -> Answer + Send + Sync + 'static {
    let state = Arc::clone(state);
    move |request| {
        let mut state = lock(&state);
        state.requests.push(request);
        match state.fault.clone() {
            Fault::Reply(reply) => Answer::Reply(reply),
            Fault::Hang => Answer::Hang,
            Fault::Close => Answer::Close,
        }
    }
}
