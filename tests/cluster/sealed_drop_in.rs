//! The incumbent's Deployment with our program in it, and our kubeseal against the incumbent's controller.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use latchwork::pure::crd::sealed_secret::SealedSecret;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::{expose, in_pod};
use crate::rig::process::{self, Proc, called, run, run_ok};
use crate::rig::sealed_controller::{SERVICE, SealedController};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, NODE_ADDRESS, ports, scratch, tools};

const NAMESPACE: &str = "kube-system";

/// What the incumbent's manifest grants, and no more: no patch, no leases, no events of the newer group.
pub const RBAC: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: sealed-secrets-controller, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: secrets-unsealer}
rules:
- {apiGroups: [bitnami.com], resources: [sealedsecrets], verbs: [get, list, watch]}
- {apiGroups: [bitnami.com], resources: [sealedsecrets/status], verbs: [update]}
- {apiGroups: [''], resources: [secrets], verbs: [get, list, create, update, delete, watch]}
- {apiGroups: [''], resources: [events], verbs: [create, patch]}
- {apiGroups: [''], resources: [namespaces], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sealed-secrets-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: secrets-unsealer}
subjects: [{kind: ServiceAccount, name: sealed-secrets-controller, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: sealed-secrets-key-admin, namespace: kube-system}
rules:
- {apiGroups: [''], resources: [secrets], resourceNames: [sealed-secrets-key], verbs: [get]}
- {apiGroups: [''], resources: [secrets], verbs: [create, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: sealed-secrets-controller, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: sealed-secrets-key-admin}
subjects: [{kind: ServiceAccount, name: sealed-secrets-controller, namespace: kube-system}]
";

fn install_crd(plane: &ControlPlane) {
    let file = tools::repository().join("crds/bitnami.com_sealedsecrets.yaml");
    plane.apply(&std::fs::read_to_string(file).expect("generated"));
    run_ok(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=240s"]), b"");
}

fn kubeseal(program: PathBuf, plane: &ControlPlane, arguments: &[&str]) -> Command {
    let mut command = process::command(program);
    command.args(arguments).env("KUBECONFIG", &plane.kubeconfig);
    command
}

fn secret(name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "default" },
            "stringData": { "password": "hunter2" } })
    .to_string()
}

/// Our program under the incumbent's name in a pod of its account, to be given further flags, with the ports it listens on:
/// the endpoints' and that of the metrics.
async fn controller_in_pod(plane: &ControlPlane) -> (Command, u16, u16) {
    let (port, metrics) = (ports::free(), ports::free());
    let mut command = in_pod(plane, NAMESPACE, SERVICE, called("controller")).await;
    command.args([
        &format!("--listen-addr={NODE_ADDRESS}:{port}"),
        &format!("--listen-metrics-addr={NODE_ADDRESS}:{metrics}"),
    ]);
    (command, port, metrics)
}

async fn opened(plane: &ControlPlane, process: &Proc, name: &str) {
    let secrets = Api::<Secret>::namespaced(plane.client().await, "default");
    let found = eventually(SOON, &format!("Secret {name}"), || async {
        process.assert_running();
        secrets.get(name).await.map_err(|e| format!("{e}\n{}", process.tail(5)))
    })
    .await;
    assert_eq!(found.data.unwrap()["password"].0, b"hunter2");
}

#[tokio::test]
async fn warnings_go_to_standard_error_and_metrics_name_no_object_when_asked() {
    rig::require_sandbox("a program in a pod");
    let plane = ControlPlane::start(Options::default()).await;
    install_crd(&plane);
    plane.apply(RBAC);
    let (mut command, _, metrics) = controller_in_pod(&plane).await;
    command.args(["--key-size=2048", "--metrics-omit-secret-labels"]);
    let controller = Proc::spawn("controller", command);
    controller.wait_for_log("new sealing key").await;
    plane.apply(
        "{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: named-nowhere, namespace: default}, \
         spec: {encryptedData: {a: AQA=}}}",
    );
    controller.wait_for_log("no key could decrypt secret (a)").await;
    let (out, err) = (controller.stdout(), controller.stderr());
    assert!(out.contains("new sealing key") && !out.contains("no key could decrypt"), "{out}");
    assert!(err.contains("no key could decrypt secret (a)") && !err.contains("new sealing key"), "{err}");

    rig::tls::install_provider();
    let url = format!("http://{NODE_ADDRESS}:{metrics}/metrics");
    let shown = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(
        shown.contains("sealed_secrets_controller_unseal_errors_total{namespace=\"default\",reason=\"unseal\"}"),
        "{shown}"
    );
    assert!(!shown.contains("named-nowhere"), "{shown}");
}

async fn synced(objects: &Api<SealedSecret>, name: &str, wanted: &str) {
    eventually(SOON, &format!("{name} to be Synced: {wanted}"), || async {
        let status = objects.get(name).await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        if status.synced().is_some_and(|c| c.status == wanted) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_new_object_does_not_wait_for_the_list_of_secrets() {
    rig::require_sandbox("a program in a pod");
    let plane = ControlPlane::start(Options::default()).await;
    install_crd(&plane);
    // A list that never comes: Secrets may be listed where the keys are, and nowhere else.
    let everywhere = "verbs: [get, list, create, update, delete, watch]";
    assert!(RBAC.contains(everywhere));
    let role = RBAC
        .replace(everywhere, "verbs: [get, create, update, delete]")
        .replace("verbs: [create, list]", "verbs: [create, list, watch]");
    plane.apply(&role);
    let (mut command, port, _) = controller_in_pod(&plane).await;
    command.args(["--key-size=2048", "--update-status"]);
    let controller = Proc::spawn("controller", command);
    controller.wait_for_log("new sealing key").await;
    expose(&plane, NAMESPACE, SERVICE, "http", port).await;
    let sealed = eventually(SOON, "kubeseal", || async {
        let ran = run(kubeseal(called("kubeseal"), &plane, &["-o", "yaml"]), secret("early").as_bytes());
        if ran.status.success() { Ok(ran.stdout) } else { Err(ran.stderr) }
    })
    .await;
    plane.apply(&sealed);
    opened(&plane, &controller, "early").await;
}

#[tokio::test]
async fn our_program_takes_the_place_of_the_controller_within_its_role() {
    rig::require_sandbox("a program in a pod");
    let plane = ControlPlane::start(Options::default()).await;
    install_crd(&plane);
    plane.apply(RBAC);
    let (mut command, port, metrics) = controller_in_pod(&plane).await;
    command.args(["--key-size=2048", "--update-status", "--kubeclient-qps", "-1", "--privatekey-labels", "team=a"]);
    command.env("SEALED_SECRETS_MY_CN", "test.cluster").env("SEALED_SECRETS_LOG_FORMAT", "json");
    let controller = Proc::spawn("controller", command);
    controller.wait_for_log("new sealing key").await;
    expose(&plane, NAMESPACE, SERVICE, "http", port).await;

    // Both kubeseals, with no flag at all.
    for (index, program) in [tools::path("kubeseal"), called("kubeseal")].into_iter().enumerate() {
        let name = format!("db{index}");
        let sealed = eventually(SOON, "kubeseal", || async {
            let ran = run(kubeseal(program.clone(), &plane, &["-o", "yaml"]), secret(&name).as_bytes());
            if ran.status.success() { Ok(ran.stdout) } else { Err(ran.stderr) }
        })
        .await;
        plane.apply(&sealed);
        opened(&plane, &controller, &name).await;
        run_ok(kubeseal(program.clone(), &plane, &["--validate"]), sealed.as_bytes());
        let again = run_ok(kubeseal(program.clone(), &plane, &["--re-encrypt", "-o", "yaml"]), sealed.as_bytes());
        run_ok(kubeseal(program.clone(), &plane, &["--validate"]), again.as_bytes());
        let refused = run(kubeseal(program, &plane, &["--validate"]), sealed.replace(&name, "other").as_bytes());
        assert_eq!(
            (refused.status.code(), refused.stderr.as_str()),
            (Some(1), "error: unable to decrypt sealed secret: other\n")
        );
    }
    let objects = Api::<SealedSecret>::namespaced(plane.client().await, "default");
    synced(&objects, "db0", "True").await;
    let events = Api::<Event>::namespaced(plane.client().await, "default");
    eventually(SOON, "the event", || async {
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        if events.items.iter().any(|e| e.reason.as_deref() == Some("Unsealed")) { Ok(()) } else { Err("none".into()) }
    })
    .await;

    // A repair is an update, which the role grants.
    let secrets = Api::<Secret>::namespaced(plane.client().await, "default");
    let edit = json!({ "data": { "password": "eA==" } });
    secrets.patch("db0", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    eventually(SOON, "the repair", || async {
        let found = secrets.get("db0").await.map_err(|e| e.to_string())?.data.unwrap_or_default();
        if found["password"].0 == b"hunter2" { Ok(()) } else { Err("another value".into()) }
    })
    .await;

    // A foreign Secret in the way; who replaces it by deleting it first does not find ours in its place.
    plane.apply(&secret("taken"));
    let certificate = run_ok(kubeseal(tools::path("kubeseal"), &plane, &["--fetch-cert"]), b"");
    let certificate = scratch::file("cert.pem", certificate).display().to_string();
    let sealed = kubeseal(called("kubeseal"), &plane, &["--cert", &certificate]);
    plane.apply(&run_ok(sealed, secret("taken").as_bytes()));
    synced(&objects, "taken", "False").await;
    let deleted = Instant::now();
    secrets.delete("taken", &Default::default()).await.unwrap();
    opened(&plane, &controller, "taken").await;
    assert!(deleted.elapsed() > Duration::from_millis(900), "it came back within {:?}", deleted.elapsed());

    // SIGUSR1 makes a new key, and what was sealed before still opens.
    let fetch = || run_ok(kubeseal(tools::path("kubeseal"), &plane, &["--fetch-cert"]), b"");
    let before = fetch();
    controller.signal("USR1");
    eventually(SOON, "the new certificate", || async {
        if fetch() == before { Err("the old one".to_owned()) } else { Ok(()) }
    })
    .await;
    let keys = Api::<Secret>::namespaced(plane.client().await, NAMESPACE);
    let labelled = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active,team=a");
    assert_eq!(keys.list(&labelled).await.unwrap().items.len(), 2);
    secrets.delete("db1", &Default::default()).await.unwrap();
    opened(&plane, &controller, "db1").await;

    let denied: Vec<_> =
        controller.output().lines().filter(|line| line.contains("not allowed")).map(str::to_owned).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    assert!(!controller.output().contains("hunter2"));
    assert!(controller.stop().await.success());

    // On its own and one more namespace only.
    let third = plane.namespace("third").await;
    let certificate = scratch::file("cert.pem", &before).display().to_string();
    for (name, namespace) in [("elsewhere", third.as_str()), ("here", "default")] {
        let input = secret(name).replace("\"default\"", &format!("{namespace:?}"));
        plane.apply(&run_ok(kubeseal(called("kubeseal"), &plane, &["--cert", &certificate]), input.as_bytes()));
    }
    let mut command = in_pod(&plane, NAMESPACE, SERVICE, called("controller")).await;
    command.args([
        &format!("--listen-addr={NODE_ADDRESS}:{port}"),
        &format!("--listen-metrics-addr={NODE_ADDRESS}:{metrics}"),
    ]);
    command.args(["--additional-namespaces", "default,kube-public"]);
    let controller = Proc::spawn("controller", command);
    opened(&plane, &controller, "here").await;
    secrets.delete("here", &Default::default()).await.unwrap();
    opened(&plane, &controller, "here").await;
    let elsewhere = Api::<Secret>::namespaced(plane.client().await, &third).get_opt("elsewhere").await.unwrap();
    assert!(elsewhere.is_none(), "not its namespace");
}

#[tokio::test]
async fn our_kubeseal_works_with_the_real_controller_and_theirs_opens_what_ours_wrote() {
    let plane = ControlPlane::start(Options::default()).await;
    install_crd(&plane);
    let controller = SealedController::start(&plane, NAMESPACE, &["--kubeclient-qps=-1"]).await;
    let ours = |arguments: &[&str]| kubeseal(called("kubeseal"), &plane, arguments);
    let theirs = |arguments: &[&str]| kubeseal(tools::path("kubeseal"), &plane, arguments);

    assert_eq!(run_ok(ours(&["--fetch-cert"]), b""), run_ok(theirs(&["--fetch-cert"]), b""));
    let proxy = Tunnels::start();
    let through = |program: &dyn Fn(&[&str]) -> Command| {
        let before = proxy.count();
        let printed = run_ok(program(&["--fetch-cert", "--proxy-url", &proxy.url]), b"");
        (printed, proxy.count() - before)
    };
    let (printed, tunnels) = through(&ours);
    assert!(tunnels > 0, "none of it went through the proxy");
    assert_eq!(printed, through(&theirs).0);
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let sealed = run_ok(ours(&["--scope", scope, "-o", "yaml"]), secret(scope).as_bytes());
        plane.apply(&sealed);
        opened(&plane, &controller.process, scope).await;
        run_ok(ours(&["--validate"]), sealed.as_bytes());
        let file = scratch::file("sealed.yaml", &sealed);
        // With one file it works in place.
        assert_eq!(run_ok(ours(&["--re-encrypt", "-f", &file.display().to_string()]), b""), "");
        let again = std::fs::read_to_string(&file).unwrap();
        assert!(
            again != sealed && again.starts_with("---\napiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n"),
            "{again}"
        );
        run_ok(theirs(&["--validate"]), again.as_bytes());
        let raw = ["--raw", "--scope", scope, "--name", scope, "--namespace", "default"];
        let item = run_ok(ours(&raw), b"hunter2");
        let mut object: serde_json::Value = serde_saphyr::from_str(&again).unwrap();
        object["spec"]["encryptedData"]["password"] = json!(item);
        run_ok(theirs(&["--validate"]), object.to_string().as_bytes());
    }
    // A tree of files: the controller opens what nobody here can.
    let folder = scratch::dir("tree");
    let sealed = ["strict", "cluster-wide"]
        .map(|scope| run_ok(theirs(&["--scope", scope, "-o", "yaml"]), secret(scope).as_bytes()));
    let before = format!("# kept\n{}", sealed.concat());
    std::fs::write(folder.join("all.yaml"), &before).unwrap();
    let mut rekey = process::latchwork();
    rekey.args(["rekey", "--cluster", "--yes", "--kubeconfig"]).arg(&plane.kubeconfig).arg(&folder);
    let ran = run(rekey, b"");
    assert!(ran.status.success() && ran.stdout.contains(", by the cluster"), "{}{}", ran.stdout, ran.stderr);
    let after = std::fs::read_to_string(folder.join("all.yaml")).unwrap();
    assert!(after != before && after.starts_with("# kept\n---\n"), "{after}");
    for object in after.split("---\n").skip(1) {
        run_ok(theirs(&["--validate"]), object.as_bytes());
    }
    let sealed = run_ok(ours(&[]), secret("db").as_bytes()).replace("\"db\"", "\"other\"");
    for mode in ["--validate", "--re-encrypt"] {
        let [theirs, ours] = [theirs(&[mode]), ours(&[mode])].map(|command| run(command, sealed.as_bytes()));
        assert_eq!((theirs.status.code(), ours.status.code()), (Some(1), Some(1)), "{mode}");
        let start = |text: &str| text.split(": ").take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(start(&theirs.stderr), start(&ours.stderr), "{} / {}", theirs.stderr, ours.stderr);
    }
    let wrong = ["--fetch-cert", "--controller-name", "sealed-secrets"];
    let [theirs, ours] = [theirs(&wrong), ours(&wrong)].map(|command| run(command, b""));
    assert_eq!(theirs.stderr, ours.stderr);
}

/// A proxy that opens a tunnel for whoever asks.
struct Tunnels {
    url: String,
    opened: Arc<AtomicUsize>,
}

impl Tunnels {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || tunnel(client, &count));
            }
        });
        Self { url, opened }
    }

    fn count(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

/// Answers CONNECT, and copies what comes until a side closes.
fn tunnel(mut client: TcpStream, count: &AtomicUsize) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut server = TcpStream::connect(head.strip_prefix("CONNECT ")?.split(' ').next()?).ok()?;
    count.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut server);
    server.shutdown(Shutdown::Both).ok()
}
