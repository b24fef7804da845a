use super::*;
use crate::pure::keys::age::{Identities, Recipient};
use crate::pure::sops::{Plan, open, seal, wrap_local};

const LABELS: Labels<'_> = Labels { ours: "ours", theirs: "theirs", size: 7 };
const NOW: &str = "2026-01-02T03:04:05Z";

fn counter() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u64;
    move |buffer| {
        for chunk in buffer.chunks_mut(8) {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn identities() -> Identities {
    Identities::parse(include_str!("../../../../tests/vectors/sops/keys.txt"), "keys.txt").expect("parses")
}

fn recipients() -> Vec<KeyRef> {
    let text = include_str!("../../../../tests/vectors/sops/keys.txt");
    let keys = text.lines().filter_map(|line| line.strip_prefix("# public key: "));
    keys.map(|key| {
        assert!(Recipient::parse(key).is_ok());
        KeyRef::Age { recipient: key.into() }
    })
    .collect()
}

fn sealed(text: &str, keys: &[KeyRef], random: Random<'_>) -> Vec<u8> {
    let tree = format::parse(text.as_bytes(), format::Format::Yaml).expect("parses");
    let plan = Plan::for_keys(keys.to_vec());
    let out = seal(&tree, format::Format::Yaml, &plan, NOW, random, &mut wrap_local(&identities())).expect("seals");
    out.expose().to_vec()
}

/// The file with another plaintext under the same data key.
fn edited(file: &[u8], text: &str, random: Random<'_>) -> Vec<u8> {
    let document = crate::pure::sops::parse(file, format::Format::Yaml).expect("parses");
    let opened = open(&document, &identities()).unwrap_or_else(|e| panic!("{e}"));
    let tree = format::parse(text.as_bytes(), format::Format::Yaml).expect("parses");
    crate::pure::sops::reseal(&opened, &tree, NOW, random).expect("seals").expose().to_vec()
}

fn run(base: &[u8], ours: &[u8], theirs: &[u8], random: Random<'_>) -> Result<(String, Vec<String>), String> {
    let parse = |bytes: &[u8]| crate::pure::sops::parse(bytes, format::Format::Yaml).expect("parses");
    let documents = [parse(base), parse(ours), parse(theirs)];
    let keys = identities();
    let [base, ours, theirs] = documents.each_ref().map(|d| open(d, &keys).unwrap_or_else(|e| panic!("{e}")));
    let merged = merge(Some(&base), &ours, &theirs, LABELS, NOW, random, &mut wrap_local(&identities()));
    let merged = merged.map_err(|error| error.to_string())?;
    Ok((String::from_utf8(merged.bytes.expose().to_vec()).expect("text"), merged.conflicts))
}

fn plain(text: &str) -> String {
    let document = crate::pure::sops::parse(text.as_bytes(), format::Format::Yaml).expect("parses");
    let opened = open(&document, &identities()).unwrap_or_else(|e| panic!("{e}"));
    opened.emit(format::Format::Yaml).expect("emits").expose_str().expect("text").to_owned()
}

#[test]
fn both_sides_keep_their_ciphertext() {
    let mut random = counter();
    let key = &recipients()[..1];
    let base = sealed("a: x\nb: v\nc: z\n", key, &mut random);
    let ours = edited(&base, "# ours\na: 1\nb: v\nc: z\n", &mut random);
    let theirs = edited(&base, "a: x\nb: 2\nc: z\nd: w\n", &mut random);
    let (text, conflicts) = run(&base, &ours, &theirs, &mut random).expect("merges");
    assert!(conflicts.is_empty());
    assert_eq!(plain(&text), "# ours\na: 1\nb: 2\nc: z\nd: w\n");
    let line = |file: &[u8], name: &str| {
        let text = std::str::from_utf8(file).expect("text");
        text.lines().find(|line| line.starts_with(name)).expect("there").to_owned()
    };
    for (file, name) in [(&ours, "a:"), (&theirs, "b:"), (&base, "c:"), (&theirs, "d:")] {
        assert_eq!(line(text.as_bytes(), name), line(file, name));
    }
    // Nothing to merge, nothing to write.
    assert_eq!(run(&base, &ours, &base, &mut random).expect("merges").0.as_bytes(), ours);
}

#[test]
fn conflicts_hold_ciphertext_and_the_mac_of_each_side() {
    let mut random = counter();
    let key = &recipients()[..1];
    let base = sealed("a: x\nb: v\n", key, &mut random);
    let ours = edited(&base, "a: ours\nb: v\n", &mut random);
    let theirs = edited(&base, "a: theirs\nb: 2\n", &mut random);
    let (text, conflicts) = run(&base, &ours, &theirs, &mut random).expect("merges");
    assert_eq!(conflicts, ["a"]);
    assert_eq!(text.matches("<<<<<<< ours\n").count(), 2, "{text}");
    assert!(!text.contains("a: ours") && !text.contains("a: theirs"), "{text}");
}

#[test]
fn a_rotation_wins_and_recipients_are_a_set() {
    let mut random = counter();
    let keys = recipients();
    let base = sealed("a: x\nb: v\n", &keys[..1], &mut random);
    let ours = edited(&base, "a: 1\nb: v\n", &mut random);
    let parse = |bytes: &[u8]| crate::pure::sops::parse(bytes, format::Format::Yaml).expect("parses");
    let document = parse(&base);
    let opened = open(&document, &identities()).unwrap_or_else(|e| panic!("{e}"));
    let rotated =
        crate::pure::sops::rotate(&opened, &[keys[1..2].to_vec()], 0, NOW, &mut random, &mut wrap_local(&identities()));
    let rotated = rotated.expect("rotates").expose().to_vec();
    let names =
        |text: &str| -> Vec<String> { parse(text.as_bytes()).recipients().map(|key| key.key.to_string()).collect() };
    for (ours, theirs) in [(&ours, &rotated), (&rotated, &ours)] {
        let (text, _) = run(&base, ours, theirs, &mut random).expect("merges");
        assert_eq!(plain(&text), "a: 1\nb: v\n");
        assert_eq!(names(&text), [keys[1].to_string()]);
        let merged = parse(text.as_bytes());
        let merged = open(&merged, &identities()).unwrap_or_else(|e| panic!("{e}"));
        assert!(!same_data_key(&merged, &opened), "the old data key is out");
    }
    let add = |more: usize, random: Random<'_>| {
        let keys = vec![keys[0].clone(), keys[more].clone()];
        let out = crate::pure::sops::rewrap(
            &document,
            opened.data_key(),
            &[keys],
            0,
            NOW,
            random,
            &mut wrap_local(&identities()),
        );
        out.expect("wraps").expose().to_vec()
    };
    let (one, two) = (add(1, &mut random), add(2, &mut random));
    let (text, _) = run(&base, &one, &two, &mut random).expect("merges");
    assert_eq!(names(&text), [0, 1, 2].map(|at| keys[at].to_string()));
}
