//! What to do about the Secret of a SealedSecret, and what to say afterwards.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::unseal::{UnsealError, Unsealed, object_key};
use crate::pure::crd::sealed_secret::{
    IN_FORCE, READY, RECONCILING, STALLED, SYNCED, SealedSecret, SealedSecretCondition, SealedSecretStatus,
};
use crate::pure::desired::{GuardError, GuardPolicy, ObservedSecret, SecretAction, WriteMode, guard};
use crate::pure::error::{Explain, Retry, clip, each_line, one_line};
use crate::pure::limits;
use crate::pure::queue::ObjectKey;

/// Annotation of an existing Secret that allows to overwrite it and to become its owner.
pub const MANAGED: &str = "sealedsecrets.bitnami.com/managed";
/// Annotation of an existing Secret that allows to merge into it.
pub const PATCH: &str = "sealedsecrets.bitnami.com/patch";
/// Annotation of a template that asks for no owner reference.
pub const SKIP_OWNER: &str = "sealedsecrets.bitnami.com/skip-set-owner-references";
/// Field manager of the incumbent: client-go's default, the name of its program.
pub const FIELD_MANAGER: &str = "controller";

/// Why a SealedSecret is not in force. `Display` is the incumbent's text for the condition.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not open.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// A Secret of that name belongs to somebody else.
    #[error("failed update: Resource {0:?} already exists and is not managed by SealedSecret")]
    Unmanaged(String),
    /// The Secret is immutable and its data would change.
    #[error("Secret {:?} is invalid: data: Forbidden: field is immutable when `immutable` is set", .0.name)]
    Immutable(ObjectKey),
    /// A guard refused the Secret.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The API server refused or failed.
    #[error("{text}")]
    Api {
        /// The API server's words, without any part of the Secret.
        text: String,
        /// When to try again.
        retry: Retry,
    },
}

impl Failure {
    /// Value of the label `reason` of the incumbent's error counter.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Unseal(_) => "unseal",
            Self::Unmanaged(_) => "unmanaged",
            Self::Immutable(_) | Self::Guard(_) | Self::Api { .. } => "update",
        }
    }

    /// The failure that an API error text stands for: an immutable Secret has its own.
    pub fn api(object: &SealedSecret, text: &str, retry: Retry) -> Self {
        if text.contains("field is immutable when `immutable` is set") {
            return Self::Immutable(object_key(object));
        }
        // As the API server itself calls it.
        let key = object_key(object);
        let text = text.replacen(&format!("Secret {key}"), &format!("Secret {:?}", key.name), 1);
        Self::Api { text: one_line(&text), retry }
    }
}

impl Failure {
    /// Whether more about it is on its way.
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Self::Unseal(error) if error.is_unexplained())
    }
}

impl Explain for Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unseal(error) => error.reason(),
            Self::Unmanaged(_) => "AlreadyExists",
            Self::Immutable(_) => "SecretImmutable",
            Self::Guard(error) => error.reason(),
            Self::Api { .. } => "UpdateFailed",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unseal(error) => error.retry(),
            // The Secret's own watch brings its annotation or its end.
            Self::Unmanaged(_) | Self::Immutable(_) => Retry::OnChange,
            Self::Guard(error) => error.retry(),
            Self::Api { retry, .. } => *retry,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Unseal(error) => error.hint(),
            Self::Unmanaged(_) => format!("annotate the Secret with {MANAGED}: \"true\" to hand it over, or delete it"),
            Self::Guard(error) => error.hint(),
            Self::Immutable(_) => "delete the Secret; it is made anew".into(),
            Self::Api { .. } => String::new(),
        }
    }
}

/// The one write that brings the Secret in line, or none.
///
/// An existing Secret is touched only when this object controls it or its own annotations allow it. Unlike the
/// incumbent, a Secret that is already right needs no permission: without an owner reference
/// (`skip-set-owner-references`) the incumbent's second pass fails on what its first pass made.
pub fn decide(
    object: &SealedSecret,
    mut unsealed: Unsealed,
    observed: Option<&ObservedSecret>,
    policy: &GuardPolicy,
) -> Result<SecretAction, Failure> {
    let skip_owner = unsealed.skip_owner();
    unsealed.keep(observed);
    let (mut candidate, proof) = unsealed.into_candidate();
    if !skip_owner {
        candidate.owners = vec![owner_reference(object)];
    }
    let Some(live) = observed else {
        let secret = guard(candidate, proof, policy)?;
        return Ok(SecretAction::Write { secret, how: WriteMode::Create { manager: FIELD_MANAGER.into() } });
    };
    let marked = |name: &str| live.annotations.get(name).is_some_and(|value| value == "true");
    let (managed, patch) = (marked(MANAGED), marked(PATCH));
    let ours = live.controller().is_some_and(|owner| Some(&owner.uid) == object.metadata.uid.as_ref());

    // Neither is ever changed on an existing Secret.
    candidate.immutable = live.immutable;
    candidate.finalizers.clone_from(&live.finalizers);
    if patch {
        merge(&mut candidate.labels, &live.labels);
        merge(&mut candidate.annotations, &live.annotations);
        for (name, value) in live.data.iter() {
            if candidate.data.get(name).is_none() {
                candidate.data.insert(name, value.duplicate());
            }
        }
        if !managed {
            candidate.owners.clone_from(&live.owners);
        }
        if candidate.kind.is_empty() {
            candidate.kind.clone_from(&live.kind);
        }
    }
    let secret = guard(candidate, proof, policy)?;
    if !secret.differs_from(live) && (ours || managed || patch || skip_owner) {
        return Ok(SecretAction::Keep);
    }
    if !(ours || managed || patch) {
        return Err(Failure::Unmanaged(live.name.clone()));
    }
    if live.immutable == Some(true) && !secret.data().same_as(&live.data) {
        return Err(Failure::Immutable(object_key(object)));
    }
    let resource_version = live.resource_version.clone();
    Ok(SecretAction::Write { secret, how: WriteMode::Replace { manager: FIELD_MANAGER.into(), resource_version } })
}

/// Adds what `live` has and `wanted` has not.
fn merge(wanted: &mut BTreeMap<String, String>, live: &BTreeMap<String, String>) {
    for (name, value) in live {
        wanted.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

fn owner_reference(object: &SealedSecret) -> OwnerReference {
    OwnerReference {
        api_version: "bitnami.com/v1alpha1".into(),
        kind: "SealedSecret".into(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// How a pass over one object ended.
#[derive(Debug)]
pub enum Outcome {
    /// The Secret was right already.
    Kept,
    /// The Secret was written.
    Written,
    /// The Secret is not in force.
    Failed(Failure),
}

/// A Kubernetes event on the SealedSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Warning or Normal.
    pub warning: bool,
    /// The incumbent's reasons: `Unsealed`, `ErrUnsealFailed`, `ErrUpdateFailed`.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// What to tell the world about a pass.
#[derive(Debug)]
pub struct Report {
    /// The whole status to write; `None` when it would say what it says already.
    pub status: Option<SealedSecretStatus>,
    /// The event to emit; `None` when nothing happened that was not reported before.
    pub event: Option<Event>,
}

/// Status and event after a pass, from one value, so that they cannot disagree.
///
/// The status is written whenever what any condition says or the generation differ: the incumbent keeps the first message
/// while a later failure is another one. A pass that found all as it was says nothing. `mark` is a new [`super::mark`];
/// without one the old one stands as long as the object is in force. A failure whose reason is not known yet does not take
/// the place of the same one with a reason.
pub fn conclude(object: &SealedSecret, outcome: &Outcome, mark: Option<String>, now: Timestamp) -> Report {
    let before = object.status.clone().unwrap_or_default();
    if let Outcome::Failed(failure) = outcome
        && failure.is_unexplained()
        && tells(&before, object, &each_line(&failure.to_string()))
    {
        return Report { status: None, event: None };
    }
    let (status, reason, message) = match outcome {
        Outcome::Kept | Outcome::Written => ("True", "Unsealed", String::new()),
        Outcome::Failed(failure) => ("False", failure.reason(), clip(&failure.lines(), limits::SEALED_MESSAGE_BYTES)),
    };
    let generation = object.metadata.generation;
    let mut writer = Conditions { conditions: before.conditions, now: Time(now), changed: false };
    // First, since the printer columns read the first one.
    writer.set(SYNCED, status, reason, message.clone());
    if !writer.changed && before.observed_generation != generation {
        writer.renew(SYNCED);
    }
    let synced = writer.changed || before.observed_generation != generation;
    writer.set(READY, status, reason, message);
    match outcome {
        Outcome::Kept | Outcome::Written => {
            writer.remove(STALLED);
            writer.remove(RECONCILING);
            if let Some(mark) = mark {
                writer.set(IN_FORCE, "True", "Marked", mark);
            }
        }
        Outcome::Failed(failure) => {
            let (is, is_not) = match failure.retry() {
                Retry::OnChange => (STALLED, RECONCILING),
                _ => (RECONCILING, STALLED),
            };
            writer.set(is, "True", reason, String::new());
            writer.remove(is_not);
            writer.remove(IN_FORCE);
        }
    }
    let event = match outcome {
        Outcome::Kept if !synced => None,
        Outcome::Kept | Outcome::Written => {
            Some(Event { warning: false, reason: "Unsealed", message: "SealedSecret unsealed successfully".into() })
        }
        // One event for one failure: it waits for the reason, which the status does not.
        Outcome::Failed(failure) if failure.is_unexplained() => None,
        // Repeated failures repeat their event: the API side folds equal ones into a count.
        Outcome::Failed(failure) => Some(failure_event(failure)),
    };
    let changed = synced || writer.changed;
    let status =
        changed.then_some(SealedSecretStatus { observed_generation: generation, conditions: writer.conditions });
    Report { status, event }
}

/// Whether a status says this failure of the present generation already, and perhaps its reason: then the reason that is
/// being looked for is awaited, and a restart over objects that do not open writes nothing.
fn tells(status: &SealedSecretStatus, object: &SealedSecret, text: &str) -> bool {
    let told = status.synced().is_some_and(|told| told.status == "False" && told.message.starts_with(text));
    told && status.observed_generation == object.metadata.generation
}

struct Conditions {
    conditions: Vec<SealedSecretCondition>,
    now: Time,
    changed: bool,
}

impl Conditions {
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let old = self.conditions.iter_mut().find(|condition| condition.kind == kind);
        if old.as_ref().is_some_and(|c| c.status == status && c.reason == reason && c.message == message) {
            return;
        }
        self.changed = true;
        let since = old.as_ref().filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        let condition = SealedSecretCondition {
            kind: kind.into(),
            status: status.into(),
            last_update_time: Some(update_after(since.as_ref().and_then(Option::as_ref), &self.now)),
            last_transition_time: since.unwrap_or_else(|| Some(self.now.clone())),
            reason: reason.into(),
            message,
        };
        match old {
            Some(place) => *place = condition,
            None if kind == SYNCED => self.conditions.insert(0, condition),
            None => self.conditions.push(condition),
        }
    }

    /// Said again of another generation: the incumbent moves the time of the update then, and that of the transition not.
    fn renew(&mut self, kind: &str) {
        let Some(condition) = self.conditions.iter_mut().find(|condition| condition.kind == kind) else { return };
        let updated = Some(update_after(condition.last_transition_time.as_ref(), &self.now));
        self.changed |= condition.last_update_time != updated;
        condition.last_update_time = updated;
    }

    fn remove(&mut self, kind: &str) {
        let before = self.conditions.len();
        self.conditions.retain(|condition| condition.kind != kind);
        self.changed |= self.conditions.len() != before;
    }
}

/// The time of an update, later than that of the transition before it. Times have whole seconds here, and one that
/// falls into the same second is rounded up, so that it can be told that something was updated since.
fn update_after(transition: Option<&Time>, now: &Time) -> Time {
    match transition.map(|time| time.0.as_second()) {
        Some(second) if second >= now.0.as_second() => {
            Time(Timestamp::from_second(second.saturating_add(1)).unwrap_or(now.0))
        }
        _ => now.clone(),
    }
}

fn failure_event(failure: &Failure) -> Event {
    let text = failure.lines();
    let (reason, text) = match failure {
        Failure::Unseal(_) => ("ErrUnsealFailed", format!("Failed to unseal: {text}")),
        Failure::Immutable(key) => (
            "ErrUpdateFailed",
            format!(
                "Error updating {key}: the target Secret is immutable. Once a Secret is marked as immutable, it is not \
                 possible to revert this change nor to mutate the contents of the data field. You can only delete and \
                 recreate the Secret."
            ),
        ),
        // The incumbent's event leaves out the words that its condition begins with.
        _ => ("ErrUpdateFailed", text.strip_prefix("failed update: ").unwrap_or(&text).to_owned()),
    };
    Event { warning: true, reason, message: clip(&text, limits::CONDITION_MESSAGE_BYTES) }
}
