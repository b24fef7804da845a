//! A backup of the sealing keys: what stands in it, how it is read back, and what a key's Secret says about its backups.
//!
//! The content is a `v1` List of the key Secrets in JSON, so that `age -d FILE | kubectl apply -f -` restores it without
//! this program, and `kubeseal --recovery-unseal` reads it. Where the time of creation orders the keys it would be lost
//! with the old Secret: it is carried in an annotation.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::generate::KeySecret;
use super::keys::{KeyError, KeyFingerprint, SealingKey};
use super::reseal::LAST_APPLIED;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::{Explain, Retry};
use crate::pure::format::{self, Format};
use crate::pure::secret::Plaintext;

/// Annotation of a key Secret: the last backup that the key stands in, as [`BackupMark`] in JSON.
pub const BACKUP: &str = "latchwork.dev/backup";

/// Annotation of a key Secret: when a backup was last opened and found to hold this very key, RFC 3339.
pub const VERIFIED: &str = "latchwork.dev/backup-verified";

/// Annotation of a restored key Secret: when the Secret was first made, RFC 3339.
pub const CREATED: &str = "latchwork.dev/created";

/// One backup. Nothing in it is secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupMark {
    /// When it was written.
    pub time: Timestamp,
    /// Whom it was encrypted to.
    pub recipients: Vec<String>,
    /// See [`key_set`].
    pub key_set: String,
}

/// What a key's Secret says about its backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupMarks {
    /// The last one that it stands in.
    pub written: Option<BackupMark>,
    /// When one was last opened and found to hold it.
    pub verified: Option<Timestamp>,
}

impl BackupMarks {
    /// From the annotations of a key Secret. One that cannot be read counts as absent: a backup that nobody can name
    /// is none.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        Self {
            written: annotations.get(BACKUP).and_then(|text| serde_json::from_str(text).ok()),
            verified: annotations.get(VERIFIED).and_then(|text| text.parse().ok()),
        }
    }
}

/// Digest of a set of keys, `sha256:` and 64 hexadecimal digits: over the sorted fingerprints, each with a line end.
pub fn key_set<'a>(fingerprints: impl IntoIterator<Item = &'a KeyFingerprint>) -> String {
    let sorted: BTreeSet<_> = fingerprints.into_iter().collect();
    let mut digest = Sha256::new();
    for fingerprint in sorted {
        digest.update(fingerprint.as_bytes());
        digest.update(b"\n");
    }
    format!("sha256:{}", hex::encode(digest.finalize()))
}

/// When the Secret of a key was first made: what a restored one says, else its own time.
pub fn created(secret: &ObservedSecret) -> Option<Timestamp> {
    let own: Option<Timestamp> = secret.created.as_deref().and_then(|text| text.parse().ok());
    let first: Option<Timestamp> = secret.annotations.get(CREATED).and_then(|text| text.parse().ok());
    // Only backwards: nobody makes a key younger than it is.
    match (first, own) {
        (Some(first), Some(own)) => Some(first.min(own)),
        (first, own) => first.or(own),
    }
}

/// The content of a backup: every Secret says in which one it stands, so that a restored one says so, too.
pub fn content(secrets: &[ObservedSecret], mark: &BackupMark) -> Plaintext {
    let mark = serde_json::json!(mark).to_string();
    // One piece with room for all, so that no copy of a key is left behind by growing.
    let room = secrets.iter().map(|secret| 4096 + secret.data.total_bytes() * 4 / 3 + secret.data.len() * 300).sum();
    let mut text: Vec<u8> = Vec::with_capacity(room);
    text.extend_from_slice(b"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
    for (index, secret) in secrets.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(b",\n");
        }
        text.extend_from_slice(&manifest(secret, &secret.namespace, Some(&mark)));
    }
    text.extend_from_slice(b"\n]}\n");
    Plaintext::new(text)
}

/// A key Secret as it goes into a backup (then with `mark`) or back into a cluster: type, labels, annotations and data,
/// without what the API server gives.
fn manifest(secret: &ObservedSecret, namespace: &str, mark: Option<&str>) -> Zeroizing<Vec<u8>> {
    let mut annotations = secret.annotations.clone();
    annotations.retain(|name, _| name != VERIFIED && !LAST_APPLIED.contains(&name.as_str()));
    annotations.extend(mark.map(|mark| (BACKUP.to_owned(), mark.to_owned())));
    if let Some(created) = created(secret) {
        annotations.insert(CREATED.into(), created.to_string());
    }
    let head = serde_json::json!({
        "name": secret.name, "namespace": namespace, "labels": secret.labels, "annotations": annotations,
    });
    let mut text =
        Zeroizing::new(Vec::with_capacity(4096 + secret.data.total_bytes() * 4 / 3 + secret.data.len() * 300));
    text.extend_from_slice(br#"{"apiVersion":"v1","kind":"Secret","type":"#);
    text.extend_from_slice(serde_json::Value::from(secret.kind.as_str()).to_string().as_bytes());
    text.extend_from_slice(br#","metadata":"#);
    text.extend_from_slice(head.to_string().as_bytes());
    text.extend_from_slice(br#","data":{"#);
    for (index, (name, value)) in secret.data.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
        text.extend_from_slice(b":\"");
        let encoded = Zeroizing::new(STANDARD.encode(value.expose()));
        text.extend_from_slice(encoded.as_bytes());
        text.push(b'"');
    }
    text.extend_from_slice(b"}}");
    text
}

/// A backup that cannot be used. Names the Secret, never a byte of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum BackupError {
    #[error("the content is neither a Secret nor a List of Secrets in JSON or YAML: {why}")]
    NoSecrets { why: String },
    #[error("the backup holds no Secret with a sealing key")]
    Empty,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("Secret {name} is there already, and holds another key")]
    Taken { name: String },
    #[error("the backup holds Secret {name} twice, with different keys")]
    Twice { name: String },
}

impl Explain for BackupError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoSecrets { .. } => "UnreadableBackup",
            Self::Empty => "EmptyBackup",
            Self::Key(error) => error.reason(),
            Self::Taken { .. } => "KeyNameTaken",
            Self::Twice { .. } => "AmbiguousBackup",
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::NoSecrets { .. } | Self::Empty => "give a file that `latchwork keys backup` wrote".into(),
            Self::Key(error) => error.hint(),
            Self::Taken { .. } => {
                "nothing was written; rename the Secret that is there (keep its label), or restore into another namespace"
                    .into()
            }
            Self::Twice { .. } => "take the file apart with `age -d`, and rename one of them".into(),
        }
    }
}

/// Reads the Secrets of a text as `kubectl get secret -o json` or `-o yaml` prints them: one, several documents, a List.
pub fn secrets(text: &[u8], syntax: Format) -> Result<Vec<ObservedSecret>, BackupError> {
    let unreadable = |why: String| BackupError::NoSecrets { why };
    let tree = format::parse(text, syntax).map_err(|error| unreadable(error.line()))?;
    let mut found = vec![];
    for branch in &tree.branches {
        let json = format::emit(std::slice::from_ref(branch), Format::Json).map_err(|e| unreadable(e.to_string()))?;
        match branch.entry("items") {
            Some(_) => found
                .extend(ObservedSecret::list_from_json(json.expose()).map_err(|error| unreadable(error.to_string()))?),
            None => {
                found.push(ObservedSecret::from_json(json.expose()).map_err(|error| unreadable(error.to_string()))?)
            }
        }
    }
    Ok(found)
}

/// A key as a backup holds it.
pub struct Kept {
    /// Its Secret.
    pub secret: ObservedSecret,
    /// The key in it.
    pub key: SealingKey,
}

/// Reads the content of a backup, oldest key first. Every Secret must hold a key: what cannot be restored is no backup.
pub fn read(content: &Plaintext) -> Result<Vec<Kept>, BackupError> {
    let json = content.expose().trim_ascii_start().starts_with(b"{");
    let found = secrets(content.expose(), if json { Format::Json } else { Format::Yaml })?;
    let mut kept: Vec<Kept> = vec![];
    for mut secret in found {
        // The unlabelled key of the oldest controllers is labelled on the way: the label is how every later one finds it.
        let legacy = !secret.labels.contains_key(SEALING_KEY_LABEL);
        let (key, _) = SealingKey::from_secret(&secret, legacy)?;
        if legacy {
            secret.labels.insert(SEALING_KEY_LABEL.into(), "active".into());
        }
        match kept.iter().find(|other| other.secret.name == secret.name) {
            Some(other) if other.key.fingerprint() == key.fingerprint() => continue,
            Some(_) => return Err(BackupError::Twice { name: secret.name }),
            None => kept.push(Kept { secret, key }),
        }
    }
    if kept.is_empty() {
        return Err(BackupError::Empty);
    }
    let time = |kept: &Kept| kept.key.order_time(super::KeyOrder::SecretCreationTimestamp);
    kept.sort_by(|a, b| time(a).cmp(&time(b)).then_with(|| a.secret.name.cmp(&b.secret.name)));
    Ok(kept)
}

/// What a restore does about one key.
pub enum Step {
    /// The cluster has it, under this name.
    There(String),
    /// It is to be created.
    Create(KeySecret),
}

/// What to do about each key of a backup, in the order of `kept`. `present` are the keys of the cluster.
///
/// # Errors
/// A name that is taken by another key: nothing may be written then.
pub fn plan(kept: &[Kept], present: &[(String, KeyFingerprint)], namespace: &str) -> Result<Vec<Step>, BackupError> {
    let step = |kept: &Kept| {
        if let Some((name, _)) = present.iter().find(|(_, fingerprint)| fingerprint == kept.key.fingerprint()) {
            return Ok(Step::There(name.clone()));
        }
        if present.iter().any(|(name, _)| *name == kept.secret.name) {
            return Err(BackupError::Taken { name: kept.secret.name.clone() });
        }
        Ok(Step::Create(KeySecret::restored(namespace, manifest(&kept.secret, namespace, None))))
    };
    kept.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::sealed::keys::ACTIVE;

    fn vector(name: &str) -> &'static [u8] {
        match name {
            "old" => include_bytes!("../../../tests/vectors/sealed/keys/old.key"),
            _ => include_bytes!("../../../tests/vectors/sealed/keys/current.key"),
        }
    }

    fn secret(name: &str, key: &str, created: &str) -> ObservedSecret {
        let json = serde_json::json!({
            "metadata": { "name": name, "namespace": "keys", "creationTimestamp": created, "uid": "u", "resourceVersion": "7",
                "labels": { SEALING_KEY_LABEL: ACTIVE, "team": "a" },
                "annotations": { BACKUP: "{}", LAST_APPLIED[0]: "copy", "note": "kept" } },
            "type": "kubernetes.io/tls", "data": { "tls.key": STANDARD.encode(vector(key)) },
        });
        ObservedSecret::from_json(json.to_string().as_bytes()).expect("a Secret")
    }

    fn mark() -> BackupMark {
        BackupMark { time: Timestamp::UNIX_EPOCH, recipients: vec!["age1x".into()], key_set: key_set([]) }
    }

    #[test]
    fn a_backup_reads_back_in_order_and_says_when_the_keys_were_made() {
        let two = [secret("young", "current", "2026-03-01T00:00:00Z"), secret("aged", "old", "2026-01-01T00:00:00Z")];
        let text = content(&two, &mark());
        let list: serde_json::Value = serde_json::from_slice(text.expose()).expect("JSON");
        assert_eq!(
            (list["kind"].as_str(), list["items"][0]["type"].as_str()),
            (Some("List"), Some("kubernetes.io/tls"))
        );
        let meta = &list["items"][0]["metadata"];
        assert!(meta.get("uid").is_none() && meta["labels"]["team"] == "a", "{meta}");
        let mark = serde_json::json!(mark()).to_string();
        assert_eq!(
            meta["annotations"],
            serde_json::json!({ BACKUP: mark, "note": "kept", CREATED: "2026-03-01T00:00:00Z" })
        );

        let kept = read(&text).expect("reads");
        assert_eq!(kept[0].key.backups().written, Some(self::mark()));
        assert_eq!(kept.iter().map(|k| k.secret.name.as_str()).collect::<Vec<_>>(), ["aged", "young"]);
        assert_eq!(kept[0].key.created(), "2026-01-01T00:00:00Z".parse().ok());
        // A second backup of the restored Secret keeps the first time.
        let mut again = secret("aged", "old", "2026-09-09T00:00:00Z");
        again.annotations.insert(CREATED.into(), "2026-01-01T00:00:00Z".into());
        assert_eq!(created(&again), "2026-01-01T00:00:00Z".parse().ok());
        let yaml = b"apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {tls.key: eA==}\n".to_vec();
        assert!(matches!(read(&Plaintext::new(yaml)).err(), Some(BackupError::Key(KeyError::NoPrivateKey { .. }))));
        for (bad, reason) in
            [(&b"{}\n"[..], "NoPrivateKey"), (b"a: [", "UnreadableBackup"), (b"{\"items\":[]}", "EmptyBackup")]
        {
            assert_eq!(read(&Plaintext::copy_of(bad)).err().map(|e| e.reason()), Some(reason));
        }
    }

    #[test]
    fn a_restore_creates_what_is_missing_and_overwrites_nothing() {
        let two = [secret("a", "old", "2026-01-01T00:00:00Z"), secret("b", "current", "2026-03-01T00:00:00Z")];
        let kept = read(&content(&two, &mark())).expect("reads");
        let [old, current] = [&kept[0], &kept[1]].map(|k| k.key.fingerprint().clone());
        let steps = plan(&kept, &[("a".into(), old.clone())], "elsewhere").expect("plans");
        assert!(matches!(&steps[0], Step::There(name) if name == "a"));
        let Step::Create(made) = &steps[1] else { panic!("not created") };
        assert_eq!(made.namespace(), "elsewhere");
        let back = ObservedSecret::from_json(made.manifest()).expect("a Secret");
        assert_eq!(
            (back.name.as_str(), back.namespace.as_str(), back.kind.as_str()),
            ("b", "elsewhere", "kubernetes.io/tls")
        );
        assert!(back.data.same_as(&two[1].data));
        // The same key under another name is there; another key under the same name stops everything.
        assert!(matches!(&plan(&kept, &[("x".into(), current.clone()), ("a".into(), old)], "keys").expect("plans")[1],
            Step::There(name) if name == "x"));
        let taken = plan(&kept, &[("a".into(), current)], "keys").err();
        assert_eq!(taken, Some(BackupError::Taken { name: "a".into() }));
    }

    #[test]
    fn marks_are_read_and_the_digest_knows_no_order() {
        let (a, b): (KeyFingerprint, KeyFingerprint) = ("SHA256:a".into(), "SHA256:b".into());
        assert_eq!(key_set([&a, &b]), key_set([&b, &a, &a]));
        assert_ne!(key_set([&a, &b]), key_set([&a]));
        let mark = mark();
        let annotations = BTreeMap::from([
            (BACKUP.to_owned(), serde_json::to_string(&mark).expect("JSON")),
            (VERIFIED.to_owned(), "2026-01-01T00:00:00Z".to_owned()),
        ]);
        let marks = BackupMarks::of(&annotations);
        assert_eq!(marks.written, Some(mark));
        assert!(marks.verified.is_some());
        assert_eq!(BackupMarks::of(&BTreeMap::from([(BACKUP.into(), "yes".into())])), BackupMarks::default());
    }
}
