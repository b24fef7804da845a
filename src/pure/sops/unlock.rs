//! Getting the data key of a file: which wrapped keys are tried, in which order, and when enough of them have opened.
//!
//! The state is here; what opens a key is an argument. [`unlock`] is all of it for keys that need no service.

use super::Document;
use super::error::{KeyReport, SopsError, Tried};
use crate::pure::keys::{DataKey, KeyError, KeyKind, LocalKeys, Unwrapped, WrappedKey, shamir};
use crate::pure::secret::Plaintext;

/// The order in which kinds of keys are tried (`--decryption-order`, `SOPS_DECRYPTION_ORDER`).
///
/// Without one, the keys that need no service come first, age before PGP, and then all services at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecryptionOrder(Vec<KeyKind>);

/// A kind that an order names twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Duplicate decryption key type: {0}")]
pub struct DuplicateKind(pub String);

impl DecryptionOrder {
    /// Reads names separated by commas. As in SOPS, names that are no kind are passed over, and names count as they are
    /// written.
    ///
    /// # Errors
    /// A name that occurs twice.
    pub fn parse(text: &str) -> Result<Self, DuplicateKind> {
        let names: Vec<&str> = text.split(',').collect();
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|other| other == name) {
                return Err(DuplicateKind((*name).to_owned()));
            }
        }
        Ok(Self(names.into_iter().filter_map(KeyKind::of_name).collect()))
    }

    /// The rank of a kind: what has a lower rank is tried to its end before.
    fn rank(&self, kind: KeyKind) -> usize {
        self.0.iter().position(|named| *named == kind).unwrap_or(self.0.len())
    }

    /// Number of ranks.
    fn ranks(&self) -> usize {
        self.0.len() + 1
    }
}

/// Gets the data key of a file.
pub trait Unlock: Sync {
    /// The data key.
    ///
    /// # Errors
    /// [`SopsError::Keys`] with what was tried, or shares that do not fit together.
    fn unlock(&self, document: &Document) -> Result<DataKey, SopsError>;
}

impl<L: LocalKeys> Unlock for L {
    fn unlock(&self, document: &Document) -> Result<DataKey, SopsError> {
        unlock(document, self)
    }
}

/// Gets the data key with local keys alone.
///
/// # Errors
/// As [`Unlocking::finish`].
pub fn unlock(document: &Document, local: &dyn LocalKeys) -> Result<DataKey, SopsError> {
    let order = DecryptionOrder::default();
    let mut unlocking = Unlocking::new(document, &order);
    for rank in 0..unlocking.ranks() {
        unlocking.try_local(rank, local);
    }
    unlocking.finish()
}

/// An attempt to get the data key: the keys of each group are tried rank by rank until one opens; with several groups,
/// the shares of as many groups as the threshold says are combined.
pub struct Unlocking<'d> {
    document: &'d Document,
    order: &'d DecryptionOrder,
    threshold: usize,
    shares: Vec<Option<Plaintext>>,
    tried: Vec<Tried>,
}

impl<'d> Unlocking<'d> {
    /// Nothing tried yet.
    pub fn new(document: &'d Document, order: &'d DecryptionOrder) -> Self {
        let metadata = &document.metadata;
        let groups = metadata.groups.len();
        let threshold = if groups > 1 { metadata.shamir_threshold.max(2) } else { 1 };
        let shares = metadata.groups.iter().map(|_| None).collect();
        Self { document, order, threshold, shares, tried: Vec::new() }
    }

    /// Number of ranks to go through, from 0.
    pub fn ranks(&self) -> usize {
        self.order.ranks()
    }

    /// Whether as many groups opened as are needed.
    pub fn is_enough(&self) -> bool {
        self.shares.iter().flatten().count() >= self.threshold
    }

    /// The keys of a rank in the groups that are not open yet, with the number of the group from 0: local kinds first,
    /// age before PGP, which needs another program; then the order of the file. None when enough groups are open.
    pub fn wanted(&self, rank: usize) -> Vec<(usize, &'d WrappedKey)> {
        if self.is_enough() {
            return Vec::new();
        }
        let closed = self.document.metadata.groups.iter().zip(&self.shares).enumerate();
        let mut wanted = Vec::new();
        for (group, (keys, _)) in closed.filter(|(_, (_, share))| share.is_none()) {
            let mut keys: Vec<&WrappedKey> =
                keys.iter().filter(|key| self.order.rank(key.key.kind()) == rank).collect();
            keys.sort_by_key(|key| match key.key.kind() {
                KeyKind::Age => 0,
                KeyKind::Pgp => 1,
                _ => 2,
            });
            wanted.extend(keys.into_iter().map(|key| (group, key)));
        }
        wanted
    }

    /// Tries what needs no service, one key after the other: a program may ask its user something.
    pub fn try_local(&mut self, rank: usize, local: &dyn LocalKeys) {
        for (group, key) in self.wanted(rank) {
            if self.is_enough() {
                break;
            }
            if self.shares.get(group).is_some_and(Option::is_none)
                && let Some(answer) = local.unwrap(key)
            {
                self.answer(group, key, answer);
            }
        }
    }

    /// What became of a key. A second answer for an open group changes nothing.
    pub fn answer(&mut self, group: usize, key: &WrappedKey, answer: Unwrapped) {
        match (answer, self.shares.get_mut(group)) {
            (Ok(share), Some(place)) => {
                place.get_or_insert(share);
            }
            (Err(error), _) => self.tried.push(Tried { group, key: key.key.clone(), error }),
            (Ok(_), None) => {}
        }
    }

    /// The data key.
    ///
    /// # Errors
    /// Too few groups opened: [`SopsError::Keys`] with every failure. Shares that do not fit together, a key of the wrong
    /// length.
    pub fn finish(mut self) -> Result<DataKey, SopsError> {
        if !self.is_enough() {
            return Err(SopsError::Keys(self.report()));
        }
        let groups = self.shares.len();
        let mut shares: Vec<Plaintext> = std::mem::take(&mut self.shares).into_iter().flatten().collect();
        let secret = match shares.pop() {
            Some(secret) if groups == 1 => secret,
            Some(last) => {
                shares.push(last);
                shamir::combine(&shares).map_err(|error| SopsError::Metadata { what: error.to_string() })?
            }
            None => return Err(SopsError::Keys(self.report())),
        };
        DataKey::new(secret.expose()).ok_or(SopsError::DataKeyLength { bytes: secret.len() })
    }

    fn report(self) -> KeyReport {
        let open = |(group, share): (usize, &Option<Plaintext>)| share.is_some().then_some(group);
        let opened: Vec<usize> = self.shares.iter().enumerate().filter_map(open).collect();
        let mut tried = self.tried;
        // What nobody took is told as well, so that no key of the file is missing in the report.
        for rank in 0..self.order.ranks() {
            for (group, keys) in self.document.metadata.groups.iter().enumerate() {
                let kept = keys.iter().filter(|key| self.order.rank(key.key.kind()) == rank);
                for key in kept.filter(|_| !opened.contains(&group)) {
                    if !tried.iter().any(|tried| tried.group == group && tried.key == key.key) {
                        let error = KeyError::Unsupported { kind: key.key.kind() };
                        tried.push(Tried { group, key: key.key.clone(), error });
                    }
                }
            }
        }
        KeyReport { groups: self.shares.len(), threshold: self.threshold, opened, tried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_each_kind_once_and_passes_over_what_it_does_not_know() {
        let order = DecryptionOrder::parse("kms,bogus,age").expect("parses");
        assert_eq!(order.0, [KeyKind::Kms, KeyKind::Age]);
        assert_eq!((order.rank(KeyKind::Kms), order.rank(KeyKind::Age), order.rank(KeyKind::Pgp)), (0, 1, 2));
        assert_eq!(DecryptionOrder::parse("bogus,age,bogus"), Err(DuplicateKind("bogus".into())));
        // Names count as they are written, as in SOPS.
        assert_eq!(DecryptionOrder::parse("age, age").expect("differ").0, [KeyKind::Age]);
    }

    /// Answers for every key by its text, and keeps the order of the questions.
    struct Fake(std::sync::Mutex<Vec<String>>);

    impl LocalKeys for Fake {
        fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
            self.0.lock().expect("alone").push(key.key.to_string());
            match key.enc.as_str() {
                "open" => Some(Ok(Plaintext::new(vec![7; 32]))),
                "closed" => Some(Err(KeyError::NoIdentity)),
                _ => None,
            }
        }

        fn wrap(&self, _: &crate::pure::keys::KeyRef, _: &Plaintext) -> Option<crate::pure::keys::Wrapped> {
            None
        }
    }

    fn file(keys: &str) -> Document {
        let text =
            format!("a: 1\nsops:\n{keys}    lastmodified: \"2024-01-01T00:00:00Z\"\n    mac: m\n    version: 3.9.0\n");
        super::super::parse(text.as_bytes(), crate::pure::format::Format::Yaml).expect("parses")
    }

    #[test]
    fn keys_are_tried_in_order_until_one_opens() {
        let document = file(
            "    gcp_kms:\n        - {resource_id: g, created_at: \"2024-01-01T00:00:00Z\", enc: passed}\n    pgp:\n        - {fp: P, created_at: \"2024-01-01T00:00:00Z\", enc: open}\n    age:\n        - {recipient: a1, enc: closed}\n        - {recipient: a2, enc: closed}\n",
        );
        let asked = |order: &str| {
            let order = if order.is_empty() {
                DecryptionOrder::default()
            } else {
                DecryptionOrder::parse(order).expect("order")
            };
            let fake = Fake(std::sync::Mutex::default());
            let mut unlocking = Unlocking::new(&document, &order);
            (0..unlocking.ranks()).for_each(|rank| unlocking.try_local(rank, &fake));
            assert!(unlocking.finish().is_ok());
            fake.0.into_inner().expect("alone")
        };
        assert_eq!(asked(""), ["a1", "a2", "P"]);
        assert_eq!(asked("pgp,age"), ["P"]);
        assert_eq!(asked("gcp_kms,pgp"), ["g", "P"]);
    }

    #[test]
    fn the_report_names_every_key_of_the_groups_that_stayed_closed() {
        let document = file(
            "    age:\n        - {recipient: a1, enc: closed}\n    gcp_kms:\n        - {resource_id: g, created_at: \"2024-01-01T00:00:00Z\", enc: passed}\n",
        );
        let fake = Fake(std::sync::Mutex::default());
        let Err(SopsError::Keys(report)) = unlock(&document, &fake) else { panic!("opened") };
        let told: Vec<String> = report.tried.iter().map(|tried| format!("{}: {}", tried.key, tried.error)).collect();
        assert_eq!(told, ["a1: no identity was given", "g: keys of kind gcp_kms cannot be used here"]);
    }
}
