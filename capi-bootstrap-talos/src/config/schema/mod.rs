//! What Talos knows of its documents: kinds, fields, types, and how a field is written and
//! merged. Reading by it is strict: a key that no field has is an error.

mod block;
mod decode;
mod delete;
mod encode;
mod kubernetes;
mod merge;
mod network;
mod other;
mod text;
mod v1alpha1;

#[cfg(test)]
mod tests;

pub(super) use decode::decode;
pub(super) use delete::delete;
pub(super) use encode::encode;
pub(super) use merge::merge;

use super::DocumentId;

/// Type of a field.
#[derive(Debug)]
pub(super) enum Type {
    /// Text: any scalar, as it was written.
    Str,
    /// Text without white space before it.
    Trimmed,
    /// True or false. In a merge the patch always wins, even where it says nothing.
    Bool,
    /// A whole number of so many bits.
    Int(u32),
    /// A whole number from 0, of so many bits.
    Uint(u32),
    /// Bytes in base64.
    Base64,
    /// Text of a form.
    Text(Text),
    /// One of these; the first stands for nothing.
    Enum(&'static [&'static str]),
    /// A value that can be left out; present, it wins even where it is empty or false.
    Opt(&'static Type),
    /// A list; a patch appends.
    List(&'static Type),
    /// A list whose elements have an identity.
    Keyed(&'static Type, Key),
    /// A mapping of any keys; a patch merges.
    Map(&'static Type),
    /// A mapping of any content; a patch merges deep.
    Free,
    /// Arguments: text or a list of texts by name; a patch replaces values.
    Args,
    /// Anything.
    Any,
    /// Base64 of PEM under these keys; a patch replaces all of them.
    Pair(&'static [&'static str]),
    /// A mapping of known keys.
    Struct(&'static Struct),
}

/// Form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Address,
    AddressPort,
    DiskSize,
    Duration,
    Expression,
    FileMode,
    HardwareAddress,
    PortRange,
    Prefix,
    RoutingTable,
    Size,
    SizeMatcher,
    Url,
}

/// What identifies the elements of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `image`; a patch replaces the element.
    Image,
    /// `interface`, else an equal `deviceSelector`.
    Interface,
    /// `mountPath`.
    MountPath,
    /// `name`.
    Name,
    /// `vlanId`.
    VlanId,
}

/// A mapping of known keys, in the order in which Talos writes them.
#[derive(Debug)]
pub(super) struct Struct {
    pub(super) fields: &'static [Field],
}

/// One key of a [`Struct`].
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) flags: Flags,
    pub(super) of: Type,
}

/// How a field is written and merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    /// Not written where it says nothing.
    pub(super) omit: bool,
    /// A patch replaces a list or mapping instead of merging.
    pub(super) replace: bool,
    /// Known since Talos 1.14.
    pub(super) new: bool,
}

const fn flags(omit: bool, replace: bool, new: bool) -> Flags {
    Flags { omit, replace, new }
}

/// Always written.
const K: Flags = flags(false, false, false);
/// Omitted where empty.
const O: Flags = flags(true, false, false);
/// Replaced by patches.
const R: Flags = flags(false, true, false);
/// Omitted where empty, replaced by patches.
const OR: Flags = flags(true, true, false);
/// Omitted where empty, new in 1.14.
const ON: Flags = flags(true, false, true);

macro_rules! structs {
    ($($name:ident { $($key:literal $flags:ident : $of:expr),* $(,)? })*) => {$(
        pub(super) static $name: super::Struct = super::Struct {
            fields: &[$(super::Field { name: $key, flags: $flags, of: $of }),*],
        };
    )*};
}
use structs;

/// A kind of document.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Whether there can be several, told apart by `name`.
    pub(super) named: bool,
    /// Minor version of Talos 1 that knows it first; 0 where all do that are supported.
    pub(super) since: u32,
    pub(super) fields: &'static Struct,
}

/// The v1alpha1 document.
pub(super) static V1ALPHA1: Kind = Kind {
    name: "",
    named: false,
    since: 0,
    fields: &v1alpha1::V1ALPHA1,
};

/// The kind of a document.
pub(super) fn kind(id: &DocumentId) -> Option<&'static Kind> {
    if id.is_v1alpha1() {
        return Some(&V1ALPHA1);
    }
    if id.api_version != "v1alpha1" {
        return None;
    }
    KINDS.iter().find(|kind| kind.name == id.kind)
}

static KINDS: &[Kind] = &[
    Kind {
        name: "BGPInstanceConfig",
        named: true,
        since: 14,
        fields: &network::BGP_INSTANCE_CONFIG,
    },
    Kind {
        name: "BlackholeRouteConfig",
        named: true,
        since: 0,
        fields: &network::BLACKHOLE_ROUTE_CONFIG,
    },
    Kind {
        name: "BondConfig",
        named: true,
        since: 0,
        fields: &network::BOND_CONFIG,
    },
    Kind {
        name: "BridgeConfig",
        named: true,
        since: 0,
        fields: &network::BRIDGE_CONFIG,
    },
    Kind {
        name: "CRIBaseRuntimeSpecConfig",
        named: false,
        since: 14,
        fields: &other::CRI_BASE_RUNTIME_SPEC_CONFIG,
    },
    Kind {
        name: "CRICustomizationConfig",
        named: true,
        since: 14,
        fields: &other::CRI_CUSTOMIZATION_CONFIG,
    },
    Kind {
        name: "ContainerConfig",
        named: true,
        since: 14,
        fields: &other::CONTAINER_CONFIG,
    },
    Kind {
        name: "DHCPv4Config",
        named: true,
        since: 0,
        fields: &network::DHC_PV4_CONFIG,
    },
    Kind {
        name: "DHCPv6Config",
        named: true,
        since: 0,
        fields: &network::DHC_PV6_CONFIG,
    },
    Kind {
        name: "DiscoveryIdentityConfig",
        named: false,
        since: 14,
        fields: &other::DISCOVERY_IDENTITY_CONFIG,
    },
    Kind {
        name: "DiscoveryServiceConfig",
        named: true,
        since: 14,
        fields: &other::DISCOVERY_SERVICE_CONFIG,
    },
    Kind {
        name: "DummyLinkConfig",
        named: true,
        since: 0,
        fields: &network::DUMMY_LINK_CONFIG,
    },
    Kind {
        name: "EnvironmentConfig",
        named: false,
        since: 0,
        fields: &other::ENVIRONMENT,
    },
    Kind {
        name: "EtcFileConfig",
        named: true,
        since: 14,
        fields: &other::ETC_FILE_CONFIG,
    },
    Kind {
        name: "EthernetConfig",
        named: true,
        since: 0,
        fields: &network::ETHERNET_CONFIG,
    },
    Kind {
        name: "EventSinkConfig",
        named: false,
        since: 0,
        fields: &other::EVENT_SINK,
    },
    Kind {
        name: "ExistingVolumeConfig",
        named: true,
        since: 0,
        fields: &block::EXISTING_VOLUME_CONFIG,
    },
    Kind {
        name: "ExtensionServiceConfig",
        named: true,
        since: 0,
        fields: &other::SERVICE_CONFIG,
    },
    Kind {
        name: "ExternalVolumeConfig",
        named: true,
        since: 0,
        fields: &block::EXTERNAL_VOLUME_CONFIG,
    },
    Kind {
        name: "FilesystemScrubConfig",
        named: false,
        since: 14,
        fields: &block::FILESYSTEM_SCRUB_CONFIG,
    },
    Kind {
        name: "FilesystemTrimConfig",
        named: false,
        since: 14,
        fields: &block::FILESYSTEM_TRIM_CONFIG,
    },
    Kind {
        name: "HCloudVIPConfig",
        named: true,
        since: 0,
        fields: &network::H_CLOUD_VIP_CONFIG,
    },
    Kind {
        name: "HTTPProbeConfig",
        named: true,
        since: 14,
        fields: &network::HTTP_PROBE_CONFIG,
    },
    Kind {
        name: "HostnameConfig",
        named: false,
        since: 0,
        fields: &network::HOSTNAME_CONFIG,
    },
    Kind {
        name: "ImageCacheConfig",
        named: false,
        since: 14,
        fields: &other::CRI_IMAGE_CACHE_CONFIG,
    },
    Kind {
        name: "ImageVerificationConfig",
        named: false,
        since: 0,
        fields: &other::IMAGE_VERIFICATION_CONFIG,
    },
    Kind {
        name: "KernelModuleConfig",
        named: true,
        since: 14,
        fields: &other::RUNTIME_KERNEL_MODULE_CONFIG,
    },
    Kind {
        name: "KmsgLogConfig",
        named: true,
        since: 0,
        fields: &other::KMSG_LOG,
    },
    Kind {
        name: "KubeAPIServerCAConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_API_SERVER_CA_CONFIG,
    },
    Kind {
        name: "KubeAPIServerConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_API_SERVER_CONFIG,
    },
    Kind {
        name: "KubeAdmissionControlConfig",
        named: true,
        since: 14,
        fields: &kubernetes::KUBE_ADMISSION_CONTROL_CONFIG,
    },
    Kind {
        name: "KubeAggregatorCAConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_AGGREGATOR_CA_CONFIG,
    },
    Kind {
        name: "KubeAuditPolicyConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_AUDIT_POLICY_CONFIG,
    },
    Kind {
        name: "KubeAuthenticationConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_AUTHENTICATION_CONFIG,
    },
    Kind {
        name: "KubeAuthorizerConfig",
        named: true,
        since: 14,
        fields: &kubernetes::KUBE_AUTHORIZER_CONFIG,
    },
    Kind {
        name: "KubeClusterConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_CLUSTER_CONFIG,
    },
    Kind {
        name: "KubeControllerManagerConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_CONTROLLER_MANAGER_CONFIG,
    },
    Kind {
        name: "KubeCoreDNSConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_CORE_DNS_CONFIG,
    },
    Kind {
        name: "KubeCredentialProviderConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_CREDENTIAL_PROVIDER_CONFIG,
    },
    Kind {
        name: "KubeEtcdEncryptionConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_ETCD_ENCRYPTION_CONFIG,
    },
    Kind {
        name: "KubeExternalManifestConfig",
        named: true,
        since: 14,
        fields: &kubernetes::KUBE_EXTERNAL_MANIFEST_CONFIG,
    },
    Kind {
        name: "KubeFlannelCNIConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_FLANNEL_CNI_CONFIG,
    },
    Kind {
        name: "KubeInlineManifestConfig",
        named: true,
        since: 14,
        fields: &kubernetes::KUBE_INLINE_MANIFEST_CONFIG,
    },
    Kind {
        name: "KubeNetworkConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_NETWORK_CONFIG,
    },
    Kind {
        name: "KubeNodeConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_NODE_CONFIG,
    },
    Kind {
        name: "KubePrismConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_PRISM_CONFIG,
    },
    Kind {
        name: "KubeProxyConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_PROXY_CONFIG,
    },
    Kind {
        name: "KubeSchedulerConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_SCHEDULER_CONFIG,
    },
    Kind {
        name: "KubeServiceAccountConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_SERVICE_ACCOUNT_CONFIG,
    },
    Kind {
        name: "KubeSpanConfig",
        named: false,
        since: 0,
        fields: &network::KUBE_SPAN_CONFIG,
    },
    Kind {
        name: "KubeSpanEndpointsConfig",
        named: false,
        since: 0,
        fields: &network::KUBESPAN_ENDPOINTS_CONFIG,
    },
    Kind {
        name: "KubeStaticPodConfig",
        named: true,
        since: 14,
        fields: &kubernetes::KUBE_STATIC_POD_CONFIG,
    },
    Kind {
        name: "KubeTalosAPIAccessConfig",
        named: false,
        since: 14,
        fields: &kubernetes::KUBE_TALOS_API_ACCESS_CONFIG,
    },
    Kind {
        name: "KubeletConfig",
        named: false,
        since: 14,
        fields: &kubernetes::K8S_KUBELET_CONFIG,
    },
    Kind {
        name: "LVMLogicalVolumeConfig",
        named: true,
        since: 14,
        fields: &other::LVM_LOGICAL_VOLUME_CONFIG,
    },
    Kind {
        name: "LVMVolumeGroupConfig",
        named: true,
        since: 14,
        fields: &other::LVM_VOLUME_GROUP_CONFIG,
    },
    Kind {
        name: "Layer2VIPConfig",
        named: true,
        since: 0,
        fields: &network::LAYER2_VIP_CONFIG,
    },
    Kind {
        name: "LinkAliasConfig",
        named: true,
        since: 0,
        fields: &network::LINK_ALIAS_CONFIG,
    },
    Kind {
        name: "LinkConfig",
        named: true,
        since: 0,
        fields: &network::LINK_CONFIG,
    },
    Kind {
        name: "NetworkDefaultActionConfig",
        named: false,
        since: 0,
        fields: &network::DEFAULT_ACTION_CONFIG,
    },
    Kind {
        name: "NetworkRuleConfig",
        named: true,
        since: 0,
        fields: &network::RULE_CONFIG,
    },
    Kind {
        name: "OOMConfig",
        named: false,
        since: 0,
        fields: &other::OOM,
    },
    Kind {
        name: "PCIDriverRebindConfig",
        named: true,
        since: 0,
        fields: &other::PCI_DRIVER_REBIND_CONFIG,
    },
    Kind {
        name: "RAIDArrayConfig",
        named: true,
        since: 14,
        fields: &other::RAID_ARRAY_CONFIG,
    },
    Kind {
        name: "RawVolumeConfig",
        named: true,
        since: 0,
        fields: &block::RAW_VOLUME_CONFIG,
    },
    Kind {
        name: "RegistryAuthConfig",
        named: true,
        since: 0,
        fields: &other::CRI_REGISTRY_AUTH_CONFIG,
    },
    Kind {
        name: "RegistryMirrorConfig",
        named: true,
        since: 0,
        fields: &other::CRI_REGISTRY_MIRROR_CONFIG,
    },
    Kind {
        name: "RegistryTLSConfig",
        named: true,
        since: 0,
        fields: &other::CRI_REGISTRY_TLS_CONFIG,
    },
    Kind {
        name: "ResolverConfig",
        named: false,
        since: 0,
        fields: &network::RESOLVER_CONFIG,
    },
    Kind {
        name: "RoutingRuleConfig",
        named: true,
        since: 0,
        fields: &network::ROUTING_RULE_CONFIG,
    },
    Kind {
        name: "SecurityProfileConfig",
        named: false,
        since: 14,
        fields: &other::SECURITY_PROFILE_CONFIG,
    },
    Kind {
        name: "SideroLinkConfig",
        named: false,
        since: 0,
        fields: &other::SIDEROLINK_CONFIG,
    },
    Kind {
        name: "StaticHostConfig",
        named: true,
        since: 0,
        fields: &network::STATIC_HOST_CONFIG,
    },
    Kind {
        name: "SwapVolumeConfig",
        named: true,
        since: 0,
        fields: &block::SWAP_VOLUME_CONFIG,
    },
    Kind {
        name: "SysctlConfig",
        named: false,
        since: 14,
        fields: &other::SYSCTL_CONFIG,
    },
    Kind {
        name: "SysfsConfig",
        named: false,
        since: 14,
        fields: &other::SYSFS_CONFIG,
    },
    Kind {
        name: "TCPProbeConfig",
        named: true,
        since: 0,
        fields: &network::TCP_PROBE_CONFIG,
    },
    Kind {
        name: "TimeSyncConfig",
        named: false,
        since: 0,
        fields: &network::TIME_SYNC_CONFIG,
    },
    Kind {
        name: "TrustedRootsConfig",
        named: true,
        since: 0,
        fields: &other::TRUSTED_ROOTS_CONFIG,
    },
    Kind {
        name: "UdevRulesConfig",
        named: false,
        since: 14,
        fields: &other::UDEV_RULES_CONFIG,
    },
    Kind {
        name: "UnattendedInstallConfig",
        named: false,
        since: 14,
        fields: &other::UNATTENDED_INSTALL_CONFIG,
    },
    Kind {
        name: "UserVolumeConfig",
        named: true,
        since: 0,
        fields: &block::USER_VOLUME_CONFIG,
    },
    Kind {
        name: "VLANConfig",
        named: true,
        since: 0,
        fields: &network::VLAN_CONFIG,
    },
    Kind {
        name: "VRFConfig",
        named: true,
        since: 0,
        fields: &network::VRF_CONFIG,
    },
    Kind {
        name: "VethConfig",
        named: true,
        since: 14,
        fields: &network::VETH_CONFIG,
    },
    Kind {
        name: "VolumeConfig",
        named: true,
        since: 0,
        fields: &block::VOLUME_CONFIG,
    },
    Kind {
        name: "WatchdogTimerConfig",
        named: false,
        since: 0,
        fields: &other::WATCHDOG_TIMER,
    },
    Kind {
        name: "WireguardConfig",
        named: true,
        since: 0,
        fields: &network::WIREGUARD_CONFIG,
    },
    Kind {
        name: "ZswapConfig",
        named: false,
        since: 0,
        fields: &block::ZSWAP_CONFIG,
    },
];
