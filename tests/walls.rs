//! What the code's own shape must hold: which floor may use which, what the ground floor may not touch, what the secret
//! types lack, and that the generated CRDs are the committed ones. Builds and runs without any feature.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use latchwork::pure::crd;
use latchwork::pure::desired::{Candidate, DesiredSecret, ObservedSecret, Proof};
use latchwork::pure::secret::{FingerprintKey, Plaintext, SecretData};

macro_rules! holds_secrets {
    ($($type:ty),+) => {$(
        static_assertions::assert_not_impl_any!(
            $type: std::fmt::Debug, std::fmt::Display, Clone, PartialEq, std::ops::Deref, serde::Serialize, AsRef<[u8]>
        );
    )+};
}
holds_secrets!(Plaintext, SecretData, FingerprintKey, Candidate, DesiredSecret, ObservedSecret, Proof);

/// Modules of the ground floor, in order of height: a module uses those above it in this list.
const PURE: [&str; 16] = [
    "secret", "limits", "error", "duration", "format", "crd", "template", "queue", "keys", "access", "desired", "sops",
    "sealed", "external", "gitops", "",
];

/// Adapters that any other may stand on, in order of height: one of them uses those before it in this list at most.
const GROUND: [&str; 8] = ["asking", "atomic", "exchange", "files", "listen", "parallel", "process", "aws_http"];

/// What the ground floor must not name outside its tests. The compiler holds the crates (they are not there without
/// features); this holds the parts of std.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::env",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "getrandom",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Source files below `dir`, without the unit tests that stand in a file or folder of their own.
fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Module path of a source file below `src`, such as `["pure", "sops", "mac"]`.
fn module_of(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        parts.pop();
    }
    parts
}

/// Code without comments and without the unit tests, which may use anything.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path into this crate that the code names, as absolute module paths. `use a::{b, c}` gives `a::b` and `a::c`.
fn crate_paths(module: &[String], code: &str) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for (start, anchor) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        // `super::super::` is taken from its first `super`, and `pub(in crate::…)` is no use.
        if before == ':' || before.is_alphanumeric() || before == '_' || code[..start].ends_with("in ") {
            continue;
        }
        let mut rest = &code[start..];
        let mut base: Vec<String> = if anchor == "crate::" { vec![] } else { module.to_vec() };
        if anchor == "crate::" {
            rest = &rest["crate::".len()..];
        }
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(&base, rest, &mut paths);
    }
    paths
}

/// Adds what `rest` (`a::{b, c}`, `a::b`) names below `base`.
fn expand(base: &[String], rest: &str, paths: &mut BTreeSet<Vec<String>>) {
    if let Some(group) = rest.strip_prefix('{') {
        for item in group_items(group) {
            expand(base, item, paths);
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let path = [base, &[word.to_owned()]].concat();
    match after.strip_prefix("::") {
        None if word == "self" => drop(paths.insert(base.to_vec())),
        Some(next) => expand(&path, next, paths),
        None => drop(paths.insert(path)),
    }
}

/// The items of a use group, up to its closing brace.
fn group_items(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut items) = (0usize, 0, vec![]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                items.push(group[from..at].trim());
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn allowed(from: &[String], to: &[String]) -> bool {
    let part = |path: &[String], at: usize| path.get(at).cloned().unwrap_or_default();
    let (floor, target) = (part(from, 0), part(to, 0));
    match (floor.as_str(), target.as_str()) {
        // The map names the floors.
        ("", _) => true,
        ("pure", "pure") => {
            let height = |name: &str| PURE.iter().position(|known| *known == name);
            let (own, used) = (part(from, 1), part(to, 1));
            own.is_empty()
                || own == used
                || matches!((height(&own), height(&used)), (Some(own), Some(used)) if used < own)
        }
        ("adapters", "pure") | ("operator", "pure" | "adapters" | "operator") => true,
        ("adapters", "adapters") => {
            let (own, used) = (part(from, 1), part(to, 1));
            let height = |name: &str| GROUND.iter().position(|known| *known == name);
            let lower = |used| height(&own).is_none_or(|own| used < own);
            own.is_empty() || own == used || height(&used).is_some_and(lower)
        }
        // The entry points: how to run it, what it can be told, how it logs.
        ("cli", "operator") => {
            matches!(part(to, 1).as_str(), "" | "KINDS" | "SEALED_ONLY" | "run" | "settings" | "logging")
        }
        ("cli", "pure" | "adapters" | "cli") | ("main", "cli") => true,
        _ => false,
    }
}

#[test]
fn floors_use_only_what_stands_lower() {
    let mut files = vec![];
    rust_files(&root().join("src"), &mut files);
    let mut wrong = vec![];
    for file in &files {
        let module = module_of(file);
        let code = code_of(&fs::read_to_string(file).unwrap());
        for path in crate_paths(&module, &code) {
            if !allowed(&module, &path) {
                wrong.push(format!("{} uses {}", module.join("::"), path.join("::")));
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found");
    assert!(wrong.is_empty(), "against the order of the floors:\n{}", wrong.join("\n"));
}

#[test]
fn the_wall_check_itself_sees_what_it_must_see() {
    let module: Vec<String> = ["pure", "sops", "mac"].map(String::from).to_vec();
    let code =
        "use crate::{pure::queue::Queue, cli};\nuse super::super::gitops::x;\nfn f() { crate::adapters::k8s::a() }";
    let seen: Vec<String> = crate_paths(&module, code).into_iter().map(|p| p.join("::")).collect();
    assert_eq!(seen, ["adapters::k8s::a", "cli", "pure::gitops::x", "pure::queue::Queue"]);
    let to = |path: &str| path.split("::").map(String::from).collect::<Vec<_>>();
    assert!(allowed(&module, &to("pure::queue::Queue")));
    for refused in ["adapters::k8s::a", "cli", "pure::gitops::x", "operator::run"] {
        assert!(!allowed(&module, &to(refused)), "{refused}");
    }
    for (from, used, may) in [
        ("adapters::kms::vault", "adapters::exchange::call", true),
        ("adapters::kms::vault", "adapters::kms::error", true),
        ("adapters::kms::vault", "adapters::stores::vault", false),
        ("adapters::exchange", "adapters::kms::error", false),
        ("adapters::exchange", "adapters::files", false),
        ("adapters::exchange", "adapters::aws_http", false),
        ("adapters::aws_http", "adapters::exchange", true),
    ] {
        assert_eq!(allowed(&to(from), &to(used)), may, "{from} {used}");
    }
}

#[test]
fn the_ground_of_the_adapters_is_there() {
    for name in GROUND {
        let at = root().join("src/adapters").join(name);
        assert!(at.is_dir() || at.with_extension("rs").is_file(), "{name}");
    }
}

#[test]
fn the_ground_floor_names_no_clock_file_or_network() {
    let mut files = vec![];
    rust_files(&root().join("src/pure"), &mut files);
    let mut wrong = vec![];
    for file in files {
        let code = code_of(&fs::read_to_string(&file).unwrap());
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{} names {word}", file.strip_prefix(root()).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

#[test]
fn the_program_is_thin() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 20, "src/main.rs holds more than a call");
}

#[test]
fn committed_crds_are_the_generated_ones_and_fit_a_client_side_apply() {
    let definitions = crd::all();
    assert!(!definitions.is_empty());
    for (file, definition) in &definitions {
        let generated = crd::manifest(definition).unwrap();
        let committed = fs::read_to_string(root().join("crds").join(file)).unwrap_or_default();
        assert!(committed == generated, "crds/{file} is not what the code generates: run `make crds`");
        // kubectl's client-side apply keeps a copy in an annotation, which the API server caps at 256 KiB.
        let json = serde_json::to_string(definition).unwrap();
        assert!(json.len() < 256 * 1024, "crds/{file} is {} bytes of JSON", json.len());
    }
    let known: BTreeSet<String> = definitions.keys().map(|file| (*file).to_owned()).collect();
    let present = fs::read_dir(root().join("crds")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let present: BTreeSet<String> =
        present.filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml").collect();
    assert_eq!(present, known, "crds/ holds a file that no kind generates, or lacks one");
}
