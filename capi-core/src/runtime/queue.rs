//! The queue of a manager: which object is reconciled next.
//!
//! An object is handed out at once when its first event comes; after that a token bucket per
//! object bounds how often. Failures back off exponentially. No object is handed out twice at
//! once. Clusters take turns, and none has all that runs at once, so that one with a thousand
//! changing machines does not hold up another. Pure: the caller brings the time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use super::ObjectKey;

/// One object for one controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) controller: usize,
    pub(crate) key: ObjectKey,
}

/// Bounds of the queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Reconciles of one object that may follow each other at once.
    pub burst: u32,
    /// Reconciles of one object per second once the burst is used up.
    pub per_second: f64,
    /// Wait after the first failure; doubles with each one.
    pub backoff_min: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            burst: 20,
            per_second: 10.0,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(120),
        }
    }
}

#[derive(Debug)]
struct Entry {
    lane: ObjectKey,
    running: bool,
    ready: bool,
    /// An event came while it was running.
    dirty: bool,
    due: Option<Timestamp>,
    failures: u32,
    tokens: f64,
    refilled: Timestamp,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// Well; again after this time, if any.
    Done(Option<Duration>),
    /// Badly; with backoff, and not before this time where one is known.
    Failed(Option<Duration>),
    /// Something changed meanwhile: again at once, with backoff when that happens again.
    Overtaken,
}

#[derive(Debug)]
pub(crate) struct Queue {
    config: QueueConfig,
    entries: BTreeMap<Item, Entry>,
    lanes: BTreeMap<ObjectKey, VecDeque<Item>>,
    turns: VecDeque<ObjectKey>,
    /// Objects of each lane that are running.
    running: BTreeMap<ObjectKey, usize>,
    delayed: BTreeSet<(Timestamp, Item)>,
    /// Objects that ended since those without a need of memory were last looked for.
    ended: usize,
}

impl Queue {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            lanes: BTreeMap::new(),
            turns: VecDeque::new(),
            running: BTreeMap::new(),
            delayed: BTreeSet::new(),
            ended: 0,
        }
    }

    /// An event: hand the object out as soon as its bucket allows.
    pub(crate) fn add(&mut self, item: Item, lane: ObjectKey, now: Timestamp) {
        let entry = self.entry(&item, lane, now);
        if entry.running {
            entry.dirty = true;
            return;
        }
        if entry.ready {
            return;
        }
        let at = self.next_token(&item, now);
        self.schedule(item, at, now);
    }

    /// The next object and its lane, of which no more than `most` run at once; it is then running
    /// until [`done`](Self::done).
    pub(crate) fn pop(&mut self, now: Timestamp, most: usize) -> Option<(Item, ObjectKey)> {
        while let Some((due, _)) = self.delayed.first() {
            if *due > now {
                break;
            }
            if let Some((_, item)) = self.delayed.pop_first() {
                if let Some(entry) = self.entries.get_mut(&item) {
                    entry.due = None;
                }
                self.make_ready(item);
            }
        }
        let free = |lane: &ObjectKey| self.running.get(lane).is_none_or(|count| *count < most);
        let lane = self.turns.remove(self.turns.iter().position(free)?)?;
        let items = self.lanes.get_mut(&lane)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane.clone());
        }
        *self.running.entry(lane.clone()).or_default() += 1;
        if let Some(entry) = self.entries.get_mut(&item) {
            entry.ready = false;
            entry.running = true;
            refill(entry, &self.config, now);
            entry.tokens = (entry.tokens - 1.0).max(-1.0);
        }
        Some((item, lane))
    }

    /// The object is no longer running. Returns how many failures in a row it has now.
    pub(crate) fn done(&mut self, item: &Item, finished: Finished, now: Timestamp) -> u32 {
        let config = self.config;
        let Some(entry) = self.entries.get_mut(item) else {
            return 0;
        };
        if entry.running
            && let Some(count) = self.running.get_mut(&entry.lane)
        {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&entry.lane);
            }
        }
        entry.running = false;
        let dirty = std::mem::take(&mut entry.dirty);
        let mut due = entry.due.take();
        match finished {
            Finished::Done(again) => {
                entry.failures = 0;
                if let Some(at) = again.and_then(|again| now.checked_add(again).ok()) {
                    due = Some(due.map_or(at, |due| due.min(at)));
                }
            }
            Finished::Failed(_) | Finished::Overtaken => {
                let wait = match (finished, entry.failures) {
                    (Finished::Failed(at_least), failures) => {
                        backoff(&config, failures).max(at_least.unwrap_or_default())
                    }
                    (_, 0) => Duration::ZERO,
                    (_, failures) => backoff(&config, failures - 1),
                };
                entry.failures = entry.failures.saturating_add(1);
                let at = now.checked_add(wait).unwrap_or(now);
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        }
        let failures = entry.failures;
        if dirty {
            let at = self.next_token(item, now);
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        match due {
            Some(at) => self.schedule(item.clone(), at, now),
            None => self.forget_the_rested(now),
        }
        failures
    }

    /// When the next delayed object is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// When an object is due by itself; `None` when it waits for an event.
    pub(crate) fn due(&self, item: &Item) -> Option<Timestamp> {
        self.entries.get(item).and_then(|entry| entry.due)
    }

    /// Objects that wait to be handed out now.
    pub(crate) fn depth(&self) -> usize {
        self.lanes.values().map(VecDeque::len).sum()
    }

    fn entry(&mut self, item: &Item, lane: ObjectKey, now: Timestamp) -> &mut Entry {
        let burst = f64::from(self.config.burst);
        let entry = self.entries.entry(item.clone()).or_insert_with(|| Entry {
            lane: lane.clone(),
            running: false,
            ready: false,
            dirty: false,
            due: None,
            failures: 0,
            tokens: burst,
            refilled: now,
        });
        if !entry.ready && !entry.running {
            entry.lane = lane;
        }
        entry
    }

    fn next_token(&mut self, item: &Item, now: Timestamp) -> Timestamp {
        let config = self.config;
        let Some(entry) = self.entries.get_mut(item) else {
            return now;
        };
        refill(entry, &config, now);
        if entry.tokens >= 1.0 {
            return now;
        }
        let wait = Duration::from_secs_f64((1.0 - entry.tokens) / config.per_second);
        now.checked_add(wait).unwrap_or(now)
    }

    fn schedule(&mut self, item: Item, at: Timestamp, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        if let Some(due) = entry.due {
            if due <= at {
                return;
            }
            self.delayed.remove(&(due, item.clone()));
            entry.due = None;
        }
        if at <= now {
            self.make_ready(item);
        } else {
            entry.due = Some(at);
            self.delayed.insert((at, item));
        }
    }

    fn make_ready(&mut self, item: Item) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        if entry.ready || entry.running {
            return;
        }
        entry.ready = true;
        let lane = entry.lane.clone();
        let items = self.lanes.entry(lane.clone()).or_default();
        if items.is_empty() {
            self.turns.push_back(lane);
        }
        items.push_back(item);
    }

    /// An object that waits for nothing and whose bucket is full again needs no memory. Looked for
    /// when half as many have ended as are known.
    fn forget_the_rested(&mut self, now: Timestamp) {
        self.ended += 1;
        if self.ended < (self.entries.len() / 2).max(64) {
            return;
        }
        self.ended = 0;
        let config = self.config;
        self.entries.retain(|_, entry| {
            refill(entry, &config, now);
            entry.running
                || entry.ready
                || entry.due.is_some()
                || entry.failures > 0
                || entry.tokens < f64::from(config.burst)
        });
    }
}

fn refill(entry: &mut Entry, config: &QueueConfig, now: Timestamp) {
    let passed = now.duration_since(entry.refilled).as_secs_f64().max(0.0);
    entry.tokens = passed
        .mul_add(config.per_second, entry.tokens)
        .min(f64::from(config.burst));
    entry.refilled = now;
}

fn backoff(config: &QueueConfig, failures: u32) -> Duration {
    config
        .backoff_min
        .saturating_mul(2u32.saturating_pow(failures.min(30)))
        .min(config.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Item {
        Item {
            controller: 0,
            key: ObjectKey::new("default", name),
        }
    }

    fn lane(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap()
    }

    fn pop(queue: &mut Queue, milliseconds: i64) -> Option<Item> {
        let (item, _) = queue.pop(at(milliseconds), 64)?;
        Some(item)
    }

    fn queue() -> Queue {
        Queue::new(QueueConfig {
            burst: 2,
            per_second: 1.0,
            ..QueueConfig::default()
        })
    }

    #[test]
    fn the_first_event_is_handed_out_at_once_and_duplicates_are_one() {
        let mut queue = queue();
        queue.add(item("a"), lane("c"), at(0));
        queue.add(item("a"), lane("c"), at(0));
        assert_eq!(pop(&mut queue, 0), Some(item("a")));
        assert_eq!(pop(&mut queue, 0), None);
    }

    #[test]
    fn an_event_during_a_reconcile_brings_one_more_after_it() {
        let mut queue = queue();
        queue.add(item("a"), lane("c"), at(0));
        pop(&mut queue, 0);
        queue.add(item("a"), lane("c"), at(1));
        assert_eq!(pop(&mut queue, 1), None, "never two at once");
        queue.done(&item("a"), Finished::Done(None), at(2));
        assert_eq!(pop(&mut queue, 2), Some(item("a")));
    }

    #[test]
    fn a_busy_object_is_slowed_to_its_rate() {
        let mut queue = queue();
        let mut times = Vec::new();
        let mut now = 0;
        queue.add(item("a"), lane("c"), at(now));
        while times.len() < 4 {
            if pop(&mut queue, now).is_some() {
                times.push(now);
                queue.add(item("a"), lane("c"), at(now));
                queue.done(&item("a"), Finished::Done(None), at(now));
            } else {
                now = queue.next_due().unwrap().as_millisecond() - 1_000_000;
            }
        }
        assert_eq!(times, [0, 0, 1000, 2000]);
    }

    #[test]
    fn clusters_take_turns() {
        let mut queue = queue();
        for name in ["a1", "a2", "a3"] {
            queue.add(item(name), lane("a"), at(0));
        }
        queue.add(item("b1"), lane("b"), at(0));
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 0)).collect();
        assert_eq!(order, [item("a1"), item("b1"), item("a2"), item("a3")]);
    }

    #[test]
    fn no_cluster_has_all_that_runs_at_once() {
        let mut queue = queue();
        for name in ["a1", "a2", "a3"] {
            queue.add(item(name), lane("a"), at(0));
        }
        assert_eq!(queue.pop(at(0), 2), Some((item("a1"), lane("a"))));
        assert_eq!(queue.pop(at(0), 2), Some((item("a2"), lane("a"))));
        assert_eq!(queue.pop(at(0), 2), None, "two of it are running");
        queue.add(item("b1"), lane("b"), at(0));
        assert_eq!(queue.pop(at(0), 2), Some((item("b1"), lane("b"))));
        queue.done(&item("a1"), Finished::Done(None), at(0));
        assert_eq!(queue.pop(at(0), 2), Some((item("a3"), lane("a"))));
    }

    #[test]
    fn objects_that_rest_are_forgotten() {
        let mut queue = queue();
        for number in 0..200 {
            let object = item(&format!("a{number}"));
            let time = number * 10_000;
            queue.add(object.clone(), lane("a"), at(time));
            assert_eq!(pop(&mut queue, time), Some(object.clone()));
            queue.done(&object, Finished::Done(None), at(time));
        }
        assert!(queue.entries.len() <= 64, "{}", queue.entries.len());
        assert!(queue.running.is_empty());
    }

    #[test]
    fn failures_back_off_and_success_resets() {
        let mut queue = queue();
        let mut now = at(0);
        let mut waits = Vec::new();
        queue.add(item("a"), lane("c"), now);
        for _ in 0..3 {
            queue.pop(now, 64).unwrap();
            queue.done(&item("a"), Finished::Failed(None), now);
            let due = queue.next_due().unwrap();
            waits.push(due.duration_since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [50, 100, 200]);
        queue.pop(now, 64).unwrap();
        assert_eq!(queue.done(&item("a"), Finished::Done(None), now), 0);
    }

    #[test]
    fn who_is_overtaken_comes_again_at_once_but_not_for_ever() {
        let mut queue = queue();
        let mut now = at(0);
        let mut waits = Vec::new();
        queue.add(item("a"), lane("c"), now);
        for _ in 0..4 {
            queue.pop(now, 64).unwrap();
            queue.done(&item("a"), Finished::Overtaken, now);
            let due = queue.next_due().unwrap_or(now);
            waits.push(due.duration_since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [0, 50, 100, 200]);
    }

    #[test]
    fn a_requeue_after_success_waits_its_time() {
        let mut queue = queue();
        queue.add(item("a"), lane("c"), at(0));
        pop(&mut queue, 0).unwrap();
        queue.done(
            &item("a"),
            Finished::Done(Some(Duration::from_secs(5))),
            at(0),
        );
        assert_eq!(queue.next_due(), Some(at(5000)));
    }
}
