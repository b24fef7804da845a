//! Durations as text: as Go writes them, and as the schemas of Kubernetes' kinds admit them.

use std::time::Duration;

/// `time.ParseDuration`, in nanoseconds: `1h30m`, `-5s`, `0`. `None` is any of Go's errors.
pub fn of_go(text: &[u8]) -> Option<i64> {
    let (negative, mut rest) = match text {
        [b'-', tail @ ..] => (true, tail),
        [b'+', tail @ ..] => (false, tail),
        _ => (false, text),
    };
    if rest == b"0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (mut whole, mut fraction, mut scale, mut digits, mut overflow) = (0u64, 0u64, 1f64, 0usize, false);
        while let Some(byte) = rest.first().filter(|byte| byte.is_ascii_digit()) {
            whole = whole.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
            if whole > 1 << 63 {
                return None;
            }
            digits += 1;
            rest = rest.get(1..)?;
        }
        if rest.first() == Some(&b'.') {
            rest = rest.get(1..)?;
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
                rest = rest.get(1..)?;
            }
        }
        if digits == 0 {
            return None;
        }
        let length = rest.iter().take_while(|byte| **byte != b'.' && !byte.is_ascii_digit()).count();
        let unit: u64 = match rest.get(..length)? {
            b"ns" => 1,
            b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
            b"ms" => 1_000_000,
            b"s" => 1_000_000_000,
            b"m" => 60_000_000_000,
            b"h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = rest.get(length..)?;
        let part = whole.checked_mul(unit).filter(|part| *part <= 1 << 63)?;
        let part = part.checked_add((fraction as f64 * (unit as f64 / scale)) as u64)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63)?;
    }
    if negative {
        return Some((total as i64).wrapping_neg());
    }
    i64::try_from(total).ok()
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
        ] {
            assert_eq!(of_go(text.as_bytes()), want, "{text:?}");
        }
    }
}
