//! `spec.provider.aws`: Secrets Manager (and, accepted but not spoken, Parameter Store and Certificate Manager).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SecretKeySelector, free_object, free_value};

/// One AWS service in one region.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsProvider {
    /// The service.
    pub service: AwsService,
    /// The region.
    pub region: String,
    /// Where the credentials are. Absent means those of the process.
    pub auth: Option<AwsAuth>,
    /// Role that is assumed.
    pub role: Option<String>,
    /// Roles that are assumed one after the other before `role`.
    #[serde(default)]
    pub additional_roles: Vec<String>,
    /// External ID of the role.
    #[serde(rename = "externalID")]
    pub external_id: Option<String>,
    /// Tags of the session.
    #[serde(default)]
    #[schemars(schema_with = "free_value")]
    pub session_tags: Option<Value>,
    /// Session tags that are passed on to chained roles.
    #[serde(default)]
    pub transitive_tag_keys: Vec<String>,
    /// Which session tags are set.
    pub session_tags_policy: Option<String>,
    /// Session tags of policy `Custom`.
    #[serde(default)]
    #[schemars(schema_with = "free_value")]
    pub custom_session_tags: Option<Value>,
    /// Put before every key.
    pub prefix: Option<String>,
    /// Settings of Secrets Manager.
    pub secrets_manager: Option<AwsSecretsManagerSettings>,
}

/// AWS services that keep secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AwsService {
    /// Secrets Manager.
    SecretsManager,
    /// Systems Manager Parameter Store.
    ParameterStore,
    /// Certificate Manager.
    CertificateManager,
}

/// Where the credentials are.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAuth {
    /// Static keys kept in Secrets.
    pub secret_ref: Option<AwsSecretRef>,
    /// Service account whose token is traded for a role.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub jwt: Option<Value>,
}

/// Static keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct AwsSecretRef {
    /// Access key ID.
    #[serde(rename = "accessKeyIDSecretRef")]
    pub access_key_id: Option<SecretKeySelector>,
    /// Secret access key.
    #[serde(rename = "secretAccessKeySecretRef")]
    pub secret_access_key: Option<SecretKeySelector>,
    /// Session token of temporary keys.
    #[serde(rename = "sessionTokenSecretRef")]
    pub session_token: Option<SecretKeySelector>,
}

/// Settings of Secrets Manager, for deletions.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretsManagerSettings {
    /// Delete at once.
    pub force_delete_without_recovery: Option<bool>,
    /// Days during which a deleted secret can be brought back.
    pub recovery_window_in_days: Option<i64>,
}
