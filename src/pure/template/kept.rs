//! Results of templates that read the clock or the random source are kept while their inputs are the same.
//!
//! The fingerprint of the inputs stands in an annotation of the Secret. Its key is what the templates made, and for
//! SealedSecrets a sealing key too: it needs no store of its own, outlives a restart, and differs when somebody edits a
//! kept entry. `docs/decisions/0005` says more.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::pure::secret::{FingerprintKey, Plaintext, SecretData};

/// Annotation of the Secret that holds the fingerprint. Whoever removes it gets new results.
pub const ANNOTATION: &str = "latchwork.dev/template-inputs";

/// A part of a Secret that a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An entry of `data`.
    Data,
    /// A label.
    Label,
    /// An annotation.
    Annotation,
}

/// The parts of a Secret that templates write.
pub struct Target<'a> {
    /// `data`.
    pub data: &'a mut SecretData,
    /// `metadata.labels`.
    pub labels: &'a mut BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: &'a mut BTreeMap<String, String>,
}

/// The same parts of the Secret that is there.
pub struct Live<'a> {
    /// `data`.
    pub data: &'a SecretData,
    /// `metadata.labels`.
    pub labels: &'a BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: &'a BTreeMap<String, String>,
}

/// What volatile templates made, and of what.
pub struct Kept {
    made: BTreeSet<(Part, String)>,
    /// Digests of the inputs, each as good as the others. The first is the one to write.
    inputs: Vec<Zeroizing<String>>,
}

impl Kept {
    /// `inputs` is everything that the templates saw, their texts included.
    pub fn new<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in inputs {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self { made: BTreeSet::new(), inputs: vec![Zeroizing::new(hex::encode(digest.finalize()))] }
    }

    /// From here on only a holder of one of these keys can make the fingerprint: no guess of the inputs can be tested without
    /// it. The first key, the newest, writes; what an older one wrote still holds. Without keys nothing changes.
    pub fn keyed_by<'a>(&mut self, keys: impl IntoIterator<Item = &'a FingerprintKey>) {
        if self.made.is_empty() {
            return;
        }
        let digest = |key: &FingerprintKey| {
            let inputs = self.inputs.iter().map(|inputs| inputs.as_bytes());
            Zeroizing::new(key.digest([b"template-inputs".as_slice()].into_iter().chain(inputs)).to_string())
        };
        let keyed: Vec<_> = keys.into_iter().map(digest).collect();
        if !keyed.is_empty() {
            self.inputs = keyed;
        }
    }

    /// Notes that a volatile template made this.
    pub fn add(&mut self, part: Part, name: &str) {
        self.made.insert((part, name.to_owned()));
    }

    /// Notes that something else made this after all.
    pub fn remove(&mut self, part: Part, name: &str) {
        self.made.remove(&(part, name.to_owned()));
    }

    /// Puts what is there in place of what was made anew, if it was made of the same inputs and nobody changed it since;
    /// and writes the fingerprint down.
    pub fn settle(&self, target: &mut Target<'_>, live: Option<&Live<'_>>) {
        if self.made.is_empty() {
            return;
        }
        if let Some(live) = live
            && let Some(noted) = live.annotations.get(ANNOTATION)
            && let Some(key) = key_of(&self.made, live.data, live.labels, live.annotations)
            && self.inputs.iter().any(|inputs| fingerprint(&key, inputs) == *noted)
        {
            for (part, name) in &self.made {
                match part {
                    Part::Data => {
                        let value = live.data.get(name).map(Plaintext::duplicate);
                        value.into_iter().for_each(|value| drop(target.data.insert(name.as_str(), value)));
                    }
                    Part::Label => target.labels.extend(live.labels.get_key_value(name).map(owned)),
                    Part::Annotation => target.annotations.extend(live.annotations.get_key_value(name).map(owned)),
                }
            }
            target.annotations.insert(ANNOTATION.into(), noted.clone());
            return;
        }
        let key = key_of(&self.made, target.data, target.labels, target.annotations);
        if let (Some(key), Some(inputs)) = (key, self.inputs.first()) {
            target.annotations.insert(ANNOTATION.into(), fingerprint(&key, inputs));
        }
    }
}

fn fingerprint(key: &FingerprintKey, inputs: &str) -> String {
    key.digest([inputs.as_bytes()]).to_string()
}

/// The key that the results make. `None` when one of them is not there.
fn key_of(
    made: &BTreeSet<(Part, String)>,
    data: &SecretData,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Option<FingerprintKey> {
    let mut digest = Sha256::new();
    for (part, name) in made {
        let (part, value) = match part {
            Part::Data => ("data", data.get(name)?.expose()),
            Part::Label => ("label", labels.get(name)?.as_bytes()),
            Part::Annotation => ("annotation", annotations.get(name)?.as_bytes()),
        };
        for piece in [part.as_bytes(), name.as_bytes(), value] {
            digest.update((piece.len() as u64).to_be_bytes());
            digest.update(piece);
        }
    }
    Some(FingerprintKey::new(digest.finalize().into()))
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = BTreeMap<String, String>;

    fn data(of: &[(&str, &str)]) -> SecretData {
        of.iter().map(|(name, value)| ((*name).to_owned(), Plaintext::from((*value).to_owned()))).collect()
    }

    /// The entry `random`, the label and the annotations after settling.
    fn settled(input: &str, fresh: &str, live: Option<(&SecretData, &Texts, &Texts)>) -> (SecretData, Texts, Texts) {
        let mut kept = Kept::new([input.as_bytes()]);
        kept.add(Part::Data, "random");
        kept.add(Part::Label, "when");
        let mut new = (data(&[("random", fresh), ("plain", input)]), Texts::new(), Texts::new());
        new.1.insert("when".into(), fresh.into());
        let live = live.map(|(data, labels, annotations)| Live { data, labels, annotations });
        let mut target = Target { data: &mut new.0, labels: &mut new.1, annotations: &mut new.2 };
        kept.settle(&mut target, live.as_ref());
        new
    }

    fn random(of: &(SecretData, Texts, Texts)) -> (Option<&str>, Option<&str>) {
        (of.0.get("random").and_then(Plaintext::expose_str), of.1.get("when").map(String::as_str))
    }

    #[test]
    fn what_was_made_stays_while_the_inputs_stay() {
        let first = settled("a", "1", None);
        let again = settled("a", "2", Some((&first.0, &first.1, &first.2)));
        assert_eq!(random(&again), (Some("1"), Some("1")));
        assert_eq!(again.2, first.2, "the annotation too");
        let changed = settled("b", "3", Some((&again.0, &again.1, &again.2)));
        assert_eq!(random(&changed), (Some("3"), Some("3")));
        assert_ne!(changed.2, first.2);
        assert!(!format!("{:?}", first.2).contains("\"a\""), "no input is shown");
    }

    #[test]
    fn an_edit_or_a_gap_is_made_anew() {
        let first = settled("a", "1", None);
        let edited = data(&[("random", "edited"), ("plain", "a")]);
        assert_eq!(random(&settled("a", "2", Some((&edited, &first.1, &first.2)))), (Some("2"), Some("2")));
        assert_eq!(random(&settled("a", "2", Some((&data(&[]), &first.1, &first.2)))), (Some("2"), Some("2")));
        let none = Texts::new();
        assert_eq!(random(&settled("a", "2", Some((&first.0, &none, &first.2)))), (Some("2"), Some("2")));
        assert_eq!(random(&settled("a", "2", Some((&first.0, &first.1, &none)))), (Some("2"), Some("2")));
    }

    #[test]
    fn who_has_no_key_cannot_test_a_guess_and_an_older_key_still_counts() {
        let keys = [1, 2].map(|byte| FingerprintKey::new([byte; 32]));
        let settled = |keys: &[&FingerprintKey], fresh: &str, live: Option<&(SecretData, Texts)>| {
            let mut kept = Kept::new([b"input".as_slice()]);
            kept.add(Part::Data, "year");
            kept.keyed_by(keys.iter().copied());
            let (mut data, mut labels, mut annotations) = (data(&[("year", fresh)]), Texts::new(), Texts::new());
            let none = Texts::new();
            let live = live.map(|(data, annotations)| Live { data, labels: &none, annotations });
            let mut target = Target { data: &mut data, labels: &mut labels, annotations: &mut annotations };
            kept.settle(&mut target, live.as_ref());
            (data, annotations)
        };
        let year = |of: &(SecretData, Texts)| of.0.get("year").and_then(Plaintext::expose_str).map(str::to_owned);
        let first = settled(&[&keys[0]], "2026", None);
        assert_ne!(first.1, settled(&[], "2026", None).1, "all inputs and results known, and not the key");
        assert_ne!(first.1, settled(&[&keys[1]], "2026", None).1);
        let rotated = settled(&[&keys[1], &keys[0]], "2027", Some(&first));
        assert_eq!((year(&rotated).as_deref(), &rotated.1), (Some("2026"), &first.1), "nothing to write");
        assert_eq!(year(&settled(&[&keys[1]], "2027", Some(&first))).as_deref(), Some("2027"), "that key is gone");
    }

    #[test]
    fn other_secrets_are_not_marked() {
        let (mut data, mut labels, mut annotations) = (data(&[("a", "b")]), Texts::new(), Texts::new());
        let mut target = Target { data: &mut data, labels: &mut labels, annotations: &mut annotations };
        Kept::new([]).settle(&mut target, None);
        assert!(annotations.is_empty());
    }
}
