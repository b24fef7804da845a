//! Runs the work queue of one kind: takes keys while this replica leads, works on several at once, gives them back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::adapters::k8s::lease::Leadership;
use crate::pure::queue::{Backoff, Finish, Lane, ObjectKey, Queue};

/// First and longest wait after failures. The longest is short enough that a store that comes back is noticed within
/// minutes; a change of anything that a watch sees cuts the wait short anyway.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

/// Longest time that one reconcile may take before it is dropped and counted as failed: every call inside is bounded,
/// so this is a last resort that keeps a worker from being lost.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long work in flight may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// One kind's work. Called for at most one key twice at no time.
#[async_trait]
pub trait Reconcile: Send + Sync + 'static {
    /// Brings one object to where it should be. The object may be gone.
    async fn reconcile(&self, key: &ObjectKey, lane: Lane) -> Finish;
}

/// The queue of one kind, shared between its watches and its workers.
pub struct Driver {
    kind: &'static str,
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Driver {
    /// A driver for `kind` with the program's usual waits after failures.
    pub fn new(kind: &'static str) -> Arc<Self> {
        Self::with_backoff(kind, BACKOFF)
    }

    /// A driver with waits of its own, where an incumbent's users know others.
    pub fn with_backoff(kind: &'static str, backoff: Backoff) -> Arc<Self> {
        Arc::new(Self { kind, queue: Mutex::new(Queue::new(backoff)), wake: Notify::new() })
    }

    /// Name of the kind.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Queues a key now.
    pub fn add(&self, key: ObjectKey, lane: Lane) {
        self.queue().add(key, lane);
        self.wake.notify_one();
    }

    /// Queues a key for later.
    pub fn add_after(&self, key: ObjectKey, lane: Lane, wait: Duration) {
        self.queue().add_at(key, lane, Instant::now() + wait);
        self.wake.notify_one();
    }

    /// Drops the failures and waits of a deleted object.
    pub fn forget(&self, key: &ObjectKey) {
        self.queue().forget(key);
    }

    /// Keys ready in a lane.
    pub fn depth(&self, lane: Lane) -> usize {
        self.queue().depth(lane)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until `stop`, with at most `workers` keys at a time, only while this replica leads.
    pub async fn run(
        self: Arc<Self>,
        reconciler: Arc<dyn Reconcile>,
        workers: usize,
        mut leadership: Leadership,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(workers.max(1)));
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            tokio::select! { () = leadership.wait() => {}, () = stop.cancelled() => break }
            let permit = tokio::select! {
                permit = permits.clone().acquire_owned() => permit,
                () = stop.cancelled() => break,
            };
            let Ok(permit) = permit else { break };
            // Leadership may have been lost while we waited for a free worker.
            if !leadership.leads() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let (taken, due) = {
                let mut queue = self.queue();
                (queue.take(Instant::now()), queue.next_due())
            };
            let Some((key, lane)) = taken else {
                drop(permit);
                let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
                tokio::select! {
                    () = self.wake.notified() => {},
                    () = tokio::time::sleep_until(due.into()) => {},
                    () = stop.cancelled() => {},
                }
                continue;
            };
            let (driver, reconciler, metrics) = (self.clone(), reconciler.clone(), metrics.clone());
            let leadership = leadership.clone();
            running.spawn(async move {
                leadership.pass(driver.one(&*reconciler, key, lane, &metrics)).await;
                drop(permit);
            });
            while running.try_join_next().is_some() {}
        }
        let drained = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(kind = self.kind, "work in flight did not end in time and is dropped");
        }
    }

    async fn one(&self, reconciler: &dyn Reconcile, key: ObjectKey, lane: Lane, metrics: &Metrics) {
        // Gives the key back even when the reconciler panics: a poisoned object must not be lost for ever.
        let mut guard = GiveBack { driver: self, key: Some(key.clone()) };
        let started = Instant::now();
        let finish = match tokio::time::timeout(RECONCILE_TIMEOUT, reconciler.reconcile(&key, lane)).await {
            Ok(finish) => finish,
            Err(_) => {
                tracing::error!(kind = self.kind, object = %key, "reconcile took too long and was dropped");
                Finish::Failed
            }
        };
        metrics.reconciled(self.kind, &finish, started.elapsed());
        guard.key = None;
        self.give_back(&key, finish);
    }

    fn give_back(&self, key: &ObjectKey, finish: Finish) {
        self.queue().finish(key, finish, Instant::now());
        self.wake.notify_one();
    }
}

struct GiveBack<'a> {
    driver: &'a Driver,
    key: Option<ObjectKey>,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            tracing::error!(kind = self.driver.kind, object = %key, "reconcile ended abnormally");
            self.driver.give_back(&key, Finish::Failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Flaky {
        calls: AtomicUsize,
        done: Notify,
    }

    #[async_trait]
    impl Reconcile for Flaky {
        async fn reconcile(&self, _key: &ObjectKey, _lane: Lane) -> Finish {
            match self.calls.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("a bug"),
                1 => Finish::Failed,
                _ => {
                    self.done.notify_one();
                    Finish::Settled(None)
                }
            }
        }
    }

    #[tokio::test]
    async fn a_panic_or_a_failure_is_tried_again() {
        let soon = Duration::from_millis(1);
        let driver = Driver::with_backoff("Test", Backoff { first: soon, longest: soon });
        let flaky = Arc::new(Flaky { calls: AtomicUsize::new(0), done: Notify::new() });
        let stop = CancellationToken::new();
        let run = driver.clone().run(flaky.clone(), 2, Leadership::always(), Metrics::new(), stop.clone());
        let run = tokio::spawn(run);
        driver.add(ObjectKey::new("a", "b"), Lane::Change);
        tokio::time::timeout(Duration::from_secs(60), flaky.done.notified()).await.expect("tried again");
        stop.cancel();
        run.await.expect("ends");
        assert_eq!(flaky.calls.load(Ordering::SeqCst), 3);
    }
}
