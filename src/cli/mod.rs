//! The command line: one file per verb.
//!
//! The program answers to other names too, so that a link or an image's command is all that a user of an incumbent has
//! to change: see `personality`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args as _, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::adapters::process;
use go_flags::UsageTo;

pub mod check;
pub mod crds;
mod data_keys;
pub mod explain;
pub mod git;
mod go_flags;
mod key_services;
pub mod keys;
mod keys_at_hand;
pub mod kubeseal;
pub mod operator;
pub mod pin;
mod providers;
pub mod rekey;
pub mod render;
pub mod sealed_secrets_controller;
pub mod sops;
pub mod template;
mod workers;

/// Opens every secret a GitOps repository can hold, inside the Kubernetes cluster, and turns its keys safely.
#[derive(Parser)]
// A flag that is given twice counts with its last value, as in the programs whose names this one goes under.
#[command(
    name = "latchwork",
    version,
    about,
    propagate_version = true,
    max_term_width = 110,
    args_override_self = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

// Deferred: only the flags of the verb that is asked for are defined. The whole command line is a third of the time of a
// small `decrypt`.
#[derive(Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Run the operator: reconcile EncryptedSources, SealedSecrets and ExternalSecrets of a cluster
    Operator(operator::OperatorArgs),
    /// Write the plain manifests of a GitOps repository to standard output
    Render(render::RenderArgs),
    /// Bring every encrypted file of a tree to the present keys: SOPS files and SealedSecrets
    Rekey(Box<rekey::RekeyArgs>),
    /// Find secrets in clear, and encrypted files that are broken or to the wrong keys
    Check(check::CheckArgs),
    /// Say which rule a file has, what is encrypted in it, and who can open it
    Explain(explain::ExplainArgs),
    /// Let Git merge and show encrypted files
    Git(git::GitArgs),
    /// Merge one file for Git, entry by entry
    MergeDriver(git::MergeDriverArgs),
    /// Print a SOPS file in plaintext for `git diff`
    Textconv(git::TextconvArgs),
    /// Read, write and change files encrypted with SOPS
    #[command(display_name = "sops", version = sops::VERSION)]
    Sops(Box<sops::SopsArgs>),
    /// Try the templates of SealedSecrets and ExternalSecrets without a cluster
    Template(template::TemplateArgs),
    /// Print the custom resource definitions, ready for `kubectl apply`
    Crds(crds::CrdsArgs),
    /// Look after the sealing keys of a cluster: what each still opens, a new one, a backup, the end of an old one
    Keys(keys::KeysArgs),
    /// Seal Secrets for a cluster, as kubeseal does: with its flags, output and messages
    Kubeseal(Box<kubeseal::KubesealArgs>),
    /// Pin the cluster's sealing certificate in the repository, to seal offline and to no other key
    Pin(pin::PinArgs),
    /// Run as the Sealed Secrets controller does, with its flags and variables
    SealedSecretsController(Box<sealed_secrets_controller::ControllerArgs>),
}

/// What the name of the executable asks for: the verb to put in front of the arguments.
fn personality(program: &str) -> Option<&'static str> {
    match program {
        "kubeseal" => Some("kubeseal"),
        "controller" => Some("sealed-secrets-controller"),
        "sops" => Some("sops"),
        _ => None,
    }
}

/// Runs the program with `arguments` (the first is the name it was called by) and returns its exit status.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    process::never_dump();
    // Two TLS users in the graph take whichever provider is installed: name ours before anything connects. An error
    // means that one is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Line { command, arguments, usage_status } = match Line::of(arguments) {
        Ok(line) => line,
        Err(status) => return status,
    };
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { usage_status } else { 0 });
        }
    };
    let result = match cli.verb {
        Verb::Operator(args) => operator::run(args),
        Verb::Render(args) => render::run(&args),
        Verb::Template(args) => template::run(&args),
        Verb::Crds(args) => crds::run(&args),
        Verb::Keys(args) => keys::run(&args),
        Verb::Kubeseal(args) => kubeseal::run(*args),
        Verb::Pin(args) => pin::run(&args),
        Verb::SealedSecretsController(args) => sealed_secrets_controller::run(*args),
        Verb::Rekey(args) => rekey::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Git(args) => git::run(&args),
        Verb::MergeDriver(args) => git::merge_driver(&args),
        Verb::Textconv(args) => git::textconv(&args),
        Verb::Sops(args) => sops::run(*args),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A verb that stands for a program of Go's with a variable for each flag.
struct Gos {
    verb: &'static str,
    /// Its flags, on the command that stands for it.
    flags: fn(Command) -> Command,
    usage: UsageTo,
}

const GOS: [Gos; 2] = [
    Gos { verb: "kubeseal", flags: kubeseal::KubesealArgs::augment_args, usage: UsageTo::Stdout },
    Gos {
        verb: "sealed-secrets-controller",
        flags: sealed_secrets_controller::ControllerArgs::augment_args,
        usage: UsageTo::Stderr,
    },
];

/// A command line that clap can read.
struct Line {
    command: Command,
    arguments: Vec<OsString>,
    /// Exit status when clap cannot.
    usage_status: u8,
}

impl Line {
    /// The name of a program that is a verb stands for the verb, in usage lines too. A verb that stands for a program of
    /// Go's is read the way that program reads.
    fn of(mut arguments: Vec<OsString>) -> Result<Self, ExitCode> {
        let name = arguments.first().map(|name| Path::new(name).file_stem().unwrap_or_default().to_string_lossy());
        let personality = name.and_then(|name| personality(&name));
        let called = arguments.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = Cli::command();
        if let (Some(verb), Some(first)) = (personality, arguments.first_mut()) {
            *first = verb.into();
            command = command.no_binary_name(true);
        }
        let at = usize::from(personality.is_none());
        let Some(verb) = arguments.get(at) else { return Ok(Self { command, arguments, usage_status: 2 }) };
        if verb == "sops"
            && let Some(listed) = command.find_subcommand("sops")
        {
            let sops = sops::SopsArgs::augment_args(listed.clone());
            let words = arguments.split_off(at + 1);
            arguments.extend(sops::words_of(words, &sops)?);
            let command = command.mut_subcommand("sops", |_| defined(sops));
            return Ok(Self { command, arguments, usage_status: 1 });
        }
        if let Some(Gos { verb, flags, usage }) = GOS.iter().find(|program| verb == program.verb) {
            let program = if personality.is_some() { called } else { format!("latchwork {verb}") };
            let known = flags(Command::new(*verb));
            let words = go_flags::read(&known, arguments.split_off(at + 1), &mut complain);
            let words = words.map_err(|why| ExitCode::from(go_flags::stop(&why, known, &program, *usage)))?;
            arguments.extend(words);
            command = command.mut_subcommand(verb, |verb| defined(go_flags::prepared(flags(verb))));
        }
        Ok(Self { command, arguments, usage_status: 2 })
    }
}

/// A verb with its flags, in place of the definition that clap would put off until it comes to the verb.
fn defined(verb: Command) -> Command {
    verb.defer(|verb| verb)
}

/// One line on standard error. The line must hold no secret.
pub(crate) fn complain(line: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, CommandFactory as _};

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    /// What is deferred describes itself as the list of verbs does: flags that verbs share must not say what a verb is.
    #[test]
    fn a_verb_is_described_by_its_own_words() {
        fn check(listed: &clap::Command, built: &clap::Command) {
            let words = |command: &clap::Command| {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                about.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>()
            };
            for verb in listed.get_subcommands() {
                let built = built.find_subcommand(verb.get_name()).expect("it is built");
                assert!(words(verb).len() == 2 && words(verb) == words(built), "{}", verb.get_name());
            }
        }
        let listed = super::Cli::command();
        let mut built = super::Cli::command();
        built.build();
        check(&listed, &built);
        let sops = super::sops::SopsArgs::augment_args(clap::Command::new("sops"));
        check(&sops, built.find_subcommand("sops").expect("a verb"));
    }
}
