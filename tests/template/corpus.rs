//! The written corpus: one template per line, with directives that hold from there on.
//!
//! ```text
//! # a comment
//! @data NAME          the value of that name in data.json or pkcs12.json (default: std)
//! @flavour external   @missingkey error   @left <%   @right %>   @fixed on
//! @each a | b | c     the next line is taken once for each, in place of §
//! {{ .user }}         `␤` is a line feed, `␉` a tab, `␀XX` the byte with that hexadecimal code
//! ```
//! `@fixed on` keeps what follows out of the mutations.

use std::collections::BTreeMap;
use std::path::Path;

use latchwork::pure::template::{ByteStr, List, Map, Type, Value};

#[derive(Clone)]
pub struct Case {
    pub template: Vec<u8>,
    pub data: serde_json::Value,
    pub flavour: String,
    pub left: String,
    pub right: String,
    pub missing_key: String,
    pub fixed: bool,
    place: String,
}

impl Case {
    /// A case that is in no file.
    pub fn new(template: &str, flavour: &str, data: serde_json::Value) -> Self {
        let empty = String::new;
        Self {
            template: template.into(),
            data,
            flavour: flavour.into(),
            left: empty(),
            right: empty(),
            missing_key: empty(),
            fixed: true,
            place: "a test".into(),
        }
    }

    pub fn show(&self) -> String {
        format!("{}: {:?}", self.place, String::from_utf8_lossy(&self.template))
    }

    pub fn value(&self) -> Value {
        typed(&self.data)
    }
}

/// A typed value, as the oracle reads it too.
fn typed(json: &serde_json::Value) -> Value {
    use base64::Engine;
    let (kind, value) = (json["t"].as_str().unwrap_or("nil"), &json["v"]);
    let bytes = || base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    let entries = |each: &dyn Fn(&serde_json::Value) -> Value| -> BTreeMap<ByteStr, Value> {
        let object = value.as_object().unwrap();
        object.iter().map(|(key, value)| (ByteStr::from(key.as_str()), each(value))).collect()
    };
    let items = |each: &dyn Fn(&serde_json::Value) -> Value| -> Vec<Value> {
        value.as_array().unwrap().iter().map(each).collect()
    };
    let plain = |value: &serde_json::Value| Value::string(value.as_str().unwrap());
    match kind {
        "nil" => Value::Nil,
        "bool" => Value::Bool(value.as_bool().unwrap()),
        "int" => Value::int(value.as_i64().unwrap()),
        "int64" => Value::int64(value.as_i64().unwrap()),
        "uint64" => Value::Uint(latchwork::pure::template::UintKind::Uint64, value.as_u64().unwrap()),
        "float64" => Value::Float(value.as_f64().unwrap()),
        "string" => plain(value),
        "string64" => Value::string(bytes()),
        "bytes" => Value::Bytes(ByteStr::copy_of(&bytes())),
        "map[string]string" => Value::Map(Map::new(Type::Str, entries(&plain))),
        "map[string]any" => Value::map_any(entries(&typed)),
        "[]string" => Value::List(List::new(Type::Str, items(&plain))),
        "[]any" => Value::list_any(items(&typed)),
        "[]int" => Value::List(List::new(
            Type::Int(latchwork::pure::template::IntKind::Int),
            items(&|value| Value::int(value.as_i64().unwrap())),
        )),
        other => panic!("unknown type {other}"),
    }
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '␤' => out.push(b'\n'),
            '␉' => out.push(b'\t'),
            '␀' => {
                let digits: String = rest.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/template")
}

/// All named data: what is written by hand, and what `pkcs12.sh` makes.
pub fn data() -> BTreeMap<String, serde_json::Value> {
    let read = |file: &str| -> BTreeMap<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(folder().join(file)).unwrap()).unwrap()
    };
    read("data.json").into_iter().chain(read("pkcs12.json")).collect()
}

pub fn load() -> Vec<Case> {
    let data = data();
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let mut now = Case {
            template: Vec::new(),
            data: data["std"].clone(),
            flavour: "sealed".into(),
            left: String::new(),
            right: String::new(),
            missing_key: String::new(),
            fixed: false,
            place: String::new(),
        };
        let mut each: Vec<String> = Vec::new();
        for (index, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            now.place = format!("{name}:{}", index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(directive) = line.strip_prefix('@') {
                let (key, value) = directive.split_once(' ').unwrap_or((directive, ""));
                match key {
                    "data" => now.data = data.get(value).unwrap_or_else(|| panic!("no data {value}")).clone(),
                    "flavour" => value.clone_into(&mut now.flavour),
                    "missingkey" => value.clone_into(&mut now.missing_key),
                    "left" => value.clone_into(&mut now.left),
                    "right" => value.clone_into(&mut now.right),
                    "fixed" => now.fixed = value == "on",
                    "each" => each = value.split(" | ").map(str::to_owned).collect(),
                    other => panic!("unknown directive {other} at {}", now.place),
                }
                continue;
            }
            let lines = match std::mem::take(&mut each) {
                none if none.is_empty() => vec![line.to_owned()],
                values => values.iter().map(|value| line.replace('§', value)).collect(),
            };
            cases.extend(lines.iter().map(|line| Case { template: unescaped(line), ..now.clone() }));
        }
    }
    cases
}
