//! Manifests that people wrote for the Go providers: what their machines boot with.

use capi_core::api::ClusterNetwork;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::*;
use crate::api::TalosConfigSpec;
use crate::config::{Contract, yaml};
use crate::testing::{self, Peer, upstream};

/// The specs of TalosConfigs in a manifest: of the control plane and of templates.
fn specs(file: &str) -> Option<Vec<TalosConfigSpec>> {
    let text = std::fs::read_to_string(upstream()?.join("manifests").join(file)).unwrap();
    let specs = yaml::parse(&text)
        .unwrap()
        .into_iter()
        .filter_map(|document| {
            let object = document.node.to_json();
            match object["kind"].as_str()? {
                "TalosControlPlane" => {
                    Some(object["spec"]["controlPlaneConfig"]["controlplane"].clone())
                }
                "TalosConfigTemplate" => Some(object["spec"]["template"]["spec"].clone()),
                _ => None,
            }
        })
        .map(|spec: Value| serde_json::from_value(spec).unwrap())
        .collect();
    Some(specs)
}

fn boots(spec: &TalosConfigSpec) -> Generated {
    let facts = MachineFacts {
        cluster_name: "coffee-cluster",
        endpoint_host: "192.168.1.19",
        endpoint_port: 6443,
        network: &ClusterNetwork::default(),
        machine_name: "machine",
        infrastructure_name: "vm",
        infrastructure_kind: "ProxmoxMachine",
        kubernetes_version: Some("v1.33.0"),
        hints: Vec::new(),
    };
    let generated = generate(spec, &facts, Some(testing::bundle())).unwrap();
    if let Some(peer) = Peer::find() {
        peer.validate(generated.data.expose_secret()).unwrap();
    }
    generated
}

#[test]
fn machines_of_a_manifest_with_json_patches_and_no_version_boot_in_the_form_of_1_11() {
    let Some(specs) = specs("coffee-cluster.yaml") else {
        return;
    };
    let [control_plane, worker] = specs.as_slice() else {
        panic!("a control plane and a template");
    };
    for spec in [control_plane, worker] {
        let generated = boots(spec);
        assert_eq!(generated.choice.unwrap().contract, Contract::V1_11);
        let at = |path: &[&str]| generated.config.at(path).map(yaml::Node::to_json);
        assert_eq!(at(&["machine", "install", "disk"]), Some("/dev/sda".into()));
        assert_eq!(
            at(&["machine", "kubelet", "extraArgs", "cloud-provider"]),
            Some("external".into())
        );
    }
    let warnings = boots(control_plane).warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("machine.install.extensions")),
        "{warnings:?}"
    );
}

#[test]
fn the_article_s_worker_template_gives_its_own_endpoint_and_disk() {
    let Some(specs) = specs("talos-worker-template.yaml") else {
        return;
    };
    let generated = boots(&specs[0]);
    assert_eq!(generated.choice.unwrap().contract, Contract::V1_13);
    assert_eq!(generated.config.endpoint(), Some("https://10.1.0.10:6443"));
    let disk = generated
        .config
        .at(&["machine", "install", "disk"])
        .unwrap();
    assert_eq!(disk.as_str(), Some("/dev/sda"));
}
