//! Servers that every test of a run shares: each is started once, by the first test that asks.

use std::future::Future;
use std::sync::{Condvar, Mutex, PoisonError};

use super::bao::Bao;
use super::cloud::Cloud;
use super::control_plane::{ControlPlane, Options};
use super::moto::Moto;

enum State<T: 'static> {
    New,
    Starting,
    Up(&'static T),
    /// Why it did not start.
    Failed(String),
}

struct Shared<T: 'static> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T: Send + Sync + 'static> Shared<T> {
    const fn new() -> Self {
        Self { state: Mutex::new(State::New), changed: Condvar::new() }
    }

    /// Starts it on a thread that stays: children die with the thread that started them, and a test's thread ends with
    /// the test. Waiting blocks the test's thread, which has nothing else to do then.
    fn get<F>(&'static self, start: fn() -> F) -> &'static T
    where
        F: Future<Output = T> + 'static,
    {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::New) {
            *state = State::Starting;
            std::thread::spawn(move || self.run(start));
        }
        loop {
            match &*state {
                State::Up(value) => return value,
                State::Failed(why) => panic!("shared server: {why}"),
                State::New | State::Starting => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn run<F: Future<Output = T>>(&'static self, start: fn() -> F) {
        let outcome = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(start())
        });
        let next = match outcome {
            Ok(value) => State::Up(Box::leak(Box::new(value))),
            Err(panic) => State::Failed(
                panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it did not start, see above".to_owned()),
            ),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.changed.notify_all();
        loop {
            std::thread::park();
        }
    }
}

static CLUSTER: Shared<ControlPlane> = Shared::new();
static BAO: Shared<Bao> = Shared::new();
static CLOUD: Shared<Cloud> = Shared::new();
static MOTO: Shared<Moto> = Shared::new();

/// The API server of this run. Take a [`ControlPlane::namespace`], and unique names for what has none.
pub fn cluster() -> &'static ControlPlane {
    CLUSTER.get(|| ControlPlane::start(Options::default()))
}

/// The OpenBao server of this run. Take mounts, paths and policy names of your own.
pub fn bao() -> &'static Bao {
    BAO.get(Bao::start)
}

/// The fake clouds of this run. Take key names of your own.
pub fn cloud() -> &'static Cloud {
    CLOUD.get(|| async { Cloud::start() })
}

/// The moto server of this run. Take secret names of your own.
pub fn moto() -> &'static Moto {
    MOTO.get(Moto::start)
}
