//! What a restart and a second replica cost: nothing is opened or written twice, and nobody waits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use latchwork::pure::crd::sealed_secret::SealedSecret;
use latchwork::pure::sealed::generate::{Generated, NewKey, generate};
use latchwork::pure::sealed::keys::Certificate;
use latchwork::pure::sealed::{Scope, item};
use latchwork::pure::secret::Plaintext;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::in_pod;
use crate::rig::operator::Operator;
use crate::rig::process::{Proc, called};
use crate::rig::sealed_controller::SERVICE;
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, NODE_ADDRESS, ports};

use super::sealed_drop_in::RBAC;

const OBJECTS: usize = 12;

// The leases are long: who loses the lead on a slow machine does again what was not finished, and that is counted here.

fn vector(name: &str) -> String {
    std::fs::read_to_string(rig::tools::repository().join("tests/vectors/sealed").join(name)).expect("vector")
}

fn key_secret(namespace: &str, name: &str, state: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": namespace,
                      "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": state } },
        "stringData": { "tls.key": vector(&format!("keys/{name}.key")), "tls.crt": vector(&format!("keys/{name}.crt")) },
    })
    .to_string()
}

fn object(namespace: &str, name: &str, value: &str) -> Value {
    let certificate = Certificate::parse("current", vector("keys/current.crt").as_bytes()).expect("certificate");
    let label = Scope::Strict.label(namespace, name);
    let sealed = item::seal(&Plaintext::copy_of(value.as_bytes()), certificate.public(), &label).expect("seals");
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": { "name": name, "namespace": namespace },
        "spec": { "encryptedData": { "a": STANDARD.encode(sealed.to_bytes()) },
                  // New at each render: were it rendered again, it would be written again.
                  "template": { "data": { "random": "{{ randAlphaNum 20 }}" } } },
    })
}

/// Versions of all Secrets and SealedSecrets: equal when nothing was written.
async fn versions(plane: &ControlPlane, namespace: &str) -> Vec<(String, String)> {
    let client = plane.client().await;
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace).list(&ListParams::default()).await.unwrap();
    let sealed = Api::<SealedSecret>::namespaced(client, namespace).list(&ListParams::default()).await.unwrap();
    let secrets = secrets.items.into_iter().map(|object| object.metadata);
    let metas = secrets.chain(sealed.items.into_iter().map(|object| object.metadata));
    metas.map(|meta| (meta.name.unwrap_or_default(), meta.resource_version.unwrap_or_default())).collect()
}

async fn number(operator: &Operator, series: &str) -> usize {
    operator.metric(series).await.unwrap_or_default() as usize
}

async fn seen_all(operator: &Operator, opened: usize, unchanged: usize) {
    eventually(SOON, &format!("{opened} opened and {unchanged} unchanged"), || async {
        operator.process.assert_running();
        let now = (
            number(operator, "latchwork_sealed_opened_total").await,
            number(operator, "latchwork_sealed_unchanged_total").await,
        );
        if now == (opened, unchanged) { Ok(()) } else { Err(format!("{now:?}\n{}", operator.process.tail(5))) }
    })
    .await;
}

async fn all_marked(plane: &ControlPlane, namespace: &str) {
    let sealed = Api::<SealedSecret>::namespaced(plane.client().await, namespace);
    eventually(SOON, "every mark", || async {
        let all = sealed.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let marked = all.iter().filter(|o| {
            o.status.as_ref().is_some_and(|s| s.condition("latchwork.dev/InForce").is_some_and(|c| c.status == "True"))
        });
        let marked = marked.count();
        if marked == OBJECTS { Ok(()) } else { Err(format!("{marked} of {OBJECTS}")) }
    })
    .await;
}

#[tokio::test]
async fn a_restart_opens_and_writes_nothing_but_what_changed_meanwhile() {
    let plane = rig::cluster();
    plane.install_crds();
    let namespace = plane.namespace("sealed-restart").await;
    plane.apply(&key_secret(&namespace, "current", "active"));
    let arguments = ["--key-renew-days", "0", "--lease-seconds", "60"];
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    for index in 0..OBJECTS {
        plane.apply(&object(&namespace, &format!("s{index}"), "hunter2").to_string());
    }
    all_marked(plane, &namespace).await;
    assert_eq!(number(&operator, "latchwork_sealed_opened_total").await, OBJECTS, "each once");
    assert!(operator.stop().await.success());

    let before = versions(plane, &namespace).await;
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    seen_all(&operator, 0, OBJECTS).await;
    assert_eq!(versions(plane, &namespace).await, before, "nothing was written");
    let condition =
        format!("sealed_secrets_controller_condition_info{{condition=\"Synced\",name=\"s0\",namespace=\"{namespace}\"");
    assert_eq!(operator.metric(&condition).await, Some(1.0), "and yet it is counted");
    assert!(operator.stop().await.success());

    // While it was down: one Secret edited, one deleted, one SealedSecret changed, and a status forged by somebody who
    // may write a status and knows the right mark of another object.
    let client = plane.client().await;
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let sealed = Api::<SealedSecret>::namespaced(client, &namespace);
    let edit = json!({ "data": { "a": "ZXZpbA==" } });
    secrets.patch("s0", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    secrets.delete("s1", &Default::default()).await.unwrap();
    plane.apply(&object(&namespace, "s2", "changed").to_string());
    secrets.patch("s3", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    let foreign = sealed.get("s4").await.unwrap().status;
    let forged = json!({ "status": foreign });
    sealed.patch_status("s3", &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    seen_all(&operator, 4, OBJECTS - 4).await;
    for (name, value) in [("s0", "hunter2"), ("s1", "hunter2"), ("s2", "changed"), ("s3", "hunter2")] {
        eventually(SOON, &format!("{name} to be mended"), || async {
            let data = secrets.get(name).await.map_err(|e| e.to_string())?.data.unwrap_or_default();
            let found = data.get("a").map(|value| value.0.clone()).unwrap_or_default();
            if found == value.as_bytes() { Ok(()) } else { Err(String::from_utf8_lossy(&found).into_owned()) }
        })
        .await;
    }
    all_marked(plane, &namespace).await;
    assert!(operator.stop().await.success());

    // A key that is compromised no longer vouches for what it opened.
    plane.apply(&key_secret(&namespace, "current", "compromised"));
    plane.apply(&key_secret(&namespace, "old", "active"));
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    seen_all(&operator, OBJECTS, 0).await;
    eventually(SOON, "the reason", || async {
        let status = sealed.get("s5").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        match status.synced() {
            Some(c) if c.reason == "RetiredKey" && status.condition("latchwork.dev/InForce").is_none() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// An object whose values are sealed to another key than those that are here, one of them under a scope that it does not
/// ask for, and a third one that is no sealed value.
fn bad(namespace: &str, name: &str, key: &Generated) -> Value {
    let mut bad = object(namespace, name, "x");
    let certificate = Certificate::parse("late", key.cert_pem.as_bytes()).expect("certificate");
    let sealed = |scope: Scope| {
        let label = scope.label(namespace, name);
        let blob = item::seal(&Plaintext::copy_of(b"x"), certificate.public(), &label).expect("seals");
        STANDARD.encode(blob.to_bytes())
    };
    bad["spec"]["encryptedData"] = json!({ "b": sealed(Scope::Strict), "c": sealed(Scope::ClusterWide), "d": "AQA=" });
    bad
}

async fn told(plane: &ControlPlane, namespace: &str, name: &str, expected: &str) {
    let sealed = Api::<SealedSecret>::namespaced(plane.client().await, namespace);
    eventually(SOON, &format!("{name}: {expected}"), || async {
        let status = sealed.get(name).await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        match status.synced() {
            Some(synced) if synced.status == "False" && synced.message.contains(expected) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn reasons_are_found_after_the_answer_and_a_restart_repeats_neither() {
    let plane = rig::cluster();
    plane.install_crds();
    let namespace = plane.namespace("sealed-reasons").await;
    plane.apply(&key_secret(&namespace, "current", "active"));
    let arguments = ["--key-renew-days", "0", "--lease-seconds", "60"];
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    let (now, validity) = (jiff::Timestamp::now(), jiff::SignedDuration::from_hours(24));
    let late = generate(&NewKey { bits: 4096, common_name: String::new(), now, validity }).expect("generates");
    for index in 0..OBJECTS {
        plane.apply(&bad(&namespace, &format!("bad{index}"), &late).to_string());
    }
    plane.apply(&object(&namespace, "good", "hunter2").to_string());
    let secrets = Api::<Secret>::namespaced(plane.client().await, &namespace);
    eventually(SOON, "the good one", || async { secrets.get("good").await.map(drop).map_err(|e| e.to_string()) }).await;
    for index in 0..OBJECTS {
        told(
            plane,
            &namespace,
            &format!("bad{index}"),
            "no key could decrypt secret (b, c, d); b, c: it was sealed for",
        )
        .await;
        told(plane, &namespace, &format!("bad{index}"), "; d: the text is cut short").await;
    }
    assert!(operator.stop().await.success());

    let before = versions(plane, &namespace).await;
    let operator = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    let searched = "latchwork_reconciles_total{kind=\"SealedSecretReason\",result=\"settled\"}";
    eventually(SOON, "every reason to be found again", || async {
        match number(&operator, searched).await {
            OBJECTS => Ok(()),
            found => Err(format!("{found} of {OBJECTS}\n{}", operator.process.tail(5))),
        }
    })
    .await;
    seen_all(&operator, OBJECTS, 1).await;
    assert_eq!(versions(plane, &namespace).await, before, "what is told already is not written again");

    // The key comes, and what was tried with the others is not tried again.
    let mut secret: Value = serde_json::from_str(&key_secret(&namespace, "current", "active")).unwrap();
    secret["metadata"]["name"] = "late".into();
    secret["stringData"] = json!({ "tls.key": late.key_pem.as_str(), "tls.crt": late.cert_pem });
    plane.apply(&secret.to_string());
    told(plane, &namespace, "bad0", "no key could decrypt secret (c, d); c: it was sealed with cluster-wide scope")
        .await;
}

#[tokio::test]
async fn another_replica_takes_over_and_repeats_nothing() {
    let plane = rig::cluster();
    plane.install_crds();
    let namespace = plane.namespace("sealed-replicas").await;
    plane.apply(&key_secret(&namespace, "current", "active"));
    let arguments = ["--key-renew-days", "0", "--lease-seconds", "30"];
    let first = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    first.wait_ready().await;
    let second = Operator::start(&plane.kubeconfig, &namespace, &arguments).await;
    second.wait_ready().await;
    for index in 0..OBJECTS {
        plane.apply(&object(&namespace, &format!("s{index}"), "hunter2").to_string());
    }
    all_marked(plane, &namespace).await;
    both_serve([&first, &second], &namespace).await;
    let opened =
        [number(&first, "latchwork_sealed_opened_total").await, number(&second, "latchwork_sealed_opened_total").await];
    let leader = usize::from(opened[0] == 0);
    assert_eq!((opened[leader], opened[1 - leader]), (OBJECTS, 0), "one works");

    let before = versions(plane, &namespace).await;
    let (dead, alive) = if leader == 0 { (first, second) } else { (second, first) };
    dead.process.kill();
    seen_all(&alive, 0, OBJECTS).await;
    assert_eq!(versions(plane, &namespace).await, before, "the new leader writes nothing");
    let secrets = Api::<Secret>::namespaced(plane.client().await, &namespace);
    secrets.delete("s0", &Default::default()).await.unwrap();
    eventually(SOON, "the deleted Secret", || async { secrets.get("s0").await.map(drop).map_err(|e| e.to_string()) })
        .await;

    once_each(plane, &namespace).await;
}

/// A replica of our program under the name `controller`, within the incumbent's role.
async fn controller(plane: &ControlPlane, name: &str) -> Operator {
    let mut command = in_pod(plane, "kube-system", SERVICE, called("controller")).await;
    let (main, metrics) = (format!("{NODE_ADDRESS}:{}", ports::free()), format!("{NODE_ADDRESS}:{}", ports::free()));
    command.args([&format!("--listen-addr={main}"), &format!("--listen-metrics-addr={metrics}")]);
    command.args(["--leader-elect", "--key-renew-period=0"]).env("POD_NAME", name);
    let replica = Operator {
        process: Proc::spawn(name, command),
        url: format!("http://{main}"),
        metrics_url: format!("http://{metrics}"),
    };
    eventually(SOON, "the replica's certificate", || async {
        replica.process.assert_running();
        match replica.get("/readyz").await? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    replica
}

#[tokio::test]
async fn replicas_take_turns_within_the_incumbents_role_too() {
    rig::require_sandbox("a program in a pod");
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    plane.apply(RBAC);
    plane.apply(&key_secret("kube-system", "current", "active"));
    let first = controller(&plane, "first").await;
    eventually(SOON, "a leader", || async {
        if first.metric("latchwork_leader").await == Some(1.0) { Ok(()) } else { Err(first.process.tail(5)) }
    })
    .await;
    let second = controller(&plane, "second").await;
    for index in 0..OBJECTS {
        plane.apply(&object("default", &format!("s{index}"), "hunter2").to_string());
    }
    all_marked(&plane, "default").await;
    both_serve([&first, &second], "default").await;
    let opened = [&first, &second].map(|replica| number(replica, "latchwork_sealed_opened_total"));
    let [first_opened, second_opened] = opened;
    assert_eq!((first_opened.await, second_opened.await), (OBJECTS, 0), "one works");
    let before = versions(&plane, "default").await;
    first.process.kill();
    seen_all(&second, 0, OBJECTS).await;
    assert_eq!(versions(&plane, "default").await, before, "the new leader writes nothing");
    once_each(&plane, "default").await;
    for replica in [&first, &second] {
        let log = replica.process.output();
        assert!(!log.contains("not allowed"), "{log}");
    }
    // A clean stop gives the record back: the next one need not wait for it to run out.
    assert!(second.stop().await.success());
    assert!(second.process.output().contains("lease released"), "{}", second.process.tail(10));
}

/// Both replicas serve the certificate and answer whether an object opens, leading or not.
async fn both_serve(replicas: [&Operator; 2], namespace: &str) {
    let body = object(namespace, "any", "x").to_string();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for replica in replicas {
        assert_eq!(replica.get("/v1/cert.pem").await, Ok((200, vector("keys/current.crt"))));
        let answer = http.post(format!("{}/v1/verify", replica.url)).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// No object was reported twice for one and the same thing.
async fn once_each(plane: &ControlPlane, namespace: &str) {
    let events = Api::<Event>::namespaced(plane.client().await, namespace);
    let all = events.list(&ListParams::default()).await.unwrap().items;
    for index in 1..OBJECTS {
        let name = format!("s{index}");
        let about = all.iter().filter(|event| event.involved_object.name.as_deref() == Some(&name));
        let counts: Vec<_> = about.map(|event| (event.reason.clone(), event.count)).collect();
        assert_eq!(counts, [(Some("Unsealed".to_owned()), Some(1))], "{name}");
    }
}
