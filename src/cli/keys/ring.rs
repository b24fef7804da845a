//! The keys and the SealedSecrets of a cluster, as the verbs find them.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};

use super::held::Place;
use crate::adapters::k8s::lease::Leadership;
use crate::adapters::k8s::writer::Writer;
use crate::adapters::k8s::{ApiError, Cluster, secrets};
use crate::cli::complain;
use crate::pure::crd::key_ring::{KeyRing, KeyRingStatus, NAME};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::desired::{ObservedSecret, SEALING_KEY_LABEL};
use crate::pure::error::Explain as _;
use crate::pure::queue::ObjectKey;
use crate::pure::sealed::KeyOrder;
use crate::pure::sealed::keys::{SealingKey, SealingKeys};

/// Objects asked for at a time: the API server's usual page.
const PAGE: u32 = 500;

/// Shortest part of a fingerprint that names a key.
const SHORTEST_PREFIX: usize = 4;

/// Which cluster, and where in it.
#[derive(Args)]
pub(super) struct ClusterArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    pub(super) context: Option<String>,
    /// Namespace of the sealing keys, which is the controller's: latchwork-system, kube-system, … [default: the context's]
    #[arg(long, short, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
    /// Which time makes a key the active one: its certificate's or its Secret's. The controller's --key-order-priority
    #[arg(long, value_name = "ORDER", default_value = "cert")]
    pub(super) order: Order,
    /// Start of the names of key Secrets: the controller's --key-prefix
    #[arg(long, value_name = "NAME", default_value = "sealed-secrets-key")]
    pub(super) key_prefix: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Order {
    Cert,
    Secret,
}

impl From<Order> for KeyOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Cert => Self::CertNotBefore,
            Order::Secret => Self::SecretCreationTimestamp,
        }
    }
}

impl ClusterArgs {
    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        Cluster::connect(self.kubeconfig.as_deref(), self.context.as_deref())
            .await
            .map_err(|error| anyhow::anyhow!(error.line()))
    }
}

/// The sealing keys of one cluster.
pub(super) struct Ring {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
    /// The keys, whatever their label says.
    pub(super) keys: SealingKeys,
    /// Their Secrets.
    pub(super) secrets: Vec<ObservedSecret>,
}

impl Ring {
    /// Reads the keys, of which there must be one.
    pub(super) async fn read(args: &ClusterArgs) -> anyhow::Result<Self> {
        let cluster = args.connect().await?;
        let namespace = args.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
        let ring = Self::read_in(cluster, namespace, args).await?;
        if ring.keys.is_empty() {
            bail!(
                "no sealing key in namespace {}; name the namespace of the controller with --namespace (the API server \
                 knows them by the label {SEALING_KEY_LABEL})",
                ring.namespace
            );
        }
        Ok(ring)
    }

    /// Reads the keys of a namespace. One that cannot be read is named on standard error and left out.
    pub(super) async fn read_in(cluster: Cluster, namespace: String, args: &ClusterArgs) -> anyhow::Result<Self> {
        let mut ring = Self {
            keys: SealingKeys::ordered_by(args.order.into()),
            secrets: secrets::list(&cluster, &namespace, SEALING_KEY_LABEL).await?,
            cluster,
            namespace,
        };
        // The unlabelled key of the oldest controllers.
        if !ring.secrets.iter().any(|secret| secret.name == args.key_prefix) {
            match secrets::get(&ring.cluster, &ring.namespace, &args.key_prefix).await {
                // Who may list the keys has them all but this one, which few clusters have.
                Err(ApiError::Denied { .. }) => {}
                legacy => ring.secrets.extend(legacy?),
            }
        }
        let mut keys = ring.keys.clone();
        ring.secrets.retain(|secret| match SealingKey::from_secret(secret, secret.name == args.key_prefix) {
            Ok((key, problem)) => {
                problem.iter().for_each(|problem| complain(&format!("warning: {}", problem.line())));
                keys.add(key);
                true
            }
            Err(error) => {
                complain(&format!("warning: {}", error.line()));
                false
            }
        });
        ring.keys = keys;
        Ok(ring)
    }

    /// The keys as they are now.
    pub(super) async fn again(&self, args: &ClusterArgs) -> anyhow::Result<Self> {
        Self::read_in(self.cluster.clone(), self.namespace.clone(), args).await
    }

    /// Writes with this user's rights.
    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.cluster.clone(), Leadership::always())
    }

    /// The Secret of a key.
    pub(super) fn secret(&self, name: &str) -> anyhow::Result<&ObservedSecret> {
        let found = self.secrets.iter().find(|secret| secret.name == name);
        found.ok_or_else(|| anyhow::anyhow!("Secret {}/{name} is gone", self.namespace))
    }

    /// The key of a name or of the start of a fingerprint.
    pub(super) fn select(&self, text: &str) -> anyhow::Result<&SealingKey> {
        if let Some(key) = self.keys.by_name(text) {
            return Ok(key);
        }
        let prefix = text.strip_prefix("SHA256:").unwrap_or(text);
        let matches =
            |key: &&SealingKey| key.fingerprint().strip_prefix("SHA256:").is_some_and(|f| f.starts_with(prefix));
        let mut found: Vec<&SealingKey> = self.keys.iter().map(AsRef::as_ref).filter(matches).collect();
        let known = || {
            let lines = self.keys.iter().map(|key| format!("\n  {}  {}", key.name(), key.fingerprint()));
            lines.collect::<String>()
        };
        if prefix.len() < SHORTEST_PREFIX {
            bail!(
                "{text} names no key; give the name of its Secret, or at least {SHORTEST_PREFIX} characters of its fingerprint:{}",
                known()
            );
        }
        match (found.pop(), found.is_empty()) {
            (Some(key), true) => Ok(key),
            (None, _) => bail!("{text} names no key; there are:{}", known()),
            (Some(_), false) => bail!("{text} is the start of several fingerprints:{}", known()),
        }
    }

    /// The SealedSecrets of the cluster, or of one namespace. One that cannot be read is named and left out.
    ///
    /// Those that cannot be read are named on standard error and left out; with `strict` they are an error, since nobody
    /// knows which keys they need.
    pub(super) async fn objects(&self, namespace: Option<&str>, strict: bool) -> anyhow::Result<Vec<Place>> {
        let resource = ApiResource::erase::<SealedSecret>(&());
        let client = self.cluster.client();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let (mut places, mut params) = (vec![], ListParams::default().limit(PAGE));
        loop {
            let page = self.cluster.call("the SealedSecrets", api.list(&params)).await?;
            for object in page.items {
                let meta = &object.metadata;
                let (space, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
                let key = ObjectKey::new(space, name);
                match serde_json::to_value(&object).and_then(serde_json::from_value) {
                    Ok(object) => places.push(Place { file: None, object }),
                    Err(_) if strict => {
                        bail!(
                            "SealedSecret {key} cannot be read, so which keys it needs is not known: mend or delete it"
                        )
                    }
                    Err(_) => complain(&format!("warning: SealedSecret {key} cannot be read and is left out")),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(places),
            }
        }
    }

    /// What the operator wrote about the keys, where there is a KeyRing and it may be read.
    pub(super) async fn status(&self) -> Option<KeyRingStatus> {
        let api: Api<KeyRing> = Api::all(self.cluster.client());
        self.cluster.call("KeyRing default", api.get_opt(NAME)).await.ok().flatten()?.status
    }
}
