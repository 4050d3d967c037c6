//! Cluster API control plane provider for Talos Linux, over the Talos machine API.
//!
//! * [`api`]: the kinds.
//! * [`client`]: the machine API (gRPC with mutual TLS) as far as a control plane needs it.
//! * `simulator` (feature `simulator`): Talos nodes without machines, for tests, simulations and
//!   the quickstart; the machine API they serve is the real protocol.

pub mod api;
pub mod client;
#[cfg(feature = "simulator")]
pub mod simulator;
mod tls;
