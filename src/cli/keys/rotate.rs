//! `latchwork keys rotate`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::ring::{ClusterArgs, Order, Ring};
use super::say;
use crate::adapters::k8s::service_proxy::{self, Replica};
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::Explain as _;
use crate::pure::sealed::backup;
use crate::pure::sealed::generate::{NewKey, generate};
use crate::pure::sealed::keys::{Certificate, SealingKey};

/// Between two rounds of questions to the replicas.
const ROUND: Duration = Duration::from_millis(500);

/// Longest wait for one replica's answer: one that hangs must not hide the others.
const ANSWER: Duration = Duration::from_secs(5);

/// What is said of a replica that answers with a key that was there before.
const STALE: &str = "still serves";

/// Ten years of 365 days: the controller's default.
const DEFAULT_VALIDITY_DAYS: i64 = 3650;

/// Make a new sealing key now, and wait until every replica of the controller serves it.
///
/// The key is what the controller's own renewal would make: of the size, validity, common name, labels and annotations
/// of the present one. It seals from then on; the old keys still open. The replicas are found by the Service's endpoints
/// and asked for their certificate through the API server, which needs `get` on `pods/proxy` and `list` on
/// `endpointslices`.
#[derive(Args)]
pub struct RotateArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Service of the controller: latchwork, or sealed-secrets-controller
    #[arg(long, value_name = "NAME", default_value = "latchwork")]
    service: String,
    /// Seconds to wait for the replicas
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Make the key and do not wait
    #[arg(long)]
    no_wait: bool,
    /// Bits of the new key: 2048, 3072, 4096 or 8192 [default: those of the present key]
    #[arg(long, value_name = "BITS")]
    key_size: Option<usize>,
}

pub(super) async fn run(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let ring = Ring::read(&args.cluster).await?;
    let Some(current) = ring.keys.current().cloned() else {
        bail!("no key of namespace {} is active; the controller makes one by itself", ring.namespace);
    };
    if !args.no_wait {
        // Asked before anything is made: a wrong name must not cost a key.
        replicas(&ring, &args.service).await?;
    }
    let secret = ring.secret(current.name())?;
    let name = make(args, &ring, &current, secret).await?;
    let ring = ring.again(&args.cluster).await?;
    let made = ring.keys.by_name(&name).with_context(|| format!("Secret {name} was made and cannot be read"))?;
    say(&format!("made sealing key {name} ({})", made.fingerprint()))?;
    if ring.keys.current().is_none_or(|current| current.name() != name) {
        let newest = ring.keys.current().map(|key| key.name().to_owned()).unwrap_or_default();
        bail!(
            "{newest} stays the active key: its certificate begins later than now; it is used until one begins after it"
        );
    }
    if args.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let count = wait(args, &ring, made).await?;
    say(&format!("all {count} replicas of {}/{} serve it", ring.namespace, args.service))?;
    say(
        "it stands in no backup yet: run `latchwork keys backup`; then `latchwork rekey` the files in Git, and see `latchwork keys status`",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a key after the pattern of the current one. Returns the name of its Secret.
async fn make(args: &RotateArgs, ring: &Ring, current: &SealingKey, secret: &ObservedSecret) -> anyhow::Result<String> {
    // Certificates and Secrets count whole seconds: a key of the same second would be ordered by its name.
    let first = current.order_time(args.cluster.order.into());
    while Timestamp::now().as_second() == first.as_second() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let certificate = current.certificate();
    let validity = certificate.map(|c| c.not_after().duration_since(c.not_before()));
    let new = NewKey {
        bits: args.key_size.unwrap_or_else(|| current.bits()),
        common_name: certificate.map(Certificate::common_name).unwrap_or_default().to_owned(),
        now: Timestamp::now(),
        validity: validity.unwrap_or(SignedDuration::from_hours(24 * DEFAULT_VALIDITY_DAYS)),
    };
    let made = generate(&new)?;
    let mut labels = secret.labels.clone();
    labels.remove(SEALING_KEY_LABEL);
    let mut annotations = secret.annotations.clone();
    let own = [backup::BACKUP, backup::VERIFIED, backup::CREATED, "kubectl.kubernetes.io/last-applied-configuration"];
    annotations.retain(|name, _| !own.contains(&name.as_str()));
    labels.retain(|name, _| !of_a_deployer(name));
    annotations.retain(|name, _| !of_a_deployer(name));
    let made = made.into_secret(&ring.namespace, &args.cluster.key_prefix, &labels, &annotations);
    ring.writer().create_sealing_key(&made).await.map_err(|error| anyhow::anyhow!(error.line()))
}

/// Marks by which a tool knows what it deployed. On a key that it did not, they would have it pruned.
fn of_a_deployer(name: &str) -> bool {
    let group = name.split_once('/').map_or("", |(group, _)| group);
    ["app.kubernetes.io", "argocd.argoproj.io", "fluxcd.io", "helm.sh", "config.kubernetes.io"]
        .iter()
        .any(|known| group == *known || group.strip_suffix(known).is_some_and(|left| left.ends_with('.')))
}

async fn replicas(ring: &Ring, service: &str) -> anyhow::Result<Vec<Replica>> {
    let found = service_proxy::replicas(&ring.cluster, &ring.namespace, service).await;
    let found = found.map_err(|error| anyhow::anyhow!("{}; or pass --no-wait", error.line()))?;
    if found.is_empty() {
        bail!(
            "no ready replica stands behind Service {}/{service}, so nobody would serve a new key: name the controller's \
             Service with --service, look at its pods, or pass --no-wait",
            ring.namespace
        );
    }
    Ok(found)
}

/// Asks every replica until all serve the key. The list is read anew each time: replicas come and go.
async fn wait(args: &RotateArgs, ring: &Ring, made: &SealingKey) -> anyhow::Result<usize> {
    let limit = Duration::from_secs(args.timeout);
    let started = Instant::now();
    loop {
        let found = replicas(ring, &args.service).await;
        let mut missing = vec![];
        match &found {
            Ok(found) => {
                let answers = join_all(found.iter().map(|replica| serves(ring, replica, made))).await;
                let failed = found.iter().zip(answers).filter_map(|(replica, answer)| Some((replica, answer.err()?)));
                missing.extend(failed.map(|(replica, why)| format!("{}: {why}", replica.pod)));
            }
            Err(why) => missing.push(why.to_string()),
        }
        if missing.is_empty() {
            return Ok(found.map(|found| found.len()).unwrap_or_default());
        }
        if started.elapsed() >= limit {
            let order = match args.cluster.order {
                Order::Cert => "",
                Order::Secret => "; is --order that of the controller?",
            };
            let old = match missing.iter().any(|why| why.contains(STALE)) {
                true => {
                    "\na Sealed Secrets controller reads its keys at start: restart it, or start it with --watch-for-secrets"
                }
                false => "",
            };
            bail!(
                "after {} s not every replica serves the new key; the key {} stays, and nothing is lost:\n  {}\nlook at their \
                 logs, or wait longer with --timeout{order}{old}",
                args.timeout,
                made.name(),
                missing.join("\n  ")
            );
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn serves(ring: &Ring, replica: &Replica, made: &SealingKey) -> Result<(), String> {
    let asked = service_proxy::ask(&ring.cluster, &ring.namespace, replica, "/v1/cert.pem");
    let answer = tokio::time::timeout(ANSWER, asked).await.map_err(|_| "does not answer".to_owned())?;
    let answer = answer.map_err(|error| error.line())?;
    if !answer.status.is_success() {
        return Err(format!("answers {}", answer.status));
    }
    let served = Certificate::parse(&replica.pod, &answer.body).map_err(|error| error.to_string())?;
    if served.fingerprint() == made.fingerprint() {
        return Ok(());
    }
    let known = ring.keys.iter().find(|key| key.fingerprint() == served.fingerprint());
    Err(format!("{STALE} {}", known.map_or("another key", |key| key.name())))
}
