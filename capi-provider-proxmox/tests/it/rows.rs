//! Situations of the specification's checklist that the other modules do not pass through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use capi_core::provider::{ErrorClass, Infrastructure, Progress, Waker};
use capi_provider_proxmox::api::ProxmoxMachineSpec;
use capi_provider_proxmox::client::TlsTrust;
use capi_provider_proxmox::provider::{Credentials, ProxmoxProvider};
use capi_provider_proxmox::simulator::{Fault, Outcome, Power, Simulator, Token};
use http::Method;

use crate::harness::{SECRET, Subject, TOKEN, World, machine_spec, simulator};
use crate::provider::{images, ours};

const CLONE: &str = "/nodes/*/qemu/*/clone";
const START: &str = "/nodes/*/qemu/*/status/start";

fn count(simulator: &Simulator, call: &str) -> u64 {
    simulator.calls().get(call).copied().unwrap_or(0)
}

/// Makes `count` machines at once.
async fn make(world: &Arc<World>, count: usize) -> Vec<Subject> {
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..count {
        let world = Arc::clone(world);
        tasks.spawn(async move {
            let mut subject = world.subject(&format!("m{index}"), machine_spec());
            world.run(&mut subject).await.map(|_| subject)
        });
    }
    let mut subjects = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        subjects.push(ended.expect("no panic").expect("ready"));
    }
    subjects
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_with_warnings_has_done_its_work() {
    for path in [CLONE, START, "/nodes/*/storage/*/upload"] {
        let simulator = simulator();
        let world = World::on(&simulator);
        simulator.fault(Fault::once(Method::POST, path, Outcome::TaskWarns(3)));
        let mut subject = world.subject("m0", machine_spec());
        world.run(&mut subject).await.expect("ready");
        assert!(
            !subject.reasons.iter().any(|reason| reason.starts_with('!')),
            "{path}: {:?}",
            subject.reasons
        );
        assert_eq!(count(&simulator, "POST /nodes/{node}/qemu/{vmid}/clone"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hangs_is_waited_for_and_nothing_is_made_twice() {
    let simulator = simulator();
    let world = World::on(&simulator);
    simulator.fault(Fault::once(Method::POST, CLONE, Outcome::TaskHangs));
    let mut subject = world.subject("m0", machine_spec());
    let ended = tokio::time::timeout(Duration::from_secs(600), world.run(&mut subject)).await;
    assert!(ended.is_err(), "the clone never ends");
    assert_eq!(count(&simulator, "POST /nodes/{node}/qemu/{vmid}/clone"), 1);
    assert_eq!(ours(&simulator), [100]);
    // Ever rarer: not a look a second.
    let looks = count(&simulator, "GET /nodes/{node}/tasks/{upid}/status");
    assert!(looks <= 150, "{looks}");
    assert_eq!(subject.reasons.last().map(String::as_str), Some("Cloning"));
}

#[tokio::test(start_paused = true)]
async fn a_clone_whose_node_is_down_for_ten_minutes_goes_on_when_it_is_back() {
    let simulator = simulator();
    let world = Arc::new(World::on(&simulator));
    let making = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut subject = world.subject("m0", machine_spec());
            world.run(&mut subject).await.map(|_| subject)
        })
    };
    let online = |up: bool| {
        simulator.change(|datacenter| {
            datacenter.nodes.get_mut("pve1").expect("a node").online = up;
        });
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(count(&simulator, "POST /nodes/{node}/qemu/{vmid}/clone"), 1);
    online(false);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!making.is_finished(), "it waits for the node");
    online(true);
    let subject = making.await.expect("no panic").expect("ready");
    assert_eq!(ours(&simulator), [100]);
    assert_eq!(images(&simulator).len(), 1);
    assert!(subject.reasons.iter().any(|reason| reason.starts_with('!')));
}

#[tokio::test(start_paused = true)]
async fn without_quorum_nothing_is_given_up() {
    for begin in [0, 500, 2_500, 4_000] {
        let simulator = simulator();
        let world = Arc::new(World::on(&simulator));
        let making = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut subject = world.subject("m0", machine_spec());
                world.run(&mut subject).await.map(|_| subject)
            })
        };
        tokio::time::sleep(Duration::from_millis(begin)).await;
        simulator.change(|datacenter| datacenter.quorate = false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        simulator.change(|datacenter| datacenter.quorate = true);
        let mut subject = making.await.expect("no panic").expect("ready");
        assert_eq!(ours(&simulator), [100], "lost after {begin} ms");
        world.destroy(&mut subject).await.expect("gone");
        assert_eq!(images(&simulator), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_stolen_before_the_clone_costs_no_backoff() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    assert!(world.step(&mut subject, Waker::noop()).await.is_ok());
    simulator.change(|datacenter| {
        let mut guest = datacenter.guests[&9000].clone();
        guest.template = false;
        guest.config.insert("name".into(), "precious".into());
        datacenter.guests.insert(100, guest);
    });
    let started = tokio::time::Instant::now();
    world.run(&mut subject).await.expect("ready");
    assert_eq!(subject.object.spec.virtual_machine_id, Some(101));
    // One machine alone takes up to 11 s.
    assert!(started.elapsed() < Duration::from_secs(13));
}

#[tokio::test(start_paused = true)]
async fn what_the_storage_or_the_token_cannot_do_is_said_in_its_own_words() {
    let linked = ProxmoxMachineSpec {
        full: Some(false),
        ..machine_spec()
    };
    let pooled = ProxmoxMachineSpec {
        pool: Some("team-a".into()),
        ..machine_spec()
    };
    for (spec, words) in [
        (linked, "Linked clone feature is not supported"),
        (pooled, "/pool/team-a"),
    ] {
        let simulator = simulator();
        simulator.change(|datacenter| {
            datacenter
                .storages
                .get_mut("local-lvm")
                .expect("a storage")
                .linked_clones = false;
            let all = |privileges: &[&str]| -> BTreeSet<String> {
                privileges.iter().map(|one| (*one).to_owned()).collect()
            };
            let everything = all(&[
                "VM.Allocate",
                "VM.Audit",
                "VM.Clone",
                "VM.Config.CDROM",
                "VM.Config.CPU",
                "VM.Config.Cloudinit",
                "VM.Config.Disk",
                "VM.Config.HWType",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.Options",
                "VM.GuestAgent.Audit",
                "VM.Monitor",
                "VM.PowerMgmt",
                "Datastore.Allocate",
                "Datastore.AllocateSpace",
                "Datastore.AllocateTemplate",
                "Datastore.Audit",
                "SDN.Use",
                "Sys.Audit",
            ]);
            datacenter.tokens.insert(
                TOKEN.into(),
                Token {
                    secret: SECRET.into(),
                    privileges: Some(BTreeMap::from([
                        ("/".to_owned(), everything),
                        ("/pool/team-a".to_owned(), BTreeSet::new()),
                    ])),
                },
            );
        });
        let world = World::on(&simulator);
        let mut subject = world.subject("m0", spec);
        let mut said = Vec::new();
        for _ in 0..8 {
            match world.step(&mut subject, Waker::noop()).await {
                Ok(Progress::Ready(_)) => panic!("{words}: it cannot be"),
                Ok(Progress::Waiting(wait)) => said.push(wait.message.to_string()),
                Err(error) => {
                    assert_eq!(error.class(), ErrorClass::Transient, "{words}");
                    said.push(error.full_message());
                }
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        assert!(
            said.iter().any(|message| message.contains(words)),
            "{words}: {said:#?}"
        );
        assert_eq!(ours(&simulator), Vec::<u64>::new(), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn bootstrap_data_of_a_format_that_cannot_be_handed_over_is_refused_by_name() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    subject.format = Some("ignition".into());
    let error = world.run(&mut subject).await.expect_err("not handed over");
    assert_eq!(error.class(), ErrorClass::Invalid);
    assert!(error.full_message().contains("\"ignition\""));
    assert_eq!(count(&simulator, "POST /nodes/{node}/qemu/{vmid}/clone"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_template_without_a_uuid_gives_machines_that_have_one() {
    let simulator = simulator();
    simulator.change(|datacenter| {
        let template = datacenter.guests.get_mut(&9000).expect("a template");
        template
            .config
            .insert("smbios1".into(), "manufacturer=QWNtZQ==,base64=1".into());
        template.config.insert("tags".into(), "golden;talos".into());
    });
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    let (smbios, tags) = simulator.inspect(|datacenter| {
        let config = &datacenter.guests[&100].config;
        (config["smbios1"].clone(), config["tags"].clone())
    });
    let uid = subject.object.metadata.uid.clone().expect("a uid");
    assert!(smbios.contains(&format!("uuid={uid}")), "{smbios}");
    // What else the template said stays: the maker, and its tags beside ours.
    assert!(smbios.contains("manufacturer=QWNtZQ=="), "{smbios}");
    assert!(
        tags.split(';').any(|tag| tag == "golden")
            && tags.split(';').any(|tag| tag.starts_with("ip_net0_")),
        "{tags}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_never_cloned_is_gone_at_once() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.destroy(&mut subject).await.expect("nothing reserved");
    assert_eq!(simulator.log().len(), 0);
    assert!(world.step(&mut subject, Waker::noop()).await.is_ok());
    let started = tokio::time::Instant::now();
    world.destroy(&mut subject).await.expect("nothing cloned");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(
        simulator
            .log()
            .iter()
            .all(|call| call.method == Method::GET)
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_of_the_cluster_come_before_the_providers() {
    let simulator = simulator();
    let mut world = World::on(&simulator);
    let default = |provider: ProxmoxProvider| {
        provider.default_credentials(Credentials {
            urls: vec!["https://nowhere:8006".into()],
            token: TOKEN.into(),
            secret: "wrong".to_owned().into(),
            trust: TlsTrust::danger_accept_any(),
        })
    };
    world.provider = default(world.provider.clone());
    let made = world.provider.ensure_cluster(&world.cluster_cx()).await;
    assert!(matches!(made, Ok(Progress::Ready(_))));
    // Without a reference, the provider's are tried, which are wrong.
    world.restart();
    world.provider = default(world.provider.clone());
    world.cluster.spec.credentials_ref = None;
    let error = world
        .provider
        .ensure_cluster(&world.cluster_cx())
        .await
        .expect_err("a wrong secret");
    assert!(
        error.full_message().contains("401"),
        "{}",
        error.full_message()
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_linked_to_a_machine_keeps_only_its_template() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let linked = ProxmoxMachineSpec {
        full: Some(false),
        ..machine_spec()
    };
    let mut subject = world.subject("m0", linked);
    world.run(&mut subject).await.expect("ready");
    let volumes = |simulator: &Simulator| {
        simulator.inspect(|datacenter| {
            datacenter
                .volumes
                .values()
                .filter(|volume| volume.base.is_some())
                .count()
        })
    };
    assert_eq!(volumes(&simulator), 1);
    world.destroy(&mut subject).await.expect("gone");
    assert_eq!(volumes(&simulator), 0);
    assert!(simulator.inspect(|datacenter| datacenter.guests.contains_key(&9000)));
}

#[tokio::test(start_paused = true)]
async fn fifty_machines_that_go_at_once_leave_nothing_for_a_bounded_number_of_calls() {
    let simulator = simulator();
    let world = Arc::new(World::on(&simulator));
    let before = simulator.inspect(|datacenter| datacenter.volumes.len());
    simulator.change(|datacenter| {
        for node in datacenter.nodes.values_mut() {
            node.memory *= 16;
        }
    });
    let subjects = make(&world, 50).await;
    assert_eq!(ours(&simulator).len(), 50);
    simulator.forget_calls();
    let mut tasks = tokio::task::JoinSet::new();
    for mut subject in subjects {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.destroy(&mut subject).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").expect("gone");
    }
    assert_eq!(ours(&simulator), Vec::<u64>::new());
    assert_eq!(
        simulator.inspect(|datacenter| datacenter.volumes.len()),
        before
    );
    let calls = simulator.log().len();
    println!("fifty machines deleted: {calls} calls");
    assert!(calls <= 50 * 10, "{:#?}", simulator.calls());
}

#[tokio::test(start_paused = true)]
async fn machines_at_rest_cost_one_list_however_many_there_are() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut first = world.subject("m0", machine_spec());
    world.run(&mut first).await.expect("ready");
    // The rest are copies of the first, under other numbers and UUIDs.
    let mut subjects = vec![];
    for index in 0..1_000_u64 {
        let name = format!("copy{index}");
        let mut subject = world.subject(&name, first.object.spec.clone());
        let uid = format!("00000000-0000-4000-9000-{index:012x}");
        let vmid = 10_000 + index;
        subject.object.metadata.uid = Some(uid.clone());
        subject.object.status = first.object.status.clone();
        subject.object.spec.provider_id = Some(format!("proxmox://{uid}"));
        subject.object.spec.virtual_machine_id = Some(i64::try_from(vmid).expect("small"));
        simulator.change(|datacenter| {
            let mut guest = datacenter.guests[&100].clone();
            guest.config.insert("name".into(), name);
            guest.config.insert("smbios1".into(), format!("uuid={uid}"));
            guest.power = Power::Running;
            datacenter.guests.insert(vmid, guest);
        });
        subjects.push(subject);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    simulator.forget_calls();
    let started = tokio::time::Instant::now();
    for subject in &mut subjects {
        let seen = world.step(subject, Waker::noop()).await;
        assert!(matches!(seen, Ok(Progress::Ready(_))), "{:?}", seen.err());
    }
    let seconds = started.elapsed().as_secs() + 1;
    let calls = simulator.calls();
    assert!(
        calls.len() == 1 && calls["GET /cluster/resources"] <= seconds,
        "{calls:#?} in {seconds} s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_restarts_makes_no_task_twice() {
    let simulator = simulator();
    let mut world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    let mut ready = None;
    for _ in 0..40 {
        let turn = tokio::time::timeout(Duration::from_millis(1_500), world.run(&mut subject));
        if let Ok(ended) = turn.await {
            ready = Some(ended);
            break;
        }
        world.restart();
    }
    let ready = ready.expect("each process gets a little further");
    ready.expect("ready");
    assert_eq!(count(&simulator, "POST /nodes/{node}/qemu/{vmid}/clone"), 1);
    assert_eq!(
        count(&simulator, "POST /nodes/{node}/qemu/{vmid}/status/start"),
        1
    );
    assert_eq!((ours(&simulator).len(), images(&simulator).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn machines_of_equal_number_in_two_datacenters_have_images_of_other_names() {
    let mut names = BTreeSet::new();
    for name in ["a", "b"] {
        let simulator = simulator();
        let world = World::on(&simulator);
        let mut subject = world.subject(name, machine_spec());
        world.run(&mut subject).await.expect("ready");
        assert_eq!(subject.object.spec.virtual_machine_id, Some(100));
        names.extend(images(&simulator));
    }
    assert_eq!(names.len(), 2, "{names:?}");
}
