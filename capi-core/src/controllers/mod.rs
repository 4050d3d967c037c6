//! Controllers: one file a kind. They collect facts, ask a planner or a provider, and execute
//! what it says. They never decide.

pub mod host;

use std::sync::Arc;

use crate::{
    provider::{Bootstrap, Infrastructure},
    runtime::Controller,
};

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
