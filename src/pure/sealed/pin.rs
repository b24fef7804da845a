//! `.latchwork/recipients`: whom a repository encrypts to, pinned beside its files.
//!
//! A text file: certificates in PEM (sealing keys of a cluster, the one in use first), age recipients one a line, comments
//! that begin with `#`, empty lines. With it sealing works without a cluster, and not to a key that nobody reviewed.

use super::keys::{Certificate, KeyError};
use crate::pure::error::{Explain, Retry};

/// Path of the file below the root of a repository.
pub const PATH: &str = ".latchwork/recipients";

/// First words of the comment that stands above a pinned certificate.
const COMMENT: &str = "# sealing key ";

/// The file says something else than it may.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum PinError {
    #[error("{file}, line {line}: neither a certificate in PEM, an age recipient nor a comment")]
    Line { file: String, line: usize },
    #[error("{file}, line {line}: the certificate does not end")]
    Unended { file: String, line: usize },
    #[error("{file}, line {line}: a private key; this file is for public keys")]
    Private { file: String, line: usize },
    #[error("{file}: {error}")]
    Certificate { file: String, error: KeyError },
}

impl Explain for PinError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Line { .. } | Self::Unended { .. } => "MalformedPin",
            Self::Private { .. } => "PrivateKeyInPin",
            Self::Certificate { error, .. } => error.reason(),
        }
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::Private { .. } => {
                "remove it from the file and from the repository's history, and replace the key".into()
            }
            Self::Certificate { error, .. } => error.hint(),
            Self::Line { .. } | Self::Unended { .. } => "`latchwork pin` writes certificates into it".into(),
        }
    }
}

/// What the file holds.
#[derive(Default)]
pub struct Pins {
    /// Certificates in the order of the file: the first one seals.
    pub certificates: Vec<Certificate>,
    /// age recipients, as they stand there.
    pub age: Vec<String>,
}

impl Pins {
    /// Reads the file. `file` is its name for the error.
    pub fn parse(file: &str, text: &str) -> Result<Self, PinError> {
        let (mut pins, mut block) = (Self::default(), None::<(usize, String)>);
        for (line, content) in (1..).zip(text.lines()) {
            let (content, file) = (content.trim(), || file.to_owned());
            if content.contains("PRIVATE KEY") || content.starts_with("AGE-SECRET-KEY-") {
                return Err(PinError::Private { file: file(), line });
            }
            if let Some((_, pem)) = &mut block {
                pem.push_str(content);
                pem.push('\n');
                if content.starts_with("-----END ") {
                    let certificate = Certificate::parse("pinned", pem.as_bytes());
                    pins.certificates.push(certificate.map_err(|error| PinError::Certificate { file: file(), error })?);
                    block = None;
                }
            } else if content == "-----BEGIN CERTIFICATE-----" {
                block = Some((line, format!("{content}\n")));
            } else if content.starts_with("age1") {
                pins.age.push(content.to_owned());
            } else if !content.is_empty() && !content.starts_with('#') {
                return Err(PinError::Line { file: file(), line });
            }
        }
        match block {
            Some((line, _)) => Err(PinError::Unended { file: file.to_owned(), line }),
            None => Ok(pins),
        }
    }

    /// Whether this key is pinned.
    pub fn holds(&self, certificate: &Certificate) -> bool {
        self.certificates.iter().any(|pinned| pinned.fingerprint() == certificate.fingerprint())
    }
}

/// The text of the file with `certificate` as the one that seals, in the place of all certificates before it. Recipients and
/// comments stay.
pub fn with_certificate(text: &str, certificate: &Certificate) -> String {
    let until = certificate.not_after().strftime("%Y-%m-%d");
    let mut out = format!("{COMMENT}{}, certificate valid until {until}\n", certificate.fingerprint());
    out.push_str(certificate.pem());
    let mut inside = false;
    for line in text.lines() {
        inside |= line.trim_start().starts_with("-----BEGIN ");
        if !inside && !line.starts_with(COMMENT) {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.trim_start().starts_with("-----END ");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sealed/keys").join(name);
        std::fs::read_to_string(path).expect("vector")
    }

    #[test]
    fn certificates_recipients_and_comments_are_read_and_kept() {
        let (old, current) = (vector("old.crt"), vector("current.crt"));
        let text = format!("# ours\nage1abc\n\n{COMMENT}x\n{old}\n# end\n");
        let pins = Pins::parse("f", &text).expect("reads");
        assert_eq!((pins.certificates.len(), pins.age), (1, vec!["age1abc".to_owned()]));
        let new = Certificate::parse("c", current.as_bytes()).expect("parses");
        let text = with_certificate(&text, &new);
        let pins = Pins::parse("f", &text).expect("reads");
        assert_eq!(pins.certificates.len(), 1);
        assert!(pins.holds(&new) && !pins.holds(&Certificate::parse("o", old.as_bytes()).expect("parses")));
        assert!(text.starts_with(&format!("{COMMENT}{}", new.fingerprint())) && text.contains("# ours\nage1abc\n"));
        assert_eq!(with_certificate(&text, &new), text, "again changes nothing");
    }

    #[test]
    fn anything_else_is_refused_by_its_line() {
        let (key, half) = (vector("current.key"), "-----BEGIN CERTIFICATE-----\nMII");
        for (text, reason) in [
            ("# a\nssh-ed25519 AAAA", "MalformedPin"),
            (half, "MalformedPin"),
            (key.as_str(), "PrivateKeyInPin"),
            ("AGE-SECRET-KEY-1XYZ", "PrivateKeyInPin"),
            ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "BadCertificate"),
        ] {
            let error = Pins::parse("f", text).err().expect("refused");
            assert_eq!(error.reason(), reason, "{error}");
            assert!(!error.line().contains("XYZ") && !error.to_string().contains("AAAA"));
        }
        assert_eq!(
            Pins::parse("f", "a").err().map(|e| e.to_string()).unwrap_or_default(),
            "f, line 1: neither a certificate in PEM, an age recipient nor a comment"
        );
    }
}
