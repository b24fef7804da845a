//! Three-way merge of structured files: by names and values, not by lines, written over ours so that its layout stays.
//!
//! Two sides that change different entries merge, however near to each other they stand, and however one of them was
//! formatted anew. What both sides changed in different ways is a conflict of that entry alone.

mod decide;
mod lines;
#[cfg(test)]
mod tests;
mod write;

pub use lines::{Labels, conflict_text, marker_line};

use super::{Format, FormatError, Tree, Value, parse};
use crate::pure::secret::Plaintext;
use decide::{Expected, Prefer};

/// What came out.
pub struct Merged {
    /// Ours with everything that merged. Entries that conflict hold the value of ours.
    pub ours: Plaintext,
    /// The same with the values of theirs where entries conflict; `None` when nothing does.
    pub theirs: Option<Plaintext>,
    /// The entries that conflict, such as `a.b[0]`. Names only.
    pub conflicts: Vec<String>,
}

/// Files that cannot be merged by their structure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum MergeError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the two sides do not hold the same documents")]
    Documents,
    #[error("line {line}: the name \"{key}\" occurs twice in one map")]
    DuplicateKey { key: String, line: usize },
    #[error("the merged entries cannot be written in this layout")]
    Layout,
}

/// Merges what `theirs` changed since `base` into `ours`. Without a base both sides added the file.
///
/// # Errors
/// Bytes that do not parse, sides with different documents, names that occur twice, a layout that the merged values
/// cannot be written into (YAML aliases whose anchor means two things afterwards).
pub fn merge(base: Option<&[u8]>, ours: &[u8], theirs: &[u8], format: Format) -> Result<Merged, MergeError> {
    if format == Format::Binary {
        return Ok(whole(base, ours, theirs));
    }
    let parsed = |bytes: &[u8]| -> Result<Tree, MergeError> {
        let tree = parse(bytes, format)?;
        match tree.branches.iter().find_map(|branch| branch.duplicate.clone()) {
            Some((key, line)) => Err(MergeError::DuplicateKey { key, line }),
            None => Ok(tree),
        }
    };
    let (ours, theirs) = (parsed(ours)?, parsed(theirs)?);
    let base = base.map(parsed).transpose()?;
    let documents = ours.branches.len();
    if theirs.branches.len() != documents || base.as_ref().is_some_and(|base| base.branches.len() != documents) {
        return Err(MergeError::Documents);
    }
    let (text, conflicts) = side(base.as_ref(), &ours, &theirs, Prefer::Ours)?;
    let other = match conflicts.is_empty() {
        true => None,
        false => Some(side(base.as_ref(), &ours, &theirs, Prefer::Theirs)?.0),
    };
    Ok(Merged { ours: text, theirs: other, conflicts })
}

/// One value that is the whole file.
fn whole(base: Option<&[u8]>, ours: &[u8], theirs: &[u8]) -> Merged {
    let copy = Plaintext::copy_of;
    if ours == theirs || base == Some(theirs) {
        return Merged { ours: copy(ours), theirs: None, conflicts: vec![] };
    }
    if base == Some(ours) {
        return Merged { ours: copy(theirs), theirs: None, conflicts: vec![] };
    }
    Merged { ours: copy(ours), theirs: Some(copy(theirs)), conflicts: vec!["the whole file".into()] }
}

/// The merged file in which conflicts are decided for one side, and the names of the conflicts.
fn side(
    base: Option<&Tree>,
    ours: &Tree,
    theirs: &Tree,
    prefer: Prefer,
) -> Result<(Plaintext, Vec<String>), MergeError> {
    let source = ours.source.expose();
    let (mut out, mut conflicts) = (zeroize::Zeroizing::new(Vec::new()), Vec::new());
    for (index, (branch, other)) in ours.branches.iter().zip(&theirs.branches).enumerate() {
        let before = base.and_then(|base| base.branches.get(index)).map_or(&[][..], |branch| &branch.items);
        let decided = decide::document(before, &branch.items, &other.items, prefer);
        let text = source.get(branch.span.clone()).unwrap_or_default();
        let text = write::apply(text, ours.format, decided.ops)?;
        let written = parse(text.expose(), ours.format)?;
        if !is(written, &decided.expected) {
            return Err(MergeError::Layout);
        }
        out.extend_from_slice(text.expose());
        let name = |path: String| match index {
            0 => path,
            _ => format!("{path} of document {}", index + 1),
        };
        conflicts.extend(decided.conflicts.into_iter().map(name));
    }
    Ok((Plaintext::copy_of(&out), conflicts))
}

/// Whether what was written is what was decided.
fn is(mut tree: Tree, expected: &Expected<'_>) -> bool {
    let last = tree.branches.pop();
    tree.branches.is_empty() && last.is_some_and(|branch| expected.is(&Value::Map(branch.items)))
}
