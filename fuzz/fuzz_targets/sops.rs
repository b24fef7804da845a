//! Two things from one input: opening arbitrary bytes never panics, and a plain file that can be sealed opens to the
//! same values (`seal` checks that itself and says `NotVerified`).
#![no_main]

use latchwork::pure::format::{self, FormatError};
use latchwork::pure::keys::DataKey;
use latchwork::pure::sops::{self, MacPolicy, SopsError};
use latchwork_fuzz::{FORMATS, Random, Sealed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    let _ = sops::parts(data, format);
    if let (Ok(document), Some(key)) = (sops::parse(data, format), DataKey::new(&[0; 32])) {
        let _ = sops::open_with_key(&document, key, MacPolicy::IgnoreOnUsersRequest);
    }
    let Ok(tree) = format::parse(data, format) else { return };
    match Sealed::new(&tree, format, &mut Random::new()) {
        // What no other sops could read is refused.
        Err(SopsError::Format(FormatError::Syntax { what, .. }))
            if what.starts_with("a tab stands") || what.starts_with("only a map") => {}
        Err(SopsError::NotVerified | SopsError::MacMismatch | SopsError::MacDamaged | SopsError::Format(_)) => {
            panic!("a file that can be read was sealed wrongly")
        }
        _ => {}
    }
});
