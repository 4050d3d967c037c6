//! `IPAddressClaim` asks a pool for an address, `IPAddress` is the answer; and the two in-cluster pools.

use serde::{Deserialize, Serialize};

use super::conditions::{Condition, V1Beta1Condition};
use super::meta::{ContractVersionedObjectReference, KindInfo, is_default};

/// What an API server knows `IPAddress` by.
pub const IP_ADDRESS: KindInfo = KindInfo {
    group: "ipam.cluster.x-k8s.io",
    version: "v1beta2",
    kind: "IPAddress",
    plural: "ipaddresses",
    namespaced: true,
};

/// What an API server knows `IPAddressClaim` by.
pub const IP_ADDRESS_CLAIM: KindInfo = KindInfo {
    group: "ipam.cluster.x-k8s.io",
    version: "v1beta2",
    kind: "IPAddressClaim",
    plural: "ipaddressclaims",
    namespaced: true,
};

/// What an API server knows `InClusterIPPool` by.
pub const IN_CLUSTER_IP_POOL: KindInfo = KindInfo {
    group: "ipam.cluster.x-k8s.io",
    version: "v1alpha2",
    kind: "InClusterIPPool",
    plural: "inclusterippools",
    namespaced: true,
};

/// What an API server knows `GlobalInClusterIPPool` by.
pub const GLOBAL_IN_CLUSTER_IP_POOL: KindInfo = KindInfo {
    group: "ipam.cluster.x-k8s.io",
    version: "v1alpha2",
    kind: "GlobalInClusterIPPool",
    plural: "globalinclusterippools",
    namespaced: false,
};

#[cfg(feature = "api")]
crate::object_kind! {
    /// An address that a pool gave to a claim.
    pub struct IPAddress { spec: IPAddressSpec } = IP_ADDRESS, namespaced
}

#[cfg(feature = "api")]
crate::object_kind! {
    /// Asks a pool for an address.
    pub struct IPAddressClaim { spec: IPAddressClaimSpec, status: IPAddressClaimStatus } = IP_ADDRESS_CLAIM, namespaced
}

#[cfg(feature = "api")]
crate::object_kind! {
    /// A pool of addresses for claims of its own namespace.
    pub struct InClusterIPPool { spec: InClusterIPPoolSpec, status: InClusterIPPoolStatus } = IN_CLUSTER_IP_POOL, namespaced
}

#[cfg(feature = "api")]
crate::object_kind! {
    /// A pool of addresses for claims of every namespace.
    pub struct GlobalInClusterIPPool { spec: InClusterIPPoolSpec, status: InClusterIPPoolStatus } = GLOBAL_IN_CLUSTER_IP_POOL, cluster
}

/// An address that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressSpec {
    /// The claim that it was given to.
    pub claim_ref: IPAddressClaimReference,
    /// The pool that it is from.
    pub pool_ref: ContractVersionedObjectReference,
    /// The address, IPv4 or IPv6.
    pub address: String,
    /// Length of the network prefix.
    pub prefix: i32,
    /// Gateway of the network.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Option<String>,
}

/// Points to an IPAddressClaim in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressClaimReference {
    /// Name of the claim.
    pub name: String,
}

/// The address that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressClaimSpec {
    /// Name of the Cluster, so that its pause is heeded.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_name: Option<String>,
    /// The pool that is asked.
    pub pool_ref: ContractVersionedObjectReference,
}

/// What became of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressClaimStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// The address that was given.
    #[serde(skip_serializing_if = "is_default")]
    pub address_ref: Option<IPAddressReference>,
    /// What remains of the previous API version.
    #[serde(skip_serializing_if = "is_default")]
    pub deprecated: IPAddressClaimDeprecatedStatus,
}

/// Points to an IPAddress in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressReference {
    /// Name of the address.
    pub name: String,
}

/// What remains of previous API versions in a claim's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressClaimDeprecatedStatus {
    /// Status fields that only v1beta1 has.
    #[serde(skip_serializing_if = "is_default")]
    pub v1beta1: IPAddressClaimV1Beta1DeprecatedStatus,
}

/// Status fields of a claim that only v1beta1 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressClaimV1Beta1DeprecatedStatus {
    /// Conditions in the form of v1beta1.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<V1Beta1Condition>,
}

/// The addresses of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct InClusterIPPoolSpec {
    /// What the pool gives: single addresses, ranges `first-last`, networks in CIDR notation.
    pub addresses: Vec<String>,
    /// Length of the network prefix that goes with each address.
    pub prefix: i32,
    /// Gateway of the network; never given away.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Option<String>,
    /// Whether network and broadcast addresses (IPv4) or the anycast address (IPv6) are given too.
    #[serde(
        rename = "allocateReservedIPAddresses",
        skip_serializing_if = "is_default"
    )]
    pub allocate_reserved_ip_addresses: Option<bool>,
    /// What the pool never gives, in the notations of `addresses`.
    #[serde(skip_serializing_if = "is_default")]
    pub excluded_addresses: Vec<String>,
    /// Seconds that a released address rests before it is given again.
    #[serde(skip_serializing_if = "is_default")]
    pub address_reuse_grace_period_seconds: Option<i32>,
}

/// What was observed of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct InClusterIPPoolStatus {
    /// Addresses, counted.
    #[serde(rename = "ipAddresses", skip_serializing_if = "is_default")]
    pub ip_addresses: Option<IPAddressCounters>,
}

/// Addresses of a pool, counted; numbers beyond the range of `i64` are reported as its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IPAddressCounters {
    /// All that the pool may give.
    pub total: i64,
    /// Those that are given.
    pub used: i64,
    /// Those that are not.
    pub free: i64,
    /// Those that are given although the pool no longer holds them.
    pub out_of_range: i64,
}
