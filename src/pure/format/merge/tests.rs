use super::*;
use crate::pure::format::Format::{Dotenv, Ini, Json, Yaml};

fn merged(base: &str, ours: &str, theirs: &str, format: Format) -> (String, Option<String>, Vec<String>) {
    let merged = merge(Some(base.as_bytes()), ours.as_bytes(), theirs.as_bytes(), format);
    let merged = merged.unwrap_or_else(|error| panic!("{error}: {base:?} {ours:?} {theirs:?}"));
    let text = |text: &Plaintext| text.expose_str().expect("text").to_owned();
    (text(&merged.ours), merged.theirs.as_ref().map(text), merged.conflicts)
}

#[test]
fn changes_of_different_entries_merge_into_the_layout_of_ours() {
    for (format, base, ours, theirs, expected) in [
        (Yaml, "a: 1\nb: 2\nc: 3\n", "a: 9\nb: 2\nc: 3\n", "a: 1\nb: 8\nc: 3\n", "a: 9\nb: 8\nc: 3\n"),
        (Yaml, "a: 1\nb: 2\n", "# ours\na: 1\n\nb:   '9' # x\n", "b: 2\na: 7\n", "# ours\na: 7\n\nb:   '9' # x\n"),
        (Yaml, "a: 1\nb: 2\nc: 3\n", "a: 1\nc: 3\n", "a: 1\nb: 2\nc: 4\nd: 5\n", "a: 1\nc: 4\nd: 5\n"),
        (
            Yaml,
            "m:\n  a: 1\n  b: 2\n",
            "m:\n  a: 1\n  b: 3\n",
            "m:\n  b: 2\n  # new\n  k: 4\n",
            "m:\n  b: 3\n  # new\n  k: 4\n",
        ),
        (Yaml, "m: {a: 1, b: 2}\n", "m: {a: 3, b: 2}\n", "m: {a: 1, b: 2, c: 4}\n", "m: {a: 3, b: 2, \"c\": 4}\n"),
        (Yaml, "t: |\n  x\n  y\nz: 1\n", "t: |\n  x\n  y\nz: 2\n", "t: |\n  x\n  w\nz: 1\n", "t: |\n  x\n  w\nz: 2\n"),
        (Yaml, "l: [a, b]\n", "l: [a, b, c]\n", "l: [b]\n", "l: [b, c]\n"),
        (Yaml, "l:\n- a\n- b\nz: 1\n", "l:\n- a\n- b\nz: 2\n", "l:\n- b\n- c\nz: 1\n", "l:\n- b\n- c\nz: 2\n"),
        (
            Yaml,
            "l:\n- name: x\n  v: 1\n- name: y\n  v: 2\n",
            "l:\n- name: x\n  v: 3\n- name: y\n  v: 2\n- name: z\n  v: 5\n",
            "l:\n- name: y\n  v: 4\n",
            "",
        ),
        (
            Json,
            "{\n  \"a\": 1,\n  \"b\": 2\n}\n",
            "{\n  \"a\": 9,\n  \"b\": 2\n}\n",
            "{\"a\":1,\"b\":8,\"c\":3}",
            "{\n  \"a\": 9,\n  \"b\": 8,\n  \"c\": 3\n}\n",
        ),
        (Dotenv, "A=1\nB=2\n", "A=9\nB=2\n", "A=1\nB=8\nC=3\n", "A=9\nB=8\nC=3\n"),
        (Ini, "[s]\na = 1\nb = 2\n", "[s]\na = 9\nb = 2\n", "[s]\na = 1\nb = 8\n", "[s]\na = 9\nb = 8\n"),
        (Yaml, "# old\na: 1\nb: 2\n", "# old\na: 3\nb: 2\n", "# new\na: 1\nb: 2 # why\n", "# new\na: 3\n# why\nb: 2\n"),
        (Yaml, "a: 1\n", "a: 1\n# end\n", "a: 2\n", "a: 2\n# end\n"),
        (Yaml, "a: 1\n---\nb: 1\n", "a: 2\n---\nb: 1\n", "a: 1\n---\nb: 2\n", "a: 2\n---\nb: 2\n"),
        (Yaml, "a: &x 1\nb: *x\n", "a: &x 1\nb: *x\n# c\n", "a: &x 2\nb: *x\n", "a: &x 2\nb: *x\n# c\n"),
    ] {
        if expected.is_empty() {
            // One side removed what the other changed.
            let (_, _, conflicts) = merged(base, ours, theirs, format);
            assert_eq!(conflicts, ["l[0]"], "{theirs}");
            continue;
        }
        let (text, other, conflicts) = merged(base, ours, theirs, format);
        assert_eq!((text.as_str(), other, conflicts.len()), (expected, None, 0), "{base:?} {ours:?} {theirs:?}");
    }
}

#[test]
fn named_lists_merge_by_name() {
    let base = "env:\n- name: A\n  value: 1\n- name: B\n  value: 2\n";
    let ours = "env:\n- name: A\n  value: 9\n- name: B\n  value: 2\n";
    let theirs = "env:\n- name: C\n  value: 3\n- name: A\n  value: 1\n- name: B\n  value: 8\n";
    let (text, _, conflicts) = merged(base, ours, theirs, Yaml);
    assert!(conflicts.is_empty(), "{conflicts:?}");
    assert_eq!(text, "env:\n- name: A\n  value: 9\n- name: B\n  value: 8\n- name: C\n  value: 3\n");
}

#[test]
fn conflicts_are_named_and_both_sides_are_whole_files() {
    let base = "a: 1\nm: {x: 1}\nl: [1]\n";
    let (ours, theirs, conflicts) = merged(base, "a: 2\nm: {x: 1}\nl: [1, 2]\nn: 1\n", "a: 3\nl: [1, 3]\nn: 1\n", Yaml);
    assert_eq!(conflicts, ["a", "l"]);
    assert_eq!(ours, "a: 2\nl: [1, 2]\nn: 1\n");
    let theirs = theirs.expect("conflicts");
    assert!(theirs.starts_with("a: 3\nl:") && theirs.contains("n: 1"), "{theirs}");
    let (_, other, conflicts) = merged("a: 1\nb: 1\n", "b: 1\n", "a: 2\nb: 1\n", Yaml);
    assert_eq!((other.as_deref(), conflicts), (Some("b: 1\na: 2\n"), vec!["a".to_owned()]));
    let none = merge(None, b"a: 1\nb: 1\n", b"a: 1\nc: 1\n", Yaml).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((none.ours.expose_str(), none.conflicts.len()), (Some("a: 1\nb: 1\nc: 1\n"), 0));
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let run = |base: &str, ours: &str, theirs: &str| {
        merge(Some(base.as_bytes()), ours.as_bytes(), theirs.as_bytes(), Yaml).err()
    };
    assert_eq!(run("a: 1\n", "a: 1\n", "a: 1\n---\nb: 1\n"), Some(MergeError::Documents));
    assert!(matches!(run("a: 1\n", "a: 1\na: 2\n", "a: 1\n"), Some(MergeError::DuplicateKey { line: 2, .. })));
    assert!(matches!(run("a: 1\n", "a: [\n", "a: 1\n"), Some(MergeError::Format(_))));
    // The alias would need a value of its own.
    assert_eq!(run("a: &x 1\nb: *x\n", "a: &x 1\nb: *x\n", "a: 2\nb: 3\n"), Some(MergeError::Layout));
}

#[test]
fn binary_files_merge_as_a_whole() {
    let run = |base: &[u8], ours: &[u8], theirs: &[u8]| {
        let merged = merge(Some(base), ours, theirs, Format::Binary).unwrap_or_else(|e| panic!("{e}"));
        (merged.ours.expose().to_vec(), merged.conflicts.len())
    };
    assert_eq!(run(b"a", b"b", b"a"), (b"b".to_vec(), 0));
    assert_eq!(run(b"a", b"a", b"c"), (b"c".to_vec(), 0));
    assert_eq!(run(b"a", b"b", b"c"), (b"b".to_vec(), 1));
}

#[test]
fn common_lines_are_found() {
    let pairs = |a: &str, b: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        let pairs = lines::matches(&a, &b, |x, y| x == y);
        for (x, y) in &pairs {
            assert_eq!(a[*x], b[*y]);
        }
        assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        pairs.len()
    };
    for (a, b, common) in [
        ("", "", 0),
        ("abc", "abc", 3),
        ("abcabba", "cbabac", 4),
        ("xaxcxabc", "abcy", 3),
        ("abcdef", "xyz", 0),
        ("a", "ba", 1),
        ("abcdefgh", "acdxfgzh", 6),
    ] {
        assert_eq!(pairs(a, b), common, "{a} {b}");
        assert_eq!(pairs(b, a), common, "{b} {a}");
    }
}

#[test]
fn markers_enclose_only_what_differs() {
    let labels = Labels { ours: "ours", theirs: "theirs", size: 7 };
    let text = |ours: &str, theirs: &str| {
        String::from_utf8(conflict_text(ours.as_bytes(), theirs.as_bytes(), labels)).expect("text")
    };
    assert_eq!(
        text("a\nb\nc\nd\n", "a\nx\nc\ny\n"),
        "a\n<<<<<<< ours\nb\n=======\nx\n>>>>>>> theirs\nc\n<<<<<<< ours\nd\n=======\ny\n>>>>>>> theirs\n"
    );
    assert_eq!(text("a\n", "a\nb"), "a\n<<<<<<< ours\n=======\nb\n>>>>>>> theirs\n");
    assert_eq!(text("a\n", "a\n"), "a\n");
    assert!(text("a\r\nb\r\n", "a\r\nc\r\n").contains("<<<<<<< ours\r\nb\r\n=======\r\n"));
}
