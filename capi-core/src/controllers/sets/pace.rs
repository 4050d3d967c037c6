//! When a status may be written.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::{controllers::QUIET, plan::row::fingerprint};

/// A status that changes all the time is written all the same after this many quiet times.
const PATIENCE: u32 = 4;

/// When a status may be written: at once at rest, else when it has stood still for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    status: u64,
    since: Timestamp,
    first: Timestamp,
}

impl Pace {
    /// How long to wait with this status; `None` is not at all.
    pub(crate) fn wait(
        &mut self,
        status: &impl Serialize,
        at_rest: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        if at_rest {
            self.waiting = None;
            return None;
        }
        let status = fingerprint(status);
        let before = self.waiting;
        let waiting = Waiting {
            status,
            since: before
                .filter(|w| w.status == status)
                .map_or(now, |w| w.since),
            first: before.map_or(now, |w| w.first),
        };
        let passed = |since| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        if passed(waiting.since) >= QUIET || passed(waiting.first) >= QUIET * PATIENCE {
            self.waiting = None;
            return None;
        }
        self.waiting = Some(waiting);
        Some(QUIET - passed(waiting.since).min(QUIET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_waits_until_it_stands_still_but_not_for_ever() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000 + millis).unwrap();
        let quiet = i64::try_from(QUIET.as_millis()).unwrap();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(&1, true, at(0)), None, "at rest");
        assert_eq!(pace.wait(&1, false, at(0)), Some(QUIET));
        assert_eq!(pace.wait(&1, false, at(quiet / 2)), Some(QUIET / 2));
        assert_eq!(
            pace.wait(&2, false, at(quiet / 2)),
            Some(QUIET),
            "another one"
        );
        assert_eq!(pace.wait(&2, false, at(quiet * 3 / 2)), None, "stood still");
        let mut written = 0;
        for step in 0..20 {
            written += i32::from(
                pace.wait(&step, false, at(quiet * (2 + step / 2)))
                    .is_none(),
            );
        }
        assert!(written > 0, "changes all the time");
    }
}
