//! Values and the bytes that SOPS encrypts and hashes for them.

use zeroize::Zeroizing;

use crate::pure::format::{Scalar, float_text, time};
use crate::pure::secret::Plaintext;

/// The bytes of a scalar: its own, or printed.
pub(super) enum Bytes<'s> {
    Own(&'s [u8]),
    Printed(Plaintext),
}

impl Bytes<'_> {
    pub(super) fn expose(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Printed(bytes) => bytes.expose(),
        }
    }
}

/// The `type:` of a scalar and its bytes. `None` for null, which is neither encrypted nor hashed, and for numbers above
/// the range.
pub(super) fn to_bytes(scalar: &Scalar) -> Option<(&'static str, Bytes<'_>)> {
    Some(match scalar {
        Scalar::Null | Scalar::Unsigned(_) => return None,
        Scalar::Bool(true) => ("bool", Bytes::Own(b"True")),
        Scalar::Bool(false) => ("bool", Bytes::Own(b"False")),
        Scalar::Int(value) => ("int", Bytes::Printed(Plaintext::from(value.to_string()))),
        Scalar::Float(value) => ("float", Bytes::Printed(Plaintext::from(float_text(*value)))),
        Scalar::Time(text) => ("time", Bytes::Own(text.as_bytes())),
        Scalar::Text(text) => ("str", Bytes::Own(text.expose())),
    })
}

/// Reads decrypted bytes as their `type:`. `None` when they do not fit. Comments are read by the caller.
pub(super) fn from_bytes(kind: &str, bytes: Plaintext) -> Option<Scalar> {
    let text = || bytes.expose_str().map(|text| Zeroizing::new(text.to_owned()));
    Some(match kind {
        "str" | "bytes" => Scalar::Text(bytes),
        "int" => {
            let text = text()?;
            let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            Scalar::Int(valid.then(|| text.parse().ok()).flatten()?)
        }
        "float" => Scalar::Float(match text()?.to_ascii_lowercase().as_str() {
            "+inf" | "inf" | "infinity" | "+infinity" => f64::INFINITY,
            "-inf" | "-infinity" => f64::NEG_INFINITY,
            "nan" => f64::NAN,
            text => text.parse().ok()?,
        }),
        "bool" => match bytes.expose() {
            b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Scalar::Bool(true),
            b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Scalar::Bool(false),
            _ => return None,
        },
        "time" => {
            let text = text()?;
            time::rfc3339_seconds(&text)?;
            Scalar::Time(time::canonical(&text)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_reference_table() {
        for (scalar, kind, bytes) in [
            (Scalar::Bool(true), "bool", "True"),
            (Scalar::Int(-5), "int", "-5"),
            (Scalar::Float(1.0), "float", "1"),
            (Scalar::Float(1e21), "float", "1000000000000000000000"),
            (Scalar::Float(f64::INFINITY), "float", "+Inf"),
            (Scalar::Time("2001-12-14T21:59:43.1-05:00".into()), "time", "2001-12-14T21:59:43.1-05:00"),
            (Scalar::text("x"), "str", "x"),
        ] {
            let (got_kind, got) = to_bytes(&scalar).expect("has bytes");
            assert_eq!((got_kind, got.expose()), (kind, bytes.as_bytes()));
            let back = from_bytes(kind, Plaintext::copy_of(got.expose())).expect("reads back");
            assert_eq!(to_bytes(&back).map(|(kind, _)| kind), Some(kind));
        }
        assert!(to_bytes(&Scalar::Null).is_none());
        for (kind, text) in
            [("int", "1.5"), ("int", ""), ("bool", "yes"), ("float", "x"), ("time", "2024"), ("map", "x")]
        {
            assert!(from_bytes(kind, Plaintext::copy_of(text.as_bytes())).is_none(), "{kind} {text}");
        }
    }
}
