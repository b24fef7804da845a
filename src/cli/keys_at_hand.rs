//! The keys that a command finds: flags, environment, a key directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use zeroize::Zeroizing;

use crate::adapters::asking::Terminal;
use crate::adapters::kms::Gpg;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::Explain as _;
use crate::pure::format::Format;
use crate::pure::keys::age::Outside;
use crate::pure::keys::{Identities, KeyError, KeyKind, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
use crate::pure::limits;
use crate::pure::sealed::backup;
use crate::pure::sealed::{SealingKey, SealingKeys};
use crate::pure::secret::Plaintext;

/// Where a key directory is looked for, beside each path and upward.
const KEY_DIRECTORY: &str = ".latchwork/keys";

/// Names of private keys.
#[derive(Args, Default)]
pub struct KeyArgs {
    /// age identity file, or armoured PGP secret keys; may be repeated. $SOPS_AGE_KEY and the file named by
    /// $SOPS_AGE_KEY_FILE are read too
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Sealing key: a PEM file, a Secret as kubectl prints it, or a directory of these; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    sealing_key: Vec<PathBuf>,
    /// Key directory: *.agekey are age identities, *.asc PGP keys, *.key and *.pem (with the *.crt beside them) and Secrets
    /// in *.yaml, *.yml and *.json are sealing keys [default: the nearest .latchwork/keys at each PATH or above it]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

/// All private keys that were found.
pub struct KeysAtHand {
    /// For SOPS files.
    pub identities: Identities,
    /// For SealedSecrets.
    pub sealing: SealingKeys,
}

/// The keys at hand, and behind them the user's own `gpg`: its keyring is as much at hand as a file, but only that
/// program can use it. It is run when a PGP key of a file is met that no key at hand opens, and not before.
pub struct WithGpg {
    at_hand: Identities,
    gpg: Gpg,
}

impl WithGpg {
    /// Runs nothing yet.
    pub fn new(at_hand: Identities) -> Self {
        Self { at_hand, gpg: Gpg::new(std::env::var_os("SOPS_GPG_EXEC")) }
    }
}

impl LocalKeys for WithGpg {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        let own = match LocalKeys::unwrap(&self.at_hand, key) {
            Some(Err(error)) if key.key.kind() == KeyKind::Pgp => error,
            other => return other,
        };
        Some(match self.gpg.unwrap(key) {
            Some(Err(error)) => Err(KeyError::Local { message: format!("{own}; {error}") }),
            Some(Ok(opened)) => Ok(opened),
            None => Err(own),
        })
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        LocalKeys::wrap(&self.at_hand, key, secret)
    }
}

impl KeysAtHand {
    /// Reads the keys that flags and environment name, and those of the key directories of `paths`. A source that was
    /// named and cannot be used is an error at once: a missing key would show only as documents that do not open.
    pub fn collect(args: &KeyArgs, paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut found = Self { identities: Identities::new(), sealing: SealingKeys::new() };
        if let Some(text) = std::env::var_os("SOPS_AGE_KEY").filter(|text| !text.is_empty()) {
            let text = Zeroizing::new(text.into_encoded_bytes());
            found.identities.extend(parse_identities(&text, "SOPS_AGE_KEY")?);
        }
        let from_environment = std::env::var_os("SOPS_AGE_KEY_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        for path in from_environment.iter().chain(&args.identity) {
            found.add_identity_file(path)?;
        }
        for path in &args.sealing_key {
            if path.is_dir() { found.add_sealing_directory(path)? } else { found.add_sealing_file(path)? }
        }
        match &args.keys {
            Some(directory) => found.add_directory(directory)?,
            None => {
                for directory in nearest(paths) {
                    found.add_directory(&directory)?;
                }
            }
        }
        Ok(found)
    }

    fn add_identity_file(&mut self, path: &Path) -> anyhow::Result<()> {
        self.identities.extend(identity_file(path)?);
        Ok(())
    }

    fn add_directory(&mut self, directory: &Path) -> anyhow::Result<()> {
        for path in list(directory)? {
            if has_suffix(&path, &["agekey", "asc"]) {
                self.add_identity_file(&path)?;
            }
        }
        self.add_sealing_directory(directory)
    }

    fn add_sealing_directory(&mut self, directory: &Path) -> anyhow::Result<()> {
        for path in list(directory)? {
            if has_suffix(&path, &["key", "pem", "yaml", "yml", "json"]) {
                self.add_sealing_file(&path)?;
            }
        }
        Ok(())
    }

    fn add_sealing_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let content = read(path)?;
        let name = path.display().to_string();
        if has_suffix(path, &["yaml", "yml", "json"]) {
            for secret in secrets_of(&content, &name)? {
                let Some(key) = secret.data.get("tls.key") else {
                    bail!("{name}: Secret {} has no entry tls.key", secret.name);
                };
                let certificate = secret.data.get("tls.crt").map(|certificate| certificate.expose());
                let key_name = format!("{name} ({})", secret.name);
                let added = self.sealing.add_pem(&key_name, key.expose(), certificate);
                added.map_err(|error| anyhow::anyhow!(error.line()))?;
            }
            return Ok(());
        }
        let beside = path.with_extension("crt");
        let certificate = if beside.is_file() { Some(read(&beside)?) } else { None };
        // Certificate and key may stand in one file.
        let both = content.windows(17).any(|text| text == b"BEGIN CERTIFICATE").then_some(&*content);
        let certificate = certificate.as_ref().map(|content| &***content).or(both.map(|content| &**content));
        // A certificate is for sealing only; what opens is the key.
        self.sealing.add_pem(&name, &content, certificate).map_err(|error| anyhow::anyhow!(error.line()))?;
        Ok(())
    }
}

/// Secrets as `kubectl get secret -o yaml` prints them, one, several documents, or a List.
fn secrets_of(content: &[u8], name: &str) -> anyhow::Result<Vec<ObservedSecret>> {
    let syntax = if name.ends_with(".json") { Format::Json } else { Format::Yaml };
    backup::secrets(content, syntax).map_err(|error| anyhow::anyhow!("{name}: {}", error.line()))
}

/// The sealing keys of files and directories, and of nothing else. A Secret's label says where its key stands; a key in
/// PEM is active.
pub(super) fn sealing_keys(paths: &[PathBuf]) -> anyhow::Result<SealingKeys> {
    let mut found = KeysAtHand { identities: Identities::new(), sealing: SealingKeys::new() };
    let mut files = vec![];
    for path in paths {
        let within = |path: &PathBuf| has_suffix(path, &["key", "pem", "yaml", "yml", "json"]);
        if path.is_dir() { files.extend(list(path)?.into_iter().filter(within)) } else { files.push(path.clone()) }
    }
    for path in files {
        if !has_suffix(&path, &["yaml", "yml", "json"]) {
            found.add_sealing_file(&path)?;
            continue;
        }
        for secret in secrets_of(&read(&path)?, &path.display().to_string())? {
            let labelled = secret.labels.contains_key(SEALING_KEY_LABEL);
            let (key, _) =
                SealingKey::from_secret(&secret, !labelled).map_err(|error| anyhow::anyhow!(error.line()))?;
            found.sealing.add(key);
        }
    }
    if found.sealing.is_empty() {
        bail!("no sealing key was found in --sealing-key");
    }
    Ok(found.sealing)
}

/// The identities of one file.
pub fn identity_file(path: &Path) -> anyhow::Result<Identities> {
    parse_identities(&read(path)?, &path.display().to_string())
}

fn parse_identities(bytes: &[u8], source: &str) -> anyhow::Result<Identities> {
    let terminal: Arc<dyn Outside> = Arc::new(Terminal);
    Identities::parse_asking(bytes, source, &terminal).map_err(|error| anyhow::anyhow!(error.line()))
}

/// The nearest key directory of each path.
fn nearest(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec![];
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let directory = absolute.ancestors().map(|above| above.join(KEY_DIRECTORY)).find(|above| above.is_dir());
        found.extend(directory.filter(|directory| !found.contains(directory)));
    }
    found
}

fn list(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_file()).collect();
    paths.sort();
    Ok(paths)
}

fn has_suffix(path: &Path, suffixes: &[&str]) -> bool {
    path.extension().is_some_and(|found| suffixes.iter().any(|suffix| found.eq_ignore_ascii_case(suffix)))
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let cannot = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(cannot)?.len();
    if size > limits::FILE_BYTES as u64 {
        bail!("{} is too large for a key file", path.display());
    }
    Ok(Zeroizing::new(std::fs::read(path).with_context(cannot)?))
}
