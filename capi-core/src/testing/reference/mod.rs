//! The reference set: an infrastructure, a bootstrap and a control plane provider whose machines
//! are records in memory, or files of a directory. Each workload cluster is an embedded API server
//! in this process.
//!
//! It behaves as providers should, and as slowly, badly or crowdedly as its [`Settings`] say.

mod bootstrap;
mod control_plane;
mod datacenter;
mod infrastructure;
mod inventory;
mod kinds;
mod manifest;

pub use bootstrap::ReferenceBootstrap;
pub use control_plane::ReferenceControlPlaneProvider;
pub(super) use datacenter::Boot;
pub use datacenter::{Datacenter, DatacenterEvent, MachineRecord, ReferenceConnector, Settings};
pub use infrastructure::{ReferenceIdentity, ReferenceInfrastructure};
pub use kinds::{
    GROUP, ReferenceCluster, ReferenceClusterSpec, ReferenceClusterStatus, ReferenceConfig,
    ReferenceConfigSpec, ReferenceConfigStatus, ReferenceConfigTemplate, ReferenceControlPlane,
    ReferenceControlPlaneSpec, ReferenceControlPlaneStatus, ReferenceMachine, ReferenceMachineSpec,
    ReferenceMachineStatus, ReferenceMachineTemplate, crds,
};
pub use manifest::{ClusterShape, manifest};
