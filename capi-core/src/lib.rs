//! Cluster API for Rust: wire types, pure planners, provider traits, controllers.

pub mod api;
