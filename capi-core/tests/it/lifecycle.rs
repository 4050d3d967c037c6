//! The Cluster and Machine controllers with the reference providers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capi_core::{
    controllers,
    provider::ProviderError,
    runtime::{Connector as _, ObjectKey, RESYNC},
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

/// Brings up a cluster of one control plane machine.
async fn cluster_of_one(plane: &Plane) -> Running {
    for object in manifest(&ClusterShape::new("c", 1, 0)) {
        if object["kind"] != "MachineDeployment" {
            plane.apply(&object).await;
        }
    }
    let running = run(plane);
    plane
        .until(&format!("{CORE}/clusters/c"), is_available)
        .await;
    running
}

/// Sends a request to the workload cluster.
async fn workload(plane: &Plane, method: &str, path: &str, body: &Value) -> Option<Value> {
    let key = ObjectKey::new("default", "c");
    let client = plane
        .datacenter
        .connector()
        .connect(&key, &"".into())
        .await
        .expect("a client");
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(bytes)
        .expect("a path");
    match client.request::<Value>(request).await {
        Ok(object) => Some(object),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

fn is_available(object: Option<&Value>) -> bool {
    object.is_some_and(|object| condition(object, "Available").as_deref() == Some("True"))
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_comes_up_is_told_of_and_goes_without_a_trace() {
    let plane = Plane::new(Settings::default());
    let running = cluster_of_one(&plane).await;
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
    let rest = Duration::from_secs(90);
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

#[tokio::test(start_paused = true)]
async fn a_machine_on_its_own_becomes_a_node_and_is_drained_before_it_goes() {
    let plane = Plane::new(Settings::default());
    let running = cluster_of_one(&plane).await;
    let reference =
        |kind: &str| json!({ "apiGroup": "reference.capi.dev", "kind": kind, "name": "w" });
    for kind in ["ReferenceConfig", "ReferenceMachine"] {
        let object = json!({
            "apiVersion": "reference.capi.dev/v1", "kind": kind,
            "metadata": { "namespace": "default", "name": "w" }, "spec": {},
        });
        plane.apply(&object).await;
    }
    plane
        .apply(&json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {
                "namespace": "default", "name": "w",
                "labels": { "node-role.kubernetes.io/worker": "", "other": "stays" },
            },
            "spec": {
                "clusterName": "c", "version": "v1.33.0",
                "bootstrap": { "configRef": reference("ReferenceConfig") },
                "infrastructureRef": reference("ReferenceMachine"),
            },
        }))
        .await;
    let path = format!("{CORE}/machines/w");
    let machine = plane.until(&path, is_available).await.expect("there");
    let metadata = &machine["metadata"];
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Cluster");
    assert_eq!(metadata["finalizers"], json!(["machine.cluster.x-k8s.io"]));
    let config = plane
        .get(&format!("{REFERENCE}/referenceconfigs/w"))
        .await
        .expect("there");
    let owner = &config["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"]),
        (&json!("Machine"), &json!(true))
    );

    let name = machine["status"]["nodeRef"]["name"]
        .as_str()
        .expect("a node");
    let node_path = format!("/api/v1/nodes/{name}");
    let node = workload(&plane, "GET", &node_path, &Value::Null)
        .await
        .expect("there");
    let annotations = &node["metadata"]["annotations"];
    assert_eq!(annotations["cluster.x-k8s.io/machine"], "w");
    assert_eq!(
        annotations["cluster.x-k8s.io/labels-from-machine"],
        "node-role.kubernetes.io/worker"
    );
    assert_eq!(
        node["metadata"]["labels"]["node-role.kubernetes.io/worker"],
        ""
    );
    assert_eq!(node["metadata"]["labels"]["other"], Value::Null);

    // A pod that nobody ends, since there is no kubelet: the machine is drained, and waits.
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p" },
        "spec": { "nodeName": name, "containers": [{ "name": "c", "image": "i" }] },
    });
    workload(&plane, "POST", pods, &pod).await;
    plane.delete(&path).await;
    let draining = "* Pod default/p: deletionTimestamp set, but still not removed from the Node";
    plane
        .until(&path, |found| {
            let list = found.and_then(|machine| machine["status"]["conditions"].as_array());
            list.into_iter().flatten().any(|condition| {
                condition["reason"] == "DrainingNode"
                    && condition["message"]
                        .as_str()
                        .is_some_and(|text| text.ends_with(draining))
            })
        })
        .await;
    let node = workload(&plane, "GET", &node_path, &Value::Null)
        .await
        .expect("there");
    assert_eq!(node["spec"]["unschedulable"], true);
    assert_eq!(
        plane.datacenter.machines().len(),
        2,
        "the host stays until the pod is gone"
    );

    let at_once = json!({ "gracePeriodSeconds": 0 });
    workload(&plane, "DELETE", &format!("{pods}/p"), &at_once).await;
    assert_eq!(
        workload(&plane, "GET", &format!("{pods}/p"), &Value::Null).await,
        None
    );
    plane.until(&path, |found| found.is_none()).await;
    assert_eq!(
        workload(&plane, "GET", &node_path, &Value::Null).await,
        None
    );
    assert_eq!(
        plane.datacenter.machines().len(),
        1,
        "the control plane is left"
    );
    for kind in ["referencemachines", "referenceconfigs"] {
        assert_eq!(plane.get(&format!("{REFERENCE}/{kind}/w")).await, None);
    }
    drop(running);
}

/// The condition Ready of the one infrastructure machine: status, reason and message.
async fn host_ready(plane: &Plane) -> (String, String, String) {
    let path = format!("{REFERENCE}/referencemachines");
    let hosts = plane.get(&path).await.expect("a list");
    let conditions = hosts["items"][0]["status"]["conditions"].clone();
    let ready = conditions.as_array().expect("conditions").iter();
    let ready = ready
        .into_iter()
        .find(|condition| condition["type"] == "Ready")
        .expect("it says whether it is ready");
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[tokio::test(start_paused = true)]
async fn a_ready_machine_counts_as_ready_while_its_provider_fails_for_a_short_time_only() {
    let plane = Plane::new(Settings::default());
    let running = cluster_of_one(&plane).await;
    let name = plane.datacenter.machines()[0].name.clone();
    let key = ObjectKey::new("default", name);
    let fails = Arc::new(AtomicBool::new(true));
    let injected = Arc::clone(&fails);
    plane.datacenter.inject(move |call| {
        let fails = call == "ensure" && injected.load(Ordering::SeqCst);
        fails.then(|| ProviderError::transient("ApiBusy", "the machine API is busy"))
    });
    running.runtime.wake("referencemachine", &key);
    plane.clock.sleep(Duration::from_secs(20)).await;
    let (status, _, message) = host_ready(&plane).await;
    assert_eq!(status, "True", "{message}");
    assert!(
        message.starts_with("the machine API is busy; counts as ready until"),
        "{message}"
    );

    fails.store(false, Ordering::SeqCst);
    plane.clock.sleep(Duration::from_secs(150)).await;
    let all_well = ("True".to_owned(), "Ready".to_owned(), String::new());
    assert_eq!(host_ready(&plane).await, all_well);

    fails.store(true, Ordering::SeqCst);
    running.runtime.wake("referencemachine", &key);
    plane.clock.sleep(Duration::from_secs(200)).await;
    let (status, reason, _) = host_ready(&plane).await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ApiBusy"));
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_vanishes_is_noticed_although_nothing_tells_of_it() {
    let plane = Plane::new(Settings::default());
    let running = cluster_of_one(&plane).await;
    plane.clock.sleep(Duration::from_secs(60)).await;
    let number = plane.datacenter.machines()[0].number;
    plane.datacenter.lose(number).expect("it is in memory");
    // A tenth longer than the time between two looks, and a little for writing it down.
    plane
        .clock
        .sleep(RESYNC.mul_f64(1.1) + Duration::from_secs(5))
        .await;
    let (status, reason, _) = host_ready(&plane).await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "MachineVanished")
    );
    assert!(
        plane.datacenter.machines().is_empty(),
        "it is not made again"
    );
    drop(running);
}
