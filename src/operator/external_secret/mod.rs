//! `ExternalSecret`: observe, decide, act, report. What is decided is in `pure::external`.

mod metrics;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};

use super::driver::{Driver, Reconcile};
use super::part::{Context, Part};
use super::stores::Stores;
use crate::adapters::k8s::events::{EventKind, Note};
use crate::adapters::k8s::seen::Entry;
use crate::adapters::k8s::watch::{self, Change, SecretMeta, Store};
use crate::adapters::k8s::{ApiError, secrets, status};
use crate::pure::crd::external_secret::{ExternalSecret, ExternalSecretStatus};
use crate::pure::desired::{ObservedSecret, SecretAction, WriteMode};
use crate::pure::error::{Explain, Retry, one_line};
use crate::pure::external::decide::{
    Conclusion, Decision, Observed, Orphan, Outcome, Settlement, Synced, WriteFailure, conclude, decide, settle,
};
use crate::pure::external::templating::{self, SourceKind, Sources};
use crate::pure::external::{self, ExternalError, Fetch, StoreId, ownership, store};
use crate::pure::queue::{Finish, Lane, ObjectKey};
use crate::pure::secret::Plaintext;
use crate::pure::template::TemplateCache;

use metrics::ExternalMetrics;

const KIND: &str = "ExternalSecret";
/// Component of the events, as the incumbent's users filter by it.
const COMPONENT: &str = "external-secrets";
/// Field manager of the finalizer.
const MANAGER: &str = "external-secrets";

/// What the reconciler and the watches share.
struct External {
    context: Arc<Context>,
    driver: Arc<Driver>,
    store: Arc<Store<Entry<ExternalSecret>>>,
    stores: Arc<Stores>,
    /// ExternalSecrets by the Secret that they make.
    targets: Mutex<HashMap<ObjectKey, BTreeSet<ObjectKey>>>,
    /// Status as written last, and the version of the object that it was written over: while the watch still has that
    /// version, this is the newer status. Without it, the event of our own Secret would find the values overdue.
    written: Mutex<HashMap<ObjectKey, (String, ExternalSecretStatus)>>,
    templates: TemplateCache,
    metrics: ExternalMetrics,
}

/// Makes the part.
pub fn part(context: &Arc<Context>) -> Part {
    let metrics = ExternalMetrics::register(&context.metrics);
    let this = Arc::new(External {
        context: context.clone(),
        driver: Driver::new(KIND),
        store: Arc::default(),
        stores: Stores::new(context, metrics.on_call()),
        targets: Mutex::default(),
        written: Mutex::default(),
        templates: TemplateCache::default(),
        metrics,
    });
    let ready = {
        let this = this.clone();
        Arc::new(move || match this.store.is_settled() {
            true => this.stores.ready(),
            false => Err("the first list of ExternalSecrets has not arrived".to_owned()),
        })
    };
    let on_secret = {
        let this = this.clone();
        move |change: &Change<'_, SecretMeta>| this.secret_changed(change)
    };
    Part {
        driver: this.driver.clone(),
        reconciler: this.clone(),
        tasks: vec![Box::pin(watch_objects(this.clone())), Box::pin(watch_stores(this))],
        waits_for_secrets: true,
        ready,
        on_secret: Some(Box::new(on_secret)),
        routes: None,
    }
}

async fn watch_objects(this: Arc<External>) {
    let on = {
        let this = this.clone();
        move |change: Change<'_, Entry<ExternalSecret>>| this.object_changed(&change)
    };
    let (context, stop) = (&this.context, this.context.stop.clone());
    watch::objects(context.cluster.clone(), context.scope(), this.store.clone(), on, stop).await;
}

async fn watch_stores(this: Arc<External>) {
    let on = {
        let this = this.clone();
        move |id: StoreId, _| this.requeue_users(&id, None, Lane::Change)
    };
    this.stores.clone().watch(on).await;
}

impl External {
    fn object_changed(&self, change: &Change<'_, Entry<ExternalSecret>>) {
        let target = |entry: Option<&Arc<Entry<ExternalSecret>>>| {
            let object = entry?.object.as_ref().ok()?;
            Some(ObjectKey::new(change.key.namespace.clone(), object.target_name()))
        };
        let (before, after) = (target(change.old), target(change.new));
        if before != after {
            let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(users) = before.as_ref().and_then(|before| targets.get_mut(before)) {
                users.remove(change.key);
            }
            if let Some(after) = after {
                targets.entry(after).or_default().insert(change.key.clone());
            }
            targets.retain(|_, users| !users.is_empty());
        }
        match (change.old, change.new) {
            // After a restart most objects are in force: those that are not go first.
            (None, Some(new)) => {
                self.driver.add(change.key.clone(), if is_synced(new) { Lane::Refresh } else { Lane::Change });
            }
            (Some(old), Some(new)) => {
                let (old, new) = (old.meta(), new.meta());
                let same = old.uid == new.uid
                    && old.generation == new.generation
                    && old.labels == new.labels
                    && old.annotations == new.annotations
                    && old.finalizers == new.finalizers
                    && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some();
                if !same {
                    self.driver.add(change.key.clone(), Lane::Change);
                }
            }
            (_, None) => self.driver.add(change.key.clone(), Lane::Change),
        }
    }

    /// A Secret that an ExternalSecret makes, or that a store takes its credentials from.
    fn secret_changed(&self, change: &Change<'_, SecretMeta>) {
        // What a list says may have been so for long: what somebody just changed goes first.
        let lane = if change.listed { Lane::Refresh } else { Lane::Change };
        let users = self.targets.lock().unwrap_or_else(PoisonError::into_inner).get(change.key).cloned();
        for key in users.into_iter().flatten() {
            self.driver.add(key, lane);
        }
        for (id, namespace) in self.stores.that_use(change.key) {
            self.requeue_users(&id, namespace.as_deref(), lane);
        }
    }

    /// Gives every ExternalSecret, or those of one namespace, that reads from a store another look; those that are fresh
    /// cost no read.
    fn requeue_users(&self, id: &StoreId, namespace: Option<&str>, lane: Lane) {
        let users = self.store.keys_where(|key, entry| {
            if namespace.is_some_and(|namespace| namespace != key.namespace) {
                return false;
            }
            let plan = entry.object.as_ref().ok().and_then(|object| external::plan(object).ok());
            plan.is_some_and(|plan| plan.iter().any(|fetch| fetch.store == *id))
        });
        for key in users {
            self.driver.add(key, lane);
        }
    }

    /// The object with the newer of the watched and the written status.
    fn observed(&self, key: &ObjectKey, object: &ExternalSecret) -> ExternalSecret {
        let mut object = object.clone();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(key) {
            Some((version, status)) if object.metadata.resource_version.as_ref() == Some(version) => {
                object.status = Some(status.clone());
            }
            Some(_) => drop(written.remove(key)),
            None => {}
        }
        object
    }

    /// Secrets of the namespace that carry this object's owner label.
    fn orphans(&self, es: &ExternalSecret) -> Vec<Orphan> {
        let label = ownership::owner_label(es);
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        let ours = |meta: &SecretMeta| meta.labels.get(ownership::LABEL_OWNER) == Some(&label);
        let keys = self
            .context
            .secrets
            .keys_where(|key, meta| key.namespace == namespace && key.name != es.target_name() && ours(meta));
        keys.into_iter()
            .filter_map(|key| {
                let uid = self.context.secrets.get(&key)?.uid.clone();
                Some(Orphan { name: key.name, uid })
            })
            .collect()
    }

    /// Whether a store that it reads from belongs to another controller. Stores that are missing do not count.
    fn is_foreign(&self, es: &ExternalSecret) -> bool {
        let plan = external::plan(es).unwrap_or_default();
        plan.iter().any(|fetch| self.stores.get(&fetch.store).is_some_and(|known| !store::is_ours(&known.spec)))
    }

    async fn look(&self, key: &ObjectKey, es: &ExternalSecret) -> Result<Finish, ApiError> {
        if es.metadata.deletion_timestamp.is_none() && self.is_foreign(es) {
            return Ok(Finish::Settled(None));
        }
        let secret = secrets::get(&self.context.cluster, &key.namespace, es.target_name()).await?;
        let orphans = self.orphans(es);
        let observed = Observed { secret: secret.as_ref(), orphans: &orphans };
        match decide(es, &observed, Timestamp::now()) {
            Decision::Gone => Ok(Finish::Settled(None)),
            Decision::Fresh(after) => Ok(Finish::Settled(after)),
            Decision::Finalize(action) => {
                self.context.writer.carry_out(&action).await?;
                self.set_finalizer(key, es, false).await?;
                Ok(Finish::Settled(None))
            }
            Decision::AddFinalizer => {
                self.set_finalizer(key, es, true).await?;
                Ok(Finish::Settled(None))
            }
            Decision::Refuse(error) => self.report(key, es, &Outcome::Failed(&error)).await,
            Decision::Fetch(plan) => self.sync(key, es, &observed, &plan).await,
        }
    }

    async fn sync(
        &self,
        key: &ObjectKey,
        es: &ExternalSecret,
        observed: &Observed<'_>,
        plan: &[Fetch],
    ) -> Result<Finish, ApiError> {
        let settlement = match self.values(key, es, observed, plan).await {
            Ok(settlement) => settlement,
            Err(error) => return self.report(key, es, &Outcome::Failed(&error)).await,
        };
        for missing in &settlement.missing {
            self.note(es, EventKind::Normal, "MissingProviderSecret", missing);
        }
        let failed = |what, error: ApiError| match error.is_conflict() {
            // Somebody wrote meanwhile: look again, and decide on what is there now.
            true => Err(error),
            false => {
                // What is refused may come from the store, and be mended there, where no watch sees it.
                let retry = if error.retry() == Retry::OnChange { Retry::Backoff } else { error.retry() };
                Ok(Outcome::WriteFailed { what, detail: error.line(), retry })
            }
        };
        if let Err(error) = self.context.writer.carry_out(&settlement.action).await {
            let what = match settlement.action {
                SecretAction::Delete { .. } => WriteFailure::Delete,
                _ => WriteFailure::Update,
            };
            return self.report(key, es, &failed(what, error)?).await;
        }
        self.note_write(es, &settlement, observed.secret);
        for orphan in &settlement.orphans {
            if let Err(error) = self.context.writer.carry_out(orphan).await {
                return self.report(key, es, &failed(WriteFailure::DeleteOrphan, error)?).await;
            }
            self.note(es, EventKind::Normal, "Deleted", "secret deleted because it was orphaned");
        }
        match &settlement.but {
            Some(error) => self.report(key, es, &Outcome::Failed(error)).await,
            None => self.report(key, es, &Outcome::Synced(settlement.synced)).await,
        }
    }

    async fn values(
        &self,
        key: &ObjectKey,
        es: &ExternalSecret,
        observed: &Observed<'_>,
        plan: &[Fetch],
    ) -> Result<Settlement, ExternalError> {
        let sources = self.sources(key, es).await?;
        let answers = self.stores.fetch(&key.namespace, plan).await?;
        let now = Timestamp::now();
        settle(es, observed, external::collect(es, answers, now)?, &sources, now)
    }

    /// The objects that keep templates, all of the ExternalSecret's own namespace.
    async fn sources(&self, key: &ObjectKey, es: &ExternalSecret) -> Result<Sources, ExternalError> {
        let mut found = Sources::new(&self.templates);
        for source in templating::sources(es) {
            let refuse = |error: &ApiError| ExternalError::Template {
                place: "target.template.templateFrom".into(),
                detail: one_line(&error.to_string()),
            };
            let cluster = &self.context.cluster;
            let data = match source.kind {
                SourceKind::Secret => {
                    let secret = secrets::get(cluster, &key.namespace, &source.name).await.map_err(|e| refuse(&e))?;
                    let missing = || ApiError::NotFound { what: format!("Secret {}/{}", key.namespace, source.name) };
                    secret.ok_or_else(|| refuse(&missing()))?.data
                }
                SourceKind::ConfigMap => {
                    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), &key.namespace);
                    let what = format!("ConfigMap {}/{}", key.namespace, source.name);
                    let object = cluster.call(&what, api.get(&source.name)).await.map_err(|e| refuse(&e))?;
                    let entries = object.data.unwrap_or_default().into_iter();
                    entries.map(|(name, text)| (name, Plaintext::from(text))).collect()
                }
            };
            found.insert(source, data);
        }
        Ok(found)
    }

    /// Writes the status, sends the warning, counts.
    async fn report(&self, key: &ObjectKey, es: &ExternalSecret, outcome: &Outcome<'_>) -> Result<Finish, ApiError> {
        let Conclusion { status, finish, warning } = conclude(es, outcome, Timestamp::now());
        let worked = matches!(outcome, Outcome::Synced(_));
        self.metrics.synced(key, worked);
        if let Some(warning) = &warning {
            let reason = match outcome {
                Outcome::Failed(error) => error.reason(),
                _ => "WriteFailed",
            };
            tracing::warn!(kind = KIND, object = %key, reason, error = %warning, "sync failed");
            self.note(es, EventKind::Warning, "UpdateFailed", warning);
        }
        if es.status.as_ref() != Some(&status) {
            status::patch::<ExternalSecret>(&self.context.cluster, &key.namespace, &key.name, &status).await?;
            if let Some(version) = es.metadata.resource_version.clone() {
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                written.insert(key.clone(), (version, status));
            }
        }
        Ok(finish)
    }

    /// A merge patch of the list alone, so that no field of the spec gets a new owner; the version makes it fail when
    /// somebody else changed the list meanwhile.
    async fn set_finalizer(&self, key: &ObjectKey, es: &ExternalSecret, present: bool) -> Result<(), ApiError> {
        let mut finalizers = es.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != ownership::FINALIZER);
        if present {
            finalizers.push(ownership::FINALIZER.into());
        }
        let patch = Patch::Merge(serde_json::json!({
            "metadata": {"finalizers": finalizers, "resourceVersion": es.metadata.resource_version},
        }));
        let api: Api<ExternalSecret> = Api::namespaced(self.context.cluster.client(), &key.namespace);
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        let what = format!("{KIND} {key}");
        match self.context.cluster.call(&what, api.patch_metadata(&key.name, &params, &patch)).await {
            Err(error) if error.is_not_found() && !present => Ok(()),
            other => other.map(drop),
        }
    }

    fn note_write(&self, es: &ExternalSecret, settlement: &Settlement, before: Option<&ObservedSecret>) {
        let (reason, message) = match &settlement.action {
            SecretAction::Write { how: WriteMode::Create { .. }, .. } => ("Created", "secret created"),
            SecretAction::Write { .. } if before.is_some() => ("Updated", "secret updated"),
            SecretAction::Delete { .. } if settlement.synced == Synced::Deleted => {
                ("Deleted", "secret deleted due to DeletionPolicy=Delete")
            }
            _ => return,
        };
        self.note(es, EventKind::Normal, reason, message);
    }

    fn note(&self, es: &ExternalSecret, kind: EventKind, reason: &str, message: &str) {
        self.context.events.record(Note {
            about: ObjectReference {
                api_version: Some("external-secrets.io/v1".into()),
                kind: Some(KIND.into()),
                name: es.metadata.name.clone(),
                namespace: es.metadata.namespace.clone(),
                uid: es.metadata.uid.clone(),
                resource_version: es.metadata.resource_version.clone(),
                ..Default::default()
            },
            kind,
            reason: reason.into(),
            message: message.into(),
            component: COMPONENT,
        });
    }
}

/// Whether the last read worked.
fn is_synced(entry: &Entry<ExternalSecret>) -> bool {
    let status = entry.object.as_ref().ok().and_then(|object| object.status.as_ref());
    status.is_some_and(|status| status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True"))
}

#[async_trait]
impl Reconcile for External {
    async fn reconcile(&self, key: &ObjectKey, _lane: Lane) -> Finish {
        let started = Instant::now();
        let Some(entry) = self.store.get(key) else {
            self.metrics.forget(key);
            self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Finish::Settled(None);
        };
        let object = match &entry.object {
            Ok(object) => self.observed(key, object),
            Err(unreadable) => {
                tracing::warn!(kind = KIND, object = %key, error = unreadable.why, "object cannot be read");
                return Finish::Stuck;
            }
        };
        let finish = match self.look(key, &object).await {
            Ok(finish) => finish,
            Err(error) if error.is_conflict() => Finish::Again,
            Err(error) => {
                tracing::warn!(kind = KIND, object = %key, reason = error.reason(), error = %error.line(), "sync failed");
                match error.retry() {
                    Retry::After(wait) => Finish::FailedFor(wait),
                    // What the API server refuses once it may take once other objects have changed.
                    _ => Finish::Failed,
                }
            }
        };
        self.metrics.took(key, started.elapsed());
        finish
    }
}
