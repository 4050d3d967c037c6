//! Cluster API for Rust: wire types, pure planners, provider traits, controllers.
//!
//! A whole management plane in one process, with the reference providers, whose machines are
//! records (features `testing`, `embedded`):
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use capi_core::{
//!     clock::Clock, controllers, embedded::{self, ApiServer}, runtime::Manager,
//!     testing::reference::{self, Datacenter, ReferenceBootstrap, ReferenceInfrastructure, Settings},
//! };
//!
//! let mut builder = ApiServer::builder();
//! for definition in capi_core::api::crds().into_iter().chain(reference::crds()) {
//!     builder = builder.crd(definition);
//! }
//! let client = embedded::client(&builder.build()?);
//!
//! let datacenter = Datacenter::new(Clock::system(), Settings::default());
//! let manager = Manager::builder(client)
//!     .controllers(controllers::core())
//!     .controllers(controllers::infrastructure(ReferenceInfrastructure::new(datacenter.clone())))
//!     .controllers(controllers::bootstrap(ReferenceBootstrap))
//!     .connector(datacenter.connector())
//!     .build();
//! manager.run(std::future::ready(())).await?; // until this future ends
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # The map
//!
//! | module | feature | what it is |
//! | --- | --- | --- |
//! | [`api`] | none for data, `api` for objects | wire types, conversion, CRDs |
//! | [`contract`] | none | foreign objects as Cluster API's contract sees them |
//! | [`plan`] | none | decisions: pure functions from facts to plans |
//! | `provider` | `api` | the traits that a provider implements |
//! | `in_cluster_ipam` | `api` | ranges and pools of addresses |
//! | `runtime`, `controllers` | `runtime` | the Manager, and the controllers it hosts |
//! | `embedded` | `embedded` | the embedded Kubernetes API server |
//! | `pki` | `pki` | keys, certificates, kubeconfigs |
//! | `testing` | `testing` | the reference providers |
//!
//! The library installs no subscriber, signal handler or TLS provider, and never ends the process.
//! Its public API shows types of `kube` and `k8s-openapi`: a new major of either is a new major of
//! this crate. Exactly one of the features `k8s-latest`, `k8s-v1_33` to `k8s-v1_37` chooses the
//! Kubernetes version of `k8s-openapi`'s types; libraries that build on this crate leave the choice
//! to the application.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "api")]
pub mod admission;
pub mod api;
#[cfg(feature = "api")]
pub mod clock;
pub mod contract;
#[cfg(feature = "runtime")]
pub mod controllers;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "api")]
pub mod in_cluster_ipam;
#[cfg(feature = "pki")]
pub mod pki;
pub mod plan;
#[cfg(feature = "api")]
pub mod provider;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "testing")]
pub mod testing;
