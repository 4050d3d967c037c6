//! Our objects beside those that the Go provider wrote for the same specs: a cluster can change hands.

use std::collections::BTreeSet;
use std::path::Path;

use capi_provider_proxmox::simulator::{Fault, Outcome};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{SECRET, TOKEN};
use crate::managed::{CORE, INFRA, IPAM, Plane, base64, object};

const POOLS: &str = "/apis/ipam.cluster.x-k8s.io/v1alpha2/namespaces/default/inclusterippools";

/// Reasons of `VirtualMachineProvisioned` in the order in which the Go provider passes them: it takes a machine over
/// by them.
const WAY: [&str; 10] = [
    "WaitingForClusterInfrastructureReady",
    "WaitingForBootstrapData",
    "Cloning",
    "WaitingForDiskReconciliation",
    "WaitingForStaticIPAllocation",
    "WaitingForBootstrapDataReconciliation",
    "WaitingForVMPowerUp",
    "WaitingForCloudInit",
    "WaitingForBootstrapReady",
    "Provisioned",
];

/// Where ours may differ, and why.
const ALLOWED: [(&str, &str); 10] = [
    // Which number is free is the datacenter's business, too.
    ("ProxmoxMachine", "/spec/virtualMachineID"),
    // Added above where there was none.
    ("ProxmoxCluster", "/spec/credentialsRef"),
    // The contract wants it; the Go provider documents it and never sets it.
    ("ProxmoxCluster", "/status/conditions/Paused"),
    ("ProxmoxMachine", "/status/conditions/Paused"),
    // A write for each machine, for a list that is looked at only where status.proxmoxNode is missing.
    ("ProxmoxCluster", "/status/nodeLocations"),
    // Which node is the scheduler's business, and the datacenters are not the same.
    ("ProxmoxMachine", "/status/proxmoxNode"),
    // As the claim's contract has it, beside the label.
    ("IPAddressClaim", "/spec/clusterName"),
    // The Go provider of addresses says nothing.
    ("IPAddressClaim", "/status/conditions"),
    // By it all objects of a cluster are found.
    (
        "InClusterIPPool",
        "/metadata/labels/cluster.x-k8s.io~1cluster-name",
    ),
    // They come from the machine's own UID, so that they are known before the clone.
    ("ProxmoxMachine", "/spec/providerID"),
];

/// The recorded objects of a directory.
fn recorded(directory: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("recorded")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            serde_saphyr::from_str(&std::fs::read_to_string(path).expect("readable"))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What a user wrote of an object.
fn as_applied(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("providerID");
        spec.remove("virtualMachineID");
    }
    let mut labels = object["metadata"]["labels"].clone();
    if let Some(labels) = labels.as_object_mut() {
        labels.retain(|label, _| label.starts_with("cluster.x-k8s.io/"));
    }
    let mut applied = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "spec": spec,
        "metadata": { "name": object["metadata"]["name"], "namespace": "default" },
    });
    if labels.is_object() {
        applied["metadata"]["labels"] = labels;
    }
    applied
}

/// An object without what differs from run to run; conditions by their type.
fn comparable(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
            "namespace",
        ] {
            metadata.remove(field);
        }
        let annotations = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    for owner in object["metadata"]["ownerReferences"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        owner["uid"] = Value::Null;
    }
    if let Some(conditions) = object["status"]["conditions"].as_array() {
        let by_type: serde_json::Map<String, Value> = conditions
            .iter()
            .map(|condition| {
                let mut condition = condition.clone();
                condition["lastTransitionTime"] = Value::Null;
                condition["observedGeneration"] = Value::Null;
                (text(&condition, "/type").to_owned(), condition)
            })
            .collect();
        object["status"]["conditions"] = Value::Object(by_type);
    }
    if object["status"].is_null()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    object
}

/// Where two objects differ.
fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<(String, String)>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let fields: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for field in fields {
                let path = format!("{path}/{}", field.replace('~', "~0").replace('/', "~1"));
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(field).cloned().unwrap_or_default()
                };
                differences(&path, &of(ours), &of(theirs), found);
            }
        }
        _ if ours != theirs => found.push((path.to_owned(), format!("{ours}, theirs {theirs}"))),
        _ => {}
    }
}

fn collection(kind: &str) -> String {
    match kind {
        "ProxmoxCluster" => format!("{INFRA}/proxmoxclusters"),
        "ProxmoxMachine" => format!("{INFRA}/proxmoxmachines"),
        "IPAddressClaim" => format!("{IPAM}/ipaddressclaims"),
        "IPAddress" => format!("{IPAM}/ipaddresses"),
        "InClusterIPPool" => POOLS.to_owned(),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_at_rest_are_those_of_the_go_provider_for_the_same_specs() {
    let Some(upstream) = crate::upstream() else {
        return;
    };
    for directory in ["one-machine", "dual-stack"] {
        let theirs = recorded(&upstream.join("capmox").join(directory));
        let plane = Plane::new();
        let of_kind = |kind: &'static str| theirs.iter().filter(move |one| one["kind"] == kind);
        for cluster in of_kind("ProxmoxCluster") {
            // One was recorded with credentials of the whole provider, which ours has not.
            let mut cluster = as_applied(cluster);
            if cluster["spec"]["credentialsRef"].is_null() {
                cluster["spec"]["credentialsRef"] = json!({ "name": "creds" });
            }
            let secret = text(&cluster, "/spec/credentialsRef/name");
            let data = json!({
                "url": base64(b"https://pve1:8006"),
                "token": base64(TOKEN.as_bytes()),
                "secret": base64(SECRET.as_bytes()),
            });
            let data = json!({ "data": data });
            plane.apply(&object("v1", "Secret", secret, data)).await;
            plane.apply(&cluster).await;
        }
        for cluster in of_kind("Cluster") {
            let mut cluster = as_applied(cluster);
            cluster["spec"]
                .as_object_mut()
                .expect("a spec")
                .remove("controlPlaneEndpoint");
            plane.apply(&cluster).await;
        }
        for machine in of_kind("Machine") {
            let name = text(machine, "/metadata/name");
            let secret = text(machine, "/spec/bootstrap/dataSecretName");
            let data = json!({ "data": { "value": base64(b"version: v1alpha1\n") } });
            plane.apply(&object("v1", "Secret", secret, data)).await;
            let infrastructure = of_kind("ProxmoxMachine")
                .find(|one| text(one, "/metadata/name") == name)
                .expect("of the same name");
            plane.apply(&as_applied(infrastructure)).await;
            plane.apply(&as_applied(machine)).await;
            // One after another, so that addresses and numbers are given in the same order.
            plane.provisioned(name).await;
        }
        let mut compared = 0;
        for their in &theirs {
            let kind = text(their, "/kind").to_owned();
            if ["Cluster", "Machine"].contains(&&*kind) {
                continue;
            }
            let name = text(their, "/metadata/name");
            let path = format!("{}/{name}", collection(&kind));
            // Counts of a pool come a moment after its addresses.
            let counted = &their["status"]["ipAddresses"]["used"];
            let ours = plane
                .until(&path, |found| {
                    found.is_some_and(|found| {
                        kind != "InClusterIPPool"
                            || found["status"]["ipAddresses"]["used"] == *counted
                    })
                })
                .await;
            let mut found = Vec::new();
            differences(
                "",
                &comparable(ours),
                &comparable(their.clone()),
                &mut found,
            );
            found.retain(|(path, _)| {
                !ALLOWED
                    .iter()
                    .any(|(of, allowed)| *of == kind && path.starts_with(allowed))
            });
            assert!(found.is_empty(), "{directory}: {kind} {name}: {found:#?}");
            compared += 1;
        }
        assert!(compared >= 5, "{directory}: {compared}");
    }
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == type_)
}

#[tokio::test(start_paused = true)]
async fn a_machine_on_its_way_tells_what_the_go_provider_goes_on_by() {
    let plane = Plane::new();
    plane.cluster().await;
    plane.machine("m0").await;
    let mut states: Vec<(String, String)> = Vec::new();
    let path = format!("{INFRA}/proxmoxmachines/m0");
    loop {
        let found = plane.get(&path).await.unwrap_or_default();
        if let (Some(own), Some(ready)) = (
            condition(&found, "VirtualMachineProvisioned"),
            condition(&found, "Ready"),
        ) {
            let reason = text(own, "/reason").to_owned();
            let task = text(&found, "/status/taskRef").to_owned();
            assert_eq!(own["status"], ready["status"], "{found:#}");
            if own["status"] == "False" {
                assert_eq!(ready["reason"], "IssuesReported");
                let message = format!("* VirtualMachineProvisioned: {}", text(own, "/message"));
                assert_eq!(ready["message"], message.as_str());
                assert!(
                    found["spec"]["virtualMachineID"].is_u64() || reason.starts_with("WaitingFor"),
                    "the number is there before the clone: {found:#}"
                );
            }
            let state = (reason, task);
            if states.last() != Some(&state) {
                states.push(state);
            }
            if own["status"] == "True" {
                assert_eq!(ready["reason"], "InfoReported");
                assert_eq!(found["status"]["vmStatus"], "ready");
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let places: Vec<usize> = states
        .iter()
        .map(|(reason, _)| {
            WAY.iter()
                .position(|known| known == reason)
                .unwrap_or_else(|| panic!("{reason} is not known to the Go provider: {states:?}"))
        })
        .collect();
    assert!(places.is_sorted(), "{states:?}");
    let task_of = |reason: &str| {
        let state = states.iter().find(|(known, _)| known == reason);
        state.map(|(_, task)| task.as_str()).unwrap_or_default()
    };
    assert!(task_of("Cloning").contains(":qmclone:"), "{states:?}");
    assert!(
        task_of("WaitingForVMPowerUp").contains(":qmstart:"),
        "{states:?}"
    );
    assert_eq!(task_of("Provisioned"), "", "no task is left");
}

/// The Events about an object.
async fn events(plane: &Plane, name: &str) -> Vec<(String, String)> {
    let list = plane
        .get("/api/v1/namespaces/default/events")
        .await
        .expect("listed");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .filter(|event| event["involvedObject"]["name"] == name)
        .map(|event| {
            (
                text(event, "/reason").to_owned(),
                text(event, "/message").to_owned(),
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lasts_is_told_by_one_event_and_a_machine_without_failures_by_none() {
    let plane = Plane::new();
    plane.cluster().await;
    plane.machine("m0").await;
    plane.provisioned("m0").await;
    assert_eq!(events(&plane, "m0").await, []);

    let text = "clone failed: no space left on the moon";
    plane.simulator.fault(Fault {
        times: 12,
        ..Fault::always(
            Method::POST,
            "/nodes/*/qemu/*/clone",
            Outcome::TaskFails(text.into()),
        )
    });
    plane.machine("m1").await;
    plane
        .until(&format!("{INFRA}/proxmoxmachines/m1"), |found| {
            found
                .and_then(|found| condition(found, "VirtualMachineProvisioned"))
                .is_some_and(|condition| {
                    condition["reason"] == "CloningFailed"
                        && condition["message"]
                            .as_str()
                            .is_some_and(|message| message.contains(text))
                })
        })
        .await;
    plane.provisioned("m1").await;
    let told = events(&plane, "m1").await;
    let failures: Vec<_> = told
        .iter()
        .filter(|(reason, _)| reason == "CloningFailed")
        .collect();
    assert!(
        failures.len() == 1 && failures[0].1.contains(text),
        "twelve attempts: {told:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_that_lost_its_claim_is_told_of_and_taken_over() {
    let plane = Plane::new();
    plane.cluster().await;
    let name = "m0-net0-00-inet";
    let pool = json!({"apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool", "name": "c-v4-icip"});
    let spec = json!({"spec": {
        "address": "10.77.0.42", "prefix": 24, "gateway": "10.77.0.1", "claimRef": {"name": name}, "poolRef": pool,
    }});
    plane
        .apply(&object(
            "ipam.cluster.x-k8s.io/v1beta2",
            "IPAddress",
            name,
            spec,
        ))
        .await;
    plane.machine("m0").await;
    let machine = plane.provisioned("m0").await;
    assert_eq!(
        machine["status"]["addresses"][1]["address"], "10.77.0.42",
        "{machine:#}"
    );
    let told = events(&plane, "m0").await;
    assert!(
        told.iter().any(|(reason, _)| reason == "OrphanedIPAddress"),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_waits_for_its_machines_and_goes_without_its_credentials() {
    let plane = Plane::new();
    plane.cluster().await;
    plane.machine("m0").await;
    plane.provisioned("m0").await;
    let ready = plane
        .get(&format!("{INFRA}/proxmoxclusters/c"))
        .await
        .expect("there");
    let available = condition(&ready, "ProxmoxAvailable").expect("a condition");
    assert_eq!(
        (&available["status"], &available["reason"]),
        (&json!("True"), &json!("Provisioned"))
    );

    // A ProxmoxCluster that is deleted by itself stays for its machines, which can still be deleted.
    plane.delete(&format!("{INFRA}/proxmoxclusters/c")).await;
    let waiting = plane
        .until(&format!("{INFRA}/proxmoxclusters/c"), |found| {
            found.is_some_and(|found| {
                condition(found, "ProxmoxAvailable")
                    .is_some_and(|condition| condition["reason"] == "WaitingForMachinesDeletion")
            })
        })
        .await;
    assert!(!waiting["metadata"]["deletionTimestamp"].is_null());
    plane.delete(&format!("{CORE}/machines/m0")).await;
    plane
        .until(&format!("{INFRA}/proxmoxmachines/m0"), |found| {
            found.is_none()
        })
        .await;
    assert_eq!(crate::provider::ours(&plane.simulator), Vec::<u64>::new());

    plane
        .until(&format!("{INFRA}/proxmoxclusters/c"), |found| {
            found.is_none()
        })
        .await;

    let plane = Plane::new();
    plane.cluster().await;
    plane
        .delete("/api/v1/namespaces/default/secrets/creds")
        .await;
    plane.delete(&format!("{INFRA}/proxmoxclusters/c")).await;
    plane
        .until(&format!("{INFRA}/proxmoxclusters/c"), |found| {
            found.is_none()
        })
        .await;
}
