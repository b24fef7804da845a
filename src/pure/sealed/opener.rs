//! Tries keys on the values of one object, the likeliest first, as far as the effort that is allowed goes.

use std::sync::Arc;

use jiff::Timestamp;

use super::blob::{Blob, BlobDigest};
use super::diagnose::{Cause, diagnose};
use super::hints::{Found, Hints, Learnt, Trial};
use super::item::{self, OpenFailure};
use super::keys::{SealingKey, SealingKeys};
use super::unseal::{EntryFailure, object_key, object_scope};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// How much may be spent on an object, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Every entry with every key, and then why it did not open.
    Explain,
    /// One turn of many: [`limits::SEALED_MISSES_PER_TURN`] keys in vain, and one more for each value that opened, so that
    /// every turn gets further than the one before. Reasons are told as far as they are known, and none is looked for.
    Turn,
    /// Whether it opens, and nothing else: the first failure ends the work, and so do [`limits::HTTP_KEY_OPERATIONS`]. For
    /// callers over HTTP: an explanation would say what other scopes hold, and a body full of entries that no key opens
    /// would cost a private-key operation for each entry and key.
    Verdict,
}

/// A value did not open.
pub(super) enum Unopened {
    /// For this reason.
    Failed(EntryFailure),
    /// The turn is over before every key was tried.
    TurnOver,
}

impl From<EntryFailure> for Unopened {
    fn from(failure: EntryFailure) -> Self {
        Self::Failed(failure)
    }
}

/// See the module's text.
pub(super) struct Opener<'a> {
    object: &'a SealedSecret,
    keys: &'a SealingKeys,
    hints: &'a Hints,
    effort: Effort,
    /// What was found out so far.
    pub learnt: Learnt,
    /// Active keys, the likeliest for this object's date first.
    by_date: Vec<Arc<SealingKey>>,
    sibling: Option<Arc<SealingKey>>,
    explained: usize,
    /// Private-key operations that may still be spent.
    left: usize,
}

impl<'a> Opener<'a> {
    pub fn new(object: &'a SealedSecret, keys: &'a SealingKeys, hints: &'a Hints, effort: Effort) -> Self {
        let left = match effort {
            Effort::Explain => usize::MAX,
            Effort::Turn => limits::SEALED_MISSES_PER_TURN,
            Effort::Verdict => limits::HTTP_KEY_OPERATIONS,
        };
        let by_date = keys.likeliest(sealed_at(object)).cloned().collect();
        let learnt = Learnt::default();
        Self { object, keys, hints, effort, learnt, by_date, sibling: None, explained: 0, left }
    }

    /// Opens the value of one entry.
    pub fn open(&mut self, entry: &str, bytes: &[u8]) -> Result<Plaintext, Unopened> {
        if bytes.is_empty() {
            return Err(EntryFailure::NoKey(Cause::Empty).into());
        }
        let blob = Blob::parse(bytes).map_err(|_| EntryFailure::NoKey(Cause::CutShort))?;
        let digest = blob.digest();
        let key = object_key(self.object);
        let label = object_scope(self.object).label(&key.namespace, &key.name);
        for candidate in self.candidates(&digest) {
            if self.hints.tried(&digest, &candidate, &label) == Some(false) || !candidate.fits(&blob) {
                continue;
            }
            if self.left == 0 {
                match self.effort {
                    Effort::Turn => return Err(Unopened::TurnOver),
                    Effort::Explain | Effort::Verdict => break,
                }
            }
            match item::open(&blob, candidate.private(), &label) {
                Ok(value) => {
                    self.opened(entry, digest, candidate);
                    return Ok(value);
                }
                Err(OpenFailure::Damaged) => {
                    let key = candidate.name().to_owned();
                    return Err(EntryFailure::NoKey(Cause::Damaged { key }).into());
                }
                Err(OpenFailure::NotThisKey) => {
                    self.left -= 1;
                    self.learnt.trials.push((digest, Trial::of(&candidate, &label, false)));
                }
            }
        }
        Err(EntryFailure::NoKey(self.cause(&blob, digest)).into())
    }

    fn opened(&mut self, entry: &str, digest: BlobDigest, by: Arc<SealingKey>) {
        self.left = match self.effort {
            Effort::Turn => self.left.saturating_add(1),
            Effort::Explain | Effort::Verdict => self.left.saturating_sub(1),
        };
        let as_dated = self.by_date.first().is_some_and(|first| first.fingerprint() == by.fingerprint());
        let namespace = self.object.metadata.namespace.clone().unwrap_or_default();
        self.learnt.habit = Some((namespace, (!as_dated).then(|| by.fingerprint().clone())));
        self.learnt.found.push(Found { entry: entry.into(), digest, key: by.fingerprint().clone() });
        self.sibling = Some(by);
    }

    /// The key that opened it last time, a sibling's, the namespace's, then all by the object's date; each key pair once.
    fn candidates(&self, digest: &BlobDigest) -> Vec<Arc<SealingKey>> {
        let namespace = self.object.metadata.namespace.as_deref().unwrap_or_default();
        let known = |fingerprint: &Arc<str>| self.keys.by_fingerprint(fingerprint);
        let hinted = self.hints.get(digest).and_then(known);
        let habit = self.hints.habit(namespace).and_then(known);
        let mut order: Vec<Arc<SealingKey>> = Vec::with_capacity(self.keys.len());
        for key in hinted.into_iter().chain(self.sibling.as_ref()).chain(habit).chain(&self.by_date) {
            if !order.iter().any(|seen| seen.fingerprint() == key.fingerprint()) {
                order.push(key.clone());
            }
        }
        order
    }

    /// Why no active key opened it.
    fn cause(&mut self, blob: &Blob, digest: BlobDigest) -> Cause {
        if self.effort == Effort::Verdict {
            return Cause::Unknown;
        }
        // Finding out costs as much as trying again with every key: for the first entries only.
        if self.explained >= limits::SEALED_DIAGNOSES {
            return Cause::NotLookedFor;
        }
        self.explained += 1;
        let (hints, learnt, search) = (self.hints, &mut self.learnt, self.effort == Effort::Explain);
        let opens = |key: &SealingKey, label: &[u8]| {
            let known = hints.tried(&digest, key, label);
            if known.is_some() || !search {
                return known;
            }
            let opens = item::open(blob, key.private(), label).err() != Some(OpenFailure::NotThisKey);
            learnt.trials.push((digest, Trial::of(key, label, opens)));
            Some(opens)
        };
        diagnose(self.object, blob, self.keys, opens)
    }
}

/// When the values of an object were sealed at the latest: its last change of other than the status, or its creation.
fn sealed_at(object: &SealedSecret) -> Option<Timestamp> {
    let meta = &object.metadata;
    let changes = meta.managed_fields.iter().flatten().filter(|fields| fields.subresource.as_deref() != Some("status"));
    let changed = changes.filter_map(|fields| fields.time.as_ref()).map(|time| time.0).max();
    changed.or_else(|| meta.creation_timestamp.as_ref().map(|time| time.0))
}
