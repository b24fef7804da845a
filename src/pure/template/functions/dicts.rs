//! sprig's map functions. `set`, `unset` and the merges change the map they are given.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bytes::ByteStr;
use super::super::error::Fault;
use super::super::types::{MAP_ANY, Type};
use super::super::value::{List, Map, Value};
use super::reflection::is_empty_value;
use super::{Arguments, Context, Function, Result, string_of};
use crate::pure::limits;

const STR: Type = Type::Str;
const ANY: Type = Type::Any;

pub(super) const TABLE: &[Function] = &[
    Function::new("dict", &[], dict).rest(ANY),
    Function::new("get", &[MAP_ANY, STR], |_, args| {
        Ok(map(args, 0).get(args.bytes(1)).unwrap_or_else(|| Value::string("")))
    }),
    Function::new("set", &[MAP_ANY, STR, ANY], set),
    Function::new("unset", &[MAP_ANY, STR], |_, args| {
        map(args, 0).remove(args.bytes(1));
        Ok(args.at(0).clone())
    }),
    Function::new("hasKey", &[MAP_ANY, STR], |_, args| Ok(Value::Bool(map(args, 0).get(args.bytes(1)).is_some()))),
    Function::new("pluck", &[STR], |_, args| {
        let key = args.bytes(0);
        Ok(Value::list_any(args.after(1).iter().filter_map(as_map).filter_map(|map| map.get(key)).collect()))
    })
    .rest(MAP_ANY),
    Function::new("keys", &[], |_, args| {
        let entries = args.iter().filter_map(as_map).flat_map(|map| map.entries());
        Ok(Value::strings(entries.map(|(key, _)| key).collect::<Vec<_>>()))
    })
    .rest(MAP_ANY),
    Function::new("values", &[MAP_ANY], |_, args| {
        Ok(Value::list_any(map(args, 0).entries().into_iter().map(|(_, value)| value).collect()))
    }),
    Function::new("pick", &[MAP_ANY], |_, args| {
        let from = map(args, 0);
        let entries = args.after(1).iter().filter_map(|key| match key {
            Value::Str(key) => Some((key.clone(), from.get(key)?)),
            _ => None,
        });
        Ok(Value::map_any(entries.collect()))
    })
    .rest(STR),
    Function::new("omit", &[MAP_ANY], |_, args| {
        let unwanted: BTreeSet<&[u8]> = (1..args.len()).map(|index| args.bytes(index)).collect();
        let entries = map(args, 0).entries().into_iter().filter(|(key, _)| !unwanted.contains(key.as_slice()));
        Ok(Value::map_any(entries.collect()))
    })
    .rest(STR),
    Function::new("merge", &[MAP_ANY], |context, args| merge(context, args, false)).rest(MAP_ANY),
    Function::new("mustMerge", &[MAP_ANY], |context, args| merge(context, args, false)).rest(MAP_ANY),
    Function::new("mergeOverwrite", &[MAP_ANY], |context, args| merge(context, args, true)).rest(MAP_ANY),
    Function::new("mustMergeOverwrite", &[MAP_ANY], |context, args| merge(context, args, true)).rest(MAP_ANY),
    Function::new("dig", &[], dig).rest(ANY),
    Function::new("deepCopy", &[ANY], deep_copy),
    Function::new("mustDeepCopy", &[ANY], deep_copy),
];

fn as_map(value: &Value) -> Option<&Map> {
    match value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

/// The map at `index`; a nil map for nil, which the evaluator has let through.
fn map(args: &[Value], index: usize) -> Map {
    as_map(args.at(index)).cloned().unwrap_or_else(|| Map::nil(ANY))
}

fn dict(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let mut entries = BTreeMap::new();
    for pair in args.chunks(2) {
        let value = pair.get(1).map_or_else(|| Value::string(""), Clone::clone);
        entries.insert(string_of(pair.at(0))?, value);
    }
    Ok(Value::map_any(entries))
}

/// Whether `target` can be reached from `value`. A map that held itself could never be printed or freed.
fn reaches(context: &mut Context<'_, '_>, value: &Value, target: &Map) -> std::result::Result<bool, Fault> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![value.clone()];
    while let Some(value) = pending.pop() {
        context.environment.steps(1)?;
        match &value {
            Value::Map(map) if map.same(target) => return Ok(true),
            Value::Map(map) if seen.insert(map.address()) => {
                pending.extend(map.entries().into_iter().map(|(_, value)| value));
            }
            Value::List(list) => pending
                .extend(list.items().iter().filter(|item| matches!(item, Value::List(_) | Value::Map(_))).cloned()),
            _ => {}
        }
    }
    Ok(false)
}

fn put(context: &mut Context<'_, '_>, into: &Map, key: ByteStr, value: Value) -> std::result::Result<(), Fault> {
    if into.is_nil() {
        return Err(Fault::plain("assignment to entry in nil map"));
    }
    if reaches(context, &value, into)? {
        return Err(Fault::withheld("a map cannot be put into itself"));
    }
    context.environment.value(64 + key.len())?;
    into.insert(key, value);
    Ok(())
}

fn set(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    put(context, &map(args, 0), args.string(1), args.at(2).clone())?;
    Ok(args.at(0).clone())
}

fn merge(context: &mut Context<'_, '_>, args: &[Value], overwrite: bool) -> Result {
    // A nil map gets a map of its own to merge into.
    let target = as_map(args.at(0)).filter(|map| !map.is_nil()).cloned();
    let target = target.unwrap_or_else(|| Map::new(ANY, BTreeMap::new()));
    for source in args.after(1).iter().filter_map(as_map) {
        merge_into(context, &target, source, overwrite, 0)?;
    }
    Ok(Value::Map(target))
}

/// mergo's rule: what is missing or empty is filled; maps are merged in place; with `overwrite` the source wins.
fn merge_into(
    context: &mut Context<'_, '_>,
    target: &Map,
    source: &Map,
    overwrite: bool,
    depth: usize,
) -> std::result::Result<(), Fault> {
    if depth > limits::NESTING_DEPTH {
        return Err(Fault::limit("nesting of merged maps", limits::NESTING_DEPTH, "levels"));
    }
    if target.same(source) {
        return Ok(());
    }
    for (key, value) in source.entries() {
        context.environment.steps(1)?;
        let old = target.get(&key);
        if value.is_nil() {
            if overwrite {
                put(context, target, key, value)?;
            }
            continue;
        }
        if let (Some(Value::Map(inner)), Value::Map(from)) = (&old, &value) {
            if inner.element() != from.element() && inner.element() != ANY {
                return Err(Fault::withheld("maps of different types cannot be merged"));
            }
            merge_into(context, inner, from, overwrite, depth + 1)?;
        }
        let filled = old.as_ref().is_some_and(|old| !is_empty_value(old));
        if filled {
            let both_maps = matches!((&old, &value), (Some(Value::Map(_)), Value::Map(_)));
            if both_maps || matches!(value, Value::List(_) | Value::Bytes(_)) && !overwrite {
                continue;
            }
        }
        if overwrite || !filled {
            put(context, target, key, value)?;
        }
    }
    Ok(())
}

fn dig(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let Some(keys) = args.len().checked_sub(2).filter(|keys| *keys > 0) else {
        return Err(Fault::plain("dig needs at least three arguments"));
    };
    let conversion = |value: &Value, wanted: &str| {
        let found = value.type_of().map_or_else(|| "nil".to_owned(), |kind| kind.to_string());
        Fault::plain(format!("interface conversion: interface {{}} is {found}, not {wanted}"))
    };
    let dictionary = |value: &Value| match value {
        Value::Map(map) if map.element() == ANY => Ok(map.clone()),
        other => Err(conversion(other, "map[string]interface {}")),
    };
    let mut here = dictionary(args.at(keys + 1))?;
    for index in 0..keys {
        if !matches!(args.at(index), Value::Str(_)) {
            return Err(conversion(args.at(index), "string"));
        }
    }
    for index in 0..keys {
        context.environment.steps(1)?;
        let Some(step) = here.get(args.bytes(index)) else { return Ok(args.at(keys).clone()) };
        if index + 1 == keys {
            return Ok(step);
        }
        here = dictionary(&step)?;
    }
    Ok(Value::Nil)
}

fn deep_copy(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if args.at(0).is_nil() {
        return Err(Fault::plain("reflect: call of reflect.Value.Type on zero Value"));
    }
    copied(context, args.at(0), 0)
}

fn copied(context: &mut Context<'_, '_>, value: &Value, depth: usize) -> Result {
    if depth > limits::NESTING_DEPTH {
        return Err(Fault::limit("nesting of a copied value", limits::NESTING_DEPTH, "levels"));
    }
    context.environment.steps(1)?;
    context.environment.value(value.shallow_bytes())?;
    Ok(match value {
        Value::Map(map) => {
            let mut entries = BTreeMap::new();
            for (key, value) in map.entries() {
                entries.insert(key, copied(context, &value, depth + 1)?);
            }
            Value::Map(Map::new(map.element(), entries))
        }
        Value::List(list) if !list.is_nil() => {
            let mut items = Vec::with_capacity(list.items().len());
            for item in list.items() {
                items.push(copied(context, item, depth + 1)?);
            }
            Value::List(List::new(list.element(), items))
        }
        other => other.clone(),
    })
}
