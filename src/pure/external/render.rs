//! The Secret that an ExternalSecret makes of its values and of the Secret that is there.

use k8s_openapi::jiff::Timestamp;

use super::templating::{self, Sources};
use super::{Collected, ExternalError, gohash, ownership};
use crate::pure::crd::external_secret::{CreationPolicy, ExternalSecret};
use crate::pure::desired::{Candidate, ObservedSecret, Proof};
use crate::pure::secret::SecretData;

/// A Secret before the guards, with the evidence that its values came from a store.
pub struct Rendered {
    /// The Secret.
    pub candidate: Candidate,
    /// The evidence.
    pub proof: Proof,
}

/// Lays the values out. What the ExternalSecret held before in the Secret is taken away first, so that entries and
/// labels that are no longer made disappear; what others hold stays (except entries under Owner and Orphan, which own
/// all of `data`). `sources` holds what [`templating::sources`] names, and `now` is what templates take for the
/// present. An existing Secret with `target.immutable` keeps entries and metadata as they are.
pub fn render(
    es: &ExternalSecret,
    collected: Collected,
    existing: Option<&ObservedSecret>,
    sources: &Sources,
    now: Timestamp,
) -> Result<Rendered, ExternalError> {
    let owners = ownership::owners(es, existing)?;
    let name = es.metadata.name.as_deref().unwrap_or_default();
    let Collected { data: values, proof, .. } = collected;
    let mut candidate = Candidate {
        namespace: es.metadata.namespace.clone().unwrap_or_default(),
        name: es.target_name().to_owned(),
        kind: existing.map(|secret| secret.kind.clone()).unwrap_or_default(),
        labels: existing.map(|secret| secret.labels.clone()).unwrap_or_default(),
        annotations: existing.map(|secret| secret.annotations.clone()).unwrap_or_default(),
        finalizers: existing.map(|secret| secret.finalizers.clone()).unwrap_or_default(),
        owners,
        immutable: if es.spec.immutable() { Some(true) } else { existing.and_then(|secret| secret.immutable) },
        data: existing.map(|secret| secret.data.duplicate()).unwrap_or_default(),
    };
    if existing.is_none() || !es.spec.immutable() {
        if let Some(secret) = existing {
            let held = ownership::managed(&secret.managed_fields, &ownership::manager(name));
            candidate.labels.retain(|label, _| !held.labels.contains(label));
            candidate.annotations.retain(|annotation, _| !held.annotations.contains(annotation));
            held.data.iter().for_each(|entry| drop(candidate.data.remove(entry)));
        }
        if matches!(es.spec.creation_policy(), CreationPolicy::Owner | CreationPolicy::Orphan) {
            candidate.data = SecretData::new();
        }
        lay_out(es, values, sources, now, existing, &mut candidate)?;
    }
    if es.spec.creation_policy() == CreationPolicy::Owner {
        candidate.labels.insert(ownership::LABEL_OWNER.into(), ownership::owner_label(es));
    } else {
        candidate.labels.remove(ownership::LABEL_OWNER);
    }
    candidate.labels.insert(ownership::LABEL_MANAGED.into(), "true".into());
    candidate.annotations.insert(ownership::ANNOTATION_HASH.into(), gohash::of_data(&candidate.data));
    Ok(Rendered { candidate, proof })
}

fn lay_out(
    es: &ExternalSecret,
    values: SecretData,
    sources: &Sources,
    now: Timestamp,
    existing: Option<&ObservedSecret>,
    candidate: &mut Candidate,
) -> Result<(), ExternalError> {
    if let Some(template) = es.spec.template() {
        return templating::apply(template, values, sources, now, existing, candidate);
    }
    candidate.labels.extend(es.metadata.labels.clone().unwrap_or_default());
    candidate.annotations.extend(es.metadata.annotations.clone().unwrap_or_default());
    for (name, value) in values {
        candidate.data.insert(name, value);
    }
    Ok(())
}
