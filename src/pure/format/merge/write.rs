//! Decided changes, written into the text of one document.

use super::MergeError;
use super::decide::{Op, same_value};
use crate::pure::format::place::{self, PathError, Step};
use crate::pure::format::splice::{self, Aliases, Edit};
use crate::pure::format::{Branch, Comment, Entry, Format, Item, Node, Tree, Value, parse};
use crate::pure::secret::Plaintext;

/// Applies the changes. Values of one line are written over each other in one go; what adds or removes entries, one by
/// one. Entries under a YAML alias are passed over: they change with their anchor, and the caller compares the result.
pub(super) fn apply(text: &[u8], format: Format, ops: Vec<Op<'_>>) -> Result<Plaintext, MergeError> {
    let (mut sets, mut comments, mut removes) = (Vec::new(), Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Set(path, node) => sets.push((path, node)),
            Op::Remove(path) => removes.push(path),
            Op::Comments(path, last, texts) => comments.push((path, last, texts)),
        }
    }
    let (mut text, rest) = scalars(parse(text, format)?, sets)?;
    for (path, node) in rest {
        let tree = parse(text.expose(), format)?;
        if place::find(&tree.branches, &path).is_ok_and(|old| same_value(&old.value, &node.value)) {
            continue;
        }
        text = pass_aliases(place::set(&tree, &path, node), text)?;
    }
    if !comments.is_empty() {
        text = write_comments(&parse(text.expose(), format)?, &comments)?;
    }
    // From the end of each list, so that the positions before it stay right.
    removes.sort_by_key(|path| std::cmp::Reverse(positions(path)));
    for path in removes {
        let tree = parse(text.expose(), format)?;
        text = pass_aliases(place::unset(&tree, &path), text)?;
    }
    Ok(text)
}

fn positions(path: &[Step]) -> Vec<usize> {
    let position = |step: &Step| if let Step::Index(index) = step { *index } else { 0 };
    path.iter().map(position).collect()
}

fn pass_aliases(result: Result<Plaintext, PathError>, before: Plaintext) -> Result<Plaintext, MergeError> {
    match result {
        Ok(text) => Ok(text),
        Err(PathError::Alias | PathError::Missing) => Ok(before),
        Err(PathError::Kind | PathError::Value | PathError::Pair | PathError::Merge) => Err(MergeError::Layout),
    }
}

type Sets = Vec<(Vec<Step>, Node)>;

/// Writes scalars over scalars, and returns what else is to be set.
fn scalars(tree: Tree, sets: Sets) -> Result<(Plaintext, Sets), MergeError> {
    let (mut items, mut rest) = (Vec::new(), Vec::new());
    for (path, node) in sets {
        let over = place::find(&tree.branches, &path).ok().filter(|old| {
            let plain = !old.layout.alias && old.tag.is_none() && !old.span.is_empty();
            plain && matches!((&old.value, &node.value), (Value::Scalar(_), Value::Scalar(_)))
        });
        match over {
            Some(old) => {
                let value = Node { changed: true, value: node.value, ..old.duplicate() };
                items.push(Item::Entry(Entry { key: String::new(), key_span: value.span.clone(), value }));
            }
            None => rest.push((path, node)),
        }
    }
    Ok((spliced(&tree, items, Vec::new())?, rest))
}

/// The text with changed items, and further edits, spliced in.
fn spliced(tree: &Tree, items: Vec<Item>, mut edits: Vec<Edit>) -> Result<Plaintext, MergeError> {
    let source = tree.source.expose();
    let branch = Branch::of_items(0..source.len(), items);
    edits.extend(splice::changes(&branch, source, tree.format, Aliases::Keep).map_err(|_| MergeError::Layout)?);
    Ok(splice::apply(source, 0..source.len(), edits))
}

type CommentOps<'t> = [(Vec<Step>, bool, Vec<&'t Plaintext>)];

fn write_comments(tree: &Tree, ops: &CommentOps<'_>) -> Result<Plaintext, MergeError> {
    let (mut changed, mut edits) = (Vec::new(), Vec::new());
    for (path, last, texts) in ops {
        let parent = match path.split_last() {
            Some((_, parent)) if !last => parent,
            _ => path.as_slice(),
        };
        let Some(items) = items_at(tree, parent) else { continue };
        let at = match path.last() {
            _ if *last => items.len(),
            Some(Step::Key(key)) => match items.iter().position(|i| matches!(i, Item::Entry(e) if e.key == *key)) {
                Some(at) => at,
                None => continue,
            },
            _ => continue,
        };
        comments_before(tree, items, at, texts, &mut changed, &mut edits);
    }
    spliced(tree, changed, edits)
}

fn items_at<'t>(tree: &'t Tree, path: &[Step]) -> Option<&'t [Item]> {
    if path.is_empty() {
        return tree.branches.first().map(|branch| branch.items.as_slice());
    }
    match place::find(&tree.branches, path) {
        Ok(Node { value: Value::Map(items) | Value::List(items), layout, .. }) if !layout.alias => Some(items),
        _ => None,
    }
}

/// Makes the comments before the item `at` say `texts`: over each other as far as both go, then lines that come or go.
fn comments_before(
    tree: &Tree,
    items: &[Item],
    at: usize,
    texts: &[&Plaintext],
    changed: &mut Vec<Item>,
    edits: &mut Vec<Edit>,
) {
    let source = tree.source.expose();
    let run: Vec<&Comment> = items
        .iter()
        .take(at)
        .rev()
        .map_while(|item| if let Item::Comment(comment) = item { Some(comment) } else { None })
        .collect();
    let run: Vec<&Comment> = run.into_iter().rev().collect();
    for (old, new) in run.iter().zip(texts).filter(|(old, new)| !old.text.same_as(new)) {
        let span = old.span.clone();
        changed.push(Item::Comment(Comment { text: new.duplicate(), span, changed: true, ..**old }));
    }
    let line_start = |at: usize| {
        source.get(..at).and_then(|before| before.iter().rposition(|byte| *byte == b'\n')).map_or(0, |at| at + 1)
    };
    let line_end = |at: usize| {
        let rest = source.get(at..).unwrap_or_default();
        rest.iter().position(|byte| *byte == b'\n').map_or(source.len(), |newline| at + newline + 1)
    };
    for old in run.iter().skip(texts.len()) {
        let blanks = source.get(..old.span.start).unwrap_or_default();
        let blanks = blanks.iter().rev().take_while(|byte| b" \t".contains(byte)).count();
        let span = match old.own_line {
            true => line_start(old.span.start)..line_end(old.span.end),
            false => old.span.start - blanks..old.span.end,
        };
        edits.push(Edit { span, text: Plaintext::new(Vec::new()) });
    }
    let (place, column) = match (items.get(at), items.iter().rev().find(|item| !matches!(item, Item::Comment(_)))) {
        (Some(item), _) => (line_start(item.start()), item.start() - line_start(item.start())),
        (None, Some(last)) => (line_end(last.end()), last.start() - line_start(last.start())),
        (None, None) => return,
    };
    let lead = source.get(place..place + column).unwrap_or_default();
    // In braces, or behind the dash of a list, there is no line to put it on.
    if items.get(at).is_some() && !lead.iter().all(|byte| *byte == b' ') || tree.format == Format::Json {
        return;
    }
    let marker = if tree.format == Format::Ini { "; " } else { "#" };
    let mut lines = zeroize::Zeroizing::new(Vec::new());
    if place > 0 && source.get(place - 1) != Some(&b'\n') {
        lines.push(b'\n');
    }
    for text in texts.iter().skip(run.len()) {
        for line in text.expose().split(|byte| *byte == b'\n') {
            lines.extend(std::iter::repeat_n(b' ', column));
            lines.extend_from_slice(marker.as_bytes());
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
    }
    if texts.len() > run.len() {
        edits.push(Edit { span: place..place, text: Plaintext::copy_of(&lines) });
    }
}
