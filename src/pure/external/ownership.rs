//! Which Secret, which entries and which metadata belong to an ExternalSecret. Names and forms are External Secrets
//! Operator's, so that a cluster can change hands in both directions without a write.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};

use super::{ExternalError, gohash};
use crate::pure::crd::external_secret::{CreationPolicy, ExternalSecret};
use crate::pure::desired::ObservedSecret;

/// Finalizer of every ExternalSecret.
pub const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// Label of every Secret that is written; its value is `true`.
pub const LABEL_MANAGED: &str = "reconcile.external-secrets.io/managed";
/// Label of every Secret that is owned; its value is the digest of the owner's namespace and name.
pub const LABEL_OWNER: &str = "reconcile.external-secrets.io/created-by";
/// Annotation with the digest of the data.
pub const ANNOTATION_HASH: &str = "reconcile.external-secrets.io/data-hash";

const GROUP: &str = "external-secrets.io";
const KIND: &str = "ExternalSecret";

/// Field manager of the Secrets of one ExternalSecret: its name, or a digest of it where the name is too long for the
/// 63 characters that the incumbent allows itself.
pub fn manager(es_name: &str) -> String {
    let plain = format!("externalsecrets.external-secrets.io/{es_name}");
    if plain.len() <= 63 {
        plain
    } else {
        format!("externalsecrets.external-secrets.io/sha3/{}", gohash::of_text(es_name))
    }
}

/// Value of [`LABEL_OWNER`].
pub fn owner_label(es: &ExternalSecret) -> String {
    let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
    gohash::of_text(&format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()))
}

/// Names that one field manager holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Entries of `data`.
    pub data: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeSet<String>,
    /// Annotations.
    pub annotations: BTreeSet<String>,
}

/// What `manager` holds by `metadata.managedFields`.
pub fn managed(fields: &[ManagedFieldsEntry], manager: &str) -> Managed {
    let mut held = Managed::default();
    for entry in fields.iter().filter(|entry| entry.manager.as_deref() == Some(manager)) {
        let Some(fields) = &entry.fields_v1 else { continue };
        for (path, names) in [
            ("/f:data", &mut held.data),
            ("/f:metadata/f:labels", &mut held.labels),
            ("/f:metadata/f:annotations", &mut held.annotations),
        ] {
            let object = fields.0.pointer(path).and_then(serde_json::Value::as_object);
            let keys = object.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("f:"));
            names.extend(keys.map(str::to_owned));
        }
    }
    held
}

fn is_external_secret(owner: &OwnerReference) -> bool {
    owner.kind == KIND && owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

/// Whether this ExternalSecret, and not another of the same name, controls the Secret.
pub fn controls(es: &ExternalSecret, secret: &ObservedSecret) -> bool {
    secret
        .controller()
        .is_some_and(|owner| is_external_secret(owner) && es.metadata.uid.as_deref() == Some(owner.uid.as_str()))
}

/// The owners that the Secret shall have. Refuses a Secret of another ExternalSecret, and, where it would have to be
/// owned, one that something else controls.
pub fn owners(es: &ExternalSecret, secret: Option<&ObservedSecret>) -> Result<Vec<OwnerReference>, ExternalError> {
    let name = es.metadata.name.as_deref().unwrap_or_default();
    let mut owners = secret.map(|secret| secret.owners.clone()).unwrap_or_default();
    let is_ours = |owner: &OwnerReference| is_external_secret(owner) && owner.name == name;
    if let Some(controller) = secret.and_then(ObservedSecret::controller) {
        let secret = secret.map(|s| format!("{}/{}", s.namespace, s.name)).unwrap_or_default();
        if is_external_secret(controller) && controller.name != name {
            return Err(ExternalError::OwnedByAnother { secret, owner: controller.name.clone() });
        }
        if es.spec.creation_policy() == CreationPolicy::Owner && !is_ours(controller) {
            let owner = format!("{} {}", controller.kind, controller.name);
            return Err(ExternalError::Controlled { secret, owner });
        }
    }
    if es.spec.creation_policy() != CreationPolicy::Owner {
        owners.retain(|owner| !is_ours(owner));
        return Ok(owners);
    }
    // Without a UID there is no API server that could follow the reference.
    let Some(uid) = es.metadata.uid.clone() else { return Ok(owners) };
    let reference = OwnerReference {
        api_version: format!("{GROUP}/v1"),
        kind: KIND.into(),
        name: name.into(),
        uid,
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    match owners.iter_mut().find(|owner| is_ours(owner)) {
        Some(ours) => *ours = reference,
        None => owners.push(reference),
    }
    Ok(owners)
}

/// Whether the Secret is as this ExternalSecret left it: there, labelled, and with data that the digest fits.
///
/// Orphan is always valid: the Secret is left to others between two refreshes. So is None, and Merge without a Secret
/// to merge into: reading the values again could not change anything (External Secrets Operator reads them each time).
pub fn valid(es: &ExternalSecret, secret: Option<&ObservedSecret>) -> bool {
    match (es.spec.creation_policy(), secret) {
        (CreationPolicy::Orphan | CreationPolicy::None, _) | (CreationPolicy::Merge, None) => true,
        (_, None) => false,
        (_, Some(secret)) => {
            secret.labels.get(LABEL_MANAGED).map(String::as_str) == Some("true")
                && secret.annotations.get(ANNOTATION_HASH) == Some(&gohash::of_data(&secret.data))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::external_secret;
    use super::*;

    fn secret(owners: serde_json::Value) -> ObservedSecret {
        let json = serde_json::json!({"metadata": {"namespace": "team", "name": "db", "ownerReferences": owners}});
        ObservedSecret::from_json(json.to_string().as_bytes()).expect("a Secret")
    }

    #[test]
    fn managers_and_labels_are_the_incumbents() {
        assert_eq!(manager("db"), "externalsecrets.external-secrets.io/db");
        assert_eq!(manager(&"a".repeat(27)).len(), 63);
        assert_eq!(
            manager("a-very-long-external-secret-name-over-27"),
            "externalsecrets.external-secrets.io/sha3/884334df2c4a8fc612a9499270a953ccdc7dba31c5d6a93e04363bec"
        );
        let mut es = external_secret(serde_json::json!({}));
        es.metadata.namespace = Some("default".into());
        es.metadata.name = Some("my-es".into());
        assert_eq!(owner_label(&es), "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4");
    }

    #[test]
    fn managed_fields_name_what_is_ours() {
        let entry = |manager: &str| -> ManagedFieldsEntry {
            serde_json::from_value(serde_json::json!({"manager": manager, "operation": "Update", "fieldsV1": {
                "f:data": {".": {}, "f:a": {}, "f:b.c": {}},
                "f:metadata": {"f:labels": {".": {}, "f:l/x": {}}, "f:annotations": {"f:n": {}}, "f:ownerReferences": {}},
            }}))
            .expect("entry")
        };
        let held = managed(&[entry("other"), entry("us")], "us");
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(held, Managed { data: set(&["a", "b.c"]), labels: set(&["l/x"]), annotations: set(&["n"]) });
        assert_eq!(managed(&[entry("other")], "us"), Managed::default());
    }

    #[test]
    fn owners_are_taken_kept_and_given_up() {
        let owned = external_secret(serde_json::json!({}));
        let orphan = external_secret(serde_json::json!({"target": {"creationPolicy": "Orphan"}}));
        let ours = serde_json::json!({"apiVersion": "external-secrets.io/v1beta1", "kind": "ExternalSecret", "name": "db", "uid": "old", "controller": true});
        let other = serde_json::json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "x", "uid": "u", "controller": true});
        let foreign = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u", "controller": true});
        let loose = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u"});
        for (es, before, want) in [
            (&owned, serde_json::json!([]), Ok(vec!["ExternalSecret db es-uid"])),
            (&owned, serde_json::json!([ours]), Ok(vec!["ExternalSecret db es-uid"])),
            (&owned, serde_json::json!([loose]), Ok(vec!["Deployment d u", "ExternalSecret db es-uid"])),
            (&owned, serde_json::json!([other]), Err("target is owned by another ExternalSecret")),
            (&owned, serde_json::json!([foreign]), Err("failed to take ownership of target secret")),
            (&orphan, serde_json::json!([other]), Err("target is owned by another ExternalSecret")),
            (&orphan, serde_json::json!([foreign]), Ok(vec!["Deployment d u"])),
            (&orphan, serde_json::json!([ours, loose]), Ok(vec!["Deployment d u"])),
        ] {
            let got = owners(es, Some(&secret(before.clone())));
            let got =
                got.as_ref().map(|list| list.iter().map(|o| format!("{} {} {}", o.kind, o.name, o.uid)).collect());
            let want = want.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(got.map_err(ExternalError::condition_message), want, "{before}");
        }
        assert!(controls(
            &owned,
            &secret(
                serde_json::json!([{"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db", "uid": "es-uid", "controller": true}])
            )
        ));
        assert!(!controls(&owned, &secret(serde_json::json!([ours]))), "a namesake that is gone");
    }

    #[test]
    fn an_edited_secret_is_not_valid() {
        let es = |policy: &str| external_secret(serde_json::json!({"target": {"creationPolicy": policy}}));
        let secret = |managed: &str, hash: &str| {
            let json = serde_json::json!({"metadata": {"name": "db", "labels": {LABEL_MANAGED: managed},
                "annotations": {ANNOTATION_HASH: hash}}, "data": {"a": "MQ==", "b": "dHdv"}});
            ObservedSecret::from_json(json.to_string().as_bytes()).expect("a Secret")
        };
        let right = "5d8f897484a74d9d81b2e17c83b95e9142da766fb0649016cee80693";
        assert!(valid(&es("Owner"), Some(&secret("true", right))));
        assert!(!valid(&es("Owner"), Some(&secret("true", "0"))));
        assert!(!valid(&es("Owner"), Some(&secret("false", right))));
        assert!(!valid(&es("Owner"), None));
        assert!(valid(&es("Orphan"), None));
        assert!(valid(&es("None"), None));
        assert!(valid(&es("Merge"), None));
        assert!(!valid(&es("Merge"), Some(&secret("true", "0"))));
        assert!(!valid(&es("CreateOrMerge"), None));
    }
}
