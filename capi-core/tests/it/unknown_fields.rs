//! Fields that nobody here knows survive whatever our controllers write.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use capi_core::{
    controllers,
    testing::reference::{ClusterShape, Settings, manifest},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Plane, all_controllers, condition};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2";
const IPAM: &str = "/apis/ipam.cluster.x-k8s.io/v1beta2";
const POOLS: &str = "/apis/ipam.cluster.x-k8s.io/v1alpha2";
const REFERENCE: &str = "/apis/reference.capi.dev/v1";

/// The kinds that our controllers write, and whether they have a status.
const KINDS: [(&str, &str, bool); 14] = [
    (CORE, "clusters", true),
    (CORE, "machines", true),
    (CORE, "machinesets", true),
    (CORE, "machinedeployments", true),
    (REFERENCE, "referenceclusters", true),
    (REFERENCE, "referencemachines", true),
    (REFERENCE, "referencemachinetemplates", false),
    (REFERENCE, "referenceconfigs", true),
    (REFERENCE, "referenceconfigtemplates", false),
    (REFERENCE, "referencecontrolplanes", true),
    (IPAM, "ipaddressclaims", true),
    (IPAM, "ipaddresses", false),
    (POOLS, "inclusterippools", true),
    (POOLS, "globalinclusterippools", true),
];

/// Lets spec and status hold what the schema does not name.
fn preserving(mut crd: Value) -> Value {
    for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
        for part in ["spec", "status", "spec/properties/template/properties/spec"] {
            let schema = version.pointer_mut(&format!("/schema/openAPIV3Schema/properties/{part}"));
            if let Some(schema) = schema {
                schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
            }
        }
    }
    crd
}

/// All states of all objects of a kind, by uid, as a watch saw them.
type States = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

fn spec_mark() -> Value {
    json!({ "by": "hand", "list": [1, { "two": null }] })
}

/// Watches a kind, and gives each of its objects fields of its own as soon as it is there.
async fn mark(client: kube::Client, base: &str, plural: &str, status: bool, states: States) {
    let request = http::Request::get(format!("{base}/{plural}?watch=1"))
        .body(kube::client::Body::empty())
        .expect("a path");
    let answer = client.send(request).await.expect("the kind exists");
    let mut body = answer.into_body();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.expect("no break").into_data() else {
            continue;
        };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).expect("JSON");
            let object = event["object"].clone();
            let metadata = &object["metadata"];
            let uid = metadata["uid"].as_str().expect("a uid").to_owned();
            states
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(uid)
                .or_default()
                .push(object.clone());
            if event["type"] != "ADDED" {
                continue;
            }
            let name = metadata["name"].as_str().expect("a name");
            let path = match metadata["namespace"].as_str() {
                Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
                None => format!("{base}/{plural}/{name}"),
            };
            patch(&client, &path, &json!({ "spec": { "zzz": spec_mark() } })).await;
            if status {
                let path = format!("{path}/status");
                patch(&client, &path, &json!({ "status": { "zzz": "by hand" } })).await;
            }
        }
    }
}

async fn patch(client: &kube::Client, path: &str, patch: &Value) {
    let request = http::Request::patch(format!("{path}?fieldManager=user"))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .expect("a path");
    match client.request_text(request).await {
        Ok(_) => {}
        // A rollout may be done with it already.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{path}: {error}"),
    }
}

fn pool(kind: &str, addresses: &[&str]) -> Value {
    let mut pool = json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1alpha2", "kind": kind,
        "metadata": { "name": "pool" },
        "spec": { "addresses": addresses, "prefix": 24, "gateway": "10.0.0.1" },
    });
    if kind == "InClusterIPPool" {
        pool["metadata"]["namespace"] = json!("default");
    }
    pool
}

fn claim(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddressClaim",
        "metadata": { "namespace": "default", "name": name },
        "spec": { "poolRef": {
            "apiGroup": "ipam.cluster.x-k8s.io", "kind": kind, "name": "pool",
        }},
    })
}

async fn until_settled(plane: &Plane, path: &str, replicas: i32, version: &str) {
    let versions = json!([{ "version": version, "replicas": replicas }]);
    let settled = |found: Option<&Value>| {
        found.is_some_and(|found| {
            let status = &found["status"];
            status["availableReplicas"] == replicas && status["versions"] == versions
        })
    };
    plane.until(path, settled).await;
}

/// Addresses are asked for, the pools grow, and all goes again.
async fn addresses(plane: &Plane) {
    let ready = |found: Option<&Value>| {
        found.is_some_and(|claim| condition(claim, "Ready").as_deref() == Some("True"))
    };
    let path = |name: &str| format!("{IPAM}/namespaces/default/ipaddressclaims/{name}");
    for (kind, first, second) in [
        ("InClusterIPPool", "a", "b"),
        ("GlobalInClusterIPPool", "c", "d"),
    ] {
        plane.apply(&claim(first, kind)).await;
        plane.apply(&pool(kind, &["10.0.0.10"])).await;
        plane.until(&path(first), ready).await;
        plane.apply(&claim(second, kind)).await;
        plane
            .until(&path(second), |found| {
                found.is_some_and(|found| !found["status"]["conditions"].is_null())
            })
            .await;
        plane.apply(&pool(kind, &["10.0.0.10", "10.0.0.11"])).await;
        plane.until(&path(second), ready).await;
        for name in [first, second] {
            plane.delete(&path(name)).await;
            plane.until(&path(name), |found| found.is_none()).await;
        }
    }
    for pool in [
        format!("{POOLS}/namespaces/default/inclusterippools/pool"),
        format!("{POOLS}/globalinclusterippools/pool"),
    ] {
        plane.delete(&pool).await;
        plane.until(&pool, |found| found.is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_of_every_kind_survive_creation_scaling_replacement_and_deletion() {
    let plane = Plane::with_crds(Settings::default(), preserving);
    let mut states = BTreeMap::new();
    let mut marks = tokio::task::JoinSet::new();
    for (base, plural, status) in KINDS {
        let seen = States::default();
        states.insert(plural, (status, Arc::clone(&seen)));
        marks.spawn(mark(plane.client.clone(), base, plural, status, seen));
    }
    let mut all = all_controllers(&plane.datacenter);
    all.extend(controllers::in_cluster_ipam());
    let running = plane.run(all);
    for mut object in manifest(&ClusterShape::new("c", 1, 2)) {
        if object["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("Template"))
        {
            object["spec"]["template"]["spec"]["zzz"] = json!("of the template");
        }
        plane.apply(&object).await;
    }
    let workers = format!("{CORE}/namespaces/default/machinedeployments/c-workers");
    let control_plane =
        format!("{REFERENCE}/namespaces/default/referencecontrolplanes/c-control-plane");
    until_settled(&plane, &control_plane, 1, "v1.33.0").await;
    until_settled(&plane, &workers, 2, "v1.33.0").await;
    plane
        .patch(&control_plane, &json!({ "spec": { "replicas": 3 } }))
        .await;
    plane
        .patch(&workers, &json!({ "spec": { "replicas": 4 } }))
        .await;
    until_settled(&plane, &control_plane, 3, "v1.33.0").await;
    until_settled(&plane, &workers, 4, "v1.33.0").await;
    let in_place = json!({ "spec": { "replicas": 3, "template": {
        "metadata": { "labels": { "team": "a" } },
        "spec": { "deletion": { "nodeDrainTimeoutSeconds": 7 } },
    }}});
    plane.patch(&workers, &in_place).await;
    until_settled(&plane, &workers, 3, "v1.33.0").await;
    plane
        .patch(&control_plane, &json!({ "spec": { "version": "v1.34.0" } }))
        .await;
    until_settled(&plane, &control_plane, 3, "v1.34.0").await;
    let change = json!({ "spec": { "template": { "spec": { "version": "v1.34.0" } } } });
    plane.patch(&workers, &change).await;
    until_settled(&plane, &workers, 3, "v1.34.0").await;
    plane
        .delete(&format!("{CORE}/namespaces/default/clusters/c"))
        .await;
    plane
        .until(&format!("{CORE}/namespaces/default/clusters/c"), |found| {
            found.is_none()
        })
        .await;
    addresses(&plane).await;
    drop(running);
    marks.abort_all();

    for (plural, (status, seen)) in states {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!seen.is_empty(), "{plural}: none was there");
        if plural == "referencemachines" {
            for states in seen.values() {
                assert_eq!(states[0]["spec"]["zzz"], "of the template");
            }
        }
        let mut later = 0;
        for (part, expected) in [("spec", true), ("status", status)] {
            if !expected {
                continue;
            }
            for states in seen.values() {
                later += kept(plural, part, states);
            }
        }
        println!(
            "{plural}: {} objects, {later} states after the mark",
            seen.len()
        );
        assert!(later > 0, "{plural}: nobody wrote it after it was marked");
    }
}

/// Once it is there, the mark is in every later state. Returns how many of those there are.
fn kept(plural: &str, part: &str, states: &[Value]) -> usize {
    let Some(first) = states
        .iter()
        .position(|state| !state[part]["zzz"].is_null())
    else {
        return 0;
    };
    let mut mark = states[first][part]["zzz"].clone();
    for state in &states[first + 1..] {
        // Made from a template with one, and marked by hand after that.
        if mark == "of the template" && state[part]["zzz"] == spec_mark() {
            mark = spec_mark();
        }
        assert_eq!(
            state[part]["zzz"], mark,
            "{plural} lost {part}.zzz: {state:#}"
        );
    }
    states.len() - first - 1
}
