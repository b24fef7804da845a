//! Creation rules against the files at hand.

use super::{Finding, Ruled};
use crate::pure::error::one_line;
use crate::pure::format::{self, Format};
use crate::pure::sops::rules::{Config, Rule};
use crate::pure::sops::{SopsError, SpotState, would_encrypt};

/// Patterns that mean every path, written out.
const ALL: [&str; 6] = ["", ".", ".*", ".+", "^.*$", "^.+$"];

/// A rules file that cannot be read.
pub fn broken(text: &str, error: &SopsError) -> Finding {
    let what = one_line(&error.to_string());
    let quoted = text.lines().position(|line| {
        let value = line.split_once(": ").map(|(_, value)| value.trim().trim_matches(['\'', '"'])).unwrap_or_default();
        value.len() > 2 && what.contains(value)
    });
    let line = quoted.map_or(1, |index| index + 1);
    Finding::error(
        line,
        "invalid-rules",
        what,
        "with a rule that is not understood nothing may be encrypted; correct it",
    )
}

fn takes_all(rule: &Rule) -> bool {
    rule.pattern().is_none_or(|pattern| ALL.contains(&pattern))
}

fn name(number: usize, rule: &Rule) -> String {
    match rule.pattern() {
        Some(pattern) => format!("rule {} ({pattern})", number + 1),
        None => format!("rule {}", number + 1),
    }
}

/// Line of the rule: of its pattern, or of the list.
fn line(text: &str, rule: &Rule) -> usize {
    let pattern = rule.pattern().unwrap_or("creation_rules");
    text.lines().position(|line| line.contains(pattern)).map_or(1, |index| index + 1)
}

/// Rules that can never count, and rules that two of match one file. `paths` are those of the files at hand, as the rules
/// see them.
pub fn overlaps(text: &str, config: &Config, paths: &[String]) -> Vec<Finding> {
    let rules = config.rules().unwrap_or_default();
    let mut findings = Vec::new();
    let matching: Vec<Vec<usize>> = paths
        .iter()
        .map(|path| (0..rules.len()).filter(|at| rules.get(*at).is_some_and(|rule| rule.matches(path))).collect())
        .collect();
    for (number, rule) in rules.iter().enumerate() {
        let hint = "move it before that rule, or remove it";
        if let Some((first, earlier)) = rules.iter().take(number).enumerate().find(|(_, rule)| takes_all(rule)) {
            let what = format!("{} never counts: {} takes every file", name(number, rule), name(first, earlier));
            findings.push(Finding::error(line(text, rule), "rule-unreachable", what, hint));
            continue;
        }
        let files = || matching.iter().filter(|rules| rules.contains(&number));
        let first = files().next().and_then(|rules| rules.first().copied());
        if let Some(first) = first.filter(|_| files().all(|rules| rules.first() != Some(&number)))
            && let Some(earlier) = rules.get(first)
            && !takes_all(rule)
        {
            let (all, earlier) = (files().count(), name(first, earlier));
            let what =
                format!("{} counts for none of the {all} files it matches: {earlier} comes first", name(number, rule));
            findings.push(Finding::error(line(text, rule), "rule-unreachable", what, hint));
            continue;
        }
        for (later, other) in rules.iter().enumerate().skip(number + 1) {
            if takes_all(rule) || takes_all(other) || rule.plan == other.plan {
                continue;
            }
            let both: Vec<&String> = matching
                .iter()
                .zip(paths)
                .filter(|(rules, _)| rules.contains(&number) && rules.contains(&later))
                .map(|(_, path)| path)
                .collect();
            if let Some(example) = both.first() {
                let more = if both.len() > 1 { format!(" and {} more", both.len() - 1) } else { String::new() };
                let (one, two) = (name(number, rule), name(later, other));
                let what = format!("{one} and {two} both match {example}{more}; the first counts");
                let hint = "make the patterns exclude each other if this is not meant";
                findings.push(Finding::warning(line(text, other), "rule-overlap", what, hint));
            }
        }
    }
    findings
}

/// A plain file for which there is a rule, when that rule would encrypt something in it. A rule without a pattern is for
/// whatever people choose to encrypt, and says nothing.
pub(super) fn not_encrypted(path: &str, bytes: &[u8], rules: Ruled<'_>) -> Option<Finding> {
    let number = rules.config.rules()?.iter().position(|rule| rule.matches(rules.path))?;
    let rule = rules.config.rules()?.get(number)?;
    let own = path.rsplit('/').next().is_some_and(|name| name == ".sops.yaml" || name == ".gitignore");
    if takes_all(rule) || rule.plan.groups.is_empty() || own || bytes.trim_ascii().is_empty() {
        return None;
    }
    let format = Format::of_path(path);
    let tree = format::parse(bytes, format).ok()?;
    let selector = rule.plan.selector.clone().filter(|_| format != Format::Binary).unwrap_or_default();
    let spots = would_encrypt(&tree, &selector);
    let chosen: Vec<_> = spots.iter().filter(|spot| spot.state == SpotState::Encrypted).collect();
    let first = chosen.first()?;
    let entry = if format == Format::Binary { "its content".to_owned() } else { first.entry.clone() };
    let more = if chosen.len() > 1 { format!(" and {} more", chosen.len() - 1) } else { String::new() };
    let what = format!("{} wants it encrypted, and it is not: {entry}{more}", name(number, rule));
    Some(Finding::error(first.line, "not-encrypted", what, "run `sops encrypt -i` on it, or narrow the rule"))
}
