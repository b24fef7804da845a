//! The types of the fields of `.sops.yaml`. The real tool reads the whole file into typed fields before it looks at any
//! rule, so a field of a wrong type anywhere stops every verb, also those that need no rule.

use serde_json::{Map, Value as Json};

use super::bad;
use crate::pure::error::clip;
use crate::pure::format::{Item, Node, Scalar, Tree, Value, line_of};
use crate::pure::limits;
use crate::pure::sops::error::SopsError;

/// What a field holds. Null is nothing, whatever the field.
enum Shape {
    /// Any scalar, as it is written.
    Text,
    /// True or false, with the words of YAML 1.1.
    Flag,
    /// A number; a fraction is cut off.
    Number,
    /// What the rule that counts looks at itself: a text or a list of them.
    Keys,
    /// A map of names to texts.
    Pairs,
    /// A list, in which nulls do not count.
    List(&'static Shape),
    /// A map. Other names in it are nobody's business.
    Fields(&'static [(&'static str, Shape)]),
}

use Shape::{Fields, Flag, Keys, List, Number, Pairs, Text};

const FILE: &[(&str, Shape)] = &[
    ("creation_rules", List(&RULE)),
    ("destination_rules", List(&DESTINATION)),
    (
        "stores",
        Fields(&[
            ("yaml", INDENT),
            ("json", INDENT),
            ("json_binary", INDENT),
            ("dotenv", Fields(&[])),
            ("ini", Fields(&[])),
        ]),
    ),
];

const INDENT: Shape = Fields(&[("indent", Number)]);

const RULE_FIELDS: &[(&str, Shape)] = &[
    ("path_regex", Text),
    ("unencrypted_suffix", Text),
    ("encrypted_suffix", Text),
    ("unencrypted_regex", Text),
    ("encrypted_regex", Text),
    ("unencrypted_comment_regex", Text),
    ("encrypted_comment_regex", Text),
    ("mac_only_encrypted", Flag),
    ("shamir_threshold", Number),
    ("key_groups", List(&GROUP)),
    ("aws_profile", Text),
    ("age", Keys),
    ("pgp", Keys),
    ("kms", Keys),
    ("gcp_kms", Keys),
    ("hckms", List(&Text)),
    ("azure_keyvault", Keys),
    ("hc_vault_transit_uri", Keys),
];

static RULE: Shape = Fields(RULE_FIELDS);

static GROUP: Shape = Fields(&[
    ("merge", List(&GROUP)),
    ("age", List(&Text)),
    ("pgp", List(&Text)),
    ("kms", List(&Fields(&[("arn", Text), ("role", Text), ("context", Pairs), ("aws_profile", Text)]))),
    ("gcp_kms", List(&Fields(&[("resource_id", Text)]))),
    ("hckms", List(&Fields(&[("key_id", Text)]))),
    ("azure_keyvault", List(&Fields(&[("vaultUrl", Text), ("key", Text), ("version", Text)]))),
    ("hc_vault", List(&Text)),
]);

static DESTINATION: Shape = Fields(&[
    ("path_regex", Text),
    ("s3_bucket", Text),
    ("s3_prefix", Text),
    ("gcs_bucket", Text),
    ("gcs_prefix", Text),
    ("vault_path", Text),
    ("vault_address", Text),
    ("vault_kv_mount_name", Text),
    ("vault_kv_version", Number),
    ("recreation_rule", Fields(RULE_FIELDS)),
    ("omit_extensions", Flag),
]);

/// Longest name in an error.
const NAME_BYTES: usize = 60;

/// The fields of the file that count, with what `<<` brings in: there are no secrets here whose place would matter.
///
/// # Errors
/// A field of a wrong type, or one that occurs twice.
pub(super) fn read(tree: &Tree) -> Result<Map<String, Json>, SopsError> {
    let items = tree.branches.first().map(|branch| branch.items.as_slice()).unwrap_or_default();
    Reader { source: tree.source.expose() }.fields(items, FILE, 0)
}

struct Reader<'t> {
    source: &'t [u8],
}

impl Reader<'_> {
    /// `None` where nothing stands.
    fn value(&self, name: &str, node: &Node, shape: &Shape, depth: usize) -> Result<Option<Json>, SopsError> {
        if depth > limits::NESTING_DEPTH {
            return Err(self.wrong(name, node, "is nested too deeply"));
        }
        Ok(Some(match (shape, &node.value) {
            (_, Value::Scalar(Scalar::Null)) => return Ok(None),
            (Text, Value::Scalar(scalar)) => Json::from(self.text(node, scalar)),
            (Text, _) => return Err(self.wrong(name, node, "is not a text")),
            (Flag, Value::Scalar(scalar)) => {
                Json::from(truth(scalar).ok_or_else(|| self.wrong(name, node, "is neither true nor false"))?)
            }
            (Flag, _) => return Err(self.wrong(name, node, "is neither true nor false")),
            (Number, Value::Scalar(Scalar::Int(number))) => Json::from(*number),
            (Number, Value::Scalar(Scalar::Float(number))) if number.abs() < i64::MAX as f64 => {
                Json::from(number.trunc() as i64)
            }
            (Number, _) => return Err(self.wrong(name, node, "is not a number")),
            (Keys, Value::List(items)) => Json::Array(nodes(items).map(|node| self.key(node)).collect()),
            (Keys, _) => self.key(node),
            (Pairs, Value::Map(items)) => {
                let mut pairs = Map::new();
                for (name, node) in self.named(items, depth)? {
                    pairs.insert(name.to_owned(), self.value(name, node, &Text, depth + 1)?.unwrap_or_default());
                }
                Json::Object(pairs)
            }
            (List(shape), Value::List(items)) => {
                let items = nodes(items).filter_map(|node| self.value(name, node, shape, depth + 1).transpose());
                Json::Array(items.collect::<Result<_, _>>()?)
            }
            (List(_), _) => return Err(self.wrong(name, node, "is not a list")),
            (Fields(fields), Value::Map(items)) => Json::Object(self.fields(items, fields, depth)?),
            (Pairs | Fields(_), _) => return Err(self.wrong(name, node, "is not a map")),
        }))
    }

    fn fields(&self, items: &[Item], fields: &[(&str, Shape)], depth: usize) -> Result<Map<String, Json>, SopsError> {
        let mut out = Map::new();
        for (name, node) in self.named(items, depth)? {
            let Some((_, shape)) = fields.iter().find(|(field, _)| *field == name) else { continue };
            if let Some(value) = self.value(name, node, shape, depth + 1)? {
                out.insert(name.to_owned(), value);
            }
        }
        Ok(out)
    }

    /// The values of a map by their names, then those that `<<` brings in.
    fn named<'m>(&self, items: &'m [Item], depth: usize) -> Result<Vec<(&'m str, &'m Node)>, SopsError> {
        let mut named: Vec<(&str, &Node)> = vec![];
        let mut merges = vec![];
        for item in items {
            let Item::Entry(entry) = item else { continue };
            match entry.key.as_str() {
                "<<" => merges.push(&entry.value),
                name if named.iter().any(|(known, _)| *known == name) => {
                    return Err(self.wrong(name, &entry.value, "occurs twice"));
                }
                name => named.push((name, &entry.value)),
            }
        }
        for merge in merges {
            let maps: Vec<&Node> = match &merge.value {
                Value::List(items) => nodes(items).collect(),
                _ => vec![merge],
            };
            for map in maps {
                let Value::Map(items) = &map.value else { return Err(self.wrong("<<", map, "does not name a map")) };
                if depth > limits::NESTING_DEPTH {
                    return Err(self.wrong("<<", map, "is nested too deeply"));
                }
                for (name, node) in self.named(items, depth + 1)? {
                    if !named.iter().any(|(known, _)| *known == name) {
                        named.push((name, node));
                    }
                }
            }
        }
        Ok(named)
    }

    /// A scalar as it is written, so that a name like `0755` keeps its digits.
    fn text(&self, node: &Node, scalar: &Scalar) -> String {
        let bytes = match scalar {
            Scalar::Text(text) => text.expose(),
            _ => self.source.get(node.span.clone()).unwrap_or_default(),
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// A key of a rule: what is no text stays something else, for the rule to refuse.
    fn key(&self, node: &Node) -> Json {
        match &node.value {
            Value::Scalar(Scalar::Null) => Json::Null,
            Value::Scalar(scalar @ Scalar::Text(_)) => Json::from(self.text(node, scalar)),
            Value::Scalar(_) => Json::from(0),
            Value::List(_) => Json::Array(vec![]),
            Value::Map(_) => Json::Object(Map::new()),
        }
    }

    fn wrong(&self, name: &str, node: &Node, what: &str) -> SopsError {
        let line = line_of(self.source, node.span.start);
        bad(format!("line {line}: \"{}\" {what}", clip(name, NAME_BYTES)))
    }
}

fn nodes(items: &[Item]) -> impl Iterator<Item = &Node> {
    items.iter().filter_map(|item| if let Item::Element(element) = item { Some(&element.value) } else { None })
}

fn truth(scalar: &Scalar) -> Option<bool> {
    match scalar {
        Scalar::Bool(value) => Some(*value),
        Scalar::Text(text) => match text.expose_str()? {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::format::{self, Format};

    fn fields(text: &str) -> Result<Json, String> {
        let tree = format::parse(text.as_bytes(), Format::Yaml).expect("parses");
        read(&tree).map(Json::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn what_counts_is_read_by_its_type() {
        let text = "x: [any, {thing: 1}]\ncreation_rules:\n  -\n  - {path_regex: 0755, Age: x, mac_only_encrypted: On, shamir_threshold: 2.9, kms: [5, a], age: ~}\n  - key_groups: [{kms: [{arn: 1e2, context: {a: 010, b: ~}}], hc_vault: [~, u], merge: [{age: [x]}]}]\nstores: {yaml: {indent: 2, x: y}, ini: {}}\n";
        let wanted = serde_json::json!({
            "creation_rules": [
                {"path_regex": "0755", "mac_only_encrypted": true, "shamir_threshold": 2, "kms": [0, "a"]},
                {"key_groups": [{
                    "kms": [{"arn": "1e2", "context": {"a": "010", "b": null}}],
                    "hc_vault": ["u"],
                    "merge": [{"age": ["x"]}],
                }]},
            ],
            "stores": {"yaml": {"indent": 2}, "ini": {}},
        });
        assert_eq!(fields(text), Ok(wanted));
        assert_eq!(fields("~\n"), Ok(serde_json::json!({})));
    }

    #[test]
    fn wrong_types_are_named_with_their_line() {
        for (text, why) in [
            ("a: 1\ncreation_rules: x\n", "line 2: \"creation_rules\" is not a list"),
            ("creation_rules: ['']\n", "\"creation_rules\" is not a map"),
            ("creation_rules: [{kms: a, kms: b}]\n", "\"kms\" occurs twice"),
            ("creation_rules: [{shamir_threshold: '2'}]\n", "\"shamir_threshold\" is not a number"),
            ("creation_rules: [{mac_only_encrypted: 'true'}]\n", "is neither true nor false"),
            ("creation_rules: [{hckms: a}]\n", "\"hckms\" is not a list"),
            ("creation_rules: [{key_groups: [{merge: [{age: a}]}]}]\n", "\"age\" is not a list"),
            ("creation_rules: [{key_groups: [{kms: [{context: [a]}]}]}]\n", "\"context\" is not a map"),
            ("creation_rules: [{<<: 5}]\n", "\"<<\" does not name a map"),
            ("destination_rules: [{recreation_rule: {path_regex: [a]}}]\n", "\"path_regex\" is not a text"),
            ("stores: {dotenv: x}\n", "\"dotenv\" is not a map"),
        ] {
            let error = fields(text).expect_err("refused");
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
