//! Why values do not open: looked for afterwards, beside the reconciler and far below it.
//!
//! An explanation costs many times what an opening costs, and nobody waits for it the way one waits for a Secret. So there
//! is one place for it in the whole process, namespaces take turns for it, and it rests twice as long as it worked: a flood
//! of values that do not open takes a third of one processor at most.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::Sealed;
use crate::operator::driver::Reconcile;
use crate::pure::queue::{Finish, Lane, ObjectKey};
use crate::pure::sealed::opener::Effort;

/// How many times as long as a search the rest after it is.
const REST: u32 = 2;

/// Finds reasons, and has them reported.
pub(super) struct Reasons {
    pub(super) sealed: Arc<Sealed>,
}

#[async_trait]
impl Reconcile for Reasons {
    async fn reconcile(&self, key: &ObjectKey, _lane: Lane) -> Finish {
        let Some(entry) = self.sealed.object(key) else { return Finish::Settled(None) };
        let started = Instant::now();
        let Some((opened, learnt)) = self.sealed.open(entry, self.sealed.keys.current_set(), Effort::Explain).await
        else {
            return Finish::Settled(None);
        };
        drop(opened);
        self.sealed.hints.write().unwrap_or_else(PoisonError::into_inner).learn(&learnt);
        // That pass finds every trial remembered, and tells what came out.
        self.sealed.driver.add(key.clone(), Lane::Search);
        tokio::time::sleep(started.elapsed() * REST).await;
        Finish::Settled(None)
    }
}
