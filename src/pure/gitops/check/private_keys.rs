//! Private keys in clear: PEM, PGP and SSH blocks, and age identities.

use super::Finding;

/// Fewest characters of base64 that make a block a key and not a mention of one.
const BODY: usize = 40;

/// Lines after the opening line in which a block's body begins; headers stand before it.
const HEADER_LINES: usize = 8;

/// How age identities begin, and how many characters follow at least.
const IDENTITIES: [(&str, usize); 2] = [("AGE-SECRET-KEY-1", 50), ("AGE-SECRET-KEY-PQ-1", 50)];

pub(super) fn find(bytes: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("PRIVATE KEY") && !text.contains("AGE-SECRET-KEY-") {
        return vec![];
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some((_, block)) = line.split_once("-----BEGIN ")
            && let Some((label, rest)) = block.split_once("-----")
            && label.contains("PRIVATE KEY")
            && has_body(rest, lines.get(index + 1..).unwrap_or_default())
        {
            let what = format!("a private key in clear ({})", label.trim_end_matches(" BLOCK"));
            findings.push(Finding::error(index + 1, "private-key", what, ADVICE));
        }
        let identity = IDENTITIES.iter().any(|(head, least)| {
            line.split(head).skip(1).any(|tail| {
                let length = tail.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count();
                length >= *least
            })
        });
        if identity {
            findings.push(Finding::error(index + 1, "private-key", "an age identity in clear", ADVICE));
        }
    }
    findings
}

const ADVICE: &str = "take it out, treat it as known to others, and turn the key";

/// Whether base64 follows: on the same line, as in JSON, or on one of the next.
fn has_body(rest: &str, next: &[&str]) -> bool {
    let base64 = |text: &str| {
        let body = text.trim().trim_matches('"');
        body.len() >= BODY && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    rest.split("\\n").any(base64) || next.iter().take(HEADER_LINES).any(|line| base64(line))
}
