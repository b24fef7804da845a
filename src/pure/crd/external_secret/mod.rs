//! ExternalSecret (external-secrets.io/v1): which values a Secret is made of, and how it is kept.
//!
//! No default is written into a user's object: an absent field is read as the documented default by the accessors of
//! [`ExternalSecretSpec`], so that a GitOps tool never sees a difference that it did not make.

mod data;
mod target;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceValidation, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data::{
    ConversionStrategy, DataEntry, DataFrom, DecodingStrategy, Find, FindName, GeneratorRef, MergeConflict,
    MergePriority, MergeStrategy, MetadataPolicy, NullBytePolicy, RemoteRef, Rewrite, RewriteMerge, RewriteRegexp,
    RewriteTransform, SourceRef, StoreKind, StoreRef,
};
pub use target::{
    CreationPolicy, DeletionPolicy, ManifestTarget, Target, Template, TemplateAs, TemplateFrom, TemplateItem,
    TemplateMergePolicy, TemplateMetadata, TemplateSource,
};

/// Values of stores, and the Secret that is made of them.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    plural = "externalsecrets",
    shortname = "es",
    namespaced,
    category = "external-secrets",
    status = "ExternalSecretStatus",
    label("external-secrets.io/component", "controller"),
    doc = "A Secret that is made of values of external stores and kept up to date.",
    selectable = ".spec.secretStoreRef.name",
    selectable = ".spec.secretStoreRef.kind",
    selectable = ".spec.target.name",
    selectable = ".spec.refreshInterval",
    printcolumn = r#"{"name":"StoreType","type":"string","jsonPath":".spec.secretStoreRef.kind"}"#,
    printcolumn = r#"{"name":"Store","type":"string","jsonPath":".spec.secretStoreRef.name"}"#,
    printcolumn = r#"{"name":"Refresh Interval","type":"string","jsonPath":".spec.refreshInterval"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Last Sync","type":"date","jsonPath":".status.refreshTime"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(has(self.data) && self.data.size() > 0) || (has(self.dataFrom) && self.dataFrom.size() > 0)",
        "message": "either data or dataFrom should be specified",
    },
    {
        "rule": "!has(self.target) || !has(self.target.deletionPolicy) || self.target.deletionPolicy != 'Delete' || !has(self.target.creationPolicy) || !(self.target.creationPolicy in ['Merge', 'None', 'CreateOrMerge'])",
        "message": "deletionPolicy=Delete must not be used when the controller doesn't own the secret; set creationPolicy=Owner",
    },
    {
        "rule": "!has(self.target) || !has(self.target.deletionPolicy) || self.target.deletionPolicy != 'Merge' || !has(self.target.creationPolicy) || self.target.creationPolicy != 'None'",
        "message": "deletionPolicy=Merge must not be used with creationPolicy=None: there is no Secret to merge with",
    },
    {
        "rule": "!has(self.target) || !has(self.target.template) || !has(self.target.template.type) || self.target.template.type != 'bootstrap.kubernetes.io/token'",
        "message": "template.type bootstrap.kubernetes.io/token is forbidden: such a Secret mints credentials",
    },
]))]
pub struct ExternalSecretSpec {
    /// Store of every entry that does not name its own.
    pub secret_store_ref: Option<StoreRef>,
    /// The Secret that is made. Absent: named like this object, created, owned, kept when the values are gone.
    pub target: Option<Target>,
    /// When values are read again. Absent means Periodic.
    pub refresh_policy: Option<RefreshPolicy>,
    /// Time between two reads under policy Periodic: a Go duration. Absent means 1h; 0 or less means never again.
    pub refresh_interval: Option<String>,
    /// When a periodic read may happen.
    pub sync_windows: Option<SyncWindows>,
    /// One entry of the Secret each.
    #[serde(default)]
    pub data: Vec<DataEntry>,
    /// Many entries of the Secret each.
    #[serde(default)]
    pub data_from: Vec<DataFrom>,
}

/// When values are read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RefreshPolicy {
    /// Once.
    CreatedOnce,
    /// After each interval, and when this object changes.
    #[default]
    Periodic,
    /// When this object changes.
    OnChange,
}

/// When a periodic read may happen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SyncWindows {
    /// Whether the windows allow or deny.
    pub kind: SyncWindowKind,
    /// The windows.
    #[schemars(length(min = 1))]
    pub windows: Vec<SyncWindow>,
}

/// Whether windows allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncWindowKind {
    /// Reads happen only while a window is open.
    Allow,
    /// Reads do not happen while a window is open.
    Deny,
}

/// One window.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SyncWindow {
    /// When it opens, in UTC: five cron fields, or a name such as `@daily`.
    pub schedule: String,
    /// How long it stays open: a Go duration.
    pub duration: String,
}

/// What is known about an ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// When values were last read and the Secret was last known to be right.
    pub refresh_time: Option<Time>,
    /// Generation and digest of labels and annotations that the last read was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// Type `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ReadyCondition>,
    /// Name of the Secret, for service binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<SecretName>,
}

/// One condition of an ExternalSecret or a store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyCondition {
    /// `Ready`, or `Deleted` from earlier releases.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// Name of a Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct SecretName {
    /// The name.
    #[serde(default)]
    pub name: String,
}

impl ExternalSecret {
    /// Name of the Secret that is made.
    pub fn target_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.target.as_ref().and_then(|t| t.name.as_deref()).filter(|n| !n.is_empty()).unwrap_or(own)
    }
}

impl ExternalSecretSpec {
    /// `target.creationPolicy`; absent means Owner.
    pub fn creation_policy(&self) -> CreationPolicy {
        self.target.as_ref().and_then(|t| t.creation_policy).unwrap_or_default()
    }

    /// `target.deletionPolicy`; absent means Retain.
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.target.as_ref().and_then(|t| t.deletion_policy).unwrap_or_default()
    }

    /// `target.immutable`; absent means false.
    pub fn immutable(&self) -> bool {
        self.target.as_ref().and_then(|t| t.immutable).unwrap_or_default()
    }

    /// `target.template`.
    pub fn template(&self) -> Option<&Template> {
        self.target.as_ref().and_then(|t| t.template.as_ref())
    }
}

/// CRD of ExternalSecret.
pub fn crd() -> CustomResourceDefinition {
    drop_in(ExternalSecret::crd())
}

/// Makes a derived CRD the incumbent's: no injected default, and `v1beta1` as External Secrets Operator carries it,
/// neither served nor stored. Without that version the API server refuses the CRD on a cluster whose
/// `status.storedVersions` still names it.
pub(super) fn drop_in(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            without_defaults(schema);
        }
    }
    crd.spec.versions.push(CustomResourceDefinitionVersion {
        name: "v1beta1".into(),
        served: false,
        storage: false,
        deprecated: Some(true),
        schema: Some(CustomResourceValidation {
            open_api_v3_schema: Some(JSONSchemaProps {
                type_: Some("object".into()),
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..Default::default()
            }),
        }),
        ..Default::default()
    });
    crd
}

/// `serde(default)` makes schemars write a default into the schema, and the API server would write it into every
/// user's object.
fn without_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    for inner in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        without_defaults(inner);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_defaults(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        without_defaults(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_read_as_the_documented_defaults() {
        let es: ExternalSecret = serde_json::from_value(serde_json::json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "db", "namespace": "team"},
            "spec": {"data": [{"secretKey": "a", "remoteRef": {"key": "k"}}]},
        }))
        .expect("parses");
        assert_eq!(es.target_name(), "db");
        assert_eq!(es.spec.creation_policy(), CreationPolicy::Owner);
        assert_eq!(es.spec.deletion_policy(), DeletionPolicy::Retain);
        assert!(!es.spec.immutable());
    }

    #[test]
    fn the_schema_injects_no_default() {
        fn defaults(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    for (name, inner) in map {
                        if name == "default" && !path.ends_with("/properties") {
                            found.push(path.to_owned());
                        }
                        defaults(inner, &format!("{path}/{name}"), found);
                    }
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| defaults(item, path, found)),
                _ => {}
            }
        }
        for crd in [crd(), super::super::secret_store::namespaced(), super::super::secret_store::cluster()] {
            let mut found = vec![];
            let json = serde_json::to_value(&crd).expect("json");
            defaults(&json["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut found);
            assert_eq!(found, Vec::<String>::new(), "{:?}", crd.metadata.name);
        }
    }

    #[test]
    fn columns_names_and_size_are_the_incumbents() {
        let crd = crd();
        let names: Vec<&str> = crd.spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(names, ["StoreType", "Store", "Refresh Interval", "Status", "Ready", "Last Sync"]);
        assert_eq!(crd.spec.names.short_names.as_deref(), Some(&["es".to_owned()][..]));
        assert_eq!(crd.spec.versions[0].selectable_fields.as_ref().map(Vec::len), Some(4));
        for (name, crd) in super::super::all() {
            let bytes = serde_json::to_vec(&crd).expect("json").len();
            assert!(bytes < 256 * 1024, "{name}: {bytes} bytes");
        }
    }
}
