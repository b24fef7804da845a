//! OpenPGP secret keys in process: what `gpg --export-secret-keys --armor` and Flux' `*.asc` entries hold. Keyboxes, agents
//! and smartcards are for the `gpg` program alone. Opening only: encryption asks a keyring which key is meant and trusted.

use std::io::Read as _;

use ::pgp::composed::{DecryptionOptions, Deserializable as _, Message, SignedSecretKey, TheRing};
use ::pgp::errors::Error;
use ::pgp::types::Password;
use zeroize::Zeroizing;

use super::age::IdentityError;
use super::{KeyError, Unwrapped, WRAPPED_BYTES};
use crate::pure::limits;
use crate::pure::secret::Plaintext;

/// How an armoured secret key begins.
pub const ARMOUR: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// Secret keys at hand. No `Debug`.
#[derive(Default)]
pub struct Identities {
    keys: Vec<SignedSecretKey>,
}

impl Identities {
    /// Reads one or more armoured blocks of secret keys. `source_name` is for errors.
    ///
    /// # Errors
    /// No block, a block that cannot be read (its line), keys that only a passphrase opens.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, IdentityError> {
        let source_name = || source_name.to_owned();
        let mut keys = Vec::new();
        for (start, _) in text.match_indices(ARMOUR) {
            let block = text.get(start..).unwrap_or_default();
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            let invalid = || IdentityError::Invalid { source_name: source_name(), line };
            let (found, _) = SignedSecretKey::from_string_many(block).map_err(|_| invalid())?;
            for key in found {
                let key = key.map_err(|_| invalid())?;
                if !is_open(&key) {
                    return Err(IdentityError::Passphrase { source_name: source_name() });
                }
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(IdentityError::Empty { source_name: source_name() });
        }
        Ok(Self { keys })
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.keys.extend(more.keys);
    }

    /// Number of primary keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Unwraps `enc`, an armoured message. An expired key opens, as in gpg: what it was used for does not go away.
    pub fn unwrap(&self, enc: &str) -> Unwrapped {
        if self.keys.is_empty() {
            return Err(KeyError::NoIdentity);
        }
        if enc.len() > limits::PGP_MESSAGE_BYTES {
            return Err(KeyError::Damaged);
        }
        let (message, _) = Message::from_string(enc.trim_start()).map_err(|_| KeyError::Damaged)?;
        let none = Password::empty();
        let ring = TheRing {
            secret_keys: self.keys.iter().collect(),
            key_passwords: vec![&none],
            // What gpg 2.3 and later write by default. Messages without any integrity stay refused.
            decrypt_options: DecryptionOptions::new().enable_gnupg_aead(),
            ..TheRing::default()
        };
        let (mut message, _) = message.decrypt_the_ring(ring, true).map_err(|error| match error {
            Error::MissingKey => KeyError::NoMatch { tried: self.keys.len() },
            _ => KeyError::Damaged,
        })?;
        if message.is_compressed() {
            message = message.decompress().map_err(|_| KeyError::Damaged)?;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        // To its end, where the integrity is checked, and no further than a data key is long.
        message.take(WRAPPED_BYTES + 1).read_to_end(&mut bytes).map_err(|_| KeyError::Damaged)?;
        if bytes.len() as u64 > WRAPPED_BYTES {
            return Err(KeyError::Damaged);
        }
        Ok(Plaintext::copy_of(&bytes))
    }
}

/// Whether some part of the key needs no passphrase. An exported subkey leaves its primary key out.
fn is_open(key: &SignedSecretKey) -> bool {
    let subkeys = key.secret_subkeys.iter().any(|subkey| !subkey.key.secret_params().is_encrypted());
    subkeys || !key.primary_key.secret_params().is_encrypted()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAPPED: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn folder(name: &str) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    fn read(path: std::path::PathBuf) -> String {
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn message(name: &str) -> String {
        read(folder("tests/vectors/pgp/messages").join(format!("{name}.asc")))
    }

    fn text(name: &str) -> String {
        let parent = if ["person", "cluster"].contains(&name) {
            "keys-example/.latchwork/keys"
        } else {
            "tests/vectors/pgp/keys"
        };
        read(folder(parent).join(format!("{name}.asc")))
    }

    fn keys(names: &[&str]) -> Identities {
        let all: String = names.iter().map(|name| text(name)).collect();
        Identities::parse(&all, "keys").unwrap_or_else(|error| panic!("{names:?}: {error}"))
    }

    fn opened(keys: &Identities, enc: &str) -> Result<Vec<u8>, KeyError> {
        keys.unwrap(enc).map(|secret| secret.expose().to_vec())
    }

    /// Messages that gpg wrote, as the real sops runs it, for every kind of key and cipher and compression.
    #[test]
    fn what_gpg_wrapped_opens() {
        let names = ["person", "cluster", "nist", "nist521", "rsa4096"];
        let all = keys(&names);
        assert_eq!(all.len(), names.len());
        let mut seen = 0;
        for file in std::fs::read_dir(folder("tests/vectors/pgp/messages")).expect("a folder") {
            let name = file.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("bad-") || ["brainpool", "elgamal", "protected"].contains(&name.as_str()) {
                continue;
            }
            seen += 1;
            assert_eq!(opened(&all, &message(&name)).as_deref(), Ok(WRAPPED), "{name}");
        }
        assert!(seen > 14, "{seen}");
        for name in names {
            assert_eq!(opened(&keys(&[name]), &message(name)).as_deref(), Ok(WRAPPED), "{name}");
        }
        for name in ["person", "cluster"] {
            assert_eq!(opened(&keys(&[name]), &message("both")).as_deref(), Ok(WRAPPED), "{name}");
        }
        // Of this one only the subkey was exported, as people do who keep the primary key offline.
        assert_eq!(opened(&keys(&["nist521-subkey"]), &message("nist521")).as_deref(), Ok(WRAPPED));
        let crlf = format!("  \r\n{}", message("person").replace('\n', "\r\n"));
        assert_eq!(opened(&all, &crlf).as_deref(), Ok(WRAPPED));
    }

    #[test]
    fn what_does_not_open_says_why() {
        let person = keys(&["person"]);
        assert_eq!(opened(&person, &message("cluster")), Err(KeyError::NoMatch { tried: 1 }));
        assert_eq!(opened(&keys(&["sign-only", "person"]), &message("cluster")), Err(KeyError::NoMatch { tried: 2 }));
        assert_eq!(opened(&Identities::default(), &message("cluster")), Err(KeyError::NoIdentity));
        let cluster = keys(&["cluster"]);
        for name in ["bad-long", "bad-longer", "bad-clear", "bad-signed-only", "bad-no-integrity"] {
            assert_eq!(opened(&cluster, &message(name)), Err(KeyError::Damaged), "{name}");
        }
        assert_eq!(opened(&cluster, &message("bad-passphrase")), Err(KeyError::NoMatch { tried: 1 }));
        assert_eq!(opened(&cluster, "garbage"), Err(KeyError::Damaged));
        let large = format!("{}\n{}", message("cluster"), "x".repeat(limits::PGP_MESSAGE_BYTES));
        assert_eq!(opened(&cluster, &large), Err(KeyError::Damaged));
        // Kinds that the library cannot use are read, and open nothing.
        for name in ["brainpool", "elgamal"] {
            let of_kind = Identities::parse(&text(name), name);
            assert!(of_kind.is_err() || of_kind.is_ok_and(|keys| opened(&keys, &message(name)).is_err()), "{name}");
        }
    }

    /// The checksum of the armour is no protection and may be absent, so it is cut here: what is left is the integrity of
    /// the message.
    #[test]
    fn a_changed_message_opens_to_nothing_else_and_never_panics() {
        let known = keys(&["person", "cluster", "nist"]);
        for name in ["cluster", "nist", "person", "compressed-bzip2", "signed"] {
            let text = message(name);
            let bare = format!(
                "{}-----END PGP MESSAGE-----\n",
                text.get(..text.rfind("\n=").expect("a checksum") + 1).expect("text")
            );
            assert_eq!(opened(&known, &bare).as_deref(), Ok(WRAPPED), "{name}");
            let start = bare.find("\n\n").expect("an empty line") + 2;
            let end = bare.rfind("-----END").expect("an end");
            // RSA in an unoptimised build is slow.
            let step = if end - start > 400 { 13 } else { 1 };
            for at in (start..end).step_by(step) {
                let mut changed = bare.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).expect("text");
                if let Ok(secret) = opened(&known, &changed) {
                    assert_eq!(secret, WRAPPED, "{name}: character {at}");
                }
                let _ = opened(&known, bare.get(..at).expect("text"));
            }
            // The ciphertext is at the end.
            let late = end - 20;
            let mut changed = bare.into_bytes();
            changed[late] = if changed[late] == b'A' { b'B' } else { b'A' };
            assert_eq!(opened(&known, &String::from_utf8(changed).expect("text")), Err(KeyError::Damaged), "{name}");
        }
    }

    #[test]
    fn what_is_no_open_secret_key_is_named() {
        let refused = |text: &str| Identities::parse(text, "file").err().expect("refused");
        assert_eq!(refused("nothing"), IdentityError::Empty { source_name: "file".into() });
        let broken = format!("\n{ARMOUR}\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n");
        assert!(matches!(refused(&broken), IdentityError::Invalid { line: 2, .. } | IdentityError::Empty { .. }));
        let cut = text("cluster").get(..300).expect("long").to_owned();
        assert!(matches!(refused(&cut), IdentityError::Invalid { line: 1, .. } | IdentityError::Empty { .. }));
        let protected = refused(&(text("cluster") + &text("protected")));
        assert_eq!(protected, IdentityError::Passphrase { source_name: "file".into() });
    }
}
