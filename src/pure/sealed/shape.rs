//! Whether a document has the types that the incumbent's decoder wants of it, said in that decoder's words.
//!
//! Only kinds are read, never a value: what a message quotes cannot be a part of a Secret.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// What kinds of values a document has, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing, which every type takes.
    Null,
    /// A truth value.
    Bool,
    /// A number without a fraction.
    Whole,
    /// One that is written with a point or an exponent, and has no fraction either.
    Round,
    /// Any other number.
    Fraction,
    /// A text that is a time as RFC 3339 writes it.
    Time,
    /// Any other text.
    Text,
    /// A list.
    List(Vec<Self>),
    /// Fields in the order in which they stand.
    Map(Vec<(String, Self)>),
}

impl Shape {
    fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Whole | Self::Round | Self::Fraction => "number",
            Self::Time | Self::Text => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::Null)
            }
            fn visit_none<E>(self) -> Result<Shape, E> {
                Ok(Shape::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
                Shape::deserialize(deserializer)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::Bool)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::Whole)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::Whole)
            }
            fn visit_f64<E>(self, number: f64) -> Result<Shape, E> {
                // From 2^63 on it is no number of 64 bits.
                let is_round = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
                Ok(if is_round { Shape::Round } else { Shape::Fraction })
            }
            fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
                let is_dated = text.len() < 64 && text.as_bytes().get(10) == Some(&b'T');
                Ok(if is_dated && text.parse::<Timestamp>().is_ok() { Shape::Time } else { Shape::Text })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
                let mut items = vec![];
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Shape::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut fields = vec![];
                while let Some(name) = map.next_key::<String>()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Shape::Map(fields))
            }
        }
        deserializer.deserialize_any(Kinds)
    }
}

/// A type of Go's, as far as a document can be wrong about it.
#[derive(Debug)]
pub enum Type {
    /// Text, with the name of its type. Numbers and truth values may pass for it.
    Text(&'static str),
    /// Text of an embedded struct, where nothing else passes for it.
    Embedded(&'static str),
    /// A truth value.
    Bool,
    /// A number without a fraction.
    Whole,
    /// Base64.
    Bytes,
    /// A time as RFC 3339 writes it.
    Time,
    /// Whatever is there is taken, or is no matter.
    Any,
    /// Any number of them.
    List(&'static Type),
    /// Any number of them by name.
    Map(&'static Type),
    /// A struct by its name, with its fields.
    Struct(&'static str, &'static [(&'static str, Type)]),
}

const TEXT: Type = Type::Text("string");
const NAME: Type = Type::Embedded("TypeMeta");

const OWNER: Type = Type::Struct(
    "v1.OwnerReference",
    &[
        ("apiVersion", TEXT),
        ("kind", TEXT),
        ("name", TEXT),
        ("uid", Type::Text("types.UID")),
        ("controller", Type::Bool),
        ("blockOwnerDeletion", Type::Bool),
    ],
);

const MANAGED: Type = Type::Struct(
    "v1.ManagedFieldsEntry",
    &[
        ("manager", TEXT),
        ("operation", Type::Text("v1.ManagedFieldsOperationType")),
        ("apiVersion", TEXT),
        ("time", Type::Time),
        ("fieldsType", TEXT),
        ("fieldsV1", Type::Any),
        ("subresource", TEXT),
    ],
);

const META: Type = Type::Struct(
    "v1.ObjectMeta",
    &[
        ("name", TEXT),
        ("generateName", TEXT),
        ("namespace", TEXT),
        ("selfLink", TEXT),
        ("uid", Type::Text("types.UID")),
        ("resourceVersion", TEXT),
        ("generation", Type::Whole),
        ("creationTimestamp", Type::Time),
        ("deletionTimestamp", Type::Time),
        ("deletionGracePeriodSeconds", Type::Whole),
        ("labels", Type::Map(&TEXT)),
        ("annotations", Type::Map(&TEXT)),
        ("ownerReferences", Type::List(&OWNER)),
        ("finalizers", Type::List(&TEXT)),
        ("managedFields", Type::List(&MANAGED)),
    ],
);

/// Whether metadata have a field of exactly this name.
pub fn is_metadata(name: &str) -> bool {
    META.fields().iter().any(|(field, _)| *field == name)
}

/// A Secret as the incumbent reads it.
pub const SECRET: Type = Type::Struct(
    "v1.Secret",
    &[
        ("kind", NAME),
        ("apiVersion", NAME),
        ("metadata", META),
        ("immutable", Type::Bool),
        ("data", Type::Map(&Type::Bytes)),
        ("stringData", Type::Map(&TEXT)),
        ("type", Type::Text("v1.SecretType")),
    ],
);

const CONDITION: Type = Type::Struct(
    "v1alpha1.SealedSecretCondition",
    &[
        ("type", Type::Text("v1alpha1.SealedSecretConditionType")),
        ("status", Type::Text("v1.ConditionStatus")),
        ("lastUpdateTime", Type::Time),
        ("lastTransitionTime", Type::Time),
        ("reason", TEXT),
        ("message", TEXT),
    ],
);

const TEMPLATE: Type = Type::Struct(
    "v1alpha1.SecretTemplateSpec",
    &[("metadata", META), ("type", Type::Text("v1.SecretType")), ("immutable", Type::Bool), ("data", Type::Map(&TEXT))],
);

/// The same of a SealedSecret. What `encryptedData` holds is never refused there.
pub const SEALED_SECRET: Type = Type::Struct(
    "v1alpha1.SealedSecret",
    &[
        ("kind", NAME),
        ("apiVersion", NAME),
        ("metadata", META),
        (
            "spec",
            Type::Struct(
                "v1alpha1.SealedSecretSpec",
                &[("template", TEMPLATE), ("data", Type::Bytes), ("encryptedData", Type::Any)],
            ),
        ),
        (
            "status",
            Type::Struct(
                "v1alpha1.SealedSecretStatus",
                &[("observedGeneration", Type::Whole), ("conditions", Type::List(&CONDITION))],
            ),
        ),
    ],
);

impl Type {
    /// Whether a document has this type. `is_loose`: numbers and truth values pass for text.
    ///
    /// # Errors
    /// The first field that has not, in Go's words.
    pub fn check(&self, shape: &Shape, is_loose: bool) -> Result<(), String> {
        self.at(shape, is_loose, "", "")
    }

    /// The fields of a struct.
    pub fn fields(&'static self) -> &'static [(&'static str, Self)] {
        if let Self::Struct(_, fields) = self { fields } else { &[] }
    }

    /// The name of the field as it stands in this struct; Go's decoder does not mind its case.
    fn field(&self, name: &str) -> Option<(&'static str, &'static Self)> {
        let Self::Struct(_, fields) = self else { return None };
        let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(field, of)| (*field, of))
    }

    fn name(&self) -> String {
        match self {
            Self::Text(name) | Self::Struct(name, _) => (*name).to_owned(),
            Self::Embedded(_) | Self::Time => "string".into(),
            Self::Bool => "bool".into(),
            Self::Whole => "int64".into(),
            Self::Bytes => "[]uint8".into(),
            Self::Any => "any".into(),
            Self::List(of) => format!("[]{}", of.name()),
            Self::Map(of) => format!("map[string]{}", of.name()),
        }
    }

    fn at(&self, shape: &Shape, is_loose: bool, owner: &str, path: &str) -> Result<(), String> {
        match (self, shape) {
            (_, Shape::Null)
            | (Self::Any, _)
            | (Self::Text(_) | Self::Embedded(_) | Self::Bytes, Shape::Text | Shape::Time)
            | (Self::Bool, Shape::Bool)
            | (Self::Whole, Shape::Whole)
            | (Self::Time, Shape::Time) => Ok(()),
            (Self::Text(_), Shape::Bool | Shape::Whole | Shape::Round | Shape::Fraction)
            | (Self::Whole, Shape::Round)
                if is_loose =>
            {
                Ok(())
            }
            (Self::List(of), Shape::List(items)) => {
                items.iter().try_for_each(|item| of.at(item, is_loose, owner, path))
            }
            (Self::Map(of), Shape::Map(fields)) => {
                fields.iter().try_for_each(|(_, value)| of.at(value, is_loose, owner, path))
            }
            (Self::Struct(name, _), Shape::Map(fields)) => fields.iter().try_for_each(|(field, value)| {
                let Some((field, of)) = self.field(field) else { return Ok(()) };
                let embedded = if let Self::Embedded(inside) = of { format!("{inside}.") } else { String::new() };
                let dot = if path.is_empty() { "" } else { "." };
                let owner = name.rsplit('.').next().unwrap_or_default();
                of.at(value, is_loose, owner, &format!("{path}{dot}{embedded}{field}"))
            }),
            (Self::Time, Shape::Text) => {
                Err(format!("parsing time of {path} as \"2006-01-02T15:04:05Z07:00\": cannot parse it"))
            }
            (Self::Time, wrong) => Err(format!("json: cannot unmarshal {} into Go value of type string", wrong.word())),
            (_, wrong) if path.is_empty() => {
                Err(format!("json: cannot unmarshal {} into Go value of type {}", wrong.word(), self.name()))
            }
            (_, wrong) => {
                let (wrong, wanted) = (wrong.word(), self.name());
                Err(format!("json: cannot unmarshal {wrong} into Go struct field {owner}.{path} of type {wanted}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, kind: &Type) -> Result<(), String> {
        kind.check(&serde_saphyr::from_str(text).expect("YAML"), true)
    }

    #[test]
    fn kinds_are_told_and_values_are_not() {
        let field = "json: cannot unmarshal KIND into Go struct field";
        for (text, kind, rest) in [
            ("immutable: 'hunter2'", "string", "Secret.immutable of type bool"),
            ("immutable: 1", "number", "Secret.immutable of type bool"),
            ("kind: 5", "number", "Secret.TypeMeta.kind of type string"),
            ("kind: yes", "bool", "Secret.TypeMeta.kind of type string"),
            ("type: [hunter2]", "array", "Secret.type of type v1.SecretType"),
            ("data: {a: 5}", "number", "Secret.data of type []uint8"),
            ("data: hunter2", "string", "Secret.data of type map[string][]uint8"),
            ("stringData: {a: [hunter2]}", "array", "Secret.stringData of type string"),
            ("metadata: 5", "number", "Secret.metadata of type v1.ObjectMeta"),
            ("metadata: {labels: [a]}", "array", "ObjectMeta.metadata.labels of type map[string]string"),
            ("METADATA: {Generation: '5'}", "string", "ObjectMeta.metadata.generation of type int64"),
            (
                "metadata: {ownerReferences: [{controller: x}]}",
                "string",
                "OwnerReference.metadata.ownerReferences.controller of type bool",
            ),
        ] {
            let wanted = format!("{} {rest}", field.replace("KIND", kind));
            assert_eq!(checked(text, &SECRET), Err(wanted), "{text}");
        }
        let time = checked("metadata: {creationTimestamp: hunter2}", &SECRET).expect_err("no time");
        assert!(time.starts_with("parsing time of metadata.creationTimestamp") && !time.contains("hunter2"), "{time}");
        assert!(checked("[hunter2]", &SECRET).expect_err("a list").ends_with("Go value of type v1.Secret"));
    }

    #[test]
    fn what_go_takes_passes() {
        for text in [
            "{immutable: yes, kind: null, type: 5, unknown: [1], data: {a: null, b: eA==}, stringData: {a: 1.5, b: on}}",
            "metadata: {name: 012, labels: {a: 1}, creationTimestamp: 2026-01-01T00:00:00Z, uid: 5, finalizers: [5]}",
        ] {
            assert_eq!(checked(text, &SECRET), Ok(()), "{text}");
        }
        let strict = serde_json::from_str(r#"{"metadata":{"labels":{"a":1}}}"#).expect("JSON");
        assert!(SECRET.check(&strict, false).is_err() && SECRET.check(&strict, true).is_ok());
        for (number, passes) in [("1e2", true), ("1.0", true), ("1.5", false), ("1e19", false)] {
            let round = serde_json::from_str(&format!(r#"{{"metadata":{{"generation":{number}}}}}"#)).expect("JSON");
            assert_eq!(SECRET.check(&round, true).is_ok(), passes, "{number}");
            assert!(SECRET.check(&round, false).is_err(), "{number}");
        }
        assert_eq!(checked("spec: {encryptedData: {a: [1]}, template: {data: {a: null}}}", &SEALED_SECRET), Ok(()));
        let template = checked("spec: {template: {immutable: 'true'}}", &SEALED_SECRET).expect_err("text");
        assert!(template.contains(" SecretTemplateSpec.spec.template.immutable of type bool"), "{template}");
    }
}
