//! A mark that says: this Secret, at this version, is what this SealedSecret asks for.
//!
//! It stands in the status of the SealedSecret, so that a restart need not open again what it finds unchanged. Who can
//! write the status must not be able to pass a forged Secret off as ours, so the mark is keyed with something that only
//! holders of a sealing key have (docs/decisions/0010). It holds nothing secret: digests of what everybody can read.

use super::hints::Found;
use super::keys::{KeyFingerprint, SealingKeys};
use super::unseal::{object_key, object_scope};
use crate::pure::crd::sealed_secret::SealedSecret;
use crate::pure::limits;

/// First word of a mark. A program whose rules for making a Secret differ must not believe the marks of another one.
const RULES: &str = concat!("v1-", env!("CARGO_PKG_VERSION"));

/// What the mark of one SealedSecret covers beside the object itself.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// UID of the Secret.
    pub uid: &'a str,
    /// Version of the Secret: the API server changes it with every write.
    pub resource_version: &'a str,
    /// Settings that decide what is made of an object.
    pub settings: [bool; 2],
}

/// The mark after `found` opened the values of `object`. `None` without a key, or with more keys than a mark may name.
pub fn make(object: &SealedSecret, covered: Covered<'_>, found: &[Found], keys: &SealingKeys) -> Option<String> {
    let mut used: Vec<&KeyFingerprint> = found.iter().map(|found| &found.key).collect();
    used.sort();
    used.dedup();
    if used.len() > limits::SEALED_MARK_KEYS {
        return None;
    }
    let used = used.iter().map(|key| &***key).collect::<Vec<_>>().join(",");
    let by = keys.current().or_else(|| keys.active().next())?;
    let digest = digest(object, covered, &used, by)?;
    Some(format!("{RULES} {} {digest} {used}", by.fingerprint()))
}

/// Whether `mark` was made by a holder of these keys for exactly this object and Secret, and every key that opened a value
/// is still in use.
pub fn holds(mark: &str, object: &SealedSecret, covered: Covered<'_>, keys: &SealingKeys) -> bool {
    let mut words = mark.splitn(4, ' ');
    let (Some(RULES), Some(by), Some(said), Some(used)) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let active = |fingerprint: &str| keys.by_fingerprint(fingerprint).is_some();
    let Some(by) = keys.by_fingerprint(by) else { return false };
    used.split(',').filter(|key| !key.is_empty()).all(active)
        && digest(object, covered, used, by).is_some_and(|digest| same(digest.as_bytes(), said.as_bytes()))
}

/// The one key that opened every value, where a mark that holds names one only: as good as having opened them.
pub fn opened_by<'a>(mark: &str, keys: &'a SealingKeys) -> Option<&'a KeyFingerprint> {
    let used = mark.splitn(4, ' ').nth(3)?;
    keys.by_fingerprint(used).map(|key| key.fingerprint())
}

fn digest(object: &SealedSecret, covered: Covered<'_>, used: &str, by: &super::keys::SealingKey) -> Option<String> {
    let key = object_key(object);
    let spec = serde_json::to_vec(&object.spec).ok()?;
    let scope = object_scope(object).to_string();
    let settings = covered.settings.map(u8::from);
    let uid = object.metadata.uid.as_deref()?;
    let parts: [&[u8]; 10] = [
        RULES.as_bytes(),
        uid.as_bytes(),
        key.namespace.as_bytes(),
        key.name.as_bytes(),
        scope.as_bytes(),
        &spec,
        covered.uid.as_bytes(),
        covered.resource_version.as_bytes(),
        &settings,
        used.as_bytes(),
    ];
    Some(by.marks().digest(parts).to_string())
}

/// Compares without telling by its time where two texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
