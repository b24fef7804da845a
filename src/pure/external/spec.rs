//! Rules over a whole ExternalSecret that the schema cannot hold, or that must hold where no API server looked.

use std::collections::BTreeSet;

use super::{ExternalError, refresh, windows};
use crate::pure::crd::external_secret::{CreationPolicy, DeletionPolicy, ExternalSecret, Rewrite};

/// Refuses what cannot be meant, and what is not supported yet, by name.
pub fn validate(es: &ExternalSecret) -> Result<(), ExternalError> {
    let spec = &es.spec;
    let refuse = |detail: String| Err(ExternalError::Spec { detail });
    if spec.data.is_empty() && spec.data_from.is_empty() {
        return refuse("either data or dataFrom should be specified".into());
    }
    refresh::interval(es)?;
    if let Some(windows) = &spec.sync_windows {
        windows::validate(windows).map_err(|detail| ExternalError::Spec { detail })?;
    }
    let (creation, deletion) = (spec.creation_policy(), spec.deletion_policy());
    if deletion == DeletionPolicy::Delete && !matches!(creation, CreationPolicy::Owner | CreationPolicy::Orphan) {
        return refuse("deletionPolicy=Delete must not be used when the controller doesn't own the secret".into());
    }
    if deletion == DeletionPolicy::Merge && creation == CreationPolicy::None {
        return refuse("deletionPolicy=Merge must not be used with creationPolicy=None".into());
    }
    if spec.target.as_ref().is_some_and(|target| target.manifest.is_some()) {
        return Err(ExternalError::Unsupported { what: "target.manifest".into() });
    }
    for (index, from) in spec.data_from.iter().enumerate() {
        if from.source_ref.as_ref().is_some_and(|source| source.generator_ref.is_some()) {
            return Err(ExternalError::Unsupported { what: format!("spec.dataFrom[{index}].sourceRef.generatorRef") });
        }
        if from.extract.is_some() && from.find.is_some() {
            return refuse(format!("spec.dataFrom[{index}]: extract and find cannot be set at the same time"));
        }
        for (step, rewrite) in from.rewrite.iter().enumerate() {
            let Rewrite { regexp, transform, merge } = rewrite;
            let set = [regexp.is_some(), transform.is_some(), merge.is_some()].into_iter().filter(|set| *set).count();
            if set != 1 {
                return refuse(format!("spec.dataFrom[{index}].rewrite[{step}] needs exactly one operation"));
            }
        }
    }
    let mut names = BTreeSet::new();
    for (index, entry) in spec.data.iter().enumerate() {
        if entry.source_ref.as_ref().is_some_and(|source| source.generator_ref.is_some()) {
            return Err(ExternalError::Unsupported { what: format!("spec.data[{index}].sourceRef.generatorRef") });
        }
        if !names.insert(&entry.secret_key) && deletion == DeletionPolicy::Retain {
            return refuse(format!("spec.data[{index}]: duplicate secretKey \"{}\"", entry.secret_key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::external_secret;
    use super::*;
    use crate::pure::error::Explain as _;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let data = serde_json::json!([{"secretKey": "a", "remoteRef": {"key": "k"}}]);
        for (spec, want) in [
            (serde_json::json!({"data": data}), ""),
            (serde_json::json!({}), "InvalidSpec"),
            (serde_json::json!({"data": data, "refreshInterval": "soon"}), "InvalidSpec"),
            (serde_json::json!({"data": data, "target": {"deletionPolicy": "Delete"}}), ""),
            (
                serde_json::json!({"data": data, "target": {"deletionPolicy": "Delete", "creationPolicy": "Merge"}}),
                "InvalidSpec",
            ),
            (
                serde_json::json!({"data": data, "target": {"deletionPolicy": "Merge", "creationPolicy": "None"}}),
                "InvalidSpec",
            ),
            (
                serde_json::json!({"data": data, "target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
                "Unsupported",
            ),
            (
                serde_json::json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]}),
                "Unsupported",
            ),
            (serde_json::json!({"dataFrom": [{"extract": {"key": "k"}, "find": {}}]}), "InvalidSpec"),
            (serde_json::json!({"dataFrom": [{"extract": {"key": "k"}, "rewrite": [{}]}]}), "InvalidSpec"),
            (serde_json::json!({"data": [data[0], data[0]]}), "InvalidSpec"),
            (serde_json::json!({"data": [data[0], data[0]], "target": {"deletionPolicy": "Delete"}}), ""),
        ] {
            let got = validate(&external_secret(spec.clone())).err().map(|e| e.reason()).unwrap_or_default();
            assert_eq!(got, want, "{spec}");
        }
    }
}
