//! The merge driver: what Git calls to merge one file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::data_keys;
use crate::adapters::kms::DataKeys;
use crate::adapters::{atomic, files, parallel};
use crate::cli::complain;
use crate::cli::data_keys::FlagsFirst;
use crate::cli::sops::files as sops_files;
use crate::pure::error::{Explain as _, one_line};
use crate::pure::format::merge::{self, Labels, conflict_text};
use crate::pure::format::{self, Format};
use crate::pure::keys::{DataKey, KeyRef};
use crate::pure::sealed::rekey;
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, Document, KeyNews, MacPolicy, MergedFile, Opened, Unlock as _};

/// Exit status that tells Git of a conflict. Above 127 would mean that there is no result at all.
const CONFLICT: u8 = 1;

/// Merge one file for Git: installed by `latchwork git install`, not for use by hand.
///
/// SOPS files are opened with your keys, merged entry by entry, and sealed again with a valid MAC. Entries that both sides
/// changed stand encrypted between conflict markers. SealedSecrets are merged entry by entry without any key. Everything
/// else, and what cannot be opened, is merged by lines as Git does it.
#[derive(Args)]
pub struct MergeDriverArgs {
    /// The common ancestor (%O); empty when both sides added the file
    base: PathBuf,
    /// Our version (%A); the result is written here
    ours: PathBuf,
    /// Their version (%B)
    theirs: PathBuf,
    /// Path of the file in the repository (%P)
    path: String,
    /// Characters of a conflict marker (%L)
    #[arg(long, default_value = "7", value_name = "N")]
    marker_size: String,
    /// Name of our side (%X)
    #[arg(long, default_value = "ours", value_name = "NAME")]
    ours_label: String,
    /// Name of their side (%Y)
    #[arg(long, default_value = "theirs", value_name = "NAME")]
    theirs_label: String,
}

impl MergeDriverArgs {
    /// Placeholders that an older Git does not know come as they are.
    fn labels(&self) -> Labels<'_> {
        let known = |label: &'_ str| !label.is_empty() && !label.starts_with('%');
        Labels {
            ours: if known(&self.ours_label) { &self.ours_label } else { "ours" },
            theirs: if known(&self.theirs_label) { &self.theirs_label } else { "theirs" },
            size: self.marker_size.parse().unwrap_or(7),
        }
    }
}

/// The three versions of a file.
struct Versions {
    base: Option<Vec<u8>>,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

/// Merges.
pub fn run(args: &MergeDriverArgs) -> anyhow::Result<ExitCode> {
    let labels = args.labels();
    let result = match versions(args) {
        Ok(versions) => structured(args, &versions, labels),
        Err(what) => Err(what),
    };
    match result {
        Ok(Some(merged)) => {
            atomic::replace(&args.ours, merged.bytes.expose())
                .with_context(|| format!("{}: the result cannot be written", args.path))?;
            if let Some(news) = told(&merged.news) {
                complain(&format!("latchwork merge-driver: {}: taken over from {}: {news}", args.path, labels.theirs));
            }
            for name in &merged.conflicts {
                complain(&format!("CONFLICT (entry): {}: both sides changed {name}", args.path));
            }
            if merged.conflicts.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            Ok(ExitCode::from(CONFLICT))
        }
        Ok(None) => by_lines(args, labels),
        Err(what) => {
            complain(&format!("latchwork merge-driver: {}: {what}; merged by lines", args.path));
            by_lines(args, labels)
        }
    }
}

/// The line for a person; `None` when our keys stay as they were.
fn told(news: &KeyNews) -> Option<String> {
    let mut parts = vec![];
    if !news.added.is_empty() {
        parts.push(format!("new recipients {}", news.added.join(", ")));
    }
    if !news.removed.is_empty() {
        parts.push(format!("without {}", news.removed.join(", ")));
    }
    if news.rotated {
        parts.push("a new data key".to_owned());
    }
    (!parts.is_empty()).then(|| one_line(&parts.join("; ")))
}

fn versions(args: &MergeDriverArgs) -> Result<Versions, String> {
    let read = |path: &Path| files::read(path).map_err(|error| error.line());
    let base = Some(read(&args.base)?).filter(|base| !base.is_empty());
    Ok(Versions { base, ours: read(&args.ours)?, theirs: read(&args.theirs)? })
}

/// `None` for a file that has nothing encrypted.
fn structured(args: &MergeDriverArgs, versions: &Versions, labels: Labels<'_>) -> Result<Option<MergedFile>, String> {
    let sides = [Some(&versions.ours), Some(&versions.theirs), versions.base.as_ref()];
    let read =
        parallel::map(sides.into_iter().flatten().collect(), |bytes| (sops::only_document(bytes, &args.path), false));
    // The usual file: one SOPS document on all sides.
    if let Some(documents) = read.into_iter().collect::<Option<Vec<_>>>() {
        return sops_file(documents, labels).map(Some);
    }
    let formats = [&versions.ours, &versions.theirs].map(|bytes| sops::format_of(bytes, &args.path));
    match formats {
        [Some(ours), Some(theirs)] if ours == theirs => {
            let parse = |bytes: &Vec<u8>| {
                let several = sops::parts(bytes, ours).map_or(0, |parts| parts.len()) != 1;
                if several {
                    return Err("it holds other documents beside the SOPS file".to_owned());
                }
                sops::parse(bytes, ours).map_err(|error| error.line())
            };
            let documents: Result<Vec<Document>, String> = sides.into_iter().flatten().map(parse).collect();
            sops_file(documents?, labels).map(Some)
        }
        [None, None] => sealed_file(args, versions, labels),
        _ => Err("one side is encrypted with SOPS and the other is not".into()),
    }
}

/// Merges ours, theirs and, where there is one, the common ancestor.
fn sops_file(documents: Vec<Document>, labels: Labels<'_>) -> Result<MergedFile, String> {
    let keys = data_keys();
    let ours = documents.first().ok_or("there is nothing to merge")?;
    let key = keys.unlock(ours).map_err(|error| error.line())?;
    let with_keys: Result<Vec<_>, String> = documents
        .iter()
        .zip(["our side", "their side", "the common ancestor"])
        .map(|(document, side)| Ok((document, shared_or_own(document, ours, &key, &keys)?, side)))
        .collect();
    let opened = parallel::map(with_keys?, |(document, key, side)| {
        let opened = sops::open_with_key(document, key, MacPolicy::Verify);
        (opened.map_err(|error| format!("{side}: {}", error.line())), false)
    });
    let opened: Vec<Opened<'_>> = opened.into_iter().collect::<Result<_, _>>()?;
    let [ours, theirs, base @ ..] = opened.as_slice() else { return Err("there is nothing to merge".into()) };
    let mut random = sops_files::random().map_err(|failure| failure.text)?;
    let mut wrap = |wanted: &[(&KeyRef, &Plaintext)]| keys.wrap(wanted);
    let now = sops_files::now();
    sops::merge(base.first(), ours, theirs, labels, &now, &mut random, &mut wrap).map_err(|e| e.to_string())
}

/// The data key of a version; without asking again where its wrapped keys are those of ours.
fn shared_or_own(
    document: &Document,
    ours: &Document,
    key: &DataKey,
    keys: &DataKeys<FlagsFirst>,
) -> Result<DataKey, String> {
    if document.metadata().groups == ours.metadata().groups
        && let Some(key) = DataKey::new(key.expose())
    {
        return Ok(key);
    }
    keys.unlock(document).map_err(|error| error.line())
}

/// SealedSecrets need no key: a sealed value is an entry like another.
fn sealed_file(args: &MergeDriverArgs, versions: &Versions, labels: Labels<'_>) -> Result<Option<MergedFile>, String> {
    let format = Format::of_path(&args.path);
    let holds =
        |bytes: &[u8]| format::parse(bytes, format).is_ok_and(|tree| rekey::find(&tree).iter().any(Result::is_ok));
    if !matches!(format, Format::Yaml | Format::Json) || !holds(&versions.ours) || !holds(&versions.theirs) {
        return Ok(None);
    }
    let merged = merge::merge(versions.base.as_deref(), &versions.ours, &versions.theirs, format);
    let merged = merged.map_err(|error| error.to_string())?;
    Ok(Some(MergedFile {
        bytes: match &merged.theirs {
            Some(theirs) => Plaintext::new(conflict_text(merged.ours.expose(), theirs.expose(), labels)),
            None => merged.ours,
        },
        conflicts: merged.conflicts,
        news: KeyNews::default(),
    }))
}

/// What Git would have done without us.
fn by_lines(args: &MergeDriverArgs, labels: Labels<'_>) -> anyhow::Result<ExitCode> {
    let status = Command::new("git")
        .arg("merge-file")
        .arg(format!("--marker-size={}", labels.size))
        .args(["-L", labels.ours, "-L", "base", "-L", labels.theirs])
        .args([&args.ours, &args.base, &args.theirs])
        .status()
        .context("git merge-file does not start")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
}
