//! The key ring of a cluster: where each sealing key stands, what it still holds, what may be retired.
//!
//! Counting is by [`Ledger`]: an object that has not changed since it was counted is not opened again, and one that the
//! reconciler has opened is counted from what it remembered.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::backup;
use super::blob::{self, Blob};
use super::hints::{Hints, Learnt};
use super::inventory::Inventory;
use super::keys::{COMPROMISED, KeyFingerprint, KeyState, SealingKey, SealingKeys};
use super::scope::Scope;
use super::unseal::{object_key, object_scope};
use crate::pure::crd::key_ring::{BackupStatus, KeyPhase, KeyRingSpec, KeyRingStatus, KeyStatus};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::duration;
use crate::pure::error::clip;
use crate::pure::limits;
use crate::pure::queue::ObjectKey;

/// Age at which a new key takes the active one's place; zero for never. `flags` is what the operator was started with.
pub fn renew_period(spec: Option<&KeyRingSpec>, flags: Duration) -> Duration {
    let asked = spec.and_then(|spec| spec.renewal.as_ref());
    asked.and_then(|renewal| duration::of_schema(&renewal.after)).unwrap_or(flags)
}

/// When a new key takes this one's place; `None` for never.
pub fn renewal_due(current: &SealingKey, keys: &SealingKeys, period: Duration) -> Option<Timestamp> {
    if period.is_zero() {
        return None;
    }
    current.order_time(keys.order()).checked_add(SignedDuration::try_from(period).ok()?).ok()
}

/// Where a key stands.
pub fn phase(key: &SealingKey, keys: &SealingKeys) -> KeyPhase {
    match key.state() {
        KeyState::Active if keys.current().is_some_and(|current| current.name() == key.name()) => KeyPhase::Active,
        KeyState::Active => KeyPhase::Retiring,
        KeyState::Retired(label) if label == COMPROMISED => KeyPhase::Compromised,
        KeyState::Retired(_) => KeyPhase::Retired,
    }
}

/// What one object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    uid: String,
    generation: Option<i64>,
    scope: Option<Scope>,
    in_force: bool,
    by_key: Holders,
    unopened: u64,
    /// The keys that were tried in vain, when something did not open.
    tried: Option<String>,
}

/// The keys of one object, with the number of entries that each opens: mostly one key, and an object costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holders(Vec<(KeyFingerprint, u64)>);

impl Holders {
    fn add(&mut self, key: &KeyFingerprint) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, entries)) => *entries += 1,
            None => {
                self.0.reserve_exact(1);
                self.0.push((key.clone(), 1));
            }
        }
    }
}

/// What all keys hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Fingerprint to entries and objects.
    pub by_key: BTreeMap<KeyFingerprint, (u64, u64)>,
    /// Entries that no key opens.
    pub unopened: u64,
    /// Objects that cannot be read: nobody knows what they need.
    pub unreadable: u64,
}

impl Tally {
    /// Entries that a key opens.
    pub fn entries(&self, key: &str) -> u64 {
        self.by_key.get(key).map_or(0, |(entries, _)| *entries)
    }
}

/// The count of every object, kept from pass to pass. A few hundred bytes for each object.
#[derive(Default)]
pub struct Ledger {
    lines: HashMap<ObjectKey, Line>,
}

impl Ledger {
    /// Whether the count of this very version is known, with these keys.
    pub fn knows(&self, object: &SealedSecret, keys: &SealingKeys, in_force: bool) -> bool {
        let known = self.lines.get(&object_key(object));
        known.is_some_and(|known| known.stands(&Line::of(object, in_force), keys))
    }

    /// Counts one object, whether it is known or not. `in_force` says that the reconciler opened this very version: then what it remembered in
    /// `hints` is enough. Otherwise, and where a hint is missing, the object is opened, in milliseconds for each entry and
    /// key; what was found out that way is in the answer, to be remembered.
    pub fn count(&mut self, object: &SealedSecret, keys: &SealingKeys, hints: &Hints, in_force: bool) -> Learnt {
        let mut line = Line::of(object, in_force);
        let learnt = match remembered(object, keys, hints).filter(|_| in_force) {
            Some(by_key) => {
                line.by_key = by_key;
                Learnt::default()
            }
            None => {
                let mut inventory = Inventory::default();
                let learnt = inventory.add(object, keys, hints);
                for one in &learnt.found {
                    line.by_key.add(&one.key);
                }
                line.unopened = inventory.unopened.values().map(|entries| entries.len() as u64).sum();
                line.tried = (line.unopened > 0).then(|| set_of(keys));
                learnt
            }
        };
        self.lines.insert(object_key(object), line);
        learnt
    }

    /// Forgets the objects that are gone.
    pub fn retain(&mut self, there: impl Fn(&ObjectKey) -> bool) {
        self.lines.retain(|key, _| there(key));
    }

    /// The sum of all objects.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for line in self.lines.values() {
            for (key, entries) in &line.by_key.0 {
                let sum = tally.by_key.entry(key.clone()).or_default();
                *sum = (sum.0 + entries, sum.1 + 1);
            }
            tally.unopened += line.unopened;
        }
        tally
    }
}

impl Line {
    /// A version of an object that was not counted yet.
    fn of(object: &SealedSecret, in_force: bool) -> Self {
        let meta = &object.metadata;
        let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation);
        Self { uid, generation, scope: Some(object_scope(object)), in_force, ..Self::default() }
    }

    /// Whether this count still holds for the version that `now` describes.
    fn stands(&self, now: &Self, keys: &SealingKeys) -> bool {
        (&self.uid, self.generation, self.scope, self.in_force) == (&now.uid, now.generation, now.scope, now.in_force)
            && self.by_key.0.iter().all(|(key, _)| keys.iter().any(|present| present.fingerprint() == key))
            && self.tried.as_ref().is_none_or(|tried| *tried == set_of(keys))
    }
}

fn set_of(keys: &SealingKeys) -> String {
    backup::key_set(keys.iter().map(|key| key.fingerprint()))
}

/// The keys of an object whose every entry is remembered under a key that is still there.
fn remembered(object: &SealedSecret, keys: &SealingKeys, hints: &Hints) -> Option<Holders> {
    let mut by_key = Holders::default();
    for text in object.spec.encrypted_data.0.values().chain(&object.spec.data) {
        let digest = Blob::parse(&blob::decode(text).ok()?).ok()?.digest();
        let key = keys.by_fingerprint(hints.get(&digest)?)?;
        by_key.add(key.fingerprint());
    }
    Some(by_key)
}

/// What a status is made of.
pub struct Observed<'a> {
    /// The keys.
    pub keys: &'a SealingKeys,
    /// What they hold.
    pub tally: &'a Tally,
    /// The only namespace that was looked at, when it is only one: then nothing may be concluded for the rest.
    pub only_in: Option<&'a str>,
    /// Generation of the KeyRing.
    pub generation: Option<i64>,
    /// The time.
    pub now: Timestamp,
}

/// The status of the KeyRing. `before` is the present one: times move only when what they are about changes.
pub fn conclude(before: Option<&KeyRingStatus>, seen: &Observed<'_>) -> KeyRingStatus {
    let keys: Vec<KeyStatus> = seen.keys.iter().map(|key| key_status(key, before, seen)).collect();
    let mut conditions = before.map(|before| before.conditions.clone()).unwrap_or_default();
    let mut set = |kind: &str, value: bool, reason: &str, message: String| {
        set_condition(&mut conditions, seen, (kind, value, reason, message));
    };
    let current = seen.keys.current();
    match current {
        Some(key) => {
            let looked = seen.only_in.map(|namespace| format!("; only namespace {namespace} was looked at"));
            set("Ready", true, "KeyActive", format!("{} seals{}", key.name(), looked.unwrap_or_default()));
        }
        None => set("Ready", false, "NoActiveKey", "there is no active key with a certificate".into()),
    }
    let missing: Vec<&str> = keys.iter().filter(|key| key.backed_up.is_none()).map(|key| key.name.as_str()).collect();
    if keys.is_empty() {
        set("BackedUp", false, "NoKeys", "there is no key".into());
    } else if missing.is_empty() {
        set("BackedUp", true, "AllKeys", "every key stands in a backup".into());
    } else {
        let message = format!("in no backup: {}; run `latchwork keys backup`", missing.join(", "));
        set("BackedUp", false, "MissingKeys", clip(&message, limits::CONDITION_MESSAGE_BYTES));
    }
    let on_old = keys.iter().filter(|key| key.state != KeyPhase::Active).map(|key| key.entries).sum();
    KeyRingStatus {
        observed_generation: seen.generation,
        conditions,
        active_key: current.map(|key| key.name().to_owned()),
        key_count: number(keys.len() as u64),
        entries_on_old_keys: on_old,
        entries_unopened: number(seen.tally.unopened),
        backup: whole_backup(seen.keys),
        keys: keys.into_iter().take(limits::STATUS_KEYS).collect(),
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn key_status(key: &SealingKey, before: Option<&KeyRingStatus>, seen: &Observed<'_>) -> KeyStatus {
    let before = before.and_then(|before| before.keys.iter().find(|known| *known.fingerprint == **key.fingerprint()));
    let (entries, objects) = seen.tally.by_key.get(key.fingerprint()).copied().unwrap_or_default();
    // A key that was in use when somebody looked last is unused from now on.
    let since = before.and_then(|known| known.unused_since.clone()).or_else(|| Some(seen.now.to_string()));
    let marks = key.backups();
    KeyStatus {
        name: key.name().to_owned(),
        fingerprint: key.fingerprint().to_string(),
        state: phase(key, seen.keys),
        created: key.created().map(|time| time.to_string()),
        valid_from: key.certificate().map(|certificate| certificate.not_before().to_string()),
        valid_until: key.certificate().map(|certificate| certificate.not_after().to_string()),
        entries: number(entries),
        objects: number(objects),
        unused_since: since.filter(|_| entries == 0),
        backed_up: marks.written.as_ref().map(|mark| mark.time.to_string()),
        backup_verified: marks.verified.map(|time| time.to_string()),
    }
}

/// The backup that every key names as its last one, if there is one.
fn whole_backup(keys: &SealingKeys) -> Option<BackupStatus> {
    let mut marks = keys.iter().map(|key| key.backups().written.as_ref());
    let first = marks.next()??;
    let same = marks.all(|mark| mark == Some(first));
    same.then(|| BackupStatus {
        time: first.time.to_string(),
        recipients: first.recipients.clone(),
        key_set: first.key_set.clone(),
    })
}

fn set_condition(conditions: &mut Vec<Condition>, seen: &Observed<'_>, new: (&str, bool, &str, String)) {
    let (kind, value, reason, message) = new;
    let status = if value { "True" } else { "False" };
    let old = conditions.iter().position(|condition| condition.type_ == kind);
    let since = old.and_then(|at| conditions.get(at)).filter(|old| old.status == status);
    let condition = Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        last_transition_time: since.map_or(Time(seen.now), |old| old.last_transition_time.clone()),
        observed_generation: seen.generation,
    };
    match old.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

/// Names of the keys that the spec lets the operator retire: old, in a verified backup, and unused for long enough.
/// Nothing when only part of the cluster was looked at, or when something there cannot be read or opened: with its scope
/// or name mended it may turn out to need any key.
///
/// The time comes from the status. Whoever forges it can at most bring forward the retirement of a key that opens nothing
/// and stands in a backup, and a label undoes that.
pub fn to_retire(spec: &KeyRingSpec, status: &KeyRingStatus, seen: &Observed<'_>) -> Vec<String> {
    let wait = spec.retirement.as_ref().and_then(|retirement| duration::of_schema(&retirement.unused_for));
    let (Some(wait), None) = (wait.and_then(|wait| SignedDuration::try_from(wait).ok()), seen.only_in) else {
        return vec![];
    };
    if seen.tally.unopened > 0 || seen.tally.unreadable > 0 {
        return vec![];
    }
    let due = |key: &&KeyStatus| {
        let since = key.unused_since.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        key.state == KeyPhase::Retiring
            && key.entries == 0
            && key.backup_verified.is_some()
            && since.is_some_and(|since| seen.now.duration_since(since) >= wait)
    };
    status.keys.iter().filter(due).map(|key| key.name.clone()).collect()
}

#[cfg(test)]
mod tests;
