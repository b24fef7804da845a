//! `dataFrom.find`: which values of a store are meant.

use regex::Regex;

use super::StoreId;
use super::error::StoreError;
use crate::pure::limits;
use crate::pure::secret::{Plaintext, SecretData};

/// Which values of a store. A name counts before tags: where both are given, as with External Secrets Operator, only the
/// name is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Search {
    /// Where the search begins.
    pub path: Option<String>,
    /// Regular expression that matches anywhere in the name.
    pub name: Option<String>,
    /// Tags that must be there with these values.
    pub tags: Vec<(String, String)>,
}

impl Search {
    /// The expression for names.
    ///
    /// # Errors
    /// It is not one.
    pub fn names(&self, store: &StoreId) -> Result<Option<Regex>, StoreError> {
        let bad = |_| StoreError::Config {
            store: store.to_string(),
            detail: "find.name.regexp is not a regular expression".into(),
        };
        self.name.as_deref().map(Regex::new).transpose().map_err(bad)
    }

    /// What the search is for, in the place of a key in error texts.
    pub fn place(&self) -> String {
        format!("{}*", self.path.as_deref().unwrap_or_default())
    }

    /// Whether a value with these tags is meant.
    pub fn has_tags<'t>(&self, of: impl Fn(&str) -> Option<&'t str>) -> bool {
        self.tags.iter().all(|(name, value)| of(name) == Some(value))
    }

    /// Why a search cannot be answered.
    pub fn refuse(&self, store: &StoreId, detail: &'static str) -> StoreError {
        StoreError::Invalid { store: store.to_string(), key: self.place(), detail }
    }
}

/// What a search has found so far.
#[derive(Default)]
pub struct Found {
    data: SecretData,
    bytes: usize,
}

impl Found {
    /// Adds a value.
    ///
    /// # Errors
    /// It is too much in all.
    pub fn add(&mut self, search: &Search, store: &StoreId, name: String, value: Plaintext) -> Result<(), StoreError> {
        self.bytes += value.expose().len();
        if self.bytes > limits::FIND_BYTES {
            return Err(search.refuse(store, "it finds more than 4 MiB; narrow it with path or name"));
        }
        self.data.insert(name, value);
        Ok(())
    }

    /// All of it, by name.
    pub fn into_data(self) -> SecretData {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::crd::external_secret::StoreKind;

    fn store() -> StoreId {
        StoreId { kind: StoreKind::SecretStore, namespace: "n".into(), name: "s".into() }
    }

    fn search(name: Option<&str>, tags: &[(&str, &str)]) -> Search {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Search { path: Some("app/".into()), name: name.map(str::to_owned), tags }
    }

    #[test]
    fn names_match_anywhere_and_tags_exactly() {
        let names = search(Some("b$"), &[]).names(&store()).expect("an expression").expect("one");
        assert!(names.is_match("app/db") && !names.is_match("app/dbs"));
        assert!(search(None, &[]).names(&store()).is_ok_and(|names| names.is_none()));
        assert!(search(Some("("), &[]).names(&store()).is_err());
        let tags = |name: &str| (name == "team").then_some("red");
        for (wanted, fits) in
            [(&[][..], true), (&[("team", "red")], true), (&[("team", "re")], false), (&[("owner", "red")], false)]
        {
            assert_eq!(search(None, wanted).has_tags(tags), fits, "{wanted:?}");
        }
    }

    #[test]
    fn what_is_found_has_a_limit() {
        let (search, mut found) = (search(None, &[]), Found::default());
        let mut add = |bytes| found.add(&search, &store(), "n".into(), Plaintext::new(vec![0; bytes]));
        assert!(add(limits::FIND_BYTES).is_ok());
        let error = add(1).expect_err("too much");
        assert!(error.to_string().contains("app/*"), "{error}");
    }
}
