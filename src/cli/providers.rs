//! External stores for the command line.
//!
//! A repository's author writes the address in a SecretStore; the user's token goes only to the server that the user
//! named, VAULT_ADDR.

use std::collections::HashMap;
use std::sync::Arc;

use crate::adapters::stores::vault::{VaultConfig, VaultStore};
use crate::adapters::stores::{CALL_TIMEOUT, Store, no_count};
use crate::pure::crd::secret_store::{StoreSpec, VaultProvider};
use crate::pure::external::store::{Repeats, repeats};
use crate::pure::external::{Answer, Fetch, StoreError, StoreId};
use crate::pure::gitops::stores::{Route, Stores};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// The stores that were asked so far.
#[derive(Default)]
pub(super) struct Providers {
    runtime: Option<tokio::runtime::Runtime>,
    connected: HashMap<StoreId, Arc<dyn Store>>,
}

impl Providers {
    /// Answers one read.
    pub(super) fn answer(&mut self, stores: &Stores<'_>, fetch: &Fetch) -> Answer {
        let spec = match stores.route(fetch) {
            Route::Answer(answer) => return answer,
            Route::Ask(spec) => spec,
        };
        let store = self.connect(&fetch.store, spec)?;
        let config = |detail: String| StoreError::Config { store: fetch.store.to_string(), detail };
        if self.runtime.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            self.runtime =
                Some(runtime.map_err(|error| config(format!("no thread can be started: {}", error.kind())))?);
        }
        match &self.runtime {
            Some(runtime) => runtime.block_on(store.read(&fetch.want)),
            None => Err(config("no thread can be started".into())),
        }
    }

    fn connect(&mut self, id: &StoreId, spec: &StoreSpec) -> Result<Arc<dyn Store>, StoreError> {
        if let Some(store) = self.connected.get(id) {
            return Ok(store.clone());
        }
        let unsupported = |what: &str| StoreError::Unsupported { store: id.to_string(), what: what.into() };
        let Some(vault) = &spec.provider.vault else {
            return Err(unsupported("another provider than fake and vault"));
        };
        let bad = |detail: &str| StoreError::Config { store: id.to_string(), detail: detail.into() };
        let repeats = repeats(spec).map_err(bad)?;
        let store: Arc<dyn Store> = Arc::new(connect_vault(id, vault, repeats)?);
        self.connected.insert(id.clone(), store.clone());
        Ok(store)
    }
}

fn connect_vault(id: &StoreId, vault: &VaultProvider, repeats: Option<Repeats>) -> Result<VaultStore, StoreError> {
    let config = |detail: String| StoreError::Config { store: id.to_string(), detail };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let server = variable("VAULT_ADDR").ok_or_else(|| {
        config(format!(
            "VAULT_ADDR is not set, and the address in the store, {}, is not trusted with a token",
            vault.server
        ))
    })?;
    let ca_pem = match variable("VAULT_CACERT") {
        None => None,
        Some(path) => {
            let size =
                std::fs::metadata(&path).map_err(|e| config(format!("VAULT_CACERT {path}: {}", e.kind())))?.len();
            if size > limits::FILE_BYTES as u64 {
                return Err(config(format!("VAULT_CACERT {path} is too large")));
            }
            Some(std::fs::read(&path).map_err(|e| config(format!("VAULT_CACERT {path}: {}", e.kind())))?)
        }
    };
    let settings = VaultConfig {
        store: id.clone(),
        server,
        mount: vault.path.clone(),
        version: vault.version.unwrap_or_default(),
        namespace: vault.namespace.clone().or_else(|| variable("VAULT_NAMESPACE")),
        headers: vault.headers.clone().into_iter().collect(),
        ca_pem,
        token: variable("VAULT_TOKEN").map(Plaintext::from),
        timeout: repeats.map_or(CALL_TIMEOUT, |repeats| repeats.limit(CALL_TIMEOUT)),
        repeats,
    };
    VaultStore::new(settings, no_count())
}
