//! The custom resources: serde, schema, CEL rules, conditions. No behaviour.
//!
//! One file per kind. `latchwork crds` prints [`all`]; the files under `crds/` are kept equal to it by a test.

pub mod encrypted_source;
pub mod external_secret;
pub mod sealed_secret;
pub mod secret_store;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// Every CRD of the program with the name of its file under `crds/`.
pub fn all() -> BTreeMap<&'static str, CustomResourceDefinition> {
    BTreeMap::from([
        (sealed_secret::FILE, sealed_secret::SealedSecret::crd()),
        ("external-secrets.io_clustersecretstores.yaml", secret_store::cluster()),
        ("external-secrets.io_externalsecrets.yaml", external_secret::crd()),
        ("external-secrets.io_secretstores.yaml", secret_store::namespaced()),
        ("latchwork.dev_encryptedsources.yaml", encrypted_source::EncryptedSource::crd()),
    ])
}

/// One CRD as a file: JSON, which is YAML too, two blanks deep and in a stable order.
pub fn manifest(definition: &CustomResourceDefinition) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(definition)?;
    text.push('\n');
    Ok(text)
}
