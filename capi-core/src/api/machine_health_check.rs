//! `MachineHealthCheck`: says when a machine counts as unhealthy and is to be remediated.

use serde::{Deserialize, Serialize};

use super::conditions::{Condition, ConditionStatus, V1Beta1Condition};
use super::meta::{IntOrString, KindInfo, LabelSelector, is_default};

/// What an API server knows `MachineHealthCheck` by.
pub const MACHINE_HEALTH_CHECK: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "MachineHealthCheck",
    plural: "machinehealthchecks",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// Says when a machine counts as unhealthy and is to be remediated.
    pub struct MachineHealthCheck { spec: MachineHealthCheckSpec, status: MachineHealthCheckStatus } = MACHINE_HEALTH_CHECK, namespaced
}

/// The check that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineHealthCheckSpec {
    /// Name of the Cluster; it never changes.
    pub cluster_name: String,
    /// Machines that are checked.
    pub selector: LabelSelector,
    /// What makes a machine unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Checks,
    /// What is done about it.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: Remediation,
}

/// What makes a machine unhealthy: any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Checks {
    /// Seconds within which a node must appear; 600 when unset, no limit when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub node_startup_timeout_seconds: Option<i32>,
    /// Conditions of the node that are bad.
    #[serde(skip_serializing_if = "is_default")]
    pub unhealthy_node_conditions: Vec<UnhealthyNodeCondition>,
    /// Conditions of the machine that are bad.
    #[serde(skip_serializing_if = "is_default")]
    pub unhealthy_machine_conditions: Vec<UnhealthyMachineCondition>,
}

/// A condition of a node that is bad when it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct UnhealthyNodeCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// The bad status.
    pub status: String,
    /// Seconds that the status must have lasted.
    pub timeout_seconds: i32,
}

/// A condition of a machine that is bad when it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct UnhealthyMachineCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// The bad status.
    pub status: ConditionStatus,
    /// Seconds that the status must have lasted.
    pub timeout_seconds: i32,
}

/// What is done about unhealthy machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Remediation {
    /// How many may be unhealthy for remediation to begin.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger_if: RemediationTrigger,
    /// Template of objects that an external remediation acts on; the owner replaces the machine when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub template_ref: Option<RemediationTemplateReference>,
}

/// How many machines may be unhealthy for remediation to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationTrigger {
    /// At most so many, as a number or a percentage.
    #[serde(skip_serializing_if = "is_default")]
    pub unhealthy_less_than_or_equal_to: Option<IntOrString>,
    /// Within this range, as `[3-5]`; wins over the other.
    #[serde(skip_serializing_if = "is_default")]
    pub unhealthy_in_range: Option<String>,
}

/// Points to a template of an external remediation, with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationTemplateReference {
    /// Kind of the template.
    pub kind: String,
    /// Name of the template.
    pub name: String,
    /// Group and version of the template.
    pub api_version: String,
}

/// What was observed of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineHealthCheckStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Machines that the selector chooses.
    #[serde(skip_serializing_if = "is_default")]
    pub expected_machines: Option<i32>,
    /// Those that are healthy.
    #[serde(skip_serializing_if = "is_default")]
    pub current_healthy: Option<i32>,
    /// How many more may be remediated now.
    #[serde(skip_serializing_if = "is_default")]
    pub remediations_allowed: Option<i32>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// Names of the machines that the selector chooses.
    #[serde(skip_serializing_if = "is_default")]
    pub targets: Vec<String>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: MachineHealthCheckDeprecatedStatus,
}

/// What remains of previous API versions in a check's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineHealthCheckDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: MachineHealthCheckV1Beta1DeprecatedStatus,
}

/// Status fields of a check that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineHealthCheckV1Beta1DeprecatedStatus {
    /// Conditions in the form of v1beta1.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
}
