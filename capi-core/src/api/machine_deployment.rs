//! `MachineDeployment`: replaces machines without interruption when their template changes.

use serde::{Deserialize, Serialize};

use super::cluster::StatusVersion;
use super::conditions::{Condition, V1Beta1Condition};
use super::machine_set::{MachineNaming, MachineSetDeletion, MachineTemplateSpec};
use super::meta::{IntOrString, KindInfo, LabelSelector, Time, is_default};

/// What an API server knows `MachineDeployment` by.
pub const MACHINE_DEPLOYMENT: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "MachineDeployment",
    plural: "machinedeployments",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// Replaces machines without interruption when their template changes.
    pub struct MachineDeployment { spec: MachineDeploymentSpec, status: MachineDeploymentStatus } = MACHINE_DEPLOYMENT, namespaced
}

/// The deployment that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentSpec {
    /// Name of the Cluster; it never changes.
    pub cluster_name: String,
    /// Number of machines.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// How machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: MachineDeploymentRollout,
    /// Labels by which the deployment finds its sets; the template's labels fulfil them.
    pub selector: LabelSelector,
    /// The machines that are made.
    pub template: MachineTemplateSpec,
    /// How machines are named.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_naming: MachineNaming,
    /// Limits of replacing unhealthy machines.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: RemediationLimits,
    /// Which machines are deleted first.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineSetDeletion,
    /// Stops rollouts while true; scaling goes on.
    #[serde(skip_serializing_if = "is_default")]
    pub paused: Option<bool>,
}

/// When and how machines are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentRollout {
    /// Machines made before this time are replaced once it has passed.
    #[serde(skip_serializing_if = "is_default")]
    pub after: Option<Time>,
    /// How the replacement proceeds; rolling when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub strategy: Option<RolloutStrategy>,
}

/// How a replacement proceeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    /// Rolling, or whenever somebody deletes a machine.
    #[serde(rename = "type")]
    pub type_: RolloutStrategyType,
    /// Bounds of a rolling replacement.
    #[serde(skip_serializing_if = "is_default")]
    pub rolling_update: RollingUpdate,
}

crate::open_enum! {
    /// Who takes the first step of replacing a machine.
    pub enum RolloutStrategyType default RollingUpdate {
        /// The deployment makes new machines and removes old ones, within bounds.
        RollingUpdate = "RollingUpdate",
        /// A machine is replaced when somebody deletes it.
        OnDelete = "OnDelete",
    }
}

/// Bounds of a rolling replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// How many machines may be missing, as a number or a percentage rounded down; 0 when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub max_unavailable: Option<IntOrString>,
    /// How many machines there may be too many, as a number or a percentage rounded up; 1 when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub max_surge: Option<IntOrString>,
}

/// Limits of replacing unhealthy machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationLimits {
    /// How many may be replaced at once, as a number or a percentage; no limit when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub max_in_flight: Option<IntOrString>,
}

/// What was observed of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// The spec's selector as text, for the scale subresource.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Option<String>,
    /// Machines that exist.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Machines that are ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: Option<i32>,
    /// Machines that have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: Option<i32>,
    /// Machines that have the spec that is wanted now.
    #[serde(skip_serializing_if = "is_default")]
    pub up_to_date_replicas: Option<i32>,
    /// How many run which Kubernetes version, ascending.
    #[serde(skip_serializing_if = "is_default")]
    pub versions: Vec<StatusVersion>,
    /// Summary for people; programs read the conditions.
    #[serde(skip_serializing_if = "is_default")]
    pub phase: Option<MachineDeploymentPhase>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: MachineDeploymentDeprecatedStatus,
}

crate::open_enum! {
    /// What a deployment is busy with.
    pub enum MachineDeploymentPhase {
        /// Machines are being added.
        ScalingUp = "ScalingUp",
        /// Machines are being removed.
        ScalingDown = "ScalingDown",
        /// There are as many machines as wanted.
        Running = "Running",
        /// Something failed that needs a person.
        Failed = "Failed",
        /// It is not known.
        Unknown = "Unknown",
    }
}

/// What remains of previous API versions in a deployment's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: MachineDeploymentV1Beta1DeprecatedStatus,
}

/// Status fields of a deployment that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentV1Beta1DeprecatedStatus {
    /// Conditions in the form of v1beta1.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
    /// Machines of the newest set.
    #[serde(skip_serializing_if = "is_default")]
    pub updated_replicas: Option<i32>,
    /// Machines whose node is ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: Option<i32>,
    /// Machines that have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: Option<i32>,
    /// Machines that are missing for full availability.
    #[serde(skip_serializing_if = "is_default")]
    pub unavailable_replicas: Option<i32>,
}
