//! `latchwork kubeseal`, and the program under the name `kubeseal`: the incumbent's command line.
//!
//! The order in which modes win over each other is the incumbent's, too: unseal, validate, re-encrypt, fetch-cert,
//! merge-into, raw, seal.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::complain;
use super::pin::{Pinned, UsePin};
use crate::adapters::k8s::{ApiError, Overrides, context_namespace, dial};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::error::{chain, one_line, system};
use crate::pure::sealed::keys::{Certificate, KeyError};
use crate::pure::sealed::manifest::ManifestError;
use crate::pure::sealed::seal::{SealRequest, check_expiry, merge, printable, read_secrets, seal_secret};
use crate::pure::sealed::{Scope, item, manifest};
use crate::pure::secret::Plaintext;

mod args;
pub(in crate::cli) mod controller;
mod output;
mod recovery;

pub use args::KubesealArgs;
use controller::Controller;
use output::Output;

/// The incumbent's version whose behaviour this is, with ours as build metadata: scripts compare the former.
const VERSION: &str = concat!("v0.38.4+latchwork.", env!("CARGO_PKG_VERSION"));

/// Runs the verb.
pub fn run(args: KubesealArgs) -> anyhow::Result<ExitCode> {
    if args.version {
        writeln!(std::io::stdout(), "kubeseal version: {VERSION}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a thread")?;
    runtime.block_on(Kubeseal::new(args)?.run())?;
    Ok(ExitCode::SUCCESS)
}

struct Kubeseal {
    args: KubesealArgs,
    /// Only who prints an object minds what cannot be printed.
    output: Result<Output, String>,
    /// Where the result goes; `None` is standard output.
    file: Option<PathBuf>,
}

impl Kubeseal {
    fn new(mut args: KubesealArgs) -> anyhow::Result<Self> {
        args.re_encrypt |= args.rotate;
        if !args.from_file.is_empty() && !args.raw {
            bail!("--from-file requires --raw");
        }
        let set = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        args.secret_file = set(&args.secret_file);
        args.merge_into = set(&args.merge_into);
        args.kubeconfig = set(&args.kubeconfig);
        // The only mode that works in place when one file is named.
        let in_place = args.re_encrypt.then(|| args.secret_file.clone()).flatten();
        let file = set(&args.sealed_secret_file).or(in_place);
        let yaml = file.as_ref().and_then(|file| file.extension()).is_some_and(|e| e == "yaml" || e == "yml");
        let output = if yaml { Ok(Output::Yaml) } else { Output::parse(&args.format) };
        Ok(Self { output, args, file })
    }

    async fn run(&self) -> anyhow::Result<()> {
        let args = &self.args;
        if let Some(path) = &args.secret_file
            && std::fs::File::open(path).is_err()
        {
            bail!("Could not read file specified with --secret-file");
        }
        if args.recovery_unseal {
            let text = recovery::unseal(&self.input()?, &args.recovery_private_key, self.output()?)?;
            // Values in clear: for nobody but who asked.
            return self.write_as(&text, Some(0o600));
        }
        if !args.recovery_private_key.is_empty() && std::io::stderr().is_terminal() {
            complain(
                "warning: ignoring --recovery-private-key because unseal command not chosen with --recovery-unseal",
            );
        }
        if args.validate {
            let controller = Controller::connect(args).await?;
            // Nothing passes that could not be read. The incumbent passes text over that it cannot read, and says yes.
            let input = self.input()?;
            let objects = manifest::read_all(&input).map_err(|error| match error {
                ManifestError::Kind(_) => anyhow::anyhow!("cannot validate sealed secret: {error}"),
                error => anyhow::anyhow!("unable to decrypt sealed secret: {error}"),
            });
            return controller.validate(&objects?).await;
        }
        if args.re_encrypt {
            let controller = Controller::connect(args).await?;
            let input = self.input()?;
            let objects = manifest::read_all(&input).map_err(|error| match error {
                ManifestError::Kind(_) => anyhow::anyhow!("cannot re-encrypt secret: {error}"),
                error => error.into(),
            });
            let made = controller.re_encrypt(&objects?).await?;
            return self.write(&self.print_all(&made)?);
        }
        if args.fetch_cert {
            return self.write(&self.certificate_text().await?);
        }
        let certificate = self.certificate().await?;
        check_expiry(&certificate, Timestamp::now())?;
        if let Some(path) = &args.merge_into {
            return self.merge_into(path, &certificate);
        }
        if args.raw {
            return self.raw(&certificate);
        }
        let sealed = self.seal(&certificate, self.request())?;
        self.write(&self.print_all(&sealed)?)
    }

    /// Whole input: the named file or standard input.
    fn input(&self) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
        let mut text = zeroize::Zeroizing::new(Vec::new());
        match &self.args.secret_file {
            Some(path) => {
                std::fs::File::open(path)
                    .and_then(|mut file| file.read_to_end(&mut text))
                    .context("Could not read file specified with --secret-file")?;
            }
            None => {
                if std::io::stdin().is_terminal() {
                    let expected =
                        if self.args.raw { "a secret to encrypt in stdin" } else { "json/yaml k8s resource in stdin" };
                    complain(&format!("(tty detected: expecting {expected})"));
                }
                std::io::stdin().lock().read_to_end(&mut text).context("cannot read standard input")?;
            }
        }
        Ok(text)
    }

    async fn certificate_text(&self) -> anyhow::Result<Vec<u8>> {
        match self.args.cert.as_str() {
            "" => Controller::connect(&self.args).await?.certificate().await,
            location => certificate_at(location).await,
        }
    }

    /// The certificate to seal with: the repository's own, where it has pinned one.
    async fn certificate(&self) -> anyhow::Result<Certificate> {
        let parse = |pem: Vec<u8>| {
            Certificate::parse("--cert", &pem).map_err(|error| match error {
                // The incumbent's words.
                KeyError::NoCertificate { .. } => {
                    anyhow::anyhow!("data does not contain any valid RSA or ECDSA certificates")
                }
                other => other.into(),
            })
        };
        let how = self.args.pin;
        let here = std::env::current_dir();
        let pinned = match here {
            Ok(here) if how != UsePin::Off => Pinned::nearest(&here)?,
            _ => None,
        };
        let Some((pinned, own)) = pinned.as_ref().and_then(|pinned| Some((pinned, pinned.certificate()?))) else {
            if matches!(how, UsePin::Check | UsePin::Update) {
                bail!("no certificate is pinned in this repository; `latchwork pin` pins one");
            }
            return parse(self.certificate_text().await?);
        };
        if how == UsePin::Use && self.args.cert.is_empty() {
            complain(&format!("sealing to {}, pinned in {}", own.fingerprint(), pinned.path.display()));
            return parse(own.pem().as_bytes().to_vec());
        }
        let certificate = parse(self.certificate_text().await?)?;
        if how == UsePin::Update { pinned.update(&certificate) } else { pinned.check(&certificate) }?;
        Ok(certificate)
    }

    fn request(&self) -> SealRequest {
        // Without one, whoever needs it says so.
        let (default_namespace, namespace_asked) = self.namespace().unwrap_or_default();
        SealRequest {
            scope: self.args.scope,
            name: Some(self.args.name.clone()),
            namespace: None,
            default_namespace,
            namespace_asked,
            allow_empty: self.args.allow_empty_data,
        }
    }

    /// The namespace of Secrets that name none, and whether it was asked for.
    fn namespace(&self) -> Result<(String, bool), ApiError> {
        let cluster = &self.args.cluster;
        let asked = cluster.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let found = context_namespace(self.args.kubeconfig.as_deref(), &cluster.overrides(), asked)?;
        Ok((found, asked.is_some()))
    }

    fn seal(&self, certificate: &Certificate, request: SealRequest) -> anyhow::Result<Vec<SealedSecret>> {
        let secrets = read_secrets(&self.input()?)?;
        let sealed = secrets.into_iter().map(|input| seal_secret(input, &request, certificate));
        Ok(sealed.collect::<Result<_, _>>()?)
    }

    fn merge_into(&self, path: &Path, certificate: &Certificate) -> anyhow::Result<()> {
        let mut original = manifest::read_named(&read(path)?)?;
        let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut request = self.request();
        request.name = named(&original.metadata.name);
        request.namespace = named(&original.metadata.namespace);
        // The file has a scope already: entries of another one would never open in it. The incumbent seals them strict.
        let scope = crate::pure::sealed::unseal::object_scope(&original);
        if request.scope == Scope::Strict {
            request.scope = scope;
        } else if request.scope != scope {
            bail!("--scope {} differs from the scope of {}, which is {scope}", request.scope, path.display());
        }
        let sealed = self.seal(certificate, request)?;
        for update in sealed {
            if crate::pure::sealed::unseal::object_scope(&update) != scope {
                bail!(
                    "the annotations of the input ask for another scope than {} has, which is {scope}",
                    path.display()
                );
            }
            merge(&mut original, update)?;
        }
        let text = self.print_all(std::slice::from_ref(&original))?;
        replace(path, &text)
    }

    fn raw(&self, certificate: &Certificate) -> anyhow::Result<()> {
        let (scope, name) = (self.args.scope, self.args.name.as_str());
        let mut namespace = String::new();
        if scope != Scope::ClusterWide {
            namespace = match self.namespace() {
                Err(ApiError::Unconfigured(text)) => {
                    bail!("{text}; must provide the --namespace flag with --raw and --scope {scope}")
                }
                found => found?.0,
            };
            if name.is_empty() && scope == Scope::Strict {
                bail!("must provide the --name flag with --raw and --scope {scope}");
            }
        }
        let value = match self.args.from_file.as_slice() {
            [] => {
                if std::io::stdin().is_terminal() {
                    complain("(tty detected: expecting a secret to encrypt in stdin)");
                }
                let mut value = vec![];
                std::io::stdin().lock().read_to_end(&mut value).context("cannot read standard input")?;
                value
            }
            [one] => read(Path::new(one.split_once('=').map_or(one.as_str(), |(_, path)| path)))?,
            _ => bail!("must provide only one --from-file when encrypting a single item with --raw"),
        };
        let blob = item::seal(&Plaintext::new(value), certificate.public(), &scope.label(&namespace, name))?;
        self.write(STANDARD.encode(blob.to_bytes()).as_bytes())
    }

    fn output(&self) -> anyhow::Result<Output> {
        self.output.clone().map_err(anyhow::Error::msg)
    }

    fn print_all(&self, objects: &[SealedSecret]) -> anyhow::Result<Vec<u8>> {
        let output = self.output()?;
        let mut text = vec![];
        for object in objects {
            text.extend(output.print(&printable(object)?).map_err(anyhow::Error::msg)?);
        }
        Ok(text)
    }

    fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        self.write_as(text, None)
    }

    fn write_as(&self, text: &[u8], mode: Option<u32>) -> anyhow::Result<()> {
        match &self.file {
            Some(path) => replace_as(path, text, mode),
            None => Ok(std::io::stdout().lock().write_all(text)?),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), system(&error)))
}

/// The text of a certificate in a file or behind a URL.
pub(super) async fn certificate_at(location: &str) -> anyhow::Result<Vec<u8>> {
    // A drive letter is no scheme.
    let scheme = location.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| scheme.len() > 1);
    match scheme {
        Some("http" | "https") => fetch(location).await,
        Some("file") => {
            let path = Path::new(location.trim_start_matches("file:").trim_start_matches("//"));
            if !path.exists() {
                bail!("cannot fetch {location:?}: 404 Not Found");
            }
            read(path)
        }
        Some(scheme) if location.contains("://") => bail!("Get {location:?}: unsupported protocol scheme {scheme:?}"),
        _ => read(Path::new(location)),
    }
}

/// The text of the certificate that a controller serves; `service` is its namespace and name.
pub(super) async fn certificate_of(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    service: (&str, &str),
) -> anyhow::Result<Vec<u8>> {
    let overrides = Overrides { context: context.map(str::to_owned), ..Default::default() };
    Controller::reach(kubeconfig, &overrides, service.0, service.1).await?.certificate().await
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30)).build()?;
    let answer = match client.get(url).send().await {
        Ok(answer) => answer,
        Err(error) => bail!("Get {url:?}: {}", fault(error).await),
    };
    if answer.status() != reqwest::StatusCode::OK {
        bail!("cannot fetch {url:?}: {}", answer.status());
    }
    Ok(answer.bytes().await?.to_vec())
}

/// Why no answer came: in Go's words where the error has the facts for them, else as the library has it.
async fn fault(error: reqwest::Error) -> String {
    let server = error.url().and_then(|url| url.as_str().parse().ok());
    let told = match &server {
        Some(server) => dial::fault(&error, server).await,
        None => None,
    };
    told.unwrap_or_else(|| one_line(&chain(&error.without_url())))
}

/// Replaces a file in one step, keeping its mode: readers see the old or the new text, and a failure leaves the old.
pub(super) fn replace(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    replace_as(path, text, None)
}

/// The same with this mode.
fn replace_as(path: &Path, text: &[u8], mode: Option<u32>) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    // A link is written through: the file behind it is meant.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".kubeseal.").tempfile_in(dir).with_context(failed)?;
    file.write_all(text).with_context(failed)?;
    let permissions = match (mode, std::fs::metadata(&path)) {
        (Some(mode), _) => std::os::unix::fs::PermissionsExt::from_mode(mode),
        (None, Ok(old)) => old.permissions(),
        // As a program that creates a file has it, less nothing: the content is meant to be committed.
        (None, Err(_)) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
    };
    file.as_file().set_permissions(permissions).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist(&path).with_context(failed)?;
    Ok(())
}
