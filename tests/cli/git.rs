//! `latchwork git install` in real repositories: merges that Git makes with our driver, read by the real sops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::{scratch, tools};

const CANARY: &str = "canary-in-plaintext";

/// A repository with one committed SOPS file, and the drivers installed.
struct Repository {
    root: PathBuf,
    home: PathBuf,
}

fn recipients() -> Vec<String> {
    let mut convert = process::command(tools::path("age-keygen"));
    convert.arg("-y").arg(keys());
    run_ok(convert, b"").lines().map(str::to_owned).collect()
}

fn keys() -> PathBuf {
    tools::repository().join("tests/vectors/sops/keys.txt")
}

impl Repository {
    /// With `files`, encrypted by the real sops unless they are SealedSecrets.
    fn new(files: &[(&str, &str)]) -> Self {
        let (root, home) = (scratch::dir("repository"), scratch::dir("home"));
        let repository = Self { root, home };
        repository.git_ok(&["init", "--quiet", "--initial-branch=main"]);
        repository.git_ok(&["config", "user.name", "t"]);
        repository.git_ok(&["config", "user.email", "t@example.com"]);
        repository.write(".sops.yaml", &format!("creation_rules:\n  - age: {}\n", recipients()[0]));
        for (name, text) in files {
            repository.write(name, text);
            if !text.contains("SealedSecret") {
                repository.sops_ok(&["encrypt", "-i", name]);
            }
        }
        let said = repository.latchwork(&["git", "install"]);
        assert!(said.status.success() && said.stdout.contains("merge.latchwork.driver"), "{}", said.stderr);
        repository.commit("base");
        repository
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).expect("writes");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).expect("text")
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(&self.root).env("HOME", &self.home).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("SOPS_AGE_KEY_FILE", keys()).env("SOPS_DISABLE_VERSION_CHECK", "1").env_remove("XDG_CONFIG_HOME");
        command
    }

    fn git(&self, arguments: &[&str]) -> Ran {
        run(self.prepared(process::command("git"), arguments), b"")
    }

    fn git_ok(&self, arguments: &[&str]) -> String {
        run_ok(self.prepared(process::command("git"), arguments), b"")
    }

    fn sops_ok(&self, arguments: &[&str]) -> String {
        run_ok(self.prepared(process::command(tools::path("sops")), arguments), b"")
    }

    fn latchwork(&self, arguments: &[&str]) -> Ran {
        run(self.prepared(process::latchwork(), arguments), b"")
    }

    fn commit(&self, message: &str) {
        self.git_ok(&["add", "--all"]);
        self.git_ok(&["commit", "--quiet", "-m", message]);
    }

    /// Two branches with these changes, and `main` merging the other one.
    fn merge(&self, ours: impl Fn(), theirs: impl Fn()) -> Ran {
        self.git_ok(&["checkout", "--quiet", "-b", "other"]);
        theirs();
        self.commit("theirs");
        self.git_ok(&["checkout", "--quiet", "main"]);
        ours();
        self.commit("ours");
        self.git(&["merge", "--no-edit", "other"])
    }

    fn set(&self, file: &str, index: &str, value: &str) {
        self.sops_ok(&["set", file, index, value]);
    }

    fn no_plaintext(&self) {
        fn search(folder: &Path) {
            for entry in fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
                let path = entry.path();
                if path.is_dir() {
                    search(&path);
                } else {
                    let text = fs::read(&path).expect("readable");
                    let found = text.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
                    assert!(!found, "plaintext in {}", path.display());
                }
            }
        }
        search(&self.root);
    }
}

const YAML: &str = "# kept\nkind: Secret\nmetadata:\n  name: db # inline\nstringData:\n  a: canary-in-plaintext-1\n  b: canary-in-plaintext-2\n  c: canary-in-plaintext-3\n";

#[test]
fn different_keys_of_one_file_merge_in_every_format() {
    let files = [
        ("s.yaml", YAML),
        ("s.json", "{\"stringData\": {\"a\": \"1\", \"b\": \"canary-in-plaintext\"}}"),
        ("s.env", "a=1\nb=canary-in-plaintext\n"),
        ("s.ini", "[stringData]\na = 1\nb = canary-in-plaintext\n"),
    ];
    let repository = Repository::new(&files);
    let paths = |key: &str| {
        let below = format!("[\"stringData\"][\"{key}\"]");
        [("s.yaml", below.clone()), ("s.json", below.clone()), ("s.env", format!("[\"{key}\"]")), ("s.ini", below)]
    };
    let change = |key: &str, value: &str| {
        paths(key).iter().for_each(|(file, index)| repository.set(file, index, &format!("\"{value}\"")));
    };
    let merged = repository.merge(
        || change("a", "of ours"),
        || {
            change("b", "of theirs");
            change("new", "added");
        },
    );
    assert!(merged.status.success(), "{}{}", merged.stdout, merged.stderr);
    for ((file, own), ((_, other), (_, new))) in paths("a").iter().zip(paths("b").iter().zip(paths("new").iter())) {
        let value = |index: &str| repository.sops_ok(&["decrypt", "--extract", index, file]);
        assert_eq!([value(own), value(other), value(new)], ["of ours", "of theirs", "added"], "{file}");
    }
    // The same values, the same bytes: what theirs wrote is in the merged file.
    let theirs = repository.git_ok(&["show", "--no-textconv", "other:s.yaml"]);
    let line = theirs.lines().find(|line| line.trim_start().starts_with("b: ENC[")).expect("encrypted");
    assert!(repository.read("s.yaml").contains(line.trim_start()), "{line}");
    repository.no_plaintext();
}

#[test]
fn a_conflict_is_that_of_its_entries_and_stays_encrypted() {
    let repository = Repository::new(&[("s.yaml", YAML)]);
    let (a, b, c) = ("[\"stringData\"][\"a\"]", "[\"stringData\"][\"b\"]", "[\"stringData\"][\"c\"]");
    let merged = repository.merge(
        || {
            repository.set("s.yaml", a, "\"canary-in-plaintext-ours\"");
            repository.set("s.yaml", b, "\"of ours\"");
        },
        || {
            repository.set("s.yaml", a, "\"canary-in-plaintext-theirs\"");
            repository.set("s.yaml", c, "\"of theirs\"");
        },
    );
    assert_eq!(merged.status.code(), Some(1), "{}{}", merged.stdout, merged.stderr);
    assert!(merged.stderr.contains("both sides changed stringData.a"), "{}", merged.stderr);
    repository.no_plaintext();
    let text = repository.read("s.yaml");
    let hunks: Vec<&str> = text.split("<<<<<<< ").skip(1).filter_map(|hunk| hunk.split(">>>>>>> ").next()).collect();
    assert_eq!(hunks.len(), 2, "the entry and the MAC: {text}");
    assert_eq!(hunks[0].matches("a: ENC[AES256_GCM").count(), 2, "{text}");
    assert_eq!(hunks[0].lines().count(), 4, "{text}");
    // Whole sides are valid for the real sops.
    let choose = |first: bool| -> String {
        let (mut out, mut inside, mut second) = (String::new(), false, false);
        for line in text.lines() {
            match line {
                _ if line.starts_with("<<<<<<< ") => (inside, second) = (true, false),
                _ if line.starts_with("=======") => second = true,
                _ if line.starts_with(">>>>>>> ") => inside = false,
                _ if inside && second == first => {}
                _ => out += &format!("{line}\n"),
            }
        }
        out
    };
    for (first, expected) in [(true, "canary-in-plaintext-ours"), (false, "canary-in-plaintext-theirs")] {
        let file = scratch::file("s.yaml", choose(first));
        let path = file.display().to_string();
        let value = |index: &str| repository.sops_ok(&["decrypt", "--extract", index, &path]);
        assert_eq!([value(a), value(b), value(c)], [expected, "of ours", "of theirs"]);
    }
    // A mixture is not, until its MAC is renewed.
    let mixed = choose(true).replace(
        choose(true).lines().find(|line| line.contains("  mac: ")).expect("a MAC"),
        choose(false).lines().find(|line| line.contains("  mac: ")).expect("a MAC"),
    );
    repository.write("s.yaml", &mixed);
    let refused = run(repository.prepared(process::command(tools::path("sops")), &["decrypt", "s.yaml"]), b"");
    assert_eq!(refused.status.code(), Some(51), "{}", refused.stderr);
    let renewed = repository.latchwork(&["git", "resolved", "s.yaml"]);
    assert!(renewed.status.success(), "{}", renewed.stderr);
    assert_eq!(repository.sops_ok(&["decrypt", "--extract", a, "s.yaml"]), "canary-in-plaintext-ours");
}

#[test]
fn recipients_and_rotations_merge() {
    let known = recipients();
    let repository = Repository::new(&[("s.yaml", YAML)]);
    let (a, b) = ("[\"stringData\"][\"a\"]", "[\"stringData\"][\"b\"]");
    let merged = repository.merge(
        || repository.set("s.yaml", a, "\"of ours\""),
        || {
            // A new data key for another recipient: the old one is out.
            repository.sops_ok(&["rotate", "-i", "--rm-age", &known[0], "--add-age", &known[1], "s.yaml"]);
            repository.set("s.yaml", b, "\"of theirs\"");
        },
    );
    assert!(merged.status.success(), "{}{}", merged.stdout, merged.stderr);
    let text = repository.read("s.yaml");
    assert!(text.contains(&known[1]) && !text.contains(&known[0]), "{text}");
    let news = format!("new recipients {}; without {}; a new data key", known[1], known[0]);
    let said: Vec<&str> = merged.stderr.lines().filter(|line| line.contains("taken over from")).collect();
    assert!(
        matches!(said.as_slice(), [line] if line.contains("s.yaml: ") && line.ends_with(&news)),
        "{}",
        merged.stderr
    );
    let value = |index: &str| repository.sops_ok(&["decrypt", "--extract", index, "s.yaml"]);
    assert_eq!([value(a), value(b)], ["of ours", "of theirs"]);

    // Both sides add a recipient, and one of them a value.
    let repository = Repository::new(&[("s.yaml", YAML)]);
    let add = |key: &str| {
        repository.write(".sops.yaml", &format!("creation_rules:\n  - age: {},{key}\n", known[0]));
        repository.sops_ok(&["updatekeys", "-y", "s.yaml"]);
        repository.git_ok(&["checkout", "--quiet", ".sops.yaml"]);
    };
    let merged = repository.merge(
        || add(&known[1]),
        || {
            add(&known[2]);
            repository.set("s.yaml", a, "\"of theirs\"");
        },
    );
    assert!(merged.status.success(), "{}{}", merged.stdout, merged.stderr);
    let text = repository.read("s.yaml");
    assert!(known.iter().all(|key| text.contains(key)), "{text}");
    assert!(merged.stderr.contains(&format!("new recipients {}\n", known[2])), "{}", merged.stderr);
    assert_eq!(repository.sops_ok(&["decrypt", "--extract", a, "s.yaml"]), "of theirs");
}

#[test]
fn sealed_secrets_merge_without_a_key() {
    let sealed = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}\nspec:\n  encryptedData:\n    a: AgA1\n    b: AgB1\n";
    let repository = Repository::new(&[("sealed.yaml", sealed)]);
    let replace =
        |from: &str, to: &str| repository.write("sealed.yaml", &repository.read("sealed.yaml").replace(from, to));
    let merged =
        repository.merge(|| replace("AgA1", "AgA2"), || replace("    b: AgB1\n", "    b: AgB2\n    c: AgC1\n"));
    assert!(merged.status.success(), "{}{}", merged.stdout, merged.stderr);
    let expected = sealed.replace("AgA1", "AgA2").replace("    b: AgB1\n", "    b: AgB2\n    c: AgC1\n");
    assert_eq!(repository.read("sealed.yaml"), expected);
}

#[test]
fn what_is_not_encrypted_or_not_ours_is_merged_as_git_does() {
    let stranger = "a: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]\nsops:\n  mac: x\n  version: 3.9.0\n";
    let repository = Repository::new(&[("s.yaml", YAML)]);
    repository.write("plain.yaml", "a: 1\nb: 2\nc: 3\nd: 4\n");
    repository.write("stranger.yaml", stranger);
    repository.commit("more");
    let merged = repository.merge(
        || {
            repository.write("plain.yaml", "a: 9\nb: 2\nc: 3\nd: 4\n");
            repository.write("stranger.yaml", &stranger.replace("mac: x", "mac: y"));
        },
        || {
            repository.write("plain.yaml", "a: 1\nb: 2\nc: 3\nd: 8\n");
            repository.write("stranger.yaml", &stranger.replace("mac: x", "mac: z"));
        },
    );
    assert_eq!(merged.status.code(), Some(1), "{}{}", merged.stdout, merged.stderr);
    assert!(merged.stderr.contains("stranger.yaml") && merged.stderr.contains("merged by lines"), "{}", merged.stderr);
    assert!(repository.read("stranger.yaml").contains("<<<<<<< "));
    assert_eq!(repository.read("plain.yaml"), "a: 9\nb: 2\nc: 3\nd: 8\n");
}

#[test]
fn differences_are_shown_and_installing_is_undone() {
    let repository = Repository::new(&[("s.yaml", YAML)]);
    let again = repository.latchwork(&["git", "install"]);
    assert!(again.stdout.lines().all(|line| line.starts_with("unchanged: ")), "{}", again.stdout);
    repository.set("s.yaml", "[\"stringData\"][\"a\"]", "\"shown\"");
    let diff = repository.git_ok(&["diff"]);
    let lines: Vec<&str> =
        diff.lines().filter(|l| l.starts_with(['+', '-']) && !l.starts_with("+++") && !l.starts_with("---")).collect();
    assert!(
        lines.contains(&"-  a: canary-in-plaintext-1") || lines.contains(&"-    a: canary-in-plaintext-1"),
        "{diff}"
    );
    assert!(diff.contains("a: shown") && !diff.contains("ENC["), "{diff}");
    repository.no_plaintext();
    let undone = repository.latchwork(&["git", "uninstall"]);
    assert!(undone.status.success(), "{}", undone.stderr);
    assert!(!repository.root.join(".gitattributes").exists());
    assert!(!repository.git_ok(&["config", "--local", "--list"]).contains("latchwork"));
    assert!(repository.git_ok(&["diff"]).contains("ENC["));
    let global = repository.latchwork(&["git", "install", "--global", "*.enc"]);
    assert!(global.status.success(), "{}", global.stderr);
    let attributes = fs::read_to_string(repository.home.join(".config/git/attributes")).expect("written");
    assert_eq!(attributes, "*.enc merge=latchwork diff=latchwork\n");
}
