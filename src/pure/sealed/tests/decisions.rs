//! What becomes of the Secret, of status and event.

use super::*;

fn live(annotations: serde_json::Value, owner: Option<&str>, data: serde_json::Value) -> ObservedSecret {
    let owners = owner.map(|uid| {
        json!([{ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "s", "uid": uid, "controller": true }])
    });
    let body = json!({
        "metadata": { "name": "s", "namespace": "n", "uid": "s1", "resourceVersion": "7", "annotations": annotations,
                      "labels": { "theirs": "kept?" }, "ownerReferences": owners, "finalizers": ["f"] },
        "type": "Opaque", "data": data,
    });
    ObservedSecret::from_json(body.to_string().as_bytes()).expect("parses")
}

fn decided(spec: serde_json::Value, live: Option<&ObservedSecret>) -> Result<SecretAction, Failure> {
    let object = strict(spec);
    let unsealed = unseal(&object, &keys(&[0]), &Hints::default(), now()).expect("opens");
    decide(&object, unsealed, live, &GuardPolicy { namespace: Some("n".into()), ..Default::default() })
}

fn failed_unseal(object: &SealedSecret) -> UnsealError {
    failed(object, &keys(&[1]))
}

fn spec() -> serde_json::Value {
    json!({ "template": { "metadata": { "labels": { "ours": "yes" } } },
            "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", "v") } })
}

#[test]
fn a_missing_secret_is_created_with_its_owner() {
    let Ok(SecretAction::Write { secret, how }) = decided(spec(), None) else { panic!("not written") };
    assert_eq!(how, WriteMode::Create { manager: "controller".into() });
    let owner = secret.owners().first().expect("owner");
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("SealedSecret", "u1", Some(true)));
    assert_eq!(owner.block_owner_deletion, None);
}

#[test]
fn an_existing_secret_is_touched_only_with_permission() {
    let foreign = live(json!({}), None, json!({ "b": "Yg==" }));
    let Err(failure @ Failure::Unmanaged(_)) = decided(spec(), Some(&foreign)) else { panic!("not refused") };
    assert_eq!(failure.to_string(), "failed update: Resource \"s\" already exists and is not managed by SealedSecret");
    assert_eq!(failure.metric(), "unmanaged");
    let other_owner = live(json!({}), Some("u2"), json!({ "b": "Yg==" }));
    assert!(matches!(decided(spec(), Some(&other_owner)), Err(Failure::Unmanaged(_))));

    // Ours, or managed: replaced whole, except for what is never changed.
    for live in [
        live(json!({ "x": "y" }), Some("u1"), json!({})),
        live(json!({ MANAGED: "true" }), Some("u2"), json!({ "b": "Yg==" })),
    ] {
        let Ok(SecretAction::Write { secret, how }) = decided(spec(), Some(&live)) else { panic!("not written") };
        assert_eq!(how, WriteMode::Replace { manager: "controller".into(), resource_version: "7".into() });
        assert_eq!(secret.data().names().collect::<Vec<_>>(), ["a"]);
        assert!(secret.annotations().is_empty() && !secret.labels().contains_key("theirs"));
        assert_eq!(secret.owners().first().map(|owner| owner.uid.as_str()), Some("u1"));
        assert_eq!(secret.finalizers(), ["f"]);
    }
}

#[test]
fn patch_merges_and_owns_only_when_managed_too() {
    let data = || json!({ "a": "b2xk", "b": "Yg==" });
    for (annotations, owner) in
        [(json!({ PATCH: "true" }), Some("u2")), (json!({ PATCH: "true", MANAGED: "true" }), Some("u1"))]
    {
        let live = live(annotations.clone(), Some("u2"), data());
        let Ok(SecretAction::Write { secret, .. }) = decided(spec(), Some(&live)) else { panic!("not written") };
        assert_eq!((text(secret.data(), "a"), text(secret.data(), "b")), (Some("v"), Some("b")));
        assert!(secret.labels().contains_key("theirs") && secret.labels().contains_key("ours"));
        assert_eq!(secret.annotations().len(), annotations.as_object().expect("map").len());
        assert_eq!(secret.owners().first().map(|owner| owner.uid.as_str()), owner);
    }
}

#[test]
fn a_secret_that_is_right_is_kept() {
    let Ok(SecretAction::Write { secret, .. }) = decided(spec(), None) else { panic!("not written") };
    let body = String::from_utf8(secret.manifest(Some("8")).to_vec()).expect("UTF-8");
    let mut stored = ObservedSecret::from_json(body.as_bytes()).expect("parses");
    stored.kind = "Opaque".into();
    assert!(matches!(decided(spec(), Some(&stored)), Ok(SecretAction::Keep)));
    // Without an owner reference it is still recognised while it is right, and refused once it is not.
    let skip = |value: &str| {
        json!({ "template": { "metadata": { "annotations": { SKIP_OWNER: "true" } } },
                                     "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", value) } })
    };
    let Ok(SecretAction::Write { secret, .. }) = decided(skip("v"), None) else { panic!("not written") };
    assert!(secret.owners().is_empty());
    let mut stored = ObservedSecret::from_json(&secret.manifest(None)).expect("parses");
    stored.kind = "Opaque".into();
    assert!(matches!(decided(skip("v"), Some(&stored)), Ok(SecretAction::Keep)));
    assert!(matches!(decided(skip("w"), Some(&stored)), Err(Failure::Unmanaged(_))));
}

#[test]
fn a_template_names_owners_only_where_the_sealed_secret_is_none() {
    let spec = |annotations: serde_json::Value, owners: serde_json::Value| {
        json!({ "template": { "metadata": { "annotations": annotations, "ownerReferences": owners } },
                "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", "v") } })
    };
    let other = || json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u9" }]);
    let owners = |spec| {
        let Ok(SecretAction::Write { secret, .. }) = decided(spec, None) else { panic!("not written") };
        secret.owners().iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>()
    };
    assert_eq!(owners(spec(json!({}), other())), ["u1"]);
    assert_eq!(owners(spec(json!({ SKIP_OWNER: "true" }), other())), ["u9"]);
    assert!(owners(spec(json!({ SKIP_OWNER: "true" }), json!("nonsense"))).is_empty());
}

#[test]
fn an_immutable_secret_is_not_tried_in_vain() {
    let mut live = live(json!({}), Some("u1"), json!({ "a": "b2xk" }));
    live.immutable = Some(true);
    let Err(failure) = decided(spec(), Some(&live)) else { panic!("not refused") };
    assert!(failure.to_string().contains("field is immutable when `immutable` is set"), "{failure}");
    assert_eq!(failure.retry(), Retry::OnChange);
    let object = strict(spec());
    let text = "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set";
    assert!(matches!(Failure::api(&object, text, Retry::Backoff), Failure::Immutable(_)));
}

#[test]
fn status_and_event_say_each_thing_once() {
    let now = |s: &str| s.parse().expect("time");
    let mut object = strict(spec());
    let first = conclude(&object, &Outcome::Written, None, now("2026-01-01T00:00:00Z"));
    let status = first.status.expect("written");
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(
        status.synced().map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str())),
        Some(("True", "Unsealed", ""))
    );
    assert!(status.condition("Ready").is_some_and(|c| c.status == "True"));
    assert_eq!(status.conditions.len(), 2, "what is abnormal is absent");
    let event = first.event.expect("event");
    assert_eq!(
        (event.warning, event.reason, event.message.as_str()),
        (false, "Unsealed", "SealedSecret unsealed successfully")
    );

    object.status = Some(status);
    let again = conclude(&object, &Outcome::Kept, None, now("2026-01-02T00:00:00Z"));
    assert!(again.status.is_none() && again.event.is_none(), "nothing new, nothing said");
    let marked = conclude(&object, &Outcome::Kept, Some("mark".into()), now("2026-01-02T00:00:00Z"));
    assert!(marked.event.is_none(), "a mark is no news for people");
    object.status = marked.status;
    let in_force = |object: &SealedSecret| object.status.as_ref().and_then(|s| s.condition(IN_FORCE).cloned());
    assert_eq!(in_force(&object).map(|c| c.message), Some("mark".into()));
    assert!(conclude(&object, &Outcome::Kept, None, now("2026-01-02T00:00:00Z")).status.is_none(), "it stays");

    let fail = |name: &str| Outcome::Failed(Failure::Unmanaged(name.into()));
    let failed = conclude(&object, &fail("s"), None, now("2026-01-03T00:00:00Z"));
    let event = failed.event.expect("event");
    assert_eq!((event.warning, event.reason), (true, "ErrUpdateFailed"));
    assert!(event.message.starts_with("Resource \"s\" already exists"), "{}", event.message);
    object.status = failed.status;
    assert_eq!(in_force(&object), None);
    let status = object.status.as_ref().expect("set");
    assert_eq!(status.conditions.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(), ["Synced", "Ready", "Stalled"]);
    let condition = |object: &SealedSecret| object.status.as_ref().and_then(|s| s.synced().cloned()).expect("set");
    let third = condition(&object);
    assert_eq!((third.status.as_str(), third.reason.as_str()), ("False", "AlreadyExists"));
    assert_eq!(third.last_transition_time, third.last_update_time);

    // Another failure while it is False already is written, and is no transition.
    let other = conclude(&object, &fail("t"), None, now("2026-01-04T00:00:00Z"));
    object.status = other.status;
    let fourth = condition(&object);
    assert!(fourth.message.contains("\"t\""));
    assert_eq!(fourth.last_transition_time, third.last_transition_time);
    assert_ne!(fourth.last_update_time, third.last_update_time);

    object.metadata.generation = Some(4);
    let next = conclude(&object, &fail("t"), None, now("2026-01-05T00:00:00Z"));
    assert_eq!(next.status.expect("written").observed_generation, Some(4));

    // In force again and of another generation within the second: an update, and no transition.
    let mut fresh = object.clone();
    fresh.status = None;
    fresh.status = conclude(&fresh, &Outcome::Written, None, now("2026-01-06T00:00:00Z")).status;
    let before = condition(&fresh);
    fresh.metadata.generation = Some(5);
    fresh.status = conclude(&fresh, &Outcome::Written, None, now("2026-01-06T00:00:00.4Z")).status;
    let after = condition(&fresh);
    assert_eq!(after.last_transition_time, before.last_transition_time);
    assert_eq!(after.last_update_time.map(|time| time.0), Some(now("2026-01-06T00:00:01Z")));

    let passing = Outcome::Failed(Failure::Api { text: "busy".into(), retry: Retry::Backoff });
    let passing = conclude(&object, &passing, None, now("2026-01-05T00:00:00Z")).status.expect("written");
    assert!(passing.condition("Stalled").is_none() && passing.condition("Reconciling").is_some());

    let error = failed_unseal(&object);
    let report = conclude(&object, &Outcome::Failed(error.into()), None, now("2026-01-06T00:00:00Z"));
    let event = report.event.expect("event");
    assert_eq!(event.reason, "ErrUnsealFailed");
    assert!(event.message.starts_with("Failed to unseal: no key could decrypt secret (a)"), "{}", event.message);
    let message = report.status.and_then(|s| s.synced().cloned()).expect("set").message;
    assert!(message.starts_with("no key could decrypt secret (a); a: "), "{message}");

    // Causes that differ stand on lines of their own, as the incumbent has them; the reason follows the last.
    let good = sealed(0, Scope::Strict, "n", "s", "v");
    let object = strict(json!({ "encryptedData": { "a": good, "b": "?" } }));
    let report = conclude(&object, &Outcome::Failed(failed_unseal(&object).into()), None, now("2026-01-06T00:00:00Z"));
    let lines = "illegal base64 data at input byte 0 (b)\nno key could decrypt secret (a); a: ";
    let message = report.status.and_then(|s| s.synced().cloned()).expect("set").message;
    assert!(message.starts_with(lines), "{message}");
    let message = report.event.expect("event").message;
    assert!(message.starts_with(&format!("Failed to unseal: {lines}")), "{message}");
}
