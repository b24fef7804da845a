//! Leader election by a record in a Lease or a Secret (see [`super::lock`]), after client-go's rule: a record counts as alive for as long as *we* have seen it
//! unchanged, measured by our own clock. Clocks of other machines are never compared, so skew cannot make two leaders.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Cluster;
use super::error::ApiError;
use super::lock::{Lock, LockKind};

/// Times of the election. A leader that could not renew for `renew_deadline` stops writing; another replica takes over
/// when it saw no change for `duration`. The gap between the two is what keeps writers apart.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a record is respected after its last change.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal.
    pub renew_deadline: Duration,
    /// How often a leader renews and a standby looks.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { duration: Duration::from_secs(8), renew_deadline: Duration::from_secs(5), retry: Duration::from_secs(1) }
    }
}

/// Whether this replica may write. Cheap to clone and to ask; asked before each write.
#[derive(Clone)]
pub struct Leadership {
    until: Arc<Mutex<Option<Instant>>>,
    changes: watch::Receiver<bool>,
    term: Arc<AtomicU64>,
    always: bool,
}

impl Leadership {
    /// For a program that runs alone.
    pub fn always() -> Self {
        let (_, changes) = watch::channel(true);
        Self { until: Arc::new(Mutex::new(None)), changes, term: Arc::default(), always: true }
    }

    /// Whether this replica leads right now.
    pub fn leads(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        self.always || until.is_some_and(|until| Instant::now() < until)
    }

    /// Runs one pass of work as part of the present term: see [`Leadership::may_write`].
    pub async fn pass<T>(&self, work: impl Future<Output = T>) -> T {
        TERM.scope(self.term(), work).await
    }

    /// Whether this replica leads, and has led without a break since the pass began that asks (see [`Leadership::pass`]).
    /// What a pass concluded before another replica may have led must not be written after it.
    pub fn may_write(&self) -> bool {
        self.leads() && TERM.try_with(|term| *term == self.term()).unwrap_or(true)
    }

    /// Number of the present or last term: it changes whenever leadership is gained. What was concluded in one term must
    /// not be written in another, because another replica may have led in between.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Waits until this replica leads.
    pub async fn wait(&mut self) {
        if self.always {
            return;
        }
        // An error means that the elector has ended: nothing will lead any more.
        if self.changes.wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

tokio::task_local! {
    /// The term in which the running pass began.
    static TERM: u64;
}

/// What a replica should do about the record that it sees.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Write our name into it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// The record as last seen, and since when it has been so.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// Pure part: `seen` is the record and when we first saw it in this form.
fn step(seen: &Seen, me: &str, now: Instant, own_duration: Duration) -> Step {
    let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
    let duration =
        seen.spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map_or(own_duration, Duration::from_secs);
    if holder.is_empty() || holder == me || now >= seen.since + duration { Step::Take } else { Step::Wait }
}

/// Sets the new end of the promise. A new term begins unless the old promise still stands: it may have run out unseen, in
/// a process that was stopped for a while.
fn extend(promise: &mut Option<Instant>, until: Option<Instant>, term: &AtomicU64, now: Instant) {
    if until.is_some() && promise.is_none_or(|until| now >= until) {
        // Before the promise, so that nobody writes in the new term by the number of the old one.
        term.fetch_add(1, Ordering::AcqRel);
    }
    *promise = until;
}

/// Takes part in the election of `name` in `namespace` until `stop`, then gives the lease back at once.
pub struct Elector {
    lock: Lock,
    identity: String,
    timing: Timing,
    until: Arc<Mutex<Option<Instant>>>,
    term: Arc<AtomicU64>,
    changes: watch::Sender<bool>,
}

impl Elector {
    /// An elector by the record `name` in `namespace`, and the handle that says whether it leads. `identity` must differ between replicas.
    pub fn new(
        cluster: Cluster,
        (kind, namespace, name): (LockKind, &str, &str),
        identity: &str,
        timing: Timing,
    ) -> (Self, Leadership) {
        let until = Arc::new(Mutex::new(None));
        let (changes, receiver) = watch::channel(false);
        let term = Arc::new(AtomicU64::new(0));
        let leadership = Leadership { until: until.clone(), changes: receiver, term: term.clone(), always: false };
        let elector = Self {
            lock: Lock { cluster, namespace: namespace.into(), name: name.into(), kind },
            identity: identity.into(),
            timing,
            until,
            term,
            changes,
        };
        (elector, leadership)
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut seen: Option<Seen> = None;
        while !stop.is_cancelled() {
            let started = Instant::now();
            // One round may not outlive the deadline, or a slow answer would renew a lease that others count as dead.
            let round = tokio::time::timeout(self.timing.renew_deadline, self.round(&mut seen));
            match tokio::select! { r = round => r, () = stop.cancelled() => break } {
                Ok(Ok(true)) => self.lead_until(Some(started + self.timing.renew_deadline)),
                Ok(Ok(false)) => self.lead_until(None),
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = %self.lock.name, "leader election round failed");
                    self.expire();
                }
                Err(_) => {
                    tracing::warn!(lease = %self.lock.name, "leader election round timed out");
                    self.expire();
                }
            }
            tokio::select! { () = tokio::time::sleep(self.timing.retry) => {}, () = stop.cancelled() => {} }
        }
        self.release().await;
    }

    /// One look at the record; `true` when it carries our name afterwards.
    async fn round(&self, seen: &mut Option<Seen>) -> Result<bool, ApiError> {
        let Some(held) = self.lock.read().await? else {
            return match self.lock.create(self.record(None)).await {
                Ok(()) => Ok(true),
                Err(error) if error.is_conflict() => Ok(false),
                Err(error) => Err(error),
            };
        };
        let now = Instant::now();
        let current = match seen.take() {
            Some(known) if known.spec == held.spec => known,
            _ => Seen { spec: held.spec.clone(), since: now },
        };
        let step = step(&current, &self.identity, now, self.timing.duration);
        let mut ours = false;
        if step == Step::Take {
            // The resourceVersion in the metadata makes the API server refuse a second winner.
            ours = match self.lock.replace(&held, self.record(Some(&current.spec))).await {
                Ok(()) => true,
                Err(error) if error.is_conflict() => false,
                Err(error) => {
                    *seen = Some(current);
                    return Err(error);
                }
            };
        }
        *seen = Some(current);
        Ok(ours)
    }

    fn record(&self, previous: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let kept = previous.filter(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
        let transitions = previous.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(kept.and_then(|spec| spec.acquire_time.clone()).unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if previous.is_some() && kept.is_none() { transitions + 1 } else { transitions }),
            ..Default::default()
        }
    }

    fn lead_until(&self, until: Option<Instant>) {
        extend(&mut self.until.lock().unwrap_or_else(PoisonError::into_inner), until, &self.term, Instant::now());
        let leads = until.is_some();
        self.changes.send_if_modified(|known| {
            let changed = *known != leads;
            if changed {
                tracing::info!(lease = %self.lock.name, identity = %self.identity, leads, "leadership changed");
            }
            *known = leads;
            changed
        });
    }

    /// After a failed round the old promise stands until its own end.
    fn expire(&self) {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() >= until) {
            self.lead_until(None);
        }
    }

    /// Gives the lease back, so that another replica need not wait for it to run out.
    async fn release(&self) {
        let led = self.until.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.lead_until(None);
        if !led {
            return;
        }
        let released = async {
            let held = self.lock.read().await?;
            let held = held.filter(|held| held.spec.holder_identity.as_deref() == Some(self.identity.as_str()));
            if let Some(held) = held {
                let spec = LeaseSpec {
                    holder_identity: Some(String::new()),
                    lease_duration_seconds: Some(1),
                    ..held.spec.clone()
                };
                self.lock.replace(&held, spec).await?;
            }
            Ok::<(), ApiError>(())
        };
        match tokio::time::timeout(Duration::from_secs(3), released).await {
            Ok(Ok(())) => tracing::info!(lease = %self.lock.name, "lease released"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = %self.lock.name, "lease not released; it runs out by itself")
            }
            Err(_) => tracing::warn!(lease = %self.lock.name, "lease not released in time; it runs out by itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: &str, seconds: Option<i32>, since: Instant) -> Seen {
        let spec =
            LeaseSpec { holder_identity: Some(holder.into()), lease_duration_seconds: seconds, ..Default::default() };
        Seen { spec, since }
    }

    #[test]
    fn a_record_is_respected_for_its_duration_by_our_own_clock() {
        let now = Instant::now();
        let own = Duration::from_secs(8);
        let old = now - Duration::from_secs(9);
        assert_eq!(step(&seen("other", Some(8), now), "me", now, own), Step::Wait);
        assert_eq!(step(&seen("other", Some(8), old), "me", now, own), Step::Take, "ran out");
        assert_eq!(step(&seen("other", Some(60), old), "me", now, own), Step::Wait, "its own duration counts");
        assert_eq!(step(&seen("other", None, old), "me", now, own), Step::Take);
        assert_eq!(step(&seen("me", Some(8), now), "me", now, own), Step::Take, "renewal");
        assert_eq!(step(&seen("", Some(1), now), "me", now, own), Step::Take, "released");
    }

    #[test]
    fn leadership_ends_by_itself_when_it_is_not_renewed() {
        let (_sender, changes) = watch::channel(true);
        let until = Arc::new(Mutex::new(Some(Instant::now() + Duration::from_secs(60))));
        let leadership = Leadership { until: until.clone(), changes, term: Arc::default(), always: false };
        assert!(leadership.leads());
        *until.lock().unwrap() = Some(Instant::now() - Duration::from_millis(1));
        assert!(!leadership.leads());
        assert!(Leadership::always().leads());
    }

    #[tokio::test]
    async fn a_pass_that_began_in_an_earlier_term_writes_nothing() {
        let (_sender, changes) = watch::channel(true);
        let until = Arc::new(Mutex::new(Some(Instant::now() + Duration::from_secs(60))));
        let term = Arc::new(AtomicU64::new(1));
        let leadership = Leadership { until: until.clone(), changes, term: term.clone(), always: false };
        let seen = leadership.pass(async {
            let before = leadership.may_write();
            // Lost, and gained again, while the pass waits for something.
            for promise in [None, Some(Instant::now() + Duration::from_secs(60))] {
                tokio::task::yield_now().await;
                extend(&mut until.lock().unwrap(), promise, &term, Instant::now());
            }
            (before, leadership.leads(), leadership.may_write())
        });
        assert_eq!(seen.await, (true, true, false));
        assert!(leadership.pass(async { leadership.may_write() }).await, "the next pass");
        assert!(leadership.may_write(), "outside of a pass");
    }

    #[test]
    fn a_term_begins_whenever_leadership_was_not_held_before() {
        let (term, start) = (AtomicU64::new(0), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut promise = None;
        for (case, now, until, expected) in [
            ("standby", 0, None, 0),
            ("gained", 1, Some(6), 1),
            ("renewed", 2, Some(7), 1),
            ("lost", 3, None, 1),
            ("gained again", 4, Some(9), 2),
            ("ran out unseen", 60, Some(65), 3),
            ("renewed", 61, Some(66), 3),
        ] {
            extend(&mut promise, until.map(at), &term, at(now));
            assert_eq!(term.load(Ordering::Acquire), expected, "{case}");
        }
    }
}
