//! The state of a simulated datacenter: plain data that is dumped and loaded as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::host::{GuestReport, HostEvent};
use super::tasks::Task;
use crate::client::PropertyString;

/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// A Proxmox VE datacenter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Datacenter {
    /// Name of the cluster.
    pub name: String,
    /// Version that it claims, such as `9.1.2`.
    pub version: String,
    /// Whether it takes writes.
    pub quorate: bool,
    /// Lowest and highest number that `nextid` gives.
    pub guest_ids: (u64, u64),
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Storages by id.
    pub storages: BTreeMap<String, Storage>,
    /// Guests by number.
    pub guests: BTreeMap<u64, Guest>,
    /// Volumes by place and id, see [`Datacenter::volume_key`].
    pub volumes: BTreeMap<String, StoredVolume>,
    /// Tasks by UPID.
    pub tasks: BTreeMap<String, Task>,
    /// API tokens by `user@realm!name`.
    pub tokens: BTreeMap<String, Token>,
    /// How long things take.
    pub latencies: Latencies,
    /// State of the source of random numbers.
    pub seed: u64,
    /// Number of tasks ever made.
    pub task_count: u64,
    /// What the virtual machines' host has to be told.
    #[serde(skip)]
    pub(super) events: Vec<HostEvent>,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Whether it answers.
    pub online: bool,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bridges.
    pub bridges: BTreeSet<String>,
}

/// A storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Type, such as `dir` or `lvmthin`.
    pub kind: String,
    /// Whether all nodes see the same content.
    pub shared: bool,
    /// The nodes that have it; all when empty.
    pub nodes: BTreeSet<String>,
    /// What it may hold: `images`, `iso`, `snippets`, ...
    pub content: BTreeSet<String>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether it can be used now.
    pub active: bool,
    /// Size in bytes, on each node that has it.
    pub total: u64,
    /// Whether disks can be linked to those of a template.
    pub linked_clones: bool,
    /// More full clones at once than this fail on the storage's lock.
    pub full_clones_at_once: Option<u32>,
}

/// A guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guest {
    /// Where it is.
    pub node: String,
    /// Whether it is a container instead of a virtual machine.
    #[serde(default)]
    pub container: bool,
    /// Whether it is a template.
    pub template: bool,
    /// Its configuration, without `lock` and `digest`.
    pub config: BTreeMap<String, String>,
    /// The lock on its configuration.
    pub lock: Option<String>,
    /// Whether it is on.
    pub power: Power,
    /// Pool.
    #[serde(default)]
    pub pool: Option<String>,
    /// Whether the high availability manager holds it.
    #[serde(default)]
    pub high_availability: bool,
    /// When it was switched on.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// How its guest agent and cloud-init behave.
    #[serde(default)]
    pub behaviour: GuestBehaviour,
    /// What the host told about the system that runs in it.
    #[serde(default)]
    pub report: Option<GuestReport>,
}

/// Whether a guest is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Power {
    /// Off.
    Stopped,
    /// On.
    Running,
    /// On, not executing.
    Paused,
}

/// How the system in a guest behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestBehaviour {
    /// Whether no guest agent is installed.
    #[serde(default)]
    pub without_agent: bool,
    /// What `cloud-init status` says.
    #[serde(default)]
    pub cloud_init: CloudInit,
}

/// What `cloud-init status` says in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloudInit {
    /// It is done.
    #[default]
    Done,
    /// It runs.
    Running,
    /// It failed: exit code 1.
    Failed,
    /// It recovered from errors: exit code 2.
    Degraded,
    /// It was never started.
    NotStarted,
}

/// A volume.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredVolume {
    /// Storage.
    pub storage: String,
    /// Node, for a storage that is not shared.
    pub node: Option<String>,
    /// Id, such as `local:iso/a.iso`.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Guest that owns it.
    pub owner: Option<u64>,
    /// The volume of a template to which it is linked.
    pub base: Option<String>,
    /// Its bytes, for what was uploaded.
    #[serde(default, with = "base64_bytes", skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<u8>,
}

impl fmt::Debug for StoredVolume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoredVolume")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

/// An API token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// Its secret.
    pub secret: String,
    /// Privileges by path, with propagation; `None` is every privilege everywhere.
    pub privileges: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Token")
            .field("privileges", &self.privileges)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Whether `privilege` is held on `path`: the nearest path that has an entry decides.
    #[must_use]
    pub fn allows(&self, path: &str, privilege: &str) -> bool {
        let Some(privileges) = &self.privileges else {
            return true;
        };
        let mut path = path;
        loop {
            if let Some(held) = privileges.get(path) {
                return held.contains(privilege);
            }
            path = match path.rfind('/') {
                Some(0) if path.len() > 1 => "/",
                Some(index) if index > 0 => &path[..index],
                _ => return false,
            };
        }
    }
}

/// How long things take, in the time of the simulator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latencies {
    /// Each call.
    pub call: Duration,
    /// Copying the disks of a clone.
    pub full_clone: Duration,
    /// And for each gibibyte of them.
    pub full_clone_per_gib: Duration,
    /// A linked clone.
    pub linked_clone: Duration,
    /// A change of a configuration.
    pub config: Duration,
    /// Growing a disk.
    pub resize: Duration,
    /// Taking an upload in.
    pub copy: Duration,
    /// Switching on.
    pub start: Duration,
    /// Switching off.
    pub stop: Duration,
    /// Destroying.
    pub destroy: Duration,
    /// From switched on to an agent that answers.
    pub agent: Duration,
}

impl Latencies {
    /// Nothing takes any time.
    pub const INSTANT: Self = Self {
        call: Duration::ZERO,
        full_clone: Duration::ZERO,
        full_clone_per_gib: Duration::ZERO,
        linked_clone: Duration::ZERO,
        config: Duration::ZERO,
        resize: Duration::ZERO,
        copy: Duration::ZERO,
        start: Duration::ZERO,
        stop: Duration::ZERO,
        destroy: Duration::ZERO,
        agent: Duration::ZERO,
    };

    /// What a small datacenter with fast disks takes.
    pub const REALISTIC: Self = Self {
        call: Duration::from_millis(50),
        full_clone: Duration::from_secs(2),
        full_clone_per_gib: Duration::ZERO,
        linked_clone: Duration::from_secs(1),
        config: Duration::from_millis(200),
        resize: Duration::from_millis(300),
        copy: Duration::from_millis(500),
        start: Duration::from_secs(2),
        stop: Duration::from_secs(1),
        destroy: Duration::from_secs(1),
        agent: Duration::from_secs(5),
    };
}

impl Default for Latencies {
    fn default() -> Self {
        Self::REALISTIC
    }
}

/// What a template is made from, for [`Datacenter::add_template`].
#[derive(Debug, Clone)]
pub struct TemplateSpec {
    /// Name.
    pub name: String,
    /// Node.
    pub node: String,
    /// Storage of its disk.
    pub storage: String,
    /// Tags, joined with `;`.
    pub tags: String,
    /// Gibibytes of its disk.
    pub disk_gib: u64,
    /// Mebibytes of memory.
    pub memory_mib: u64,
    /// Bridge of its network device.
    pub bridge: String,
}

impl Datacenter {
    /// An empty datacenter.
    #[must_use]
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        Self {
            name: name.into(),
            version: "9.1.2".into(),
            quorate: true,
            guest_ids: (100, 1_000_000),
            nodes: BTreeMap::new(),
            storages: BTreeMap::new(),
            guests: BTreeMap::new(),
            volumes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            tokens: BTreeMap::new(),
            latencies: Latencies::default(),
            seed,
            task_count: 0,
            events: Vec::new(),
        }
    }

    /// A datacenter of `nodes` nodes `pve1`, `pve2`, ..., each with bridges `vmbr0` and `vmbr1`, an ISO storage `local`
    /// and a disk storage `local-lvm` of its own, and a template `9000`, `9001`, ... with the tags `template;talos`.
    #[must_use]
    pub fn example(nodes: u32, seed: u64) -> Self {
        let mut datacenter = Self::new("example", seed);
        datacenter.add_storage("local", "dir", false, &["iso", "vztmpl", "snippets"]);
        datacenter.add_storage("local-lvm", "lvmthin", false, &["images"]);
        for index in 0..nodes {
            let node = format!("pve{}", index + 1);
            datacenter.add_node(&node, 16, 64 * GIB, &["vmbr0", "vmbr1"]);
            let spec = TemplateSpec {
                name: "talos-nocloud".into(),
                node,
                storage: "local-lvm".into(),
                tags: "template;talos".into(),
                disk_gib: 10,
                memory_mib: 2048,
                bridge: "vmbr0".into(),
            };
            datacenter.add_template(9000 + u64::from(index), &spec);
        }
        datacenter
    }

    /// Adds a node.
    pub fn add_node(&mut self, name: &str, processors: u32, memory: u64, bridges: &[&str]) {
        let bridges = bridges.iter().map(|bridge| (*bridge).to_owned()).collect();
        self.nodes.insert(
            name.to_owned(),
            Node {
                online: true,
                processors,
                memory,
                bridges,
            },
        );
    }

    /// Adds a storage of a tebibyte that every node has.
    pub fn add_storage(&mut self, id: &str, kind: &str, shared: bool, content: &[&str]) {
        let storage = Storage {
            kind: kind.to_owned(),
            shared,
            nodes: BTreeSet::new(),
            content: content.iter().map(|entry| (*entry).to_owned()).collect(),
            enabled: true,
            active: true,
            total: 1024 * GIB,
            linked_clones: kind != "lvm",
            full_clones_at_once: None,
        };
        self.storages.insert(id.to_owned(), storage);
    }

    /// Adds an API token that may do everything.
    pub fn add_token(&mut self, name: impl Into<String>, secret: impl Into<String>) {
        self.tokens.insert(
            name.into(),
            Token {
                secret: secret.into(),
                privileges: None,
            },
        );
    }

    /// Adds a template with one disk, one network device and a guest agent.
    pub fn add_template(&mut self, vmid: u64, spec: &TemplateSpec) {
        let volume = format!("{}:base-{vmid}-disk-0", spec.storage);
        let mac = self.random_mac();
        let uuid = self.random_uuid();
        let entries = [
            ("name", spec.name.clone()),
            ("tags", spec.tags.clone()),
            ("cores", "1".into()),
            ("sockets", "1".into()),
            ("memory", spec.memory_mib.to_string()),
            ("scsi0", format!("{volume},size={}G", spec.disk_gib)),
            ("scsihw", "virtio-scsi-single".into()),
            (
                "net0",
                format!("virtio={mac},bridge={},firewall=1", spec.bridge),
            ),
            ("boot", "order=scsi0;net0".into()),
            ("agent", "1".into()),
            ("smbios1", format!("uuid={uuid}")),
        ];
        let guest = Guest {
            node: spec.node.clone(),
            container: false,
            template: true,
            config: entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            lock: None,
            power: Power::Stopped,
            pool: None,
            high_availability: false,
            started: None,
            behaviour: GuestBehaviour::default(),
            report: None,
        };
        self.guests.insert(vmid, guest);
        self.add_disk(
            &spec.storage,
            &spec.node,
            &volume,
            spec.disk_gib * GIB,
            vmid,
            None,
        );
    }

    pub(super) fn add_disk(
        &mut self,
        storage: &str,
        node: &str,
        id: &str,
        size: u64,
        owner: u64,
        base: Option<String>,
    ) {
        let key = self.volume_key(storage, node, id);
        let node = self.is_local(storage).then(|| node.to_owned());
        let volume = StoredVolume {
            storage: storage.to_owned(),
            node,
            id: id.to_owned(),
            size,
            owner: Some(owner),
            base,
            content: Vec::new(),
        };
        self.volumes.insert(key, volume);
    }

    /// The key of a volume in [`Datacenter::volumes`]: `node|id`, or `|id` on a shared storage.
    #[must_use]
    pub fn volume_key(&self, storage: &str, node: &str, id: &str) -> String {
        if self.is_local(storage) {
            format!("{node}|{id}")
        } else {
            format!("|{id}")
        }
    }

    fn is_local(&self, storage: &str) -> bool {
        self.storages
            .get(storage)
            .is_none_or(|storage| !storage.shared)
    }

    /// Volumes that a node sees on a storage.
    pub(super) fn volumes_on<'a>(
        &'a self,
        node: &'a str,
        storage: &'a str,
    ) -> impl Iterator<Item = &'a StoredVolume> {
        self.volumes.values().filter(move |volume| {
            volume.storage == storage && volume.node.as_deref().is_none_or(|place| place == node)
        })
    }

    pub(super) fn used_bytes(&self, node: &str, storage: &str) -> u64 {
        self.volumes_on(node, storage)
            .filter(|volume| volume.base.is_none())
            .map(|volume| volume.size)
            .sum()
    }

    /// Drives of a configuration: key and property string.
    pub(super) fn drives(
        config: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&str, PropertyString)> {
        config.iter().filter_map(|(key, value)| {
            let stem = key.trim_end_matches(|character: char| character.is_ascii_digit());
            let is_drive = stem.len() < key.len()
                && matches!(
                    stem,
                    "ide" | "sata" | "scsi" | "virtio" | "efidisk" | "tpmstate"
                );
            if is_drive {
                value.parse().ok().map(|drive| (key.as_str(), drive))
            } else {
                None
            }
        })
    }

    /// The next random number (SplitMix64), so that the same seed makes the same datacenter.
    pub(super) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn random_mac(&mut self) -> String {
        let bytes = self.random().to_be_bytes();
        format!(
            "BC:24:11:{:02X}:{:02X}:{:02X}",
            bytes[0], bytes[1], bytes[2]
        )
    }

    pub(super) fn random_uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

impl Guest {
    /// The name that Proxmox VE tells: the configured one, or `VM <id>`.
    #[must_use]
    pub fn name(&self, vmid: u64) -> String {
        self.config
            .get("name")
            .cloned()
            .unwrap_or_else(|| format!("VM {vmid}"))
    }

    /// The UUID of its firmware, in lower case.
    #[must_use]
    pub fn uuid(&self) -> Option<String> {
        crate::client::Smbios::read(self.config.get("smbios1").map(String::as_str))
            .ok()?
            .uuid()
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.number("memory", 512) << 20
    }

    /// Processors.
    #[must_use]
    pub fn processors(&self) -> u64 {
        self.number("cores", 1) * self.number("sockets", 1)
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        self.config
            .get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }

    /// Whether the guest agent is switched on in the configuration.
    #[must_use]
    pub fn agent_configured(&self) -> bool {
        self.config
            .get("agent")
            .and_then(|value| value.parse::<PropertyString>().ok())
            .is_some_and(|agent| {
                let enabled = agent.get("enabled").or_else(|| agent.head());
                enabled == Some("1")
            })
    }

    /// A digest of its configuration, as Proxmox VE gives for optimistic locking.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
        for (key, value) in &self.config {
            context.update(key.as_bytes());
            context.update(b": ");
            context.update(value.as_bytes());
            context.update(b"\n");
        }
        context.update(self.lock.as_deref().unwrap_or_default().as_bytes());
        context
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
