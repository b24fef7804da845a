//! What the status of an EncryptedSource says after a pass. A function of facts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::pure::crd::encrypted_source::{
    EncryptedSourceStatus, FileState, FileStatus, Inventory, InventoryEntry, Summary,
};
use crate::pure::error::{Explain, Retry, clip, one_line};
use crate::pure::limits;

/// Longest text of one line of `status.files`.
const FILE_MESSAGE_BYTES: usize = 300;

/// A pass that could not even begin: the repository, the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Stable word.
    pub reason: &'static str,
    /// Text with hint.
    pub message: String,
    /// Only a change of the spec or of a referenced object can help.
    pub stalled: bool,
}

impl Blocked {
    /// From any error.
    pub fn of(error: &impl Explain) -> Self {
        Self { reason: error.reason(), message: error.line(), stalled: error.retry() == Retry::OnChange }
    }
}

/// A pass that went through all documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Revision.
    pub revision: String,
    /// Every document.
    pub files: Vec<FileStatus>,
    /// Every Secret that was written and not pruned.
    pub inventory: Vec<InventoryEntry>,
    /// Further remarks for people: pruning held back, entries of the key Secret that were not used.
    pub remarks: Vec<String>,
    /// A failure among the documents may pass by itself.
    pub retry: bool,
}

/// Facts about the object.
pub struct About<'a> {
    /// Generation.
    pub generation: Option<i64>,
    /// Value of the request annotation that this pass handled.
    pub requested_at: Option<&'a str>,
}

/// The status after a pass.
pub fn conclude(
    previous: Option<&EncryptedSourceStatus>,
    about: &About<'_>,
    outcome: &Result<Pass, Blocked>,
    now: Timestamp,
) -> EncryptedSourceStatus {
    let mut status = previous.cloned().unwrap_or_default();
    status.observed_generation = about.generation;
    if about.requested_at.is_some() {
        status.last_handled_reconcile_at = about.requested_at.map(str::to_owned);
    }
    let (ready, reason, message, stalled) = match outcome {
        Err(blocked) => (false, blocked.reason, blocked.message.clone(), blocked.stalled),
        Ok(pass) => {
            let (ready, reason, message) = account(pass, &mut status);
            (ready, reason, message, false)
        }
    };
    let message = clip(&one_line(&message), limits::CONDITION_MESSAGE_BYTES);
    set(&mut status.conditions, about, "Ready", Some(ready), reason, &message, now);
    let stalled = stalled.then_some(true);
    set(&mut status.conditions, about, "Stalled", stalled, reason, &message, now);
    status
}

/// Takes a pass into the status and says how ready that is.
fn account(pass: &Pass, status: &mut EncryptedSourceStatus) -> (bool, &'static str, String) {
    let count = |state| i64::try_from(pass.files.iter().filter(|f| f.state == state).count()).unwrap_or(i64::MAX);
    let summary = Summary {
        applied: count(FileState::Applied),
        failed: count(FileState::Failed),
        ignored: count(FileState::Ignored),
    };
    let mut files = pass.files.clone();
    // Stable: within a state the order of the repository stays.
    files.sort_by_key(|file| file.state);
    files.truncate(limits::STATUS_FILES);
    for file in &mut files {
        file.message = file.message.take().map(|text| clip(&one_line(&text), FILE_MESSAGE_BYTES));
    }
    status.files = files;
    let mut entries = pass.inventory.clone();
    entries.sort();
    entries.dedup();
    let all = entries.len();
    entries.truncate(limits::STATUS_INVENTORY);
    let named = entries.len();
    status.inventory = Some(Inventory { entries });
    status.last_attempted_revision = Some(pass.revision.clone());
    let mut remarks: String = pass.remarks.iter().map(|remark| format!("; {remark}")).collect();
    if named < all {
        remarks.push_str(&format!("; the inventory names {named} of {all} Secrets, the label marks all"));
    }
    let failed = summary.failed;
    let total = summary.applied.saturating_add(failed);
    status.summary = Some(summary);
    if failed == 0 {
        status.last_applied_revision = Some(pass.revision.clone());
        return (true, "ReconciliationSucceeded", format!("Applied revision: {}{remarks}", pass.revision));
    }
    let first = pass.files.iter().find(|file| file.state == FileState::Failed);
    // The remarks after it must not fall to the limit of the whole message.
    let first = clip(&first.map(describe).unwrap_or_default(), 2 * FILE_MESSAGE_BYTES);
    let message =
        format!("{failed} of {total} documents failed at revision {}, the first is {first}{remarks}", pass.revision);
    (false, "DocumentsFailed", message)
}

/// One line for a document.
pub fn describe(file: &FileStatus) -> String {
    let mut text = file.path.clone();
    if let Some(document) = file.document {
        text.push_str(&format!(": document {document}"));
    }
    for part in [&file.object, &file.reason, &file.message].into_iter().flatten() {
        text.push_str(&format!(": {part}"));
    }
    one_line(&text)
}

/// Sets one condition, or takes it away. The time changes only with the status, as the API conventions want.
fn set(
    conditions: &mut Vec<Condition>,
    about: &About<'_>,
    kind: &str,
    value: Option<bool>,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let at = conditions.iter().position(|condition| condition.type_ == kind);
    let Some(value) = value else {
        conditions.retain(|condition| condition.type_ != kind);
        return;
    };
    let value = if value { "True" } else { "False" };
    let since = at
        .and_then(|at| conditions.get(at))
        .filter(|condition| condition.status == value)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: kind.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since,
        observed_generation: about.generation,
    };
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, state: FileState) -> FileStatus {
        let failed = state == FileState::Failed;
        FileStatus {
            path: path.into(),
            document: Some(1),
            object: Some("Secret a".into()),
            state,
            reason: failed.then(|| "MacMismatch".into()),
            message: failed.then(|| "MAC mismatch\nforged".into()),
        }
    }

    fn pass(files: Vec<FileStatus>) -> Pass {
        let inventory = vec![InventoryEntry::of_secret("n", "a", "u")];
        Pass { revision: "main@sha1:1".into(), files, inventory, remarks: vec![], retry: false }
    }

    const ABOUT: About<'_> = About { generation: Some(3), requested_at: Some("now") };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: &EncryptedSourceStatus) -> (&str, &str, &str, i64) {
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        (&ready.status, &ready.reason, &ready.message, ready.last_transition_time.0.as_second())
    }

    #[test]
    fn success_failure_and_success_again() {
        let good = Ok(pass(vec![file("b", FileState::Ignored), file("a", FileState::Applied)]));
        let status = conclude(None, &ABOUT, &good, at(1));
        assert_eq!(ready(&status), ("True", "ReconciliationSucceeded", "Applied revision: main@sha1:1", 1));
        assert_eq!(status.last_applied_revision.as_deref(), Some("main@sha1:1"));
        assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("now"));
        assert_eq!(status.files[0].state, FileState::Applied, "what matters more comes first");
        assert_eq!(conclude(Some(&status), &ABOUT, &good, at(9)), status, "nothing new, nothing changed");

        let mut second = pass(vec![file("a", FileState::Applied), file("b", FileState::Failed)]);
        second.revision = "main@sha1:2".into();
        let failed = conclude(Some(&status), &ABOUT, &Ok(second), at(2));
        let message = "1 of 2 documents failed at revision main@sha1:2, the first is b: document 1: Secret a: MacMismatch: MAC mismatch forged";
        assert_eq!(ready(&failed), ("False", "DocumentsFailed", message, 2));
        assert_eq!(failed.last_applied_revision.as_deref(), Some("main@sha1:1"));
        assert_eq!(failed.last_attempted_revision.as_deref(), Some("main@sha1:2"));
        assert_eq!(failed.files[0].path, "b");
        assert_eq!(failed.files[0].message.as_deref(), Some("MAC mismatch forged"));
    }

    #[test]
    fn a_blocked_pass_keeps_what_is_known_and_says_whether_waiting_helps() {
        let status = conclude(None, &ABOUT, &Ok(pass(vec![file("a", FileState::Applied)])), at(1));
        let blocked = |stalled| Err(Blocked { reason: "GitTimeout", message: "slow".into(), stalled });
        let waiting = conclude(Some(&status), &ABOUT, &blocked(false), at(2));
        assert_eq!(ready(&waiting), ("False", "GitTimeout", "slow", 2));
        assert_eq!((&waiting.files, &waiting.inventory), (&status.files, &status.inventory));
        assert!(!waiting.conditions.iter().any(|c| c.type_ == "Stalled"));
        let stuck = conclude(Some(&waiting), &ABOUT, &blocked(true), at(3));
        assert!(stuck.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True"));
        let mended = conclude(Some(&stuck), &ABOUT, &Ok(pass(vec![])), at(4));
        assert!(!mended.conditions.iter().any(|c| c.type_ == "Stalled"));
    }

    #[test]
    fn the_status_of_a_large_source_stays_small() {
        let mut files: Vec<_> = (0..5000).map(|i| file(&format!("{i}"), FileState::Ignored)).collect();
        files.push(FileStatus { message: Some("x".repeat(10_000)), ..file("bad", FileState::Failed) });
        let mut large = pass(files);
        large.inventory =
            (0..5000).map(|i| InventoryEntry::of_secret("n", &format!("{i:0>253}"), &"u".repeat(36))).collect();
        let status = conclude(None, &ABOUT, &Ok(large), at(1));
        assert_eq!(status.files.len(), limits::STATUS_FILES);
        assert_eq!(status.summary, Some(Summary { applied: 0, failed: 1, ignored: 5000 }));
        assert_eq!(status.inventory.as_ref().unwrap().entries.len(), limits::STATUS_INVENTORY);
        assert!(ready(&status).2.contains("names 2000 of 5000 Secrets"), "{}", ready(&status).2);
        assert!(serde_json::to_string(&status).unwrap().len() < 1_000_000);
    }
}
