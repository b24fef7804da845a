//! `latchwork sealed-secrets-controller`, and the program under the name `controller`: the incumbent's Deployment with
//! another image. Runs the SealedSecret kind alone, in a pod, without leases, within the incumbent's role.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgAction, Args};
use tokio_util::sync::CancellationToken;

use super::complain;
use super::go_flags::{boolean, count, duration, float};
use super::operator::{SealedEndpoints, stop_on_signal};
use crate::adapters::k8s::lease::Timing;
use crate::adapters::k8s::lock::LockKind;
use crate::adapters::k8s::pod_namespace;
use crate::operator::logging::{self, LogFormat, LogTo};
use crate::operator::settings::{HttpTimes, SealingSettings, Settings};
use crate::operator::{self, run};
use crate::pure::sealed::KeyOrder;

/// The incumbent's version whose behaviour this is, with ours as build metadata.
const VERSION: &str = concat!("v0.38.4+latchwork.", env!("CARGO_PKG_VERSION"));

/// Run as the Sealed Secrets controller does, with its flags and its variables SEALED_SECRETS_…
#[derive(Args)]
#[command(disable_version_flag = true, disable_help_flag = true)]
pub struct ControllerArgs {
    /// Prefix used to name keys
    #[arg(long, env = "SEALED_SECRETS_KEY_PREFIX", hide_env = true, default_value = "sealed-secrets-key")]
    key_prefix: String,
    /// Size of encryption key
    #[arg(long, env = "SEALED_SECRETS_KEY_SIZE", hide_env = true, default_value_t = 4096, value_parser = count::<usize>)]
    key_size: usize,
    /// Duration that certificate is valid for
    #[arg(long, env = "SEALED_SECRETS_KEY_TTL", hide_env = true, default_value = "87600h", value_parser = duration)]
    key_ttl: Duration,
    /// Common name of issuer and subject of generated certificates
    #[arg(long, env = "SEALED_SECRETS_MY_CN", hide_env = true, default_value = "")]
    my_cn: String,
    /// New key generation period (automatic rotation deactivated if 0)
    #[arg(long, alias = "rotate-period", env = "SEALED_SECRETS_KEY_RENEW_PERIOD", hide_env = true, default_value = "720h", value_parser = duration)]
    key_renew_period: Duration,
    /// Ordering of keys: CertNotBefore or SecretCreationTimestamp
    #[arg(long, env = "SEALED_SECRETS_KEY_ORDER_PRIORITY", hide_env = true, default_value = "CertNotBefore")]
    key_order_priority: String,
    /// Create a new key if the latest one is older than this time (RFC 1123 with numeric zone)
    #[arg(long, env = "SEALED_SECRETS_KEY_CUTOFF_TIME", hide_env = true, default_value = "")]
    key_cutoff_time: String,
    /// Accept the deprecated field spec.data
    #[arg(long, env = "SEALED_SECRETS_ACCEPT_DEPRECATED_V1_DATA", hide_env = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    accept_deprecated_v1_data: bool,
    /// Scan all namespaces or only the own one
    #[arg(long, env = "SEALED_SECRETS_ALL_NAMESPACES", hide_env = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    all_namespaces: bool,
    /// Comma-separated list of additional namespaces to be scanned; then not all are
    #[arg(long, env = "SEALED_SECRETS_ADDITIONAL_NAMESPACES", hide_env = true, default_value = "")]
    additional_namespaces: String,
    /// Label selector for SealedSecrets
    #[arg(long, env = "SEALED_SECRETS_LABEL_SELECTOR", hide_env = true, default_value = "")]
    label_selector: String,
    /// Sustained requests per second to /v1/verify and /v1/rotate
    #[arg(long, env = "SEALED_SECRETS_RATE_LIMIT", hide_env = true, default_value_t = 2, value_parser = count::<u32>)]
    rate_limit: u32,
    /// Requests above that rate at once
    #[arg(long, env = "SEALED_SECRETS_RATE_LIMIT_BURST", hide_env = true, default_value_t = 2, value_parser = count::<u32>)]
    rate_limit_burst: u32,
    /// Annotations of new key Secrets: k=v,k=v
    #[arg(long, env = "SEALED_SECRETS_PRIVATEKEY_ANNOTATIONS", hide_env = true, default_value = "")]
    privatekey_annotations: String,
    /// Labels of new key Secrets: k=v,k=v
    #[arg(long, env = "SEALED_SECRETS_PRIVATEKEY_LABELS", hide_env = true, default_value = "")]
    privatekey_labels: String,
    /// Delete Secrets of deleted SealedSecrets, instead of leaving that to Kubernetes
    #[arg(long, env = "SEALED_SECRETS_OLD_GC_BEHAVIOR", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    old_gc_behavior: bool,
    /// Write the status of SealedSecrets
    #[arg(long, env = "SEALED_SECRETS_UPDATE_STATUS", hide_env = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    update_status: bool,
    /// Do not restore Secrets that were edited or deleted
    #[arg(long, env = "SEALED_SECRETS_SKIP_RECREATE", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    skip_recreate: bool,
    /// Log level
    #[arg(long, env = "SEALED_SECRETS_LOG_LEVEL", hide_env = true, default_value = "INFO")]
    log_level: String,
    /// Log format: text or json
    #[arg(long, env = "SEALED_SECRETS_LOG_FORMAT", hide_env = true, default_value = "text")]
    log_format: String,
    /// Log warnings and errors to standard error and the rest to standard output; false means all to standard error
    #[arg(long, env = "SEALED_SECRETS_LOG_INFO_STDOUT", hide_env = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    log_info_stdout: bool,
    /// Address of the HTTP server
    #[arg(long, env = "SEALED_SECRETS_LISTEN_ADDR", hide_env = true, default_value = ":8080")]
    listen_addr: String,
    /// Address of /metrics
    #[arg(long, env = "SEALED_SECRETS_LISTEN_METRICS_ADDR", hide_env = true, default_value = ":8081")]
    listen_metrics_addr: String,
    /// How long a client may take to send a request
    #[arg(long, env = "SEALED_SECRETS_READ_TIMEOUT", hide_env = true, default_value = "2m", value_parser = duration)]
    read_timeout: Duration,
    /// How long the answer to a request may take
    #[arg(long, env = "SEALED_SECRETS_WRITE_TIMEOUT", hide_env = true, default_value = "2m", value_parser = duration)]
    write_timeout: Duration,
    /// Leave out the metric condition_info, which names every SealedSecret
    #[arg(long, env = "SEALED_SECRETS_METRICS_OMIT_SECRET_LABELS", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    metrics_omit_secret_labels: bool,
    /// Who may use /v1/verify and /v1/rotate; not a flag of the incumbent, which serves everybody
    #[arg(long, env = "LATCHWORK_SEALED_ENDPOINTS", hide_env = true, value_name = "WHO", default_value = "open")]
    sealed_endpoints: SealedEndpoints,
    /// Elect a leader among several replicas, by a record in a Secret, which the role allows; not a flag of the incumbent
    #[arg(long, env = "LATCHWORK_LEADER_ELECT", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    leader_elect: bool,
    /// Print version information and exit
    #[arg(long, env = "SEALED_SECRETS_VERSION", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    version: bool,
    #[command(flatten)]
    accepted: AcceptedArgs,
}

/// Flags without an effect here: what they turn on is always on, or what they bound has bounds of its own.
#[derive(Args)]
struct AcceptedArgs {
    #[arg(long, hide = true, env = "SEALED_SECRETS_WATCH_FOR_SECRETS", hide_env = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    watch_for_secrets: Option<bool>,
    #[arg(long, hide = true, env = "SEALED_SECRETS_MAX_UNSEAL_RETRIES", hide_env = true, value_parser = count::<i64>)]
    max_unseal_retries: Option<i64>,
    #[arg(long, hide = true, env = "SEALED_SECRETS_KUBECLIENT_QPS", hide_env = true, allow_hyphen_values = true, value_parser = float)]
    kubeclient_qps: Option<f32>,
    #[arg(long, hide = true, env = "SEALED_SECRETS_KUBECLIENT_BURST", hide_env = true, value_parser = count::<i64>)]
    kubeclient_burst: Option<i64>,
}

/// Runs until SIGTERM.
pub fn run(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    if args.version {
        writeln!(std::io::stdout(), "controller version: {VERSION}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let format = if args.log_format == "json" { LogFormat::Json } else { LogFormat::Text };
    let to = if args.log_info_stdout { LogTo::Split } else { LogTo::Stderr };
    logging::start(&args.log_level.to_lowercase(), format, to);
    let settings = args.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        run::run(settings, operator::SEALED_ONLY, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}

impl ControllerArgs {
    fn settings(&self) -> anyhow::Result<Settings> {
        check_prefix(&self.key_prefix)?;
        let namespace = pod_namespace();
        let key_cutoff = match self.key_cutoff_time.as_str() {
            "" => None,
            text => Some(
                jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S %z", text)
                    .and_then(|time| time.to_timestamp())
                    .with_context(|| format!("--key-cutoff-time {text:?} is not RFC 1123 with a numeric zone"))?,
            ),
        };
        let additional: Vec<_> = self
            .additional_namespaces
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let all = self.all_namespaces && additional.is_empty();
        Ok(Settings {
            in_cluster_only: true,
            watch_namespace: (!all).then(|| namespace.clone()),
            namespace: Some(namespace),
            listen: go_address(&self.listen_addr).map_err(anyhow::Error::msg)?,
            listen_metrics: go_address(&self.listen_metrics_addr).map_err(anyhow::Error::msg)?,
            leader_elect: self.leader_elect,
            lock: LockKind::Secret,
            lease_name: "latchwork-sealed-secrets-leader".into(),
            // client-go's: each renewal is news for everybody who watches Secrets.
            lease_timing: Timing {
                duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry: Duration::from_secs(2),
            },
            http_times: HttpTimes { read: bounded(self.read_timeout), write: bounded(self.write_timeout) },
            sealing: SealingSettings {
                key_prefix: self.key_prefix.clone(),
                key_size: self.key_size,
                key_ttl: self.key_ttl,
                key_renew_period: self.key_renew_period,
                my_cn: self.my_cn.clone(),
                // Unknown words are the default, as for the incumbent.
                key_order: match self.key_order_priority.as_str() {
                    "SecretCreationTimestamp" => KeyOrder::SecretCreationTimestamp,
                    "CertNotBefore" => KeyOrder::CertNotBefore,
                    other => {
                        complain(&format!("warning: --key-order-priority {other:?} is unknown; CertNotBefore is used"));
                        KeyOrder::CertNotBefore
                    }
                },
                key_cutoff,
                key_labels: pairs(&self.privatekey_labels).map_err(anyhow::Error::msg)?,
                key_annotations: pairs(&self.privatekey_annotations).map_err(anyhow::Error::msg)?,
                deprecated_data: self.accept_deprecated_v1_data,
                update_status: self.update_status,
                repair: !self.skip_recreate,
                old_gc: self.old_gc_behavior,
                additional_namespaces: additional,
                endpoints: self.sealed_endpoints.into(),
                omit_object_metrics: self.metrics_omit_secret_labels,
                label_selector: self.label_selector.clone(),
                rate_limit: self.rate_limit,
                rate_limit_burst: self.rate_limit_burst,
                // As the incumbent, whose RBAC decides who may create SealedSecrets.
                allow_token_types: true,
            },
            ..Default::default()
        })
    }
}

/// Zero means no limit to the incumbent; here the longest that makes sense.
fn bounded(time: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(600);
    if time.is_zero() { LONGEST } else { time.clamp(Duration::from_secs(1), LONGEST) }
}

/// The incumbent's rule for `--key-prefix`: a DNS label with room for the part that the server adds.
fn check_prefix(prefix: &str) -> anyhow::Result<()> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if prefix.is_empty() || prefix.len() > 245 || !prefix.bytes().all(legal) {
        bail!("--key-prefix takes at most 245 of a-z, 0-9 and '-'");
    }
    Ok(())
}

/// A listen address as Go writes it: the host may be left out.
fn go_address(text: &str) -> Result<SocketAddr, String> {
    // As Go does: all addresses of both families.
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| "an address is HOST:PORT or :PORT, the host as a number".into())
}

fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not NAME=VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_gos() {
        assert_eq!(go_address(":8080").map(|a| a.to_string()), Ok("[::]:8080".into()));
        assert!(go_address("8080").is_err());
        assert_eq!(pairs("a=b, c=d=e,").map(|p| p.len()), Ok(2));
        assert!(pairs("a").is_err());
        assert!(check_prefix("sealed-secrets-key").is_ok() && check_prefix("A").is_err());
    }

    #[test]
    fn the_cutoff_is_rfc_1123() {
        #[derive(clap::Parser)]
        struct Parser {
            #[command(flatten)]
            args: ControllerArgs,
        }
        let parse = |arguments: &[&str]| {
            let parser: Parser = clap::Parser::parse_from([&["controller"], arguments].concat());
            parser.args.settings()
        };
        let settings = parse(&[
            "--key-cutoff-time",
            "Mon, 02 Jan 2006 15:04:05 -0700",
            "--update-status=false",
            "--kubeclient-qps",
            "-1",
        ])
        .unwrap();
        assert_eq!(settings.sealing.key_cutoff.map(|t| t.as_second()), Some(1_136_239_445));
        assert!(!settings.sealing.update_status && settings.in_cluster_only && !settings.leader_elect);
        assert!(parse(&["--key-cutoff-time", "yesterday"]).is_err());
        let several = parse(&["--additional-namespaces", "a, b,"]).unwrap();
        assert!(several.watch_namespace.is_some());
        assert_eq!(several.sealing.additional_namespaces, ["a", "b"]);
        assert!(parse(&[]).unwrap().watch_namespace.is_none());
        assert!(parse(&["--all-namespaces=false"]).unwrap().watch_namespace.is_some());
    }
}
