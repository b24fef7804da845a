//! The HTTP endpoints for SealedSecrets: for everybody, for callers with a right, for nobody.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use latchwork::pure::sealed::keys::Certificate;
use latchwork::pure::sealed::{Scope, item};
use latchwork::pure::secret::Plaintext;

use crate::rig;
use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::in_pod::expose;
use crate::rig::operator::Operator;
use crate::rig::process::{self, Ran, called, run};
use crate::rig::scratch;
use crate::rig::sealed_controller::SealedController;
use crate::rig::wait::PATIENCE;

use super::deploy::installed;

fn vector(name: &str) -> String {
    std::fs::read_to_string(rig::tools::repository().join("tests/vectors/sealed").join(name)).expect("vector")
}

fn key_secret(namespace: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": "key", "namespace": namespace,
                      "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": "active" } },
        "stringData": { "tls.key": vector("keys/current.key"), "tls.crt": vector("keys/current.crt") },
    })
    .to_string()
}

fn object(namespace: &str, sealed_for: &str) -> Value {
    let certificate = Certificate::parse("current", vector("keys/current.crt").as_bytes()).expect("certificate");
    let label = Scope::Strict.label(namespace, sealed_for);
    let item = item::seal(&Plaintext::copy_of(b"hunter2"), certificate.public(), &label).expect("seals").to_bytes();
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": { "name": "db", "namespace": namespace },
        "spec": { "encryptedData": { "a": STANDARD.encode(item) } },
    })
}

/// How many callers a machine may be too slow for.
const CALLERS: u8 = 250;

/// One request: status, the headers that count, body.
async fn send(
    url: &str,
    method: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Vec<(String, String)>, String) {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("HTTP client");
    let mut request = http.request(method.parse().expect("method"), url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("answers");
    let status = answer.status().as_u16();
    let kept = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after", "www-authenticate"];
    let headers = kept.iter().filter_map(|name| {
        let value = answer.headers().get(*name)?;
        Some(((*name).to_owned(), value.to_str().expect("text").to_owned()))
    });
    let headers = headers.collect();
    (status, headers, answer.text().await.expect("text"))
}

/// One request whose path is sent as it stands: status, place and kind of the answer, body.
async fn send_path(url: &str, method: &str, path: &str) -> (u16, Option<String>, Option<String>, String) {
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    (status, header("location"), header("content-type"), body.to_owned())
}

/// A whole Secret sealed as one value, in an object of that name with these annotations.
fn deprecated(secret: &str, annotations: &Value) -> Value {
    let scope = Scope::of(&serde_json::from_value(annotations.clone()).expect("annotations"));
    let certificate = Certificate::parse("current", vector("keys/current.crt").as_bytes()).expect("certificate");
    let label = scope.label("team", "db");
    let item =
        item::seal(&Plaintext::copy_of(secret.as_bytes()), certificate.public(), &label).expect("seals").to_bytes();
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "name": "db", "namespace": "team", "annotations": annotations, "labels": { "outer": "x" } },
        "spec": { "data": STANDARD.encode(item), "encryptedData": {} },
    })
}

/// The envelope that Kubernetes clients put around protobuf: magic, then apiVersion and kind, then the raw object.
fn protobuf(raw: &[u8]) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag << 3 | 2];
        let mut length = bytes.len();
        while length > 127 {
            out.push((length % 128) as u8 | 128);
            length /= 128;
        }
        out.push(length as u8);
        [out, bytes.to_vec()].concat()
    };
    let meta = [field(1, b"bitnami.com/v1alpha1"), field(2, b"SealedSecret")].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[tokio::test]
async fn every_request_is_answered_as_the_real_controller_does() {
    rig::require_sandbox("the Sealed Secrets controller");
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    // One server is enough: there are no SealedSecrets in it.
    let (real, ours) = ("real", "ours");
    for namespace in [real, ours] {
        plane.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"));
        plane.apply(&key_secret(namespace));
    }
    let arguments = ["--key-renew-period=0"];
    let real = SealedController::start(&plane, real, &arguments).await;
    let ours = SealedController::start_program(called("controller"), &plane, ours, &arguments).await;
    let good = object("team", "db");
    let text = |value: &Value| value.to_string().into_bytes();
    let yaml = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: db, namespace: team}\nspec:\n  encryptedData:\n    a: ";
    let yaml = format!("{yaml}{}\n", good["spec"]["encryptedData"]["a"].as_str().unwrap()).into_bytes();
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        text(&changed)
    };
    let mut templated = good.clone();
    templated["spec"]["template"] = json!({ "type": "Opaque", "metadata": { "labels": { "a": "b" } } });
    let mut null_labels = good.clone();
    null_labels["spec"]["template"] = json!({ "metadata": { "labels": { "a": null }, "annotations": { "b": null } } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "x.y/z", "immutable": true,
        "metadata": { "name": "other", "namespace": "else", "labels": { "inner": "y" },
                      "annotations": { "note": "n", "sealedsecrets.bitnami.com/cluster-wide": "true" } },
        "data": { "a": "Yg==" }, "stringData": { "c": "d" },
    });
    let yaml_secret = "---\n# as somebody wrote it\napiVersion: v1\nkind: Secret\nmetadata:\n  labels: {inner: why}\ntype: x.y/z\nstringData:\n  a: |\n    two\n    lines\n";
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("POST", "good", text(&good)),
        ("GET", "another method", text(&good)),
        ("PUT", "another method", text(&good)),
        ("POST", "a template", text(&templated)),
        ("POST", "YAML", yaml.clone()),
        ("POST", "another name", with("/metadata/name", json!("other"))),
        ("POST", "no entries", with("/spec/encryptedData", json!({}))),
        ("POST", "no base64", with("/spec/encryptedData/a", json!("*"))),
        ("POST", "no string", with("/spec/encryptedData/a", json!(7))),
        ("POST", "another kind", with("/kind", json!("Secret"))),
        ("POST", "another version", with("/apiVersion", json!("bitnami.com/v9"))),
        ("POST", "no metadata", with("/metadata", Value::Null)),
        ("POST", "no spec", with("/spec", Value::Null)),
        ("POST", "no manifest", b"not a manifest".to_vec()),
        ("POST", "nothing", vec![]),
        (
            "POST",
            "a null label",
            with("/metadata", json!({ "name": "db", "namespace": "team", "labels": { "a": null } })),
        ),
        ("POST", "a null label in the template", text(&null_labels)),
        ("POST", "deprecated", text(&deprecated(&secret.to_string(), &json!({})))),
        ("POST", "deprecated YAML", text(&deprecated(yaml_secret, &json!({})))),
        ("POST", "deprecated YAML without a kind", text(&deprecated("data: {a: Yg==}\n", &json!({})))),
        (
            "POST",
            "deprecated YAML, a number",
            text(&deprecated("kind: Secret\napiVersion: v1\ndata: {a: 1234}\n", &json!({}))),
        ),
        (
            "POST",
            "deprecated null label",
            text(&deprecated("metadata: {labels: {a: null}}\ndata: {a: null}\n", &json!({}))),
        ),
        (
            "POST",
            "deprecated, another kind",
            text(&deprecated("kind: ConfigMap\napiVersion: v1\ndata: {a: b}\n", &json!({}))),
        ),
        (
            "POST",
            "deprecated, another version",
            text(&deprecated("kind: Secret\napiVersion: v2\ndata: {}\n", &json!({}))),
        ),
        ("POST", "deprecated, no Secret", text(&deprecated("[", &json!({})))),
        ("POST", "deprecated, empty", text(&deprecated("", &json!({})))),
        ("POST", "protobuf around JSON", protobuf(&text(&good))),
        ("POST", "protobuf without an object", protobuf(b"")),
    ];
    let mut differences = vec![];
    for path in ["/v1/verify", "/v1/rotate"] {
        for (index, (method, name, body)) in cases.iter().enumerate() {
            // A caller of its own each time, so that no limit counts.
            let caller = format!("192.0.2.{index}");
            let headers = [("x-forwarded-for", caller.as_str())];
            let theirs = send(&format!("{}{path}", real.url), method, &headers, body.clone()).await;
            let mine = send(&format!("{}{path}", ours.url), method, &headers, body.clone()).await;
            // The real one does not limit rotate in this version (it does from v0.39 on).
            let limits = path == "/v1/verify";
            if theirs.0 != mine.0 || (limits && theirs.1 != mine.1) {
                differences.push(format!("{path} {method} {name}: {theirs:?}, ours {mine:?}"));
            }
        }
    }
    for path in [
        "/healthz",
        "/healthz/",
        "//healthz",
        "/v1/../healthz?a=b&c='d'",
        "/v1//cert.pem",
        "/./v1/cert.pem",
        "/v1/cert.pem/.",
        "/v1/verify/../rotate/",
        "//nothing//at/all/..",
        "//a%20b!*",
        "/v1/cert.pem",
        "/nothing",
        "/",
        "/v1/verify/more",
    ] {
        for method in ["GET", "POST", "HEAD", "PUT"] {
            let theirs = send_path(&real.url, method, path).await;
            let mine = send_path(&ours.url, method, path).await;
            if theirs != mine {
                differences.push(format!("{path} {method}: {theirs:?}, ours {mine:?}"));
            }
        }
    }
    // The deprecated form, sealed anew. The incumbent takes labels, annotations and with them the scope out of the seal: a
    // Secret that says "cluster-wide" of itself becomes so. Ours stays what its object is, and tells nothing that was sealed.
    let wide = json!({ "sealedsecrets.bitnami.com/namespace-wide": "true", "seen": "by all" });
    for (annotations, scope) in [(json!({ "seen": "by all" }), "strict"), (wide, "namespace-wide")] {
        let body = text(&deprecated(&secret.to_string(), &annotations));
        let [theirs, mine] = [&real.url, &ours.url].map(|url| {
            let (url, body) = (format!("{url}/v1/rotate"), body.clone());
            async move { send(&url, "POST", &[("x-forwarded-for", "203.0.113.9")], body).await }
        });
        let [theirs, mine]: [Value; 2] = [theirs.await, mine.await]
            .map(|(status, _, text)| serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}")));
        assert_eq!(theirs["metadata"]["annotations"], json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" }));
        assert_eq!(theirs["spec"]["template"]["metadata"]["labels"], json!({ "inner": "y" }));
        let mut kept = annotations.clone();
        if scope == "strict" {
            assert_eq!(mine["metadata"].get("annotations"), None);
        } else {
            assert_eq!(mine["metadata"]["annotations"], json!({ "sealedsecrets.bitnami.com/namespace-wide": "true" }));
            kept["sealedsecrets.bitnami.com/namespace-wide"] = json!("true");
        }
        assert_eq!(mine["spec"]["template"]["metadata"]["annotations"], kept, "{mine}");
        assert_eq!(mine["spec"]["template"]["metadata"]["labels"], json!({ "outer": "x" }));
        for answer in [&theirs, &mine] {
            let template = &answer["spec"]["template"];
            assert_eq!((&template["type"], &template["immutable"]), (&json!("x.y/z"), &json!(true)), "{answer}");
            let names: Vec<_> = answer["spec"]["encryptedData"].as_object().expect("entries").keys().collect();
            assert_eq!(names, ["a", "c"]);
            assert!(answer["spec"].get("data").is_none_or(Value::is_null));
        }
        // It opens as what it says, and not under another name or in another namespace than that allows.
        for (pointer, opens) in [("/metadata/name", scope != "strict"), ("/metadata/namespace", false)] {
            let mut moved = mine.clone();
            *moved.pointer_mut(pointer).expect(pointer) = json!("elsewhere");
            let caller = format!("203.0.113.{pointer}{scope}");
            let headers = [("x-forwarded-for", caller.as_str())];
            let status = send(&format!("{}/v1/verify", ours.url), "POST", &headers, text(&moved)).await.0;
            assert_eq!(status, if opens { 200 } else { 409 }, "{scope} {pointer}");
        }
    }
    // Five at once: the same ones pass, and the headers are the same to the second.
    // Where either side's five take half a second, one more of them passes: then another caller tries.
    for caller in 0..CALLERS {
        let caller = format!("198.51.100.{caller}");
        let headers = [("x-forwarded-for", caller.as_str())];
        let (mut answers, mut in_time) = (vec![], true);
        for url in [&real.url, &ours.url] {
            let (started, mut five) = (Instant::now(), vec![]);
            for _ in 0..5 {
                let (status, limits, _) = send(&format!("{url}/v1/verify"), "POST", &headers, text(&good)).await;
                five.push((status, limits));
            }
            in_time &= started.elapsed() < Duration::from_millis(400);
            answers.push(five);
        }
        if in_time || answers[0] == answers[1] {
            assert_eq!(answers[0], answers[1], "the real one's, and ours");
            break;
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test]
async fn callers_need_the_right_when_the_endpoints_ask_for_it() {
    rig::require_sandbox("the service proxy");
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    plane.apply(
        "apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ci, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: verify, namespace: team}
rules: [{apiGroups: [bitnami.com], resources: [sealedsecrets/verify], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: verify, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: verify}
subjects: [{kind: ServiceAccount, name: ci, namespace: team}]
",
    );
    plane.apply(&key_secret("default"));
    let arguments = ["--sealed-endpoints", "authorised", "--key-renew-days", "0"];
    let operator = Operator::start_in_pod(&plane, "default", "operator", &arguments).await;
    operator.wait_ready().await;
    let (verify, rotate) = (format!("{}/v1/verify", operator.url), format!("{}/v1/rotate", operator.url));
    let body = |namespace: &str| object(namespace, "db").to_string().into_bytes();
    let mut callers = 0;
    let mut ask = async |url: &str, token: Option<(&str, &str)>, namespace: &str| {
        callers += 1;
        let caller = format!("192.0.2.{callers}");
        let token = token.map(|(header, token)| (header, format!("Bearer {token}")));
        let mut headers = vec![("x-forwarded-for", caller.as_str())];
        headers.extend(token.as_ref().map(|(header, token)| (*header, token.as_str())));
        send(url, "POST", &headers, body(namespace)).await
    };
    let refused = ask(&verify, None, "team").await;
    assert_eq!(refused.0, 401, "{refused:?}");
    assert!(
        refused.1.contains(&("www-authenticate".into(), "Bearer".into()))
            && refused.2.contains("X-Latchwork-Authorization")
    );
    assert_eq!(ask(&verify, Some(("authorization", "garbage")), "team").await.0, 401);

    // A token for nothing but this, and one for the API server itself.
    for audiences in [&["latchwork.dev"][..], &[]] {
        let token = plane.service_account_token("team", "ci", audiences).await;
        for header in ["authorization", "x-latchwork-authorization"] {
            let (status, _, text) = ask(&verify, Some((header, &token)), "team").await;
            assert_eq!((status, text.as_str()), (200, ""), "{header} {audiences:?}");
        }
        let (status, _, text) = ask(&rotate, Some(("authorization", &token)), "team").await;
        assert_eq!(status, 403, "{text}");
        assert_eq!(
            text,
            "system:serviceaccount:team:ci may not create sealedsecrets.bitnami.com/rotate in namespace \"team\"\n"
        );
        let (status, _, text) = ask(&verify, Some(("authorization", &token)), "default").await;
        assert_eq!(status, 403, "the namespace of the object decides: {text}");
    }
    let other = plane.service_account_token("team", "ci", &["example.com"]).await;
    assert_eq!(ask(&verify, Some(("authorization", &other)), "team").await.0, 401, "a token for somebody else");

    // Through the service proxy, which takes the caller's own credentials off.
    expose(&plane, "default", "sealed-secrets-controller", "http", operator.port()).await;
    let token = plane.service_account_token("team", "ci", &["latchwork.dev"]).await;
    let path = "/api/v1/namespaces/default/services/http:sealed-secrets-controller:http/proxy/v1/verify";
    let admin = plane.client().await;
    let request = http::Request::post(path)
        .header("x-latchwork-authorization", format!("Bearer {token}"))
        .body(body("team"))
        .unwrap();
    let answer = admin.request_text(request).await;
    assert_eq!(answer.map_err(|e| e.to_string()), Ok(String::new()));
    assert!(!operator.process.output().contains(&token));

    // Turned off, only the certificate is there.
    drop(operator);
    let operator = Operator::start(&plane.kubeconfig, "default", &["--sealed-endpoints", "off"]).await;
    operator.wait_ready().await;
    for path in ["/v1/verify", "/v1/rotate"] {
        let (status, ..) = send(&format!("{}{path}", operator.url), "POST", &[], body("team")).await;
        assert_eq!(status, 404);
    }
    assert_eq!(operator.get("/v1/cert.pem").await, Ok((200, vector("keys/current.crt"))));
}

/// `kubeseal` with the rights of one account of the namespace `shop`.
fn kubeseal(kubeconfig: &Path, arguments: &[&str], token: Option<&str>) -> Ran {
    let mut kubeseal = process::command(called("kubeseal"));
    kubeseal.args(["--controller-namespace", "latchwork-system", "--controller-name", "latchwork"]);
    kubeseal.args(arguments).env("KUBECONFIG", kubeconfig);
    kubeseal.envs(token.map(|token| ("LATCHWORK_SEALED_TOKEN", token)));
    run(kubeseal, object("shop", "db").to_string().as_bytes())
}

#[tokio::test]
async fn our_kubeseal_shows_its_token_to_a_controller_that_asks_for_it() {
    rig::require_sandbox("the service proxy");
    let plane = ControlPlane::start(Options::default()).await;
    installed(&plane);
    let roles = rig::tools::repository().join("deploy/authorised-endpoints.yaml");
    plane.apply(&std::fs::read_to_string(roles).expect("manifest"));
    plane.apply(
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: ci, namespace: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: shop}}",
    );
    let bind = |namespace: &str, role: &str, account: &str| {
        let name = format!("seal-{account}");
        let account = format!("shop:{account}");
        let arguments = ["-n", namespace, "create", "rolebinding", &name, role, "--serviceaccount", &account];
        process::run_ok(plane.kubectl(&arguments), b"");
    };
    bind("shop", "--clusterrole=latchwork-sealed-endpoints", "ci");
    bind("latchwork-system", "--role=latchwork-service-proxy", "ci");
    bind("latchwork-system", "--role=latchwork-service-proxy", "other");
    plane.apply(&key_secret("latchwork-system"));
    let arguments = ["--sealed-endpoints", "authorised", "--key-renew-days", "0"];
    let operator = Operator::start_in_pod(&plane, "latchwork-system", "latchwork", &arguments).await;
    operator.wait_ready().await;
    // In the place of the Service stands one for a program that is in no pod.
    let open =
        ["label", "namespace", "latchwork-system", "pod-security.kubernetes.io/enforce=privileged", "--overwrite"];
    process::run_ok(plane.kubectl(&open), b"");
    process::run_ok(plane.kubectl(&["-n", "latchwork-system", "delete", "service", "latchwork"]), b"");
    expose(&plane, "latchwork-system", "latchwork", "http", operator.port()).await;

    let ci = plane.service_account_kubeconfig("shop", "ci").await;
    let valid = kubeseal(&ci, &["--validate"], None);
    assert!(valid.status.success() && valid.stderr.is_empty(), "{}", valid.stderr);
    let anew = kubeseal(&ci, &["--re-encrypt"], None);
    assert!(anew.status.success() && anew.stdout.contains("encryptedData"), "{}", anew.stderr);

    // What is on the present key already is left byte for byte, without any private key on this side.
    let folder = scratch::dir("tree");
    let file = folder.join("db.json");
    std::fs::write(&file, object("shop", "db").to_string()).unwrap();
    let before = std::fs::read_to_string(&file).unwrap();
    for how in ["--yes", "--dry-run"] {
        let mut rekey = process::latchwork();
        rekey.args(["rekey", "--cluster", how, "--only", "sealed", "--controller-namespace", "latchwork-system"]);
        rekey.args(["--controller-name", "latchwork", "--kubeconfig"]).arg(&ci).arg(&folder);
        let ran = run(rekey, b"");
        assert!(ran.status.success(), "{how}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("1 on the present keys"), "{how}: {}", ran.stdout);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "{}", ran.stdout);
    }

    // Without the right it is named, and who lacks it.
    let other = plane.service_account_kubeconfig("shop", "other").await;
    let refused = kubeseal(&other, &["--validate"], None);
    assert_eq!(refused.status.code(), Some(1));
    let (who, what) = ("system:serviceaccount:shop:other may not create", "sealedsecrets.bitnami.com/verify");
    assert!(refused.stderr.contains(who) && refused.stderr.contains(what), "{}", refused.stderr);

    // A kubeconfig with a client certificate has no token to show: then it takes one that is good for nothing else.
    let none = kubeseal(&plane.kubeconfig, &["--validate"], None);
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.contains("LATCHWORK_SEALED_TOKEN"), "{}", none.stderr);
    let token = plane.service_account_token("shop", "ci", &["latchwork.dev"]).await;
    let given = kubeseal(&plane.kubeconfig, &["--validate"], Some(&token));
    assert!(given.status.success(), "{}", given.stderr);
    assert!(!operator.process.output().contains(&token));
}
