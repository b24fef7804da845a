//! Which values of a file are encrypted.

use super::error::SopsError;
use super::pattern::Pattern;

/// The suffix that SOPS assumes when a file names no selector.
pub const DEFAULT_UNENCRYPTED_SUFFIX: &str = "_unencrypted";

/// The one rule of a file. Suffixes and patterns are tested against every name on the way to a value, so a match on a
/// parent covers all below it.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// All but names that end so.
    UnencryptedSuffix(String),
    /// Only names that end so.
    EncryptedSuffix(String),
    /// All but names that match.
    UnencryptedRegex(Pattern),
    /// Only names that match.
    EncryptedRegex(Pattern),
    /// All but what stands under a comment that matches.
    UnencryptedCommentRegex(Pattern),
    /// Only what stands under a comment that matches.
    EncryptedCommentRegex(Pattern),
}

impl Default for Selector {
    fn default() -> Self {
        Self::UnencryptedSuffix(DEFAULT_UNENCRYPTED_SUFFIX.to_owned())
    }
}

/// Names of the selectors in metadata, flags and rules.
pub const NAMES: [&str; 6] = [
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
];

impl Selector {
    /// Makes the selector called `name`.
    ///
    /// # Errors
    /// An invalid pattern, or a name that is none of the six selectors.
    pub fn new(name: &str, text: &str) -> Result<Self, SopsError> {
        let named = NAMES.into_iter().find(|known| *known == name);
        let selector = named.ok_or_else(|| SopsError::Metadata { what: format!("there is no selector \"{name}\"") })?;
        let pattern =
            || Pattern::new(text).map_err(|what| SopsError::Pattern { selector, pattern: text.to_owned(), what });
        Ok(match selector {
            "unencrypted_suffix" => Self::UnencryptedSuffix(text.to_owned()),
            "encrypted_suffix" => Self::EncryptedSuffix(text.to_owned()),
            "unencrypted_regex" => Self::UnencryptedRegex(pattern()?),
            "encrypted_regex" => Self::EncryptedRegex(pattern()?),
            "unencrypted_comment_regex" => Self::UnencryptedCommentRegex(pattern()?),
            _ => Self::EncryptedCommentRegex(pattern()?),
        })
    }

    /// Name in metadata, and text.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::UnencryptedSuffix(text) => ("unencrypted_suffix", text),
            Self::EncryptedSuffix(text) => ("encrypted_suffix", text),
            Self::UnencryptedRegex(pattern) => ("unencrypted_regex", pattern.text()),
            Self::EncryptedRegex(pattern) => ("encrypted_regex", pattern.text()),
            Self::UnencryptedCommentRegex(pattern) => ("unencrypted_comment_regex", pattern.text()),
            Self::EncryptedCommentRegex(pattern) => ("encrypted_comment_regex", pattern.text()),
        }
    }

    /// Whether the value at `path` is encrypted. `comments` holds, for each level from the top, the comments since the
    /// last value there; `is_comment` says that the value is the last of them, which does not count for itself when
    /// comments select what is encrypted.
    pub(super) fn selects(&self, path: &[String], comments: &[Vec<Vec<u8>>], is_comment: bool) -> bool {
        let any = |test: &dyn Fn(&str) -> bool| path.iter().any(|name| test(name));
        match self {
            Self::UnencryptedSuffix(suffix) => !any(&|name| !suffix.is_empty() && name.ends_with(suffix.as_str())),
            Self::EncryptedSuffix(suffix) => any(&|name| name.ends_with(suffix.as_str())),
            Self::UnencryptedRegex(pattern) => !any(&|name| pattern.is_match(name.as_bytes())),
            Self::EncryptedRegex(pattern) => any(&|name| pattern.is_match(name.as_bytes())),
            Self::UnencryptedCommentRegex(pattern) => !comments.iter().flatten().any(|text| pattern.is_match(text)),
            Self::EncryptedCommentRegex(pattern) => {
                let total: usize = comments.iter().map(Vec::len).sum();
                comments
                    .iter()
                    .flatten()
                    .take(total - usize::from(is_comment && total > 0))
                    .any(|text| pattern.is_match(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_look_at_every_name_of_the_path() {
        let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (name, text, names, expected) in [
            ("unencrypted_suffix", "_unencrypted", &["a"][..], true),
            ("unencrypted_suffix", "_unencrypted", &["a_unencrypted", "b"], false),
            ("encrypted_suffix", "_secret", &["a", "b_secret"], true),
            ("encrypted_suffix", "_secret", &["a", "b"], false),
            ("unencrypted_regex", "^meta", &["metadata", "x"], false),
            ("encrypted_regex", "^(data|stringData)$", &["stringData", "x"], true),
            ("encrypted_regex", "^(data|stringData)$", &["metadata", "x"], false),
            ("encrypted_regex", "x", &[], false),
        ] {
            let selector = Selector::new(name, text).expect("valid");
            assert_eq!(selector.selects(&path(names), &[], false), expected, "{name} {text} {names:?}");
            assert_eq!(selector.parts(), (name, text));
        }
        assert!(matches!(Selector::new("encrypted_regex", "("), Err(SopsError::Pattern { .. })));
        assert!(matches!(Selector::new("regex", "x"), Err(SopsError::Metadata { .. })));
    }

    #[test]
    fn comments_select_what_follows_and_what_is_below() {
        let level = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let enc = Selector::new("encrypted_comment_regex", "sops:enc").expect("valid");
        let clear = Selector::new("unencrypted_comment_regex", "sops:clear").expect("valid");
        assert!(enc.selects(&[], &[level(&[" sops:enc"]), level(&[])], false), "a parent's comment counts");
        assert!(!enc.selects(&[], &[level(&[" sops:enc"])], true), "a comment does not count for itself");
        assert!(enc.selects(&[], &[level(&[" sops:enc", " more"])], true));
        assert!(!enc.selects(&[], &[level(&[" other"])], false));
        assert!(!clear.selects(&[], &[level(&[" sops:clear"])], true));
        assert!(clear.selects(&[], &[level(&[" other"])], false));
    }
}
