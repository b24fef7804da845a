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
mod tests;
