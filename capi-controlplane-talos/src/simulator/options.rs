//! How fast and how well simulated nodes work.

use std::{sync::Arc, time::Duration};

use tonic::Code;

/// How long the steps of a node's life take, by the datacenter's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// From power on until Talos looks for its configuration.
    pub firmware: Duration,
    /// From its configuration until the machine API listens.
    pub machine_api: Duration,
    /// From the wish to start etcd until it runs.
    pub etcd_start: Duration,
    /// From a learner that runs until it is made a voter.
    pub etcd_promote: Duration,
    /// From an etcd that runs until the Kubernetes API listens.
    pub kubernetes_api: Duration,
    /// From a Kubernetes API that answers until the kubelet registers its Node.
    pub kubelet: Duration,
    /// From a Node that registered until its network works, where the configuration brings one.
    pub network: Duration,
    /// From a Node whose machine stopped until it is seen to be stale.
    pub node_stale: Duration,
    /// Every call of the machine API.
    pub call: Duration,
    /// Until a connection to an address that nobody has is given up.
    pub unreachable: Duration,
    /// Until etcd gives up waiting for quorum, and with it a call that needs it.
    pub quorum: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            firmware: Duration::from_millis(500),
            machine_api: Duration::from_millis(200),
            etcd_start: Duration::from_millis(300),
            etcd_promote: Duration::from_millis(200),
            kubernetes_api: Duration::from_millis(300),
            kubelet: Duration::from_millis(200),
            network: Duration::from_millis(200),
            node_stale: Duration::from_secs(40),
            call: Duration::ZERO,
            unreachable: Duration::from_secs(3),
            quorum: Duration::from_secs(7),
        }
    }
}

impl Latencies {
    /// As fast as can be: only what stands for "nobody answers" takes time.
    #[must_use]
    pub fn instant() -> Self {
        Self {
            firmware: Duration::ZERO,
            machine_api: Duration::ZERO,
            etcd_start: Duration::ZERO,
            etcd_promote: Duration::ZERO,
            kubernetes_api: Duration::ZERO,
            kubelet: Duration::ZERO,
            network: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// When a Node's network works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetworkPlugin {
    /// As the configuration says: flannel and a custom one by themselves; with `none` only after
    /// [`install_network_plugin`](super::Datacenter::install_network_plugin).
    #[default]
    AsConfigured,
    /// Always, whatever the configuration says.
    Present,
}

/// How a datacenter of simulated nodes behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long things take.
    pub latencies: Latencies,
    /// Talos version of the image, with its `v`.
    pub talos_version: String,
    /// When a Node's network works.
    pub network_plugin: NetworkPlugin,
    /// Whether every address of a node also listens on a port of 127.0.0.1
    /// ([`routes`](super::Datacenter::routes)), so that other processes can reach it.
    pub loopback: bool,
    /// Seed of ids that nodes make up.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            latencies: Latencies::default(),
            talos_version: "v1.13.8".to_owned(),
            network_plugin: NetworkPlugin::default(),
            loopback: false,
            seed: 0,
        }
    }
}

impl Options {
    /// The same with other latencies.
    #[must_use]
    pub fn latencies(mut self, latencies: Latencies) -> Self {
        self.latencies = latencies;
        self
    }

    /// The same with another Talos version.
    #[must_use]
    pub fn talos_version(mut self, version: impl Into<String>) -> Self {
        self.talos_version = version.into();
        self
    }

    /// The same with another choice of when a Node's network works.
    #[must_use]
    pub fn network_plugin(mut self, plugin: NetworkPlugin) -> Self {
        self.network_plugin = plugin;
        self
    }

    /// The same, reachable through ports of 127.0.0.1.
    #[must_use]
    pub fn loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// The same with another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What goes wrong with a call of the machine API.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallFault {
    /// The call is not done, and answered with this code.
    Fails(Code),
    /// The call is done, but its answer is lost.
    AnswerLost,
    /// The call is not done and never answered.
    Hangs,
    /// The call is done after this time.
    Delayed(Duration),
}

/// Decides about faults: asked for every call with the node's UUID and the method's name.
pub type FaultPlan = Arc<dyn Fn(&str, &str) -> Option<CallFault> + Send + Sync>;
