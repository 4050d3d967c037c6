//! What a datacenter lacks is said before the first clone.

use std::sync::Arc;

use capi_provider_proxmox::api::{
    IpConfig, MatchPolicy, ProxmoxMachineSpec, TemplateSelector, VmIdRange,
};
use capi_provider_proxmox::client::{ApiToken, Client};
use capi_provider_proxmox::provider::{MachineGroup, preflight};
use capi_provider_proxmox::simulator::{Simulator, Token};
use http::Method;

use crate::harness::{SECRET, TOKEN, World, machine_spec, simulator};

async fn findings(simulator: &Simulator, world: &World, groups: &[MachineGroup]) -> Vec<String> {
    let client = Client::builder(
        "https://pve1:8006",
        ApiToken::new(TOKEN, SECRET).expect("a token"),
        simulator.clock().clone(),
    )
    .transport(Arc::new(simulator.clone()))
    .build()
    .expect("a client");
    let found = preflight(&client, &world.cluster, groups)
        .await
        .expect("answered");
    assert!(
        simulator
            .log()
            .iter()
            .all(|call| call.method == Method::GET),
        "it changes nothing"
    );
    found.iter().map(ToString::to_string).collect()
}

fn group(count: u32, spec: ProxmoxMachineSpec) -> MachineGroup {
    MachineGroup {
        name: "workers".into(),
        count,
        spec,
    }
}

#[tokio::test(start_paused = true)]
async fn a_datacenter_that_has_everything_has_no_findings() {
    let simulator = simulator();
    let world = World::on(&simulator);
    assert_eq!(
        findings(&simulator, &world, &[group(3, machine_spec())]).await,
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_missing_is_in_one_list() {
    let simulator = simulator();
    simulator.change(|datacenter| {
        datacenter
            .storages
            .get_mut("local")
            .expect("there")
            .content
            .remove("iso");
        for node in datacenter.nodes.values_mut() {
            node.bridges.remove("vmbr1");
            node.memory = 10 << 30;
        }
        let held = [
            "VM.Audit",
            "Sys.Audit",
            "Datastore.Audit",
            "VM.Allocate",
            "VM.Config.Disk",
            "VM.PowerMgmt",
        ]
        .map(str::to_owned)
        .into();
        datacenter.tokens.insert(
            TOKEN.into(),
            Token {
                secret: SECRET.into(),
                privileges: Some([("/".to_owned(), held)].into()),
            },
        );
    });
    let mut world = World::on(&simulator);
    world.cluster.spec.ipv4_config = Some(IpConfig {
        addresses: vec!["10.0.0.10-10.0.0.12".into()],
        prefix: 24,
        gateway: "10.0.0.1".into(),
        metric: None,
    });
    let spec = ProxmoxMachineSpec {
        vm_id_range: Some(VmIdRange {
            start: 8999,
            end: 9003,
        }),
        storage: Some("fast".into()),
        ..machine_spec()
    };
    let found = findings(&simulator, &world, &[group(4, spec)]).await;
    let expected = [
        "the API token lacks the privilege VM.Clone on /vms/9000",
        "the API token lacks the privilege VM.Config.CPU on /vms",
        "the API token lacks the privilege VM.GuestAgent.Audit on /vms",
        "the API token lacks the privilege SDN.Use on /sdn/zones/localnetwork/vmbr1",
        "the API token lacks the privilege Datastore.AllocateSpace on /storage/fast",
        "workers: 2 of 4 machines can be placed: no node has 4096 MiB of memory left",
        "node pve1 has no active storage for ISO images",
        "workers, spec.storage: node pve1 has no active storage \"fast\" for disks",
        "workers, spec.network.networkDevices: node pve1 has no bridge \"vmbr1\"",
        "workers, spec.vmIDRange: 4 numbers are needed, and 2 are free",
        "spec.ipv4Config.addresses: 4 addresses are needed, and it has 3",
    ];
    for text in expected {
        assert!(
            found.iter().any(|finding| finding.starts_with(text)),
            "{text:?} in {found:#?}"
        );
    }
    assert!(
        !found
            .iter()
            .any(|finding| finding.contains("VM.Allocate") || finding.contains("VM.Config.Disk")),
        "{found:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_missing_is_said_with_its_tags() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let selector = TemplateSelector {
        match_tags: vec!["nope".into()],
        match_policy: Some(MatchPolicy::UniqueSubset),
    };
    let spec = ProxmoxMachineSpec {
        source_node: None,
        template_id: None,
        template_selector: Some(selector),
        ..machine_spec()
    };
    let found = findings(&simulator, &world, &[group(1, spec)]).await;
    assert_eq!(
        found,
        [
            "workers: 0 of 1 machines can be placed: there is no VM template with the tags nope (templateSelector, uniqueSubset)"
        ]
    );
}
