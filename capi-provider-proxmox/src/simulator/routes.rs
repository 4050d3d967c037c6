//! Which method answers which path, and what it needs.

use http::Method;
use serde_json::{Value, json};

use super::request::{Answer, Call, Failure, Reply};
use super::state::{Datacenter, Guest, Power};
use super::tasks::missing;

impl Datacenter {
    /// Carries a call out.
    pub(super) fn handle(&mut self, call: &Call) -> Reply {
        let segments: Vec<&str> = call
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        if call.method != Method::GET && !self.quorate {
            return Err(Failure::died("cluster not ready - no quorum?"));
        }
        let method = call.method.as_str();
        match (method, segments.as_slice()) {
            ("GET", ["version"]) => Ok(json!({
                "version": self.version, "release": self.release(), "repoid": "0000000000000000",
            })
            .into()),
            ("GET", ["access", "permissions"]) => Ok(self.permissions(call).into()),
            ("GET", ["cluster", "status"]) => self.cluster_status(call),
            ("GET", ["cluster", "resources"]) => self.cluster_resources(call),
            ("GET", ["cluster", "nextid"]) => self.next_id(call),
            ("GET", ["cluster", "tasks"]) => Ok(self.task_rows(None, call).into()),
            ("GET", ["nodes"]) => Ok(self.node_rows().into()),
            (_, ["nodes", node, rest @ ..]) => {
                self.reach(node)?;
                self.handle_on_node(call, node, rest)
            }
            _ => Err(not_implemented(call)),
        }
    }

    /// The node that answers forwards the call; a node that is off makes it fail.
    fn reach(&self, node: &str) -> Result<(), Failure> {
        match self.nodes.get(node) {
            None => Err(Failure::died(format!(
                "hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
            ))),
            Some(found) if !found.online => Err(Failure::new(595, "No route to host")),
            Some(_) => Ok(()),
        }
    }

    fn handle_on_node(&mut self, call: &Call, node: &str, rest: &[&str]) -> Reply {
        match (call.method.as_str(), rest) {
            ("GET", ["status"]) => self.node_status(call, node),
            ("GET", ["network"]) => self.network(call, node),
            ("GET", ["lxc"]) => Ok(Value::Array(self.guest_rows(call, node, true)).into()),
            ("GET", ["qemu"]) => Ok(Value::Array(self.guest_rows(call, node, false)).into()),
            ("POST", ["qemu"]) => self.create_guest(call, node),
            ("GET", ["storage"]) => self.storages_of(call, node),
            ("GET", ["storage", storage, "status"]) => self.storage_status(call, node, storage),
            ("GET", ["storage", storage, "content"]) => self.storage_content(call, node, storage),
            ("POST", ["storage", storage, "upload"]) => self.upload(call, node, storage),
            ("GET", ["storage", storage, "content", volume @ ..]) => {
                self.volume_info(call, node, storage, &volume.join("/"))
            }
            ("DELETE", ["storage", storage, "content", volume @ ..]) => {
                self.delete_volume(call, node, storage, &volume.join("/"))
            }
            ("GET", ["tasks"]) => Ok(self.task_rows(Some(node), call).into()),
            ("GET", ["tasks", upid, "status"]) => self.task_status(call, upid),
            ("GET", ["tasks", upid, "log"]) => self.task_log(call, upid),
            ("DELETE", ["tasks", upid]) => self.stop_task(call, upid),
            (_, ["qemu", vmid, rest @ ..]) => {
                let vmid = vmid.parse().map_err(|_| {
                    Failure::parameter(
                        "vmid",
                        format!("type check ('integer') failed - got '{vmid}'"),
                    )
                })?;
                self.handle_guest(call, node, vmid, rest)
            }
            _ => Err(not_implemented(call)),
        }
    }

    fn handle_guest(&mut self, call: &Call, node: &str, vmid: u64, rest: &[&str]) -> Reply {
        let path = format!("/vms/{vmid}");
        let privilege = match (call.method.as_str(), rest) {
            ("GET", [] | ["status", "current"] | ["config"] | ["pending"]) => "VM.Audit",
            ("POST", ["clone"]) => "VM.Clone",
            ("DELETE", []) | ("POST", ["template"]) => "VM.Allocate",
            ("PUT", ["resize"]) => "VM.Config.Disk",
            ("POST", ["status", _]) => "VM.PowerMgmt",
            ("POST", ["migrate"]) => "VM.Migrate",
            ("GET", ["agent", "exec-status"]) | ("POST", ["agent", "exec"]) => {
                self.agent_privilege("VM.GuestAgent.Unrestricted")
            }
            ("GET" | "POST", ["agent", ..]) => self.agent_privilege("VM.GuestAgent.Audit"),
            // Each key asks for its own.
            ("POST" | "PUT", ["config"]) => "",
            _ => return Err(not_implemented(call)),
        };
        if !privilege.is_empty() {
            self.require(call, &path, privilege)?;
        }
        self.guest(node, vmid)?;
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                Ok(json!([{"subdir": "config"}, {"subdir": "status"}, {"subdir": "agent"}]).into())
            }
            ("GET", ["status", "current"]) => self.guest_status(vmid),
            ("GET", ["config"]) => self.guest_config(vmid),
            ("GET", ["pending"]) => self.guest_pending(vmid),
            ("POST" | "PUT", ["config"]) => self.set_config(call, node, vmid),
            ("POST", ["clone"]) => self.clone_guest(call, node, vmid),
            ("PUT", ["resize"]) => self.resize_guest(call, node, vmid),
            ("POST", ["template"]) => self.make_template(call, node, vmid),
            ("POST", ["migrate"]) => self.migrate(call, node, vmid),
            ("DELETE", []) => self.destroy_guest(call, node, vmid),
            ("POST", ["status", action]) => self.change_power(call, node, vmid, action),
            (_, ["agent", command]) => self.agent(call, vmid, command),
            _ => Err(not_implemented(call)),
        }
    }

    fn agent_privilege(&self, since_nine: &'static str) -> &'static str {
        let major: u32 = self
            .version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(9);
        if major >= 9 { since_nine } else { "VM.Monitor" }
    }

    pub(super) fn release(&self) -> String {
        self.version
            .splitn(3, '.')
            .take(2)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The guest of this number on this node.
    pub(super) fn guest(&self, node: &str, vmid: u64) -> Result<&Guest, Failure> {
        let found = self
            .guests
            .get(&vmid)
            .filter(|guest| guest.node == node && !guest.container);
        found.ok_or_else(|| Failure::died(missing(node, vmid)))
    }

    pub(super) fn allowed(&self, call: &Call, path: &str, privilege: &str) -> bool {
        self.tokens
            .get(&call.user)
            .is_some_and(|token| token.allows(path, privilege))
    }

    pub(super) fn require(&self, call: &Call, path: &str, privilege: &str) -> Result<(), Failure> {
        if self.allowed(call, path, privilege) {
            Ok(())
        } else {
            Err(Failure::permission(path, privilege))
        }
    }

    fn permissions(&self, call: &Call) -> Value {
        let Some(token) = self.tokens.get(&call.user) else {
            return json!({});
        };
        match &token.privileges {
            Some(privileges) => privileges
                .iter()
                .map(|(path, held)| {
                    (
                        path.clone(),
                        held.iter()
                            .map(|privilege| (privilege.clone(), json!(1)))
                            .collect::<serde_json::Map<_, _>>()
                            .into(),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into(),
            None => {
                let all: serde_json::Map<_, _> = ALL_PRIVILEGES
                    .iter()
                    .map(|privilege| ((*privilege).to_owned(), json!(1)))
                    .collect();
                json!({ "/": all })
            }
        }
    }

    fn next_id(&self, call: &Call) -> Reply {
        call.only(|name| name == "vmid")?;
        if let Some(vmid) = call.integer("vmid")? {
            if self.guests.contains_key(&vmid) {
                return Err(Failure::parameter(
                    "vmid",
                    format!("VM {vmid} already exists"),
                ));
            }
            return Ok(json!(vmid.to_string()).into());
        }
        let (lower, upper) = self.guest_ids;
        let free = (lower..=upper).find(|vmid| !self.guests.contains_key(vmid));
        let free = free.ok_or_else(|| {
            Failure::died(format!(
                "unable to get any free VMID in range [{lower}, {upper}]"
            ))
        })?;
        Ok(json!(free.to_string()).into())
    }

    fn cluster_status(&self, call: &Call) -> Reply {
        self.require(call, "/", "Sys.Audit")?;
        let mut rows = vec![json!({
            "type": "cluster", "id": "cluster", "name": self.name, "nodes": self.nodes.len(),
            "quorate": u8::from(self.quorate), "version": 1,
        })];
        rows.extend(self.nodes.iter().enumerate().map(|(index, (name, node))| {
            json!({
                "type": "node", "id": format!("node/{name}"), "name": name, "nodeid": index + 1,
                "online": u8::from(node.online), "local": u8::from(index == 0), "ip": format!("127.0.1.{}", index + 1),
            })
        }));
        Ok(Value::Array(rows).into())
    }

    fn cluster_resources(&self, call: &Call) -> Reply {
        call.only(|name| name == "type")?;
        let wanted = call.get("type");
        if let Some(kind) =
            wanted.filter(|kind| !matches!(*kind, "vm" | "storage" | "node" | "sdn"))
        {
            let text = format!(
                "value '{kind}' does not have a value in the enumeration 'vm, storage, node, sdn'"
            );
            return Err(Failure::parameter("type", text));
        }
        let mut rows = Vec::new();
        if wanted.is_none_or(|kind| kind == "vm") {
            let visible = self
                .guests
                .iter()
                .filter(|(vmid, _)| self.allowed(call, &format!("/vms/{vmid}"), "VM.Audit"));
            rows.extend(visible.map(|(vmid, guest)| resource_row(*vmid, guest)));
        }
        if wanted.is_none_or(|kind| kind == "node") {
            for (name, node) in &self.nodes {
                let used: u64 = self.running_on(name).map(Guest::memory).sum();
                let mut row = json!({
                    "type": "node", "id": format!("node/{name}"), "node": name,
                    "status": if node.online { "online" } else { "offline" },
                });
                if self.allowed(call, &format!("/nodes/{name}"), "Sys.Audit") && node.online {
                    row["maxcpu"] = json!(node.processors);
                    row["maxmem"] = json!(node.memory);
                    row["mem"] = json!(used);
                }
                rows.push(row);
            }
        }
        if wanted.is_none_or(|kind| kind == "storage") {
            for node in self.nodes.keys() {
                for (id, storage) in self
                    .storages
                    .iter()
                    .filter(|(_, storage)| storage.enabled && storage.is_on(node))
                {
                    if !self.allowed(call, &format!("/storage/{id}"), "Datastore.Audit") {
                        continue;
                    }
                    rows.push(json!({
                        "type": "storage", "id": format!("storage/{node}/{id}"), "node": node, "storage": id,
                        "plugintype": storage.kind, "shared": u8::from(storage.shared),
                        "content": storage.content.iter().cloned().collect::<Vec<_>>().join(","),
                        "status": if storage.active { "available" } else { "unknown" },
                        "maxdisk": storage.total, "disk": self.used_bytes(node, id),
                    }));
                }
            }
        }
        Ok(Value::Array(rows).into())
    }

    fn running_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Guest> {
        self.guests
            .values()
            .filter(move |guest| guest.node == node && guest.power != Power::Stopped)
    }

    fn node_rows(&self) -> Value {
        let rows = self.nodes.iter().map(|(name, node)| {
            json!({
                "type": "node", "id": format!("node/{name}"), "node": name, "maxcpu": node.processors, "maxmem": node.memory,
                "status": if node.online { "online" } else { "offline" },
            })
        });
        Value::Array(rows.collect())
    }

    fn node_status(&self, call: &Call, name: &str) -> Reply {
        self.require(call, &format!("/nodes/{name}"), "Sys.Audit")?;
        let node = &self.nodes[name];
        let used: u64 = self.running_on(name).map(Guest::memory).sum();
        Ok(json!({
            "memory": {"total": node.memory, "used": used, "free": node.memory.saturating_sub(used)},
            "cpuinfo": {"cpus": node.processors, "cores": node.processors, "sockets": 1},
            "pveversion": format!("pve-manager/{}/0000000000000000", self.version),
            "uptime": 1000,
        })
        .into())
    }

    fn network(&self, call: &Call, name: &str) -> Reply {
        call.only(|name| name == "type")?;
        let rows = self.nodes[name]
            .bridges
            .iter()
            .map(|bridge| json!({"iface": bridge, "type": "bridge", "active": 1, "autostart": 1}));
        Ok(Value::Array(rows.collect()).into())
    }

    fn guest_rows(&self, call: &Call, node: &str, containers: bool) -> Vec<Value> {
        self.guests
            .iter()
            .filter(|(vmid, guest)| {
                guest.node == node
                    && guest.container == containers
                    && self.allowed(call, &format!("/vms/{vmid}"), "VM.Audit")
            })
            .map(|(vmid, guest)| resource_row(*vmid, guest))
            .collect()
    }
}

fn resource_row(vmid: u64, guest: &Guest) -> Value {
    let kind = if guest.container { "lxc" } else { "qemu" };
    let mut row = json!({
        "type": kind, "id": format!("{kind}/{vmid}"), "vmid": vmid, "node": guest.node, "name": guest.name(vmid),
        "status": if guest.power == Power::Stopped { "stopped" } else { "running" },
        "template": u8::from(guest.template), "maxmem": guest.memory(), "maxcpu": guest.processors(),
    });
    let optional = [
        ("tags", guest.config.get("tags")),
        ("lock", guest.lock.as_ref()),
        ("pool", guest.pool.as_ref()),
    ];
    for (key, value) in optional {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            row[key] = json!(value);
        }
    }
    row
}

fn not_implemented(call: &Call) -> Failure {
    Failure::new(
        501,
        format!("Method '{} {}' not implemented", call.method, call.path),
    )
}

impl Answer {
    pub(super) fn none() -> Self {
        Value::Null.into()
    }
}

/// Every privilege that something here asks for.
const ALL_PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Pool.Audit",
    "SDN.Use",
    "Sys.Audit",
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
];
