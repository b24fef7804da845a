//! `latchwork operator`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::adapters::k8s::lease::Timing;
use crate::operator::logging::{self, LogFormat, LogTo};
use crate::operator::settings::{Endpoints, KeyServiceSettings, SealingSettings, Settings};
use crate::operator::{self, run};

/// Format of the logs.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Who may use the endpoints that open SealedSecrets.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SealedEndpoints {
    /// Nobody
    #[value(alias = "false")]
    Off,
    /// Whoever can reach the operator, as with the Sealed Secrets controller
    #[value(alias = "true")]
    Open,
    /// Whose bearer token belongs to a user with the verb `create` on sealedsecrets/verify or sealedsecrets/rotate
    #[value(alias = "authorized")]
    Authorised,
}

impl From<SealedEndpoints> for Endpoints {
    fn from(who: SealedEndpoints) -> Self {
        match who {
            SealedEndpoints::Off => Self::Off,
            SealedEndpoints::Open => Self::Open,
            SealedEndpoints::Authorised => Self::Authorised,
        }
    }
}

/// Run the operator: reconcile EncryptedSources, SealedSecrets and ExternalSecrets of a cluster.
///
/// Several replicas may run: one leads and works, the others stand by with warm watches.
#[derive(Args)]
#[allow(rustdoc::bare_urls, reason = "a help text shows the characters as they are")]
pub struct OperatorArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
    /// Namespace of the operator itself: its sealing keys and its lease [default: the pod's or context's]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Work on the objects of one namespace only
    #[arg(long, env = "LATCHWORK_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    watch_namespace: Option<String>,
    /// Address of /healthz, /readyz and the sealing certificate
    #[arg(long, env = "LATCHWORK_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Address of /metrics
    #[arg(long, env = "LATCHWORK_LISTEN_METRICS", value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    listen_metrics: SocketAddr,
    /// Take part in a leader election; turn it off only for a single replica
    #[arg(long, env = "LATCHWORK_LEADER_ELECT", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// Seconds after which another replica takes over from a leader that has died
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(3..=600))]
    lease_seconds: u64,
    /// Objects of one kind worked on at a time
    #[arg(long, env = "LATCHWORK_WORKERS", value_name = "N", default_value_t = 16)]
    workers: usize,
    /// Days after which a new sealing key is made; 0 turns renewal off
    #[arg(long, env = "LATCHWORK_KEY_RENEW_DAYS", value_name = "DAYS", default_value_t = 30.0)]
    key_renew_days: f64,
    /// Who may use /v1/verify and /v1/rotate, which open SealedSecrets, beside the certificate
    #[arg(long, env = "LATCHWORK_SEALED_ENDPOINTS", value_name = "WHO", default_value = "open")]
    sealed_endpoints: SealedEndpoints,
    /// Key services that SOPS files may name, asked with the credentials that an EncryptedSource brings: beginnings of ARNs
    /// (arn:aws:kms:REGION:ACCOUNT), of Google's names (projects/NAME) or of addresses (https://vault.example.com)
    #[arg(long, env = "LATCHWORK_KMS_ALLOW", value_name = "KEY", value_delimiter = ',')]
    kms_allow: Vec<String>,
    /// Keys that the operator's own cloud identity, or its VAULT_TOKEN, opens for the sources of all namespaces, or of one
    #[arg(long, env = "LATCHWORK_KMS_AMBIENT", value_name = "[NAMESPACE=]KEY", value_delimiter = ',')]
    kms_ambient: Vec<String>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, env = "LATCHWORK_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Log format
    #[arg(long, env = "LATCHWORK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

impl OperatorArgs {
    fn settings(&self) -> anyhow::Result<Settings> {
        let duration = Duration::from_secs(self.lease_seconds);
        let renew = Duration::try_from_secs_f64(self.key_renew_days * 86_400.0).unwrap_or(Duration::ZERO);
        let key_services = KeyServiceSettings::parse(&self.kms_allow, &self.kms_ambient);
        Ok(Settings {
            key_services: key_services.map_err(|what| anyhow::anyhow!("--kms-allow, --kms-ambient: {what}"))?,
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            watch_namespace: self.watch_namespace.clone(),
            listen: self.listen,
            listen_metrics: self.listen_metrics,
            leader_elect: self.leader_elect,
            lease_timing: Timing { duration, renew_deadline: duration * 5 / 8, retry: duration / 8 },
            workers: self.workers,
            sealing: SealingSettings {
                key_renew_period: renew,
                endpoints: self.sealed_endpoints.into(),
                ..Default::default()
            },
            ..Default::default()
        })
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: OperatorArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    logging::start(&args.log_level, format, LogTo::Stdout);
    refuse_body_logging()?;
    let settings = args.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        run::run(settings, operator::KINDS, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The AWS client prints bodies, secrets included, when this variable is set.
fn refuse_body_logging() -> anyhow::Result<()> {
    const VARIABLE: &str = "LOG_SENSITIVE_BODIES";
    if std::env::var_os(VARIABLE).is_some() {
        anyhow::bail!("{VARIABLE} is set, and would print secrets into the log; unset it");
    }
    Ok(())
}

/// Cancels `stop` at the first SIGTERM or SIGINT; the second one ends the process at once.
pub(super) async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be handled; the process ends without a graceful stop");
        return;
    };
    for _ in 0..2 {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        if stop.is_cancelled() {
            std::process::exit(130);
        }
        stop.cancel();
    }
}
