//! A certificate's subject as Go's `pkix.Name.String` writes it: the alias of a trust store's entry.

use std::fmt::Write as _;

use x509_parser::prelude::{AttributeTypeAndValue, X509Certificate};

use super::super::keys::der;

/// The attributes that have a name, in the order in which Go lists them, and whether only the last one counts.
const KNOWN: [(&str, &str, bool); 9] = [
    ("2.5.4.6", "C", false),
    ("2.5.4.10", "O", false),
    ("2.5.4.11", "OU", false),
    ("2.5.4.7", "L", false),
    ("2.5.4.8", "ST", false),
    ("2.5.4.9", "STREET", false),
    ("2.5.4.17", "POSTALCODE", false),
    ("2.5.4.3", "CN", true),
    ("2.5.4.5", "SERIALNUMBER", true),
];

/// The subject of a certificate; the sets of the name are written from the last to the first.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut sets = others(&certificate);
    for (oid, name, last_only) in KNOWN {
        let mut values: Vec<String> = certificate
            .subject()
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().to_id_string() == oid)
            .filter_map(text)
            .collect();
        if last_only {
            values = values.pop().filter(|value| !value.is_empty()).into_iter().collect();
        }
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| format!("{name}={}", escaped(value))).collect();
            sets.push(values.join("+"));
        }
    }
    sets.reverse();
    Some(sets.join(","))
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().map(str::to_owned).ok()
}

/// Attributes without a name are written as number and encoded value.
fn others(certificate: &X509Certificate<'_>) -> Vec<String> {
    let unknown = |attribute: &&AttributeTypeAndValue<'_>| {
        let oid = attribute.attr_type().to_id_string();
        KNOWN.iter().all(|(known, ..)| *known != oid)
    };
    let written = |attribute: &AttributeTypeAndValue<'_>| {
        let value = text(attribute)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
        let tag = if value.chars().all(plain) { 0x13 } else { 0x0c };
        let mut out = format!("{}=#", attribute.attr_type().to_id_string());
        der(tag, &[value.as_bytes()]).iter().for_each(|byte| {
            let _ = write!(out, "{byte:02x}");
        });
        Some(out)
    };
    certificate.subject().iter_attributes().filter(unknown).filter_map(written).collect()
}

fn escaped(value: &str) -> String {
    let last = value.char_indices().last().map_or(0, |(at, _)| at);
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        // Go compares the place of a blank with the length in bytes; a blank has one.
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || c == ' ' && (at == 0 || at == last)
            || c == '#' && at == 0
        {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
