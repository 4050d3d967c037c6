//! Cluster API control plane provider for Talos Linux.

pub mod api;
