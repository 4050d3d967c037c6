//! Time as a port: whoever needs to know the time, or to wait, is given a [`Clock`].
//!
//! A real clock serves production, a scaled one the quickstart, a virtual one the simulation.
//! Decisions never read a clock; they are told `now`.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;

/// A future that ends when the time asked for has passed.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of time. Implement it to bring a clock of your own; users hold a [`Clock`].
pub trait TimeSource: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Ends after `duration` of this source's time. Dropping the future cancels the wait.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A shared source of time.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// A clock that asks `source`.
    pub fn new(source: impl TimeSource) -> Self {
        Self(Arc::new(source))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Waits for `duration`. Cancel safe: dropping the future ends the wait.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(feature = "runtime")]
mod tokio_clock {
    use super::{Clock, Duration, Sleep, TimeSource, Timestamp};

    /// The machine's clock, waits by tokio's timer.
    struct System;

    impl TimeSource for System {
        #[allow(clippy::disallowed_methods)] // the one place that asks the machine
        fn now(&self) -> Timestamp {
            Timestamp::now()
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            Box::pin(tokio::time::sleep(duration))
        }
    }

    /// A time that begins at `epoch` and follows tokio's timer, `speed` times as fast.
    struct Following {
        epoch: Timestamp,
        started: tokio::time::Instant,
        speed: f64,
    }

    impl TimeSource for Following {
        fn now(&self) -> Timestamp {
            let passed = self.started.elapsed().as_secs_f64() * self.speed;
            jiff::SignedDuration::try_from_secs_f64(passed)
                .ok()
                .and_then(|passed| self.epoch.checked_add(passed).ok())
                .unwrap_or(Timestamp::MAX)
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            let seconds = duration.as_secs_f64() / self.speed;
            let real = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Box::pin(tokio::time::sleep(real))
        }
    }

    impl Clock {
        /// The machine's clock. Waits need a tokio runtime with time enabled.
        #[must_use]
        pub fn system() -> Self {
            Self::new(System)
        }

        /// Virtual time: begins at `epoch` and follows tokio's timer, so that under a paused
        /// runtime it stands still while anything can run and jumps to the next deadline after.
        ///
        /// # Panics
        /// Outside a tokio runtime with time enabled.
        #[must_use]
        pub fn following_tokio(epoch: Timestamp) -> Self {
            Self::scaled(epoch, 1.0)
        }

        /// Time that begins at `epoch` and runs `speed` times as fast as tokio's timer;
        /// `speed` is held within 0.001 and 1000.
        ///
        /// # Panics
        /// Outside a tokio runtime with time enabled.
        #[must_use]
        pub fn scaled(epoch: Timestamp, speed: f64) -> Self {
            let speed = if speed.is_finite() {
                speed.clamp(0.001, 1000.0)
            } else {
                1.0
            };
            Self::new(Following {
                epoch,
                started: tokio::time::Instant::now(),
                speed,
            })
        }
    }
}
