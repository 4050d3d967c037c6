//! Talos nodes without machines: they boot from NoCloud data, serve the real machine API (gRPC
//! with mutual TLS and roles), form an etcd whose quorum can be lost, and bring up a Kubernetes
//! API where their Nodes register.
//!
//! A [`Datacenter`] holds the machines. Whoever simulates the hypervisor calls
//! [`boot`](Datacenter::boot), [`power_off`](Datacenter::power_off) and
//! [`destroy`](Datacenter::destroy); clients reach a node's address through
//! [`connector`](Datacenter::connector) (memory, no sockets) or, from other processes, through the
//! ports of 127.0.0.1 that [`routes`](Datacenter::routes) lists. No other address is ever dialled.
//! Time is that of the clock it was given.

mod answers;
mod apply;
mod calls;
mod config;
mod etcd;
mod iso;
mod kubernetes;
mod life;
mod machine_api;
mod network;
mod options;
mod routing;
mod seed;
mod server;
mod state;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError},
};

use async_trait::async_trait;
use capi_core::clock::Clock;
use tokio::sync::watch;

use self::state::{Boot, Disk, Inner, Node};
use crate::client::{BoxedStream, Connector, Endpoint, MACHINE_API_PORT, MachineStage};

pub use kubernetes::KubernetesService;
pub use options::{CallFault, FaultPlan, Latencies, NetworkPlugin, Options};
pub use seed::{MachineFacts, Seed};

/// Machines that run Talos, and the network between them.
///
/// Clones are the same datacenter; when the last one is dropped, all machines are off.
#[derive(Clone)]
pub struct Datacenter {
    inner: Arc<Inner>,
    _life: Arc<Life>,
}

/// Ends everything when the last handle is gone, though tasks still hold the state.
struct Life {
    inner: Arc<Inner>,
    _ports: watch::Sender<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let machines: Vec<String> = self
            .inner
            .read(|state| state.nodes.keys().cloned().collect());
        for uuid in machines {
            self.inner.power_off(&uuid);
        }
    }
}

impl std::fmt::Debug for Datacenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.machines()).finish()
    }
}

/// A machine as the datacenter sees it, apart from what its APIs say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineState {
    /// SMBIOS UUID.
    pub uuid: String,
    /// Name it was given.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// What Talos is doing; meaningless while it is off.
    pub stage: MachineStage,
    /// Host name; empty before it has a configuration.
    pub hostname: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How often it booted.
    pub boots: u64,
    /// Whether its disk holds an etcd member.
    pub has_etcd_data: bool,
    /// Why it got no further, as its console would show.
    pub error: Option<String>,
}

/// What etcd of a cluster is, as nobody within it can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdState {
    /// Its members, learners among them.
    pub members: usize,
    /// Voters whose machine and etcd run.
    pub alive: usize,
    /// Whether those are a majority.
    pub quorum: bool,
}

/// Where an address of the simulated network is reached from other processes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// Host of the manifests.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Port of 127.0.0.1 that stands for it.
    pub loopback: SocketAddr,
}

impl MachineState {
    fn of((uuid, node): (&String, &Node)) -> Self {
        Self {
            uuid: uuid.clone(),
            name: node.facts.name.clone(),
            on: node.is_on(),
            stage: node.boot.stage,
            hostname: node.boot.hostname.clone(),
            addresses: node.addresses.clone(),
            boots: node.boots,
            has_etcd_data: node.disk.etcd.is_some(),
            error: node.error.clone(),
        }
    }
}

impl Datacenter {
    /// An empty datacenter. Machines run on the tokio runtime of whoever calls
    /// [`boot`](Self::boot).
    #[must_use]
    pub fn new(options: Options, clock: Clock) -> Self {
        let (ports, end) = watch::channel(());
        let inner = Arc::new(Inner::new(options, clock, end));
        let life = Arc::new(Life {
            inner: inner.clone(),
            _ports: ports,
        });
        Self { inner, _life: life }
    }

    /// Powers a machine on, with what is in its drive now; its disk is that of the last time.
    /// A machine that is on goes on as it is.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn boot(&self, facts: MachineFacts) {
        let uuid: Arc<str> = facts.uuid.to_ascii_lowercase().into();
        let (inner, key) = (self.inner.clone(), uuid.to_string());
        self.inner.write(|state| {
            let node = state.nodes.entry(key).or_insert_with(|| Node {
                facts: MachineFacts::default(),
                power: None,
                disk: Disk::default(),
                boots: 0,
                boot: Boot::new(String::new(), String::new()),
                addresses: Vec::new(),
                error: None,
            });
            if node.power.is_none() {
                node.facts = facts;
                node.power = Some(tokio::spawn(life::live(inner, uuid)).abort_handle());
            }
        });
    }

    /// Cuts a machine's power. Returns whether it was on. After a while its Node is seen to be
    /// stale.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn power_off(&self, uuid: &str) -> bool {
        let uuid = uuid.to_ascii_lowercase();
        life::watch_stopped(&self.inner, &uuid);
        self.inner.power_off(&uuid)
    }

    /// Cuts a machine's power and deletes its disk. Returns whether there was such a machine.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn destroy(&self, uuid: &str) -> bool {
        let was_there = self
            .inner
            .read(|state| state.nodes.contains_key(&uuid.to_ascii_lowercase()));
        self.power_off(uuid);
        self.inner
            .write(|state| state.nodes.remove(&uuid.to_ascii_lowercase()));
        was_there
    }

    /// The addresses a guest agent would report: those of a machine that is on and has come so
    /// far as to have some.
    #[must_use]
    pub fn addresses(&self, uuid: &str) -> Vec<IpAddr> {
        self.inner.read(|state| {
            let node = state
                .nodes
                .get(&uuid.to_ascii_lowercase())
                .filter(|node| node.is_on());
            node.map(|node| node.addresses.clone()).unwrap_or_default()
        })
    }

    /// All machines, by UUID.
    #[must_use]
    pub fn machines(&self) -> Vec<MachineState> {
        self.inner
            .read(|state| state.nodes.iter().map(MachineState::of).collect())
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, uuid: &str) -> Option<MachineState> {
        let uuid = uuid.to_ascii_lowercase();
        self.machines()
            .into_iter()
            .find(|machine| machine.uuid == uuid)
    }

    /// Waits until the machines are as wished; for tests, in place of a sleep.
    pub async fn until(&self, mut wished: impl FnMut(&[MachineState]) -> bool) {
        self.inner
            .until(|state| {
                let machines: Vec<_> = state.nodes.iter().map(MachineState::of).collect();
                wished(&machines).then_some(())
            })
            .await;
    }

    /// A connector to nodes through memory: no socket is opened.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Memory(self.inner.clone()))
    }

    /// The Kubernetes API at a cluster's endpoint, without sockets and TLS, for a client in this
    /// process. May be asked for at any time: it answers once a control plane node does.
    #[must_use]
    pub fn kubernetes(&self, host: impl Into<String>, port: u16) -> KubernetesService {
        KubernetesService::new(self.inner.clone(), host.into(), port)
    }

    /// The hosts and ports that ports of 127.0.0.1 stand for. Empty without
    /// [`Options::loopback`].
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        let route = |((host, port), loopback)| Route {
            host,
            port,
            loopback,
        };
        self.inner.network.routes().into_iter().map(route).collect()
    }

    /// Waits until the routes are others than `known`; for whoever tells them to other processes.
    pub async fn routes_other_than(&self, known: &[Route]) -> Vec<Route> {
        self.inner
            .until(|_| {
                let routes = self.routes();
                (routes != known).then_some(routes)
            })
            .await
    }

    /// The port of 127.0.0.1 that stands for a host and port.
    #[must_use]
    pub fn route(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.inner.network.loopback(host, port)
    }

    /// Where a node's machine API is reached from other processes.
    #[must_use]
    pub fn machine_api(&self, address: IpAddr) -> Option<SocketAddr> {
        self.route(&address.to_string(), MACHINE_API_PORT)
    }

    /// Decides about faults of calls from now on.
    pub fn set_faults(&self, plan: Option<FaultPlan>) {
        *self
            .inner
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Installs a network plugin in the cluster of this name, as a user with `cni: none` does.
    pub fn install_network_plugin(&self, cluster: &str) {
        self.inner.write(|state| {
            for found in state
                .clusters
                .values_mut()
                .filter(|found| found.name == cluster)
            {
                found.plugin = true;
            }
        });
    }

    /// etcd of the cluster of this name; `None` before it was bootstrapped.
    #[must_use]
    pub fn etcd(&self, cluster: &str) -> Option<EtcdState> {
        self.inner.read(|state| {
            let mut clusters = state.clusters.values();
            let found = clusters.find(|found| found.name == cluster)?;
            let etcd = found.etcd.as_ref()?;
            Some(EtcdState {
                members: etcd.members.len(),
                alive: etcd.alive(),
                quorum: etcd.has_quorum(),
            })
        })
    }

    /// Things that must never happen to a real cluster and did to one of these: two etcd clusters
    /// of one cluster.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.inner.read(|state| {
            state
                .clusters
                .values()
                .flat_map(|cluster| cluster.violations.iter().cloned())
                .collect()
        })
    }
}

/// A connection through the simulated network.
async fn connect(inner: Arc<Inner>, host: String, port: u16) -> io::Result<network::Wire> {
    let target = inner.read(|state| match host.parse::<IpAddr>() {
        Ok(address) if state.node_at(address).is_some() => Some((address, port)),
        _ => state
            .behind_endpoint(&host, port)
            .into_iter()
            .map(|address| (address, state::KUBERNETES_API_PORT))
            .find(|address| inner.network.listens(*address)),
    });
    if let Some(address) = target {
        return inner.network.connect(address);
    }
    inner.clock.sleep(inner.options.latencies.unreachable).await;
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{host}:{port} does not answer"),
    ))
}

/// Makes a port of 127.0.0.1 stand for a host and port, if the datacenter has such ports.
async fn expose(inner: &Arc<Inner>, host: &str, port: u16) {
    if !inner.options.loopback {
        return;
    }
    let (name, owner) = (host.to_owned(), inner.clone());
    let exposed = inner
        .network
        .expose(host, port, inner.end.clone(), move || {
            connect(owner.clone(), name.clone(), port)
        });
    match exposed.await {
        // whoever waits for routes looks again
        Ok(()) => inner.write(|_| ()),
        Err(error) => {
            tracing::warn!(host, port, %error, "no port of 127.0.0.1 for a simulated node");
        }
    }
}

struct Memory(Arc<Inner>);

#[async_trait]
impl Connector for Memory {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<BoxedStream> {
        let stream = connect(self.0.clone(), endpoint.host().to_owned(), endpoint.port()).await?;
        Ok(Box::pin(stream))
    }
}
