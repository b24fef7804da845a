//! The fake store: values written in the store itself. A function, so that it works without a cluster too.

use super::error::StoreError;
use super::{Answer, Dialect, Fetched, RemoteKey, Search, StoreId, Want};
use crate::pure::crd::secret_store::FakeProvider;
use crate::pure::secret::{Plaintext, SecretData};

/// Answers one read.
pub fn answer(provider: &FakeProvider, store: &StoreId, want: &Want) -> Answer {
    match want {
        Want::Value(key) => {
            fetch(provider, store, key).map(|value| Fetched::Value(std::sync::Arc::new(value), Dialect::Fake))
        }
        Want::Matches(search) => find(provider, store, search).map(Fetched::Matches),
    }
}

/// One value: of several entries with the same key and version, the last.
pub fn fetch(provider: &FakeProvider, store: &StoreId, key: &RemoteKey) -> Result<Plaintext, StoreError> {
    let version = key.version.as_deref().unwrap_or_default();
    provider
        .data
        .iter()
        .rfind(|entry| entry.key == key.key && entry.version.as_deref().unwrap_or_default() == version)
        .map(|entry| Plaintext::from(entry.value.0.clone()))
        .ok_or_else(|| StoreError::NotFound { store: store.to_string(), key: key.key.clone() })
}

/// All values whose key matches, each in its greatest version. The path is not looked at.
pub fn find(provider: &FakeProvider, store: &StoreId, search: &Search) -> Result<SecretData, StoreError> {
    let Some(names) = search.names(store)? else {
        return Err(StoreError::Unsupported {
            store: store.to_string(),
            what: "dataFrom.find without a name with provider fake".into(),
        });
    };
    let mut hits: Vec<_> = provider.data.iter().filter(|entry| names.is_match(&entry.key)).collect();
    // Of entries that are equal the last counts, as when one is read.
    hits.sort_by_key(|entry| entry.version.as_deref().unwrap_or_default());
    Ok(hits.into_iter().map(|entry| (entry.key.clone(), Plaintext::from(entry.value.0.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::crd::external_secret::StoreKind;

    fn provider() -> FakeProvider {
        serde_json::from_value(serde_json::json!({"data": [
            {"key": "/app/a", "value": "1"}, {"key": "/app/a", "value": "2", "version": "v2"},
            {"key": "/app/b", "value": "3"}, {"key": "/other/c", "value": "4"}, {"key": "/app/b", "value": "5"},
        ]}))
        .expect("provider")
    }

    fn store() -> StoreId {
        StoreId { kind: StoreKind::SecretStore, namespace: "n".into(), name: "s".into() }
    }

    #[test]
    fn values_are_found_by_key_and_version() {
        for (key, version, want) in [
            ("/app/a", None, Some("1")),
            ("/app/a", Some("v2"), Some("2")),
            ("/app/a", Some("v3"), None),
            ("/app/b", None, Some("5")),
            ("/app", None, None),
        ] {
            let key = RemoteKey { key: key.into(), version: version.map(str::to_owned), metadata: false };
            let got = fetch(&provider(), &store(), &key);
            assert_eq!(got.as_ref().ok().and_then(|v| v.expose_str()), want, "{key:?}");
            assert_eq!(got.err().is_some_and(|e| e.is_missing()), want.is_none());
        }
    }

    #[test]
    fn values_are_found_by_pattern() {
        for (name, path, want) in [
            (Some("a"), None, vec!["/app/a", "/app/b"]),
            (Some("^/app/a$"), None, vec!["/app/a"]),
            (Some("c"), Some("/app"), vec!["/other/c"]),
            (Some("nothing"), None, vec![]),
        ] {
            let search = Search { path: path.map(str::to_owned), name: name.map(str::to_owned), tags: vec![] };
            let found = find(&provider(), &store(), &search).expect("found");
            assert_eq!(found.names().collect::<Vec<_>>(), want, "{search:?}");
        }
        let search = Search { path: None, name: Some("/app/".into()), tags: vec![] };
        let found = find(&provider(), &store(), &search).expect("found");
        let values: Vec<_> = found.iter().map(|(_, value)| value.expose_str().unwrap_or_default()).collect();
        assert_eq!(values, ["2", "5"], "the greatest version of each, and of equal ones the last");
        let search = Search { path: Some("/app".into()), name: None, tags: vec![] };
        assert!(matches!(find(&provider(), &store(), &search), Err(StoreError::Unsupported { .. })));
        let search = Search { path: None, name: Some("(".into()), tags: vec![] };
        assert!(matches!(find(&provider(), &store(), &search), Err(StoreError::Config { .. })));
    }
}
