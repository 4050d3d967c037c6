//! MachineSets and MachineDeployments on the embedded API server, with Machines that come up and
//! go at once.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use capi_core::{
    api::{Cluster, Machine},
    controllers::{MachineDeploymentController, MachineSetController},
    runtime::{Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime},
    testing::reference::Settings,
};
use serde_json::{Value, json};

use crate::support::{Plane, condition};

const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";
const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";

/// Plays the Machine controller and everything below it: machines are up at once, and gone at once.
struct Up;

#[async_trait]
impl Controller for Up {
    fn name(&self) -> &str {
        "up"
    }

    fn resource(&self) -> ResourceType {
        Machine::KIND.into()
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        Vec::new()
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let kind = self.resource();
        let Some(object) = runtime.cache().store(&kind).get(key) else {
            return Ok(Outcome::done());
        };
        let machine = object.decode::<Machine>()?;
        if object.is_deleting() {
            let patch = json!({ "metadata": {
                "resourceVersion": object.resource_version(), "finalizers": [],
            }});
            runtime.writer().merge_patch(&kind, key, &patch).await?;
        } else if machine.status.node_ref.is_none() {
            let now = runtime.clock().now().to_string();
            let holds = |type_: &str| {
                json!({
                    "type": type_, "status": "True", "reason": type_, "message": "",
                    "lastTransitionTime": format!("{}Z", &now[..19]),
                })
            };
            let patch = json!({ "status": {
                "nodeRef": { "name": object.name() },
                "initialization": { "infrastructureProvisioned": true },
                "conditions": [holds("Available"), holds("Ready"), holds("UpToDate")],
            }});
            runtime
                .writer()
                .merge_patch_status(&kind, key, &patch)
                .await?;
        }
        Ok(Outcome::done())
    }
}

fn sets() -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(MachineSetController::new()),
        Arc::new(MachineDeploymentController::new()),
    ]
}

fn with_machines() -> Vec<Arc<dyn Controller>> {
    let mut all = sets();
    all.push(Arc::new(Up));
    all
}

async fn plane() -> Plane {
    let plane = Plane::new(Settings::default());
    plane
        .apply(&json!({
            "apiVersion": Cluster::KIND.api_version(), "kind": "Cluster",
            "metadata": { "namespace": "default", "name": "c" },
            "spec": { "infrastructureRef": reference("ReferenceCluster", "c") },
        }))
        .await;
    for kind in ["ReferenceMachineTemplate", "ReferenceConfigTemplate"] {
        let spec = if kind == "ReferenceMachineTemplate" {
            json!({ "size": "small" })
        } else {
            json!({})
        };
        plane
            .apply(&json!({
                "apiVersion": "reference.capi.dev/v1", "kind": kind,
                "metadata": { "namespace": "default", "name": "t" },
                "spec": { "template": { "spec": spec } },
            }))
            .await;
    }
    plane
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "reference.capi.dev", "kind": kind, "name": name })
}

/// A deployment as a user writes it, with everything left out that has a default.
fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
        "metadata": { "namespace": "default", "name": "md" },
        "spec": {
            "clusterName": "c",
            "replicas": replicas,
            "selector": {},
            "template": { "spec": {
                "clusterName": "c",
                "version": "v1.35.0",
                "bootstrap": { "configRef": reference("ReferenceConfigTemplate", "t") },
                "infrastructureRef": reference("ReferenceMachineTemplate", "t"),
            }},
        },
    })
}

async fn items(plane: &Plane, path: &str) -> Vec<Value> {
    let list = plane.get(path).await.expect("the kind exists");
    list["items"].as_array().cloned().unwrap_or_default()
}

async fn until_rested(plane: &Plane, replicas: i32) -> Value {
    let path = format!("{CORE}/machinedeployments/md");
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
                && status["observedGeneration"] == md["metadata"]["generation"]
        })
    };
    plane.until(&path, rested).await.expect("it exists")
}

/// The greatest resource version that any object has: it only grows by writes.
async fn writes(plane: &Plane) -> u64 {
    let list = plane
        .get(&format!("{CORE}/machinedeployments"))
        .await
        .expect("the kind exists");
    list["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .expect("a version")
}

async fn rest(plane: &Plane) {
    plane.clock.sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_makes_its_machines_scales_and_goes_without_a_trace() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(3)).await;
    let md = until_rested(&plane, 3).await;
    assert_eq!(condition(&md, "Available").as_deref(), Some("True"));
    assert_eq!(md["status"]["phase"], "Running");
    assert_eq!(
        md["status"]["selector"],
        "cluster.x-k8s.io/cluster-name=c,cluster.x-k8s.io/deployment-name=md"
    );
    assert_eq!(
        md["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"],
        "1"
    );

    let machines = items(&plane, &format!("{CORE}/machines")).await;
    assert_eq!(machines.len(), 3);
    for machine in &machines {
        let name = machine["metadata"]["name"].as_str().expect("a name");
        assert_eq!(
            machine["metadata"]["finalizers"],
            json!(["machine.cluster.x-k8s.io"])
        );
        assert_eq!(
            machine["spec"]["infrastructureRef"],
            reference("ReferenceMachine", name)
        );
        for kind in ["referencemachines", "referenceconfigs"] {
            let object = plane
                .get(&format!("{REFERENCE}/{kind}/{name}"))
                .await
                .expect("made");
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .expect("owners");
            assert_eq!(owners.len(), 1);
            assert_eq!(owners[0]["uid"], machine["metadata"]["uid"]);
            assert_eq!(owners[0]["controller"], true);
        }
    }

    plane
        .patch(
            &format!("{CORE}/machinedeployments/md"),
            &json!({ "spec": { "replicas": 5 } }),
        )
        .await;
    until_rested(&plane, 5).await;
    plane
        .patch(
            &format!("{CORE}/machinedeployments/md"),
            &json!({ "spec": { "replicas": 1 } }),
        )
        .await;
    until_rested(&plane, 1).await;
    rest(&plane).await;
    assert_eq!(items(&plane, &format!("{CORE}/machines")).await.len(), 1);
    assert_eq!(
        items(&plane, &format!("{REFERENCE}/referencemachines"))
            .await
            .len(),
        1
    );

    plane.delete(&format!("{CORE}/machinedeployments/md")).await;
    plane
        .until(&format!("{CORE}/machinedeployments/md"), |found| {
            found.is_none()
        })
        .await;
    rest(&plane).await;
    for path in [
        format!("{CORE}/machinesets"),
        format!("{CORE}/machines"),
        format!("{REFERENCE}/referencemachines"),
        format!("{REFERENCE}/referenceconfigs"),
    ] {
        assert_eq!(items(&plane, &path).await, Vec::<Value>::new(), "{path}");
    }
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_version_replaces_all_machines_and_keeps_unknown_fields() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(3)).await;
    until_rested(&plane, 3).await;
    let before: Vec<Value> = items(&plane, &format!("{CORE}/machines")).await;
    let change = json!({ "spec": { "template": { "spec": { "version": "v1.36.0" } } } });
    plane
        .patch(&format!("{CORE}/machinedeployments/md"), &change)
        .await;
    plane
        .until(&format!("{CORE}/machinesets"), |found| {
            found.is_some_and(|list| {
                let items = list["items"].as_array().cloned().unwrap_or_default();
                items.len() == 1 && items[0]["spec"]["template"]["spec"]["version"] == "v1.36.0"
            })
        })
        .await;
    until_rested(&plane, 3).await;
    let after = items(&plane, &format!("{CORE}/machines")).await;
    assert_eq!(after.len(), 3);
    for machine in &after {
        assert_eq!(machine["spec"]["version"], "v1.36.0");
        assert!(
            before
                .iter()
                .all(|old| old["metadata"]["uid"] != machine["metadata"]["uid"])
        );
    }
    let md = until_rested(&plane, 3).await;
    assert_eq!(
        md["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"],
        "2"
    );
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_at_rest_nor_after_a_restart() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(3)).await;
    until_rested(&plane, 3).await;
    rest(&plane).await;
    let before = writes(&plane).await;
    plane.clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(writes(&plane).await, before);
    drop(running);
    let running = plane.run(with_machines());
    plane.clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(writes(&plane).await, before);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn one_more_worker_costs_its_three_objects_and_few_writes_of_its_owners() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(3)).await;
    until_rested(&plane, 3).await;
    rest(&plane).await;
    let events = |list: Vec<Value>| u64::try_from(list.len()).expect("few");
    let path = "/api/v1/namespaces/default/events";
    let (before, told) = (writes(&plane).await, events(items(&plane, path).await));
    plane
        .patch(
            &format!("{CORE}/machinedeployments/md"),
            &json!({ "spec": { "replicas": 4 } }),
        )
        .await;
    until_rested(&plane, 4).await;
    rest(&plane).await;
    let told = events(items(&plane, path).await) - told;
    let cost = writes(&plane).await - before - told;
    // The user's patch, the Machine with its two objects and its status by `Up`; the set's spec
    // and status, the deployment's status.
    assert!(cost <= 8, "{cost} writes");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_template_reaches_the_machine_and_its_objects_and_goes_again() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(1)).await;
    until_rested(&plane, 1).await;
    let md = format!("{CORE}/machinedeployments/md");
    let label = |value: Value| {
        json!({ "spec": { "template": {
            "metadata": { "labels": { "team": value } },
            "spec": { "deletion": { "nodeDrainTimeoutSeconds": 7 } },
        }}})
    };
    let name = items(&plane, &format!("{CORE}/machines")).await[0]["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let paths = [
        format!("{CORE}/machines/{name}"),
        format!("{REFERENCE}/referencemachines/{name}"),
        format!("{REFERENCE}/referenceconfigs/{name}"),
    ];
    let user = json!({ "metadata": { "labels": { "mine": "x" } } });
    plane.patch(&paths[0], &user).await;
    plane.patch(&md, &label(json!("a"))).await;
    for path in &paths {
        plane
            .until(path, |found| {
                found.is_some_and(|o| o["metadata"]["labels"]["team"] == "a")
            })
            .await;
    }
    let machine = plane.get(&paths[0]).await.expect("it exists");
    assert_eq!(machine["spec"]["deletion"]["nodeDrainTimeoutSeconds"], 7);
    plane.patch(&md, &label(Value::Null)).await;
    for path in &paths {
        plane
            .until(path, |found| {
                found.is_some_and(|o| o["metadata"]["labels"].get("team").is_none())
            })
            .await;
    }
    let machine = plane.get(&paths[0]).await.expect("it exists");
    assert_eq!(machine["metadata"]["labels"]["mine"], "x");
    assert_eq!(items(&plane, &format!("{CORE}/machinesets")).await.len(), 1);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_objects_were_not_made_gets_them() {
    let plane = plane().await;
    let running = plane.run(sets());
    plane.apply(&deployment(1)).await;
    plane
        .until(&format!("{REFERENCE}/referencemachines"), |found| {
            found.is_some_and(|list| {
                list["items"]
                    .as_array()
                    .is_some_and(|items| items.len() == 1)
            })
        })
        .await;
    drop(running);
    let name = items(&plane, &format!("{CORE}/machines")).await[0]["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let path = format!("{REFERENCE}/referencemachines/{name}");
    plane.delete(&path).await;
    assert_eq!(plane.get(&path).await, None);
    let running = plane.run(sets());
    plane.until(&path, |found| found.is_some()).await;
    assert_eq!(items(&plane, &format!("{CORE}/machines")).await.len(), 1);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn many_machines_are_made_many_at_once() {
    let plane = plane().await;
    let running = plane.run(with_machines());
    plane.apply(&deployment(100)).await;
    until_rested(&plane, 100).await;
    assert_eq!(items(&plane, &format!("{CORE}/machines")).await.len(), 100);
    let store = running.runtime.cache().store(&Machine::KIND.into());
    assert_eq!(store.len(), 100);
}
