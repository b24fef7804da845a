//! What makes the next time cheaper, nothing of it secret: which key opened which value, which keys were tried in vain,
//! and the templates, parsed.
//!
//! A private key says the same about a value and a label for ever, so nothing is tried twice: a bad value that is looked at
//! again costs nothing until its text, its label or the set of keys is another one, and then only what is new about it.

use std::collections::HashMap;
use std::hash::Hash;

use sha2::{Digest as _, Sha256};

use super::blob::{self, Blob, BlobDigest};
use super::keys::{KeyFingerprint, SealingKey};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::limits;
use crate::pure::template::TemplateCache;

/// One value and the key that opened it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Entry name; empty for the deprecated `spec.data`.
    pub entry: String,
    /// Identifies the value.
    pub digest: BlobDigest,
    /// Fingerprint of the key.
    pub key: KeyFingerprint,
}

/// One key tried on the session key of one value under one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Digest of label and key.
    id: [u8; 16],
    /// Whether the session key opened. The value behind it may be damaged all the same.
    opens: bool,
}

impl Trial {
    /// What came out of trying `key` under `label`.
    pub fn of(key: &SealingKey, label: &[u8], opens: bool) -> Self {
        Self { id: trial_id(key, label), opens }
    }
}

fn trial_id(key: &SealingKey, label: &[u8]) -> [u8; 16] {
    // The fingerprint has no NUL in it, so no two pairs run together to the same bytes.
    let digest = Sha256::new().chain_update(key.fingerprint().as_bytes()).chain_update([0]).chain_update(label);
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = <[u8; 32]>::from(digest.finalize());
    id
}

/// What one pass over an object found out, for [`Hints::learn`].
#[derive(Default)]
pub struct Learnt {
    /// Which key opened which value.
    pub found: Vec<Found>,
    /// Which keys were tried, with what result.
    pub trials: Vec<(BlobDigest, Trial)>,
    /// Namespace of the object, and the key of its values where its date points to another one.
    pub habit: Option<(String, Option<KeyFingerprint>)>,
}

/// A bounded memory: when the younger half is full, the older half is dropped.
struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Weight of the younger half, and the weight at which it becomes the older one.
    weight: usize,
    half: usize,
}

impl<K: Eq + Hash + Copy, V> Halves<K, V> {
    fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, half: most / 2 }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// The place of `key` in the younger half, with what the older one knows about it.
    fn place(&mut self, key: K, weight: usize) -> &mut V
    where
        V: Default,
    {
        if self.weight >= self.half {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}

/// See the module's text. Bounded by [`limits::SEALED_HINTS`] and [`limits::SEALED_TRIALS`].
pub struct Hints {
    opened: Halves<BlobDigest, Option<KeyFingerprint>>,
    trials: Halves<BlobDigest, Vec<Trial>>,
    /// The key that opened the last value of a namespace whose date pointed to another key.
    habits: HashMap<String, KeyFingerprint>,
    templates: TemplateCache,
}

impl Default for Hints {
    fn default() -> Self {
        Self::with_templates(TemplateCache::default())
    }
}

impl Hints {
    fn with_templates(templates: TemplateCache) -> Self {
        let (opened, trials) = (Halves::new(limits::SEALED_HINTS), Halves::new(limits::SEALED_TRIALS));
        Self { opened, trials, habits: HashMap::new(), templates }
    }

    /// The key that opened this value.
    pub fn get(&self, digest: &BlobDigest) -> Option<&KeyFingerprint> {
        self.opened.get(digest)?.as_ref()
    }

    /// Whether the session key of this value opens with this key under this label; `None` when that was never tried.
    pub fn tried(&self, digest: &BlobDigest, key: &SealingKey, label: &[u8]) -> Option<bool> {
        let trials = self.trials.get(digest)?;
        let id = trial_id(key, label);
        trials.iter().find(|trial| trial.id == id).map(|trial| trial.opens)
    }

    /// The key that a namespace's values were sealed with lately, where their dates say another one: objects that came out
    /// of a backup are younger than what they hold.
    pub fn habit(&self, namespace: &str) -> Option<&KeyFingerprint> {
        self.habits.get(namespace)
    }

    /// What is known about the values of one object, as hints of their own: the shared ones are then free for others.
    pub fn for_object(&self, object: &SealedSecret) -> Self {
        let mut own = Self::with_templates(self.templates.clone());
        let texts = object.spec.encrypted_data.0.values().chain(&object.spec.data);
        for digest in texts.filter_map(|text| digest_of(text)) {
            if let Some(key) = self.get(&digest) {
                *own.opened.place(digest, 0) = Some(key.clone());
            }
            if let Some(trials) = self.trials.get(&digest) {
                own.trials.place(digest, 0).clone_from(trials);
            }
        }
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        own.habits.extend(self.habit(namespace).map(|key| (namespace.to_owned(), key.clone())));
        own
    }

    /// The templates that were parsed.
    pub fn templates(&self) -> &TemplateCache {
        &self.templates
    }

    /// Remembers that this key opens every value of the object.
    pub fn remember_all(&mut self, object: &SealedSecret, key: &KeyFingerprint) {
        let texts = object.spec.encrypted_data.0.values().chain(&object.spec.data);
        texts.filter_map(|text| digest_of(text)).for_each(|digest| self.remember_one(digest, key));
    }

    /// Remembers which key opened which value.
    pub fn remember(&mut self, found: &[Found]) {
        found.iter().for_each(|found| self.remember_one(found.digest, &found.key));
    }

    fn remember_one(&mut self, digest: BlobDigest, key: &KeyFingerprint) {
        *self.opened.place(digest, 1) = Some(key.clone());
    }

    /// Remembers everything that a pass found out.
    pub fn learn(&mut self, learnt: &Learnt) {
        self.remember(&learnt.found);
        // What opened is known by its key alone.
        learnt.found.iter().for_each(|found| self.trials.forget(&found.digest));
        for (digest, trial) in &learnt.trials {
            if learnt.found.iter().any(|found| found.digest == *digest) {
                continue;
            }
            let trials = self.trials.place(*digest, 1);
            if !trials.contains(trial) {
                trials.push(*trial);
            }
        }
        match &learnt.habit {
            Some((namespace, Some(key))) => {
                if self.habits.len() >= limits::SEALED_HABITS {
                    self.habits.clear();
                }
                self.habits.insert(namespace.clone(), key.clone());
            }
            Some((namespace, None)) => drop(self.habits.remove(namespace)),
            None => {}
        }
    }
}

fn digest_of(text: &str) -> Option<BlobDigest> {
    Some(Blob::parse(&blob::decode(text).ok()?).ok()?.digest())
}
