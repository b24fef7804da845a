//! 1,000 SOPS files: `latchwork render` over the directory, and one process per file beside the real `sops`. Prints a
//! table. Alone: `cargo bench --bench render`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, clippy::indexing_slicing)]

#[path = "../tests/rig/mod.rs"]
#[allow(unused_imports)]
mod rig;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rig::process::{program, run_ok, timed};
use rig::{scratch, tools};

const FILES: usize = 1000;

fn ours() -> Command {
    Command::new(program())
}

/// Distinct files, each with a data key of its own, encrypted by our own `sops`; the real one opens them all below.
fn repository(recipient: &str) -> PathBuf {
    let folder = scratch::dir("repository");
    for n in 0..FILES {
        let file = folder.join(format!("secret-{n:04}.yaml"));
        let plain = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret-{n}\n  namespace: shop\nstringData:\n  user: user-{n}\n  password: password-{n}\n"
        );
        std::fs::write(&file, plain).expect("own folder");
        let mut encrypt = ours();
        encrypt.args(["sops", "encrypt", "--in-place", "--encrypted-regex", "^(data|stringData)$", "--age", recipient]);
        encrypt.arg(&file).current_dir(&folder);
        run_ok(encrypt, b"");
    }
    folder
}

fn each_file(folder: &Path, make: impl Fn(&Path) -> Command) -> Duration {
    (0..FILES).map(|n| timed(make(&folder.join(format!("secret-{n:04}.yaml"))))).sum()
}

fn main() {
    let key = scratch::dir("key").join("key.txt");
    let mut generate = Command::new(tools::path("age-keygen"));
    generate.arg("-o").arg(&key);
    run_ok(generate, b"");
    let text = std::fs::read_to_string(&key).expect("made");
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("has one");
    let folder = repository(recipient);

    let render = || {
        let mut command = ours();
        command.args(["render", "--identity"]).arg(&key).arg(&folder);
        command
    };
    // Once for the page cache; then the best of five, since anything slower is the machine's doing.
    timed(render());
    let one = (0..5).map(|_| timed(render())).min().expect("five");
    let ours_each = each_file(&folder, |file| {
        let mut command = ours();
        command.args(["sops", "decrypt"]).arg(file).env("SOPS_AGE_KEY_FILE", &key);
        command
    });
    let real_each = each_file(&folder, |file| {
        let mut command = Command::new(tools::path("sops"));
        command.args(["--disable-version-check", "decrypt"]).arg(file).env("SOPS_AGE_KEY_FILE", &key);
        command
    });

    println!("\n## {FILES} SOPS files of two values, age recipient\n");
    println!("| | all files | a file |");
    println!("|---|---|---|");
    for (what, took) in [
        ("latchwork render, one process", one),
        ("latchwork sops decrypt, a process per file", ours_each),
        ("real sops decrypt, a process per file", real_each),
    ] {
        println!("| {what} | {:.2} s | {:.2} ms |", took.as_secs_f64(), took.as_secs_f64() * 1000.0 / FILES as f64);
    }
}
