//! sprig's functions over regular expressions.

use regex::Captures;

use super::super::bytes::{Buffer, ByteStr};
use super::super::error::Fault;
use super::super::runes::{self, decode, is_digit, is_letter};
use super::super::types::{INT, Type};
use super::super::value::{List, Value};
use super::pattern::{Pattern, Subject};
use super::strings::room;
use super::{Arguments, Context, Function, Result, made, text};

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("regexMatch", &[STR, STR], |context, args| match matches(context, args) {
        Err(Fault::Plain(_) | Fault::Withheld(_)) => Ok(Value::Bool(false)),
        other => other,
    }),
    Function::new("mustRegexMatch", &[STR, STR], matches),
    Function::new("regexFind", &[STR, STR], |context, args| find(context, args, true)),
    Function::new("mustRegexFind", &[STR, STR], |context, args| find(context, args, false)),
    Function::new("regexFindAll", &[STR, STR, INT], |context, args| find_all(context, args, true)),
    Function::new("mustRegexFindAll", &[STR, STR, INT], |context, args| find_all(context, args, false)),
    Function::new("regexReplaceAll", &[STR, STR, STR], |context, args| replace(context, args, true, true)),
    Function::new("mustRegexReplaceAll", &[STR, STR, STR], |context, args| replace(context, args, false, true)),
    Function::new("regexReplaceAllLiteral", &[STR, STR, STR], |context, args| replace(context, args, true, false)),
    Function::new("mustRegexReplaceAllLiteral", &[STR, STR, STR], |context, args| replace(context, args, false, false)),
    Function::new("regexSplit", &[STR, STR, INT], |context, args| split(context, args, true)),
    Function::new("mustRegexSplit", &[STR, STR, INT], |context, args| split(context, args, false)),
    Function::new("regexQuoteMeta", &[STR], quote_meta),
];

/// Compiles the first argument. `panics`: Go's error is that of `MustCompile`, which names the pattern once more.
fn compiled(context: &mut Context<'_, '_>, args: &[Value], panics: bool) -> std::result::Result<Pattern, Fault> {
    let source = args.bytes(0);
    // Compiling is the dear part, and a loop may do it again and again.
    context.environment.steps(500 + source.len() * 20 + args.bytes(1).len() / 8)?;
    match Pattern::compile(source)? {
        Ok(pattern) => Ok(pattern),
        Err(_) if !context.literal(0) => Err(Fault::withheld("the regular expression is not valid")),
        Err(bad) => {
            let piece = if bad.piece.is_empty() && bad.code.starts_with("trailing") {
                "``".to_owned()
            } else {
                format!("`{}`", bad.piece)
            };
            let error = format!("error parsing regexp: {}: {piece}", bad.code);
            if !panics {
                return Err(Fault::plain(error));
            }
            let shown = if runes::can_backquote(source) {
                format!("`{}`", String::from_utf8_lossy(source))
            } else {
                runes::quoted(source)
            };
            Err(Fault::plain(format!("regexp: Compile({shown}): {error}")))
        }
    }
}

fn matches(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let pattern = compiled(context, args, false)?;
    Ok(Value::Bool(pattern.regex.is_match(Subject::new(args.bytes(1)).text())))
}

fn find(context: &mut Context<'_, '_>, args: &[Value], panics: bool) -> Result {
    let pattern = compiled(context, args, panics)?;
    let subject = Subject::new(args.bytes(1));
    let found = pattern.regex.find(subject.text());
    text(found.map_or(&[][..], |found| subject.part(found.start(), found.end())))
}

fn limit(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn find_all(context: &mut Context<'_, '_>, args: &[Value], panics: bool) -> Result {
    let pattern = compiled(context, args, panics)?;
    let subject = Subject::new(args.bytes(1));
    let found: Vec<ByteStr> = pattern
        .regex
        .find_iter(subject.text())
        .take(limit(args.int(2)))
        .map(|found| ByteStr::copy_of(subject.part(found.start(), found.end())))
        .collect();
    context.environment.steps(found.len())?;
    if found.is_empty() {
        return Ok(Value::List(List::nil(STR)));
    }
    Ok(Value::strings(found))
}

fn split(context: &mut Context<'_, '_>, args: &[Value], panics: bool) -> Result {
    let pattern = compiled(context, args, panics)?;
    let (whole, count) = (args.bytes(1), args.int(2));
    if count == 0 {
        return Ok(Value::List(List::nil(STR)));
    }
    if whole.is_empty() && !args.bytes(0).is_empty() {
        return Ok(Value::strings([ByteStr::copy_of(whole)]));
    }
    let subject = Subject::new(whole);
    let (mut pieces, mut begin, mut end) = (Vec::new(), 0, 0);
    for found in pattern.regex.find_iter(subject.text()).take(limit(count)) {
        if count > 0 && pieces.len() + 1 == limit(count) {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            pieces.push(ByteStr::copy_of(subject.part(begin, end)));
        }
        begin = found.end();
    }
    if end != subject.text().len() {
        pieces.push(ByteStr::copy_of(subject.part(begin, subject.text().len())));
    }
    context.environment.steps(pieces.len())?;
    // An empty list of pieces is an allocated one in Go.
    Ok(Value::strings(pieces))
}

fn replace(context: &mut Context<'_, '_>, args: &[Value], panics: bool, expand: bool) -> Result {
    let pattern = compiled(context, args, panics)?;
    let subject = Subject::new(args.bytes(1));
    let template = args.bytes(2);
    let mut out = Buffer::with_capacity(args.bytes(1).len());
    let mut last = 0;
    for captures in pattern.regex.captures_iter(subject.text()) {
        let Some(whole) = captures.get(0) else { continue };
        context.environment.steps(1)?;
        out.extend(subject.part(last, whole.start()));
        if expand {
            expanded(&mut out, template, &captures, &pattern, &subject);
        } else {
            out.extend(template);
        }
        room(out.len())?;
        last = whole.end();
    }
    out.extend(subject.part(last, subject.text().len()));
    made(out)
}

/// Go's `Expand`: `$1`, `${1}`, `$name`, `${name}`, `$$`; what is none of these stays.
fn expanded(out: &mut Buffer, template: &[u8], captures: &Captures<'_>, pattern: &Pattern, subject: &Subject<'_>) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out.extend(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        if rest.get(1) == Some(&b'$') {
            out.push(b'$');
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        let Some((name, length)) = reference(rest) else {
            out.push(b'$');
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        rest = rest.get(length..).unwrap_or_default();
        let number = name.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(name).ok()).flatten();
        let number = number
            .and_then(|digits| digits.parse::<usize>().ok())
            .filter(|number| *number < 100_000_000 && (name.len() == 1 || name.first() != Some(&b'0')));
        // Two groups may have one name: the first that matched counts.
        let mut named = pattern.names.iter().enumerate();
        let by_name = |(index, known): (usize, &Option<String>)| {
            known.as_deref().filter(|known| known.as_bytes() == name).and_then(|_| captures.get(index))
        };
        let group = match number {
            Some(number) => captures.get(number),
            None => named.find_map(by_name),
        };
        if let Some(group) = group {
            out.extend(subject.part(group.start(), group.end()));
        }
    }
    out.extend(rest);
}

/// The name after `$` and the length of the whole reference.
fn reference(text: &[u8]) -> Option<(&[u8], usize)> {
    let braced = text.get(1) == Some(&b'{');
    let start = if braced { 2 } else { 1 };
    let mut end = start;
    while let Some((c, width, _)) = decode(text.get(end..)?) {
        if !(is_letter(c) || is_digit(c) || c == '_') {
            break;
        }
        end += width;
    }
    if end == start {
        return None;
    }
    if braced && text.get(end) != Some(&b'}') {
        return None;
    }
    Some((text.get(start..end)?, if braced { end + 1 } else { end }))
}

fn quote_meta(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut out = Buffer::with_capacity(args.bytes(0).len());
    for byte in args.bytes(0) {
        if br"\.+*?()|[]{}^$".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    made(out)
}
