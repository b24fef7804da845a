//! The type of a plain scalar as Go's yaml.v3 decides it: YAML 1.2 core plus octal `0755`, `0b11`, `1_000` and dates.
//! The type decides what SOPS hashes, so this is a rule of the file format and not a matter of taste.

use std::borrow::Cow;

use super::time;
use crate::pure::format::{Scalar, parse_int};
use crate::pure::secret::Plaintext;

/// Resolves a plain (unquoted, untagged) scalar.
pub fn resolve_plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => go_float(&without_separators(text)).map_or_else(|| as_text(text), Scalar::Float),
        Some(b'0'..=b'9' | b'+' | b'-') => time::canonical(text).map(Scalar::Time).unwrap_or_else(|| number(text)),
        _ => as_text(text),
    }
}

/// Resolves a scalar with an explicit core tag (`str`, `int`, `float`, `bool`, `null`, `timestamp`, `binary`). `None`
/// when the text does not fit the tag. Every other tag makes it text, as in yaml.v3.
pub(super) fn resolve_tagged(tag: &str, text: &str) -> Option<Scalar> {
    match (tag, resolve_plain(text)) {
        ("str", _) => Some(as_text(text)),
        ("binary", _) => decode_binary(text),
        ("float", Scalar::Int(value)) => Some(Scalar::Float(value as f64)),
        ("float", Scalar::Float(value)) => Some(Scalar::Float(value)),
        ("int", Scalar::Int(value)) => Some(Scalar::Int(value)),
        ("int", Scalar::Unsigned(value)) => Some(Scalar::Unsigned(value)),
        ("bool", Scalar::Bool(value)) => Some(Scalar::Bool(value)),
        ("null", Scalar::Null) => Some(Scalar::Null),
        ("timestamp", Scalar::Time(value)) => Some(Scalar::Time(value)),
        ("int" | "float" | "bool" | "null" | "timestamp", _) => None,
        _ => Some(as_text(text)),
    }
}

fn as_text(text: &str) -> Scalar {
    Scalar::Text(Plaintext::copy_of(text.as_bytes()))
}

fn number(text: &str) -> Scalar {
    let digits = text.replace('_', "");
    match parse_int(&digits) {
        Ok(value) => return Scalar::Int(value),
        Err(Some(value)) => return Scalar::Unsigned(value),
        Err(None) => {}
    }
    if is_float(&digits) { go_float(&digits).map_or_else(|| as_text(text), Scalar::Float) } else { as_text(text) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, yaml.v3's own pattern.
fn is_float(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_whole = whole.len() < rest.len();
    let (rest, has_digits) = match whole.strip_prefix('.') {
        Some(fraction) => {
            let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (after, has_whole || after.len() < fraction.len())
        }
        None => (whole, has_whole),
    };
    if !has_digits {
        return false;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number without the underscores that Go lets stand between two digits.
fn without_separators(text: &str) -> Cow<'_, str> {
    let is_digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    let mut marks = text.match_indices('_').map(|(at, _)| at).peekable();
    if marks.peek().is_none() || !marks.all(|at| is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1))) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('_', ""))
}

/// `strconv.ParseFloat`, which refuses what overflows.
fn go_float(text: &str) -> Option<f64> {
    if !is_float(text) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn decode_binary(text: &str) -> Option<Scalar> {
    use base64::Engine as _;
    let compact: zeroize::Zeroizing<Vec<u8>> =
        zeroize::Zeroizing::new(text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect());
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact.as_slice()).ok()?;
    Some(Scalar::Text(Plaintext::new(bytes)))
}

#[cfg(test)]
pub(super) fn type_of(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "null".into(),
        Scalar::Bool(value) => format!("bool {value}"),
        Scalar::Int(value) => format!("int {value}"),
        Scalar::Unsigned(value) => format!("unsigned {value}"),
        Scalar::Float(value) => format!("float {value}"),
        Scalar::Time(value) => format!("time {value}"),
        Scalar::Text(_) => "text".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_gos_types() {
        for (text, expected) in [
            ("", "null"),
            ("~", "null"),
            ("Null", "null"),
            ("true", "bool true"),
            ("yes", "text"),
            ("on", "text"),
            ("y", "text"),
            ("tRue", "text"),
            ("0755", "int 493"),
            ("0o755", "int 493"),
            ("0xFF", "int 255"),
            ("0b11", "int 3"),
            ("-0b11", "int -3"),
            ("1_000", "int 1000"),
            ("+1", "int 1"),
            ("08", "float 8"),
            ("1.0", "float 1"),
            ("1e3", "float 1000"),
            ("1.", "float 1"),
            (".5", "float 0.5"),
            ("-.5", "float -0.5"),
            (".5_0", "float 0.5"),
            (".1e1_0", "float 1000000000"),
            (".5__0", "text"),
            (".5_", "text"),
            ("._5", "text"),
            (".5_e3", "text"),
            (".", "text"),
            ("-", "text"),
            ("1e400", "text"),
            (".inf", "float inf"),
            ("-.INF", "float -inf"),
            ("inf", "text"),
            ("nan", "text"),
            ("9223372036854775808", "unsigned 9223372036854775808"),
            ("18446744073709551616", "float 18446744073709552000"),
            ("2024-01-01", "time 2024-01-01T00:00:00Z"),
            ("2001-12-14t21:59:43.10-05:00", "time 2001-12-14T21:59:43.1-05:00"),
            ("2001-12-14 21:59:43.10 -5", "text"),
            ("12:30:45", "text"),
            ("190:20:30", "text"),
            ("0x1.8p3", "text"),
            ("<<", "text"),
        ] {
            assert_eq!(type_of(&resolve_plain(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn tags_win_over_the_text() {
        for (tag, text, expected) in [
            ("str", "1", Some("text")),
            ("int", "1", Some("int 1")),
            ("float", "1", Some("float 1")),
            ("int", "x", None),
            ("binary", "aGk=\n", Some("text")),
            ("binary", "aG k=", None),
            ("binary", "???", None),
            ("custom", "1", Some("text")),
        ] {
            assert_eq!(resolve_tagged(tag, text).as_ref().map(type_of).as_deref(), expected, "{tag} {text}");
        }
    }
}
