//! When values are read again.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{ExternalError, gohash, windows};
use crate::pure::crd::external_secret::{ExternalSecret, RefreshPolicy};
use crate::pure::duration;

/// `refreshInterval` when it is absent.
const DEFAULT_INTERVAL: i64 = 3600 * 1_000_000_000;

/// How soon to look again when a window keeps a refresh back: windows open on whole minutes.
const WINDOW_CHECK: Duration = Duration::from_secs(60);

/// Whether values must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Yes.
    Now,
    /// Not before this time has passed; `None` means not before a change.
    Later(Option<Duration>),
}

/// `refreshInterval` in nanoseconds; zero or less means that there is no periodic refresh.
pub fn interval(es: &ExternalSecret) -> Result<i64, ExternalError> {
    match &es.spec.refresh_interval {
        None => Ok(DEFAULT_INTERVAL),
        Some(text) => duration::of_go(text.as_bytes()).map_err(|_| ExternalError::Spec {
            detail: "spec.refreshInterval is not a duration such as 1h or 90s".into(),
        }),
    }
}

/// What `status.syncedResourceVersion` says for the object as it is now.
pub fn synced_version(es: &ExternalSecret) -> String {
    let empty = Default::default();
    let annotations = es.metadata.annotations.as_ref().unwrap_or(&empty);
    let labels = es.metadata.labels.as_ref().unwrap_or(&empty);
    format!("{}-{}", es.metadata.generation.unwrap_or_default(), gohash::of_metadata(annotations, labels))
}

/// Whether values must be read, by policy, interval, windows, and whether the object changed since the last read.
pub fn due(es: &ExternalSecret, now: Timestamp) -> Result<Due, ExternalError> {
    let status = es.status.as_ref();
    let read = status.and_then(|status| status.refresh_time.as_ref()).map(|time| time.0);
    let synced = status.and_then(|status| status.synced_resource_version.as_deref()).unwrap_or_default();
    let changed = synced != synced_version(es);
    let policy = es.spec.refresh_policy.unwrap_or_default();
    let Some(read) = read.filter(|_| !synced.is_empty() || policy == RefreshPolicy::Periodic) else {
        return Ok(Due::Now);
    };
    match policy {
        RefreshPolicy::CreatedOnce => Ok(Due::Later(None)),
        RefreshPolicy::OnChange => Ok(if changed { Due::Now } else { Due::Later(None) }),
        RefreshPolicy::Periodic => {
            let interval = interval(es)?;
            // Interval 0 means once, whatever changes; a deleted or edited Secret is repaired all the same.
            if interval <= 0 && !synced.is_empty() {
                return Ok(Due::Later(None));
            }
            if changed || read > now {
                return Ok(Due::Now);
            }
            let since = now.as_nanosecond() - read.as_nanosecond();
            let left = i128::from(interval) - since;
            // Expired only once the interval has passed entirely.
            if left >= 0 {
                // A nanosecond more than zero, so that the next look finds it expired.
                return Ok(Due::Later(Some(nanos(left.max(1_000_000)))));
            }
            match &es.spec.sync_windows {
                Some(windows) if !windows::open(windows, now) => Ok(Due::Later(Some(WINDOW_CHECK))),
                _ => Ok(Due::Now),
            }
        }
    }
}

/// Time until the next periodic refresh after a read at this very moment.
pub fn next(es: &ExternalSecret) -> Option<Duration> {
    if es.spec.refresh_policy.unwrap_or_default() != RefreshPolicy::Periodic {
        return None;
    }
    interval(es).ok().filter(|interval| *interval > 0).map(|interval| nanos(i128::from(interval)))
}

fn nanos(value: i128) -> Duration {
    Duration::from_nanos(u64::try_from(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::external_secret;
    use super::*;

    #[test]
    fn a_version_is_generation_and_metadata() {
        let es = external_secret(serde_json::json!({}));
        assert_eq!(synced_version(&es), "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2");
    }

    #[test]
    fn due_follows_policy_interval_and_changes() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("time");
        let ago = |seconds: i64| format!("{}", now - jiff::SignedDuration::from_secs(seconds));
        let same = "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2";
        let later = |seconds| Due::Later(Some(Duration::from_secs(seconds)));
        let never = Due::Later(None);
        for (spec, read, version, want) in [
            (serde_json::json!({}), None, "", Due::Now),
            (serde_json::json!({}), Some(ago(600)), same, later(3000)),
            (serde_json::json!({}), Some(ago(3601)), same, Due::Now),
            (serde_json::json!({}), Some(ago(600)), "1-other", Due::Now),
            (serde_json::json!({}), Some(ago(-5)), same, Due::Now),
            (serde_json::json!({"refreshInterval": "15m"}), Some(ago(600)), same, later(300)),
            (serde_json::json!({"refreshInterval": "0"}), Some(ago(600)), "1-other", never),
            (serde_json::json!({"refreshInterval": "0"}), Some(ago(600)), "", Due::Now),
            (serde_json::json!({"refreshInterval": "0"}), None, "", Due::Now),
            (serde_json::json!({"refreshPolicy": "CreatedOnce"}), Some(ago(9999)), "1-other", never),
            (serde_json::json!({"refreshPolicy": "CreatedOnce"}), None, "", Due::Now),
            (serde_json::json!({"refreshPolicy": "OnChange"}), Some(ago(9999)), same, never),
            (serde_json::json!({"refreshPolicy": "OnChange"}), Some(ago(1)), "1-other", Due::Now),
            (
                serde_json::json!({"syncWindows": {"kind": "allow", "windows": [{"schedule": "0 3 * * *", "duration": "1h"}]}}),
                Some(ago(9999)),
                same,
                Due::Later(Some(WINDOW_CHECK)),
            ),
            (
                serde_json::json!({"syncWindows": {"kind": "deny", "windows": [{"schedule": "0 3 * * *", "duration": "1h"}]}}),
                Some(ago(9999)),
                same,
                Due::Now,
            ),
        ] {
            let mut es = external_secret(spec.clone());
            es.status = serde_json::from_value(serde_json::json!({
                "refreshTime": read, "syncedResourceVersion": version,
            }))
            .expect("status");
            assert_eq!(due(&es, now), Ok(want), "{spec} {read:?} {version}");
        }
    }
}
