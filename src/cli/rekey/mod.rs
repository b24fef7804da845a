//! `latchwork rekey`: every encrypted file of a tree brought to the present keys.

mod report;
mod sealed;
mod work;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::data_keys::FlagsFirst;
use super::key_services::ServiceArgs;
use super::keys_at_hand::{KeyArgs, KeysAtHand};
use super::sops::args::Global;
use super::sops::files as sops_files;
use super::sops::ring::Keyring;
use super::{complain, workers};
use crate::adapters::atomic::Replacements;
use crate::adapters::files;
use crate::adapters::kms::DataKeys;
use crate::pure::error::Explain as _;
use crate::pure::sops::DecryptionOrder;
use report::Summary;
use work::{FileReport, Run};

/// Exit status when something would change and was not changed.
const WOULD_CHANGE: u8 = 1;
/// Exit status when something failed.
const FAILED: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Sops,
    Sealed,
}

/// Bring every encrypted file of a tree to the present keys.
///
/// Looks into all files below each PATH (not into what Git ignores) and finds SOPS files of every format and
/// SealedSecrets in YAML and JSON by their content.
///
/// SOPS files get the keys of the first rule of .sops.yaml that matches, found from the working directory upward; with
/// --rotate also a new data key. SealedSecrets are sealed anew to the certificate of --cert or --cluster, value by value:
/// a value that is on that key already keeps its bytes, and so do scope, template, comments and layout.
///
/// A table shows what would change; then it asks, unless --yes is given. Files are replaced whole or not at all, one that
/// fails does not stop the rest, and a second run does what is left.
///
/// Exit status: 0 all is on the present keys; 1 something would change and was not written; 2 something failed.
#[derive(Args)]
#[command(after_help = "Examples:
  latchwork rekey --dry-run .                            for CI: status 1 when a file is not on the keys of its rule
  latchwork rekey --yes clusters/                        after an edit of .sops.yaml
  latchwork rekey --rotate secrets/                      new data keys, after a key was lost
  latchwork rekey --cert new.pem --sealing-key old/ .    SealedSecrets, without the cluster
  latchwork rekey --cluster --only sealed apps/          SealedSecrets, by the controller of the cluster")]
pub struct RekeyArgs {
    /// Directories or files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write without asking
    #[arg(long, short)]
    yes: bool,
    /// Show what would change, write nothing; exit status 1 if something would
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Give SOPS files new data keys, too
    #[arg(long)]
    rotate: bool,
    /// With --rotate: only files last changed before this time (RFC 3339), to go on where a run ended
    #[arg(long, value_name = "TIME", requires = "rotate")]
    before: Option<Timestamp>,
    /// One kind of file only
    #[arg(long, value_name = "KIND")]
    only: Option<Only>,
    /// Look into what Git ignores as well
    #[arg(long)]
    no_ignore: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Use this .sops.yaml
    #[arg(long, env = "SOPS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    services: ServiceArgs,
    #[command(flatten, next_help_heading = "SealedSecrets")]
    target: sealed::TargetArgs,
}

/// Runs the verb.
pub fn run(args: &RekeyArgs) -> anyhow::Result<ExitCode> {
    let started = sops_files::now();
    let at_hand = KeysAtHand::collect(&args.keys, &args.paths)?;
    let global = Global { config: args.config.clone(), ..Global::default() };
    let rules = sops_files::config(&global).map_err(|failure| anyhow::anyhow!(failure.text))?;
    let local = FlagsFirst::new(at_hand.identities, Keyring::new(args.services.is_local()));
    let target = args.target.resolve()?;
    let run = Run {
        // Which values are on the present key is the controller's to say: without it a dry run would name them all.
        ask: args.dry_run && target.as_ref().is_some_and(sealed::Target::has_cluster),
        rules,
        data_keys: DataKeys::new(local, DecryptionOrder::default(), None, args.services.connect()),
        sealing: at_hand.sealing,
        target,
        rotate: args.rotate,
        before: args.before,
        sops: args.only != Some(Only::Sealed),
        sealed: args.only != Some(Only::Sops),
    };
    let (paths, mut failures) = list(args);
    let reports = workers::each(&paths, "reading", !args.json, |path| run.survey(path));
    let looked_at = paths.len();
    let mut reports: Vec<FileReport> = reports.into_iter().filter(|report| !report.items.is_empty()).collect();
    let changes = reports.iter().filter(|report| report.changes()).count();
    let write = changes > 0 && !args.dry_run && (args.yes || ask(args, &reports, looked_at, changes)?);
    if write {
        let (todo, rest): (Vec<_>, Vec<_>) = reports.into_iter().partition(FileReport::changes);
        let replacements = Replacements::default();
        reports = workers::each(&todo, "writing", !args.json, |report| run.write(report, &replacements));
        let unflushed = |(folder, error)| FileReport::failed(folder, format!("cannot be written: {error}"));
        reports.extend(replacements.finish().into_iter().map(unflushed));
        reports.extend(rest);
        reports.sort_by(|a, b| a.path.cmp(&b.path));
    }
    failures.append(&mut reports);
    let reports = failures;
    let summary = Summary::of(&reports, looked_at, write);
    let out = if args.json { report::json(&reports, &summary) } else { report::table(&reports, &summary, write) };
    std::io::stdout().lock().write_all(out.as_bytes()).context("cannot write to standard output")?;
    if summary.failed > 0 && write && args.rotate {
        complain(&format!("to go on with what failed: the same command with --rotate --before {started}"));
    }
    Ok(match (summary.failed, summary.to_change) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(WOULD_CHANGE),
        _ => ExitCode::from(FAILED),
    })
}

/// The files to look at, and what could not be listed.
fn list(args: &RekeyArgs) -> (Vec<PathBuf>, Vec<FileReport>) {
    let (mut paths, mut failed) = (Vec::new(), Vec::new());
    for root in &args.paths {
        for found in files::list(root, args.no_ignore) {
            match found {
                Ok(path) => paths.push(path),
                Err((path, error)) => failed.push(FileReport::failed(path, error.line())),
            }
        }
    }
    paths.sort();
    paths.dedup();
    (paths, failed)
}

/// Shows the table and asks. Where nobody can answer, the answer is no.
fn ask(args: &RekeyArgs, reports: &[FileReport], looked_at: usize, changes: usize) -> anyhow::Result<bool> {
    if args.json || !std::io::stdin().is_terminal() {
        complain("nothing was written: say --yes to write, or --dry-run if this is what you want");
        return Ok(false);
    }
    let mut out = std::io::stdout().lock();
    let table = report::table(reports, &Summary::of(reports, looked_at, false), false);
    write!(out, "{table}Write {changes} file{}? [y/N] ", if changes == 1 { "" } else { "s" })?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "" | "n" | "no" => Ok(false),
        other => bail!("{other:?} is neither yes nor no; nothing was written"),
    }
}
