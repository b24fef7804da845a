//! `semver` and `semverCompare`: versions and constraints by the rules of Masterminds/semver 3.4.

use std::cmp::Ordering;
use std::sync::OnceLock;

use regex::{Captures, Regex};

use super::super::error::Fault;
use super::super::types::Type;
use super::super::value::{Object, Value};
use super::{Arguments, Context, Function, Result};
use crate::pure::limits;

pub(super) const TABLE: &[Function] = &[
    Function::new("semver", &[Type::Str], semver),
    Function::new("semverCompare", &[Type::Str, Type::Str], semver_compare),
];

/// A semantic version; missing parts count as zero.
pub struct Version {
    /// First number.
    pub major: u64,
    /// Second number.
    pub minor: u64,
    /// Third number.
    pub patch: u64,
    /// After `-`.
    pub pre: String,
    /// After `+`; does not count in comparisons.
    pub build: String,
    /// The text as it was given.
    pub original: String,
}

/// `-pre` and `+build`, with the names as groups 1 to 4.
const TAIL: &str = r"(?:-((?:[0-9A-Za-z\-]+)(?:\.[0-9A-Za-z\-]+)*))?(?:\+((?:[0-9A-Za-z\-]+)(?:\.[0-9A-Za-z\-]+)*))?";
/// One part of a version in a constraint; the library's class has a bar in it.
const PART: &str = r"[0-9|xX*]+";
const OPERATORS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";

fn compiled(cell: &'static OnceLock<Option<Regex>>, pattern: impl FnOnce() -> String) -> Option<&'static Regex> {
    cell.get_or_init(|| Regex::new(&pattern()).ok()).as_ref()
}

fn group<'t>(captures: &Captures<'t>, name: &str) -> &'t str {
    captures.name(name).map_or("", |found| found.as_str())
}

/// A version with wildcards, with or without names for its parts.
fn partial(named: bool) -> String {
    if named {
        format!(r"v?(?P<a>{PART})(?P<b>\.{PART})?(?P<c>\.{PART})?(?P<tail>{})", unnamed_tail())
    } else {
        format!(r"v?(?:{PART})(?:\.{PART})?(?:\.{PART})?{}", unnamed_tail())
    }
}

fn unnamed_tail() -> String {
    TAIL.replace("-((?:", "-(?:(?:").replace(r"\+((?:", r"\+(?:(?:")
}

impl Version {
    /// # Errors
    /// The library's text where it names no value.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, Fault> {
        static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
        let pattern = compiled(&PATTERN, || format!(r"^v?(?P<a>[0-9]+)(?P<b>\.[0-9]+)?(?P<c>\.[0-9]+)?{TAIL}$"));
        let invalid = || Fault::plain("invalid semantic version");
        let captures = pattern.and_then(|pattern| pattern.captures(text)).ok_or_else(invalid)?;
        let part = |name: &str| -> std::result::Result<u64, Fault> {
            match group(&captures, name).trim_start_matches('.') {
                "" => Ok(0),
                digits => digits.parse().map_err(|_| Fault::withheld("error parsing version segment")),
            }
        };
        let tail = |index: usize| captures.get(index).map_or("", |found| found.as_str()).to_owned();
        let version = Self {
            major: part("a")?,
            minor: part("b")?,
            patch: part("c")?,
            pre: tail(4),
            build: tail(5),
            original: text.to_owned(),
        };
        if version.pre.split('.').any(|part| part.len() > 1 && part.starts_with('0') && is_number(part)) {
            return Err(Fault::plain("version segment starts with 0"));
        }
        Ok(version)
    }

    /// The normal form, with three numbers and no `v`.
    pub(in super::super) fn text(&self) -> String {
        let mut text = format!("{}.{}.{}", self.major, self.minor, self.patch);
        for (mark, part) in [('-', &self.pre), ('+', &self.build)] {
            if !part.is_empty() {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }

    /// Precedence.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch)).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => order_pre(&self.pre, &other.pre),
            }
        })
    }
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn order_pre(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => order_part(left.unwrap_or(""), right.unwrap_or("")),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn order_part(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    match (left.is_empty(), right.is_empty()) {
        (true, _) => return Ordering::Less,
        (_, true) => return Ordering::Greater,
        _ => {}
    }
    match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) if left > right => Ordering::Greater,
        (Ok(_), Ok(_)) => Ordering::Less,
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => left.cmp(right),
    }
}

/// One comparison of a constraint.
struct Comparison {
    operator: String,
    version: Version,
    /// Some part is a wildcard or missing.
    loose: bool,
    minor_loose: bool,
    patch_loose: bool,
}

/// Alternatives of comparisons that must all hold.
struct Constraint(Vec<Vec<Comparison>>);

impl Constraint {
    fn parse(text: &str) -> Option<Self> {
        static VALID: OnceLock<Option<Regex>> = OnceLock::new();
        static EACH: OnceLock<Option<Regex>> = OnceLock::new();
        let valid = compiled(&VALID, || {
            let version = partial(false);
            format!(
                r"^(?-u:\s*(?:{OPERATORS})\s*(?:{version})\s*)(?-u:(?:\s+|,\s*)(?:{OPERATORS})\s*(?:{version})\s*)*$"
            )
        })?;
        let each = compiled(&EACH, || format!(r"(?-u)(?:{OPERATORS})\s*(?:{})", partial(false)))?;
        let text = spelled_out(text)?;
        let mut alternatives = Vec::new();
        for alternative in text.split("||") {
            if !valid.is_match(alternative) {
                return None;
            }
            let comparisons: Option<Vec<_>> =
                each.find_iter(alternative).map(|found| Comparison::parse(found.as_str())).collect();
            alternatives.push(comparisons?);
        }
        Some(Self(alternatives))
    }

    fn allows(&self, version: &Version) -> bool {
        // A group without any prerelease of its own never matches one.
        self.0.iter().any(|all| {
            let open = version.pre.is_empty() || all.iter().any(|comparison| !comparison.version.pre.is_empty());
            open && all.iter().all(|comparison| comparison.allows(version))
        })
    }
}

/// Writes `1.2 - 1.4` as two comparisons.
fn spelled_out(text: &str) -> Option<String> {
    static RANGE: OnceLock<Option<Regex>> = OnceLock::new();
    let range = compiled(&RANGE, || {
        let version = partial(false);
        format!(r"(?-u)\s*(?P<from>{version})\s+-\s+(?P<to>{version})\s*")
    })?;
    let mut out = text.to_owned();
    for found in range.captures_iter(text) {
        let whole = found.get(0).map_or("", |whole| whole.as_str());
        let both = format!(">= {}, <= {} ", group(&found, "from"), group(&found, "to"));
        out = out.replacen(whole, &both, 1);
    }
    Some(out)
}

fn is_wild(part: &str) -> bool {
    matches!(part, "" | "x" | "X" | "*")
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
        let pattern = compiled(&PATTERN, || format!(r"^(?-u)\s*(?P<op>{OPERATORS})\s*(?:{})\s*$", partial(true)))?;
        let found = pattern.captures(text)?;
        let (a, b, c, tail) = (group(&found, "a"), group(&found, "b"), group(&found, "c"), group(&found, "tail"));
        let (mut minor_loose, mut patch_loose, mut loose) = (false, false, true);
        let spelled = if is_wild(a) {
            format!("0.0.0{tail}")
        } else if is_wild(b.trim_start_matches('.')) {
            minor_loose = true;
            format!("{a}.0.0{tail}")
        } else if is_wild(c.trim_start_matches('.')) {
            patch_loose = true;
            format!("{a}{b}.0{tail}")
        } else {
            loose = false;
            format!("{a}{b}{c}{tail}")
        };
        let version = Version::parse(&spelled).ok()?;
        Some(Self { operator: group(&found, "op").to_owned(), version, loose, minor_loose, patch_loose })
    }

    fn allows(&self, version: &Version) -> bool {
        let bound = &self.version;
        let order = version.order(bound);
        match self.operator.as_str() {
            "!=" => self.differs(version),
            ">" if !self.loose => order == Ordering::Greater,
            ">" => self.above(version, order),
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" if !self.loose => order != Ordering::Greater,
            "<=" | "=<" => {
                version.major < bound.major
                    || version.major == bound.major && (version.minor <= bound.minor || self.minor_loose)
            }
            "~" | "~>" => self.tilde(version, order),
            "^" => self.caret(version, order),
            _ if self.loose => self.tilde(version, order),
            _ => order == Ordering::Equal,
        }
    }

    fn differs(&self, version: &Version) -> bool {
        let bound = &self.version;
        if self.loose {
            if bound.major != version.major || bound.minor != version.minor && !self.minor_loose {
                return true;
            }
            if self.minor_loose {
                return false;
            }
            if bound.patch != version.patch && !self.patch_loose {
                return true;
            }
            if self.patch_loose {
                return order_pre(&version.pre, &bound.pre) != Ordering::Equal;
            }
        }
        version.order(bound) != Ordering::Equal
    }

    fn above(&self, version: &Version, order: Ordering) -> bool {
        let bound = &self.version;
        match version.major.cmp(&bound.major) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.minor_loose => false,
            Ordering::Equal if self.patch_loose => version.minor > bound.minor,
            Ordering::Equal => order == Ordering::Greater,
        }
    }

    fn tilde(&self, version: &Version, order: Ordering) -> bool {
        let bound = &self.version;
        if order == Ordering::Less {
            return false;
        }
        let zero = (bound.major, bound.minor, bound.patch) == (0, 0, 0);
        if zero && !self.minor_loose && !self.patch_loose {
            return true;
        }
        version.major == bound.major && (version.minor == bound.minor || self.minor_loose)
    }

    fn caret(&self, version: &Version, order: Ordering) -> bool {
        let bound = &self.version;
        if order == Ordering::Less {
            return false;
        }
        if bound.major > 0 || self.minor_loose {
            return version.major == bound.major;
        }
        if version.major > 0 {
            return false;
        }
        if bound.minor > 0 || self.patch_loose {
            return version.minor == bound.minor;
        }
        version.minor == 0 && version.patch == bound.patch
    }
}

fn readable(bytes: &[u8]) -> std::result::Result<&str, Fault> {
    if bytes.len() > limits::TEMPLATE_PATTERN_BYTES {
        return Err(Fault::limit("a version or constraint", limits::TEMPLATE_PATTERN_BYTES, "bytes"));
    }
    std::str::from_utf8(bytes).map_err(|_| Fault::plain("invalid semantic version"))
}

fn semver(_: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let version = Version::parse(readable(args.bytes(0))?)?;
    Ok(Value::Object(Object::Version(std::sync::Arc::new(version))))
}

fn semver_compare(context: &mut Context<'_, '_>, args: &[Value]) -> Result {
    let constraint = Constraint::parse(readable(args.bytes(0))?).ok_or_else(|| {
        if context.literal(0) {
            Fault::withheld(format!("improper constraint: {}", String::from_utf8_lossy(args.bytes(0))))
        } else {
            Fault::withheld("improper constraint")
        }
    })?;
    let version = Version::parse(readable(args.bytes(1))?)?;
    Ok(Value::Bool(constraint.allows(&version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_follow_masterminds() {
        for (constraint, version, want) in [
            ("^1.2.3", "1.9.0", true),
            ("^1.2.3", "2.0.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            (">= 1.2, < 2 || >= 3", "3.1.0", true),
            ("1.2 - 1.4.5", "1.4.5", true),
            ("1.2 - 1.4.5", "1.4.6", false),
            ("*", "9.9.9", true),
            ("^0.2", "0.2.9", true),
            ("^0.0.3", "0.0.4", false),
            ("!=1.x", "1.2.3", false),
            (">1.2", "1.2.9", false),
            (">1.0", "1.1.0-beta", false),
            (">1.0-0", "1.1.0-beta", true),
        ] {
            let constraint = Constraint::parse(constraint)
                .map(|parsed| Version::parse(version).map(|version| parsed.allows(&version)).unwrap_or(false));
            assert_eq!(constraint, Some(want), "{version}");
        }
        assert!(Constraint::parse("one").is_none());
    }
}
