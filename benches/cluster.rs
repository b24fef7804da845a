//! Ours beside the real Sealed Secrets controller, each on an API server of its own, in one run. Prints tables.
//!
//! `make bench` runs it in the sandbox; alone: `tests/rig/sandbox.sh cargo bench --offline --bench cluster`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, clippy::indexing_slicing)]

#[path = "../tests/rig/mod.rs"]
#[allow(unused_imports)]
mod rig;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use latchwork::pure::sealed::generate::{NewKey, generate};

use rig::control_plane::{ControlPlane, Options};
use rig::operator::Operator;
use rig::process::{Proc, command, run_ok};
use rig::sealed_controller::SealedController;
use rig::wait::eventually;
use rig::{scratch, tools};

/// Where the objects live. Not the controller's own namespace: that holds the sealing keys.
const NAMESPACE: &str = "bench";
/// The peer opens seven objects a second when the machine is busy: 5,000 of them take it twelve minutes.
const LIMIT: Duration = Duration::from_secs(1800);

/// Who is measured.
enum Contender {
    Ours(Operator),
    Real(SealedController),
}

impl Contender {
    async fn start(plane: &ControlPlane, who: &str) -> Self {
        match who {
            "latchwork" => Self::Ours(Operator::start_everywhere(&plane.kubeconfig, "default", &[]).await),
            "real, unthrottled" => {
                Self::Real(SealedController::start(plane, "default", &["--kubeclient-qps=-1"]).await)
            }
            _ => Self::Real(SealedController::start(plane, "default", &[]).await),
        }
    }

    fn process(&self) -> &Proc {
        match self {
            Self::Ours(operator) => &operator.process,
            Self::Real(controller) => &controller.process,
        }
    }

    /// Asks it to end, as a Deployment does that rolls out, and waits.
    async fn stop(self) {
        let status = self.process().stop().await;
        assert!(status.success(), "{status}: {}", self.process().tail(10));
    }

    async fn certificate(&self) -> String {
        let url = match self {
            Self::Ours(operator) => &operator.url,
            Self::Real(controller) => &controller.url,
        };
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        eventually(LIMIT, "the certificate", || async {
            let answer = http.get(format!("{url}/v1/cert.pem")).send().await.map_err(|e| e.to_string())?;
            let answer = answer.error_for_status().map_err(|e| e.to_string())?;
            answer.text().await.map_err(|e| e.to_string())
        })
        .await
    }

    /// Resident bytes now and at their highest, in MiB.
    fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process().pid())).expect("runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("in every status");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Seconds of CPU so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process().pid())).expect("runs");
        let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
        let ticks: f64 = after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        ticks / 100.0
    }
}

/// Seals `count` Secrets of two entries with the real kubeseal, in one process.
fn sealed(certificate: &str, prefix: &str, count: usize) -> Vec<DynamicObject> {
    let certificate = scratch::file("cert.pem", certificate);
    let secrets: String = (0..count)
        .map(|n| {
            format!(
                "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {prefix}-{n}, namespace: {NAMESPACE}}}\nstringData: {{user: u{n}, password: p{n}}}\n"
            )
        })
        .collect();
    let mut kubeseal = command(tools::path("kubeseal"));
    kubeseal.args(["--format", "yaml", "--cert"]).arg(certificate).env("KUBECONFIG", "/nonexistent");
    let text = run_ok(kubeseal, secrets.as_bytes());
    text.split("\n---\n").filter(|part| part.contains("kind:")).map(parse).collect()
}

fn parse(yaml: &str) -> DynamicObject {
    serde_saphyr::from_str(yaml.trim_start_matches("---\n")).expect("kubeseal writes YAML")
}

fn sealed_api(client: &Client) -> Api<DynamicObject> {
    let resource = kube::api::ApiResource {
        group: "bitnami.com".into(),
        version: "v1alpha1".into(),
        api_version: "bitnami.com/v1alpha1".into(),
        kind: "SealedSecret".into(),
        plural: "sealedsecrets".into(),
    };
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

async fn create_all(client: &Client, objects: &[DynamicObject]) {
    let api = sealed_api(client);
    futures::stream::iter(objects.iter().map(Ok::<_, kube::Error>))
        .try_for_each_concurrent(16, |object| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), object).await.map(drop) }
        })
        .await
        .expect("created");
}

/// How many Secrets the namespace has. Asked for one object and the number of those behind it: lists of everything, time
/// and again, would take the server as long as what is measured.
async fn secrets(client: &Client) -> Result<usize, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let first = api.list_metadata(&ListParams::default().limit(1)).await.map_err(|e| e.to_string())?;
    let behind = first.metadata.remaining_item_count.unwrap_or_default();
    Ok(first.items.len() + usize::try_from(behind).expect("a count"))
}

async fn wait_for_secrets(client: &Client, count: usize) {
    eventually(LIMIT, "all Secrets", || async {
        let found = secrets(client).await?;
        if found == count { Ok(()) } else { Err(format!("{found} of {count}")) }
    })
    .await;
}

async fn wait_for_secret(client: &Client, name: &str) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    eventually(LIMIT, name, || async {
        let found = secrets.get_metadata_opt(name).await.map_err(|e| e.to_string())?;
        found.map(drop).ok_or_else(|| "not there".to_owned())
    })
    .await;
}

async fn plane() -> (ControlPlane, Client) {
    let plane = ControlPlane::start(Options::default()).await;
    plane.install_crds();
    plane.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"));
    let client = plane.client().await;
    (plane, client)
}

/// One object at a time: from the answer to its creation until its Secret can be read.
async fn latency(client: &Client, certificate: &str) -> Vec<f64> {
    let (api, secrets) = (sealed_api(client), Api::<Secret>::namespaced(client.clone(), NAMESPACE));
    let mut took = vec![];
    for object in sealed(certificate, "one", 20) {
        let name = object.metadata.name.clone().expect("named");
        let started = Instant::now();
        api.create(&PostParams::default(), &object).await.expect("created");
        while secrets.get_metadata_opt(&name).await.expect("readable").is_none() {
            assert!(started.elapsed() < LIMIT, "{name} never came");
        }
        took.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    // In the order of creation: the first one is looked at apart.
    took
}

async fn speed() {
    const MANY: usize = 100;
    println!("\n## From a SealedSecret to its Secret\n");
    println!("One key, RSA 4096, two entries each. Alone: 20 objects one after the other. Together: {MANY} at once.\n");
    println!("| | the first | alone, median | alone, slowest | {MANY} together | objects a second | CPU an object |");
    println!("|---|---|---|---|---|---|---|");
    for who in contenders(&["latchwork", "real, unthrottled", "real, as shipped"]) {
        let (plane, client) = plane().await;
        let contender = Contender::start(&plane, who).await;
        let certificate = contender.certificate().await;
        let mut took = latency(&client, &certificate).await;
        let first = took[0];
        took.sort_by(f64::total_cmp);
        let objects = sealed(&certificate, "many", MANY);
        // A throttle's burst must not carry over from the objects before.
        if who == "real, as shipped" {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let before = secrets(&client).await.expect("readable");
        let (cpu, started) = (contender.cpu(), Instant::now());
        create_all(&client, &objects).await;
        wait_for_secrets(&client, before + MANY).await;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "| {who} | {first:.0} ms | {:.0} ms | {:.0} ms | {seconds:.2} s | {:.0} | {:.1} ms |",
            took[took.len() / 2],
            took[took.len() - 1],
            MANY as f64 / seconds,
            (contender.cpu() - cpu) * 1000.0 / MANY as f64
        );
    }
}

/// Sealing keys as so many months of renewals leave them: their Secrets, and their certificates.
fn keys_of(months: i64) -> (Vec<String>, Vec<String>) {
    let made = (0..months).map(|month| {
        let new = NewKey {
            bits: 4096,
            common_name: String::new(),
            now: Timestamp::now() - SignedDuration::from_hours(24 * 30 * (months - 1 - month)),
            validity: SignedDuration::from_hours(24 * 3650),
        };
        let key = generate(&new).expect("generates");
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": format!("key-{month}"), "namespace": "default",
                          "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": "active" } },
            "stringData": { "tls.key": key.key_pem.as_str(), "tls.crt": key.cert_pem },
        });
        (secret.to_string(), key.cert_pem)
    });
    made.unzip()
}

/// Those of them that LATCHWORK_BENCH_ONLY names by a part of their name, to see quickly what a change brought; else all.
fn contenders(all: &[&'static str]) -> Vec<&'static str> {
    let only = std::env::var("LATCHWORK_BENCH_ONLY").unwrap_or_default();
    all.iter().copied().filter(|who| who.contains(&only)).collect()
}

/// Versions of all Secrets and SealedSecrets of the namespace.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secrets = secrets.list_metadata(&ListParams::default()).await.expect("readable");
    let sealed = sealed_api(client).list_metadata(&ListParams::default()).await.expect("readable");
    let metas = secrets.items.into_iter().map(|o| ("Secret", o.metadata));
    metas
        .chain(sealed.items.into_iter().map(|o| ("SealedSecret", o.metadata)))
        .map(|(kind, meta)| {
            (format!("{kind} {}", meta.name.unwrap_or_default()), meta.resource_version.unwrap_or_default())
        })
        .collect()
}

/// Waits until neither a version nor the processor moves any more.
async fn quiet(client: &Client, contender: &Contender) {
    let mut before = (versions(client).await, contender.cpu());
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = (versions(client).await, contender.cpu());
        if now.0 == before.0 && now.1 - before.1 < 0.25 {
            return;
        }
        before = now;
    }
}

/// A server that has sealing keys, and `count` SealedSecrets spread over them that nobody has opened yet.
async fn sealed_cluster(keys: &(Vec<String>, Vec<String>), count: usize) -> (ControlPlane, Client) {
    let (secrets, certificates) = keys;
    let (plane, client) = plane().await;
    secrets.iter().for_each(|key| plane.apply(key));
    for (month, certificate) in certificates.iter().enumerate() {
        let share = count / certificates.len() + usize::from(month < count % certificates.len());
        create_all(&client, &sealed(certificate, &format!("many-{month}"), share)).await;
    }
    (plane, client)
}

/// Few enough objects that the peer can be waited for as it is shipped.
async fn cold() {
    const OBJECTS: usize = 200;
    println!("\n## {OBJECTS} SealedSecrets of two entries, 3 keys, cold\n");
    println!("All exist, no Secret does; from the start of the program until the last Secret.\n");
    println!("| | all | objects a second | CPU an object |");
    println!("|---|---|---|---|");
    let keys = keys_of(3);
    for who in contenders(&["latchwork", "real, unthrottled", "real, as shipped"]) {
        let (plane, client) = sealed_cluster(&keys, OBJECTS).await;
        let started = Instant::now();
        let contender = Contender::start(&plane, who).await;
        wait_for_secrets(&client, OBJECTS).await;
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), contender.cpu());
        println!(
            "| {who} | {seconds:.2} s | {:.1} | {:.1} ms |",
            OBJECTS as f64 / seconds,
            cpu * 1000.0 / OBJECTS as f64
        );
    }
}

/// A year-old cluster: started cold, started again, and with values that no key opens.
async fn scale() {
    let objects: usize = std::env::var("LATCHWORK_BENCH_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5000);
    let flood = 50;
    println!("\n## {objects} SealedSecrets of two entries, 12 keys\n");
    println!(
        "Cold: all exist, no Secret does; from the start of the program until the last Secret. Restart: from the start"
    );
    println!(
        "until nothing moves any more (seen every 5 s); objects written by it. Flood: {flood} objects that no key opens,"
    );
    println!("then a good one: time until its Secret.\n");
    println!(
        "| | cold | objects a second | CPU an object | resident | restart, CPU | restart, writes | behind a flood |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let keys = keys_of(12);
    for who in contenders(&["latchwork", "real, unthrottled"]) {
        let (plane, client) = sealed_cluster(&keys, objects).await;
        let started = Instant::now();
        let contender = Contender::start(&plane, who).await;
        wait_for_secrets(&client, objects).await;
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), contender.cpu());
        let (resident, _) = contender.memory();
        quiet(&client, &contender).await;
        contender.stop().await;

        let before = versions(&client).await;
        let contender = Contender::start(&plane, who).await;
        quiet(&client, &contender).await;
        let again = contender.cpu();
        let after = versions(&client).await;
        let written = after.iter().filter(|(name, version)| before.get(*name) != Some(*version)).count();

        // Sealed with a key that is not there.
        let (_, foreign) = keys_of(1);
        create_all(&client, &sealed(&foreign[0], "bad", flood)).await;
        let good = sealed(&keys.1[11], "good", 1);
        let from = Instant::now();
        create_all(&client, &good).await;
        // Asked for by name: lists of everything would cost the server more than what is measured.
        wait_for_secret(&client, "good-0").await;
        println!(
            "| {who} | {seconds:.1} s | {:.0} | {:.1} ms | {resident:.0} MiB | {again:.1} s | {written} | {:.1} s |",
            objects as f64 / seconds,
            cpu * 1000.0 / objects as f64,
            from.elapsed().as_secs_f64()
        );
    }
}

async fn memory() {
    const SEALED: usize = 100;
    const FOREIGN: usize = 20_000;
    println!("\n## Resident memory\n");
    println!(
        "{SEALED} SealedSecrets of two entries, and {FOREIGN} Secrets of 8 KiB that are nobody's business. Started"
    );
    println!("when all of them exist already; measured when every SealedSecret has its Secret.\n");
    println!("| | start to all done | resident | highest |");
    println!("|---|---|---|---|");
    for who in contenders(&["latchwork", "real, unthrottled"]) {
        let (plane, client) = plane().await;
        // The key must exist before the objects can be sealed: a first start makes it.
        let first = Contender::start(&plane, who).await;
        let certificate = first.certificate().await;
        first.stop().await;
        foreign(&client, FOREIGN).await;
        create_all(&client, &sealed(&certificate, "many", SEALED)).await;
        let started = Instant::now();
        let contender = Contender::start(&plane, who).await;
        wait_for_secrets(&client, SEALED).await;
        let seconds = started.elapsed().as_secs_f64();
        let (resident, highest) = contender.memory();
        println!("| {who} | {seconds:.1} s | {resident:.0} MiB | {highest:.0} MiB |");
    }
}

async fn foreign(client: &Client, count: usize) {
    let api: Api<Secret> = Api::namespaced(client.clone(), "kube-public");
    let value = ByteString(vec![b'x'; 8 * 1024]);
    futures::stream::iter(0..count)
        .map(Ok::<_, kube::Error>)
        .try_for_each_concurrent(16, |n| {
            let secret = Secret {
                metadata: ObjectMeta { name: Some(format!("foreign-{n}")), ..Default::default() },
                data: Some(BTreeMap::from([("blob".to_owned(), value.clone())])),
                ..Default::default()
            };
            let api = api.clone();
            async move { api.create(&PostParams::default(), &secret).await.map(drop) }
        })
        .await
        .expect("created");
}

fn main() {
    rig::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        // One table alone: `cargo bench --bench cluster -- scale`.
        let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
        if asked("speed") {
            speed().await;
        }
        if asked("cold") {
            cold().await;
        }
        if asked("scale") {
            scale().await;
        }
        if asked("memory") {
            memory().await;
        }
    });
}
