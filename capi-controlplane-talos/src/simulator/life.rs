//! The life of a machine while it is on: boot, maintenance, services, etcd, kubelet.

use std::{net::IpAddr, sync::Arc, time::Duration};

use capi_bootstrap_talos::config::Contract;
use tokio::task::JoinSet;

use super::{
    config::{Kind, NodeConfig},
    etcd::{Etcd, Member},
    kubernetes, machine_api,
    seed::NoCloud,
    server,
    state::{Inner, KUBERNETES_API_PORT, Next, Node, ServiceState, State, cluster_key},
};
use crate::client::{Health, MACHINE_API_PORT, MachineStage};

/// One boot of one machine. What it does has no effect any more once the machine is off or has
/// booted again.
#[derive(Clone)]
pub(super) struct Me {
    pub(super) inner: Arc<Inner>,
    pub(super) uuid: Arc<str>,
    boot: u64,
}

impl Me {
    /// The boot that a machine is in now; `None` when it is off.
    pub(super) fn of(inner: &Arc<Inner>, uuid: &str) -> Option<Self> {
        let boot = inner.read(|state| {
            let node = state.nodes.get(uuid).filter(|node| node.is_on())?;
            Some(node.boots)
        })?;
        Some(Self {
            inner: inner.clone(),
            uuid: uuid.into(),
            boot,
        })
    }

    /// Changes something, unless this boot is over.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.inner
            .write(|state| self.is_current(state).then(|| change(state)))
    }

    /// Changes the machine, unless this boot is over.
    pub(super) fn node<T>(&self, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.update(|state| state.nodes.get_mut(&*self.uuid).map(change))
            .flatten()
    }

    /// Looks at the machine.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.inner.read(|state| {
            if self.is_current(state) {
                state.nodes.get(&*self.uuid).map(look)
            } else {
                None
            }
        })
    }

    fn is_current(&self, state: &State) -> bool {
        state
            .nodes
            .get(&*self.uuid)
            .is_some_and(|node| node.is_on() && node.boots == self.boot)
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            self.inner.clock.sleep(duration).await;
        }
    }

    pub(super) fn service(
        &self,
        id: &'static str,
        state: &'static str,
        health: Health,
        message: &str,
    ) {
        let since = self.inner.clock.now();
        let service = ServiceState {
            state,
            health,
            message: message.to_owned(),
            since,
        };
        self.node(|node| node.boot.services.insert(id, service));
    }

    /// What the running Talos understands.
    pub(super) fn contract(&self) -> Option<Contract> {
        self.look(|node| node.boot.version.clone())
            .and_then(|version| version.parse().ok())
    }

    /// The configuration it runs with.
    pub(super) fn config(&self) -> Option<Arc<NodeConfig>> {
        self.look(|node| node.boot.active.clone()).flatten()
    }
}

/// Everything from power on to power off.
pub(super) async fn live(inner: Arc<Inner>, uuid: Arc<str>) {
    loop {
        let Some(boot) = inner.write(|state| state.begin_boot(&uuid, &inner.options.talos_version))
        else {
            return;
        };
        let me = Me {
            inner: inner.clone(),
            uuid: uuid.clone(),
            boot,
        };
        let next = inner.until(|state| state.nodes.get(&*uuid)?.boot.next);
        let next = tokio::select! {
            biased;
            next = next => next,
            () = run(&me) => Next::Halt,
        };
        let addresses = inner.read(|state| state.nodes.get(&*uuid).map(|n| n.addresses.clone()));
        for address in addresses.into_iter().flatten() {
            inner.network.close((address, MACHINE_API_PORT));
            inner.network.close((address, KUBERNETES_API_PORT));
        }
        if next == Next::Halt {
            watch_stopped(&inner, &uuid);
            inner.write(|state| state.nodes.get_mut(&*uuid).map(|node| node.power = None));
            return;
        }
    }
}

/// Begins the watch over the Node of a machine that stops now, if it has one.
pub(super) fn watch_stopped(inner: &Arc<Inner>, uuid: &str) {
    let stopping = inner.read(|state| {
        let node = state.nodes.get(uuid).filter(|node| node.is_on())?;
        Some((node.boots, node.cluster()?, node.boot.hostname.clone()))
    });
    if let Some((boots, key, name)) = stopping {
        let watch = kubernetes::watch_stopped(inner.clone(), uuid.to_owned(), boots, key, name);
        tokio::spawn(watch);
    }
}

/// One boot, until it is cancelled.
async fn run(me: &Me) {
    me.sleep(me.inner.options.latencies.firmware).await;
    match prepare(me) {
        Ok((addresses, seed, config)) => {
            let config = match config {
                Some(config) => config,
                None => maintenance(me, &addresses).await,
            };
            operate(me, &addresses, seed.hostname, config).await;
        }
        Err(error) => {
            tracing::warn!(machine = %me.uuid, %error, "the simulated node cannot use its configuration");
            me.node(|node| node.error = Some(error));
        }
    }
    std::future::pending::<()>().await;
}

type Prepared = (Vec<IpAddr>, NoCloud, Option<Arc<NodeConfig>>);

/// Finds addresses and configuration: that of the disk wins over that of the seed.
fn prepare(me: &Me) -> Result<Prepared, String> {
    let facts = me
        .look(|node| node.facts.clone())
        .ok_or("the machine is off")?;
    let seed = NoCloud::read(&facts.seed, &facts.macs)?;
    let addresses = if seed.addresses.is_empty() {
        facts.addresses
    } else {
        seed.addresses.clone()
    };
    let taken = addresses.clone();
    let on_disk = me
        .node(|node| {
            node.addresses = taken;
            if let Some(staged) = node.disk.staged.take() {
                node.disk.config = Some(staged);
            }
            node.disk.config.clone()
        })
        .flatten();
    let config = match (on_disk, &seed.configuration) {
        (Some(config), _) => Some(config),
        (None, Some(text)) => Some(Arc::new(NodeConfig::read(text, me.contract())?)),
        (None, None) => None,
    };
    Ok((addresses, seed, config))
}

/// Waits, with the insecure machine API, for a first configuration.
async fn maintenance(me: &Me, addresses: &[IpAddr]) -> Arc<NodeConfig> {
    me.node(|node| node.boot.stage = MachineStage::Maintenance);
    me.service("machined", "Running", Health::Healthy, "Service started");
    let mut tasks = JoinSet::new();
    for address in addresses {
        listen(me, *address, MACHINE_API_PORT).await;
        tasks.spawn(machine_api::serve_maintenance(me.clone(), *address));
    }
    let uuid = me.uuid.clone();
    let config = me
        .inner
        .until(|state| state.nodes.get(&*uuid)?.disk.config.clone())
        .await;
    tasks.shutdown().await;
    config
}

/// Makes a port of 127.0.0.1 for an address, where the datacenter has such ports.
async fn listen(me: &Me, address: IpAddr, port: u16) {
    super::expose(&me.inner, &address.to_string(), port).await;
}

/// A configured node: services come up, and stay until this is cancelled.
async fn operate(
    me: &Me,
    addresses: &[IpAddr],
    platform_hostname: Option<String>,
    config: Arc<NodeConfig>,
) {
    let hostname = config
        .hostname
        .clone()
        .or(platform_hostname)
        .map(|name| name.split('.').next().unwrap_or_default().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| stable_hostname(&me.uuid));
    let (kind, key, cluster_name) = (
        config.kind,
        cluster_key(&config),
        config.cluster_name.clone(),
    );
    let active = config.clone();
    me.update(|state| {
        state.clusters.entry(key).or_default().name = cluster_name;
        if let Some(node) = state.nodes.get_mut(&*me.uuid) {
            node.boot.stage = MachineStage::Booting;
            node.boot.hostname = hostname;
            node.disk.config = Some(active.clone());
            node.boot.active = Some(active);
        }
    });
    for id in [
        "machined",
        "containerd",
        "udevd",
        "syslogd",
        "auditd",
        "dashboard",
    ] {
        me.service(id, "Running", Health::Healthy, "Service started");
    }
    me.service(
        "apid",
        "Waiting",
        Health::Unknown,
        "Waiting for API certificates",
    );
    me.sleep(me.inner.options.latencies.machine_api).await;
    let identity = server::identity(me, &config, addresses).await;
    let tls = match server::machine_api_tls(&me.inner.clock, &config, &identity) {
        Ok(tls) => tls,
        Err(error) => {
            me.node(|node| node.error = Some(error.to_string()));
            return;
        }
    };
    let mut tasks = JoinSet::new();
    for address in addresses {
        listen(me, *address, MACHINE_API_PORT).await;
        tasks.spawn(machine_api::serve(me.clone(), *address, tls.clone()));
    }
    me.service("apid", "Running", Health::Healthy, "Service started");
    me.service("cri", "Running", Health::Healthy, "Service started");
    if kind == Kind::ControlPlane {
        me.service("trustd", "Running", Health::Healthy, "Service started");
        me.service(
            "etcd",
            "Preparing",
            Health::Unknown,
            "Waiting for bootstrap",
        );
        listen_endpoint(me, &config).await;
        tasks.spawn(run_etcd(me.clone()));
        tasks.spawn(kubernetes::serve(
            me.clone(),
            config.clone(),
            addresses.to_vec(),
        ));
    }
    me.service("kubelet", "Running", Health::Healthy, "Service started");
    tasks.spawn(kubernetes::run_kubelet(me.clone(), config.clone()));
    if kind == Kind::ControlPlane {
        let uuid = me.uuid.clone();
        me.inner
            .until(|state| state.nodes.get(&*uuid)?.service_runs("etcd").then_some(()))
            .await;
    }
    me.node(|node| node.boot.stage = MachineStage::Running);
    while tasks.join_next().await.is_some() {}
}

/// The cluster's endpoint, where it is an address of its own (a virtual one).
async fn listen_endpoint(me: &Me, config: &NodeConfig) {
    super::expose(&me.inner, &config.endpoint_host, config.endpoint_port).await;
}

/// The name Talos makes up when nobody gives it one.
fn stable_hostname(uuid: &str) -> String {
    let letters: String = uuid
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(6)
        .collect();
    format!("talos-{}", letters.to_ascii_lowercase())
}

/// How an etcd begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// With the data on the disk.
    Data(u64),
    /// With data whose member was removed from the cluster.
    Removed,
    /// As the first member of a new cluster.
    Bootstrap,
    /// As a learner of a cluster that is there.
    Join,
}

fn begin(state: &State, uuid: &str) -> Option<Begin> {
    let node = state.nodes.get(uuid)?;
    let etcd = node
        .cluster()
        .and_then(|key| state.clusters.get(&key)?.etcd.as_ref());
    match (node.disk.etcd, etcd) {
        (Some(id), Some(etcd)) if etcd.members.contains_key(&id) => Some(Begin::Data(id)),
        (Some(_), _) => Some(Begin::Removed),
        (None, _) if node.boot.bootstrap => Some(Begin::Bootstrap),
        (None, Some(etcd)) if etcd.accepts_learner() => Some(Begin::Join),
        (None, _) => None,
    }
}

/// etcd on a control plane node, from its first start until it left or was removed.
async fn run_etcd(me: Me) {
    let latencies = me.inner.options.latencies.clone();
    loop {
        let begin = me.inner.until(|state| begin(state, &me.uuid)).await;
        me.service("etcd", "Preparing", Health::Unknown, "Running pre state");
        let id = match begin {
            Begin::Removed => {
                me.service(
                    "etcd",
                    "Failed",
                    Health::Unhealthy,
                    "the member has been permanently removed from the cluster",
                );
                return;
            }
            Begin::Data(id) => {
                me.sleep(latencies.etcd_start).await;
                id
            }
            Begin::Bootstrap => {
                me.sleep(latencies.etcd_start).await;
                match me.update(|state| first_member(state, &me.uuid)).flatten() {
                    Some(id) => id,
                    None => {
                        me.service(
                            "etcd",
                            "Failed",
                            Health::Unhealthy,
                            "a second etcd cluster cannot be simulated",
                        );
                        return;
                    }
                }
            }
            Begin::Join => {
                let Some(id) = me.update(|state| join(state, &me.uuid)).flatten() else {
                    continue;
                };
                me.sleep(latencies.etcd_start).await;
                id
            }
        };
        me.update(|state| start(state, &me.uuid, id));
        me.service(
            "etcd",
            "Running",
            Health::Healthy,
            "Health check successful",
        );
        if promote(&me, id, latencies.etcd_promote).await {
            // it left, or was removed
            let data = me.look(|node| node.disk.etcd).flatten();
            if data.is_some() {
                me.service(
                    "etcd",
                    "Failed",
                    Health::Unhealthy,
                    "the member has been permanently removed from the cluster",
                );
            } else {
                me.service(
                    "etcd",
                    "Finished",
                    Health::Unknown,
                    "Service finished successfully",
                );
            }
        }
        return;
    }
}

/// Promotes a learner, then waits for the end of its membership.
async fn promote(me: &Me, id: u64, latency: Duration) -> bool {
    let uuid = me.uuid.clone();
    let member = |state: &State| -> Option<Option<Member>> {
        let key = state.nodes.get(&*uuid)?.cluster()?;
        Some(
            state
                .clusters
                .get(&key)?
                .etcd
                .as_ref()?
                .members
                .get(&id)
                .cloned(),
        )
    };
    if me
        .inner
        .read(member)
        .flatten()
        .is_some_and(|member| member.learner)
    {
        me.sleep(latency).await;
        me.inner
            .until(|state| {
                let key = state.nodes.get(&*me.uuid)?.cluster()?;
                let etcd = state.clusters.get(&key)?.etcd.as_ref()?;
                (etcd.has_quorum() || !etcd.members.contains_key(&id)).then_some(())
            })
            .await;
        me.update(|state| etcd_of(state, &me.uuid).map(|etcd| etcd.promote(id)));
    }
    me.inner
        .until(|state| member(state)?.is_none().then_some(()))
        .await;
    true
}

pub(super) fn etcd_of<'a>(state: &'a mut State, uuid: &str) -> Option<&'a mut Etcd> {
    let key = state.nodes.get(uuid)?.cluster()?;
    state.clusters.get_mut(&key)?.etcd.as_mut()
}

fn new_member(state: &mut State, uuid: &str, learner: bool) -> Option<(u64, Member, String)> {
    let id = state.random();
    let node = state.nodes.get_mut(uuid)?;
    node.disk.etcd = Some(id);
    let member = Member {
        machine: uuid.to_owned(),
        hostname: node.boot.hostname.clone(),
        address: node
            .addresses
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
        learner,
        started: false,
    };
    Some((id, member, node.cluster()?))
}

/// A new etcd cluster; `None` if the cluster has one already, which must never happen.
fn first_member(state: &mut State, uuid: &str) -> Option<u64> {
    let key = state.nodes.get(uuid)?.cluster()?;
    let cluster = state.clusters.get_mut(&key)?;
    if cluster.etcd.is_some() {
        cluster.violations.push(format!(
            "machine {uuid} was bootstrapped beside an etcd that exists"
        ));
        return None;
    }
    let (id, member, _) = new_member(state, uuid, false)?;
    let etcd = state.clusters.get_mut(&key)?.etcd.insert(Etcd::default());
    etcd.add(id, member);
    Some(id)
}

fn join(state: &mut State, uuid: &str) -> Option<u64> {
    if begin(state, uuid) != Some(Begin::Join) {
        return None;
    }
    let (id, member, _) = new_member(state, uuid, true)?;
    etcd_of(state, uuid)?.add(id, member);
    Some(id)
}

fn start(state: &mut State, uuid: &str, id: u64) {
    if let Some(member) = etcd_of(state, uuid).and_then(|etcd| etcd.members.get_mut(&id)) {
        member.started = true;
    }
}
