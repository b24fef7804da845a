//! What SealedSecrets are sealed to: a certificate, or the controller of a cluster.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::adapters::k8s::Overrides;
use crate::cli::kubeseal::controller::Controller;
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::error::Explain as _;
use crate::pure::sealed::keys::Certificate;
use crate::pure::sealed::seal::check_expiry;

/// Where the present key is.
#[derive(Args)]
pub(super) struct TargetArgs {
    /// Certificate of the present sealing key; values are opened with --sealing-key
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    cert: Option<PathBuf>,
    /// Let the controller of the cluster seal anew what no --sealing-key opens, as `kubeseal --re-encrypt` does
    #[arg(long)]
    cluster: bool,
    /// Kubeconfig file
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, requires = "cluster")]
    context: Option<String>,
    /// Namespace of the controller
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    controller_namespace: String,
    /// Name of the controller's Service
    #[arg(long, value_name = "NAME", default_value = "sealed-secrets-controller")]
    controller_name: String,
}

/// The present key.
pub(super) struct Target {
    pub certificate: Certificate,
    /// The controller that seals anew what no key at hand opens.
    cluster: Option<(Runtime, Controller)>,
    /// The controller answers two of these a second: who asks at the same time would only be refused.
    turn: Mutex<()>,
}

impl TargetArgs {
    /// `None` when neither is named: then SealedSecrets are left alone.
    pub(super) fn resolve(&self) -> anyhow::Result<Option<Target>> {
        let (pem, name, cluster) = if self.cluster {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a thread")?;
            let overrides = Overrides { context: self.context.clone(), ..Overrides::default() };
            let (controller, pem) = runtime.block_on(async {
                let (namespace, service) = (&self.controller_namespace, &self.controller_name);
                let controller = Controller::reach(self.kubeconfig.as_deref(), &overrides, namespace, service).await?;
                let pem = controller.certificate().await?;
                anyhow::Ok((controller, pem))
            })?;
            (pem, "the cluster's certificate".to_owned(), Some((runtime, controller)))
        } else if let Some(path) = &self.cert {
            let name = path.display().to_string();
            (std::fs::read(path).with_context(|| format!("cannot read {name}"))?, name, None)
        } else {
            return Ok(None);
        };
        let certificate = Certificate::parse(&name, &pem).map_err(|error| anyhow::anyhow!(error.line()))?;
        check_expiry(&certificate, Timestamp::now())?;
        Ok(Some(Target { certificate, cluster, turn: Mutex::default() }))
    }
}

impl Target {
    /// Whether there is a cluster to ask.
    pub(super) fn has_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// The object with every value sealed anew by the controller; ours leaves those on the present key as they are.
    pub(super) fn re_encrypt(&self, object: &SealedSecret) -> anyhow::Result<SealedSecret> {
        let (runtime, controller) = self.cluster.as_ref().context("there is no cluster to ask")?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let made = runtime.block_on(controller.re_encrypt_old(std::slice::from_ref(object)))?;
        made.into_iter().next().context("the controller answered with nothing")
    }
}
