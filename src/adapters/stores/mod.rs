//! External stores: one file per provider, all behind [`Store`], all run through one contract test
//! (`tests/stores/contract.rs`).
//!
//! A store is built from a configuration in which nothing is left to the process's environment: address, credentials
//! and certificate authorities come from the SecretStore and the Secrets it may use. Every call is bounded in time and,
//! where the transport is ours, in size.

#[cfg(feature = "aws")]
pub mod aws;
pub mod fake;
#[cfg(feature = "vault")]
pub mod vault;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use crate::pure::external::{Answer, StoreError, Want};

/// Longest wait for one call to a store, retries of its SDK included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for all calls of one search.
#[cfg(any(feature = "aws", feature = "vault"))]
const FIND_TIMEOUT: Duration = Duration::from_secs(120);

/// What validation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// The store answers.
    Valid,
    /// It cannot be told without reading a value.
    Unknown,
}

/// One store, ready to be asked.
#[async_trait]
pub trait Store: Send + Sync {
    /// Answers one read. Bounded in time.
    async fn read(&self, want: &Want) -> Answer;

    /// Whether the store can be used as it is configured. Bounded in time.
    async fn validate(&self) -> Result<Validity, StoreError>;
}

/// Called once per request to a provider with provider, call and whether it worked: External Secrets Operator's series
/// `externalsecret_provider_api_calls_count`.
pub type OnCall = Arc<dyn Fn(&'static str, &'static str, bool) + Send + Sync>;

/// Counts nothing, for programs without metrics.
pub fn no_count() -> OnCall {
    Arc::new(|_, _, _| {})
}

/// Carries out a search within [`FIND_TIMEOUT`].
#[cfg(any(feature = "aws", feature = "vault"))]
async fn in_time(
    store: &crate::pure::external::StoreId,
    search: &crate::pure::external::Search,
    found: impl Future<Output = Result<crate::pure::secret::SecretData, StoreError>>,
) -> Answer {
    match tokio::time::timeout(FIND_TIMEOUT, found).await {
        Ok(found) => found.map(crate::pure::external::Fetched::Matches),
        Err(_) => {
            let (store, key) = (store.to_string(), search.place());
            Err(StoreError::Timeout { store, key, limit: FIND_TIMEOUT })
        }
    }
}
