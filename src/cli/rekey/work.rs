//! One file: what is to be done with it, and doing it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::sealed::Target;
use crate::adapters::atomic::Replacements;
use crate::adapters::files;
use crate::adapters::kms::DataKeys;
use crate::cli::data_keys::FlagsFirst;
use crate::cli::sops::files as sops_files;
use crate::pure::error::Explain as _;
use crate::pure::format::merge::marker_line;
use crate::pure::format::splice::{self, Edit};
use crate::pure::format::{self, Format, split_documents};
use crate::pure::gitops::tree::TreeError;
use crate::pure::keys::KeyRef;
use crate::pure::sealed::SealingKeys;
use crate::pure::sealed::rekey::{self, Needs, Placed};
use crate::pure::sealed::unseal::{object_key, object_scope};
use crate::pure::secret::Plaintext;
use crate::pure::sops::rules::Config;
use crate::pure::sops::{self, Document, KeyChange, MacPolicy, PartKind, SopsError, Unlock as _, key_change};

/// How much of the end of a file that is too large is searched for a `sops` block.
const TAIL_BYTES: i64 = 64 * 1024;

/// What is done with one object of a file.
pub(super) enum Action {
    /// Nothing: it is on the present keys.
    Current,
    /// The data key is wrapped to other keys.
    Rewrap(KeyChange),
    /// A new data key, wrapped to the keys of the change.
    Rotate(KeyChange),
    /// These of `total` values are sealed anew; `ask` names those that only the cluster can open.
    Reseal { entries: Vec<String>, ask: Vec<String>, total: usize },
    /// It stays as it is, for this reason.
    Left(String),
    /// It cannot be done.
    Failed(String),
}

impl Action {
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Rewrap(_) | Self::Rotate(_) | Self::Reseal { .. })
    }
}

/// An object of a file: a SOPS document, a SealedSecret.
pub(super) struct Item {
    /// Empty for a file that is one SOPS document.
    pub object: String,
    pub action: Action,
}

/// One file.
pub(super) struct FileReport {
    pub path: PathBuf,
    pub items: Vec<Item>,
    /// Of the content that the items were read from.
    digest: [u8; 32],
}

impl FileReport {
    /// A file of which nothing is known but that it failed.
    pub(super) fn failed(path: PathBuf, what: String) -> Self {
        let items = vec![Item { object: String::new(), action: Action::Failed(what) }];
        Self { path, items, digest: [0; 32] }
    }

    /// Whether there is something to write.
    pub(super) fn changes(&self) -> bool {
        self.items.iter().any(|item| item.action.changes())
    }
}

/// What a run works with.
pub(super) struct Run {
    /// The rules and their folder.
    pub rules: Option<(Config, PathBuf)>,
    pub data_keys: DataKeys<FlagsFirst>,
    pub sealing: SealingKeys,
    pub target: Option<Target>,
    pub rotate: bool,
    pub before: Option<Timestamp>,
    pub sops: bool,
    pub sealed: bool,
    /// Nothing will be written, and what only the cluster knows is asked for nevertheless.
    pub ask: bool,
}

impl Run {
    /// Looks at a file. No items: it has nothing encrypted.
    pub(super) fn survey(&self, path: &Path) -> FileReport {
        match files::read(path) {
            Ok(bytes) => {
                let items = self.look(path, &bytes, None);
                FileReport { path: path.to_owned(), items, digest: Sha256::digest(&bytes).into() }
            }
            Err(TreeError::TooLarge { .. }) if !ends_like_sops(path) => {
                FileReport { path: path.to_owned(), items: vec![], digest: [0; 32] }
            }
            Err(error) => FileReport::failed(path.to_owned(), error.line()),
        }
    }

    /// Does what the survey said, and returns what became of it.
    pub(super) fn write(&self, report: &FileReport, replacements: &Replacements) -> FileReport {
        let failed = |what: String| FileReport::failed(report.path.clone(), what);
        let bytes = match files::read(&report.path) {
            Ok(bytes) => bytes,
            Err(error) => return failed(error.line()),
        };
        if report.digest != <[u8; 32]>::from(Sha256::digest(&bytes)) {
            return failed("the file was changed meanwhile and is left alone; run again".into());
        }
        let mut edits = Vec::new();
        let items = self.look(&report.path, &bytes, Some(&mut edits));
        if !edits.is_empty() {
            let new = splice::apply(&bytes, 0..bytes.len(), edits);
            if let Err(error) = replacements.replace(&report.path, new.expose()) {
                return failed(format!("cannot be written: {error}"));
            }
        }
        FileReport { path: report.path.clone(), items, digest: report.digest }
    }

    /// The objects of a file; with `edits`, also the edits that do what is to be done.
    fn look(&self, path: &Path, bytes: &[u8], mut edits: Option<&mut Vec<Edit>>) -> Vec<Item> {
        let name = path.to_string_lossy();
        let mut items = Vec::new();
        let mut taken = Vec::new();
        if let Some(format) = sops::format_of(bytes, &name).filter(|_| self.sops) {
            let markers = marker_line(bytes);
            match sops::parts(bytes, format) {
                _ if markers.is_some() => {
                    let what = format!("line {}: the file has conflict markers; resolve them", markers.unwrap_or(1));
                    items.push(Item { object: String::new(), action: Action::Failed(what) });
                }
                Err(error) => items.push(Item { object: String::new(), action: Action::Failed(error.line()) }),
                Ok(parts) => {
                    let whole = parts.len() == 1;
                    for part in parts {
                        let object = if whole { String::new() } else { documents(&part.documents) };
                        match part.kind {
                            PartKind::Plain => {}
                            PartKind::Invalid(error) => {
                                items.push(Item { object, action: Action::Failed(error.line()) });
                            }
                            PartKind::Sops => {
                                let text = bytes.get(part.bytes.clone()).unwrap_or_default();
                                let action = self.sops(&name, text, format, part.bytes.start, edits.as_deref_mut());
                                items.push(Item { object, action });
                                taken.push(part.bytes);
                            }
                        }
                    }
                }
            }
        }
        let format = Format::of_path(&name);
        let mentions = || bytes.windows(12).any(|text| text == b"SealedSecret");
        if self.sealed && matches!(format, Format::Yaml | Format::Json) && mentions() {
            let spans: Vec<Range<usize>> = match format {
                Format::Yaml => {
                    split_documents(bytes).unwrap_or_default().into_iter().map(|document| document.span).collect()
                }
                _ => rekey::json_values(bytes),
            };
            for span in spans.into_iter().filter(|span| !taken.iter().any(|taken| taken.contains(&span.start))) {
                let text = bytes.get(span.clone()).unwrap_or_default();
                let mut unwritten = Vec::new();
                let edits = edits.as_deref_mut().or_else(|| self.ask.then_some(&mut unwritten));
                items.extend(self.sealed(text, format, span.start, edits));
            }
        }
        items
    }

    fn sops(&self, name: &str, text: &[u8], format: Format, start: usize, edits: Option<&mut Vec<Edit>>) -> Action {
        let document = match sops::parse(text, format) {
            Ok(document) => document,
            Err(error) => return Action::Failed(error.line()),
        };
        let action = match self.plan(name, &document) {
            Ok(action) => action,
            Err(what) => return Action::Failed(what),
        };
        let Some(edits) = edits.filter(|_| action.changes()) else { return action };
        match self.change(&document, &action) {
            Ok(new) => {
                edits.push(Edit { span: start..start + text.len(), text: new });
                action
            }
            Err(what) => Action::Failed(what),
        }
    }

    fn plan(&self, name: &str, document: &Document) -> Result<Action, String> {
        let metadata = document.metadata();
        let plan = match &self.rules {
            None if self.rotate => None,
            None => {
                return Err("there is no .sops.yaml from the working directory upward; name one with --config".into());
            }
            Some((config, folder)) => {
                let path = sops_files::path_for_rules(folder, name);
                config.plan_for(&path).map_err(|error| error.line())?
            }
        };
        let change = match plan {
            Some(plan) if plan.groups.is_empty() => return Err("its creation rule names no keys".into()),
            Some(plan) => key_change(metadata, &plan),
            None if self.rotate => KeyChange {
                groups: metadata.groups.iter().map(|group| group.iter().map(|k| k.key.clone()).collect()).collect(),
                threshold: metadata.shamir_threshold,
                ..KeyChange::default()
            },
            None => return Err("the .sops.yaml has no creation rules".into()),
        };
        let done = |before: &Timestamp| metadata.last_modified.parse::<Timestamp>().is_ok_and(|time| time >= *before);
        Ok(match self.rotate && !self.before.as_ref().is_some_and(done) {
            true => Action::Rotate(change),
            false if change.differs => Action::Rewrap(change),
            false => Action::Current,
        })
    }

    fn change(&self, document: &Document, action: &Action) -> Result<Plaintext, String> {
        let now = sops_files::now();
        let mut random = sops_files::random().map_err(|failure| failure.text)?;
        let mut wrap = |wanted: &[(&KeyRef, &Plaintext)]| self.data_keys.wrap(wanted);
        let line = |error: SopsError| error.line();
        let (Action::Rotate(change) | Action::Rewrap(change)) = action else {
            return Ok(Plaintext::copy_of(document.bytes()));
        };
        let key = self.data_keys.unlock(document).map_err(line)?;
        // Not before something is written: to look needs no service.
        let mut groups = change.groups.clone();
        self.data_keys.complete(&mut groups).map_err(line)?;
        match action {
            Action::Rotate(_) => {
                let opened = sops::open_with_key(document, key, MacPolicy::Verify).map_err(line)?;
                sops::rotate(&opened, &groups, change.threshold, &now, &mut random, &mut wrap).map_err(line)
            }
            _ => sops::rewrap(document, &key, &groups, change.threshold, &now, &mut random, &mut wrap).map_err(line),
        }
    }

    fn sealed(&self, text: &[u8], format: Format, start: usize, edits: Option<&mut Vec<Edit>>) -> Vec<Item> {
        let item = |action| vec![Item { object: "SealedSecret".into(), action }];
        if !text.windows(12).any(|word| word == b"SealedSecret") {
            return vec![];
        }
        let tree = match format::parse(text, format) {
            Ok(tree) => tree,
            // Charts hold SealedSecrets among template actions, which are no YAML.
            Err(_) if text.windows(2).any(|pair| pair == b"{{") => {
                return item(Action::Left("it is a template, not plain YAML".into()));
            }
            Err(error) => return item(Action::Failed(error.line())),
        };
        let (mut items, mut own) = (Vec::new(), Vec::new());
        let write = edits.is_some();
        for placed in rekey::find(&tree) {
            match placed {
                Err(error) => items.extend(item(Action::Failed(error.what))),
                Ok(placed) => items.extend(self.object(&placed, write.then_some(&mut own))),
            }
        }
        if let Some(edits) = edits {
            let new = splice::apply(text, 0..text.len(), own.iter().map(copy).collect());
            match format::parse(new.expose(), format) {
                Ok(after) if rekey::same_but_values(&tree, &after) => edits.extend(
                    own.into_iter()
                        .map(|edit| Edit { span: edit.span.start + start..edit.span.end + start, text: edit.text }),
                ),
                _ if own.is_empty() => {}
                _ => {
                    for item in items.iter_mut().filter(|item| item.action.changes()) {
                        item.action = Action::Failed("what would be written does not read back".into());
                    }
                }
            }
        }
        items
    }

    fn object(&self, placed: &Placed, edits: Option<&mut Vec<Edit>>) -> Vec<Item> {
        let key = object_key(&placed.object);
        let object = format!("SealedSecret {key}");
        let Some(target) = &self.target else {
            let action = Action::Left("name the present certificate with --cert, or --cluster".into());
            return vec![Item { object, action }];
        };
        let (mut old, mut unknown, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &placed.entries {
            match rekey::needs(&placed.object, &entry.text, &self.sealing, &target.certificate) {
                (Needs::Current, _) => {}
                (Needs::Old(_), value) => old.push((entry, value)),
                (Needs::Unknown, _) => unknown.push(entry),
                (Needs::Broken(what), _) => broken.push(format!("{}: {what}", entry.name)),
            }
        }
        let names = |entries: &[&rekey::PlacedEntry]| -> Vec<String> {
            entries.iter().map(|entry| entry.name.clone()).collect()
        };
        let mut items = Vec::new();
        let mut push = |action| items.push(Item { object: object.clone(), action });
        if !broken.is_empty() {
            push(Action::Failed(broken.join("; ")));
        }
        if !unknown.is_empty() && !target.has_cluster() {
            let listed = names(&unknown).join(", ");
            let current = self.sealing.by_fingerprint(target.certificate.fingerprint()).is_some();
            push(match current {
                true => Action::Failed(format!("no key at hand opens {listed}; give its key with --sealing-key")),
                false => Action::Left(format!(
                    "no key at hand opens {listed}: on the present key already, or on one that is missing"
                )),
            });
            unknown.clear();
        }
        if !old.is_empty() || !unknown.is_empty() {
            let done = edits.map(|edits| self.reseal(placed, target, &old, &unknown, edits));
            if let Some(Ok(kept)) = &done {
                unknown.retain(|entry| !kept.contains(&entry.name));
            }
            let entries: Vec<_> = old.iter().map(|(entry, _)| entry.name.clone()).chain(names(&unknown)).collect();
            match done {
                Some(Err(what)) => push(Action::Failed(what)),
                _ if entries.is_empty() => {}
                _ => push(Action::Reseal { entries, ask: names(&unknown), total: placed.entries.len() }),
            }
        }
        if items.is_empty() {
            items.push(Item { object, action: Action::Current });
        }
        items
    }

    /// Adds the edits, and names those of `unknown` that the controller left as they are.
    fn reseal(
        &self,
        placed: &Placed,
        target: &Target,
        old: &[(&rekey::PlacedEntry, Option<Plaintext>)],
        unknown: &[&rekey::PlacedEntry],
        edits: &mut Vec<Edit>,
    ) -> Result<Vec<String>, String> {
        let (mut made, mut kept) = (Vec::new(), Vec::new());
        let place = |entry: &rekey::PlacedEntry, text: &str| {
            let alias = || format!("{}: its value is a YAML alias; seal it at its anchor", entry.name);
            entry.edit(text).ok_or_else(alias)
        };
        for (entry, value) in old {
            let Some(value) = value else { continue };
            let text = rekey::seal_again(&placed.object, value, &target.certificate).map_err(|e| e.to_string())?;
            made.push(place(entry, &text)?);
        }
        if !unknown.is_empty() {
            let anew = target.re_encrypt(&placed.object).map_err(|error| format!("{error:#}"))?;
            if object_scope(&anew) != object_scope(&placed.object) {
                return Err("the controller answered with another scope".into());
            }
            for entry in unknown {
                let missing = || format!("the controller's answer has no {}", entry.name);
                let text = anew.spec.encrypted_data.0.get(&entry.name).ok_or_else(missing)?;
                if crate::pure::sealed::blob::decode(text).map_or(true, |bytes| bytes.is_empty()) {
                    return Err(missing());
                }
                if *text == entry.text {
                    kept.push(entry.name.clone());
                    continue;
                }
                made.push(place(entry, text)?);
            }
        }
        edits.append(&mut made);
        Ok(kept)
    }
}

fn copy(edit: &Edit) -> Edit {
    Edit { span: edit.span.clone(), text: edit.text.duplicate() }
}

fn documents(range: &Range<usize>) -> String {
    match range.len() {
        1 => format!("document {}", range.start + 1),
        _ => format!("documents {} to {}", range.start + 1, range.end),
    }
}

/// Whether the last part of a file has what a `sops` block has: such a file is too large to open, and must be named.
fn ends_like_sops(path: &Path) -> bool {
    let mut tail = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-TAIL_BYTES))?;
        file.take(TAIL_BYTES.unsigned_abs()).read_to_end(&mut tail)
    });
    let has = |needle: &[u8]| tail.windows(needle.len()).any(|window| window == needle);
    read.is_ok() && has(b"sops") && has(b"lastmodified") && has(b"ENC[AES256_GCM,data:")
}
