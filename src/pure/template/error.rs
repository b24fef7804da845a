//! What can go wrong with a template. Texts equal Go's where Go's text holds no value.

use crate::pure::error::{Explain, Retry};

/// An error of parsing or rendering. The text names template, line, column, function and kinds, never a value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("{text}")]
    Parse {
        /// `template: NAME:LINE: message`
        text: String,
    },
    /// The template failed on this data.
    #[error("{text}")]
    Execute {
        /// `template: NAME:LINE:COL: executing "NAME" at <NODE>: message`
        text: String,
        /// Whether the text differs from Go's because Go's would show a value.
        withheld: bool,
    },
    /// A limit was hit.
    #[error("{text}")]
    Limit {
        /// As for [`TemplateError::Execute`]; the message names the limit.
        text: String,
    },
}

impl TemplateError {
    /// Whether the text differs from Go's because Go's would show a value.
    pub fn withheld(&self) -> bool {
        matches!(self, Self::Execute { withheld: true, .. })
    }
}

impl Explain for TemplateError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Parse { .. } => "TemplateInvalid",
            Self::Execute { .. } => "TemplateFailed",
            Self::Limit { .. } => "TemplateLimit",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::Parse { .. } => "correct the template".to_owned(),
            Self::Execute { .. } => "correct the template or the data it reads".to_owned(),
            Self::Limit { .. } => "make the template do less".to_owned(),
        }
    }
}

/// Why a function or a step failed, before the place is known.
pub(super) enum Fault {
    /// Go's own text, which names no value.
    Plain(String),
    /// A text of ours, where Go's would show a value.
    Withheld(String),
    /// A limit.
    Limit(String),
}

impl Fault {
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    pub fn withheld(text: impl Into<String>) -> Self {
        Self::Withheld(text.into())
    }

    pub fn limit(what: &str, cap: impl std::fmt::Display, unit: &str) -> Self {
        Self::Limit(format!("limit reached: {what} may not exceed {cap} {unit}"))
    }
}
