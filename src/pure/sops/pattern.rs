//! Go's RE2 patterns on Rust's `regex`: the same syntax with ASCII classes, so that both select the same entries.
//! What the two engines would read differently is translated or refused; a refused pattern can never mean "no match",
//! which in SOPS leaves a file in plaintext.

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;

/// Largest automaton of one pattern, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern and its text. Matching is an unanchored search.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    finder: Finder,
}

/// What finds the pattern.
#[derive(Clone, Debug)]
enum Finder {
    /// Whole names, as in `^(data|stringData)$`: most patterns. To compile one takes longer than to open a small file.
    Names(Vec<String>),
    Regex(Regex),
}

impl Pattern {
    /// Compiles a pattern of Go's syntax.
    ///
    /// # Errors
    /// A short text that says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        if let Some(names) = names(text) {
            return Ok(Self { text: text.to_owned(), finder: Finder::Names(names) });
        }
        let translated = translate(text)?;
        // Each file brings its own pattern, for a handful of names: to compile it into a whole automaton first would take
        // longer than everything that is asked of it.
        let config = Config::new().nfa_size_limit(Some(SIZE_LIMIT)).utf8_empty(false).dfa(false);
        let bytes = syntax::Config::new().utf8(false);
        let regex =
            Regex::builder().configure(config).syntax(bytes).build(&translated).map_err(|error| reason(&error))?;
        Ok(Self { text: text.to_owned(), finder: Finder::Regex(regex) })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it occurs anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.finder {
            Finder::Names(names) => names.iter().any(|name| name.as_bytes() == text),
            Finder::Regex(regex) => regex.is_match(text),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn reason(error: &BuildError) -> String {
    match error.syntax_error() {
        Some(error) => {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
        None => "the pattern is too large".into(),
    }
}

/// The names of which one must be the whole text, where a pattern says no more than that.
fn names(pattern: &str) -> Option<Vec<String>> {
    let inside = pattern.strip_prefix('^')?.strip_suffix('$')?;
    // Without the group each anchor belongs to one alternative.
    let group = inside.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let names: Vec<String> = match group {
        Some(names) => names.split('|').map(str::to_owned).collect(),
        None => vec![inside.to_owned()],
    };
    let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    names.iter().all(is_name).then_some(names)
}

fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                let Some(escaped) = after.chars().next() else { return Err("a trailing backslash".into()) };
                let tail = after.get(escaped.len_utf8()..).unwrap_or_default();
                if escaped == 'Q' && !class {
                    let (literal, tail) = tail.split_once("\\E").unwrap_or((tail, ""));
                    out.push_str(&regex::escape(literal));
                    rest = tail;
                    continue;
                }
                out.push_str(&escape(escaped, class)?);
                rest = tail;
                continue;
            }
            '[' if !class => {
                class = true;
                out.push('[');
                rest = after;
                if let Some(tail) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = tail;
                }
                // A bracket that comes first is a member.
                if let Some(tail) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = tail;
                }
                continue;
            }
            '[' if after.starts_with(':') => out.push('['),
            // In Go a bracket in a class is a member, and there are no set operations.
            '[' | '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && after.starts_with('-') => out.push_str("\\-"),
            ']' if class && out.ends_with(':') => out.push(']'),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '{' if !class && !is_repetition(after) => out.push_str("\\{"),
            '(' if !class && after.starts_with('?') => {
                flags(after)?;
                out.push('(');
            }
            c => out.push(c),
        }
        rest = after;
    }
    Ok(out)
}

fn escape(c: char, class: bool) -> Result<String, String> {
    Ok(match (c, class) {
        ('d', true) => "0-9".into(),
        ('w', true) => "0-9A-Za-z_".into(),
        ('s', true) => "\\t\\n\\x0C\\r ".into(),
        ('D', true) => "[^0-9]".into(),
        ('W', true) => "[^0-9A-Za-z_]".into(),
        ('S', true) => "[^\\t\\n\\x0C\\r ]".into(),
        ('d', false) => "[0-9]".into(),
        ('w', false) => "[0-9A-Za-z_]".into(),
        ('s', false) => "[\\t\\n\\x0C\\r ]".into(),
        ('D', false) => "[^0-9]".into(),
        ('W', false) => "[^0-9A-Za-z_]".into(),
        ('S', false) => "[^\\t\\n\\x0C\\r ]".into(),
        ('b', false) => "(?-u:\\b)".into(),
        ('B', false) => "(?-u:\\B)".into(),
        ('A' | 'z', false) | ('a' | 'f' | 't' | 'n' | 'r' | 'v' | 'p' | 'P' | 'x', _) => format!("\\{c}"),
        (c, _) if c.is_ascii_punctuation() => format!("\\{c}"),
        (c, _) => return Err(format!("the escape \\{c} is not part of RE2")),
    })
}

/// `n}`, `n,}` or `n,m}` follows.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
        None => number(inside),
    }
}

/// Refuses groups that only Rust knows (`(?x)`, `(?u)`, `(?R)`); look-around is refused by the engine.
fn flags(after: &str) -> Result<(), String> {
    let letters: String = after.chars().skip(1).take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
    let named = after.starts_with("?P<") || after.starts_with("?<");
    if !named && letters.contains(['x', 'u', 'R']) {
        return Err("the group has a flag that is not part of RE2".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            ("^(data|stringData)$", "data", true),
            ("^(data|stringData)$", "metadata", false),
            ("^(data|stringData)$", "data\n", false),
            ("^(data|stringData)$", "", false),
            ("^(data|)$", "", true),
            ("^(data|)$", "x", false),
            ("^()$", "", true),
            ("^$", "x", false),
            ("^data$", "data", true),
            ("^data$", "datax", false),
            ("^data|stringData$", "database", true),
            ("^data|stringData$", "my-stringData", true),
            ("^(da.a)$", "data", true),
            ("^(data)|(text)$", "context", true),
            ("^(data)|(text)$", "my-text", true),
            ("^(?:data|text)$", "text", true),
            ("^(?i)data$", "DATA", true),
            ("pass", "my-password", true),
            (r"\d", "٣", false),
            (r"\d", "3", true),
            (r"\w", "é", false),
            (r"^\W$", "é", true),
            (r"\s", "\u{a0}", false),
            (r"\bé", "xé", true),
            (r"[\d_]+$", "a_1", true),
            (r"^[\D]$", "x", true),
            (r"[[a]", "[", true),
            (r"[a&&b]", "&", true),
            (r"[a--b]", "x", false),
            (r"[[:alpha:]]$", "1", false),
            (r"^[[:alpha:]_-]+$", "a_-", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"a{", "a{", true),
            (r"a{2}$", "aa", true),
            (r"a{,2}", "a{,2}", true),
            (r"\Qa.b\E$", "axb", false),
            (r"\Qa.b\E$", "a.b", true),
            (r"(?i)PASS", "pass", true),
            (r"(?P<n>x)", "x", true),
            ("é", "é", true),
            ("^.$", "é", true),
            ("", "", true),
            (r"a\.b", "axb", false),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.is_match(text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "(",
            "^(data$",
            "^data)$",
            "(?=x)",
            "(?!x)",
            "(?<=x)",
            r"\1",
            r"(?x)a b",
            r"\u0041",
            "[a",
            "*",
            "\\",
            r"\Z",
            "a{1001}{1001}",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
