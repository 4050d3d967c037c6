//! `cluster`.

use std::collections::BTreeSet;

use super::machine::is_address_or_prefix;
use super::{Findings, at, is_endpoint, is_set, is_true, items, text};
use crate::config::MachineConfig;
use crate::config::yaml::{Mapping, Node};

pub(super) fn check(
    config: &MachineConfig,
    document: &Mapping,
    control_plane: bool,
    findings: &mut Findings,
) {
    let Some(cluster) = document.get("cluster").and_then(Node::as_mapping) else {
        findings.problem("cluster instructions are required (cluster)");
        return;
    };
    match config.endpoint() {
        None | Some("") => findings.problem("the control plane endpoint is required (cluster.controlPlane.endpoint)"),
        Some(endpoint) => findings.problem_if(
            !is_endpoint(endpoint),
            "cluster.controlPlane.endpoint: invalid controlplane endpoint, write it as https://host:port",
        ),
    }
    let domain = text(cluster, &["network", "dnsDomain"]);
    findings.problem_if(
        !domain.is_empty() && !is_dns_name(domain),
        format!("cluster.network.dnsDomain: {domain:?} is not a valid DNS name"),
    );
    if at(cluster, &["etcd"]).is_some() {
        findings.problem_if(
            !control_plane,
            "etcd config is only allowed on control plane machines (cluster.etcd)",
        );
        for key in ["advertisedSubnets", "listenSubnets"] {
            for subnet in items(cluster, &["etcd", key])
                .iter()
                .filter_map(Node::as_str)
            {
                findings.problem_if(
                    !is_address_or_prefix(subnet.trim_start_matches('!')),
                    format!("cluster.etcd.{key}: {subnet:?} is no network"),
                );
            }
        }
    }
    findings.problem_if(
        !control_plane && is_set(cluster, &["ca", "key"]),
        "cluster CA key is not allowed on workers (cluster.ca.key)",
    );
    if control_plane {
        cni(cluster, findings);
    }
    cloud_provider(cluster, findings);
    manifests(cluster, findings);
    discovery(cluster, findings);
}

fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix(['.', '_']).unwrap_or(name);
    name.len() <= 255
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        })
}

fn cni(cluster: &Mapping, findings: &mut Findings) {
    let Some(cni) = at(cluster, &["network", "cni"]).and_then(Node::as_mapping) else {
        return;
    };
    let name = text(cni, &["name"]);
    let urls = items(cni, &["urls"]);
    match name {
        "" | "flannel" | "none" => findings.problem_if(
            !urls.is_empty(),
            format!("cluster.network.cni.urls must be empty for {name:?}"),
        ),
        "custom" => {
            if urls.is_empty() {
                findings.warning("cluster.network.cni.urls should not be empty for \"custom\"");
            }
            for url in urls.iter().filter_map(Node::as_str) {
                findings.problem_if(
                    !is_endpoint(url),
                    format!("cluster.network.cni.urls: {url:?} is no URL"),
                );
            }
        }
        other => findings.problem(format!(
            "cluster.network.cni.name: {other:?} is not one of flannel, custom, none"
        )),
    }
    if matches!(name, "custom" | "none") {
        findings.problem_if(
            !items(cni, &["flannel", "extraArgs"]).is_empty()
                || is_true(cni, &["flannel", "kubeNetworkPoliciesEnabled"]),
            format!("cluster.network.cni.flannel must be empty for {name:?}"),
        );
    }
}

fn cloud_provider(cluster: &Mapping, findings: &mut Findings) {
    let manifests = items(cluster, &["externalCloudProvider", "manifests"]);
    if !manifests.is_empty() && !is_true(cluster, &["externalCloudProvider", "enabled"]) {
        findings.problem("cluster.externalCloudProvider is disabled, but manifests are provided");
        return;
    }
    for url in manifests.iter().filter_map(Node::as_str) {
        findings.problem_if(
            !is_endpoint(url),
            format!("cluster.externalCloudProvider.manifests: {url:?} is no URL"),
        );
    }
}

fn manifests(cluster: &Mapping, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for manifest in items(cluster, &["inlineManifests"]) {
        let name = manifest
            .at(&["name"])
            .and_then(Node::as_str)
            .unwrap_or_default();
        findings.problem_if(
            name.trim().is_empty(),
            "cluster.inlineManifests: a name is empty",
        );
        findings.problem_if(
            !seen.insert(name),
            format!("cluster.inlineManifests: the name {name:?} is there twice"),
        );
    }
    for key in ["apiServer", "controllerManager", "scheduler"] {
        let resources = ["requests", "limits"].into_iter().flat_map(|part| {
            at(cluster, &[key, "resources", part])
                .and_then(Node::as_mapping)
                .into_iter()
                .flat_map(Mapping::iter)
        });
        for resource in resources {
            findings.problem_if(
                !matches!(resource.key.as_str(), "cpu" | "memory"),
                format!(
                    "cluster.{key}.resources: {:?} is not supported",
                    resource.key
                ),
            );
        }
    }
}

fn discovery(cluster: &Mapping, findings: &mut Findings) {
    let Some(discovery) = at(cluster, &["discovery"]).and_then(Node::as_mapping) else {
        return;
    };
    let off = at(discovery, &["enabled"]).and_then(Node::as_bool) == Some(false);
    if off || is_true(discovery, &["registries", "service", "disabled"]) {
        return;
    }
    let endpoint = text(discovery, &["registries", "service", "endpoint"]);
    if !endpoint.is_empty() {
        let path = endpoint.split_once("://").map_or("", |(_, rest)| {
            rest.split_once('/').map_or("", |(_, path)| path)
        });
        findings.problem_if(
            !endpoint.contains("://") || !path.is_empty(),
            "cluster.discovery.registries.service.endpoint must be a URL without a path",
        );
    }
    for key in ["id", "secret"] {
        findings.problem_if(
            !is_set(cluster, &[key]),
            format!("cluster discovery service requires cluster.{key}"),
        );
    }
}
