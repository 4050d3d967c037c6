//! The part of a `Cluster` that is made from a ClusterClass: its class, its machines, its variables.

use serde::{Deserialize, Serialize};

use super::cluster::ConditionGate;
use super::machine::{MachineDeletion, MachineTaint};
use super::machine_deployment::{MachineDeploymentRollout, RemediationLimits};
use super::machine_health_check::{Checks, RemediationTemplateReference, RemediationTrigger};
use super::machine_set::MachineDeletionOrder;
use super::meta::{IntOrString, ObjectMeta, Time, is_default};

/// A cluster described by a class and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// The class.
    pub class_ref: ClusterClassReference,
    /// Kubernetes version of all machines.
    pub version: String,
    /// The control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane: ControlPlaneTopology,
    /// The workers.
    #[serde(skip_serializing_if = "is_default")]
    pub workers: WorkersTopology,
    /// Values of the variables that the class declares.
    #[serde(skip_serializing_if = "is_default")]
    pub variables: Vec<ClusterVariable>,
}

/// Points to a ClusterClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterClassReference {
    /// Name of the class.
    pub name: String,
    /// Namespace of the class; that of the cluster when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Option<String>,
}

/// Control plane of a cluster made from a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneTopology {
    /// Labels and annotations of the control plane object and its machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Number of machines; left to somebody else when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// When all machines are to be replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: ControlPlaneTopologyRollout,
    /// Health check of the machines.
    #[serde(skip_serializing_if = "is_default")]
    pub health_check: ControlPlaneTopologyHealthCheck,
    /// Time limits of deleting a machine.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineDeletion,
    /// Taints of the nodes.
    #[serde(skip_serializing_if = "is_default")]
    pub taints: Vec<MachineTaint>,
    /// Further conditions that count into `Ready` of each machine.
    #[serde(skip_serializing_if = "is_default")]
    pub readiness_gates: Vec<ConditionGate>,
    /// Variables that differ for the control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}

/// When the control plane machines are to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneTopologyRollout {
    /// Machines made before this time are replaced once it has passed.
    #[serde(skip_serializing_if = "is_default")]
    pub after: Option<Time>,
}

/// Health check of control plane machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneTopologyHealthCheck {
    /// Whether there is a health check; as the class says when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: Option<bool>,
    /// What makes a machine unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Checks,
    /// What is done about it.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: ControlPlaneTopologyRemediation,
}

/// How unhealthy control plane machines are remediated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneTopologyRemediation {
    /// How many may be unhealthy for remediation to begin.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger_if: RemediationTrigger,
    /// Template of objects that an external remediation acts on.
    #[serde(skip_serializing_if = "is_default")]
    pub template_ref: Option<RemediationTemplateReference>,
}

/// Workers of a cluster made from a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct WorkersTopology {
    /// Sets of single machines.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_deployments: Vec<MachineDeploymentTopology>,
    /// Pools that the infrastructure scales as a whole.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_pools: Vec<MachinePoolTopology>,
}

/// A set of worker machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentTopology {
    /// Labels and annotations of the MachineDeployment and its machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Worker class within the ClusterClass.
    pub class: String,
    /// Name within the cluster.
    pub name: String,
    /// Failure domain of the machines.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_domain: Option<String>,
    /// Number of machines; left to somebody else (an autoscaler) when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Health check of the machines.
    #[serde(skip_serializing_if = "is_default")]
    pub health_check: MachineDeploymentTopologyHealthCheck,
    /// Order and time limits of deleting machines.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineDeploymentTopologyDeletion,
    /// Taints of the nodes.
    #[serde(skip_serializing_if = "is_default")]
    pub taints: Vec<MachineTaint>,
    /// Seconds that a machine must have been ready to count as available.
    #[serde(skip_serializing_if = "is_default")]
    pub min_ready_seconds: Option<i32>,
    /// Further conditions that count into `Ready` of each machine.
    #[serde(skip_serializing_if = "is_default")]
    pub readiness_gates: Vec<ConditionGate>,
    /// How machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: MachineDeploymentRollout,
    /// Variables that differ for this set.
    #[serde(skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}

/// Health check of a set of workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentTopologyHealthCheck {
    /// Whether there is a health check; as the class says when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: Option<bool>,
    /// What makes a machine unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Checks,
    /// What is done about it.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: MachineDeploymentTopologyRemediation,
}

/// How unhealthy workers are remediated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentTopologyRemediation {
    /// How many may be remediated at once, as a number or a percentage.
    #[serde(skip_serializing_if = "is_default")]
    pub max_in_flight: Option<IntOrString>,
    /// How many may be unhealthy for remediation to begin.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger_if: RemediationTrigger,
    /// Template of objects that an external remediation acts on.
    #[serde(skip_serializing_if = "is_default")]
    pub template_ref: Option<RemediationTemplateReference>,
}

impl MachineDeploymentTopologyRemediation {
    /// The limits as a MachineDeployment carries them.
    #[must_use]
    pub fn limits(&self) -> RemediationLimits {
        RemediationLimits {
            max_in_flight: self.max_in_flight.clone(),
        }
    }
}

/// Order and time limits of deleting workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentTopologyDeletion {
    /// Which machine goes first when there are too many.
    #[serde(skip_serializing_if = "is_default")]
    pub order: Option<MachineDeletionOrder>,
    /// Seconds that draining a node may take; no limit when unset or 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_drain_timeout_seconds: Option<i32>,
    /// Seconds to wait for volumes to be detached; no limit when unset or 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// Seconds that deleting the Node object may take; no limit when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_deletion_timeout_seconds: Option<i32>,
}

/// A pool of workers that the infrastructure scales as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachinePoolTopology {
    /// Labels and annotations of the MachinePool and its machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Worker class within the ClusterClass.
    pub class: String,
    /// Name within the cluster.
    pub name: String,
    /// Failure domains that the pool spreads over.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_domains: Vec<String>,
    /// Time limits of deleting a machine.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineDeletion,
    /// Taints of the nodes.
    #[serde(skip_serializing_if = "is_default")]
    pub taints: Vec<MachineTaint>,
    /// Seconds that a machine must have been ready to count as available.
    #[serde(skip_serializing_if = "is_default")]
    pub min_ready_seconds: Option<i32>,
    /// Number of machines; left to somebody else (an autoscaler) when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Variables that differ for this pool.
    #[serde(skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}

/// Variables that differ for one part of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VariableOverrides {
    /// The values, one a variable.
    #[serde(skip_serializing_if = "is_default")]
    pub overrides: Vec<ClusterVariable>,
}

/// Value of a variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterVariable {
    /// Name of the variable.
    pub name: String,
    /// Value, of the form that the class declares.
    pub value: serde_json::Value,
}
