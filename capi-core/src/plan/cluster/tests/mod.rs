//! Tables of the Cluster planner.

mod conditions;
mod deletion;
mod property;
mod provisioning;

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
