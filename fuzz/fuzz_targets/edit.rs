//! A file is sealed, one value of it is set or removed by its path, and it is sealed again: the outcome opens with a MAC
//! that holds to exactly the edited values. The input is the format, the action, a line with the path, a line with the
//! value and the plain file.
#![no_main]

use latchwork::pure::format::{self, Format, place};
use latchwork::pure::keys::{DataKey, KeyRef};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{self, Edit, MacPolicy, Plan, SopsError};
use libfuzzer_sys::fuzz_target;

const NOW: &str = "2026-01-02T03:04:05Z";
const LATER: &str = "2026-01-02T03:04:06Z";

fuzz_target!(|data: &[u8]| {
    let [choice, action, data @ ..] = data else { return };
    let formats = [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary];
    let format = formats[usize::from(*choice) % formats.len()];
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(path), Some(value), Some(plain)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(path), Ok(tree)) = (std::str::from_utf8(path), format::parse(plain, format)) else { return };
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
    let Ok(sealed) = sops::seal(&tree, format, &plan, NOW, &mut noted, &mut wrap) else { return };
    let key = || DataKey::new(&secret).expect("32 bytes");
    let document = sops::parse(sealed.expose(), format).expect("what was sealed parses");
    let opened = sops::open_with_key(&document, key(), MacPolicy::Verify).expect("what was sealed opens");
    let Ok(mut edit) = Edit::new(&opened) else { return };
    let done = match action % 3 {
        0 => edit.set_text(path, Plaintext::copy_of(value)),
        1 => match serde_json::from_slice(value) {
            Ok(json) => edit.set(path, place::from_json(&json)),
            Err(_) => return,
        },
        _ => edit.unset(path),
    };
    // As JSON, since the quotes of a new value are the printer's own choice; edits are of the first document.
    let wanted = format::emit(&edit.plain().branches, Format::Json).ok();
    match edit.seal(LATER, &mut random) {
        Ok(out) => {
            let document = sops::parse(out.expose(), format).expect("what was edited parses");
            let again = sops::open_with_key(&document, key(), MacPolicy::Verify).expect("what was edited opens");
            let again = format::parse(again.emit(format).expect("emits").expose(), format).expect("plaintext parses");
            let found = format::emit(&again.branches, Format::Json).ok();
            let values = |json: &Option<Plaintext>| json.as_ref().map(|json| json.expose().to_vec());
            assert!(values(&found) == values(&wanted), "other values than those that were set");
            assert!(done.is_ok() || out.same_as(&sealed), "an edit that failed changed the file");
        }
        Err(SopsError::NotVerified | SopsError::MacMismatch | SopsError::MacDamaged | SopsError::Format(_)) => {
            panic!("an edited file was sealed wrongly")
        }
        Err(_) => {}
    }
});
