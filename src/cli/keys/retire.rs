//! `latchwork keys retire`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::held::{Held, Holdings, TreeArgs, trees};
use super::ring::{ClusterArgs, Ring};
use super::say;
use crate::cli::complain;
use crate::pure::crd::key_ring::KeyPhase;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::Explain as _;
use crate::pure::sealed::keys::{ACTIVE, KeyState, RETIRED, SealingKey};
use crate::pure::sealed::ring::phase;

/// Take an old sealing key out of use, once nothing needs it any more.
///
/// Every SealedSecret of the cluster, and of each --tree, is opened to see which key it needs; if it is this one, nothing
/// is changed and the objects are listed. Otherwise the key's Secret is labelled `retired`: it opens nothing from then on,
/// and `kubectl label --overwrite` with the value `active` brings it back. With --delete its Secret is deleted, too, if a
/// backup was verified to hold it. The active key is never retired: make a new one first.
#[derive(Args)]
pub struct RetireArgs {
    /// Name of the key's Secret, or the start of its fingerprint
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    tree: TreeArgs,
    /// Go on although --tree holds entries that no key opens, and that might be this key's
    #[arg(long)]
    ignore_unopened: bool,
    /// Delete the Secret of the key
    #[arg(long)]
    delete: bool,
    /// Delete it although no backup was verified to hold it: what it sealed can then never be opened again
    #[arg(long, requires = "delete")]
    no_backup: bool,
    /// Only look
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &RetireArgs) -> anyhow::Result<ExitCode> {
    let ring = Ring::read(&args.cluster).await?;
    let key = ring.select(&args.key)?;
    let name = key.name();
    if phase(key, &ring.keys) == KeyPhase::Active {
        bail!("{name} is the active key, and seals; make a new one first: `latchwork keys rotate`");
    }
    let files = args.tree.places()?;
    let mut places = ring.objects(None, true).await?;
    let (in_cluster, in_files) = (places.len(), files.len());
    places.extend(files);
    refuse_if_needed(args, key, &Holdings::find(&ring.keys, &places))?;
    if args.delete && !args.no_backup && key.backups().verified.is_none() {
        bail!(
            "no backup was verified to hold {name}, and what it sealed could then never be opened again, not even out of old \
             commits: run `latchwork keys backup` and `latchwork keys verify-backup`, or say --no-backup"
        );
    }
    let looked = match args.tree.tree.is_empty() {
        true => format!("{in_cluster} SealedSecrets of the cluster"),
        false => format!("{in_cluster} SealedSecrets of the cluster and {in_files} in {}", trees(&args.tree.tree)),
    };
    if args.dry_run {
        say(&format!("{name} can be retired: none of the {looked} needs it"))?;
        return Ok(ExitCode::SUCCESS);
    }

    let secret = ring.secret(name)?;
    let secret = mark(&ring, key, secret, RETIRED).await?;
    if let Err(why) = look_again(args, &ring, key).await {
        // Something that needs it was applied between our look and the mark.
        mark(&ring, key, &secret, key_label(key)).await?;
        return Err(why.context("the key stays as it was"));
    }
    say(&format!("{name} is retired: none of the {looked} needs it"))?;
    if args.tree.tree.is_empty() {
        complain("note: only the cluster was looked at; --tree PATH looks at files that are not applied yet");
    }
    if args.delete {
        let deleted = ring.writer().delete(&ring.namespace, name, &secret.uid).await;
        deleted.map_err(|error| anyhow::anyhow!(error.line()))?;
        say(&format!("its Secret {}/{name} is deleted", ring.namespace))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The value that its label has, or should have.
fn key_label(key: &SealingKey) -> &str {
    match key.state() {
        KeyState::Active => ACTIVE,
        KeyState::Retired(label) => label,
    }
}

fn refuse_if_needed(args: &RetireArgs, key: &SealingKey, holdings: &Holdings) -> anyhow::Result<()> {
    let held = holdings.of(key.fingerprint());
    if !held.is_empty() {
        held.iter().for_each(|held| complain(&format!("  {held}")));
        bail!(
            "{} is still needed by {} entries in {} objects, listed above; nothing was changed. Seal them anew \
             (`latchwork rekey --cluster --only sealed PATH`, with --controller-namespace and --controller-name as they \
             are), apply them, and try again",
            key.name(),
            holdings.entries(key.fingerprint()),
            held.len()
        );
    }
    let doubtful: Vec<&Held> = holdings.unopened.iter().filter(|held| held.file.is_some()).collect();
    if doubtful.is_empty() || args.ignore_unopened {
        return Ok(());
    }
    doubtful.iter().for_each(|held| complain(&format!("  {held}")));
    let homeless = match doubtful.iter().any(|held| held.homeless) {
        true => " Some name no namespace: give it with --tree-namespace.",
        false => "",
    };
    bail!(
        "no key opens these entries of --tree, so which one they need cannot be told; nothing was changed.{homeless} Mend \
         them, or say --ignore-unopened"
    );
}

/// What was applied meanwhile.
async fn look_again(args: &RetireArgs, ring: &Ring, key: &SealingKey) -> anyhow::Result<()> {
    let places = ring.objects(None, true).await?;
    refuse_if_needed(args, key, &Holdings::find(&ring.keys, &places))
}

/// Labels the Secret, if it is still the one that was looked at.
async fn mark(ring: &Ring, key: &SealingKey, secret: &ObservedSecret, label: &str) -> anyhow::Result<ObservedSecret> {
    let writer = ring.writer();
    let marked = writer.mark_sealing_key(secret, &[(SEALING_KEY_LABEL, label)], &[]).await;
    marked.map_err(|error| anyhow::anyhow!("{}: {}", key.name(), error.line()))
}
