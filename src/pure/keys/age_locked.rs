//! age identities behind a passphrase: whole identity files, and ssh keys. They are opened when they are first needed, once
//! in a run, and nobody is asked before.

use std::io::{self, Read as _};
use std::sync::{Arc, OnceLock};

use ::age::armor::ArmoredReader;
use ::age::secrecy::SecretString;
use ::age::{DecryptError, Decryptor, Identity, scrypt, ssh};
use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::age::Identities;
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// An identity of any kind.
pub type BoxedIdentity = Box<dyn Identity + Send + Sync>;

/// What some identities need from outside this process.
pub trait Outside: Send + Sync {
    /// The passphrase that `prompt` asks for.
    ///
    /// # Errors
    /// Why there is none.
    fn passphrase(&self, prompt: &str) -> Result<SecretString, String>;

    /// The identity of an `AGE-PLUGIN-…` text, which its plugin's program opens files with.
    ///
    /// # Errors
    /// What is wrong with the text, without it.
    fn plugin(&self, text: &str) -> Result<BoxedIdentity, String>;
}

/// The reason of an error that age passes on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// An error with a reason of ours.
pub fn told(reason: String) -> DecryptError {
    DecryptError::Io(io::Error::other(Told(reason)))
}

/// The reason of an error that [`told`] made.
pub(super) fn reason(error: &DecryptError) -> Option<String> {
    let DecryptError::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref::<Told>().map(|told| told.0.clone())
}

/// Whether the bytes are an age file, armoured or not.
pub(super) fn is_age_file(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

enum Content {
    File(Plaintext),
    /// With the tag by which age names the key in a file.
    Ssh(ssh::EncryptedKey, Option<String>),
}

/// One identity file or ssh key behind a passphrase.
pub(super) struct Locked {
    content: Content,
    source: String,
    outside: Arc<dyn Outside>,
    opened: OnceLock<Result<Vec<BoxedIdentity>, String>>,
}

impl Locked {
    /// An age file whose passphrase gives identities.
    pub(super) fn file(file: &[u8], source: &str, outside: Arc<dyn Outside>) -> Self {
        Self::new(Content::File(Plaintext::copy_of(file)), source, outside)
    }

    /// An ssh key; `public` is its recipient.
    pub(super) fn ssh(key: ssh::EncryptedKey, public: Option<&str>, source: &str, outside: Arc<dyn Outside>) -> Self {
        Self::new(Content::Ssh(key, public.and_then(ssh_tag)), source, outside)
    }

    fn new(content: Content, source: &str, outside: Arc<dyn Outside>) -> Self {
        Self { content, source: source.to_owned(), outside, opened: OnceLock::new() }
    }

    /// The texts are those of SOPS.
    fn open(&self) -> Result<Vec<BoxedIdentity>, String> {
        match &self.content {
            Content::Ssh(key, _) => {
                let passphrase = self.outside.passphrase(&format!("Enter passphrase for \"{}\":", self.source))?;
                let key = key.decrypt(passphrase).map_err(|_| "incorrect passphrase".to_owned())?;
                Ok(vec![Box::new(ssh::Identity::from(key))])
            }
            Content::File(file) => {
                let damaged = |error: DecryptError| format!("failed to decrypt identity file: {error}");
                let reader = ArmoredReader::new(file.expose().trim_ascii_start());
                let decryptor = Decryptor::new_buffered(reader).map_err(damaged)?;
                if !decryptor.is_scrypt() {
                    return Err(format!("{}: is encrypted, but not with a passphrase", self.source));
                }
                let prompt = format!("Enter passphrase for identity '{}':", self.source);
                let mut identity = scrypt::Identity::new(self.outside.passphrase(&prompt)?);
                identity.set_max_work_factor(limits::SCRYPT_WORK_FACTOR);
                let mut stream =
                    decryptor.decrypt(std::iter::once(&identity as &dyn Identity)).map_err(|error| match error {
                        DecryptError::NoMatchingKeys
                        | DecryptError::DecryptionFailed
                        | DecryptError::KeyDecryptionFailed => "incorrect passphrase".to_owned(),
                        error => damaged(error),
                    })?;
                // What was encrypted is never longer than its file, so this does not grow and leaves no copy behind.
                let mut bytes = Zeroizing::new(Vec::with_capacity(file.expose().len()));
                stream.read_to_end(&mut bytes).map_err(|error| damaged(DecryptError::Io(error)))?;
                if is_age_file(&bytes) {
                    return Err(format!("{}: is encrypted more than once", self.source));
                }
                let identities = Identities::parse_asking(&bytes, &self.source, &self.outside);
                identities.map(Identities::into_all).map_err(|error| error.to_string())
            }
        }
    }

    /// Whether to ask for the passphrase of an ssh key: only where the file was made for it.
    fn may_open(&self, stanzas: &[Stanza]) -> bool {
        let Content::Ssh(_, Some(tag)) = &self.content else { return true };
        stanzas.iter().any(|stanza| stanza.tag.starts_with("ssh-") && stanza.args.first() == Some(tag))
    }
}

impl Identity for Locked {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        if !self.may_open(stanzas) {
            return None;
        }
        match self.opened.get_or_init(|| self.open()) {
            Ok(identities) => identities.iter().find_map(|identity| identity.unwrap_stanzas(stanzas)),
            Err(what) => Some(Err(told(what.clone()))),
        }
    }
}

/// The first four bytes of the public key's SHA-256, as age writes them.
fn ssh_tag(public: &str) -> Option<String> {
    let key = STANDARD.decode(public.split_whitespace().nth(1)?).ok()?;
    Some(STANDARD_NO_PAD.encode(Sha256::digest(key).get(..4)?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::pure::keys::KeyError;
    use crate::pure::keys::age::Recipient;

    #[derive(Default)]
    struct Answers {
        passphrase: Option<&'static str>,
        asked: AtomicUsize,
    }

    impl Outside for Answers {
        fn passphrase(&self, prompt: &str) -> Result<SecretString, String> {
            assert!(prompt.contains("file"), "{prompt}");
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.passphrase.map(Into::into).ok_or_else(|| "nobody is there".to_owned())
        }

        fn plugin(&self, _: &str) -> Result<BoxedIdentity, String> {
            Err("no plugins".into())
        }
    }

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/sops/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("readable")
    }

    fn with(passphrase: Option<&'static str>, file: &[u8]) -> (Arc<Answers>, Identities) {
        let answers = Arc::new(Answers { passphrase, ..Answers::default() });
        let outside: Arc<dyn Outside> = answers.clone();
        let identities = Identities::parse_asking(file, "file", &outside).unwrap_or_else(|error| panic!("{error}"));
        (answers, identities)
    }

    fn locked_file(text: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut recipient = scrypt::Recipient::new("hunter2".into());
        recipient.set_work_factor(4);
        let mut out = Vec::new();
        let encryptor =
            ::age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn ::age::Recipient)).expect("one");
        let mut writer = encryptor.wrap_output(&mut out).expect("writes");
        writer.write_all(text).expect("writes");
        writer.finish().expect("ends");
        out
    }

    #[test]
    fn an_identity_file_is_asked_for_once_and_only_when_it_is_needed() {
        let key = ::age::x25519::Identity::generate();
        let public = key.to_public().to_string();
        let text = ::age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
        let enc = Recipient::parse(&public).expect("parses").wrap(&Plaintext::new(vec![7; 32])).expect("wraps");
        let file = locked_file(text.as_bytes());

        let (answers, identities) = with(Some("hunter2"), &file);
        assert_eq!(answers.asked.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            assert_eq!(identities.unwrap_for(&public, &enc).ok().map(|key| key.expose().to_vec()), Some(vec![7; 32]));
        }
        assert_eq!(answers.asked.load(Ordering::Relaxed), 1);

        // A key that needs no passphrase comes first.
        let (answers, mut identities) = with(None, &file);
        identities.extend(Identities::parse(&text, "open").expect("parses"));
        assert!(identities.unwrap_for(&public, &enc).is_ok());
        assert_eq!(answers.asked.load(Ordering::Relaxed), 0);

        let said = |passphrase| {
            let (answers, identities) = with(passphrase, &file);
            let errors: Vec<_> = (0..2).map(|_| identities.unwrap_for(&public, &enc).err().expect("fails")).collect();
            assert_eq!(answers.asked.load(Ordering::Relaxed), 1, "a wrong answer is not asked for again");
            errors.into_iter().next().expect("one")
        };
        assert_eq!(said(Some("wrong")), KeyError::Local { message: "incorrect passphrase".into() });
        assert_eq!(said(None), KeyError::Local { message: "nobody is there".into() });
        let twice = locked_file(&file);
        let (_, identities) = with(Some("hunter2"), &twice);
        assert!(
            matches!(identities.unwrap_for(&public, &enc), Err(KeyError::Local { message }) if message.contains("more than once"))
        );
    }

    #[test]
    fn an_ssh_key_is_asked_for_only_by_files_that_were_made_for_it() {
        let wrap =
            |public: &str| Recipient::parse(public).expect("parses").wrap(&Plaintext::new(vec![7; 32])).expect("wraps");
        let public = String::from_utf8(vector("key-locked.pub")).expect("text");
        let other = String::from_utf8(vector("key-ed25519.pub")).expect("text");
        let (answers, identities) = with(Some("hunter2"), &vector("key-locked"));
        assert_eq!(identities.unwrap_for(&other, &wrap(&other)).err(), Some(KeyError::NoMatch { tried: 1 }));
        assert_eq!(answers.asked.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            assert!(identities.unwrap_for(&public, &wrap(&public)).is_ok());
        }
        assert_eq!(answers.asked.load(Ordering::Relaxed), 1);
        let (_, identities) = with(Some("wrong"), &vector("key-locked"));
        let wrong = KeyError::Local { message: "incorrect passphrase".into() };
        assert_eq!(identities.unwrap_for(&public, &wrap(&public)).err(), Some(wrong));
    }
}
