//! `destination_rules` of `.sops.yaml`: where `sops publish` brings a file, and with which keys.

use serde_json::{Map, Value as Json};

use super::{bad, read_rule, rename};
use crate::pure::sops::error::SopsError;
use crate::pure::sops::metadata::Fields;
use crate::pure::sops::pattern::Pattern;
use crate::pure::sops::seal::Plan;

/// The mount of Vault's KV engine where a rule names none.
const KV_MOUNT: &str = "secret";

/// What the first rule that matches says.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where the file goes.
    pub destination: Destination,
    /// Keys and selectors that it gets before it goes to a bucket; `None` leaves it as it is.
    pub recreation: Option<Plan>,
    /// The file's extension is left out at the destination.
    pub omit_extensions: bool,
}

/// A place for published files. Prefixes and paths stand before the file's name as they are: a prefix that is meant as a
/// folder ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A bucket of Amazon S3; takes encrypted files.
    S3 {
        /// Its name.
        bucket: String,
        /// Stands before the file's name.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage; takes encrypted files.
    Gcs {
        /// Its name.
        bucket: String,
        /// Stands before the file's name.
        prefix: String,
    },
    /// Vault's KV engine; takes decrypted values.
    Vault {
        /// Address; `None` for that of the user's environment.
        address: Option<String>,
        /// Where the engine is mounted, without slashes around.
        mount: String,
        /// Folder in the engine, without slashes around.
        folder: String,
        /// Version of the engine.
        version: KvVersion,
    },
}

/// Version of Vault's KV engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// One value per path.
    V1,
    /// Values with versions.
    V2,
}

impl Destination {
    /// The name of an object of a bucket, or the path of a value in Vault below `v1/`.
    ///
    /// # Errors
    /// A path that climbs, which HTTP clients would resolve before they sign it: the file would lie somewhere else. The
    /// text says so.
    pub fn path(&self, name: &str) -> Result<String, String> {
        let path = match self {
            Self::S3 { prefix, .. } | Self::Gcs { prefix, .. } => format!("{prefix}{name}"),
            Self::Vault { mount, folder, version, .. } => {
                let data = if *version == KvVersion::V2 { "/data" } else { "" };
                let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                format!("{mount}{data}/{folder}{name}")
            }
        };
        if path.is_empty() || path.ends_with('/') || path.split('/').any(|part| part == "." || part == "..") {
            return Err(format!("{path:?} cannot be the name of a published file; change the rule or the file's name"));
        }
        Ok(path)
    }

    /// The place as it is shown to the user, with `address` where the rule names none.
    pub fn shown(&self, path: &str, address: &str) -> String {
        match self {
            Self::S3 { bucket, .. } => format!("s3://{bucket}/{path}"),
            Self::Gcs { bucket, .. } => format!("gcs://{bucket}/{path}"),
            Self::Vault { address: own, .. } => {
                format!("{}/v1/{path}", own.as_deref().unwrap_or(address).trim_end_matches('/'))
            }
        }
    }
}

/// The first destination rule of a `.sops.yaml` that matches `path`, which is the path as the user named it: rules for
/// destinations do not look at where the file of rules lies.
///
/// # Errors
/// No rule matches; the one that matches names no destination or more than one, has a pattern that is none, or keys and
/// selectors that cannot be used.
pub fn publication(text: &str, path: &str) -> Result<Publication, SopsError> {
    let root = super::root(text)?;
    let rules = Fields(&root).list("destination_rules").map_err(rename)?;
    for (index, rule) in rules.into_iter().enumerate() {
        let fields = Fields(rule);
        let pattern = fields.text("path_regex").map_err(rename)?;
        // The real tool takes an invalid pattern for one that does not match, and goes on to a rule that was not meant.
        let matches = pattern.is_empty()
            || Pattern::new(&pattern)
                .map_err(|what| bad(format!("destination rule {}: path_regex: {what}", index + 1)))?
                .is_match(path.as_bytes());
        if matches {
            return read(rule, index);
        }
    }
    Err(bad("no matching destination found in config".into()))
}

fn read(rule: &Map<String, Json>, index: usize) -> Result<Publication, SopsError> {
    let fields = Fields(rule);
    let text = |name: &str| fields.text(name).map_err(rename);
    let mut found = vec![];
    if !text("s3_bucket")?.is_empty() {
        found.push(Destination::S3 { bucket: text("s3_bucket")?, prefix: text("s3_prefix")? });
    }
    if !text("gcs_bucket")?.is_empty() {
        found.push(Destination::Gcs { bucket: text("gcs_bucket")?, prefix: text("gcs_prefix")? });
    }
    if !text("vault_path")?.is_empty() {
        let mount = Some(text("vault_kv_mount_name")?).filter(|mount| !mount.is_empty());
        // A version that is neither is taken for the newer one, as the real tool does.
        let version =
            if fields.number("vault_kv_version").map_err(rename)? == 1 { KvVersion::V1 } else { KvVersion::V2 };
        found.push(Destination::Vault {
            address: Some(text("vault_address")?).filter(|address| !address.is_empty()),
            mount: mount.as_deref().unwrap_or(KV_MOUNT).trim_matches('/').to_owned(),
            folder: text("vault_path")?.trim_matches('/').to_owned(),
            version,
        });
    }
    let destination = match (found.pop(), found.is_empty()) {
        (Some(one), true) => one,
        (None, _) => return Err(bad("no destination configured for this file".into())),
        _ => {
            let what =
                "more than one destinations were found in a single destination rule, you can only use one per rule";
            return Err(bad(what.into()));
        }
    };
    let recreation = match fields.get("recreation_rule") {
        Some(Json::Object(rule)) => {
            Some(read_rule(rule, &format!("recreation rule of destination rule {}", index + 1))?)
        }
        _ => None,
    };
    Ok(Publication {
        destination,
        recreation: recreation.map(|rule| rule.plan).filter(|plan| plan.groups.iter().any(|group| !group.is_empty())),
        omit_extensions: fields.flag("omit_extensions").map_err(rename)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "destination_rules:
  - {path_regex: ^apps/, s3_bucket: b, s3_prefix: p/, recreation_rule: {age: r1, encrypted_regex: ^data$}}
  - {path_regex: vault1, vault_path: /team/, vault_kv_mount_name: kv/, vault_kv_version: 1, vault_address: 'https://v/'}
  - {path_regex: vault, vault_path: team/x, omit_extensions: true}
  - {path_regex: two, s3_bucket: a, gcs_bucket: b}
  - {path_regex: none, omit_extensions: true}
  - {path_regex: gcs, gcs_bucket: g, recreation_rule: {encrypted_regex: x}}
";

    fn shown(path: &str, name: &str) -> String {
        let found = publication(RULES, path).expect("matches");
        let path = found.destination.path(name).expect("a good name");
        found.destination.shown(&path, "http://default")
    }

    #[test]
    fn the_first_rule_that_matches_the_path_as_given_says_where() {
        assert_eq!(shown("apps/a.yaml", "a.yaml"), "s3://b/p/a.yaml");
        assert_eq!(shown("vault1.yaml", "vault1.yaml"), "https://v/v1/kv/team/vault1.yaml");
        assert_eq!(shown("./vault.yaml", "sub/vault"), "http://default/v1/secret/data/team/x/sub/vault");
        assert_eq!(shown("gcs", "gcs"), "gcs://g/gcs");
        let recreated = publication(RULES, "apps/a.yaml").expect("matches").recreation.expect("has keys");
        assert_eq!(recreated.groups.len(), 1);
        assert_eq!(recreated.selector.map(|selector| selector.parts().0), Some("encrypted_regex"));
        assert!(publication(RULES, "gcs").expect("matches").recreation.is_none(), "no keys: as it is");
        assert!(publication(RULES, "vault.yaml").expect("matches").omit_extensions);
    }

    #[test]
    fn rules_that_cannot_be_followed_are_refused() {
        for (text, path, why) in [
            (RULES, "other.yaml", "no matching destination"),
            (RULES, "two.yaml", "more than one destinations"),
            (RULES, "none.yaml", "no destination configured"),
            ("creation_rules: []\n", "a", "no matching destination"),
            ("destination_rules: [{path_regex: '(', s3_bucket: b}]\n", "a", "path_regex"),
            ("destination_rules: [{s3_bucket: b, recreation_rule: x}]\n", "a", "recreation_rule"),
        ] {
            let error = publication(text, path).expect_err("refused").to_string();
            assert!(error.contains(why), "{path}: {error}");
        }
    }

    #[test]
    fn names_do_not_climb() {
        let s3 = |prefix: &str| Destination::S3 { bucket: "b".into(), prefix: prefix.into() };
        for (prefix, name) in [("", ""), ("p/", ""), ("../", "a"), ("", "./a"), ("a/..", "/b")] {
            assert!(s3(prefix).path(name).is_err(), "{prefix} {name}");
        }
        assert_eq!(s3("p..").path("a..b").as_deref(), Ok("p..a..b"));
    }
}
