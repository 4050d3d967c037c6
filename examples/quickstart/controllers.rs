//! The controllers, assembled.

use std::sync::Arc;

use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_controlplane_talos::provider::TalosControlPlaneProvider;
use capi_core::{clock::Clock, controllers, pki::PrivateKey, runtime::Manager};
use capi_provider_proxmox::provider::ProxmoxProvider;
use secrecy::ExposeSecret as _;

use crate::{
    datacenter::{Access, Shared},
    directory::{Directory, Error},
};

/// The controllers, ready to run.
///
/// Controllers that live in a time that runs faster are given the one `key` that takes seconds to
/// make, since their deadlines are short in real time.
pub(crate) fn assemble(
    client: kube::Client,
    access: &Access,
    clock: Clock,
    key: Option<PrivateKey>,
) -> Result<Manager, Error> {
    let bootstrap = match key {
        Some(key) => TalosBootstrap::with_service_account_key(key),
        None => TalosBootstrap::new(),
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

/// A key for service accounts: that of an earlier start in this directory, else a new one.
pub(crate) fn service_account_key(directory: &Directory) -> Result<PrivateKey, Error> {
    const FILE: &str = "service-account.key";
    match std::fs::read_to_string(directory.file(FILE)) {
        Ok(text) => Ok(PrivateKey::from_pem(&text)?),
        Err(_) => {
            let key = PrivateKey::generate_rsa(4096)?;
            directory.write(FILE, key.to_pem().expose_secret().as_bytes())?;
            Ok(key)
        }
    }
}
