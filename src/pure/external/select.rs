//! From what a store answered to entries: properties, maps, names, decoding. Each store's own rules are here, since
//! they are part of what a manifest means.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;
use zeroize::Zeroizing;

use super::error::ExternalError;
use super::json::{self, Kind};
use super::{Dialect, gjson};
use crate::pure::crd::external_secret::{ConversionStrategy, DecodingStrategy, NullBytePolicy};
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

/// What a property led to.
pub(super) enum Property {
    Found(Plaintext),
    Missing,
    Unsupported,
}

/// One property of a document, by the rules of its store:
/// - Vault and OpenBao: a field of that very name, else a path;
/// - AWS: a field of that very name where it holds dots, else a path;
/// - fake: a path.
pub(super) fn property(dialect: Dialect, document: &Plaintext, property: &str) -> Property {
    let Some(text) = document.expose_str() else { return Property::Missing };
    if dialect == Dialect::Vault
        && let Some(json::Node { kind: Kind::Object(fields), .. }) = json::parse(text)
        && let Some((_, value)) = fields.iter().find(|(name, _)| name == property)
    {
        return Property::Found(plain(gjson::value_text(value)));
    }
    if dialect == Dialect::Aws && property.contains('.') {
        match gjson::lookup(text, &property.replace('.', "\\.")) {
            Ok(Some(value)) => return Property::Found(plain(value)),
            Ok(None) => {}
            Err(gjson::Unsupported) => return Property::Unsupported,
        }
    }
    match gjson::lookup(text, property) {
        Ok(Some(value)) => Property::Found(plain(value)),
        Ok(None) => Property::Missing,
        Err(gjson::Unsupported) => Property::Unsupported,
    }
}

/// The fields of a document that is a JSON object: strings unquoted, all else as JSON. Vault's null is empty and its
/// numbers are printed without exponent. `None` when the document is something else.
pub(super) fn fields(dialect: Dialect, document: &Plaintext) -> Option<SecretData> {
    let node = json::parse(document.expose_str()?)?;
    let Kind::Object(fields) = &node.kind else { return None };
    let value = |node: &json::Node<'_>| match (dialect, &node.kind) {
        (_, Kind::String) | (Dialect::Vault, _) => plain(gjson::value_text(node)),
        _ => Plaintext::copy_of(node.raw.as_bytes()),
    };
    Some(fields.iter().map(|(name, node)| (name.clone(), value(node))).collect())
}

fn plain(mut text: Zeroizing<String>) -> Plaintext {
    Plaintext::from(std::mem::take(&mut *text))
}

/// Go's decoders ignore line breaks, want padding and do not look at trailing bits.
const GO_BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
    .with_decode_allow_trailing_bits(true);

fn base64(bytes: &[u8], alphabet: &alphabet::Alphabet) -> Option<Plaintext> {
    let joined: Zeroizing<Vec<u8>> =
        Zeroizing::new(bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect());
    GeneralPurpose::new(alphabet, GO_BASE64).decode(&*joined).ok().map(Plaintext::new)
}

/// One value, decoded. The name of the encoding when it is not that.
pub(super) fn decode(strategy: DecodingStrategy, value: Plaintext) -> Result<Plaintext, &'static str> {
    match strategy {
        DecodingStrategy::None => Ok(value),
        DecodingStrategy::Base64 => base64(value.expose(), &alphabet::STANDARD).ok_or("base64"),
        DecodingStrategy::Base64Url => base64(value.expose(), &alphabet::URL_SAFE).ok_or("URL-safe base64"),
        DecodingStrategy::Auto => Ok(base64(value.expose(), &alphabet::STANDARD)
            .or_else(|| base64(value.expose(), &alphabet::URL_SAFE))
            .unwrap_or(value)),
    }
}

/// Decodes one entry and applies the zero-byte policy.
pub(super) fn finish(
    place: &str,
    entry: &str,
    value: Plaintext,
    strategy: Option<DecodingStrategy>,
    null_bytes: Option<NullBytePolicy>,
) -> Result<Plaintext, ExternalError> {
    let value = decode(strategy.unwrap_or_default(), value).map_err(|encoding| ExternalError::Decode {
        place: place.to_owned(),
        entry: entry.to_owned(),
        encoding,
    })?;
    if null_bytes == Some(NullBytePolicy::Fail) && value.expose().contains(&0) {
        return Err(ExternalError::NullByte { place: place.to_owned(), entry: entry.to_owned() });
    }
    Ok(value)
}

/// Letters and numbers in Go's sense: general categories L and N. `None` never happens: the pattern is constant.
static LETTER_OR_NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}]$").ok());

fn allowed(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    }
    LETTER_OR_NUMBER.as_ref().is_some_and(|regex| regex.is_match(c.encode_utf8(&mut [0; 4])))
}

/// Replaces what no name of an entry can hold. Two names that become one are an error.
pub(super) fn convert_names(
    place: &str,
    strategy: ConversionStrategy,
    data: SecretData,
) -> Result<SecretData, ExternalError> {
    let mut out = SecretData::new();
    for (name, value) in data {
        let mut converted = String::with_capacity(name.len());
        for c in name.chars() {
            match strategy {
                _ if allowed(c) => converted.push(c),
                ConversionStrategy::Default => converted.push('_'),
                ConversionStrategy::Unicode => converted.push_str(&format!("_U{:04x}_", c as u32)),
            }
        }
        if out.get(&converted).is_some() {
            return Err(ExternalError::Collision { place: place.to_owned(), entry: converted });
        }
        out.insert(converted, value);
    }
    Ok(out)
}

/// Drops empty names, refuses those that are too long or hold other characters. Letters of other scripts pass here and
/// are refused by the guards, as the API server would.
pub(super) fn check_names(place: &str, data: SecretData) -> Result<SecretData, ExternalError> {
    let mut out = SecretData::new();
    for (name, value) in data {
        if name.len() > limits::ENTRY_NAME_BYTES || !name.chars().all(allowed) {
            let entry = crate::pure::error::clip(&name, limits::ENTRY_NAME_BYTES);
            return Err(ExternalError::EntryName { place: place.to_owned(), entry });
        }
        if !name.is_empty() {
            out.insert(name, value);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(property: Property) -> Option<String> {
        match property {
            Property::Found(value) => value.expose_str().map(str::to_owned),
            Property::Missing => None,
            Property::Unsupported => Some("unsupported".into()),
        }
    }

    #[test]
    fn each_store_has_its_own_rule_for_properties() {
        let document = Plaintext::from(r#"{"a.b":"exact","a":{"b":"path"},"k*":"star","kx":"x"}"#.to_owned());
        for (dialect, name, want) in [
            (Dialect::Vault, "a.b", Some("exact")),
            (Dialect::Aws, "a.b", Some("exact")),
            (Dialect::Fake, "a.b", Some("path")),
            (Dialect::Vault, "k*", Some("star")),
            (Dialect::Aws, "a.c", None),
            (Dialect::Vault, "a", Some(r#"{"b":"path"}"#)),
            (Dialect::Fake, "@this", Some("unsupported")),
        ] {
            assert_eq!(text(property(dialect, &document, name)).as_deref(), want, "{dialect:?} {name}");
        }
        assert!(text(property(Dialect::Aws, &Plaintext::new(vec![0xff]), "a")).is_none());
    }

    #[test]
    fn objects_become_entries() {
        let document = Plaintext::from(r#"{"s":"t","n":1.0,"z":null,"o":{"b":1,"a":2},"l":[1]}"#.to_owned());
        for (dialect, want) in [
            (Dialect::Aws, [("l", "[1]"), ("n", "1.0"), ("o", r#"{"b":1,"a":2}"#), ("s", "t"), ("z", "null")]),
            (Dialect::Vault, [("l", "[1]"), ("n", "1"), ("o", r#"{"b":1,"a":2}"#), ("s", "t"), ("z", "")]),
        ] {
            let data = fields(dialect, &document).expect("object");
            let got: Vec<_> = data.iter().map(|(k, v)| (k, v.expose_str().unwrap_or_default())).collect();
            assert_eq!(got, want, "{dialect:?}");
        }
        for text in ["[]", "\"s\"", "1", "plain", ""] {
            assert!(fields(Dialect::Aws, &Plaintext::from(text.to_owned())).is_none(), "{text}");
        }
    }

    #[test]
    fn decoding_follows_go() {
        use DecodingStrategy as S;
        for (strategy, input, want) in [
            (S::None, "aGk=", Ok("aGk=")),
            (S::Base64, "aGk=", Ok("hi")),
            (S::Base64, "aG\nk=\r\n", Ok("hi")),
            (S::Base64, "aGk", Err("base64")),
            (S::Base64, "aGl=", Ok("hi")),
            (S::Base64Url, "Pz8_", Ok("???")),
            (S::Base64, "Pz8_", Err("base64")),
            (S::Auto, "Pz8_", Ok("???")),
            (S::Auto, "aGk=", Ok("hi")),
            (S::Auto, "not base64", Ok("not base64")),
        ] {
            let got = decode(strategy, Plaintext::from(input.to_owned()));
            let got = got.as_ref().map(|v| v.expose_str().unwrap_or_default()).map_err(|e| *e);
            assert_eq!(got, want, "{strategy:?} {input:?}");
        }
    }

    #[test]
    fn names_are_converted_and_checked() {
        let data = |names: &[&str]| -> SecretData {
            names.iter().map(|n| ((*n).to_owned(), Plaintext::new(vec![]))).collect()
        };
        let names = |data: &SecretData| data.names().map(str::to_owned).collect::<Vec<_>>();
        let converted = convert_names("p", ConversionStrategy::Default, data(&["a/b", "é:1", "ok-._"])).expect("ok");
        assert_eq!(names(&converted), ["a_b", "ok-._", "é_1"]);
        let converted = convert_names("p", ConversionStrategy::Unicode, data(&["a/b", "😀"])).expect("ok");
        assert_eq!(names(&converted), ["_U1f600_", "a_U002f_b"]);
        let error = convert_names("p", ConversionStrategy::Default, data(&["a/b", "a:b"])).err();
        assert_eq!(error, Some(ExternalError::Collision { place: "p".into(), entry: "a_b".into() }));
        assert_eq!(names(&check_names("p", data(&["", "a"])).expect("ok")), ["a"]);
        assert!(check_names("p", data(&["a/b"])).is_err());
        assert!(check_names("p", data(&[&"a".repeat(254)])).is_err());
    }

    #[test]
    fn zero_bytes_are_an_error_only_on_request() {
        let value = || Plaintext::new(vec![1, 0, 2]);
        assert!(finish("p", "e", value(), None, None).is_ok());
        let error = finish("p", "e", value(), None, Some(NullBytePolicy::Fail)).err();
        assert_eq!(error, Some(ExternalError::NullByte { place: "p".into(), entry: "e".into() }));
    }
}
