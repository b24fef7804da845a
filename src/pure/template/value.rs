//! Values of the evaluator. Go's types stay apart, because templates can see the difference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bytes::ByteStr;
use super::time::Time;
use super::types::{IntKind, ObjectKind, Type, UintKind};
use crate::pure::secret::Plaintext;

/// A Go value.
///
/// Lists and strings are immutable and shared; maps are shared and mutable, as in Go (`set`, `unset` and `merge` change
/// the map they are given).
#[derive(Clone)]
pub enum Value {
    /// No value at all: a missing map entry, the result of an empty pipeline.
    Missing,
    /// A nil inside an interface.
    Nil,
    /// `bool`.
    Bool(bool),
    /// A signed integer.
    Int(IntKind, i64),
    /// An unsigned integer.
    Uint(UintKind, u64),
    /// `float64`.
    Float(f64),
    /// `complex128`: real and imaginary part.
    Complex(f64, f64),
    /// `string`.
    Str(ByteStr),
    /// `[]byte`; Go prints it as numbers.
    Bytes(ByteStr),
    /// A slice.
    List(List),
    /// A map with string keys.
    Map(Map),
    /// An object of which only fields and methods can be seen.
    Object(Object),
}

/// A typed slice.
#[derive(Clone)]
pub struct List(Arc<ListBody>);

struct ListBody {
    element: Type,
    items: Vec<Value>,
    /// A nil slice has no items too, but JSON shows the difference.
    nil: bool,
}

/// A typed map with string keys.
#[derive(Clone)]
pub struct Map(Arc<MapBody>);

struct MapBody {
    element: Type,
    nil: bool,
    entries: Mutex<BTreeMap<ByteStr, Value>>,
}

/// An opaque object.
#[derive(Clone)]
pub enum Object {
    /// `time.Time`.
    Time(Box<Time>),
    /// `*time.Location`, of which only the name can be seen.
    Location(Arc<str>),
    /// `*semver.Version`.
    Version(Arc<super::functions::semver::Version>),
    /// `sprig.certificate`: certificate and key, both PEM.
    Certificate(ByteStr, ByteStr),
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<ByteStr>) -> Self {
        Self::Str(text.into())
    }

    /// A Go `int`.
    pub fn int(number: i64) -> Self {
        Self::Int(IntKind::Int, number)
    }

    /// A Go `int64`.
    pub fn int64(number: i64) -> Self {
        Self::Int(IntKind::Int64, number)
    }

    /// `map[string]string`, the data of both incumbents. The values are copied.
    pub fn string_map<'a>(entries: impl IntoIterator<Item = (String, &'a Plaintext)>) -> Self {
        let entries = entries
            .into_iter()
            .map(|(name, value)| (ByteStr::from(name), Self::Str(ByteStr::copy_of(value.expose()))))
            .collect();
        Self::Map(Map::new(Type::Str, entries))
    }

    /// `map[string]interface {}`.
    pub fn map_any(entries: BTreeMap<ByteStr, Value>) -> Self {
        Self::Map(Map::new(Type::Any, entries))
    }

    /// `[]interface {}`.
    pub fn list_any(items: Vec<Value>) -> Self {
        Self::List(List::new(Type::Any, items))
    }

    /// `[]string`.
    pub(super) fn strings(items: impl IntoIterator<Item = ByteStr>) -> Self {
        Self::List(List::new(Type::Str, items.into_iter().map(Self::Str).collect()))
    }

    /// The dynamic type; none for nil.
    pub(super) fn type_of(&self) -> Option<Type> {
        Some(match self {
            Self::Missing | Self::Nil => return None,
            Self::Bool(_) => Type::Bool,
            Self::Int(kind, _) => Type::Int(*kind),
            Self::Uint(kind, _) => Type::Uint(*kind),
            Self::Float(_) => Type::Float,
            Self::Complex(..) => Type::Complex,
            Self::Str(_) => Type::Str,
            Self::Bytes(_) => Type::Bytes,
            Self::List(list) => Type::List(list.static_element()),
            Self::Map(map) => Type::Map(map.static_element()),
            Self::Object(object) => Type::Object(object.kind()),
        })
    }

    /// The type for an error text; Go prints `<nil>` for none.
    pub(super) fn type_name(&self) -> String {
        self.type_of().map_or_else(|| "<nil>".to_owned(), |kind| kind.to_string())
    }

    /// `reflect.Kind`, as text.
    pub(super) fn kind(&self) -> &'static str {
        self.type_of().map_or("invalid", Type::kind)
    }

    /// The zero value of a type.
    pub(super) fn zero(of: Type) -> Self {
        match of {
            Type::Any | Type::Reflect | Type::Object(ObjectKind::Location | ObjectKind::Version) => Self::Nil,
            Type::Bool => Self::Bool(false),
            Type::Int(kind) => Self::Int(kind, 0),
            Type::Uint(kind) => Self::Uint(kind, 0),
            Type::Float => Self::Float(0.0),
            Type::Complex => Self::Complex(0.0, 0.0),
            Type::Str => Self::Str(ByteStr::from_vec(Vec::new())),
            Type::Bytes => Self::Bytes(ByteStr::from_vec(Vec::new())),
            Type::List(element) => Self::List(List::nil(*element)),
            Type::Map(element) => Self::Map(Map::nil(*element)),
            Type::Object(ObjectKind::Time) => Self::Object(Object::Time(Box::new(Time::zero()))),
            Type::Object(ObjectKind::Certificate) => {
                let empty = ByteStr::from_vec(Vec::new());
                Self::Object(Object::Certificate(empty.clone(), empty))
            }
        }
    }

    /// Go's truth: what `if` and `and` take a value for.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(_, value) => *value != 0,
            Self::Uint(_, value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(re, im) => *re != 0.0 || *im != 0.0,
            Self::Str(text) | Self::Bytes(text) => !text.is_empty(),
            Self::List(list) => !list.items().is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// Whether this is no value or an interface's nil.
    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// Size of this value itself in bytes, for the budget.
    pub(super) fn shallow_bytes(&self) -> usize {
        match self {
            Self::Str(text) | Self::Bytes(text) => text.len(),
            Self::List(list) => list.items().len().saturating_mul(size_of::<Self>()),
            Self::Map(map) => map.len().saturating_mul(64),
            _ => 0,
        }
    }
}

impl List {
    /// A slice with the element type `element`; every item must be of it.
    pub fn new(element: Type, items: Vec<Value>) -> Self {
        Self(Arc::new(ListBody { element, items, nil: false }))
    }

    /// A nil slice.
    pub(super) fn nil(element: Type) -> Self {
        Self(Arc::new(ListBody { element, items: Vec::new(), nil: true }))
    }

    /// The items.
    pub fn items(&self) -> &[Value] {
        &self.0.items
    }

    /// The element type.
    pub fn element(&self) -> Type {
        self.0.element
    }

    pub(super) fn is_nil(&self) -> bool {
        self.0.nil
    }

    fn static_element(&self) -> &'static Type {
        static_type(self.0.element)
    }
}

impl Map {
    /// A map with the element type `element`; every value must be of it.
    pub fn new(element: Type, entries: BTreeMap<ByteStr, Value>) -> Self {
        Self(Arc::new(MapBody { element, nil: false, entries: Mutex::new(entries) }))
    }

    /// A nil map: reads find nothing, writes fail.
    pub(super) fn nil(element: Type) -> Self {
        Self(Arc::new(MapBody { element, nil: true, entries: Mutex::default() }))
    }

    /// The element type.
    pub fn element(&self) -> Type {
        self.0.element
    }

    pub(super) fn is_nil(&self) -> bool {
        self.0.nil
    }

    fn static_element(&self) -> &'static Type {
        static_type(self.0.element)
    }

    /// The guard must not be held while anything else is evaluated.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ByteStr, Value>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value.
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        self.lock().get(key).cloned()
    }

    /// A snapshot of all entries in key order.
    pub fn entries(&self) -> Vec<(ByteStr, Value)> {
        self.lock().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn insert(&self, key: ByteStr, value: Value) {
        // What was replaced is dropped after the lock is gone: it may hold the last handle on another map.
        let old = self.lock().insert(key, value);
        drop(old);
    }

    pub(super) fn remove(&self, key: &[u8]) {
        let old = self.lock().remove(key);
        drop(old);
    }

    /// Whether both are handles on one map.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Object {
    pub(super) fn kind(&self) -> ObjectKind {
        match self {
            Self::Time(_) => ObjectKind::Time,
            Self::Location(_) => ObjectKind::Location,
            Self::Version(_) => ObjectKind::Version,
            Self::Certificate(..) => ObjectKind::Certificate,
        }
    }
}

/// The element types that occur, as statics, so that [`Type`] can be `Copy` and name nested types.
fn static_type(element: Type) -> &'static Type {
    match element {
        Type::Any => &Type::Any,
        Type::Str => &Type::Str,
        Type::Bool => &Type::Bool,
        Type::Float => &Type::Float,
        Type::Int(IntKind::Int) => &Type::Int(IntKind::Int),
        Type::Int(IntKind::Int64) => &Type::Int(IntKind::Int64),
        Type::Int(_) => &Type::Int(IntKind::Int32),
        Type::Uint(UintKind::Uint64) => &Type::Uint(UintKind::Uint64),
        Type::Bytes => &Type::Bytes,
        Type::List(Type::Any) => &Type::List(&Type::Any),
        Type::List(Type::Str) => &Type::List(&Type::Str),
        Type::Map(Type::Any) => &Type::Map(&Type::Any),
        Type::Map(Type::Str) => &Type::Map(&Type::Str),
        _ => &Type::Any,
    }
}

/// Nesting can be made as deep as the step budget by a loop, so values are taken apart in a loop too: a recursive drop
/// would overflow the stack.
fn take_apart(mut pending: Vec<Value>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::List(List(body)) => {
                if let Some(mut body) = Arc::into_inner(body) {
                    pending.append(&mut body.items);
                }
            }
            Value::Map(Map(body)) => {
                if let Some(mut body) = Arc::into_inner(body) {
                    let entries = std::mem::take(body.entries.get_mut().unwrap_or_else(PoisonError::into_inner));
                    pending.extend(entries.into_values());
                }
            }
            _ => {}
        }
    }
}

fn nests(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Map(_))
}

impl Drop for ListBody {
    fn drop(&mut self) {
        if self.items.iter().any(nests) {
            take_apart(std::mem::take(&mut self.items));
        }
    }
}

impl Drop for MapBody {
    fn drop(&mut self) {
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        if entries.values().any(nests) {
            take_apart(std::mem::take(entries).into_values().collect());
        }
    }
}
