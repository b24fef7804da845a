//! The files that each version of sops made of the same plain files, with every selector, kind of MAC and kind of key:
//! `tests/vectors/sops/matrix/VERSION/CASE/FILE`, walked at run time.

use super::*;

/// The files of kinds `pgp_*` were sealed through gpg; here they open without it.
const PGP_KEYS: [&str; 3] = [
    "keys-example/.latchwork/keys/person.asc",
    "keys-example/.latchwork/keys/cluster.asc",
    "tests/vectors/pgp/keys/nist.asc",
];

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

#[test]
fn every_file_of_every_version_opens_to_what_it_was_made_of() {
    let mut known = identities(&KEYS);
    for file in PGP_KEYS {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("readable");
        known.extend(Identities::parse(&text, file).expect("a key"));
    }
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
    assert!(seen > 420, "vectors are missing: {seen}");
}
