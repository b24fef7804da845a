//! SecretStore and ClusterSecretStore: each is validated now and then, and its `Ready` condition tells ExternalSecrets
//! whether to use it. One queue serves both kinds; a key without a namespace is a ClusterSecretStore.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::driver::{Driver, Reconcile};
use super::part::{Context, Part};
use super::stores::{Known, News, Stores};
use crate::adapters::k8s::events::{EventKind, Note};
use crate::adapters::k8s::watch::{Change, SecretMeta};
use crate::adapters::k8s::{ApiError, status};
use crate::adapters::stores::{StoreError, Validity, no_count};
use crate::pure::crd::external_secret::StoreKind;
use crate::pure::crd::secret_store::{ClusterSecretStore, SecretStore, StoreStatus};
use crate::pure::error::{Explain, Retry};
use crate::pure::external::StoreId;
use crate::pure::external::store::{self, Validation};
use crate::pure::queue::{Finish, Lane, ObjectKey};

const KIND: &str = "SecretStore";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
}

/// The incumbent's series of one of the two kinds.
#[derive(Default)]
struct Series {
    condition: Family<ConditionLabels, Gauge>,
    duration: Family<StoreLabels, Gauge>,
}

struct StoreKindPart {
    context: Arc<Context>,
    driver: Arc<Driver>,
    stores: Arc<Stores>,
    /// Status as last written, with the version of the store it was written for: the watch may lag behind.
    written: Mutex<HashMap<ObjectKey, (String, StoreStatus)>>,
    namespaced: Series,
    cluster: Series,
}

/// Makes the part.
pub fn part(context: &Arc<Context>) -> Part {
    let this = Arc::new(StoreKindPart {
        context: context.clone(),
        driver: Driver::new(KIND),
        stores: Stores::new(context, no_count()),
        written: Mutex::default(),
        namespaced: Series::default(),
        cluster: Series::default(),
    });
    context.metrics.with(|registry| {
        for (prefix, series) in [("secretstore", &this.namespaced), ("clustersecretstore", &this.cluster)] {
            let registry = registry.sub_registry_with_prefix(prefix);
            registry.register("status_condition", "Condition of a store", series.condition.clone());
            registry.register("reconcile_duration", "Nanoseconds of the last pass", series.duration.clone());
        }
    });
    let watched = {
        let this = this.clone();
        async move {
            let driver = this.driver.clone();
            // Readiness is what this part writes itself.
            let on = move |id: StoreId, news: News| {
                if news == News::Spec {
                    driver.add(ObjectKey::new(id.namespace, id.name), Lane::Change);
                }
            };
            this.stores.clone().watch(on).await;
        }
    };
    let ready = {
        let this = this.clone();
        Arc::new(move || this.stores.ready())
    };
    let on_secret = {
        let this = this.clone();
        move |change: &Change<'_, SecretMeta>| {
            for (id, _) in this.stores.that_use(change.key) {
                this.driver.add(ObjectKey::new(id.namespace, id.name), Lane::Change);
            }
        }
    };
    Part {
        driver: this.driver.clone(),
        reconciler: this,
        tasks: vec![Box::pin(watched)],
        waits_for_secrets: true,
        ready,
        on_secret: Some(Box::new(on_secret)),
        routes: None,
    }
}

#[async_trait]
impl Reconcile for StoreKindPart {
    async fn reconcile(&self, key: &ObjectKey, _lane: Lane) -> Finish {
        let started = Instant::now();
        let kind = if key.namespace.is_empty() { StoreKind::ClusterSecretStore } else { StoreKind::SecretStore };
        let id = StoreId { kind, namespace: key.namespace.clone(), name: key.name.clone() };
        let series = if key.namespace.is_empty() { &self.cluster } else { &self.namespaced };
        let Some(known) = self.stores.get(&id) else {
            self.forget(key, series);
            return Finish::Settled(None);
        };
        if !store::is_ours(&known.spec) {
            return Finish::Settled(None);
        }
        let finish = self.validate(key, &id, known, series).await;
        let labels = StoreLabels { name: key.name.clone(), namespace: key.namespace.clone() };
        series.duration.get_or_create(&labels).set(i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX));
        finish
    }
}

impl StoreKindPart {
    async fn validate(&self, key: &ObjectKey, id: &StoreId, known: Known, series: &Series) -> Finish {
        let (validation, error) = match self.look(id, &known).await {
            Ok(Validity::Valid) => (Validation::Valid, None),
            Ok(Validity::Unknown) => (Validation::Unknown, None),
            Err((validation, error)) => (validation, Some(error)),
        };
        let before = self.status_before(key, &known);
        let status = store::conclude(before.as_ref(), validation, Timestamp::now());
        if before.as_ref() != Some(&status) {
            if let Err(failure) = self.write(id, &status).await {
                tracing::warn!(store = %id, reason = failure.reason(), error = %failure, "status not written");
                return Finish::Failed;
            }
            self.note(id, &known.uid, validation, error.as_ref());
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.insert(key.clone(), (known.version.clone(), status));
        }
        let (ready, ..) = validation.condition();
        self.observe(key, series, ready);
        match error {
            None => Finish::Settled(store::interval(&known.spec).ok()),
            Some(error) => {
                tracing::warn!(store = %id, reason = error.reason(), error = %error.line(), "store not valid");
                match error.retry() {
                    Retry::OnChange => Finish::Stuck,
                    Retry::Backoff => Finish::Failed,
                    Retry::After(wait) => Finish::FailedFor(wait),
                }
            }
        }
    }

    async fn look(&self, id: &StoreId, known: &Known) -> Result<Validity, (Validation, StoreError)> {
        if let Err(detail) = store::interval(&known.spec) {
            let error = StoreError::Config { store: id.to_string(), detail: detail.into() };
            return Err((Validation::NoClient, error));
        }
        if store::is_referent(id, &known.spec) {
            return Ok(Validity::Valid);
        }
        let client = self.stores.connect(id, &id.namespace).await.map_err(|e| (Validation::NoClient, e))?;
        client.validate().await.map_err(|e| (Validation::Failed, e))
    }

    /// The newer of what the watch has and what was written last.
    fn status_before(&self, key: &ObjectKey, known: &Known) -> Option<StoreStatus> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(key) {
            Some((version, status)) if *version == known.version && known.status.is_none() => Some(status.clone()),
            _ => known.status.clone(),
        }
    }

    async fn write(&self, id: &StoreId, status: &StoreStatus) -> Result<(), ApiError> {
        let cluster = &self.context.cluster;
        if id.kind == StoreKind::SecretStore {
            return status::patch::<SecretStore>(cluster, &id.namespace, &id.name, status).await;
        }
        let api: Api<ClusterSecretStore> = Api::all(cluster.client());
        let body = Patch::Merge(serde_json::json!({ "status": status }));
        let params = PatchParams { field_manager: Some("latchwork".into()), ..Default::default() };
        cluster.call(&id.to_string(), api.patch_status(&id.name, &params, &body)).await.map(drop)
    }

    /// One event per change, where the incumbent sends one per validation.
    fn note(&self, id: &StoreId, uid: &str, validation: Validation, error: Option<&StoreError>) {
        let (_, reason, message) = validation.condition();
        let (kind, component) = match id.kind {
            StoreKind::SecretStore => ("SecretStore", "secret-store"),
            StoreKind::ClusterSecretStore => ("ClusterSecretStore", "cluster-secret-store"),
        };
        self.context.events.record(Note {
            about: ObjectReference {
                api_version: Some("external-secrets.io/v1".into()),
                kind: Some(kind.into()),
                name: Some(id.name.clone()),
                uid: Some(uid.to_owned()),
                namespace: Some(id.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                ..Default::default()
            },
            kind: if error.is_none() { EventKind::Normal } else { EventKind::Warning },
            reason: reason.into(),
            message: error.map_or_else(|| message.to_owned(), Explain::line),
            component,
        });
    }

    fn observe(&self, key: &ObjectKey, series: &Series, ready: bool) {
        for (status, holds) in [("True", ready), ("False", !ready)] {
            let labels = ConditionLabels {
                name: key.name.clone(),
                namespace: key.namespace.clone(),
                condition: "Ready",
                status,
            };
            series.condition.get_or_create(&labels).set(i64::from(holds));
        }
    }

    fn forget(&self, key: &ObjectKey, series: &Series) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        for status in ["True", "False"] {
            let (name, namespace) = (key.name.clone(), key.namespace.clone());
            series.condition.remove(&ConditionLabels { name, namespace, condition: "Ready", status });
        }
        series.duration.remove(&StoreLabels { name: key.name.clone(), namespace: key.namespace.clone() });
    }
}
