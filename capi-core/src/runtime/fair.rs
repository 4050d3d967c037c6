//! Runs reconciles so that computing is shared fairly between clusters.
//!
//! The queue bounds how many reconciles are under way and lets clusters take turns at beginning
//! one. That is not enough where computing is scarce: a thousand machines of one cluster keep so
//! many reconciles ready that one of another cluster would wait for all of them at each await. Here
//! whoever can go on is polled in the order of what its cluster has used so far, the least first,
//! by as many tasks as the tokio runtime has threads. So another cluster waits for the poll that is
//! under way, however many are behind it.
//!
//! Nothing is decided by a random or a real time other than what the [`Clock`] says.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{runtime::RuntimeFlavor, sync::Notify, task::JoinSet};

use super::ObjectKey;
use crate::clock::Clock;

/// What a poll counts at least, so that there is an order where the clock stands still.
const POLL: Duration = Duration::from_micros(1);

/// It waits to be woken.
const WAITS: u8 = 0;
/// It is in its lane.
const READY: u8 = 1;
/// It is being polled.
const RUNS: u8 = 2;
/// It is being polled, and was woken meanwhile.
const WOKEN: u8 = 3;
/// It ended.
const OVER: u8 = 4;

/// One piece of work.
struct Work<T> {
    lane: ObjectKey,
    number: u64,
    state: AtomicU8,
    future: Mutex<Option<BoxFuture<'static, T>>>,
    shared: Weak<Shared<T>>,
}

impl<T: Send + 'static> Wake for Work<T> {
    fn wake(self: Arc<Self>) {
        loop {
            let (from, to) = match self.state.load(Ordering::Acquire) {
                WAITS => (WAITS, READY),
                RUNS => (RUNS, WOKEN),
                _ => return,
            };
            let swapped =
                self.state
                    .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_err() {
                continue;
            }
            if to == READY
                && let Some(shared) = self.shared.upgrade()
            {
                shared.ready(self);
            }
            return;
        }
    }
}

/// The work of one cluster.
struct Lane<T> {
    /// What it has used, beginning with what the others had used when it came.
    used: Duration,
    ready: VecDeque<Arc<Work<T>>>,
    /// Work that has not ended.
    live: usize,
}

struct State<T> {
    lanes: BTreeMap<ObjectKey, Lane<T>>,
    /// Lanes in which something is ready, the one that used least first.
    order: BTreeSet<(Duration, ObjectKey)>,
    /// What the lane that was served last had used: where others begin.
    floor: Duration,
    live: BTreeMap<u64, Arc<Work<T>>>,
    ended: VecDeque<T>,
    next: u64,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something is ready.
    ready: Notify,
    /// Something has ended.
    ended: Notify,
    clock: Clock,
}

impl<T: Send + 'static> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, work: Arc<Work<T>>) {
        {
            let mut state = self.lock();
            let floor = state.floor;
            let Some(lane) = state.lanes.get_mut(&work.lane) else {
                return;
            };
            let key = work.lane.clone();
            let first = lane.ready.is_empty();
            lane.ready.push_back(work);
            if first {
                // What it did not use while it waited for other things is not saved up.
                lane.used = lane.used.max(floor);
                let used = lane.used;
                state.order.insert((used, key));
            }
        }
        self.ready.notify_one();
    }

    /// The next to be polled.
    fn take(&self) -> Option<Arc<Work<T>>> {
        let mut state = self.lock();
        let (used, key) = state.order.pop_first()?;
        state.floor = state.floor.max(used);
        let lane = state.lanes.get_mut(&key)?;
        let work = lane.ready.pop_front();
        if !lane.ready.is_empty() {
            state.order.insert((used, key));
        }
        work
    }

    fn poll(&self, work: &Arc<Work<T>>) {
        let mut slot = work.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut future) = slot.take() else {
            return;
        };
        drop(slot);
        work.state.store(RUNS, Ordering::Release);
        let began = self.clock.now();
        let waker = Waker::from(Arc::clone(work));
        let mut context = Context::from_waker(&waker);
        // Work that panics would take one of the few that poll with it.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.poll_unpin(&mut context)));
        let took = Duration::try_from(self.clock.now().duration_since(began)).unwrap_or_default();
        let mut ended = None;
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(value)) => ended = Some(Some(value)),
            Err(_panic) => ended = Some(None),
        }
        let mut state = self.lock();
        if let Some(lane) = state.lanes.get_mut(&work.lane) {
            let before = lane.used;
            lane.used += took.max(POLL);
            let (after, queued) = (lane.used, !lane.ready.is_empty());
            if queued && state.order.remove(&(before, work.lane.clone())) {
                state.order.insert((after, work.lane.clone()));
            }
        }
        if let Some(value) = ended {
            work.state.store(OVER, Ordering::Release);
            state.live.remove(&work.number);
            if let Some(lane) = state.lanes.get_mut(&work.lane) {
                lane.live -= 1;
                if lane.live == 0 {
                    state.lanes.remove(&work.lane);
                }
            }
            state.ended.extend(value);
            drop(state);
            self.ended.notify_one();
            return;
        }
        if state.closed {
            return;
        }
        *work.future.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
        drop(state);
        let waits = work
            .state
            .compare_exchange(RUNS, WAITS, Ordering::AcqRel, Ordering::Acquire);
        if waits.is_err() {
            work.state.store(READY, Ordering::Release);
            self.ready(Arc::clone(work));
        }
    }
}

/// Work under way. Dropping it drops all of it.
pub(crate) struct Fair<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    drivers: JoinSet<()>,
}

impl<T: Send + 'static> Fair<T> {
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                lanes: BTreeMap::new(),
                order: BTreeSet::new(),
                floor: Duration::ZERO,
                live: BTreeMap::new(),
                ended: VecDeque::new(),
                next: 0,
                closed: false,
            }),
            ready: Notify::new(),
            ended: Notify::new(),
            clock,
        });
        let runtime = tokio::runtime::Handle::current();
        let count = match runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread => 1,
            _ => runtime.metrics().num_workers(),
        };
        let mut drivers = JoinSet::new();
        for _ in 0..count {
            drivers.spawn(drive(Arc::clone(&shared)));
        }
        Self { shared, drivers }
    }

    /// Begins some work of a cluster.
    pub(crate) fn spawn(&self, lane: ObjectKey, work: impl Future<Output = T> + Send + 'static) {
        let work = {
            let mut state = self.shared.lock();
            state.next += 1;
            let number = state.next;
            let floor = state.floor;
            let known = state.lanes.entry(lane.clone()).or_insert_with(|| Lane {
                used: floor,
                ready: VecDeque::new(),
                live: 0,
            });
            known.live += 1;
            let work = Arc::new(Work {
                lane,
                number,
                state: AtomicU8::new(READY),
                future: Mutex::new(Some(work.boxed())),
                shared: Arc::downgrade(&self.shared),
            });
            state.live.insert(number, Arc::clone(&work));
            work
        };
        self.shared.ready(work);
    }

    /// How much work is under way.
    pub(crate) fn len(&self) -> usize {
        let state = self.shared.lock();
        state.live.len() + state.ended.len()
    }

    /// What the next work that ended came to; `None` when none is under way. Cancel safe.
    pub(crate) async fn next(&self) -> Option<T> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(ended) = state.ended.pop_front() {
                    return Some(ended);
                }
                if state.live.is_empty() {
                    return None;
                }
            }
            self.shared.ended.notified().await;
        }
    }
}

impl<T: Send + 'static> Drop for Fair<T> {
    fn drop(&mut self) {
        self.drivers.abort_all();
        let (live, lanes) = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.order.clear();
            (
                std::mem::take(&mut state.live),
                std::mem::take(&mut state.lanes),
            )
        };
        drop(lanes);
        for work in live.into_values() {
            // Of what is being polled at this moment, its poll is the last.
            let future = work
                .future
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(future);
        }
    }
}

/// Lets others go on before this does. Work that writes much at once to a server in this process
/// would otherwise do all of it in one poll.
pub(crate) async fn others_first() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        // At once, so that whoever polls many at a time sees it, and stops.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn drive<T: Send + 'static>(shared: Arc<Shared<T>>) {
    loop {
        match shared.take() {
            Some(work) => {
                shared.poll(&work);
                // Watches, timers and servers live beside it.
                tokio::task::yield_now().await;
            }
            None => shared.ready.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;

    use super::*;

    fn fair<T: Send + 'static>() -> Fair<T> {
        Fair::new(Clock::following_tokio(Timestamp::UNIX_EPOCH))
    }

    fn lane(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    /// Goes on so many times, and says each time that it did.
    async fn steps(name: &'static str, count: usize, log: Arc<Mutex<Vec<&'static str>>>) {
        for _ in 0..count {
            log.lock().unwrap().push(name);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_with_little_to_do_does_not_wait_for_one_with_much() {
        let fair = fair();
        let log = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..50 {
            fair.spawn(lane("big"), steps("big", 20, Arc::clone(&log)));
        }
        fair.spawn(lane("small"), steps("small", 5, Arc::clone(&log)));
        while fair.next().await.is_some() {}
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 50 * 20 + 5);
        let last = log.iter().rposition(|name| *name == "small").unwrap();
        assert!(last < 20, "{last}: {:?}", &log[..20]);
        assert_eq!(fair.len(), 0);
        assert!(fair.shared.lock().lanes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_is_told_once_and_panics_take_nothing_else_with_them() {
        let fair = fair();
        fair.spawn(lane("a"), async { 1 });
        fair.spawn(lane("a"), async { panic!("a defect of the work") });
        let sleeping = fair.shared.clock.sleep(Duration::from_secs(5));
        fair.spawn(lane("b"), async {
            sleeping.await;
            2
        });
        let mut ended = Vec::new();
        while let Some(number) = fair.next().await {
            ended.push(number);
        }
        assert_eq!(ended, [1, 2]);
        assert_eq!(fair.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_dropped_with_it() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let fair = fair::<()>();
        for _ in 0..3 {
            let counted = Counted(Arc::clone(&dropped));
            fair.spawn(lane("a"), async move {
                std::future::pending::<()>().await;
                drop(counted);
            });
        }
        tokio::task::yield_now().await;
        drop(fair);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_lost_or_polled_twice_at_once_on_many_threads() {
        let fair = fair();
        let clock = fair.shared.clock.clone();
        for number in 0..200_usize {
            let clock = clock.clone();
            let lane = lane(["a", "b", "c"][number % 3]);
            fair.spawn(lane, async move {
                for step in 0..20 {
                    match (number + step) % 3 {
                        0 => tokio::task::yield_now().await,
                        1 => clock.sleep(Duration::from_micros(50)).await,
                        // Woken from another task, while it may be polled.
                        _ => tokio::spawn(async {}).await.expect("it ends"),
                    }
                }
                number
            });
        }
        let mut ended = BTreeSet::new();
        while let Some(number) = fair.next().await {
            assert!(ended.insert(number), "{number} ended twice");
        }
        assert_eq!(ended.len(), 200);
    }
}
