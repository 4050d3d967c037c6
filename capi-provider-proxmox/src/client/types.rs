//! What Proxmox VE answers, read leniently: numbers may come as texts, flags as 0, 1, "1", true or "".

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::task::Upid;

/// Answer of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Such as `9.1.2`.
    pub version: String,
    /// Such as `9.1`.
    #[serde(default)]
    pub release: String,
}

/// One row of `GET /cluster/resources`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Resource {
    /// `qemu`, `lxc`, `node`, `storage`, `pool` or `sdn`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Node.
    #[serde(default)]
    pub node: String,
    /// `running`, `stopped`, `online`, `offline`, `available`, ...
    #[serde(default)]
    pub status: String,
    /// Guest: its number.
    #[serde(default, deserialize_with = "optional_u64")]
    pub vmid: Option<u64>,
    /// Guest: its name; empty or `VM <id>` while it is being cloned.
    #[serde(default)]
    pub name: String,
    /// Guest: whether it is a template.
    #[serde(default, deserialize_with = "flag")]
    pub template: bool,
    /// Guest: tags, joined with `;`.
    #[serde(default)]
    pub tags: String,
    /// Guest: the lock on its configuration.
    #[serde(default)]
    pub lock: Option<String>,
    /// Memory in bytes (configured for a guest, built in for a node).
    #[serde(default, deserialize_with = "optional_u64")]
    pub maxmem: Option<u64>,
    /// Processors.
    #[serde(default, deserialize_with = "optional_f64")]
    pub maxcpu: Option<f64>,
    /// Storage: size in bytes.
    #[serde(default, deserialize_with = "optional_u64")]
    pub maxdisk: Option<u64>,
    /// Storage: used bytes.
    #[serde(default, deserialize_with = "optional_u64")]
    pub disk: Option<u64>,
    /// Storage: its id.
    #[serde(default)]
    pub storage: String,
    /// Storage: whether all nodes see the same content.
    #[serde(default, deserialize_with = "flag")]
    pub shared: bool,
    /// Storage: what it may hold, joined with `,`.
    #[serde(default)]
    pub content: String,
    /// Storage: its type, such as `lvmthin`.
    #[serde(default)]
    pub plugintype: String,
}

impl Resource {
    /// Tags of a guest, trimmed, lower case.
    pub fn tags(&self) -> impl Iterator<Item = String> + '_ {
        split_tags(&self.tags)
    }
}

/// The tags in a text such as `a;b`, trimmed, lower case. Proxmox VE also accepts `,` and blanks between them.
pub fn split_tags(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split([';', ',', ' '])
        .map(|tag| tag.trim().to_lowercase())
        .filter(|tag| !tag.is_empty())
}

/// Answer of `GET /nodes/{node}/qemu/{vmid}/status/current`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VirtualMachineStatus {
    /// `running` or `stopped`.
    pub status: String,
    /// QEMU's own word: `running`, `stopped`, `paused`, `prelaunch`, ...
    #[serde(default)]
    pub qmpstatus: Option<String>,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Lock on the configuration.
    #[serde(default)]
    pub lock: Option<String>,
    /// Whether it is a template.
    #[serde(default, deserialize_with = "flag")]
    pub template: bool,
    /// Whether the guest agent is configured.
    #[serde(default, deserialize_with = "flag")]
    pub agent: bool,
    /// High availability.
    #[serde(default)]
    pub ha: HighAvailability,
}

/// Whether the high availability manager holds a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct HighAvailability {
    /// Whether it does.
    #[serde(default, deserialize_with = "flag")]
    pub managed: bool,
}

/// Power state of a virtual machine, read from `status`, `qmpstatus` and `lock` together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Off.
    Stopped,
    /// Off, with its memory on disk.
    Hibernated,
    /// On, not executing.
    Paused,
    /// On.
    Running,
}

impl VirtualMachineStatus {
    /// Its power state.
    #[must_use]
    pub fn power(&self) -> PowerState {
        match (self.status.as_str(), self.qmpstatus.as_deref()) {
            ("running", Some("paused" | "suspended" | "prelaunch")) => PowerState::Paused,
            ("running", _) => PowerState::Running,
            _ if self.lock.as_deref() == Some("suspended") => PowerState::Hibernated,
            _ => PowerState::Stopped,
        }
    }
}

/// One row of `GET /nodes/{node}/storage`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorageStatus {
    /// Id.
    pub storage: String,
    /// Type, such as `dir`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What it may hold, joined with `,`.
    #[serde(default)]
    pub content: String,
    /// Whether all nodes see the same content.
    #[serde(default, deserialize_with = "flag")]
    pub shared: bool,
    /// Whether it can be used now.
    #[serde(default, deserialize_with = "flag")]
    pub active: bool,
    /// Whether it is switched on.
    #[serde(default, deserialize_with = "flag")]
    pub enabled: bool,
    /// Free bytes.
    #[serde(default, deserialize_with = "optional_u64")]
    pub avail: Option<u64>,
}

impl StorageStatus {
    /// Whether it may hold `content` (`iso`, `images`, ...).
    #[must_use]
    pub fn holds(&self, content: &str) -> bool {
        self.content.split(',').any(|entry| entry.trim() == content)
    }
}

/// One row of `GET /nodes/{node}/storage/{storage}/content`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// Id, such as `local:iso/a.iso`.
    pub volid: String,
    /// Bytes.
    #[serde(default, deserialize_with = "optional_u64")]
    pub size: Option<u64>,
    /// Guest that owns it.
    #[serde(default, deserialize_with = "optional_u64")]
    pub vmid: Option<u64>,
}

/// One row of `GET /nodes/{node}/network`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkInterface {
    /// Name, such as `vmbr0`.
    pub iface: String,
    /// Type, such as `bridge`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Whether it is up.
    #[serde(default, deserialize_with = "flag")]
    pub active: bool,
}

/// Answer of `GET /nodes/{node}/tasks/{upid}/status`, and rows of a node's task list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskStatus {
    /// The task.
    pub upid: Upid,
    /// `running` or `stopped`; in lists, the exit status.
    #[serde(default)]
    pub status: Option<String>,
    /// How it ended.
    #[serde(default)]
    pub exitstatus: Option<String>,
}

/// One network interface as the guest agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentInterface {
    /// Name in the guest.
    pub name: String,
    /// Hardware address.
    #[serde(rename = "hardware-address", default)]
    pub hardware_address: Option<String>,
    /// Addresses.
    #[serde(rename = "ip-addresses", default)]
    pub ip_addresses: Vec<AgentAddress>,
}

/// One address as the guest agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentAddress {
    /// The address.
    #[serde(rename = "ip-address")]
    pub address: String,
    /// Prefix length.
    #[serde(default)]
    pub prefix: u8,
}

/// How a command in the guest stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ExecStatus {
    /// Whether it ended.
    #[serde(default, deserialize_with = "flag")]
    pub exited: bool,
    /// Its exit code.
    #[serde(default)]
    pub exitcode: Option<i64>,
    /// What it printed.
    #[serde(rename = "out-data", default)]
    pub out_data: String,
    /// What it printed on its error output.
    #[serde(rename = "err-data", default)]
    pub err_data: String,
}

/// Privileges by path, as `GET /access/permissions` tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Permissions(BTreeMap<String, BTreeMap<String, Value>>);

impl Permissions {
    /// Whether `privilege` is held on `path`, there or through the nearest path above that has an entry.
    #[must_use]
    pub fn allow(&self, path: &str, privilege: &str) -> bool {
        if let Some(privileges) = self.0.get(path) {
            return privileges.contains_key(privilege);
        }
        let mut above = path;
        while above.len() > 1 {
            above = match above.rfind('/') {
                Some(index) if index > 0 => &above[..index],
                _ => "/",
            };
            if let Some(privileges) = self.0.get(above) {
                // The value says whether the privilege holds below this path, too.
                return privileges
                    .get(privilege)
                    .is_some_and(|propagate| !matches!(propagate.as_u64(), Some(0)));
            }
        }
        false
    }
}

/// Configuration of a virtual machine: a flat map, as `GET .../config` tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, Value>")]
pub struct GuestConfig(BTreeMap<String, String>);

impl From<BTreeMap<String, Value>> for GuestConfig {
    fn from(map: BTreeMap<String, Value>) -> Self {
        let text = |value: Value| match value {
            Value::String(text) => text,
            Value::Bool(flag) => u8::from(flag).to_string(),
            other => other.to_string(),
        };
        Self(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, text(value)))
                .collect(),
        )
    }
}

impl GuestConfig {
    /// Value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Digest of this version of the configuration, for optimistic locking.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.get("digest")
    }

    /// Keys and values in order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for GuestConfig {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::Bool(flag)) => flag,
        Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
        Some(Value::String(text)) => !matches!(text.as_str(), "" | "0" | "no" | "off" | "false"),
        _ => false,
    })
}

fn optional_u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::Number(number)) => number.as_u64().or_else(|| {
            number
                .as_f64()
                .filter(|number| *number >= 0.0)
                .map(|number| number as u64)
        }),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    })
}

fn optional_f64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_flags_are_read_in_every_form_they_come_in() {
        for (template, expected) in [
            (json!(1), true),
            (json!("1"), true),
            (json!(true), true),
            (json!(0), false),
            (json!(""), false),
            (Value::Null, false),
        ] {
            let row: Resource = serde_json::from_value(
                json!({"type": "qemu", "vmid": "104", "template": template}),
            )
            .unwrap();
            assert_eq!((row.vmid, row.template), (Some(104), expected));
        }
        let row: Resource =
            serde_json::from_value(json!({"type": "qemu", "vmid": 104, "maxmem": 2.0})).unwrap();
        assert_eq!(
            (row.vmid, row.maxmem, row.template),
            (Some(104), Some(2), false)
        );
    }

    #[test]
    fn power_is_read_from_status_qmp_and_lock_together() {
        let rows = [
            (
                json!({"status": "running", "qmpstatus": "running"}),
                PowerState::Running,
            ),
            (json!({"status": "running"}), PowerState::Running),
            (
                json!({"status": "running", "qmpstatus": "paused"}),
                PowerState::Paused,
            ),
            (
                json!({"status": "stopped", "lock": "suspended"}),
                PowerState::Hibernated,
            ),
            (
                json!({"status": "stopped", "qmpstatus": "stopped"}),
                PowerState::Stopped,
            ),
        ];
        for (value, power) in rows {
            let status: VirtualMachineStatus = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(status.power(), power, "{value}");
        }
    }

    #[test]
    fn a_privilege_is_looked_up_at_the_nearest_path_above() {
        let permissions: Permissions = serde_json::from_value(
            json!({"/": {"VM.Audit": 1}, "/vms": {"VM.Clone": 1}, "/vms/100": {}}),
        )
        .unwrap();
        assert!(permissions.allow("/vms/101", "VM.Clone"));
        assert!(!permissions.allow("/vms/100", "VM.Clone"));
        assert!(!permissions.allow("/vms/101", "VM.Audit"));
        assert!(permissions.allow("/nodes/pve1", "VM.Audit"));
    }
}
