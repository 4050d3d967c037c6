//! Network devices, routes and routing tables of a virtual machine.

use capi_core::api::{TypedLocalObjectReference, is_default};
use serde::{Deserialize, Serialize};

/// Network of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkSpec {
    /// Zone that the addresses are from; the cluster's own addresses when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub zone: Option<String>,
    /// The devices, `net0` and on.
    pub network_devices: Vec<NetworkDevice>,
    /// Separate routing tables.
    #[serde(skip_serializing_if = "is_default")]
    pub vrfs: Vec<Vrf>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkDevice {
    /// Name, `net0` and on.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Bridge that the device is attached to; as in the template VM when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub bridge: Option<String>,
    /// Emulated hardware.
    #[serde(skip_serializing_if = "is_default")]
    pub model: Option<NetworkModel>,
    /// Size of packets; 1 means that of the bridge.
    #[serde(skip_serializing_if = "is_default")]
    pub mtu: Option<i32>,
    /// VLAN tag.
    #[serde(skip_serializing_if = "is_default")]
    pub vlan: Option<i32>,
    /// Packet queues.
    #[serde(skip_serializing_if = "is_default")]
    pub queues: Option<i32>,
    /// Whether the device gets the cluster's IPv4 address and default route.
    #[serde(rename = "defaultIPv4", skip_serializing_if = "is_default")]
    pub default_ipv4: Option<bool>,
    /// Whether the device gets the cluster's IPv6 address and default route.
    #[serde(rename = "defaultIPv6", skip_serializing_if = "is_default")]
    pub default_ipv6: Option<bool>,
    /// Pools of further addresses.
    #[serde(rename = "ipPoolRef", skip_serializing_if = "is_default")]
    pub ip_pool_ref: Vec<TypedLocalObjectReference>,
    /// DNS servers of the device.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_servers: Vec<String>,
    /// Size of packets within the guest.
    #[serde(skip_serializing_if = "is_default")]
    pub link_mtu: Option<i32>,
    /// Routes through the device.
    #[serde(skip_serializing_if = "is_default")]
    pub routes: Vec<Route>,
    /// Which routing table is used for what.
    #[serde(skip_serializing_if = "is_default")]
    pub routing_policy: Vec<RoutingPolicy>,
}

capi_core::open_enum! {
    /// Emulated network hardware.
    pub enum NetworkModel {
        /// Intel e1000.
        E1000 = "e1000",
        /// Paravirtualised.
        Virtio = "virtio",
        /// Realtek 8139.
        Rtl8139 = "rtl8139",
        /// VMware vmxnet3.
        Vmxnet3 = "vmxnet3",
    }
}

/// A separate routing table with the devices that use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Vrf {
    /// Name.
    pub name: String,
    /// Number of the routing table.
    pub table: i32,
    /// Names of the devices.
    #[serde(skip_serializing_if = "is_default")]
    pub interfaces: Vec<String>,
    /// Routes of the table.
    #[serde(skip_serializing_if = "is_default")]
    pub routes: Vec<Route>,
    /// What the table is used for.
    #[serde(skip_serializing_if = "is_default")]
    pub routing_policy: Vec<RoutingPolicy>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Destination network.
    #[serde(skip_serializing_if = "is_default")]
    pub to: Option<String>,
    /// Next hop.
    #[serde(skip_serializing_if = "is_default")]
    pub via: Option<String>,
    /// Priority; lower wins.
    #[serde(skip_serializing_if = "is_default")]
    pub metric: Option<i32>,
    /// Number of the routing table.
    #[serde(skip_serializing_if = "is_default")]
    pub table: Option<i32>,
    /// Whether a destination that is no address is meant as IPv6.
    #[serde(skip_serializing_if = "is_default")]
    pub is6: Option<bool>,
}

/// Says which routing table is used for which packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RoutingPolicy {
    /// Destination network.
    #[serde(skip_serializing_if = "is_default")]
    pub to: Option<String>,
    /// Source network.
    #[serde(skip_serializing_if = "is_default")]
    pub from: Option<String>,
    /// Number of the routing table.
    #[serde(skip_serializing_if = "is_default")]
    pub table: Option<i32>,
    /// Position among the policies.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Option<i64>,
    /// Whether a network that is no address is meant as IPv6.
    #[serde(skip_serializing_if = "is_default")]
    pub is6: Option<bool>,
}
