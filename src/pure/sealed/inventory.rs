//! Which sealing key opens which entries: what a key that retires would take along.

use std::collections::BTreeMap;

use super::blob::{self, Blob};
use super::hints::{Found, Hints, Learnt, Trial};
use super::item::{self, OpenFailure};
use super::keys::{KeyFingerprint, SealingKey, SealingKeys};
use super::unseal::{object_key, object_scope};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::queue::ObjectKey;

/// Entry name of the deprecated `spec.data` in an inventory.
pub const WHOLE_SECRET: &str = "(spec.data)";

/// What every key of a cluster still opens.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Key fingerprint to objects to entry names.
    pub by_key: BTreeMap<KeyFingerprint, BTreeMap<ObjectKey, Vec<String>>>,
    /// Entries that no key opens, retired ones included.
    pub unopened: BTreeMap<ObjectKey, Vec<String>>,
}

impl Inventory {
    /// Number of entries that a key opens.
    pub fn entries(&self, key: &str) -> usize {
        self.by_key.get(key).into_iter().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Objects in which a key opens something, in order.
    pub fn objects(&self, key: &str) -> impl Iterator<Item = (&ObjectKey, &[String])> {
        self.by_key.get(key).into_iter().flatten().map(|(object, entries)| (object, entries.as_slice()))
    }

    /// Adds what another inventory over the same keys found.
    pub fn merge(&mut self, other: Self) {
        for (key, objects) in other.by_key {
            self.by_key.entry(key).or_default().extend(objects);
        }
        self.unopened.extend(other.unopened);
    }

    /// Adds the entries of one object. Keys in every state count, since what only a compromised key opens is what
    /// matters most. What opens is dropped at once; what was found out is in the answer, for [`Hints::learn`].
    pub fn add(&mut self, object: &SealedSecret, keys: &SealingKeys, hints: &Hints) -> Learnt {
        let key = object_key(object);
        let mut learnt = Learnt::default();
        let mut sibling = None;
        let whole = object.spec.data.as_deref().map(|text| (WHOLE_SECRET, text));
        let entries = object.spec.encrypted_data.0.iter().map(|(entry, text)| (entry.as_str(), text.as_str()));
        for (entry, text) in whole.into_iter().chain(entries) {
            match opener(object, text, (keys, hints), sibling, &mut learnt) {
                Some((found, by)) => {
                    sibling = Some(by);
                    let objects = self.by_key.entry(found.key.clone()).or_default();
                    objects.entry(key.clone()).or_default().push(entry.to_owned());
                    learnt.found.push(found);
                }
                None => self.unopened.entry(key.clone()).or_default().push(entry.to_owned()),
            }
        }
        learnt
    }
}

fn opener<'a>(
    object: &SealedSecret,
    text: &str,
    (keys, hints): (&'a SealingKeys, &Hints),
    sibling: Option<&'a SealingKey>,
    learnt: &mut Learnt,
) -> Option<(Found, &'a SealingKey)> {
    let blob = Blob::parse(&blob::decode(text).ok()?).ok()?;
    let digest = blob.digest();
    let object_key = object_key(object);
    let label = object_scope(object).label(&object_key.namespace, &object_key.name);
    let hinted = hints.get(&digest).and_then(|fingerprint| keys.by_fingerprint(fingerprint));
    let candidates = hinted.map(AsRef::as_ref).into_iter().chain(sibling).chain(keys.iter().map(AsRef::as_ref));
    let mut tried: Vec<&str> = vec![];
    for key in candidates {
        if tried.contains(&&**key.fingerprint()) {
            continue;
        }
        tried.push(key.fingerprint());
        if hints.tried(&digest, key, &label) == Some(false) || !key.fits(&blob) {
            continue;
        }
        match item::open(&blob, key.private(), &label) {
            Ok(_) => return Some((Found { entry: String::new(), digest, key: key.fingerprint().clone() }, key)),
            Err(OpenFailure::NotThisKey) => learnt.trials.push((digest, Trial::of(key, &label, false))),
            // Damaged for every key: no key holds it any more.
            Err(OpenFailure::Damaged) => return None,
        }
    }
    None
}
