//! What controllers run on: caches, a queue, the one writer, workload clusters, leader election.
//! It knows no kind and decides nothing.
//!
//! A [`Controller`] is a value. The [`Manager`] hosts any number of them on a `kube::Client`;
//! several managers can live in one process. The library installs no subscriber, signal handler or
//! TLS default, and never ends the process.

mod cache;
mod controller;
mod error;
mod external;
mod fair;
mod hub;
mod lease;
mod manager;
mod metrics;
mod object;
mod pace;
mod query;
mod queue;
mod reflect;
mod resource;
mod store;
mod workload;
mod writer;

pub use cache::{Cache, Selection};
pub use controller::{
    Controller, MapChange, MapCluster, MapNode, Outcome, PolicyRule, Watch, cluster_role,
};
pub use error::Error;
pub use external::{External, custom_resource_definitions};
pub(crate) use fair::others_first;
pub use lease::LeaseConfig;
pub use manager::{Manager, ManagerBuilder, RESYNC, Runtime, secrets};
pub use metrics::Metrics;
pub use object::{Object, ObjectKey, Owner};
pub use pace::{PATIENCE, Pace, QUIET};
pub use queue::QueueConfig;
pub use resource::ResourceType;
pub use store::{Change, IndexFn, Store};
pub use workload::{
    ConnectionState, Connector, KubeconfigConnector, REQUEST_TIMEOUT, Workload, Workloads,
};
pub use writer::{Propagation, Writer};
