//! `ProxmoxMachine` and its template: one virtual machine, cloned from a template VM.

use capi_core::api::{Condition, KindInfo, MachineAddress, ObjectMeta, Time, is_default};
use serde::{Deserialize, Serialize};

use super::{NetworkSpec, ProxmoxInitialization};

/// What an API server knows `ProxmoxMachine` by.
pub const PROXMOX_MACHINE: KindInfo = KindInfo {
    group: super::GROUP,
    version: super::VERSION,
    kind: "ProxmoxMachine",
    plural: "proxmoxmachines",
    namespaced: true,
};

/// What an API server knows `ProxmoxMachineTemplate` by.
pub const PROXMOX_MACHINE_TEMPLATE: KindInfo = KindInfo {
    group: super::GROUP,
    version: super::VERSION,
    kind: "ProxmoxMachineTemplate",
    plural: "proxmoxmachinetemplates",
    namespaced: true,
};

capi_core::object_kind! {
    /// One virtual machine.
    pub struct ProxmoxMachine { spec: ProxmoxMachineSpec, status: ProxmoxMachineStatus } = PROXMOX_MACHINE, namespaced
}

capi_core::object_kind! {
    /// Template of ProxmoxMachines.
    pub struct ProxmoxMachineTemplate { spec: ProxmoxMachineTemplateSpec } = PROXMOX_MACHINE_TEMPLATE, namespaced
}

/// The virtual machine that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxMachineSpec {
    /// Node that holds the template VM.
    #[serde(skip_serializing_if = "is_default")]
    pub source_node: Option<String>,
    /// VMID of the template VM.
    #[serde(rename = "templateID", skip_serializing_if = "is_default")]
    pub template_id: Option<i32>,
    /// Finds the template VM by its tags instead.
    #[serde(skip_serializing_if = "is_default")]
    pub template_selector: Option<TemplateSelector>,
    /// Description of the VM.
    #[serde(skip_serializing_if = "is_default")]
    pub description: Option<String>,
    /// Format of the disks; only for full clones.
    #[serde(skip_serializing_if = "is_default")]
    pub format: Option<StorageFormat>,
    /// Whether disks are copied whole (true when unset) or linked to the template's.
    #[serde(skip_serializing_if = "is_default")]
    pub full: Option<bool>,
    /// Resource pool of the VM.
    #[serde(skip_serializing_if = "is_default")]
    pub pool: Option<String>,
    /// Snapshot of the template VM that is cloned.
    #[serde(skip_serializing_if = "is_default")]
    pub snap_name: Option<String>,
    /// Storage of the disks; only for full clones.
    #[serde(skip_serializing_if = "is_default")]
    pub storage: Option<String>,
    /// Identity of the VM, `proxmox://` and its SMBIOS UUID; written once it is chosen.
    #[serde(rename = "providerID", skip_serializing_if = "is_default")]
    pub provider_id: Option<String>,
    /// VMID; written once it is chosen.
    #[serde(rename = "virtualMachineID", skip_serializing_if = "is_default")]
    pub virtual_machine_id: Option<i64>,
    /// Processor sockets; as in the template VM when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub num_sockets: Option<i32>,
    /// Cores per socket; as in the template VM when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub num_cores: Option<i32>,
    /// Memory in MiB; as in the template VM when unset.
    #[serde(rename = "memoryMiB", skip_serializing_if = "is_default")]
    pub memory_mib: Option<i32>,
    /// Disks.
    #[serde(skip_serializing_if = "is_default")]
    pub disks: Option<Disks>,
    /// Network devices.
    pub network: NetworkSpec,
    /// Range of VMIDs; any free one when unset.
    #[serde(rename = "vmIDRange", skip_serializing_if = "is_default")]
    pub vm_id_range: Option<VmIdRange>,
    /// Checks that are left out.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Option<Checks>,
    /// What is written into the VM's metadata.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata_settings: Option<MetadataSettings>,
    /// Nodes that the VM may be placed on; the cluster's when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub allowed_nodes: Vec<String>,
    /// Tags of the VM.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// Finds a template VM by its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateSelector {
    /// Tags that the template VM has.
    pub match_tags: Vec<String>,
    /// Whether further tags are allowed; exact when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub match_policy: Option<MatchPolicy>,
}

capi_core::open_enum! {
    /// Whether a template VM may have further tags.
    pub enum MatchPolicy {
        /// It has these tags and no others.
        Exact = "exact",
        /// It may have others, and is the only one that fits.
        UniqueSubset = "uniqueSubset",
        /// It may have others; of those that fit, the one with the fewest others.
        BestSubset = "bestSubset",
    }
}

capi_core::open_enum! {
    /// Format of a disk.
    pub enum StorageFormat {
        /// Raw blocks.
        Raw = "raw",
        /// QEMU copy on write.
        Qcow2 = "qcow2",
        /// VMware disk.
        Vmdk = "vmdk",
    }
}

/// Disks of a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Disks {
    /// The disk that the VM boots from.
    #[serde(skip_serializing_if = "is_default")]
    pub boot_volume: Option<DiskSize>,
}

/// Size of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DiskSize {
    /// Name of the disk, such as `scsi0`.
    pub disk: String,
    /// Size in GiB.
    pub size_gb: i32,
}

/// Range of VMIDs, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VmIdRange {
    /// First VMID.
    pub start: i64,
    /// Last VMID.
    pub end: i64,
}

/// Checks of a running VM that are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Checks {
    /// Whether cloud-init has finished is not asked.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_cloud_init_status: Option<bool>,
    /// The guest agent is not waited for; nor is cloud-init then.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_qemu_guest_agent: Option<bool>,
}

/// What is written into a VM's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataSettings {
    /// Whether the provider id is written.
    #[serde(rename = "providerIDInjection")]
    pub provider_id_injection: bool,
}

/// What was observed of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxMachineStatus {
    /// Observed aspects, one entry a type.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// Milestones of the first start.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: ProxmoxInitialization,
    /// Addresses of the VM.
    #[serde(skip_serializing_if = "is_default")]
    pub addresses: Vec<MachineAddress>,
    /// State of the VM: `notfound`, `pending` or `ready`.
    #[serde(skip_serializing_if = "is_default")]
    pub vm_status: Option<String>,
    /// Whether the configuration has been handed to the VM.
    #[serde(skip_serializing_if = "is_default")]
    pub bootstrap_data_provided: Option<bool>,
    /// Addresses by network device.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_addresses: Vec<DeviceAddresses>,
    /// Network devices as observed.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Vec<NetworkStatus>,
    /// Node that the VM is on.
    #[serde(skip_serializing_if = "is_default")]
    pub proxmox_node: Option<String>,
    /// UPID of the task that is waited for.
    #[serde(skip_serializing_if = "is_default")]
    pub task_ref: Option<String>,
    /// When a failed task is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_after: Option<Time>,
}

/// Addresses of a network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceAddresses {
    /// Name of the device, or `default`.
    pub net: String,
    /// IPv4 addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv4: Vec<String>,
    /// IPv6 addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv6: Vec<String>,
}

/// A network device as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkStatus {
    /// Whether the device is connected.
    pub connected: bool,
    /// Addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_addrs: Vec<String>,
    /// Hardware address.
    pub mac_addr: String,
    /// Name of the device.
    #[serde(skip_serializing_if = "is_default")]
    pub network_name: Option<String>,
}

/// Template of ProxmoxMachines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxMachineTemplateSpec {
    /// What is made from it.
    pub template: ProxmoxMachineTemplateResource,
}

/// What is made from a template of ProxmoxMachines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProxmoxMachineTemplateResource {
    /// Labels and annotations.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: ProxmoxMachineSpec,
}
