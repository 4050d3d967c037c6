//! The provider when things go wrong: crashes, lost replies, failing tasks, strangers.

use std::sync::Arc;
use std::time::Duration;

use capi_core::provider::Waker;
use capi_provider_proxmox::api::ProxmoxMachineSpec;
use capi_provider_proxmox::simulator::{Fault, Outcome, Power};
use http::Method;

use crate::harness::{World, machine_spec, simulator};
use crate::provider::{disk, images, ours};

#[tokio::test(start_paused = true)]
async fn after_a_crash_between_any_two_calls_there_is_one_machine_in_the_end() {
    // The provider is dropped after each number of calls, in the middle of whatever it does.
    for crash_after in 0..16 {
        let simulator = simulator();
        let mut world = World::on(&simulator);
        let mut subject = world.subject(
            "m0",
            ProxmoxMachineSpec {
                disks: disk(20),
                ..machine_spec()
            },
        );
        let watch = simulator.clone();
        let reached = async move {
            while watch.log().len() < crash_after {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let finished = tokio::select! {
            biased;
            ended = world.run(&mut subject) => { ended.expect("ready"); true }
            () = reached => false,
        };
        if !finished {
            println!("crash after {crash_after}");
            world.restart();
            world.run(&mut subject).await.unwrap_or_else(|error| {
                panic!("after {crash_after} calls: {}", error.full_message())
            });
        }
        assert_eq!(ours(&simulator), [100], "after {crash_after} calls");
        assert_eq!(images(&simulator).len(), 1, "after {crash_after} calls");
        assert_eq!(
            simulator.inspect(|datacenter| datacenter.guests[&100].power),
            Power::Running
        );
        world.destroy(&mut subject).await.expect("gone");
        assert_eq!(
            (ours(&simulator), images(&simulator)),
            (vec![], vec![]),
            "after {crash_after} calls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_may_fail_or_lose_its_reply_and_one_machine_comes_of_it() {
    for outcome in [
        Outcome::DropBefore,
        Outcome::DropAfter,
        Outcome::Status(500, "got timeout".into()),
        Outcome::Status(595, String::new()),
        Outcome::HtmlPage,
    ] {
        for nth in 0..14 {
            let simulator = simulator();
            let world = World::on(&simulator);
            let any = Fault {
                method: None,
                path: "*".into(),
                after: nth,
                times: 1,
                outcome: outcome.clone(),
            };
            simulator.fault(any);
            let mut subject = world.subject(
                "m0",
                ProxmoxMachineSpec {
                    disks: disk(20),
                    ..machine_spec()
                },
            );
            let ended = world.run(&mut subject).await;
            ended.unwrap_or_else(|error| panic!("{outcome:?} at {nth}: {}", error.full_message()));
            assert_eq!(ours(&simulator).len(), 1, "{outcome:?} at {nth}");
            assert_eq!(images(&simulator).len(), 1, "{outcome:?} at {nth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_begun_again() {
    let rows = [
        ("*/clone", "clone failed: got lock timeout"),
        ("*/start", "start failed: QEMU exited with code 1"),
        ("*/upload", "no such device"),
    ];
    for (path, text) in rows {
        let simulator = simulator();
        let world = World::on(&simulator);
        simulator.fault(Fault::once(
            Method::POST,
            path,
            Outcome::TaskFails(text.into()),
        ));
        let mut subject = world.subject("m0", machine_spec());
        world
            .run(&mut subject)
            .await
            .unwrap_or_else(|error| panic!("{path}: {}", error.full_message()));
        assert!(
            subject.reasons.iter().any(|reason| reason.starts_with('!')),
            "{path}: {:?}",
            subject.reasons
        );
        assert_eq!(ours(&simulator).len(), 1, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_machine_under_the_number_is_never_touched() {
    let simulator = simulator();
    let world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    assert!(world.step(&mut subject, Waker::noop()).await.is_ok());
    assert_eq!(subject.object.spec.virtual_machine_id, Some(100));
    // Somebody takes the number between the reservation and the clone.
    let foreign = simulator.change(|datacenter| {
        let mut guest = datacenter.guests[&9000].clone();
        guest.template = false;
        guest.power = Power::Running;
        guest.config.insert("name".into(), "precious".into());
        datacenter.guests.insert(100, guest.clone());
        guest.config
    });
    world
        .run(&mut subject)
        .await
        .expect("ready under another number");
    assert_eq!(subject.object.spec.virtual_machine_id, Some(101));
    world.destroy(&mut subject).await.expect("gone");
    assert_eq!(ours(&simulator), [100]);
    let guest = simulator.inspect(|datacenter| datacenter.guests[&100].clone());
    assert_eq!((guest.config, guest.power), (foreign, Power::Running));
    let touched = simulator
        .log()
        .into_iter()
        .filter(|call| call.path.contains("/qemu/100"));
    assert!(
        touched.into_iter().all(|call| call.method == Method::GET),
        "{:#?}",
        simulator.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn a_number_that_became_somebody_elses_is_not_destroyed() {
    let simulator = simulator();
    let mut world = World::on(&simulator);
    let mut subject = world.subject("m0", machine_spec());
    world.run(&mut subject).await.expect("ready");
    // Ours was deleted by hand, and its number given to somebody else, with the same name even.
    simulator.change(|datacenter| {
        let guest = datacenter.guests.get_mut(&100).expect("there");
        guest.config.insert(
            "smbios1".into(),
            "uuid=99999999-9999-4999-8999-999999999999".into(),
        );
        guest.config.insert("description".into(), "precious".into());
    });
    world.restart();
    world
        .destroy(&mut subject)
        .await
        .expect("nothing of ours is there");
    assert_eq!(ours(&simulator), [100]);
    assert_eq!(
        simulator.inspect(|datacenter| datacenter.guests[&100].power),
        Power::Running
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_deleted_while_it_is_cloned_leaves_nothing() {
    for after in [100, 160, 1_000, 2_100, 2_300, 3_000, 5_000] {
        let simulator = simulator();
        let mut world = World::on(&simulator);
        let mut subject = world.subject("m0", machine_spec());
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(after)) => {}
            ended = world.run(&mut subject) => panic!("{:?}", ended.is_ok()),
        }
        world.restart();
        world.destroy(&mut subject).await.expect("gone");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            (ours(&simulator), images(&simulator)),
            (vec![], vec![]),
            "after {after} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn clones_slow_down_when_the_storage_cannot_bear_them() {
    let simulator = simulator();
    simulator.change(|datacenter| {
        datacenter
            .storages
            .get_mut("local-lvm")
            .expect("there")
            .full_clones_at_once = Some(1);
    });
    let world = Arc::new(World::on(&simulator));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..6 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            world
                .run(&mut world.subject(&format!("m{index}"), machine_spec()))
                .await
                .map(drop)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").expect("ready");
    }
    let clones = simulator.calls()["POST /nodes/{node}/qemu/{vmid}/clone"];
    assert_eq!(ours(&simulator).len(), 6);
    assert!(clones <= 20, "{clones}");
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn random_fault(random: &mut Random) -> Fault {
    let outcome = match random.below(8) {
        0 => Outcome::DropBefore,
        1 => Outcome::DropAfter,
        2 => Outcome::Status(500, "got timeout".into()),
        3 => Outcome::Status(595, String::new()),
        4 => Outcome::Delay(Duration::from_secs(1 + random.below(60))),
        5 => Outcome::TaskFails("clone failed: got lock timeout".into()),
        6 => Outcome::TaskVanishes,
        _ => Outcome::TaskWarns(2),
    };
    let after = u32::try_from(random.below(90)).expect("small");
    Fault {
        method: None,
        path: "*".into(),
        after,
        times: 1,
        outcome,
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_each_machine_is_made_once_and_nothing_is_left_of_it() {
    for seed in (0..30).chain([1021]) {
        let mut random = Random(seed);
        let simulator = simulator();
        simulator.change(|datacenter| {
            let mut foreign = datacenter.guests[&9000].clone();
            foreign.template = false;
            foreign.config.insert("name".into(), "foreign".into());
            datacenter.guests.insert(102, foreign);
        });
        for _ in 0..15 {
            simulator.fault(random_fault(&mut random));
        }
        let world = Arc::new(World::on(&simulator));
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..5 {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                let mut subject = world.subject(&format!("m{index}"), machine_spec());
                world.run(&mut subject).await.map(|_| subject)
            });
        }
        let mut subjects = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.expect("no panic");
            subjects.push(
                ended.unwrap_or_else(|error| panic!("seed {seed}: {}", error.full_message())),
            );
        }
        assert_eq!(ours(&simulator).len(), 6, "seed {seed}");
        for _ in 0..10 {
            simulator.fault(random_fault(&mut random));
        }
        for subject in &mut subjects {
            world
                .destroy(subject)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {}", error.full_message()));
        }
        simulator.clear_faults();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ours(&simulator), [102], "seed {seed}");
        assert_eq!(images(&simulator), Vec::<String>::new(), "seed {seed}");
    }
}
