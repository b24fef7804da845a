//! `latchwork render`: the pipeline's decryption stage, on files.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::complain;
use super::key_services::ServiceArgs;
use super::keys_at_hand::{KeyArgs, KeysAtHand, WithGpg};
use super::providers::Providers;
use crate::adapters::kms::DataKeys;
use crate::adapters::{files, parallel};
use crate::pure::desired::GuardPolicy;
use crate::pure::gitops::stores::{self, Stores};
use crate::pure::gitops::stream::Stream;
use crate::pure::gitops::tree::{TreeError, TreeFile};
use crate::pure::gitops::{Document, FileResult, Keys, Show, StageError, Staged, Text, failure_line, stage};
use crate::pure::keys::allow::KeyAllowList;
use crate::pure::limits;
use crate::pure::sealed::Hints;
use crate::pure::secret::Plaintext;
use crate::pure::sops::DecryptionOrder;

/// Format of the output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A YAML stream; what needs no opening keeps its bytes
    Yaml,
    /// One JSON object per document
    Json,
}

/// Write the plain manifests of a GitOps repository to standard output, ready for `kubectl apply -f -`.
///
/// Reads files named *.yaml, *.yml and *.json below each PATH; Namespaces and CRDs are written first, the rest in the
/// order of the tree. SOPS files are opened and their MAC is
/// verified; SealedSecrets become Secrets; ExternalSecrets become Secrets with the SecretStores of the same tree
/// (provider fake, and vault at VAULT_ADDR with VAULT_TOKEN); everything else passes through byte for byte, and so does
/// a document with the annotation kustomize.toolkit.fluxcd.io/decrypt: disabled.
///
/// A PGP key of a file that no key at hand opens is asked of your gpg, or of the program that SOPS_GPG_EXEC names.
///
/// A document that fails is left out and gives one line on standard error; the exit status is then 1.
#[derive(Args)]
#[allow(rustdoc::bare_urls, reason = "a help text shows the characters as they are")]
pub struct RenderArgs {
    /// Directories or files to read; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    services: ServiceArgs,
    /// Key services that the files may name: beginnings of ARNs (arn:aws:kms:REGION:ACCOUNT), of Google's names
    /// (projects/NAME) or of addresses (https://vault.example.com). No other is asked: who writes the files chooses where
    /// your credentials are sent
    #[arg(long, env = "LATCHWORK_KMS_ALLOW", value_name = "KEY", value_delimiter = ',')]
    kms_allow: Vec<String>,
    /// Stop at the first failure and write nothing
    #[arg(long)]
    strict: bool,
    /// Format of the output
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    output: Output,
    /// Replace values by their length, for people
    #[arg(long)]
    redact: bool,
}

/// Renders, and says in the exit status whether everything could be opened.
pub fn run(args: &RenderArgs) -> anyhow::Result<ExitCode> {
    let at_hand = KeysAtHand::collect(&args.keys, &args.paths)?;
    // On the command line the user's own rights decide about namespaces and types when the output is applied.
    let policy = GuardPolicy { allow_token_types: true, ..Default::default() };
    let hints = Hints::default();
    let allowed = KeyAllowList::parse(args.kms_allow.iter().map(String::as_str));
    let allowed = allowed.map_err(|what| anyhow::anyhow!("--kms-allow: {what}"))?;
    // No order: the keys at hand come first.
    let sops = DataKeys::new(
        WithGpg::new(at_hand.identities),
        DecryptionOrder::default(),
        None,
        args.services.connect_allowed(allowed, "--kms-allow"),
    );
    let keys = Keys {
        sops: &sops,
        sealing: &at_hand.sealing,
        hints: &hints,
        policy: &policy,
        labels: &BTreeMap::new(),
        now: Timestamp::now(),
    };
    let show = Show { json: args.output == Output::Json, redact: args.redact };

    let mut files = vec![];
    for path in &args.paths {
        read(path, |file| files.push(file))?;
    }
    let files = parallel::map(files, |file| {
        let result = stage(file, &keys, Some(show));
        let failed = result.documents.iter().any(|document| document.outcome.is_err());
        (result, args.strict && failed)
    });
    let made = externals(&files, &keys, show, args.strict)?;
    let failures = report(&files, &made, args.strict);
    if failures > 0 && args.strict {
        return Ok(ExitCode::FAILURE);
    }
    let stores = Stores::of(&files);
    match write(&files, &made, &stores, show) {
        // The reader has seen enough: not an error of ours, but not a success either.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::FAILURE),
        Err(error) => Err(error).context("cannot write to standard output"),
        Ok(()) if failures > 0 => Ok(ExitCode::FAILURE),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Reads one PATH.
fn read(path: &Path, mut visit: impl FnMut(TreeFile)) -> anyhow::Result<()> {
    if path == Path::new("-") {
        let mut content = vec![];
        let max = limits::TREE_BYTES;
        std::io::stdin().lock().take(max as u64 + 1).read_to_end(&mut content).context("cannot read standard input")?;
        let content = if content.len() > max { Err(TreeError::TooManyBytes { max }) } else { Ok(content) };
        visit(TreeFile { path: "-".into(), content });
        return Ok(());
    }
    files::walk(path, |mut file| {
        let shown = if file.path.is_empty() { path.to_owned() } else { path.join(&file.path) };
        file.path = shown.to_string_lossy().into_owned();
        visit(file);
        true
    });
    Ok(())
}

/// The Secrets of the ExternalSecrets, by file and document.
type Made = HashMap<(usize, usize), Result<Plaintext, StageError>>;

fn externals(files: &[FileResult], keys: &Keys<'_>, show: Show, strict: bool) -> anyhow::Result<Made> {
    let stores = Stores::of(files);
    let mut made = Made::new();
    let mut providers = Providers::default();
    for (file, result) in files.iter().enumerate() {
        for (index, document) in result.documents.iter().enumerate() {
            let Ok(Staged::External(external)) = &document.outcome else { continue };
            let text = stores::plan(external).and_then(|fetches| {
                let answers = fetches.iter().map(|fetch| providers.answer(&stores, fetch)).collect();
                let secret = stores::finish(external, answers, keys.policy, keys.now)?;
                show.secret(&secret)
            });
            let failed = text.is_err();
            made.insert((file, index), text);
            if failed && strict {
                return Ok(made);
            }
        }
    }
    Ok(made)
}

/// One line per failure, in the order of the documents. Returns their number.
fn report(files: &[FileResult], made: &Made, strict: bool) -> usize {
    let mut failures = 0;
    for (file, result) in files.iter().enumerate() {
        for (index, document) in result.documents.iter().enumerate() {
            let error = match &document.outcome {
                Err(error) => error,
                Ok(_) => match made.get(&(file, index)) {
                    Some(Err(error)) => error,
                    _ => continue,
                },
            };
            complain(&format!("error: {}", failure_line(&result.path, document, error)));
            failures += 1;
            if strict {
                return failures;
            }
        }
    }
    failures
}

fn write(files: &[FileResult], made: &Made, stores: &Stores<'_>, show: Show) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let documents = files.iter().flat_map(|file| &file.documents).filter(|document| document.outcome.is_ok());
    let mut stream = Stream::new(documents.count() == 1);
    // kubectl applies in order: what others stand in or are kinds of goes first, the rest keeps the order of the tree.
    for founding in [true, false] {
        for (file, result) in files.iter().enumerate() {
            // Where the last text of this file ended, if it was the file's own.
            let mut end = None;
            let chosen = result.documents.iter().enumerate().filter(|(_, d)| is_founding(d) == founding);
            for (index, document) in chosen {
                let external = made.get(&(file, index)).and_then(|text| text.as_ref().ok());
                let Some((text, span)) = external
                    .map(|text| (text.expose(), None))
                    .or_else(|| text(result, document, stores))
                    .filter(|(text, _)| !text.is_empty())
                else {
                    continue;
                };
                if !show.json {
                    match &span {
                        Some(span) if end == Some(span.start) => stream.follow(text),
                        _ => out.write_all(stream.before(text))?,
                    }
                }
                out.write_all(text)?;
                end = span.map(|span| span.end);
            }
        }
    }
    out.flush()
}

/// Whether objects of the same stream may need this one to exist.
fn is_founding(document: &Document) -> bool {
    matches!(
        (document.header.api_version.as_str(), document.header.kind.as_str()),
        ("v1", "Namespace") | ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    )
}

type Written<'a> = (&'a [u8], Option<std::ops::Range<usize>>);

fn text<'a>(file: &'a FileResult, document: &'a Document, stores: &Stores<'_>) -> Option<Written<'a>> {
    let text = match document.outcome.as_ref().ok()? {
        Staged::Plain(text) | Staged::Opened(text) | Staged::Secret(_, text) => text,
        Staged::Store(id, _, text) if !stores.is_used(id) => text,
        Staged::Store(..) | Staged::External(_) => return None,
    };
    match text {
        Text::None => None,
        Text::Made(text) => Some((text.expose(), None)),
        Text::Source(span) => Some((file.source.get(span.clone())?, Some(span.clone()))),
    }
}
