//! The network of a machine: which device has the default route, names, sizes of packets, routes.

use capi_core::admission::{FieldError, Verdict};
use serde_json::{Value, json};

use crate::api::{NetworkDevice, NetworkSpec, Route, RoutingPolicy};

/// The first device has the cluster's addresses and default routes, when no other is said to.
pub(super) fn default(object: &mut Value, _: Option<&Value>) -> Result<(), FieldError> {
    let devices = object
        .pointer_mut("/spec/network/networkDevices")
        .and_then(Value::as_array_mut);
    let Some(devices) = devices else {
        return Ok(());
    };
    for field in ["defaultIPv4", "defaultIPv6"] {
        let is_said = devices
            .iter()
            .any(|device| device.get(field) == Some(&Value::Bool(true)));
        if !is_said && let Some(Value::Object(first)) = devices.first_mut() {
            first.insert(field.to_owned(), json!(true));
        }
    }
    Ok(())
}

/// The smallest packet that IPv6 works with.
const SMALLEST_PACKET: i32 = 1280;

pub(super) fn validate(network: &NetworkSpec, path: &str, verdict: &mut Verdict) {
    let path = |name: &str| format!("{path}.{name}");
    let devices = path("networkDevices");
    names(&network.network_devices, &devices, verdict);
    for (what, count) in [
        ("defaultIPv4", count(network, |device| device.default_ipv4)),
        ("defaultIPv6", count(network, |device| device.default_ipv6)),
    ] {
        if count > 1 {
            let message = format!("{what} is true for {count} devices; one can have it");
            verdict.invalid(&devices, Value::Null, &message);
        }
    }
    for (index, device) in network.network_devices.iter().enumerate() {
        let path = format!("{devices}[{index}]");
        if let Some(mtu) = device.mtu.filter(|mtu| *mtu != 1 && *mtu < SMALLEST_PACKET) {
            let message = "must be 1, which takes the bridge's, or at least 1280";
            verdict.invalid(&format!("{path}.mtu"), mtu, message);
        }
        if let Some(mtu) = device.link_mtu.filter(|mtu| *mtu < SMALLEST_PACKET) {
            verdict.invalid(&format!("{path}.linkMtu"), mtu, "must be at least 1280");
        }
        routes(&device.routes, &path, verdict);
        policies(&device.routing_policy, None, &path, verdict);
    }
    for (index, vrf) in network.vrfs.iter().enumerate() {
        let path = format!("{}[{index}]", path("vrfs"));
        routes(&vrf.routes, &path, verdict);
        policies(&vrf.routing_policy, Some(vrf.table), &path, verdict);
    }
}

fn count(network: &NetworkSpec, has: impl Fn(&NetworkDevice) -> Option<bool>) -> usize {
    let devices = network.network_devices.iter();
    devices.filter(|device| has(device) == Some(true)).count()
}

/// Names are `net0`, `net1` and on, in any order and without a gap.
fn names(devices: &[NetworkDevice], path: &str, verdict: &mut Verdict) {
    let names: Vec<&str> = devices
        .iter()
        .map(|device| device.name.as_deref().unwrap_or_default())
        .collect();
    for index in 0..names.len() {
        let expected = format!("net{index}");
        if !names.contains(&expected.as_str()) {
            let message = format!(
                "the devices must be net0 to net{}: {expected} is missing",
                names.len() - 1
            );
            verdict.invalid(path, json!(names), &message);
            return;
        }
    }
}

/// Words that stand for every destination; they do not tell a family.
fn is_placeholder(destination: Option<&str>) -> bool {
    matches!(destination, Some("default" | "all"))
}

fn routes(routes: &[Route], path: &str, verdict: &mut Verdict) {
    for (index, route) in routes.iter().enumerate() {
        let tells_family = route.via.is_some() || route.is6.is_some();
        if is_placeholder(route.to.as_deref()) && !tells_family {
            let path = format!("{path}.routes[{index}].to");
            let to = route.to.clone().unwrap_or_default();
            verdict.invalid(&path, to, "needs via or is6, which tell the address family");
        }
    }
}

/// `table` is that of the VRF; the policy of a device has to name one.
fn policies(policies: &[RoutingPolicy], table: Option<i32>, path: &str, verdict: &mut Verdict) {
    for (index, policy) in policies.iter().enumerate() {
        let path = format!("{path}.routingPolicy[{index}]");
        match (table, policy.table) {
            (None, None) => verdict.required(&format!("{path}.table"), "name the routing table"),
            (Some(expected), Some(found)) if expected != found => {
                let message = format!("must be {expected}, the table of the VRF, or absent");
                verdict.invalid(&format!("{path}.table"), found, &message);
            }
            _ => {}
        }
        let (to, from) = (policy.to.as_deref(), policy.from.as_deref());
        let is_open = |one: Option<&str>| one.is_none() || is_placeholder(one);
        let has_placeholder = is_placeholder(to) || is_placeholder(from);
        if has_placeholder && is_open(to) && is_open(from) && policy.is6.is_none() {
            let shown = to.or(from).unwrap_or_default();
            verdict.invalid(&path, shown, "needs is6, which tells the address family");
        }
    }
}
