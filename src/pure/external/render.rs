//! The Secret that an ExternalSecret makes of its values and of the Secret that is there.

use std::collections::BTreeMap;

use super::{Collected, ExternalError, gohash, ownership};
use crate::pure::crd::external_secret::{CreationPolicy, ExternalSecret, Template, TemplateMergePolicy};
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
/// all of `data`). An existing Secret with `target.immutable` keeps entries and metadata as they are.
pub fn render(
    es: &ExternalSecret,
    collected: Collected,
    existing: Option<&ObservedSecret>,
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
        lay_out(es, values, &mut candidate)?;
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

fn lay_out(es: &ExternalSecret, values: SecretData, candidate: &mut Candidate) -> Result<(), ExternalError> {
    let Some(template) = es.spec.template() else {
        candidate.labels.extend(es.metadata.labels.clone().unwrap_or_default());
        candidate.annotations.extend(es.metadata.annotations.clone().unwrap_or_default());
        candidate.data = merged(std::mem::take(&mut candidate.data), values);
        return Ok(());
    };
    if let Some(kind) = template.kind.as_deref().filter(|kind| !kind.is_empty()) {
        candidate.kind = kind.to_owned();
    }
    if has_templates(template) {
        return Err(ExternalError::Unsupported { what: "target.template with template text".into() });
    }
    if let Some(metadata) = &template.metadata {
        candidate.labels.extend(metadata.labels.clone());
        candidate.annotations.extend(metadata.annotations.clone());
        let new = metadata.finalizers.iter().filter(|name| !candidate.finalizers.contains(name)).cloned();
        let new: Vec<String> = new.collect();
        candidate.finalizers.extend(new);
    }
    candidate.data = merged(std::mem::take(&mut candidate.data), values);
    Ok(())
}

fn has_templates(template: &Template) -> bool {
    let is_template = |map: &BTreeMap<String, String>| map.values().any(|value| value.contains("{{"));
    let metadata = template.metadata.as_ref();
    template.data.as_ref().is_some_and(|data| !data.is_empty())
        || !template.template_from.is_empty()
        || metadata.is_some_and(|metadata| is_template(&metadata.labels) || is_template(&metadata.annotations))
}

/// Whether the values that were read are entries beside what the template makes.
#[allow(dead_code, reason = "used once templates are rendered")]
fn keeps_values(template: &Template) -> bool {
    template.merge_policy == Some(TemplateMergePolicy::Merge) || !has_templates(template)
}

fn merged(mut base: SecretData, values: SecretData) -> SecretData {
    for (name, value) in values {
        base.insert(name, value);
    }
    base
}
