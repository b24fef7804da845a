use super::*;

/// One line per item: path, type and the exact source bytes of the value.
fn outline(text: &str, format: Format) -> Vec<String> {
    fn walk(items: &[Item], path: &str, source: &str, out: &mut Vec<String>) {
        for item in items {
            match item {
                Item::Comment(comment) => out.push(format!("{path}#{}", comment.text.expose_str().unwrap_or("?"))),
                Item::Entry(entry) => node(&entry.value, &format!("{path}/{}", entry.key), source, out),
                Item::Element(element) => node(&element.value, &format!("{path}/-"), source, out),
            }
        }
    }
    fn node(node: &Node, path: &str, source: &str, out: &mut Vec<String>) {
        match &node.value {
            Value::Scalar(_) => out.push(format!("{path}={}", &source[node.span.clone()])),
            Value::Map(items) | Value::List(items) => walk(items, path, source, out),
        }
    }
    let tree = parse(text.as_bytes(), format).expect("parses");
    let mut out = Vec::new();
    for branch in &tree.branches {
        walk(&branch.items, "", text, &mut out);
    }
    out
}

#[test]
fn what_holds_nothing_but_comments_stays_empty_when_it_is_printed() {
    for (text, format, expected) in [
        ("#c\n", Format::Ini, "DEFAULT: {}\n#c\n"),
        ("a: {\n  # c\n  }\nb: 1\n", Format::Yaml, "a: {}\n# c\nb: 1\n"),
        (
            "m:\n  l:\n  - [\n    # c\n    ]\n  - x\n",
            Format::Yaml,
            "m:\n    l:\n        - []\n        # c\n        - x\n",
        ),
    ] {
        let tree = parse(text.as_bytes(), format).expect("reads");
        let printed = emit(&tree.branches, Format::Yaml).expect("prints");
        assert_eq!(printed.expose_str(), Some(expected), "{text}");
    }
}

#[test]
fn comments_hang_where_yaml_v3_hangs_them() {
    let text = "a:\n- x: 1\n  # x\n# a\nb:\n  l:\n  - 1\n  # b\n# top\nc:\n  # first\n  - 1\n  # list\n";
    let expected = ["/a/-/x=1", "/a/-# x", "# a", "/b/l/-=1", "/b/l# b", "# top", "/c# first", "/c/-=1", "/c# list"];
    assert_eq!(outline(text, Format::Yaml), expected);
    // The first comments behind several levels that end at once are the innermost's.
    for (text, expected) in [
        ("d:\n  e:\n    f: 1\n  # g\nh: 1\n", "/d/e# g"),
        ("d:\n  e:\n    f: 1\n  # g\n", "/d/e# g"),
        ("d:\n  e:\n    f: 1\n  # g\n  h: 1\n", "/d# g"),
        ("d:\n  e:\n    f: 1\n  # g\n\n# i\nh: 1\n", "/d# g"),
        ("d:\n  e:\n  - f\n  # g\nh: 1\n", "/d/e# g"),
        ("d:\n- 1\n  # g\ne: 2\n", "# g"),
        ("a:\n  b:\n    - 1\n    # c\n  # d\ne: 1\n", "/a/b# c"),
        ("a:\n  b:\n    - 1\n    # c\n  # d\ne: 1\n", "/a# d"),
        ("a:\n  - # c\n    b: 1\n", "/a/-# c"),
        ("a:\n  # c\n  - # d\n    b: 1\n", "/a# c"),
        ("a:\n  - b: 1\n\n    # c\n\n  - 1\n", "/a/-# c"),
    ] {
        assert!(outline(text, Format::Yaml).contains(&expected.to_owned()), "{text}");
    }
}

/// As yaml.v3 reads it; what sops would read as text must not stay in clear.
#[test]
fn a_colon_before_a_comma_is_text() {
    let text = "a: [x:, y, z :, null:, \"q\":, p: 1, r: ]\n";
    let expected = ["/a/-=x:", "/a/-=y", "/a/-=z :", "/a/-=null:", "/a/-/q=", "/a/-/p=1", "/a/-/r="];
    assert_eq!(outline(text, Format::Yaml), expected);
    let text = "a: {x:, y, z :, \"q\":, p: 1, 1:, r: , b:}\n";
    let expected = ["/a/x:=", "/a/y=", "/a/z :=", "/a/q=", "/a/p=1", "/a/1:=", "/a/r=", "/a/b:="];
    assert_eq!(outline(text, Format::Yaml), expected);
    assert_eq!(outline("{b:}\n", Format::Yaml), ["/b:="]);
    assert_eq!(outline("{b:,}\n", Format::Yaml), ["/b:="]);
    assert_eq!(outline("{b: }\n", Format::Yaml), ["/b="]);
    assert_eq!(outline("a: [{b:}, {c: }, d:]\n", Format::Yaml), ["/a/-/b:=", "/a/-/c=", "/a/-=d:"]);
    // As values, too, whatever they look like.
    let text = "a: {b: c:, d: 1:, e: f g:}\n";
    assert_eq!(outline(text, Format::Yaml), ["/a/b=c:", "/a/d=1:", "/a/e=f g:"]);
    for text in ["a: {b: c: }\n", "a: {b: c:]}\n", "a: {b: :}\n", "a: {b: \"c\":}\n"] {
        assert!(parse(text.as_bytes(), Format::Yaml).is_err(), "{text}");
    }
}

#[test]
fn yaml_spans_are_exact() {
    let text = "# head\na: |  # c\n  foo\n\n  bar\n\n# mid\nb: &x !!str 'q' # right\nc: # after key\n  # own\n  d: 1\n  # foot\n\nl:\n# before\n- x # inl\n# between\n- |-\n  blk\n\n-\n  - y: 1\n    z:\nf: {a: 1, b: [2, \"3\"]} # flow\ng: *x\nh: multi\n  line\n# last\n";
    assert_eq!(
        outline(text, Format::Yaml),
        [
            "# head",
            "# c",
            "/a=|  # c\n  foo\n\n  bar",
            "# mid",
            "# right",
            "/b='q'",
            "# after key",
            "/c# own",
            "/c/d=1",
            "/c# foot",
            "/l# before",
            "/l# inl",
            "/l/-=x",
            "/l# between",
            "/l/-=|-\n  blk",
            "/l/-/-/y=1",
            "/l/-/-/z=",
            "/f# flow",
            "/f/a=1",
            "/f/b/-=2",
            "/f/b/-=\"3\"",
            "/g=*x",
            "/h=multi\n  line",
            "# last",
        ]
    );
}

#[test]
fn broken_files_name_the_line_and_no_value() {
    for (text, format, line) in [
        ("a: 1\nb: hunter2: c\n", Format::Yaml, 2),
        ("a: 1\n---\nb:\n\tc: hunter2\n", Format::Yaml, 4),
        ("a: &x\n  b: *x\n", Format::Yaml, 2),
        ("a: !!int hunter2\n", Format::Yaml, 1),
        ("{\"a\": hunter2}", Format::Json, 1),
        ("hunter2\n", Format::Dotenv, 1),
        ("[s]\nhunter2\n", Format::Ini, 2),
    ] {
        let error = parse(text.as_bytes(), format).err().unwrap_or_else(|| panic!("accepted: {text:?}"));
        assert!(matches!(error, FormatError::Syntax { line: at, .. } if at == line), "{text:?}: {error}");
        assert!(!error.line().contains("hunter2"), "{error}");
    }
    assert!(matches!(parse(b"a: 1\nb: \xff", Format::Yaml), Err(FormatError::NotText { line: 2, .. })));
    assert!(matches!(parse(b"- a\n", Format::Yaml), Err(FormatError::NotAMap { line: 1, .. })));
    assert!(matches!(parse(b"a: 1\n...\n# c\nb: 2\n", Format::Yaml), Err(FormatError::Syntax { line: 4, .. })));
    assert!(parse(b"a: 1\n...\n# c\n--- # d\nb: 2\n...\n", Format::Yaml).is_ok());
    let deep = format!("a: {}1{}", "[".repeat(150), "]".repeat(150));
    assert!(matches!(parse(deep.as_bytes(), Format::Yaml), Err(FormatError::TooDeep { .. })));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    assert!(matches!(parse(bomb.as_bytes(), Format::Yaml), Err(FormatError::TooManyValues { .. })));
}

#[test]
fn removal_leaves_the_rest_alone() {
    for (text, format, expected) in [
        ("a: 1\nsops:\n  x: 1\n", Format::Yaml, "a: 1\n"),
        ("a: 1\nsops:\n  x: |\n    q\n\n# tail\nb: 2", Format::Yaml, "a: 1\n# tail\nb: 2"),
        ("{a: 1, sops: {x: 1}}\n", Format::Yaml, "{a: 1}\n"),
        ("{\n\t\"a\": 1,\n\t\"sops\": {}\n}\n", Format::Json, "{\n\t\"a\": 1\n}\n"),
        ("{\"sops\": {}, \"a\": 1}", Format::Json, "{\"a\": 1}"),
        ("{\"sops\": {}}", Format::Json, "{}"),
        ("[a]\nb = 1\n\n[sops]\nx = 1\n", Format::Ini, "[a]\nb = 1\n\n"),
    ] {
        let tree = parse(text.as_bytes(), format).expect("parses");
        let branch = &tree.branches[0];
        let index = branch.items.iter().position(|i| matches!(i, Item::Entry(e) if e.key == "sops")).expect("there");
        let span = splice::removal(text.as_bytes(), &branch.items, index, branch.body_end, branch.flow);
        let edit = splice::Edit { span, text: Plaintext::new(vec![]) };
        let out = splice::apply(text.as_bytes(), branch.span.clone(), vec![edit]);
        assert_eq!(out.expose_str(), Some(expected), "{text:?}");
    }
}

#[test]
fn tags_outside_the_core_schema_are_types_too() {
    let text = "? a\n: !!binary aGk=\nb: !!timestamp \"2024-01-01\"\nc: !own 1\nd: ! 1\n";
    let tree = parse(text.as_bytes(), Format::Yaml).expect("parses");
    let json = emit(&tree.branches, Format::Json).expect("prints");
    let expected = "{\n\t\"a\": \"hi\",\n\t\"b\": \"2024-01-01T00:00:00Z\",\n\t\"c\": \"1\",\n\t\"d\": 1\n}\n";
    assert_eq!(json.expose_str(), Some(expected));
    let Some(Item::Entry(first)) = tree.branches[0].items.first() else { panic!("an entry") };
    assert_eq!(first.value.layout.indent, 0, "the column of an explicit key is that of its mark");
}

#[test]
fn formats_print_what_they_can_hold() {
    let text = "# c\na: 1\nb:\n  - x\n  - y: true\n    z: []\n  - - q\ns: \"1\"\nm: |\n  l1\n  l2\n";
    let tree = parse(text.as_bytes(), Format::Yaml).expect("parses");
    let yaml = emit(&tree.branches, Format::Yaml).expect("prints");
    assert_eq!(
        yaml.expose_str(),
        Some("# c\na: 1\nb:\n    - x\n    - \"y\": true\n      z: []\n    - - q\ns: \"1\"\nm: |\n    l1\n    l2\n")
    );
    let json = emit(&tree.branches, Format::Json).expect("prints");
    assert_eq!(
        json.expose_str(),
        Some(
            "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t\"x\",\n\t\t{\n\t\t\t\"y\": true,\n\t\t\t\"z\": []\n\t\t},\n\t\t[\n\t\t\t\"q\"\n\t\t]\n\t],\n\t\"s\": \"1\",\n\t\"m\": \"l1\\nl2\\n\"\n}\n"
        )
    );
    assert_eq!(
        emit(&tree.branches, Format::Dotenv).err(),
        Some(EmitError::Nested { format: Format::Dotenv, entry: "b".into() })
    );
    let flat = parse(b"a: 1.5\nb: 1.0\nc: true\nd: \"x\\ny\"\n", Format::Yaml).expect("parses");
    let env = emit(&flat.branches, Format::Dotenv).expect("prints");
    assert_eq!(env.expose_str(), Some("a=1.5\nb=1.0\nc=true\nd=x\\ny\n"));
}

#[test]
fn a_comment_that_yaml_cannot_hold_is_an_error() {
    for (text, format) in [
        (&b"# \xff\na=1\n"[..], Format::Dotenv),
        (b"# x\rinjected: 1\na=1\n", Format::Dotenv),
        (b"# x\xe2\x80\xa8injected: 1\na=1\n", Format::Dotenv),
        (b"[s]\n; \x11\na = 1\n", Format::Ini),
    ] {
        let tree = parse(text, format).expect("parses");
        assert_eq!(emit(&tree.branches, Format::Yaml).err(), Some(EmitError::Comment { format: Format::Yaml }));
        let same = emit(&tree.branches, format).expect("prints");
        assert_eq!(same.expose(), text);
    }
    let tree = parse("# \u{e4}\t\na=1\n".as_bytes(), Format::Dotenv).expect("parses");
    assert!(emit(&tree.branches, Format::Yaml).is_ok());
}

mod properties {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// Text built from the pieces that YAML cares about.
    fn yamlish() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("a: "),
            Just("b:\n"),
            Just("- "),
            Just("  "),
            Just("\n"),
            Just("# c\n"),
            Just("|\n"),
            Just(">-\n"),
            Just("{x: 1}"),
            Just("[1, 2]"),
            Just("'q'"),
            Just("\"d\\n\""),
            Just("&x "),
            Just("*x"),
            Just("!!str "),
            Just("---\n"),
            Just("...\n"),
            Just("word"),
            Just("é"),
            Just("\r\n"),
            Just("\t"),
            Just("? "),
            Just(": "),
            Just("1"),
            Just("sops:\n  mac: x\n"),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    fn check(text: &[u8], format: Format) {
        let Ok(tree) = parse(text, format) else { return };
        assert_eq!(tree.source.expose(), text);
        let mut at = 0;
        let mut whole = Vec::new();
        for branch in &tree.branches {
            assert_eq!(branch.span.start, at, "documents follow each other");
            at = branch.span.end;
            assert!(branch.body_end <= at);
            let edits = splice::changes(branch, text, format, splice::Aliases::Keep).expect("nothing changed");
            whole.extend_from_slice(splice::apply(text, branch.span.clone(), edits).expose());
        }
        assert_eq!(whole, text, "an unchanged tree is written back byte for byte");
    }

    /// Rewrites every scalar with its own value: the types and values must survive, whatever the layout.
    fn rewrite(text: &[u8], format: Format) {
        fn mark(items: &mut [Item]) {
            for item in items {
                let node = match item {
                    Item::Comment(_) => continue,
                    Item::Entry(entry) => &mut entry.value,
                    Item::Element(element) => &mut element.value,
                };
                match &mut node.value {
                    Value::Scalar(_) => node.changed = !node.span.is_empty(),
                    Value::Map(items) | Value::List(items) => mark(items),
                }
            }
        }
        let Ok(mut tree) = parse(text, format) else { return };
        let before = emit(&tree.branches, Format::Yaml).expect("prints");
        let mut whole = Vec::new();
        for branch in &mut tree.branches {
            mark(&mut branch.items);
            let edits = splice::changes(branch, text, format, splice::Aliases::Keep).expect("writable");
            whole.extend_from_slice(splice::apply(text, branch.span.clone(), edits).expose());
        }
        let again =
            parse(&whole, format).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&whole)));
        let after = emit(&again.branches, Format::Yaml).expect("prints");
        assert_eq!(before.expose_str(), after.expose_str(), "{:?}", String::from_utf8_lossy(&whole));
    }

    /// The same cases in each run, so that a failure is one of the change at hand. PROPTEST_RNG_SEED explores others.
    fn seed() -> RngSeed {
        match ProptestConfig::default().rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            chosen => chosen,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, rng_seed: seed(), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn yaml_is_written_back(text in yamlish()) {
            check(text.as_bytes(), Format::Yaml);
            rewrite(text.as_bytes(), Format::Yaml);
        }

        #[test]
        fn anything_is_written_back(text in "[ -~\n\u{e9}]{0,60}") {
            for format in [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary] {
                check(text.as_bytes(), format);
            }
        }

        #[test]
        fn strings_survive_every_format(text in "\\PC{0,12}|[ -~\n\t\r]{0,20}") {
            let node = Node::new(0..0, Value::Scalar(Scalar::text(text.clone())), Layout::default());
            let entry = |key: &str, node| Item::Entry(Entry { key: key.into(), key_span: 0..0, value: node });
            let flat = Branch::of_items(0..0, vec![entry("k", node.duplicate())]);
            for format in [Format::Yaml, Format::Json] {
                let out = emit(std::slice::from_ref(&flat), format).expect("prints");
                let back = parse(out.expose(), format).expect("parses");
                match &back.branches[0].entry("k").expect("there").value.value {
                    Value::Scalar(Scalar::Text(read)) => prop_assert_eq!(read.expose_str(), Some(text.as_str())),
                    _ => prop_assert!(false, "type changed"),
                }
            }
        }
    }
}
