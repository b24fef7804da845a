//! What a kind hands to the operator, and what it gets.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, Reconcile};
use super::metrics::Metrics;
use super::settings::Settings;
use crate::adapters::k8s::Cluster;
use crate::adapters::k8s::events::Recorder;
use crate::adapters::k8s::lease::Leadership;
use crate::adapters::k8s::watch::{Change, Scope, SecretMeta, Store};
use crate::adapters::k8s::writer::Writer;
use crate::pure::secret::FingerprintKey;

/// What every kind works with.
pub struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// The one writer of Secrets.
    pub writer: Writer,
    /// Events.
    pub events: Recorder,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Namespace of the operator.
    pub namespace: String,
    /// Settings.
    pub settings: Settings,
    /// Metadata of all Secrets in scope.
    pub secrets: Arc<Store<SecretMeta>>,
    /// Key of this process's fingerprints.
    pub fingerprints: FingerprintKey,
    /// Cancelled when the program stops.
    pub stop: CancellationToken,
}

impl Context {
    /// Where to watch the objects of a namespaced kind.
    pub fn scope(&self) -> Scope {
        Scope { namespace: self.settings.watch_namespace.clone(), labels: String::new() }
    }
}

/// Called after each change of a Secret's metadata, on every replica. Must not block.
pub type OnSecret = Box<dyn Fn(&Change<'_, SecretMeta>) + Send + Sync>;

/// One kind, ready to run.
pub struct Part {
    /// Its queue.
    pub driver: Arc<Driver>,
    /// Its work.
    pub reconciler: Arc<dyn Reconcile>,
    /// Watches and loops, run until the stop on every replica, leading or not.
    pub tasks: Vec<BoxFuture<'static, ()>>,
    /// Whether its work starts after the first list of Secrets only, since it concludes from what is absent there.
    pub waits_for_secrets: bool,
    /// Whether its caches are filled, with a word for people when they are not. Work starts, and `/readyz` is 200, only
    /// then.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Interest in Secrets.
    pub on_secret: Option<OnSecret>,
    /// HTTP routes on the main listener.
    pub routes: Option<axum::Router>,
}

/// Makes a part.
pub type MakePart = fn(&Arc<Context>) -> Part;

/// Secret interests of all parts, filled once before the watch starts.
pub(super) type Interests = Arc<Mutex<Vec<OnSecret>>>;
