//! A tally kept by events, against one made anew and against the list of machines.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::world::at;
use crate::{
    api::{Condition, ConditionStatus, MachineDeletionOrder, Time},
    plan::{
        condition::{Aggregate, MergeStrategy, Owner, Reasons, Reported as ReportedObject},
        row::{Delays, MachineRow, Observed, Remediation, Reported, Symbols},
        survey::Survey,
        tally::{Census, Tally},
    },
};

/// A machine in words, from which rows are made.
#[derive(Clone, Debug)]
struct Fake {
    name: String,
    created: i64,
    deleting: Option<i64>,
    drain_started: Option<i64>,
    delays: u8,
    ready: (Reported, &'static str),
    up_to_date: (Reported, &'static str),
    owner_remediated: (Reported, &'static str),
    health_check: Reported,
    bits: u8,
    /// Further bits: moved here, asked to be remediated first, of which set.
    more: u8,
    propagated: u64,
}

impl Fake {
    fn row(&self, symbols: &mut Symbols) -> MachineRow {
        let mut row = MachineRow::named(symbols.intern_name(&self.name), self.created);
        let mut observed = |(status, message): (Reported, &str)| Observed {
            status,
            message: symbols.intern(message),
        };
        row.ready = observed(self.ready);
        row.up_to_date = observed(self.up_to_date);
        row.owner_remediated = observed(self.owner_remediated);
        row.version = symbols.intern(if self.bits & 1 == 0 {
            "v1.35.0"
        } else {
            "v1.36.0"
        });
        row.deleting = self.deleting;
        row.drain_started = self.drain_started;
        row.delays = Delays(self.delays);
        row.health_check = self.health_check;
        row.remediation = if self.bits & 2 == 0 {
            Remediation::Other
        } else {
            Remediation::MachineDeleting
        };
        row.available = self.bits & 4 != 0;
        row.node_unhealthy = self.bits & 8 != 0;
        row.has_node = self.bits & 16 != 0;
        row.delete_first = self.bits & 32 != 0;
        row.updating = self.bits & 64 != 0;
        row.control_plane = self.bits & 128 != 0;
        row.pending_acknowledge = self.more & 1 != 0;
        row.remediate_first = self.more & 2 != 0;
        row.set = symbols.intern(["", "md-a", "md-b"][usize::from(self.more >> 2) % 3]);
        row.propagated = self.propagated;
        row
    }
}

fn status() -> impl Strategy<Value = Reported> {
    prop_oneof![
        Just(Reported::Absent),
        Just(Reported::True),
        Just(Reported::False),
        Just(Reported::Unknown)
    ]
}

/// A condition; unless `mixed`, no message goes with two statuses.
fn observed(mixed: bool) -> impl Strategy<Value = (Reported, &'static str)> {
    let message = prop_oneof![
        Just(""),
        Just("one"),
        Just("* two\n* three"),
        Just("four"),
        Just("five")
    ];
    (status(), message).prop_map(move |(status, message)| match status {
        Reported::Absent => (status, ""),
        Reported::Unknown if !mixed => (status, if message.len() > 3 { "six" } else { "seven" }),
        _ => (status, message),
    })
}

fn fake(mixed: bool) -> impl Strategy<Value = Fake> {
    let name = prop_oneof!["md-[a-c]{1,2}", "md-samelongprefix[a-c]{1,2}", "[a-z]{1,3}",];
    let second = -2000_i64..2000;
    (
        (
            name,
            second.clone(),
            proptest::option::of(second.clone()),
            proptest::option::of(second),
        ),
        (
            0_u8..16,
            observed(mixed),
            observed(mixed),
            observed(mixed),
            status(),
            any::<u8>(),
            0_u8..12,
            0_u64..3,
        ),
    )
        .prop_map(|((name, created, deleting, drain_started), rest)| {
            let (
                delays,
                ready,
                up_to_date,
                owner_remediated,
                health_check,
                bits,
                more,
                propagated,
            ) = rest;
            Fake {
                name,
                created: at(created).as_second(),
                deleting: deleting.map(|t| at(t).as_second()),
                drain_started: drain_started.map(|t| at(t).as_second()),
                delays,
                ready,
                up_to_date,
                owner_remediated,
                health_check,
                bits,
                more,
                propagated,
            }
        })
}

#[derive(Clone, Debug)]
enum Step {
    Put(Box<Fake>),
    Remove(usize),
    Pass(i64),
}

fn step(mixed: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => fake(mixed).prop_map(|fake| Step::Put(Box::new(fake))),
        2 => any::<usize>().prop_map(Step::Remove),
        2 => (1_i64..700).prop_map(Step::Pass),
    ]
}

fn run(steps: &[Step], order: &MachineDeletionOrder) -> (Tally, BTreeMap<String, Fake>, Timestamp) {
    let mut tally = Tally::new("md-", order.clone());
    let mut machines = BTreeMap::new();
    let mut now = at(0);
    tally.advance(now);
    for step in steps {
        match step {
            Step::Put(fake) => {
                let row = fake.row(tally.symbols_mut());
                tally.fold(row);
                machines.insert(fake.name.clone(), Fake::clone(fake));
            }
            Step::Remove(index) if !machines.is_empty() => {
                let name = machines.keys().nth(index % machines.len()).unwrap().clone();
                machines.remove(&name);
                tally.forget(&name);
            }
            Step::Remove(_) => tally.forget("nobody"),
            Step::Pass(seconds) => {
                now = now
                    .checked_add(SignedDuration::from_secs(*seconds))
                    .unwrap();
                tally.advance(now);
            }
        }
    }
    (tally, machines, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_tally_kept_by_events_equals_one_made_anew(
        steps in proptest::collection::vec(step(true), 0..60),
        order in prop_oneof![
            Just(MachineDeletionOrder::Random),
            Just(MachineDeletionOrder::Oldest),
            Just(MachineDeletionOrder::Newest)
        ],
    ) {
        let (tally, machines, now) = run(&steps, &order);
        let rows = tally.rows();
        let again = Tally::rebuilt("md-", order.clone(), now, tally.symbols(), &rows);
        prop_assert_eq!(tally.describe(), again.describe());
        prop_assert_eq!(tally.next_deadline(), again.next_deadline());
        // In reverse, in another policy that then becomes this one, and without the hint of names.
        let mut reversed = rows;
        reversed.reverse();
        let mut other =
            Tally::rebuilt("", MachineDeletionOrder::Oldest, now, tally.symbols(), &reversed);
        other.set_order(&order);
        prop_assert_eq!(tally.describe(), other.describe());
        prop_assert_eq!(usize::try_from(tally.counts().replicas).unwrap(), machines.len());
    }

    #[test]
    fn a_survey_of_the_rows_says_what_a_tally_kept_by_events_says(
        steps in proptest::collection::vec(step(true), 0..60),
    ) {
        let (tally, _, now) = run(&steps, &MachineDeletionOrder::Random);
        let rows = tally.rows();
        let survey = Survey::of(tally.symbols(), &rows, now);
        prop_assert_eq!(told(&survey), told(&tally));
        // In another order and another table.
        let mut symbols = Symbols::default();
        let other: Vec<MachineRow> = rows
            .iter()
            .rev()
            .map(|row| row.translated(tally.symbols(), &mut symbols))
            .collect();
        prop_assert_eq!(told(&Survey::of(&symbols, &other, now)), told(&tally));
    }

    #[test]
    fn its_aggregate_is_that_of_the_list_of_machines(
        steps in proptest::collection::vec(step(false), 1..40),
    ) {
        let (tally, machines, _) = run(&steps, &MachineDeletionOrder::Random);
        let conditions: Vec<(String, bool, Vec<Condition>)> = machines
            .values()
            .map(|fake| {
                let status = match fake.ready.0 {
                    Reported::Absent => return (fake.name.clone(), fake.bits & 128 != 0, Vec::new()),
                    Reported::True => ConditionStatus::True,
                    Reported::False => ConditionStatus::False,
                    Reported::Unknown => ConditionStatus::Unknown,
                };
                let condition = Condition {
                    type_: "Ready".into(),
                    status,
                    message: fake.ready.1.into(),
                    last_transition_time: Time::default(),
                    ..Condition::default()
                };
                (fake.name.clone(), fake.bits & 128 != 0, vec![condition])
            })
            .collect();
        let reported = conditions.iter().map(|(name, control_plane, conditions)| ReportedObject {
            owner: Owner { kind: "Machine", name, control_plane_machine: *control_plane },
            conditions,
        });
        let strategy = MergeStrategy {
            reasons: Reasons { issue: "NotReady", unknown: "ReadyUnknown", info: "Ready" },
            ..MergeStrategy::default()
        };
        let expected = Aggregate { source: "Ready", target: "MachinesReady", strategy }.of(reported);
        let found = tally.machines_ready("MachinesReady");
        match expected {
            None => prop_assert_eq!(found.reason, "NoReplicas"),
            Some(expected) => prop_assert_eq!(found, expected),
        }
    }
}

/// All that a census can be asked.
fn told(census: &dyn Census) -> String {
    format!(
        "{:?}",
        (
            census.counts(),
            census.next_deadline(),
            census.machines_ready("MachinesReady"),
            census.machines_up_to_date("MachinesUpToDate"),
            census.remediating("Remediating", "MachineSet"),
            census.rolling_out(),
            census.stale(),
            ["", "md-a", "md-b"].map(|set| census.moved_to(set)),
            ["", "md-a", "md-b", "md-c"].map(|set| census.of_set(set)),
        )
    )
}

#[test]
fn symbols_of_machines_that_are_gone_are_dropped() {
    use crate::{
        api::{MachineSpec, MachineStatus},
        contract::Metadata,
    };
    let mut tally = Tally::new("md-", MachineDeletionOrder::Random);
    tally.advance(at(0));
    for round in 0..5000 {
        let name = format!("md-{round}");
        let metadata = Metadata {
            name: name.clone(),
            ..Metadata::default()
        };
        tally.apply(
            &metadata,
            &MachineSpec::default(),
            &MachineStatus::default(),
            0,
        );
        if round != 17 {
            tally.forget(&name);
        }
    }
    assert_eq!(tally.counts().replicas, 1);
    assert!(tally.symbols().len() < 2000, "{}", tally.symbols().len());
    let left = tally.rows()[0].name;
    assert_eq!(tally.symbols().name(left), "md-17");
}

#[test]
fn machines_that_take_long_to_delete_are_named_with_the_cause() {
    let mut tally = Tally::new("md-", MachineDeletionOrder::Random);
    tally.advance(at(0));
    let stale = |count: usize, after: i64| {
        let mut tally = tally.clone();
        for index in 0..count {
            let mut row =
                MachineRow::named(tally.symbols_mut().intern_name(&format!("md-{index}")), 0);
            row.deleting = Some(at(0).as_second());
            row.drain_started = Some(at(0).as_second());
            row.delays = Delays(if index == 0 { 0b1001 } else { 0 });
            tally.fold(row);
        }
        assert_eq!(tally.next_deadline(), (count > 0).then(|| at(901)));
        tally.advance(at(after));
        tally.stale()
    };
    assert_eq!(stale(0, 1000), None);
    assert_eq!(stale(1, 900), None);
    let causes = ", delay likely due to PodDisruptionBudgets, Pods not completed yet";
    for (count, names) in [
        (1, "Machine md-0 is"),
        (3, "Machines md-0, md-1, md-2 are"),
        (5, "Machines md-0, md-1, md-2, ... (2 more) are"),
    ] {
        let expected = format!("{names} in deletion since more than 15m{causes}");
        assert_eq!(stale(count, 901), Some(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_snapshot_replays_to_the_same_plan(
        steps in proptest::collection::vec(step(true), 0..40),
        replicas in 0_i32..12,
    ) {
        use crate::plan::{machine_set::MachineSetFacts, naming::Seed, snapshot::{Machines, Snapshot}};
        let (tally, _, now) = run(&steps, &MachineDeletionOrder::Oldest);
        let mut facts = MachineSetFacts::default();
        facts.object.spec.replicas = Some(replicas);
        facts.object.metadata.name = "md".into();
        let snapshot = Snapshot { now, seed: Seed::new(3), facts, machines: Machines::of(&tally) };
        let text = serde_json::to_string(&snapshot).unwrap();
        let read: Snapshot<MachineSetFacts> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &snapshot);
        let plan = read.plan();
        prop_assert_eq!(&plan, &snapshot.plan());
        let written = serde_json::to_string(&plan).unwrap();
        let again: crate::plan::machine_set::MachineSetPlan = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&again, &plan);
        // The original tally says the same, by name.
        let original = crate::plan::machine_set::plan(&read.facts, &tally, now);
        prop_assert_eq!(original.status, plan.status);
        prop_assert_eq!(original.actions.len(), plan.actions.len());
        prop_assert_eq!(
            describe(&original.actions, &tally),
            describe(&plan.actions, &read.machines.tally(now))
        );
    }
}

/// Actions with names in the place of symbols.
fn describe(actions: &[crate::plan::machine_set::MachineSetAction], tally: &Tally) -> Vec<String> {
    use crate::plan::machine_set::MachineSetAction as Action;
    let names = |machines: &[crate::plan::row::Name]| -> Vec<String> {
        machines
            .iter()
            .map(|name| tally.symbols().name(*name).to_owned())
            .collect()
    };
    actions
        .iter()
        .map(|action| match action {
            Action::DeleteMachines { machines } => format!("delete {:?}", names(machines)),
            Action::Propagate { machines } => format!("propagate {:?}", names(machines)),
            Action::ClearRemediation { machines } => format!("clear {:?}", names(machines)),
            Action::MarkRemediation {
                machines,
                reason,
                message,
            } => {
                format!("mark {:?} {reason:?} {message}", names(machines))
            }
            other => format!("{other:?}"),
        })
        .collect()
}
