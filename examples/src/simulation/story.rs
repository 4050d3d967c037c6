//! What the user does, and what must have become of it in the end.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use capi_core::{api::convert::Conversion, testing::faults::Dice};
use serde_json::{Value, json};

use super::{
    Error,
    managers::Managers,
    site::{SECRET, Site, TOKEN},
    world::{Rule, World, is_control_plane},
};
use crate::objects::{self, Address};

pub(super) const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
pub(super) const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1alpha2/namespaces/default";
pub(super) const IPAM: &str = "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/default";
pub(super) const CLUSTER: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/clusters/first";
/// Name of the cluster in the manifest.
pub(super) const NAME: &str = "first";
/// Address of its control plane in the manifest.
pub(super) const ENDPOINT: &str = "10.10.10.2";
const CONTROL_PLANE: &str = "/apis/controlplane.cluster.x-k8s.io/v1alpha3/namespaces/default/taloscontrolplanes/first-control-plane";
const WORKERS: &str =
    "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/first-workers";
/// The objects are the quickstart's.
const MANIFEST: &str = include_str!("../../quickstart/cluster.yaml");

/// Between two things that the user does.
const PAUSE: Duration = Duration::from_secs(240);
/// Everything is as asked for so long after the last fault.
const CONVERGENCE: Duration = Duration::from_secs(2400);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// So long nothing is written.
const IDLE: Duration = Duration::from_secs(120);
const MEBIBYTES: u64 = 4096;

/// The definitions of all kinds; made from the types once, since that takes its time.
pub(super) fn definitions() -> &'static [Value] {
    static DEFINITIONS: OnceLock<Vec<Value>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        capi_core::api::crds()
            .into_iter()
            .chain(capi_provider_proxmox::api::crds())
            .chain(capi_bootstrap_talos::api::crds())
            .chain(capi_controlplane_talos::api::crds())
            .collect()
    })
}

pub(super) fn conversions() -> &'static [Conversion] {
    static CONVERSIONS: OnceLock<Vec<Conversion>> = OnceLock::new();
    CONVERSIONS.get_or_init(|| {
        [
            capi_core::api::conversions(),
            capi_provider_proxmox::api::conversions(),
            capi_bootstrap_talos::api::conversions(),
        ]
        .concat()
    })
}

fn documents() -> Result<&'static [Value], Error> {
    static DOCUMENTS: OnceLock<Vec<Value>> = OnceLock::new();
    if let Some(read) = DOCUMENTS.get() {
        return Ok(read);
    }
    let mut read = serde_saphyr::from_multiple::<Value>(MANIFEST)?;
    for document in &mut read {
        document["metadata"]["namespace"] = json!("default");
    }
    Ok(DOCUMENTS.get_or_init(|| read))
}

pub(super) struct Story {
    world: Arc<World>,
    client: kube::Client,
    site: Site,
    dice: Dice,
    control_planes: u64,
    workers: u64,
    memory: [u64; 2],
    templates: u32,
}

/// Whether the story goes on.
type Told = Result<Option<()>, Error>;

/// Ends the story when a rule is broken.
macro_rules! go_on {
    ($told:expr) => {
        match $told? {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl Story {
    pub(super) fn new(world: Arc<World>, client: kube::Client, site: Site, dice: Dice) -> Self {
        Self {
            world,
            client,
            site,
            dice,
            control_planes: 1,
            workers: 0,
            memory: [MEBIBYTES; 2],
            templates: 0,
        }
    }

    /// Tells the story to its end, or to the first rule that is broken.
    pub(super) async fn tell(mut self, managers: &Managers) -> Result<(), Error> {
        self.parts(managers).await.map(drop)
    }

    async fn parts(&mut self, managers: &Managers) -> Told {
        self.world.faults.set_active(true);
        self.create().await?;
        for _ in 0..self.dice.below(5) {
            let pause = self.dice.within(PAUSE);
            go_on!(self.pass(pause).await);
            self.step(managers).await?;
        }
        if !self.dice.chance(250) {
            go_on!(self.calm().await);
            go_on!(self.idle().await);
            let active = self.dice.chance(600);
            self.world.faults.set_active(active);
        }
        // Who deletes a Cluster that no controller ever saw deletes nothing but the Cluster.
        let mut left = CONVERGENCE;
        while !self.is_seen() {
            go_on!(self.pass(LOOK).await);
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                self.world
                    .violate(Rule::Converges, "nobody has seen the Cluster");
                return Ok(None);
            }
        }
        self.world.act("Delete", "");
        self.delete(CLUSTER).await?;
        let pause = self.dice.within(PAUSE);
        go_on!(self.pass(pause).await);
        self.world.faults.set_active(false);
        self.gone().await
    }

    /// Lets time pass; `None` once a rule is broken.
    async fn pass(&self, time: Duration) -> Told {
        let mut left = time;
        loop {
            self.site.check();
            if self.world.violation().is_some() {
                return Ok(None);
            }
            if left.is_zero() {
                return Ok(Some(()));
            }
            let step = left.min(LOOK);
            self.world.clock.sleep(step).await;
            left -= step;
        }
    }

    /// Whether the Cluster bears its finalizer, and its infrastructure belongs to it.
    fn is_seen(&self) -> bool {
        let owned = |path: &str| {
            let found = self.world.read(path).unwrap_or_default();
            found["metadata"]["ownerReferences"].is_array()
        };
        let cluster = self.world.read(CLUSTER).unwrap_or_default();
        cluster["metadata"]["finalizers"].is_array()
            && owned(&format!("{INFRA}/proxmoxclusters/{NAME}"))
            && owned(CONTROL_PLANE)
    }

    async fn create(&mut self) -> Result<(), Error> {
        self.control_planes = *self.dice.pick(&[1, 1, 3]).unwrap_or(&1);
        self.workers = self.dice.below(3);
        let what = format!("{}+{}", self.control_planes, self.workers);
        self.world.act("Create", &what);
        let credentials = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "namespace": "default", "name": "proxmox-credentials" },
            "stringData": { "url": "https://pve1:8006", "token": TOKEN, "secret": SECRET },
        });
        objects::apply(&self.client, &credentials, false).await?;
        for document in documents()? {
            let mut document = document.clone();
            match document["kind"].as_str() {
                Some("TalosControlPlane") => {
                    document["spec"]["replicas"] = json!(self.control_planes);
                }
                Some("MachineDeployment") => document["spec"]["replicas"] = json!(self.workers),
                _ => {}
            }
            objects::apply(&self.client, &document, false).await?;
        }
        Ok(())
    }

    async fn step(&mut self, managers: &Managers) -> Result<(), Error> {
        match self.dice.below(8) {
            0 | 1 => {
                self.workers = self.dice.below(4);
                self.world.act("ScaleWorkers", &self.workers.to_string());
                let change = json!({ "spec": { "replicas": self.workers } });
                self.patch(WORKERS, &change).await
            }
            2 => {
                let name = self.template("first-workers", 1).await?;
                self.world.act("ReplaceWorkers", &name);
                let change = json!({ "spec": { "template": { "spec": {
                    "infrastructureRef": { "name": name },
                }}}});
                self.patch(WORKERS, &change).await
            }
            3 => {
                let name = self.template("first-control-plane", 0).await?;
                self.world.act("ReplaceControlPlane", &name);
                let change = json!({ "spec": { "infrastructureTemplate": { "name": name } } });
                self.patch(CONTROL_PLANE, &change).await
            }
            4 => {
                let machines = self.world.items(&format!("{CORE}/machines"));
                let mut names = machines.iter().filter(|machine| !is_control_plane(machine));
                match names
                    .next()
                    .and_then(|one| one["metadata"]["name"].as_str())
                {
                    Some(name) => self.delete_machine(name).await,
                    None => Ok(()),
                }
            }
            5 => {
                self.lose();
                Ok(())
            }
            _ => {
                let which = self.dice.roll();
                managers.kill(which);
                Ok(())
            }
        }
    }

    /// A worker's virtual machine vanishes.
    fn lose(&mut self) {
        let machines = self.site.machines();
        let workers: Vec<_> = machines
            .iter()
            .filter(|(_, name, ..)| name.starts_with("first-workers"))
            .collect();
        if let Some((vmid, _, uuid, _)) = self.dice.pick(&workers).copied() {
            self.site.lose(*vmid, uuid);
        }
    }

    /// Another template of more memory; its name.
    async fn template(&mut self, like: &str, whose: usize) -> Result<String, Error> {
        self.templates += 1;
        let name = format!("{like}-{}", self.templates);
        self.memory[whose] = MEBIBYTES + 512 * u64::from(self.templates);
        let found = documents()?.iter().find(|document| {
            document["kind"] == "ProxmoxMachineTemplate" && document["metadata"]["name"] == like
        });
        let mut template = found.cloned().ok_or("the manifest has no such template")?;
        template["metadata"]["name"] = json!(name);
        template["spec"]["template"]["spec"]["memoryMiB"] = json!(self.memory[whose]);
        objects::apply(&self.client, &template, false).await?;
        Ok(name)
    }

    async fn delete_machine(&self, name: &str) -> Result<(), Error> {
        self.world.act("DeleteMachine", name);
        self.delete(&format!("{CORE}/machines/{name}")).await
    }

    /// Faults end; everything becomes as it was asked for.
    async fn calm(&mut self) -> Told {
        self.world.faults.set_active(false);
        self.world.trace("calm");
        let mut left = CONVERGENCE;
        loop {
            go_on!(self.pass(LOOK).await);
            let Some(wrong) = self.differs() else {
                return Ok(Some(()));
            };
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                self.describe();
                self.world.violate(Rule::Converges, wrong);
                return Ok(None);
            }
            if left.as_secs().is_multiple_of(60) {
                self.remediate().await?;
            }
        }
    }

    /// Deletes machines whose virtual machine vanished, as a person or a health check would.
    async fn remediate(&self) -> Result<(), Error> {
        let there = self.site.machines();
        for machine in self.world.items(&format!("{INFRA}/proxmoxmachines")) {
            let provisioned = machine["status"]["initialization"]["provisioned"] == true;
            let number = machine["spec"]["virtualMachineID"].as_u64();
            let vanished = !there.iter().any(|(vmid, ..)| Some(*vmid) == number);
            let state = condition(&machine, "VirtualMachineProvisioned");
            let hopeless = state.is_some_and(|state| {
                state["status"] == "False"
                    && matches!(
                        state["reason"].as_str(),
                        Some("VirtualMachineGone" | "CloningFailed" | "TaskFailed")
                    )
            });
            if ((provisioned && vanished) || hopeless)
                && machine["metadata"]["deletionTimestamp"].is_null()
                && let Some(name) = machine["metadata"]["name"].as_str()
            {
                self.delete_machine(name).await?;
                // One at a time: nobody would take two control plane machines at once.
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is not as it was asked for.
    fn differs(&self) -> Option<String> {
        let total = self.control_planes + self.workers;
        let virtual_machines = self.site.machines();
        if virtual_machines.len() as u64 != total {
            let there = virtual_machines.len();
            return Some(format!("{there} virtual machines of {total}"));
        }
        let machines = self.world.items(&format!("{CORE}/machines"));
        let mut names: Vec<&str> = machines
            .iter()
            .filter_map(|machine| machine["metadata"]["name"].as_str())
            .collect();
        let mut running: Vec<&str> = virtual_machines
            .iter()
            .map(|(_, name, ..)| name.as_str())
            .collect();
        names.sort_unstable();
        running.sort_unstable();
        if names != running {
            return Some(format!("Machines {names:?}, virtual machines {running:?}"));
        }
        let outdated = virtual_machines.iter().find(|(_, name, _, memory)| {
            *memory != self.memory[usize::from(name.starts_with("first-workers"))]
        });
        if let Some((vmid, name, _, memory)) = outdated {
            return Some(format!("{vmid} ({name}) has {memory} MiB"));
        }
        for (path, total) in [
            (WORKERS, self.workers),
            (CONTROL_PLANE, self.control_planes),
        ] {
            let status = self.world.read(path).unwrap_or_default()["status"].take();
            for count in ["replicas", "readyReplicas"] {
                if status[count] != total {
                    return Some(format!("{path}: {count} {} of {total}", status[count]));
                }
            }
        }
        let cluster = self.world.read(CLUSTER).unwrap_or_default();
        let available = condition(&cluster, "Available");
        if available.is_none_or(|available| available["status"] != "True") {
            let message = available.map_or(&Value::Null, |available| &available["message"]);
            return Some(format!("Cluster is not available: {message}"));
        }
        let members = self.site.talos.etcd(NAME).map_or(0, |etcd| etcd.members);
        if members as u64 != self.control_planes {
            return Some(format!("etcd has {members} of {}", self.control_planes));
        }
        let addresses = self.world.items(&format!("{IPAM}/ipaddresses")).len();
        (addresses as u64 != total).then(|| format!("{addresses} IPAddresses of {total}"))
    }

    /// Puts into the trace what objects wait for.
    fn describe(&self) {
        let mut objects: Vec<Value> = [CLUSTER, CONTROL_PLANE, WORKERS]
            .into_iter()
            .filter_map(|path| self.world.read(path))
            .collect();
        for path in [
            format!("{CORE}/machinesets"),
            format!("{CORE}/machines"),
            format!("{INFRA}/proxmoxmachines"),
        ] {
            objects.extend(self.world.items(&path));
        }
        for object in objects {
            let conditions = object["status"]["conditions"].as_array();
            for condition in conditions.into_iter().flatten() {
                let text = |field: &str| condition[field].as_str().unwrap_or_default();
                self.world.trace(&format!(
                    "{} {} {}={} {} {:?}",
                    object["kind"].as_str().unwrap_or_default(),
                    object["metadata"]["name"].as_str().unwrap_or_default(),
                    text("type"),
                    text("status"),
                    text("reason"),
                    text("message"),
                ));
            }
        }
        for (vmid, name, uuid, _) in self.site.machines() {
            let node = self.site.talos.machine(&uuid);
            self.world.trace(&format!("{vmid} {name} {node:?}"));
        }
    }

    async fn idle(&self) -> Told {
        // What was put off to a quiet moment is written before.
        go_on!(self.pass(Duration::from_secs(60)).await);
        let before = self.world.writes();
        go_on!(self.pass(IDLE).await);
        let writes = self.world.writes() - before;
        if writes > 0 {
            let what = format!("{writes} writes in {} s", IDLE.as_secs());
            self.world.violate(Rule::IdleWritesNothing, what);
            return Ok(None);
        }
        Ok(Some(()))
    }

    /// Nothing is left.
    async fn gone(&self) -> Told {
        let mut left = CONVERGENCE;
        loop {
            go_on!(self.pass(LOOK).await);
            let there = self.remains();
            if there.is_empty() {
                return Ok(Some(()));
            }
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                self.describe();
                self.world.violate(Rule::NothingLeft, there.join(", "));
                return Ok(None);
            }
        }
    }

    fn remains(&self) -> Vec<String> {
        if self.world.read(CLUSTER).is_some() {
            return vec!["Cluster first".to_owned()];
        }
        let mut found: Vec<String> = self
            .site
            .machines()
            .into_iter()
            .map(|(vmid, name, ..)| format!("{vmid} ({name})"))
            .collect();
        found.extend(self.site.images());
        let bootstrap = "/apis/bootstrap.cluster.x-k8s.io/v1alpha3/namespaces/default";
        for path in [
            format!("{CORE}/machines"),
            format!("{CORE}/machinesets"),
            format!("{CORE}/machinedeployments"),
            format!("{INFRA}/proxmoxmachines"),
            format!("{INFRA}/proxmoxclusters"),
            format!("{bootstrap}/talosconfigs"),
            "/apis/controlplane.cluster.x-k8s.io/v1alpha3/namespaces/default/taloscontrolplanes"
                .to_owned(),
            "/apis/ipam.cluster.x-k8s.io/v1alpha2/namespaces/default/inclusterippools".to_owned(),
            format!("{IPAM}/ipaddressclaims"),
            format!("{IPAM}/ipaddresses"),
            "/api/v1/namespaces/default/secrets".to_owned(),
        ] {
            let kind = path.rsplit('/').next().unwrap_or_default();
            for object in self.world.items(&path) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                // What the user supplied stays.
                if name != "proxmox-credentials" {
                    found.push(format!("{kind}/{name} ({})", why_here(&object["metadata"])));
                }
            }
        }
        found
    }

    async fn patch(&self, path: &str, patch: &Value) -> Result<(), Error> {
        objects::patch(&self.client, &address(path), patch).await?;
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        Ok(objects::delete(&self.client, &address(path)).await?)
    }
}

fn address(path: &str) -> Address {
    let (collection, name) = path.rsplit_once('/').unwrap_or(("", path));
    Address {
        kind: collection.rsplit('/').next().unwrap_or_default().to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        collection: collection.to_owned(),
    }
}

/// What holds an object that should be gone.
fn why_here(metadata: &Value) -> String {
    if metadata["deletionTimestamp"].is_null() {
        format!("not deleted, owners {}", metadata["ownerReferences"])
    } else {
        format!("held by {}", metadata["finalizers"])
    }
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}
