//! Cluster API for Rust: wire types, pure planners, provider traits, controllers.

#[cfg(feature = "api")]
pub mod admission;
pub mod api;
#[cfg(feature = "api")]
pub mod clock;
pub mod contract;
#[cfg(feature = "runtime")]
pub mod controllers;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "api")]
pub mod in_cluster_ipam;
#[cfg(feature = "pki")]
pub mod pki;
pub mod plan;
#[cfg(feature = "api")]
pub mod provider;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "testing")]
pub mod testing;
