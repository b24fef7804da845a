//! `latchwork keys verify-backup`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;

use super::held::{Held, Holdings, Place, TreeArgs};
use super::ring::{ClusterArgs, Ring};
use super::say;
use crate::cli::complain;
use crate::cli::keys_at_hand::identity_file;
use crate::pure::error::{Explain as _, one_line};
use crate::pure::keys::{Identities, KeyError};
use crate::pure::limits;
use crate::pure::sealed::backup::{self, Kept};
use crate::pure::sealed::keys::{KeyState, SealingKeys};
use crate::pure::sealed::unseal::{UnsealOptions, open_entries};
use crate::pure::sealed::{Hints, UnsealError};

/// Private keys that open backups.
#[derive(Args)]
pub(super) struct IdentityArgs {
    /// age identity file that opens the backup; may be repeated
    #[arg(long, short, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
}

/// Prove that a backup of the sealing keys opens everything.
///
/// The file is opened, its keys are compared with those of the cluster, and with them alone every SealedSecret of the
/// cluster is opened, as after a loss: what is labelled retired or compromised would open nothing then. With --tree the
/// files are opened in place of the cluster's objects, and no cluster is asked. What does not open is listed with the
/// cause, and the exit status is 1. Keys that the backup was found to hold are noted on their Secrets (annotation
/// latchwork.dev/backup-verified), which lets `keys retire --delete` delete them.
#[derive(Args)]
pub struct VerifyArgs {
    /// Backup file, as `keys backup` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    tree: TreeArgs,
}

/// Opens a backup.
pub(super) fn open(file: &Path, identities: &IdentityArgs) -> anyhow::Result<Vec<Kept>> {
    let mut known = Identities::new();
    for path in &identities.identity {
        known.extend(identity_file(path)?);
    }
    let shown = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {shown}"))?.len();
    if size > limits::BACKUP_BYTES as u64 {
        bail!(
            "{shown} is too large for a backup of sealing keys: {size} bytes, and the most is {}",
            limits::BACKUP_BYTES
        );
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let content = match known.age().open(&bytes, limits::BACKUP_BYTES) {
        Ok(content) => content,
        Err(KeyError::NoIdentity) => {
            bail!("{shown}: no age identity was given; --identity names a file that holds one")
        }
        Err(KeyError::NoMatch { .. }) => {
            bail!(
                "{shown}: encrypted to other recipients than those of --identity ({})",
                known.age().recipients().join(", ")
            )
        }
        Err(_) => bail!("{shown}: not an age file, or damaged; `latchwork keys backup` writes one"),
    };
    backup::read(&content).map_err(|error| anyhow::anyhow!("{shown}: {}", error.line()))
}

/// The keys of a backup, as a cluster would have them after a restore.
pub(super) fn restored(kept: Vec<Kept>, args: &ClusterArgs) -> SealingKeys {
    let mut keys = SealingKeys::ordered_by(args.order.into());
    kept.into_iter().for_each(|kept| keys.add(kept.key));
    keys
}

pub(super) async fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = restored(open(&args.file, &args.identities)?, &args.cluster);
    let (mut failures, ring, places) = if args.tree.tree.is_empty() {
        let ring = Ring::read(&args.cluster).await?;
        let places = ring.objects(None, true).await?;
        (missing(&ring, &keys), Some(ring), places)
    } else {
        (vec![], None, args.tree.places()?)
    };
    let holdings = Holdings::find(&keys, &places);
    for key in keys.iter().filter(|key| *key.state() != KeyState::Active) {
        let why = format!(
            "opens only with {}, which is labelled {}: the controller does not use it",
            key.name(),
            key.state()
        );
        failures.extend(holdings.of(key.fingerprint()).iter().map(|held| format!("{held}: {why}")));
    }
    failures
        .extend(holdings.unopened.iter().map(|held| format!("{held}: {}", cause(held, &places, &keys, ring.as_ref()))));

    failures.iter().for_each(|failure| complain(&format!("error: {failure}")));
    if let Some(ring) = &ring {
        note(ring, &keys).await;
    }
    let (file, count, objects) = (args.file.display(), keys.len(), places.len());
    if failures.is_empty() {
        say(&format!("{file}: its {count} keys open every entry of {objects} SealedSecrets"))?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{file}: its {count} keys do not open everything; {} failures are listed above", failures.len());
}

/// Keys of the cluster that the backup lacks.
fn missing(ring: &Ring, keys: &SealingKeys) -> Vec<String> {
    let kept = |fingerprint: &str| keys.iter().any(|key| &**key.fingerprint() == fingerprint);
    let lacking = ring.keys.iter().filter(|key| !kept(key.fingerprint()));
    let text = |name: &str| {
        format!("sealing key {name} of the cluster is not in the backup; make a new one: `latchwork keys backup`")
    };
    lacking.map(|key| text(key.name())).collect()
}

/// Why something does not open, as far as the keys of the backup and of the cluster tell.
fn cause(held: &Held, places: &[Place], keys: &SealingKeys, ring: Option<&Ring>) -> String {
    if held.homeless {
        return "the file names no namespace; give it with --tree-namespace".into();
    }
    let same = |place: &&Place| {
        let meta = &place.object.metadata;
        place.file == held.file
            && meta.name.as_deref().unwrap_or_default() == held.object.name
            && meta.namespace.as_deref().unwrap_or_default() == held.object.namespace
    };
    let Some(place) = places.iter().find(same) else { return "no key could decrypt secret".into() };
    let with =
        |keys: &SealingKeys| open_entries(&place.object, keys, &Hints::default(), UnsealOptions::default()).err();
    if ring.is_some_and(|ring| with(&ring.keys).is_none()) {
        return "opens with a key of the cluster that is not in the backup".into();
    }
    let own = with(keys).as_ref().map(UnsealError::hint).filter(|hint| !hint.is_empty());
    let text = own.map_or("no key could decrypt secret".to_owned(), |hint| one_line(&hint));
    if ring.is_some() { format!("does not open with the keys of the cluster either: {text}") } else { text }
}

/// Notes on the Secret of each key that the backup holds that this was proven.
async fn note(ring: &Ring, keys: &SealingKeys) {
    let now = Timestamp::now().to_string();
    for key in ring.keys.iter() {
        let Some(kept) = keys.iter().find(|kept| kept.fingerprint() == key.fingerprint()) else { continue };
        let Ok(secret) = ring.secret(key.name()) else { continue };
        let written = kept.backups().written.as_ref().map(|mark| serde_json::json!(mark).to_string());
        let mut annotations = vec![(backup::VERIFIED, now.as_str())];
        // A backup that could not be noted when it was written.
        annotations
            .extend(written.as_deref().filter(|_| key.backups().written.is_none()).map(|text| (backup::BACKUP, text)));
        if let Err(error) = ring.writer().mark_sealing_key(secret, &[], &annotations).await {
            complain(&format!(
                "warning: that it was verified cannot be noted on Secret {}: {}",
                key.name(),
                error.line()
            ));
        }
    }
}
