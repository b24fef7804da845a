//! Errors of the command line with SOPS' exit codes.

use crate::pure::error::Explain as _;
use crate::pure::format::place::PathError;
use crate::pure::keys::KeyRef;
use crate::pure::sops::{KeyReport, SopsError, WrapFailure};

/// Exit codes that scripts may depend on.
#[allow(missing_docs, reason = "the names are those of SOPS")]
pub mod code {
    pub const GENERIC: u8 = 1;
    pub const COULD_NOT_READ_INPUT: u8 = 2;
    pub const COULD_NOT_WRITE_OUTPUT: u8 = 3;
    pub const NO_SUCH_VERB: u8 = 3;
    pub const ERROR_DUMPING_TREE: u8 = 4;
    pub const INVALID_SET_FORMAT: u8 = 7;
    pub const CONFLICTING_FLAGS: u8 = 8;
    pub const ERROR_ENCRYPTING_TREE: u8 = 23;
    pub const ERROR_DECRYPTING_TREE: u8 = 25;
    pub const MAC_MISMATCH: u8 = 51;
    pub const CANNOT_CHANGE_KEYS_OF_NOTHING: u8 = 49;
    pub const ERROR_INVALID_EXTRACT: u8 = 91;
    pub const FILE_IS_EMPTY: u8 = 92;
    pub const NO_FILE: u8 = 100;
    pub const DUPLICATE_DECRYPTION_KEY_TYPE: u8 = 112;
    pub const COULD_NOT_RETRIEVE_KEY: u8 = 128;
    pub const FILE_HAS_NOT_BEEN_MODIFIED: u8 = 200;
    pub const NO_EDITOR: u8 = 201;
    pub const FILE_ALREADY_ENCRYPTED: u8 = 203;
}

/// An error that ends the program.
pub struct Failure {
    /// Exit status.
    pub code: u8,
    /// For standard error; may have several lines, never a value.
    pub text: String,
}

impl Failure {
    /// A failure with a text.
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// An error of a file.
    pub fn of(file: &str, error: &SopsError) -> Self {
        let code = match error {
            SopsError::Keys(report) if report.groups == 0 => {
                return Self::new(code::GENERIC, format!("{file}: No keys found in file"));
            }
            SopsError::Keys(report) => return Self::new(code::COULD_NOT_RETRIEVE_KEY, key_report(report)),
            SopsError::Format(_) | SopsError::DuplicateKey { .. } | SopsError::OddKey { is_collection: true, .. } => {
                code::COULD_NOT_READ_INPUT
            }
            SopsError::OddKey { .. } | SopsError::NumberRange { .. } => code::ERROR_ENCRYPTING_TREE,
            SopsError::NotEncrypted { .. } | SopsError::Damaged { .. } | SopsError::Type { .. } => {
                code::ERROR_DECRYPTING_TREE
            }
            SopsError::MacMissing | SopsError::MacDamaged | SopsError::MacMismatch => code::MAC_MISMATCH,
            SopsError::AlreadyEncrypted { .. } => code::FILE_ALREADY_ENCRYPTED,
            SopsError::Emit(_) | SopsError::OneDocument { .. } => code::ERROR_DUMPING_TREE,
            SopsError::Wrap { failures } => return Self::new(code::GENERIC, wrap_report(failures)),
            SopsError::NoRecipients | SopsError::EmptyGroup { .. } => {
                // The very words that scripts look for.
                return Self::new(code::GENERIC, "Could not generate data key: [empty key group provided]");
            }
            SopsError::NotSops => return Self::new(code::GENERIC, format!("{file}: sops metadata not found")),
            _ => code::GENERIC,
        };
        Self::new(code, format!("{file}: {}", error.line()))
    }

    /// An error of a path in a file.
    pub fn of_path(path: &str, error: PathError) -> Self {
        let what = match error {
            PathError::Missing => return Self::new(code::GENERIC, format!("Key not found: {path}")),
            PathError::Kind => "the path asks for a name in a list, a position in a map, or something below a value",
            PathError::Value => {
                return Self::new(
                    code::ERROR_DUMPING_TREE,
                    format!("{path}: the format of the file has no such values"),
                );
            }
            PathError::Pair => {
                "the map is a pair without braces in a list; write [{a: 1}] for [a: 1] with `sops edit`, then a name can be added"
            }
            PathError::Merge => {
                "only a map or a list of maps can stand under the merge key <<; no sops would read the file"
            }
            PathError::Alias => "the entry stands under a YAML alias; change it at its anchor",
        };
        Self::new(code::GENERIC, format!("{path}: {what}"))
    }
}

/// Keys that the data key could not be encrypted to, in SOPS' layout.
fn wrap_report(failures: &[WrapFailure]) -> String {
    let one = |failure: &WrapFailure| {
        format!("failed to encrypt new data key with master key \"{}\": {}", failure.key, failure.error)
    };
    format!("Could not generate data key: [{}]", failures.iter().map(one).collect::<Vec<_>>().join(" "))
}

/// What was tried, in SOPS' layout: per group each key, and per key each reason.
fn key_report(report: &KeyReport) -> String {
    let mut out = String::from("Failed to get the data key required to decrypt the SOPS file.\n\n");
    for group in 0..report.groups {
        if report.opened.contains(&group) {
            out.push_str(&format!("Group {group}: SUCCESS\n\n"));
            continue;
        }
        let mut keys: Vec<(&KeyRef, Vec<String>)> = vec![];
        for tried in report.tried.iter().filter(|tried| tried.group == group) {
            let reason = reason(&tried.error.to_string());
            match keys.iter_mut().find(|(key, _)| **key == tried.key) {
                Some((_, reasons)) => reasons.push(reason),
                None => keys.push((&tried.key, vec![reason])),
            }
        }
        let blocks = keys.iter().map(|(key, reasons)| format!("{key}: FAILED\n{}", indent(&reasons.join("\n\n"))));
        let blocks = blocks.collect::<Vec<_>>().join("\n\n");
        out.push_str(&format!("Group {group}: FAILED\n{}\n\n", indent(&blocks)));
    }
    let closing = if report.groups > 1 {
        format!(
            "Recovery failed because the file was encrypted with a Shamir threshold of {}, but only {} part(s) were successfully recovered, one for each successful key group. In order for SOPS to recover the file, at least {} groups have to be successful. In order for a group to be successful, decryption has to succeed with any of the keys in that key group.",
            report.threshold,
            report.opened.len(),
            report.threshold
        )
    } else {
        "Recovery failed because no master key was able to decrypt the file. In order for SOPS to recover the file, at least one key has to be successful, but none were.".to_owned()
    };
    out.push_str(&wrap(&closing, 75).join("\n"));
    out
}

/// One reason as a block: a dash at its first line, a bar at all.
fn reason(text: &str) -> String {
    let lines = text.lines().flat_map(|line| wrap(line, 60));
    let marked = lines.enumerate().map(|(index, line)| format!("{} | {line}", if index == 0 { '-' } else { ' ' }));
    marked.collect::<Vec<_>>().join("\n")
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
