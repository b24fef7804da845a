//! Whose fetch may run: a few at a time altogether, fewer for one namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pure::limits;

/// See the module's text.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    own: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(limits::GIT_FETCHES)), own: Mutex::default() }
    }

    /// Waits for a turn, which lasts until the permits are dropped. `None` only when the program ends.
    pub(super) async fn take(&self, namespace: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = {
            let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            // Permits and waiters hold the others.
            all.retain(|_, own| Arc::strong_count(own) > 1);
            let fresh = || Arc::new(Semaphore::new(limits::GIT_FETCHES_PER_NAMESPACE));
            all.entry(namespace.to_owned()).or_insert_with(fresh).clone()
        };
        // The namespace's own turn first: what waits for it must not hold a turn of all.
        let own = own.acquire_owned().await.ok()?;
        Some([own, self.all.clone().acquire_owned().await.ok()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a turn is free at once.
    async fn free(turns: &Turns, namespace: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        tokio::select! { biased; turn = turns.take(namespace) => turn, () = std::future::ready(()) => None }
    }

    #[tokio::test]
    async fn one_namespace_leaves_the_others_their_turn() {
        let turns = Turns::new();
        let mut greedy = vec![];
        while let Some(turn) = free(&turns, "greedy").await {
            greedy.push(turn);
        }
        assert_eq!(greedy.len(), limits::GIT_FETCHES_PER_NAMESPACE);
        let other = free(&turns, "other").await;
        assert!(other.is_some());
        greedy.pop();
        assert!(free(&turns, "greedy").await.is_some(), "a turn that ended is free again");
        let rest: Vec<_> = [free(&turns, "a").await, free(&turns, "b").await].into_iter().flatten().collect();
        assert_eq!(greedy.len() + 1 + rest.len(), limits::GIT_FETCHES);
        assert!(free(&turns, "c").await.is_none(), "all turns are taken");
    }
}
