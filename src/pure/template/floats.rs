//! Floats as text, by the rules of Go's `strconv.FormatFloat`.

/// No float has more digits behind its point, nor more significant ones: zeros follow. The formatter of the standard
/// library panics above 65535.
const EXACT_DIGITS: usize = 1074;

/// `strconv.FormatFloat(value, verb, precision, 64)`; no precision asks for the fewest digits that read back the same.
pub(super) fn format(value: f64, verb: u8, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let body = match verb {
        b'b' => binary(magnitude),
        b'x' | b'X' => hexadecimal(magnitude, verb, precision),
        b'f' => match precision {
            Some(precision) => {
                let written = precision.min(EXACT_DIGITS);
                let zeros = "0".repeat(precision - written);
                format!("{magnitude:.written$}{zeros}")
            }
            None => format!("{magnitude}"),
        },
        b'e' | b'E' => {
            let (digits, exponent) = digits(magnitude, precision.map(|precision| precision + 1));
            exponential(&digits, exponent, verb)
        }
        _ => general(magnitude, verb, precision),
    };
    format!("{sign}{body}")
}

/// Decimal digits and the exponent of the first: `count` digits, or the fewest that identify the value.
fn digits(value: f64, count: Option<usize>) -> (String, i32) {
    let text = match count {
        Some(count) => format!("{value:.*e}", count.saturating_sub(1).min(EXACT_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits = mantissa.replace('.', "");
    let missing = count.unwrap_or(0).saturating_sub(digits.len());
    digits.push_str(&"0".repeat(missing));
    (digits, exponent.parse().unwrap_or(0))
}

fn exponential(digits: &str, exponent: i32, verb: u8) -> String {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    let dot = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{dot}{rest}{}{sign}{:02}", verb as char, exponent.abs())
}

/// `%g`: exponential below 1e-4 and from the precision on, which counts as 6 when it is free.
fn general(value: f64, verb: u8, precision: Option<usize>) -> String {
    let precision_digits = precision.map(|precision| precision.max(1));
    let (all, exponent) = digits(value, precision_digits);
    let trimmed = all.trim_end_matches('0');
    let mut digits = if trimmed.is_empty() { "0" } else { trimmed }.to_owned();
    let mut limit = match precision_digits {
        None => 6,
        Some(precision) => i32::try_from(precision).unwrap_or(i32::MAX),
    };
    let count = if value == 0.0 { 0 } else { i32::try_from(digits.len()).unwrap_or(i32::MAX) };
    if limit > count && count > exponent {
        limit = count;
    }
    if precision.is_none() {
        limit = 6;
    }
    if exponent < -4 || exponent >= limit {
        return exponential(&digits, exponent, if verb == b'G' { b'E' } else { b'e' });
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent + 1).unwrap_or(1);
    if digits.len() <= whole {
        digits.push_str(&"0".repeat(whole - digits.len()));
        return digits;
    }
    let (integer, fraction) = digits.split_at(whole);
    format!("{integer}.{fraction}")
}

/// Mantissa and exponent of two: value = mantissa * 2^exponent.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) }
}

fn binary(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    format!("{mantissa}p{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn hexadecimal(value: f64, verb: u8, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // Normalised to 1.xxx with 60 bits of fraction.
        exponent += 60;
        while mantissa & 1 << 60 == 0 {
            mantissa <<= 1;
            exponent -= 1;
        }
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = (precision * 4) as u32;
        let extra = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        // Round half to even.
        if extra | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa & 1 << 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut out = format!("0x{}", mantissa >> 60 & 1);
    let mut fraction = mantissa << 4;
    let mut digits = String::new();
    while fraction != 0 && precision.is_none() || digits.len() < precision.unwrap_or(0) {
        digits.push(char::from_digit((fraction >> 60) as u32, 16).unwrap_or('0'));
        fraction <<= 4;
    }
    if !digits.is_empty() {
        out.push('.');
        out.push_str(&digits);
    }
    out.push('p');
    out.push(if exponent < 0 { '-' } else { '+' });
    out.push_str(&format!("{:02}", exponent.abs()));
    if verb == b'X' { out.to_uppercase() } else { out }
}

#[cfg(test)]
mod tests {
    use super::{EXACT_DIGITS, format};

    #[test]
    fn shortest_and_fixed_forms_follow_go() {
        for (value, verb, precision, want) in [
            (1e6, b'g', None, "1e+06"),
            (1e20, b'g', None, "1e+20"),
            (123_456_789.0, b'g', None, "1.23456789e+08"),
            (100_000.0, b'g', None, "100000"),
            (0.000_012_3, b'g', None, "1.23e-05"),
            (2.5, b'f', Some(0), "2"),
            (1.0, b'e', Some(6), "1.000000e+00"),
            (1234.5678, b'g', Some(3), "1.23e+03"),
            (100.0, b'g', Some(3), "100"),
            (0.0, b'g', None, "0"),
            (-0.0, b'g', None, "-0"),
            (3.0, b'x', None, "0x1.8p+01"),
            (1.0, b'b', None, "4503599627370496p-52"),
        ] {
            assert_eq!(format(value, verb, precision), want);
        }
    }

    #[test]
    fn precision_beyond_all_digits_is_zeros() {
        for precision in [1075, 65_536, 1_000_000] {
            assert_eq!(format(0.5, b'f', Some(precision)), format!("0.5{}", "0".repeat(precision - 1)));
            assert_eq!(format(0.5, b'e', Some(precision)), format!("5.{}e-01", "0".repeat(precision)));
            assert_eq!(format(0.5, b'g', Some(precision)), "0.5");
        }
        let smallest = format(5e-324, b'f', Some(EXACT_DIGITS + 1));
        assert!(smallest.ends_with("6250"), "every digit of the smallest float");
    }
}
