//! An object written in v1alpha1 or v1alpha2 is read and written in both.

use capi_core::api::convert;
use capi_core::api::crd::{self, Samples};
use capi_provider_proxmox::api::*;
use serde_json::{Value, json};

fn definition(kind: &str) -> Value {
    crds()
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .expect("the definition is there")
}

fn convert(object: &Value, version: &str) -> Value {
    let kind = object["kind"].as_str().expect("a kind");
    let conversion = convert::find(conversions(), GROUP, kind).expect("the kind has a conversion");
    conversion
        .convert(object.clone(), &format!("{GROUP}/{version}"), &())
        .expect("the object is well-formed")
}

#[test]
fn every_object_of_every_version_survives_the_way_to_the_other_and_back() {
    let samples = Samples::with(json!({ "status": "True" }));
    let mut problems = String::new();
    macro_rules! check {
        ($($kind:ident),+) => {$(
            let name = stringify!($kind);
            let conversion = convert::find(conversions(), GROUP, name).expect("the kind has a conversion");
            if let Err(problem) = crd::check_conversion::<$kind>(conversion, &definition(name), &samples, &()) {
                problems.push_str(&format!("{name}:\n{problem}"));
            }
        )+};
    }
    check!(
        ProxmoxCluster,
        ProxmoxClusterTemplate,
        ProxmoxMachine,
        ProxmoxMachineTemplate
    );
    assert!(problems.is_empty(), "{problems}");
}

fn machine(version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{version}"),
        "kind": "ProxmoxMachine",
        "metadata": { "name": "one", "namespace": "here" },
        "spec": spec,
    })
}

#[test]
fn the_default_device_becomes_net0_and_a_target_the_only_allowed_node() {
    let older = machine(
        "v1alpha1",
        &json!({
            "target": "pve2",
            "allowedNodes": ["pve1"],
            "network": {
                "default": { "bridge": "vmbr0", "model": "virtio" },
                "additionalDevices": [{ "name": "net1", "bridge": "vmbr1", "ipv6PoolRef": { "kind": "P", "name": "p" } }],
            },
        }),
    );
    let mut hub = convert(&older, "v1alpha2");
    assert_eq!(
        hub["spec"],
        json!({
            "allowedNodes": ["pve2"],
            "network": { "networkDevices": [
                { "name": "net0", "bridge": "vmbr0", "model": "virtio", "defaultIPv4": true, "defaultIPv6": true },
                { "name": "net1", "bridge": "vmbr1", "ipPoolRef": [{ "kind": "P", "name": "p" }] },
            ] },
        })
    );
    assert_eq!(convert(&hub, "v1alpha1")["spec"], older["spec"]);
    // What the controller writes does not disturb what the user wrote.
    hub["spec"]["virtualMachineID"] = 101.into();
    let mut spec = older["spec"].clone();
    spec["virtualMachineID"] = 101.into();
    assert_eq!(convert(&hub, "v1alpha1")["spec"], spec);
    // A change of the allowed nodes is not undone by the old target.
    hub["spec"]["allowedNodes"] = json!(["pve3"]);
    let older = convert(&hub, "v1alpha1");
    assert_eq!(older["spec"].get("target"), None);
    assert_eq!(convert(&older, "v1alpha2")["spec"], hub["spec"]);
}

#[test]
fn a_device_that_is_removed_in_the_older_version_leaves_the_others_as_they_were() {
    let device =
        |name: &str, queues: i32| json!({ "name": name, "bridge": "vmbr0", "queues": queues });
    let hub = machine(
        "v1alpha2",
        &json!({ "network": { "zone": "a", "networkDevices": [device("net0", 1), device("net1", 2), device("net2", 3)] } }),
    );
    let mut older = convert(&hub, "v1alpha1");
    older["spec"]["network"]["additionalDevices"]
        .as_array_mut()
        .expect("two devices")
        .remove(0);
    let back = convert(&older, "v1alpha2");
    assert_eq!(
        back["spec"]["network"],
        json!({ "zone": "a", "networkDevices": [device("net0", 1), device("net2", 3)] })
    );
}

#[test]
fn a_machine_without_network_gets_a_first_device_and_does_not_show_it_in_the_older_version() {
    let older = machine("v1alpha1", &json!({ "sourceNode": "pve1" }));
    let hub = convert(&older, "v1alpha2");
    let device =
        json!({ "name": "net0", "bridge": "vmbr0", "defaultIPv4": true, "defaultIPv6": true });
    assert_eq!(
        hub["spec"]["network"],
        json!({ "networkDevices": [device] })
    );
    assert_eq!(convert(&hub, "v1alpha1")["spec"], older["spec"]);
}
