//! Lossless reading of the five file formats: YAML, JSON, dotenv, INI and binary.
//!
//! [`parse`] gives a [`Tree`] that keeps the source bytes and, for every key, value and comment, the span it was read
//! from. Nothing is ever re-printed to change one value: a changed node is written over its own span
//! ([`splice::apply`]), so comments, blank lines, quoting, key order and line endings stay byte for byte.
//! [`emit`] prints a tree from scratch; it is used only when the target is another format than the source.

mod detect;
mod dotenv;
mod emit;
mod ini;
mod json;
pub mod merge;
mod number;
pub mod place;
pub mod splice;
mod tree;
mod yaml;

pub use detect::{DocumentSpan, split_documents};
pub use emit::{EmitError, Indent, emit, emit_value, emit_with, plain_text};
pub(in crate::pure) use emit::{emit_entry, emit_lines};
pub(in crate::pure) use ini::DEFAULT as INI_DEFAULT;
pub use number::{float_text, parse_int};
pub(in crate::pure) use tree::duplicate_item;
pub use tree::{Branch, Comment, Element, Entry, Item, Layout, Node, OddKey, Scalar, Span, Tree, Value, line_of};
pub use yaml::time;
pub(in crate::pure) use yaml::{misplaced_tab, misused_merge_key, place_comment};

use super::error::{Explain, Retry};
use super::limits;
use super::secret::Plaintext;

/// Syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML 1.2 with the extras of Go's yaml.v3; may hold several documents.
    Yaml,
    /// One JSON object.
    Json,
    /// `KEY=value` lines.
    Dotenv,
    /// Sections of `key = value` lines.
    Ini,
    /// Anything else: one value.
    Binary,
}

impl Format {
    /// The format that SOPS assumes for a path, by its suffix; everything unknown is binary.
    pub fn of_path(path: &str) -> Self {
        let has = |suffix: &str| path.ends_with(suffix);
        if has(".yaml") || has(".yml") {
            Self::Yaml
        } else if has(".json") {
            Self::Json
        } else if has(".env") {
            Self::Dotenv
        } else if has(".ini") {
            Self::Ini
        } else {
            Self::Binary
        }
    }

    /// The format of a name as `--input-type` takes it. `None` when the name is unknown.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "yaml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "dotenv" => Some(Self::Dotenv),
            "ini" => Some(Self::Ini),
            "binary" => Some(Self::Binary),
            _ => None,
        }
    }

    /// The name that `--input-type` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that cannot be read as their format. The text names the line and never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum FormatError {
    #[error("the file has {bytes} bytes, more than the {limit} that are opened")]
    TooLarge { bytes: usize, limit: usize },
    #[error("line {line}: not UTF-8 text, which {format} must be")]
    NotText { format: Format, line: usize },
    #[error("line {line}: not valid {format}: {what}")]
    Syntax { format: Format, line: usize, what: String },
    #[error("line {line}: nested deeper than {limit} levels")]
    TooDeep { line: usize, limit: usize },
    #[error("more than {limit} documents in one file")]
    TooManyDocuments { limit: usize },
    #[error("line {line}: aliases expand to more than {limit} values")]
    TooManyValues { line: usize, limit: usize },
    #[error("line {line}: the top level of {format} must be a map of names to values")]
    NotAMap { format: Format, line: usize },
}

impl Explain for FormatError {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "FileTooLarge",
            Self::NotText { .. } | Self::Syntax { .. } | Self::NotAMap { .. } => "InvalidFile",
            Self::TooDeep { .. } | Self::TooManyDocuments { .. } | Self::TooManyValues { .. } => "FileTooComplex",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::TooLarge { .. } => "split the file".into(),
            Self::NotText { .. } | Self::Syntax { .. } => "correct the line".into(),
            Self::NotAMap { .. } => "give the list or the value a name".into(),
            Self::TooDeep { .. } | Self::TooManyValues { .. } => "flatten the file".into(),
            Self::TooManyDocuments { .. } => "split the file".into(),
        }
    }
}

/// Reads `bytes` as `format`. Binary is read as its one value; the JSON envelope of an encrypted binary file is JSON.
pub fn parse(bytes: &[u8], format: Format) -> Result<Tree, FormatError> {
    if bytes.len() > limits::FILE_BYTES {
        return Err(FormatError::TooLarge { bytes: bytes.len(), limit: limits::FILE_BYTES });
    }
    let branches = match format {
        Format::Yaml => {
            let text = text(bytes, format)?;
            let documents = split_documents(bytes)?;
            // YAML 1.2 takes a document without a marker behind `...`, libyaml and yaml.v3 do not.
            if let Some(bare) = documents.iter().skip(1).find(|document| document.body_start == document.span.start) {
                let line = line_of(bytes, bare.span.start);
                let what = "a document behind `...` must begin with `---`".to_owned();
                return Err(FormatError::Syntax { format, line, what });
            }
            documents.into_iter().map(|document| yaml::read(text, &document)).collect::<Result<Vec<_>, _>>()?
        }
        Format::Json => vec![json::read(text(bytes, format)?)?],
        Format::Dotenv => vec![dotenv::read(bytes)?],
        Format::Ini => vec![ini::read(text(bytes, format)?)?],
        Format::Binary => vec![Branch::binary(bytes)],
    };
    Ok(Tree { format, source: Plaintext::copy_of(bytes), branches })
}

fn text(bytes: &[u8], format: Format) -> Result<&str, FormatError> {
    std::str::from_utf8(bytes)
        .map_err(|error| FormatError::NotText { format, line: line_of(bytes, error.valid_up_to()) })
}

#[cfg(test)]
mod tests;
