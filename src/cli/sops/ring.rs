//! The user's own keys, from where SOPS looks for them.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::adapters::asking::{self, Terminal};
use crate::adapters::kms::Gpg;
use crate::pure::error::Explain as _;
use crate::pure::keys::age::{Identities, Outside};
use crate::pure::keys::{KeyError, KeyRef, LocalKeys, Unwrapped, Wrapped, WrappedKey};
use crate::pure::secret::Plaintext;

/// Variables whose command learns the recipient that is asked for.
const COMMANDS: [&str; 2] = ["SOPS_AGE_SSH_PRIVATE_KEY_CMD", "SOPS_AGE_KEY_CMD"];

/// The user's keys. Each place is read once in a run, and not before a key of its kind is met.
#[derive(Default)]
pub struct Keyring {
    /// The user wants other key services alone.
    disabled: bool,
    gpg: OnceLock<Gpg>,
    /// By the recipient that commands were told; by the empty text when there is no command.
    age: Mutex<HashMap<String, Arc<AgeKeys>>>,
}

impl Keyring {
    /// The keys of this machine, or none of them.
    pub fn new(enabled: bool) -> Self {
        Self { disabled: !enabled, ..Self::default() }
    }

    fn gpg(&self) -> &Gpg {
        self.gpg.get_or_init(|| Gpg::new(std::env::var_os("SOPS_GPG_EXEC")))
    }

    fn age(&self, recipient: &str) -> Arc<AgeKeys> {
        let commands = COMMANDS.iter().any(|variable| std::env::var_os(variable).is_some());
        let told = if commands { recipient } else { "" };
        let mut known = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(told.to_owned()).or_insert_with(|| Arc::new(AgeKeys::load(told))).clone()
    }
}

impl LocalKeys for Keyring {
    fn unwrap(&self, key: &WrappedKey) -> Option<Unwrapped> {
        if self.disabled {
            return None;
        }
        match &key.key {
            KeyRef::Age { recipient } => Some(self.age(recipient).unwrap(recipient, &key.enc)),
            KeyRef::Pgp { .. } => self.gpg().unwrap(key),
            _ => None,
        }
    }

    fn wrap(&self, key: &KeyRef, secret: &Plaintext) -> Option<Wrapped> {
        if self.disabled {
            return None;
        }
        match key {
            KeyRef::Pgp { .. } => self.gpg().wrap(key, secret),
            KeyRef::Age { recipient } => {
                let wrapped = asking::recipient(recipient).and_then(|recipient| recipient.wrap(secret));
                Some(wrapped.map_err(|error| KeyError::Local { message: error.to_string() }))
            }
            _ => None,
        }
    }
}

/// The identities of all places, and what was wrong with each place: told only when no key fits.
struct AgeKeys {
    identities: Identities,
    problems: Vec<String>,
    missing: Vec<String>,
}

impl AgeKeys {
    /// Looks in all places, ssh keys first, as SOPS does. All that is found is used.
    fn load(recipient: &str) -> Self {
        let mut found = Self { identities: Identities::new(), problems: vec![], missing: vec![] };
        let home = std::env::home_dir().unwrap_or_default();
        found.file_variable("SOPS_AGE_SSH_PRIVATE_KEY_FILE");
        found.command_variable("SOPS_AGE_SSH_PRIVATE_KEY_CMD", recipient);
        found.optional_file(home.join(".ssh/id_ed25519"), true);
        found.optional_file(home.join(".ssh/id_rsa"), true);
        match std::env::var("SOPS_AGE_KEY") {
            Ok(text) => found.add(Plaintext::from(text), "SOPS_AGE_KEY"),
            Err(_) => found.missing.push("SOPS_AGE_KEY".into()),
        }
        found.file_variable("SOPS_AGE_KEY_FILE");
        found.command_variable("SOPS_AGE_KEY_CMD", recipient);
        // The last resort: not worth a word where there is anything else.
        let last = found.identities.is_empty();
        found.optional_file(config_folder(home).join("sops/age/keys.txt"), last);
        found
    }

    fn unwrap(&self, recipient: &str, enc: &str) -> Unwrapped {
        self.identities.unwrap_for(recipient, enc).map_err(|error| {
            let what = match error {
                KeyError::NoIdentity => "failed to load age identities".to_owned(),
                KeyError::NoMatch { .. } => {
                    "failed to create reader for decrypting sops data key with age: identity did not match any of the recipients: incorrect identity for recipient block".to_owned()
                }
                other => format!("failed to create reader for decrypting sops data key with age: {other}"),
            };
            KeyError::Local { message: what + &self.sources() }
        })
    }

    fn add(&mut self, text: Plaintext, source: &str) {
        let terminal: Arc<dyn Outside> = Arc::new(Terminal);
        let parsed = match text.expose_str() {
            // As in SOPS: a command that gives a locked key could give an open one.
            Some(text) if source == "SOPS_AGE_SSH_PRIVATE_KEY_CMD" => Identities::parse(text, source),
            _ => Identities::parse_asking(text.expose(), source, &terminal),
        };
        match parsed {
            Ok(more) => self.identities.extend(more),
            Err(error) => self.problems.push(error.line()),
        }
    }

    fn file_variable(&mut self, variable: &str) {
        let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
            self.missing.push(variable.to_owned());
            return;
        };
        match fs::read(&path) {
            Ok(bytes) => self.add(Plaintext::new(bytes), variable),
            Err(error) => {
                self.problems
                    .push(format!("failed to open {variable} file {}: {error}", PathBuf::from(path).display()));
            }
        }
    }

    fn optional_file(&mut self, path: PathBuf, told: bool) {
        let name = path.display().to_string();
        match fs::read(&path) {
            Ok(bytes) => self.add(Plaintext::new(bytes), &name),
            Err(_) if !told => {}
            Err(_) => self.missing.push(name),
        }
    }

    /// A command line without a shell; it learns the recipient from SOPS_AGE_RECIPIENT.
    fn command_variable(&mut self, variable: &str, recipient: &str) {
        let Some(line) = std::env::var(variable).ok().filter(|line| !line.trim().is_empty()) else {
            self.missing.push(variable.to_owned());
            return;
        };
        let words = split_words(&line);
        let Some((program, arguments)) = words.split_first() else { return };
        match Command::new(program).args(arguments).env("SOPS_AGE_RECIPIENT", recipient).output() {
            Ok(output) if output.status.success() => self.add(Plaintext::new(output.stdout), variable),
            Ok(output) => self.problems.push(format!("{variable}: the command ended with {}", output.status)),
            Err(error) => self.problems.push(format!("{variable}: {error}")),
        }
    }

    /// For the report of a failure.
    fn sources(&self) -> String {
        let mut out = String::new();
        if !self.problems.is_empty() {
            out.push_str(&format!(". Errors while loading age identities: {}", self.problems.join("; ")));
        }
        let mut names: Vec<String> = self.missing.iter().map(|name| format!("'{name}'")).collect();
        if let Some(last) = names.pop() {
            let all = match names.len() {
                0 => last,
                1 => format!("{} and {last}", names.join("")),
                _ => format!("{}, and {last}", names.join(", ")),
            };
            out.push_str(&format!(". Did not find keys in locations {all}."));
        }
        out
    }
}

/// Words of a command line: blanks separate, quotes hold together, a backslash takes the next character as it is.
pub fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn config_folder(home: PathBuf) -> PathBuf {
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    if cfg!(target_os = "macos") { home.join("Library/Application Support") } else { home.join(".config") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_without_a_shell() {
        assert_eq!(split_words(r#"cat  "a b"'c' d\ e """#), ["cat", "a bc", "d e", ""]);
        assert!(split_words("  ").is_empty());
    }
}
