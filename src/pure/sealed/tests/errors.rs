//! Why an object does not open, and how it is said.

use super::*;

#[test]
fn errors_are_grouped_as_the_incumbent_groups_them() {
    let good = sealed(0, Scope::Strict, "n", "s", "v");
    let object = strict(json!({ "encryptedData": {
        "k3": sealed(1, Scope::Strict, "n", "s", "v"), "k1": null, "good": good, "bad": "?", "worse": "AA=",
    } }));
    let error = failed(&object, &keys(&[0]));
    let text = error.to_string();
    let mut lines: Vec<_> = text.split('\n').collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "illegal base64 data at input byte 0 (bad)",
            "illegal base64 data at input byte 3 (worse)",
            "no key could decrypt secret (k1, k3)",
        ]
    );
    assert_eq!(error.retry(), Retry::OnChange);
}

#[test]
fn the_hint_says_why() {
    let with = |keys: &SealingKeys, text: String| {
        let object = strict(json!({ "encryptedData": { "a": text } }));
        let error = failed(&object, keys);
        assert_eq!(error.to_string(), "no key could decrypt secret (a)");
        (error.reason(), error.hint())
    };
    let both = keys(&[0, 1]);
    let good = || sealed(0, Scope::Strict, "n", "s", "v");
    let mut damaged = STANDARD.decode(good()).expect("base64");
    *damaged.last_mut().expect("bytes") ^= 1;
    let mut retired = keys(&[1]);
    retired.add(key(0, KeyState::from_label("compromised")));
    let table = [
        (with(&both, sealed(1, Scope::NamespaceWide, "n", "s", "v")), "WrongScope", "namespace-wide scope"),
        (
            with(&both, sealed(0, Scope::ClusterWide, "n", "s", "v")),
            "WrongScope",
            "sealedsecrets.bitnami.com/cluster-wide",
        ),
        (with(&both, sealed(0, Scope::Strict, "default", "s", "v")), "WrongObject", "default/s"),
        (with(&both, sealed(2, Scope::Strict, "n", "s", "v")), "NoKey", "another cluster"),
        (with(&both, sealed(0, Scope::Strict, "n", "other", "v")), "NoKey", "another name or namespace"),
        (with(&both, STANDARD.encode(&damaged)), "DamagedEntry", "changed or cut"),
        (with(&both, STANDARD.encode(&damaged[..100])), "DamagedEntry", "cut short"),
        (with(&both, String::new()), "EmptyEntry", "empty or not a string"),
        (with(&retired, good()), "RetiredKey", "\"compromised\""),
        (with(&SealingKeys::new(), good()), "NoKey", "no active sealing key"),
        (with(&both, STANDARD.encode([&[2, 0][..], &[1; 600]].concat())), "NoKey", "4096-bit"),
    ];
    for ((reason, hint), expected, part) in table {
        assert_eq!(reason, expected, "{hint}");
        assert!(hint.contains(part), "{hint:?} lacks {part:?}");
    }
}

#[test]
fn without_an_explanation_the_first_failure_ends_the_work_and_says_nothing() {
    let wide = sealed(0, Scope::ClusterWide, "", "", "v");
    let object = strict(json!({ "encryptedData": { "a": wide.clone(), "b": wide } }));
    let options = UnsealOptions { deprecated_data: true, effort: Effort::Verdict };
    let error = open_entries(&object, &keys(&[0, 1]), &Hints::default(), options).err().expect("fails");
    assert_eq!((error.to_string().as_str(), error.reason()), ("no key could decrypt secret (a)", "NoKey"));
    assert!(!error.hint().contains("cluster-wide"), "{}", error.hint());
}
