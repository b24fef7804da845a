//! SealedSecrets on a real API server, with what the real kubeseal made.

use std::collections::BTreeMap;
use std::process::Command;

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use latchwork::pure::crd::sealed_secret::{SealedSecret, SealedSecretCondition};

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::expose;
use crate::rig::process::{self, Proc, run, run_ok};
use crate::rig::wait::{PATIENCE, SOON, eventually};
use crate::rig::{self, NODE_ADDRESS, ports, scratch, tools};

const LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
const MANAGED: &str = "sealedsecrets.bitnami.com/managed";

/// An operator that works on one namespace, which is its own, too.
struct Operator {
    process: Proc,
    url: String,
    metrics: String,
    namespace: String,
    plane: &'static ControlPlane,
}

impl Operator {
    async fn start(plane: &'static ControlPlane, namespace: &str, arguments: &[&str]) -> Self {
        let (port, metrics) = (ports::free(), ports::free());
        let mut command = process::operator(&plane.kubeconfig);
        command.args(["--namespace", namespace, "--watch-namespace", namespace]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--listen-metrics", &format!("127.0.0.1:{metrics}")]);
        command.args(arguments);
        let operator = Self {
            process: Proc::spawn("latchwork", command),
            url: format!("http://127.0.0.1:{port}"),
            metrics: format!("http://127.0.0.1:{metrics}/metrics"),
            namespace: namespace.to_owned(),
            plane,
        };
        eventually(SOON, "the operator to be ready", || async {
            operator.process.assert_running();
            get(&format!("{}/readyz", operator.url)).await.map(drop)
        })
        .await;
        operator
    }

    async fn certificate(&self) -> String {
        get(&format!("{}/v1/cert.pem", self.url)).await.expect("certificate")
    }

    /// Seals with the real kubeseal to the operator's present certificate, and applies.
    async fn seal_and_apply(&self, name: &str, entries: &[(&str, &str)]) {
        let certificate = scratch::file("cert.pem", self.certificate().await);
        self.plane.apply(&seal(&certificate, &self.namespace, name, entries));
    }

    async fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    async fn sealed(&self) -> Api<SealedSecret> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    async fn opened(&self, name: &str, entry: &str, value: &str) -> Secret {
        let secrets = self.secrets().await;
        eventually(SOON, &format!("{name} with its value"), || async {
            self.process.assert_running();
            let secret = secrets.get(name).await.map_err(|e| e.to_string())?;
            let found = secret.data.as_ref().and_then(|data| data.get(entry)).map(|v| v.0.clone());
            if found.as_deref() == Some(value.as_bytes()) { Ok(secret) } else { Err("another value".into()) }
        })
        .await
    }

    async fn condition(&self, name: &str, status: &str, message: &str) -> SealedSecretCondition {
        let sealed = self.sealed().await;
        eventually(SOON, &format!("Synced={status} {message:?} of {name}"), || async {
            self.process.assert_running();
            let object = sealed.get(name).await.map_err(|e| e.to_string())?;
            let status_now = object.status.clone().unwrap_or_default();
            let condition = status_now.synced().cloned().ok_or("no condition yet")?;
            let current = status_now.observed_generation == object.metadata.generation;
            let says = condition.message.contains(message) && (!message.is_empty() || condition.message.is_empty());
            if current && condition.status == status && says { Ok(condition) } else { Err(format!("{condition:?}")) }
        })
        .await
    }
}

fn install_crd(plane: &ControlPlane) {
    let file = tools::repository().join("crds/bitnami.com_sealedsecrets.yaml");
    plane.apply(&std::fs::read_to_string(file).expect("generated"));
    let wait = ["wait", "--for=condition=Established", "crd", "sealedsecrets.bitnami.com", "--timeout=240s"];
    run_ok(plane.kubectl(&wait), b"");
}

async fn get(url: &str) -> Result<String, String> {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client");
    let answer = http.get(url).send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| e.to_string())?;
    if status.is_success() { Ok(text) } else { Err(format!("{status} {text}")) }
}

fn kubeseal(certificate: &std::path::Path) -> Command {
    let mut command = process::command(tools::path("kubeseal"));
    command.arg("--cert").arg(certificate).env("KUBECONFIG", "/nonexistent");
    command
}

fn secret(namespace: &str, name: &str, entries: &[(&str, &str)]) -> String {
    let entries: BTreeMap<_, _> = entries.iter().copied().collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace }, "stringData": entries,
    })
    .to_string()
}

fn seal(certificate: &std::path::Path, namespace: &str, name: &str, entries: &[(&str, &str)]) -> String {
    run_ok(kubeseal(certificate), secret(namespace, name, entries).as_bytes())
}

/// A sealing key as OpenSSL makes it: (key PEM, certificate PEM).
fn key_pair() -> (String, String) {
    let dir = scratch::dir("key");
    let mut openssl = process::command("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=test"]);
    openssl.arg("-keyout").arg(dir.join("key")).arg("-out").arg(dir.join("crt"));
    run_ok(openssl, b"");
    let read = |name| std::fs::read_to_string(dir.join(name)).expect("made");
    (read("key"), read("crt"))
}

fn key_secret(namespace: &str, name: &str, state: &str, pair: &(String, String)) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": namespace, "labels": { LABEL: state } },
        "stringData": { "tls.key": pair.0, "tls.crt": pair.1 },
    })
    .to_string()
}

#[tokio::test]
async fn a_sealed_secret_becomes_its_secret_and_is_kept_right() {
    let plane = rig::cluster();
    install_crd(plane);
    let namespace = plane.namespace("sealed").await;
    // No key anywhere: the first one is made.
    let operator = Operator::start(plane, &namespace, &[]).await;
    let secrets = operator.secrets().await;
    let keys = secrets.list(&ListParams::default().labels(&format!("{LABEL}=active"))).await.unwrap().items;
    assert_eq!(keys.len(), 1);
    assert!(keys[0].metadata.name.as_deref().unwrap().starts_with("sealed-secrets-key"));
    assert_eq!(keys[0].type_.as_deref(), Some("kubernetes.io/tls"));
    let served = operator.certificate().await;
    assert_eq!(served.as_bytes(), keys[0].data.as_ref().unwrap()["tls.crt"].0);
    operator.process.wait_for_log("-----BEGIN CERTIFICATE-----").await;

    operator.seal_and_apply("db", &[("password", "hunter2-canary"), ("user", "admin")]).await;
    let opened = operator.opened("db", "password", "hunter2-canary").await;
    let owner = &opened.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.controller), ("SealedSecret", "db", Some(true)));
    operator.condition("db", "True", "").await;

    // Edited and deleted Secrets come back at once.
    let edit = json!({ "data": { "password": "Y2hhbmdlZA==", "more": "eA==" } });
    secrets.patch("db", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let repaired = operator.opened("db", "password", "hunter2-canary").await;
    assert!(!repaired.data.unwrap().contains_key("more"));
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    let again = operator.opened("db", "user", "admin").await;
    assert_ne!(again.metadata.uid, opened.metadata.uid);

    let events = Api::<Event>::namespaced(plane.client().await, &namespace);
    eventually(SOON, "the event", || async {
        let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let found = all.iter().any(|event| {
            event.reason.as_deref() == Some("Unsealed")
                && event.involved_object.name.as_deref() == Some("db")
                && event.message.as_deref() == Some("SealedSecret unsealed successfully")
                && event.source.as_ref().and_then(|source| source.component.as_deref()) == Some("sealed-secrets")
        });
        if found { Ok(()) } else { Err(format!("{} events", all.len())) }
    })
    .await;
    let metrics = get(&operator.metrics).await.unwrap();
    let condition = format!(
        "sealed_secrets_controller_condition_info{{condition=\"Synced\",name=\"db\",namespace=\"{namespace}\",ss_app_kubernetes_io_instance=\"\"}} 1"
    );
    assert!(metrics.contains(&condition), "{metrics}");

    // A restart finds everything right and writes nothing.
    let before = secrets.get("db").await.unwrap().metadata.resource_version;
    assert!(operator.process.stop().await.success());
    let log = operator.process.output();
    assert!(!log.contains("hunter2-canary"), "{log}");
    let operator = Operator::start(plane, &namespace, &[]).await;
    operator.seal_and_apply("other", &[("a", "b")]).await;
    operator.opened("other", "a", "b").await;
    assert_eq!(secrets.get("db").await.unwrap().metadata.resource_version, before);
    assert_eq!(operator.certificate().await, served, "no second key");

    // With the SealedSecret its Secret goes.
    operator.sealed().await.delete("db", &DeleteParams::default()).await.unwrap();
    eventually(SOON, "the collected Secret", || async {
        match secrets.get_opt("db").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|secret| secret.map(|s| s.metadata.name)))),
        }
    })
    .await;
}

/// A random entry stays over reconciles and restarts; it is made anew when its inputs or the Secret were changed.
#[tokio::test]
async fn what_a_template_draws_at_random_is_kept() {
    let plane = rig::cluster();
    install_crd(plane);
    let namespace = plane.namespace("sealed-random").await;
    let operator = Operator::start(plane, &namespace, &[]).await;
    let certificate = scratch::file("cert.pem", operator.certificate().await);
    let apply = |user: &str| {
        let mut object: serde_json::Value =
            serde_json::from_str(&seal(&certificate, &namespace, "db", &[("user", user)]))
                .expect("kubeseal writes JSON");
        object["spec"]["template"]["data"] = json!({"token": "{{ .user }}-{{ randAlphaNum 20 }}", "place": "{{ dir \"/a/b\" }}|{{ osBase \"/a/b.c\" }}|{{ ext \"x.y\" }}"});
        plane.apply(&object.to_string());
    };
    let secrets = operator.secrets().await;
    let entry = |secret: &Secret, name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|value| String::from_utf8(value.0.clone()).unwrap()).unwrap_or_default()
    };
    let changed = async |from: &str, user: &str| {
        eventually(SOON, "another token", || async {
            let secret = secrets.get("db").await.map_err(|e| e.to_string())?;
            let token = entry(&secret, "token");
            let good = token != from && token.starts_with(&format!("{user}-")) && token.len() == user.len() + 21;
            if good { Ok(secret) } else { Err(format!("a token of {} bytes", token.len())) }
        })
        .await
    };
    apply("ann");
    let first = changed("", "ann").await;
    assert_eq!(entry(&first, "place"), "/a|b.c|.y", "sprig's path functions");
    assert!(first.metadata.annotations.as_ref().unwrap().contains_key("latchwork.dev/template-inputs"));

    // Sealed anew, the values are the same: a reconcile with nothing to write.
    operator.condition("db", "True", "").await;
    apply("ann");
    let sealed = operator.sealed().await;
    eventually(SOON, "the second generation in force", || async {
        let object = sealed.get("db").await.map_err(|e| e.to_string())?;
        let seen = object.status.as_ref().and_then(|status| status.observed_generation);
        if object.metadata.generation == Some(2) && seen == Some(2) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(secrets.get("db").await.unwrap().metadata.resource_version, first.metadata.resource_version);

    assert!(operator.process.stop().await.success());
    let operator = Operator::start(plane, &namespace, &[]).await;
    operator.seal_and_apply("other", &[("a", "b")]).await;
    operator.opened("other", "a", "b").await;
    assert_eq!(secrets.get("db").await.unwrap().metadata.resource_version, first.metadata.resource_version);

    apply("bob");
    let second = changed(&entry(&first, "token"), "bob").await;
    let edit = json!({ "data": { "token": "Y2hhbmdlZA==" } });
    secrets.patch("db", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    changed(&entry(&second, "token"), "bob").await;
}

#[tokio::test]
async fn a_key_added_at_run_time_opens_and_is_served_without_a_restart() {
    let plane = rig::cluster();
    install_crd(plane);
    let namespace = plane.namespace("sealed-keys").await;
    let (first, second) = (key_pair(), key_pair());
    plane.apply(&key_secret(&namespace, "first", "active", &first));
    let operator = Operator::start(plane, &namespace, &["--key-renew-days", "0"]).await;
    assert_eq!(operator.certificate().await.trim(), first.1.trim());
    operator.seal_and_apply("old", &[("a", "1")]).await;
    operator.opened("old", "a", "1").await;

    let certificate = scratch::file("second.pem", &second.1);
    plane.apply(&seal(&certificate, &namespace, "new", &[("a", "2")]));
    let condition = operator.condition("new", "False", "no key could decrypt secret (a)").await;
    assert_eq!(condition.reason, "NoKey");
    let metrics = get(&operator.metrics).await.unwrap();
    let errors =
        format!("sealed_secrets_controller_unseal_errors_total{{namespace=\"{namespace}\",reason=\"unseal\"}} ");
    assert!(metrics.contains(&errors), "{metrics}");

    // One unreadable key beside it does no harm.
    plane.apply(&key_secret(&namespace, "broken", "active", &("no key".to_owned(), "no certificate".to_owned())));
    plane.apply(&key_secret(&namespace, "second", "active", &second));
    operator.opened("new", "a", "2").await;
    operator.condition("new", "True", "").await;
    eventually(SOON, "the new certificate", || async {
        let served = operator.certificate().await;
        // Both may be of the same second; then the name decides, and the first one stays.
        let newest = if not_before(&second.1) > not_before(&first.1) { &second.1 } else { &first.1 };
        if served.trim() == newest.trim() { Ok(()) } else { Err("the old certificate".to_owned()) }
    })
    .await;

    let mut keys = process::latchwork();
    keys.args(["keys", "status", "--namespace", &namespace, "--objects-in", &namespace, "--output", "json"]);
    keys.env("KUBECONFIG", &plane.kubeconfig);
    let ran = run(keys, b"");
    assert!(ran.status.success(), "{}", ran.stderr);
    assert!(ran.stderr.contains("sealing key broken: no private key"), "{}", ran.stderr);
    let listed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut found: Vec<_> = listed["keys"].as_array().unwrap().iter().collect();
    found.sort_by_key(|key| key["name"].as_str().unwrap().to_owned());
    for (key, (name, object)) in found.iter().zip([("first", "old"), ("second", "new")]) {
        assert_eq!((key["name"].as_str(), key["entries"].as_u64()), (Some(name), Some(1)), "{listed}");
        assert_eq!(key["objects"][0], json!({ "namespace": namespace, "name": object, "entries": ["a"] }));
    }
    assert_eq!(listed["unopened"], json!([]));

    // What the old key sealed still opens, and a compromised key opens nothing more.
    let old = operator.secrets().await;
    old.delete("old", &DeleteParams::default()).await.unwrap();
    operator.opened("old", "a", "1").await;
    plane.apply(&key_secret(&namespace, "second", "compromised", &second));
    let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    eventually(SOON, "the key to be given up", || async {
        operator.sealed().await.patch("new", &PatchParams::default(), &Patch::Merge(touch.clone())).await.unwrap();
        let served = operator.certificate().await;
        if served.trim() == first.1.trim() { Ok(()) } else { Err("still served".to_owned()) }
    })
    .await;
    let again = json!({ "metadata": { "annotations": { "touched": "again" } } });
    operator.sealed().await.patch("new", &PatchParams::default(), &Patch::Merge(again)).await.unwrap();
    let condition =
        operator.condition("new", "False", "no key could decrypt secret (a); a: it was sealed with key").await;
    assert_eq!(condition.reason, "RetiredKey");
    assert_eq!(
        operator.secrets().await.get("new").await.unwrap().data.unwrap()["a"].0,
        b"2",
        "the last good one stays"
    );
}

#[tokio::test]
async fn keys_are_renewed_after_their_period_and_old_ones_still_open() {
    let plane = rig::cluster();
    install_crd(plane);
    let namespace = plane.namespace("sealed-renewal").await;
    plane.apply(&key_secret(&namespace, "first", "active", &key_pair()));
    // Ten seconds, so that at least the first certificate is seen.
    let operator = Operator::start(plane, &namespace, &["--key-renew-days", "0.000115"]).await;
    operator.seal_and_apply("db", &[("a", "1")]).await;
    let first = operator.certificate().await;
    eventually(SOON, "the renewed certificate", || async {
        operator.process.assert_running();
        if operator.certificate().await == first { Err("the first one".to_owned()) } else { Ok(()) }
    })
    .await;
    let secrets = operator.secrets().await;
    operator.opened("db", "a", "1").await;
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    operator.opened("db", "a", "1").await;
    let keys = secrets.list(&ListParams::default().labels(LABEL)).await.unwrap().items;
    assert!(keys.len() >= 2 && keys.iter().any(|key| key.metadata.name.as_deref() == Some("first")));
}

fn not_before(certificate: &str) -> jiff::Timestamp {
    latchwork::pure::sealed::keys::Certificate::parse("test", certificate.as_bytes()).expect("certificate").not_before()
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_until_it_is_handed_over() {
    let plane = rig::cluster();
    install_crd(plane);
    let namespace = plane.namespace("sealed-foreign").await;
    plane.apply(&key_secret(&namespace, "key", "active", &key_pair()));
    let operator = Operator::start(plane, &namespace, &["--key-renew-days", "0"]).await;
    plane.apply(&secret(&namespace, "theirs", &[("own", "value")]));
    operator.seal_and_apply("theirs", &[("a", "1")]).await;
    let condition = operator
        .condition("theirs", "False", "Resource \"theirs\" already exists and is not managed by SealedSecret")
        .await;
    assert_eq!(condition.reason, "AlreadyExists");
    let secrets = operator.secrets().await;
    assert!(secrets.get("theirs").await.unwrap().data.unwrap().contains_key("own"));

    let patch = json!({ "metadata": { "annotations": { "sealedsecrets.bitnami.com/patch": "true" } } });
    secrets.patch("theirs", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let merged = operator.opened("theirs", "a", "1").await;
    assert!(merged.data.unwrap().contains_key("own") && merged.metadata.owner_references.is_none());

    let managed =
        json!({ "metadata": { "annotations": { "sealedsecrets.bitnami.com/patch": null, MANAGED: "true" } } });
    secrets.patch("theirs", &PatchParams::default(), &Patch::Merge(managed)).await.unwrap();
    eventually(SOON, "the takeover", || async {
        let secret = secrets.get("theirs").await.map_err(|e| e.to_string())?;
        let (data, owners) = (secret.data.unwrap_or_default(), secret.metadata.owner_references.unwrap_or_default());
        if data.len() == 1 && owners.len() == 1 {
            Ok(())
        } else {
            Err(format!("{} entries, {} owners", data.len(), owners.len()))
        }
    })
    .await;
    operator.condition("theirs", "True", "").await;
}

/// A CRD without a schema, as old installations have it.
const LOOSE_CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sealedsecrets.bitnami.com}
spec:
  group: bitnami.com
  scope: Namespaced
  names: {kind: SealedSecret, listKind: SealedSecretList, plural: sealedsecrets, singular: sealedsecret}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn malformed_objects_stall_nothing_and_kubeseal_works_through_the_service_proxy() {
    rig::require_sandbox("the service proxy");
    // Of its own, for the CRD without a schema.
    let plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(Options::default()).await));
    plane.apply(LOOSE_CRD);
    run_ok(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=240s"]), b"");
    let namespace = plane.namespace("sealed-bad").await;
    plane.apply(&key_secret(&namespace, "key", "active", &key_pair()));
    for (name, spec) in [
        ("no-string", json!({ "encryptedData": { "a": 1, "b": null } })),
        ("no-map", json!({ "encryptedData": "text" })),
        ("no-template", json!({ "encryptedData": {}, "template": { "metadata": { "labels": { "x": 1 } } } })),
        ("no-spec", json!(null)),
    ] {
        let object = json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        });
        plane.apply(&object.to_string());
    }
    let port = ports::free();
    let listen = format!("{NODE_ADDRESS}:{port}");
    let (health, metrics) = (format!("http://{listen}/readyz"), format!("127.0.0.1:{}", ports::free()));
    let mut command = process::operator(&plane.kubeconfig);
    command.args([
        "--namespace",
        &namespace,
        "--listen",
        &listen,
        "--listen-metrics",
        &metrics,
        "--key-renew-days",
        "0",
    ]);
    let operator = Operator {
        process: Proc::spawn("latchwork", command),
        url: format!("http://{listen}"),
        metrics: format!("http://{metrics}/metrics"),
        namespace: namespace.clone(),
        plane,
    };
    eventually(SOON, "the operator to be ready", || async {
        operator.process.assert_running();
        get(&health).await.map(drop)
    })
    .await;
    operator.seal_and_apply("good", &[("a", "1")]).await;
    operator.opened("good", "a", "1").await;
    let condition = operator.condition("no-string", "False", "no key could decrypt secret (a, b)").await;
    assert_eq!(condition.reason, "EmptyEntry");
    operator.condition("no-template", "False", "spec.template.metadata.labels").await;

    // Watched in the middle of it, too.
    let bad = json!({ "spec": { "encryptedData": { "a": ["no", "string"] } } });
    operator.sealed().await.patch("good", &PatchParams::default(), &Patch::Merge(bad)).await.unwrap();
    operator.condition("good", "False", "no key could decrypt secret (a)").await;
    operator.seal_and_apply("better", &[("a", "2")]).await;
    operator.opened("better", "a", "2").await;

    // The real kubeseal, through the API server.
    expose(plane, &namespace, "sealed-secrets-controller", "http", port).await;
    let through_proxy = |arguments: &[&str]| {
        let mut command = process::command(tools::path("kubeseal"));
        command.args(["--controller-namespace", &namespace]).args(arguments).env("KUBECONFIG", &plane.kubeconfig);
        command
    };
    let fetched = run_ok(through_proxy(&["--fetch-cert"]), b"");
    assert_eq!(fetched, operator.certificate().await);
    let sealed = run_ok(through_proxy(&["-o", "yaml"]), secret(&namespace, "db", &[("x", "y")]).as_bytes());
    let valid = run(through_proxy(&["--validate"]), sealed.as_bytes());
    assert!(valid.status.success() && valid.stdout.is_empty(), "{}", valid.stderr);
    let renamed = sealed.replace("name: db", "name: other");
    let refused = run(through_proxy(&["--validate"]), renamed.as_bytes());
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("unable to decrypt sealed secret: other"), "{}", refused.stderr);

    let again = run_ok(through_proxy(&["--re-encrypt", "-o", "yaml"]), sealed.as_bytes());
    assert!(again != sealed && again.contains("kind: SealedSecret"), "{again}");
    plane.apply(&again);
    operator.opened("db", "x", "y").await;
    let refused = run(through_proxy(&["--re-encrypt"]), renamed.as_bytes());
    assert!(!refused.status.success() && refused.stderr.contains("cannot re-encrypt secret"), "{}", refused.stderr);

    // The fourth request at once is refused, with a time to come back.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let verify = format!("{}/v1/verify", operator.url);
    let mut codes = vec![];
    for _ in 0..4 {
        let request = http.post(&verify).header("x-forwarded-for", "192.0.2.1").body("not a manifest");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["x-ratelimit-limit"], "3");
        assert_eq!(answer.headers().contains_key("retry-after"), answer.status() == 429);
        codes.push(answer.status().as_u16());
    }
    assert_eq!(codes, [500, 500, 500, 429]);
}
