//! Templates that were parsed once. One cache belongs to one operator; it is handed to what renders, not a global.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::{Options, Template, TemplateError};
use crate::pure::limits;

/// What a parsed template is charged for each byte of its text, and for itself: trees are larger than what they are read
/// from.
const CHARGE: (usize, usize) = (24, 1024);

/// Parsed templates by name, text and options. Bounded by [`limits::TEMPLATE_CACHE_BYTES`]: when the younger half is full,
/// the older half is dropped. Not for the text of a Secret, which must not outlive its use.
#[derive(Clone, Default)]
pub struct TemplateCache(Arc<Mutex<Known>>);

type Parsed = HashMap<[u8; 32], Template>;

#[derive(Default)]
struct Known {
    young: Parsed,
    old: Parsed,
    /// Charge of the younger half.
    bytes: usize,
}

impl TemplateCache {
    /// As [`Template::parse`], or what that gave before for the same arguments. Failures are not kept.
    pub fn parse(&self, name: &str, text: &str, options: &Options) -> Result<Template, TemplateError> {
        let key = digest(name, text, options);
        if let Some(known) = self.known(|known| known.get(&key, text)) {
            return Ok(known);
        }
        // Outside the lock: parsing a long text takes milliseconds.
        let parsed = Template::parse(name, text, options)?;
        self.known(|known| known.put(key, text, &parsed));
        Ok(parsed)
    }

    fn known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn get(&mut self, key: &[u8; 32], text: &str) -> Option<Template> {
        if let Some(parsed) = self.young.get(key) {
            return Some(parsed.clone());
        }
        // What is used stays young.
        let parsed = self.old.remove(key)?;
        self.put(*key, text, &parsed);
        Some(parsed)
    }

    fn put(&mut self, key: [u8; 32], text: &str, parsed: &Template) {
        let charge = CHARGE.1 + CHARGE.0 * text.len();
        let half = limits::TEMPLATE_CACHE_BYTES / 2;
        if charge > half {
            return;
        }
        if self.bytes + charge > half {
            (self.old, self.bytes) = (std::mem::take(&mut self.young), 0);
        }
        if self.young.insert(key, parsed.clone()).is_none() {
            self.bytes += charge;
        }
    }
}

fn digest(name: &str, text: &str, options: &Options) -> [u8; 32] {
    let Options { flavour, left, right, missing_key } = options;
    let mut hash = Sha256::new();
    hash.update([*flavour as u8, *missing_key as u8]);
    for part in [name, text, left, right] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::{Flavour, MissingKey};
    use super::*;

    fn same(left: &Template, right: &Template) -> bool {
        Arc::ptr_eq(&left.0, &right.0)
    }

    #[test]
    fn the_same_arguments_give_the_same_template_and_others_do_not() {
        let cache = TemplateCache::default();
        let plain = Options::default();
        let first = cache.parse("n", "{{ .a }}", &plain).unwrap();
        assert!(same(&first, &cache.parse("n", "{{ .a }}", &plain).unwrap()));
        let external = Options { flavour: Flavour::External, ..Options::default() };
        let strict = Options { missing_key: MissingKey::Error, ..Options::default() };
        let delimited = Options { left: "<<".into(), right: ">>".into(), ..Options::default() };
        for (name, text, options) in [
            ("m", "{{ .a }}", &plain),
            ("n", "{{ .b }}", &plain),
            ("n", "{{ .a }}", &external),
            ("n", "{{ .a }}", &strict),
        ] {
            assert!(!same(&first, &cache.parse(name, text, options).unwrap()), "{name} {text} {options:?}");
        }
        let literal = cache.parse("n", "{{ .a }}", &delimited).unwrap();
        assert!(!same(&first, &literal));
        assert!(cache.parse("n", "{{ broken", &plain).is_err());
        assert!(cache.parse("n", "{{ broken", &plain).is_err(), "a failure stays one");
    }

    #[test]
    fn what_is_not_used_goes_and_what_is_used_stays() {
        let cache = TemplateCache::default();
        let options = Options::default();
        let used = cache.parse("used", "{{ .a }}", &options).unwrap();
        let unused = cache.parse("unused", "{{ .a }}", &options).unwrap();
        let text = "x".repeat(limits::TEMPLATE_CACHE_BYTES / 2 / CHARGE.0 / 4);
        for n in 0..20 {
            cache.parse(&format!("{n}"), &text, &options).unwrap();
            assert!(same(&used, &cache.parse("used", "{{ .a }}", &options).unwrap()), "{n}");
        }
        assert!(!same(&unused, &cache.parse("unused", "{{ .a }}", &options).unwrap()));
        let kept = cache.known(|known| known.young.len() + known.old.len());
        assert!(kept < 12, "{kept} are kept");
    }
}
