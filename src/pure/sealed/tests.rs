//! Whole objects: vectors of the real kubeseal, errors and their causes, decisions, the inventory.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use serde_json::json;

use super::decide::{Failure, MANAGED, Outcome, PATCH, SKIP_OWNER, conclude, decide};
use super::generate::{Generated, NewKey, generate};
use super::inventory::Inventory;
use super::keys::{Certificate, KeyOrder, KeyState, SealingKey, SealingKeys};
use super::mark::{self, Covered};
use super::opener::Effort;
use super::unseal::{UnsealOptions, object_scope, open_entries, unseal_and_learn, unseal_with};
use super::{Hints, Scope, UnsealError, item, scope, unseal};
use crate::pure::crd::sealed_secret::{IN_FORCE, SealedSecret};
use crate::pure::desired::{GuardPolicy, ObservedSecret, SecretAction, WriteMode};
use crate::pure::error::{Explain, Retry};
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

fn now() -> jiff::Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("time")
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sealed")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(vectors().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn vector(path: &str) -> SealedSecret {
    let text = String::from_utf8(read(path)).expect("UTF-8");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn vector_keys(names: &[&str]) -> SealingKeys {
    let mut keys = SealingKeys::new();
    for name in names {
        let (key, cert) = (read(&format!("keys/{name}.key")), read(&format!("keys/{name}.crt")));
        assert_eq!(keys.add_pem(name, &key, Some(&cert)), Ok(None));
    }
    keys
}

fn text<'a>(data: &'a SecretData, entry: &str) -> Option<&'a str> {
    data.get(entry).and_then(Plaintext::expose_str)
}

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

// ---- keys of our own, small for speed ----

fn made() -> &'static [Generated] {
    static MADE: OnceLock<Vec<Generated>> = OnceLock::new();
    MADE.get_or_init(|| {
        let at = |month: u8| NewKey {
            bits: 2048,
            common_name: String::new(),
            now: format!("2026-{month:02}-01T00:00:00Z").parse().expect("time"),
            validity: jiff::SignedDuration::from_hours(24 * 365),
        };
        (1..=3).map(|month| generate(&at(month)).expect("generates")).collect()
    })
}

fn key(index: usize, state: KeyState) -> SealingKey {
    let made = &made()[index];
    let (key, problem) =
        SealingKey::parse(&format!("k{index}"), made.key_pem.as_bytes(), Some(made.cert_pem.as_bytes()), state, None)
            .expect("parses");
    assert_eq!(problem, None);
    key
}

fn keys(indices: &[usize]) -> SealingKeys {
    let mut keys = SealingKeys::new();
    indices.iter().for_each(|index| keys.add(key(*index, KeyState::Active)));
    keys
}

fn sealed(index: usize, scope: Scope, namespace: &str, name: &str, value: &str) -> String {
    let certificate = Certificate::parse("k", made()[index].cert_pem.as_bytes()).expect("parses");
    let value = Plaintext::copy_of(value.as_bytes());
    let blob = item::seal(&value, certificate.public(), &scope.label(namespace, name)).expect("seals");
    STANDARD.encode(blob.to_bytes())
}

fn object(metadata: serde_json::Value, spec: serde_json::Value) -> SealedSecret {
    serde_json::from_value(json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": spec,
    }))
    .expect("decodes")
}

fn strict(spec: serde_json::Value) -> SealedSecret {
    object(json!({ "name": "s", "namespace": "n", "uid": "u1", "generation": 3 }), spec)
}

fn failed(object: &SealedSecret, keys: &SealingKeys) -> UnsealError {
    unseal(object, keys, &Hints::default(), now()).err().expect("fails")
}

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

// ---- decisions ----

fn live(annotations: serde_json::Value, owner: Option<&str>, data: serde_json::Value) -> ObservedSecret {
    let owners = owner.map(|uid| {
        json!([{ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "s", "uid": uid, "controller": true }])
    });
    let body = json!({
        "metadata": { "name": "s", "namespace": "n", "uid": "s1", "resourceVersion": "7", "annotations": annotations,
                      "labels": { "theirs": "kept?" }, "ownerReferences": owners, "finalizers": ["f"] },
        "type": "Opaque", "data": data,
    });
    ObservedSecret::from_json(body.to_string().as_bytes()).expect("parses")
}

fn decided(spec: serde_json::Value, live: Option<&ObservedSecret>) -> Result<SecretAction, Failure> {
    let object = strict(spec);
    let unsealed = unseal(&object, &keys(&[0]), &Hints::default(), now()).expect("opens");
    decide(&object, unsealed, live, &GuardPolicy { namespace: Some("n".into()), ..Default::default() })
}

fn spec() -> serde_json::Value {
    json!({ "template": { "metadata": { "labels": { "ours": "yes" } } },
            "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", "v") } })
}

#[test]
fn a_missing_secret_is_created_with_its_owner() {
    let Ok(SecretAction::Write { secret, how }) = decided(spec(), None) else { panic!("not written") };
    assert_eq!(how, WriteMode::Create { manager: "controller".into() });
    let owner = secret.owners().first().expect("owner");
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("SealedSecret", "u1", Some(true)));
    assert_eq!(owner.block_owner_deletion, None);
}

#[test]
fn an_existing_secret_is_touched_only_with_permission() {
    let foreign = live(json!({}), None, json!({ "b": "Yg==" }));
    let Err(failure @ Failure::Unmanaged(_)) = decided(spec(), Some(&foreign)) else { panic!("not refused") };
    assert_eq!(failure.to_string(), "failed update: Resource \"s\" already exists and is not managed by SealedSecret");
    assert_eq!(failure.metric(), "unmanaged");
    let other_owner = live(json!({}), Some("u2"), json!({ "b": "Yg==" }));
    assert!(matches!(decided(spec(), Some(&other_owner)), Err(Failure::Unmanaged(_))));

    // Ours, or managed: replaced whole, except for what is never changed.
    for live in [
        live(json!({ "x": "y" }), Some("u1"), json!({})),
        live(json!({ MANAGED: "true" }), Some("u2"), json!({ "b": "Yg==" })),
    ] {
        let Ok(SecretAction::Write { secret, how }) = decided(spec(), Some(&live)) else { panic!("not written") };
        assert_eq!(how, WriteMode::Replace { manager: "controller".into(), resource_version: "7".into() });
        assert_eq!(secret.data().names().collect::<Vec<_>>(), ["a"]);
        assert!(secret.annotations().is_empty() && !secret.labels().contains_key("theirs"));
        assert_eq!(secret.owners().first().map(|owner| owner.uid.as_str()), Some("u1"));
        assert_eq!(secret.finalizers(), ["f"]);
    }
}

#[test]
fn patch_merges_and_owns_only_when_managed_too() {
    let data = || json!({ "a": "b2xk", "b": "Yg==" });
    for (annotations, owner) in
        [(json!({ PATCH: "true" }), Some("u2")), (json!({ PATCH: "true", MANAGED: "true" }), Some("u1"))]
    {
        let live = live(annotations.clone(), Some("u2"), data());
        let Ok(SecretAction::Write { secret, .. }) = decided(spec(), Some(&live)) else { panic!("not written") };
        assert_eq!((text(secret.data(), "a"), text(secret.data(), "b")), (Some("v"), Some("b")));
        assert!(secret.labels().contains_key("theirs") && secret.labels().contains_key("ours"));
        assert_eq!(secret.annotations().len(), annotations.as_object().expect("map").len());
        assert_eq!(secret.owners().first().map(|owner| owner.uid.as_str()), owner);
    }
}

#[test]
fn a_secret_that_is_right_is_kept() {
    let Ok(SecretAction::Write { secret, .. }) = decided(spec(), None) else { panic!("not written") };
    let body = String::from_utf8(secret.manifest(Some("8")).to_vec()).expect("UTF-8");
    let mut stored = ObservedSecret::from_json(body.as_bytes()).expect("parses");
    stored.kind = "Opaque".into();
    assert!(matches!(decided(spec(), Some(&stored)), Ok(SecretAction::Keep)));
    // Without an owner reference it is still recognised while it is right, and refused once it is not.
    let skip = |value: &str| {
        json!({ "template": { "metadata": { "annotations": { SKIP_OWNER: "true" } } },
                                     "encryptedData": { "a": sealed(0, Scope::Strict, "n", "s", value) } })
    };
    let Ok(SecretAction::Write { secret, .. }) = decided(skip("v"), None) else { panic!("not written") };
    assert!(secret.owners().is_empty());
    let mut stored = ObservedSecret::from_json(&secret.manifest(None)).expect("parses");
    stored.kind = "Opaque".into();
    assert!(matches!(decided(skip("v"), Some(&stored)), Ok(SecretAction::Keep)));
    assert!(matches!(decided(skip("w"), Some(&stored)), Err(Failure::Unmanaged(_))));
}

#[test]
fn an_immutable_secret_is_not_tried_in_vain() {
    let mut live = live(json!({}), Some("u1"), json!({ "a": "b2xk" }));
    live.immutable = Some(true);
    let Err(failure) = decided(spec(), Some(&live)) else { panic!("not refused") };
    assert!(failure.to_string().contains("field is immutable when `immutable` is set"), "{failure}");
    assert_eq!(failure.retry(), Retry::OnChange);
    let object = strict(spec());
    let text = "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set";
    assert!(matches!(Failure::api(&object, text, Retry::Backoff), Failure::Immutable(_)));
}

#[test]
fn status_and_event_say_each_thing_once() {
    let now = |s: &str| s.parse().expect("time");
    let mut object = strict(spec());
    let first = conclude(&object, &Outcome::Written, None, now("2026-01-01T00:00:00Z"));
    let status = first.status.expect("written");
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(
        status.synced().map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str())),
        Some(("True", "Unsealed", ""))
    );
    assert!(status.condition("Ready").is_some_and(|c| c.status == "True"));
    assert_eq!(status.conditions.len(), 2, "what is abnormal is absent");
    let event = first.event.expect("event");
    assert_eq!(
        (event.warning, event.reason, event.message.as_str()),
        (false, "Unsealed", "SealedSecret unsealed successfully")
    );

    object.status = Some(status);
    let again = conclude(&object, &Outcome::Kept, None, now("2026-01-02T00:00:00Z"));
    assert!(again.status.is_none() && again.event.is_none(), "nothing new, nothing said");
    let marked = conclude(&object, &Outcome::Kept, Some("mark".into()), now("2026-01-02T00:00:00Z"));
    assert!(marked.event.is_none(), "a mark is no news for people");
    object.status = marked.status;
    let in_force = |object: &SealedSecret| object.status.as_ref().and_then(|s| s.condition(IN_FORCE).cloned());
    assert_eq!(in_force(&object).map(|c| c.message), Some("mark".into()));
    assert!(conclude(&object, &Outcome::Kept, None, now("2026-01-02T00:00:00Z")).status.is_none(), "it stays");

    let fail = |name: &str| Outcome::Failed(Failure::Unmanaged(name.into()));
    let failed = conclude(&object, &fail("s"), None, now("2026-01-03T00:00:00Z"));
    let event = failed.event.expect("event");
    assert_eq!((event.warning, event.reason), (true, "ErrUpdateFailed"));
    assert!(event.message.starts_with("Resource \"s\" already exists"), "{}", event.message);
    object.status = failed.status;
    assert_eq!(in_force(&object), None);
    let status = object.status.as_ref().expect("set");
    assert_eq!(status.conditions.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(), ["Synced", "Ready", "Stalled"]);
    let condition = |object: &SealedSecret| object.status.as_ref().and_then(|s| s.synced().cloned()).expect("set");
    let third = condition(&object);
    assert_eq!((third.status.as_str(), third.reason.as_str()), ("False", "AlreadyExists"));
    assert_eq!(third.last_transition_time, third.last_update_time);

    // Another failure while it is False already is written, and is no transition.
    let other = conclude(&object, &fail("t"), None, now("2026-01-04T00:00:00Z"));
    object.status = other.status;
    let fourth = condition(&object);
    assert!(fourth.message.contains("\"t\""));
    assert_eq!(fourth.last_transition_time, third.last_transition_time);
    assert_ne!(fourth.last_update_time, third.last_update_time);

    object.metadata.generation = Some(4);
    let next = conclude(&object, &fail("t"), None, now("2026-01-05T00:00:00Z"));
    assert_eq!(next.status.expect("written").observed_generation, Some(4));

    // In force again and of another generation within the second: an update, and no transition.
    let mut fresh = object.clone();
    fresh.status = None;
    fresh.status = conclude(&fresh, &Outcome::Written, None, now("2026-01-06T00:00:00Z")).status;
    let before = condition(&fresh);
    fresh.metadata.generation = Some(5);
    fresh.status = conclude(&fresh, &Outcome::Written, None, now("2026-01-06T00:00:00.4Z")).status;
    let after = condition(&fresh);
    assert_eq!(after.last_transition_time, before.last_transition_time);
    assert_eq!(after.last_update_time.map(|time| time.0), Some(now("2026-01-06T00:00:01Z")));

    let passing = Outcome::Failed(Failure::Api { text: "busy".into(), retry: Retry::Backoff });
    let passing = conclude(&object, &passing, None, now("2026-01-05T00:00:00Z")).status.expect("written");
    assert!(passing.condition("Stalled").is_none() && passing.condition("Reconciling").is_some());

    let error = failed_unseal(&object);
    let report = conclude(&object, &Outcome::Failed(error.into()), None, now("2026-01-06T00:00:00Z"));
    let event = report.event.expect("event");
    assert_eq!(event.reason, "ErrUnsealFailed");
    assert!(event.message.starts_with("Failed to unseal: no key could decrypt secret (a)"), "{}", event.message);
    let message = report.status.and_then(|s| s.synced().cloned()).expect("set").message;
    assert!(message.starts_with("no key could decrypt secret (a); a: "), "{message}");
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

fn failed_unseal(object: &SealedSecret) -> UnsealError {
    failed(object, &keys(&[1]))
}

#[test]
fn resealing_what_is_old_leaves_the_rest_byte_for_byte() {
    let keys = vector_keys(&["old", "current"]);
    let certificate = keys.current().and_then(|key| key.certificate()).expect("certificate");
    let object = vector("sealed/two-keys.yaml");
    let opened = || open_entries(&object, &keys, &Hints::default(), UnsealOptions::default()).expect("opens");
    let old = |found: &super::hints::Found| found.key != *certificate.fingerprint();
    let made = super::reseal::reseal_old(&object, opened(), certificate).expect("seals");
    for found in opened().found {
        let text = |object: &SealedSecret| object.spec.encrypted_data.0[&found.entry].clone();
        assert_eq!(text(&made) != text(&object), old(&found), "{}", found.entry);
    }
    assert_eq!(made.spec.encrypted_data.0.len(), 4);
    assert!(unseal(&made, &vector_keys(&["current"]), &Hints::default(), now()).is_ok());
}

#[test]
fn resealing_keeps_scope_and_template_and_never_widens() {
    let keys = vector_keys(&["old", "current"]);
    let certificate = keys.current().and_then(|key| key.certificate()).expect("certificate");
    let only_current = vector_keys(&["current"]);
    for path in ["old-key.yaml", "namespace-wide.yaml", "cluster-wide.yaml", "deprecated.json"] {
        let mut object = vector(&format!("sealed/{path}"));
        let scope = object_scope(&object);
        if path == "deprecated.json" {
            // Its own metadata is sealed, and says app=web too: only what the request shows may go out in clear.
            object.metadata.labels = Some([("app".to_owned(), "shown".to_owned())].into());
        }
        let label = if path == "deprecated.json" { "shown" } else { "web" };
        // An attacker's template asks for a wider scope, and renders something.
        if let crate::pure::crd::sealed_secret::Template::Read(template) = &mut object.spec.template {
            template.metadata.annotations.insert("sealedsecrets.bitnami.com/cluster-wide".into(), "true".into());
            template.data = Some([("t".to_owned(), Some("{{ .password }}".to_owned()))].into());
        }
        let opened = open_entries(&object, &keys, &Hints::default(), UnsealOptions::default()).expect("opens");
        let made = super::reseal::reseal(&object, opened, certificate).expect("seals");
        assert_eq!(object_scope(&made), scope, "{path}");
        let template = made.spec.template.get().expect("read");
        assert_eq!(Scope::of(&template.metadata.annotations), scope, "{path}");
        assert_eq!(template.kind, "example.com/kind");
        assert_eq!(template.metadata.labels.get("app").map(String::as_str), Some(label), "{path}");
        assert_eq!(template.data.as_ref().and_then(|data| data.get("t")), Some(&Some("{{ .password }}".into())));
        let opened = open_entries(&made, &only_current, &Hints::default(), UnsealOptions::default()).expect("opens");
        assert_eq!(text(&opened.data, "password"), Some("correct horse"), "{path}");
        let mut other = made.clone();
        other.metadata.name = Some("other".into());
        let opens = open_entries(&other, &only_current, &Hints::default(), UnsealOptions::default()).is_ok();
        assert_eq!(opens, scope != Scope::Strict, "{path}");
    }
}
