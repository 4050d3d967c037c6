//! From creation to a cluster that is up, and its counters.

use super::*;

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
