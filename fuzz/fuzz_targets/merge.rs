//! Three plain files become three versions of one sealed file and are merged: what comes out opens with a MAC that holds,
//! and where something conflicts both sides of the conflict do. The input is the format and the three files with the byte
//! 0xff, which no text has, between them.
#![no_main]

use latchwork::pure::format::{self, merge::Labels};
use latchwork::pure::secret::Plaintext;
use latchwork::pure::sops::{self, MergeError, SopsError};
use latchwork_fuzz::{FORMATS, LATER, NOW, Random, Sealed, parse, wrap};
use libfuzzer_sys::fuzz_target;

/// Longer than any line of markers that an input is likely to hold.
const LABELS: Labels<'_> = Labels { ours: "ours", theirs: "theirs", size: 23 };

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    // Files without lines have nothing to merge.
    let format = FORMATS[usize::from(*choice) % (FORMATS.len() - 1)];
    let trees: Vec<_> =
        data.splitn(3, |byte| *byte == 0xff).filter_map(|part| format::parse(part, format).ok()).collect();
    let [base, ours, theirs] = trees.as_slice() else { return };
    let mut random = Random::new();
    let Ok(sealed) = Sealed::new(base, format, &mut random) else { return };
    let mut random = |buffer: &mut [u8]| random.fill(buffer);
    let base = parse(&sealed.bytes, format);
    let base = sealed.open(&base).expect("what was sealed opens");
    let mut version = |tree| sops::reseal(&base, tree, NOW, &mut random).ok().map(|out| parse(&out, format));
    let (Some(ours), Some(theirs)) = (version(ours), version(theirs)) else { return };
    let ours = sealed.open(&ours).expect("ours opens");
    let theirs = sealed.open(&theirs).expect("theirs opens");
    match sops::merge(Some(&base), &ours, &theirs, LABELS, LATER, &mut random, &mut wrap) {
        Ok(merged) => {
            for chosen in ["ours", "theirs"] {
                let bytes = Plaintext::new(one_side(merged.bytes.expose(), chosen == "ours"));
                let document = parse(&bytes, format);
                assert!(sealed.open(&document).is_ok(), "{chosen} does not open");
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
