//! Values of flags as Go's programs read them. What is wrong is said in the words of Go's library: a script may read them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// A truth value.
pub fn boolean(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(text)))
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
    let wrong = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quoted(text));
    let (digits, base) = digits(rest).ok_or_else(|| wrong("invalid syntax"))?;
    let number = i128::from_str_radix(&digits, base).map_err(|_| wrong("value out of range"))?;
    i64::try_from(if negative { -number } else { number }).map_err(|_| wrong("value out of range"))
}

/// The same, with what is below zero as zero.
pub fn count<T: TryFrom<i64>>(text: &str) -> Result<T, String> {
    let out_of_range = || format!("strconv.ParseInt: parsing {}: value out of range", quoted(text));
    T::try_from(whole(text)?.max(0)).map_err(|_| out_of_range())
}

/// A number of 32 bits with a point.
pub fn float(text: &str) -> Result<f32, String> {
    let wrong = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", quoted(text));
    let number: f32 = text.parse().map_err(|_| wrong("invalid syntax"))?;
    let is_finite = !text.contains(|c: char| c.is_ascii_digit()) || number.is_finite();
    if is_finite { Ok(number) } else { Err(wrong("value out of range")) }
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
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let wrong = || format!("time: invalid duration {}", quoted(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted(text)));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(text)));
        };
        seconds += number * factor;
        rest = after;
    }
    // Go's are nanoseconds in 64 bits.
    if seconds > 9_223_372_036.8 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(if negative { 0.0 } else { seconds }).map_err(|_| wrong())
}

/// A path, which may be empty and need not be UTF-8.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|text: OsString| PathBuf::from(text))
}

/// Text in quotes, as Go writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The logging flags of Go's programs. They have no effect here, but a wrong value is refused as there: a script that has one
/// has a mistake in it.
pub mod klog {
    use super::{digits, truth};

    /// A level of `-v`.
    pub fn level(text: &str) -> Result<String, String> {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let wrong = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", super::quoted(text));
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
    }

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in
            [("720h", 2_592_000.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0), ("100ms", 0.1), ("-1h", 0.0)]
        {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "5", "1d", "h", "1h2", "x", "99999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
