//! `spec.template.data`: entries made from the opened values.
//!
//! The rules are those of v0.37 to v0.40: a template sees the opened values and the raw text of its sibling entries;
//! where both have a name, the opened value wins, in what templates see and in the Secret; `null` drops the name.

use std::collections::BTreeMap;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::Timestamp;

use super::unseal::EntryFailure;
use crate::pure::crd::sealed_secret::SecretTemplate;
use crate::pure::secret::{Plaintext, SecretData};
use crate::pure::template::kept::{Kept, Part};
use crate::pure::template::{Environment, Options, TemplateCache, Value};

/// The data of the Secret with what is random in it, or what failed in which entry. `now` is what the template function of
/// that name gives.
pub fn render(
    template: &SecretTemplate,
    mut data: SecretData,
    parsed: &TemplateCache,
    now: Timestamp,
) -> Result<(SecretData, Kept), BTreeMap<String, EntryFailure>> {
    let Some(entries) = &template.data else { return Ok((data, Kept::new([]))) };
    let all = context(entries, &data);
    let dot = Value::string_map(all.iter().map(|(name, value)| (name.to_owned(), value)));
    let mut kept = Kept::new(all.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose()]));
    // Random functions draw from the library's system generator, as the seal itself does (see `item`): templates that
    // use them give new output each time whatever the source is.
    let random = SystemRandom::new();
    let mut failed = false;
    let mut fill = |bytes: &mut [u8]| failed |= random.fill(bytes).is_err();
    let subsecond = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let mut environment = Environment::new((now.as_second(), subsecond), &mut fill);

    let mut rendered = SecretData::new();
    let mut failures = BTreeMap::new();
    for (name, text) in entries {
        let Some(text) = text else { continue };
        let value = parsed
            .parse(name, text, &Options::default())
            .and_then(|template| Ok((template.is_volatile(), template.render(&dot, &mut environment)?)))
            .map_err(|error| EntryFailure::Template(error.to_string()));
        match value {
            Ok((volatile, value)) if data.get(name).is_none() => {
                rendered.insert(name.as_str(), value);
                if volatile {
                    kept.add(Part::Data, name);
                }
            }
            // Not used, and yet attempted: the incumbent reports a broken template under a shadowed name too.
            Ok(_) => {}
            Err(failure) => drop(failures.insert(name.clone(), failure)),
        }
    }
    if failed {
        let failure = || EntryFailure::Template("no random bytes from the system".into());
        failures.extend(entries.keys().map(|name| (name.clone(), failure())));
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    for (name, text) in entries {
        if text.is_none() {
            data.remove(name);
        }
    }
    for (name, value) in rendered {
        data.insert(name, value);
    }
    Ok((data, kept))
}

/// What templates see: the opened values, and the raw text of entries that have no opened value.
fn context(entries: &BTreeMap<String, Option<String>>, data: &SecretData) -> SecretData {
    let mut all = data.duplicate();
    for (name, text) in entries {
        if let (Some(text), None) = (text, data.get(name)) {
            all.insert(name.as_str(), Plaintext::copy_of(text.as_bytes()));
        }
    }
    all
}
