//! `latchwork sops` beside the real `sops`, each row in one run: start-up, one small file, 10,000 values, 1,000 files,
//! `updatekeys` on 1,000 files. Prints a table. Alone: `cargo bench --bench sops`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, clippy::indexing_slicing)]

#[path = "../tests/rig/mod.rs"]
#[allow(unused_imports)]
mod rig;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rig::process::{run_ok, timed};
use rig::{scratch, tools};

const FILES: usize = 1000;
const VALUES: usize = 10_000;

/// What is compared, and the two identities that it needs.
struct Bench {
    identity: PathBuf,
    recipients: [String; 2],
    link: PathBuf,
}

impl Bench {
    fn prepared(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", self.link.parent().expect("a folder"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("SOPS_AGE_KEY_FILE", &self.identity).env("SOPS_DISABLE_VERSION_CHECK", "1");
        command
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        self.prepared(&self.link, arguments)
    }

    fn theirs(&self, arguments: &[&str]) -> Command {
        self.prepared(&tools::path("sops"), arguments)
    }

    /// The best of `times` runs of each, in turns: anything slower is the machine's doing.
    fn row(&self, what: &str, times: usize, arguments: &[&str]) {
        let mut best = [Duration::MAX; 2];
        for _ in 0..times {
            best[0] = best[0].min(timed(self.ours(arguments)));
            best[1] = best[1].min(timed(self.theirs(arguments)));
        }
        print_row(what, best);
    }
}

fn print_row(what: &str, [ours, theirs]: [Duration; 2]) {
    let (ours, theirs) = (ours.as_secs_f64() * 1000.0, theirs.as_secs_f64() * 1000.0);
    println!("| {what} | {ours:.1} ms | {theirs:.1} ms | {:.1} |", theirs / ours);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn prepare() -> Bench {
    let folder = scratch::dir("bench");
    let identity = folder.join("keys.txt");
    let mut recipients = Vec::new();
    let mut keys = String::new();
    for _ in 0..2 {
        let made = run_ok(Command::new(tools::path("age-keygen")), b"");
        recipients.push(made.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("one").to_owned());
        keys.push_str(&made);
    }
    std::fs::write(&identity, keys).expect("own folder");
    let link = folder.join("sops");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_latchwork"), &link).expect("own folder");
    Bench { identity, recipients: recipients.try_into().expect("two"), link }
}

/// Distinct files, each with a data key of its own.
fn repository(bench: &Bench) -> Vec<String> {
    let folder = scratch::dir("repository");
    let file = |n: usize| {
        let path = folder.join(format!("secret-{n:04}.yaml"));
        let plain = format!("kind: Secret\nmetadata:\n  name: s{n}\nstringData:\n  user: u{n}\n  password: p{n}\n");
        std::fs::write(&path, plain).expect("own folder");
        let path = text(&path);
        let pattern = "^(data|stringData)$";
        let arguments = ["encrypt", "-i", "--encrypted-regex", pattern, "--age", &bench.recipients[0], &path];
        run_ok(bench.ours(&arguments), b"");
        path
    };
    (0..FILES).map(file).collect()
}

/// Brings all files to the other recipient and back, one process each time.
fn updatekeys(bench: &Bench, files: &[String]) -> [Duration; 2] {
    let rules =
        |recipient: &str| text(&scratch::file(".sops.yaml", format!("creation_rules:\n  - age: {recipient}\n")));
    let (there, back) = (rules(&bench.recipients[1]), rules(&bench.recipients[0]));
    let arguments = |rules: &str| {
        let mut all = vec!["--config".to_owned(), rules.to_owned(), "updatekeys".into(), "-y".into()];
        all.extend_from_slice(files);
        all
    };
    let run = |command: fn(&Bench, &[&str]) -> Command, rules: &str| {
        let arguments = arguments(rules);
        timed(command(bench, &arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    [run(Bench::ours, &there), run(Bench::theirs, &back)]
}

fn main() {
    let bench = prepare();
    let recipient = bench.recipients[0].as_str();
    let files = repository(&bench);
    let mut large = String::new();
    for n in 0..VALUES {
        let _ = writeln!(large, "key_{n}:\n  user: user-{n}");
    }
    let plain = text(&scratch::file("large.yaml", &large));
    let sealed = run_ok(bench.ours(&["encrypt", "--age", recipient, &plain]), b"");
    let sealed = text(&scratch::file("large.yaml", sealed));

    println!("\n## `latchwork sops` beside sops 3.13.3, age recipient\n");
    println!("| | latchwork | sops | times sooner |");
    println!("|---|---|---|---|");
    bench.row("start-up (`--version`)", 30, &["--version"]);
    bench.row("decrypt one small file, whole process", 30, &["decrypt", &files[0]]);
    bench.row("encrypt 10,000 values", 3, &["encrypt", "--age", recipient, &plain]);
    bench.row("decrypt 10,000 values", 3, &["decrypt", &sealed]);
    bench.row("decrypt 10,000 values as JSON", 3, &["decrypt", "--output-type", "json", &sealed]);
    let each = |command: fn(&Bench, &[&str]) -> Command| -> Duration {
        files.iter().map(|file| timed(command(&bench, &["decrypt", file]))).sum()
    };
    print_row("decrypt 1,000 files, a process each", [each(Bench::ours), each(Bench::theirs)]);
    print_row("`updatekeys` on 1,000 files, one process", updatekeys(&bench, &files));
}
