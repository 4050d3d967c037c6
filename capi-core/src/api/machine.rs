//! `Machine`: one host that becomes, is, or was a Kubernetes node.

use serde::{Deserialize, Serialize};

use super::cluster::ConditionGate;
use super::conditions::{Condition, V1Beta1Condition};
use super::meta::{ContractVersionedObjectReference, KindInfo, Time, is_default};

/// What an API server knows `Machine` by.
pub const MACHINE: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "Machine",
    plural: "machines",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// One host that becomes, is, or was a Kubernetes node.
    pub struct Machine { spec: MachineSpec, status: MachineStatus } = MACHINE, namespaced
}

/// The machine that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSpec {
    /// Name of the Cluster; it never changes.
    pub cluster_name: String,
    /// Where the machine's configuration comes from.
    pub bootstrap: Bootstrap,
    /// Object of the infrastructure provider.
    pub infrastructure_ref: ContractVersionedObjectReference,
    /// Kubernetes version, with a leading `v`.
    #[serde(skip_serializing_if = "is_default")]
    pub version: Option<String>,
    /// Identity of the host, equal to the node's; copied from the infrastructure object.
    #[serde(rename = "providerID", skip_serializing_if = "is_default")]
    pub provider_id: Option<String>,
    /// Failure domain in which the host is to be placed.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_domain: Option<String>,
    /// Seconds that the machine must have been ready to count as available.
    #[serde(skip_serializing_if = "is_default")]
    pub min_ready_seconds: Option<i32>,
    /// Further conditions that count into `Ready`.
    #[serde(skip_serializing_if = "is_default")]
    pub readiness_gates: Vec<ConditionGate>,
    /// Time limits of deletion.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineDeletion,
    /// Taints of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub taints: Vec<MachineTaint>,
}

/// Where a machine's configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Bootstrap {
    /// Object of the bootstrap provider that makes the configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub config_ref: Option<ContractVersionedObjectReference>,
    /// Secret that holds the configuration: given by the user, or copied from the bootstrap object.
    #[serde(skip_serializing_if = "is_default")]
    pub data_secret_name: Option<String>,
}

/// Time limits of deleting a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeletion {
    /// Seconds that draining the node may take; no limit when unset or 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_drain_timeout_seconds: Option<i32>,
    /// Seconds to wait for volumes to be detached; no limit when unset or 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// Seconds that deleting the Node object may take; no limit when 0, 10 when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub node_deletion_timeout_seconds: Option<i32>,
}

/// A taint that a machine puts on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineTaint {
    /// Key of the taint.
    pub key: String,
    /// Value of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub value: Option<String>,
    /// What the taint does to pods that do not tolerate it.
    pub effect: TaintEffect,
    /// Whether the taint is kept or only set once.
    pub propagation: TaintPropagation,
}

crate::open_enum! {
    /// What a taint does to pods that do not tolerate it.
    pub enum TaintEffect {
        /// They are not scheduled there.
        NoSchedule = "NoSchedule",
        /// They are scheduled there only if there is no other place.
        PreferNoSchedule = "PreferNoSchedule",
        /// They are not scheduled there, and running ones are evicted.
        NoExecute = "NoExecute",
    }
}

crate::open_enum! {
    /// Whether a machine keeps a taint on its node.
    pub enum TaintPropagation {
        /// The taint is restored when somebody removes it.
        Always = "Always",
        /// The taint is set when the node joins, and not looked at again.
        OnInitialization = "OnInitialization",
    }
}

/// What was observed of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Milestones of the first start; once true they stay true.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: MachineInitialization,
    /// The node that the machine became; set once.
    #[serde(skip_serializing_if = "is_default")]
    pub node_ref: Option<MachineNodeReference>,
    /// What the kubelet says of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub node_info: Option<NodeSystemInfo>,
    /// When the phase changed last.
    #[serde(skip_serializing_if = "is_default")]
    pub last_updated: Option<Time>,
    /// Addresses of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub addresses: Vec<MachineAddress>,
    /// Failure domain in which the host was placed.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_domain: Option<String>,
    /// Summary for people; programs read the conditions.
    #[serde(skip_serializing_if = "is_default")]
    pub phase: Option<MachinePhase>,
    /// When the first certificate of the host expires.
    #[serde(skip_serializing_if = "is_default")]
    pub certificates_expiry_date: Option<Time>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// When the steps of deletion began.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineDeletionStatus,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: MachineDeprecatedStatus,
}

/// Milestones of a machine's first start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineInitialization {
    /// The host exists and its identity is known.
    #[serde(skip_serializing_if = "is_default")]
    pub infrastructure_provisioned: Option<bool>,
    /// The configuration exists.
    #[serde(skip_serializing_if = "is_default")]
    pub bootstrap_data_secret_created: Option<bool>,
}

/// Points to a node of the workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineNodeReference {
    /// Name of the node.
    pub name: String,
}

/// What the kubelet says of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSystemInfo {
    /// Machine id of the operating system.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// UUID of the hardware.
    #[serde(rename = "systemUUID")]
    pub system_uuid: String,
    /// Id of this boot.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// Version of the kernel.
    pub kernel_version: String,
    /// Name of the operating system.
    #[serde(rename = "osImage")]
    pub os_image: String,
    /// Container runtime and its version.
    pub container_runtime_version: String,
    /// Version of the kubelet.
    pub kubelet_version: String,
    /// Version of kube-proxy.
    pub kube_proxy_version: String,
    /// Kind of operating system.
    pub operating_system: String,
    /// Processor architecture.
    pub architecture: String,
    /// Swap space.
    #[serde(skip_serializing_if = "is_default")]
    pub swap: Option<NodeSwap>,
}

/// Swap space of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSwap {
    /// Size in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub capacity: Option<i64>,
}

/// One address of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = type_without_default))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineAddress {
    /// Kind of address.
    #[serde(rename = "type")]
    pub type_: MachineAddressType,
    /// IP address or name.
    pub address: String,
}

/// What is read when there is no type is none of the values that may be written, so API servers
/// refuse it as the default of a schema.
#[cfg(feature = "schema")]
fn type_without_default(schema: &mut schemars::Schema) {
    let kind = schema.pointer_mut("/properties/type");
    if let Some(kind) = kind.and_then(serde_json::Value::as_object_mut) {
        kind.remove("default");
    }
}

crate::open_enum! {
    /// Kind of address.
    pub enum MachineAddressType {
        /// The host's own name.
        Hostname = "Hostname",
        /// An IP address that is reached from outside.
        ExternalIp = "ExternalIP",
        /// An IP address within the cluster's network.
        InternalIp = "InternalIP",
        /// A DNS name that is resolved outside.
        ExternalDns = "ExternalDNS",
        /// A DNS name that is resolved within the cluster's network.
        InternalDns = "InternalDNS",
    }
}

crate::open_enum! {
    /// Where a machine is in its life.
    pub enum MachinePhase {
        /// The configuration is not there yet.
        Pending = "Pending",
        /// The host is being made.
        Provisioning = "Provisioning",
        /// The host exists.
        Provisioned = "Provisioned",
        /// The host is a node.
        Running = "Running",
        /// The host is being changed in place.
        Updating = "Updating",
        /// The host is being removed.
        Deleting = "Deleting",
        /// The host is gone.
        Deleted = "Deleted",
        /// Something failed that needs a person.
        Failed = "Failed",
        /// It is not known.
        Unknown = "Unknown",
    }
}

/// When the steps of a machine's deletion began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeletionStatus {
    /// Draining of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub node_drain_start_time: Option<Time>,
    /// Waiting for volumes to be detached.
    #[serde(skip_serializing_if = "is_default")]
    pub wait_for_node_volume_detach_start_time: Option<Time>,
    /// Waiting for pre-drain hooks.
    #[serde(skip_serializing_if = "is_default")]
    pub wait_for_pre_drain_hook_start_time: Option<Time>,
    /// Waiting for pre-terminate hooks.
    #[serde(skip_serializing_if = "is_default")]
    pub wait_for_pre_terminate_hook_start_time: Option<Time>,
}

/// What remains of previous API versions in a machine's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: MachineV1Beta1DeprecatedStatus,
}

/// Status fields of a machine that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineV1Beta1DeprecatedStatus {
    /// Conditions in the form of v1beta1.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
    /// A failure that does not go away by itself, as one word.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_reason: Option<String>,
    /// A failure that does not go away by itself, as a sentence.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_message: Option<String>,
}
