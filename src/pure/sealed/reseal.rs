//! A SealedSecret sealed anew to another key, under the scope it has.
//!
//! The scope comes from the object's own annotations, which is where it is bound, and never from its template
//! (CVE-2026-22728). Nothing is rendered: the template is carried over as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::item::{self, SealFailure};
use super::keys::Certificate;
use super::scope::{CLUSTER_WIDE, NAMESPACE_WIDE, Scope};
use super::unseal::{OpenedEntries, UnsealError, object_key, object_scope, template};
use crate::pure::crd::sealed_secret::{EncryptedData, SealedSecret, SealedSecretSpec, Template};
use crate::pure::secret::SecretData;

/// Annotations that hold a copy of the whole input, values included.
pub const LAST_APPLIED: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "kubecfg.ksonnet.io/last-applied-configuration"];

/// An object could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error("error decrypting secret. {0}")]
    Unseal(#[from] UnsealError),
    /// The new key does not seal.
    #[error("error creating new sealed secret. {0}")]
    Seal(#[from] SealFailure),
}

/// Seals every value to `certificate`.
pub fn seal_entries(
    data: &SecretData,
    certificate: &Certificate,
    scope: Scope,
    namespace: &str,
    name: &str,
) -> Result<EncryptedData, SealFailure> {
    let label = scope.label(namespace, name);
    let seal = |(entry, value): (&str, _)| {
        let blob = item::seal(value, certificate.public(), &label)?;
        Ok((entry.to_owned(), STANDARD.encode(blob.to_bytes())))
    };
    data.iter().map(seal).collect::<Result<_, _>>().map(EncryptedData)
}

/// The object anew: name, namespace, scope and template as they were, every value sealed to `certificate`.
pub fn reseal(
    object: &SealedSecret,
    opened: OpenedEntries,
    certificate: &Certificate,
) -> Result<SealedSecret, ResealError> {
    let key = object_key(object);
    let scope = object_scope(object);
    let mut template = template(object)?.clone();
    if let Some(legacy) = opened.legacy {
        template.kind = legacy.kind;
        template.immutable = legacy.immutable;
        // Its own metadata was sealed: what goes out in clear is the request's, which whoever asks has already.
        template.metadata.labels = object.metadata.labels.clone().unwrap_or_default();
        template.metadata.annotations = object.metadata.annotations.clone().unwrap_or_default();
    }
    let metadata = &mut template.metadata;
    metadata.name.clone_from(&key.name);
    metadata.namespace.clone_from(&key.namespace);
    metadata.rest.shift_remove("ownerReferences");
    metadata.annotations.retain(|name, _| !LAST_APPLIED.contains(&name.as_str()));
    set_scope(&mut metadata.annotations, scope);

    let mut made = SealedSecret::new(
        &key.name,
        SealedSecretSpec {
            template: Template::Read(template),
            data: None,
            encrypted_data: seal_entries(&opened.data, certificate, scope, &key.namespace, &key.name)?,
        },
    );
    made.metadata.namespace = Some(key.namespace).filter(|namespace| !namespace.is_empty());
    if let Some(annotation) = scope.annotation() {
        made.metadata.annotations = Some([(annotation.to_owned(), "true".to_owned())].into());
    }
    Ok(made)
}

/// As [`reseal`], with the values that are on this key already as they stand.
pub fn reseal_old(
    object: &SealedSecret,
    opened: OpenedEntries,
    certificate: &Certificate,
) -> Result<SealedSecret, ResealError> {
    let current = opened.found.iter().filter(|found| found.key == *certificate.fingerprint());
    let kept: Vec<_> = current
        .filter_map(|found| object.spec.encrypted_data.0.get_key_value(&found.entry))
        .map(|(entry, text)| (entry.clone(), text.clone()))
        .collect();
    let mut made = reseal(object, opened, certificate)?;
    made.spec.encrypted_data.0.extend(kept);
    Ok(made)
}

/// Makes annotations say exactly this scope.
pub fn set_scope(annotations: &mut std::collections::BTreeMap<String, String>, scope: Scope) {
    annotations.remove(CLUSTER_WIDE);
    annotations.remove(NAMESPACE_WIDE);
    if let Some(annotation) = scope.annotation() {
        annotations.insert(annotation.into(), "true".into());
    }
}
