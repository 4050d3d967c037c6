//! The v1alpha1 document: `machine` and `cluster`.
//!
//! Names and types of the fields, in the order in which Talos writes them.

use super::Text::{DiskSize, Duration, FileMode, SizeMatcher, Url};
use super::Type::{
    Args, Base64, Bool, Free, Int, Keyed, List, Map, Opt, Pair, Str, Struct, Text, Trimmed, Uint,
};
use super::{K, Key, O, OR, R, structs};

structs! {
    ADMIN_KUBECONFIG_CONFIG {
        "certLifetime" O: Text(Duration),
    }
    ADMISSION_PLUGIN_CONFIG {
        "name" K: Str,
        "configuration" K: Free,
    }
    API_SERVER_CONFIG {
        "image" O: Str,
        "extraArgs" O: Args,
        "extraVolumes" O: List(&Struct(&VOLUME_MOUNT_CONFIG)),
        "env" O: Map(&Str),
        "certSANs" O: List(&Str),
        "disablePodSecurityPolicy" O: Opt(&Bool),
        "admissionControl" O: Keyed(&Struct(&ADMISSION_PLUGIN_CONFIG), Key::Name),
        "auditPolicy" OR: Free,
        "resources" O: Opt(&Struct(&RESOURCES_CONFIG)),
        "authorizationConfig" O: List(&Struct(&AUTHORIZATION_CONFIG_AUTHORIZER_CONFIG)),
    }
    AUTHORIZATION_CONFIG_AUTHORIZER_CONFIG {
        "type" K: Str,
        "name" K: Str,
        "webhook" O: Free,
    }
    BOND {
        "interfaces" K: List(&Str),
        "deviceSelectors" O: List(&Struct(&NETWORK_DEVICE_SELECTOR)),
        "arpIPTarget" O: List(&Str),
        "mode" K: Str,
        "xmitHashPolicy" O: Str,
        "lacpRate" O: Str,
        "adActorSystem" O: Str,
        "arpValidate" O: Str,
        "arpAllTargets" O: Str,
        "primary" O: Str,
        "primaryReselect" O: Str,
        "failOverMac" O: Str,
        "adSelect" O: Str,
        "miimon" O: Uint(32),
        "updelay" O: Uint(32),
        "downdelay" O: Uint(32),
        "arpInterval" O: Uint(32),
        "resendIgmp" O: Uint(32),
        "minLinks" O: Uint(32),
        "lpInterval" O: Uint(32),
        "packetsPerSlave" O: Uint(32),
        "numPeerNotif" O: Uint(8),
        "tlbDynamicLb" O: Uint(8),
        "allSlavesActive" O: Uint(8),
        "useCarrier" O: Opt(&Bool),
        "adActorSysPrio" O: Uint(16),
        "adUserPortKey" O: Uint(16),
        "peerNotifyDelay" O: Uint(32),
    }
    BRIDGE {
        "interfaces" K: List(&Str),
        "stp" O: Opt(&Struct(&STP)),
        "vlan" O: Opt(&Struct(&BRIDGE_VLAN)),
    }
    BRIDGE_PORT {
        "master" O: Str,
    }
    BRIDGE_VLAN {
        "vlanFiltering" O: Opt(&Bool),
    }
    CLUSTER_CONFIG {
        "id" O: Str,
        "secret" O: Str,
        "controlPlane" O: Opt(&Struct(&CONTROL_PLANE_CONFIG)),
        "clusterName" O: Str,
        "network" O: Opt(&Struct(&CLUSTER_NETWORK_CONFIG)),
        "token" O: Str,
        "aescbcEncryptionSecret" O: Str,
        "secretboxEncryptionSecret" O: Str,
        "ca" O: Opt(&Pair(&["crt", "key"])),
        "acceptedCAs" O: List(&Pair(&["crt"])),
        "aggregatorCA" O: Opt(&Pair(&["crt", "key"])),
        "serviceAccount" O: Opt(&Pair(&["key"])),
        "apiServer" O: Opt(&Struct(&API_SERVER_CONFIG)),
        "controllerManager" O: Opt(&Struct(&CONTROLLER_MANAGER_CONFIG)),
        "proxy" O: Opt(&Struct(&PROXY_CONFIG)),
        "scheduler" O: Opt(&Struct(&SCHEDULER_CONFIG)),
        "discovery" O: Opt(&Struct(&CLUSTER_DISCOVERY_CONFIG)),
        "etcd" O: Opt(&Struct(&ETCD_CONFIG)),
        "coreDNS" O: Opt(&Struct(&CORE_DNS)),
        "externalCloudProvider" O: Opt(&Struct(&EXTERNAL_CLOUD_PROVIDER_CONFIG)),
        "extraManifests" O: List(&Str),
        "extraManifestHeaders" O: Map(&Str),
        "inlineManifests" O: List(&Struct(&CLUSTER_INLINE_MANIFEST)),
        "adminKubeconfig" O: Opt(&Struct(&ADMIN_KUBECONFIG_CONFIG)),
        "allowSchedulingOnMasters" O: Opt(&Bool),
        "allowSchedulingOnControlPlanes" O: Opt(&Bool),
    }
    CLUSTER_DISCOVERY_CONFIG {
        "enabled" O: Opt(&Bool),
        "registries" K: Struct(&DISCOVERY_REGISTRIES_CONFIG),
    }
    CLUSTER_INLINE_MANIFEST {
        "name" K: Str,
        "contents" K: Trimmed,
    }
    CLUSTER_NETWORK_CONFIG {
        "cni" O: Opt(&Struct(&CNI_CONFIG)),
        "dnsDomain" K: Str,
        "podSubnets" R: List(&Str),
        "serviceSubnets" R: List(&Str),
    }
    CNI_CONFIG {
        "name" O: Str,
        "urls" O: List(&Str),
        "flannel" O: Opt(&Struct(&FLANNEL_CNI_CONFIG)),
    }
    CONTROLLER_MANAGER_CONFIG {
        "image" O: Str,
        "extraArgs" O: Args,
        "extraVolumes" O: List(&Struct(&VOLUME_MOUNT_CONFIG)),
        "env" O: Map(&Str),
        "resources" O: Opt(&Struct(&RESOURCES_CONFIG)),
    }
    CONTROL_PLANE_CONFIG {
        "endpoint" K: Opt(&Text(Url)),
        "localAPIServerPort" O: Int(64),
    }
    CORE_DNS {
        "disabled" O: Opt(&Bool),
        "image" O: Str,
    }
    DEVICE {
        "interface" O: Str,
        "deviceSelector" O: Opt(&Struct(&NETWORK_DEVICE_SELECTOR)),
        "addresses" O: List(&Str),
        "cidr" O: Str,
        "routes" O: List(&Struct(&ROUTE)),
        "bond" O: Opt(&Struct(&BOND)),
        "bridge" O: Opt(&Struct(&BRIDGE)),
        "bridgePort" O: Opt(&Struct(&BRIDGE_PORT)),
        "vlans" O: Keyed(&Struct(&VLAN), Key::VlanId),
        "mtu" O: Int(64),
        "dhcp" O: Opt(&Bool),
        "ignore" O: Opt(&Bool),
        "dummy" O: Opt(&Bool),
        "dhcpOptions" O: Opt(&Struct(&DHCP_OPTIONS)),
        "wireguard" O: Opt(&Struct(&DEVICE_WIREGUARD_CONFIG)),
        "vip" O: Opt(&Struct(&DEVICE_VIP_CONFIG)),
    }
    DEVICE_VIP_CONFIG {
        "ip" O: Str,
        "equinixMetal" O: Opt(&Struct(&VIP_EQUINIX_METAL_CONFIG)),
        "hcloud" O: Opt(&Struct(&VIPH_CLOUD_CONFIG)),
    }
    DEVICE_WIREGUARD_CONFIG {
        "privateKey" O: Str,
        "listenPort" O: Int(64),
        "firewallMark" O: Int(64),
        "peers" O: List(&Struct(&DEVICE_WIREGUARD_PEER)),
    }
    DEVICE_WIREGUARD_PEER {
        "publicKey" O: Str,
        "endpoint" O: Str,
        "persistentKeepaliveInterval" O: Text(Duration),
        "allowedIPs" O: List(&Str),
    }
    DHCP_OPTIONS {
        "routeMetric" K: Uint(32),
        "ipv4" O: Opt(&Bool),
        "ipv6" O: Opt(&Bool),
        "duidv6" O: Str,
    }
    DISCOVERY_REGISTRIES_CONFIG {
        "kubernetes" K: Struct(&REGISTRY_KUBERNETES_CONFIG),
        "service" K: Struct(&REGISTRY_SERVICE_CONFIG),
    }
    DISK_PARTITION {
        "size" O: Text(DiskSize),
        "mountpoint" O: Str,
    }
    ENCRYPTION_CONFIG {
        "provider" K: Str,
        "keys" K: List(&Struct(&ENCRYPTION_KEY)),
        "cipher" O: Str,
        "keySize" O: Uint(64),
        "blockSize" O: Uint(64),
        "options" O: List(&Str),
    }
    ENCRYPTION_KEY {
        "static" O: Opt(&Struct(&ENCRYPTION_KEY_STATIC)),
        "nodeID" O: Opt(&Struct(&ENCRYPTION_KEY_NODE_ID)),
        "kms" O: Opt(&Struct(&ENCRYPTION_KEY_KMS)),
        "slot" K: Int(64),
        "tpm" O: Opt(&Struct(&ENCRYPTION_KEY_TPM)),
    }
    ENCRYPTION_KEY_KMS {
        "endpoint" K: Str,
    }
    ENCRYPTION_KEY_NODE_ID {}
    ENCRYPTION_KEY_STATIC {
        "passphrase" O: Str,
    }
    ENCRYPTION_KEY_TPM {
        "checkSecurebootStatusOnEnroll" O: Opt(&Bool),
    }
    ETCD_CONFIG {
        "image" O: Str,
        "ca" K: Opt(&Pair(&["crt", "key"])),
        "extraArgs" O: Args,
        "subnet" O: Str,
        "advertisedSubnets" O: List(&Str),
        "listenSubnets" O: List(&Str),
    }
    EXTERNAL_CLOUD_PROVIDER_CONFIG {
        "enabled" O: Opt(&Bool),
        "manifests" O: List(&Str),
    }
    EXTRA_HOST {
        "ip" K: Str,
        "aliases" K: List(&Str),
    }
    EXTRA_MOUNT {
        "destination" K: Str,
        "type" O: Str,
        "source" O: Str,
        "options" O: List(&Str),
        "uidMappings" O: List(&Struct(&LINUX_ID_MAPPING)),
        "gidMappings" O: List(&Struct(&LINUX_ID_MAPPING)),
    }
    FEATURES_CONFIG {
        "rbac" O: Opt(&Bool),
        "stableHostname" O: Opt(&Bool),
        "kubernetesTalosAPIAccess" O: Opt(&Struct(&KUBERNETES_TALOS_API_ACCESS_CONFIG)),
        "apidCheckExtKeyUsage" O: Opt(&Bool),
        "diskQuotaSupport" O: Opt(&Bool),
        "kubePrism" O: Opt(&Struct(&KUBE_PRISM)),
        "hostDNS" O: Opt(&Struct(&HOST_DNS_CONFIG)),
        "imageCache" O: Opt(&Struct(&IMAGE_CACHE_CONFIG)),
        "nodeAddressSortAlgorithm" O: Str,
    }
    FLANNEL_CNI_CONFIG {
        "extraArgs" O: List(&Str),
        "kubeNetworkPoliciesEnabled" O: Opt(&Bool),
    }
    HOST_DNS_CONFIG {
        "enabled" O: Opt(&Bool),
        "forwardKubeDNSToHost" O: Opt(&Bool),
        "resolveMemberNames" O: Opt(&Bool),
    }
    IMAGE_CACHE_CONFIG {
        "localEnabled" O: Opt(&Bool),
    }
    INSTALL_CONFIG {
        "disk" O: Str,
        "diskSelector" O: Opt(&Struct(&INSTALL_DISK_SELECTOR)),
        "extraKernelArgs" O: List(&Str),
        "image" O: Str,
        "extensions" O: List(&Struct(&INSTALL_EXTENSION_CONFIG)),
        "bootloader" O: Opt(&Bool),
        "wipe" K: Opt(&Bool),
        "legacyBIOSSupport" O: Opt(&Bool),
        "grubUseUKICmdline" O: Opt(&Bool),
    }
    INSTALL_DISK_SELECTOR {
        "size" O: Opt(&Text(SizeMatcher)),
        "name" O: Str,
        "model" O: Str,
        "serial" O: Str,
        "modalias" O: Str,
        "uuid" O: Str,
        "wwid" O: Str,
        "type" O: Str,
        "busPath" O: Str,
    }
    INSTALL_EXTENSION_CONFIG {
        "image" K: Str,
    }
    KERNEL_CONFIG {
        "modules" O: List(&Struct(&KERNEL_MODULE_CONFIG)),
    }
    KERNEL_MODULE_CONFIG {
        "name" K: Str,
        "parameters" O: List(&Str),
    }
    KUBELET_CONFIG {
        "image" O: Str,
        "clusterDNS" O: List(&Str),
        "extraArgs" O: Args,
        "extraMounts" O: List(&Struct(&EXTRA_MOUNT)),
        "extraConfig" O: Free,
        "credentialProviderConfig" O: Free,
        "defaultRuntimeSeccompProfileEnabled" O: Opt(&Bool),
        "registerWithFQDN" O: Opt(&Bool),
        "nodeIP" O: Opt(&Struct(&KUBELET_NODE_IP_CONFIG)),
        "skipNodeRegistration" O: Opt(&Bool),
        "disableManifestsDirectory" O: Opt(&Bool),
    }
    KUBELET_NODE_IP_CONFIG {
        "validSubnets" O: List(&Str),
    }
    KUBERNETES_TALOS_API_ACCESS_CONFIG {
        "enabled" O: Opt(&Bool),
        "allowedRoles" O: List(&Str),
        "allowedKubernetesNamespaces" O: List(&Str),
    }
    KUBE_PRISM {
        "enabled" O: Opt(&Bool),
        "port" O: Int(64),
    }
    KUBE_SPAN_FILTERS {
        "endpoints" O: List(&Str),
        "excludeAdvertisedNetworks" O: List(&Str),
    }
    LINUX_ID_MAPPING {
        "containerID" K: Uint(32),
        "hostID" K: Uint(32),
        "size" K: Uint(32),
    }
    LOGGING_CONFIG {
        "destinations" K: List(&Struct(&LOGGING_DESTINATION)),
    }
    LOGGING_DESTINATION {
        "endpoint" K: Opt(&Text(Url)),
        "format" K: Str,
        "extraTags" O: Map(&Str),
    }
    MACHINE_CONFIG {
        "type" K: Str,
        "token" K: Str,
        "ca" O: Opt(&Pair(&["crt", "key"])),
        "acceptedCAs" O: List(&Pair(&["crt"])),
        "certSANs" K: List(&Str),
        "controlPlane" O: Opt(&Struct(&MACHINE_CONTROL_PLANE_CONFIG)),
        "kubelet" O: Opt(&Struct(&KUBELET_CONFIG)),
        "pods" O: List(&Free),
        "network" O: Opt(&Struct(&NETWORK_CONFIG)),
        "disks" O: List(&Struct(&MACHINE_DISK)),
        "install" O: Opt(&Struct(&INSTALL_CONFIG)),
        "files" O: List(&Struct(&MACHINE_FILE)),
        "env" O: Map(&Str),
        "time" O: Opt(&Struct(&TIME_CONFIG)),
        "sysctls" O: Map(&Str),
        "sysfs" O: Map(&Str),
        "registries" O: Struct(&REGISTRIES_CONFIG),
        "systemDiskEncryption" O: Opt(&Struct(&SYSTEM_DISK_ENCRYPTION_CONFIG)),
        "features" O: Opt(&Struct(&FEATURES_CONFIG)),
        "udev" O: Opt(&Struct(&UDEV_CONFIG)),
        "logging" O: Opt(&Struct(&LOGGING_CONFIG)),
        "kernel" O: Opt(&Struct(&KERNEL_CONFIG)),
        "seccompProfiles" O: List(&Struct(&MACHINE_SECCOMP_PROFILE)),
        "baseRuntimeSpecOverrides" O: Free,
        "nodeLabels" O: Map(&Str),
        "nodeAnnotations" O: Map(&Str),
        "nodeTaints" O: Map(&Str),
    }
    MACHINE_CONTROLLER_MANAGER_CONFIG {
        "disabled" O: Opt(&Bool),
    }
    MACHINE_CONTROL_PLANE_CONFIG {
        "controllerManager" O: Opt(&Struct(&MACHINE_CONTROLLER_MANAGER_CONFIG)),
        "scheduler" O: Opt(&Struct(&MACHINE_SCHEDULER_CONFIG)),
    }
    MACHINE_DISK {
        "device" O: Str,
        "partitions" O: List(&Struct(&DISK_PARTITION)),
    }
    MACHINE_FILE {
        "content" K: Str,
        "permissions" K: Text(FileMode),
        "path" K: Str,
        "op" K: Str,
    }
    MACHINE_SCHEDULER_CONFIG {
        "disabled" O: Opt(&Bool),
    }
    MACHINE_SECCOMP_PROFILE {
        "name" K: Str,
        "value" K: Free,
    }
    NETWORK_CONFIG {
        "hostname" O: Str,
        "interfaces" O: Keyed(&Struct(&DEVICE), Key::Interface),
        "nameservers" O: List(&Str),
        "searchDomains" O: List(&Str),
        "extraHostEntries" O: List(&Struct(&EXTRA_HOST)),
        "kubespan" O: Opt(&Struct(&NETWORK_KUBE_SPAN)),
        "disableSearchDomain" O: Opt(&Bool),
    }
    NETWORK_DEVICE_SELECTOR {
        "busPath" O: Str,
        "hardwareAddr" O: Str,
        "permanentAddr" O: Str,
        "pciID" O: Str,
        "driver" O: Str,
        "physical" O: Opt(&Bool),
    }
    NETWORK_KUBE_SPAN {
        "enabled" O: Opt(&Bool),
        "advertiseKubernetesNetworks" O: Opt(&Bool),
        "allowDownPeerBypass" O: Opt(&Bool),
        "harvestExtraEndpoints" O: Opt(&Bool),
        "mtu" O: Opt(&Uint(32)),
        "filters" O: Opt(&Struct(&KUBE_SPAN_FILTERS)),
    }
    PROXY_CONFIG {
        "disabled" O: Opt(&Bool),
        "image" O: Str,
        "mode" O: Str,
        "extraArgs" O: Args,
    }
    REGISTRIES_CONFIG {
        "mirrors" O: Map(&Struct(&REGISTRY_MIRROR_CONFIG)),
        "config" O: Map(&Struct(&REGISTRY_CONFIG)),
    }
    REGISTRY_AUTH_CONFIG {
        "username" O: Str,
        "password" O: Str,
        "auth" O: Str,
        "identityToken" O: Str,
    }
    REGISTRY_CONFIG {
        "tls" O: Opt(&Struct(&REGISTRY_TLS_CONFIG)),
        "auth" O: Opt(&Struct(&REGISTRY_AUTH_CONFIG)),
    }
    REGISTRY_KUBERNETES_CONFIG {
        "disabled" O: Opt(&Bool),
    }
    REGISTRY_MIRROR_CONFIG {
        "endpoints" K: List(&Str),
        "overridePath" O: Opt(&Bool),
        "skipFallback" O: Opt(&Bool),
    }
    REGISTRY_SERVICE_CONFIG {
        "disabled" O: Opt(&Bool),
        "endpoint" O: Str,
    }
    REGISTRY_TLS_CONFIG {
        "clientIdentity" O: Opt(&Pair(&["crt", "key"])),
        "ca" O: Base64,
        "insecureSkipVerify" O: Opt(&Bool),
    }
    RESOURCES_CONFIG {
        "requests" O: Free,
        "limits" O: Free,
    }
    ROUTE {
        "network" K: Str,
        "gateway" K: Str,
        "source" O: Str,
        "metric" O: Uint(32),
        "mtu" O: Uint(32),
    }
    SCHEDULER_CONFIG {
        "image" O: Str,
        "extraArgs" O: Args,
        "extraVolumes" O: List(&Struct(&VOLUME_MOUNT_CONFIG)),
        "env" O: Map(&Str),
        "resources" O: Opt(&Struct(&RESOURCES_CONFIG)),
        "config" O: Free,
    }
    STP {
        "enabled" O: Opt(&Bool),
    }
    SYSTEM_DISK_ENCRYPTION_CONFIG {
        "state" O: Opt(&Struct(&ENCRYPTION_CONFIG)),
        "ephemeral" O: Opt(&Struct(&ENCRYPTION_CONFIG)),
    }
    TIME_CONFIG {
        "disabled" O: Opt(&Bool),
        "servers" O: List(&Str),
        "bootTimeout" O: Text(Duration),
    }
    UDEV_CONFIG {
        "rules" O: List(&Str),
    }
    V1ALPHA1 {
        "version" K: Str,
        "debug" O: Opt(&Bool),
        "persist" O: Opt(&Bool),
        "machine" K: Opt(&Struct(&MACHINE_CONFIG)),
        "cluster" K: Opt(&Struct(&CLUSTER_CONFIG)),
    }
    VIPH_CLOUD_CONFIG {
        "apiToken" K: Str,
    }
    VIP_EQUINIX_METAL_CONFIG {
        "apiToken" K: Str,
    }
    VLAN {
        "addresses" O: List(&Str),
        "cidr" O: Str,
        "routes" K: List(&Struct(&ROUTE)),
        "dhcp" O: Opt(&Bool),
        "vlanId" K: Uint(16),
        "mtu" O: Uint(32),
        "vip" O: Opt(&Struct(&DEVICE_VIP_CONFIG)),
        "dhcpOptions" O: Opt(&Struct(&DHCP_OPTIONS)),
    }
    VOLUME_MOUNT_CONFIG {
        "hostPath" K: Str,
        "mountPath" K: Str,
        "readonly" O: Bool,
    }
}
