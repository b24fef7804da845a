//! The manifests under `deploy/`, on a real API server.

use std::path::Path;

use serde_json::{Value, json};

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::git_http::GitServer;
use crate::rig::process::{Proc, command, operator, run, run_ok};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{ports, scratch, tools};

const NAMESPACE: &str = "latchwork-system";

/// `deploy/base`, as a user applies it.
pub fn installed(plane: &ControlPlane) {
    // The namespace and the CRDs must exist before what stands in them: the second pass finds them.
    let folder = tools::repository().join("deploy/base").display().to_string();
    let arguments = ["apply", "--server-side", "-k", &folder];
    let _first_pass = run(plane.kubectl(&arguments), b"");
    run_ok(plane.kubectl(&arguments), b"");
}

#[tokio::test]
async fn the_manifests_apply_and_the_operator_runs_under_exactly_their_service_account() {
    let plane = ControlPlane::start(Options::default()).await;
    installed(&plane);
    let stored = run_ok(plane.kubectl(&["get", "deployment", "latchwork", "-n", NAMESPACE, "-o", "json"]), b"");
    let deployment: Value = serde_json::from_str(&stored).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "latchwork");
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");

    let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "latchwork").await;
    let (process, url) = replica(&kubeconfig).await;
    process.wait_for_log("\"leads\":true").await;
    let _git = every_kind(&plane, &url).await;
    for name in ["sealed", "payment", "database"] {
        exists(&plane, &process, name).await;
    }
    eventually(SOON, "the status of the KeyRing", || async {
        let found = run_ok(plane.kubectl(&["get", "keyring", "default", "-o", "jsonpath={.status.activeKey}"]), b"");
        if found.starts_with("sealed-secrets-key") { Ok(()) } else { Err(process.tail(5)) }
    })
    .await;

    // A second replica within the same role stands by, takes over, and mends what is damaged then.
    let (second, _) = replica(&kubeconfig).await;
    assert!(!second.output().contains("\"leads\":true"), "one leads at a time");
    assert!(process.stop().await.success());
    second.wait_for_log("\"leads\":true").await;
    for name in ["sealed", "payment", "database"] {
        run_ok(plane.kubectl(&["delete", "secret", name, "-n", "shop"]), b"");
        exists(&plane, &second, name).await;
    }
    for line in process.stdout().lines().chain(second.stdout().lines()) {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        assert!(event["reason"] != "Forbidden" && !line.contains("not allowed"), "its own role refuses it: {line}");
    }
    let events = run_ok(plane.kubectl(&["get", "events", "-n", "shop", "-o", "name"]), b"");
    assert!(!events.is_empty(), "events may be recorded");
    assert!(second.stop().await.success());
}

/// A ready replica, and its address.
async fn replica(kubeconfig: &Path) -> (Proc, String) {
    crate::rig::tls::install_provider();
    let mut command = operator(kubeconfig);
    let (http, metrics) = (ports::free(), ports::free());
    command.args(["--namespace", NAMESPACE, "--log-format", "json"]);
    command.args(["--listen", &format!("127.0.0.1:{http}"), "--listen-metrics", &format!("127.0.0.1:{metrics}")]);
    let process = Proc::spawn("operator", command);
    let url = format!("http://127.0.0.1:{http}");
    eventually(SOON, "readiness", || async {
        process.assert_running();
        let answer = reqwest::get(format!("{url}/readyz")).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default() + &process.tail(5)) }
    })
    .await;
    (process, url)
}

async fn exists(plane: &ControlPlane, process: &Proc, name: &str) {
    eventually(SOON, &format!("the Secret {name}"), || async {
        let found = run(plane.kubectl(&["get", "secret", name, "-n", "shop", "-o", "name"]), b"");
        if found.status.success() { Ok(()) } else { Err(process.tail(5)) }
    })
    .await;
}

/// One object of each kind in the namespace `shop`, from the example.
async fn every_kind(plane: &ControlPlane, operator: &str) -> GitServer {
    let example = |path: &str| std::fs::read_to_string(tools::repository().join("keys-example").join(path)).unwrap();
    plane.apply(&example("gitops/namespace.yaml"));
    plane.apply(&example("gitops/external/store.yaml"));
    plane.apply(&example("gitops/external/payment.yaml"));
    plane.apply("{apiVersion: latchwork.dev/v1alpha1, kind: KeyRing, metadata: {name: default}, spec: {}}");

    let certificate = reqwest::get(format!("{operator}/v1/cert.pem")).await.unwrap().text().await.unwrap();
    let mut kubeseal = command(tools::path("kubeseal"));
    kubeseal.arg("--cert").arg(scratch::file("cert.pem", certificate)).env("KUBECONFIG", "/nonexistent");
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: sealed, namespace: shop}, stringData: {k: v}}";
    plane.apply(&run_ok(kubeseal, secret.as_bytes()));

    let git = GitServer::start();
    let repository = git.repo("shop");
    repository.write("database.yaml", example("gitops/sops/database.yaml")).commit("first");
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "age", "namespace": "shop"},
        "stringData": {"cluster.agekey": example(".latchwork/keys/cluster.agekey")}});
    plane.apply(&keys.to_string());
    let source = json!({"apiVersion": "latchwork.dev/v1alpha1", "kind": "EncryptedSource",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"git": {"url": repository.url}, "interval": "1h", "prune": true,
            "decryption": {"provider": "sops", "secretRef": {"name": "age"}}}});
    plane.apply(&source.to_string());
    git
}

#[tokio::test]
async fn a_crd_is_deleted_only_with_the_annotation() {
    let plane = ControlPlane::start(Options::default()).await;
    installed(&plane);
    let crd = "sealedsecrets.bitnami.com";
    let delete = ["delete", "crd", crd, "--wait=false"];
    // A policy is in force a moment after it was stored, so the refusal is awaited with dry runs, which delete nothing.
    eventually(SOON, "the policy to be in force", || async {
        let refused = run(plane.kubectl(&["delete", "crd", crd, "--dry-run=server"]), b"");
        if refused.status.success() { Err("the dry run went through".to_owned()) } else { Ok(()) }
    })
    .await;
    let refused = run(plane.kubectl(&delete), b"");
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("latchwork.dev/allow-deletion=true"), "{}", refused.stderr);
    run_ok(plane.kubectl(&["get", "crd", crd]), b"");

    run_ok(plane.kubectl(&["annotate", "crd", crd, "latchwork.dev/allow-deletion=true"]), b"");
    run_ok(plane.kubectl(&delete), b"");

    let foreign = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]";
    plane.apply(foreign);
    run_ok(plane.kubectl(&["delete", "crd", "things.example.com", "--wait=false"]), b"");
}
