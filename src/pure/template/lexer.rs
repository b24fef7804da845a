//! Tokens of a template. The token kinds and the texts of errors follow Go's text/template/parse.

use super::runes::{self, code_point, decode, is_digit, is_letter, is_print};

/// Kind of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token. Its text is a piece of the template, or the text of an error.
#[derive(Clone)]
pub(super) struct Token {
    pub kind: Kind,
    /// Byte offset in the template.
    pub pos: usize,
    pub text: Vec<u8>,
    /// Line at the token's start, from 1.
    pub line: usize,
}

impl Token {
    /// How an error text names the token.
    pub fn describe(&self) -> String {
        let text = || String::from_utf8_lossy(&self.text).into_owned();
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => text(),
            kind if kind as u8 >= Kind::Block as u8 => format!("<{}>", text()),
            _ if self.text.len() > 10 => {
                let end = runes::runes(&self.text).nth(10).map_or(self.text.len(), |(at, ..)| at);
                format!("{}...", runes::quoted(self.text.get(..end).unwrap_or_default()))
            }
            _ => runes::quoted(&self.text),
        }
    }
}

const SPACES: &[u8] = b" \t\r\n";
/// A marker is `-` and the blank beside it.
const MARKER: usize = 2;

/// Turns a template into tokens, one at a time.
pub(super) struct Lexer<'t> {
    input: &'t [u8],
    left: &'t [u8],
    right: &'t [u8],
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    paren_depth: usize,
    inside_action: bool,
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || is_letter(c) || is_digit(c)
}

fn left_marker(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', next, ..] if SPACES.contains(next))
}

fn right_marker(bytes: &[u8]) -> bool {
    matches!(bytes, [first, b'-', ..] if SPACES.contains(first))
}

impl<'t> Lexer<'t> {
    pub fn new(input: &'t [u8], left: &'t str, right: &'t str) -> Self {
        let or = |delim: &'t str, default: &'t str| if delim.is_empty() { default } else { delim }.as_bytes();
        Self {
            input,
            left: or(left, "{{"),
            right: or(right, "}}"),
            pos: 0,
            start: 0,
            line: 1,
            start_line: 1,
            paren_depth: 0,
            inside_action: false,
        }
    }

    fn rest(&self) -> &'t [u8] {
        self.after(0)
    }

    fn after(&self, offset: usize) -> &'t [u8] {
        self.input.get(self.pos + offset..).unwrap_or_default()
    }

    fn pending(&self) -> &'t [u8] {
        self.input.get(self.start..self.pos).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        decode(self.rest()).map(|(c, ..)| c)
    }

    fn next_char(&mut self) -> Option<char> {
        let (c, width, _) = decode(self.rest())?;
        self.pos += width;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|c| valid.contains(c));
        if found {
            self.next_char();
        }
        found
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn emit(&mut self, kind: Kind) -> Token {
        let token = Token { kind, pos: self.start, text: self.pending().to_vec(), line: self.start_line };
        self.start = self.pos;
        self.start_line = self.line;
        token
    }

    fn ignore(&mut self) {
        self.line += newlines(self.pending());
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn error(&mut self, message: impl Into<String>) -> Token {
        let token =
            Token { kind: Kind::Error, pos: self.start, text: message.into().into_bytes(), line: self.start_line };
        self.start = 0;
        self.pos = 0;
        self.input = &[];
        token
    }

    /// The next token; [`Kind::Eof`] for ever at the end.
    pub fn next_token(&mut self) -> Token {
        if self.inside_action {
            return self.inside();
        }
        loop {
            if let Some(token) = self.text() {
                return token;
            }
        }
    }

    /// Text up to an action. `None` when a comment was skipped.
    fn text(&mut self) -> Option<Token> {
        let Some(at) = find(self.rest(), self.left) else {
            self.pos = self.input.len();
            if self.pos > self.start {
                self.line += newlines(self.pending());
                return Some(self.emit(Kind::Text));
            }
            return Some(self.emit(Kind::Eof));
        };
        if at > 0 {
            self.pos += at;
            let mut trim = 0;
            if left_marker(self.after(self.left.len())) {
                trim = self.pending().iter().rev().take_while(|byte| SPACES.contains(byte)).count();
            }
            self.pos -= trim;
            self.line += newlines(self.pending());
            let token = self.emit(Kind::Text);
            self.pos += trim;
            self.ignore();
            if !token.text.is_empty() {
                return Some(token);
            }
        }
        self.left_delim()
    }

    fn left_delim(&mut self) -> Option<Token> {
        self.pos += self.left.len();
        let marker = if left_marker(self.rest()) { MARKER } else { 0 };
        if self.after(marker).starts_with(b"/*") {
            self.pos += marker;
            self.ignore();
            return self.comment();
        }
        let token = self.emit(Kind::LeftDelim);
        self.inside_action = true;
        self.pos += marker;
        self.ignore();
        self.paren_depth = 0;
        Some(token)
    }

    fn comment(&mut self) -> Option<Token> {
        self.pos += 2;
        let Some(end) = find(self.rest(), b"*/") else { return Some(self.error("unclosed comment")) };
        self.pos += end + 2;
        let Some(trim) = self.at_right_delim() else {
            return Some(self.error("comment ends before closing delimiter"));
        };
        self.line += newlines(self.pending());
        self.start = self.pos;
        self.start_line = self.line;
        if trim {
            self.pos += MARKER;
        }
        self.pos += self.right.len();
        if trim {
            self.skip_spaces();
        }
        self.ignore();
        None
    }

    fn skip_spaces(&mut self) {
        self.pos += self.rest().iter().take_while(|byte| SPACES.contains(byte)).count();
    }

    /// Whether a right delimiter comes next, and if so whether it trims.
    fn at_right_delim(&self) -> Option<bool> {
        if right_marker(self.rest()) && self.after(MARKER).starts_with(self.right) {
            return Some(true);
        }
        self.rest().starts_with(self.right).then_some(false)
    }

    fn right_delim(&mut self) -> Token {
        let trim = self.at_right_delim() == Some(true);
        if trim {
            self.pos += MARKER;
            self.ignore();
        }
        self.pos += self.right.len();
        let token = self.emit(Kind::RightDelim);
        if trim {
            self.skip_spaces();
            self.ignore();
        }
        self.inside_action = false;
        token
    }

    fn inside(&mut self) -> Token {
        if self.at_right_delim().is_some() {
            if self.paren_depth == 0 {
                return self.right_delim();
            }
            return self.error("unclosed left paren");
        }
        if self.peek().is_some_and(is_space) {
            return self.space();
        }
        let Some(c) = self.next_char() else { return self.error("unclosed action") };
        match c {
            '=' => self.emit(Kind::Assign),
            ':' => match self.next_char() {
                Some('=') => self.emit(Kind::Declare),
                _ => self.error("expected :="),
            },
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted(),
            '`' => self.raw_quoted(),
            '$' => self.field_or_variable(Kind::Variable),
            '\'' => self.char_constant(),
            '.' if self.rest().first().is_some_and(|byte| !byte.is_ascii_digit()) => {
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos -= 1;
                self.number()
            }
            c if is_alphanumeric(c) => self.identifier(),
            '(' => {
                self.paren_depth += 1;
                self.emit(Kind::LeftParen)
            }
            ')' => {
                let Some(depth) = self.paren_depth.checked_sub(1) else {
                    return self.error("unexpected right paren");
                };
                self.paren_depth = depth;
                self.emit(Kind::RightParen)
            }
            c if c.is_ascii() && is_print(c) => self.emit(Kind::Char),
            c => self.error(format!("unrecognized character in action: {}", code_point(c))),
        }
    }

    fn space(&mut self) -> Token {
        let begin = self.pos;
        while self.peek().is_some_and(is_space) {
            self.next_char();
        }
        let last = self.pos - 1;
        let tail = self.input.get(last..).unwrap_or_default();
        if right_marker(tail) && tail.get(MARKER..).unwrap_or_default().starts_with(self.right) {
            if tail.first() == Some(&b'\n') {
                self.line -= 1;
            }
            self.pos = last;
            if last == begin {
                return self.right_delim();
            }
        }
        self.emit(Kind::Space)
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(self.right),
        }
    }

    fn bad_character(&mut self) -> Token {
        // At the end of the input the lexer never comes here: that is a terminator.
        let c = self.peek().unwrap_or(runes::REPLACEMENT);
        self.error(format!("bad character {}", code_point(c)))
    }

    fn identifier(&mut self) -> Token {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next_char();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        let kind = match self.pending() {
            b"block" => Kind::Block,
            b"break" => Kind::Break,
            b"continue" => Kind::Continue,
            b"define" => Kind::Define,
            b"else" => Kind::Else,
            b"end" => Kind::End,
            b"if" => Kind::If,
            b"range" => Kind::Range,
            b"nil" => Kind::Nil,
            b"template" => Kind::Template,
            b"with" => Kind::With,
            b"true" | b"false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.emit(kind)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Token {
        if self.at_terminator() {
            return self.emit(if kind == Kind::Variable { kind } else { Kind::Dot });
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.next_char();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        self.emit(kind)
    }

    /// Reads on to the closing quote. False when the line or the input ends first.
    fn read_to(&mut self, quote: char) -> bool {
        loop {
            match self.next_char() {
                Some('\\') => {
                    if matches!(self.next_char(), None | Some('\n')) {
                        return false;
                    }
                }
                None | Some('\n') => return false,
                Some(c) if c == quote => return true,
                Some(_) => {}
            }
        }
    }

    fn char_constant(&mut self) -> Token {
        if self.read_to('\'') { self.emit(Kind::CharConstant) } else { self.error("unterminated character constant") }
    }

    fn quoted(&mut self) -> Token {
        if self.read_to('"') { self.emit(Kind::String) } else { self.error("unterminated quoted string") }
    }

    fn raw_quoted(&mut self) -> Token {
        loop {
            match self.next_char() {
                None => return self.error("unterminated raw quoted string"),
                Some('`') => return self.emit(Kind::RawString),
                Some(_) => {}
            }
        }
    }

    fn bad_number(&mut self) -> Token {
        let text = runes::quoted(self.pending());
        self.error(format!("bad number syntax: {text}"))
    }

    fn number(&mut self) -> Token {
        if !self.scan_number() {
            return self.bad_number();
        }
        if matches!(self.peek(), Some('+' | '-')) {
            if !self.scan_number() || self.pending().last() != Some(&b'i') {
                return self.bad_number();
            }
            return self.emit(Kind::Complex);
        }
        self.emit(Kind::Number)
    }

    fn scan_number(&mut self) -> bool {
        const DECIMAL: &str = "0123456789_";
        const HEX: &str = "0123456789abcdefABCDEF_";
        self.accept("+-");
        let mut digits = DECIMAL;
        if self.accept("0") {
            if self.accept("xX") {
                digits = HEX;
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (digits == DECIMAL && self.accept("eE")) || (digits == HEX && self.accept("pP")) {
            self.accept("+-");
            self.accept_run(DECIMAL);
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.next_char();
            return false;
        }
        true
    }
}
