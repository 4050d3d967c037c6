//! The controllers, assembled.

use std::sync::Arc;

use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_controlplane_talos::provider::TalosControlPlaneProvider;
use capi_core::{clock::Clock, controllers, pki::PrivateKey, runtime::Manager};
use capi_provider_proxmox::provider::ProxmoxProvider;

use crate::{
    datacenter::{Access, Shared},
    directory::Error,
};

/// The controllers, ready to run.
///
/// `hurried` controllers live in a time that runs faster: the one key that takes seconds to make
/// is made before, since their deadlines are short in real time.
pub(crate) fn assemble(
    client: kube::Client,
    access: &Access,
    clock: Clock,
    hurried: bool,
) -> Result<Manager, Error> {
    let bootstrap = match hurried {
        true => TalosBootstrap::with_service_account_key(PrivateKey::generate_rsa(4096)?),
        false => TalosBootstrap::new(),
    };
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(ProxmoxProvider::new()));
    all.extend(controllers::bootstrap(bootstrap));
    all.extend(controllers::control_plane(
        TalosControlPlaneProvider::with_connector(Arc::clone(&access.machine_api)),
    ));
    all.extend(controllers::in_cluster_ipam());
    Ok(Manager::builder(client)
        .clock(clock)
        .controllers(all)
        .connector(Shared(Arc::clone(&access.kubernetes)))
        .build())
}
