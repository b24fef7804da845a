//! Go's types, as far as a template can see them: in error texts, `%T`, `typeOf`, `kindOf`, and in what an argument
//! must be.

use std::fmt;

/// A signed integer type, named types of the standard library included: they print by their `String` method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntKind {
    /// `int`: what constants, `len` and most functions give.
    Int,
    /// `int8`.
    Int8,
    /// `int16`.
    Int16,
    /// `int32`, which is also `rune`.
    Int32,
    /// `int64`: what the integer maths functions give.
    Int64,
    /// `time.Month`.
    Month,
    /// `time.Weekday`.
    Weekday,
    /// `time.Duration`, in nanoseconds.
    Duration,
}

/// An unsigned integer type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UintKind {
    /// `uint`.
    Uint,
    /// `uint8`, which is also `byte`: an element of a string.
    Uint8,
    /// `uint16`.
    Uint16,
    /// `uint32`.
    Uint32,
    /// `uint64`: the numbers of a semantic version.
    Uint64,
}

/// The type of an opaque object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// `time.Time`.
    Time,
    /// `*time.Location`.
    Location,
    /// `*semver.Version`.
    Version,
    /// `sprig.certificate`.
    Certificate,
}

/// A Go type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// `interface {}`.
    Any,
    /// `reflect.Value`: a built-in that takes anything as it is.
    Reflect,
    /// `bool`.
    Bool,
    /// A signed integer.
    Int(IntKind),
    /// An unsigned integer.
    Uint(UintKind),
    /// `float64`.
    Float,
    /// `complex128`.
    Complex,
    /// `string`.
    Str,
    /// `[]uint8`.
    Bytes,
    /// A slice of the element type.
    List(&'static Type),
    /// A map from strings to the element type.
    Map(&'static Type),
    /// An opaque object.
    Object(ObjectKind),
}

/// `int`.
pub(super) const INT: Type = Type::Int(IntKind::Int);
/// `map[string]interface {}`.
pub(super) const MAP_ANY: Type = Type::Map(&Type::Any);
/// `time.Time`.
pub(super) const TIME: Type = Type::Object(ObjectKind::Time);

impl IntKind {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Month => "time.Month",
            Self::Weekday => "time.Weekday",
            Self::Duration => "time.Duration",
        }
    }
}

impl UintKind {
    fn name(self) -> &'static str {
        match self {
            Self::Uint => "uint",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("interface {}"),
            Self::Reflect => f.write_str("reflect.Value"),
            Self::Bool => f.write_str("bool"),
            Self::Int(kind) => f.write_str(kind.name()),
            Self::Uint(kind) => f.write_str(kind.name()),
            Self::Float => f.write_str("float64"),
            Self::Complex => f.write_str("complex128"),
            Self::Str => f.write_str("string"),
            Self::Bytes => f.write_str("[]uint8"),
            Self::List(element) => write!(f, "[]{element}"),
            Self::Map(element) => write!(f, "map[string]{element}"),
            Self::Object(ObjectKind::Time) => f.write_str("time.Time"),
            Self::Object(ObjectKind::Location) => f.write_str("*time.Location"),
            Self::Object(ObjectKind::Version) => f.write_str("*semver.Version"),
            Self::Object(ObjectKind::Certificate) => f.write_str("sprig.certificate"),
        }
    }
}

impl Type {
    /// Go's `reflect.Kind` of the type, as `kindOf` prints it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Any => "interface",
            Self::Reflect | Self::Object(ObjectKind::Time | ObjectKind::Certificate) => "struct",
            Self::Bool => "bool",
            Self::Int(IntKind::Month | IntKind::Weekday) => "int",
            Self::Int(IntKind::Duration) => "int64",
            Self::Int(kind) => kind.name(),
            Self::Uint(kind) => kind.name(),
            Self::Float => "float64",
            Self::Complex => "complex128",
            Self::Str => "string",
            Self::Bytes | Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(ObjectKind::Location | ObjectKind::Version) => "ptr",
        }
    }

    /// Whether an untyped nil can stand for a value of the type.
    pub(super) fn can_be_nil(self) -> bool {
        matches!(
            self,
            Self::Any
                | Self::Reflect
                | Self::Bytes
                | Self::List(_)
                | Self::Map(_)
                | Self::Object(ObjectKind::Location | ObjectKind::Version)
        )
    }
}
