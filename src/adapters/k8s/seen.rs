//! What a store keeps of an object: the typed object, or a few bytes of it.

use std::cell::RefCell;
use std::marker::PhantomData;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use kube::Resource;
use kube::api::{DynamicObject, ObjectMeta};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object as a store keeps it.
pub trait Seen: Sized + Send + Sync + 'static {
    /// Its kind.
    type Object: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static;

    /// What is kept of it.
    fn keep(entry: Entry<Self::Object>) -> Self;

    /// Whether both are the same version of the same object.
    fn is_same(&self, other: &Self) -> bool;
}

/// One object as last seen.
pub struct Entry<K> {
    /// The typed object, or why it cannot be read. Of its managed fields there is only the time of the last change of other
    /// than the status.
    pub object: Result<K, Box<Unreadable>>,
}

/// An object that its type cannot hold.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// Names the field and never quotes a value.
    pub why: String,
}

impl Unreadable {
    fn new(meta: ObjectMeta, why: &str) -> Box<Self> {
        Box::new(Self { meta, why: shape_only(why) })
    }
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Entry<K> {
    /// Reads an object that arrived untyped.
    pub fn read(object: &DynamicObject) -> Self {
        let value = serde_json::to_value(object).unwrap_or_default();
        let object =
            serde_json::from_value(value).map_err(|error| Unreadable::new(object.metadata.clone(), &error.to_string()));
        Self { object }
    }
}

impl<K: Resource> Entry<K> {
    /// Metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match &self.object {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.meta,
        }
    }
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static> Seen for Entry<K> {
    type Object = K;

    fn keep(entry: Self) -> Self {
        entry
    }

    fn is_same(&self, other: &Self) -> bool {
        let (one, other) = (self.meta(), other.meta());
        one.uid == other.uid && one.resource_version == other.resource_version
    }
}

/// An object as compressed JSON: less than half of what the typed object takes, for kinds of which a cluster has thousands
/// and that are looked at once in a while. Unpacking costs some 20 µs.
pub struct Packed<K> {
    /// With the length of the JSON.
    bytes: Result<(Box<[u8]>, usize), Box<Unreadable>>,
    kind: PhantomData<fn() -> K>,
}

/// Distance within which repetitions are found, as a power of two, in bytes: the texts are of a few kilobytes, and a larger
/// window is more memory to clear each time.
const WINDOW_BITS: u8 = 12;

thread_local! {
    /// Each takes hundreds of kilobytes, and thousands of objects come one after the other.
    static PRESS: RefCell<(Compress, Decompress)> = RefCell::new((
        Compress::new_with_window_bits(Compression::fast(), false, WINDOW_BITS),
        Decompress::new_with_window_bits(false, WINDOW_BITS),
    ));
}

/// Compresses a text.
fn press(text: &[u8]) -> Box<[u8]> {
    // Stored as it is, a text grows by less than this.
    let mut packed = Vec::with_capacity(text.len() + text.len() / 8 + 64);
    PRESS.with_borrow_mut(|(press, _)| {
        press.reset();
        // There is room for all of it.
        let _ = press.compress_vec(text, &mut packed, FlushCompress::Finish);
    });
    // A copy of the right size: an allocator may leave a vector that shrinks where it is.
    Box::from(packed.as_slice())
}

/// The text of this length again; `None` when the bytes are damaged.
fn unpress(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(length);
    let end = PRESS.with_borrow_mut(|(_, press)| {
        press.reset(false);
        press.decompress_vec(packed, &mut text, FlushDecompress::Finish)
    });
    (matches!(end, Ok(Status::StreamEnd)) && text.len() == length).then_some(text)
}

impl<K: Serialize + DeserializeOwned> Packed<K> {
    /// The object as it was when it was seen.
    pub fn unpack(&self) -> Entry<K> {
        // What was packed here unpacks here.
        let broken = |why: &str| Unreadable::new(ObjectMeta::default(), why);
        let object = match &self.bytes {
            Ok((bytes, length)) => unpress(bytes, *length)
                .ok_or_else(|| broken("it was damaged in memory"))
                .and_then(|json| serde_json::from_slice(&json).map_err(|error| broken(&error.to_string()))),
            Err(unreadable) => Err(unreadable.clone()),
        };
        Entry { object }
    }
}

impl<K> Seen for Packed<K>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Object = K;

    fn keep(entry: Entry<K>) -> Self {
        let bytes = entry.object.map(|object| {
            // What was read from JSON can be written as JSON.
            let json = serde_json::to_vec(&object).unwrap_or_default();
            (press(&json), json.len())
        });
        Self { bytes, kind: PhantomData }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.bytes, &other.bytes) {
            // The version is among them.
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(other)) => one.meta == other.meta,
            _ => false,
        }
    }
}

/// serde's text may quote the offending value (`string "…"`, `integer `5``, `unknown variant `…``): the quote goes, and
/// all that follows it.
fn shape_only(text: &str) -> String {
    let quotes_value = ["invalid type", "invalid value", "unknown variant"].iter().any(|start| text.contains(start));
    let cut = text.find(['"', '`']).filter(|_| quotes_value).unwrap_or(text.len());
    text.get(..cut).unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::crd::sealed_secret::SealedSecret;

    #[test]
    fn decode_errors_do_not_quote_values() {
        assert_eq!(
            shape_only("invalid type: string \"hunter2\", expected a map at line 1 column 9"),
            "invalid type: string"
        );
        assert_eq!(shape_only("unknown variant `hunter2`, expected `Owner`"), "unknown variant");
        assert_eq!(shape_only("invalid type: integer `7`, expected a string"), "invalid type: integer");
        assert_eq!(shape_only("missing field `spec`"), "missing field `spec`");
    }

    fn sealed(version: &str, spec: serde_json::Value) -> Packed<SealedSecret> {
        let object = serde_json::json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": spec,
            "metadata": { "name": "a", "namespace": "b", "uid": "u", "resourceVersion": version },
        });
        Packed::keep(Entry::read(&serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn an_object_comes_out_as_it_went_in() {
        let value = "AgBy".repeat(200);
        let spec = serde_json::json!({
            "encryptedData": { "one": value, "two": "" },
            // Of a shape that is refused when it is used, and written back as it stood.
            "template": { "metadata": { "labels": ["no map"] } },
        });
        let packed = sealed("1", spec.clone());
        let bytes = packed.bytes.as_ref().map(|(bytes, _)| bytes.len()).expect("readable");
        assert!(bytes < value.len() / 2, "{bytes}");
        let object = packed.unpack().object.expect("readable");
        assert_eq!(serde_json::to_value(&object.spec).unwrap(), spec);
        assert_eq!(object.metadata.resource_version.as_deref(), Some("1"));
        assert!(packed.is_same(&sealed("1", spec.clone())));
        assert!(!packed.is_same(&sealed("2", spec)));
    }

    #[test]
    fn an_object_that_cannot_be_read_says_so_each_time() {
        let packed = sealed("1", serde_json::json!("hunter2"));
        for entry in [packed.unpack(), packed.unpack()] {
            assert_eq!(entry.meta().uid.as_deref(), Some("u"));
            let why = entry.object.expect_err("no map").why;
            assert_eq!(why, "invalid type: string");
        }
        assert!(packed.is_same(&sealed("1", serde_json::json!("hunter2"))));
        assert!(!packed.is_same(&sealed("2", serde_json::json!("hunter2"))));
        assert!(!packed.is_same(&sealed("1", serde_json::json!({ "encryptedData": {} }))));
    }
}
