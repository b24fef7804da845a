//! `latchwork check` and `latchwork explain` as a user runs them, on files that the real tools made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

const CANARY: &str = "canary-in-plaintext";

fn keys() -> PathBuf {
    tools::repository().join("tests/vectors/sops/keys.txt")
}

fn recipients() -> Vec<String> {
    let mut convert = process::command(tools::path("age-keygen"));
    convert.arg("-y").arg(keys());
    run_ok(convert, b"").lines().map(str::to_owned).collect()
}

struct Repository(PathBuf);

impl Repository {
    /// Two rules, and a file for each that follows it.
    fn new() -> Self {
        let repository = Self(scratch::dir("repository"));
        let known = recipients();
        repository.run_ok("git", &["init", "--quiet"]);
        repository.write(
            ".sops.yaml",
            &format!(
                "creation_rules:\n  - path_regex: ^secrets/\n    encrypted_regex: ^(data|stringData)$\n    age: {}\n  - path_regex: ^groups/\n    shamir_threshold: 2\n    key_groups:\n      - age: [{}]\n      - age: [{}]\n",
                known[0], known[1], known[2]
            ),
        );
        repository
            .write("secrets/db.yaml", &format!("kind: Secret\nstringData:\n  password: {CANARY}\n  user: {CANARY}\n"));
        repository.write("groups/a.json", &format!("{{\"a\": \"{CANARY}\"}}"));
        for file in ["secrets/db.yaml", "groups/a.json"] {
            repository.run_ok("sops", &["encrypt", "-i", file]);
        }
        repository
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folder");
        fs::write(path, text).expect("writes");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("text")
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(&self.0).env("SOPS_DISABLE_VERSION_CHECK", "1");
        command
    }

    fn run_ok(&self, program: &str, arguments: &[&str]) -> String {
        let program = if program == "git" { "git".into() } else { tools::path(program) };
        run_ok(self.prepared(process::command(program), arguments), b"")
    }

    /// Without any private key.
    fn latchwork(&self, arguments: &[&str]) -> Ran {
        let ran = run(self.prepared(process::latchwork(), arguments), b"");
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY), "a value is told: {}", ran.stdout);
        ran
    }
}

#[test]
fn a_repository_in_order_passes_and_each_fault_is_named() {
    let repository = Repository::new();
    let clean = repository.latchwork(&["check"]);
    assert_eq!(clean.status.code(), Some(0), "{}{}", clean.stdout, clean.stderr);
    assert_eq!(clean.stdout, "0 errors, 0 warnings in 3 files\n");

    repository.write(".gitignore", "ignored/\n");
    repository.write("ignored/plain.yaml", &format!("apiVersion: v1\nkind: Secret\nstringData: {{a: {CANARY}}}\n"));
    repository.write("app/plain.yaml", &format!("# x\napiVersion: v1\nkind: Secret\nstringData:\n  a: {CANARY}\n"));
    repository.write("secrets/new.yaml", &format!("kind: ConfigMap\ndata:\n  a: {CANARY}\n"));
    let sealed = repository.read("secrets/db.yaml");
    repository.write("secrets/byhand.yaml", &sealed.replace("    user:", &format!("    added: {CANARY}\n    user:")));
    repository.write("secrets/moved.yaml", &repository.read("groups/a.json").replace('\t', " "));
    fs::copy(keys(), repository.0.join("keys.txt")).expect("copies");
    let found = repository.latchwork(&["check", "."]);
    assert_eq!(found.status.code(), Some(1), "{}", found.stdout);
    for start in [
        "app/plain.yaml:4: Secret: stringData in clear: a; ",
        "secrets/byhand.yaml:4: stringData.added should be encrypted and is not; ",
        "secrets/new.yaml:3: rule 1 (^secrets/) wants it encrypted, and it is not: data.a; ",
        "keys.txt:3: an age identity in clear; ",
        "secrets/moved.yaml:",
    ] {
        assert!(found.stdout.lines().any(|line| line.starts_with(start)), "{start}: {}", found.stdout);
    }
    let known = recipients();
    let moved = found.stdout.lines().find(|line| line.contains("recipients differ")).expect("a finding");
    assert!(moved.contains(&format!("+age:{}", known[0])) && moved.contains(&format!("-age:{}", known[2])), "{moved}");
    assert!(!found.stdout.contains("ignored/"));
    let json = repository.latchwork(&["check", "--json", "--skip", "private-key", "secrets"]);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let codes: Vec<&str> =
        report["findings"].as_array().expect("a list").iter().filter_map(|f| f["code"].as_str()).collect();
    assert!(codes.contains(&"plaintext-value") && !codes.contains(&"private-key"), "{report}");

    repository.write(".sops.yaml", "creation_rules:\n  - path_regex: ^a\n    encrypted_regex: '(?=x)'\n    pgp: AA\n");
    let broken = repository.latchwork(&["check", "secrets/db.yaml"]);
    assert!(broken.stdout.contains(".sops.yaml:3: ") && broken.stdout.contains("[invalid-rules]"), "{}", broken.stdout);
}

#[test]
fn what_git_tracks_is_looked_at_though_it_is_ignored() {
    let repository = Repository::new();
    repository.write(".gitignore", "local/\n");
    for name in ["local/tracked.yaml", "local/free.yaml"] {
        repository.write(
            name,
            &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{a: {CANARY}}}\n"),
        );
    }
    let clean = repository.latchwork(&["check"]);
    assert_eq!(clean.status.code(), Some(0), "{}", clean.stdout);
    repository.run_ok("git", &["add", "--force", "local/tracked.yaml"]);
    for arguments in [&["check"][..], &["check", "."]] {
        let found = repository.latchwork(arguments);
        assert_eq!(found.status.code(), Some(1), "{arguments:?}: {}", found.stdout);
        assert!(found.stdout.contains("local/tracked.yaml:") && !found.stdout.contains("free"), "{}", found.stdout);
    }
}

#[test]
fn what_is_staged_is_what_is_checked() {
    let repository = Repository::new();
    repository.run_ok("git", &["add", "--all"]);
    repository.write("secrets/db.yaml", &format!("kind: Secret\nstringData: {{a: {CANARY}}}\n"));
    let staged = repository.latchwork(&["check", "--staged"]);
    assert_eq!(staged.status.code(), Some(0), "the index holds it encrypted: {}", staged.stdout);
    repository.run_ok("git", &["add", "--all"]);
    repository.run_ok("sops", &["encrypt", "-i", "secrets/db.yaml"]);
    let staged = repository.latchwork(&["check", "--staged"]);
    assert_eq!(staged.status.code(), Some(1), "the index holds it in clear: {}", staged.stdout);
    assert!(staged.stdout.starts_with("secrets/db.yaml:2: "), "{}", staged.stdout);
}

#[test]
fn a_file_is_explained() {
    let repository = Repository::new();
    let known = recipients();
    let text = repository.latchwork(&["explain", "secrets/db.yaml", "groups/a.json"]).stdout;
    for part in [
        "path_regex ^secrets/ matches secrets/db.yaml",
        "encrypted_regex \"^(data|stringData)$\"",
        "stringData.password (line 3)",
        "opens with any of:",
        &format!("    age {}\n", known[0]),
        "its keys are those of its rule",
        "opens with 2 of 2 groups, any key of each:",
        &format!("group 2 age {}", known[2]),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut with_key = repository.prepared(process::latchwork(), &["explain", "secrets/db.yaml"]);
    with_key.env("SOPS_AGE_KEY_FILE", keys());
    assert!(run_ok(with_key, b"").contains(&format!("age {}  (yours)", known[0])));
    repository.write("secrets/plain.yaml", &format!("kind: Secret\ndata: {{a: {CANARY}}}\n"));
    let plain = repository.latchwork(&["explain", "secrets/plain.yaml"]).stdout;
    assert!(
        plain.contains("not encrypted") && plain.contains("data.a (line 2)") && plain.contains("in clear: 1"),
        "{plain}"
    );

    let vectors = tools::repository().join("tests/vectors/sealed");
    let sealed = vectors.join("sealed/two-keys.yaml").display().to_string();
    let keys = vectors.join("keys").display().to_string();
    let text = repository.latchwork(&["explain", "--sealing-key", &keys, &sealed]).stdout;
    assert!(text.contains("scope strict: opens only as"), "{text}");
    assert!(text.contains("current.key SHA256:") && text.contains("old.key SHA256:"), "{text}");
}
