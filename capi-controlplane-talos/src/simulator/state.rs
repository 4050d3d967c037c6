//! What is true in the datacenter at this moment: machines, their disks, clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use capi_core::clock::Clock;
use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::{
    config::{Kind, NodeConfig},
    etcd::Etcd,
    network::Network,
    options::{FaultPlan, Options},
    seed::MachineFacts,
};
use crate::client::{Health, MACHINE_API_PORT, MachineStage};

/// Port of the Kubernetes API on a control plane node.
pub(super) const KUBERNETES_API_PORT: u16 = 6443;

/// A service of a node.
#[derive(Clone, Debug)]
pub(super) struct ServiceState {
    pub(super) state: &'static str,
    pub(super) health: Health,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

/// What survives a reboot.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) config: Option<Arc<NodeConfig>>,
    pub(super) staged: Option<Arc<NodeConfig>>,
    /// Id of the etcd member whose data it holds.
    pub(super) etcd: Option<u64>,
    /// Talos version installed by an upgrade.
    pub(super) installed: Option<String>,
}

/// What a running Talos was told to do with its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Reboot,
    Halt,
}

/// What does not survive a reboot.
pub(super) struct Boot {
    pub(super) stage: MachineStage,
    pub(super) hostname: String,
    pub(super) active: Option<Arc<NodeConfig>>,
    pub(super) services: BTreeMap<&'static str, ServiceState>,
    pub(super) bootstrap: bool,
    pub(super) next: Option<Next>,
    pub(super) id: String,
    /// Counts configurations applied, so that the end of a trial knows whether it is still one.
    pub(super) applied: u64,
    pub(super) version: String,
    /// Image that was pulled for an upgrade.
    pub(super) pulled: Option<String>,
}

impl Boot {
    pub(super) fn new(id: String, version: String) -> Self {
        Self {
            stage: MachineStage::Booting,
            hostname: String::new(),
            active: None,
            services: BTreeMap::new(),
            bootstrap: false,
            next: None,
            id,
            applied: 0,
            version,
            pulled: None,
        }
    }
}

/// A machine.
pub(super) struct Node {
    pub(super) facts: MachineFacts,
    /// The task that lives while the machine is on.
    pub(super) power: Option<AbortHandle>,
    pub(super) disk: Disk,
    pub(super) boots: u64,
    pub(super) boot: Boot,
    pub(super) addresses: Vec<IpAddr>,
    /// Why the last boot got no further.
    pub(super) error: Option<String>,
}

impl Node {
    pub(super) fn is_on(&self) -> bool {
        self.power.is_some()
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.boot.active.as_deref().map(cluster_key)
    }

    pub(super) fn is_control_plane(&self) -> bool {
        self.boot
            .active
            .as_ref()
            .is_some_and(|config| config.kind == Kind::ControlPlane)
    }

    pub(super) fn service_runs(&self, id: &str) -> bool {
        self.is_on()
            && self
                .boot
                .services
                .get(id)
                .is_some_and(|service| service.state == "Running")
    }
}

/// What holds the nodes of a cluster together.
pub(super) fn cluster_key(config: &NodeConfig) -> String {
    if config.cluster_id.is_empty() {
        config.endpoint.clone()
    } else {
        config.cluster_id.clone()
    }
}

/// A cluster that nodes form.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) etcd: Option<Etcd>,
    pub(super) kubernetes: Option<Arc<super::kubernetes::Kubernetes>>,
    /// It has a network plugin: that of its control plane's configuration, or the user's.
    pub(super) plugin: bool,
    /// Things that must never happen, in words.
    pub(super) violations: Vec<String>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    random: u64,
}

impl State {
    /// The next number of the datacenter's own sequence (SplitMix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random UUID of the datacenter's own sequence.
    pub(super) fn random_uuid(&mut self) -> String {
        let (a, b) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// Begins a boot of a machine: everything volatile is new.
    pub(super) fn begin_boot(&mut self, uuid: &str, version: &str) -> Option<u64> {
        let id = self.random_uuid();
        let node = self.nodes.get_mut(uuid)?;
        node.boots += 1;
        let version = node
            .disk
            .installed
            .clone()
            .unwrap_or_else(|| version.to_owned());
        node.boot = Boot::new(id, version);
        node.error = None;
        Some(node.boots)
    }

    /// Tells every etcd which of its members live.
    pub(super) fn settle(&mut self) {
        for cluster in self.clusters.values_mut() {
            let Some(etcd) = &mut cluster.etcd else {
                continue;
            };
            let nodes = &self.nodes;
            let live: BTreeSet<u64> = etcd
                .members
                .iter()
                .filter(|(id, member)| {
                    nodes.get(&member.machine).is_some_and(|node| {
                        node.disk.etcd == Some(**id) && node.service_runs("etcd")
                    })
                })
                .map(|(id, _)| *id)
                .collect();
            etcd.settle(live);
        }
    }

    /// The running machine that has an address.
    pub(super) fn node_at(&self, address: IpAddr) -> Option<&Node> {
        self.nodes
            .values()
            .find(|node| node.is_on() && node.addresses.contains(&address))
    }

    /// Addresses of the running control plane nodes of the cluster whose endpoint has this host.
    pub(super) fn behind_endpoint(&self, host: &str, port: u16) -> Vec<IpAddr> {
        self.nodes
            .values()
            .filter(|node| {
                node.is_on()
                    && node.is_control_plane()
                    && node.boot.active.as_ref().is_some_and(|config| {
                        config.endpoint_host == host && config.endpoint_port == port
                    })
            })
            .flat_map(|node| node.addresses.iter().copied())
            .collect()
    }
}

/// All that the tasks of a datacenter share.
pub(super) struct Inner {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) faults: Mutex<Option<FaultPlan>>,
    /// Its sender's end closes all ports of 127.0.0.1.
    pub(super) end: watch::Receiver<()>,
    state: Mutex<State>,
    /// Wakes in the order of waiting, so that the same seed gives the same run (a watch channel
    /// wakes in random order).
    changed: Notify,
}

impl Inner {
    pub(super) fn new(options: Options, clock: Clock, end: watch::Receiver<()>) -> Self {
        let state = State {
            random: options.seed,
            ..State::default()
        };
        Self {
            options,
            clock,
            network: Network::default(),
            faults: Mutex::new(None),
            end,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes something; whoever waits for a change looks again.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.lock();
            let result = change(&mut state);
            state.settle();
            result
        };
        self.changed.notify_waiters();
        result
    }

    /// Waits until `look` sees something. Cancel safe.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(seen) = self.read(&mut look) {
                return seen;
            }
            changed.await;
        }
    }

    /// Ends the machine's life at once: nobody listens at its addresses any more, and its
    /// connections fall silent.
    pub(super) fn power_off(&self, uuid: &str) -> bool {
        let stopped = self.write(|state| {
            let node = state.nodes.get_mut(uuid)?;
            let power = node.power.take()?;
            for address in &node.addresses {
                self.network.silence((*address, MACHINE_API_PORT));
                self.network.silence((*address, KUBERNETES_API_PORT));
            }
            power.abort();
            Some(())
        });
        stopped.is_some()
    }
}
