//! Which addresses a machine claims, and what came of the claims.

use capi_core::api::ContractVersionedObjectReference;
use capi_core::provider::{AddressFacts, AddressRequest, Progress, ProviderError, Wait};
use serde_json::{Value, json};

use super::cluster::{DEFAULT_ZONE, ZONE_LABEL, has_zone, pool_of};
use super::desired::device_name;
use super::{DeviceAddress, MachineCx, reasons};
use crate::api::{ProxmoxCluster, ProxmoxMachine};

/// One claim of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedAddress {
    pub(super) device: usize,
    pub(super) request: AddressRequest,
    pub(super) metric: Option<i32>,
    /// From the pools of the zone, not from one that the device names.
    pub(super) default: bool,
}

/// An address that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenAddress {
    pub(super) device: usize,
    pub(super) default: bool,
    pub(super) address: DeviceAddress,
}

const POOL_GROUP: &str = "ipam.cluster.x-k8s.io";
/// Annotation of a claim: its place among those of its device.
const PLACE_ANNOTATION: &str = "ipam.capmox.cluster.x-k8s.io/pool-ref-counter";
/// Annotation of claims on the pools of the zone.
const DEFAULT_GATEWAY_ANNOTATION: &str = "ipam.capmox.cluster.x-k8s.io/default-gateway";

/// The zone that a machine is in.
pub(super) fn zone(machine: &ProxmoxMachine) -> &str {
    machine.spec.network.zone.as_deref().unwrap_or(DEFAULT_ZONE)
}

/// The claims of a machine: for each device those of the zone's pools, then those of the pools it names.
pub(super) fn wanted(
    cluster: &ProxmoxCluster,
    machine: &ProxmoxMachine,
) -> Result<Vec<WantedAddress>, ProviderError> {
    let network = &machine.spec.network;
    let zone = zone(machine);
    if !has_zone(cluster, zone) {
        let message = format!(
            "spec.network.zone: the ProxmoxCluster has no zone {zone:?} in spec.zoneConfig"
        );
        return Err(ProviderError::invalid(
            reasons::WAITING_FOR_ADDRESSES,
            message,
        ));
    }
    let name = machine.metadata.name.as_deref().unwrap_or_default();
    // As CAPMOX's webhook does: where no device is the default one of a family, the first is.
    let nobody = |v6: bool| {
        !network.network_devices.iter().any(|device| {
            (if v6 {
                device.default_ipv6
            } else {
                device.default_ipv4
            }) == Some(true)
        })
    };
    let mut wanted = Vec::new();
    for (index, device) in network.network_devices.iter().enumerate() {
        let device_name = device_name(device, index);
        let mut count = 0;
        let mut claim = |kind: &str, api_group: &str, pool: String, metric, default| {
            let pool = ContractVersionedObjectReference {
                kind: kind.to_owned(),
                name: pool,
                api_group: api_group.to_owned(),
            };
            let claim = format!("{name}-{device_name}-{count:02}-inet");
            let mut request = AddressRequest::new(claim, pool);
            let mut annotate = |annotation: &str, value: String| {
                request.annotations.insert(annotation.to_owned(), value);
            };
            annotate(PLACE_ANNOTATION, count.to_string());
            if default {
                annotate(DEFAULT_GATEWAY_ANNOTATION, "true".to_owned());
                request
                    .labels
                    .insert(ZONE_LABEL.to_owned(), zone.to_owned());
            }
            wanted.push(WantedAddress {
                device: index,
                request,
                metric,
                default,
            });
            count += 1;
        };
        for v6 in [false, true] {
            let flag = if v6 {
                device.default_ipv6
            } else {
                device.default_ipv4
            };
            if (flag == Some(true) || index == 0 && nobody(v6))
                && let Some((pool, metric)) = pool_of(cluster, zone, v6)
            {
                claim("InClusterIPPool", POOL_GROUP, pool, Some(metric), true);
            }
        }
        for reference in &device.ip_pool_ref {
            let group = reference.api_group.as_deref().unwrap_or(POOL_GROUP);
            claim(&reference.kind, group, reference.name.clone(), None, false);
        }
    }
    Ok(wanted)
}

/// Claims them all at once. The first that is waited for, if any, is said.
pub(super) async fn claim(
    cx: &MachineCx,
    wanted: &[WantedAddress],
) -> Result<Result<Vec<GivenAddress>, Wait>, ProviderError> {
    let mut given = Vec::new();
    let mut waits = None;
    for wanted in wanted {
        match cx.context.addresses().claim(wanted.request.clone()).await? {
            Progress::Ready(facts) => given.push(GivenAddress {
                device: wanted.device,
                default: wanted.default,
                address: DeviceAddress {
                    facts,
                    metric: wanted.metric,
                },
            }),
            Progress::Waiting(wait) => {
                waits.get_or_insert(Wait {
                    reason: reasons::WAITING_FOR_ADDRESSES.into(),
                    ..wait
                });
            }
        }
    }
    Ok(match waits {
        None => Ok(given),
        Some(wait) => Err(wait),
    })
}

/// The tags by which CAPMOX marks the IPv4 addresses of default pools.
pub(super) fn tags(given: &[GivenAddress]) -> Vec<String> {
    let addresses = given
        .iter()
        .filter(|given| given.default)
        .map(|given| given.address.facts.address);
    addresses
        .filter(std::net::IpAddr::is_ipv4)
        .map(|address| format!("ip_net0_{address}"))
        .collect()
}

/// `status.ipAddresses`: one entry for each device, and `default` for those of default pools.
pub(super) fn status(machine: &ProxmoxMachine, given: &[GivenAddress]) -> Value {
    let entry = |net: &str, facts: Vec<&AddressFacts>| {
        let of = |v6: bool| {
            facts
                .iter()
                .map(|facts| facts.address)
                .filter(|address| address.is_ipv6() == v6)
                .collect::<Vec<_>>()
        };
        let mut entry = json!({ "net": net });
        for (key, addresses) in [("ipv4", of(false)), ("ipv6", of(true))] {
            if !addresses.is_empty() {
                entry[key] = json!(addresses);
            }
        }
        entry
    };
    let facts = |keep: &dyn Fn(&GivenAddress) -> bool| {
        given
            .iter()
            .filter(|given| keep(given))
            .map(|given| &given.address.facts)
            .collect::<Vec<_>>()
    };
    let mut entries = vec![entry("default", facts(&|given| given.default))];
    for (index, device) in machine.spec.network.network_devices.iter().enumerate() {
        let of_device = facts(&|given| given.device == index);
        if !of_device.is_empty() {
            entries.push(entry(&device_name(device, index), of_device));
        }
    }
    entries.retain(|entry| entry.get("ipv4").is_some() || entry.get("ipv6").is_some());
    Value::Array(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        IpConfig, NetworkDevice, NetworkSpec, ProxmoxClusterSpec, ProxmoxMachineSpec,
    };
    use capi_core::api::TypedLocalObjectReference;

    fn cluster(v6: bool) -> ProxmoxCluster {
        let config = |address: &str| IpConfig {
            addresses: vec![address.into()],
            prefix: 24,
            gateway: String::new(),
            metric: None,
        };
        let spec = ProxmoxClusterSpec {
            ipv4_config: Some(config("10.0.0.10")),
            ipv6_config: v6.then(|| config("fd00::10")),
            ..ProxmoxClusterSpec::default()
        };
        ProxmoxCluster::new("c", spec)
    }

    fn machine(devices: Vec<NetworkDevice>) -> ProxmoxMachine {
        let network = NetworkSpec {
            network_devices: devices,
            ..NetworkSpec::default()
        };
        ProxmoxMachine::new(
            "m",
            ProxmoxMachineSpec {
                network,
                ..ProxmoxMachineSpec::default()
            },
        )
    }

    fn names(cluster: &ProxmoxCluster, devices: Vec<NetworkDevice>) -> Vec<(String, String)> {
        let wanted = wanted(cluster, &machine(devices)).unwrap();
        wanted
            .into_iter()
            .map(|wanted| (wanted.request.name, wanted.request.pool.name))
            .collect()
    }

    fn pair(claim: &str, pool: &str) -> (String, String) {
        (claim.into(), pool.into())
    }

    #[test]
    fn claims_are_named_by_device_and_place_in_capmox_order() {
        let reference = |name: &str| TypedLocalObjectReference {
            api_group: Some(POOL_GROUP.into()),
            kind: "GlobalInClusterIPPool".into(),
            name: name.into(),
        };
        let first = NetworkDevice {
            default_ipv4: Some(true),
            default_ipv6: Some(true),
            ..NetworkDevice::default()
        };
        let second = NetworkDevice {
            name: Some("net1".into()),
            ip_pool_ref: vec![reference("p"), reference("p")],
            ..NetworkDevice::default()
        };
        assert_eq!(
            names(&cluster(true), vec![first, second]),
            [
                pair("m-net0-00-inet", "c-v4-icip"),
                pair("m-net0-01-inet", "c-v6-icip"),
                pair("m-net1-00-inet", "p"),
                pair("m-net1-01-inet", "p"),
            ]
        );
    }

    #[test]
    fn a_family_without_a_pool_is_left_out_and_the_first_device_is_the_default() {
        let device = NetworkDevice {
            default_ipv6: Some(true),
            ..NetworkDevice::default()
        };
        assert_eq!(
            names(&cluster(false), vec![device, NetworkDevice::default()]),
            [pair("m-net0-00-inet", "c-v4-icip")]
        );
        let mut machine = machine(vec![NetworkDevice::default()]);
        machine.spec.network.zone = Some("z9".into());
        assert!(
            wanted(&cluster(false), &machine)
                .unwrap_err()
                .full_message()
                .contains("no zone \"z9\"")
        );
    }
}
