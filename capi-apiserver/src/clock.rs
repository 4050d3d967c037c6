//! What time it is. The server never asks the operating system itself: whoever assembles it gives
//! a [`Clock`], so that a simulation decides the timestamps it will see. Timers are tokio's, which a
//! paused runtime turns into virtual time.

use std::fmt;

use jiff::Timestamp;

/// The source of every timestamp the server writes (`creationTimestamp`, `deletionTimestamp`,
/// managed fields, certificates).
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The current instant. Called once or more a request; never blocks.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock that others ask"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that advances with tokio's: under `tokio::time::pause` it is virtual time, so a timeout
/// that the runtime jumps over is also seen in timestamps.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    epoch: Timestamp,
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that reads `epoch` now, and advances with [`tokio::time::Instant`] from here.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self {
            epoch,
            start: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let elapsed = jiff::SignedDuration::try_from(self.start.elapsed())
            .unwrap_or(jiff::SignedDuration::MAX);
        self.epoch.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// `now` as Kubernetes writes `metav1.Time`: whole seconds, UTC.
pub(crate) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `now` as Kubernetes writes `metav1.MicroTime`.
pub(crate) fn micros(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_whole_seconds() {
        let instant: Timestamp = "2026-03-04T05:06:07.891234Z".parse().expect("a timestamp");
        assert_eq!(seconds(instant), "2026-03-04T05:06:07Z");
        assert_eq!(micros(instant), "2026-03-04T05:06:07.891234Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_runtime_is_virtual_time() {
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        let clock = TokioClock::starting_at(epoch);
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert_eq!(seconds(clock.now()), "2026-01-01T01:00:00Z");
    }
}
