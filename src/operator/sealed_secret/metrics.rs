//! The incumbent's series, under its names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::operator::metrics::Metrics;
use crate::pure::crd::sealed_secret::{SYNCED, SealedSecret};
use crate::pure::queue::ObjectKey;

// Fields are written in this order, and client_golang sorts labels: whoever looks for a line of text finds it.

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    namespace: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    condition: &'static str,
    name: String,
    namespace: String,
    ss_app_kubernetes_io_instance: String,
}

impl ConditionLabels {
    fn of(key: &ObjectKey, instance: String) -> Self {
        let (name, namespace) = (key.name.clone(), key.namespace.clone());
        Self { condition: SYNCED, name, namespace, ss_app_kubernetes_io_instance: instance }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    revision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    method: &'static str,
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    method: &'static str,
    path: &'static str,
}

/// The series.
pub(super) struct SealedMetrics {
    requests: Counter,
    opened: Counter,
    unchanged: Counter,
    errors: Family<ErrorLabels, Counter>,
    conditions: Family<ConditionLabels, Gauge>,
    http: Family<RequestLabels, Counter>,
    http_seconds: Family<DurationLabels, Histogram, fn() -> Histogram>,
    /// Leaves out what names objects: whoever can scrape would learn every name.
    omit_objects: bool,
    /// The instance of each object that has a series, to take that away with it.
    instances: Mutex<HashMap<ObjectKey, String>>,
}

impl SealedMetrics {
    pub(super) fn register(metrics: &Metrics, omit_objects: bool) -> Self {
        /// client_golang's default buckets, in seconds.
        const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let this = Self {
            requests: Counter::default(),
            opened: Counter::default(),
            unchanged: Counter::default(),
            errors: Family::default(),
            conditions: Family::default(),
            http: Family::default(),
            http_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            omit_objects,
            instances: Mutex::default(),
        };
        metrics.with(|registry| {
            let help = "SealedSecrets whose values were opened, each with one private-key operation or more a value";
            registry.register("latchwork_sealed_opened", help, this.opened.clone());
            let help = "SealedSecrets that a start found in force and did not open";
            registry.register("latchwork_sealed_unchanged", help, this.unchanged.clone());
            let registry = registry.sub_registry_with_prefix("sealed_secrets_controller");
            let build = Family::<BuildLabels, Gauge>::default();
            build.get_or_create(&BuildLabels { revision: env!("CARGO_PKG_VERSION") }).set(0);
            registry.register("build_info", "Build information", build);
            registry.register(
                "unseal_requests",
                "Total number of sealed secret unseal requests",
                this.requests.clone(),
            );
            registry.register(
                "unseal_errors",
                "Total number of sealed secret unseal errors by reason",
                this.errors.clone(),
            );
            registry.register(
                "condition_info",
                "Condition of a SealedSecret: 1 true, -1 false, 0 unknown",
                this.conditions.clone(),
            );
            registry.register("http_requests", "HTTP requests by path, code and method", this.http.clone());
            registry.register("http_request_duration_seconds", "Duration of HTTP requests", this.http_seconds.clone());
        });
        this
    }

    pub(super) fn requested(&self) {
        self.requests.inc();
    }

    pub(super) fn opened(&self) {
        self.opened.inc();
    }

    pub(super) fn unchanged(&self) {
        self.unchanged.inc();
    }

    pub(super) fn failed(&self, reason: &'static str, namespace: &str) {
        self.errors.get_or_create(&ErrorLabels { reason, namespace: namespace.into() }).inc();
    }

    /// Sets the condition of an object.
    pub(super) fn observe(&self, key: &ObjectKey, object: &SealedSecret, synced: bool) {
        if self.omit_objects {
            return;
        }
        let instance = object.metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/instance"));
        let instance = instance.cloned().unwrap_or_default();
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let old = instances.insert(key.clone(), instance.clone());
        if let Some(old) = old.filter(|old| *old != instance) {
            self.conditions.remove(&ConditionLabels::of(key, old));
        }
        self.conditions.get_or_create(&ConditionLabels::of(key, instance)).set(if synced { 1 } else { -1 });
    }

    /// Takes the series of a deleted object away.
    pub(super) fn forget(&self, key: &ObjectKey) {
        if let Some(instance) = self.instances.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            self.conditions.remove(&ConditionLabels::of(key, instance));
        }
    }

    /// Counts one HTTP request.
    pub(super) fn served(&self, path: &'static str, method: &str, code: u16, took: Duration) {
        let method = known(method);
        self.http_seconds.get_or_create(&DurationLabels { method, path }).observe(took.as_secs_f64());
        self.http.get_or_create(&RequestLabels { code, method, path }).inc();
    }
}

/// The method as the incumbent names it. Whoever calls may invent one, and each would be a series that stays.
fn known(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["get", "put", "head", "post", "delete", "connect", "options", "trace", "patch"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(method)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_incumbents_names_and_go_with_their_object() {
        let metrics = Metrics::new();
        let sealed = SealedMetrics::register(&metrics, false);
        let object: SealedSecret = serde_json::from_value(serde_json::json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": { "encryptedData": {} },
            "metadata": { "name": "s", "namespace": "n", "labels": { "app.kubernetes.io/instance": "i" } },
        }))
        .unwrap();
        let key = ObjectKey::new("n", "s");
        sealed.requested();
        sealed.failed("unseal", "n");
        sealed.observe(&key, &object, false);
        sealed.served("/v1/verify", "POST", 409, Duration::from_millis(7));
        sealed.served("/v1/verify", "INVENTED", 500, Duration::from_millis(7));
        let text = metrics.render().unwrap();
        let condition = "sealed_secrets_controller_condition_info{condition=\"Synced\",name=\"s\",namespace=\"n\",ss_app_kubernetes_io_instance=\"i\"}";
        for line in [
            &format!("{condition} -1"),
            "sealed_secrets_controller_unseal_requests_total 1",
            "sealed_secrets_controller_unseal_errors_total{namespace=\"n\",reason=\"unseal\"} 1",
            concat!("sealed_secrets_controller_build_info{revision=\"", env!("CARGO_PKG_VERSION"), "\"} 0"),
            "sealed_secrets_controller_http_requests_total{code=\"500\",method=\"unknown\",path=\"/v1/verify\"} 1",
            "sealed_secrets_controller_http_requests_total{code=\"409\",method=\"post\",path=\"/v1/verify\"} 1",
            "sealed_secrets_controller_http_request_duration_seconds_bucket{le=\"0.01\",method=\"post\",path=\"/v1/verify\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} missing in\n{text}");
        }
        sealed.observe(&key, &object, true);
        assert!(metrics.render().unwrap().contains(&format!("{condition} 1")));
        sealed.forget(&key);
        assert!(!metrics.render().unwrap().contains(condition));

        let metrics = Metrics::new();
        let sealed = SealedMetrics::register(&metrics, true);
        sealed.observe(&key, &object, true);
        assert!(!metrics.render().unwrap().contains("condition_info{"), "no names where none are wanted");
    }
}
