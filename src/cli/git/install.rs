//! Git's configuration and attributes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::adapters::atomic;

/// What both drivers are called.
const NAME: &str = "latchwork";

/// Files that may be SOPS files or SealedSecrets; others are merged by lines anyway.
const PATTERNS: [&str; 5] = ["*.yaml", "*.yml", "*.json", "*.env", "*.ini"];

const ATTRIBUTES: &str = "merge=latchwork diff=latchwork";

#[derive(Args)]
pub(super) struct InstallArgs {
    /// For every repository of this user
    #[arg(long)]
    global: bool,
    /// Patterns of .gitattributes [default: *.yaml *.yml *.json *.env *.ini]
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

#[derive(Args)]
pub(super) struct UninstallArgs {
    /// For every repository of this user
    #[arg(long)]
    global: bool,
}

/// The settings, in order.
fn settings() -> anyhow::Result<[(String, String); 4]> {
    let program = program()?;
    let driver = format!("{program} merge-driver --marker-size %L --ours-label %X --theirs-label %Y -- %O %A %B %P");
    Ok([
        (format!("merge.{NAME}.name"), "SOPS files and SealedSecrets, entry by entry".into()),
        (format!("merge.{NAME}.driver"), driver),
        (format!("diff.{NAME}.textconv"), format!("{program} textconv")),
        // A cache of what textconv prints would be plaintext on disk.
        (format!("diff.{NAME}.cachetextconv"), "false".into()),
    ])
}

/// How Git's shell can call this program: by its name where PATH leads here, else by its path.
fn program() -> anyhow::Result<String> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let found =
        std::env::var_os("PATH").into_iter().flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
    let first = found.map(|folder| folder.join(NAME)).find(|path| path.is_file());
    if first.and_then(|path| path.canonicalize().ok()) == own.canonicalize().ok() {
        return Ok(NAME.into());
    }
    Ok(format!("'{}'", own.display().to_string().replace('\'', "'\\''")))
}

fn git(arguments: &[&str]) -> anyhow::Result<Option<String>> {
    let output = Command::new("git").args(arguments).output().context("git does not start")?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
    Ok(output.status.success().then_some(text))
}

fn scope(global: bool) -> &'static str {
    if global { "--global" } else { "--local" }
}

/// The attributes file of the repository or of the user.
fn attributes_file(global: bool) -> anyhow::Result<PathBuf> {
    if !global {
        let Some(top) = git(&["rev-parse", "--show-toplevel"])? else { bail!("this folder is in no Git repository") };
        return Ok(Path::new(&top).join(".gitattributes"));
    }
    if let Some(named) = git(&["config", "--global", "--type=path", "core.attributesFile"])? {
        return Ok(named.into());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    Ok(config.context("neither XDG_CONFIG_HOME nor HOME is set")?.join("git/attributes"))
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Writes what is missing.
pub(super) fn install(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    let path = attributes_file(args.global)?;
    for (name, value) in settings()? {
        if git(&["config", scope(args.global), &name])?.as_ref() == Some(&value) {
            say(&format!("unchanged: {name}"))?;
            continue;
        }
        if git(&["config", scope(args.global), "--replace-all", &name, &value])?.is_none() {
            bail!("git config {name} failed");
        }
        say(&format!("set: {name} = {value}"))?;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let asked = args.patterns.iter().map(String::as_str);
    let patterns: Vec<&str> = if args.patterns.is_empty() { PATTERNS.to_vec() } else { asked.collect() };
    let lines: Vec<String> = patterns.iter().map(|pattern| format!("{} {ATTRIBUTES}", quoted(pattern))).collect();
    let missing: Vec<&String> = lines.iter().filter(|line| !old.lines().any(|known| known.trim() == **line)).collect();
    if missing.is_empty() {
        say(&format!("unchanged: {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut text = String::new();
    if !old.is_empty() && !old.ends_with('\n') {
        text.push('\n');
    }
    missing.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    let mut file = fs::OpenOptions::new().append(true).create(true).open(&path);
    file.as_mut()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|file| Ok(file.write_all(text.as_bytes())?))
        .with_context(|| format!("cannot write {}", path.display()))?;
    for line in missing {
        say(&format!("added to {}: {line}", path.display()))?;
    }
    if !args.global {
        say("commit .gitattributes, so that others need only run `latchwork git install` as well")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A pattern with blanks must be in quotes.
fn quoted(pattern: &str) -> String {
    if pattern.contains(char::is_whitespace) { format!("\"{pattern}\"") } else { pattern.to_owned() }
}

/// Takes the settings and the lines out again.
pub(super) fn uninstall(args: &UninstallArgs) -> anyhow::Result<ExitCode> {
    let path = attributes_file(args.global)?;
    for section in [format!("merge.{NAME}"), format!("diff.{NAME}")] {
        match git(&["config", scope(args.global), "--remove-section", &section])? {
            Some(_) => say(&format!("removed: {section}"))?,
            None => say(&format!("not there: {section}"))?,
        }
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let ours = |line: &&str| line.trim().ends_with(ATTRIBUTES);
    let gone = old.lines().filter(ours).count();
    if gone > 0 {
        let kept: String = old.split_inclusive('\n').filter(|line| !ours(line)).collect();
        let written = if kept.is_empty() { fs::remove_file(&path) } else { atomic::replace(&path, kept.as_bytes()) };
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&format!("removed from {}: {gone} line{}", path.display(), if gone == 1 { "" } else { "s" }))?;
    Ok(ExitCode::SUCCESS)
}
