//! Documents of the runtime, images, extensions, security, storage and discovery.
//!
//! Names and types of the fields, in the order in which Talos writes them.

use super::Text::{Duration, Expression, FileMode, Size, Url};
use super::Type::{Bool, Free, Int, Keyed, List, Map, Opt, Str, Struct, Text, Uint};
use super::{K, Key, O, OR, Type, structs};

const LVM_LOGICAL_VOLUME_TYPE: Type = Type::Enum(&["linear", "raid1", "raid0", "raid10"]);
const MD_LEVEL: Type = Type::Enum(&["raid1"]);
const MD_METADATA: Type = Type::Enum(&["1.0", "1.2"]);

structs! {
    CERTIFICATE_AND_KEY {
        "cert" O: Str,
        "key" O: Str,
    }
    CONFIG_FILE {
        "content" K: Str,
        "mountPath" K: Str,
    }
    CONTAINER_CAPABILITIES {
        "add" O: List(&Str),
        "drop" O: List(&Str),
    }
    CONTAINER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "image" K: Str,
        "entrypoint" O: List(&Str),
        "args" O: List(&Str),
        "workingDir" O: Str,
        "runAs" O: Opt(&Struct(&CONTAINER_RUN_AS)),
        "environment" O: List(&Str),
        "mounts" O: List(&Struct(&CONTAINER_MOUNT)),
        "security" O: Opt(&Struct(&CONTAINER_SECURITY)),
        "network" O: Opt(&Struct(&CONTAINER_NETWORK)),
        "resources" O: Opt(&Struct(&CONTAINER_RESOURCES)),
        "dependsOn" O: Opt(&Struct(&CONTAINER_DEPENDS_ON)),
    }
    CONTAINER_DEPENDS_ON {
        "paths" O: List(&Str),
        "networks" O: List(&Str),
        "time" O: Opt(&Bool),
        "containers" O: List(&Str),
    }
    CONTAINER_MOUNT {
        "userVolume" O: Opt(&Struct(&USER_VOLUME_MOUNT)),
        "tmpfs" O: Opt(&Struct(&TMPFS_MOUNT)),
        "hostPath" O: Opt(&Struct(&HOST_PATH_MOUNT)),
    }
    CONTAINER_NETWORK {
        "mode" O: Str,
    }
    CONTAINER_RESOURCES {
        "limits" O: Opt(&Struct(&CONTAINER_RESOURCE_LIMITS)),
    }
    CONTAINER_RESOURCE_LIMITS {
        "cpu" O: Str,
        "memory" O: Str,
    }
    CONTAINER_RUN_AS {
        "uid" O: Opt(&Int(32)),
        "gid" O: Opt(&Int(32)),
    }
    CONTAINER_SECURITY {
        "profile" O: Str,
        "capabilities" O: Opt(&Struct(&CONTAINER_CAPABILITIES)),
    }
    CRI_BASE_RUNTIME_SPEC_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "overrides" OR: Free,
    }
    CRI_CUSTOMIZATION_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "content" K: Str,
    }
    CRI_IMAGE_CACHE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "local" K: Struct(&LOCAL_IMAGE_CACHE_CONFIG),
    }
    CRI_REGISTRY_AUTH_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "username" O: Str,
        "password" O: Str,
        "auth" O: Str,
        "identityToken" O: Str,
    }
    CRI_REGISTRY_MIRROR_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "endpoints" O: List(&Struct(&REGISTRY_ENDPOINT)),
        "skipFallback" O: Opt(&Bool),
    }
    CRI_REGISTRY_TLS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "clientIdentity" O: Opt(&Struct(&CERTIFICATE_AND_KEY)),
        "ca" O: Str,
        "insecureSkipVerify" O: Opt(&Bool),
    }
    DISCOVERY_IDENTITY_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "clusterID" K: Str,
        "clusterSecret" K: Str,
    }
    DISCOVERY_SERVICE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "endpoint" K: Text(Url),
    }
    DISK_SELECTOR_SPEC {
        "match" O: Text(Expression),
    }
    ENVIRONMENT {
        "apiVersion" O: Str,
        "kind" K: Str,
        "variables" K: Map(&Str),
    }
    ETC_FILE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "mode" K: Text(FileMode),
        "contents" K: Str,
    }
    EVENT_SINK {
        "apiVersion" O: Str,
        "kind" K: Str,
        "endpoint" K: Str,
    }
    HOST_PATH_MOUNT {
        "source" K: Str,
        "destination" K: Str,
        "options" O: List(&Str),
    }
    IMAGE_KEYLESS_VERIFIER {
        "issuer" O: Str,
        "subject" O: Str,
        "subjectRegex" O: Str,
    }
    IMAGE_PUBLIC_KEY_VERIFIER {
        "certificate" O: Str,
    }
    IMAGE_VERIFICATION_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "rules" O: Keyed(&Struct(&IMAGE_VERIFICATION_RULE), Key::Image),
    }
    IMAGE_VERIFICATION_RULE {
        "image" O: Str,
        "skip" O: Opt(&Bool),
        "deny" O: Opt(&Bool),
        "keyless" O: Opt(&Struct(&IMAGE_KEYLESS_VERIFIER)),
        "publicKey" O: Opt(&Struct(&IMAGE_PUBLIC_KEY_VERIFIER)),
    }
    INSTALLER_SPEC {
        "image" O: Str,
    }
    KMSG_LOG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "url" K: Text(Url),
    }
    LOCAL_IMAGE_CACHE_CONFIG {
        "enabled" O: Opt(&Bool),
    }
    LVM_LOGICAL_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "type" K: LVM_LOGICAL_VOLUME_TYPE,
        "mirrors" O: Opt(&Uint(32)),
        "stripes" O: Opt(&Uint(32)),
        "provisioning" K: Struct(&LVM_LOGICAL_VOLUME_PROVISIONING_SPEC),
    }
    LVM_LOGICAL_VOLUME_PROVISIONING_SPEC {
        "volumeGroup" K: Str,
        "minSize" O: Text(Size),
        "maxSize" O: Text(Size),
    }
    LVM_VOLUME_GROUP_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "provisioning" K: Struct(&STORAGE_PROVISIONING_SPEC),
    }
    LVM_VOLUME_SELECTOR_SPEC {
        "match" O: Text(Expression),
    }
    OOM {
        "apiVersion" O: Str,
        "kind" K: Str,
        "triggerExpression" O: Text(Expression),
        "cgroupRankingExpression" O: Text(Expression),
        "strictCgroupClassOrdering" O: Opt(&Bool),
        "sampleInterval" O: Text(Duration),
    }
    PCI_DRIVER_REBIND_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "targetDriver" K: Str,
    }
    RAID_ARRAY_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "level" K: MD_LEVEL,
        "metadata" O: MD_METADATA,
        "provisioning" K: Struct(&RAID_PROVISIONING_SPEC),
    }
    RAID_PROVISIONING_SPEC {
        "volumeSelector" K: Struct(&RAID_VOLUME_SELECTOR),
    }
    RAID_VOLUME_SELECTOR {
        "match" O: Text(Expression),
    }
    REGISTRY_ENDPOINT {
        "url" K: Text(Url),
        "overridePath" O: Opt(&Bool),
    }
    RUNTIME_KERNEL_MODULE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "parameters" O: List(&Str),
    }
    RUNTIME_PROVISIONING_SPEC {
        "diskSelector" O: Struct(&DISK_SELECTOR_SPEC),
        "wipe" O: Opt(&Bool),
    }
    SECURITY_PROFILE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "workloadIsolation" O: Opt(&Bool),
    }
    SERVICE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "configFiles" O: Keyed(&Struct(&CONFIG_FILE), Key::MountPath),
        "environment" O: List(&Str),
    }
    SIDEROLINK_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "apiUrl" K: Text(Url),
        "uniqueToken" O: Str,
    }
    STORAGE_PROVISIONING_SPEC {
        "volumeSelector" O: Struct(&LVM_VOLUME_SELECTOR_SPEC),
    }
    SYSCTL_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "params" K: Map(&Str),
    }
    SYSFS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "params" K: Map(&Str),
    }
    TMPFS_MOUNT {
        "destination" K: Str,
        "size" O: Str,
        "options" O: List(&Str),
    }
    TRUSTED_ROOTS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "certificates" K: Str,
    }
    UDEV_RULES_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "rules" O: List(&Str),
    }
    UNATTENDED_INSTALL_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "reboot" O: Opt(&Bool),
        "installer" K: Struct(&INSTALLER_SPEC),
        "provisioning" K: Struct(&RUNTIME_PROVISIONING_SPEC),
    }
    USER_VOLUME_MOUNT {
        "name" K: Str,
        "destination" K: Str,
        "options" O: List(&Str),
    }
    WATCHDOG_TIMER {
        "apiVersion" O: Str,
        "kind" K: Str,
        "device" K: Str,
        "timeout" O: Text(Duration),
    }
}
