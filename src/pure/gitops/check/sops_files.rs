//! SOPS files: readable, encrypted all over, and to the recipients of their rule.

use std::ops::Range;

use super::{Finding, Ruled, lines_before};
use crate::pure::error::one_line;
use crate::pure::format::merge::marker_line;
use crate::pure::format::{Format, FormatError};
use crate::pure::keys::KeyRef;
use crate::pure::sops::{self, Document, PartKind, SopsError, Spot, SpotState, inspect, key_change};

/// Most values of one file that are named one by one.
const NAMED: usize = 10;

/// Checks the file, and says which bytes of it belong to SOPS files.
pub(super) fn check(
    bytes: &[u8],
    format: Format,
    rules: Option<Ruled<'_>>,
    taken: &mut Vec<Range<usize>>,
) -> Vec<Finding> {
    if let Some(line) = marker_line(bytes) {
        let hint = "resolve the conflict, then run `latchwork git resolved` on the file";
        return vec![Finding::error(line, "unreadable", "the file has conflict markers", hint)];
    }
    let parts = match sops::parts(bytes, format) {
        Ok(parts) => parts,
        Err(error) => return vec![unreadable(0, &error.into())],
    };
    let mut findings = Vec::new();
    for part in parts {
        let offset = lines_before(bytes, part.bytes.start);
        match part.kind {
            PartKind::Plain => {}
            PartKind::Invalid(error) => findings.push(unreadable(offset, &error.into())),
            PartKind::Sops => {
                let text = bytes.get(part.bytes.clone()).unwrap_or_default();
                match sops::parse(text, format) {
                    Err(error) => findings.push(unreadable(offset, &error)),
                    Ok(document) => findings.extend(document_findings(&document, offset, rules)),
                }
                taken.push(part.bytes);
            }
        }
    }
    findings
}

fn unreadable(offset: usize, error: &SopsError) -> Finding {
    let (code, hint) = match error {
        SopsError::DuplicateKey { .. } => ("duplicate-key", "remove one of the two and renew the MAC"),
        SopsError::Pattern { .. } => ("invalid-pattern", "a pattern that cannot be read encrypts nothing; correct it"),
        _ => ("unreadable", "restore the file from history; if a merge left conflict markers, resolve them"),
    };
    let line = match error {
        SopsError::DuplicateKey { line, .. }
        | SopsError::OddKey { line, .. }
        | SopsError::Format(
            FormatError::NotText { line, .. }
            | FormatError::Syntax { line, .. }
            | FormatError::TooDeep { line, .. }
            | FormatError::TooManyValues { line, .. }
            | FormatError::NotAMap { line, .. },
        ) => *line,
        _ => 1,
    };
    Finding::error(offset + line, code, without_line(&error.to_string(), line), hint)
}

/// The text without the line that the finding has already.
fn without_line(text: &str, line: usize) -> String {
    let text = one_line(text);
    text.strip_prefix(&format!("line {line}: ")).map_or(text.clone(), str::to_owned)
}

fn document_findings(document: &Document, offset: usize, rules: Option<Ruled<'_>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let spots = inspect(document);
    for (state, code, what, hint) in [
        (
            SpotState::Exposed,
            "plaintext-value",
            "should be encrypted and is not",
            "put the value in with `sops edit` or `sops set`, and treat this one as known to others",
        ),
        (
            SpotState::Malformed,
            "damaged-value",
            "is ciphertext that was cut or changed",
            "restore the value from history",
        ),
        (
            SpotState::Stray,
            "stray-ciphertext",
            "is ciphertext where the file's selector says clear, and stays so on decryption",
            "restore the \"sops\" block from history, or set the value again",
        ),
    ] {
        let found: Vec<&Spot> = spots.iter().filter(|spot| spot.state == state).collect();
        for spot in found.iter().take(NAMED) {
            findings.push(Finding::error(offset + spot.line, code, format!("{} {what}", spot.entry), hint));
        }
        if let Some(spot) = found.get(NAMED) {
            let what = format!("{} more entries: each {what}", found.len() - NAMED);
            findings.push(Finding::error(offset + spot.line, code, what, hint));
        }
    }
    let metadata = document.metadata();
    let line = offset + block_line(document.bytes());
    if metadata.mac.is_empty() {
        findings.push(Finding::error(line, "no-mac", "the file has no MAC", "restore the file from history"));
    }
    let Some(rules) = rules else { return findings };
    let plan = match rules.config.plan_for(rules.path) {
        Ok(Some(plan)) if !plan.groups.is_empty() => plan,
        Ok(_) => return findings,
        Err(_) => {
            let what = "no creation rule matches this file";
            findings.push(Finding::warning(line, "no-rule", what, "add a rule, or nobody can update its keys"));
            return findings;
        }
    };
    let change = key_change(metadata, &plan);
    if change.differs {
        let list = |sign: &str, keys: &[KeyRef]| -> String {
            keys.iter().map(|key| format!(" {sign}{}:{key}", key.kind())).collect()
        };
        let mut what = format!("recipients differ from the rule:{}", list("+", &change.added));
        what.push_str(&list("-", &change.removed));
        if change.added.is_empty() && change.removed.is_empty() {
            what = format!(
                "key groups differ from the rule: {} groups, threshold {}",
                change.groups.len(),
                change.threshold
            );
        }
        findings.push(Finding::error(line, "recipients", what, "run `latchwork rekey` on it"));
    }
    let selector = plan.selector.unwrap_or_default();
    if selector != metadata.selector && document.format() != Format::Binary {
        let ((name, text), (rule_name, rule_text)) = (metadata.selector.parts(), selector.parts());
        let what = format!("encrypted under {name} \"{text}\", and the rule says {rule_name} \"{rule_text}\"");
        findings.push(Finding::warning(line, "selector", what, "decrypt it and encrypt it again"));
    }
    findings
}

/// Line on which the block begins.
fn block_line(bytes: &[u8]) -> usize {
    let starts = |line: &[u8]| {
        let line = line.trim_ascii_start();
        [&b"sops:"[..], b"\"sops\":", b"[sops]", b"sops_"].iter().any(|head| line.starts_with(head))
    };
    bytes.split(|byte| *byte == b'\n').position(starts).map_or(1, |index| index + 1)
}
