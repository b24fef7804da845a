//! `spec.template.data`: entries made from the opened values.
//!
//! The rules are those of v0.37 to v0.40: a template sees the opened values and the raw text of its sibling entries;
//! where both have a name, the opened value wins, in what templates see and in the Secret; `null` drops the name.

use std::collections::BTreeMap;

use super::unseal::EntryFailure;
use crate::pure::crd::sealed_secret::SecretTemplate;
use crate::pure::secret::{Plaintext, SecretData};

/// The data of the Secret, or what failed in which entry.
pub fn render(template: &SecretTemplate, mut data: SecretData) -> Result<SecretData, BTreeMap<String, EntryFailure>> {
    let Some(entries) = &template.data else { return Ok(data) };
    let mut rendered = SecretData::new();
    let mut failures = BTreeMap::new();
    for (name, text) in entries {
        let Some(text) = text else { continue };
        match render_one(text) {
            Ok(value) if data.get(name).is_none() => drop(rendered.insert(name.as_str(), value)),
            // Not used, and yet attempted: the incumbent reports a broken template under a shadowed name too.
            Ok(_) => {}
            Err(failure) => drop(failures.insert(name.clone(), failure)),
        }
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
    Ok(data)
}

fn render_one(text: &str) -> Result<Plaintext, EntryFailure> {
    if text.contains("{{") {
        return Err(EntryFailure::Template("templates in spec.template.data are not supported yet".into()));
    }
    Ok(Plaintext::copy_of(text.as_bytes()))
}
