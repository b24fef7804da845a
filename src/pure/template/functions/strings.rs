//! sprig's string functions.

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::print;
use super::super::runes::{self, runes as characters};
use super::super::types::{INT, Type};
use super::super::value::{Map, Value};
use super::lists::elements;
use super::{Arguments, Context, Function, Result, made, string_of, text};
use crate::pure::limits;

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("hello", &[], |_, _| text("Hello!")),
    Function::new("abbrev", &[INT, STR], |_, args| abbrev(0, args.int(0), args.bytes(1), 0)),
    Function::new("abbrevboth", &[INT, INT, STR], |_, args| abbrev(args.int(0), args.int(1), args.bytes(2), 1)),
    Function::new("trunc", &[INT, STR], trunc),
    Function::new("trim", &[STR], |_, args| text(trim_space(args.bytes(0)))),
    Function::new("substr", &[INT, INT, STR], substr),
    Function::new("repeat", &[INT, STR], |_, args| repeat(args.bytes(1), args.int(0))),
    Function::new("trimall", &[STR, STR], |_, args| text(trim_set(args.bytes(1), args.bytes(0)))),
    Function::new("trimAll", &[STR, STR], |_, args| text(trim_set(args.bytes(1), args.bytes(0)))),
    Function::new("trimSuffix", &[STR, STR], |_, args| {
        let whole = args.bytes(1);
        text(whole.strip_suffix(args.bytes(0)).unwrap_or(whole))
    }),
    Function::new("trimPrefix", &[STR, STR], |_, args| {
        let whole = args.bytes(1);
        text(whole.strip_prefix(args.bytes(0)).unwrap_or(whole))
    }),
    Function::new("nospace", &[STR], nospace),
    Function::new("initials", &[STR], initials),
    Function::new("wrap", &[INT, STR], |_, args| wrap(args.bytes(1), args.int(0), b"\n", false)),
    Function::new("wrapWith", &[INT, STR, STR], |_, args| wrap(args.bytes(2), args.int(0), args.bytes(1), true)),
    Function::new("contains", &[STR, STR], |_, args| Ok(Value::Bool(find(args.bytes(1), args.bytes(0)).is_some()))),
    Function::new("hasPrefix", &[STR, STR], |_, args| Ok(Value::Bool(args.bytes(1).starts_with(args.bytes(0))))),
    Function::new("hasSuffix", &[STR, STR], |_, args| Ok(Value::Bool(args.bytes(1).ends_with(args.bytes(0))))),
    Function::new("quote", &[], quote).rest(Type::Any),
    Function::new("squote", &[], squote).rest(Type::Any),
    Function::new("cat", &[], cat).rest(Type::Any),
    Function::new("indent", &[INT, STR], |_, args| indent(args.int(0), args.bytes(1), b"")),
    Function::new("nindent", &[INT, STR], |_, args| indent(args.int(0), args.bytes(1), b"\n")),
    Function::new("replace", &[STR, STR, STR], |_, args| replace(args.bytes(2), args.bytes(0), args.bytes(1))),
    Function::new("plural", &[STR, STR, INT], |_, args| {
        Ok(Value::Str(args.string(if args.int(2) == 1 { 0 } else { 1 })))
    }),
    Function::new("toString", &[Type::Any], |_, args| Ok(Value::Str(string_of(args.at(0))?))),
    Function::new("toStrings", &[Type::Any], |_, args| Ok(Value::strings(strings_of(args.at(0))?))),
    Function::new("join", &[STR, Type::Any], join),
    Function::new("split", &[STR, STR], |context, args| split(context, args.bytes(1), args.bytes(0), -1)),
    Function::new("splitn", &[STR, INT, STR], |context, args| {
        split(context, args.bytes(2), args.bytes(0), args.int(1))
    }),
    Function::new("splitList", &[STR, STR], split_list),
];

/// First place of `needle`.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// `strings.TrimSpace`.
pub(super) fn trim_space(bytes: &[u8]) -> &[u8] {
    trim_by(bytes, |c, valid| valid && runes::is_space(c))
}

fn trim_by(bytes: &[u8], cut: impl Fn(char, bool) -> bool) -> &[u8] {
    let mut kept = characters(bytes).filter(|(_, c, _, valid)| !cut(*c, *valid));
    let Some((start, _, width, _)) = kept.next() else { return &[] };
    let end = kept.last().map_or(start + width, |(at, _, width, _)| at + width);
    bytes.get(start..end).unwrap_or_default()
}

/// `strings.Trim`.
fn trim_set<'b>(bytes: &'b [u8], set: &[u8]) -> &'b [u8] {
    let set: Vec<char> = characters(set).map(|(_, c, ..)| c).collect();
    trim_by(bytes, |c, _| set.contains(&c))
}

fn out_of_range(what: impl std::fmt::Display) -> Fault {
    Fault::plain(format!("runtime error: slice bounds out of range {what}"))
}

fn trunc(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (count, whole) = (args.int(0), args.bytes(1));
    let length = whole.len() as i64;
    if count < 0 && length.saturating_add(count) > 0 {
        return text(whole.get(usize::try_from(length + count).unwrap_or(0)..).unwrap_or_default());
    }
    if count >= 0 && length > count {
        return text(whole.get(..usize::try_from(count).unwrap_or(0)).unwrap_or_default());
    }
    Ok(Value::Str(args.string(1)))
}

fn substr(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (start, end, whole) = (args.int(0), args.int(1), args.bytes(2));
    let length = whole.len() as i64;
    let cut = |from: i64, to: i64| {
        let bounds = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        text(whole.get(bounds).unwrap_or_default())
    };
    if start < 0 {
        return match end {
            end if end < 0 => Err(out_of_range(format_args!("[:{end}]"))),
            end if end > length => Err(out_of_range(format_args!("[:{end}] with length {length}"))),
            end => cut(0, end),
        };
    }
    if end < 0 || end > length {
        if start > length {
            return Err(out_of_range(format_args!("[{start}:{length}]")));
        }
        return cut(start, length);
    }
    if start > end {
        return Err(out_of_range(format_args!("[{start}:{end}]")));
    }
    cut(start, end)
}

/// `strings.Repeat`.
pub(super) fn repeat(bytes: &[u8], count: i64) -> Result {
    let count = usize::try_from(count).map_err(|_| Fault::plain("strings: negative Repeat count"))?;
    room(bytes.len().saturating_mul(count))?;
    text(bytes.repeat(count))
}

/// Whether a value of that size may be made at all.
pub(super) fn room(bytes: usize) -> std::result::Result<(), Fault> {
    if bytes > limits::TEMPLATE_VALUE_BYTES {
        return Err(Fault::limit("a value", limits::TEMPLATE_VALUE_BYTES, "bytes"));
    }
    Ok(())
}

/// `abbrev` and `abbrevboth`; `both` tells which lower limits hold.
fn abbrev(offset: i64, width: i64, whole: &[u8], both: usize) -> Result {
    if width < 4 || both == 1 && offset > 0 && width < 7 {
        return text(whole);
    }
    text(abbreviated(whole, offset, width))
}

fn abbreviated(whole: &[u8], offset: i64, width: i64) -> Vec<u8> {
    let length = whole.len() as i64;
    if length <= width {
        return whole.to_vec();
    }
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    let part = |from: i64, to: i64| {
        whole.get(usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0)).unwrap_or_default()
    };
    if offset <= 4 {
        return [part(0, width - 3), b"..."].concat();
    }
    if width < 7 {
        return Vec::new();
    }
    if offset + width - 3 < length {
        return [b"...", abbreviated(part(offset, length), 0, width - 3).as_slice()].concat();
    }
    [b"...", part(length - (width - 3), length)].concat()
}

/// The library takes each byte for a character of its own.
fn latin1_is_space(byte: u8) -> bool {
    runes::is_space(byte as char)
}

fn nospace(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let whole = args.bytes(0);
    if !whole.iter().any(|byte| latin1_is_space(*byte)) {
        return Ok(Value::Str(args.string(0)));
    }
    let mut out = Buffer::with_capacity(whole.len());
    whole.iter().filter(|byte| !latin1_is_space(**byte)).for_each(|byte| out.character(*byte as char));
    made(out)
}

fn initials(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut out = Buffer::new();
    let mut gap = true;
    for byte in args.bytes(0) {
        if latin1_is_space(*byte) {
            gap = true;
        } else if gap {
            out.character(*byte as char);
            gap = false;
        }
    }
    made(out)
}

fn wrap(whole: &[u8], width: i64, separator: &[u8], break_words: bool) -> Result {
    let separator = if separator.is_empty() { b"\n" } else { separator };
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    room(whole.len().saturating_add((whole.len() / width + whole.len()).saturating_mul(separator.len())))?;
    let mut out = Buffer::with_capacity(whole.len());
    let mut offset = 0;
    while whole.len() - offset > width {
        if whole.get(offset) == Some(&b' ') {
            offset += 1;
            continue;
        }
        let window = whole.get(offset..=offset + width).unwrap_or_default();
        let end = match window.iter().rposition(|byte| *byte == b' ') {
            Some(blank) => Some((offset + blank, 1)),
            None if break_words => Some((offset + width, 0)),
            None => {
                let tail = whole.get(offset + width..).unwrap_or_default();
                tail.iter().position(|byte| *byte == b' ').map(|blank| (offset + width + blank, 1))
            }
        };
        let Some((end, skip)) = end else { break };
        out.extend(whole.get(offset..end).unwrap_or_default());
        out.extend(separator);
        offset = end + skip;
    }
    out.extend(whole.get(offset..).unwrap_or_default());
    made(out)
}

fn spaced(args: &[Value], mut each: impl FnMut(&mut Buffer, &Value) -> std::result::Result<(), Fault>) -> Result {
    let mut out = Buffer::new();
    for (index, value) in args.iter().filter(|value| !value.is_nil()).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        each(&mut out, value)?;
        room(out.len())?;
    }
    made(out)
}

fn quote(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    spaced(args, |out, value| {
        runes::quote(out, &string_of(value)?, false);
        Ok(())
    })
}

fn squote(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    spaced(args, |out, value| {
        out.push(b'\'');
        out.extend(print::printed(value)?.as_slice());
        out.push(b'\'');
        Ok(())
    })
}

fn cat(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    spaced(args, |out, value| {
        out.extend(print::printed(value)?.as_slice());
        Ok(())
    })
}

fn indent(spaces: i64, whole: &[u8], lead: &[u8]) -> Result {
    let spaces = usize::try_from(spaces).map_err(|_| Fault::plain("strings: negative Repeat count"))?;
    let lines = whole.iter().filter(|byte| **byte == b'\n').count() + 1;
    room(whole.len().saturating_add(lines.saturating_mul(spaces)))?;
    let mut out = Buffer::with_capacity(whole.len() + lines * spaces + lead.len());
    out.extend(lead);
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        out.fill(b' ', spaces);
        out.extend(line);
    }
    made(out)
}

/// `strings.ReplaceAll`: an empty pattern matches before each character and at the end.
pub(super) fn replace(whole: &[u8], old: &[u8], new: &[u8]) -> Result {
    let matches = if old.is_empty() { runes::count(whole) + 1 } else { count(whole, old) };
    room(whole.len().saturating_add(matches.saturating_mul(new.len())))?;
    let mut out = Buffer::with_capacity(whole.len());
    if old.is_empty() {
        for (at, _, width, _) in characters(whole) {
            out.extend(new);
            out.extend(whole.get(at..at + width).unwrap_or_default());
        }
        out.extend(new);
        return made(out);
    }
    let mut rest = whole;
    while let Some(at) = find(rest, old) {
        let (head, tail) = rest.split_at(at);
        out.extend(head);
        out.extend(new);
        rest = tail.get(old.len()..).unwrap_or_default();
    }
    out.extend(rest);
    made(out)
}

fn count(whole: &[u8], part: &[u8]) -> usize {
    let mut rest = whole;
    let mut count = 0;
    while let Some(at) = find(rest, part) {
        count += 1;
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    count
}

/// sprig's `strslice`: any value as a list of strings.
pub(super) fn strings_of(value: &Value) -> std::result::Result<Vec<ByteStr>, Fault> {
    match elements(value) {
        Some(items) => items.iter().filter(|item| !item.is_nil()).map(string_of).collect(),
        None if value.is_nil() => Ok(Vec::new()),
        None => Ok(vec![string_of(value)?]),
    }
}

fn join(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let (separator, parts) = (args.bytes(0), strings_of(args.at(1))?);
    let total: usize = parts.iter().map(|part| part.len()).sum();
    room(total.saturating_add(parts.len().saturating_mul(separator.len())))?;
    let mut out = Buffer::with_capacity(total);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.extend(separator);
        }
        out.extend(part);
    }
    made(out)
}

/// `strings.SplitN`; negative is all, and an empty separator splits into characters.
pub(super) fn pieces<'b>(whole: &'b [u8], separator: &[u8], limit: i64) -> Vec<&'b [u8]> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut pieces = Vec::new();
    if limit == 0 {
        return pieces;
    }
    if separator.is_empty() {
        for (at, _, width, _) in characters(whole) {
            if pieces.len() + 1 == limit {
                pieces.push(whole.get(at..).unwrap_or_default());
                break;
            }
            pieces.push(whole.get(at..at + width).unwrap_or_default());
        }
        return pieces;
    }
    let mut rest = whole;
    while pieces.len() + 1 < limit
        && let Some(at) = find(rest, separator)
    {
        let (head, tail) = rest.split_at(at);
        pieces.push(head);
        rest = tail.get(separator.len()..).unwrap_or_default();
    }
    pieces.push(rest);
    pieces
}

/// Pieces cost more than their bytes: each is a value of its own.
fn announce(context: &mut Context<'_, '_>, pieces: usize) -> std::result::Result<(), Fault> {
    context.environment.steps(pieces)?;
    room(pieces.saturating_mul(16))
}

fn split(context: &mut Context<'_, '_>, whole: &[u8], separator: &[u8], limit: i64) -> Result {
    let pieces = pieces(whole, separator, limit);
    announce(context, pieces.len())?;
    let entries = pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| (ByteStr::from(format!("_{index}")), Value::string(piece.to_vec())))
        .collect();
    Ok(Value::Map(Map::new(STR, entries)))
}

fn split_list(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let pieces = pieces(args.bytes(1), args.bytes(0), -1);
    announce(context, pieces.len())?;
    Ok(Value::strings(pieces.into_iter().map(ByteStr::copy_of)))
}
