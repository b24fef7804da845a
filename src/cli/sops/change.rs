//! `set`, `unset`, `rotate` and `updatekeys`: changes of encrypted files that leave the rest of the file alone.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Outcome;
use super::args::{RotateArgs, SetArgs, Types, UnsetArgs, UpdatekeysArgs};
use super::failure::{Failure, code};
use super::keys::Run;
use super::{files, keys};
use crate::adapters::atomic::Replacements;
use crate::adapters::parallel;
use crate::pure::format::place::{self, PathError, Step};
use crate::pure::format::{self, Format, Item, Value};
use crate::pure::keys::{KeyKind, KeyRef};
use crate::pure::secret::Plaintext;
use crate::pure::sops::rules::Config;
use crate::pure::sops::{self, Document, KeyChange, SopsError, key_change};

fn path_of(index: &str, verb: &str) -> Result<Vec<Step>, Failure> {
    place::parse_path(index)
        .filter(|steps| !steps.is_empty())
        .ok_or_else(|| Failure::new(code::INVALID_SET_FORMAT, format!("Invalid {verb} index format")))
}

/// `sops set`.
pub fn set(args: &SetArgs, run: &Run<'_>) -> Outcome {
    files::layout(run.global)?;
    let path = path_of(&args.index, "set")?;
    let text = value_text(args)?;
    let invalid = |what: &str| Failure::new(code::INVALID_SET_FORMAT, what);
    let json: serde_json::Value = serde_json::from_str(text.expose_str().unwrap_or_default())
        .map_err(|_| invalid("Value for --set is not valid JSON"))?;
    // Of two values under one name the reader above keeps the last.
    let tree = format::parse(text.expose(), Format::Json);
    if tree.is_ok_and(|tree| tree.branches.iter().any(|branch| has_a_name_twice(&branch.items))) {
        return Err(invalid("Invalid --set value format: a name occurs twice"));
    }
    change(run, &args.file, &types(&args.input_type, &args.output_type), args.idempotent, args.ignore_mac, |tree| {
        if json.is_array() && !matches!(tree.format, Format::Yaml | Format::Json) {
            return Err(invalid("Invalid --set value format: the format of the file has no lists"));
        }
        let node = place::fitted(place::from_json(&json), tree.format);
        place::set(tree, &path, node).map(Some).map_err(|error| Failure::of_path(&args.index, error))
    })
}

fn has_a_name_twice(items: &[Item]) -> bool {
    let mut names = HashSet::new();
    items.iter().any(|item| {
        let (is_new, value) = match item {
            Item::Entry(entry) => (names.insert(&entry.key), &entry.value.value),
            Item::Element(element) => (true, &element.value.value),
            Item::Comment(_) => return false,
        };
        !is_new || matches!(value, Value::Map(items) | Value::List(items) if has_a_name_twice(items))
    })
}

fn value_text(args: &SetArgs) -> Result<Plaintext, Failure> {
    let read = |error: std::io::Error| Failure::new(code::GENERIC, format!("the value: {error}"));
    let count = |what: &str| Failure::new(code::NO_FILE, format!("Error: no file specified, or {what}"));
    if args.value_stdin {
        if args.value.is_some() {
            return Err(count("a value given besides --value-stdin"));
        }
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).map_err(read)?;
        return Ok(Plaintext::new(text));
    }
    let value = args.value.as_ref().ok_or_else(|| count("index and value are missing"))?;
    if args.value_file {
        return std::fs::read(value).map(Plaintext::new).map_err(read);
    }
    Ok(Plaintext::copy_of(value.as_bytes()))
}

/// `sops unset`.
pub fn unset(args: &UnsetArgs, run: &Run<'_>) -> Outcome {
    files::layout(run.global)?;
    let path = path_of(&args.index, "unset")?;
    change(run, &args.file, &types(&args.input_type, &args.output_type), args.idempotent, args.ignore_mac, |tree| {
        match place::unset(tree, &path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(PathError::Missing | PathError::Kind) if args.idempotent => Ok(None),
            Err(error) => Err(Failure::of_path(&args.index, error)),
        }
    })
}

fn types(input: &Option<String>, output: &Option<String>) -> Types {
    Types { input_type: input.clone(), output_type: output.clone(), ..Types::default() }
}

/// Opens a file, changes its plaintext, seals it again and replaces it. What changes nothing writes nothing, unless the
/// file is to become one of another format and `idempotent` is not set.
fn change(
    run: &Run<'_>,
    file: &Path,
    types: &Types,
    idempotent: bool,
    ignore_mac: bool,
    edit: impl FnOnce(&format::Tree) -> Result<Option<Plaintext>, Failure>,
) -> Outcome {
    let input = files::read(file, types)?;
    let document = keys::parse(&input, files::format(types.input_type.as_deref(), &input.name))?;
    let target = types.output_type.as_deref().and_then(Format::of_name).unwrap_or(document.format());
    let opened = run.open(&document, &input.name, ignore_mac)?;
    let fail = |error: SopsError| Failure::of(&input.name, &error);
    let plain = opened.emit(document.format()).map_err(fail)?;
    let tree = format::parse(plain.expose(), document.format()).map_err(|error| fail(error.into()))?;
    let Some(new) = edit(&tree)? else { return Ok(ExitCode::SUCCESS) };
    if new.same_as(&plain) && (idempotent || target == document.format()) {
        return Ok(ExitCode::SUCCESS);
    }
    let tree = format::parse(new.expose(), document.format()).map_err(|error| fail(error.into()))?;
    let target = (target, files::layout(run.global)?);
    let sealed = sops::reseal_to(&opened, &tree, target, &files::now(), &mut files::random()?).map_err(fail)?;
    files::replace(file, &sealed)?;
    Ok(ExitCode::SUCCESS)
}

/// A sealed file as one of another format, under the same data key.
fn converted(run: &Run<'_>, name: &str, sealed: &Plaintext, from: Format, to: Format) -> Result<Plaintext, Failure> {
    let fail = |error: SopsError| Failure::of(name, &error);
    let document = sops::parse(sealed.expose(), from).map_err(fail)?;
    let opened = run.open(&document, name, false)?;
    let plain = opened.emit(from).map_err(fail)?;
    let tree = format::parse(plain.expose(), from).map_err(|error| fail(error.into()))?;
    let target = (to, files::layout(run.global)?);
    sops::reseal_to(&opened, &tree, target, &files::now(), &mut files::random()?).map_err(fail)
}

/// The keys of a file per group.
pub fn groups_of(document: &Document) -> Vec<Vec<KeyRef>> {
    document.metadata().groups.iter().map(|group| group.iter().map(|key| key.key.clone()).collect()).collect()
}

/// Keys were to be added to a file that is not there.
pub fn keys_of_nothing(file: &Path) -> Failure {
    let what = format!(
        "Error: cannot add or remove keys on non-existent file \"{}\", use the `edit` subcommand instead.",
        file.display()
    );
    Failure::new(code::CANNOT_CHANGE_KEYS_OF_NOTHING, what)
}

/// `sops rotate`.
pub fn rotate(args: &RotateArgs, run: &Run<'_>) -> Outcome {
    args.target.check(false)?;
    if !args.file.exists() && args.changes.any() {
        return Err(keys_of_nothing(&args.file));
    }
    files::layout(run.global)?;
    let input = files::read(&args.file, &args.types)?;
    let format = files::format(args.types.input_type.as_deref(), &input.name);
    let document = keys::parse(&input, format)?;
    let opened = run.open(&document, &input.name, args.ignore_mac)?;
    let mut groups = groups_of(&document);
    for (kind, add, remove) in [
        (KeyKind::Kms, &args.changes.add_kms, &args.changes.rm_kms),
        (KeyKind::Pgp, &args.changes.add_pgp, &args.changes.rm_pgp),
        (KeyKind::GcpKms, &args.changes.add_gcp_kms, &args.changes.rm_gcp_kms),
        (KeyKind::Hckms, &args.changes.add_hckms, &args.changes.rm_hckms),
        (KeyKind::AzureKv, &args.changes.add_azure_kv, &args.changes.rm_azure_kv),
        (KeyKind::HcVault, &args.changes.add_hc_vault_transit, &args.changes.rm_hc_vault_transit),
        (KeyKind::Age, &args.changes.add_age, &args.changes.rm_age),
    ] {
        let remove = keys::to_remove(kind, remove.as_deref())?;
        for group in &mut groups {
            group.retain(|key| !remove.iter().any(|gone| sops::same_key(gone, key)));
        }
        let mut add = [keys::list(kind, add.as_deref())?];
        for key in add.iter_mut().flatten() {
            if let KeyRef::Kms { context, .. } = key {
                *context = keys::read_context(args.encryption_context.as_deref())?;
            }
        }
        run.complete(&mut add)?;
        for key in add.into_iter().flatten() {
            if let Some(first) = groups.first_mut()
                && !first.iter().any(|known| sops::same_key(known, &key))
            {
                first.push(key);
            }
        }
    }
    let threshold = document.metadata().shamir_threshold;
    let sealed = sops::rotate(&opened, &groups, threshold, &files::now(), &mut files::random()?, &mut run.wrap())
        .map_err(|error| Failure::of(&input.name, &error))?;
    let sealed = match args.types.output_type.as_deref().and_then(Format::of_name) {
        Some(wanted) if wanted != format => converted(run, &input.name, &sealed, format, wanted)?,
        _ => sealed,
    };
    files::write(&args.target, &input, &sealed)
}

/// `sops updatekeys`. What changes is shown and asked for file by file; before and after that, all files are worked on at
/// the same time. One bad file does not stop the others.
pub fn updatekeys(args: &UpdatekeysArgs, run: &Run<'_>) -> Outcome {
    if args.files.is_empty() {
        return Err(files::nothing_named(run.global));
    }
    let mut plans: Vec<Result<Update, Failure>> = vec![];
    let rules = OnceCell::new();
    for file in parallel::map(args.files.iter().collect(), |file| (Parsed::read(file, args), false)) {
        match plan_update(file, args, run, &rules) {
            Ok(None) => {}
            Ok(Some(update)) => plans.push(Ok(update)),
            Err(failure) if args.files.len() == 1 => return Err(failure),
            Err(failure) => plans.push(Err(failure)),
        }
    }
    let replacements = Replacements::default();
    let done = parallel::map(plans, |plan| (plan.and_then(|update| update_file(&update, run, &replacements)), false));
    let unflushed = replacements.finish().into_iter().map(|(folder, error)| Err(files::unwritten(&folder, &error)));
    let mut status = ExitCode::SUCCESS;
    for result in done.into_iter().chain(unflushed) {
        match result {
            Ok(said) => crate::cli::complain(&said),
            Err(failure) if args.files.len() == 1 => return Err(failure),
            Err(failure) => {
                crate::cli::complain(&failure.text);
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

/// A file whose keys are to be changed.
struct Update {
    input: files::Input,
    document: Document,
    groups: Vec<Vec<KeyRef>>,
    threshold: usize,
}

/// The rules file and its folder, read for the first file.
type Rules = OnceCell<Option<(Config, PathBuf)>>;

/// A file, and what it says unless that cannot be read.
struct Parsed {
    input: files::Input,
    document: Result<Document, Failure>,
}

impl Parsed {
    fn read(file: &Path, args: &UpdatekeysArgs) -> Result<Self, Failure> {
        let types = Types { input_type: args.input_type.clone(), ..Types::default() };
        let input = files::read(file, &types).map_err(|failure| Failure { code: code::GENERIC, ..failure })?;
        let document = keys::parse(&input, files::format(args.input_type.as_deref(), &input.name));
        Ok(Self { input, document })
    }
}

/// Compares a file with the rules. `None`: nothing to do, or the user does not want it.
fn plan_update(
    file: Result<Parsed, Failure>,
    args: &UpdatekeysArgs,
    run: &Run<'_>,
    rules: &Rules,
) -> Result<Option<Update>, Failure> {
    let Parsed { input, document } = file?;
    let missing = || Failure::new(code::GENERIC, "The config file does not contain any creation rule");
    if rules.get().is_none() {
        // Only this thread sets it.
        let _ = rules.set(files::config(run.global)?);
    }
    let rules = rules.get().and_then(Option::as_ref).ok_or_else(missing)?;
    let mut plan = files::plan_of(rules, &input.name)?.ok_or_else(missing)?;
    // As SOPS does it, so that a file follows a key of Azure to its new version.
    run.complete(&mut plan.groups)?;
    crate::cli::complain(&format!("Syncing keys for file {}", input.name));
    let document = document?;
    let change = key_change(document.metadata(), &plan);
    let Some(diff) = shown(&document, &change) else {
        crate::cli::complain(&format!("File {} already up to date", input.name));
        return Ok(None);
    };
    files::to_stdout(&Plaintext::from(format!("The following changes will be made to the file's groups:\n{diff}")))?;
    if !args.yes && !files::confirmed("Is this okay? (y/n):")? {
        crate::cli::complain(&format!("File {} left alone", input.name));
        return Ok(None);
    }
    Ok(Some(Update { input, document, groups: change.groups, threshold: change.threshold }))
}

fn update_file(update: &Update, run: &Run<'_>, replacements: &Replacements) -> Result<String, Failure> {
    let Update { input, document, groups, threshold } = update;
    let opened = run.open(document, &input.name, false)?;
    let mut random = files::random()?;
    let key = opened.data_key();
    let sealed = sops::rewrap(document, key, groups, *threshold, &files::now(), &mut random, &mut run.wrap())
        .map_err(|error| Failure::of(&input.name, &error))?;
    if let Some(path) = &input.path {
        // All files were read before the first question was asked.
        let changed = std::fs::read(path).map_or(true, |now| now != input.bytes.expose());
        if changed {
            let what = format!("{}: changed meanwhile and left alone; run updatekeys again", input.name);
            return Err(Failure::new(code::GENERIC, what));
        }
        replacements.replace(path, sealed.expose()).map_err(|error| files::unwritten(path, &error))?;
    }
    Ok(format!("File {} synced with new keys", input.name))
}

/// What changes of the threshold and the keys of a file, in SOPS' layout; `None` when nothing does.
pub fn shown(document: &Document, change: &KeyChange) -> Option<String> {
    let threshold = || shown_threshold(document.metadata().shamir_threshold, change.threshold);
    let groups = || list_groups(&groups_of(document), &change.groups);
    change.differs.then(|| threshold() + &groups())
}

/// The threshold before and after; nothing where there is none.
fn shown_threshold(old: usize, new: usize) -> String {
    if old == new {
        return if old > 0 { format!("shamir_threshold: {old}\n") } else { String::new() };
    }
    [("+++", new), ("---", old)]
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .map(|(sign, value)| format!("{sign} shamir_threshold: {value}\n"))
        .collect()
}

/// What changes of the keys alone; `None` when nothing does.
pub fn shown_groups(old: &[Vec<KeyRef>], new: &[Vec<KeyRef>]) -> Option<String> {
    Some(list_groups(old, new))
        .filter(|text| text.lines().any(|line| line.starts_with("+++") || line.starts_with("---")))
}

/// Added and removed keys per group.
fn list_groups(old: &[Vec<KeyRef>], new: &[Vec<KeyRef>]) -> String {
    let mut out = String::new();
    let empty: Vec<KeyRef> = Vec::new();
    for index in 0..old.len().max(new.len()) {
        let (before, after) = (old.get(index).unwrap_or(&empty), new.get(index).unwrap_or(&empty));
        out.push_str(&format!("Group {}\n", index + 1));
        let has = |list: &[KeyRef], key: &KeyRef| list.iter().any(|other| sops::same_key(other, key));
        for key in before.iter().filter(|key| has(after, key)) {
            out.push_str(&format!("    {key}\n"));
        }
        for key in after.iter().filter(|key| !has(before, key)) {
            out.push_str(&format!("+++ {key}\n"));
        }
        for key in before.iter().filter(|key| !has(after, key)) {
            out.push_str(&format!("--- {key}\n"));
        }
    }
    out
}
