//! `latchwork sops`: the command line of SOPS. The program called by the name `sops` is this verb.
//!
//! Flags, environment variables and exit codes are those of `sops` 3.13; docs/compat/sops.md lists what differs and why.

pub(in crate::cli) mod args;
mod change;
mod crypt;
mod failure;
pub(in crate::cli) mod files;
mod groups;
pub(in crate::cli) mod keys;
mod keyservice;
mod places;
mod private;
mod programs;
mod publish;
pub(in crate::cli) mod ring;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args as _;

pub use args::SopsArgs;
use args::{OldStyle, Verb};
use failure::{Failure, code};
use keys::Run;

use crate::pure::secret::Plaintext;

/// What `sops --version` says: the version whose files and flags these are, and our own.
pub const VERSION: &str = concat!("3.13.3 (latchwork ", env!("CARGO_PKG_VERSION"), ")");

/// Runs the verb.
pub fn run(args: SopsArgs) -> anyhow::Result<ExitCode> {
    let outcome = Run::new(&args.global).and_then(|run| match args.verb {
        Some(verb) => new_style(verb, &run),
        None => old_style(args.old, &run),
    });
    Ok(match outcome {
        Ok(status) => status,
        Err(failure) => {
            crate::cli::complain(&failure.text);
            ExitCode::from(failure.code)
        }
    })
}

/// The words behind `sops`, as clap reads them with `sops`, the verb and its flags; else the status to end with.
pub fn words_of(words: Vec<OsString>, sops: &clap::Command) -> Result<Vec<OsString>, ExitCode> {
    words::read(words, sops).map_err(|failure| {
        crate::cli::complain(&failure.text);
        ExitCode::from(failure.code)
    })
}

type Outcome = Result<ExitCode, Failure>;

fn new_style(verb: Verb, run: &Run<'_>) -> Outcome {
    match verb {
        Verb::Decrypt(args) => crypt::decrypt(&args, run),
        Verb::Encrypt(args) => crypt::encrypt(&args, run),
        Verb::Set(args) => change::set(&args, run),
        Verb::Unset(args) => change::unset(&args, run),
        Verb::Rotate(args) => change::rotate(&args, run),
        Verb::Updatekeys(args) => change::updatekeys(&args, run),
        Verb::Publish(args) => publish::publish(&args, run),
        Verb::Filestatus(args) => crypt::filestatus(&args, run),
        Verb::Edit(args) => programs::edit(&args, run),
        Verb::ExecEnv(args) => programs::exec_env(&args, run),
        Verb::ExecFile(args) => programs::exec_file(&args, run),
        Verb::Keyservice(args) => keyservice::run(&args, run),
        Verb::Groups(args) => match args.verb {
            args::GroupsVerb::Add(args) => groups::add(&args, run),
            args::GroupsVerb::Delete(args) => groups::delete(&args, run),
        },
        Verb::Completion(args) => completion(&args),
    }
}

/// `sops completion`: for the program under the name `sops`.
fn completion(args: &args::CompletionArgs) -> Outcome {
    let mut command = SopsArgs::augment_args(clap::Command::new("sops"));
    let mut script = vec![];
    if let Some(shell) = args.shell {
        clap_complete::generate(shell, &mut command, "sops", &mut script);
    } else {
        command.build();
        let help = command.find_subcommand_mut("completion").map(clap::Command::render_help);
        script.extend(help.map(|help| help.to_string()).unwrap_or_default().into_bytes());
    }
    files::to_stdout(&Plaintext::new(script))?;
    Ok(ExitCode::SUCCESS)
}

/// `sops -d FILE` and its like; without a mode the file is edited.
fn old_style(mut old: OldStyle, run: &Run<'_>) -> Outcome {
    // An empty text sets nothing.
    old.set = old.set.filter(|text| !text.is_empty());
    let modes = [old.decrypt, old.encrypt, old.rotate, old.set.is_some()];
    if modes.iter().filter(|mode| **mode).count() > 1 {
        return Err(Failure::new(code::CONFLICTING_FLAGS, "choose one of --decrypt, --encrypt, --rotate and --set"));
    }
    let Some(file) = old.file.clone() else {
        // Standard input has no name; a flag must say what it is.
        if (old.decrypt || old.encrypt) && old.names_input() {
            return new_style(if old.decrypt { old.as_decrypt(None) } else { old.as_encrypt(None) }, run);
        }
        return Err(Failure::new(code::NO_FILE, "Error: no file specified"));
    };
    if !file.exists() && old.changes_keys() {
        return Err(change::keys_of_nothing(&file));
    }
    if !old.decrypt {
        // As SOPS in this style: rules that do not fit are an error even where none is needed.
        files::plan_of_rules(run.global, &file.to_string_lossy())?;
    }
    let verb = if old.decrypt {
        old.as_decrypt(Some(file))
    } else if old.encrypt {
        old.as_encrypt(Some(file))
    } else if old.rotate {
        if !old.changes_keys() {
            files::exists(&file)?;
        }
        old.as_rotate(file)
    } else if let Some(text) = &old.set {
        old.as_set(file, text)?
    } else {
        old.as_edit(file)
    };
    new_style(verb, run)
}
