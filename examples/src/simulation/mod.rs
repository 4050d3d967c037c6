//! The simulation with the providers of this workspace: Talos Linux on Proxmox VE, through their
//! production clients, in memory and in virtual time.
//!
//! Proxmox VE is reached by the provider's client over a transport without sockets, the nodes' machine
//! API by gRPC with mutual TLS over pipes, the workload cluster by its API server in this process.
//! Faults happen at each of these, at each request to the management API server, and at awaits.

mod managers;
mod site;
mod story;
mod world;

use std::{collections::BTreeMap, fmt, io, str::FromStr, sync::Arc, time::Duration};

use capi_core::{
    clock::Clock,
    embedded::{self, ApiServer},
    pki::{KeyAlgorithm, PrivateKey},
    testing::faults::{Dice, Fault, Faults, FaultyService},
};
use jiff::Timestamp;

use self::{managers::Managers, site::Site, story::Story, world::World};

pub use world::{Rule, SiteFault, Violation};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How a run differs from an ordinary one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A defect to plant.
    pub mutant: Option<Mutant>,
    /// Keep the lines of the trace.
    pub trace: bool,
}

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A virtual machine is destroyed under a number that is somebody else's.
    DestroysForeign,
    /// Every claim gets the same address.
    AddressTwice,
    /// With a control plane machine another one is switched off.
    StopsSecondControlPlane,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::DestroysForeign,
        Self::AddressTwice,
        Self::StopsSecondControlPlane,
    ];
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|one| one.to_string() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(|one| one.to_string());
            format!("no such defect; there are {}", names.join(", "))
        })
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The planted defect.
    pub mutant: Option<Mutant>,
    /// The rule that was broken, if one was; the run ended there.
    pub violation: Option<Violation>,
    /// Hash of the trace.
    pub hash: u64,
    /// Lines of the trace, where they were asked for.
    pub trace: Vec<String>,
    /// What the user did.
    pub actions: BTreeMap<&'static str, u64>,
    /// Faults of the API server and of managers.
    pub faults: BTreeMap<Fault, u64>,
    /// Faults of Proxmox VE and Talos.
    pub site_faults: BTreeMap<SiteFault, u64>,
    /// Writes of managers, Events and Leases apart.
    pub writes: u64,
    /// How long the story took, in its own time.
    pub lasted: Duration,
}

impl Report {
    /// The command that repeats the run with its trace.
    #[must_use]
    pub fn replay(&self) -> String {
        let (seed, end) = (self.seed, self.seed.saturating_add(1));
        let mut line = format!(
            "cargo run --example simulate -- --providers talos-proxmox --seeds {seed}..{end} --trace"
        );
        if let Some(mutant) = self.mutant {
            line.push_str(&format!(" --mutant {mutant}"));
        }
        line
    }
}

/// The time at which stories begin.
const EPOCH: i64 = 1_767_225_600;

/// Runs one seed.
///
/// # Errors
/// When the operating system gives no runtime, or a part cannot be built.
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

async fn tell(seed: u64, options: &Options) -> Result<Report, Error> {
    let mut dice = Dice::new(seed);
    let clock = Clock::following_tokio(Timestamp::from_second(EPOCH)?);
    let begun = clock.now();
    let builder = ApiServer::builder().clock(clock.clone()).seed(dice.roll());
    let server =
        embedded::install(builder, story::definitions().to_vec(), story::conversions()).build()?;
    let intensity = *dice.pick(&[0, 5, 15, 30]).unwrap_or(&0);
    let faults = Faults::new(dice.roll(), intensity);
    let leased = dice.chance(300);
    let world = Arc::new(World::new(
        clock.clone(),
        faults.clone(),
        &server,
        options.trace,
        intensity,
    ));
    let site = Site::open(&world, &mut dice, options.mutant);
    let done = {
        let world = Arc::clone(&world);
        Arc::new(move |who: &str, method: &http::Method, path: &str, code| {
            world.request(who, method, path, code);
        })
    };
    let service = FaultyService::new(server.service(), clock.clone(), "user", done);
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let managers = Managers::start(
        &world,
        &service,
        &site,
        &key,
        options.mutant,
        leased,
        dice.roll(),
    );
    let client = kube::Client::new(service, "default");
    let story = Story::new(Arc::clone(&world), client, site.clone(), dice);
    if let Err(error) = story.tell(&managers).await {
        let what = format!("a request of the user failed: {error}");
        world.violate(Rule::Converges, what);
    }
    managers.stop().await;
    site.close();
    let (hash, trace) = world.traced();
    Ok(Report {
        seed,
        mutant: options.mutant,
        violation: world.violation(),
        hash,
        trace,
        actions: world.actions(),
        faults: faults.counts(),
        site_faults: world.site_faults(),
        writes: world.writes(),
        lasted: Duration::try_from(clock.now().duration_since(begun)).unwrap_or_default(),
    })
}
