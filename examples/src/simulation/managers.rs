//! The managers of a run: one, or two of which one holds the Lease; each dies and begins anew as
//! the faults say.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_controlplane_talos::provider::TalosControlPlaneProvider;
use capi_core::{
    controllers,
    pki::PrivateKey,
    runtime::{Connector, Controller, LeaseConfig, Manager, ObjectKey},
    testing::faults::{Dice, Fault, FaultyService, Fragile},
};
use http::Method;
use secrecy::SecretString;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Error, Mutant, site::Site, story, world::World};

/// Whoever died is back after at most so long.
const DOWN: Duration = Duration::from_secs(30);

pub(super) struct Managers {
    tasks: JoinSet<()>,
    hosts: Vec<Arc<Host>>,
}

struct Host {
    world: Arc<World>,
    service: FaultyService,
    site: Site,
    key: PrivateKey,
    mutant: Option<Mutant>,
    leased: bool,
    slot: usize,
    /// Dies at some moment.
    kill: tokio::sync::Notify,
}

impl Managers {
    pub(super) fn start(
        world: &Arc<World>,
        service: &FaultyService,
        site: &Site,
        key: &PrivateKey,
        mutant: Option<Mutant>,
        leased: bool,
        seed: u64,
    ) -> Self {
        let mut dice = Dice::new(seed);
        let mut tasks = JoinSet::new();
        let mut hosts = Vec::new();
        for slot in 0..1 + usize::from(leased) {
            let host = Arc::new(Host {
                world: Arc::clone(world),
                service: service.clone(),
                site: site.clone(),
                key: key.clone(),
                mutant,
                leased,
                slot,
                kill: tokio::sync::Notify::new(),
            });
            hosts.push(Arc::clone(&host));
            tasks.spawn(host.keep(Dice::new(dice.roll())));
        }
        if leased {
            world.note_core(Fault::SecondManager, "");
        }
        Self { tasks, hosts }
    }

    /// Kills one of them.
    pub(super) fn kill(&self, which: u64) {
        let index = usize::try_from(which).unwrap_or_default() % self.hosts.len().max(1);
        if let Some(host) = self.hosts.get(index) {
            host.kill.notify_one();
        }
    }

    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Host {
    async fn keep(self: Arc<Self>, mut dice: Dice) {
        let mut life = 0;
        loop {
            let who: Arc<str> = format!("manager-{}.{life}", self.slot).into();
            life += 1;
            let crashed = self.world.faults.crash_of(&who);
            let manager = self.manager(&who, dice.roll());
            let mut running = JoinSet::new();
            running.spawn(async move { manager.run(std::future::pending()).await.is_ok() });
            let why = tokio::select! {
                biased;
                () = crashed.notified() => "crashed",
                () = self.kill.notified() => {
                    self.world.note_core(Fault::Crash, &who);
                    "killed"
                }
                _ = running.join_next() => "lost the Lease",
            };
            running.shutdown().await;
            self.world.trace(&format!("{who} {why}"));
            let down = dice.within(DOWN);
            self.world.clock.sleep(down).await;
        }
    }

    fn manager(&self, who: &Arc<str>, seed: u64) -> Manager {
        let mut all = controllers::core();
        all.extend(controllers::infrastructure(self.site.proxmox_provider(who)));
        all.extend(controllers::bootstrap(
            TalosBootstrap::with_service_account_key(self.key.clone()),
        ));
        all.extend(controllers::control_plane(
            TalosControlPlaneProvider::with_connector(self.site.talos.connector()),
        ));
        all.extend(controllers::in_cluster_ipam());
        let all = all.into_iter().map(|inner| {
            let world = Arc::clone(&self.world);
            let faults = world.faults.clone();
            let tell = move |what: &str| world.trace(&format!("fault CrashAtAwait {what}"));
            Arc::new(Fragile::new(inner, faults, Arc::clone(who), tell)) as Arc<dyn Controller>
        });
        let mut service = self
            .service
            .clone()
            .called(Arc::clone(who))
            .with_faults(self.world.faults.clone());
        if self.mutant == Some(Mutant::AddressTwice) {
            service = service.with_rewrite(Some(Arc::new(|method, path, mut body| {
                if *method == Method::POST && path.ends_with("/ipaddresses") {
                    body["spec"]["address"] = json!("10.10.10.60");
                }
                body
            })));
        }
        let mut builder = Manager::builder(kube::Client::new(service, "default"))
            .clock(self.world.clock.clone())
            .connector(Workload(self.site.clone()))
            .controllers(all)
            .seed(seed);
        if self.leased {
            builder = builder.leader_election(LeaseConfig::new("default", &**who));
        }
        builder.build()
    }
}

/// Connects to the workload cluster, whose API answers as its nodes do.
struct Workload(Site);

#[async_trait]
impl Connector for Workload {
    async fn connect(
        &self,
        _cluster: &ObjectKey,
        _kubeconfig: &SecretString,
    ) -> Result<kube::Client, Error> {
        let service = self.0.talos.kubernetes(story::ENDPOINT, 6443);
        Ok(kube::Client::new(service, "default"))
    }
}
