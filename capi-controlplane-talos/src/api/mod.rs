//! The kind of the Talos control plane provider: what its objects look like on the API server.

mod control_plane;

pub use control_plane::*;

/// The CustomResourceDefinitions of the kinds of this crate, with all served versions.
///
/// See [`capi_core::api::crds`] for what they leave to the API server.
#[must_use]
pub fn crds() -> Vec<serde_json::Value> {
    capi_core::api::parse_definitions(&[include_str!("../../crds/taloscontrolplanes.json")])
}
