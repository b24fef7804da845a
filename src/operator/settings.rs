//! What the operator can be told. Every field has a flag and a variable on the command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::k8s::lease::Timing;
use crate::adapters::k8s::lock::LockKind;
use crate::pure::keys::allow::KeyAllowList;
use crate::pure::sealed::KeyOrder;

/// How long one request may take. A client that sends a byte a minute must not hold a connection for ever.
#[derive(Clone, Copy, Debug)]
pub struct HttpTimes {
    /// For the request: its head, and then its body.
    pub read: Duration,
    /// For the work and the answer.
    pub write: Duration,
}

impl Default for HttpTimes {
    fn default() -> Self {
        Self { read: Duration::from_secs(30), write: Duration::from_secs(30) }
    }
}

/// Settings of one operator process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kubeconfig file; `None` means KUBECONFIG, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Context in it.
    pub context: Option<String>,
    /// Only a pod's service account is accepted, as the incumbent controllers do.
    pub in_cluster_only: bool,
    /// Namespace of the operator itself: sealing keys and the lease live there.
    pub namespace: Option<String>,
    /// Namespace to work on; `None` for all.
    pub watch_namespace: Option<String>,
    /// Health, readiness and the kinds' routes.
    pub listen: SocketAddr,
    /// Metrics.
    pub listen_metrics: SocketAddr,
    /// Takes part in a leader election; off for a program that runs alone.
    pub leader_elect: bool,
    /// What the election goes by.
    pub lock: LockKind,
    /// Its name.
    pub lease_name: String,
    /// Its times.
    pub lease_timing: Timing,
    /// Objects of one kind worked on at a time.
    pub workers: usize,
    /// How long a client may take to send one request, and how long the answer may take.
    pub http_times: HttpTimes,
    /// Sealing keys.
    pub sealing: SealingSettings,
    /// Key services that SOPS files may name.
    pub key_services: KeyServiceSettings,
}

/// Which key services may be contacted, and with whose rights. Nothing, unless said.
#[derive(Clone, Debug, Default)]
pub struct KeyServiceSettings {
    /// With the credentials that a source brings.
    pub allowed: KeyAllowList,
    /// With the operator's own identity, for the sources of one namespace, or of all.
    granted: Vec<(Option<String>, KeyAllowList)>,
}

impl KeyServiceSettings {
    /// `allow` are beginnings of keys, `ambient` the same, each for all namespaces or as `NAMESPACE=KEY` for one.
    ///
    /// # Errors
    /// A text that says which entry is wrong and why.
    pub fn parse(allow: &[String], ambient: &[String]) -> Result<Self, String> {
        let allowed = KeyAllowList::parse(allow.iter().map(String::as_str))?;
        let grant = |entry: &String| {
            let (namespace, key) = match entry.split_once('=') {
                Some((namespace, key)) => (Some(namespace.trim().to_owned()), key),
                None => (None, entry.as_str()),
            };
            KeyAllowList::parse([key]).map(|list| (namespace, list))
        };
        Ok(Self { allowed, granted: ambient.iter().map(grant).collect::<Result<_, _>>()? })
    }

    /// What the operator's own identity may be used for on behalf of a namespace.
    pub fn ambient(&self, namespace: &str) -> KeyAllowList {
        let granted = self.granted.iter().filter(|(whose, _)| whose.as_deref().is_none_or(|whose| whose == namespace));
        granted.fold(KeyAllowList::new(), |all, (_, list)| all.with(list))
    }
}

/// Who may ask whether a SealedSecret opens, and have it sealed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Nobody: both paths answer 404.
    Off,
    /// Whoever can reach the operator, as with the incumbent.
    Open,
    /// Whose bearer token belongs to a user who may create `sealedsecrets/verify` or `sealedsecrets/rotate` (group
    /// `bitnami.com`) in the namespace of the object.
    Authorised,
}

/// Settings of the sealing keys; names, meaning and defaults are the Sealed Secrets controller's.
#[derive(Clone, Debug)]
pub struct SealingSettings {
    /// `generateName` of key Secrets, and the name of the legacy one.
    pub key_prefix: String,
    /// RSA bits.
    pub key_size: usize,
    /// Validity of the certificate.
    pub key_ttl: Duration,
    /// A new key after this time; zero means never.
    pub key_renew_period: Duration,
    /// Common name of the certificate.
    pub my_cn: String,
    /// Which time makes a key the current one.
    pub key_order: KeyOrder,
    /// A key older than this is renewed at start; `None` for the period alone.
    pub key_cutoff: Option<jiff::Timestamp>,
    /// More labels on generated key Secrets.
    pub key_labels: BTreeMap<String, String>,
    /// Annotations on generated key Secrets.
    pub key_annotations: BTreeMap<String, String>,
    /// Opens the deprecated `spec.data`, too.
    pub deprecated_data: bool,
    /// Writes the status of SealedSecrets.
    pub update_status: bool,
    /// Restores Secrets that were edited or deleted.
    pub repair: bool,
    /// Deletes the Secret of a SealedSecret that is gone, instead of leaving that to Kubernetes.
    pub old_gc: bool,
    /// Namespaces to work on beside [`Settings::watch_namespace`].
    pub additional_namespaces: Vec<String>,
    /// Who may use the endpoints that open values, `/v1/verify` and `/v1/rotate`. The certificate is for everybody.
    pub endpoints: Endpoints,
    /// Leaves out the metric that names every SealedSecret.
    pub omit_object_metrics: bool,
    /// Only SealedSecrets with these labels; empty for all.
    pub label_selector: String,
    /// Requests per second and caller of the HTTP endpoints that open values.
    pub rate_limit: u32,
    /// How many more such requests a rested caller may make at once.
    pub rate_limit_burst: u32,
    /// Lets the Secret types pass that make the control plane mint a credential.
    pub allow_token_types: bool,
}

impl Default for SealingSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            key_prefix: "sealed-secrets-key".into(),
            key_size: 4096,
            key_ttl: Duration::from_secs(3650 * DAY),
            key_renew_period: Duration::from_secs(30 * DAY),
            my_cn: String::new(),
            key_order: KeyOrder::default(),
            key_cutoff: None,
            key_labels: BTreeMap::new(),
            key_annotations: BTreeMap::new(),
            deprecated_data: true,
            update_status: true,
            repair: true,
            old_gc: false,
            additional_namespaces: vec![],
            endpoints: Endpoints::Open,
            omit_object_metrics: false,
            label_selector: String::new(),
            rate_limit: 2,
            rate_limit_burst: 2,
            allow_token_types: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            in_cluster_only: false,
            namespace: None,
            watch_namespace: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            listen_metrics: SocketAddr::from(([0, 0, 0, 0], 8081)),
            leader_elect: true,
            lock: LockKind::Lease,
            lease_name: "latchwork".into(),
            lease_timing: Timing::default(),
            workers: 16,
            http_times: HttpTimes::default(),
            sealing: SealingSettings::default(),
            key_services: KeyServiceSettings::default(),
        }
    }
}
