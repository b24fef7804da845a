//! PGP keys through gpg, beside the real sops, in both directions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::sops::{BOTH, Program, ours, recipients, text, theirs, vectors};
use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

/// The key of keys-example (RSA), and one on Curve25519.
struct Home {
    path: PathBuf,
    rsa: String,
    curve: String,
}

/// A GnuPG home of the tests. Its agent ends with the sandbox.
fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let path = scratch::dir("gnupg");
        let import = |file: &str| {
            let mut gpg = process::command("gpg");
            gpg.env("GNUPGHOME", &path).args(["--batch", "--quiet", "--import"]);
            gpg.arg(tools::repository().join("keys-example/.latchwork/keys").join(file));
            run_ok(gpg, b"");
        };
        import("person.asc");
        import("cluster.asc");
        let mut list = process::command("gpg");
        list.env("GNUPGHOME", &path).args(["--batch", "--with-colons", "--list-secret-keys"]);
        let listed = run_ok(list, b"");
        let mut primary = vec![];
        let mut lines = listed.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("sec:") {
                let fingerprint = lines.next().and_then(|line| line.split(':').nth(9)).expect("a fingerprint");
                primary.push(fingerprint.to_owned());
            }
        }
        let [rsa, curve] = primary.try_into().expect("two keys");
        Home { path, rsa, curve }
    })
}

fn with_gpg(mut command: Command) -> Command {
    command.env("GNUPGHOME", &home().path);
    command
}

fn ok(command: Command) -> String {
    run_ok(with_gpg(command), b"")
}

const PLAIN: &[u8] = b"password: hunter2\nlist:\n    - 1\n    - two\n";

#[test]
fn what_one_encrypts_to_pgp_the_other_opens() {
    let Home { rsa, curve, .. } = home();
    for (writer, encrypt) in BOTH {
        for (reader, decrypt) in BOTH {
            for key in [rsa, curve] {
                let plain = scratch::file("a.yaml", PLAIN);
                let sealed = ok(encrypt(&["encrypt", "--pgp", key, &text(&plain)]));
                assert!(
                    sealed.contains(&format!("fp: {key}")) && sealed.contains("BEGIN PGP MESSAGE"),
                    "{writer}: {sealed}"
                );
                let file = scratch::file("a.yaml", sealed);
                let opened = ok(decrypt(&["decrypt", &text(&file)]));
                assert_eq!(opened.as_bytes(), PLAIN, "{writer} to {reader}");
            }
        }
    }
}

#[test]
fn the_block_of_a_pgp_key_is_the_one_of_sops() {
    let shape = |program: Program| {
        let plain = scratch::file("a.yaml", PLAIN);
        let sealed = ok(program(&["encrypt", "--pgp", &home().rsa, &text(&plain)]));
        let base64 = |line: &str| {
            let line = line.trim();
            line.len() > 4
                && !line.contains([' ', ':', '-'])
                && line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        };
        let block =
            sealed.split("    pgp:\n").nth(1).expect("a block").split("    unencrypted_suffix").next().expect("an end");
        // The real one indents the lines of a message by two less than its own rule says.
        let shown = |line: &str| if line.contains("created_at") { "- created_at" } else { line.trim() }.to_owned();
        block.lines().filter(|line| !base64(line)).map(shown).collect::<Vec<_>>()
    };
    assert_eq!(shape(ours), shape(theirs));
}

#[test]
fn keys_are_added_removed_and_brought_to_the_rules() {
    let Home { rsa, curve, .. } = home();
    let age = recipients().remove(0);
    for (writer, program) in BOTH {
        let file = scratch::file("a.yaml", PLAIN);
        let path = text(&file);
        ok(program(&["encrypt", "-i", "--age", &age, &path]));
        ok(program(&["rotate", "-i", "--add-pgp", &format!("{rsa},{curve}"), &path]));
        ok(program(&["rotate", "-i", "--rm-age", &age, "--rm-pgp", curve, &path]));
        let sealed = fs::read_to_string(&file).expect("readable");
        assert!(
            sealed.contains(rsa.as_str()) && !sealed.contains(curve.as_str()) && !sealed.contains("age:"),
            "{writer}"
        );
        // The old style, and the rules.
        ok(program(&["-r", "-i", "--add-pgp", curve, &path]));
        ok(program(&["--rotate", "-i", "--rm-pgp", rsa, &path]));
        let rules = file.with_file_name(".sops.yaml");
        fs::write(&rules, format!("creation_rules:\n  - pgp: {rsa}\n    age: {age}\n")).expect("written");
        let mut update = program(&["updatekeys", "--yes", &path]);
        update.current_dir(file.parent().expect("a folder"));
        ok(update);
        let sealed = fs::read_to_string(&file).expect("readable");
        assert!(sealed.contains(rsa.as_str()) && !sealed.contains(curve.as_str()) && sealed.contains(&age), "{writer}");
        for (reader, other) in BOTH {
            assert_eq!(ok(other(&["decrypt", &path])).as_bytes(), PLAIN, "{writer} to {reader}");
            let order = ok(other(&["decrypt", "--decryption-order", "pgp,age", &path]));
            assert_eq!(order.as_bytes(), PLAIN, "{writer} to {reader}");
        }
    }
}

#[test]
fn groups_of_age_and_pgp_open_as_the_threshold_says() {
    let Home { rsa, curve, .. } = home();
    let age = recipients().remove(0);
    for (writer, program) in BOTH {
        let file = scratch::file("a.yaml", PLAIN);
        let rules = format!(
            "creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n      - age: [{age}]\n      - pgp: [{rsa}]\n      - pgp: [{curve}]\n"
        );
        fs::write(file.with_file_name(".sops.yaml"), rules).expect("written");
        let mut encrypt = program(&["encrypt", "-i", &text(&file)]);
        encrypt.current_dir(file.parent().expect("a folder"));
        ok(encrypt);
        for (reader, other) in BOTH {
            assert_eq!(ok(other(&["decrypt", &text(&file)])).as_bytes(), PLAIN, "{writer} to {reader}");
            // Without the age key the two PGP groups are enough; without gpg one group is not.
            let mut without = other(&["decrypt", &text(&file)]);
            without.env_remove("SOPS_AGE_KEY_FILE");
            assert_eq!(ok(without).as_bytes(), PLAIN, "{writer} to {reader}");
        }
    }
}

/// Ours is of the same shape as theirs, line for line, but for the reasons of PGP keys.
#[test]
fn a_failure_is_reported_as_sops_reports_it() {
    let Home { rsa, .. } = home();
    let age = recipients().remove(0);
    let file = scratch::file("a.yaml", PLAIN);
    ok(theirs(&["encrypt", "-i", "--age", &age, "--pgp", rsa, &text(&file)]));
    let empty = scratch::dir("empty");
    let report = |program: Program| {
        let mut command = program(&["decrypt", &text(&file)]);
        command.env_remove("SOPS_AGE_KEY_FILE").env("GNUPGHOME", &empty).env("HOME", &empty);
        let Ran { status, stderr, stdout } = run(command, b"");
        assert_eq!(status.code(), Some(128), "{stderr}");
        assert!(stdout.is_empty());
        stderr
    };
    let age_part = |report: &str| report.split(rsa.as_str()).next().expect("a part").to_owned();
    let (own, real) = (report(ours), report(theirs));
    assert_eq!(age_part(&own), age_part(&real));
    let tail = |report: &str| report.split("\n\n").last().expect("a closing").trim_end().to_owned();
    assert_eq!(tail(&own), tail(&real));
    for line in [format!("  {rsa}: FAILED"), "    - | could not decrypt data key with PGP key:".into()] {
        let has = |report: &str| report.lines().any(|found| found.starts_with(&line));
        assert!(has(&own) && has(&real), "{line}\n{own}\n{real}");
    }
    assert!(own.contains("No secret key"), "{own}");
}

#[test]
fn a_key_that_is_not_there_stops_encryption_and_every_one_is_named() {
    let plain = scratch::file("a.yaml", PLAIN);
    for (name, program) in BOTH {
        let failed =
            run(with_gpg(program(&["encrypt", "--pgp", "1111111111111111,2222222222222222", &text(&plain)])), b"");
        assert_eq!(failed.status.code(), Some(1), "{name}");
        assert!(failed.stdout.is_empty());
        for key in ["1111111111111111", "2222222222222222"] {
            let line = format!(
                "failed to encrypt new data key with master key \"{key}\": could not encrypt data key with PGP key: "
            );
            assert!(failed.stderr.contains(&line), "{name}: {}", failed.stderr);
        }
        assert!(failed.stderr.starts_with("Could not generate data key: ["), "{name}: {}", failed.stderr);
    }
}

#[test]
fn the_program_can_be_named() {
    let file = scratch::file("a.yaml", PLAIN);
    ok(ours(&["encrypt", "-i", "--pgp", &home().rsa, &text(&file)]));
    for (name, program) in BOTH {
        let mut command = with_gpg(program(&["decrypt", &text(&file)]));
        command.env("SOPS_GPG_EXEC", "/nonexistent/gpg");
        assert_eq!(run(command, b"").status.code(), Some(128), "{name}");
        let gpg = Path::new("/usr/bin").join("gpg");
        let mut command = with_gpg(program(&["decrypt", &text(&file)]));
        command.env("SOPS_GPG_EXEC", gpg);
        assert_eq!(run_ok(command, b"").as_bytes(), PLAIN, "{name}");
    }
    // Vectors of other versions stay readable without gpg at all.
    let mut command = ours(&["decrypt", &text(&vectors().join("default/yaml/encrypted.yaml"))]);
    command.env("SOPS_GPG_EXEC", "/nonexistent/gpg");
    run_ok(command, b"");
}

#[test]
fn groups_are_added_and_deleted() {
    let Home { rsa, curve, .. } = home();
    let age = recipients().remove(0);
    for (name, program) in BOTH {
        let file = scratch::file("a.yaml", PLAIN);
        let path = text(&file);
        ok(program(&["encrypt", "-i", "--age", &age, &path]));
        ok(program(&["groups", "add", "--file", &path, "--pgp", rsa, "--in-place"]));
        // The result goes to standard output unless told otherwise.
        let out =
            ok(program(&["groups", "add", "-f", &path, "--pgp", curve, "--shamir-secret-sharing-threshold", "3"]));
        assert!(out.contains("shamir_threshold: 3") && out.contains(curve.as_str()), "{name}: {out}");
        for (reader, other) in BOTH {
            assert_eq!(ok(other(&["decrypt", &path])).as_bytes(), PLAIN, "{name} to {reader}");
        }
        // Two groups are needed, so neither may go unless the threshold does.
        let refused = run(with_gpg(program(&["groups", "delete", "-f", &path, "1"])), b"");
        assert_eq!(refused.status.code(), Some(1), "{name}");
        let what = "removing this key group will make the Shamir threshold impossible to satisfy";
        assert!(refused.stderr.contains(what), "{name}: {}", refused.stderr);
    }
    let file = scratch::file("a.yaml", PLAIN);
    let path = text(&file);
    ok(ours(&["encrypt", "-i", "--age", &age, &path]));
    // SOPS writes a file with an empty share here.
    let failed = run(with_gpg(ours(&["groups", "add", "-i", "-f", &path, "--pgp", "1111111111111111"])), b"");
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(ok(ours(&["decrypt", &path])).as_bytes(), PLAIN);
    assert_eq!(run(ours(&["groups", "delete", "-f", &path, "1"]), b"").status.code(), Some(1));
}
