//! The key services of a run, for every verb that opens or seals SOPS files.

use std::sync::Arc;

use clap::Args;

use crate::adapters::kms::grpc::Remote;
use crate::adapters::kms::guard::Guarded;
use crate::adapters::kms::{Connect, KeyService, environment};
use crate::pure::keys::allow::KeyAllowList;

/// Which key services are asked.
#[derive(Args, Clone)]
pub struct ServiceArgs {
    /// Use the keys and cloud credentials of this machine; false leaves the services of --keyservice alone
    #[arg(long, global = true, env = "SOPS_ENABLE_LOCAL_KEYSERVICE", value_name = "BOOL", value_parser = boolean,
        num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_env = true)]
    enable_local_keyservice: bool,
    /// Ask this key service as well: tcp://HOST:PORT or unix:///PATH; may be repeated
    #[arg(long, global = true, env = "SOPS_KEYSERVICE", value_name = "URI", value_delimiter = ',', hide_env = true)]
    keyservice: Vec<String>,
}

impl Default for ServiceArgs {
    fn default() -> Self {
        Self { enable_local_keyservice: true, keyservice: vec![] }
    }
}

/// As Go reads a boolean.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => Ok(false),
        _ => Err("true or false is expected".into()),
    }
}

impl ServiceArgs {
    /// Whether keys and credentials of this machine may be used.
    pub fn is_local(&self) -> bool {
        self.enable_local_keyservice
    }

    /// Makes the services when a key needs one: those of this machine's credentials first, then those that were named.
    /// Nothing here asks a server; a client connects at its first call.
    pub fn connect(&self) -> Connect {
        let chosen = self.clone();
        Box::new(move || chosen.services())
    }

    /// The same, for files of which nobody says that their key services may be trusted: only keys of the list are asked
    /// for. `by` is where the list is kept.
    pub fn connect_allowed(&self, allowed: KeyAllowList, by: &'static str) -> Connect {
        let chosen = self.clone();
        let guarded = move |service| Arc::new(Guarded::new(service, allowed.clone(), by)) as Arc<dyn KeyService>;
        Box::new(move || chosen.services().into_iter().map(&guarded).collect())
    }

    /// The services of this machine's credentials and those that were named.
    pub fn services(&self) -> Vec<Arc<dyn KeyService>> {
        let mut services = if self.enable_local_keyservice { environment::services() } else { vec![] };
        for address in &self.keyservice {
            match Remote::new(address) {
                Ok(remote) => services.push(Arc::new(remote)),
                Err(what) => super::complain(&what),
            }
        }
        services
    }
}
