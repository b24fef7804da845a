//! The text of one scalar or key, so that every YAML reader, Go's yaml.v3 first, reads back the same type and bytes.

use std::fmt::Write as _;

use base64::Engine as _;
use zeroize::Zeroizing;

use super::resolve_plain;
use crate::pure::format::number::float_general;
use crate::pure::format::{Layout, Scalar};
use crate::pure::secret::Plaintext;

/// How much room a scalar has.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Nothing but a line break follows, so a block scalar may stand here.
    pub block: bool,
    /// Columns by which the lines of a block scalar are indented beyond its key or dash.
    pub step: usize,
}

/// The text of `scalar` at a place with `layout`.
pub fn scalar_text(scalar: &Scalar, layout: Layout, room: Room) -> Plaintext {
    Plaintext::from(match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Float(value) if value.is_nan() => ".nan".to_owned(),
        Scalar::Float(value) if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        // `-0` would be read as the integer 0.
        Scalar::Float(value) if *value == 0.0 && value.is_sign_negative() => "-0.0".to_owned(),
        Scalar::Float(value) => float_general(*value),
        Scalar::Time(value) => value.clone(),
        Scalar::Text(text) => return string_text(text, layout, room),
    })
}

/// The text of a map key.
pub fn key_text(key: &str) -> String {
    if is_plain(key, true) { key.to_owned() } else { double_quoted(key).to_string() }
}

fn string_text(text: &Plaintext, layout: Layout, room: Room) -> Plaintext {
    let Some(text) = text.expose_str() else {
        let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(text.expose()));
        return Plaintext::from(format!("!!binary {}", *encoded));
    };
    if is_plain(text, layout.flow) {
        return Plaintext::copy_of(text.as_bytes());
    }
    if room.block && !layout.flow && fits_block(text) {
        return Plaintext::copy_of(literal(text, layout.indent + room.step).as_bytes());
    }
    Plaintext::copy_of(double_quoted(text).as_bytes())
}

/// Whether the text may stand without quotes and is read back as this very text, by YAML 1.1 readers too.
fn is_plain(text: &str, flow: bool) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let word = text.to_ascii_lowercase();
    if "-?:,[]{}#&*!|>'\"%@`=<~ ".contains(first)
        || text.ends_with([' ', ':'])
        || text.starts_with("...")
        || text.contains(": ")
        || text.contains(" #")
        || matches!(word.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "nan" | "inf")
        || !matches!(resolve_plain(text), Scalar::Text(_))
    {
        return false;
    }
    // Base-60 numbers and dates of YAML 1.1.
    let looks_numeric = first.is_ascii_digit() || "+.".contains(first);
    if looks_numeric && text.chars().all(|c| c.is_ascii_digit() || ":._-+eETtZ ".contains(c)) && !is_dotted(text) {
        return false;
    }
    !(flow && text.contains([',', '[', ']', '{', '}', ':'])) && text.chars().all(is_printable)
}

/// Addresses and versions: digits with at least two dots and nothing else.
fn is_dotted(text: &str) -> bool {
    text.matches('.').count() >= 2 && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether a literal block scalar with `|` or `|-` says the text exactly, whatever blank lines follow it.
fn fits_block(text: &str) -> bool {
    text.contains('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with(['\n', ' ', '\t'])
        && text.lines().all(|line| !line.ends_with([' ', '\t']) && !line.starts_with('\t'))
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

/// A literal block scalar without its last line break, which the text around it has.
fn literal(text: &str, indent: usize) -> Zeroizing<String> {
    let body = text.strip_suffix('\n');
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2 + 8));
    out.push_str(if body.is_some() { "|" } else { "|-" });
    for line in body.unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

fn double_quoted(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c if is_printable(c) => out.push(c),
            c => {
                // Writing to a String cannot fail.
                let _ = match u32::from(c) {
                    code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                    code @ 0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, flow: bool, block: bool) -> String {
        let layout = Layout { flow, indent: 2, alias: false };
        let text = scalar_text(&Scalar::text(text), layout, Room { block, step: 4 });
        text.expose_str().expect("text").to_owned()
    }

    #[test]
    fn strings_keep_their_type() {
        for (text, expected) in [
            ("plain words", "plain words"),
            ("", "\"\""),
            ("1.0", "\"1.0\""),
            ("0755", "\"0755\""),
            ("12:30", "\"12:30\""),
            ("2024-01-01", "\"2024-01-01\""),
            ("10.0.0.1", "10.0.0.1"),
            ("1.2.3", "1.2.3"),
            ("yes", "\"yes\""),
            ("No", "\"No\""),
            ("null", "\"null\""),
            ("<<", "\"<<\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a#b", "a#b"),
            ("http://x/y?z=1", "http://x/y?z=1"),
            ("- a", "\"- a\""),
            ("é", "é"),
            ("\u{7f}\u{2028}\u{feff}\0", "\"\\x7f\\u2028\\ufeff\\0\""),
            ("tab\tin", "\"tab\\tin\""),
            ("a\nb\n", "|\n      a\n      b"),
            ("a\n\n b", "|-\n      a\n\n       b"),
            ("a\n\n", "\"a\\n\\n\""),
            (" a\n", "\" a\\n\""),
            ("a \nb", "\"a \\nb\""),
            ("a\r\nb", "\"a\\r\\nb\""),
        ] {
            assert_eq!(written(text, false, true), expected, "{text:?}");
        }
        assert_eq!(written("a\nb\n", true, true), "\"a\\nb\\n\"");
        assert_eq!(written("a\nb\n", false, false), "\"a\\nb\\n\"");
        assert_eq!(written("a,b", true, true), "\"a,b\"");
        let zero = scalar_text(&Scalar::Float(-0.0), Layout::default(), Room { block: false, step: 4 });
        assert_eq!(zero.expose_str(), Some("-0.0"));
        assert_eq!(key_text("y"), "\"y\"");
        assert_eq!(key_text("ok key"), "ok key");
        let bytes =
            scalar_text(&Scalar::Text(Plaintext::new(vec![0xff, 0])), Layout::default(), Room { block: true, step: 2 });
        assert_eq!(bytes.expose_str(), Some("!!binary /wA="));
    }
}
