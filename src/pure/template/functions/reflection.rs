//! What sprig says about types, emptiness and equality.

use super::super::error::Fault;
use super::super::types::Type;
use super::super::value::{Object, Value};
use super::{Arguments, Context, Function, Result, text};
use crate::pure::limits;

const ANY: Type = Type::Any;

pub(super) const TABLE: &[Function] = &[
    Function::new("typeOf", &[ANY], |_, args| text(args.at(0).type_name())),
    Function::new("typeIs", &[Type::Str, ANY], |_, args| {
        Ok(Value::Bool(args.bytes(0) == args.at(1).type_name().as_bytes()))
    }),
    Function::new("typeIsLike", &[Type::Str, ANY], |_, args| {
        let name = args.at(1).type_name();
        let name = name.as_bytes();
        Ok(Value::Bool(args.bytes(0) == name || name.strip_prefix(b"*") == Some(args.bytes(0))))
    }),
    Function::new("kindOf", &[ANY], |_, args| text(args.at(0).kind())),
    Function::new("kindIs", &[Type::Str, ANY], |_, args| {
        Ok(Value::Bool(args.bytes(0) == args.at(1).kind().as_bytes()))
    }),
    Function::new("deepEqual", &[ANY, ANY], |_, args| Ok(Value::Bool(deep_equal(args.at(0), args.at(1))?))),
    Function::new("default", &[ANY], default).rest(ANY),
    Function::new("empty", &[ANY], |_, args| Ok(Value::Bool(is_empty(args.at(0))?))),
    Function::new("coalesce", &[], coalesce).rest(ANY),
    Function::new("all", &[], |_, args| Ok(Value::Bool(!any(args, true)?))).rest(ANY),
    Function::new("any", &[], |_, args| Ok(Value::Bool(any(args, false)?))).rest(ANY),
    Function::new("ternary", &[ANY, ANY, Type::Bool], |_, args| {
        Ok(args.at(if matches!(args.at(2), Value::Bool(true)) { 0 } else { 1 }).clone())
    }),
    Function::new("fail", &[Type::Str], fail),
];

/// sprig's emptiness: zero, false, "", no elements, nil. A struct is never empty.
pub(super) fn is_empty(value: &Value) -> std::result::Result<bool, Fault> {
    Ok(!value.truth())
}

/// mergo's emptiness, which is the same but for structs.
pub(super) fn is_empty_value(value: &Value) -> bool {
    !value.truth()
}

fn default(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    match args.get(1) {
        Some(given) if !is_empty(given)? => Ok(given.clone()),
        _ => Ok(args.at(0).clone()),
    }
}

fn coalesce(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    for value in args {
        if !is_empty(value)? {
            return Ok(value.clone());
        }
    }
    Ok(Value::Nil)
}

/// Whether any argument's emptiness is `empty`.
fn any(args: &[Value], empty: bool) -> std::result::Result<bool, Fault> {
    for value in args {
        if is_empty(value)? == empty {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The message is shown when it stands in the template; when it was computed it may hold a secret.
fn fail(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    if context.literal(0) {
        return Err(Fault::plain(String::from_utf8_lossy(args.bytes(0))));
    }
    Err(Fault::withheld("the template failed with a message that was computed from data and is not shown"))
}

/// `reflect.DeepEqual`.
pub(super) fn deep_equal(left: &Value, right: &Value) -> std::result::Result<bool, Fault> {
    equal(left, right, 0)
}

fn equal(left: &Value, right: &Value, depth: usize) -> std::result::Result<bool, Fault> {
    if depth > limits::NESTING_DEPTH {
        return Err(Fault::limit("nesting of compared values", limits::NESTING_DEPTH, "levels"));
    }
    if left.is_nil() || right.is_nil() {
        return Ok(left.is_nil() == right.is_nil());
    }
    if left.type_of() != right.type_of() {
        return Ok(false);
    }
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(_, left), Value::Int(_, right)) => left == right,
        (Value::Uint(_, left), Value::Uint(_, right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::Str(left), Value::Str(right)) | (Value::Bytes(left), Value::Bytes(right)) => left == right,
        (Value::List(left), Value::List(right)) => {
            if left.is_nil() != right.is_nil() || left.items().len() != right.items().len() {
                return Ok(false);
            }
            for (left, right) in left.items().iter().zip(right.items()) {
                if !equal(left, right, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.same(right) {
                return Ok(true);
            }
            if left.is_nil() != right.is_nil() || left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.entries().iter().zip(right.entries()) {
                if *left_key != right_key || !equal(left, &right, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(left), Value::Object(right)) => equal_objects(left, right),
        _ => false,
    })
}

fn equal_objects(left: &Object, right: &Object) -> bool {
    match (left, right) {
        (Object::Time(left), Object::Time(right)) => {
            (left.seconds, left.nanos) == (right.seconds, right.nanos) && left.zone.name() == right.zone.name()
        }
        (Object::Certificate(a, b), Object::Certificate(c, d)) => a == c && b == d,
        (Object::Version(left), Object::Version(right)) => left.original == right.original,
        (Object::Location(left), Object::Location(right)) => left == right,
        _ => false,
    }
}
