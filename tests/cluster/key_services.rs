//! EncryptedSources whose files are on OpenBao transit: with a token of the source, with the operator's own, and not at all
//! where the administrator's list does not say so.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use latchwork::pure::crd::encrypted_source::EncryptedSource;

use crate::rig::bao::ROOT_TOKEN;
use crate::rig::control_plane::ControlPlane;
use crate::rig::fault_http::{Fault, FaultServer};
use crate::rig::git_http::{Access, GitRepo, GitServer};
use crate::rig::http1::Reply;
use crate::rig::operator::Operator;
use crate::rig::process::{self, run_ok};
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, tools};

struct Bench {
    plane: &'static ControlPlane,
    namespace: String,
    operator: Operator,
    repo: GitRepo,
    _git: GitServer,
}

impl Bench {
    async fn start(prefix: &str, environment: &[(&str, &str)], arguments: impl Fn(&str) -> Vec<String>) -> Self {
        let plane = rig::cluster();
        plane.install_crds();
        let namespace = plane.namespace(prefix).await;
        let git = GitServer::start_with(None, Access::default());
        let repo = git.repo("shop");
        let mut command = process::operator(&plane.kubeconfig);
        command.args(["--watch-namespace", &namespace]).envs(environment.iter().copied());
        let arguments = arguments(&namespace);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let operator = Operator::spawn(command, "127.0.0.1", &namespace, &arguments).await;
        Self { plane, namespace, operator, repo, _git: git }
    }

    fn secret(&self, name: &str, entries: &[(&str, &str)]) {
        self.plane.apply_secret(&self.namespace, name, entries);
    }

    /// A source `shop` of the repository, with or without a key Secret.
    fn source(&self, keys: Option<&str>) {
        let mut decryption = json!({"provider": "sops"});
        if let Some(name) = keys {
            decryption["secretRef"] = json!({"name": name});
        }
        let source = json!({
            "apiVersion": "latchwork.dev/v1alpha1", "kind": "EncryptedSource",
            "metadata": {"name": "shop", "namespace": self.namespace},
            "spec": {"git": {"url": self.repo.url}, "path": "./deploy", "interval": "1s", "decryption": decryption},
        });
        self.plane.apply(&source.to_string());
    }

    /// A Secret in a SOPS file, made by the real sops.
    fn commit(&self, name: &str, uri: &str) {
        let mut sops = process::command(tools::path("sops"));
        sops.args(["--disable-version-check", "--config", "/dev/null", "encrypt", "--hc-vault-transit", uri]);
        sops.args(["--encrypted-regex", "^(data|stringData)$", "--filename-override", "a.yaml"]);
        sops.env("VAULT_TOKEN", ROOT_TOKEN);
        let plain = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n  value: s3cret\n");
        self.add(name, &run_ok(sops, plain.as_bytes()));
    }

    fn add(&self, name: &str, text: &str) {
        self.repo.write(&format!("deploy/{name}.yaml"), text);
        self.repo.commit(name);
    }

    async fn value(&self, name: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.plane.client().await, &self.namespace);
        eventually(SOON, &format!("Secret {name}"), || async {
            self.operator.process.assert_running();
            let secret = secrets.get(name).await.map_err(|e| format!("{e}\n{}", self.operator.process.tail(20)))?;
            let found = secret.data.as_ref().and_then(|data| data.get("value")).map(|value| value.0.clone());
            if found.as_deref() == Some(b"s3cret") { Ok(()) } else { Err("another value".to_owned()) }
        })
        .await;
    }

    /// Waits until the status speaks of `text`, and returns the status.
    async fn says(&self, text: &str) -> Value {
        let sources: Api<EncryptedSource> = Api::namespaced(self.plane.client().await, &self.namespace);
        eventually(SOON, &format!("a status that says {text:?}"), || async {
            self.operator.process.assert_running();
            let source = sources.get("shop").await.map_err(|e| e.to_string())?;
            let status = serde_json::to_value(source.status).expect("serialises");
            if status.to_string().contains(text) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }
}

/// A transit key `k` in an engine of its own.
async fn transit(mount: &str) -> String {
    let bao = rig::bao();
    bao.call("POST", &format!("sys/mounts/{mount}"), Some(&json!({"type": "transit"}))).await;
    bao.call("POST", &format!("{mount}/keys/k"), None).await;
    format!("{}/v1/{mount}/keys/k", bao.url)
}

#[tokio::test]
async fn a_source_opens_its_files_with_a_vault_token_of_its_own() {
    let uri = transit("cluster-own").await;
    let bao = rig::bao();
    let policy = "path \"cluster-own/decrypt/k\" { capabilities = [\"update\"] }";
    let token = bao.token_with_policy("cluster-own", policy).await;
    let bench =
        Bench::start("kms-own", &[], |_| vec!["--kms-allow".into(), format!("{}/v1/cluster-own", bao.url)]).await;
    bench.secret("keys", &[("sops.vault-token", &format!("{token}\n"))]);
    bench.commit("one", &uri);
    bench.source(Some("keys"));
    bench.value("one").await;
    // A key beside the list, on the same server, with a token that could.
    let beside = transit("cluster-own-beside").await;
    bench.secret("keys", &[("sops.vault-token", ROOT_TOKEN)]);
    bench.commit("two", &beside);
    let status = bench.says("--kms-allow").await;
    assert!(status.to_string().contains("cluster-own-beside"), "{status}");
    bench.value("one").await;
    assert!(!bench.operator.process.output().contains(&token), "the token must not be logged");
}

/// A file to an age recipient, made by the real sops, and the identity.
fn age_file(name: &str) -> (String, String) {
    let identity = run_ok(process::command(tools::path("age-keygen")), b"");
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("recipient");
    let mut sops = process::command(tools::path("sops"));
    sops.args(["--disable-version-check", "--config", "/dev/null", "encrypt", "--age", recipient]);
    sops.args(["--encrypted-regex", "^(data|stringData)$", "--filename-override", "a.yaml"]);
    let plain = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n  value: s3cret\n");
    (run_ok(sops, plain.as_bytes()), identity)
}

#[tokio::test]
async fn a_wrong_setting_of_the_operator_fails_only_the_files_that_need_it() {
    let uri = transit("cluster-setting").await;
    let environment = [("VAULT_TOKEN", ROOT_TOKEN), ("VAULT_CLIENT_TIMEOUT", "soon")];
    let bench =
        Bench::start("kms-setting", &environment, |_| vec!["--kms-ambient".into(), rig::bao().url.clone()]).await;
    let (file, identity) = age_file("age");
    bench.secret("keys", &[("team.agekey", &identity)]);
    bench.add("age", &file);
    bench.commit("vault", &uri);
    bench.source(Some("keys"));
    bench.value("age").await;
    let status = bench.says("VAULT_CLIENT_TIMEOUT").await;
    assert!(status.to_string().contains("the operator's environment"), "{status}");
}

#[tokio::test]
async fn a_service_that_was_away_is_asked_again_in_the_next_run() {
    let uri = transit("cluster-away").await;
    let away = FaultServer::hanging();
    let environment = [("VAULT_TOKEN", ROOT_TOKEN), ("VAULT_CLIENT_TIMEOUT", "1")];
    let bench = Bench::start("kms-away", &environment, |_| vec!["--kms-ambient".into(), away.url()]).await;
    bench.commit("one", &uri);
    let path = bench.repo.work().join("deploy/one.yaml");
    let file = std::fs::read_to_string(path).expect("committed");
    let enc = file.split_whitespace().find(|word| word.starts_with("vault:v1:")).expect("a wrapped key");
    let opened = rig::bao().call("POST", "cluster-away/decrypt/k", Some(&json!({"ciphertext": enc}))).await;
    bench.add("one", &file.replace(&rig::bao().url, &away.url()));
    bench.source(None);
    bench.says("no answer within 1 s").await;
    // The answer of the real one, from where the file says.
    away.set(Fault::Reply(Reply::new(200, opened.to_string())));
    bench.value("one").await;
}

#[tokio::test]
async fn a_foreign_address_gets_no_token() {
    let foreign = FaultServer::start(Fault::Reply(Reply::new(200, r#"{"data":{"plaintext":"AAAA"}}"#)));
    let uri = transit("cluster-foreign").await;
    let bench = Bench::start("kms-foreign", &[("VAULT_TOKEN", ROOT_TOKEN)], |namespace| {
        let bao = &rig::bao().url;
        vec!["--kms-allow".into(), bao.clone(), "--kms-ambient".into(), format!("{namespace}={bao}")]
    })
    .await;
    bench.commit("one", &uri);
    bench.source(None);
    bench.value("one").await;
    // The author of a repository writes another address into the file.
    let file = std::fs::read_to_string(bench.repo.work().join("deploy/one.yaml")).expect("committed");
    bench.add("one", &file.replace(&rig::bao().url, &foreign.url()));
    let status = bench.says("--kms-ambient").await;
    assert!(status.to_string().contains(&foreign.url()), "{status}");
    assert_eq!(foreign.count(), 0, "nothing was asked there");
    bench.value("one").await;
}

#[tokio::test]
async fn the_operators_own_identity_is_granted_per_namespace() {
    let uri = transit("cluster-ambient").await;
    let bench = Bench::start("kms-ambient", &[("VAULT_TOKEN", ROOT_TOKEN)], |_| {
        // Of another namespace; and what sources may ask with credentials of their own grants nothing here.
        let bao = &rig::bao().url;
        vec!["--kms-allow".into(), bao.clone(), "--kms-ambient".into(), format!("somebody-else={bao}")]
    })
    .await;
    bench.commit("one", &uri);
    bench.source(None);
    bench.says("--kms-ambient").await;
}
