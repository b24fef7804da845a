//! Threads that open values: one entry costs milliseconds of pure computation, which no worker of the runtime may spend.
//!
//! As many as there are processors, and always the same ones. The runtime's own pool for such work would make a new thread
//! whenever the last one has not yet said that it is free, and each keeps memory of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// See the module's text. The threads end with it.
pub(super) struct Openers(Sender<Job>);

impl Openers {
    /// Starts them.
    pub(super) fn start() -> Self {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let receiver = receiver.clone();
            if let Err(error) = thread::Builder::new().name("opener".into()).spawn(move || work(&receiver)) {
                // With none at all every object fails, and says so.
                tracing::error!(%error, "a thread that opens values could not be started");
            }
        }
        Self(sender)
    }

    /// Does one piece of work after those that came before. `None` when it panicked, or there is no thread.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            // Nobody waits any more for what was given up.
            if !done.is_closed() {
                let _ = done.send(work());
            }
        };
        self.0.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The panic itself was printed; the job's owner learns that there is no result.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_result_and_no_thread() {
        let openers = Openers::start();
        for round in 0..50 {
            assert_eq!(openers.run(move || assert!(round > 100, "a bug")).await, None);
            assert_eq!(openers.run(move || round).await, Some(round));
        }
    }
}
