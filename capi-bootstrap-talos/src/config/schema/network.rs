//! Documents of the network.
//!
//! Names and types of the fields, in the order in which Talos writes them.

use super::Text::{
    Address, AddressPort, Duration, Expression, HardwareAddress, PortRange, Prefix, RoutingTable,
    Url,
};
use super::Type::{Bool, Int, List, Map, Opt, Str, Struct, Text, Uint};
use super::{K, O, ON, OR, R, Type, structs};

const ADLACP_ACTIVE: Type = Type::Enum(&["off", "on"]);
const AD_SELECT: Type = Type::Enum(&["stable", "bandwidth", "count"]);
const ARP_ALL_TARGETS: Type = Type::Enum(&["any", "all"]);
const ARP_VALIDATE: Type = Type::Enum(&[
    "none",
    "active",
    "backup",
    "all",
    "filter",
    "filter-active",
    "filter-backup",
]);
const AUTO_HOSTNAME_KIND: Type = Type::Enum(&["off", "talos-addr", "stable"]);
const BOND_MODE: Type = Type::Enum(&[
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
]);
const BOND_XMIT_HASH_POLICY: Type =
    Type::Enum(&["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"]);
const CLIENT_IDENTIFIER: Type = Type::Enum(&["none", "mac", "duid"]);
const DEFAULT_ACTION: Type = Type::Enum(&["accept", "block"]);
const DNS_PROTOCOL: Type = Type::Enum(&["Do53", "DoT", "DoH"]);
const FAIL_OVER_MAC: Type = Type::Enum(&["none", "active", "follow"]);
const LACP_RATE: Type = Type::Enum(&["slow", "fast"]);
const PRIMARY_RESELECT: Type = Type::Enum(&["always", "better", "failure"]);
const PROTOCOL: Type = Type::Enum(&["", "icmp", "tcp", "udp", "icmpv6"]);
const ROUTING_RULE_ACTION: Type =
    Type::Enum(&["unspec", "unicast", "blackhole", "unreachable", "prohibit"]);
const VLAN_PROTOCOL: Type = Type::Enum(&["", "802.1q", "802.1ad"]);
const WOL_MODE: Type = Type::Enum(&[
    "",
    "phy",
    "unicast",
    "multicast",
    "broadcast",
    "magic",
    "magicsecure",
    "filter",
]);

structs! {
    ADDRESS_CONFIG {
        "address" K: Text(Prefix),
        "routePriority" O: Opt(&Uint(32)),
    }
    BGPBFD_CONFIG {
        "transmitInterval" O: Text(Duration),
        "receiveInterval" O: Text(Duration),
        "detectMultiplier" O: Uint(8),
    }
    BGP_IMPORT_ROUTE {
        "bgpInstance" K: Str,
        "prefixes" K: List(&Text(Prefix)),
    }
    BGP_INSTANCE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "vrf" O: Str,
        "localASN" K: Uint(32),
        "routerID" O: Text(Address),
        "routeSource" O: Text(Address),
        "advertise" OR: List(&Str),
        "multipath" O: Opt(&Bool),
        "maxPaths" O: Uint(8),
        "installRoutes" O: Opt(&Bool),
        "importRoutes" OR: List(&Struct(&BGP_IMPORT_ROUTE)),
        "neighbors" OR: List(&Struct(&BGP_NEIGHBOR_CONFIG)),
    }
    BGP_NEIGHBOR_CONFIG {
        "address" O: Text(Address),
        "link" O: Str,
        "peerASN" O: Uint(32),
        "localASN" O: Uint(32),
        "passive" O: Bool,
        "holdTime" O: Text(Duration),
        "bfd" O: Opt(&Struct(&BGPBFD_CONFIG)),
    }
    BLACKHOLE_ROUTE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "metric" O: Uint(32),
    }
    BOND_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "hardwareAddr" O: Text(HardwareAddress),
        "links" O: List(&Str),
        "bondMode" O: Opt(&BOND_MODE),
        "miimon" O: Opt(&Uint(32)),
        "updelay" O: Opt(&Uint(32)),
        "downdelay" O: Opt(&Uint(32)),
        "useCarrier" O: Opt(&Bool),
        "xmitHashPolicy" O: Opt(&BOND_XMIT_HASH_POLICY),
        "arpInterval" O: Opt(&Uint(32)),
        "arpIpTargets" O: List(&Text(Address)),
        "nsIp6Targets" O: List(&Text(Address)),
        "arpValidate" O: Opt(&ARP_VALIDATE),
        "arpAllTargets" O: Opt(&ARP_ALL_TARGETS),
        "lacpRate" O: Opt(&LACP_RATE),
        "failOverMac" O: Opt(&FAIL_OVER_MAC),
        "adSelect" O: Opt(&AD_SELECT),
        "adActorSysPrio" O: Opt(&Uint(16)),
        "adUserPortKey" O: Opt(&Uint(16)),
        "adLACPActive" O: Opt(&ADLACP_ACTIVE),
        "primary" ON: Opt(&Str),
        "primaryReselect" O: Opt(&PRIMARY_RESELECT),
        "resendIGMP" O: Opt(&Uint(32)),
        "minLinks" O: Opt(&Uint(32)),
        "lpInterval" O: Opt(&Uint(32)),
        "packetsPerSlave" O: Opt(&Uint(32)),
        "numPeerNotif" O: Opt(&Uint(8)),
        "tlbLogicalLb" O: Opt(&Uint(8)),
        "allSlavesActive" O: Opt(&Uint(8)),
        "peerNotifDelay" O: Opt(&Uint(32)),
        "missedMax" O: Opt(&Uint(8)),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    BRIDGE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "hardwareAddr" O: Text(HardwareAddress),
        "links" O: List(&Str),
        "stp" O: Struct(&BRIDGE_STP_CONFIG),
        "vlan" O: Struct(&BRIDGE_VLAN_CONFIG),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    BRIDGE_STP_CONFIG {
        "enabled" O: Opt(&Bool),
    }
    BRIDGE_VLAN_CONFIG {
        "filtering" O: Opt(&Bool),
    }
    DEFAULT_ACTION_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "ingress" K: DEFAULT_ACTION,
    }
    DHC_PV4_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "routeMetric" O: Uint(32),
        "ignoreHostname" O: Opt(&Bool),
        "ignoreRoutes" ON: Opt(&Bool),
        "clientIdentifier" O: Opt(&CLIENT_IDENTIFIER),
        "duidRaw" O: Text(HardwareAddress),
    }
    DHC_PV6_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "routeMetric" O: Uint(32),
        "ignoreHostname" O: Opt(&Bool),
        "clientIdentifier" O: Opt(&CLIENT_IDENTIFIER),
        "duidRaw" O: Text(HardwareAddress),
    }
    DUMMY_LINK_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "hardwareAddr" O: Text(HardwareAddress),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    ETHERNET_CHANNELS_CONFIG {
        "rx" O: Opt(&Uint(32)),
        "tx" O: Opt(&Uint(32)),
        "other" O: Opt(&Uint(32)),
        "combined" O: Opt(&Uint(32)),
    }
    ETHERNET_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "features" O: Map(&Bool),
        "rings" O: Opt(&Struct(&ETHERNET_RINGS_CONFIG)),
        "channels" O: Opt(&Struct(&ETHERNET_CHANNELS_CONFIG)),
        "wakeOnLan" O: List(&WOL_MODE),
    }
    ETHERNET_RINGS_CONFIG {
        "rx" O: Opt(&Uint(32)),
        "tx" O: Opt(&Uint(32)),
        "rx-mini" O: Opt(&Uint(32)),
        "rx-jumbo" O: Opt(&Uint(32)),
        "rx-buf-len" O: Opt(&Uint(32)),
        "cqe-size" O: Opt(&Uint(32)),
        "tx-push" O: Opt(&Bool),
        "rx-push" O: Opt(&Bool),
        "tx-push-buf-len" O: Opt(&Uint(32)),
        "tcp-data-split" O: Opt(&Bool),
    }
    HOSTNAME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "auto" O: Opt(&AUTO_HOSTNAME_KIND),
        "hostname" O: Str,
    }
    HTTP_PROBE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "interval" O: Text(Duration),
        "failureThreshold" O: Int(64),
        "url" K: Text(Url),
        "timeout" O: Text(Duration),
    }
    H_CLOUD_VIP_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "link" K: Str,
        "apiToken" K: Str,
    }
    INGRESS_RULE {
        "subnet" K: Text(Prefix),
        "except" O: Text(Prefix),
    }
    KUBESPAN_ENDPOINTS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "extraAnnouncedEndpoints" K: List(&Text(AddressPort)),
    }
    KUBE_SPAN_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "advertiseKubernetesNetworks" O: Opt(&Bool),
        "allowDownPeerBypass" O: Opt(&Bool),
        "harvestExtraEndpoints" O: Opt(&Bool),
        "mtu" O: Opt(&Uint(32)),
        "filters" O: Opt(&Struct(&KUBE_SPAN_FILTERS_CONFIG)),
    }
    KUBE_SPAN_FILTERS_CONFIG {
        "endpoints" O: List(&Str),
        "excludeAdvertisedNetworks" O: List(&Text(Prefix)),
    }
    LAYER2_VIP_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "link" K: Str,
    }
    LINK_ALIAS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "selector" O: Struct(&LINK_SELECTOR),
    }
    LINK_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    LINK_SELECTOR {
        "match" O: Text(Expression),
    }
    NAMESERVER_CONFIG {
        "address" K: Text(Address),
        "protocol" ON: DNS_PROTOCOL,
        "tlsServerName" ON: Str,
    }
    NETWORK_HOST_DNS_CONFIG {
        "enabled" O: Opt(&Bool),
        "forwardKubeDNSToHost" O: Opt(&Bool),
        "resolveMemberNames" O: Opt(&Bool),
    }
    NTP_CONFIG {
        "servers" O: List(&Str),
        "useNTS" ON: Opt(&Bool),
    }
    PTP_CONFIG {
        "devices" O: List(&Str),
    }
    RESOLVER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "nameservers" O: List(&Struct(&NAMESERVER_CONFIG)),
        "searchDomains" O: Struct(&SEARCH_DOMAINS_CONFIG),
        "hostDNS" ON: Struct(&NETWORK_HOST_DNS_CONFIG),
    }
    ROUTE_CONFIG {
        "destination" O: Text(Prefix),
        "gateway" O: Text(Address),
        "source" O: Text(Address),
        "metric" O: Uint(32),
        "mtu" O: Uint(32),
        "table" O: Text(RoutingTable),
    }
    ROUTING_RULE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "src" O: Text(Prefix),
        "dst" O: Text(Prefix),
        "table" K: Text(RoutingTable),
        "action" O: ROUTING_RULE_ACTION,
        "iifName" O: Str,
        "oifName" O: Str,
        "fwMark" O: Uint(32),
        "fwMask" O: Uint(32),
    }
    RULE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "portSelector" K: Struct(&RULE_PORT_SELECTOR),
        "ingress" R: List(&Struct(&INGRESS_RULE)),
    }
    RULE_PORT_SELECTOR {
        "ports" R: List(&Text(PortRange)),
        "protocol" K: PROTOCOL,
    }
    SEARCH_DOMAINS_CONFIG {
        "domains" O: List(&Str),
        "disableDefault" O: Opt(&Bool),
    }
    STATIC_HOST_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "hostnames" K: List(&Str),
    }
    TCP_PROBE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "interval" O: Text(Duration),
        "failureThreshold" O: Int(64),
        "endpoint" K: Str,
        "timeout" O: Text(Duration),
    }
    TIME_SYNC_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "bootTimeout" O: Text(Duration),
        "ntp" O: Opt(&Struct(&NTP_CONFIG)),
        "ptp" O: Opt(&Struct(&PTP_CONFIG)),
    }
    VETH_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "peer" K: Struct(&VETH_PEER_CONFIG),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    VETH_PEER_CONFIG {
        "name" K: Str,
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    VLAN_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "vlanID" O: Uint(16),
        "vlanMode" O: Opt(&VLAN_PROTOCOL),
        "parent" O: Str,
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    VRF_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "hardwareAddr" O: Text(HardwareAddress),
        "links" O: List(&Str),
        "table" K: Text(RoutingTable),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    WIREGUARD_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "privateKey" O: Str,
        "listenPort" O: Int(64),
        "firewallMark" O: Int(64),
        "peers" O: List(&Struct(&WIREGUARD_PEER)),
        "up" O: Opt(&Bool),
        "mtu" O: Uint(32),
        "addresses" O: List(&Struct(&ADDRESS_CONFIG)),
        "routes" O: List(&Struct(&ROUTE_CONFIG)),
        "multicast" O: Opt(&Bool),
    }
    WIREGUARD_PEER {
        "publicKey" O: Str,
        "presharedKey" O: Str,
        "endpoint" O: Text(AddressPort),
        "persistentKeepaliveInterval" O: Text(Duration),
        "allowedIPs" O: List(&Text(Prefix)),
    }
}
