//! age in process: reading identities and recipients and opening wrapped data keys never panics. The first byte chooses
//! what the rest is: text of identities, text of a recipient, an armoured file, or the bytes of one.
#![no_main]

use std::sync::{Arc, LazyLock};

use latchwork::pure::keys::age::{BoxedIdentity, Identities, Outside, Recipient};
use latchwork::pure::secret::Plaintext;
use latchwork_fuzz::armour;
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 4] = [
    include_str!("../../tests/vectors/sops/keys.txt"),
    include_str!("../../tests/vectors/sops/key-pq.txt"),
    include_str!("../../tests/vectors/sops/key-ed25519"),
    include_str!("../../tests/vectors/sops/key-rsa"),
];

static KNOWN: LazyLock<Identities> = LazyLock::new(|| {
    let mut all = Identities::new();
    for file in FILES {
        all.extend(Identities::parse(file, "known").expect("an identity"));
    }
    all
});

/// Nobody is there to ask: what a passphrase costs is known (`limits::SCRYPT_WORK_FACTOR`).
struct Nobody;

impl Outside for Nobody {
    fn passphrase(&self, _: &str) -> Result<age::secrecy::SecretString, String> {
        Err("nobody".into())
    }

    fn plugin(&self, _: &str) -> Result<BoxedIdentity, String> {
        Err("nobody".into())
    }
}

fuzz_target!(|data: &[u8]| {
    static FILE: LazyLock<String> = LazyLock::new(|| {
        let recipient = KNOWN.recipients().first().and_then(|text| Recipient::parse(text).ok()).expect("a recipient");
        recipient.wrap(&Plaintext::copy_of(&[1; 32])).expect("wraps")
    });
    let Some((choice, data)) = data.split_first() else { return };
    let text = std::str::from_utf8(data);
    match (choice % 4, text) {
        (0, text) => {
            if let Ok(identities) = text.map_err(drop).and_then(|text| Identities::parse(text, "fuzz").map_err(drop)) {
                let _ = identities.unwrap("", &FILE);
            }
            let outside: Arc<dyn Outside> = Arc::new(Nobody);
            if let Ok(identities) = Identities::parse_asking(data, "fuzz", &outside) {
                let _ = identities.unwrap("", &FILE);
            }
        }
        (1, Ok(text)) => {
            if let Ok(recipient) = Recipient::parse(text) {
                let _ = recipient.wrap(&Plaintext::copy_of(&[1; 32]));
            }
        }
        (2, Ok(text)) => drop(KNOWN.unwrap("", text)),
        (3, _) => {
            let _ = KNOWN.unwrap("", &armour("AGE ENCRYPTED FILE", data));
            let _ = KNOWN.open(data, data.len());
        }
        _ => {}
    }
});
