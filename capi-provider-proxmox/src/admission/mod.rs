//! Defaulting and admission of this crate's kinds: what the provider's webhooks do, as functions for
//! an API server that has none. What the schemas say already (patterns, bounds, CEL rules) is not said
//! again here.

mod network;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use capi_core::admission::{Admission, Verdict};
use capi_core::in_cluster_ipam::AddressRange;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{
    IpConfig, PROXMOX_CLUSTER, PROXMOX_CLUSTER_TEMPLATE, PROXMOX_MACHINE, PROXMOX_MACHINE_TEMPLATE,
    ProxmoxClusterSpec, ProxmoxMachineSpec,
};

/// The admission of this crate's kinds.
#[must_use]
pub fn admissions() -> &'static [Admission] {
    const ADMISSIONS: &[Admission] = &[
        Admission::new(PROXMOX_CLUSTER, cluster),
        Admission::new(PROXMOX_CLUSTER_TEMPLATE, cluster_template),
        Admission::new(PROXMOX_MACHINE, machine).defaulting(network::default),
        Admission::new(PROXMOX_MACHINE_TEMPLATE, machine_template).template(),
    ];
    ADMISSIONS
}

fn read<T: DeserializeOwned + Default>(
    spec: Option<&Value>,
    path: &str,
    verdict: &mut Verdict,
) -> Option<T> {
    match spec.map_or_else(|| Ok(T::default()), T::deserialize) {
        Ok(spec) => Some(spec),
        Err(error) => {
            verdict.invalid(path, Value::Null, &error.to_string());
            None
        }
    }
}

fn cluster(object: &Value, old: Option<&Value>) -> Verdict {
    cluster_spec(object.get("spec"), "spec", old.is_none())
}

fn cluster_template(object: &Value, old: Option<&Value>) -> Verdict {
    let spec = object.pointer("/spec/template/spec");
    cluster_spec(spec, "spec.template.spec", old.is_none())
}

fn cluster_spec(spec: Option<&Value>, path: &str, is_new: bool) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(spec) = read::<ProxmoxClusterSpec>(spec, path, &mut verdict) else {
        return verdict;
    };
    if is_new && spec.ipv4_config.is_none() && spec.ipv6_config.is_none() {
        let message = "set ipv4Config, ipv6Config or both: machines need addresses";
        verdict.required(&format!("{path}.ipv4Config"), message);
    }
    if spec.external_managed_control_plane == Some(true) {
        return verdict;
    }
    let host = spec.control_plane_endpoint.host.as_str();
    let endpoint = format!("{path}.controlPlaneEndpoint");
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() && !is_hostname(host) {
        verdict.invalid(
            &endpoint,
            host,
            "the host is no IP address and no name of a host",
        );
    }
    for (name, config) in [
        ("ipv4Config", &spec.ipv4_config),
        ("ipv6Config", &spec.ipv6_config),
    ] {
        let Some(config) = config else { continue };
        let path = format!("{path}.{name}.addresses");
        for range in ranges(config, &path, &mut verdict) {
            let holds = |address: IpAddr| range.covers(AddressRange::single(address));
            if address.is_some_and(holds) {
                let message = "holds the control plane endpoint, which a machine would get then";
                verdict.invalid(&path, range.to_string(), message);
            }
        }
    }
    verdict
}

fn ranges(config: &IpConfig, path: &str, verdict: &mut Verdict) -> Vec<AddressRange> {
    let mut ranges = Vec::with_capacity(config.addresses.len());
    for (index, entry) in config.addresses.iter().enumerate() {
        match entry.parse::<AddressRange>() {
            Ok(range) => ranges.push(range),
            Err(error) => {
                let path = format!("{path}[{index}]");
                verdict.invalid(&path, entry.as_str(), &error.to_string());
            }
        }
    }
    ranges
}

/// A name of letters, digits and `-`, with parts separated by `.`, of which the last are letters.
fn is_hostname(name: &str) -> bool {
    let is_part = |part: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(inside)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let is_top = |part: &str| {
        (2..=63).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphabetic())
    };
    if name.len() > 253 {
        return false;
    }
    match name.rsplit_once('.') {
        Some((rest, top)) => is_top(top) && rest.split('.').all(is_part),
        None => is_part(name),
    }
}

fn machine(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(spec) = read::<ProxmoxMachineSpec>(object.get("spec"), "spec", &mut verdict) else {
        return verdict;
    };
    network::validate(&spec.network, "spec.network", &mut verdict);
    let tags = |object: &Value| object.pointer("/spec/tags").cloned();
    if old.is_some_and(|old| tags(old) != tags(object)) {
        verdict.refuse("spec.tags: the tags of a machine cannot be changed");
    }
    verdict
}

fn machine_template(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    match old {
        Some(old) if old.get("spec") != object.get("spec") => {
            let message = "a template is immutable: make a new one and refer to that";
            verdict.forbidden("spec", message);
        }
        Some(_) => {}
        None => {
            let id = object.pointer("/spec/template/spec/providerID");
            if id.and_then(Value::as_str).is_some_and(|id| !id.is_empty()) {
                let path = "spec.template.spec.providerID";
                verdict.forbidden(path, "each machine gets its own");
            }
        }
    }
    verdict
}
