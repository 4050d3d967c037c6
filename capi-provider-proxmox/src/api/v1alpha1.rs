//! How the kinds of the Proxmox VE provider in v1alpha1 become v1alpha2, and back.

use Rule::{Custom, Flag, Move, NotEmpty, OnlyHub, OnlyOlder, Within};
use capi_core::api::convert::{
    Conversion, ConversionError, Direction, Keep, KeepOlder, Rule, Spoke,
};
use serde_json::{Map, Value, json};

use super::{PROXMOX_CLUSTER, PROXMOX_CLUSTER_TEMPLATE, PROXMOX_MACHINE, PROXMOX_MACHINE_TEMPLATE};

/// The conversions of this crate's kinds.
///
/// Other than upstream's, a ProxmoxClusterTemplate gets no made-up `cloneSpec`.
#[must_use]
pub fn conversions() -> &'static [Conversion] {
    const CONVERSIONS: &[Conversion] = &[
        Conversion {
            hub: PROXMOX_CLUSTER,
            spokes: &[v1alpha1(CLUSTER, KeepOlder::Fields)],
        },
        Conversion {
            hub: PROXMOX_CLUSTER_TEMPLATE,
            spokes: &[v1alpha1(CLUSTER_TEMPLATE, KeepOlder::Fields)],
        },
        Conversion {
            hub: PROXMOX_MACHINE,
            spokes: &[v1alpha1(MACHINE, KeepOlder::Spec)],
        },
        Conversion {
            hub: PROXMOX_MACHINE_TEMPLATE,
            spokes: &[v1alpha1(MACHINE_TEMPLATE, KeepOlder::Spec)],
        },
    ];
    CONVERSIONS
}

const fn v1alpha1(rules: &'static [Rule], keep_older: KeepOlder) -> Spoke {
    Spoke {
        version: "v1alpha1",
        rules,
        keep: Keep::Always,
        keep_older,
    }
}

const CLUSTER: &[Rule] = &[
    Within("spec", "spec", CLUSTER_SPEC),
    STATUS[0],
    STATUS[1],
    STATUS[2],
    STATUS[3],
    Move("status.inClusterIpPoolRef", "status.inClusterIPPoolRef"),
    OnlyHub("status.inClusterZoneRef"),
    Within(
        "status.nodeLocations.controlPlane",
        "status.nodeLocations.controlPlane",
        LOCATION,
    ),
    Within(
        "status.nodeLocations.workers",
        "status.nodeLocations.workers",
        LOCATION,
    ),
];

const CLUSTER_TEMPLATE: &[Rule] = &[Within(
    "spec.template.spec",
    "spec.template.spec",
    CLUSTER_SPEC,
)];

const CLUSTER_SPEC: &[Rule] = &[
    NotEmpty("controlPlaneEndpoint.host"),
    NotEmpty("controlPlaneEndpoint.port"),
    OnlyOlder("cloneSpec"),
    OnlyHub("zoneConfig"),
];

const LOCATION: &[Rule] = &[OnlyHub("zone")];

const STATUS: [Rule; 4] = [
    Flag("status.ready", "status.initialization.provisioned"),
    OnlyOlder("status.failureReason"),
    OnlyOlder("status.failureMessage"),
    Within("status.conditions", "status.conditions", CONDITION),
];

const CONDITION: &[Rule] = &[
    OnlyOlder("severity"),
    OnlyHub("observedGeneration"),
    Custom(condition),
];

const MACHINE: &[Rule] = &[
    Within("spec", "spec", MACHINE_SPEC),
    STATUS[0],
    STATUS[1],
    STATUS[2],
    STATUS[3],
    Custom(addresses),
];

const MACHINE_TEMPLATE: &[Rule] = &[Within(
    "spec.template.spec",
    "spec.template.spec",
    MACHINE_SPEC,
)];

const MACHINE_SPEC: &[Rule] = &[
    NotEmpty("numCores"),
    NotEmpty("numSockets"),
    NotEmpty("memoryMiB"),
    NotEmpty("sourceNode"),
    Custom(target),
    Custom(network),
];

/// Reason and message that a condition of the older version gets if it has none.
const REASON: &str = "APIConversionReason";
const MESSAGE: &str = "API Conversion";

fn condition(condition: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let Some(condition) = condition.as_object_mut() else {
        return Ok(());
    };
    for (field, text) in [("reason", REASON), ("message", MESSAGE)] {
        let value = condition
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if direction.is_to_hub() && value.is_empty() {
            condition.insert(field.into(), text.into());
        } else if !direction.is_to_hub() && (value.is_empty() || value == text) {
            condition.remove(field);
        }
    }
    Ok(())
}

/// A single target node wins over the list of allowed ones.
fn target(spec: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    if let (true, Some(spec)) = (direction.is_to_hub(), spec.as_object_mut())
        && let Some(target) = spec.remove("target")
    {
        spec.insert("allowedNodes".into(), json!([target]));
    }
    Ok(())
}

/// The older version has the first device apart from the others, and at most one pool a family.
fn network(spec: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let Some(spec) = spec.as_object_mut() else {
        return Ok(());
    };
    if direction.is_to_hub() {
        let network = spec.remove("network");
        let dummy = || json!({ "default": { "bridge": "vmbr0" } });
        spec.insert(
            "network".into(),
            network_to_hub(network.unwrap_or_else(dummy)),
        );
    } else if let Some(network) = spec.get_mut("network") {
        *network = network_from_hub(network.take());
    }
    Ok(())
}

const DEFAULT: &str = "net0";

fn network_to_hub(network: Value) -> Value {
    let Value::Object(mut network) = network else {
        return network;
    };
    let mut devices = Vec::new();
    if let Some(Value::Object(mut device)) = network.remove("default") {
        device.insert("name".into(), DEFAULT.into());
        device.insert("defaultIPv4".into(), true.into());
        device.insert("defaultIPv6".into(), true.into());
        devices.push(device);
    }
    if let Some(Value::Array(more)) = network.remove("additionalDevices") {
        devices.extend(more.into_iter().filter_map(|device| match device {
            Value::Object(device) => Some(device),
            _ => None,
        }));
    }
    for device in &mut devices {
        let pools = ["ipv4PoolRef", "ipv6PoolRef"].map(|name| device.remove(name));
        let pools: Vec<Value> = pools.into_iter().flatten().collect();
        if !pools.is_empty() {
            device.insert("ipPoolRef".into(), pools.into());
        }
    }
    network.insert("networkDevices".into(), devices.into());
    network.into()
}

fn network_from_hub(network: Value) -> Value {
    let Value::Object(mut network) = network else {
        return network;
    };
    network.remove("zone");
    let mut others = Vec::new();
    if let Some(Value::Array(devices)) = network.remove("networkDevices") {
        for device in devices {
            let Value::Object(mut device) = device else {
                continue;
            };
            let name = device
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or(DEFAULT);
            let first = name == DEFAULT;
            for field in ["defaultIPv4", "defaultIPv6", "queues"] {
                device.remove(field);
            }
            forget_families(&mut device);
            if let Some(Value::Array(pools)) = device.remove("ipPoolRef") {
                let [v4, v6] = by_family(pools);
                device.extend(v4.map(|pool| ("ipv4PoolRef".into(), pool)));
                device.extend(v6.map(|pool| ("ipv6PoolRef".into(), pool)));
            }
            if first {
                for field in ["name", "routes", "routingPolicy", "linkMtu"] {
                    device.remove(field);
                }
                network.insert("default".into(), device.into());
            } else {
                others.push(device);
            }
        }
    }
    if !others.is_empty() {
        network.insert("additionalDevices".into(), others.into());
    }
    for vrf in network
        .get_mut("vrfs")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(vrf) = vrf.as_object_mut() {
            forget_families(vrf);
        }
    }
    network.into()
}

/// Routes and policies of the older version do not say their family.
fn forget_families(routing: &mut Map<String, Value>) {
    for field in ["routes", "routingPolicy"] {
        for entry in routing
            .get_mut(field)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("is6");
            }
        }
    }
}

/// The first pool whose name says its family; those that do not say it fill up, IPv4 first.
fn by_family(pools: Vec<Value>) -> [Option<Value>; 2] {
    let mut found = [None, None];
    let mut unknown = Vec::new();
    for pool in pools {
        let name = pool.get("name").and_then(Value::as_str).unwrap_or_default();
        let family = if name.contains("inet6") {
            Some(1)
        } else if name.contains("inet") {
            Some(0)
        } else {
            None
        };
        match family {
            Some(family) if found[family].is_none() => found[family] = Some(pool),
            Some(_) => {}
            None => unknown.push(pool),
        }
    }
    for pool in unknown {
        if let Some(place) = found.iter_mut().find(|place| place.is_none()) {
            *place = Some(pool);
        }
    }
    found
}

/// The older version has one address a family, by the name of the device.
fn addresses(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let Some(addresses) = object.pointer_mut("/status/ipAddresses") else {
        return Ok(());
    };
    *addresses = match (addresses.take(), direction.is_to_hub()) {
        (Value::Object(by_name), true) => {
            let devices = by_name.into_iter().map(|(name, addresses)| {
                let mut device = Map::new();
                device.insert("net".into(), name.into());
                for family in ["ipv4", "ipv6"] {
                    if let Some(address) = addresses.get(family).filter(|address| **address != "") {
                        device.insert(family.into(), json!([address]));
                    }
                }
                Value::Object(device)
            });
            devices.collect()
        }
        (Value::Array(devices), false) => {
            let by_name = devices.iter().filter_map(|device| {
                let mut addresses = Map::new();
                for family in ["ipv4", "ipv6"] {
                    if let Some(address) = device.get(family).and_then(|list| list.get(0)) {
                        addresses.insert(family.into(), address.clone());
                    }
                }
                Some((device.get("net")?.as_str()?.to_owned(), addresses.into()))
            });
            Value::Object(by_name.collect())
        }
        (other, _) => other,
    };
    Ok(())
}
