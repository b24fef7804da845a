//! The Go program that knows the answers: `tests/rig/tools/template-oracle`.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::corpus::Case;

fn path() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = set("LATCHWORK_TEST_TEMPLATE_ORACLE").or_else(|| {
        let cache = set("LATCHWORK_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("latchwork")))
            .or_else(|| set("HOME").map(|folder| folder.join(".cache/latchwork")))?;
        Some(cache.join("tools/bin/template-oracle"))
    });
    // A skipped test would look like a passed one.
    found.filter(|path| path.is_file()).expect("template-oracle not found: run `make tools`")
}

pub enum Answer {
    Out(Vec<u8>),
    Fail(String),
}

/// A running oracle; it dies with its input.
pub struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    pub fn start() -> Self {
        let mut child = Command::new(path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub fn ask(&mut self, case: &Case) -> Answer {
        let question = serde_json::json!({
            "template64": STANDARD.encode(&case.template),
            "data": case.data,
            "flavour": case.flavour,
            "left": case.left,
            "right": case.right,
            "missingkey": case.missing_key,
        });
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{question}").and_then(|()| input.flush()).expect("the oracle listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the oracle answers");
        let answer: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the oracle died on {}", case.show()));
        match answer.get("out").and_then(|out| out.as_str()) {
            Some(out) => Answer::Out(STANDARD.decode(out).unwrap()),
            None => {
                let text = answer["err"].as_str().unwrap().to_owned();
                assert!(!text.starts_with("bad case"), "{text}: {}", case.show());
                Answer::Fail(text)
            }
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Function names of both incumbents.
pub fn names() -> [Vec<String>; 2] {
    let out = Command::new(path()).arg("names").output().expect("the oracle starts").stdout;
    let mut lines = out.lines().map(|line| line.unwrap().split(' ').map(str::to_owned).collect());
    [lines.next().unwrap(), lines.next().unwrap()]
}
