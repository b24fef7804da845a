//! Many files at a time: most of the time of a file with remote keys is waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::pure::limits;

/// The results of `work`, in the order of the items. Items are begun in order; after one for which `work` says so in the
/// second place, no further ones are begun, so that the results end with it or shortly behind it. One item, or one at a
/// time, starts no thread.
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> (R, bool) + Sync) -> Vec<R> {
    let count = items.len();
    let threads = count.min(limits::FILES_AT_A_TIME);
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> =
        items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
    let run = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let item = slot.lock().unwrap_or_else(PoisonError::into_inner).0.take();
            let Some(item) = item else { continue };
            let (result, last) = work(item);
            slot.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(result);
            if last {
                next.fetch_max(count, Ordering::Relaxed);
            }
        }
    };
    if threads <= 1 {
        run();
    } else {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run))));
    }
    slots.into_iter().map_while(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_the_last_one_ends_the_work() {
        let squares = map((0..1000).collect(), |n: usize| (n * n, false));
        assert_eq!(squares, (0..1000).map(|n| n * n).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let some = map((0..1_000_000).collect(), |n: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            (n, n == 10)
        });
        assert!(some.len() > 10 && begun.into_inner() < 1_000_000);
        assert!(some.iter().enumerate().all(|(at, n)| at == *n));
    }

    #[test]
    fn as_many_as_allowed_run_at_a_time() {
        // Every one waits for all others of its round: with fewer threads this would not end.
        let all = std::sync::Barrier::new(limits::FILES_AT_A_TIME);
        let done = map(vec![(); limits::FILES_AT_A_TIME * 2], |()| (all.wait(), false));
        assert_eq!(done.len(), limits::FILES_AT_A_TIME * 2);
    }
}
