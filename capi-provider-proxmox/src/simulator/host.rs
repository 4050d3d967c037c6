//! Who runs the virtual machines that the datacenter switches on.
//!
//! The datacenter itself runs nothing. A host, such as a simulator of Talos nodes, is told when a virtual machine starts
//! and stops, boots from the images it is handed, and reports what the guest agent shall tell.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::iso::{IsoError, NoCloud};

/// Runs virtual machines.
///
/// Both calls come in order for one virtual machine, outside of any lock of the simulator, and must not block: a host
/// that has work to do spawns it.
pub trait VirtualMachineHost: Send + Sync + 'static {
    /// A virtual machine was switched on.
    fn on_start(&self, machine: VirtualMachine);

    /// A virtual machine was switched off, or destroyed.
    fn on_stop(&self, machine: VirtualMachineKey);
}

/// Which virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualMachineKey {
    /// Number.
    pub vmid: u64,
    /// UUID of its firmware, in lower case. A number may be used again, a UUID is not.
    pub uuid: String,
}

/// A virtual machine that was switched on.
#[derive(Clone)]
pub struct VirtualMachine {
    /// Which one.
    pub key: VirtualMachineKey,
    /// Its node.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Processors.
    pub processors: u64,
    /// Mebibytes of memory.
    pub memory_mib: u64,
    /// Network devices in order.
    pub network_devices: Vec<NetworkDevice>,
    /// The serial number of its firmware.
    pub serial: Option<String>,
    /// The images in its CD drives, in order of the drives.
    pub images: Vec<Vec<u8>>,
}

impl fmt::Debug for VirtualMachine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VirtualMachine")
            .field("key", &self.key)
            .field("node", &self.node)
            .field("name", &self.name)
            .field("network_devices", &self.network_devices)
            .field("images", &self.images.len())
            .finish_non_exhaustive()
    }
}

impl VirtualMachine {
    /// The NoCloud volume among its images, as a guest finds it: the first one labelled `cidata`.
    ///
    /// # Errors
    /// [`IsoError::Malformed`] for an image that is none.
    pub fn no_cloud(&self) -> Result<Option<NoCloud>, IsoError> {
        for image in &self.images {
            if let Some(volume) = NoCloud::read(image)? {
                return Ok(Some(volume));
            }
        }
        Ok(None)
    }
}

/// A network device of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDevice {
    /// Name of the device, such as `net0`.
    pub name: String,
    /// Hardware address, upper case.
    pub hardware_address: String,
    /// Bridge.
    pub bridge: String,
}

/// What the guest agent of a virtual machine tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestReport {
    /// Host name of the system.
    pub hostname: String,
    /// Its network interfaces.
    pub interfaces: Vec<ReportedInterface>,
}

/// A network interface of the system in a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportedInterface {
    /// Name in the guest, such as `eth0`.
    pub name: String,
    /// Hardware address.
    pub hardware_address: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What a host has to be told.
#[derive(Debug, Clone)]
pub(super) enum HostEvent {
    Started(Box<VirtualMachine>),
    Stopped(VirtualMachineKey),
}
