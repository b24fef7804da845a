//! The key services of a user: credentials from where the kinds' own programs look for them.

use std::sync::Arc;

use async_trait::async_trait;

use super::KeyService;
use crate::pure::keys::{KeyError, KeyKind, KeyRef, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// One service per kind that this build has. Nothing is contacted. A kind whose settings are wrong is served with an
/// error that says so: it matters only when a file has such a key.
pub fn services() -> Vec<Arc<dyn KeyService>> {
    vec![
        #[cfg(feature = "aws")]
        made(KeyKind::Kms, super::aws::AwsKms::new(super::aws::AwsKmsConfig::from_environment())),
        #[cfg(feature = "gcp")]
        made(KeyKind::GcpKms, super::gcp::GcpKmsConfig::from_environment().and_then(super::gcp::GcpKms::new)),
        #[cfg(feature = "azure")]
        Arc::new(super::azure::AzureKeyVault::new(super::azure::AzureCredentials::Chain)),
        #[cfg(feature = "vault")]
        made(KeyKind::HcVault, super::vault::TransitConfig::from_environment().and_then(super::vault::Transit::new)),
        Arc::new(super::hckms::Huawei),
    ]
}

/// The service, or one that says for each of its keys why there is none.
#[cfg(any(feature = "aws", feature = "gcp", feature = "vault"))]
pub fn made(kind: KeyKind, service: Result<impl KeyService + 'static, String>) -> Arc<dyn KeyService> {
    match service {
        Ok(service) => Arc::new(service),
        Err(message) => Arc::new(Broken { kind, message }),
    }
}

/// A kind whose settings are wrong.
struct Broken {
    kind: KeyKind,
    message: String,
}

impl Broken {
    fn error(&self) -> KeyError {
        KeyError::Service { message: format!("keys of kind {} cannot be used: {}", self.kind, self.message) }
    }
}

#[async_trait]
impl KeyService for Broken {
    fn serves(&self, key: &KeyRef) -> bool {
        key.kind() == self.kind
    }

    async fn wrap(&self, _: &KeyRef, _: &Plaintext) -> Wrapped {
        Err(self.error())
    }

    async fn unwrap(&self, _: &WrappedKey) -> Unwrapped {
        Err(self.error())
    }
}
