//! Leaving etcd, quorum, remediation.

use super::*;

#[test]
fn a_machine_leaves_etcd_after_its_node_is_drained_and_before_it_is_terminated() {
    let mut facts = super::facts(3);
    begin_deletion(&mut facts, "b", 0, "Drain");
    assert_eq!(acts(&facts), [""; 0]);
    begin_deletion(&mut facts, "b", 0, HOOK);
    assert_eq!(acts(&facts), ["leave b"]);
    facts.health.machines.get_mut("b").unwrap().member = Some(false);
    assert_eq!(acts(&facts), ["release b"]);
    facts.health.machines.get_mut("b").unwrap().member = None;
    facts.machines[1].left = true;
    assert_eq!(acts(&facts), ["release b"]);
}

#[test]
fn hooks_of_others_go_before_ours() {
    let mut facts = super::facts(3);
    begin_deletion(&mut facts, "b", 0, HOOK);
    let other = format!("{}/other", annotations::PRE_TERMINATE_HOOK_PREFIX);
    facts.machines[1]
        .object
        .metadata
        .annotations
        .insert(other, String::new());
    assert_eq!(acts(&facts), [""; 0]);
}

#[test]
fn machines_that_a_user_deletes_leave_one_after_the_other() {
    let mut facts = super::facts(5);
    begin_deletion(&mut facts, "d", 1, HOOK);
    begin_deletion(&mut facts, "b", 2, HOOK);
    assert_eq!(acts(&facts), ["leave d"]);
    facts.health.machines.get_mut("d").unwrap().member = Some(false);
    assert_eq!(acts(&facts), ["release d"]);
    facts.machines[3].object.metadata.annotations.clear();
    assert_eq!(acts(&facts), [""; 0], "d is being terminated");
    facts.machines.remove(3);
    facts.health.machines.remove("d");
    assert_eq!(acts(&facts), ["leave b"]);
}

#[test]
fn the_last_machine_and_one_that_never_joined_are_let_go_at_once() {
    let mut facts = super::facts(1);
    begin_deletion(&mut facts, "a", 0, HOOK);
    assert_eq!(acts(&facts), ["release a"]);
    let mut facts = super::facts(3);
    begin_deletion(&mut facts, "c", 0, HOOK);
    facts.machines[2].object.status.node_ref = None;
    facts.health.machines.remove("c");
    assert_eq!(acts(&facts), ["release c"]);
}

#[test]
fn a_machine_is_kept_while_etcd_could_not_do_without_it() {
    let mut facts = super::facts(3);
    begin_deletion(&mut facts, "b", 0, HOOK);
    facts.health.machines.get_mut("c").unwrap().member_healthy = Some(false);
    assert_eq!(acts(&facts), [""; 0]);
    assert!(plan(&facts, at(0)).blocked_on[0].message.contains("quorum"));
}

#[test]
fn the_quorum_table_holds() {
    for (voters, unhealthy, learners, removing_healthy, kept) in [
        (1, 0, 0, true, false),
        (2, 0, 0, true, true),
        (2, 1, 0, true, false),
        (2, 1, 0, false, true),
        (3, 0, 0, true, true),
        (3, 1, 0, true, false),
        (3, 1, 0, false, true),
        (5, 1, 0, true, true),
        (5, 2, 0, true, false),
        (7, 2, 0, true, true),
        (7, 3, 0, true, false),
        (3, 0, 1, true, false),
    ] {
        let quorum = Quorum::new(voters, unhealthy, learners).minus(removing_healthy);
        assert_eq!(
            quorum.is_kept(),
            kept,
            "{voters} {unhealthy} {learners} {removing_healthy}"
        );
    }
    for (voters, unhealthy, kept) in [
        (0, 0, true),
        (1, 0, true),
        (2, 0, true),
        (3, 0, true),
        (1, 1, false),
        (4, 1, true),
        (4, 2, false),
    ] {
        let quorum = Quorum::new(voters, unhealthy, 0).with_one_more();
        assert_eq!(
            quorum.is_kept(),
            kept,
            "one more to {voters} with {unhealthy}"
        );
    }
    // A member of no machine counts as unhealthy only when etcd is.
    let mut facts = super::facts(2);
    facts.health.foreign_members = vec!["x".into()];
    assert!(facts.without(&facts.machines[0]).is_kept());
    facts.health.etcd_healthy = Some(false);
    assert!(!facts.without(&facts.machines[0]).is_kept());
}

#[test]
fn members_of_no_machine_are_removed_one_at_a_time_and_only_when_that_is_safe() {
    let mut facts = super::facts(3);
    facts.health.foreign_members = vec!["y".into(), "x".into()];
    assert_eq!(acts(&facts), [""; 0], "etcd is healthy");
    facts.health.etcd_healthy = Some(false);
    facts.health.machines.get_mut("a").unwrap().member_healthy = Some(false);
    assert_eq!(acts(&facts), [""; 0], "two of four would be unhealthy");
    facts.health.machines.get_mut("a").unwrap().member_healthy = Some(true);
    assert_eq!(acts(&facts), ["remove x"]);
    facts.machines[2].object.status.node_ref = None;
    assert_eq!(acts(&facts), [""; 0], "it could be the one that comes up");
}

#[test]
fn an_unhealthy_machine_is_marked_noted_and_deleted() {
    let mut facts = super::facts(3);
    condemn(&mut facts, "b");
    assert_eq!(
        acts(&facts),
        ["mark b MachineDeleting", "record b 0", "delete b"]
    );
    // Two of them: the most broken one, and only that.
    condemn(&mut facts, "c");
    facts.machines[2].object.status.node_ref = None;
    facts.health.machines.remove("c");
    assert_eq!(
        acts(&facts),
        ["mark c MachineDeleting", "record c 0", "delete c"]
    );
    // Healthy again.
    let mut facts = super::facts(3);
    condemn(&mut facts, "b");
    set(
        &mut facts.machines[1],
        "HealthCheckSucceeded",
        ConditionStatus::True,
        "X",
    );
    assert_eq!(acts(&facts), ["clear b"]);
}

#[test]
fn remediation_never_costs_the_cluster() {
    let marked = |facts: &ControlPlaneFacts| acts(facts).into_iter().next().unwrap_or_default();
    let mut single = super::facts(1);
    condemn(&mut single, "a");
    assert_eq!(marked(&single), "mark a CannotBeRemediated");
    single.health.initialized = false;
    assert_eq!(
        acts(&single),
        ["mark a MachineDeleting", "record a 0", "delete a"]
    );

    let mut two_down = super::facts(3);
    condemn(&mut two_down, "b");
    two_down
        .health
        .machines
        .get_mut("c")
        .unwrap()
        .member_healthy = Some(false);
    assert_eq!(marked(&two_down), "mark b CannotBeRemediated");

    let mut provisioning = super::facts(3);
    condemn(&mut provisioning, "b");
    provisioning.machines[2].object.status.node_ref = None;
    assert_eq!(marked(&provisioning), "mark b RemediationDeferred");

    let mut unknown = super::facts(3);
    condemn(&mut unknown, "b");
    unknown.health.machines.get_mut("c").unwrap().member = None;
    assert_eq!(marked(&unknown), "mark b RemediationDeferred");

    let mut external = super::facts(3);
    condemn(&mut external, "b");
    external.etcd_managed = false;
    external
        .health
        .machines
        .values_mut()
        .for_each(|health| health.member = None);
    assert_eq!(acts(&external)[2..], ["delete b"]);

    let mut topology = super::facts(3);
    condemn(&mut topology, "b");
    topology.cluster.topology_version = Some("v1.36.0".into());
    assert_eq!(marked(&topology), "mark b RemediationDeferred");
    topology.cluster.upgrade_step = Some("v1.35.0".into());
    assert_eq!(marked(&topology), "mark b MachineDeleting");
}

#[test]
fn attempts_of_one_chain_are_counted_and_limited() {
    let mut facts = super::facts(3);
    condemn(&mut facts, "b");
    facts.wanted.max_remediations = Some(2);
    facts.wanted.remediation_period_seconds = 60;
    let record = |retry_count| RemediationRecord {
        machine: "old".into(),
        timestamp: at(0).into(),
        retry_count,
    };
    for (count, seconds, expected) in [
        (0, 30, "mark b RemediationDeferred"),
        (0, 100, "record b 1"),
        (1, 100, "record b 2"),
        (2, 100, "mark b CannotBeRemediated"),
        (2, 3600, "record b 0"),
    ] {
        facts.machines[1].remediation_for = Some(record(count));
        let acts = acts_at(&facts, at(seconds));
        assert!(
            acts.iter().any(|act| act == expected),
            "{acts:?} should hold {expected}"
        );
    }
    // While one is under way there is no other, and it is over when its replacement is there.
    facts.machines[1].remediation_for = None;
    facts.remediation_in_progress = Some(RemediationRecord {
        timestamp: at(500).into(),
        ..record(0)
    });
    assert_eq!(acts_at(&facts, at(600)), [""; 0]);
    facts.machines[2].object.metadata.creation_timestamp = at(550).into();
    assert_eq!(acts_at(&facts, at(600)), ["record none"]);
}
