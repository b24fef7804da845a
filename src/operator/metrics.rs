//! The metrics registry and the series that all kinds share. A kind registers its incumbent's names beside them.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::pure::queue::Finish;

/// Labels of a reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

/// Labels of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    kind: &'static str,
    lane: &'static str,
}

/// Labels of a duration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The registry with the shared series in it.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    depth: Family<QueueLabels, Gauge>,
    leader: Gauge,
}

impl Metrics {
    /// A registry with the shared series.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let reconciles = Family::default();
        // 1 ms to about 16 s.
        let seconds: Family<KindLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 8)));
        let (depth, leader) = (Family::default(), Gauge::<i64>::default());
        registry.register("latchwork_reconciles", "Reconciles by kind and result", reconciles.clone());
        registry.register("latchwork_reconcile_seconds", "Duration of a reconcile", seconds.clone());
        registry.register("latchwork_queue_depth", "Objects that wait, by kind and lane", depth.clone());
        registry.register("latchwork_leader", "1 while this replica leads", leader.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("latchwork_build", "Version of the program", build);
        Arc::new(Self { registry: Mutex::new(registry), reconciles, seconds, depth, leader })
    }

    /// Registers a kind's own series: `metrics.with(|registry| registry.register(…))`.
    pub fn with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, kind: &'static str, finish: &Finish, took: Duration) {
        let result = match finish {
            Finish::Settled(_) => "settled",
            Finish::Again => "again",
            Finish::Failed | Finish::FailedFor(_) => "failed",
            Finish::Stuck => "stuck",
        };
        self.reconciles.get_or_create(&ReconcileLabels { kind, result }).inc();
        self.seconds.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
    }

    /// Sets the depth of one lane.
    pub fn queue_depth(&self, kind: &'static str, lane: &'static str, depth: usize) {
        self.depth.get_or_create(&QueueLabels { kind, lane }).set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Says whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The exposition text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// A gauge of fractions, for the incumbents' series that need one.
pub type FloatGauge = Gauge<f64, AtomicU64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_series_are_exposed_under_their_names() {
        let metrics = Metrics::new();
        metrics.reconciled("SealedSecret", &Finish::Settled(None), Duration::from_millis(3));
        metrics.queue_depth("SealedSecret", "change", 2);
        metrics.leads(true);
        let text = metrics.render().unwrap();
        for line in [
            "latchwork_reconciles_total{kind=\"SealedSecret\",result=\"settled\"} 1",
            "latchwork_reconcile_seconds_count{kind=\"SealedSecret\"} 1",
            "latchwork_queue_depth{kind=\"SealedSecret\",lane=\"change\"} 2",
            "latchwork_leader 1",
            concat!("latchwork_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} missing in\n{text}");
        }
    }
}
