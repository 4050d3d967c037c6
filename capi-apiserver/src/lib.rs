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
//! # In tests, instead of envtest
//! A server is a value that is gone with its last handle, so each test has its own, without binaries,
//! ports or cleaning up. What envtest lacks is there too: namespaces empty themselves,
//! owners take what they own with them, finalizers hold, eviction asks disruption budgets.
//!
//! ```
//! use capi_apiserver::{Admission, AdmissionRequest, ApiServer, Status, json};
//! use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
//!
//! // Definitions as they are applied to a cluster: `include_str!("../crds.yaml")`, or with
//! // `Builder::crd` whatever serialises to one, such as what kube's derive makes.
//! const CRD: &str = "
//! apiVersion: apiextensions.k8s.io/v1
//! kind: CustomResourceDefinition
//! metadata: {name: disks.example.com}
//! spec:
//!   group: example.com
//!   scope: Namespaced
//!   names: {plural: disks, kind: Disk}
//!   versions:
//!   - name: v1
//!     served: true
//!     storage: true
//!     subresources: {status: {}}
//!     schema:
//!       openAPIV3Schema:
//!         type: object
//!         properties:
//!           spec: {type: object, properties: {megabytes: {type: integer, minimum: 1}}}
//!   - name: v1beta1
//!     served: true
//!     storage: false
//!     schema:
//!       openAPIV3Schema:
//!         type: object
//!         properties:
//!           spec: {type: object, properties: {size: {type: string}}}
//! ";
//!
//! /// What the conversion webhook does: v1beta1 said `size: 5M` for `megabytes: 5`.
//! fn convert(object: &[u8], to: &str) -> Result<Vec<u8>, String> {
//!     let mut object: serde_json::Value =
//!         serde_json::from_slice(object).map_err(|error| error.to_string())?;
//!     object["spec"] = match to {
//!         "example.com/v1" => {
//!             let size = object["spec"]["size"].as_str().unwrap_or("1M");
//!             let megabytes: u64 = size.trim_end_matches('M').parse().map_err(|_| "no size")?;
//!             serde_json::json!({ "megabytes": megabytes })
//!         }
//!         _ => serde_json::json!({ "size": format!("{}M", object["spec"]["megabytes"]) }),
//!     };
//!     object["apiVersion"] = to.into();
//!     Ok(object.to_string().into_bytes())
//! }
//!
//! /// What the admission webhooks do, in the version of the request.
//! struct Rules;
//!
//! impl Admission for Rules {
//!     fn mutate(&self, _: &AdmissionRequest<'_>, disk: &mut json::Value<'_>) -> Result<(), Status> {
//!         disk.set_at(&["metadata", "labels", "example.com/seen"], "yes");
//!         Ok(())
//!     }
//!
//!     fn validate(&self, request: &AdmissionRequest<'_>, disk: &json::Value<'_>) -> Result<(), Status> {
//!         match disk.at(&["spec", "megabytes"]).and_then(json::Value::as_i64) {
//!             Some(13) => Err(Status::forbidden("example.com", "disks", request.name, "bad luck")),
//!             _ => Ok(()),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::builder()
//!     .manifest(CRD)
//!     .conversion("disks.example.com", convert)
//!     .admission("disks.example.com", Rules)
//!     .build()?;
//! let client = kube::Client::new(server.service(), "default");
//!
//! let kind = |version| ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", version, "Disk"));
//! let disks = |version| Api::<DynamicObject>::default_namespaced_with(client.clone(), &kind(version));
//! let disk = |name, megabytes: i64| {
//!     let spec = serde_json::json!({ "spec": { "megabytes": megabytes } });
//!     DynamicObject::new(name, &kind("v1")).data(spec)
//! };
//! let made = disks("v1").create(&PostParams::default(), &disk("a", 5)).await?;
//! assert_eq!(made.metadata.labels.unwrap_or_default()["example.com/seen"], "yes");
//! assert_eq!(disks("v1beta1").get("a").await?.data["spec"]["size"], "5M");
//! // Refused by the schema, and by the rules.
//! assert!(disks("v1").create(&PostParams::default(), &disk("b", 0)).await.is_err());
//! assert!(disks("v1").create(&PostParams::default(), &disk("b", 13)).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! For programs that need a socket, such as kubectl or a controller in another language,
//! [`ApiServer::https`] serves the same objects with TLS and hands out kubeconfigs:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use secrecy::ExposeSecret;
//!
//! let server = capi_apiserver::ApiServer::builder().build()?;
//! let https = server.https().start().await?;
//! let kubeconfig = https.kubeconfig(&capi_apiserver::User::admin())?;
//! let directory = tempfile::tempdir()?;
//! std::fs::write(directory.path().join("kubeconfig"), kubeconfig.expose_secret())?;
//! // KUBECONFIG=... kubectl get namespaces
//! drop(https); // closes the socket
//! # Ok(())
//! # }
//! ```
//!
//! Runs can be repeated: with [`Builder::seed`] and a [`TokioClock`] under `tokio::time::pause` the
//! same requests make the same uids, names, versions and times. [`ApiServer::digest`] compares stores.
//!
//! # What it is not
//! It keeps objects in memory, for as long as it lives. It authenticates, and lets everybody whom it
//! knows do everything. Nothing runs beside it: no scheduler, no kubelet, no controllers. Of the
//! built-in kinds it serves Namespace, Secret, ConfigMap, Event, Node, Pod, PodDisruptionBudget,
//! ServiceAccount, Lease and CustomResourceDefinition, and not those that controllers bring to life,
//! such as Deployment. What else differs from kube-apiserver, and why, is listed in
//! `docs/differences.md`.
//!
//! # Map
//! [`ApiServer`] is assembled by a [`Builder`] and has one door, the [`ApiService`] (tower);
//! [`https`] puts it on a loopback socket. [`Convert`] and [`Admission`] are what an assembler adds,
//! [`Audit`] is told of each request, [`Clock`] and [`Builder::seed`] make a run repeatable.
//! [`json`], [`schema`], [`patch`], [`apply`], [`table`] and [`openapi`] are pure and know no store.

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
