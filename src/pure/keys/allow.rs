//! Which keys may be asked for. A file names its key services itself, so whoever may write the file chooses where a
//! credential is sent: what is not allowed here is not contacted.

use super::KeyRef;

/// A list of allowed keys, as beginnings of their texts: `arn:aws:kms:eu-central-1:111122223333:`,
/// `projects/p/locations/`, `https://team.vault.azure.net`, `https://vault.example.com:8200/v1/transit`.
///
/// An entry covers what it is the whole of, and what lies below it: addresses are compared by scheme, host and port as a
/// whole, and an entry ends only where a part of the text ends. `https://vault.example.com` therefore does not cover
/// `https://vault.example.com.evil.test`, nor does `…:key/ab` cover `…:key/abc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAllowList(Vec<String>);

impl KeyAllowList {
    /// Allows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads entries.
    ///
    /// # Errors
    /// The text says which entry is wrong and why.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut list = vec![];
        for entry in entries {
            let entry = entry.trim();
            if entry.is_empty() {
                return Err("an entry is empty".into());
            }
            if entry.contains("://") {
                let Some(canonical) = canonical(entry) else {
                    return Err(format!("\"{entry}\" is not an address of the form https://host[:port][/path]"));
                };
                list.push(canonical);
            } else if entry.starts_with("arn:") || entry.starts_with("projects/") {
                list.push(entry.to_owned());
            } else {
                let what = "is neither an address, nor does it begin with arn: or projects/";
                return Err(format!("\"{entry}\" {what}"));
            }
        }
        Ok(Self(list))
    }

    /// What either of the two allows.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key may be asked for. Keys without a network always may; a role that a key of AWS names is one more
    /// thing to be allowed.
    pub fn allows(&self, key: &KeyRef) -> bool {
        match key {
            KeyRef::Age { .. } | KeyRef::Pgp { .. } => true,
            KeyRef::Kms { arn, role, .. } => self.covers(arn) && (role.is_empty() || self.covers(role)),
            KeyRef::GcpKms { .. } | KeyRef::AzureKv { .. } | KeyRef::HcVault { .. } => self.covers(&key.to_string()),
            KeyRef::Hckms { .. } => false,
        }
    }

    /// Whether an address may be contacted, for what is no key: the other end of a redirect.
    pub fn allows_address(&self, address: &str) -> bool {
        self.covers(address)
    }

    fn covers(&self, text: &str) -> bool {
        let text = if text.contains("://") { canonical(text) } else { Some(text.to_owned()) };
        let Some(text) = text else { return false };
        // A path that climbs would leave what was allowed.
        if text.split(['/', ':']).any(|part| part == "." || part == "..") {
            return false;
        }
        self.0.iter().any(|entry| {
            let Some(rest) = text.strip_prefix(entry.as_str()) else { return false };
            let ends = |c: char| matches!(c, '/' | ':');
            rest.is_empty() || entry.ends_with(ends) || (rest.starts_with(ends) && !is_port(entry, rest))
        })
    }
}

/// An entry without a port does not cover the same host's other ports.
fn is_port(entry: &str, rest: &str) -> bool {
    rest.starts_with(':') && entry.split_once("://").is_some_and(|(_, after)| !after.contains('/'))
}

/// Scheme and host in lower case, without the default port, user, query or fragment; `None` for anything else.
fn canonical(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '@' | '?' | '#' | '\\' | '%');
    if rest.contains(odd) {
        return None;
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    if host.is_empty() {
        return None;
    }
    Some(format!("{scheme}://{host}{}", path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::keys::KeyKind;

    fn key(kind: KeyKind, text: &str) -> KeyRef {
        KeyRef::of_text(kind, text).unwrap()
    }

    fn allows(entry: &str, kind: KeyKind, text: &str) -> bool {
        KeyAllowList::parse([entry]).unwrap().allows(&key(kind, text))
    }

    #[test]
    fn an_entry_covers_what_lies_below_it_and_nothing_beside_it() {
        let vault = |entry, text| allows(entry, KeyKind::HcVault, text);
        let at = "https://vault.test:8200/v1/transit/keys/sops";
        for entry in [
            "https://vault.test:8200",
            "https://vault.test:8200/",
            "HTTPS://Vault.test:8200/v1",
            "https://vault.test:8200/v1/transit",
            "https://vault.test:8200/v1/transit/keys/",
            at,
        ] {
            assert!(vault(entry, at), "{entry}");
        }
        for entry in [
            "https://vault.test",
            "https://vault.test:82",
            "http://vault.test:8200",
            "https://vault.test:8200/v1/tran",
            "https://vault.test:8200/v1/transit/keys/so",
            "https://other.test:8200",
        ] {
            assert!(!vault(entry, at), "{entry}");
        }
        assert!(vault("https://vault.test", "https://vault.test:443/v1/transit/keys/sops"));
        for evil in [
            "https://vault.test.evil.test/v1/transit/keys/sops",
            "https://vault.test@evil.test/v1/transit/keys/sops",
            "https://vault.test\\@evil.test/v1/transit/keys/sops",
            "https://evil.test/https://vault.test/v1/transit/keys/sops",
            "https://vault.test/v1/../../keys/sops",
            "https://vault.test/v1/%2e%2e/keys/sops",
            "https://vault.test:8200/v1/transit/keys/sops",
            "https://vault.test?x/v1/transit/keys/sops",
        ] {
            assert!(!vault("https://vault.test", evil), "{evil}");
        }
    }

    #[test]
    fn keys_of_clouds_are_compared_part_by_part() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/abc";
        assert!(allows("arn:aws:kms:eu-central-1:111122223333", KeyKind::Kms, arn));
        assert!(allows("arn:aws:kms:eu-central-1:111122223333:", KeyKind::Kms, arn));
        assert!(!allows("arn:aws:kms:eu-central-1:1111", KeyKind::Kms, arn));
        assert!(!allows("arn:aws:kms:eu-central-1:111122223333:key/ab", KeyKind::Kms, arn));
        let role = format!("{arn}+arn:aws:iam::111122223333:role/r");
        assert!(!allows("arn:aws:kms:eu-central-1:111122223333", KeyKind::Kms, &role));
        let both = ["arn:aws:kms:eu-central-1:111122223333", "arn:aws:iam::111122223333:role/r"];
        assert!(KeyAllowList::parse(both).unwrap().allows(&key(KeyKind::Kms, &role)));
        let id = "projects/p/locations/global/keyRings/r/cryptoKeys/k";
        assert!(allows("projects/p", KeyKind::GcpKms, id));
        assert!(!allows("projects/p", KeyKind::GcpKms, "projects/pp/locations/global/keyRings/r/cryptoKeys/k"));
        assert!(!allows("projects/p", KeyKind::GcpKms, "projects/p/../q/cryptoKeys/k"));
        let azure = "https://team.vault.azure.net/keys/k/v";
        assert!(allows("https://team.vault.azure.net", KeyKind::AzureKv, azure));
        assert!(!allows("https://tea.vault.azure.net", KeyKind::AzureKv, azure));
    }

    #[test]
    fn nothing_is_allowed_unless_said_and_local_keys_always_are() {
        let none = KeyAllowList::new();
        assert!(none.is_empty() && none.allows(&key(KeyKind::Age, "age1x")));
        assert!(!none.allows(&key(KeyKind::GcpKms, "projects/p/locations/l/keyRings/r/cryptoKeys/k")));
        for entry in ["", "vault.test", "ftp://vault.test", "https://u@vault.test", "https://"] {
            assert!(KeyAllowList::parse([entry]).is_err(), "{entry}");
        }
    }
}
