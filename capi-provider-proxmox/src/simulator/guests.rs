//! Virtual machines: what their endpoints do.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::request::{Answer, Call, Failure, Reply};
use super::state::{Datacenter, Guest, GuestBehaviour, Power, StoredVolume};
use super::tasks::{Effect, drive_size, placeholder};
use super::verify::{
    bridge_of, check_name, is_config_key, is_disk_key, is_numbered, privilege_of_key, read_config,
};
use crate::client::{PropertyString, SizeInBytes, Smbios};

impl Datacenter {
    pub(super) fn guest_status(&self, vmid: u64) -> Reply {
        let guest = &self.guests[&vmid];
        let on = guest.power != Power::Stopped;
        let qmp = match guest.power {
            Power::Stopped => "stopped",
            Power::Running => "running",
            Power::Paused => "paused",
        };
        let mut row = json!({
            "vmid": vmid, "name": guest.name(vmid), "status": if on { "running" } else { "stopped" }, "qmpstatus": qmp,
            "maxmem": guest.memory(), "cpus": guest.processors(), "ha": {"managed": u8::from(guest.high_availability)},
        });
        if let Some(lock) = &guest.lock {
            row["lock"] = json!(lock);
        }
        if guest.template {
            row["template"] = json!(1);
        }
        if guest.agent_configured() {
            row["agent"] = json!(1);
        }
        if let Some(tags) = guest.config.get("tags") {
            row["tags"] = json!(tags);
        }
        Ok(row.into())
    }

    pub(super) fn guest_config(&self, vmid: u64) -> Reply {
        let guest = &self.guests[&vmid];
        let number = |key: &str| {
            matches!(
                key,
                "cores" | "sockets" | "memory" | "onboot" | "protection" | "numa"
            )
        };
        let mut row: serde_json::Map<String, Value> = guest
            .config
            .iter()
            .map(|(key, value)| {
                let value = match value.parse::<u64>() {
                    Ok(integer) if number(key) && key != "memory" => json!(integer),
                    _ => json!(value),
                };
                (key.clone(), value)
            })
            .collect();
        row.insert("digest".into(), json!(guest.digest()));
        if let Some(lock) = &guest.lock {
            row.insert("lock".into(), json!(lock));
        }
        if guest.template {
            row.insert("template".into(), json!(1));
        }
        Ok(Value::Object(row).into())
    }

    pub(super) fn guest_pending(&self, vmid: u64) -> Reply {
        let rows = self.guests[&vmid]
            .config
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}));
        Ok(Value::Array(rows.collect()).into())
    }

    pub(super) fn set_config(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        call.only(|name| {
            is_config_key(name) || matches!(name, "delete" | "digest" | "background_delay")
        })?;
        if let Some(digest) = call.get("digest")
            && digest != self.guests[&vmid].digest()
        {
            return Err(Failure::died(
                "checksum mismatch (file change by other user?)",
            ));
        }
        let delete: Vec<String> = call
            .get("delete")
            .map(|keys| keys.split(',').map(|key| key.trim().to_owned()).collect())
            .unwrap_or_default();
        let keys = call.parameters.keys().chain(&delete).map(String::as_str);
        for key in keys.filter(|key| is_config_key(key)) {
            let value = call.get(key);
            self.require(call, &format!("/vms/{vmid}"), privilege_of_key(key, value))?;
            if let Some(bridge) = bridge_of(key, value) {
                self.require(
                    call,
                    &format!("/sdn/zones/localnetwork/{bridge}"),
                    "SDN.Use",
                )?;
            }
        }
        let set = read_config(call)?;
        if call.method == Method::PUT {
            self.configure(vmid, &set, &delete).map_err(Failure::died)?;
            return Ok(Answer {
                data: Value::Null,
                takes: self.latencies.config,
            });
        }
        let effect = Effect::Configure { vmid, set, delete };
        Ok(self.start_task(call, node, "qmconfig", vmid, self.latencies.config, effect))
    }

    pub(super) fn create_guest(&mut self, call: &Call, node: &str) -> Reply {
        call.only(|name| {
            is_config_key(name)
                || matches!(
                    name,
                    "vmid" | "pool" | "start" | "archive" | "force" | "unique" | "storage"
                )
        })?;
        let vmid: u64 = call
            .integer("vmid")?
            .ok_or_else(|| missing_parameter("vmid"))?;
        check_vmid("vmid", vmid)?;
        self.require(call, &format!("/vms/{vmid}"), "VM.Allocate")?;
        self.require_free(vmid)?;
        let mut config = read_config(call)?;
        let mut disks = Vec::new();
        for (key, value) in &mut config {
            let drive: PropertyString = value.parse().unwrap_or_default();
            let allocates = is_disk_key(key) && drive.get("media") != Some("cdrom");
            // `storage:GiB` allocates a volume.
            if let Some((storage, size)) = drive
                .head()
                .filter(|_| allocates)
                .and_then(|head| head.split_once(':'))
                && let Ok(gib) = size.parse::<u64>()
            {
                self.require_storage(node, storage, "images")?;
                let id = format!("{storage}:vm-{vmid}-disk-{}", disks.len());
                *value = format!("{id},size={gib}G");
                disks.push(self.disk(storage, node, &id, gib << 30, vmid, None));
            }
        }
        let uuid = self.random_uuid();
        config
            .entry("smbios1".into())
            .or_insert_with(|| format!("uuid={uuid}"));
        let start = call.flag("start")?.unwrap_or(false);
        let mut guest = placeholder(
            node,
            "create",
            call.get("pool").map(str::to_owned),
            GuestBehaviour::default(),
        );
        guest.config = config;
        self.guests.insert(vmid, guest);
        let effect = Effect::Create { vmid, disks, start };
        Ok(self.start_task(call, node, "qmcreate", vmid, self.latencies.config, effect))
    }

    fn disk(
        &self,
        storage: &str,
        node: &str,
        id: &str,
        size: u64,
        owner: u64,
        base: Option<String>,
    ) -> StoredVolume {
        let local = self
            .storages
            .get(storage)
            .is_none_or(|storage| !storage.shared);
        StoredVolume {
            storage: storage.to_owned(),
            node: local.then(|| node.to_owned()),
            id: id.to_owned(),
            size,
            owner: Some(owner),
            base,
            content: Vec::new(),
        }
    }

    fn require_free(&self, vmid: u64) -> Result<(), Failure> {
        match self.guests.get(&vmid) {
            Some(guest) => {
                let node = &guest.node;
                Err(Failure::died(format!(
                    "unable to create VM {vmid}: VM {vmid} already exists on node '{node}'"
                )))
            }
            None => Ok(()),
        }
    }

    pub(super) fn clone_guest(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        let known = [
            "newid",
            "name",
            "description",
            "full",
            "format",
            "storage",
            "pool",
            "target",
            "snapname",
            "bwlimit",
        ];
        call.only(|name| known.contains(&name))?;
        let new_id = call
            .integer("newid")?
            .ok_or_else(|| missing_parameter("newid"))?;
        check_vmid("newid", new_id)?;
        if let Some(name) = call.get("name") {
            check_name(name)?;
        }
        let pool = call.get("pool").map(str::to_owned);
        let allocate = pool
            .as_ref()
            .map_or_else(|| format!("/vms/{new_id}"), |pool| format!("/pool/{pool}"));
        self.require(call, &allocate, "VM.Allocate")?;
        let source = self.guests[&vmid].clone();
        if source.container {
            return Err(Failure::died(format!("VM {vmid} is not a virtual machine")));
        }
        let full = call.flag("full")?.unwrap_or(!source.template);
        if !full && !source.template {
            return Err(Failure::died(
                "Linked clone feature is not supported for drive 'scsi0'",
            ));
        }
        for parameter in ["storage", "format"] {
            if !full && call.get(parameter).is_some() {
                return Err(Failure::parameter(
                    parameter,
                    format!("parameter '{parameter}' not allowed for linked clones"),
                ));
            }
        }
        if call.get("snapname").is_some() {
            return Err(Failure::died(format!(
                "snapshot '{}' does not exist",
                call.get("snapname").unwrap_or_default()
            )));
        }
        let target = call.get("target").unwrap_or(node).to_owned();
        if !self.nodes.contains_key(&target) {
            return Err(Failure::died(format!("no such cluster node '{target}'")));
        }
        if let Some(lock) = &source.lock {
            return Err(Failure::died(format!("VM is locked ({lock})")));
        }
        self.require_free(new_id)?;
        let (config, disks, locks, bytes) =
            self.clone_disks(call, &source, node, &target, new_id, full)?;
        self.guests.insert(
            new_id,
            placeholder(node, "clone", pool, source.behaviour.clone()),
        );
        let takes = if full {
            let gib = u32::try_from(bytes >> 30).unwrap_or(u32::MAX);
            self.latencies.full_clone + self.latencies.full_clone_per_gib * gib
        } else {
            self.latencies.linked_clone
        };
        let contended = locks.iter().find_map(|lock| {
            let id = lock.split('|').next_back().unwrap_or_default();
            let limit = self.storages.get(id)?.full_clones_at_once?;
            (self.clones_on(lock) >= limit as usize).then(|| id.to_owned())
        });
        let effect = Effect::Clone {
            new_id,
            target,
            config,
            disks,
            locks,
        };
        let answer = self.start_task(call, node, "qmclone", vmid, takes, effect);
        if let Some(storage) = contended
            && let Some(task) = answer
                .data
                .as_str()
                .and_then(|upid| self.tasks.get_mut(upid))
        {
            task.failure = Some(format!(
                "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-{storage}' - got timeout"
            ));
        }
        Ok(answer)
    }

    /// Configuration, disks and storage locks of a clone, and the bytes to copy.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn clone_disks(
        &mut self,
        call: &Call,
        source: &Guest,
        node: &str,
        target: &str,
        new_id: u64,
        full: bool,
    ) -> Result<
        (
            BTreeMap<String, String>,
            Vec<StoredVolume>,
            Vec<String>,
            u64,
        ),
        Failure,
    > {
        let mut config = source.config.clone();
        let (mut disks, mut locks, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (key, mut drive) in Self::drives(&source.config) {
            let volume = drive.head().unwrap_or_default().to_owned();
            if drive.get("media") == Some("cdrom") {
                continue;
            }
            let from = volume.split(':').next().unwrap_or_default().to_owned();
            let shared = |id: &str| self.storages.get(id).is_some_and(|storage| storage.shared);
            if target != node && !shared(&from) {
                return Err(Failure::died(format!(
                    "can't clone VM to node '{target}' (VM uses local storage)"
                )));
            }
            let to = call.get("storage").unwrap_or(&from).to_owned();
            if target != node && !shared(&to) {
                return Err(Failure::died(format!(
                    "can't clone to non-shared storage '{to}'"
                )));
            }
            self.require_storage(target, &to, "images")?;
            self.require(call, &format!("/storage/{to}"), "Datastore.AllocateSpace")?;
            if !full && !self.storages[&from].linked_clones {
                return Err(Failure::died(format!(
                    "Linked clone feature is not supported for drive '{key}'"
                )));
            }
            let size = drive_size(&drive);
            if full && self.used_bytes(target, &to) + size > self.storages[&to].total {
                return Err(Failure::died(format!(
                    "storage '{to}': not enough free space"
                )));
            }
            let id = format!("{to}:vm-{new_id}-disk-{}", disks.len());
            disks.push(self.disk(
                &to,
                target,
                &id,
                size,
                new_id,
                (!full).then(|| volume.clone()),
            ));
            if full {
                bytes += size;
                let place = if shared(&to) { "" } else { target };
                locks.push(format!("{place}|{to}"));
            }
            let size_text = drive.get("size").unwrap_or("0").to_owned();
            let rest: Vec<(String, String)> = drive
                .iter()
                .filter_map(|(key, value)| {
                    key.filter(|key| *key != "size")
                        .map(|key| (key.to_owned(), value.to_owned()))
                })
                .collect();
            drive = id.parse().unwrap_or_default();
            for (key, value) in rest {
                drive.set(&key, value);
            }
            drive.set("size", size_text);
            config.insert(key.to_owned(), drive.to_string());
        }
        let nets: Vec<String> = config
            .keys()
            .filter(|key| is_numbered(key, "net"))
            .cloned()
            .collect();
        for key in nets {
            if let Some(mut device) = config
                .get(&key)
                .and_then(|value| value.parse::<PropertyString>().ok())
            {
                let model = device
                    .model()
                    .map_or_else(|| "virtio".to_owned(), |(model, _)| model.to_owned());
                let mac = self.random_mac();
                device.set_model(&model, Some(&mac));
                config.insert(key, device.to_string());
            }
        }
        if let Ok(mut smbios) = Smbios::read(config.get("smbios1").map(String::as_str)) {
            smbios.set_uuid(&self.random_uuid());
            config.insert("smbios1".into(), smbios.to_string());
        }
        let name = call
            .get("name")
            .map_or_else(|| format!("Copy-of-VM-{}", source.name(0)), str::to_owned);
        config.insert("name".into(), name);
        if let Some(description) = call.get("description") {
            config.insert("description".into(), description.to_owned());
        }
        Ok((config, disks, locks, bytes))
    }

    pub(super) fn resize_guest(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        call.only(|name| matches!(name, "disk" | "size" | "digest" | "skiplock"))?;
        let (disk, size) = (call.required("disk")?, call.required("size")?);
        let guest = &self.guests[&vmid];
        let drive: PropertyString = guest
            .config
            .get(disk)
            .filter(|_| is_disk_key(disk))
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| Failure::died(format!("disk '{disk}' does not exist")))?;
        if drive.get("media") == Some("cdrom") {
            return Err(Failure::died("you can't resize a cdrom"));
        }
        if let Some(lock) = &guest.lock {
            return Err(Failure::died(format!("VM is locked ({lock})")));
        }
        let (grow, text) = size
            .strip_prefix('+')
            .map_or((false, size), |text| (true, text));
        let bytes = text
            .parse::<SizeInBytes>()
            .map_err(|_| Failure::parameter("size", "value does not match the regex pattern"))?
            .0;
        let current = drive_size(&drive);
        let wanted = if grow { current + bytes } else { bytes };
        if wanted < current {
            return Err(Failure::died("shrinking disks is not supported"));
        }
        let effect = Effect::Resize {
            vmid,
            disk: disk.to_owned(),
            size: wanted,
        };
        if self.version.starts_with("7.") {
            self.resize(vmid, disk, wanted).map_err(Failure::died)?;
            return Ok(Answer {
                data: Value::Null,
                takes: self.latencies.resize,
            });
        }
        Ok(self.start_task(call, node, "resize", vmid, self.latencies.resize, effect))
    }

    pub(super) fn make_template(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        if self.guests[&vmid].power != Power::Stopped {
            return Err(Failure::died(format!(
                "you can't convert a VM to template if VM is running - VM {vmid} is running"
            )));
        }
        Ok(self.start_task(
            call,
            node,
            "qmtemplate",
            vmid,
            self.latencies.config,
            Effect::Template { vmid },
        ))
    }

    pub(super) fn migrate(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        call.only(|name| {
            matches!(
                name,
                "target" | "online" | "with-local-disks" | "targetstorage"
            )
        })?;
        let target = call.required("target")?.to_owned();
        if !self.nodes.contains_key(&target) {
            return Err(Failure::died(format!("no such cluster node '{target}'")));
        }
        Ok(self.start_task(
            call,
            node,
            "qmigrate",
            vmid,
            self.latencies.start,
            Effect::Migrate { vmid, target },
        ))
    }

    pub(super) fn destroy_guest(&mut self, call: &Call, node: &str, vmid: u64) -> Reply {
        call.only(|name| matches!(name, "purge" | "destroy-unreferenced-disks" | "skiplock"))?;
        let guest = &self.guests[&vmid];
        if guest
            .config
            .get("protection")
            .is_some_and(|value| value == "1")
        {
            return Err(Failure::died(format!(
                "can't remove VM {vmid} - protection mode enabled"
            )));
        }
        if guest.high_availability && !call.flag("purge")?.unwrap_or(false) {
            let text = format!(
                "unable to remove VM {vmid} - used in HA resources and purge parameter not set."
            );
            return Err(Failure::died(text));
        }
        if guest.power != Power::Stopped {
            return Err(Failure::died(format!(
                "VM {vmid} is running - destroy failed"
            )));
        }
        Ok(self.start_task(
            call,
            node,
            "qmdestroy",
            vmid,
            self.latencies.destroy,
            Effect::Destroy { vmid },
        ))
    }

    pub(super) fn change_power(
        &mut self,
        call: &Call,
        node: &str,
        vmid: u64,
        action: &str,
    ) -> Reply {
        let known = [
            "timeout",
            "skiplock",
            "forceStop",
            "keepActive",
            "overrule-shutdown",
            "nocheck",
            "todisk",
            "machine",
        ];
        call.only(|name| known.contains(&name))?;
        let power = self.guests[&vmid].power;
        let not_running = || Failure::died(format!("VM {vmid} not running"));
        let (kind, takes, to) = match action {
            "start" => ("qmstart", self.latencies.start, Power::Running),
            "stop" => ("qmstop", self.latencies.stop, Power::Stopped),
            "shutdown" => ("qmshutdown", self.latencies.stop, Power::Stopped),
            "suspend" if power == Power::Stopped => return Err(not_running()),
            "suspend" => ("qmsuspend", self.latencies.stop, Power::Paused),
            "resume" if power == Power::Stopped => return Err(not_running()),
            "resume" => ("qmresume", self.latencies.stop, Power::Running),
            _ => {
                return Err(Failure::new(
                    501,
                    format!("Method 'POST {}' not implemented", call.path),
                ));
            }
        };
        if self.guests[&vmid].template && action == "start" {
            return Err(Failure::died("you can't start a vm if it's a template"));
        }
        Ok(self.start_task(call, node, kind, vmid, takes, Effect::Power { vmid, to }))
    }
}

pub(super) fn missing_parameter(name: &str) -> Failure {
    Failure::parameter(name, "property is missing and it is not optional")
}

fn check_vmid(name: &str, vmid: u64) -> Result<(), Failure> {
    if (100..=999_999_999).contains(&vmid) {
        Ok(())
    } else {
        Err(Failure::parameter(
            name,
            "invalid format - value does not look like a valid VM ID",
        ))
    }
}
