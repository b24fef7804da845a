//! Whatever parses is written back byte for byte, its documents follow each other without a gap, and what is printed
//! anew parses again and has the same values. The first byte chooses the format.
#![no_main]

use latchwork::pure::format::{Format, emit, parse, splice};
use latchwork_fuzz::FORMATS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    let Ok(tree) = parse(data, format) else { return };
    let mut at = 0;
    let mut whole = Vec::new();
    for branch in &tree.branches {
        assert_eq!(branch.span.start, at);
        at = branch.span.end;
        let edits = splice::changes(branch, data, format, splice::Aliases::Keep).expect("nothing changed");
        whole.extend_from_slice(splice::apply(data, branch.span.clone(), edits).expose());
    }
    assert_eq!(whole, data);
    if let Ok(yaml) = emit(&tree.branches, Format::Yaml) {
        let again = parse(yaml.expose(), Format::Yaml).expect("what is printed anew is read");
        let values = |branches| emit(branches, Format::Json).ok().map(|json| json.expose().to_vec());
        assert_eq!(values(&again.branches), values(&tree.branches), "{:?}", yaml.expose_str());
    }
});
