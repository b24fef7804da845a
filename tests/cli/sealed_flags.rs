//! Every flag of the real Sealed Secrets controller and of the real `kubeseal`, as they print them, held against ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::rig::process::{self, Ran, called, run};
use crate::rig::tools;

/// One flag, as its program's help shows it.
#[derive(Debug, Default, PartialEq)]
struct Flag {
    short: Option<char>,
    /// Of theirs: `string`, `int`, `duration`, …, empty for a truth value.
    kind: String,
    default: String,
}

/// A program of theirs, ours under its name, and what only ours has.
struct Pair {
    theirs: &'static str,
    ours: &'static str,
    /// Its first words when it is asked for its version.
    version: &'static str,
    only_ours: &'static [&'static str],
    /// Taken, and without effect: not shown in our help.
    hidden: &'static [&'static str],
}

const PAIRS: [Pair; 2] = [
    Pair {
        theirs: "sealed-secrets-controller",
        ours: "controller",
        version: "controller version: v0.38.4",
        // The third is theirs, from v0.39 on.
        only_ours: &["leader-elect", "sealed-endpoints", "metrics-omit-secret-labels"],
        hidden: &["kubeclient-burst", "kubeclient-qps", "max-unseal-retries", "watch-for-secrets", "rotate-period"],
    },
    Pair {
        theirs: "kubeseal",
        ours: "kubeseal",
        version: "kubeseal version: v0.38.4",
        only_ours: &["pin"],
        hidden: &["request-timeout", "rotate"],
    },
];

/// Logging flags of Go's programs, which ours takes and does not show.
const KLOG: [&str; 15] = [
    "add_dir_header",
    "alsologtostderr",
    "alsologtostderrthreshold",
    "legacy_stderr_threshold_behavior",
    "log_backtrace_at",
    "log_dir",
    "log_file",
    "log_file_max_size",
    "logtostderr",
    "one_output",
    "skip_headers",
    "skip_log_headers",
    "stderrthreshold",
    "v",
    "vmodule",
];

/// Without the variables of whoever runs the tests.
fn bare(program: PathBuf, arguments: &[&str]) -> Command {
    let mut command = process::command(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

impl Pair {
    fn theirs(&self, arguments: &[&str]) -> Command {
        bare(tools::path(self.theirs), arguments)
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        bare(called(self.ours), arguments)
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.hidden.contains(&name) || KLOG.contains(&name)
    }
}

/// Reads either help: a line that begins with a dash begins a flag, and others go on with it.
fn flags(help: &str) -> BTreeMap<String, Flag> {
    let mut found: Vec<(String, Flag, String)> = vec![];
    for line in help.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let (short, long) = match text.split_once(", --") {
            Some((short, long)) if short.len() == 2 && short.starts_with('-') => (short.chars().nth(1), long),
            _ => (None, text.strip_prefix("--").unwrap_or_default()),
        };
        if (2..=6).contains(&indent) && !long.is_empty() {
            let end = long.find([' ', '=', '[']).unwrap_or(long.len());
            let (name, rest) = long.split_at(end);
            let kind = rest.strip_prefix(' ').filter(|rest| !rest.starts_with(' ')).unwrap_or_default();
            let kind = kind.split(' ').next().unwrap_or_default().to_owned();
            found.push((name.to_owned(), Flag { short, kind, default: String::new() }, rest.to_owned()));
        } else if let Some((_, _, rest)) = found.last_mut().filter(|_| indent > 6) {
            rest.push(' ');
            rest.push_str(text);
        }
    }
    let default = |rest: &str| {
        let (_, after) = rest.split_once("[default: ").or_else(|| rest.rsplit_once("(default "))?;
        let end = after.find([']', ')'])?;
        Some(after[..end].trim_matches('"').to_owned())
    };
    found
        .into_iter()
        .map(|(name, flag, rest)| (name, Flag { default: default(&rest).unwrap_or_default(), ..flag }))
        .collect()
}

fn help(mut command: Command) -> BTreeMap<String, Flag> {
    command.arg("--help");
    let ran = run(command, b"");
    assert!(ran.status.success(), "{}", ran.stderr);
    flags(&format!("{}\n{}", ran.stdout, ran.stderr))
}

/// `720h0m0s` is `720h`.
fn plain(default: &str) -> &str {
    let short = default.strip_suffix("0s").filter(|short| short.ends_with(['h', 'm'])).unwrap_or(default);
    short.strip_suffix("0m").filter(|short| short.ends_with('h')).unwrap_or(short)
}

/// A value that the flag takes.
fn sample(name: &str, flag: &Flag) -> String {
    match (name, flag.kind.as_str()) {
        ("scope", _) => "cluster-wide".into(),
        (_, "") => "false".into(),
        (_, "int" | "int32" | "float32" | "uint" | "count" | "Level") => "3".into(),
        (_, "duration") => "90s".into(),
        (_, "severity") => "2".into(),
        (_, "traceLocation") => "main.go:12".into(),
        (_, "moduleSpec") => "main=1".into(),
        (name, _) if name.ends_with("-addr") => "127.0.0.1:1234".into(),
        _ => {
            if flag.default.is_empty() {
                "x=y".into()
            } else {
                flag.default.clone()
            }
        }
    }
}

fn shown(ran: &Ran) -> String {
    format!("{}: {}{}", ran.status, ran.stdout, ran.stderr)
}

#[test]
fn every_flag_is_there_with_its_short_name_and_default_and_takes_its_values() {
    for pair in &PAIRS {
        let (theirs, ours) = (help(pair.theirs(&[])), help(pair.ours(&[])));
        assert!(theirs.len() > 25, "{}: {theirs:?}", pair.theirs);
        let mut wrong = vec![];
        for (name, flag) in theirs.iter().filter(|(name, _)| !["help", "version"].contains(&name.as_str())) {
            // Only its text says so.
            let default = if name == "scope" { "strict" } else { plain(&flag.default) };
            match ours.get(name) {
                Some(own) if own.short != flag.short => wrong.push(format!("--{name}: {own:?}, theirs {flag:?}")),
                // They print no default that is empty, false or zero.
                Some(own) if default != own.default && !(default.is_empty() && own.default == "false") => {
                    wrong.push(format!("--{name}: default {:?}, theirs {:?}", own.default, flag.default));
                }
                None if !pair.is_hidden(name) => wrong.push(format!("--{name} is missing")),
                _ => {}
            }
            let given = format!("--{name}={}", sample(name, flag));
            let words =
                [vec![given.as_str()], if flag.kind.is_empty() { vec![&given[..name.len() + 2]] } else { vec![] }];
            for words in words.iter().filter(|words| !words.is_empty()) {
                let arguments = [&words[..], &["--version"]].concat();
                for ran in [run(pair.theirs(&arguments), b""), run(pair.ours(&arguments), b"")] {
                    if !ran.status.success() || !ran.stdout.starts_with(pair.version) {
                        wrong.push(format!("{} {arguments:?}: {}", pair.theirs, shown(&ran)));
                    }
                }
            }
        }
        let more = ours.keys().filter(|name| !theirs.contains_key(*name) && !pair.only_ours.contains(&name.as_str()));
        let more: Vec<_> = more.filter(|name| !["help", "version"].contains(&name.as_str())).collect();
        assert!(wrong.is_empty() && more.is_empty(), "{}: {wrong:#?}\nonly ours: {more:?}", pair.theirs);
    }
}

#[test]
fn truth_is_spelt_as_go_does_and_a_variable_that_no_flag_takes_is_passed_over() {
    for pair in &PAIRS {
        let theirs = help(pair.theirs(&[]));
        for (name, flag) in theirs.iter().filter(|(name, _)| !["help", "version"].contains(&name.as_str())) {
            if KLOG.contains(&name.as_str()) {
                continue;
            }
            if flag.kind.is_empty() {
                for (text, good) in [("T", true), ("0", true), ("FALSE", true), ("yes", false), ("", false)] {
                    let given = format!("--{name}={text}");
                    for ran in
                        [run(pair.theirs(&[&given, "--version"]), b""), run(pair.ours(&[&given, "--version"]), b"")]
                    {
                        assert_eq!(ran.status.code(), Some(if good { 0 } else { 2 }), "{given}: {}", shown(&ran));
                    }
                }
            }
            let variable = format!("SEALED_SECRETS_{}", name.to_uppercase().replace('-', "_"));
            for value in ["", "no-value-of-its-kind"] {
                for (own, mut command) in [(false, pair.theirs(&["--version"])), (true, pair.ours(&["--version"]))] {
                    command.env(&variable, value);
                    let ran = run(command, b"");
                    assert!(
                        ran.status.success() && ran.stdout.starts_with(pair.version),
                        "{variable}: {}",
                        shown(&ran)
                    );
                    // Ours says so, without the value.
                    let typed = !["string", "strings", "stringArray"].contains(&flag.kind.as_str());
                    let tells = ran.stderr.contains(&format!("the value of {variable} cannot be used for --{name}"));
                    assert!(!ran.stderr.contains("no-value"), "{}", ran.stderr);
                    if own && typed && !value.is_empty() {
                        assert!(tells, "{variable}: {}", shown(&ran));
                    }
                    assert!(!value.is_empty() || ran.stderr.is_empty(), "{variable}: {}", shown(&ran));
                }
            }
        }
    }
}

/// A run without what differs on purpose: the text about the flags, the version behind the `+`, the program's name.
#[derive(Debug, PartialEq)]
struct Told {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Told {
    fn of(ran: &Ran) -> Self {
        let is_usage = format!("{}{}", ran.stdout, ran.stderr).contains("Usage");
        let plain = |text: &str| {
            let line = |line: &str| {
                let line = line.split("+latchwork").next().unwrap_or_default();
                if line.starts_with("Usage of ") { "Usage of PROGRAM:".to_owned() } else { line.to_owned() }
            };
            let lines: Vec<_> = text.lines().map(line).collect();
            // Where the text about the flags is, and the line behind it, which says what is wrong.
            let (first, last) = (lines.first().cloned().unwrap_or_default(), lines.last().cloned().unwrap_or_default());
            match lines.len() {
                3.. if is_usage && ran.status.code() == Some(2) => format!("usage\n{last}"),
                3.. if is_usage => "usage".to_owned(),
                1 if is_usage => first,
                _ => lines.join("\n"),
            }
        };
        Self { status: ran.status.code(), stdout: plain(&ran.stdout), stderr: plain(&ran.stderr) }
    }
}

/// What is wrong with a flag is said in the words, on the stream and with the status of the real program.
#[test]
fn wrong_flags_are_refused_in_the_same_words() {
    let kubeseal: &[&[&str]] = &[
        &["--nope"],
        &["--nope=value", "--version"],
        &["x", "--nope"],
        &["--version", "--nope"],
        &["--help", "--nope"],
        &["--nope", "-h"],
        &["-h", "--nope"],
        &["-hx"],
        &["-Z"],
        &["-é"],
        &["-'"],
        &["-t"],
        &["-test.v", "--version"],
        &["--test.v"],
        &["--cer", "x"],
        &["--RAW"],
        &["--controller_name=x"],
        &["--log-dir=x"],
        &["---x"],
        &["--=x"],
        &["-=x"],
        &["-", "--version"],
        &["--version", "--", "--nope"],
        &["--cert"],
        &["-o"],
        &["-vn"],
        &["--v"],
        &["--cert", "--version", "--version"],
        &["--scope=galaxy"],
        &["--scope", "Strict"],
        &["--scope=", "--version"],
        &["--fetch-cert=x"],
        &["--fetch-cert="],
        &["--help=x"],
        &["--version=yes"],
        &["--rotate=\"\n\u{1}"],
        &["--help", "--version"],
        &["--help=false", "--version"],
        &["--help=true"],
        &["--help"],
        &["--version", "--version=false", "--help"],
        &["-vx"],
        &["-v=99999999999"],
        &["--logtostderr=x"],
        &["--stderrthreshold=x"],
        &["--vmodule=a"],
        &["--vmodule=a=1=2"],
        &["--vmodule=a=-1"],
        &["--log_file_max_size=+5"],
        &["--log_backtrace_at=a:1"],
        &["--log_backtrace_at=a.go:0"],
        &["--from-file=\"a"],
        &["--from-file=a\"b"],
        &["--from-file=x,\"a\nb\"c"],
        &["--recovery-private-key=\n"],
        &["--recovery-private-key=,", "--version"],
        &["--secret-file=", "--merge-into=", "--kubeconfig=", "--certificate-authority=", "-w", "", "--version"],
    ];
    let controller: &[&[&str]] = &[
        &["--nope"],
        &["x", "--nope"],
        &["-v=1"],
        &["-version"],
        &["--logtostderr"],
        &["--help"],
        &["--help=false", "--version"],
        &["--version", "-h"],
        &["--nope", "-h"],
        &["--version=x"],
        &["--key-size"],
        &["--key-size=x"],
        &["--key-size="],
        &["--key-size=0x10", "--version"],
        &["--key-size=-5", "--version"],
        &["--key-size=99999999999999999999"],
        &["--rate-limit=-1", "--version"],
        &["--rate-limit=1.5"],
        &["--kubeclient-qps=x"],
        &["--kubeclient-qps=1e50"],
        &["--kubeclient-qps=0x1p200"],
        &["--kubeclient-qps=0x10"],
        &["--kubeclient-qps=1__0"],
        &["--kubeclient-qps=+nan"],
        &["--kubeclient-qps=1_0", "--kubeclient-qps=0x1.8p-3", "--kubeclient-qps=-Inf", "--version"],
        &["--kubeclient-burst=x"],
        &["--max-unseal-retries=x"],
        &["--update-status=x"],
        &["--update-status", "false", "--version"],
        &["--key-ttl=x"],
        &["--key-ttl=5"],
        &["--key-ttl=1..5s"],
        &["--key-ttl=.s"],
        &["--key-ttl=9223372036.854775808s"],
        &["--key-ttl=9223372036.854775807s", "--version"],
        &["--key-ttl="],
        &["--key-ttl=-1h", "--version"],
        &["--read-timeout=1d"],
        &["--rotate-period=x"],
        &["--rotate-period=1h", "--rotate-period=2h", "--version"],
        &["--privatekey-labels=a", "--listen-addr=x", "--key-cutoff-time=x", "--key-prefix=A", "--version"],
    ];
    for (pair, table) in [(&PAIRS[1], kubeseal), (&PAIRS[0], controller)] {
        for arguments in table {
            let [theirs, ours] =
                [pair.theirs(arguments), pair.ours(arguments)].map(|command| Told::of(&run(command, b"")));
            assert_eq!(theirs, ours, "{} {arguments:?}", pair.theirs);
        }
    }
    // As a verb of the program, too.
    let mut verb = process::latchwork();
    verb.args(["kubeseal", "--nope"]);
    let ran = run(verb, b"");
    assert!(ran.stdout.ends_with("\nunknown flag: --nope\n"), "{}", shown(&ran));
    assert_eq!((ran.status.code(), ran.stderr.as_str()), (Some(2), "Usage of latchwork kubeseal:\n"));
}

/// Flags, and variables without what all begin with.
type Given<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// The variables come before the flags, and a list has what both say.
#[test]
fn variables_come_before_flags() {
    let table: &[Given] = &[
        (&[], &[("HELP", "true")]),
        (&["--help=false", "--version"], &[("HELP", "true")]),
        (&["--version"], &[("HELP", "1")]),
        (&["--help"], &[("VERSION", "t")]),
        (&["--version=false", "--help"], &[("VERSION", "true")]),
        (&["--recovery-unseal", "--recovery-private-key", "/no/flag"], &[("RECOVERY_PRIVATE_KEY", "/no/variable")]),
        (&["--recovery-unseal"], &[("RECOVERY_PRIVATE_KEY", ",")]),
        (&["--recovery-unseal", "--recovery-private-key=,"], &[]),
        (&["--recovery-unseal", "--recovery-private-key= a"], &[]),
        (&["--recovery-unseal", "--recovery-private-key=\"/no,where\""], &[]),
        (&["--recovery-unseal", "--recovery-private-key=", "--recovery-private-key=,"], &[]),
        (&["--from-file=,"], &[]),
        (&["--from-file=a"], &[("FROM_FILE", "b"), ("RAW", "1")]),
        (&["--from-file=", "--from-file=", "--cert=/no/cert"], &[]),
        (&[], &[("FROM_FILE", "a,\"b,c\"")]),
        (&["--cert=/no/flag"], &[("CERT", "/no/variable")]),
        (&["--secret-file=", "--cert=/no/cert"], &[("SECRET_FILE", "/no/variable")]),
        (&["--rotate", "--version"], &[]),
    ];
    let pair = &PAIRS[1];
    for (arguments, variables) in table {
        let [theirs, ours] = [pair.theirs(arguments), pair.ours(arguments)].map(|mut command| {
            let variables = variables.iter().map(|(name, value)| (format!("SEALED_SECRETS_{name}"), value));
            command.env("KUBECONFIG", "/dev/null").envs(variables);
            let mut told = Told::of(&run(command, b""));
            // Ours is never among what is redirected into a file.
            let notice = "Flag --rotate has been deprecated, please use --re-encrypt instead";
            if told.stderr == notice {
                told = Told { stdout: format!("{notice}\n{}", told.stdout), stderr: String::new(), ..told };
            }
            told
        });
        assert_eq!(theirs, ours, "{arguments:?} {variables:?}");
    }
    let controller = &PAIRS[0];
    for (name, value) in [("VERSION", "true"), ("ROTATE_PERIOD", "1h")] {
        let flags: &[&str] = if name == "VERSION" { &[] } else { &["--version"] };
        let [theirs, ours] = [controller.theirs(flags), controller.ours(flags)].map(|mut command| {
            command.env(format!("SEALED_SECRETS_{name}"), value);
            Told::of(&run(command, b""))
        });
        assert_eq!(theirs, ours, "{name}");
    }
}
