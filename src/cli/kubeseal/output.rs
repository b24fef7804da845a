//! What kubeseal prints: JSON in Go's field order, or YAML with sorted keys and a document mark.

use serde_json::{Map, Value};

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
        let Value::Object(fields) = object else { return Err("not an object".into()) };
        let (format, mark) = match self {
            Self::Json => (Format::Json, &b""[..]),
            Self::Yaml => (Format::Yaml, &b"---\n"[..]),
        };
        let branch = Branch::of_items(0..0, self.items(fields));
        let text = emit_with(&[branch], format, Indent::of_width(2)).map_err(|e| e.to_string())?;
        Ok([mark, text.expose()].concat())
    }

    fn items(self, fields: &Map<String, Value>) -> Vec<Item> {
        let mut ordered: Vec<_> = fields.iter().collect();
        if self == Self::Yaml {
            ordered.sort_by_key(|(name, _)| name.as_str());
        }
        let entry =
            |(name, value): (&String, &Value)| Entry { key: name.clone(), key_span: 0..0, value: self.node(value) };
        ordered.into_iter().map(|field| Item::Entry(entry(field))).collect()
    }

    fn node(self, value: &Value) -> Node {
        let tree = match value {
            Value::Null => Tree::Scalar(Scalar::Null),
            Value::Bool(flag) => Tree::Scalar(Scalar::Bool(*flag)),
            Value::String(text) => Tree::Scalar(Scalar::text(text.clone())),
            Value::Number(number) => Tree::Scalar(match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Scalar::Int(number),
                (None, Some(number)) => Scalar::Unsigned(number),
                (None, None) => Scalar::Float(number.as_f64().unwrap_or_default()),
            }),
            Value::Array(values) => {
                let element = |value| Item::Element(Element { start: 0, value: self.node(value) });
                Tree::List(values.iter().map(element).collect())
            }
            Value::Object(fields) => Tree::Map(self.items(fields)),
        };
        Node::new(0..0, tree, Layout::default())
    }
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
