//! What the Go provider left: machines at rest, and those it left half done.

use std::collections::BTreeMap;

use capi_core::provider::{Infrastructure, Progress, Waker};
use capi_provider_proxmox::api::ProxmoxMachine;
use capi_provider_proxmox::simulator::{Guest, GuestBehaviour, Power, Simulator};
use serde_json::Value;

use crate::harness::{Subject, World, simulator};
use crate::provider::ours;

/// A machine that the Go provider made, as the datacenter has it.
fn plant(simulator: &Simulator, object: &ProxmoxMachine, power: Power, extra: &[(&str, &str)]) {
    let vmid = u64::try_from(object.spec.virtual_machine_id.expect("a number")).expect("positive");
    let name = object.metadata.name.clone().expect("a name");
    let node = object
        .status
        .proxmox_node
        .clone()
        .unwrap_or_else(|| "pve1".into());
    simulator.change(|datacenter| {
        let mut config: BTreeMap<String, String> = datacenter.guests[&9000].config.clone();
        config.insert("name".into(), name);
        if let Some(uuid) = object
            .spec
            .provider_id
            .as_deref()
            .and_then(|id| id.strip_prefix("proxmox://"))
        {
            config.insert("smbios1".into(), format!("uuid={uuid}"));
        }
        config.extend(
            extra
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        config.insert(
            "scsi0".into(),
            format!("local-lvm:vm-{vmid}-disk-0,size=10G"),
        );
        let mut disk = datacenter.volumes["pve1|local-lvm:base-9000-disk-0"].clone();
        disk.id = format!("local-lvm:vm-{vmid}-disk-0");
        disk.owner = Some(vmid);
        disk.node = Some(node.clone());
        let key = datacenter.volume_key("local-lvm", &node, &disk.id);
        datacenter.volumes.insert(key, disk);
        let started =
            (power == Power::Running).then(|| "2025-12-31T00:00:00Z".parse().expect("a time"));
        let guest = Guest {
            node,
            container: false,
            template: false,
            config,
            lock: None,
            power,
            pool: None,
            high_availability: false,
            started,
            behaviour: GuestBehaviour::default(),
            report: None,
        };
        datacenter.guests.insert(vmid, guest);
    });
}

fn subject(world: &World, object: ProxmoxMachine) -> Subject {
    let name = object.metadata.name.clone().expect("a name");
    let mut subject = world.subject(&name, object.spec.clone());
    subject.object = object;
    subject.object.metadata.namespace = Some("ns".into());
    subject.data = b"#cloud-config\n".to_vec();
    subject
}

/// The states of one machine, in the order in which the Go provider wrote them.
fn states(name: &str) -> Option<Vec<ProxmoxMachine>> {
    let path = crate::upstream()?
        .join("capmox/states")
        .join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(path).expect("recorded");
    let objects = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("an event");
        serde_json::from_value(event["object"].clone()).expect("a ProxmoxMachine")
    });
    Some(objects.collect())
}

fn reason(object: &ProxmoxMachine) -> &str {
    let condition = object
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "VirtualMachineProvisioned");
    condition
        .map(|condition| condition.reason.as_str())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn machines_of_the_go_provider_at_rest_cost_one_list_and_no_change() {
    let Some(upstream) = crate::upstream() else {
        return;
    };
    let files = [
        "one-machine/proxmoxmachines_c5-m0.yaml",
        "dual-stack/proxmoxmachines_c8-m0.yaml",
        "dual-stack/proxmoxmachines_c8-m1.yaml",
        "dual-stack/proxmoxmachines_c8-m2.yaml",
    ];
    for file in files {
        let text = std::fs::read_to_string(upstream.join("capmox").join(file)).expect("recorded");
        let object: ProxmoxMachine = serde_saphyr::from_str(&text).expect("a ProxmoxMachine");
        let simulator = simulator();
        plant(&simulator, &object, Power::Running, &[]);
        let world = World::on(&simulator);
        let mut subject = subject(&world, object);
        let before = subject.object.clone();
        let progress = world.step(&mut subject, Waker::noop()).await;
        assert!(
            matches!(progress, Ok(Progress::Ready(_))),
            "{file}: {progress:?}"
        );
        assert!(
            subject.object == before,
            "{file}: {:?}",
            subject.object.status
        );
        assert_eq!(
            simulator.calls().into_keys().collect::<Vec<_>>(),
            ["GET /cluster/resources"],
            "{file}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_the_go_provider_left_half_done_are_finished() {
    const ATTACHED: &[(&str, &str)] = &[
        ("ide0", "local:iso/user-data-102.iso,media=cdrom"),
        ("tags", "go-proxmox+cloud-init"),
        ("boot", "order=scsi0;net0;ide0"),
    ];
    type Extra = &'static [(&'static str, &'static str)];
    let rows: [(&str, &str, Extra); 3] = [
        ("cloningfailed", "Provisioned", &[]),
        ("taskfailed", "TaskFailed", &[]),
        ("poweringonfailed", "PoweringOnFailed", ATTACHED),
    ];
    for (name, expected, extra) in rows {
        let Some(states) = states(name) else { return };
        let object = states
            .iter()
            .rev()
            .find(|object| reason(object) == expected)
            .expect(name)
            .clone();
        let uuid = object
            .spec
            .provider_id
            .clone()
            .expect("known to the Go provider");
        let vmid =
            u64::try_from(object.spec.virtual_machine_id.expect("a number")).expect("positive");
        let simulator = simulator();
        plant(&simulator, &object, Power::Stopped, extra);
        let world = World::on(&simulator);
        let mut subject = subject(&world, object);
        world
            .run(&mut subject)
            .await
            .unwrap_or_else(|error| panic!("{name}: {}", error.full_message()));
        assert_eq!(ours(&simulator), [vmid], "{name}");
        assert_eq!(
            simulator.inspect(|datacenter| datacenter.guests[&vmid].power),
            Power::Running,
            "{name}"
        );
        assert_eq!(subject.object.spec.provider_id, Some(uuid), "{name}");
        let image = simulator.inspect(|datacenter| datacenter.guests[&vmid].config["ide0"].clone());
        assert!(image.contains(":iso/capi-"), "{name}: {image}");
        assert_eq!(subject.object.status.addresses.len(), 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_state_that_the_go_provider_passes_is_taken_over() {
    let Some(states) = states("realistic") else {
        return;
    };
    let mut seen = 0;
    for (index, object) in states.iter().enumerate() {
        let ready = object.status.initialization.provisioned == Some(true);
        if reason(object).starts_with("Delet") || ready {
            continue;
        }
        seen += 1;
        let simulator = simulator();
        let running = matches!(
            reason(object),
            "WaitingForClusterAPIMachineAddresses" | "Provisioned"
        );
        if object.spec.virtual_machine_id.is_some() && object.status.proxmox_node.is_some() {
            plant(
                &simulator,
                object,
                if running {
                    Power::Running
                } else {
                    Power::Stopped
                },
                &[],
            );
        }
        let world = World::on(&simulator);
        let mut subject = subject(&world, object.clone());
        world
            .run(&mut subject)
            .await
            .unwrap_or_else(|error| panic!("state {index}: {}", error.full_message()));
        assert_eq!(ours(&simulator).len(), 1, "state {index}");
        if let Some(vmid) = object.spec.virtual_machine_id {
            assert_eq!(
                subject.object.spec.virtual_machine_id,
                Some(vmid),
                "state {index}"
            );
        }
        assert!(
            world
                .provider
                .read_identity(&subject.object)
                .expect("readable")
                .is_some()
        );
        world.destroy(&mut subject).await.expect("gone");
        assert_eq!(ours(&simulator), Vec::<u64>::new(), "state {index}");
    }
    assert!(seen >= 15, "{seen}");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_a_person_pinned_is_taken_over_only_with_the_right_name() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut spec = crate::harness::machine_spec();
    spec.virtual_machine_id = Some(500);
    let mut named = world.subject("m0", spec.clone());
    plant(&simulator, &named.object, Power::Stopped, &[]);
    let mut other = world.subject("m1", spec);
    let error = world.run(&mut other).await.expect_err("another name");
    assert!(
        error.full_message().contains("it is left alone"),
        "{}",
        error.full_message()
    );
    world.run(&mut named).await.expect("ready");
    assert_eq!(ours(&simulator), [500]);
}
