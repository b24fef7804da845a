//! Whole objects. What the tests share; one file per subject.

mod decisions;
mod errors;
mod resealing;
mod turns;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use serde_json::json;

use super::decide::{Failure, MANAGED, Outcome, PATCH, SKIP_OWNER, conclude, decide};
use super::generate::{Generated, NewKey, generate};
use super::inventory::Inventory;
use super::keys::{Certificate, KeyOrder, KeyState, SealingKey, SealingKeys};
use super::mark::{self, Covered};
use super::opener::Effort;
use super::unseal::{UnsealOptions, object_scope, open_entries, unseal_and_learn, unseal_with};
use super::{Hints, Scope, UnsealError, item, scope, unseal};
use crate::pure::crd::sealed_secret::{IN_FORCE, SealedSecret};
use crate::pure::desired::{GuardPolicy, ObservedSecret, SecretAction, WriteMode};
use crate::pure::error::{Explain, Retry};
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

fn now() -> jiff::Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("time")
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sealed")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(vectors().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn vector(path: &str) -> SealedSecret {
    let text = String::from_utf8(read(path)).expect("UTF-8");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn vector_keys(names: &[&str]) -> SealingKeys {
    let mut keys = SealingKeys::new();
    for name in names {
        let (key, cert) = (read(&format!("keys/{name}.key")), read(&format!("keys/{name}.crt")));
        assert_eq!(keys.add_pem(name, &key, Some(&cert)), Ok(None));
    }
    keys
}

fn text<'a>(data: &'a SecretData, entry: &str) -> Option<&'a str> {
    data.get(entry).and_then(Plaintext::expose_str)
}

/// Keys of our own, small for speed.
fn made() -> &'static [Generated] {
    static MADE: OnceLock<Vec<Generated>> = OnceLock::new();
    MADE.get_or_init(|| {
        let at = |month: u8| NewKey {
            bits: 2048,
            common_name: String::new(),
            now: format!("2026-{month:02}-01T00:00:00Z").parse().expect("time"),
            validity: jiff::SignedDuration::from_hours(24 * 365),
        };
        (1..=3).map(|month| generate(&at(month)).expect("generates")).collect()
    })
}

fn key(index: usize, state: KeyState) -> SealingKey {
    let made = &made()[index];
    let (key, problem) =
        SealingKey::parse(&format!("k{index}"), made.key_pem.as_bytes(), Some(made.cert_pem.as_bytes()), state, None)
            .expect("parses");
    assert_eq!(problem, None);
    key
}

fn keys(indices: &[usize]) -> SealingKeys {
    let mut keys = SealingKeys::new();
    indices.iter().for_each(|index| keys.add(key(*index, KeyState::Active)));
    keys
}

fn sealed(index: usize, scope: Scope, namespace: &str, name: &str, value: &str) -> String {
    let certificate = Certificate::parse("k", made()[index].cert_pem.as_bytes()).expect("parses");
    let value = Plaintext::copy_of(value.as_bytes());
    let blob = item::seal(&value, certificate.public(), &scope.label(namespace, name)).expect("seals");
    STANDARD.encode(blob.to_bytes())
}

fn object(metadata: serde_json::Value, spec: serde_json::Value) -> SealedSecret {
    serde_json::from_value(json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": spec,
    }))
    .expect("decodes")
}

fn strict(spec: serde_json::Value) -> SealedSecret {
    object(json!({ "name": "s", "namespace": "n", "uid": "u1", "generation": 3 }), spec)
}

fn failed(object: &SealedSecret, keys: &SealingKeys) -> UnsealError {
    unseal(object, keys, &Hints::default(), now()).err().expect("fails")
}
