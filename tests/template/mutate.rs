//! Small changes to templates, from a seed.

use super::corpus::Case;

/// xorshift: the same cases for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const PIECES: [&str; 40] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    "(",
    ")",
    "|",
    ".",
    "$",
    "$x",
    ":=",
    "=",
    " ",
    "\n",
    "\"",
    "`",
    "'a'",
    "nil",
    "true",
    "0",
    "-1",
    "1.5",
    "\"\"",
    "\"a\"",
    "{{end}}",
    "{{else}}",
    "{{if .}}",
    "{{range .}}",
    "{{with .}}",
    ".user",
    ".missing",
    "index . ",
    "printf \"%v\"",
    "| quote",
    "| toJson",
    "\\x",
    "\u{e9}",
    "{{/* c */}}",
    ",",
    "{{break}}",
];

fn actions(template: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = template[at..].windows(2).position(|pair| pair == b"{{") {
        let open = at + open;
        let Some(close) = template[open..].windows(2).position(|pair| pair == b"}}") else { break };
        found.push((open, open + close + 2));
        at = open + close + 2;
    }
    found
}

pub fn mutate(cases: &[Case], random: &mut Random) -> Case {
    let mut case = random.pick(cases).clone();
    for _ in 0..=random.below(3) {
        let text = &mut case.template;
        let at = random.below(text.len() + 1);
        match random.below(7) {
            0 => {
                text.splice(at..at, random.pick(&PIECES).bytes());
            }
            1 => {
                let end = (at + 1 + random.below(4)).min(text.len());
                text.drain(at..end);
            }
            2 => {
                let end = (at + 1 + random.below(12)).min(text.len());
                let copy = text[at..end].to_vec();
                text.splice(at..at, copy);
            }
            3 if at < text.len() => text[at] = *random.pick(b"0123456789abc\"'`|(){}$.,:=- \n%\\"),
            4 => {
                let other = random.pick(cases).template.clone();
                text.extend(other);
            }
            5 => {
                // An action of another template in place of one of ours.
                let other = random.pick(cases).template.clone();
                let (mine, theirs) = (actions(text), actions(&other));
                if !mine.is_empty() && !theirs.is_empty() {
                    let (from, to) = *random.pick(&mine);
                    let (start, end) = *random.pick(&theirs);
                    text.splice(from..to, other[start..end].to_vec());
                }
            }
            _ => {
                let end = (at + random.below(6)).min(text.len());
                text.splice(at..end, random.pick(&PIECES).bytes());
            }
        }
    }
    case
}

/// Templates whose result is random, depends on the clock, or differs on purpose (docs/compat/templates.md).
pub fn differs_by_design(template: &[u8]) -> bool {
    let text = String::from_utf8_lossy(template);
    [
        "now",
        "rand",
        "gen",
        "uuid",
        "shuffle",
        "bcrypt",
        "htpasswd",
        "encryptAES",
        "ago",
        "date",
        "Date",
        "keys",
        "values",
        "Pkcs12",
        "%p",
        "%#p",
        "derivePassword",
        "duration",
        "set ",
        "merge",
        "buildCustomCert",
        "Truststore",
        "fromYaml",
    ]
    .iter()
    .any(|word| text.contains(word))
}
