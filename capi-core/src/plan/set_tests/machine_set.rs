//! Rows 144 to 170 of the checklist.

use super::world::{World, at, condition, deployment, owner, set_condition};
use crate::{
    api::{
        ConditionStatus, IntOrString, MachineDeletionOrder, MachineNodeReference, annotations,
        labels,
    },
    plan::{
        ObjectRef,
        machine_set::{
            MachineSetAction, MachineSetFacts, MachineSetPlan, MoveTarget, PREFLIGHT_RETRY, plan,
        },
        preflight::{ALL, Checks, ControlPlaneState},
        row::{Name, Remediation},
        set_status::TemplateKind,
        tally::Tally,
    },
};

/// A world with one set of `replicas` machines that are all available, and the set's name.
fn one_set(replicas: i32) -> (World, String) {
    let mut world = World::new(deployment(replicas, 1.into(), 0.into()));
    world.settle();
    let name = world.by_age()[0].metadata.name.clone();
    (world, name)
}

fn names(tally: &Tally, machines: &[Name]) -> Vec<String> {
    machines
        .iter()
        .map(|name| tally.symbols().name(*name).to_owned())
        .collect()
}

fn deleted(plan: &MachineSetPlan) -> Vec<Name> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            MachineSetAction::DeleteMachines { machines } => Some(machines.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn message(plan: &MachineSetPlan, type_: &str) -> (String, String, String) {
    let status = plan.status.as_ref().expect("the status changes");
    let found = status.condition(type_).unwrap();
    (
        found.status.as_str().into(),
        found.reason.to_string(),
        found.message.clone(),
    )
}

fn facts_of(replicas: i32, existing: usize) -> (MachineSetFacts, Tally) {
    let (mut world, name) = one_set(i32::try_from(existing).unwrap());
    world.sets.get_mut(&name).unwrap().spec.replicas = Some(replicas);
    (world.set_facts(&name), world.set_tally(&name))
}

#[test]
fn all_missing_machines_are_made_at_once_with_all_that_they_need_from_birth() {
    let (facts, tally) = facts_of(3, 0);
    let plan = plan(&facts, &tally, at(100));
    assert_eq!(
        plan.actions,
        [MachineSetAction::CreateMachines { count: 3 }]
    );
    let (world, name) = one_set(2);
    for machine in world.machines.values() {
        assert_eq!(machine.metadata.labels[labels::SET_NAME], name);
        assert_eq!(machine.metadata.labels[labels::DEPLOYMENT_NAME], "md");
        assert_eq!(machine.metadata.finalizers, ["machine.cluster.x-k8s.io"]);
        assert_eq!(owner(machine), name);
        assert_eq!(machine.spec.bootstrap.config_ref, None);
    }
}

#[test]
fn leftovers_of_failed_creations_are_deleted() {
    let (mut facts, tally) = facts_of(2, 2);
    let object = ObjectRef {
        kind: "FakeMachine".into(),
        name: "x".into(),
        ..ObjectRef::default()
    };
    facts.leftovers.push(object.clone());
    let plan = plan(&facts, &tally, at(100));
    assert_eq!(plan.actions, [MachineSetAction::DeleteLeftover { object }]);
}

#[test]
fn nothing_is_made_where_an_annotation_forbids_it() {
    let (mut facts, tally) = facts_of(3, 1);
    let annotations = &mut facts.object.metadata.annotations;
    annotations.insert(annotations::DISABLE_MACHINE_CREATE.into(), "true".into());
    assert_eq!(plan(&facts, &tally, at(100)).actions, []);
}

#[test]
fn without_replicas_the_status_says_so_and_the_default_is_filled_in() {
    let (mut facts, tally) = facts_of(3, 1);
    facts.object.spec.replicas = None;
    let planned = plan(&facts, &tally, at(100));
    assert_eq!(planned.spec.replicas, Some(1));
    let waiting = (
        "Unknown",
        "WaitingForReplicasSet",
        "Waiting for spec.replicas set",
    );
    for type_ in ["ScalingUp", "ScalingDown"] {
        let (status, reason, text) = message(&planned, type_);
        assert_eq!((status.as_str(), reason.as_str(), text.as_str()), waiting);
    }
    let annotations = &mut facts.object.metadata.annotations;
    annotations.insert(annotations::AUTOSCALER_MAX_SIZE.into(), "x".into());
    assert_eq!(plan(&facts, &tally, at(100)).errors.len(), 2);
}

#[test]
fn machines_without_controller_are_adopted_and_count() {
    let (mut facts, tally) = facts_of(3, 1);
    facts.orphans.push(("a".into(), "1".into()));
    let plan = plan(&facts, &tally, at(100));
    assert_eq!(
        plan.actions,
        [
            MachineSetAction::AdoptMachine {
                name: "a".into(),
                uid: "1".into()
            },
            MachineSetAction::CreateMachines { count: 1 }
        ]
    );
}

#[test]
fn a_set_on_its_own_gets_the_cluster_as_owner_and_one_of_a_deployment_does_not() {
    let (mut facts, tally) = facts_of(1, 1);
    assert_eq!(
        plan(&facts, &tally, at(100)).metadata.owner_references,
        None
    );
    facts.object.metadata.owner_references.clear();
    facts.object.metadata.labels.remove(labels::DEPLOYMENT_NAME);
    facts.object.metadata.finalizers.clear();
    facts.deployment = None;
    facts.templates.infrastructure.owned_by_cluster = false;
    let plan = plan(&facts, &tally, at(100));
    let owners = plan.metadata.owner_references.unwrap();
    assert_eq!(
        (owners[0].kind.as_str(), owners[0].controller),
        ("Cluster", None)
    );
    assert_eq!(
        plan.metadata.finalizers.unwrap(),
        ["cluster.x-k8s.io/machineset"]
    );
    let own = MachineSetAction::OwnTemplate {
        template: TemplateKind::Infrastructure,
    };
    assert_eq!(plan.actions[0], own);
}

#[test]
fn a_missing_template_is_an_error_but_for_old_revisions_and_sets_that_go() {
    for (standalone, old_revision, deleting, error) in [
        (true, false, false, true),
        (false, false, false, true),
        (false, true, false, false),
        (true, false, true, false),
    ] {
        let (mut facts, tally) = facts_of(1, 1);
        facts.templates.infrastructure.exists = false;
        if standalone {
            facts.deployment = None;
        } else if old_revision {
            facts.deployment.as_mut().unwrap().revision = Some("9".into());
        }
        if deleting {
            facts.object.metadata.deletion_timestamp = Some(at(50).into());
        }
        let plan = plan(&facts, &tally, at(100));
        assert_eq!(
            !plan.errors.is_empty(),
            error,
            "{standalone} {old_revision} {deleting}"
        );
    }
}

#[test]
fn machines_go_in_the_order_of_deletion() {
    for (order, expected) in [
        (
            MachineDeletionOrder::Random,
            [
                "gone", "marked", "updating", "nodeless", "sick", "a", "b", "c",
            ],
        ),
        (
            MachineDeletionOrder::Oldest,
            [
                "gone", "marked", "updating", "nodeless", "sick", "c", "a", "b",
            ],
        ),
        (
            MachineDeletionOrder::Newest,
            [
                "gone", "marked", "updating", "nodeless", "sick", "b", "a", "c",
            ],
        ),
    ] {
        let (mut world, name) = one_set(8);
        world.order = order;
        let template = world.machines.values().next().unwrap().clone();
        world.machines.clear();
        for (machine, created) in [
            ("a", 20),
            ("b", 30),
            ("c", 10),
            ("sick", 40),
            ("nodeless", 40),
            ("updating", 40),
            ("marked", 40),
            ("gone", 40),
        ] {
            let mut new = template.clone();
            new.metadata.name = machine.into();
            new.metadata.creation_timestamp = at(created).into();
            new.status.node_ref = Some(MachineNodeReference { name: "n".into() });
            let annotations = &mut new.metadata.annotations;
            match machine {
                "sick" => {
                    let sick = condition("NodeHealthy", ConditionStatus::False, "");
                    set_condition(&mut new.status.conditions, sick);
                }
                "a" => {
                    // Unknown is healthy.
                    let unknown = condition("NodeHealthy", ConditionStatus::Unknown, "");
                    set_condition(&mut new.status.conditions, unknown);
                }
                "nodeless" => new.status.node_ref = None,
                "updating" => {
                    annotations.insert(annotations::UPDATE_IN_PROGRESS.into(), String::new());
                }
                "marked" => {
                    annotations.insert(annotations::DELETE_MACHINE.into(), String::new());
                }
                "gone" => new.metadata.deletion_timestamp = Some(at(50).into()),
                _ => {}
            }
            world.machines.insert(machine.into(), new);
        }
        let tally = world.set_tally(&name);
        let candidates: Vec<Name> = tally.deletion_candidates().collect();
        assert_eq!(names(&tally, &candidates), expected);
        // The one that is being deleted counts as one of three.
        world.sets.get_mut(&name).unwrap().spec.replicas = Some(5);
        let plan = plan(&world.set_facts(&name), &tally, at(100));
        assert_eq!(names(&tally, &deleted(&plan)), ["marked", "updating"]);
        world.sets.get_mut(&name).unwrap().spec.replicas = Some(0);
        let plan = super::machine_set::plan(&world.set_facts(&name), &tally, at(100));
        assert_eq!(deleted(&plan).len(), 7);
    }
}

#[test]
fn a_label_that_differs_is_put_back_and_one_of_the_user_stays() {
    let (mut world, name) = one_set(2);
    let victim = world.machines.keys().next().unwrap().clone();
    let labels = &mut world.machines.get_mut(&victim).unwrap().metadata.labels;
    labels.insert("mine".into(), "x".into());
    assert!(world.plan_set(&name).is_idle());
    world
        .machines
        .get_mut(&victim)
        .unwrap()
        .metadata
        .labels
        .remove(labels::SET_NAME);
    assert!(world.run_set(&name));
    let labels = &world.machines[&victim].metadata.labels;
    assert_eq!(labels[labels::SET_NAME], name);
    assert_eq!(labels["mine"], "x");
    // A change of version is no business of propagation.
    world
        .sets
        .get_mut(&name)
        .unwrap()
        .spec
        .template
        .spec
        .version = Some("v9.9.9".into());
    assert!(world.plan_set(&name).actions.is_empty());
}

fn make_unhealthy(world: &mut World, count: usize) -> Vec<String> {
    let names: Vec<String> = world.machines.keys().take(count).cloned().collect();
    for (index, name) in names.iter().enumerate() {
        let machine = world.machines.get_mut(name).unwrap();
        machine.metadata.creation_timestamp = at(i64::try_from(index).unwrap()).into();
        for type_ in ["HealthCheckSucceeded", "OwnerRemediated"] {
            let failed = condition(type_, ConditionStatus::False, "");
            set_condition(&mut machine.status.conditions, failed);
        }
    }
    names
}

fn marks(plan: &MachineSetPlan, tally: &Tally) -> Vec<(Vec<String>, Remediation, String)> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            MachineSetAction::MarkRemediation {
                machines,
                reason,
                message,
            } => Some((names(tally, machines), *reason, message.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn unhealthy_machines_are_marked_and_then_deleted_newest_first_within_the_limit() {
    let (mut world, set) = one_set(5);
    let sick = make_unhealthy(&mut world, 5);
    world.deployment.spec.remediation.max_in_flight = Some(IntOrString::Int(2));
    let annotations = &mut world
        .machines
        .get_mut(&sick[0])
        .unwrap()
        .metadata
        .annotations;
    annotations.insert(annotations::REMEDIATE_MACHINE.into(), String::new());
    let tally = world.set_tally(&set);
    let planned = plan(&world.set_facts(&set), &tally, at(100));
    let waiting = "Waiting because there are already too many remediations in progress (spec.strategy.remediation.maxInFlight is 2)";
    let order = |indexes: &[usize]| indexes.iter().map(|i| sick[*i].clone()).collect::<Vec<_>>();
    assert_eq!(
        marks(&planned, &tally),
        [
            (
                order(&[3, 2, 1]),
                Remediation::RemediationDeferred,
                waiting.into()
            ),
            (
                order(&[0, 4]),
                Remediation::MachineDeleting,
                "Machine is deleting".into()
            ),
        ]
    );
    assert_eq!(names(&tally, &deleted(&planned)), order(&[0, 4]));
    assert_eq!(message(&planned, "Remediating").0, "True");

    // Two on their way: nothing more.
    for name in [&sick[0], &sick[4]] {
        let machine = world.machines.get_mut(name).unwrap();
        machine.metadata.deletion_timestamp = Some(at(90).into());
        let mut mark = condition(
            "OwnerRemediated",
            ConditionStatus::False,
            "Machine is deleting",
        );
        mark.reason = "MachineDeleting".into();
        set_condition(&mut machine.status.conditions, mark);
    }
    let tally = world.set_tally(&set);
    let planned = plan(&world.set_facts(&set), &tally, at(100));
    assert_eq!(marks(&planned, &tally).len(), 1);
    assert_eq!(deleted(&planned), []);

    // A percentage is taken of the deployment's replicas and rounded up: 20 % of 10 is 2.
    world.deployment.spec.replicas = Some(10);
    world.deployment.spec.remediation.max_in_flight = Some("20%".into());
    for name in [&sick[0], &sick[4]] {
        world.machines.remove(name);
    }
    let tally = world.set_tally(&set);
    let planned = plan(&world.set_facts(&set), &tally, at(100));
    assert_eq!(names(&tally, &deleted(&planned)), order(&[3, 2]));
}

#[test]
fn machines_of_an_old_revision_are_not_remediated_and_healthy_ones_lose_the_mark() {
    let (mut world, set) = one_set(3);
    let sick = make_unhealthy(&mut world, 2);
    let healthy = condition("HealthCheckSucceeded", ConditionStatus::True, "");
    set_condition(
        &mut world.machines.get_mut(&sick[1]).unwrap().status.conditions,
        healthy,
    );
    let tally = world.set_tally(&set);
    let mut facts = world.set_facts(&set);
    facts.deployment.as_mut().unwrap().revision = Some("7".into());
    let planned = plan(&facts, &tally, at(100));
    assert_eq!(
        marks(&planned, &tally),
        [(
            vec![sick[0].clone()],
            Remediation::CannotBeRemediated,
            "Machine won't be remediated because it is pending removal due to rollout".into()
        )]
    );
    let MachineSetAction::ClearRemediation { machines } = &planned.actions[0] else {
        panic!("{:?}", planned.actions)
    };
    assert_eq!(names(&tally, machines), [sick[1].clone()]);
    assert_eq!(deleted(&planned), []);
}

#[test]
fn failing_preflight_checks_hold_creation_and_remediation_and_say_why() {
    let (mut world, set) = one_set(2);
    let sick = make_unhealthy(&mut world, 1);
    world.sets.get_mut(&set).unwrap().spec.replicas = Some(4);
    let tally = world.set_tally(&set);
    let mut facts = world.set_facts(&set);
    facts.preflight.failures = vec!["not yet".into(), "nor that".into()];
    facts.templates.infrastructure.exists = false;
    let planned = plan(&facts, &tally, at(100));
    assert_eq!(
        marks(&planned, &tally),
        [(
            vec![sick[0].clone()],
            Remediation::RemediationDeferred,
            "* not yet\n* nor that".into()
        )]
    );
    assert!(
        planned
            .actions
            .iter()
            .all(|a| !matches!(a, MachineSetAction::CreateMachines { .. }))
    );
    assert_eq!(planned.again, at(100).checked_add(PREFLIGHT_RETRY).ok());
    assert_eq!(
        message(&planned, "ScalingUp").2,
        "Scaling up from 2 to 4 replicas is blocked because:\n* not yet\n* nor that\n* FakeMachineTemplate does not exist"
    );
}

#[test]
fn preflight_checks_hold_what_the_versions_do_not_allow() {
    let control_plane = |version: Option<&str>, running: &[&str]| ControlPlaneState {
        kind: "FakeControlPlane".into(),
        namespace: "default".into(),
        name: "cp".into(),
        version: version.map(Into::into),
        running: running.iter().map(|v| (*v).to_owned()).collect(),
        error: None,
    };
    let stable = |version| control_plane(Some(version), &[version]);
    let mut template = crate::api::MachineTemplateSpec::default();
    let run = |template: &crate::api::MachineTemplateSpec,
               cp: Option<&ControlPlaneState>,
               topology,
               step,
               skip,
               enabled| {
        Checks {
            enabled,
            skip,
            control_plane: cp,
            topology_version: topology,
            upgrade_step: step,
            template,
        }
        .run()
    };
    let all: &[&str] = &[ALL];
    let cp = |version| stable(version);
    for (set, control_plane, topology, step, skip, enabled, expected) in [
        (Some("v1.30.0"), None, None, None, None, all, ""),
        (
            Some("v1.30.0"),
            Some(control_plane(None, &[])),
            None,
            None,
            None,
            all,
            "",
        ),
        (None, Some(cp("v1.30.0")), None, None, None, all, ""),
        (
            Some("v1.30.0"),
            Some(control_plane(Some("v1.30.0"), &[])),
            None,
            None,
            None,
            all,
            "is provisioning",
        ),
        (
            Some("v1.30.0"),
            Some(control_plane(Some("v1.30.0"), &["v1.29.0", "v1.30.0"])),
            None,
            None,
            None,
            all,
            "is upgrading",
        ),
        (
            Some("v1.30.0"),
            Some(cp("v1.30.0")),
            Some("v1.31.0"),
            None,
            None,
            all,
            "has a pending version upgrade to v1.31.0",
        ),
        (
            Some("v1.30.0"),
            Some(cp("v1.30.0")),
            Some("v1.32.0"),
            Some("v1.31.0"),
            None,
            all,
            "has a pending version upgrade to v1.31.0",
        ),
        (
            Some("v1.30.0"),
            Some(cp("v1.30.0")),
            Some("v1.32.0"),
            Some("v1.30.0"),
            None,
            all,
            "",
        ),
        (
            Some("v1.31.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            all,
            "is higher than",
        ),
        (
            Some("v1.27.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            all,
            "",
        ),
        (
            Some("v1.26.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            all,
            "more than 3 minor versions older",
        ),
        (
            Some("v1.0.0"),
            Some(cp("v1.2.0")),
            None,
            None,
            None,
            all,
            "",
        ),
        (
            Some("v1.29.0"),
            Some(cp("v1.30.0")),
            Some("v1.30.0"),
            None,
            None,
            all,
            "is not yet the same as",
        ),
        (
            Some("v1.31.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            Some("x, All"),
            all,
            "",
        ),
        (
            Some("v1.31.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            Some("KubernetesVersionSkew"),
            all,
            "",
        ),
        (
            Some("v1.31.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            &["ControlPlaneIsStable"],
            "",
        ),
        (
            Some("v1.31.0"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            &[],
            "",
        ),
        (
            Some("nonsense"),
            Some(cp("v1.30.0")),
            None,
            None,
            None,
            all,
            "error failed to parse version \"nonsense\"",
        ),
    ] {
        template.spec.version = set.map(Into::into);
        let result = run(
            &template,
            control_plane.as_ref(),
            topology,
            step,
            skip,
            enabled,
        );
        let text = match (&result.error, result.failures.as_slice()) {
            (Some(error), _) => format!("error {error}"),
            (None, []) => String::new(),
            (None, [one]) => one.clone(),
            (None, several) => panic!("{several:?}"),
        };
        match expected.strip_prefix("error ") {
            Some(error) => assert!(text.contains(error), "{text} should say {error}"),
            None if expected.is_empty() => assert_eq!(text, "", "{set:?} {topology:?} {step:?}"),
            None => assert!(text.contains(expected), "{text:?} should say {expected:?}"),
        }
    }
    template.spec.version = Some("v1.29.0".into());
    for (kind, failures) in [("KubeadmConfigTemplate", 1), ("OtherConfigTemplate", 0)] {
        let mut reference = super::world::reference(kind, "x");
        reference.api_group = "bootstrap.cluster.x-k8s.io".into();
        template.spec.bootstrap.config_ref = Some(reference);
        let result = run(&template, Some(&cp("v1.30.0")), None, None, None, all);
        assert_eq!(result.failures.len(), failures);
    }
}

#[test]
fn machines_that_are_updated_in_place_only_count_as_existing() {
    let (mut world, set) = one_set(3);
    let name = world.machines.keys().next().unwrap().clone();
    let annotations = &mut world.machines.get_mut(&name).unwrap().metadata.annotations;
    annotations.insert(annotations::PENDING_HOOKS.into(), "a,UpdateMachine".into());
    let status = world.plan_set(&set).status.unwrap();
    let counters = status.counters.unwrap();
    assert_eq!(counters.replicas, 3);
    for count in [counters.ready, counters.available, counters.up_to_date] {
        assert_eq!(count, 2);
    }
}

#[test]
fn machines_are_handed_over_to_a_set_that_expects_them() {
    let (mut world, set) = one_set(5);
    let names_of: Vec<String> = world.machines.keys().cloned().collect();
    make_unhealthy(&mut world, 1); // deleted instead
    world
        .machines
        .get_mut(&names_of[1])
        .unwrap()
        .metadata
        .deletion_timestamp = Some(at(9).into());
    world
        .machines
        .get_mut(&names_of[2])
        .unwrap()
        .status
        .node_ref = None; // passed over
    let object = world.sets.get_mut(&set).unwrap();
    object.spec.replicas = Some(2);
    let annotations = &mut object.metadata.annotations;
    annotations.insert(
        annotations::MOVE_MACHINES_TO_MACHINE_SET.into(),
        "new".into(),
    );
    let tally = world.set_tally(&set);
    let mut facts = world.set_facts(&set);
    facts.preflight.failures = vec!["no remediation here".into()];
    assert!(plan(&facts, &tally, at(100)).errors[0].contains("does not exist"));
    let mut target = MoveTarget {
        name: "new".into(),
        uid: "u".into(),
        ..MoveTarget::default()
    };
    facts.move_target = Some(target.clone());
    assert!(plan(&facts, &tally, at(100)).errors[0].contains("takes machines from"));
    target.receives_from = Some(format!("x,{set}"));
    facts.move_target = Some(target.clone());
    assert!(plan(&facts, &tally, at(100)).errors[0].contains("machine-template-hash"));
    target.unique_label = Some("1-a".into());
    facts.move_target = Some(target);
    let planned = plan(&facts, &tally, at(100));
    assert_eq!(planned.errors, Vec::<String>::new());
    assert_eq!(names(&tally, &deleted(&planned)), [names_of[0].clone()]);
    let moved = planned.actions.iter().find_map(|action| match action {
        MachineSetAction::MoveMachines { machines } => Some(names(&tally, machines)),
        _ => None,
    });
    assert_eq!(moved.unwrap(), [names_of[3].clone()]);
}

#[test]
fn machines_that_were_just_handed_over_are_not_deleted_as_too_many() {
    let (mut world, set) = one_set(2);
    let name = world.machines.keys().next().unwrap().clone();
    let annotations = &mut world.machines.get_mut(&name).unwrap().metadata.annotations;
    annotations.insert(annotations::PENDING_ACKNOWLEDGE_MOVE.into(), String::new());
    let object = world.sets.get_mut(&set).unwrap();
    object.spec.replicas = Some(1);
    let annotations = &mut object.metadata.annotations;
    annotations.insert(
        annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS.into(),
        "old".into(),
    );
    let planned = world.plan_set(&set);
    assert_eq!(planned.actions, []);
    let annotations = &mut world.sets.get_mut(&set).unwrap().metadata.annotations;
    annotations.remove(annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS);
    assert_eq!(deleted(&world.plan_set(&set)).len(), 1);
}

#[test]
fn a_set_that_goes_deletes_its_machines_and_lets_go_when_none_is_left() {
    let (mut world, set) = one_set(3);
    world
        .sets
        .get_mut(&set)
        .unwrap()
        .metadata
        .deletion_timestamp = Some(at(50).into());
    let planned = world.plan_set(&set);
    assert_eq!(deleted(&planned).len(), 3);
    assert_eq!(planned.metadata.finalizers, None);
    assert_eq!(message(&planned, "Deleting").2, "Deleting 3 Machines");
    assert_eq!(
        message(&planned, "ScalingDown").2,
        "Scaling down from 3 to 0 replicas"
    );
    world.run_set(&set);
    assert_eq!(world.plan_set(&set).actions, []);
    world.machines.clear();
    let planned = world.plan_set(&set);
    assert_eq!(planned.metadata.finalizers, Some(Vec::new()));
    assert_eq!(message(&planned, "Deleting").2, "Deletion completed");
}

#[test]
fn machines_that_were_made_and_are_not_seen_yet_are_not_made_again() {
    let (mut facts, tally) = facts_of(3, 1);
    facts.unseen = 2;
    assert_eq!(plan(&facts, &tally, at(100)).actions, []);
    facts.unseen = 1;
    let plan = plan(&facts, &tally, at(100));
    assert_eq!(
        plan.actions,
        [MachineSetAction::CreateMachines { count: 1 }]
    );
}

#[test]
fn a_paused_set_does_nothing_and_says_so() {
    let (mut facts, tally) = facts_of(3, 1);
    facts.cluster.paused = true;
    let annotations = &mut facts.object.metadata.annotations;
    annotations.insert(annotations::PAUSED.into(), String::new());
    let planned = plan(&facts, &tally, at(100));
    assert_eq!(planned.actions, []);
    assert_eq!(
        message(&planned, "Paused").2,
        "Cluster spec.paused is set to true, MachineSet has the cluster.x-k8s.io/paused annotation"
    );
    assert_eq!(planned.status.as_ref().unwrap().counters, None);
    facts.object.status = planned.status.unwrap().onto(&facts.object, at(100));
    assert!(plan(&facts, &tally, at(200)).is_idle());
}
