//! `spec.target`: the Secret that is made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::DecodingStrategy;

/// The Secret that is made.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name; absent means that of the ExternalSecret.
    pub name: Option<String>,
    /// Whether the Secret is created and owned. Absent means Owner.
    pub creation_policy: Option<CreationPolicy>,
    /// What is done when the values are gone. Absent means Retain.
    pub deletion_policy: Option<DeletionPolicy>,
    /// How the Secret is laid out; absent means one entry per value.
    pub template: Option<Template>,
    /// Another kind of object in place of a Secret.
    pub manifest: Option<ManifestTarget>,
    /// Whether the Secret is immutable once it is made.
    pub immutable: Option<bool>,
}

/// Whether the Secret is created and owned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CreationPolicy {
    /// Created, and deleted with the ExternalSecret.
    #[default]
    Owner,
    /// Created, and left behind.
    Orphan,
    /// Never created; entries are added to the Secret that is there.
    Merge,
    /// Nothing is written.
    None,
    /// Created when it is missing; entries are added when it is there.
    CreateOrMerge,
}

/// What is done when the values are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The Secret is deleted once all values are gone.
    Delete,
    /// The entries of those values are removed.
    Merge,
    /// It is an error, and the Secret stays.
    #[default]
    Retain,
}

/// How the Secret is laid out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Type of the Secret.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Language of the templates: only v2, Go's text/template.
    #[schemars(extend("enum" = ["v2"]))]
    pub engine_version: Option<String>,
    /// Labels, annotations and finalizers of the Secret; values of the first two are templates.
    pub metadata: Option<TemplateMetadata>,
    /// Whether the values that were read stay beside what the template makes. Absent means Replace.
    pub merge_policy: Option<TemplateMergePolicy>,
    /// Entries, as templates.
    pub data: Option<BTreeMap<String, String>>,
    /// Templates kept elsewhere.
    #[serde(default)]
    pub template_from: Vec<TemplateFrom>,
}

/// Labels, annotations and finalizers of the Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Finalizers.
    #[serde(default)]
    pub finalizers: Vec<String>,
}

/// Whether the values that were read stay beside what the template makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TemplateMergePolicy {
    /// They go.
    #[default]
    Replace,
    /// They stay.
    Merge,
}

/// Templates kept elsewhere.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFrom {
    /// In a ConfigMap of the same namespace.
    pub config_map: Option<TemplateSource>,
    /// In a Secret of the same namespace.
    pub secret: Option<TemplateSource>,
    /// Here.
    pub literal: Option<String>,
    /// Where the result goes: Data, Annotations or Labels. Absent means Data.
    pub target: Option<String>,
    /// How the rendered values are decoded.
    pub values_decoding_strategy: Option<DecodingStrategy>,
}

/// An object that keeps templates.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct TemplateSource {
    /// Name of the object.
    pub name: String,
    /// Its entries.
    pub items: Vec<TemplateItem>,
}

/// One entry that keeps a template.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateItem {
    /// Name of the entry.
    pub key: String,
    /// What the text is. Absent means Values.
    pub template_as: Option<TemplateAs>,
}

/// What the text of a template is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TemplateAs {
    /// The value of one entry.
    #[default]
    Values,
    /// A YAML map of entries.
    KeysAndValues,
}

/// Another kind of object in place of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestTarget {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}
