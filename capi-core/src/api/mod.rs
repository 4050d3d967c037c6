//! The wire types of Cluster API: what objects look like on the API server.
//!
//! One file a kind. Specs, statuses, references and conditions are plain serde structs that need no
//! Kubernetes crate, so that planners can be built without one. The objects with metadata
//! (`Cluster`, `Machine`, ...) come with the feature `api` and implement `kube_core::Resource`.
//!
//! Every type here is the *hub*: the version that upstream stores. Objects in older served versions
//! are converted, never tolerated. Serialisation follows upstream's rules: an optional field that is
//! unset is left out, and so is an optional struct in which nothing is set (the API server
//! refuses `{}` in most places). Unknown fields are ignored on reading, therefore never write a
//! whole object back that somebody else authored: send a patch.

pub mod annotations;
pub mod cluster;
pub mod conditions;
pub mod convert;
#[cfg(feature = "schema")]
pub mod crd;
#[cfg(feature = "api")]
mod definitions;
pub mod finalizers;
pub mod ipam;
#[cfg(feature = "api")]
mod kind;
pub mod labels;
pub mod machine;
pub mod machine_deployment;
pub mod machine_drain_rule;
pub mod machine_health_check;
pub mod machine_set;
pub mod meta;
pub mod patch;
pub mod topology;
mod v1beta1;

pub use cluster::*;
pub use conditions::{Condition, ConditionStatus, V1Beta1Condition};
#[cfg(feature = "api")]
pub use definitions::{crds, parse_definitions, stored_version_only};
pub use ipam::*;
pub use machine::*;
pub use machine_deployment::*;
pub use machine_drain_rule::*;
pub use machine_health_check::*;
pub use machine_set::*;
pub use meta::*;
pub use v1beta1::conversions;
