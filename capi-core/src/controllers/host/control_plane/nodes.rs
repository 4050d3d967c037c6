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

fn is(node: &Node, machine: &Machine) -> bool {
    let Some(provider_id) = &machine.spec.provider_id else {
        return false;
    };
    let uuid = node.status.node_info.system_uuid.to_ascii_lowercase();
    if !uuid.is_empty()
        && provider_id
            .to_ascii_lowercase()
            .ends_with(&format!("/{uuid}"))
    {
        return true;
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
