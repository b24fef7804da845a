//! Ours against Go: the same template and data through Go's text/template with the incumbents' functions and through
//! this crate, byte for byte. The corpus is `tests/vectors/template/*.txt`; mutations of it come from a seed.
//!
//! This is a binary of its own, because it needs nothing but the ground floor and so builds in seconds.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod corpus;
mod made;
mod mutate;
mod oracle;

use latchwork::pure::template::{Environment, Flavour, MissingKey, Options, Template, TemplateError, Value};

use corpus::Case;
use oracle::{Answer, Oracle};

/// What ours answers.
fn ours(case: &Case, dot: &Value) -> Result<Vec<u8>, TemplateError> {
    let options = Options {
        flavour: if case.flavour == "external" { Flavour::External } else { Flavour::Sealed },
        left: case.left.clone(),
        right: case.right.clone(),
        missing_key: match case.missing_key.as_str() {
            "error" => MissingKey::Error,
            "zero" => MissingKey::Zero,
            _ => MissingKey::Invalid,
        },
    };
    let template = Template::parse("t", &case.template, &options)?;
    let mut counter = 1u8;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            counter = counter.wrapping_mul(181).wrapping_add(59);
            *byte = counter;
        }
    };
    let mut environment = Environment::new((1_790_000_000, 0), &mut random);
    template.render(dot, &mut environment).map(|out| out.expose().to_vec())
}

#[derive(Default)]
struct Tally {
    cases: usize,
    equal: usize,
    both_fail: usize,
    same_text: usize,
    limits: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// `exact` cases must also agree on error texts and may hit no limit of ours.
    fn compare(&mut self, case: &Case, answer: &Answer, exact: bool) {
        self.cases += 1;
        let result = ours(case, &case.value());
        let shown = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
        match (&result, answer) {
            (Ok(out), Answer::Out(want)) if out == want => self.equal += 1,
            (Err(TemplateError::Limit { text }), _) => {
                self.limits += 1;
                if exact && matches!(answer, Answer::Out(_)) {
                    self.wrong.push(format!("{}\n     limit {text}", case.show()));
                }
            }
            (Err(error), Answer::Fail(want)) => {
                self.both_fail += 1;
                let text = error.to_string();
                if text == *want {
                    self.same_text += 1;
                } else if exact && !error.withheld() {
                    self.wrong.push(format!("{}\n     go   ERR {want}\n     ours ERR {text}", case.show()));
                }
            }
            (Ok(out), Answer::Out(want)) => {
                self.wrong.push(format!("{}\n     go   {}\n     ours {}", case.show(), shown(want), shown(out)));
            }
            (Ok(out), Answer::Fail(want)) => {
                self.wrong.push(format!("{}\n     go   ERR {want}\n     ours {}", case.show(), shown(out)));
            }
            (Err(error), Answer::Out(want)) => {
                self.wrong.push(format!("{}\n     go   {}\n     ours ERR {error}", case.show(), shown(want)));
            }
        }
    }

    fn finish(self, what: &str) {
        eprintln!(
            "{what}: {} cases, {} equal output, {} fail in both ({} with the same text), {} at a limit of ours, {} wrong",
            self.cases,
            self.equal,
            self.both_fail,
            self.same_text,
            self.limits,
            self.wrong.len()
        );
        let most = std::env::var("LATCHWORK_TEMPLATE_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
        for wrong in self.wrong.iter().take(most) {
            eprintln!("  {wrong}");
        }
        assert!(self.wrong.is_empty(), "{} of {} cases differ from Go", self.wrong.len(), self.cases);
    }
}

#[test]
fn written_corpus_renders_as_go_renders_it() {
    let mut oracle = Oracle::start();
    let cases = corpus::load();
    let mut tally = Tally::default();
    for case in &cases {
        let answer = oracle.ask(case);
        tally.compare(case, &answer, true);
    }
    tally.finish("corpus");
    assert!(cases.len() >= 1_500, "the corpus shrank to {} cases", cases.len());
}

#[test]
fn mutations_of_the_corpus_agree_with_go() {
    let seed = std::env::var("LATCHWORK_TEMPLATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let count = std::env::var("LATCHWORK_TEMPLATE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000);
    let mut oracle = Oracle::start();
    let cases: Vec<Case> = corpus::load().into_iter().filter(|case| !case.fixed).collect();
    let mut random = mutate::Random::new(seed);
    let mut tally = Tally::default();
    for _ in 0..count {
        let case = mutate::mutate(&cases, &mut random);
        if mutate::differs_by_design(&case.template) {
            continue;
        }
        let answer = oracle.ask(&case);
        tally.compare(&case, &answer, std::env::var_os("LATCHWORK_TEMPLATE_TEXTS").is_some());
    }
    eprintln!("seed {seed}");
    tally.finish("mutations");
}

#[test]
fn both_know_the_same_functions() {
    let [sealed, external] = oracle::names();
    let known = |name: &str, flavour: Flavour| {
        let options = Options { flavour, ..Options::default() };
        match Template::parse("t", format!("{{{{{name}}}}}"), &options) {
            Ok(_) => true,
            Err(error) => !error.to_string().contains("not defined"),
        }
    };
    let missing = |names: &[String], flavour| names.iter().filter(|n| !known(n, flavour)).cloned().collect::<Vec<_>>();
    assert_eq!(missing(&sealed, Flavour::Sealed), Vec::<String>::new());
    assert_eq!(missing(&external, Flavour::External), Vec::<String>::new());
    for denied in ["env", "expandenv", "getHostByName"] {
        assert!(!known(denied, Flavour::Sealed) && !known(denied, Flavour::External), "{denied}");
    }
    assert!(!known("toYaml", Flavour::Sealed), "the tables are apart");
}
