//! From the wish to delete to the last finalizer; pausing, errors, rest.

use super::*;

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
    assert_eq!(plan.errors, ["failed to list what belongs to the Cluster"]);
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
