//! `latchwork explain`: which rule a file has, what is encrypted in it, and who can open it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::data_keys::FlagsFirst;
use super::key_services::ServiceArgs;
use super::keys_at_hand::{KeyArgs, KeysAtHand};
use super::sops::args::Global;
use super::sops::files as sops_files;
use super::sops::ring::Keyring;
use crate::adapters::files;
use crate::pure::error::Explain as _;
use crate::pure::format::{self, Format};
use crate::pure::keys::{KeyKind, LocalKeys, WrappedKey};
use crate::pure::sealed::rekey::{self, Placed};
use crate::pure::sealed::unseal::{object_key, object_scope};
use crate::pure::sealed::{Scope, SealingKeys};
use crate::pure::sops::rules::{Config, Rule};
use crate::pure::sops::{self, Document, PartKind, Plan, Spot, SpotState, inspect, key_change, would_encrypt};

/// Most entries that are named; the rest is counted.
const NAMED: usize = 20;

/// Say which rule a file has and why, what is encrypted in it, and who can open it.
///
/// Works on SOPS files, on files that are not encrypted yet, and on SealedSecrets. Private keys are used only to say which
/// of the recipients are you, and which sealing key each value needs. No value is shown.
#[derive(Args)]
#[command(after_help = "Examples:
  latchwork explain secrets/db.yaml
  latchwork explain --sealing-key keys/ apps/web/sealed.yaml")]
pub struct ExplainArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Use this .sops.yaml
    #[arg(long, env = "SOPS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
}

struct Explainer {
    rules: Option<(Config, PathBuf)>,
    local: FlagsFirst,
    /// The rules file, for people.
    rules_file: String,
    sealing: SealingKeys,
}

/// Runs the verb.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let at_hand = KeysAtHand::collect(&args.keys, &args.files)?;
    let global = Global { config: args.config.clone(), ..Global::default() };
    let rules_file = sops_files::config_path(&global).map_err(|failure| anyhow::anyhow!(failure.text))?;
    let explainer = Explainer {
        rules: sops_files::config(&global).map_err(|failure| anyhow::anyhow!(failure.text))?,
        local: FlagsFirst::new(at_hand.identities, Keyring::new(ServiceArgs::default().is_local())),
        rules_file: rules_file.map(|path| path.display().to_string()).unwrap_or_default(),
        sealing: at_hand.sealing,
    };
    let mut status = ExitCode::SUCCESS;
    for path in &args.files {
        let name = path.display().to_string();
        let text = files::read(path).map_err(|error| error.line()).and_then(|bytes| explainer.file(&name, &bytes));
        match text {
            Ok(text) => std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write")?,
            Err(what) => {
                super::complain(&format!("error: {name}: {what}"));
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

/// Writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

impl Explainer {
    fn file(&self, name: &str, bytes: &[u8]) -> Result<String, String> {
        let mut out = String::new();
        let format = Format::of_path(name);
        let Some(sops_format) = sops::format_of(bytes, name) else {
            let tree = format::parse(bytes, format).map_err(|error| error.line())?;
            let sealed = if matches!(format, Format::Yaml | Format::Json) { rekey::find(&tree) } else { vec![] };
            if sealed.is_empty() {
                line!(out, "{name}: {format}, not encrypted");
                if let Some(plan) = self.rule(&mut out, name) {
                    let selector = plan.selector.filter(|_| format != Format::Binary).unwrap_or_default();
                    let (kind, text) = selector.parts();
                    line!(out, "  would be encrypted: {kind} \"{text}\"");
                    spots(&mut out, &would_encrypt(&tree, &selector));
                }
            }
            for placed in sealed {
                let placed = placed.map_err(|error| format!("line {}: {}", error.line, error.what))?;
                self.sealed(&mut out, name, &placed);
            }
            return Ok(out);
        };
        for part in sops::parts(bytes, sops_format).map_err(|error| error.line())? {
            let (first, last) = (part.documents.start + 1, part.documents.end);
            let text = bytes.get(part.bytes).unwrap_or_default();
            match part.kind {
                PartKind::Plain => {
                    line!(out, "{name}: document {first}: not encrypted");
                }
                PartKind::Invalid(error) => {
                    line!(out, "{name}: document {first}: {}", error.line());
                }
                PartKind::Sops => {
                    let document = sops::parse(text, sops_format).map_err(|error| error.line())?;
                    let which = if first == last { String::new() } else { format!(" (documents {first} to {last})") };
                    line!(
                        out,
                        "{name}: {sops_format}{which}, encrypted by sops {}, last changed {}",
                        document.metadata().version,
                        document.metadata().last_modified
                    );
                    self.sops(&mut out, name, &document);
                }
            }
        }
        Ok(out)
    }

    /// The rule of a file, and why.
    fn rule(&self, out: &mut String, name: &str) -> Option<Plan> {
        let Some((config, folder)) = &self.rules else {
            line!(out, "  rule: none, there is no .sops.yaml from the working directory upward");
            return None;
        };
        let path = sops_files::path_for_rules(folder, name);
        let rules = config.rules().unwrap_or_default();
        let matching: Vec<(usize, &Rule)> = rules.iter().enumerate().filter(|(_, rule)| rule.matches(&path)).collect();
        let Some((number, rule)) = matching.first() else {
            line!(out, "  rule: none of the {} in {} matches {path}", rules.len(), self.rules_file);
            return None;
        };
        let why = match rule.pattern() {
            Some(pattern) => format!("path_regex {pattern} matches {path}"),
            None => "it has no path_regex and takes every file".into(),
        };
        line!(out, "  rule: {} of {}: {why}", number + 1, self.rules_file);
        for (later, rule) in matching.iter().skip(1) {
            let pattern = rule.pattern().unwrap_or("(every file)");
            line!(out, "        rule {} ({pattern}) matches as well and does not count", later + 1);
        }
        Some(rule.plan.clone())
    }

    fn sops(&self, out: &mut String, name: &str, document: &Document) {
        let metadata = document.metadata();
        let plan = self.rule(out, name);
        let (kind, text) = metadata.selector.parts();
        let assumed = if metadata.selector_is_written { "" } else { " (assumed: the file names none)" };
        line!(out, "  encrypted: {kind} \"{text}\"{assumed}");
        if metadata.mac_only_encrypted {
            line!(out, "             the MAC covers the encrypted values only");
        }
        spots(out, &inspect(document));
        let groups = &metadata.groups;
        match groups.len() {
            1 => {
                line!(out, "  opens with any of:");
            }
            count => {
                line!(out, "  opens with {} of {count} groups, any key of each:", metadata.shamir_threshold.max(2));
            }
        }
        for (index, group) in groups.iter().enumerate() {
            for key in group {
                let group = if groups.len() > 1 { format!("group {} ", index + 1) } else { String::new() };
                let yours = if self.is_yours(key) { "  (yours)" } else { "" };
                line!(out, "    {group}{} {}{yours}", key.key.kind(), key.key);
            }
        }
        let Some(plan) = plan.filter(|plan| !plan.groups.is_empty()) else { return };
        let change = key_change(metadata, &plan);
        if change.differs {
            line!(out, "  differs from its rule; `latchwork rekey` would bring it there:");
            for (sign, keys) in [("+", &change.added), ("-", &change.removed)] {
                for key in keys {
                    line!(out, "    {sign} {} {key}", key.kind());
                }
            }
            if change.added.is_empty() && change.removed.is_empty() {
                line!(out, "    {} groups, threshold {}", change.groups.len(), change.threshold);
            }
        } else {
            line!(out, "  its keys are those of its rule");
        }
    }

    /// Tried for age only: others may ask a service or a person.
    fn is_yours(&self, key: &WrappedKey) -> bool {
        key.key.kind() == KeyKind::Age && matches!(LocalKeys::unwrap(&self.local, key), Some(Ok(_)))
    }

    fn sealed(&self, out: &mut String, name: &str, placed: &Placed) {
        let key = object_key(&placed.object);
        let scope = object_scope(&placed.object);
        let bound = match scope {
            Scope::Strict => format!("opens only as {key}"),
            Scope::NamespaceWide => format!("opens under any name in {}", key.namespace),
            Scope::ClusterWide => "opens under any name in any namespace".into(),
        };
        line!(out, "{name}:{}: SealedSecret {key}, scope {scope}: {bound}", placed.line);
        for entry in &placed.entries {
            let key = match rekey::opener(&placed.object, &entry.text, &self.sealing) {
                Ok(Some(key)) => format!("{} {}", key.name(), key.fingerprint()),
                Ok(None) if self.sealing.is_empty() => "no sealing key is at hand".into(),
                Ok(None) => "none of the keys at hand".into(),
                Err(what) => what,
            };
            line!(out, "  {}: {key}", entry.name);
        }
    }
}

fn spots(out: &mut String, spots: &[Spot]) {
    let of = |state: SpotState| spots.iter().filter(move |spot| spot.state == state);
    for spot in of(SpotState::Encrypted).take(NAMED) {
        line!(out, "    {} (line {})", spot.entry, spot.line);
    }
    let more = of(SpotState::Encrypted).count().saturating_sub(NAMED);
    if more > 0 {
        line!(out, "    and {more} more");
    }
    for spot in of(SpotState::Exposed).take(NAMED) {
        line!(out, "    {} (line {}): SHOULD BE, AND IS NOT", spot.entry, spot.line);
    }
    line!(out, "    in clear: {}", of(SpotState::Clear).count());
}
