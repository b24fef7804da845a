//! RE2 syntax, as Go reads it, written for the regex crate. The two differ in a third of all odd patterns: classes are
//! ASCII, a brace that counts nothing is a brace, `a**` and counts above 1000 are errors, `&&` in a class is two ampersands.
//!
//! Longer than other files: one pass over a pattern, in which groups, classes and escapes share flags and errors.

use regex::Regex;

use super::super::error::Fault;
use super::super::runes::{self, runes as characters};
use crate::pure::limits;

/// Largest count of a repetition, nested counts multiplied; Go's own number.
const LARGEST_COUNT: u32 = 1000;
/// Most bytes of one compiled pattern.
const COMPILED_BYTES: usize = 4 * 1024 * 1024;

/// A compiled pattern and the names of its groups.
pub(super) struct Pattern {
    pub regex: Regex,
    /// By group number; group 0 is the whole match.
    pub names: Vec<Option<String>>,
}

/// Why a pattern is none: Go's words and the piece they are about.
pub(super) struct Bad {
    pub code: &'static str,
    pub piece: String,
}

fn bad<T>(code: &'static str, piece: impl Into<String>) -> Result<T, Bad> {
    Err(Bad { code, piece: piece.into() })
}

impl Pattern {
    /// # Errors
    /// `Ok(Err)` is a pattern that Go refuses too.
    pub fn compile(source: &[u8]) -> Result<Result<Self, Bad>, Fault> {
        if source.len() > limits::TEMPLATE_PATTERN_BYTES {
            return Err(Fault::limit("a regular expression", limits::TEMPLATE_PATTERN_BYTES, "bytes"));
        }
        let Ok(source) = std::str::from_utf8(source) else {
            return Ok(bad("invalid UTF-8", String::from_utf8_lossy(source)));
        };
        let translated = match Translator::new(source).run() {
            Ok(translated) => translated,
            Err(bad) => return Ok(Err(bad)),
        };
        let (text, names) = translated;
        match regex::RegexBuilder::new(&text).size_limit(COMPILED_BYTES).dfa_size_limit(COMPILED_BYTES).build() {
            Ok(regex) => Ok(Ok(Self { regex, names })),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(Fault::limit("a compiled regular expression", COMPILED_BYTES, "bytes"))
            }
            Err(_) => Err(Fault::withheld("the regular expression uses something that is not supported here")),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_all: bool,
    ungreedy: bool,
}

/// A group that is being read.
struct Frame {
    /// What opened it, and the flags outside.
    open: &'static str,
    outside: Flags,
    out: String,
    /// Where the last atom starts, and the product of the counts inside it.
    atom: Option<(usize, u32)>,
    /// The largest product of counts in the group.
    weight: u32,
}

impl Frame {
    fn new(open: &'static str, outside: Flags) -> Self {
        Self { open, outside, out: String::new(), atom: None, weight: 1 }
    }

    fn atom(&mut self, text: &str, weight: u32) {
        self.atom = Some((self.out.len(), weight));
        self.out.push_str(text);
        self.weight = self.weight.max(weight);
    }
}

struct Translator<'s> {
    source: &'s str,
    rest: &'s str,
    flags: Flags,
    frame: Frame,
    outer: Vec<Frame>,
    names: Vec<Option<String>>,
    /// The repetition just read: another one after it is an error.
    repeated: Option<&'s str>,
}

impl<'s> Translator<'s> {
    fn new(source: &'s str) -> Self {
        let flags = Flags::default();
        Self {
            source,
            rest: source,
            flags,
            frame: Frame::new("", flags),
            outer: Vec::new(),
            names: vec![None],
            repeated: None,
        }
    }

    fn enter(&mut self, open: &'static str) {
        let outer = std::mem::replace(&mut self.frame, Frame::new(open, self.flags));
        self.outer.push(outer);
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn push(&mut self, text: &str) {
        self.repeated = None;
        self.frame.atom(text, 1);
    }

    fn literal(&mut self, c: char) {
        let text = self.folded(&escaped(c));
        self.push(&text);
    }

    fn folded(&self, text: &str) -> String {
        if self.flags.fold { format!("(?i:{text})") } else { text.to_owned() }
    }

    fn run(mut self) -> Result<(String, Vec<Option<String>>), Bad> {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.skip(1);
                    self.repeated = None;
                    self.frame.out.push('|');
                    self.frame.atom = None;
                }
                '^' => {
                    self.skip(1);
                    let text = if self.flags.multi_line { "(?m:^)" } else { r"\A" };
                    self.push(text);
                }
                '$' => {
                    self.skip(1);
                    let text = if self.flags.multi_line { "(?m:$)" } else { r"\z" };
                    self.push(text);
                }
                '.' => {
                    self.skip(1);
                    let text = if self.flags.dot_all { "(?s:.)" } else { r"[^\n]" };
                    self.push(text);
                }
                '[' => {
                    let (class, length) = Class { flags: self.flags, whole: self.rest, rest: self.rest }.read()?;
                    self.skip(length);
                    self.push(&class);
                }
                '*' => self.repeat(1, 0, None)?,
                '+' => self.repeat(1, 1, None)?,
                '?' => self.repeat(1, 0, Some(1))?,
                '{' => self.counted()?,
                '\\' => self.escape()?,
                c => {
                    self.skip(c.len_utf8());
                    self.literal(c);
                }
            }
        }
        if !self.outer.is_empty() {
            return bad("missing closing )", self.source);
        }
        Ok((self.frame.out, self.names))
    }

    fn open(&mut self) -> Result<(), Bad> {
        if self.outer.len() > limits::NESTING_DEPTH {
            return bad("expression nests too deeply", self.source);
        }
        self.repeated = None;
        let whole = self.rest;
        if !whole.starts_with("(?") {
            self.skip(1);
            self.names.push(None);
            self.enter("(");
            return Ok(());
        }
        let name_at = if whole.starts_with("(?P<") {
            Some(4)
        } else if whole.starts_with("(?<") {
            Some(3)
        } else {
            None
        };
        if let Some(start) = name_at {
            let Some(length) = whole.find('>') else { return bad("invalid named capture", whole) };
            let name = whole.get(start..length).unwrap_or_default();
            let piece = whole.get(..=length).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return bad("invalid named capture", piece);
            }
            self.names.push(Some(name.to_owned()));
            self.skip(length + 1);
            self.enter("(");
            return Ok(());
        }
        self.group_flags(whole)
    }

    /// `(?flags)` and `(?flags:`.
    fn group_flags(&mut self, whole: &'s str) -> Result<(), Bad> {
        let (mut flags, mut on, mut any) = (self.flags, true, false);
        for (at, c) in whole.char_indices().skip(2) {
            match c {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_all = on,
                'U' => flags.ungreedy = on,
                '-' if on => {
                    on = false;
                    any = false;
                    continue;
                }
                ':' | ')' if on || any => {
                    self.skip(at + 1);
                    if c == ':' {
                        self.enter("(?:");
                    }
                    self.flags = flags;
                    return Ok(());
                }
                c => {
                    let end = at + c.len_utf8();
                    return bad("invalid or unsupported Perl syntax", whole.get(..end).unwrap_or(whole));
                }
            }
            any = true;
        }
        bad("missing closing )", self.source)
    }

    fn close(&mut self) -> Result<(), Bad> {
        let Some(outer) = self.outer.pop() else { return bad("unexpected )", self.source) };
        self.skip(1);
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.outside;
        self.repeated = None;
        self.frame.atom(&format!("{}{})", inner.open, inner.out), inner.weight);
        Ok(())
    }

    fn repeat(&mut self, length: usize, min: u32, max: Option<u32>) -> Result<(), Bad> {
        let whole = self.rest;
        let operator = whole.get(..length).unwrap_or_default();
        self.skip(length);
        let mut lazy = self.flags.ungreedy;
        let mut end = length;
        if self.rest.starts_with('?') {
            self.skip(1);
            end += 1;
            lazy = !lazy;
        }
        if let Some(before) = self.repeated {
            // From the first operator to the end of this one.
            let start = self.source.len() - before.len();
            let stop = self.source.len() - whole.len() + end;
            return bad("invalid nested repetition operator", self.source.get(start..stop).unwrap_or_default());
        }
        let count = max.unwrap_or(min);
        let frame = &mut self.frame;
        let Some((start, weight)) = frame.atom.take() else {
            return bad("missing argument to repetition operator", whole.get(..end).unwrap_or(operator));
        };
        let counted = operator.starts_with('{');
        let product = if counted && count > 0 { weight.saturating_mul(count) } else { weight };
        if counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && product > LARGEST_COUNT {
            return bad("invalid repeat count", operator);
        }
        let atom = frame.out.split_off(start);
        let lazy = if lazy { "?" } else { "" };
        let text = match (counted, max) {
            (false, _) => format!("(?:{atom}){operator}{lazy}"),
            (true, Some(max)) => format!("(?:{atom}){{{min},{max}}}{lazy}"),
            (true, None) => format!("(?:{atom}){{{min},}}{lazy}"),
        };
        frame.atom(&text, product);
        self.repeated = Some(whole);
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else in braces is literal.
    fn counted(&mut self) -> Result<(), Bad> {
        let parsed = self.rest.find('}').and_then(|end| {
            let inner = self.rest.get(1..end)?;
            let number = |text: &str| -> Option<u32> {
                let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if !plain || text.len() > 1 && text.starts_with('0') {
                    return None;
                }
                Some(text.parse().unwrap_or(u32::MAX))
            };
            let (min, max) = match inner.split_once(',') {
                None => (number(inner)?, Some(number(inner)?)),
                Some((min, "")) => (number(min)?, None),
                Some((min, max)) => (number(min)?, Some(number(max)?)),
            };
            Some((end + 1, min, max))
        });
        let Some((length, min, max)) = parsed else {
            self.skip(1);
            self.literal('{');
            return Ok(());
        };
        if min > LARGEST_COUNT || max.is_some_and(|max| max > LARGEST_COUNT || max < min) {
            return bad("invalid repeat count", self.rest.get(..length).unwrap_or_default());
        }
        self.repeat(length, min, max)
    }

    fn escape(&mut self) -> Result<(), Bad> {
        let Some(c) = self.rest.chars().nth(1) else { return bad("trailing backslash at end of expression", "") };
        let anchor = match c {
            'A' => Some(r"\A"),
            'b' => Some(r"(?-u:\b)"),
            'B' => Some(r"(?-u:\B)"),
            'z' => Some(r"\z"),
            _ => None,
        };
        if let Some(anchor) = anchor {
            self.skip(2);
            self.push(anchor);
            return Ok(());
        }
        match c {
            'C' => bad("invalid escape sequence", r"\C"),
            'Q' => {
                let tail = self.rest.get(2..).unwrap_or_default();
                let (quoted, rest) = tail.split_once(r"\E").unwrap_or((tail, ""));
                self.rest = rest;
                quoted.chars().for_each(|c| self.literal(c));
                Ok(())
            }
            _ => {
                if let Some((class, length)) = class_escape(self.rest)? {
                    self.skip(length);
                    let class = self.folded(&format!("[{class}]"));
                    self.push(&class);
                    return Ok(());
                }
                let (c, length) = char_escape(self.rest)?;
                self.skip(length);
                self.literal(c);
                Ok(())
            }
        }
    }
}

/// A character as the regex crate reads it literally, inside and outside of classes.
fn escaped(c: char) -> String {
    if c.is_ascii_alphanumeric() || !c.is_ascii() { c.to_string() } else { format!("\\x{:02x}", c as u32) }
}

/// `\d` and its like, and `\pL`: the inside of a class.
fn class_escape(text: &str) -> Result<Option<(String, usize)>, Bad> {
    let class = match text.chars().nth(1) {
        Some('d') => "0-9",
        Some('D') => r"[^0-9]",
        Some('s') => r"\t\n\f\r\x20",
        Some('S') => r"[^\t\n\f\r\x20]",
        Some('w') => "0-9A-Za-z_",
        Some('W') => "[^0-9A-Za-z_]",
        Some('p' | 'P') => return unicode_class(text).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((class.to_owned(), 2)))
}

fn unicode_class(text: &str) -> Result<(String, usize), Bad> {
    let mut negated = text.starts_with(r"\P");
    let tail = text.get(2..).unwrap_or_default();
    let Some(first) = tail.chars().next() else { return bad("invalid character class range", text) };
    let (mut name, length) = if first == '{' {
        let Some(end) = tail.find('}') else { return bad("invalid character class range", text) };
        (tail.get(1..end).unwrap_or_default(), 2 + end + 1)
    } else {
        (tail.get(..first.len_utf8()).unwrap_or_default(), 2 + first.len_utf8())
    };
    let piece = text.get(..length).unwrap_or(text);
    if let Some(rest) = name.strip_prefix('^') {
        negated = !negated;
        name = rest;
    }
    let letters = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    let capital = name.starts_with(|c: char| c.is_ascii_uppercase());
    // The crate takes any spelling of a name, Go one.
    let known = letters && capital && Regex::new(&format!(r"\p{{{name}}}")).is_ok();
    if !known {
        return bad("invalid character class range", piece);
    }
    Ok((format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' }), length))
}

/// An escape that stands for one character.
fn char_escape(text: &str) -> Result<(char, usize), Bad> {
    let mut rest = text.chars();
    rest.next();
    let Some(c) = rest.next() else { return bad("trailing backslash at end of expression", "") };
    let invalid = |length: usize| bad("invalid escape sequence", text.get(..length).unwrap_or(text));
    let tail = text.get(1 + c.len_utf8()..).unwrap_or_default();
    match c {
        '1'..='7' if !tail.starts_with(|c: char| c.is_digit(8)) => invalid(2),
        '0'..='7' => {
            let digits = text.get(1..).unwrap_or_default();
            let length = digits.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let code = u32::from_str_radix(digits.get(..length).unwrap_or("0"), 8).unwrap_or(0);
            Ok((char::from_u32(code).unwrap_or('\0'), 1 + length))
        }
        'x' if tail.starts_with('{') => {
            let (mut code, mut digits) = (0u32, 0);
            for (at, c) in tail.char_indices().skip(1) {
                let end = 2 + at + c.len_utf8();
                match c.to_digit(16) {
                    Some(digit) => code = code << 4 | digit,
                    None if c == '}' && digits > 0 => {
                        return Ok((char::from_u32(code).unwrap_or(runes::REPLACEMENT), end));
                    }
                    None => return invalid(end),
                }
                if code > 0x10_ffff {
                    return invalid(end);
                }
                digits += 1;
            }
            invalid(text.len())
        }
        'x' => match tail.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(digits) => Ok((char::from_u32(u32::from_str_radix(digits, 16).unwrap_or(0)).unwrap_or('\0'), 4)),
            None => invalid((2 + tail.chars().take(2).map(char::len_utf8).sum::<usize>()).min(text.len())),
        },
        'a' => Ok(('\u{7}', 2)),
        'f' => Ok(('\u{c}', 2)),
        'n' => Ok(('\n', 2)),
        'r' => Ok(('\r', 2)),
        't' => Ok(('\t', 2)),
        'v' => Ok(('\u{b}', 2)),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, 2)),
        c => invalid(1 + c.len_utf8()),
    }
}

/// A bracketed class being read.
struct Class<'s> {
    flags: Flags,
    whole: &'s str,
    rest: &'s str,
}

impl<'s> Class<'s> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// The class for the crate and its length in the source.
    fn read(mut self) -> Result<(String, usize), Bad> {
        self.skip(1);
        let mut out = String::from("[");
        if self.rest.starts_with('^') {
            self.skip(1);
            out.push('^');
        }
        let mut first = true;
        while self.rest.is_empty() || !self.rest.starts_with(']') || first {
            first = false;
            if self.rest.is_empty() {
                return bad("missing closing ]", self.whole);
            }
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.get(2..).and_then(|tail| tail.find(":]"))
            {
                let piece = self.rest.get(..end + 4).unwrap_or_default();
                let name = piece.get(2..piece.len() - 2).unwrap_or_default();
                let plain = name.strip_prefix('^').unwrap_or(name);
                if !POSIX.contains(&plain) {
                    return bad("invalid character class range", piece);
                }
                // Both write these alike.
                out.push_str(piece);
                self.skip(piece.len());
                continue;
            }
            if self.rest.starts_with('\\')
                && let Some((class, length)) = class_escape(self.rest)?
            {
                out.push_str(&class);
                self.skip(length);
                continue;
            }
            self.range(&mut out)?;
        }
        self.skip(1);
        out.push(']');
        let text = if self.flags.fold { format!("(?i:{out})") } else { out };
        Ok((text, self.whole.len() - self.rest.len()))
    }

    fn range(&mut self, out: &mut String) -> Result<(), Bad> {
        let start = self.rest;
        let low = self.character()?;
        let mut high = low;
        if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
            self.skip(1);
            high = self.character()?;
            if high < low {
                let length = start.len() - self.rest.len();
                return bad("invalid character class range", start.get(..length).unwrap_or_default());
            }
        }
        out.push_str(&escaped(low));
        if high != low {
            out.push('-');
            out.push_str(&escaped(high));
        }
        Ok(())
    }

    fn character(&mut self) -> Result<char, Bad> {
        match self.rest.chars().next() {
            None => bad("missing closing ]", self.whole),
            Some('\\') => {
                let (c, length) = char_escape(self.rest)?;
                self.skip(length);
                Ok(c)
            }
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(c)
            }
        }
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// A subject for matching: Go takes a byte that is not UTF-8 for one character, U+FFFD.
pub(super) struct Subject<'b> {
    bytes: &'b [u8],
    text: std::borrow::Cow<'b, str>,
    /// Offsets in `bytes` of the characters of `text`, when the two differ.
    offsets: Option<Vec<(usize, usize)>>,
}

impl<'b> Subject<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self { bytes, text: text.into(), offsets: None };
        }
        let mut text = String::with_capacity(bytes.len() * 2);
        let mut offsets = Vec::new();
        for (at, c, ..) in characters(bytes) {
            offsets.push((text.len(), at));
            text.push(c);
        }
        offsets.push((text.len(), bytes.len()));
        Self { bytes, text: text.into(), offsets: Some(offsets) }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// An offset in the text as one in the bytes.
    pub fn offset(&self, at: usize) -> usize {
        match &self.offsets {
            None => at,
            Some(offsets) => match offsets.binary_search_by_key(&at, |(text, _)| *text) {
                Ok(index) => offsets.get(index).map_or(at, |(_, bytes)| *bytes),
                Err(_) => self.bytes.len(),
            },
        }
    }

    pub fn part(&self, from: usize, to: usize) -> &'b [u8] {
        self.bytes.get(self.offset(from)..self.offset(to)).unwrap_or_default()
    }
}
