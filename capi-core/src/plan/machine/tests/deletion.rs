//! From the wish to delete to the last finalizer.

use super::*;
use crate::{
    api::annotations,
    plan::{
        ActionFailure,
        delete::machine::ControlPlaneFacts,
        drain::{DrainFacts, Eviction, Pod},
        volumes::VolumeFacts,
    },
};

/// A Machine that is being deleted, with all that its steps ask for: an empty Node.
fn leaving() -> MachineFacts {
    let mut facts = deleting(running());
    facts.deletion.node = NodeLookup::Found(Node {
        spec: NodeSpec {
            unschedulable: true,
            ..node().spec
        },
        ..node()
    });
    facts.deletion.pods = Some(Ok(DrainFacts::default()));
    facts.deletion.volumes = Some(Ok(VolumeFacts::default()));
    facts
}

fn pod(name: &str) -> Pod {
    Pod {
        metadata: Metadata {
            name: name.into(),
            namespace: "apps".into(),
            uid: name.into(),
            ..Metadata::default()
        },
        ..Pod::default()
    }
}

fn with_pods(facts: &mut MachineFacts, names: &[&str]) {
    facts.deletion.pods = Some(Ok(DrainFacts {
        pods: names.iter().map(|name| pod(name)).collect(),
        namespaces: [("apps".to_owned(), Default::default())].into(),
        ..DrainFacts::default()
    }));
}

fn stage(plan: &MachinePlan) -> &str {
    find(&plan.status.conditions, types::DELETING)
        .unwrap()
        .reason
        .as_str()
}

#[test]
fn the_node_is_left_alone_when_the_cluster_or_its_control_plane_goes() {
    type Change = fn(&mut MachineFacts);
    let table: Vec<(&str, Change, bool)> = vec![
        ("all is well", |_| {}, true),
        (
            "the cluster is being deleted",
            |f| f.cluster.deleting = true,
            false,
        ),
        (
            "there is no node",
            |f| {
                f.machine.status.node_ref = None;
                f.node = NodeLookup::NotFound;
            },
            false,
        ),
        (
            "the node's name was not known, but the node is there",
            |f| f.machine.status.node_ref = None,
            true,
        ),
        (
            "the control plane object is being deleted",
            |f| {
                f.deletion.control_plane = Lookup::Found(ControlPlaneFacts {
                    deleting: true,
                    externally_managed: true,
                });
            },
            false,
        ),
        (
            "no control plane machine is left",
            |f| f.deletion.control_plane_machines = 0,
            false,
        ),
        (
            "the control plane object is gone, machines are left",
            |f| f.deletion.control_plane = Lookup::NotFound,
            true,
        ),
        (
            "the control plane has no machines of ours",
            |f| {
                f.deletion.control_plane_machines = 0;
                f.deletion.control_plane = Lookup::Found(ControlPlaneFacts {
                    deleting: false,
                    externally_managed: true,
                });
            },
            true,
        ),
    ];
    for (what, change, drains) in table {
        let mut facts = leaving();
        with_pods(&mut facts, &["a"]);
        change(&mut facts);
        let plan = plan_now(&facts);
        let expected = if drains {
            "DrainingNode"
        } else {
            "WaitingForInfrastructureDeletion"
        };
        assert_eq!(stage(&plan), expected, "{what}");
        let asks = plan.actions.iter().any(Action::is_question);
        assert_eq!(asks, drains, "{what}: {:?}", plan.actions);
    }
    let mut facts = leaving();
    facts.deletion.control_plane = Lookup::Failed("boom".into());
    let plan = plan_now(&facts);
    assert_eq!(stage(&plan), "InternalError");
    assert!(plan.errors[0].contains("boom"));
    assert!(deletes(&plan).is_empty());
}

#[test]
fn an_unreachable_cluster_does_not_keep_a_machine_without_node_from_going() {
    let mut facts = leaving();
    facts.machine.status.node_ref = None;
    facts.node = NodeLookup::NotConnected;
    let plan = plan_now(&facts);
    assert_eq!(deletes(&plan), ["Host"]);
    assert_eq!(plan.errors, Vec::<String>::new());
}

#[test]
fn hooks_hold_the_deletion_until_their_owners_remove_them() {
    let hook = |facts: &mut MachineFacts, prefix: &str, name: &str| {
        let key = format!("{prefix}/{name}");
        facts
            .machine
            .metadata
            .annotations
            .insert(key, "owner".into());
    };
    let mut facts = leaving();
    hook(&mut facts, annotations::PRE_DRAIN_HOOK_PREFIX, "b");
    hook(&mut facts, annotations::PRE_DRAIN_HOOK_PREFIX, "a");
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::DELETING),
        "True WaitingForPreDrainHook Waiting for pre-drain hooks to succeed (hooks: \
         pre-drain.delete.hook.machine.cluster.x-k8s.io/a,\
         pre-drain.delete.hook.machine.cluster.x-k8s.io/b)"
    );
    assert_eq!((plan.again, plan.actions.len()), (None, 0));
    let started = plan.status.deletion.wait_for_pre_drain_hook_start_time;
    assert_eq!(started, Some(time(NOW)));
    let later = super::plan(&executed(facts.clone(), &plan), at(NOW + 9));
    assert_eq!(
        later.status.deletion.wait_for_pre_drain_hook_start_time,
        started
    );

    // Of a deleted cluster, pre-drain hooks do not matter, pre-terminate hooks do.
    facts.cluster.deleting = true;
    assert_eq!(stage(&plan_now(&facts)), "WaitingForInfrastructureDeletion");
    hook(&mut facts, annotations::PRE_TERMINATE_HOOK_PREFIX, "z");
    let plan = plan_now(&facts);
    assert_eq!(stage(&plan), "WaitingForPreTerminateHook");
    assert!(deletes(&plan).is_empty());
    assert!(plan.blocked_on.iter().any(|b| b.message.contains("/z")));
}

#[test]
fn draining_and_volumes_are_skipped_by_annotation_time_limit_and_later_steps() {
    type Change = fn(&mut MachineFacts);
    let table: Vec<(&str, Change, &str)> = vec![
        ("nothing set", |_| {}, "DrainingNode"),
        (
            "excluded by annotation",
            |f| {
                let key = annotations::EXCLUDE_NODE_DRAINING.to_owned();
                f.machine.metadata.annotations.insert(key, String::new());
            },
            "WaitingForVolumeDetach",
        ),
        (
            "time limit 0",
            |f| f.machine.spec.deletion.node_drain_timeout_seconds = Some(0),
            "DrainingNode",
        ),
        (
            "time limit not passed",
            |f| {
                f.machine.spec.deletion.node_drain_timeout_seconds = Some(10);
                f.machine.status.deletion.node_drain_start_time = Some(time(NOW - 9));
            },
            "DrainingNode",
        ),
        (
            "time limit passed",
            |f| {
                f.machine.spec.deletion.node_drain_timeout_seconds = Some(10);
                f.machine.status.deletion.node_drain_start_time = Some(time(NOW - 10));
            },
            "WaitingForVolumeDetach",
        ),
        (
            "the infrastructure is being deleted",
            |f| infra(f).object.metadata.deletion_timestamp = Some(time(NOW)),
            "WaitingForInfrastructureDeletion",
        ),
        (
            "the infrastructure is gone",
            |f| f.infra_machine = Lookup::NotFound,
            "WaitingForBootstrapDeletion",
        ),
        (
            "pre-terminate hooks have been reached",
            |f| {
                let started = &mut f.machine.status.deletion;
                started.wait_for_pre_terminate_hook_start_time = Some(time(NOW));
            },
            "WaitingForInfrastructureDeletion",
        ),
    ];
    for (what, change, expected) in table {
        let mut facts = leaving();
        with_pods(&mut facts, &["a"]);
        let Some(Ok(pods)) = &mut facts.deletion.pods else {
            unreachable!()
        };
        pods.evictions = Some([("apps/a".to_owned(), Eviction::Accepted)].into());
        let attached = crate::plan::volumes::AttachedPersistentVolume {
            attachment: "va".into(),
            persistent_volume: Some("pv".into()),
        };
        facts.deletion.volumes = Some(Ok(VolumeFacts {
            attached: vec![attached],
            ..VolumeFacts::default()
        }));
        change(&mut facts);
        assert_eq!(stage(&plan_now(&facts)), expected, "{what}");
    }
}

#[test]
fn a_drain_asks_cordons_evicts_and_looks_again() {
    let mut facts = deleting(running());
    let started = "Drain not completed yet (started at 1970-01-02T03:46:40Z):";
    let plan = plan_now(&facts);
    assert_eq!(
        plan.actions,
        [Action::InspectNode {
            node: "node".into()
        }]
    );
    assert_eq!(
        said(&plan, types::DELETING),
        format!("True DrainingNode {started}")
    );

    facts.deletion.node = NodeLookup::Found(node());
    let plan = plan_now(&facts);
    let [Action::PatchNode { patch, .. }, Action::ListPods { .. }] = plan.actions.as_slice() else {
        panic!("{:?}", plan.actions);
    };
    assert_eq!(
        *patch,
        json!({"spec": {"unschedulable": true}, "metadata": {"resourceVersion": "9"}})
    );

    let mut facts = leaving();
    with_pods(&mut facts, &["b", "a"]);
    let plan = plan_now(&facts);
    let [
        Action::EvictPods {
            pods,
            grace_period_seconds: None,
        },
    ] = plan.actions.as_slice()
    else {
        panic!("{:?}", plan.actions);
    };
    let names: Vec<_> = pods.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);

    let Some(Ok(drain)) = &mut facts.deletion.pods else {
        unreachable!()
    };
    drain.evictions = Some(
        [
            ("apps/a".to_owned(), Eviction::Accepted),
            ("apps/b".to_owned(), Eviction::NotFound),
        ]
        .into(),
    );
    let plan = plan_now(&facts);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.again, Some(at(NOW + 20)));
    assert_eq!(
        said(&plan, types::DELETING),
        format!(
            "True DrainingNode {started}\n* Pod apps/a: deletionTimestamp set, but still not \
             removed from the Node"
        )
    );

    facts.deletion.pods = Some(Err("no answer".into()));
    let plan = plan_now(&facts);
    assert_eq!(reasons(&plan), ["FailedDrainNode"]);
    assert_eq!(plan.errors, ["failed to drain Node node: no answer"]);
    assert_eq!(
        said(&plan, types::DELETING),
        "True DrainingNode Error draining Node, please check controller logs for errors"
    );

    let plan = plan_now(&leaving());
    assert_eq!(
        reasons(&plan),
        ["SuccessfulDrainNode", "NodeVolumesDetached"]
    );
    assert_eq!(stage(&plan), "WaitingForInfrastructureDeletion");
}

#[test]
fn a_node_that_is_gone_or_unreachable_holds_nothing() {
    let mut gone = leaving();
    gone.deletion.node = NodeLookup::NotFound;
    gone.deletion.pods = None;
    gone.deletion.volumes = None;
    assert_eq!(deletes(&plan_now(&gone)), ["Host"]);

    let mut unreachable = leaving();
    let mut lost = node();
    lost.spec.unschedulable = true;
    lost.status.conditions[0].status = "Unknown".into();
    unreachable.deletion.node = NodeLookup::Found(lost);
    unreachable.deletion.volumes = None;
    assert_eq!(deletes(&plan_now(&unreachable)), ["Host"]);
    with_pods(&mut unreachable, &["a"]);
    assert!(plan_now(&unreachable).actions.iter().any(|action| matches!(
        action,
        Action::EvictPods {
            grace_period_seconds: Some(1),
            ..
        }
    )));
}

#[test]
fn infrastructure_goes_first_then_bootstrap_then_the_node_then_the_finalizer() {
    let mut facts = leaving();
    let mut trail = Vec::new();
    for _ in 0..10 {
        let plan = plan_now(&facts);
        trail.push(stage(&plan).to_owned());
        if plan.actions.contains(&Action::DeleteNode {
            node: "node".into(),
        }) {
            facts.deletion.node_deletion = Some(Ok(()));
            continue;
        }
        let removed = plan.metadata.finalizers.clone();
        let was_deleted = |kind: &str| deletes(&plan).contains(&kind);
        let (host, configuration) = (was_deleted("Host"), was_deleted("Config"));
        facts = executed(facts, &plan);
        if removed == Some(Vec::new()) {
            assert!(!plan.status_changed, "nothing is written to what vanishes");
            break;
        }
        // What was deleted in the pass before is gone now.
        if !host && infra_deleting(&facts) {
            facts.infra_machine = Lookup::NotFound;
        } else if !configuration && config_deleting(&facts) {
            facts.bootstrap_config = Lookup::NotFound;
        }
    }
    assert_eq!(
        trail,
        [
            "WaitingForInfrastructureDeletion",
            "WaitingForInfrastructureDeletion",
            "WaitingForBootstrapDeletion",
            "WaitingForBootstrapDeletion",
            "DeletingNode",
            "DeletionCompleted",
        ]
    );
}

fn infra_deleting(facts: &MachineFacts) -> bool {
    facts
        .infra_machine
        .found()
        .is_some_and(|i| i.object.is_deleting())
}

fn config_deleting(facts: &MachineFacts) -> bool {
    facts
        .bootstrap_config
        .found()
        .is_some_and(|c| c.object.is_deleting())
}

fn without_objects() -> MachineFacts {
    let mut facts = leaving();
    facts.infra_machine = Lookup::NotFound;
    facts.bootstrap_config = Lookup::NotFound;
    facts
}

#[test]
fn a_node_that_cannot_be_deleted_is_tried_until_the_time_limit() {
    for (limit, passed, finished) in [
        (None, 10_000, false),
        (Some(0), 10_000, false),
        (Some(10), 9, false),
        (Some(10), 10, true),
    ] {
        let mut facts = without_objects();
        facts.deletion.node_deletion = Some(Err("no answer".into()));
        facts.machine.spec.deletion.node_deletion_timeout_seconds = limit;
        facts.machine.metadata.deletion_timestamp = Some(time(NOW - passed));
        let plan = plan_now(&facts);
        let row = format!("{limit:?} {passed}");
        assert_eq!(reasons(&plan), ["FailedDeleteNode"], "{row}");
        assert_eq!(plan.metadata.finalizers.is_some(), finished, "{row}");
        assert_eq!(plan.errors.is_empty(), finished, "{row}");
        let expected = if finished {
            "DeletionCompleted"
        } else {
            "DeletingNode"
        };
        assert_eq!(stage(&plan), expected, "{row}");
    }
}

#[test]
fn the_end_stays_visible_while_others_hold_the_machine() {
    let mut facts = without_objects();
    facts.deletion.node_deletion = Some(Ok(()));
    facts.machine.metadata.finalizers.push("other".into());
    let plan = plan_now(&facts);
    assert_eq!(plan.metadata.finalizers, Some(vec!["other".to_owned()]));
    assert!(plan.status_changed);
    assert_eq!(
        said(&plan, types::DELETING),
        "True DeletionCompleted Deletion completed"
    );
    // Objects that are gone are no reason to worry.
    assert_eq!(
        said(&plan, types::READY),
        "False NotReady * Deleting: Machine deletion in progress, stage: DeletionCompleted"
    );
}

#[test]
fn a_delete_that_failed_is_told_and_not_repeated_in_the_same_pass() {
    let facts = leaving();
    let plan = plan_now(&facts);
    let delete = plan
        .actions
        .iter()
        .find(|a| matches!(a, Action::Delete { .. }))
        .unwrap();
    let failed = MachineFacts {
        failures: vec![ActionFailure {
            action: delete.clone(),
            error: "denied".into(),
        }],
        ..facts
    };
    let plan = plan_now(&failed);
    assert_eq!(
        said(&plan, types::DELETING),
        "True InternalError Failed to delete Host, please check controller logs for errors"
    );
    assert_eq!(plan.errors, ["denied"]);
    assert!(deletes(&plan).is_empty());
}

#[test]
fn infrastructure_that_cannot_be_read_blocks_the_deletion() {
    let mut facts = leaving();
    facts.infra_machine = Lookup::Failed("boom".into());
    let plan = plan_now(&facts);
    assert_eq!(stage(&plan), "WaitingForInfrastructureDeletion");
    assert!(deletes(&plan).is_empty() && plan.metadata.finalizers.is_none());
    assert_eq!(plan.errors, ["boom"]);
}
