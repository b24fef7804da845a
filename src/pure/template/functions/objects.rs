//! Fields and methods of the opaque objects, and the texts they print as.

use super::super::error::Fault;
use super::super::print::named_integer;
use super::super::time::{Time, Zone};
use super::super::types::{INT, IntKind, ObjectKind, TIME, Type};
use super::super::value::{Object, Value};
use super::{Arguments, Context, Function, Result};
use crate::pure::limits;

const VERSION: Type = Type::Object(ObjectKind::Version);
const LOCATION: Type = Type::Object(ObjectKind::Location);
const MONTH: Type = Type::Int(IntKind::Month);
const WEEKDAY: Type = Type::Int(IntKind::Weekday);
const DURATION: Type = Type::Int(IntKind::Duration);

const ON_TIME: &[Function] = &[
    Function::new("Add", &[TIME, DURATION], |_, args| of_time(time(args, 0).add(args.int(1)))),
    Function::new("AddDate", &[TIME, INT, INT, INT], add_date),
    Function::new("After", &[TIME, TIME], |_, args| compare(args, |order| order > 0)),
    Function::new("Before", &[TIME, TIME], |_, args| compare(args, |order| order < 0)),
    Function::new("Compare", &[TIME, TIME], |_, args| Ok(Value::int(order(args)))),
    Function::new("Day", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().day))),
    Function::new("Equal", &[TIME, TIME], |_, args| compare(args, |order| order == 0)),
    Function::new("Format", &[TIME, Type::Str], format),
    Function::new("GoString", &[TIME], |_, args| Ok(Value::string(go_string(&time(args, 0))))),
    Function::new("Hour", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().hour))),
    Function::new("IsZero", &[TIME], |_, args| {
        let (time, zero) = (time(args, 0), Time::zero());
        Ok(Value::Bool(time.seconds == zero.seconds && time.nanos == 0))
    }),
    Function::new("Local", &[TIME], |_, args| of_time(Time { zone: Zone::Local, ..time(args, 0) })),
    Function::new("Location", &[TIME], |_, args| Ok(Value::Object(Object::Location(location(&time(args, 0)))))),
    Function::new("Minute", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().minute))),
    Function::new("Month", &[TIME], |_, args| Ok(Value::Int(IntKind::Month, time(args, 0).civil().month))),
    Function::new("Nanosecond", &[TIME], |_, args| Ok(Value::int(i64::from(time(args, 0).nanos)))),
    Function::new("Second", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().second))),
    Function::new("String", &[TIME], |_, args| Ok(Value::string(time(args, 0).text()))),
    Function::new("Sub", &[TIME, TIME], |_, args| {
        Ok(Value::Int(IntKind::Duration, time(args, 0).since(&time(args, 1))))
    }),
    Function::new("UTC", &[TIME], |_, args| of_time(Time { zone: Zone::Utc, ..time(args, 0) })),
    Function::new("Unix", &[TIME], |_, args| Ok(Value::int64(time(args, 0).seconds))),
    Function::new("UnixMicro", &[TIME], |_, args| Ok(Value::int64(unix(args, 1_000_000)))),
    Function::new("UnixMilli", &[TIME], |_, args| Ok(Value::int64(unix(args, 1_000)))),
    Function::new("UnixNano", &[TIME], |_, args| Ok(Value::int64(unix(args, 1_000_000_000)))),
    Function::new("Weekday", &[TIME], |_, args| Ok(Value::Int(IntKind::Weekday, time(args, 0).civil().weekday))),
    Function::new("Year", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().year))),
    Function::new("YearDay", &[TIME], |_, args| Ok(Value::int(time(args, 0).civil().year_day))),
];

const ON_VERSION: &[Function] = &[
    Function::new("Major", &[VERSION], |_, args| number(args, |version| version.major)),
    Function::new("Minor", &[VERSION], |_, args| number(args, |version| version.minor)),
    Function::new("Patch", &[VERSION], |_, args| number(args, |version| version.patch)),
    Function::new("Prerelease", &[VERSION], |_, args| on_version(args, |version| Value::string(version.pre.clone()))),
    Function::new("Metadata", &[VERSION], |_, args| on_version(args, |version| Value::string(version.build.clone()))),
    Function::new("Original", &[VERSION], |_, args| {
        on_version(args, |version| Value::string(version.original.clone()))
    }),
    Function::new("String", &[VERSION], |_, args| on_version(args, |version| Value::string(version.text()))),
    Function::new("Compare", &[VERSION, VERSION], |_, args| two_versions(args, Value::int)),
    Function::new("Equal", &[VERSION, VERSION], |_, args| two_versions(args, |order| Value::Bool(order == 0))),
    Function::new("GreaterThan", &[VERSION, VERSION], |_, args| two_versions(args, |order| Value::Bool(order > 0))),
    Function::new("GreaterThanEqual", &[VERSION, VERSION], |_, args| {
        two_versions(args, |order| Value::Bool(order >= 0))
    }),
    Function::new("LessThan", &[VERSION, VERSION], |_, args| two_versions(args, |order| Value::Bool(order < 0))),
    Function::new("LessThanEqual", &[VERSION, VERSION], |_, args| two_versions(args, |order| Value::Bool(order <= 0))),
];

const ON_LOCATION: &[Function] = &[Function::new("String", &[LOCATION], named)];
const ON_MONTH: &[Function] = &[Function::new("String", &[MONTH], named)];
const ON_WEEKDAY: &[Function] = &[Function::new("String", &[WEEKDAY], named)];
const ON_DURATION: &[Function] = &[
    Function::new("Abs", &[DURATION], |_, args| Ok(Value::Int(IntKind::Duration, args.int(0).saturating_abs()))),
    Function::new("Hours", &[DURATION], |_, args| Ok(Value::Float(parts(args.int(0), 3_600_000_000_000)))),
    Function::new("Microseconds", &[DURATION], |_, args| Ok(Value::int64(args.int(0) / 1_000))),
    Function::new("Milliseconds", &[DURATION], |_, args| Ok(Value::int64(args.int(0) / 1_000_000))),
    Function::new("Minutes", &[DURATION], |_, args| Ok(Value::Float(parts(args.int(0), 60_000_000_000)))),
    Function::new("Nanoseconds", &[DURATION], |_, args| Ok(Value::int64(args.int(0)))),
    Function::new("Seconds", &[DURATION], |_, args| Ok(Value::Float(parts(args.int(0), 1_000_000_000)))),
    Function::new("String", &[DURATION], named),
];

/// A method of the value.
pub(in super::super) fn method(of: &Value, name: &str) -> Option<&'static Function> {
    let table: &'static [Function] = match of {
        Value::Object(Object::Time(_)) => ON_TIME,
        Value::Object(Object::Version(_)) => ON_VERSION,
        Value::Object(Object::Location(_)) => ON_LOCATION,
        Value::Int(IntKind::Month, _) => ON_MONTH,
        Value::Int(IntKind::Weekday, _) => ON_WEEKDAY,
        Value::Int(IntKind::Duration, _) => ON_DURATION,
        _ => return None,
    };
    table.iter().find(|method| method.name == name)
}

/// A field of the value.
pub(in super::super) fn field(of: &Value, name: &str) -> Option<Value> {
    match (of, name) {
        (Value::Object(Object::Certificate(certificate, _)), "Cert") => Some(Value::Str(certificate.clone())),
        (Value::Object(Object::Certificate(_, key)), "Key") => Some(Value::Str(key.clone())),
        _ => None,
    }
}

/// What `fmt` prints for a type that has a method for it: `String`, or `GoString` for `%#v`.
pub(in super::super) fn text(of: &Value, go: bool) -> Option<String> {
    match of {
        Value::Object(Object::Time(time)) => Some(if go { go_string(time) } else { time.text() }),
        Value::Object(Object::Version(version)) if !go => Some(version.text()),
        Value::Object(Object::Location(name)) if !go => Some(name.to_string()),
        Value::Int(kind, number) if !go => named_integer(*kind, *number),
        _ => None,
    }
}

fn named(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    Ok(Value::string(text(args.at(0), false).unwrap_or_default()))
}

fn time(args: &[Value], index: usize) -> Time {
    match args.at(index) {
        Value::Object(Object::Time(time)) => (**time).clone(),
        _ => Time::zero(),
    }
}

/// A time as a value.
pub(super) fn of_time(time: Time) -> Result {
    Ok(Value::Object(Object::Time(Box::new(time))))
}

/// The name of a time's zone; the local one is called UTC, as in a pod.
fn location(time: &Time) -> std::sync::Arc<str> {
    match time.zone {
        Zone::Local => "UTC".into(),
        _ => time.zone.name(),
    }
}

fn add_date(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let time = time(args, 0);
    let civil = time.civil();
    let of_day = civil.hour * 3600 + civil.minute * 60 + civil.second;
    let (years, months, days) = (args.int(1), args.int(2), args.int(3));
    // Beyond this no date makes sense, and the sums below cannot overflow.
    if [years, months, days].iter().any(|part| part.unsigned_abs() > 1_000_000_000) {
        return Err(Fault::limit("a part of AddDate", 1_000_000_000, "units"));
    }
    let moved = Time::date(civil.year + years, civil.month + months, civil.day + days, of_day, time.nanos);
    of_time(moved.in_local_clock(time.zone))
}

fn format(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    // An element of one byte can become nine.
    if args.bytes(1).len() > limits::TEMPLATE_VALUE_BYTES / 16 {
        return Err(Fault::limit("a layout", limits::TEMPLATE_VALUE_BYTES / 16, "bytes"));
    }
    super::text(time(args, 0).format_bytes(args.bytes(1)))
}

fn order(args: &[Value]) -> i64 {
    let (left, right) = (time(args, 0), time(args, 1));
    (left.seconds, left.nanos).cmp(&(right.seconds, right.nanos)) as i64
}

fn compare(args: &[Value], holds: fn(i64) -> bool) -> Result {
    Ok(Value::Bool(holds(order(args))))
}

fn unix(args: &[Value], per_second: i64) -> i64 {
    let time = time(args, 0);
    time.seconds.wrapping_mul(per_second).wrapping_add(i64::from(time.nanos) / (1_000_000_000 / per_second))
}

fn parts(nanos: i64, unit: i64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

fn go_string(time: &Time) -> String {
    let civil = time.civil();
    let month = named_integer(IntKind::Month, civil.month).unwrap_or_default();
    let zone = match &time.zone {
        Zone::Utc => "time.UTC".to_owned(),
        Zone::Local => "time.Local".to_owned(),
        other => format!("time.Location({:?})", other.name()),
    };
    let (year, day, nanos) = (civil.year, civil.day, time.nanos);
    let (hour, minute, second) = (civil.hour, civil.minute, civil.second);
    format!("time.Date({year}, time.{month}, {day}, {hour}, {minute}, {second}, {nanos}, {zone})")
}

fn on_version(args: &[Value], read: fn(&super::semver::Version) -> Value) -> Result {
    match args.at(0) {
        Value::Object(Object::Version(version)) => Ok(read(version)),
        _ => Ok(Value::Nil),
    }
}

fn number(args: &[Value], read: fn(&super::semver::Version) -> u64) -> Result {
    match args.at(0) {
        Value::Object(Object::Version(version)) => {
            Ok(Value::Uint(super::super::types::UintKind::Uint64, read(version)))
        }
        _ => Ok(Value::Nil),
    }
}

fn two_versions(args: &[Value], show: fn(i64) -> Value) -> Result {
    match (args.at(0), args.at(1)) {
        (Value::Object(Object::Version(left)), Value::Object(Object::Version(right))) => {
            Ok(show(left.order(right) as i64))
        }
        _ => Err(Fault::plain("runtime error: invalid memory address or nil pointer dereference")),
    }
}
