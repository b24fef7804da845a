//! Stores against real servers, and against one that answers as badly as it can.

mod contract;
mod faults;
mod search;

use latchwork::adapters::stores::aws::{AwsConfig, AwsStore};
use latchwork::adapters::stores::vault::{VaultConfig, VaultStore};
use latchwork::adapters::stores::{Answer, StoreError, no_count};
use latchwork::pure::crd::external_secret::StoreKind;
use latchwork::pure::crd::secret_store::VaultVersion;
use latchwork::pure::external::{Fetched, RemoteKey, StoreId, Want};
use latchwork::pure::secret::Plaintext;

use crate::rig;
use crate::rig::wait::PATIENCE;

fn id() -> StoreId {
    StoreId { kind: StoreKind::SecretStore, namespace: "team".into(), name: "store".into() }
}

fn vault_config(server: &str, mount: Option<&str>, version: VaultVersion, token: &str) -> VaultConfig {
    VaultConfig {
        store: id(),
        server: server.to_owned(),
        mount: mount.map(str::to_owned),
        version,
        namespace: None,
        headers: vec![],
        ca_pem: None,
        token: Some(Plaintext::from(token.to_owned())),
        timeout: PATIENCE,
        repeats: None,
    }
}

fn vault(config: VaultConfig) -> VaultStore {
    rig::tls::install_provider();
    VaultStore::new(config, no_count()).unwrap()
}

fn aws_config(endpoint: &str) -> AwsConfig {
    AwsConfig {
        store: id(),
        region: rig::moto::REGION.into(),
        endpoint: Some(endpoint.to_owned()),
        access_key_id: Plaintext::from(rig::moto::ACCESS_KEY_ID.to_owned()),
        secret_access_key: Plaintext::from(format!("{}\n", rig::moto::SECRET_ACCESS_KEY)),
        session_token: None,
        prefix: String::new(),
        timeout: PATIENCE,
        repeats: None,
    }
}

fn aws(config: AwsConfig) -> AwsStore {
    rig::tls::install_provider();
    AwsStore::new(config, no_count()).unwrap()
}

fn key(key: &str) -> RemoteKey {
    RemoteKey { key: key.into(), version: None, metadata: false }
}

fn want(name: &str) -> Want {
    Want::Value(key(name))
}

/// The value as text, or the error.
fn text(answer: Answer) -> Result<String, StoreError> {
    match answer? {
        Fetched::Value(value, _) => Ok(value.expose_str().unwrap_or("bytes").to_owned()),
        Fetched::Matches(_) => Ok("matches".into()),
    }
}
