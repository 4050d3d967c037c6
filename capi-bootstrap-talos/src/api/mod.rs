//! The kinds of the Talos bootstrap provider: what their objects look like on the API server.
//!
//! Every type is the version that is stored (v1beta1); objects in v1alpha3 are converted to it.

mod config;

pub use config::*;
