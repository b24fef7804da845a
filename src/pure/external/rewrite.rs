//! `dataFrom[].rewrite`: changes of the names of entries, in order.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use regex::RegexBuilder;
use zeroize::Zeroizing;

use super::ExternalError;
use super::json::{self, Kind};
use super::templating::{self, with_environment};
use crate::pure::crd::external_secret::{
    MergeConflict, MergePriority, MergeStrategy, Rewrite, RewriteMerge, RewriteRegexp,
};
use crate::pure::secret::{Plaintext, SecretData};

/// Largest compiled pattern: a repeated class must not take the operator's memory.
const PATTERN_BYTES: usize = 1024 * 1024;

/// Applies all operations. Two entries that get the same name are taken in the order of their old names, and the last
/// one stays (External Secrets Operator takes them in random order).
pub(super) fn apply(
    place: &str,
    steps: &[Rewrite],
    mut data: SecretData,
    now: Timestamp,
) -> Result<SecretData, ExternalError> {
    for (index, step) in steps.iter().enumerate() {
        let place = format!("{place}: rewrite[{index}]");
        data = match step {
            Rewrite { regexp: Some(regexp), .. } => by_pattern(place, regexp, data)?,
            Rewrite { merge: Some(operation), .. } => merge(place, operation, data)?,
            Rewrite { transform: Some(transform), .. } => with_environment(now, |environment| {
                let renamed = |(name, value): (String, Plaintext)| {
                    let name = templating::transform(&place, &transform.template, &name, environment)?;
                    Ok((name, value))
                };
                data.into_iter().map(renamed).collect::<Result<SecretData, ExternalError>>()
            })?,
            Rewrite { .. } => data,
        };
    }
    Ok(data)
}

fn by_pattern(place: String, operation: &RewriteRegexp, data: SecretData) -> Result<SecretData, ExternalError> {
    let pattern = RegexBuilder::new(&operation.source)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|_| ExternalError::Rewrite { place, detail: "source is not a regular expression".into() })?;
    let renamed = |name: String| pattern.replace_all(&name, operation.target.as_str()).into_owned();
    Ok(data.into_iter().map(|(name, value)| (renamed(name), value)).collect())
}

fn merge(place: String, operation: &RewriteMerge, data: SecretData) -> Result<SecretData, ExternalError> {
    let refuse = |detail: String| ExternalError::Rewrite { place: place.clone(), detail };
    let strategy = operation.strategy.unwrap_or_default();
    let into = operation.into.clone().unwrap_or_default();
    if strategy == MergeStrategy::Json && into.is_empty() {
        return Err(refuse("merge with strategy JSON needs into".into()));
    }
    if operation.priority_policy.unwrap_or_default() == MergePriority::Strict
        && let Some(absent) = operation.priority.iter().find(|name| data.get(name).is_none())
    {
        return Err(refuse(format!("priority names \"{absent}\", which is not there")));
    }
    let first: BTreeSet<&str> = data.names().filter(|name| !operation.priority.iter().any(|p| p == name)).collect();
    let order = first.into_iter().chain(operation.priority.iter().map(String::as_str));
    let mut merged: BTreeMap<String, Zeroizing<String>> = BTreeMap::new();
    for name in order {
        let Some(value) = data.get(name) else { continue };
        let node = value.expose_str().and_then(json::parse);
        let Some(json::Node { kind: Kind::Object(fields), .. }) = node else {
            return Err(refuse(format!("entry \"{name}\" is not a JSON object")));
        };
        let mut own = BTreeMap::new();
        for (field, node) in fields {
            own.insert(field, Zeroizing::new(node.raw.to_owned()));
        }
        for (field, raw) in own {
            if merged.contains_key(&field) && operation.conflict_policy.unwrap_or_default() == MergeConflict::Error {
                return Err(refuse(format!("field \"{field}\" is in more than one value")));
            }
            merged.insert(field, raw);
        }
    }
    match strategy {
        MergeStrategy::Extract => Ok(merged
            .into_iter()
            .map(|(field, raw)| {
                let text = if raw.starts_with('"') { json::unquote(&raw) } else { raw };
                (field, Plaintext::copy_of(text.as_bytes()))
            })
            .collect()),
        MergeStrategy::Json => {
            let mut data = data;
            let mut text = Zeroizing::new(String::with_capacity(merged.values().map(|raw| raw.len() + 64).sum()));
            text.push('{');
            for (index, (field, raw)) in merged.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::Value::from(field.as_str()).to_string());
                text.push(':');
                text.push_str(raw);
            }
            text.push('}');
            // Sorted at every depth, as Go prints a map.
            let sorted = json::parse(&text).map(|node| Plaintext::copy_of(json::sorted(&node).as_bytes()));
            data.insert(into, sorted.ok_or_else(|| refuse("the merged object is not JSON".into()))?);
            Ok(data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: serde_json::Value, data: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let steps: Vec<Rewrite> = serde_json::from_value(steps).expect("steps");
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), Plaintext::from((*v).to_owned()))).collect();
        let data = apply("p", &steps, data, Timestamp::UNIX_EPOCH).map_err(|e| e.to_string())?;
        Ok(data.iter().map(|(k, v)| (k.to_owned(), v.expose_str().unwrap_or("?").to_owned())).collect())
    }

    fn ok(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn patterns_rename() {
        let steps = serde_json::json!([
            {"regexp": {"source": "^/app/(.*)$", "target": "$1"}}, {"regexp": {"source": "[^a-z]", "target": "_"}},
        ]);
        assert_eq!(run(steps, &[("/app/a-b", "1"), ("x", "2")]), ok(&[("a_b", "1"), ("x", "2")]));
        let same = serde_json::json!([{"regexp": {"source": ".*", "target": "k"}}]);
        assert_eq!(run(same, &[("a", "1"), ("b", "2")]).map(|d| d.len()), Ok(1));
        let transform = serde_json::json!([{"transform": {"template": "{{ .value | upper | replace \"-\" \"_\" }}"}}]);
        assert_eq!(run(transform, &[("a-b", "1"), ("c", "2")]), ok(&[("A_B", "1"), ("C", "2")]));
        let broken = serde_json::json!([{"transform": {"template": "{{ .value | nothing }}"}}]);
        assert!(run(broken, &[("a", "hunter2")]).is_err_and(|text| !text.contains("hunter2")));
        let bad = serde_json::json!([{"regexp": {"source": "(", "target": ""}}]);
        assert_eq!(run(bad, &[]), Err("p: rewrite[0]: source is not a regular expression".into()));
        let huge = serde_json::json!([{"regexp": {"source": "(x{1000}){1000}", "target": ""}}]);
        assert!(run(huge, &[]).is_err());
    }

    #[test]
    fn objects_merge() {
        let data = &[("a", r#"{"x":1,"y":"one"}"#), ("b", r#"{"y":"two","z":{"q":[1.0]}}"#)];
        let merge = |fields: serde_json::Value| serde_json::json!([{ "merge": fields }]);
        assert_eq!(
            run(merge(serde_json::json!({})), data),
            Err("p: rewrite[0]: field \"y\" is in more than one value".into())
        );
        assert_eq!(
            run(merge(serde_json::json!({"conflictPolicy": "Ignore"})), data),
            ok(&[("x", "1"), ("y", "two"), ("z", r#"{"q":[1.0]}"#)])
        );
        assert_eq!(
            run(merge(serde_json::json!({"conflictPolicy": "Ignore", "priority": ["a"]})), data),
            ok(&[("x", "1"), ("y", "one"), ("z", r#"{"q":[1.0]}"#)])
        );
        assert_eq!(
            run(merge(serde_json::json!({"conflictPolicy": "Ignore", "strategy": "JSON", "into": "m"})), &data[1..]),
            ok(&[("b", data[1].1), ("m", r#"{"y":"two","z":{"q":[1.0]}}"#)])
        );
        assert!(run(merge(serde_json::json!({"priority": ["c"]})), &data[..1]).is_err());
        assert!(
            run(merge(serde_json::json!({"priority": ["c"], "priorityPolicy": "IgnoreNotFound"})), &data[..1]).is_ok()
        );
        assert_eq!(
            run(merge(serde_json::json!({})), &[("a", "hunter2")]),
            Err("p: rewrite[0]: entry \"a\" is not a JSON object".into())
        );
    }
}
