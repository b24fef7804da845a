//! sprig's list functions.

use std::borrow::Cow;

use super::super::error::Fault;
use super::super::types::{INT, Type, UintKind};
use super::super::value::{List, Value};
use super::numbers::to_int;
use super::reflection::{deep_equal, is_empty};
use super::strings::strings_of;
use super::{Arguments, Context, Function, Result};

const ANY: Type = Type::Any;

/// Each function has a twin with `must` before its name. Here both fail with the same error, as they do in Go: there
/// one panics and the other returns it.
pub(super) const TABLE: &[Function] = &[
    Function::new("list", &[], |_, args| Ok(Value::list_any(args.to_vec()))).rest(ANY),
    Function::new("tuple", &[], |_, args| Ok(Value::list_any(args.to_vec()))).rest(ANY),
    Function::new("append", &[ANY, ANY], push),
    Function::new("push", &[ANY, ANY], push),
    Function::new("mustAppend", &[ANY, ANY], push),
    Function::new("mustPush", &[ANY, ANY], push),
    Function::new("prepend", &[ANY, ANY], prepend),
    Function::new("mustPrepend", &[ANY, ANY], prepend),
    Function::new("first", &[ANY], first),
    Function::new("mustFirst", &[ANY], first),
    Function::new("last", &[ANY], last),
    Function::new("mustLast", &[ANY], last),
    Function::new("rest", &[ANY], rest),
    Function::new("mustRest", &[ANY], rest),
    Function::new("initial", &[ANY], initial),
    Function::new("mustInitial", &[ANY], initial),
    Function::new("reverse", &[ANY], reverse),
    Function::new("mustReverse", &[ANY], reverse),
    Function::new("uniq", &[ANY], uniq),
    Function::new("mustUniq", &[ANY], uniq),
    Function::new("compact", &[ANY], compact),
    Function::new("mustCompact", &[ANY], compact),
    Function::new("without", &[ANY], without).rest(ANY),
    Function::new("mustWithout", &[ANY], without).rest(ANY),
    Function::new("has", &[ANY, ANY], has),
    Function::new("mustHas", &[ANY, ANY], has),
    Function::new("slice", &[ANY], slice).rest(ANY),
    Function::new("mustSlice", &[ANY], slice).rest(ANY),
    Function::new("chunk", &[INT, ANY], chunk),
    Function::new("mustChunk", &[INT, ANY], chunk),
    Function::new("concat", &[], concat).rest(ANY),
    Function::new("sortAlpha", &[ANY], sort_alpha),
];

/// The elements of a slice; none for anything else.
pub(super) fn elements(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::List(list) => Some(Cow::Borrowed(list.items())),
        Value::Bytes(bytes) => {
            Some(bytes.iter().map(|byte| Value::Uint(UintKind::Uint8, u64::from(*byte))).collect::<Vec<_>>().into())
        }
        _ => None,
    }
}

/// What Go says when the type of nil is asked for its kind.
pub(super) fn nil_dereference() -> Fault {
    Fault::plain("runtime error: invalid memory address or nil pointer dereference")
}

fn listed<'v>(value: &'v Value, otherwise: &str) -> std::result::Result<Cow<'v, [Value]>, Fault> {
    match elements(value) {
        Some(items) => Ok(items),
        None if value.is_nil() => Err(nil_dereference()),
        None => Err(Fault::plain(format!("{otherwise} {}", value.kind()))),
    }
}

/// An element as an interface holds it.
fn boxed(value: &Value) -> Value {
    if value.is_nil() { Value::Nil } else { value.clone() }
}

fn list(items: impl IntoIterator<Item = Value>) -> Result {
    Ok(Value::list_any(items.into_iter().collect()))
}

fn push(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "Cannot push on type")?;
    list(items.iter().map(boxed).chain([boxed(args.at(1))]))
}

fn prepend(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "Cannot prepend on type")?;
    list([boxed(args.at(1))].into_iter().chain(items.iter().map(boxed)))
}

fn first(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    Ok(listed(args.at(0), "Cannot find first on type")?.first().map_or(Value::Nil, boxed))
}

fn last(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    Ok(listed(args.at(0), "Cannot find last on type")?.last().map_or(Value::Nil, boxed))
}

fn nil_list() -> Result {
    Ok(Value::List(List::nil(ANY)))
}

fn rest(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    match listed(args.at(0), "Cannot find rest on type")?.split_first() {
        Some((_, tail)) => list(tail.iter().map(boxed)),
        None => nil_list(),
    }
}

fn initial(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    match listed(args.at(0), "Cannot find initial on type")?.split_last() {
        Some((_, head)) => list(head.iter().map(boxed)),
        None => nil_list(),
    }
}

fn reverse(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    list(listed(args.at(0), "Cannot find reverse on type")?.iter().rev().map(boxed))
}

fn uniq(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "Cannot find uniq on type")?;
    let mut kept: Vec<Value> = Vec::new();
    for item in items.iter() {
        context.environment.steps(kept.len())?;
        if !contains(&kept, item)? {
            kept.push(boxed(item));
        }
    }
    list(kept)
}

fn contains(items: &[Value], wanted: &Value) -> std::result::Result<bool, Fault> {
    for item in items {
        if deep_equal(wanted, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compact(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "Cannot compact on type")?;
    let mut kept = Vec::new();
    for item in items.iter() {
        if !is_empty(item)? {
            kept.push(boxed(item));
        }
    }
    list(kept)
}

fn without(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "Cannot find without on type")?;
    let unwanted = args.after(1);
    context.environment.steps(items.len().saturating_mul(unwanted.len()))?;
    let mut kept = Vec::new();
    for item in items.iter() {
        if !contains(unwanted, item)? {
            kept.push(boxed(item));
        }
    }
    list(kept)
}

fn has(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if args.at(1).is_nil() {
        return Ok(Value::Bool(false));
    }
    let items = listed(args.at(1), "Cannot find has on type")?;
    context.environment.steps(items.len())?;
    Ok(Value::Bool(contains(&items, args.at(0))?))
}

fn slice(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(0), "list should be type of slice or array but")?;
    if items.is_empty() {
        return Ok(Value::Nil);
    }
    let start = args.get(1).map_or(0, to_int);
    let end = args.get(2).map_or(items.len() as i64, to_int);
    let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let part = bounds.and_then(|(start, end)| items.get(start..end));
    let Some(part) = part else {
        return Err(Fault::plain("reflect.Value.Slice: slice index out of bounds"));
    };
    Ok(match args.at(0) {
        Value::List(list) => Value::List(List::new(list.element(), part.to_vec())),
        _ => {
            let byte = |value: &Value| match value {
                Value::Uint(_, byte) => u8::try_from(*byte).unwrap_or(0),
                _ => 0,
            };
            Value::Bytes(super::ByteStr::from_vec(part.iter().map(byte).collect()))
        }
    })
}

fn chunk(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let items = listed(args.at(1), "Cannot chunk type")?;
    let Some(size) = usize::try_from(args.int(0)).ok().filter(|size| *size > 0) else {
        return Err(Fault::plain("runtime error: makeslice: len out of range"));
    };
    let chunks = items.chunks(size).map(|chunk| Value::list_any(chunk.iter().map(boxed).collect())).collect();
    Ok(Value::List(List::new(Type::List(&Type::Any), chunks)))
}

fn concat(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut joined = Vec::new();
    for part in args {
        match elements(part) {
            Some(items) => joined.extend(items.iter().map(boxed)),
            None if part.is_nil() => return Err(nil_dereference()),
            None => return Err(Fault::plain(format!("Cannot concat type {} as list", part.kind()))),
        }
    }
    if joined.is_empty() { nil_list() } else { list(joined) }
}

fn sort_alpha(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if elements(args.at(0)).is_none() {
        return Ok(Value::strings([super::string_of(args.at(0))?]));
    }
    let mut items = strings_of(args.at(0))?;
    items.sort();
    Ok(Value::strings(items))
}
