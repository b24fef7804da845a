//! `latchwork crds`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::pure::crd;

/// Print the custom resource definitions, ready for `kubectl apply`.
#[derive(Args)]
pub struct CrdsArgs {
    /// Write one file per kind into this directory instead
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &CrdsArgs) -> anyhow::Result<ExitCode> {
    for (file, definition) in crd::all() {
        let text = crd::manifest(&definition).with_context(|| format!("cannot print {file}"))?;
        match &args.output_dir {
            Some(dir) => std::fs::write(dir.join(file), text).with_context(|| format!("cannot write {file}"))?,
            None => std::io::stdout().lock().write_all(format!("---\n{text}").as_bytes())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
