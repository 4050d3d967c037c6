//! Runs of the whole SDK from a seed: every controller on the embedded API server in virtual time,
//! a random story of a cluster, random faults at any write and any call, and the
//! [rules](crate::testing::invariants) that hold at every step.
//!
//! The same seed gives the same run, to the last byte of the trace, alone or beside others on
//! other threads. A run takes no sockets, no threads and no real time but what its work costs.
//!
//! ```
//! use capi_core::testing::simulation::{Options, run};
//!
//! let report = run(7, &Options::default())?;
//! assert_eq!(report.violation, None, "{}", report.replay());
//! # Ok::<(), std::io::Error>(())
//! ```

mod managers;
mod mutant;
mod parallel;
mod provider;
mod story;
mod world;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use self::{managers::Managers, story::Story, world::World};
use super::{
    faults::{Dice, Fault, Faults, FaultyService},
    invariants::Violation,
    reference::{self, Datacenter, Settings},
};
use crate::{clock::Clock, embedded::ApiServer};

pub use mutant::Mutant;
pub use parallel::{in_order, run_all};

/// The pool that machines get their addresses from.
const POOL: &str = "machines";
/// Its first address.
const POOL_FIRST: &str = "10.0.0.10";

/// What a user does in a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Applies a cluster.
    Create,
    /// Changes the number of workers.
    ScaleWorkers,
    /// Changes the number of control plane machines.
    ScaleControlPlane,
    /// Replaces the workers by another infrastructure template.
    ReplaceWorkers,
    /// Replaces the control plane machines by another infrastructure template.
    ReplaceControlPlane,
    /// Changes the version of the control plane.
    UpgradeControlPlane,
    /// Changes the version of the workers.
    UpgradeWorkers,
    /// Pauses the cluster.
    Pause,
    /// Lets it go on.
    Resume,
    /// Deletes a Machine.
    DeleteMachine,
    /// Deletes the cluster.
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a run differs from an ordinary one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// A defect to plant.
    pub mutant: Option<Mutant>,
    /// Keep the lines of the trace.
    pub trace: bool,
}

impl Options {
    /// With a planted defect.
    #[must_use]
    pub fn with_mutant(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// With the lines of the trace.
    #[must_use]
    pub fn with_trace(mut self) -> Self {
        self.trace = true;
        self
    }
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The planted defect.
    pub mutant: Option<Mutant>,
    /// The rule that was broken, if one was; the run ended there.
    pub violation: Option<Violation>,
    /// Hash of the trace and of all that the API server stored at the end.
    pub hash: u64,
    /// Lines of the trace, where they were asked for.
    pub trace: Vec<String>,
    /// What the user did.
    pub actions: BTreeMap<Action, u64>,
    /// Faults that happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Writes of managers, Events and Leases apart.
    pub writes: u64,
    /// How long the story took, in its own time.
    pub lasted: Duration,
}

impl Report {
    /// The command that repeats the run with its trace.
    #[must_use]
    pub fn replay(&self) -> String {
        let seed = self.seed;
        let mut line = format!(
            "cargo run --example simulate -- --seeds {seed}..{} --trace",
            seed.saturating_add(1)
        );
        if let Some(mutant) = self.mutant {
            line.push_str(&format!(" --mutant {mutant}"));
        }
        line
    }
}

/// Runs one seed.
///
/// # Errors
/// When the operating system gives no runtime.
///
/// # Panics
/// Within another tokio runtime.
pub fn run(seed: u64, options: &Options) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let report = runtime.block_on(Box::pin(tell(seed, options)));
    report.map_err(io::Error::other)
}

/// The time at which stories begin.
const EPOCH: i64 = 1_767_225_600;

async fn tell(
    seed: u64,
    options: &Options,
) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    let mut dice = Dice::new(seed);
    let clock = Clock::following_tokio(Timestamp::from_second(EPOCH)?);
    let begun = clock.now();
    let mut builder = ApiServer::builder().clock(clock.clone()).seed(dice.roll());
    for definition in definitions() {
        builder = builder.crd(definition.clone());
    }
    let server = builder.build()?;
    let settings = Settings {
        start: dice.within(Duration::from_secs(20)),
        call: dice.within(Duration::from_millis(200)),
        ..Settings::default()
    };
    let datacenter = Datacenter::new(clock.clone(), settings);
    let intensity = *dice.pick(&[0, 5, 15, 30, 50]).unwrap_or(&0);
    let faults = Faults::new(dice.roll(), intensity);
    let leased = dice.chance(400);
    let world = Arc::new(World::new(
        clock.clone(),
        faults.clone(),
        &server,
        leased,
        options.trace,
    ));
    let witness = Arc::downgrade(&world);
    datacenter.observe(move |datacenter, event| {
        if let Some(world) = witness.upgrade() {
            world.happened(datacenter, event);
        }
    });
    inject(&datacenter, &world);
    let done = {
        let world = Arc::clone(&world);
        Arc::new(move |who: &str, method: &http::Method, path: &str, code| {
            world.request(who, method, path, code);
        })
    };
    let service = FaultyService::new(server.service(), clock.clone(), "user", done);
    let managers = Managers::start(
        &world,
        &service,
        &datacenter,
        options.mutant,
        leased,
        dice.roll(),
    );
    let story = Story::new(
        Arc::clone(&world),
        kube::Client::new(service, "default"),
        datacenter.clone(),
        dice.clone(),
    );
    story.tell(&managers).await;
    managers.stop().await;
    let digest = server.digest();
    world.trace(&digest);
    let (hash, trace) = world.traced();
    let passed = clock.now().duration_since(begun);
    Ok(Report {
        seed,
        mutant: options.mutant,
        violation: world.violation(),
        hash,
        trace,
        actions: world.actions(),
        faults: faults.counts(),
        writes: world.writes(),
        lasted: Duration::try_from(passed).unwrap_or_default(),
    })
}

/// Made from the types once: that costs as much as a tenth of a run.
fn definitions() -> &'static [Value] {
    static DEFINITIONS: OnceLock<Vec<Value>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let all = crate::api::crds().into_iter().chain(reference::crds());
        all.collect()
    })
}

/// Lets the calls of the control plane provider fail; those of the infrastructure are wrapped.
fn inject(datacenter: &Datacenter, world: &Arc<World>) {
    let weak = Arc::downgrade(world);
    datacenter.inject(move |call| {
        let world = weak.upgrade()?;
        if matches!(call, "ensure" | "destroy") {
            return None;
        }
        world.sudden(call)
    });
}
