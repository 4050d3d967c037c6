//! What benches share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, which other work on the machine makes little longer.
#[must_use]
pub fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
