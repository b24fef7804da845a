//! What each key holds, in the cluster and in trees of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::adapters::files;
use crate::cli::complain;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::queue::ObjectKey;
use crate::pure::sealed::inventory::Inventory;
use crate::pure::sealed::keys::{KeyFingerprint, SealingKeys};
use crate::pure::sealed::{Hints, Scope, manifest, unseal::object_scope};

/// Files to look at beside the cluster, or in its place.
#[derive(Args)]
pub(super) struct TreeArgs {
    /// Directory or file with SealedSecrets, as Git holds them; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(super) tree: Vec<PathBuf>,
    /// Namespace of the SealedSecrets in --tree that name none
    #[arg(long, value_name = "NAMESPACE")]
    pub(super) tree_namespace: Option<String>,
}

/// A SealedSecret, and where it stands.
#[derive(Clone)]
pub(super) struct Place {
    /// The file; `None` for the cluster.
    pub(super) file: Option<String>,
    pub(super) object: SealedSecret,
}

impl TreeArgs {
    /// The SealedSecrets of the trees. A file that cannot be read, or that mentions SealedSecrets and cannot be parsed,
    /// is an error: what was not looked at could need a key.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let (mut places, mut failures) = (vec![], 0);
        for root in &self.tree {
            files::walk(root, |file| {
                let shown = if file.path.is_empty() { root.clone() } else { root.join(&file.path) };
                let shown = shown.to_string_lossy().into_owned();
                if let Err(why) = self.add(&shown, file.content.map_err(|error| error.to_string()), &mut places) {
                    complain(&format!("error: {shown}: {why}"));
                    failures += 1;
                }
                true
            });
        }
        if failures > 0 {
            bail!("{failures} of the files of --tree could not be looked at, and what they need is not known");
        }
        Ok(places)
    }

    fn add(&self, path: &str, content: Result<Vec<u8>, String>, places: &mut Vec<Place>) -> Result<(), String> {
        let content = content?;
        // Most files of a tree are something else, templates of Helm among them, which are no YAML.
        if !content.windows(12).any(|part| part == b"SealedSecret") {
            return Ok(());
        }
        for (number, object) in manifest::find(&content).map_err(|error| error.to_string())? {
            let mut object = object.map_err(|error| format!("document {number}: {error}"))?;
            if object.metadata.namespace.as_ref().is_none_or(String::is_empty) {
                object.metadata.namespace.clone_from(&self.tree_namespace);
            }
            places.push(Place { file: Some(path.to_owned()), object });
        }
        Ok(())
    }
}

/// Entries of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) file: Option<String>,
    pub(super) object: ObjectKey,
    pub(super) entries: Vec<String>,
    /// A file's object whose scope needs a namespace, which it does not name: no key can open it as it stands.
    pub(super) homeless: bool,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "{}: {}", self.object, self.entries.join(", "))
    }
}

impl Held {
    pub(super) fn as_json(&self) -> serde_json::Value {
        let mut value =
            json!({ "namespace": self.object.namespace, "name": self.object.name, "entries": self.entries });
        if let (Some(file), Some(map)) = (&self.file, value.as_object_mut()) {
            map.insert("file".into(), file.clone().into());
        }
        value
    }
}

/// What every key holds.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    by_key: BTreeMap<KeyFingerprint, Vec<Held>>,
    /// What no key opens.
    pub(super) unopened: Vec<Held>,
}

impl Holdings {
    /// Opens everything, on all cores: one entry costs milliseconds per key tried.
    pub(super) fn find(keys: &SealingKeys, places: &[Place]) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = places.len().div_ceil(cores).max(1);
        let mut all = Self::default();
        std::thread::scope(|scope| {
            let work = |part: &[Place]| {
                let mut holdings = Self::default();
                part.iter().for_each(|place| holdings.add(place, keys));
                holdings
            };
            let parts: Vec<_> = places.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
            for part in parts {
                // Nothing in there panics; if it did, an incomplete answer must not pass for a whole one.
                match part.join() {
                    Ok(part) => all.merge(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        all
    }

    fn add(&mut self, place: &Place, keys: &SealingKeys) {
        let mut inventory = Inventory::default();
        inventory.add(&place.object, keys, &Hints::default());
        let no_namespace = place.object.metadata.namespace.as_ref().is_none_or(String::is_empty);
        let homeless = place.file.is_some() && no_namespace && object_scope(&place.object) != Scope::ClusterWide;
        let held =
            |object: ObjectKey, entries: Vec<String>| Held { file: place.file.clone(), object, entries, homeless };
        for (key, objects) in inventory.by_key {
            self.by_key
                .entry(key)
                .or_default()
                .extend(objects.into_iter().map(|(object, entries)| held(object, entries)));
        }
        self.unopened.extend(inventory.unopened.into_iter().map(|(object, entries)| held(object, entries)));
    }

    fn merge(&mut self, other: Self) {
        for (key, held) in other.by_key {
            self.by_key.entry(key).or_default().extend(held);
        }
        self.unopened.extend(other.unopened);
    }

    /// What a key holds.
    pub(super) fn of(&self, key: &str) -> &[Held] {
        self.by_key.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Number of entries that a key holds.
    pub(super) fn entries(&self, key: &str) -> usize {
        self.of(key).iter().map(|held| held.entries.len()).sum()
    }
}

/// Whether a path is in use as a tree: for messages.
pub(super) fn trees(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| Path::display(path).to_string()).collect::<Vec<_>>().join(", ")
}
