//! `kill -9` in the middle of in-place writes: the file is the old one or the new one, and what else is readable beside it
//! goes with the next write.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::process::{self, run, run_ok};
use crate::rig::wait::SOON;
use crate::rig::{scratch, tools};

/// Kills of each verb: half when it begins to write, half at moments spread over a run.
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

/// Whether a process has a file open in the folder that has no name: the one that it writes.
fn writes(pid: u32, folder: &Path) -> bool {
    // It may have ended.
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let nameless = format!("{}/#", folder.display());
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|to| to.to_string_lossy().starts_with(&nameless))
}

/// Starts the verb and kills it; `after` is when, or `None` for the moment at which it begins to write.
fn killed(folder: &Path, editors: &Path, arguments: &[&str], after: Option<Duration>) {
    let mut command = prepared(process::latchwork(), folder);
    command.env("TMPDIR", editors).env("SOPS_EDITOR", "sed -i s/plaintext-7$/plaintext-new/");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let started = Instant::now();
    loop {
        let due = match after {
            Some(after) => started.elapsed() >= after,
            None => writes(child.id(), folder),
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

/// A verb that writes a file in place.
struct Verb {
    arguments: &'static [&'static str],
    /// Whether the file is encrypted before, and after.
    encrypted: (bool, bool),
    /// Entries with the canary after it.
    entries: usize,
}

#[test]
fn no_kill_damages_a_file_or_leaves_plaintext() {
    let known = recipients();
    let rules = |keys: &str| format!("creation_rules:\n  - age: {keys}\n");
    let verb = |arguments, encrypted, entries| Verb { arguments, encrypted, entries };
    let (both, all) = ((true, true), 300);
    let verbs = [
        verb(&["sops", "encrypt", "-i", "file.yaml"], (false, true), all),
        verb(&["sops", "decrypt", "-i", "file.yaml"], (true, false), all),
        verb(&["sops", "edit", "file.yaml"], both, all),
        verb(&["sops", "set", "file.yaml", "[\"key7\"]", "\"canary-in-plaintext-new\""], both, all),
        verb(&["sops", "unset", "file.yaml", "[\"key7\"]"], both, all - 1),
        verb(&["sops", "rotate", "-i", "file.yaml"], both, all),
        verb(&["sops", "updatekeys", "-y", "file.yaml"], both, all),
        verb(&["rekey", "--yes", "--rotate", "file.yaml"], both, all),
    ];
    for Verb { arguments, encrypted: (before, after), entries } in verbs {
        let (mut whole, mut cut_short) = (Duration::ZERO, 0);
        for round in 0..ROUNDS {
            let folder = scratch::dir("kill");
            let file = folder.join("file.yaml");
            fs::write(folder.join(".sops.yaml"), rules(&known[0])).expect("writes");
            fs::write(&file, plain()).expect("writes");
            if before {
                let mut encrypt = prepared(process::latchwork(), &folder);
                encrypt.args(["sops", "encrypt", "-i", "file.yaml"]);
                run_ok(encrypt, b"");
                fs::write(folder.join(".sops.yaml"), rules(&known[..2].join(","))).expect("writes");
            }
            let old = fs::read(&file).expect("readable");
            // The first round runs to its end and tells how long that takes.
            let moment = match round {
                0 => Some(SOON),
                _ if round % 2 == 0 => Some(whole * round / ROUNDS),
                _ => None,
            };
            let editors = scratch::dir("kill-editor");
            let began = Instant::now();
            killed(&folder, &editors, arguments, moment);
            if round == 0 {
                whole = began.elapsed();
            }
            let at = format!("{arguments:?} round {round}");
            let new = fs::read(&file).expect("the file is there");
            if new == old {
                assert!(round > 0, "{at}: it did nothing");
                cut_short += 1;
            } else {
                assert_eq!(!contains(&new, CANARY), after, "{at}: encrypted");
                let text = if after { decrypted(&folder, &at) } else { String::from_utf8(new.clone()).expect("text") };
                assert_eq!(text.matches(CANARY).count(), entries, "{at}");
            }
            let may_be_plain = if new == old { !before } else { !after };
            for entry in fs::read_dir(&folder).expect("readable").filter_map(Result::ok) {
                let leaked = contains(&fs::read(entry.path()).expect("readable"), CANARY);
                let allowed = may_be_plain && entry.path() == file;
                // What is whole gets a name and, with the next call, the target's: no one call does both. A kill between
                // the two leaves what the user asked to be written there.
                if leaked && !after && entry.file_name().to_string_lossy().starts_with(".latchwork-") {
                    leftovers_go(&folder, &entry.path());
                    continue;
                }
                assert!(allowed || !leaked, "{at}: plaintext in {}", entry.path().display());
            }
            // The editor's own copy cannot be saved from a kill, but it is gone before the file is written.
            if moment.is_none() {
                assert_eq!(fs::read_dir(&editors).expect("readable").count(), 0, "{at}: the editor's copy");
            }
        }
        // A kill that comes too late proves nothing.
        assert!(cut_short > 0, "{arguments:?} was never cut short");
    }
}

/// The next file that is written in the folder takes along what a kill has left.
fn leftovers_go(folder: &Path, leftover: &Path) {
    fs::write(folder.join("next.yaml"), "key: value\n").expect("writes");
    let mut next = prepared(process::latchwork(), folder);
    next.args(["sops", "encrypt", "-i", "next.yaml"]);
    run_ok(next, b"");
    assert!(!leftover.exists(), "{}", leftover.display());
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

fn decrypted(folder: &Path, at: &str) -> String {
    let mut decrypt = prepared(process::command(tools::path("sops")), folder);
    decrypt.args(["decrypt", "file.yaml"]);
    let ran = run(decrypt, b"");
    assert!(ran.status.success(), "{at}: {}", ran.stderr);
    ran.stdout
}
