//! `MachineSet`: keeps a number of equal machines.

use serde::{Deserialize, Serialize};

use super::cluster::StatusVersion;
use super::conditions::{Condition, V1Beta1Condition};
use super::machine::MachineSpec;
use super::meta::{KindInfo, LabelSelector, ObjectMeta, is_default};

/// What an API server knows `MachineSet` by.
pub const MACHINE_SET: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "MachineSet",
    plural: "machinesets",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// Keeps a number of equal machines.
    pub struct MachineSet { spec: MachineSetSpec, status: MachineSetStatus } = MACHINE_SET, namespaced
}

/// The set that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetSpec {
    /// Name of the Cluster; it never changes.
    pub cluster_name: String,
    /// Number of machines.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Labels by which the set finds its machines; the template's labels fulfil them.
    pub selector: LabelSelector,
    /// The machines that are made.
    pub template: MachineTemplateSpec,
    /// How machines are named.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_naming: MachineNaming,
    /// Which machines are deleted first.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: MachineSetDeletion,
}

/// Describes the machines that a set makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineTemplateSpec {
    /// Labels and annotations of the machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Spec of the machines; its references point to templates.
    pub spec: MachineSpec,
}

/// How machines are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineNaming {
    /// Name pattern; `{{ .machineSet.name }}-{{ .random }}` when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub template: Option<String>,
}

/// Which machines of a set are deleted first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetDeletion {
    /// The order; random when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub order: Option<MachineDeletionOrder>,
}

crate::open_enum! {
    /// Which machine goes first when there are too many.
    pub enum MachineDeletionOrder {
        /// Any.
        Random = "Random",
        /// The youngest.
        Newest = "Newest",
        /// The oldest.
        Oldest = "Oldest",
    }
}

/// What was observed of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
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
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: MachineSetDeprecatedStatus,
}

/// What remains of previous API versions in a set's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: MachineSetV1Beta1DeprecatedStatus,
}

/// Status fields of a set that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetV1Beta1DeprecatedStatus {
    /// Conditions in the form of v1beta1.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
    /// A failure that does not go away by itself, as one word.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_reason: Option<String>,
    /// A failure that does not go away by itself, as a sentence.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_message: Option<String>,
    /// Machines that have all labels of the template.
    #[serde(skip_serializing_if = "is_default")]
    pub fully_labeled_replicas: Option<i32>,
    /// Machines whose node is ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: Option<i32>,
    /// Machines that have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: Option<i32>,
}
