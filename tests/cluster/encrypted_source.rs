//! EncryptedSources on a real API server, from a real Git server over HTTP, with what the real sops made.

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use latchwork::pure::crd::encrypted_source::{EncryptedSource, EncryptedSourceStatus, FileState};

use crate::cli::pgp;
use crate::rig::bao::ROOT_TOKEN;
use crate::rig::control_plane::ControlPlane;
use crate::rig::fault_http::FaultServer;
use crate::rig::git_http::{Access, GitServer};
use crate::rig::process::{self, Proc, run, run_ok};
use crate::rig::tls::Ca;
use crate::rig::wait::{SOON, eventually};
use crate::rig::{self, ports, tools};

const CANARY: &str = "canary-of-the-source";

/// One namespace with an operator of its own.
struct Bench {
    plane: &'static ControlPlane,
    namespace: String,
    operator: Proc,
    metrics: String,
}

impl Bench {
    async fn start(prefix: &str) -> Self {
        let plane = rig::cluster();
        plane.install_crds();
        let namespace = plane.namespace(prefix).await;
        let (operator, metrics) = Self::operator(plane, &namespace).await;
        let bench = Self { plane, namespace, operator, metrics };
        let key = std::fs::read_to_string(tools::repository().join("keys-example/.latchwork/keys/cluster.agekey"));
        bench.secret("sops-age", &[("age.agekey", &key.expect("example"))]);
        bench
    }

    async fn operator(plane: &ControlPlane, namespace: &str) -> (Proc, String) {
        let (port, metrics) = (ports::free(), ports::free());
        let mut command = process::operator(&plane.kubeconfig);
        command.args(["--namespace", namespace, "--watch-namespace", namespace, "--log-level", "debug"]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--listen-metrics", &format!("127.0.0.1:{metrics}")]);
        let operator = Proc::spawn("latchwork", command);
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        eventually(SOON, "the operator to be ready", || async {
            operator.assert_running();
            let answer = http.get(format!("http://127.0.0.1:{port}/readyz")).send().await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
        (operator, format!("http://127.0.0.1:{metrics}/metrics"))
    }

    /// Ends the operator, lets `meanwhile` happen, and starts another.
    async fn restart(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        assert!(self.operator.stop().await.success());
        meanwhile(self).await;
        (self.operator, self.metrics) = Self::operator(self.plane, &self.namespace).await;
    }

    fn secret(&self, name: &str, entries: &[(&str, &str)]) {
        self.plane.apply_secret(&self.namespace, name, entries);
    }

    async fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    async fn sources(&self) -> Api<EncryptedSource> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    async fn source(&self, url: &str, change: impl FnOnce(&mut Value)) {
        let mut source = json!({
            "apiVersion": "latchwork.dev/v1alpha1", "kind": "EncryptedSource",
            "metadata": {"name": "shop", "namespace": self.namespace},
            "spec": {
                "git": {"url": url}, "path": "./deploy", "interval": "1s", "prune": true,
                "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
            },
        });
        change(&mut source);
        self.plane.apply(&source.to_string());
    }

    /// A SOPS file, made by the real sops.
    fn sops(&self, namespace: &str, name: &str, value: &str) -> String {
        let recipient = "age1";
        let recipients =
            std::fs::read_to_string(tools::repository().join("keys-example/recipients.txt")).expect("example");
        let recipient = recipients.lines().find(|line| line.starts_with(recipient)).expect("recipient");
        let mut sops = process::command(tools::path("sops"));
        sops.args(["--disable-version-check", "--config", "/dev/null", "encrypt", "--age", recipient]);
        sops.args(["--encrypted-regex", "^(data|stringData)$", "--filename-override", "a.yaml"]);
        let plain = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\nstringData:\n  value: \"{value}\"\n"
        );
        run_ok(sops, plain.as_bytes())
    }

    fn ours(&self, name: &str, value: &str) -> String {
        self.sops(&self.namespace, name, value)
    }

    async fn value(&self, name: &str, value: &str) -> Secret {
        let secrets = self.secrets().await;
        eventually(SOON, &format!("Secret {name} with its value"), || async {
            self.operator.assert_running();
            let secret = secrets.get(name).await.map_err(|e| format!("{e}\n{}", self.operator.tail(80)))?;
            let found = secret.data.as_ref().and_then(|data| data.get("value")).map(|v| v.0.clone());
            if found.as_deref() == Some(value.as_bytes()) { Ok(secret) } else { Err("another value".to_owned()) }
        })
        .await
    }

    async fn gone(&self, name: &str) {
        let secrets = self.secrets().await;
        eventually(SOON, &format!("Secret {name} to be gone"), || async {
            match secrets.get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|secret| secret.map(|s| s.metadata.name)))),
            }
        })
        .await;
    }

    /// The status once `holds` says yes.
    async fn status(&self, what: &str, holds: impl Fn(&EncryptedSourceStatus) -> bool) -> EncryptedSourceStatus {
        let sources = self.sources().await;
        eventually(SOON, what, || async {
            self.operator.assert_running();
            let source = sources.get("shop").await.map_err(|e| e.to_string())?;
            let status = source.status.clone().unwrap_or_default();
            let current = status.observed_generation == source.metadata.generation;
            if current && holds(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
    }
}

fn ready(status: &EncryptedSourceStatus) -> (&str, &str, &str) {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.map_or(("", "", ""), |c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

fn lines(status: &EncryptedSourceStatus, state: FileState) -> Vec<String> {
    let of_state = status.files.iter().filter(|file| file.state == state);
    of_state.map(|file| format!("{} {}", file.path, file.reason.as_deref().unwrap_or("-"))).collect()
}

#[tokio::test]
async fn a_source_is_applied_mended_and_pruned() {
    let bench = Bench::start("source").await;
    let git = GitServer::start();
    let repo = git.repo("shop");
    repo.write("deploy/one.yaml", bench.ours("one", CANARY))
        .write("deploy/two.yaml", bench.ours("two", "2"))
        .write("deploy/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: left-alone}\n")
        .write("elsewhere.yaml", bench.ours("elsewhere", "3"));
    let commit = repo.commit("first");
    bench.source(&repo.url, |_| {}).await;
    let one = bench.value("one", CANARY).await;
    bench.value("two", "2").await;
    let status = bench.status("success", |status| ready(status).0 == "True").await;
    assert_eq!(ready(&status).2, format!("Applied revision: main@sha1:{commit}"));
    assert_eq!(lines(&status, FileState::Applied), ["deploy/one.yaml -", "deploy/two.yaml -"]);
    assert_eq!(lines(&status, FileState::Ignored), ["deploy/config.yaml -"]);
    let inventory: Vec<_> = status.inventory.expect("inventory").entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(inventory, [format!("{}_one__Secret", bench.namespace), format!("{}_two__Secret", bench.namespace)]);
    let managers: Vec<_> =
        one.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.clone()).collect();
    assert_eq!(managers, ["latchwork"], "one field manager");
    assert!(bench.secrets().await.get_opt("elsewhere").await.unwrap().is_none());

    // Edited, relabelled and deleted Secrets come back, without a fetch.
    let secrets = bench.secrets().await;
    let edit = json!({"data": {"value": "Y2hhbmdlZA=="}, "metadata": {"labels": {"latchwork.dev/source": null}}});
    secrets.patch("one", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let mended = bench.value("one", CANARY).await;
    assert_eq!(mended.metadata.uid, one.metadata.uid);
    secrets.delete("one", &DeleteParams::default()).await.unwrap();
    bench.value("one", CANARY).await;

    // What leaves the repository goes; what was handed to somebody else, or is to stay, does not.
    repo.remove("deploy/two.yaml").write("deploy/one.yaml", bench.ours("one", "changed"));
    repo.commit("second");
    bench.value("one", "changed").await;
    bench.gone("two").await;

    let events = Api::<Event>::namespaced(bench.plane.client().await, &bench.namespace);
    eventually(SOON, "the events", || async {
        let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let reasons: Vec<_> = all.iter().filter_map(|event| event.reason.clone()).collect();
        let both = ["ReconciliationSucceeded", "Pruned"].iter().all(|reason| reasons.iter().any(|r| r == reason));
        if both { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(&bench.metrics).send().await.unwrap().text().await.unwrap();
    let series = format!(
        "latchwork_encrypted_source_documents{{namespace=\"{}\",name=\"shop\",state=\"applied\"}} 1",
        bench.namespace
    );
    assert!(metrics.contains(&series), "{metrics}");
    let all = events.list(&ListParams::default()).await.unwrap().items;
    let said = format!(
        "{}{metrics}{:?}{:?}",
        bench.operator.output(),
        all,
        bench.sources().await.get("shop").await.unwrap().status
    );
    assert!(!said.contains(CANARY), "no value leaves the Secret");
}

#[tokio::test]
async fn a_restart_writes_nothing_and_mends_what_happened_meanwhile() {
    let mut bench = Bench::start("source-restart").await;
    let git = GitServer::start();
    let repo = git.repo("shop");
    for name in ["kept", "edited", "leaves"] {
        repo.write(&format!("deploy/{name}.yaml"), bench.ours(name, name));
    }
    repo.commit("first");
    bench.source(&repo.url, |_| {}).await;
    let before = bench.value("kept", "kept").await;
    bench.value("edited", "edited").await;
    bench.value("leaves", "leaves").await;
    bench.status("success", |status| ready(status).0 == "True").await;

    repo.remove("deploy/leaves.yaml");
    let second = repo.commit("second");
    let edit = async |bench: &Bench| {
        let edit = Patch::Merge(json!({"data": {"value": "Y2hhbmdlZA=="}}));
        bench.secrets().await.patch("edited", &PatchParams::default(), &edit).await.unwrap();
    };
    bench.restart(edit).await;
    bench.value("edited", "edited").await;
    bench.gone("leaves").await;
    bench.status("the second commit", |status| ready(status).2.ends_with(&second)).await;
    let after = bench.value("kept", "kept").await;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing to write, nothing written");
}

#[tokio::test]
async fn a_bad_document_keeps_its_last_good_secret_and_stops_nobody() {
    let bench = Bench::start("source-bad").await;
    let git = GitServer::start();
    let repo = git.repo("shop");
    repo.write("deploy/one.yaml", bench.ours("one", "1")).write("deploy/two.yaml", bench.ours("two", "2"));
    repo.commit("first");
    bench.source(&repo.url, |_| {}).await;
    bench.value("two", "2").await;
    let foreign =
        Secret { metadata: ObjectMeta { name: Some("foreign".into()), ..Default::default() }, ..Default::default() };
    bench.secrets().await.create(&PostParams::default(), &foreign).await.unwrap();

    let tampered = bench.ours("one", "new").replacen("AES256_GCM,data:", "AES256_GCM,data:AAAA", 1);
    repo.write("deploy/one.yaml", tampered)
        .write("deploy/two.yaml", bench.ours("two", "two"))
        .write("deploy/three.yaml", bench.sops("kube-system", "three", "3"))
        .write("deploy/four.yaml", "key: [1\n")
        .write("deploy/five.yaml", bench.ours("foreign", "5"))
        .write("deploy/zzz.yaml", bench.ours("two", "again"))
        .write("deploy/seven.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: plain}\nstringData: {a: b}\n");
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("deploy/link.yaml")).unwrap();
    repo.commit("second");
    bench.value("two", "two").await;
    let status = bench.status("the failures", |status| ready(status).1 == "DocumentsFailed").await;
    assert_eq!(
        lines(&status, FileState::Failed),
        [
            "deploy/five.yaml SecretNotOurs",
            "deploy/four.yaml InvalidFile",
            "deploy/link.yaml LinkOutsideRepository",
            "deploy/one.yaml DecryptionFailed",
            "deploy/three.yaml ForeignNamespace",
            "deploy/zzz.yaml DuplicateObject",
        ]
    );
    assert_eq!(lines(&status, FileState::Ignored), ["deploy/seven.yaml NotEncrypted"]);
    bench.value("one", "1").await;
    assert!(bench.secrets().await.get("foreign").await.unwrap().data.is_none(), "untouched");
    let system = Api::<Secret>::namespaced(bench.plane.client().await, "kube-system");
    assert!(system.get_opt("three").await.unwrap().is_none());
    assert!(bench.secrets().await.get_opt("plain").await.unwrap().is_none());

    // While one document cannot even be named, nothing is pruned; mended, it is.
    repo.remove("deploy/one.yaml");
    repo.commit("third");
    bench.status("pruning to be held back", |status| ready(status).2.contains("nothing is pruned")).await;
    bench.value("one", "1").await;
    for file in ["four", "five", "zzz", "three", "link"] {
        repo.remove(&format!("deploy/{file}.yaml"));
    }
    repo.commit("fourth");
    bench.gone("one").await;
    bench.status("success", |status| ready(status).0 == "True").await;
    bench.secrets().await.get("foreign").await.expect("never ours, never pruned");
}

#[tokio::test]
async fn a_git_server_that_hangs_is_waited_for_within_bounds_and_mending_goes_on() {
    let bench = Bench::start("source-hang").await;
    let git = GitServer::start();
    let repo = git.repo("shop");
    repo.write("deploy/one.yaml", bench.ours("one", "1"));
    repo.commit("first");
    bench.source(&repo.url, |_| {}).await;
    bench.value("one", "1").await;
    let hanging = FaultServer::hanging();
    let url = format!("{}/shop.git", hanging.url());
    bench.source(&url, |source| source["spec"]["git"]["timeout"] = "2s".into()).await;
    let status = bench.status("the time-out", |status| ready(status).1 == "GitTimeout").await;
    assert!(ready(&status).2.starts_with("the Git server did not finish within 2 s; "), "{status:?}");
    bench.secrets().await.delete("one", &DeleteParams::default()).await.unwrap();
    bench.value("one", "1").await;
    bench.source(&repo.url, |_| {}).await;
    bench.status("success", |status| ready(status).0 == "True").await;
}

#[tokio::test]
async fn keys_and_credentials_may_come_later() {
    let bench = Bench::start("source-keys").await;
    let ca = Ca::new("git");
    let basic = Some(("robot".to_owned(), "pass-canary".to_owned()));
    let git = GitServer::start_with(Some(&ca), Access { basic });
    let repo = git.repo("shop");
    repo.write("deploy/one.yaml", bench.ours("one", "1"));
    repo.commit("first");
    bench
        .source(&repo.url, |source| {
            source["spec"]["git"]["secretRef"] = json!({"name": "git"});
            source["spec"]["decryption"]["secretRef"] = json!({"name": "later"});
        })
        .await;
    let status = bench.status("the missing Secret", |status| ready(status).1 == "SecretNotFound").await;
    assert!(ready(&status).2.contains("git.secretRef"), "{status:?}");
    bench.secret("git", &[("username", "robot"), ("password", "wrong"), ("ca.crt", &ca.certificate_pem)]);
    bench.status("the refusal", |status| ready(status).1 == "AuthenticationFailed").await;
    bench.secret("git", &[("username", "robot"), ("password", "pass-canary"), ("ca.crt", &ca.certificate_pem)]);
    bench.status("the missing key", |status| ready(status).2.contains("decryption.secretRef")).await;
    let key = std::fs::read_to_string(tools::repository().join("keys-example/.latchwork/keys/cluster.agekey"));
    let key = key.expect("example");
    bench.secret("later", &[("age.key", &key)]);
    let status = bench.status("the wrong name", |status| ready(status).1 == "NoIdentity").await;
    assert!(ready(&status).2.contains(".agekey"), "{status:?}");
    bench.secret("later", &[("age.agekey", &key)]);
    bench.value("one", "1").await;
    bench.status("success", |status| ready(status).0 == "True").await;
    assert!(!bench.operator.output().contains("pass-canary"));
}

/// Flux's layout: exported keys in entries that end in .asc. There is no gpg for the operator.
#[tokio::test]
async fn a_pgp_key_of_the_key_secret_opens_what_sops_sealed_for_it() {
    let bench = Bench::start("source-pgp").await;
    let read = |path: &str| std::fs::read_to_string(tools::repository().join(path)).expect("readable");
    let git = GitServer::start();
    let repo = git.repo("shop");
    let manifest = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {}\nstringData:\n  value: \"1\"\n",
            bench.namespace
        )
    };
    repo.write("deploy/curve.yaml", pgp::sealed_for_the_example("cluster", &manifest("curve")))
        .write("deploy/rsa.yaml", pgp::sealed_for_the_example("person", &manifest("rsa")));
    repo.commit("first");
    let protected = read("tests/vectors/pgp/keys/protected.asc");
    bench.secret("pgp", &[("flux.asc", &protected)]);
    bench.source(&repo.url, |source| source["spec"]["decryption"]["secretRef"] = json!({"name": "pgp"})).await;
    let status = bench.status("the passphrase", |status| ready(status).1 == "InvalidIdentity").await;
    assert!(ready(&status).2.contains("flux.asc") && ready(&status).2.contains("passphrase"), "{status:?}");

    let (person, cluster) =
        (read("keys-example/.latchwork/keys/person.asc"), read("keys-example/.latchwork/keys/cluster.asc"));
    bench.secret("pgp", &[("flux.asc", &cluster)]);
    bench.value("curve", "1").await;
    let status = bench.status("the other key", |status| ready(status).1 == "DocumentsFailed").await;
    let rsa = status.files.iter().find(|file| file.path == "deploy/rsa.yaml").expect("a result");
    assert_eq!(rsa.reason.as_deref(), Some("NoMatchingKey"), "{rsa:?}");
    bench.secret("pgp", &[("flux.asc", &cluster), ("older.asc", &person)]);
    bench.value("rsa", "1").await;
    bench.status("success", |status| ready(status).0 == "True").await;
    let said = bench.operator.output();
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

#[tokio::test]
async fn the_schema_refuses_what_could_not_work() {
    let plane = rig::cluster();
    plane.install_crds();
    let namespace = plane.namespace("source-schema").await;
    for (spec, message) in [
        (json!({"git": {"url": "ssh://git.example/a"}, "interval": "1m"}), "url must begin with"),
        (json!({"git": {"url": "https://u:p@git.example/a"}, "interval": "1m"}), "must not hold a user name"),
        (json!({"git": {"url": "https://git.example/a"}, "interval": "0s"}), "interval must be at least 1s"),
        (json!({"git": {"url": "https://git.example/a"}, "interval": "soon"}), "interval"),
        (json!({"git": {"url": "https://git.example/a"}, "interval": "1m", "path": "../x"}), "no '..'"),
        (json!({"git": {"url": "https://git.example/a", "timeout": "1h"}, "interval": "1m"}), "timeout"),
        (json!({"git": {"url": "https://git.example/a", "ref": {"commit": "abc"}}, "interval": "1m"}), "commit"),
        (
            json!({"git": {"url": "https://git.example/a"}, "interval": "1m", "decryption": {"provider": "vault"}}),
            "the only provider is sops",
        ),
    ] {
        let source = json!({
            "apiVersion": "latchwork.dev/v1alpha1", "kind": "EncryptedSource",
            "metadata": {"name": "bad", "namespace": namespace}, "spec": spec,
        });
        let ran = run(plane.kubectl(&["create", "-f", "-"]), source.to_string().as_bytes());
        assert!(!ran.status.success() && ran.stderr.contains(message), "{spec}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn what_render_writes_can_be_applied() {
    let plane = rig::cluster();
    let namespace = plane.namespace("rendered").await;
    let mut command = process::latchwork();
    command.args(["render", "keys-example/gitops"]).current_dir(tools::repository());
    // A HelmRelease needs Flux, and the namespace is another test's business.
    let stream = run_ok(command, b"").replace("namespace: shop", &format!("namespace: {namespace}"));
    let stream = stream.replace("\"namespace\": \"shop\"", &format!("\"namespace\": \"{namespace}\""));
    let ran = run(plane.kubectl(&["apply", "--server-side", "-f", "-"]), stream.as_bytes());
    assert!(!ran.stderr.lines().any(|line| !line.contains("HelmRelease") && !line.contains("CRDs")), "{}", ran.stderr);
    let secrets = Api::<Secret>::namespaced(plane.client().await, &namespace);
    let mut names: Vec<_> =
        secrets.list(&ListParams::default()).await.unwrap().items.into_iter().filter_map(|s| s.metadata.name).collect();
    names.sort();
    let all = [
        "cache",
        "database",
        "payment",
        "queue",
        "registry",
        "sealed-cluster-wide",
        "sealed-namespace-wide",
        "sealed-strict",
    ];
    assert_eq!(names, all);
}

#[tokio::test]
async fn render_reads_from_the_vault_that_the_user_named() {
    let bao = rig::bao();
    bao.enable_kv2("render").await;
    bao.call("POST", "render/data/mail", Some(&json!({"data": {"password": "from-the-vault"}}))).await;
    let manifests = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: v, namespace: n}\nspec:\n  \
        provider: {vault: {server: 'http://attacker.example', path: render, version: v2}}\n---\n\
        apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: mail, namespace: n}\nspec:\n  \
        secretStoreRef: {kind: SecretStore, name: v}\n  target: {name: mail}\n  \
        data:\n  - {secretKey: password, remoteRef: {key: mail, property: password}}\n";
    let mut command = process::latchwork();
    command.args(["render", "-"]).env("VAULT_ADDR", &bao.url).env("VAULT_TOKEN", ROOT_TOKEN);
    let out = tokio::task::spawn_blocking(move || run_ok(command, manifests.as_bytes())).await.unwrap();
    assert!(out.contains("password: ZnJvbS10aGUtdmF1bHQ=") && !out.contains("SecretStore"), "{out}");
}
