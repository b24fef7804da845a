//! `latchwork template`.

use std::collections::{BTreeMap, BTreeSet};
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

/// Where an ExternalSecret names templates that are kept elsewhere.
const TEMPLATE_FROM: &str = "/spec/target/template/templateFrom";

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
    /// Manifest of a Secret: the templates that an ExternalSecret's templateFrom takes from it, or else values, of which
    /// later ones win; may be given more than once
    #[arg(long, value_name = "FILE")]
    secret: Vec<PathBuf>,
    /// Manifest of a ConfigMap that an ExternalSecret's templateFrom names; may be given more than once
    #[arg(long, value_name = "FILE")]
    config_map: Vec<PathBuf>,
    /// Whose functions a bare template may call [default: sealed; a manifest decides by its kind]
    #[arg(long)]
    flavour: Option<FlavourName>,
    /// Make up a value for every name that an ExternalSecret fetches or a SealedSecret holds and that is not given
    #[arg(long)]
    make_up: bool,
}

/// One template to render.
struct Job {
    /// What it is called in errors and in the output.
    name: String,
    text: Plaintext,
    /// Kept in a Secret: no error quotes it.
    is_secret: bool,
    /// Makes names and values, so that its result must be a YAML map of strings.
    is_map: bool,
}

impl Job {
    fn shown((name, text): (String, String)) -> Self {
        Self { name, text: Plaintext::from(text), is_secret: false, is_map: false }
    }

    /// The rendered text, or what is wrong, on one line.
    fn render(&self, options: &Options, dot: &Value, environment: &mut Environment<'_>) -> Result<Plaintext, String> {
        let rendered = Template::parse(&self.name, self.text.expose(), options)
            .and_then(|template| template.render(dot, environment))
            .map_err(|error| if self.is_secret { error.place_only(&self.name) } else { error.line() })?;
        let is_map = || {
            let text = rendered.expose_str()?;
            let map: Option<BTreeMap<String, Json>> = serde_saphyr::from_str(text).ok();
            (text.trim().is_empty() || map?.values().all(Json::is_string)).then_some(())
        };
        if self.is_map && is_map().is_none() {
            return Err(format!("{}: the rendered text is not a YAML map of strings", self.name));
        }
        Ok(rendered)
    }
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
    let (flavour, mut jobs, mut names) = match &manifest {
        Some(json) => of_manifest(json),
        None => {
            let name = args.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let text = String::from_utf8_lossy(&source).into_owned();
            let flavour = if args.flavour == Some(FlavourName::External) { Flavour::External } else { Flavour::Sealed };
            (flavour, vec![Job::shown((name, text))], Vec::new())
        }
    };
    let given = Given::read(args)?;
    let mut failed = false;
    let from = manifest.as_ref().filter(|_| flavour == Flavour::External).and_then(|json| json.pointer(TEMPLATE_FROM));
    for (index, from) in from.and_then(Json::as_array).into_iter().flatten().enumerate() {
        match given.jobs(&format!("templateFrom[{index}]"), from) {
            Ok(more) => jobs.extend(more),
            Err(error) => {
                complain(&format!("error: {}: {error}", args.file.display()));
                failed = true;
            }
        }
    }
    if jobs.is_empty() && !failed {
        bail!("{}: the manifest has no template", args.file.display());
    }
    let templates = from.map(|from| names_in(from, "secret")).unwrap_or_default();
    let mut values = values_of(args, &given, &templates)?;
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
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    for job in &jobs {
        let mut random = |bytes: &mut [u8]| {
            // Without a source there is no result: zeros would look like one.
            failed |= getrandom::fill(bytes).is_err();
        };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut environment = Environment::new((seconds, now.subsec_nanos()), &mut random);
        match job.render(&options, &dot, &mut environment) {
            Ok(out) => rendered.push((job.name.as_str(), out)),
            Err(error) => {
                complain(&format!("error: {}: {error}", args.file.display()));
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

fn values_of(
    args: &RenderArgs,
    given: &Given,
    templates: &BTreeSet<String>,
) -> anyhow::Result<BTreeMap<String, Plaintext>> {
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
    for (_, entries) in given.secrets.iter().filter(|(name, _)| !templates.contains(name)) {
        values.extend(entries.iter().map(|(name, value)| (name.clone(), value.duplicate())));
    }
    Ok(values)
}

/// The Secrets and ConfigMaps that were given, by name and in their order.
struct Given {
    secrets: Vec<(String, BTreeMap<String, Plaintext>)>,
    config_maps: Vec<(String, BTreeMap<String, Plaintext>)>,
}

impl Given {
    fn read(args: &RenderArgs) -> anyhow::Result<Self> {
        let all = |paths: &[PathBuf], kind, clear| paths.iter().map(|path| object(path, kind, clear)).collect();
        let secrets: anyhow::Result<_> = all(&args.secret, "Secret", "stringData");
        let config_maps: anyhow::Result<_> = all(&args.config_map, "ConfigMap", "data");
        Ok(Self { secrets: secrets?, config_maps: config_maps? })
    }

    /// The templates of one member of `templateFrom`.
    fn jobs(&self, place: &str, from: &Json) -> Result<Vec<Job>, String> {
        let mut jobs = Vec::new();
        for (field, kind, flag, objects) in [
            ("configMap", "ConfigMap", "--config-map", &self.config_maps),
            ("secret", "Secret", "--secret", &self.secrets),
        ] {
            let Some(source) = from.get(field) else { continue };
            let name = source.get("name").and_then(Json::as_str).unwrap_or_default();
            let Some((_, entries)) = objects.iter().rev().find(|(known, _)| known == name) else {
                return Err(format!("{place}: {kind} \"{name}\" is missing; give its manifest with {flag} FILE"));
            };
            for item in source.get("items").and_then(Json::as_array).into_iter().flatten() {
                let key = item.get("key").and_then(Json::as_str).unwrap_or_default();
                let Some(text) = entries.get(key).filter(|text| text.expose_str().is_some()) else {
                    return Err(format!("{place}: {kind} \"{name}\" has no text at \"{key}\""));
                };
                jobs.push(Job {
                    name: format!("{place}.{key}"),
                    text: text.duplicate(),
                    is_secret: field == "secret",
                    is_map: item.get("templateAs").and_then(Json::as_str) == Some("KeysAndValues"),
                });
            }
        }
        if let Some(text) = from.get("literal").and_then(Json::as_str) {
            jobs.push(Job { is_map: true, ..Job::shown((place.to_owned(), text.to_owned())) });
        }
        Ok(jobs)
    }
}

/// Name and entries of a manifest of this kind. `clear` is its field of entries that are not base64.
fn object(path: &Path, kind: &str, clear: &str) -> anyhow::Result<(String, BTreeMap<String, Plaintext>)> {
    use base64::Engine as _;
    let json = document(path)?;
    if json.get("kind").and_then(Json::as_str) != Some(kind) {
        bail!("{}: not the manifest of a {kind}", path.display());
    }
    let mut values = BTreeMap::new();
    let encoded = if kind == "Secret" { "data" } else { "binaryData" };
    for (name, value) in entries(&json, encoded) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.replace(['\n', '\r'], ""));
        let bytes = bytes.ok().with_context(|| format!("{}: entry {name} is not base64", path.display()))?;
        values.insert(name, Plaintext::new(bytes));
    }
    values.extend(entries(&json, clear).into_iter().map(|(name, value)| (name, Plaintext::from(value))));
    let name = json.pointer("/metadata/name").and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok((name, values))
}

/// Names of the objects that `templateFrom` takes from this field of its members.
fn names_in(from: &Json, field: &str) -> BTreeSet<String> {
    let members = from.as_array().into_iter().flatten();
    members.filter_map(|from| Some(from.get(field)?.get("name")?.as_str()?.to_owned())).collect()
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
    match kind_of(json) {
        Some(Flavour::External) => {
            let template = at(json, "/spec/target/template");
            let mut jobs: Vec<Job> = entries(&template, "data").into_iter().map(Job::shown).collect();
            for part in ["labels", "annotations"] {
                let metadata = entries(&at(&template, "/metadata"), part);
                jobs.extend(
                    metadata.into_iter().map(|(name, text)| Job::shown((format!("metadata.{part}.{name}"), text))),
                );
            }
            let data = at(json, "/spec/data");
            let names = data.as_array().into_iter().flatten();
            let names = names.filter_map(|data| Some(data.get("secretKey")?.as_str()?.to_owned())).collect();
            (Flavour::External, jobs, names)
        }
        _ => {
            let jobs = entries(&at(json, "/spec/template"), "data").into_iter().map(Job::shown).collect();
            let names = entries(&at(json, "/spec"), "encryptedData").into_iter().map(|(name, _)| name).collect();
            (Flavour::Sealed, jobs, names)
        }
    }
}
