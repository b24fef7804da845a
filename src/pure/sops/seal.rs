//! Sealing: a plain file becomes a SOPS file in which only the selected values are ciphertext and everything else stays
//! byte for byte; and the changes of sealed files that need no new look at the values.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::block;
use super::cipher::{Cipher, CipherError, NONCE_BYTES};
use super::error::{SopsError, WrapFailure};
use super::metadata::{self, Metadata};
use super::open::{Mac, MacPolicy, Opened, open_with_key, shown_elsewhere};
use super::selector::Selector;
use super::walk::{CommentLeaf, Leaf, Place, Visit, unwritable, walk};
use super::{Document, carrier, check, ini_comments, value};
use crate::pure::format::{
    self, Branch, Comment, Entry, Format, FormatError, Indent, Item, Scalar, Tree, Value, splice,
};
use crate::pure::keys::{DATA_KEY_BYTES, DataKey, KeyError, KeyRef, LocalKeys, Wrapped, WrappedKey, shamir};
use crate::pure::secret::Plaintext;

mod known;

use known::{Known, Seen};

/// The version that files of ours claim: the newest whose layout they follow.
pub const CLAIMED_VERSION: &str = "3.13.3";

/// Fills a buffer with random bytes fit for keys. Randomness is an argument of the pure floor.
pub type Random<'r> = &'r mut dyn FnMut(&mut [u8]);

/// Wraps data keys or shares, each to one key: all that a file needs in one call, so that services can be asked at the
/// same time. One answer for each, in their order.
pub type Wrap<'w> = &'w mut dyn FnMut(&[(&KeyRef, &Plaintext)]) -> Vec<Wrapped>;

/// How a file is to be sealed: what a creation rule or the command line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Key groups; with more than one, each wraps a share.
    pub groups: Vec<Vec<KeyRef>>,
    /// Groups needed to open; 0 for all.
    pub shamir_threshold: usize,
    /// What is encrypted; `None` for SOPS' default.
    pub selector: Option<Selector>,
    /// Hash only what is encrypted.
    pub mac_only_encrypted: bool,
    /// Layout of what is printed anew.
    pub indent: Indent,
}

impl Plan {
    /// One group, everything encrypted.
    pub fn for_keys(keys: Vec<KeyRef>) -> Self {
        Self {
            groups: vec![keys],
            shamir_threshold: 0,
            selector: None,
            mac_only_encrypted: false,
            indent: Indent::default(),
        }
    }
}

/// Wraps with what needs no key service.
pub fn wrap_local(local: &dyn LocalKeys) -> impl FnMut(&[(&KeyRef, &Plaintext)]) -> Vec<Wrapped> {
    let one = |key: &KeyRef, secret: &Plaintext| {
        local.wrap(key, secret).unwrap_or(Err(KeyError::Unsupported { kind: key.kind() }))
    };
    move |wanted| wanted.iter().map(|(key, secret)| one(key, secret)).collect()
}

/// No other sops reads YAML with a tab in the place of blanks, or with something under a merge key that is no map.
fn check_readable(plain: &Tree) -> Result<(), SopsError> {
    if plain.format != Format::Yaml {
        return Ok(());
    }
    let tab = || format::misplaced_tab(plain).map(|line| (line, "a tab stands where only blanks may"));
    let merge = || {
        let line = format::misused_merge_key(plain)?;
        Some((line, "only a map or a list of maps can stand under the merge key <<"))
    };
    match tab().or_else(merge) {
        None => Ok(()),
        Some((line, what)) => Err(FormatError::Syntax { format: Format::Yaml, line, what: what.to_owned() }.into()),
    }
}

/// Seals a plain file. `now` is RFC 3339 in seconds, UTC. When the target is the source's format, only selected values
/// and comments change, and the `sops` block is added; another target is printed anew.
///
/// # Errors
/// A file that is sealed already, no or unusable recipients, values or comments that cannot be encrypted or written.
/// What was written is opened again and compared; a difference is an error and never a file.
pub fn seal(
    plain: &Tree,
    target: Format,
    plan: &Plan,
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<Plaintext, SopsError> {
    check(plain)?;
    check_readable(plain)?;
    // What another format than that of the plaintext reserves is reserved as well.
    let is_reserved = |item: &Item| metadata::is_metadata(item, plain.format) || metadata::is_metadata(item, target);
    for item in plain.branches.iter().flat_map(|branch| &branch.items) {
        if let (true, Item::Entry(entry)) = (is_reserved(item), item) {
            return Err(SopsError::AlreadyEncrypted { entry: entry.key.clone() });
        }
    }
    let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES]);
    random(bytes.as_mut_slice());
    let key = DataKey::new(bytes.as_slice()).ok_or(SopsError::NoRecipients)?;
    let (groups, shamir_threshold) = wrap_groups(&key, &plan.groups, plan.shamir_threshold, now, random, wrap)?;
    let is_one_value = plain.format == Format::Binary;
    let mut metadata = Metadata {
        groups,
        shamir_threshold,
        last_modified: now.to_owned(),
        mac: String::new(),
        // Selectors mean nothing for one value: SOPS ignores them and leaves the default out there.
        selector_is_written: !is_one_value,
        selector: plan.selector.clone().filter(|_| !is_one_value).unwrap_or_default(),
        mac_only_encrypted: plan.mac_only_encrypted && !is_one_value,
        version: CLAIMED_VERSION.to_owned(),
    };
    let cipher = Cipher::new(&key);
    let mut sealer = Sealer::new(&cipher, &metadata, random);
    let shown = shown_elsewhere(&plain.branches, plain.format, target);
    let joined = ini_comments::joined(plain, target, &metadata.selector, &[]);
    let meant = shown.as_deref().or(joined.as_deref()).unwrap_or(&plain.branches);
    let branches = walk(meant, plain.source.expose(), plain.format, &metadata.selector, &mut sealer)?;
    metadata.mac = sealer.finish(&metadata)?;
    let out = write(plain, &branches, target, plan.indent, |_| Ok(metadata.clone()), None)?;
    // What is read for the comparison takes their memory.
    drop(branches);
    verify(&out, target, key, &plain.branches, plain.format)?;
    Ok(out)
}

/// Seals an edited plaintext of an opened file again, under the same data key: what did not change keeps its ciphertext
/// bytes, and the `sops` block keeps everything but the MAC and the time.
pub fn reseal(opened: &Opened<'_>, plain: &Tree, now: &str, random: Random<'_>) -> Result<Plaintext, SopsError> {
    let document = opened.document();
    reseal_as(opened, &[], document.metadata.clone(), plain, (document.format, Indent::default()), now, random)
}

/// [`reseal`] into another format: the file is printed anew, with the data key and the recipients that it has.
pub fn reseal_to(
    opened: &Opened<'_>,
    plain: &Tree,
    target: (Format, Indent),
    now: &str,
    random: Random<'_>,
) -> Result<Plaintext, SopsError> {
    reseal_as(opened, &[], opened.document().metadata.clone(), plain, target, now, random)
}

/// [`reseal`] with another block around the same data key, and with the ciphertext of `others` where they have the key.
pub(super) fn reseal_as(
    opened: &Opened<'_>,
    others: &[&Opened<'_>],
    mut metadata: Metadata,
    plain: &Tree,
    (target, indent): (Format, Indent),
    now: &str,
    random: Random<'_>,
) -> Result<Plaintext, SopsError> {
    check(plain)?;
    check_readable(plain)?;
    let document = opened.document();
    let is_reserved = |item: &Item| metadata::is_metadata(item, plain.format) || metadata::is_metadata(item, target);
    for item in plain.branches.iter().flat_map(|branch| &branch.items) {
        if let (true, Item::Entry(entry)) = (is_reserved(item), item) {
            return Err(SopsError::AlreadyEncrypted { entry: entry.key.clone() });
        }
    }
    let same_block = metadata == document.metadata;
    metadata.last_modified = now.to_owned();
    let cipher = Cipher::new(opened.data_key());
    let joined = ini_comments::joined(plain, target, &metadata.selector, opened.branches());
    let meant = joined.as_deref().unwrap_or(&plain.branches);
    let mut known = Known::of(opened, &cipher, plain, meant)?;
    for other in others.iter().filter(|other| super::merge::same_data_key(opened, other)) {
        known.add(other, &cipher)?;
    }
    let mut sealer = Sealer::new(&cipher, &metadata, random);
    sealer.known = known;
    let branches = walk(meant, plain.source.expose(), plain.format, &metadata.selector, &mut sealer)?;
    metadata.mac = sealer.finish(&metadata)?;
    let old = (same_block && target == document.format).then_some(document);
    let out = write(plain, &branches, target, indent, |_| Ok(metadata.clone()), old)?;
    drop(branches);
    let key = DataKey::new(opened.data_key().expose()).ok_or(SopsError::NotVerified)?;
    verify(&out, target, key, &plain.branches, plain.format)?;
    Ok(out)
}

/// Wraps the data key of an opened file to other recipients. Values, MAC and time stay as they are.
pub fn rewrap(
    document: &Document,
    key: &DataKey,
    groups: &[Vec<KeyRef>],
    shamir_threshold: usize,
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<Plaintext, SopsError> {
    let (groups, shamir_threshold) = wrap_groups(key, groups, shamir_threshold, now, random, wrap)?;
    let metadata = Metadata { groups, shamir_threshold, ..document.metadata.clone() };
    let out = replace_block(document, &metadata, Vec::new())?;
    let key = DataKey::new(key.expose()).ok_or(SopsError::NotVerified)?;
    open_with_key(&super::parse(out.expose(), document.format)?, key, MacPolicy::Verify)?;
    Ok(out)
}

/// Gives an opened file a new data key: every ciphertext is made anew at its place, and the new key is wrapped to
/// `groups`.
pub fn rotate(
    opened: &Opened<'_>,
    groups: &[Vec<KeyRef>],
    shamir_threshold: usize,
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<Plaintext, SopsError> {
    let document = opened.document();
    let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES]);
    random(bytes.as_mut_slice());
    let key = DataKey::new(bytes.as_slice()).ok_or(SopsError::NoRecipients)?;
    let (groups, shamir_threshold) = wrap_groups(&key, groups, shamir_threshold, now, random, wrap)?;
    let mut metadata =
        Metadata { groups, shamir_threshold, last_modified: now.to_owned(), ..document.metadata.clone() };
    let (old, new) = (Cipher::new(opened.data_key()), Cipher::new(&key));
    let mut rotator = Rotator { old: &old, sealer: Sealer::new(&new, &metadata, random) };
    let tree = &document.tree;
    let source = tree.source.expose();
    let branches = walk(&tree.branches, source, tree.format, &metadata.selector, &mut rotator)?;
    metadata.mac = rotator.sealer.finish(&metadata)?;
    let edits = branches
        .iter()
        .map(|branch| splice::changes(branch, source, tree.format, splice::Aliases::Keep))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unwritable(error, source, tree.format))?;
    let out = replace_block(document, &metadata, edits)?;
    let parsed = super::parse(out.expose(), document.format)?;
    let again = open_with_key(&parsed, key, MacPolicy::Verify)?;
    if !same_values(again.branches(), opened.branches()) {
        return Err(SopsError::NotVerified);
    }
    Ok(out)
}

/// The document with another block, and with `edits` per branch.
fn replace_block(
    document: &Document,
    metadata: &Metadata,
    mut edits: Vec<Vec<splice::Edit>>,
) -> Result<Plaintext, SopsError> {
    let tree = &document.tree;
    let source = tree.source.expose();
    edits.resize_with(tree.branches.len(), Vec::new);
    let mut out = Vec::new();
    for (index, (branch, mut edits)) in tree.branches.iter().zip(edits).enumerate() {
        // Later documents of a stream may lack the block, and then need none.
        let has_block = branch.items.iter().any(|item| metadata::is_metadata(item, tree.format));
        if has_block || index == 0 {
            edits.extend(block::edits(metadata, source, branch, tree.format, Indent::default())?);
        }
        out.extend_from_slice(splice::apply(source, branch.span.clone(), edits).expose());
    }
    Ok(Plaintext::new(out))
}

/// Whether a file can have these groups, before anything is wrapped; the threshold that it then gets, which is 0 with one
/// group.
///
/// # Errors
/// No group, an empty one, a threshold that does not lie between 2 and their number.
pub fn check_groups(groups: &[Vec<KeyRef>], threshold: usize) -> Result<usize, SopsError> {
    match (groups.len(), groups.iter().position(Vec::is_empty)) {
        (0, _) | (1, Some(_)) => Err(SopsError::NoRecipients),
        (_, Some(group)) => Err(SopsError::EmptyGroup { group }),
        (1, None) => Ok(0),
        (count, None) => match if threshold == 0 { count } else { threshold } {
            threshold if (2..=count).contains(&threshold) => Ok(threshold),
            threshold => Err(SopsError::Threshold { threshold, groups: count }),
        },
    }
}

/// Wraps the key to every group. Every single key must succeed: a file with a broken key would be found out too late.
pub(super) fn wrap_groups(
    key: &DataKey,
    groups: &[Vec<KeyRef>],
    threshold: usize,
    now: &str,
    random: Random<'_>,
    wrap: Wrap<'_>,
) -> Result<(Vec<Vec<WrappedKey>>, usize), SopsError> {
    let threshold = check_groups(groups, threshold)?;
    let shares = if groups.len() == 1 {
        vec![Plaintext::copy_of(key.expose())]
    } else {
        let fits = SopsError::Threshold { threshold, groups: groups.len() };
        let mut coefficients = Zeroizing::new(vec![0; shamir::random_bytes_needed(DATA_KEY_BYTES, threshold)]);
        random(&mut coefficients);
        shamir::split(key.expose(), groups.len(), threshold, &coefficients).map_err(|_| fits)?
    };
    let wanted: Vec<(&KeyRef, &Plaintext)> =
        groups.iter().zip(&shares).flat_map(|(group, share)| group.iter().map(move |key| (key, share))).collect();
    let mut answers = wrap(&wanted).into_iter();
    let mut failures = Vec::new();
    let mut wrapped = Vec::with_capacity(groups.len());
    for group in groups {
        let mut keys = Vec::with_capacity(group.len());
        for key in group {
            match answers.next().unwrap_or(Err(KeyError::Unsupported { kind: key.kind() })) {
                Ok(enc) => {
                    let created_at = (!matches!(key, KeyRef::Age { .. })).then(|| now.to_owned());
                    keys.push(WrappedKey { key: key.clone(), enc, created_at });
                }
                Err(error) => failures.push(WrapFailure { key: key.clone(), error }),
            }
        }
        wrapped.push(keys);
    }
    if !failures.is_empty() {
        return Err(SopsError::Wrap { failures });
    }
    Ok((wrapped, threshold))
}

struct Sealer<'s> {
    cipher: &'s Cipher,
    mac: Mac,
    selector: Selector,
    random: Random<'s>,
    known: Known,
}

impl<'s> Sealer<'s> {
    fn new(cipher: &'s Cipher, metadata: &Metadata, random: Random<'s>) -> Self {
        let mac = Mac::new(metadata.mac_only_encrypted);
        Self { cipher, mac, selector: metadata.selector.clone(), random, known: Known::default() }
    }

    fn encrypt(&mut self, bytes: &[u8], kind: &str, aad: &str) -> Result<Seen, SopsError> {
        if let Some(seen) = self.known.take(aad, kind, bytes) {
            return Ok(seen);
        }
        let mut nonce = [0; NONCE_BYTES];
        (self.random)(&mut nonce);
        let text = self.cipher.seal_text(bytes, kind, aad, nonce).ok_or(SopsError::NotVerified)?;
        Ok(Seen { text, element: false })
    }

    /// The encrypted MAC.
    fn finish(self, metadata: &Metadata) -> Result<String, SopsError> {
        let Self { cipher, mac, random, .. } = self;
        let aad = metadata.mac_aad().ok_or(SopsError::NotVerified)?;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce);
        cipher.seal_text(mac.text().as_bytes(), "str", &aad, nonce).ok_or(SopsError::NotVerified)
    }
}

impl Visit for Sealer<'_> {
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
        if matches!(scalar, Scalar::Unsigned(_)) {
            return Err(SopsError::NumberRange { entry: place.entry(), line: place.line() });
        }
        let Some((kind, bytes)) = value::to_bytes(scalar) else { return Ok(Leaf::Same) };
        self.mac.add(bytes.expose(), place.encrypted);
        if !place.encrypted || bytes.expose().is_empty() {
            return Ok(Leaf::Same);
        }
        Ok(Leaf::Changed(Scalar::text(self.encrypt(bytes.expose(), kind, &place.aad())?.text)))
    }

    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
        // An encrypted empty text is one that SOPS itself cannot read back.
        if !place.encrypted || comment.text.is_empty() {
            return Ok(None);
        }
        // SOPS makes the comments of a list its elements; a comment in place is read by every version, too, and leaves
        // the list as long as it is.
        let Seen { text, element } = self.encrypt(comment.text.expose(), "comment", &place.aad())?;
        if let Selector::UnencryptedCommentRegex(pattern) = &self.selector
            && pattern.is_match(text.as_bytes())
        {
            return Err(SopsError::CommentMatches);
        }
        Ok(Some(CommentLeaf { text: Plaintext::from(text), element }))
    }
}

/// Decrypts with the old key and encrypts with the new one, in place.
struct Rotator<'r> {
    old: &'r Cipher,
    sealer: Sealer<'r>,
}

impl Visit for Rotator<'_> {
    fn scalar(&mut self, scalar: &Scalar, place: &Place<'_>) -> Result<Leaf, SopsError> {
        let text = match scalar {
            Scalar::Text(text) if place.encrypted && !text.is_empty() => text,
            _ => return self.sealer.scalar(scalar, place),
        };
        let damaged = || SopsError::Damaged { entry: place.entry(), line: place.line() };
        let (bytes, kind) = self.old.open_text(text.expose(), &place.aad()).map_err(|_| damaged())?;
        if kind != "comment" {
            // Through the type, as on opening: the hash covers the canonical text of a number.
            let opened = value::from_bytes(kind, bytes.duplicate()).ok_or_else(damaged)?;
            if let Some((_, canonical)) = value::to_bytes(&opened) {
                self.sealer.mac.add(canonical.expose(), true);
            }
        }
        Ok(Leaf::Changed(Scalar::text(self.sealer.encrypt(bytes.expose(), kind, &place.aad())?.text)))
    }

    fn comment(&mut self, comment: &Comment, place: &Place<'_>) -> Result<Option<CommentLeaf>, SopsError> {
        if !place.encrypted {
            return Ok(None);
        }
        let text = comment.text.expose().trim_ascii_start();
        for aad in place.comment_aads() {
            match self.old.open_text(text, &aad) {
                Ok((bytes, kind)) => {
                    let text = Plaintext::from(self.sealer.encrypt(bytes.expose(), kind, &aad)?.text);
                    return Ok(Some(CommentLeaf { text, element: false }));
                }
                Err(CipherError::NotEncrypted) => return Ok(None),
                Err(CipherError::Damaged) => {}
            }
        }
        Ok(None)
    }
}

/// The sealed file: spliced into the source when the format stays, printed otherwise.
pub(super) fn write(
    plain: &Tree,
    sealed: &[Branch],
    target: Format,
    indent: Indent,
    metadata: impl Fn(usize) -> Result<Metadata, SopsError>,
    old: Option<&Document>,
) -> Result<Plaintext, SopsError> {
    let out_format = carrier(target);
    if target != Format::Yaml && sealed.len() > 1 {
        return Err(SopsError::OneDocument { target, documents: sealed.len() });
    }
    if plain.format != target || target == Format::Binary {
        let metadata = metadata(0)?;
        let printed: Vec<Branch> = sealed
            .iter()
            .map(|branch| {
                let mut items: Vec<Item> = branch.items.iter().map(format::duplicate_item).collect();
                items.extend(block::items(&metadata, out_format));
                Branch::of_items(branch.span.clone(), items)
            })
            .collect();
        let indent = match target {
            Format::Binary => Indent { json: indent.json_binary, ..indent },
            _ => indent,
        };
        return Ok(format::emit_with(&printed, out_format, indent)?);
    }
    let source = plain.source.expose();
    let mut out = Zeroizing::new(Vec::with_capacity(source.len() * 2));
    for (index, (branch, original)) in sealed.iter().zip(&plain.branches).enumerate() {
        let mut edits = splice::changes(branch, source, plain.format, splice::Aliases::Expand)
            .map_err(|error| unwritable(error, source, plain.format))?;
        let metadata = metadata(index)?;
        let patched = old.and_then(|old| block::patched(old, index, block::is_in_braces(original), &metadata));
        edits.extend(match patched {
            Some(text) => block::append(source, original, plain.format, &text),
            None => block::edits(&metadata, source, original, plain.format, indent)?,
        });
        out.extend_from_slice(splice::apply(source, original.span.clone(), edits).expose());
    }
    Ok(Plaintext::new(std::mem::take(&mut *out)))
}

/// Opens what was written and compares it with what was meant.
fn verify(out: &Plaintext, target: Format, key: DataKey, meant: &[Branch], source: Format) -> Result<(), SopsError> {
    let document = super::parse(out.expose(), target)?;
    let opened = open_with_key(&document, key, MacPolicy::Verify)?;
    // Another format may have no types for clear values; then the MAC, which covers every value, decides alone.
    if source == target && !same_values(opened.branches(), meant) {
        return Err(SopsError::NotVerified);
    }
    Ok(())
}

/// Same names, types and values in the same order; comments do not count.
fn same_values(left: &[Branch], right: &[Branch]) -> bool {
    fn items(left: &[Item], right: &[Item]) -> bool {
        let solid = |item: &&Item| !matches!(item, Item::Comment(_));
        left.iter().filter(solid).count() == right.iter().filter(solid).count()
            && left.iter().filter(solid).zip(right.iter().filter(solid)).all(|pair| match pair {
                (Item::Entry(Entry { key: a, value: x, .. }), Item::Entry(Entry { key: b, value: y, .. })) => {
                    a == b && same(&x.value, &y.value)
                }
                (Item::Element(x), Item::Element(y)) => same(&x.value.value, &y.value.value),
                _ => false,
            })
    }
    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Map(a), Value::Map(b)) | (Value::List(a), Value::List(b)) => items(a, b),
            (Value::Scalar(a), Value::Scalar(b)) => match (value::to_bytes(a), value::to_bytes(b)) {
                (None, None) => true,
                (Some((_, x)), Some((_, y))) => x.expose().ct_eq(y.expose()).into(),
                _ => false,
            },
            _ => false,
        }
    }
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| items(&a.items, &b.items))
}

#[cfg(test)]
mod tests;
