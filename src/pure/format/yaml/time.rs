//! Timestamps as Go's yaml.v3 takes them, kept as the text that Go writes for them.

use jiff::civil::{Date, Time};

/// Reads what yaml.v3 takes for a timestamp and gives RFC 3339 with as many fraction digits as needed, the offset kept.
/// `None` when it is none.
pub fn canonical(text: &str) -> Option<String> {
    if text.len() < 8
        || !text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        || text.as_bytes().get(4) != Some(&b'-')
    {
        return None;
    }
    let (date, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, Some((text.as_bytes().get(at).copied()?, text.get(at + 1..)?))),
        None => (text, None),
    };
    let date = read_date(date)?;
    let Some((separator, clock)) = clock else { return Some(format!("{date}T00:00:00Z")) };
    let zone_at = clock.find(['Z', '+', '-']);
    let (clock, zone) = match zone_at {
        Some(at) if separator != b' ' => (clock.get(..at)?, read_zone(clock.get(at..)?)?),
        None if separator == b' ' => (clock, "Z".into()),
        _ => return None,
    };
    let (seconds, fraction) = read_clock(clock)?;
    Some(format!("{date}T{seconds}{fraction}{zone}"))
}

/// The same instant and offset without a fraction: what SOPS authenticates its MAC with. `None` when `text` is not
/// RFC 3339.
pub fn rfc3339_seconds(text: &str) -> Option<String> {
    let full = canonical(text).filter(|_| text.contains(['T', 't']))?;
    let Some(at) = full.find('.') else { return Some(full) };
    let zone = full.get(at..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(format!("{}{zone}", full.get(..at)?))
}

fn read_date(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let year = parts.next().filter(|part| part.len() == 4)?.parse().ok()?;
    let month = short_number(parts.next()?)?;
    let day = short_number(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some(date.strftime("%Y-%m-%d").to_string())
}

/// `h:m:s` and the fraction with its point, trailing zeros cut.
fn read_clock(text: &str) -> Option<(String, String)> {
    let (clock, fraction) = match text.split_once(['.', ',']) {
        Some((clock, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => (clock, digits),
        Some(_) => return None,
        None => (text, ""),
    };
    let mut parts = clock.split(':');
    let mut next = || parts.next().and_then(short_number).and_then(|value| i8::try_from(value).ok());
    let (hour, minute, second) = (next()?, next()?, next()?);
    if clock.split(':').count() != 3 || second > 59 {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()?;
    let fraction = fraction.get(..9.min(fraction.len()))?.trim_end_matches('0');
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    Some((format!("{hour:02}:{minute:02}:{second:02}"), fraction))
}

fn read_zone(text: &str) -> Option<String> {
    if text == "Z" {
        return Some("Z".into());
    }
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let (hours, minutes): (u8, u8) = (digits(1..3)?.parse().ok()?, digits(4..6)?.parse().ok()?);
    if bytes.len() != 6 || bytes.get(3) != Some(&b':') || hours > 24 || minutes > 60 {
        return None;
    }
    // Go prints a zero offset as Z.
    Some(if hours == 0 && minutes == 0 { "Z".into() } else { text.to_owned() })
}

fn short_number(text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > 2 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_gos() {
        for (text, expected) in [
            ("2024-01-01", Some("2024-01-01T00:00:00Z")),
            ("2024-1-1", Some("2024-01-01T00:00:00Z")),
            ("2024-02-30", None),
            ("2024-01-01T00:00:00+00:00", Some("2024-01-01T00:00:00Z")),
            ("2024-01-01 1:2:3.500", Some("2024-01-01T01:02:03.5Z")),
            ("2024-01-01 1:2:3Z", None),
            ("2024-01-01T1:2:3", None),
            ("2001-12-14t21:59:43.10-05:00", Some("2001-12-14T21:59:43.1-05:00")),
            ("2024-01-01T25:00:00Z", None),
            ("2024-01-01-", None),
            ("02024-01-01", None),
        ] {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        }
        assert_eq!(rfc3339_seconds("2024-01-01T01:02:03.5Z").as_deref(), Some("2024-01-01T01:02:03Z"));
        assert_eq!(rfc3339_seconds("2024-01-01T01:02:03+02:00").as_deref(), Some("2024-01-01T01:02:03+02:00"));
        assert_eq!(rfc3339_seconds("2024-01-01"), None);
    }
}
