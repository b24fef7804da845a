//! Everything that `latchwork sops` writes, opened by the real sops of today and by an older one: the plain files of
//! `tests/vectors/sops/matrix` with every selector and kind of MAC, once for every kind of key with that key alone, and
//! through every verb that changes a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use latchwork::pure::format::Format;

use super::pgp;
use super::sops::{Program, ours, prepared, recipients, run_raw, text, theirs, values, vectors};
use crate::rig::process::run;
use crate::rig::{process, scratch, tools};

const SELECTORS: [&str; 7] = [
    "",
    ", encrypted_suffix: password",
    ", unencrypted_suffix: _plain",
    ", encrypted_regex: '^(password|API_KEY|api_.*|list)$'",
    ", unencrypted_regex: '^(kind|apiVersion|metadata|global|URL_.*)$'",
    ", encrypted_comment_regex: mark",
    ", unencrypted_comment_regex: mark",
];

/// A plain file, where `set` adds a value, and what the editor changes.
struct Plain {
    file: &'static str,
    index: &'static str,
    edit: Option<(&'static str, &'static str)>,
}

const fn plain(file: &'static str, index: &'static str, edit: Option<(&'static str, &'static str)>) -> Plain {
    Plain { file, index, edit }
}

const MANIFESTS: [Plain; 5] = [
    plain("manifest.yaml", r#"["added"]"#, Some(("s3cr3t", "edited"))),
    plain("stream.yaml", r#"["added"]"#, Some(("Three", "edited"))),
    plain("manifest.json", r#"["added"]"#, Some(("empty name", "edited"))),
    plain("manifest.env", r#"["added"]"#, Some(("secret value", "edited"))),
    plain("manifest.ini", r#"["database"]["added"]"#, Some(("secret", "edited"))),
];

const ODD: [Plain; 9] = [
    plain("odd.yaml", r#"["added"]"#, None),
    plain("times.yaml", r#"["added"]"#, None),
    plain("deep.yaml", r#"["added"]"#, None),
    plain("crlf.yaml", r#"["added"]"#, Some(("one", "edited"))),
    plain("cut.yaml", r#"["added"]"#, None),
    plain("cut.json", r#"["added"]"#, None),
    plain("big.json", r#"["added"]"#, None),
    plain("crlf.env", r#"["added"]"#, None),
    plain("cut.ini", r#"["a"]["added"]"#, None),
];

const BINARY: [Plain; 3] = [plain("text.bin", "", None), plain("nul.bin", "", None), plain("empty.bin", "", None)];

/// One file on its way.
struct Work {
    plain: &'static Plain,
    rule: String,
    identity: Option<PathBuf>,
}

/// The public half of an ssh key, without its comment.
fn public(name: &str) -> String {
    let line = fs::read_to_string(vectors().join(name)).expect("readable");
    line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Kinds of keys, in turns: which key wraps has nothing to do with what is wrapped.
fn keys() -> Vec<(String, Option<PathBuf>)> {
    let known = recipients();
    let groups = format!(
        "shamir_threshold: 2, key_groups: [{{age: ['{}']}}, {{age: ['{}', '{}']}}]",
        known[0], known[1], known[2]
    );
    vec![
        (format!("age: '{}'", known[0]), None),
        (format!("age: '{}'", public("key-ed25519.pub")), Some(vectors().join("key-ed25519"))),
        (groups, None),
        (format!("age: '{}'", public("key-rsa.pub")), Some(vectors().join("key-rsa"))),
        (format!("pgp: '{}'", pgp::fingerprints().join(",")), None),
    ]
}

fn work() -> Vec<Work> {
    let keys = keys();
    let mut turns = keys.iter().cycle();
    let mut all = Vec::new();
    let mut add = |plain: &'static Plain, selector: &str, only: bool| {
        let (key, identity) = turns.next().expect("a cycle");
        let mac = if only { ", mac_only_encrypted: true" } else { "" };
        all.push(Work { plain, rule: format!("{key}{selector}{mac}"), identity: identity.clone() });
    };
    for plain in &MANIFESTS {
        for selector in SELECTORS.iter().filter(|it| !(it.contains("comment") && plain.file.ends_with("json"))) {
            add(plain, selector, false);
            add(plain, selector, true);
        }
    }
    for plain in &ODD {
        add(plain, SELECTORS[0], false);
        // Before 3.13.2 a clear integer of JSON beyond 53 bits was another number.
        if plain.file != "big.json" {
            add(plain, ", encrypted_regex: 'password|strings'", true);
        }
    }
    BINARY.iter().for_each(|plain| add(plain, SELECTORS[0], false));
    all
}

/// One file of the product of formats, selectors and MACs.
pub struct Sealing {
    pub file: &'static str,
    selector: &'static str,
    mac_only: bool,
}

impl Sealing {
    /// A config file with one rule, to seal so for these keys.
    pub fn rules(&self, keys: &str) -> PathBuf {
        let mac = if self.mac_only { ", mac_only_encrypted: true" } else { "" };
        scratch::file(".sops.yaml", format!("creation_rules:\n  - {{{keys}{}{mac}}}\n", self.selector))
    }

    pub fn plain(&self) -> PathBuf {
        vectors().join("matrix/plain").join(self.file)
    }

    /// A rule that was ignored would open as well. Binary files take none.
    pub fn assert_sealed_so(&self, sealed: &[u8]) {
        let sealed = String::from_utf8_lossy(sealed);
        let selector = self.selector.trim_start_matches(", ").split(':').next().unwrap_or_default();
        if Format::of_path(self.file) != Format::Binary {
            assert!(sealed.contains(selector), "{self}: {sealed}");
            assert_eq!(sealed.contains("mac_only_encrypted"), self.mac_only, "{self}: {sealed}");
        }
    }

    /// `opened` must be what was sealed; `how` says with what.
    pub fn assert_same(&self, opened: &[u8], how: &str) {
        let format = Format::of_path(self.file);
        let plain = fs::read(self.plain()).expect("readable");
        if format == Format::Binary {
            assert_eq!(opened, plain, "{how}: {self}");
        } else {
            assert_eq!(values(opened, format), values(&plain, format), "{how}: {self}");
        }
    }
}

impl std::fmt::Display for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}, mac_only_encrypted: {}", self.file, self.selector, self.mac_only)
    }
}

/// Every format with every selector and kind of MAC.
pub fn product() -> Vec<Sealing> {
    let mut all = Vec::new();
    for file in MANIFESTS.iter().chain(&BINARY[..1]).map(|plain| plain.file) {
        for selector in SELECTORS {
            all.extend([false, true].map(|mac_only| Sealing { file, selector, mac_only }));
        }
    }
    all
}

/// What a program finds that has the private key of one local kind, and no other. Without, it finds none.
type Alone = (&'static str, &'static str, PathBuf);

/// The rule that names a key of every local kind, and each of them alone.
fn local_kinds() -> (String, Vec<Alone>) {
    let mut age = process::command(tools::path("age-keygen"));
    age.arg("-y").arg(vectors().join("key-pq.txt"));
    let post_quantum = process::run_ok(age, b"");
    let known = [&recipients()[0], &public("key-ed25519.pub"), &public("key-rsa.pub"), post_quantum.trim()].join(",");
    let lines = fs::read_to_string(vectors().join("keys.txt")).expect("readable");
    let first = lines.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).expect("an identity");
    let [rsa, curve, nist] = pgp::keyrings_of_one();
    let kinds = vec![
        ("x25519", "SOPS_AGE_KEY_FILE", scratch::file("keys.txt", first)),
        ("ssh_ed25519", "SOPS_AGE_SSH_PRIVATE_KEY_FILE", vectors().join("key-ed25519")),
        ("ssh_rsa", "SOPS_AGE_SSH_PRIVATE_KEY_FILE", vectors().join("key-rsa")),
        ("post_quantum", "SOPS_AGE_KEY_FILE", vectors().join("key-pq.txt")),
        ("pgp_rsa", "GNUPGHOME", rsa),
        ("pgp_curve", "GNUPGHOME", curve),
        ("pgp_nist", "GNUPGHOME", nist),
    ];
    (format!("age: '{known}', pgp: '{}'", pgp::fingerprints().join(",")), kinds)
}

/// The version that many machines still have.
fn older(arguments: &[&str]) -> Command {
    prepared(process::command(tools::path("sops-3.12.2")), arguments)
}

/// What the real programs read in a file, after each step.
struct Check<'w> {
    work: &'w Work,
    file: PathBuf,
    format: Format,
}

impl Check<'_> {
    fn run(&self, mut command: Command) -> Vec<u8> {
        if let Some(identity) = &self.work.identity {
            command.env("SOPS_AGE_SSH_PRIVATE_KEY_FILE", identity);
        }
        run_raw(pgp::with_gpg(command), b"")
    }

    fn change(&self, arguments: &[&str]) {
        let path = text(&self.file);
        let arguments: Vec<&str> = arguments.iter().map(|it| if *it == "FILE" { &path } else { *it }).collect();
        self.run(ours(&arguments));
    }

    fn opens(&self, step: &str, program: fn(&[&str]) -> Command, expected: &[u8]) {
        let opened = self.run(program(&["decrypt", &text(&self.file)]));
        let what = || format!("{} {}: {step}", self.work.plain.file, self.work.rule);
        if self.format == Format::Binary {
            assert_eq!(opened, expected, "{}", what());
        } else {
            assert_eq!(values(&opened, self.format), values(expected, self.format), "{}", what());
        }
    }

    /// With one value more than `expected`.
    fn opens_with_added(&self, program: fn(&[&str]) -> Command, expected: &[u8]) {
        let opened = values(&self.run(program(&["decrypt", &text(&self.file)])), self.format);
        let (added, rest): (Vec<_>, Vec<_>) = opened.into_iter().partition(|line| line.contains("/added "));
        assert!(matches!(&added[..], [one] if one.ends_with("\"new value\"")), "{}: {added:?}", self.file.display());
        assert_eq!(rest, values(expected, self.format), "{}", self.file.display());
    }
}

fn through_every_verb(work: &Work, other_rules: &Path) {
    let Plain { file: name, index, edit } = work.plain;
    let mut expected = fs::read(vectors().join("matrix/plain").join(name)).expect("readable");
    if *name == "odd.yaml" {
        // sops itself prints this one so that no reader takes it.
        let text = String::from_utf8(expected).expect("text");
        expected = text.replace("  - \"\\n\\nleading breaks\"\n", "").into_bytes();
    }
    let file = scratch::file(name, &expected);
    let check = Check { work, file, format: Format::of_path(name) };
    let rules = scratch::file(".sops.yaml", format!("creation_rules:\n  - {{{}}}\n", work.rule));
    check.change(&["--config", &text(&rules), "encrypt", "-i", "FILE"]);
    let sealed = fs::read(&check.file).expect("readable");
    assert!(String::from_utf8_lossy(&sealed).contains("sops"), "{name}");
    check.opens("encrypt", theirs, &expected);
    check.opens("encrypt", older, &expected);
    if !index.is_empty() {
        check.change(&["set", "FILE", index, "\"new value\""]);
        check.opens_with_added(theirs, &expected);
        check.change(&["unset", "FILE", index]);
        check.opens("unset", older, &expected);
    }
    check.change(&["rotate", "-i", "FILE"]);
    check.opens("rotate", theirs, &expected);
    check.change(&["--config", &text(other_rules), "updatekeys", "-y", "FILE"]);
    check.opens("updatekeys", older, &expected);
    if let Some((from, to)) = edit {
        let mut command = ours(&["edit", &text(&check.file)]);
        command.env("EDITOR", format!("sed -i 's/{from}/{to}/'"));
        check.run(command);
        expected = String::from_utf8(expected).expect("text").replace(from, to).into_bytes();
        check.opens("edit", theirs, &expected);
        check.opens("edit", older, &expected);
    }
}

/// Runs `one` for every item on a few threads: they wait for processes more than they compute.
pub fn side_by_side<T: Sync>(items: &[T], one: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(item)));
                    if let Err(panic) = ran {
                        let text = panic.downcast_ref::<String>().cloned();
                        failed.lock().expect("alone").push(text.unwrap_or_else(|| "a panic".into()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("alone");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn what_ours_writes_opens_with_sops_of_today_and_before() {
    let other_rules = scratch::file(".sops.yaml", format!("creation_rules:\n  - {{age: '{}'}}\n", recipients()[1]));
    let work = work();
    assert!(work.len() > 80, "{}", work.len());
    side_by_side(&work, |work| through_every_verb(work, &other_rules));
}

#[test]
fn each_kind_of_key_alone_opens_every_format_selector_and_mac_that_ours_sealed() {
    let (keys, kinds) = local_kinds();
    let nothing = scratch::dir("gnupg");
    let product = product();
    assert_eq!(product.len(), 6 * 7 * 2);
    let with = |mut command: Command, key: Option<&Alone>| {
        command.env_remove("SOPS_AGE_KEY_FILE").env("GNUPGHOME", &nothing);
        if let Some((_, variable, path)) = key {
            command.env(variable, path);
        }
        command
    };
    let numbered: Vec<_> = product.iter().enumerate().collect();
    side_by_side(&numbered, |(number, sealing)| {
        let seal = ["--config", &text(&sealing.rules(&keys)), "encrypt", &text(&sealing.plain())].map(str::to_owned);
        let sealed = run_raw(pgp::with_gpg(ours(&seal.each_ref().map(String::as_str))), b"");
        sealing.assert_sealed_so(&sealed);
        let file = text(&scratch::file(sealing.file, sealed));
        let opens = |version: &str, program: Program, key: &Alone| {
            let opened = run_raw(with(program(&["decrypt", &file]), Some(key)), b"");
            sealing.assert_same(&opened, &format!("{version} with {}", key.0));
        };
        kinds.iter().for_each(|key| opens("3.13.3", theirs, key));
        // Two kinds in turns: in the fourteen files of a format each kind comes four times.
        for turn in [*number, number + 3] {
            opens("3.12.2", older, &kinds[turn % kinds.len()]);
        }
        // Else "alone" would say nothing.
        if sealing.selector.is_empty() {
            assert!(!run(with(theirs(&["decrypt", &file]), None), b"").status.success(), "{sealing}");
        }
    });
}
