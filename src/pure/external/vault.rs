//! What a key and an answer of Vault's KV engine mean.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::json::{self, Kind, Node};
use crate::pure::crd::secret_store::VaultVersion;
use crate::pure::secret::Plaintext;

/// Mount of the engine and path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Mount.
    pub mount: String,
    /// Path, without `data/`.
    pub path: String,
}

impl Location {
    /// The place `path` below this one.
    pub fn below(&self, path: &str) -> Self {
        let path = if self.path.is_empty() { path.to_owned() } else { format!("{}/{path}", self.path) };
        Self { mount: self.mount.clone(), path }
    }
}

/// Where a key is: below `spec.provider.vault.path` when that is set (a key may repeat it, and `data/` after it), else
/// its first part is the mount. `None` when there is no mount, or a part would leave it.
pub fn locate(mount: Option<&str>, version: VaultVersion, key: &str) -> Option<Location> {
    let without_data = |path: &str| match version {
        VaultVersion::V2 => path.strip_prefix("data/").unwrap_or(path).to_owned(),
        VaultVersion::V1 => path.to_owned(),
    };
    let (mount, path) = match mount.filter(|mount| !mount.is_empty()) {
        Some(mount) => {
            let mount = mount.trim_matches('/');
            match key.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/')) {
                Some(rest) => (mount.to_owned(), without_data(rest)),
                None => (mount.to_owned(), key.to_owned()),
            }
        }
        None => match key.split_once("/data/").filter(|_| version == VaultVersion::V2) {
            // A mount may have several parts when the key says where it ends.
            Some((mount, path)) => (mount.to_owned(), path.to_owned()),
            None => {
                let (mount, path) = key.split_once('/')?;
                (mount.to_owned(), path.to_owned())
            }
        },
    };
    let leaves = |text: &str| text.split('/').any(|part| part == "." || part == "..");
    (!mount.is_empty() && !path.is_empty() && !leaves(&mount) && !leaves(&path)).then_some(Location { mount, path })
}

/// Where the names are of a search that begins at `path`, which like a key may begin with the mount. The path of the folder
/// is empty for the whole mount. `None` as for [`locate`].
pub fn folder(mount: Option<&str>, version: VaultVersion, path: Option<&str>) -> Option<Location> {
    // A folder is where the parts of a key are, the last one left out.
    let inside = match path.unwrap_or_default().trim_end_matches('/') {
        "" => "-".to_owned(),
        path => format!("{path}/-"),
    };
    let at = locate(mount, version, &inside)?;
    let path = at.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(Location { mount: at.mount, path: path.to_owned() })
}

/// The names in an answer to LIST; those of folders end in `/`. `None` when it is no such answer, or a name would leave its
/// folder.
pub fn names(body: &[u8]) -> Option<Vec<String>> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let Some(keys) = answer.get("data")?.get("keys") else { return Some(vec![]) };
    let keys: Vec<String> = serde_json::from_value(keys.clone()).ok()?;
    let inside = |name: &String| !matches!(name.trim_end_matches('/'), "" | "." | "..");
    keys.iter().all(inside).then_some(keys)
}

/// The tags of a value, out of an answer with its metadata: the custom fields.
pub fn tags(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let custom = answer.get("data")?.get("custom_metadata").filter(|custom| !custom.is_null());
    custom.map_or(Some(BTreeMap::new()), |custom| serde_json::from_value(custom.clone()).ok())
}

/// What stands in an answer with status 200.
pub fn document(version: VaultVersion, body: &[u8]) -> Option<Plaintext> {
    let node = json::parse(std::str::from_utf8(body).ok()?)?;
    let data = field(&node, "data")?;
    let data = match version {
        VaultVersion::V1 => data,
        VaultVersion::V2 => field(data, "data")?,
    };
    matches!(data.kind, Kind::Object(_)).then(|| plain(json::sorted(data)))
}

/// The metadata of a value of the versioned engine: the custom fields, and three of the engine's own.
pub fn metadata(body: &[u8]) -> Option<Plaintext> {
    let node = json::parse(std::str::from_utf8(body).ok()?)?;
    let data = field(&node, "data")?;
    let own = ["created_time", "current_version", "delete_version_after"];
    let mut fields: Vec<(String, &str)> =
        own.iter().filter_map(|name| field(data, name).map(|node| ((*name).to_owned(), node.raw))).collect();
    if let Some(Node { kind: Kind::Object(custom), .. }) = field(data, "custom_metadata") {
        fields.extend(custom.iter().map(|(name, node)| (name.clone(), node.raw)));
    }
    let fields: Vec<String> =
        fields.iter().map(|(name, raw)| format!("{}:{raw}", serde_json::Value::from(name.as_str()))).collect();
    let text = Zeroizing::new(format!("{{{}}}", fields.join(",")));
    json::parse(&text).map(|node| plain(json::sorted(&node)))
}

/// Whether an answer with status 404 says that the value does not exist. A missing mount and a page of a proxy are 404
/// too, and must not be taken for a value that was deleted.
pub fn says_missing(body: &[u8]) -> bool {
    let Some(node) = std::str::from_utf8(body).ok().and_then(json::parse) else { return false };
    match field(&node, "errors") {
        Some(Node { kind: Kind::Array(errors), .. }) => errors.is_empty(),
        Some(_) => false,
        // A deleted version of the versioned engine.
        None => field(&node, "data").is_some(),
    }
}

fn field<'n, 'a>(node: &'n Node<'a>, name: &str) -> Option<&'n Node<'a>> {
    match &node.kind {
        Kind::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
        _ => None,
    }
}

fn plain(mut text: Zeroizing<String>) -> Plaintext {
    Plaintext::from(std::mem::take(&mut *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_mount_and_path() {
        use VaultVersion::{V1, V2};
        for (mount, version, key, want) in [
            (Some("secret"), V2, "app", Some(("secret", "app"))),
            (Some("secret"), V2, "app/db", Some(("secret", "app/db"))),
            (Some("secret"), V2, "secret/app", Some(("secret", "app"))),
            (Some("secret"), V2, "secret/data/app", Some(("secret", "app"))),
            (Some("secret"), V2, "data/app", Some(("secret", "data/app"))),
            (Some("secret"), V1, "secret/data/app", Some(("secret", "data/app"))),
            (Some("team/kv"), V2, "app", Some(("team/kv", "app"))),
            (None, V2, "secret/app/db", Some(("secret", "app/db"))),
            (None, V2, "secret/data/app", Some(("secret", "app"))),
            (None, V2, "team/kv/data/app", Some(("team/kv", "app"))),
            (None, V1, "kv1/app", Some(("kv1", "app"))),
            (None, V2, "app", None),
            (Some("secret"), V2, "../sys/raw", None),
            (Some("secret"), V2, "", None),
        ] {
            let got = locate(mount, version, key);
            let got = got.as_ref().map(|l| (l.mount.as_str(), l.path.as_str()));
            assert_eq!(got, want, "{mount:?} {version:?} {key}");
        }
    }

    #[test]
    fn a_search_begins_at_a_folder() {
        use VaultVersion::{V1, V2};
        for (mount, version, path, want) in [
            (Some("secret"), V2, None, Some(("secret", ""))),
            (Some("secret"), V2, Some(""), Some(("secret", ""))),
            (Some("secret"), V2, Some("app"), Some(("secret", "app"))),
            (Some("secret"), V2, Some("app/db/"), Some(("secret", "app/db"))),
            (Some("secret"), V2, Some("secret"), Some(("secret", ""))),
            (Some("secret"), V2, Some("secret/data/app"), Some(("secret", "app"))),
            (Some("secret"), V1, Some("app"), Some(("secret", "app"))),
            (None, V2, Some("secret"), Some(("secret", ""))),
            (None, V2, Some("secret/data/app"), Some(("secret", "app"))),
            (None, V2, Some("team/kv/data"), Some(("team/kv", ""))),
            (None, V2, None, None),
            (Some("secret"), V2, Some("../sys"), None),
        ] {
            let got = folder(mount, version, path);
            let got = got.as_ref().map(|l| (l.mount.as_str(), l.path.as_str()));
            assert_eq!(got, want, "{mount:?} {version:?} {path:?}");
        }
    }

    #[test]
    fn lists_and_tags_are_read() {
        let keys = names(br#"{"data":{"keys":["a","b/"]}}"#);
        assert_eq!(keys.as_deref(), Some(["a".to_owned(), "b/".to_owned()].as_slice()));
        assert_eq!(names(br#"{"data":{}}"#), Some(vec![]));
        for odd in
            [&br#"{"data":{"keys":["../"]}}"#[..], br#"{"data":{"keys":["/"]}}"#, br#"{"data":{"keys":[1]}}"#, b"x"]
        {
            assert_eq!(names(odd), None);
        }
        let of = |body: &[u8]| tags(body).map(|tags| tags.into_iter().collect::<Vec<_>>());
        let owner = ("owner".to_owned(), "me".to_owned());
        assert_eq!(of(br#"{"data":{"current_version":2,"custom_metadata":{"owner":"me"}}}"#), Some(vec![owner]));
        assert_eq!(of(br#"{"data":{"custom_metadata":null}}"#), Some(vec![]));
        assert_eq!(of(b"<html>"), None);
    }

    #[test]
    fn answers_are_unwrapped() {
        let text = |value: Option<Plaintext>| value.and_then(|v| v.expose_str().map(str::to_owned));
        let v2 = br#"{"data":{"data":{"b":1.0,"a":"x"},"metadata":{"version":1}}}"#;
        assert_eq!(text(document(VaultVersion::V2, v2)).as_deref(), Some(r#"{"a":"x","b":1.0}"#));
        assert_eq!(text(document(VaultVersion::V1, br#"{"data":{"a":"x"}}"#)).as_deref(), Some(r#"{"a":"x"}"#));
        assert_eq!(text(document(VaultVersion::V2, br#"{"data":{"data":null}}"#)), None);
        assert_eq!(text(document(VaultVersion::V2, b"<html>")), None);
        let body = br#"{"data":{"created_time":"t","current_version":2,"delete_version_after":"0s","custom_metadata":{"owner":"me"},"versions":{}}}"#;
        assert_eq!(
            text(metadata(body)).as_deref(),
            Some(r#"{"created_time":"t","current_version":2,"delete_version_after":"0s","owner":"me"}"#)
        );
    }

    #[test]
    fn only_a_missing_value_is_missing() {
        assert!(says_missing(br#"{"errors":[]}"#));
        assert!(says_missing(br#"{"data":{"data":null,"metadata":{"deletion_time":"t"}}}"#));
        assert!(!says_missing(br#"{"errors":["no handler for route \"kv\""]}"#));
        assert!(!says_missing(b"<html>404</html>"));
        assert!(!says_missing(b""));
    }
}
