//! The real Sealed Secrets controller and ours, each on an API server of its own with the same sealing key: what users
//! do to SealedSecrets and Secrets is done to both, and what comes of it must be equal.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use latchwork::pure::crd::sealed_secret::SealedSecret;
use latchwork::pure::sealed::keys::Certificate;
use latchwork::pure::sealed::{Scope, item};
use latchwork::pure::secret::Plaintext;

use crate::rig::control_plane::{ControlPlane, Options};
use crate::rig::process::{Proc, called};
use crate::rig::sealed_controller::SealedController;
use crate::rig::wait::SOON;
use crate::rig::{self, tools};

const PREFIX: &str = "sealedsecrets.bitnami.com";

/// One side.
struct Side {
    client: Client,
    plane: ControlPlane,
    process: Proc,
}

/// What a user sees of one SealedSecret and its Secret.
#[derive(Clone, Debug, PartialEq, Default)]
struct Seen {
    secret: Value,
    synced: Option<(String, String)>,
    current: bool,
    events: BTreeSet<(String, String, String)>,
}

fn vector(name: &str) -> String {
    let path = tools::repository().join("tests/vectors/sealed").join(name);
    std::fs::read_to_string(path).expect("vector")
}

fn seal(scope: Scope, namespace: &str, name: &str, value: &str) -> String {
    let certificate = Certificate::parse("current", vector("keys/current.crt").as_bytes()).expect("certificate");
    let label = scope.label(namespace, name);
    STANDARD.encode(item::seal(&Plaintext::copy_of(value.as_bytes()), certificate.public(), &label).unwrap().to_bytes())
}

impl Side {
    async fn start(ours: bool) -> Self {
        let plane = ControlPlane::start(Options::default()).await;
        let crd = tools::repository().join("crds/bitnami.com_sealedsecrets.yaml");
        plane.apply(&std::fs::read_to_string(crd).expect("generated"));
        let key = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": "key", "namespace": "kube-system",
                          "labels": { format!("{PREFIX}/sealed-secrets-key"): "active" } },
            "stringData": { "tls.key": vector("keys/current.key"), "tls.crt": vector("keys/current.crt") },
        });
        plane.apply(&key.to_string());
        let arguments = ["--kubeclient-qps=-1", "--key-renew-period=0", "--rate-limit=1000"];
        let controller = match ours {
            true => SealedController::start_program(called("controller"), &plane, "kube-system", &arguments).await,
            false => SealedController::start(&plane, "kube-system", &arguments).await,
        };
        let client = plane.client().await;
        Self { client, plane, process: controller.process }
    }

    async fn see(&self, namespace: &str) -> Seen {
        let objects = Api::<SealedSecret>::namespaced(self.client.clone(), namespace);
        let object = objects.get_opt("db").await.expect("readable");
        let secret = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt("db").await.expect("readable");
        let uid = object.as_ref().and_then(|object| object.metadata.uid.clone()).unwrap_or_default();
        let status = object.as_ref().and_then(|object| object.status.clone()).unwrap_or_default();
        let generation = object.as_ref().and_then(|object| object.metadata.generation);
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let events = events.list(&ListParams::default()).await.expect("readable").items.into_iter();
        let text = |text: Option<String>| text.unwrap_or_default();
        Seen {
            secret: secret.map(|secret| plain(secret, &uid)).unwrap_or_default(),
            synced: status.synced().map(|c| (c.status.clone(), words(&c.message))),
            current: generation == status.observed_generation,
            events: events
                .filter(|event| event.involved_object.kind.as_deref() == Some("SealedSecret"))
                .map(|event| (text(event.type_), text(event.reason), words(&text(event.message))))
                .collect(),
        }
    }

    async fn act(&self, namespace: &str, step: &Step) {
        let (sealed, secrets) = (
            Api::<SealedSecret>::namespaced(self.client.clone(), namespace),
            Api::<Secret>::namespaced(self.client.clone(), namespace),
        );
        match step {
            Step::Apply(manifest) => self.plane.apply(&manifest.to_string()),
            Step::HandOver(annotations, manifest) => {
                let patch = json!({ "metadata": { "annotations": annotations } });
                secrets.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
                self.plane.apply(&manifest.to_string());
            }
            Step::DeleteSecret => drop(secrets.delete("db", &DeleteParams::default()).await.expect("deleted")),
            Step::Delete => drop(sealed.delete("db", &DeleteParams::default()).await.expect("deleted")),
        }
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a Secret that its maker decides.
fn plain(secret: Secret, owner: &str) -> Value {
    let mut value = serde_json::to_value(&secret).expect("serializes");
    let metadata = &value["metadata"];
    let mut owners = metadata["ownerReferences"].clone();
    for reference in owners.as_array_mut().into_iter().flatten() {
        let ours = reference["uid"] == owner;
        reference["uid"] = json!(ours);
    }
    let kept = json!({
        "labels": metadata["labels"], "annotations": metadata["annotations"], "finalizers": metadata["finalizers"],
        "owners": owners,
    });
    let managers = metadata["managedFields"].as_array().into_iter().flatten();
    // client-go takes the program's file name, which is another one in the tool cache than in the incumbent's image.
    let name =
        |manager: &Value| manager.as_str().unwrap_or_default().replace("sealed-secrets-controller", "controller");
    let managers: BTreeSet<_> =
        managers.map(|field| format!("{} {}", name(&field["manager"]), field["operation"])).collect();
    value["metadata"] = kept;
    value["managers"] = json!(managers);
    value
}

/// Equal, but that ours may say more after the words of the real one.
fn same(real: &Seen, ours: &Seen) -> Result<(), String> {
    let longer = |real: &str, ours: &str| {
        // Values of a refused Secret are never repeated, not even its type.
        let real = real.replace("Invalid value: \"example.com/kind\": ", "");
        ours.starts_with(&real) && (!real.is_empty() || ours.is_empty())
    };
    let synced = match (&real.synced, &ours.synced) {
        (Some(real), Some(ours)) => real.0 == ours.0 && longer(&real.1, &ours.1),
        (real, ours) => real == ours,
    };
    let covers = |(kind, reason, message): &(String, String, String)| {
        ours.events.iter().any(|event| event.0 == *kind && event.1 == *reason && longer(message, &event.2))
    };
    let events = real.events.iter().all(covers) && real.events.len() == ours.events.len();
    if synced && events && real.secret == ours.secret && real.current == ours.current {
        return Ok(());
    }
    Err(format!("\n  real {real:?}\n  ours {ours:?}"))
}

enum Step {
    Apply(Value),
    /// Annotates the Secret with the first, then applies the second.
    HandOver(Value, Value),
    DeleteSecret,
    Delete,
}

type Done = fn(&Seen) -> bool;
type Steps = Vec<(Step, Done)>;

fn opened(seen: &Seen) -> bool {
    seen.secret.is_object()
        && seen.synced.as_ref().is_some_and(|s| s.0 == "True")
        && !seen.events.is_empty()
        && seen.current
}

fn failed(seen: &Seen) -> bool {
    seen.synced.as_ref().is_some_and(|s| s.0 == "False") && !seen.events.is_empty() && seen.current
}

fn sealed(namespace: &str, annotations: Value, spec: Value) -> Value {
    json!({ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": spec,
            "metadata": { "name": "db", "namespace": namespace, "annotations": annotations } })
}

fn existing(namespace: &str, annotations: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "own": "value", "a": "theirs" },
            "metadata": { "name": "db", "namespace": namespace, "annotations": annotations, "labels": { "own": "label" } } })
}

/// Name of the case, and its steps in a namespace.
#[allow(clippy::too_many_lines, reason = "one table")]
fn scenarios(ns: &str) -> Vec<(&'static str, Steps)> {
    let strict = |value: &str| seal(Scope::Strict, ns, "db", value);
    let spec =
        |template: Value| json!({ "encryptedData": { "a": strict("1"), "b": strict("2") }, "template": template });
    let kind = |kind: &str| spec(json!({ "type": kind }));
    let apply = |spec: Value| Step::Apply(sealed(ns, json!({}), spec));
    let wide = |scope: &str, item: String| {
        Step::Apply(sealed(
            ns,
            json!({ format!("{PREFIX}/{scope}"): "true" }),
            json!({ "encryptedData": { "a": item } }),
        ))
    };
    let marked =
        |names: &[&str]| -> Value { names.iter().map(|name| (format!("{PREFIX}/{name}"), json!("true"))).collect() };
    let opaque = || spec(json!({ "type": "Opaque" }));
    vec![
        (
            "created, then updated",
            vec![
                (apply(opaque()), opened as Done),
                (
                    apply(
                        json!({ "encryptedData": { "b": strict("3") }, "template": { "type": "Opaque", "metadata": { "labels": { "x": "y" } } } }),
                    ),
                    |s| opened(s) && s.secret["data"]["b"] == STANDARD.encode("3"),
                ),
            ],
        ),
        ("namespace-wide", vec![(wide("namespace-wide", seal(Scope::NamespaceWide, ns, "", "v")), opened)]),
        ("cluster-wide", vec![(wide("cluster-wide", seal(Scope::ClusterWide, "", "", "v")), opened)]),
        (
            "both scopes",
            vec![(
                Step::Apply(sealed(
                    ns,
                    marked(&["cluster-wide", "namespace-wide"]),
                    json!({ "encryptedData": { "a": seal(Scope::ClusterWide, "", "", "v") } }),
                )),
                opened,
            )],
        ),
        (
            "a scope that is not true",
            vec![(Step::Apply(sealed(ns, json!({ format!("{PREFIX}/cluster-wide"): "yes" }), opaque())), opened)],
        ),
        ("the wrong scope", vec![(wide("cluster-wide", strict("v")), failed)]),
        (
            "the wrong name",
            vec![(
                apply(json!({ "encryptedData": { "a": strict("1"), "x": seal(Scope::Strict, ns, "other", "v") } })),
                failed,
            )],
        ),
        ("not base64", vec![(apply(json!({ "encryptedData": { "a": "*not*", "b": strict("1") } })), failed)]),
        ("cut short", vec![(apply(json!({ "encryptedData": { "a": "AgBB" } })), failed)]),
        (
            "everything in the template",
            vec![(
                apply(spec(json!({
                    "type": "kubernetes.io/basic-auth", "immutable": true,
                    "metadata": { "labels": { "l": "1" }, "annotations": { "n": "2" }, "name": "other", "namespace": "elsewhere" },
                    "data": { "password": "{{ .a }}-{{ index . \"b\" | b64enc }}", "a": "shadowed", "c": "{{ .missing }}" },
                }))),
                opened,
            )],
        ),
        (
            "only a template",
            vec![(
                apply(
                    json!({ "encryptedData": {}, "template": { "type": "Opaque", "data": { "t": "{{ add 1 2 }}" } } }),
                ),
                opened,
            )],
        ),
        ("nothing at all", vec![(apply(json!({ "encryptedData": {} })), opened)]),
        ("a template that fails", vec![(apply(spec(json!({ "data": { "t": "{{ fail \"no\" }}" } }))), failed)]),
        ("a template that cannot be read", vec![(apply(spec(json!({ "data": { "t": "{{ .a" } }))), failed)]),
        (
            "somebody else's Secret",
            vec![(Step::Apply(existing(ns, json!({}))), |s| s.secret.is_object()), (apply(opaque()), failed)],
        ),
        (
            "a managed Secret",
            vec![
                (Step::Apply(existing(ns, marked(&["managed"]))), |s| s.secret.is_object()),
                (apply(opaque()), opened),
            ],
        ),
        (
            "a patched Secret",
            vec![
                (Step::Apply(existing(ns, marked(&["patch"]))), |s| s.secret.is_object()),
                (apply(spec(json!({ "type": "Opaque", "metadata": { "labels": { "more": "labels" } } }))), opened),
            ],
        ),
        (
            "a managed and patched Secret",
            vec![
                (Step::Apply(existing(ns, marked(&["managed", "patch"]))), |s| s.secret.is_object()),
                (apply(opaque()), opened),
            ],
        ),
        (
            "no owner",
            vec![(
                apply(spec(
                    json!({ "type": "Opaque", "metadata": { "annotations": marked(&["skip-set-owner-references", "managed"]) } }),
                )),
                opened,
            )],
        ),
        ("a deleted Secret", vec![(apply(opaque()), opened), (Step::DeleteSecret, opened)]),
        ("a deleted SealedSecret", vec![(apply(opaque()), opened), (Step::Delete, |s| s.secret.is_null())]),
        ("another type", vec![(apply(kind("Opaque")), opened), (apply(kind("example.com/kind")), failed)]),
        (
            "an immutable Secret",
            vec![
                (apply(spec(json!({ "type": "Opaque", "immutable": true }))), opened),
                (
                    apply(
                        json!({ "encryptedData": { "a": strict("new") }, "template": { "type": "Opaque", "immutable": true } }),
                    ),
                    failed,
                ),
            ],
        ),
        (
            "a Secret that is handed over",
            vec![
                (Step::Apply(existing(ns, json!({}))), |s| s.secret.is_object()),
                (apply(opaque()), failed),
                // The real one looks again only when the spec changes, ours at once: only what both come to is compared.
                (
                    Step::HandOver(
                        marked(&["managed"]),
                        sealed(
                            ns,
                            json!({}),
                            json!({ "encryptedData": { "a": strict("new") }, "template": { "type": "Opaque" } }),
                        ),
                    ),
                    |s| opened(s) && s.secret["data"]["a"] == STANDARD.encode("new"),
                ),
            ],
        ),
        ("the deprecated form", vec![(apply(json!({ "encryptedData": {}, "data": deprecated(ns) })), opened)]),
        ("both forms", vec![(apply(json!({ "encryptedData": { "a": strict("1") }, "data": deprecated(ns) })), failed)]),
    ]
}

fn deprecated(namespace: &str) -> String {
    let secret = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "other", "creationTimestamp": null,
        "labels": { "from": "inside" } }, "type": "Opaque", "data": { "a": "MQ==" } });
    seal(Scope::Strict, namespace, "db", &secret.to_string())
}

#[tokio::test]
async fn what_comes_of_every_change_is_equal() {
    rig::require_sandbox("the Sealed Secrets controller");
    let (real, ours) = tokio::join!(Side::start(false), Side::start(true));
    let mut differences = vec![];
    for (index, _) in scenarios("any").iter().enumerate() {
        let namespace = format!("case-{index}");
        let (name, steps) = scenarios(&namespace).swap_remove(index);
        for side in [&real, &ours] {
            side.plane.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"));
        }
        for (number, (step, done)) in steps.iter().enumerate() {
            for side in [&real, &ours] {
                side.act(&namespace, step).await;
            }
            let mut why = String::new();
            let equal = async {
                loop {
                    real.process.assert_running();
                    ours.process.assert_running();
                    let (real, ours) = (real.see(&namespace).await, ours.see(&namespace).await);
                    why = match same(&real, &ours) {
                        Ok(()) if done(&real) => break,
                        Ok(()) => format!("not done: {real:?}"),
                        Err(why) => why,
                    };
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            // Every case is looked at, so that one run shows all differences.
            if tokio::time::timeout(SOON, equal).await.is_err() {
                differences.push(format!("{name}, step {number}: {why}"));
                break;
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
