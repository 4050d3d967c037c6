//! A small real Kubernetes API server in one process.

pub mod apply;
pub mod json;
pub mod patch;
pub mod schema;
