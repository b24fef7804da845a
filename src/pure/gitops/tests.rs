//! The stage on the files of keys-example, which the real sops and kubeseal made.

use std::path::Path;

use super::tree::TreeFile;
use super::*;
use crate::pure::desired::GuardPolicy;
use crate::pure::error::Explain as _;
use crate::pure::keys::age::Identities;
use crate::pure::sealed::{Hints, SealingKeys};

fn example(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("keys-example").join(path))
        .expect("example file")
}

struct Ring {
    identities: Identities,
    sealing: SealingKeys,
    hints: Hints,
    policy: GuardPolicy,
}

impl Ring {
    fn new() -> Self {
        let mut sealing = SealingKeys::new();
        sealing.add_pem("example", example(".latchwork/keys/sealing.key").as_bytes(), None).expect("key");
        let identities = Identities::parse(&example(".latchwork/keys/cluster.agekey"), "cluster").expect("identity");
        Self { identities, sealing, hints: Hints::default(), policy: GuardPolicy::default() }
    }

    fn stage(&self, path: &str, content: &str, show: Option<Show>) -> FileResult {
        let keys = Keys {
            sops: &self.identities,
            sealing: &self.sealing,
            hints: &self.hints,
            policy: &self.policy,
            labels: &Default::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        stage(TreeFile { path: path.into(), content: Ok(content.as_bytes().to_vec()) }, &keys, show)
    }
}

const YAML: Option<Show> = Some(Show { json: false, redact: false });

/// One word per document: what it became, or why not.
fn shape(result: &FileResult) -> Vec<String> {
    let word = |document: &Document| match &document.outcome {
        Ok(Staged::Plain(_)) => "plain".into(),
        Ok(Staged::Opened(_)) => "opened".into(),
        Ok(Staged::Secret(secret, _)) => format!("secret {}", secret.name()),
        Ok(Staged::Store(id, ..)) => format!("store {}", id.name),
        Ok(Staged::External(_)) => "external".into(),
        Err(error) => error.reason().to_owned(),
    };
    result.documents.iter().map(word).collect()
}

fn text(result: &FileResult, index: usize) -> String {
    let text = match &result.documents[index].outcome {
        Ok(Staged::Plain(text) | Staged::Opened(text) | Staged::Secret(_, text) | Staged::Store(_, _, text)) => text,
        _ => panic!("no text"),
    };
    match text {
        Text::Source(span) => String::from_utf8(result.source[span.clone()].to_vec()).expect("text"),
        Text::Made(text) => text.expose_str().expect("text").to_owned(),
        Text::None => panic!("not asked for"),
    }
}

#[test]
fn everything_in_the_example_is_opened() {
    let ring = Ring::new();
    for (path, expected) in [
        ("gitops/namespace.yaml", &["plain"][..]),
        ("gitops/app/shop.yaml", &["plain", "plain"]),
        ("gitops/app/limits.json", &["plain"]),
        ("gitops/sops/database.yaml", &["secret database"]),
        ("gitops/sops/registry.json", &["secret registry"]),
        ("gitops/sops/stream.yaml", &["secret queue", "secret cache"]),
        ("gitops/sops/helm-release.yaml", &["opened"]),
        ("gitops/sealed/strict.yaml", &["secret sealed-strict"]),
        ("gitops/sealed/namespace-wide.yaml", &["secret sealed-namespace-wide"]),
        ("gitops/sealed/cluster-wide.yaml", &["secret sealed-cluster-wide"]),
        ("gitops/external/store.yaml", &["store example"]),
        ("gitops/external/payment.yaml", &["external"]),
    ] {
        let result = ring.stage(path, &example(path), YAML);
        assert_eq!(shape(&result), expected, "{path}");
        for index in (0..result.documents.len()).filter(|_| expected != ["external"]) {
            let text = text(&result, index);
            assert!(!text.contains("ENC[") && !text.contains("\nsops:"), "{path}: {text}");
        }
    }
}

#[test]
fn plain_files_keep_every_byte() {
    let ring = Ring::new();
    for content in [
        example("gitops/app/shop.yaml"),
        example("gitops/app/limits.json"),
        "# only a comment\n".into(),
        String::new(),
        "a:   1\r\n---\r\n# x\r\nb: [1,  2]\r\n...\r\n".into(),
        "- a list\n- is no object\n".into(),
        "\u{feff}apiVersion: v1\nkind: ConfigMap".into(),
    ] {
        let result = ring.stage("a.yaml", &content, YAML);
        let texts: Vec<_> = (0..result.documents.len()).map(|index| text(&result, index)).collect();
        assert_eq!(texts.concat(), content);
    }
}

#[test]
fn one_bad_document_does_not_stop_the_others_and_names_the_line_of_the_file() {
    let ring = Ring::new();
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let content = format!("{good}---\na: [1\nb: }}\n---\n{good}");
    let result = ring.stage("a.yaml", &content, YAML);
    assert_eq!(shape(&result), ["plain", "InvalidFile", "plain"]);
    let failed = &result.documents[1];
    let Err(error) = &failed.outcome else { panic!("failed") };
    let line = failure_line("a.yaml", failed, error);
    assert!(line.starts_with("a.yaml: document 2: InvalidFile: line "), "{line}");
    let number: usize =
        line["a.yaml: document 2: InvalidFile: line ".len()..].split(':').next().unwrap().parse().unwrap();
    assert!((5..=6).contains(&number), "a line of the file, not of the document: {line}");
}

#[test]
fn a_merge_that_was_not_finished_is_refused_with_its_line() {
    let ring = Ring::new();
    let sealed = example("gitops/sops/database.yaml");
    let (first, rest) = sealed.split_at(sealed.find("ENC[").expect("ciphertext"));
    let (value, rest) = rest.split_once('\n').expect("lines");
    let conflict =
        |head: &str| format!("{head}<<<<<<< ours\n{first}{value}\n=======\n{first}{value}\n>>>>>>> theirs\n{rest}");
    for (content, document, line) in [(conflict(""), 1, 1), (conflict("---\na: 1\n---\n"), 2, 4)] {
        let result = ring.stage("a.yaml", &content, YAML);
        let failed = &result.documents[document - 1];
        let Err(error) = &failed.outcome else { panic!("{:?}", shape(&result)) };
        let said = failure_line("a.yaml", failed, error);
        let expected =
            format!("a.yaml: document {document}: InvalidFile: line {line}: not valid yaml: a conflict marker");
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(shape(&result).iter().filter(|word| *word == "InvalidFile").count(), 1);
    }
    let list = format!("- {}\n", value.trim_end());
    assert_eq!(shape(&ring.stage("a.yaml", &list, YAML)), ["MetadataMissing"], "no ciphertext passes for plain text");
    assert_eq!(shape(&ring.stage("a.yaml", "- a\n", YAML)), ["plain"]);
}

/// Replaces the first character after `mark` by another one of base64.
fn tampered(content: &str, mark: &str) -> String {
    let at = content.find(mark).expect("mark") + mark.len();
    let other = if &content[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &content[..at], &content[at + 1..])
}

#[test]
fn whatever_is_wrong_with_a_sops_file_has_its_own_reason() {
    let mut ring = Ring::new();
    let path = "gitops/sops/database.yaml";
    let file = example(path);
    let mac = file.lines().find(|line| line.trim_start().starts_with("mac:")).expect("mac").to_owned() + "\n";
    for (content, reason) in [
        (tampered(&file, "password: ENC[AES256_GCM,data:"), "DecryptionFailed"),
        (tampered(&file, "mac: ENC[AES256_GCM,data:"), "MacMismatch"),
        (file.replace("namespace: shop", "namespace: other"), "MacMismatch"),
        (file.replace(&mac, ""), "MacMissing"),
        (file.replace("lastmodified: \"2", "lastmodified: \"3"), "MacMismatch"),
        (file[..file.find("\nsops:").expect("block") + 1].to_owned(), "MetadataMissing"),
        (file.replace("password: ENC[", "password: ENX["), "DecryptionFailed"),
    ] {
        let result = ring.stage(path, &content, YAML);
        assert_eq!(shape(&result), [reason]);
        assert!(
            !failure_line(path, &result.documents[0], result.documents[0].outcome.as_ref().err().unwrap())
                .contains('\n')
        );
    }
    ring.identities = Identities::new();
    assert_eq!(shape(&ring.stage(path, &file, YAML)), ["NoMatchingKey"]);
    ring.sealing = SealingKeys::new();
    assert_eq!(shape(&ring.stage("s.yaml", &example("gitops/sealed/strict.yaml"), YAML)).len(), 1);
}

#[test]
fn files_may_be_concatenated() {
    let ring = Ring::new();
    let content = format!(
        "{}---\n{}---\n{}{}",
        example("gitops/namespace.yaml"),
        example("gitops/sops/database.yaml"),
        example("gitops/sops/stream.yaml"),
        example("gitops/sealed/strict.yaml"),
    );
    let result = ring.stage("a.yaml", &content, YAML);
    assert_eq!(shape(&result), ["plain", "secret database", "secret queue", "secret cache", "secret sealed-strict"]);
}

#[test]
fn what_is_to_be_decrypted_later_keeps_its_bytes() {
    let ring = Ring::new();
    for path in ["gitops/sops/database.yaml", "gitops/sealed/strict.yaml", "gitops/external/payment.yaml"] {
        let content = example(path).replacen(
            "metadata:\n",
            "metadata:\n  annotations:\n    kustomize.toolkit.fluxcd.io/decrypt: Disabled\n",
            1,
        );
        // The examples differ in their indentation.
        let content = if path.contains("/sops/") {
            content.replacen("\n  annotations:\n    kus", "\n    annotations:\n        kus", 1)
        } else {
            content
        };
        let result = ring.stage(path, &content, YAML);
        assert_eq!(shape(&result), ["plain"], "{path}");
        assert_eq!(text(&result, 0), content);
    }
}

#[test]
fn redaction_leaves_lengths_and_no_values() {
    let ring = Ring::new();
    let show = Some(Show { json: false, redact: true });
    for path in ["sops/database.yaml", "sops/registry.json", "sops/helm-release.yaml", "sealed/strict.yaml"] {
        let path = format!("gitops/{path}");
        let result = ring.stage(&path, &example(&path), show);
        let text = text(&result, 0);
        assert!(text.contains(" bytes>"), "{path}: {text}");
        for value in [
            "example-database-password",
            "rotated by hand",
            "postgres://",
            "example-grafana",
            "eyJhdXRocyI6",
            "ZXhhbXBsZS1",
        ] {
            assert!(!text.contains(value), "{path}: {text}");
        }
    }
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n  data: {k: aHVudGVyMg==}\n- apiVersion: v1\n  kind: ConfigMap\n  data: {k: shown}\n";
    let redacted = text(&ring.stage("a.yaml", list, show), 0);
    assert!(
        redacted.contains("<7 bytes>") && redacted.contains("shown") && !redacted.contains("aHVudGVyMg"),
        "{redacted}"
    );
}

#[test]
fn guards_hold_for_what_comes_out_of_the_stage() {
    let mut ring = Ring::new();
    ring.policy.namespace = Some("other".into());
    for path in ["gitops/sops/database.yaml", "gitops/sealed/strict.yaml"] {
        assert_eq!(shape(&ring.stage(path, &example(path), None)), ["ForeignNamespace"], "{path}");
    }
}

/// What would be pruned of Secrets that are there.
fn plan(result: FileResult, known: &[&str]) -> decide::PrunePlan {
    let known = known.iter().map(|name| ((*name).to_owned(), Some("u".to_owned()))).collect();
    decide::prune_plan(known, &[result])
}

#[test]
fn a_document_whose_name_is_ciphertext_holds_pruning_back() {
    let mut ring = Ring::new();
    // As `sops -e` without a selector leaves it. The real ciphertext of another place will do: it is not opened here.
    let file = example("gitops/sops/database.yaml");
    let enc = file.lines().find_map(|line| line.trim().strip_prefix("password: ")).expect("ciphertext");
    let all = file
        .replace("apiVersion: v1\n", &format!("apiVersion: {enc}\n"))
        .replace("kind: Secret\n", &format!("kind: {enc}\n"))
        .replace(" name: database\n", &format!(" name: {enc}\n"))
        .replace(" namespace: shop\n", &format!(" namespace: {enc}\n"));
    assert_eq!(all.matches(enc).count(), 5, "everything is replaced: {all}");
    let lost = all[..all.find("\nsops:").expect("block") + 1].to_owned();
    ring.identities = Identities::new();
    for (content, reason) in [(all, "NoMatchingKey"), (lost, "MetadataMissing")] {
        let result = ring.stage("a.yaml", &content, None);
        assert_eq!(shape(&result), [reason]);
        assert_eq!(result.documents[0].header, Header::default(), "nothing is known of it");
        assert!(plan(result, &["database"]).held_back, "{reason}");
    }
}

#[test]
fn every_document_of_a_stream_with_a_broken_block_fails_and_is_kept() {
    let ring = Ring::new();
    let file = example("gitops/sops/stream.yaml");
    let broken = file.replace("    mac: ENC[", "    shamir_threshold: [x]\n    mac: ENC[");
    assert_ne!(broken, file);
    let result = ring.stage("a.yaml", &broken, None);
    assert_eq!(shape(&result), ["InvalidMetadata", "InvalidMetadata"]);
    let names: Vec<_> = result.documents.iter().map(|d| (d.number, d.header.name.clone())).collect();
    assert_eq!(names, [(Some(1), "queue".to_owned()), (Some(2), "cache".to_owned())]);
    let plan = plan(result, &["queue", "cache", "gone"]);
    assert!(!plan.held_back);
    assert_eq!(plan.candidates.keys().collect::<Vec<_>>(), ["gone"]);
}
