//! Go's `time`: instants, zones, and layouts such as `Mon Jan _2 15:04:05 2006`. Zones come from the bundled database;
//! `Local` is UTC, as it is in the pods of both incumbents.
//!
//! Longer than other files: the elements of a layout are written and read side by side, so that both stay the same set.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Names of the months, January first.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Names of the days, Sunday first.
pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const DAY: i64 = 86_400;

/// A place on earth, or at least a rule for offsets.
#[derive(Clone)]
pub enum Zone {
    /// UTC.
    Utc,
    /// The local zone: UTC under another name.
    Local,
    /// An offset in seconds with a name of its own, as a parsed time has it.
    Fixed(Arc<str>, i32),
    /// A zone of the database.
    Named(Arc<str>, TimeZone),
}

/// `time.Time`.
#[derive(Clone)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
    /// Where the clock stands.
    pub zone: Zone,
}

/// A time taken apart in its zone.
pub(super) struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Sunday is 0.
    pub weekday: i64,
    /// From 1.
    pub year_day: i64,
    pub offset: i32,
    pub abbreviation: String,
}

impl Zone {
    /// `time.LoadLocation`.
    pub fn load(name: &str) -> Option<Self> {
        static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
        match name {
            "" | "UTC" => Some(Self::Utc),
            "Local" => Some(Self::Local),
            _ if name.contains("..") || name.starts_with(['/', '\\']) => None,
            _ => {
                let zone = DATABASE.get_or_init(TimeZoneDatabase::bundled).get(name).ok()?;
                // The database ignores case, a file system does not.
                if zone.iana_name() != Some(name) {
                    return None;
                }
                Some(Self::Named(name.into(), zone))
            }
        }
    }

    /// `(*time.Location).String`.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Utc => "UTC".into(),
            Self::Local => "Local".into(),
            Self::Fixed(name, _) | Self::Named(name, _) => name.clone(),
        }
    }

    fn at(&self, seconds: i64) -> (String, i32) {
        match self {
            Self::Utc | Self::Local => ("UTC".to_owned(), 0),
            Self::Fixed(name, offset) => (name.to_string(), *offset),
            Self::Named(_, zone) => {
                let (min, max) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
                let at = Timestamp::from_second(seconds.clamp(min, max)).unwrap_or(Timestamp::UNIX_EPOCH);
                let info = zone.to_offset_info(at);
                (info.abbreviation().to_owned(), info.offset().seconds())
            }
        }
    }
}

/// Days since 1970 of a date; months and days out of range carry over.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let month = month - 1;
    let (year, month) = (year + month.div_euclid(12), month.rem_euclid(12) + 1);
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Time {
    /// A time in UTC from seconds and nanoseconds since 1970.
    pub fn unix(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos, zone: Zone::Utc }
    }

    /// Go's zero time: the first of January of the year 1.
    pub fn zero() -> Self {
        Self::unix(-62_135_596_800, 0)
    }

    /// A date and time of day in UTC; everything out of range carries over.
    pub(super) fn date(year: i64, month: i64, day: i64, of_day: i64, nanos: u32) -> Self {
        Self::unix(days_from_civil(year, month, day).saturating_mul(DAY).saturating_add(of_day), nanos)
    }

    pub(super) fn civil(&self) -> Civil {
        let (abbreviation, offset) = self.zone.at(self.seconds);
        let local = self.seconds.saturating_add(i64::from(offset));
        let (days, of_day) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            weekday: (days + 4).rem_euclid(7),
            year_day: days - days_from_civil(year, 1, 1) + 1,
            offset,
            abbreviation,
        }
    }

    /// Reads this time's UTC clock as the clock of `zone`, as `time.Date` does.
    pub(super) fn in_local_clock(self, zone: Zone) -> Self {
        let wall = self.seconds;
        let (_, guess) = zone.at(wall);
        let mut seconds = wall.saturating_sub(i64::from(guess));
        // Around a change of the clock the offset before it may be the right one.
        let (_, offset) = zone.at(seconds);
        if offset != guess {
            let other = wall.saturating_sub(i64::from(offset));
            if zone.at(other).1 == offset {
                seconds = other;
            }
        }
        Self { seconds, nanos: self.nanos, zone }
    }

    /// Adds nanoseconds.
    pub(super) fn add(&self, nanos: i64) -> Self {
        let sum = i64::from(self.nanos) + nanos.rem_euclid(1_000_000_000);
        Self {
            seconds: self.seconds.saturating_add(nanos.div_euclid(1_000_000_000) + sum / 1_000_000_000),
            nanos: u32::try_from(sum % 1_000_000_000).unwrap_or(0),
            zone: self.zone.clone(),
        }
    }

    /// Nanoseconds from `other` to this, saturated as in Go.
    pub(super) fn since(&self, other: &Self) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let nanos = seconds * 1_000_000_000 + i128::from(self.nanos) - i128::from(other.nanos);
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    /// `Time.String`.
    pub(super) fn text(&self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// `Time.Format`, for layouts that are text.
    pub(super) fn format(&self, layout: &str) -> String {
        String::from_utf8_lossy(&self.format_bytes(layout.as_bytes())).into_owned()
    }

    /// `Time.Format`.
    pub(super) fn format_bytes(&self, layout: &[u8]) -> Vec<u8> {
        let civil = self.civil();
        let mut out = Vec::with_capacity(layout.len() + 10);
        let mut rest = layout;
        while let Some((before, chunk, after)) = next_chunk(rest) {
            out.extend_from_slice(before);
            self.write_chunk(&mut out, &civil, chunk);
            rest = after;
        }
        out.extend_from_slice(rest);
        out
    }

    fn write_chunk(&self, out: &mut Vec<u8>, civil: &Civil, chunk: Chunk) {
        let month = usize::try_from(civil.month - 1).ok().and_then(|index| MONTHS.get(index)).copied().unwrap_or("");
        let day = usize::try_from(civil.weekday).ok().and_then(|index| WEEKDAYS.get(index)).copied().unwrap_or("");
        let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
        let text = match chunk {
            Chunk::LongMonth => month.to_owned(),
            Chunk::Month => month.get(..3).unwrap_or("").to_owned(),
            Chunk::NumMonth => civil.month.to_string(),
            Chunk::ZeroMonth => format!("{:02}", civil.month),
            Chunk::LongWeekday => day.to_owned(),
            Chunk::Weekday => day.get(..3).unwrap_or("").to_owned(),
            Chunk::Day => civil.day.to_string(),
            Chunk::UnderDay => format!("{:2}", civil.day),
            Chunk::ZeroDay => format!("{:02}", civil.day),
            Chunk::UnderYearDay => format!("{:3}", civil.year_day),
            Chunk::ZeroYearDay => format!("{:03}", civil.year_day),
            Chunk::Hour => format!("{:02}", civil.hour),
            Chunk::Hour12 => hour12.to_string(),
            Chunk::ZeroHour12 => format!("{hour12:02}"),
            Chunk::Minute => civil.minute.to_string(),
            Chunk::ZeroMinute => format!("{:02}", civil.minute),
            Chunk::Second => civil.second.to_string(),
            Chunk::ZeroSecond => format!("{:02}", civil.second),
            Chunk::LongYear if civil.year < 0 => format!("-{:04}", -civil.year),
            Chunk::LongYear => format!("{:04}", civil.year),
            Chunk::Year => format!("{:02}", civil.year.max(0) % 100),
            Chunk::UpperPm => if civil.hour >= 12 { "PM" } else { "AM" }.to_owned(),
            Chunk::LowerPm => if civil.hour >= 12 { "pm" } else { "am" }.to_owned(),
            Chunk::Abbreviation if civil.abbreviation.is_empty() => offset_text(civil.offset, 4, false),
            Chunk::Abbreviation => civil.abbreviation.clone(),
            Chunk::Offset { zulu: true, .. } if civil.offset == 0 => "Z".to_owned(),
            Chunk::Offset { digits, colon, .. } => offset_text(civil.offset, digits, colon),
            Chunk::Fraction { nines, digits, separator } => {
                let nanos = format!("{:09}", self.nanos);
                let mut text = nanos.get(..digits.min(9)).unwrap_or(&nanos).to_owned();
                if nines {
                    text = text.trim_end_matches('0').to_owned();
                }
                if text.is_empty() { String::new() } else { format!("{}{text}", separator as char) }
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

fn offset_text(offset: i32, digits: u8, colon: bool) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let seconds = offset.abs();
    let colon = if colon { ":" } else { "" };
    let mut text = format!("{sign}{:02}", seconds / 3600);
    if digits >= 4 {
        text.push_str(&format!("{colon}{:02}", seconds / 60 % 60));
    }
    if digits >= 6 {
        text.push_str(&format!("{colon}{:02}", seconds % 60));
    }
    text
}

/// One element of a layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Abbreviation,
    Offset { zulu: bool, digits: u8, colon: bool },
    Fraction { nines: bool, digits: usize, separator: u8 },
}

/// Splits a layout at its first element: what stands before, the element, the rest.
fn next_chunk(layout: &[u8]) -> Option<(&[u8], Chunk, &[u8])> {
    for at in 0..layout.len() {
        let rest = layout.get(at..)?;
        if let Some((chunk, skip, width)) = chunk_at(rest) {
            // `_2006` is a blank of the text and a year.
            return Some((layout.get(..at + skip)?, chunk, rest.get(skip + width..)?));
        }
    }
    None
}

fn chunk_at(rest: &[u8]) -> Option<(Chunk, usize, usize)> {
    let is = |text: &str| rest.starts_with(text.as_bytes());
    let lower_at = |at: usize| rest.get(at).is_some_and(u8::is_ascii_lowercase);
    let plain = |chunk: Chunk, width: usize| Some((chunk, 0, width));
    match *rest.first()? {
        b'J' if is("January") => plain(Chunk::LongMonth, 7),
        b'J' if is("Jan") && !lower_at(3) => plain(Chunk::Month, 3),
        b'M' if is("Monday") => plain(Chunk::LongWeekday, 6),
        b'M' if is("Mon") && !lower_at(3) => plain(Chunk::Weekday, 3),
        b'M' if is("MST") => plain(Chunk::Abbreviation, 3),
        b'0' if is("01") => plain(Chunk::ZeroMonth, 2),
        b'0' if is("02") => plain(Chunk::ZeroDay, 2),
        b'0' if is("03") => plain(Chunk::ZeroHour12, 2),
        b'0' if is("04") => plain(Chunk::ZeroMinute, 2),
        b'0' if is("05") => plain(Chunk::ZeroSecond, 2),
        b'0' if is("06") => plain(Chunk::Year, 2),
        b'0' if is("002") => plain(Chunk::ZeroYearDay, 3),
        b'1' if is("15") => plain(Chunk::Hour, 2),
        b'1' => plain(Chunk::NumMonth, 1),
        b'2' if is("2006") => plain(Chunk::LongYear, 4),
        b'2' => plain(Chunk::Day, 1),
        b'_' if is("_2006") => Some((Chunk::LongYear, 1, 4)),
        b'_' if is("_2") => plain(Chunk::UnderDay, 2),
        b'_' if is("__2") => plain(Chunk::UnderYearDay, 3),
        b'3' => plain(Chunk::Hour12, 1),
        b'4' => plain(Chunk::Minute, 1),
        b'5' => plain(Chunk::Second, 1),
        b'P' if is("PM") => plain(Chunk::UpperPm, 2),
        b'p' if is("pm") => plain(Chunk::LowerPm, 2),
        sign @ (b'-' | b'Z') => {
            let zulu = sign == b'Z';
            let offset = |digits, colon, width| plain(Chunk::Offset { zulu, digits, colon }, width);
            match rest.get(1..)? {
                tail if tail.starts_with(b"070000") => offset(6, false, 7),
                tail if tail.starts_with(b"07:00:00") => offset(6, true, 9),
                tail if tail.starts_with(b"0700") => offset(4, false, 5),
                tail if tail.starts_with(b"07:00") => offset(4, true, 6),
                tail if tail.starts_with(b"07") => offset(2, false, 3),
                _ => None,
            }
        }
        separator @ (b'.' | b',') => {
            let digit = *rest.get(1).filter(|byte| matches!(byte, b'0' | b'9'))?;
            let digits = rest.iter().skip(1).take_while(|byte| **byte == digit).count();
            if rest.get(1 + digits).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            plain(Chunk::Fraction { nines: digit == b'9', digits, separator }, 1 + digits)
        }
        _ => None,
    }
}

/// What [`parse`] has read so far.
#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    pm: Option<bool>,
    utc: bool,
    offset: Option<i32>,
    abbreviation: String,
}

/// `time.ParseInLocation` in the local zone. `None` is any of Go's errors: their texts show the value.
pub(super) fn parse(layout: &[u8], value: &[u8]) -> Option<Time> {
    let mut fields = Fields::default();
    let (mut layout, mut value) = (layout, value);
    loop {
        let Some((before, chunk, after)) = next_chunk(layout) else {
            let rest = skip(value, layout)?;
            if !rest.is_empty() {
                return None;
            }
            break;
        };
        value = skip(value, before)?;
        value = fields.read(chunk, value, after)?;
        layout = after;
    }
    fields.time()
}

/// Skips a literal piece of the layout; runs of blanks match runs of blanks.
fn skip<'v>(mut value: &'v [u8], mut prefix: &[u8]) -> Option<&'v [u8]> {
    let cut = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == b' ').count();
    while let Some(first) = prefix.first() {
        if *first == b' ' {
            if value.first().is_some_and(|byte| *byte != b' ') {
                return None;
            }
            prefix = prefix.get(cut(prefix)..)?;
            value = value.get(cut(value)..)?;
            continue;
        }
        if value.first() != Some(first) {
            return None;
        }
        prefix = prefix.get(1..)?;
        value = value.get(1..)?;
    }
    Some(value)
}

/// One or two digits; `fixed` wants two.
fn number(value: &[u8], fixed: bool) -> Option<(i64, &[u8])> {
    let digit = |at: usize| value.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
    match (digit(0)?, digit(1)) {
        (tens, Some(ones)) => Some((tens * 10 + ones, value.get(2..)?)),
        (ones, None) if !fixed => Some((ones, value.get(1..)?)),
        _ => None,
    }
}

fn number3(value: &[u8], fixed: bool) -> Option<(i64, &[u8])> {
    let digits = value.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || fixed && digits != 3 {
        return None;
    }
    let sum = value.get(..digits)?.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    Some((sum, value.get(digits..)?))
}

fn lookup<'v>(names: &[&str], value: &'v [u8], length: Option<usize>) -> Option<(i64, &'v [u8])> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = name.as_bytes().get(..length.unwrap_or(name.len()))?;
        let head = value.get(..name.len())?;
        head.eq_ignore_ascii_case(name).then_some((index as i64, value.get(name.len()..)?))
    })
}

/// A fraction: separator and digits. Its length in the value, and nanoseconds.
fn fraction(value: &[u8], length: usize) -> Option<u32> {
    let digits = value.get(1..length)?;
    if !matches!(value.first(), Some(b'.' | b',')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut text = digits.get(..digits.len().min(9))?.to_vec();
    text.resize(9, b'0');
    std::str::from_utf8(&text).ok()?.parse().ok()
}

impl Fields {
    fn read<'v>(&mut self, chunk: Chunk, value: &'v [u8], after: &[u8]) -> Option<&'v [u8]> {
        let mut value = value;
        let in_range = |number: i64, max: i64| (0..max).contains(&number).then_some(number);
        match chunk {
            Chunk::Year => {
                let two = value.get(..2)?;
                let (year, _) = number(two, true)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
                value = value.get(2..)?;
            }
            Chunk::LongYear => {
                let four = value.get(..4).filter(|four| four.iter().all(u8::is_ascii_digit))?;
                self.year = four.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
                value = value.get(4..)?;
            }
            Chunk::Month | Chunk::LongMonth => {
                let length = (chunk == Chunk::Month).then_some(3);
                let (month, rest) = lookup(&MONTHS, value, length)?;
                self.month = Some(month + 1);
                value = rest;
            }
            Chunk::NumMonth | Chunk::ZeroMonth => {
                let (month, rest) = number(value, chunk == Chunk::ZeroMonth)?;
                self.month = Some((1..=12).contains(&month).then_some(month)?);
                value = rest;
            }
            Chunk::Weekday | Chunk::LongWeekday => {
                value = lookup(&WEEKDAYS, value, (chunk == Chunk::Weekday).then_some(3))?.1;
            }
            Chunk::Day | Chunk::UnderDay | Chunk::ZeroDay => {
                if chunk == Chunk::UnderDay && value.first() == Some(&b' ') {
                    value = value.get(1..)?;
                }
                let (day, rest) = number(value, chunk == Chunk::ZeroDay)?;
                self.day = Some(day);
                value = rest;
            }
            Chunk::UnderYearDay | Chunk::ZeroYearDay => {
                for _ in 0..2 {
                    if chunk == Chunk::UnderYearDay && value.first() == Some(&b' ') {
                        value = value.get(1..)?;
                    }
                }
                let (day, rest) = number3(value, chunk == Chunk::ZeroYearDay)?;
                self.year_day = Some(day);
                value = rest;
            }
            Chunk::Hour => {
                let (hour, rest) = number(value, false)?;
                self.hour = in_range(hour, 24)?;
                value = rest;
            }
            Chunk::Hour12 | Chunk::ZeroHour12 => {
                let (hour, rest) = number(value, chunk == Chunk::ZeroHour12)?;
                self.hour = in_range(hour, 13)?;
                value = rest;
            }
            Chunk::Minute | Chunk::ZeroMinute => {
                let (minute, rest) = number(value, chunk == Chunk::ZeroMinute)?;
                self.minute = in_range(minute, 60)?;
                value = rest;
            }
            Chunk::Second | Chunk::ZeroSecond => {
                let (second, rest) = number(value, chunk == Chunk::ZeroSecond)?;
                self.second = in_range(second, 60)?;
                value = rest;
                // A fraction may follow although the layout has none.
                let separator = matches!(value.first(), Some(b'.' | b','));
                if separator && value.get(1).is_some_and(u8::is_ascii_digit) {
                    let next = next_chunk(after).map(|(_, chunk, _)| chunk);
                    if !matches!(next, Some(Chunk::Fraction { .. })) {
                        let length = 1 + value.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
                        self.nanos = fraction(value, length)?;
                        value = value.get(length..)?;
                    }
                }
            }
            Chunk::UpperPm | Chunk::LowerPm => {
                let names: [&[u8]; 2] = if chunk == Chunk::UpperPm { [b"AM", b"PM"] } else { [b"am", b"pm"] };
                self.pm = Some(names.iter().position(|name| value.starts_with(name))? == 1);
                value = value.get(2..)?;
            }
            Chunk::Offset { zulu, digits, colon } => value = self.read_offset(zulu, digits, colon, value)?,
            Chunk::Abbreviation => {
                if value.starts_with(b"UTC") {
                    self.utc = true;
                    return value.get(3..);
                }
                let length = abbreviation_length(value)?;
                self.abbreviation = String::from_utf8_lossy(value.get(..length)?).into_owned();
                value = value.get(length..)?;
            }
            Chunk::Fraction { nines: false, digits, .. } => {
                self.nanos = fraction(value, 1 + digits)?;
                value = value.get(1 + digits..)?;
            }
            Chunk::Fraction { .. } => {
                let present =
                    matches!(value.first(), Some(b'.' | b',')) && value.get(1).is_some_and(u8::is_ascii_digit);
                if present {
                    let length = 1 + value.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
                    self.nanos = fraction(value, length)?;
                    value = value.get(length..)?;
                }
            }
        }
        Some(value)
    }

    fn read_offset<'v>(&mut self, zulu: bool, digits: u8, colon: bool, value: &'v [u8]) -> Option<&'v [u8]> {
        if zulu && value.first() == Some(&b'Z') {
            self.utc = true;
            return value.get(1..);
        }
        let sign = match value.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut rest = value.get(1..)?;
        let (mut seconds, caps) = (0, [(3600, 24), (60, 60), (1, 60)]);
        for (index, (unit, cap)) in caps.into_iter().take(usize::from(digits / 2)).enumerate() {
            if colon && index > 0 {
                rest = rest.strip_prefix(b":")?;
            }
            let (part, tail) = number(rest, true)?;
            // Go takes 24 hours and 60 minutes and seconds too.
            if part > cap {
                return None;
            }
            seconds += part * unit;
            rest = tail;
        }
        self.offset = Some(sign * i32::try_from(seconds).ok()?);
        Some(rest)
    }

    fn time(mut self) -> Option<Time> {
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if let Some(year_day) = self.year_day {
            self.resolve_year_day(year_day)?;
        }
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if day < 1 || day > days_in(self.year, month) {
            return None;
        }
        let of_day = self.hour * 3600 + self.minute * 60 + self.second;
        let mut time = Time::date(self.year, month, day, of_day, self.nanos);
        if self.utc {
            return Some(time);
        }
        if let Some(offset) = self.offset {
            time.seconds -= i64::from(offset);
            let local = offset == 0 && (self.abbreviation.is_empty() || self.abbreviation == "UTC");
            time.zone = if local { Zone::Local } else { Zone::Fixed(self.abbreviation.as_str().into(), offset) };
            return Some(time);
        }
        if !self.abbreviation.is_empty() {
            // The local zone knows only UTC; other names get no offset, except GMT+3, whose hours go into the zone but
            // are not taken off the instant.
            let mut offset = 0;
            if let Some(hours) = self.abbreviation.strip_prefix("GMT").filter(|hours| !hours.is_empty()) {
                offset = hours.parse::<i32>().unwrap_or(0) * 3600;
            }
            time.zone = Zone::Fixed(self.abbreviation.as_str().into(), offset);
            return Some(time);
        }
        time.zone = Zone::Local;
        Some(time)
    }

    fn resolve_year_day(&mut self, year_day: i64) -> Option<()> {
        let length = 365 + i64::from(is_leap(self.year));
        if !(1..=length).contains(&year_day) {
            return None;
        }
        let (_, month, day) = civil_from_days(days_from_civil(self.year, 1, 1) + year_day - 1);
        if self.month.is_some_and(|known| known != month) || self.day.is_some_and(|known| known != day) {
            return None;
        }
        self.month = Some(month);
        self.day = Some(day);
        Some(())
    }
}

/// Length of a zone abbreviation at the start of `value`.
fn abbreviation_length(value: &[u8]) -> Option<usize> {
    let signed_hours = |value: &[u8]| -> usize {
        let sign = matches!(value.first(), Some(b'+' | b'-'));
        let digits = value.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        let number = value
            .get(1..1 + digits)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<i64>().ok());
        match number {
            Some(number) if sign && digits > 0 && number <= 23 => 1 + digits,
            _ => 0,
        }
    };
    if value.len() < 3 {
        return None;
    }
    if value.starts_with(b"ChST") || value.starts_with(b"MeST") {
        return Some(4);
    }
    if value.starts_with(b"GMT") {
        return Some(3 + signed_hours(value.get(3..)?));
    }
    if matches!(value.first(), Some(b'+' | b'-')) {
        let length = signed_hours(value);
        return (length > 0).then_some(length);
    }
    let upper = value.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
    match upper {
        5 => (value.get(4) == Some(&b'T')).then_some(5),
        4 => (value.get(3) == Some(&b'T') || value.starts_with(b"WITA")).then_some(4),
        3 => Some(3),
        _ => None,
    }
}

/// `Duration.String`.
pub(super) fn duration_text(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let scaled = |unit: u64, name: &str| {
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        let digits = unit.to_string().len() - 1;
        let fraction = format!("{rest:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if rest == 0 { format!("{sign}{whole}{name}") } else { format!("{sign}{whole}.{fraction}{name}") }
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => scaled(1_000, "µs"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "ms"),
        _ => {
            let (total, rest) = (magnitude / 1_000_000_000, magnitude % 1_000_000_000);
            let mut text = sign.to_owned();
            let (hours, minutes) = (total / 3600, total / 60 % 60);
            if hours > 0 {
                text.push_str(&format!("{hours}h"));
            }
            if total >= 60 {
                text.push_str(&format!("{minutes}m"));
            }
            text.push_str(&(total % 60).to_string());
            if rest > 0 {
                let fraction = format!("{rest:09}");
                text.push('.');
                text.push_str(fraction.trim_end_matches('0'));
            }
            text.push('s');
            text
        }
    }
}
