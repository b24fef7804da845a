//! One pass over the documents of a commit: open, decide, write, prune.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;

use super::memory::Memory;
use super::{Sources, access};
use crate::adapters::k8s::events::EventKind;
use crate::adapters::k8s::{ApiError, secrets};
use crate::adapters::kms::DataKeys;
use crate::adapters::parallel;
use crate::pure::crd::encrypted_source::{
    EncryptedSource, EncryptedSourceStatus, FileState, FileStatus, InventoryEntry,
};
use crate::pure::desired::{DesiredSecret, GuardPolicy, SecretAction, WriteMode};
use crate::pure::error::{Explain, Retry};
use crate::pure::gitops::conclude::{Blocked, Pass};
use crate::pure::gitops::decide::{
    ADOPT_ANNOTATION, Applied, Live, MANAGER, NotOurs, SOURCE_LABEL, Verdict, decide, fingerprint, may_prune,
    prune_plan, source_label,
};
use crate::pure::gitops::tree::TreeFile;
use crate::pure::gitops::{Document, FileResult, Keys, StageError, Staged, stage};
use crate::pure::keys::Identities;
use crate::pure::limits;
use crate::pure::queue::ObjectKey;
use crate::pure::sealed::{Hints, SealingKeys};

/// What the inventory recorded: UID by name of the Secret.
type Recorded = BTreeMap<String, String>;

/// Why a Secret was not written.
enum Refused {
    /// This document alone failed.
    Document(Failed),
    /// The whole pass must end: the API server is away, or this replica does not lead.
    Pass(ApiError),
}

/// What the status says of a document that failed, and whether that may pass by itself.
struct Failed {
    reason: &'static str,
    message: String,
    retry: bool,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Invalid { .. } | ApiError::Denied { .. } | ApiError::Conflict { .. } => {
                let retry = error.retry() != Retry::OnChange;
                Self::Document(Failed { reason: error.reason(), message: error.line(), retry })
            }
            other => Self::Pass(other),
        }
    }
}

impl Sources {
    /// Applies what is remembered of the commit. `new`: it was just fetched, and all documents are told anew.
    pub(super) async fn apply(
        &self,
        key: &ObjectKey,
        source: &EncryptedSource,
        memory: &mut Memory,
        previous: Option<&EncryptedSourceStatus>,
        new: bool,
    ) -> Result<Result<Pass, Blocked>, ApiError> {
        let found = access::keys(&self.context, &key.namespace, &source.spec, &mut memory.keys).await?;
        let (keys, remarks) = match found {
            Ok(found) => found,
            Err(blocked) => return Ok(Err(blocked)),
        };
        let files = memory.files.take().unwrap_or_default();
        let sealing = if files.iter().any(holds_sealed) {
            access::sealing_keys(&self.context).await
        } else {
            Ok(SealingKeys::new())
        };
        let sealing = match sealing {
            Ok(sealing) => sealing,
            Err(error) => {
                memory.files = Some(files);
                return Err(error);
            }
        };
        let results = open(key, files, keys, sealing).await?;
        let recorded = recorded(key, previous);
        let mut pass = Pass { revision: memory.revision.clone(), remarks, ..Pass::default() };
        let written = self.write_all(key, &results, memory, &recorded, &mut pass).await;
        let written = match written {
            Ok(()) => self.prune(key, source, &results, &recorded, &mut pass).await,
            Err(error) => Err(error),
        };
        remember(memory, results, new, &mut pass);
        written?;
        Ok(Ok(pass))
    }

    /// Writes what the documents want, several Secrets at a time, and tells of each document in the repository's order.
    async fn write_all(
        &self,
        key: &ObjectKey,
        results: &[FileResult],
        memory: &mut Memory,
        recorded: &Recorded,
        pass: &mut Pass,
    ) -> Result<(), ApiError> {
        let wanted = first_of_each_name(results);
        memory.wanted = wanted.keys().map(|name| (*name).to_owned()).collect();
        let applied = &memory.applied;
        let writes = wanted.iter().map(|(name, wanted)| async move {
            let recorded = recorded.get(*name).map(String::as_str);
            (*name, self.write_one(key, wanted.secret, applied.get(*name), recorded).await)
        });
        let mut writes = futures::stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(limits::SOURCE_WRITES);
        let mut done = vec![];
        while let Some((name, outcome)) = writes.next().await {
            // What is still under way is decided anew by the next pass.
            let ends = matches!(outcome, Err(Refused::Pass(_)));
            done.push((name, outcome));
            if ends {
                break;
            }
        }
        drop(writes);
        let mut outcomes: BTreeMap<&str, Result<String, Failed>> = BTreeMap::new();
        let mut end = None;
        for (name, outcome) in done {
            match outcome {
                Ok((uid, applied)) => {
                    memory.applied.extend(applied.map(|applied| (name.to_owned(), applied)));
                    outcomes.insert(name, Ok(uid));
                }
                Err(Refused::Pass(error)) => end = Some(error),
                Err(Refused::Document(failed)) => drop(outcomes.insert(name, Err(failed))),
            }
        }
        if let Some(error) = end {
            return Err(error);
        }
        for (file, document) in results.iter().flat_map(|file| file.documents.iter().map(move |d| (file, d))) {
            let state = match &document.outcome {
                Ok(Staged::Secret(secret, _)) => match outcomes.remove(secret.name()) {
                    Some(outcome) => told_of_write(key, secret.name(), outcome, recorded, pass),
                    None => {
                        let object = format!("Secret {}/{}", secret.namespace(), secret.name());
                        let first = wanted.get(secret.name()).map(|first| place(first.file, first.document));
                        failed(&StageError::Duplicate { object, first: first.unwrap_or_default() })
                    }
                },
                Ok(_) if document.header.kind.is_empty() => continue,
                Ok(_) => ignored(document),
                Err(error) => {
                    // The last good Secret stays, and stays ours.
                    let name = &document.header.name;
                    let entry = recorded.get(name).map(|uid| InventoryEntry::of_secret(&key.namespace, name, uid));
                    pass.inventory.extend(entry);
                    pass.retry |= error.retry() != Retry::OnChange;
                    failed(error)
                }
            };
            pass.files.push(told(file, document, state));
        }
        Ok(())
    }

    /// Returns the UID of the Secret that is as it should be, and what to remember if it was written.
    async fn write_one(
        &self,
        key: &ObjectKey,
        secret: &DesiredSecret,
        applied: Option<&Applied>,
        recorded: Option<&str>,
    ) -> Result<(String, Option<Applied>), Refused> {
        let wanted = fingerprint(&self.context.fingerprints, secret);
        let name = ObjectKey::new(key.namespace.clone(), secret.name());
        let watched = self.context.secrets.get(&name).map(|meta| Live {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            source: meta.labels.get(SOURCE_LABEL).cloned(),
            adopt: meta.annotations.get(ADOPT_ANNOTATION).cloned(),
        });
        let mut verdict = decide(&key.name, watched.as_ref(), applied, recorded, wanted);
        if matches!(verdict, Verdict::Create | Verdict::NotOurs) {
            // The watch may lag behind: ask before taking one for absent, or for somebody else's.
            let live = secrets::get(&self.context.cluster, &name.namespace, &name.name).await?;
            verdict = decide(&key.name, live.as_ref().map(Live::of).as_ref(), applied, recorded, wanted);
        }
        let force = match verdict {
            Verdict::Keep => return Ok((watched.map(|live| live.uid).unwrap_or_default(), None)),
            Verdict::NotOurs => {
                let error = NotOurs(name);
                let failed = Failed { reason: error.reason(), message: error.line(), retry: false };
                return Err(Refused::Document(failed));
            }
            Verdict::Create => false,
            Verdict::Apply => true,
        };
        let stored = self.context.writer.write(secret, &WriteMode::Apply { manager: MANAGER.into(), force }).await?;
        let applied = Applied { uid: stored.uid.clone(), resource_version: stored.resource_version, wanted };
        Ok((stored.uid, Some(applied)))
    }

    async fn prune(
        &self,
        key: &ObjectKey,
        source: &EncryptedSource,
        results: &[FileResult],
        recorded: &Recorded,
        pass: &mut Pass,
    ) -> Result<(), ApiError> {
        let label = source_label(&key.name);
        let labelled = self.context.secrets.keys_where(|secret, meta| {
            secret.namespace == key.namespace && meta.labels.get(SOURCE_LABEL) == Some(&label)
        });
        let mut known: BTreeMap<String, Option<String>> =
            labelled.into_iter().map(|secret| (secret.name, None)).collect();
        known.extend(recorded.iter().map(|(name, uid)| (name.clone(), Some(uid.clone()))));
        let plan = prune_plan(known, results);
        let keep = |name: &str, uid: &Option<String>| {
            uid.as_ref().map(|uid| InventoryEntry::of_secret(&key.namespace, name, uid))
        };
        if plan.held_back && !plan.candidates.is_empty() && source.spec.prunes() {
            pass.remarks.push("nothing is pruned while a failed document does not say which object it holds".into());
        }
        for (name, uid) in &plan.candidates {
            if plan.held_back || !source.spec.prunes() {
                pass.inventory.extend(keep(name, uid));
                continue;
            }
            let Some(live) = secrets::get(&self.context.cluster, &key.namespace, name).await? else { continue };
            if !may_prune(&key.name, &live, uid.as_deref()) {
                tracing::info!(source = %key, secret = %name, "not pruned: it is not provably ours any more");
                continue;
            }
            let (namespace, uid) = (key.namespace.clone(), live.uid.clone());
            let action = SecretAction::Delete { namespace, name: name.clone(), uid };
            self.context.writer.carry_out(&action).await?;
            let message = format!("Secret {}/{name} left the repository and was deleted", key.namespace);
            self.record(source, EventKind::Normal, "Pruned", &message);
        }
        Ok(())
    }
}

/// The document that a Secret is taken from.
struct Wanted<'r> {
    secret: &'r DesiredSecret,
    file: &'r FileResult,
    document: &'r Document,
}

/// By name of the Secret: where two documents hold one, the first wins.
fn first_of_each_name(results: &[FileResult]) -> BTreeMap<&str, Wanted<'_>> {
    let mut wanted = BTreeMap::new();
    for file in results {
        for document in &file.documents {
            if let Ok(Staged::Secret(secret, _)) = &document.outcome {
                wanted.entry(secret.name()).or_insert(Wanted { secret, file, document });
            }
        }
    }
    wanted
}

/// Takes the outcome of one write into the pass.
fn told_of_write(
    key: &ObjectKey,
    name: &str,
    outcome: Result<String, Failed>,
    recorded: &Recorded,
    pass: &mut Pass,
) -> Told {
    match outcome {
        Ok(uid) => {
            pass.inventory.push(InventoryEntry::of_secret(&key.namespace, name, &uid));
            (FileState::Applied, None, None)
        }
        Err(Failed { reason, message, retry }) => {
            let uid = recorded.get(name);
            pass.inventory.extend(uid.map(|uid| InventoryEntry::of_secret(&key.namespace, name, uid)));
            pass.retry |= retry;
            (FileState::Failed, Some(reason), Some(message))
        }
    }
}

type Told = (FileState, Option<&'static str>, Option<String>);

fn failed(error: &impl Explain) -> Told {
    (FileState::Failed, Some(error.reason()), Some(error.line()))
}

fn ignored(document: &Document) -> Told {
    if !document.header.is_secret() {
        return (FileState::Ignored, None, None);
    }
    let message = "a plain Secret is left to whoever applies the repository; encrypt it to have it applied from here";
    (FileState::Ignored, Some("NotEncrypted"), Some(message.into()))
}

fn told(file: &FileResult, document: &Document, (state, reason, message): Told) -> FileStatus {
    let object = document.header.to_string();
    FileStatus {
        path: file.path.clone(),
        document: document.number.and_then(|number| i64::try_from(number).ok()),
        object: (!object.is_empty()).then_some(object),
        state,
        reason: reason.map(str::to_owned),
        message,
    }
}

fn place(file: &FileResult, document: &Document) -> String {
    match document.number {
        Some(number) => format!("{} (document {number})", file.path),
        None => file.path.clone(),
    }
}

fn recorded(key: &ObjectKey, previous: Option<&EncryptedSourceStatus>) -> Recorded {
    let entries = previous.and_then(|status| status.inventory.as_ref()).map(|inventory| &inventory.entries);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let (namespace, name) = entry.secret()?;
            (namespace == key.namespace).then(|| (name.to_owned(), entry.uid.clone()))
        })
        .collect()
}

fn holds_sealed(file: &TreeFile) -> bool {
    const KIND: &[u8] = b"SealedSecret";
    file.content.as_ref().is_ok_and(|bytes| bytes.windows(KIND.len()).any(|window| window == KIND))
}

/// Decrypting is computation: beside the runtime's threads.
async fn open(
    key: &ObjectKey,
    files: Vec<TreeFile>,
    opens: Arc<DataKeys<Identities>>,
    sealing: SealingKeys,
) -> Result<Vec<FileResult>, ApiError> {
    let policy = GuardPolicy { namespace: Some(key.namespace.clone()), ..Default::default() };
    let labels = BTreeMap::from([(SOURCE_LABEL.to_owned(), source_label(&key.name))]);
    let what = format!("the documents of {key}");
    let now = Timestamp::now();
    tokio::task::spawn_blocking(move || {
        let hints = Hints::default();
        let keys = Keys { sops: &*opens, sealing: &sealing, hints: &hints, policy: &policy, labels: &labels, now };
        parallel::map(files, |file| (stage(file, &keys, None), false))
    })
    .await
    .map_err(|_| ApiError::Decode { what, why: "opening them ended abnormally".into() })
}

/// Keeps the files that a later pass needs, and tells of the others what was told once.
fn remember(memory: &mut Memory, results: Vec<FileResult>, new: bool, pass: &mut Pass) {
    let mut kept = vec![];
    let mut bytes = 0;
    let mut dropped = std::collections::BTreeSet::new();
    for mut result in results {
        let matters = result.documents.iter().any(|d| {
            !matches!(d.outcome, Ok(Staged::Plain(_) | Staged::Opened(_) | Staged::Store(..) | Staged::External(_)))
        });
        if !matters {
            dropped.insert(result.path);
            continue;
        }
        bytes += result.source.len();
        let unread = result.documents.iter_mut().find_map(|document| match &document.outcome {
            Err(StageError::Tree(error)) => Some(error.clone()),
            _ => None,
        });
        let content = unread.map_or(Ok(result.source), Err);
        kept.push(TreeFile { path: result.path, content });
    }
    if new {
        memory.ignored = pass.files.iter().filter(|file| dropped.contains(&file.path)).cloned().collect();
    } else {
        pass.files.extend(memory.ignored.iter().cloned());
    }
    memory.applied.retain(|name, _| memory.wanted.contains(name));
    memory.files = (bytes <= limits::SOURCE_CACHE_BYTES).then_some(kept);
}
