//! `path` and `path/filepath` on a Unix system.

use super::super::types::Type;
use super::super::value::Value;
use super::{Arguments, Function, text};

const STR: Type = Type::Str;

pub(super) const TABLE: &[Function] = &[
    Function::new("base", &[STR], |_, args| text(base(args.bytes(0)))),
    Function::new("dir", &[STR], |_, args| text(dir(args.bytes(0)))),
    Function::new("clean", &[STR], |_, args| text(clean(args.bytes(0)))),
    Function::new("ext", &[STR], |_, args| text(ext(args.bytes(0)))),
    Function::new("isAbs", &[STR], |_, args| Ok(Value::Bool(args.bytes(0).starts_with(b"/")))),
    Function::new("osBase", &[STR], |_, args| text(base(args.bytes(0)))),
    Function::new("osDir", &[STR], |_, args| text(dir(args.bytes(0)))),
    Function::new("osClean", &[STR], |_, args| text(clean(args.bytes(0)))),
    Function::new("osExt", &[STR], |_, args| text(ext(args.bytes(0)))),
    Function::new("osIsAbs", &[STR], |_, args| Ok(Value::Bool(args.bytes(0).starts_with(b"/")))),
];

fn base(path: &[u8]) -> &[u8] {
    if path.is_empty() {
        return b".";
    }
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let trimmed = path.get(..end).unwrap_or_default();
    if trimmed.is_empty() {
        return b"/";
    }
    trimmed.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn dir(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    clean(path.get(..end).unwrap_or_default())
}

fn ext(path: &[u8]) -> &[u8] {
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    file.iter().rposition(|byte| *byte == b'.').and_then(|dot| file.get(dot..)).unwrap_or_default()
}

fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}
