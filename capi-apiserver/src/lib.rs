//! A small real Kubernetes API server in one process.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = capi_apiserver::ApiServer::builder().build()?;
//! let client = kube::Client::new(server.service(), "default");
//! assert_eq!(client.apiserver_version().await?.major, "1");
//! # Ok(())
//! # }
//! ```
//!
//! The server knows no group, kind or provider beyond a handful of built-in ones: custom resources
//! are data ([`Builder::crd`]), and conversion, defaulting and admission are functions that whoever
//! assembles it registers. It starts no task, installs nothing global and stores bytes.
//!
//! # Map
//! [`ApiServer`] is assembled by a [`Builder`] and has one door, the [`ApiService`] (tower);
//! [`https`] puts it on a loopback socket. [`Convert`] and [`Admission`] are what an assembler adds,
//! [`Audit`] is told of each request, [`Clock`] and [`Builder::seed`] make a run repeatable.
//! [`json`], [`schema`], [`patch`], [`apply`], [`table`] and [`openapi`] are pure and know no store.
//!
//! What differs from kube-apiserver, and why, is listed in `docs/differences.md`.

pub mod apply;
mod audit;
mod builder;
mod builtin;
mod clock;
mod describe;
mod discovery;
mod entropy;
mod gc;
mod hooks;
pub mod https;
pub mod json;
mod names;
mod object;
pub mod openapi;
pub mod patch;
mod peek;
mod registry;
mod reply;
mod request;
pub mod schema;
mod selector;
mod server;
mod service;
mod status;
mod storage;
pub mod table;
mod verbs;

pub use audit::{Audit, Record};
pub use builder::{ApiServer, BuildError, Builder};
pub use clock::{Clock, SystemClock, TokioClock};
pub use hooks::{Admission, AdmissionRequest, Convert, Operation};
pub use reply::Body;
pub use request::User;
pub use service::ApiService;
pub use status::{Cause, Details, Status};
