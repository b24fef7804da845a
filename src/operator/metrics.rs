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
            Finish::Unfinished => "unfinished",
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

    /// The exposition in the classic text format (version 0.0.4), which the incumbents serve: a counter's type stands
    /// under the name of its samples.
    pub fn render_classic(&self) -> Result<String, std::fmt::Error> {
        self.render().map(|text| classic(&text))
    }

    /// The exposition as OpenMetrics.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// Counters of the incumbents whose names do not end in `_total`, which OpenMetrics has no way to say: they are
/// registered as gauges and shown as what they are.
const PLAIN_COUNTERS: [&str; 2] = ["externalsecret_sync_calls_error", "externalsecret_provider_api_calls_count"];

fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // HELP stands before TYPE, and only TYPE says how the samples are called.
    let mut help = None;
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), said) => help = Some((name, said.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (name, kind) = match kind {
                    "counter" => (format!("{name}_total"), kind),
                    "info" => (format!("{name}_info"), "gauge"),
                    "gauge" if PLAIN_COUNTERS.contains(&name) => (name.to_owned(), "counter"),
                    "unknown" => (name.to_owned(), "untyped"),
                    _ => (name.to_owned(), kind),
                };
                if let Some((_, said)) = help.take() {
                    out.push_str(&format!("# HELP {name} {said}\n"));
                }
                out.push_str(&format!("# TYPE {name} {kind}\n"));
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            _ => {
                match bucket(line) {
                    Some(moved) => out.push_str(&moved),
                    None => out.push_str(line),
                }
                out.push('\n');
            }
        }
    }
    out
}

/// A bucket's line as client_golang writes it: the limit is the last label, and a whole number has no fraction.
fn bucket(line: &str) -> Option<String> {
    let (name, rest) = line.split_once("_bucket{le=\"")?;
    let (limit, rest) = rest.split_once('"')?;
    let (labels, value) = rest.rsplit_once('}')?;
    let labels = labels.strip_prefix(',').map(|labels| format!("{labels},")).unwrap_or_default();
    let limit = limit.strip_suffix(".0").unwrap_or(limit);
    Some(format!("{name}_bucket{{{labels}le=\"{limit}\"}}{value}"))
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
        let text = metrics.render_classic().unwrap();
        for line in [
            "# TYPE latchwork_reconciles_total counter",
            "# HELP latchwork_reconciles_total Reconciles by kind and result.",
            "latchwork_reconciles_total{kind=\"SealedSecret\",result=\"settled\"} 1",
            "# TYPE latchwork_build_info gauge",
            "# TYPE latchwork_reconcile_seconds histogram",
            "latchwork_reconcile_seconds_bucket{kind=\"SealedSecret\",le=\"0.004\"} 1",
            "latchwork_reconcile_seconds_bucket{kind=\"SealedSecret\",le=\"+Inf\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} missing in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }
}
