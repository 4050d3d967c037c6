//! What clusters cost: writes, wall time and CPU, on the embedded API server and on the real one,
//! beside the figures that the Go stack was measured with.
//!
//! ```text
//! cargo run --release --example measure                   # the table
//! cargo run --release --example measure -- --latency 20   # apply to all Ready, and where it goes
//! cargo run --example measure -- --server embedded --trace add
//! ```
//!
//! The real server needs `KUBEBUILDER_ASSETS`. Infrastructure is the reference provider, which
//! answers at once. Writes are counted by the server (the real one by its own
//! `apiserver_request_total`), Events and Leases apart; the user's own are not in them, the real
//! garbage collector's are.

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

use capi_core::{
    api::{Cluster, MachineDeployment},
    clock::Clock,
    controllers,
    runtime::{Manager, ObjectKey},
    testing::{
        plane::Plane,
        real::{Who, cpu_of},
        reference::{
            ClusterShape, Datacenter, ReferenceBootstrap, ReferenceControlPlaneProvider,
            ReferenceInfrastructure, Settings, manifest,
        },
        traffic::Sent,
    },
};
use clap::{Parser, ValueEnum};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

type Failure = Box<dyn Error + Send + Sync>;

/// Long enough for every state on the way to be written.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Servers {
    Embedded,
    Real,
    Both,
}

/// Measure what clusters cost.
#[derive(Parser)]
struct Arguments {
    /// Where to measure.
    #[arg(long, value_enum, default_value = "both")]
    server: Servers,
    /// Only the rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Print each write of the rows whose name contains this.
    #[arg(long)]
    trace: Option<String>,
    /// Instead of the table: create 1+3 so many times, and print the median from apply to all
    /// Ready with what happened in the slowest gaps.
    #[arg(long, value_name = "TIMES")]
    latency: Option<usize>,
    /// Seconds of idleness in which the manager is restarted once, at the end of the table.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    capi_examples::output::end_quietly_unread();
    let arguments = Arguments::parse();
    if arguments.server != Servers::Real {
        let lab = Lab::new(Plane::embedded(Clock::system())?);
        lab.measure(&arguments).await?;
    }
    if arguments.server != Servers::Embedded
        && let Some(plane) = Plane::real(Clock::system()).await?
    {
        Lab::new(plane).measure(&arguments).await?;
    }
    Ok(())
}

/// A management cluster and a manager on it.
struct Lab {
    plane: Plane,
    datacenter: Datacenter,
}

/// A running manager.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), capi_core::runtime::Error>>,
}

impl Running {
    async fn stop(self) -> Result<(), Failure> {
        // A manager that has ended already needs no signal; why it ended is told below.
        let _ = self.stop.send(());
        Ok(self.task.await??)
    }
}

/// What one step took.
struct Cost {
    wall: Duration,
    manager: Duration,
    servers: Duration,
    writes: BTreeMap<String, u64>,
}

impl Cost {
    fn total(&self) -> u64 {
        self.writes.values().sum()
    }
}

impl Lab {
    fn new(plane: Plane) -> Self {
        let datacenter = Datacenter::new(plane.clock().clone(), Settings::default());
        Self { plane, datacenter }
    }

    fn start(&self) -> Result<Running, Failure> {
        let mut all = controllers::core();
        let datacenter = &self.datacenter;
        all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
            datacenter.clone(),
        )));
        all.extend(controllers::bootstrap(ReferenceBootstrap));
        all.extend(controllers::control_plane(
            ReferenceControlPlaneProvider::new(datacenter.clone()),
        ));
        let manager = Manager::builder(self.plane.manager_client(Who::Admin)?)
            .clock(self.plane.clock().clone())
            .connector(datacenter.connector())
            .controllers(all)
            .build();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(manager.run(async move {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        }));
        Ok(Running { stop, task })
    }

    async fn measure(self, arguments: &Arguments) -> Result<(), Failure> {
        println!("\n== {} API server", self.plane.name());
        match arguments.latency {
            Some(times) => self.latency(times).await,
            None => self.table(arguments).await,
        }
    }

    /// Applies clusters and waits until they are all there.
    async fn up(&self, shapes: &[ClusterShape]) -> Result<(), Failure> {
        for object in shapes.iter().flat_map(manifest) {
            self.plane.apply(&object).await?;
        }
        for shape in shapes {
            self.plane.until_up(shape).await?;
        }
        Ok(())
    }

    async fn down(&self, shapes: &[ClusterShape]) -> Result<(), Failure> {
        let cluster = Cluster::KIND.into();
        for shape in shapes {
            self.plane.delete(&cluster, &key(&shape.name)).await?;
        }
        for shape in shapes {
            self.plane.until_gone(&key(&shape.name)).await?;
        }
        Ok(())
    }

    async fn change(&self, shape: &ClusterShape, spec: serde_json::Value) -> Result<(), Failure> {
        let workers = key(&format!("{}-workers", shape.name));
        let kind = MachineDeployment::KIND.into();
        self.plane
            .patch(&kind, &workers, &json!({ "spec": spec }))
            .await?;
        self.plane.until_up(shape).await
    }

    /// Runs one step and prints its row. The wall time ends when the step is done; writes and CPU
    /// are counted until all is quiet.
    async fn row(
        &self,
        arguments: &Arguments,
        name: &str,
        go: &str,
        step: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Cost, Failure> {
        let mark = self.plane.traffic().mark();
        let before = self.plane.writes().await?;
        let (cpu, servers) = (own_cpu(), self.plane.server_cpu());
        let began = now();
        step.await?;
        let wall = began.elapsed();
        self.plane.until_quiet(QUIET).await;
        let mut writes = self.plane.writes().await?;
        for (resource, count) in before {
            if let Some(found) = writes.get_mut(&resource) {
                *found -= count;
            }
        }
        writes.retain(|_, count| *count > 0);
        let after: Duration = self.plane.server_cpu().values().sum();
        let cost = Cost {
            wall,
            manager: own_cpu() - cpu,
            servers: after - servers.values().sum::<Duration>(),
            writes,
        };
        println!(
            "{name:<28}{:>9.0} ms{:>7} writes{:>8.2} CPU-s{:>8.2} CPU-s in all   Go: {go}",
            cost.wall.as_secs_f64() * 1e3,
            cost.total(),
            cost.manager.as_secs_f64(),
            (cost.manager + cost.servers).as_secs_f64(),
        );
        let list: Vec<String> = cost
            .writes
            .iter()
            .map(|(resource, count)| format!("{resource} {count}"))
            .collect();
        println!("    {}", list.join(", "));
        let failed: Vec<Sent> = self
            .plane
            .traffic()
            .since(mark)
            .into_iter()
            .filter(|sent| sent.is_write() && !(200..300).contains(&sent.code))
            .collect();
        if !failed.is_empty() {
            println!("    {} writes were refused", failed.len());
        }
        if arguments
            .trace
            .as_ref()
            .is_some_and(|trace| name.contains(trace.as_str()))
        {
            for sent in self.plane.traffic().since(mark) {
                if sent.is_write() && sent.resource != "events" {
                    println!("    {} {sent}", sent.sent);
                }
            }
        }
        Ok(cost)
    }

    async fn table(self, arguments: &Arguments) -> Result<(), Failure> {
        let running = self.start()?;
        self.plane.until_quiet(QUIET).await;
        let wanted = |name: &str| name.contains(arguments.only.as_str());
        let one = ClusterShape::new("one", 1, 3);
        let mut few = None;
        if wanted("create") || wanted("add") || wanted("rolling") {
            let go = "42 s, 301 writes, 2.7 CPU-s, 8.6 in all (tuned 32 s)";
            let step = self.up(std::slice::from_ref(&one));
            few = Some(self.row(arguments, "create 1+3", go, step).await?);
        }
        if wanted("add") {
            let more = ClusterShape {
                workers: 13,
                ..one.clone()
            };
            let go = "45-49 writes, 0.3 CPU-s, 1.0 in all, each";
            let step = self.change(&more, json!({ "replicas": 13 }));
            let cost = self.row(arguments, "add 10 workers", go, step).await?;
            per_worker(&cost, 10);
        }
        if wanted("rolling") {
            let shape = ClusterShape {
                workers: 10,
                ..one.clone()
            };
            let step = self.change(&shape, json!({ "replicas": 10 }));
            self.row(arguments, "to 10 workers", "12-14 writes a worker", step)
                .await?;
            let go = "13.4 s, 109 writes each (tuned 2.0 s)";
            let step = self.roll(&shape);
            let cost = self.row(arguments, "replace 10, surge 1", go, step).await?;
            println!(
                "    a step: {:.0} ms, {:.1} writes",
                cost.wall.as_secs_f64() * 1e2,
                cost.total() as f64 / 10.0
            );
            let shape = ClusterShape {
                workers: 3,
                ..shape
            };
            let step = self.change(&shape, json!({ "replicas": 3 }));
            self.row(arguments, "to 3 workers", "12-14 writes a worker", step)
                .await?;
        }
        if few.is_some() {
            let go = "13 s, 105 writes (tuned 1.4 s)";
            let step = self.down(std::slice::from_ref(&one));
            self.row(arguments, "delete 1+3", go, step).await?;
        }
        if wanted("30") {
            let many = [ClusterShape::new("many", 1, 30)];
            let go = "50 s (tuned 41 s)";
            let cost = self
                .row(arguments, "create 1+30", go, self.up(&many))
                .await?;
            if let Some(few) = few {
                println!(
                    "    a worker more, from 1+3 to 1+30: {:.2} writes",
                    (cost.total() - few.total()) as f64 / 27.0
                );
            }
            self.row(arguments, "delete 1+30", "-", self.down(&many))
                .await?;
        }
        if wanted("10 x") {
            let ten: Vec<ClusterShape> = (0..10)
                .map(|number| ClusterShape::new(format!("ten-{number}"), 1, 3))
                .collect();
            let go = "58 s (tuned 61 s)";
            self.row(arguments, "create 10 x (1+3)", go, self.up(&ten))
                .await?;
            let rest = Duration::from_secs(arguments.idle);
            let first = running;
            let mut second = None;
            let step = async {
                self.plane.clock().sleep(rest / 2).await;
                first.stop().await?;
                second = Some(self.start()?);
                self.plane.clock().sleep(rest / 2).await;
                Ok(())
            };
            let name = format!("idle {} s, one restart", rest.as_secs());
            self.row(arguments, &name, "0 writes, 9.7 millicores", step)
                .await?;
            self.row(arguments, "delete 10 x (1+3)", "-", self.down(&ten))
                .await?;
            return match second {
                Some(running) => running.stop().await,
                None => Ok(()),
            };
        }
        running.stop().await
    }

    /// Replaces the workers by a change of their template, surge 1.
    async fn roll(&self, shape: &ClusterShape) -> Result<(), Failure> {
        let workers = key(&format!("{}-workers", shape.name));
        let kind = MachineDeployment::KIND.into();
        let patch = json!({ "spec": { "template": { "spec": { "failureDomain": "other" }}}});
        self.plane.patch(&kind, &workers, &patch).await?;
        self.plane
            .until(&kind, &workers, |found| {
                found.is_some_and(|found| {
                    found["status"]["observedGeneration"] == found["metadata"]["generation"]
                })
            })
            .await?;
        self.plane.until_up(shape).await
    }

    /// Creates 1+3 again and again.
    async fn latency(self, times: usize) -> Result<(), Failure> {
        let running = self.start()?;
        self.plane.until_quiet(QUIET).await;
        let mut runs = Vec::new();
        for time in 0..times.max(1) {
            let shape = [ClusterShape::new(format!("run-{time}"), 1, 3)];
            let mark = self.plane.traffic().mark();
            let cpu = own_cpu();
            let began = now();
            self.up(&shape).await?;
            let took = began.elapsed();
            let cpu = own_cpu() - cpu;
            let sent = self.plane.traffic().since(mark);
            runs.push((took, cpu, sent));
            self.plane.until_quiet(QUIET).await;
            self.down(&shape).await?;
            self.plane.until_quiet(QUIET).await;
        }
        running.stop().await?;
        runs.sort_by_key(|(took, ..)| *took);
        let (took, cpu, sent) = &runs[runs.len() / 2];
        let shown = |index: usize| runs[index].0.as_secs_f64() * 1e3;
        println!(
            "apply to all Ready, 1+3, {times} times: median {:.0} ms, fastest {:.0}, slowest {:.0}; \
             our CPU in the median run {:.0} ms",
            took.as_secs_f64() * 1e3,
            shown(0),
            shown(runs.len() - 1),
            cpu.as_secs_f64() * 1e3,
        );
        timeline(sent);
        Ok(())
    }
}

/// Each write of the median run, and how long nothing was under way before it.
fn timeline(sent: &[Sent]) {
    let mut writes: Vec<&Sent> = sent.iter().filter(|sent| sent.is_write()).collect();
    writes.sort_by_key(|sent| sent.sent);
    let Some(first) = writes.first() else { return };
    let (begin, mut busy_until) = (first.sent, first.sent);
    let mut gaps = Duration::ZERO;
    let mut in_requests = Duration::ZERO;
    for sent in writes {
        let at = sent.sent.duration_since(begin).as_secs_f64() * 1e3;
        let took = sent.answered.duration_since(sent.sent);
        let gap = Duration::try_from(sent.sent.duration_since(busy_until)).unwrap_or_default();
        gaps += gap;
        in_requests += Duration::try_from(took).unwrap_or_default();
        busy_until = busy_until.max(sent.answered);
        println!(
            "  {at:>8.1} ms  {:>6.1} ms  gap {:>6.1}  {} {} {}",
            took.as_secs_f64() * 1e3,
            gap.as_secs_f64() * 1e3,
            sent.verb,
            sent.rule(),
            sent.name
        );
    }
    println!(
        "  {:.0} ms in which no write was under way; {:.0} ms of writes, side by side",
        gaps.as_secs_f64() * 1e3,
        in_requests.as_secs_f64() * 1e3
    );
}

/// Writes about the workers' own objects, and about those of whom they are.
fn per_worker(cost: &Cost, workers: u64) {
    let owners = ["clusters", "machinedeployments", "machinesets"];
    let told: u64 = cost
        .writes
        .iter()
        .filter(|(resource, _)| owners.contains(&resource.as_str()))
        .map(|(_, count)| count)
        .sum();
    let own = cost.total() - told;
    println!(
        "    each: {:.1} of its own objects; {told} of their owners, for all together",
        own as f64 / workers as f64
    );
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    cpu_of(std::process::id())
}

#[allow(clippy::disallowed_methods)] // what is measured is the machine's time
fn now() -> Instant {
    Instant::now()
}
