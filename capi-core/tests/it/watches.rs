//! Watches that lag: what is known late is not done twice.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use capi_core::{
    controllers,
    testing::reference::{ClusterShape, DatacenterEvent, Settings, manifest},
};
use serde_json::{Value, json};

use crate::{
    support::{Plane, Running, all_controllers, provider_controllers},
    wire::{Log, Wire},
};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const WORKERS: &str =
    "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/c-workers";
const CONTROL_PLANE: &str =
    "/apis/reference.capi.dev/v1/namespaces/default/referencecontrolplanes/c-control-plane";
const LATE: Duration = Duration::from_secs(5);

async fn until_settled(plane: &Plane, path: &str, replicas: i32, version: &str) {
    let versions = json!([{ "version": version, "replicas": replicas }]);
    let settled = |found: Option<&Value>| {
        found.is_some_and(|found| {
            let status = &found["status"];
            status["replicas"] == replicas
                && status["availableReplicas"] == replicas
                && status["upToDateReplicas"] == replicas
                && status["versions"] == versions
        })
    };
    plane.until(path, settled).await;
}

/// Creates, scales and replaces; each machine that is wanted is made once.
async fn story(plane: &Plane, run: impl Fn(&Plane, &Log) -> Vec<Running>) {
    let log = Log::default();
    let made = Arc::new(Mutex::new((Vec::new(), 0)));
    let witness = Arc::clone(&made);
    plane.datacenter.observe(move |datacenter, event| {
        let mut seen = witness.lock().unwrap_or_else(PoisonError::into_inner);
        if let DatacenterEvent::Made(record) = event {
            seen.0.push(record.name.clone());
        }
        seen.1 = seen.1.max(datacenter.machines().len());
    });
    for object in manifest(&ClusterShape::new("c", 1, 3)) {
        plane.apply(&object).await;
    }
    let mut running = run(plane, &log);
    until_settled(plane, CONTROL_PLANE, 1, "v1.33.0").await;
    until_settled(plane, WORKERS, 3, "v1.33.0").await;
    assert_eq!(log.created("machines"), 4);

    plane
        .patch(WORKERS, &json!({ "spec": { "replicas": 6 } }))
        .await;
    plane
        .patch(CONTROL_PLANE, &json!({ "spec": { "replicas": 3 } }))
        .await;
    until_settled(plane, CONTROL_PLANE, 3, "v1.33.0").await;
    until_settled(plane, WORKERS, 6, "v1.33.0").await;
    assert_eq!(log.created("machines"), 9);

    // A manager that begins in the middle of a step knows nothing of what its writes did.
    plane
        .patch(WORKERS, &json!({ "spec": { "replicas": 8 } }))
        .await;
    plane.clock.sleep(Duration::from_secs(1)).await;
    drop(running);
    running = run(plane, &log);
    until_settled(plane, WORKERS, 8, "v1.33.0").await;
    assert_eq!(log.created("machines"), 11);

    plane
        .patch(CONTROL_PLANE, &json!({ "spec": { "version": "v1.34.0" } }))
        .await;
    until_settled(plane, CONTROL_PLANE, 3, "v1.34.0").await;
    let change = json!({ "spec": { "template": { "spec": { "version": "v1.34.0" } } } });
    plane.patch(WORKERS, &change).await;
    until_settled(plane, WORKERS, 8, "v1.34.0").await;
    assert_eq!(log.created("machines"), 22);

    plane.delete(&format!("{CORE}/clusters/c")).await;
    plane
        .until(&format!("{CORE}/clusters/c"), |found| found.is_none())
        .await;
    for kind in ["machines", "referencemachines", "referenceconfigs"] {
        assert_eq!(log.created(kind), 22, "{kind}");
    }
    let seen = made.lock().unwrap_or_else(PoisonError::into_inner);
    let (names, most) = (&seen.0, seen.1);
    assert_eq!(names.len(), 22);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 22);
    assert!(most <= 12, "3 + 8 and one more at most, never {most}");
    assert!(plane.datacenter.machines().is_empty());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn watches_that_come_five_seconds_late_make_no_machine_twice() {
    let plane = Plane::new(Settings::default());
    story(&plane, |plane, log| {
        let wire = Wire::new(&plane.server, &plane.clock, "manager", log).late_watches(LATE);
        vec![plane.run_through(
            wire.client(),
            plane.datacenter.connector(),
            all_controllers(&plane.datacenter),
        )]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nor_do_managers_that_hear_of_each_other_five_seconds_late() {
    let plane = Plane::new(Settings::default());
    story(&plane, |plane, log| {
        let wire = |who| Wire::new(&plane.server, &plane.clock, who, log).late_watches(LATE);
        let connector = plane.datacenter.connector();
        vec![
            plane.run_through(
                wire("core").client(),
                connector.clone(),
                controllers::core(),
            ),
            plane.run_through(
                wire("providers").client(),
                connector,
                provider_controllers(&plane.datacenter),
            ),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nor_does_a_manager_that_is_not_told_whether_it_made_one() {
    let plane = Plane::new(Settings::default());
    story(&plane, |plane, log| {
        let wire = Wire::new(&plane.server, &plane.clock, "manager", log);
        vec![plane.run_through(
            wire.late_watches(LATE).lose_makings().client(),
            plane.datacenter.connector(),
            all_controllers(&plane.datacenter),
        )]
    })
    .await;
}
