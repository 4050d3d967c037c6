//! The datacenter: Proxmox VE whose virtual machines are Talos nodes, somebody else's machine
//! among them, and the faults of both.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use capi_controlplane_talos::simulator::{self as talos, CallFault, NetworkPlugin};
use capi_core::testing::faults::Dice;
use capi_provider_proxmox::{
    client::{ApiToken, Client, Transport, TransportError},
    provider::{Credentials, ProxmoxProvider},
    simulator::{
        Datacenter, Fault, Guest, Latencies, Outcome, Power, Simulator, VirtualMachine,
        VirtualMachineHost, VirtualMachineKey,
    },
};
use http::{Method, Request, Response};
use serde_json::Value;
use tonic::Code;

use super::{
    Mutant,
    story::{INFRA, NAME},
    world::{Rule, SiteFault, World},
};
use crate::lab::Nodes;

/// Number of the virtual machine that is somebody else's, among those that ours may get.
const FOREIGN: u64 = 101;
/// A slow call takes at most so long.
const SLOW: Duration = Duration::from_secs(8);
pub(super) const TOKEN: &str = "capi@pve!manager";
pub(super) const SECRET: &str = "simulated";

#[derive(Clone)]
pub(super) struct Site {
    pub(super) proxmox: Simulator,
    pub(super) talos: talos::Datacenter,
    world: Arc<World>,
    mutant: Option<Mutant>,
    foreign: Arc<str>,
}

impl Site {
    pub(super) fn open(world: &Arc<World>, dice: &mut Dice, mutant: Option<Mutant>) -> Self {
        let clock = world.clock.clone();
        let mut datacenter = Datacenter::example(3, dice.roll());
        datacenter.add_token(TOKEN, SECRET);
        let times = u32::try_from(1 + dice.below(6)).unwrap_or(1);
        let real = Latencies::REALISTIC;
        datacenter.latencies = Latencies {
            full_clone: real.full_clone * times,
            start: real.start * times,
            stop: real.stop * times,
            destroy: real.destroy * times,
            ..real
        };
        plant(&mut datacenter);
        let proxmox = Simulator::new(datacenter, clock.clone());
        let options = talos::Options::default()
            .network_plugin(NetworkPlugin::Present)
            .seed(dice.roll());
        let talos = talos::Datacenter::new(options, clock);
        let site = Self {
            foreign: proxmox.inspect(foreign).into(),
            proxmox: proxmox.clone(),
            talos: talos.clone(),
            world: Arc::clone(world),
            mutant,
        };
        proxmox.attach_host(Arc::new(Watched {
            nodes: Nodes {
                talos: talos.clone(),
                proxmox: proxmox.clone(),
            },
            world: Arc::downgrade(world),
            mutant,
        }));
        let world = Arc::downgrade(world);
        talos.set_faults(Some(Arc::new(move |machine, method| {
            let world = world.upgrade()?;
            let fault = world.draw(&SiteFault::OF_TALOS)?;
            world.note(fault, &format!("{method} of {machine}"));
            Some(match fault {
                SiteFault::TalosReplyLost => CallFault::AnswerLost,
                SiteFault::TalosHangs => CallFault::Hangs,
                SiteFault::TalosSlow => CallFault::Delayed(world.within(SLOW)),
                _ => CallFault::Fails(Code::Unavailable),
            })
        })));
        site
    }

    /// Nothing runs here any more: the host knows the datacenter, and must be let go.
    pub(super) fn close(&self) {
        self.proxmox.attach_host(Arc::new(Nobody));
    }

    pub(super) fn proxmox_provider(&self, who: &Arc<str>) -> ProxmoxProvider {
        let wire = Arc::new(Wire {
            simulator: self.proxmox.clone(),
            world: Arc::clone(&self.world),
            who: Arc::clone(who),
            mutant: self.mutant,
        });
        ProxmoxProvider::new().connector(Arc::new(move |credentials: &Credentials, clock| {
            let token = ApiToken::new(&credentials.token, credentials.secret.clone())?;
            let url = credentials.urls.first().cloned().unwrap_or_default();
            Client::builder(url, token, clock)
                .trust(credentials.trust.clone())
                .transport(Arc::clone(&wire) as Arc<dyn Transport>)
                .build()
        }))
    }

    /// Our virtual machines: number, name, UUID, mebibytes of memory.
    pub(super) fn machines(&self) -> Vec<(u64, String, String, u64)> {
        self.proxmox.inspect(|datacenter| {
            let guests = datacenter.guests.iter();
            let ours = guests.filter(|(vmid, guest)| !guest.template && **vmid != FOREIGN);
            ours.map(|(vmid, guest)| {
                let uuid = guest.uuid().unwrap_or_default();
                (*vmid, guest.name(*vmid), uuid, guest.memory() >> 20)
            })
            .collect()
        })
    }

    /// Images that were uploaded.
    pub(super) fn images(&self) -> Vec<String> {
        self.proxmox.inspect(|datacenter| {
            let volumes = datacenter.volumes.values();
            let ids = volumes.map(|volume| volume.id.clone());
            ids.filter(|id| id.ends_with(".iso")).collect()
        })
    }

    /// A virtual machine vanishes, with its disks.
    pub(super) fn lose(&self, vmid: u64, uuid: &str) {
        self.world.note(SiteFault::MachineLost, &vmid.to_string());
        self.proxmox.change(|datacenter| {
            datacenter.guests.remove(&vmid);
            let volumes = &mut datacenter.volumes;
            volumes.retain(|_, volume| volume.owner != Some(vmid));
        });
        self.talos.destroy(uuid);
    }

    /// Looks whether any rule about the datacenter is broken.
    pub(super) fn check(&self) {
        if *self.proxmox.inspect(foreign) != *self.foreign {
            let what = "it was changed or removed";
            self.world.violate(Rule::ForeignUntouched, what);
        }
        let objects = self.world.items(&format!("{INFRA}/proxmoxmachines"));
        let mut uuids = BTreeSet::new();
        for (vmid, name, uuid, _) in self.machines() {
            let named = |object: &&Value| object["spec"]["virtualMachineID"] == vmid;
            if !objects.iter().any(|object| named(&object)) {
                let what = format!("{vmid} ({name}) is there, and no ProxmoxMachine names it");
                self.world.violate(Rule::NoLeakedMachine, what);
            }
            if !uuid.is_empty() && !uuids.insert(uuid.clone()) {
                let what = format!("{vmid} ({name}) is {uuid}, as another one is");
                self.world.violate(Rule::NoDuplicateIdentity, what);
            }
        }
        let mut addresses = BTreeSet::new();
        for machine in self.talos.machines() {
            for address in machine.addresses.into_iter().filter(|_| machine.on) {
                if !addresses.insert(address) {
                    let what = format!("{} has {address}, as another one has", machine.name);
                    self.world.violate(Rule::NoDuplicateIdentity, what);
                }
            }
        }
        if let Some(what) = self.talos.violations().first() {
            self.world.violate(Rule::QuorumKept, what.clone());
        }
    }
}

/// Puts somebody else's virtual machine there.
fn plant(datacenter: &mut Datacenter) {
    let Some(template) = datacenter.guests.get(&9000).cloned() else {
        return;
    };
    let mut config = template.config.clone();
    config.insert("name".to_owned(), "somebody-elses".to_owned());
    let uuid = "uuid=11111111-2222-4333-8444-555555555555";
    config.insert("smbios1".to_owned(), uuid.to_owned());
    config.retain(|key, _| !key.starts_with("scsi") && !key.starts_with("ide"));
    let guest = Guest {
        template: false,
        config,
        power: Power::Running,
        ..template
    };
    datacenter.guests.insert(FOREIGN, guest);
}

fn foreign(datacenter: &Datacenter) -> String {
    match datacenter.guests.get(&FOREIGN) {
        Some(guest) => format!("{:?} {:?} {:?}", guest.power, guest.lock, guest.config),
        None => String::new(),
    }
}

/// Runs no virtual machine.
struct Nobody;

impl VirtualMachineHost for Nobody {
    fn on_start(&self, _machine: VirtualMachine) {}

    fn on_stop(&self, _machine: VirtualMachineKey) {}
}

/// Boots nodes, and sees what a stop does to etcd.
struct Watched {
    nodes: Nodes,
    world: Weak<World>,
    mutant: Option<Mutant>,
}

impl Watched {
    /// Whether etcd has quorum, and how many of its voters live.
    fn etcd(&self) -> Option<(bool, usize)> {
        let etcd = self.nodes.talos.etcd(NAME)?;
        Some((etcd.quorum, etcd.alive))
    }
}

impl VirtualMachineHost for Watched {
    fn on_start(&self, machine: VirtualMachine) {
        self.nodes.on_start(machine);
    }

    fn on_stop(&self, machine: VirtualMachineKey) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        world.trace(&format!("stopped {} {}", machine.vmid, machine.uuid));
        let before = self.etcd();
        let node = self.nodes.talos.machine(&machine.uuid);
        if self.mutant == Some(Mutant::StopsSecondControlPlane)
            && node.is_some_and(|node| node.name.starts_with("first-control-plane"))
        {
            let machines = self.nodes.talos.machines();
            let other = machines
                .iter()
                .find(|other| other.on && other.has_etcd_data && other.uuid != machine.uuid);
            if let Some(other) = other {
                self.nodes.talos.power_off(&other.uuid);
            }
        }
        self.nodes.on_stop(machine.clone());
        let (Some((true, _)), Some((quorum, alive))) = (before, self.etcd()) else {
            return;
        };
        if !quorum && world.cluster_lives() {
            let what = format!("without {} only {alive} voters live", machine.vmid);
            world.violate(Rule::QuorumKept, what);
        }
    }
}

/// The way to Proxmox VE of one manager.
struct Wire {
    simulator: Simulator,
    world: Arc<World>,
    who: Arc<str>,
    mutant: Option<Mutant>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire of {}", self.who)
    }
}

impl Wire {
    /// The planted defect: whatever is destroyed, it is the wrong one.
    fn mislead(&self, mut request: Request<Bytes>) -> Request<Bytes> {
        let path = request.uri().path();
        if self.mutant == Some(Mutant::DestroysForeign)
            && *request.method() == Method::DELETE
            && let Some((start, _)) = path.split_once("/qemu/")
        {
            let node = start.rsplit_once('/').map_or(start, |(nodes, _)| nodes);
            let uri = format!("https://pve1:8006{node}/pve1/qemu/{FOREIGN}");
            self.simulator.change(|datacenter| {
                if let Some(guest) = datacenter.guests.get_mut(&FOREIGN) {
                    guest.power = Power::Stopped;
                }
            });
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
        }
        request
    }
}

/// A path without the digest of an image, whose keys are others in every run.
fn undated(path: &str) -> &str {
    match path.rsplit_once('-') {
        Some((start, digest)) if digest.ends_with(".iso") => start,
        _ => path,
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let request = self.mislead(request);
        let (world, method) = (&self.world, request.method().clone());
        let path = request.uri().path().trim_start_matches("/api2/json");
        let path = path.to_owned();
        let write = method != Method::GET;
        let told = format!("{} {method} {}", self.who, undated(&path));
        if write {
            world.trace(&told);
        }
        let kinds: &[SiteFault] = match write {
            true => &SiteFault::OF_WRITES,
            false => &SiteFault::OF_READS,
        };
        let Some(fault) = world.draw(kinds) else {
            return self.simulator.answer(request).await;
        };
        world.note(fault, &told);
        let outcome = match fault {
            SiteFault::CrashBeforeCall => {
                world.crash(&self.who);
                return std::future::pending().await;
            }
            SiteFault::CrashAfterCall => {
                self.simulator.answer(request).await?;
                world.crash(&self.who);
                return std::future::pending().await;
            }
            SiteFault::ProxmoxError => Outcome::Status(500, "got timeout".to_owned()),
            SiteFault::ProxmoxLocked => Outcome::Status(500, "VM is locked (backup)".to_owned()),
            SiteFault::ProxmoxHtml => Outcome::HtmlPage,
            SiteFault::ProxmoxLost => Outcome::DropBefore,
            SiteFault::ProxmoxReplyLost => Outcome::DropAfter,
            SiteFault::ProxmoxTaskFails => Outcome::TaskFails("unable to do it now".to_owned()),
            _ => Outcome::Delay(world.within(SLOW)),
        };
        self.simulator.fault(Fault::once(method, path, outcome));
        self.simulator.answer(request).await
    }
}
