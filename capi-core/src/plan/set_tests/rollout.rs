//! Rows 171 to 198 of the checklist, and the bounds under random orders of events.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::world::{World, at, condition, deployment, reference, set_condition};
use crate::{
    api::{
        ConditionStatus, IntOrString, MachineDeploymentPhase, MachineTaint, RolloutStrategyType,
        annotations, labels,
    },
    contract::OwnerReference,
    plan::{
        condition::find,
        naming::Seed,
        rollout::{self, MachineDeploymentAction},
    },
};

pub(super) fn world(replicas: i32, surge: i32, unavailable: i32) -> World {
    let mut world = World::new(deployment(replicas, surge.into(), unavailable.into()));
    world.settle();
    world.sequence.clear();
    world
}

pub(super) fn change_version(world: &mut World, version: &str) {
    world.deployment.spec.template.spec.version = Some(version.into());
    world.deployment.metadata.generation += 1;
}

pub(super) fn specs(world: &World) -> Vec<i32> {
    world
        .by_age()
        .iter()
        .map(|set| set.spec.replicas.unwrap())
        .collect()
}

fn message<'a>(world: &'a World, type_: &str) -> (&'a str, &'a str) {
    let found = find(&world.deployment.status.conditions, type_).unwrap();
    (found.status.as_str(), found.message.as_str())
}

#[test]
fn a_new_deployment_makes_one_set_of_revision_1() {
    let mut world = World::new(deployment(3, 1.into(), 0.into()));
    assert!(world.run_deployment());
    let set = world.by_age()[0].clone();
    assert_eq!(set.metadata.annotations[annotations::REVISION], "1");
    assert_eq!(
        set.metadata.annotations[annotations::DISABLE_MACHINE_CREATE],
        "false"
    );
    assert_eq!(set.metadata.annotations[annotations::DESIRED_REPLICAS], "3");
    assert_eq!(set.metadata.annotations[annotations::MAX_REPLICAS], "4");
    assert_eq!(set.metadata.labels[labels::DEPLOYMENT_NAME], "md");
    assert_eq!(set.metadata.labels[labels::CLUSTER_NAME], "c");
    let unique = &set.metadata.labels[labels::MACHINE_TEMPLATE_HASH];
    assert!(
        set.metadata
            .name
            .ends_with(unique.rsplit_once('-').unwrap().1)
    );
    assert_eq!(
        &set.spec.selector.match_labels[labels::MACHINE_TEMPLATE_HASH],
        unique
    );
    assert_eq!(
        world.deployment.metadata.annotations[annotations::REVISION],
        "1"
    );
    assert_eq!(
        world.deployment.metadata.finalizers,
        ["cluster.x-k8s.io/machinedeployment"]
    );
    assert_eq!(
        world.deployment.metadata.owner_references[0].kind,
        "Cluster"
    );
    world.settle();
    assert_eq!(world.machines.len(), 3);
    assert_eq!(
        world.deployment.status.phase,
        Some(MachineDeploymentPhase::Running)
    );
    assert_eq!(message(&world, "Available"), ("True", ""));
}

#[test]
fn fields_that_follow_in_place_update_the_set_and_its_machines_without_a_rollout() {
    let mut world = world(2, 1, 0);
    let name = world.by_age()[0].metadata.name.clone();
    let template = &mut world.deployment.spec.template;
    template.metadata.labels.insert("team".into(), "a".into());
    template
        .metadata
        .annotations
        .insert("note".into(), "b".into());
    template.spec.deletion.node_drain_timeout_seconds = Some(5);
    template.spec.min_ready_seconds = Some(7);
    template.spec.taints = vec![MachineTaint {
        key: "k".into(),
        ..MachineTaint::default()
    }];
    world.deployment.metadata.generation += 1;
    world.settle();
    assert_eq!(world.sets.len(), 1);
    let set = &world.sets[&name];
    assert_eq!(set.metadata.annotations[annotations::REVISION], "1");
    assert_eq!(set.spec.template.spec.min_ready_seconds, Some(7));
    for machine in world.machines.values() {
        assert_eq!(machine.metadata.labels["team"], "a");
        assert_eq!(machine.metadata.annotations["note"], "b");
        assert_eq!(machine.spec.deletion.node_drain_timeout_seconds, Some(5));
        assert_eq!(machine.spec.taints.len(), 1);
    }
}

#[test]
fn each_field_that_makes_a_machine_out_of_date_makes_a_new_set_of_the_next_revision() {
    type Change = fn(&mut World);
    let changes: [Change; 4] = [
        |world| change_version(world, "v1.36.0"),
        |world| {
            world.deployment.spec.template.spec.infrastructure_ref =
                reference("FakeMachineTemplate", "t2");
        },
        |world| {
            world.deployment.spec.template.spec.bootstrap.config_ref =
                Some(reference("FakeConfigTemplate", "b2"));
        },
        |world| world.deployment.spec.template.spec.failure_domain = Some("z".into()),
    ];
    for change in changes {
        let mut world = world(2, 1, 0);
        let old = world.by_age()[0].metadata.name.clone();
        change(&mut world);
        world.deployment.metadata.generation += 1;
        world.run_deployment();
        assert_eq!(world.sets.len(), 2);
        let new = world.by_age()[1];
        assert_eq!(new.metadata.annotations[annotations::REVISION], "2");
        assert_eq!(
            world.deployment.metadata.annotations[annotations::REVISION],
            "2"
        );
        world.settle();
        // Complete: the old set is deleted.
        assert!(!world.sets.contains_key(&old));
        assert_eq!(specs(&world), [2]);
    }
}

#[test]
fn a_deployment_is_at_rest_only_when_no_old_set_has_machines() {
    let mut world = world(3, 1, 0);
    let rests = |world: &World| {
        let facts = world.deployment_facts();
        rollout::is_at_rest(&facts, &facts.object.status, world.now)
    };
    assert!(rests(&world));
    change_version(&mut world, "v1.36.0");
    // No set knows of it yet, so that all of them still count as up to date.
    assert!(!rests(&world));
    assert!(world.run_deployment());
    assert!(!rests(&world));
    world.settle();
    assert!(rests(&world));
}

#[test]
fn going_back_to_an_old_template_raises_the_old_set_and_keeps_its_history() {
    let mut world = world(3, 1, 0);
    let first = world.by_age()[0].metadata.name.clone();
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    change_version(&mut world, "v1.35.0");
    world.run_deployment();
    let set = &world.sets[&first];
    assert_eq!(set.metadata.annotations[annotations::REVISION], "3");
    assert_eq!(set.metadata.annotations[annotations::REVISION_HISTORY], "1");
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    change_version(&mut world, "v1.35.0");
    world.run_deployment();
    let set = &world.sets[&first];
    assert_eq!(set.metadata.annotations[annotations::REVISION], "5");
    assert_eq!(
        set.metadata.annotations[annotations::REVISION_HISTORY],
        "1,3"
    );
    world.settle();
    assert_eq!(world.sets.len(), 1);
}

#[test]
fn rollout_after_replaces_everything_once_when_its_time_has_come() {
    let mut world = world(1, 1, 0);
    let after = world.now.as_second() - at(0).as_second() + 1000;
    world.deployment.spec.rollout.after = Some(at(after).into());
    world.deployment.metadata.generation += 1;
    world.settle();
    assert_eq!(world.by_age().len(), 1);
    let plan = world.plan_deployment();
    assert!(plan.is_idle());
    assert_eq!(plan.again, Some(at(after)));
    world.pass(2000);
    let plan = world.plan_deployment();
    assert!(
        plan.actions.iter().any(|action| matches!(
            action,
            MachineDeploymentAction::CreateSet { reason, .. } if reason.contains("no MachineSet has been created afterwards")
        )),
        "{plan:?}"
    );
    world.settle();
    let sets = world.by_age();
    assert_eq!(sets.len(), 1);
    assert!(sets[0].metadata.creation_timestamp.timestamp() > at(after));
    world.pass(5000);
    assert!(world.plan_deployment().is_idle());
}

#[test]
fn of_two_sets_that_fit_the_one_with_most_machines_is_current_then_the_oldest_then_by_name() {
    for ((replicas_a, created_a), (replicas_b, created_b), expected) in [
        ((1, 5), (2, 9), "b"),
        ((2, 5), (2, 4), "b"),
        ((2, 5), (2, 5), "a"),
    ] {
        let mut world = world(3, 1, 0);
        let template = world.by_age()[0].clone();
        world.sets.clear();
        for (name, replicas, created) in
            [("a", replicas_a, created_a), ("b", replicas_b, created_b)]
        {
            let mut set = template.clone();
            set.metadata.name = name.into();
            set.metadata.uid = name.into();
            set.metadata.creation_timestamp = at(created).into();
            set.spec.replicas = Some(replicas);
            world.sets.insert(name.into(), set);
        }
        world.run_deployment();
        let disabled =
            |name: &str| world.sets[name].metadata.annotations[annotations::REVISION].clone();
        assert_eq!(disabled(expected), "2", "{expected} of {:?}", specs(&world));
    }
}

#[test]
fn a_missing_template_is_an_error_only_where_a_set_must_be_made() {
    let mut world = world(2, 1, 0);
    let mut facts = world.deployment_facts();
    facts.templates.infrastructure.exists = false;
    let tally = world.tally(|_| true, None);
    let plan = rollout::plan(&facts, &tally, Seed::new(1), world.now);
    assert_eq!(plan.errors, Vec::<String>::new());
    let status = plan.status.unwrap();
    assert_eq!(
        find(&status.conditions, "ScalingUp").unwrap().message,
        "Scaling up would be blocked because FakeMachineTemplate does not exist"
    );
    change_version(&mut world, "v1.36.0");
    let mut facts = world.deployment_facts();
    facts.templates.infrastructure.exists = false;
    facts.templates.bootstrap.exists = false;
    let plan = rollout::plan(&facts, &tally, Seed::new(1), world.now);
    assert_eq!(plan.errors.len(), 1);
    assert!(plan.errors[0].contains("cannot create a MachineSet when templates do not exist"));
    facts.object.spec.replicas = Some(5);
    let plan = rollout::plan(&facts, &tally, Seed::new(1), world.now);
    assert_eq!(
        find(&plan.status.unwrap().conditions, "ScalingUp")
            .unwrap()
            .message,
        "Scaling up from 2 to 5 replicas is blocked because FakeConfigTemplate and FakeMachineTemplate do not exist"
    );
}

#[test]
fn a_rolling_update_takes_the_steps_that_upstream_takes() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.settle();
    let steps: Vec<&str> = world.sequence.iter().map(String::as_str).collect();
    // The last entry is the deletion of the old set.
    assert_eq!(steps, ["3/1", "2/1", "2/2", "1/2", "1/3", "0/3", "0/3"]);
}

#[derive(Clone, Copy, Debug)]
enum Twist {
    None,
    ScaleTo(i32),
    NewSpec,
}

const CASES: [(i32, i32, i32, Twist); 9] = [
    (3, 1, 0, Twist::None),
    (3, 0, 1, Twist::None),
    (6, 3, 1, Twist::None),
    (6, 1, 3, Twist::None),
    (6, 10, 0, Twist::None),
    (6, 0, 10, Twist::None),
    (12, 3, 1, Twist::ScaleTo(6)),
    (6, 3, 1, Twist::ScaleTo(12)),
    (6, 3, 1, Twist::NewSpec),
];

/// Runs a rollout in the order that `order` says, and checks the bounds after each act.
fn roll(case: (i32, i32, i32, Twist), order: &[u8]) {
    let (replicas, surge, unavailable, twist) = case;
    let mut world = world(replicas, surge, unavailable);
    change_version(&mut world, "v1.36.0");
    let mut choices = order.iter().copied().cycle();
    let mut desired = replicas;
    // A change of size may leave the bounds until the rollout has caught up.
    let mut excused = false;
    for step in 0..4000_u32 {
        if step == 40 {
            match twist {
                Twist::None => {}
                Twist::ScaleTo(to) => {
                    desired = to;
                    excused = true;
                    world.deployment.spec.replicas = Some(to);
                    world.deployment.metadata.generation += 1;
                }
                Twist::NewSpec => change_version(&mut world, "v1.37.0"),
            }
        }
        let actors = world.actors();
        let choice = choices.next().unwrap() as usize + step as usize;
        let changed = world.act(&actors[choice % actors.len()]);
        world.pass(i64::from(step % 2));
        let total = i32::try_from(world.machines.len()).unwrap();
        let (most, least) = (desired + surge, desired - unavailable);
        if total <= most && world.available() >= least && world.has_caught_up() {
            excused = false;
        }
        assert!(
            excused || total <= most,
            "{total} machines, at most {most}: {case:?}"
        );
        let available = world.available();
        assert!(
            excused || available >= least,
            "{available} available, at least {least}: {case:?}"
        );
        if !changed && step > 60 && step % 64 == 0 {
            world.settle();
            break;
        }
    }
    world.settle();
    assert_eq!(specs(&world), [desired], "{case:?}");
    assert_eq!(world.machines.len(), usize::try_from(desired).unwrap());
    for name in world.machines.keys() {
        let version = &world.machines[name].spec.version;
        assert_eq!(version, &world.deployment.spec.template.spec.version);
    }
    let writes = world.writes;
    for actor in world.actors() {
        world.act(&actor);
    }
    assert_eq!(world.writes, writes, "nothing is written at rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn bounds_are_kept_in_whatever_order_things_happen(
        case in 0..CASES.len(),
        order in proptest::collection::vec(any::<u8>(), 16..64),
    ) {
        roll(CASES[case], &order);
    }
}

#[test]
fn all_rollouts_of_the_checklist_end_with_the_new_set_only() {
    for case in CASES {
        roll(case, &[0]);
        roll(case, &[7, 3, 200, 41, 5, 77]);
    }
}

#[test]
fn terminating_machines_count_when_the_new_set_grows() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    world.settle_sets();
    for name in world.machines.keys().cloned().collect::<Vec<_>>() {
        world.run_machine(&name);
    }
    world.settle_sets();
    world.run_deployment();
    assert_eq!(specs(&world), [2, 1]);
    // The old set is at 2 and still has 3 machines: the new one may not grow yet.
    world.settle_sets();
    world.run_deployment();
    assert_eq!(specs(&world), [2, 1]);
    let gone = world
        .machines
        .values()
        .find(|machine| machine.metadata.is_deleting())
        .unwrap();
    let gone = gone.metadata.name.clone();
    world.run_machine(&gone);
    world.settle_sets();
    world.run_deployment();
    assert_eq!(specs(&world), [2, 2]);
}

#[test]
fn percentages_are_rounded_so_that_a_rollout_can_always_begin() {
    let text = |value: &str| IntOrString::from(value);
    for (replicas, surge, unavailable, first) in [
        (2, text("1%"), text("25%"), "2/1"),
        (1, text("1%"), text("25%"), "1/1"),
        (2, text("0%"), text("1%"), "1/0"),
        (1, text("0%"), text("1%"), "0/0"),
        (2, IntOrString::Int(0), IntOrString::Int(0), "1/0"),
    ] {
        let mut world = World::new(deployment(replicas, surge.clone(), unavailable.clone()));
        world.settle();
        world.sequence.clear();
        change_version(&mut world, "v1.36.0");
        world.run_deployment();
        assert_eq!(world.sequence[0], first, "{surge} {unavailable}");
        world.settle();
        assert_eq!(specs(&world), [replicas]);
    }
}

#[test]
fn unavailable_old_machines_go_first_and_only_as_far_as_availability_allows() {
    let mut world = world(6, 0, 2);
    let broken: Vec<String> = world.machines.keys().take(1).cloned().collect();
    for name in &broken {
        world.break_machine(name);
    }
    world.settle_sets();
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    // 5 available, at least 4: one may go, and the worst case is that an available one does.
    assert_eq!(specs(&world), [5, 0]);
}

#[test]
fn a_set_whose_status_is_behind_its_machines_loses_none_that_may_be_available() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    world.settle_sets();
    assert_eq!(specs(&world), [3, 1]);
    let old = world.by_age()[0].metadata.name.clone();
    // Its controller died before it could say what became of the machines.
    world.sets.get_mut(&old).unwrap().status.available_replicas = Some(0);
    change_version(&mut world, "v1.37.0");
    let again = world.plan_deployment().again;
    assert_eq!(
        again,
        world.now.checked_add(SignedDuration::from_secs(2)).ok()
    );
    world.run_deployment();
    // The machine that surely is not available goes, although its set is the younger one.
    assert_eq!(specs(&world), [3, 0, 0]);
    assert_eq!(world.available(), 3);
}

#[test]
fn a_broken_new_set_stops_the_rollout() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    let new = world.by_age()[1].metadata.name.clone();
    world.run_set(&new);
    for _ in 0..5 {
        for set in world.sets.keys().cloned().collect::<Vec<_>>() {
            world.run_set(&set);
        }
        world.run_deployment();
        world.pass(60);
    }
    assert_eq!(specs(&world), [3, 1]);
}

#[test]
fn a_rollout_stuck_on_unavailable_old_machines_is_freed_by_one() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    let old = world.by_age()[0].metadata.name.clone();
    let new = world.by_age()[1].metadata.name.clone();
    let victim = world.machines.keys().next().unwrap().clone();
    world.break_machine(&victim);
    world.run_set(&new);
    world.run_set(&old);
    // The new set is not available yet: nothing is taken away.
    world.run_deployment();
    assert_eq!(specs(&world), [3, 1]);
    let made = world
        .machines
        .values()
        .find(|machine| super::world::owner(machine) == new)
        .unwrap()
        .metadata
        .name
        .clone();
    world.run_machine(&made);
    world.run_set(&new);
    world.run_deployment();
    assert_eq!(specs(&world), [2, 1]);
}

#[test]
fn old_sets_are_not_deleted_before_the_last_change_was_seen() {
    let mut world = world(1, 1, 0);
    change_version(&mut world, "v1.36.0");
    while world.sequence.last().is_none_or(|step| step != "0/1") {
        for actor in world.actors() {
            if !actor.is_empty() || world.sequence.last().is_none_or(|step| step != "0/1") {
                world.act(&actor);
            }
        }
        world.pass(1);
    }
    world.settle_sets();
    world.deployment.metadata.generation += 1;
    let deletes = |plan: &rollout::MachineDeploymentPlan| {
        plan.actions
            .iter()
            .any(|a| matches!(a, MachineDeploymentAction::DeleteSet { .. }))
    };
    assert!(!deletes(&world.plan_deployment()));
    world.run_deployment();
    assert!(deletes(&world.plan_deployment()));
}

#[test]
fn sets_of_others_are_left_alone_orphans_are_adopted_and_our_own_are_kept() {
    let mut world = world(1, 1, 0);
    let own = world.by_age()[0].clone();
    let mut foreign = own.clone();
    foreign.metadata.name = "foreign".into();
    foreign.metadata.owner_references[0].uid = "other".into();
    let mut orphan = own.clone();
    orphan.metadata.name = "orphan".into();
    orphan.metadata.uid = "orphan".into();
    orphan.metadata.owner_references.clear();
    orphan.spec.replicas = Some(0);
    world.sets.insert("foreign".into(), foreign);
    world.sets.insert("orphan".into(), orphan);
    let key = own.metadata.name;
    let moved = world.sets.get_mut(&key).unwrap();
    moved.metadata.labels.remove(labels::DEPLOYMENT_NAME);
    let plan = world.plan_deployment();
    let touched: BTreeMap<String, &OwnerReference> = plan
        .actions
        .iter()
        .map(|action| match action {
            MachineDeploymentAction::UpdateSet { set, .. } => {
                (set.name.clone(), &set.owner_references[0])
            }
            other => panic!("not expected: {other:?}"),
        })
        .collect();
    assert_eq!(touched.keys().collect::<Vec<_>>(), [&key, "orphan"]);
    assert_eq!(touched["orphan"].uid, "md-uid");
}

#[test]
fn annotations_follow_but_for_those_that_are_kept_back() {
    let mut world = world(1, 1, 0);
    let annotations = &mut world.deployment.metadata.annotations;
    annotations.insert("note".into(), "x".into());
    annotations.insert(
        "kubectl.kubernetes.io/last-applied-configuration".into(),
        "{}".into(),
    );
    annotations.insert(annotations::CONVERSION_DATA.into(), "{}".into());
    world.deployment.spec.replicas = Some(4);
    world.deployment.metadata.generation += 1;
    world.run_deployment();
    let found = &world.by_age()[0].metadata.annotations;
    assert_eq!(found["note"], "x");
    assert_eq!(found[annotations::DESIRED_REPLICAS], "4");
    assert_eq!(found[annotations::MAX_REPLICAS], "5");
    assert!(!found.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    assert!(!found.contains_key(annotations::CONVERSION_DATA));
}

#[test]
fn available_says_how_many_are_and_how_many_must_be() {
    let mut world = world(4, 1, 1);
    let names: Vec<String> = world.machines.keys().cloned().collect();
    world.break_machine(&names[0]);
    world.settle_sets();
    world.run_deployment();
    assert_eq!(message(&world, "Available").0, "True");
    world.break_machine(&names[1]);
    world.settle_sets();
    world.run_deployment();
    assert_eq!(
        message(&world, "Available"),
        (
            "False",
            "2 available replicas, at least 3 required (spec.strategy.rollout.maxUnavailable is 1, spec.replicas is 4)"
        )
    );
    world.deployment.metadata.deletion_timestamp = Some(world.now.into());
    world.run_deployment();
    assert_eq!(
        message(&world, "Available"),
        ("False", "Deletion in progress")
    );
    assert_eq!(
        world.deployment.status.phase,
        Some(MachineDeploymentPhase::ScalingDown)
    );

    let mut world = World::new(deployment(4, 1.into(), 1.into()));
    world.deployment.spec.replicas = None;
    let annotations = &mut world.deployment.metadata.annotations;
    annotations.insert(annotations::AUTOSCALER_MIN_SIZE.into(), "many".into());
    let plan = world.plan_deployment();
    assert_eq!(plan.errors.len(), 2);
    let status = plan.status.unwrap();
    let available = find(&status.conditions, "Available").unwrap();
    assert_eq!(available.status, ConditionStatus::Unknown);
    assert_eq!(available.reason, "WaitingForReplicasSet");
    assert_eq!(available.message, "Waiting for spec.replicas set");
    assert_eq!(status.phase, Some(MachineDeploymentPhase::Unknown));
}

#[test]
fn rolling_out_names_each_reason_once_and_a_change_of_version_first() {
    let mut world = world(3, 1, 0);
    let names: Vec<String> = world.machines.keys().cloned().collect();
    for (name, text) in names.iter().zip([
        "* FakeMachine is not up-to-date\n* Version v1.35.0, v1.36.0 required",
        "* FakeMachine is not up-to-date",
        "* Failure domain a, b required",
    ]) {
        let machine = world.machines.get_mut(name).unwrap();
        let out_of_date = condition("UpToDate", ConditionStatus::False, text);
        set_condition(&mut machine.status.conditions, out_of_date);
    }
    world.run_deployment();
    assert_eq!(
        message(&world, "RollingOut"),
        (
            "True",
            "Rolling out 3 not up-to-date replicas\n* Version v1.35.0, v1.36.0 required\n* Failure domain a, b required\n* FakeMachine is not up-to-date"
        )
    );
}

#[test]
fn defaults_are_filled_in_where_no_webhook_does_it() {
    let mut deployment = deployment(1, 1.into(), 0.into());
    deployment.spec.rollout.strategy = None;
    deployment.spec.replicas = None;
    deployment.spec.template.spec.version = Some("1.35.0".into());
    let mut world = World::new(deployment);
    world.settle();
    let spec = &world.deployment.spec;
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.template.spec.version.as_deref(), Some("v1.35.0"));
    let strategy = spec.rollout.strategy.as_ref().unwrap();
    assert_eq!(strategy.type_, RolloutStrategyType::RollingUpdate);
    assert_eq!(strategy.rolling_update.max_surge, Some(IntOrString::Int(1)));
    assert_eq!(
        strategy.rolling_update.max_unavailable,
        Some(IntOrString::Int(0))
    );
    for labels in [&spec.selector.match_labels, &spec.template.metadata.labels] {
        assert_eq!(labels[labels::CLUSTER_NAME], "c");
        assert_eq!(labels[labels::DEPLOYMENT_NAME], "md");
    }
    assert_eq!(world.sets.len(), 1);
    assert_eq!(world.machines.len(), 1);
}

#[test]
fn deleting_a_deployment_deletes_its_sets_and_lets_go_last() {
    let mut world = world(2, 1, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    world.deployment.metadata.deletion_timestamp = Some(world.now.into());
    world.run_deployment();
    assert!(world.sets.values().all(|set| set.metadata.is_deleting()));
    assert!(!world.deployment.metadata.finalizers.is_empty());
    assert_eq!(message(&world, "Deleting"), ("True", "Deleting 2 Machines"));
    world.settle();
    assert!(world.sets.is_empty() && world.machines.is_empty());
    assert!(world.deployment.metadata.finalizers.is_empty());
    assert_eq!(message(&world, "Deleting"), ("True", "Deletion completed"));
}

#[test]
fn machines_that_can_be_updated_in_place_are_moved_and_the_surge_is_dropped() {
    let mut world = world(3, 1, 0);
    change_version(&mut world, "v1.36.0");
    let old = world.by_age()[0].metadata.name.clone();
    let tally = world.tally(|_| true, None);
    let mut facts = world.deployment_facts();
    facts.in_place.enabled = true;
    facts.in_place.updatable.insert(old.clone());
    let plan = rollout::plan(&facts, &tally, Seed::new(1), world.now);
    let [
        MachineDeploymentAction::CreateSet { set, .. },
        MachineDeploymentAction::UpdateSet { set: moved, .. },
    ] = plan.actions.as_slice()
    else {
        panic!("{:?}", plan.actions)
    };
    // Nothing else progresses, so exactly one is made to have something to update.
    assert_eq!(set.spec.replicas, Some(1));
    assert_eq!(
        set.annotations[annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS],
        old
    );
    assert_eq!(
        moved.annotations[annotations::MOVE_MACHINES_TO_MACHINE_SET],
        set.name
    );
    // Not where the extension says no.
    facts.in_place.updatable.clear();
    let plan = rollout::plan(&facts, &tally, Seed::new(1), world.now);
    assert!(plan.actions.iter().all(|action| {
        match action {
            MachineDeploymentAction::CreateSet { set, .. }
            | MachineDeploymentAction::UpdateSet { set, .. } => !set
                .annotations
                .contains_key(annotations::MOVE_MACHINES_TO_MACHINE_SET),
            _ => true,
        }
    }));
}
