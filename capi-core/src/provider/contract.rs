//! The fields that Cluster API's contract asks of a provider's kinds, as structs to embed with
//! `#[serde(flatten)]`. The SDK reads and writes them in the object's JSON, in both contract
//! versions, so a provider that embeds them never touches them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{ApiEndpoint, Condition, FailureDomain, MachineAddress};

/// Contract fields of an infrastructure machine's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InfraMachineSpec {
    /// The machine's identity in the form that its Node will show.
    #[serde(
        rename = "providerID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub provider_id: Option<String>,
    /// Failure domain that the machine is placed in (v1beta1 contract).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
}

/// `status.initialization` of an infrastructure kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Initialization {
    /// True once the infrastructure was complete for the first time; never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}

/// Contract fields of an infrastructure machine's `status`, with the recorded identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InfraMachineStatus<Id> {
    /// What [`reserve`](super::Infrastructure::reserve) chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Id>,
    /// `initialization.provisioned` of the v1beta2 contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// The v1beta1 contract's form of `initialization.provisioned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Addresses of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Failure domain that the machine is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
    /// May be taken away at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruptible: Option<bool>,
    /// Conditions; `Ready` is mirrored into the Machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl<Id> Default for InfraMachineStatus<Id> {
    fn default() -> Self {
        Self {
            identity: None,
            initialization: None,
            ready: None,
            addresses: Vec::new(),
            failure_domain: None,
            interruptible: None,
            conditions: Vec::new(),
            observed_generation: None,
        }
    }
}

/// Contract fields of an infrastructure cluster's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InfraClusterSpec {
    /// Where the workload cluster's API answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
}

/// Contract fields of an infrastructure cluster's `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InfraClusterStatus {
    /// `initialization.provisioned` of the v1beta2 contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// The v1beta1 contract's form of `initialization.provisioned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Failure domains that machines can be placed in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_domains: Vec<FailureDomain>,
    /// Conditions; `Ready` is mirrored into the Cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Labels of a CustomResourceDefinition that say which contract versions its versions answer.
#[must_use]
pub fn contract_labels(version: &str) -> BTreeMap<String, String> {
    ["v1beta1", "v1beta2"]
        .into_iter()
        .map(|contract| (format!("cluster.x-k8s.io/{contract}"), version.to_owned()))
        .collect()
}
