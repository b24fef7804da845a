//! The incumbent's series, under its names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::adapters::stores::OnCall;
use crate::operator::metrics::Metrics;
use crate::pure::queue::ObjectKey;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: &'static str,
    call: &'static str,
    status: &'static str,
}

/// The series. Two of the incumbent's counters have names that OpenMetrics allows to gauges only; as gauges they keep
/// their names, and queries with `rate` or `increase` work on them all the same.
#[derive(Clone, Default)]
pub(super) struct ExternalMetrics {
    calls: Family<ObjectLabels, Counter>,
    errors: Family<ObjectLabels, Gauge>,
    condition: Family<ConditionLabels, Gauge>,
    duration: Family<ObjectLabels, Gauge>,
    provider: Family<CallLabels, Gauge>,
}

fn labels(key: &ObjectKey) -> ObjectLabels {
    ObjectLabels { name: key.name.clone(), namespace: key.namespace.clone() }
}

impl ExternalMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.with(|registry| {
            let registry = registry.sub_registry_with_prefix("externalsecret");
            registry.register("sync_calls", "Syncs of an ExternalSecret", this.calls.clone());
            registry.register("sync_calls_error", "Failed syncs of an ExternalSecret", this.errors.clone());
            registry.register("status_condition", "Condition of an ExternalSecret", this.condition.clone());
            registry.register("reconcile_duration", "Nanoseconds of the last pass", this.duration.clone());
            registry.register("provider_api_calls_count", "Calls to providers", this.provider.clone());
        });
        this
    }

    /// Counts the calls that stores make.
    pub(super) fn on_call(&self) -> OnCall {
        let provider = self.provider.clone();
        Arc::new(move |name, call, worked| {
            let status = if worked { "success" } else { "error" };
            provider.get_or_create(&CallLabels { provider: name, call, status }).inc();
        })
    }

    /// Counts one sync and shows its result.
    pub(super) fn synced(&self, key: &ObjectKey, worked: bool) {
        self.calls.get_or_create(&labels(key)).inc();
        if !worked {
            self.errors.get_or_create(&labels(key)).inc();
        }
        for (status, holds) in [("True", worked), ("False", !worked)] {
            let condition = ConditionLabels {
                name: key.name.clone(),
                namespace: key.namespace.clone(),
                condition: "Ready",
                status,
            };
            self.condition.get_or_create(&condition).set(i64::from(holds));
        }
    }

    /// Shows how long a pass took.
    pub(super) fn took(&self, key: &ObjectKey, took: Duration) {
        self.duration.get_or_create(&labels(key)).set(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX));
    }

    /// Takes the series of a deleted object away.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.calls.remove(&labels(key));
        self.errors.remove(&labels(key));
        self.duration.remove(&labels(key));
        for status in ["True", "False"] {
            let (name, namespace) = (key.name.clone(), key.namespace.clone());
            self.condition.remove(&ConditionLabels { name, namespace, condition: "Ready", status });
        }
    }
}
