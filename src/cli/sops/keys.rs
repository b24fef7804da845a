//! Private keys from where SOPS looks for them, and recipients from flags.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::args::{Global, KeyArgs, SelectorArgs};
use super::failure::{Failure, code};
use super::files;
use crate::pure::error::Explain as _;
use crate::pure::format::Format;
use crate::pure::keys::age::Identities;
use crate::pure::keys::{KeyError, KeyKind, KeyRef, Unwrapped, WrappedKey};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, Document, MacPolicy, Opened, Plan, Selector, SopsError};

/// The identities of all places, and what was wrong with each place: told only when no key fits.
pub struct Keyring {
    identities: Identities,
    problems: Vec<String>,
    missing: Vec<String>,
}

impl Keyring {
    /// Looks in all places, ssh keys first, as SOPS does. All that is found is used.
    pub fn load(recipient: &str) -> Self {
        let mut ring = Self { identities: Identities::new(), problems: vec![], missing: vec![] };
        let home = std::env::home_dir().unwrap_or_default();
        ring.file_variable("SOPS_AGE_SSH_PRIVATE_KEY_FILE");
        ring.command_variable("SOPS_AGE_SSH_PRIVATE_KEY_CMD", recipient);
        ring.optional_file(home.join(".ssh/id_ed25519"));
        ring.optional_file(home.join(".ssh/id_rsa"));
        match std::env::var("SOPS_AGE_KEY") {
            Ok(text) => ring.add(Plaintext::from(text), "SOPS_AGE_KEY"),
            Err(_) => ring.missing.push("SOPS_AGE_KEY".into()),
        }
        ring.file_variable("SOPS_AGE_KEY_FILE");
        ring.command_variable("SOPS_AGE_KEY_CMD", recipient);
        ring.optional_file(config_folder(home).join("sops/age/keys.txt"));
        ring
    }

    fn add(&mut self, text: Plaintext, source: &str) {
        let Some(text) = text.expose_str() else {
            self.problems.push(format!("{source}: not text"));
            return;
        };
        match Identities::parse(text, source) {
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

    fn optional_file(&mut self, path: PathBuf) {
        let name = path.display().to_string();
        match fs::read(&path) {
            Ok(bytes) => self.add(Plaintext::new(bytes), &name),
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

    /// What the identities can do with a wrapped key.
    pub fn unwrap(&self, key: &WrappedKey) -> Unwrapped {
        match &key.key {
            KeyRef::Age { recipient } => self.identities.unwrap(recipient, &key.enc),
            other => Err(KeyError::Unsupported { kind: other.kind() }),
        }
    }

    /// For the report of a failure.
    fn sources(&self) -> String {
        let mut out = String::new();
        if !self.problems.is_empty() {
            out.push_str(&format!("Errors while loading age identities: {}. ", self.problems.join("; ")));
        }
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().map(|name| format!("'{name}'")).collect();
            out.push_str(&format!("Did not find keys in locations {}.", names.join(", ")));
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

/// Reads an encrypted file.
pub fn parse(input: &files::Input, format: Format) -> Result<Document, Failure> {
    // SOPS has no code of its own for an encrypted file that does not parse.
    let generic = |error| Failure { code: code::GENERIC, ..Failure::of(&input.name, &error, "") };
    sops::parse(input.bytes.expose(), format).map_err(generic)
}

/// Opens a file with the keys of the user.
pub fn open<'d>(document: &'d Document, name: &str, ignore_mac: bool) -> Result<Opened<'d>, Failure> {
    let recipient = document.recipients().map(|key| key.key.to_string()).next().unwrap_or_default();
    let ring = Keyring::load(&recipient);
    let fail = |error: SopsError| Failure::of(name, &error, &ring.sources());
    let key = sops::unlock(document, |key| ring.unwrap(key)).map_err(fail)?;
    let policy = if ignore_mac { MacPolicy::IgnoreOnUsersRequest } else { MacPolicy::Verify };
    sops::open_with_key(document, key, policy).map_err(|error| Failure::of(name, &error, ""))
}

/// The keys of a list separated by commas.
pub fn list(kind: KeyKind, text: Option<&str>) -> Result<Vec<KeyRef>, Failure> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| KeyRef::of_text(kind, word).map_err(|what| Failure::new(code::GENERIC, what))).collect()
}

/// The keys of the flags and variables, in the order in which SOPS writes them.
fn of_flags(args: &KeyArgs) -> Result<Vec<KeyRef>, Failure> {
    let mut keys = list(KeyKind::Kms, args.kms.as_deref())?;
    for key in &mut keys {
        if let KeyRef::Kms { context, profile, .. } = key {
            profile.clone_from(&args.aws_profile.clone().unwrap_or_default());
            *context = read_context(args.encryption_context.as_deref())?;
        }
    }
    for (kind, text) in [
        (KeyKind::GcpKms, &args.gcp_kms),
        (KeyKind::Hckms, &args.hckms),
        (KeyKind::AzureKv, &args.azure_kv),
        (KeyKind::Pgp, &args.pgp),
        (KeyKind::HcVault, &args.hc_vault_transit),
        (KeyKind::Age, &args.age),
    ] {
        keys.extend(list(kind, text.as_deref())?);
    }
    Ok(keys)
}

fn read_context(text: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let bad = || Failure::new(6, "the encryption context must be key:value,key:value");
    text.unwrap_or_default()
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once(':').map(|(k, v)| (k.to_owned(), v.to_owned())).ok_or_else(bad))
        .collect()
}

/// The plan for a file that is to be encrypted: keys of the flags, else of the rules; selectors of the flags over those
/// of the rules.
pub fn plan(global: &Global, args: &KeyArgs, selector: &SelectorArgs, name: &str) -> Result<Plan, Failure> {
    let keys = of_flags(args)?;
    let rule = match files::plan_of_rules(global, name) {
        // With keys at hand the rules only refine.
        Err(_) if !keys.is_empty() && global.config.is_none() => None,
        result => result?,
    };
    let mut plan = rule.unwrap_or_else(|| Plan { groups: vec![], ..Plan::for_keys(vec![]) });
    if !keys.is_empty() {
        plan.groups = vec![keys];
        plan.shamir_threshold = 0;
    }
    if plan.groups.is_empty() {
        let what = "config file not found, or has no creation rules, and no keys provided through command line options";
        return Err(Failure::new(code::GENERIC, what));
    }
    if let Some(threshold) = args.shamir_secret_sharing_threshold {
        plan.shamir_threshold = threshold;
    }
    plan.selector = choose_selector(selector, plan.selector)?;
    plan.mac_only_encrypted |= global.mac_only_encrypted;
    if let Some(width) = global.indent {
        plan.indent.yaml = width.clamp(2, 9);
        plan.indent.json = Some(width);
    }
    Ok(plan)
}

fn choose_selector(args: &SelectorArgs, rule: Option<Selector>) -> Result<Option<Selector>, Failure> {
    let given: Vec<(&str, &String)> = [
        ("unencrypted_suffix", &args.unencrypted_suffix),
        ("encrypted_suffix", &args.encrypted_suffix),
        ("unencrypted_regex", &args.unencrypted_regex),
        ("encrypted_regex", &args.encrypted_regex),
        ("unencrypted_comment_regex", &args.unencrypted_comment_regex),
        ("encrypted_comment_regex", &args.encrypted_comment_regex),
    ]
    .into_iter()
    .filter_map(|(name, text)| Some((name, text.as_ref().filter(|text| !text.is_empty())?)))
    .collect();
    let conflict = || {
        let what = "Error: cannot use more than one of encrypted_suffix, unencrypted_suffix, encrypted_regex, unencrypted_regex, encrypted_comment_regex, or unencrypted_comment_regex in the same file";
        Failure::new(code::CONFLICTING_FLAGS, what)
    };
    match (given.as_slice(), rule) {
        ([], rule) => Ok(rule),
        ([(name, text)], rule) => {
            if rule.is_some_and(|rule| rule.parts().0 != *name) {
                return Err(conflict());
            }
            Selector::new(name, text).map(Some).map_err(|error| Failure::new(code::GENERIC, error.to_string()))
        }
        _ => Err(conflict()),
    }
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
