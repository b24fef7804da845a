//! `spec.provider.fake`: values in the store itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Values written in the store, for trials. They are not secret: whoever may read the store reads them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FakeProvider {
    /// The entries.
    #[serde(default)]
    pub data: Vec<FakeEntry>,
    /// What validation answers: 0 ready, 1 unknown, 2 failed.
    pub validation_result: Option<i32>,
}

/// One value.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct FakeEntry {
    /// Remote key.
    pub key: String,
    /// Value.
    #[serde(default)]
    pub value: FakeValue,
    /// Version; a reference finds the entry only with the same version.
    pub version: Option<String>,
}

/// Text that stands for a secret in trials. Not printed, so that a trial cannot teach a log to show one.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct FakeValue(pub String);

impl std::fmt::Debug for FakeValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}
