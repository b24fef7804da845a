//! `latchwork sops` beside the real sops, in both directions.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use latchwork::pure::format::{self, Branch, Format, Item, Scalar, Value};

use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{scratch, tools};

const INPUTS: [&str; 8] =
    ["all.yaml", "stream.yaml", "comments.yaml", "all.json", "all.env", "all.ini", "all.bin", "empty.bin"];

const SELECTORS: [&[&str]; 8] = [
    &[],
    &["--encrypted-regex", "^(password|key_.*|list)$"],
    &["--unencrypted-regex", "^(metadata|global)$"],
    &["--encrypted-suffix", "_secret"],
    &["--unencrypted-suffix", "_secret"],
    &["--mac-only-encrypted", "--encrypted-regex", "pass"],
    &["--encrypted-comment-regex", "sops:mark"],
    &["--unencrypted-comment-regex", "sops:mark"],
];

pub fn vectors() -> PathBuf {
    tools::repository().join("tests/vectors/sops")
}

pub(super) fn prepared(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments).env("SOPS_AGE_KEY_FILE", vectors().join("keys.txt")).env("HOME", scratch::dir("home"));
    for name in ["XDG_CONFIG_HOME", "SOPS_AGE_KEY", "SOPS_CONFIG", "SOPS_AGE_RECIPIENTS", "SOPS_EDITOR", "EDITOR"] {
        command.env_remove(name);
    }
    command.env("SOPS_DISABLE_VERSION_CHECK", "1");
    command
}

pub fn theirs(arguments: &[&str]) -> Command {
    prepared(process::command(tools::path("sops")), arguments)
}

/// The program under the name `sops`, as a user's script calls it.
pub fn ours(arguments: &[&str]) -> Command {
    let link = scratch::dir("bin").join("sops");
    symlink(process::program(), &link).expect("link");
    prepared(process::command(link), arguments)
}

pub type Program = fn(&[&str]) -> Command;
pub const BOTH: [(&str, Program); 2] = [("sops", theirs), ("latchwork", ours)];

/// Recipients of the three identities of `keys.txt`.
pub fn recipients() -> Vec<String> {
    let mut convert = process::command(tools::path("age-keygen"));
    convert.arg("-y").arg(vectors().join("keys.txt"));
    run_ok(convert, b"").lines().map(str::to_owned).collect()
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

fn format_of(name: &str) -> Format {
    Format::of_path(name)
}

/// Types and values in document order.
pub(super) fn values(bytes: &[u8], format: Format) -> Vec<String> {
    fn walk(items: &[Item], path: &str, out: &mut Vec<String>) {
        for item in items {
            let (path, node) = match item {
                Item::Comment(_) => continue,
                Item::Entry(entry) => (format!("{path}/{}", entry.key), &entry.value),
                Item::Element(element) => (format!("{path}/-"), &element.value),
            };
            match &node.value {
                Value::Map(items) | Value::List(items) => walk(items, &path, out),
                Value::Scalar(scalar) => out.push(format!("{path} {}", show(scalar))),
            }
        }
    }
    fn show(scalar: &Scalar) -> String {
        match scalar {
            Scalar::Null => "null".into(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Unsigned(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Time(value) => value.clone(),
            Scalar::Text(text) => format!("{:?}", String::from_utf8_lossy(text.expose())),
        }
    }
    let tree = format::parse(bytes, format).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)));
    let mut out = Vec::new();
    tree.branches.iter().for_each(|branch: &Branch| walk(&branch.items, "", &mut out));
    out
}

/// Encrypts with `encrypt`, decrypts with `decrypt`, compares with what the real sops makes of its own.
fn both_ways(encrypt: Program, decrypt: Program, label: &str) {
    let recipient = recipients().remove(0);
    for input in INPUTS {
        let plain = vectors().join("plain").join(input);
        let format = format_of(input);
        for selector in SELECTORS {
            let what = format!("{label}: {input} {selector:?}");
            // The real sops takes these two in the old style only, and the global flag before the verb.
            let old = selector.iter().any(|flag| flag.contains("comment-regex") || flag.contains("mac-only"));
            let mut arguments = vec!["--age", &recipient];
            arguments.extend(selector.iter().copied());
            if old {
                arguments.insert(0, "--encrypt");
            } else {
                arguments.insert(0, "encrypt");
            }
            let plain_path = text(&plain);
            arguments.push(&plain_path);
            let sealed = run_raw(encrypt(&arguments), b"");
            let sealed_text = String::from_utf8(sealed.clone()).expect("text");
            assert!(sealed_text.contains("ENC[AES256_GCM"), "{what}");
            let file = scratch::file(input, &sealed);
            let opened = run_raw(decrypt(&["decrypt", &text(&file)]), b"");
            if format == Format::Binary {
                assert_eq!(opened, fs::read(&plain).expect("readable"), "{what}");
                continue;
            }
            let expected = run_raw(theirs(&["decrypt", &text(&file)]), b"");
            assert_eq!(values(&opened, format), values(&expected, format), "{what}");
            assert!(!String::from_utf8_lossy(&opened).contains("ENC["), "{what}");
        }
    }
}

pub(super) fn run_raw(mut command: Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let mut child = command.spawn().expect("starts");
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("own child");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {}\n{stderr}", output.status);
    assert!(!stderr.contains("possibly unencrypted comment"), "{shown}: {stderr}");
    output.stdout
}

#[test]
fn what_we_encrypt_opens_with_sops() {
    both_ways(ours, theirs, "ours to theirs");
}

#[test]
fn what_sops_encrypts_opens_with_us() {
    both_ways(theirs, ours, "theirs to ours");
}

/// A copy of a vector, to change in place.
fn copy(vector: &str) -> PathBuf {
    let path = vectors().join(vector);
    scratch::file(&path.file_name().expect("named").to_string_lossy(), fs::read(&path).expect("readable"))
}

fn changed_lines(old: &str, new: &str) -> usize {
    let known: std::collections::HashSet<&str> = old.lines().collect();
    new.lines().filter(|line| !known.contains(line)).count()
}

#[test]
fn set_and_unset_touch_one_value_and_sops_reads_the_result() {
    for (vector, index, value, lines) in [
        ("default/yaml/encrypted.yaml", r#"["stringData"]["password"]"#, r#""new""#, 3),
        ("stream/yaml/encrypted.yaml", r#"["list"][1]"#, r#""new""#, 7),
        ("default/yaml/encrypted.yaml", r#"["values"]["added"]"#, r#"{"a": [1, "x"]}"#, 6),
        ("default/json/encrypted.json", r#"["map"]["added"]"#, r#""new""#, 4),
        ("default/dotenv/encrypted.env", r#"["PASSWORD"]"#, r#""new""#, 3),
        ("default/ini/encrypted.ini", r#"["section"]["password"]"#, r#""new""#, 3),
    ] {
        let file = copy(vector);
        let old = fs::read_to_string(&file).expect("readable");
        run_ok(ours(&["set", &text(&file), index, value]), b"");
        let new = fs::read_to_string(&file).expect("readable");
        assert_eq!(changed_lines(&old, &new), lines, "{vector} {index}\n{new}");
        let theirs_now = run_ok(theirs(&["decrypt", &text(&file)]), b"");
        assert_eq!(
            run_ok(ours(&["decrypt", "--extract", index, &text(&file)]), b""),
            run_ok(theirs(&["decrypt", "--extract", index, &text(&file)]), b""),
            "{vector} {index}"
        );
        assert!(!theirs_now.contains("ENC["), "{theirs_now}");
        // Once more: nothing changes, so nothing is written.
        run_ok(ours(&["set", &text(&file), index, value]), b"");
        assert_eq!(fs::read_to_string(&file).expect("readable"), new, "{vector} {index}");
        run_ok(ours(&["unset", &text(&file), index]), b"");
        run_ok(theirs(&["decrypt", &text(&file)]), b"");
        let missing = run(ours(&["decrypt", "--extract", index, &text(&file)]), b"");
        assert!(index.ends_with("[1]") || missing.status.code() == Some(1), "{vector} {index}");
        let again = run(ours(&["unset", &text(&file), r#"["no"]["such"]"#]), b"");
        assert_eq!(again.status.code(), Some(1));
        run_ok(ours(&["unset", "--idempotent", &text(&file), r#"["no"]["such"]"#]), b"");
    }
    let file = copy("default/yaml/encrypted.yaml");
    run_ok(ours(&["set", "--value-stdin", &text(&file), r#"["kind"]"#]), b"\"from stdin\"");
    let value = scratch::file("value.json", "\"from a file\"");
    run_ok(ours(&["set", "--value-file", &text(&file), r#"["apiVersion"]"#, &text(&value)]), b"");
    assert_eq!(run_ok(theirs(&["decrypt", "--extract", r#"["kind"]"#, &text(&file)]), b""), "from stdin");
    assert_eq!(run_ok(theirs(&["decrypt", "--extract", r#"["apiVersion"]"#, &text(&file)]), b""), "from a file");
}

#[test]
fn rotation_and_updatekeys_keep_the_file_and_change_the_keys() {
    let known = recipients();
    for vector in [
        "default/yaml/encrypted.yaml",
        "default/json/encrypted.json",
        "default/ini/encrypted.ini",
        "default/dotenv/encrypted.env",
        "default/binary/encrypted.bin",
        "groups/yaml/encrypted.yaml",
        "stream/yaml/encrypted.yaml",
    ] {
        let file = copy(vector);
        let plain = run_raw(theirs(&["decrypt", &text(&file)]), b"");
        let first = fs::read_to_string(&file).expect("readable");
        run_ok(ours(&["rotate", "-i", "--add-age", &known[1], &text(&file)]), b"");
        let rotated = fs::read_to_string(&file).expect("readable");
        assert_ne!(first, rotated);
        assert!(rotated.contains(&known[1]), "{rotated}");
        assert_eq!(run_raw(theirs(&["decrypt", &text(&file)]), b""), plain, "{vector}");
        if vector.starts_with("groups") {
            continue;
        }
        let rules = format!("creation_rules:\n  - age: {},{}\n", known[1], known[2]);
        let config = scratch::file(".sops.yaml", rules);
        let ran = run(ours(&["--config", &text(&config), "updatekeys", "-y", &text(&file)]), b"");
        assert!(ran.status.success(), "{}", ran.stderr);
        let report = format!("+++ {}\n--- {}\n", known[2], known[0]);
        assert!(ran.stdout.contains(&report), "{}", ran.stdout);
        let updated = fs::read_to_string(&file).expect("readable");
        assert!(updated.contains(&known[2]) && !updated.contains(&known[0]), "{updated}");
        assert_eq!(run_raw(theirs(&["decrypt", &text(&file)]), b""), plain, "{vector}");
        let again = run(ours(&["--config", &text(&config), "updatekeys", "-y", &text(&file)]), b"");
        assert!(again.stderr.contains("already up to date"), "{}", again.stderr);
        assert_eq!(fs::read_to_string(&file).expect("readable"), updated);
        let theirs_says = run(theirs(&["--config", &text(&config), "updatekeys", "-y", &text(&file)]), b"");
        assert!(theirs_says.stderr.contains("already up to date"), "{}", theirs_says.stderr);
    }
}

#[test]
fn updatekeys_follows_the_groups_and_the_threshold_of_the_rule() {
    let known = recipients();
    let folder = scratch::dir("thresholds");
    let rules = |threshold: usize, groups: &[&[&String]]| {
        let group = |keys: &&[&String]| {
            let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            format!("      - age: [{}]\n", keys.join(", "))
        };
        let groups: String = groups.iter().map(group).collect();
        let text = format!("creation_rules:\n  - shamir_threshold: {threshold}\n    key_groups:\n{groups}");
        fs::write(folder.join(".sops.yaml"), text).expect("writes");
    };
    let program = |command: Command, arguments: &[&str]| {
        let mut command = command;
        command.args(arguments).current_dir(&folder);
        command
    };
    let update = || run(program(ours(&[]), &["updatekeys", "-y", "file.yaml"]), b"");
    let [a, b, c] = [&known[0], &known[1], &known[2]];
    rules(3, &[&[a], &[b], &[c]]);
    fs::write(folder.join("file.yaml"), "password: hunter2\n").expect("writes");
    run_ok(program(theirs(&[]), &["encrypt", "-i", "file.yaml"]), b"");
    // The same keys, one share fewer needed: the real one would not see it.
    rules(2, &[&[a], &[b], &[c]]);
    let ran = update();
    assert!(ran.stdout.contains("+++ shamir_threshold: 2\n--- shamir_threshold: 3\n"), "{}", ran.stdout);
    assert!(fs::read_to_string(folder.join("file.yaml")).expect("readable").contains("shamir_threshold: 2"));
    assert!(update().stderr.contains("already up to date"));
    // Keys are compared group by group.
    rules(2, &[&[b], &[a], &[c]]);
    let ran = update();
    let shown =
        format!("shamir_threshold: 2\nGroup 1\n+++ {b}\n--- {a}\nGroup 2\n+++ {a}\n--- {b}\nGroup 3\n    {c}\n");
    assert!(ran.stdout.contains(&shown), "{}", ran.stdout);
    let theirs_says = run(program(theirs(&[]), &["updatekeys", "-y", "file.yaml"]), b"");
    assert!(theirs_says.stderr.contains("already up to date"), "{}", theirs_says.stderr);
    assert_eq!(run_ok(program(theirs(&[]), &["decrypt", "file.yaml"]), b""), "password: hunter2\n");
}

#[test]
fn rules_decide_keys_groups_and_selectors() {
    let known = recipients();
    let folder = scratch::dir("repo");
    let rules = format!(
        "creation_rules:\n  - path_regex: \\.prod\\.yaml$\n    age: {}\n    encrypted_regex: ^secret$\n  - path_regex: ^sub/\n    shamir_threshold: 2\n    key_groups:\n      - age: [{}]\n      - age: [{}]\n",
        known[0], known[1], known[2]
    );
    fs::write(folder.join(".sops.yaml"), rules).expect("writes");
    fs::create_dir(folder.join("sub")).expect("makes");
    fs::write(folder.join("a.prod.yaml"), "secret: x\nclear: z\n").expect("writes");
    fs::write(folder.join("sub/b.yaml"), "secret: x\n").expect("writes");
    fs::write(folder.join("c.yaml"), "secret: x\n").expect("writes");
    for (name, program) in BOTH {
        let mut command = program(&["encrypt", "a.prod.yaml"]);
        command.current_dir(&folder);
        let sealed = run_ok(command, b"");
        assert!(sealed.contains("clear: z\n") && sealed.contains("encrypted_regex: ^secret$"), "{name}: {sealed}");
        let mut command = program(&["encrypt", "sub/b.yaml"]);
        command.current_dir(&folder);
        let sealed = run_ok(command, b"");
        assert!(sealed.contains("shamir_threshold: 2"), "{name}: {sealed}");
        let file = scratch::file("b.yaml", &sealed);
        for (_, opener) in BOTH {
            assert_eq!(run_ok(opener(&["decrypt", &text(&file)]), b""), "secret: x\n");
        }
        let mut command = program(&["encrypt", "c.yaml"]);
        command.current_dir(&folder);
        let ran = run(command, b"");
        assert_eq!(ran.status.code(), Some(1), "{name}");
        assert!(
            ran.stderr.contains("no matching creation rules found") || ran.stderr.contains("no creation rule matches"),
            "{name}: {}",
            ran.stderr
        );
    }
}

#[test]
fn exit_codes_are_those_of_sops() {
    let recipient = recipients().remove(0);
    let yaml = text(&vectors().join("default/yaml/encrypted.yaml"));
    let plain = text(&vectors().join("plain/all.yaml"));
    let tampered = fs::read_to_string(&yaml).expect("readable").replace("stays clear", "changed");
    let tampered = text(&scratch::file("t.yaml", tampered));
    let broken = text(&scratch::file("b.yaml", "a: b: c\n"));
    let list = text(&scratch::file("l.yaml", "- a\n"));
    let stranger = text(&vectors().join("key-stranger.txt"));
    let cases: &[(&[&str], Option<&str>)] = &[
        (&["decrypt", "/no/such/file.yaml"], None),
        (&["decrypt", &plain], None),
        (&["decrypt", &broken], None),
        (&["decrypt", &tampered], None),
        (&["decrypt", "--ignore-mac", &tampered], None),
        (&["decrypt", &yaml], Some(&stranger)),
        (&["decrypt", "--extract", "nope", &yaml], None),
        (&["decrypt", "--extract", r#"["nope"]"#, &yaml], None),
        (&["decrypt", "--output-type", "dotenv", &yaml], None),
        (&["decrypt", "--output-type", "binary", &yaml], None),
        (&["encrypt", "--age", &recipient, &yaml], None),
        (&["encrypt", "--age", &recipient, &list], None),
        (&["encrypt", &plain], None),
        (&["encrypt", "--age", "age1bad", &plain], None),
        (&["encrypt", "--age", &recipient, "--encrypted-regex", "a", "--encrypted-suffix", "b", &plain], None),
        (&["set", &tampered, "x", "1"], None),
        (&["set", &yaml, r#"["x"]"#, "no json"], None),
        (&["filestatus", &plain], None),
        (&["filestatus", &broken], None),
        (&["encrypt", "--age", &recipient, &broken], None),
        (&["rotate", &broken], None),
        (&["set", &broken, r#"["x"]"#, "1"], None),
        (&["updatekeys", "-y", &yaml], None),
        (&["edit", "/no/such/folder/x.yaml"], None),
    ];
    let mut different = Vec::new();
    for (arguments, keys) in cases {
        let ran: Vec<Ran> = BOTH
            .iter()
            .map(|(_, program)| {
                let mut command = program(arguments);
                if let Some(keys) = keys {
                    command.env("SOPS_AGE_KEY_FILE", keys);
                }
                command.current_dir(scratch::dir("empty"));
                run(command, b"")
            })
            .collect();
        let codes = (ran[0].status.code(), ran[1].status.code());
        if codes.0 != codes.1 {
            different.push(format!("{arguments:?}: {codes:?}\n{}\n{}", ran[0].stderr, ran[1].stderr));
        }
        assert!(!ran[1].stderr.contains("p@ss"), "{}", ran[1].stderr);
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_pattern_that_sops_ignores_is_refused() {
    let recipient = recipients().remove(0);
    let plain = text(&vectors().join("plain/all.yaml"));
    let arguments = ["encrypt", "--age", &recipient, "--encrypted-regex", "(", &plain];
    let real = run(theirs(&arguments), b"");
    assert!(real.status.success() && real.stdout.contains("p@ss"), "the reason for this difference is gone");
    let ran = run(ours(&arguments), b"");
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(ran.stdout, "");
}

#[test]
fn streams_standard_input_and_the_old_style() {
    let recipient = recipients().remove(0);
    let sealed = run_ok(ours(&["encrypt", "--age", &recipient, "--filename-override", "x.yaml"]), b"a: secret # c\n");
    assert!(sealed.starts_with("a: ENC["), "{sealed}");
    assert_eq!(run_ok(ours(&["decrypt", "--filename-override", "x.yaml"]), sealed.as_bytes()), "a: secret # c\n");
    let ran = run(ours(&["encrypt", "--age", &recipient]), b"a: secret\n");
    assert_eq!(ran.status.code(), Some(8));
    let to_json = ["decrypt", "--filename-override", "x.yaml", "--output-type", "json"];
    assert_eq!(run_ok(ours(&to_json), sealed.as_bytes()), "{\n\t\"a\": \"secret\"\n}\n");

    let file = scratch::file("old.yaml", "a: 'x'   # kept\n\nb_unencrypted:   y\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("sets");
    let path = text(&file);
    run_ok(ours(&["-e", "-i", "-a", &recipient, &path]), b"");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
    run_ok(ours(&["--set", r#"["a"] "z""#, &path]), b"");
    run_ok(ours(&["-r", "-i", &path]), b"");
    assert_eq!(run_ok(theirs(&["-d", "--extract", r#"["a"]"#, &path]), b""), "z");
    run_ok(ours(&["-d", "-i", &path]), b"");
    let plain = fs::read_to_string(&file).expect("readable");
    assert!(plain.starts_with("a: z   # kept\n\nb_unencrypted:   y\n"), "{plain}");
    assert_eq!(fs::read_dir(file.parent().expect("parent")).expect("lists").count(), 1, "no temporary file is left");
    let latchwork = process::command(process::program());
    let mut latchwork = prepared(latchwork, &["sops", "filestatus", &path]);
    latchwork.current_dir(scratch::dir("empty"));
    assert_eq!(run_ok(latchwork, b""), "{\"encrypted\":false}\n");
}

#[test]
fn editing_and_programs() {
    let file = copy("default/yaml/encrypted.yaml");
    let old = fs::read_to_string(&file).expect("readable");
    let edit = |editor: &str| {
        let mut command = ours(&["edit", &text(&file)]);
        command.env("EDITOR", editor);
        run(command, b"")
    };
    assert_eq!(edit("true").status.code(), Some(200));
    assert_eq!(fs::read_to_string(&file).expect("readable"), old);
    let ran = edit("sed -i 's/goes dark/goes light/'");
    assert!(ran.status.success(), "{}", ran.stderr);
    let new = fs::read_to_string(&file).expect("readable");
    assert_eq!(changed_lines(&old, &new), 3, "{new}");
    assert!(run_ok(theirs(&["decrypt", &text(&file)]), b"").contains("goes light"));
    // An edit that cannot be encrypted leaves the file alone and ends when nobody answers.
    let ran = edit("sed -i '$ a broken: : :'");
    assert!(!ran.status.success());
    assert_eq!(fs::read_to_string(&file).expect("readable"), new);
    assert!(!ran.stderr.contains("goes light"), "{}", ran.stderr);

    let env = copy("default/dotenv/encrypted.env");
    for (name, program) in BOTH {
        let ran = run(program(&["exec-env", &text(&env), "printf %s \"$PASSWORD\"; exit 7"]), b"");
        assert_eq!((ran.stdout.as_str(), ran.status.code()), ("secret value", Some(7)), "{name}: {}", ran.stderr);
        let ran = run(program(&["exec-env", &text(&file), "true"]), b"");
        assert_eq!(ran.status.code(), Some(1), "{name}: nested values");
        let ran = run(program(&["exec-file", &text(&env), "cat {}"]), b"");
        assert!(ran.stdout.contains("PASSWORD=secret value\n"), "{name}: {}", ran.stderr);
        let ran =
            run(program(&["exec-file", "--no-fifo", "--filename", "x.env", &text(&env), "cat {}; basename {}"]), b"");
        assert!(
            ran.stdout.contains("PASSWORD=secret value\n") && ran.stdout.ends_with("x.env\n"),
            "{name}: {}",
            ran.stdout
        );
    }
}

/// Plaintext must not stay where an editor or a command had it, whatever ends the program.
#[tokio::test]
async fn a_signal_leaves_no_plaintext_behind() {
    let folder = scratch::dir("signal");
    let file = folder.join("a.yaml");
    let mut encrypt = ours(&["encrypt", "--age", &recipients()[0], "--filename-override", "a.yaml"]);
    encrypt.current_dir(&folder);
    fs::write(&file, run_ok(encrypt, b"password: canary-of-the-editor\n")).unwrap();
    let before = fs::read(&file).unwrap();
    let file = file.display().to_string();
    // It outlives the program, so it must not hold the pipe on which the program's last words are awaited.
    let waiting = |marker: &Path| {
        format!("/bin/sh -c 'cat \"$0\" >{0}.tmp; mv {0}.tmp {0}; exec sleep 60 >/dev/null 2>&1'", marker.display())
    };
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        for verb in ["edit", "exec-file"] {
            let (temporary, marker) =
                (folder.join(format!("{verb}-{signal}")), folder.join(format!("{verb}-{signal}-seen")));
            fs::create_dir(&temporary).unwrap();
            let mut command = match verb {
                "edit" => ours(&["edit", &file]),
                _ => ours(&["exec-file", "--no-fifo", &file, &format!("{} {{}}", waiting(&marker))]),
            };
            command.env("SOPS_EDITOR", waiting(&marker)).env("TMPDIR", &temporary);
            let running = process::Proc::spawn("sops", command);
            eventually(SOON, "the program to see the plaintext", || async {
                match fs::read_to_string(&marker) {
                    Ok(text) if text.contains("canary-of-the-editor") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            running.signal(signal);
            let status = running.wait().await;
            assert_eq!(status.code(), Some(128 + number), "{verb} {signal}: {}", running.stderr());
            assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{verb} {signal}: something is left");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_change_can_write_another_format() {
    let recipient = recipients().remove(0);
    let changes: [&[&str]; 3] = [
        &["set", "--output-type", "yaml", "F", r#"["b"]"#, r#""same""#],
        &["unset", "--output-type", "yaml", "F", r#"["c"]"#],
        &["rotate", "-i", "--output-type", "yaml", "F"],
    ];
    for (name, program) in BOTH {
        for change in changes {
            let file = scratch::file("x.json", r#"{"a": 2, "b": "same", "c": [1, {"d": null}]}"#);
            let place = text(&file);
            run_ok(program(&["encrypt", "-i", "--age", &recipient, &place]), b"");
            let change: Vec<&str> =
                change.iter().map(|word| if *word == "F" { place.as_str() } else { word }).collect();
            run_ok(program(&change), b"");
            let sealed = fs::read_to_string(&file).expect("reads");
            assert!(sealed.starts_with("a: ENC["), "{name} {change:?}: {sealed}");
            for (opener, program) in BOTH {
                let plain = run_ok(program(&["decrypt", "--input-type", "yaml", "--output-type", "json", &place]), b"");
                let plain: serde_json::Value = serde_json::from_str(&plain).expect("is JSON");
                let rest = if change[0] == "unset" {
                    serde_json::json!({"a": 2, "b": "same"})
                } else {
                    serde_json::json!({"a": 2, "b": "same", "c": [1, {"d": null}]})
                };
                assert_eq!(plain, rest, "{name} {change:?} {opener}");
            }
        }
        let file = scratch::file("x.json", r#"{"b": "same"}"#);
        run_ok(program(&["encrypt", "-i", "--age", &recipient, &text(&file)]), b"");
        let before = fs::read_to_string(&file).expect("reads");
        let same = ["set", "--output-type", "yaml", "--idempotent", &text(&file), r#"["b"]"#, r#""same""#];
        run_ok(program(&same), b"");
        assert_eq!(fs::read_to_string(&file).expect("reads"), before, "{name}");
    }
}

#[test]
fn ini_is_laid_out_as_sops_does() {
    let recipient = recipients().remove(0);
    let yaml = "s:\n  a: 1\n  longer_name: x\n  \"q=r\": y\nt:\n  z: true\n";
    let file = scratch::file("x.yaml", yaml);
    let sealed = run_ok(theirs(&["encrypt", "--age", &recipient, &text(&file)]), b"");
    let sealed = text(&scratch::file("x.yaml", sealed));
    let printed = |program: Program| run_ok(program(&["decrypt", "--output-type", "ini", &sealed]), b"");
    assert_eq!(printed(ours), printed(theirs));
    // The blank line before the block goes with it, whoever wrote the block.
    let plain = scratch::file("x.ini", "[s]\na  = 1\nbc = 2\n\n[t]\nz = 1\n");
    for (name, program) in BOTH {
        let sealed = run_ok(program(&["encrypt", "--age", &recipient, &text(&plain)]), b"");
        let sealed = text(&scratch::file("x.ini", sealed));
        for (opener, open) in BOTH {
            let opened = run_ok(open(&["decrypt", &sealed]), b"");
            assert_eq!(opened, "[s]\na  = 1\nbc = 2\n\n[t]\nz = 1\n", "{name} {opener}");
        }
    }
}

/// Comments are bound to the place where a reader hangs them, and ini.v1 makes one of several.
#[test]
fn sops_opens_every_comment_that_we_encrypt() {
    let age = &recipients()[0];
    for (name, plain) in [
        ("x.ini", "; c1\n\n#c2\n[s]\n; c3\n;; c4\na = 1 ; c5\nb=2 # c6\n\n# c7\nc = 3\n; c8\n; c8\n[t]\nd = 4\n"),
        ("list.yaml", "a:\n- x: 1\n  # c1\n# c2\nb:\n  l:\n  - 1\n  # c3\n  m: 2\n# c4\nc:\n- 1\n  # c5\nd: 2\n"),
        (
            "levels.yaml",
            "d:\n  e:\n    f: 1\n  # c1\n  # c2\nh:\n  - i:\n      j: 1\n    # c3\nk:\n  l:\n    m: 1\n  # c5\n",
        ),
        (
            "groups.yaml",
            "# c0\n\n# c1\na:\n  b:\n    - x: 1\n      # c2\n\n    # c3\n\n  # c4\nd: 1\ne:\n  - # c5\n    f: 1\n     # c6\n\n   # c7\n  - g: 2\n\n # c8\n# c9\n",
        ),
    ] {
        let file = text(&scratch::file(name, plain));
        run_ok(ours(&["encrypt", "-i", "--age", age, &file]), b"");
        assert!(!fs::read_to_string(&file).expect("readable").contains("# c1"), "{name}");
        let shown = run_ok(theirs(&["decrypt", &file]), b"");
        assert!(!shown.contains("ENC["), "{name}: {shown}");
        let comments = |text: &str| {
            let mut all: Vec<String> =
                text.split(['#', ';']).skip(1).map(|it| it.trim().chars().take(2).collect()).collect();
            all.retain(|it| !it.is_empty());
            all.sort();
            all
        };
        assert_eq!(comments(&shown), comments(plain), "{name}: {shown}");
        assert_eq!(run_ok(ours(&["decrypt", &file]), b""), plain, "{name}");
        run_ok(ours(&["rotate", "-i", &file]), b"");
        assert_eq!(run_ok(theirs(&["decrypt", &file]), b""), shown, "{name}");
        assert_eq!(run_ok(ours(&["decrypt", &file]), b""), plain, "{name}");
    }
}

#[test]
fn one_comment_of_an_ini_file_stays_one() {
    let plain = "; above\n[s]\n; c1\n; c2\na = 1 ; c3\nb = 2\n";
    let file = text(&scratch::file("x.ini", plain));
    run_ok(theirs(&["encrypt", "-i", "--age", &recipients()[0], &file]), b"");
    let before = fs::read_to_string(&file).expect("readable");
    run_ok(ours(&["set", &file, r#"["s"]["b"]"#, "\"3\""]), b"");
    let after = fs::read_to_string(&file).expect("readable");
    assert!(changed_lines(&before, &after) <= 3, "{after}");
    let expected = "; above\n[s]\n; c1\n; c2\n; c3\na = 1\nb = 3\n";
    for program in [ours, theirs] {
        assert_eq!(run_ok(program(&["decrypt", &file]), b""), expected);
    }
}

/// What is added or taken away where a careless splice would be another file for sops.
#[test]
fn odd_places_are_set_and_unset_as_sops_does() {
    let age = &recipients()[0];
    for (plain, verb, path, value, expected) in [
        ("m:\n  a: 1\n  b:\n    # c\n    x\n", "unset", r#"["m"]["a"]"#, None, "m:\n  b:\n    x\n"),
        ("l:\n- {a: 1}\nz: 1\n", "unset", r#"["l"][0]"#, None, "l: []\nz: 1\n"),
        ("l:\n- {a: 1}\nz: 1\n", "set", r#"["l"][1]"#, Some("2"), "l:\n- {a: 1}\n- 2\nz: 1\n"),
        ("a: {b: c, d: }\n", "set", r#"["a"]["e"]"#, Some("2"), "a: {b: c, d: null, e: 2}\n"),
        ("a: x  \nb: y\n", "set", r#"["a"]"#, Some(r#""l1\nl2\n""#), "a: \"l1\\nl2\\n\"\nb: y\n"),
        ("a: \"l1\\nl2\\n\"  \nb: y\n", "set", r#"["b"]"#, Some("1"), "a: \"l1\\nl2\\n\"\nb: 1\n"),
        ("? a\n: - 1\n? b\n: 2\n", "set", r#"["a"]"#, Some("3"), "a: 3\nb: 2\n"),
        ("{a: 1, b: }\n", "set", r#"["a"]"#, Some("2"), "{a: 2, b: null}\n"),
    ] {
        let file = text(&scratch::file("x.yaml", plain));
        run_ok(ours(&["encrypt", "-i", "--age", age, &file]), b"");
        let arguments: Vec<&str> = [verb, &file, path].into_iter().chain(value).collect();
        run_ok(ours(&arguments), b"");
        for program in [ours, theirs] {
            let shown = run_ok(program(&["decrypt", &file]), b"");
            assert_eq!(
                values(shown.as_bytes(), Format::Yaml),
                values(expected.as_bytes(), Format::Yaml),
                "{plain:?} {verb} {path}: {shown}"
            );
        }
    }
    // A colon before a comma is text to yaml.v3.
    let file = text(&scratch::file("x.yaml", "a: [secret:, y]\n"));
    run_ok(ours(&["encrypt", "-i", "--age", age, &file]), b"");
    assert!(!fs::read_to_string(&file).expect("readable").contains("secret"));
    for program in [ours, theirs] {
        assert_eq!(run_ok(program(&["decrypt", "--extract", r#"["a"][0]"#, &file]), b"").trim(), "secret:");
    }
    // What no sops could read, and what has no place, is refused with the reason.
    let file = text(&scratch::file("x.yaml", "a:\n  <<: {b: 1}\nc: [d: 1]\n"));
    run_ok(ours(&["encrypt", "-i", "--age", age, &file]), b"");
    for (path, reason) in [(r#"["a"]["<<"]"#, "merge key"), (r#"["c"][0]["e"]"#, "pair without braces")] {
        let out = run(ours(&["set", &file, path, "1"]), b"");
        assert!(!out.status.success());
        assert!(out.stderr.contains(reason), "{}", out.stderr);
    }
    // A document behind `...` without a marker is one that sops does not read.
    let file = text(&scratch::file("x.yaml", "a: 1\n...\nb: 2\n"));
    for program in [ours, theirs] {
        assert_eq!(run(program(&["encrypt", "--age", age, &file]), b"").status.code(), Some(2));
    }
}

#[test]
fn what_is_decrypted_ends_in_a_line_break() {
    let recipient = recipients().remove(0);
    for (file, plain) in [
        ("x.yaml", "a: 2024-01-01T00:00:00Z\nb: text"),
        ("x.env", "A=1\nB=2"),
        ("x.ini", "[s]\na = 1"),
        ("x.json", "{\n\t\"a\": 1\n}"),
    ] {
        let place = scratch::file(file, plain);
        for (name, program) in BOTH {
            let sealed = run_ok(program(&["encrypt", "--age", &recipient, &text(&place)]), b"");
            let sealed = text(&scratch::file(file, sealed));
            let printed = BOTH.map(|(_, opener)| run_ok(opener(&["decrypt", &sealed]), b""));
            assert_eq!(printed[0], printed[1], "{file} by {name}");
            assert_eq!(printed[1], format!("{plain}\n"));
        }
    }
    // The line break that is added is none of the value.
    let place = text(&scratch::file("x.yaml", "a: |\n    text"));
    let sealed = text(&scratch::file("x.yaml", run_ok(ours(&["encrypt", "--age", &recipient, &place]), b"")));
    assert_eq!(run_ok(ours(&["decrypt", &sealed]), b""), "a: text\n");
}

#[test]
fn a_rule_without_keys_is_an_empty_group() {
    let folder = scratch::dir("repo");
    let rules = "creation_rules:\n  - path_regex: a\\.yaml$\n  - path_regex: b\\.yaml$\n    key_groups: []\n  - key_groups: [{}]\n";
    fs::write(folder.join(".sops.yaml"), rules).expect("writes");
    for file in ["a.yaml", "b.yaml", "c.yaml"] {
        fs::write(folder.join(file), "x: y\n").expect("writes");
        let said = BOTH.map(|(_, program)| {
            let mut command = program(&["encrypt", file]);
            command.current_dir(&folder);
            let ran = run(command, b"");
            (ran.status.code(), ran.stderr)
        });
        assert_eq!(said[0], said[1], "{file}");
    }
}

#[test]
fn an_empty_path_of_extract_is_the_whole_file_and_usage_lines_name_the_program_once() {
    let file = text(&vectors().join("default/yaml/encrypted.yaml"));
    for (label, program) in BOTH {
        let whole = run_ok(program(&["decrypt", &file]), b"");
        assert_eq!(run_ok(program(&["decrypt", "--extract", "", &file]), b""), whole, "{label}");
        let help = run_ok(program(&["groups", "--help"]), b"");
        assert!(help.contains("sops groups") && !help.contains("sops sops"), "{label}: {help}");
    }
}

#[test]
fn binary_files_are_indented_as_the_rules_or_the_flag_say() {
    let lines = |program: Program, rules: &str, flags: &[&str]| -> Vec<String> {
        let folder = scratch::dir("indent");
        let config = folder.join(".sops.yaml");
        fs::write(&config, rules).unwrap();
        fs::write(folder.join("key.bin"), "hello").unwrap();
        let mut encrypt = program(&[flags, &["encrypt", "--in-place", "--age", &recipients()[0], "key.bin"]].concat());
        run_ok(
            {
                encrypt.current_dir(&folder);
                encrypt
            },
            b"",
        );
        let sealed = fs::read_to_string(folder.join("key.bin")).unwrap();
        // The order of the fields in the block is not compared, and their values are new each time.
        let mut lines: Vec<String> =
            sealed.lines().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
        lines.sort();
        lines
    };
    for (rules, flags) in [
        ("", &[][..]),
        ("stores: {json: {indent: 6}}\n", &[]),
        ("stores: {json_binary: {indent: 3}}\n", &[]),
        ("stores: {json_binary: {indent: 0}, json: {indent: 5}}\n", &[]),
        ("stores: {json_binary: {indent: 3}}\n", &["--indent", "2"]),
    ] {
        // With a rule that applies and without any.
        for rules in [format!("creation_rules: [{{age: {}}}]\n{rules}", recipients()[0]), rules.to_owned()] {
            assert_eq!(lines(ours, &rules, flags), lines(theirs, &rules, flags), "{rules} {flags:?}");
        }
    }
}
