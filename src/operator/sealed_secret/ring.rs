//! The KeyRing: its spec is read by those who renew keys, and its status and the metrics say what each key still holds.
//!
//! The object is asked for rather than watched: there is one, it changes once in months, and the incumbent's role does
//! not grant it. Without it, without its CRD or without the right to read it everything else goes on.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;

use super::ring_metrics::RingMetrics;
use super::{COMPONENT, Sealed, in_force};
use crate::adapters::k8s::events::{EventKind, Note};
use crate::adapters::k8s::{ApiError, Cluster, secrets, status};
use crate::operator::part::Context;
use crate::pure::crd::key_ring::{KeyRing, KeyRingStatus, NAME};
use crate::pure::desired::SEALING_KEY_LABEL;
use crate::pure::error::Explain;
use crate::pure::queue::{Lane, ObjectKey};
use crate::pure::sealed::keys::{ACTIVE, KeyStates, RETIRED, SealingKey, SealingKeys};
use crate::pure::sealed::ring::{self, Ledger, Observed, Tally};

/// Between two counts. A count of unchanged objects costs a look at each, and no private-key operation.
const PASS: Duration = Duration::from_secs(30);

/// Longest wait for the reconciler, after a start and while it works through many objects: what it opens is not opened
/// twice. Thousands of objects with a dozen keys take minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The KeyRing, or `None` where there is none or its kind is not installed.
pub(super) async fn read(cluster: &Cluster) -> Result<Option<KeyRing>, ApiError> {
    let api: Api<KeyRing> = Api::all(cluster.client());
    match cluster.call("KeyRing default", api.get(NAME)).await {
        Ok(ring) => Ok(Some(ring)),
        // The answer is the same whether the object or the kind is not there.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Age at which the active key is renewed, by the KeyRing or else by the flags. `None` when that cannot be known now.
pub(super) async fn renew_period(context: &Context) -> Option<Duration> {
    let flags = context.settings.sealing.key_renew_period;
    match read(&context.cluster).await {
        Ok(found) => Some(ring::renew_period(found.as_ref().map(|ring| &ring.spec), flags)),
        // A role without it has no KeyRing to obey.
        Err(ApiError::Denied { .. }) => Some(flags),
        Err(error) => {
            // Renewal can wait; a key that a KeyRing forbids cannot be unmade.
            tracing::info!(reason = error.reason(), "the KeyRing cannot be read, and no key is renewed meanwhile");
            None
        }
    }
}

/// What a count goes by: it stands for as long as these do.
#[derive(Clone, PartialEq)]
struct Counted {
    /// Of each watch.
    editions: Vec<u64>,
    keys: KeyStates,
}

struct Keeper {
    sealed: Arc<Sealed>,
    metrics: RingMetrics,
    ledger: Ledger,
    /// What was counted last, and by what.
    counted: Option<(Counted, Tally)>,
    /// The last status that was concluded: what is known of the past where there is no KeyRing.
    last: Option<KeyRingStatus>,
    /// The last failure, so that it is logged once.
    failing: Option<&'static str>,
}

/// Counts and reports, for ever, while this replica leads.
pub(super) async fn keep(sealed: Arc<Sealed>, metrics: RingMetrics) {
    let mut keeper = Keeper { sealed, metrics, ledger: Ledger::default(), counted: None, last: None, failing: None };
    let mut changes = keeper.sealed.keys.changes();
    let mut leadership = keeper.sealed.context.leadership.clone();
    loop {
        if !leadership.leads() {
            keeper.metrics.clear();
            leadership.wait().await;
        }
        keeper.calm().await;
        if leadership.leads() && keeper.settled() {
            let result = keeper.pass().await;
            keeper.note(result.err());
        }
        tokio::select! {
            () = tokio::time::sleep(PASS) => {},
            _ = changes.changed() => {},
        }
    }
}

impl Keeper {
    fn settled(&self) -> bool {
        self.sealed.stores.iter().all(|(_, store)| store.is_settled()) && self.sealed.keys.ready().is_ok()
    }

    /// Waits while the reconciler works through what is before it, but not for ever.
    async fn calm(&self) {
        let started = tokio::time::Instant::now();
        let queued =
            || [Lane::Change, Lane::Search, Lane::Refresh].iter().any(|lane| self.sealed.driver.depth(*lane) > 0);
        // Another replica's queue is no business of this one, and its own is not worked on.
        let busy = || self.sealed.context.leadership.leads() && (!self.settled() || queued());
        while busy() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn note(&mut self, error: Option<ApiError>) {
        let reason = error.as_ref().map(Explain::reason);
        if let Some(error) = error.filter(|_| reason != self.failing) {
            tracing::info!(reason = error.reason(), "the status of the KeyRing is not kept up to date");
            tracing::debug!("KeyRing: {}", error.line());
        }
        self.failing = reason;
    }

    /// One count and what follows from it. The metrics are set whatever becomes of the KeyRing.
    async fn pass(&mut self) -> Result<(), ApiError> {
        let (keys, states) = self.sealed.keys.current_states();
        let tally = self.count(&keys, states).await;
        let found = read(&self.sealed.context.cluster).await;
        let ring = found.as_ref().ok().and_then(Option::as_ref);
        let (settings, only_in) = (&self.sealed.context.settings, self.only_in());
        let seen = Observed {
            keys: &keys,
            tally: &tally,
            only_in: only_in.as_deref(),
            generation: ring.and_then(|ring| ring.metadata.generation),
            now: Timestamp::now(),
        };
        let before = ring.and_then(|ring| ring.status.as_ref()).or(self.last.as_ref());
        let status = ring::conclude(before, &seen);
        let period = ring::renew_period(ring.map(|ring| &ring.spec), settings.sealing.key_renew_period);
        self.metrics.set(&status, &keys, period);
        let written = match ring {
            Some(ring) => self.report(ring, &status).await,
            None => Ok(()),
        };
        if let Some(ring) = ring.filter(|_| written.is_ok()) {
            for name in ring::to_retire(&ring.spec, &status, &seen) {
                self.retire(ring, &name).await?;
            }
        }
        self.last = Some(status);
        found.map(drop).and(written)
    }

    /// The part of the cluster that is looked at, when it is not the whole.
    fn only_in(&self) -> Option<String> {
        let names: Vec<&str> = self.sealed.stores.iter().filter_map(|(name, _)| name.as_deref()).collect();
        let labels = &self.sealed.context.settings.sealing.label_selector;
        match (names.is_empty(), labels.is_empty()) {
            (true, true) => None,
            (false, _) => Some(names.join(", ")),
            (true, false) => Some(format!("(all, objects with {labels})")),
        }
    }

    /// Counts on a thread of its own: what must be opened costs milliseconds for each entry. Where nothing has changed the
    /// last count stands.
    async fn count(&mut self, keys: &SealingKeys, states: KeyStates) -> Tally {
        let now =
            Counted { editions: self.sealed.stores.iter().map(|(_, store)| store.edition()).collect(), keys: states };
        if let Some((_, tally)) = self.counted.as_ref().filter(|(counted, _)| *counted == now) {
            return tally.clone();
        }
        let (sealed, keys) = (self.sealed.clone(), keys.clone());
        let mut ledger = std::mem::take(&mut self.ledger);
        let counted = tokio::task::spawn_blocking(move || {
            let all: HashMap<_, _> = sealed.stores.iter().flat_map(|(_, store)| store.all()).collect();
            ledger.retain(|key: &ObjectKey| all.contains_key(key));
            let mut unreadable = 0;
            for entry in all.values().map(|packed| packed.unpack()) {
                let Ok(object) = &entry.object else {
                    unreadable += 1;
                    continue;
                };
                let in_force = in_force(&entry);
                if ledger.knows(object, &keys, in_force) {
                    continue;
                }
                // A copy of what this object needs, so that the reconciler is not kept waiting.
                let hints = sealed.hints.read().unwrap_or_else(PoisonError::into_inner).for_object(object);
                let learnt = ledger.count(object, &keys, &hints, in_force);
                sealed.hints.write().unwrap_or_else(PoisonError::into_inner).learn(&learnt);
            }
            (ledger, unreadable)
        });
        // Only a panic loses the ledger, and the next pass begins with an empty one.
        self.counted = None;
        let Ok((ledger, unreadable)) = counted.await else { return Tally { unreadable: u64::MAX, ..Tally::default() } };
        self.ledger = ledger;
        let tally = Tally { unreadable, ..self.ledger.tally() };
        self.counted = Some((now, tally.clone()));
        tally
    }

    async fn report(&self, ring: &KeyRing, status: &KeyRingStatus) -> Result<(), ApiError> {
        if ring.status.as_ref() == Some(status) {
            return Ok(());
        }
        let version = ring.metadata.resource_version.as_deref().unwrap_or_default();
        match status::replace_cluster_wide::<KeyRing>(&self.sealed.context.cluster, NAME, version, status).await {
            // Changed or deleted meanwhile: the next pass sees what it is now.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Marks a key as retired, if its Secret still says that it is active.
    async fn retire(&self, ring: &KeyRing, name: &str) -> Result<(), ApiError> {
        let context = &self.sealed.context;
        let Some(secret) = secrets::get(&context.cluster, &context.namespace, name).await? else { return Ok(()) };
        let labelled = secret.labels.get(SEALING_KEY_LABEL).is_some_and(|label| label == ACTIVE);
        if !labelled || SealingKey::from_secret(&secret, false).is_err() {
            return Ok(());
        }
        let labels = [(SEALING_KEY_LABEL, RETIRED)];
        match context.writer.mark_sealing_key(&secret, &labels, &[]).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() || error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        tracing::info!(secret = name, "sealing key retired: it opened nothing for long, and stands in a backup");
        let uid = ring.metadata.uid.clone();
        context.events.record(Note {
            about: ObjectReference {
                api_version: Some("latchwork.dev/v1alpha1".into()),
                kind: Some("KeyRing".into()),
                name: Some(NAME.into()),
                uid,
                ..Default::default()
            },
            kind: EventKind::Normal,
            reason: "KeyRetired".into(),
            message: format!("sealing key {name} opened nothing for long, and stands in a verified backup"),
            component: COMPONENT,
        });
        Ok(())
    }
}
