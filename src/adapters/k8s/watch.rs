//! Guarded watches: one malformed object is an entry that says so, and never stops the rest.
//!
//! Objects arrive as untyped JSON, which always decodes, and are typed one by one. Secrets are watched as metadata only,
//! and only what this program asks about is kept of it: a cluster with 35,000 foreign Secrets costs a few megabytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{Cluster, WATCH_SECONDS};
use super::error::ApiError;
use super::seen::{Entry, Seen};
use crate::pure::error::Explain;
use crate::pure::queue::{Backoff, ObjectKey};

/// How a watch is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The first list is still on its way.
    Starting,
    /// Up to date.
    Synced,
    /// The kind is not installed; the watch tries again by itself.
    Absent,
    /// Failing, with a reason; the entries are the last known ones.
    Failing(&'static str),
}

/// What changed: what is kept of the object before and after.
pub struct Change<'a, T> {
    /// The object.
    pub key: &'a ObjectKey,
    /// Before; `None` when it is new.
    pub old: Option<&'a Arc<T>>,
    /// After; `None` when it is gone.
    pub new: Option<&'a Arc<T>>,
    /// Whether this comes out of a list rather than being news: the object may have been so for long.
    pub listed: bool,
}

/// The objects of one kind as last seen. Reads never wait for the network.
pub struct Store<T> {
    entries: RwLock<HashMap<ObjectKey, Arc<T>>>,
    /// Counts the changes.
    edition: AtomicU64,
    health: watch::Sender<Health>,
    /// Whether a list was ever complete. A watch that breaks later goes on from where it was, without a new list.
    listed: AtomicBool,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            edition: AtomicU64::new(0),
            health: watch::channel(Health::Starting).0,
            listed: AtomicBool::new(false),
        }
    }
}

impl<T> Store<T> {
    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Whether there is such an object.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<(ObjectKey, Arc<T>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Keys of all objects for which `pick` holds.
    pub fn keys_where(&self, pick: impl Fn(&ObjectKey, &T) -> bool) -> Vec<ObjectKey> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|(key, entry)| pick(key, entry)).map(|(key, _)| key.clone()).collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another number after each change.
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// How the watch is doing.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Whether the first list has arrived, or the kind is known to be absent.
    pub fn is_settled(&self) -> bool {
        self.listed.load(Ordering::Acquire) || self.health() == Health::Absent
    }

    /// Waits until the first list has arrived or the kind is known to be absent. Work that concludes something from
    /// the absence of an object must wait for this.
    pub async fn settled(&self) {
        let mut health = self.health.subscribe();
        // The sender lives in self, so this cannot fail.
        let _ = health.wait_for(|_| self.is_settled()).await;
    }

    fn set(&self, key: &ObjectKey, entry: Option<Arc<T>>) -> Option<Arc<T>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.edition.fetch_add(1, Ordering::AcqRel);
        match entry {
            Some(entry) => entries.insert(key.clone(), entry),
            None => entries.remove(key),
        }
    }

    fn set_health(&self, health: Health) {
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}

/// Silence after which an unanswered list is asked for anew, and its longest form: it doubles each time, so that a server
/// that is merely slow is not asked over and over.
const LIST_SILENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(160));

/// Waits between the failures of one watch. Short at the longest: an API server that is back is noticed within seconds,
/// and one request of each watch in that time is no load.
struct Waits {
    queue: Backoff,
    key: ObjectKey,
    failures: u32,
}

impl Waits {
    fn new(kind: &str) -> Self {
        let queue = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };
        Self { queue, key: ObjectKey::new("", kind), failures: 0 }
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(self.queue.wait(self.failures, &self.key))
    }
}

impl utils::Backoff for Waits {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Objects in one answer of a list: whole ones are kilobytes each, several times in memory while they are read.
const OBJECTS_PER_PAGE: u32 = 100;

/// Where to watch.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector; empty for all.
    pub labels: String,
}

/// Watches a kind until `stop`, keeps `store` up to date, and calls `on` after each change.
pub async fn objects<T: Seen>(
    cluster: Cluster,
    scope: Scope,
    store: Arc<Store<T>>,
    on: impl Fn(Change<'_, T>) + Send + Sync,
    stop: CancellationToken,
) {
    let resource = kube::api::ApiResource::erase::<T::Object>(&());
    let kind = resource.kind.clone();
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    };
    let keep = |mut object: DynamicObject| {
        object.metadata.managed_fields = last_change(object.metadata.managed_fields.take());
        T::keep(Entry::read(&object))
    };
    let open = || watcher(api.clone(), config(&scope).page_size(OBJECTS_PER_PAGE));
    follow(open, &kind, keep, T::is_same, &store, on, stop).await;
}

/// What is kept of a Secret that somebody else's controller may own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretMeta {
    /// UID.
    pub uid: String,
    /// Changes with each write.
    pub resource_version: String,
    /// UID of the controlling owner.
    pub controller: Option<String>,
    /// Labels of the groups this program works for, and no others.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the same groups. Apart from the labels: one must never be taken for the other.
    pub annotations: BTreeMap<String, String>,
}

/// Label and annotation prefixes that are kept in [`SecretMeta`].
const MARKS: [&str; 3] = ["latchwork.dev/", "sealedsecrets.bitnami.com/", "reconcile.external-secrets.io/"];

/// Watches Secrets as metadata only.
pub async fn secrets(
    cluster: Cluster,
    scope: Scope,
    store: Arc<Store<SecretMeta>>,
    on: impl Fn(Change<'_, SecretMeta>) + Send + Sync,
    stop: CancellationToken,
) {
    let api: Api<PartialObjectMeta<Secret>> = match &scope.namespace {
        Some(namespace) => Api::namespaced(cluster.client(), namespace),
        None => Api::all(cluster.client()),
    };
    let keep = |object: PartialObjectMeta<Secret>| {
        let meta = object.metadata;
        let owners = meta.owner_references.unwrap_or_default();
        let marks = |all: Option<BTreeMap<String, String>>| {
            let all = all.into_iter().flatten();
            all.filter(|(name, _)| MARKS.iter().any(|prefix| name.starts_with(prefix))).collect()
        };
        SecretMeta {
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            controller: owners.into_iter().find(|o| o.controller == Some(true)).map(|o| o.uid),
            labels: marks(meta.labels),
            annotations: marks(meta.annotations),
        }
    };
    let open = || watcher(api.clone(), config(&scope));
    follow(open, "Secret", keep, SecretMeta::eq, &store, on, stop).await;
}

/// Of the managed fields, the larger half of most objects, only when something other than the status was changed last.
fn last_change(all: Option<Vec<ManagedFieldsEntry>>) -> Option<Vec<ManagedFieldsEntry>> {
    let changes = all?.into_iter().filter(|entry| entry.subresource.as_deref() != Some("status"));
    let time = changes.filter_map(|entry| entry.time).max_by_key(|time| time.0)?;
    Some(vec![ManagedFieldsEntry { time: Some(time), ..Default::default() }])
}

fn config(scope: &Scope) -> watcher::Config {
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    if scope.labels.is_empty() { config } else { config.labels(&scope.labels) }
}

async fn follow<K, T, S>(
    open: impl Fn() -> S,
    kind: &str,
    keep: impl Fn(K) -> T,
    same: impl Fn(&T, &T) -> bool,
    store: &Store<T>,
    on: impl Fn(Change<'_, T>) + Send + Sync,
    stop: CancellationToken,
) where
    K: Resource + Clone + Debug + Send + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send,
{
    let mut stream = Box::pin(open().backoff(Waits::new(kind)));
    // Whether the stream that is open now is known to work. Until its list is complete, and after a failure, silence is
    // a fault: an API server that has just started, or is setting up a new kind, may accept a list or a watch and never
    // answer it.
    let mut complete = false;
    let (mut silence, longest) = LIST_SILENCE;
    // Keys not yet named by the list in progress: what is left at its end was deleted while nobody watched.
    let mut unseen: Option<HashSet<ObjectKey>> = None;
    let apply = |object: K, unseen: &mut Option<HashSet<ObjectKey>>, listed: bool| {
        let key = key_of(object.meta());
        if let Some(unseen) = unseen {
            unseen.remove(&key);
        }
        let new = Arc::new(keep(object));
        let old = store.set(&key, Some(new.clone()));
        // A list repeats what is known: that is no news.
        if !listed || !old.as_ref().is_some_and(|old| same(old, &new)) {
            on(Change { key: &key, old: old.as_ref(), new: Some(&new), listed });
        }
    };
    let remove = |key: &ObjectKey| {
        let old = store.set(key, None);
        on(Change { key, old: old.as_ref(), new: None, listed: false });
    };
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = tokio::time::sleep(silence), if !complete => {
                tracing::debug!(kind, seconds = silence.as_secs(), "no answer to a list; asking anew");
                silence = longest.min(silence * 2);
                stream = Box::pin(open().backoff(Waits::new(kind)));
                continue;
            }
            () = stop.cancelled() => return,
        };
        match event {
            Some(Ok(Event::Init)) => {
                complete = false;
                let entries = store.entries.read().unwrap_or_else(PoisonError::into_inner);
                unseen = Some(entries.keys().cloned().collect());
            }
            Some(Ok(Event::InitApply(object))) => apply(object, &mut unseen, true),
            Some(Ok(Event::InitDone)) => {
                unseen.take().unwrap_or_default().iter().for_each(remove);
                complete = true;
                silence = LIST_SILENCE.0;
                store.listed.store(true, Ordering::Release);
                store.set_health(Health::Synced);
            }
            Some(Ok(Event::Apply(object))) => {
                apply(object, &mut unseen, false);
                complete = true;
                store.set_health(Health::Synced);
            }
            Some(Ok(Event::Delete(object))) => {
                remove(&key_of(object.meta()));
                complete = true;
                store.set_health(Health::Synced);
            }
            Some(Err(error)) => {
                complete = false;
                note_failure(kind, error, store);
            }
            None => return,
        }
    }
}

fn note_failure<T>(kind: &str, error: watcher::Error, store: &Store<T>) {
    let (error, listing) = match error {
        watcher::Error::InitialListFailed(e) => (ApiError::of(e, kind, false), true),
        watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => (ApiError::of(e, kind, false), false),
        watcher::Error::WatchError(status) if status.code == 410 => {
            // The version we stopped at is too old: the watcher lists anew by itself.
            tracing::debug!(kind, "watch is too old and starts anew");
            return;
        }
        watcher::Error::WatchError(status) => (ApiError::of(kube::Error::Api(status), kind, false), false),
        watcher::Error::NoResourceVersion => {
            (ApiError::Decode { what: kind.into(), why: "no resourceVersion".into() }, false)
        }
    };
    if listing && error.is_not_found() {
        if store.health() != Health::Absent {
            tracing::info!(kind, "kind is not installed; waiting for its CRD");
        }
        store.set_health(Health::Absent);
        return;
    }
    if matches!(error, ApiError::Busy(_)) {
        // How a server behaves that is still setting up the kind.
        tracing::info!(kind, reason = error.reason(), %error, "watch is opened again");
    } else {
        tracing::warn!(kind, reason = error.reason(), %error, "watch failed and is opened again");
    }
    store.set_health(Health::Failing(error.reason()));
}

fn key_of(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, version: &str) -> DynamicObject {
        let json = serde_json::json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": name, "resourceVersion": version}});
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn a_relist_reports_what_vanished_and_a_failure_keeps_what_is_known() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(object("a", "1"))),
            Ok(Event::InitApply(object("b", "1"))),
            Ok(Event::InitDone),
            Ok(Event::Apply(object("c", "2"))),
            Ok(Event::Delete(object("b", "2"))),
            Ok(Event::Init),
            Ok(Event::InitApply(object("a", "1"))),
            Ok(Event::InitDone),
            Err(watcher::Error::NoResourceVersion),
        ];
        let store = Store::default();
        let seen = std::sync::Mutex::new(vec![]);
        let on = |change: Change<'_, String>| {
            seen.lock().unwrap().push(format!("{}{}", if change.new.is_some() { "+" } else { "-" }, change.key));
        };
        let keep = |object: DynamicObject| object.metadata.resource_version.unwrap_or_default();
        let events = std::sync::Mutex::new(Some(events));
        let open = || futures::stream::iter(events.lock().unwrap().take().unwrap_or_default());
        follow(open, "A", keep, String::eq, &store, on, CancellationToken::new()).await;
        assert_eq!(*seen.lock().unwrap(), ["+a", "+b", "+c", "-b", "-c"], "an unchanged object is no news");
        assert_eq!(store.len(), 1);
        assert_eq!(store.health(), Health::Failing("UnreadableAnswer"));
        assert!(store.is_settled(), "a watch that breaks goes on without a new list");
    }

    #[test]
    fn of_managed_fields_the_last_change_of_other_than_the_status_is_kept() {
        let entry = |time: &str, subresource: Option<&str>| ManagedFieldsEntry {
            time: time.parse().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time).ok(),
            subresource: subresource.map(str::to_owned),
            manager: Some("m".into()),
            ..Default::default()
        };
        let all = ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"].map(|time| entry(time, None));
        let status = entry("2026-05-01T00:00:00Z", Some("status"));
        let kept = last_change(Some([&all[..], std::slice::from_ref(&status)].concat())).expect("one");
        assert_eq!(kept, [ManagedFieldsEntry { time: all[1].time.clone(), ..Default::default() }]);
        assert_eq!(last_change(Some(vec![status])), None);
        assert_eq!(last_change(None), None);
    }
}
