//! Comments of INI files. ini.v1 makes one comment of the lines above an entry and of what stands behind its value, and
//! SOPS encrypts it as one; of several ciphertexts it opens the first alone. So the first holds the texts of the others
//! as well, and they are taken out of it again when a file is opened here.

use std::ops::Range;

use super::selector::Selector;
use crate::pure::format::{self, Branch, Comment, Entry, Format, Item, Node, Tree, Value};
use crate::pure::secret::Plaintext;

/// What is to be encrypted in the place of `plain`; `None`: as it stands. Selectors by comments look at each by itself.
/// What was one comment in `old` stays one.
pub(super) fn joined(plain: &Tree, target: Format, selector: &Selector, old: &[Branch]) -> Option<Vec<Branch>> {
    let by_comment = matches!(selector, Selector::EncryptedCommentRegex(_) | Selector::UnencryptedCommentRegex(_));
    if plain.format != Format::Ini || target != Format::Ini || by_comment {
        return None;
    }
    let duplicate = |branch: &Branch| {
        let items = branch.items.iter().map(format::duplicate_item).collect();
        Branch::of_items(branch.span.clone(), items)
    };
    let mut branches: Vec<Branch> = plain.branches.iter().map(duplicate).collect();
    for section in branches.iter_mut().flat_map(|branch| &mut branch.items) {
        let Item::Entry(Entry { key_span, value: Node { value: Value::Map(items), .. }, .. }) = section else {
            continue;
        };
        for range in runs(items, key_span).into_iter().rev() {
            let comments: Vec<&Comment> =
                items.get(range.clone()).unwrap_or_default().iter().filter_map(comment).collect();
            let Some(joined) = join(&comments, plain.source.expose()) else { continue };
            let end = comments.last().map_or(joined.span.end, |last| last.span.end);
            let lines = joined.text.expose().split(|byte| *byte == b'\n').count();
            let between = plain.source.expose().get(joined.span.start..end).unwrap_or_default();
            let own_lines = comments.iter().all(|comment| comment.own_line);
            let is_one = own_lines
                && between.iter().filter(|byte| **byte == b'\n').count() + 1 == lines
                && stands_in(old, &joined);
            if is_one {
                let span = joined.span.start..end;
                items.splice(range, [Item::Comment(Comment { span, ..joined })]);
            } else if let Some(first) = items.get_mut(range.start) {
                *first = Item::Comment(joined);
            }
        }
    }
    Some(branches)
}

/// The first of several comments with the texts of all. `None`: SOPS could not read an empty first line.
fn join(comments: &[&Comment], source: &[u8]) -> Option<Comment> {
    let (first, rest) = comments.split_first()?;
    if first.text.is_empty() {
        return None;
    }
    let mut text = zeroize::Zeroizing::new(first.text.expose().to_vec());
    for comment in rest {
        text.push(b'\n');
        text.extend_from_slice(source.get(comment.span.clone()).unwrap_or_default());
    }
    Some(Comment { text: Plaintext::copy_of(&text), span: first.span.clone(), ..**first })
}

/// Whether a section has this very comment.
fn stands_in(branches: &[Branch], wanted: &Comment) -> bool {
    branches.iter().flat_map(|branch| &branch.items).any(|section| match section {
        Item::Entry(Entry { value: Node { value: Value::Map(items), .. }, .. }) => {
            items.iter().filter_map(comment).any(|known| known.text.same_as(&wanted.text))
        }
        _ => false,
    })
}

fn comment(item: &Item) -> Option<&Comment> {
    match item {
        Item::Comment(comment) => Some(comment),
        _ => None,
    }
}

/// Undoes [`joined`] in an opened tree. Files of SOPS have one comment where ours have several: they stay as they are.
pub(super) fn part(branches: &mut [Branch]) {
    for section in branches.iter_mut().flat_map(|branch| &mut branch.items) {
        let Item::Entry(Entry { key_span, value: Node { value: Value::Map(items), .. }, .. }) = section else {
            continue;
        };
        for range in runs(items, key_span) {
            let mut comments = items.get_mut(range).unwrap_or_default().iter_mut().filter_map(|item| match item {
                Item::Comment(comment) => Some(comment),
                _ => None,
            });
            let Some(first) = comments.next() else { continue };
            let rest: Vec<&Comment> = comments.map(|it| &*it).collect();
            let others: Vec<&[u8]> = rest.iter().flat_map(|it| it.text.expose().split(|byte| *byte == b'\n')).collect();
            let lines: Vec<&[u8]> = first.text.expose().split(|byte| *byte == b'\n').collect();
            let (kept, copies) = lines.split_at(lines.len().saturating_sub(others.len()));
            let is_copy = copies.iter().zip(&others).all(|(left, right)| bare(left) == bare(right));
            if first.changed && !kept.is_empty() && is_copy {
                first.text = Plaintext::new(kept.join(&b'\n'));
            }
        }
    }
}

/// A line without its comment character.
fn bare(line: &[u8]) -> &[u8] {
    let lead = line.iter().take_while(|byte| b" \t#;".contains(byte)).count();
    line.get(lead..).unwrap_or_default().trim_ascii_end()
}

/// Where several comments stand for one entry, or for a section.
fn runs(items: &[Item], header: &Range<usize>) -> Vec<Range<usize>> {
    let above = |item: &Item| !header.is_empty() && item.start() < header.start;
    let (mut out, mut start) = (Vec::new(), 0);
    for (at, item) in items.iter().enumerate() {
        let ends = !matches!(item, Item::Comment(_));
        if ends || at > start && items.get(start).is_some_and(above) && !above(item) {
            out.push(start..at);
            start = at + usize::from(ends);
        }
    }
    // What stands behind the last entry belongs to none.
    out.retain(|range| range.len() > 1);
    out
}
