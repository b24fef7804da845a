//! The functions of a template, by incumbent. The table is an allow-list: nothing in it reaches outside its arguments,
//! the clock and the random source of [`Environment`].

mod builtins;
mod cases;
mod crypto;
mod dates;
mod dicts;
mod encoding;
mod external;
mod json;
mod keys;
mod lists;
mod numbers;
pub(super) mod objects;
mod paths;
mod pattern;
mod pkcs12;
mod random;
mod reflection;
mod regex;
pub(crate) mod semver;
mod strings;
pub(crate) mod url;
mod yaml;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::budget::Environment;
use super::bytes::{Buffer, ByteStr};
use super::error::Fault;
use super::types::Type;
use super::value::Value;
use super::{Flavour, print};

/// What a function gives back.
pub(super) type Result = std::result::Result<Value, Fault>;

/// A function and its signature.
pub(super) struct Function {
    pub name: &'static str,
    /// Types of the fixed parameters. A method's first one is its receiver.
    pub params: &'static [Type],
    /// Type of each further argument; none takes no more.
    pub rest: Option<Type>,
    pub call: fn(&mut Context<'_, '_>, &[Value]) -> Result,
    pub special: Special,
}

/// What the evaluator does differently for a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    None,
    /// `and`, `or`: arguments are evaluated until one's truth is `until`.
    ShortCircuit {
        until: bool,
    },
    /// `call` names its first operand in errors.
    Callee,
}

impl Function {
    pub const fn new(
        name: &'static str,
        params: &'static [Type],
        call: fn(&mut Context<'_, '_>, &[Value]) -> Result,
    ) -> Self {
        Self { name, params, rest: None, call, special: Special::None }
    }

    pub const fn rest(mut self, rest: Type) -> Self {
        self.rest = Some(rest);
        self
    }

    pub const fn special(mut self, special: Special) -> Self {
        self.special = special;
        self
    }
}

/// What a function may use besides its arguments.
pub(super) struct Context<'c, 'r> {
    pub environment: &'c mut Environment<'r>,
    /// Bit n: the n-th argument is a literal of the template, so that an error may show it.
    pub literals: u64,
    /// Source text of the first operand, for `call`.
    pub callee: Option<String>,
}

impl Context<'_, '_> {
    /// Whether the argument is a literal of the template.
    pub fn literal(&self, index: usize) -> bool {
        index < 64 && self.literals >> index & 1 == 1
    }
}

/// Arguments by position. The evaluator has checked number and types, so the fallbacks are never seen.
pub(super) trait Arguments {
    fn at(&self, index: usize) -> &Value;
    fn bytes(&self, index: usize) -> &[u8];
    fn string(&self, index: usize) -> ByteStr;
    fn int(&self, index: usize) -> i64;
    fn after(&self, index: usize) -> &[Value];
}

impl Arguments for [Value] {
    fn at(&self, index: usize) -> &Value {
        static NIL: Value = Value::Nil;
        self.get(index).unwrap_or(&NIL)
    }

    fn bytes(&self, index: usize) -> &[u8] {
        match self.at(index) {
            Value::Str(text) | Value::Bytes(text) => text,
            _ => &[],
        }
    }

    fn string(&self, index: usize) -> ByteStr {
        match self.at(index) {
            Value::Str(text) | Value::Bytes(text) => text.clone(),
            _ => ByteStr::from_vec(Vec::new()),
        }
    }

    fn int(&self, index: usize) -> i64 {
        match self.at(index) {
            Value::Int(_, number) => *number,
            _ => 0,
        }
    }

    fn after(&self, index: usize) -> &[Value] {
        self.get(index..).unwrap_or_default()
    }
}

/// A string made of a buffer.
pub(super) fn made(buffer: Buffer) -> Result {
    Ok(Value::Str(buffer.into()))
}

/// A string made of bytes.
pub(super) fn text(bytes: impl Into<Vec<u8>>) -> Result {
    Ok(Value::Str(ByteStr::from_vec(bytes.into())))
}

/// sprig's `strval`: strings and byte slices as they are, everything else as `%v` prints it.
pub(super) fn string_of(value: &Value) -> std::result::Result<ByteStr, Fault> {
    match value {
        Value::Str(text) | Value::Bytes(text) => Ok(text.clone()),
        Value::Missing | Value::Nil => Ok("<nil>".into()),
        other => Ok(print::printed(other)?.into()),
    }
}

/// The fault with what was being done before its text.
pub(super) fn prefixed(what: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Plain(message) => Fault::Plain(format!("{what}: {message}")),
        Fault::Withheld(message) => Fault::Withheld(format!("{what}: {message}")),
        limit => limit,
    }
}

type Table = HashMap<&'static str, &'static Function>;

/// Later groups replace earlier ones: sprig's `slice` hides Go's.
fn table(groups: &[&'static [Function]]) -> Table {
    groups.iter().flat_map(|group| group.iter()).map(|function| (function.name, function)).collect()
}

/// sprig's groups; after Go's own functions, which they may hide.
const SEALED: &[&[Function]] = &[
    builtins::TABLE,
    strings::TABLE,
    cases::TABLE,
    encoding::TABLE,
    numbers::TABLE,
    lists::TABLE,
    dicts::TABLE,
    reflection::TABLE,
    json::TABLE,
    dates::TABLE,
    paths::TABLE,
    random::TABLE,
    semver::TABLE,
    regex::TABLE,
    url::TABLE,
    crypto::TABLE,
];
const EXTERNAL: &[&[Function]] =
    &[encoding::EXTERNAL, crypto::EXTERNAL, external::TABLE, pkcs12::TABLE, yaml::EXTERNAL];

fn of(flavour: Flavour) -> &'static Table {
    static TABLES: [OnceLock<Table>; 2] = [OnceLock::new(), OnceLock::new()];
    let [sealed, external] = &TABLES;
    match flavour {
        Flavour::Sealed => sealed.get_or_init(|| table(SEALED)),
        Flavour::External => external.get_or_init(|| table(&[SEALED, EXTERNAL].concat())),
    }
}

/// The function `name` of an incumbent.
pub(super) fn find(flavour: Flavour, name: &str) -> Option<&'static Function> {
    of(flavour).get(name).copied()
}

/// Whether the result of the function depends on the clock or the random source, at least for some arguments.
pub(super) fn is_volatile(name: &str) -> bool {
    const NAMES: [&str; 32] = [
        "ago",
        "bcrypt",
        "date",
        "dateInZone",
        "date_in_zone",
        "durationRound",
        "encryptAES",
        "fullPemToPkcs12",
        "fullPemToPkcs12Pass",
        "genCA",
        "genCAWithKey",
        "genPrivateKey",
        "genSelfSignedCert",
        "genSelfSignedCertWithKey",
        "genSignedCert",
        "genSignedCertWithKey",
        "htmlDate",
        "htmlDateInZone",
        "htpasswd",
        "now",
        "pemToPkcs12",
        "pemToPkcs12Pass",
        "randAlpha",
        "randAlphaNum",
        "randAscii",
        "randBytes",
        "randInt",
        "randNumeric",
        "shuffle",
        "uuidv4",
        "pemTruststoreToPKCS12",
        "pemTruststoreToPKCS12Pass",
    ];
    NAMES.contains(&name)
}

/// Names of all functions of an incumbent, in order.
#[cfg(test)]
pub(super) fn names(flavour: Flavour) -> Vec<&'static str> {
    let mut names: Vec<_> = of(flavour).keys().copied().collect();
    names.sort_unstable();
    names
}
