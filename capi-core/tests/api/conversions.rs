//! An object written in any served version is read and written in every served version.

use std::fmt::Write as _;

use capi_core::api::crd::{self, Samples};
use capi_core::api::*;
use serde_json::{Value, json};

/// Every kind is referred to in the version v1.
struct V1;

impl convert::ReferenceVersions for V1 {
    fn version(&self, _: &str, _: &str) -> Option<String> {
        Some("v1".into())
    }
}

fn samples() -> Samples {
    Samples::with(json!({
        "apiVersion": "example.com/v1",
        "apiGroup": "example.com",
        "namespace": "here",
        "nodeDrainTimeout": "10s",
        "nodeVolumeDetachTimeout": "1m30s",
        "nodeDeletionTimeout": "1h0m0s",
        "nodeStartupTimeout": "10m0s",
        "timeout": "5m0s",
        "nodeRef": { "apiVersion": "v1", "kind": "Node", "name": "node", "uid": "7" },
        "subnet": "10.0.0.0/24",
        "start": "10.0.0.10",
        "end": "10.0.0.20",
    }))
}

fn definition(kind: &str) -> Value {
    crds()
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .expect("the definition is there")
}

fn convert(object: Value, to: &str) -> Value {
    let (group, kind) = (
        to.split_once('/').expect("group and version").0,
        object["kind"].as_str().expect("a kind"),
    );
    let conversion = convert::find(conversions(), group, kind).expect("the kind has a conversion");
    conversion
        .convert(object, to, &V1)
        .expect("the object is well-formed")
}

#[test]
fn every_object_of_every_version_survives_the_way_to_every_other_version_and_back() {
    let mut problems = String::new();
    macro_rules! check {
        ($($kind:ident),+) => {$(
            let name = stringify!($kind);
            let conversion = convert::find(conversions(), $kind::KIND.group, name).expect("the kind has a conversion");
            let checked = crd::check_conversion::<$kind>(conversion, &definition(name), &samples(), &V1);
            if let Err(problem) = checked {
                let _ = writeln!(problems, "{name}:\n{problem}");
            }
        )+};
    }
    check!(
        Cluster,
        Machine,
        MachineSet,
        MachineDeployment,
        MachineHealthCheck,
        MachineDrainRule,
        IPAddress,
        IPAddressClaim,
        InClusterIPPool,
        GlobalInClusterIPPool
    );
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn every_served_version_has_a_conversion() {
    for crd in crds() {
        let kind = crd["spec"]["names"]["kind"].as_str().expect("a kind");
        let group = crd["spec"]["group"].as_str().expect("a group");
        let conversion =
            convert::find(conversions(), group, kind).expect("the kind has a conversion");
        let mut served: Vec<&str> = crd["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|version| version["name"].as_str())
            .collect();
        let mut converted: Vec<&str> = conversion.versions().collect();
        served.sort_unstable();
        converted.sort_unstable();
        assert_eq!(served, converted, "{kind}");
    }
}

fn machine(version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("cluster.x-k8s.io/{version}"),
        "kind": "Machine",
        "metadata": { "name": "one", "namespace": "here" },
        "spec": spec,
    })
}

#[test]
fn durations_become_seconds_and_references_lose_their_version() {
    let hub = convert(
        machine(
            "v1beta1",
            &json!({
                "clusterName": "c",
                "bootstrap": { "configRef": { "apiVersion": "b.io/v1", "kind": "B", "name": "b", "namespace": "here" } },
                "infrastructureRef": { "apiVersion": "i.io/v2", "kind": "I", "name": "i", "namespace": "here" },
                "nodeDrainTimeout": "10s",
                "nodeVolumeDetachTimeout": "60s",
            }),
        ),
        "cluster.x-k8s.io/v1beta2",
    );
    assert_eq!(
        hub,
        machine(
            "v1beta2",
            &json!({
                "clusterName": "c",
                "bootstrap": { "configRef": { "apiGroup": "b.io", "kind": "B", "name": "b" } },
                "infrastructureRef": { "apiGroup": "i.io", "kind": "I", "name": "i" },
                "deletion": { "nodeDrainTimeoutSeconds": 10, "nodeVolumeDetachTimeoutSeconds": 60 },
            })
        ),
        "nothing is lost, so nothing is kept in an annotation"
    );
}

#[test]
fn a_change_made_in_the_older_version_keeps_what_only_the_hub_has() {
    let mut hub = machine(
        "v1beta2",
        &json!({ "clusterName": "c", "minReadySeconds": 7, "version": "v1.33.0" }),
    );
    hub["status"] = json!({ "phase": "Updating", "failureDomain": "a", "initialization": { "infrastructureProvisioned": false } });
    let mut older = convert(hub.clone(), "cluster.x-k8s.io/v1beta1");
    assert_eq!(older["status"]["phase"], "Running");
    assert_eq!(older["spec"].get("minReadySeconds"), None);
    older["spec"]["version"] = "v1.34.0".into();
    // A client that does not tell false from absent writes the object without it.
    older["status"]
        .as_object_mut()
        .expect("a status")
        .remove("infrastructureReady");
    hub["spec"]["version"] = "v1.34.0".into();
    assert_eq!(convert(older, "cluster.x-k8s.io/v1beta2"), hub);
}

#[test]
fn a_field_that_only_the_older_version_has_survives_a_change_made_in_the_hub() {
    let older = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta1",
        "kind": "MachineDeployment",
        "metadata": { "name": "one", "namespace": "here" },
        "spec": { "clusterName": "c", "replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2 },
    });
    let mut hub = convert(older.clone(), "cluster.x-k8s.io/v1beta2");
    assert_eq!(hub["spec"], json!({ "clusterName": "c", "replicas": 1 }));
    hub["spec"]["replicas"] = 3.into();
    let back = convert(hub, "cluster.x-k8s.io/v1beta1");
    let mut spec = older["spec"].clone();
    spec["replicas"] = 3.into();
    assert_eq!(back["spec"], spec);
}

#[test]
fn a_list_that_was_shortened_in_the_older_version_does_not_come_back() {
    let domain = |name: &str| json!({ "name": name, "controlPlane": true });
    let hub = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2",
        "kind": "Cluster",
        "metadata": { "name": "one", "namespace": "here" },
        "spec": { "paused": true },
        "status": { "failureDomains": [domain("a"), domain("b")] },
    });
    let mut older = convert(hub, "cluster.x-k8s.io/v1beta1");
    older["status"]["failureDomains"]
        .as_object_mut()
        .expect("by name")
        .remove("a");
    let back = convert(older, "cluster.x-k8s.io/v1beta2");
    assert_eq!(back["status"]["failureDomains"], json!([domain("b")]));
}

#[test]
fn a_pool_of_a_subnet_becomes_a_range_and_is_given_back_while_it_says_the_same() {
    let pool = |version: &str, spec: Value| {
        json!({
            "apiVersion": format!("ipam.cluster.x-k8s.io/{version}"),
            "kind": "InClusterIPPool",
            "metadata": { "name": "one", "namespace": "here" },
            "spec": spec,
        })
    };
    let older = pool(
        "v1alpha1",
        json!({ "subnet": "10.0.0.7/24", "gateway": "10.0.0.1" }),
    );
    let mut hub = convert(older.clone(), "ipam.cluster.x-k8s.io/v1alpha2");
    let addresses = json!(["10.0.0.1-10.0.0.254"]);
    assert_eq!(
        hub["spec"],
        json!({ "addresses": addresses, "prefix": 24, "gateway": "10.0.0.1" })
    );
    assert_eq!(
        convert(hub.clone(), "ipam.cluster.x-k8s.io/v1alpha1")["spec"],
        older["spec"]
    );
    hub["spec"]["gateway"] = "10.0.0.254".into();
    let changed = json!({ "subnet": "10.0.0.7/24", "gateway": "10.0.0.254" });
    assert_eq!(
        convert(hub.clone(), "ipam.cluster.x-k8s.io/v1alpha1")["spec"],
        changed
    );
    hub["spec"]["addresses"] = json!(["10.0.0.5"]);
    assert_eq!(
        convert(hub.clone(), "ipam.cluster.x-k8s.io/v1alpha1")["spec"],
        hub["spec"]
    );
    let six = pool("v1alpha1", json!({ "subnet": "fd00::/126" }));
    assert_eq!(
        convert(six, "ipam.cluster.x-k8s.io/v1alpha2")["spec"],
        json!({ "addresses": ["fd00::1-fd00::2"], "prefix": 126 })
    );
}

#[test]
fn the_label_of_a_claim_stands_for_its_cluster_and_goes_when_it_was_made() {
    let hub = json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1beta2",
        "kind": "IPAddressClaim",
        "metadata": { "name": "one", "namespace": "here" },
        "spec": { "clusterName": "c", "poolRef": { "apiGroup": "g", "kind": "P", "name": "p" } },
    });
    let older = convert(hub.clone(), "ipam.cluster.x-k8s.io/v1alpha1");
    assert_eq!(
        older["metadata"]["labels"],
        json!({ labels::CLUSTER_NAME: "c" })
    );
    assert_eq!(older["spec"].get("clusterName"), None);
    assert_eq!(convert(older, "ipam.cluster.x-k8s.io/v1beta2"), hub);
}

#[test]
fn malformed_objects_are_refused_with_the_place_and_never_panic() {
    let conversion = convert::find(conversions(), "cluster.x-k8s.io", "Machine")
        .expect("the kind has a conversion");
    let to = "cluster.x-k8s.io/v1beta2";
    let error = |object: Value| {
        conversion
            .convert(object, to, &V1)
            .expect_err("the object is malformed")
            .to_string()
    };
    let wrong = machine("v1beta1", &json!({ "nodeDrainTimeout": "soon" }));
    assert_eq!(
        error(wrong),
        "nodeDrainTimeout: \"soon\" is no duration such as 1m30s"
    );
    assert!(error(json!("text")).starts_with("the object is "));
    assert!(
        error(machine("v9", &json!({}))).contains("has no version v9; it has v1beta2, v1beta1")
    );
    for conversion in conversions() {
        let spoke = conversion.spokes[0].version;
        for (from, to) in [
            (spoke, conversion.hub.version),
            (conversion.hub.version, spoke),
        ] {
            for odd in [
                json!(null),
                json!(7),
                json!("text"),
                json!([1]),
                json!({ "a": [{}] }),
            ] {
                for place in ["metadata", "spec", "status"] {
                    let mut object = json!({
                        "apiVersion": format!("{}/{from}", conversion.hub.group),
                        "kind": conversion.hub.kind,
                        "metadata": { "annotations": { annotations::CONVERSION_DATA: "{\"apiVersion\": 7" } },
                        "spec": {}, "status": {},
                    });
                    object[place] = odd.clone();
                    let _ =
                        conversion.convert(object, &format!("{}/{to}", conversion.hub.group), &V1);
                }
            }
        }
    }
}
