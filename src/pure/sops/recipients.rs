//! What would bring the keys of a file to those of a rule.

use super::metadata::Metadata;
use super::seal::Plan;
use crate::pure::keys::KeyRef;

/// The difference between the keys of a file and those that it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// The groups that the file gets.
    pub groups: Vec<Vec<KeyRef>>,
    /// Keys that come in, in any group.
    pub added: Vec<KeyRef>,
    /// Keys that go.
    pub removed: Vec<KeyRef>,
    /// The threshold that the file gets; 0 with one group.
    pub threshold: usize,
    /// Whether anything changes: also when the same keys stand in other groups, or only the threshold differs.
    pub differs: bool,
}

/// Whether two references are to one key, as SOPS compares them: by kind and text. A rule that names an Azure key without
/// its version means whatever version the file has.
pub fn same_key(left: &KeyRef, right: &KeyRef) -> bool {
    match (left, right) {
        (
            KeyRef::AzureKv { vault_url: a, name: b, version: x },
            KeyRef::AzureKv { vault_url: c, name: d, version: y },
        ) => (a, b) == (c, d) && (x == y || x.is_empty() || y.is_empty()),
        _ => left.kind() == right.kind() && left.to_string() == right.to_string(),
    }
}

/// Whether a key of a file is what a rule wants: a rule that leaves the version open takes any; one that names it, or of
/// which it was looked up, takes that.
fn meets(wanted: &KeyRef, held: &KeyRef) -> bool {
    same_key(wanted, held) && (wanted.is_open() || !held.is_open())
}

/// Compares the keys of a file with those of the plan of its rule, group by group as SOPS does. The threshold of the rule wins where it has one; else
/// that of the file stays as far as the groups allow, as in SOPS.
pub fn key_change(metadata: &Metadata, plan: &Plan) -> KeyChange {
    let old: Vec<Vec<&KeyRef>> =
        metadata.groups.iter().map(|group| group.iter().map(|key| &key.key).collect()).collect();
    let known = |key: &KeyRef| old.iter().flatten().find(|other| meets(key, other)).map(|other| (*other).clone());
    let groups: Vec<Vec<KeyRef>> = plan
        .groups
        .iter()
        .map(|group| group.iter().map(|key| known(key).unwrap_or_else(|| key.clone())).collect())
        .collect();
    let mut change = KeyChange { groups, ..KeyChange::default() };
    for key in change.groups.iter().flatten() {
        if known(key).is_none() && !change.added.contains(key) {
            change.added.push(key.clone());
        }
    }
    for key in old.iter().flatten() {
        let stays = change.groups.iter().flatten().any(|other| meets(other, key));
        if !stays && !change.removed.contains(key) {
            change.removed.push((*key).clone());
        }
    }
    change.threshold = match (change.groups.len(), plan.shamir_threshold) {
        (0 | 1, _) => 0,
        (groups, 0) if metadata.groups.len() > 1 => metadata.shamir_threshold.clamp(2, groups),
        (groups, 0) => groups,
        (_, threshold) => threshold,
    };
    let same_groups = old.len() == change.groups.len()
        && old.iter().zip(&change.groups).all(|(old, new)| {
            old.iter().all(|key| new.iter().any(|other| meets(other, key)))
                && new.iter().all(|key| old.iter().any(|other| meets(key, other)))
        });
    let same_threshold = change.groups.len() < 2 || change.threshold == metadata.shamir_threshold;
    change.differs = !same_groups || !same_threshold;
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::keys::WrappedKey;
    use crate::pure::sops::Selector;

    fn age(name: &str) -> KeyRef {
        KeyRef::Age { recipient: name.into() }
    }

    fn azure(version: &str) -> KeyRef {
        KeyRef::AzureKv { vault_url: "https://v".into(), name: "k".into(), version: version.into() }
    }

    fn file(groups: &[&[KeyRef]], shamir_threshold: usize) -> Metadata {
        let wrapped = |key: &KeyRef| WrappedKey { key: key.clone(), enc: String::new(), created_at: None };
        Metadata {
            groups: groups.iter().map(|group| group.iter().map(wrapped).collect()).collect(),
            shamir_threshold,
            last_modified: String::new(),
            mac: String::new(),
            selector: Selector::default(),
            selector_is_written: false,
            mac_only_encrypted: false,
            version: String::new(),
        }
    }

    fn plan(groups: &[&[KeyRef]], shamir_threshold: usize) -> Plan {
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        Plan { groups, shamir_threshold, ..Plan::for_keys(vec![]) }
    }

    #[test]
    fn keys_are_compared_by_what_they_are() {
        let (a, b, c) = (age("a"), age("b"), age("c"));
        let change = key_change(&file(&[&[a.clone(), b.clone()]], 0), &plan(&[&[c.clone(), a.clone()]], 0));
        assert_eq!((change.added, change.removed, change.differs), (vec![c.clone()], vec![b.clone()], true));
        let order = key_change(&file(&[&[a.clone(), b.clone()]], 0), &plan(&[&[b.clone(), a.clone()]], 0));
        assert!(!order.differs, "order is no difference");
        let version = key_change(&file(&[&[azure("1")]], 0), &plan(&[&[azure("")]], 0));
        assert!(!version.differs);
        assert_eq!(version.groups, vec![vec![azure("1")]], "the version of the file is kept");
        assert!(key_change(&file(&[&[azure("1")]], 0), &plan(&[&[azure("2")]], 0)).differs);
        // A file gets the version that it lacks, once somebody knows it.
        let open = key_change(&file(&[&[azure("")]], 0), &plan(&[&[azure("2")]], 0));
        assert!(
            open.differs && open.groups == [[azure("2")]] && open.added == [azure("2")] && open.removed == [azure("")]
        );
        assert!(!key_change(&file(&[&[azure("")]], 0), &plan(&[&[azure("")]], 0)).differs);
        let twice = key_change(&file(&[&[a.clone(), a.clone()]], 0), &plan(&[std::slice::from_ref(&a)], 0));
        assert!(!twice.differs, "as in SOPS, a key that stands there twice is there");
    }

    #[test]
    fn groups_and_thresholds_count() {
        let (a, b) = (age("a"), age("b"));
        let two = [std::slice::from_ref(&a), std::slice::from_ref(&b)];
        let split = key_change(&file(&[&[a.clone(), b.clone()]], 0), &plan(&two, 0));
        assert!(split.differs && split.added.is_empty() && split.removed.is_empty());
        assert_eq!(split.threshold, 2);
        assert!(!key_change(&file(&two, 2), &plan(&two, 0)).differs);
        assert!(!key_change(&file(&two, 2), &plan(&two, 2)).differs);
        let three = [std::slice::from_ref(&a), std::slice::from_ref(&b), &[age("c")][..]];
        let change = key_change(&file(&three, 3), &plan(&three, 2));
        assert!(change.differs && change.threshold == 2);
        assert_eq!(key_change(&file(&three, 2), &plan(&two, 0)).threshold, 2);
    }
}
