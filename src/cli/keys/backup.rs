//! `latchwork keys backup`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;

use super::ring::{ClusterArgs, Ring};
use crate::adapters::asking;
use crate::adapters::atomic;
use crate::cli::complain;
use crate::pure::error::Explain as _;
use crate::pure::keys::age::{self, Recipient};
use crate::pure::sealed::backup::{self, BackupMark};

/// Write all sealing keys into one file, encrypted to age recipients.
///
/// All keys stand in it, the old, retired and compromised ones, too: an old commit needs its old key. Nothing is ever on
/// disk in clear. Keep the recipients' identities away from the cluster, or the backup is lost with it. That the keys stand
/// in a backup is noted on their Secrets (annotation latchwork.dev/backup), where the KeyRing and `keys status` show it.
///
/// Without this program the file is restored by `age -d -i IDENTITY FILE | kubectl apply -f -`.
#[derive(Args)]
pub struct BackupArgs {
    /// age recipient: age1…, age1pq1…, ssh-ed25519 … or ssh-rsa …; may be repeated
    #[arg(long, short, value_name = "AGE")]
    recipient: Vec<String>,
    /// File with one recipient on each line, as for `age -R`; may be repeated
    #[arg(long, short = 'R', value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// File to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

impl BackupArgs {
    fn recipients(&self) -> anyhow::Result<Vec<Recipient>> {
        let mut texts = self.recipient.clone();
        for path in &self.recipients_file {
            let file = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(lines.map(str::to_owned));
        }
        if texts.is_empty() {
            bail!(
                "name whom the backup is for with --recipient: `age-keygen -o offline.agekey` prints one; keep that file \
                 away from the cluster"
            );
        }
        texts.iter().map(|text| Ok(asking::recipient(text)?)).collect()
    }
}

pub(super) async fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let recipients = args.recipients()?;
    if let Some(path) = args.output.as_ref().filter(|path| path.exists() && !args.force) {
        bail!(
            "{} is there already, and may hold keys that the cluster no longer has: choose another name, with the date in \
             it for example, or say --force",
            path.display()
        );
    }
    let ring = Ring::read(&args.cluster).await?;
    let mark = BackupMark {
        time: Timestamp::from_second(Timestamp::now().as_second())?,
        recipients: recipients.iter().map(|recipient| recipient.text().to_owned()).collect(),
        key_set: backup::key_set(ring.keys.iter().map(|key| key.fingerprint())),
    };
    let content = backup::content(&ring.secrets, &mark);
    let file = age::seal(&recipients, &content)
        .map_err(|error| anyhow::anyhow!("{error}; post-quantum recipients (age1pq1…) cannot stand beside others"))?;
    match &args.output {
        Some(path) => {
            atomic::replace(path, file.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => std::io::stdout().lock().write_all(file.as_bytes())?,
    }
    note(&ring, &mark).await;
    let to = args.output.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string());
    complain(&format!("{} keys of namespace {} written to {to}", ring.keys.len(), ring.namespace));
    complain("prove that it opens everything: latchwork keys verify-backup FILE --identity IDENTITY");
    Ok(ExitCode::SUCCESS)
}

/// Notes on each Secret in which backup it stands. The backup is good without it.
async fn note(ring: &Ring, mark: &BackupMark) {
    let text = serde_json::json!(mark).to_string();
    for secret in &ring.secrets {
        if let Err(error) = ring.writer().mark_sealing_key(secret, &[], &[(backup::BACKUP, &text)]).await {
            let (name, why) = (&secret.name, error.line());
            complain(&format!("warning: the backup is written, but that cannot be noted on Secret {name}: {why}"));
        }
    }
}
