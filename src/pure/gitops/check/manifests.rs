//! Kubernetes objects: Secrets in clear, and SealedSecrets that cannot open.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Finding, lines_before};
use crate::pure::crd::sealed_secret::Template;
use crate::pure::format::{self, Branch, Entry, Format, Item, Scalar, Value, line_of, split_documents};
use crate::pure::gitops::Header;
use crate::pure::sealed::Scope;
use crate::pure::sealed::blob::{self, Blob, TAG_BYTES};
use crate::pure::sealed::inventory::WHOLE_SECRET;
use crate::pure::sealed::rekey::{self, Placed};
use crate::pure::sealed::scope::{CLUSTER_WIDE, NAMESPACE_WIDE};
use crate::pure::sealed::unseal::object_scope;

/// Sizes of what an RSA key of 2048 to 8192 bits wraps.
const WRAPPED: std::ops::RangeInclusive<usize> = 256..=1024;

/// Checks the documents that are not in `taken`. What does not parse is no manifest, and not ours to judge.
pub(super) fn check(path: &str, bytes: &[u8], taken: &[Range<usize>]) -> Vec<Finding> {
    let format = Format::of_path(path);
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    if !matches!(format, Format::Yaml | Format::Json) || !has(b"Secret") {
        return vec![];
    }
    let documents = split_documents(bytes).unwrap_or_default().into_iter().map(|document| document.span);
    let whole = std::iter::once(0..bytes.len());
    let spans: Vec<Range<usize>> = if format == Format::Yaml { documents.collect() } else { whole.collect() };
    let mut findings = Vec::new();
    for span in spans.into_iter().filter(|span| !taken.iter().any(|taken| taken.contains(&span.start))) {
        let text = bytes.get(span.clone()).unwrap_or_default();
        let Ok(tree) = format::parse(text, format) else { continue };
        let mut found = Vec::new();
        for branch in &tree.branches {
            secrets(text, &branch.items, &mut found);
            duplicate(branch, &mut found);
        }
        for placed in rekey::find(&tree) {
            match placed {
                Err(error) => found.push(Finding::error(error.line, "sealed-unreadable", error.what, "correct it")),
                Ok(placed) => sealed(&placed, &mut found),
            }
        }
        let offset = lines_before(bytes, span.start);
        found.iter_mut().for_each(|finding| finding.line += offset);
        findings.extend(found);
    }
    findings
}

fn duplicate(branch: &Branch, found: &mut Vec<Finding>) {
    let header = Header::of(&branch.items);
    if let (Some((key, line)), true) = (&branch.duplicate, header.is_secret() || header.kind == "SealedSecret") {
        let what = format!("the name \"{key}\" occurs twice in one map");
        found.push(Finding::error(*line, "duplicate-key", what, "remove one: which one counts depends on the reader"));
    }
}

fn entry<'i>(items: &'i [Item], name: &str) -> Option<&'i Entry> {
    items.iter().find_map(|item| match item {
        Item::Entry(entry) if entry.key == name => Some(entry),
        _ => None,
    })
}

fn secrets(source: &[u8], items: &[Item], found: &mut Vec<Finding>) {
    if let Some(Entry { value, .. }) = entry(items, "items")
        && let Value::List(elements) = &value.value
    {
        for element in elements {
            if let Item::Element(element) = element
                && let Value::Map(items) = &element.value.value
            {
                secrets(source, items, found);
            }
        }
    }
    let header = Header::of(items);
    if !header.is_secret() || header.decrypt_disabled {
        return;
    }
    for field in ["data", "stringData"] {
        let Some(Entry { value, key_span, .. }) = entry(items, field) else { continue };
        let Value::Map(values) = &value.value else { continue };
        let clear: Vec<&str> = values
            .iter()
            .filter_map(|item| match item {
                Item::Entry(entry) if is_clear(&entry.value.value) => Some(entry.key.as_str()),
                _ => None,
            })
            .collect();
        if !clear.is_empty() {
            let what = format!("{header}: {field} in clear: {}", clear.join(", "));
            let hint = "encrypt it with sops or kubeseal, and treat the values as known to others";
            found.push(Finding::error(line_of(source, key_span.start), "plaintext-secret", what, hint));
        }
    }
}

/// Neither empty, nor ciphertext, nor a place that another program fills.
fn is_clear(value: &Value) -> bool {
    let text = match value {
        Value::Scalar(Scalar::Text(text)) => text.expose().trim_ascii(),
        Value::Scalar(Scalar::Null) => return false,
        _ => return true,
    };
    // One placeholder and nothing else: text that merely begins and ends like one may be a document in clear.
    let between = |head: &[u8], tail: &[u8]| {
        let inner = text.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
        inner.is_some_and(|inner| !inner.iter().any(|byte| b"\n<>${}".contains(byte)))
    };
    !(text.is_empty() || between(b"ENC[AES256_GCM,", b"]") || between(b"${", b"}") || between(b"<", b">"))
}

fn sealed(placed: &Placed, found: &mut Vec<Finding>) {
    let (object, line) = (&placed.object, placed.line);
    for entry in &placed.entries {
        let problem = match blob::decode(&entry.text).map(|bytes| Blob::parse(&bytes)) {
            Err(_) => Some("is not base64"),
            Ok(Err(_)) => Some("is cut short"),
            Ok(Ok(blob)) if !WRAPPED.contains(&blob.wrapped.len()) || blob.ciphertext.len() < TAG_BYTES => {
                Some("is no sealed value")
            }
            Ok(Ok(_)) => None,
        };
        if let Some(problem) = problem {
            let what = format!("{}: the value {problem}", entry.name);
            found.push(Finding::error(entry.line, "sealed-value", what, "seal it again"));
        }
    }
    let whole = placed.entries.iter().any(|entry| entry.name == WHOLE_SECRET);
    if whole && placed.entries.len() > 1 {
        let what = "spec.data and spec.encryptedData at the same time";
        found.push(Finding::error(line, "sealed-value", what, "remove spec.data"));
    }
    let none = BTreeMap::new();
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&none);
    for name in [CLUSTER_WIDE, NAMESPACE_WIDE] {
        if annotations.get(name).is_some_and(|value| value != "true" && value != "false") {
            let what = format!("the annotation {name} is neither \"true\" nor \"false\", and read as \"false\"");
            found.push(Finding::warning(line, "sealed-scope", what, "write \"true\" if the values were sealed so"));
        }
    }
    if object.metadata.name.as_deref().unwrap_or_default().is_empty() {
        found.push(Finding::error(line, "sealed-name", "the object has no name", "give it the name it was sealed for"));
    }
    let template = match &object.spec.template {
        Template::Read(template) => template,
        Template::Malformed { field, .. } => {
            let what = format!("{field} does not have the type that the schema gives it");
            found.push(Finding::error(line, "sealed-template", what, "correct the field"));
            return;
        }
    };
    let inner = &template.metadata;
    let (scope, inner_scope) = (object_scope(object), Scope::of(&inner.annotations));
    if inner_scope != Scope::Strict && inner_scope != scope {
        let what = format!("the template says {inner_scope}, and the object is {scope}: only the object's own counts");
        let hint = "put the annotation on the object if the values were sealed so";
        found.push(Finding::error(line, "sealed-scope", what, hint));
    }
    for (field, inner, own) in
        [("name", &inner.name, &object.metadata.name), ("namespace", &inner.namespace, &object.metadata.namespace)]
    {
        let own = own.as_deref().unwrap_or_default();
        if !inner.is_empty() && !own.is_empty() && inner != own {
            let what = format!("the {field} of the object is {own}, and that of its template {inner}");
            let hint = "values open only under what they were sealed for; seal them again after a move";
            found.push(Finding::warning(line, "sealed-name", what, hint));
        }
    }
}
