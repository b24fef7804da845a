//! Letter case, as `strings`, Masterminds/goutils and huandu/xstrings see it.

use std::sync::OnceLock;

use regex::Regex;

use super::super::bytes::Buffer;
use super::super::runes::{self, decode, is_letter, runes as characters};
use super::super::types::Type;
use super::super::value::Value;
use super::{Arguments, Context, Function, Result, made};

pub(super) const TABLE: &[Function] = &[
    Function::new("upper", &[Type::Str], |_, args| mapped(args.bytes(0), upper)),
    Function::new("lower", &[Type::Str], |_, args| mapped(args.bytes(0), lower)),
    Function::new("title", &[Type::Str], title),
    Function::new("untitle", &[Type::Str], untitle),
    Function::new("swapcase", &[Type::Str], swapcase),
    Function::new("snakecase", &[Type::Str], |_, args| lower_words(args.bytes(0), '_')),
    Function::new("kebabcase", &[Type::Str], |_, args| lower_words(args.bytes(0), '-')),
    Function::new("camelcase", &[Type::Str], camelcase),
];

/// `unicode.ToUpper`: the simple mapping, one character to one.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// `unicode.ToLower`.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// `unicode.ToTitle`; differs from upper case for four digraphs.
fn to_title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        c => upper(c),
    }
}

fn in_class(cell: &'static OnceLock<Option<Regex>>, pattern: &str, c: char) -> bool {
    cell.get_or_init(|| Regex::new(pattern).ok()).as_ref().is_some_and(|re| re.is_match(c.encode_utf8(&mut [0; 4])))
}

fn is_upper(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { c.is_ascii_uppercase() } else { in_class(&CLASS, r"^\p{Lu}$", c) }
}

fn is_lower(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { c.is_ascii_lowercase() } else { in_class(&CLASS, r"^\p{Ll}$", c) }
}

fn is_number(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    if c.is_ascii() { c.is_ascii_digit() } else { in_class(&CLASS, r"^\p{N}$", c) }
}

fn is_punct(c: char) -> bool {
    static CLASS: OnceLock<Option<Regex>> = OnceLock::new();
    in_class(&CLASS, r"^\p{P}$", c)
}

/// `strings.Map`: what is not UTF-8 becomes U+FFFD.
fn mapped(bytes: &[u8], map: impl FnMut(char) -> char) -> Result {
    let mut out = Buffer::with_capacity(bytes.len());
    characters(bytes).map(|(_, c, ..)| c).map(map).for_each(|c| out.character(c));
    made(out)
}

/// `strings.Title`.
fn title(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut before = ' ';
    mapped(args.bytes(0), |c| {
        let separator = match before {
            b if b.is_ascii() => !(b.is_ascii_alphanumeric() || b == '_'),
            b if is_letter(b) || runes::is_digit(b) => false,
            b => runes::is_space(b),
        };
        before = c;
        if separator { to_title(c) } else { c }
    })
}

fn untitle(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut next = true;
    mapped(args.bytes(0), |c| {
        if runes::is_space(c) {
            next = true;
            c
        } else if std::mem::take(&mut next) {
            lower(c)
        } else {
            c
        }
    })
}

fn swapcase(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut blank = true;
    mapped(args.bytes(0), |c| {
        let title = matches!(c, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}');
        if is_upper(c) || title {
            blank = false;
            lower(c)
        } else if is_lower(c) {
            if std::mem::take(&mut blank) { to_title(c) } else { upper(c) }
        } else {
            blank = runes::is_space(c);
            c
        }
    })
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || runes::is_space(c)
}

/// xstrings' PascalCase.
fn camelcase(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut rest = characters(args.bytes(0)).map(|(_, c, ..)| c).peekable();
    let mut out = Buffer::new();
    while let Some(connector) = rest.next_if(|c| is_connector(*c)) {
        out.character(connector);
    }
    let Some(first) = rest.next() else {
        // Nothing but connectors: the library writes the last one twice.
        let last = characters(args.bytes(0)).last().map(|(_, c, ..)| c);
        last.into_iter().for_each(|c| out.character(c));
        return made(out);
    };
    let mut was_upper = is_upper(first);
    let mut current = upper(first);
    for next in rest {
        let before = std::mem::replace(&mut current, next);
        match (is_connector(before), is_connector(next)) {
            (true, true) => out.character(before),
            (true, false) => {
                was_upper = is_upper(next);
                current = upper(next);
            }
            (false, _) => {
                if was_upper {
                    if is_upper(next) {
                        current = lower(next);
                    } else {
                        was_upper = false;
                    }
                }
                out.character(before);
            }
        }
    }
    out.character(current);
    made(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Invalid,
    Number,
    Upper,
    Alphabet,
    Connector,
    Punct,
    Other,
}

/// Letters that have no case of their own count as alphabetic, as in the library.
fn is_alphabet(c: char) -> bool {
    if !is_letter(c) {
        return false;
    }
    !matches!(c as u32, 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af)
}

/// The next valid character, skipping what is not UTF-8; `before` when there is none. Its length with what was skipped.
fn valid(bytes: &[u8], before: char) -> (char, usize) {
    let mut size = 0;
    let mut rest = bytes;
    while let Some((c, width, _)) = decode(rest) {
        size += width;
        if c != runes::REPLACEMENT {
            return (c, size);
        }
        rest = rest.get(width..).unwrap_or_default();
    }
    (before, size)
}

/// Splits off the first word: its kind and its length.
fn next_word(bytes: &[u8]) -> (Word, usize) {
    if bytes.is_empty() {
        return (Word::Invalid, 0);
    }
    let (first, size) = valid(bytes, runes::REPLACEMENT);
    if first == runes::REPLACEMENT {
        return (Word::Invalid, size);
    }
    let run = |from: usize, belongs: &dyn Fn(char) -> bool| {
        let (mut offset, mut last_size, mut c) = (from, 0, first);
        while offset < bytes.len() {
            let (next, size) = valid(bytes.get(offset..).unwrap_or_default(), c);
            c = next;
            if !belongs(next) || size == 0 {
                return (offset, last_size, Some(next));
            }
            last_size = size;
            offset += size;
        }
        (offset, last_size, None)
    };
    if is_connector(first) {
        return (Word::Connector, run(size, &is_connector).0);
    }
    if is_punct(first) {
        return (Word::Punct, run(size, &is_punct).0);
    }
    if is_upper(first) {
        let (second, second_size) = valid(bytes.get(size..).unwrap_or_default(), first);
        if size >= bytes.len() {
            return (Word::Upper, size);
        }
        if is_upper(second) {
            let (offset, last_size, stop) = run(size + second_size, &is_upper);
            let last_size = if last_size == 0 { second_size } else { last_size };
            let back = if stop.is_some_and(is_alphabet) { last_size } else { 0 };
            return (Word::Upper, offset - back);
        }
        if is_alphabet(second) {
            return (Word::Upper, run(size + second_size, &|c| is_alphabet(c) && !is_upper(c)).0);
        }
        return (Word::Upper, size);
    }
    if is_alphabet(first) {
        return (Word::Alphabet, run(size, &|c| is_alphabet(c) && !is_upper(c)).0);
    }
    if is_number(first) {
        return (Word::Number, run(size, &is_number).0);
    }
    let other = |c: char| !(is_connector(c) || is_alphabet(c) || is_number(c) || is_punct(c));
    (Word::Other, run(size, &other).0)
}

/// Words of a text, and what has been written of them.
struct Words<'b> {
    rest: &'b [u8],
    kind: Word,
    word: &'b [u8],
    out: Buffer,
    connector: char,
}

impl<'b> Words<'b> {
    fn advance(&mut self) {
        let (kind, length) = next_word(self.rest);
        let (word, rest) = self.rest.split_at(length.min(self.rest.len()));
        (self.kind, self.word, self.rest) = (kind, word, rest);
    }

    fn write(&mut self, kind: Word, word: &[u8]) {
        if !matches!(kind, Word::Upper | Word::Connector) {
            return self.out.extend(word);
        }
        for (_, c, ..) in characters(word) {
            if is_connector(c) {
                self.out.character(self.connector);
            } else {
                self.out.character(if is_upper(c) { lower(c) } else { c });
            }
        }
    }

    /// Writes words for as long as letters and digits alternate.
    fn write_mixed(&mut self) {
        while matches!(self.kind, Word::Alphabet | Word::Number) {
            self.write(self.kind, self.word);
            self.advance();
        }
    }

    fn connect(&mut self, even_invalid: bool) {
        let plain = !matches!(self.kind, Word::Connector | Word::Punct);
        if plain && (even_invalid || self.kind != Word::Invalid) {
            self.out.character(self.connector);
        }
    }
}

/// xstrings' snake and kebab case.
fn lower_words(bytes: &[u8], connector: char) -> Result {
    let mut words =
        Words { rest: bytes, kind: Word::Invalid, word: &[], out: Buffer::with_capacity(bytes.len()), connector };
    words.advance();
    while !words.rest.is_empty() {
        if words.kind != Word::Connector {
            words.write(words.kind, words.word);
        }
        let (before, last) = (words.kind, words.word);
        words.advance();
        match before {
            Word::Number => {
                words.write_mixed();
                words.connect(false);
            }
            Word::Connector => words.write(before, last),
            Word::Punct => {}
            _ if words.kind != Word::Number => words.connect(true),
            _ => after_letters(&mut words),
        }
    }
    words.write(words.kind, words.word);
    made(words.out)
}

/// Letters are followed by a number: it joins them unless letters follow the number.
fn after_letters(words: &mut Words<'_>) {
    if words.rest.is_empty() {
        return;
    }
    let number = words.word;
    words.advance();
    if words.kind != Word::Alphabet {
        words.write(Word::Number, number);
        words.connect(true);
        return;
    }
    words.out.character(words.connector);
    words.write(Word::Number, number);
    words.write_mixed();
    words.connect(false);
}
