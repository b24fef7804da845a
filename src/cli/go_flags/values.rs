//! Values of flags as Go's programs read them. What is wrong is said in the words of Go's library: a script may read them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::pure::duration::{DurationError, of_go};
use crate::pure::template::quoted;

/// A truth value.
pub fn boolean(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(text.as_bytes())))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number in any of Go's bases: `10`, `0x10`, `0b1`, `0o7`, `07`, `1_000`.
pub fn whole(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let wrong = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quoted(text.as_bytes()));
    let (digits, base) = digits(rest).ok_or_else(|| wrong("invalid syntax"))?;
    let number = i128::from_str_radix(&digits, base).map_err(|_| wrong("value out of range"))?;
    i64::try_from(if negative { -number } else { number }).map_err(|_| wrong("value out of range"))
}

/// The same, with what is below zero as zero.
pub fn count<T: TryFrom<i64>>(text: &str) -> Result<T, String> {
    let out_of_range = || format!("strconv.ParseInt: parsing {}: value out of range", quoted(text.as_bytes()));
    T::try_from(whole(text)?.max(0)).map_err(|_| out_of_range())
}

/// A number of 32 bits with a point, in tens or, as `0x1.8p3`, in sixteens with a power of two.
pub fn float(text: &str) -> Result<f32, String> {
    let wrong = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", quoted(text.as_bytes()));
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let word =
        ["inf", "infinity"].iter().any(|word| rest.eq_ignore_ascii_case(word)) || text.eq_ignore_ascii_case("nan");
    if !word && (!rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !marks_stand_right(rest)) {
        return Err(wrong("invalid syntax"));
    }
    let plain = rest.replace('_', "").to_ascii_lowercase();
    let number = match plain.strip_prefix("0x") {
        Some(sixteens) => power_of_two(sixteens),
        None => plain.parse().ok(),
    };
    let number: f32 = number.ok_or_else(|| wrong("invalid syntax"))?;
    if !word && number.is_infinite() {
        return Err(wrong("value out of range"));
    }
    Ok(if text.starts_with('-') { -number } else { number })
}

/// Whether each mark stands between two digits, or between base and digit.
fn marks_stand_right(text: &str) -> bool {
    let is_based = text.starts_with("0x") || text.starts_with("0X");
    let is_digit =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || is_based && byte.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    (0..bytes.len()).filter(|at| bytes.get(*at) == Some(&b'_')).all(|at| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        (is_digit(before) || is_based && at == 2) && is_digit(bytes.get(at + 1))
    })
}

/// The number of `1.8p3`, whose digits are sixteens.
fn power_of_two(text: &str) -> Option<f32> {
    let (digits, power) = text.split_once('p')?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let unsigned = power.strip_prefix(['-', '+']).unwrap_or(power);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) || whole.len() + part.len() == 0 {
        return None;
    }
    let mut number = 0.0_f64;
    for digit in whole.chars().chain(part.chars()) {
        number = number * 16.0 + f64::from(digit.to_digit(16)?);
    }
    // What has more digits than a number of 32 bits can have overflows in either direction anyway.
    let far = if power.starts_with('-') { -5000 } else { 5000 };
    let power = power.parse().unwrap_or(far).clamp(-5000, 5000);
    let places = i32::try_from(part.len()).ok()?.checked_mul(4)?;
    // In two steps, since the power alone may be out of range where the number is not.
    let power = power - places;
    let number = number * 2.0_f64.powi(power / 2) * 2.0_f64.powi(power - power / 2);
    #[allow(clippy::cast_possible_truncation, reason = "what is too large becomes infinite, which is looked at")]
    Some(number as f32)
}

/// The digits without their base and the marks between them; `None` where it is no number.
fn digits(text: &str) -> Option<(String, u32)> {
    let lower = text.to_ascii_lowercase();
    let (digits, base, is_marked) = match lower.as_bytes() {
        [b'0', b'x', ..] => (lower.get(2..)?, 16, true),
        [b'0', b'o', ..] => (lower.get(2..)?, 8, true),
        [b'0', b'b', ..] => (lower.get(2..)?, 2, true),
        [b'0', _, ..] => (lower.get(1..)?, 8, true),
        _ => (lower.as_str(), 10, false),
    };
    // A mark stands between digits, or between base and digits.
    let misplaced = digits.ends_with('_') || digits.contains("__") || digits.starts_with('_') && !is_marked;
    let digits = digits.replace('_', "");
    (!misplaced && !digits.is_empty() && digits.chars().all(|c| c.is_digit(base))).then_some((digits, base))
}

/// A duration (`720h`, `1h30m`, `1.5s`, `0`); negative ones count as zero, which turns a period off.
pub fn duration(text: &str) -> Result<Duration, String> {
    let shown = quoted(text.as_bytes());
    let nanos = of_go(text.as_bytes()).map_err(|error| match error {
        DurationError::Invalid => format!("time: invalid duration {shown}"),
        DurationError::NoUnit => format!("time: missing unit in duration {shown}"),
        DurationError::UnknownUnit(unit) => {
            format!("time: unknown unit {} in duration {shown}", quoted(&unit))
        }
    })?;
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()))
}

/// A path, which may be empty and need not be UTF-8.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|text: OsString| PathBuf::from(text))
}

/// The logging flags of Go's programs. They have no effect here, but a wrong value is refused as there: a script that has one
/// has a mistake in it.
pub mod klog {
    use super::{digits, quoted, truth};

    /// A level of `-v`.
    pub fn level(text: &str) -> Result<String, String> {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let wrong = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quoted(text.as_bytes()));
        match text.parse::<i32>() {
            Ok(_) => Ok(text.to_owned()),
            Err(error) if matches!(error.kind(), PosOverflow | NegOverflow) => Err(wrong("value out of range")),
            Err(_) => Err(wrong("invalid syntax")),
        }
    }

    pub fn boolean(text: &str) -> Result<String, String> {
        checked(text, truth(text).is_some(), "parse error")
    }

    /// A severity, by name or number.
    pub fn severity(text: &str) -> Result<String, String> {
        let named = ["INFO", "WARNING", "ERROR", "FATAL"].iter().any(|name| name.eq_ignore_ascii_case(text));
        if named { Ok(text.to_owned()) } else { level(text) }
    }

    /// `pattern=level`, any number of them with commas between.
    pub fn modules(text: &str) -> Result<String, String> {
        for module in text.split(',').filter(|module| !module.is_empty()) {
            let pair = module.split_once('=').filter(|(name, level)| !name.is_empty() && !level.contains('='));
            let (_, level) = pair.ok_or("syntax error: expect comma-separated list of filename=N")?;
            if level.parse::<i32>().is_ok_and(|level| level < 0) {
                return Err("negative value for vmodule level".into());
            }
            checked(level, level.parse::<i32>().is_ok(), "syntax error: expect comma-separated list of filename=N")?;
        }
        Ok(text.to_owned())
    }

    /// Megabytes, in any of Go's bases.
    pub fn size(text: &str) -> Result<String, String> {
        let fits = digits(text).is_some_and(|(digits, base)| u64::from_str_radix(&digits, base).is_ok());
        checked(text, fits, "parse error")
    }

    /// `file.go:line`, or nothing.
    pub fn place(text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Ok(String::new());
        }
        const SYNTAX: &str = "syntax error: expect file.go:234";
        let (file, line) = text.split_once(':').filter(|(_, line)| !line.contains(':')).ok_or(SYNTAX)?;
        checked(text, file.contains('.'), SYNTAX)?;
        match line.parse::<i32>() {
            Ok(1..) => Ok(text.to_owned()),
            Ok(_) => Err("negative or zero value for level".into()),
            Err(_) => Err(SYNTAX.into()),
        }
    }

    fn checked(text: &str, is_right: bool, what: &str) -> Result<String, String> {
        if is_right { Ok(text.to_owned()) } else { Err(what.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_gos() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "tRUE", "2"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_gos() {
        for (text, number) in
            [("10", 10), ("-5", -5), ("+5", 5), ("0x10", 16), ("010", 8), ("0b11", 3), ("1_000", 1000)]
        {
            assert_eq!(whole(text), Ok(number), "{text}");
        }
        for text in ["", "x", "08", "1__0", "_1", "1_", "0x", "1.5", "--1"] {
            assert!(whole(text).is_err_and(|why| why.ends_with("invalid syntax")), "{text}");
        }
        assert!(whole("99999999999999999999").is_err_and(|why| why.ends_with("value out of range")));
        assert!(count::<u32>("-1") == Ok(0) && count::<u32>("5000000000").is_err());
        assert!(float("1e3").is_ok() && float("-1").is_ok() && float("x").is_err() && float("1e50").is_err());
        for (text, number) in [
            ("1_0", 10.0),
            ("0x1p3", 8.0),
            ("-0X1.8P1", -3.0),
            ("0x_1p3", 8.0),
            ("0x1p3_0", 1_073_741_824.0),
            ("0x.8p1", 1.0),
            ("0x1p-2000", 0.0),
            ("+.5", 0.5),
            ("-Infinity", f32::NEG_INFINITY),
        ] {
            assert_eq!(float(text), Ok(number), "{text}");
        }
        assert!(float("NaN").is_ok_and(f32::is_nan));
        for text in
            ["", " 1", "0x10", "0x.p1", "0x1p", "0x1p+-1", "1__0", "_1", "1_", "1_.5", "+nan", "--1", "1p3", "0b1"]
        {
            assert!(float(text).is_err_and(|why| why.ends_with("invalid syntax")), "{text}");
        }
        for text in ["0x1p200", "0x1p99999999999", "-1e50"] {
            assert!(float(text).is_err_and(|why| why.ends_with("value out of range")), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in
            [("720h", 2_592_000.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0), ("100ms", 0.1), ("-1h", 0.0)]
        {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "5", "1d", "h", "1h2", "x", "99999999h", ".s", "9223372036.854775808s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("9223372036.854775807s"), Ok(Duration::from_nanos(i64::MAX.unsigned_abs())));
        for text in ["1..5s", "-1.5.5s"] {
            assert_eq!(duration(text), Err(format!("time: missing unit in duration \"{text}\"")));
        }
    }
}
