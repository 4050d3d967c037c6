//! The providerID of Nodes, in clusters where no cloud controller sets it.

use serde_json::json;

use super::{ControlPlaneHost, collect::Collected};
use crate::{
    api::Machine,
    plan::node::NodeIdentity,
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

impl NodeStatus {
    fn internal_addresses(&self) -> Vec<&str> {
        let addresses = self.addresses.iter();
        addresses
            .filter(|address| address.r#type == "InternalIP")
            .map(|address| &*address.address)
            .collect()
    }
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
            let identity = NodeIdentity {
                system_uuid: &node.status.node_info.system_uuid,
                internal_addresses: node.status.internal_addresses(),
            };
            let mut matching = machines.iter().filter(|machine| {
                let provider_id = machine.spec.provider_id.as_deref();
                provider_id.is_some_and(|id| identity.is_of(id, &machine.status.addresses))
            });
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
