//! The providerID of Nodes, in clusters where no cloud controller sets it.

use serde_json::json;

use super::{ControlPlaneHost, collect::Collected};
use crate::{
    api::{Machine, MachineAddressType},
    provider::ControlPlane,
    runtime::{Error, REQUEST_TIMEOUT, Runtime},
};

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Node {
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
    node_info: NodeInfo,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct NodeAddress {
    r#type: String,
    address: String,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    #[serde(rename = "systemUUID")]
    system_uuid: String,
}

impl<P: ControlPlane> ControlPlaneHost<P> {
    /// Gives each Node without a providerID that of the one Machine that it is: the UUID in the
    /// Machine's providerID is the Node's system UUID, or an internal address is the same. A Node
    /// that could be two Machines, or none, is left alone.
    pub(super) async fn set_node_provider_ids(
        &self,
        runtime: &Runtime,
        collected: &Collected<P>,
    ) -> Result<(), Error> {
        if !self.provider.sdk_sets_node_provider_id() || !collected.facts.health.initialized {
            return Ok(());
        }
        let metadata = &collected.facts.metadata;
        let cluster = crate::runtime::ObjectKey::new(
            metadata.namespace.as_str(),
            collected.facts.cluster.owner.name.as_str(),
        );
        // A connection that comes up is an event.
        let Some(workload) = runtime.workloads().state(&cluster).workload else {
            return Ok(());
        };
        let machines = runtime
            .cache()
            .store(&Machine::KIND.into())
            .of_cluster(&cluster);
        let machines: Vec<_> = machines
            .iter()
            .filter_map(|object| object.decode::<Machine>().ok())
            .collect();
        for object in workload.nodes().list() {
            let Ok(node) = serde_json::from_slice::<Node>(object.bytes()) else {
                continue;
            };
            if node
                .spec
                .provider_id
                .as_ref()
                .is_some_and(|id| !id.is_empty())
            {
                continue;
            }
            let mut matching = machines.iter().filter(|machine| is(&node, machine));
            let (Some(machine), None) = (matching.next(), matching.next()) else {
                continue;
            };
            let Some(provider_id) = &machine.spec.provider_id else {
                continue;
            };
            let patch = json!({
                "metadata": { "resourceVersion": object.resource_version() },
                "spec": { "providerID": provider_id },
            });
            let request = http::Request::patch(format!("/api/v1/nodes/{}", object.name()))
                .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
                .body(patch.to_string().into_bytes())
                .map_err(|error| Error::Missing(error.to_string()))?;
            let action = format!("PATCH Node {}", object.name());
            tokio::select! {
                biased;
                answer = workload.client().request_text(request) => {
                    answer.map_err(|error| Error::from_kube(action, error))?;
                }
                () = runtime.clock().sleep(REQUEST_TIMEOUT) => {
                    return Err(Error::NotConnected {
                        cluster,
                        message: format!("{action}: no answer in time"),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether a Node is this Machine. Where both sides know a UUID, it decides: an address may have
/// belonged to a machine that is gone, and whose Node is still listed.
fn is(node: &Node, machine: &Machine) -> bool {
    let Some(provider_id) = &machine.spec.provider_id else {
        return false;
    };
    let uuid = node.status.node_info.system_uuid.to_ascii_lowercase();
    let id = provider_id.to_ascii_lowercase();
    let id = id.rsplit('/').next().unwrap_or_default();
    if is_uuid(&uuid) && is_uuid(id) {
        return id == uuid || swapped(id) == uuid;
    }
    node.status
        .addresses
        .iter()
        .filter(|found| found.r#type == "InternalIP")
        .any(|found| {
            machine.status.addresses.iter().any(|address| {
                matches!(
                    address.type_,
                    MachineAddressType::InternalIp | MachineAddressType::ExternalIp
                ) && address.address == found.address
            })
        })
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// The UUID as firmware before SMBIOS 2.6 has it: its first three fields in the other byte order.
fn swapped(uuid: &str) -> String {
    let fields = uuid.split('-').enumerate().map(|(index, field)| {
        if index > 2 {
            return field.to_owned();
        }
        let digits: Vec<char> = field.chars().collect();
        digits.rchunks(2).flatten().collect()
    });
    fields.collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{MachineAddress, MachineSpec};

    const UUID: &str = "8219d773-28b3-4586-b36b-df48b32f23e7";

    fn machine(provider_id: &str) -> Machine {
        let spec = MachineSpec {
            provider_id: Some(provider_id.to_owned()),
            ..MachineSpec::default()
        };
        let mut machine = Machine::new("m", spec);
        machine.status.addresses.push(MachineAddress {
            type_: MachineAddressType::InternalIp,
            address: "10.10.10.11".into(),
        });
        machine
    }

    fn node(uuid: &str, address: &str) -> Node {
        serde_json::from_value(json!({
            "status": {
                "nodeInfo": { "systemUUID": uuid },
                "addresses": [{ "type": "InternalIP", "address": address }],
            },
        }))
        .expect("a node")
    }

    #[test]
    fn a_node_is_the_machine_of_its_uuid_in_any_case_and_byte_order() {
        let machine = machine(&format!("vm://{UUID}"));
        for uuid in [
            UUID.to_owned(),
            UUID.to_uppercase(),
            "73d71982-b328-8645-b36b-df48b32f23e7".to_owned(),
        ] {
            assert!(is(&node(&uuid, "10.0.0.9"), &machine), "{uuid}");
        }
    }

    #[test]
    fn the_node_of_a_machine_that_is_gone_is_not_the_one_that_has_its_address_now() {
        let machine = machine(&format!("vm://{UUID}"));
        let stale = node("1cfe9a90-d0ad-4196-a9c8-8110504edb54", "10.10.10.11");
        assert!(!is(&stale, &machine));
    }

    #[test]
    fn addresses_decide_where_a_side_has_no_uuid() {
        assert!(is(&node(UUID, "10.10.10.11"), &machine("metal://rack-1/7")));
        let machine = machine(&format!("vm://{UUID}"));
        assert!(is(&node("", "10.10.10.11"), &machine));
        assert!(is(&node("Not Settable", "10.10.10.11"), &machine));
        assert!(!is(&node("", "10.10.10.12"), &machine));
    }
}
