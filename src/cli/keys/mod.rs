//! `latchwork keys`: the life of the sealing keys of a cluster.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

mod backup;
mod held;
mod restore;
mod retire;
mod ring;
mod rotate;
mod status;
mod verify;

/// Look after the sealing keys of a cluster: what each still opens, a new one, a backup, the end of an old one.
///
/// A key's life: `rotate` makes a new key, which seals from then on; the old ones still open. `backup` and
/// `verify-backup` keep a copy that opens everything. When the files in Git have been sealed anew and applied, `status`
/// shows which keys open nothing any more, and `retire` takes them out of use. After a loss, `restore` brings all back.
/// No value of a Secret is ever shown, and no private key is ever written in clear.
///
/// Without a verb it is `status`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeysArgs {
    #[command(subcommand)]
    verb: Option<KeysVerb>,
    #[command(flatten)]
    status: status::StatusArgs,
}

#[derive(Subcommand)]
enum KeysVerb {
    Status(status::StatusArgs),
    Rotate(rotate::RotateArgs),
    Retire(retire::RetireArgs),
    Backup(backup::BackupArgs),
    VerifyBackup(verify::VerifyArgs),
    Restore(restore::RestoreArgs),
}

/// Runs the verb.
pub fn run(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a thread")?;
    runtime.block_on(async {
        match &args.verb {
            None => status::run(&args.status).await,
            Some(KeysVerb::Status(args)) => status::run(args).await,
            Some(KeysVerb::Rotate(args)) => rotate::run(args).await,
            Some(KeysVerb::Retire(args)) => retire::run(args).await,
            Some(KeysVerb::Backup(args)) => backup::run(args).await,
            Some(KeysVerb::VerifyBackup(args)) => verify::run(args).await,
            Some(KeysVerb::Restore(args)) => restore::run(args).await,
        }
    })
}

/// One line on standard output.
fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}")
}
