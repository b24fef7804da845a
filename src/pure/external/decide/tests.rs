use std::sync::Arc;

use super::super::tests::external_secret;
use super::super::{Dialect, Fetched, collect, gohash};
use super::*;
use crate::pure::secret::Plaintext;

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().expect("time")
}

/// An ExternalSecret with one entry `a`, a finalizer, and `target` and `status` as given.
fn es(target: serde_json::Value, status: serde_json::Value) -> ExternalSecret {
    let mut es = external_secret(serde_json::json!({
        "secretStoreRef": {"name": "s"}, "target": target, "refreshInterval": "1h",
        "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
    }));
    es.metadata.finalizers = Some(vec![ownership::FINALIZER.into()]);
    es.status = serde_json::from_value(status).expect("status");
    es
}

fn live(patch: serde_json::Value) -> ObservedSecret {
    let mut json = serde_json::json!({
        "metadata": {"namespace": "team", "name": "db", "uid": "secret-uid", "resourceVersion": "7"},
        "type": "Opaque",
    });
    fn merge(base: &mut serde_json::Value, patch: serde_json::Value) {
        match (base, patch) {
            (serde_json::Value::Object(base), serde_json::Value::Object(patch)) => {
                patch
                    .into_iter()
                    .for_each(|(key, value)| merge(base.entry(key).or_insert(serde_json::Value::Null), value));
            }
            (base, patch) => *base = patch,
        }
    }
    merge(&mut json, patch);
    ObservedSecret::from_json(json.to_string().as_bytes()).expect("a Secret")
}

fn ours() -> serde_json::Value {
    serde_json::json!([{"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db", "uid": "es-uid",
        "controller": true, "blockOwnerDeletion": true}])
}

/// The Secret that `es` with entry a=1 leaves behind.
fn settled() -> ObservedSecret {
    let data = [("a".to_owned(), Plaintext::from("1".to_owned()))].into_iter().collect();
    live(serde_json::json!({
        "metadata": {
            "ownerReferences": ours(),
            "labels": {ownership::LABEL_MANAGED: "true", ownership::LABEL_OWNER: gohash::of_text("team/db")},
            "annotations": {ownership::ANNOTATION_HASH: gohash::of_data(&data)},
        },
        "data": {"a": "MQ=="},
    }))
}

fn word(decision: &Decision) -> String {
    match decision {
        Decision::Finalize(SecretAction::Delete { name, uid, .. }) => format!("finalize, delete {name} {uid}"),
        Decision::Finalize(_) => "finalize".into(),
        Decision::Gone => "gone".into(),
        Decision::AddFinalizer => "add finalizer".into(),
        Decision::Fresh(after) => format!("fresh {:?}", after.map(|a| a.as_secs())),
        Decision::Fetch(plan) => format!("fetch {}", plan.len()),
        Decision::Refuse(error) => error.reason().into(),
    }
}

#[test]
fn values_are_read_only_when_due_or_when_the_secret_is_not_right() {
    let synced = es(serde_json::json!({}), serde_json::json!({}));
    let status = serde_json::json!({
        "refreshTime": "2026-11-24T11:50:00Z", "syncedResourceVersion": refresh::synced_version(&synced),
    });
    let fresh = es(serde_json::json!({}), status.clone());
    let mut deleting = es(serde_json::json!({"deletionPolicy": "Delete"}), status.clone());
    deleting.metadata.deletion_timestamp = Some(Time(now()));
    let mut retained = deleting.clone();
    retained.spec.target = None;
    let mut gone = deleting.clone();
    gone.metadata.finalizers = None;
    let mut new = fresh.clone();
    new.metadata.finalizers = None;
    let mut edited = fresh.clone();
    edited.metadata.annotations = Some([("force-sync".to_owned(), "1".to_owned())].into());
    let mut refused = synced.clone();
    refused.spec.secret_store_ref = None;
    let tampered =
        live(serde_json::json!({"metadata": {"labels": {ownership::LABEL_MANAGED: "true"}}, "data": {"a": "Mg=="}}));
    let foreign = live(serde_json::json!({"metadata": {"ownerReferences": [
        {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db", "uid": "another", "controller": true}]}}));
    let settled = settled();
    for (es, secret, want) in [
        (&new, None, "add finalizer"),
        (&synced, None, "fetch 1"),
        (&fresh, Some(&settled), "fresh Some(3000)"),
        (&fresh, None, "fetch 1"),
        (&fresh, Some(&tampered), "fetch 1"),
        (&edited, Some(&settled), "fetch 1"),
        (&refused, None, "NoStore"),
        (&deleting, Some(&settled), "finalize, delete db secret-uid"),
        (&deleting, Some(&foreign), "finalize"),
        (&deleting, None, "finalize"),
        (&retained, Some(&settled), "finalize"),
        (&gone, Some(&settled), "gone"),
    ] {
        let decision = decide(es, &Observed { secret, orphans: &[] }, now());
        assert_eq!(word(&decision), want);
    }
}

fn run(
    target: serde_json::Value,
    secret: Option<&ObservedSecret>,
    value: Option<&str>,
) -> Result<Settlement, ExternalError> {
    let es = es(target, serde_json::json!({}));
    let answer = match value {
        Some(value) => Ok(Fetched::Value(Arc::new(Plaintext::from(value.to_owned())), Dialect::Aws)),
        None => Err(super::super::StoreError::NotFound { store: "s".into(), key: "k".into() }),
    };
    let orphans = [Orphan { name: "old".into(), uid: "old-uid".into() }, Orphan { name: "db".into(), uid: "x".into() }];
    let collected = collect(&es, vec![answer], now())?;
    settle(&es, &Observed { secret, orphans: &orphans }, collected, &Sources::default(), now())
}

fn action(settlement: &Result<Settlement, ExternalError>) -> String {
    let Ok(settlement) = settlement else {
        return settlement.as_ref().err().map(|e| e.condition_message().to_owned()).unwrap_or_default();
    };
    let entries = |secret: &crate::pure::desired::DesiredSecret| {
        secret
            .data()
            .iter()
            .map(|(k, v)| format!("{k}={}", v.expose_str().unwrap_or("?")))
            .collect::<Vec<_>>()
            .join(",")
    };
    match &settlement.action {
        SecretAction::Keep => format!("keep {:?}", settlement.synced),
        SecretAction::Delete { uid, .. } => format!("delete {uid} {:?}", settlement.synced),
        SecretAction::Write { secret, how: WriteMode::Create { .. } } => format!("create {}", entries(secret)),
        SecretAction::Write { secret, how: WriteMode::Replace { resource_version, .. } } => {
            format!("replace {resource_version} {}", entries(secret))
        }
        SecretAction::Write { .. } => "apply".into(),
    }
}

#[test]
fn the_policies_decide_what_is_written() {
    let settled = settled();
    let foreign = live(serde_json::json!({"data": {"other": "eA=="}}));
    let held = live(serde_json::json!({"data": {"other": "eA==", "gone": "eA=="}, "metadata": {"managedFields": [
        {"manager": "externalsecrets.external-secrets.io/db", "operation": "Update",
         "fieldsV1": {"f:data": {"f:gone": {}}}}]}}));
    let controlled = live(serde_json::json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u", "controller": true}]}}));
    let immutable = live(serde_json::json!({"immutable": true, "data": {"a": "b2xk"}}));
    for (target, secret, value, want) in [
        (serde_json::json!({}), None, Some("1"), "create a=1"),
        (serde_json::json!({}), Some(&settled), Some("1"), "keep Secret"),
        (serde_json::json!({}), Some(&settled), Some("2"), "replace 7 a=2"),
        (serde_json::json!({}), Some(&foreign), Some("1"), "replace 7 a=1"),
        (serde_json::json!({}), Some(&controlled), Some("1"), "failed to take ownership of target secret"),
        (serde_json::json!({"creationPolicy": "Orphan"}), Some(&foreign), Some("1"), "replace 7 a=1"),
        (serde_json::json!({"creationPolicy": "Merge"}), Some(&foreign), Some("1"), "replace 7 a=1,other=x"),
        (serde_json::json!({"creationPolicy": "Merge"}), Some(&held), Some("1"), "replace 7 a=1,other=x"),
        (serde_json::json!({"creationPolicy": "Merge"}), None, Some("1"), "keep MergeTargetMissing"),
        (serde_json::json!({"creationPolicy": "CreateOrMerge"}), None, Some("1"), "create a=1"),
        (serde_json::json!({"creationPolicy": "CreateOrMerge"}), Some(&held), Some("1"), "replace 7 a=1,other=x"),
        (serde_json::json!({"creationPolicy": "None"}), Some(&foreign), Some("1"), "keep NothingToWrite"),
        (serde_json::json!({"immutable": true}), None, Some("1"), "create a=1"),
        (serde_json::json!({"immutable": true}), Some(&immutable), Some("new"), "replace 7 a=old"),
        (serde_json::json!({}), None, None, "could not get secret data from provider"),
        (serde_json::json!({"deletionPolicy": "Delete"}), Some(&settled), None, "delete secret-uid Deleted"),
        (serde_json::json!({"deletionPolicy": "Delete"}), Some(&foreign), None, "keep Deleted"),
        (serde_json::json!({"deletionPolicy": "Delete"}), None, None, "keep Deleted"),
        (serde_json::json!({"deletionPolicy": "Merge"}), Some(&settled), None, "replace 7 "),
        (
            serde_json::json!({"deletionPolicy": "Merge", "creationPolicy": "Merge"}),
            Some(&held),
            None,
            "replace 7 other=x",
        ),
    ] {
        assert_eq!(action(&run(target.clone(), secret, value)), want, "{target}");
    }
}

#[test]
fn a_written_secret_carries_the_incumbents_marks() {
    let settlement = run(serde_json::json!({}), None, Some("1")).expect("settled");
    let SecretAction::Write { secret, how } = &settlement.action else { panic!("a write") };
    assert_eq!(*how, WriteMode::Create { manager: "externalsecrets.external-secrets.io/db".into() });
    let expected = settled();
    assert!(!secret.differs_from(&expected), "what is written is what is valid");
    let orphans: Vec<_> = settlement
        .orphans
        .iter()
        .map(|a| match a {
            SecretAction::Delete { name, uid, .. } => format!("{name} {uid}"),
            _ => "?".into(),
        })
        .collect();
    assert_eq!(orphans, ["old old-uid"], "never the target itself");
}

#[test]
fn an_immutable_secret_takes_no_new_data_and_says_so() {
    let live = live(serde_json::json!({"immutable": true, "data": {"a": "b2xk"}}));
    let settlement = run(serde_json::json!({}), Some(&live), Some("new")).expect("settled");
    assert_eq!(settlement.but.map(|e| e.condition_message()), Some("could not update secret, target is immutable"));
    let SecretAction::Write { secret, .. } = &settlement.action else { panic!("a write") };
    assert_eq!(secret.data().get("a").and_then(|v| v.expose_str()), Some("old"));
}

#[test]
fn conditions_move_their_time_only_with_their_status() {
    let before: Timestamp = "2026-11-24T10:00:00Z".parse().expect("time");
    let es = es(
        serde_json::json!({}),
        serde_json::json!({
            "refreshTime": "2026-11-24T10:00:00Z", "syncedResourceVersion": "1-x",
            "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced", "lastTransitionTime": "2026-11-24T10:00:00Z"}],
        }),
    );
    let error = ExternalError::NotReady { store: "SecretStore \"s\"".into() };
    for (outcome, status, reason, message, since, read, finish) in [
        (
            Outcome::Synced(Synced::Secret),
            "True",
            "SecretSynced",
            "secret synced",
            before,
            now(),
            Finish::Settled(Some(Duration::from_secs(3600))),
        ),
        (
            Outcome::Synced(Synced::MergeTargetMissing),
            "True",
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
            before,
            now(),
            Finish::Settled(Some(Duration::from_secs(3600))),
        ),
        (
            Outcome::Failed(&error),
            "False",
            "SecretSyncedError",
            "could not get secret data from provider",
            now(),
            before,
            Finish::Failed,
        ),
        (
            Outcome::WriteFailed { what: WriteFailure::Update, detail: "x".into(), retry: Retry::OnChange },
            "False",
            "SecretSyncedError",
            "could not update secret",
            now(),
            before,
            Finish::Stuck,
        ),
    ] {
        let conclusion = conclude(&es, &outcome, now());
        let condition = &conclusion.status.conditions[0];
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_deref(), condition.message.as_deref()),
            (status, Some(reason), Some(message))
        );
        assert_eq!(condition.last_transition_time, Some(Time(since)), "{message}");
        assert_eq!(conclusion.status.refresh_time, Some(Time(read)), "a failure leaves the time of the last read");
        assert_eq!(conclusion.finish, finish);
    }
}

#[test]
fn every_line_of_a_failure_says_what_to_do() {
    let error = ExternalError::Store {
        place: "spec.data[0]".into(),
        source: super::super::StoreError::Denied {
            store: "SecretStore \"s\"".into(),
            key: "k".into(),
            code: "403".into(),
        },
    };
    let es = es(serde_json::json!({}), serde_json::json!({}));
    let conclusion = conclude(&es, &Outcome::Failed(&error), now());
    assert_eq!(
        conclusion.warning.as_deref(),
        Some(
            "spec.data[0]: SecretStore \"s\" denies \"k\" (403); check the store's credentials and the rights they have on this key"
        )
    );
}
