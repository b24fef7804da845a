//! Proves the rig itself: what the other tests take for granted.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::fault_http::FaultServer;
use crate::rig::git_http::{self, Access, GitServer};
use crate::rig::operator::Operator;
use crate::rig::process::{Proc, command, run, run_ok};
use crate::rig::sealed_controller::SealedController;
use crate::rig::tls::{self, Ca};
use crate::rig::wait::{PATIENCE, SOON, eventually};
use crate::rig::{self, tools};

fn config_map(name: &str, owner: Option<OwnerReference>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owner.map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn api_server_reports_the_pinned_version_and_gives_each_test_a_namespace() {
    let cluster = rig::cluster();
    let client = cluster.client().await;
    let version = client.apiserver_version().await.unwrap();
    // Without the stamp of the build it would be a v0.0.0 placeholder, and version checks of clients would misfire.
    assert_eq!(version.git_version, "v1.36.3");

    let (one, other) = (cluster.namespace("smoke").await, cluster.namespace("smoke").await);
    assert_ne!(one, other);
    let namespaces = Api::<Namespace>::all(client);
    assert_eq!(namespaces.get(&one).await.unwrap().name_any(), one);
}

#[tokio::test]
async fn garbage_collection_removes_a_dependent_with_its_owner() {
    let cluster = rig::cluster();
    let namespace = cluster.namespace("smoke-gc").await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client().await, &namespace);
    let owner = maps.create(&PostParams::default(), &config_map("owner", None)).await.unwrap();
    let reference = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "owner".to_owned(),
        uid: owner.uid().unwrap(),
        ..OwnerReference::default()
    };
    maps.create(&PostParams::default(), &config_map("dependent", Some(reference))).await.unwrap();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    eventually(SOON, "the dependent to be collected", || async {
        match maps.get_opt("dependent").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_account_has_only_the_rights_it_was_given() {
    let cluster = rig::cluster();
    let namespace = cluster.namespace("smoke-rbac").await;
    cluster.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules: [{{apiGroups: [''], resources: [configmaps], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]
"
    ));
    let kubeconfig = cluster.service_account_kubeconfig(&namespace, "reader").await;
    let client = rig::credentials::client(&kubeconfig).await;
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    maps.list(&kube::api::ListParams::default()).await.expect("listing is granted");
    let refused = maps.create(&PostParams::default(), &config_map("x", None)).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    let stranger = rig::credentials::client(&cluster.user_kubeconfig("stranger", &[])).await;
    let refused = Api::<ConfigMap>::namespaced(stranger, &namespace).get("x").await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
}

#[tokio::test]
async fn an_api_server_of_ones_own_can_be_frozen_killed_and_started_again() {
    let plane = ControlPlane::start(Options { no_controller_manager: true, ..Options::default() }).await;
    let maps = Api::<ConfigMap>::namespaced(plane.client().await, "default");
    let apply = PatchParams::apply("smoke").force();
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}});
    maps.patch("kept", &apply, &Patch::Apply(kept)).await.unwrap();

    plane.pause_api_server().await;
    let frozen = tokio::time::timeout(Duration::from_secs(2), maps.get("kept")).await;
    assert!(frozen.is_err(), "a frozen server must not answer: {frozen:?}");
    plane.resume_api_server();
    eventually(SOON, "the thawed server", || async { maps.get("kept").await.map(drop).map_err(|e| e.to_string()) })
        .await;

    plane.kill_api_server();
    maps.get("kept").await.expect_err("the server is gone");
    plane.start_api_server().await;
    let kept =
        eventually(SOON, "the restarted server", || async { maps.get("kept").await.map_err(|e| e.to_string()) }).await;
    assert_eq!(kept.data.unwrap()["a"], "b");
}

#[tokio::test]
async fn the_oldest_supported_api_server_takes_our_definitions() {
    let options = Options { api_server: vec!["--emulated-version=1.33".to_owned()], no_controller_manager: true };
    let plane = ControlPlane::start(options).await;
    let version = plane.client().await.apiserver_version().await.unwrap();
    assert_eq!(version.emulation_minor.as_deref(), Some("33"), "{version:?}");
    plane.install_crds();
}

#[tokio::test]
async fn the_upstream_controller_opens_what_kubeseal_sealed_through_the_service_proxy() {
    // Of its own: the upstream controller watches every namespace.
    let plane = ControlPlane::start(Options::default()).await;
    // Our definition of the kind: it must suit the controller that it came from.
    plane.install_crds();
    let controller = SealedController::start(&plane, "kube-system", &["--kubeclient-qps=-1"]).await;

    let secret = "apiVersion: v1
kind: Secret
metadata: {name: db, namespace: default}
stringData: {password: hunter2}
";
    let sealed = run_ok(controller.kubeseal(&["--format", "yaml"]), secret.as_bytes());
    assert!(sealed.contains("kind: SealedSecret") && !sealed.contains("hunter2"), "{sealed}");
    plane.apply(&sealed);
    let secrets = Api::<Secret>::namespaced(plane.client().await, "default");
    let opened =
        eventually(SOON, "the opened Secret", || async { secrets.get("db").await.map_err(|e| e.to_string()) }).await;
    assert_eq!(opened.data.unwrap()["password"].0, b"hunter2");
}

#[tokio::test]
async fn openbao_keeps_both_versions_of_kv_and_policies_hold() {
    let bao = rig::bao();
    bao.enable_kv1("smoke-kv1").await;
    bao.write_kv1("smoke-kv1", "db", &json!({"password": "one"})).await;
    assert_eq!(bao.call("GET", "smoke-kv1/db", None).await["data"]["password"], "one");

    bao.write_kv2("secret", "smoke/db", &json!({"password": "first"})).await;
    bao.write_kv2("secret", "smoke/db", &json!({"password": "second"})).await;
    let latest = bao.call("GET", "secret/data/smoke/db", None).await;
    assert_eq!(latest["data"]["data"]["password"], "second");
    assert_eq!(latest["data"]["metadata"]["version"], 2);

    let policy = r#"path "secret/data/smoke/*" { capabilities = ["read"] }"#;
    let token = bao.token_with_policy("smoke-reader", policy).await;
    let (status, _) = bao.request("GET", "secret/data/smoke/db", None, &token).await.unwrap();
    assert_eq!(status, 200);
    let (status, _) = bao.request("GET", "smoke-kv1/db", None, &token).await.unwrap();
    assert_eq!(status, 403);
}

#[tokio::test]
async fn moto_serves_the_current_version_of_a_secret() {
    let moto = rig::moto();
    let arn = moto.create_secret("smoke/db", "one").await;
    assert!(arn.starts_with("arn:aws:secretsmanager:eu-central-1:"), "{arn}");
    moto.put_secret("smoke/db", "two").await;
    assert_eq!(moto.get_secret("smoke/db").await, "two");
    let (status, answer) =
        moto.secrets_manager(rig::moto::REGION, "GetSecretValue", &json!({"SecretId": "smoke/none"})).await;
    // AWS answers 400 here, moto 404: the type in the body is what a client must go by.
    assert!((400..500).contains(&status), "{status}");
    assert!(answer.to_string().contains("ResourceNotFoundException"), "{answer}");
}

#[tokio::test]
async fn git_serves_over_http_and_asks_for_credentials_where_told() {
    let server = GitServer::start();
    let repo = server.repo("app");
    // Large enough that git sends the pack in pieces.
    let large = vec![b'x'; 3 << 20];
    let first = repo.write("a/secret.yaml", "kind: Secret\n").write("large.bin", &large).commit("first");
    let clone = git_http::clone(&repo.url).unwrap();
    assert_eq!(git_http::git(&clone, &["rev-parse", "HEAD"]).trim(), first);
    assert_eq!(std::fs::read(clone.join("large.bin")).unwrap(), large);

    let second = repo.remove("large.bin").commit("second");
    git_http::git(&clone, &["pull", "--quiet"]);
    assert_eq!(git_http::git(&clone, &["rev-parse", "HEAD"]).trim(), second);
    assert!(!clone.join("large.bin").exists());

    let access = Access { basic: Some(("robot".to_owned(), "s3cret".to_owned())) };
    let closed = GitServer::start_with(None, access);
    let repo = closed.repo("private");
    repo.write("f", "1").commit("first");
    let refused = git_http::clone(&repo.url).unwrap_err();
    assert!(refused.contains("could not read Username") || refused.contains("Authentication failed"), "{refused}");
    git_http::clone(&repo.url.replace("http://", "http://robot:s3cret@")).expect("with credentials");

    let ca = Ca::new("smoke-git");
    let secure = GitServer::start_with(Some(&ca), Access::default());
    let repo = secure.repo("app");
    repo.write("f", "1").commit("first");
    git_http::clone(&repo.url).expect_err("the authority is not known");
    git_http::clone_trusting(&repo.url, Some(&ca)).expect("over TLS");
}

#[tokio::test]
async fn fault_server_answers_what_it_is_told_over_http_and_tls() {
    tls::install_provider();
    let ca = Ca::new("smoke");
    let root = reqwest::Certificate::from_pem(ca.certificate_pem.as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([root]).timeout(PATIENCE).build().unwrap();

    let server = FaultServer::status(403);
    for status in [403, 404, 429, 500] {
        server.set_status(status);
        let answer = http.get(format!("{}/v1/x?y=z", server.url())).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
    let requests = server.take_requests();
    assert_eq!((requests.len(), requests[0].path.as_str(), requests[0].query.as_str()), (4, "/v1/x", "y=z"));

    let hanging = FaultServer::hanging();
    let hurried = http.get(hanging.url()).timeout(Duration::from_secs(2));
    assert!(hurried.send().await.unwrap_err().is_timeout());
    assert_eq!(hanging.count(), 1);

    let reply = rig::http1::Reply::new(200, "over TLS");
    let secure = FaultServer::start_tls(&ca, rig::fault_http::Fault::Reply(reply));
    assert_eq!(http.get(secure.url()).send().await.unwrap().text().await.unwrap(), "over TLS");
}

#[tokio::test]
async fn a_child_is_stopped_by_term_and_its_output_is_kept() {
    let mut shell = command("sh");
    shell.args(["-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]);
    let child = Proc::spawn("sh", shell);
    child.wait_for_log("ready").await;
    let status = child.stop().await;
    assert_eq!(status.code(), Some(3));
    eventually(SOON, "the last words", || async {
        if child.stdout().contains("bye") { Ok(()) } else { Err(child.output()) }
    })
    .await;
}

#[tokio::test]
async fn the_operator_starts_serves_and_stops_cleanly() {
    let cluster = rig::cluster();
    let namespace = cluster.namespace("smoke-operator").await;
    cluster.install_crds();
    let operator = Operator::start(&cluster.kubeconfig, &namespace, &[]).await;
    operator.wait_ready().await;
    assert!(operator.metrics().await.contains("# TYPE latchwork_leader gauge"));
    let status = operator.stop().await;
    assert_eq!(status.code(), Some(0), "{}", operator.process.tail(20));
}

#[test]
fn sops_age_and_kubeseal_run() {
    let key = run_ok(command(tools::path("age-keygen")), b"");
    let identity = rig::scratch::file("age.txt", &key);
    let mut convert = command(tools::path("age-keygen"));
    convert.arg("-y").arg(&identity);
    let recipient = run_ok(convert, b"");

    let mut encrypt = command(tools::path("sops"));
    encrypt.args(["encrypt", "--age", recipient.trim(), "--input-type", "yaml", "--output-type", "yaml"]);
    encrypt.args(["--filename-override", "s.yaml", "/dev/stdin"]);
    let encrypted = run_ok(encrypt, b"password: hunter2\n");
    assert!(encrypted.contains("ENC[AES256_GCM,") && !encrypted.contains("hunter2"), "{encrypted}");

    let mut decrypt = command(tools::path("sops"));
    decrypt.args(["decrypt", "--input-type", "yaml", "--output-type", "yaml", "/dev/stdin"]);
    decrypt.env("SOPS_AGE_KEY_FILE", &identity);
    assert_eq!(run_ok(decrypt, encrypted.as_bytes()), "password: hunter2\n");

    let mut kubeseal = command(tools::path("kubeseal"));
    kubeseal.arg("--version");
    assert_eq!(run(kubeseal, b"").stdout.trim(), "kubeseal version: v0.38.4");
}
