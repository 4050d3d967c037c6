//! Tasks: what a call began, and what happens when its time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::host::{HostEvent, NetworkDevice, VirtualMachine, VirtualMachineKey};
use super::request::Call;
use super::state::{Datacenter, GIB, Guest, GuestBehaviour, Power, StoredVolume};
use crate::client::{PropertyString, SizeInBytes, Smbios};

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// Its name.
    pub upid: String,
    /// Where it runs.
    pub node: String,
    /// Type, such as `qmclone`.
    pub kind: String,
    /// What it works on.
    pub id: String,
    /// Who began it.
    pub user: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ends; never, for one that hangs.
    pub ends: Option<Timestamp>,
    /// How it ended.
    pub exit_status: Option<String>,
    /// Its log.
    pub log: Vec<String>,
    /// What it does at its end.
    pub effect: Effect,
    /// Makes it fail with this text instead.
    #[serde(default)]
    pub failure: Option<String>,
    /// Warnings in its log.
    #[serde(default)]
    pub warnings: u32,
    /// Whether it is missing in the lists of tasks.
    #[serde(default)]
    pub hidden: bool,
}

/// What a task does at its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// The configuration and disks of a clone are complete.
    Clone {
        /// The new virtual machine.
        new_id: u64,
        /// Its node.
        target: String,
        /// Its configuration.
        config: BTreeMap<String, String>,
        /// Its disks.
        disks: Vec<StoredVolume>,
        /// Storages on which a full clone holds the lock, by volume key prefix.
        locks: Vec<String>,
    },
    /// A new virtual machine is there.
    Create {
        /// Its number.
        vmid: u64,
        /// Its disks.
        disks: Vec<StoredVolume>,
        /// Whether it is switched on at once.
        start: bool,
    },
    /// A configuration is changed.
    Configure {
        /// Which guest.
        vmid: u64,
        /// New values.
        set: BTreeMap<String, String>,
        /// Keys to remove.
        delete: Vec<String>,
    },
    /// A disk is larger.
    Resize {
        /// Which guest.
        vmid: u64,
        /// Its disk.
        disk: String,
        /// Bytes.
        size: u64,
    },
    /// A guest is on, off, or paused.
    Power {
        /// Which guest.
        vmid: u64,
        /// What it becomes.
        to: Power,
    },
    /// A guest is gone.
    Destroy {
        /// Which guest.
        vmid: u64,
    },
    /// A guest is on another node.
    Migrate {
        /// Which guest.
        vmid: u64,
        /// The node.
        target: String,
    },
    /// A volume is there.
    Store(StoredVolume),
    /// A volume is gone.
    Delete {
        /// Its key.
        key: String,
    },
    /// A guest is a template.
    Template {
        /// Which guest.
        vmid: u64,
    },
}

impl Datacenter {
    /// Begins a task; returns its UPID.
    pub(super) fn begin(
        &mut self,
        call: &Call,
        node: &str,
        kind: &str,
        id: &str,
        takes: Duration,
        effect: Effect,
    ) -> String {
        self.task_count += 1;
        let upid = format!(
            "UPID:{node}:{:08X}:{:08X}:{:08X}:{kind}:{id}:{}:",
            1000 + self.task_count,
            7000 + self.task_count * 7,
            call.now.as_second().max(0),
            call.user
        );
        let (user, now) = (call.user.as_str(), call.now);
        let ends = SignedDuration::try_from(takes)
            .ok()
            .and_then(|takes| now.checked_add(takes).ok());
        let task = Task {
            upid: upid.clone(),
            node: node.to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: user.to_owned(),
            started: now,
            ends,
            exit_status: None,
            log: Vec::new(),
            effect,
            failure: None,
            warnings: 0,
            hidden: false,
        };
        self.tasks.insert(upid.clone(), task);
        upid
    }

    /// Ends the tasks whose time is over, in order of their ends.
    pub(super) fn settle(&mut self, now: Timestamp) {
        loop {
            let due = self
                .tasks
                .values()
                .filter(|task| task.exit_status.is_none())
                .filter_map(|task| task.ends.map(|ends| (ends, task.upid.clone())))
                .filter(|(ends, _)| *ends <= now)
                .min();
            let Some((ends, upid)) = due else { return };
            let Some(task) = self.tasks.get(&upid).cloned() else {
                return;
            };
            let result = match &task.failure {
                Some(text) => {
                    self.undo(&task.effect);
                    Err(text.clone())
                }
                None => self.apply(&task, ends),
            };
            let Some(task) = self.tasks.get_mut(&upid) else {
                return;
            };
            let (exit_status, last_line) = match result {
                Ok(()) if task.warnings > 0 => (
                    format!("WARNINGS: {}", task.warnings),
                    format!("TASK WARNINGS: {}", task.warnings),
                ),
                Ok(()) => ("OK".to_owned(), "TASK OK".to_owned()),
                Err(text) => (text.clone(), format!("TASK ERROR: {text}")),
            };
            task.exit_status = Some(exit_status);
            task.log.push(last_line);
        }
    }

    fn apply(&mut self, task: &Task, at: Timestamp) -> Result<(), String> {
        match &task.effect {
            Effect::Clone {
                new_id,
                target,
                config,
                disks,
                ..
            } => {
                let guest = self
                    .guests
                    .get_mut(new_id)
                    .ok_or_else(|| missing(&task.node, *new_id))?;
                guest.lock = None;
                guest.node.clone_from(target);
                guest.config.clone_from(config);
                for disk in disks {
                    let key = self.volume_key(&disk.storage, target, &disk.id);
                    self.volumes.insert(key, disk.clone());
                }
                Ok(())
            }
            Effect::Create { vmid, disks, start } => {
                let guest = self
                    .guests
                    .get_mut(vmid)
                    .ok_or_else(|| missing(&task.node, *vmid))?;
                guest.lock = None;
                for disk in disks {
                    let key = self.volume_key(&disk.storage, &task.node, &disk.id);
                    self.volumes.insert(key, disk.clone());
                }
                if *start {
                    self.switch(*vmid, Power::Running, at)
                } else {
                    Ok(())
                }
            }
            Effect::Configure { vmid, set, delete } => self.configure(*vmid, set, delete),
            Effect::Resize { vmid, disk, size } => self.resize(*vmid, disk, *size),
            Effect::Power { vmid, to } => self.switch(*vmid, *to, at),
            Effect::Destroy { vmid } => self.destroy(*vmid),
            Effect::Migrate { vmid, target } => {
                let guest = self.unlocked(*vmid)?;
                guest.node.clone_from(target);
                Ok(())
            }
            Effect::Store(volume) => {
                let key = self.volume_key(&volume.storage, &task.node, &volume.id);
                self.volumes.insert(key, volume.clone());
                Ok(())
            }
            Effect::Delete { key } => {
                self.volumes.remove(key);
                Ok(())
            }
            Effect::Template { vmid } => {
                self.unlocked(*vmid)?.template = true;
                Ok(())
            }
        }
    }

    /// A failed clone removes its disks and its configuration, so that its number is free again.
    pub(super) fn undo(&mut self, effect: &Effect) {
        if let Effect::Clone { new_id, .. } | Effect::Create { vmid: new_id, .. } = effect {
            self.guests.remove(new_id);
        }
    }

    pub(super) fn unlocked(&mut self, vmid: u64) -> Result<&mut Guest, String> {
        let guest = self
            .guests
            .get_mut(&vmid)
            .ok_or_else(|| missing("?", vmid))?;
        match &guest.lock {
            Some(lock) => Err(format!("VM is locked ({lock})")),
            None => Ok(guest),
        }
    }

    pub(super) fn configure(
        &mut self,
        vmid: u64,
        set: &BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), String> {
        self.unlocked(vmid)?;
        let mut values = set.clone();
        for (key, value) in &mut values {
            let is_net = key
                .strip_prefix("net")
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            if is_net && let Ok(mut device) = value.parse::<PropertyString>() {
                let model = device
                    .model()
                    .filter(|(_, address)| address.is_none())
                    .map(|(model, _)| model.to_owned());
                if let Some(model) = model {
                    let mac = self.random_mac();
                    device.set_model(&model, Some(&mac));
                    *value = device.to_string();
                }
            }
        }
        let guest = self.unlocked(vmid)?;
        for key in delete {
            guest.config.remove(key);
        }
        guest.config.extend(values);
        Ok(())
    }

    pub(super) fn resize(&mut self, vmid: u64, disk: &str, size: u64) -> Result<(), String> {
        let guest = self.unlocked(vmid)?;
        let mut drive: PropertyString = guest
            .config
            .get(disk)
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| format!("disk '{disk}' does not exist"))?;
        drive.set("size", format!("{}G", size / GIB));
        let (node, volume) = (
            guest.node.clone(),
            drive.head().unwrap_or_default().to_owned(),
        );
        guest.config.insert(disk.to_owned(), drive.to_string());
        let storage = volume.split(':').next().unwrap_or_default().to_owned();
        let key = self.volume_key(&storage, &node, &volume);
        if let Some(volume) = self.volumes.get_mut(&key) {
            volume.size = size;
        }
        Ok(())
    }

    fn switch(&mut self, vmid: u64, to: Power, at: Timestamp) -> Result<(), String> {
        let guest = self.unlocked(vmid)?;
        let from = guest.power;
        if from == Power::Running && to == Power::Running {
            return Err(format!("VM {vmid} already running"));
        }
        if to == Power::Running && from == Power::Stopped {
            self.check_start(vmid)?;
        }
        let guest = self.unlocked(vmid)?;
        guest.power = to;
        match (from, to) {
            (Power::Stopped, Power::Running) => {
                guest.started = Some(at);
                guest.report = None;
                self.tell_started(vmid);
            }
            (Power::Running | Power::Paused, Power::Stopped) => {
                guest.started = None;
                guest.report = None;
                self.tell_stopped(vmid);
            }
            _ => {}
        }
        Ok(())
    }

    /// What QEMU finds missing when it starts: a bridge, an image, memory.
    fn check_start(&self, vmid: u64) -> Result<(), String> {
        let guest = self.guests.get(&vmid).ok_or_else(|| missing("?", vmid))?;
        if guest.template {
            return Err("you can't start a vm if it's a template".into());
        }
        let node = self
            .nodes
            .get(&guest.node)
            .ok_or_else(|| format!("no such cluster node '{}'", guest.node))?;
        for device in network_devices(guest) {
            if !node.bridges.contains(&device.bridge) {
                return Err(format!("bridge '{}' does not exist", device.bridge));
            }
        }
        for (_, drive) in Self::drives(&guest.config) {
            let volume = drive.head().unwrap_or_default();
            let storage = volume.split(':').next().unwrap_or_default();
            if volume != "none"
                && !self
                    .volumes
                    .contains_key(&self.volume_key(storage, &guest.node, volume))
            {
                return Err(format!("volume '{volume}' does not exist"));
            }
        }
        let running: u64 = self
            .guests
            .values()
            .filter(|other| other.node == guest.node && other.power != Power::Stopped)
            .map(Guest::memory)
            .sum();
        if running + guest.memory() > node.memory {
            return Err("start failed: QEMU exited with code 1: cannot allocate memory".into());
        }
        Ok(())
    }

    fn destroy(&mut self, vmid: u64) -> Result<(), String> {
        let node = self.unlocked(vmid)?.node.clone();
        let owned = |volume: &StoredVolume| volume.owner == Some(vmid);
        let linked = self.volumes.values().find(|volume| {
            let base = volume.base.as_deref();
            !owned(volume)
                && self
                    .volumes
                    .values()
                    .any(|other| owned(other) && Some(other.id.as_str()) == base)
        });
        if let Some(base) = linked.and_then(|volume| volume.base.clone()) {
            return Err(format!(
                "base volume '{base}' is still in use by linked cloned"
            ));
        }
        self.volumes.retain(|_, volume| volume.owner != Some(vmid));
        let was_on = self
            .guests
            .get(&vmid)
            .is_some_and(|guest| guest.power != Power::Stopped);
        if was_on {
            self.tell_stopped(vmid);
        }
        self.guests.remove(&vmid);
        tracing::debug!(vmid, node, "destroyed");
        Ok(())
    }

    pub(super) fn virtual_machine(&self, vmid: u64) -> Option<VirtualMachine> {
        let guest = self.guests.get(&vmid)?;
        let images = Self::drives(&guest.config)
            .filter(|(_, drive)| drive.get("media") == Some("cdrom"))
            .filter_map(|(_, drive)| {
                let volume = drive.head()?;
                let storage = volume.split(':').next()?;
                self.volumes
                    .get(&self.volume_key(storage, &guest.node, volume))
                    .map(|volume| volume.content.clone())
            })
            .collect();
        let smbios =
            Smbios::read(guest.config.get("smbios1").map(String::as_str)).unwrap_or_default();
        Some(VirtualMachine {
            key: VirtualMachineKey {
                vmid,
                uuid: smbios.uuid().unwrap_or_default(),
            },
            node: guest.node.clone(),
            name: guest.name(vmid),
            tags: guest
                .config
                .get("tags")
                .map(|tags| crate::client::split_tags(tags).collect())
                .unwrap_or_default(),
            processors: guest.processors(),
            memory_mib: guest.memory() >> 20,
            network_devices: network_devices(guest),
            serial: smbios.serial(),
            images,
        })
    }

    fn tell_started(&mut self, vmid: u64) {
        if let Some(machine) = self.virtual_machine(vmid) {
            self.events.push(HostEvent::Started(Box::new(machine)));
        }
    }

    fn tell_stopped(&mut self, vmid: u64) {
        if let Some(guest) = self.guests.get(&vmid) {
            self.events.push(HostEvent::Stopped(VirtualMachineKey {
                vmid,
                uuid: guest.uuid().unwrap_or_default(),
            }));
        }
    }

    /// Full clones that hold the lock of a storage.
    pub(super) fn clones_on(&self, lock: &str) -> usize {
        self.tasks
            .values()
            .filter(|task| task.exit_status.is_none())
            .filter(|task| matches!(&task.effect, Effect::Clone { locks, .. } if locks.iter().any(|held| held == lock)))
            .count()
    }
}

/// A guest while it is made: nothing but its lock.
pub(super) fn placeholder(
    node: &str,
    lock: &str,
    pool: Option<String>,
    behaviour: GuestBehaviour,
) -> Guest {
    Guest {
        node: node.to_owned(),
        container: false,
        template: false,
        config: BTreeMap::new(),
        lock: Some(lock.to_owned()),
        power: Power::Stopped,
        pool,
        high_availability: false,
        started: None,
        behaviour,
        report: None,
    }
}

pub(super) fn missing(node: &str, vmid: u64) -> String {
    format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
}

pub(super) fn network_devices(guest: &Guest) -> Vec<NetworkDevice> {
    guest
        .config
        .iter()
        .filter(|(key, _)| {
            key.strip_prefix("net").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
        .filter_map(|(key, value)| {
            let device: PropertyString = value.parse().ok()?;
            let (_, address) = device.model()?;
            Some(NetworkDevice {
                name: key.clone(),
                hardware_address: address.unwrap_or_default().to_uppercase(),
                bridge: device.get("bridge").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// The size of a drive in bytes.
pub(super) fn drive_size(drive: &PropertyString) -> u64 {
    drive
        .get("size")
        .and_then(|size| size.parse::<SizeInBytes>().ok())
        .map_or(0, |size| size.0)
}
