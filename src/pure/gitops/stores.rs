//! ExternalSecrets against the stores of the same tree.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::error::StageError;
use super::stage::{FileResult, Staged};
use crate::pure::crd::external_secret::ExternalSecret;
use crate::pure::crd::secret_store::StoreSpec;
use crate::pure::desired::{DesiredSecret, GuardPolicy, guard};
use crate::pure::external::templating::Sources;
use crate::pure::external::{self, Answer, Fetch, StoreError, StoreId, fake};

/// The stores of a tree by name, and which of them its ExternalSecrets use.
pub struct Stores<'a> {
    known: BTreeMap<&'a StoreId, &'a StoreSpec>,
    used: BTreeSet<StoreId>,
}

/// Who answers a read.
pub enum Route<'a> {
    /// The tree itself.
    Answer(Answer),
    /// The provider of this store.
    Ask(&'a StoreSpec),
}

impl<'a> Stores<'a> {
    /// Finds them. Of two stores of one name the later one counts, as it would when applied in order.
    pub fn of(files: &'a [FileResult]) -> Self {
        let (mut known, mut used) = (BTreeMap::new(), BTreeSet::new());
        for document in files.iter().flat_map(|file| &file.documents) {
            match &document.outcome {
                Ok(Staged::Store(id, spec, _)) => drop(known.insert(id, &**spec)),
                Ok(Staged::External(external)) => {
                    used.extend(external::plan(external).unwrap_or_default().into_iter().map(|fetch| fetch.store));
                }
                _ => {}
            }
        }
        Self { known, used }
    }

    /// Whether an ExternalSecret of the tree reads from it.
    pub fn is_used(&self, store: &StoreId) -> bool {
        self.used.contains(store)
    }

    /// Who answers this read.
    pub fn route(&self, fetch: &Fetch) -> Route<'a> {
        let Some(spec) = self.known.get(&fetch.store) else {
            let detail = "it is not among the files that are rendered".to_owned();
            return Route::Answer(Err(StoreError::Config { store: fetch.store.to_string(), detail }));
        };
        match &spec.provider.fake {
            Some(provider) => Route::Answer(fake::answer(provider, &fetch.store, &fetch.want)),
            None => Route::Ask(spec),
        }
    }
}

/// What to read for an ExternalSecret.
pub fn plan(external: &ExternalSecret) -> Result<Vec<Fetch>, StageError> {
    Ok(external::plan(external)?)
}

/// Guards the Secret that the answers make. `now` is what templates take for the present.
pub fn finish(
    external: &ExternalSecret,
    answers: Vec<Answer>,
    policy: &GuardPolicy,
    now: Timestamp,
) -> Result<DesiredSecret, StageError> {
    // ConfigMaps and Secrets of `templateFrom` live in a cluster; a template that names one fails and says so.
    let (candidate, proof) = external::assemble(external, answers, &Sources::default(), now)?;
    Ok(guard(candidate, proof, policy)?)
}
