//! Many files at a time, with a line that tells how far it got.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapters::parallel;

/// Runs `work` on every item, several at a time, and returns the results in the order of the items. With `show`, and
/// when people watch, standard error has a line with `what` and the number done.
pub fn each<T: Sync, R: Send>(items: &[T], what: &str, show: bool, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let bar = Bar { what, total: items.len(), shown: show && std::io::stderr().is_terminal() };
    let done = AtomicUsize::new(0);
    let results = parallel::map(items.iter().collect(), |item| {
        let result = work(item);
        bar.draw(done.fetch_add(1, Ordering::Relaxed) + 1);
        (result, false)
    });
    bar.clear();
    results
}

struct Bar<'w> {
    what: &'w str,
    total: usize,
    shown: bool,
}

impl Bar<'_> {
    /// A hundred steps are enough to see it move.
    fn draw(&self, done: usize) {
        if !self.shown || (done != self.total && !done.is_multiple_of((self.total / 100).max(1))) {
            return;
        }
        let width = 30;
        let filled = done * width / self.total.max(1);
        let (full, empty) = ("#".repeat(filled), "-".repeat(width - filled));
        // Nobody is left to tell when standard error is closed.
        let _ = write!(std::io::stderr().lock(), "\r{} [{full}{empty}] {done}/{}", self.what, self.total);
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(each(&items, "counting", false, |item| item * 2), (0..2000).step_by(2).collect::<Vec<_>>());
        assert!(each(&[], "nothing", false, |item: &usize| *item).is_empty());
    }
}
