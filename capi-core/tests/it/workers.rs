//! Workers of a cluster through all controllers, with the reference providers.

use std::{collections::BTreeMap, time::Duration};

use capi_core::{
    controllers,
    testing::reference::{
        ClusterShape, ReferenceBootstrap, ReferenceControlPlaneProvider, ReferenceInfrastructure,
        Settings, manifest,
    },
};
use serde_json::{Value, json};

use crate::support::{Plane, Running, condition};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const DEPLOYMENT: &str =
    "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/c-workers";

fn run(plane: &Plane) -> Running {
    let datacenter = &plane.datacenter;
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
        datacenter.clone(),
    )));
    all.extend(controllers::bootstrap(ReferenceBootstrap));
    all.extend(controllers::control_plane(
        ReferenceControlPlaneProvider::new(datacenter.clone()),
    ));
    plane.run(all)
}

async fn until_rested(plane: &Plane, replicas: i32, version: &str) -> Value {
    let rested = |found: Option<&Value>| {
        found.is_some_and(|md| {
            let status = &md["status"];
            [
                "replicas",
                "readyReplicas",
                "availableReplicas",
                "upToDateReplicas",
            ]
            .iter()
            .all(|count| status[*count] == replicas)
                && status["versions"] == json!([{ "version": version, "replicas": replicas }])
                && status["observedGeneration"] == md["metadata"]["generation"]
        })
    };
    plane.until(DEPLOYMENT, rested).await.expect("it exists")
}

/// Writes since `before`, Events and Leases apart.
fn since(
    running: &Running,
    before: &BTreeMap<(String, String), u64>,
) -> BTreeMap<(String, String), u64> {
    let mut now = running.runtime.metrics().writes();
    now.retain(|(_, plural), _| plural != "events" && plural != "leases");
    for (key, count) in before {
        if let Some(found) = now.get_mut(key) {
            *found -= count;
        }
    }
    now.retain(|_, count| *count > 0);
    now
}

async fn rest(plane: &Plane) {
    plane.clock.sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn three_control_planes_and_five_workers_come_up_scale_are_replaced_and_go() {
    let plane = Plane::new(Settings::default());
    for object in manifest(&ClusterShape::new("c", 3, 5)) {
        plane.apply(&object).await;
    }
    let running = run(&plane);
    until_rested(&plane, 5, "v1.33.0").await;
    let cluster = format!("{CORE}/clusters/c");
    plane
        .until(&cluster, |found| {
            found.is_some_and(|cluster| {
                condition(cluster, "Available").as_deref() == Some("True")
                    && cluster["status"]["controlPlane"]["readyReplicas"] == 3
            })
        })
        .await;
    assert_eq!(plane.datacenter.machines().len(), 8);
    rest(&plane).await;

    let before = running.runtime.metrics().writes();
    plane
        .patch(DEPLOYMENT, &json!({ "spec": { "replicas": 15 } }))
        .await;
    until_rested(&plane, 15, "v1.33.0").await;
    rest(&plane).await;
    let cost = since(&running, &before);
    let total: u64 = cost.values().sum();
    println!("ten more workers: {total} writes: {cost:#?}");
    let owners = ["machinesets", "machinedeployments", "clusters"];
    let told = cost
        .iter()
        .filter(|((_, plural), _)| owners.contains(&plural.as_str()));
    let told: u64 = told.map(|(_, count)| count).sum();
    assert!(
        told <= 10,
        "the owners of ten workers write {told} times: {cost:#?}"
    );

    plane
        .patch(DEPLOYMENT, &json!({ "spec": { "replicas": 2 } }))
        .await;
    until_rested(&plane, 2, "v1.33.0").await;
    rest(&plane).await;
    assert_eq!(plane.datacenter.machines().len(), 5);

    // Workers never run ahead of the control plane, so that goes first.
    let control_plane =
        "/apis/reference.capi.dev/v1/namespaces/default/referencecontrolplanes/c-control-plane";
    plane
        .patch(control_plane, &json!({ "spec": { "version": "v1.34.0" } }))
        .await;
    plane
        .until(control_plane, |found| {
            found.is_some_and(|found| {
                found["status"]["versions"] == json!([{ "version": "v1.34.0", "replicas": 3 }])
                    && found["status"]["readyReplicas"] == 3
            })
        })
        .await;
    let change = json!({ "spec": { "template": { "spec": { "version": "v1.34.0" } } } });
    let before = running.runtime.metrics().writes();
    plane.patch(DEPLOYMENT, &change).await;
    until_rested(&plane, 2, "v1.34.0").await;
    rest(&plane).await;
    println!("two workers replaced: {:#?}", since(&running, &before));
    let sets = plane
        .get(&format!("{CORE}/machinesets"))
        .await
        .expect("a list");
    assert_eq!(sets["items"].as_array().map(Vec::len), Some(1));

    let idle = running.runtime.metrics().writes();
    plane.clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(since(&running, &idle), BTreeMap::new());
    drop(running);
    let running = run(&plane);
    plane.clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(running.runtime.metrics().writes(), BTreeMap::new());

    plane.delete(&cluster).await;
    plane.until(&cluster, |found| found.is_none()).await;
    assert!(plane.datacenter.machines().is_empty());
    for kind in ["machines", "machinesets", "machinedeployments"] {
        let left = plane.get(&format!("{CORE}/{kind}")).await.expect("a list");
        assert_eq!(left["items"], json!([]), "{kind}");
    }
    drop(running);
}
