//! The ring over vectors of the real kubeseal.

use super::*;
use crate::pure::crd::key_ring::Retirement;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::sealed::backup::{BACKUP, BackupMark, VERIFIED, key_set};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

fn vector(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/sealed/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn object(path: &str) -> SealedSecret {
    let text = String::from_utf8(vector(path)).unwrap();
    let mut object: SealedSecret = serde_saphyr::from_str(&text).unwrap();
    object.metadata.uid = Some("u".into());
    object.metadata.generation = Some(1);
    object
}

/// The keys of the vectors, with these labels and annotations.
fn ring(old: &str, annotations: &serde_json::Value) -> SealingKeys {
    let mut keys = SealingKeys::new();
    for (name, label) in [("old", old), ("current", "active")] {
        let entry = |suffix: &str| STANDARD.encode(vector(&format!("keys/{name}.{suffix}")));
        let secret = json!({
            "metadata": { "name": name, "labels": { SEALING_KEY_LABEL: label }, "annotations": annotations,
                "creationTimestamp": "2026-01-01T00:00:00Z" },
            "data": { "tls.key": entry("key"), "tls.crt": entry("crt") },
        });
        let secret = ObservedSecret::from_json(secret.to_string().as_bytes()).unwrap();
        let (key, problem) = SealingKey::from_secret(&secret, false).unwrap();
        assert_eq!(problem, None);
        keys.add(key);
    }
    keys
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn seen<'a>(keys: &'a SealingKeys, tally: &'a Tally, now: &str) -> Observed<'a> {
    Observed { keys, tally, only_in: None, generation: Some(4), now: at(now) }
}

fn fingerprint(keys: &SealingKeys, name: &str) -> KeyFingerprint {
    keys.by_name(name).unwrap().fingerprint().clone()
}

#[test]
fn objects_are_opened_once_and_counted_from_hints_when_they_are_in_force() {
    let keys = ring("active", &json!({}));
    let two = object("sealed/two-keys.yaml");
    let (mut ledger, mut hints) = (Ledger::default(), Hints::default());
    let learnt = ledger.count(&two, &keys, &hints, false);
    assert_eq!(learnt.found.len(), 4, "opened");
    assert!(ledger.knows(&two, &keys, false) && !ledger.knows(&two, &keys, true));
    let tally = ledger.tally();
    assert_eq!(tally.by_key[&fingerprint(&keys, "old")], (3, 1));
    assert_eq!(tally.by_key[&fingerprint(&keys, "current")], (1, 1));

    // In force, with hints: the same count, and nothing opened; a forged text would show otherwise.
    hints.learn(&learnt);
    let mut remembering = Ledger::default();
    assert!(remembering.count(&two, &keys, &hints, true).found.is_empty());
    assert_eq!(remembering.tally(), tally);

    // Renamed: hints know the values, but the object is not in force under its new name.
    let mut renamed = two.clone();
    renamed.metadata.name = Some("renamed".into());
    remembering.count(&renamed, &keys, &hints, false);
    assert_eq!((remembering.tally().unopened, remembering.tally().entries(&fingerprint(&keys, "old"))), (4, 3));
    remembering.retain(|key| key.name != "renamed");
    assert_eq!(remembering.tally(), tally);

    // A scope that changed is another version, although the generation is the same.
    let mut wider = two.clone();
    wider.metadata.annotations = Some([("sealedsecrets.bitnami.com/cluster-wide".into(), "true".into())].into());
    assert!(!ledger.knows(&wider, &keys, false));

    // What opened under no key is tried again when there is another one.
    let mut fewer = SealingKeys::new();
    let (pem, cert) = (vector("keys/current.key"), vector("keys/current.crt"));
    fewer.add_pem("current", &pem, Some(&cert)).unwrap();
    let mut ledger = Ledger::default();
    ledger.count(&two, &fewer, &Hints::default(), false);
    assert_eq!(ledger.tally().unopened, 3);
    assert!(ledger.knows(&two, &fewer, false) && !ledger.knows(&two, &keys, false));
    ledger.count(&two, &keys, &Hints::default(), false);
    assert_eq!(ledger.tally(), tally);
    // And what a key opened is not counted for it any more when it is gone.
    assert!(!ledger.knows(&two, &fewer, false));
    ledger.count(&two, &fewer, &Hints::default(), false);
    assert_eq!(ledger.tally().unopened, 3);
}

#[test]
fn the_status_says_where_each_key_stands() {
    let keys = ring("active", &json!({}));
    let mut ledger = Ledger::default();
    ledger.count(&object("sealed/two-keys.yaml"), &keys, &Hints::default(), false);
    let tally = ledger.tally();
    let status = conclude(None, &seen(&keys, &tally, "2026-06-01T00:00:00Z"));
    assert_eq!(status.active_key.as_deref(), Some("current"));
    assert_eq!((status.key_count, status.entries_on_old_keys, status.entries_unopened), (2, 3, 0));
    let states: Vec<_> =
        status.keys.iter().map(|key| (key.name.as_str(), key.state, key.entries, key.objects)).collect();
    assert_eq!(states, [("current", KeyPhase::Active, 1, 1), ("old", KeyPhase::Retiring, 3, 1)]);
    let condition = |status: &KeyRingStatus, kind: &str| {
        let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    };
    assert_eq!(condition(&status, "Ready").0, "True");
    let message = "in no backup: current, old; run `latchwork keys backup`";
    assert_eq!(condition(&status, "BackedUp"), ("False".into(), "MissingKeys".into(), message.into()));
    assert_eq!(conclude(Some(&status), &seen(&keys, &tally, "2026-06-02T00:00:00Z")), status, "nothing new");

    // Out of use: from now on, and not later.
    let none = Tally::default();
    let unused = conclude(Some(&status), &seen(&keys, &none, "2026-06-03T00:00:00Z"));
    assert_eq!(unused.keys[1].unused_since.as_deref(), Some("2026-06-03T00:00:00Z"));
    let later = conclude(Some(&unused), &seen(&keys, &none, "2026-06-09T00:00:00Z"));
    assert_eq!(later, unused);
    let again = conclude(Some(&unused), &seen(&keys, &tally, "2026-06-09T00:00:00Z"));
    assert_eq!(again.keys[1].unused_since, None);

    for (label, state) in
        [("compromised", KeyPhase::Compromised), ("retired", KeyPhase::Retired), ("x", KeyPhase::Retired)]
    {
        let keys = ring(label, &json!({}));
        assert_eq!(phase(keys.by_name("old").unwrap(), &keys), state, "{label}");
    }
    let empty = SealingKeys::new();
    let status = conclude(None, &seen(&empty, &none, "2026-06-01T00:00:00Z"));
    assert_eq!(
        (condition(&status, "Ready").1, condition(&status, "BackedUp").1),
        ("NoActiveKey".into(), "NoKeys".into())
    );
}

#[test]
fn only_old_unused_keys_in_a_verified_backup_are_retired_and_only_when_asked() {
    let mark = BackupMark { time: at("2026-05-01T00:00:00Z"), recipients: vec!["age1x".into()], key_set: key_set([]) };
    let backed = json!({ BACKUP: serde_json::to_string(&mark).unwrap() });
    let verified = json!({ BACKUP: serde_json::to_string(&mark).unwrap(), VERIFIED: "2026-05-02T00:00:00Z" });
    let asked = KeyRingSpec { retirement: Some(Retirement { unused_for: "48h".into() }), ..Default::default() };
    let none = Tally::default();
    let retired = |spec: &KeyRingSpec, annotations: &serde_json::Value, now: &str, only_in: Option<&str>| {
        let keys = ring("active", annotations);
        let first = conclude(None, &seen(&keys, &none, "2026-06-01T00:00:00Z"));
        let seen = Observed { only_in, ..seen(&keys, &none, now) };
        to_retire(spec, &conclude(Some(&first), &seen), &seen)
    };
    assert_eq!(retired(&asked, &verified, "2026-06-03T00:00:00Z", None), ["old"], "never the active one");
    assert!(retired(&asked, &verified, "2026-06-02T00:00:00Z", None).is_empty(), "too soon");
    assert!(retired(&asked, &backed, "2026-06-03T00:00:00Z", None).is_empty(), "not verified");
    assert!(retired(&asked, &verified, "2026-06-03T00:00:00Z", Some("a")).is_empty(), "only part was seen");
    assert!(retired(&KeyRingSpec::default(), &verified, "2026-06-03T00:00:00Z", None).is_empty(), "nobody asked");

    let keys = ring("active", &verified);
    let status = conclude(None, &seen(&keys, &none, "2026-06-01T00:00:00Z"));
    assert_eq!(status.backup.map(|backup| backup.recipients), Some(vec!["age1x".into()]));
}

#[test]
fn the_spec_goes_before_the_flags() {
    let flags = Duration::from_secs(720 * 3600);
    let asked: KeyRingSpec = serde_json::from_value(json!({ "renewal": { "after": "1h30m" } })).unwrap();
    let never: KeyRingSpec = serde_json::from_value(json!({ "renewal": { "after": "0s" } })).unwrap();
    assert_eq!(renew_period(None, flags), flags);
    assert_eq!(renew_period(Some(&KeyRingSpec::default()), flags), flags);
    assert_eq!(renew_period(Some(&asked), flags), Duration::from_secs(5400));
    assert_eq!(renew_period(Some(&never), flags), Duration::ZERO);
    let keys = ring("active", &json!({}));
    let current = keys.current().unwrap();
    assert_eq!(renewal_due(current, &keys, Duration::ZERO), None);
    let due = renewal_due(current, &keys, flags).unwrap();
    assert_eq!(due.duration_since(current.certificate().unwrap().not_before()).as_secs(), 720 * 3600);
}
