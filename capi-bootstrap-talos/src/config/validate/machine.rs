//! `machine`, and what it demands of `cluster`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, at, cluster, entries, is_set, is_true, items, text};
use crate::config::yaml::{Mapping, Node};
use crate::config::{MachineConfig, MachineType};

const ROLES: &[&str] = &[
    "os:admin",
    "os:operator",
    "os:reader",
    "os:etcd:backup",
    "os:impersonator",
    "os:meta:writer",
    "os:image:verifier",
];
/// Settings of the kubelet that Talos keeps for itself.
const KUBELET_MANAGED: &[&str] = &[
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "podCIDR",
    "port",
    "protectKernelDefaults",
    "rotateCertificates",
    "staticPodPath",
    "streamingConnectionIdleTimeout",
    "tlsMinVersion",
];
const SORT_ALGORITHMS: &[&str] = &["v1", "v2"];

pub(super) fn check(config: &MachineConfig, document: &Mapping, findings: &mut Findings) {
    let Some(machine) = document.get("machine").and_then(Node::as_mapping) else {
        findings.problem("machine instructions are required (machine)");
        return;
    };
    let written = text(machine, &["type"]);
    let machine_type = written.parse::<MachineType>();
    if machine_type
        .as_ref()
        .is_ok_and(|machine_type| machine_type.as_str() != written)
    {
        findings.warning(format!(
            "use \"worker\" instead of {written:?} for machine type"
        ));
    }
    let control_plane = machine_type
        .as_ref()
        .is_ok_and(|machine_type| machine_type.is_control_plane());
    cluster::check(config, document, control_plane, findings);
    match &machine_type {
        Err(error) => findings.problem(format!("machine.type: {error}")),
        Ok(_) => authority(document, machine, control_plane, findings),
    }
    let features = |path: &str| is_true(machine, &["features", "hostDNS", path]);
    findings.problem_if(
        features("forwardKubeDNSToHost") && !features("enabled"),
        "machine.features.hostDNS: forwardKubeDNSToHost requires enabled to be true",
    );
    if let Some(persist) = document.get("persist").and_then(Node::as_bool) {
        findings.problem_if(!persist, "persist should be enabled");
    }
    interfaces(machine, control_plane, findings);
    disks(machine, findings);
    kubelet(machine, findings);
    node(machine, findings);
    kube_span(document, machine, findings);
    logging(machine, findings);
    install(machine, findings);
    access(machine, control_plane, findings);
}

fn authority(document: &Mapping, machine: &Mapping, control_plane: bool, findings: &mut Findings) {
    let certificate = is_set(machine, &["ca", "crt"]);
    let key = is_set(machine, &["ca", "key"]);
    let accepted = !items(machine, &["acceptedCAs"]).is_empty();
    if at(machine, &["ca"]).is_none() && !accepted {
        findings.problem(
            "issuing CA or some accepted CAs are required (machine.ca, machine.acceptedCAs)",
        );
    }
    if control_plane {
        if at(machine, &["ca"]).is_none() {
            findings.problem("issuing CA is required (machine.ca)");
        } else if !key {
            findings.problem("issuing CA key is required for controlplane nodes (machine.ca.key)");
        }
        return;
    }
    findings.problem_if(
        key,
        "issuing Talos API CA key is not allowed on workers (machine.ca.key)",
    );
    findings.problem_if(
        at(machine, &["ca"]).is_some() && !certificate && !accepted,
        "trusted CA certificates are required on workers (machine.ca.crt, machine.acceptedCAs)",
    );
    findings.problem_if(
        is_set(document, &["cluster", "ca", "key"]),
        "issuing Kubernetes API CA key is not allowed on workers (cluster.ca.key)",
    );
}

fn interfaces(machine: &Mapping, control_plane: bool, findings: &mut Findings) {
    let mut secondary: BTreeMap<&str, &str> = BTreeMap::new();
    let devices = || {
        items(machine, &["network", "interfaces"])
            .iter()
            .filter_map(Node::as_mapping)
    };
    for (index, device) in devices().enumerate() {
        let place = format!("machine.network.interfaces[{index}]");
        let name = text(device, &["interface"]);
        let (bond, bridge) = (at(device, &["bond"]), at(device, &["bridge"]));
        findings.problem_if(
            bond.is_some() && bridge.is_some(),
            format!("{place}: bond and bridge exclude each other"),
        );
        findings.problem_if(
            !items(device, &["bond", "interfaces"]).is_empty()
                && !items(device, &["bond", "deviceSelectors"]).is_empty(),
            format!("{place}.bond: interfaces and deviceSelectors exclude each other"),
        );
        let members = items(device, &["bond", "interfaces"])
            .iter()
            .chain(items(device, &["bridge", "interfaces"]));
        for member in members.filter_map(Node::as_str) {
            if let Some(other) = secondary
                .insert(member, name)
                .filter(|other| *other != name)
            {
                findings.problem(format!(
                    "{place}: {member:?} is part of two links, {other:?} and {name:?}"
                ));
            }
        }
    }
    for (index, device) in devices().enumerate() {
        let place = format!("machine.network.interfaces[{index}]");
        if is_true(device, &["ignore"]) {
            continue;
        }
        interface(&place, device, &secondary, findings);
        let vlans = items(device, &["vlans"])
            .iter()
            .filter_map(Node::as_mapping);
        let mut seen = BTreeSet::new();
        for vlan in vlans.clone() {
            let id = at(vlan, &["vlanId"])
                .and_then(Node::as_integer)
                .unwrap_or(0);
            findings.problem_if(
                !seen.insert(id),
                format!("{place}.vlans: the id {id} is there twice"),
            );
            addresses(&format!("{place}.vlans[{id}]"), vlan, findings);
        }
        let shared = at(device, &["vip"]).is_some()
            || vlans.clone().any(|vlan| at(vlan, &["vip"]).is_some());
        findings.problem_if(
            shared && !control_plane,
            format!("{place}: a virtual (shared) IP is not allowed on workers"),
        );
    }
}

fn interface(
    place: &str,
    device: &Mapping,
    secondary: &BTreeMap<&str, &str>,
    findings: &mut Findings,
) {
    let name = text(device, &["interface"]);
    let selector = at(device, &["deviceSelector"]);
    findings.problem_if(
        name.is_empty() && selector.is_none(),
        format!("{place}: interface or deviceSelector is required"),
    );
    findings.problem_if(
        !name.is_empty() && selector.is_some(),
        format!("{place}: interface and deviceSelector exclude each other"),
    );
    findings.problem_if(
        selector
            .and_then(Node::as_mapping)
            .is_some_and(Mapping::is_empty),
        format!("{place}.deviceSelector is empty"),
    );
    let addressed = is_true(device, &["dhcp"])
        || is_set(device, &["cidr"])
        || !items(device, &["addresses"]).is_empty();
    findings.problem_if(
        addressed && secondary.contains_key(name),
        format!(
            "{place}: {name:?} is part of a bond or bridge and can have no addresses of its own"
        ),
    );
    findings.problem_if(
        is_set(device, &["cidr"]) && !items(device, &["addresses"]).is_empty(),
        format!("{place}: cidr and addresses exclude each other"),
    );
    let bond = |key: &str| text(device, &["bond", key]);
    findings.problem_if(
        !bond("lacpRate").is_empty() && bond("mode") != "802.3ad",
        format!("{place}.bond.lacpRate is only available in 802.3ad mode"),
    );
    let delay = |key: &str| {
        at(device, &["bond", key])
            .and_then(Node::as_integer)
            .unwrap_or(0)
    };
    for key in ["updelay", "downdelay"] {
        let (delay, interval) = (delay(key), delay("miimon"));
        findings.problem_if(
            delay != 0 && (interval == 0 || delay % interval != 0),
            format!("{place}.bond.{key} must be a multiple of miimon"),
        );
    }
    addresses(place, device, findings);
}

fn addresses(place: &str, device: &Mapping, findings: &mut Findings) {
    for address in items(device, &["addresses"])
        .iter()
        .filter_map(Node::as_str)
    {
        findings.problem_if(
            !is_address_or_prefix(address),
            format!("{place}.addresses: {address:?} is no address"),
        );
    }
    for route in items(device, &["routes"])
        .iter()
        .filter_map(Node::as_mapping)
    {
        let (network, gateway) = (text(route, &["network"]), text(route, &["gateway"]));
        findings.problem_if(
            !network.is_empty() && !is_prefix(network),
            format!("{place}.routes: {network:?} is no network"),
        );
        findings.problem_if(
            !gateway.is_empty() && gateway.parse::<std::net::IpAddr>().is_err(),
            format!("{place}.routes: {gateway:?} is no address"),
        );
        findings.problem_if(
            network.is_empty() && gateway.is_empty(),
            format!("{place}.routes: network or gateway is required"),
        );
    }
}

pub(super) fn is_prefix(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(address) if address.is_ipv4() => 32,
            Ok(_) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

pub(super) fn is_address_or_prefix(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || is_prefix(text)
}

fn disks(machine: &Mapping, findings: &mut Findings) {
    for (index, disk) in items(machine, &["disks"]).iter().enumerate() {
        let Some(disk) = disk.as_mapping() else {
            findings.problem(format!("machine.disks[{index}] is null"));
            continue;
        };
        let partitions = items(disk, &["partitions"]);
        for (number, partition) in partitions.iter().enumerate() {
            let whole = partition
                .at(&["size"])
                .is_none_or(|size| size.as_integer() == Some(0));
            findings.problem_if(
                whole && number + 1 != partitions.len(),
                format!("machine.disks[{index}]: only the last partition can have no size"),
            );
        }
    }
}

fn kubelet(machine: &Mapping, findings: &mut Findings) {
    for (key, _) in entries(machine, &["kubelet", "extraConfig"]) {
        findings.problem_if(
            KUBELET_MANAGED.contains(&key),
            format!("machine.kubelet.extraConfig.{key} is managed by Talos"),
        );
    }
    for subnet in items(machine, &["kubelet", "nodeIP", "validSubnets"])
        .iter()
        .filter_map(Node::as_str)
    {
        findings.problem_if(
            !is_address_or_prefix(subnet.trim_start_matches('!')),
            format!("machine.kubelet.nodeIP.validSubnets: {subnet:?} is no network"),
        );
    }
}

fn node(machine: &Mapping, findings: &mut Findings) {
    for (key, value) in entries(machine, &["nodeLabels"]) {
        let value = value.as_str().unwrap_or_default();
        findings.problem_if(
            !is_qualified_name(key),
            format!("machine.nodeLabels: {key:?} is no label"),
        );
        findings.problem_if(
            !is_label_value(value),
            format!("machine.nodeLabels: {key:?} has no valid value"),
        );
    }
    for (key, _) in entries(machine, &["nodeAnnotations"]) {
        findings.problem_if(
            !is_qualified_name(key),
            format!("machine.nodeAnnotations: {key:?} is no annotation"),
        );
    }
    for (key, value) in entries(machine, &["nodeTaints"]) {
        let value = value.as_str().unwrap_or_default();
        let (value, effect) = value.rsplit_once(':').unwrap_or(("", value));
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
        findings.problem_if(
            !is_qualified_name(key) || !is_label_value(value) || !known,
            format!("machine.nodeTaints: {key:?} is no taint (value:Effect)"),
        );
    }
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || value.len() <= 63 && is_label_text(value)
}

fn is_label_text(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_domain = |domain: &str| {
        domain.len() <= 253
            && domain.split('.').all(|part| {
                is_label_text(part)
                    && part
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    };
    name.len() <= 63 && is_label_text(name) && prefix.is_none_or(is_domain)
}

fn kube_span(document: &Mapping, machine: &Mapping, findings: &mut Findings) {
    if !is_true(machine, &["network", "kubespan", "enabled"]) {
        return;
    }
    let mtu = at(machine, &["network", "kubespan", "mtu"]).and_then(Node::as_integer);
    findings.problem_if(
        mtu.is_some_and(|mtu| mtu < 1280),
        "machine.network.kubespan.mtu must be at least 1280",
    );
    findings.problem_if(
        at(document, &["cluster", "discovery", "enabled"]).and_then(Node::as_bool) == Some(false),
        "cluster.discovery must be enabled with machine.network.kubespan",
    );
    for key in ["id", "secret"] {
        findings.problem_if(
            !is_set(document, &["cluster", key]),
            format!("cluster.{key} must be set with machine.network.kubespan"),
        );
    }
}

fn logging(machine: &Mapping, findings: &mut Findings) {
    for destination in items(machine, &["logging", "destinations"])
        .iter()
        .filter_map(Node::as_mapping)
    {
        let endpoint = text(destination, &["endpoint"]);
        let known = ["tcp://", "udp://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme));
        findings.problem_if(
            !known || !is_with_port(endpoint),
            "machine.logging: an endpoint must be like tcp://host:port",
        );
        findings.problem_if(
            text(destination, &["format"]) != "json_lines",
            "machine.logging: the format must be json_lines",
        );
    }
}

fn is_with_port(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    })
}

fn install(machine: &Mapping, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for extension in items(machine, &["install", "extensions"]) {
        let image = extension
            .at(&["image"])
            .and_then(Node::as_str)
            .unwrap_or_default();
        findings.problem_if(
            !seen.insert(image),
            format!("machine.install.extensions: {image:?} is there twice"),
        );
    }
    if !seen.is_empty() {
        findings.warning(
            "machine.install.extensions is deprecated: use a boot asset with the extension",
        );
    }
    for partition in ["state", "ephemeral"] {
        if at(machine, &["systemDiskEncryption", partition]).is_none() {
            continue;
        }
        let keys = items(machine, &["systemDiskEncryption", partition, "keys"]);
        findings.problem_if(
            keys.is_empty(),
            format!("machine.systemDiskEncryption.{partition} has no keys"),
        );
        let slots: BTreeSet<_> = keys
            .iter()
            .map(|key| key.at(&["slot"]).and_then(Node::as_integer))
            .collect();
        findings.problem_if(
            slots.len() != keys.len(),
            format!("machine.systemDiskEncryption.{partition}: a slot is used twice"),
        );
    }
}

fn access(machine: &Mapping, control_plane: bool, findings: &mut Findings) {
    let path = ["features", "kubernetesTalosAPIAccess"];
    if is_true(machine, &[path[0], path[1], "enabled"]) {
        findings.problem_if(
            !control_plane,
            "machine.features.kubernetesTalosAPIAccess can only be enabled on control plane machines",
        );
        for role in items(machine, &[path[0], path[1], "allowedRoles"])
            .iter()
            .filter_map(Node::as_str)
        {
            findings.problem_if(
                !ROLES.contains(&role),
                format!(
                    "machine.features.kubernetesTalosAPIAccess.allowedRoles: {role:?} is no role"
                ),
            );
        }
    }
    let algorithm = text(machine, &["features", "nodeAddressSortAlgorithm"]);
    findings.problem_if(
        !algorithm.is_empty() && !SORT_ALGORITHMS.contains(&algorithm),
        format!("machine.features.nodeAddressSortAlgorithm: use one of {SORT_ALGORITHMS:?}"),
    );
}
