//! The fake store: answers from its own specification.

use async_trait::async_trait;

use super::{Answer, Store, StoreError, Validity, Want};
use crate::pure::crd::secret_store::FakeProvider;
use crate::pure::external::{StoreId, fake};

/// See the module's text.
pub struct FakeStore {
    store: StoreId,
    provider: FakeProvider,
}

impl FakeStore {
    /// A store that answers from `provider`.
    pub fn new(store: StoreId, provider: FakeProvider) -> Self {
        Self { store, provider }
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn read(&self, want: &Want) -> Answer {
        fake::answer(&self.provider, &self.store, want)
    }

    async fn validate(&self) -> Result<Validity, StoreError> {
        match self.provider.validation_result.unwrap_or_default() {
            0 => Ok(Validity::Valid),
            1 => Ok(Validity::Unknown),
            _ => Err(StoreError::Config { store: self.store.to_string(), detail: "validationResult says so".into() }),
        }
    }
}
