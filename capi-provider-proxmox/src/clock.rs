//! Time as a port: what is now, and waiting.
//!
//! Nothing in this crate reads the machine's clock by itself; the simulation gives a clock whose time jumps.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// The time, and a way to wait.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// Waits for `duration`. Dropping the future ends the wait.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock, with tokio's timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that follows tokio's: with tokio's time paused it jumps.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock whose time is `start` now. Must be called inside a tokio runtime.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            origin: tokio::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(i64::MAX);
        self.start
            .saturating_add(jiff::SignedDuration::from_nanos(elapsed))
            .unwrap_or(self.start)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
