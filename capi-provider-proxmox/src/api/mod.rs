//! The kinds of the Proxmox VE provider: what their objects look like on the API server.
//!
//! Every type is the version that is stored (v1alpha2); objects in v1alpha1 are converted to it.

mod cluster;
mod machine;
mod network;
mod v1alpha1;

pub use cluster::*;
pub use machine::*;
pub use network::*;
pub use v1alpha1::conversions;

/// API group of all kinds of the provider.
pub const GROUP: &str = "infrastructure.cluster.x-k8s.io";
/// Version that is stored.
pub const VERSION: &str = "v1alpha2";

/// The CustomResourceDefinitions of the kinds of this crate, with all served versions.
///
/// See [`capi_core::api::crds`] for what they leave to the API server.
#[must_use]
pub fn crds() -> Vec<serde_json::Value> {
    capi_core::api::parse_definitions(&[
        include_str!("../../crds/proxmoxclusters.json"),
        include_str!("../../crds/proxmoxclustertemplates.json"),
        include_str!("../../crds/proxmoxmachines.json"),
        include_str!("../../crds/proxmoxmachinetemplates.json"),
    ])
}
