//! The functions of text/template itself.

use std::cmp::Ordering;

use super::super::bytes::Buffer;
use super::super::error::Fault;
use super::super::print;
use super::super::runes::{self, decode};
use super::super::types::{Type, UintKind};
use super::super::value::{Object, Value};
use super::{Arguments, Context, Function, Result, Special, made};
use crate::pure::limits;

pub(super) const TABLE: &[Function] = &[
    Function::new("and", &[Type::Reflect], unreachable)
        .rest(Type::Reflect)
        .special(Special::ShortCircuit { until: false }),
    Function::new("or", &[Type::Reflect], unreachable)
        .rest(Type::Reflect)
        .special(Special::ShortCircuit { until: true }),
    Function::new("not", &[Type::Reflect], |_, args| Ok(Value::Bool(!args.at(0).truth()))),
    Function::new("call", &[Type::Reflect], call).rest(Type::Reflect).special(Special::Callee),
    Function::new("len", &[Type::Reflect], len),
    Function::new("index", &[Type::Reflect], index).rest(Type::Reflect),
    Function::new("slice", &[Type::Reflect], slice).rest(Type::Reflect),
    Function::new("print", &[], |_, args| with_buffer(|out| print::print_into(out, args))).rest(Type::Any),
    Function::new("println", &[], |_, args| with_buffer(|out| print::println_into(out, args))).rest(Type::Any),
    Function::new("printf", &[Type::Str], printf).rest(Type::Any),
    Function::new("html", &[], |_, args| escaped(args, html)).rest(Type::Any),
    Function::new("js", &[], |_, args| escaped(args, js)).rest(Type::Any),
    Function::new("urlquery", &[], |_, args| escaped(args, urlquery)).rest(Type::Any),
    Function::new("eq", &[Type::Reflect], eq).rest(Type::Reflect),
    Function::new("ne", &[Type::Reflect, Type::Reflect], |_, args| Ok(Value::Bool(!equals_any(args)?))),
    Function::new("lt", &[Type::Reflect, Type::Reflect], |_, args| Ok(Value::Bool(less(args)?))),
    Function::new("le", &[Type::Reflect, Type::Reflect], |_, args| Ok(Value::Bool(less_or_equal(args)?))),
    Function::new("gt", &[Type::Reflect, Type::Reflect], |_, args| Ok(Value::Bool(!less_or_equal(args)?))),
    Function::new("ge", &[Type::Reflect, Type::Reflect], |_, args| Ok(Value::Bool(!less(args)?))),
];

/// The evaluator handles `and` and `or` itself.
fn unreachable(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    Ok(args.at(0).clone())
}

fn with_buffer(fill: impl FnOnce(&mut Buffer) -> std::result::Result<(), Fault>) -> Result {
    let mut out = Buffer::new();
    fill(&mut out)?;
    made(out)
}

fn printf(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    with_buffer(|out| print::printf_into(out, args.bytes(0), args.after(1)))
}

/// No value of ours is a function.
fn call(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if args.at(0).is_nil() {
        return Err(Fault::plain("call of nil"));
    }
    let kind = args.at(0).type_name();
    match &context.callee {
        Some(name) => Err(Fault::plain(format!("non-function {name} of type {kind}"))),
        // Go names a value that came through the pipe by its text.
        None => Err(Fault::withheld(format!("non-function of type {kind}"))),
    }
}

fn len(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let length = match args.at(0) {
        Value::Missing => return Err(Fault::plain("reflect: call of reflect.Value.Type on zero Value")),
        Value::Nil => return Err(Fault::plain("len of nil pointer")),
        Value::Str(text) | Value::Bytes(text) => text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.len(),
        other => return Err(Fault::plain(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::int(length as i64))
}

fn index_into(value: &Value, length: usize) -> std::result::Result<usize, Fault> {
    let number = match value {
        Value::Int(_, number) => *number,
        Value::Uint(_, number) => *number as i64,
        Value::Missing | Value::Nil => return Err(Fault::plain("cannot index slice/array with nil")),
        other => {
            return Err(Fault::plain(format!("cannot index slice/array with type {}", other.type_name())));
        }
    };
    usize::try_from(number)
        .ok()
        .filter(|at| *at <= length)
        .ok_or_else(|| Fault::plain(format!("index out of range: {number}")))
}

fn index(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut item = args.at(0).clone();
    if item.is_nil() {
        return Err(Fault::plain("index of untyped nil"));
    }
    for key in args.after(1) {
        item = match &item {
            Value::Missing | Value::Nil => return Err(Fault::plain("index of nil pointer")),
            Value::Str(text) | Value::Bytes(text) => {
                let at = index_into(key, text.len())?;
                match text.get(at) {
                    Some(byte) => Value::Uint(UintKind::Uint8, u64::from(*byte)),
                    None => return Err(past_end(matches!(item, Value::Str(_)))),
                }
            }
            Value::List(list) => {
                let at = index_into(key, list.items().len())?;
                match list.items().get(at) {
                    Some(item) => item.clone(),
                    None => return Err(past_end(false)),
                }
            }
            Value::Map(map) => match key {
                Value::Str(key) => map.get(key).unwrap_or_else(|| Value::zero(map.element())),
                Value::Missing | Value::Nil => {
                    return Err(Fault::plain("value is nil; should be of type string"));
                }
                other => {
                    let kind = other.type_name();
                    return Err(Fault::plain(format!("value has type {kind}; should be string")));
                }
            },
            other => {
                return Err(Fault::plain(format!("can't index item of type {}", other.type_name())));
            }
        };
    }
    Ok(item)
}

/// Go lets an index equal to the length pass its own check and is then stopped by reflection.
fn past_end(string: bool) -> Fault {
    Fault::plain(format!("reflect: {} index out of range", if string { "string" } else { "slice" }))
}

fn slice(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let item = args.at(0);
    let indexes = args.after(1);
    if item.is_nil() {
        return Err(Fault::plain("slice of untyped nil"));
    }
    if indexes.len() > 3 {
        return Err(Fault::plain(format!("too many slice indexes: {}", indexes.len())));
    }
    let length = match item {
        Value::Str(_) if indexes.len() == 3 => return Err(Fault::plain("cannot 3-index slice a string")),
        Value::Str(text) | Value::Bytes(text) => text.len(),
        Value::List(list) => list.items().len(),
        other => {
            return Err(Fault::plain(format!("can't slice item of type {}", other.type_name())));
        }
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = index_into(index, length)?;
    }
    let [start, end, capacity] = bounds;
    for (low, high) in [(start, end), (end, capacity)] {
        if low > high {
            return Err(Fault::plain(format!("invalid slice index: {low} > {high}")));
        }
    }
    Ok(match item {
        Value::Str(text) => Value::string(text.get(start..end).unwrap_or_default().to_vec()),
        Value::Bytes(text) => Value::Bytes(super::ByteStr::copy_of(text.get(start..end).unwrap_or_default())),
        Value::List(list) => {
            let items = list.items().get(start..end).unwrap_or_default().to_vec();
            Value::List(super::super::value::List::new(list.element(), items))
        }
        _ => Value::Nil,
    })
}

// --- comparison ---

#[derive(Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Complex,
    Int,
    Float,
    Str,
    Uint,
}

fn basic(value: &Value) -> Option<Basic> {
    match value {
        Value::Bool(_) => Some(Basic::Bool),
        Value::Complex(..) => Some(Basic::Complex),
        Value::Int(..) => Some(Basic::Int),
        Value::Float(_) => Some(Basic::Float),
        Value::Str(_) => Some(Basic::Str),
        Value::Uint(..) => Some(Basic::Uint),
        _ => None,
    }
}

fn eq(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if args.len() < 2 {
        return Err(Fault::plain("missing argument for comparison"));
    }
    Ok(Value::Bool(equals_any(args)?))
}

fn incompatible(left: &Value, right: &Value) -> Fault {
    Fault::plain(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
}

fn equals_any(args: &[Value]) -> std::result::Result<bool, Fault> {
    let left = args.at(0);
    for right in args.after(1) {
        if equals(left, right)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(left: &Value, right: &Value) -> std::result::Result<bool, Fault> {
    let kinds = (basic(left), basic(right));
    if kinds.0 != kinds.1 {
        return match (left, right) {
            (Value::Int(_, int), Value::Uint(_, uint)) | (Value::Uint(_, uint), Value::Int(_, int)) => {
                Ok(u64::try_from(*int).is_ok_and(|int| int == *uint))
            }
            _ if left.is_nil() || right.is_nil() => Ok(false),
            _ => Err(incompatible(left, right)),
        };
    }
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::Int(_, left), Value::Int(_, right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Str(left), Value::Str(right)) => left == right,
        (Value::Uint(_, left), Value::Uint(_, right)) => left == right,
        _ => return equals_others(left, right),
    })
}

/// Whether Go sees a nil: no value, or a nil slice or map.
fn is_nil(value: &Value) -> bool {
    match value {
        Value::List(list) => list.is_nil(),
        Value::Map(map) => map.is_nil(),
        other => other.is_nil(),
    }
}

fn equals_others(left: &Value, right: &Value) -> std::result::Result<bool, Fault> {
    let invalid = left.is_nil() || right.is_nil();
    if left.kind() != right.kind() && !invalid {
        return Err(Fault::withheld(format!("non-comparable types {}, {}", left.type_name(), right.type_name())));
    }
    if is_nil(left) || is_nil(right) {
        return Ok(is_nil(left) == is_nil(right));
    }
    match (left, right) {
        (Value::Object(Object::Time(left)), Value::Object(Object::Time(right))) => {
            Ok(left.seconds == right.seconds && left.nanos == right.nanos && left.zone.name() == right.zone.name())
        }
        (Value::Object(Object::Certificate(a, b)), Value::Object(Object::Certificate(c, d))) => Ok(a == c && b == d),
        (Value::Object(Object::Version(left)), Value::Object(Object::Version(right))) => {
            Ok(std::sync::Arc::ptr_eq(left, right))
        }
        (Value::Object(Object::Location(left)), Value::Object(Object::Location(right))) => Ok(left == right),
        (Value::Object(_), Value::Object(_)) => Ok(false),
        (_, right) => Err(Fault::withheld(format!("non-comparable type {}", right.type_name()))),
    }
}

fn less(args: &[Value]) -> std::result::Result<bool, Fault> {
    let (left, right) = (args.at(0), args.at(1));
    let invalid = || Fault::plain("invalid type for comparison");
    let kinds = (basic(left).ok_or_else(invalid)?, basic(right).ok_or_else(invalid)?);
    Ok(match (left, right) {
        (Value::Int(_, int), Value::Uint(_, uint)) => u64::try_from(*int).map_or(true, |int| int < *uint),
        (Value::Uint(_, uint), Value::Int(_, int)) => u64::try_from(*int).is_ok_and(|int| *uint < int),
        _ if kinds.0 != kinds.1 => return Err(incompatible(left, right)),
        (Value::Int(_, left), Value::Int(_, right)) => left < right,
        (Value::Uint(_, left), Value::Uint(_, right)) => left < right,
        (Value::Float(left), Value::Float(right)) => left < right,
        (Value::Str(left), Value::Str(right)) => left.cmp(right) == Ordering::Less,
        _ => return Err(invalid()),
    })
}

fn less_or_equal(args: &[Value]) -> std::result::Result<bool, Fault> {
    Ok(less(args)? || equals(args.at(0), args.at(1))?)
}

// --- escaping ---

fn escaped(args: &[Value], escape: fn(&mut Buffer, &[u8])) -> Result {
    let mut out = Buffer::new();
    let given = match args {
        [Value::Str(text)] => text.clone(),
        _ => {
            // No value prints as the template would print it, not as fmt does.
            let shown: Vec<Value> =
                args.iter().map(|arg| if arg.is_nil() { Value::string("<no value>") } else { arg.clone() }).collect();
            let mut printed = Buffer::new();
            print::print_into(&mut printed, &shown)?;
            printed.into()
        }
    };
    if given.len() > limits::TEMPLATE_VALUE_BYTES / 6 {
        return Err(Fault::limit("an escaped value", limits::TEMPLATE_VALUE_BYTES / 6, "bytes"));
    }
    escape(&mut out, &given);
    made(out)
}

fn html(out: &mut Buffer, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            0 => out.character(runes::REPLACEMENT),
            b'"' => out.text("&#34;"),
            b'\'' => out.text("&#39;"),
            b'&' => out.text("&amp;"),
            b'<' => out.text("&lt;"),
            b'>' => out.text("&gt;"),
            other => out.push(*other),
        }
    }
}

fn js(out: &mut Buffer, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((c, width, _)) = decode(rest) {
        let (head, tail) = rest.split_at(width);
        rest = tail;
        match c {
            '\\' => out.text("\\\\"),
            '\'' => out.text("\\'"),
            '"' => out.text("\\\""),
            '<' => out.text("\\u003C"),
            '>' => out.text("\\u003E"),
            '&' => out.text("\\u0026"),
            '=' => out.text("\\u003D"),
            c if c < ' ' => out.text(&format!("\\u00{:02X}", c as u32)),
            c if c.is_ascii() || runes::is_print(c) => out.extend(head),
            c => out.text(&format!("\\u{:04X}", c as u32)),
        }
    }
}

/// `url.QueryEscape`.
fn urlquery(out: &mut Buffer, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) => out.push(*byte),
            byte => out.text(&format!("%{byte:02X}")),
        }
    }
}
