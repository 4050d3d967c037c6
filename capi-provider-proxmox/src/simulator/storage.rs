//! Storages and tasks: what their endpoints do.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{Answer, Call, Failure, Reply};
use super::state::{Datacenter, Storage, StoredVolume};
use super::tasks::{Effect, Task};

impl Storage {
    pub(super) fn is_on(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }
}

impl Datacenter {
    /// A storage that a node can use for `content`.
    pub(super) fn require_storage(
        &self,
        node: &str,
        id: &str,
        content: &str,
    ) -> Result<&Storage, Failure> {
        let storage = self
            .storages
            .get(id)
            .ok_or_else(|| Failure::died(format!("storage '{id}' does not exist")))?;
        if !storage.is_on(node) {
            return Err(Failure::died(format!(
                "storage '{id}' is not available on node '{node}'"
            )));
        }
        if !storage.enabled {
            return Err(Failure::died(format!("storage '{id}' is disabled")));
        }
        if !storage.active {
            return Err(Failure::died(format!("storage '{id}' is not online")));
        }
        if !storage.content.contains(content) {
            return Err(Failure::died(format!(
                "storage '{id}' does not support content-type '{content}'"
            )));
        }
        Ok(storage)
    }

    fn storage_row(&self, node: &str, id: &str, storage: &Storage) -> Value {
        let used = self.used_bytes(node, id);
        json!({
            "storage": id, "type": storage.kind, "content": storage.content.iter().cloned().collect::<Vec<_>>().join(","),
            "shared": u8::from(storage.shared), "active": u8::from(storage.active && storage.enabled),
            "enabled": u8::from(storage.enabled), "total": storage.total, "used": used,
            "avail": storage.total.saturating_sub(used),
        })
    }

    pub(super) fn storages_of(&self, call: &Call, node: &str) -> Reply {
        call.only(|name| {
            matches!(
                name,
                "content" | "enabled" | "target" | "storage" | "format"
            )
        })?;
        let content = call.get("content");
        let enabled_only = call.flag("enabled")?.unwrap_or(false);
        let rows = self
            .storages
            .iter()
            .filter(|(id, storage)| {
                storage.is_on(node)
                    && self.allowed(call, &format!("/storage/{id}"), "Datastore.Audit")
                    && content.is_none_or(|content| {
                        content
                            .split(',')
                            .any(|entry| storage.content.contains(entry))
                    })
                    && (!enabled_only || storage.enabled)
            })
            .map(|(id, storage)| self.storage_row(node, id, storage));
        Ok(Value::Array(rows.collect()).into())
    }

    pub(super) fn storage_status(&self, call: &Call, node: &str, id: &str) -> Reply {
        self.require(call, &format!("/storage/{id}"), "Datastore.Audit")?;
        let storage = self.storages.get(id).filter(|storage| storage.is_on(node));
        let storage =
            storage.ok_or_else(|| Failure::died(format!("storage '{id}' does not exist")))?;
        Ok(self.storage_row(node, id, storage).into())
    }

    pub(super) fn storage_content(&self, call: &Call, node: &str, id: &str) -> Reply {
        call.only(|name| matches!(name, "content" | "vmid"))?;
        self.require(call, &format!("/storage/{id}"), "Datastore.Audit")?;
        if !self.storages.contains_key(id) {
            return Err(Failure::died(format!("storage '{id}' does not exist")));
        }
        let (content, vmid) = (call.get("content"), call.integer("vmid")?);
        let rows = self
            .volumes_on(node, id)
            .filter(|volume| content.is_none_or(|content| content_of(volume) == content))
            .filter(|volume| vmid.is_none() || volume.owner == vmid)
            .map(volume_row);
        Ok(Value::Array(rows.collect()).into())
    }

    /// A volume by its id, with or without the storage before it.
    fn volume(
        &self,
        node: &str,
        storage: &str,
        volume: &str,
    ) -> Result<(String, &StoredVolume), Failure> {
        let id = if volume.contains(':') {
            volume.to_owned()
        } else {
            format!("{storage}:{volume}")
        };
        let key = self.volume_key(storage, node, &id);
        match self.volumes.get(&key) {
            Some(found) => Ok((key, found)),
            None => Err(Failure::died(format!("volume '{id}' does not exist"))),
        }
    }

    pub(super) fn volume_info(
        &self,
        call: &Call,
        node: &str,
        storage: &str,
        volume: &str,
    ) -> Reply {
        self.require(call, &format!("/storage/{storage}"), "Datastore.Audit")?;
        self.volume(node, storage, volume)
            .map(|(_, volume)| volume_row(volume).into())
    }

    pub(super) fn delete_volume(
        &mut self,
        call: &Call,
        node: &str,
        storage: &str,
        volume: &str,
    ) -> Reply {
        call.only(|name| name == "delay")?;
        self.require(call, &format!("/storage/{storage}"), "Datastore.Allocate")?;
        let (key, found) = self.volume(node, storage, volume)?;
        if let Some(vmid) = found.owner.filter(|vmid| self.guests.contains_key(vmid)) {
            return Err(Failure::died(format!(
                "cannot remove image, a guest with VMID '{vmid}' exists!"
            )));
        }
        let takes = self.latencies.config;
        if let Some(delay) = call.integer("delay")?
            && takes <= Duration::from_secs(delay)
        {
            // It ends within the call.
            self.volumes.remove(&key);
            return Ok(Answer {
                data: Value::Null,
                takes,
            });
        }
        let upid = self.begin(call, node, "imgdel", storage, takes, Effect::Delete { key });
        Ok(json!(upid).into())
    }

    pub(super) fn upload(&mut self, call: &Call, node: &str, id: &str) -> Reply {
        call.only(|name| {
            matches!(
                name,
                "content" | "checksum" | "checksum-algorithm" | "tmpfilename"
            )
        })?;
        self.require(
            call,
            &format!("/storage/{id}"),
            "Datastore.AllocateTemplate",
        )?;
        let content = call.required("content")?;
        if !matches!(content, "iso" | "vztmpl" | "import") {
            let text = format!(
                "value '{content}' does not have a value in the enumeration 'iso, vztmpl, import'"
            );
            return Err(Failure::parameter("content", text));
        }
        let upload = call.upload.as_ref().ok_or_else(|| {
            Failure::parameter("filename", "property is missing and it is not optional")
        })?;
        if let Some(storage) = self.storages.get(id).filter(|storage| {
            !matches!(
                storage.kind.as_str(),
                "dir" | "nfs" | "cifs" | "btrfs" | "cephfs"
            )
        }) {
            return Err(Failure::died(format!(
                "can't upload to storage type '{}'",
                storage.kind
            )));
        }
        let storage = self.require_storage(node, id, content)?;
        let extension = upload
            .file_name
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_lowercase());
        if content == "iso" && !matches!(extension.as_deref(), Some("iso" | "img")) {
            return Err(Failure::parameter("filename", "wrong file extension"));
        }
        let volume = StoredVolume {
            storage: id.to_owned(),
            node: (!storage.shared).then(|| node.to_owned()),
            id: format!("{id}:{content}/{}", upload.file_name),
            size: upload.content.len() as u64,
            owner: None,
            base: None,
            content: upload.content.clone(),
        };
        let takes = self.latencies.copy;
        let upid = self.begin(call, node, "imgcopy", "", takes, Effect::Store(volume));
        Ok(json!(upid).into())
    }

    pub(super) fn start_task(
        &mut self,
        call: &Call,
        node: &str,
        kind: &str,
        vmid: u64,
        takes: Duration,
        effect: Effect,
    ) -> Answer {
        json!(self.begin(call, node, kind, &vmid.to_string(), takes, effect)).into()
    }

    /// Tasks that the caller may see: its own, or all with the right to audit.
    fn task(&self, call: &Call, upid: &str) -> Result<&Task, Failure> {
        let task = self
            .tasks
            .get(upid)
            .filter(|task| !task.hidden)
            .ok_or_else(|| Failure::died("no such task"))?;
        if task.user != call.user {
            self.require(call, &format!("/nodes/{}", task.node), "Sys.Audit")?;
        }
        Ok(task)
    }

    pub(super) fn task_status(&self, call: &Call, upid: &str) -> Reply {
        self.task(call, upid)
            .map(|task| task_row(task, false).into())
    }

    pub(super) fn task_log(&self, call: &Call, upid: &str) -> Reply {
        call.only(|name| matches!(name, "start" | "limit" | "download"))?;
        let start = usize::try_from(call.integer("start")?.unwrap_or(0)).unwrap_or(usize::MAX);
        let limit = usize::try_from(call.integer("limit")?.unwrap_or(50)).unwrap_or(usize::MAX);
        let task = self.task(call, upid)?;
        let lines = task
            .log
            .iter()
            .enumerate()
            .skip(start)
            .take(limit)
            .map(|(index, line)| json!({"n": index + 1, "t": line}));
        Ok(Value::Array(lines.collect()).into())
    }

    pub(super) fn stop_task(&mut self, call: &Call, upid: &str) -> Reply {
        let task = self.task(call, upid)?.clone();
        if task.exit_status.is_none() {
            self.undo(&task.effect);
            if let Some(task) = self.tasks.get_mut(upid) {
                task.exit_status = Some("unexpected status".into());
                task.ends = Some(call.now);
            }
        }
        Ok(Answer::none())
    }

    pub(super) fn task_rows(&self, node: Option<&str>, call: &Call) -> Value {
        let vmid = call.get("vmid");
        let source = call.get("source").unwrap_or("archive");
        let rows = self
            .tasks
            .values()
            .filter(|task| !task.hidden && node.is_none_or(|node| task.node == node))
            .filter(|task| vmid.is_none_or(|vmid| task.id == vmid))
            .filter(|task| match source {
                "active" => task.exit_status.is_none(),
                "all" => true,
                _ => node.is_none() || task.exit_status.is_some(),
            })
            .filter(|task| {
                task.user == call.user
                    || self.allowed(call, &format!("/nodes/{}", task.node), "Sys.Audit")
            })
            .map(|task| task_row(task, true));
        Value::Array(rows.collect())
    }
}

/// A task's status; in lists `status` is how it ended.
fn task_row(task: &Task, list: bool) -> Value {
    let mut row = json!({
        "upid": task.upid, "node": task.node, "type": task.kind, "id": task.id, "user": task.user,
        "starttime": task.started.as_second(), "pid": 1, "pstart": 1,
    });
    match (&task.exit_status, list) {
        (Some(exit_status), true) => {
            row["status"] = json!(exit_status);
            row["endtime"] = json!(task.ends.map(jiff::Timestamp::as_second));
        }
        (Some(exit_status), false) => {
            row["status"] = json!("stopped");
            row["exitstatus"] = json!(exit_status);
        }
        (None, false) => row["status"] = json!("running"),
        (None, true) => {}
    }
    row
}

fn volume_row(volume: &StoredVolume) -> Value {
    let mut row = json!({
        "volid": volume.id, "size": volume.size, "content": content_of(volume),
        "format": if content_of(volume) == "iso" { "iso" } else { "raw" },
    });
    if let Some(owner) = volume.owner {
        row["vmid"] = json!(owner);
    }
    if let Some(base) = &volume.base {
        row["parent"] = json!(base);
    }
    row
}

fn content_of(volume: &StoredVolume) -> &str {
    volume
        .id
        .split_once(':')
        .and_then(|(_, path)| path.split_once('/'))
        .map_or("images", |(content, _)| content)
}
