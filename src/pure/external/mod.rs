//! ExternalSecrets: from references to values of stores to one Secret. No I/O: [`plan`] says what to read, somebody
//! reads it, [`collect`] turns the answers into entries, [`decide`] says what becomes of the Secret.
//!
//! Rules and texts are those of External Secrets Operator 2.9; each difference on purpose is in
//! docs/compat/external-secrets.md.

pub mod decide;
mod error;
pub mod fake;
pub mod find;
mod gjson;
pub mod gohash;
mod json;
pub mod ownership;
pub mod refresh;
mod render;
mod rewrite;
mod select;
mod spec;
pub mod store;
pub mod templating;
pub mod vault;
mod windows;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

pub use error::{ExternalError, StoreError};
pub use find::Search;
pub use render::{Rendered, render};
pub use spec::validate;

use super::crd::external_secret::{
    DeletionPolicy, ExternalSecret, MetadataPolicy, RemoteRef, SourceRef, StoreKind, StoreRef,
};
use super::desired::{Candidate, Proof};
use super::secret::{Plaintext, SecretData};

/// Which store. The namespace is that of the ExternalSecret, and empty for a ClusterSecretStore.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId {
    /// Kind.
    pub kind: StoreKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", self.kind.as_str(), self.name)
    }
}

/// One value of a store, whole. Properties are picked here, so that several entries of one value need one read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteKey {
    /// Name or path in the store.
    pub key: String,
    /// Version; `None` means the current one.
    pub version: Option<String>,
    /// The metadata of the value in place of the value.
    pub metadata: bool,
}

/// What is asked of a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Want {
    /// One value.
    Value(RemoteKey),
    /// All values that match.
    Matches(Search),
}

/// One read that an ExternalSecret needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The field that asks for it, for error texts.
    pub place: String,
    /// Where.
    pub store: StoreId,
    /// What.
    pub want: Want,
}

/// Rules by which properties and fields of a value are found; they differ from store to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Vault and OpenBao.
    Vault,
    /// AWS Secrets Manager.
    Aws,
    /// The fake store.
    Fake,
}

/// What a store answered. Values are shared: two references to one key hold the same bytes.
pub enum Fetched {
    /// One value.
    Value(Arc<Plaintext>, Dialect),
    /// All values that match, by name.
    Matches(SecretData),
}

/// Answer to one [`Fetch`].
pub type Answer = Result<Fetched, StoreError>;

/// The entries that the answers make.
pub struct Collected {
    /// Entries.
    pub data: SecretData,
    /// References whose value does not exist, under a deletion policy that allows it; one line each.
    pub missing: Vec<String>,
    proof: Proof,
}

/// What to read, in the order in which [`collect`] wants the answers.
pub fn plan(es: &ExternalSecret) -> Result<Vec<Fetch>, ExternalError> {
    validate(es)?;
    let mut fetches = vec![];
    for (index, from) in es.spec.data_from.iter().enumerate() {
        let place = from_place(index, from.find.is_some());
        let store = store_of(es, &place, from.source_ref.as_ref())?;
        let want = match (&from.extract, &from.find) {
            (Some(extract), _) => Want::Value(remote_key(extract)),
            (None, Some(find)) => Want::Matches(Search {
                path: find.path.clone(),
                name: find.name.as_ref().and_then(|name| name.regexp.clone()),
                tags: find.tags.clone().unwrap_or_default().into_iter().collect(),
            }),
            (None, None) => {
                return Err(ExternalError::Spec {
                    detail: format!("spec.dataFrom[{index}] names neither extract nor find"),
                });
            }
        };
        fetches.push(Fetch { place, store, want });
    }
    for (index, entry) in es.spec.data.iter().enumerate() {
        let place = data_place(index);
        let store = store_of(es, &place, entry.source_ref.as_ref())?;
        fetches.push(Fetch { place, store, want: Want::Value(remote_key(&entry.remote_ref)) });
    }
    Ok(fetches)
}

fn from_place(index: usize, find: bool) -> String {
    format!("spec.dataFrom[{index}].{}", if find { "find" } else { "extract" })
}

fn data_place(index: usize) -> String {
    format!("spec.data[{index}]")
}

fn remote_key(reference: &RemoteRef) -> RemoteKey {
    RemoteKey {
        key: reference.key.clone(),
        version: reference.version.clone().filter(|version| !version.is_empty()),
        metadata: reference.metadata_policy == Some(MetadataPolicy::Fetch),
    }
}

fn store_of(es: &ExternalSecret, place: &str, source: Option<&SourceRef>) -> Result<StoreId, ExternalError> {
    let named = |store: &&StoreRef| store.name.as_deref().is_some_and(|name| !name.is_empty());
    let store = source
        .and_then(|source| source.store_ref.as_ref())
        .filter(named)
        .or(es.spec.secret_store_ref.as_ref().filter(named))
        .ok_or_else(|| ExternalError::NoStore { place: place.to_owned() })?;
    let kind = store.kind.unwrap_or_default();
    let namespace = match kind {
        StoreKind::SecretStore => es.metadata.namespace.clone().unwrap_or_default(),
        StoreKind::ClusterSecretStore => String::new(),
    };
    Ok(StoreId { kind, namespace, name: store.name.clone().unwrap_or_default() })
}

/// Turns the answers to [`plan`] into entries: properties, rewrites, names, decoding. An entry of `data` replaces one
/// of `dataFrom`, and a later one of `dataFrom` an earlier one. `now` is what templates of `rewrite` take for the present.
pub fn collect(es: &ExternalSecret, answers: Vec<Answer>, now: Timestamp) -> Result<Collected, ExternalError> {
    let wanted = es.spec.data_from.len() + es.spec.data.len();
    if answers.len() != wanted {
        let detail = format!("{} answers for {wanted} references", answers.len());
        return Err(ExternalError::Spec { detail });
    }
    let mut collected = Collected { data: SecretData::new(), missing: vec![], proof: Proof::external_rendered() };
    let mut answers = answers.into_iter();
    for (index, (from, answer)) in es.spec.data_from.iter().zip(answers.by_ref()).enumerate() {
        let place = from_place(index, from.find.is_some());
        let Some(fetched) = present(es, &place, answer, &mut collected.missing)? else { continue };
        for (name, value) in from_entries(&place, from, fetched, now)? {
            collected.data.insert(name, value);
        }
    }
    for (index, (entry, answer)) in es.spec.data.iter().zip(answers).enumerate() {
        let place = data_place(index);
        let Some(fetched) = present(es, &place, answer, &mut collected.missing)? else { continue };
        let reference = &entry.remote_ref;
        let Some(value) = one_value(es, &place, reference, fetched, &mut collected.missing)? else { continue };
        let (decoding, null_bytes) = (reference.decoding_strategy, reference.null_byte_policy);
        let value = select::finish(&place, &entry.secret_key, value, decoding, null_bytes)?;
        collected.data.insert(entry.secret_key.clone(), value);
    }
    Ok(collected)
}

/// The answer, or `None` when the value does not exist and the deletion policy allows that.
fn present(
    es: &ExternalSecret,
    place: &str,
    answer: Answer,
    missing: &mut Vec<String>,
) -> Result<Option<Fetched>, ExternalError> {
    match answer {
        Ok(fetched) => Ok(Some(fetched)),
        Err(error) if error.is_missing() && es.spec.deletion_policy() != DeletionPolicy::Retain => {
            missing.push(format!("{place}: {error}"));
            Ok(None)
        }
        Err(source) => Err(ExternalError::Store { place: place.to_owned(), source }),
    }
}

fn one_value(
    es: &ExternalSecret,
    place: &str,
    reference: &RemoteRef,
    fetched: Fetched,
    missing: &mut Vec<String>,
) -> Result<Option<Plaintext>, ExternalError> {
    let Fetched::Value(document, dialect) = fetched else {
        return Err(ExternalError::Spec { detail: format!("{place}: several values for one entry") });
    };
    let Some(name) = reference.property.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(Some(document.duplicate()));
    };
    let (place, property) = (place.to_owned(), name.to_owned());
    match select::property(dialect, &document, name) {
        select::Property::Found(value) => Ok(Some(value)),
        select::Property::Unsupported => Err(ExternalError::PropertySyntax { place, property }),
        // The fake store calls a missing property a missing value.
        select::Property::Missing
            if dialect == Dialect::Fake && es.spec.deletion_policy() != DeletionPolicy::Retain =>
        {
            missing.push(format!("{place}: \"{}\" has no property \"{property}\"", reference.key));
            Ok(None)
        }
        select::Property::Missing => Err(ExternalError::NoProperty { place, key: reference.key.clone(), property }),
    }
}

fn from_entries(
    place: &str,
    from: &super::crd::external_secret::DataFrom,
    fetched: Fetched,
    now: Timestamp,
) -> Result<SecretData, ExternalError> {
    let (conversion, decoding, null_bytes) = match (&from.extract, &from.find) {
        (Some(extract), _) => (extract.conversion_strategy, extract.decoding_strategy, extract.null_byte_policy),
        (None, Some(find)) => (find.conversion_strategy, find.decoding_strategy, find.null_byte_policy),
        (None, None) => (None, None, None),
    };
    let mut data = match fetched {
        Fetched::Matches(data) => data,
        Fetched::Value(document, dialect) => extracted(place, from, &document, dialect)?,
    };
    data = if from.rewrite.is_empty() {
        select::convert_names(place, conversion.unwrap_or_default(), data)?
    } else {
        rewrite::apply(place, &from.rewrite, data, now)?
    };
    select::check_names(place, data)?
        .into_iter()
        .map(|(name, value)| select::finish(place, &name, value, decoding, null_bytes).map(|value| (name, value)))
        .collect()
}

/// The fields of a value, or of the object that its property holds.
fn extracted(
    place: &str,
    from: &super::crd::external_secret::DataFrom,
    document: &Plaintext,
    dialect: Dialect,
) -> Result<SecretData, ExternalError> {
    let (key, property) = match &from.extract {
        Some(extract) => (extract.key.clone(), extract.property.clone().unwrap_or_default()),
        None => Default::default(),
    };
    let not_an_object = |key: String| ExternalError::NotAnObject { place: place.to_owned(), key };
    if property.is_empty() {
        return select::fields(dialect, document).ok_or_else(|| not_an_object(key));
    }
    match select::property(dialect, document, &property) {
        select::Property::Found(part) => select::fields(dialect, &part).ok_or_else(|| not_an_object(key)),
        select::Property::Unsupported => Err(ExternalError::PropertySyntax { place: place.to_owned(), property }),
        select::Property::Missing => Err(ExternalError::NoProperty { place: place.to_owned(), key, property }),
    }
}

/// The Secret that an ExternalSecret makes where there is no cluster: nothing there before, and no owner, since an
/// owner is known by a UID that only the API server gives. `sources` holds what [`templating::sources`] names, and
/// `now` is what templates take for the present.
pub fn assemble(
    es: &ExternalSecret,
    answers: Vec<Answer>,
    sources: &templating::Sources,
    now: Timestamp,
) -> Result<(Candidate, Proof), ExternalError> {
    let collected = collect(es, answers, now)?;
    if collected.data.is_empty() {
        return Err(ExternalError::Nothing);
    }
    let Rendered { mut candidate, proof } = render(es, collected, None, sources, now)?;
    candidate.owners.clear();
    Ok((candidate, proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn external_secret(spec: serde_json::Value) -> ExternalSecret {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "db", "namespace": "team", "uid": "es-uid", "generation": 1},
            "spec": spec,
        }))
        .expect("an ExternalSecret")
    }

    fn value(text: &str, dialect: Dialect) -> Answer {
        Ok(Fetched::Value(Arc::new(Plaintext::from(text.to_owned())), dialect))
    }

    fn missing() -> Answer {
        Err(StoreError::NotFound { store: "SecretStore \"s\"".into(), key: "k".into() })
    }

    fn entries(data: &SecretData) -> Vec<(String, String)> {
        data.iter().map(|(name, value)| (name.to_owned(), value.expose_str().unwrap_or("?").to_owned())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_plan_names_stores_and_keys() {
        let es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"},
            "dataFrom": [{"extract": {"key": "all", "version": "3"}, "sourceRef": {"storeRef": {"kind": "ClusterSecretStore", "name": "c"}}}],
            "data": [{"secretKey": "a", "remoteRef": {"key": "k", "property": "p"}}],
        }));
        let plan = plan(&es).expect("plan");
        assert_eq!(plan.len(), 2);
        assert_eq!(plan[0].store.to_string(), "ClusterSecretStore \"c\"");
        assert_eq!(
            plan[0].want,
            Want::Value(RemoteKey { key: "all".into(), version: Some("3".into()), metadata: false })
        );
        assert_eq!(plan[1].place, "spec.data[0]");
        assert_eq!(plan[1].store, StoreId { kind: StoreKind::SecretStore, namespace: "team".into(), name: "s".into() });
    }

    #[test]
    fn a_reference_without_a_store_is_named() {
        let es = external_secret(serde_json::json!({"data": [{"secretKey": "a", "remoteRef": {"key": "k"}}]}));
        assert_eq!(plan(&es).err(), Some(ExternalError::NoStore { place: "spec.data[0]".into() }));
    }

    #[test]
    fn later_entries_replace_earlier_ones() {
        let es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"},
            "dataFrom": [
                {"extract": {"key": "one"}},
                {"extract": {"key": "two"}, "rewrite": [{"regexp": {"source": "^(.)$", "target": "x-$1"}}]},
            ],
            "data": [{"secretKey": "b", "remoteRef": {"key": "k", "property": "p.q", "decodingStrategy": "Base64"}}],
        }));
        let answers = vec![
            value(r#"{"a":"1","b":"2","c/d":"3"}"#, Dialect::Vault),
            value(r#"{"a":"4"}"#, Dialect::Vault),
            value(r#"{"p":{"q":"aGk="}}"#, Dialect::Vault),
        ];
        let collected = collect(&es, answers, Timestamp::UNIX_EPOCH).expect("collected");
        assert_eq!(entries(&collected.data), pairs(&[("a", "1"), ("b", "hi"), ("c_d", "3"), ("x-a", "4")]));
    }

    #[test]
    fn what_is_missing_depends_on_the_deletion_policy() {
        for (policy, want) in [("Retain", None), ("Delete", Some(1)), ("Merge", Some(1))] {
            let es = external_secret(serde_json::json!({
                "secretStoreRef": {"name": "s"}, "target": {"deletionPolicy": policy},
                "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}, {"secretKey": "b", "remoteRef": {"key": "l"}}],
            }));
            let collected = collect(&es, vec![missing(), value("v", Dialect::Aws)], Timestamp::UNIX_EPOCH);
            assert_eq!(collected.as_ref().ok().map(|c| c.missing.len()), want, "{policy}");
            if let Err(error) = collected {
                assert_eq!(error.to_string(), "spec.data[0]: SecretStore \"s\" has no \"k\"");
                assert_eq!(error.condition_message(), "could not get secret data from provider");
            }
        }
    }

    #[test]
    fn errors_name_the_place_and_never_a_value() {
        let es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"}, "dataFrom": [{"extract": {"key": "k"}}],
        }));
        let error = collect(&es, vec![value("hunter2", Dialect::Aws)], Timestamp::UNIX_EPOCH).err().expect("refused");
        assert_eq!(error.to_string(), "spec.dataFrom[0].extract: \"k\" is not a JSON object");
        let es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"},
            "data": [{"secretKey": "a", "remoteRef": {"key": "k", "property": "p"}}],
        }));
        let error = collect(&es, vec![value(r#"{"q":"hunter2"}"#, Dialect::Aws)], Timestamp::UNIX_EPOCH)
            .err()
            .expect("refused");
        assert_eq!(error.to_string(), "spec.data[0]: \"k\" has no property \"p\"");
    }

    #[test]
    fn a_secret_is_assembled_without_a_cluster() {
        let mut es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"}, "target": {"name": "out"},
            "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
        }));
        es.metadata.labels = Some([("app".to_owned(), "x".to_owned())].into());
        let (candidate, _) =
            assemble(&es, vec![value("v", Dialect::Fake)], &templating::Sources::default(), Timestamp::UNIX_EPOCH)
                .expect("assembled");
        assert_eq!((candidate.namespace.as_str(), candidate.name.as_str()), ("team", "out"));
        assert_eq!(candidate.labels.get("app").map(String::as_str), Some("x"));
        assert_eq!(entries(&candidate.data), pairs(&[("a", "v")]));
        assert!(candidate.owners.is_empty(), "there is no API server to give a UID");
    }
}
