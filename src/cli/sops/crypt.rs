//! `decrypt`, `encrypt` and `filestatus`.

use std::process::ExitCode;

use super::Outcome;
use super::args::{DecryptArgs, EncryptArgs, FilestatusArgs, Types};
use super::failure::{Failure, code};
use super::keys::Run;
use super::{files, keys};
use crate::pure::format::place::{self, Step};
use crate::pure::format::{self, Branch, Format, FormatError, Indent, Item, Layout, Node, Scalar, Value};
use crate::pure::secret::Plaintext;
use crate::pure::sops::{self, Opened, SopsError};

/// Layout of printed files: that of the flag, else of the rules file, if there is a readable one.
pub fn indent(run: &Run<'_>) -> Indent {
    let mut indent = files::config(run.global).ok().flatten().map_or_else(Indent::default, |(config, _)| config.indent);
    if let Some(width) = run.global.indent {
        indent = Indent::of_width(width);
    }
    indent
}

/// `sops decrypt`.
pub fn decrypt(args: &DecryptArgs, run: &Run<'_>) -> Outcome {
    args.target.check()?;
    let input = files::read(args.file.as_deref(), &args.types)?;
    let source = files::format(args.types.input_type.as_deref(), &input.name);
    let target = files::format(args.types.output_type.as_deref(), &input.name);
    // Without a name and an output type, the output is of the input's type.
    let target = if args.types.output_type.is_none() && args.types.input_type.is_some() && args.file.is_none() {
        source
    } else {
        target
    };
    let document = keys::parse(&input, source)?;
    let opened = run.open(&document, &input.name, args.ignore_mac)?;
    // An empty path is no path.
    let plain = match args.extract.as_ref().filter(|path| !path.is_empty()) {
        Some(path) => extract(&opened, path, target, run)?,
        None => {
            // The rules are read only where the layout is not that of the file.
            let kept = target == document.format() && target != Format::Binary;
            let indent = if kept { Indent::default() } else { indent(run) };
            let plain = opened.emit_with(target, indent).map_err(|error| Failure::of(&input.name, &error))?;
            with_last_break(plain, target)
        }
    };
    files::write(&args.target, &input, &plain)
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

/// The value at a path: text as it is, a map or list as a file, other scalars as the format writes them.
fn extract(opened: &Opened<'_>, path: &str, target: Format, run: &Run<'_>) -> Result<Plaintext, Failure> {
    let steps: Vec<Step> = place::parse_path(path)
        .filter(|steps| !steps.is_empty())
        .ok_or_else(|| Failure::new(code::ERROR_INVALID_EXTRACT, format!("error parsing --extract path: {path}")))?;
    let node = place::find(opened.branches(), &steps)
        .map_err(|_| Failure::new(code::GENERIC, format!("error truncating tree: component {path} not found")))?;
    let print = |items: Vec<Item>| {
        format::emit_with(&[Branch::of_items(0..0, items)], target, indent(run))
            .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, error.to_string()))
    };
    match (&node.value, target) {
        (Value::Scalar(Scalar::Text(text)), _) => Ok(text.duplicate()),
        (Value::Map(items), _) => print(items.iter().map(copy).collect()),
        (_, Format::Json) => format::emit_value(node, Format::Json, indent(run))
            .map_err(|error| Failure::new(code::ERROR_DUMPING_TREE, error.to_string())),
        (_, Format::Yaml) => format::emit_value(node, Format::Yaml, indent(run))
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
    args.target.check()?;
    let input = files::read(args.file.as_deref(), &args.types)?;
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
        || if types.input_type.is_some() && input.path.is_none() { source } else { files::format(None, &input.name) },
        |name| files::format(Some(name), &input.name),
    );
    let fail = |error: SopsError| Failure::of(&input.name, &error);
    let mut plan = plan(&input.name)?;
    run.complete(&mut plan.groups)?;
    let tree = format::parse(input.bytes.expose(), source).map_err(|error| fail(error.into()))?;
    if tree.branches.iter().all(|branch| branch.items.is_empty()) && source == Format::Yaml && input.bytes.is_empty() {
        // As SOPS: a new file must be written before it can be encrypted.
        return Err(Failure::new(code::COULD_NOT_READ_INPUT, format!("{}: the file is empty", input.name)));
    }
    let mut random = files::random()?;
    sops::seal(&tree, target, &plan, &files::now(), &mut random, &mut run.wrap()).map_err(fail)
}

/// `sops filestatus`.
pub fn filestatus(args: &FilestatusArgs) -> Outcome {
    let input = files::read(Some(&args.file), &Types::default())?;
    let format = files::format(args.input_type.as_deref(), &input.name);
    let carrier = if format == Format::Binary { Format::Json } else { format };
    if format != Format::Binary {
        let generic = |error: FormatError| Failure { code: code::GENERIC, ..Failure::of(&input.name, &error.into()) };
        format::parse(input.bytes.expose(), carrier).map_err(generic)?;
    }
    let encrypted = sops::is_sops(input.bytes.expose(), format);
    files::to_stdout(&Plaintext::from(format!("{{\"encrypted\":{encrypted}}}\n")))?;
    Ok(ExitCode::SUCCESS)
}

/// A text value for formats that know nothing else.
pub fn text_node(text: &str) -> Node {
    Node::new(0..0, Value::Scalar(Scalar::text(text)), Layout::default())
}
