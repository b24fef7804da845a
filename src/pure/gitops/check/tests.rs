use super::*;
use crate::pure::keys::age::Recipient;

const ENC: &str = "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]";

fn codes(path: &str, text: &str, config: Option<&Config>) -> Vec<(usize, &'static str)> {
    let findings = file(path, text.as_bytes(), config.map(|config| Ruled { config, path }));
    for finding in &findings {
        assert!(!finding.what.contains("hunter2"), "a value is told: {}", finding.what);
    }
    findings.iter().map(|finding| (finding.line, finding.code)).collect()
}

#[test]
fn secrets_in_clear_are_found_and_placeholders_are_not() {
    let secret = |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{data}");
    for (data, expected) in [
        ("stringData:\n  a: hunter2\n", vec![(4, "plaintext-secret")]),
        ("data: {a: aHVudGVyMg==}\nstringData: {b: hunter2}\n", vec![(4, "plaintext-secret"), (5, "plaintext-secret")]),
        ("stringData: {a: '', b: '${FROM_FLUX}', c: '<path:secret/x#y>'}\n", vec![]),
        ("type: kubernetes.io/service-account-token\n", vec![]),
    ] {
        assert_eq!(codes("s.yaml", &secret(data), None), expected, "{data}");
    }
    let list = format!(
        "kind: Namespace\n---\napiVersion: v1\nkind: List\nitems:\n- {}",
        secret("stringData: {a: hunter2}\n").replace('\n', "\n  ")
    );
    assert_eq!(codes("s.yaml", &list, None), [(9, "plaintext-secret")]);
    let json = r#"{"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "hunter2"}}"#;
    assert_eq!(codes("s.json", json, None), [(1, "plaintext-secret")]);
    assert_eq!(codes("s.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n", None), []);
    let twice = secret("stringData:\n  a: ''\n  a: ''\n");
    assert_eq!(codes("s.yaml", &twice, None), [(6, "duplicate-key")]);
}

#[test]
fn private_keys_are_found_and_mentions_are_not() {
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
    let pem = format!("x\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4\n\n{body}\n-----END RSA PRIVATE KEY-----\n");
    assert_eq!(codes("a.pem", &pem, None), [(2, "private-key")]);
    let json = format!("{{\"key\": \"-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----\"}}");
    assert_eq!(codes("a.json", &json, None), [(1, "private-key")]);
    let identity = format!("# key\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58));
    assert_eq!(codes("keys.txt", &identity, None), [(2, "private-key")]);
    assert_eq!(codes("README.md", "starts with -----BEGIN PRIVATE KEY----- or AGE-SECRET-KEY-1...\n", None), []);
}

fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn recipient() -> String {
    let text = include_str!("../../../../tests/vectors/sops/keys.txt");
    let key = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a key");
    assert!(Recipient::parse(key).is_ok());
    key.to_owned()
}

#[test]
fn sops_files_are_read_and_held_against_their_rule() {
    let key = recipient();
    let file = |values: &str, extra: &str| {
        format!(
            "{values}sops:\n  age:\n    - recipient: {key}\n      enc: x\n  lastmodified: '2026-01-01T00:00:00Z'\n  mac: {ENC}\n  version: 3.13.3\n{extra}"
        )
    };
    let right = config(&format!("creation_rules:\n  - path_regex: yaml$\n    age: {key}\n"));
    let good = file(&format!("a: {ENC}\n"), "");
    assert_eq!(codes("a.yaml", &good, Some(&right)), []);
    let other = config("creation_rules:\n  - path_regex: yaml$\n    pgp: AABB\n    encrypted_regex: ^data$\n");
    assert_eq!(codes("a.yaml", &good, Some(&other)), [(2, "recipients"), (2, "selector")]);
    let what = super::file("a.yaml", good.as_bytes(), Some(Ruled { config: &other, path: "a.yaml" }));
    assert_eq!(what[0].what, format!("recipients differ from the rule: +pgp:AABB -age:{key}"));
    let none = config("creation_rules:\n  - path_regex: ^other\n    pgp: AABB\n");
    assert_eq!(codes("a.yaml", &good, Some(&none)), [(2, "no-rule")]);
    for (values, extra, expected) in [
        (format!("a: hunter2\nb: {ENC}\n"), "", vec![(1, "plaintext-value")]),
        ("a: ENC[AES256_GCM,data:AA\n".into(), "", vec![(1, "damaged-value")]),
        (format!("a_unencrypted: {ENC}\n"), "", vec![(1, "stray-ciphertext")]),
        (format!("a: {ENC}\na: {ENC}\n"), "", vec![(2, "duplicate-key")]),
        (format!("a: {ENC}\n"), "  encrypted_regex: (\n", vec![(1, "invalid-pattern")]),
        (format!("<<<<<<< ours\na: {ENC}\n=======\n>>>>>>> x\n"), "", vec![(1, "unreadable")]),
    ] {
        let found = codes("a.yaml", &file(&values, extra), Some(&right));
        assert_eq!(found, expected, "{values}{extra}");
    }
    let mixed = format!("kind: Namespace\n---\n{}", file("a: hunter2\n", ""));
    assert_eq!(codes("a.yaml", &mixed, Some(&right)), [(3, "plaintext-value")]);
}

#[test]
fn plain_files_with_a_rule_of_their_own_are_found() {
    let rules = config(
        "creation_rules:\n  - path_regex: \\.secret\\.yaml$\n    encrypted_regex: ^(data|stringData)$\n    pgp: AABB\n  - path_regex: ^keys/\n    pgp: AABB\n  - pgp: AABB\n",
    );
    assert_eq!(codes("a.secret.yaml", "kind: ConfigMap\ndata:\n  a: hunter2\n", Some(&rules)), [(3, "not-encrypted")]);
    assert_eq!(codes("a.secret.yaml", "kind: Kustomization\nresources: [a]\n", Some(&rules)), []);
    assert_eq!(codes("keys/a", "hunter2", Some(&rules)), [(1, "not-encrypted")]);
    assert_eq!(codes("README.md", "text", Some(&rules)), [], "a rule without a pattern says nothing");
}

#[test]
fn rules_that_never_count_are_found() {
    let text = "creation_rules:\n  - path_regex: ^a/\n    pgp: AA\n  - path_regex: ^a/b/\n    pgp: BB\n  - path_regex: \\.yaml$\n    pgp: CC\n  - pgp: DD\n  - path_regex: ^z/\n    pgp: EE\n";
    let paths = ["a/b/x.txt", "a/c", "d.yaml", "a/e.yaml"].map(str::to_owned);
    let found = rules::overlaps(text, &config(text), &paths);
    let shown: Vec<_> = found.iter().map(|finding| (finding.line, finding.code, finding.level)).collect();
    assert_eq!(
        shown,
        [
            (4, "rule-overlap", Level::Warning),
            (6, "rule-overlap", Level::Warning),
            (4, "rule-unreachable", Level::Error),
            (9, "rule-unreachable", Level::Error),
        ]
    );
    let bad = "creation_rules:\n  - path_regex: '(x'\n";
    let error = Config::parse(bad).err().expect("refused");
    assert_eq!(rules::broken(bad, &error).code, "invalid-rules");
}

#[test]
fn sealed_secrets_are_well_formed_and_bound_to_what_they_say() {
    use base64::Engine as _;
    let blob = crate::pure::sealed::blob::Blob { wrapped: vec![7; 256], ciphertext: vec![7; 20] };
    let value = base64::engine::general_purpose::STANDARD.encode(blob.to_bytes());
    let object = |metadata: &str, data: &str, template: &str| {
        format!(
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {{{metadata}}}\nspec:\n  encryptedData: {{{data}}}\n  template: {{{template}}}\n"
        )
    };
    let wide = "sealedsecrets.bitnami.com/cluster-wide";
    let good = format!("a: {value}");
    for (metadata, data, template, expected) in [
        ("name: s", good.as_str(), "", vec![]),
        ("name: s", "a: AgA=", "", vec![(5, "sealed-value")]),
        ("name: s", "a: '***'", "", vec![(5, "sealed-value")]),
        ("namespace: n", good.as_str(), "", vec![(2, "sealed-name")]),
        ("name: s", good.as_str(), "metadata: {name: other}", vec![(2, "sealed-name")]),
        (
            "name: s",
            good.as_str(),
            format!("metadata: {{annotations: {{{wide}: 'true'}}}}").as_str(),
            vec![(2, "sealed-scope")],
        ),
        (format!("name: s, annotations: {{{wide}: 'True'}}").as_str(), good.as_str(), "", vec![(2, "sealed-scope")]),
        ("name: s", good.as_str(), "type: 5", vec![(2, "sealed-template")]),
        ("name: s", format!("{good}, {good}").as_str(), "", vec![(5, "duplicate-key"), (2, "sealed-unreadable")]),
    ] {
        let mut expected = expected;
        expected.sort();
        assert_eq!(codes("s.yaml", &object(metadata, data, template), None), expected, "{metadata} {template}");
    }
}
