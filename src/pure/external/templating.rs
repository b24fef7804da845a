//! `target.template`: the text of each entry, label and annotation, rendered over the values that were read.

use std::collections::BTreeMap;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use k8s_openapi::jiff::Timestamp;
use zeroize::Zeroizing;

use super::{ExternalError, select};
use crate::pure::crd::external_secret::{
    ExternalSecret, Template as Spec, TemplateAs, TemplateFrom, TemplateMergePolicy, TemplateSource,
};
use crate::pure::desired::{Candidate, ObservedSecret};
use crate::pure::secret::{Plaintext, SecretData};
use crate::pure::template::kept::{Kept, Live, Part, Target};
use crate::pure::template::{Environment, Flavour, MissingKey, Options, Template, TemplateCache, Value};

/// Kinds that can keep templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// An object of the ExternalSecret's namespace that keeps templates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRef {
    /// Kind.
    pub kind: SourceKind,
    /// Name.
    pub name: String,
}

/// The entries of the objects that keep templates, and the templates that were parsed before.
#[derive(Default)]
pub struct Sources {
    objects: BTreeMap<SourceRef, SecretData>,
    parsed: TemplateCache,
}

impl Sources {
    /// No objects yet. `parsed` is kept from one reconcile to the next; templates out of Secrets are not put into it.
    pub fn new(parsed: &TemplateCache) -> Self {
        Self { objects: BTreeMap::new(), parsed: parsed.clone() }
    }

    /// Adds an object.
    pub fn insert(&mut self, source: SourceRef, entries: SecretData) {
        self.objects.insert(source, entries);
    }
}

/// What must be read before the template can be rendered.
pub fn sources(es: &ExternalSecret) -> Vec<SourceRef> {
    let from = es.spec.template().map(|template| template.template_from.as_slice()).unwrap_or_default();
    let mut found: Vec<SourceRef> = from
        .iter()
        .flat_map(|from| {
            let named = |source: &Option<TemplateSource>, kind| {
                source.as_ref().map(|source| SourceRef { kind, name: source.name.clone() })
            };
            [named(&from.config_map, SourceKind::ConfigMap), named(&from.secret, SourceKind::Secret)]
        })
        .flatten()
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Runs `work` with a clock and a random source.
pub(super) fn with_environment<T>(
    now: Timestamp,
    work: impl FnOnce(&mut Environment<'_>) -> Result<T, ExternalError>,
) -> Result<T, ExternalError> {
    // Random functions draw from the library's system generator, as SealedSecrets' templates do.
    let random = SystemRandom::new();
    let mut failed = false;
    let mut fill = |bytes: &mut [u8]| failed |= random.fill(bytes).is_err();
    let subsecond = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let result = work(&mut Environment::new((now.as_second(), subsecond), &mut fill));
    if failed {
        let detail = "no random bytes from the system".into();
        return Err(ExternalError::Template { place: "target.template".into(), detail });
    }
    result
}

/// Renders the new name that a `transform` gives to `name`.
pub(super) fn transform(
    place: &str,
    text: &str,
    name: &str,
    environment: &mut Environment<'_>,
) -> Result<String, ExternalError> {
    let value = Plaintext::copy_of(name.as_bytes());
    let dot = Value::string_map([("value".to_owned(), &value)]);
    let options = Options { flavour: Flavour::External, ..Options::default() };
    let (rendered, _) = render(place, Text::Shown(text), &options, None, &dot, environment)?;
    into_text(place, rendered)
}

/// The text of a template.
#[derive(Clone, Copy)]
enum Text<'t> {
    /// Errors may quote it.
    Shown(&'t str),
    /// It is kept in a Secret.
    Secret(&'t str),
}

/// The rendered text, and whether it may be another one next time.
fn render(
    place: &str,
    text: Text<'_>,
    options: &Options,
    parsed: Option<&TemplateCache>,
    dot: &Value,
    environment: &mut Environment<'_>,
) -> Result<(Plaintext, bool), ExternalError> {
    let (Text::Shown(words) | Text::Secret(words)) = text;
    let template = match (text, parsed) {
        (Text::Shown(_), Some(parsed)) => parsed.parse(place, words, options),
        _ => Template::parse(place, words, options),
    };
    template.and_then(|template| Ok((template.render(dot, environment)?, template.is_volatile()))).map_err(|error| {
        ExternalError::Template {
            place: place.to_owned(),
            detail: match text {
                Text::Shown(_) => error.to_string(),
                Text::Secret(_) => error.place_only(place),
            },
        }
    })
}

fn into_text(place: &str, value: Plaintext) -> Result<String, ExternalError> {
    value.expose_str().map(str::to_owned).ok_or_else(|| ExternalError::Template {
        place: place.to_owned(),
        detail: "the rendered text is not UTF-8".into(),
    })
}

/// Where rendered text goes.
#[derive(Clone, Copy)]
enum Place {
    Data,
    Annotations,
    Labels,
}

/// Puts the values and what the template makes of them into `candidate`: template.data over templateFrom over the
/// values, over what is there. Of random templates, what `existing` holds is kept while their inputs are the same.
pub(super) fn apply(
    template: &Spec,
    values: SecretData,
    sources: &Sources,
    now: Timestamp,
    existing: Option<&ObservedSecret>,
    candidate: &mut Candidate,
) -> Result<(), ExternalError> {
    if let Some(kind) = template.kind.as_deref().filter(|kind| !kind.is_empty()) {
        candidate.kind = kind.to_owned();
    }
    let texts = template.data.clone().unwrap_or_default();
    let replaces = template.merge_policy.unwrap_or_default() == TemplateMergePolicy::Replace;
    let makes_data = !texts.is_empty() || !template.template_from.is_empty();
    let mut kept = inputs(template, &values, sources)?;
    let dot = Value::string_map(values.iter().map(|(name, value)| (name.to_owned(), value)));
    if !(replaces && makes_data) {
        for (name, value) in values {
            candidate.data.insert(name, value);
        }
    }
    let options = Options { flavour: Flavour::External, missing_key: MissingKey::Error, ..Options::default() };
    with_environment(now, |environment| {
        let (parsed, candidate) = (&sources.parsed, &mut *candidate);
        let mut work = Work { options: &options, parsed, dot: &dot, environment, candidate, kept: &mut kept };
        for (index, from) in template.template_from.iter().enumerate() {
            work.from(&format!("target.template.templateFrom[{index}]"), from, sources)?;
        }
        for (name, text) in &texts {
            work.one(&format!("target.template.data.{name}"), Place::Data, name, Text::Shown(text), None)?;
        }
        let metadata = template.metadata.clone().unwrap_or_default();
        for (name, text) in &metadata.labels {
            work.one(&format!("target.template.metadata.labels.{name}"), Place::Labels, name, Text::Shown(text), None)?;
        }
        for (name, text) in &metadata.annotations {
            work.one(
                &format!("target.template.metadata.annotations.{name}"),
                Place::Annotations,
                name,
                Text::Shown(text),
                None,
            )?;
        }
        for finalizer in metadata.finalizers {
            if !work.candidate.finalizers.contains(&finalizer) {
                work.candidate.finalizers.push(finalizer);
            }
        }
        Ok(())
    })?;
    let Candidate { data, labels, annotations, .. } = candidate;
    let live = existing.map(|live| Live { data: &live.data, labels: &live.labels, annotations: &live.annotations });
    kept.settle(&mut Target { data, labels, annotations }, live.as_ref());
    Ok(())
}

/// Everything that the templates see.
fn inputs(template: &Spec, values: &SecretData, sources: &Sources) -> Result<Kept, ExternalError> {
    let spec = serde_json::to_vec(template)
        .map_err(|_| refuse("target.template", "the template cannot be written as JSON"))?;
    let values = values.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose()]);
    let kept = sources.objects.iter().flat_map(|(source, entries)| {
        let kind: &[u8] = if source.kind == SourceKind::Secret { b"Secret" } else { b"ConfigMap" };
        let entries = entries.iter().flat_map(|(name, text)| [name.as_bytes(), text.expose()]);
        [kind, source.name.as_bytes()].into_iter().chain(entries)
    });
    Ok(Kept::new([spec.as_slice()].into_iter().chain(values).chain(kept)))
}

struct Work<'w, 'e> {
    options: &'w Options,
    parsed: &'w TemplateCache,
    dot: &'w Value,
    environment: &'w mut Environment<'e>,
    candidate: &'w mut Candidate,
    kept: &'w mut Kept,
}

impl Work<'_, '_> {
    fn from(&mut self, place: &str, from: &TemplateFrom, sources: &Sources) -> Result<(), ExternalError> {
        let target = match from.target.as_deref().unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "data" => Place::Data,
            "annotations" => Place::Annotations,
            "labels" => Place::Labels,
            _ => return Err(refuse(place, "target is none of Data, Annotations and Labels")),
        };
        for (kind, word, source) in
            [(SourceKind::ConfigMap, "ConfigMap", &from.config_map), (SourceKind::Secret, "Secret", &from.secret)]
        {
            let Some(source) = source else { continue };
            let entries = sources.objects.get(&SourceRef { kind, name: source.name.clone() });
            for item in &source.items {
                let entry = entries.and_then(|entries| entries.get(&item.key));
                let Some(text) = entry.and_then(Plaintext::expose_str) else {
                    return Err(refuse(place, &format!("{word} {} has no text at \"{}\"", source.name, item.key)));
                };
                let name = format!("{place}.{}", item.key);
                let text = if kind == SourceKind::Secret { Text::Secret(text) } else { Text::Shown(text) };
                match item.template_as.unwrap_or_default() {
                    TemplateAs::Values => self.one(&name, target, &item.key, text, Some(from))?,
                    TemplateAs::KeysAndValues => self.many(&name, target, text, Some(from))?,
                }
            }
        }
        match &from.literal {
            Some(literal) => self.many(place, target, Text::Shown(literal), Some(from)),
            None => Ok(()),
        }
    }

    fn one(
        &mut self,
        place: &str,
        target: Place,
        name: &str,
        text: Text<'_>,
        from: Option<&TemplateFrom>,
    ) -> Result<(), ExternalError> {
        let (value, volatile) = render(place, text, self.options, Some(self.parsed), self.dot, self.environment)?;
        self.put(place, target, name, value, from, volatile)
    }

    /// Rendered text that is a YAML map of strings. Its reader's own errors may quote a value and are not passed on.
    fn many(
        &mut self,
        place: &str,
        target: Place,
        text: Text<'_>,
        from: Option<&TemplateFrom>,
    ) -> Result<(), ExternalError> {
        let (rendered, volatile) = render(place, text, self.options, Some(self.parsed), self.dot, self.environment)?;
        let no_map = || refuse(place, "the rendered text is not a YAML map of strings");
        let text = rendered.expose_str().ok_or_else(no_map)?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let map: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(text).map_err(|_| no_map())?;
        for (name, value) in map {
            let serde_json::Value::String(value) = value else { return Err(no_map()) };
            let mut value = Zeroizing::new(value);
            self.put(place, target, &name, Plaintext::from(std::mem::take(&mut *value)), from, volatile)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        place: &str,
        target: Place,
        name: &str,
        value: Plaintext,
        from: Option<&TemplateFrom>,
        volatile: bool,
    ) -> Result<(), ExternalError> {
        let part = match target {
            Place::Data => Part::Data,
            Place::Labels => Part::Label,
            Place::Annotations => Part::Annotation,
        };
        // The last template of a name makes it.
        if volatile {
            self.kept.add(part, name)
        } else {
            self.kept.remove(part, name)
        }
        let decoding = from.and_then(|from| from.values_decoding_strategy);
        let value = select::finish(place, name, value, decoding, None)?;
        match target {
            Place::Data => drop(self.candidate.data.insert(name, value)),
            Place::Labels => drop(self.candidate.labels.insert(name.to_owned(), into_text(place, value)?)),
            Place::Annotations => drop(self.candidate.annotations.insert(name.to_owned(), into_text(place, value)?)),
        }
        Ok(())
    }
}

fn refuse(place: &str, detail: &str) -> ExternalError {
    ExternalError::Template { place: place.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::external_secret;
    use super::super::{Dialect, Fetched, assemble};
    use super::*;

    fn one_source(kind: SourceKind, name: &str, data: SecretData) -> Sources {
        let mut sources = Sources::default();
        sources.insert(SourceRef { kind, name: name.into() }, data);
        sources
    }

    fn run(template: serde_json::Value, sources: &Sources) -> Result<Candidate, ExternalError> {
        let es = external_secret(serde_json::json!({
            "secretStoreRef": {"name": "s"}, "target": {"template": template},
            "dataFrom": [{"extract": {"key": "k"}}],
        }));
        let values = Plaintext::from(r#"{"user":"ann","pass":"p:w","b64":"aGk="}"#.to_owned());
        let answers = vec![Ok(Fetched::Value(std::sync::Arc::new(values), Dialect::Aws))];
        let now = "2026-11-24T12:00:00Z".parse().expect("time");
        assemble(&es, answers, sources, now).map(|(candidate, _)| candidate)
    }

    fn entries(candidate: &Candidate) -> Vec<(String, String)> {
        candidate.data.iter().map(|(k, v)| (k.to_owned(), v.expose_str().unwrap_or("?").to_owned())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn kept() -> Sources {
        let data = [("conf", "user={{ .user }}"), ("many", "a: \"{{ .user }}\"\nb: x")];
        let data = data.into_iter().map(|(k, v)| (k.to_owned(), Plaintext::from(v.to_owned()))).collect();
        one_source(SourceKind::ConfigMap, "cm", data)
    }

    #[test]
    fn templates_make_data_labels_and_annotations() {
        let candidate = run(
            serde_json::json!({"type": "kubernetes.io/basic-auth",
                "data": {"url": "db://{{ .user }}:{{ .pass }}@h", "upper": "{{ .user | upper }}"},
                "metadata": {"labels": {"who": "{{ .user }}"}, "annotations": {"a": "{{ .user | quote }}"}, "finalizers": ["x/y"]}}),
            &Sources::default(),
        ).expect("rendered");
        assert_eq!(entries(&candidate), pairs(&[("upper", "ANN"), ("url", "db://ann:p:w@h")]));
        assert_eq!(candidate.kind, "kubernetes.io/basic-auth");
        assert_eq!(candidate.labels.get("who").map(String::as_str), Some("ann"));
        assert_eq!(candidate.annotations.get("a").map(String::as_str), Some("\"ann\""));
        assert_eq!(candidate.finalizers, ["x/y"]);
    }

    #[test]
    fn precedence_is_data_over_from_over_values() {
        let all = [("b64", "aGk="), ("pass", "p:w"), ("user", "ann")];
        for (template, want) in [
            (serde_json::json!({}), all.to_vec()),
            (serde_json::json!({"metadata": {"labels": {"a": "b"}}}), all.to_vec()),
            (serde_json::json!({"data": {"x": "1"}}), vec![("x", "1")]),
            (
                serde_json::json!({"mergePolicy": "Merge", "data": {"user": "other"}}),
                vec![("b64", "aGk="), ("pass", "p:w"), ("user", "other")],
            ),
            (
                serde_json::json!({"templateFrom": [{"configMap": {"name": "cm", "items": [{"key": "conf"}]}}]}),
                vec![("conf", "user=ann")],
            ),
            (
                serde_json::json!({"data": {"a": "data"}, "templateFrom": [
                    {"configMap": {"name": "cm", "items": [{"key": "many", "templateAs": "KeysAndValues"}]}}]}),
                vec![("a", "data"), ("b", "x")],
            ),
            (
                serde_json::json!({"templateFrom": [{"literal": "{{ range $k, $v := . }}{{ $k }}_x: {{ $v | quote }}\n{{ end }}"}]}),
                vec![("b64_x", "aGk="), ("pass_x", "p:w"), ("user_x", "ann")],
            ),
            (
                serde_json::json!({"templateFrom": [{"literal": "v: \"{{ .b64 }}\"", "valuesDecodingStrategy": "Base64"}]}),
                vec![("v", "hi")],
            ),
        ] {
            let candidate = run(template.clone(), &kept());
            let got = candidate.as_ref().map(entries).map_err(ToString::to_string);
            assert_eq!(got, Ok(pairs(&want)), "{template}");
        }
    }

    #[test]
    fn failures_name_the_place_and_no_value() {
        for (template, want) in [
            (serde_json::json!({"data": {"x": "{{ .missing }}"}}), "target.template.data.x"),
            (serde_json::json!({"data": {"x": "{{ .pass "}}), "target.template.data.x"),
            (serde_json::json!({"templateFrom": [{"literal": "{{ .pass }}"}]}), "not a YAML map of strings"),
            (serde_json::json!({"templateFrom": [{"literal": "n: 1"}]}), "not a YAML map of strings"),
            (
                serde_json::json!({"templateFrom": [{"literal": "a: b", "target": "spec.x"}]}),
                "none of Data, Annotations",
            ),
            (
                serde_json::json!({"templateFrom": [{"secret": {"name": "s", "items": [{"key": "k"}]}}]}),
                "Secret s has no text at \"k\"",
            ),
        ] {
            let error = run(template.clone(), &kept()).err().expect("refused");
            let text = error.to_string();
            assert!(text.contains(want) && !text.contains("p:w"), "{template}: {text}");
            assert_eq!(error.condition_message(), "could not update secret");
        }
    }

    #[test]
    fn a_template_in_a_secret_is_not_quoted() {
        let data = [("k".to_owned(), Plaintext::from("{{ .missing }} {{ fail \"hunter2\" }}".to_owned()))];
        let data: SecretData = data.into_iter().collect();
        let from = |kind: &str| serde_json::json!({"templateFrom": [{kind: {"name": "s", "items": [{"key": "k"}]}}]});
        for (kind, word, shown) in [(SourceKind::ConfigMap, "configMap", true), (SourceKind::Secret, "secret", false)] {
            let sources = one_source(kind, "s", data.duplicate());
            let error = run(from(word), &sources).err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(error.contains(".missing"), shown, "{error}");
            assert!(error.contains("templateFrom[0].k:1:3"), "{error}");
        }
    }

    #[test]
    fn sources_are_named_once() {
        let es = external_secret(serde_json::json!({"target": {"template": {"templateFrom": [
            {"configMap": {"name": "cm", "items": []}}, {"configMap": {"name": "cm", "items": []}},
            {"secret": {"name": "s", "items": []}}, {"literal": "x"}]}}}));
        let names: Vec<_> = sources(&es).into_iter().map(|s| (s.kind, s.name)).collect();
        assert_eq!(names, [(SourceKind::ConfigMap, "cm".to_owned()), (SourceKind::Secret, "s".to_owned())]);
    }
}
