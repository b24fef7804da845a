//! `decrypt`, `encrypt` and `filestatus`.

use std::process::ExitCode;

use super::Outcome;
use super::args::{DecryptArgs, EncryptArgs, FilestatusArgs, Types};
use super::failure::{Failure, code};
use super::keys::Run;
use super::{files, keys};
use crate::pure::format::place::{self, Step};
use crate::pure::format::{self, Branch, Format, FormatError, Indent, Item, Scalar, Value};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, Opened, SopsError};

/// `sops decrypt`.
pub fn decrypt(args: &DecryptArgs, run: &Run<'_>) -> Outcome {
    args.target.check(args.file.is_none())?;
    let indent = files::layout(run.global)?;
    let input = files::read_or_stdin(args.file.as_deref(), &args.types)?;
    let source = files::format(args.types.input_type.as_deref(), &input.name);
    let target = files::format(args.types.output_type.as_deref(), &input.name);
    // Without a name and an output type, the output is of the input's type.
    let target = if args.types.output_type.is_none() && is_nameless(&input, &args.types) { source } else { target };
    let document = keys::parse(&input, source)?;
    let opened = run.open(&document, &input.name, args.ignore_mac)?;
    // An empty path is no path.
    let plain = match args.extract.as_ref().filter(|path| !path.is_empty()) {
        Some(path) => extract(&opened, path, target, indent)?,
        None => {
            let plain = opened.emit_with(target, indent).map_err(|error| Failure::of(&input.name, &error))?;
            with_last_break(plain, target)
        }
    };
    files::write(&args.target, &input, &plain)
}

/// Whether the input is known by its type alone.
fn is_nameless(input: &files::Input, types: &Types) -> bool {
    input.path.is_none() && types.filename_override.is_none() && types.input_type.is_some()
}

/// What SOPS prints ends in a line break. Edits keep a file without one as it is; what is decrypted to be read by another
/// program gets it.
fn with_last_break(plain: Plaintext, format: Format) -> Plaintext {
    if format == Format::Binary || plain.is_empty() || plain.expose().ends_with(b"\n") {
        return plain;
    }
    let mut bytes = Vec::with_capacity(plain.expose().len() + 1);
    bytes.extend_from_slice(plain.expose());
    bytes.push(b'\n');
    Plaintext::new(bytes)
}

/// A path that is none. To SOPS whatever stands in brackets behind a quote is a name, its last character being the other
/// quote, and such a name is not there.
fn code_of_bad_path(path: &str) -> u8 {
    let is_name =
        |part: &str| part.strip_suffix(']').is_some_and(|name| name.starts_with(['"', '\'']) && name.len() > 1);
    let is_position = |part: &str| part.strip_suffix(']').is_some_and(|text| text.parse::<usize>().is_ok());
    let mut parts = path.split('[').filter(|part| !part.is_empty());
    if parts.all(|part| is_name(part) || is_position(part)) { code::GENERIC } else { code::ERROR_INVALID_EXTRACT }
}

/// The value at a path: text as it is, a map or list as a file, other scalars as the format writes them.
fn extract(opened: &Opened<'_>, path: &str, target: Format, indent: Indent) -> Result<Plaintext, Failure> {
    let steps: Vec<Step> = place::parse_path(path)
        .filter(|steps| !steps.is_empty())
        .ok_or_else(|| Failure::new(code_of_bad_path(path), format!("error parsing --extract path: {path}")))?;
    let node = place::find(opened.branches(), &steps)
        .map_err(|_| Failure::new(code::GENERIC, format!("error truncating tree: component {path} not found")))?;
    let print = |items: Vec<Item>| {
        format::emit_with(&[Branch::of_items(0..0, items)], target, indent)
            .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, error.to_string()))
    };
    match (&node.value, target) {
        (Value::Scalar(Scalar::Text(text)), _) => Ok(text.duplicate()),
        (Value::Map(items), _) => print(items.iter().map(copy).collect()),
        (_, Format::Json) => format::emit_value(node, Format::Json, indent)
            .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, error.to_string())),
        (_, Format::Yaml) => format::emit_value(node, Format::Yaml, indent)
            .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, error.to_string())),
        _ => Err(Failure::new(code::ERROR_DUMPING_TREE, format!("{target} cannot hold a value that is no text"))),
    }
}

/// A second copy of an entry, an element or a comment.
pub fn copy(item: &Item) -> Item {
    match item {
        Item::Entry(entry) => {
            Item::Entry(format::Entry { key: entry.key.clone(), key_span: 0..0, value: entry.value.duplicate() })
        }
        Item::Element(element) => Item::Element(format::Element { start: 0, value: element.value.duplicate() }),
        Item::Comment(comment) => {
            Item::Comment(format::Comment { text: comment.text.duplicate(), span: 0..0, ..*comment })
        }
    }
}

/// `sops encrypt`.
pub fn encrypt(args: &EncryptArgs, run: &Run<'_>) -> Outcome {
    args.target.check(args.file.is_none())?;
    if args.file.is_none() && args.types.filename_override.is_none() && args.types.input_type.is_none() {
        let what = "Error: must specify --filename-override when reading from stdin";
        return Err(Failure::new(code::CONFLICTING_FLAGS, what));
    }
    files::layout(run.global)?;
    let input = files::read_or_stdin(args.file.as_deref(), &args.types)?;
    let sealed = seal(run, &input, &args.types, |name| keys::plan(run.global, &args.keys, &args.selector, name))?;
    files::write(&args.target, &input, &sealed)
}

/// Encrypts an input.
pub fn seal(
    run: &Run<'_>,
    input: &files::Input,
    types: &Types,
    plan: impl FnOnce(&str) -> Result<sops::Plan, Failure>,
) -> Result<Plaintext, Failure> {
    let source = files::format(types.input_type.as_deref(), &input.name);
    let target = types.output_type.as_deref().map_or_else(
        || if is_nameless(input, types) { source } else { files::format(None, &input.name) },
        |name| files::format(Some(name), &input.name),
    );
    let fail = |error: SopsError| Failure::of(&input.name, &error);
    let mut plan = plan(&input.name)?;
    run.complete(&mut plan.groups)?;
    let tree = format::parse(input.bytes.expose(), source).map_err(|error| fail(error.into()))?;
    if tree.branches.iter().all(|branch| branch.items.is_empty()) && source == Format::Yaml && input.bytes.is_empty() {
        let what = "File cannot be completely empty, it must contain at least one document";
        return Err(Failure::new(code::FILE_IS_EMPTY, what));
    }
    if source == Format::Yaml && input.bytes.expose().trim_ascii().is_empty() {
        let what = "the file is empty".to_owned();
        return Err(fail(FormatError::Syntax { format: source, line: 1, what }.into()));
    }
    let mut random = files::random()?;
    sops::seal(&tree, target, &plan, &files::now(), &mut random, &mut run.wrap()).map_err(fail)
}

/// `sops filestatus`.
pub fn filestatus(args: &FilestatusArgs, run: &Run<'_>) -> Outcome {
    files::layout(run.global)?;
    let generic = |failure| Failure { code: code::GENERIC, ..failure };
    let input = files::read(&args.file, &Types::default()).map_err(generic)?;
    let format = files::format(args.input_type.as_deref(), &input.name);
    // A binary file in plaintext may be anything.
    if format != Format::Binary {
        let fail = |error: FormatError| generic(Failure::of(&input.name, &error.into()));
        format::parse(input.bytes.expose(), format).map_err(fail)?;
    }
    let encrypted = sops::is_sops(input.bytes.expose(), format);
    files::to_stdout(&Plaintext::from(format!("{{\"encrypted\":{encrypted}}}\n")))?;
    Ok(ExitCode::SUCCESS)
}
