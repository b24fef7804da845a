//! 10,000 renders of a typical template, ours and Go's, with and without parsing. Prints a table.
//!
//! `cargo bench --no-default-features --bench templates`; Go's row needs the oracle that `make tools` builds.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use latchwork::pure::secret::Plaintext;
use latchwork::pure::template::{Environment, Options, Template, Value};

const ROUNDS: u32 = 10_000;
const TEMPLATE: &str = r#"{{- /* a typical one: a connection string, a loop, a condition */ -}}
postgres://{{ .user }}:{{ .password | urlquery }}@{{ .host }}:{{ .port | default "5432" }}/{{ .name }}
{{- if .options }}?{{ .options }}{{ end }}
{{ range $key, $value := . }}{{ if ne $key "password" }}{{ printf "%s=%q" $key $value }}
{{ end }}{{ end }}"#;
const DATA: [(&str, &str); 6] = [
    ("user", "admin"),
    ("password", "p@ss w0rd"),
    ("host", "db.example.com"),
    ("port", "5432"),
    ("name", "orders"),
    ("options", "sslmode=require"),
];

fn oracle() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    let path = home.join(".cache/latchwork/tools/bin/template-oracle");
    path.is_file().then_some(path)
}

/// Go's times: rendering, and parsing with rendering.
fn go() -> Option<(Duration, Duration)> {
    let data: serde_json::Map<String, serde_json::Value> =
        DATA.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let case = serde_json::json!({"template": TEMPLATE, "data": {"t": "map[string]string", "v": data}});
    let mut child = Command::new(oracle()?).arg("bench").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take()?.write_all(case.to_string().as_bytes()).ok()?;
    let out = child.wait_with_output().ok()?.stdout;
    let times: serde_json::Value = serde_json::from_slice(&out).ok()?;
    let nanos = |name: &str| Some(Duration::from_nanos(times.get(name)?.as_u64()?));
    Some((nanos("render")?, nanos("parse_and_render")?))
}

fn ours() -> (Duration, Duration) {
    let values = DATA.map(|(name, value)| (name, Plaintext::copy_of(value.as_bytes())));
    let dot = Value::string_map(values.iter().map(|(name, value)| ((*name).to_owned(), value)));
    let options = Options::default();
    let mut random = |_: &mut [u8]| {};
    let mut environment = Environment::new((1_790_000_000, 0), &mut random);
    let template = Template::parse("t", TEMPLATE, &options).expect("parses");
    let start = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(template.render(&dot, &mut environment).expect("renders"));
    }
    let render = start.elapsed();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let template = Template::parse("t", TEMPLATE, &options).expect("parses");
        std::hint::black_box(template.render(&dot, &mut environment).expect("renders"));
    }
    (render, start.elapsed())
}

fn main() {
    let row = |name: &str, (render, both): (Duration, Duration)| {
        println!("{name:<10} {:>10.1} ms {:>18.1} ms", render.as_secs_f64() * 1e3, both.as_secs_f64() * 1e3);
    };
    println!("{ROUNDS} times    {:>12} {:>21}", "render", "parse and render");
    row("ours", ours());
    match go() {
        Some(times) => row("Go", times),
        None => println!("Go         (run `make tools` for this row)"),
    }
}
