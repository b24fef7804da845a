//! Manifests as repositories hold them (`tests/vectors/sops/corpus`): sealing keeps the values, and every edit changes
//! the bytes that it must and no others.

use std::ops::Range;

use super::super::same_values;
use super::*;
use crate::pure::format::place::{Step, find};
use crate::pure::format::{Branch, Entry, Item, Scalar, Value};

const LATER: &str = "2026-02-03T04:05:06Z";

const SELECTORS: [Option<(&str, &str)>; 3] = [
    None,
    Some(("encrypted_regex", "(?i)password|token|secret|data|run")),
    Some(("unencrypted_regex", "^(metadata|kind|apiVersion|image|name|on)$")),
];

/// Runs `test` on every file of the corpus, sealed with every selector.
fn each(test: impl Fn(&str, Format, &str, &str)) {
    for (name, text) in files() {
        let format = Format::of_path(&name);
        for selector in SELECTORS {
            let sealed =
                seal_text(&text, format, &plan(selector)).unwrap_or_else(|e| panic!("{name} {selector:?}: {e}"));
            test(&format!("{name} {selector:?}"), format, &text, &sealed);
        }
    }
}

/// Name and text of every file of the corpus.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sops/corpus");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("readable"))
    };
    let mut files: Vec<_> = fs::read_dir(folder).expect("readable").map(read).collect();
    assert!(files.len() > 20, "the corpus is missing: {}", files.len());
    files.sort();
    files
}

/// Some dozen paths to scalars of the first document that have bytes of their own, from all over it.
fn some_leaves(branch: &Branch) -> Vec<String> {
    let all = leaves(branch);
    let step = all.len().div_ceil(12).max(1);
    all.into_iter().step_by(step).collect()
}

/// Paths of all scalars of the first document that have bytes of their own, as texts.
fn leaves(branch: &Branch) -> Vec<String> {
    fn walk(items: &[Item], path: &str, out: &mut Vec<String>) {
        let mut index = 0;
        for item in items {
            let (path, node) = match item {
                Item::Comment(_) => continue,
                Item::Entry(entry) => (format!("{path}[\"{}\"]", entry.key), &entry.value),
                Item::Element(element) => {
                    index += 1;
                    (format!("{path}[{}]", index - 1), &element.value)
                }
            };
            match &node.value {
                _ if node.layout.alias => {}
                Value::Scalar(_) => out.push(path),
                Value::Map(items) | Value::List(items) => walk(items, &path, out),
            }
        }
    }
    let mut out = Vec::new();
    walk(&branch.items, "", &mut out);
    out
}

/// Spans of the MAC and the time in every document.
fn changing(document: &Document) -> Vec<Range<usize>> {
    let field = |entry: &Entry| matches!(entry.key.trim_start_matches("sops_"), "mac" | "lastmodified");
    let mut spans = Vec::new();
    let mut look = |items: &[Item], all: bool| {
        for item in items {
            match item {
                Item::Entry(entry) if field(entry) && (all || entry.key.starts_with("sops_")) => {
                    spans.push(entry.value.span.clone());
                }
                _ => {}
            }
        }
    };
    for branch in &document.tree.branches {
        look(&branch.items, false);
        if let Some(Entry { value, .. }) = branch.entry("sops")
            && let Value::Map(items) = &value.value
        {
            look(items, true);
        }
    }
    spans
}

/// Spans of the whole `sops` block in every document.
fn blocks(document: &Document) -> Vec<Range<usize>> {
    let own = |item: &&Item| metadata::is_metadata(item, document.tree.format);
    let branches = document.tree.branches.iter();
    branches.flat_map(|branch| branch.items.iter().filter(own)).map(|item| item.start()..item.end()).collect()
}

/// The text with `@` in place of each span and of the blanks before it.
fn masked(document: &Document, mut spans: Vec<Range<usize>>) -> String {
    let source = std::str::from_utf8(document.bytes()).expect("text");
    spans.sort_by_key(|span| span.start);
    let (mut out, mut at) = (String::new(), 0);
    for span in spans {
        out.push_str(source[at..span.start].trim_end_matches(' '));
        out.push('@');
        at = span.end;
    }
    out + &source[at..]
}

fn open_document(document: &Document) -> Opened<'_> {
    open_with_key(document, key_of(document), MacPolicy::Verify).expect("opens")
}

fn parsed(text: &Plaintext, format: Format) -> Document {
    parse(text.expose(), format).expect("parses")
}

#[test]
fn sealed_manifests_open_to_the_same_values() {
    each(|name, format, text, sealed| {
        let document = parse(sealed.as_bytes(), format).expect("parses");
        let meant = format::parse(text.as_bytes(), format).expect("parses");
        let opened = open_document(&document);
        assert!(same_values(opened.branches(), &meant.branches), "{name}");
        let plain = opened.emit(format).expect("prints");
        let again = format::parse(plain.expose(), format).expect("parses");
        assert!(same_values(&again.branches, &meant.branches), "{name}: printed");
        let lines = |text: &str| text.lines().count();
        let plain = plain.expose_str().expect("text");
        // Block scalars become lines of their own width; all else keeps its line.
        assert!(text.contains('|') || lines(plain).abs_diff(lines(text)) <= 1, "{name}: {plain}");
    });
}

#[test]
fn what_no_selector_names_is_the_same_file_afterwards() {
    let nothing = plan(Some(("encrypted_regex", "^no such name$")));
    // A block scalar that a file without a last line break ends in gets the sign that says so.
    for (name, text) in files().into_iter().filter(|(name, _)| name != "cut-block.yaml") {
        let format = Format::of_path(&name);
        let sealed = seal_text(&text, format, &nothing).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(open_text(&sealed, format), text, "{name}");
    }
}

#[test]
fn a_set_value_changes_its_bytes_the_mac_and_the_time() {
    each(|name, format, _, sealed| {
        let old = parse(sealed.as_bytes(), format).expect("parses");
        let opened = open_document(&old);
        for path in some_leaves(&opened.branches()[0]) {
            let steps = format::place::parse_path(&path).expect("a path");
            let mut edit = Edit::new(&opened).expect("starts");
            edit.set_text(&path, Plaintext::from("an edited value".to_owned()))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let new = edit.seal(LATER, &mut counter(5)).unwrap_or_else(|e| panic!("{name} {path}: {e}"));
            let new = parsed(&new, format);
            let hide = |document: &Document| {
                let mut spans = changing(document);
                let found = find(&document.tree.branches, &steps).unwrap_or_else(|e| panic!("{name} {path}: {e:?}"));
                spans.push(found.span.clone());
                masked(document, spans)
            };
            assert_eq!(hide(&new), hide(&old), "{name} {path}");
            let reopened = open_document(&new);
            let value = &find(reopened.branches(), &steps).expect("there").value;
            assert!(
                matches!(value, Value::Scalar(Scalar::Text(text)) if text.expose() == b"an edited value"),
                "{path}"
            );
        }
    });
}

#[test]
fn an_unset_value_takes_its_own_lines_with_it() {
    each(|name, format, _, sealed| {
        let old = parse(sealed.as_bytes(), format).expect("parses");
        let opened = open_document(&old);
        if leaves(&opened.branches()[0]).len() < 2 {
            // A map without entries is written in braces, and the block with it.
            return;
        }
        for path in some_leaves(&opened.branches()[0]) {
            let mut edit = Edit::new(&opened).expect("starts");
            edit.unset(&path).unwrap_or_else(|e| panic!("{name} {path}: {e}"));
            let new = edit.seal(LATER, &mut counter(5)).unwrap_or_else(|e| panic!("{name} {path}: {e}"));
            let new = parsed(&new, format);
            let steps = format::place::parse_path(&path).expect("a path");
            if matches!(steps.last(), Some(Step::Key(_))) {
                assert!(find(&new.tree.branches, &steps).is_err(), "{name} {path}");
            }
            open_document(&new);
            // Every other line is one of the old file, in its order; a line may lose an item or become `{}`.
            let (before, after) = (masked(&old, changing(&old)), masked(&new, changing(&new)));
            let mut rest = before.lines();
            let mut strange = Vec::new();
            for line in after.lines() {
                match rest.clone().position(|old| old == line) {
                    Some(skipped) => {
                        rest.nth(skipped);
                    }
                    None => strange.push(line),
                }
            }
            assert!(strange.len() <= 1, "{name} {path}: {strange:#?}\n{before}\n{after}");
        }
    });
}

#[test]
fn new_keys_change_ciphertext_and_block_alone() {
    let groups = vec![vec![KeyRef::Age { recipient: "age1new".into() }]];
    each(|name, format, _, sealed| {
        let old = parse(sealed.as_bytes(), format).expect("parses");
        let opened = open_document(&old);
        let plain = opened.emit(format).expect("prints");
        let rotated = rotate(&opened, &groups, 0, LATER, &mut counter(7), &mut fake_wrap).expect("rotates");
        let rotated = parsed(&rotated, format);
        assert!(open_document(&rotated).emit(format).expect("prints").same_as(&plain), "{name}: rotate");
        let hide = |document: &Document| {
            let text = masked(document, blocks(document));
            let mut out = String::new();
            for (index, piece) in text.split("ENC[AES256_GCM").enumerate() {
                out.push_str(if index == 0 { piece } else { piece.split_once(']').expect("closed").1 });
            }
            out
        };
        assert_eq!(hide(&rotated), hide(&old), "{name}: rotate");
        let (key, mut random) = (opened.data_key(), counter(7));
        let rewrapped = rewrap(&old, key, &groups, 0, LATER, &mut random, &mut fake_wrap).expect("rewraps");
        let rewrapped = parsed(&rewrapped, format);
        assert_eq!(masked(&rewrapped, blocks(&rewrapped)), masked(&old, blocks(&old)), "{name}: rewrap");
        assert_eq!(rewrapped.metadata().mac, old.metadata().mac, "{name}");
    });
}

#[test]
fn what_changes_nothing_leaves_the_file_as_it_is() {
    each(|name, format, _, sealed| {
        let document = parse(sealed.as_bytes(), format).expect("parses");
        let opened = open_document(&document);
        for path in some_leaves(&opened.branches()[0]) {
            let steps = format::place::parse_path(&path).expect("a path");
            let Value::Scalar(Scalar::Text(text)) = &find(opened.branches(), &steps).expect("there").value else {
                continue;
            };
            let mut edit = Edit::new(&opened).expect("starts");
            edit.set_text(&path, text.duplicate()).expect("sets");
            let same = edit.seal(LATER, &mut counter(5)).expect("seals");
            assert!(same.expose() == sealed.as_bytes(), "{name} {path}");
        }
    });
}
