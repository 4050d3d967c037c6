//! Controllers: one file a kind. They collect facts, ask a planner or a provider, and execute
//! what it says. They never decide.
//!
//! # What a worker costs
//!
//! A worker machine on infrastructure that answers at once costs nine writes, Events apart:
//!
//! 1. `Machine` is created first, with finalizer, labels and its owner, and with references to the
//!    two objects that follow. Their names are its name.
//! 2. The bootstrap object and 3. the infrastructure machine are created with the Machine as their
//!    controller from birth, so that nobody re-parents them. A crash in between leaves a Machine
//!    whose objects are missing: the MachineSet's next reconcile creates them. For a Go controller
//!    that meets them this is the state that it would have made itself.
//! 4. The bootstrap provider's Secret and 5. the bootstrap object's status.
//! 6. The infrastructure machine's identity with its finalizer, before anything is made outside,
//!    and 7. its status.
//! 8. `Machine.spec`: `dataSecretName` and `providerID` in one patch, and 9. `Machine.status`.
//!
//! For 8 and 9 to be one write each, what is on the way is held back: a state at rest is written at
//! once, as is what others wait for (a latch of `status.initialization`, `ControlPlaneInitialized`
//! or `Available` becoming True, `dataSecretName` for a provider of another manager). All else is
//! written when it and its cluster have stood still for [`QUIET`](crate::runtime::QUIET), or have
//! waited for [`PATIENCE`](crate::runtime::PATIENCE). Providers mounted in the same manager do not
//! wait for 8: a host reads the bootstrap object itself.

mod cluster;
mod collect;
mod execute;
pub mod host;
mod kubeconfig;
mod machine;
mod machine_deployment;
mod machine_set;
mod sets;
mod workload_node;

pub use cluster::ClusterController;
pub use machine::MachineController;
pub use machine_deployment::MachineDeploymentController;
pub use machine_set::MachineSetController;

use std::sync::Arc;

use crate::{
    api::{GlobalInClusterIPPool, InClusterIPPool},
    in_cluster_ipam::InClusterIpam,
    provider::{Bootstrap, ControlPlane, Infrastructure},
    runtime::Controller,
};

/// The controllers of the core's own kinds.
#[must_use]
pub fn core() -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(ClusterController::default()),
        Arc::new(MachineController::default()),
        Arc::new(MachineSetController::default()),
        Arc::new(MachineDeploymentController::default()),
    ]
}

/// The controllers that host an infrastructure provider.
pub fn infrastructure<P: Infrastructure>(provider: P) -> Vec<Arc<dyn Controller>> {
    let provider = Arc::new(provider);
    vec![
        Arc::new(host::InfraClusterHost::new(Arc::clone(&provider))),
        Arc::new(host::InfraMachineHost::new(provider)),
    ]
}

/// The controllers that host a bootstrap provider.
pub fn bootstrap<P: Bootstrap>(provider: P) -> Vec<Arc<dyn Controller>> {
    vec![Arc::new(host::BootstrapHost::new(Arc::new(provider)))]
}

/// The controllers that host a control plane provider.
pub fn control_plane<P: ControlPlane>(provider: P) -> Vec<Arc<dyn Controller>> {
    vec![Arc::new(host::ControlPlaneHost::new(Arc::new(provider)))]
}

/// The controllers that give addresses from in-cluster pools, namespaced and global.
pub fn in_cluster_ipam() -> Vec<Arc<dyn Controller>> {
    let pools = Arc::new(InClusterIpam::<InClusterIPPool>::default());
    let global_pools = Arc::new(InClusterIpam::<GlobalInClusterIPPool>::default());
    let (kind, global_kind) = (InClusterIPPool::KIND, GlobalInClusterIPPool::KIND);
    let book = host::AddressBook::default();
    let global_claims = host::ClaimHost::new(Arc::clone(&global_pools), global_kind, book.clone());
    vec![
        Arc::new(host::ClaimHost::new(Arc::clone(&pools), kind, book.clone())),
        Arc::new(host::PoolHost::new(pools, kind, book.clone())),
        Arc::new(global_claims),
        Arc::new(host::PoolHost::new(global_pools, global_kind, book)),
    ]
}
