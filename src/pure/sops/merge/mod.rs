//! Three-way merge of SOPS files: entries by their names, recipients as a set, one valid MAC.

use subtle::ConstantTimeEq as _;

use super::error::SopsError;
use super::metadata::Metadata;
use super::open::{MacPolicy, Opened, open_with_key};
use super::recipients::same_key;
use super::seal::{Random, Wrap, reseal_as, wrap_groups};
use crate::pure::format::merge::{self, Labels, conflict_text};
use crate::pure::format::{self, Indent};
use crate::pure::keys::{DataKey, KeyRef, WrappedKey};
use crate::pure::secret::Plaintext;

/// Two sides of a file that cannot become one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum MergeError {
    #[error(transparent)]
    Content(#[from] merge::MergeError),
    #[error(transparent)]
    Sops(#[from] SopsError),
    #[error("both sides changed the key groups")]
    Groups,
    #[error("both sides changed what is encrypted")]
    Selector,
}

/// What came out. Values are encrypted everywhere, in conflicts too.
pub struct MergedFile {
    /// The file; with conflict markers when something conflicts.
    pub bytes: Plaintext,
    /// Names of the entries that conflict.
    pub conflicts: Vec<String>,
    /// What became of our keys.
    pub news: KeyNews,
}

/// What a merge took over from the other side about who can open the file. Recipients are outside of SOPS' MAC: whoever
/// merges is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyNews {
    /// Recipients that ours did not have.
    pub added: Vec<String>,
    /// Recipients that only ours had.
    pub removed: Vec<String>,
    /// The data key is theirs: they rotated it.
    pub rotated: bool,
}

impl KeyNews {
    /// What differs between our block and the merged one.
    fn of(ours: &Metadata, merged: &Metadata, rotated: bool) -> Self {
        let names = |of: &Metadata, other: &Metadata| -> Vec<String> {
            let there = |key: &WrappedKey| other.keys().any(|known| same_key(&known.key, &key.key));
            of.keys().filter(|key| !there(key)).map(|key| key.key.to_string()).collect()
        };
        Self { added: names(merged, ours), removed: names(ours, merged), rotated }
    }
}

/// Merges three opened versions of a file; without a base both sides added it.
///
/// Layout is that of ours. Ciphertext of what one side left alone keeps its bytes where the data keys allow. A side that
/// alone changed the data key wins with it, since that was a rotation; otherwise it is that of ours. Recipients are merged
/// as sets. Between conflict markers stand the entries that conflict and the MAC, so that a file with all of one side is
/// valid.
///
/// # Errors
/// See [`MergeError`].
pub fn merge(
    base: Option<&Opened<'_>>,
    ours: &Opened<'_>,
    theirs: &Opened<'_>,
    labels: Labels<'_>,
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<MergedFile, MergeError> {
    let format = ours.document().format();
    let plain = |side: &Opened<'_>| side.emit(format);
    let (own, other) = (plain(ours)?, plain(theirs)?);
    let before = base.map(plain).transpose()?;
    let merged = merge::merge(before.as_ref().map(Plaintext::expose), own.expose(), other.expose(), format)?;
    let rotated = base.is_some_and(|base| same_data_key(base, ours) && !same_data_key(base, theirs));
    let (side, rest) = if rotated { (theirs, ours) } else { (ours, theirs) };
    let metadata = metadata(base, ours, theirs, (side, rest), now, random, wrap)?;
    if merged.conflicts.is_empty() && merged.ours.same_as(&own) && metadata == *ours.document().metadata() {
        return Ok(MergedFile {
            bytes: Plaintext::copy_of(ours.document().bytes()),
            conflicts: vec![],
            news: KeyNews::default(),
        });
    }
    let news = KeyNews::of(ours.document().metadata(), &metadata, rotated);
    let sealed = |from: &Opened<'_>, others: &[&Opened<'_>], metadata, text: &Plaintext, random: Random<'_>| {
        let tree = format::parse(text.expose(), format).map_err(SopsError::from)?;
        reseal_as(from, others, metadata, &tree, (tree.format, Indent::default()), now, random)
    };
    let out = sealed(side, &[rest], metadata, &merged.ours, random)?;
    let Some(alternative) = merged.theirs else { return Ok(MergedFile { bytes: out, conflicts: vec![], news }) };
    // Sealed from the first, so that only what conflicts differs, and the MAC.
    let document = super::parse(out.expose(), format)?;
    let key = DataKey::new(side.data_key().expose()).ok_or(SopsError::NotVerified)?;
    let opened = open_with_key(&document, key, MacPolicy::Verify)?;
    let alternative = sealed(&opened, &[side, rest], document.metadata().clone(), &alternative, random)?;
    let text = conflict_text(out.expose(), alternative.expose(), labels);
    Ok(MergedFile { bytes: Plaintext::new(text), conflicts: merged.conflicts, news })
}

pub(super) fn same_data_key(left: &Opened<'_>, right: &Opened<'_>) -> bool {
    left.data_key().expose().ct_eq(right.data_key().expose()).into()
}

/// What one side alone changed; `None` when both did, differently.
fn pick<'m, T: PartialEq>(base: Option<&'m T>, ours: &'m T, theirs: &'m T) -> Option<&'m T> {
    if ours == theirs || base == Some(theirs) {
        Some(ours)
    } else if base == Some(ours) {
        Some(theirs)
    } else {
        None
    }
}

fn metadata(
    base: Option<&Opened<'_>>,
    ours: &Opened<'_>,
    theirs: &Opened<'_>,
    (side, rest): (&Opened<'_>, &Opened<'_>),
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<Metadata, MergeError> {
    let [own, other, kept] = [ours, theirs, side].map(|side| side.document().metadata());
    let before = base.map(|base| base.document().metadata());
    let selector = |of: &Metadata| (of.selector.clone(), of.selector_is_written, of.mac_only_encrypted);
    let base_selector = before.map(selector);
    let (own_selector, other_selector) = (selector(own), selector(other));
    let chosen = pick(base_selector.as_ref(), &own_selector, &other_selector).ok_or(MergeError::Selector)?;
    let mut out = kept.clone();
    (out.selector, out.selector_is_written, out.mac_only_encrypted) = chosen.clone();

    let groups = groups(before.map(keys).as_deref(), &keys(own), &keys(other)).ok_or(MergeError::Groups)?;
    let thresholds = (before.map(|m| m.shamir_threshold), own.shamir_threshold, other.shamir_threshold);
    let threshold = *pick(thresholds.0.as_ref(), &thresholds.1, &thresholds.2).ok_or(MergeError::Groups)?;
    if same_groups(&groups, &keys(kept)) && threshold == kept.shamir_threshold {
        return Ok(out);
    }
    if let ([wanted], [have]) = (groups.as_slice(), kept.groups.as_slice()) {
        let lent: &[WrappedKey] = match rest.document().metadata().groups.as_slice() {
            [group] if same_data_key(side, rest) => group,
            _ => &[],
        };
        let find = |key: &KeyRef| have.iter().chain(lent).find(|known| same_key(&known.key, key)).cloned();
        let (known, missing): (Vec<_>, Vec<_>) = wanted.iter().map(|key| find(key).ok_or(key)).partition(Result::is_ok);
        let mut group: Vec<WrappedKey> = known.into_iter().flatten().collect();
        let missing: Vec<KeyRef> = missing.into_iter().filter_map(Result::err).cloned().collect();
        if !missing.is_empty() {
            let (made, _) = wrap_groups(side.data_key(), &[missing], 0, now, random, wrap)?;
            group.extend(made.into_iter().flatten());
        }
        out.groups = vec![group];
        return Ok(out);
    }
    (out.groups, out.shamir_threshold) = wrap_groups(side.data_key(), &groups, threshold, now, random, wrap)?;
    Ok(out)
}

fn keys(metadata: &Metadata) -> Vec<Vec<KeyRef>> {
    metadata.groups.iter().map(|group| group.iter().map(|key| key.key.clone()).collect()).collect()
}

fn has(group: &[KeyRef], key: &KeyRef) -> bool {
    group.iter().any(|other| same_key(other, key))
}

fn same_groups(left: &[Vec<KeyRef>], right: &[Vec<KeyRef>]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| a.len() == b.len() && a.iter().all(|key| has(b, key)))
}

/// The merged recipients; `None` when both sides changed the number of groups in different ways.
fn groups(base: Option<&[Vec<KeyRef>]>, ours: &[Vec<KeyRef>], theirs: &[Vec<KeyRef>]) -> Option<Vec<Vec<KeyRef>>> {
    if same_groups(ours, theirs) || base.is_some_and(|base| same_groups(base, theirs)) {
        return Some(ours.to_vec());
    }
    if base.is_some_and(|base| same_groups(base, ours)) {
        return Some(theirs.to_vec());
    }
    if ours.len() != theirs.len() || base.is_some_and(|base| base.len() != ours.len()) {
        return None;
    }
    let nothing = Vec::new();
    let merged = ours.iter().zip(theirs).enumerate().map(|(index, (own, other))| {
        let before = base.and_then(|base| base.get(index)).unwrap_or(&nothing);
        let stays = |key: &&KeyRef| !has(before, key) || has(other, key);
        let comes = |key: &&KeyRef| !has(own, key) && !has(before, key);
        own.iter().filter(stays).chain(other.iter().filter(comes)).cloned().collect()
    });
    Some(merged.collect())
}

#[cfg(test)]
mod tests;
