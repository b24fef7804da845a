use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::pure::error::Explain;
use crate::pure::format::{Branch, Item, Scalar, Value, emit};
use crate::pure::keys::Identities;

mod matrix;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sops")
}

fn identities(files: &[&str]) -> Identities {
    let mut all = Identities::new();
    for file in files {
        let text = fs::read_to_string(vectors().join(file)).expect("readable");
        all.extend(Identities::parse(&text, file).expect("identities"));
    }
    all
}

const KEYS: [&str; 4] = ["keys.txt", "key-ed25519", "key-rsa", "key-pq.txt"];

struct Vector {
    name: String,
    format: Format,
    encrypted: Vec<u8>,
    decrypted: Vec<u8>,
}

/// Every `CASE/FORMAT/encrypted.*` with what real sops made of it.
fn all_vectors() -> Vec<Vector> {
    let mut found = Vec::new();
    let folders = |path: &Path| {
        let mut paths: Vec<PathBuf> = fs::read_dir(path).expect("readable").map(|e| e.expect("entry").path()).collect();
        paths.retain(|path| path.is_dir());
        paths.sort();
        paths
    };
    for case in folders(&vectors()) {
        // What every version made has a layout of its own.
        if case.ends_with("matrix") {
            continue;
        }
        for format_dir in folders(&case) {
            let name = format_dir.strip_prefix(vectors()).expect("below").display().to_string();
            let format = Format::of_name(&format_dir.file_name().expect("named").to_string_lossy()).expect("a format");
            let file = |stem: &str| {
                let paths = fs::read_dir(&format_dir).expect("readable").map(|entry| entry.expect("entry").path());
                let path = paths.into_iter().find(|p| p.file_stem().is_some_and(|s| s == stem)).expect("there");
                fs::read(path).expect("readable")
            };
            found.push(Vector { name, format, encrypted: file("encrypted"), decrypted: file("decrypted") });
        }
    }
    assert!(found.len() > 40, "vectors are missing: {}", found.len());
    found
}

/// Values in document order with their types; comments too where a format has them.
fn values(branches: &[Branch]) -> Vec<String> {
    fn walk(items: &[Item], path: &str, out: &mut Vec<String>) {
        for item in items {
            let (path, node) = match item {
                Item::Comment(_) => continue,
                Item::Entry(entry) => (format!("{path}/{}", entry.key), &entry.value),
                Item::Element(element) => (format!("{path}/-"), &element.value),
            };
            match &node.value {
                Value::Map(items) | Value::List(items) => walk(items, &path, out),
                Value::Scalar(scalar) => out.push(match value::to_bytes(scalar) {
                    Some((kind, bytes)) => format!("{path} {kind} {:?}", String::from_utf8_lossy(bytes.expose())),
                    None => format!("{path} null"),
                }),
            }
        }
    }
    let mut out = Vec::new();
    for branch in branches {
        walk(&branch.items, "", &mut out);
    }
    out
}

fn comments(branches: &[Branch]) -> Vec<String> {
    fn walk(items: &[Item], out: &mut Vec<String>) {
        for item in items {
            let node = match item {
                Item::Comment(comment) => {
                    out.push(String::from_utf8_lossy(comment.text.expose()).trim().to_owned());
                    continue;
                }
                Item::Entry(entry) => &entry.value,
                Item::Element(element) => &element.value,
            };
            if let Value::Map(items) | Value::List(items) = &node.value {
                walk(items, out);
            }
        }
    }
    let mut out = Vec::new();
    for branch in branches {
        walk(&branch.items, &mut out);
    }
    out.sort();
    out
}

#[test]
fn every_vector_of_real_sops_opens_with_its_mac() {
    let known = identities(&KEYS);
    for vector in all_vectors() {
        let name = &vector.name;
        assert!(is_sops(&vector.encrypted, vector.format), "{name}");
        assert!(!is_sops(&vector.decrypted, vector.format), "{name}");
        let document = parse(&vector.encrypted, vector.format).unwrap_or_else(|e| panic!("{name}: {e}"));
        let opened = open(&document, &known).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(opened.proof().is_ok());
        let plain = opened.emit(vector.format).unwrap_or_else(|e| panic!("{name}: {e}"));
        if vector.format == Format::Binary {
            assert_eq!(plain.expose(), vector.decrypted, "{name}");
            continue;
        }
        let theirs = format::parse(&vector.decrypted, vector.format).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ours = format::parse(plain.expose(), vector.format).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(values(&ours.branches), values(&theirs.branches), "{name}");
        assert_eq!(comments(&ours.branches), comments(&theirs.branches), "{name}");
        assert!(!String::from_utf8_lossy(plain.expose()).contains("ENC["), "{name}");
        if vector.format == Format::Json || vector.format == Format::Dotenv {
            assert_eq!(plain.expose_str(), std::str::from_utf8(&vector.decrypted).ok(), "{name}: byte for byte");
        }
        // Per document, the same bytes.
        let mut joined = Vec::new();
        for index in 0..document.len() {
            joined.extend_from_slice(opened.emit_document(index).expect("emits").expose());
        }
        assert_eq!(joined, plain.expose(), "{name}");
    }
}

#[test]
fn a_change_of_any_value_is_seen() {
    let known = identities(&["keys.txt"]);
    let path = vectors().join("default/yaml/encrypted.yaml");
    let text = fs::read_to_string(path).expect("readable");
    let refused = |text: &str| match parse(text.as_bytes(), Format::Yaml) {
        Ok(document) => open(&document, &known).err().expect("must not open"),
        Err(error) => error,
    };
    // A clear value, in the middle and next to another one.
    assert_eq!(refused(&text.replace("stays clear", "stays cleaR")), SopsError::MacMismatch);
    // An added and a removed clear value.
    assert_eq!(refused(&format!("added_unencrypted: x\n{text}")), SopsError::MacMismatch);
    let clear_line = text.lines().find(|line| line.contains("stays clear")).expect("there").to_owned() + "\n";
    assert_eq!(refused(&text.replace(&clear_line, "")), SopsError::MacMismatch);
    // Two elements of one list swapped: each still authenticates, the MAC does not.
    let elements: Vec<&str> =
        text.lines().filter(|line| line.starts_with("    - ENC[") && line.ends_with("type:str]")).collect();
    let swapped = text.replace(elements[0], "@").replace(elements[1], elements[0]).replace('@', elements[1]);
    assert_eq!(refused(&swapped), SopsError::MacMismatch);
    // A value moved to another entry names the entry and its line.
    let value = |key: &str| {
        text.lines()
            .find(|l| l.trim_start().starts_with(key))
            .and_then(|l| l.split_once(": "))
            .expect("there")
            .1
            .to_owned()
    };
    let moved = text.replace(&value("password:"), &value("unicode:"));
    let line = 1 + text.lines().position(|line| line.trim_start().starts_with("password:")).expect("there");
    assert_eq!(refused(&moved), SopsError::Damaged { entry: "stringData.password".into(), line });
    // A value replaced by plaintext.
    let plain = text.replace(&value("password:"), "hunter2");
    let error = refused(&plain);
    assert_eq!(error, SopsError::NotEncrypted { entry: "stringData.password".into(), line });
    assert!(!error.line().contains("hunter2"));
    // The MAC itself and what it is bound to.
    let mac = value("mac:");
    assert_eq!(refused(&text.replace(&mac, &value("password:"))), SopsError::MacDamaged);
    assert_eq!(refused(&text.replace(&format!("    mac: {mac}\n"), "")), SopsError::MacMissing);
    assert_eq!(refused(&text.replace("lastmodified: \"2", "lastmodified: \"3")), SopsError::MacDamaged);
    // The block taken away.
    let cut = text.split("\nsops:").next().expect("there").to_owned() + "\n";
    assert_eq!(refused(&cut), SopsError::NotSops);
    assert!(!is_sops(cut.as_bytes(), Format::Yaml));
    // Names of clear entries are not covered by SOPS' MAC: recorded here so that nobody relies on it.
    let renamed = text.replace("key_unencrypted:", "kez_unencrypted:");
    assert!(parse(renamed.as_bytes(), Format::Yaml).is_ok_and(|document| open(&document, &known).is_ok()));
}

#[test]
fn wrong_keys_are_reported_per_group_and_key() {
    let stranger = identities(&["key-stranger.txt"]);
    let text = fs::read(vectors().join("two_recipients/yaml/encrypted.yaml")).expect("readable");
    let document = parse(&text, Format::Yaml).expect("parses");
    let error = open(&document, &stranger).err().expect("refused");
    let SopsError::Keys(report) = &error else { panic!("{error}") };
    assert_eq!((report.groups, report.threshold, report.tried.len()), (1, 1, 2));
    for key in document.recipients() {
        assert!(error.to_string().contains(&key.key.to_string()), "{error}");
    }
    let error = open(&document, &Identities::new()).err().expect("refused").to_string();
    assert!(error.contains("no identity was given"), "{error}");

    // Two of three groups are enough, one is not.
    let text = fs::read(vectors().join("groups/json/encrypted.json")).expect("readable");
    let document = parse(&text, Format::Json).expect("parses");
    let keys = fs::read_to_string(vectors().join("keys.txt")).expect("readable");
    let secrets: Vec<&str> = keys.lines().filter(|line| line.starts_with("AGE-")).collect();
    let with = |picks: &[usize]| {
        let text: Vec<&str> = picks.iter().map(|pick| secrets[*pick]).collect();
        let identities = Identities::parse(&text.join("\n"), "picked").expect("parses");
        open(&document, &identities).map(|_| ()).map_err(|error| error.to_string())
    };
    for picks in [[0, 1], [2, 0], [1, 2]] {
        assert_eq!(with(&picks), Ok(()), "{picks:?}");
    }
    let error = with(&[1]).expect_err("one group");
    assert!(error.contains("1 of 3 key groups opened, 2 needed") && error.contains("group 0"), "{error}");
}

#[test]
fn formatting_of_the_encrypted_file_stays() {
    let known = identities(&["keys.txt"]);
    let text = fs::read_to_string(vectors().join("default/yaml/encrypted.yaml")).expect("readable");
    // A person's blank lines, quotes, comments behind the block and line breaks of Windows.
    let edited = text.replace("kind: Secret", "\n\nkind: 'Secret'").replace("apiVersion: v1", "apiVersion:    v1")
        + "# after the block\n";
    for edited in [edited.clone(), edited.replace('\n', "\r\n")] {
        // The first lines are clear only by the suffix; encrypt-all files have them as ciphertext, so edit around them.
        let document = parse(edited.as_bytes(), Format::Yaml).expect("parses");
        let opened = open(&document, &known).expect("opens");
        let plain = opened.emit(Format::Yaml).expect("emits");
        let plain = plain.expose_str().expect("text");
        assert!(plain.ends_with("# after the block\n") || plain.ends_with("# after the block\r\n"), "{plain}");
        assert!(!plain.contains("sops:"), "{plain}");
        assert_eq!(edited.contains("\r\n"), plain.contains("\r\n"));
        assert!(!edited.contains("\r\n") || !plain.replace("\r\n", "").contains('\n'), "mixed line breaks");
    }
}

#[test]
fn other_formats_of_the_same_values() {
    let known = identities(&["keys.txt"]);
    let text = fs::read(vectors().join("default/json/encrypted.json")).expect("readable");
    let document = parse(&text, Format::Json).expect("parses");
    let opened = open(&document, &known).expect("opens");
    let yaml = opened.emit(Format::Yaml).expect("emits");
    let tree = format::parse(yaml.expose(), Format::Yaml).expect("parses");
    let json =
        format::parse(&fs::read(vectors().join("plain/all.json")).expect("readable"), Format::Json).expect("parses");
    // 3.0 reads back as 3 in YAML: SOPS prints it so, too.
    let untyped = |lines: Vec<String>| {
        lines.into_iter().map(|line| line.replace(" float \"3\"", " int \"3\"")).collect::<Vec<_>>()
    };
    assert_eq!(untyped(values(&tree.branches)), untyped(values(&json.branches)));
    assert!(matches!(opened.emit(Format::Dotenv), Err(SopsError::Emit(_))));
    assert!(matches!(opened.emit(Format::Binary), Err(SopsError::Emit(_))));
}

#[test]
fn documents_print_safely() {
    let text = fs::read(vectors().join("default/yaml/encrypted.yaml")).expect("readable");
    let document = parse(&text, Format::Yaml).expect("parses");
    let shown = format!("{document:?}");
    assert!(shown.contains("age1") && !shown.contains("stays clear") && !shown.contains("ENC["), "{shown}");
}

#[test]
fn an_ignored_mac_gives_no_proof() {
    let known = identities(&["keys.txt"]);
    let text = fs::read_to_string(vectors().join("default/yaml/encrypted.yaml")).expect("readable");
    let document = parse(text.replace("stays clear", "changed").as_bytes(), Format::Yaml).expect("parses");
    let key = unlock(&document, &known).expect("unlocks");
    let opened = open_with_key(&document, key, MacPolicy::IgnoreOnUsersRequest).expect("opens");
    assert_eq!(opened.proof().err(), Some(SopsError::MacIgnored));
    assert!(emit(opened.branches(), Format::Yaml).is_ok());
    assert!(matches!(&opened.branches()[0].entry("kind").expect("there").value.value, Value::Scalar(Scalar::Text(_))));
}

#[test]
fn limits_hold() {
    let keys =
        "- {recipient: a, enc: b}\n".repeat(crate::pure::limits::RECIPIENTS_PER_FILE + 1).replace("- ", "    - ");
    let text = format!("sops:\n  mac: m\n  version: 3.13.3\n  age:\n{keys}");
    assert!(matches!(parse(text.as_bytes(), Format::Yaml), Err(SopsError::TooManyRecipients { .. })));
    let big = vec![b'a'; crate::pure::limits::FILE_BYTES + 1];
    assert!(matches!(parse(&big, Format::Binary), Err(SopsError::Format(format::FormatError::TooLarge { .. }))));
}
