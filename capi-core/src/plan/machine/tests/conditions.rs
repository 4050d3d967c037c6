//! What a Machine says of itself.

use super::*;
use crate::api::{ConditionGate, ConditionPolarity, annotations};

fn gate(type_: &str, negative: bool) -> ConditionGate {
    ConditionGate {
        condition_type: type_.into(),
        polarity: negative.then_some(ConditionPolarity::Negative),
    }
}

#[test]
fn the_first_rule_that_holds_tells_of_the_node() {
    type Change = fn(&mut MachineFacts);
    let waiting_for = |what: &str| format!("Unknown InspectionFailed Waiting for {what}");
    let down = "Unknown ConnectionDown";
    let table: Vec<(&str, Change, String, String)> = vec![
        (
            "the cluster has no infrastructure",
            |f| f.cluster.infrastructure_provisioned = false,
            waiting_for("Cluster status.initialization.infrastructureProvisioned to be true"),
            String::new(),
        ),
        (
            "the control plane is not initialized",
            |f| f.cluster.control_plane_initialized = None,
            waiting_for("Cluster control plane to be initialized"),
            String::new(),
        ),
        (
            "nobody tried to connect, and nothing is known yet",
            |f| {
                f.connection = Connection::default();
                f.machine.status.conditions.clear();
            },
            format!("{down} Remote connection not established yet"),
            String::new(),
        ),
        (
            "nobody tried to connect, the last known state stays",
            |f| f.connection = Connection::default(),
            "True NodeReady".to_owned(),
            "True NodeHealthy".to_owned(),
        ),
        (
            "the connection has been down for less than five minutes",
            |f| {
                f.connection.last_probe_success = Some(time(NOW - 299));
                f.node = NodeLookup::NotConnected;
            },
            "True NodeReady".to_owned(),
            "True NodeHealthy".to_owned(),
        ),
        (
            "the connection has been down for more than five minutes",
            |f| f.connection.last_probe_success = Some(time(NOW - 301)),
            format!("{down} Last successful probe at 1970-01-02T03:41:39Z"),
            String::new(),
        ),
        (
            "there never was a connection",
            |f| {
                f.connection = Connection {
                    last_probe_success: None,
                    consecutive_failures: 5,
                };
            },
            down.to_owned(),
            String::new(),
        ),
        (
            "it was never reached, but the control plane is there for a minute only",
            |f| {
                f.connection.last_probe_success = None;
                f.connection.consecutive_failures = 5;
                f.cluster.control_plane_initialized = Some(time(NOW - 60));
                f.node = NodeLookup::NotConnected;
                f.machine.status.conditions.clear();
            },
            down.to_owned(),
            String::new(),
        ),
        (
            "the node cannot be read",
            |f| f.node = NodeLookup::Failed("boom".into()),
            "Unknown InternalError Please check controller logs for errors".to_owned(),
            String::new(),
        ),
        (
            "there is no identity yet",
            |f| {
                f.machine.spec.provider_id = None;
                f.machine.status.node_ref = None;
                f.machine.status.initialization.infrastructure_provisioned = None;
                infra(f).provisioned = Field::Absent;
                f.node = NodeLookup::NotLooked;
            },
            waiting_for("Host to report spec.providerID"),
            String::new(),
        ),
    ];
    for (what, change, ready, healthy) in table {
        let mut facts = running();
        change(&mut facts);
        let plan = plan_now(&facts);
        let healthy = if healthy.is_empty() {
            ready.clone()
        } else {
            healthy
        };
        assert_eq!(said(&plan, types::NODE_READY), ready, "{what}");
        assert_eq!(said(&plan, types::NODE_HEALTHY), healthy, "{what}");
    }
}

#[test]
fn a_nodes_conditions_are_summed_up() {
    type Row<'a> = (&'a [(&'a str, &'a str, &'a str)], &'a str, &'a str);
    let table: &[Row<'_>] = &[
        (&[], "True NodeReady", "True NodeHealthy"),
        (
            &[("MemoryPressure", "True", "out of memory")],
            "True NodeReady",
            "False NodeNotHealthy * Node.MemoryPressure: out of memory",
        ),
        (
            &[
                ("Ready", "False", "kubelet is posting"),
                ("DiskPressure", "Unknown", ""),
            ],
            "False NodeNotReady * Node.Ready: kubelet is posting",
            "False NodeNotHealthy * Node.Ready: kubelet is posting\n* Node.DiskPressure: \
             Condition is Unknown",
        ),
        (
            &[
                ("Ready", "Unknown", "stopped"),
                ("MemoryPressure", "Unknown", "stopped"),
                ("DiskPressure", "Unknown", "stopped"),
                ("PIDPressure", "Unknown", "stopped"),
            ],
            "Unknown NodeReadyUnknown * Node.Ready: stopped",
            "Unknown NodeHealthyUnknown * Node.AllConditions: stopped",
        ),
    ];
    for (changes, ready, healthy) in table {
        let mut facts = running();
        let NodeLookup::Found(node) = &mut facts.node else {
            unreachable!()
        };
        for (type_, status, message) in *changes {
            let found = node
                .status
                .conditions
                .iter_mut()
                .find(|c| c.type_ == *type_)
                .unwrap();
            found.status = (*status).into();
            found.message = (*message).into();
        }
        let plan = plan_now(&facts);
        assert_eq!(said(&plan, types::NODE_READY), *ready);
        assert_eq!(said(&plan, types::NODE_HEALTHY), *healthy);
    }
    let mut facts = running();
    let NodeLookup::Found(node) = &mut facts.node else {
        unreachable!()
    };
    node.status.conditions.clear();
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::NODE_READY),
        "Unknown NodeReadyUnknown * Node.Ready: Condition not yet reported"
    );
    assert!(said(&plan, types::NODE_HEALTHY).starts_with("Unknown NodeHealthyUnknown"));
}

#[test]
fn ready_counts_the_health_check_when_there_is_one_and_the_gates_always() {
    use ConditionStatus::{False, True};
    let check = |status| condition("HealthCheckSucceeded", status, "R", "sick");
    let table: Vec<(Vec<Condition>, Vec<ConditionGate>, &str)> = vec![
        (vec![], vec![], "True Ready"),
        (
            vec![check(True)],
            vec![],
            "True Ready * HealthCheckSucceeded: sick",
        ),
        (
            vec![check(False)],
            vec![],
            "False NotReady * HealthCheckSucceeded: sick",
        ),
        (
            vec![],
            vec![gate("Gate", false)],
            "Unknown ReadyUnknown * Gate: Condition not yet reported",
        ),
        (
            vec![condition("Gate", False, "Closed", "")],
            vec![gate("Gate", false)],
            "False NotReady * Gate: Closed",
        ),
        (
            vec![condition("Gate", False, "Closed", "")],
            vec![gate("Gate", true)],
            "True Ready",
        ),
        (
            vec![condition("Gate", True, "Open", "")],
            vec![gate("Gate", true)],
            "False NotReady * Gate: Open",
        ),
    ];
    for (extra, gates, expected) in table {
        let mut facts = running();
        facts.machine.status.conditions.extend(extra);
        facts.machine.spec.readiness_gates = gates;
        assert_eq!(said(&plan_now(&facts), types::READY), expected);
    }
}

#[test]
fn components_of_a_control_plane_are_told_in_one_line_when_they_say_the_same() {
    let bad = |type_: &str, message: &str| condition(type_, ConditionStatus::False, "R", message);
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[
                ("APIServerPodHealthy", "down"),
                ("SchedulerPodHealthy", "down"),
                ("Other", "x"),
            ],
            "* Control plane components: down\n* Other: x",
        ),
        (
            &[
                ("APIServerPodHealthy", "down"),
                ("SchedulerPodHealthy", "up"),
            ],
            "* APIServerPodHealthy: down\n* SchedulerPodHealthy: up",
        ),
        (
            &[("APIServerPodHealthy", "down")],
            "* APIServerPodHealthy: down",
        ),
        (
            &[
                ("EtcdPodHealthy", "down"),
                ("ControllerManagerPodHealthy", "down"),
            ],
            "* Control plane components: down",
        ),
        (
            &[
                ("EtcdMemberHealthy", "down"),
                ("APIServerPodHealthy", "down"),
            ],
            "* EtcdMemberHealthy: down\n* APIServerPodHealthy: down",
        ),
    ];
    for (reported, expected) in table {
        let mut facts = running();
        for (type_, message) in *reported {
            facts.machine.spec.readiness_gates.push(gate(type_, false));
            facts.machine.status.conditions.push(bad(type_, message));
        }
        let plan = plan_now(&facts);
        assert_eq!(
            said(&plan, types::READY),
            format!("False NotReady {expected}")
        );
    }
}

#[test]
fn a_long_deletion_is_told_with_its_likely_causes() {
    let message = "Drain not completed yet (started at X):\n* Pod a/b: cannot evict pod as it \
                   would violate the pod's disruption budget. x\n* Pod c/d: waiting for completion";
    let long = NOW + 16 * 60;
    for (now, drain_since, expected) in [
        (
            NOW,
            NOW - 3,
            "Machine deletion in progress, stage: DrainingNode",
        ),
        (
            long,
            long - 60,
            "Machine deletion in progress since more than 15m, stage: DrainingNode",
        ),
        (
            long,
            long - 301,
            "Machine deletion in progress since more than 15m, stage: DrainingNode, delay likely \
             due to PodDisruptionBudgets, Pods not completed yet",
        ),
    ] {
        let facts = deleting(running());
        let status = &mut facts.machine.status.clone();
        status.deletion.node_drain_start_time = Some(time(drain_since));
        let work = Work {
            facts: &facts,
            now: at(now),
            spec: facts.machine.spec.clone(),
            status: status.clone(),
            node: None,
            out: MachinePlan::default(),
        };
        let deleting = condition("Deleting", ConditionStatus::True, "DrainingNode", message);
        assert_eq!(work.deletion_in_short(&deleting), expected);
    }
}

#[test]
fn available_comes_after_the_wanted_time_of_readiness() {
    for (seconds, ready_since, expected, again) in [
        (None, NOW, "True Available", None),
        (Some(10), NOW - 10, "True Available", None),
        (
            Some(10),
            NOW - 4,
            "False WaitingForMinReadySeconds",
            Some(at(NOW + 6)),
        ),
    ] {
        let mut facts = running();
        facts.machine.spec.min_ready_seconds = seconds;
        let ready = facts
            .machine
            .status
            .conditions
            .iter_mut()
            .find(|c| c.type_ == "Ready");
        ready.unwrap().last_transition_time = time(ready_since);
        let plan = plan_now(&facts);
        assert_eq!(said(&plan, types::AVAILABLE), expected);
        assert_eq!(plan.again, again);
    }
    let mut facts = running();
    facts.node = NodeLookup::NotFound;
    assert_eq!(said(&plan_now(&facts), types::AVAILABLE), "False NotReady");
}

#[test]
fn only_machines_of_a_deployment_say_whether_they_are_up_to_date() {
    let with = |change: fn(&mut SetFacts, &mut DeploymentFacts, &mut MachineFacts)| {
        let mut facts = running();
        let template = facts.machine.spec.clone();
        let mut set = SetFacts {
            template: template.clone(),
            ..SetFacts::default()
        };
        set.metadata.creation_timestamp = time(100);
        let mut deployment = DeploymentFacts {
            template,
            ..DeploymentFacts::default()
        };
        change(&mut set, &mut deployment, &mut facts);
        facts.machine_set = Some(set);
        facts.machine_deployment = Some(deployment);
        said(&plan_now(&facts), types::UP_TO_DATE)
    };
    assert_eq!(said(&plan_now(&running()), types::UP_TO_DATE), "-");
    assert_eq!(with(|_, _, _| {}), "True UpToDate");
    let all = with(|_, d, _| {
        d.template.version = Some("v1.37.0".into());
        d.template.failure_domain = Some("b".into());
        d.template.infrastructure_ref.kind = "HostTemplate".into();
        d.template.bootstrap.config_ref.as_mut().unwrap().name = "new".into();
    });
    assert_eq!(
        all,
        "False NotUpToDate * Version v1.36.0, v1.37.0 required\n* Config is not up-to-date\n* \
         Host is not up-to-date\n* Failure domain , b required"
    );
    assert_eq!(
        with(|_, d, _| d.rollout_after = Some(time(NOW - 1))),
        "False NotUpToDate * MachineDeployment spec.rolloutAfter expired"
    );
    assert_eq!(
        with(|_, d, _| d.rollout_after = Some(time(NOW + 1))),
        "True UpToDate"
    );
    assert_eq!(
        with(|_, d, _| d.rollout_after = Some(time(50))),
        "True UpToDate"
    );
    assert_eq!(
        with(|_, _, f| {
            let NodeLookup::Found(node) = &mut f.node else {
                unreachable!()
            };
            node.status.node_info.kubelet_version = "v1.35.9".into();
        }),
        "False Updating * Node.status.nodeInfo.kubeletVersion v1.35.9, v1.36.0 required"
    );
    assert_eq!(
        with(|_, _, f| {
            let key = annotations::UPDATE_IN_PROGRESS.to_owned();
            f.machine.metadata.annotations.insert(key, String::new());
        }),
        "False Updating * In-place update in progress"
    );
}

#[test]
fn the_phase_follows_and_its_time_changes_only_with_it() {
    let facts = running();
    assert_eq!(facts.machine.status.last_updated, Some(time(NOW)));
    let later = plan(&facts, at(NOW + 50));
    assert_eq!(later.status.last_updated, Some(time(NOW)));
    let mut updating = facts.clone();
    let hook = annotations::PENDING_HOOKS.to_owned();
    updating
        .machine
        .metadata
        .annotations
        .insert(hook, "A,UpdateMachine".into());
    let updated = plan(&updating, at(NOW + 60));
    assert_eq!(updated.status.phase.as_ref().unwrap().as_str(), "Updating");
    assert_eq!(updated.status.last_updated, Some(time(NOW + 60)));
    assert_eq!(
        said(&updated, types::UPDATING),
        "True InPlaceUpdating In-place update in progress"
    );
    let gone = plan_now(&deleting(facts));
    assert_eq!(gone.status.phase.as_ref().unwrap().as_str(), "Deleting");
}

#[test]
fn a_machine_with_a_secret_of_the_user_needs_no_config() {
    let mut facts = running();
    facts.machine.spec.bootstrap.config_ref = None;
    facts.bootstrap_config = Lookup::NotReferenced;
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::BOOTSTRAP_CONFIG_READY),
        "True DataSecretProvided"
    );
    assert_eq!(said(&plan, types::READY), "True Ready");
}

#[test]
fn external_objects_are_mirrored_and_missing_ones_explained() {
    type Change = fn(&mut MachineFacts);
    let table: Vec<(Change, &str)> = vec![
        (
            |f| {
                infra(f).ready =
                    Field::Present(condition("Ready", ConditionStatus::False, "Bad", "m"));
            },
            "False Bad m",
        ),
        (
            |f| {
                infra(f).ready = Field::Present(condition(
                    "Ready",
                    ConditionStatus::True,
                    "NoReasonReported",
                    "",
                ));
            },
            "True Ready",
        ),
        (
            |f| infra(f).ready = Field::Malformed("broken".into()),
            "Unknown InvalidConditionReported broken",
        ),
        (|_| {}, "True Ready"),
        (
            |f| {
                f.infra_machine = Lookup::NotFound;
                f.machine.metadata.deletion_timestamp = Some(time(NOW));
            },
            "False ObjectDeleted Host has been deleted",
        ),
        (
            |f| {
                f.infra_machine = Lookup::NotFound;
                f.machine.status.initialization.infrastructure_provisioned = None;
            },
            "False ObjectDoesNotExist Host does not exist",
        ),
    ];
    for (change, expected) in table {
        let mut facts = running();
        change(&mut facts);
        assert_eq!(
            said(&plan_now(&facts), types::INFRASTRUCTURE_READY),
            expected
        );
    }
    let mut facts = fresh();
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::INFRASTRUCTURE_READY),
        "False NotReady Host status.initialization.provisioned is false"
    );
    facts.bootstrap_config = Lookup::NotFound;
    assert_eq!(
        said(&plan_now(&facts), types::BOOTSTRAP_CONFIG_READY),
        "False ObjectDoesNotExist Config does not exist"
    );
}
