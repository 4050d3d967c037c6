//! What fleets cost: the whole manager with the reference providers on the embedded API server, in
//! one process and in virtual time, so that only computing takes time.
//!
//! ```text
//! cargo bench -p capi-benches --bench fleet                    # 100 clusters x 10 machines
//! cargo bench -p capi-benches --bench fleet -- 1000 10         # some minutes
//! cargo bench -p capi-benches --bench fleet -- 10000 10        # needs some 10 GB
//! ```
//!
//! A row a step: wall and CPU time, writes (Events and Leases apart) and the bytes sent in them, and
//! the most memory that the process had so far. Before it a tenth of the fleet is run, and the run
//! fails when a machine of the fleet costs twice the CPU of one of the tenth, or when anything is
//! written at rest.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capi_benches::cpu;
use capi_core::{
    api::{self, Cluster, Machine},
    clock::Clock,
    controllers,
    embedded::{self, ApiServer},
    runtime::{Manager, ResourceType},
    testing::reference::{
        self, ClusterShape, Datacenter, ReferenceBootstrap, ReferenceControlPlaneProvider,
        ReferenceInfrastructure, Settings, manifest,
    },
};
use http::{Method, Request};
use http_body::Body as _;
use kube::client::Body;
use serde_json::Value;
use tower::ServiceExt as _;

type Failure = Box<dyn Error + Send + Sync>;

/// When the fleet's clock begins: 2026-01-01T00:00:00Z.
const EPOCH: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);
/// The longest virtual time that a step may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// A machine of a fleet may cost so many times the CPU of one in a tenth of it.
const GROWTH: f64 = 2.0;

/// What managers sent.
#[derive(Default)]
struct Sent {
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Sent {
    fn note(&self, request: &Request<Body>) {
        let path = request.uri().path();
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        if read || path.contains("/events") || path.contains("/leases") {
            return;
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        let bytes = request.body().size_hint().lower();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Fleet {
    clusters: usize,
    machines: usize,
    clock: Clock,
    client: kube::Client,
    datacenter: Datacenter,
    sent: Arc<Sent>,
}

/// What one step took.
struct Cost {
    wall: Duration,
    cpu: Duration,
    writes: u64,
    bytes: u64,
}

#[allow(clippy::disallowed_methods)] // measures the machine's time
fn now() -> Instant {
    Instant::now()
}

impl Fleet {
    fn new(clusters: usize, machines: usize) -> Result<(Self, Manager), Failure> {
        let clock = Clock::following_tokio(EPOCH);
        let mut builder = ApiServer::builder().clock(clock.clone()).seed(1);
        for crd in api::crds().into_iter().chain(reference::crds()) {
            builder = builder.crd(crd);
        }
        let server = builder.build()?;
        let datacenter = Datacenter::new(clock.clone(), Settings::default());
        let sent = Arc::<Sent>::default();
        let noted = Arc::clone(&sent);
        let service = server.service().map_request(move |request: Request<Body>| {
            noted.note(&request);
            request
        });
        let mut all = controllers::core();
        all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
            datacenter.clone(),
        )));
        all.extend(controllers::bootstrap(ReferenceBootstrap));
        all.extend(controllers::control_plane(
            ReferenceControlPlaneProvider::new(datacenter.clone()),
        ));
        let manager = Manager::builder(kube::Client::new(service, "default"))
            .clock(clock.clone())
            .connector(datacenter.connector())
            .controllers(all)
            .seed(1)
            .build();
        let fleet = Self {
            clusters,
            machines,
            clock,
            client: embedded::client(&server),
            datacenter,
            sent,
        };
        Ok((fleet, manager))
    }

    async fn request(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)?;
        Ok(self.client.request(request).await?)
    }

    /// Objects of a kind that are so, and all of them.
    async fn count(
        &self,
        kind: &ResourceType,
        so: fn(&Value) -> bool,
    ) -> Result<(usize, usize), Failure> {
        let path = kind.path("");
        let (mut found, mut all) = (0, 0);
        let mut next = String::new();
        loop {
            let page = format!("{path}?limit=500&continue={next}");
            let list = self.request(Method::GET, &page, &Value::Null).await?;
            let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
            all += items.len();
            found += items.iter().filter(|item| so(item)).count();
            next = list["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if next.is_empty() {
                return Ok((found, all));
            }
        }
    }

    /// Looks now and then, seldom enough to cost little beside what is measured.
    async fn until(
        &self,
        what: &str,
        so: impl AsyncFn() -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let began = self.clock.now();
        let mut pause = Duration::from_secs(2);
        while !so().await? {
            let passed = Duration::try_from(self.clock.now().duration_since(began))?;
            if passed > PATIENCE {
                return Err(format!("{what}: not in an hour").into());
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
        Ok(())
    }

    async fn create(&self) -> Result<(), Failure> {
        let workers = i32::try_from(self.machines.saturating_sub(1))?;
        for index in 0..self.clusters {
            let shape = ClusterShape::new(format!("c{index:05}"), 1, workers);
            for object in manifest(&shape) {
                let api_version = object["apiVersion"].as_str().unwrap_or_default();
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let kind = object["kind"].as_str().unwrap_or_default();
                let path = ResourceType::by_convention(group, version, kind).path("default");
                self.request(Method::POST, &path, &object).await?;
            }
        }
        self.until("all are up", async || {
            if self.datacenter.machines().len() < self.clusters * self.machines {
                return Ok(false);
            }
            let (machines, _) = self.count(&Machine::KIND.into(), is_ready).await?;
            let (clusters, _) = self.count(&Cluster::KIND.into(), is_available).await?;
            Ok(machines == self.clusters * self.machines && clusters == self.clusters)
        })
        .await?;
        // What is written late, so that little is written in all, belongs to it.
        self.clock.sleep(Duration::from_secs(60)).await;
        Ok(())
    }

    async fn delete(&self) -> Result<(), Failure> {
        let path = ResourceType::from(Cluster::KIND).path("default");
        for index in 0..self.clusters {
            self.request(Method::DELETE, &format!("{path}/c{index:05}"), &Value::Null)
                .await?;
        }
        self.until("all are gone", async || {
            let (_, clusters) = self.count(&Cluster::KIND.into(), is_ready).await?;
            Ok(clusters == 0 && self.datacenter.machines().is_empty())
        })
        .await
    }

    /// Runs a step and prints its row.
    async fn row(
        &self,
        name: &str,
        step: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Cost, Failure> {
        let sent = || {
            let (writes, bytes) = (&self.sent.writes, &self.sent.bytes);
            (
                writes.load(Ordering::Relaxed),
                bytes.load(Ordering::Relaxed),
            )
        };
        let (wall, before, at) = (now(), sent(), cpu());
        step.await?;
        let after = sent();
        let cost = Cost {
            wall: wall.elapsed(),
            cpu: cpu().saturating_sub(at),
            writes: after.0 - before.0,
            bytes: after.1 - before.1,
        };
        let each = |total: f64| total / (self.clusters * self.machines) as f64;
        println!(
            "{name:<22}{:>9.2} s{:>9.2} CPU-s{:>9.2} ms{:>8.1} writes{:>8.0} bytes a machine; peak {} MiB",
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            each(cost.cpu.as_secs_f64() * 1e3),
            each(cost.writes as f64),
            each(cost.bytes as f64),
            peak() / 1024,
        );
        Ok(cost)
    }
}

fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|found| found["type"] == name && found["status"] == "True")
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready")
}

fn is_available(object: &Value) -> bool {
    condition(object, "Available")
}

/// The most memory that this process ever had, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Runs a fleet from its first object to its last; the CPU seconds of a machine's life.
fn run(clusters: usize, machines: usize) -> Result<f64, Failure> {
    println!("\n{clusters} clusters x {machines} machines");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let (fleet, manager) = Fleet::new(clusters, machines)?;
        let manager = tokio::spawn(manager.run(std::future::pending()));
        let created = fleet.row("create", fleet.create()).await?;
        let hour = async {
            fleet.clock.sleep(Duration::from_secs(3600)).await;
            Ok(())
        };
        let rest = fleet.row("an hour at rest", hour).await?;
        let deleted = fleet.row("delete", fleet.delete()).await?;
        manager.abort();
        if rest.writes > 0 {
            return Err(format!("{} writes in an hour at rest", rest.writes).into());
        }
        let life = created.cpu + deleted.cpu;
        Ok(life.as_secs_f64() / (clusters * machines) as f64)
    })
}

fn main() -> Result<(), Failure> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let clusters = numbers.first().copied().unwrap_or(100).max(1);
    let machines = numbers.get(1).copied().unwrap_or(10).max(1);
    let tenth = run(clusters.div_ceil(10), machines)?;
    let whole = run(clusters, machines)?;
    let growth = whole / tenth.max(f64::MIN_POSITIVE);
    println!("\nCPU of a machine, by that of one in a tenth of the fleet: {growth:.2}");
    if growth > GROWTH {
        return Err(format!("it grows with the fleet: more than {GROWTH} times").into());
    }
    Ok(())
}
