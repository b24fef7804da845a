//! Numbers as Go prints and reads them.

/// `strconv.FormatFloat(value, 'f', -1, 64)`: shortest digits that read back to the same value, never an exponent.
/// This is what SOPS encrypts and hashes for a float.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{value}")
    }
}

/// `strconv.FormatFloat(value, 'g', -1, 64)`, which Go's YAML writer uses: an exponent of at least two digits when it is
/// below -4 or at least 6 (one million is `1e+06`).
pub(super) fn float_general(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return float_text(value);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return float_text(value);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `encoding/json`'s form of a float: like [`float_general`] but small exponents without a leading zero.
pub(super) fn float_json(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        return Some(format!("{digits}e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs()));
    }
    Some(float_text(value))
}

/// `strconv.ParseInt(text, 0, 64)` without underscores: decimal, `0x`, `0o`, `0b`, and a leading zero for octal.
/// `Err` carries the unsigned value when only the sign bit is missing.
pub fn parse_int(text: &str) -> Result<i64, Option<u64>> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, digits.get(2..).unwrap_or_default()),
        Some("0o") => (8, digits.get(2..).unwrap_or_default()),
        Some("0b") => (2, digits.get(2..).unwrap_or_default()),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..).unwrap_or_default()),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(None);
    }
    let value = u64::from_str_radix(digits, radix).map_err(|_| None)?;
    if negative {
        return 0i64.checked_sub_unsigned(value).ok_or(None);
    }
    // ParseUint takes no plus sign.
    i64::try_from(value).map_err(|_| if text.starts_with('+') { None } else { Some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        for (value, plain, general, json) in [
            (1.0, "1", "1", "1"),
            (1.5, "1.5", "1.5", "1.5"),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (123456.5, "123456.5", "123456.5", "123456.5"),
            (1e6, "1000000", "1e+06", "1000000"),
            (1e20, "100000000000000000000", "1e+20", "100000000000000000000"),
            (1.5e-7, "0.00000015", "1.5e-07", "1.5e-7"),
            (0.0001, "0.0001", "0.0001", "0.0001"),
            (0.00001, "0.00001", "1e-05", "0.00001"),
            (-0.0, "-0", "-0", "-0"),
        ] {
            assert_eq!(float_text(value), plain);
            assert_eq!(float_general(value), general, "{value}");
            assert_eq!(float_json(value).as_deref(), Some(json));
        }
        assert_eq!(float_text(f64::NEG_INFINITY), "-Inf");
        assert_eq!(float_json(f64::NAN), None);
    }

    #[test]
    fn integers_read_as_go_reads_them() {
        for (text, value) in [
            ("0", Ok(0)),
            ("0755", Ok(493)),
            ("0o755", Ok(493)),
            ("-0xFF", Ok(-255)),
            ("0b11", Ok(3)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Some(1 << 63))),
            ("+9223372036854775808", Err(None)),
            ("08", Err(None)),
            ("", Err(None)),
            ("--1", Err(None)),
            ("0x", Err(None)),
            ("1e3", Err(None)),
            ("18446744073709551616", Err(None)),
        ] {
            assert_eq!(parse_int(text), value, "{text}");
        }
    }
}
