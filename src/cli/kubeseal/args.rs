//! The incumbent's flags, each with its variable `SEALED_SECRETS_…`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::adapters::k8s::Overrides;
use crate::cli::go_flags::{boolean, klog, path};
use crate::cli::pin::UsePin;
use crate::pure::sealed::Scope;

/// Seal Secrets for a cluster, as kubeseal does: with its flags, output and messages.
#[derive(Args)]
#[command(disable_version_flag = true, disable_help_flag = true)]
pub struct KubesealArgs {
    /// Certificate / public key file/URL to use for encryption. Overrides --controller-*
    #[arg(long, env = "SEALED_SECRETS_CERT", default_value = "", hide_env = true)]
    pub(super) cert: String,
    /// Namespace of sealed-secrets controller
    #[arg(long, env = "SEALED_SECRETS_CONTROLLER_NAMESPACE", default_value = "kube-system", hide_env = true)]
    pub(super) controller_namespace: String,
    /// Name of sealed-secrets controller
    #[arg(long, env = "SEALED_SECRETS_CONTROLLER_NAME", default_value = "sealed-secrets-controller", hide_env = true)]
    pub(super) controller_name: String,
    /// Output format for sealed secret. Either json or yaml
    #[arg(long, short = 'o', env = "SEALED_SECRETS_FORMAT", default_value = "json", hide_env = true)]
    pub(super) format: String,
    /// Sealed-secret (output) file
    #[arg(long, short = 'w', env = "SEALED_SECRETS_SEALED_SECRET_FILE", hide_env = true, value_parser = path())]
    pub(super) sealed_secret_file: Option<PathBuf>,
    /// Secret (input) file
    #[arg(long, short = 'f', env = "SEALED_SECRETS_SECRET_FILE", hide_env = true, value_parser = path())]
    pub(super) secret_file: Option<PathBuf>,
    /// Write certificate to stdout. Useful for later use with --cert
    #[arg(long, env = "SEALED_SECRETS_FETCH_CERT", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) fetch_cert: bool,
    /// Allow empty data in the secret object
    #[arg(long, env = "SEALED_SECRETS_ALLOW_EMPTY_DATA", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) allow_empty_data: bool,
    /// Validate that the sealed secret can be decrypted
    #[arg(long, env = "SEALED_SECRETS_VALIDATE", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) validate: bool,
    /// Merge items from secret into an existing sealed secret file, updating the file in-place
    #[arg(long, env = "SEALED_SECRETS_MERGE_INTO", hide_env = true, value_parser = path())]
    pub(super) merge_into: Option<PathBuf>,
    /// Encrypt a raw value passed via the --from-* flags instead of the whole secret object
    #[arg(long, env = "SEALED_SECRETS_RAW", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) raw: bool,
    /// Name of the sealed secret (required with --raw and default (strict) scope)
    #[arg(long, env = "SEALED_SECRETS_NAME", hide_env = true, default_value = "")]
    pub(super) name: String,
    /// (only with --raw) The value can be sourced from a file: [NAME=]PATH
    #[arg(long, env = "SEALED_SECRETS_FROM_FILE", hide_env = true, value_delimiter = ',')]
    pub(super) from_file: Vec<String>,
    /// Path to a kube config. Only required if out-of-cluster
    #[arg(long, env = "SEALED_SECRETS_KUBECONFIG", hide_env = true, value_parser = path())]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Scope of the sealed secret: strict, namespace-wide, cluster-wide. Without it the annotations of the input decide
    #[arg(long, env = "SEALED_SECRETS_SCOPE", hide_env = true, default_value = "strict", value_parser = scope)]
    pub(super) scope: Scope,
    /// Re-encrypt the given sealed secret to use the latest cluster key
    #[arg(long, env = "SEALED_SECRETS_RE_ENCRYPT", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) re_encrypt: bool,
    /// Deprecated name of --re-encrypt
    #[arg(long, hide = true, env = "SEALED_SECRETS_ROTATE", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) rotate: bool,
    /// Decrypt a sealed secret obtained from stdin, using the private key passed with --recovery-private-key
    #[arg(long, env = "SEALED_SECRETS_RECOVERY_UNSEAL", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) recovery_unseal: bool,
    /// Private key file for --recovery-unseal: PEM, or the JSON/YAML of a key Secret or of a List of them
    #[arg(long, env = "SEALED_SECRETS_RECOVERY_PRIVATE_KEY", hide_env = true, value_delimiter = ',', value_parser = path())]
    pub(super) recovery_private_key: Vec<PathBuf>,
    /// What the certificate pinned in the repository (.latchwork/recipients) is good for
    #[arg(long, env = "LATCHWORK_PIN", hide_env = true, value_name = "HOW", default_value = "use")]
    pub(super) pin: UsePin,
    /// Print version information and exit
    #[arg(long, env = "SEALED_SECRETS_VERSION", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub(super) version: bool,
    /// Print this help message
    #[arg(long, env = "SEALED_SECRETS_HELP", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    help: bool,

    #[command(flatten, next_help_heading = "Cluster (as kubectl)")]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    ignored: IgnoredArgs,
}

/// kubectl's way to the cluster.
#[derive(Args)]
pub(super) struct ClusterArgs {
    /// Namespace of Secrets that name none
    #[arg(long, short = 'n', env = "SEALED_SECRETS_NAMESPACE", hide_env = true)]
    pub(super) namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, env = "SEALED_SECRETS_CONTEXT", hide_env = true)]
    context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, env = "SEALED_SECRETS_CLUSTER", hide_env = true)]
    cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, env = "SEALED_SECRETS_USER", hide_env = true)]
    user: Option<String>,
    /// Address of the API server
    #[arg(long, env = "SEALED_SECRETS_SERVER", hide_env = true)]
    server: Option<String>,
    /// Bearer token
    #[arg(long, env = "SEALED_SECRETS_TOKEN", hide_env = true)]
    token: Option<String>,
    /// User to impersonate
    #[arg(long = "as", env = "SEALED_SECRETS_AS", hide_env = true)]
    impersonate: Option<String>,
    /// UID to impersonate
    #[arg(long, env = "SEALED_SECRETS_AS_UID", hide_env = true)]
    as_uid: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long, env = "SEALED_SECRETS_AS_GROUP", hide_env = true)]
    as_group: Vec<String>,
    /// Client certificate file
    #[arg(long, env = "SEALED_SECRETS_CLIENT_CERTIFICATE", hide_env = true)]
    client_certificate: Option<String>,
    /// Client key file
    #[arg(long, env = "SEALED_SECRETS_CLIENT_KEY", hide_env = true)]
    client_key: Option<String>,
    /// Certificate authority file
    #[arg(long, env = "SEALED_SECRETS_CERTIFICATE_AUTHORITY", hide_env = true, value_parser = path())]
    certificate_authority: Option<PathBuf>,
    /// Do not check the API server's certificate
    #[arg(long, env = "SEALED_SECRETS_INSECURE_SKIP_TLS_VERIFY", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    insecure_skip_tls_verify: bool,
    /// Name to check the API server's certificate for
    #[arg(long, env = "SEALED_SECRETS_TLS_SERVER_NAME", hide_env = true)]
    tls_server_name: Option<String>,
    /// Proxy for requests to the API server
    #[arg(long, env = "SEALED_SECRETS_PROXY_URL", hide_env = true)]
    proxy_url: Option<String>,
    /// Do not ask for compressed answers
    #[arg(long, env = "SEALED_SECRETS_DISABLE_COMPRESSION", hide_env = true, default_value_t, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    disable_compression: bool,
    /// User name for basic authentication
    #[arg(long, env = "SEALED_SECRETS_USERNAME", hide_env = true)]
    username: Option<String>,
    /// Password for basic authentication
    #[arg(long, env = "SEALED_SECRETS_PASSWORD", hide_env = true)]
    password: Option<String>,
    /// Time limit of a request (accepted; ours are bounded anyway)
    #[arg(long, hide = true, env = "SEALED_SECRETS_REQUEST_TIMEOUT", hide_env = true)]
    pub(super) request_timeout: Option<String>,
}

impl ClusterArgs {
    pub(super) fn overrides(&self) -> Overrides {
        // An empty text is none, as the flags of Go's programs have it.
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Overrides {
            context: set(&self.context),
            cluster: set(&self.cluster),
            user: set(&self.user),
            server: set(&self.server),
            token: set(&self.token).map(Into::into),
            username: set(&self.username),
            password: set(&self.password).map(Into::into),
            impersonate: set(&self.impersonate),
            impersonate_uid: set(&self.as_uid),
            impersonate_groups: self.as_group.clone(),
            client_certificate: set(&self.client_certificate),
            client_key: set(&self.client_key),
            certificate_authority: self.certificate_authority.clone().filter(|path| !path.as_os_str().is_empty()),
            insecure: self.insecure_skip_tls_verify,
            tls_server_name: set(&self.tls_server_name),
            proxy_url: set(&self.proxy_url),
            disable_compression: self.disable_compression,
        }
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|_| {
        let names = Scope::ALL.map(Scope::name);
        format!("must be one of: {}", names.join(", "))
    })
}

/// Accepted for scripts that pass them: the logging flags of Go programs.
#[derive(Args)]
struct IgnoredArgs {
    #[arg(long, short = 'v', hide = true, value_parser = klog::level)]
    v: Option<String>,
    #[arg(long, hide = true, value_parser = klog::modules)]
    vmodule: Option<String>,
    #[arg(long = "stderrthreshold", hide = true, value_parser = klog::severity)]
    stderr_threshold: Option<String>,
    #[arg(long = "log_backtrace_at", hide = true, value_parser = klog::place)]
    log_backtrace_at: Option<String>,
    #[arg(long = "log_dir", hide = true)]
    log_dir: Option<String>,
    #[arg(long = "log_file", hide = true)]
    log_file: Option<String>,
    #[arg(long = "log_file_max_size", hide = true, value_parser = klog::size)]
    log_file_max_size: Option<String>,
    #[arg(long = "logtostderr", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    log_to_stderr: Option<String>,
    #[arg(long = "alsologtostderr", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    also_log_to_stderr: Option<String>,
    #[arg(long = "alsologtostderrthreshold", hide = true, value_parser = klog::severity)]
    also_log_to_stderr_threshold: Option<String>,
    #[arg(long = "legacy_stderr_threshold_behavior", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    legacy_stderr_threshold_behavior: Option<String>,
    #[arg(long = "one_output", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    one_output: Option<String>,
    #[arg(long = "skip_headers", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    skip_headers: Option<String>,
    #[arg(long = "skip_log_headers", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    skip_log_headers: Option<String>,
    #[arg(long = "add_dir_header", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = klog::boolean)]
    add_dir_header: Option<String>,
}
