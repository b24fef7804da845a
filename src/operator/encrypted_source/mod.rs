//! `EncryptedSource`: observe, decide, act, report. What is decided is in `pure::gitops`.
//!
//! A fetch runs beside the queue: a Git server that hangs neither holds a worker nor keeps a damaged Secret from being
//! mended out of what was fetched before.

mod access;
mod apply;
mod key_services;
mod memory;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::driver::{Driver, Reconcile};
use super::part::{Context, Part};
use crate::adapters::git;
use crate::adapters::k8s::events::{EventKind, Note};
use crate::adapters::k8s::seen::Entry;
use crate::adapters::k8s::watch::{self, Change, SecretMeta, Store};
use crate::adapters::k8s::{ApiError, status};
use crate::pure::crd::encrypted_source::{EncryptedSource, EncryptedSourceStatus};
use crate::pure::duration;
use crate::pure::error::{Explain as _, Retry};
use crate::pure::gitops::conclude::{About, Blocked, Pass, conclude};
use crate::pure::gitops::decide::{Freshness, REQUESTED_AT, SOURCE_LABEL, must_fetch, source_label};
use crate::pure::queue::{Finish, Lane, ObjectKey};

use memory::{Fetch, Memory, Owner, Wish};
use turns::Turns;

const KIND: &str = "EncryptedSource";
const COMPONENT: &str = "latchwork";

/// Wait after a conflict with another writer.
const CONFLICT_WAIT: Duration = Duration::from_millis(500);

/// Every field of the status: a merge patch keeps what it does not name.
const STATUS_FIELDS: [&str; 8] = [
    "observedGeneration",
    "conditions",
    "lastAttemptedRevision",
    "lastAppliedRevision",
    "lastHandledReconcileAt",
    "summary",
    "files",
    "inventory",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DocumentLabels {
    namespace: String,
    name: String,
    state: &'static str,
}

type Memories = Arc<Mutex<HashMap<ObjectKey, Memory>>>;

/// What the reconciler and the watches share.
struct Sources {
    context: Arc<Context>,
    driver: Arc<Driver>,
    store: Arc<Store<Entry<EncryptedSource>>>,
    memories: Memories,
    fetches: Arc<Turns>,
    documents: Family<DocumentLabels, Gauge>,
}

/// Makes the part.
pub fn part(context: &Arc<Context>) -> Part {
    let documents = Family::default();
    context.metrics.with(|registry| {
        let help = "Documents of an EncryptedSource by outcome";
        registry.register("latchwork_encrypted_source_documents", help, documents.clone());
    });
    let this = Arc::new(Sources {
        context: context.clone(),
        driver: Driver::new(KIND),
        store: Arc::default(),
        memories: Arc::default(),
        fetches: Arc::new(Turns::new()),
        documents,
    });
    let ready = {
        let this = this.clone();
        Arc::new(move || match this.store.is_settled() {
            true => Ok(()),
            false => Err("the first list of EncryptedSources has not arrived".to_owned()),
        })
    };
    let on_secret = {
        let this = this.clone();
        move |change: &Change<'_, SecretMeta>| this.secret_changed(change)
    };
    Part {
        driver: this.driver.clone(),
        reconciler: this.clone(),
        tasks: vec![Box::pin(watch_objects(this))],
        waits_for_secrets: true,
        ready,
        on_secret: Some(Box::new(on_secret)),
        routes: None,
    }
}

async fn watch_objects(this: Arc<Sources>) {
    let on = {
        let this = this.clone();
        move |change: Change<'_, Entry<EncryptedSource>>| this.object_changed(&change)
    };
    let (context, stop) = (&this.context, this.context.stop.clone());
    watch::objects(context.cluster.clone(), context.scope(), this.store.clone(), on, stop).await;
}

fn lock(memories: &Memories) -> MutexGuard<'_, HashMap<ObjectKey, Memory>> {
    memories.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A memory that a pass works with. It goes back however the pass ends: one that takes too long is dropped where it is.
struct Lent<'m> {
    memories: &'m Memories,
    key: &'m ObjectKey,
    memory: Memory,
}

impl<'m> Lent<'m> {
    fn new(memories: &'m Memories, key: &'m ObjectKey) -> Self {
        // A key is worked on once at a time: nobody else misses it meanwhile.
        let memory = lock(memories).remove(key).unwrap_or_default();
        Self { memories, key, memory }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lock(self.memories).insert(self.key.clone(), std::mem::take(&mut self.memory));
    }
}

impl Sources {
    fn object_changed(&self, change: &Change<'_, Entry<EncryptedSource>>) {
        let same = match (change.old, change.new) {
            (Some(old), Some(new)) => {
                let (old, new) = (old.meta(), new.meta());
                old.uid == new.uid
                    && old.generation == new.generation
                    && old.annotations == new.annotations
                    && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some()
            }
            _ => false,
        };
        // The status is what we write ourselves.
        if !same {
            self.driver.add(change.key.clone(), Lane::Change);
        }
    }

    /// A Secret that a source wrote, wants to write, or takes its keys from.
    fn secret_changed(&self, change: &Change<'_, SecretMeta>) {
        let (old, new) = (change.old, change.new);
        let labels: Vec<String> =
            [&old, &new].into_iter().flatten().filter_map(|meta| meta.labels.get(SOURCE_LABEL).cloned()).collect();
        let secret = change.key;
        let sources = self.store.keys_where(|key, _| key.namespace == secret.namespace);
        for key in sources {
            let refers = self.store.get(&key).is_some_and(|entry| {
                let Ok(source) = &entry.object else { return false };
                let git = source.spec.git.secret_ref.as_ref();
                let keys = source.spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref());
                git.into_iter().chain(keys).any(|reference| reference.name == secret.name)
            });
            let mut memories = lock(&self.memories);
            let memory = memories.get_mut(&key);
            let ours = labels.contains(&source_label(&key.name))
                || memory.as_ref().is_some_and(|memory| memory.wanted.contains(&secret.name));
            let as_written =
                memory.as_ref().and_then(|memory| memory.applied.get(&secret.name)).is_some_and(|applied| {
                    new.as_ref()
                        .is_some_and(|new| new.uid == applied.uid && new.resource_version == applied.resource_version)
                });
            if refers && let Some(memory) = memory {
                // New credentials deserve a try at once.
                memory.failure = None;
            }
            drop(memories);
            if refers || (ours && !as_written) {
                self.driver.add(key, Lane::Change);
            }
        }
    }

    async fn look(&self, key: &ObjectKey, source: &EncryptedSource) -> Result<Finish, ApiError> {
        if source.metadata.deletion_timestamp.is_some() || source.spec.suspended() {
            return Ok(Finish::Settled(None));
        }
        let mut lent = Lent::new(&self.memories, key);
        lent.memory.belong_to(Owner { uid: source.metadata.uid.clone(), term: self.context.leadership.term() });
        self.pass(key, source, &mut lent.memory).await
    }

    async fn pass(&self, key: &ObjectKey, source: &EncryptedSource, memory: &mut Memory) -> Result<Finish, ApiError> {
        let spec = &source.spec;
        let interval = duration::of_schema(&spec.interval).unwrap_or(Duration::from_secs(600));
        let retry = spec.retry_interval.as_deref().and_then(duration::of_schema);
        let requested_at = source.metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED_AT)).cloned();
        let new = memory.take_in(interval, retry);
        let previous = previous_status(source, memory);
        let wish = Wish { generation: source.metadata.generation, requested_at };
        let attempted = memory.attempted.as_ref().and_then(|wish| wish.requested_at.clone());
        let handled = attempted.or_else(|| previous.as_ref()?.last_handled_reconcile_at.clone());
        let freshness = Freshness {
            fetched_ago: memory.fetched.filter(|_| memory.files.is_some()).map(|at| at.elapsed()),
            fetched_generation: memory.generation,
            generation: wish.generation,
            requested_at: wish.requested_at.as_deref(),
            handled_at: handled.as_deref(),
        };
        // The spec or the request may have changed while the fetch ran.
        let outdated = memory.attempted.as_ref().is_some_and(|attempted| *attempted != wish);
        let due = (!new || outdated) && must_fetch(spec, &freshness) && !memory.is_waiting(&wish);
        let about = About { generation: wish.generation, requested_at: handled.as_deref() };
        if due
            && memory.fetch.is_none()
            && let Err(blocked) = self.start_fetch(key, source, memory, &wish).await?
        {
            self.report(key, source, memory, &about, &Err(blocked)).await?;
            return Ok(Finish::Settled(Some(retry.unwrap_or(interval))));
        }
        // Files of another spec are neither applied nor told of while what this one asks for is not known. When that
        // cannot be fetched, damaged Secrets are still mended out of them, and the status tells of the failure.
        let tried = memory.attempted.as_ref().is_some_and(|attempted| attempted.generation == wish.generation);
        let mending = tried && memory.failure.is_some();
        if memory.files.is_none() || (memory.generation != wish.generation && !mending) {
            return match &memory.failure {
                Some(failure) if memory.fetch.is_none() => {
                    let (blocked, wait) = (Blocked::of(&failure.error), failure.wait);
                    self.report(key, source, memory, &about, &Err(blocked)).await?;
                    Ok(Finish::FailedFor(wait))
                }
                // The fetch wakes us when it ends.
                _ => Ok(Finish::Settled(None)),
            };
        }
        let outcome = match self.apply(key, source, memory, previous.as_ref(), new).await? {
            Ok(pass) => match &memory.failure {
                None => Ok(pass),
                Some(failure) => Err(Blocked::of(&failure.error)),
            },
            Err(blocked) => Err(blocked),
        };
        self.report(key, source, memory, &about, &outcome).await?;
        let until_due = interval.saturating_sub(memory.fetched.map(|at| at.elapsed()).unwrap_or_default());
        Ok(match (&outcome, &memory.failure) {
            (Err(_), Some(failure)) => Finish::FailedFor(failure.wait),
            (Err(_), None) => Finish::Settled(Some(retry.unwrap_or(interval))),
            (Ok(pass), _) if pass.retry => Finish::Failed,
            (Ok(_), _) => Finish::Settled(Some(until_due.max(Duration::from_millis(100)))),
        })
    }

    async fn start_fetch(
        &self,
        key: &ObjectKey,
        source: &EncryptedSource,
        memory: &mut Memory,
        wish: &Wish,
    ) -> Result<Result<(), Blocked>, ApiError> {
        // Another spec may mean another path of the same commit.
        let same = memory.generation == source.metadata.generation && memory.files.is_some();
        let known = memory.commit.clone().filter(|_| same);
        let request = match access::request(&self.context, &key.namespace, &source.spec, known).await? {
            Ok(request) => request,
            Err(blocked) => return Ok(Err(blocked)),
        };
        let (sender, result) = oneshot::channel();
        memory.fetch = Some(Fetch { wish: wish.clone(), result });
        let (driver, key) = (self.driver.clone(), key.clone());
        let (fetches, stop) = (self.fetches.clone(), self.context.stop.clone());
        tokio::spawn(async move {
            let Some(_turn) = fetches.take(&key.namespace).await else { return };
            let result = tokio::select! { result = git::fetch(request) => result, () = stop.cancelled() => return };
            let _nobody_waits_any_more = sender.send(result);
            driver.add(key, Lane::Change);
        });
        Ok(Ok(()))
    }

    async fn report(
        &self,
        key: &ObjectKey,
        source: &EncryptedSource,
        memory: &mut Memory,
        about: &About<'_>,
        outcome: &Result<Pass, Blocked>,
    ) -> Result<(), ApiError> {
        let previous = previous_status(source, memory);
        let status = conclude(previous.as_ref(), about, outcome, Timestamp::now());
        self.count(key, &status);
        if previous.as_ref() == Some(&status) {
            return Ok(());
        }
        self.note(source, previous.as_ref(), &status);
        let mut body = serde_json::to_value(&status).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            for field in STATUS_FIELDS {
                fields.entry(field).or_insert(serde_json::Value::Null);
            }
        }
        status::patch::<EncryptedSource>(&self.context.cluster, &key.namespace, &key.name, &body).await?;
        memory.written = source.metadata.resource_version.clone().map(|version| (version, status));
        Ok(())
    }

    /// An event when what the Ready condition says changes.
    fn note(&self, source: &EncryptedSource, before: Option<&EncryptedSourceStatus>, after: &EncryptedSourceStatus) {
        let ready = |status: Option<&EncryptedSourceStatus>| {
            let condition = status?.conditions.iter().find(|condition| condition.type_ == "Ready")?.clone();
            Some((condition.status, condition.reason, condition.message))
        };
        let (before, after) = (ready(before), ready(Some(after)));
        if before == after {
            return;
        }
        let Some((value, reason, message)) = after else { return };
        let kind = if value == "True" { EventKind::Normal } else { EventKind::Warning };
        let object = source.metadata.name.as_deref().unwrap_or_default();
        if kind == EventKind::Warning {
            tracing::warn!(kind = KIND, object, %reason, "{message}");
        } else {
            tracing::info!(kind = KIND, object, "{message}");
        }
        self.record(source, kind, &reason, &message);
    }

    fn record(&self, source: &EncryptedSource, kind: EventKind, reason: &str, message: &str) {
        self.context.events.record(Note {
            about: ObjectReference {
                api_version: Some("latchwork.dev/v1alpha1".into()),
                kind: Some(KIND.into()),
                name: source.metadata.name.clone(),
                namespace: source.metadata.namespace.clone(),
                uid: source.metadata.uid.clone(),
                resource_version: source.metadata.resource_version.clone(),
                ..Default::default()
            },
            kind,
            reason: reason.into(),
            message: message.into(),
            component: COMPONENT,
        });
    }

    fn labels(key: &ObjectKey, state: &'static str) -> DocumentLabels {
        DocumentLabels { namespace: key.namespace.clone(), name: key.name.clone(), state }
    }

    fn count(&self, key: &ObjectKey, status: &EncryptedSourceStatus) {
        let Some(summary) = &status.summary else { return };
        for (state, count) in [("applied", summary.applied), ("failed", summary.failed), ("ignored", summary.ignored)] {
            self.documents.get_or_create(&Self::labels(key, state)).set(count);
        }
    }

    fn forget(&self, key: &ObjectKey) {
        lock(&self.memories).remove(key);
        for state in ["applied", "failed", "ignored"] {
            self.documents.remove(&Self::labels(key, state));
        }
    }
}

/// The newer of the watched and the written status.
fn previous_status(source: &EncryptedSource, memory: &Memory) -> Option<EncryptedSourceStatus> {
    match &memory.written {
        Some((version, status)) if source.metadata.resource_version.as_ref() == Some(version) => Some(status.clone()),
        _ => source.status.clone(),
    }
}

#[async_trait]
impl Reconcile for Sources {
    async fn reconcile(&self, key: &ObjectKey, _lane: Lane) -> Finish {
        let Some(entry) = self.store.get(key) else {
            self.forget(key);
            return Finish::Settled(None);
        };
        let source = match &entry.object {
            Ok(source) => source,
            Err(unreadable) => {
                tracing::warn!(kind = KIND, object = %key, error = unreadable.why, "object cannot be read");
                return Finish::Stuck;
            }
        };
        match self.look(key, source).await {
            Ok(finish) => finish,
            // The object that we wrote over was an old one: the watch needs a moment to bring the new one.
            Err(error) if error.is_conflict() => Finish::FailedFor(CONFLICT_WAIT),
            Err(error) => {
                tracing::warn!(kind = KIND, object = %key, reason = error.reason(), error = %error.line(), "pass failed");
                match error.retry() {
                    Retry::After(wait) => Finish::FailedFor(wait),
                    _ => Finish::Failed,
                }
            }
        }
    }
}
