//! Paths into a JSON document, in the syntax of Go's gjson: what `property` of a reference may say.
//!
//! Known: names with `\` escapes, `*` and `?`, indexes, `#` (length, or each element), queries `#(a.b=="c")` and
//! `#(…)#` with `== != < <= > >= % !%`, and `|` in place of a dot. Modifiers (`@…`) and multipaths (`{…}`, `[…]`) are
//! refused by name rather than guessed.

use zeroize::Zeroizing;

use super::json::{self, Kind, Node};
use crate::pure::limits;

/// The syntax is not one of those named above.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported;

/// Modifiers of gjson. Another word after `@` is a name.
const MODIFIERS: [&str; 15] = [
    "pretty", "ugly", "reverse", "this", "flatten", "join", "valid", "keys", "values", "tostr", "fromstr", "group",
    "dig", "indent", "json",
];

/// Text of the value at `path`: strings unquoted, null empty, integers as written, all else as JSON. `None` when there
/// is nothing there.
pub(super) fn lookup(document: &str, path: &str) -> Result<Option<Zeroizing<String>>, Unsupported> {
    let Some(node) = json::parse(document) else { return Ok(None) };
    Ok(walk(&node, path, 0)?.and_then(|raw| json::parse(&raw).map(|node| value_text(&node))))
}

/// Text of one value as gjson prints it.
pub(super) fn value_text(node: &Node<'_>) -> Zeroizing<String> {
    match node.kind {
        Kind::String => json::unquote(node.raw),
        Kind::Null => Zeroizing::default(),
        Kind::Number => number_text(node.raw),
        _ => Zeroizing::new(node.raw.to_owned()),
    }
}

fn number_text(raw: &str) -> Zeroizing<String> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let printed = (!plain).then(|| raw.parse::<f64>().ok()).flatten().map(|number| number.to_string());
    Zeroizing::new(printed.unwrap_or_else(|| raw.to_owned()))
}

/// JSON text of what `path` names below `node`.
fn walk(node: &Node<'_>, path: &str, depth: usize) -> Result<Option<Zeroizing<String>>, Unsupported> {
    if depth > limits::NESTING_DEPTH {
        return Err(Unsupported);
    }
    if path.starts_with(['{', '[', '!']) || is_modifier(path) {
        return Err(Unsupported);
    }
    match &node.kind {
        Kind::Object(fields) => {
            let (part, rest) = split(path);
            match fields.iter().find(|(name, _)| part.matches(name)) {
                Some((_, value)) => onward(value, rest, depth),
                None => Ok(None),
            }
        }
        Kind::Array(items) => walk_array(items, path, depth),
        _ => Ok(None),
    }
}

/// Continues behind a value that was found.
fn onward(value: &Node<'_>, rest: Rest<'_>, depth: usize) -> Result<Option<Zeroizing<String>>, Unsupported> {
    match rest {
        Rest::End => Ok(Some(Zeroizing::new(value.raw.to_owned()))),
        Rest::Dot(path) | Rest::Pipe(path) => walk(value, path, depth + 1),
    }
}

fn walk_array(items: &[Node<'_>], path: &str, depth: usize) -> Result<Option<Zeroizing<String>>, Unsupported> {
    if let Some(query) = path.strip_prefix("#(") {
        return walk_query(items, query, depth);
    }
    let (part, rest) = split(path);
    if part.text == "#" {
        return match rest {
            Rest::End => Ok(Some(Zeroizing::new(items.len().to_string()))),
            Rest::Dot(path) => collect(items.iter(), path, depth),
            Rest::Pipe(_) => Err(Unsupported),
        };
    }
    match part.text.parse::<usize>().ok().and_then(|index| items.get(index)) {
        Some(item) => onward(item, rest, depth),
        None => Ok(None),
    }
}

/// `path` in each item, as a JSON array of what was found.
fn collect<'n, 'a: 'n>(
    items: impl Iterator<Item = &'n Node<'a>>,
    path: &str,
    depth: usize,
) -> Result<Option<Zeroizing<String>>, Unsupported> {
    // A pipe applies to the array as a whole.
    let (each, whole) = match find_unescaped(path, '|') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    };
    let mut out = Zeroizing::new(String::from("["));
    for item in items {
        if let Some(found) = walk(item, each, depth + 1)? {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&found);
        }
    }
    out.push(']');
    match whole {
        None => Ok(Some(out)),
        Some(path) => match json::parse(&out) {
            Some(node) => walk(&node, path, depth + 1),
            None => Ok(None),
        },
    }
}

fn walk_query(items: &[Node<'_>], query: &str, depth: usize) -> Result<Option<Zeroizing<String>>, Unsupported> {
    let end = closing(query).ok_or(Unsupported)?;
    let condition = Condition::parse(query.get(..end).unwrap_or_default())?;
    let after = query.get(end + 1..).unwrap_or_default();
    let (all, after) = match after.strip_prefix('#') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let mut hits = vec![];
    for item in items {
        if condition.holds(item, depth)? {
            hits.push(item);
            if !all {
                break;
            }
        }
    }
    if !all {
        return match hits.first() {
            None => Ok(None),
            Some(hit) if after.is_empty() => Ok(Some(Zeroizing::new(hit.raw.to_owned()))),
            Some(hit) => walk(hit, after.strip_prefix(['.', '|']).ok_or(Unsupported)?, depth + 1),
        };
    }
    match after.strip_prefix('.') {
        Some(path) => collect(hits.into_iter(), path, depth),
        None if after.is_empty() => {
            let parts = hits.iter().map(|hit| hit.raw).collect::<Vec<_>>();
            Ok(Some(Zeroizing::new(format!("[{}]", parts.join(",")))))
        }
        None => Err(Unsupported),
    }
}

/// Where the query's bracket closes: outside of quotes and nested brackets.
fn closing(query: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, c) in query.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => return Some(at),
            ')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    None
}

struct Condition<'p> {
    path: &'p str,
    operator: &'p str,
    value: &'p str,
}

impl<'p> Condition<'p> {
    fn parse(text: &'p str) -> Result<Self, Unsupported> {
        if text.contains("#(") || text.starts_with('~') {
            return Err(Unsupported);
        }
        for operator in ["==", "!=", "<=", ">=", "!%", "=", "<", ">", "%"] {
            if let Some((path, value)) = text.split_once(operator) {
                // The shortest operator that stands first wins, so `a<b=="c"` is not taken for `==`.
                if path.contains(['=', '<', '>', '%', '!', '"']) {
                    continue;
                }
                return Ok(Self { path: path.trim(), operator, value: value.trim() });
            }
        }
        Ok(Self { path: text.trim(), operator: "", value: "" })
    }

    fn holds(&self, item: &Node<'_>, depth: usize) -> Result<bool, Unsupported> {
        let found = match self.path {
            "" => Some(Zeroizing::new(item.raw.to_owned())),
            path => walk(item, path, depth + 1)?,
        };
        let Some(found) = found else { return Ok(false) };
        if self.operator.is_empty() {
            return Ok(true);
        }
        let (Some(left), right) = (json::parse(&found), json::parse(self.value)) else { return Ok(false) };
        // A bare word on the right is a string.
        let (right_kind, right_text) = match &right {
            Some(node) => (Some(&node.kind), value_text(node)),
            None => (None, Zeroizing::new(self.value.to_owned())),
        };
        let left_text = value_text(&left);
        Ok(match (&left.kind, right_kind) {
            (Kind::Number, Some(Kind::Number)) => {
                let (Ok(left), Ok(right)) = (left_text.parse::<f64>(), right_text.parse::<f64>()) else {
                    return Ok(false);
                };
                compare(self.operator, left.partial_cmp(&right))
            }
            (Kind::String, Some(Kind::String) | None) => match self.operator {
                "%" => wildcard(&pattern(&right_text), &left_text),
                "!%" => !wildcard(&pattern(&right_text), &left_text),
                operator => compare(operator, Some(left_text.as_str().cmp(right_text.as_str()))),
            },
            (Kind::Bool, Some(Kind::Bool)) | (Kind::Null, Some(Kind::Null)) => {
                compare(self.operator, Some(left.raw.cmp(self.value)))
            }
            _ => self.operator == "!=",
        })
    }
}

fn compare(operator: &str, order: Option<std::cmp::Ordering>) -> bool {
    let Some(order) = order else { return false };
    match operator {
        "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => false,
    }
}

/// One component of a path: characters, each marked when it is a wildcard.
struct Part {
    text: String,
    pattern: Vec<(char, bool)>,
    wild: bool,
}

impl Part {
    fn matches(&self, name: &str) -> bool {
        if self.wild { wildcard(&self.pattern, name) } else { self.text == name }
    }
}

enum Rest<'p> {
    End,
    Dot(&'p str),
    Pipe(&'p str),
}

fn split(path: &str) -> (Part, Rest<'_>) {
    let mut part = Part { text: String::new(), pattern: vec![], wild: false };
    let mut chars = path.char_indices();
    while let Some((at, c)) = chars.next() {
        let (c, literal) = match c {
            '\\' => match chars.next() {
                Some((_, escaped)) => (escaped, true),
                None => break,
            },
            '.' => return (part, Rest::Dot(path.get(at + 1..).unwrap_or_default())),
            '|' => return (part, Rest::Pipe(path.get(at + 1..).unwrap_or_default())),
            other => (other, false),
        };
        let wild = !literal && matches!(c, '*' | '?');
        part.wild |= wild;
        part.text.push(c);
        part.pattern.push((c, wild));
    }
    (part, Rest::End)
}

fn find_unescaped(path: &str, wanted: char) -> Option<usize> {
    let mut escaped = false;
    path.char_indices().find_map(|(at, c)| {
        let hit = !escaped && c == wanted;
        escaped = !escaped && c == '\\';
        hit.then_some(at)
    })
}

fn is_modifier(path: &str) -> bool {
    path.strip_prefix('@').is_some_and(|word| {
        let end = word.find(['.', '|', ':']).unwrap_or(word.len());
        MODIFIERS.contains(&word.get(..end).unwrap_or_default())
    })
}

fn pattern(text: &str) -> Vec<(char, bool)> {
    let mut out = vec![];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|escaped| (escaped, false))),
            _ => out.push((c, matches!(c, '*' | '?'))),
        }
    }
    out
}

/// Whether `text` matches, in time bounded by the product of both lengths.
fn wildcard(pattern: &[(char, bool)], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(('*', true)), _) => {
                back = Some((p + 1, t));
                p += 1;
            }
            (Some((c, wild)), Some(found)) if (*wild && *c == '?') || c == found => {
                p += 1;
                t += 1;
            }
            (None, None) => return true,
            _ => match back {
                Some((after, from)) if from < text.len() => {
                    back = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "user": "ann", "a.b": "dotted", "n": 42, "f": 1.50, "e": 1e3, "big": 12345678901234567890, "yes": true,
        "none": null, "obj": {"x": {"y": "deep"}, "list": [1, "two", {"three": 3}]},
        "people": [{"name": "ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 20}, {"name": "al", "age": 40}]
    }"#;

    #[test]
    fn paths_find_what_gjson_finds() {
        for (path, want) in [
            ("user", Some("ann")),
            ("missing", None),
            ("", None),
            ("a.b", None),
            (r"a\.b", Some("dotted")),
            ("n", Some("42")),
            ("f", Some("1.5")),
            ("e", Some("1000")),
            ("big", Some("12345678901234567890")),
            ("yes", Some("true")),
            ("none", Some("")),
            ("obj.x", Some(r#"{"y": "deep"}"#)),
            ("obj.x.y", Some("deep")),
            ("obj|x|y", Some("deep")),
            ("obj.x.y.z", None),
            ("us*", Some("ann")),
            ("u??r", Some("ann")),
            (r"us\*", None),
            ("obj.list.#", Some("3")),
            ("obj.list.1", Some("two")),
            ("obj.list.9", None),
            ("obj.list.2.three", Some("3")),
            ("people.#.name", Some(r#"["ann","bob","al"]"#)),
            ("people.#.tags", Some(r#"[["x"]]"#)),
            ("people.#.name|1", Some("bob")),
            (r#"people.#(name=="bob").age"#, Some("20")),
            ("people.#(age>25)#.name", Some(r#"["ann","al"]"#)),
            (r#"people.#(name%"a*")#.age"#, Some("[30,40]")),
            (r#"people.#(name!="ann").name"#, Some("bob")),
            (r#"people.#(name=="zed").age"#, None),
            ("people.#(tags).name", Some("ann")),
            ("@nobody", None),
        ] {
            assert_eq!(lookup(DOCUMENT, path).map(|v| v.map(|v| v.to_string())), Ok(want.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for path in ["@this", "obj.@keys", "{user,n}", "[user]", "people.#(tags.#(x))", "obj|@pretty:{}"] {
            assert_eq!(lookup(DOCUMENT, path).map(|_| ()), Err(Unsupported), "{path}");
        }
        assert_eq!(lookup("not json", "a").map(|v| v.is_some()), Ok(false));
    }

    #[test]
    fn wildcards_end() {
        let text = "a".repeat(2_000);
        assert!(!wildcard(&pattern(&"*a".repeat(200)), &format!("{text}b")));
        assert!(wildcard(&pattern(&"*a".repeat(200)), &text));
    }
}
