//! The life of the sealing keys on real API servers: `latchwork keys`, the KeyRing, and the drill after a loss.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use latchwork::pure::crd::key_ring::{KeyRing, KeyRingStatus};

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::expose_replicas;
use crate::rig::operator::Operator;
use crate::rig::process::{self, Ran, run, run_ok};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, NODE_ADDRESS, scratch, tools};

pub const LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
pub const KEYS: &str = "keys-here";

pub fn keys(plane: &ControlPlane, arguments: &[&str]) -> Command {
    let mut command = process::latchwork();
    command.arg("keys").args(arguments).args(["--namespace", KEYS]).env("KUBECONFIG", &plane.kubeconfig);
    command
}

pub fn say(ran: &Ran) -> String {
    format!("{}\n{}\n{}", ran.status, ran.stdout, ran.stderr)
}

/// Runs a verb that must be refused, with these words.
pub fn refused(plane: &ControlPlane, arguments: &[&str], words: &[&str]) {
    let ran = run(keys(plane, arguments), b"");
    assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {}", say(&ran));
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} missing: {}", say(&ran));
    }
}

pub fn status(plane: &ControlPlane) -> Value {
    serde_json::from_str(&run_ok(keys(plane, &["status", "--json"]), b"")).expect("JSON")
}

/// Names of the keys in a state, newest first.
pub fn in_state(status: &Value, state: &str) -> Vec<String> {
    let keys = status["keys"].as_array().expect("a list");
    keys.iter().filter(|key| key["state"] == state).map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

pub fn create_namespace(plane: &ControlPlane, name: &str) {
    run_ok(plane.kubectl(&["create", "namespace", name]), b"");
}

pub fn seal(certificate: &Path, namespace: &str, name: &str, value: &str) -> String {
    let mut kubeseal = process::command(tools::path("kubeseal"));
    kubeseal.arg("--cert").arg(certificate).env("KUBECONFIG", "/nonexistent");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
                         "stringData": { "password": value } });
    run_ok(kubeseal, secret.to_string().as_bytes())
}

pub async fn opened(plane: &ControlPlane, operator: &Operator, namespace: &str, name: &str, value: &str) {
    let secrets = Api::<Secret>::namespaced(plane.client().await, namespace);
    eventually(SOON, &format!("{namespace}/{name}"), || async {
        operator.process.assert_running();
        let data = secrets.get(name).await.map_err(|e| e.to_string())?.data.unwrap_or_default();
        if data.get("password").is_some_and(|found| found.0 == value.as_bytes()) {
            Ok(())
        } else {
            Err("no value".into())
        }
    })
    .await;
}

pub async fn certificate(operator: &Operator) -> PathBuf {
    let pem = eventually(SOON, "the certificate", || async {
        match operator.get("/v1/cert.pem").await? {
            (200, pem) => Ok(pem),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    scratch::file("cert.pem", pem)
}

pub async fn ring(
    plane: &ControlPlane,
    operator: &Operator,
    what: &str,
    holds: impl Fn(&KeyRingStatus) -> bool,
) -> KeyRingStatus {
    let rings = Api::<KeyRing>::all(plane.client().await);
    eventually(SOON, what, || async {
        operator.process.assert_running();
        let status = rings.get("default").await.map_err(|e| e.to_string())?.status.ok_or("no status yet")?;
        if holds(&status) { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

/// An age identity file and its recipient, as the real age-keygen makes them.
pub fn offline_identity() -> (PathBuf, String) {
    let file = scratch::dir("age").join("offline.agekey");
    let mut keygen = process::command(tools::path("age-keygen"));
    keygen.arg("-o").arg(&file);
    run_ok(keygen, b"");
    let mut public = process::command(tools::path("age-keygen"));
    public.arg("-y").arg(&file);
    (file.clone(), run_ok(public, b"").trim().to_owned())
}

pub async fn operator(plane: &ControlPlane, arguments: &[&str]) -> Operator {
    Operator::spawn(process::operator(&plane.kubeconfig), NODE_ADDRESS, KEYS, arguments).await
}

#[tokio::test]
async fn a_key_is_rotated_backed_up_and_retired_only_when_nothing_needs_it() {
    rig::require_sandbox("the pod proxy");
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    create_namespace(&plane, KEYS);
    create_namespace(&plane, "team");
    let other = json!({ "apiVersion": "latchwork.dev/v1alpha1", "kind": "KeyRing", "metadata": { "name": "other" }, "spec": {} });
    let ran = run(plane.kubectl(&["create", "-f", "-"]), other.to_string().as_bytes());
    assert!(ran.stderr.contains("a cluster has one KeyRing, and its name is default"), "{}", say(&ran));
    // The flags of the operators say ten seconds; the KeyRing says never, and goes first.
    plane.apply(
        &json!({ "apiVersion": "latchwork.dev/v1alpha1", "kind": "KeyRing", "metadata": { "name": "default" },
                         "spec": { "renewal": { "after": "0s" } } })
        .to_string(),
    );
    let flags = ["--key-renew-days", "0.000115"];
    let (first, second) = (operator(&plane, &flags).await, operator(&plane, &flags).await);
    let old_certificate = certificate(&first).await;
    let sealed_old = seal(&old_certificate, "team", "db", "hunter2-canary");
    plane.apply(&sealed_old);
    opened(&plane, &first, "team", "db", "hunter2-canary").await;
    let old = in_state(&status(&plane), "active").remove(0);

    // Without a verb it is the status, and without a cluster it says what is missing.
    let table = run_ok(keys(&plane, &["status"]), b"");
    assert!(table.contains(&old), "{table}");
    assert_eq!(run_ok(keys(&plane, &[]), b""), table);
    let mut nowhere = process::latchwork();
    nowhere.arg("keys").env("KUBECONFIG", "/nonexistent");
    let ran = run(nowhere, b"");
    assert_eq!((ran.status.code(), ran.stdout.as_str()), (Some(1), ""), "{}", say(&ran));
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("/nonexistent"), "{}", say(&ran));

    // A wrong Service costs no key; the right one has two replicas, and one of them hangs.
    refused(&plane, &["rotate"], &["no ready replica stands behind Service keys-here/latchwork", "--service"]);
    expose_replicas(&plane, KEYS, "latchwork", "http", &[first.port(), second.port()]).await;
    assert_eq!(status(&plane)["keys"].as_array().unwrap().len(), 1);
    eventually(SOON, "both endpoints", || async {
        let slices = run_ok(plane.kubectl(&["get", "endpointslices", "-n", KEYS, "-o", "json"]), b"");
        let both = ["latchwork-stand-in-0", "latchwork-stand-in-1"].iter().all(|pod| slices.contains(pod));
        if both { Ok(()) } else { Err(slices) }
    })
    .await;
    second.process.signal("STOP");
    refused(&plane, &["rotate", "--timeout", "3"], &["not every replica serves the new key", "latchwork-stand-in-1: "]);
    second.process.signal("CONT");
    let ran = run(keys(&plane, &["rotate"]), b"");
    assert!(
        ran.status.success() && ran.stdout.contains("all 2 replicas of keys-here/latchwork serve it"),
        "{}",
        say(&ran)
    );
    let now = status(&plane);
    let active = in_state(&now, "active").remove(0);
    assert!(ran.stdout.contains(&format!("made sealing key {active} (SHA256:")), "{}", say(&ran));
    assert_eq!(in_state(&now, "retiring").len(), 2, "{now:#}");
    for replica in [&first, &second] {
        assert!(std::fs::read(certificate(replica).await).unwrap() != std::fs::read(&old_certificate).unwrap());
    }

    // What the operator says is what the command finds.
    let held = now["keys"].as_array().unwrap().iter().find(|key| key["name"] == old.as_str()).unwrap();
    assert_eq!(held["objects"], json!([{ "namespace": "team", "name": "db", "entries": ["password"] }]));
    let said =
        ring(&plane, &first, "the KeyRing's inventory", |s| s.key_count == 3 && s.entries_on_old_keys == 1).await;
    assert_eq!(said.active_key.as_deref(), Some(active.as_str()));
    let backed_up = |status: &KeyRingStatus, value: &str| {
        status.conditions.iter().any(|condition| condition.type_ == "BackedUp" && condition.status == value)
    };
    assert!(backed_up(&said, "False"), "{said:?}");
    let columns = run_ok(plane.kubectl(&["get", "keyring"]), b"");
    assert!(columns.contains("ACTIVE KEY") && columns.contains(&active), "{columns}");
    // Whoever leads by now counts.
    eventually(SOON, "the entries of the old key in the metrics", || async {
        let metrics = format!("{}{}", first.metrics().await, second.metrics().await);
        let counted = metrics.lines().any(|line| {
            line.starts_with("latchwork_sealing_key_entries{")
                && line.contains(&old)
                && line.ends_with("state=\"retiring\"} 1")
        });
        if counted { Ok(()) } else { Err(metrics) }
    })
    .await;

    // Needed keys stay: the active one, and one that an object or a file needs.
    refused(&plane, &["retire", &active], &["is the active key", "latchwork keys rotate"]);
    refused(&plane, &["retire", &old], &["team/db: password", "still needed by 1 entries in 1 objects"]);
    refused(&plane, &["retire", "nothing"], &["names no key", &old, &active]);
    plane.apply(&seal(&certificate(&first).await, "team", "db", "hunter2-canary"));
    let tree = scratch::dir("tree");
    std::fs::write(tree.join("helm.yaml"), "{{ a template }}").unwrap();
    std::fs::write(tree.join("db.yaml"), format!("kind: ConfigMap\n---\n{sealed_old}")).unwrap();
    let tree = tree.display().to_string();
    refused(&plane, &["retire", &old, "--tree", &tree], &["db.yaml: team/db: password", "still needed"]);
    let homeless = scratch::dir("homeless");
    std::fs::write(homeless.join("db.yaml"), sealed_old.replace("\"namespace\": \"team\"", "\"x\": \"y\"")).unwrap();
    let homeless = homeless.display().to_string();
    refused(&plane, &["retire", &old, "--tree", &homeless], &["no key opens these entries", "--tree-namespace"]);
    refused(&plane, &["retire", &old, "--tree", &homeless, "--tree-namespace", "team"], &["still needed"]);
    refused(&plane, &["retire", &old, "--delete"], &["no backup was verified to hold"]);
    let fingerprint = held["fingerprint"].as_str().unwrap();
    let looked = run_ok(keys(&plane, &["retire", &fingerprint[..16], "--dry-run"]), b"");
    assert!(looked.contains("can be retired"), "{looked}");
    assert!(in_state(&status(&plane), "retiring").contains(&old));

    // A backup: no key in clear, read by the real age and by kubectl, proven, and then the old key may go.
    let (identity, recipient) = offline_identity();
    let file = scratch::dir("backup").join("keys.age");
    let (file, identity) = (file.display().to_string(), identity.display().to_string());
    refused(&plane, &["backup"], &["--recipient", "age-keygen"]);
    let written = run(keys(&plane, &["backup", "--recipient", &recipient, "-o", &file]), b"");
    assert!(written.status.success() && written.stderr.contains("3 keys"), "{}", say(&written));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !text.contains("PRIVATE KEY"));
    refused(&plane, &["backup", "--recipient", &recipient, "-o", &file], &["is there already", "--force"]);
    let mut age = process::command(tools::path("age"));
    age.args(["-d", "-i", &identity, &file]);
    let list = run_ok(age, b"");
    let applied = run_ok(plane.kubectl(&["apply", "--dry-run=server", "-f", "-"]), list.as_bytes());
    assert_eq!(applied.lines().count(), 3, "{applied}");
    let said = ring(&plane, &first, "the backup in the KeyRing", |status| backed_up(status, "True")).await;
    assert_eq!(said.backup.map(|backup| backup.recipients), Some(vec![recipient]));
    let (stranger, _) = offline_identity();
    refused(&plane, &["verify-backup", &file, "--identity", &stranger.display().to_string()], &["other recipients"]);
    let proven = run_ok(keys(&plane, &["verify-backup", &file, "--identity", &identity]), b"");
    assert!(proven.contains("its 3 keys open every entry of 1 SealedSecrets"), "{proven}");
    let proven = run_ok(keys(&plane, &["verify-backup", &file, "--identity", &identity, "--tree", &tree]), b"");
    assert!(proven.contains("of 1 SealedSecrets"), "{proven}");

    let ran = run(keys(&plane, &["retire", &old]), b"");
    assert!(ran.status.success() && ran.stderr.contains("only the cluster was looked at"), "{}", say(&ran));
    assert_eq!(in_state(&status(&plane), "retired"), std::slice::from_ref(&old));
    // What is applied now in the old form is not opened any more, and that is shown.
    plane.apply(&seal(&old_certificate, "team", "late", "hunter2-canary"));
    refused(&plane, &["verify-backup", &file, "--identity", &identity, "--tree", &homeless], &["--tree-namespace"]);
    refused(&plane, &["retire", &old, "--delete"], &["team/late: password", "still needed"]);
    run_ok(plane.kubectl(&["delete", "sealedsecret", "late", "-n", "team"]), b"");
    let gone = run_ok(keys(&plane, &["retire", &old, "--delete"]), b"");
    assert!(gone.contains("is deleted"), "{gone}");
    assert_eq!(status(&plane)["keys"].as_array().unwrap().len(), 2);
    // Offline, from the backup and the file: the deleted key is what the old commit needs.
    let dump = scratch::dir("dump").join("keys.json");
    std::fs::write(&dump, &list).unwrap();
    let mut offline = process::latchwork();
    offline.args(["keys", "status", "--json", "--tree", &tree, "--sealing-key", &dump.display().to_string()]);
    offline.env("KUBECONFIG", "/nonexistent");
    let offline: Value = serde_json::from_str(&run_ok(offline, b"")).unwrap();
    let needed: Vec<_> = offline["keys"].as_array().unwrap().iter().filter(|key| key["entries"] == 1).collect();
    assert_eq!(needed.len(), 1);
    assert_eq!(needed[0]["name"], old.as_str());

    for operator in [first, second] {
        assert!(operator.process.stop().await.success());
        let log = operator.process.output();
        assert!(!log.contains("hunter2-canary") && !log.contains("PRIVATE KEY"), "{log}");
    }
}

/// A sealing key as OpenSSL makes it, in a Secret.
pub fn key_secret(name: &str, state: &str) -> (String, PathBuf) {
    let dir = scratch::dir("key");
    let mut openssl = process::command("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=test"]);
    openssl.arg("-keyout").arg(dir.join("key")).arg("-out").arg(dir.join("crt"));
    run_ok(openssl, b"");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("made");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": KEYS, "labels": { LABEL: state, "team": "a" } },
        "stringData": { "tls.key": read("key"), "tls.crt": read("crt") },
    });
    (secret.to_string(), dir.join("crt"))
}

#[tokio::test]
async fn after_the_loss_of_a_cluster_everything_opens_and_no_key_is_made() {
    rig::require_sandbox("the operator's address");
    // A cluster with two keys in use, and one that is given up.
    let lost = ControlPlane::start(Options::default()).await;
    lost.install_crds();
    create_namespace(&lost, KEYS);
    create_namespace(&lost, "team");
    let mut sealed = vec![];
    for (name, state) in [("key-a", "active"), ("key-b", "active"), ("key-c", "compromised")] {
        let (secret, certificate) = key_secret(name, state);
        lost.apply(&secret);
        if state == "active" {
            sealed.push((name, seal(&certificate, "team", name, &format!("value of {name}"))));
        }
    }
    // No KeyRing, and no operator: the commands need neither.
    let before = status(&lost);
    sealed.iter().for_each(|(_, object)| lost.apply(object));
    let (identity, recipient) = offline_identity();
    let dir = scratch::dir("backup");
    let (file, identity) = (dir.join("keys.age").display().to_string(), identity.display().to_string());
    run_ok(keys(&lost, &["backup", "-r", &recipient, "-o", &file]), b"");
    run_ok(keys(&lost, &["verify-backup", &file, "-i", &identity]), b"");
    // A key that came later is not in it, and that is said.
    let (later, _) = key_secret("key-later", "active");
    lost.apply(&later);
    refused(
        &lost,
        &["verify-backup", &file, "-i", &identity],
        &["sealing key key-later of the cluster is not in the backup"],
    );
    // A recipient of a plugin stands beside the others, and its identity proves the backup as theirs do.
    let mut list = process::command(tools::path("age-plugin-rig"));
    list.arg("--keys");
    let listed = run_ok(list, b"");
    let [by_plugin, plugin_identity] = [0, 1].map(|at| listed.lines().nth(at).expect("a key").to_owned());
    let with_plugin = |arguments: &[&str]| {
        let folder = tools::path("age-plugin-rig").parent().expect("a folder").display().to_string();
        let mut command = keys(&lost, arguments);
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        command
    };
    let shared = dir.join("shared.age").display().to_string();
    let plugin_identity = scratch::file("plugin.agekey", plugin_identity).display().to_string();
    run_ok(with_plugin(&["backup", "-r", &recipient, "-r", &by_plugin, "-o", &shared]), b"");
    for identity in [&plugin_identity, &identity] {
        let proven = run_ok(with_plugin(&["verify-backup", &shared, "-i", identity]), b"");
        assert!(proven.contains("shared.age"), "{proven}");
    }
    drop(lost);

    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    create_namespace(&plane, "team");
    let restore = ["restore", &file, "--identity", &identity];
    refused(&plane, &restore, &[KEYS, "run it again"]);
    create_namespace(&plane, KEYS);
    let would = run_ok(keys(&plane, &[&restore[..], &["--dry-run"]].concat()), b"");
    assert!(would.contains("key-a: would be created"), "{would}");
    let done = run_ok(keys(&plane, &restore), b"");
    assert!(done.contains("3 keys restored into namespace keys-here, 0 were there"), "{done}");
    let again = run_ok(keys(&plane, &restore), b"");
    assert!(again.contains("0 keys restored") && again.contains("key-b: is there already"), "{again}");

    let after = status(&plane);
    for state in ["active", "retiring", "compromised"] {
        assert_eq!(in_state(&before, state), in_state(&after, state), "{state}");
    }
    let secrets = Api::<Secret>::namespaced(plane.client().await, KEYS);
    let restored = secrets.get("key-a").await.unwrap();
    assert_eq!(restored.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(restored.metadata.labels.as_ref().unwrap()["team"], "a");
    let created = |status: &Value| {
        status["keys"].as_array().unwrap().iter().map(|key| key["created"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(created(&before), created(&after), "the dates that order them");

    let operator = operator(&plane, &[]).await;
    for (name, object) in &sealed {
        plane.apply(object);
        opened(&plane, &operator, "team", name, &format!("value of {name}")).await;
    }
    let count = || async { secrets.list(&ListParams::default().labels(LABEL)).await.unwrap().items.len() };
    assert_eq!(count().await, 3, "no key was made");
    // The real kubeseal seals to the key that is active again.
    plane.apply(&seal(&certificate(&operator).await, "team", "new", "new value"));
    opened(&plane, &operator, "team", "new", "new value").await;
    assert!(run(keys(&plane, &["verify-backup", &file, "-i", &identity]), b"").status.success());

    // A key that is lost while the operator runs comes back without a restart.
    let victim = in_state(&after, "retiring").remove(0);
    let key = secrets.get(&victim).await.unwrap();
    secrets.delete(&victim, &DeleteParams::default()).await.unwrap();
    let team = Api::<Secret>::namespaced(plane.client().await, "team");
    // Another key under its name is not overwritten, and nothing else is written either.
    let (foreign, _) = key_secret(&victim, "active");
    plane.apply(&foreign);
    refused(&plane, &restore, &["is there already, and holds another key", "nothing was written"]);
    assert_ne!(secrets.get(&victim).await.unwrap().data, key.data);
    secrets.delete(&victim, &DeleteParams::default()).await.unwrap();
    run_ok(keys(&plane, &restore), b"");
    team.delete(&victim, &DeleteParams::default()).await.unwrap();
    opened(&plane, &operator, "team", &victim, &format!("value of {victim}")).await;
    assert_eq!(count().await, 3);
}
