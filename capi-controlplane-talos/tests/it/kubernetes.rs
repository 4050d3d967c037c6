//! The Kubernetes side of simulated clusters, in virtual time.

use std::time::Duration;

use capi_bootstrap_talos::config::Contract;
use capi_controlplane_talos::simulator::{KubernetesService, NetworkPlugin, Options};
use capi_core::clock::Clock;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::fixture::{Lab, address, uuid};

fn nodes(service: KubernetesService) -> Api<Node> {
    Api::all(Client::new(service, "default"))
}

fn lab_nodes(lab: &Lab) -> Api<Node> {
    nodes(lab.datacenter.kubernetes("10.0.0.100", 6443))
}

/// Waits until the Nodes are as wished.
async fn until(lab: &Lab, api: &Api<Node>, wished: impl Fn(&[Node]) -> bool) -> Vec<Node> {
    for _ in 0..1200 {
        if let Ok(list) = api.list(&kube::api::ListParams::default()).await
            && wished(&list.items)
        {
            return list.items;
        }
        lab.clock.sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "the Nodes did not become as wished: {:?}",
        api.list(&kube::api::ListParams::default()).await
    );
}

fn ready(node: &Node) -> &str {
    node.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| {
            conditions
                .iter()
                .find(|condition| condition.type_ == "Ready")
        })
        .map_or("", |condition| condition.status.as_str())
}

#[tokio::test(start_paused = true)]
async fn nodes_register_without_provider_id_and_get_ready() {
    let lab = Lab::virtual_time();
    lab.cluster(3).await;
    lab.worker(4);
    let api = lab_nodes(&lab);
    let found = until(&lab, &api, |nodes| {
        nodes.len() == 4 && nodes.iter().all(|n| ready(n) == "True")
    })
    .await;
    for (node, number) in found.iter().zip([1, 2, 3, 4]) {
        assert_eq!(
            node.metadata.name.as_deref(),
            Some(format!("node-{number}").as_str())
        );
        assert_eq!(
            node.spec.as_ref().and_then(|spec| spec.provider_id.clone()),
            None
        );
        let status = node.status.as_ref().expect("status");
        let info = status.node_info.as_ref().expect("node info");
        assert_eq!(info.system_uuid, uuid(number));
        assert_eq!(info.kubelet_version, "v1.34.1");
        let addresses = status.addresses.as_ref().expect("addresses");
        assert!(
            addresses
                .iter()
                .any(|a| a.type_ == "InternalIP" && a.address == address(number).to_string())
        );
        let labels = node.metadata.labels.as_ref().expect("labels");
        assert_eq!(
            labels.contains_key("node-role.kubernetes.io/control-plane"),
            number != 4
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_wait_for_the_network_plugin_of_the_user() {
    let lab = Lab::virtual_time();
    let config = lab.keys.config("controlplane", "none");
    lab.datacenter.boot(lab.facts(1, config.clone()));
    lab.client(1).await.bootstrap().await.expect("bootstrap");
    let api = lab_nodes(&lab);
    until(&lab, &api, |nodes| nodes.len() == 1).await;
    lab.clock.sleep(Duration::from_secs(60)).await;
    until(&lab, &api, |nodes| ready(&nodes[0]) == "False").await;
    lab.datacenter.install_network_plugin("lab");
    until(&lab, &api, |nodes| ready(&nodes[0]) == "True").await;

    let at_once = Lab::with(
        lab.clock.clone(),
        Options::default().network_plugin(NetworkPlugin::Present),
    );
    let config = at_once.keys.config("controlplane", "none");
    at_once.datacenter.boot(at_once.facts(1, config));
    at_once
        .client(1)
        .await
        .bootstrap()
        .await
        .expect("bootstrap");
    until(&at_once, &lab_nodes(&at_once), |nodes| {
        nodes.len() == 1 && ready(&nodes[0]) == "True"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_stale_when_its_machine_stops_and_recovers_when_it_runs() {
    let lab = Lab::virtual_time();
    lab.cluster(1).await;
    lab.worker(2);
    let api = lab_nodes(&lab);
    until(&lab, &api, |nodes| {
        nodes.len() == 2 && nodes.iter().all(|n| ready(n) == "True")
    })
    .await;
    lab.datacenter.power_off(&uuid(2));
    lab.clock.sleep(Duration::from_secs(20)).await;
    until(&lab, &api, |nodes| ready(&nodes[1]) == "True").await;
    until(&lab, &api, |nodes| ready(&nodes[1]) == "Unknown").await;
    lab.worker(2);
    until(&lab, &api, |nodes| ready(&nodes[1]) == "True").await;
}

#[tokio::test(start_paused = true)]
async fn the_api_times_out_without_quorum_and_answers_again_with_it() {
    let lab = Lab::virtual_time();
    lab.cluster(3).await;
    let api = lab_nodes(&lab);
    until(&lab, &api, |nodes| nodes.len() == 3).await;
    lab.datacenter.power_off(&uuid(2));
    api.list(&kube::api::ListParams::default())
        .await
        .expect("two of three");
    lab.datacenter.power_off(&uuid(3));
    let before = tokio::time::Instant::now();
    let error = api
        .list(&kube::api::ListParams::default())
        .await
        .expect_err("one of three");
    assert!(
        error.to_string().contains("etcdserver: request timed out"),
        "{error}"
    );
    assert_eq!(before.elapsed().as_secs(), 7);
    lab.control_plane(2);
    until(&lab, &api, |nodes| nodes.len() == 3).await;
    for number in 1..=2 {
        lab.datacenter.power_off(&uuid(number));
    }
    let error = api
        .list(&kube::api::ListParams::default())
        .await
        .expect_err("nobody");
    assert!(
        format!("{error:?}").contains("does not answer"),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_etcd_left_serves_no_api_but_the_endpoint_goes_on() {
    let lab = Lab::virtual_time();
    lab.cluster(3).await;
    let api = lab_nodes(&lab);
    until(&lab, &api, |nodes| nodes.len() == 3).await;
    lab.client(1).await.etcd_leave().await.expect("leave");
    until(&lab, &api, |nodes| nodes.len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_boot_with_the_configuration_of_every_contract() {
    for minor in 9..=14 {
        let version = format!("v1.{minor}.0");
        let contract: Contract = version.parse().expect("a contract");
        let epoch = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        let options = Options::default().talos_version(&version);
        let lab = Lab::with(Clock::following_tokio(epoch), options);
        for (number, kind) in [(1, "controlplane"), (2, "worker")] {
            let config = lab.keys.config_for(contract, kind, "flannel");
            lab.datacenter.boot(lab.facts(number, config));
        }
        let first = lab.client(1).await;
        assert_eq!(first.version().await.expect("version").tag, version);
        first.bootstrap().await.expect("bootstrap");
        let api = lab_nodes(&lab);
        let found = until(&lab, &api, |nodes| {
            nodes.len() == 2 && nodes.iter().all(|n| ready(n) == "True")
        });
        for (node, name) in found.await.iter().zip(["node-1", "node-2"]) {
            assert_eq!(node.metadata.name.as_deref(), Some(name), "{version}");
            let info = node
                .status
                .as_ref()
                .and_then(|s| s.node_info.as_ref())
                .expect("info");
            assert_eq!(info.kubelet_version, "v1.34.1", "{version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_newer_than_the_node_is_refused_at_boot() {
    let epoch = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
    let options = Options::default().talos_version("v1.11.5");
    let lab = Lab::with(Clock::following_tokio(epoch), options);
    let config = lab
        .keys
        .config_for(Contract::V1_14, "controlplane", "flannel");
    lab.datacenter.boot(lab.facts(1, config));
    lab.datacenter
        .until(|machines| machines[0].error.is_some())
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_cluster_at_the_same_time() {
    let run = async || {
        let before = tokio::time::Instant::now();
        let lab = Lab::with(
            Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a timestamp")),
            Options::default().seed(7),
        );
        let first = lab.cluster(3).await;
        let api = lab_nodes(&lab);
        until(&lab, &api, |nodes| {
            nodes.len() == 3 && nodes.iter().all(|n| ready(n) == "True")
        })
        .await;
        let members = first.etcd_members(false).await.expect("members");
        let boot = first
            .read_file("/proc/sys/kernel/random/boot_id")
            .await
            .expect("boot id");
        let nodes = api
            .list(&kube::api::ListParams::default())
            .await
            .expect("nodes");
        let uids: Vec<_> = nodes
            .items
            .into_iter()
            .map(|node| node.metadata.uid)
            .collect();
        (
            before.elapsed(),
            members,
            boot,
            nodes.metadata.resource_version,
            uids,
        )
    };
    assert_eq!(run().await, run().await);
}
