//! The endpoints, one method each.

use http::Method;
use serde_json::Value;

use super::form::path_segment;
use super::types::{
    AgentInterface, ExecStatus, GuestConfig, NetworkInterface, Permissions, Resource,
    StorageStatus, TaskStatus, Version, VirtualMachineStatus, Volume,
};
use super::{Client, Error, Parameters, Payload, TaskState, Upid, multipart};

/// Which rows of `GET /cluster/resources` to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// Everything.
    All,
    /// Guests.
    Guests,
    /// Nodes.
    Nodes,
    /// Storages.
    Storages,
}

/// What a clone shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneRequest {
    /// Number of the new virtual machine.
    pub new_id: u64,
    /// Name of the new virtual machine.
    pub name: String,
    /// Copies the disks (true) or links them to the template's (false).
    pub full: bool,
    /// Notes of the new virtual machine.
    pub description: Option<String>,
    /// Format of the copied disks; needs `full`.
    pub format: Option<String>,
    /// Pool of the new virtual machine.
    pub pool: Option<String>,
    /// Snapshot to clone.
    pub snapshot: Option<String>,
    /// Storage of the copied disks; needs `full`.
    pub storage: Option<String>,
    /// Node of the new virtual machine, if another than the template's; needs shared storage.
    pub target: Option<String>,
}

impl Client {
    /// Version of the node that answers; the cheapest proof that it does.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn version(&self) -> Result<Version, Error> {
        self.call(Method::GET, "/version", Parameters::new()).await
    }

    /// Privileges of this token.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn permissions(&self) -> Result<Permissions, Error> {
        self.call(Method::GET, "/access/permissions", Parameters::new())
            .await
    }

    /// Guests, nodes and storages of the datacenter. What they use may be some seconds old; which exist is not.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn resources(&self, kind: ResourceKind) -> Result<Vec<Resource>, Error> {
        let kind = match kind {
            ResourceKind::All => None,
            ResourceKind::Guests => Some("vm"),
            ResourceKind::Nodes => Some("node"),
            ResourceKind::Storages => Some("storage"),
        };
        self.call(
            Method::GET,
            "/cluster/resources",
            Parameters::new().with_optional("type", kind),
        )
        .await
    }

    /// The lowest number that no guest has. It reserves nothing.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn next_id(&self) -> Result<u64, Error> {
        let value: Value = self
            .call(Method::GET, "/cluster/nextid", Parameters::new())
            .await?;
        read_id(&value).ok_or_else(|| Error::Decode {
            method: Method::GET,
            path: "/cluster/nextid".into(),
            reason: format!("{value} is no number of a guest"),
        })
    }

    /// Whether no guest has this number, also among those the token may not see.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn is_free(&self, vmid: u64) -> Result<bool, Error> {
        match self
            .call::<Value>(
                Method::GET,
                "/cluster/nextid",
                Parameters::new().with("vmid", vmid),
            )
            .await
        {
            Ok(_) => Ok(true),
            Err(Error::Api { answer, .. })
                if answer.status == 400 && answer.parameters.contains_key("vmid") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// How a virtual machine runs.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn vm_status(&self, node: &str, vmid: u64) -> Result<VirtualMachineStatus, Error> {
        self.call(
            Method::GET,
            &guest(node, vmid, "/status/current"),
            Parameters::new(),
        )
        .await
    }

    /// Configuration of a virtual machine, with changes that wait for its next start.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn vm_config(&self, node: &str, vmid: u64) -> Result<GuestConfig, Error> {
        self.call(
            Method::GET,
            &guest(node, vmid, "/config"),
            Parameters::new(),
        )
        .await
    }

    /// Changes the configuration of a virtual machine at once (no task). With a `digest` parameter it is refused when
    /// somebody else changed the configuration since.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn set_vm_config(
        &self,
        node: &str,
        vmid: u64,
        changes: Parameters,
    ) -> Result<(), Error> {
        self.call::<Value>(Method::PUT, &guest(node, vmid, "/config"), changes)
            .await
            .map(drop)
    }

    /// Clones a virtual machine. The number is taken when this returns; the task copies the disks.
    ///
    /// # Errors
    /// As [`Client::call`]; of class [`ErrorClass::Exists`](super::ErrorClass::Exists) when the number is taken.
    pub async fn clone_vm(
        &self,
        node: &str,
        template: u64,
        request: &CloneRequest,
    ) -> Result<Upid, Error> {
        let parameters = Parameters::new()
            .with("newid", request.new_id)
            .with("name", &request.name)
            .with("full", u8::from(request.full))
            .with_optional("description", request.description.as_deref())
            .with_optional("format", request.format.as_deref())
            .with_optional("pool", request.pool.as_deref())
            .with_optional("snapname", request.snapshot.as_deref())
            .with_optional("storage", request.storage.as_deref())
            .with_optional("target", request.target.as_deref());
        self.call(Method::POST, &guest(node, template, "/clone"), parameters)
            .await
    }

    /// Grows a disk to `size`, such as `20G`. Releases before 8 do it without a task.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn resize_disk(
        &self,
        node: &str,
        vmid: u64,
        disk: &str,
        size: &str,
    ) -> Result<Option<Upid>, Error> {
        self.call(
            Method::PUT,
            &guest(node, vmid, "/resize"),
            Parameters::new().with("disk", disk).with("size", size),
        )
        .await
    }

    /// Starts a virtual machine.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn start_vm(&self, node: &str, vmid: u64) -> Result<Upid, Error> {
        self.call(
            Method::POST,
            &guest(node, vmid, "/status/start"),
            Parameters::new(),
        )
        .await
    }

    /// Lets a paused virtual machine go on.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn resume_vm(&self, node: &str, vmid: u64) -> Result<Upid, Error> {
        self.call(
            Method::POST,
            &guest(node, vmid, "/status/resume"),
            Parameters::new(),
        )
        .await
    }

    /// Switches a virtual machine off.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn stop_vm(&self, node: &str, vmid: u64) -> Result<Upid, Error> {
        self.call(
            Method::POST,
            &guest(node, vmid, "/status/stop"),
            Parameters::new(),
        )
        .await
    }

    /// Destroys a stopped virtual machine with its disks, backup jobs, replication and high availability entries.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn destroy_vm(&self, node: &str, vmid: u64) -> Result<Upid, Error> {
        let parameters = Parameters::new()
            .with("purge", 1)
            .with("destroy-unreferenced-disks", 1);
        self.call(Method::DELETE, &guest(node, vmid, ""), parameters)
            .await
    }

    /// Storages of a node.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn storages(&self, node: &str) -> Result<Vec<StorageStatus>, Error> {
        self.call(
            Method::GET,
            &format!("/nodes/{}/storage", path_segment(node)),
            Parameters::new(),
        )
        .await
    }

    /// Volumes of a storage, as one node sees it; `content` such as `iso`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn volumes(
        &self,
        node: &str,
        storage: &str,
        content: Option<&str>,
    ) -> Result<Vec<Volume>, Error> {
        let path = format!(
            "/nodes/{}/storage/{}/content",
            path_segment(node),
            path_segment(storage)
        );
        self.call(
            Method::GET,
            &path,
            Parameters::new().with_optional("content", content),
        )
        .await
    }

    /// Uploads an ISO image, in place of one of the same name.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn upload_iso(
        &self,
        node: &str,
        storage: &str,
        file_name: &str,
        image: &[u8],
    ) -> Result<Upid, Error> {
        let path = format!(
            "/nodes/{}/storage/{}/upload",
            path_segment(node),
            path_segment(storage)
        );
        let (content_type, body) =
            multipart(&Parameters::new().with("content", "iso"), file_name, image);
        self.call_with(
            Method::POST,
            &path,
            &Payload::Upload { content_type, body },
            self.inner.timeout * 10,
        )
        .await
    }

    /// Deletes a volume. What is gone within five seconds needs no task, and one that failed by then is an error.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete_volume(
        &self,
        node: &str,
        storage: &str,
        volume: &str,
    ) -> Result<Option<Upid>, Error> {
        let path = format!(
            "/nodes/{}/storage/{}/content/{}",
            path_segment(node),
            path_segment(storage),
            path_segment(volume)
        );
        self.call(Method::DELETE, &path, Parameters::new().with("delay", 5))
            .await
    }

    /// Network interfaces of a node that a guest can be connected to.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn bridges(&self, node: &str) -> Result<Vec<NetworkInterface>, Error> {
        let path = format!("/nodes/{}/network", path_segment(node));
        self.call(
            Method::GET,
            &path,
            Parameters::new().with("type", "any_bridge"),
        )
        .await
    }

    /// How a task stands.
    ///
    /// # Errors
    /// As [`Client::call`]. A task that is no longer in the node's list is an error of the API.
    pub async fn task_state(&self, upid: &Upid) -> Result<TaskState, Error> {
        let path = format!(
            "/nodes/{}/tasks/{}/status",
            path_segment(upid.node()),
            path_segment(upid.as_str())
        );
        let status: TaskStatus = self.call(Method::GET, &path, Parameters::new()).await?;
        Ok(TaskState::read(
            status.status.as_deref().unwrap_or_default(),
            status.exitstatus.as_deref(),
        ))
    }

    /// The first `limit` lines of a task's log.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn task_log(&self, upid: &Upid, limit: u32) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Line {
            #[serde(default)]
            t: String,
        }
        let path = format!(
            "/nodes/{}/tasks/{}/log",
            path_segment(upid.node()),
            path_segment(upid.as_str())
        );
        let lines: Vec<Line> = self
            .call(Method::GET, &path, Parameters::new().with("limit", limit))
            .await?;
        Ok(lines.into_iter().map(|line| line.t).collect())
    }

    /// Tasks of a guest on a node that still run.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn active_tasks(&self, node: &str, vmid: u64) -> Result<Vec<TaskStatus>, Error> {
        let parameters = Parameters::new()
            .with("vmid", vmid)
            .with("source", "active");
        self.call(
            Method::GET,
            &format!("/nodes/{}/tasks", path_segment(node)),
            parameters,
        )
        .await
    }

    /// Asks the guest agent which system runs. An answer means that the agent is up.
    ///
    /// # Errors
    /// As [`Client::call`]; of class [`ErrorClass::Agent`](super::ErrorClass::Agent) while it is not.
    pub async fn agent_os_info(&self, node: &str, vmid: u64) -> Result<Value, Error> {
        self.call(
            Method::GET,
            &guest(node, vmid, "/agent/get-osinfo"),
            Parameters::new(),
        )
        .await
    }

    /// Network interfaces as the guest agent tells them.
    ///
    /// # Errors
    /// As [`Client::call`]; of class [`ErrorClass::Agent`](super::ErrorClass::Agent) while it does not answer.
    pub async fn agent_interfaces(
        &self,
        node: &str,
        vmid: u64,
    ) -> Result<Vec<AgentInterface>, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            result: Vec<AgentInterface>,
        }
        let path = guest(node, vmid, "/agent/network-get-interfaces");
        self.call::<Answer>(Method::GET, &path, Parameters::new())
            .await
            .map(|answer| answer.result)
    }

    /// Starts a command in the guest; returns its process id.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn agent_exec(&self, node: &str, vmid: u64, command: &[&str]) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            pid: u64,
        }
        let parameters: Parameters = command.iter().map(|word| ("command", *word)).collect();
        self.call::<Answer>(Method::POST, &guest(node, vmid, "/agent/exec"), parameters)
            .await
            .map(|answer| answer.pid)
    }

    /// How a command in the guest stands.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn agent_exec_status(
        &self,
        node: &str,
        vmid: u64,
        pid: u64,
    ) -> Result<ExecStatus, Error> {
        self.call(
            Method::GET,
            &guest(node, vmid, "/agent/exec-status"),
            Parameters::new().with("pid", pid),
        )
        .await
    }
}

fn guest(node: &str, vmid: u64, rest: &str) -> String {
    format!("/nodes/{}/qemu/{vmid}{rest}", path_segment(node))
}

fn read_id(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
