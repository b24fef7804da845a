//! Numbers as text, by the rules of Go's `strconv`.

/// Why a text is no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberError {
    /// "invalid syntax"
    Syntax,
    /// "value out of range"
    Range,
}

/// Whether underscores stand only between digits (or between a base prefix and a digit).
fn underscores_ok(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let (mut last, mut hex, mut rest) = (b'^', false, unsigned);
    if let [b'0', prefix, tail @ ..] = unsigned
        && matches!(prefix.to_ascii_lowercase(), b'b' | b'o' | b'x')
    {
        rest = tail;
        last = b'0';
        hex = prefix.eq_ignore_ascii_case(&b'x');
    }
    for byte in rest {
        if byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit() {
            last = b'0';
        } else if *byte == b'_' {
            if last != b'0' {
                return false;
            }
            last = b'_';
        } else {
            if last == b'_' {
                return false;
            }
            last = b'!';
        }
    }
    last != b'_'
}

/// `strconv.ParseUint(text, base, 64)`; base 0 reads prefixes and underscores.
pub(super) fn parse_uint(text: &[u8], base: u32) -> Result<u64, NumberError> {
    if text.is_empty() {
        return Err(NumberError::Syntax);
    }
    let (mut radix, mut digits) = (base, text);
    if base == 0 {
        (radix, digits) = match text {
            [b'0', b'x' | b'X', tail @ ..] if !tail.is_empty() => (16, tail),
            [b'0', b'b' | b'B', tail @ ..] if !tail.is_empty() => (2, tail),
            [b'0', b'o' | b'O', tail @ ..] if !tail.is_empty() => (8, tail),
            [b'0', tail @ ..] => (8, tail),
            _ => (10, text),
        };
    }
    let (mut value, mut underscores, mut overflow) = (0u64, false, false);
    for byte in digits {
        if *byte == b'_' && base == 0 {
            underscores = true;
            continue;
        }
        let digit = (*byte as char).to_digit(radix).ok_or(NumberError::Syntax)?;
        match value.checked_mul(u64::from(radix)).and_then(|value| value.checked_add(u64::from(digit))) {
            Some(next) => value = next,
            // Go stops at the first overflow without reading on.
            None => {
                overflow = true;
                break;
            }
        }
    }
    if overflow {
        return Err(NumberError::Range);
    }
    if underscores && !underscores_ok(text) {
        return Err(NumberError::Syntax);
    }
    Ok(value)
}

/// `strconv.ParseInt(text, base, 64)`.
pub(super) fn parse_int(text: &[u8], base: u32) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [b'-', tail @ ..] => (true, tail),
        [b'+', tail @ ..] => (false, tail),
        _ => (false, text),
    };
    let value = parse_uint(digits, base)?;
    if negative {
        if value > 1 << 63 { Err(NumberError::Range) } else { Ok((value as i64).wrapping_neg()) }
    } else {
        i64::try_from(value).map_err(|_| NumberError::Range)
    }
}

/// `strconv.ParseFloat(text, 64)`.
pub(super) fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    if text.contains(&b'_') && !underscores_ok(text) {
        return Err(NumberError::Syntax);
    }
    let clean: Vec<u8> = unsigned.iter().copied().filter(|byte| *byte != b'_').collect();
    let value = match clean.as_slice() {
        [b'0', b'x' | b'X', tail @ ..] => parse_hex_float(tail)?,
        plain if plain.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) => {
            let text = std::str::from_utf8(plain).map_err(|_| NumberError::Syntax)?;
            // The sign is taken off already: a second one is Rust's leniency.
            if text.starts_with(['+', '-']) {
                return Err(NumberError::Syntax);
            }
            text.parse::<f64>().map_err(|_| NumberError::Syntax)?
        }
        _ => return Err(NumberError::Syntax),
    };
    if value.is_infinite() { Err(NumberError::Range) } else { Ok(sign * value) }
}

/// The part after `0x`: mantissa, `p`, binary exponent. Mantissas above 64 bits round to odd, which keeps the result
/// correctly rounded.
fn parse_hex_float(text: &[u8]) -> Result<f64, NumberError> {
    let split = text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'p')).ok_or(NumberError::Syntax)?;
    let (mantissa, exponent) = (text.get(..split).unwrap_or_default(), text.get(split + 1..).unwrap_or_default());
    let digits_of = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
    if digits_of.is_empty() || !digits_of.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Syntax);
    }
    let exponent = parse_int(exponent, 10).unwrap_or(i64::MAX).clamp(-100_000, 100_000);
    let (mut value, mut shift, mut seen_dot, mut any) = (0u64, 0i64, false, false);
    for byte in mantissa {
        if *byte == b'.' {
            if seen_dot {
                return Err(NumberError::Syntax);
            }
            seen_dot = true;
            continue;
        }
        let digit = u64::from((*byte as char).to_digit(16).ok_or(NumberError::Syntax)?);
        any = true;
        if value >> 58 == 0 {
            value = value << 4 | digit;
            shift -= if seen_dot { 4 } else { 0 };
        } else {
            value |= u64::from(digit != 0);
            shift += if seen_dot { 0 } else { 4 };
        }
    }
    if !any {
        return Err(NumberError::Syntax);
    }
    let mut result = value as f64;
    let mut power = exponent + shift;
    // Two steps, so that a subnormal result is rounded once, at the last multiplication.
    while power > 1000 && result.is_finite() && result != 0.0 {
        result *= 2f64.powi(1000);
        power -= 1000;
    }
    while power < -1000 && result != 0.0 {
        result *= 2f64.powi(-1000);
        power += 1000;
    }
    Ok(result * 2f64.powi(i32::try_from(power).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_go() {
        for (text, base, want) in [
            ("0x10", 0, Ok(16)),
            ("08", 0, Err(NumberError::Syntax)),
            ("017", 0, Ok(15)),
            ("0b11", 0, Ok(3)),
            ("1_000", 0, Ok(1000)),
            ("1__0", 0, Err(NumberError::Syntax)),
            ("1_000", 10, Err(NumberError::Syntax)),
            ("-9223372036854775808", 10, Ok(i64::MIN)),
            ("9223372036854775808", 10, Err(NumberError::Range)),
            ("", 10, Err(NumberError::Syntax)),
        ] {
            assert_eq!(parse_int(text.as_bytes(), base), want, "{text}");
        }
    }

    #[test]
    fn floats_follow_go() {
        assert_eq!(parse_float(b"1e400"), Err(NumberError::Range));
        assert_eq!(parse_float(b"0x1.8p1"), Ok(3.0));
        assert_eq!(parse_float(b"-.5"), Ok(-0.5));
        assert_eq!(parse_float(b"1x"), Err(NumberError::Syntax));
        assert_eq!(parse_float(b"--1"), Err(NumberError::Syntax));
        assert_eq!(parse_float(b""), Err(NumberError::Syntax));
    }
}
