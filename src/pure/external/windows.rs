//! `spec.syncWindows`: when a periodic refresh may happen. Schedules are five cron fields in UTC, or a name.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;

use crate::pure::crd::external_secret::{SyncWindow, SyncWindowKind, SyncWindows};
use crate::pure::duration;

/// Longest window that is looked at, in minutes: a year. A longer one is open as if it were a year long.
const LONGEST_MINUTES: i64 = 366 * 24 * 60;

/// Whether a periodic refresh may happen at `now`.
pub(super) fn open(windows: &SyncWindows, now: Timestamp) -> bool {
    // A schedule that cannot be read is a window that is never open, as in External Secrets Operator.
    let inside = windows.windows.iter().any(|window| active(window, now) == Some(true));
    match windows.kind {
        SyncWindowKind::Allow => inside,
        SyncWindowKind::Deny => !inside,
    }
}

/// Names the first schedule or duration that cannot be read.
pub(super) fn validate(windows: &SyncWindows) -> Result<(), String> {
    for (index, window) in windows.windows.iter().enumerate() {
        if schedule(&window.schedule).is_none() {
            return Err(format!("spec.syncWindows.windows[{index}].schedule is not five cron fields or a name"));
        }
        if duration::of_go(window.duration.as_bytes()).is_err() {
            return Err(format!("spec.syncWindows.windows[{index}].duration is not a duration such as 1h"));
        }
    }
    Ok(())
}

/// Whether the window opened within its duration before `now`.
fn active(window: &SyncWindow, now: Timestamp) -> Option<bool> {
    let duration = duration::of_go(window.duration.as_bytes()).ok()?;
    match schedule(&window.schedule)? {
        Schedule::Every(pause) => Some(pause <= duration),
        Schedule::Cron(cron) => {
            let minute = now.as_second().div_euclid(60);
            let oldest = now.as_nanosecond() - i128::from(duration);
            let passed = |minute: i64| i128::from(minute) * 60_000_000_000 > oldest;
            let mut at = minute;
            let mut day = None;
            while passed(at) && minute - at < LONGEST_MINUTES {
                let time = Timestamp::from_second(at * 60).ok()?.to_zoned(TimeZone::UTC).datetime();
                if day != Some(time.date()) {
                    day = Some(time.date());
                    if !cron.day_matches(time) {
                        // The whole day is out: go to the last minute of the day before.
                        at -= i64::from(time.hour()) * 60 + i64::from(time.minute()) + 1;
                        continue;
                    }
                }
                if cron.time_matches(time) {
                    return Some(true);
                }
                at -= 1;
            }
            Some(false)
        }
    }
}

enum Schedule {
    Every(i64),
    Cron(Cron),
}

struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

impl Cron {
    fn day_matches(&self, time: DateTime) -> bool {
        let month = self.months >> time.month() & 1 == 1;
        let day = self.days >> time.day() & 1 == 1;
        let weekday = self.weekdays >> time.weekday().to_sunday_zero_offset() & 1 == 1;
        // When both are restricted, either is enough (cron's rule).
        month && if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }

    fn time_matches(&self, time: DateTime) -> bool {
        self.hours >> time.hour() & 1 == 1 && self.minutes >> time.minute() & 1 == 1
    }
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn schedule(text: &str) -> Option<Schedule> {
    if let Some(pause) = text.strip_prefix("@every ") {
        return duration::of_go(pause.trim().as_bytes()).ok().filter(|pause| *pause > 0).map(Schedule::Every);
    }
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields.as_slice() else { return None };
    let any = |field: &str| field.starts_with('*') || field.starts_with('?');
    Some(Schedule::Cron(Cron {
        minutes: bits(minutes, 0, 59, &[])?,
        hours: bits(hours, 0, 23, &[])?,
        days: bits(days, 1, 31, &[])?,
        months: bits(months, 1, 12, &MONTHS)?,
        weekdays: bits(weekdays, 0, 6, &WEEKDAYS)?,
        any_day: any(days),
        any_weekday: any(weekdays),
    }))
}

/// Set of the values of one field.
fn bits(field: &str, low: u32, high: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| -> Option<u32> {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = match named {
            Some(index) => u32::try_from(index).ok()? + low,
            None => text.parse().ok()?,
        };
        (low..=high).contains(&number).then_some(number)
    };
    let mut set = 0u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, high),
            Some((first, last)) => (number(first)?, number(last)?),
            // `5/10` means from 5 on.
            None => (number(range)?, if part.contains('/') { high } else { number(range)? }),
        };
        if first > last {
            return None;
        }
        let step = usize::try_from(step).ok()?;
        (first..=last).step_by(step).for_each(|value| set |= 1 << value);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_open_and_close() {
        // 2026-11-24 is a Tuesday.
        for (schedule, duration, now, want) in [
            ("0 3 * * *", "1h", "2026-11-24T03:00:00Z", Some(true)),
            ("0 3 * * *", "1h", "2026-11-24T03:59:59Z", Some(true)),
            ("0 3 * * *", "1h", "2026-11-24T04:00:00Z", Some(false)),
            ("0 3 * * *", "1h", "2026-11-24T02:59:59Z", Some(false)),
            ("0 22 * * *", "5h", "2026-11-24T02:30:00Z", Some(true)),
            ("*/15 * * * *", "5m", "2026-11-24T12:33:00Z", Some(true)),
            ("*/15 * * * *", "5m", "2026-11-24T12:36:00Z", Some(false)),
            ("0 9-17 * * MON-FRI", "1h", "2026-11-24T17:30:00Z", Some(true)),
            ("0 9-17 * * 1-5", "1h", "2026-11-22T12:30:00Z", Some(false)),
            ("0 0 1 * *", "720h", "2026-11-24T12:00:00Z", Some(true)),
            ("0 0 13 * 2", "24h", "2026-11-24T12:00:00Z", Some(true)),
            ("0 0 13 * *", "24h", "2026-11-24T12:00:00Z", Some(false)),
            ("@daily", "13h", "2026-11-24T12:00:00Z", Some(true)),
            ("@every 10m", "10m", "2026-11-24T12:00:00Z", Some(true)),
            ("@every 10m", "5m", "2026-11-24T12:00:00Z", Some(false)),
            ("0 0 30 2 *", "8000h", "2026-11-24T12:00:00Z", Some(false)),
            ("0 0 * *", "1h", "2026-11-24T12:00:00Z", None),
            ("61 0 * * *", "1h", "2026-11-24T12:00:00Z", None),
            ("5-1 0 * * *", "1h", "2026-11-24T12:00:00Z", None),
            ("*/0 0 * * *", "1h", "2026-11-24T12:00:00Z", None),
        ] {
            let window = SyncWindow { schedule: schedule.into(), duration: duration.into() };
            assert_eq!(active(&window, now.parse().expect("time")), want, "{schedule} {duration} {now}");
        }
    }
}
