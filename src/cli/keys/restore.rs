//! `latchwork keys restore`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::ring::{ClusterArgs, Ring};
use super::say;
use super::verify::{IdentityArgs, open, restored};
use crate::adapters::k8s::secrets;
use crate::pure::error::Explain as _;
use crate::pure::sealed::backup::{self, Step};
use crate::pure::sealed::keys::KeyFingerprint;

/// Bring the sealing keys of a backup back into a cluster.
///
/// The Secrets get their names, labels, types, annotations and dates of creation (annotation latchwork.dev/created), so
/// that the same key is the active one as before. A running controller uses them within seconds, without a restart.
/// What is there already stays; another key of the same name is an error, and then nothing is written. To keep a new
/// cluster from making a key of its own first, restore before the controller is installed: a key made later is newer and
/// seals, while the restored ones open.
#[derive(Args)]
pub struct RestoreArgs {
    /// Backup file, as `keys backup` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let kept = open(&args.file, &args.identities)?;
    let namespaces: BTreeSet<&str> = kept.iter().map(|kept| kept.secret.namespace.as_str()).collect();
    let namespace = match (&args.cluster.namespace, namespaces.first(), namespaces.len()) {
        (Some(named), ..) => named.clone(),
        (None, Some(only), 1) if !only.is_empty() => (*only).to_owned(),
        _ => bail!("the backup does not say which namespace its keys belong into; name it with --namespace"),
    };
    let cluster = args.cluster.connect().await?;
    let ring = Ring::read_in(cluster, namespace.clone(), &args.cluster).await?;
    let mut present: Vec<(String, KeyFingerprint)> =
        ring.keys.iter().map(|key| (key.name().to_owned(), key.fingerprint().clone())).collect();
    for kept in &kept {
        let name = &kept.secret.name;
        let known = present.iter().any(|(present, _)| present == name);
        // A Secret of that name that is no key of the ring is somebody's, too.
        if !known && secrets::get(&ring.cluster, &namespace, name).await?.is_some() {
            present.push((name.clone(), "".into()));
        }
    }
    let steps = backup::plan(&kept, &present, &namespace).map_err(|error| anyhow::anyhow!(error.line()))?;
    let before = ring.keys.current().map(|key| key.fingerprint().clone());

    let (mut created, mut there) = (0, 0);
    for (kept, step) in kept.iter().zip(&steps) {
        let name = &kept.secret.name;
        match step {
            Step::There(as_name) => {
                there += 1;
                say(&format!(
                    "{name}: is there already{}",
                    if as_name == name { String::new() } else { format!(", as {as_name}") }
                ))?;
            }
            Step::Create(_) if args.dry_run => say(&format!("{name}: would be created"))?,
            Step::Create(secret) => {
                let made = ring.writer().create_sealing_key(secret).await;
                made.map_err(|error| {
                    anyhow::anyhow!("{name}: {}; run it again, it goes on where it stopped", error.line())
                })?;
                created += 1;
                say(&format!("{name}: restored ({})", kept.key.fingerprint()))?;
            }
        }
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("{created} keys restored into namespace {namespace}, {there} were there"))?;
    let wanted = restored(kept, &args.cluster).current().map(|key| key.fingerprint().clone());
    let ring = ring.again(&args.cluster).await?;
    match ring.keys.current() {
        Some(current) if Some(current.fingerprint()) == wanted.as_ref() => {
            say(&format!("{} is the active key, as it was", current.name()))?;
        }
        Some(current) if Some(current.fingerprint()) == before.as_ref() => say(&format!(
            "{} stays the active key of this cluster, since it is newer than those of the backup; they open what they sealed",
            current.name()
        ))?,
        Some(current) => say(&format!("{} is the active key", current.name()))?,
        None => say(
            "no key is active: all of the backup are retired or compromised, and the controller will make a new one",
        )?,
    }
    Ok(ExitCode::SUCCESS)
}
