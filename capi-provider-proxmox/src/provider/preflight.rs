//! What a datacenter lacks for a cluster, said before the first clone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::reserve::request;
use crate::api::{IpConfig, ProxmoxCluster, ProxmoxMachine, ProxmoxMachineSpec};
use crate::client::{Client, Error, Permissions, PropertyString, Resource, ResourceKind};
use crate::scheduler::{NodeFacts, TemplateFacts, place};

/// Machines of one kind that a cluster is going to have.
#[derive(Debug, Clone)]
pub struct MachineGroup {
    /// What to call them, such as `ProxmoxMachineTemplate default/workers`.
    pub name: String,
    /// How many.
    pub count: u32,
    /// What each is.
    pub spec: ProxmoxMachineSpec,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Finding {
    /// The API token lacks a privilege.
    Privilege {
        /// Where it is needed.
        path: String,
        /// The privilege.
        privilege: String,
    },
    /// A group of machines cannot be placed.
    Placement {
        /// The group.
        group: String,
        /// Why not, with how many could be.
        reason: String,
    },
    /// A node has no storage for images.
    ImageStorage {
        /// The node.
        node: String,
    },
    /// A storage that is asked for is not there.
    Storage {
        /// The group.
        group: String,
        /// The storage.
        storage: String,
        /// The node.
        node: String,
    },
    /// A bridge is not there.
    Bridge {
        /// The group.
        group: String,
        /// The bridge.
        bridge: String,
        /// The node.
        node: String,
    },
    /// There are fewer numbers than machines.
    Numbers {
        /// The group.
        group: String,
        /// How many are free.
        free: u64,
        /// How many are needed.
        needed: u64,
    },
    /// There are fewer addresses than machines.
    Addresses {
        /// The field of the ProxmoxCluster.
        field: String,
        /// How many it has.
        present: u128,
        /// How many are needed.
        needed: u128,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Privilege { path, privilege } => write!(
                formatter,
                "the API token lacks the privilege {privilege} on {path}"
            ),
            Self::Placement { group, reason } => write!(formatter, "{group}: {reason}"),
            Self::ImageStorage { node } => {
                write!(
                    formatter,
                    "node {node} has no active storage for ISO images; add the content type iso to one"
                )
            }
            Self::Storage {
                group,
                storage,
                node,
            } => {
                write!(
                    formatter,
                    "{group}, spec.storage: node {node} has no active storage {storage:?} for disks"
                )
            }
            Self::Bridge {
                group,
                bridge,
                node,
            } => {
                write!(
                    formatter,
                    "{group}, spec.network.networkDevices: node {node} has no bridge {bridge:?}"
                )
            }
            Self::Numbers {
                group,
                free,
                needed,
            } => {
                write!(
                    formatter,
                    "{group}, spec.vmIDRange: {needed} numbers are needed, and {free} are free"
                )
            }
            Self::Addresses {
                field,
                present,
                needed,
            } => {
                write!(
                    formatter,
                    "{field}: {needed} addresses are needed, and it has {present}"
                )
            }
        }
    }
}

/// The commands, to be run on a node of Proxmox VE, that give an API token the privileges which are missing: a role
/// for each place, since a role would otherwise give more than is needed. Empty when none is missing.
///
/// A token with privilege separation has what both it and its user have: both get the role.
#[must_use]
pub fn grants(findings: &[Finding], token: &str) -> Vec<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for finding in findings {
        if let Finding::Privilege { path, privilege } = finding {
            missing.entry(path).or_default().push(privilege);
        }
    }
    let user = token.split('!').next().unwrap_or_default();
    let mut commands = Vec::new();
    for (path, privileges) in missing {
        let place = path.trim_matches('/').replace('/', "-");
        let role = match place.as_str() {
            "" => "capi".to_owned(),
            place => format!("capi-{place}"),
        };
        commands.push(format!(
            "pveum role add {role} --privs '{}'",
            privileges.join(" ")
        ));
        commands.push(format!(
            "pveum acl modify {path} --roles {role} --users '{user}' --tokens '{token}'"
        ));
    }
    commands
}

/// Looks, and changes nothing: everything that is missing for `groups` in the cluster, in one list.
///
/// # Errors
/// When Proxmox VE does not answer, or does not accept the token.
pub async fn preflight(
    client: &Client,
    cluster: &ProxmoxCluster,
    groups: &[MachineGroup],
) -> Result<Vec<Finding>, Error> {
    let version = client.version().await?;
    let permissions = client.permissions().await?;
    let rows = client.resources(ResourceKind::All).await?;
    let mut findings = BTreeSet::new();
    let mut nodes: Vec<NodeFacts> = rows
        .iter()
        .filter(|row| row.kind == "node")
        .map(|row| NodeFacts {
            name: row.node.clone(),
            online: row.status == "online",
            memory: row.maxmem.unwrap_or(0),
            promised: rows
                .iter()
                .filter(|guest| guest.vmid.is_some() && guest.node == row.node && !guest.template)
                .filter_map(|guest| guest.maxmem)
                .sum(),
            same_role: 0,
        })
        .collect();
    let templates = templates(client, &rows).await?;
    let mut used: BTreeSet<String> = BTreeSet::new();
    for group in groups {
        let machine = ProxmoxMachine::new("preflight", group.spec.clone());
        match request(Some(cluster), &machine, None) {
            Err(error) => {
                findings.insert(Finding::Placement {
                    group: group.name.clone(),
                    reason: error.full_message(),
                });
            }
            Ok(request) => {
                for done in 0..group.count {
                    match place(&request, &nodes, &templates) {
                        Ok(placement) => {
                            if let Some(node) =
                                nodes.iter_mut().find(|node| node.name == placement.node)
                            {
                                node.promised += placement.memory;
                                node.same_role += 1;
                            }
                            let path = format!("/vms/{}", placement.template);
                            need(
                                &permissions,
                                &mut findings,
                                &path,
                                &["VM.Clone", "VM.Audit"],
                            );
                            check_node(&rows, &mut findings, group, &placement.node);
                            used.insert(placement.node);
                        }
                        Err(reason) => {
                            let reason = format!(
                                "{done} of {} machines can be placed: {reason}",
                                group.count
                            );
                            findings.insert(Finding::Placement {
                                group: group.name.clone(),
                                reason,
                            });
                            break;
                        }
                    }
                }
            }
        }
        for node in &mut nodes {
            node.same_role = 0;
        }
        check_numbers(&rows, &mut findings, group);
        let place = group
            .spec
            .pool
            .as_ref()
            .map_or_else(|| "/vms".to_owned(), |pool| format!("/pool/{pool}"));
        need(&permissions, &mut findings, &place, MACHINE_PRIVILEGES);
        let checks = group.spec.checks.unwrap_or_default();
        if checks.skip_qemu_guest_agent != Some(true) {
            let since_nine = version
                .release
                .split('.')
                .next()
                .and_then(|major| major.parse::<u32>().ok())
                .is_none_or(|major| major >= 9);
            let agent: &[&str] = match (since_nine, checks.skip_cloud_init_status) {
                (false, _) => &["VM.Monitor"],
                (true, Some(true)) => &["VM.GuestAgent.Audit"],
                (true, _) => &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"],
            };
            need(&permissions, &mut findings, &place, agent);
        }
        for bridge in group
            .spec
            .network
            .network_devices
            .iter()
            .filter_map(|device| device.bridge.as_ref())
        {
            need(
                &permissions,
                &mut findings,
                &format!("/sdn/zones/localnetwork/{bridge}"),
                &["SDN.Use"],
            );
        }
        if let Some(storage) = &group.spec.storage {
            need(
                &permissions,
                &mut findings,
                &format!("/storage/{storage}"),
                &["Datastore.AllocateSpace"],
            );
        }
    }
    for node in &used {
        match image_storage(&rows, node) {
            Some(storage) => {
                let path = format!("/storage/{storage}");
                need(
                    &permissions,
                    &mut findings,
                    &path,
                    &[
                        "Datastore.Allocate",
                        "Datastore.AllocateTemplate",
                        "Datastore.Audit",
                    ],
                );
            }
            None => {
                findings.insert(Finding::ImageStorage { node: node.clone() });
            }
        }
        let bridges: Vec<String> = client
            .bridges(node)
            .await?
            .into_iter()
            .map(|interface| interface.iface)
            .collect();
        for group in groups {
            for bridge in group
                .spec
                .network
                .network_devices
                .iter()
                .filter_map(|device| device.bridge.as_ref())
            {
                if !bridges.contains(bridge) {
                    findings.insert(Finding::Bridge {
                        group: group.name.clone(),
                        bridge: bridge.clone(),
                        node: node.clone(),
                    });
                }
            }
        }
    }
    let machines: u128 = groups.iter().map(|group| u128::from(group.count)).sum();
    for (field, config) in [
        ("spec.ipv4Config", &cluster.spec.ipv4_config),
        ("spec.ipv6Config", &cluster.spec.ipv6_config),
    ] {
        if let Some(config) = config {
            let present = count(config);
            if present < machines {
                findings.insert(Finding::Addresses {
                    field: format!("{field}.addresses"),
                    present,
                    needed: machines,
                });
            }
        }
    }
    Ok(findings.into_iter().collect())
}

/// What is needed where the new machines are.
const MACHINE_PRIVILEGES: &[&str] = &[
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
];

fn need(
    permissions: &Permissions,
    findings: &mut BTreeSet<Finding>,
    path: &str,
    privileges: &[&str],
) {
    for privilege in privileges
        .iter()
        .filter(|privilege| !permissions.allow(path, privilege))
    {
        findings.insert(Finding::Privilege {
            path: path.to_owned(),
            privilege: (*privilege).to_owned(),
        });
    }
}

async fn templates(client: &Client, rows: &[Resource]) -> Result<Vec<TemplateFacts>, Error> {
    let mut templates = Vec::new();
    for row in rows.iter().filter(|row| row.template && row.kind == "qemu") {
        let Some(vmid) = row.vmid else { continue };
        let config = match client.vm_config(&row.node, vmid).await {
            Ok(config) => config,
            // Without a look inside it counts as one that stays where it is.
            Err(Error::Api { .. }) => crate::client::GuestConfig::default(),
            Err(error) => return Err(error),
        };
        let storages: Vec<String> = config
            .iter()
            .filter(|(key, value)| {
                key.starts_with("scsi") && value.contains(':')
                    || key.starts_with("virtio")
                    || key.starts_with("sata")
            })
            .filter_map(|(_, value)| {
                value
                    .parse::<PropertyString>()
                    .ok()?
                    .head()?
                    .split(':')
                    .next()
                    .map(str::to_owned)
            })
            .collect();
        let shared = |id: &String| {
            rows.iter()
                .any(|row| row.kind == "storage" && row.storage == *id && row.shared)
        };
        templates.push(TemplateFacts {
            vmid,
            node: row.node.clone(),
            tags: row.tags().collect(),
            memory: row.maxmem.unwrap_or(0),
            shared: Some(!storages.is_empty() && storages.iter().all(shared)),
        });
    }
    Ok(templates)
}

fn check_node(
    rows: &[Resource],
    findings: &mut BTreeSet<Finding>,
    group: &MachineGroup,
    node: &str,
) {
    let Some(storage) = &group.spec.storage else {
        return;
    };
    let present = rows.iter().any(|row| {
        row.kind == "storage"
            && row.node == node
            && row.storage == *storage
            && row.status == "available"
            && row.content.split(',').any(|content| content == "images")
    });
    if !present {
        findings.insert(Finding::Storage {
            group: group.name.clone(),
            storage: storage.clone(),
            node: node.to_owned(),
        });
    }
}

fn check_numbers(rows: &[Resource], findings: &mut BTreeSet<Finding>, group: &MachineGroup) {
    let Some(range) = group.spec.vm_id_range else {
        return;
    };
    let (Ok(start), Ok(end)) = (u64::try_from(range.start), u64::try_from(range.end)) else {
        return;
    };
    let taken = rows
        .iter()
        .filter_map(|row| row.vmid)
        .filter(|vmid| (start..=end).contains(vmid))
        .count() as u64;
    let free = (end + 1).saturating_sub(start).saturating_sub(taken);
    if free < u64::from(group.count) {
        findings.insert(Finding::Numbers {
            group: group.name.clone(),
            free,
            needed: u64::from(group.count),
        });
    }
}

fn image_storage<'a>(rows: &'a [Resource], node: &str) -> Option<&'a str> {
    let mut storages: Vec<&Resource> = rows
        .iter()
        .filter(|row| {
            row.kind == "storage"
                && row.node == node
                && row.status == "available"
                && row.content.split(',').any(|content| content == "iso")
        })
        .collect();
    storages.sort_by_key(|row| (!row.shared, &row.storage));
    storages.first().map(|row| row.storage.as_str())
}

/// How many addresses a configuration has, at most: overlaps count twice, and what is no address counts as none.
fn count(config: &IpConfig) -> u128 {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let of = |text: &String| -> u128 {
        if let Some((first, last)) = text.split_once('-') {
            match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
                (Ok(first), Ok(last)) => (number(last))
                    .saturating_sub(number(first))
                    .saturating_add(1),
                _ => 0,
            }
        } else if let Ok(network) = text.parse::<IpNet>() {
            let bits = network.max_prefix_len() - network.prefix_len();
            1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
        } else {
            u128::from(text.parse::<IpAddr>().is_ok())
        }
    };
    config
        .addresses
        .iter()
        .map(of)
        .fold(0u128, u128::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_in_every_notation() {
        let config = |addresses: &[&str]| IpConfig {
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            ..IpConfig::default()
        };
        assert_eq!(
            count(&config(&[
                "10.0.0.1",
                "10.0.0.10-10.0.0.19",
                "10.1.0.0/24",
                "x"
            ])),
            267
        );
        assert_eq!(count(&config(&["fd00::/64"])), 1 << 64);
    }
}
