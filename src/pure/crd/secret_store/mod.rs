//! SecretStore and ClusterSecretStore (external-secrets.io/v1): where values come from and who may ask.
//!
//! Both kinds share [`StoreSpec`]. The providers that the program speaks are typed; the names of all others that
//! External Secrets Operator knows are accepted as free objects, so that a manifest written for it is never refused:
//! the store's condition says that the provider is not supported.

mod aws;
mod fake;
mod vault;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, CustomResourceExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use aws::{AwsAuth, AwsProvider, AwsSecretRef, AwsSecretsManagerSettings, AwsService};
pub use fake::{FakeEntry, FakeProvider, FakeValue};
pub use vault::{VaultAuth, VaultCheckAndSet, VaultClientTls, VaultProvider, VaultVersion};

use super::external_secret::ReadyCondition;

/// What both store kinds say: how to reach a provider, and who may use it.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "SecretStore",
    plural = "secretstores",
    shortname = "ss",
    namespaced,
    category = "external-secrets",
    status = "StoreStatus",
    label("external-secrets.io/component", "controller"),
    doc = "A place that values of ExternalSecrets of the same namespace are read from.",
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Capabilities","type":"string","jsonPath":".status.capabilities"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct StoreSpec {
    /// Class of the controller that serves this store; empty means any.
    pub controller: Option<String>,
    /// Exactly one provider.
    pub provider: Provider,
    /// How often and how fast calls to the provider are repeated.
    pub retry_settings: Option<RetrySettings>,
    /// How often the store is validated: a Go duration, or a number of seconds. Absent or 0 means five minutes.
    pub refresh_interval: Option<IntOrString>,
    /// Which namespaces may use a ClusterSecretStore; without an entry, all may. No meaning in a SecretStore.
    #[serde(default)]
    pub conditions: Vec<StoreCondition>,
}

/// The cluster-wide twin: the same spec, no namespace.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterSecretStore",
    plural = "clustersecretstores",
    shortname = "css",
    category = "external-secrets",
    status = "StoreStatus",
    label("external-secrets.io/component", "controller"),
    doc = "A place that values of ExternalSecrets of all namespaces, or of those its conditions name, are read from.",
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Capabilities","type":"string","jsonPath":".status.capabilities"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[serde(transparent)]
pub struct ClusterStoreSpec(pub StoreSpec);

/// How calls to a provider are repeated.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// Most repeats.
    pub max_retries: Option<i32>,
    /// Wait between two tries, as a Go duration.
    pub retry_interval: Option<String>,
}

/// One reason for which a namespace may use a ClusterSecretStore. Any match of any entry is enough.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreCondition {
    /// Namespaces with these labels.
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces by name.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Namespaces whose name matches one of these expressions anywhere.
    #[serde(default)]
    pub namespace_regexes: Vec<String>,
}

/// The provider of a store. Exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// AWS Secrets Manager or Parameter Store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsProvider>,
    /// HashiCorp Vault or OpenBao, KV version 1 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultProvider>,
    /// Values written in the store itself, for trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fake: Option<FakeProvider>,
    /// Providers of External Secrets Operator that the program does not speak.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Names of the providers of External Secrets Operator 2.9 that are accepted and answered with a condition.
pub const OTHER_PROVIDERS: [&str; 40] = [
    "akeyless",
    "azurekv",
    "barbican",
    "beyondtrust",
    "beyondtrustworkloadcredentials",
    "bitwardensecretsmanager",
    "chef",
    "cloudrusm",
    "conjur",
    "crd",
    "delinea",
    "doppler",
    "dvls",
    "fortanix",
    "gcpsm",
    "github",
    "gitlab",
    "ibm",
    "infisical",
    "keepersecurity",
    "kubernetes",
    "nebiusmysterybox",
    "ngrok",
    "onboardbase",
    "onepassword",
    "onepasswordSDK",
    "openBao",
    "oracle",
    "ovh",
    "passbolt",
    "passworddepot",
    "previder",
    "pulumi",
    "scaleway",
    "secretserver",
    "senhasegura",
    "volcengine",
    "webhook",
    "yandexcertificatemanager",
    "yandexlockbox",
];

impl Provider {
    /// Names of the fields that are set, in a fixed order.
    pub fn names(&self) -> Vec<&str> {
        let typed = [("aws", self.aws.is_some()), ("vault", self.vault.is_some()), ("fake", self.fake.is_some())];
        let others = self.others.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str());
        typed.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).chain(others).collect()
    }
}

// By hand: the others are named properties without a structure, not an open map, so that the API server still refuses
// or prunes a misspelt provider.
impl JsonSchema for Provider {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Provider".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        properties.insert("aws".into(), generator.subschema_for::<AwsProvider>().to_value());
        properties.insert("vault".into(), generator.subschema_for::<VaultProvider>().to_value());
        properties.insert("fake".into(), generator.subschema_for::<FakeProvider>().to_value());
        for name in OTHER_PROVIDERS {
            properties.insert(name.into(), free_object(generator).to_value());
        }
        json_schema!({
            "description": "Exactly one provider. Those without a structure here are accepted, and the store's condition says that they are not supported.",
            "type": "object", "minProperties": 1, "maxProperties": 1, "properties": properties,
        })
    }
}

/// Schema of an object whose fields are not looked at.
pub(super) fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Schema of a value that is not looked at.
pub(super) fn free_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// One entry of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct SecretKeySelector {
    /// Name of the Secret.
    pub name: Option<String>,
    /// Namespace of the Secret; only a ClusterSecretStore may set it. There, absent means the ExternalSecret's.
    pub namespace: Option<String>,
    /// Name of the entry.
    pub key: Option<String>,
}

/// Where the certificate authorities of a server are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct CaProvider {
    /// Kind of the object.
    #[serde(rename = "type")]
    pub kind: CaProviderKind,
    /// Name of the object.
    pub name: String,
    /// Entry of the object.
    pub key: Option<String>,
    /// Namespace of the object; only a ClusterSecretStore may set it.
    pub namespace: Option<String>,
}

/// Kinds that can hold certificate authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CaProviderKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// What is known about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct StoreStatus {
    /// Type `Ready`.
    #[serde(default)]
    pub conditions: Vec<ReadyCondition>,
    /// What the provider can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Capabilities {
    /// Values can be read.
    ReadOnly,
    /// Values can be written.
    WriteOnly,
    /// Both.
    ReadWrite,
}

/// CRD of SecretStore.
pub fn namespaced() -> CustomResourceDefinition {
    super::external_secret::drop_in(SecretStore::crd())
}

/// CRD of ClusterSecretStore.
pub fn cluster() -> CustomResourceDefinition {
    super::external_secret::drop_in(ClusterSecretStore::crd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_accepted_and_named() {
        for name in OTHER_PROVIDERS {
            let spec: StoreSpec =
                serde_json::from_value(serde_json::json!({"provider": {name: {"any": ["thing"]}}})).expect(name);
            assert_eq!(spec.provider.names(), [name]);
        }
        let spec: StoreSpec = serde_json::from_value(serde_json::json!({
            "provider": {"vault": {"server": "http://127.0.0.1:8200", "path": "secret",
                "auth": {"tokenSecretRef": {"name": "token", "key": "token"}}}}
        }))
        .expect("parses");
        assert_eq!(spec.provider.names(), ["vault"]);
    }

    #[test]
    fn schema_names_every_provider_once() {
        let crd = serde_json::to_value(cluster()).expect("json");
        let provider = crd
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/provider")
            .expect("provider schema");
        assert_eq!(provider["maxProperties"], 1);
        assert_eq!(provider["properties"].as_object().map(serde_json::Map::len), Some(OTHER_PROVIDERS.len() + 3));
        assert!(provider["properties"]["vault"]["properties"]["server"].is_object());
        assert_eq!(provider["properties"]["doppler"]["x-kubernetes-preserve-unknown-fields"], true);
        // A field whose schema is written by hand is required unless serde gives it a default.
        assert_eq!(provider["properties"]["vault"]["required"], serde_json::json!(["server"]));
        assert_eq!(provider["properties"]["vault"]["properties"]["auth"]["required"], Value::Null);
        assert_eq!(provider["properties"]["aws"]["required"], serde_json::json!(["region", "service"]));
        assert_eq!(provider["properties"]["aws"]["properties"]["auth"]["required"], Value::Null);
    }
}
