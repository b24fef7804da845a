//! How this run gets and wraps data keys, and which keys and selectors the flags name.

use super::args::{Global, KeyArgs, SelectorArgs};
use super::failure::{Failure, code};
use super::files;
use super::ring::Keyring;
use crate::adapters::kms::DataKeys;
use crate::pure::format::Format;
use crate::pure::keys::age::{Recipient, RecipientError};
use crate::pure::keys::{KeyKind, KeyRef, Wrapped};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, DecryptionOrder, Document, MacPolicy, Opened, Plan, Selector, SopsError, Unlock as _};

/// One run of a verb: its global flags, and the keys and services that all of its files share.
pub struct Run<'a> {
    pub global: &'a Global,
    keys: DataKeys<Keyring>,
}

impl<'a> Run<'a> {
    /// Reads nothing and connects to nothing yet.
    ///
    /// # Errors
    /// An order of decryption that names a kind twice.
    pub fn new(global: &'a Global) -> Result<Self, Failure> {
        let order = global.decryption_order.as_deref().filter(|order| !order.is_empty());
        let order = order
            .map_or(Ok(DecryptionOrder::default()), DecryptionOrder::parse)
            .map_err(|error| Failure::new(code::DUPLICATE_DECRYPTION_KEY_TYPE, error.to_string()))?;
        let ring = Keyring::new(global.services.is_local());
        Ok(Self { global, keys: DataKeys::new(ring, order, None, global.services.connect()) })
    }

    /// Opens a file with the keys of the user.
    pub fn open<'d>(&self, document: &'d Document, name: &str, ignore_mac: bool) -> Result<Opened<'d>, Failure> {
        let fail = |error: SopsError| Failure::of(name, &error);
        let key = self.keys.unlock(document).map_err(fail)?;
        let policy = if ignore_mac { MacPolicy::IgnoreOnUsersRequest } else { MacPolicy::Verify };
        sops::open_with_key(document, key, policy).map_err(fail)
    }

    /// Fills in what keys leave open before they are written into a file.
    pub fn complete(&self, groups: &mut [Vec<KeyRef>]) -> Result<(), Failure> {
        self.try_complete(groups).map_err(|error| Failure::of("", &error))
    }

    /// [`Run::complete`] for those who can go on after an error.
    pub fn try_complete(&self, groups: &mut [Vec<KeyRef>]) -> Result<(), SopsError> {
        self.keys.complete(groups)
    }

    /// Before a person's next attempt: a key service that was away may be there again.
    pub fn begin_attempt(&self) {
        self.keys.begin_run();
    }

    /// Wraps the data key of a file to all of its keys.
    pub fn wrap(&self) -> impl FnMut(&[(&KeyRef, &Plaintext)]) -> Vec<Wrapped> {
        |wanted| self.keys.wrap(wanted)
    }
}

/// Reads an encrypted file.
pub fn parse(input: &files::Input, format: Format) -> Result<Document, Failure> {
    // SOPS has no code of its own for an encrypted file that does not parse.
    let generic = |error| Failure { code: code::GENERIC, ..Failure::of(&input.name, &error) };
    sops::parse(input.bytes.expose(), format).map_err(generic)
}

/// The keys of a list separated by commas.
pub fn list(kind: KeyKind, text: Option<&str>) -> Result<Vec<KeyRef>, Failure> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| KeyRef::of_text(kind, word).map_err(|what| Failure::new(code::GENERIC, what))).collect()
}

/// The keys of a list that are to go: one that was mistyped would stay.
pub fn to_remove(kind: KeyKind, text: Option<&str>) -> Result<Vec<KeyRef>, Failure> {
    let keys = list(kind, text)?;
    for key in &keys {
        if let KeyRef::Age { recipient } = key
            && let Err(error @ RecipientError::Invalid { .. }) = Recipient::parse(recipient)
        {
            return Err(Failure::new(code::GENERIC, error.to_string()));
        }
    }
    Ok(keys)
}

/// The keys of the flags and variables, in the order in which SOPS writes them.
fn of_flags(args: &KeyArgs) -> Result<Vec<KeyRef>, Failure> {
    let given = read_context(args.encryption_context.as_deref())?;
    let mut keys = list(KeyKind::Kms, args.kms.as_deref())?;
    for key in &mut keys {
        if let KeyRef::Kms { context, profile, .. } = key {
            profile.clone_from(&args.aws_profile.clone().unwrap_or_default());
            context.clone_from(&given);
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

pub fn read_context(text: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
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
    let rule = files::plan_of_rules(global, name)?;
    // A rule without keys is one empty group, which is another error than no rule.
    let mut plan = match rule {
        Some(rule) if rule.groups.is_empty() => Plan { groups: vec![vec![]], ..rule },
        Some(rule) => rule,
        None => Plan { groups: vec![], ..Plan::for_keys(vec![]) },
    };
    if !keys.is_empty() {
        plan.groups = vec![keys];
        plan.shamir_threshold = 0;
    }
    if plan.groups.is_empty() {
        let what = "config file not found, or has no creation rules, and no keys provided through command line options";
        return Err(Failure::new(code::GENERIC, what));
    }
    if let Some(threshold) = args.shamir_secret_sharing_threshold.filter(|given| *given > 0) {
        plan.shamir_threshold = threshold;
    }
    plan.selector = choose_selector(selector, plan.selector)?;
    plan.mac_only_encrypted |= global.mac_only_encrypted;
    plan.indent = files::layout(global)?;
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
