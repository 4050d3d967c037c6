//! The embedded API server converts, defaults and admits the kinds of Cluster API.

use capi_core::api::{conversions, crds};
use capi_core::embedded::{ApiServer, client, install};
use kube::api::{Api, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};

fn server() -> ApiServer {
    install(ApiServer::builder(), crds(), conversions())
        .build()
        .expect("the server is assembled")
}

fn api(server: &ApiServer, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cluster.x-k8s.io", version, kind));
    Api::namespaced_with(client(server), "default", &resource)
}

fn object(object: Value) -> DynamicObject {
    serde_json::from_value(object).expect("the object has metadata")
}

fn deployment() -> DynamicObject {
    object(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta1",
        "kind": "MachineDeployment",
        "metadata": { "name": "workers" },
        "spec": {
            "clusterName": "c",
            "selector": { "matchLabels": null },
            "progressDeadlineSeconds": 600,
            "template": { "spec": {
                "clusterName": "c",
                "version": "1.33.0",
                "nodeDrainTimeout": "90s",
                "bootstrap": { "dataSecretName": "s" },
                "infrastructureRef": { "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine", "name": "i" },
            } },
        },
    }))
}

#[tokio::test]
async fn an_object_written_in_the_older_version_is_read_listed_and_patched_in_both() {
    let server = server();
    let (older, hub) = (
        api(&server, "v1beta1", "MachineDeployment"),
        api(&server, "v1beta2", "MachineDeployment"),
    );
    let made = older
        .create(&PostParams::default(), &deployment())
        .await
        .expect("it is created");
    assert_eq!(
        made.data["spec"]["template"]["spec"]["nodeDrainTimeout"],
        "1m30s"
    );
    assert_eq!(made.data["spec"]["progressDeadlineSeconds"], 600);
    let read = hub.get("workers").await.expect("it is read");
    let spec = &read.data["spec"]["template"]["spec"];
    assert_eq!(spec["deletion"]["nodeDrainTimeoutSeconds"], 90);
    assert_eq!(spec["version"], "v1.33.0", "defaulted");
    assert_eq!(
        spec["infrastructureRef"],
        json!({ "apiGroup": "cluster.x-k8s.io", "kind": "Machine", "name": "i" })
    );
    assert_eq!(read.data["spec"]["replicas"], 1, "defaulted");
    assert_eq!(
        read.data["spec"]["selector"]["matchLabels"]["cluster.x-k8s.io/deployment-name"],
        "workers"
    );
    let patch =
        json!({ "spec": { "replicas": 3, "template": { "spec": { "minReadySeconds": 7 } } } });
    hub.patch("workers", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("it is patched");
    let listed = older
        .list(&ListParams::default())
        .await
        .expect("it is listed");
    let spec = &listed.items[0].data["spec"];
    assert_eq!(spec["replicas"], 3);
    assert_eq!(spec["minReadySeconds"], 7);
    assert_eq!(
        spec["progressDeadlineSeconds"], 600,
        "kept although the hub has no such field"
    );
    assert_eq!(
        spec["template"]["spec"]["infrastructureRef"],
        json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "i", "namespace": "default" }),
    );
}

#[tokio::test]
async fn an_object_that_breaks_a_rule_is_refused_with_its_fields_in_both_versions() {
    let server = server();
    let mut wrong = deployment();
    wrong.data["spec"]["template"]["spec"]["bootstrap"] = json!({});
    wrong.data["spec"]["template"]["spec"]["version"] = "1.x".into();
    let error = api(&server, "v1beta1", "MachineDeployment")
        .create(&PostParams::default(), &wrong)
        .await;
    let kube::Error::Api(status) = error.expect_err("it is refused") else {
        panic!("the server answers")
    };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let causes = status.details.expect("details").causes;
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(
        fields,
        ["spec.template.spec.bootstrap", "spec.template.spec.version"]
    );
    assert_eq!(causes[0].reason, "FieldValueRequired");
}

#[tokio::test]
async fn nulls_in_place_of_lists_and_objects_are_dropped() {
    let server = server();
    let machines = api(&server, "v1beta2", "Machine");
    let made = machines
        .create(
            &PostParams::default(),
            &object(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": { "name": "m", "labels": null, "finalizers": null },
                "spec": {
                    "clusterName": "c", "version": null, "taints": null, "readinessGates": null, "deletion": null,
                    "bootstrap": { "dataSecretName": "s", "configRef": null },
                    "infrastructureRef": { "apiGroup": "i.io", "kind": "I", "name": "i" },
                },
            })),
        )
        .await
        .expect("a null is as good as nothing");
    let spec = made.data["spec"].as_object().expect("it has a spec");
    for absent in ["version", "taints", "readinessGates"] {
        assert!(!spec.contains_key(absent), "{absent}: {spec:?}");
    }
    let mut workers = deployment();
    workers.types = None;
    let mut workers = serde_json::to_value(workers).expect("it is encoded");
    workers["apiVersion"] = json!("cluster.x-k8s.io/v1beta2");
    workers["kind"] = json!("MachineDeployment");
    workers["spec"] = json!({
        "clusterName": "c", "replicas": null, "remediation": null,
        "selector": { "matchLabels": null, "matchExpressions": null },
        "template": { "metadata": { "labels": null }, "spec": {
            "clusterName": "c", "taints": null, "bootstrap": { "dataSecretName": "s" },
            "infrastructureRef": { "apiGroup": "i.io", "kind": "I", "name": "i" },
        } },
    });
    let deployments = api(&server, "v1beta2", "MachineDeployment");
    let made = deployments
        .create(&PostParams::default(), &object(workers))
        .await
        .expect("a null is as good as nothing");
    assert_eq!(made.data["spec"]["replicas"], 1, "defaulted");
    assert!(
        made.data["spec"]["template"]["spec"]
            .get("taints")
            .is_none()
    );
}
