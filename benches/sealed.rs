//! One entry of a SealedSecret opened on one core with a 4096-bit key: ours, Go's crypto/rsa, and the rsa crate.
//! Prints a table.
//!
//! `cargo bench --no-default-features --bench sealed`; needs `go` for its row. With `--profile dev` the rows of aws-lc
//! and Go are as good, since both are compiled apart; the rsa crate is generic and then runs unoptimised.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use latchwork::pure::sealed::blob::{self, Blob};
use latchwork::pure::sealed::keys::Certificate;
use latchwork::pure::sealed::{SealingKeys, item};
use latchwork::pure::secret::Plaintext;

const LABEL: &str = "team/db";
const MEASURE: Duration = Duration::from_secs(3);

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sealed").join(name)
}

/// Median time of one call.
fn median(mut call: impl FnMut()) -> Duration {
    let (start, mut times) = (Instant::now(), vec![]);
    while start.elapsed() < MEASURE || times.len() < 5 {
        let one = Instant::now();
        call();
        times.push(one.elapsed());
    }
    times.sort();
    times.swap_remove(times.len() / 2)
}

fn go(key: &Path, value: &Path) -> Option<Duration> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/tools/rsa-oracle");
    let program = tempfile::tempdir().ok()?;
    let binary = program.path().join("rsa-oracle");
    let built = Command::new("go").args(["build", "-o"]).arg(&binary).arg(".").current_dir(source).status().ok()?;
    let seconds = MEASURE.as_secs().to_string();
    let ran = Command::new(&binary).args([key, value]).args([LABEL, &seconds]).output().ok()?;
    let nanos = String::from_utf8(ran.stdout).ok()?.trim().parse().ok()?;
    built.success().then(|| Duration::from_nanos(nanos))
}

fn rsa_crate(key_pem: &str, blob: &Blob) -> Duration {
    use aes_gcm::aead::{Aead as _, KeyInit as _};
    use rsa::pkcs1::DecodeRsaPrivateKey as _;
    let mut key = rsa::RsaPrivateKey::from_pkcs1_pem(key_pem).expect("parses");
    key.precompute().expect("precomputes");
    median(|| {
        let padding = rsa::Oaep::new_with_label::<rsa::sha2::Sha256, _>(LABEL);
        // Blinded, as a server must: without it the crate's timing is a known weakness.
        let session = key.decrypt_blinded(&mut rsa::rand_core::OsRng, padding, &blob.wrapped).expect("opens");
        let cipher = aes_gcm::Aes256Gcm::new_from_slice(&session).expect("32 bytes");
        let nonce = aes_gcm::Nonce::try_from(&[0u8; 12][..]).expect("12 bytes");
        drop(cipher.decrypt(&nonce, blob.ciphertext.as_slice()).expect("opens"));
    })
}

fn main() {
    let key_path = vector("keys/current.key");
    let key_pem = std::fs::read_to_string(&key_path).expect("vector");
    let certificate =
        Certificate::parse("current", &std::fs::read(vector("keys/current.crt")).expect("vector")).expect("parses");
    let mut keys = SealingKeys::new();
    keys.add_pem("current", key_pem.as_bytes(), None).expect("parses");
    let key = keys.by_name("current").expect("added").clone();
    // The value that kubeseal sealed is what the controller gets.
    let value_path = vector("sealed/raw-strict.txt");
    let blob =
        Blob::parse(&blob::decode(std::fs::read_to_string(&value_path).expect("vector").trim()).expect("base64"))
            .expect("parses");

    let ours = median(|| drop(item::open(&blob, key.private(), LABEL.as_bytes()).expect("opens")));
    let wrong = median(|| assert!(item::open(&blob, key.private(), b"team/other").is_err()));
    let seal = median(|| {
        drop(item::seal(&Plaintext::copy_of(b"raw value"), certificate.public(), LABEL.as_bytes()).expect("seals"))
    });
    let other = rsa_crate(&key_pem, &blob);
    let go = go(&key_path, &value_path);

    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let times = |time: Duration| format!("{:.1}", time.as_secs_f64() / ours.as_secs_f64());
    println!("| one entry, RSA-4096, one core | median | times ours |");
    println!("|---|---|---|");
    println!("| latchwork (aws-lc), right key | {} | 1.0 |", ms(ours));
    println!("| latchwork, wrong scope | {} | {} |", ms(wrong), times(wrong));
    match go {
        Some(go) => println!("| Go crypto/rsa, as the Sealed Secrets controller | {} | {} |", ms(go), times(go)),
        None => println!("| Go crypto/rsa | not measured: go is missing | |"),
    }
    let note = if cfg!(debug_assertions) { " (unoptimised: not comparable)" } else { "" };
    println!("| rsa crate 0.9, blinded{note} | {} | {} |", ms(other), times(other));
    println!("| latchwork, sealing | {} | |", ms(seal));
}
