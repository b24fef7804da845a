//! The series of the sealing keys. Times are Unix timestamps, as Prometheus' own are: `time() - x` is an age.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::operator::metrics::Metrics;
use crate::pure::crd::key_ring::{KeyPhase, KeyRingStatus};
use crate::pure::sealed::keys::{Certificate, SealingKeys};
use crate::pure::sealed::ring::renewal_due;

/// Characters of a fingerprint in a label, `SHA256:` and twelve of base64: 72 bits, which no two keys share by chance.
const PREFIX: usize = 19;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    fingerprint: String,
    secret: String,
    state: &'static str,
}

type Series = Family<KeyLabels, Gauge>;

/// The series. Only the leader has any.
#[derive(Default)]
pub(super) struct RingMetrics {
    entries: Series,
    created: Series,
    expiry: Series,
    renewal: Series,
    backup: Series,
    unopened: Gauge,
    present: Mutex<HashSet<KeyLabels>>,
}

impl RingMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.with(|registry| {
            let mut add = |name: &str, help: &str, series: &Series| registry.register(name, help, series.clone());
            add("latchwork_sealing_key_entries", "Entries of SealedSecrets that a key opens", &this.entries);
            add(
                "latchwork_sealing_key_created_timestamp_seconds",
                "When a key was made, by the time that orders the keys",
                &this.created,
            );
            add("latchwork_sealing_key_expiry_timestamp_seconds", "When its certificate ends", &this.expiry);
            add(
                "latchwork_sealing_key_renewal_timestamp_seconds",
                "When a new key takes the active one's place",
                &this.renewal,
            );
            add(
                "latchwork_sealing_key_backup_timestamp_seconds",
                "When a key was last written into a backup, 0 for never",
                &this.backup,
            );
            registry.register(
                "latchwork_sealed_entries_unopened",
                "Entries of SealedSecrets that no key opens",
                this.unopened.clone(),
            );
        });
        this
    }

    /// Takes all series away: another replica leads and has them.
    pub(super) fn clear(&self) {
        self.keep(HashSet::new());
        self.unopened.set(0);
    }

    /// Sets them all.
    pub(super) fn set(&self, status: &KeyRingStatus, keys: &SealingKeys, period: Duration) {
        let mut present = HashSet::new();
        for key in &status.keys {
            let Some(loaded) = keys.by_name(&key.name) else { continue };
            let labels = KeyLabels {
                fingerprint: key.fingerprint.get(..PREFIX).unwrap_or(&key.fingerprint).to_owned(),
                secret: key.name.clone(),
                state: key.state.word(),
            };
            let set = |series: &Series, value: i64| {
                series.get_or_create(&labels).set(value);
            };
            set(&self.entries, key.entries);
            set(&self.created, loaded.order_time(keys.order()).as_second());
            set(&self.backup, loaded.backups().written.as_ref().map_or(0, |mark| mark.time.as_second()));
            if let Some(end) = loaded.certificate().map(Certificate::not_after) {
                set(&self.expiry, end.as_second());
            }
            match renewal_due(loaded, keys, period).filter(|_| key.state == KeyPhase::Active) {
                Some(due) => set(&self.renewal, due.as_second()),
                None => drop(self.renewal.remove(&labels)),
            }
            present.insert(labels);
        }
        self.unopened.set(status.entries_unopened);
        self.keep(present);
    }

    /// Removes the series of keys that are gone or stand elsewhere now.
    fn keep(&self, present: HashSet<KeyLabels>) {
        let mut known = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&present) {
            for series in [&self.entries, &self.created, &self.expiry, &self.renewal, &self.backup] {
                series.remove(gone);
            }
        }
        *known = present;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::sealed::ring::{Observed, Tally, conclude};

    #[test]
    fn every_series_of_the_alerts_is_exported_and_goes_with_its_key() {
        let read = |name: &str| {
            std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a file of the repository")
        };
        let mut keys = SealingKeys::new();
        let [key, cert] = ["key", "crt"].map(|kind| read(&format!("tests/vectors/sealed/keys/current.{kind}")));
        keys.add_pem("current", key.as_bytes(), Some(cert.as_bytes())).unwrap();
        let tally = Tally { unopened: 3, ..Tally::default() };
        let observed =
            Observed { keys: &keys, tally: &tally, only_in: None, generation: None, now: jiff::Timestamp::UNIX_EPOCH };
        let status = conclude(None, &observed);
        let metrics = Metrics::new();
        let ring = RingMetrics::register(&metrics);
        ring.set(&status, &keys, Duration::from_secs(3600));
        let text = metrics.render().unwrap();
        assert!(text.contains("latchwork_sealed_entries_unopened 3\n"), "{text}");
        let fingerprint = &keys.current().unwrap().fingerprint()[..PREFIX];
        let labels = format!("{{fingerprint=\"{fingerprint}\",secret=\"current\",state=\"active\"}}");
        assert!(text.contains(&format!("latchwork_sealing_key_backup_timestamp_seconds{labels} 0\n")), "{text}");

        // What the alerts ask for exists, with the labels that they select by.
        let alerts: serde_json::Value = serde_saphyr::from_str(&read("deploy/alerts/sealing-keys.yaml")).unwrap();
        let rules: Vec<_> =
            alerts["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()).collect();
        assert!(rules.len() >= 5);
        let name = regex::Regex::new("latchwork_[a-z_]+").unwrap();
        for rule in rules {
            for field in ["alert", "expr", "for"] {
                assert!(rule[field].is_string(), "{rule}");
            }
            assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string());
            let expr = rule["expr"].as_str().unwrap();
            let mut named = 0;
            for series in name.find_iter(expr) {
                named += 1;
                let exported = text
                    .lines()
                    .any(|line| line.strip_prefix(series.as_str()).is_some_and(|rest| rest.starts_with([' ', '{'])));
                assert!(exported, "{} is not exported:\n{text}", series.as_str());
            }
            assert!(named > 0, "{expr}");
            for state in expr.split("state=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let all = [KeyPhase::Active, KeyPhase::Retiring, KeyPhase::Retired, KeyPhase::Compromised];
                assert!(all.iter().any(|phase| phase.word() == state), "{state}");
            }
        }

        ring.set(&status, &SealingKeys::new(), Duration::ZERO);
        assert!(!metrics.render().unwrap().contains("secret=\"current\""));
        ring.clear();
        assert!(!metrics.render().unwrap().contains("unopened 3"));
    }
}
