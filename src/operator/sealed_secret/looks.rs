//! What this process knows of each object since its last pass over it, so that nothing is done twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::adapters::k8s::seen::Entry;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::queue::ObjectKey;
use crate::pure::sealed::keys::KeyStates;
use crate::pure::secret::{Fingerprint, FingerprintKey};

/// Everything that decides what the Secret should be, and what is said when it cannot be.
#[derive(Clone, PartialEq)]
pub(super) struct Facts {
    /// Digest of the object's identity, generation and annotations.
    asked: Fingerprint,
    keys: KeyStates,
}

impl Facts {
    pub(super) fn of(entry: &Entry<SealedSecret>, keys: KeyStates, digests: &FingerprintKey) -> Self {
        let meta = entry.meta();
        let generation = meta.generation.unwrap_or_default().to_be_bytes();
        let annotations =
            meta.annotations.iter().flatten().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let uid = meta.uid.as_deref().unwrap_or_default().as_bytes();
        Self { asked: digests.digest([uid, &generation[..]].into_iter().chain(annotations)), keys }
    }
}

struct Look {
    /// What the last pass went by.
    facts: Facts,
    /// Whether it left the Secret as they ask, and said so.
    settled: bool,
    /// Version of the Secret after our last look or write: a watch event about that very version is no news. `None` when
    /// there was no Secret, or nobody has looked.
    version: Option<String>,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<ObjectKey, Look>>);

impl Looks {
    fn all(&self) -> MutexGuard<'_, HashMap<ObjectKey, Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass begins, and goes by these facts.
    pub(super) fn begin(&self, key: &ObjectKey, facts: Facts) {
        let mut all = self.all();
        let version = all.get_mut(key).and_then(|look| look.version.take());
        all.insert(key.clone(), Look { facts, settled: false, version });
    }

    /// The pass saw or wrote this version of the Secret, or saw that there is none.
    pub(super) fn saw(&self, key: &ObjectKey, version: Option<&str>) {
        if let Some(look) = self.all().get_mut(key) {
            look.version = version.map(str::to_owned);
        }
    }

    /// The pass met a Secret that no watch had told of, in a version that nobody has seen.
    pub(super) fn met(&self, key: &ObjectKey) {
        self.saw(key, Some(""));
    }

    /// The pass left the Secret as its facts ask, and the status says so.
    pub(super) fn settle(&self, key: &ObjectKey) {
        if let Some(look) = self.all().get_mut(key) {
            look.settled = true;
        }
    }

    /// Nothing is left to be known of a deleted object.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.all().remove(key);
    }

    /// Whether a pass over the object has begun.
    pub(super) fn knows(&self, key: &ObjectKey) -> bool {
        self.all().contains_key(key)
    }

    /// Whether no pass has seen the object's Secret.
    pub(super) fn is_first(&self, key: &ObjectKey) -> bool {
        self.all().get(key).is_none_or(|look| look.version.is_none())
    }

    /// Whether a Secret of this version, or none, is another one than the last pass left.
    pub(super) fn is_news(&self, key: &ObjectKey, version: Option<&str>) -> bool {
        self.all().get(key).and_then(|look| look.version.as_deref()) != version
    }

    /// Whether the last pass left the Secret in this version, by these very facts.
    pub(super) fn is_settled(&self, key: &ObjectKey, facts: &Facts, version: &str) -> bool {
        let left = |look: &Look| look.settled && look.facts == *facts && look.version.as_deref() == Some(version);
        self.all().get(key).is_some_and(left)
    }

    /// Objects that were not brought in line, and were tried with other keys than these.
    pub(super) fn failed_with_others(&self, keys: &KeyStates) -> Vec<ObjectKey> {
        let all = self.all();
        let failed = all.iter().filter(|(_, look)| !look.settled && look.facts.keys != *keys);
        failed.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::sealed::SealingKeys;
    use crate::pure::sealed::keys::KeyState;

    fn entry(generation: i64, scope: &str) -> Entry<SealedSecret> {
        let object = serde_json::json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": { "encryptedData": {} },
            "metadata": { "uid": "u", "generation": generation, "annotations": { "scope": scope } },
        });
        let object: SealedSecret = serde_json::from_value(object).unwrap();
        Entry { object: Ok(object) }
    }

    fn keys(names: &[&str]) -> KeyStates {
        let mut keys = SealingKeys::new();
        for name in names {
            let pem = std::fs::read(format!("tests/vectors/sealed/keys/{name}.key")).unwrap();
            keys.add_pem(name, &pem, None).unwrap();
        }
        keys.states()
    }

    #[test]
    fn what_was_left_as_it_should_be_is_known_by_everything_that_decides_it() {
        let (looks, key) = (Looks::default(), ObjectKey::new("a", "b"));
        let digests = FingerprintKey::new([7; 32]);
        let facts = |generation, scope, names: &[&str]| Facts::of(&entry(generation, scope), keys(names), &digests);
        let now = facts(1, "x", &["current"]);
        assert!(looks.is_first(&key));
        looks.begin(&key, now.clone());
        assert!(looks.is_first(&key), "no Secret was seen yet");
        looks.saw(&key, Some("7"));
        assert!(!looks.is_settled(&key, &now, "7"), "the status is not written yet");
        looks.settle(&key);
        assert!(!looks.is_first(&key) && looks.is_settled(&key, &now, "7") && !looks.is_news(&key, Some("7")));
        assert!(looks.is_news(&key, Some("8")) && looks.is_news(&key, None), "somebody else wrote");
        assert!(!looks.is_settled(&key, &now, "8"));
        for other in [facts(2, "x", &["current"]), facts(1, "y", &["current"]), facts(1, "x", &["current", "old"])] {
            assert!(!looks.is_settled(&key, &other, "7"));
        }
        looks.forget(&key);
        assert!(looks.is_first(&key) && !looks.is_news(&key, None));
    }

    #[test]
    fn a_new_key_is_a_new_chance_for_what_failed_without_it() {
        let digests = FingerprintKey::new([7; 32]);
        let (one, two) = (keys(&["current"]), keys(&["current", "old"]));
        let looks = Looks::default();
        for (name, keys) in [("settled", &one), ("failed", &one), ("tried with both", &two), ("being tried", &one)] {
            looks.begin(&ObjectKey::new("a", name), Facts::of(&entry(1, ""), keys.clone(), &digests));
        }
        looks.settle(&ObjectKey::new("a", "settled"));
        let mut again = looks.failed_with_others(&two);
        again.sort();
        assert_eq!(again, [ObjectKey::new("a", "being tried"), ObjectKey::new("a", "failed")]);
        assert_eq!(looks.failed_with_others(&one), [ObjectKey::new("a", "tried with both")]);
    }

    #[test]
    fn a_key_that_is_labelled_anew_makes_another_set() {
        let pem = std::fs::read("tests/vectors/sealed/keys/current.key").unwrap();
        let with = |state: KeyState| {
            let mut keys = SealingKeys::new();
            keys.add(crate::pure::sealed::keys::SealingKey::parse("k", &pem, None, state, None).unwrap().0);
            keys.states()
        };
        assert!(with(KeyState::Active) == with(KeyState::Active));
        assert!(with(KeyState::Active) != with(KeyState::from_label("compromised")));
    }
}
