//! The work queue of one kind: a state machine that takes `now` and never sleeps.
//!
//! - A key is queued at most once; a change that arrives while its key is worked on runs it again afterwards.
//! - Lanes: work that somebody waits for goes ahead of periodic refresh, whatever the backlog.
//! - Fairness: within a lane, namespaces take turns, so one tenant's thousand objects do not delay another's one.
//! - Backoff: failures wait longer each time, with a jitter taken from the key, so that a thousand objects that failed
//!   together do not come back together.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::error::Retry;

/// Namespace and name of an object; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// Both parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// How urgent a piece of work is. A lane is served only while all lanes before it are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody waits: a new object, a changed spec, a damaged Secret.
    Change,
    /// A failure whose wait is over.
    Retry,
    /// What has had its turn and was not done: costly work that must not keep others waiting.
    Search,
    /// Periodic refresh.
    Refresh,
}

const LANES: [Lane; 4] = [Lane::Change, Lane::Retry, Lane::Search, Lane::Refresh];

/// First wait and longest wait after failures; each failure doubles the wait.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// First wait.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// Wait after the `failures`-th failure in a row (1 is the first), plus up to a quarter of jitter for `key`.
    pub fn wait(&self, failures: u32, key: &ObjectKey) -> Duration {
        let doubled =
            self.first.saturating_mul(1u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
        let wait = doubled.min(self.longest);
        let mut hasher = DefaultHasher::new();
        (key, failures).hash(&mut hasher);
        wait + wait.mul_f64((hasher.finish() % 1024) as f64 / 4096.0)
    }
}

/// Wait after a conflict. Long enough for the other writer's change to arrive through the watch: deciding again on the
/// same stale view would only meet the same conflict.
pub const AGAIN: Duration = Duration::from_millis(250);

/// How work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Done; come back after this time for a refresh, or only on a change.
    Settled(Option<Duration>),
    /// Failed; come back after the backoff.
    Failed,
    /// Failed, and the other side said when to come back.
    FailedFor(Duration),
    /// Failed in a way that only a change can mend.
    Stuck,
    /// Conflict with another writer: again after [`AGAIN`], without counting as a failure.
    Again,
    /// Not done, and its turn is over: it goes on after those who wait in [`Lane::Search`].
    Unfinished,
}

impl From<Retry> for Finish {
    /// How work ends that failed with an error of this kind.
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::OnChange => Self::Stuck,
            Retry::Backoff => Self::Failed,
            Retry::After(wait) => Self::FailedFor(wait),
        }
    }
}

/// See the module's text.
pub struct Queue {
    backoff: Backoff,
    ready: BTreeMap<Lane, LaneQueue>,
    queued: HashMap<ObjectKey, Lane>,
    later: BTreeSet<(Instant, ObjectKey, Lane)>,
    later_of: HashMap<ObjectKey, (Instant, Lane)>,
    working: HashMap<ObjectKey, Option<Lane>>,
    failures: HashMap<ObjectKey, u32>,
}

#[derive(Default)]
struct LaneQueue {
    turns: VecDeque<String>,
    by_namespace: HashMap<String, VecDeque<ObjectKey>>,
}

impl LaneQueue {
    fn push(&mut self, key: ObjectKey) {
        let keys = self.by_namespace.entry(key.namespace.clone()).or_default();
        if keys.is_empty() {
            self.turns.push_back(key.namespace.clone());
        }
        keys.push_back(key);
    }

    fn pop(&mut self) -> Option<ObjectKey> {
        let namespace = self.turns.pop_front()?;
        let keys = self.by_namespace.get_mut(&namespace)?;
        let key = keys.pop_front();
        if keys.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        key
    }

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(keys) = self.by_namespace.get_mut(&key.namespace) {
            keys.retain(|queued| queued != key);
            if keys.is_empty() {
                self.by_namespace.remove(&key.namespace);
                self.turns.retain(|namespace| *namespace != key.namespace);
            }
        }
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            ready: LANES.into_iter().map(|lane| (lane, LaneQueue::default())).collect(),
            queued: HashMap::new(),
            later: BTreeSet::new(),
            later_of: HashMap::new(),
            working: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Queues `key` now. A more urgent lane wins over one that it already waits in; a pending wait is dropped.
    pub fn add(&mut self, key: ObjectKey, lane: Lane) {
        self.cancel_later(&key);
        if let Some(dirty) = self.working.get_mut(&key) {
            *dirty = Some(dirty.map_or(lane, |queued| queued.min(lane)));
            return;
        }
        match self.queued.get(&key).copied() {
            Some(queued) if queued <= lane => return,
            Some(queued) => {
                if let Some(queue) = self.ready.get_mut(&queued) {
                    queue.remove(&key);
                }
            }
            None => {}
        }
        self.queued.insert(key.clone(), lane);
        self.ready.entry(lane).or_default().push(key);
    }

    /// Queues `key` at `due`, unless it is already queued or due earlier.
    pub fn add_at(&mut self, key: ObjectKey, lane: Lane, due: Instant) {
        if self.queued.contains_key(&key) {
            return;
        }
        match self.later_of.get(&key) {
            Some((earlier, _)) if *earlier <= due => return,
            Some(_) => self.cancel_later(&key),
            None => {}
        }
        self.later.insert((due, key.clone(), lane));
        self.later_of.insert(key, (due, lane));
    }

    /// Takes the most urgent key, if any is ready at `now`. It must be given back with [`Queue::finish`].
    pub fn take(&mut self, now: Instant) -> Option<(ObjectKey, Lane)> {
        self.wake(now);
        let (lane, key) = LANES.iter().find_map(|lane| Some((*lane, self.ready.get_mut(lane)?.pop()?)))?;
        self.queued.remove(&key);
        self.working.insert(key.clone(), None);
        Some((key, lane))
    }

    /// Gives a key back.
    pub fn finish(&mut self, key: &ObjectKey, finish: Finish, now: Instant) {
        let dirty = self.working.remove(key).flatten();
        let wait = match finish {
            Finish::Settled(wait) => {
                self.failures.remove(key);
                wait.map(|wait| (wait, Lane::Refresh))
            }
            Finish::Failed => Some((self.count_failure(key), Lane::Retry)),
            Finish::FailedFor(wait) => {
                self.count_failure(key);
                Some((wait, Lane::Retry))
            }
            Finish::Stuck => {
                self.count_failure(key);
                None
            }
            Finish::Again => Some((AGAIN, Lane::Change)),
            Finish::Unfinished => {
                self.add(key.clone(), dirty.map_or(Lane::Search, |lane| lane.min(Lane::Search)));
                return;
            }
        };
        match (dirty, wait) {
            (Some(lane), _) => self.add(key.clone(), lane),
            (None, Some((wait, lane))) => self.add_at(key.clone(), lane, now + wait),
            (None, None) => {}
        }
    }

    /// Drops what is known about a deleted object's failures and waits. Work in flight ends by itself.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.failures.remove(key);
        self.cancel_later(key);
    }

    /// When the next waiting key becomes ready; the driver sleeps until then.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(due, _, _)| *due)
    }

    /// Keys that are ready, per lane. For metrics.
    pub fn depth(&self, lane: Lane) -> usize {
        self.queued.values().filter(|queued| **queued == lane).count()
    }

    /// Failures of `key` in a row.
    pub fn failures(&self, key: &ObjectKey) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }

    fn count_failure(&mut self, key: &ObjectKey) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        self.backoff.wait(*failures, key)
    }

    fn cancel_later(&mut self, key: &ObjectKey) {
        if let Some((due, lane)) = self.later_of.remove(key) {
            self.later.remove(&(due, key.clone(), lane));
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((due, key, lane)) = self.later.first().cloned() {
            if due > now {
                break;
            }
            self.add(key, lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(namespace, name)
    }

    fn drain(queue: &mut Queue, now: Instant) -> Vec<String> {
        let mut names = vec![];
        while let Some((key, _)) = queue.take(now) {
            queue.finish(&key, Finish::Settled(None), now);
            names.push(key.to_string());
        }
        names
    }

    #[test]
    fn changes_go_ahead_of_refreshes_and_namespaces_take_turns() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        queue.add(key("a", "1"), Lane::Refresh);
        for name in ["2", "3", "4"] {
            queue.add(key("a", name), Lane::Change);
        }
        queue.add(key("b", "5"), Lane::Change);
        assert_eq!(drain(&mut queue, now), ["a/2", "b/5", "a/3", "a/4", "a/1"]);
    }

    #[test]
    fn a_key_is_queued_once_and_moves_to_the_more_urgent_lane() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        queue.add(key("a", "1"), Lane::Refresh);
        queue.add(key("a", "2"), Lane::Refresh);
        queue.add(key("a", "2"), Lane::Change);
        queue.add(key("a", "2"), Lane::Refresh);
        assert_eq!((queue.depth(Lane::Change), queue.depth(Lane::Refresh)), (1, 1));
        assert_eq!(drain(&mut queue, now), ["a/2", "a/1"]);
    }

    #[test]
    fn unfinished_work_goes_on_after_changes_and_before_refreshes() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        for name in ["1", "2"] {
            queue.add(key("a", name), Lane::Change);
            let (taken, _) = queue.take(now).expect("ready");
            queue.finish(&taken, Finish::Unfinished, now);
        }
        queue.add(key("a", "3"), Lane::Refresh);
        queue.add(key("a", "4"), Lane::Change);
        let (first, _) = queue.take(now).expect("ready");
        queue.finish(&first, Finish::Settled(None), now);
        // One that changes meanwhile is a change.
        let (second, lane) = queue.take(now).expect("ready");
        queue.add(second.clone(), Lane::Change);
        queue.finish(&second, Finish::Unfinished, now);
        assert_eq!((first.name.as_str(), second.name.as_str(), lane), ("4", "1", Lane::Search));
        assert_eq!(queue.depth(Lane::Change), 1);
        assert_eq!(drain(&mut queue, now), ["a/1", "a/2", "a/3"]);
    }

    #[test]
    fn a_change_during_work_runs_the_key_again() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        queue.add(key("a", "1"), Lane::Change);
        let (taken, _) = queue.take(now).expect("ready");
        queue.add(key("a", "1"), Lane::Change);
        assert!(queue.take(now).is_none(), "never twice at the same time");
        queue.finish(&taken, Finish::Settled(Some(Duration::from_secs(3600))), now);
        assert!(queue.take(now).is_some(), "the change is not lost");
    }

    #[test]
    fn failures_wait_longer_each_time_and_success_forgets_them() {
        let mut now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        let object = key("a", "1");
        queue.add(object.clone(), Lane::Change);
        let mut waits = vec![];
        for _ in 0..8 {
            let (taken, _) = queue.take(now).expect("ready");
            queue.finish(&taken, Finish::Failed, now);
            assert!(queue.take(now).is_none());
            let due = queue.next_due().expect("waits");
            waits.push((due - now).as_secs_f64());
            now = due;
        }
        for (index, wait) in waits.iter().enumerate() {
            let base = f64::from(2u32.pow(index as u32)).min(60.0);
            assert!(*wait >= base && *wait <= base * 1.25, "{index}: {wait}");
        }
        let (taken, lane) = queue.take(now).expect("ready");
        assert_eq!(lane, Lane::Retry);
        queue.finish(&taken, Finish::Settled(None), now);
        assert_eq!(queue.failures(&object), 0);
        assert!(queue.next_due().is_none());
    }

    #[test]
    fn a_change_cuts_a_wait_short() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        queue.add_at(key("a", "1"), Lane::Refresh, now + Duration::from_secs(100));
        queue.add(key("a", "1"), Lane::Change);
        assert_eq!(drain(&mut queue, now), ["a/1"]);
        assert!(queue.next_due().is_none(), "the old wait is gone");
    }

    #[test]
    fn the_earlier_of_two_waits_wins() {
        let now = Instant::now();
        let mut queue = Queue::new(BACKOFF);
        let (early, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        queue.add_at(key("a", "1"), Lane::Refresh, late);
        queue.add_at(key("a", "1"), Lane::Retry, early);
        queue.add_at(key("a", "1"), Lane::Refresh, late);
        assert_eq!(queue.next_due(), Some(early));
        assert_eq!(drain(&mut queue, early).len(), 1);
        assert!(queue.next_due().is_none());
    }
}
