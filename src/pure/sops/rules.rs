//! `.sops.yaml`: which keys and selectors a file gets when it is encrypted, how it is printed, and where it is published.

use serde_json::{Map, Value as Json};

use super::error::SopsError;
use super::metadata::Fields;
use super::pattern::Pattern;
use super::seal::Plan;
use super::selector::{NAMES, Selector};
use crate::pure::format::{self, Format, Indent};
use crate::pure::keys::{KeyKind, KeyRef};
use crate::pure::limits;

pub mod destinations;
mod shape;

/// The parsed file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `None` when the file has no `creation_rules`, which means the same as no file.
    rules: Option<Vec<Rule>>,
    /// Layout of printed files.
    pub indent: Indent,
}

/// One creation rule.
#[derive(Clone, Debug)]
pub struct Rule {
    path: Option<Pattern>,
    /// Keys and selectors of the files that it applies to. The layout is that of the whole file: [`Config::indent`].
    pub plan: Plan,
}

impl Rule {
    /// Its `path_regex`; `None` for a rule that matches every path.
    pub fn pattern(&self) -> Option<&str> {
        self.path.as_ref().map(Pattern::text)
    }

    /// Whether it applies to a path, if no earlier one does.
    pub fn matches(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|pattern| pattern.is_match(path.as_bytes()))
    }
}

/// Names of the flat key fields of a rule with their kinds, in the order in which SOPS writes them.
const FLAT: [(&str, KeyKind); 7] = [
    ("age", KeyKind::Age),
    ("pgp", KeyKind::Pgp),
    ("kms", KeyKind::Kms),
    ("gcp_kms", KeyKind::GcpKms),
    ("hckms", KeyKind::Hckms),
    ("azure_keyvault", KeyKind::AzureKv),
    ("hc_vault_transit_uri", KeyKind::HcVault),
];

impl Config {
    /// Reads the text of a `.sops.yaml`.
    ///
    /// # Errors
    /// Text that is no YAML map, a field of the wrong type, an invalid pattern or selector, more than one selector.
    pub fn parse(text: &str) -> Result<Self, SopsError> {
        let root = root(text)?;
        let fields = Fields(&root);
        let rules = match fields.get("creation_rules") {
            None | Some(Json::Null) => None,
            Some(_) => {
                let list = fields.list("creation_rules").map_err(rename)?;
                Some(
                    list.into_iter()
                        .enumerate()
                        .map(|(index, rule)| read_rule(rule, &format!("creation rule {}", index + 1)))
                        .collect::<Result<_, _>>()?,
                )
            }
        };
        Ok(Self { rules, indent: read_indent(&fields) })
    }

    /// The layout of printed files alone, for those who need no rule: rules that are broken in themselves are none of
    /// their business.
    ///
    /// # Errors
    /// Text that is no YAML map, a field of the wrong type.
    pub fn layout(text: &str) -> Result<Indent, SopsError> {
        Ok(read_indent(&Fields(&root(text)?)))
    }

    /// The plan of the first rule that matches `path`, which is relative to the folder of the file, or absolute when it
    /// lies elsewhere. `None` when there are no rules at all.
    ///
    /// # Errors
    /// There are rules and none matches.
    pub fn plan_for(&self, path: &str) -> Result<Option<Plan>, SopsError> {
        let Some(rules) = &self.rules else { return Ok(None) };
        match rules.iter().find(|rule| rule.matches(path)) {
            Some(rule) => Ok(Some(Plan { indent: self.indent, ..rule.plan.clone() })),
            None => Err(bad(format!("no creation rule matches {path}"))),
        }
    }

    /// The creation rules in their order, which is that of precedence. `None` when there are none at all.
    pub fn rules(&self) -> Option<&[Rule]> {
        self.rules.as_deref()
    }
}

/// The fields of the file.
fn root(text: &str) -> Result<Map<String, Json>, SopsError> {
    shape::read(&format::parse(text.as_bytes(), Format::Yaml)?)
}

fn bad(what: String) -> SopsError {
    SopsError::Rules { what }
}

/// Errors of the field reader speak of metadata.
fn rename(error: SopsError) -> SopsError {
    match error {
        SopsError::Metadata { what } => bad(what),
        other => other,
    }
}

/// Reads a rule; `label` names it in error texts.
fn read_rule(rule: &Map<String, Json>, label: &str) -> Result<Rule, SopsError> {
    let fields = Fields(rule);
    let text = |name: &str| fields.text(name).map_err(rename);
    let path = text("path_regex")?;
    let path = (!path.is_empty())
        .then(|| Pattern::new(&path))
        .transpose()
        .map_err(|what| bad(format!("{label}: path_regex is not a valid pattern: {what}")))?;
    let mut selector = None;
    for name in NAMES {
        let value = text(name)?;
        if value.is_empty() {
            continue;
        }
        if selector.is_some() {
            return Err(bad(format!("{label}: more than one selector is set")));
        }
        selector = Some(Selector::new(name, &value)?);
    }
    let groups = match fields.list("key_groups").map_err(rename)? {
        groups if groups.is_empty() => {
            let flat = flat_keys(&fields)?;
            if flat.is_empty() { vec![] } else { vec![flat] }
        }
        groups => groups.into_iter().map(|group| read_group(group, 0)).collect::<Result<_, _>>()?,
    };
    let plan = Plan {
        groups,
        shamir_threshold: fields.number("shamir_threshold").map_err(rename)?,
        selector,
        mac_only_encrypted: fields.flag("mac_only_encrypted").map_err(rename)?,
        indent: Indent::default(),
    };
    Ok(Rule { path, plan })
}

/// `"a,b"` or a list of texts.
fn texts(fields: &Fields<'_>, name: &str) -> Result<Vec<String>, SopsError> {
    let split = |text: &str| text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
    match fields.get(name) {
        None | Some(Json::Null) => Ok(vec![]),
        Some(Json::String(text)) => Ok(split(text)),
        Some(Json::Array(items)) => {
            let mut out = Vec::new();
            for item in items {
                let text = item.as_str().ok_or_else(|| bad(format!("\"{name}\" is not a list of texts")))?;
                out.push(text.trim().to_owned());
            }
            Ok(out)
        }
        Some(_) => Err(bad(format!("\"{name}\" is neither a text nor a list of texts"))),
    }
}

fn flat_keys(fields: &Fields<'_>) -> Result<Vec<KeyRef>, SopsError> {
    let profile = fields.text("aws_profile").map_err(rename)?;
    let mut keys = Vec::new();
    for (name, kind) in FLAT {
        for text in texts(fields, name)? {
            let mut key = KeyRef::of_text(kind, &text).map_err(bad)?;
            if let KeyRef::Kms { profile: own, .. } = &mut key {
                own.clone_from(&profile);
            }
            push(&mut keys, key);
        }
    }
    Ok(keys)
}

fn push(keys: &mut Vec<KeyRef>, key: KeyRef) {
    let known = keys.iter().any(|other| other.kind() == key.kind() && other.to_string() == key.to_string());
    if !known {
        keys.push(key);
    }
}

fn read_group(group: &Map<String, Json>, depth: usize) -> Result<Vec<KeyRef>, SopsError> {
    if depth > limits::NESTING_DEPTH {
        return Err(bad("\"merge\" is nested too deeply".into()));
    }
    let fields = Fields(group);
    let text = |fields: &Fields<'_>, name: &str| fields.text(name).map_err(rename);
    let mut keys = Vec::new();
    for merged in fields.list("merge").map_err(rename)? {
        read_group(merged, depth + 1)?.into_iter().for_each(|key| push(&mut keys, key));
    }
    for (name, kind) in [("age", KeyKind::Age), ("pgp", KeyKind::Pgp)] {
        for key in texts(&fields, name)? {
            push(&mut keys, KeyRef::of_text(kind, &key).map_err(bad)?);
        }
    }
    for entry in fields.list("kms").map_err(rename)? {
        let entry = Fields(entry);
        push(
            &mut keys,
            KeyRef::Kms {
                arn: text(&entry, "arn")?,
                role: text(&entry, "role")?,
                context: entry.pairs("context").map_err(rename)?,
                profile: text(&entry, "aws_profile")?,
            },
        );
    }
    for entry in fields.list("gcp_kms").map_err(rename)? {
        push(&mut keys, KeyRef::GcpKms { resource_id: text(&Fields(entry), "resource_id")? });
    }
    for entry in fields.list("hckms").map_err(rename)? {
        push(&mut keys, KeyRef::Hckms { key_id: text(&Fields(entry), "key_id")? });
    }
    for entry in fields.list("azure_keyvault").map_err(rename)? {
        let entry = Fields(entry);
        push(
            &mut keys,
            KeyRef::AzureKv {
                vault_url: text(&entry, "vaultUrl")?,
                name: text(&entry, "key")?,
                version: text(&entry, "version")?,
            },
        );
    }
    for uri in texts(&fields, "hc_vault")? {
        push(&mut keys, KeyRef::of_text(KeyKind::HcVault, &uri).map_err(bad)?);
    }
    Ok(keys)
}

fn read_indent(fields: &Fields<'_>) -> Indent {
    let Some(Json::Object(stores)) = fields.get("stores") else { return Indent::default() };
    let number = |name: &str| Fields(stores).get(name)?.get("indent")?.as_i64();
    Indent { yaml: number("yaml"), json: number("json"), json_binary: number("json_binary") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(plan: &Plan) -> Vec<Vec<String>> {
        plan.groups.iter().map(|group| group.iter().map(KeyRef::to_string).collect()).collect()
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let text = "creation_rules:\n  - path_regex: \\.prod\\.yaml$\n    age: 'r1, r2'\n    encrypted_regex: ^data$\n  - path_regex: ^sub/\n    pgp: [AA BB]\n    kms: arn:aws:kms:eu-west-1:1:key/x+arn:aws:iam::1:role/r\n    aws_profile: p\n  - shamir_threshold: 2\n    key_groups:\n      - age: [a, a]\n        merge:\n          - age: [m]\n      - hc_vault: [https://v:8200/v1/sops/keys/k]\n        azure_keyvault:\n          - {vaultUrl: https://z, key: k, version: '1'}\nstores: {yaml: {indent: 2}, json: {indent: -1}, json_binary: {indent: 3}}\n";
        let config = Config::parse(text).expect("parses");
        let plan = |path: &str| config.plan_for(path).expect("matches").expect("has rules");
        assert_eq!(keys(&plan("x.prod.yaml")), [["r1", "r2"]]);
        assert_eq!(plan("x.prod.yaml").selector.map(|s| s.parts().0), Some("encrypted_regex"));
        assert_eq!(keys(&plan("sub/x")), [["AABB", "arn:aws:kms:eu-west-1:1:key/x+arn:aws:iam::1:role/r||p"]]);
        assert_eq!(keys(&plan("other")), [vec!["m", "a"], vec!["https://z/keys/k/1", "https://v:8200/v1/sops/keys/k"]]);
        assert_eq!(plan("other").shamir_threshold, 2);
        assert_eq!(plan("other").indent, Indent { yaml: Some(2), json: Some(-1), json_binary: Some(3) });
    }

    #[test]
    fn what_yaml_merges_counts() {
        let text = "x: &team {age: [a, b], encrypted_regex: ^data$}\ny: &ops {age: c, mac_only_encrypted: true}\ncreation_rules:\n  - {path_regex: ^1, <<: *team}\n  - <<: [*team, *ops]\n    encrypted_regex: ^x$\n";
        let config = Config::parse(text).expect("parses");
        let plan = |path: &str| config.plan_for(path).expect("matches").expect("has rules");
        assert_eq!(keys(&plan("1")), [["a", "b"]]);
        assert_eq!(keys(&plan("2")), [["a", "b"]], "the first map of a list wins");
        assert!(plan("2").mac_only_encrypted && !plan("1").mac_only_encrypted);
        assert_eq!(
            plan("2").selector.map(|selector| selector.parts().1.to_owned()).as_deref(),
            Some("^x$"),
            "own wins"
        );
    }

    #[test]
    fn truth_has_the_words_of_yaml_1_1_too() {
        let only = |word: &str| {
            let text = format!("creation_rules:\n  - {{age: a, mac_only_encrypted: {word}}}\n");
            let plan = Config::parse(&text).map_err(|_| ())?.plan_for("x").expect("matches");
            Ok(plan.expect("has rules").mac_only_encrypted)
        };
        for (word, wanted) in [
            ("yes", Ok(true)),
            ("On", Ok(true)),
            ("'Y'", Ok(true)),
            ("NO", Ok(false)),
            ("off", Ok(false)),
            ("si", Err(())),
        ] {
            assert_eq!(only(word), wanted, "{word}");
        }
    }

    #[test]
    fn the_layout_is_read_beside_broken_rules() {
        let broken = "creation_rules:\n  - path_regex: (\nstores: {yaml: {indent: 2}}\n";
        assert!(Config::parse(broken).is_err());
        assert_eq!(Config::layout(broken).expect("reads").yaml, Some(2));
        for text in ["- a\n", "creation_rules: 5\n", "stores: {yaml: {indent: x}}\n", "a: [\n"] {
            assert!(Config::layout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn broken_rules_are_refused() {
        for text in [
            "creation_rules:\n  - path_regex: (\n",
            "creation_rules:\n  - encrypted_regex: (?=x)\n",
            "creation_rules:\n  - {encrypted_regex: a, encrypted_suffix: b}\n",
            "creation_rules: x\n",
            "creation_rules:\n  - key_groups: [x]\n",
            "- a\n",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
        assert!(
            Config::parse("creation_rules:\n  - path_regex: a\n    age: r\n").expect("parses").plan_for("b").is_err()
        );
        assert!(Config::parse("destination_rules: []\n").expect("parses").plan_for("b").expect("no rules").is_none());
    }
}
