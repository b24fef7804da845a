//! `spec.data` and `spec.dataFrom`: what is read, and what becomes of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub struct StoreRef {
    /// Name of the store.
    pub name: Option<String>,
    /// Kind of the store; absent means SecretStore.
    pub kind: Option<StoreKind>,
}

/// Kinds of stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum StoreKind {
    /// Of the namespace of the ExternalSecret.
    #[default]
    SecretStore,
    /// Of the cluster.
    ClusterSecretStore,
}

impl StoreKind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecretStore => "SecretStore",
            Self::ClusterSecretStore => "ClusterSecretStore",
        }
    }
}

/// One entry of the Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataEntry {
    /// Name of the entry.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub secret_key: String,
    /// What is read.
    pub remote_ref: RemoteRef,
    /// Store of this entry, where it differs.
    pub source_ref: Option<SourceRef>,
}

/// What is read from a store.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// Name or path in the store.
    pub key: String,
    /// A part of the value: a name, or a path in the syntax of gjson.
    pub property: Option<String>,
    /// Version in the store.
    pub version: Option<String>,
    /// Whether the metadata is read in place of the value. Absent means None.
    pub metadata_policy: Option<MetadataPolicy>,
    /// How names that no Secret can have are changed. Absent means Default.
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How values are decoded. Absent means None.
    pub decoding_strategy: Option<DecodingStrategy>,
    /// What is done with values that hold a zero byte. Absent means Ignore.
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// Whether the metadata is read in place of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MetadataPolicy {
    /// The value.
    #[default]
    None,
    /// The metadata.
    Fetch,
}

/// How names that no Secret can have are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ConversionStrategy {
    /// Each character that is not allowed becomes `_`.
    #[default]
    Default,
    /// Each character that is not allowed becomes `_U` and its code point.
    Unicode,
}

/// How values are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DecodingStrategy {
    /// Standard base64 when it is that, else URL base64 when it is that, else nothing.
    Auto,
    /// Standard base64.
    Base64,
    /// URL base64.
    #[serde(rename = "Base64URL")]
    Base64Url,
    /// Nothing.
    #[default]
    None,
}

/// What is done with values that hold a zero byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum NullBytePolicy {
    /// They are taken.
    #[default]
    Ignore,
    /// They are an error.
    Fail,
}

/// Many entries of the Secret.
// The first rule says "at most one" without a list: the API server estimates the cost of a loop per item of an unbounded
// array, and refuses the whole definition.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.extract) && has(self.find)) && !((has(self.extract) || has(self.find)) && has(self.sourceRef) && has(self.sourceRef.generatorRef))",
        "message": "extract, find, or generatorRef cannot be set at the same time",
    },
    {
        "rule": "has(self.extract) || has(self.find) || has(self.sourceRef)",
        "message": "either extract, find, or sourceRef must be set to dataFrom",
    },
]))]
pub struct DataFrom {
    /// Each field of one value becomes an entry.
    pub extract: Option<RemoteRef>,
    /// Each value that matches becomes an entry.
    pub find: Option<Find>,
    /// Changes of the names, in order.
    #[serde(default)]
    pub rewrite: Vec<Rewrite>,
    /// Store, or generator, of these entries.
    pub source_ref: Option<SourceRef>,
}

/// Which values match.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// Where the search begins.
    pub path: Option<String>,
    /// Which names match.
    pub name: Option<FindName>,
    /// Which tags match.
    pub tags: Option<BTreeMap<String, String>>,
    /// How names that no Secret can have are changed. Absent means Default.
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How values are decoded. Absent means None.
    pub decoding_strategy: Option<DecodingStrategy>,
    /// What is done with values that hold a zero byte. Absent means Ignore.
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// Which names match.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct FindName {
    /// Regular expression that matches anywhere in the name.
    pub regexp: Option<String>,
}

/// One change of the names of entries.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Rewrite {
    /// Replaces what matches.
    pub regexp: Option<RewriteRegexp>,
    /// Renders a template per name.
    pub transform: Option<RewriteTransform>,
    /// Merges the JSON objects that the values hold.
    pub merge: Option<RewriteMerge>,
}

/// Replaces what matches.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct RewriteRegexp {
    /// Regular expression.
    pub source: String,
    /// Replacement; `$1` and `${name}` stand for groups.
    pub target: String,
}

/// Renders a template per name.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct RewriteTransform {
    /// Template; `.value` is the name.
    pub template: String,
}

/// Merges the JSON objects that the values hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// Entry that takes the merged object under strategy JSON.
    pub into: Option<String>,
    /// Entries that win, the last one most.
    #[serde(default)]
    pub priority: Vec<String>,
    /// Whether every entry of `priority` must be there. Absent means Strict.
    pub priority_policy: Option<MergePriority>,
    /// What is done when two values hold the same field. Absent means Error.
    pub conflict_policy: Option<MergeConflict>,
    /// What becomes of the merged object. Absent means Extract.
    pub strategy: Option<MergeStrategy>,
}

/// Whether every entry of `priority` must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MergePriority {
    /// It must.
    #[default]
    Strict,
    /// It may be missing.
    IgnoreNotFound,
}

/// What is done when two values hold the same field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MergeConflict {
    /// The later one wins.
    Ignore,
    /// It is an error.
    #[default]
    Error,
}

/// What becomes of the merged object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MergeStrategy {
    /// Each field becomes an entry, and nothing else stays.
    #[default]
    Extract,
    /// It becomes one entry beside the others.
    #[serde(rename = "JSON")]
    Json,
}

/// Store or generator of some entries.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceRef {
    /// A store.
    pub store_ref: Option<StoreRef>,
    /// A generator.
    pub generator_ref: Option<GeneratorRef>,
}

/// A generator.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorRef {
    /// Group and version; absent means `generators.external-secrets.io/v1alpha1`.
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}
