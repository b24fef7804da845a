//! `SealedSecret`: observe, decide, act, report. What is decided is in `pure::sealed`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;

use super::driver::{Driver, Reconcile};
use super::part::{Context, Part};
use crate::adapters::k8s::events::{EventKind, Note};
use crate::adapters::k8s::seen::{Entry, Packed};
use crate::adapters::k8s::watch::{Change, SecretMeta, Store};
use crate::adapters::k8s::writer::Written;
use crate::adapters::k8s::{ApiError, secrets, status};
use crate::pure::crd::sealed_secret::{IN_FORCE, SealedSecret};
use crate::pure::desired::{GuardPolicy, ObservedSecret, SecretAction};
use crate::pure::error::Explain;
use crate::pure::queue::{Finish, Lane, ObjectKey};
use crate::pure::sealed::decide::{Failure, Outcome, Report, conclude, decide};
use crate::pure::sealed::hints::Learnt;
use crate::pure::sealed::mark::{self, Covered};
use crate::pure::sealed::opener::Effort;
use crate::pure::sealed::unseal::{UnsealOptions, unseal_and_learn};
use crate::pure::sealed::{Hints, SealingKeys, UnsealError, Unsealed};

mod http;
mod keys;
mod looks;
mod metrics;
mod openers;
mod reasons;
mod ring;
mod ring_metrics;
mod watching;

use keys::KeySet;
use looks::{Facts, Looks};
use metrics::SealedMetrics;
use openers::Openers;
use watching::{namespaces, tasks};

const KIND: &str = "SealedSecret";

/// Name of the search for reasons in the metrics.
const REASONS: &str = "SealedSecretReason";

/// Component of the events, as the incumbent's users filter by it.
const COMPONENT: &str = "sealed-secrets";

/// How often a status is written on top of what others wrote meanwhile, before the object's next turn.
const STATUS_TRIES: usize = 5;

/// The SealedSecrets of one watch.
type Objects = Store<Packed<SealedSecret>>;

/// What the reconciler, the watches and the endpoints share.
struct Sealed {
    context: Arc<Context>,
    driver: Arc<Driver>,
    /// Objects that did not open, and nobody knows why.
    reasons: Arc<Driver>,
    /// One for each watch: all namespaces, or one by one.
    stores: Vec<(Option<String>, Arc<Objects>)>,
    keys: Arc<KeySet>,
    hints: RwLock<Hints>,
    /// Metadata of the Secrets of further namespaces; the operator itself has those of its own scope.
    secrets: HashMap<String, Arc<Store<SecretMeta>>>,
    looks: Looks,
    /// When Secrets that were not ours were deleted, for as long as their names are left to others.
    vacated: Mutex<HashMap<ObjectKey, Instant>>,
    metrics: SealedMetrics,
    openers: Openers,
}

/// What came of opening an object, and what was found out on the way.
type Opened = (Result<Unsealed, UnsealError>, Learnt);

/// Makes the part.
pub fn part(context: &Arc<Context>) -> Part {
    let further = namespaces(context).into_iter().flatten();
    let further = further.filter(|namespace| context.settings.watch_namespace.as_ref() != Some(namespace));
    let sealed = Arc::new(Sealed {
        context: context.clone(),
        driver: Driver::new(KIND),
        reasons: Driver::new(REASONS),
        stores: namespaces(context).into_iter().map(|namespace| (namespace, Arc::default())).collect(),
        secrets: further.map(|namespace| (namespace, Arc::default())).collect(),
        keys: Arc::new(KeySet::new(context)),
        hints: RwLock::default(),
        looks: Looks::default(),
        vacated: Mutex::default(),
        metrics: SealedMetrics::register(&context.metrics, context.settings.sealing.omit_object_metrics),
        openers: Openers::start(),
    });
    let ready = {
        let sealed = sealed.clone();
        Arc::new(move || sealed.ready())
    };
    let on_secret = {
        let sealed = sealed.clone();
        move |change: &Change<'_, SecretMeta>| sealed.secret_changed(change)
    };
    Part {
        driver: sealed.driver.clone(),
        reconciler: sealed.clone(),
        tasks: tasks(&sealed),
        waits_for_secrets: false,
        ready,
        on_secret: context.settings.sealing.repair.then(|| Box::new(on_secret) as _),
        routes: Some(http::routes(sealed)),
    }
}

/// Whether the status says that the present generation is in force.
fn in_force(entry: &Entry<SealedSecret>) -> bool {
    let status = entry.object.as_ref().ok().and_then(|object| object.status.as_ref());
    status.is_some_and(|status| {
        status.observed_generation == entry.meta().generation && status.synced().is_some_and(|c| c.status == "True")
    })
}

/// Whether two versions of an object ask for the same.
fn asks_the_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.uid == other.uid
        && one.generation == other.generation
        && one.annotations == other.annotations
        && one.deletion_timestamp.is_some() == other.deletion_timestamp.is_some()
}

impl Sealed {
    /// Whether the last pass of this process left the Secret as it is, for the very same object and keys. The watch may tell
    /// of our own write before its answer has come: such a pass has nothing to do.
    fn is_settled(&self, key: &ObjectKey, facts: &Facts) -> bool {
        self.secret_meta(key).is_some_and(|meta| self.looks.is_settled(key, facts, &meta.resource_version))
    }

    /// The version of the object's Secret, if an earlier process left it as the object asks, and nothing has changed since:
    /// then there is nothing to open, to read or to write.
    fn unchanged(&self, key: &ObjectKey, entry: &Entry<SealedSecret>, keys: &SealingKeys) -> Option<String> {
        let object = entry.object.as_ref().ok()?;
        let mark = object.status.as_ref().and_then(|status| status.condition(IN_FORCE)).filter(|_| in_force(entry))?;
        let meta = self.secret_meta(key)?;
        let covered =
            Covered { uid: &meta.uid, resource_version: &meta.resource_version, settings: self.marked_settings() };
        if !mark::holds(&mark.message, object, covered, keys) {
            return None;
        }
        // Who counts what each key holds need not open it either.
        if let Some(key) = mark::opened_by(&mark.message, keys) {
            self.hints.write().unwrap_or_else(PoisonError::into_inner).remember_all(object, key);
        }
        Some(meta.resource_version.clone())
    }

    fn marked_settings(&self) -> [bool; 2] {
        let sealing = &self.context.settings.sealing;
        [sealing.deprecated_data, sealing.allow_token_types]
    }

    /// Opens on a thread for such work.
    async fn open(&self, object: Arc<Entry<SealedSecret>>, keys: SealingKeys, effort: Effort) -> Option<Opened> {
        let options = UnsealOptions { deprecated_data: self.context.settings.sealing.deprecated_data, effort };
        // Hints are read under a short lock by a copy of what this object needs: the whole map stays shared.
        let hints = self.hints.read().unwrap_or_else(PoisonError::into_inner).for_object(object.object.as_ref().ok()?);
        let opened = self.openers.run(move || {
            let object = object.object.as_ref().ok()?;
            Some(unseal_and_learn(object, &keys, &hints, Timestamp::now(), options))
        });
        opened.await.flatten()
    }

    /// One turn of opening.
    async fn unseal(
        &self,
        object: Arc<Entry<SealedSecret>>,
        keys: SealingKeys,
    ) -> Option<Result<Unsealed, UnsealError>> {
        let (opened, learnt) = self.open(object, keys, Effort::Turn).await?;
        self.hints.write().unwrap_or_else(PoisonError::into_inner).learn(&learnt);
        Some(opened)
    }

    async fn act(&self, key: &ObjectKey, entry: &Arc<Entry<SealedSecret>>, keys: &SealingKeys) -> Result<Acted, Stop> {
        let Ok(object) = &entry.object else { return Err(Stop::Finish(Finish::Stuck)) };
        let opened = self.unseal(entry.clone(), keys.clone()).await;
        if matches!(opened, Some(Err(UnsealError::TurnOver))) {
            return Err(Stop::Finish(Finish::Unfinished));
        }
        let unsealed = match opened {
            Some(Ok(unsealed)) => {
                self.metrics.opened();
                unsealed
            }
            Some(Err(error)) => {
                // One without a reason comes again, with it.
                match error.is_unexplained() {
                    true => self.reasons.add(key.clone(), Lane::Change),
                    false => self.metrics.opened(),
                }
                return Ok(Acted::failed(error.into()));
            }
            None => return Err(Stop::Finish(Finish::Failed)),
        };
        let found = unsealed.found().to_vec();
        let mark = |secret: &ObservedSecret| {
            let (uid, resource_version) = (secret.uid.as_str(), secret.resource_version.as_str());
            let covered = Covered { uid, resource_version, settings: self.marked_settings() };
            mark::make(object, covered, &found, keys)
        };
        let first_look = self.looks.is_first(key);
        let live = match first_look && self.is_absent(key) {
            true => None,
            false => secrets::get(&self.context.cluster, &key.namespace, &key.name).await?,
        };
        if let Some(wait) = self.vacancy(key).filter(|_| live.is_none()) {
            return Err(Stop::Finish(Finish::FailedFor(wait)));
        }
        let policy = GuardPolicy {
            namespace: Some(key.namespace.clone()),
            allow_token_types: self.context.settings.sealing.allow_token_types,
            ..Default::default()
        };
        let action = match decide(object, unsealed, live.as_ref(), &policy) {
            Ok(action) => action,
            Err(failure) => {
                self.looks.saw(key, live.as_ref().map(|live| live.resource_version.as_str()));
                return Ok(Acted::failed(failure));
            }
        };
        if matches!(action, SecretAction::Keep) {
            self.looks.saw(key, live.as_ref().map(|live| live.resource_version.as_str()));
            // Marked anew once in a process only: somebody who goes on writing to a Secret in ways that change nothing must
            // not make us write a status each time.
            let mark = live.as_ref().filter(|_| first_look).and_then(mark);
            return Ok(Acted { outcome: Outcome::Kept, mark });
        }
        match self.context.writer.carry_out(&action).await {
            Ok(Written::Stored(stored)) => {
                self.looks.saw(key, Some(&stored.resource_version));
                Ok(Acted { outcome: Outcome::Written, mark: mark(&stored) })
            }
            Ok(Written::Kept | Written::Deleted) => Ok(Acted { outcome: Outcome::Kept, mark: None }),
            Err(error) if error.is_conflict() => {
                self.looks.met(key);
                Err(Stop::Finish(Finish::Again))
            }
            // A refusal belongs into the status; a server that is away does not, since it is no property of the object.
            Err(error @ (ApiError::Invalid { .. } | ApiError::Denied { .. })) => {
                Ok(Acted::failed(Failure::api(object, &error.to_string(), error.retry())))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn report(&self, key: &ObjectKey, object: &SealedSecret, acted: &Acted) -> Result<(), Stop> {
        let Acted { outcome, mark } = acted;
        if let Outcome::Failed(failure) = outcome {
            self.metrics.failed(failure.metric(), &key.namespace);
            tracing::warn!(object = %key, reason = failure.reason(), "{}", failure.line());
        }
        self.metrics.observe(key, object, acted.is_settled());
        let mut report = conclude(object, outcome, mark.clone(), Timestamp::now());
        let written = match self.context.settings.sealing.update_status {
            true => self.write_status(key, object, acted, &mut report).await,
            false => Ok(()),
        };
        // What is to be looked at again is reported then.
        if let Some(event) = report.event.filter(|_| !matches!(written, Err(Stop::Finish(_)))) {
            self.context.events.record(Note {
                about: reference(object),
                kind: if event.warning { EventKind::Warning } else { EventKind::Normal },
                reason: event.reason.into(),
                message: event.message,
                component: COMPONENT,
            });
        }
        written
    }

    /// Where another write of the same object came in between, often that of our last status, which the watch has not told
    /// of yet, what came of the pass still holds: the report is made anew on top of that, and nothing is opened again.
    async fn write_status(
        &self,
        key: &ObjectKey,
        object: &SealedSecret,
        acted: &Acted,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let cluster = &self.context.cluster;
        let mut version = object.metadata.resource_version.clone().unwrap_or_default();
        for _ in 0..STATUS_TRIES {
            let Some(status) = &report.status else { return Ok(()) };
            match status::replace::<SealedSecret>(cluster, &key.namespace, &key.name, &version, status).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    self.metrics.failed("status", &key.namespace);
                    return Err(error.into());
                }
            }
            let api: Api<SealedSecret> = Api::namespaced(cluster.client(), &key.namespace);
            let live = match cluster.call(&format!("SealedSecret {key}"), api.get(&key.name)).await {
                Err(error) if error.is_not_found() => return Ok(()),
                live => live?,
            };
            if !asks_the_same(&live.metadata, &object.metadata) {
                // What is asked for now is on its way through the watch.
                break;
            }
            *report = conclude(&live, &acted.outcome, acted.mark.clone(), Timestamp::now());
            version = live.metadata.resource_version.unwrap_or_default();
        }
        Err(Stop::Finish(Finish::Again))
    }

    async fn gone(&self, key: &ObjectKey) -> Finish {
        self.driver.forget(key);
        self.metrics.forget(key);
        self.looks.forget(key);
        if !self.context.settings.sealing.old_gc {
            return Finish::Settled(None);
        }
        // The incumbent's old way: only a Secret that a SealedSecret controls, so that no foreign one is lost.
        let deleted = async {
            let Some(live) = secrets::get(&self.context.cluster, &key.namespace, &key.name).await? else {
                return Ok(());
            };
            if live.controller().is_none_or(|owner| owner.kind != KIND) {
                return Ok(());
            }
            self.context.writer.delete(&live.namespace, &live.name, &live.uid).await
        };
        match deleted.await {
            Ok(()) => Finish::Settled(None),
            Err(error) => Stop::from(error).finish(key),
        }
    }
}

/// An outcome, and the mark by which the next process will know it.
struct Acted {
    outcome: Outcome,
    mark: Option<String>,
}

impl Acted {
    fn failed(failure: Failure) -> Self {
        Self { outcome: Outcome::Failed(failure), mark: None }
    }

    fn is_settled(&self) -> bool {
        matches!(self.outcome, Outcome::Kept | Outcome::Written)
    }
}

/// A pass that ended without an outcome for the object.
enum Stop {
    Finish(Finish),
    Api(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Stop {
    fn finish(self, key: &ObjectKey) -> Finish {
        match self {
            Self::Finish(finish) => finish,
            Self::Api(ApiError::NotLeading) => Finish::Failed,
            Self::Api(error) => {
                tracing::warn!(object = %key, reason = error.reason(), "{}", error.line());
                Finish::from(error.retry())
            }
        }
    }
}

#[async_trait]
impl Reconcile for Sealed {
    async fn reconcile(&self, key: &ObjectKey, lane: Lane) -> Finish {
        let entry = self.object(key);
        if entry.as_ref().is_some_and(|entry| self.must_wait(key, entry)) {
            return Finish::Settled(None);
        }
        // Further turns of a pass are the same pass.
        if lane != Lane::Search {
            self.metrics.requested();
        }
        let Some(entry) = entry else { return self.gone(key).await };
        let object = match &entry.object {
            Ok(object) => object,
            Err(unreadable) => {
                self.metrics.failed("fetch", "");
                tracing::warn!(object = %key, reason = "Unreadable", "the SealedSecret cannot be read: {}", unreadable.why);
                return Finish::Stuck;
            }
        };
        if entry.meta().deletion_timestamp.is_some() {
            return Finish::Settled(None);
        }
        let (keys, states) = self.keys.current_states();
        let facts = Facts::of(&entry, states, &self.context.fingerprints);
        if self.is_settled(key, &facts) {
            return Finish::Settled(None);
        }
        let first_look = self.looks.is_first(key);
        self.looks.begin(key, facts);
        if let Some(version) = first_look.then(|| self.unchanged(key, &entry, &keys)).flatten() {
            self.looks.saw(key, Some(&version));
            self.looks.settle(key);
            self.metrics.unchanged();
            self.metrics.observe(key, object, true);
            return Finish::Settled(None);
        }
        let acted = match self.act(key, &entry, &keys).await {
            Ok(acted) => acted,
            Err(stop) => return stop.finish(key),
        };
        let finish = match &acted.outcome {
            Outcome::Kept | Outcome::Written => Finish::Settled(None),
            Outcome::Failed(failure) => Finish::from(failure.retry()),
        };
        match self.report(key, object, &acted).await {
            Ok(()) => {
                if acted.is_settled() {
                    self.looks.settle(key);
                }
                finish
            }
            Err(stop) => stop.finish(key),
        }
    }
}

fn reference(object: &SealedSecret) -> ObjectReference {
    let meta = &object.metadata;
    ObjectReference {
        api_version: Some("bitnami.com/v1alpha1".into()),
        kind: Some(KIND.into()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..Default::default()
    }
}
