//! Faults: which ones there are, when one happens, and the API server that shows them.
//!
//! Every choice comes from [`Dice`] of one seed, in the order in which requests and calls come, so
//! that a run can be repeated. Nothing here knows what a fault does to a controller.

mod fragile;
mod service;

pub use fragile::Fragile;
pub use service::{Done, FaultyBody, FaultyService, Rewrite};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::provider::{ErrorClass, ProviderError};

/// A source of choices (SplitMix64): the same seed, the same choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            bound => self.roll() % bound,
        }
    }

    /// True so many times of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A time of at most `longest`, in whole milliseconds.
    pub fn within(&mut self, longest: Duration) -> Duration {
        let most = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(self.below(most + 1))
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = self.below(choices.len() as u64);
        choices.get(usize::try_from(index).unwrap_or_default())
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A write is answered with 409, and not done.
    Conflict,
    /// A request is answered with 503, and not done.
    ServerError,
    /// A request never arrives; the client sees the connection break.
    LostRequest,
    /// A write is done; the client sees the connection break.
    LostReply,
    /// A request arrives late, also after whoever sent it has died.
    SlowRequest,
    /// Events of a watch come up to five seconds late.
    StaleWatch,
    /// A watch ends in the middle.
    DroppedWatch,
    /// A watch says nothing any more.
    SilentWatch,
    /// A watch is answered with 410, at its begin or in the middle.
    ExpiredWatch,
    /// The manager dies with a write on the way, which is not done.
    CrashBeforeWrite,
    /// The manager dies when a write is done, before it sees the answer.
    CrashAfterWrite,
    /// The manager dies within a call of the provider.
    CrashInProvider,
    /// The manager dies at an await of a reconcile, whatever that waits for.
    CrashAtAwait,
    /// The manager dies at some moment.
    Crash,
    /// Two managers run at once, of which one holds the Lease.
    SecondManager,
    /// A call of the provider takes seconds.
    ProviderSlow,
    /// A call of the provider fails in a way that may pass by itself.
    ProviderTransient,
    /// A call of the provider says that the object is wrong.
    ProviderInvalid,
    /// A call of the provider says that the machine can never work.
    ProviderTerminal,
    /// A call of the provider says that it would be unsafe.
    ProviderRefused,
    /// A call of the provider did its work and fails all the same.
    ProviderLostReply,
    /// The provider says that a machine is not ready, although it is.
    ProviderLateReady,
    /// A machine vanishes.
    MachineLost,
    /// Another person's machine appears under a number that was free.
    ForeignMachine,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 24] = [
        Self::Conflict,
        Self::ServerError,
        Self::LostRequest,
        Self::LostReply,
        Self::SlowRequest,
        Self::StaleWatch,
        Self::DroppedWatch,
        Self::SilentWatch,
        Self::ExpiredWatch,
        Self::CrashBeforeWrite,
        Self::CrashAfterWrite,
        Self::CrashInProvider,
        Self::CrashAtAwait,
        Self::Crash,
        Self::SecondManager,
        Self::ProviderSlow,
        Self::ProviderTransient,
        Self::ProviderInvalid,
        Self::ProviderTerminal,
        Self::ProviderRefused,
        Self::ProviderLostReply,
        Self::ProviderLateReady,
        Self::MachineLost,
        Self::ForeignMachine,
    ];

    /// What a write can suffer, with weights.
    const OF_WRITES: [(Self, u64); 7] = [
        (Self::Conflict, 4),
        (Self::ServerError, 2),
        (Self::LostRequest, 2),
        (Self::LostReply, 4),
        (Self::SlowRequest, 4),
        (Self::CrashBeforeWrite, 2),
        (Self::CrashAfterWrite, 2),
    ];
    const OF_READS: [(Self, u64); 3] = [
        (Self::ServerError, 1),
        (Self::LostRequest, 1),
        (Self::SlowRequest, 1),
    ];
    const OF_WATCHES: [(Self, u64); 5] = [
        (Self::StaleWatch, 6),
        (Self::DroppedWatch, 2),
        (Self::SilentWatch, 1),
        (Self::ExpiredWatch, 2),
        (Self::SlowRequest, 1),
    ];
    const OF_AWAITS: [(Self, u64); 1] = [(Self::CrashAtAwait, 1)];
    const OF_CALLS: [(Self, u64); 6] = [
        (Self::ProviderSlow, 6),
        (Self::ProviderTransient, 4),
        (Self::ProviderInvalid, 1),
        (Self::ProviderTerminal, 1),
        (Self::ProviderRefused, 1),
        (Self::CrashInProvider, 2),
    ];
    const OF_ANSWERS: [(Self, u64); 4] = [
        (Self::ProviderLostReply, 4),
        (Self::ProviderLateReady, 4),
        (Self::MachineLost, 1),
        (Self::CrashInProvider, 1),
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is asked for when a fault may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A request that changes something.
    Write,
    /// A request that changes nothing.
    Read,
    /// A watch.
    Watch,
    /// A reconcile waits for something.
    Await,
    /// A provider is called.
    Call,
    /// A provider has done its work and answers.
    Answer,
}

struct State {
    dice: Dice,
    /// Of a thousand occasions.
    per_mille: u64,
    active: bool,
    counts: BTreeMap<Fault, u64>,
    crashes: BTreeMap<Arc<str>, Arc<Notify>>,
}

/// Decides when which fault happens. Clones decide together.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Faults of a seed, on so many of a thousand occasions; none before
    /// [`set_active`](Self::set_active).
    #[must_use]
    pub fn new(seed: u64, per_mille: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            per_mille,
            active: false,
            counts: BTreeMap::new(),
            crashes: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Faults happen from now on, or no longer.
    pub fn set_active(&self, active: bool) {
        self.state().active = active;
    }

    /// How often which fault happened.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.state().counts.clone()
    }

    /// Notes a fault that somebody else made.
    pub fn note(&self, fault: Fault) {
        *self.state().counts.entry(fault).or_default() += 1;
    }

    /// Whether faults happen now.
    #[must_use]
    pub fn are_active(&self) -> bool {
        self.state().active
    }

    /// The fault that happens now, if one does.
    #[must_use]
    pub fn draw(&self, occasion: Occasion) -> Option<Fault> {
        let mut state = self.state();
        if !state.active {
            return None;
        }
        // So many tenths of the ordinary chance: watches are few, and last; awaits are many.
        let (kinds, tenths): (&[(Fault, u64)], u64) = match occasion {
            Occasion::Write => (&Fault::OF_WRITES, 10),
            Occasion::Read => (&Fault::OF_READS, 10),
            Occasion::Watch => (&Fault::OF_WATCHES, 50),
            Occasion::Await => (&Fault::OF_AWAITS, 1),
            Occasion::Call => (&Fault::OF_CALLS, 20),
            Occasion::Answer => (&Fault::OF_ANSWERS, 10),
        };
        let chance = state.per_mille * tenths;
        if state.dice.below(10_000) >= chance {
            return None;
        }
        let total = kinds.iter().map(|(_, weight)| weight).sum();
        let mut left = state.dice.below(total);
        for (fault, weight) in kinds {
            if left < *weight {
                return Some(*fault);
            }
            left -= weight;
        }
        None
    }

    /// A time of at most `longest`.
    #[must_use]
    pub fn within(&self, longest: Duration) -> Duration {
        self.state().dice.within(longest)
    }

    /// A number below `bound`.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.state().dice.below(bound)
    }

    /// Tells whoever hosts a manager when that is to die.
    #[must_use]
    pub fn crash_of(&self, manager: &Arc<str>) -> Arc<Notify> {
        let mut state = self.state();
        let notify = state.crashes.entry(Arc::clone(manager)).or_default();
        Arc::clone(notify)
    }

    /// Lets a manager die.
    pub fn crash(&self, manager: &Arc<str>) {
        self.crash_of(manager).notify_one();
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// The error that a provider answers for a fault, if the fault is one of its errors.
#[must_use]
pub fn provider_error(fault: Fault) -> Option<ProviderError> {
    let class = match fault {
        Fault::ProviderTransient | Fault::ProviderLostReply => ErrorClass::Transient,
        Fault::ProviderInvalid => ErrorClass::Invalid,
        Fault::ProviderTerminal => ErrorClass::Terminal,
        Fault::ProviderRefused => ErrorClass::Refused,
        _ => return None,
    };
    let reason = format!("Simulated{class:?}");
    Some(ProviderError::new(class, reason, "the simulation says so"))
}
