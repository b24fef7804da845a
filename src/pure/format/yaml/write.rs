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

/// The text of a map key in a block.
pub fn key_text(key: &str) -> String {
    in_quotes(key, false).map_or_else(|| key.to_owned(), |text| text.to_string())
}

fn string_text(text: &Plaintext, layout: Layout, room: Room) -> Plaintext {
    let Some(text) = text.expose_str() else {
        let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(text.expose()));
        return Plaintext::from(format!("!!binary {}", *encoded));
    };
    if room.block && !layout.flow && fits_block(text) {
        return Plaintext::copy_of(literal(text, layout.indent + room.step).as_bytes());
    }
    let quoted = in_quotes(text, layout.flow);
    Plaintext::copy_of(quoted.as_ref().map_or(text, |text| text.as_str()).as_bytes())
}

/// A text of one line in the quotes that yaml.v3 chooses: double ones where it would be read as another type or holds what
/// must be escaped, single ones where only its characters are in the way. In braces it is always double ones, so that JSON
/// in a YAML file stays JSON. `None` where it needs none.
fn in_quotes(text: &str, flow: bool) -> Option<Zeroizing<String>> {
    if !flow && is_ciphertext(text) {
        return None;
    }
    if is_another_type(text) || !text.chars().all(is_printable) {
        return Some(double_quoted(text));
    }
    match (has_indicators(text, flow), flow) {
        (false, _) => None,
        (true, false) => Some(single_quoted(text)),
        (true, true) => Some(double_quoted(text)),
    }
}

/// An encrypted value, of which a file may have thousands: nothing in it means anything in a block.
fn is_ciphertext(text: &str) -> bool {
    text.starts_with("ENC[")
        && text.ends_with(']')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_:,[]".contains(&byte))
}

/// Whether a reader of YAML 1.2 or 1.1 would take the text, without quotes, for something else than a text.
fn is_another_type(text: &str) -> bool {
    !matches!(resolve_plain(text), Scalar::Text(_))
        || matches!(text, "<<" | "=" | "y" | "Y" | "n" | "N")
        || ["yes", "no", "on", "off"].iter().any(|word| is_word_of_old(text, word))
        || is_base_60(text)
        || is_old_date(text)
}

/// Whether the text is a word in small letters, in capitals, or with a capital.
fn is_word_of_old(text: &str, word: &str) -> bool {
    let is_rest = |rest: &str| word.get(1..).is_some_and(|lower| rest == lower);
    text.eq_ignore_ascii_case(word)
        && (text.get(1..).is_some_and(is_rest) || text.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `12:30` or `1:59:59.5`, a number to the base of 60 in YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let Some((whole, rest)) = number.split_once(':') else { return false };
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_sixtieth = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    whole.starts_with(|c: char| c.is_ascii_digit())
        && digits(whole)
        && digits(fraction)
        && rest.split(':').all(is_sixtieth)
}

/// A date of YAML 1.1, which has more forms than yaml.v3 knows.
fn is_old_date(text: &str) -> bool {
    let (year, rest) = text.split_at_checked(4).unwrap_or_default();
    year.bytes().all(|byte| byte.is_ascii_digit())
        && rest.starts_with('-')
        && rest.bytes().all(|byte| byte.is_ascii_digit() || b"-+:. tTZ".contains(&byte))
}

/// Whether the characters of a text in one line mean something at their places.
fn has_indicators(text: &str, flow: bool) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    let before_blank = chars.next().is_none_or(|c| c == ' ');
    first.is_none_or(|c| " #,[]{}&*!|>'\"%@`".contains(c))
        || first.is_some_and(|c| "?:-".contains(c) && before_blank)
        || text.ends_with([' ', ':'])
        || text.starts_with("---")
        || text.starts_with("...")
        || text.contains(": ")
        || text.contains(" #")
        || flow && text.contains([',', '?', '[', ']', '{', '}', ':'])
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

fn single_quoted(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
    out.push('\'');
    for c in text.chars() {
        if c == '\'' {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
    out
}

fn double_quoted(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c => {
                // Writing to a String cannot fail.
                let _ = match u32::from(c) {
                    code @ 0..=0xff => write!(out, "\\x{code:02X}"),
                    code @ 0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
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
            ("OFF", "\"OFF\""),
            ("yEs", "yEs"),
            ("null", "\"null\""),
            ("nULL", "nULL"),
            ("<<", "\"<<\""),
            ("=", "\"=\""),
            ("<x", "<x"),
            ("ENC[a,b:c==]", "ENC[a,b:c==]"),
            ("ENC[a: b]", "'ENC[a: b]'"),
            ("ENC[a #]", "'ENC[a #]'"),
            ("ENC[\u{7f}]", "\"ENC[\\x7F]\""),
            ("~x", "~x"),
            ("a: b", "'a: b'"),
            ("a:", "'a:'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("it's: so", "'it''s: so'"),
            ("a\\b: c", "'a\\b: c'"),
            ("'", "''''"),
            ("--flag=1", "--flag=1"),
            ("---", "'---'"),
            ("-", "'-'"),
            ("?x", "?x"),
            ("? x", "'? x'"),
            (":x", ":x"),
            (" x", "' x'"),
            ("x ", "'x '"),
            ("{{ x }}", "'{{ x }}'"),
            ("555-1234", "555-1234"),
            ("2024-01-01 10:00:00 -5", "\"2024-01-01 10:00:00 -5\""),
            ("2024-01-01x", "2024-01-01x"),
            ("190:20:30.15", "\"190:20:30.15\""),
            ("1:99", "1:99"),
            ("1:", "'1:'"),
            ("1e400", "1e400"),
            (".5_0", "\".5_0\""),
            ("http://x/y?z=1", "http://x/y?z=1"),
            ("- a", "'- a'"),
            ("é", "é"),
            ("\u{7f}\u{2028}\u{feff}\0", "\"\\x7F\\L\\uFEFF\\0\""),
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
