//! The kinds of the Talos bootstrap provider: what their objects look like on the API server.
//!
//! Every type is the version that is stored (v1beta1); objects in v1alpha3 are converted to it.

mod config;
mod v1alpha3;

pub use config::*;
pub use v1alpha3::conversions;

/// The CustomResourceDefinitions of the kinds of this crate, with all served versions.
///
/// See [`capi_core::api::crds`] for what they leave to the API server.
#[must_use]
pub fn crds() -> Vec<serde_json::Value> {
    capi_core::api::parse_definitions(&[
        include_str!("../../crds/talosconfigs.json"),
        include_str!("../../crds/talosconfigtemplates.json"),
    ])
}
