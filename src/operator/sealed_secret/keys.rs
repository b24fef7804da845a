//! The sealing keys of the cluster: found by label, watched, generated and renewed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch as channel};

use super::ring;
use crate::adapters::k8s::watch::{self, Change, Scope, SecretMeta, Store};
use crate::adapters::k8s::{ApiError, secrets};
use crate::operator::part::Context;
use crate::pure::desired::SEALING_KEY_LABEL;
use crate::pure::error::Explain;
use crate::pure::sealed::generate::{NewKey, generate};
use crate::pure::sealed::keys::{KeyStates, SealingKey, SealingKeys};
use crate::pure::sealed::ring::renewal_due;

/// How often the keys are listed although no watch said that they changed: the safety net below the watch.
const RELIST: Duration = Duration::from_secs(300);

/// Wait after a failed list or generation.
const RETRY: Duration = Duration::from_secs(2);

/// The keys as last read, shared by all who open or seal.
pub(super) struct KeySet {
    keys: channel::Sender<Loaded>,
    reload: Notify,
}

/// One reading of the keys.
#[derive(Clone)]
pub(super) struct Loaded {
    keys: SealingKeys,
    states: KeyStates,
    /// `None` after the first successful reading.
    problem: Option<String>,
}

impl KeySet {
    pub(super) fn new(context: &Context) -> Self {
        let keys = SealingKeys::ordered_by(context.settings.sealing.key_order);
        let problem = Some("the sealing keys have not been read yet".into());
        let states = keys.states();
        Self { keys: channel::channel(Loaded { keys, states, problem }).0, reload: Notify::new() }
    }

    /// The present set.
    pub(super) fn current_set(&self) -> SealingKeys {
        self.keys.borrow().keys.clone()
    }

    /// The present set, and by what it is told from another one.
    pub(super) fn current_states(&self) -> (SealingKeys, KeyStates) {
        let loaded = self.keys.borrow();
        (loaded.keys.clone(), loaded.states.clone())
    }

    /// Wakes at each change of the set.
    pub(super) fn changes(&self) -> channel::Receiver<Loaded> {
        self.keys.subscribe()
    }

    /// Whether there is a key to serve.
    pub(super) fn ready(&self) -> Result<(), String> {
        let loaded = self.keys.borrow();
        match &loaded.problem {
            Some(problem) => Err(problem.clone()),
            None if loaded.keys.current().is_none() => Err("there is no sealing key yet".into()),
            None => Ok(()),
        }
    }

    fn set(&self, keys: SealingKeys) {
        let changed = |old: &SealingKeys| {
            let mark = |keys: &SealingKeys| {
                keys.iter()
                    .map(|key| {
                        (
                            key.name().to_owned(),
                            key.fingerprint().clone(),
                            key.state().clone(),
                            key.certificate().is_some(),
                            key.backups().clone(),
                        )
                    })
                    .collect::<Vec<_>>()
            };
            mark(old) != mark(&keys)
        };
        self.keys.send_if_modified(|loaded| {
            let modified = loaded.problem.take().is_some() || changed(&loaded.keys);
            if modified {
                loaded.states = keys.states();
                loaded.keys = keys.clone();
            }
            modified
        });
    }

    fn fail(&self, problem: String) {
        // What is loaded stays in use; only a ring that was never read is not ready.
        self.keys.send_if_modified(|loaded| {
            if loaded.problem.is_some() {
                loaded.problem = Some(problem);
            }
            false
        });
    }
}

/// Watches the key Secrets as metadata and asks for a reading at each change.
pub(super) async fn watch_keys(context: Arc<Context>, ring: Arc<KeySet>) {
    let scope = Scope { namespace: Some(context.namespace.clone()), labels: SEALING_KEY_LABEL.into() };
    let on = {
        let ring = ring.clone();
        move |_: Change<'_, SecretMeta>| ring.reload.notify_one()
    };
    watch::secrets(context.cluster.clone(), scope, Arc::new(Store::default()), on, context.stop.clone()).await;
}

/// Reads the keys, makes the first one, renews them, for ever.
pub(super) async fn maintain(context: Arc<Context>, ring: Arc<KeySet>) {
    // Whether the current key was older than the cut-off is asked once, at start, as the incumbent does.
    let mut cutoff = context.settings.sealing.key_cutoff;
    // The incumbent's way to ask for a new key at once. Without the signal everything else works.
    let mut asked = signal(SignalKind::user_defined1()).ok();
    loop {
        let wait = match read(&context).await {
            Ok(keys) => {
                ring.set(keys);
                match due(&context, &ring.current_set(), cutoff).await {
                    Some(wait) if wait.is_zero() => make_one(&context, &ring, &mut cutoff).await,
                    Some(wait) => wait.min(RELIST),
                    None => RELIST,
                }
            }
            Err(error) => {
                tracing::warn!(reason = error.reason(), "the sealing keys cannot be read: {}", error.line());
                ring.fail(error.line());
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {},
            () = ring.reload.notified() => {},
            () = signalled(&mut asked) => drop(make_one(&context, &ring, &mut cutoff).await),
        }
    }
}

async fn signalled(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// How long until a new key is due; `None` for never, zero for now.
async fn due(context: &Context, keys: &SealingKeys, cutoff: Option<Timestamp>) -> Option<Duration> {
    let Some(current) = keys.current() else { return Some(Duration::ZERO) };
    if cutoff.is_some_and(|cutoff| current.order_time(keys.order()) < cutoff) {
        return Some(Duration::ZERO);
    }
    let due = renewal_due(current, keys, ring::renew_period(context).await?)?;
    Some(Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
}

/// Makes a key if this replica leads. Returns how long to wait before the next look.
async fn make_one(context: &Arc<Context>, ring: &KeySet, cutoff: &mut Option<Timestamp>) -> Duration {
    if !context.leadership.leads() {
        // The leader makes it, and the watch brings it.
        return RETRY;
    }
    match create(context).await {
        Ok(name) => {
            *cutoff = None;
            tracing::info!(secret = %name, "new sealing key");
            match read(context).await {
                Ok(keys) => ring.set(keys),
                Err(error) => ring.fail(error.line()),
            }
            Duration::ZERO
        }
        Err(why) => {
            tracing::error!("no sealing key could be made: {why}");
            ring.fail(why);
            RETRY
        }
    }
}

async fn create(context: &Context) -> Result<String, String> {
    let sealing = &context.settings.sealing;
    let new = NewKey {
        bits: sealing.key_size,
        common_name: sealing.my_cn.clone(),
        now: Timestamp::now(),
        validity: SignedDuration::try_from(sealing.key_ttl).map_err(|e| e.to_string())?,
    };
    let made = tokio::task::spawn_blocking(move || generate(&new)).await.map_err(|e| e.to_string())?;
    let made = made.map_err(|e| e.to_string())?;
    let certificate = made.cert_pem.clone();
    let secret =
        made.into_secret(&context.namespace, &sealing.key_prefix, &sealing.key_labels, &sealing.key_annotations);
    let name = context.writer.create_sealing_key(&secret).await.map_err(|e| e.line())?;
    // Users behind firewalls copy the certificate from the log.
    tracing::info!("certificate of the new sealing key:\n{certificate}");
    Ok(name)
}

/// Reads every Secret with the label, and the unlabelled one of the oldest controllers. One unreadable key is skipped:
/// the incumbent stopped at it.
async fn read(context: &Context) -> Result<SealingKeys, ApiError> {
    let sealing = &context.settings.sealing;
    let mut keys = SealingKeys::ordered_by(sealing.key_order);
    let labelled = secrets::list(&context.cluster, &context.namespace, SEALING_KEY_LABEL).await?;
    let legacy = if labelled.iter().any(|secret| secret.name == sealing.key_prefix) {
        None
    } else {
        match secrets::get(&context.cluster, &context.namespace, &sealing.key_prefix).await {
            // The role grants `get` on this one name, or not: it is a courtesy.
            Err(ApiError::Denied { .. }) => None,
            // A passing fault must not look like a cluster without keys, which would get a new one.
            other => other?,
        }
    };
    for (secret, legacy) in labelled.iter().map(|s| (s, false)).chain(legacy.iter().map(|s| (s, true))) {
        match SealingKey::from_secret(secret, legacy) {
            Ok((key, problem)) => {
                if let Some(problem) = problem {
                    tracing::warn!(reason = problem.reason(), "{}", problem.line());
                }
                keys.add(key);
            }
            Err(error) => tracing::warn!(reason = error.reason(), "{}", error.line()),
        }
    }
    Ok(keys)
}
