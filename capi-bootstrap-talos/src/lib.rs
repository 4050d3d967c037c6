//! Cluster API bootstrap provider for Talos Linux: what a machine boots with.
//!
//! ```
//! use capi_bootstrap_talos::config::{ConfigInput, ConfigOptions, Contract, MachineType, Patch};
//! use capi_bootstrap_talos::secrets::SecretsBundle;
//! use capi_core::pki::{KeyAlgorithm, PrivateKey};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = "2026-01-01T00:00:00Z".parse()?;
//! // SecretsBundle::generate makes an RSA key as talosctl does, which takes seconds
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let bundle = SecretsBundle::generate_with(Contract::V1_13, now, &key)?;
//! let config = ConfigInput {
//!     cluster_name: "demo",
//!     endpoint: "https://10.0.0.1:6443",
//!     kubernetes_version: "1.34.1",
//!     contract: Contract::V1_13,
//!     bundle: &bundle,
//!     options: ConfigOptions::default(),
//! }
//! .generate(MachineType::Worker)?;
//! let patch = Patch::parse("machine: {install: {disk: /dev/vda}}")?;
//! let config = config.patched(&patch)?;
//! let warnings = config.validate(Some(Contract::V1_13))?;
//! assert!(warnings.is_empty());
//! assert!(secrecy::ExposeSecret::expose_secret(&config.to_yaml()).contains("disk: /dev/vda"));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`api`] | the kinds TalosConfig and TalosConfigTemplate |
//! | [`secrets`] | the secrets bundle of a cluster, as `talosctl gen secrets` writes it |
//! | [`config`] | machine configurations for Talos 1.9 to 1.14: generate, patch, validate |
//! | [`provider`] | the provider itself: [`provider::TalosBootstrap`] |
//!
//! The objects and secrets are those of the Go provider
//! (cluster-api-bootstrap-provider-talos), so that either can go on where the other stopped.

pub mod admission;
pub mod api;
pub mod config;
pub mod provider;
pub mod secrets;

#[cfg(test)]
mod testing;
