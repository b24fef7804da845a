//! `EncryptedSource`: a Git repository, a path in it, and how to decrypt what lies there.
//!
//! Field names follow Flux, so that nobody learns a second vocabulary: `spec.git` is the spec of a Flux GitRepository,
//! the rest of `spec` that of a Flux Kustomization. `docs/compat/flux.md` lists what is the same and what differs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Opens the SOPS files and SealedSecrets that a Git repository holds and applies the Secrets to its own namespace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "latchwork.dev",
    version = "v1alpha1",
    kind = "EncryptedSource",
    plural = "encryptedsources",
    shortname = "encsrc",
    category = "latchwork",
    namespaced,
    status = "EncryptedSourceStatus",
    derive = "PartialEq",
    doc = "EncryptedSource opens the SOPS files and SealedSecrets of a Git repository and applies the Secrets to its own namespace.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","priority":1,"jsonPath":".status.lastAppliedRevision"}"#
)]
pub struct EncryptedSourceSpec {
    /// The Git repository.
    pub git: GitSpec,

    /// Directory inside the repository; everything below it is read. Empty or `.` is the whole repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("path must stay inside the repository: no '..'"))]
    pub path: Option<String>,

    /// How often the repository is asked for a new revision, for example `10m`. A damaged Secret is mended at once.
    #[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("interval must be at least 1s"))]
    pub interval: String,

    /// How long to wait after a failure; `interval` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("retryInterval must be at least 1s"))]
    pub retry_interval: Option<String>,

    /// Which keys open the SOPS files. Without it only SealedSecrets are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,

    /// Whether a Secret that left the repository is deleted. Only what this source wrote is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,

    /// Stops fetching, applying and mending while true. What was applied stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl EncryptedSourceSpec {
    /// `prune`, false when absent.
    pub fn prunes(&self) -> bool {
        self.prune == Some(true)
    }

    /// `suspend`, false when absent.
    pub fn suspended(&self) -> bool {
        self.suspend == Some(true)
    }
}

/// Where the repository is and how to get at it: the fields of a Flux GitRepository.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.secretRef) || !self.url.startsWith('file://')").message("a file:// repository takes no secretRef"))]
pub struct GitSpec {
    /// `https://`, `http://`, or `file://` where a `git` program is at hand.
    #[schemars(length(min = 8, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(https?|file)://[^ ]+$')").message("url must begin with https://, http:// or file://"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z]+://[^/]*@')").message("url must not hold a user name or password: use secretRef"))]
    pub url: String,

    /// What to take: `commit` wins over `name`, that over `tag`, that over `branch`. Absent: the repository's HEAD.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitReference>,

    /// Secret of the same namespace: `username` and `password`, or `bearerToken`; `ca.crt` (or `caFile`) for a private
    /// certificate authority; `tls.crt` and `tls.key` for a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretReference>,

    /// Longest time for one fetch, for example `60s`, which is the default. At most `4m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('4m')").message("timeout must be between 1s and 4m"))]
    pub timeout: Option<String>,
}

/// A Git reference.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitReference {
    /// Branch name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 244))]
    pub branch: Option<String>,
    /// Tag name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 244))]
    pub tag: Option<String>,
    /// Full name of a reference, for example `refs/pull/420/head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.startsWith('refs/')").message("name must be a full reference name, beginning with refs/"))]
    #[schemars(length(min = 6, max = 244))]
    pub name: Option<String>,
    /// Commit, 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{40}$"))]
    pub commit: Option<String>,
}

/// How SOPS files are opened.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.provider) || self.provider == 'sops'").message("the only provider is sops"))]
pub struct Decryption {
    /// `sops`, the only provider, as Flux writes it. May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub provider: Option<String>,
    /// Secret of the same namespace whose entries named `*.agekey` hold age identities and `*.asc`
    /// OpenPGP secret keys, armoured and without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretReference>,
}

/// A Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LocalSecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What was found and done.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EncryptedSourceStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and while they hold `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Revision of the last attempt, `branch@sha1:commit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// Revision that was applied last without any failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// Value of the annotation `reconcile.fluxcd.io/requestedAt` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// How many documents ended how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// One line per document, failures first. Cut to 500 lines; `summary` counts them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileStatus>,
    /// Every Secret that this source wrote and has not pruned: what pruning may delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
}

/// Number of documents by outcome.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Secrets that are as the repository wants them.
    pub applied: i64,
    /// Documents that could not be opened or applied; their last good Secret was kept.
    pub failed: i64,
    /// Documents that are not Secrets, left to whoever applies them.
    pub ignored: i64,
}

/// Outcome of one document.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Path inside the repository.
    pub path: String,
    /// Number of the document in the file, from 1. Absent when the whole file is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<i64>,
    /// `Kind/name`, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What became of it.
    pub state: FileState,
    /// Stable word for the reason of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What failed and what to do, without any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of a document.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileState {
    /// Not opened or not applied.
    Failed,
    /// The Secret is as the document wants it.
    Applied,
    /// Not a Secret.
    Ignored,
}

/// What this source wrote.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// One entry per Secret.
    pub entries: Vec<InventoryEntry>,
}

/// A Secret that this source wrote. Flux's fields, and the UID: only the very object that was written may be pruned.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// `<namespace>_<name>_<group>_<kind>`, as Flux writes it: `shop_database__Secret`.
    pub id: String,
    /// Version of the API, `v1`.
    pub v: String,
    /// UID of the object when it was written.
    pub uid: String,
}

impl InventoryEntry {
    /// The entry for a Secret.
    pub fn of_secret(namespace: &str, name: &str, uid: &str) -> Self {
        Self { id: format!("{namespace}_{name}__Secret"), v: "v1".into(), uid: uid.into() }
    }

    /// Namespace and name, if the entry is one for a Secret. Kubernetes names hold no underscore.
    pub fn secret(&self) -> Option<(&str, &str)> {
        let (namespace, rest) = self.id.split_once('_')?;
        let name = rest.strip_suffix("__Secret")?;
        (!name.is_empty() && !name.contains('_')).then_some((namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn reads_what_users_write() {
        let source: EncryptedSource = serde_json::from_value(json!({
            "apiVersion": "latchwork.dev/v1alpha1", "kind": "EncryptedSource",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "git": {"url": "https://git.example/shop.git", "ref": {"branch": "main"}, "secretRef": {"name": "git"}},
                "path": "./deploy", "interval": "1m0s", "prune": true,
                "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
            },
        }))
        .expect("valid");
        assert_eq!(source.spec.git.reference.as_ref().and_then(|r| r.branch.as_deref()), Some("main"));
        assert!(source.spec.prunes() && !source.spec.suspended());
    }

    #[test]
    fn inventory_entries_are_read_back() {
        let entry = InventoryEntry::of_secret("shop", "database.v1", "u-1");
        assert_eq!(entry.id, "shop_database.v1__Secret");
        assert_eq!(entry.secret(), Some(("shop", "database.v1")));
        for id in ["shop", "shop_x", "shop_x_apps_Deployment", "shop___Secret", "a_b_c__Secret"] {
            assert_eq!(InventoryEntry { id: id.into(), v: "v1".into(), uid: String::new() }.secret(), None, "{id}");
        }
    }

    fn rules(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    found.push(rule["message"].as_str().expect("every rule has a message").to_owned());
                }
                map.values().for_each(|v| rules(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| rules(v, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_is_in_the_schema_and_nothing_is_defaulted() {
        let crd = serde_json::to_value(EncryptedSource::crd()).expect("serialises");
        let mut found = vec![];
        rules(&crd, &mut found);
        found.sort();
        assert_eq!(
            found,
            [
                "a file:// repository takes no secretRef",
                "interval must be at least 1s",
                "name must be a full reference name, beginning with refs/",
                "path must stay inside the repository: no '..'",
                "retryInterval must be at least 1s",
                "the only provider is sops",
                "timeout must be between 1s and 4m",
                "url must begin with https://, http:// or file://",
                "url must not hold a user name or password: use secretRef",
            ]
        );
        assert!(!crd.to_string().contains("\"default\":"), "the API server must not write into a user's spec");
        assert_eq!(crd["metadata"]["name"], "encryptedsources.latchwork.dev");
    }
}
