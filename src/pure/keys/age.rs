//! age recipients and identities: X25519, post-quantum and ssh (ed25519, RSA), both directions. Passphrases and plugins are
//! for the caller to answer ([`Outside`]).

use std::io::{Read as _, Write as _};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use ::age::armor::{ArmoredReader, ArmoredWriter, Format};
use ::age::{Decryptor, Encryptor, ssh};
use zeroize::Zeroizing;

pub use super::age_locked::{BoxedIdentity, Outside, told};
use super::age_locked::{Locked, is_age_file, reason};
use super::{KeyError, KeyRef, LocalKeys, Unwrapped, WRAPPED_BYTES, Wrapped, WrappedKey, age_pq, age_x25519};
use crate::pure::error::{Explain, Retry};
use crate::pure::secret::Plaintext;

/// Identity text that cannot be used. Names the source and line, never the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum IdentityError {
    #[error("{source_name}: holds no private key")]
    Empty { source_name: String },
    #[error("{source_name}: line {line} is not a private key")]
    Invalid { source_name: String, line: usize },
    #[error("{source_name}: is protected by a passphrase")]
    Passphrase { source_name: String },
    #[error("{source_name}: line {line}: identities of plugins cannot be used here")]
    Plugin { source_name: String, line: usize },
    #[error("{source_name}: this kind of ssh key cannot be used with age")]
    UnsupportedSsh { source_name: String },
}

impl Explain for IdentityError {
    fn reason(&self) -> &'static str {
        "InvalidIdentity"
    }

    fn retry(&self) -> Retry {
        Retry::OnChange
    }

    fn hint(&self) -> String {
        match self {
            Self::Empty { .. } | Self::Invalid { .. } => {
                "give lines that begin with AGE-SECRET-KEY-1, an ssh private key in PEM form, or what \
                 `gpg --export-secret-keys --armor` writes"
                    .into()
            }
            Self::Passphrase { .. } => {
                "give a copy without one (`age -d`, `ssh-keygen -p` or `gpg --passwd` make it), or another identity"
                    .into()
            }
            Self::Plugin { .. } => "give a native identity".into(),
            Self::UnsupportedSsh { .. } => {
                "use an ed25519 key, or RSA of at least 2048 bits; `ssh-keygen -o -p` turns an old PEM file with a \
                 passphrase into a new one"
                    .into()
            }
        }
    }
}

/// A private key, and the recipient that it opens where that can be told.
enum Known {
    /// The recipient's text is made when it is first asked for: that takes as long as an unwrapping.
    X25519 { identity: age_x25519::Identity, public: OnceLock<Option<String>> },
    /// `asks`: somebody may be asked for something. Such a one is tried after the others.
    Other { identity: BoxedIdentity, public: Option<String>, asks: bool },
}

impl Known {
    fn public(&self) -> Option<&str> {
        match self {
            Self::X25519 { identity, public } => public.get_or_init(|| identity.recipient()).as_deref(),
            Self::Other { public, .. } => public.as_deref(),
        }
    }

    fn asks(&self) -> bool {
        matches!(self, Self::Other { asks: true, .. })
    }

    fn identity(&self) -> &dyn ::age::Identity {
        match self {
            Self::X25519 { identity, .. } => identity,
            Self::Other { identity, .. } => &**identity,
        }
    }

    fn into_identity(self) -> BoxedIdentity {
        match self {
            Self::X25519 { identity, .. } => Box::new(identity),
            Self::Other { identity, .. } => identity,
        }
    }
}

/// Private keys at hand. No `Debug`.
#[derive(Default)]
pub struct Identities {
    known: Vec<Known>,
}

impl Identities {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads an identity file: `AGE-SECRET-KEY-1…` and `AGE-SECRET-KEY-PQ-1…` lines with `#` comments (several keys on a
    /// line, separated by blanks, are allowed as in `SOPS_AGE_KEY`), or one ssh private key in PEM form. `source_name` is
    /// for errors.
    ///
    /// # Errors
    /// Nothing usable in the text, or a line that is no identity.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, IdentityError> {
        Self::read(text.as_bytes(), source_name, None)
    }

    /// Like [`Self::parse`], and takes what needs somebody to ask as well: identity files and ssh keys with a passphrase,
    /// and `AGE-PLUGIN-…`. Nobody is asked before a file is met that only such an identity may open, and nobody twice.
    ///
    /// # Errors
    /// Nothing usable in the text, or a line that is no identity.
    pub fn parse_asking(bytes: &[u8], source_name: &str, outside: &Arc<dyn Outside>) -> Result<Self, IdentityError> {
        Self::read(bytes, source_name, Some(outside))
    }

    fn read(bytes: &[u8], source_name: &str, outside: Option<&Arc<dyn Outside>>) -> Result<Self, IdentityError> {
        if is_age_file(bytes) {
            let Some(outside) = outside else {
                return Err(IdentityError::Passphrase { source_name: source_name.to_owned() });
            };
            let identity = Box::new(Locked::file(bytes, source_name, Arc::clone(outside)));
            return Ok(Self { known: vec![Known::Other { identity, public: None, asks: true }] });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(IdentityError::Invalid { source_name: source_name.to_owned(), line: 1 });
        };
        let trimmed = text.trim_start();
        let source_name = || source_name.to_owned();
        if trimmed.starts_with("-----BEGIN ") {
            return Self::parse_ssh(trimmed, source_name(), outside);
        }
        let mut known = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            for word in line.split_whitespace() {
                known.push(parse_word(word, index + 1, source_name(), outside)?);
            }
        }
        if known.is_empty() {
            return Err(IdentityError::Empty { source_name: source_name() });
        }
        Ok(Self { known })
    }

    fn parse_ssh(text: &str, source_name: String, outside: Option<&Arc<dyn Outside>>) -> Result<Self, IdentityError> {
        let identity = ssh::Identity::from_buffer(text.as_bytes(), None)
            .map_err(|_| IdentityError::Invalid { source_name: source_name.clone(), line: 1 })?;
        let public = ssh::Recipient::try_from(identity.clone()).ok().map(|recipient| recipient.to_string());
        let (identity, asks): (BoxedIdentity, bool) = match (identity, outside) {
            (ssh::Identity::Encrypted(key), Some(outside)) => {
                (Box::new(Locked::ssh(key, public.as_deref(), &source_name, Arc::clone(outside))), true)
            }
            (ssh::Identity::Encrypted(_), None) => return Err(IdentityError::Passphrase { source_name }),
            (ssh::Identity::Unsupported(_), _) => return Err(IdentityError::UnsupportedSsh { source_name }),
            (identity @ ssh::Identity::Unencrypted(_), _) => (Box::new(identity), false),
        };
        Ok(Self { known: vec![Known::Other { identity, public, asks }] })
    }

    /// All of them, for one identity that stands for many.
    pub(super) fn into_all(self) -> Vec<BoxedIdentity> {
        self.known.into_iter().map(Known::into_identity).collect()
    }

    /// In the order in which they are tried: that of `recipient`, then those that ask nobody.
    fn ordered(&self, recipient: &str) -> impl Iterator<Item = &dyn ::age::Identity> {
        let mut ordered: Vec<&Known> = self.known.iter().collect();
        ordered.sort_by_key(|known| known.asks());
        // One alone need not be looked for.
        if ordered.len() > 1 && !recipient.is_empty() {
            let own = ordered.iter().position(|known| known.public() == Some(recipient));
            if let Some(upto_own) = own.and_then(|at| ordered.get_mut(..=at)) {
                upto_own.rotate_right(1);
            }
        }
        ordered.into_iter().map(Known::identity)
    }

    fn refusal(&self, error: &::age::DecryptError) -> KeyError {
        match (error, reason(error)) {
            (::age::DecryptError::NoMatchingKeys, _) => KeyError::NoMatch { tried: self.known.len() },
            (_, Some(message)) => KeyError::Local { message },
            _ => KeyError::Damaged,
        }
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.known.extend(more.known);
    }

    /// Number of private keys.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The recipients that these identities open, as far as they can be told. Public.
    pub fn recipients(&self) -> Vec<&str> {
        self.known.iter().filter_map(Known::public).collect()
    }

    /// Opens a whole age file, armoured or not, of at most `max` bytes.
    pub fn open(&self, file: &[u8], max: usize) -> Unwrapped {
        if self.known.is_empty() {
            return Err(KeyError::NoIdentity);
        }
        if file.len() > max {
            return Err(KeyError::Damaged);
        }
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|_| KeyError::Damaged)?;
        let mut stream = decryptor.decrypt(self.ordered("")).map_err(|error| self.refusal(&error))?;
        // What was encrypted is never longer than its file, so this does not grow and leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(file.len()));
        stream.read_to_end(&mut bytes).map_err(|_| KeyError::Damaged)?;
        Ok(Plaintext::new(std::mem::take(&mut *bytes)))
    }

    /// Unwraps `enc`, an armoured age file made for `recipient`. The identity of that recipient is tried first.
    pub(crate) fn unwrap_for(&self, recipient: &str, enc: &str) -> Unwrapped {
        if self.known.is_empty() {
            return Err(KeyError::NoIdentity);
        }
        let recipient = comparable(recipient);
        // The reader of the armour refuses blanks before it, which Go accepts.
        let reader = ArmoredReader::new(enc.trim().as_bytes());
        let decryptor = Decryptor::new_buffered(reader).map_err(|_| KeyError::Damaged)?;
        let stream = decryptor.decrypt(self.ordered(&recipient)).map_err(|error| self.refusal(&error))?;
        let mut stream = stream.take(WRAPPED_BYTES + 1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        stream.read_to_end(&mut bytes).map_err(|_| KeyError::Damaged)?;
        if bytes.len() as u64 > WRAPPED_BYTES {
            return Err(KeyError::Damaged);
        }
        Ok(Plaintext::copy_of(&bytes))
    }
}

impl LocalKeys for Identities {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        let KeyRef::Age { recipient } = &key.key else { return None };
        Some(self.unwrap_for(recipient, &key.enc))
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        let KeyRef::Age { recipient } = key else { return None };
        let wrapped = Recipient::parse(recipient).and_then(|recipient| recipient.wrap(secret));
        Some(wrapped.map_err(|error| KeyError::Local { message: error.to_string() }))
    }
}

fn parse_word(
    word: &str,
    line: usize,
    source_name: String,
    outside: Option<&Arc<dyn Outside>>,
) -> Result<Known, IdentityError> {
    // Before the library, which would take it for a plugin's.
    if word.starts_with("AGE-SECRET-KEY-PQ-") {
        let identity = age_pq::Identity::parse(word).ok_or(IdentityError::Invalid { source_name, line })?;
        return Ok(Known::Other { identity: Box::new(identity), public: None, asks: false });
    }
    if word.starts_with("AGE-PLUGIN-") {
        let Some(outside) = outside else { return Err(IdentityError::Plugin { source_name, line }) };
        let identity = outside.plugin(word).map_err(|_| IdentityError::Invalid { source_name, line })?;
        return Ok(Known::Other { identity, public: None, asks: true });
    }
    let identity = age_x25519::Identity::parse(word).ok_or(IdentityError::Invalid { source_name, line })?;
    Ok(Known::X25519 { identity, public: OnceLock::new() })
}

/// Recipient text without the comment of an ssh key.
fn comparable(recipient: &str) -> String {
    let mut words = recipient.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) => format!("{kind} {key}"),
        (Some(word), None) => word.to_owned(),
        _ => String::new(),
    }
}

/// A recipient text that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum RecipientError {
    #[error("\"{text}\" is not an age recipient")]
    Invalid { text: String },
    #[error("\"{text}\": recipients of plugins cannot be used here")]
    Plugin { text: String },
    #[error("\"{text}\": encryption to it failed: {what}")]
    Wrap { text: String, what: String },
}

/// A public key that a data key can be wrapped to.
pub struct Recipient {
    text: String,
    key: Box<dyn ::age::Recipient + Send + Sync>,
}

impl Recipient {
    /// Reads `age1…`, `age1pq1…`, `ssh-ed25519 …` or `ssh-rsa …`.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        let invalid = || RecipientError::Invalid { text: text.to_owned() };
        let key: Box<dyn ::age::Recipient + Send + Sync> = if text.starts_with("ssh-") {
            Box::new(ssh::Recipient::from_str(text).map_err(|_| invalid())?)
        } else if text.starts_with("age1pq1") {
            Box::new(age_pq::Recipient::parse(text).ok_or_else(invalid)?)
        } else if let Some(recipient) = age_x25519::Recipient::parse(text) {
            Box::new(recipient)
        } else if text.strip_prefix("age1").is_some_and(|rest| rest.contains('1')) {
            return Err(RecipientError::Plugin { text: text.to_owned() });
        } else {
            return Err(invalid());
        };
        Ok(Self { text: text.to_owned(), key })
    }

    /// Wraps a data key or share as SOPS stores it: an armoured age file with a final line break. The age library draws
    /// the file key and nonce itself.
    pub fn wrap(&self, secret: &Plaintext) -> Result<String, RecipientError> {
        armoured(std::iter::once(&*self.key as &dyn ::age::Recipient), secret.expose())
            .map_err(|what| RecipientError::Wrap { text: self.text.clone(), what })
    }

    /// A recipient of a kind that the caller knows: a plugin's.
    pub fn new(text: &str, key: Box<dyn ::age::Recipient + Send + Sync>) -> Self {
        Self { text: text.to_owned(), key }
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Encrypts a whole file to all of `recipients`, armoured, with a final line break.
///
/// # Errors
/// No recipient, or post-quantum ones beside others, which age does not mix.
pub fn seal(recipients: &[Recipient], content: &Plaintext) -> Result<String, RecipientError> {
    let keys = recipients.iter().map(|recipient| &*recipient.key as &dyn ::age::Recipient);
    let all = || recipients.iter().map(Recipient::text).collect::<Vec<_>>().join(", ");
    armoured(keys, content.expose()).map_err(|what| RecipientError::Wrap { text: all(), what })
}

fn armoured<'a>(recipients: impl Iterator<Item = &'a dyn ::age::Recipient>, secret: &[u8]) -> Result<String, String> {
    let encryptor = Encryptor::with_recipients(recipients).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let write = || -> std::io::Result<()> {
        let armour = ArmoredWriter::wrap_output(&mut out, Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armour)?;
        writer.write_all(secret)?;
        writer.finish()?.finish()?;
        Ok(())
    };
    write().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&out).replace("\r\n", "\n");
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (String, String) {
        use ::age::secrecy::ExposeSecret as _;
        let key = ::age::x25519::Identity::generate();
        (key.to_string().expose_secret().to_owned(), key.to_public().to_string())
    }

    #[test]
    fn a_whole_file_opens_for_each_recipient_and_for_nobody_else() {
        let [(first, one), (second, two), (other, _)] = [identity(), identity(), identity()];
        let recipients = [&one, &two].map(|text| Recipient::parse(text).expect("parses"));
        let content = Plaintext::new(vec![5; 100_000]);
        let file = seal(&recipients, &content).expect("seals");
        for secret in [&first, &second] {
            let known = Identities::parse(secret, "test").expect("parses");
            assert!(known.open(file.as_bytes(), 1 << 20).is_ok_and(|opened| opened.same_as(&content)));
            assert_eq!(known.open(file.as_bytes(), 1000).err(), Some(KeyError::Damaged));
            assert_eq!(known.open(b"no age file", 1000).err(), Some(KeyError::Damaged));
        }
        let known = Identities::parse(&other, "test").expect("parses");
        assert_eq!(known.open(file.as_bytes(), 1 << 20).err(), Some(KeyError::NoMatch { tried: 1 }));
        assert!(seal(&[], &content).is_err());
    }

    #[test]
    fn wraps_and_unwraps() {
        let ((secret, public), (other, _)) = (identity(), identity());
        let recipient = Recipient::parse(&public).expect("parses");
        let enc = recipient.wrap(&Plaintext::new(vec![7; 32])).expect("wraps");
        assert!(enc.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && enc.ends_with("-----\n"), "{enc}");
        let text = format!("# comment\n\n{other} {secret}\n");
        let known = Identities::parse(&text, "test").expect("parses");
        assert_eq!(known.len(), 2);
        let crlf = format!("  {}\r\n", enc.trim_end().replace('\n', "\r\n"));
        for enc in [enc.as_str(), crlf.as_str(), enc.trim_end()] {
            assert_eq!(known.unwrap_for(&public, enc).ok().map(|p| p.expose().to_vec()), Some(vec![7; 32]));
        }
        let wrong = Identities::parse(&other, "test").expect("parses");
        assert_eq!(wrong.unwrap_for(&public, &enc).err(), Some(KeyError::NoMatch { tried: 1 }));
        assert_eq!(known.unwrap_for(&public, "garbage").err(), Some(KeyError::Damaged));
        assert_eq!(Identities::new().unwrap_for(&public, &enc).err(), Some(KeyError::NoIdentity));
        let long = recipient.wrap(&Plaintext::new(vec![7; 34])).expect("wraps");
        assert_eq!(known.unwrap_for(&public, &long).err(), Some(KeyError::Damaged));
    }

    /// A pair made by age-keygen 1.3.1; the vectors of the `sops` module prove the way from the real tools to here.
    #[test]
    fn post_quantum_keys_wrap_and_unwrap() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sops/key-pq.txt");
        let text = std::fs::read_to_string(folder).expect("readable");
        let public =
            text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a comment of age-keygen");
        let recipient = Recipient::parse(public).expect("parses");
        let enc = recipient.wrap(&Plaintext::new(vec![9; 33])).expect("wraps");
        let known = Identities::parse(&text, "test").expect("parses");
        assert_eq!(known.unwrap_for(public, &enc).ok().map(|p| p.expose().to_vec()), Some(vec![9; 33]));
        let (secret, _) = identity();
        let wrong = Identities::parse(&secret, "test").expect("parses");
        assert_eq!(wrong.unwrap_for(public, &enc).err(), Some(KeyError::NoMatch { tried: 1 }));
        assert!(Recipient::parse(&public.to_uppercase()).is_err());
        assert!(Recipient::parse(public.get(..200).expect("long")).is_err());
    }

    #[test]
    fn bad_identities_are_named_without_the_key() {
        let refused = |text: &str| Identities::parse(text, "file").err().expect("refused");
        assert_eq!(refused("# only\n"), IdentityError::Empty { source_name: "file".into() });
        assert_eq!(refused("#\nAGE-SECRET-KEY-1QQ"), IdentityError::Invalid { source_name: "file".into(), line: 2 });
        assert!(matches!(refused("AGE-PLUGIN-X-1QQ"), IdentityError::Plugin { line: 1, .. }));
        assert!(matches!(refused("age-encryption.org/v1\n"), IdentityError::Passphrase { .. }));
        assert!(!refused("AGE-SECRET-KEY-1HUNTER2").line().contains("HUNTER2"));
        for text in ["age1xyz", "ssh-ed25519 AAAA", "", "age1yubikey1qqq"] {
            assert!(Recipient::parse(text).is_err(), "{text}");
        }
    }
}
