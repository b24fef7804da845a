//! The digests that External Secrets Operator keeps in objects: SHA3-224 over Go's `%+v` rendering. Making the same
//! ones avoids that a switch-over rewrites every Secret and reads every value again.
//!
//! The digest of the data is a plain one: whoever may read the Secret's annotations can test guesses of a weak value.
//! It is kept because the incumbent's objects carry it; nothing else uses it.

use std::collections::BTreeMap;
use std::io::Write as _;

use sha3::{Digest as _, Sha3_224};

use crate::pure::secret::SecretData;

/// Digest of a string, as `%+v` prints it: itself.
pub fn of_text(text: &str) -> String {
    hex::encode(Sha3_224::digest(text.as_bytes()))
}

/// Digest of `map[string][]byte`: `map[a:[49] b:[116 119 111]]`. Streamed, so that no second copy of a value is made.
pub fn of_data(data: &SecretData) -> String {
    let mut hash = Sha3_224::new();
    hash.update(b"map[");
    for (index, (name, value)) in data.iter().enumerate() {
        if index > 0 {
            hash.update(b" ");
        }
        hash.update(name.as_bytes());
        hash.update(b":[");
        for (index, byte) in value.expose().iter().enumerate() {
            // Writing into a digest cannot fail.
            let _ = if index > 0 { write!(hash, " {byte}") } else { write!(hash, "{byte}") };
        }
        hash.update(b"]");
    }
    hash.update(b"]");
    hex::encode(hash.finalize())
}

/// Digest of the struct that holds annotations and labels: `{annotations:map[k:v] labels:map[]}`.
pub fn of_metadata(annotations: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> String {
    let map = |map: &BTreeMap<String, String>| {
        map.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(" ")
    };
    of_text(&format!("{{annotations:map[{}] labels:map[{}]}}", map(annotations), map(labels)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::secret::Plaintext;

    // Made with Go 1.26.5.
    #[test]
    fn digests_are_gos() {
        let data: SecretData = [("a", "1"), ("b", "two")]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), Plaintext::from(v.to_owned())))
            .collect();
        assert_eq!(of_data(&data), "5d8f897484a74d9d81b2e17c83b95e9142da766fb0649016cee80693");
        assert_eq!(of_data(&SecretData::new()), "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b");
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        assert_eq!(
            of_metadata(&annotations, &BTreeMap::new()),
            "ee72192f951cf36223a27456a332a773d0ff679ad46c926e6904e933"
        );
        assert_eq!(of_text("default/my-es"), "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4");
    }
}
