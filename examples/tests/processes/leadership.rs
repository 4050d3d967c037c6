//! Two managers and one Lease, each a process: never two writers, and the second takes over.

use std::time::Duration;

use capi_core::testing::reference::{ClusterShape, manifest};
use serde_json::json;

use crate::support::{CORE, Plane, Process, REFERENCE};

fn candidate(plane: &Plane, identity: &str) -> Process {
    let lease = [
        "--leader-elect=default",
        "--leader-elect-lease-duration=3",
        "--leader-elect-renew-deadline=2",
        "--leader-elect-retry-period=0.5",
    ];
    plane.manager(identity, &lease)
}

/// The managers that wrote, in order, each as often as it began to write.
fn turns(plane: &Plane) -> Vec<String> {
    let mut turns: Vec<String> = plane
        .audit()
        .into_iter()
        .filter(|request| request.wrote() && request.user_agent.starts_with("manager-"))
        .map(|request| request.user_agent)
        .collect();
    turns.dedup();
    turns
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_managers_one_writes_and_the_other_takes_over_when_it_is_killed_or_stands_still() {
    let plane = Plane::start().await;
    let workers = format!("{CORE}/machinedeployments/c-workers");
    let control_plane = format!("{REFERENCE}/referencecontrolplanes/c-control-plane");
    let mut first = candidate(&plane, "manager-a");
    for object in manifest(&ClusterShape::new("c", 1, 3)) {
        plane.apply(&object).await;
    }
    plane
        .until("the first writes", async || plane.writes("manager-a") > 20)
        .await;
    let mut second = candidate(&plane, "manager-b");
    first.kill();
    plane.settled(&control_plane, 1, "v1.33.0").await;
    plane.settled(&workers, 3, "v1.33.0").await;
    assert_eq!(turns(&plane), ["manager-a", "manager-b"]);

    // One that stands still for longer than its Lease lasts wakes up to all that changed meanwhile.
    // It rests before, since what it handed to its connection already would still be sent.
    plane
        .until("the second rests", async || {
            let writes = plane.writes("manager-b");
            tokio::time::sleep(Duration::from_secs(1)).await;
            plane.writes("manager-b") == writes
        })
        .await;
    second.signal("STOP");
    let template = json!({ "spec": { "replicas": 6, "template": {
        "spec": { "version": "v1.33.1" },
    }}});
    plane
        .patch(&control_plane, &json!({ "spec": { "version": "v1.33.1" } }))
        .await;
    plane.patch(&workers, &template).await;
    let mut third = candidate(&plane, "manager-c");
    plane
        .until("the third is at it", async || plane.writes("manager-c") > 3)
        .await;
    second.signal("CONT");
    let status = plane.ended(&mut second).await;
    assert!(!status.success(), "the second gives up: {status}");
    plane.settled(&control_plane, 1, "v1.33.1").await;
    plane.settled(&workers, 6, "v1.33.1").await;
    assert_eq!(turns(&plane), ["manager-a", "manager-b", "manager-c"]);
    assert_eq!(plane.inventory().len(), 7);
    third.kill();
}
