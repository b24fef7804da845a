//! Characters and quoting as Go's `unicode/utf8` and `strconv` see them.

use std::sync::OnceLock;

use regex::Regex;

use super::bytes::Buffer;

/// What stands for a byte that is not UTF-8.
pub(super) const REPLACEMENT: char = '\u{FFFD}';

/// Decodes the first character: the character, its length in bytes, and whether the bytes were UTF-8. Bytes that are
/// not count as one character of one byte. `None` at the end.
pub(super) fn decode(bytes: &[u8]) -> Option<(char, usize, bool)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((first as char, 1, true));
    }
    let width = match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Some((REPLACEMENT, 1, false)),
    };
    match bytes.get(..width).and_then(|head| std::str::from_utf8(head).ok()).and_then(|text| text.chars().next()) {
        Some(c) => Some((c, width, true)),
        None => Some((REPLACEMENT, 1, false)),
    }
}

/// The characters of a byte string with their byte ranges.
pub(super) fn runes(bytes: &[u8]) -> impl Iterator<Item = (usize, char, usize, bool)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (c, width, valid) = decode(bytes.get(at..)?)?;
        let start = at;
        at += width;
        Some((start, c, width, valid))
    })
}

/// Number of characters, `utf8.RuneCount`.
pub(super) fn count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() { bytes.len() } else { runes(bytes).count() }
}

fn in_class(class: &'static OnceLock<Option<Regex>>, pattern: &str, c: char) -> bool {
    class.get_or_init(|| Regex::new(pattern).ok()).as_ref().is_some_and(|re| re.is_match(c.encode_utf8(&mut [0; 4])))
}

/// `unicode.IsLetter`.
pub(super) fn is_letter(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { c.is_ascii_alphabetic() } else { in_class(&CLASS, r"^\p{L}$", c) }
}

/// `unicode.IsDigit`.
pub(super) fn is_digit(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { c.is_ascii_digit() } else { in_class(&CLASS, r"^\p{Nd}$", c) }
}

/// `unicode.IsPrint` and `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII blank.
pub(super) fn is_print(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { (' '..='~').contains(&c) } else { in_class(&CLASS, r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$", c) }
}

/// `unicode.IsSpace`.
pub(super) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn escape(out: &mut Buffer, c: char, valid: bool, byte: u8, quote: char, ascii: bool) {
    if !valid {
        out.text(&format!("\\x{byte:02x}"));
        return;
    }
    match c {
        c if c == quote || c == '\\' => {
            out.push(b'\\');
            out.character(c);
        }
        c if (if ascii { c.is_ascii() } else { true }) && is_print(c) => out.character(c),
        '\u{7}' => out.text("\\a"),
        '\u{8}' => out.text("\\b"),
        '\u{c}' => out.text("\\f"),
        '\n' => out.text("\\n"),
        '\r' => out.text("\\r"),
        '\t' => out.text("\\t"),
        '\u{b}' => out.text("\\v"),
        c if c < ' ' || c == '\u{7f}' => out.text(&format!("\\x{:02x}", c as u32)),
        c if (c as u32) < 0x10000 => out.text(&format!("\\u{:04x}", c as u32)),
        c => out.text(&format!("\\U{:08x}", c as u32)),
    }
}

/// `strconv.Quote`, or `QuoteToASCII`.
pub(super) fn quote(out: &mut Buffer, bytes: &[u8], ascii: bool) {
    out.push(b'"');
    for (at, c, _, valid) in runes(bytes) {
        escape(out, c, valid, bytes.get(at).copied().unwrap_or_default(), '"', ascii);
    }
    out.push(b'"');
}

/// `strconv.QuoteRune`, or `QuoteRuneToASCII`.
pub(super) fn quote_rune(out: &mut Buffer, c: char, ascii: bool) {
    out.push(b'\'');
    escape(out, c, true, 0, '\'', ascii);
    out.push(b'\'');
}

/// `%q` of a text that is not secret (a name, a token of the template).
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = Buffer::new();
    quote(&mut out, bytes, false);
    String::from_utf8_lossy(out.as_slice()).into_owned()
}

/// `%q` of a character that is not secret; a byte of a text counts as a letter of Latin-1.
pub fn quoted_rune(c: char) -> String {
    let mut out = Buffer::new();
    quote_rune(&mut out, c, false);
    String::from_utf8_lossy(out.as_slice()).into_owned()
}

/// `%#U` of a character: `U+0040 '@'`.
pub(super) fn code_point(c: char) -> String {
    if is_print(c) { format!("U+{:04X} '{c}'", c as u32) } else { format!("U+{:04X}", c as u32) }
}

/// `strconv.CanBackquote`.
pub(super) fn can_backquote(bytes: &[u8]) -> bool {
    runes(bytes).all(|(_, c, width, valid)| {
        if width > 1 { c != '\u{feff}' } else { valid && (c >= ' ' || c == '\t') && c != '`' && c != '\u{7f}' }
    })
}

/// One character of a quoted literal. Bytes of `\x` and octal escapes are bytes, not characters.
pub(super) enum Unquoted {
    Byte(u8),
    Char(char),
}

/// `strconv.UnquoteChar`: the first, perhaps escaped, character and its length in the source. `None` is invalid syntax.
pub(super) fn unquote_char(source: &[u8], quote: u8) -> Option<(Unquoted, usize)> {
    let first = *source.first()?;
    if first == quote && matches!(quote, b'\'' | b'"') {
        return None;
    }
    if first != b'\\' {
        let (c, width, valid) = decode(source)?;
        return Some((Unquoted::Char(if valid { c } else { REPLACEMENT }), width));
    }
    let code = *source.get(1)?;
    let plain = |c: u8| Some((Unquoted::Byte(c), 2));
    match code {
        b'a' => plain(7),
        b'b' => plain(8),
        b'f' => plain(12),
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'v' => plain(11),
        b'\\' => plain(b'\\'),
        b'\'' | b'"' => (code == quote).then_some((Unquoted::Byte(code), 2)),
        b'x' => number(source.get(2..4)?, 16).and_then(|n| Some((Unquoted::Byte(u8::try_from(n).ok()?), 4))),
        b'u' => number(source.get(2..6)?, 16).and_then(|n| Some((Unquoted::Char(char::from_u32(n)?), 6))),
        b'U' => number(source.get(2..10)?, 16).and_then(|n| Some((Unquoted::Char(char::from_u32(n)?), 10))),
        b'0'..=b'7' => number(source.get(1..4)?, 8).and_then(|n| Some((Unquoted::Byte(u8::try_from(n).ok()?), 4))),
        _ => None,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, digit| sum.checked_mul(radix)?.checked_add((*digit as char).to_digit(radix)?))
}

/// `strconv.Unquote` of a token that the lexer has found to be quoted. `None` is invalid syntax.
pub(super) fn unquote(token: &[u8]) -> Option<Vec<u8>> {
    let (quote, inner) = (*token.first()?, token.get(1..token.len().checked_sub(1)?)?);
    if quote == b'`' {
        return Some(inner.iter().copied().filter(|byte| *byte != b'\r').collect());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        if rest.first() == Some(&b'\n') {
            return None;
        }
        let (unquoted, width) = unquote_char(rest, quote)?;
        match unquoted {
            Unquoted::Byte(byte) => out.push(byte),
            Unquoted::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = rest.get(width..)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_quoted_as_go_does() {
        for (letter, shown) in [(b'Z', "'Z'"), (b'\'', "'\\''"), (1, "'\\x01'"), (0xc3, "'Ã'"), (0x80, "'\\u0080'")] {
            assert_eq!(quoted_rune(char::from(letter)), shown);
        }
    }

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted(b"a\"b\\\n\x7f\xff\xc3\xa9"), "\"a\\\"b\\\\\\n\\x7f\\xffé\"");
        assert_eq!(quoted("\u{feff}\u{10ffff}".as_bytes()), "\"\\ufeff\\U0010ffff\"");
    }

    #[test]
    fn unquotes_bytes_and_refuses_bad_escapes() {
        assert_eq!(unquote(br#""\xff\u00e9\101""#).as_deref(), Some(&b"\xff\xc3\xa9A"[..]));
        assert_eq!(unquote(b"`a\r\n`").as_deref(), Some(&b"a\n"[..]));
        for bad in [&br#""\q""#[..], br#""\x""#, br#""\'""#, br#""\400""#, br#""\ud800""#] {
            assert!(unquote(bad).is_none());
        }
    }
}
