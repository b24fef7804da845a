//! Git and encrypted files: `latchwork git`, and the two programs that Git calls, `merge-driver` and `textconv`.

mod driver;
mod install;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::complain;
use super::data_keys::FlagsFirst;
use super::key_services::ServiceArgs;
use super::keys_at_hand::{KeyArgs, KeysAtHand};
use super::sops::files as sops_files;
use super::sops::ring::Keyring;
use crate::adapters::kms::DataKeys;
use crate::adapters::{atomic, files};
use crate::pure::error::Explain as _;
use crate::pure::format;
use crate::pure::keys::Identities;
use crate::pure::keys::allow::KeyAllowList;
use crate::pure::sops::{self, DecryptionOrder, MacPolicy, PartKind, Unlock as _};

pub use driver::{MergeDriverArgs, run as merge_driver};

/// Names the keys of services that the drivers may ask for, as `--kms-allow` of `render` does.
const KMS_ALLOW: &str = "LATCHWORK_KMS_ALLOW";

/// Let Git merge and show encrypted files.
#[derive(Args)]
pub struct GitArgs {
    #[command(subcommand)]
    verb: GitVerb,
}

#[derive(Subcommand)]
enum GitVerb {
    /// Write the merge driver and the diff driver into Git's configuration and .gitattributes
    ///
    /// After that, `git merge`, `rebase`, `cherry-pick` and `stash` merge SOPS files and SealedSecrets entry by entry, and
    /// `git diff`, `log -p` and `show` print SOPS files in plaintext on your terminal. Nothing is ever written in
    /// plaintext. Files that are not encrypted are merged as Git does it. Running it again changes nothing.
    #[command(after_help = "Examples:
  latchwork git install                       this repository: *.yaml *.yml *.json *.env *.ini
  latchwork git install '*.yaml' 'certs/*'    other patterns, for binary SOPS files
  latchwork git install --global              every repository of this user")]
    Install(install::InstallArgs),
    /// Take both out again
    Uninstall(install::UninstallArgs),
    /// Renew the MAC of SOPS files whose conflicts were resolved by hand
    ///
    /// Needed when values of both sides were kept: the MAC of either side is then that of another file. Every value must
    /// still open under the key of its file, at its place.
    Resolved(ResolvedArgs),
}

#[derive(Args)]
struct ResolvedArgs {
    /// Files without conflict markers
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Print a SOPS file in plaintext, and every other file as it is: what Git calls to show differences.
#[derive(Args)]
pub struct TextconvArgs {
    /// The file
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &GitArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        GitVerb::Install(args) => install::install(args),
        GitVerb::Uninstall(args) => install::uninstall(args),
        GitVerb::Resolved(args) => {
            let keys = data_keys();
            for file in &args.files {
                resolved(file, &keys).with_context(|| file.display().to_string())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Keys from where SOPS looks, and of the nearest key directory.
fn data_keys() -> DataKeys<FlagsFirst> {
    let found = KeysAtHand::collect(&KeyArgs::default(), &[PathBuf::from(".")]);
    let identities = match found {
        Ok(found) => found.identities,
        Err(error) => {
            complain(&format!("warning: {error:#}"));
            Identities::new()
        }
    };
    let services = ServiceArgs::default();
    let local = FlagsFirst::new(identities, Keyring::new(services.is_local()));
    // Git runs this on whatever a repository holds: credentials go only where the user said beforehand.
    let list = std::env::var(KMS_ALLOW).unwrap_or_default();
    let allowed = KeyAllowList::parse(list.split(',').map(str::trim).filter(|key| !key.is_empty()));
    let allowed = allowed.unwrap_or_else(|what| {
        complain(&format!("warning: {KMS_ALLOW}: {what}; no key service is asked"));
        KeyAllowList::default()
    });
    DataKeys::new(local, DecryptionOrder::default(), None, services.connect_allowed(allowed, KMS_ALLOW))
}

/// Prints a file for `git diff`. What cannot be opened is printed as it is: a diff of ciphertext is better than none.
pub fn textconv(args: &TextconvArgs) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut out = std::io::stdout().lock();
    match plaintext(&args.file, &bytes) {
        Ok(Some(text)) => out.write_all(&text)?,
        Ok(None) => out.write_all(&bytes)?,
        Err(what) => {
            complain(&format!("latchwork textconv: {}: {what}; shown as it is", args.file.display()));
            out.write_all(&bytes)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn plaintext(path: &Path, bytes: &[u8]) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, String> {
    let Some(format) = sops::format_of(bytes, &path.to_string_lossy()) else { return Ok(None) };
    let keys = data_keys();
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len()));
    for part in sops::parts(bytes, format).map_err(|error| error.line())? {
        let text = bytes.get(part.bytes).unwrap_or_default();
        if part.kind != PartKind::Sops {
            out.extend_from_slice(text);
            continue;
        }
        let document = sops::parse(text, format).map_err(|error| error.line())?;
        let key = keys.unlock(&document).map_err(|error| error.line())?;
        let opened = sops::open_with_key(&document, key, MacPolicy::Verify).map_err(|error| error.line())?;
        out.extend_from_slice(opened.emit(format).map_err(|error| error.line())?.expose());
    }
    Ok(Some(out))
}

fn resolved(path: &Path, keys: &DataKeys<FlagsFirst>) -> anyhow::Result<()> {
    let bytes = files::read(path).map_err(|error| anyhow::anyhow!(error.line()))?;
    let line = |error: sops::SopsError| anyhow::anyhow!(error.line());
    let Some(format) = sops::format_of(&bytes, &path.to_string_lossy()) else { bail!("it is no SOPS file") };
    let document = sops::parse(&bytes, format).map_err(line)?;
    let key = keys.unlock(&document).map_err(line)?;
    if sops::open_with_key(&document, keys.unlock(&document).map_err(line)?, MacPolicy::Verify).is_ok() {
        return Ok(writeln!(std::io::stdout(), "{}: the MAC is right already", path.display())?);
    }
    let opened = sops::open_with_key(&document, key, MacPolicy::IgnoreOnUsersRequest).map_err(line)?;
    let plain = opened.emit(format).map_err(line)?;
    let tree = format::parse(plain.expose(), format).map_err(|error| anyhow::anyhow!(error.line()))?;
    let mut random = sops_files::random().map_err(|failure| anyhow::anyhow!(failure.text))?;
    let sealed = sops::reseal(&opened, &tree, &sops_files::now(), &mut random).map_err(line)?;
    atomic::replace(path, sealed.expose()).context("cannot be written")?;
    Ok(writeln!(std::io::stdout(), "{}: the MAC is that of the values as they are now", path.display())?)
}
