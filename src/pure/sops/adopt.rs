//! Comments that stand outside of the `sops` block and are read into it: the block is written where they stood last.
//! There they would stay ciphertext, so they are put back where they hang in the plain file.

use super::metadata::{NAME, is_metadata};
use crate::pure::format::{self, Branch, Comment, Entry, Format, Item, Layout, Node, Tree, Value};

/// Puts the comments back. Nothing but comments moves, and their spans stay.
pub(super) fn comments(tree: &mut Tree) {
    let format = tree.format;
    for branch in &mut tree.branches {
        let Some(at) = branch.items.iter().position(|item| is_metadata(item, format)) else { continue };
        let astray = astray(branch, at, format);
        if astray.is_empty() {
            continue;
        }
        let rest = branch.items.split_off(at);
        match format {
            Format::Ini => close_section(&mut branch.items, astray),
            _ => astray.into_iter().for_each(|comment| format::place_comment(comment, &mut branch.items)),
        }
        branch.items.extend(rest);
    }
}

/// Takes the comments out of the block: above the header of an INI section, behind a closing bracket of YAML.
fn astray(branch: &mut Branch, at: usize, format: Format) -> Vec<Comment> {
    let Some(Item::Entry(Entry { key, key_span, value })) = branch.items.get_mut(at) else { return vec![] };
    let (span, Value::Map(fields)) = (value.span.clone(), &mut value.value) else { return vec![] };
    if key != NAME {
        return vec![];
    }
    let outside = |comment: &Comment| match format {
        Format::Ini => comment.span.end <= key_span.start,
        _ => comment.span.start >= span.end,
    };
    let (mut out, mut own) = (vec![], vec![]);
    for item in std::mem::take(fields) {
        match item {
            Item::Comment(comment) if outside(&comment) => out.push(comment),
            item => own.push(item),
        }
    }
    *fields = own;
    out.sort_by_key(|comment| comment.span.start);
    out
}

/// Comments at the end of an INI file belong to its last section; alone in the file, to the one without a header.
fn close_section(items: &mut Vec<Item>, comments: Vec<Comment>) {
    let (start, end) = (comments.first().map_or(0, |c| c.span.start), comments.last().map_or(0, |c| c.span.end));
    let comments = comments.into_iter().map(Item::Comment);
    match items.last_mut() {
        Some(Item::Entry(Entry { value: Node { value: Value::Map(children), span, .. }, .. })) => {
            children.extend(comments);
            span.end = end;
        }
        _ => {
            let value = Node::new(start..end, Value::Map(comments.collect()), Layout::default());
            items.push(Item::Entry(Entry { key: format::INI_DEFAULT.to_owned(), key_span: start..start, value }));
        }
    }
}
