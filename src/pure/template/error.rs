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

    /// The text for a template that is itself secret, as those kept in Secrets are: its name and the place, and none of the
    /// template's words. `name` is the one given to [`super::Template::parse`].
    pub fn place_only(&self, name: &str) -> String {
        let (Self::Parse { text } | Self::Execute { text, .. } | Self::Limit { text }) = self;
        let what = match self {
            Self::Parse { .. } => "this is no template",
            Self::Execute { .. } => "the template fails on its data",
            Self::Limit { .. } => "the template does more than the limits allow",
        };
        let rest = text.strip_prefix("template: ").and_then(|rest| rest.strip_prefix(name)).unwrap_or_default();
        let end = rest.find(|c: char| c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let place = rest.get(..end).unwrap_or_default().trim_end_matches(':');
        format!("template: {name}{place}: {what}; its text is in a Secret and not shown")
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

#[cfg(test)]
mod tests {
    use super::super::{Environment, Options, Template, Value};

    #[test]
    fn a_secret_template_is_told_by_its_place_alone() {
        for (text, want) in [
            ("a\n{{ \"hunter2\" | hunter3 }}", "template: n:1x:2: this is no template"),
            ("a\n  {{ index .a \"hunter2\" }}", "template: n:1x:2:5: the template fails on its data"),
            ("{{ fail \"1hunter2\" }}", "template: n:1x:1:3: the template fails on its data"),
            ("{{ range until 100000000 }}hunter2{{ end }}", "template: n:1x:1:9: the template"),
            ("{{ define \"hunter2\" }}{{ index .a 1 }}{{ end }}{{ template \"hunter2\" . }}", "template: n:1x:1:"),
        ] {
            let mut random = |_: &mut [u8]| {};
            let error = Template::parse("n:1x", text, &Options::default())
                .and_then(|template| {
                    template.render(&Value::string_map([]), &mut Environment::new((0, 0), &mut random))
                })
                .err()
                .map(|error| error.place_only("n:1x"))
                .unwrap_or_default();
            assert!(error.starts_with(want) && !error.contains("hunter"), "{text}: {error}");
        }
    }
}
