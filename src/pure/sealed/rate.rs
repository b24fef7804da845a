//! The rate limit of the HTTP endpoints: the generic cell rate algorithm, with the incumbent's figures and headers.
//! `kubeseal` reads `Retry-After` and comes back by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::pure::limits;

/// Answer for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass.
    pub allowed: bool,
    /// Requests that a rested caller may make at once: `X-RateLimit-Limit`.
    pub limit: u32,
    /// Of these, how many are left: `X-RateLimit-Remaining`.
    pub remaining: u32,
    /// Time until the caller is rested again: `X-RateLimit-Reset`.
    pub reset: Duration,
    /// Time until the next request passes: `Retry-After`.
    pub retry: Option<Duration>,
}

/// Limits by caller. Holds at most [`limits::RATE_LIMITED_CALLERS`]: the caller's name comes from a header, so anybody
/// can invent new ones.
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    rested_at: HashMap<String, Instant>,
}

impl RateLimit {
    /// `per_second` requests in the long run, and `burst` more at once. Zero per second counts as one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), burst, rested_at: HashMap::new() }
    }

    /// Counts one request of `caller` at `now`.
    pub fn ask(&mut self, caller: &str, now: Instant) -> Verdict {
        self.make_room(caller, now);
        let rested = self.rested_at.get(caller).copied().unwrap_or(now).max(now);
        let after = rested + self.interval;
        let tolerance = self.interval * (self.burst + 1);
        // A caller may be ahead of its rate by the burst.
        let ahead = after.saturating_duration_since(now);
        let limit = self.burst + 1;
        if ahead > tolerance {
            let reset = rested.saturating_duration_since(now);
            return Verdict { allowed: false, limit, remaining: 0, reset, retry: Some(ahead - tolerance) };
        }
        self.rested_at.insert(caller.to_owned(), after);
        let left = (tolerance - ahead).as_nanos() / self.interval.as_nanos().max(1);
        let remaining = u32::try_from(left).unwrap_or(limit);
        Verdict { allowed: true, limit, remaining, reset: ahead, retry: None }
    }

    fn make_room(&mut self, caller: &str, now: Instant) {
        if self.rested_at.len() < limits::RATE_LIMITED_CALLERS || self.rested_at.contains_key(caller) {
            return;
        }
        self.rested_at.retain(|_, rested| *rested > now);
        if self.rested_at.len() >= limits::RATE_LIMITED_CALLERS {
            self.rested_at.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_at_once_and_then_two_a_second() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut limit = RateLimit::new(2, 2);
        let left: Vec<_> = (0..3).map(|_| limit.ask("a", start)).map(|v| (v.allowed, v.limit, v.remaining)).collect();
        assert_eq!(left, [(true, 3, 2), (true, 3, 1), (true, 3, 0)]);
        let refused = limit.ask("a", start);
        assert!(!refused.allowed && refused.remaining == 0);
        assert_eq!(refused.retry, Some(Duration::from_millis(500)));
        assert_eq!(refused.reset, Duration::from_millis(1500));
        assert!(limit.ask("b", start).allowed, "another caller has its own limit");
        assert!(limit.ask("a", ms(500)).allowed);
        assert!(!limit.ask("a", ms(600)).allowed);
        assert_eq!(limit.ask("a", ms(10_000)).remaining, 2, "rested");
    }

    #[test]
    fn invented_callers_cannot_fill_the_memory() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, 2);
        for caller in 0..limits::RATE_LIMITED_CALLERS * 2 + 5 {
            limit.ask(&caller.to_string(), start);
        }
        assert!(limit.rested_at.len() <= limits::RATE_LIMITED_CALLERS);
    }
}
