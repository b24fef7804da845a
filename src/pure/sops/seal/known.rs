//! Which ciphertext each value of the old file had, so that what did not change keeps its bytes.

use std::collections::{HashMap, HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use super::super::cipher::{Cipher, CipherError};
use super::super::error::SopsError;
use super::super::open::Opened;
use super::super::value;
use super::super::walk::{CommentLeaf, Leaf, Place, Visit, walk};
use crate::pure::format::{Branch, Comment, Item, Node, Scalar, Tree, Value};

/// A ciphertext of the old file.
pub(super) struct Seen {
    pub text: String,
    /// It is a comment that was written as an element of its list.
    pub element: bool,
}

/// Digest of additional data, type and plaintext.
type Digest = [u8; 32];

fn digest(aad: &str, kind: &str, plaintext: &[u8]) -> Digest {
    // A float without a fraction is printed as an integer and hashes the same: it stays the float that it was.
    let kind = if kind == "int" { "float" } else { kind };
    let mut hash = Sha256::new();
    for part in [aad.as_bytes(), kind.as_bytes(), plaintext] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The ciphertexts of an old file, to be taken in the order in which the new one is sealed.
#[derive(Default)]
pub(super) struct Known {
    /// What stands at the same place in both files, by its number in the order of sealing.
    placed: HashMap<usize, (Digest, Seen)>,
    /// The others, in document order.
    rest: HashMap<Digest, VecDeque<Seen>>,
    next: usize,
}

impl Known {
    /// What the opened file was made of, laid beside what `branches` of `plain` will be sealed to.
    pub(super) fn of(
        opened: &Opened<'_>,
        cipher: &Cipher,
        plain: &Tree,
        branches: &[Branch],
    ) -> Result<Self, SopsError> {
        let mut new = Outline::default();
        let selector = &opened.document().metadata.selector;
        walk(branches, plain.source.expose(), plain.format, selector, &mut new)?;
        Ok(Self::aligned(ciphertexts(opened, cipher)?, &new.0))
    }

    /// Adds the ciphertexts of another file under the same data key, for what the first one has none of.
    pub(super) fn add(&mut self, opened: &Opened<'_>, cipher: &Cipher) -> Result<(), SopsError> {
        let own: HashSet<Digest> =
            self.placed.values().map(|(digest, _)| *digest).chain(self.rest.keys().copied()).collect();
        for (digest, seen) in ciphertexts(opened, cipher)?.into_iter().filter(|(digest, _)| !own.contains(digest)) {
            self.rest.entry(digest).or_default().push_back(seen);
        }
        Ok(())
    }

    /// Equal values under equal names (list items, documents of a stream) are told apart by their place: counted from the
    /// start, and behind what was added or removed from the end.
    fn aligned(old: Vec<(Digest, Seen)>, new: &[Digest]) -> Self {
        let common = |pairs: &mut dyn Iterator<Item = (&(Digest, Seen), &Digest)>| {
            pairs.take_while(|(old, new)| old.0 == **new).count()
        };
        let (head, tail) = if old.len() == new.len() {
            (old.len(), 0)
        } else {
            let head = common(&mut old.iter().zip(new));
            let shorter = old.len().min(new.len()) - head;
            (head, common(&mut old.iter().rev().zip(new.iter().rev()).take(shorter)))
        };
        let (old_tail, new_tail) = (old.len() - tail, new.len() - tail);
        let mut known = Self::default();
        for (at, (digest, seen)) in old.into_iter().enumerate() {
            let place =
                if at < head { Some(at) } else { at.checked_sub(old_tail).map(|from_tail| new_tail + from_tail) };
            match place.filter(|place| new.get(*place) == Some(&digest)) {
                Some(place) => {
                    known.placed.insert(place, (digest, seen));
                }
                None => known.rest.entry(digest).or_default().push_back(seen),
            }
        }
        known
    }

    /// The ciphertext for the next value in the order of sealing, if the old file had one.
    pub(super) fn take(&mut self, aad: &str, kind: &str, plaintext: &[u8]) -> Option<Seen> {
        let place = self.next;
        self.next += 1;
        if self.placed.is_empty() && self.rest.is_empty() {
            return None;
        }
        let digest = digest(aad, kind, plaintext);
        match self.placed.remove(&place) {
            Some((placed, seen)) if placed == digest => Some(seen),
            _ => self.rest.get_mut(&digest)?.pop_front(),
        }
    }
}

/// Every ciphertext of a file, in document order.
fn ciphertexts(opened: &Opened<'_>, cipher: &Cipher) -> Result<Vec<(Digest, Seen)>, SopsError> {
    let mut leaves = Vec::new();
    opened.branches().iter().for_each(|branch| add_leaves(&branch.items, &mut leaves));
    let mut reader = Reader { cipher, leaves: leaves.into_iter(), seen: Vec::new() };
    let document = opened.document();
    let tree = &document.tree;
    walk(&tree.branches, tree.source.expose(), tree.format, &document.metadata.selector, &mut reader)?;
    Ok(reader.seen)
}

/// What the walk that opened a file left at each of its stops; `None` is a comment.
fn add_leaves<'o>(items: &'o [Item], leaves: &mut Vec<Option<&'o Scalar>>) {
    for item in items {
        let node: &Node = match item {
            Item::Comment(_) => {
                leaves.push(None);
                continue;
            }
            Item::Entry(entry) => &entry.value,
            Item::Element(element) => &element.value,
        };
        match &node.value {
            Value::Map(items) | Value::List(items) => add_leaves(items, leaves),
            Value::Scalar(scalar) => leaves.push(Some(scalar)),
        }
    }
}

/// Stops where the walk that opened the file stopped: a value is known without being decrypted again.
struct Reader<'c> {
    cipher: &'c Cipher,
    leaves: std::vec::IntoIter<Option<&'c Scalar>>,
    seen: Vec<(Digest, Seen)>,
}

impl Reader<'_> {
    fn note(&mut self, text: &[u8], element: bool, digest: Digest) {
        let whole = String::from_utf8_lossy(text);
        let body = whole.rsplit_once(']').map_or(whole.as_ref(), |(body, _)| body);
        self.seen.push((digest, Seen { text: format!("{body}]"), element }));
    }

    /// Notes a comment, which may have been encrypted at another place than where it stands.
    fn note_comment(&mut self, text: &[u8], aad: &str, element: bool) -> Result<(), CipherError> {
        let (bytes, kind) = self.cipher.open_text(text, aad)?;
        self.note(text, element, digest(aad, kind, bytes.expose()));
        Ok(())
    }
}

impl Visit for Reader<'_> {
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
        let opened = self.leaves.next().flatten();
        if let (true, Scalar::Text(text)) = (place.encrypted, scalar)
            && !text.is_empty()
        {
            match opened.and_then(value::to_bytes) {
                Some((kind, bytes)) => self.note(text.expose(), false, digest(&place.aad(), kind, bytes.expose())),
                // What does not open was told when the file was opened.
                None => {
                    let _ = self.note_comment(text.expose(), &place.aad(), true);
                }
            }
        }
        Ok(Leaf::Same)
    }

    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
        self.leaves.next();
        if place.encrypted {
            let text = comment.text.expose().trim_ascii_start();
            for aad in place.comment_aads() {
                if !matches!(self.note_comment(text, &aad, false), Err(CipherError::Damaged)) {
                    break;
                }
            }
        }
        Ok(None)
    }
}

/// What will be encrypted, in the order of sealing.
#[derive(Default)]
struct Outline(Vec<Digest>);

impl Visit for Outline {
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
        if let Some((kind, bytes)) = value::to_bytes(scalar)
            && place.encrypted
            && !bytes.expose().is_empty()
        {
            self.0.push(digest(&place.aad(), kind, bytes.expose()));
        }
        Ok(Leaf::Same)
    }

    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
        if place.encrypted && !comment.text.is_empty() {
            self.0.push(digest(&place.aad(), "comment", comment.text.expose()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_keep_their_places() {
        let digest = |name: char| digest("list:", "str", name.to_string().as_bytes());
        let taken = |old: &str, new: &str| {
            let seen =
                old.chars().enumerate().map(|(at, name)| (digest(name), Seen { text: at.to_string(), element: false }));
            let outline: Vec<Digest> = new.chars().map(digest).collect();
            let mut known = Known::aligned(seen.collect(), &outline);
            let mut take = |name: char| known.take("list:", "str", name.to_string().as_bytes());
            new.chars().map(|name| take(name).map_or("-".into(), |seen| seen.text)).collect::<String>()
        };
        assert_eq!(taken("aaa", "aaa"), "012");
        assert_eq!(taken("aaa", "xaa"), "-12");
        assert_eq!(taken("aaa", "aax"), "01-");
        assert_eq!(taken("abab", "bab"), "123");
        assert_eq!(taken("aab", "aaxb"), "01-2");
        assert_eq!(taken("aba", "aab"), "021", "moved values keep what they have");
        assert_eq!(taken("a", "aa"), "0-");
    }
}
