//! ExternalSecrets on a real API server, with values in a real OpenBao, in moto, and in the store itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use latchwork::pure::crd::external_secret::ExternalSecret;
use latchwork::pure::crd::secret_store::SecretStore;

use crate::rig::bao::ROOT_TOKEN;
use crate::rig::control_plane::ControlPlane;
use crate::rig::fault_http::FaultServer;
use crate::rig::process::{self, Proc, run};
use crate::rig::wait::{SOON, eventually, steadily};
use crate::rig::{self, ports};

const MANAGED: &str = "reconcile.external-secrets.io/managed";
const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";
const CREATED_BY: &str = "reconcile.external-secrets.io/created-by";
const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// Appears in every value that must appear nowhere else.
const CANARY: &str = "canary-b1d4c0ffee";

/// An operator that works on one namespace.
struct Bench {
    plane: &'static ControlPlane,
    process: Proc,
    metrics: String,
    namespace: String,
}

impl Bench {
    async fn start(name: &str) -> Self {
        rig::tls::install_provider();
        let plane = rig::cluster();
        plane.install_crds();
        let namespace = plane.namespace(name).await;
        let (process, metrics) = Self::operator(plane, &namespace);
        Self { plane, process, metrics, namespace }
    }

    /// Starts the process; gives the address of its metrics, too.
    fn operator(plane: &ControlPlane, namespace: &str) -> (Proc, String) {
        let metrics = ports::free();
        let mut command = process::operator(&plane.kubeconfig);
        command.args(["--namespace", namespace, "--watch-namespace", namespace, "--log-level", "trace"]);
        command.args(["--listen", &format!("127.0.0.1:{}", ports::free())]);
        command.args(["--listen-metrics", &format!("127.0.0.1:{metrics}")]);
        command.env("AWS_SECRETSMANAGER_ENDPOINT", &rig::moto().url);
        // What a store must not inherit.
        command.env("VAULT_TOKEN", "wrong").env("VAULT_ADDR", "http://127.0.0.1:1").env("AWS_ACCESS_KEY_ID", "wrong");
        (Proc::spawn("latchwork", command), format!("http://127.0.0.1:{metrics}/metrics"))
    }

    fn apply(&self, kind: &str, name: &str, spec: serde_json::Value) {
        let object = json!({"apiVersion": "external-secrets.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        self.plane.apply(&object.to_string());
    }

    fn secret(&self, name: &str, entries: serde_json::Value) {
        let object = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace}, "stringData": entries});
        self.plane.apply(&object.to_string());
    }

    fn vault_store(&self, name: &str, url: &str, path: &str, version: &str, token: &str) {
        self.secret(&format!("{name}-token"), json!({"token": token}));
        self.apply(
            "SecretStore",
            name,
            json!({"provider": {"vault": {"server": url, "path": path, "version": version,
            "auth": {"tokenSecretRef": {"name": format!("{name}-token"), "key": "token"}}}}}),
        );
    }

    fn fake_store(&self, name: &str, entries: serde_json::Value) {
        self.apply("SecretStore", name, json!({"provider": {"fake": {"data": entries}}}));
    }

    async fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    async fn external(&self) -> Api<ExternalSecret> {
        Api::namespaced(self.plane.client().await, &self.namespace)
    }

    /// Waits for a Secret with exactly these entries.
    async fn holds(&self, name: &str, entries: &[(&str, &str)]) -> Secret {
        let secrets = self.secrets().await;
        let wanted: Vec<_> = entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        eventually(SOON, &format!("Secret {name} with its entries"), || async {
            self.process.assert_running();
            let secret = secrets.get(name).await.map_err(|e| format!("{e}; {}", self.process.tail(20)))?;
            let found: Vec<_> = secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
            if found == wanted {
                Ok(secret)
            } else {
                Err(format!("other entries: {:?}", secret.data.map(|d| d.into_keys().collect::<Vec<_>>())))
            }
        })
        .await
    }

    /// Waits for the `Ready` condition.
    async fn ready(&self, name: &str, status: &str, reason: &str) -> ExternalSecret {
        let external = self.external().await;
        eventually(SOON, &format!("Ready={status} {reason} of {name}"), || async {
            self.process.assert_running();
            let object = external.get(name).await.map_err(|e| e.to_string())?;
            let found = object.status.iter().flat_map(|s| &s.conditions).find(|c| c.kind == "Ready").cloned();
            match found {
                Some(c) if c.status == status && c.reason.as_deref() == Some(reason) => Ok(object),
                other => Err(format!("{other:?}; {}", self.process.tail(20))),
            }
        })
        .await
    }

    /// Waits for an event about the object whose message holds `text`.
    async fn event(&self, about: &str, reason: &str, text: &str) -> Event {
        let events: Api<Event> = Api::namespaced(self.plane.client().await, &self.namespace);
        eventually(SOON, &format!("event {reason} {text:?}"), || async {
            let list = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
            let about = list.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(about));
            let all: Vec<_> = about.collect();
            let hit = all.iter().find(|e| {
                e.reason.as_deref() == Some(reason) && e.message.as_deref().unwrap_or_default().contains(text)
            });
            hit.cloned().ok_or_else(|| format!("{:?}", all.iter().map(|e| (&e.reason, &e.message)).collect::<Vec<_>>()))
        })
        .await
    }

    async fn annotate(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {"force-sync": value}}});
        self.external().await.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn metrics(&self) -> String {
        reqwest::get(&self.metrics).await.unwrap().text().await.unwrap()
    }
}

fn one(store: &str, key: &str, property: &str) -> serde_json::Value {
    json!({"secretStoreRef": {"name": store}, "refreshInterval": "1h",
        "data": [{"secretKey": "password", "remoteRef": {"key": key, "property": property}}]})
}

#[tokio::test]
async fn values_come_from_vault_in_both_versions_from_aws_and_from_the_fake_store() {
    let bench = Bench::start("es-providers").await;
    let (bao, moto) = (rig::bao(), rig::moto());
    let value = format!("{CANARY}-1");
    bao.enable_kv1("es-kv1").await;
    bao.enable_kv2("es-kv2").await;
    bao.write_kv1("es-kv1", "app/db", &json!({"password": value, "n": 1})).await;
    bao.write_kv2("es-kv2", "app/db", &json!({"password": value, "nested": {"deep": "x"}})).await;
    moto.create_secret("es-providers/db", &json!({"password": value}).to_string()).await;
    bench.vault_store("kv1", &bao.url, "es-kv1", "v1", ROOT_TOKEN);
    bench.vault_store("kv2", &bao.url, "es-kv2", "v2", ROOT_TOKEN);
    bench.secret("aws-keys", json!({"id": rig::moto::ACCESS_KEY_ID, "key": rig::moto::SECRET_ACCESS_KEY}));
    bench.apply(
        "SecretStore",
        "aws",
        json!({"provider": {"aws": {"service": "SecretsManager", "region": rig::moto::REGION,
        "auth": {"secretRef": {"accessKeyIDSecretRef": {"name": "aws-keys", "key": "id"},
            "secretAccessKeySecretRef": {"name": "aws-keys", "key": "key"}}}}}}),
    );
    bench.fake_store("fake", json!([{"key": "db", "value": json!({"password": value}).to_string()}]));

    bench.apply("ExternalSecret", "kv1", one("kv1", "app/db", "password"));
    bench.apply(
        "ExternalSecret",
        "kv2",
        json!({"secretStoreRef": {"name": "kv2"}, "dataFrom": [{"extract": {"key": "app/db"}}],
        "data": [{"secretKey": "deep", "remoteRef": {"key": "app/db", "property": "nested.deep"}}]}),
    );
    bench.apply("ExternalSecret", "aws", one("aws", "es-providers/db", "password"));
    bench.apply("ExternalSecret", "fake", one("fake", "db", "password"));
    for name in ["kv1", "aws", "fake"] {
        bench.holds(name, &[("password", &value)]).await;
    }
    bench.holds("kv2", &[("deep", "x"), ("nested", r#"{"deep":"x"}"#), ("password", &value)]).await;

    let object = bench.ready("kv1", "True", "SecretSynced").await;
    let status = object.status.clone().unwrap();
    assert_eq!(status.conditions[0].message.as_deref(), Some("secret synced"));
    assert_eq!(status.binding.map(|b| b.name).as_deref(), Some("kv1"));
    assert!(status.refresh_time.is_some());
    assert!(status.synced_resource_version.unwrap().starts_with("1-"));
    assert_eq!(object.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));

    let secret = bench.secrets().await.get("kv1").await.unwrap();
    let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.api_version.as_str(), owner.kind.as_str(), owner.name.as_str()),
        ("external-secrets.io/v1", "ExternalSecret", "kv1")
    );
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
    assert_eq!(Some(&owner.uid), object.metadata.uid.as_ref());
    assert_eq!(secret.metadata.labels.as_ref().unwrap()[MANAGED], "true");
    assert_eq!(secret.metadata.labels.as_ref().unwrap()[CREATED_BY].len(), 56);
    assert_eq!(secret.metadata.annotations.as_ref().unwrap()[DATA_HASH].len(), 56);
    let managers: Vec<_> = secret.metadata.managed_fields.unwrap().into_iter().filter_map(|f| f.manager).collect();
    assert_eq!(managers, ["externalsecrets.external-secrets.io/kv1"]);

    let created = bench.event("kv1", "Created", "secret created").await;
    assert_eq!(created.source.and_then(|s| s.component).as_deref(), Some("external-secrets"));
    let stores: Api<SecretStore> = Api::namespaced(bench.plane.client().await, &bench.namespace);
    let store = stores.get("kv2").await.unwrap().status.unwrap();
    assert_eq!(
        (store.conditions[0].reason.as_deref(), store.conditions[0].message.as_deref()),
        (Some("Valid"), Some("store validated"))
    );
    let columns = run(bench.plane.kubectl(&["get", "es,ss", "-n", &bench.namespace]), b"").stdout;
    for column in ["STORETYPE", "REFRESH INTERVAL", "LAST SYNC", "CAPABILITIES", "ReadWrite", "SecretSynced"] {
        assert!(columns.contains(column), "{column} missing in\n{columns}");
    }
    let metrics = bench.metrics().await;
    for series in [
        r#"externalsecret_sync_calls_total{name="kv1","#,
        r#"externalsecret_status_condition{name="kv1","#,
        r#"externalsecret_provider_api_calls_count{provider="AWS/SecretsManager",call="GetSecretValue",status="success"} 1"#,
        r#"secretstore_status_condition{name="kv2","#,
    ] {
        assert!(metrics.contains(series), "{series} missing in\n{metrics}");
    }
    // One value for two references: read once.
    let reads =
        metrics.lines().find(|l| l.contains(r#"provider="HashiCorp/Vault",call="ReadSecretData",status="success""#));
    assert!(reads.is_some_and(|line| line.ends_with(" 2")), "{reads:?}");

    // Nothing of a value or a credential outside of Secrets.
    let events: Api<Event> = Api::namespaced(bench.plane.client().await, &bench.namespace);
    let events = serde_json::to_string(&events.list(&ListParams::default()).await.unwrap().items).unwrap();
    let objects =
        serde_json::to_string(&bench.external().await.list(&ListParams::default()).await.unwrap().items).unwrap();
    for (place, text) in
        [("log", bench.process.output()), ("metrics", metrics), ("events", events), ("objects", objects)]
    {
        for secret in [CANARY, rig::moto::SECRET_ACCESS_KEY] {
            assert!(!text.contains(secret), "{secret} in the {place}");
        }
    }
}

#[tokio::test]
async fn what_a_search_finds_becomes_entries() {
    let bench = Bench::start("es-find").await;
    let bao = rig::bao();
    bao.enable_kv2("es-find").await;
    for (path, value) in [("app/db", json!({"v": 1})), ("app/sub/web", json!({"v": 2})), ("other", json!({"v": 3}))] {
        bao.write_kv2("es-find", path, &value).await;
    }
    bao.call("POST", "es-find/metadata/other", Some(&json!({"custom_metadata": {"team": "red"}}))).await;
    bench.vault_store("kv", &bao.url, "es-find", "v2", ROOT_TOKEN);
    bench.fake_store("fake", json!([{"key": "a", "value": "aGk="}, {"key": "b", "value": "eW8="}]));
    let find = |store: &str, from: serde_json::Value| json!({"secretStoreRef": {"name": store}, "dataFrom": [from]});
    let by_name = json!({"find": {"path": "app", "name": {"regexp": "."}}});
    bench.apply("ExternalSecret", "names", find("kv", by_name));
    let unicode = json!({"find": {"path": "app/sub", "name": {"regexp": "web$"}, "conversionStrategy": "Unicode"}});
    bench.apply("ExternalSecret", "unicode", find("kv", unicode));
    let by_tags = json!({"find": {"tags": {"team": "red"}}, "rewrite": [{"regexp": {"source": "^", "target": "of-"}}]});
    bench.apply("ExternalSecret", "tags", find("kv", by_tags));
    let decoded = json!({"find": {"name": {"regexp": "."}, "decodingStrategy": "Base64"}});
    bench.apply("ExternalSecret", "decoded", find("fake", decoded));
    bench.holds("names", &[("app_db", r#"{"v":1}"#), ("app_sub_web", r#"{"v":2}"#)]).await;
    bench.holds("unicode", &[("app_U002f_sub_U002f_web", r#"{"v":2}"#)]).await;
    bench.holds("tags", &[("of-other", r#"{"v":3}"#)]).await;
    bench.holds("decoded", &[("a", "hi"), ("b", "yo")]).await;
    // A search that finds nothing leaves what is there, and deletes it where that is wanted.
    bao.call("DELETE", "es-find/metadata/other", None).await;
    bench.annotate("tags", "1").await;
    let object = bench.external().await;
    eventually(SOON, "the kept Secret", || async {
        let found = object.get("tags").await.map_err(|e| e.to_string())?;
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        let message = conditions.first().and_then(|condition| condition.message.clone()).unwrap_or_default();
        if message.contains("retained") { Ok(()) } else { Err(message) }
    })
    .await;
    bench.holds("tags", &[("of-other", r#"{"v":3}"#)]).await;
}

#[tokio::test]
async fn an_edited_or_deleted_secret_is_repaired_and_goes_with_its_owner() {
    let bench = Bench::start("es-repair").await;
    bench.fake_store("fake", json!([{"key": "db", "value": "right"}]));
    bench.apply(
        "ExternalSecret",
        "db",
        json!({"secretStoreRef": {"name": "fake"}, "refreshInterval": "0",
        "target": {"name": "made"}, "data": [{"secretKey": "password", "remoteRef": {"key": "db"}}]}),
    );
    bench.holds("made", &[("password", "right")]).await;
    bench.ready("db", "True", "SecretSynced").await;

    let secrets = bench.secrets().await;
    let edit = json!({"stringData": {"password": "wrong", "more": "x"}});
    secrets.patch("made", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    bench.holds("made", &[("password", "right")]).await;
    secrets.delete("made", &DeleteParams::default()).await.unwrap();
    bench.holds("made", &[("password", "right")]).await;
    bench.event("db", "Updated", "secret updated").await;

    // Another name: the Secret of the old one goes.
    let rename = json!({"spec": {"target": {"name": "renamed"}, "refreshInterval": "1h"}});
    bench.external().await.patch("db", &PatchParams::default(), &Patch::Merge(rename)).await.unwrap();
    bench.holds("renamed", &[("password", "right")]).await;
    let gone = |name: &'static str| {
        let secrets = secrets.clone();
        eventually(SOON, "the Secret to go", move || {
            let secrets = secrets.clone();
            async move {
                match secrets.get_opt(name).await {
                    Ok(None) => Ok(()),
                    other => Err(format!("{:?}", other.map(|s| s.map(|s| s.metadata.uid)))),
                }
            }
        })
    };
    gone("made").await;
    bench.external().await.delete("db", &DeleteParams::default()).await.unwrap();
    gone("renamed").await;
}

#[tokio::test]
async fn values_follow_the_store_by_interval_and_by_annotation() {
    let bench = Bench::start("es-refresh").await;
    let bao = rig::bao();
    bao.enable_kv2("es-refresh").await;
    bao.write_kv2("es-refresh", "db", &json!({"password": "one"})).await;
    bench.vault_store("kv", &bao.url, "es-refresh", "v2", ROOT_TOKEN);
    let mut fast = one("kv", "db", "password");
    fast["refreshInterval"] = json!("1s");
    bench.apply("ExternalSecret", "fast", fast);
    bench.apply("ExternalSecret", "slow", one("kv", "db", "password"));
    bench.holds("slow", &[("password", "one")]).await;
    bench.holds("fast", &[("password", "one")]).await;

    bao.write_kv2("es-refresh", "db", &json!({"password": "two"})).await;
    bench.holds("fast", &[("password", "two")]).await;
    steadily(Duration::from_secs(2), "the slow one to wait", || async {
        let secret = bench.secrets().await.get("slow").await.map_err(|e| e.to_string())?;
        if secret.data.unwrap()["password"].0 == b"one" { Ok(()) } else { Err("it was read again".into()) }
    })
    .await;
    bench.annotate("slow", "now").await;
    let secret = bench.holds("slow", &[("password", "two")]).await;
    assert_eq!(secret.metadata.annotations.unwrap()["force-sync"], "now", "as the incumbent copies it");
}

#[tokio::test]
async fn a_store_that_fails_is_reported_keeps_the_secret_and_is_forgiven() {
    let bench = Bench::start("es-faults").await;
    let bao = rig::bao();
    bao.enable_kv2("es-faults").await;
    bao.write_kv2("es-faults", "db", &json!({"password": "kept"})).await;
    bench.vault_store("kv", &bao.url, "es-faults", "v2", ROOT_TOKEN);
    bench.apply("ExternalSecret", "db", one("kv", "db", "password"));
    bench.holds("db", &[("password", "kept")]).await;

    // A value that goes away: Retain keeps the Secret and says so.
    bao.call("DELETE", "es-faults/metadata/db", None).await;
    bench.annotate("db", "1").await;
    let object = bench.ready("db", "False", "SecretSyncedError").await;
    let message = object.status.unwrap().conditions[0].message.clone();
    assert_eq!(message.as_deref(), Some("could not get secret data from provider"));
    bench.event("db", "UpdateFailed", "spec.data[0]: SecretStore \"kv\" has no \"db\"").await;
    bench.holds("db", &[("password", "kept")]).await;
    bao.write_kv2("es-faults", "db", &json!({"password": "back"})).await;
    bench.holds("db", &[("password", "back")]).await;
    bench.ready("db", "True", "SecretSynced").await;

    // A token without rights, then the right one: the change of the Secret is enough.
    let token = bao.token_with_policy("es-faults-none", "path \"other/*\" { capabilities = [\"read\"] }").await;
    bench.secret("kv-token", json!({"token": token}));
    bench.annotate("db", "2").await;
    bench.event("db", "UpdateFailed", "denies \"db\" (403)").await;
    bench.secret("kv-token", json!({"token": ROOT_TOKEN}));
    bench.ready("db", "True", "SecretSynced").await;

    // A server that is not a store: the store is not valid, and an ExternalSecret says that it waits for it.
    for status in [403, 404, 429, 500] {
        let (server, name) = (FaultServer::status(status), format!("bad-{status}"));
        bench.vault_store(&name, &server.url(), "kv", "v2", "x");
        bench.apply("ExternalSecret", &name, one(&name, "db", "password"));
        bench.event(&name, "InvalidProviderConfig", &status.to_string()).await;
        bench.event(&name, "UpdateFailed", "is not ready").await;
        bench.ready(&name, "False", "SecretSyncedError").await;
    }
    let metrics = bench.metrics().await;
    assert!(metrics.contains(r#"externalsecret_sync_calls_error{name="bad-403","#), "{metrics}");
}

#[tokio::test]
async fn what_is_not_supported_or_not_ours_is_said_and_left_alone() {
    let bench = Bench::start("es-refused").await;
    bench.apply(
        "SecretStore",
        "doppler",
        json!({"provider": {"doppler": {"auth": {"secretRef": {"dopplerToken": {"name": "x"}}}}}}),
    );
    bench.event("doppler", "InvalidProviderConfig", "provider doppler, which is not supported").await;
    bench.apply(
        "SecretStore",
        "approle",
        json!({"provider": {"vault": {"server": "http://127.0.0.1:1", "auth": {"appRole": {"path": "approle"}}}}}),
    );
    bench.event("approle", "InvalidProviderConfig", "provider.vault.auth.appRole, which is not supported").await;
    bench.apply("ExternalSecret", "lost", one("no-such-store", "db", "password"));
    bench.event("lost", "UpdateFailed", "SecretStore \"no-such-store\": it does not exist").await;
    // The store comes: that is enough.
    bench.fake_store("no-such-store", json!([{"key": "db", "value": r#"{"password":"found"}"#}]));
    bench.holds("lost", &[("password", "found")]).await;

    // A Secret of another ExternalSecret, and one of a controller.
    bench.apply("ExternalSecret", "thief", {
        let mut spec = one("no-such-store", "db", "password");
        spec["target"] = json!({"name": "lost"});
        spec
    });
    let object = bench.ready("thief", "False", "SecretSyncedError").await;
    assert_eq!(
        object.status.unwrap().conditions[0].message.as_deref(),
        Some("target is owned by another ExternalSecret")
    );

    // Another controller's store: no status at all.
    bench.apply("SecretStore", "foreign", json!({"controller": "somebody", "provider": {"fake": {"data": []}}}));
    bench.apply("ExternalSecret", "foreign", one("foreign", "db", "password"));
    let external = bench.external().await;
    eventually(SOON, "the finalizer or nothing", || async {
        // Written by a later object of the same queue: the earlier one was looked at by then.
        bench.apply("ExternalSecret", "after", one("no-such-store", "db", "password"));
        external.get("after").await.map_err(|e| e.to_string())?.status.map(drop).ok_or("not yet".to_owned())
    })
    .await;
    let foreign = external.get("foreign").await.unwrap();
    assert!(foreign.status.is_none() && foreign.metadata.finalizers.is_none(), "{:?}", foreign.status);

    // The schema refuses what cannot be meant.
    let empty = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "empty", "namespace": bench.namespace}, "spec": {"secretStoreRef": {"name": "x"}}});
    let refused = run(bench.plane.kubectl(&["apply", "--server-side", "-f", "-"]), empty.to_string().as_bytes());
    assert!(refused.stderr.contains("either data or dataFrom should be specified"), "{}", refused.stderr);
}

#[tokio::test]
async fn foreign_entries_stay_under_merge_and_the_deletion_policy_deletes() {
    let bench = Bench::start("es-policies").await;
    bench.fake_store("fake", json!([{"key": "db", "value": "v"}]));
    let spec = |creation: &str, deletion: &str| {
        json!({"secretStoreRef": {"name": "fake"}, "refreshInterval": "1h",
            "target": {"creationPolicy": creation, "deletionPolicy": deletion},
            "data": [{"secretKey": "password", "remoteRef": {"key": "db"}}]})
    };
    bench.apply("ExternalSecret", "merged", spec("Merge", "Retain"));
    bench.ready("merged", "True", "SecretMissing").await;
    bench.secret("merged", json!({"other": "theirs"}));
    bench.holds("merged", &[("other", "theirs"), ("password", "v")]).await;

    bench.apply("ExternalSecret", "owned", spec("Owner", "Delete"));
    bench.holds("owned", &[("password", "v")]).await;
    bench.fake_store("fake", json!([{"key": "unrelated", "value": "v"}]));
    bench.annotate("owned", "1").await;
    bench.ready("owned", "True", "SecretDeleted").await;
    bench.event("owned", "MissingProviderSecret", "has no \"db\"").await;
    assert!(bench.secrets().await.get_opt("owned").await.unwrap().is_none());
}

#[tokio::test]
async fn templates_are_rendered_and_a_cluster_store_serves_whom_it_allows() {
    let bench = Bench::start("es-cluster-store").await;
    let bao = rig::bao();
    bao.enable_kv2("es-cluster-store").await;
    bao.write_kv2("es-cluster-store", "db", &json!({"user": "ann", "password": "p:w"})).await;
    // The token is taken from the namespace of whoever asks.
    bench.secret("vault-token", json!({"token": ROOT_TOKEN}));
    let (open, closed) = (format!("{}-open", bench.namespace), format!("{}-closed", bench.namespace));
    for (name, allowed) in [(&open, bench.namespace.as_str()), (&closed, "somewhere-else")] {
        let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name},
            "spec": {"conditions": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": allowed}}}],
                "provider": {"vault": {"server": bao.url, "path": "es-cluster-store",
                    "auth": {"tokenSecretRef": {"name": "vault-token", "key": "token"}}}}}});
        bench.plane.apply(&store.to_string());
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "layout", "namespace": bench.namespace},
        "data": {"app.conf": "user={{ .user }}\n"}});
    bench.plane.apply(&map.to_string());
    let spec = |store: &str| {
        json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": store}, "dataFrom": [{"extract": {"key": "db"}}],
            "target": {"template": {"type": "example.com/conf", "metadata": {"labels": {"who": "{{ .user }}"}},
                "data": {"url": "db://{{ .user }}:{{ .password | urlquery }}@h"},
                "templateFrom": [{"configMap": {"name": "layout", "items": [{"key": "app.conf"}]}}]}}})
    };
    bench.apply("ExternalSecret", "allowed", spec(&open));
    bench.apply("ExternalSecret", "refused", spec(&closed));
    let secret = bench.holds("allowed", &[("app.conf", "user=ann\n"), ("url", "db://ann:p%3Aw@h")]).await;
    assert_eq!(secret.type_.as_deref(), Some("example.com/conf"));
    assert_eq!(secret.metadata.labels.as_ref().unwrap()["who"], "ann");
    let denied = format!("using cluster store \"{closed}\" is not allowed from namespace \"{}\"", bench.namespace);
    bench.event("refused", "UpdateFailed", &denied).await;
    bench.ready("refused", "False", "SecretSyncedError").await;
    let stores = run(bench.plane.kubectl(&["delete", "clustersecretstore", &open, &closed]), b"");
    assert!(stores.status.success(), "{}", stores.stderr);
}

#[tokio::test]
async fn a_restart_neither_writes_nor_reads_what_is_fresh() {
    let mut bench = Bench::start("es-restart").await;
    let bao = rig::bao();
    bao.enable_kv2("es-restart").await;
    bao.write_kv2("es-restart", "db", &json!({"password": "one"})).await;
    bench.vault_store("kv", &bao.url, "es-restart", "v2", ROOT_TOKEN);
    bench.apply("ExternalSecret", "db", one("kv", "db", "password"));
    bench.holds("db", &[("password", "one")]).await;
    let before = bench.ready("db", "True", "SecretSynced").await;
    let secret = bench.secrets().await.get("db").await.unwrap();

    let status = bench.process.stop().await;
    assert!(status.success(), "{status}: {}", bench.process.tail(20));
    (bench.process, bench.metrics) = Bench::operator(bench.plane, &bench.namespace);
    // A later object goes through the same queue: the earlier one was looked at by then.
    bench.apply("ExternalSecret", "later", one("kv", "db", "password"));
    bench.ready("later", "True", "SecretSynced").await;
    let after = bench.external().await.get("db").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "status untouched");
    let again = bench.secrets().await.get("db").await.unwrap();
    assert_eq!(again.metadata.resource_version, secret.metadata.resource_version, "Secret untouched");
    let metrics = bench.metrics().await;
    let reads = metrics.lines().find(|l| l.contains(r#"call="ReadSecretData",status="success""#));
    assert!(reads.is_some_and(|line| line.ends_with(" 1")), "only the later one was read: {reads:?}");
}

/// A random entry, and an annotation with the time, stay over reads and restarts; they are made anew when the values or
/// the Secret were changed.
#[tokio::test]
async fn what_a_template_draws_at_random_is_kept() {
    let mut bench = Bench::start("es-random").await;
    let bao = rig::bao();
    bao.enable_kv2("es-random").await;
    bao.write_kv2("es-random", "db", &json!({"password": "one"})).await;
    bench.vault_store("kv", &bao.url, "es-random", "v2", ROOT_TOKEN);
    let mut spec = one("kv", "db", "password");
    spec["refreshInterval"] = json!("1s");
    spec["target"]["template"] = json!({"data": {"id": "{{ .password }}-{{ uuidv4 }}"},
        "metadata": {"annotations": {"made": "{{ now | date \"15:04:05.000000000\" }}"}}});
    bench.apply("ExternalSecret", "db", spec);
    let secrets = bench.secrets().await;
    let id = |secret: &Secret| {
        let data = secret.data.as_ref().and_then(|data| data.get("id"));
        data.map(|value| String::from_utf8(value.0.clone()).unwrap()).unwrap_or_default()
    };
    let changed = async |from: &str, value: &str| {
        eventually(SOON, "another id", || async {
            let secret = secrets.get("db").await.map_err(|e| e.to_string())?;
            let found = id(&secret);
            let good = found != from && found.starts_with(&format!("{value}-")) && found.len() == value.len() + 37;
            if good { Ok(secret) } else { Err(format!("an id of {} bytes", found.len())) }
        })
        .await
    };
    let first = changed("", "one").await;
    let version = first.metadata.resource_version.clone();
    let synced = |object: &ExternalSecret| object.status.as_ref().and_then(|status| status.refresh_time.clone());
    let read_again = async |bench: &Bench| {
        let before = synced(&bench.ready("db", "True", "SecretSynced").await);
        eventually(SOON, "another read", || async {
            let now = synced(&bench.ready("db", "True", "SecretSynced").await);
            if now != before { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        assert_eq!(secrets.get("db").await.unwrap().metadata.resource_version, version);
    };
    read_again(&bench).await;
    let status = bench.process.stop().await;
    assert!(status.success(), "{status}: {}", bench.process.tail(20));
    (bench.process, bench.metrics) = Bench::operator(bench.plane, &bench.namespace);
    read_again(&bench).await;

    bao.write_kv2("es-random", "db", &json!({"password": "two"})).await;
    let second = changed(&id(&first), "two").await;
    let edit = json!({ "data": { "id": "Y2hhbmdlZA==" } });
    secrets.patch("db", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    changed(&id(&second), "two").await;
}
