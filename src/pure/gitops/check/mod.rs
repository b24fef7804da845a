//! What is wrong with the files of a repository, as far as it can be known without any private key.

mod manifests;
mod private_keys;
pub mod rules;
mod sops_files;
#[cfg(test)]
mod tests;

use crate::pure::sops::format_of;
use crate::pure::sops::rules::Config;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A secret is out, or a file cannot be opened by those who should.
    Error,
    /// It may be meant.
    Warning,
}

/// One thing that is wrong. Names entries and lines, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line, from 1.
    pub line: usize,
    /// Stable name, in lower case with dashes.
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

impl Finding {
    fn error(line: usize, code: &'static str, what: impl Into<String>, hint: &'static str) -> Self {
        Self { line, code, level: Level::Error, what: what.into(), hint }
    }

    fn warning(line: usize, code: &'static str, what: impl Into<String>, hint: &'static str) -> Self {
        Self { level: Level::Warning, ..Self::error(line, code, what, hint) }
    }
}

/// The rules of a repository and the path of a file as they see it.
#[derive(Clone, Copy)]
pub struct Ruled<'r> {
    /// The rules.
    pub config: &'r Config,
    /// Relative to their folder, or absolute.
    pub path: &'r str,
}

/// Looks at one file. Findings come in the order of lines.
pub fn file(path: &str, bytes: &[u8], rules: Option<Ruled<'_>>) -> Vec<Finding> {
    let mut findings = private_keys::find(bytes);
    let sops = format_of(bytes, path);
    let mut taken = Vec::new();
    if let Some(format) = sops {
        findings.extend(sops_files::check(bytes, format, rules, &mut taken));
    }
    findings.extend(manifests::check(path, bytes, &taken));
    if let (Some(rules), None, true) = (rules, sops, findings.is_empty()) {
        findings.extend(rules::not_encrypted(path, bytes, rules));
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Number of line breaks before an offset: what the lines of a part of a file are off by.
fn lines_before(bytes: &[u8], offset: usize) -> usize {
    bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}
