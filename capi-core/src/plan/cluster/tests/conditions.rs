//! What a Cluster says of itself.

use super::*;

#[test]
fn a_kubeconfig_is_made_only_without_a_control_plane_object() {
    for (reference, valid, known, made, again) in [
        (false, true, KubeconfigFacts::Missing, true, false),
        (false, false, KubeconfigFacts::Missing, false, false),
        (true, true, KubeconfigFacts::Missing, false, false),
        (false, true, KubeconfigFacts::NotNeeded, false, false),
        (false, true, KubeconfigFacts::MissingAuthority, false, true),
    ] {
        let mut facts = fresh();
        facts.kubeconfig = known;
        if !reference {
            facts.cluster.spec.control_plane_ref = None;
            facts.control_plane = Lookup::NotReferenced;
        }
        if valid {
            facts.cluster.spec.control_plane_endpoint = endpoint("api");
        }
        let plan = plan_now(&facts);
        let server = "https://api:6443";
        let makes = plan
            .actions
            .iter()
            .any(|a| matches!(a, Action::CreateKubeconfig { server: s, .. } if s == server));
        assert_eq!(makes, made, "{reference} {valid} {known:?}");
        assert_eq!(plan.again == Some(at(NOW + 30)), again);
    }
}

#[test]
fn a_failing_probe_is_told_after_the_grace_period() {
    let never = "False ProbeFailed Remote connection not established yet";
    for (success, failures, before, expected) in [
        (None, 0, false, never),
        (None, 4, true, "True ProbeSucceeded"),
        (
            None,
            5,
            true,
            "False ProbeFailed Remote connection probe failed",
        ),
        (
            Some(NOW - 51),
            9,
            true,
            "False ProbeFailed Remote connection probe failed, probe last succeeded at \
             1970-01-02T03:45:49Z",
        ),
        (Some(NOW - 50), 9, false, "True ProbeSucceeded"),
    ] {
        let mut facts = if before { running() } else { fresh() };
        facts.connection.last_probe_success = success.map(time);
        facts.connection.consecutive_failures = failures;
        assert_eq!(
            said(&plan_now(&facts), types::REMOTE_CONNECTION_PROBE),
            expected
        );
    }
}

#[test]
fn workers_are_available_as_their_deployments_are() {
    let text = |deployments: Vec<ReplicasFacts>| {
        let mut facts = running();
        descendants(&mut facts).machine_deployments = deployments;
        said(&plan_now(&facts), types::WORKERS_AVAILABLE)
    };
    assert_eq!(text(vec![]), "True NoWorkers");
    assert_eq!(text(vec![set("a", 1, true)]), "True Available");
    let mut silent = set("b", 1, true);
    silent.conditions.clear();
    assert_eq!(
        text(vec![silent.clone()]),
        "Unknown AvailableUnknown * MachineDeployment b: Condition Available not yet reported"
    );
    let mut bad = set("c", 1, true);
    bad.conditions = vec![condition("Available", ConditionStatus::False, "0 of 1")];
    assert_eq!(
        text(vec![silent, bad]),
        "False NotAvailable * MachineDeployment c: 0 of 1\n* MachineDeployment b: Condition \
         Available not yet reported"
    );
}

#[test]
fn operations_count_the_control_plane_only_if_it_reports_them() {
    let text = |facts: &ClusterFacts| said(&plan_now(facts), types::SCALING_UP);
    let mut facts = running();
    assert_eq!(text(&facts), "False NotScalingUp");
    let scaling = condition("ScalingUp", ConditionStatus::True, "from 1 to 3");
    control_plane(&mut facts).conditions = Field::Present(vec![scaling]);
    assert_eq!(text(&facts), "True ScalingUp * ControlPlane x: from 1 to 3");
    let mut own = set("own", 1, true);
    own.conditions[1] = condition("ScalingUp", ConditionStatus::True, "from 0 to 1");
    let mut of_md = own.clone();
    of_md.metadata = metadata("of-md", false);
    descendants(&mut facts).machine_sets = vec![own, of_md];
    assert_eq!(
        text(&facts),
        "True ScalingUp * ControlPlane x: from 1 to 3\n* MachineSet own: from 0 to 1"
    );
    facts.control_plane = Lookup::Failed("boom".into());
    assert!(text(&facts).starts_with("Unknown InternalError"));
}

#[test]
fn a_new_machine_has_ten_seconds_to_say_whether_it_is_up_to_date() {
    let mut facts = running();
    let text = |facts: &ClusterFacts| said(&plan_now(facts), types::WORKER_MACHINES_UP_TO_DATE);
    let mut new = machine("w", vec![]);
    new.metadata.creation_timestamp = time(NOW - 10);
    descendants(&mut facts).machines = vec![new];
    assert_eq!(text(&facts), "True NoReplicas");
    descendants(&mut facts).machines[0]
        .metadata
        .creation_timestamp = time(NOW - 11);
    assert_eq!(
        text(&facts),
        "Unknown UpToDateUnknown * Machine w: Condition UpToDate not yet reported"
    );
    let pool = (labels::POOL_NAME.to_owned(), "p".to_owned());
    descendants(&mut facts).machines[0]
        .metadata
        .labels
        .extend([pool]);
    assert_eq!(
        text(&facts),
        "True NoReplicas",
        "machines of pools do not count"
    );
}

#[test]
fn remediation_is_told_and_so_are_machines_that_nobody_remediates() {
    use ConditionStatus::{False, True};
    let text = |machines: Vec<MachineFacts>| {
        let mut facts = running();
        descendants(&mut facts).machines = machines;
        said(&plan_now(&facts), types::REMEDIATING)
    };
    let sick = |name: &str| machine(name, vec![condition("HealthCheckSucceeded", False, "")]);
    let remedied = |name: &str| {
        let mut machine = sick(name);
        machine
            .status
            .conditions
            .push(condition("OwnerRemediated", False, "Waiting"));
        machine
    };
    let well = machine("z", vec![condition("HealthCheckSucceeded", True, "")]);
    assert_eq!(text(vec![well]), "False NotRemediating");
    assert_eq!(
        text(vec![sick("b")]),
        "False NotRemediating Machine b is not healthy (not to be remediated)"
    );
    assert_eq!(
        text(["d", "c", "b", "a"].map(sick).to_vec()),
        "False NotRemediating Machines a, b, c, ... (1 more) are not healthy (not to be remediated)"
    );
    assert_eq!(
        text(vec![sick("a"), remedied("b")]),
        "True Remediating * Machine b: Waiting"
    );
}

#[test]
fn available_counts_the_gates_of_the_cluster_or_else_of_its_class() {
    let gate = |type_: &str, negative: bool| ConditionGate {
        condition_type: type_.into(),
        polarity: negative.then_some(ConditionPolarity::Negative),
    };
    let text = |own: Vec<ConditionGate>, class: Vec<ConditionGate>, reported: Vec<Condition>| {
        let mut facts = running();
        facts.cluster.spec.availability_gates = own;
        facts.class_availability_gates = class;
        facts.cluster.status.conditions.extend(reported);
        said(&plan_now(&facts), types::AVAILABLE)
    };
    assert_eq!(text(vec![], vec![], vec![]), "True Available");
    let missing = "Unknown AvailableUnknown * Own: Condition not yet reported";
    assert_eq!(
        text(vec![gate("Own", false)], vec![gate("Class", false)], vec![]),
        missing
    );
    let closed = || vec![condition("Class", ConditionStatus::False, "closed")];
    assert_eq!(
        text(vec![], vec![gate("Class", false)], closed()),
        "False NotAvailable * Class: closed"
    );
    assert_eq!(
        text(vec![], vec![gate("Class", true)], closed()),
        "True Available * Class: closed"
    );
}

#[test]
fn topology_makes_a_cluster_unavailable_only_when_it_fails() {
    for (reason, expected) in [
        ("ClusterUpgrading", "True Available * TopologyReconciled: m"),
        (
            "ReconcileFailed",
            "False NotAvailable * TopologyReconciled: m",
        ),
    ] {
        let mut facts = running();
        let mut topology = condition(types::TOPOLOGY_RECONCILED, ConditionStatus::False, "m");
        topology.reason = reason.into();
        facts.cluster.status.conditions.push(topology);
        assert_eq!(said(&plan_now(&facts), types::AVAILABLE), expected);
    }
    let mut waiting = fresh();
    waiting.cluster.spec.topology = Some(Default::default());
    waiting.cluster.spec.infrastructure_ref = None;
    waiting.infra_cluster = Lookup::NotReferenced;
    let plan = plan_now(&waiting);
    assert_eq!(
        said(&plan, types::INFRASTRUCTURE_READY),
        "False ObjectDoesNotExist Waiting for cluster topology to be reconciled"
    );
    assert!(plan.actions.is_empty());
}

#[test]
fn without_a_control_plane_object_its_machines_tell_whether_it_is_available() {
    let text = |machines: Vec<MachineFacts>| {
        let mut facts = fresh();
        facts.cluster.spec.control_plane_ref = None;
        facts.control_plane = Lookup::NotReferenced;
        descendants(&mut facts).machines = machines;
        said(&plan_now(&facts), types::CONTROL_PLANE_AVAILABLE)
    };
    assert_eq!(
        text(vec![]),
        "False NotAvailable There are no control plane machines yet"
    );
    let available = |status| vec![condition("Available", status, "")];
    assert_eq!(
        text(vec![machine("cp", available(ConditionStatus::True))]),
        "True Available"
    );
    assert!(text(vec![machine("cp", available(ConditionStatus::False))]).starts_with("False"));
}
