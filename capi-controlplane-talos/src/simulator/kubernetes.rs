//! The Kubernetes side of a simulated cluster: its API, and the kubelets that register Nodes.

use std::{net::IpAddr, sync::Arc};

use super::{config::NodeConfig, life::Me};

/// The Kubernetes API of a cluster: one store behind all of its control plane nodes.
pub(super) struct Kubernetes;

/// Serves the API on a control plane node, while its etcd runs.
pub(super) async fn serve(me: Me, config: Arc<NodeConfig>, addresses: Vec<IpAddr>) {
    let _ = (me, config, addresses);
}

/// Registers the Node, and keeps it.
pub(super) async fn run_kubelet(me: Me, config: Arc<NodeConfig>) {
    let _ = (me, config);
}
