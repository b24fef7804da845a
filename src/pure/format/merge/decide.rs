//! What becomes of each entry, and which changes of ours that takes.

use std::collections::{HashMap, HashSet};

use super::lines::matches;
use crate::pure::format::place::Step;
use crate::pure::format::{Comment, Element, Entry, Item, Layout, Node, Scalar, Value};
use crate::pure::secret::Plaintext;

/// Whose value an entry gets that both sides changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefer {
    Ours,
    Theirs,
}

/// A change of ours. Paths are those of ours; what is new stands behind the last element of its list.
pub(super) enum Op<'t> {
    /// The value at a path, which may be new.
    Set(Vec<Step>, Node),
    /// The entry at a path goes.
    Remove(Vec<Step>),
    /// The comments before the item at a path; at the end of the collection when the flag is set.
    Comments(Vec<Step>, bool, Vec<&'t Plaintext>),
}

/// What a merged file must hold.
pub(super) enum Expected<'t> {
    Value(&'t Value),
    Map(Vec<(&'t str, Expected<'t>)>),
    List(Vec<Expected<'t>>),
}

impl Expected<'_> {
    /// Whether a value is this one. The order of names in a map does not count.
    pub(super) fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Value(expected), value) => same_value(expected, value),
            (Self::Map(expected), Value::Map(items)) => {
                let found: HashMap<&str, &Node> = entries(items).collect();
                found.len() == expected.len()
                    && expected.iter().all(|(key, child)| found.get(key).is_some_and(|node| child.is(&node.value)))
            }
            (Self::List(expected), Value::List(items)) => {
                let found = elements(items);
                found.len() == expected.len() && expected.iter().zip(found).all(|(child, node)| child.is(&node.value))
            }
            _ => false,
        }
    }
}

/// The decision about one document.
pub(super) struct Decided<'t> {
    pub ops: Vec<Op<'t>>,
    pub conflicts: Vec<String>,
    pub expected: Expected<'t>,
}

/// Decides about one document.
pub(super) fn document<'t>(base: &'t [Item], ours: &'t [Item], theirs: &'t [Item], prefer: Prefer) -> Decided<'t> {
    let mut merger = Merger { prefer, ops: Vec::new(), conflicts: Vec::new() };
    let expected = merger.map(&[], base, ours, theirs);
    Decided { ops: merger.ops, conflicts: merger.conflicts, expected }
}

fn entries(items: &[Item]) -> impl Iterator<Item = (&str, &Node)> {
    items.iter().filter_map(|item| match item {
        Item::Entry(Entry { key, value, .. }) => Some((key.as_str(), value)),
        _ => None,
    })
}

fn elements(items: &[Item]) -> Vec<&Node> {
    let element = |item| match item {
        &Item::Element(Element { ref value, .. }) => Some(value),
        _ => None,
    };
    items.iter().filter_map(element).collect()
}

/// Same types and values. The order of names in a map does not count, and an integer is the float of its value, since
/// older versions of SOPS made floats of all numbers in JSON.
pub(super) fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Map(a), Value::Map(b)) => {
            let known: HashMap<&str, &Node> = entries(a).collect();
            known.len() == entries(b).count()
                && entries(b)
                    .all(|(key, node)| known.get(key).is_some_and(|other| same_value(&other.value, &node.value)))
        }
        (Value::List(a), Value::List(b)) => {
            let (a, b) = (elements(a), elements(b));
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same_value(&x.value, &y.value))
        }
        (Value::Scalar(a), Value::Scalar(b)) => same_scalar(a, b),
        _ => false,
    }
}

#[allow(clippy::cast_precision_loss, reason = "that loss is what made the float")]
fn same_scalar(left: &Scalar, right: &Scalar) -> bool {
    match (left, right) {
        (Scalar::Null, Scalar::Null) => true,
        (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
        (Scalar::Int(a), Scalar::Int(b)) => a == b,
        (Scalar::Unsigned(a), Scalar::Unsigned(b)) => a == b,
        (Scalar::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
        (Scalar::Int(a), Scalar::Float(b)) | (Scalar::Float(b), Scalar::Int(a)) => (*a as f64).to_bits() == b.to_bits(),
        (Scalar::Time(a), Scalar::Time(b)) => a == b,
        (Scalar::Text(a), Scalar::Text(b)) => a.same_as(b),
        _ => false,
    }
}

fn same(left: Option<&Node>, right: Option<&Node>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(a), Some(b)) => same_value(&a.value, &b.value),
        _ => false,
    }
}

/// `a.b[0]`.
fn show(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) if out.is_empty() => out.push_str(key),
            Step::Key(key) => out.push_str(&format!(".{key}")),
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

fn below(path: &[Step], step: Step) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(step);
    path
}

/// The comments before each item and, last, those after all of them.
fn comments(items: &[Item]) -> Vec<Vec<&Plaintext>> {
    let mut out = vec![Vec::new()];
    for item in items {
        match (item, out.last_mut()) {
            (Item::Comment(Comment { text, .. }), Some(last)) => last.push(text),
            _ => out.push(Vec::new()),
        }
    }
    out
}

fn same_comments(left: &[&Plaintext], right: &[&Plaintext]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.expose().trim_ascii() == b.expose().trim_ascii())
}

struct Merger<'t> {
    prefer: Prefer,
    ops: Vec<Op<'t>>,
    conflicts: Vec<String>,
}

impl<'t> Merger<'t> {
    fn node(
        &mut self,
        path: Vec<Step>,
        base: Option<&'t Node>,
        ours: Option<&'t Node>,
        theirs: Option<&'t Node>,
    ) -> Option<Expected<'t>> {
        if same(ours, theirs) || same(base, theirs) {
            return ours.map(|node| Expected::Value(&node.value));
        }
        // Into collections even where only theirs changed: what it left alone keeps the layout of ours.
        match (ours.map(|node| &node.value), theirs.map(|node| &node.value)) {
            (Some(Value::Map(ours)), Some(Value::Map(theirs))) => {
                let base: &[Item] = match base.map(|node| &node.value) {
                    Some(Value::Map(items)) => items,
                    _ => &[],
                };
                return Some(self.map(&path, base, ours, theirs));
            }
            (Some(Value::List(own)), Some(Value::List(other))) => {
                let before: &[Item] = match base.map(|node| &node.value) {
                    Some(Value::List(items)) => items,
                    _ => &[],
                };
                if let Some(merged) = self.list(&path, before, own, other) {
                    return Some(merged);
                }
            }
            _ => {}
        }
        if !same(base, ours) {
            self.conflicts.push(show(&path));
            if self.prefer == Prefer::Ours {
                return ours.map(|node| Expected::Value(&node.value));
            }
        }
        self.take(path, theirs)
    }

    fn take(&mut self, path: Vec<Step>, theirs: Option<&'t Node>) -> Option<Expected<'t>> {
        match theirs {
            Some(node) => self.ops.push(Op::Set(path, node.duplicate())),
            None => self.ops.push(Op::Remove(path)),
        }
        theirs.map(|node| Expected::Value(&node.value))
    }

    fn map(&mut self, path: &[Step], base: &'t [Item], ours: &'t [Item], theirs: &'t [Item]) -> Expected<'t> {
        let index = |items: &'t [Item]| -> HashMap<&'t str, &'t Node> { entries(items).collect() };
        let (before, own, other) = (index(base), index(ours), index(theirs));
        let mut merged = Vec::new();
        let mut seen = HashSet::new();
        let mut kept = HashSet::new();
        for (key, _) in entries(ours).chain(entries(theirs)) {
            if !seen.insert(key) {
                continue;
            }
            let at = below(path, Step::Key(key.to_owned()));
            let (b, o, t) = (before.get(key).copied(), own.get(key).copied(), other.get(key).copied());
            if let Some(child) = self.node(at, b, o, t) {
                merged.push((key, child));
                kept.insert(key);
            }
        }
        let named = |items: &'t [Item]| -> (HashMap<&'t str, Vec<&'t Plaintext>>, Vec<&'t Plaintext>) {
            let mut all = comments(items);
            let last = all.pop().unwrap_or_default();
            (entries(items).map(|(key, _)| key).zip(all).collect(), last)
        };
        let (b, o, t) = (named(base), named(ours), named(theirs));
        for (key, _) in entries(theirs).filter(|(key, _)| kept.contains(key)) {
            let of = |side: &HashMap<&str, Vec<&'t Plaintext>>| side.get(key).cloned().unwrap_or_default();
            self.comments(below(path, Step::Key(key.to_owned())), false, &of(&b.0), &of(&o.0), of(&t.0));
        }
        self.comments(path.to_vec(), true, &b.1, &o.1, t.1);
        Expected::Map(merged)
    }

    fn comments(
        &mut self,
        path: Vec<Step>,
        last: bool,
        base: &[&'t Plaintext],
        ours: &[&'t Plaintext],
        theirs: Vec<&'t Plaintext>,
    ) {
        if same_comments(ours, &theirs) || same_comments(base, &theirs) {
            return;
        }
        if !same_comments(base, ours) {
            self.conflicts
                .push(format!("a comment at {}", if path.is_empty() { "the end".into() } else { show(&path) }));
            if self.prefer == Prefer::Ours {
                return;
            }
        }
        self.ops.push(Op::Comments(path, last, theirs));
    }

    /// `None` when the list as a whole has to be decided.
    fn list(&mut self, path: &[Step], base: &'t [Item], ours: &'t [Item], theirs: &'t [Item]) -> Option<Expected<'t>> {
        let (before, own, other) = (elements(base), elements(ours), elements(theirs));
        if let (Some(b), Some(o), Some(t)) = (names(&before), names(&own), names(&other)) {
            return Some(self.named_list(path, (&before, &b), (&own, &o), (&other, &t)));
        }
        if before.len() == own.len() && own.len() == other.len() {
            let each = before.iter().zip(&own).zip(&other).enumerate();
            let merged: Vec<Expected<'t>> = each
                .filter_map(|(index, ((b, o), t))| {
                    self.node(below(path, Step::Index(index)), Some(b), Some(o), Some(t))
                })
                .collect();
            return Some(Expected::List(merged));
        }
        self.sequence(path, &before, &own, &other)
    }

    /// A list of maps with names, as Kubernetes has many: the name tells which is which.
    fn named_list(
        &mut self,
        path: &[Step],
        (before, before_names): (&[&'t Node], &[&'t str]),
        (own, own_names): (&[&'t Node], &[&'t str]),
        (other, other_names): (&[&'t Node], &[&'t str]),
    ) -> Expected<'t> {
        let find = |nodes: &[&'t Node], names: &[&str], name: &str| -> Option<&'t Node> {
            names.iter().position(|other| *other == name).and_then(|at| nodes.get(at).copied())
        };
        let mut merged = Vec::new();
        let mut end = own.len();
        for (index, (node, name)) in own.iter().zip(own_names).enumerate() {
            let (b, t) = (find(before, before_names, name), find(other, other_names, name));
            merged.extend(self.node(below(path, Step::Index(index)), b, Some(node), t));
        }
        for (node, name) in other.iter().zip(other_names).filter(|(_, name)| !own_names.contains(name)) {
            let b = find(before, before_names, name);
            if let Some(child) = self.node(below(path, Step::Index(end)), b, None, Some(node)) {
                merged.push(child);
                end += 1;
            }
        }
        Expected::List(merged)
    }

    /// Elements without names: those that both sides kept hold the rest in place.
    fn sequence(
        &mut self,
        path: &[Step],
        before: &[&'t Node],
        own: &[&'t Node],
        other: &[&'t Node],
    ) -> Option<Expected<'t>> {
        let equal = |a: &&Node, b: &&Node| same_value(&a.value, &b.value);
        let by_base = |pairs: Vec<(usize, usize)>| -> HashMap<usize, usize> { pairs.into_iter().collect() };
        let in_own = by_base(matches(before, own, equal));
        let in_other = by_base(matches(before, other, equal));
        let mut merged: Vec<(Option<usize>, &'t Node)> = Vec::new();
        let (mut b, mut o, mut t) = (0, 0, 0);
        loop {
            let anchor = (b..before.len()).find_map(|at| Some((at, *in_own.get(&at)?, *in_other.get(&at)?)));
            let (next_b, next_o, next_t) = anchor.unwrap_or((before.len(), own.len(), other.len()));
            let part = |nodes: &[&'t Node], from: usize, to: usize| -> Vec<&'t Node> {
                nodes.get(from..to).unwrap_or_default().to_vec()
            };
            let (pb, po, pt) = (part(before, b, next_b), part(own, o, next_o), part(other, t, next_t));
            let alike =
                |x: &[&'t Node], y: &[&'t Node]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y));
            if alike(&pt, &pb) || alike(&pt, &po) {
                merged.extend(po.iter().enumerate().map(|(index, node)| (Some(o + index), *node)));
            } else if alike(&po, &pb) {
                merged.extend(pt.iter().map(|node| (None, *node)));
            } else {
                return None;
            }
            let Some((at_b, at_o, at_t)) = anchor else { break };
            merged.extend(own.get(at_o).map(|node| (Some(at_o), *node)));
            (b, o, t) = (at_b + 1, at_o + 1, at_t + 1);
        }
        self.write_sequence(path, own, &merged);
        Some(Expected::List(merged.iter().map(|(_, node)| Expected::Value(&node.value)).collect()))
    }

    /// Removes and appends where that is all; prints the list anew where something comes in between.
    fn write_sequence(&mut self, path: &[Step], own: &[&'t Node], merged: &[(Option<usize>, &'t Node)]) {
        let kept: HashSet<usize> = merged.iter().filter_map(|(index, _)| *index).collect();
        let first_new = merged.iter().position(|(index, _)| index.is_none()).unwrap_or(merged.len());
        let new_at_end = merged.iter().skip(first_new).all(|(index, _)| index.is_none());
        if !new_at_end || kept.is_empty() {
            let element =
                |(_, node): &(Option<usize>, &Node)| Item::Element(Element { start: 0, value: node.duplicate() });
            let list = Value::List(merged.iter().map(element).collect());
            self.ops.push(Op::Set(path.to_vec(), Node::new(0..0, list, Layout::default())));
            return;
        }
        for (offset, (_, node)) in merged.iter().skip(first_new).enumerate() {
            self.ops.push(Op::Set(below(path, Step::Index(own.len() + offset)), node.duplicate()));
        }
        for index in (0..own.len()).filter(|index| !kept.contains(index)) {
            self.ops.push(Op::Remove(below(path, Step::Index(index))));
        }
    }
}

/// The names of a list of maps, when every element has one of its own.
fn names<'t>(elements: &[&'t Node]) -> Option<Vec<&'t str>> {
    let mut seen = HashSet::new();
    let name = |node: &&'t Node| -> Option<&'t str> {
        let Value::Map(items) = &node.value else { return None };
        let (_, name) = entries(items).find(|(key, _)| *key == "name")?;
        match &name.value {
            Value::Scalar(Scalar::Text(text)) => text.expose_str(),
            _ => None,
        }
    };
    elements.iter().map(|node| name(node).filter(|name| seen.insert(*name))).collect()
}
