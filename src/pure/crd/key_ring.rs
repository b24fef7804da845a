//! `KeyRing`: the sealing keys of a cluster, how they are renewed, and what each of them still holds.
//!
//! There is one, named `default`. Everything works without it: then the operator's flags decide about renewal, and the
//! inventory is in the metrics and in `latchwork keys status` alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The only name that a KeyRing may have.
pub const NAME: &str = "default";

/// How the sealing keys of this cluster are renewed. Its status is the inventory of what each key still opens.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "latchwork.dev",
    version = "v1alpha1",
    kind = "KeyRing",
    plural = "keyrings",
    category = "latchwork",
    status = "KeyRingStatus",
    derive = "PartialEq",
    doc = "KeyRing says how the sealing keys of this cluster are renewed; its status is the inventory of what each key still opens.",
    validation = Rule::new("self.metadata.name == 'default'").message("a cluster has one KeyRing, and its name is default"),
    printcolumn = r#"{"name":"Active key","type":"string","jsonPath":".status.activeKey"}"#,
    printcolumn = r#"{"name":"Keys","type":"integer","jsonPath":".status.keyCount"}"#,
    printcolumn = r#"{"name":"On old keys","type":"integer","jsonPath":".status.entriesOnOldKeys"}"#,
    printcolumn = r#"{"name":"Backed up","type":"string","jsonPath":".status.conditions[?(@.type==\"BackedUp\")].status"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct KeyRingSpec {
    /// When a new key takes the active one's place. Absent: the operator's flags decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,

    /// Which old keys the operator may retire by itself. Absent: none; `latchwork keys retire` does it, after looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement: Option<Retirement>,
}

/// When a new key is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// Age of the active key at which a new one takes its place, for example `720h`. `0s` turns renewal off.
    #[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) == duration('0s') || duration(self) >= duration('1h')").message("after must be 0s, for never, or at least 1h"))]
    pub after: String,
}

/// What may be retired without asking.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retirement {
    /// An old key that opened nothing in the cluster for this long, and that stands in a verified backup, is marked
    /// retired; its Secret stays. The operator sees the cluster and not your repositories: give files that are not
    /// applied time to be.
    #[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('24h')").message("unusedFor must be at least 24h"))]
    pub unused_for: String,
}

/// What the operator found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRingStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: there is an active key. `BackedUp`: every key stands in a backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Secret of the key that is served and seals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_key: Option<String>,
    /// Number of keys in any state.
    pub key_count: i64,
    /// Entries of SealedSecrets in the cluster that a key other than the active one opens.
    pub entries_on_old_keys: i64,
    /// Entries of SealedSecrets in the cluster that no key opens.
    pub entries_unopened: i64,
    /// The keys, newest first. Cut to 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub keys: Vec<KeyStatus>,
    /// The last backup that every key of the ring stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
}

/// One sealing key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Name of its Secret.
    pub name: String,
    /// Fingerprint of its public half, as `ssh-keygen -l` prints one.
    pub fingerprint: String,
    /// Where it stands.
    pub state: KeyPhase,
    /// When its Secret was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Start of the certificate's validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// End of the certificate's validity. The key opens after it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Entries of SealedSecrets in the cluster that it opens.
    pub entries: i64,
    /// SealedSecrets that these entries stand in.
    pub objects: i64,
    /// Since when it opens nothing in the cluster. Absent while it opens something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<String>,
    /// When it was last written into a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<String>,
    /// When a backup was last opened and found to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_verified: Option<String>,
}

/// Where a key stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPhase {
    /// Served, seals and opens.
    Active,
    /// A newer one has taken its place; it still opens.
    Retiring,
    /// Marked as retired: it opens nothing, and may be deleted.
    Retired,
    /// Marked as compromised: it opens nothing.
    Compromised,
}

impl KeyPhase {
    /// In lower case, for tables and metric labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }
}

/// A backup of the whole ring.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// When it was written.
    pub time: String,
    /// Whom it was encrypted to.
    pub recipients: Vec<String>,
    /// Digest of the set of keys in it: the same set, the same digest.
    pub key_set: String,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn the_schema_has_its_rules_and_defaults_nothing() {
        let crd = serde_json::to_value(KeyRing::crd()).expect("serialises");
        let text = crd.to_string();
        for rule in [
            "a cluster has one KeyRing, and its name is default",
            "after must be 0s, for never, or at least 1h",
            "unusedFor must be at least 24h",
        ] {
            assert!(text.contains(rule), "{rule}");
        }
        assert_eq!(crd["spec"]["scope"], "Cluster");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(!spec.to_string().contains("\"default\":"), "the API server must not write into a user's spec");
        let ring: KeyRing = serde_json::from_value(serde_json::json!({
            "apiVersion": "latchwork.dev/v1alpha1", "kind": "KeyRing", "metadata": { "name": NAME }, "spec": {},
        }))
        .expect("an empty spec is enough");
        assert_eq!(ring.spec, KeyRingSpec::default());
    }
}
