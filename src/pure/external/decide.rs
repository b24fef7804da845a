//! What becomes of an ExternalSecret: [`decide`] before anything is read, [`settle`] after, [`conclude`] for status,
//! events and the next look. Each is a function of its arguments.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::refresh::{self, Due};
use super::templating::Sources;
use super::{Collected, ExternalError, Fetch, Rendered, ownership, plan, render};
use crate::pure::crd::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecret, ExternalSecretStatus, ReadyCondition, SecretName,
};
use crate::pure::desired::{GuardPolicy, ObservedSecret, SecretAction, WriteMode, guard};
use crate::pure::error::{Explain as _, Retry, clip};
use crate::pure::limits;
use crate::pure::queue::Finish;

/// What is known before a decision.
pub struct Observed<'a> {
    /// The Secret that the ExternalSecret makes, if it is there.
    pub secret: Option<&'a ObservedSecret>,
    /// Other Secrets of its namespace that carry its [`ownership::LABEL_OWNER`]: those of an earlier `target.name`.
    pub orphans: &'a [Orphan],
}

/// A Secret that an ExternalSecret made under an earlier name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// What is done with an ExternalSecret.
pub enum Decision {
    /// It is being deleted: carry out the action, then take the finalizer away.
    Finalize(SecretAction),
    /// It is being deleted and its finalizer is gone: nothing is left to do.
    Gone,
    /// It needs the finalizer; its next look follows from that change.
    AddFinalizer,
    /// Nothing to do before this time has passed, or before a change.
    Fresh(Option<Duration>),
    /// Values must be read.
    Fetch(Vec<Fetch>),
    /// It cannot be served as it stands.
    Refuse(ExternalError),
}

/// Decides what to do, without reading values.
pub fn decide(es: &ExternalSecret, observed: &Observed<'_>, now: Timestamp) -> Decision {
    let has_finalizer = es.metadata.finalizers.iter().flatten().any(|name| name == ownership::FINALIZER);
    if es.metadata.deletion_timestamp.is_some() {
        return if has_finalizer { Decision::Finalize(farewell(es, observed.secret)) } else { Decision::Gone };
    }
    if !has_finalizer {
        return Decision::AddFinalizer;
    }
    let fresh = match refresh::due(es, now) {
        Ok(Due::Later(after)) => Some(after),
        Ok(Due::Now) => None,
        Err(error) => return Decision::Refuse(error),
    };
    match fresh {
        // A Secret that is being deleted will be missing in a moment, and its watch event brings us back.
        Some(after) if ownership::valid(es, observed.secret) => Decision::Fresh(after),
        _ => match plan(es) {
            Ok(fetches) => Decision::Fetch(fetches),
            Err(error) => Decision::Refuse(error),
        },
    }
}

/// The Secret goes with its ExternalSecret only under deletionPolicy Delete, and only if this very one controls it.
/// (Under creationPolicy Owner the garbage collector takes it anyway.)
fn farewell(es: &ExternalSecret, secret: Option<&ObservedSecret>) -> SecretAction {
    match secret.filter(|secret| es.spec.deletion_policy() == DeletionPolicy::Delete && ownership::controls(es, secret))
    {
        Some(secret) => delete(secret),
        None => SecretAction::Keep,
    }
}

fn delete(secret: &ObservedSecret) -> SecretAction {
    SecretAction::Delete { namespace: secret.namespace.clone(), name: secret.name.clone(), uid: secret.uid.clone() }
}

/// How a sync that succeeded ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// The Secret is as it should be.
    Secret,
    /// All values are gone and deletionPolicy says Retain.
    Retained,
    /// All values are gone and the Secret was deleted.
    Deleted,
    /// There is no Secret to merge into.
    MergeTargetMissing,
    /// creationPolicy says that nothing is written.
    NothingToWrite,
}

/// What is written, and how the sync ends when that works.
pub struct Settlement {
    /// What becomes of the Secret.
    pub action: SecretAction,
    /// Secrets of earlier names, to be deleted after the action.
    pub orphans: Vec<SecretAction>,
    /// How it ends.
    pub synced: Synced,
    /// Whether something must be reported although the action works: an immutable Secret took the new metadata only.
    pub but: Option<ExternalError>,
    /// References whose value does not exist; one event each.
    pub missing: Vec<String>,
}

/// Decides what is written, from the values that were read. `sources` holds what `templating::sources` names.
pub fn settle(
    es: &ExternalSecret,
    observed: &Observed<'_>,
    collected: Collected,
    sources: &Sources,
    now: Timestamp,
) -> Result<Settlement, ExternalError> {
    let (creation, deletion) = (es.spec.creation_policy(), es.spec.deletion_policy());
    let mut settlement = Settlement {
        action: SecretAction::Keep,
        orphans: vec![],
        synced: Synced::Secret,
        but: None,
        missing: collected.missing.clone(),
    };
    if collected.data.is_empty() {
        match deletion {
            DeletionPolicy::Retain => {
                settlement.synced = Synced::Retained;
                return Ok(settlement);
            }
            DeletionPolicy::Delete if creation == CreationPolicy::Owner => {
                let ours = observed.secret.filter(|secret| ownership::controls(es, secret));
                settlement.action = ours.map_or(SecretAction::Keep, delete);
                settlement.synced = Synced::Deleted;
                return Ok(settlement);
            }
            DeletionPolicy::Delete => {
                let detail = "all values are gone, and deletionPolicy Delete needs creationPolicy Owner".into();
                return Err(ExternalError::Spec { detail });
            }
            DeletionPolicy::Merge => {}
        }
    }
    match (creation, observed.secret) {
        (CreationPolicy::None, _) => {
            settlement.synced = Synced::NothingToWrite;
            return Ok(settlement);
        }
        (CreationPolicy::Merge, None) => {
            settlement.synced = Synced::MergeTargetMissing;
            return Ok(settlement);
        }
        _ => {}
    }
    let Rendered { mut candidate, proof } = render(es, collected, observed.secret, sources, now)?;
    // The API server refuses new data in an immutable Secret: write the metadata, and say so.
    if let Some(live) = observed.secret.filter(|live| live.immutable == Some(true))
        && (!candidate.data.same_as(&live.data) || candidate.kind != live.kind)
    {
        settlement.but = Some(ExternalError::Immutable { secret: format!("{}/{}", live.namespace, live.name) });
        candidate.data = live.data.duplicate();
        candidate.kind = live.kind.clone();
        candidate.immutable = Some(true);
    }
    let namespace = es.metadata.namespace.clone();
    let secret = guard(candidate, proof, &GuardPolicy { namespace, ..Default::default() })?;
    let manager = ownership::manager(es.metadata.name.as_deref().unwrap_or_default());
    settlement.action = match observed.secret {
        None => SecretAction::Write { secret, how: WriteMode::Create { manager } },
        Some(live) if secret.differs_from(live) => {
            let how = WriteMode::Replace { manager, resource_version: live.resource_version.clone() };
            SecretAction::Write { secret, how }
        }
        Some(_) => SecretAction::Keep,
    };
    if creation == CreationPolicy::Owner {
        let namespace = es.metadata.namespace.clone().unwrap_or_default();
        settlement.orphans = observed
            .orphans
            .iter()
            .filter(|orphan| orphan.name != es.target_name())
            .map(|orphan| SecretAction::Delete {
                namespace: namespace.clone(),
                name: orphan.name.clone(),
                uid: orphan.uid.clone(),
            })
            .collect();
    }
    Ok(settlement)
}

/// How one look at an ExternalSecret ended.
pub enum Outcome<'a> {
    /// It is as it should be.
    Synced(Synced),
    /// It is not.
    Failed(&'a ExternalError),
    /// The API server refused a write: a fixed text for the condition, how to go on, and the detail.
    WriteFailed {
        /// What could not be done.
        what: WriteFailure,
        /// Detail for the event.
        detail: String,
        /// When to try again.
        retry: Retry,
    },
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// Create or update the Secret.
    Update,
    /// Delete the Secret.
    Delete,
    /// Delete a Secret of an earlier name.
    DeleteOrphan,
}

/// Status, and when to look again.
pub struct Conclusion {
    /// The whole status.
    pub status: ExternalSecretStatus,
    /// When to look again.
    pub finish: Finish,
    /// Text of a Warning event `UpdateFailed`.
    pub warning: Option<String>,
}

/// Concludes one look.
pub fn conclude(es: &ExternalSecret, outcome: &Outcome<'_>, now: Timestamp) -> Conclusion {
    let mut status = es.status.clone().unwrap_or_default();
    let (ready, reason, message) = condition(outcome);
    set_ready(&mut status.conditions, ready, reason, message, now);
    let (finish, warning) = match outcome {
        Outcome::Synced(synced) => {
            status.refresh_time = Some(Time(now));
            status.synced_resource_version = Some(refresh::synced_version(es));
            status.binding = Some(SecretName {
                name: if *synced == Synced::Secret { es.target_name().to_owned() } else { String::new() },
            });
            (Finish::Settled(refresh::next(es)), None)
        }
        Outcome::Failed(error) => (Finish::from(error.retry()), Some(error.line())),
        Outcome::WriteFailed { detail, retry, .. } => (Finish::from(*retry), Some(detail.clone())),
    };
    Conclusion { status, finish, warning: warning.map(|text| clip(&text, limits::CONDITION_MESSAGE_BYTES)) }
}

fn condition(outcome: &Outcome<'_>) -> (bool, &'static str, &'static str) {
    match outcome {
        Outcome::Synced(Synced::Secret | Synced::NothingToWrite) => (true, "SecretSynced", "secret synced"),
        Outcome::Synced(Synced::Retained) => (true, "SecretSynced", "secret retained due to DeletionPolicy=Retain"),
        Outcome::Synced(Synced::Deleted) => (true, "SecretDeleted", "secret deleted due to DeletionPolicy=Delete"),
        Outcome::Synced(Synced::MergeTargetMissing) => {
            (true, "SecretMissing", "secret will not be created due to CreationPolicy=Merge")
        }
        Outcome::Failed(error) => (false, "SecretSyncedError", error.condition_message()),
        Outcome::WriteFailed { what, .. } => (
            false,
            "SecretSyncedError",
            match what {
                WriteFailure::Update => "could not update secret",
                WriteFailure::Delete => "could not delete secret",
                WriteFailure::DeleteOrphan => "could not delete orphaned secrets",
            },
        ),
    }
}

/// Sets the `Ready` condition; its time moves only when its status does.
pub fn set_ready(conditions: &mut Vec<ReadyCondition>, ready: bool, reason: &str, message: &str, now: Timestamp) {
    let status = if ready { "True" } else { "False" };
    let before = conditions.iter().find(|condition| condition.kind == "Ready");
    let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    let condition = ReadyCondition {
        kind: "Ready".into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    };
    match conditions.iter_mut().find(|condition| condition.kind == "Ready") {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
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
        let tampered = live(
            serde_json::json!({"metadata": {"labels": {ownership::LABEL_MANAGED: "true"}}, "data": {"a": "Mg=="}}),
        );
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
        let orphans =
            [Orphan { name: "old".into(), uid: "old-uid".into() }, Orphan { name: "db".into(), uid: "x".into() }];
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
}
