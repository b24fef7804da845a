//! Which keys are tried on which entry, how often and in which order; templates and inventory.

use super::*;

const TURN: UnsealOptions = UnsealOptions { deprecated_data: true, effort: Effort::Turn };

/// Turns until the object opens or fails, as the operator takes them, and the keys tried in vain in each.
fn turns(object: &SealedSecret, keys: &SealingKeys, hints: &mut Hints) -> (Result<(), UnsealError>, Vec<usize>) {
    let mut misses = vec![];
    loop {
        let (result, learnt) = unseal_and_learn(object, keys, hints, now(), TURN);
        hints.learn(&learnt);
        misses.push(learnt.trials.len());
        match result {
            Err(UnsealError::TurnOver) => assert!(misses.len() < 100, "no turn gets further: {misses:?}"),
            other => return (other.map(drop), misses),
        }
    }
}

#[test]
fn turns_are_short_and_nothing_is_tried_twice() {
    let keys = keys(&[0, 1]);
    let bad = |count: usize| {
        let entries: serde_json::Map<_, _> = (0..count)
            .map(|n| (format!("e{n:02}"), sealed(2, Scope::Strict, "n", "s", "v").into()))
            .chain([("good".to_owned(), sealed(0, Scope::Strict, "n", "s", "v").into())])
            .collect();
        strict(json!({ "encryptedData": entries }))
    };
    let mut hints = Hints::default();
    let (result, misses) = turns(&bad(5), &keys, &mut hints);
    let error = result.expect_err("fails");
    assert!(error.is_unexplained());
    assert_eq!(error.line(), "no key could decrypt secret (e00, e01, e02, e03, e04)", "no reason is made up");
    // Five entries with two keys each, and one miss for the good one, whose key is the older.
    assert_eq!(misses.iter().sum::<usize>(), 11);
    assert!(misses.iter().all(|misses| *misses <= limits::SEALED_MISSES_PER_TURN), "{misses:?}");

    // Again the same values: the good one is opened with the key that opened it, and nothing else is done.
    let object = bad(1);
    let mut again = Hints::default();
    turns(&object, &keys, &mut again).0.expect_err("fails");
    assert_eq!(turns(&object, &keys, &mut again).1, [0]);
    // Another label, or another key: what is new is tried.
    let mut renamed = object.clone();
    renamed.metadata.name = Some("t".into());
    assert_eq!(turns(&renamed, &keys, &mut again).1.iter().sum::<usize>(), 4);
    let mut more = keys.clone();
    more.add(key(2, KeyState::Active));
    let (result, misses) = turns(&object, &more, &mut again);
    assert_eq!((result.err(), misses), (None, vec![0]), "the new key is the only one left to try");
}

#[test]
fn a_reason_that_was_found_is_told_without_a_search() {
    let keys = keys(&[0, 1]);
    let wide = sealed(0, Scope::ClusterWide, "", "", "v");
    let object = strict(json!({ "encryptedData": {
        "a": wide, "b": sealed(2, Scope::Strict, "n", "s", "v"), "c": sealed(2, Scope::Strict, "n", "s", "v"), "d": "AQA=",
    } }));
    let mut hints = Hints::default();
    let early = turns(&object, &keys, &mut hints).0.expect_err("fails");
    assert!(early.is_unexplained());
    assert!(early.line().ends_with("; d: the text is cut short"), "{}", early.line());
    let (searched, learnt) = unseal_and_learn(&object, &keys, &hints, now(), UnsealOptions::default());
    hints.learn(&learnt);
    let (told, misses) = turns(&object, &keys, &mut hints);
    let told = told.expect_err("fails");
    assert_eq!((told.line(), misses), (searched.err().expect("fails").line(), vec![0]));
    assert!(!told.is_unexplained());
    // Each entry with its own cause.
    let parts: Vec<_> = told.hint().split("; ").map(str::to_owned).collect();
    assert!(parts.iter().any(|part| part.starts_with("a: it was sealed with cluster-wide scope")), "{parts:?}");
    assert!(parts.iter().any(|part| part.starts_with("b, c: it was sealed for another cluster")), "{parts:?}");
    assert!(parts.iter().any(|part| part == "d: the text is cut short"), "{parts:?}");
}

#[test]
fn a_message_names_so_many_entries_and_counts_the_rest() {
    let text = sealed(2, Scope::Strict, "n", "s", "v");
    let entries: serde_json::Map<_, _> = (0..40).map(|n| (format!("e{n:02}"), text.clone().into())).collect();
    let error = failed(&strict(json!({ "encryptedData": entries })), &keys(&[0]));
    let line = error.line();
    assert!(line.starts_with("no key could decrypt secret (e00, e01, "), "{line}");
    assert!(line.contains("e15 and 24 more); e00, e01, "), "{line}");
    assert!(line.ends_with("; why 24 more entries fail was not looked for"), "{line}");
}

#[test]
fn the_key_that_was_newest_at_the_objects_date_is_tried_first_and_then_the_namespaces() {
    // Keys of January, February and March.
    let keys = keys(&[0, 1, 2]);
    let of = |index: usize, name: &str, date: &str| {
        let mut object = strict(json!({ "encryptedData": { "a": sealed(index, Scope::Strict, "n", name, "v") } }));
        object.metadata.name = Some(name.into());
        object.metadata.creation_timestamp = date.parse().map(Time).ok();
        object
    };
    let misses = |object: &SealedSecret, hints: &mut Hints| turns(object, &keys, hints).1.iter().sum::<usize>();
    let mut hints = Hints::default();
    assert_eq!(misses(&of(1, "a", "2026-02-15T00:00:00Z"), &mut hints), 0);
    assert_eq!(misses(&of(0, "b", "2026-01-15T00:00:00Z"), &mut hints), 0);
    // Changed after its creation.
    let mut changed = of(1, "c", "2026-01-15T00:00:00Z");
    let time = "2026-02-20T00:00:00Z".parse().map(Time).ok();
    let status = "2026-03-20T00:00:00Z".parse().map(Time).ok();
    changed.metadata.managed_fields = Some(vec![
        ManagedFieldsEntry { time, ..Default::default() },
        ManagedFieldsEntry { time: status, subresource: Some("status".into()), ..Default::default() },
    ]);
    assert_eq!(misses(&changed, &mut hints), 0);
    // Out of a backup: younger than their keys. The second one profits from the first.
    assert_eq!(misses(&of(0, "d", "2026-06-01T00:00:00Z"), &mut hints), 2);
    assert_eq!(misses(&of(0, "e", "2026-06-01T00:00:00Z"), &mut hints), 0);
    assert_eq!(misses(&of(2, "f", "2026-06-01T00:00:00Z"), &mut hints), 1);
    assert_eq!(misses(&of(2, "g", "2026-06-01T00:00:00Z"), &mut hints), 0, "the date was right last time");
}

#[test]
fn a_reason_that_is_told_stands_until_another_one_is_found() {
    let keys = keys(&[0]);
    let mut object = strict(json!({ "encryptedData": { "a": sealed(2, Scope::Strict, "n", "s", "v"), "b": "AQA=" } }));
    let explained = Outcome::Failed(failed(&object, &keys).into());
    object.status = conclude(&object, &explained, None, now()).status;
    let early = || Outcome::Failed(turns(&object, &keys, &mut Hints::default()).0.expect_err("fails").into());
    let report = conclude(&object, &early(), None, now());
    assert_eq!((report.status, report.event), (None, None), "after a restart, say");
    let mut changed = object.clone();
    changed.metadata.generation = Some(4);
    let report = conclude(&changed, &early(), None, now());
    assert_eq!(report.event, None, "it comes with the reason");
    let message = report.status.as_ref().and_then(|status| status.synced()).expect("told").message.clone();
    assert_eq!(message, "no key could decrypt secret (a, b); b: the text is cut short");
    changed.status = report.status;
    assert!(
        conclude(&changed, &explained, None, now()).status.is_some_and(|s| s != changed.status.unwrap_or_default())
    );
}

#[test]
fn the_scope_of_the_template_has_no_say() {
    let wide = sealed(0, Scope::ClusterWide, "", "", "v");
    let annotations = json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
    let object =
        strict(json!({ "template": { "metadata": { "annotations": annotations } }, "encryptedData": { "a": wide } }));
    assert_eq!(failed(&object, &keys(&[0])).reason(), "WrongScope");
}

#[test]
fn a_remembered_key_and_a_siblings_key_are_tried_first() {
    let keys = keys(&[0, 1, 2]);
    let object = strict(json!({ "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", "v") } }));
    let mut hints = Hints::default();
    let unsealed = unseal(&object, &keys, &hints, now()).expect("opens");
    hints.remember(unsealed.found());
    let found = unsealed.found().first().expect("one").clone();
    assert_eq!(hints.get(&found.digest), Some(keys.by_name("k0").expect("k0").fingerprint()));
    assert!(unseal(&object, &keys, &hints, now()).is_ok());
    // A hint for a key that has left is only a hint.
    let mut fewer = keys.clone();
    assert!(fewer.remove("k0"));
    assert_eq!(
        unseal(&object, &fewer, &hints, now()).err().map(|e| e.to_string()),
        Some("no key could decrypt secret (a)".into())
    );
}

#[test]
fn template_data_follows_the_incumbents_rules() {
    let object = strict(json!({
        "template": { "data": { "plain": "text", "both": "from template", "gone": null } },
        "encryptedData": { "both": sealed(0, Scope::Strict, "n", "s", "sealed"), "gone": sealed(0, Scope::Strict, "n", "s", "x") },
    }));
    let (secret, _) = unseal(&object, &keys(&[0]), &Hints::default(), now()).expect("opens").into_candidate();
    let entries: Vec<_> = secret.data.names().collect();
    assert_eq!(entries, ["both", "plain"]);
    assert_eq!(text(&secret.data, "both"), Some("sealed"));
    assert_eq!(text(&secret.data, "plain"), Some("text"));
}

#[test]
fn template_data_is_rendered_from_opened_values_and_sibling_text() {
    let template = json!({ "data": {
        "url": "postgres://{{ .user }}:{{ index . \"pass-word\" | urlquery }}@{{ .host }}/{{ .missing }}",
        "host": "db.example", "raw": "{{ .url }}",
        "shadowed": "{{ .user.name }}",
    } });
    let sealed_value = |value: &str| sealed(0, Scope::Strict, "n", "s", value);
    let entries = json!({ "user": sealed_value("u"), "pass-word": sealed_value("p w") });
    let mut spec = json!({ "template": template, "encryptedData": entries });
    let error = failed(&strict(spec.clone()), &keys(&[0]));
    assert!(error.to_string().starts_with("template: shadowed:1:"), "{error}");
    assert!(error.to_string().ends_with("(shadowed)"), "{error}");
    spec["template"]["data"].as_object_mut().expect("map").remove("shadowed");
    let (secret, _) = unseal(&strict(spec), &keys(&[0]), &Hints::default(), now()).expect("renders").into_candidate();
    assert_eq!(text(&secret.data, "url"), Some("postgres://u:p+w@db.example/<no value>"));
    // Never another template's output, only its text.
    assert!(text(&secret.data, "raw").is_some_and(|raw| raw.starts_with("postgres://{{ .user }}")));
    assert_eq!(secret.data.len(), 5);
}

#[test]
fn keys_are_ordered_and_refused_by_name() {
    let mut all = keys(&[1, 0, 2]);
    let names = |keys: &SealingKeys| keys.iter().map(|key| key.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&all), ["k2", "k1", "k0"]);
    all.add(key(2, KeyState::from_label("compromised")));
    assert_eq!(all.current().map(|key| key.name()), Some("k1"));
    assert_eq!(all.len(), 3, "one key per name");

    let mut by_secret = SealingKeys::ordered_by(KeyOrder::SecretCreationTimestamp);
    for (index, day) in [(0, 3), (1, 2), (2, 2)] {
        let made = &made()[index];
        let created = format!("2026-01-0{day}T00:00:00Z").parse().ok();
        let (key, _) = SealingKey::parse(
            &format!("k{index}"),
            made.key_pem.as_bytes(),
            Some(made.cert_pem.as_bytes()),
            KeyState::Active,
            created,
        )
        .expect("parses");
        by_secret.add(key);
    }
    assert_eq!(names(&by_secret), ["k0", "k1", "k2"]);

    let (first, second) = (&made()[0], &made()[1]);
    let mut keys = SealingKeys::new();
    let problem = keys.add_pem("mixed", first.key_pem.as_bytes(), Some(second.cert_pem.as_bytes()));
    assert_eq!(problem.map(|p| p.map(|p| p.reason())), Ok(Some("CertificateMismatch")));
    assert!(keys.current().is_none() && keys.active().count() == 1, "it opens, and is never served");
    for (text, reason) in [
        ("", "NoPrivateKey"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "UnusablePrivateKey"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "UnusablePrivateKey"),
    ] {
        assert_eq!(keys.add_pem("bad", text.as_bytes(), None).err().map(|e| e.reason()), Some(reason));
    }
}

#[test]
fn the_inventory_counts_entries_per_key_in_every_state() {
    let mut all = keys(&[0, 1]);
    all.add(key(0, KeyState::from_label("compromised")));
    let objects = [
        strict(json!({ "encryptedData": {
            "a": sealed(0, Scope::Strict, "n", "s", "1"), "b": sealed(1, Scope::Strict, "n", "s", "2"),
            "c": sealed(2, Scope::Strict, "n", "s", "3"), "d": 5,
        } })),
        object(
            json!({ "name": "t", "namespace": "n" }),
            json!({ "encryptedData": { "x": sealed(0, Scope::Strict, "n", "t", "4") } }),
        ),
    ];
    let mut inventory = Inventory::default();
    for object in &objects {
        inventory.add(object, &all, &Hints::default());
    }
    let fingerprint = |name: &str| all.by_name(name).expect("key").fingerprint().clone();
    assert_eq!(inventory.entries(&fingerprint("k0")), 2);
    assert_eq!(inventory.entries(&fingerprint("k1")), 1);
    let names: Vec<_> =
        inventory.objects(&fingerprint("k0")).map(|(key, entries)| (key.to_string(), entries.to_vec())).collect();
    assert_eq!(names, [("n/s".into(), vec!["a".to_owned()]), ("n/t".into(), vec!["x".to_owned()])]);
    let unopened: Vec<_> = inventory.unopened.values().flatten().collect();
    assert_eq!(unopened, ["c", "d"]);
}
