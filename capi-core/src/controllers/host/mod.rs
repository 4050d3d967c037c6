//! Hosts of providers: turn each implementation of a provider trait into controllers of its kinds.
//!
//! A host does what every provider would have to do again: finalizers, pause, owners, identity
//! before effect, conditions, status in both contract versions, events, requeue.

mod bootstrap;
mod control_plane;
mod infra_cluster;
mod infra_machine;
mod ipam;
mod pools;
mod ports;
mod subject;

pub use bootstrap::BootstrapHost;
pub use control_plane::ControlPlaneHost;
pub use infra_cluster::InfraClusterHost;
pub use infra_machine::{InfraMachineHost, READY_GRACE};
pub use ipam::{ClaimHost, PoolHost};
pub use pools::AddressBook;
