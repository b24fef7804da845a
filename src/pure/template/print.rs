//! Go's `fmt`: `print`, `println` and `printf` with every verb and flag.
//!
//! Longer than other files: verbs, flags and the reader of formats are one state, and nothing else uses a part of it.

use super::bytes::Buffer;
use super::error::Fault;
use super::floats;
use super::functions::objects;
use super::runes::{self, decode, runes as chars};
use super::types::{IntKind, Type, UintKind};
use super::value::{Object, Value};
use crate::pure::limits;

/// Largest width, precision and argument number that a format may ask for; Go's own number.
const LARGEST_NUMBER: i64 = 1_000_000;

/// `fmt.Sprint`: a blank between operands when neither is a string.
pub(super) fn print_into(out: &mut Buffer, values: &[Value]) -> Result<(), Fault> {
    let mut printer = Printer::new(out);
    let mut before_string = true;
    for value in values {
        let string = matches!(value, Value::Str(_));
        if !string && !before_string {
            printer.byte(b' ');
        }
        printer.argument(value, 'v');
        before_string = string;
    }
    printer.finish()
}

/// `fmt.Sprintln`.
pub(super) fn println_into(out: &mut Buffer, values: &[Value]) -> Result<(), Fault> {
    let mut printer = Printer::new(out);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.byte(b' ');
        }
        printer.argument(value, 'v');
    }
    printer.byte(b'\n');
    printer.finish()
}

/// `fmt.Sprintf`.
pub(super) fn printf_into(out: &mut Buffer, format: &[u8], values: &[Value]) -> Result<(), Fault> {
    let mut printer = Printer::new(out);
    Format { format, at: 0, values, next: 0, reordered: false, good: true, after_index: false }.run(&mut printer);
    printer.finish()
}

/// `fmt.Sprint` of one value, as bytes.
pub(super) fn printed(value: &Value) -> Result<Buffer, Fault> {
    let mut out = Buffer::new();
    print_into(&mut out, std::slice::from_ref(value))?;
    Ok(out)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    plus_v: bool,
    sharp_v: bool,
}

struct Printer<'o> {
    out: &'o mut Buffer,
    flags: Flags,
    /// A wrong verb is being reported: methods are not asked.
    erroring: bool,
    fault: Option<Fault>,
}

impl<'o> Printer<'o> {
    fn new(out: &'o mut Buffer) -> Self {
        Self { out, flags: Flags::default(), erroring: false, fault: None }
    }

    fn finish(self) -> Result<(), Fault> {
        self.fault.map_or(Ok(()), Err)
    }

    /// Room for `more` bytes; after the first refusal nothing is written any more.
    fn room(&mut self, more: usize) -> bool {
        if self.fault.is_none() && self.out.len().saturating_add(more) > limits::TEMPLATE_VALUE_BYTES {
            self.fault = Some(Fault::limit("a value", limits::TEMPLATE_VALUE_BYTES, "bytes"));
        }
        self.fault.is_none()
    }

    fn byte(&mut self, byte: u8) {
        if self.room(1) {
            self.out.push(byte);
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.room(bytes.len()) {
            self.out.extend(bytes);
        }
    }

    fn text(&mut self, text: &str) {
        self.raw(text.as_bytes());
    }

    fn character(&mut self, c: char) {
        self.text(c.encode_utf8(&mut [0; 4]));
    }

    // --- padding ---

    fn padding(&mut self, count: usize) {
        let byte = if self.flags.zero && !self.flags.minus { b'0' } else { b' ' };
        if self.room(count) {
            self.out.fill(byte, count);
        }
    }

    fn pad(&mut self, bytes: &[u8]) {
        let missing = self.flags.width.unwrap_or(0).saturating_sub(runes::count(bytes));
        if !self.flags.minus {
            self.padding(missing);
        }
        self.raw(bytes);
        if self.flags.minus {
            self.padding(missing);
        }
    }

    fn pad_without_zeros(&mut self, bytes: &[u8]) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad(bytes);
        self.flags.zero = zero;
    }

    // --- scalars ---

    fn boolean(&mut self, value: bool, verb: char, of: &Value) {
        match verb {
            't' | 'v' => self.pad(if value { b"true" } else { b"false" }),
            _ => self.bad_verb(verb, of),
        }
    }

    fn integer(&mut self, magnitude: u64, negative: bool, base: u32, verb: char, upper: bool) {
        let flags = self.flags;
        if flags.precision == Some(0) && magnitude == 0 {
            let zero = std::mem::replace(&mut self.flags.zero, false);
            self.padding(flags.width.unwrap_or(0));
            self.flags.zero = zero;
            return;
        }
        let mut digits = match base {
            2 => format!("{magnitude:b}"),
            8 => format!("{magnitude:o}"),
            16 if upper => format!("{magnitude:X}"),
            16 => format!("{magnitude:x}"),
            _ => magnitude.to_string(),
        };
        let wanted = match flags.precision {
            Some(precision) => precision,
            None if flags.zero && !flags.minus => {
                flags.width.map_or(0, |width| width.saturating_sub(usize::from(negative || flags.plus || flags.space)))
            }
            None => 0,
        };
        if digits.len() < wanted {
            if !self.room(wanted) {
                return;
            }
            digits.insert_str(0, &"0".repeat(wanted - digits.len()));
        }
        let mut prefix = String::new();
        if negative {
            prefix.push('-');
        } else if flags.plus {
            prefix.push('+');
        } else if flags.space {
            prefix.push(' ');
        }
        if verb == 'O' {
            prefix.push_str("0o");
        }
        if flags.sharp {
            match base {
                2 => prefix.push_str("0b"),
                8 if !digits.starts_with('0') => prefix.push('0'),
                16 => prefix.push_str(if upper { "0X" } else { "0x" }),
                _ => {}
            }
        }
        self.pad_without_zeros(format!("{prefix}{digits}").as_bytes());
    }

    fn whole(&mut self, magnitude: u64, negative: bool, verb: char, of: &Value) {
        let signed = matches!(of, Value::Int(..));
        // What Go reinterprets: a negative number as a character is out of range.
        let code = if negative { u64::MAX } else { magnitude };
        match verb {
            'v' if self.flags.sharp_v && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.integer(magnitude, negative, 16, verb, false);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.integer(magnitude, negative, 10, verb, false),
            'b' => self.integer(magnitude, negative, 2, verb, false),
            'o' | 'O' => self.integer(magnitude, negative, 8, verb, false),
            'x' => self.integer(magnitude, negative, 16, verb, false),
            'X' => self.integer(magnitude, negative, 16, verb, true),
            'c' => {
                let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(runes::REPLACEMENT);
                self.pad(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            'q' => {
                let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(runes::REPLACEMENT);
                let mut quoted = Buffer::new();
                runes::quote_rune(&mut quoted, c, self.flags.plus);
                self.pad(quoted.as_slice());
            }
            'U' => {
                let code = if negative { magnitude.wrapping_neg() } else { magnitude };
                let digits = self.flags.precision.unwrap_or(4).max(4);
                if !self.room(digits) {
                    return;
                }
                let mut text = format!("U+{code:0digits$X}");
                if self.flags.sharp
                    && let Some(c) = u32::try_from(code).ok().and_then(char::from_u32).filter(|c| runes::is_print(*c))
                {
                    text.push_str(&format!(" '{c}'"));
                }
                self.pad_without_zeros(text.as_bytes());
            }
            _ => self.bad_verb(verb, of),
        }
    }

    fn float(&mut self, value: f64, verb: char, of: &Value) {
        let (verb, default) = match verb {
            'v' => (b'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb as u8, None),
            'f' | 'e' | 'E' => (verb as u8, Some(6)),
            'F' => (b'f', Some(6)),
            _ => return self.bad_verb(verb, of),
        };
        let precision = self.flags.precision.or(default);
        if !self.room(precision.unwrap_or(0)) {
            return;
        }
        let mut text = floats::format(value, verb, precision);
        if !text.starts_with(['+', '-']) {
            text.insert(0, '+');
        }
        if self.flags.space && text.starts_with('+') && !self.flags.plus {
            text.replace_range(..1, " ");
        }
        if !value.is_finite() {
            if value.is_nan() && !self.flags.space && !self.flags.plus {
                text.remove(0);
            }
            return self.pad_without_zeros(text.as_bytes());
        }
        if self.flags.sharp && verb != b'b' {
            text = with_point(&text, verb, precision);
        }
        if self.flags.plus || !text.starts_with('+') {
            let width = self.flags.width.unwrap_or(0);
            if self.flags.zero && !self.flags.minus && width > text.len() {
                self.text(text.get(..1).unwrap_or_default());
                self.padding(width - text.len());
                return self.text(text.get(1..).unwrap_or_default());
            }
            return self.pad(text.as_bytes());
        }
        self.pad(text.as_bytes().get(1..).unwrap_or_default());
    }

    fn complex(&mut self, re: f64, im: f64, verb: char, of: &Value) {
        if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
            return self.bad_verb(verb, of);
        }
        let plus = self.flags.plus;
        self.byte(b'(');
        self.float(re, verb, of);
        self.flags.plus = true;
        self.float(im, verb, of);
        self.text("i)");
        self.flags.plus = plus;
    }

    fn truncated<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(precision) = self.flags.precision else { return bytes };
        let end = chars(bytes).nth(precision).map_or(bytes.len(), |(at, ..)| at);
        bytes.get(..end).unwrap_or(bytes)
    }

    fn string(&mut self, bytes: &[u8], verb: char, of: &Value) {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(bytes),
            'v' | 's' => {
                let cut = self.truncated(bytes);
                self.pad(cut);
            }
            'x' => self.hexadecimal(bytes, false),
            'X' => self.hexadecimal(bytes, true),
            'q' => self.quoted(bytes),
            _ => self.bad_verb(verb, of),
        }
    }

    fn quoted(&mut self, bytes: &[u8]) {
        let bytes = self.truncated(bytes);
        if !self.room(bytes.len()) {
            return;
        }
        let mut quoted = Buffer::new();
        if self.flags.sharp && runes::can_backquote(bytes) {
            quoted.push(b'`');
            quoted.extend(bytes);
            quoted.push(b'`');
        } else {
            runes::quote(&mut quoted, bytes, self.flags.plus);
        }
        self.pad(quoted.as_slice());
    }

    fn hexadecimal(&mut self, bytes: &[u8], upper: bool) {
        let bytes = bytes.get(..self.flags.precision.unwrap_or(bytes.len()).min(bytes.len())).unwrap_or(bytes);
        let prefix = if upper { "0X" } else { "0x" };
        let width = self.flags.width.unwrap_or(0);
        if bytes.is_empty() {
            return self.padding(width);
        }
        let mut length = 2 * bytes.len();
        if self.flags.space {
            length = length * if self.flags.sharp { 2 } else { 1 } + bytes.len() - 1;
        } else if self.flags.sharp {
            length += 2;
        }
        let missing = width.saturating_sub(length);
        if !self.flags.minus {
            self.padding(missing);
        }
        if !self.room(length) {
            return;
        }
        for (index, byte) in bytes.iter().enumerate() {
            if self.flags.space && index > 0 {
                self.out.push(b' ');
            }
            if self.flags.sharp && (index == 0 || self.flags.space) {
                self.out.text(prefix);
            }
            let digits: &[u8] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
            self.out.push(digits.get(usize::from(byte >> 4)).copied().unwrap_or(b'0'));
            self.out.push(digits.get(usize::from(byte & 15)).copied().unwrap_or(b'0'));
        }
        if self.flags.minus {
            self.padding(missing);
        }
    }

    // --- anything ---

    fn bad_verb(&mut self, verb: char, of: &Value) {
        self.erroring = true;
        self.text("%!");
        self.character(verb);
        self.byte(b'(');
        if of.is_nil() {
            self.text("<nil>");
        } else {
            self.text(&of.type_name());
            self.byte(b'=');
            self.argument(of, 'v');
        }
        self.byte(b')');
        self.erroring = false;
    }

    /// One operand.
    fn argument(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::Missing | Value::Nil, 'T' | 'v') => self.pad(b"<nil>"),
            (_, 'T') => {
                let name = value.type_name();
                let cut = self.truncated(name.as_bytes()).to_vec();
                self.pad(&cut);
            }
            // Addresses are not part of our world; see docs/compat/templates.md.
            (Value::List(_) | Value::Map(_) | Value::Bytes(_), 'p') => self.text("0xc000000000"),
            (_, 'p') => self.bad_verb(verb, value),
            _ => self.value(value, verb, 0),
        }
    }

    /// The text that a type's own method gives, where it has one.
    fn by_method(&mut self, value: &Value, verb: char) -> bool {
        if self.erroring {
            return false;
        }
        if verb == 'w' {
            self.bad_verb(verb, value);
            return true;
        }
        let go = self.flags.sharp_v;
        if !go && !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return false;
        }
        let Some(text) = objects::text(value, go) else { return false };
        if go {
            let cut = self.truncated(text.as_bytes()).to_vec();
            self.pad(&cut);
        } else {
            self.string(text.as_bytes(), verb, value);
        }
        true
    }

    fn value(&mut self, value: &Value, verb: char, depth: usize) {
        if depth > limits::NESTING_DEPTH {
            self.fault
                .get_or_insert_with(|| Fault::limit("nesting of a printed value", limits::NESTING_DEPTH, "levels"));
        }
        if self.fault.is_some() || self.by_method(value, verb) {
            return;
        }
        match value {
            Value::Missing | Value::Nil if verb == 'v' => self.text("<nil>"),
            Value::Missing | Value::Nil => self.bad_verb(verb, value),
            Value::Bool(flag) => self.boolean(*flag, verb, value),
            Value::Int(_, number) => self.whole(number.unsigned_abs(), *number < 0, verb, value),
            Value::Uint(_, number) => self.whole(*number, false, verb, value),
            Value::Float(number) => self.float(*number, verb, value),
            Value::Complex(re, im) => self.complex(*re, *im, verb, value),
            Value::Str(text) => self.string(text, verb, value),
            Value::Bytes(bytes) => self.bytes(bytes, verb, depth),
            Value::List(list) => {
                if self.flags.sharp_v && list.is_nil() {
                    self.text(&value.type_name());
                    return self.text("(nil)");
                }
                let name = if self.flags.sharp_v { value.type_name() } else { String::new() };
                self.sequence(&name, list.items(), list.element(), verb, depth);
            }
            Value::Map(map) => self.map(value, map, verb, depth),
            Value::Object(object) => self.object(object, verb, depth),
        }
    }

    fn element(&mut self, value: &Value, element: Type, verb: char, depth: usize) {
        if value.is_nil() && element == Type::Any {
            // An interface that holds nothing is printed as that whatever the verb is.
            return self.text(if self.flags.sharp_v { "interface {}(nil)" } else { "<nil>" });
        }
        self.value(value, verb, depth + 1);
    }

    fn sequence(&mut self, name: &str, items: &[Value], element: Type, verb: char, depth: usize) {
        let (open, between, close) = if self.flags.sharp_v { (b'{', ", ", b'}') } else { (b'[', " ", b']') };
        self.text(name);
        self.byte(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text(between);
            }
            self.element(item, element, verb, depth);
        }
        self.byte(close);
    }

    fn bytes(&mut self, bytes: &[u8], verb: char, depth: usize) {
        let items = || bytes.iter().map(|byte| Value::Uint(UintKind::Uint8, u64::from(*byte))).collect::<Vec<_>>();
        match verb {
            's' | 'x' | 'X' | 'q' => self.string(bytes, verb, &Value::Nil),
            'v' | 'd' => {
                let name = if self.flags.sharp_v { if depth == 0 { "[]byte" } else { "[]uint8" } } else { "" };
                self.sequence(name, &items(), Type::Uint(UintKind::Uint8), verb, depth);
            }
            _ => self.sequence("", &items(), Type::Uint(UintKind::Uint8), verb, depth),
        }
    }

    fn map(&mut self, value: &Value, map: &super::value::Map, verb: char, depth: usize) {
        let sharp = self.flags.sharp_v;
        if sharp {
            self.text(&value.type_name());
            if map.is_nil() {
                return self.text("(nil)");
            }
        }
        self.text(if sharp { "{" } else { "map[" });
        for (index, (key, item)) in map.entries().into_iter().enumerate() {
            if index > 0 {
                self.text(if sharp { ", " } else { " " });
            }
            let key = Value::Str(key);
            self.value(&key, verb, depth + 1);
            self.byte(b':');
            self.element(&item, map.element(), verb, depth);
        }
        self.byte(if sharp { b'}' } else { b']' });
    }

    fn object(&mut self, object: &Object, verb: char, depth: usize) {
        let Object::Certificate(certificate, key) = object else {
            // The other objects print by method; only odd verbs come here, and Go shows their inside.
            return self.text("{}");
        };
        if self.flags.sharp_v {
            self.text("sprig.certificate");
        }
        self.byte(b'{');
        for (index, (name, field)) in [("Cert", certificate), ("Key", key)].into_iter().enumerate() {
            if index > 0 {
                self.text(if self.flags.sharp_v { ", " } else { " " });
            }
            if self.flags.plus_v || self.flags.sharp_v {
                self.text(name);
                self.byte(b':');
            }
            self.value(&Value::Str(field.clone()), verb, depth + 1);
        }
        self.byte(b'}');
    }
}

/// `#` keeps the point and the zeros that `%g` drops.
fn with_point(text: &str, verb: u8, precision: Option<usize>) -> String {
    let mut digits = match verb {
        b'g' | b'G' | b'x' => precision.map_or(6, |precision| i64::try_from(precision).unwrap_or(i64::MAX)),
        _ => 0,
    };
    let hexadecimal = matches!(verb, b'x' | b'X');
    let split =
        text.find(|c: char| matches!(c, 'p' | 'P') || (!hexadecimal && matches!(c, 'e' | 'E'))).unwrap_or(text.len());
    let (number, tail) = text.split_at(split);
    let mut number = number.to_owned();
    let (mut point, mut nonzero) = (false, false);
    for c in number.chars().skip(1) {
        if c == '.' {
            point = true;
        } else {
            nonzero |= c != '0';
            digits -= i64::from(nonzero);
        }
    }
    if !point {
        if number.len() == 2 && number.ends_with('0') {
            digits -= 1;
        }
        number.push('.');
    }
    number.push_str(&"0".repeat(usize::try_from(digits).unwrap_or(0)));
    number.push_str(tail);
    number
}

/// A format being worked off.
struct Format<'f> {
    format: &'f [u8],
    at: usize,
    values: &'f [Value],
    next: usize,
    reordered: bool,
    good: bool,
    after_index: bool,
}

impl Format<'_> {
    fn here(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn run(&mut self, printer: &mut Printer<'_>) {
        while let Some(rest) = self.format.get(self.at..).filter(|rest| !rest.is_empty()) {
            if printer.fault.is_some() {
                return;
            }
            self.good = true;
            let text = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            printer.raw(rest.get(..text).unwrap_or_default());
            self.at += text;
            if self.at >= self.format.len() {
                break;
            }
            self.at += 1;
            printer.flags = Flags::default();
            if !self.directive(printer) {
                break;
            }
        }
        if !self.reordered && self.next < self.values.len() {
            self.extra(printer);
        }
    }

    fn extra(&self, printer: &mut Printer<'_>) {
        printer.flags = Flags::default();
        printer.text("%!(EXTRA ");
        for (index, value) in self.values.iter().skip(self.next).enumerate() {
            if index > 0 {
                printer.text(", ");
            }
            if value.is_nil() {
                printer.text("<nil>");
            } else {
                printer.text(&value.type_name());
                printer.byte(b'=');
                printer.argument(value, 'v');
            }
        }
        printer.byte(b')');
    }

    /// One directive after its `%`. False at the end of the format.
    fn directive(&mut self, printer: &mut Printer<'_>) -> bool {
        while let Some(byte) = self.here() {
            match byte {
                b'#' => printer.flags.sharp = true,
                b'0' => printer.flags.zero = true,
                b'+' => printer.flags.plus = true,
                b'-' => printer.flags.minus = true,
                b' ' => printer.flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        // Go's fast path: a plain lower-case verb right after the flags, with an operand left.
        if let (Some(byte @ b'a'..=b'z'), Some(value)) = (self.here(), self.values.get(self.next)) {
            self.at += 1;
            self.next += 1;
            apply(printer, value, byte as char);
            return true;
        }
        self.argument_number();
        self.width(printer);
        self.precision(printer);
        if !self.after_index {
            self.argument_number();
        }
        let Some((verb, size, _)) = self.format.get(self.at..).and_then(decode) else {
            printer.text("%!(NOVERB)");
            return false;
        };
        self.at += size;
        if verb == '%' {
            printer.byte(b'%');
        } else if !self.good {
            printer.text("%!");
            printer.character(verb);
            printer.text("(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            apply(printer, value, verb);
        } else {
            printer.text("%!");
            printer.character(verb);
            printer.text("(MISSING)");
        }
        true
    }

    fn width(&mut self, printer: &mut Printer<'_>) {
        if self.here() == Some(b'*') {
            self.at += 1;
            match self.number_from_operand() {
                Some(width) => {
                    if width < 0 {
                        printer.flags.minus = true;
                        printer.flags.zero = false;
                    }
                    printer.flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => printer.text("%!(BADWIDTH)"),
            }
            self.after_index = false;
        } else {
            printer.flags.width = self.number();
            if self.after_index && printer.flags.width.is_some() {
                self.good = false;
            }
        }
    }

    fn precision(&mut self, printer: &mut Printer<'_>) {
        if self.here() != Some(b'.') || self.at + 1 >= self.format.len() {
            return;
        }
        self.at += 1;
        if self.after_index {
            self.good = false;
        }
        self.argument_number();
        if self.here() == Some(b'*') {
            self.at += 1;
            let precision = self.number_from_operand().filter(|precision| *precision >= 0);
            printer.flags.precision = precision.and_then(|precision| usize::try_from(precision).ok());
            if precision.is_none() {
                printer.text("%!(BADPREC)");
            }
            self.after_index = false;
        } else {
            printer.flags.precision = Some(self.number().unwrap_or(0));
        }
    }

    /// Digits at the current place. A number that is too large swallows the rest of the format, as in Go.
    fn number(&mut self) -> Option<usize> {
        let (number, is_number, at) = digits(self.format, self.at, self.format.len());
        self.at = at;
        is_number.then_some(usize::try_from(number).unwrap_or(0))
    }

    fn number_from_operand(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = match value {
            Value::Int(_, number) => *number,
            Value::Uint(_, number) => i64::try_from(*number).ok()?,
            _ => return None,
        };
        (-LARGEST_NUMBER..=LARGEST_NUMBER).contains(&number).then_some(number)
    }

    /// `[3]`: the operand to use next.
    fn argument_number(&mut self) {
        self.after_index = false;
        if self.here() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = self.format.get(self.at..).unwrap_or_default();
        let close = if rest.len() < 3 { None } else { rest.iter().position(|byte| *byte == b']') };
        let Some(close) = close.filter(|close| *close > 0) else {
            self.good = false;
            self.at += 1;
            return;
        };
        let (number, is_number, end) = digits(rest, 1, close);
        let well_formed = is_number && end == close;
        self.at += close + 1;
        let index = usize::try_from(number - 1).ok().filter(|index| well_formed && *index < self.values.len());
        match index {
            Some(index) => {
                self.next = index;
                self.after_index = true;
            }
            None => {
                self.good = false;
                self.after_index = well_formed;
            }
        }
    }
}

fn digits(format: &[u8], start: usize, end: usize) -> (i64, bool, usize) {
    let (mut number, mut is_number, mut at) = (0i64, false, start);
    if start >= end {
        return (0, false, end);
    }
    while let Some(byte) = format.get(at).filter(|byte| at < end && byte.is_ascii_digit()) {
        if number > LARGEST_NUMBER {
            return (0, false, end);
        }
        number = number * 10 + i64::from(byte - b'0');
        is_number = true;
        at += 1;
    }
    (number, is_number, at)
}

fn apply(printer: &mut Printer<'_>, value: &Value, verb: char) {
    if matches!(verb, 'v' | 'w') {
        printer.flags.sharp_v = std::mem::take(&mut printer.flags.sharp);
        printer.flags.plus_v = std::mem::take(&mut printer.flags.plus);
    }
    printer.argument(value, verb);
}

/// Names of months and days; `time.Duration` is in functions/dates.rs.
pub(super) fn named_integer(kind: IntKind, number: i64) -> Option<String> {
    use super::time::{MONTHS, WEEKDAYS, duration_text};
    let name = |names: &[&str], index: i64, what: &str| {
        usize::try_from(index)
            .ok()
            .and_then(|index| names.get(index))
            .map_or_else(|| format!("%!{what}({number})"), |name| (*name).to_owned())
    };
    match kind {
        IntKind::Month => Some(name(&MONTHS, number - 1, "Month")),
        IntKind::Weekday => Some(name(&WEEKDAYS, number, "Weekday")),
        IntKind::Duration => Some(duration_text(number)),
        _ => None,
    }
}
