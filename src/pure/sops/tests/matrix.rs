//! The files that each version of sops made of the same plain files, with every selector, kind of MAC and kind of key:
//! `tests/vectors/sops/matrix/VERSION/CASE/FILE`, walked at run time.

use super::*;

/// The local kinds of keys: their name, the private half, and the version that brought them. The files were sealed to
/// PGP keys through gpg; here they open without it.
const KINDS: [(&str, &str, (u32, u32)); 7] = [
    ("x25519", "tests/vectors/sops/keys.txt", (3, 7)),
    ("ssh_ed25519", "tests/vectors/sops/key-ed25519", (3, 10)),
    ("ssh_rsa", "tests/vectors/sops/key-rsa", (3, 10)),
    ("post_quantum", "tests/vectors/sops/key-pq.txt", (3, 12)),
    ("pgp_rsa", "keys-example/.latchwork/keys/person.asc", (3, 7)),
    ("pgp_curve", "keys-example/.latchwork/keys/cluster.asc", (3, 7)),
    ("pgp_nist", "tests/vectors/pgp/keys/nist.asc", (3, 7)),
];

const VERSIONS: [(&str, (u32, u32)); 5] =
    [("3.7.3", (3, 7)), ("3.9.0", (3, 9)), ("3.12.2", (3, 12)), ("3.13.1", (3, 13)), ("3.13.3", (3, 13))];

const FILES: [&str; 6] = ["manifest.yaml", "pair.yaml", "manifest.json", "manifest.env", "manifest.ini", "text.bin"];

/// The private keys of one kind, and no others.
fn alone(file: &str) -> Identities {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("readable");
    Identities::parse(&text, file).expect("a key")
}

/// The folders of `path`, or its files, in order.
fn entries(path: &Path, folders: bool) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(path).expect("readable").map(|e| e.expect("entry").path()).collect();
    paths.retain(|path| path.is_dir() == folders);
    paths.sort();
    paths
}

/// Values without the difference between integer and float: old versions took every number of a JSON file for a float.
fn untyped(branches: &[Branch]) -> Vec<String> {
    let number = |line: String| match line.split_once(" float ") {
        Some((path, text)) => format!("{path} int {text}"),
        None => line,
    };
    values(branches).into_iter().map(number).collect()
}

/// Opens one file and compares it with the plain file that it was made of.
fn check(path: &Path, plain: &Path, known: &Identities) -> Result<(), String> {
    let format = Format::of_path(&path.to_string_lossy());
    let bytes = fs::read(path).expect("readable");
    let plain = fs::read(plain).expect("readable");
    let document = parse(&bytes, format).map_err(|error| error.to_string())?;
    let opened = open(&document, known).map_err(|error| error.to_string())?;
    opened.proof().map_err(|error| error.to_string())?;
    let printed = opened.emit(format).map_err(|error| error.to_string())?;
    if format == Format::Binary {
        return if printed.expose() == plain { Ok(()) } else { Err("other bytes".into()) };
    }
    let same = |what: &str, ours: Vec<String>, theirs: Vec<String>| match ours == theirs {
        true => Ok(()),
        false => Err(format!("{what}:\n  {}\ninstead of\n  {}", ours.join("\n  "), theirs.join("\n  "))),
    };
    let meant = format::parse(&plain, format).map_err(|error| error.to_string())?;
    same("values", untyped(opened.branches()), untyped(&meant.branches))?;
    same("comments", comments(opened.branches()), comments(&meant.branches))?;
    let again = format::parse(printed.expose(), format).map_err(|error| error.to_string())?;
    same("printed values", untyped(&again.branches), untyped(&meant.branches))?;
    let clear = !String::from_utf8_lossy(printed.expose()).contains("ENC[AES256_GCM");
    clear.then_some(()).ok_or_else(|| "ciphertext is left".into())
}

/// Every file that the product of selectors, MACs and formats has at `version`.
fn product(version: (u32, u32)) -> Vec<(&'static str, bool, &'static str)> {
    let mut all = Vec::new();
    for selector in ["none"].into_iter().chain(selector::NAMES) {
        for only in [false, true] {
            if (only || selector.contains("comment")) && version < (3, 9) {
                continue;
            }
            // Since 3.11.0 binary files have neither selector nor kind of MAC.
            let binary = version < (3, 11) || (selector == "none" && !only);
            let files = FILES.iter().filter(|file| binary || **file != "text.bin");
            all.extend(files.map(|file| (selector, only, *file)));
        }
    }
    all
}

#[test]
fn every_format_selector_and_mac_of_every_version_opens_with_each_kind_of_key_alone() {
    let matrix = vectors().join("matrix");
    let keys: Vec<_> = KINDS.iter().map(|(kind, file, since)| (kind, alone(file), since)).collect();
    let (mut seen, mut failed) = (0, Vec::new());
    for (version, now) in VERSIONS {
        let kinds: Vec<_> = keys.iter().filter(|(.., since)| now >= **since).collect();
        for (selector, only, file) in product(now) {
            let mac = if only { "only" } else { "whole" };
            let name = format!("{version}/{selector}-{mac}-all/{file}");
            let path = matrix.join(&name);
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let document = parse(&bytes, Format::of_path(file)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let metadata = document.metadata();
            assert_eq!(metadata.version, version, "{name}");
            assert_eq!(metadata.mac_only_encrypted, only, "{name}");
            assert_eq!(metadata.selector.parts().0, selector.replace("none", "unencrypted_suffix"), "{name}");
            // One for each kind, so each of them opens its own and nothing else.
            assert_eq!(metadata.groups.iter().map(Vec::len).collect::<Vec<_>>(), [kinds.len()], "{name}");
            for (kind, known, _) in &kinds {
                seen += 1;
                if let Err(what) = check(&path, &matrix.join("plain").join(file), known) {
                    failed.push(format!("{name} with {kind}: {what}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {seen}\n{}", failed.len(), failed.join("\n"));
    assert_eq!(seen, 30 * 4 + 84 * 4 + 3 * 71 * 7);
}

#[test]
fn every_file_of_every_version_opens_to_what_it_was_made_of() {
    let mut known = Identities::new();
    KINDS.iter().for_each(|(_, file, _)| known.extend(alone(file)));
    let matrix = vectors().join("matrix");
    let (mut seen, mut failed) = (0, Vec::new());
    for version in entries(&matrix, true).iter().filter(|folder| !folder.ends_with("plain")) {
        for file in entries(version, true).iter().flat_map(|case| entries(case, false)) {
            let plain = matrix.join("plain").join(file.file_name().expect("named"));
            seen += 1;
            if let Err(what) = check(&file, &plain, &known) {
                failed.push(format!("{}: {what}", file.strip_prefix(&matrix).expect("below").display()));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {seen} files\n{}", failed.len(), failed.join("\n"));
    assert!(seen > 530, "vectors are missing: {seen}");
}
