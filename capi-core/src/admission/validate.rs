//! What is refused, by kind.

use std::net::IpAddr;

use semver::Version;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Verdict;
use super::checks::{
    bootstrap, cluster_label_matches, count, immutable, label_value_name, naming, preflight_checks,
    selector, selects_template, taints, template_metadata, version,
};
use crate::api::{
    ClusterSpec, ContractVersionedObjectReference, DrainBehavior, IPAddressClaimSpec,
    IPAddressSpec, IntOrString, LabelSelector, MachineDeploymentSpec, MachineDrainRuleSpec,
    MachineHealthCheckSpec, MachineSetSpec, MachineSpec, labels,
};

/// Reads the specs of an object and its previous state; a spec that cannot be read is an error.
fn specs<T: DeserializeOwned + Default>(
    object: &Value,
    old: Option<&Value>,
    verdict: &mut Verdict,
) -> Option<(T, Option<T>)> {
    let read = |object: &Value| match object.get("spec") {
        Some(spec) => T::deserialize(spec),
        None => Ok(T::default()),
    };
    match read(object) {
        // The previous state may be from a time with other rules; it is then not compared with.
        Ok(spec) => Some((spec, old.and_then(|old| read(old).ok()))),
        Err(error) => {
            verdict.invalid("spec", Value::Null, &error.to_string());
            None
        }
    }
}

fn name(object: &Value) -> &str {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn cluster(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    label_value_name(name(object), &mut verdict);
    let Some((spec, old)) = specs::<ClusterSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    if spec.control_plane_ref.is_none()
        && spec.infrastructure_ref.is_none()
        && spec.topology.is_none()
    {
        verdict.required("spec", "set controlPlaneRef, infrastructureRef or topology");
    }
    if let Some(old) = &old {
        let gone = |old: &Option<ContractVersionedObjectReference>,
                    new: &Option<ContractVersionedObjectReference>| {
            old.is_some() && new.is_none()
        };
        if gone(&old.control_plane_ref, &spec.control_plane_ref) {
            verdict.forbidden("spec.controlPlaneRef", "cannot be removed");
        }
        if gone(&old.infrastructure_ref, &spec.infrastructure_ref) {
            verdict.forbidden("spec.infrastructureRef", "cannot be removed");
        }
    }
    for (path, ranges) in [
        (
            "spec.clusterNetwork.services.cidrBlocks",
            &spec.cluster_network.services,
        ),
        (
            "spec.clusterNetwork.pods.cidrBlocks",
            &spec.cluster_network.pods,
        ),
    ] {
        for (index, block) in ranges
            .cidr_blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| !is_network(block))
        {
            verdict.invalid(
                &format!("{path}[{index}]"),
                block.as_str(),
                "is no network such as 10.0.0.0/16",
            );
        }
    }
    topology(object, &spec, old.as_ref(), &mut verdict);
    verdict
}

/// Lets a topology be added to, or removed from, a cluster that exists.
const UNSAFE_TOPOLOGY_CHANGE: &str =
    "unsafe.topology.cluster.x-k8s.io/disable-update-class-name-check";

fn topology(object: &Value, spec: &ClusterSpec, old: Option<&ClusterSpec>, verdict: &mut Verdict) {
    let unsafe_change = object
        .pointer("/metadata/annotations")
        .is_some_and(|annotations| annotations.get(UNSAFE_TOPOLOGY_CHANGE).is_some());
    match (&spec.topology, old.map(|old| &old.topology)) {
        (None, Some(Some(_))) => verdict.forbidden("spec.topology", "cannot be removed"),
        (Some(_), Some(None)) if !unsafe_change => {
            verdict.forbidden(
                "spec.topology",
                &format!("cannot be added without the annotation {UNSAFE_TOPOLOGY_CHANGE}"),
            );
        }
        _ => {}
    }
    let Some(topology) = &spec.topology else {
        return;
    };
    let path = "spec.topology.version";
    if topology.class_ref.name.is_empty() {
        verdict.required("spec.topology.classRef.name", "name a ClusterClass");
    }
    version(path, Some(&topology.version), verdict);
    let parse = |version: &str| {
        version
            .strip_prefix('v')
            .and_then(|version| Version::parse(version).ok())
    };
    let previous = old
        .and_then(|old| old.topology.as_ref())
        .and_then(|old| parse(&old.version));
    if let (Some(new), Some(previous)) = (parse(&topology.version), previous) {
        if new < previous {
            verdict.invalid(
                path,
                topology.version.as_str(),
                &format!("cannot go back from v{previous}"),
            );
        } else if new.major > previous.major || new.minor > previous.minor + 1 {
            verdict.invalid(
                path,
                topology.version.as_str(),
                &format!("skips a minor version after v{previous}"),
            );
        }
    }
}

pub(super) fn machine(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, old)) = specs::<MachineSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    if !owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "MachinePool")
    {
        bootstrap("spec.bootstrap", &spec.bootstrap, &mut verdict);
    }
    immutable(
        "spec.clusterName",
        &spec.cluster_name,
        old.as_ref().map(|old| &old.cluster_name),
        &mut verdict,
    );
    version("spec.version", spec.version.as_ref(), &mut verdict);
    let labels = object.pointer("/metadata/labels");
    let worker = labels.is_none_or(|labels| labels.get(labels::CONTROL_PLANE).is_none());
    taints("spec.taints", &spec.taints, worker, &mut verdict);
    if let Some(old) = &old {
        if old.provider_id.is_some() && old.provider_id != spec.provider_id {
            verdict
                .warnings
                .push("spec.providerID was changed; the machine may lose its node".to_owned());
        }
        if old.infrastructure_ref != spec.infrastructure_ref {
            verdict
                .warnings
                .push("spec.infrastructureRef was changed; the old host is not deleted".to_owned());
        }
    }
    verdict
}

pub(super) fn machine_set(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, old)) = specs::<MachineSetSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    template(
        object,
        &spec.cluster_name,
        old.as_ref().map(|old| &old.cluster_name),
        &spec.template.spec,
        &mut verdict,
    );
    selects_template(&spec.selector, &spec.template.metadata, &mut verdict);
    template_metadata(&spec.template.metadata, &mut verdict);
    naming(&spec.machine_naming, &mut verdict);
    verdict
}

pub(super) fn machine_deployment(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    label_value_name(name(object), &mut verdict);
    let Some((spec, old)) = specs::<MachineDeploymentSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    template(
        object,
        &spec.cluster_name,
        old.as_ref().map(|old| &old.cluster_name),
        &spec.template.spec,
        &mut verdict,
    );
    selects_template(&spec.selector, &spec.template.metadata, &mut verdict);
    template_metadata(&spec.template.metadata, &mut verdict);
    naming(&spec.machine_naming, &mut verdict);
    let path = "spec.rollout.strategy.rollingUpdate";
    if let Some(strategy) = &spec.rollout.strategy {
        let bounds = &strategy.rolling_update;
        count(
            &format!("{path}.maxUnavailable"),
            bounds.max_unavailable.as_ref(),
            &mut verdict,
        );
        count(
            &format!("{path}.maxSurge"),
            bounds.max_surge.as_ref(),
            &mut verdict,
        );
        let zero = Some(IntOrString::Int(0));
        if bounds.max_unavailable == zero && bounds.max_surge == zero {
            verdict.invalid(
                path,
                "0",
                "maxUnavailable and maxSurge cannot both be 0, else nothing can be replaced",
            );
        }
    }
    count(
        "spec.remediation.maxInFlight",
        spec.remediation.max_in_flight.as_ref(),
        &mut verdict,
    );
    if old.is_some_and(|old| old.selector != spec.selector) {
        verdict.warnings.push(
            "spec.selector was changed; sets that it does not select are left alone".to_owned(),
        );
    }
    verdict
}

fn template(
    object: &Value,
    cluster: &String,
    old_cluster: Option<&String>,
    machine: &MachineSpec,
    verdict: &mut Verdict,
) {
    let path = "spec.template.spec";
    bootstrap(&format!("{path}.bootstrap"), &machine.bootstrap, verdict);
    preflight_checks(object, verdict);
    immutable("spec.clusterName", cluster, old_cluster, verdict);
    if *cluster != machine.cluster_name {
        verdict.invalid(
            "spec.clusterName",
            cluster.as_str(),
            "must be the same as spec.template.spec.clusterName",
        );
    }
    version(
        &format!("{path}.version"),
        machine.version.as_ref(),
        verdict,
    );
    taints(&format!("{path}.taints"), &machine.taints, true, verdict);
}

pub(super) fn machine_health_check(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, old)) = specs::<MachineHealthCheckSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    if spec.selector.is_empty() {
        verdict.required(
            "spec.selector",
            "an empty selector would choose every machine",
        );
    }
    selector("spec.selector", &spec.selector, &mut verdict);
    cluster_label_matches(&spec.selector, &spec.cluster_name, &mut verdict);
    immutable(
        "spec.clusterName",
        &spec.cluster_name,
        old.as_ref().map(|old| &old.cluster_name),
        &mut verdict,
    );
    if let Some(seconds) = spec.checks.node_startup_timeout_seconds
        && seconds != 0
        && seconds < 30
    {
        verdict.invalid(
            "spec.checks.nodeStartupTimeoutSeconds",
            seconds,
            "must be 0 or at least 30",
        );
    }
    let limit = spec
        .remediation
        .trigger_if
        .unhealthy_less_than_or_equal_to
        .as_ref();
    count(
        "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo",
        limit,
        &mut verdict,
    );
    verdict
}

pub(super) fn machine_drain_rule(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, _)) = specs::<MachineDrainRuleSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    if spec.drain.order.is_some() && spec.drain.behavior != DrainBehavior::Drain {
        verdict.forbidden("spec.drain.order", "is only for the behavior Drain");
    }
    let mut check = |path: String, labels: Option<&LabelSelector>| {
        if let Some(labels) = labels {
            selector(&path, labels, &mut verdict);
        }
    };
    for (index, machines) in spec.machines.iter().enumerate() {
        check(
            format!("spec.machines[{index}].selector"),
            machines.selector.as_ref(),
        );
        check(
            format!("spec.machines[{index}].clusterSelector"),
            machines.cluster_selector.as_ref(),
        );
    }
    for (index, pods) in spec.pods.iter().enumerate() {
        check(
            format!("spec.pods[{index}].selector"),
            pods.selector.as_ref(),
        );
        check(
            format!("spec.pods[{index}].namespaceSelector"),
            pods.namespace_selector.as_ref(),
        );
    }
    verdict
}

pub(super) fn ip_address_claim(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, old)) = specs::<IPAddressClaimSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    immutable("spec", &spec, old.as_ref(), &mut verdict);
    pool(&spec.pool_ref, &mut verdict);
    verdict
}

pub(super) fn ip_address(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((spec, old)) = specs::<IPAddressSpec>(object, old, &mut verdict) else {
        return verdict;
    };
    immutable("spec", &spec, old.as_ref(), &mut verdict);
    pool(&spec.pool_ref, &mut verdict);
    let address: Option<IpAddr> = spec.address.parse().ok();
    if address.is_none() {
        verdict.invalid("spec.address", spec.address.as_str(), "is no IP address");
    }
    if address.is_some_and(|address| address.is_ipv4()) && spec.prefix > 32
        || !(0..=128).contains(&spec.prefix)
    {
        verdict.invalid(
            "spec.prefix",
            spec.prefix,
            "must be between 0 and 32 for IPv4, 128 for IPv6",
        );
    }
    if let Some(gateway) = spec
        .gateway
        .as_deref()
        .filter(|gateway| !gateway.is_empty())
        && gateway.parse::<IpAddr>().is_err()
    {
        verdict.invalid("spec.gateway", gateway, "is no IP address");
    }
    verdict
}

fn pool(reference: &ContractVersionedObjectReference, verdict: &mut Verdict) {
    if reference.api_group.is_empty() {
        verdict.invalid(
            "spec.poolRef.apiGroup",
            json!(""),
            "name the group of the pool",
        );
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    match (address.parse::<IpAddr>(), prefix.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(prefix)) => prefix <= 32,
        (Ok(IpAddr::V6(_)), Ok(prefix)) => prefix <= 128,
        _ => false,
    }
}
