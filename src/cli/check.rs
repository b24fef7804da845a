//! `latchwork check`: what is wrong with the secrets of a repository, without any private key.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::sops::args::Global;
use super::sops::files as sops_files;
use super::workers;
use crate::adapters::files;
use crate::pure::error::{Explain as _, one_line};
use crate::pure::gitops::check::{self, Finding, Level, Ruled};
use crate::pure::gitops::tree::TreeError;
use crate::pure::limits;
use crate::pure::sops::rules::Config;

/// Find secrets in clear, and encrypted files that are broken or to the wrong keys. Needs no private key.
///
/// Looks into all files below each PATH, without what Git ignores: Secrets, private keys and age identities in clear;
/// files that a creation rule with a pattern wants encrypted and that are not; SOPS files that cannot be read, have values
/// in clear that should not be, or other recipients than their rule says; SealedSecrets with damaged values or
/// contradicting scopes and names; rules of .sops.yaml that are invalid, never count, or overlap.
///
/// One line for each finding: `path:line: what; what to do [code]`. A value is never printed. Exit status: 0 nothing was
/// found (warnings do not count unless --strict is given), 1 something was found, 2 the check itself failed.
#[derive(Args)]
#[command(after_help = "Examples:
  latchwork check                         the whole repository, in CI
  latchwork check --staged                what is about to be committed, as .git/hooks/pre-commit
  latchwork check --strict --skip no-rule apps/")]
pub struct CheckArgs {
    /// Directories or files [default: .]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look at what is staged for the next commit instead of at the files
    #[arg(long)]
    staged: bool,
    /// Warnings count as well
    #[arg(long)]
    strict: bool,
    /// Leave out findings of this code; may be repeated
    #[arg(long, value_name = "CODE")]
    skip: Vec<String>,
    /// Look into what Git ignores as well
    #[arg(long)]
    no_ignore: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Use this .sops.yaml
    #[arg(long, env = "SOPS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exit status when the check itself failed.
const FAILED: u8 = 2;

/// The rules file, as far as it could be read.
struct Rules {
    path: PathBuf,
    text: String,
    config: Result<(Config, PathBuf), Finding>,
}

/// Runs the verb.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    match findings(args) {
        Ok((files, found)) => report(args, files, &found),
        Err(error) => {
            super::complain(&format!("error: {error:#}"));
            Ok(ExitCode::from(FAILED))
        }
    }
}

type Found = Vec<(PathBuf, Finding)>;

fn findings(args: &CheckArgs) -> anyhow::Result<(usize, Found)> {
    let rules = rules(args)?;
    let mut found: Found = Vec::new();
    let paths = if args.staged { staged(&args.paths)? } else { listed(args, &mut found) };
    let config = rules.as_ref().and_then(|rules| rules.config.as_ref().ok());
    let results = workers::each(&paths, "checking", !args.json, |path| {
        let ruled =
            config.map(|(config, folder)| (config, sops_files::path_for_rules(folder, &path.to_string_lossy())));
        let bytes = if args.staged { staged_content(path) } else { content(path) };
        let findings = match bytes {
            Ok(Some(bytes)) => {
                let rules = ruled.as_ref().map(|(config, path)| Ruled { config, path });
                check::file(&path.to_string_lossy(), &bytes, rules)
            }
            Ok(None) => vec![],
            Err(what) => vec![unreadable(what)],
        };
        (ruled.map(|(_, path)| path), findings)
    });
    let mut ruled = Vec::new();
    for (path, (rule_path, findings)) in paths.iter().zip(results) {
        ruled.extend(rule_path);
        found.extend(findings.into_iter().map(|finding| (path.clone(), finding)));
    }
    if let Some(rules) = rules {
        let more = match rules.config {
            Ok((config, _)) => check::rules::overlaps(&rules.text, &config, &ruled),
            Err(finding) => vec![finding],
        };
        found.extend(more.into_iter().map(|finding| (rules.path.clone(), finding)));
    }
    found.retain(|(_, finding)| !args.skip.iter().any(|code| code == finding.code));
    Ok((paths.len(), found))
}

fn rules(args: &CheckArgs) -> anyhow::Result<Option<Rules>> {
    let global = Global { config: args.config.clone(), ..Global::default() };
    let Some(path) = sops_files::config_path(&global).map_err(|failure| anyhow::anyhow!(failure.text))? else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    let config = Config::parse(&text).map(|config| (config, folder)).map_err(|e| check::rules::broken(&text, &e));
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(path);
    Ok(Some(Rules { path, text, config }))
}

fn unreadable(what: String) -> Finding {
    Finding { line: 1, code: "unreadable", level: Level::Error, what, hint: "check the file and its permissions" }
}

fn listed(args: &CheckArgs, found: &mut Found) -> Vec<PathBuf> {
    let here = [PathBuf::from(".")];
    let roots: &[PathBuf] = if args.paths.is_empty() { &here } else { &args.paths };
    let mut paths = Vec::new();
    for entry in roots.iter().flat_map(|root| files::list(root, args.no_ignore)) {
        let short = |path: PathBuf| path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path);
        match entry {
            Ok(path) => paths.push(short(path)),
            Err((path, error)) => found.push((short(path), unreadable(error.line()))),
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Files above the size of any secret are not looked into.
fn content(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(TreeError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.line()),
    }
}

fn git(arguments: &[&str], paths: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git").args(arguments).args(paths).output().context("git does not start")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), one_line(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output.stdout)
}

/// Paths that the next commit changes, relative to the working directory.
fn staged(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let names =
        ["diff", "--cached", "--name-only", "--relative", "-z", "--diff-filter=ACMR", "--ignore-submodules=all", "--"];
    let out = git(&names, paths)?;
    let text = String::from_utf8_lossy(&out);
    Ok(text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

fn staged_content(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let object = format!(":./{}", path.display());
    let size = git(&["cat-file", "-s", &object], &[]).map_err(|error| error.to_string())?;
    let size = String::from_utf8_lossy(&size).trim().parse::<usize>().unwrap_or(usize::MAX);
    if size > limits::FILE_BYTES {
        return Ok(None);
    }
    git(&["cat-file", "blob", &object], &[]).map(Some).map_err(|error| error.to_string())
}

fn report(args: &CheckArgs, files: usize, found: &Found) -> anyhow::Result<ExitCode> {
    let errors = found.iter().filter(|(_, finding)| finding.level == Level::Error).count();
    let warnings = found.len() - errors;
    let mut out = std::io::stdout().lock();
    if args.json {
        let findings: Vec<_> = found.iter().map(|(path, finding)| as_json(path, finding)).collect();
        let value = json!({ "findings": findings, "errors": errors, "warnings": warnings, "filesLookedAt": files });
        writeln!(out, "{value:#}")?;
    } else {
        for (path, Finding { line, code, level, what, hint }) in found {
            let level = if *level == Level::Warning { "warning: " } else { "" };
            writeln!(out, "{}:{line}: {level}{what}; {hint} [{code}]", path.display())?;
        }
        let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        writeln!(out, "{}, {} in {}", count(errors, "error"), count(warnings, "warning"), count(files, "file"))?;
    }
    let bad = errors > 0 || (args.strict && warnings > 0);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(path: &Path, finding: &Finding) -> serde_json::Value {
    json!({
        "path": path.display().to_string(),
        "line": finding.line,
        "code": finding.code,
        "level": if finding.level == Level::Error { "error" } else { "warning" },
        "what": finding.what,
        "hint": finding.hint,
    })
}
