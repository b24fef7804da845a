//! The `sops` block: reading it in any layout that any SOPS wrote.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::error::SopsError;
use super::selector::{NAMES, Selector};
use crate::pure::format::{Branch, Entry, Format, Item, Scalar, Value, time};
use crate::pure::keys::{KeyRef, WrappedKey};
use crate::pure::limits;

/// Name of the block, and the prefix of its names in dotenv.
pub(super) const NAME: &str = "sops";
pub(super) const DOTENV_PREFIX: &str = "sops_";

/// What a file says about its encryption. Ciphertext and public facts only.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Key groups in order. With one group each key wraps the whole data key, with more each group wraps a share.
    pub groups: Vec<Vec<WrappedKey>>,
    /// Number of groups that must open; 0 in a file with one group.
    pub shamir_threshold: usize,
    /// When values last changed, as written.
    pub last_modified: String,
    /// The encrypted MAC; empty when the file has none.
    pub mac: String,
    /// What is encrypted.
    pub selector: Selector,
    /// Whether the file names its selector, or the default is assumed.
    pub selector_is_written: bool,
    /// The MAC covers the encrypted values only.
    pub mac_only_encrypted: bool,
    /// Version of the program that made the file.
    pub version: String,
}

impl Metadata {
    /// All wrapped keys of all groups.
    pub fn keys(&self) -> impl Iterator<Item = &WrappedKey> {
        self.groups.iter().flatten()
    }

    /// Additional data of the MAC: the time in seconds, re-formatted. `None` when it is no timestamp.
    pub(super) fn mac_aad(&self) -> Option<String> {
        time::rfc3339_seconds(&self.last_modified)
    }
}

/// Whether an item of the top level belongs to the block.
pub(super) fn is_metadata(item: &Item, format: Format) -> bool {
    match item {
        Item::Entry(entry) if format == Format::Dotenv => entry.key.starts_with(DOTENV_PREFIX),
        Item::Entry(entry) => entry.key == NAME,
        _ => false,
    }
}

/// The block of a document as one tree of JSON values, whatever the layout. `None` when there is none that SOPS could
/// have written: a map with at least one field that every file has.
pub(super) fn find(branch: &Branch, format: Format) -> Result<Option<Map<String, Json>>, SopsError> {
    let map = match format {
        Format::Dotenv => unflatten(branch.items.iter().filter_map(|item| match item {
            Item::Entry(entry) => Some((entry.key.strip_prefix(DOTENV_PREFIX)?.to_owned(), text_of(entry))),
            _ => None,
        }))?,
        _ => {
            let Some(Entry { value, .. }) = branch.entry(NAME) else { return Ok(None) };
            let Value::Map(items) = &value.value else { return Ok(None) };
            if format == Format::Ini {
                unflatten(items.iter().filter_map(|item| match item {
                    // Old and new files write line breaks as two characters here, 3.13.0 as line breaks.
                    Item::Entry(entry) => Some((entry.key.clone(), text_of(entry).replace("\\n", "\n"))),
                    _ => None,
                }))?
            } else {
                to_json_map(items)
            }
        }
    };
    let known = ["mac", "version", "lastmodified"];
    Ok(map.keys().any(|key| known.iter().any(|name| key.eq_ignore_ascii_case(name))).then_some(map))
}

fn text_of(entry: &Entry) -> String {
    match &entry.value.value {
        Value::Scalar(Scalar::Text(text)) => String::from_utf8_lossy(text.expose()).into_owned(),
        _ => String::new(),
    }
}

pub(super) fn to_json_map(items: &[Item]) -> Map<String, Json> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Entry(entry) => Some((entry.key.clone(), to_json(&entry.value.value))),
            _ => None,
        })
        .collect()
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Map(items) => Json::Object(to_json_map(items)),
        Value::List(items) => Json::Array(
            items
                .iter()
                .filter_map(|item| match item {
                    Item::Element(element) => Some(to_json(&element.value.value)),
                    _ => None,
                })
                .collect(),
        ),
        Value::Scalar(scalar) => match scalar {
            Scalar::Null => Json::Null,
            Scalar::Bool(value) => Json::Bool(*value),
            Scalar::Int(value) => Json::from(*value),
            Scalar::Unsigned(value) => Json::from(*value),
            Scalar::Float(value) => Json::from(*value),
            Scalar::Time(text) => Json::from(text.clone()),
            Scalar::Text(text) => Json::from(String::from_utf8_lossy(text.expose()).into_owned()),
        },
    }
}

enum Flat {
    Leaf(String),
    Map(BTreeMap<String, Flat>),
    List(BTreeMap<usize, Flat>),
}

/// Undoes the flattening of INI and dotenv: `a__list_0__map_b` is `a[0].b`.
fn unflatten(pairs: impl Iterator<Item = (String, String)>) -> Result<Map<String, Json>, SopsError> {
    let mut root = Flat::Map(BTreeMap::new());
    for (key, text) in pairs {
        let steps = steps(&key).ok_or_else(|| bad(format!("the name \"{key}\" is malformed")))?;
        insert(&mut root, &steps, text).ok_or_else(|| bad(format!("the name \"{key}\" contradicts another one")))?;
    }
    match inflate(root)? {
        Json::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

enum Step<'k> {
    Name(&'k str),
    Index(usize),
}

fn steps(key: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = key;
    let mut list = false;
    loop {
        let next = [rest.find("__map_"), rest.find("__list_")].into_iter().flatten().min();
        let word = rest.get(..next.unwrap_or(rest.len()))?;
        steps.push(if list { Step::Index(word.parse().ok()?) } else { Step::Name(word) });
        if steps.len() > limits::NESTING_DEPTH {
            return None;
        }
        let Some(at) = next else { return Some(steps) };
        let tail = rest.get(at..)?;
        list = tail.starts_with("__list_");
        rest = tail.strip_prefix(if list { "__list_" } else { "__map_" })?;
    }
}

fn insert(node: &mut Flat, steps: &[Step<'_>], text: String) -> Option<()> {
    let (first, rest) = steps.split_first()?;
    let fresh = || match rest.first() {
        None => Flat::Leaf(text.clone()),
        Some(Step::Name(_)) => Flat::Map(BTreeMap::new()),
        Some(Step::Index(_)) => Flat::List(BTreeMap::new()),
    };
    let (is_new, child) = match (node, first) {
        (Flat::Map(map), Step::Name(name)) => {
            (!map.contains_key(*name), map.entry((*name).to_owned()).or_insert_with(fresh))
        }
        (Flat::List(list), Step::Index(index)) => (!list.contains_key(index), list.entry(*index).or_insert_with(fresh)),
        _ => return None,
    };
    if rest.is_empty() {
        return is_new.then_some(());
    }
    insert(child, rest, text)
}

fn inflate(node: Flat) -> Result<Json, SopsError> {
    Ok(match node {
        Flat::Leaf(text) => Json::from(text),
        Flat::Map(map) => Json::Object(
            map.into_iter().map(|(key, child)| Ok((key, inflate(child)?))).collect::<Result<_, SopsError>>()?,
        ),
        Flat::List(list) => {
            if list.keys().enumerate().any(|(expected, index)| expected != *index) {
                return Err(bad("a list has a hole".into()));
            }
            Json::Array(list.into_values().map(inflate).collect::<Result<_, _>>()?)
        }
    })
}

fn bad(what: String) -> SopsError {
    SopsError::Metadata { what }
}

/// Reads the fields. Types are read weakly ("2" for a number), names without regard to case, unknown fields ignored.
pub(super) fn read(map: &Map<String, Json>) -> Result<Metadata, SopsError> {
    let root = Fields(map);
    let flat = group(&root)?;
    let mut groups = if flat.is_empty() {
        root.list("key_groups")?.iter().map(|fields| group(&Fields(fields))).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![flat]
    };
    groups.retain(|group| !group.is_empty());
    let count = groups.iter().map(Vec::len).sum();
    if count > limits::RECIPIENTS_PER_FILE {
        return Err(SopsError::TooManyRecipients { count, limit: limits::RECIPIENTS_PER_FILE });
    }
    let mut selector = None;
    for name in NAMES {
        let text = root.text(name)?;
        if text.is_empty() {
            continue;
        }
        if selector.is_some() {
            return Err(bad("more than one selector is set".into()));
        }
        selector = Some(Selector::new(name, &text)?);
    }
    let version = root.text("version")?;
    if !is_semver(&version) {
        return Err(SopsError::Version { version });
    }
    Ok(Metadata {
        groups,
        shamir_threshold: root.number("shamir_threshold")?,
        last_modified: root.text("lastmodified")?,
        mac: root.text("mac")?,
        selector_is_written: selector.is_some(),
        selector: selector.unwrap_or_default(),
        mac_only_encrypted: root.flag("mac_only_encrypted")?,
        version,
    })
}

/// `1.2.3` with an optional `v`, pre-release and build part.
fn is_semver(version: &str) -> bool {
    let core = version.strip_prefix('v').unwrap_or(version);
    let core = core.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The keys of one group in the order in which SOPS loads them.
fn group(fields: &Fields<'_>) -> Result<Vec<WrappedKey>, SopsError> {
    let mut keys = Vec::new();
    for (name, make) in KINDS {
        for entry in fields.list(name)? {
            let fields = Fields(entry);
            let created_at = Some(fields.text("created_at")?).filter(|text| !text.is_empty());
            keys.push(WrappedKey { key: make(&fields)?, enc: fields.text("enc")?, created_at });
        }
    }
    Ok(keys)
}

type MakeKey = fn(&Fields<'_>) -> Result<KeyRef, SopsError>;

const KINDS: [(&str, MakeKey); 7] = [
    ("kms", |fields| {
        Ok(KeyRef::Kms {
            arn: fields.text("arn")?,
            role: fields.text("role")?,
            context: fields.pairs("context")?,
            profile: fields.text("aws_profile")?,
        })
    }),
    ("gcp_kms", |fields| Ok(KeyRef::GcpKms { resource_id: fields.text("resource_id")? })),
    ("hckms", |fields| Ok(KeyRef::Hckms { key_id: fields.text("key_id")? })),
    ("azure_kv", |fields| {
        Ok(KeyRef::AzureKv {
            vault_url: fields.text("vault_url")?,
            name: fields.text("name")?,
            version: fields.text("version")?,
        })
    }),
    ("hc_vault", |fields| {
        Ok(KeyRef::HcVault {
            address: fields.text("vault_address")?,
            engine: fields.text("engine_path")?,
            key: fields.text("key_name")?,
        })
    }),
    ("pgp", |fields| Ok(KeyRef::Pgp { fingerprint: fields.text("fp")? })),
    ("age", |fields| Ok(KeyRef::Age { recipient: fields.text("recipient")? })),
];

/// Weakly typed reading of one map.
pub(super) struct Fields<'m>(pub(super) &'m Map<String, Json>);

impl<'m> Fields<'m> {
    pub(super) fn get(&self, name: &str) -> Option<&'m Json> {
        self.0.get(name).or_else(|| self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }

    pub(super) fn text(&self, name: &str) -> Result<String, SopsError> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(String::new()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(Json::Number(number)) => Ok(number.to_string()),
            Some(Json::Bool(flag)) => Ok(u8::from(*flag).to_string()),
            Some(_) => Err(bad(format!("\"{name}\" is not a text"))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<usize, SopsError> {
        let text = self.text(name)?;
        let what = || bad(format!("\"{name}\" is not a number"));
        // Before 3.10 flat files had a whole number with a fraction, which no later version reads.
        let text = text.strip_suffix(".000000").unwrap_or(&text);
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| what()) }
    }

    /// A truth value: as Go reads it, and with the words of YAML 1.1, which the YAML library of the real tool still takes.
    pub(super) fn flag(&self, name: &str) -> Result<bool, SopsError> {
        match self.get(name) {
            Some(Json::Bool(flag)) => Ok(*flag),
            _ => match self.text(name)?.as_str() {
                "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
                "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
                "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Ok(false),
                "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Ok(true),
                _ => Err(bad(format!("\"{name}\" is neither true nor false"))),
            },
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<&'m Map<String, Json>>, SopsError> {
        let what = || bad(format!("\"{name}\" is not a list of maps"));
        match self.get(name) {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Json::Array(items)) => items.iter().map(|item| item.as_object().ok_or_else(what)).collect(),
            Some(_) => Err(what()),
        }
    }

    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, SopsError> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Json::Object(map)) => {
                let fields = Fields(map);
                map.keys().map(|key| Ok((key.clone(), fields.text(key)?))).collect()
            }
            Some(_) => Err(bad(format!("\"{name}\" is not a map"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::format::parse;

    fn load(text: &str, format: Format) -> Result<Metadata, SopsError> {
        let tree = parse(text.as_bytes(), format).expect("parses");
        read(&find(&tree.branches[0], format)?.expect("has metadata"))
    }

    #[test]
    fn layouts_of_all_versions() {
        let old = r#"{"sops":{"kms":[],"pgp":null,"age":[{"recipient":"r","enc":"e"}],"lastmodified":"2024-01-01T00:00:00Z","mac":"m","version":"3.7.3","unknown":1}}"#;
        let env = "sops_age__list_0__map_enc=a\\nb\nsops_age__list_0__map_recipient=r\nsops_version=3.9.0\nsops_mac=m\nsops_mac_only_encrypted=true\nsops_shamir_threshold=2\n";
        let ini = "[sops]\nkey_groups__list_0__map_pgp__list_0__map_fp = F\nkey_groups__list_1__map_kms__list_0__map_context__map_a = b\nkey_groups__list_1__map_kms__list_0__map_arn = arn\nversion = v3.13.2+x\nmac=m\n";
        let yaml =
            "sops:\n  lastmodified: 2024-01-01T00:00:00Z\n  MAC: m\n  version: 3.13.3\n  shamir_threshold: \"2\"\n";
        let metadata = load(old, Format::Json).expect("reads");
        assert_eq!(metadata.groups.len(), 1);
        assert_eq!(metadata.selector, Selector::default());
        let metadata = load(env, Format::Dotenv).expect("reads");
        assert_eq!(metadata.keys().next().map(|key| key.enc.as_str()), Some("a\nb"));
        assert!(metadata.mac_only_encrypted);
        assert_eq!(metadata.shamir_threshold, 2);
        let metadata = load(ini, Format::Ini).expect("reads");
        let names: Vec<String> = metadata.keys().map(|key| key.key.to_string()).collect();
        assert_eq!(names, ["F", "arn|a:b"]);
        let metadata = load(yaml, Format::Yaml).expect("reads");
        assert_eq!((metadata.mac.as_str(), metadata.mac_aad().as_deref()), ("m", Some("2024-01-01T00:00:00Z")));
    }

    #[test]
    fn broken_metadata_is_refused() {
        for (text, format) in [
            ("sops:\n  mac: m\n", Format::Yaml),
            ("sops:\n  mac: m\n  version: 3.13\n", Format::Yaml),
            ("sops:\n  mac: m\n  version: 3.13.0\n  encrypted_regex: a\n  encrypted_suffix: b\n", Format::Yaml),
            ("sops:\n  mac: m\n  version: 3.13.0\n  encrypted_regex: (\n", Format::Yaml),
            ("sops:\n  mac: m\n  version: 3.13.0\n  age: 1\n", Format::Yaml),
            ("sops_mac=m\nsops_age__list_1__map_enc=x\n", Format::Dotenv),
            ("sops_mac=m\nsops_mac__map_x=x\n", Format::Dotenv),
            ("sops_mac=m\nsops_mac=x\n", Format::Dotenv),
            ("sops_mac=m\nsops_a__list_x=x\n", Format::Dotenv),
        ] {
            assert!(load(text, format).is_err(), "{text}");
        }
    }
}
