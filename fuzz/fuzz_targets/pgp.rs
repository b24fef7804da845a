//! OpenPGP in process: reading keys and opening wrapped data keys never panics, and nothing comes out that was not put in.
//! The first byte chooses what the rest is: text of keys, text of a message, packets of keys, packets of a message, or
//! what a message holds behind its encryption, which whoever may write a file chooses as freely as the rest.
#![no_main]

use std::sync::LazyLock;

use latchwork::pure::keys::pgp::Identities;
use latchwork_fuzz::armour;
use libfuzzer_sys::fuzz_target;
use pgp::composed::{Deserializable as _, RawSessionKey, SignedSecretKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PacketTrait as _, PublicKeyEncryptedSessionKey, SymEncryptedProtectedData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const KEY: &str = include_str!("../../keys-example/.latchwork/keys/cluster.asc");
const MESSAGE: &str = include_str!("../../tests/vectors/pgp/messages/cluster.asc");

static KNOWN: LazyLock<Identities> = LazyLock::new(|| Identities::parse(KEY, "cluster.asc").expect("a key"));

const CIPHER: SymmetricKeyAlgorithm = SymmetricKeyAlgorithm::AES128;
const SESSION_KEY: [u8; 16] = [7; 16];

/// The packet that gives [`SESSION_KEY`] to the known key.
static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let key = SignedSecretKey::from_string(KEY).expect("a key").0;
    let subkey = key.secret_subkeys.first().expect("a subkey").key.public_key();
    let session_key = RawSessionKey::from(&SESSION_KEY[..]);
    let random = ChaCha8Rng::seed_from_u64(1);
    let packet = PublicKeyEncryptedSessionKey::from_session_key_v3(random, &session_key, CIPHER, &subkey);
    let mut out = vec![];
    packet.expect("wraps").to_writer_with_header(&mut out).expect("writes");
    out
});

fn around(inner: &[u8]) -> Vec<u8> {
    let random = ChaCha8Rng::seed_from_u64(2);
    let packet = SymEncryptedProtectedData::encrypt_seipdv1(random, CIPHER, &SESSION_KEY, inner).expect("encrypts");
    let mut out = HEAD.clone();
    packet.to_writer_with_header(&mut out).expect("writes");
    out
}

fn use_keys(text: &str) {
    if let Ok(keys) = Identities::parse(text, "fuzz") {
        let _ = keys.unwrap(MESSAGE);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let text = || std::str::from_utf8(data).ok();
    match choice % 5 {
        0 => text().map(use_keys).unwrap_or_default(),
        1 => drop(text().map(|text| KNOWN.unwrap(text))),
        2 => use_keys(&armour("PGP PRIVATE KEY BLOCK", data)),
        3 => drop(KNOWN.unwrap(&armour("PGP MESSAGE", data))),
        _ => drop(KNOWN.unwrap(&armour("PGP MESSAGE", &around(data)))),
    }
});
