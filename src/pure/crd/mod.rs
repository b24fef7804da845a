//! The custom resources: serde, schema, CEL rules, conditions. No behaviour.
//!
//! One file per kind. `latchwork crds` prints [`all`]; the files under `crds/` are kept equal to it by a test.

pub mod encrypted_source;
pub mod external_secret;
pub mod key_ring;
pub mod sealed_secret;
pub mod secret_store;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use super::format::{self, EmitError, Format, FormatError, Indent};

/// Every CRD of the program with the name of its file under `crds/`.
pub fn all() -> BTreeMap<&'static str, CustomResourceDefinition> {
    BTreeMap::from([
        (sealed_secret::FILE, sealed_secret::SealedSecret::crd()),
        ("external-secrets.io_clustersecretstores.yaml", secret_store::cluster()),
        ("external-secrets.io_externalsecrets.yaml", external_secret::crd()),
        ("external-secrets.io_secretstores.yaml", secret_store::namespaced()),
        ("latchwork.dev_encryptedsources.yaml", encrypted_source::EncryptedSource::crd()),
        ("latchwork.dev_keyrings.yaml", key_ring::KeyRing::crd()),
    ])
}

/// A definition cannot be printed: a fault of this program, which the test of `crds/` would find first.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON.
    #[error("the definition is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not readable as JSON.
    #[error("the definition cannot be read back: {0}")]
    Read(#[from] FormatError),
    /// Not printable as YAML.
    #[error("the definition cannot be printed: {0}")]
    Print(#[from] EmitError),
}

/// One CRD as the text of a YAML file, in the stable order of its fields.
pub fn manifest(definition: &CustomResourceDefinition) -> Result<String, ManifestError> {
    let tree = format::parse(&serde_json::to_vec(definition)?, Format::Json)?;
    let text = format::emit_with(&tree.branches, Format::Yaml, Indent { yaml: Some(2), ..Indent::default() })?;
    Ok(String::from_utf8_lossy(text.expose()).into_owned())
}
