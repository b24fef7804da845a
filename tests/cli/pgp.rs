//! PGP keys, beside the real sops, in both directions: through gpg, and in process without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::sops::{BOTH, Program, ours, recipients, text, theirs, vectors};
use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

/// The keys of keys-example (RSA, Curve25519), and one on the NIST curves.
struct Home {
    path: PathBuf,
    rsa: String,
    curve: String,
    nist: String,
}

const KEY_FILES: [&str; 3] = [
    "keys-example/.latchwork/keys/person.asc",
    "keys-example/.latchwork/keys/cluster.asc",
    "tests/vectors/pgp/keys/nist.asc",
];

/// A GnuPG home of the tests with these keys. Its agent ends with the sandbox.
fn keyring(files: &[&str]) -> PathBuf {
    let path = scratch::dir("gnupg");
    // Many programs use it at a time, the real sops among them, which does not ask for this.
    fs::write(path.join("gpg.conf"), "trust-model always\n").expect("own folder");
    for file in files {
        let mut gpg = process::command("gpg");
        gpg.env("GNUPGHOME", &path).args(["--batch", "--quiet", "--import"]);
        gpg.arg(tools::repository().join(file));
        run_ok(gpg, b"");
    }
    path
}

fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let path = keyring(&KEY_FILES);
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
        let [rsa, curve, nist] = primary.try_into().expect("three keys");
        Home { path, rsa, curve, nist }
    })
}

/// GnuPG homes that hold one key each: RSA, Curve25519, NIST.
pub fn keyrings_of_one() -> [PathBuf; 3] {
    KEY_FILES.map(|file| keyring(&[file]))
}

/// With the keys of the tests in the keyring.
pub fn with_gpg(mut command: Command) -> Command {
    command.env("GNUPGHOME", &home().path);
    command
}

fn ok(command: Command) -> String {
    run_ok(with_gpg(command), b"")
}

/// RSA, Curve25519, NIST.
pub fn fingerprints() -> [&'static str; 3] {
    let Home { rsa, curve, nist, .. } = home();
    [rsa, curve, nist]
}

/// A Secret's manifest, sealed by the real sops for a key of keys-example, `person` or `cluster`.
pub fn sealed_for_the_example(name: &str, manifest: &str) -> String {
    let Home { rsa, curve, .. } = home();
    let key = if name == "person" { rsa } else { curve };
    let file = scratch::file("a.yaml", manifest);
    ok(theirs(&["encrypt", "--encrypted-regex", "^(data|stringData)$", "--pgp", key, &text(&file)]))
}

const PLAIN: &[u8] = b"password: hunter2\nlist:\n    - 1\n    - two\n";

#[test]
fn what_one_encrypts_to_pgp_the_other_opens() {
    let Home { rsa, curve, nist, .. } = home();
    for (writer, encrypt) in BOTH {
        for (reader, decrypt) in BOTH {
            for key in [rsa, curve, nist] {
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

/// `render` in a folder of its own: no key but those of the arguments, and no gpg.
fn render_alone(file: &Path, arguments: &[&str]) -> Ran {
    let mut command = process::latchwork();
    command.args(["render", "--keys", &text(&scratch::dir("no-keys")), &text(file)]).args(arguments);
    command.env("SOPS_GPG_EXEC", "/nonexistent/gpg").env("HOME", scratch::dir("home"));
    command.env_remove("SOPS_AGE_KEY_FILE").env_remove("SOPS_AGE_KEY");
    run(command, b"")
}

const MANIFEST: &[u8] = b"apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  password: hunter2\n";

#[test]
fn what_sops_sealed_for_pgp_opens_in_process_with_any_of_its_keys() {
    let Home { rsa, curve, nist, .. } = home();
    let key = |at: usize| text(&tools::repository().join(KEY_FILES[at]));
    for (writer, program) in BOTH {
        let seal = |keys: &str| {
            let file = scratch::file("a.yaml", MANIFEST);
            ok(program(&["encrypt", "-i", "--encrypted-regex", "^stringData$", "--pgp", keys, &text(&file)]));
            file
        };
        for (at, fingerprint) in [rsa, curve, nist].into_iter().enumerate() {
            let file = seal(fingerprint);
            let opened = render_alone(&file, &["--identity", &key(at)]);
            assert!(opened.stdout.contains("password: hunter2"), "{writer} {at}: {}", opened.stderr);
            let refused = render_alone(&file, &["--identity", &key((at + 1) % 3)]);
            assert_eq!(refused.status.code(), Some(1));
            assert!(refused.stderr.contains(fingerprint.as_str()), "{writer} {at}: {}", refused.stderr);
            assert!(!refused.stdout.contains("hunter2"));
        }
        let all = seal(&format!("{rsa},{curve},{nist}"));
        for at in 0..3 {
            let opened = render_alone(&all, &["--identity", &key(at)]);
            assert!(opened.stdout.contains("password: hunter2"), "{writer} {at}: {}", opened.stderr);
        }
        // The same from a key directory, named and found.
        let folder = all.parent().expect("a folder").join(".latchwork/keys");
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(key(2), folder.join("nist.asc")).expect("copied");
        let mut command = process::latchwork();
        command.args(["render", &text(&all)]).env("SOPS_GPG_EXEC", "/nonexistent/gpg");
        command.env("HOME", scratch::dir("home")).env_remove("SOPS_AGE_KEY_FILE").env_remove("SOPS_AGE_KEY");
        assert!(run_ok(command, b"").contains("password: hunter2"), "{writer}");
    }
}

#[test]
fn render_asks_the_keyring_of_the_user_where_no_key_at_hand_opens() {
    let Home { rsa, curve, .. } = home();
    let file = scratch::file("a.yaml", MANIFEST);
    ok(theirs(&["encrypt", "-i", "--encrypted-regex", "^stringData$", "--pgp", rsa, &text(&file)]));
    let render = || {
        let mut command = process::latchwork();
        command.args(["render", "--keys", &text(&scratch::dir("no-keys")), &text(&file)]);
        command.env("HOME", scratch::dir("home")).env_remove("SOPS_AGE_KEY_FILE").env_remove("SOPS_AGE_KEY");
        command
    };
    assert!(ok(render()).contains("password: hunter2"));
    // Another key at hand is no obstacle.
    let mut command = render();
    command.arg("--identity").arg(tools::repository().join(KEY_FILES[1]));
    assert!(ok(command).contains("password: hunter2"));
    // Without the keyring both are named: the key that is missing here, and what gpg said.
    let mut command = render();
    command.env("GNUPGHOME", scratch::dir("empty"));
    let refused = run(command, b"");
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(rsa.as_str()) && !refused.stderr.contains(curve.as_str()), "{}", refused.stderr);
    assert!(refused.stderr.to_lowercase().contains("gpg") && !refused.stdout.contains("hunter2"), "{}", refused.stderr);
}

#[test]
fn a_pgp_key_that_cannot_be_used_is_named_at_once() {
    let file = scratch::file("a.yaml", MANIFEST);
    let keys = tools::repository().join("tests/vectors/pgp/keys");
    let protected = render_alone(&file, &["--identity", &text(&keys.join("protected.asc"))]);
    assert_eq!(protected.status.code(), Some(1));
    assert!(protected.stderr.contains("protected.asc: is protected by a passphrase"), "{}", protected.stderr);
    assert!(protected.stderr.contains("gpg --passwd"), "{}", protected.stderr);
    let public = scratch::file("public.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n");
    let public = render_alone(&file, &["--identity", &text(&public)]);
    assert!(public.stderr.contains("public.asc"), "{}", public.stderr);
}
