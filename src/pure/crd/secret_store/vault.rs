//! `spec.provider.vault`: HashiCorp Vault and OpenBao, the KV engine.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CaProvider, SecretKeySelector, free_object};

/// A KV engine of a Vault or OpenBao server.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultProvider {
    /// Address of the server, such as `https://vault.example.com:8200`.
    pub server: String,
    /// Mount path of the engine. Without it, the first part of each key is the mount.
    pub path: Option<String>,
    /// Version of the engine; absent means v2.
    pub version: Option<VaultVersion>,
    /// Vault namespace that values are read from.
    pub namespace: Option<String>,
    /// Certificate authorities of the server: PEM, in base64.
    pub ca_bundle: Option<String>,
    /// Object that holds the certificate authorities of the server.
    pub ca_provider: Option<CaProvider>,
    /// Client certificate of the connection.
    pub tls: Option<VaultClientTls>,
    /// Reads wait for this store's own writes (Vault Enterprise).
    pub read_your_writes: Option<bool>,
    /// Lets a standby forward a read it cannot answer yet (Vault Enterprise).
    pub forward_inconsistent: Option<bool>,
    /// Headers added to every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Check-and-set on writes.
    pub check_and_set: Option<VaultCheckAndSet>,
    /// How to log in.
    pub auth: Option<VaultAuth>,
}

/// Version of the KV engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VaultVersion {
    /// Without versions.
    V1,
    /// With versions.
    #[default]
    V2,
}

/// Client certificate of the connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultClientTls {
    /// Certificate; entry `tls.crt` unless named.
    pub cert_secret_ref: Option<SecretKeySelector>,
    /// Private key; entry `tls.key` unless named.
    pub key_secret_ref: Option<SecretKeySelector>,
}

/// Check-and-set on writes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct VaultCheckAndSet {
    /// Whether each write carries the version it replaces.
    pub required: Option<bool>,
}

/// How to log in. The methods without a structure are accepted, and the store's condition says that they are not
/// supported.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAuth {
    /// Vault namespace of the login, where it differs from the one that values are read from.
    pub namespace: Option<String>,
    /// A token kept in a Secret.
    pub token_secret_ref: Option<SecretKeySelector>,
    /// AppRole.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub app_role: Option<Value>,
    /// Kubernetes service account.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub kubernetes: Option<Value>,
    /// LDAP.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub ldap: Option<Value>,
    /// User name and password.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub user_pass: Option<Value>,
    /// JWT or OIDC.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub jwt: Option<Value>,
    /// Client certificate.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub cert: Option<Value>,
    /// AWS IAM.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub iam: Option<Value>,
    /// Google Cloud.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub gcp: Option<Value>,
}

impl VaultAuth {
    /// Names of the methods that are set and that the program does not speak.
    pub fn unsupported(&self) -> Vec<&'static str> {
        [
            ("appRole", &self.app_role),
            ("kubernetes", &self.kubernetes),
            ("ldap", &self.ldap),
            ("userPass", &self.user_pass),
            ("jwt", &self.jwt),
            ("cert", &self.cert),
            ("iam", &self.iam),
            ("gcp", &self.gcp),
        ]
        .into_iter()
        .filter(|(_, method)| method.is_some())
        .map(|(name, _)| name)
        .collect()
    }
}
