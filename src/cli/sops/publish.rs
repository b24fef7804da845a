//! `publish`: encrypted files to a bucket, decrypted values to Vault, as the destination rules of `.sops.yaml` say.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use super::Outcome;
use super::args::{PublishArgs, Types};
use super::change::{groups_of, shown_groups};
use super::crypt::copy;
use super::failure::{Failure, code};
use super::keys::Run;
use super::places::Places;
use super::{files, keys};
use crate::pure::error::clip;
use crate::pure::format::{self, Branch, Format, Indent, Item};
use crate::pure::secret::Plaintext;
use crate::pure::sops::rules::destinations::{Destination, Publication, publication};
use crate::pure::sops::{self, Document, Opened, Plan, SopsError, SpotState, key_change};

/// Entries that an error text names.
const NAMED: usize = 5;
/// Longest text of their names.
const NAMED_BYTES: usize = 300;

fn generic(what: impl Into<String>) -> Failure {
    Failure::new(code::GENERIC, what)
}

/// `sops publish`. In a folder a file that fails is named and does not stop the others.
pub fn publish(args: &PublishArgs, run: &Run<'_>) -> Outcome {
    let given = args.file.as_deref().ok_or_else(|| files::nothing_named(run.global))?;
    let (rules, rules_path) = files::rules_text(run.global)?.ok_or_else(|| generic("config file not found"))?;
    let meta = fs::metadata(given).map_err(|error| generic(format!("stat {}: {error}", given.display())))?;
    if meta.is_dir() && !args.recursive {
        return Err(generic("can't operate on a directory without --recursive flag."));
    }
    let mut found = vec![];
    match meta.is_dir() {
        true => walk(&clean(given), Path::new(""), &absolute(&rules_path), &mut found)?,
        false => found.push(Found { path: given.to_owned(), name: given.file_name().unwrap_or_default().into() }),
    }
    let mut publisher = Publisher { args, run, rules, places: Places::default() };
    let mut status = ExitCode::SUCCESS;
    for Found { path, name } in &found {
        match publisher.file(path, &name.to_string_lossy()) {
            Ok(()) => {}
            Err(failure) if !meta.is_dir() => return Err(failure),
            Err(failure) => {
                // Many texts begin with the file as it is.
                let named = failure.text.starts_with(&*path.to_string_lossy());
                let name = if named { String::new() } else { format!("{}: ", path.display()) };
                crate::cli::complain(&format!("{name}{}", failure.text));
                if status == ExitCode::SUCCESS {
                    status = ExitCode::from(failure.code);
                }
            }
        }
    }
    Ok(status)
}

/// A file to publish.
struct Found {
    /// As the rules see it.
    path: PathBuf,
    /// Below the folder that was named; a file that was named itself has its own name.
    name: PathBuf,
}

/// All files of a folder, which lies at `below` in the one that was named, in the order of their names, but for Git's own
/// folder and the rules.
fn walk(folder: &Path, below: &Path, rules: &Path, found: &mut Vec<Found>) -> Result<(), Failure> {
    let fail = |error: std::io::Error| generic(format!("{}: {error}", folder.display()));
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut entries = fs::read_dir(here).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (folder.join(entry.file_name()), below.join(entry.file_name()));
        if entry.file_type().map_err(fail)?.is_dir() {
            if entry.file_name() != ".git" {
                walk(&path, &name, rules, found)?;
            }
        } else if entry.file_name() != ".sops.yaml" && absolute(&path) != rules {
            found.push(Found { path, name });
        }
    }
    Ok(())
}

/// A path without `.` and `..`, as the real tool shows the files of a folder to the rules: nothing for the working directory.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match (part, out.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

/// A path as it is told to the user.
fn absolute(path: &Path) -> PathBuf {
    clean(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

struct Publisher<'r> {
    args: &'r PublishArgs,
    run: &'r Run<'r>,
    rules: String,
    places: Places,
}

impl Publisher<'_> {
    fn file(&mut self, path: &Path, name: &str) -> Result<(), Failure> {
        let shown = path.to_string_lossy();
        let Publication { destination, recreation, omit_extensions } =
            publication(&self.rules, &shown).map_err(|error| generic(format!("error loading config: {error}")))?;
        let name = match path.extension() {
            Some(extension) if self.args.omit_extensions || omit_extensions => {
                name.strip_suffix(&format!(".{}", extension.to_string_lossy())).unwrap_or(name)
            }
            _ => name,
        };
        let target = destination.path(name).map_err(generic)?;
        let input = files::read(path, &Types::default())?;
        let document = keys::parse(&input, files::format(None, &input.name))?;
        let content = match (&destination, recreation) {
            (Destination::Vault { .. }, _) => values(&self.run.open(&document, &input.name, false)?, &input.name)?,
            (_, Some(plan)) => self.recreated(&document, plan, &input.name)?,
            (_, None) => {
                nothing_in_clear(&document, &input.name)?;
                input.bytes
            }
        };
        let place = self.places.shown(&destination, &target)?;
        let absolute = absolute(path);
        if !self.args.yes && !files::confirmed(&format!("uploading {} to {place} ? (y/n): ", absolute.display()))? {
            let what = format!("Publication of {} canceled", absolute.display());
            if self.args.recursive {
                return files::to_stdout(&Plaintext::from(format!("{what}\n")));
            }
            return Err(generic(what));
        }
        let said = self.places.put(&destination, &target, &content);
        match said.map_err(|error| generic(format!("{place}: {error}")))? {
            Some(said) if said.is_warning || self.run.global.verbose => crate::cli::complain(&said.text),
            _ => {}
        }
        Ok(())
    }

    /// The file as the rule for what is published wants it: a new data key, its keys and its selector.
    fn recreated(&self, document: &Document, mut plan: Plan, name: &str) -> Result<Plaintext, Failure> {
        let fail = |error: SopsError| Failure::of(name, &error);
        let opened = self.run.open(document, name, false)?;
        self.run.complete(&mut plan.groups)?;
        let (old, new) = (groups_of(document), &key_change(document.metadata(), &plan).groups);
        if let Some(diff) = shown_groups(&old, new) {
            let text = format!("The following changes will be made to the file's key groups:\n{diff}");
            files::to_stdout(&Plaintext::from(text))?;
        }
        let plain = opened.emit(document.format()).map_err(fail)?;
        let tree = format::parse(plain.expose(), document.format()).map_err(|error| fail(error.into()))?;
        let mut random = files::random()?;
        let sealed = sops::seal(&tree, document.format(), &plan, &files::now(), &mut random, &mut self.run.wrap())
            .map_err(fail)?;
        let published = sops::parse(sealed.expose(), document.format()).map_err(fail)?;
        nothing_in_clear(&published, name)?;
        let clear = |document: &Document| -> HashSet<String> {
            let spots = sops::inspect(document).into_iter();
            spots.filter(|spot| spot.state == SpotState::Clear).map(|spot| spot.entry).collect()
        };
        let before = clear(document);
        let mut more: Vec<String> = clear(&published).into_iter().filter(|entry| !before.contains(entry)).collect();
        if !more.is_empty() {
            more.sort();
            let what = "the recreation rule would publish in clear what is encrypted in the file";
            return Err(generic(format!("{name}: {what}: {}; change its selector", list(&more))));
        }
        Ok(sealed)
    }
}

/// What a person added by hand to an encrypted file must not leave this machine.
fn nothing_in_clear(document: &Document, name: &str) -> Result<(), Failure> {
    let spots = sops::inspect(document).into_iter().filter(|spot| spot.state == SpotState::Exposed);
    let exposed: Vec<String> = spots.map(|spot| format!("{} (line {})", spot.entry, spot.line)).collect();
    if exposed.is_empty() {
        return Ok(());
    }
    let what = "is in clear and should be encrypted, so nothing is published";
    Err(generic(format!("{name}: {} {what}; decrypt and encrypt the file, or use `sops edit`", list(&exposed))))
}

fn list(entries: &[String]) -> String {
    let more = entries.len().saturating_sub(NAMED);
    let named = entries.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let named = clip(&named, NAMED_BYTES);
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// The values of all documents as one JSON map, as Vault takes them.
fn values(opened: &Opened<'_>, name: &str) -> Result<Plaintext, Failure> {
    if opened.document().format() == Format::Ini {
        // With the section of the keys before any other, as INI is shown everywhere.
        return opened.emit(Format::Json).map_err(|error| Failure::of(name, &error));
    }
    let mut names = HashSet::new();
    let mut items = vec![];
    for item in opened.branches().iter().flat_map(|branch| &branch.items) {
        let Item::Entry(entry) = item else { continue };
        if !names.insert(entry.key.as_str()) {
            let what = "is there more than once, and Vault would keep one of them";
            return Err(generic(format!("{name}: {} {what}", clip(&entry.key, NAMED_BYTES))));
        }
        items.push(copy(item));
    }
    format::emit_with(&[Branch::of_items(0..0, items)], Format::Json, Indent::default())
        .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, format!("{name}: {error}")))
}
