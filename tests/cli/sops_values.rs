//! The same plain files through the real sops and through ours: what each reads, hashes, prints and refuses.

use std::process::Command;

use latchwork::pure::format::Format;

use super::sops::{BOTH as PROGRAMS, ours, recipients, text, theirs, values, vectors};
use super::sops_matrix::side_by_side;
use crate::rig::process::{run, run_ok};
use crate::rig::scratch;

/// Values of YAML, one a line: each becomes an entry of one file.
const YAML: &str = r##"0
-17
0755
0o17
0xFF
-0x1F
+0x1F
0b11
1_000
1__0
0b1_1
0o1_7
0x_1
_1
18446744073709551616
123456789012345678901234567890
-9223372036854775808
1.50
2.0
1.
.5
+.5
-.5e3
1e3
1e+3
1E3
0e0
1.e3
1e21
1.5e-7
0.1e-6
123456789.123
1e400
1e-400
1e6
00
09
0_9
1_0.5
-0
+12
0x
190:20:30
685_230.15
12:30:45
2024-01-01
2024-1-1
2024-02-30
0000-01-01
9999-12-31
2024-01-01T00:00:00Z
2024-01-01t00:00:00.123456789Z
2024-01-01T00:00:00.1234567891Z
2024-01-01 00:00:00
2001-12-14t21:59:43.10-05:00
2001-12-14 21:59:43.10
2001-12-14 21:59:43.10 -5
2024-01-01T24:00:00Z
2024-01-01T00:00:60Z
2024-01-01T10:00:00+05:30
2024-01-01T10:00:00-00:00
true
True
TRUE
tRue
yes
No
on
y
null
Null
NULL
nUll
~
.Infinity
.nAN
""
''
"0755"
"1.0"
"null"
"2024-01-01"
"~"
" lead and trail "
"tab\there"
"quote\" back\\"
"control \x01 \e \u0085 \u2028 \ufeff"
"astral \U0001F510"
"line\r\nbreak"
"trailing blank \nnext"
"a\n"
"a\n\n"
"a\n b\n"
" a\nb"
'it''s'
plain 'single' and "double"
"- dash"
"# hash"
"a: b"
"@at"
"%percent"
"`tick"
"!bang"
"&and"
"*star"
"? mark"
"{brace"
"[bracket"
"a, b"
"<<"
"="
"..."
"---"
x#y
a - b
http://example.org/?a=b&c=d#e
!custom text
!custom 12
! 12
!!str 123
!!str 2024-01-01
!!str
!!int "3"
!!int 1_0
!!float 1
!!float 0x10
!!float "1.5"
!!bool "true"
!!null ""
!!timestamp 2024-01-01
!!timestamp "2024-01-01"
!!binary aGVsbG8=
!!binary "aGVsbG8="
!!set {x, y}
!!omap [x: 1]
[1, 2,]
[[], {}, [a]]
{x: 1, y}
{x: , y: 1}
{"x":1}
["x":1]
[x: 1]
"##;

/// Whole files: what their formats care about. Both programs take them, and must agree on every value.
const FILES: &[(&str, &str)] = &[
    (
        "block.yaml",
        "a: |\n  x\n\n   y\n  z\nb: >-\n  x\n   y\n\n  z\nc: |+\n  x\n\nd: |2\n    x\ne: 'x\n\n  y'\nf: \"x \\\n  y\"\ng: x\n  y\n   z\nh:\n- i\n-\n  - j\n- k: l\n  m:\n  - n\n",
    ),
    ("keys.yaml", "\"quoted key\": 1\n\"true\": 2\n'123': 3\n? complex\n: 4\nключ: 5\n\"\": 6\n\"a:b\": 7\n"),
    ("explicit.yaml", "? first\n: 1\n? second\n: x: 2\n"),
    ("anchors.yaml", "base: &b\n  x: 1\n  y: z\ncopy: *b\nmerged:\n  <<: *b\n  w: 2\nempty: &e\nagain: *e\n"),
    ("tagged.yaml", "a: !!str\n&x b: 1\nc: &y\n&z d: !!null\n"),
    ("stream.yaml", "%YAML 1.1\n---\na: 1\n---\n---\nb: 2\n...\n"),
    (
        "comments.yaml",
        "# only\n\n# two\na: 1 # in line\n# between\n\nl:\n# in list\n- x # behind\n# foot\nb: 2\n# last",
    ),
    ("crlf.yaml", "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: \"z\"\r\n"),
    ("bom.yaml", "\u{feff}a: 1\n"),
    (
        "numbers.json",
        r#"{"a":1.0,"b":-0,"c":1E5,"d":1e-7,"e":0.000001,"f":1e20,"g":1e21,"h":123456789.123,"i":9223372036854775807,"j":9007199254740993,"k":1e-400}"#,
    ),
    (
        "strings.json",
        r##"{"a":"\ud83d\ude00","b":"\u0000","c":"\/","d":"\u2028\u2029<>&","e":"","f":"\\n","":{"":1},"a:b":"x","g\nh":1,"#":2}"##,
    ),
    ("nested.json", r#"{"a":{},"b":[],"c":[[]],"d":[{"b":[{}]}],"e":null,"f":[null,1],"g":{"h":{"i":true}}}"#),
    ("twice.json", r#"{"a":1,"a":"x"}"#),
    (
        "lines.env",
        "#c\n\n\nA=1\nB=\n=x\n C = d \nexport E=f\nG=\"h\"\nI='j'\nK=l # m\nN=\\n\nO=\\\\n\nP=a\\tb\nQ=a=b=c\nR=true\nS=null\nT=1.5\n# \n#\nU=x\ty",
    ),
    ("crlf.env", "A=1\r\nB=2\r\n"),
    ("twice.env", "A=1\nA=2\n"),
    (
        "lines.ini",
        "top = 0\n; about\n[a]\nb = 1 ; c\nd = 2 # e\nf = \"q\"\ng = 'q'\nh = \"q ; r\"\ni = `q ; r`\nj = \"\"\"m\nn\"\"\"\nk=\nl : 3\nm:=4\nn = a=b\no = \" \"\np = a`b\nq = \"a\" \"b\"\nr = \"\ns = 'a\nt u = 5\n`v` = 6\n\"w x\" = 7\n  y = 8  \nz = [b]\naa = http://a/#b\nab = a;b\nac = %(b)s\n[c d]\ne=f\n[g.h]\ni=j\n",
    ),
    ("again.ini", "[a]\nx=1\n[b]\n[a]\ny=2\n"),
    ("crlf.ini", "[a]\r\nx=1\r\n"),
    ("bom.ini", "\u{feff}[a]\nx=1\n"),
    ("empty.ini", "[a]\n"),
];

/// Files that both refuse, with the same exit code.
const REFUSED: &[(&str, &str)] = &[
    ("x.yaml", "<<: v\n"),
    ("x.yaml", "a: &x {k: v}\nb:\n  <<: [*x, 1]\n"),
    ("x.yaml", "? [a]\n: v\n"),
    ("x.yaml", "b:\n  ? {a: 1}\n  : v\n"),
    ("a.yaml", "a: b: c\n"),
    ("a.yaml", "- a\n"),
    ("a.yaml", "text\n"),
    ("a.yaml", "a: *none\n"),
    ("a.yaml", "a: 1\na: 2\n"),
    ("a.yaml", "1: x\n"),
    ("a.yaml", "true: x\n"),
    ("a.yaml", "null: x\n"),
    ("a.yaml", "2024-01-01: x\n"),
    ("a.yaml", "a:\n\tb: 1\n"),
    ("a.yaml", "a: 9223372036854775808\n"),
    ("a.yaml", "a: !!int x\n"),
    ("a.yaml", "a: !!bool x\n"),
    ("a.yaml", "a: !!null x\n"),
    ("a.yaml", "a: !!timestamp x\n"),
    ("a.yaml", "a: !!binary '???'\n"),
    ("a.yaml", "a: !!binary 'aGVs bG8='\n"),
    ("a.yaml", "sops: 1\n"),
    ("a.yaml", "a: [1\n"),
    ("a.yaml", "a: \"x\n"),
    ("a.json", "[1]"),
    ("a.json", "1"),
    ("a.json", ""),
    ("a.json", r#"{"a":tru}"#),
    ("a.json", r#"{"a":01}"#),
    ("a.json", r#"{"a":.5}"#),
    ("a.json", r#"{"a":+1}"#),
    ("a.json", r#"{"a":1.}"#),
    ("a.json", r#"{"a":NaN}"#),
    ("a.json", r#"{"a":1e400}"#),
    ("a.json", "{'a':1}"),
    ("a.json", r#"{"a":1,}"#),
    ("a.json", r#"{"a":[1,]}"#),
    ("a.json", r#"{"a" 1}"#),
    ("a.json", r#"{"a":"x\qy"}"#),
    ("a.json", "{\"a\":\"\t\"}"),
    ("a.json", r#"{"sops":1}"#),
    ("a.env", "A\n"),
    ("a.env", "A=1\nB"),
    ("a.env", "sops_x=1\n"),
    ("a.ini", "[a\nx=1\n"),
    ("a.ini", "[]\nx=1\n"),
    ("a.ini", "[a]\nx\n"),
    ("a.ini", "[sops]\nx=1\n"),
];

/// Differences on purpose: file, exit code of the real sops, exit code of ours. docs/compat/sops.md says why.
const DIFFERENT: &[(&str, &str, i32, i32)] = &[
    ("a.json", "{\"a\":1} x", 0, 2),
    ("a.json", "{\"a\":1}{\"b\":2}", 0, 2),
    ("a.json", "\u{feff}{\"a\":1}", 2, 0),
    ("a.yaml", "a: \"x\"#c\n", 0, 2),
    ("a.yaml", "a: \"\\ud83d\\ude00\"\n", 2, 0),
    ("a.yaml", "a: \"\\/\"\n", 2, 0),
    ("a.ini", "[a]\nx=1\nx=2\n", 0, 2),
    ("a.ini", "[a]\nx=1\\\ny=2\n", 0, 2),
    ("a.ini", "[a]\nx=`a`b\n", 0, 2),
];

type Program = fn(&[&str]) -> Command;
const BOTH: [Program; 2] = [theirs, ours];

fn encrypt(program: Program, recipient: &str, pattern: &str, file: &str) -> (Option<i32>, Vec<u8>) {
    let ran = run(program(&["encrypt", "--age", recipient, "--encrypted-regex", pattern, file]), b"");
    (ran.status.code(), ran.stdout.into_bytes())
}

/// What `program` prints of an encrypted file as `target`.
fn printed(program: Program, file: &str, target: Format) -> Vec<u8> {
    let ran = run(program(&["decrypt", "--output-type", target.name(), file]), b"");
    assert!(ran.status.success(), "{file} as {target}: {}", ran.stderr);
    ran.stdout.into_bytes()
}

/// Both encrypt the file, both open both, in its own format and as JSON: all the same values. What ours printed means the
/// same to the real one.
fn agree(name: &str, content: &str, recipient: &str) {
    let format = Format::of_path(name);
    let file = text(&scratch::file(name, content));
    for pattern in [".", "^no such name$"] {
        let sealed = BOTH.map(|program| {
            let (code, sealed) = encrypt(program, recipient, pattern, &file);
            assert_eq!(code, Some(0), "{name}");
            text(&scratch::file(name, sealed))
        });
        for target in [format, Format::Json] {
            let meant = values(&printed(theirs, &sealed[0], target), target);
            for (program, by) in BOTH.into_iter().zip(["sops", "ours"]) {
                for (sealed, of) in sealed.iter().zip(["sops", "ours"]) {
                    let read = values(&printed(program, sealed, target), target);
                    assert_eq!(read, meant, "{name} {pattern:?} as {target}: {by} opened what {of} sealed");
                }
            }
        }
        let again = scratch::file(name, printed(ours, &sealed[1], format));
        let (code, again) = encrypt(theirs, recipient, ".", &text(&again));
        assert_eq!(code, Some(0), "{name}: the real sops refuses what ours printed");
        let again = printed(theirs, &text(&scratch::file(name, again)), Format::Json);
        let meant = printed(theirs, &sealed[0], Format::Json);
        assert_eq!(values(&again, Format::Json), values(&meant, Format::Json), "{name} {pattern:?}: printed by ours");
    }
}

#[test]
fn values_of_every_format_are_read_and_printed_alike() {
    let recipient = recipients().remove(0);
    let mut lines = String::new();
    for (index, line) in YAML.lines().enumerate() {
        lines.push_str(&format!("k{index}: {line}\n"));
    }
    let mut files = vec![("values.yaml", lines.as_str())];
    files.extend(FILES.iter().copied());
    side_by_side(&files, |(name, content)| agree(name, content, &recipient));
}

/// The manifests of `tests/vectors/sops/corpus`, which the pure floor is tested with.
#[test]
fn manifests_are_read_and_printed_alike() {
    let recipient = recipients().remove(0);
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("readable"))
    };
    let folder = std::fs::read_dir(vectors().join("corpus")).expect("readable");
    // The real sops reads no byte order mark before JSON.
    let files: Vec<_> = folder.map(read).filter(|(name, _)| name != "bom.json").collect();
    assert!(files.len() > 20, "the corpus is missing: {}", files.len());
    side_by_side(&files, |(name, content)| agree(name, content, &recipient));
}

#[test]
fn the_same_files_are_refused_but_for_the_known_differences() {
    let recipient = recipients().remove(0);
    let codes = |name: &str, content: &str| {
        let file = text(&scratch::file(name, content));
        BOTH.map(|program| encrypt(program, &recipient, ".", &file).0)
    };
    side_by_side(REFUSED, |(name, content)| {
        let [theirs, ours] = codes(name, content);
        assert!(
            theirs == ours && theirs != Some(0),
            "{name} {content:?}: sops ends with {theirs:?}, ours with {ours:?}"
        );
    });
    side_by_side(DIFFERENT, |(name, content, theirs, ours)| {
        assert_eq!(codes(name, content), [Some(*theirs), Some(*ours)], "{name} {content:?}");
    });
}

/// A path into a plain file of the matrix, and the types to print it as.
const EXTRACTED: &[(&str, &[&str])] = &[
    (
        "manifest.yaml",
        &[
            r#"["stringData"]"#,
            r#"["stringData"]["password"]"#,
            r#"["stringData"]["none"]"#,
            r#"["stringData"]["empty"]"#,
            r#"["metadata"]["labels"]"#,
            r#"["nope"]"#,
            r#"["list"][9]"#,
            "['after']",
            r#"["after"][0]"#,
            "x",
            r#"["a""#,
            "[after]",
        ],
    ),
    (
        "odd.yaml",
        &[
            r#"["numbers"]["octal"]"#,
            r#"["numbers"]["float"]"#,
            r#"["numbers"]["whole"]"#,
            r#"["numbers"]["exponent"]"#,
            r#"["numbers"]["million"]"#,
            r#"["bools"][0]"#,
            r#"["bools"]"#,
            r#"["nested"]"#,
            r#"["nested"][0]"#,
            r#"["emptymap"]"#,
            r#"["emptylist"]"#,
            r#"["copy"]"#,
            r#"["literal"]"#,
            r#"["folded"]"#,
        ],
    ),
    ("times.yaml", &[r#"["times"]["date"]"#, r#"["times"]["zoned"]"#]),
    (
        "manifest.json",
        &[
            r#"["int"]"#,
            r#"["float"]"#,
            r#"["whole"]"#,
            r#"["large"]"#,
            r#"["small"]"#,
            r#"["yes"]"#,
            r#"["nothing"]"#,
            r#"["list"]"#,
            r#"["list"][1]"#,
            r#"["list"][2]"#,
            r#"["map"]"#,
            r#"["emptymap"]"#,
            r#"[""]"#,
            r#"["a.b:c"]"#,
        ],
    ),
    ("manifest.env", &[r#"["PASSWORD"]"#, r#"["EMPTY"]"#, r#"["MULTI"]"#, r#"["nope"]"#]),
    ("manifest.ini", &[r#"["database"]["password"]"#, r#"["DEFAULT"]["global"]"#, r#"["global"]"#]),
];

#[test]
fn extracted_values_and_their_exit_codes_are_alike() {
    let recipient = recipients().remove(0);
    let mut cases = Vec::new();
    for (name, paths) in EXTRACTED {
        let (_, sealed) = encrypt(theirs, &recipient, ".", &text(&vectors().join("matrix/plain").join(name)));
        let sealed = text(&scratch::file(name, sealed));
        cases.extend(paths.iter().map(|path| (sealed.clone(), *path)));
    }
    side_by_side(&cases, |(sealed, path)| {
        for target in [Format::Yaml, Format::Json] {
            let [theirs, ours] = BOTH.map(|program| {
                run(program(&["decrypt", "--extract", path, "--output-type", target.name(), sealed]), b"")
            });
            let what = format!("{sealed} {path} as {target}: {} {}", theirs.stderr, ours.stderr);
            assert_eq!(ours.status.code(), theirs.status.code(), "{what}");
            let (ours, theirs) = (ours.stdout, theirs.stdout);
            if ours != theirs {
                // A list or map: the layout of lists within lists differs. As a value of a map it is a file.
                let as_file = |text: &str| {
                    let lines: String = text.lines().map(|line| format!("  {line}\n")).collect();
                    values(format!("x:\n{lines}").as_bytes(), Format::Yaml)
                };
                assert!(target == Format::Yaml && as_file(&ours) == as_file(&theirs), "{what}\n{theirs}\n{ours}");
            }
        }
    });
}

#[test]
fn a_comment_on_the_line_of_an_empty_collection_opens_in_the_real_sops() {
    let age = recipients().remove(0);
    for plain in [
        "a: [] # x\nb: 1\n",
        "a: {} # x\nb: 1\n",
        "m: {a: [], # x\n  b: 1}\n",
        "m: {a: [] # x\n  }\nb: 1\n",
        "m: {a: []} # x\nb: 1\n",
        "m:\n  k:\n    a: []\t# x\n    # y\n  # z\nb: 1\n",
        "l:\n- [] # x\n- a: {} # y\n",
    ] {
        let file = scratch::file("e.yaml", plain);
        let path = text(&file);
        run_ok(ours(&["encrypt", "-i", "--age", &age, &path]), b"");
        for (label, program) in PROGRAMS {
            let shown = run_ok(program(&["decrypt", &path]), b"");
            assert!(shown.contains("# x") && !shown.contains("ENC["), "{label} {plain}: {shown}");
        }
        // What was put in stands beside the comment.
        let before = run_ok(theirs(&["decrypt", "--output-type", "json", &path]), b"");
        run_ok(ours(&["set", &path, "[\"b\"]", "2"]), b"");
        let after = run_ok(theirs(&["decrypt", "--output-type", "json", &path]), b"");
        assert_ne!(before, after, "{plain}");
        assert!(!run_ok(theirs(&["decrypt", &path]), b"").contains("ENC["), "{plain}");
    }
}

#[test]
fn names_that_end_in_a_colon_in_braces_are_what_they_are_there() {
    let age = recipients().remove(0);
    for plain in [
        "{b:, c: }",
        "{b:}",
        "{c: 1, b:,}",
        "{b:, b: 1}",
        "x: {1:, c :, \"q\":, d:}",
        "{\"q:\":, b:}",
        "x: [b:, {c:}]",
        // As values, too: the text is what stands there, whatever it looks like.
        "{a: b:}",
        "x: {a: b:, c: 12:}\ny: [d: e f:, {g: true:}]",
        "x: {a: &k !!str b::, c: *k }",
        "x: {a: b\n    c:}",
    ] {
        let opened = PROGRAMS.map(|(_, program)| {
            let path = text(&scratch::file("n.yaml", plain));
            run_ok(program(&["encrypt", "-i", "--age", &age, &path]), b"");
            PROGRAMS.map(|(_, reader)| run_ok(reader(&["decrypt", "--output-type", "json", &path]), b""))
        });
        assert!(opened.iter().flatten().all(|shown| *shown == opened[0][0]), "{plain}: {opened:?}");
    }
    for (plain, index) in [
        ("{b:, c: 1}", "[\"b:\"]"),
        ("{b:}", "[\"b:\"]"),
        ("{\"q:\": , b:}", "[\"q:\"]"),
        ("{b:}", "[\"n\"]"),
        ("{a: b:, c: d:}", "[\"a\"]"),
    ] {
        let [first, second] = PROGRAMS.map(|(_, program)| {
            let path = text(&scratch::file("n.yaml", plain));
            run_ok(program(&["encrypt", "-i", "--age", &age, &path]), b"");
            run_ok(program(&["set", &path, index, "\"new\""]), b"");
            run_ok(theirs(&["decrypt", "--output-type", "json", &path]), b"")
        });
        assert_eq!(first, second, "{plain} {index}");
    }
}
