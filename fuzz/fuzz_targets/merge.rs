//! Three plain files become three versions of one sealed file and are merged: what comes out opens with a MAC that holds,
//! and where something conflicts both sides of the conflict do. The input is the format and the three files with the byte
//! 0xff, which no text has, between them.
#![no_main]

use latchwork::pure::format::merge::Labels;
use latchwork::pure::format::{self, Format};
use latchwork::pure::keys::{DataKey, KeyRef};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{self, MacPolicy, MergeError, Plan, SopsError};
use libfuzzer_sys::fuzz_target;

const NOW: &str = "2026-01-02T03:04:05Z";
const LATER: &str = "2026-01-02T03:04:06Z";
/// Longer than any line of markers that an input is likely to hold.
const LABELS: Labels<'_> = Labels { ours: "ours", theirs: "theirs", size: 23 };

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let formats = [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini];
    let format = formats[usize::from(*choice) % formats.len()];
    let trees: Vec<_> =
        data.splitn(3, |byte| *byte == 0xff).filter_map(|part| format::parse(part, format).ok()).collect();
    let [base, ours, theirs] = trees.as_slice() else { return };
    let mut state = 1u8;
    let mut random = |buffer: &mut [u8]| {
        for byte in buffer {
            state = state.wrapping_mul(5).wrapping_add(1);
            *byte = state;
        }
    };
    // The first randomness that sealing asks for is the data key.
    let mut secret = Vec::new();
    let mut noted = |buffer: &mut [u8]| {
        random(buffer);
        if secret.is_empty() {
            secret = buffer.to_vec();
        }
    };
    let mut wrap = |wanted: &[(&KeyRef, &Plaintext)]| wanted.iter().map(|_| Ok("enc".to_owned())).collect();
    let plan = Plan::for_keys(vec![KeyRef::Age { recipient: "fuzz".into() }]);
    let Ok(sealed) = sops::seal(base, format, &plan, NOW, &mut noted, &mut wrap) else { return };
    let parse = |bytes: &[u8]| sops::parse(bytes, format).expect("what was sealed parses");
    let key = || DataKey::new(&secret).expect("32 bytes");
    let base = parse(sealed.expose());
    let base = sops::open_with_key(&base, key(), MacPolicy::Verify).expect("what was sealed opens");
    let mut version = |tree| sops::reseal(&base, tree, NOW, &mut random).ok().map(|out| parse(out.expose()));
    let (Some(ours), Some(theirs)) = (version(ours), version(theirs)) else { return };
    let ours = sops::open_with_key(&ours, key(), MacPolicy::Verify).expect("ours opens");
    let theirs = sops::open_with_key(&theirs, key(), MacPolicy::Verify).expect("theirs opens");
    match sops::merge(Some(&base), &ours, &theirs, LABELS, LATER, &mut random, &mut wrap) {
        Ok(merged) => {
            for chosen in ["ours", "theirs"] {
                let bytes = one_side(merged.bytes.expose(), chosen == "ours");
                let document = parse(&bytes);
                assert!(sops::open_with_key(&document, key(), MacPolicy::Verify).is_ok(), "{chosen} does not open");
            }
        }
        Err(MergeError::Sops(SopsError::NotVerified | SopsError::MacMismatch | SopsError::MacDamaged)) => {
            panic!("a merged file was sealed wrongly")
        }
        Err(_) => {}
    }
});

/// The text as a person leaves it who takes one side of every conflict.
fn one_side(text: &[u8], ours: bool) -> Vec<u8> {
    let marker = |sign: &[u8], line: &[u8]| line.starts_with(&sign.repeat(LABELS.size));
    let (mut out, mut side) = (Vec::new(), None);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match side {
            _ if marker(b"<", line) => side = Some(true),
            Some(_) if marker(b"=", line) => side = Some(false),
            Some(_) if marker(b">", line) => side = None,
            Some(of_ours) if of_ours != ours => {}
            _ => out.extend_from_slice(line),
        }
    }
    out
}
