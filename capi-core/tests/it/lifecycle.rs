//! The Cluster and Machine controllers with the reference providers.

use capi_core::{
    controllers,
    testing::reference::{
        ClusterShape, ReferenceBootstrap, ReferenceControlPlaneProvider, ReferenceInfrastructure,
        Settings, manifest,
    },
};
use serde_json::{Value, json};

use crate::support::{Plane, Running, condition};

const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";
const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";

fn run(plane: &Plane) -> Running {
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
        plane.datacenter.clone(),
    )));
    all.extend(controllers::bootstrap(ReferenceBootstrap));
    all.extend(controllers::control_plane(
        ReferenceControlPlaneProvider::new(plane.datacenter.clone()),
    ));
    plane.run(all)
}

fn is_available(object: Option<&Value>) -> bool {
    object.is_some_and(|object| condition(object, "Available").as_deref() == Some("True"))
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_comes_up_is_told_of_and_goes_without_a_trace() {
    let plane = Plane::new(Settings::default());
    let shape = ClusterShape::new("c", 1, 0);
    for object in manifest(&shape) {
        if object["kind"] != "MachineDeployment" {
            plane.apply(&object).await;
        }
    }
    let running = run(&plane);
    let cluster = format!("{CORE}/clusters/c");
    let up = plane.until(&cluster, is_available).await.expect("there");
    assert_eq!(up["status"]["phase"], "Provisioned");
    assert_eq!(
        up["status"]["initialization"]["controlPlaneInitialized"],
        true
    );
    assert_eq!(
        up["status"]["observedGeneration"],
        up["metadata"]["generation"]
    );
    assert_eq!(condition(&up, "Paused").as_deref(), Some("False"));

    let machines = plane
        .get(&format!("{CORE}/machines"))
        .await
        .expect("a list");
    let [machine] = machines["items"].as_array().expect("items").as_slice() else {
        panic!("{machines:#}");
    };
    let name = machine["metadata"]["name"].as_str().expect("a name");
    let path = format!("{CORE}/machines/{name}");
    let machine = plane.until(&path, is_available).await.expect("there");
    assert_eq!(machine["status"]["phase"], "Running");
    let host = plane
        .get(&format!("{REFERENCE}/referencemachines/{name}"))
        .await
        .expect("there");
    assert_eq!(machine["spec"]["providerID"], host["spec"]["providerID"]);
    assert!(machine["status"]["nodeRef"]["name"].is_string());

    // At rest nothing is written, and neither by a manager that begins anew.
    let rest = std::time::Duration::from_secs(90);
    let before = running.runtime.metrics().writes();
    plane.clock.sleep(rest).await;
    assert_eq!(running.runtime.metrics().writes(), before);
    println!("writes: {before:#?}");
    drop(running);
    let running = run(&plane);
    plane.clock.sleep(rest).await;
    assert_eq!(
        running.runtime.metrics().writes(),
        std::collections::BTreeMap::new()
    );

    plane.delete(&cluster).await;
    plane.until(&cluster, |found| found.is_none()).await;
    assert!(plane.datacenter.machines().is_empty());
    for gone in [
        format!("{CORE}/machines"),
        format!("{REFERENCE}/referencemachines"),
        format!("{REFERENCE}/referenceconfigs"),
        format!("{REFERENCE}/referencecontrolplanes"),
        format!("{REFERENCE}/referenceclusters"),
    ] {
        let list = plane.get(&gone).await.expect("a list");
        assert_eq!(list["items"], json!([]), "{gone}");
    }
    drop(running);
}
