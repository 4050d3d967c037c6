//! The managers of a run: one, or two of which one holds the Lease; each dies and begins anew as
//! the faults say.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{Mutant, provider::SimulatedInfrastructure, world::World};
use crate::{
    controllers,
    runtime::{Controller, LeaseConfig, Manager},
    testing::{
        faults::{Dice, Fault, FaultyService, Fragile},
        reference::{
            Datacenter, ReferenceBootstrap, ReferenceControlPlaneProvider, ReferenceInfrastructure,
        },
    },
};

/// Whoever died is back after at most so long.
const DOWN: Duration = Duration::from_secs(30);

pub(super) struct Managers {
    tasks: JoinSet<()>,
    hosts: Vec<Arc<Host>>,
}

struct Host {
    world: Arc<World>,
    service: FaultyService,
    datacenter: Datacenter,
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
        datacenter: &Datacenter,
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
                datacenter: datacenter.clone(),
                mutant,
                leased,
                slot,
                kill: tokio::sync::Notify::new(),
            });
            hosts.push(Arc::clone(&host));
            tasks.spawn(host.keep(Dice::new(dice.roll())));
        }
        if leased {
            world.note(Fault::SecondManager, "");
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
                    self.world.note(Fault::Crash, &who);
                    "killed"
                }
                _ = running.join_next() => "lost the Lease",
            };
            running.shutdown().await;
            let now = self.world.clock.now();
            self.world.trace(&format!("{who} {why}"));
            self.world.rules().manager_died(now);
            let down = dice.within(DOWN);
            self.world.clock.sleep(down).await;
        }
    }

    fn manager(&self, who: &Arc<str>, seed: u64) -> Manager {
        let infrastructure = SimulatedInfrastructure {
            inner: ReferenceInfrastructure::new(self.datacenter.clone()),
            datacenter: self.datacenter.clone(),
            world: Arc::clone(&self.world),
            who: Arc::clone(who),
            mutant: self.mutant,
        };
        let mut all = controllers::core();
        all.extend(controllers::infrastructure(infrastructure));
        all.extend(controllers::bootstrap(ReferenceBootstrap));
        all.extend(controllers::control_plane(
            ReferenceControlPlaneProvider::new(self.datacenter.clone()),
        ));
        all.extend(controllers::in_cluster_ipam());
        let all = all.into_iter().map(|inner| {
            let inner = match self.mutant {
                Some(mutant) => mutant.wrap(inner),
                None => inner,
            };
            let world = Arc::clone(&self.world);
            let faults = world.faults.clone();
            let tell = move |what: &str| world.trace(&format!("fault CrashAtAwait {what}"));
            Arc::new(Fragile::new(inner, faults, Arc::clone(who), tell)) as Arc<dyn Controller>
        });
        let service = self
            .service
            .clone()
            .called(Arc::clone(who))
            .with_faults(self.world.faults.clone())
            .with_rewrite(self.mutant.and_then(Mutant::rewrite));
        let mut builder = Manager::builder(kube::Client::new(service, "default"))
            .clock(self.world.clock.clone())
            .connector(self.datacenter.connector())
            .controllers(all)
            .seed(seed);
        if self.leased {
            builder = builder.leader_election(LeaseConfig::new("default", &**who));
        }
        builder.build()
    }
}
