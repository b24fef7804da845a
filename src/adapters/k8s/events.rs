//! Kubernetes events (core/v1: the newer group is not in the incumbents' roles).
//!
//! Repeated events raise a count instead of making new objects, and each object has a budget, so that a thousand
//! failing objects cannot flood etcd. Sending is in the background: an event never delays or fails a reconcile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

use super::client::Cluster;
use crate::pure::error::clip;

/// Events waiting to be sent; more are dropped, since they are only a courtesy.
const WAITING: usize = 1024;
/// The API server's limit for `message`.
const MESSAGE_BYTES: usize = 1024;
/// Objects whose recent events are remembered.
const REMEMBERED: usize = 8192;
/// Events per object at once, and how long until one more may be sent (client-go's figures).
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// One event to be sent. The message must hold no secret: build it from errors and names only.
#[derive(Clone, Debug)]
pub struct Note {
    /// The object that it is about.
    pub about: ObjectReference,
    /// Kind.
    pub kind: EventKind,
    /// PascalCase reason.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// `source.component`: incumbents' users filter by it.
    pub component: &'static str,
}

/// Hands notes to the sender.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// Starts the sender; it ends when every recorder is gone.
    pub fn start(cluster: Cluster, host: String) -> Self {
        let (notes, mut waiting) = mpsc::channel::<Note>(WAITING);
        tokio::spawn(async move {
            let mut sender = Sender { cluster, host, sent: HashMap::new(), budgets: HashMap::new() };
            while let Some(note) = waiting.recv().await {
                sender.send(note).await;
            }
        });
        Self { notes }
    }

    /// Queues a note, or drops it when too many wait.
    pub fn record(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("event dropped: too many are waiting");
        }
    }
}

type Same = (String, EventKind, String, String);

struct Sent {
    name: String,
    count: i32,
}

struct Sender {
    cluster: Cluster,
    host: String,
    sent: HashMap<Same, Sent>,
    budgets: HashMap<String, (f64, Instant)>,
}

impl Sender {
    async fn send(&mut self, note: Note) {
        let uid = note.about.uid.clone().unwrap_or_default();
        if !self.within_budget(&uid) {
            return;
        }
        let message = clip(&note.message, MESSAGE_BYTES);
        let same: Same = (uid, note.kind, note.reason.clone(), message.clone());
        let namespace = note.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(self.cluster.client(), &namespace);
        let now = Time(Timestamp::now());
        if let Some(sent) = self.sent.get_mut(&same) {
            sent.count += 1;
            let patch = serde_json::json!({ "count": sent.count, "lastTimestamp": now });
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match self.cluster.call("Event", api.patch(&sent.name, &params, &patch)).await {
                Ok(_) => return,
                // It ran out (an hour by default) or cannot be patched: a new one follows.
                Err(_) => drop(self.sent.remove(&same)),
            }
        }
        let name = format!("{}.{:x}", clip_name(note.about.name.as_deref().unwrap_or("object")), nanos(&now));
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..Default::default() },
            involved_object: note.about,
            type_: Some(if note.kind == EventKind::Normal { "Normal" } else { "Warning" }.into()),
            reason: Some(note.reason),
            message: Some(message),
            source: Some(EventSource { component: Some(note.component.into()), host: Some(self.host.clone()) }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            reporting_component: Some(note.component.into()),
            ..Default::default()
        };
        match self.cluster.call("Event", api.create(&PostParams::default(), &event)).await {
            Ok(_) => {
                if self.sent.len() >= REMEMBERED {
                    self.sent.clear();
                }
                self.sent.insert(same, Sent { name, count: 1 });
            }
            Err(error) => tracing::debug!(%error, "event not recorded"),
        }
    }

    fn within_budget(&mut self, uid: &str) -> bool {
        let now = Instant::now();
        if self.budgets.len() >= REMEMBERED {
            self.budgets.clear();
        }
        let (tokens, at) = self.budgets.entry(uid.to_owned()).or_insert((BURST, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *at = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

fn nanos(time: &Time) -> i128 {
    time.0.as_nanosecond()
}

/// An event's name is the object's name, a dot and up to 16 hex digits, together at most 253.
fn clip_name(name: &str) -> String {
    name.chars().take(230).collect()
}
