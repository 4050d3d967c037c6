//! `ProxmoxCluster` and its template: addresses, nodes and credentials that all machines share.

use capi_core::api::{
    ApiEndpoint, Condition, KindInfo, LocalObjectReference, ObjectMeta, SecretReference, is_default,
};
use serde::{Deserialize, Serialize};

/// What an API server knows `ProxmoxCluster` by.
pub const PROXMOX_CLUSTER: KindInfo = KindInfo {
    group: super::GROUP,
    version: super::VERSION,
    kind: "ProxmoxCluster",
    plural: "proxmoxclusters",
    namespaced: true,
};

/// What an API server knows `ProxmoxClusterTemplate` by.
pub const PROXMOX_CLUSTER_TEMPLATE: KindInfo = KindInfo {
    group: super::GROUP,
    version: super::VERSION,
    kind: "ProxmoxClusterTemplate",
    plural: "proxmoxclustertemplates",
    namespaced: true,
};

capi_core::object_kind! {
    /// Infrastructure that all machines of a cluster share.
    pub struct ProxmoxCluster { spec: ProxmoxClusterSpec, status: ProxmoxClusterStatus } = PROXMOX_CLUSTER, namespaced
}

capi_core::object_kind! {
    /// Template of ProxmoxClusters, for a ClusterClass.
    pub struct ProxmoxClusterTemplate { spec: ProxmoxClusterTemplateSpec } = PROXMOX_CLUSTER_TEMPLATE, namespaced
}

/// The infrastructure that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxClusterSpec {
    /// Where the API server of the cluster is reached.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane_endpoint: ApiEndpoint,
    /// Whether somebody else runs the control plane; the endpoint is then not checked.
    #[serde(skip_serializing_if = "is_default")]
    pub external_managed_control_plane: Option<bool>,
    /// Names of the Proxmox VE nodes that machines may be placed on; all when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub allowed_nodes: Vec<String>,
    /// Hints for choosing a node.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduler_hints: Option<SchedulerHints>,
    /// IPv4 addresses of the machines.
    #[serde(rename = "ipv4Config", skip_serializing_if = "is_default")]
    pub ipv4_config: Option<IpConfig>,
    /// IPv6 addresses of the machines.
    #[serde(rename = "ipv6Config", skip_serializing_if = "is_default")]
    pub ipv6_config: Option<IpConfig>,
    /// DNS servers of the machines.
    pub dns_servers: Vec<String>,
    /// Addresses by zone, for machines that name one.
    #[serde(skip_serializing_if = "is_default")]
    pub zone_config: Vec<ZoneConfig>,
    /// Secret with URL and token of the Proxmox VE API.
    #[serde(skip_serializing_if = "is_default")]
    pub credentials_ref: Option<SecretReference>,
}

/// Hints for choosing a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulerHints {
    /// How much of a node's memory may be promised, in percent: 100 when unset, unlimited when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_adjustment: Option<i64>,
}

/// Addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IpConfig {
    /// Single addresses, ranges `first-last`, networks in CIDR notation.
    pub addresses: Vec<String>,
    /// Length of the network prefix.
    pub prefix: i32,
    /// Gateway of the network.
    pub gateway: String,
    /// Priority of the route through the gateway; lower wins.
    #[serde(skip_serializing_if = "is_default")]
    pub metric: Option<i32>,
}

/// Addresses of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneConfig {
    /// Name of the zone.
    pub zone: String,
    /// IPv4 addresses of the machines.
    #[serde(rename = "ipv4Config", skip_serializing_if = "is_default")]
    pub ipv4_config: Option<IpConfig>,
    /// IPv6 addresses of the machines.
    #[serde(rename = "ipv6Config", skip_serializing_if = "is_default")]
    pub ipv6_config: Option<IpConfig>,
    /// DNS servers of the machines.
    pub dns_servers: Vec<String>,
}

/// What was observed of the infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxClusterStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Milestones of the first start.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: ProxmoxInitialization,
    /// Pools that hold the addresses.
    #[serde(rename = "inClusterIPPoolRef", skip_serializing_if = "is_default")]
    pub in_cluster_ip_pool_ref: Vec<LocalObjectReference>,
    /// Pools that hold the addresses of zones.
    #[serde(skip_serializing_if = "is_default")]
    pub in_cluster_zone_ref: Vec<InClusterZoneReference>,
    /// Which machine was placed on which node.
    #[serde(skip_serializing_if = "is_default")]
    pub node_locations: Option<NodeLocations>,
}

/// Milestones of the first start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxInitialization {
    /// What is wanted exists.
    #[serde(skip_serializing_if = "is_default")]
    pub provisioned: Option<bool>,
}

/// Pools of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct InClusterZoneReference {
    /// Name of the zone.
    #[serde(skip_serializing_if = "is_default")]
    pub zone: Option<String>,
    /// Pool with the IPv4 addresses.
    #[serde(rename = "inClusterIPPoolRefV4", skip_serializing_if = "is_default")]
    pub in_cluster_ip_pool_ref_v4: Option<LocalObjectReference>,
    /// Pool with the IPv6 addresses.
    #[serde(rename = "inClusterIPPoolRefV6", skip_serializing_if = "is_default")]
    pub in_cluster_ip_pool_ref_v6: Option<LocalObjectReference>,
}

/// Which machine was placed on which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeLocations {
    /// Control plane machines.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane: Vec<NodeLocation>,
    /// Workers.
    #[serde(skip_serializing_if = "is_default")]
    pub workers: Vec<NodeLocation>,
}

/// Where one machine was placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeLocation {
    /// The ProxmoxMachine.
    pub machine: LocalObjectReference,
    /// Name of the Proxmox VE node.
    pub node: String,
    /// Name of the zone.
    #[serde(skip_serializing_if = "is_default")]
    pub zone: Option<String>,
}

/// Template of ProxmoxClusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxClusterTemplateSpec {
    /// What is made from it.
    pub template: ProxmoxClusterTemplateResource,
}

/// What is made from a template of ProxmoxClusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxClusterTemplateResource {
    /// Labels and annotations.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: ProxmoxClusterSpec,
}
