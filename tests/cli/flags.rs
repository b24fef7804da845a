//! Every flag that the real sops shows is one that ours takes: a script must not fail on its command line.

use std::fs;

use super::sops::{BOTH, ours, recipients, text, theirs};
use crate::rig::process::{run, run_ok};
use crate::rig::scratch;
use crate::rig::wait::{SOON, eventually};

const VERBS: [&[&str]; 14] = [
    &[],
    &["encrypt"],
    &["decrypt"],
    &["edit"],
    &["rotate"],
    &["set"],
    &["unset"],
    &["updatekeys"],
    &["exec-env"],
    &["exec-file"],
    &["groups", "add"],
    &["groups", "delete"],
    &["filestatus"],
    &["completion"],
];

/// The flags of a help text in both spellings, each with whether it takes a value.
fn flags(help: &str) -> Vec<(String, bool)> {
    let lines = help.lines().map(str::trim).filter(|line| line.starts_with("--"));
    let spellings = lines.flat_map(|line| line.split("  ").next().unwrap_or_default().split(", "));
    spellings
        .map(|spelling| match spelling.split_once(' ') {
            Some((flag, _)) => (flag.to_owned(), true),
            None => (spelling.to_owned(), false),
        })
        .filter(|(flag, _)| !matches!(flag.as_str(), "--help" | "-h" | "--version" | "-v"))
        .collect()
}

#[test]
fn every_flag_of_every_verb_is_taken() {
    let mut seen = 0;
    for verb in VERBS {
        let help = run_ok(theirs(&[verb, &["--help"]].concat()), b"");
        for (flag, value) in flags(&help) {
            seen += 1;
            let mut arguments = verb.to_vec();
            arguments.push(&flag);
            if value {
                arguments.push(if flag.contains("threshold") || flag == "--indent" { "2" } else { "x" });
            }
            arguments.push("--help");
            let ran = run(ours(&arguments), b"");
            assert!(ran.status.success(), "{arguments:?}: {}", ran.stderr);
        }
    }
    assert!(seen > 180, "the help of sops was not understood: {seen} flags");
}

#[test]
fn flags_stand_before_and_behind_the_file() {
    let age = recipients().remove(0);
    let plain = scratch::file("a.yaml", "a: 1\nb: two\n");
    let path = text(&plain);
    for arguments in [vec!["encrypt", "--age", &age, &path], vec!["encrypt", &path, "--age", &age]] {
        assert!(run_ok(ours(&arguments), b"").contains("ENC["));
    }
    run_ok(ours(&["-e", "-i", "-a", &age, &path]), b"");
    for arguments in [
        &["-d", &path, "--extract", "[\"b\"]"][..],
        &["--extract", "[\"b\"]", "-d", &path],
        &["decrypt", &path, "--extract", "[\"b\"]"],
        &["--ignore-mac", "--decrypt", "--extract", "[\"b\"]", "--decryption-order", "pgp,age", &path],
        &["--enable-local-keyservice=true", "-d", "--extract=[\"b\"]", &path],
    ] {
        assert_eq!(run_ok(ours(arguments), b""), "two", "{arguments:?}");
    }
}

/// The combinations that scripts of the old style use, on both programs with the same outcome.
#[test]
fn the_old_style_does_what_it_does_there() {
    let age = recipients().remove(0);
    for (name, program) in BOTH {
        let file = scratch::file("a.yaml", "a: 1\nb: two\n");
        let path = text(&file);
        let out = text(&scratch::dir("out").join("a.yaml"));
        run_ok(program(&["--encrypt", "--age", &age, "--output", &out, &path]), b"");
        run_ok(program(&["--encrypt", "--in-place", "--age", &age, &path]), b"");
        run_ok(program(&["--set", "[\"c\"] {\"d\": [1, \"x\"]}", &path]), b"");
        run_ok(program(&["-r", "-i", &path]), b"");
        let before = fs::read(&file).expect("readable");
        run_ok(program(&["--rotate", "--in-place", "--ignore-mac", &path]), b"");
        assert_ne!(fs::read(&file).expect("readable"), before, "{name}: the data key is another one");
        assert_eq!(
            run_ok(program(&["-d", "--output-type", "json", "--extract", "[\"c\"][\"d\"][1]", &path]), b""),
            "x"
        );
        // The whole file as one value, and standard input by its name.
        let sealed = run_ok(program(&["-e", "--age", &age, "--input-type", "binary", &path]), b"");
        assert!(sealed.contains("data: ENC["), "{name}: {sealed}");
        run_ok(program(&["-d", "-i", &path]), b"");
        let stdin = ["-e", "--age", &age, "--input-type", "yaml", "--output-type", "yaml", "/dev/stdin"];
        let sealed = run_ok(program(&stdin), b"a: 1\n");
        assert!(sealed.contains("a: ENC["), "{name}: {sealed}");
        let open = ["-d", "--input-type", "yaml", "--output-type", "yaml", "/dev/stdin"];
        assert_eq!(run_ok(program(&open), sealed.as_bytes()), "a: 1\n", "{name}");
        let missing = run(program(&["-d", "/nonexistent/a.yaml"]), b"");
        assert_eq!(missing.status.code(), Some(100), "{name}");
        assert_eq!(run(program(&["-d"]), b"").status.code(), Some(100), "{name}");
        let twice = run(program(&["-e", "-i", "--output", &out, &path]), b"");
        assert_eq!(twice.status.code(), Some(8), "{name}: {}", twice.stderr);
    }
    let order = run(ours(&["-d", "--decryption-order", "age,age", "/nonexistent"]), b"");
    assert_eq!(order.status.code(), Some(112));
}

#[test]
fn scripts_learn_the_version_and_shells_the_words() {
    let own = run_ok(ours(&["--version"]), b"");
    let real = run_ok(theirs(&["--version"]), b"");
    let version = |text: &str| text.lines().next().and_then(|line| line.split(' ').nth(1)).map(str::to_owned);
    assert_eq!(version(&own), version(&real), "{own} / {real}");
    assert!(own.starts_with("sops "), "{own}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run_ok(ours(&["completion", shell]), b"").contains("updatekeys"), "{shell}");
        assert!(run_ok(ours(&["completion"]), b"").contains(shell), "{shell}");
    }
}

#[tokio::test]
async fn a_command_is_run_as_it_is_asked() {
    let age = recipients().remove(0);
    let file = scratch::file("a.yaml", "SECRET: hunter2\n");
    let path = text(&file);
    run_ok(ours(&["encrypt", "-i", "--age", &age, &path]), b"");
    let mut id = crate::rig::process::command("id");
    id.arg("-un");
    let user = run_ok(id, b"");
    let user = user.trim();
    for (name, program) in BOTH {
        let as_self = ["exec-env", "--user", user, &path, "echo $SECRET $USER"];
        assert_eq!(run_ok(program(&as_self), b""), format!("hunter2 {user}\n"), "{name}");
        let as_file = ["exec-file", "--user", user, &path, "cat {}"];
        assert_eq!(run_ok(program(&as_file), b""), "SECRET: hunter2\n", "{name}");
        let unknown = run(program(&["exec-env", "--user", "nobody-of-this-name", &path, "true"]), b"");
        assert!(!unknown.status.success(), "{name}");
        let pristine = ["exec-env", "--pristine", &path, "echo $SECRET $MARK"];
        let mut command = program(&pristine);
        command.env("MARK", "seen");
        assert_eq!(run_ok(command, b""), "hunter2\n", "{name}");
        let same = ["exec-env", "--same-process", &path, "echo $SECRET; exit 3"];
        assert_eq!(run(program(&same), b"").status.code(), Some(3), "{name}");
        // It goes on after the program has ended, which is seen at the file that it makes.
        let made = scratch::dir("background").join("made");
        let script = format!("echo $SECRET >{0}.part; mv {0}.part {0}", made.display());
        run_ok(program(&["exec-env", "--background", &path, &script]), b"");
        let there = || async { if made.is_file() { Ok(()) } else { Err("no file".to_owned()) } };
        eventually(SOON, "the command in the background", there).await;
        assert_eq!(fs::read_to_string(&made).expect("made"), "hunter2\n", "{name}");
    }
}
