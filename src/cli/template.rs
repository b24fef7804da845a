//! `latchwork template`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value as Json;

use super::complain;
use crate::pure::error::Explain as _;
use crate::pure::limits;
use crate::pure::secret::Plaintext;
use crate::pure::template::{Environment, Flavour, MissingKey, Options, Template, Value};

/// Try the templates of SealedSecrets and ExternalSecrets without a cluster.
#[derive(Args)]
pub struct TemplateArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Render a template, or every template of a SealedSecret or ExternalSecret manifest
    Render(RenderArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FlavourName {
    Sealed,
    External,
}

/// Render with the operator's own engine. Exit status 1 when a template fails.
#[derive(Args)]
struct RenderArgs {
    /// A template, or a manifest of kind SealedSecret or ExternalSecret
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Values by name, as YAML or JSON: what the entries of the Secret would be
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Manifest of a Secret whose entries are values too; may be given more than once, later ones win
    #[arg(long, value_name = "FILE")]
    secret: Vec<PathBuf>,
    /// Whose functions a bare template may call [default: sealed; a manifest decides by its kind]
    #[arg(long)]
    flavour: Option<FlavourName>,
    /// Make up a value for every name that an ExternalSecret fetches or a SealedSecret holds and that is not given
    #[arg(long)]
    make_up: bool,
}

/// One template to render: what it is called, its text, and whether the result is the whole output.
struct Job {
    name: String,
    text: String,
}

/// Runs the verb.
pub fn run(args: &TemplateArgs) -> anyhow::Result<ExitCode> {
    let Verb::Render(args) = &args.verb;
    render(args)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?.len();
    if size > limits::FILE_BYTES as u64 {
        bail!("{}: larger than {} bytes", path.display(), limits::FILE_BYTES);
    }
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}

/// A YAML or JSON document. The parser's own message may quote a value, so that only the place is told.
fn document(path: &Path) -> anyhow::Result<Json> {
    parsed(&read(path)?).with_context(|| format!("{}: not one YAML or JSON document", path.display()))
}

fn parsed(bytes: &[u8]) -> Option<Json> {
    std::str::from_utf8(bytes).ok().and_then(|text| serde_saphyr::from_str(text).ok())
}

fn render(args: &RenderArgs) -> anyhow::Result<ExitCode> {
    let source = read(&args.file)?;
    let manifest = parsed(&source).filter(|json| kind_of(json).is_some());
    let (flavour, jobs, mut names) = match &manifest {
        Some(json) => of_manifest(json),
        None => {
            let name = args.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let text = String::from_utf8_lossy(&source).into_owned();
            let flavour = if args.flavour == Some(FlavourName::External) { Flavour::External } else { Flavour::Sealed };
            (flavour, vec![Job { name, text }], Vec::new())
        }
    };
    if jobs.is_empty() {
        bail!("{}: the manifest has no template", args.file.display());
    }
    let mut values = values_of(args)?;
    names.retain(|name| !values.contains_key(name));
    if args.make_up {
        for name in names {
            let made_up = Plaintext::from(format!("<{name}>"));
            values.insert(name, made_up);
        }
    }
    let dot = Value::string_map(values.iter().map(|(name, value)| (name.clone(), value)));
    let options = Options {
        flavour,
        missing_key: if flavour == Flavour::External { MissingKey::Error } else { MissingKey::Invalid },
        ..Options::default()
    };
    let mut rendered = Vec::new();
    let mut failed = false;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    for job in &jobs {
        let mut random = |bytes: &mut [u8]| {
            // Without a source there is no result: zeros would look like one.
            failed |= getrandom::fill(bytes).is_err();
        };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut environment = Environment::new((seconds, now.subsec_nanos()), &mut random);
        let result = Template::parse(&job.name, &job.text, &options)
            .and_then(|template| template.render(&dot, &mut environment));
        match result {
            Ok(out) => rendered.push((job.name.as_str(), out)),
            Err(error) => {
                complain(&format!("error: {}: {}", args.file.display(), error.line()));
                failed = true;
            }
        }
    }
    if failed {
        return Ok(ExitCode::FAILURE);
    }
    print(&rendered, manifest.is_some())?;
    Ok(ExitCode::SUCCESS)
}

/// A bare template is written as it is; the entries of a manifest as a JSON object, which is YAML too.
fn print(rendered: &[(&str, Plaintext)], manifest: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if !manifest {
        for (_, text) in rendered {
            out.write_all(text.expose())?;
        }
        return Ok(());
    }
    let entries: serde_json::Map<String, Json> = rendered
        .iter()
        .map(|(name, text)| ((*name).to_owned(), String::from_utf8_lossy(text.expose()).into_owned().into()))
        .collect();
    serde_json::to_writer_pretty(&mut out, &entries)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn values_of(args: &RenderArgs) -> anyhow::Result<BTreeMap<String, Plaintext>> {
    let mut values = BTreeMap::new();
    if let Some(path) = &args.data {
        let json = document(path)?;
        let map = json.as_object().with_context(|| format!("{}: not a map of names to values", path.display()))?;
        for (name, value) in map {
            let text = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            values.insert(name.clone(), Plaintext::from(text));
        }
    }
    for path in &args.secret {
        let json = document(path)?;
        if json.get("kind").and_then(Json::as_str) != Some("Secret") {
            bail!("{}: not the manifest of a Secret", path.display());
        }
        for (name, value) in entries(&json, "data") {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(value.replace(['\n', '\r'], ""));
            let bytes = bytes.ok().with_context(|| format!("{}: entry {name} is not base64", path.display()))?;
            values.insert(name, Plaintext::new(bytes));
        }
        for (name, value) in entries(&json, "stringData") {
            values.insert(name, Plaintext::from(value));
        }
    }
    Ok(values)
}

fn kind_of(json: &Json) -> Option<Flavour> {
    match json.get("kind").and_then(Json::as_str)? {
        "SealedSecret" => Some(Flavour::Sealed),
        "ExternalSecret" => Some(Flavour::External),
        _ => None,
    }
}

/// The strings of a map.
fn entries(json: &Json, name: &str) -> Vec<(String, String)> {
    let map = json.get(name).and_then(Json::as_object);
    let pair = |(name, value): (&String, &Json)| Some((name.clone(), value.as_str()?.to_owned()));
    map.into_iter().flatten().filter_map(pair).collect()
}

/// Flavour, templates and the names of the values of a manifest.
fn of_manifest(json: &Json) -> (Flavour, Vec<Job>, Vec<String>) {
    let none = Json::Null;
    let at = |json: &Json, path: &str| json.pointer(path).unwrap_or(&none).clone();
    let job = |(name, text): (String, String)| Job { name, text };
    match kind_of(json) {
        Some(Flavour::External) => {
            let template = at(json, "/spec/target/template");
            let mut jobs: Vec<Job> = entries(&template, "data").into_iter().map(job).collect();
            for part in ["labels", "annotations"] {
                let metadata = entries(&at(&template, "/metadata"), part);
                jobs.extend(
                    metadata.into_iter().map(|(name, text)| Job { name: format!("metadata.{part}.{name}"), text }),
                );
            }
            for (index, from) in at(&template, "/templateFrom").as_array().into_iter().flatten().enumerate() {
                if let Some(text) = from.get("literal").and_then(Json::as_str) {
                    jobs.push(Job { name: format!("templateFrom[{index}]"), text: text.to_owned() });
                }
            }
            let data = at(json, "/spec/data");
            let names = data.as_array().into_iter().flatten();
            let names = names.filter_map(|data| Some(data.get("secretKey")?.as_str()?.to_owned())).collect();
            (Flavour::External, jobs, names)
        }
        _ => {
            let jobs = entries(&at(json, "/spec/template"), "data").into_iter().map(job).collect();
            let names = entries(&at(json, "/spec"), "encryptedData").into_iter().map(|(name, _)| name).collect();
            (Flavour::Sealed, jobs, names)
        }
    }
}
