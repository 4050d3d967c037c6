//! The hosts of providers, with the core's part played by hand.

use capi_core::{
    controllers,
    testing::reference::{ReferenceBootstrap, ReferenceInfrastructure, Settings},
};
use serde_json::json;

use crate::support::{Plane, condition};

const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";
const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";

#[tokio::test(start_paused = true)]
async fn a_machine_is_made_through_the_hosts_and_removed_without_a_trace() {
    let plane = Plane::new(Settings::default());
    plane
        .apply(&json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "namespace": "default", "name": "c" },
            "spec": {
                "infrastructureRef": {
                    "apiGroup": "reference.capi.dev", "kind": "ReferenceCluster", "name": "c",
                },
            },
        }))
        .await;
    let cluster = plane
        .get(&format!("{CORE}/clusters/c"))
        .await
        .expect("just made");
    plane
        .apply(&json!({
            "apiVersion": "reference.capi.dev/v1", "kind": "ReferenceCluster",
            "metadata": {
                "namespace": "default", "name": "c",
                "labels": { "cluster.x-k8s.io/cluster-name": "c" },
                "ownerReferences": [{
                    "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c",
                    "uid": cluster["metadata"]["uid"],
                }],
            },
            "spec": {},
        }))
        .await;
    let mut all =
        controllers::infrastructure(ReferenceInfrastructure::new(plane.datacenter.clone()));
    all.extend(controllers::bootstrap(ReferenceBootstrap));
    let running = plane.run(all);
    plane
        .until(&format!("{REFERENCE}/referenceclusters/c"), |found| {
            found.is_some_and(|cluster| {
                cluster["status"]["initialization"]["provisioned"] == true
                    && cluster["spec"]["controlPlaneEndpoint"]["port"] == 6443
            })
        })
        .await;
    plane
        .patch(
            &format!("{CORE}/clusters/c/status"),
            &json!({ "status": { "initialization": { "infrastructureProvisioned": true } } }),
        )
        .await;
    plane
        .apply(&json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {
                "namespace": "default", "name": "m",
                "labels": {
                    "cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/control-plane": "",
                },
            },
            "spec": {
                "clusterName": "c",
                "version": "v1.33.0",
                "bootstrap": { "configRef": {
                    "apiGroup": "reference.capi.dev", "kind": "ReferenceConfig", "name": "m",
                }},
                "infrastructureRef": {
                    "apiGroup": "reference.capi.dev", "kind": "ReferenceMachine", "name": "m",
                },
            },
        }))
        .await;
    let machine = plane
        .get(&format!("{CORE}/machines/m"))
        .await
        .expect("just made");
    for kind in ["ReferenceConfig", "ReferenceMachine"] {
        plane
            .apply(&json!({
                "apiVersion": "reference.capi.dev/v1", "kind": kind,
                "metadata": {
                    "namespace": "default", "name": "m",
                    "labels": {
                        "cluster.x-k8s.io/cluster-name": "c",
                        "cluster.x-k8s.io/control-plane": "",
                    },
                    "ownerReferences": [{
                        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "m",
                        "uid": machine["metadata"]["uid"], "controller": true,
                    }],
                },
                "spec": {},
            }))
            .await;
    }
    let path = format!("{REFERENCE}/referencemachines/m");
    let ready = plane
        .until(&path, |found| {
            found.is_some_and(|machine| condition(machine, "Ready").as_deref() == Some("True"))
        })
        .await
        .expect("there");
    assert_eq!(ready["status"]["initialization"]["provisioned"], true);
    assert_eq!(condition(&ready, "Paused").as_deref(), Some("False"));
    let provider_id = ready["spec"]["providerID"].as_str().expect("an identity");
    let uid = ready["metadata"]["uid"].as_str().expect("a uid");
    assert_eq!(provider_id, format!("reference://1/{uid}"));
    assert_eq!(plane.datacenter.machines().len(), 1);
    let config = plane
        .get(&format!("{REFERENCE}/referenceconfigs/m"))
        .await
        .expect("there");
    assert_eq!(config["status"]["dataSecretName"], "m-bootstrap-data");

    // Nothing changes when nothing changed.
    let writes = running.runtime.metrics().writes();
    running.runtime.wake(
        "referencemachine",
        &capi_core::runtime::ObjectKey::new("default", "m"),
    );
    running.runtime.wake(
        "referenceconfig",
        &capi_core::runtime::ObjectKey::new("default", "m"),
    );
    plane.clock.sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(running.runtime.metrics().writes(), writes);

    plane.delete(&path).await;
    plane.until(&path, |found| found.is_none()).await;
    assert!(plane.datacenter.machines().is_empty());
}
