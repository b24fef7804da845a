//! Waiting for something to become true: by looking again, for a bounded time, and saying what was seen last.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Limit for whatever must come about. It ends a run that would hang, and proves nothing: it is as long as the slowest
/// machine needs that compiles, runs every other test and everything else meanwhile. What must be soon is shown otherwise,
/// by what would come about much later, or not at all, if it were not.
pub const SOON: Duration = Duration::from_secs(240);

/// Limit for one answer of a server that is not meant to hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(25);

/// Looks until `check` gives `Ok`, and returns that value. `Err` is the state seen, for the message.
///
/// # Panics
/// After `limit`, with `what`, the caller's place and the last state. One look may itself take no longer than `limit`.
#[track_caller]
pub fn eventually<T, F, Fut>(limit: Duration, what: &str, mut check: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let mut seen = String::from("nothing");
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match tokio::time::timeout(left.max(INTERVAL), check()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(state)) => seen = state,
                Err(_) => seen = format!("{seen} (the last look did not finish)"),
            }
            assert!(start.elapsed() < limit, "{caller}: waited {limit:?} for {what}; last seen: {seen}");
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Looks for the whole of `window` and requires that `check` gives `Ok` each time: for what must not happen.
///
/// # Panics
/// At the first `Err`.
#[track_caller]
pub fn steadily<F, Fut>(window: Duration, what: &str, mut check: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while start.elapsed() < window {
            if let Err(state) = check().await {
                panic!("{caller}: {what} held only for {:?}; seen: {state}", start.elapsed());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
