//! Tables of the Cluster planner.

use super::*;
use crate::{
    api::{
        ConditionPolarity, ContractVersionedObjectReference, FailureDomain, MachineNodeReference,
        Time, annotations,
    },
    contract::{ContractVersion, ExternalObject, Field, OwnerReference},
    plan::{
        Action,
        condition::{find, types},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> Time {
    at(second).into()
}

const NOW: i64 = 100_000;

fn owner(controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: "cluster.x-k8s.io/v1beta2".into(),
        kind: "Cluster".into(),
        name: "c".into(),
        uid: "c-uid".into(),
        controller: controller.then_some(true),
        ..OwnerReference::default()
    }
}

fn metadata(name: &str, owned: bool) -> Metadata {
    Metadata {
        name: name.into(),
        namespace: "ns".into(),
        uid: format!("{name}-uid"),
        resource_version: "5".into(),
        creation_timestamp: time(NOW - 3600),
        labels: [(labels::CLUSTER_NAME.to_owned(), "c".to_owned())].into(),
        owner_references: owned.then(|| owner(false)).into_iter().collect(),
        ..Metadata::default()
    }
}

fn external(kind: &str) -> ExternalObject {
    ExternalObject {
        api_version: "example.org/v1".into(),
        kind: kind.into(),
        metadata: metadata("x", true),
        ..ExternalObject::default()
    }
}

fn reference(kind: &str) -> ContractVersionedObjectReference {
    ContractVersionedObjectReference {
        api_group: "example.org".into(),
        kind: kind.into(),
        name: "x".into(),
    }
}

fn condition(type_: &str, status: ConditionStatus, message: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        reason: "Reason".into(),
        message: message.into(),
        last_transition_time: time(1),
        ..Condition::default()
    }
}

fn endpoint(host: &str) -> ApiEndpoint {
    ApiEndpoint {
        host: host.into(),
        port: 6443,
    }
}

/// A Cluster with both objects, of which none is ready.
fn fresh() -> ClusterFacts {
    ClusterFacts {
        cluster: Object {
            metadata: Metadata {
                name: "c".into(),
                namespace: "ns".into(),
                uid: "c-uid".into(),
                generation: 1,
                finalizers: vec![finalizers::CLUSTER.into()],
                ..Metadata::default()
            },
            spec: ClusterSpec {
                infrastructure_ref: Some(reference("Infra")),
                control_plane_ref: Some(reference("ControlPlane")),
                ..ClusterSpec::default()
            },
            status: ClusterStatus::default(),
        },
        infra_cluster: Lookup::Found(InfraClusterView {
            object: external("Infra"),
            ..InfraClusterView::default()
        }),
        control_plane: Lookup::Found(ControlPlaneView {
            object: external("ControlPlane"),
            conditions: Field::Present(Vec::new()),
            ..ControlPlaneView::default()
        }),
        descendants: Some(Descendants::default()),
        ..ClusterFacts::default()
    }
}

/// A Cluster that is up: everything provisioned, initialized and reached.
fn running() -> ClusterFacts {
    let mut facts = fresh();
    infra(&mut facts).provisioned = Field::Present(true);
    infra(&mut facts).control_plane_endpoint = Field::Present(endpoint("api"));
    control_plane(&mut facts).initialized = Field::Present(true);
    facts.connection.last_probe_success = Some(time(NOW));
    let plan = plan_now(&facts);
    executed(facts, &plan)
}

fn infra(facts: &mut ClusterFacts) -> &mut InfraClusterView {
    match &mut facts.infra_cluster {
        Lookup::Found(infra) => infra,
        other => panic!("{other:?}"),
    }
}

fn control_plane(facts: &mut ClusterFacts) -> &mut ControlPlaneView {
    match &mut facts.control_plane {
        Lookup::Found(control_plane) => control_plane,
        other => panic!("{other:?}"),
    }
}

fn deleting(mut facts: ClusterFacts) -> ClusterFacts {
    facts.cluster.metadata.deletion_timestamp = Some(time(NOW));
    facts
}

fn descendants(facts: &mut ClusterFacts) -> &mut Descendants {
    facts.descendants.as_mut().unwrap()
}

fn machine(name: &str, conditions: Vec<Condition>) -> MachineFacts {
    let mut metadata = metadata(name, false);
    if name.starts_with("cp") {
        metadata
            .labels
            .insert(labels::CONTROL_PLANE.to_owned(), String::new());
    }
    MachineFacts {
        metadata,
        version: Some("v1.36.0".into()),
        status: MachineStatus {
            conditions,
            ..MachineStatus::default()
        },
    }
}

fn set(name: &str, count: i32, owned: bool) -> ReplicasFacts {
    ReplicasFacts {
        metadata: metadata(name, owned),
        desired: Some(count),
        replicas: Some(count),
        ready: Some(count),
        available: Some(count),
        up_to_date: Some(count),
        versions: vec![StatusVersion {
            version: "v1.36.0".into(),
            replicas: Some(count),
        }],
        conditions: ["RollingOut", "ScalingUp", "ScalingDown"]
            .map(|type_| condition(type_, ConditionStatus::False, ""))
            .into_iter()
            .chain([condition("Available", ConditionStatus::True, "")])
            .collect(),
    }
}

fn plan_now(facts: &ClusterFacts) -> ClusterPlan {
    plan(facts, at(NOW))
}

/// The state after a plan of the Cluster itself was executed.
fn executed(mut facts: ClusterFacts, plan: &ClusterPlan) -> ClusterFacts {
    let cluster = &mut facts.cluster;
    if let Some(endpoint) = &plan.spec.control_plane_endpoint {
        cluster.spec.control_plane_endpoint = endpoint.clone();
        cluster.metadata.generation += 1;
    }
    if let Some(finalizers) = &plan.metadata.finalizers {
        cluster.metadata.finalizers.clone_from(finalizers);
    }
    cluster.status = plan.status.clone();
    facts
}

fn said(plan: &ClusterPlan, type_: &str) -> String {
    find(&plan.status.conditions, type_).map_or_else(
        || "-".to_owned(),
        |c| {
            format!("{} {} {}", c.status.as_str(), c.reason, c.message)
                .trim_end()
                .to_owned()
        },
    )
}

fn reasons(plan: &ClusterPlan) -> Vec<&str> {
    plan.events
        .iter()
        .map(|event| event.reason.as_ref())
        .collect()
}

fn deletes(plan: &ClusterPlan) -> Vec<String> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { object } => Some(format!("{} {}", object.kind, object.name)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_cluster_without_infrastructure_has_it_from_the_start() {
    let mut facts = fresh();
    facts.cluster.spec.infrastructure_ref = None;
    facts.infra_cluster = Lookup::NotReferenced;
    let plan = plan_now(&facts);
    assert_eq!(
        plan.status.initialization.infrastructure_provisioned,
        Some(true)
    );
    assert_eq!(said(&plan, types::INFRASTRUCTURE_READY), "True Ready");
    assert_eq!(
        plan_now(&deleting(facts))
            .status
            .initialization
            .infrastructure_provisioned,
        None
    );
}

#[test]
fn a_missing_object_is_waited_for_an_error_once_it_was_there_and_tolerated_in_deletion() {
    for kind in ["Infra", "ControlPlane"] {
        let miss = |mut facts: ClusterFacts| {
            if kind == "Infra" {
                facts.infra_cluster = Lookup::NotFound;
            } else {
                facts.control_plane = Lookup::NotFound;
            }
            facts
        };
        let type_ = if kind == "Infra" {
            types::INFRASTRUCTURE_READY
        } else {
            types::CONTROL_PLANE_AVAILABLE
        };
        let plan = plan_now(&miss(fresh()));
        assert_eq!(plan.again, Some(at(NOW + 30)));
        assert_eq!(plan.errors, Vec::<String>::new());
        let text = format!("False ObjectDoesNotExist {kind} does not exist");
        assert_eq!(said(&plan, type_), text);

        let plan = plan_now(&miss(running()));
        assert!(plan.errors[0].starts_with(&format!("{kind} has been deleted after being ")));
        let text =
            format!("False ObjectDeleted {kind} has been deleted while the cluster still exists");
        assert_eq!(said(&plan, type_), text);

        let plan = plan_now(&miss(deleting(running())));
        assert_eq!(plan.errors, Vec::<String>::new());
        let text = format!("False ObjectDeleted {kind} has been deleted");
        assert_eq!(said(&plan, type_), text);
    }
    // A definition that is missing is another thing than an object that is.
    let mut facts = fresh();
    facts.infra_cluster = Lookup::Failed("CRD missing".into());
    let plan = plan_now(&facts);
    assert_eq!((plan.again, plan.errors.len()), (None, 1));
    assert!(said(&plan, types::INFRASTRUCTURE_READY).starts_with("Unknown InternalError"));
}

#[test]
fn endpoint_and_failure_domains_are_copied_once_the_infrastructure_is_provisioned() {
    let domain = |name: &str| FailureDomain {
        name: name.into(),
        control_plane: Some(true),
        ..FailureDomain::default()
    };
    let mut facts = fresh();
    infra(&mut facts).control_plane_endpoint = Field::Present(endpoint("api"));
    infra(&mut facts).failure_domains = Field::Present(vec![domain("a")]);
    let plan = plan_now(&facts);
    assert!(plan.spec.is_empty() && plan.status.failure_domains.is_empty());
    assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Provisioning");

    infra(&mut facts).provisioned = Field::Present(true);
    let plan = plan_now(&facts);
    assert_eq!(plan.spec.control_plane_endpoint, Some(endpoint("api")));
    assert_eq!(plan.status.failure_domains, [domain("a")]);
    assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Provisioned");
    assert_eq!(reasons(&plan), ["InfrastructureReady", "Provisioned"]);
    assert_eq!(
        plan.status.observed_generation,
        Some(2),
        "the spec changes in the same plan"
    );

    // The latch stays, the fields follow.
    let mut facts = executed(facts, &plan);
    infra(&mut facts).provisioned = Field::Present(false);
    infra(&mut facts).failure_domains = Field::Absent;
    infra(&mut facts).control_plane_endpoint = Field::Present(endpoint("other"));
    let plan = plan_now(&facts);
    assert_eq!(
        plan.status.initialization.infrastructure_provisioned,
        Some(true)
    );
    assert!(plan.status.failure_domains.is_empty());
    assert!(
        plan.spec.is_empty(),
        "a valid endpoint is never overwritten"
    );

    infra(&mut facts).object.metadata.deletion_timestamp = Some(time(1));
    infra(&mut facts).failure_domains = Field::Present(vec![domain("b")]);
    assert_eq!(
        plan_now(&facts).status.failure_domains,
        [domain("a")],
        "nothing is copied now"
    );

    let mut facts = fresh();
    infra(&mut facts).provisioned = Field::Present(true);
    let plan = plan_now(&facts);
    assert_eq!(
        plan.errors,
        Vec::<String>::new(),
        "an endpoint may come later"
    );
    assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Provisioning");
    infra(&mut facts).control_plane_endpoint = Field::Malformed("is no map".into());
    let plan = plan_now(&facts);
    assert_eq!(plan.errors.len(), 1);
    assert_eq!(plan.status.initialization.infrastructure_provisioned, None);
}

#[test]
fn the_control_plane_gives_the_endpoint_when_the_infrastructure_does_not() {
    let mut facts = fresh();
    control_plane(&mut facts).control_plane_endpoint = Field::Present(endpoint("cp"));
    assert!(plan_now(&facts).spec.is_empty());
    control_plane(&mut facts).initialized = Field::Present(true);
    let plan = plan_now(&facts);
    assert_eq!(plan.spec.control_plane_endpoint, Some(endpoint("cp")));
    assert_eq!(
        plan.status.initialization.control_plane_initialized,
        Some(true)
    );
    assert_eq!(reasons(&plan), ["ControlPlaneInitialized", "Provisioning"]);
    infra(&mut facts).provisioned = Field::Present(true);
    infra(&mut facts).control_plane_endpoint = Field::Present(endpoint("infra"));
    assert_eq!(
        plan_now(&facts).spec.control_plane_endpoint,
        Some(endpoint("infra"))
    );
}

#[test]
fn the_control_plane_is_initialized_once_and_for_all() {
    let text = |facts: &ClusterFacts| said(&plan_now(facts), types::CONTROL_PLANE_INITIALIZED);
    let mut facts = fresh();
    assert_eq!(
        text(&facts),
        "False NotInitialized Control plane not yet initialized"
    );
    control_plane(&mut facts).initialized = Field::Malformed("?".into());
    assert!(text(&facts).starts_with("Unknown InternalError"));
    facts.control_plane = Lookup::NotFound;
    assert_eq!(
        text(&facts),
        "Unknown ObjectDoesNotExist ControlPlane does not exist"
    );
    let mut facts = running();
    control_plane(&mut facts).initialized = Field::Present(false);
    assert_eq!(text(&facts), "True Initialized");

    let mut facts = fresh();
    facts.cluster.spec.control_plane_ref = None;
    facts.control_plane = Lookup::NotReferenced;
    let waiting = "False NotInitialized Waiting for the first control plane machine to have \
                   status.nodeRef set";
    assert_eq!(text(&facts), waiting);
    let mut worker = machine("w", vec![]);
    worker.status.node_ref = Some(MachineNodeReference::default());
    descendants(&mut facts).machines = vec![worker, machine("cp", vec![])];
    assert_eq!(text(&facts), waiting);
    descendants(&mut facts).machines[1].status.node_ref = Some(MachineNodeReference::default());
    assert_eq!(text(&facts), "True Initialized");
    assert_eq!(
        plan_now(&facts)
            .status
            .initialization
            .control_plane_initialized,
        None
    );
}

#[test]
fn external_objects_are_owned_and_controlled_only_when_made_from_a_class() {
    for topology in [false, true] {
        let mut facts = fresh();
        facts.cluster.spec.topology = topology.then(Default::default);
        infra(&mut facts).object.metadata.labels.clear();
        infra(&mut facts).object.metadata.owner_references.clear();
        control_plane(&mut facts).object.metadata.owner_references = vec![owner(topology)];
        let plan = plan_now(&facts);
        let [Action::Patch { object, patch }] = plan.actions.as_slice() else {
            panic!("{:?}", plan.actions);
        };
        assert_eq!(object.kind, "Infra");
        let reference = &patch["metadata"]["ownerReferences"][0];
        assert_eq!(reference["controller"].as_bool(), topology.then_some(true));
        assert_eq!(patch["metadata"]["labels"][labels::CLUSTER_NAME], "c");
        assert_eq!(patch["metadata"]["resourceVersion"], "5");
        infra(&mut facts).object.metadata = metadata("x", false);
        infra(&mut facts).object.metadata.owner_references = vec![owner(topology)];
        assert!(
            plan_now(&facts).actions.is_empty(),
            "the second pass patches nothing"
        );
    }
}

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
fn phases_follow_from_references_latches_and_deletion() {
    let phase = |facts: &ClusterFacts| {
        plan_now(facts)
            .status
            .phase
            .as_ref()
            .unwrap()
            .as_str()
            .to_owned()
    };
    let mut facts = fresh();
    assert_eq!(phase(&facts), "Provisioning");
    facts.cluster.spec.infrastructure_ref = None;
    facts.cluster.spec.control_plane_ref = None;
    assert_eq!(phase(&facts), "Pending");
    assert_eq!(phase(&running()), "Provisioned");
    assert_eq!(phase(&deleting(running())), "Deleting");
}

#[test]
fn counters_come_from_the_control_plane_object_as_far_as_it_reports() {
    let mut facts = running();
    let view = control_plane(&mut facts);
    view.desired_replicas = Field::Present(3);
    view.replicas = Field::Present(2);
    view.ready_replicas = Field::Present(1);
    view.up_to_date_replicas = Field::Present(2);
    view.available_replicas = Field::Present(1);
    view.versions = Field::Present(vec![StatusVersion::default()]);
    let plan = plan_now(&facts);
    let counters = &plan.status.control_plane;
    let numbers = |c: &crate::api::MachineCounters| {
        [
            c.desired_replicas,
            c.replicas,
            c.ready_replicas,
            c.up_to_date_replicas,
            c.available_replicas,
        ]
    };
    assert_eq!(numbers(counters), [3, 2, 1, 2, 1].map(Some));

    let mut facts = executed(facts, &plan);
    let view = control_plane(&mut facts);
    view.replicas = Field::Absent;
    view.versions = Field::Absent;
    let kept = plan_now(&facts).status.control_plane;
    assert_eq!(kept.replicas, Some(2), "what is not reported stays");
    assert!(kept.versions.is_empty(), "but versions go");

    control_plane(&mut facts).object.contract = ContractVersion::V1Beta1;
    for (unavailable, available) in [(1, 2), (5, 0)] {
        control_plane(&mut facts).unavailable_replicas = Field::Present(unavailable);
        let counters = plan_now(&facts).status.control_plane;
        assert_eq!(counters.available_replicas, Some(available));
    }
    facts.control_plane = Lookup::NotFound;
    assert_eq!(numbers(&plan_now(&facts).status.control_plane), [None; 5]);
}

#[test]
fn machines_on_their_own_are_counted_and_sets_of_deployments_are_not_counted_twice() {
    let good = || {
        ["Ready", "Available", "UpToDate"]
            .map(|type_| condition(type_, ConditionStatus::True, ""))
            .to_vec()
    };
    let mut facts = fresh();
    facts.cluster.spec.control_plane_ref = None;
    facts.control_plane = Lookup::NotReferenced;
    let plan = plan_now(&facts);
    assert_eq!(plan.status.control_plane.replicas, None);
    assert_eq!(plan.status.workers.replicas, None);

    let mut standalone = machine("w", vec![]);
    standalone.metadata.owner_references = vec![owner(false)];
    let family = descendants(&mut facts);
    family.machines = vec![
        machine("cp1", good()),
        machine("cp2", vec![]),
        standalone,
        machine("of-a-set", good()),
    ];
    family.machine_deployments = vec![set("md", 2, true)];
    family.machine_sets = vec![set("of-md", 2, false), set("own", 3, true)];
    family.machine_pools = vec![set("mp", 4, true)];
    let status = plan_now(&facts).status;
    let control_plane = status.control_plane;
    assert_eq!(
        (control_plane.desired_replicas, control_plane.ready_replicas),
        (Some(2), Some(1))
    );
    assert_eq!(control_plane.versions[0].replicas, Some(2));
    assert_eq!(status.workers.replicas, Some(2 + 3 + 4 + 1));
    assert_eq!(status.workers.ready_replicas, Some(2 + 3 + 4));
    assert_eq!(status.workers.versions[0].replicas, Some(10));
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

#[test]
fn workers_go_first_owned_ones_are_deleted_and_all_are_waited_for() {
    let mut facts = deleting(running());
    let family = descendants(&mut facts);
    let mut leaving = set("md2", 1, true);
    leaving.metadata.deletion_timestamp = Some(time(1));
    let mut standalone = machine("w1", vec![]);
    standalone.metadata.owner_references = vec![owner(false)];
    family.machine_deployments = vec![set("md1", 1, true), leaving];
    family.machine_sets = vec![set("of-md", 1, false), set("own", 1, true)];
    family.machines = vec![standalone, machine("of-set", vec![]), machine("cp", vec![])];
    let plan = plan_now(&facts);
    assert_eq!(
        deletes(&plan),
        ["MachineDeployment md1", "MachineSet own", "Machine w1"],
        "neither what others own nor the control plane's machines"
    );
    assert_eq!(
        said(&plan, types::DELETING),
        "True WaitingForWorkersDeletion * MachineDeployments: md1, md2\n* MachineSets: of-md, \
         own\n* Worker Machines: of-set, w1"
    );
    assert_eq!(plan.again, Some(at(NOW + 5)));

    let family = descendants(&mut facts);
    family.machine_sets.clear();
    family.machine_deployments.clear();
    let mut own_cp = machine("cp", vec![]);
    own_cp.metadata.owner_references = vec![owner(false)];
    family.machines = ["g", "f", "e", "d", "c", "b"]
        .map(|n| machine(n, vec![]))
        .to_vec();
    family.machines.push(own_cp);
    facts.cluster.spec.control_plane_ref = None;
    facts.control_plane = Lookup::NotReferenced;
    let plan = plan_now(&facts);
    assert_eq!(deletes(&plan), ["Machine cp"]);
    assert_eq!(
        said(&plan, types::DELETING),
        "True WaitingForWorkersDeletion * Control plane Machines: cp\n* Worker Machines: b, c, d, \
         e, f, ... (1 more)"
    );
}

#[test]
fn then_the_control_plane_goes_then_the_infrastructure_then_the_cluster() {
    let mut facts = deleting(running());
    descendants(&mut facts).machines = vec![machine("cp", vec![])];
    let plan = plan_now(&facts);
    assert_eq!(deletes(&plan), ["ControlPlane x"]);
    assert_eq!(
        said(&plan, types::DELETING),
        "True WaitingForControlPlaneDeletion Waiting for ControlPlane to be deleted"
    );
    assert_eq!(plan.again, None, "the watch tells");
    control_plane(&mut facts).object.metadata.deletion_timestamp = Some(time(1));
    assert!(deletes(&plan_now(&facts)).is_empty());

    facts.control_plane = Lookup::NotFound;
    let plan = plan_now(&facts);
    assert_eq!(deletes(&plan), ["Infra x"]);
    assert!(said(&plan, types::DELETING).starts_with("True WaitingForInfrastructureDeletion"));

    facts.infra_cluster = Lookup::NotFound;
    let plan = plan_now(&facts);
    assert_eq!(plan.metadata.finalizers, Some(Vec::new()));
    assert!(!plan.status_changed, "nothing is written to what vanishes");
    assert!(reasons(&plan).contains(&"Deleted"));
    // That they are gone does not make the cluster look bad beyond being deleted.
    assert_eq!(
        said(&plan, types::AVAILABLE),
        "False NotAvailable * Deleting: Deletion completed"
    );
}

#[test]
fn a_deletion_stops_where_something_cannot_be_read() {
    let mut facts = deleting(running());
    facts.descendants = None;
    let plan = plan_now(&facts);
    assert!(said(&plan, types::DELETING).starts_with("True InternalError"));
    assert!(plan.actions.is_empty());
    assert_eq!(plan.status.workers, facts.cluster.status.workers);
    for type_ in [
        types::WORKERS_AVAILABLE,
        types::WORKER_MACHINES_READY,
        types::REMEDIATING,
    ] {
        assert!(
            said(&plan, type_).starts_with("Unknown InternalError"),
            "{type_}"
        );
    }
    let mut facts = deleting(running());
    facts.control_plane = Lookup::Failed("boom".into());
    let plan = plan_now(&facts);
    assert!(said(&plan, types::DELETING).starts_with("True InternalError"));
    assert!(plan.actions.is_empty() && plan.metadata.finalizers.is_none());
}

#[test]
fn a_cluster_made_from_a_class_waits_for_the_hook_before_it_is_deleted() {
    let mut facts = deleting(running());
    facts.cluster.spec.topology = Some(Default::default());
    facts.settings.topology_hooks = true;
    infra(&mut facts).object.metadata.owner_references = vec![owner(true)];
    control_plane(&mut facts).object.metadata.owner_references = vec![owner(true)];
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::DELETING),
        "True WaitingForBeforeDeleteHook Waiting for BeforeClusterDelete hook"
    );
    assert!(deletes(&plan).is_empty());
    let key = annotations::OK_TO_DELETE.to_owned();
    facts
        .cluster
        .metadata
        .annotations
        .insert(key, String::new());
    assert_eq!(deletes(&plan_now(&facts)), ["ControlPlane x"]);
}

#[test]
fn a_paused_cluster_does_nothing_else() {
    let mut facts = deleting(running());
    facts.cluster.spec.paused = Some(true);
    let plan = plan_now(&facts);
    assert_eq!(
        said(&plan, types::PAUSED),
        "True Paused Cluster spec.paused is set to true"
    );
    assert!(plan.actions.is_empty() && plan.metadata.is_empty() && plan.status_changed);
    assert!(plan_now(&executed(facts, &plan)).is_idle());
}

#[test]
fn an_error_keeps_the_observed_generation_and_still_writes_the_conditions() {
    let mut facts = fresh();
    infra(&mut facts).provisioned = Field::Malformed("is no bool".into());
    let plan = plan_now(&facts);
    assert_eq!(plan.errors, ["is no bool"]);
    assert_eq!(plan.status.observed_generation, None);
    assert!(plan.status_changed && plan.status.conditions.len() == 16);
}

#[test]
fn a_settled_cluster_needs_nothing_and_a_recorded_plan_replays_elsewhere() {
    let mut facts = running();
    descendants(&mut facts).machine_deployments = vec![set("md", 2, true)];
    let facts = executed(facts.clone(), &plan_now(&facts));
    let plan = plan_now(&facts);
    assert!(plan.is_idle(), "{plan:#?}");
    let text = serde_json::to_string(&facts).unwrap();
    let replayed: ClusterFacts = serde_json::from_str(&text).unwrap();
    assert_eq!(replayed, facts);
    assert_eq!(plan_now(&replayed), plan);
}
