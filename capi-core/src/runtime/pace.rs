//! When a state is written: the one answer for all controllers and hosts.
//!
//! A state at rest, or one that somebody waits for, is written at once. A state on the way is
//! written when it has stood still for [`QUIET`] and nothing of its cluster was written meanwhile;
//! one that never comes to stand is written all the same once its patience is over. So a machine
//! that comes up without a break is described once, at the end, while one that waits for something
//! says for what a quarter of a second later. Where writes themselves take long, as on a server
//! under load, a pause between two of them says less, and all of that takes longer in proportion.
//! Pure: the caller brings the time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Object, ObjectKey, ResourceType};
use crate::plan::row::fingerprint;

/// How long a state on the way, and its cluster, must stand still before it is written; longer
/// where writes are slow, and never more than 2 seconds.
pub const QUIET: Duration = Duration::from_millis(250);
const QUIET_MAX: Duration = Duration::from_secs(2);
/// So many writes, one after the other, fit into what counts as standing still.
const QUIET_WRITES: u32 = 6;

/// How long a state on the way may be held back at most; longer where writes are slow, and never
/// more than 15 seconds.
pub const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_MAX: Duration = Duration::from_secs(15);

/// What a write took counts so much less than what those before it took.
const SMOOTHING: u32 = 16;

/// Clusters whose last write is remembered; beyond that, those that rest are forgotten.
const CLUSTERS: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Held {
    state: u64,
    /// Since when it is this state.
    since: Timestamp,
    /// Since when something is held back.
    first: Timestamp,
}

#[derive(Default)]
struct State {
    held: BTreeMap<(ResourceType, ObjectKey), Held>,
    written: BTreeMap<ObjectKey, Timestamp>,
    /// How long writes take.
    latency: Duration,
}

impl State {
    fn quiet(&self) -> Duration {
        let writes = self.latency.saturating_mul(QUIET_WRITES);
        writes.clamp(QUIET, QUIET_MAX)
    }

    /// As much more than usual as the quiet time is.
    fn patience(&self) -> Duration {
        let more = self.quiet().as_secs_f64() / QUIET.as_secs_f64();
        PATIENCE.mul_f64(more).min(PATIENCE_MAX)
    }
}

/// What is held back, and when something of each cluster was last written.
#[derive(Default)]
pub struct Pace(Mutex<State>);

impl Pace {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to hold a state of an object back; `None` when it may be written now. Two states
    /// that differ in times of transition only are the same.
    pub fn hold(
        &self,
        resource: &ResourceType,
        object: &Object,
        state: &impl Serialize,
        now: Timestamp,
    ) -> Option<Duration> {
        let state = timeless(state);
        let mut all = self.lock();
        let busy = all.written.get(&object.cluster_key()).copied();
        let id = (resource.clone(), object.key().clone());
        let before = all.held.get(&id).copied();
        let held = Held {
            state,
            since: before
                .filter(|held| held.state == state)
                .map_or(now, |held| held.since),
            first: before.map_or(now, |held| held.first),
        };
        let passed = |since| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let quiet = all.quiet();
        let still = quiet.saturating_sub(passed(held.since));
        let rests = busy.map_or(Duration::ZERO, |busy| quiet.saturating_sub(passed(busy)));
        let wait = still
            .max(rests)
            .min(all.patience().saturating_sub(passed(held.first)));
        if wait.is_zero() {
            all.held.remove(&id);
            return None;
        }
        all.held.insert(id, held);
        Some(wait)
    }

    /// Nothing of the object is held back any more: it was written, or is gone.
    pub fn forget(&self, resource: &ResourceType, object: &ObjectKey) {
        self.lock().held.remove(&(resource.clone(), object.clone()));
    }

    /// Something of a cluster was written, which took so long.
    pub(crate) fn wrote(&self, cluster: ObjectKey, took: Duration, now: Timestamp) {
        let mut all = self.lock();
        all.latency = (all.latency * (SMOOTHING - 1) + took.min(QUIET_MAX)) / SMOOTHING;
        if all.written.len() >= CLUSTERS && !all.written.contains_key(&cluster) {
            let quiet = all.quiet();
            all.written.retain(|_, at| {
                Duration::try_from(now.duration_since(*at)).is_ok_and(|past| past < quiet)
            });
        }
        all.written.insert(cluster, now);
    }
}

/// A fingerprint that does not see times.
fn timeless(state: &impl Serialize) -> u64 {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if name == "lastTransitionTime" || name == "lastUpdated" {
                        *field = Value::Null;
                    } else {
                        strip(field);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    // What cannot be encoded cannot be written either; whoever writes it says so.
    let mut value = serde_json::to_value(state).unwrap_or_default();
    strip(&mut value);
    fingerprint(&value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn machine(name: &str) -> Object {
        let object = json!({ "metadata": {
            "namespace": "n", "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "c" },
        }});
        Object::from_bytes(Bytes::from(object.to_string())).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + i64::try_from(millis).unwrap()).unwrap()
    }

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap()
    }

    fn machines() -> ResourceType {
        ResourceType::by_convention("g", "v1", "Machine")
    }

    #[test]
    fn a_state_is_written_when_it_has_stood_still() {
        let (pace, a) = (Pace::default(), machine("a"));
        let quiet = millis(QUIET);
        let hold = |state: i32, time: u64| pace.hold(&machines(), &a, &state, at(time));
        assert_eq!(hold(1, 0), Some(QUIET));
        assert_eq!(hold(1, quiet / 2), Some(QUIET / 2));
        assert_eq!(hold(2, quiet / 2), Some(QUIET), "another one");
        assert_eq!(hold(2, quiet * 3 / 2), None);
    }

    #[test]
    fn a_state_waits_for_its_cluster_to_stand_still_but_not_for_ever() {
        let (pace, a) = (Pace::default(), machine("a"));
        let mut time = 0;
        while pace.hold(&machines(), &a, &1, at(time)).is_some() {
            pace.wrote(ObjectKey::new("n", "c"), Duration::ZERO, at(time));
            time += 10;
        }
        assert_eq!(time, millis(PATIENCE));
        pace.wrote(ObjectKey::new("n", "other"), Duration::ZERO, at(time));
        assert_eq!(
            pace.hold(&machines(), &a, &1, at(time + millis(QUIET))),
            Some(QUIET),
            "it begins anew"
        );
        assert_eq!(
            pace.hold(&machines(), &a, &1, at(time + 2 * millis(QUIET))),
            None,
            "other clusters do not matter"
        );
    }

    #[test]
    fn where_writes_are_slow_a_state_stands_still_later() {
        let (pace, a) = (Pace::default(), machine("a"));
        let other = || ObjectKey::new("n", "other");
        let hold = |state: i32| pace.hold(&machines(), &a, &state, at(0));
        for _ in 0..200 {
            pace.wrote(other(), Duration::from_millis(20), at(0));
        }
        assert_eq!(hold(1), Some(QUIET), "twelve of them fit");
        for _ in 0..200 {
            pace.wrote(other(), Duration::from_millis(100), at(0));
        }
        let held = hold(2).expect("held back");
        assert!(
            held > QUIET.mul_f64(2.3) && held <= QUIET.mul_f64(2.4),
            "{held:?}"
        );
        for _ in 0..200 {
            pace.wrote(other(), Duration::from_secs(60), at(0));
        }
        let held = hold(3).expect("held back");
        assert!(
            held <= QUIET_MAX && held > QUIET_MAX.mul_f64(0.9),
            "{held:?}"
        );
        assert!(pace.lock().patience() <= PATIENCE_MAX);
    }

    #[test]
    fn times_of_transition_make_no_other_state() {
        let (pace, a) = (Pace::default(), machine("a"));
        let state =
            |time: &str| json!({ "conditions": [{ "type": "Ready", "lastTransitionTime": time }] });
        let hold = |state: Value, time| pace.hold(&machines(), &a, &state, at(time));
        assert_eq!(hold(state("1"), 0), Some(QUIET));
        assert_eq!(hold(state("2"), millis(QUIET)), None);
    }
}
