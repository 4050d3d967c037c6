//! `TalosControlPlane`: the control plane machines of a cluster that runs Talos.

use capi_bootstrap_talos::api::TalosConfigSpec;
use capi_core::api::{IntOrString, KindInfo, ObjectReference, V1Beta1Condition, is_default};
use serde::{Deserialize, Serialize};

/// What an API server knows `TalosControlPlane` by.
pub const TALOS_CONTROL_PLANE: KindInfo = KindInfo {
    group: "controlplane.cluster.x-k8s.io",
    version: "v1alpha3",
    kind: "TalosControlPlane",
    plural: "taloscontrolplanes",
    namespaced: true,
};

capi_core::object_kind! {
    /// The control plane machines of a cluster that runs Talos.
    pub struct TalosControlPlane { spec: TalosControlPlaneSpec, status: TalosControlPlaneStatus } = TALOS_CONTROL_PLANE, namespaced
}

/// The control plane that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosControlPlaneSpec {
    /// Number of machines; an odd one keeps etcd's quorum best.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Kubernetes version, with a leading `v`.
    pub version: String,
    /// Template of the machines' infrastructure objects.
    pub infrastructure_template: ObjectReference,
    /// Configuration of the machines.
    pub control_plane_config: ControlPlaneConfig,
    /// How machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout_strategy: Option<RolloutStrategy>,
}

/// Configuration of control plane machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneConfig {
    /// Configuration of the first machine, for the method that Talos has given up.
    #[serde(skip_serializing_if = "is_default")]
    pub init: Option<TalosConfigSpec>,
    /// Configuration of all machines.
    pub controlplane: TalosConfigSpec,
}

/// How machines are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    /// Rolling, or whenever somebody deletes a machine.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub type_: Option<RolloutStrategyType>,
    /// Bounds of a rolling replacement.
    #[serde(skip_serializing_if = "is_default")]
    pub rolling_update: Option<RollingUpdate>,
}

capi_core::open_enum! {
    /// Who takes the first step of replacing a machine.
    pub enum RolloutStrategyType {
        /// The control plane makes new machines and removes old ones, one at a time.
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
    /// How many machines there may be too many: 0 or 1; 1 when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub max_surge: Option<IntOrString>,
}

/// What was observed of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosControlPlaneStatus {
    /// Labels of the machines as text, for the scale subresource.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Option<String>,
    /// Machines that exist.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<i32>,
    /// Machines whose node is ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: Option<i32>,
    /// Machines whose node is not ready.
    #[serde(skip_serializing_if = "is_default")]
    pub unavailable_replicas: Option<i32>,
    /// The API server has answered once.
    #[serde(skip_serializing_if = "is_default")]
    pub initialized: Option<bool>,
    /// The API server answers.
    #[serde(skip_serializing_if = "is_default")]
    pub ready: Option<bool>,
    /// etcd has been started.
    #[serde(skip_serializing_if = "is_default")]
    pub bootstrapped: Option<bool>,
    /// Lowest Kubernetes version of the machines.
    #[serde(skip_serializing_if = "is_default")]
    pub version: Option<String>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// Observed aspects in the form of the v1beta1 contract, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
    /// A failure that does not go away by itself, as one word.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_reason: Option<String>,
    /// A failure that does not go away by itself, as a sentence.
    #[serde(skip_serializing_if = "is_default")]
    pub failure_message: Option<String>,
}
