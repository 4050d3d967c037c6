//! The guest agent: what the system in a virtual machine tells.

use serde_json::{Value, json};

use super::guests::missing_parameter;
use super::request::{Call, Failure, Reply};
use super::state::{CloudInit, Datacenter, Power};
use crate::iso::NoCloud;

impl Datacenter {
    pub(super) fn agent(&mut self, call: &Call, vmid: u64, command: &str) -> Reply {
        let guest = &self.guests[&vmid];
        if !guest.agent_configured() {
            return Err(Failure::died("No QEMU guest agent configured"));
        }
        if guest.power != Power::Running {
            return Err(Failure::died(format!("VM {vmid} is not running")));
        }
        let ready_at = guest
            .started
            .and_then(|started| started.checked_add(self.latencies.agent).ok());
        let up =
            ready_at.is_some_and(|ready_at| ready_at <= call.now) && !guest.behaviour.without_agent;
        if !up {
            return Err(Failure::died("QEMU guest agent is not running"));
        }
        match (call.method.as_str(), command) {
            ("GET", "get-osinfo") => Ok(json!({"result": {"id": "linux", "name": "Simulated Linux", "kernel-release": "6.12.0"}}).into()),
            ("GET", "get-host-name") => Ok(json!({"result": {"host-name": self.hostname(vmid)}}).into()),
            ("GET", "network-get-interfaces") => Ok(json!({ "result": self.interfaces(vmid) }).into()),
            ("POST", "ping") => Ok(json!({"result": {}}).into()),
            ("POST", "exec") => {
                let command = call.parameters.get("command").ok_or_else(|| missing_parameter("command"))?;
                let words: Vec<&str> = command.iter().flat_map(|word| word.split_whitespace()).collect();
                let pid = if words == ["cloud-init", "status"] { 4242 } else { 4343 };
                Ok(json!({ "pid": pid }).into())
            }
            ("GET", "exec-status") => Ok(exec_status(call.integer("pid")?, guest.behaviour.cloud_init).into()),
            _ => Err(Failure::new(501, format!("Method '{} {}' not implemented", call.method, call.path))),
        }
    }

    fn hostname(&self, vmid: u64) -> String {
        let guest = &self.guests[&vmid];
        guest
            .report
            .as_ref()
            .map_or_else(|| guest.name(vmid), |report| report.hostname.clone())
    }

    /// What the host reported; else what the NoCloud volume asks for, as a guest that obeys it would have.
    fn interfaces(&self, vmid: u64) -> Vec<Value> {
        let mut rows = vec![json!({
            "name": "lo", "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}],
        })];
        let Some(machine) = self.virtual_machine(vmid) else {
            return rows;
        };
        if let Some(report) = &self.guests[&vmid].report {
            rows.extend(report.interfaces.iter().map(|interface| {
                let addresses = interface.addresses.iter().map(|(address, prefix)| {
                    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
                    json!({"ip-address": address.to_string(), "ip-address-type": family, "prefix": prefix})
                });
                json!({
                    "name": interface.name, "hardware-address": interface.hardware_address,
                    "ip-addresses": addresses.collect::<Vec<_>>(),
                })
            }));
            return rows;
        }
        let volume = machine.no_cloud().ok().flatten();
        for (index, device) in machine.network_devices.iter().enumerate() {
            let addresses = volume
                .as_ref()
                .map(|volume| addresses_of(volume, &device.hardware_address))
                .unwrap_or_default();
            rows.push(json!({
                "name": format!("eth{index}"), "hardware-address": device.hardware_address.to_lowercase(), "ip-addresses": addresses,
            }));
        }
        rows
    }
}

/// The static addresses that a network configuration gives to the device with this hardware address.
fn addresses_of(volume: &NoCloud, hardware_address: &str) -> Vec<Value> {
    let Some(text) = &volume.network_config else {
        return Vec::new();
    };
    let mut inside = false;
    let mut rows = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(mac) = line.strip_prefix("macaddress:") {
            inside = mac
                .trim()
                .trim_matches(['"', '\''])
                .eq_ignore_ascii_case(hardware_address);
        }
        let entry = line
            .strip_prefix("- ")
            .map(|entry| entry.trim_matches(['"', '\'']));
        if let Some((address, prefix)) = entry
            .filter(|_| inside)
            .and_then(|entry| entry.split_once('/'))
            && let (Ok(address), Ok(prefix)) =
                (address.parse::<std::net::IpAddr>(), prefix.parse::<u8>())
        {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            rows.push(json!({"ip-address": address.to_string(), "ip-address-type": family, "prefix": prefix}));
        }
    }
    rows
}

fn exec_status(pid: Option<u64>, cloud_init: CloudInit) -> Value {
    if pid != Some(4242) {
        return json!({"exited": 1, "exitcode": 127, "err-data": "command not found\n"});
    }
    let (code, text) = match cloud_init {
        CloudInit::Done => (0, "status: done\n"),
        CloudInit::Running => (0, "status: running\n"),
        CloudInit::Failed => (1, "status: error\n"),
        CloudInit::Degraded => (2, "status: degraded done\n"),
        CloudInit::NotStarted => (0, "status: not started\n"),
    };
    json!({"exited": 1, "exitcode": code, "out-data": text})
}
