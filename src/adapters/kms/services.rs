//! How data keys are got and wrapped: with what is on this machine first, then with all key services at once.
//!
//! One [`DataKeys`] per run, or per source of the operator, so that clients and answers are shared and never leave the
//! tenant whose credentials got them.
//!
//! A service that cannot be reached costs a run one wait, not one for each file: see [`Away`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OnceCell, Semaphore};

use super::KeyService;
use crate::pure::keys::{DataKey, KeyError, KeyRef, LocalKeys, Wrapped, WrappedKey};
use crate::pure::limits;
use crate::pure::secret::Plaintext;
use crate::pure::sops::{DecryptionOrder, Document, SopsError, Unlock, Unlocking, WrapFailure};

/// Makes the key services of a run. It is called at most once, when a key needs one, and outside a runtime: a client
/// connects at its first call.
pub type Connect = Box<dyn Fn() -> Vec<Arc<dyn KeyService>> + Send + Sync>;

/// Longest wait for one answer, for services that do not end by themselves.
const CALL_TIMEOUT: Duration = Duration::from_secs(limits::KEY_SERVICE_SECONDS);

/// Gets and wraps data keys. Calls block: in the operator they belong on a thread for computation.
pub struct DataKeys<L> {
    local: L,
    order: DecryptionOrder,
    connect: Connect,
    services: OnceLock<Services>,
    handle: Option<Handle>,
    runtime: OnceLock<Result<Runtime, KeyError>>,
}

impl<L: LocalKeys> DataKeys<L> {
    /// `handle`: the runtime that the program has. Without one, one is made when a service is asked, and not before: a
    /// file that an identity opens starts no thread.
    pub fn new(local: L, order: DecryptionOrder, handle: Option<Handle>, connect: Connect) -> Self {
        Self { local, order, connect, services: OnceLock::new(), handle, runtime: OnceLock::new() }
    }

    fn services(&self) -> &Services {
        self.services.get_or_init(|| Services::new((self.connect)()))
    }

    fn wait<F: Future>(&self, question: F) -> Result<F::Output, KeyError> {
        if let Some(handle) = &self.handle {
            return Ok(handle.block_on(question));
        }
        let make = || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.map_err(|error| KeyError::Local { message: format!("no thread can be started: {}", error.kind()) })
        };
        let runtime = self.runtime.get_or_init(make).as_ref().map_err(Clone::clone)?;
        Ok(runtime.block_on(question))
    }

    /// Begins the next run: services that were away are asked again.
    pub fn begin_run(&self) {
        if let Some(services) = self.services.get() {
            services.away.forget();
        }
    }

    /// Fills in what keys leave open before they are written into a file: the version of a Key Vault key that names none.
    /// A key is asked for once.
    ///
    /// # Errors
    /// The key whose service did not say, and why.
    pub fn complete(&self, groups: &mut [Vec<KeyRef>]) -> Result<(), SopsError> {
        for key in groups.iter_mut().flatten().filter(|key| key.is_open()) {
            *key = self
                .wait(self.services().complete(key))
                .and_then(|answer| answer)
                .map_err(|error| SopsError::Wrap { failures: vec![WrapFailure { key: key.clone(), error }] })?;
        }
        Ok(())
    }

    /// Wraps for all keys of a file. What this machine can do itself is done first, one after the other; the rest at the
    /// same time.
    pub fn wrap(&self, wanted: &[(&KeyRef, &Plaintext)]) -> Vec<Wrapped> {
        let mut answers: Vec<Option<Wrapped>> =
            wanted.iter().map(|(key, secret)| self.local.wrap(key, secret)).collect();
        let open = answers.iter().zip(wanted).enumerate();
        let open = open.filter(|(_, (answer, (key, _)))| !matches!(answer, Some(Ok(_))) && self.services().serve(key));
        let (places, questions): (Vec<usize>, Vec<(&KeyRef, &Plaintext)>) =
            open.map(|(at, (_, question))| (at, *question)).unzip();
        if !questions.is_empty() {
            let more = match self.wait(self.services().wrap(&questions)) {
                Ok(more) => more,
                Err(error) => questions.iter().map(|_| Err(error.clone())).collect(),
            };
            for (at, answer) in places.into_iter().zip(more) {
                let Some(place) = answers.get_mut(at) else { continue };
                *place = Some(match (place.take(), answer) {
                    (Some(Err(here)), Err(there)) => Err(KeyError::Service { message: format!("{here}; {there}") }),
                    (_, answer) => answer,
                });
            }
        }
        let unsupported = |key: &KeyRef| Err(KeyError::Unsupported { kind: key.kind() });
        answers.into_iter().zip(wanted).map(|(answer, (key, _))| answer.unwrap_or_else(|| unsupported(key))).collect()
    }
}

impl<L: LocalKeys + Send> Unlock for DataKeys<L> {
    fn unlock(&self, document: &Document) -> Result<DataKey, SopsError> {
        let mut unlocking = Unlocking::new(document, &self.order);
        for rank in 0..unlocking.ranks() {
            unlocking.try_local(rank, &self.local);
            let mut wanted = unlocking.wanted(rank);
            if wanted.is_empty() {
                continue;
            }
            wanted.retain(|(_, key)| self.services().serve(&key.key));
            if wanted.is_empty() {
                continue;
            }
            if let Err(error) = self.wait(self.services().unwrap(&mut unlocking, &wanted)) {
                wanted.iter().for_each(|(group, key)| unlocking.answer(*group, key, Err(error.clone())));
            }
        }
        unlocking.finish()
    }
}

type Known = HashMap<[u8; 32], Arc<OnceCell<Plaintext>>>;

/// All services of a run, the calls under way, and what they answered.
struct Services {
    services: Vec<Arc<dyn KeyService>>,
    calls: Semaphore,
    known: Mutex<Known>,
    complete: Mutex<HashMap<String, Arc<OnceCell<KeyRef>>>>,
    away: Away,
}

/// The services that a run has found away: by their place in the list, which stands for their credentials, and by what
/// was asked there. A refusal of one key is not among them, and any answer of the service takes it out again: calls that
/// were under way may still get one.
#[derive(Default)]
struct Away(Mutex<HashMap<(usize, String), KeyError>>);

impl Away {
    fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(usize, String), KeyError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer in the place of a call, if that would only be waited for.
    fn answer(&self, place: &(usize, String)) -> Option<KeyError> {
        let found = self.lock().get(place)?.to_string();
        Some(KeyError::Unreachable { message: format!("not asked again in this run: {found}") })
    }

    fn note<T>(&self, place: (usize, String), answer: &Result<T, KeyError>) {
        match answer {
            Err(error) if error.is_of_service() => {
                self.lock().entry(place).or_insert_with(|| error.clone());
            }
            Ok(_) | Err(KeyError::Service { .. }) => {
                self.lock().remove(&place);
            }
            // Nobody was asked.
            Err(_) => {}
        }
    }
}

/// One key of a group and what became of it.
type Answers = Result<Plaintext, Vec<KeyError>>;

impl Services {
    fn new(services: Vec<Arc<dyn KeyService>>) -> Self {
        let calls = Semaphore::new(limits::KEY_SERVICE_CALLS);
        Self { services, calls, known: Mutex::default(), complete: Mutex::default(), away: Away::default() }
    }

    /// The services of a key, each with its place in the list.
    fn serving<'s>(&'s self, key: &'s KeyRef) -> impl Iterator<Item = (usize, &'s Arc<dyn KeyService>)> {
        self.services.iter().enumerate().filter(|(_, service)| service.serves(key))
    }

    /// The key as the first of its services completes it; once for all who wait for the same. The others are not asked:
    /// only who knows the key's own service can say more than that it is open, and an open key must not be written for
    /// want of a login.
    async fn complete(&self, key: &KeyRef) -> Result<KeyRef, KeyError> {
        let cell = {
            let mut known = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= limits::DATA_KEYS_KEPT {
                known.clear();
            }
            known.entry(format!("{} {key}", key.kind())).or_default().clone()
        };
        let ask = || async {
            let (at, service) = self.serving(key).next().ok_or(KeyError::Unsupported { kind: key.kind() })?;
            self.call(at, service, key, service.complete(key)).await
        };
        cell.get_or_try_init(ask).await.cloned()
    }

    fn serve(&self, key: &KeyRef) -> bool {
        self.services.iter().any(|service| service.serves(key))
    }

    /// Asks for all keys of all groups at once, and stops asking for a group at its first answer and for all of them when
    /// enough have opened.
    async fn unwrap(&self, unlocking: &mut Unlocking<'_>, wanted: &[(usize, &WrappedKey)]) {
        let mut groups: Vec<(usize, Vec<&WrappedKey>)> = Vec::new();
        for (group, key) in wanted {
            match groups.last_mut() {
                Some((last, keys)) if last == group => keys.push(*key),
                _ => groups.push((*group, vec![*key])),
            }
        }
        let mut open: FuturesUnordered<_> =
            groups.into_iter().map(|(group, keys)| async move { (group, self.unwrap_any(keys).await) }).collect();
        while let Some((group, answers)) = open.next().await {
            for (key, answer) in answers {
                match answer {
                    Ok(share) => unlocking.answer(group, key, Ok(share)),
                    Err(errors) => errors.into_iter().for_each(|error| unlocking.answer(group, key, Err(error))),
                }
            }
            if unlocking.is_enough() {
                break;
            }
        }
    }

    /// The keys of one group: the failures up to the first that opens, in the order of the file.
    async fn unwrap_any<'k>(&self, keys: Vec<&'k WrappedKey>) -> Vec<(&'k WrappedKey, Answers)> {
        let mut asked: FuturesUnordered<_> = keys
            .into_iter()
            .enumerate()
            .map(|(order, key)| async move { (order, key, self.unwrap_one(key).await) })
            .collect();
        let mut answers = Vec::new();
        while let Some((order, key, answer)) = asked.next().await {
            let done = answer.is_ok();
            answers.push((order, key, answer));
            if done {
                break;
            }
        }
        answers.sort_by_key(|(order, ..)| *order);
        answers.into_iter().map(|(_, key, answer)| (key, answer)).collect()
    }

    /// One key, at every service that serves it; once for all who wait for the same.
    async fn unwrap_one(&self, key: &WrappedKey) -> Answers {
        let cell = self.cell(key);
        let share = cell.get_or_try_init(|| async {
            let ask = |(at, service)| self.call(at, service, &key.key, service.unwrap(key));
            let mut asked: FuturesUnordered<_> = self.serving(&key.key).map(ask).collect();
            let mut errors = Vec::new();
            while let Some(answer) = asked.next().await {
                match answer {
                    Ok(share) => return Ok(share),
                    Err(error) => errors.push(error),
                }
            }
            Err(errors)
        });
        share.await.map(Plaintext::duplicate)
    }

    /// The place of a wrapped key among what is known: by the key and its exact ciphertext.
    fn cell(&self, key: &WrappedKey) -> Arc<OnceCell<Plaintext>> {
        let mut hash = Sha256::new();
        for part in [key.key.kind().name(), &key.key.to_string(), &key.enc] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::DATA_KEYS_KEPT {
            known.clear();
        }
        known.entry(hash.finalize().into()).or_default().clone()
    }

    /// One call to the service at this place, when its turn comes, and not for ever.
    async fn call<T>(
        &self,
        at: usize,
        service: &Arc<dyn KeyService>,
        key: &KeyRef,
        call: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
        let late = KeyError::TimedOut { service: "the key service", seconds: limits::KEY_SERVICE_SECONDS };
        // The semaphore is never closed.
        let _turn = self.calls.acquire().await;
        let place = (at, service.endpoint(key));
        if let Some(error) = self.away.answer(&place) {
            return Err(error);
        }
        let answer = tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(late));
        self.away.note(place, &answer);
        answer
    }

    /// Wraps for each key with the first of its services that can, all keys at once.
    async fn wrap(&self, wanted: &[(&KeyRef, &Plaintext)]) -> Vec<Wrapped> {
        let one = |key: &KeyRef, secret: &Plaintext| {
            let (key, secret) = (key.clone(), secret.duplicate());
            async move {
                let mut failed = Err(KeyError::Unsupported { kind: key.kind() });
                for (at, service) in self.serving(&key) {
                    match self.call(at, service, &key, service.wrap(&key, &secret)).await {
                        Ok(enc) => return Ok(enc),
                        Err(error) => failed = Err(error),
                    }
                }
                failed
            }
        };
        futures::future::join_all(wanted.iter().map(|(key, secret)| one(key, secret))).await
    }
}

#[cfg(test)]
mod tests;
