//! Starts everything, in an order in which nothing waits for what comes later, and stops it in reverse.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::{self, Readiness};
use super::metrics::Metrics;
use super::part::{Context, Interests, MakePart, Part};
use super::settings::Settings;
use crate::adapters::k8s::events::Recorder;
use crate::adapters::k8s::lease::{Elector, Leadership};
use crate::adapters::k8s::watch::{self, Health, Scope, Store};
use crate::adapters::k8s::writer::Writer;
use crate::adapters::k8s::{ApiError, Cluster};
use crate::pure::queue::Lane;
use crate::pure::secret::FingerprintKey;

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cluster.
    #[error(transparent)]
    Cluster(#[from] ApiError),
    /// A listener's address is taken or not ours.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    /// The system gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

/// Runs the given kinds until `stop`. Returns when everything has ended.
pub async fn run(settings: Settings, kinds: &[MakePart], stop: CancellationToken) -> Result<(), StartError> {
    let cluster = if settings.in_cluster_only {
        Cluster::in_cluster()?
    } else {
        Cluster::connect(settings.kubeconfig.as_deref(), settings.context.as_deref()).await?
    };
    let namespace = settings.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let main_listener = http::bind(settings.listen, "HTTP").await?;
    let metrics_listener = http::bind(settings.listen_metrics, "metrics").await?;
    let metrics = Metrics::new();
    let identity = identity()?;

    // Work stops before the lease is given back: two tokens.
    let (work, lease) = (CancellationToken::new(), CancellationToken::new());
    let mut election = JoinSet::new();
    let leadership = if settings.leader_elect {
        let (elector, leadership) = Elector::new(
            cluster.clone(),
            (settings.lock, &namespace, &settings.lease_name),
            &identity,
            settings.lease_timing,
        );
        election.spawn(elector.run(lease.clone()));
        leadership
    } else {
        Leadership::always()
    };

    let context = Arc::new(Context {
        writer: Writer::new(cluster.clone(), leadership.clone()),
        events: Recorder::start(cluster.clone(), identity),
        metrics: metrics.clone(),
        leadership,
        namespace,
        secrets: Arc::new(Store::default()),
        fingerprints: FingerprintKey::new(random_key()?),
        stop: work.clone(),
        cluster,
        settings,
    });
    let mut parts: Vec<Part> = kinds.iter().map(|make| make(&context)).collect();

    let readiness = readiness(&context, &parts);
    let routes = parts.iter_mut().filter_map(|part| part.routes.take()).collect();
    let mut tasks = JoinSet::new();
    let times = context.settings.http_times;
    tasks.spawn(http::serve(main_listener, http::main_router(readiness, routes), times, work.clone()));
    tasks.spawn(http::serve(metrics_listener, http::metrics_router(metrics.clone()), times, work.clone()));
    tasks.spawn(watch_secrets(&context, &mut parts));
    tasks.spawn(observe(context.clone(), parts.iter().map(|part| part.driver.clone()).collect()));
    for part in parts {
        start_part(&mut tasks, &context, part);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = %context.namespace, "operator started");

    stop.cancelled().await;
    tracing::info!("stopping");
    work.cancel();
    while tasks.join_next().await.is_some() {}
    lease.cancel();
    while election.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

fn start_part(tasks: &mut JoinSet<()>, context: &Arc<Context>, part: Part) {
    for task in part.tasks {
        let stop = context.stop.clone();
        tasks.spawn(async move {
            tokio::select! { () = task => {}, () = stop.cancelled() => {} }
        });
    }
    let (driver, reconciler, ready, waits) = (part.driver, part.reconciler, part.ready, part.waits_for_secrets);
    let (context, stop) = (context.clone(), context.stop.clone());
    tasks.spawn(async move {
        // Half a second is far below what anybody waits for at start, and needs no wiring between caches.
        let filled = async {
            if waits {
                context.secrets.settled().await;
            }
            while ready().is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! { () = filled => {}, () = stop.cancelled() => return }
        let (workers, leadership) = (context.settings.workers, context.leadership.clone());
        driver.run(reconciler, workers, leadership, context.metrics.clone(), stop).await;
    });
}

fn watch_secrets(context: &Arc<Context>, parts: &mut [Part]) -> impl Future<Output = ()> + use<> {
    let interests: Interests = Arc::new(Mutex::new(parts.iter_mut().filter_map(|p| p.on_secret.take()).collect()));
    let scope = Scope { namespace: context.settings.watch_namespace.clone(), labels: String::new() };
    let (cluster, store, stop) = (context.cluster.clone(), context.secrets.clone(), context.stop.clone());
    async move {
        let on = |change: watch::Change<'_, watch::SecretMeta>| {
            for interest in interests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                interest(&change);
            }
        };
        watch::secrets(cluster, scope, store, on, stop).await;
    }
}

fn readiness(context: &Arc<Context>, parts: &[Part]) -> Readiness {
    let checks: Vec<_> = parts.iter().map(|part| (part.driver.kind(), part.ready.clone())).collect();
    let secrets = context.secrets.clone();
    Arc::new(move || {
        let mut missing: Vec<String> =
            checks.iter().filter_map(|(kind, ready)| ready().err().map(|why| format!("{kind}: {why}"))).collect();
        match secrets.health() {
            Health::Starting => missing.push("Secret: the first list has not arrived".into()),
            Health::Failing(reason) if secrets.is_empty() => missing.push(format!("Secret: {reason}")),
            _ => {}
        }
        missing
    })
}

/// Keeps the gauges that nothing else sets.
async fn observe(context: Arc<Context>, drivers: Vec<Arc<super::driver::Driver>>) {
    let lanes =
        [(Lane::Change, "change"), (Lane::Retry, "retry"), (Lane::Search, "search"), (Lane::Refresh, "refresh")];
    loop {
        context.metrics.leads(context.leadership.leads());
        for driver in &drivers {
            for (lane, name) in lanes {
                context.metrics.queue_depth(driver.kind(), name, driver.depth(lane));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {},
            () = context.stop.cancelled() => return,
        }
    }
}

/// Names this replica: the pod's name where there is one, and a random part, since a restarted container keeps the
/// pod's name but must not take its predecessor's lease for its own.
fn identity() -> Result<String, StartError> {
    let [a, b, c, d, ..] = random_key()?;
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "latchwork".into());
    Ok(format!("{host}_{}", hex::encode([a, b, c, d])))
}

fn random_key() -> Result<[u8; 32], StartError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| StartError::Random(e.to_string()))?;
    Ok(key)
}
