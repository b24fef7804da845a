//! `latchwork rekey` over a repository of files that the real tools made, and the real tools on the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::rig::process::{self, run, run_ok};
use crate::rig::{scratch, tools};

/// A repository with a recipient for the old rules and one for the new.
struct Repository {
    root: PathBuf,
    old: String,
    new: String,
}

const FILES: [(&str, &[u8]); 6] = [
    ("app/secret.yaml", b"# kept\nkind: Secret\nstringData:\n    password: hunter2   # why\n\n    other: 'x'\n"),
    ("app/stream.yaml", b"a: 1\n---\nb: hunter2\n"),
    ("app/values.json", b"{\n  \"a\": {\"b\": \"hunter2\"}\n}\n"),
    ("app/prod.env", b"# c\nPASSWORD=hunter2\n"),
    ("app/php.ini", b"[s]\npassword = hunter2\n"),
    ("app/key", b"\x00\x01hunter2\n"),
];

impl Repository {
    fn new() -> Self {
        let root = scratch::dir("repository");
        run_ok(git(&root, &["init", "--quiet"]), b"");
        let key = |name: &str| {
            let mut make = process::command(tools::path("age-keygen"));
            make.arg("-o").arg(root.join(name));
            let ran = run(make, b"");
            let text = ran.stderr + &ran.stdout;
            text.split_whitespace().find(|word| word.starts_with("age1")).expect("a recipient").to_owned()
        };
        let (old, new) = (key("old.agekey"), key("new.agekey"));
        let repository = Self { root, old, new };
        repository.write(".gitignore", b"ignored/\n*.agekey\n");
        repository.rules(&repository.old);
        for (name, content) in FILES {
            repository.write(name, content);
            run_ok(repository.sops("old.agekey", &["encrypt", "-i", name]), b"");
        }
        repository.rules(&repository.new);
        repository
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folder");
        fs::write(path, content).expect("writes");
    }

    fn rules(&self, recipient: &str) {
        self.write(".sops.yaml", format!("creation_rules:\n  - path_regex: ^app/\n    age: {recipient}\n").as_bytes());
    }

    fn command(&self, mut command: Command, key: &str, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(&self.root).env("SOPS_AGE_KEY_FILE", self.root.join(key));
        command.env("HOME", &self.root).env("XDG_CONFIG_HOME", "/nonexistent").env("SOPS_DISABLE_VERSION_CHECK", "1");
        command
    }

    fn sops(&self, key: &str, arguments: &[&str]) -> Command {
        self.command(process::command(tools::path("sops")), key, arguments)
    }

    fn rekey(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(process::latchwork(), "old.agekey", &["rekey"]);
        command.args(arguments);
        command
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        FILES.iter().map(|(name, _)| fs::read(self.root.join(name)).expect("readable")).collect()
    }
}

fn git(root: &Path, arguments: &[&str]) -> Command {
    let mut command = process::command("git");
    command.args(arguments).current_dir(root).env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

#[test]
fn a_tree_is_brought_to_its_rules_and_the_real_sops_agrees() {
    let repository = Repository::new();
    repository.write("README.md", b"how to use sops: ENC[AES256_GCM,data: is what it writes\n");
    repository.write("ignored/secret.yaml", b"a: ENC[\nsops:\n  mac: x\n");
    let before = repository.contents();

    let dry = run(repository.rekey(&["--dry-run", "."]), b"");
    assert_eq!(dry.status.code(), Some(1), "{}{}", dry.stdout, dry.stderr);
    assert!(dry.stdout.contains("6 to change"), "{}", dry.stdout);
    for what in [&repository.old, &repository.new] {
        assert!(dry.stdout.contains(what.as_str()), "both keys are named in full: {}", dry.stdout);
    }
    assert_eq!(repository.contents(), before, "a dry run writes nothing");
    let unasked = run(repository.rekey(&["."]), b"");
    assert_eq!((unasked.status.code(), repository.contents() == before), (Some(1), true), "nobody said yes");

    let done = run(repository.rekey(&["--yes", "."]), b"");
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(!(done.stdout + &done.stderr).contains("hunter2"));
    for ((name, plain), old) in FILES.iter().zip(&before) {
        let opened = run_ok(repository.sops("new.agekey", &["decrypt", name]), b"");
        assert!(opened.contains("hunter2"), "{name}: {opened}");
        let closed = run(repository.sops("old.agekey", &["decrypt", name]), b"");
        assert_eq!(closed.status.code(), Some(128), "{name}: the old key is out");
        let update = run(repository.sops("new.agekey", &["updatekeys", "-y", name]), b"");
        assert!(update.stderr.contains("already up to date"), "{name}: {}", update.stderr);
        // Only the wrapped keys changed: the values have the bytes that they had.
        let new = fs::read_to_string(repository.root.join(name)).expect("text");
        let values = |text: &str| text.matches("type:str]").count() + text.matches("type:int]").count();
        let old = String::from_utf8(old.clone()).expect("text");
        let cipher = |text: &str| -> Vec<String> {
            text.split("ENC[").skip(1).map(|tail| tail.split(']').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!((cipher(&new), values(&new)), (cipher(&old), values(&old)), "{name}");
        assert!(plain.len() < new.len());
    }
    let again = run(repository.rekey(&["--dry-run", "--json", "."]), b"");
    let report: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((again.status.code(), &report["current"]), (Some(0), &Value::from(6)), "{report}");
}

#[test]
fn rotation_makes_new_data_keys_and_goes_on_where_it_ended() {
    let repository = Repository::new();
    repository.rules(&repository.old);
    let before = repository.contents();
    let started = latchwork_time();
    run_ok(repository.rekey(&["--rotate", "--yes", "app"]), b"");
    for ((name, _), old) in FILES.iter().zip(&before) {
        assert_ne!(&fs::read(repository.root.join(name)).expect("readable"), old, "{name}");
        run_ok(repository.sops("old.agekey", &["decrypt", name]), b"");
    }
    let after = repository.contents();
    let rest = run(repository.rekey(&["--rotate", "--before", &started, "--yes", "app"]), b"");
    assert_eq!((rest.status.code(), repository.contents() == after), (Some(0), true), "{}", rest.stdout);
}

/// Now, as a user would note it.
fn latchwork_time() -> String {
    let mut now = process::command("date");
    now.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    run_ok(now, b"").trim().to_owned()
}

#[test]
fn one_bad_file_stops_nothing() {
    let repository = Repository::new();
    let broken = fs::read_to_string(repository.root.join("app/secret.yaml")).expect("text");
    let conflict = broken.replace("stringData:", "<<<<<<< ours\nstringData:\n=======\nother:\n>>>>>>> theirs\n");
    repository.write("app/conflict.yaml", conflict.as_bytes());
    repository.write("elsewhere/a.yaml", broken.as_bytes());
    repository.write(
        "app/changed.yaml",
        broken.replace("kind: ENC[AES256_GCM,data:", "kind: ENC[AES256_GCM,data:AA").as_bytes(),
    );
    let mixed = format!("apiVersion: v1\nkind: Namespace # plain\nmetadata: {{name: n}}\n---\n{broken}");
    repository.write("app/mixed.yaml", mixed.as_bytes());
    let ran = run(repository.rekey(&["--yes", "."]), b"");
    assert_eq!(ran.status.code(), Some(2), "{}{}", ran.stdout, ran.stderr);
    let line = |name: &str| ran.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("app/conflict.yaml").contains("line 3: the file has conflict markers"), "{}", ran.stdout);
    assert!(line("elsewhere/a.yaml").contains("no creation rule matches"), "{}", ran.stdout);
    assert!(line("app/changed.yaml").contains("FAILED"), "{}", ran.stdout);
    assert!(line("app/mixed.yaml").contains("document 2  rewrapped"), "{}", ran.stdout);
    for (name, _) in FILES {
        run_ok(repository.sops("new.agekey", &["decrypt", name]), b"");
    }
    let mixed = fs::read_to_string(repository.root.join("app/mixed.yaml")).expect("text");
    assert!(mixed.starts_with("apiVersion: v1\nkind: Namespace # plain\nmetadata: {name: n}\n---\n"), "{mixed}");
    assert!(mixed.contains(&repository.new) && !mixed.contains(&repository.old));
    // What failed is all that is left.
    let again = run(repository.rekey(&["--yes", "."]), b"");
    assert!(again.stdout.contains("7 on the present keys, 3 failed"), "{}", again.stdout);
}

fn vector(name: &str) -> String {
    tools::repository().join("tests/vectors/sealed").join(name).display().to_string()
}

fn kubeseal(arguments: &[&str]) -> Command {
    let mut command = process::command(tools::path("kubeseal"));
    command.args(arguments).env("KUBECONFIG", "/nonexistent").env("HOME", scratch::dir("home"));
    command
}

#[test]
fn sealed_secrets_move_to_the_present_key_value_by_value() {
    let seal = |cert: &str, scope: &str, format: &str| {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: team, labels: {a: b}}\ntype: x.y/z\nstringData: {password: hunter2, token: t}\n";
        run_ok(kubeseal(&["--cert", &vector(cert), "--scope", scope, "-o", format]), secret.as_bytes())
    };
    let root = scratch::dir("sealed");
    let mut yaml = String::from("# a comment at the top\n");
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        yaml += &seal("keys/old.crt", scope, "yaml").replace("  template:", "  # kept\n\n  template:");
    }
    // One value of the first object is on the present key already.
    let token = |text: &str| -> String {
        text.lines().find(|line| line.trim_start().starts_with("token: ")).expect("sealed").to_owned()
    };
    let present = token(&seal("keys/current.crt", "strict", "yaml"));
    yaml = yaml.replacen(&token(&yaml), &present, 1);
    fs::write(root.join("all.yaml"), &yaml).expect("writes");
    let item = seal("keys/old.crt", "strict", "json");
    fs::write(root.join("list.json"), format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{item}]}}"))
        .expect("writes");
    // Objects one after the other, as kubeseal prints them, on one line and over several.
    let other = item.replace("\"name\": \"db\"", "\"name\":  \"db\"");
    let stream = format!("{item}{}{other}\n\n", serde_json::from_str::<Value>(&item).expect("JSON"));
    fs::write(root.join("stream.json"), &stream).expect("writes");
    fs::write(root.join("chart.yaml"), "kind: SealedSecret\nmetadata:\n  name: {{ .Values.x }}-y\n").expect("writes");

    let rekey = |arguments: &[&str]| {
        let mut command = process::latchwork();
        command.args(["rekey", "--cert", &vector("keys/current.crt")]).args(arguments).arg(&root);
        run(command, b"")
    };
    let keys = vector("keys");
    let dry = rekey(&["--sealing-key", &keys, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}{}", dry.stdout, dry.stderr);
    assert!(dry.stdout.contains("  1 of 2 entries: password"), "{}", dry.stdout);
    assert!(dry.stdout.contains("a template, not plain YAML"), "{}", dry.stdout);
    let unknown = rekey(&["--sealing-key", &vector("keys/current.key"), "--dry-run"]);
    assert_eq!(unknown.status.code(), Some(2), "the present key is at hand and does not open them: {}", unknown.stdout);

    let done = rekey(&["--sealing-key", &keys, "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let after = fs::read_to_string(root.join("all.yaml")).expect("text");
    assert!(after.contains(&present), "a value on the present key keeps its bytes");
    let sealed = |line: &&str| ["password: A", "token: A"].iter().any(|name| line.trim_start().starts_with(name));
    assert_eq!(
        yaml.lines().filter(|line| !sealed(line)).collect::<Vec<_>>(),
        after.lines().filter(|line| !sealed(line)).collect::<Vec<_>>(),
        "scope, template, comments and layout stay"
    );
    let key = vector("keys/current.key");
    let list: Value = serde_json::from_slice(&fs::read(root.join("list.json")).expect("readable")).expect("JSON");
    let streamed = fs::read_to_string(root.join("stream.json")).expect("text");
    let blank = |text: &str| -> Vec<String> {
        text.split('"')
            .map(|word| if word.starts_with('A') && word.len() > 300 { "SEALED" } else { word }.into())
            .collect()
    };
    assert_eq!(blank(&stream), blank(&streamed), "everything but the values stays");
    assert_eq!(blank(&stream).iter().filter(|word| *word == "SEALED").count(), 6);
    let streamed: Vec<Value> =
        serde_json::Deserializer::from_str(&streamed).into_iter().collect::<Result<_, _>>().expect("JSON");
    let listed = streamed.iter().chain([&list["items"][0]]).map(Value::to_string);
    let objects = after.split("---\n").skip(1).map(str::to_owned).chain(listed);
    for object in objects {
        let secret = run_ok(kubeseal(&["--recovery-unseal", "--recovery-private-key", &key]), object.as_bytes());
        assert!(secret.contains("aHVudGVyMg=="), "{secret}");
    }
    let again = rekey(&["--sealing-key", &keys, "--yes"]);
    assert_eq!(again.status.code(), Some(0), "{}", again.stdout);
    assert_eq!(fs::read_to_string(root.join("all.yaml")).expect("text"), after, "nothing is left to do");
    fs::write(root.join("stream.json"), format!("{stream}}}")).expect("writes");
    let broken = rekey(&["--sealing-key", &keys, "--dry-run"]);
    assert_eq!(broken.status.code(), Some(2), "{}", broken.stdout);
    assert!(broken.stdout.contains("stream.json  SealedSecret  FAILED"), "{}", broken.stdout);
}
