//! What is watched, and what each change means for the queue.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::reasons::Reasons;
use super::ring_metrics::RingMetrics;
use super::{Objects, Sealed, asks_the_same, in_force, keys, ring};
use crate::adapters::k8s::seen::{Entry, Packed};
use crate::adapters::k8s::watch::{self, Change, Health, Scope, SecretMeta, Store};
use crate::operator::part::Context;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::queue::{Lane, ObjectKey};

/// How long the name of a deleted Secret that was not ours is left to others. Who replaces a Secret deletes it first, and
/// must not find ours in its place; the incumbent, which is not told of such a deletion, leaves it for longer.
const VACANCY: Duration = Duration::from_secs(1);

/// Where to watch: everywhere, or in the namespaces that were named.
pub(super) fn namespaces(context: &Context) -> BTreeSet<Option<String>> {
    let additional = context.settings.sealing.additional_namespaces.iter().cloned().map(Some);
    match &context.settings.watch_namespace {
        Some(own) => additional.chain([Some(own.clone())]).collect(),
        None => BTreeSet::from([None]),
    }
}

pub(super) fn tasks(sealed: &Arc<Sealed>) -> Vec<BoxFuture<'static, ()>> {
    let context = &sealed.context;
    let mut tasks: Vec<BoxFuture<'static, ()>> = vec![
        Box::pin(keys::watch_keys(context.clone(), sealed.keys.clone())),
        Box::pin(keys::maintain(context.clone(), sealed.keys.clone())),
        Box::pin(requeue_on_new_keys(sealed.clone())),
        Box::pin(find_reasons(sealed.clone())),
        Box::pin(ring::keep(sealed.clone(), RingMetrics::register(&context.metrics))),
    ];
    for (namespace, store) in &sealed.stores {
        tasks.push(Box::pin(watch_objects(sealed.clone(), namespace.clone(), store.clone())));
        tasks.push(Box::pin(requeue_when_listed(sealed.clone(), namespace.clone(), store.clone())));
    }
    // The operator itself watches the Secrets of its own scope; those of further namespaces are this kind's alone.
    for (namespace, store) in sealed.secrets.iter().filter(|_| context.settings.sealing.repair) {
        tasks.push(Box::pin(watch_secrets(sealed.clone(), namespace.clone(), store.clone())));
    }
    tasks
}

async fn watch_objects(sealed: Arc<Sealed>, namespace: Option<String>, store: Arc<Objects>) {
    let scope = Scope { namespace, labels: sealed.context.settings.sealing.label_selector.clone() };
    let (cluster, stop) = (sealed.context.cluster.clone(), sealed.context.stop.clone());
    let on = move |change: Change<'_, Packed<SealedSecret>>| sealed.object_changed(&change);
    watch::objects(cluster, scope, store, on, stop).await;
}

async fn watch_secrets(sealed: Arc<Sealed>, namespace: String, store: Arc<Store<SecretMeta>>) {
    let scope = Scope { namespace: Some(namespace), labels: String::new() };
    let (cluster, stop) = (sealed.context.cluster.clone(), sealed.context.stop.clone());
    let on = move |change: Change<'_, SecretMeta>| sealed.secret_changed(&change);
    watch::secrets(cluster, scope, store, on, stop).await;
}

/// When the first list of Secrets has come, the objects that waited for it get their turn.
async fn requeue_when_listed(sealed: Arc<Sealed>, namespace: Option<String>, store: Arc<Objects>) {
    sealed.secrets_in(namespace.as_deref().unwrap_or_default()).settled().await;
    let waiting = store.keys_where(|key, _| !sealed.looks.knows(key));
    waiting.into_iter().for_each(|key| sealed.driver.add(key, Lane::Refresh));
}

/// One search at a time, while this replica leads.
async fn find_reasons(sealed: Arc<Sealed>) {
    let context = sealed.context.clone();
    let (driver, leadership) = (sealed.reasons.clone(), context.leadership.clone());
    driver.run(Arc::new(Reasons { sealed }), 1, leadership, context.metrics.clone(), context.stop.clone()).await;
}

/// When the set of keys changes, everything that was tried with another one and failed gets another chance at once. What is
/// in the queue already, or comes to its turn before this does, has the new keys anyway.
async fn requeue_on_new_keys(sealed: Arc<Sealed>) {
    let mut changes = sealed.keys.changes();
    while changes.changed().await.is_ok() {
        let (_, states) = sealed.keys.current_states();
        sealed.looks.failed_with_others(&states).into_iter().for_each(|key| sealed.driver.add(key, Lane::Change));
    }
}

/// What a list says may have been so for long: what somebody just changed goes first.
fn lane_of(listed: bool) -> Lane {
    if listed { Lane::Refresh } else { Lane::Change }
}

impl Sealed {
    pub(super) fn ready(&self) -> Result<(), String> {
        let missing = |kind: &str| Err(format!("the first list of {kind} has not arrived"));
        if !self.stores.iter().all(|(_, store)| store.is_settled()) {
            return missing("SealedSecrets");
        }
        if self.context.settings.sealing.repair && !self.secrets.values().all(|store| store.is_settled()) {
            return missing("the Secrets of a further namespace");
        }
        self.keys.ready()
    }

    /// The watched objects among which this one is.
    pub(super) fn store(&self, key: &ObjectKey) -> Option<&Objects> {
        let mut stores = self.stores.iter();
        let found = stores.find(|(namespace, _)| namespace.as_ref().is_none_or(|own| *own == key.namespace));
        found.map(|(_, store)| &**store)
    }

    pub(super) fn object(&self, key: &ObjectKey) -> Option<Arc<Entry<SealedSecret>>> {
        Some(Arc::new(self.store(key)?.get(key)?.unpack()))
    }

    fn object_changed(&self, change: &Change<'_, Packed<SealedSecret>>) {
        let key = change.key.clone();
        match (change.old, change.new) {
            // After a restart most objects are in force: those that are not go first.
            (None, Some(new)) => {
                self.driver.add(key, if in_force(&new.unpack()) { Lane::Refresh } else { Lane::Change })
            }
            (Some(old), Some(new)) => {
                if !asks_the_same(old.unpack().meta(), new.unpack().meta()) {
                    self.driver.add(key, Lane::Change);
                }
            }
            (_, None) => self.driver.add(key, Lane::Change),
        }
    }

    pub(super) fn secret_changed(&self, change: &Change<'_, SecretMeta>) {
        if !self.store(change.key).is_some_and(|store| store.contains(change.key)) {
            return;
        }
        if let (Some(old), None) = (change.old, change.new)
            && !self.is_ours(change.key, old)
        {
            self.vacated.lock().unwrap_or_else(PoisonError::into_inner).insert(change.key.clone(), Instant::now());
            self.driver.add_after(change.key.clone(), Lane::Change, VACANCY);
            return;
        }
        let version = change.new.map(|meta| meta.resource_version.as_str());
        if self.looks.is_news(change.key, version) {
            self.driver.add(change.key.clone(), lane_of(change.listed));
        }
    }

    /// Whether the SealedSecret controls the Secret.
    fn is_ours(&self, key: &ObjectKey, secret: &SecretMeta) -> bool {
        secret.controller.is_some() && secret.controller == self.object(key).and_then(|entry| entry.meta().uid.clone())
    }

    /// How long the name of a Secret that was not ours stays empty still. The live Secret is known to be gone; the watch may
    /// not have told so yet.
    pub(super) fn vacancy(&self, key: &ObjectKey) -> Option<Duration> {
        let since = {
            let mut vacated = self.vacated.lock().unwrap_or_else(PoisonError::into_inner);
            vacated.retain(|_, since| since.elapsed() < VACANCY);
            vacated.get(key).copied()
        };
        match since {
            Some(since) => Some(VACANCY.saturating_sub(since.elapsed())),
            None => self.secret_meta(key).filter(|meta| !self.is_ours(key, meta)).map(|_| VACANCY),
        }
    }

    /// The watched Secrets of a namespace, and of others.
    fn secrets_in(&self, namespace: &str) -> &Store<SecretMeta> {
        self.secrets.get(namespace).unwrap_or(&self.context.secrets)
    }

    pub(super) fn secret_meta(&self, key: &ObjectKey) -> Option<Arc<SecretMeta>> {
        self.secrets_in(&key.namespace).get(key)
    }

    /// Whether the watch knows that there is no such Secret. It may be a moment late: the server refuses to create one that
    /// is there, and then it is asked.
    pub(super) fn is_absent(&self, key: &ObjectKey) -> bool {
        let secrets = self.secrets_in(&key.namespace);
        secrets.is_settled() && secrets.health() == Health::Synced && !secrets.contains(key)
    }

    /// Whether the list of Secrets is to come that tells that there is nothing to do. Everything else begins without it;
    /// [`requeue_when_listed`] brings these back.
    pub(super) fn must_wait(&self, key: &ObjectKey, entry: &Entry<SealedSecret>) -> bool {
        let is_watched = self.context.settings.sealing.repair || !self.secrets.contains_key(&key.namespace);
        is_watched && in_force(entry) && !self.secrets_in(&key.namespace).is_settled()
    }
}
