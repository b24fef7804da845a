//! Go's text/template with the functions that SealedSecrets and ExternalSecrets carry.
//!
//! A template is parsed once ([`Template::parse`]) and rendered many times ([`Template::render`]). Nothing here reaches
//! outside its arguments: the time and the random source come in [`Environment`], everything is bounded by
//! [`crate::pure::limits`], and errors name places and kinds, never values. What differs from Go on purpose is listed in
//! `docs/compat/templates.md`.

mod budget;
mod bytes;
mod cache;
mod error;
mod eval;
mod floats;
pub(crate) mod functions;
pub(crate) mod kept;
mod lexer;
mod node;
mod numeric;
mod parse;
mod print;
mod runes;
mod time;
mod types;
mod value;

use std::sync::Arc;

pub use budget::Environment;
pub use bytes::ByteStr;
pub use cache::TemplateCache;
pub use error::TemplateError;
pub use runes::{quoted, quoted_rune};
pub use types::{IntKind, ObjectKind, Type, UintKind};
pub use value::{List, Map, Object, Value};

use crate::pure::secret::Plaintext;

/// Whose functions a template may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flavour {
    /// SealedSecrets: sprig 3.3 without `env`, `expandenv` and `getHostByName`.
    #[default]
    Sealed,
    /// ExternalSecrets: the same, and the functions of its own engine v2.
    External,
}

/// What a field that a map does not have gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissingKey {
    /// No value; printed as `<no value>`.
    #[default]
    Invalid,
    /// The zero value of the map's element type.
    Zero,
    /// An error. ExternalSecrets renders with this.
    Error,
}

/// How a template is read and rendered.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The function table.
    pub flavour: Flavour,
    /// Left delimiter; empty is `{{`.
    pub left: String,
    /// Right delimiter; empty is `}}`.
    pub right: String,
    /// What a missing key gives.
    pub missing_key: MissingKey,
}

/// A parsed template. It can be kept and rendered from many threads.
#[derive(Clone)]
pub struct Template(Arc<Parsed>);

struct Parsed {
    name: String,
    text: ByteStr,
    trees: parse::Trees,
    missing_key: MissingKey,
    volatile: bool,
}

impl Template {
    /// Parses `text`. `name` is what errors call the template.
    ///
    /// # Errors
    /// [`TemplateError::Parse`] with Go's text, or [`TemplateError::Limit`].
    pub fn parse(name: &str, text: impl AsRef<[u8]>, options: &Options) -> Result<Self, TemplateError> {
        let text = text.as_ref();
        let (trees, volatile) = parse::parse(name, text, options)?;
        Ok(Self(Arc::new(Parsed {
            name: name.to_owned(),
            text: ByteStr::copy_of(text),
            trees,
            missing_key: options.missing_key,
            volatile,
        })))
    }

    /// The name given to [`Template::parse`].
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether two renders with the same data may differ: the template names a function that reads the clock or the
    /// random source. The result of such a template is kept for as long as its inputs are the same, see
    /// `docs/decisions`.
    pub fn is_volatile(&self) -> bool {
        self.0.volatile
    }

    /// Renders the template with `dot` as its data.
    ///
    /// # Errors
    /// [`TemplateError::Execute`] when the template fails on the data, [`TemplateError::Limit`] when it does too much.
    pub fn render(&self, dot: &Value, environment: &mut Environment<'_>) -> Result<Plaintext, TemplateError> {
        environment.begin();
        eval::render(&self.0.name, &self.0.text, &self.0.trees, self.0.missing_key, dot, environment)
    }
}

#[cfg(test)]
mod tests;
