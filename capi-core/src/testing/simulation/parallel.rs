//! Many seeds at once, a thread each; told in the order of the seeds.

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroUsize,
    ops::{ControlFlow, Range},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use super::{Options, Report, run};

/// Runs seeds on as many threads as the machine has cores, and gives their reports in the order of
/// the seeds until `each` has seen enough. A run is the same as alone.
///
/// # Errors
/// When the operating system gives no runtime; the seeds before were told.
pub fn run_all(
    seeds: Range<u64>,
    options: &Options,
    each: impl FnMut(Report) -> ControlFlow<()>,
) -> io::Result<()> {
    in_order(seeds, |seed| run(seed, options), each)
}

/// Calls `run` with seeds on as many threads as the machine has cores, and gives what it answers in
/// the order of the seeds until `each` has seen enough.
///
/// # Errors
/// The first one of `run`; the seeds before were told.
pub fn in_order<T: Send>(
    seeds: Range<u64>,
    run: impl Fn(u64) -> io::Result<T> + Sync,
    each: impl FnMut(T) -> ControlFlow<()>,
) -> io::Result<()> {
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    on_threads(threads, seeds, run, each)
}

fn on_threads<T: Send>(
    threads: NonZeroUsize,
    seeds: Range<u64>,
    run: impl Fn(u64) -> io::Result<T> + Sync,
    mut each: impl FnMut(T) -> ControlFlow<()>,
) -> io::Result<()> {
    let next = AtomicU64::new(seeds.start);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (next, run, tell, end) = (&next, &run, tell.clone(), seeds.end);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more once somebody has seen enough.
                    if seed >= end || tell.send((seed, run(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        // Whatever way this is left, the receiver goes, and the threads end after their seeds.
        let told = told;
        let mut early = BTreeMap::new();
        let mut turn = seeds.start;
        for (seed, report) in &told {
            early.insert(seed, report);
            while let Some(report) = early.remove(&turn) {
                turn += 1;
                if each(report?).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

    #[test]
    fn reports_come_in_the_order_of_the_seeds() {
        let first = std::sync::Barrier::new(2);
        let mut seen = Vec::new();
        let result = on_threads(
            THREADS,
            5..25,
            |seed| {
                // The first one ends after the second.
                if seed < 7 {
                    first.wait();
                }
                Ok(seed)
            },
            |seed| {
                seen.push(seed);
                ControlFlow::Continue(())
            },
        );
        assert!(result.is_ok());
        assert_eq!(seen, (5..25).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_told_after_enough_was_seen() {
        let mut seen = Vec::new();
        let result = on_threads(THREADS, 0..u64::MAX, Ok, |seed| {
            seen.push(seed);
            if seed == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(result.is_ok());
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn an_error_ends_the_run_at_its_seed() {
        let mut seen = Vec::new();
        let result = on_threads(
            THREADS,
            0..u64::MAX,
            |seed| match seed {
                2 => Err(io::Error::other("no runtime")),
                other => Ok(other),
            },
            |seed| {
                seen.push(seed);
                ControlFlow::Continue(())
            },
        );
        assert!(result.is_err());
        assert_eq!(seen, [0, 1]);
    }
}
