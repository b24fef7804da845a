//! `sops keyservice`: the keys of this machine for other programs.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::args::{KeyserviceArgs, Network};
use super::failure::{Failure, code};
use super::keys::Run;
use super::ring::Keyring;
use crate::adapters::kms::KeyService;
use crate::adapters::kms::grpc::{Confirm, Listener, Server};
use crate::pure::keys::{KeyError, KeyRef, LocalKeys as _, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

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
        let scheme = if matches!(args.network, Network::Tcp) { "tcp" } else { "unix" };
        crate::cli::complain(&format!("Listening on {scheme}://{}", args.address));
        let confirm = args.prompt.then(confirm);
        let served = Server::new(Arc::new(keys), confirm).serve(listener, stop.cancelled_owned()).await;
        if matches!(args.network, Network::Unix) {
            // What is left would keep the next run from listening; if it is gone already, all the better.
            let _ = std::fs::remove_file(&args.address);
        }
        served
    });
    result.map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(args: &KeyserviceArgs) -> Result<Listener, String> {
    let cannot = |error: std::io::Error| format!("cannot listen on {}: {error}", args.address);
    match args.network {
        Network::Tcp => {
            let listener = TcpListener::bind(&args.address).await.map_err(cannot)?;
            if listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()) {
                crate::cli::complain("warning: everybody who reaches this address may use your keys");
            }
            Ok(Listener::Tcp(listener))
        }
        Network::Unix => {
            use std::os::unix::fs::PermissionsExt as _;
            let listener = UnixListener::bind(&args.address).map_err(cannot)?;
            std::fs::set_permissions(&args.address, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
            Ok(Listener::Unix(listener))
        }
    }
}

/// Asks on the terminal, one question at a time.
fn confirm() -> Confirm {
    let turn = Mutex::new(());
    Arc::new(move |call, key| {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut out = std::io::stdout().lock();
            let kind = key.kind();
            let asked = write!(out, "\nReceived {call} request using {kind} {key}. Respond to request? (y/n): ");
            let mut answer = String::new();
            // Nobody there to answer is a no.
            if asked.and_then(|()| out.flush()).is_err()
                || !std::io::stdin().lock().read_line(&mut answer).is_ok_and(|read| read > 0)
            {
                return false;
            }
            match answer.trim() {
                "y" => return true,
                "n" => return false,
                _ => {}
            }
        }
    })
}

/// What this machine can do itself, then its cloud credentials and the services that were named.
struct Keys {
    ring: Arc<Keyring>,
    services: Vec<Arc<dyn KeyService>>,
}

impl Keys {
    fn serving(&self, key: &KeyRef) -> Result<&Arc<dyn KeyService>, KeyError> {
        let serving = self.services.iter().find(|service| service.serves(key));
        serving.ok_or(KeyError::Unsupported { kind: key.kind() })
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
        match here {
            Some(answer) => answer,
            None => self.serving(key)?.wrap(key, secret).await,
        }
    }

    async fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        let (ring, asked) = (Arc::clone(&self.ring), key.clone());
        let here = tokio::task::spawn_blocking(move || ring.unwrap(&asked)).await.map_err(|_| ended())?;
        match here {
            Some(answer) => answer,
            None => self.serving(&key.key)?.unwrap(key).await,
        }
    }
}
