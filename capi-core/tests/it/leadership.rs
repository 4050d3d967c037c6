//! Two managers and one Lease: never two writers, and the second takes over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capi_core::{
    runtime::{Error, LeaseConfig, Manager},
    testing::{
        faults::Dice,
        reference::{ClusterShape, Settings, manifest},
    },
};
use serde_json::json;

use crate::{
    support::{Plane, all_controllers, condition},
    wire::{Log, Wire, Write},
};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
/// Upstream's lease, and two attempts.
const TAKEOVER: Duration = Duration::from_secs(15 + 2 * 2);

struct Candidate {
    task: tokio::task::JoinHandle<Result<(), Error>>,
    breaker: Arc<AtomicBool>,
}

/// A manager that works while it holds the Lease. Each of its requests takes a while, so that it
/// dies with some under way.
fn candidate(plane: &Plane, who: &'static str, log: &Log) -> Candidate {
    let wire = Wire::new(&plane.server, &plane.clock, who, log).latency(Duration::from_millis(10));
    let breaker = wire.breaker();
    let manager = Manager::builder(wire.client())
        .clock(plane.clock.clone())
        .connector(plane.datacenter.connector())
        .controllers(all_controllers(&plane.datacenter))
        .leader_election(LeaseConfig::new("default", who))
        .build();
    Candidate {
        task: tokio::spawn(manager.run(std::future::pending())),
        breaker,
    }
}

/// The managers that wrote, in order, each as often as it began to write.
fn turns(log: &Log) -> Vec<&'static str> {
    let mut turns: Vec<&str> = log
        .writes()
        .iter()
        .filter(|write| write.counts())
        .map(|write| write.who)
        .collect();
    turns.dedup();
    turns
}

async fn until_workers(plane: &Plane, workers: i32) {
    let path = format!("{CORE}/machinedeployments/c-workers");
    plane
        .until(&path, |found| {
            found.is_some_and(|found| {
                found["status"]["availableReplicas"] == workers
                    && found["status"]["replicas"] == workers
            })
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn managers_that_are_killed_one_after_another_never_write_at_the_same_time() {
    const NAMES: [&str; 9] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"];
    let plane = Plane::new(Settings::default());
    let log = Log::default();
    let mut dice = Dice::new(7);
    for object in manifest(&ClusterShape::new("c", 3, 3)) {
        plane.apply(&object).await;
    }
    let mut holder = candidate(&plane, NAMES[0], &log);
    for (number, next) in NAMES.iter().enumerate().skip(1) {
        let wrote = |write: &Write| write.who == NAMES[number - 1] && write.counts();
        while !log.writes().iter().any(wrote) {
            plane.clock.sleep(Duration::from_millis(5)).await;
        }
        let second = candidate(&plane, next, &log);
        plane
            .clock
            .sleep(dice.within(Duration::from_millis(1500)))
            .await;
        assert!(
            !log.writes().iter().any(|write| write.who == *next),
            "{next} waits"
        );
        holder.task.abort();
        let died = plane.clock.now();
        // Something to do for whoever comes next.
        let replicas = 3 + i32::try_from(number % 3).expect("small");
        plane
            .patch(
                &format!("{CORE}/machinedeployments/c-workers"),
                &json!({ "spec": { "replicas": replicas } }),
            )
            .await;
        let first = loop {
            let found = log
                .writes()
                .into_iter()
                .find(|write| write.who == *next && write.counts());
            match found {
                Some(write) => break write,
                None => plane.clock.sleep(Duration::from_millis(100)).await,
            }
        };
        let took = Duration::try_from(first.at.duration_since(died)).expect("forward");
        assert!(took <= TAKEOVER, "{next} took {took:?}");
        holder = second;
    }
    until_workers(&plane, 5).await;
    plane.delete(&format!("{CORE}/clusters/c")).await;
    plane
        .until(&format!("{CORE}/clusters/c"), |found| found.is_none())
        .await;
    assert_eq!(turns(&log), NAMES);
    assert!(plane.datacenter.machines().is_empty());
    holder.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_cannot_renew_its_lease_stops_before_another_begins() {
    let plane = Plane::new(Settings::default());
    let log = Log::default();
    for object in manifest(&ClusterShape::new("c", 1, 3)) {
        plane.apply(&object).await;
    }
    let first = candidate(&plane, "first", &log);
    until_workers(&plane, 3).await;
    let second = candidate(&plane, "second", &log);
    first.breaker.store(true, Ordering::Relaxed);
    let broke = plane.clock.now();
    let path = format!("{CORE}/machinedeployments/c-workers");
    let patch = json!({ "spec": { "replicas": 5 } });
    plane.patch(&path, &patch).await;
    let lost = first.task.await.expect("no panic");
    assert!(matches!(lost, Err(Error::LeadershipLost)), "{lost:?}");
    let stopped = plane.clock.now();
    // Whole again, it has nothing to say any more.
    first.breaker.store(false, Ordering::Relaxed);
    until_workers(&plane, 5).await;
    let began = log
        .writes()
        .into_iter()
        .find(|write| write.who == "second" && write.counts())
        .expect("it took over");
    assert!(
        stopped < began.at,
        "stopped at {stopped}, the next began at {}",
        began.at
    );
    let took = Duration::try_from(began.at.duration_since(broke)).expect("forward");
    assert!(took <= TAKEOVER, "took {took:?}");
    assert_eq!(turns(&log), ["first", "second"]);
    let cluster = plane
        .get(&format!("{CORE}/clusters/c"))
        .await
        .expect("there");
    assert_eq!(condition(&cluster, "Available").as_deref(), Some("True"));
    second.task.abort();
}
