//! Durations as text: as Go writes them, and as the schemas of Kubernetes' kinds admit them.

use std::time::Duration;

/// Why a text is none of Go's durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Not of the form, or longer than 64 bits of nanoseconds.
    Invalid,
    /// A number without a unit.
    NoUnit,
    /// A unit that nobody knows.
    UnknownUnit(Vec<u8>),
}

/// `time.ParseDuration`, in nanoseconds: `1h30m`, `-5s`, `0`.
///
/// # Errors
/// As Go tells them apart.
pub fn of_go(text: &[u8]) -> Result<i64, DurationError> {
    const INVALID: DurationError = DurationError::Invalid;
    let (negative, mut rest) = match text {
        [b'-', tail @ ..] => (true, tail),
        [b'+', tail @ ..] => (false, tail),
        _ => (false, text),
    };
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(INVALID);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (mut whole, mut fraction, mut scale, mut digits, mut overflow) = (0u64, 0u64, 1f64, 0usize, false);
        while let Some(byte) = rest.first().filter(|byte| byte.is_ascii_digit()) {
            let next = whole.checked_mul(10).and_then(|whole| whole.checked_add(u64::from(byte - b'0')));
            whole = next.filter(|whole| *whole <= 1 << 63).ok_or(INVALID)?;
            digits += 1;
            rest = rest.get(1..).unwrap_or_default();
        }
        if rest.first() == Some(&b'.') {
            rest = rest.get(1..).unwrap_or_default();
            while let Some(byte) = rest.first().filter(|byte| byte.is_ascii_digit()) {
                let next = fraction.checked_mul(10).and_then(|fraction| fraction.checked_add(u64::from(byte - b'0')));
                match next.filter(|next| !overflow && *next <= 1 << 63) {
                    Some(next) => {
                        fraction = next;
                        scale *= 10.0;
                    }
                    None => overflow = true,
                }
                digits += 1;
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        if digits == 0 {
            return Err(INVALID);
        }
        let length = rest.iter().take_while(|byte| **byte != b'.' && !byte.is_ascii_digit()).count();
        let unit: u64 = match rest.get(..length).unwrap_or_default() {
            b"" => return Err(DurationError::NoUnit),
            b"ns" => 1,
            b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
            b"ms" => 1_000_000,
            b"s" => 1_000_000_000,
            b"m" => 60_000_000_000,
            b"h" => 3_600_000_000_000,
            other => return Err(DurationError::UnknownUnit(other.to_vec())),
        };
        rest = rest.get(length..).unwrap_or_default();
        let part = whole.checked_mul(unit).filter(|part| *part <= 1 << 63).ok_or(INVALID)?;
        let part = part.checked_add((fraction as f64 * (unit as f64 / scale)) as u64).ok_or(INVALID)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63).ok_or(INVALID)?;
    }
    if negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| INVALID)
}

/// A duration as the schemas of our own kinds admit it, which are Flux's. `None` for anything else.
pub fn of_schema(text: &str) -> Option<Duration> {
    let parsed: kube::core::Duration = text.parse().ok()?;
    (!parsed.is_negative()).then(|| parsed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_go_reads_them() {
        const S: i64 = 1_000_000_000;
        for (text, want) in [
            ("1h0m0s", Some(3600 * S)),
            ("90s", Some(90 * S)),
            ("1.5h", Some(5400 * S)),
            ("-5s", Some(-5 * S)),
            ("+5s", Some(5 * S)),
            ("0", Some(0)),
            ("0s", Some(0)),
            (".5s", Some(S / 2)),
            ("1us", Some(1_000)),
            ("1µs2ns", Some(1_002)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1d", None),
            ("1..2s", None),
            (".s", None),
            ("99999999999999999h", None),
            ("9999999999999999999999h", None),
            ("1h m", None),
            ("9223372036.854775807s", Some(i64::MAX)),
            ("9223372036.854775808s", None),
            ("-9223372036.854775808s", Some(i64::MIN)),
        ] {
            assert_eq!(of_go(text.as_bytes()).ok(), want, "{text:?}");
        }
    }
}
