//! `TalosConfig` and its template: the machine configuration of one Talos host.

use std::fmt;

use capi_core::api::{Condition, KindInfo, V1Beta1Condition, is_default};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What an API server knows `TalosConfig` by.
pub const TALOS_CONFIG: KindInfo = KindInfo {
    group: "bootstrap.cluster.x-k8s.io",
    version: "v1beta1",
    kind: "TalosConfig",
    plural: "talosconfigs",
    namespaced: true,
};

/// What an API server knows `TalosConfigTemplate` by.
pub const TALOS_CONFIG_TEMPLATE: KindInfo = KindInfo {
    group: "bootstrap.cluster.x-k8s.io",
    version: "v1beta1",
    kind: "TalosConfigTemplate",
    plural: "talosconfigtemplates",
    namespaced: true,
};

capi_core::object_kind! {
    /// The machine configuration of one Talos host.
    pub struct TalosConfig { spec: TalosConfigSpec, status: TalosConfigStatus } = TALOS_CONFIG, namespaced
}

capi_core::object_kind! {
    /// Template of TalosConfigs.
    pub struct TalosConfigTemplate { spec: TalosConfigTemplateSpec } = TALOS_CONFIG_TEMPLATE, namespaced
}

/// The configuration that is wanted.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigSpec {
    /// Talos version whose form the configuration has, such as `v1.11`; chosen when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub talos_version: Option<String>,
    /// Role of the host.
    pub generate_type: GenerateType,
    /// The whole configuration, when nothing is to be generated.
    #[serde(skip_serializing_if = "is_default")]
    pub data: Option<String>,
    /// JSON patches (RFC 6902) of the generated configuration, applied in order.
    #[serde(skip_serializing_if = "is_default")]
    pub config_patches: Vec<ConfigPatch>,
    /// Strategic merge patches as YAML, applied after the JSON patches.
    #[serde(skip_serializing_if = "is_default")]
    pub strategic_patches: Vec<String>,
    /// Where the host's name comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Hostname,
}

capi_core::open_enum! {
    /// Role of a Talos host.
    pub enum GenerateType {
        /// Control plane.
        ControlPlane = "controlplane",
        /// Worker.
        Worker = "worker",
        /// First control plane host of the method that Talos has given up.
        Init = "init",
        /// Nothing is generated.
        None = "none",
    }
}

/// One operation of a JSON patch.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigPatch {
    /// Operation, such as `add`.
    pub op: String,
    /// JSON pointer to the place.
    pub path: String,
    /// Value; a `null` that is written is kept apart from no value.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "present")]
    pub value: Option<Value>,
}

/// Stands for what is not shown: what a machine is configured with may be secret.
const HIDDEN: &str = "[redacted]";

impl fmt::Debug for TalosConfigSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patches: Vec<&str> = self.strategic_patches.iter().map(|_| HIDDEN).collect();
        formatter
            .debug_struct("TalosConfigSpec")
            .field("talos_version", &self.talos_version)
            .field("generate_type", &self.generate_type)
            .field("data", &self.data.as_ref().map(|_| HIDDEN))
            .field("config_patches", &self.config_patches)
            .field("strategic_patches", &patches)
            .field("hostname", &self.hostname)
            .finish()
    }
}

impl fmt::Debug for ConfigPatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfigPatch")
            .field("op", &self.op)
            .field("path", &self.path)
            .field("value", &self.value.as_ref().map(|_| HIDDEN))
            .finish()
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Where a host's name comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Hostname {
    /// `MachineName` or `InfrastructureName`; Talos chooses when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub source: Option<HostnameSource>,
}

capi_core::open_enum! {
    /// Where a host's name comes from.
    pub enum HostnameSource {
        /// Name of the Machine.
        MachineName = "MachineName",
        /// Name of the infrastructure object.
        InfrastructureName = "InfrastructureName",
    }
}

/// What became of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigStatus {
    /// Milestones.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: TalosConfigInitialization,
    /// Secret that holds the configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub data_secret_name: Option<String>,
    /// Generation of the spec that the status answers to.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: TalosConfigDeprecatedStatus,
}

/// Milestones of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigInitialization {
    /// The secret exists.
    #[serde(skip_serializing_if = "is_default")]
    pub data_secret_created: Option<bool>,
}

/// What remains of previous API versions in a configuration's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigDeprecatedStatus {
    /// Status fields of the v1beta1 contract. The key lacks the `1` that other kinds have.
    #[serde(rename = "v1beta", skip_serializing_if = "is_default")]
    pub v1beta: TalosConfigV1Beta1DeprecatedStatus,
}

/// Status fields of the v1beta1 contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigV1Beta1DeprecatedStatus {
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

/// Template of TalosConfigs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigTemplateSpec {
    /// What is made from it.
    pub template: TalosConfigTemplateResource,
}

/// What is made from a template of TalosConfigs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TalosConfigTemplateResource {
    /// Spec.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: TalosConfigSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_configuration_holds_no_secret() {
        let spec: TalosConfigSpec = serde_json::from_value(serde_json::json!({
            "generateType": "none", "talosVersion": "v1.11", "data": "token: geheim1",
            "configPatches": [{"op": "add", "path": "/machine/token", "value": "geheim2"}],
            "strategicPatches": ["machine: {token: geheim3}"],
        }))
        .expect("it is a spec");
        for shown in [format!("{spec:?}"), format!("{spec:#?}")] {
            assert!(!shown.contains("geheim"), "{shown}");
            assert!(
                shown.contains("v1.11") && shown.contains("/machine/token"),
                "{shown}"
            );
        }
    }
}
