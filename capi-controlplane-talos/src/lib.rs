//! Cluster API control plane provider for Talos Linux, over the Talos machine API.
//!
//! * [`api`]: the kinds.
//! * [`provider`]: the control plane provider, for the generic control plane of capi-core.
//! * [`etcd`]: whose member is whose.
//! * [`client`]: the machine API (gRPC with mutual TLS) as far as a control plane needs it.
//! * `simulator` (feature `simulator`): Talos nodes without machines, for tests, simulations and
//!   the quickstart; the machine API they serve is the real protocol.

pub mod admission;
pub mod api;
pub mod client;
pub mod etcd;
pub mod provider;
#[cfg(feature = "simulator")]
pub mod simulator;
mod tls;
