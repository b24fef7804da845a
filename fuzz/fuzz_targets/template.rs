//! Parses and renders whatever comes: no panic, no overflow, limits hold.
#![no_main]

use latchwork::pure::limits;
use latchwork::pure::secret::Plaintext;
use latchwork::pure::template::{Environment, Flavour, MissingKey, Options, Template, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((options, text)) = input.split_first() else { return };
    let options = Options {
        flavour: if options & 1 == 0 { Flavour::Sealed } else { Flavour::External },
        missing_key: match options >> 1 & 3 {
            0 => MissingKey::Error,
            1 => MissingKey::Zero,
            _ => MissingKey::Invalid,
        },
        left: if options & 8 == 0 { String::new() } else { "<%".to_owned() },
        right: if options & 16 == 0 { String::new() } else { "%>".to_owned() },
    };
    let Ok(template) = Template::parse("fuzz", text, &options) else { return };
    let (user, password) = (Plaintext::copy_of(b"admin"), Plaintext::copy_of(b"p\xffw"));
    let dot = Value::string_map([("user".to_owned(), &user), ("password".to_owned(), &password)]);
    let mut state = 1u8;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(181).wrapping_add(59);
            *byte = state;
        }
    };
    let mut environment = Environment::new((1_790_000_000, 0), &mut random);
    match template.render(&dot, &mut environment) {
        Ok(out) => assert!(out.len() <= limits::TEMPLATE_OUTPUT_BYTES),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
