//! Merge keys with something that cannot be merged. Readers that merge, Go's yaml.v3 among them, refuse such a file.

use crate::pure::format::{Element, Entry, Item, Node, Tree, Value, line_of};

/// The line of the first merge key of the first document whose value is neither a map nor a list of maps.
pub(in crate::pure) fn misused(tree: &Tree) -> Option<usize> {
    let source = tree.source.expose();
    first(source, &tree.branches.first()?.items).map(|at| line_of(source, at))
}

fn first(source: &[u8], items: &[Item]) -> Option<usize> {
    items.iter().find_map(|item| match item {
        Item::Entry(entry) if entry.key == "<<" && !can_merge(&entry.value) && is_merge(source, entry) => {
            Some(entry.key_span.start)
        }
        Item::Entry(Entry { value, .. }) | Item::Element(Element { value, .. }) => match &value.value {
            // What an alias stands for is looked at where it is written.
            Value::Map(items) | Value::List(items) if !value.layout.alias => first(source, items),
            _ => None,
        },
        Item::Comment(_) => None,
    })
}

/// Whether the name is the key itself and no text: without quotes, and without a tag that says otherwise.
fn is_merge(source: &[u8], entry: &Entry) -> bool {
    let name = source.get(entry.key_span.clone()).unwrap_or_default();
    if !name.ends_with(b"<<") {
        return false;
    }
    let before = source.get(..entry.key_span.start).unwrap_or_default();
    let before = before.rsplit(|byte| b"\n{[,".contains(byte)).next().unwrap_or_default();
    let mut words = before.split(u8::is_ascii_whitespace).chain(name.split(u8::is_ascii_whitespace));
    !words.any(|word| word.starts_with(b"!") && !matches!(word, b"!" | b"!!merge"))
}

fn can_merge(node: &Node) -> bool {
    match &node.value {
        Value::Map(_) => true,
        Value::List(_) if node.layout.alias => false,
        Value::List(items) => items.iter().all(|item| match item {
            Item::Element(element) => matches!(element.value.value, Value::Map(_)),
            _ => true,
        }),
        Value::Scalar(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::format::{Format, parse};

    #[test]
    fn only_maps_can_be_merged() {
        for (text, expected) in [
            ("<<: v\n", Some(1)),
            ("a:\n  <<: ~\n", Some(2)),
            ("a: &x 1\nb:\n  <<: *x\n", Some(3)),
            ("a: &x [{a: 1}]\nb:\n  <<: *x\n", Some(3)),
            ("a: &x {a: 1}\nb:\n  <<: [*x, v]\n", Some(3)),
            ("! <<: v\n", Some(1)),
            ("!!merge <<: v\n", Some(1)),
            ("&k <<: v\n", Some(1)),
            ("? <<\n: v\n", Some(1)),
            ("l: [<<: v]\n", Some(1)),
            ("l: {!x a: 1, <<: v}\n", Some(1)),
            ("l: {!x <<: v}\n", None),
            ("a: &x {a: 1}\nb:\n  <<: [*x, {b: 1}]\n", None),
            ("a: &x {a: 1}\nb: {<<: *x}\nc: *x\n", None),
            ("\"<<\": v\n", None),
            ("'<<': v\n", None),
            ("!!str <<: v\n", None),
            ("!x <<: v\n", None),
            ("<<: []\n", None),
            ("l: [<<]\n", None),
            ("a: 1\n---\n<<: v\n", None),
        ] {
            assert_eq!(misused(&parse(text.as_bytes(), Format::Yaml).expect("reads")), expected, "{text}");
        }
    }
}
