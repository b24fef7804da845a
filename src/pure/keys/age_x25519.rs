//! age's own recipients (`age1…`, `AGE-SECRET-KEY-1…`): what the age library does, with another library's curve. A run over
//! many files spends two thirds of its time on it, and aws-lc's takes a third of the time (docs/decisions/0013). Format:
//! <https://c2sp.org/age#x25519-recipient-stanza>.

use std::collections::HashSet;
use std::sync::OnceLock;

use ::age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{aead_decrypt, aead_encrypt, hkdf};
use age_core::secrecy::ExposeSecret as _;
use aws_lc_rs::agreement::{EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, X25519, agree, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use super::age_pq::decode;

const STANZA: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const POINT_BYTES: usize = 32;
const BODY_BYTES: usize = FILE_KEY_BYTES + 16;

/// A point of the curve, as it is written.
type Point = [u8; POINT_BYTES];

/// What stands before a recipient's bytes.
const PREFIX: &str = "age";

/// A private key. To derive the public half takes as long as an unwrapping, so that waits until it is needed.
pub(super) struct Identity {
    secret: Zeroizing<Vec<u8>>,
    pair: OnceLock<Option<Pair>>,
}

struct Pair {
    key: PrivateKey,
    public: Point,
}

/// A public key.
pub(super) struct Recipient {
    public: Point,
}

impl Identity {
    /// Reads `AGE-SECRET-KEY-1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self { secret: decode(text, "age-secret-key-", POINT_BYTES)?, pair: OnceLock::new() })
    }

    /// `None` where the library has no memory left: every 32 bytes are a key.
    fn pair(&self) -> Option<&Pair> {
        let derive = || {
            let key = PrivateKey::from_private_key(&X25519, &self.secret).ok()?;
            let public = key.compute_public_key().ok()?.as_ref().try_into().ok()?;
            Some(Pair { key, public })
        };
        self.pair.get_or_init(derive).as_ref()
    }

    /// The recipient that it opens.
    pub(super) fn recipient(&self) -> Option<String> {
        bech32::encode::<Bech32>(Hrp::parse(PREFIX).ok()?, &self.pair()?.public).ok()
    }
}

impl ::age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA {
            return None;
        }
        let invalid = || Some(Err(DecryptError::InvalidHeader));
        let [share] = stanza.args.as_slice() else { return invalid() };
        let share: Option<Point> = STANDARD_NO_PAD.decode(share).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(share) = share.filter(|_| stanza.body.len() == BODY_BYTES) else { return invalid() };
        let pair = self.pair()?;
        let salt = [share, pair.public].concat();
        // Fails for the few points that give the same secret with every key: no honest program writes them.
        let key =
            agree(&pair.key, UnparsedPublicKey::new(&X25519, share), (), |secret| Ok(wrapping_key(&salt, secret)));
        let Ok(key) = key else { return invalid() };
        // A failure says only that it was made for another key.
        let file_key = Zeroizing::new(aead_decrypt(&key, FILE_KEY_BYTES, &stanza.body).ok()?);
        Some(Ok(FileKey::init_with_mut(|bytes| bytes.copy_from_slice(&file_key))))
    }
}

impl Recipient {
    /// Reads `age1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self { public: decode(text, PREFIX, POINT_BYTES)?.as_slice().try_into().ok()? })
    }

    /// The share of a key that is used once, and the encrypted file key. The key is drawn here, as the age library does.
    fn seal(&self, file_key: &[u8]) -> Option<(Point, Vec<u8>)> {
        let once = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).ok()?;
        let share: Point = once.compute_public_key().ok()?.as_ref().try_into().ok()?;
        let salt = [share, self.public].concat();
        let public = UnparsedPublicKey::new(&X25519, self.public);
        let key = agree_ephemeral(once, public, (), |secret| Ok(wrapping_key(&salt, secret))).ok()?;
        Some((share, aead_encrypt(&key, file_key)))
    }
}

impl ::age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let failed = || EncryptError::Io(std::io::Error::other("encryption to an X25519 key failed"));
        let (share, body) = self.seal(file_key.expose_secret()).ok_or_else(failed)?;
        Ok((vec![Stanza { tag: STANZA.into(), args: vec![STANDARD_NO_PAD.encode(share)], body }], HashSet::new()))
    }
}

fn wrapping_key(salt: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hkdf(salt, LABEL, secret))
}

#[cfg(test)]
mod tests {
    use ::age::{Recipient as _, x25519};

    use super::*;

    fn pair() -> (x25519::Identity, Identity, Recipient) {
        let theirs = x25519::Identity::generate();
        let ours = Identity::parse(theirs.to_string().expose_secret()).expect("parses");
        let recipient = Recipient::parse(&theirs.to_public().to_string()).expect("parses");
        (theirs, ours, recipient)
    }

    fn file_key() -> FileKey {
        FileKey::new(Box::new(*b"0123456789abcdef"))
    }

    fn opened(identity: &dyn ::age::Identity, stanza: &Stanza) -> Option<Result<[u8; FILE_KEY_BYTES], ()>> {
        identity.unwrap_stanza(stanza).map(|key| key.map(|key| *key.expose_secret()).map_err(|_| ()))
    }

    #[test]
    fn the_library_and_ours_open_each_others_stanzas() {
        let (theirs, ours, recipient) = pair();
        assert_eq!(ours.recipient(), Some(theirs.to_public().to_string()));
        assert_eq!(ours.pair().map(|pair| pair.public), Some(recipient.public));
        let native = theirs.to_public();
        for key in [&recipient as &dyn ::age::Recipient, &native] {
            let (stanzas, labels) = key.wrap_file_key(&file_key()).expect("wraps");
            assert!(labels.is_empty());
            let [stanza] = stanzas.as_slice() else { panic!("one stanza") };
            for identity in [&ours as &dyn ::age::Identity, &theirs] {
                assert_eq!(opened(identity, stanza), Some(Ok(*b"0123456789abcdef")));
            }
            let (_, other, _) = pair();
            assert_eq!(opened(&other, stanza), None);
        }
    }

    /// What is refused and what is passed over is the same as in the library.
    #[test]
    fn damaged_stanzas_are_told_from_those_of_others() {
        let (theirs, ours, recipient) = pair();
        let whole = || recipient.wrap_file_key(&file_key()).expect("wraps").0.remove(0);
        let changed = |change: fn(&mut Stanza)| {
            let mut stanza = whole();
            change(&mut stanza);
            stanza
        };
        let zero = STANDARD_NO_PAD.encode([0; POINT_BYTES]);
        let cases: [(Stanza, Option<Result<_, ()>>); 8] = [
            (changed(|stanza| stanza.tag = "x25519".into()), None),
            (changed(|stanza| stanza.body[0] ^= 1), None),
            (changed(|stanza| stanza.body.truncate(BODY_BYTES - 1)), Some(Err(()))),
            (changed(|stanza| stanza.args.clear()), Some(Err(()))),
            (changed(|stanza| stanza.args.push("more".into())), Some(Err(()))),
            (changed(|stanza| stanza.args[0].push('=')), Some(Err(()))),
            (changed(|stanza| stanza.args[0] = "AAAA".into()), Some(Err(()))),
            (Stanza { args: vec![zero], ..whole() }, Some(Err(()))),
        ];
        for (stanza, expected) in cases {
            assert_eq!(opened(&ours, &stanza), expected, "{stanza:?}");
            assert_eq!(opened(&theirs, &stanza), expected, "{stanza:?}");
        }
    }
}
