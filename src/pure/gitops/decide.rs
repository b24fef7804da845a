//! What becomes of the Secrets of one EncryptedSource. No I/O: facts in, decisions out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::stage::{FileResult, Staged};
use crate::pure::crd::encrypted_source::EncryptedSourceSpec;
use crate::pure::desired::{DesiredSecret, ObservedSecret};
use crate::pure::duration;
use crate::pure::error::{Explain, Retry};
use crate::pure::queue::ObjectKey;
use crate::pure::secret::{Fingerprint, FingerprintKey};

/// Label of every Secret that a source wrote: the name of the source, which is in the same namespace.
pub const SOURCE_LABEL: &str = "latchwork.dev/source";

/// Annotation by which somebody hands an existing Secret over to the source that it names.
pub const ADOPT_ANNOTATION: &str = "latchwork.dev/adopt";

/// Flux's annotation for objects that are never pruned, with the value `disabled`.
const PRUNE_ANNOTATION: &str = "kustomize.toolkit.fluxcd.io/prune";

/// Flux's annotation that asks for a fetch now; any new value does.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// Field manager of all that is applied.
pub const MANAGER: &str = "latchwork";

/// Value of [`SOURCE_LABEL`]. A label holds 63 characters and a name 253: a longer name is cut and gets a digest.
pub fn source_label(name: &str) -> String {
    const LONGEST: usize = 63;
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let head = name.get(..46).unwrap_or_default();
    format!("{head}-{}", digest.get(..16).unwrap_or_default())
}

/// When a source is asked for a new revision.
pub struct Freshness<'a> {
    /// Time since the last successful fetch that is still remembered.
    pub fetched_ago: Option<Duration>,
    /// Generation of the spec that was fetched for.
    pub fetched_generation: Option<i64>,
    /// Present generation.
    pub generation: Option<i64>,
    /// Value of [`REQUESTED_AT`] on the object.
    pub requested_at: Option<&'a str>,
    /// The value that was handled last.
    pub handled_at: Option<&'a str>,
}

/// Whether to fetch now; otherwise what is remembered is applied again.
pub fn must_fetch(spec: &EncryptedSourceSpec, freshness: &Freshness<'_>) -> bool {
    let interval = duration::of_schema(&spec.interval).unwrap_or_default();
    let Some(ago) = freshness.fetched_ago else { return true };
    ago >= interval
        || freshness.fetched_generation != freshness.generation
        || (freshness.requested_at.is_some() && freshness.requested_at != freshness.handled_at)
}

/// A Secret as the watch or a read sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// UID.
    pub uid: String,
    /// Version.
    pub resource_version: String,
    /// Value of [`SOURCE_LABEL`].
    pub source: Option<String>,
    /// Value of [`ADOPT_ANNOTATION`].
    pub adopt: Option<String>,
}

impl Live {
    /// What counts of a Secret that was read.
    pub fn of(secret: &ObservedSecret) -> Self {
        Self {
            uid: secret.uid.clone(),
            resource_version: secret.resource_version.clone(),
            source: secret.labels.get(SOURCE_LABEL).cloned(),
            adopt: secret.annotations.get(ADOPT_ANNOTATION).cloned(),
        }
    }
}

/// What this process wrote last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// UID of the object as stored.
    pub uid: String,
    /// Its version as stored.
    pub resource_version: String,
    /// Fingerprint of what was wanted.
    pub wanted: Fingerprint,
}

/// Fingerprint of everything that is applied of a Secret.
pub fn fingerprint(key: &FingerprintKey, secret: &DesiredSecret) -> Fingerprint {
    let manifest = secret.manifest(None);
    key.digest([manifest.as_slice()])
}

/// What to do about one Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was written last.
    Keep,
    /// Nobody has it: apply without force, so that one that appears meanwhile is not taken over.
    Create,
    /// It is ours: apply, and take back what others changed.
    Apply,
    /// Somebody else's.
    NotOurs,
}

/// Decides about one Secret. `recorded` is its UID in the inventory.
pub fn decide(
    source: &str,
    live: Option<&Live>,
    applied: Option<&Applied>,
    recorded: Option<&str>,
    wanted: Fingerprint,
) -> Verdict {
    let Some(live) = live else { return Verdict::Create };
    let unchanged = applied.is_some_and(|applied| {
        applied.uid == live.uid && applied.resource_version == live.resource_version && applied.wanted == wanted
    });
    if unchanged {
        return Verdict::Keep;
    }
    // Our label may be what somebody took away; then the UID still says that we wrote this very object.
    let label_lost = live.source.is_none() && recorded.is_some_and(|uid| uid == live.uid);
    let labelled = live.source.as_deref() == Some(&source_label(source));
    let handed_over = live.source.is_none() && live.adopt.as_deref() == Some(source);
    if labelled || label_lost || handed_over { Verdict::Apply } else { Verdict::NotOurs }
}

/// A Secret that is not this source's to write.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Secret {0} exists and was not made by this source")]
pub struct NotOurs(pub ObjectKey);

impl Explain for NotOurs {
    fn reason(&self) -> &'static str {
        "SecretNotOurs"
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        format!("delete it, or annotate it with {ADOPT_ANNOTATION}: <name of the EncryptedSource>")
    }
}

/// What may be pruned in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Candidates by name with the recorded UID, if any.
    pub candidates: BTreeMap<String, Option<String>>,
    /// A document could not even be named, so that any Secret might be what it holds: nothing is pruned.
    pub held_back: bool,
}

/// Finds what left the repository. `known`: Secrets of the namespace that the inventory or our label names.
///
/// What a failed document holds is kept, and where a failed document does not say what it holds, everything is.
pub fn prune_plan(known: BTreeMap<String, Option<String>>, files: &[FileResult]) -> PrunePlan {
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    let mut held_back = false;
    for document in files.iter().flat_map(|file| &file.documents) {
        match &document.outcome {
            Ok(Staged::Secret(secret, _)) => drop(kept.insert(secret.name())),
            Ok(_) => {}
            Err(_) if document.header.name.is_empty() => held_back = true,
            Err(_) => drop(kept.insert(&document.header.name)),
        }
    }
    let left = known.into_iter().filter(|(name, _)| !kept.contains(name.as_str())).collect();
    PrunePlan { candidates: left, held_back }
}

/// Whether the very object that is there now was written by this source and may be deleted.
pub fn may_prune(source: &str, live: &ObservedSecret, recorded: Option<&str>) -> bool {
    let same_object = recorded.is_none_or(|uid| uid == live.uid);
    let labelled = live.labels.get(SOURCE_LABEL) == Some(&source_label(source));
    let applied = live
        .managed_fields
        .iter()
        .any(|entry| entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply"));
    let spared = live.annotations.get(PRUNE_ANNOTATION).is_some_and(|value| value.eq_ignore_ascii_case("disabled"));
    same_object && labelled && applied && !spared && !live.deleting
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(source: Option<&str>, adopt: Option<&str>) -> Live {
        Live {
            uid: "u".into(),
            resource_version: "7".into(),
            source: source.map(str::to_owned),
            adopt: adopt.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_is_ours_is_written() {
        let key = FingerprintKey::new([1; 32]);
        let (wanted, other) = (key.digest([b"a".as_slice()]), key.digest([b"b".as_slice()]));
        let written = |version: &str, wanted| Applied { uid: "u".into(), resource_version: version.into(), wanted };
        for (case, live, applied, recorded, expected) in [
            ("nothing there", None, None, None, Verdict::Create),
            ("deleted by somebody", None, Some(written("7", wanted)), Some("u"), Verdict::Create),
            ("as written", Some(live(Some("s"), None)), Some(written("7", wanted)), Some("u"), Verdict::Keep),
            ("edited", Some(live(Some("s"), None)), Some(written("6", wanted)), Some("u"), Verdict::Apply),
            ("wanted otherwise", Some(live(Some("s"), None)), Some(written("7", other)), Some("u"), Verdict::Apply),
            ("after a restart", Some(live(Some("s"), None)), None, None, Verdict::Apply),
            ("label taken away", Some(live(None, None)), None, Some("u"), Verdict::Apply),
            (
                "replaced by a foreign one",
                Some(live(None, None)),
                Some(written("7", other)),
                Some("old"),
                Verdict::NotOurs,
            ),
            ("another source's", Some(live(Some("t"), Some("s"))), None, Some("u"), Verdict::NotOurs),
            ("foreign", Some(live(None, None)), None, None, Verdict::NotOurs),
            ("handed over", Some(live(None, Some("s"))), None, None, Verdict::Apply),
            ("handed over to another", Some(live(None, Some("t"))), None, None, Verdict::NotOurs),
        ] {
            assert_eq!(decide("s", live.as_ref(), applied.as_ref(), recorded, wanted), expected, "{case}");
        }
    }

    fn observed(changes: serde_json::Value) -> ObservedSecret {
        let mut body = json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {SOURCE_LABEL: "s"},
                "managedFields": [{"manager": MANAGER, "operation": "Apply", "apiVersion": "v1"}]},
            "type": "Opaque",
        });
        for (path, value) in changes.as_object().unwrap() {
            *body.pointer_mut(path).unwrap() = value.clone();
        }
        ObservedSecret::from_json(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_what_it_provably_wrote_is_pruned() {
        for (case, changes, recorded, expected) in [
            ("ours", json!({}), Some("u"), true),
            ("ours, not recorded", json!({}), None, true),
            ("another object of that name", json!({}), Some("old"), false),
            ("no label", json!({"/metadata/labels": {}}), Some("u"), false),
            ("another source's", json!({"/metadata/labels": {SOURCE_LABEL: "t"}}), Some("u"), false),
            (
                "labelled by hand",
                json!({"/metadata/managedFields": [{"manager": "kubectl", "operation": "Apply"}]}),
                None,
                false,
            ),
        ] {
            assert_eq!(may_prune("s", &observed(changes), recorded), expected, "{case}");
        }
        let mut spared = observed(json!({}));
        spared.annotations.insert(PRUNE_ANNOTATION.into(), "disabled".into());
        assert!(!may_prune("s", &spared, Some("u")));
    }

    #[test]
    fn a_fetch_is_due_by_time_by_change_and_on_request() {
        let spec: EncryptedSourceSpec =
            serde_json::from_value(json!({"git": {"url": "https://git.example/r"}, "interval": "1m"})).unwrap();
        let seconds = |s| Some(Duration::from_secs(s));
        let fresh = || Freshness {
            fetched_ago: seconds(30),
            fetched_generation: Some(1),
            generation: Some(1),
            requested_at: None,
            handled_at: None,
        };
        assert!(!must_fetch(&spec, &fresh()));
        assert!(must_fetch(&spec, &Freshness { fetched_ago: None, ..fresh() }));
        assert!(must_fetch(&spec, &Freshness { fetched_ago: seconds(60), ..fresh() }));
        assert!(must_fetch(&spec, &Freshness { generation: Some(2), ..fresh() }));
        assert!(must_fetch(&spec, &Freshness { requested_at: Some("x"), ..fresh() }));
        assert!(!must_fetch(&spec, &Freshness { requested_at: Some("x"), handled_at: Some("x"), ..fresh() }));
    }

    #[test]
    fn long_names_keep_their_label_valid_and_apart() {
        assert_eq!(source_label("short"), "short");
        let (a, b) = (source_label(&format!("{}a", "x".repeat(200))), source_label(&format!("{}b", "x".repeat(200))));
        assert!(a.len() <= 63 && b.len() <= 63 && a != b);
    }
}
