//! Cluster API for Rust: wire types, pure planners, provider traits, controllers.

pub mod api;
#[cfg(feature = "pki")]
pub mod pki;
