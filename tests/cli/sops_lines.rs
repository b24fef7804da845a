//! Command lines beside the real sops: the same exit code, and afterwards the same plaintext on standard output and in
//! every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::sops::{Program, ours, recipients, text, theirs};
use crate::rig::process::{run, run_ok};
use crate::rig::scratch;

const PLAIN: &str = "a: hello\nb:\n    c: 1\n    z: null\n";

/// Maps and texts at columns that are no multiple of the indentation.
const DEEP: &str = "a:\n    l:\n        - x\n        - k: 1\n          m:\n            z: |\n                a\n                b\n        - - - q: {r: 1}\n";

/// Texts and names that need quotes in YAML, or seem to.
const TEXTS: &str = r##"{
    "l": ["", " x", "x ", "-x", "- x", "-", "--flag=1", "---x", "...", "?x", "? x", ":x", "x:", "x: y", "x:y", "x #y",
        "x#y", "[x", "{{ x }}", "&x", "*x", "!x", "|x", ">x", "'x", "\"x", "it's: so", "%x", "@x", "`x", "=x", "<x", "~x",
        "~", "yEs", "YES", "y", "off", "nan", ".nan", "nULL", "Null", "0755", "1_000", "12:30", "1:99", "555-1234",
        "2024-01-01", "1e400", "1.2.3", ".5_0", ".5__0", "\t", "x\ty", "é", "\u007f", "\u0085", "\ufeff",
        "\u0000\u0007\u001b", "x\ny", "x\ny\n", "x\n y", "x \ny", "x\r\ny", "a\\b", "a\\b: c", "1 000", "a, b"],
    "-x": {"x: y": 1, "x,y": 2, "#x": 3, "yes": 4, "'": {"? x": [{"~": {"a ": "b\nc"}}]}}
}"##;

/// The files that every command line finds, sealed once by the real sops.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let age = recipients().remove(0);
    let sealed = |name: &str, plain: &str| {
        let file = scratch::file(name, plain);
        run_ok(theirs(&["encrypt", "--age", &age, &text(&file)]), b"").into_bytes()
    };
    BTreeMap::from([
        ("f.yaml", sealed("f.yaml", PLAIN)),
        ("f.json", sealed("f.json", "{\"a\": \"hello\"}\n")),
        ("f.env", sealed("f.env", "A=1\n")),
        ("f.ini", sealed("f.ini", "[s]\nk = v\n")),
        ("f.bin", sealed("f.bin", "text")),
        ("comments.ini", sealed("comments.ini", "; c\n[s]\n# d\na = 1 ; e\n")),
        ("m.yaml", sealed("m.yaml", "a: 1\n---\nb: 2\n")),
        ("one.yaml", sealed("one.yaml", "# c\na: 1\n")),
        ("n.yaml", sealed("n.yaml", "big: 1e30\nwhole: 5.0\nt: true\n")),
        ("deep.yaml", sealed("deep.yaml", DEEP)),
        ("texts.json", sealed("texts.json", TEXTS)),
        ("p.yaml", PLAIN.into()),
        ("p.bin", b"text".to_vec()),
        ("null.yaml", b"~\n".to_vec()),
        ("empty.yaml", vec![]),
        (
            "no-keys.yaml",
            b"a: 1\nsops:\n  mac: x\n  version: 3.9.0\n  lastmodified: \"2024-01-01T00:00:00Z\"\n".to_vec(),
        ),
        ("rules/-2.yaml", indented("-2")),
        ("rules/-1.yaml", indented("-1")),
        ("rules/0.yaml", indented("0")),
        ("rules/1.yaml", indented("1")),
        ("rules/3.yaml", indented("3")),
        ("rules/10.yaml", indented("10")),
        ("rules/broken.yaml", b"creation_rules: 5\n".to_vec()),
        ("rules/more.yaml", format!("creation_rules: [{{age: '{age},{}'}}]\n", recipients().remove(1)).into()),
        ("rules/unmatched.yaml", format!("creation_rules:\n  - {{path_regex: zzz, age: {age}}}\n").into()),
        ("rules/merged.yaml", format!("x: &x\n  age: {age}\ncreation_rules:\n  - <<: *x\n").into()),
    ])
}

/// Rules that say nothing but an indentation.
fn indented(width: &str) -> Vec<u8> {
    format!("stores: {{yaml: {{indent: {width}}}, json: {{indent: {width}}}, json_binary: {{indent: {width}}}}}\n")
        .into()
}

/// What is read where something was sealed: its plaintext by the real sops; else the bytes as they are.
fn read(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    if !shown.contains("ENC[AES256_GCM") && !shown.contains("sops") {
        return shown;
    }
    let kind = match shown.trim_start() {
        // Another selector is written when there is nothing to select from.
        json if json.starts_with('{') => "json",
        env if env.contains("sops_mac=") => "dotenv",
        ini if ini.contains("[sops]") => "ini",
        _ => "yaml",
    };
    let ran = run(theirs(&["decrypt", "--input-type", kind, "--output-type", kind, "/dev/stdin"]), bytes);
    if ran.status.success() { format!("{kind}\n{}", ran.stdout) } else { shown }
}

/// Status, standard output, and what became of the files.
fn outcome(program: Program, arguments: &[&str], stdin: &str) -> (Option<i32>, String, BTreeMap<String, String>) {
    let folder = scratch::dir("line");
    let before = files_once();
    for (name, bytes) in before {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        fs::write(path, bytes).expect("writes");
    }
    let mut command = program(arguments);
    command.current_dir(&folder).env("EDITOR", "false");
    let ran = run(command, stdin.as_bytes());
    let mut after = BTreeMap::new();
    collect(&folder, &folder, &mut after);
    after.retain(|name, bytes| before.get(name.as_str()) != Some(&*bytes));
    let after = after.into_iter().map(|(name, bytes)| (name, read(&bytes))).collect();
    // The help after a flag that is none is each program's own.
    let printed = if ran.stdout.contains("USAGE") { String::new() } else { read(ran.stdout.as_bytes()) };
    (ran.status.code(), printed, after)
}

fn files_once() -> &'static BTreeMap<&'static str, Vec<u8>> {
    static FILES: std::sync::OnceLock<BTreeMap<&'static str, Vec<u8>>> = std::sync::OnceLock::new();
    FILES.get_or_init(files)
}

fn collect(root: &Path, folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            into.insert(text(path.strip_prefix(root).expect("below")), fs::read(&path).expect("reads"));
        }
    }
}

fn agree(lines: &[(&[&str], &str)]) {
    for (arguments, stdin) in lines {
        let (theirs, ours) = (outcome(theirs, arguments, stdin), outcome(ours, arguments, stdin));
        assert_eq!(theirs, ours, "sops (left) and latchwork (right): {arguments:?}");
    }
}

#[test]
fn flags_are_spelt_as_go_spells_them() {
    agree(&[
        (&["-decrypt", "f.yaml"], ""),
        (&["--d", "f.yaml"], ""),
        (&["--decrypt=true", "f.yaml"], ""),
        (&["--decrypt=maybe", "f.yaml"], ""),
        (&["-d=T", "-i=false", "f.yaml"], ""),
        (&["-d", "-in-place", "f.yaml"], ""),
        (&["-d", "-output-type", "json", "f.yaml"], ""),
        (&["decrypt", "-output-type=json", "f.yaml"], ""),
        (&["decrypt", "--in-place=true", "f.yaml"], ""),
        (&["decrypt", "--ignore-mac=0", "f.yaml"], ""),
        (&["decrypt", "--enable-local-keyservice=false", "f.yaml"], ""),
        (&["decrypt", "-enable-local-keyservice", "f.yaml"], ""),
        (&["decrypt", "--extract", "", "f.yaml"], ""),
        (&["decrypt", "--", "f.yaml"], ""),
        (&["decrypt", "f.yaml", "--output-type", "json"], ""),
        (&["decrypt", "f.yaml", "f.json"], ""),
        (&["-d", "f.yaml", "f.json"], ""),
        (&["filestatus", "f.yaml", "f.json"], ""),
        (&["set", "f.yaml", "[\"a\"]", "-5"], ""),
        (&["set", "f.yaml", "[\"a\"]", "-0.5"], ""),
        (&["set", "f.yaml", "[\"a\"]", "-x"], ""),
        (&["--output-type", "json", "decrypt", "f.yaml"], ""),
        (&["decrypt", "--nope", "f.yaml"], ""),
        (&["-Z", "f.yaml"], ""),
        (&["decrypt", "--version", "f.yaml"], ""),
        (&["decrypt", "-v", "f.yaml"], ""),
        (&["decrypt", "f.yaml", "--version"], ""),
        (&["filestatus", "--version=false", "f.yaml"], ""),
        (&["--version=false", "decrypt", "f.yaml"], ""),
    ]);
}

#[test]
fn the_version_is_that_of_the_program() {
    for line in [&["--version"][..], &["-v", "decrypt", "f.yaml"], &["--version", "decrypt"]] {
        let (status, printed, changed) = outcome(ours, line, "");
        assert!(printed.starts_with("sops 3.13.3 (latchwork "), "{line:?}: {printed}");
        assert_eq!((status, changed), (Some(0), BTreeMap::new()), "{line:?}");
    }
}

#[test]
fn what_is_missing_has_the_exit_code_that_it_has_there() {
    let age = recipients().remove(1);
    agree(&[
        (&[], ""),
        (&["-d"], ""),
        (&["-d", "none.yaml"], ""),
        (&["-r", "none.yaml"], ""),
        (&["-r", "--add-age", &age, "none.yaml"], ""),
        (&["--set", "[\"a\"] 1", "none.yaml"], ""),
        (&["decrypt", "none.yaml"], ""),
        (&["rotate"], ""),
        (&["rotate", "none.yaml"], ""),
        (&["rotate", "--add-age", &age, "none.yaml"], ""),
        (&["edit"], ""),
        (&["edit", "f.yaml"], ""),
        (&["set"], ""),
        (&["set", "f.yaml", "[\"a\"]"], ""),
        (&["set", "f.yaml", "[\"a\"]", "1", "2"], ""),
        (&["set", "--value-stdin", "f.yaml", "[\"a\"]", "1"], "1"),
        (&["set", "--value-file", "--value-stdin", "f.yaml", "[\"a\"]"], "1"),
        (&["set", "--value-file", "f.yaml", "[\"a\"]", "none"], ""),
        (&["set", "none.yaml", "[\"a\"]", "1"], ""),
        (&["unset"], ""),
        (&["unset", "f.yaml"], ""),
        (&["unset", "none.yaml", "[\"a\"]"], ""),
        (&["filestatus"], ""),
        (&["filestatus", "none.yaml"], ""),
        (&["updatekeys", "f.yaml"], ""),
        (&["exec-env", "f.yaml"], ""),
        (&["exec-env", "none.yaml", "true"], ""),
        (&["exec-file", "f.yaml"], ""),
        (&["exec-file", "none.yaml", "true"], ""),
        (&["groups", "add", "-f", "none.yaml", "--age", &age], ""),
        (&["groups", "delete", "-f", "f.yaml"], ""),
        (&["encrypt", "--age", &age, "empty.yaml"], ""),
        (&["encrypt", "--age", &age, "--encryption-context", "nonsense", "p.yaml"], ""),
        (&["decrypt", "no-keys.yaml"], ""),
        (&["publish"], ""),
        (&["publish", "--recursive"], ""),
        (&["--config", "rules/broken.yaml", "publish"], ""),
        (&["updatekeys", "-y"], ""),
        (&["--config", "rules/broken.yaml", "updatekeys"], ""),
        (&["groups", "add", "-f", "", "--age", &age], ""),
        (&["groups", "delete", "--file=", "0"], ""),
        (&["completion", "nosuch"], ""),
        (&["decrypt", "--output", "", "f.yaml"], ""),
        (&["-d", "--output=", "f.yaml"], ""),
    ]);
}

#[test]
fn standard_input_and_types_are_what_they_are_there() {
    let age = recipients().remove(0);
    let sealed = |name: &str| String::from_utf8(files_once()[name].clone()).expect("text");
    let (yaml, json, bin) = (sealed("f.yaml"), sealed("f.json"), sealed("f.bin"));
    agree(&[
        (&["decrypt"], &bin),
        (&["decrypt"], &yaml),
        (&["decrypt"], ""),
        (&["decrypt", "--output-type", "json"], &json),
        (&["decrypt", "--filename-override", "x.json", "--input-type", "yaml"], &yaml),
        (&["decrypt", "-i"], &yaml),
        (&["encrypt", "--age", &age], PLAIN),
        (&["encrypt", "--age", &age, "--filename-override", "x.json", "--input-type", "yaml"], PLAIN),
        (&["encrypt", "--age", &age, "--output-type", "binary", "p.yaml"], ""),
        (&["encrypt", "--age", &age, "--output-type", "json", "p.bin"], ""),
        (&["encrypt", "--age", &age, "--input-type", "yaml", "--output-type", "dotenv", "p.bin"], "sops_x: 1\n"),
        (&["encrypt", "--age", &age, "--input-type", "yaml", "--output-type", "dotenv", "/dev/stdin"], "sops_x: 1\n"),
        (&["encrypt", "--age", &age, "--filename-override", "x.yaml"], "\n"),
        (&["encrypt", "--age", &age, "--filename-override", "x.yaml"], "a:\n  b: 1\n\t\nc: 2\n"),
        (&["encrypt", "--age", &age, "--filename-override", "x.yaml"], "\ta: 1\n"),
        (&["encrypt", "--age", &age, "--filename-override", "x.yaml"], "a:\t1\t# c\n   \t\nb: 2\n"),
        (&["encrypt", "--age", &age, "null.yaml"], ""),
        (&["decrypt", "comments.ini"], ""),
        (&["encrypt", "--age", &age, "--input-type", "ini", "--output-type", "yaml", "/dev/stdin"], "[s]\nk = v\n"),
        (&["--indent", "2", "decrypt", "f.yaml"], ""),
        (&["--indent", "3", "-d", "f.json"], ""),
        (&["--indent", "0", "decrypt", "deep.yaml"], ""),
        (&["--indent", "1", "decrypt", "deep.yaml"], ""),
        (&["--indent", "3", "decrypt", "deep.yaml"], ""),
        (&["--indent", "9", "decrypt", "deep.yaml"], ""),
        (&["--indent", "10", "decrypt", "deep.yaml"], ""),
        (&["--indent", "-1", "decrypt", "deep.yaml"], ""),
        (&["--indent", "-1", "decrypt", "f.json"], ""),
        (&["--indent", "-2", "decrypt", "f.json"], ""),
        (&["--indent=0", "decrypt", "--output-type", "json", "deep.yaml"], ""),
        (&["decrypt", "--output-type", "dotenv", "n.yaml"], ""),
        (&["exec-env", "n.yaml", "echo $big $whole $t"], ""),
    ]);
}

#[test]
fn rules_that_cannot_be_read_stop_what_they_stop_there() {
    let age = recipients().remove(0);
    let mut lines: Vec<Vec<&str>> = vec![];
    for rules in ["rules/broken.yaml", "rules/none.yaml", "rules"] {
        for line in [
            &["decrypt", "f.yaml"][..],
            &["rotate", "f.yaml"],
            &["set", "f.yaml", "[\"a\"]", "1"],
            &["filestatus", "f.yaml"],
            &["exec-env", "f.yaml", "true"],
        ] {
            lines.push([&["--config", rules][..], line].concat());
        }
    }
    for rules in ["rules/unmatched.yaml", "rules/merged.yaml"] {
        lines.push(vec!["--config", rules, "encrypt", "p.yaml"]);
        lines.push(vec!["--config", rules, "encrypt", "--age", &age, "p.yaml"]);
        lines.push(vec!["--config", rules, "decrypt", "f.yaml"]);
        lines.push(vec!["--config", rules, "-d", "f.yaml"]);
        lines.push(vec!["--config", rules, "-r", "f.yaml"]);
    }
    lines.push(vec!["--config", "rules/merged.yaml", "updatekeys", "-y", "f.yaml"]);
    let lines: Vec<(&[&str], &str)> = lines.iter().map(|line| (line.as_slice(), "")).collect();
    agree(&lines);
    for (name, program) in super::sops::BOTH {
        let mut command = program(&["decrypt", &text(&scratch::file("f.yaml", &files_once()["f.yaml"]))]);
        command.env("SOPS_CONFIG", "").env("SOPS_DECRYPTION_ORDER", "").env("SOPS_KEYSERVICE", "");
        assert_eq!(run_ok(command, b""), PLAIN, "{name}: an empty variable is none");
    }
}

#[test]
fn an_indentation_of_the_rules_counts_for_what_is_decrypted_and_printed_anew() {
    let mut lines: Vec<Vec<&str>> = vec![];
    for name in ["rules/-2.yaml", "rules/-1.yaml", "rules/0.yaml", "rules/1.yaml", "rules/3.yaml", "rules/10.yaml"] {
        for line in [
            &["decrypt", "deep.yaml"][..],
            &["decrypt", "f.json"],
            &["decrypt", "--output-type", "json", "deep.yaml"],
            &["decrypt", "--output-type", "yaml", "f.json"],
            &["--indent", "2", "decrypt", "deep.yaml"],
            &["decrypt", "f.bin"],
            &["exec-file", "--no-fifo", "deep.yaml", "cat {}"],
        ] {
            lines.push([&["--config", name][..], line].concat());
        }
    }
    let lines: Vec<(&[&str], &str)> = lines.iter().map(|line| (line.as_slice(), "")).collect();
    agree(&lines);
}

#[test]
fn texts_have_the_quotes_that_they_have_there() {
    agree(&[
        (&["decrypt", "--output-type", "yaml", "texts.json"], ""),
        (&["--indent", "3", "decrypt", "--output-type", "yaml", "texts.json"], ""),
    ]);
}

#[test]
fn groups_end_and_keep_their_threshold_as_there() {
    let known = recipients();
    let age = known[1].as_str();
    agree(&[
        (&["groups", "bogus"], ""),
        (&["groups", "add"], ""),
        (&["groups", "add", "f.yaml", "--age", age], ""),
        (&["groups", "delete"], ""),
        (&["groups", "delete", "0"], ""),
        (&["groups", "delete", "-f", "none.yaml", "0"], ""),
        (&["groups", "delete", "-f", "f.yaml", "0", "1"], ""),
        (&["groups", "delete", "-f", "f.yaml", "x"], ""),
        (&["groups", "add", "-f", "p.yaml", "--age", age], ""),
        (&["groups", "add", "-f", "f.yaml", "--age", age, "--enable-local-keyservice=false"], ""),
        (&["groups", "delete", "-f", "f.yaml", "0", "--enable-local-keyservice=false"], ""),
        (&["rotate", "--rm-age", "age1mistyped", "f.yaml"], ""),
        (&["rotate", "--rm-age", age, "f.yaml"], ""),
    ]);
    let alone = run(ours(&["groups"]), b"");
    assert!(alone.status.success() && alone.stdout.contains("delete") && alone.stderr.is_empty(), "{}", alone.stdout);
    assert!(run(theirs(&["groups"]), b"").status.success());

    // A threshold of 0 is none: that of the file or of its rule stays.
    let group = |key: &String| format!("      - age: [{key}]\n");
    let groups: String = known.iter().take(3).map(group).collect();
    let rules = format!("creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n{groups}");
    let threshold = |text: &str| text.lines().find(|line| line.contains("shamir_threshold")).map(str::to_owned);
    let zero = "--shamir-secret-sharing-threshold=0";
    for (label, program) in super::sops::BOTH {
        let folder = scratch::dir("threshold");
        fs::write(folder.join(".sops.yaml"), &rules).expect("writes");
        fs::write(folder.join("p.yaml"), PLAIN).expect("writes");
        let ok = |arguments: &[&str]| {
            let mut command = program(arguments);
            command.current_dir(&folder);
            run_ok(command, b"")
        };
        let two = Some("    shamir_threshold: 2".to_owned());
        let sealed = ok(&["encrypt", zero, "p.yaml"]);
        assert_eq!(threshold(&sealed), two, "{label}");
        fs::write(folder.join("f.yaml"), sealed).expect("writes");
        assert_eq!(threshold(&ok(&["groups", "add", "-f", "f.yaml", "--age", age, zero])), two, "{label}");
        assert_eq!(threshold(&ok(&["groups", "delete", "-f", "f.yaml", "0", zero])), two, "{label}");
    }
}

#[test]
fn values_and_paths_are_taken_as_there() {
    agree(&[
        (&["set", "f.yaml", "[\"b\"][\"z\"][\"x\"]", "\"v\""], ""),
        (&["set", "f.yaml", "[\"b\"][\"z\"][0]", "1.5"], ""),
        (&["set", "f.ini", "[\"top\"]", "\"v\""], ""),
        (&["set", "f.env", "[\"A\"]", "{\"b\": 1}"], ""),
        (&["set", "f.env", "[\"A\"]", "1e30"], ""),
        (&["unset", "--idempotent", "f.yaml", "[0]"], ""),
        (&["unset", "f.yaml", "a"], ""),
        (&["unset", "one.yaml", "[\"a\"]"], ""),
        (&["unset", "m.yaml", "[\"a\"]"], ""),
        (&["unset", "f.json", "[\"a\"]"], ""),
        (&["set", "f.env", "[\"A\"]", "[1]"], ""),
        (&["set", "f.ini", "[\"s\"]", "[]"], ""),
        (&["set", "f.bin", "[\"data\"]", "[\"x\"]"], ""),
        (&["decrypt", "--extract", "[\"q'] ", "f.yaml"], ""),
        (&["decrypt", "--extract", "[\"q']", "f.yaml"], ""),
        (&["decrypt", "--extract", "[\"a\" ]", "f.yaml"], ""),
        (&["decrypt", "--extract", "[\"a\"", "f.yaml"], ""),
        (&["decrypt", "--extract", "[\"b\"][1x]", "f.yaml"], ""),
    ]);
    // Where the real one writes what no sops reads again.
    for (line, status) in [
        (["set", "f.ini", "[\"s\"][\"k\"]", "{\"a\": 1}"], 4),
        (["set", "f.env", "[\"A\"]", "null"], 4),
        (["set", "f.bin", "[\"data\"]", "{\"a\": 1}"], 4),
        (["set", "f.yaml", "[\"a\"]", "{\"x\": 1, \"x\": 2}"], 7),
    ] {
        assert_eq!(outcome(ours, &line, ""), (Some(status), String::new(), BTreeMap::new()), "{line:?}");
    }
}

#[test]
fn names_and_texts_that_need_quotes_are_set_as_there() {
    let text = r#""x\ny;z""#;
    agree(&[
        (&["set", "f.ini", r#"["s"]["new"]"#, text], ""),
        (&["set", "f.ini", r#"["t"]["new"]"#, text], ""),
        (&["set", "f.ini", r#"["s"]["new"]"#, "\" x \""], ""),
        (&["set", "f.ini", r#"["s"]["a:b=c"]"#, "\"v\""], ""),
        (&["set", "f.ini", r#"["DEFAULT"]["k"]"#, "\"v\""], ""),
        (&["set", "f.env", r#"["B"]"#, text], ""),
        (&["--set", "[\"a\"] \"v\"", "--output-type", "json", "f.yaml"], ""),
        (&["--set", "", "f.yaml"], ""),
        (&["exec-file", "--filename", "", "f.yaml", "cat {}"], ""),
    ]);
    // What no quotes can hold is not written; the real one writes it and reads something else.
    for line in [
        ["set", "f.ini", r#"["s"][" k"]"#, "\"v\""],
        ["set", "f.ini", r#"["s"]["-"]"#, "\"v\""],
        ["set", "f.env", r#"["a=b"]"#, "\"v\""],
        ["set", "f.env", r#"["B"]"#, r#""C:\\new""#],
    ] {
        assert_eq!(outcome(ours, &line, ""), (Some(4), String::new(), BTreeMap::new()), "{line:?}");
    }
}

#[test]
fn updatekeys_asks_until_there_is_an_answer() {
    let line: &[&str] = &["--config", "rules/more.yaml", "updatekeys", "f.yaml"];
    agree(&[(line, ""), (line, "\n"), (line, "n\n"), (line, "x\ny\n"), (line, "yes\nn\n"), (line, "Y\n")]);
}

#[test]
fn fields_of_the_rules_have_the_types_that_they_have_there() {
    let age = recipients().remove(0);
    let publish = "vault_path: x/, vault_address: 'http://127.0.0.1:1'";
    let rules = |field: &str, value: &str| match field {
        "creation_rules" | "destination_rules" | "stores" => format!("{field}: {value}\n"),
        _ => format!("creation_rules: [{{age: {age}, {field}: {value}}}]\n"),
    };
    let mut files: Vec<String> = vec![];
    for (fields, values) in [
        (&["creation_rules", "destination_rules"][..], &["x", "''", "5", "{a: b}", "[x]", "[[]]", "null", "[]"][..]),
        (
            &["stores"],
            &["x", "[]", "{yaml: x}", "{yaml: {indent: '2'}}", "{json: {indent: 2.5}}", "{dotenv: x}", "{x: y}"],
        ),
        (&["path_regex", "aws_profile"], &["5", "[x]", "{}", "null"]),
        (&["mac_only_encrypted"], &["yes", "'true'", "1", "''", "[true]"]),
        (&["shamir_threshold"], &["'0'", "0.5", "true", "[0]", "null"]),
        (
            &["key_groups"],
            &["x", "''", "[x]", "[null]", "[{age: x}]", "[{kms: [x]}]", "[{kms: [{arn: [x]}]}]", "[{merge: {}}]"],
        ),
        (&["hckms"], &["x", "''", "[[]]"]),
        (&["kms", "gcp_kms"], &["5", "{}", "[5]", "[null]"]),
        (&["Age", "unknown"], &["[x]", "{a: [x]}"]),
    ] {
        files.extend(fields.iter().flat_map(|field| values.iter().map(|value| rules(field, value))));
    }
    files.push(format!("creation_rules: [{{age: {age}, age: {age}}}]\n"));
    let valid = |text: &str| format!("creation_rules: [{{age: {age}}}]\ndestination_rules: [{{{text}}}]\n");
    files.extend(
        [
            "s3_bucket: [x]",
            "vault_kv_version: '1'",
            "vault_kv_version: 1.5",
            "omit_extensions: 1",
            "omit_extensions: on",
        ]
        .into_iter()
        .chain(["recreation_rule: x", "recreation_rule: {age: [x], shamir_threshold: x}", "gcs_prefix: {}", "x: [y]"])
        .map(|text| valid(&format!("{publish}, {text}"))),
    );
    for rules in files {
        for line in [&["encrypt", "p.yaml"][..], &["decrypt", "f.yaml"], &["publish", "-y", "f.yaml"]] {
            let [theirs, ours] = super::sops::BOTH.map(|(_, program)| {
                let folder = scratch::dir("types");
                fs::write(folder.join(".sops.yaml"), &rules).expect("writes");
                for name in ["p.yaml", "f.yaml"] {
                    fs::write(folder.join(name), &files_once()[name]).expect("writes");
                }
                let mut command = program(line);
                command.current_dir(&folder).env("VAULT_TOKEN", "t").env("VAULT_MAX_RETRIES", "0");
                let ran = run(command, b"");
                // Nobody is at the address, so a rule that was taken ends there.
                (ran.status.code(), line[0] == "publish" && ran.stderr.contains("127.0.0.1:1"))
            });
            assert_eq!(theirs, ours, "sops (left) and latchwork (right): {line:?} {rules}");
        }
    }
}

#[test]
fn an_editor_that_leaves_nothing_changes_nothing() {
    let file = scratch::file("f.yaml", &files_once()["f.yaml"]);
    let ran = edit(&["edit"], &text(&file), "d");
    assert_eq!(ran.status.code(), Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("the file is empty"), "{}", ran.stderr);
    assert_eq!(fs::read(&file).expect("reads"), files_once()["f.yaml"]);
}

#[test]
fn an_emptied_file_keeps_its_style() {
    let one = scratch::file("one.yaml", &files_once()["one.yaml"]);
    let path = text(&one);
    run_ok(ours(&["unset", &path, "[\"a\"]"]), b"");
    let emptied = fs::read_to_string(&one).expect("reads");
    assert!(emptied.contains("\nsops:\n    age:\n") && !emptied.contains('{'), "{emptied}");
    run_ok(ours(&["set", &path, "[\"b\"][\"c\"]", "1"]), b"");
    assert_eq!(run_ok(ours(&["decrypt", &path]), b""), "# c\nb:\n    c: 1\n");
    assert_eq!(run_ok(theirs(&["decrypt", &path]), b""), "# c\nb:\n    c: 1\n");
}

/// An editor that is a line of `sed`.
fn edit(arguments: &[&str], file: &str, script: &str) -> crate::rig::process::Ran {
    let mut command = ours(&[arguments, &[file]].concat());
    command.env("SOPS_EDITOR", format!("sed -i {script}"));
    run(command, b"")
}

#[test]
fn the_block_can_be_shown_and_its_keys_edited() {
    let known = recipients();
    let [first, second] = [&known[0], &known[1]];
    for (name, old, new) in [
        ("f.yaml", "hello", "bye"),
        ("f.json", "hello", "bye"),
        ("f.env", "A=1", "A=2"),
        ("f.ini", "= v", "= w"),
        ("f.bin", "text", "more"),
        ("m.yaml", "b: 2", "b: 3"),
    ] {
        let file = scratch::file(name, &files_once()[name]);
        let path = text(&file);
        let plain = run_ok(theirs(&["decrypt", &path]), b"");
        // Values alone: the keys stay as they are wrapped.
        let wrapped = |bytes: &str| bytes.matches("BEGIN AGE").count();
        let ran = edit(&["edit", "-s"], &path, &format!("'s/{old}/{new}/'"));
        assert!(ran.status.success(), "{name}: {}", ran.stderr);
        assert_eq!(run_ok(theirs(&["decrypt", &path]), b""), plain.replace(old, new), "{name}");
        // A recipient alone: it is exchanged, and the values keep their bytes.
        let before = fs::read_to_string(&file).expect("reads");
        let ran = edit(&["-s"], &path, &format!("s/{first}/{second}/"));
        assert!(ran.status.success(), "{name}: {}", ran.stderr);
        let after = fs::read_to_string(&file).expect("reads");
        assert_eq!(wrapped(&before), wrapped(&after), "{name}");
        assert!(after.contains(second.as_str()) && !after.contains(first.as_str()), "{name}: {after}");
        assert_eq!(run_ok(theirs(&["decrypt", &path]), b""), plain.replace(old, new), "{name}");
        let same = edit(&["edit", "--show-master-keys"], &path, "s/none/none/");
        assert_eq!(same.status.code(), Some(200), "{name}: {}", same.stderr);
    }
    let file = scratch::file("f.yaml", &files_once()["f.yaml"]);
    let path = text(&file);
    let before = fs::read(&file).expect("reads");
    // A key that is added needs a recipient and no more.
    let ran = edit(&["edit", "-s"], &path, &format!("'s/^    age:/&\\n        - recipient: {second}/'"));
    assert!(ran.status.success(), "{}", ran.stderr);
    let both = fs::read_to_string(&file).expect("reads");
    assert!(both.matches("BEGIN AGE").count() == 2 && both.contains(first.as_str()), "{both}");
    assert_eq!(run_ok(theirs(&["decrypt", &path]), b""), PLAIN);
    // The rest of the block is not for people to change.
    fs::write(&file, &before).expect("writes");
    for script in ["/mac:/d", "s/version:.*/version:\\ 3.0.0/", "s/_unencrypted/_plain/", "/sops:/,$d", "s/YWdl/AAAA/"]
    {
        let ran = edit(&["edit", "-s"], &path, script);
        assert_eq!(ran.status.code(), Some(2), "{script}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hello"), "{script}: {}", ran.stderr);
        assert_eq!(fs::read(&file).expect("reads"), before, "{script}");
    }
}
