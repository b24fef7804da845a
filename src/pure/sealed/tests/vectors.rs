//! What the real kubeseal and OpenSSH made.

use super::*;

#[test]
fn what_kubeseal_seals_opens() {
    let keys = vector_keys(&["old", "current"]);
    for path in
        ["strict.yaml", "strict.json", "namespace-wide.yaml", "cluster-wide.yaml", "old-key.yaml", "two-keys.yaml"]
    {
        let object = vector(&format!("sealed/{path}"));
        let unsealed = unseal(&object, &keys, &Hints::default(), now()).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (secret, _) = unsealed.into_candidate();
        assert_eq!(text(&secret.data, "password"), Some("correct horse"), "{path}");
        assert_eq!(secret.data.get("bin").map(Plaintext::expose), Some(&[0u8, 0xff, 0x80][..]), "{path}");
        assert_eq!(text(&secret.data, "empty"), Some(""), "{path}");
        assert_eq!(secret.data.len(), if path == "two-keys.yaml" { 4 } else { 3 }, "{path}");
        assert_eq!((secret.name.as_str(), secret.kind.as_str()), ("db", "example.com/kind"), "{path}");
        // Cluster-wide objects carry the namespace of their input, too.
        assert_eq!(secret.namespace, "team", "{path}");
        assert_eq!(secret.labels.get("app").map(String::as_str), Some("web"), "{path}");
        assert_eq!(secret.annotations.get("note").map(String::as_str), Some("kept"), "{path}");
        assert!(secret.owners.is_empty());
    }
}

#[test]
fn raw_items_open_under_their_scope_only() {
    let keys = vector_keys(&["current"]);
    for (scope, annotation) in [
        ("strict", None),
        ("namespace-wide", Some("sealedsecrets.bitnami.com/namespace-wide")),
        ("cluster-wide", Some("sealedsecrets.bitnami.com/cluster-wide")),
    ] {
        let item = String::from_utf8(read(&format!("sealed/raw-{scope}.txt"))).expect("UTF-8");
        for asked in Scope::ALL {
            let annotations = asked.annotation().map(|name| json!({ name: "true" }));
            let object = object(
                json!({ "name": "db", "namespace": "team", "annotations": annotations }),
                json!({
                    "encryptedData": { "a": item },
                }),
            );
            let opened = open_entries(&object, &keys, &Hints::default(), UnsealOptions::default());
            assert_eq!(opened.is_ok(), asked.annotation() == annotation, "{scope} as {asked}");
            if let Ok(opened) = opened {
                assert_eq!(text(&opened.data, "a"), Some("raw value"));
            }
        }
    }
}

#[test]
fn the_deprecated_form_opens_and_can_be_turned_off() {
    let keys = vector_keys(&["current"]);
    let mut object = vector("sealed/deprecated.json");
    let (secret, _) = unseal(&object, &keys, &Hints::default(), now()).expect("opens").into_candidate();
    assert_eq!(text(&secret.data, "password"), Some("correct horse"));
    assert_eq!(secret.kind, "example.com/kind");
    assert_eq!(secret.labels.get("app").map(String::as_str), Some("web"));
    let off = unseal_with(
        &object,
        &keys,
        &Hints::default(),
        now(),
        UnsealOptions { deprecated_data: false, effort: Effort::Explain },
    );
    assert!(off.err().expect("refused").to_string().contains("deprecated"));
    object.spec.encrypted_data.0.insert("a".into(), "b".into());
    let both = unseal(&object, &keys, &Hints::default(), now()).err().expect("refused");
    assert!(both.to_string().contains("at the same time"));
    object.spec.encrypted_data.0.clear();
    object.spec.data = Some(String::new());
    let empty = unseal(&object, &keys, &Hints::default(), now()).err().expect("refused");
    assert_eq!(empty.to_string(), "no key could decrypt secret");
}

#[test]
fn fingerprints_are_those_of_openssh_and_the_newest_certificate_is_current() {
    let keys = vector_keys(&["old", "current"]);
    for key in keys.iter() {
        let expected = String::from_utf8(read(&format!("keys/{}.fingerprint", key.name()))).expect("UTF-8");
        assert_eq!(&**key.fingerprint(), expected.trim());
        assert_eq!(key.certificate().expect("certificate").fingerprint(), key.fingerprint());
    }
    assert_eq!(keys.current().expect("current").name(), "current");
}

#[test]
fn a_mark_holds_for_exactly_what_it_was_made_for() {
    let all = vector_keys(&["old", "current"]);
    let mut object = vector("sealed/two-keys.yaml");
    object.metadata.uid = Some("u1".into());
    let found = open_entries(&object, &all, &Hints::default(), UnsealOptions::default()).expect("opens").found;
    let covered = Covered { uid: "s1", resource_version: "7", settings: [true, false] };
    let mark = mark::make(&object, covered, &found, &all).expect("made");
    assert!(mark::holds(&mark, &object, covered, &all));
    assert_eq!(mark::opened_by(&mark, &all), None, "two keys opened it");
    let one = mark::make(&object, covered, &found[..1], &all).expect("made");
    let key = mark::opened_by(&one, &all).expect("one key");
    assert_eq!(Some(key), found.first().map(|found| &found.key));
    let mut hints = Hints::default();
    hints.remember_all(&object, key);
    assert!(found.iter().all(|found| hints.get(&found.digest) == Some(key)));
    for other in [
        Covered { uid: "s2", ..covered },
        Covered { resource_version: "8", ..covered },
        Covered { settings: [true, true], ..covered },
    ] {
        assert!(!mark::holds(&mark, &object, other, &all), "{other:?}");
    }
    let changed = |change: fn(&mut SealedSecret)| {
        let mut object = object.clone();
        change(&mut object);
        mark::holds(&mark, &object, covered, &all)
    };
    assert!(!changed(|o| drop(o.spec.encrypted_data.0.pop_first())));
    assert!(!changed(|o| o.metadata.uid = Some("u2".into())));
    assert!(!changed(|o| o.metadata.uid = None));
    assert!(!changed(|o| o.metadata.name = Some("other".into())));
    assert!(!changed(|o| o.spec.data = Some(String::new())));
    let wide =
        |o: &mut SealedSecret| o.metadata.annotations = Some([(scope::CLUSTER_WIDE.into(), "true".into())].into());
    assert!(!changed(wide));
    assert!(changed(|o| o.metadata.annotations = Some([("note".into(), "x".into())].into())));
    // Nobody without a sealing key can make one, and a key that is gone or compromised takes its objects with it.
    for names in [&["old"][..], &["current"], &[]] {
        assert!(!mark::holds(&mark, &object, covered, &vector_keys(names)), "{names:?}");
    }
    let (by, digest) = mark.split_once(' ').map(|(rules, rest)| (rules.to_owned(), rest.to_owned())).expect("words");
    for forged in [String::new(), by.clone(), format!("{by} {digest}x"), format!("v0 {digest}"), mark.replace('0', "1")]
    {
        assert!(!mark::holds(&forged, &object, covered, &all), "{forged}");
    }
}
