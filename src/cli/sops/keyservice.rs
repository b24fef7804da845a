//! `sops keyservice`: the keys of this machine for other programs.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::args::{KeyserviceArgs, Network};
use super::failure::{Failure, code};
use super::keys::Run;
use super::ring::Keyring;
use crate::adapters::kms::KeyService;
use crate::adapters::kms::grpc::{Confirm, Listener, Server};
use crate::adapters::listen::{self, Family};
use crate::pure::keys::{KeyError, KeyRef, LocalKeys as _, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// How long calls that are under way may take once the service is stopped.
const ENDING: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub fn run(args: &KeyserviceArgs, run: &Run<'_>) -> Outcome {
    let fail = |what: String| Failure::new(code::GENERIC, format!("keyservice: {what}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| fail(format!("no thread can be started: {error}")))?;
    let services = &run.global.services;
    let result = runtime.block_on(async {
        let keys = Keys { ring: Arc::new(Keyring::new(services.is_local())), services: services.services() };
        let listener = listen(args).await?;
        let stop = CancellationToken::new();
        tokio::spawn(crate::cli::operator::stop_on_signal(stop.clone()));
        let scheme = if matches!(args.network, Network::Unix) { "unix" } else { "tcp" };
        crate::cli::complain(&format!("Listening on {scheme}://{}", args.address));
        let confirm = args.prompt.then(|| confirm(stop.clone()));
        let serving = Server::new(Arc::new(keys), confirm).serve(listener, stop.clone().cancelled_owned());
        let ending = async {
            stop.cancelled().await;
            tokio::time::sleep(ENDING).await;
        };
        let served = tokio::select! {
            served = serving => served,
            // What is left is a program that asks somebody, or a service that does not answer.
            () = ending => {
                crate::cli::complain(&format!("keyservice: calls under way were given up after {} s", ENDING.as_secs()));
                Ok(())
            }
        };
        if matches!(args.network, Network::Unix) && abstract_name(&args.address).is_none() {
            // What is left would keep the next run from listening; if it is gone already, all the better.
            let _ = std::fs::remove_file(&args.address);
        }
        served
    });
    // A question on the terminal cannot be taken back: its thread ends with the process.
    runtime.shutdown_background();
    result.map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(args: &KeyserviceArgs) -> Result<Listener, String> {
    let cannot = |error: std::io::Error| format!("cannot listen on {}: {error}", args.address);
    let family = match args.network {
        Network::Tcp => Family::Any,
        Network::Tcp4 => Family::V4,
        Network::Tcp6 => Family::V6,
        Network::Unix => return listen_unix(&args.address).map(Listener::Unix).map_err(cannot),
    };
    let listener = listen::on_named(&args.address, family).await.map_err(cannot)?;
    if listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()) {
        crate::cli::complain("warning: everybody who reaches this address may use your keys");
    }
    Ok(Listener::Tcp(listener))
}

fn listen_unix(address: &str) -> std::io::Result<UnixListener> {
    #[cfg(target_os = "linux")]
    if let Some(name) = abstract_name(address) {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener as Blocking};
        let listener = Blocking::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        crate::cli::complain(
            "warning: everybody on this machine may use your keys; the path of a socket is for you alone",
        );
        return UnixListener::from_std(listener);
    }
    let listener = UnixListener::bind(address)?;
    std::fs::set_permissions(address, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// What stands behind the `@` of a socket that has no file.
fn abstract_name(address: &str) -> Option<&str> {
    if cfg!(target_os = "linux") { address.strip_prefix('@') } else { None }
}

/// Asks on the terminal, one question at a time. What is open when the service is stopped counts as a no.
fn confirm(stop: CancellationToken) -> Confirm {
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    Arc::new(move |call, key| {
        let question = format!("Received {call} request using {} {key}. Respond to request? (y/n): ", key.kind());
        let (turn, stop) = (Arc::clone(&turn), stop.clone());
        Box::pin(async move {
            let answer = async {
                let _turn = turn.lock().await;
                tokio::task::spawn_blocking(move || ask(&question)).await.unwrap_or(false)
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => false,
                said = answer => said,
            }
        })
    })
}

/// Waits for a `y` or an `n`. Nobody there to answer is a no.
fn ask(question: &str) -> bool {
    loop {
        let mut out = std::io::stdout();
        let mut answer = String::new();
        if write!(out, "\n{question}").and_then(|()| out.flush()).is_err()
            || !std::io::stdin().read_line(&mut answer).is_ok_and(|read| read > 0)
        {
            return false;
        }
        match answer.trim() {
            "y" => return true,
            "n" => return false,
            _ => {}
        }
    }
}

/// What this machine can do itself, then its cloud credentials and the services that were named, until one of them can.
struct Keys {
    ring: Arc<Keyring>,
    services: Vec<Arc<dyn KeyService>>,
}

/// The answer of one more service after those so far; what all of them said, if none can.
fn joined<T>(so_far: Option<KeyError>, answer: Result<T, KeyError>) -> Result<T, KeyError> {
    match (so_far, answer) {
        (Some(before), Err(error)) => Err(KeyError::Service { message: format!("{before}; {error}") }),
        (_, answer) => answer,
    }
}

fn ended() -> KeyError {
    KeyError::Local { message: "the work ended abnormally".into() }
}

#[async_trait]
impl KeyService for Keys {
    fn serves(&self, _: &KeyRef) -> bool {
        true
    }

    async fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Wrapped {
        let (ring, asked, copy) = (Arc::clone(&self.ring), key.clone(), secret.duplicate());
        // It may run programs and ask people.
        let here = tokio::task::spawn_blocking(move || ring.wrap(&asked, &copy)).await.map_err(|_| ended())?;
        let mut failed = match here {
            Some(Ok(enc)) => return Ok(enc),
            Some(Err(error)) => Some(error),
            None => None,
        };
        for service in self.services.iter().filter(|service| service.serves(key)) {
            match joined(failed.take(), service.wrap(key, secret).await) {
                Ok(enc) => return Ok(enc),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(KeyError::Unsupported { kind: key.kind() }))
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        let (ring, asked) = (Arc::clone(&self.ring), key.clone());
        let here = tokio::task::spawn_blocking(move || ring.unwrap(&asked)).await.map_err(|_| ended())?;
        let mut failed = match here {
            Some(Ok(plain)) => return Ok(plain),
            Some(Err(error)) => Some(error),
            None => None,
        };
        for service in self.services.iter().filter(|service| service.serves(&key.key)) {
            match joined(failed.take(), service.unwrap(key).await) {
                Ok(plain) => return Ok(plain),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(KeyError::Unsupported { kind: key.key.kind() }))
    }
}
