//! Tabs where yaml.v3 takes blanks alone. The parser here reads over them; a file that was sealed with one would open
//! nowhere else.

use std::collections::HashMap;

use crate::pure::format::{Item, Node, Span, Tree, Value, line_of};

/// The line of the first such tab of a YAML file.
pub(in crate::pure) fn misplaced(tree: &Tree) -> Option<usize> {
    let source = tree.source.expose();
    if !source.contains(&b'\t') {
        return None;
    }
    let mut found = Found { source, insides: vec![], plains: HashMap::new(), after_mark: None };
    for branch in &tree.branches {
        if branch.flow {
            let start = branch.items.first().map_or(branch.body_end, Item::start);
            let brace =
                source.get(branch.span.start..start).and_then(|head| head.iter().position(|byte| *byte == b'{'));
            found.insides.push(branch.span.start + brace.unwrap_or_default()..branch.body_end);
        }
        found.items(&branch.items);
    }
    let line = found.in_front_of_lines().into_iter().chain(found.after_mark).min();
    line.map(|at| line_of(source, at))
}

struct Found<'s> {
    source: &'s [u8],
    /// Scalars and collections in brackets: within them tabs are text, or as good as blanks.
    insides: Vec<Span>,
    /// Ends of plain scalars with the column that their lines must be beyond.
    plains: HashMap<usize, usize>,
    /// The first tab behind a dash or a question mark.
    after_mark: Option<usize>,
}

impl Found<'_> {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Comment(_) => {}
                Item::Entry(entry) => {
                    self.insides.push(entry.key_span.clone());
                    let before = self.source.get(..entry.key_span.start).unwrap_or_default();
                    let mark = before.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
                    if let Some(mark) = mark.filter(|at| self.source.get(*at) == Some(&b'?')) {
                        self.behind(mark);
                    }
                    self.node(&entry.value);
                }
                Item::Element(element) => {
                    if !element.value.layout.flow && self.source.get(element.start) == Some(&b'-') {
                        self.behind(element.start);
                    }
                    self.node(&element.value);
                }
            }
        }
    }

    fn node(&mut self, node: &Node) {
        let first = self.source.get(node.span.start);
        if node.layout.alias {
            return;
        }
        match &node.value {
            Value::Map(items) | Value::List(items) => {
                if matches!(first, Some(b'{' | b'[')) && node.span.end > node.span.start {
                    self.insides.push(node.span.clone());
                }
                self.items(items);
            }
            Value::Scalar(_) => {
                self.insides.push(node.span.clone());
                if !node.span.is_empty() && !matches!(first, Some(b'"' | b'\'' | b'|' | b'>')) {
                    self.plains.insert(node.span.end, node.layout.indent);
                }
            }
        }
    }

    /// Blanks behind the dash or question mark at `at`.
    fn behind(&mut self, at: usize) {
        let mut rest = self.source.get(at + 1..).unwrap_or_default().iter();
        let tab = rest.by_ref().take_while(|byte| matches!(byte, b' ' | b'\t')).position(|byte| *byte == b'\t');
        let tab = tab.map(|tab| at + 1 + tab);
        self.after_mark = self.after_mark.into_iter().chain(tab).min();
    }

    /// The first tab among the blanks that a line begins with, outside of all that may hold one.
    fn in_front_of_lines(&mut self) -> Option<usize> {
        self.insides.sort_by_key(|span| span.start);
        let mut insides = self.insides.iter().peekable();
        let (mut start, mut inside_until, mut last) = (0, 0, None);
        for line in self.source.split_inclusive(|byte| *byte == b'\n') {
            while let Some(span) = insides.next_if(|span| span.start < start) {
                inside_until = inside_until.max(span.end);
            }
            let mut blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
            let tab = blanks.position(|byte| *byte == b'\t');
            if let Some(column) = tab.filter(|_| start >= inside_until) {
                // Behind a plain scalar yaml.v3 looks for more lines of it, which may begin with any blanks that far in.
                let beyond = last.and_then(|last| self.plains.get(&last)).is_some_and(|indent| column > *indent);
                if !beyond {
                    return Some(start + column);
                }
            }
            if let Some(at) = line.iter().rposition(|byte| !byte.is_ascii_whitespace()) {
                last = Some(start + at + 1);
            }
            start += line.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::format::{self, Format};

    #[test]
    fn tabs_stand_where_yaml_v3_lets_them() {
        for (text, line) in [
            ("\ta: 1\n", Some(1)),
            (" \ta: 1\n", Some(1)),
            ("a:\n  \tb: 1\n", Some(2)),
            ("l:\n- \ta\n", Some(2)),
            ("l:\n  -\ta: 1\n", Some(2)),
            ("\t\na: 1\n", Some(1)),
            ("---\n\ta: 1\n", Some(2)),
            ("\t# c\na: 1\n", Some(1)),
            ("? \ta\n: b\n", Some(1)),
            ("a:\n  b: 1\n\t\nc: 2\n", Some(3)),
            ("a: 1\n\t", Some(2)),
            ("\t{a: 1}\n", Some(1)),
            ("# c\n\ta: 1\n", Some(2)),
            ("a: \"x\"\n   \t\nb: 1\n", Some(2)),
            ("a: 1\n   \t\nb: 1\n", None),
            ("a:\n  b: 1\n   \t\nc: 2\n", None),
            ("a:\tb\n", None),
            ("a: 1\t# c\n", None),
            ("a: \t1\n", None),
            ("a: 'x\n\ty'\n", None),
            ("a: |\n  x\n  \ty\n", None),
            ("{\ta: 1}\n", None),
            ("a: {b: 1,\n  \tc: 2}\n", None),
        ] {
            let tree = format::parse(text.as_bytes(), Format::Yaml).expect("parses");
            assert_eq!(misplaced(&tree), line, "{text:?}");
        }
    }
}
