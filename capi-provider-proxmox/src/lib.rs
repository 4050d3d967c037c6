//! Cluster API infrastructure provider for Proxmox VE, on the custom resources of CAPMOX.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`api`] | the kinds: ProxmoxCluster, ProxmoxMachine and their templates |
//! | [`client`] | an asynchronous client for the part of the Proxmox VE API that a provider needs |
//! | [`iso`] | a writer (and small reader) of NoCloud ISO 9660 images |
//! | [`provider`] | the infrastructure provider itself |
//! | [`scheduler`] | chooses node and template of a machine; pure |
//! | [`simulator`] | a simulated Proxmox VE datacenter (feature `simulator`) |

pub mod admission;
pub mod api;
pub mod client;
pub mod iso;
pub mod provider;
pub mod scheduler;
#[cfg(feature = "simulator")]
pub mod simulator;
