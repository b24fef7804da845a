//! Two things from one input: opening arbitrary bytes never panics, and a plain file that can be sealed opens to the
//! same values (`seal` checks that itself and says `NotVerified`).
#![no_main]

use latchwork::pure::format::{self, Format};
use latchwork::pure::keys::{DataKey, KeyRef};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{self, MacPolicy, Plan, SopsError};
use libfuzzer_sys::fuzz_target;

const NOW: &str = "2026-01-02T03:04:05Z";

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let formats = [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary];
    let format = formats[usize::from(*choice) % formats.len()];
    let _ = sops::parts(data, format);
    if let (Ok(document), Some(key)) = (sops::parse(data, format), DataKey::new(&[0; 32])) {
        let _ = sops::open_with_key(&document, key, MacPolicy::IgnoreOnUsersRequest);
    }
    let Ok(tree) = format::parse(data, format) else { return };
    let plan = Plan::for_keys(vec![KeyRef::Age { recipient: "fuzz".into() }]);
    let mut state = 1u8;
    let mut random = |buffer: &mut [u8]| {
        for byte in buffer {
            state = state.wrapping_mul(5).wrapping_add(1);
            *byte = state;
        }
    };
    let mut wrap = |wanted: &[(&KeyRef, &Plaintext)]| wanted.iter().map(|_| Ok("enc".to_owned())).collect();
    match sops::seal(&tree, format, &plan, NOW, &mut random, &mut wrap) {
        Err(SopsError::NotVerified | SopsError::MacMismatch | SopsError::MacDamaged | SopsError::Format(_)) => {
            panic!("a file that can be read was sealed wrongly")
        }
        _ => {}
    }
});
