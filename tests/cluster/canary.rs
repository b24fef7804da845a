//! No secret byte leaves by a side door: every kind is driven through success and failure at trace level, and then the
//! log, the events, the statuses, the metadata of what was written and the metrics are searched for what must not be
//! there.

use std::process::Command;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::rig::control_plane::ControlPlane;
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::git_http::{Access, GitServer};
use crate::rig::http1::Reply;
use crate::rig::operator::Operator;
use crate::rig::process::{command, run, run_ok};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, scratch, tools};

/// What must not be found. Each is random enough to be found only where it leaked.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn new() -> Self {
        Self(vec![])
    }

    /// A new value that is watched for.
    fn make(&mut self, what: &'static str) -> String {
        self.watch(what, format!("canary-{what}-5e1f9c"))
    }

    fn watch(&mut self, what: &'static str, value: String) -> String {
        self.0.push((what, value.clone()));
        value
    }

    /// Names of the values that `text` holds, as they are, in base64 or in hex.
    fn found_in(&self, text: &str) -> Vec<&'static str> {
        let leaked = |value: &str| {
            let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
            text.contains(value) || text.contains(&base64) || text.contains(&hex(value))
        };
        self.0.iter().filter(|(_, value)| leaked(value)).map(|(what, _)| *what).collect()
    }
}

fn hex(value: &str) -> String {
    value.bytes().map(|b| format!("{b:02x}")).collect()
}

/// One namespace, where everything is put.
struct Scene {
    plane: &'static ControlPlane,
    namespace: String,
}

impl Scene {
    fn apply(&self, api: &str, kind: &str, name: &str, body: Value) {
        let mut object =
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}});
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        self.plane.apply(&object.to_string());
    }

    fn secret(&self, name: &str, entries: Value) {
        self.apply("v1", "Secret", name, json!({ "stringData": entries }));
    }

    fn external(&self, name: &str, store: &str, key: &str, template: Option<Value>) {
        let mut target = json!({"name": name});
        if let Some(template) = template {
            target["template"] = template;
        }
        self.apply(
            "external-secrets.io/v1",
            "ExternalSecret",
            name,
            json!({"spec": {
                "refreshInterval": "1h", "target": target, "secretStoreRef": {"name": store},
                "data": [{"secretKey": "password", "remoteRef": {"key": key, "property": "password"}}],
            }}),
        );
    }

    fn vault_store(&self, name: &str, server: &str, mount: &str, token: &str) {
        self.secret(&format!("{name}-token"), json!({"token": token}));
        let vault = json!({"server": server, "path": mount, "version": "v2",
            "auth": {"tokenSecretRef": {"name": format!("{name}-token"), "key": "token"}}});
        self.apply("external-secrets.io/v1", "SecretStore", name, json!({"spec": {"provider": {"vault": vault}}}));
    }

    fn get(&self, what: &str) -> Value {
        let text = run_ok(self.plane.kubectl(&["get", what, "-n", &self.namespace, "-o", "json"]), b"");
        serde_json::from_str(&text).unwrap()
    }

    async fn opened(&self, name: &str, operator: &Operator) {
        eventually(SOON, &format!("the Secret {name}"), || async {
            operator.process.assert_running();
            let ran = run(self.plane.kubectl(&["get", "secret", name, "-n", &self.namespace, "-o", "name"]), b"");
            if ran.status.success() { Ok(()) } else { Err(operator.process.tail(5)) }
        })
        .await;
    }

    /// Waits until the object's status says that something failed.
    async fn failed(&self, what: &str, operator: &Operator) {
        let get = ["get", what, "-n", &self.namespace, "-o", "jsonpath={.status}"];
        eventually(SOON, &format!("a failure in the status of {what}"), || async {
            operator.process.assert_running();
            let status = run_ok(self.plane.kubectl(&get), b"");
            if status.contains(r#""False""#) { Ok(()) } else { Err(status) }
        })
        .await;
    }
}

fn sealed(certificate: &str, namespace: &str, name: &str, password: &str) -> Value {
    let certificate = scratch::file("cert.pem", certificate);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": {"password": password}});
    let mut kubeseal = command(tools::path("kubeseal"));
    kubeseal.arg("--cert").arg(certificate).env("KUBECONFIG", "/nonexistent");
    serde_json::from_str(&run_ok(kubeseal, secret.to_string().as_bytes())).unwrap()
}

fn sops(recipient: &str, namespace: &str, name: &str, password: &str) -> String {
    let plain = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\nstringData:\n  password: {password}\n"
    );
    let mut sops = Command::new(tools::path("sops"));
    sops.args(["--disable-version-check", "encrypt", "--encrypted-regex", "^stringData$", "--age", recipient]);
    sops.args(["--input-type", "yaml", "--output-type", "yaml", "--filename-override", "secret.yaml"]);
    sops.current_dir(scratch::dir("sops"));
    run_ok(sops, plain.as_bytes())
}

/// An age identity: its text, its secret line, its recipient.
fn age_key() -> (String, String, String) {
    let text = run_ok(command(tools::path("age-keygen")), b"");
    let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    (text, secret, recipient)
}

/// The ciphertext of the one value, damaged in its middle.
fn tampered(file: &str) -> String {
    let at = file.find("data:").expect("ciphertext") + 8;
    let old = file.as_bytes()[at];
    let mut bytes = file.as_bytes().to_vec();
    bytes[at] = if old == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

async fn sealed_secrets(scene: &Scene, secrets: &mut Secrets, operator: &Operator) {
    let (_, certificate) = operator.get("/v1/cert.pem").await.unwrap();
    let good = sealed(&certificate, &scene.namespace, "sealed", &secrets.make("sealed"));
    scene.plane.apply(&good.to_string());
    // A template that would put the value into its own error.
    let mut loud = sealed(&certificate, &scene.namespace, "loud", &secrets.make("sealed-template"));
    loud["spec"]["template"]["data"] = json!({"out": "{{ fail .password }}"});
    scene.plane.apply(&loud.to_string());
    // Sealed for another name: no key opens it.
    let mut moved = sealed(&certificate, &scene.namespace, "elsewhere", &secrets.make("sealed-moved"));
    moved["metadata"]["name"] = "moved".into();
    scene.plane.apply(&moved.to_string());
    scene.opened("sealed", operator).await;
    scene.failed("sealedsecret/loud", operator).await;
    scene.failed("sealedsecret/moved", operator).await;
}

async fn external_secrets(scene: &Scene, secrets: &mut Secrets, operator: &Operator) {
    let bao = rig::bao();
    let mount = format!("canary-{}", scene.namespace);
    bao.enable_kv2(&mount).await;
    bao.write_kv2(&mount, "db", &json!({"password": secrets.make("vault")})).await;
    let policy = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"list\"] }}");
    let token = secrets.watch("vault-token", bao.token_with_policy(&mount, &policy).await);
    scene.vault_store("vault", &bao.url, &mount, &token);
    scene.external("from-vault", "vault", "db", None);
    let template = json!({"data": {"out": "{{ .password | fail }}"}});
    scene.external("loud-external", "vault", "db", Some(template));

    let wrong = secrets.make("wrong-token");
    scene.vault_store("denied", &bao.url, &mount, &wrong);
    scene.external("denied", "denied", "db", None);
    // A server that repeats what it was sent, and more, in its error.
    let body = json!({"errors": [format!("no {} for you", secrets.make("error-body"))]}).to_string();
    let rude = FaultServer::start(Fault::Reply(Reply::new(500, body)));
    scene.vault_store("rude", &rude.url(), &mount, &token);
    scene.external("rude", "rude", "db", None);

    let aws_value = json!({"password": secrets.make("aws")}).to_string();
    let aws_name = format!("canary/{}", scene.namespace);
    rig::moto().create_secret(&aws_name, &aws_value).await;
    let secret_key = secrets.make("aws-secret-key");
    scene.secret("aws-keys", json!({"id": "AKIAEXAMPLE", "secret": secret_key}));
    let auth = json!({"secretRef": {
        "accessKeyIDSecretRef": {"name": "aws-keys", "key": "id"},
        "secretAccessKeySecretRef": {"name": "aws-keys", "key": "secret"}}});
    let aws = json!({"service": "SecretsManager", "region": rig::moto::REGION, "auth": auth});
    scene.apply("external-secrets.io/v1", "SecretStore", "aws", json!({"spec": {"provider": {"aws": aws}}}));
    scene.external("from-aws", "aws", &aws_name, None);

    scene.opened("from-vault", operator).await;
    scene.opened("from-aws", operator).await;
    for name in ["loud-external", "denied", "rude"] {
        scene.failed(&format!("externalsecret/{name}"), operator).await;
    }
}

async fn encrypted_sources(scene: &Scene, secrets: &mut Secrets, operator: &Operator) -> GitServer {
    let (identity, secret_line, recipient) = age_key();
    secrets.watch("age-identity", secret_line);
    let (_, _, foreign) = age_key();
    let password = secrets.make("git-password");
    let git = GitServer::start_with(None, Access { basic: Some(("reader".into(), password.clone())) });
    let repo = git.repo("shop");
    let file = |recipient: &str, name: &str, value: String| sops(recipient, &scene.namespace, name, &value);
    repo.write("good.yaml", file(&recipient, "from-git", secrets.make("sops")));
    repo.write("tampered.yaml", tampered(&file(&recipient, "tampered", secrets.make("sops-tampered"))));
    repo.write("foreign.yaml", file(&foreign, "foreign", secrets.make("sops-foreign")));
    let plain = secrets.make("invalid-yaml");
    repo.write(
        "invalid.yaml",
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData:\n  a: {plain}: [\n"),
    );
    repo.commit("first");
    scene.secret("age", json!({"cluster.agekey": identity}));
    scene.secret("git-login", json!({"username": "reader", "password": password}));
    let source = json!({"spec": {
        "git": {"url": repo.url, "secretRef": {"name": "git-login"}}, "interval": "1h", "prune": true,
        "decryption": {"provider": "sops", "secretRef": {"name": "age"}}}});
    scene.apply("latchwork.dev/v1alpha1", "EncryptedSource", "shop", source);
    let wrong = secrets.make("git-wrong-password");
    scene.secret("git-wrong", json!({"username": "reader", "password": wrong}));
    let refused = json!({"spec": {"git": {"url": repo.url, "secretRef": {"name": "git-wrong"}}, "interval": "1h"}});
    scene.apply("latchwork.dev/v1alpha1", "EncryptedSource", "refused", refused);
    scene.opened("from-git", operator).await;
    scene.failed("encryptedsource/shop", operator).await;
    scene.failed("encryptedsource/refused", operator).await;
    git
}

#[tokio::test]
async fn nothing_secret_is_logged_reported_or_counted_at_any_level() {
    let plane = rig::cluster();
    plane.install_crds();
    let scene = Scene { plane, namespace: plane.namespace("canary").await };
    let mut command = rig::process::operator(&plane.kubeconfig);
    command.env("AWS_SECRETSMANAGER_ENDPOINT", &rig::moto().url).args(["--watch-namespace", &scene.namespace]);
    let arguments = ["--log-level", "trace", "--log-format", "json"];
    let operator = Operator::spawn(command, "127.0.0.1", &scene.namespace, &arguments).await;
    operator.wait_ready().await;
    let mut secrets = Secrets::new();
    sealed_secrets(&scene, &mut secrets, &operator).await;
    external_secrets(&scene, &mut secrets, &operator).await;
    let _git = encrypted_sources(&scene, &mut secrets, &operator).await;
    let metrics = operator.metrics().await;
    assert!(operator.stop().await.success());

    let log = operator.process.output();
    assert!(log.lines().count() > 20, "trace says nothing:\n{log}");
    let statuses: Vec<Value> = ["sealedsecrets", "externalsecrets", "secretstores", "encryptedsources"]
        .into_iter()
        .flat_map(|kind| scene.get(kind)["items"].as_array().unwrap().clone())
        .map(|object| object["status"].clone())
        .collect();
    let metadata: Vec<Value> = scene.get("secrets")["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|secret| !secret["metadata"]["managedFields"].to_string().contains("kubectl"))
        .map(|secret| secret["metadata"].clone())
        .collect();
    assert!(statuses.len() >= 14 && metadata.len() >= 4, "{} statuses, {} Secrets", statuses.len(), metadata.len());
    let places = [
        ("the log", log),
        ("an event", scene.get("events").to_string()),
        ("a status", Value::from(statuses).to_string()),
        ("the metadata of a Secret", Value::from(metadata).to_string()),
        ("the metrics", metrics),
    ];
    for (place, text) in &places {
        assert_eq!(secrets.found_in(text), Vec::<&str>::new(), "found in {place}");
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let mut secrets = Secrets::new();
    let value = secrets.make("probe");
    assert_eq!(secrets.found_in(&format!("x{value}y")), ["probe"]);
    assert_eq!(secrets.found_in(&base64::engine::general_purpose::STANDARD.encode(&value)), ["probe"]);
    assert_eq!(secrets.found_in(&hex(&value)), ["probe"]);
    assert!(secrets.found_in("nothing").is_empty());
}
