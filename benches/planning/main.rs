//! What decisions about many machines cost.
//!
//! * `event`: one machine of a set changes: fold it, plan the set. The goal is 1 us, whatever the
//!   size of the set.
//! * `rollout/tally`: plan a rollout whose machines are counted already.
//! * `rollout/rows`: survey rows once, and plan. The goal is 200 us for 10,000.
//! * `rollout/rebuilt`: make a tally of the rows, and plan.
//! * `rollout/encoded`: decode the objects, make rows of them, survey those, and plan.
//!
//! `cargo bench -p capi-benches --bench planning`
//!
//! Times are CPU time of the thread, so that other work on the machine counts little.

use std::{hint::black_box, time::Duration};

use capi_benches::cpu;
use capi_core::{
    api::{
        Condition, ConditionStatus, ContractVersionedObjectReference, MachineDeletionOrder,
        MachineNodeReference, MachineSetSpec, MachineSetStatus, MachineSpec, MachineStatus,
        finalizers, labels,
    },
    contract::{Metadata, Object, OwnerReference},
    plan::{
        machine_set::{self, MachineSetFacts},
        naming::Seed,
        rollout::{self, Deployment, MachineDeploymentFacts, SetFacts},
        row::{MachineRow, Reported, Symbols},
        survey::Survey,
        tally::{Census, Tally},
    },
};
use criterion::{
    BenchmarkId, Criterion, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use jiff::Timestamp;

/// CPU time in the place of wall time.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu()
    }

    fn end(&self, start: Duration) -> Duration {
        cpu().saturating_sub(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

type Machine = Object<MachineSpec, MachineStatus>;
type Set = Object<MachineSetSpec, MachineSetStatus>;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap_or_default()
}

fn condition(type_: &str, status: ConditionStatus, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status,
        reason: type_.to_owned(),
        message: message.to_owned(),
        ..Condition::default()
    }
}

/// A machine of a set in the middle of a rollout; one in ten is not ready.
fn machine(set: &str, index: usize) -> Machine {
    let mut machine = Machine::default();
    let name = format!("{set}-{:05x}", index.wrapping_mul(48_271) % 0xf_ffff);
    machine.metadata = Metadata {
        uid: format!("uid-{index}"),
        namespace: "default".to_owned(),
        creation_timestamp: now().into(),
        owner_references: vec![OwnerReference {
            api_version: "cluster.x-k8s.io/v1beta2".to_owned(),
            kind: "MachineSet".to_owned(),
            name: set.to_owned(),
            uid: set.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }],
        ..Metadata::default()
    };
    machine
        .metadata
        .labels
        .insert(labels::SET_NAME.to_owned(), set.to_owned());
    machine
        .metadata
        .labels
        .insert(labels::CLUSTER_NAME.to_owned(), "c".to_owned());
    machine.spec.version = Some("v1.35.0".to_owned());
    machine.status.node_ref = Some(MachineNodeReference { name: name.clone() });
    let (ready, message) = if index.is_multiple_of(10) {
        (
            ConditionStatus::False,
            "* NodeHealthy: Waiting for a Node to exist",
        )
    } else {
        (ConditionStatus::True, "")
    };
    machine.status.conditions = vec![
        condition("Available", ready, ""),
        condition("Ready", ready, message),
        condition(
            "UpToDate",
            ConditionStatus::False,
            "* Version v1.35.0, v1.36.0 required",
        ),
    ];
    machine.metadata.name = name;
    machine
}

fn set_object(name: &str, version: &str, replicas: usize) -> Set {
    let mut set = Set::default();
    set.metadata.name = name.to_owned();
    set.metadata.uid = name.to_owned();
    set.metadata.generation = 1;
    set.metadata.labels.insert(
        labels::MACHINE_TEMPLATE_HASH.to_owned(),
        format!("1-{name}"),
    );
    set.metadata
        .labels
        .insert(labels::DEPLOYMENT_NAME.to_owned(), "md".to_owned());
    set.metadata
        .labels
        .insert(labels::CLUSTER_NAME.to_owned(), "c".to_owned());
    set.metadata.finalizers = vec![finalizers::MACHINE_SET.to_owned()];
    set.spec.cluster_name = "c".to_owned();
    for labels in [
        &mut set.spec.selector.match_labels,
        &mut set.spec.template.metadata.labels,
    ] {
        labels.insert(labels::CLUSTER_NAME.to_owned(), "c".to_owned());
        labels.insert(
            labels::MACHINE_TEMPLATE_HASH.to_owned(),
            format!("1-{name}"),
        );
    }
    set.spec.replicas = i32::try_from(replicas).ok();
    set.spec.template.spec.cluster_name = "c".to_owned();
    set.spec.template.spec.version = Some(version.to_owned());
    set.spec.template.spec.infrastructure_ref = ContractVersionedObjectReference {
        kind: "FakeMachineTemplate".to_owned(),
        name: "t".to_owned(),
        api_group: "example.org".to_owned(),
    };
    set.status.replicas = set.spec.replicas;
    set.status.available_replicas = set.spec.replicas;
    set
}

fn set_facts(replicas: usize) -> MachineSetFacts {
    let object = set_object("md-old", "v1.35.0", replicas);
    MachineSetFacts {
        propagated: machine_set::propagated_fields(&object).fingerprint(),
        object,
        ..MachineSetFacts::default()
    }
}

/// A deployment whose template has a new version, with an old set of `replicas` machines.
fn deployment_facts(replicas: usize) -> MachineDeploymentFacts {
    let mut object = Deployment::default();
    object.metadata.name = "md".to_owned();
    object.metadata.uid = "md-uid".to_owned();
    object.metadata.generation = 2;
    let mut old = set_object("md-old", "v1.35.0", replicas);
    let mut new = set_object("md-new", "v1.36.0", 0);
    for set in [&mut old, &mut new] {
        set.metadata.owner_references = vec![OwnerReference {
            api_version: "cluster.x-k8s.io/v1beta2".to_owned(),
            kind: "MachineDeployment".to_owned(),
            name: "md".to_owned(),
            uid: "md-uid".to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }];
    }
    object.metadata.finalizers = vec![finalizers::MACHINE_DEPLOYMENT.to_owned()];
    object
        .metadata
        .labels
        .insert(labels::CLUSTER_NAME.to_owned(), "c".to_owned());
    object.spec.cluster_name = "c".to_owned();
    object.spec.replicas = i32::try_from(replicas).ok();
    object.spec.template = new.spec.template.clone();
    let key = labels::DEPLOYMENT_NAME.to_owned();
    object
        .spec
        .selector
        .match_labels
        .insert(key, "md".to_owned());
    let sets = [old, new]
        .map(|object| SetFacts {
            object,
            ..SetFacts::default()
        })
        .to_vec();
    MachineDeploymentFacts {
        object,
        sets,
        ..MachineDeploymentFacts::default()
    }
}

fn rows(machines: &[Machine], propagated: u64) -> (Symbols, Vec<MachineRow>) {
    let mut symbols = Symbols::default();
    let rows = machines
        .iter()
        .map(|m| MachineRow::of(&m.metadata, &m.spec, &m.status, propagated, &mut symbols))
        .collect();
    (symbols, rows)
}

fn tally(symbols: &Symbols, rows: &[MachineRow]) -> Tally {
    let order = MachineDeletionOrder::Random;
    let mut tally = Tally::with_symbols("md-old-", order, symbols.clone());
    tally.advance(now());
    for row in rows {
        tally.fold(*row);
    }
    tally
}

fn event(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("event");
    for size in SIZES {
        let mut facts = set_facts(size);
        let machines: Vec<Machine> = (0..size).map(|index| machine("md-old", index)).collect();
        let (symbols, rows) = rows(&machines, facts.propagated);
        let mut tally = tally(&symbols, &rows);
        let planned = machine_set::plan(&facts, &tally, now());
        let status = planned.status.unwrap_or_default();
        facts.object.status = status.onto(&facts.object, now());
        // A machine that comes up and goes down again; and one of which only the words change.
        let down = rows[size / 2 / 10 * 10];
        let mut up = down;
        up.ready.status = Reported::True;
        up.ready.message = capi_core::plan::row::Text::EMPTY;
        up.available = true;
        let mut other = down;
        other.ready.message = tally.symbols_mut().intern("* NodeHealthy: something else");
        for (name, changed) in [("up-and-down", up), ("message", other)] {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let mut turn = false;
                bencher.iter(|| {
                    turn = !turn;
                    tally.fold(if turn { changed } else { down });
                    black_box(machine_set::plan(&facts, &tally, now()))
                });
            });
        }
        group.bench_function(BenchmarkId::new("fold-only", size), |bencher| {
            let mut turn = false;
            bencher.iter(|| {
                turn = !turn;
                tally.fold(if turn { up } else { down });
            });
        });
        tally.fold(down);
        group.bench_function(BenchmarkId::new("plan-at-rest", size), |bencher| {
            bencher.iter(|| black_box(machine_set::plan(&facts, &tally, now())));
        });
    }
    group.finish();
}

fn roll_out(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("rollout");
    group.sample_size(20);
    for size in SIZES {
        let facts = deployment_facts(size);
        let machines: Vec<Machine> = (0..size).map(|index| machine("md-old", index)).collect();
        let (symbols, rows) = rows(&machines, 0);
        let plan = |census: &dyn Census| rollout::plan(&facts, census, Seed::new(1), now());

        let kept = tally(&symbols, &rows);
        group.bench_function(BenchmarkId::new("tally", size), |bencher| {
            bencher.iter(|| black_box(plan(&kept)));
        });
        group.bench_function(BenchmarkId::new("rows", size), |bencher| {
            bencher.iter(|| black_box(plan(&Survey::of(&symbols, &rows, now()))));
        });
        group.bench_function(BenchmarkId::new("rebuilt", size), |bencher| {
            bencher.iter(|| black_box(plan(&tally(&symbols, &rows))));
        });
        let encoded: Vec<Vec<u8>> = machines
            .iter()
            .map(|machine| serde_json::to_vec(machine).unwrap_or_default())
            .collect();
        group.bench_function(BenchmarkId::new("encoded", size), |bencher| {
            bencher.iter(|| {
                let mut symbols = Symbols::default();
                let mut rows = Vec::with_capacity(encoded.len());
                for bytes in &encoded {
                    if let Ok(m) = serde_json::from_slice::<Machine>(bytes) {
                        let (meta, spec, status) = (&m.metadata, &m.spec, &m.status);
                        rows.push(MachineRow::of(meta, spec, status, 0, &mut symbols));
                    }
                }
                black_box(plan(&Survey::of(&symbols, &rows, now())))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = event, roll_out
}
criterion_main!(benches);
