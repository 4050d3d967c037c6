//! Rows of upstream's webhooks, each with an object that keeps it and one that breaks it.

use super::*;
use serde_json::json;

fn faults(verdict: &Verdict) -> Vec<String> {
    verdict.errors.iter().map(ToString::to_string).collect()
}

fn cluster_object(host: &str, addresses: &[&str]) -> Value {
    let config = json!({"addresses": addresses, "prefix": 24, "gateway": "10.0.0.1"});
    json!({"spec": {
        "controlPlaneEndpoint": {"host": host, "port": 6443},
        "ipv4Config": config,
        "dnsServers": ["1.1.1.1"],
    }})
}

fn judge_cluster(object: &Value, old: Option<&Value>) -> Verdict {
    let as_template = |object: &Value| json!({"spec": {"template": {"spec": object["spec"]}}});
    let verdict = cluster(object, old);
    let template = cluster_template(&as_template(object), old.map(as_template).as_ref());
    assert_eq!(
        verdict.accepts(),
        template.accepts(),
        "a template is judged as what is made from it"
    );
    verdict
}

#[test]
fn a_cluster_has_addresses_of_one_family_at_least() {
    let mut object = cluster_object("10.0.0.10", &["10.0.0.20-10.0.0.30"]);
    assert!(judge_cluster(&object, None).accepts());
    object["spec"]["ipv6Config"] = object["spec"]["ipv4Config"].take();
    object["spec"]["ipv6Config"]["addresses"] = json!(["2001:db8::/64"]);
    object["spec"]
        .as_object_mut()
        .map(|spec| spec.remove("ipv4Config"));
    assert!(judge_cluster(&object, None).accepts());
    object["spec"]
        .as_object_mut()
        .map(|spec| spec.remove("ipv6Config"));
    assert!(!judge_cluster(&object, None).accepts());
}

#[test]
fn an_endpoint_is_an_address_or_the_name_of_a_host() {
    for host in [
        "10.0.0.10",
        "::1",
        "fd00::10",
        "api",
        "api.example.com",
        "API.Example.COM",
        "a-b.c.de",
    ] {
        let object = cluster_object(host, &["10.0.0.20"]);
        assert!(judge_cluster(&object, None).accepts(), "{host}");
        assert!(judge_cluster(&object, Some(&object)).accepts(), "{host}");
    }
    for host in [
        "",
        "_bad..host",
        "a..b",
        "-a",
        "a.b.c1",
        "a.x",
        "10.0.0.256",
        &"a".repeat(64),
    ] {
        let object = cluster_object(host, &["10.0.0.20"]);
        assert!(!judge_cluster(&object, None).accepts(), "{host}");
    }
}

#[test]
fn an_endpoint_is_not_checked_when_somebody_else_runs_the_control_plane() {
    let mut object = cluster_object("", &["10.0.0.20"]);
    object["spec"]["externalManagedControlPlane"] = json!(true);
    assert!(judge_cluster(&object, None).accepts());
    object["spec"]
        .as_object_mut()
        .map(|spec| spec.remove("controlPlaneEndpoint"));
    assert!(judge_cluster(&object, None).accepts());
}

#[test]
fn an_endpoint_is_not_among_the_addresses_of_machines() {
    let good = cluster_object("10.0.0.10", &["10.0.0.20"]);
    for address in ["10.0.0.10", "10.0.0.0/24", "10.0.0.5-10.0.0.15"] {
        let object = cluster_object("10.0.0.10", &["10.1.0.1", address]);
        for old in [None, Some(&good)] {
            let verdict = judge_cluster(&object, old);
            assert_eq!(
                verdict.errors[0].path, "spec.ipv4Config.addresses",
                "{address}"
            );
        }
    }
    let mut object = cluster_object("fd00::10", &["10.0.0.20"]);
    object["spec"]["ipv6Config"] =
        json!({"addresses": ["fd00::/64"], "prefix": 64, "gateway": "fd00::1"});
    let verdict = judge_cluster(&object, None);
    assert_eq!(verdict.errors[0].path, "spec.ipv6Config.addresses");
}

#[test]
fn an_entry_that_is_no_address_is_told_with_its_place() {
    let verdict = judge_cluster(
        &cluster_object("10.0.0.10", &["10.0.0.20", "10.0.0.x"]),
        None,
    );
    assert_eq!(verdict.errors[0].path, "spec.ipv4Config.addresses[1]");
}

fn devices(devices: &[Value]) -> Value {
    json!({"spec": {"network": {"networkDevices": devices}}})
}

fn device(name: &str, more: Value) -> Value {
    let mut device = json!({"name": name});
    if let (Some(device), Value::Object(more)) = (device.as_object_mut(), more) {
        device.extend(more);
    }
    device
}

#[test]
fn the_first_device_has_the_default_routes_unless_another_has() {
    let mut object = devices(&[
        device("net1", json!({})),
        device("net0", json!({"defaultIPv6": true})),
    ]);
    network::default(&mut object, None).expect("nothing is malformed");
    let once = object.clone();
    network::default(&mut object, Some(&once)).expect("nothing is malformed");
    assert_eq!(object, once, "defaulting is idempotent");
    let expected = devices(&[
        device("net1", json!({"defaultIPv4": true})),
        device("net0", json!({"defaultIPv6": true})),
    ]);
    assert_eq!(object, expected);
    let mut none = json!({"spec": {}});
    network::default(&mut none, None).expect("nothing is malformed");
    assert_eq!(none, json!({"spec": {}}));
}

#[test]
fn devices_are_named_without_a_gap() {
    let named = |names: &[&str]| -> Value {
        let list: Vec<Value> = names.iter().map(|name| device(name, json!({}))).collect();
        devices(&list)
    };
    let eleven: Vec<String> = (0..11).map(|index| format!("net{index}")).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    for names in [&[][..], &["net0"], &["net1", "net0"], &eleven] {
        assert!(machine(&named(names), None).accepts(), "{names:?}");
    }
    for names in [
        &["net0", "net0"][..],
        &["net0", "net2"],
        &["net1"],
        &["eth0"],
    ] {
        assert!(!machine(&named(names), None).accepts(), "{names:?}");
    }
}

#[test]
fn one_device_has_the_default_route_of_a_family() {
    let both = |field: &str| {
        let mut list = [device("net0", json!({})), device("net1", json!({}))];
        for device in &mut list {
            device[field] = json!(true);
        }
        devices(&list)
    };
    assert!(!machine(&both("defaultIPv4"), None).accepts());
    assert!(!machine(&both("defaultIPv6"), None).accepts());
    let split = devices(&[
        device("net0", json!({"defaultIPv4": true})),
        device("net1", json!({"defaultIPv6": true})),
    ]);
    assert!(machine(&split, None).accepts());
}

#[test]
fn packets_are_as_large_as_ipv6_needs() {
    for (field, value, accepted) in [
        ("mtu", 1, true),
        ("mtu", 1280, true),
        ("mtu", 1279, false),
        ("linkMtu", 1280, true),
        ("linkMtu", 1279, false),
    ] {
        let object = devices(&[device("net0", json!({field: value}))]);
        let verdict = machine(&object, None);
        assert_eq!(
            verdict.accepts(),
            accepted,
            "{field} {value}: {:?}",
            faults(&verdict)
        );
    }
}

#[test]
fn a_route_to_everything_tells_its_family() {
    for to in ["default", "all"] {
        for (more, accepted) in [
            (json!({}), false),
            (json!({"via": "10.0.0.1"}), true),
            (json!({"is6": true}), true),
        ] {
            let mut route = more;
            route["to"] = to.into();
            let object = devices(&[device("net0", json!({"routes": [route]}))]);
            assert_eq!(machine(&object, None).accepts(), accepted, "{object}");
        }
    }
    let object = devices(&[device("net0", json!({"routes": [{"to": "10.1.0.0/16"}]}))]);
    assert!(machine(&object, None).accepts());
}

#[test]
fn a_routing_policy_names_its_table() {
    let on_device = |policy: Value| devices(&[device("net0", json!({"routingPolicy": [policy]}))]);
    assert!(
        machine(
            &on_device(json!({"table": 500, "from": "10.0.0.0/8"})),
            None
        )
        .accepts()
    );
    assert!(!machine(&on_device(json!({"from": "10.0.0.0/8"})), None).accepts());
    assert!(!machine(&on_device(json!({"table": 500, "to": "all"})), None).accepts());
    assert!(
        machine(
            &on_device(json!({"table": 500, "to": "all", "is6": false})),
            None
        )
        .accepts()
    );
    for (table, accepted) in [(json!(null), true), (json!(500), true), (json!(501), false)] {
        let vrf = json!({"name": "v", "table": 500, "routingPolicy": [{"from": "10.0.0.0/8", "table": table}]});
        let object = json!({"spec": {"network": {"networkDevices": [], "vrfs": [vrf]}}});
        assert_eq!(machine(&object, None).accepts(), accepted, "{object}");
    }
}

#[test]
fn tags_of_a_machine_stay() {
    let tagged = |tags: Value| json!({"spec": {"tags": tags, "network": {"networkDevices": []}}});
    let old = tagged(json!(["a"]));
    assert!(machine(&old, Some(&old)).accepts());
    let verdict = machine(&tagged(json!(["a", "b"])), Some(&old));
    assert!(verdict.refusal.is_some());
}

#[test]
fn a_template_has_no_identity_and_does_not_change() {
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let old = template(json!({"numCores": 2}));
    assert!(machine_template(&old, None).accepts());
    let verdict = machine_template(&template(json!({"providerID": "proxmox://x"})), None);
    assert_eq!(verdict.errors[0].path, "spec.template.spec.providerID");
    let new = template(json!({"numCores": 4}));
    assert_eq!(machine_template(&new, Some(&old)).errors[0].path, "spec");
    assert!(machine_template(&old, Some(&old)).accepts());
    let admission = admissions()
        .iter()
        .find(|admission| admission.kind == PROXMOX_MACHINE_TEMPLATE)
        .expect("the template is admitted");
    let mut dry = new;
    dry["metadata"] = json!({"annotations": {"topology.cluster.x-k8s.io/dry-run": ""}});
    let compared = admission.compared_with(&dry, Some(&old), true);
    assert!(admission.validate_object(&dry, compared).accepts());
}
