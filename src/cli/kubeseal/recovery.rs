//! `--recovery-unseal`: opening a SealedSecret without its cluster, with the private keys from a backup.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::output::Output;
use crate::pure::desired::{GuardPolicy, guard};
use crate::pure::error::Explain as _;
use crate::pure::sealed::unseal::{UnsealOptions, unseal_with};
use crate::pure::sealed::{Hints, SealingKeys, UnsealError, blob, manifest, pem};

/// The Secret in clear, printed.
pub(super) fn unseal(text: &[u8], key_files: &[PathBuf], output: Output) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut keys = SealingKeys::new();
    for path in key_files {
        let text = Zeroizing::new(super::read(path)?);
        add_keys(&mut keys, &path.display().to_string(), &text)?;
    }
    let object = manifest::read_named(text)?;
    // As the incumbent's command line: the deprecated form is the controller's alone.
    let options = UnsealOptions { deprecated_data: false, ..Default::default() };
    let unsealed = match unseal_with(&object, &keys, &Hints::default(), Timestamp::now(), options) {
        Ok(unsealed) => unsealed,
        // The incumbent's words, and behind them on the last line what it does not know: the cause.
        Err(error @ UnsealError::Entries(_)) => bail!("{}", error.lines()),
        Err(error) => return Err(error.into()),
    };
    let (candidate, proof) = unsealed.into_candidate();
    // The person holds the keys: nothing is withheld from them on their own terminal.
    let policy = GuardPolicy { namespace: None, allow_token_types: true, allow_unnamed: true };
    let secret = guard(candidate, proof, &policy)?;
    let manifest: Value = serde_json::from_slice(&secret.manifest(None))?;
    let mut ordered = serde_json::Map::new();
    ordered.insert("kind".into(), "Secret".into());
    ordered.insert("apiVersion".into(), "v1".into());
    for field in ["metadata", "immutable", "data", "type"] {
        let value = manifest.get(field).filter(|value| value.as_object().is_none_or(|fields| !fields.is_empty()));
        ordered.extend(value.map(|value| (field.to_owned(), value.clone())));
    }
    output.print(&ordered.into()).map(Zeroizing::new).map_err(anyhow::Error::msg)
}

#[derive(Deserialize, ZeroizeOnDrop)]
struct Text(String);

/// A key Secret, or a List of them.
#[derive(Deserialize)]
struct Backup {
    #[serde(default)]
    items: Vec<Backup>,
    #[serde(default)]
    data: Option<BTreeMap<String, Text>>,
}

fn add_keys(keys: &mut SealingKeys, name: &str, text: &[u8]) -> anyhow::Result<()> {
    if pem::blocks(text).any(|block| block.label.ends_with("PRIVATE KEY")) {
        keys.add_pem(name, text, None)?;
        return Ok(());
    }
    let unreadable = || format!("{name} is neither a private key in PEM nor a Secret or List in JSON or YAML");
    let text = std::str::from_utf8(text).ok().with_context(unreadable)?;
    // The parser's text could quote the key: its place is enough.
    let backups = manifest::read_documents::<Option<Backup>>(text).ok().with_context(unreadable)?;
    let mut found = 0;
    for backup in backups.into_iter().filter_map(|(backup, _)| backup) {
        let list = if backup.items.is_empty() { vec![backup] } else { backup.items };
        for secret in list {
            let entry = secret.data.as_ref().and_then(|data| data.get("tls.key"));
            let Some(entry) = entry else { bail!("secret must contain a 'tls.key' entry") };
            let key = Zeroizing::new(blob::decode(&entry.0).with_context(|| format!("{name}: entry tls.key"))?);
            keys.add_pem(&format!("{name}#{found}"), &key, None)?;
            found += 1;
        }
    }
    if found == 0 {
        bail!("{}", unreadable());
    }
    Ok(())
}
