//! `Cluster`: a workload cluster with its control plane, infrastructure and network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conditions::{Condition, V1Beta1Condition};
use super::meta::{ContractVersionedObjectReference, KindInfo, is_default};
use super::topology::Topology;

/// What an API server knows `Cluster` by.
pub const CLUSTER: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "Cluster",
    plural: "clusters",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// A workload cluster with its control plane, infrastructure and network.
    pub struct Cluster { spec: ClusterSpec, status: ClusterStatus } = CLUSTER, namespaced
}

/// The cluster that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// Stops all controllers from acting on the cluster and its objects while true.
    #[serde(skip_serializing_if = "is_default")]
    pub paused: Option<bool>,
    /// Networks of pods and services.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_network: ClusterNetwork,
    /// Where the API server of the cluster is reached; written once it is known.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane_endpoint: ApiEndpoint,
    /// Object of the control plane provider.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane_ref: Option<ContractVersionedObjectReference>,
    /// Object of the infrastructure provider.
    #[serde(skip_serializing_if = "is_default")]
    pub infrastructure_ref: Option<ContractVersionedObjectReference>,
    /// Class and variables, when the cluster is made from a ClusterClass.
    #[serde(skip_serializing_if = "is_default")]
    pub topology: Option<Topology>,
    /// Further conditions that count into `Available`.
    #[serde(skip_serializing_if = "is_default")]
    pub availability_gates: Vec<ConditionGate>,
}

/// A condition that must hold (or must not) for an object to be available or ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConditionGate {
    /// Type of the condition.
    pub condition_type: String,
    /// Which status is the good one; positive when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub polarity: Option<ConditionPolarity>,
}

crate::open_enum! {
    /// Which status of a condition is the good one.
    pub enum ConditionPolarity {
        /// `True` is good.
        Positive = "Positive",
        /// `False` is good.
        Negative = "Negative",
    }
}

/// Networks of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterNetwork {
    /// Port of each API server; the provider's choice when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub api_server_port: Option<i32>,
    /// Addresses of services.
    #[serde(skip_serializing_if = "is_default")]
    pub services: NetworkRanges,
    /// Addresses of pods.
    #[serde(skip_serializing_if = "is_default")]
    pub pods: NetworkRanges,
    /// DNS domain of services.
    #[serde(skip_serializing_if = "is_default")]
    pub service_domain: Option<String>,
}

/// Address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkRanges {
    /// Ranges in CIDR notation, in order of preference.
    pub cidr_blocks: Vec<String>,
}

/// Where an API server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ApiEndpoint {
    /// DNS name or address; empty when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub host: String,
    /// TCP port; 0 when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub port: i32,
}

impl ApiEndpoint {
    /// Whether both host and port are set.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.host.is_empty() && self.port != 0
    }

    /// Whether neither host nor port is set.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.host.is_empty() && self.port == 0
    }
}

/// `host:port`, with brackets around an IPv6 address.
impl std::fmt::Display for ApiEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What was observed of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Milestones of the first start; once true they stay true.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: ClusterInitialization,
    /// Control plane machines, counted.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane: MachineCounters,
    /// Worker machines, counted.
    #[serde(skip_serializing_if = "is_default")]
    pub workers: MachineCounters,
    /// Failure domains that the infrastructure offers.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_domains: Vec<FailureDomain>,
    /// Summary for people; programs read the conditions.
    #[serde(skip_serializing_if = "is_default")]
    pub phase: Option<ClusterPhase>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: ClusterDeprecatedStatus,
}

/// Milestones of a cluster's first start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInitialization {
    /// The infrastructure provider has made what the cluster needs.
    #[serde(skip_serializing_if = "is_default")]
    pub infrastructure_provisioned: Option<bool>,
    /// The API server of the cluster can be used.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane_initialized: Option<bool>,
}

/// Machines of one part of a cluster, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineCounters {
    /// How many are wanted.
    #[serde(skip_serializing_if = "is_default")]
    pub desired_replicas: Option<i32>,
    /// How many exist, deleting ones included.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// How many have the spec that is wanted now.
    #[serde(skip_serializing_if = "is_default")]
    pub up_to_date_replicas: Option<i32>,
    /// How many are ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: Option<i32>,
    /// How many have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: Option<i32>,
    /// How many run which Kubernetes version, ascending.
    #[serde(skip_serializing_if = "is_default")]
    pub versions: Vec<StatusVersion>,
    /// Versions that an upgrade goes through, in order.
    #[serde(skip_serializing_if = "is_default")]
    pub upgrade_plan: Vec<UpgradePlanVersion>,
}

/// How many machines run a Kubernetes version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StatusVersion {
    /// The Kubernetes version.
    pub version: String,
    /// Machines that run it.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
}

/// One step of an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradePlanVersion {
    /// The Kubernetes version that the step reaches.
    pub version: String,
}

/// A part of the infrastructure that can fail by itself, such as a zone or a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FailureDomain {
    /// Name, as machines refer to it.
    pub name: String,
    /// Whether control plane machines may be placed there.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane: Option<bool>,
    /// Further facts of the infrastructure provider.
    #[serde(skip_serializing_if = "is_default")]
    pub attributes: BTreeMap<String, String>,
}

crate::open_enum! {
    /// Where a cluster is in its life.
    pub enum ClusterPhase {
        /// Nothing has been made yet.
        Pending = "Pending",
        /// Infrastructure is being made.
        Provisioning = "Provisioning",
        /// Infrastructure is ready and the endpoint is known.
        Provisioned = "Provisioned",
        /// The cluster is being deleted.
        Deleting = "Deleting",
        /// Something failed that needs a person.
        Failed = "Failed",
        /// It is not known.
        Unknown = "Unknown",
    }
}

/// What remains of previous API versions in a cluster's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: ClusterV1Beta1DeprecatedStatus,
}

/// Status fields of a cluster that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterV1Beta1DeprecatedStatus {
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
