//! `MachineDrainRule`: says which pods are drained, skipped or waited for when a node is drained.

use serde::{Deserialize, Serialize};

use super::meta::{KindInfo, LabelSelector, is_default};

/// What an API server knows `MachineDrainRule` by.
pub const MACHINE_DRAIN_RULE: KindInfo = KindInfo {
    group: "cluster.x-k8s.io",
    version: "v1beta2",
    kind: "MachineDrainRule",
    plural: "machinedrainrules",
    namespaced: true,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// Says which pods are drained, skipped or waited for when a node is drained.
    pub struct MachineDrainRule { spec: MachineDrainRuleSpec } = MACHINE_DRAIN_RULE, namespaced
}

/// The rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDrainRuleSpec {
    /// What happens to the pods.
    pub drain: DrainRule,
    /// Machines that the rule is for: any of these; all machines when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub machines: Vec<DrainRuleMachineSelector>,
    /// Pods that the rule is for: any of these; all pods when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub pods: Vec<DrainRulePodSelector>,
}

/// What happens to pods when their node is drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DrainRule {
    /// Evict, leave, or wait.
    pub behavior: DrainBehavior,
    /// Pods with a lower number go first; 0 when unset. Only for behaviour `Drain`.
    #[serde(skip_serializing_if = "is_default")]
    pub order: Option<i32>,
}

crate::open_enum! {
    /// What happens to a pod when its node is drained.
    pub enum DrainBehavior {
        /// It is evicted.
        Drain = "Drain",
        /// It is left alone.
        Skip = "Skip",
        /// It is waited for until it ends by itself.
        WaitCompleted = "WaitCompleted",
    }
}

/// Chooses machines by their own and their cluster's labels; both must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DrainRuleMachineSelector {
    /// Labels of the machine; any when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Option<LabelSelector>,
    /// Labels of the cluster; any when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_selector: Option<LabelSelector>,
}

/// Chooses pods by their own and their namespace's labels; both must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DrainRulePodSelector {
    /// Labels of the pod; any when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Option<LabelSelector>,
    /// Labels of the namespace; any when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_selector: Option<LabelSelector>,
}
