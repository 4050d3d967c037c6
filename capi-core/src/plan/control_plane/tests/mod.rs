//! Rows 163 to 184 of the checklist.

mod life;
mod removal;

use jiff::Timestamp;

use super::*;
use crate::{
    api::{
        Condition, ConditionStatus, ContractVersionedObjectReference, FailureDomain,
        MachineNodeReference, annotations,
    },
    contract::Metadata,
    plan::{condition::find, set_status::OwningCluster},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn healthy() -> MachineHealth {
    MachineHealth {
        member: Some(true),
        learner: false,
        member_healthy: Some(true),
        components: Some(true),
        message: String::new(),
    }
}

fn machine(name: &str, created: i64) -> Machine {
    let mut machine = Machine::default();
    machine.object.metadata = Metadata {
        name: name.into(),
        uid: format!("{name}-uid"),
        creation_timestamp: at(created).into(),
        annotations: [(REMOVAL_HOOK.to_owned(), String::new())].into(),
        owner_references: vec![OwnerReference {
            kind: "FakeControlPlane".into(),
            uid: "cp-uid".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }],
        ..Metadata::default()
    };
    machine.object.spec.version = Some("v1.35.0".into());
    machine.object.status.node_ref = Some(MachineNodeReference { name: name.into() });
    set(&mut machine, "UpToDate", ConditionStatus::True, "UpToDate");
    machine
}

fn set(machine: &mut Machine, type_: &str, status: ConditionStatus, reason: &str) {
    let conditions = &mut machine.object.status.conditions;
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(Condition {
        type_: type_.into(),
        status,
        reason: reason.into(),
        ..Condition::default()
    });
}

/// A control plane of machines `a`, `b`, ... that are all well.
fn facts(count: usize) -> ControlPlaneFacts {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut facts = ControlPlaneFacts {
        api_version: "example.org/v1".into(),
        kind: "FakeControlPlane".into(),
        finalizer: "example.org/cp".into(),
        prepared: true,
        kubeconfig: Kubeconfig::Present {
            ours: true,
            renewal_due: false,
        },
        ..ControlPlaneFacts::default()
    };
    facts.metadata.name = "cp".into();
    facts.metadata.namespace = "default".into();
    facts.metadata.uid = "cp-uid".into();
    facts.metadata.generation = 1;
    facts.metadata.finalizers = vec!["example.org/cp".into()];
    facts
        .metadata
        .labels
        .insert(labels::CLUSTER_NAME.into(), "c".into());
    facts.wanted.replicas = i32::try_from(count).ok();
    facts.wanted.version = "v1.35.0".into();
    facts.wanted.surge = true;
    facts.wanted.infrastructure_template = ContractVersionedObjectReference {
        kind: "FakeMachineTemplate".into(),
        name: "t".into(),
        api_group: "example.org".into(),
    };
    facts.cluster.owner = OwningCluster {
        name: "c".into(),
        uid: "c-uid".into(),
        paused: false,
    };
    facts.cluster.infrastructure_provisioned = true;
    facts.cluster.endpoint_valid = true;
    facts.health.initialized = count > 0;
    facts.health.etcd_healthy = (count > 0).then_some(true);
    for (index, name) in names.iter().take(count).enumerate() {
        facts
            .machines
            .push(machine(name, i64::try_from(index).unwrap()));
        facts.health.machines.insert((*name).to_owned(), healthy());
    }
    facts
}

fn acts(facts: &ControlPlaneFacts) -> Vec<String> {
    acts_at(facts, at(10_000))
}

/// The actions in short.
fn acts_at(facts: &ControlPlaneFacts, now: Timestamp) -> Vec<String> {
    let plan = plan(facts, now);
    plan.actions
        .iter()
        .map(|action| match action {
            ControlPlaneAction::CreateMachine { first: true, .. } => "create first".to_owned(),
            ControlPlaneAction::CreateMachine {
                failure_domain: Some(domain),
                ..
            } => {
                format!("create in {domain}")
            }
            ControlPlaneAction::CreateMachine { .. } => "create".to_owned(),
            ControlPlaneAction::Initialize { name } => format!("initialize {name}"),
            ControlPlaneAction::DeleteMachine { name, .. } => format!("delete {name}"),
            ControlPlaneAction::GuardMachine { name } => format!("guard {name}"),
            ControlPlaneAction::PrepareRemoval { name } => format!("leave {name}"),
            ControlPlaneAction::ReleaseMachine { name } => format!("release {name}"),
            ControlPlaneAction::RemoveForeignMember { member } => format!("remove {member}"),
            ControlPlaneAction::MarkMachine { name, conditions } => {
                let reasons: Vec<_> = conditions.iter().map(|c| c.reason.as_ref()).collect();
                format!("mark {name} {}", reasons.join(","))
            }
            ControlPlaneAction::ClearRemediation { name } => format!("clear {name}"),
            ControlPlaneAction::RecordRemediation { record } => match record {
                Some(record) => format!("record {} {}", record.machine, record.retry_count),
                None => "record none".to_owned(),
            },
            ControlPlaneAction::AdoptMachine { name, .. } => format!("adopt {name}"),
            ControlPlaneAction::Prepare => "prepare".to_owned(),
            ControlPlaneAction::EnsureKubeconfig => "kubeconfig".to_owned(),
            ControlPlaneAction::OwnTemplate => "own template".to_owned(),
        })
        .collect()
}

fn outdate(facts: &mut ControlPlaneFacts, names: &[&str]) {
    facts.wanted.version = "v1.36.0".into();
    for machine in &mut facts.machines {
        if names.contains(&machine.name()) {
            let wanted = Wanted::is_false("UpToDate", "NotUpToDate")
                .message("* Version v1.35.0, v1.36.0 required");
            set(machine, "UpToDate", wanted.status, &wanted.reason);
            machine.object.status.conditions.last_mut().unwrap().message = wanted.message;
        } else {
            machine.object.spec.version = Some("v1.36.0".into());
        }
    }
}

fn begin_deletion(facts: &mut ControlPlaneFacts, name: &str, seconds: i64, reason: &str) {
    let machine = facts
        .machines
        .iter_mut()
        .find(|machine| machine.name() == name)
        .unwrap();
    machine.object.metadata.deletion_timestamp = Some(at(seconds).into());
    set(machine, "Deleting", ConditionStatus::True, reason);
}

fn condemn(facts: &mut ControlPlaneFacts, name: &str) {
    let machine = facts
        .machines
        .iter_mut()
        .find(|machine| machine.name() == name)
        .unwrap();
    for type_ in ["HealthCheckSucceeded", "OwnerRemediated"] {
        set(machine, type_, ConditionStatus::False, "X");
    }
}

const HOOK: &str = "WaitingForPreTerminateHook";

#[test]
fn a_control_plane_at_rest_needs_nothing() {
    let mut at_rest = facts(3);
    let planned = plan(&at_rest, at(10_000));
    at_rest.conditions = planned.status.conditions.clone();
    at_rest.status = Some(planned.status);
    assert!(plan(&at_rest, at(20_000)).is_idle());
}

#[test]
fn the_first_machine_begins_the_cluster_and_the_others_join_one_by_one() {
    let mut facts = facts(0);
    facts.wanted.replicas = Some(3);
    facts.kubeconfig = Kubeconfig::Missing;
    facts.prepared = false;
    assert_eq!(acts(&facts), ["prepare"]);
    facts.prepared = true;
    assert_eq!(acts(&facts), ["kubeconfig", "create first"]);
    facts.kubeconfig = Kubeconfig::Present {
        ours: true,
        renewal_due: false,
    };
    facts.unseen = 1;
    assert_eq!(acts(&facts), [""; 0]);
    facts.unseen = 0;
    facts.machines.push(machine("a", 0));
    facts.machines[0].object.status.node_ref = None;
    assert_eq!(acts(&facts), ["initialize a"]);
    facts.health.initialized = true;
    assert_eq!(acts(&facts), [""; 0]);
    facts.machines[0].object.status.node_ref = Some(MachineNodeReference::default());
    facts.health.machines.insert("a".into(), healthy());
    assert_eq!(acts(&facts), ["create"]);
    facts.unseen = 1;
    assert_eq!(acts(&facts), [""; 0]);
}

#[test]
fn nothing_is_made_before_the_cluster_offers_what_it_needs() {
    let mut facts = facts(0);
    facts.wanted.replicas = Some(1);
    facts.cluster.endpoint_valid = false;
    assert_eq!(acts(&facts), [""; 0]);
    facts.cluster.infrastructure_provisioned = false;
    assert_eq!(acts(&facts), [""; 0]);
    let waits = plan(&facts, at(0)).blocked_on;
    assert!(waits[0].message.contains("infrastructure"));
}

#[test]
fn growing_waits_for_everything_that_is_on_its_way() {
    type Change = fn(&mut ControlPlaneFacts);
    let changes: [(Change, &str); 8] = [
        (
            |f| begin_deletion(f, "b", 0, "Drain"),
            "waiting for a control plane Machine to complete deletion",
        ),
        (
            |f| f.prepared = false,
            "cluster certificates are missing or unknown",
        ),
        (
            |f| f.machines[1].object.status.node_ref = None,
            "waiting for control plane components to become healthy",
        ),
        (
            |f| f.health.machines.get_mut("b").unwrap().components = Some(false),
            "waiting for control plane components to become healthy",
        ),
        (
            |f| f.health.machines.get_mut("b").unwrap().components = None,
            "waiting for control plane components to become healthy",
        ),
        (
            |f| {
                f.health.machines.remove("b");
            },
            "waiting for control plane components to become healthy",
        ),
        (
            |f| f.health.machines.get_mut("b").unwrap().member_healthy = Some(false),
            "waiting for etcd cluster to become healthy",
        ),
        (
            |f| f.health.machines.get_mut("b").unwrap().learner = true,
            "waiting for etcd cluster to become healthy",
        ),
    ];
    for (change, expected) in changes {
        let mut facts = facts(3);
        facts.wanted.replicas = Some(5);
        assert_eq!(acts(&facts), ["create"]);
        change(&mut facts);
        let planned = plan(&facts, at(10_000));
        let made = planned
            .actions
            .iter()
            .any(|a| matches!(a, ControlPlaneAction::CreateMachine { .. }));
        assert!(!made, "{expected}");
        let message = &find(&planned.status.conditions, "ScalingUp")
            .unwrap()
            .message;
        assert!(
            message.contains(expected),
            "{message:?} should say {expected:?}"
        );
    }
    // Where etcd runs elsewhere, its members are no business of ours.
    let mut facts = facts(3);
    facts.wanted.replicas = Some(5);
    facts.etcd_managed = false;
    facts
        .health
        .machines
        .values_mut()
        .for_each(|health| health.member = None);
    assert_eq!(acts(&facts), ["create"]);
}

#[test]
fn a_version_that_the_topology_has_not_handed_on_yet_is_waited_for() {
    let mut facts = facts(3);
    facts.wanted.replicas = Some(5);
    facts.cluster.topology_version = Some("v1.36.0".into());
    assert_eq!(acts(&facts), [""; 0]);
    facts.cluster.upgrade_step = Some("v1.35.0".into());
    assert_eq!(acts(&facts), ["create"]);
}

#[test]
fn the_machine_to_remove_is_chosen_by_marks_age_and_placement() {
    let mut facts = facts(5);
    facts.wanted.replicas = Some(3);
    facts.wanted.surge = false;
    assert_eq!(acts(&facts), ["delete a"], "the oldest");
    let mark = |facts: &mut ControlPlaneFacts, index: usize| {
        let annotations = &mut facts.machines[index].object.metadata.annotations;
        annotations.insert(annotations::DELETE_MACHINE.into(), String::new());
    };
    let mut placed = facts.clone();
    for (machine, domain) in placed.machines.iter_mut().zip(["x", "x", "y", "y", "y"]) {
        machine.object.spec.failure_domain = Some(domain.into());
    }
    placed.cluster.failure_domains = ["x", "y", "z"]
        .map(|name| FailureDomain {
            name: name.into(),
            control_plane: Some(name != "z"),
            ..FailureDomain::default()
        })
        .to_vec();
    assert_eq!(
        acts(&placed),
        ["delete c"],
        "the oldest in the fullest domain"
    );
    placed.machines[3].object.spec.failure_domain = Some("z".into());
    assert_eq!(acts(&placed), ["delete d"], "one in no known domain");

    outdate(&mut facts, &["b", "c", "d"]);
    assert_eq!(acts(&facts), ["delete b"], "outdated");
    facts.health.machines.get_mut("c").unwrap().components = Some(false);
    assert_eq!(
        acts(&facts),
        ["delete c"],
        "outdated and sick, although it would hold the others"
    );
    mark(&mut facts, 4);
    facts.health.machines.get_mut("c").unwrap().components = Some(true);
    assert_eq!(acts(&facts), ["delete e"], "marked");
    mark(&mut facts, 3);
    assert_eq!(acts(&facts), ["delete d"], "outdated and marked");
}

#[test]
fn a_new_machine_goes_where_the_fewest_good_ones_are() {
    let mut facts = facts(3);
    facts.wanted.replicas = Some(5);
    facts.cluster.failure_domains = ["x", "y", "z"]
        .map(|name| FailureDomain {
            name: name.into(),
            control_plane: Some(name != "z"),
            ..FailureDomain::default()
        })
        .to_vec();
    for (machine, domain) in facts.machines.iter_mut().zip(["x", "x", "elsewhere"]) {
        machine.object.spec.failure_domain = Some(domain.into());
    }
    assert_eq!(acts(&facts), ["create in y"]);
    facts.machines[2].object.spec.failure_domain = Some("y".into());
    facts.machines[1].object.spec.failure_domain = Some("y".into());
    // y has two, of which one is outdated; x has one: equal by good ones, x has fewer of all.
    outdate(&mut facts, &["c"]);
    facts.wanted.surge = true;
    assert_eq!(acts(&facts), ["create in x"]);
}

#[test]
fn an_outdated_machine_is_replaced_with_one_more_or_one_less() {
    let mut facts = facts(3);
    outdate(&mut facts, &["a", "b", "c"]);
    assert_eq!(acts(&facts), ["create"]);
    let mut new = machine("d", 9);
    new.object.spec.version = Some("v1.36.0".into());
    facts.machines.push(new);
    assert_eq!(acts(&facts), [""; 0], "the new one has not joined");
    facts.health.machines.insert("d".into(), healthy());
    assert_eq!(acts(&facts), ["delete a"]);
    begin_deletion(&mut facts, "a", 100, "Drain");
    assert_eq!(
        acts(&facts),
        [""; 0],
        "never a second one while the first is not gone"
    );

    let mut facts = self::facts(3);
    outdate(&mut facts, &["a", "b", "c"]);
    facts.wanted.surge = false;
    assert_eq!(acts(&facts), ["delete a"]);
    facts.machines.remove(0);
    facts.health.machines.remove("a");
    assert_eq!(acts(&facts), ["create"], "one back before the next goes");
}

#[test]
fn what_is_deleted_by_hand_only_is_not_replaced() {
    let mut facts = facts(3);
    outdate(&mut facts, &["a", "b", "c"]);
    facts.wanted.on_delete = true;
    assert_eq!(acts(&facts), [""; 0]);
    facts.machines.remove(1);
    facts.health.machines.remove("b");
    assert_eq!(acts(&facts), ["create"]);
}

#[test]
fn each_difference_is_named_on_the_machine() {
    let mut facts = facts(3);
    facts.wanted.version = "v1.36.0".into();
    let machine = &mut facts.machines[0];
    machine.object.spec.infrastructure_ref.kind = "FakeMachine".into();
    machine.object.spec.bootstrap.config_ref = Some(ContractVersionedObjectReference {
        kind: "FakeConfig".into(),
        ..Default::default()
    });
    machine.infrastructure_current = Some(false);
    machine.bootstrap_current = Some(false);
    facts.wanted.rollout_after = Some(at(5).into());
    let planned = plan(&facts, at(10_000));
    let ControlPlaneAction::MarkMachine { name, conditions } = &planned.actions[0] else {
        panic!("{:?}", planned.actions)
    };
    assert_eq!(name, "a");
    assert_eq!(
        conditions[0].message,
        "* Version v1.35.0, v1.36.0 required\n* FakeConfig is not up-to-date\n* FakeMachine is not up-to-date\n* FakeControlPlane spec.rolloutAfter expired"
    );
    // What cannot be told counts as current, and a time to come is waited for.
    let mut facts = self::facts(3);
    facts.wanted.rollout_after = Some(at(20_000).into());
    assert_eq!(acts(&facts), [""; 0]);
    assert_eq!(plan(&facts, at(10_000)).again, Some(at(20_000)));
}

#[test]
fn the_last_machine_is_never_removed() {
    let mut facts = facts(1);
    facts.wanted.replicas = Some(0);
    assert_eq!(acts(&facts), [""; 0]);
    let planned = plan(&facts, at(0));
    let down = find(&planned.status.conditions, "ScalingDown").unwrap();
    assert!(
        down.message
            .contains("Cannot scale down control plane nodes to 0"),
        "{}",
        down.message
    );
    facts.wanted.replicas = Some(1);
    facts.wanted.surge = false;
    outdate(&mut facts, &["a"]);
    assert_eq!(acts(&facts), [""; 0]);
}

#[test]
fn machines_of_nobody_are_adopted_and_machines_of_others_stop_everything() {
    let mut facts = facts(3);
    facts.wanted.replicas = Some(5);
    facts.machines[1].object.metadata.owner_references.clear();
    assert_eq!(acts(&facts), ["adopt b", "create"]);
    facts.machines[1]
        .object
        .metadata
        .owner_references
        .push(OwnerReference {
            kind: "Other".into(),
            uid: "other".into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
    let planned = plan(&facts, at(0));
    assert!(planned.errors[0].contains("cannot be shared"));
    assert_eq!(planned.actions, []);
}

#[test]
fn a_kubeconfig_is_made_renewed_and_never_taken_from_its_user() {
    for (kubeconfig, made) in [
        (Kubeconfig::Missing, true),
        (
            Kubeconfig::Present {
                ours: true,
                renewal_due: false,
            },
            false,
        ),
        (
            Kubeconfig::Present {
                ours: true,
                renewal_due: true,
            },
            true,
        ),
        (
            Kubeconfig::Present {
                ours: false,
                renewal_due: true,
            },
            false,
        ),
    ] {
        let mut facts = facts(3);
        facts.kubeconfig = kubeconfig;
        assert_eq!(acts(&facts) == ["kubeconfig"], made, "{kubeconfig:?}");
    }
}

#[test]
fn deletion_waits_for_workers_and_then_takes_all_machines_at_once() {
    let mut facts = facts(3);
    facts.metadata.deletion_timestamp = Some(at(0).into());
    facts.cluster.workers = vec!["Machine w".into()];
    assert_eq!(acts(&facts), [""; 0]);
    let reason = |facts: &ControlPlaneFacts| {
        find(&plan(facts, at(0)).status.conditions, "Deleting")
            .unwrap()
            .reason
            .clone()
    };
    assert_eq!(reason(&facts), "WaitingForWorkersDeletion");
    facts.cluster.workers.clear();
    facts.cluster.infrastructure_provisioned = false;
    assert_eq!(
        acts(&facts),
        [
            "release a",
            "delete a",
            "release b",
            "delete b",
            "release c",
            "delete c"
        ]
    );
    assert_eq!(reason(&facts), "WaitingForMachineDeletion");
    facts.machines.clear();
    let planned = plan(&facts, at(0));
    assert_eq!(planned.metadata.finalizers, Some(Vec::new()));
    assert_eq!(reason(&facts), "DeletionCompleted");
}

#[test]
fn machines_get_the_hook_from_birth_or_only_when_they_go() {
    let mut facts = facts(3);
    assert_eq!(machine_annotations(&facts).len(), 1);
    facts.machines[0].object.metadata.annotations.clear();
    assert_eq!(acts(&facts), ["guard a"]);
    facts.guard = Guard::WhileRemoved;
    assert_eq!(machine_annotations(&facts).len(), 0);
    assert_eq!(acts(&facts), [""; 0]);
    facts.wanted.replicas = Some(1);
    assert_eq!(acts(&facts), ["guard a", "delete a"]);
}

#[test]
fn a_recorded_state_replays_to_the_same_plan() {
    let mut facts = facts(5);
    facts.wanted.replicas = Some(3);
    condemn(&mut facts, "b");
    let text = serde_json::to_string(&facts).unwrap();
    let read: ControlPlaneFacts = serde_json::from_str(&text).unwrap();
    assert_eq!(read, facts);
    let planned = plan(&read, at(100));
    assert_eq!(planned, plan(&facts, at(100)));
    let written = serde_json::to_string(&planned).unwrap();
    assert_eq!(
        serde_json::from_str::<ControlPlanePlan>(&written).unwrap(),
        planned
    );
}
