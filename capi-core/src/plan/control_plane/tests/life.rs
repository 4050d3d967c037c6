//! A control plane that lives through random events.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::{plan, *};

/// A control plane whose machines, members and nodes do what the plans say, one at a time.
struct Life {
    facts: ControlPlaneFacts,
    members: BTreeSet<String>,
    made: u32,
    now: i64,
}

impl Life {
    fn new(replicas: i32, surge: bool) -> Self {
        let mut facts = super::facts(0);
        facts.wanted.replicas = Some(replicas);
        facts.wanted.surge = surge;
        Self {
            facts,
            members: BTreeSet::new(),
            made: 0,
            now: 0,
        }
    }

    fn inspect(&mut self) {
        let members = &self.members;
        let of = |machine: &Machine| {
            let member = members.contains(machine.name());
            let up = machine.has_node();
            MachineHealth {
                member: Some(member),
                member_healthy: Some(member && up),
                components: Some(member && up),
                ..MachineHealth::default()
            }
        };
        let machines = self.facts.machines.iter();
        let health: BTreeMap<String, MachineHealth> = machines
            .map(|machine| (machine.name().to_owned(), of(machine)))
            .collect();
        let all = health
            .values()
            .all(|health| health.member_healthy == Some(true));
        self.facts.health.machines = health;
        self.facts.health.etcd_healthy = self.facts.health.initialized.then_some(all);
    }

    /// One reconcile. False when nothing was done.
    fn reconcile(&mut self) -> bool {
        self.inspect();
        let now = at(self.now);
        let planned = plan(&self.facts, now);
        assert_eq!(planned.errors, Vec::<String>::new());
        let idle = planned.is_idle();
        let changes = planned
            .actions
            .iter()
            .filter(|action| {
                matches!(
                    action,
                    ControlPlaneAction::CreateMachine { .. }
                        | ControlPlaneAction::DeleteMachine { .. }
                )
            })
            .count();
        assert!(changes <= 1, "one machine at a time: {:?}", planned.actions);
        for action in planned.actions {
            self.act(action);
        }
        self.facts.conditions.clone_from(&planned.status.conditions);
        self.facts.status = Some(planned.status);
        !idle
    }

    fn act(&mut self, action: ControlPlaneAction) {
        let find = |facts: &mut ControlPlaneFacts, name: &str| {
            facts
                .machines
                .iter()
                .position(|machine| machine.name() == name)
                .unwrap()
        };
        match action {
            ControlPlaneAction::CreateMachine { first, .. } => {
                assert_eq!(first, self.facts.machines.is_empty());
                let most = self.facts.wanted.replicas.unwrap() + i32::from(self.facts.wanted.surge);
                let count = i32::try_from(self.facts.machines.len()).unwrap();
                assert!(
                    count < most,
                    "one more than {count} machines, at most {most}"
                );
                self.made += 1;
                let mut machine = machine(&format!("m{}", self.made), self.now);
                machine.object.spec.version = Some(self.facts.wanted.version.clone());
                machine.object.status.node_ref = None;
                self.facts.machines.push(machine);
                self.facts.machines.sort_by(|a, b| a.name().cmp(b.name()));
            }
            ControlPlaneAction::DeleteMachine { name, .. } => {
                let index = find(&mut self.facts, &name);
                let metadata = &mut self.facts.machines[index].object.metadata;
                metadata.deletion_timestamp = Some(at(self.now).into());
            }
            ControlPlaneAction::Initialize { name } => {
                assert!(self.members.is_empty(), "the cluster begins once");
                self.members.insert(name);
                self.facts.health.initialized = true;
            }
            ControlPlaneAction::PrepareRemoval { name } => {
                self.members.remove(&name);
                self.check();
            }
            ControlPlaneAction::ReleaseMachine { name } => {
                let index = find(&mut self.facts, &name);
                self.facts.machines[index]
                    .object
                    .metadata
                    .annotations
                    .remove(REMOVAL_HOOK);
            }
            ControlPlaneAction::MarkMachine { name, conditions } => {
                let index = find(&mut self.facts, &name);
                for wanted in conditions {
                    let machine = &mut self.facts.machines[index];
                    set(machine, &wanted.type_, wanted.status, &wanted.reason);
                    machine.object.status.conditions.last_mut().unwrap().message = wanted.message;
                }
            }
            ControlPlaneAction::GuardMachine { .. } => panic!("all are guarded from birth"),
            other => panic!("not expected: {other:?}"),
        }
    }

    /// A machine goes on: its node comes up and it joins, its drain ends, or it vanishes.
    fn machine(&mut self, index: usize) {
        let count = self.facts.machines.len();
        if count == 0 {
            return;
        }
        let machine = &mut self.facts.machines[index % count];
        let name = machine.name().to_owned();
        if machine.is_deleting() {
            if machine.is_guarded() {
                set(machine, "Deleting", ConditionStatus::True, HOOK);
            } else {
                self.facts.machines.retain(|machine| machine.name() != name);
                assert!(
                    count == 1 || !self.members.contains(&name),
                    "{name} took its vote along"
                );
                self.members.remove(&name);
            }
        } else if self.facts.health.initialized {
            machine.object.status.node_ref = Some(MachineNodeReference { name: name.clone() });
            self.members.insert(name);
        }
        self.check();
    }

    fn check(&self) {
        if !self.facts.health.initialized || self.facts.machines.is_empty() {
            return;
        }
        let up = self
            .facts
            .machines
            .iter()
            .filter(|machine| machine.has_node() && self.members.contains(machine.name()))
            .count();
        // The first member is there before its node is.
        let starts = self.members.len() == 1;
        assert!(
            starts || up > self.members.len() / 2,
            "{up} of {:?} are up",
            self.members
        );
    }

    fn settle(&mut self) {
        for round in 0..400 {
            let changed = self.reconcile();
            for index in 0..self.facts.machines.len() {
                self.machine(index);
            }
            self.now += 20;
            if !changed && round > 3 {
                let quiet = self
                    .facts
                    .machines
                    .iter()
                    .all(|m| m.has_node() && !m.is_deleting());
                if quiet && !self.reconcile() {
                    return;
                }
            }
        }
        panic!(
            "does not come to rest: {:?}",
            plan(&self.facts, at(self.now)).blocked_on
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_control_plane_keeps_its_quorum_whatever_happens_when(
        events in proptest::collection::vec((0_u8..12, any::<u8>()), 10..150),
        surge in any::<bool>(),
    ) {
        let mut life = Life::new(3, surge);
        life.settle();
        let mut version = 35;
        for (event, index) in events {
            life.now += 7;
            match event {
                0..=4 => { life.reconcile(); }
                5..=9 => life.machine(usize::from(index)),
                10 => {
                    version += 1;
                    life.facts.wanted.version = format!("v1.{version}.0");
                }
                _ => life.facts.wanted.replicas = Some(if index % 2 == 0 { 3 } else { 1 }),
            }
        }
        life.facts.wanted.replicas = Some(3);
        // With one machine left and no surge there is nothing to replace it with; at three there is.
        life.settle();
        prop_assert_eq!(life.facts.machines.len(), 3);
        for machine in &life.facts.machines {
            prop_assert_eq!(machine.object.spec.version.as_ref(), Some(&life.facts.wanted.version));
        }
        prop_assert_eq!(life.members.len(), 3);
    }
}

#[test]
fn time_that_passes_changes_nothing_at_rest() {
    let mut life = Life::new(3, true);
    life.settle();
    let later = at(life.now)
        .checked_add(SignedDuration::from_hours(1000))
        .unwrap();
    life.inspect();
    assert!(plan(&life.facts, later).is_idle());
}
