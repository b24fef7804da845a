//! What kubeseal prints: JSON in Go's field order, or YAML with sorted keys and a document mark.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::pure::format::{
    Branch, Element, Entry, Format, Indent, Item, Layout, Node, Scalar, Value as Tree, emit_with,
};

/// The formats that `-o` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Json,
    Yaml,
}

impl Output {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "json" | "" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            _ => Err(format!("unsupported output format: {text}")),
        }
    }

    /// One object as text.
    pub(super) fn print(self, object: &Value) -> Result<Vec<u8>, String> {
        match self {
            Self::Json => {
                let text = Zeroizing::new(serde_json::to_string_pretty(object).map_err(|e| e.to_string())?);
                Ok((escaped(&text) + "\n").into_bytes())
            }
            Self::Yaml => {
                let Value::Object(fields) = object else { return Err("not an object".into()) };
                let indent = Indent::of_width(2);
                let text = emit_with(&[branch(fields)], Format::Yaml, indent).map_err(|e| e.to_string())?;
                Ok([b"---\n", text.expose()].concat())
            }
        }
    }
}

/// JSON as Go writes it: what would mean something in HTML stands escaped. It can only stand inside a text.
fn escaped(json: &str) -> String {
    let grown = json.matches(['<', '>', '&', '\u{2028}', '\u{2029}']).count() * 5;
    let mut out = String::with_capacity(json.len() + grown + 1);
    for character in json.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

fn branch(fields: &Map<String, Value>) -> Branch {
    Branch::of_items(0..0, items(fields))
}

fn items(fields: &Map<String, Value>) -> Vec<Item> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    let entry = |(name, value): (&String, &Value)| Entry { key: name.clone(), key_span: 0..0, value: node(value) };
    sorted.into_iter().map(|field| Item::Entry(entry(field))).collect()
}

fn node(value: &Value) -> Node {
    let tree = match value {
        Value::Null => Tree::Scalar(Scalar::Null),
        Value::Bool(flag) => Tree::Scalar(Scalar::Bool(*flag)),
        Value::String(text) => Tree::Scalar(Scalar::text(text.clone())),
        Value::Number(number) => Tree::Scalar(match number.as_i64() {
            Some(number) => Scalar::Int(number),
            None => Scalar::Float(number.as_f64().unwrap_or_default()),
        }),
        Value::Array(values) => {
            Tree::List(values.iter().map(|value| Item::Element(Element { start: 0, value: node(value) })).collect())
        }
        Value::Object(fields) => Tree::Map(items(fields)),
    };
    Node::new(0..0, tree, Layout::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_reads_back_as_what_was_printed() {
        let object = json!({
            "kind": "SealedSecret", "metadata": { "name": "123", "annotations": {
                "true": "yes", "date": "2020-01-01", "multi": "line1\nline2\n", "empty": "", "lead": " x", "hash": "a #b",
                "quote": "it's \"q\"", "tab": "a\tb", "colon": "a: b", "long": "word ".repeat(60), "nul": "null" } },
            "spec": { "encryptedData": { "a": "Ag".repeat(400) }, "template": { "immutable": true, "metadata": {
                "finalizers": ["x/y"], "creationTimestamp": null, "odd": [], "map": {} } } },
        });
        let text = Output::Yaml.print(&object).expect("prints");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with("---\nkind: SealedSecret\nmetadata:\n  annotations:\n"), "{text}");
        let back: Value = serde_saphyr::from_str(&text).expect("reads");
        assert_eq!(back, object, "{text}");
        assert!(Output::parse("YAML") == Ok(Output::Yaml) && Output::parse("xml").is_err());
    }
}
