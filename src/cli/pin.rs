//! `latchwork pin`, and where the pinned certificate of a repository is found.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{complain, kubeseal};
use crate::pure::error::Explain as _;
use crate::pure::limits;
use crate::pure::sealed::keys::Certificate;
use crate::pure::sealed::pin::{PATH, Pins, with_certificate};
use crate::pure::sealed::seal::check_expiry;

/// What the pinned certificate is good for when Secrets are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum UsePin {
    /// Seal to it without asking the cluster; a certificate from --cert must be a pinned one
    Use,
    /// Ask the cluster for its certificate, and refuse when it is not a pinned one
    Check,
    /// Ask the cluster for its certificate, and pin that
    Update,
    /// Act as if there were none
    Off,
}

/// Pin the cluster's sealing certificate in the repository (.latchwork/recipients).
///
/// Then `latchwork kubeseal` without --cert seals to it offline, and refuses a certificate that was not pinned. The file is
/// plain text and meant to be committed and reviewed: certificates in PEM, age recipients one a line, comments with `#`.
/// Recipients and comments are kept; the certificate takes the place of the ones before it.
#[derive(Args)]
pub struct PinArgs {
    /// Certificate to pin: a file or URL [default: ask the controller]
    #[arg(long, value_name = "FILE|URL")]
    cert: Option<String>,
    /// Namespace of the controller
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    controller_namespace: String,
    /// Name of the controller's Service
    #[arg(long, value_name = "NAME", default_value = "sealed-secrets-controller")]
    controller_name: String,
    /// Kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
}

/// Runs the verb.
pub fn run(args: &PinArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a thread")?;
    let pem = runtime.block_on(async {
        match &args.cert {
            Some(location) => kubeseal::certificate_at(location).await,
            None => {
                let service = (args.controller_namespace.as_str(), args.controller_name.as_str());
                kubeseal::certificate_of(args.kubeconfig.as_deref(), args.context.as_deref(), service).await
            }
        }
    })?;
    let certificate = Certificate::parse("certificate", &pem)?;
    check_expiry(&certificate, Timestamp::now())?;
    let here = std::env::current_dir().context("no working directory")?;
    let found = Pinned::nearest(&here)?;
    let path = found.as_ref().map_or_else(|| root(&here).join(PATH), |found| found.path.clone());
    let text = found.map(|found| found.text).unwrap_or_default();
    write(&path, &text, &certificate)?;
    Ok(ExitCode::SUCCESS)
}

/// A file of recipients that was found.
pub(super) struct Pinned {
    pub(super) path: PathBuf,
    text: String,
    pins: Pins,
}

/// The folder that holds the repository of `from`; without one `from` itself.
fn root(from: &Path) -> &Path {
    from.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(from)
}

impl Pinned {
    /// The nearest file upward from `from`, and not beyond its repository: what lies above belongs to somebody else.
    pub(super) fn nearest(from: &Path) -> anyhow::Result<Option<Self>> {
        let root = root(from);
        for folder in from.ancestors().take_while(|folder| folder.starts_with(root)) {
            let path = folder.join(PATH);
            let file = match std::fs::File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            let mut text = String::new();
            file.take(limits::PIN_BYTES + 1)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if text.len() as u64 > limits::PIN_BYTES {
                bail!("{} is larger than {} bytes", path.display(), limits::PIN_BYTES);
            }
            let name = path.display().to_string();
            let pins = Pins::parse(&name, &text).map_err(|error| anyhow::anyhow!("{}", error.line()))?;
            return Ok(Some(Self { path, text, pins }));
        }
        Ok(None)
    }

    /// The certificate that seals; `None` in a file of age recipients only.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.pins.certificates.first()
    }

    /// Refuses a certificate that is not pinned.
    pub(super) fn check(&self, certificate: &Certificate) -> anyhow::Result<()> {
        let Some(pinned) = self.certificate().filter(|_| !self.pins.holds(certificate)) else { return Ok(()) };
        bail!(
            "the certificate has key {}, and {} pins {}: it is of another cluster, or the cluster has a new key. \
             Once you know that it is right, pin it (--pin update, or latchwork pin); --pin off seals to it this once",
            certificate.fingerprint(),
            self.path.display(),
            pinned.fingerprint()
        )
    }

    /// Pins a certificate in this file.
    pub(super) fn update(&self, certificate: &Certificate) -> anyhow::Result<()> {
        write(&self.path, &self.text, certificate)
    }
}

fn write(path: &Path, text: &str, certificate: &Certificate) -> anyhow::Result<()> {
    let new = with_certificate(text, certificate);
    if new != text {
        let folder = path.parent().context("a path below a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        kubeseal::replace(path, new.as_bytes())?;
    }
    complain(&format!("pinned {} in {}", certificate.fingerprint(), path.display()));
    Ok(())
}
