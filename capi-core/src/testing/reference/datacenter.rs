//! The datacenter: records of machines, and a workload cluster for each cluster of them.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    infrastructure::{ReferenceIdentity, address},
    inventory::Inventory,
};
use crate::{
    clock::Clock,
    embedded::{self, ApiServer},
    provider::{Progress, ProviderError},
    runtime::{Connector, ObjectKey},
};

/// How slow and how big the datacenter is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From the record of a machine to its start.
    pub start: Duration,
    /// Each call of a provider.
    pub call: Duration,
    /// Machines that fit.
    pub capacity: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: Duration::ZERO,
            call: Duration::ZERO,
            capacity: 1 << 20,
        }
    }
}

/// A machine, as the datacenter knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineRecord {
    /// Its number.
    pub number: u32,
    /// Its mark.
    pub mark: String,
    /// Name of the Machine.
    pub name: String,
    /// `namespace/name` of the Cluster.
    pub cluster: String,
    /// A control plane machine.
    pub control_plane: bool,
    /// Kubernetes version.
    pub version: String,
    /// When it was made.
    pub created: Timestamp,
}

/// Of a cluster, what outlives its machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClusterRecord {
    initialized: bool,
    members: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    machines: Inventory,
    clusters: BTreeMap<ObjectKey, ClusterRecord>,
    workloads: BTreeMap<ObjectKey, Workload>,
}

impl State {
    fn remove(&mut self, number: u32) -> Option<MachineRecord> {
        let record = self.machines.remove(number)?;
        if let Some(cluster) = key_of(&record.cluster)
            && let Some(workload) = self.workloads.get_mut(&cluster)
        {
            workload.registered.remove(&number);
        }
        Some(record)
    }
}

struct Workload {
    client: kube::Client,
    /// Machines whose Node was made.
    registered: BTreeSet<u32>,
}

struct Inner {
    clock: Clock,
    settings: Settings,
    inventory: Option<PathBuf>,
    /// When the inventory had last changed, by its own time, when it was last read or written.
    seen: Mutex<Option<SystemTime>>,
    state: Mutex<State>,
    fault: Mutex<Option<Fault>>,
    witness: Mutex<Option<Witness>>,
}

type Fault = Box<dyn FnMut(&'static str) -> Option<ProviderError> + Send>;
type Witness = Arc<dyn Fn(&Datacenter, &DatacenterEvent) + Send + Sync>;

/// Something that happened in a [`Datacenter`], told after it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatacenterEvent {
    /// A provider made a machine.
    Made(MachineRecord),
    /// A provider removed a machine.
    Destroyed(MachineRecord),
    /// A machine vanished by itself.
    Lost(MachineRecord),
    /// Somebody else made a machine.
    Placed(MachineRecord),
    /// A cluster began on a machine.
    Begun {
        /// `namespace/name` of the Cluster.
        cluster: String,
        /// Name of the Machine.
        member: String,
    },
    /// A machine is no longer a member of its cluster's etcd.
    Left {
        /// `namespace/name` of the Cluster.
        cluster: String,
        /// Name of the Machine.
        member: String,
    },
}

/// A datacenter in memory or in a directory. Clones are the same datacenter.
#[derive(Clone)]
pub struct Datacenter(Arc<Inner>);

/// What is found under an identity's number.
pub(in crate::testing) enum Found {
    Nothing,
    Ours,
    Foreign,
}

/// A machine to be made.
pub(in crate::testing) struct Boot<'a> {
    pub(in crate::testing) identity: &'a ReferenceIdentity,
    pub(in crate::testing) name: String,
    pub(in crate::testing) cluster: ObjectKey,
    pub(in crate::testing) control_plane: bool,
    pub(in crate::testing) version: String,
    pub(in crate::testing) data: &'a [u8],
}

impl Datacenter {
    /// A datacenter in memory.
    #[must_use]
    pub fn new(clock: Clock, settings: Settings) -> Self {
        Self::with(clock, settings, None)
    }

    /// A datacenter whose machines are files of a directory, one each, and outlive the process.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(clock: Clock, settings: Settings, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let datacenter = Self::with(clock, settings, Some(directory.to_owned()));
        datacenter.refresh()?;
        Ok(datacenter)
    }

    /// Reads the directory again when another process changed it: the manager that led before this
    /// one.
    pub(super) fn refresh(&self) -> io::Result<()> {
        let Some(directory) = &self.0.inventory else {
            return Ok(());
        };
        let mut seen = self.seen();
        let modified = fs::metadata(directory)?.modified()?;
        if *seen == Some(modified) {
            return Ok(());
        }
        let (machines, clusters) = read(directory)?;
        let mut state = self.state();
        state.machines = machines;
        state.clusters = clusters;
        *seen = Some(modified);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(clock: Clock, settings: Settings, inventory: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            clock,
            settings,
            inventory,
            seen: Mutex::default(),
            state: Mutex::default(),
            fault: Mutex::new(None),
            witness: Mutex::new(None),
        }))
    }

    /// Who is told of everything that happens, on the task that did it. Replaces the one before.
    pub fn observe(&self, witness: impl Fn(&Datacenter, &DatacenterEvent) + Send + Sync + 'static) {
        *self
            .0
            .witness
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(witness));
    }

    /// Puts a machine there that is nobody's business: another person's, under a number that was
    /// free. False when the number is taken.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn place(&self, record: MachineRecord) -> Result<bool, ProviderError> {
        if self.exists(record.number) {
            return Ok(false);
        }
        self.write_file(&machine_file(&record), &record)?;
        self.state().machines.insert(record.clone());
        self.tell(&DatacenterEvent::Placed(record));
        Ok(true)
    }

    /// Members of a cluster's etcd, by name of their Machine.
    #[must_use]
    pub fn etcd_members(&self, cluster: &ObjectKey) -> Vec<String> {
        self.members(cluster).into_iter().collect()
    }

    fn tell(&self, event: &DatacenterEvent) {
        let witness = self
            .0
            .witness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(witness) = witness {
            witness(self, event);
        }
    }

    /// The machines that exist, by number.
    #[must_use]
    pub fn machines(&self) -> Vec<MachineRecord> {
        self.state().machines.iter().cloned().collect()
    }

    /// Makes a machine vanish, as a careless person would.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn lose(&self, number: u32) -> io::Result<()> {
        let record = { self.state().remove(number) };
        let Some(record) = record else {
            return Ok(());
        };
        self.remove_file(&machine_file(&record))?;
        self.tell(&DatacenterEvent::Lost(record));
        Ok(())
    }

    /// Who decides, before each call of a provider, whether it fails.
    pub fn inject(
        &self,
        fault: impl FnMut(&'static str) -> Option<ProviderError> + Send + 'static,
    ) {
        *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fault));
    }

    /// A connector to its workload clusters.
    #[must_use]
    pub fn connector(&self) -> ReferenceConnector {
        ReferenceConnector(self.clone())
    }

    /// The smallest number that no machine has and that may be taken.
    pub(super) fn choose(&self, take: impl Fn(u32) -> bool) -> Option<u32> {
        let state = self.state();
        let mut free = state.machines.free();
        free.by_ref()
            .take_while(|number| *number <= self.0.settings.capacity)
            .find(|number| take(*number))
    }

    fn exists(&self, number: u32) -> bool {
        self.state().machines.contains(number)
    }

    /// Takes as long as a call takes, and fails if a fault says so.
    pub(super) async fn call(&self, name: &'static str) -> Result<(), ProviderError> {
        if !self.0.settings.call.is_zero() {
            self.0.clock.sleep(self.0.settings.call).await;
        }
        self.refresh()?;
        let mut fault = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault.as_mut().and_then(|fault| fault(name)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(in crate::testing) fn find(&self, identity: &ReferenceIdentity) -> Found {
        match self.state().machines.get(identity.number) {
            None => Found::Nothing,
            Some(record) if record.mark == identity.mark => Found::Ours,
            Some(_) => Found::Foreign,
        }
    }

    pub(in crate::testing) fn create(&self, boot: Boot<'_>) -> Result<(), ProviderError> {
        let stated: serde_json::Value = serde_json::from_slice(boot.data).map_err(|error| {
            ProviderError::invalid("InvalidBootstrapData", "the data is no JSON").with_source(error)
        })?;
        if stated["cluster"] != boot.cluster.to_string() {
            return Err(ProviderError::invalid(
                "InvalidBootstrapData",
                format!("the data is for cluster {}", stated["cluster"]),
            ));
        }
        let record = MachineRecord {
            number: boot.identity.number,
            mark: boot.identity.mark.clone(),
            name: boot.name,
            cluster: boot.cluster.to_string(),
            control_plane: boot.control_plane,
            version: boot.version,
            created: self.0.clock.now(),
        };
        self.write_file(&machine_file(&record), &record)?;
        let mut state = self.state();
        state.machines.insert(record.clone());
        let cluster = state.clusters.entry(boot.cluster).or_default();
        if record.control_plane && cluster.initialized {
            cluster.members.insert(record.name.clone());
        }
        drop(state);
        self.write_cluster(&record.cluster)?;
        self.tell(&DatacenterEvent::Made(record));
        Ok(())
    }

    pub(in crate::testing) fn destroy(
        &self,
        identity: &ReferenceIdentity,
    ) -> Result<(), ProviderError> {
        let record = self.state().machines.get(identity.number).cloned();
        let Some(record) = record else { return Ok(()) };
        self.remove_file(&machine_file(&record))?;
        self.state().remove(identity.number);
        self.tell(&DatacenterEvent::Destroyed(record));
        Ok(())
    }

    pub(super) fn started(&self, identity: &ReferenceIdentity) -> Progress<()> {
        let created = self
            .state()
            .machines
            .get(identity.number)
            .map(|record| record.created);
        let now = self.0.clock.now();
        let left = created
            .and_then(|created| created.checked_add(self.0.settings.start).ok())
            .and_then(|due| Duration::try_from(due.duration_since(now)).ok())
            .unwrap_or_default();
        if left.is_zero() {
            return Progress::Ready(());
        }
        Progress::waiting("the machine", "Starting", "The machine is starting").after(left)
    }

    pub(super) fn is_running(&self, cluster: &ObjectKey, name: &str) -> bool {
        let cluster = cluster.to_string();
        let now = self.0.clock.now();
        self.state().machines.named(&cluster, name).any(|record| {
            let started = record.created.checked_add(self.0.settings.start);
            started.is_ok_and(|started| started <= now)
        })
    }

    pub(super) fn is_initialized(&self, cluster: &ObjectKey) -> bool {
        self.state()
            .clusters
            .get(cluster)
            .is_some_and(|record| record.initialized)
    }

    pub(super) fn members(&self, cluster: &ObjectKey) -> BTreeSet<String> {
        self.state()
            .clusters
            .get(cluster)
            .map(|record| record.members.clone())
            .unwrap_or_default()
    }

    pub(super) fn initialize(&self, cluster: &ObjectKey, name: &str) -> Result<(), ProviderError> {
        {
            let mut state = self.state();
            let record = state.clusters.entry(cluster.clone()).or_default();
            if record.initialized {
                return Ok(());
            }
            record.initialized = true;
            record.members.insert(name.to_owned());
        }
        self.write_cluster(&cluster.to_string())?;
        self.tell(&DatacenterEvent::Begun {
            cluster: cluster.to_string(),
            member: name.to_owned(),
        });
        Ok(())
    }

    pub(super) fn leave(&self, cluster: &ObjectKey, name: &str) -> Result<(), ProviderError> {
        let left = self
            .state()
            .clusters
            .get_mut(cluster)
            .is_some_and(|record| record.members.remove(name));
        if !left {
            return Ok(());
        }
        self.write_cluster(&cluster.to_string())?;
        self.tell(&DatacenterEvent::Left {
            cluster: cluster.to_string(),
            member: name.to_owned(),
        });
        Ok(())
    }

    pub(super) fn forget_cluster(&self, cluster: &ObjectKey) -> Result<(), ProviderError> {
        let mut state = self.state();
        state.clusters.remove(cluster);
        state.workloads.remove(cluster);
        drop(state);
        Ok(self.remove_file(&cluster_file(&cluster.to_string()))?)
    }

    /// The machine's Node appears in its workload cluster, once that was begun.
    pub(super) async fn register_node(
        &self,
        identity: &ReferenceIdentity,
    ) -> Result<(), ProviderError> {
        let (client, record) = {
            let mut state = self.state();
            let Some(record) = state.machines.get(identity.number).cloned() else {
                return Ok(());
            };
            let Some(cluster) = key_of(&record.cluster) else {
                return Ok(());
            };
            if !state
                .clusters
                .get(&cluster)
                .is_some_and(|cluster| cluster.initialized)
            {
                return Ok(());
            }
            let workload = Self::workload(&mut state, &cluster, &self.0.clock)?;
            if workload.registered.contains(&identity.number) {
                return Ok(());
            }
            (workload.client.clone(), record)
        };
        create_node(&client, &record).await?;
        if let Some(cluster) = key_of(&record.cluster)
            && let Some(workload) = self.state().workloads.get_mut(&cluster)
        {
            workload.registered.insert(record.number);
        }
        Ok(())
    }

    fn workload<'a>(
        state: &'a mut State,
        cluster: &ObjectKey,
        clock: &Clock,
    ) -> Result<&'a mut Workload, ProviderError> {
        match state.workloads.entry(cluster.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert(Workload {
                client: embedded::client(&workload_server(cluster, clock)?),
                registered: BTreeSet::new(),
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_cluster(&self, cluster: &str) -> Result<(), ProviderError> {
        let Some(key) = key_of(cluster) else {
            return Ok(());
        };
        let record = self.state().clusters.get(&key).cloned().unwrap_or_default();
        self.write_file(&cluster_file(cluster), &record)
    }

    fn write_file(&self, name: &str, content: &impl Serialize) -> Result<(), ProviderError> {
        let Some(directory) = &self.0.inventory else {
            return Ok(());
        };
        let text = serde_json::to_vec_pretty(content).map_err(|error| {
            ProviderError::invalid("InvalidRecord", "cannot write the record").with_source(error)
        })?;
        // Renamed into place: a kill leaves the old file or the new one, never half of one.
        let partial = directory.join(partial(name));
        let mut seen = self.seen();
        fs::write(&partial, text)?;
        fs::rename(&partial, directory.join(name))?;
        *seen = Some(fs::metadata(directory)?.modified()?);
        Ok(())
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        let Some(directory) = &self.0.inventory else {
            return Ok(());
        };
        let mut seen = self.seen();
        // With what a killed process left of it.
        for name in [partial(name).as_str(), name] {
            match fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *seen = Some(fs::metadata(directory)?.modified()?);
        Ok(())
    }
}

/// What a directory holds.
fn read(directory: &Path) -> io::Result<(Inventory, BTreeMap<ObjectKey, ClusterRecord>)> {
    let (mut machines, mut clusters) = (Inventory::default(), BTreeMap::new());
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(stem) = name.strip_suffix(".json") else {
            continue;
        };
        let text = match fs::read(&path) {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        if let Some(cluster) = stem.strip_prefix("cluster-") {
            if let Some((namespace, name)) = cluster.split_once('.') {
                let record = serde_json::from_slice(&text)?;
                clusters.insert(ObjectKey::new(namespace, name), record);
            }
        } else if stem.starts_with("machine-") {
            let record: MachineRecord = serde_json::from_slice(&text)?;
            machines.insert(record);
        }
    }
    Ok((machines, clusters))
}

impl fmt::Debug for Datacenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datacenter")
            .field("machines", &self.state().machines.len())
            .finish()
    }
}

/// Connects to the workload clusters of a [`Datacenter`].
#[derive(Clone, Debug)]
pub struct ReferenceConnector(Datacenter);

#[async_trait]
impl Connector for ReferenceConnector {
    async fn connect(
        &self,
        cluster: &ObjectKey,
        _kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
        self.0.refresh()?;
        let missing = {
            let mut state = self.0.state();
            let initialized = state
                .clusters
                .get(cluster)
                .is_some_and(|record| record.initialized);
            if !initialized {
                return Err("the control plane does not answer".into());
            }
            let client = Datacenter::workload(&mut state, cluster, &self.0.0.clock)?
                .client
                .clone();
            let key = cluster.to_string();
            let machines: Vec<_> = state
                .machines
                .of_cluster(&key)
                .map(|record| ReferenceIdentity {
                    number: record.number,
                    mark: record.mark.clone(),
                })
                .collect();
            (client, machines)
        };
        let (client, machines) = missing;
        // Machines that started before the cluster was begun, or before this process, join now.
        for identity in machines {
            if matches!(self.0.started(&identity), Progress::Ready(())) {
                self.0.register_node(&identity).await?;
            }
        }
        Ok(client)
    }
}

fn partial(name: &str) -> String {
    format!(".{name}.partial")
}

fn machine_file(record: &MachineRecord) -> String {
    format!("machine-{}.json", record.number)
}

fn cluster_file(cluster: &str) -> String {
    format!("cluster-{}.json", cluster.replace('/', "."))
}

fn key_of(cluster: &str) -> Option<ObjectKey> {
    let (namespace, name) = cluster.split_once('/')?;
    Some(ObjectKey::new(namespace, name))
}

fn workload_server(cluster: &ObjectKey, clock: &Clock) -> Result<ApiServer, ProviderError> {
    // FNV-1a: the same cluster has the same uids in every run.
    let seed = cluster
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    ApiServer::builder()
        .clock(clock.clone())
        .seed(seed)
        .build()
        .map_err(|error| {
            ProviderError::invalid("WorkloadServer", "the workload cluster cannot be made")
                .with_source(error)
        })
}

async fn create_node(client: &kube::Client, record: &MachineRecord) -> Result<(), ProviderError> {
    let provider_id = format!("reference://{}/{}", record.number, record.mark);
    let time = record.created.to_string();
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": "Reference", "message": "",
            "lastHeartbeatTime": time, "lastTransitionTime": time,
        })
    };
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": record.name },
        "spec": { "providerID": provider_id },
    });
    let status = json!({ "status": {
        "addresses": [
            { "type": "InternalIP", "address": address(record.number) },
            { "type": "Hostname", "address": record.name },
        ],
        "conditions": [
            condition("MemoryPressure", "False"),
            condition("DiskPressure", "False"),
            condition("PIDPressure", "False"),
            condition("Ready", "True"),
        ],
        "nodeInfo": {
            "kubeletVersion": record.version,
            "machineID": record.mark,
            "systemUUID": record.mark,
            "bootID": record.mark,
            "kernelVersion": "", "osImage": "reference", "containerRuntimeVersion": "",
            "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
        },
    }});
    let created = request(client, http::Method::POST, "/api/v1/nodes", &node).await;
    match created {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => {
            return Err(
                ProviderError::transient("NodeNotRegistered", "the Node did not register")
                    .with_source(error),
            );
        }
    }
    let path = format!("/api/v1/nodes/{}/status", record.name);
    request(client, http::Method::PATCH, &path, &status)
        .await
        .map_err(|error| {
            ProviderError::transient("NodeNotRegistered", "the Node did not report")
                .with_source(error)
        })?;
    Ok(())
}

async fn request(
    client: &kube::Client,
    method: http::Method,
    path: &str,
    body: &serde_json::Value,
) -> Result<String, kube::Error> {
    let content_type = if method == http::Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await
}
