//! What age needs from a person's machine: passphrases from the terminal, and the programs of plugins
//! (`age-plugin-NAME` on PATH, the protocol is C2SP's age-plugin). For the command line alone: an operator has neither.

use std::collections::HashSet;
use std::io::{self, BufRead as _, ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

use ::age::plugin::{self, IdentityPluginV1, RecipientPluginV1};
use ::age::secrecy::SecretString;
use ::age::{Callbacks, DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};

use crate::pure::keys::age::{BoxedIdentity, Outside, Recipient, RecipientError, told};

/// One question at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The terminal of the process, whatever its standard input and output are.
#[derive(Clone, Copy)]
pub struct Terminal;

impl Terminal {
    /// Reads a line that is not shown.
    fn secret(prompt: &str) -> io::Result<SecretString> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        rpassword::prompt_password(format!("{prompt} ")).map(SecretString::from)
    }

    fn line(prompt: &str) -> io::Result<String> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        write!(&terminal, "{prompt} ")?;
        let mut line = String::new();
        io::BufReader::new(&terminal).read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        // Nobody there is no reason to fail.
        let _ = writeln!(io::stderr(), "age: {message}");
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.unwrap_or("cancel");
        let answer = Self::line(&format!("{message} (1: {yes}, 2: {no})")).ok()?;
        match answer.trim() {
            "1" => Some(true),
            "2" => Some(false),
            _ => None,
        }
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        Self::line(description).ok()
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        Self::secret(description).ok()
    }
}

impl Outside for Terminal {
    fn passphrase(&self, prompt: &str) -> Result<SecretString, String> {
        Self::secret(prompt).map_err(|_| {
            let what = prompt.trim_start_matches("Enter ").trim_end_matches(':');
            format!("could not read the {what}: there is no terminal to ask at; give a copy without a passphrase")
        })
    }

    fn plugin(&self, text: &str) -> Result<BoxedIdentity, String> {
        let identity: plugin::Identity = text.parse().map_err(|what| format!("is no identity of a plugin: {what}"))?;
        Ok(Box::new(OfPlugin(identity)))
    }
}

/// An identity whose plugin is looked for when it is needed.
struct OfPlugin(plugin::Identity);

impl ::age::Identity for OfPlugin {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let name = self.0.plugin();
        match IdentityPluginV1::new(name, std::slice::from_ref(&self.0), Terminal) {
            Ok(plugin) => ::age::Identity::unwrap_stanzas(&plugin, stanzas).map(|result| {
                result.map_err(|error| match &error {
                    DecryptError::Io(error) if error.kind() == ErrorKind::ConnectionAborted => told(died(name)),
                    _ => told(in_one_line(&error.to_string())),
                })
            }),
            Err(_) => Some(Err(told(missing(name)))),
        }
    }
}

/// A recipient whose plugin is looked for when it is needed.
struct ToPlugin(plugin::Recipient);

impl ::age::Recipient for ToPlugin {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let name = self.0.plugin();
        let plugin = RecipientPluginV1::new(name, std::slice::from_ref(&self.0), &[], Terminal)
            .map_err(|_| EncryptError::Io(io::Error::other(missing(name))))?;
        let wrapped = ::age::Recipient::wrap_file_key(&plugin, key);
        wrapped.map_err(|error| {
            let what = match &error {
                EncryptError::Io(error) if error.kind() == ErrorKind::ConnectionAborted => died(name),
                _ => in_one_line(&error.to_string()),
            };
            EncryptError::Io(io::Error::other(what))
        })
    }
}

/// A recipient of any kind, those of plugins among them.
///
/// # Errors
/// A text that is none.
pub fn recipient(text: &str) -> Result<Recipient, RecipientError> {
    match Recipient::parse(text) {
        Err(RecipientError::Plugin { text }) => match text.parse::<plugin::Recipient>() {
            Ok(key) => Ok(Recipient::new(&text, Box::new(ToPlugin(key)))),
            Err(_) => Err(RecipientError::Invalid { text }),
        },
        result => result,
    }
}

fn missing(name: &str) -> String {
    format!("age-plugin-{name} is not on PATH: install the plugin, or give another key")
}

/// Plugins may end once they have refused something, and the library drops what they said before.
fn died(name: &str) -> String {
    format!("age-plugin-{name} ended without an answer; give the same key to the program `age` to see why")
}

/// Texts of the library are in paragraphs, with marks of direction around names.
fn in_one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.replace(['\u{2068}', '\u{2069}'], "")
}
