//! Documents of disks and volumes.
//!
//! Names and types of the fields, in the order in which Talos writes them.

use super::Text::{Duration, Expression, Size};
use super::Type::{Bool, Int, List, Opt, Str, Struct, Text, Uint};
use super::{K, O, ON, Type, structs};

const ENCRYPTION_PROVIDER_TYPE: Type = Type::Enum(&["none", "luks2"]);
const FILESYSTEM_TYPE: Type = Type::Enum(&[
    "none", "xfs", "vfat", "ext4", "iso9660", "swapi", "virtiofs", "btrfs",
]);
const VOLUME_TYPE: Type = Type::Enum(&[
    "partition",
    "disk",
    "tmpfs",
    "directory",
    "symlink",
    "overlay",
    "external",
]);

structs! {
    BLOCK_ENCRYPTION_KEY {
        "slot" K: Int(64),
        "static" O: Opt(&Struct(&BLOCK_ENCRYPTION_KEY_STATIC)),
        "nodeID" O: Opt(&Struct(&BLOCK_ENCRYPTION_KEY_NODE_ID)),
        "kms" O: Opt(&Struct(&BLOCK_ENCRYPTION_KEY_KMS)),
        "tpm" O: Opt(&Struct(&BLOCK_ENCRYPTION_KEY_TPM)),
        "lockToState" O: Opt(&Bool),
    }
    BLOCK_ENCRYPTION_KEY_KMS {
        "endpoint" K: Str,
    }
    BLOCK_ENCRYPTION_KEY_NODE_ID {}
    BLOCK_ENCRYPTION_KEY_STATIC {
        "passphrase" O: Str,
    }
    BLOCK_ENCRYPTION_KEY_TPM {
        "options" O: Opt(&Struct(&ENCRYPTION_KEY_TPM_OPTIONS)),
        "checkSecurebootStatusOnEnroll" O: Opt(&Bool),
    }
    BLOCK_PROVISIONING_SPEC {
        "diskSelector" O: Struct(&DISK_SELECTOR),
        "grow" O: Opt(&Bool),
        "minSize" O: Text(Size),
        "maxSize" O: Text(Size),
    }
    DISK_SELECTOR {
        "match" O: Text(Expression),
    }
    ENCRYPTION_KEY_TPM_OPTIONS {
        "pcrs" O: List(&Int(64)),
    }
    ENCRYPTION_SPEC {
        "provider" K: ENCRYPTION_PROVIDER_TYPE,
        "keys" K: List(&Struct(&BLOCK_ENCRYPTION_KEY)),
        "cipher" O: Str,
        "keySize" O: Uint(64),
        "blockSize" O: Uint(64),
        "options" O: List(&Str),
        "allowDiscards" ON: Opt(&Bool),
    }
    EXISTING_MOUNT_SPEC {
        "readOnly" O: Opt(&Bool),
        "disableAccessTime" O: Opt(&Bool),
        "secure" O: Opt(&Bool),
    }
    EXISTING_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "discovery" O: Struct(&VOLUME_DISCOVERY_SPEC),
        "mount" O: Struct(&EXISTING_MOUNT_SPEC),
        "trim" ON: Opt(&Struct(&TRIM_CONFIG)),
        "scrub" ON: Opt(&Struct(&SCRUB_CONFIG)),
    }
    EXTERNAL_MOUNT_SPEC {
        "readOnly" O: Opt(&Bool),
        "disableAccessTime" O: Opt(&Bool),
        "secure" O: Opt(&Bool),
        "virtiofs" O: Opt(&Struct(&VIRTIOFS_MOUNT_SPEC)),
    }
    EXTERNAL_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "filesystemType" K: FILESYSTEM_TYPE,
        "mount" O: Struct(&EXTERNAL_MOUNT_SPEC),
    }
    FILESYSTEM_SCRUB_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "interval" O: Text(Duration),
    }
    FILESYSTEM_SPEC {
        "type" O: FILESYSTEM_TYPE,
        "projectQuotaSupport" O: Opt(&Bool),
        "xfs" ON: Opt(&Struct(&XFS_SPEC)),
    }
    FILESYSTEM_TRIM_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "interval" O: Text(Duration),
    }
    MOUNT_SPEC {
        "secure" O: Opt(&Bool),
        "disableAccessTime" ON: Opt(&Bool),
    }
    RAW_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "provisioning" O: Struct(&BLOCK_PROVISIONING_SPEC),
        "encryption" O: Struct(&ENCRYPTION_SPEC),
    }
    SCRUB_CONFIG {
        "enabled" O: Opt(&Bool),
        "interval" O: Text(Duration),
    }
    SWAP_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "provisioning" O: Struct(&BLOCK_PROVISIONING_SPEC),
        "encryption" O: Struct(&ENCRYPTION_SPEC),
    }
    SYSTEM_VOLUME_FILESYSTEM_SPEC {
        "xfs" O: Opt(&Struct(&XFS_SPEC)),
    }
    TRIM_CONFIG {
        "enabled" O: Opt(&Bool),
        "interval" O: Text(Duration),
    }
    USER_MOUNT_SPEC {
        "disableAccessTime" O: Opt(&Bool),
        "secure" O: Opt(&Bool),
    }
    USER_VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "volumeType" O: Opt(&VOLUME_TYPE),
        "provisioning" O: Struct(&BLOCK_PROVISIONING_SPEC),
        "filesystem" O: Struct(&FILESYSTEM_SPEC),
        "encryption" O: Struct(&ENCRYPTION_SPEC),
        "mount" O: Struct(&USER_MOUNT_SPEC),
        "trim" ON: Opt(&Struct(&TRIM_CONFIG)),
        "scrub" ON: Opt(&Struct(&SCRUB_CONFIG)),
    }
    VIRTIOFS_MOUNT_SPEC {
        "tag" K: Str,
    }
    VOLUME_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "provisioning" O: Struct(&BLOCK_PROVISIONING_SPEC),
        "filesystem" ON: Struct(&SYSTEM_VOLUME_FILESYSTEM_SPEC),
        "encryption" O: Struct(&ENCRYPTION_SPEC),
        "mount" O: Struct(&MOUNT_SPEC),
        "trim" ON: Opt(&Struct(&TRIM_CONFIG)),
        "scrub" ON: Opt(&Struct(&SCRUB_CONFIG)),
    }
    VOLUME_DISCOVERY_SPEC {
        "volumeSelector" O: Struct(&VOLUME_SELECTOR),
    }
    VOLUME_SELECTOR {
        "match" O: Text(Expression),
    }
    XFS_SPEC {
        "minAllocationGroupSize" O: Text(Size),
    }
    ZSWAP_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "maxPoolPercent" O: Opt(&Int(64)),
        "shrinkerEnabled" O: Opt(&Bool),
    }
}
