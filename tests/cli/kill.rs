//! `kill -9` in the middle of in-place writes: the file is the old one or the new one, and nothing else beside it is
//! readable.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::process::{self, run, run_ok};
use crate::rig::{scratch, tools};

/// Kills of each verb: half when the temporary file appears, half at moments spread over a run.
const ROUNDS: u32 = 8;

const CANARY: &str = "canary-in-plaintext";

fn vectors(name: &str) -> String {
    tools::repository().join("tests/vectors/sops").join(name).display().to_string()
}

fn recipients() -> Vec<String> {
    let mut convert = process::command(tools::path("age-keygen"));
    convert.arg("-y").arg(vectors("keys.txt"));
    run_ok(convert, b"").lines().map(str::to_owned).collect()
}

fn prepared(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder).env("SOPS_AGE_KEY_FILE", vectors("keys.txt")).env("SOPS_DISABLE_VERSION_CHECK", "1");
    command
}

/// A file large enough that a run has a middle.
fn plain() -> String {
    (0..300).map(|index| format!("key{index}: {CANARY}-{index}\n")).collect()
}

fn temporary(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).expect("readable");
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with(".latchwork-"))
}

/// Starts the verb and kills it; `after` is when, or `None` for the moment at which it begins to write.
fn killed(folder: &Path, arguments: &[&str], after: Option<Duration>) {
    let mut command = prepared(process::latchwork(), folder);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let started = Instant::now();
    loop {
        let due = match after {
            Some(after) => started.elapsed() >= after,
            None => temporary(folder),
        };
        if due || child.try_wait().expect("own child").is_some() {
            break;
        }
        std::hint::spin_loop();
    }
    // An error means that it has ended already.
    let _ = child.kill();
    child.wait().expect("own child");
}

#[test]
fn no_kill_damages_a_file_or_leaves_plaintext() {
    let known = recipients();
    let rules = |keys: &str| format!("creation_rules:\n  - age: {keys}\n");
    let verbs: [&[&str]; 5] = [
        &["sops", "encrypt", "-i", "file.yaml"],
        &["sops", "set", "file.yaml", "[\"key7\"]", "\"canary-in-plaintext-new\""],
        &["sops", "rotate", "-i", "file.yaml"],
        &["sops", "updatekeys", "-y", "file.yaml"],
        &["rekey", "--yes", "--rotate", "file.yaml"],
    ];
    for verb in verbs {
        let started = Instant::now();
        let mut whole = Duration::ZERO;
        let mut finished = 0;
        for round in 0..ROUNDS {
            let folder = scratch::dir("kill");
            let file = folder.join("file.yaml");
            fs::write(folder.join(".sops.yaml"), rules(&known[0])).expect("writes");
            fs::write(&file, plain()).expect("writes");
            let encrypts = verb.contains(&"encrypt");
            if !encrypts {
                let mut encrypt = prepared(process::latchwork(), &folder);
                encrypt.args(["sops", "encrypt", "-i", "file.yaml"]);
                run_ok(encrypt, b"");
                fs::write(folder.join(".sops.yaml"), rules(&known[..2].join(","))).expect("writes");
            }
            let before = fs::read(&file).expect("readable");
            // The first round runs to its end and tells how long that takes.
            let after = match round {
                0 => Some(Duration::from_secs(60)),
                _ if round % 2 == 0 => Some(whole * round / ROUNDS),
                _ => None,
            };
            let began = Instant::now();
            killed(&folder, verb, after);
            if round == 0 {
                whole = began.elapsed();
            }
            let now = fs::read(&file).expect("the file is there");
            if now == before {
                assert!(round > 0, "{verb:?} did nothing");
            } else {
                finished += 1;
                let mut decrypt = prepared(process::command(tools::path("sops")), &folder);
                decrypt.args(["decrypt", "file.yaml"]);
                let ran = run(decrypt, b"");
                assert!(ran.status.success(), "{verb:?} round {round}: {}", ran.stderr);
                assert_eq!(ran.stdout.matches(CANARY).count(), 300, "{verb:?} round {round}");
            }
            for entry in fs::read_dir(&folder).expect("readable").filter_map(Result::ok) {
                let text = fs::read(entry.path()).expect("readable");
                let plain = encrypts && entry.path() == file && now == before;
                let leaked = text.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
                assert!(plain || !leaked, "{verb:?} round {round}: plaintext in {}", entry.path().display());
            }
        }
        assert!(finished > 0 && finished <= ROUNDS, "{verb:?} in {:?}", started.elapsed());
    }
}
