//! A file is sealed, one value of it is set or removed by its path, and it is sealed again: the outcome opens with a MAC
//! that holds to exactly the edited values. The input is the format, the action, a line with the path, a line with the
//! value and the plain file.
#![no_main]

use latchwork::pure::format::{self, Format, place};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{Edit, SopsError};
use latchwork_fuzz::{FORMATS, LATER, Random, Sealed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, action, data @ ..] = data else { return };
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(path), Some(value), Some(plain)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(path), Ok(tree)) = (std::str::from_utf8(path), format::parse(plain, format)) else { return };
    let mut random = Random::new();
    let Ok(sealed) = Sealed::new(&tree, format, &mut random) else { return };
    let document = parse(&sealed.bytes, format);
    let opened = sealed.open(&document).expect("what was sealed opens");
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
    match edit.seal(LATER, &mut |buffer| random.fill(buffer)) {
        Ok(out) => {
            let document = parse(&out, format);
            let again = sealed.open(&document).expect("what was edited opens");
            let again = format::parse(again.emit(format).expect("emits").expose(), format).expect("plaintext parses");
            let found = format::emit(&again.branches, Format::Json).ok();
            let values = |json: &Option<Plaintext>| json.as_ref().map(|json| json.expose().to_vec());
            assert!(values(&found) == values(&wanted), "other values than those that were set");
            assert!(done.is_ok() || out.same_as(&sealed.bytes), "an edit that failed changed the file");
        }
        Err(SopsError::NotVerified | SopsError::MacMismatch | SopsError::MacDamaged | SopsError::Format(_)) => {
            panic!("an edited file was sealed wrongly")
        }
        Err(_) => {}
    }
});
