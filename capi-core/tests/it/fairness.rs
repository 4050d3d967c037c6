//! What one cluster costs another, and how many writes are under way at once.
//!
//! Times are virtual: each request to the API server takes some milliseconds and computing takes
//! none, so a ratio says what waits for what, on any machine. What computing adds on the machine at
//! hand is printed by
//!
//! ```text
//! CAPI_FAIRNESS_REAL=1 cargo test --release -p capi-core --features testing --test it real_time -- --nocapture
//! ```

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use capi_core::{
    runtime::{Connector, ObjectKey},
    testing::reference::{ClusterShape, ReferenceConnector, Settings, manifest},
};
use http::Request;
use kube::client::Body;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    support::{Plane, all_controllers, condition},
    wire::{Log, Wire},
};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";
/// A request to a real API server on the same machine takes about so long.
const REQUEST: Duration = Duration::from_millis(10);
/// How exactly times are taken.
const TICK: Duration = Duration::from_millis(5);

fn slow_client(plane: &Plane, latency: Duration, log: &Log) -> kube::Client {
    Wire::new(&plane.server, &plane.clock, "manager", log)
        .latency(latency)
        .client()
}

async fn apply_cluster(plane: &Plane, shape: &ClusterShape) {
    for object in manifest(shape) {
        plane.apply(&object).await;
    }
}

/// Waits until something is so, and says how long that took.
async fn time_until(plane: &Plane, what: &str, so: impl AsyncFn() -> bool) -> Duration {
    let began = plane.clock.now();
    loop {
        let passed = plane.clock.now().duration_since(began);
        if so().await {
            return Duration::try_from(passed).expect("time goes forward");
        }
        assert!(passed.as_secs() < 600, "{what}: not in ten minutes");
        plane.clock.sleep(TICK).await;
    }
}

async fn is_up(plane: &Plane, name: &str, workers: i32) -> bool {
    let cluster = plane.get(&format!("{CORE}/clusters/{name}")).await;
    if condition(&cluster.unwrap_or_default(), "Available").as_deref() != Some("True") {
        return false;
    }
    let deployment = plane.get(&workers_of(name)).await.unwrap_or_default();
    let status = &deployment["status"];
    status["availableReplicas"] == workers && status["replicas"] == workers
}

fn workers_of(name: &str) -> String {
    format!("{CORE}/machinedeployments/{name}-workers")
}

async fn scale(plane: &Plane, name: &str, replicas: i32) {
    let patch = json!({ "spec": { "replicas": replicas } });
    plane.patch(&workers_of(name), &patch).await;
}

/// Makes all workers of cluster `big` and removes them again, until it is dropped.
async fn churn(plane: &Plane, machines: i32, rounds: &std::sync::atomic::AtomicUsize) {
    loop {
        for (replicas, wanted) in [(machines, machines), (0, 0)] {
            scale(plane, "big", replicas).await;
            time_until(plane, "a round of churn", async || {
                let deployment = plane.get(&workers_of("big")).await.unwrap_or_default();
                deployment["status"]["replicas"] == wanted
            })
            .await;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long a cluster of 1+1 takes alone, and beside so many machines that come and go.
async fn alone_and_beside(machines: i32) -> (Duration, Duration) {
    let plane = Plane::new(Settings::default());
    let log = Log::default();
    let running = plane.run_through(
        slow_client(&plane, REQUEST, &log),
        plane.datacenter.connector(),
        all_controllers(&plane.datacenter),
    );
    apply_cluster(&plane, &ClusterShape::new("big", 1, 0)).await;
    time_until(&plane, "big", async || is_up(&plane, "big", 0).await).await;

    let small = async |name: &str| {
        apply_cluster(&plane, &ClusterShape::new(name, 1, 1)).await;
        time_until(&plane, name, async || is_up(&plane, name, 1).await).await
    };
    // The fastest of a few: what waits by chance alone does not excuse waiting beside others.
    let mut alone = Duration::MAX;
    for name in ["alone-1", "alone-2", "alone-3"] {
        alone = alone.min(small(name).await);
    }
    let rounds = std::sync::atomic::AtomicUsize::new(0);
    let before = log.writes().len();
    let beside = tokio::select! {
        () = churn(&plane, machines, &rounds) => unreachable!("it has no end"),
        beside = async {
            // The churn is in full swing: a tenth of the machines is there.
            let some = usize::try_from(machines / 10).expect("positive");
            time_until(&plane, "churn", async || plane.datacenter.machines().len() > some).await;
            small("beside").await
        } => beside,
    };
    let of_others = log.writes()[before..]
        .iter()
        .filter(|write| write.path.contains("/big-"))
        .count();
    println!(
        "1+1: {alone:?} alone, {beside:?} beside {machines} machines that come and go \
         ({of_others} writes about those, {} rounds)",
        rounds.load(Ordering::Relaxed)
    );
    assert!(of_others > 500, "{of_others} writes are no churn");
    drop(running);
    (alone, beside)
}

#[tokio::test(start_paused = true)]
async fn a_small_cluster_beside_a_thousand_churned_machines_is_nearly_as_fast_as_alone() {
    let (alone, beside) = alone_and_beside(1000).await;
    assert!(
        beside < alone.mul_f64(1.5),
        "{beside:?} beside, {alone:?} alone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ratio_beside_churned_machines_in_real_time_is_printed() {
    if std::env::var_os("CAPI_FAIRNESS_REAL").is_none() {
        println!("skipped: CAPI_FAIRNESS_REAL asks for it");
        return;
    }
    let (alone, beside) = alone_and_beside(1000).await;
    println!(
        "ratio in real time: {:.2}",
        beside.as_secs_f64() / alone.as_secs_f64()
    );
}

/// Workload clusters of which some swallow every request, once that is switched on.
#[derive(Clone)]
struct BlackHoles {
    inner: ReferenceConnector,
    names: Arc<BTreeSet<String>>,
    dark: Arc<AtomicBool>,
}

impl BlackHoles {
    fn swallows(&self, cluster: &ObjectKey) -> bool {
        self.dark.load(Ordering::Relaxed) && self.names.contains(&*cluster.name)
    }
}

#[async_trait]
impl Connector for BlackHoles {
    async fn connect(
        &self,
        cluster: &ObjectKey,
        kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
        if self.swallows(cluster) {
            std::future::pending::<()>().await;
        }
        let client = self.inner.connect(cluster, kubeconfig).await?;
        let (holes, cluster) = (self.clone(), cluster.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (holes, cluster, client) = (holes.clone(), cluster.clone(), client.clone());
            async move {
                if holes.swallows(&cluster) {
                    std::future::pending::<()>().await;
                }
                client.send(request).await
            }
        });
        Ok(kube::Client::new(service, "default"))
    }
}

/// How long 15 clusters take to come up and to scale, while 5 more are black holes from birth, or
/// become black holes before the scaling, or are as the others.
async fn fifteen_of_twenty(from_birth: bool, later: bool) -> (Duration, Duration) {
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let (holes, others) = names.split_at(5);
    let plane = Plane::new(Settings::default());
    let connector = BlackHoles {
        inner: plane.datacenter.connector(),
        names: Arc::new(holes.iter().cloned().collect()),
        dark: Arc::new(AtomicBool::new(from_birth)),
    };
    let dark = Arc::clone(&connector.dark);
    let log = Log::default();
    let running = plane.run_through(
        slow_client(&plane, REQUEST, &log),
        connector,
        all_controllers(&plane.datacenter),
    );
    for name in &names {
        apply_cluster(&plane, &ClusterShape::new(name, 1, 2)).await;
    }
    let all = async |names: &[String], workers: i32| {
        for name in names {
            if !is_up(&plane, name, workers).await {
                return false;
            }
        }
        true
    };
    let up = time_until(&plane, "the others", async || all(others, 2).await).await;
    if from_birth {
        assert!(!all(&holes[..1], 2).await, "a black hole is never up");
    } else {
        time_until(&plane, "all", async || all(holes, 2).await).await;
    }
    // Quiet, and the connections that are lost have been found lost.
    dark.store(from_birth || later, Ordering::Relaxed);
    plane.clock.sleep(Duration::from_secs(120)).await;
    if later {
        let cluster = plane.get(&format!("{CORE}/clusters/c0")).await;
        let cluster = cluster.expect("it exists");
        assert_ne!(
            condition(&cluster, "RemoteConnectionProbe").as_deref(),
            Some("True"),
            "it is told that a black hole does not answer"
        );
    }
    for name in &names {
        scale(&plane, name, 4).await;
    }
    let scaled = time_until(&plane, "scaling", async || all(others, 4).await).await;
    drop(running);
    (up, scaled)
}

#[tokio::test(start_paused = true)]
async fn workload_clusters_that_swallow_everything_do_not_slow_the_others() {
    let (up, scaled) = fifteen_of_twenty(false, false).await;
    let (up_beside, scaled_beside) = fifteen_of_twenty(true, true).await;
    let (_, scaled_later) = fifteen_of_twenty(false, true).await;
    println!(
        "15 clusters of 20: up in {up:?}, scaled in {scaled:?}; beside 5 black holes up in \
         {up_beside:?}, scaled in {scaled_beside:?}; scaled in {scaled_later:?} where those went \
         dark when they were up"
    );
    assert!(up_beside < up.mul_f64(1.2));
    assert!(scaled_beside < scaled.mul_f64(1.2));
    assert!(scaled_later < scaled.mul_f64(1.2));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_replicas_at_fifty_milliseconds_a_write_are_made_in_a_second() {
    let plane = Plane::new(Settings::default());
    let log = Log::default();
    let running = plane.run_through(
        slow_client(&plane, Duration::from_millis(50), &log),
        plane.datacenter.connector(),
        all_controllers(&plane.datacenter),
    );
    apply_cluster(&plane, &ClusterShape::new("c", 1, 0)).await;
    time_until(&plane, "c", async || is_up(&plane, "c", 0).await).await;
    let before =
        ["machines", "referencemachines", "referenceconfigs"].map(|kind| log.created(kind));
    assert_eq!(before, [1, 1, 1]);
    scale(&plane, "c", 100).await;
    let machines = time_until(&plane, "machines", async || log.created("machines") == 101).await;
    let rest = time_until(&plane, "their objects", async || {
        log.created("referencemachines") == 101 && log.created("referenceconfigs") == 101
    })
    .await;
    let up = time_until(&plane, "all", async || is_up(&plane, "c", 100).await).await;
    println!(
        "100 replicas at 50 ms a request: Machines in {machines:?}, with their objects in {:?}, \
         available in {:?}",
        machines + rest,
        machines + rest + up
    );
    assert!(machines + rest < Duration::from_secs(1));
    let list: Value = plane
        .get(&format!("{REFERENCE}/referencemachines"))
        .await
        .expect("a list");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(101));
    drop(running);
}
