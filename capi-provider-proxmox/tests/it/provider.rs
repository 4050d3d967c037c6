//! The provider on the simulated datacenter, in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use capi_core::api::{Condition, ConditionStatus};
use capi_core::provider::{ErrorClass, Infrastructure, Progress, Waker};
use capi_provider_proxmox::api::{
    DiskSize, Disks, MatchPolicy, ProxmoxMachineSpec, TemplateSelector, VmIdRange,
};
use capi_provider_proxmox::iso::NoCloud;
use capi_provider_proxmox::simulator::{CloudInit, Fault, Outcome, Power, Simulator, Token};
use http::Method;

use crate::harness::{SECRET, Subject, TOKEN, World, machine_spec, simulator};

fn total(simulator: &Simulator) -> usize {
    simulator.log().len()
}

/// The machine's own numbers, without the templates'.
pub(crate) fn ours(simulator: &Simulator) -> Vec<u64> {
    simulator.inspect(|datacenter| {
        datacenter
            .guests
            .iter()
            .filter(|(_, guest)| !guest.template)
            .map(|(vmid, _)| *vmid)
            .collect()
    })
}

pub(crate) fn images(simulator: &Simulator) -> Vec<String> {
    simulator.inspect(|datacenter| {
        datacenter
            .volumes
            .values()
            .map(|volume| volume.id.clone())
            .filter(|id| id.ends_with(".iso"))
            .collect()
    })
}

fn config(simulator: &Simulator, vmid: u64, key: &str) -> String {
    simulator.inspect(|datacenter| {
        datacenter.guests[&vmid]
            .config
            .get(key)
            .cloned()
            .unwrap_or_default()
    })
}

fn spread_spec() -> ProxmoxMachineSpec {
    let selector = TemplateSelector {
        match_tags: vec!["talos".into(), "template".into()],
        match_policy: Some(MatchPolicy::Exact),
    };
    ProxmoxMachineSpec {
        source_node: None,
        template_id: None,
        template_selector: Some(selector),
        ..machine_spec()
    }
}

pub(crate) fn disk(size_gb: i32) -> Option<Disks> {
    Some(Disks {
        boot_volume: Some(DiskSize {
            disk: "scsi0".into(),
            size_gb,
        }),
    })
}

#[tokio::test(start_paused = true)]
async fn one_machine_takes_at_most_fourteen_calls_and_eleven_seconds() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject(
        "m0",
        ProxmoxMachineSpec {
            disks: disk(20),
            tags: vec!["team-a".into()],
            ..machine_spec()
        },
    );
    let started = tokio::time::Instant::now();
    let facts = world.run(&mut subject).await.expect("ready");
    let took = started.elapsed();
    println!("one machine: {took:?}, {} calls", total(&simulator));
    for (endpoint, count) in simulator.calls() {
        println!("  {count} {endpoint}");
    }
    assert!(took <= Duration::from_secs(11), "{took:?}");
    assert!(total(&simulator) <= 14, "{:#?}", simulator.log());

    let addresses: Vec<_> = facts
        .addresses
        .iter()
        .map(|address| address.address.as_str())
        .collect();
    assert_eq!(addresses, ["m0", "10.77.0.10"]);
    assert_eq!(subject.object.status.proxmox_node.as_deref(), Some("pve1"));
    let nets: Vec<_> = subject
        .object
        .status
        .ip_addresses
        .iter()
        .map(|entry| (entry.net.as_str(), entry.ipv4[0].as_str()))
        .collect();
    assert_eq!(nets, [("default", "10.77.0.10"), ("net0", "10.77.0.10")]);
    let uid = subject.object.metadata.uid.clone().expect("a uid");
    assert_eq!(
        subject.object.spec.provider_id,
        Some(format!("proxmox://{uid}"))
    );
    assert_eq!(config(&simulator, 100, "smbios1"), format!("uuid={uid}"));
    assert_eq!(
        (
            config(&simulator, 100, "cores").as_str(),
            config(&simulator, 100, "memory").as_str()
        ),
        ("4", "4096")
    );
    assert!(config(&simulator, 100, "net0").ends_with(",bridge=vmbr1,firewall=1"));
    assert!(config(&simulator, 100, "scsi0").ends_with("size=20G"));
    assert_eq!(
        config(&simulator, 100, "tags"),
        "go-proxmox+cloud-init;ip_net0_10.77.0.10;talos;team-a;template"
    );
    assert_eq!(config(&simulator, 100, "boot"), "order=scsi0;net0;ide0");
    assert_eq!(
        simulator.inspect(|datacenter| datacenter.guests[&100].power),
        Power::Running
    );

    let content = simulator.inspect(|datacenter| {
        datacenter
            .volumes
            .values()
            .find(|volume| volume.id.ends_with(".iso"))
            .expect("one")
            .content
            .clone()
    });
    let volume = NoCloud::read(&content)
        .expect("readable")
        .expect("labelled");
    assert_eq!(volume.user_data, subject.data);
    assert_eq!(
        volume.meta_data,
        format!(
            "instance-id: {uid}\nlocal-hostname: m0\nhostname: m0\nprovider-id: proxmox://{uid}\nkubernetes-version: v1.34.0\n"
        )
    );
    let network = volume.network_config.expect("a network");
    assert!(
        network.contains("'10.77.0.10/24'")
            && network.contains("via: '10.77.0.1'")
            && network.contains("metric: 100"),
        "{network}"
    );
}

#[tokio::test(start_paused = true)]
async fn ten_machines_on_three_nodes_take_at_most_sixteen_seconds() {
    let simulator = simulator();
    let world = Arc::new(World::on(&simulator));
    let started = tokio::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..10 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let mut subject = world.subject(&format!("m{index}"), spread_spec());
            world.run(&mut subject).await.map(|_| subject)
        });
    }
    let mut subjects = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        subjects.push(ended.expect("no panic").expect("ready"));
    }
    let took = started.elapsed();
    let each = total(&simulator) as f64 / 10.0;
    println!("ten machines: {took:?}, {each:.1} calls each");
    assert!(took <= Duration::from_secs(16), "{took:?}");
    assert!(each <= 14.0, "{each}: {:#?}", simulator.calls());
    let numbers: BTreeSet<_> = subjects
        .iter()
        .map(|subject| subject.object.spec.virtual_machine_id)
        .collect();
    assert_eq!(numbers.len(), 10);
    let mut on_nodes = simulator.inspect(|datacenter| {
        ["pve1", "pve2", "pve3"].map(|node| {
            datacenter
                .guests
                .values()
                .filter(|guest| !guest.template && guest.node == node)
                .count()
        })
    });
    on_nodes.sort_unstable();
    assert_eq!(on_nodes, [3, 3, 4]);

    let started = tokio::time::Instant::now();
    simulator.forget_calls();
    let mut tasks = tokio::task::JoinSet::new();
    for mut subject in subjects {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.destroy(&mut subject).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").expect("gone");
    }
    println!(
        "ten deleted: {:?}, {:.1} calls each",
        started.elapsed(),
        total(&simulator) as f64 / 10.0
    );
    assert_eq!((ours(&simulator), images(&simulator)), (vec![], vec![]));
    assert!(total(&simulator) <= 60, "{:#?}", simulator.calls());
}

#[tokio::test(start_paused = true)]
async fn a_ready_machine_costs_one_list_for_all_of_them_and_nothing_is_changed() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subjects = Vec::new();
    for name in ["m0", "m1"] {
        let mut subject = world.subject(name, machine_spec());
        world.run(&mut subject).await.expect("ready");
        subjects.push(subject);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    simulator.forget_calls();
    for subject in &mut subjects {
        let before = subject.object.clone();
        assert!(matches!(
            world.step(subject, Waker::noop()).await,
            Ok(Progress::Ready(_))
        ));
        assert_eq!(subject.object, before);
    }
    assert_eq!(
        simulator.calls().into_iter().collect::<Vec<_>>(),
        [("GET /cluster/resources".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn the_image_goes_when_the_machine_is_available_in_at_most_four_calls() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    subject.machine.status.node_ref = Some(Default::default());
    let mut available = Condition {
        type_: "Available".into(),
        ..Condition::default()
    };
    available.status = ConditionStatus::True;
    subject.machine.status.conditions.push(available);
    tokio::time::sleep(Duration::from_secs(60)).await;
    simulator.forget_calls();
    let _ = world
        .step(&mut subject, Waker::noop())
        .await
        .expect("ready");
    assert!(total(&simulator) <= 4, "{:#?}", simulator.calls());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(images(&simulator), Vec::<String>::new());
    assert!(config(&simulator, 100, "ide0").starts_with("none"));
    assert!(!config(&simulator, 100, "tags").contains("cloud-init"));
    simulator.forget_calls();
    let _ = world
        .step(&mut subject, Waker::noop())
        .await
        .expect("ready");
    assert_eq!(total(&simulator), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_ready_and_is_gone_is_not_made_again() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    simulator.change(|datacenter| {
        datacenter.guests.get_mut(&100).expect("there").power = Power::Stopped;
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let Ok(Progress::Waiting(wait)) = world.step(&mut subject, Waker::noop()).await else {
        panic!("it is off")
    };
    assert_eq!(&*wait.reason, "VirtualMachineStopped");
    simulator.change(|datacenter| datacenter.guests.remove(&100));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let error = world
        .step(&mut subject, Waker::noop())
        .await
        .expect_err("it is gone");
    assert_eq!(error.class(), ErrorClass::Terminal);
    assert_eq!(ours(&simulator), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_moved_is_found_and_destroyed_where_it_is() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    simulator
        .change(|datacenter| datacenter.guests.get_mut(&100).expect("there").node = "pve3".into());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _ = world
        .step(&mut subject, Waker::noop())
        .await
        .expect("still ready");
    assert_eq!(subject.object.status.proxmox_node.as_deref(), Some("pve3"));
    simulator
        .change(|datacenter| datacenter.guests.get_mut(&100).expect("there").node = "pve2".into());
    world.destroy(&mut subject).await.expect("gone");
    assert_eq!(ours(&simulator), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn deletion_waits_for_locks_protection_and_nodes() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    let change = |at: u64, change: fn(&mut capi_provider_proxmox::simulator::Datacenter)| {
        let simulator = simulator.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(at)).await;
            simulator.change(change);
        })
    };
    simulator.change(|datacenter| {
        datacenter.nodes.get_mut("pve1").expect("there").online = false;
        let guest = datacenter.guests.get_mut(&100).expect("there");
        guest.lock = Some("backup".into());
        guest.config.insert("protection".into(), "1".into());
        guest.high_availability = true;
    });
    change(15, |datacenter| {
        datacenter.nodes.get_mut("pve1").expect("there").online = true;
    });
    change(60, |datacenter| {
        datacenter.guests.get_mut(&100).expect("there").lock = None;
    });
    change(100, |datacenter| {
        drop(
            datacenter
                .guests
                .get_mut(&100)
                .expect("there")
                .config
                .remove("protection"),
        );
    });
    subject.reasons.clear();
    world.destroy(&mut subject).await.expect("gone");
    let said = subject.reasons.join("\n");
    for text in ["node pve1 does not answer", "locked (backup)", "protected"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert_eq!(ours(&simulator), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_waited_for_with_a_message_and_goes_on_by_itself() {
    type Change = fn(&Simulator, &World);
    let rows: [(&str, Change, Change); 5] = [
        (
            "there is no VM template 9000",
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.guests.get_mut(&9000).expect("there").template = false;
                });
            },
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.guests.get_mut(&9000).expect("there").template = true;
                });
            },
        ),
        (
            "MiB of memory left",
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.nodes.get_mut("pve1").expect("there").memory = 1 << 30;
                });
            },
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.nodes.get_mut("pve1").expect("there").memory = 1 << 36;
                });
            },
        ),
        (
            "no active storage that may hold ISO images",
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.storages.get_mut("local").expect("there").active = false;
                });
            },
            |simulator, _| {
                simulator.change(|datacenter| {
                    datacenter.storages.get_mut("local").expect("there").active = true;
                });
            },
        ),
        (
            "has no address left",
            |_, world| *world.plane.exhausted.lock().expect("not poisoned") = true,
            |_, world| *world.plane.exhausted.lock().expect("not poisoned") = false,
        ),
        (
            "Secret ns/creds, which does not exist",
            |_, world| {
                let mut secrets = world.plane.secrets.lock().expect("not poisoned");
                let secret = secrets.remove("ns/creds").expect("there");
                secrets.insert("ns/hidden".into(), secret);
            },
            |_, world| {
                let mut secrets = world.plane.secrets.lock().expect("not poisoned");
                let secret = secrets.remove("ns/hidden").expect("there");
                secrets.insert("ns/creds".into(), secret);
            },
        ),
    ];
    for (text, take, give) in rows {
        let simulator = simulator();
        let world = Arc::new(World::on(&simulator));
        take(&simulator, &world);
        let mut subject = world.subject("m0", machine_spec());
        let mut said = String::new();
        for _ in 0..20 {
            match world.step(&mut subject, Waker::noop()).await {
                Ok(Progress::Ready(_)) => panic!("{text}: it is ready"),
                Ok(Progress::Waiting(wait)) => said = wait.message,
                Err(error) => said = error.full_message(),
            }
            if said.contains(text) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(said.contains(text), "{text:?} in {said:?}");
        give(&simulator, &world);
        world
            .run(&mut subject)
            .await
            .unwrap_or_else(|error| panic!("{text}: {}", error.full_message()));
    }
}

#[tokio::test(start_paused = true)]
async fn privileges_tokens_and_servers_that_are_wrong_are_said_in_proxmox_words() {
    let simulator = simulator();
    simulator.change(|datacenter| {
        let held = ["VM.Audit", "Sys.Audit", "Datastore.Audit"]
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
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    let _ = world
        .step(&mut subject, Waker::noop())
        .await
        .expect("reserved");
    let error = world
        .step(&mut subject, Waker::noop())
        .await
        .expect_err("not allowed")
        .full_message();
    assert!(
        error.contains("the API token lacks a privilege")
            && error.contains("Permission check failed (/vms/9000, VM.Clone)"),
        "{error}"
    );
    assert!(!error.contains(SECRET));

    let wrong = World::through(
        Some(Arc::new(simulator.clone())),
        "https://pve1:8006",
        "wr0ng",
        simulator.clock().clone(),
    );
    let error = wrong
        .provider
        .ensure_cluster(&wrong.cluster_cx())
        .await
        .expect_err("not accepted");
    assert!(
        error
            .full_message()
            .contains("does not accept the API token"),
        "{}",
        error.full_message()
    );
    assert_eq!(error.reason(), "ProxmoxUnreachable");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_has_its_pools_before_its_machines() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let Ok(Progress::Ready(facts)) = world.provider.ensure_cluster(&world.cluster_cx()).await
    else {
        panic!("it is ready")
    };
    assert_eq!(
        facts.control_plane_endpoint.expect("an endpoint").host,
        "10.77.0.250"
    );
    assert_eq!(
        facts.status["inClusterIPPoolRef"],
        serde_json::json!([{"name": "c-v4-icip"}])
    );
    assert_eq!(
        world
            .plane
            .pools
            .lock()
            .expect("not poisoned")
            .keys()
            .collect::<Vec<_>>(),
        ["c-v4-icip"]
    );
}

#[tokio::test(start_paused = true)]
async fn cloud_init_is_waited_for_unless_it_is_skipped_or_the_guest_is_talos() {
    let run = |state: CloudInit, data: &'static [u8]| async move {
        let simulator = simulator();
        simulator.change(|datacenter| {
            datacenter
                .guests
                .get_mut(&9000)
                .expect("there")
                .behaviour
                .cloud_init = state;
        });
        let world = World::on(&simulator);
        let mut subject = world.subject(
            "m0",
            ProxmoxMachineSpec {
                checks: None,
                ..machine_spec()
            },
        );
        subject.data = data.to_vec();
        let later = simulator.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(30)).await;
            later.change(|datacenter| {
                for guest in datacenter
                    .guests
                    .values_mut()
                    .filter(|guest| guest.behaviour.cloud_init == CloudInit::Running)
                {
                    guest.behaviour.cloud_init = CloudInit::Done;
                }
            });
        });
        let result = world
            .run(&mut subject)
            .await
            .map_err(|error| (error.class(), error.full_message()));
        (result.map(|_| ()), subject.reasons)
    };
    let cloud_config = b"#cloud-config\n";
    for state in [CloudInit::Done, CloudInit::Degraded] {
        assert_eq!(run(state, cloud_config).await.0, Ok(()));
    }
    let (result, reasons) = run(CloudInit::Running, cloud_config).await;
    assert!(
        result.is_ok() && reasons.iter().any(|reason| reason == "WaitingForCloudInit"),
        "{reasons:?}"
    );
    let (class, message) = run(CloudInit::Failed, cloud_config)
        .await
        .0
        .expect_err("it failed");
    assert!(
        class == ErrorClass::Terminal && message.contains("code 1: status: error"),
        "{message}"
    );
    assert_eq!(
        run(CloudInit::Failed, crate::harness::TALOS).await.0,
        Ok(())
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_agent_a_machine_is_ready_when_it_is_on() {
    let simulator = simulator();
    simulator.change(|datacenter| {
        datacenter
            .guests
            .get_mut(&9000)
            .expect("there")
            .behaviour
            .without_agent = true;
    });
    let world = World::on(&simulator);
    let mut spec = machine_spec();
    spec.checks = Some(capi_provider_proxmox::api::Checks {
        skip_qemu_guest_agent: Some(true),
        skip_cloud_init_status: Some(true),
    });
    let started = tokio::time::Instant::now();
    world
        .run(&mut world.subject("m0", spec))
        .await
        .expect("ready");
    assert!(
        started.elapsed() <= Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    let mut waiting = world.subject("m1", machine_spec());
    let ended = tokio::time::timeout(Duration::from_secs(120), world.run(&mut waiting)).await;
    assert!(ended.is_err(), "its agent never answers");
}

#[tokio::test(start_paused = true)]
async fn numbers_come_from_the_range_and_a_full_range_is_waited_for() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let spec = ProxmoxMachineSpec {
        vm_id_range: Some(VmIdRange {
            start: 8999,
            end: 9003,
        }),
        ..machine_spec()
    };
    let mut subjects: Vec<Subject> = (0..3)
        .map(|index| world.subject(&format!("m{index}"), spec.clone()))
        .collect();
    let mut numbers = Vec::new();
    for subject in &mut subjects[..2] {
        world.run(subject).await.expect("ready");
        numbers.push(subject.object.spec.virtual_machine_id.expect("a number"));
    }
    assert_eq!(numbers, [8999, 9003]);
    let Ok(Progress::Waiting(wait)) = world.step(&mut subjects[2], Waker::noop()).await else {
        panic!("the range is full")
    };
    assert!(
        wait.message
            .contains("every number from 8999 to 9003 is taken"),
        "{}",
        wait.message
    );
    world.destroy(&mut subjects[0]).await.expect("gone");
    world.run(&mut subjects[2]).await.expect("ready");
    assert_eq!(subjects[2].object.spec.virtual_machine_id, Some(8999));
}

/// Keeps all that is logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_a_log_at_trace_level_or_in_an_error() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let clock = capi_core::clock::Clock::system();
    let mut datacenter = capi_provider_proxmox::simulator::Datacenter::example(1, 3);
    datacenter.add_token(TOKEN, SECRET);
    datacenter.latencies = capi_provider_proxmox::simulator::Latencies::INSTANT;
    let simulator = Simulator::new(datacenter, clock.clone());
    let server = simulator.serve(0).await.expect("served");
    simulator.fault(Fault::once(
        Method::POST,
        "*/upload",
        Outcome::Status(500, "no".into()),
    ));
    let world = World::through(None, &server.url(), SECRET, clock);
    let spec = ProxmoxMachineSpec {
        checks: Some(capi_provider_proxmox::api::Checks {
            skip_qemu_guest_agent: Some(true),
            skip_cloud_init_status: Some(true),
        }),
        ..machine_spec()
    };
    let mut subject = world.subject("m0", spec);
    subject.data = b"version: v1alpha1 # b00tstrap-s3cret\n".to_vec();
    world.run(&mut subject).await.expect("ready");
    let wrong = World::through(
        None,
        &server.url(),
        "another-s3cret",
        simulator.clock().clone(),
    );
    let error = wrong
        .provider
        .ensure_cluster(&wrong.cluster_cx())
        .await
        .expect_err("not accepted");
    drop(guard);
    let bytes = log.0.lock().expect("not poisoned").clone();
    let text = format!(
        "{}\n{error:?}\n{:?}\n{simulator:?}\n{:?}",
        String::from_utf8_lossy(&bytes),
        world.provider,
        subject.reasons
    );
    assert!(
        text.contains("call to Proxmox VE"),
        "it logs at trace level"
    );
    for secret in [SECRET, "another-s3cret", "b00tstrap-s3cret"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
