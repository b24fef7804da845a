//! sprig's date functions. The clock is the environment's; the local zone is UTC.

use super::super::error::Fault;
use super::super::time::{Time, Zone, duration_text, parse};
use super::super::types::{IntKind, TIME, Type};
use super::super::value::{Object, Value};
use super::numbers;
use super::objects::of_time;
use super::strings::room;
use super::{Arguments, Context, Function, Result, text};
use crate::pure::duration;

const STR: Type = Type::Str;
const ANY: Type = Type::Any;

pub(super) const TABLE: &[Function] = &[
    Function::new("now", &[], |context, _| of_time(now(context))),
    Function::new("date", &[STR, ANY], |context, args| formatted(context, args.bytes(0), args.at(1), b"Local")),
    Function::new("dateInZone", &[STR, ANY, STR], |context, args| {
        formatted(context, args.bytes(0), args.at(1), args.bytes(2))
    }),
    Function::new("date_in_zone", &[STR, ANY, STR], |context, args| {
        formatted(context, args.bytes(0), args.at(1), args.bytes(2))
    }),
    Function::new("htmlDate", &[ANY], |context, args| formatted(context, b"2006-01-02", args.at(0), b"Local")),
    Function::new("htmlDateInZone", &[ANY, STR], |context, args| {
        formatted(context, b"2006-01-02", args.at(0), args.bytes(1))
    }),
    Function::new("dateModify", &[STR, TIME], modified),
    Function::new("date_modify", &[STR, TIME], modified),
    Function::new("mustDateModify", &[STR, TIME], must_modify),
    Function::new("must_date_modify", &[STR, TIME], must_modify),
    Function::new("toDate", &[STR, STR], |_, args| {
        of_time(parse(args.bytes(0), args.bytes(1)).unwrap_or_else(Time::zero))
    }),
    Function::new("mustToDate", &[STR, STR], |_, args| match parse(args.bytes(0), args.bytes(1)) {
        Some(time) => of_time(time),
        None => Err(Fault::withheld("the time does not have the form of the layout")),
    }),
    Function::new("unixEpoch", &[TIME], |_, args| text(time_at(args, 0).seconds.to_string())),
    Function::new("ago", &[ANY], ago),
    Function::new("duration", &[ANY], duration),
    Function::new("durationRound", &[ANY], duration_round),
];

fn now(context: &Context<'_, '_>) -> Time {
    let (seconds, nanos) = context.environment.now();
    Time { seconds, nanos, zone: Zone::Local }
}

fn time_at(args: &[Value], index: usize) -> Time {
    match args.at(index) {
        Value::Object(Object::Time(time)) => (**time).clone(),
        _ => Time::zero(),
    }
}

/// A time, or a number of seconds since 1970; what is neither counts as now.
fn time_of(context: &Context<'_, '_>, value: &Value, small: bool) -> Time {
    match value {
        Value::Object(Object::Time(time)) => (**time).clone(),
        Value::Int(IntKind::Int | IntKind::Int64, seconds) => Time { zone: Zone::Local, ..Time::unix(*seconds, 0) },
        Value::Int(IntKind::Int32, seconds) if small => Time { zone: Zone::Local, ..Time::unix(*seconds, 0) },
        _ => now(context),
    }
}

fn formatted(context: &mut Context<'_, '_>, layout: &[u8], value: &Value, zone: &[u8]) -> Result {
    room(layout.len().saturating_mul(16))?;
    let zone = std::str::from_utf8(zone).ok().and_then(Zone::load).unwrap_or(Zone::Utc);
    let time = Time { zone, ..time_of(context, value, true) };
    text(time.format_bytes(layout))
}

fn modified(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let time = time_at(args, 1);
    of_time(duration::of_go(args.bytes(0)).map_or_else(|_| time.clone(), |duration| time.add(duration)))
}

fn must_modify(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    match duration::of_go(args.bytes(0)) {
        Ok(duration) => of_time(time_at(args, 1).add(duration)),
        Err(_) if context.literal(0) => {
            let shown = super::super::runes::quoted(args.bytes(0));
            Err(Fault::withheld(format!("time: invalid duration {shown}")))
        }
        Err(_) => Err(Fault::withheld("time: invalid duration")),
    }
}

fn ago(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let then = time_of(context, args.at(0), false);
    let past = now(context).since(&then);
    // Rounded half away from zero, to seconds.
    let second = 1_000_000_000i64;
    let rest = past % second;
    let mut rounded = past - rest;
    if rest.abs() * 2 >= second {
        rounded = rounded.saturating_add(if past < 0 { -second } else { second });
    }
    text(duration_text(rounded))
}

fn duration(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let seconds = match args.at(0) {
        Value::Str(digits) => numbers::saturated(digits),
        Value::Int(IntKind::Int64, seconds) => *seconds,
        _ => 0,
    };
    text(duration_text(seconds.wrapping_mul(1_000_000_000)))
}

fn duration_round(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let nanos = match args.at(0) {
        Value::Str(written) => duration::of_go(written).unwrap_or(0),
        Value::Int(IntKind::Int64, nanos) => *nanos,
        Value::Object(Object::Time(then)) => now(context).since(then),
        _ => 0,
    };
    let magnitude = nanos.unsigned_abs();
    let hour = 3_600_000_000_000u64;
    let units = [
        (hour * 24 * 365, "y"),
        (hour * 24 * 30, "mo"),
        (hour * 24, "d"),
        (hour, "h"),
        (hour / 60, "m"),
        (hour / 3600, "s"),
    ];
    let rounded = units.into_iter().find(|(unit, _)| magnitude > *unit);
    text(rounded.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", magnitude / unit)))
}
