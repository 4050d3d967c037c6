//! Documents beside v1alpha1: names, values that need more than a type, and what excludes
//! what.

use std::collections::BTreeMap;

use super::{Findings, at, is_set, is_true, items, text};
use crate::config::schema::{self, Struct, Type};
use crate::config::yaml::{Mapping, Node};
use crate::config::{Contract, DocumentId, MachineConfig};

/// Kinds that configure a link; no two may configure the same.
const LINKS: &[&str] = &[
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "LinkConfig",
    "VLANConfig",
    "VRFConfig",
    "VethConfig",
    "WireguardConfig",
];

/// Documents and the paths of v1alpha1 that they replace: kind, path under the document's root.
const MOVED: &[(&str, &[&[&str]])] = &[
    ("HostnameConfig", &[&["machine", "network", "hostname"]]),
    (
        "ResolverConfig",
        &[
            &["machine", "network", "nameservers"],
            &["machine", "network", "searchDomains"],
            &["machine", "network", "disableSearchDomain"],
        ],
    ),
    ("TimeSyncConfig", &[&["machine", "time"]]),
    ("KubeSpanConfig", &[&["machine", "network", "kubespan"]]),
    ("UnattendedInstallConfig", &[&["machine", "install"]]),
    ("KubeletConfig", &[&["machine", "kubelet"]]),
    (
        "KubeNodeConfig",
        &[
            &["machine", "nodeLabels"],
            &["machine", "nodeAnnotations"],
            &["machine", "nodeTaints"],
            &["cluster", "allowSchedulingOnControlPlanes"],
            &["cluster", "allowSchedulingOnMasters"],
        ],
    ),
    (
        "KubeClusterConfig",
        &[
            &["cluster", "clusterName"],
            &["cluster", "controlPlane", "endpoint"],
        ],
    ),
    ("KubeNetworkConfig", &[&["cluster", "network"]]),
    ("KubeFlannelCNIConfig", &[&["cluster", "network"]]),
    (
        "KubeAPIServerConfig",
        &[
            &["cluster", "apiServer"],
            &["cluster", "controlPlane", "localAPIServerPort"],
        ],
    ),
    (
        "KubeControllerManagerConfig",
        &[
            &["cluster", "controllerManager"],
            &["machine", "controlPlane", "controllerManager"],
        ],
    ),
    (
        "KubeSchedulerConfig",
        &[
            &["cluster", "scheduler"],
            &["machine", "controlPlane", "scheduler"],
        ],
    ),
    ("KubeProxyConfig", &[&["cluster", "proxy"]]),
    ("KubeCoreDNSConfig", &[&["cluster", "coreDNS"]]),
    ("KubePrismConfig", &[&["machine", "features", "kubePrism"]]),
    ("KubeAPIServerCAConfig", &[&["cluster", "ca"]]),
    ("KubeAggregatorCAConfig", &[&["cluster", "aggregatorCA"]]),
    (
        "KubeServiceAccountConfig",
        &[&["cluster", "serviceAccount"]],
    ),
    (
        "KubeEtcdEncryptionConfig",
        &[
            &["cluster", "secretboxEncryptionSecret"],
            &["cluster", "aescbcEncryptionSecret"],
        ],
    ),
    ("DiscoveryServiceConfig", &[&["cluster", "discovery"]]),
    (
        "DiscoveryIdentityConfig",
        &[&["cluster", "id"], &["cluster", "secret"]],
    ),
    (
        "KubeTalosAPIAccessConfig",
        &[&["machine", "features", "kubernetesTalosAPIAccess"]],
    ),
];

/// What is newer than the Talos that the configuration is for.
pub(super) fn of_contract(config: &MachineConfig, contract: Contract, findings: &mut Findings) {
    for document in config.documents() {
        let id = DocumentId::of(document);
        let Some(kind) = schema::kind(&id) else {
            continue;
        };
        if kind.since > 0 && !contract.since(kind.since) {
            findings.problem(format!(
                "{id} is known since Talos 1.{}, and this configuration is for {contract}: set \
                 talosVersion, or remove the document",
                kind.since
            ));
            continue;
        }
        if !contract.since(14) {
            newer_fields(kind.fields, document, &id, findings);
        }
    }
}

fn newer_fields(of: &Struct, document: &Mapping, id: &DocumentId, findings: &mut Findings) {
    for field in of.fields {
        let Some(value) = document.get(field.name) else {
            continue;
        };
        if field.flags.new {
            findings.problem(format!("{id}: {} is known since Talos 1.14", field.name));
        }
        let inner = match &field.of {
            Type::Struct(inner) | Type::Opt(Type::Struct(inner)) => inner,
            _ => continue,
        };
        if let Some(mapping) = value.as_mapping() {
            newer_fields(inner, mapping, id, findings);
        }
    }
}

/// What excludes each other: documents and the older settings that they replace.
pub(super) fn conflicts(config: &MachineConfig, v1alpha1: &Mapping, findings: &mut Findings) {
    for (kind, paths) in MOVED {
        if config.of_kind(kind).is_none() {
            continue;
        }
        for path in *paths {
            if is_set(v1alpha1, path) {
                findings.problem(format!(
                    "{} is already set in the v1alpha1 document, which excludes {kind}: set it there",
                    path.join(".")
                ));
            }
        }
    }
    findings.problem_if(
        config.of_kind("HostnameConfig").is_some() && is_true(v1alpha1, &["machine", "features", "stableHostname"]),
        "machine.features.stableHostname is already set in the v1alpha1 document, which excludes HostnameConfig",
    );
    findings.problem_if(
        config.of_kind("ResolverConfig").is_some_and(|document| is_set(document, &["hostDNS"]))
            && is_set(v1alpha1, &["machine", "features", "hostDNS"]),
        "machine.features.hostDNS is already set in the v1alpha1 document, which excludes ResolverConfig.hostDNS",
    );
}

/// Each document by itself, and all of them together.
pub(super) fn check(config: &MachineConfig, findings: &mut Findings) {
    let mut links: BTreeMap<&str, String> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for document in config.documents() {
        let id = DocumentId::of(document);
        if id.is_v1alpha1() {
            continue;
        }
        findings.problem_if(!seen.insert(id.clone()), format!("{id} is there twice"));
        if schema::kind(&id).is_some_and(|kind| kind.named)
            && id.name.as_deref().unwrap_or_default().is_empty()
        {
            findings.problem(format!("{id}: name must be set"));
        }
        if LINKS.contains(&id.kind.as_str()) {
            let name = text(document, &["name"]);
            if let Some(other) = links.insert(name, id.to_string()) {
                findings.problem(format!("{other} and {id} both configure {name:?}"));
            }
        }
        let before = findings.problems.len();
        match id.kind.as_str() {
            "HostnameConfig" => hostname(document, findings),
            "UserVolumeConfig" | "RawVolumeConfig" | "SwapVolumeConfig" => {
                volume(document, findings);
            }
            "VolumeConfig" => encryption(document, findings),
            "SideroLinkConfig" => sidero_link(document, findings),
            "ExtensionServiceConfig" => extension(document, findings),
            "KubeSpanConfig" => {
                let mtu = at(document, &["mtu"]).and_then(Node::as_integer);
                findings.problem_if(
                    mtu.is_some_and(|mtu| mtu < 1280),
                    "mtu must be at least 1280",
                );
            }
            "BondConfig" => findings.problem_if(
                items(document, &["links"]).is_empty(),
                "at least one link is required",
            ),
            "VLANConfig" => {
                findings.problem_if(text(document, &["parent"]).is_empty(), "parent is required");
                findings.problem_if(
                    !at(document, &["vlanID"])
                        .and_then(Node::as_integer)
                        .is_some_and(|id| (1..=4095).contains(&id)),
                    "vlanID must be between 1 and 4095",
                );
            }
            _ => {}
        }
        for problem in &mut findings.problems[before..] {
            *problem = format!("{id}: {problem}");
        }
    }
}

fn hostname(document: &Mapping, findings: &mut Findings) {
    let auto = text(document, &["auto"]);
    let hostname = text(document, &["hostname"]);
    if auto.is_empty() && hostname.is_empty() {
        findings.problem("either 'auto' or 'hostname' must be set");
    }
    if !matches!(auto, "" | "off") && !hostname.is_empty() {
        findings.problem(
            "'auto' and 'hostname' cannot be set at the same time: add `auto: off` to the patch that sets hostname",
        );
    }
    findings.problem_if(auto == "talos-addr", "invalid value for 'auto'");
    if hostname.is_empty() {
        return;
    }
    let first = hostname.split('.').next().unwrap_or_default();
    findings.problem_if(
        hostname.len() > 253,
        format!("fqdn is too long: {}", hostname.len()),
    );
    findings.problem_if(
        !(1..=63).contains(&first.len()),
        format!("invalid hostname {first:?}: its first part must have 1 to 63 characters"),
    );
}

fn volume(document: &Mapping, findings: &mut Findings) {
    let name = text(document, &["name"]);
    findings.problem_if(
        name.len() > 34 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "name can have up to 34 letters, digits and dashes",
    );
    let on_disk = matches!(text(document, &["volumeType"]), "" | "partition");
    if on_disk {
        findings.problem_if(
            text(document, &["provisioning", "diskSelector", "match"]).is_empty(),
            "disk selector is required",
        );
        findings.problem_if(
            text(document, &["provisioning", "minSize"]).is_empty()
                && text(document, &["provisioning", "maxSize"]).is_empty(),
            "min size or max size is required",
        );
    }
    let filesystem = text(document, &["filesystem", "type"]);
    findings.problem_if(
        !matches!(filesystem, "" | "xfs" | "ext4"),
        format!("filesystem type {filesystem:?} is not supported"),
    );
    findings.problem_if(
        is_true(document, &["filesystem", "projectQuotaSupport"])
            && !matches!(filesystem, "" | "xfs"),
        "project quota support is only available for xfs",
    );
    encryption(document, findings);
}

fn encryption(document: &Mapping, findings: &mut Findings) {
    if at(document, &["encryption", "provider"]).is_none() {
        return;
    }
    let keys = items(document, &["encryption", "keys"]);
    findings.problem_if(keys.is_empty(), "encryption keys are required");
    let slots: std::collections::BTreeSet<_> = keys
        .iter()
        .map(|key| key.at(&["slot"]).and_then(Node::as_integer))
        .collect();
    findings.problem_if(
        slots.len() != keys.len(),
        "an encryption key slot is used twice",
    );
}

fn sidero_link(document: &Mapping, findings: &mut Findings) {
    let url = text(document, &["apiUrl"]);
    let path = url.split_once("://").map_or("", |(_, rest)| {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        rest.split_once('/').map_or("", |(_, path)| path)
    });
    findings.problem_if(url.is_empty(), "apiUrl is required");
    findings.problem_if(!path.is_empty(), "apiUrl path must be empty");
}

fn extension(document: &Mapping, findings: &mut Findings) {
    findings.problem_if(
        items(document, &["configFiles"]).is_empty()
            && items(document, &["environment"]).is_empty(),
        "no configFiles and no environment",
    );
    for file in items(document, &["configFiles"]) {
        let empty = |key: &str| {
            file.at(&[key])
                .and_then(Node::as_str)
                .unwrap_or_default()
                .is_empty()
        };
        findings.problem_if(
            empty("content") || empty("mountPath"),
            "a config file needs content and mountPath",
        );
    }
}
