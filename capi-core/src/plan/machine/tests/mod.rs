//! Tables of the Machine planner.

mod conditions;
mod deletion;
mod property;
mod provisioning;

use super::*;
use crate::{
    api::{Condition, ConditionStatus, patch::apply_merge_patch},
    contract::{ExternalObject, Field, OwnerReference},
    plan::{
        Action,
        condition::{find, types},
        node::{NodeCondition, NodeSpec, NodeStatus},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> Time {
    at(second).into()
}

/// The time of every plan unless a test says otherwise.
const NOW: i64 = 100_000;

fn reference(kind: &str) -> ContractVersionedObjectReference {
    ContractVersionedObjectReference {
        api_group: "example.org".into(),
        kind: kind.into(),
        name: "m".into(),
    }
}

/// An external object of ours: owned by the Machine and labelled.
fn owned(kind: &str) -> ExternalObject {
    ExternalObject {
        api_version: "example.org/v1".into(),
        kind: kind.into(),
        metadata: Metadata {
            name: "m".into(),
            namespace: "ns".into(),
            uid: format!("{kind}-uid"),
            resource_version: "5".into(),
            labels: [(labels::CLUSTER_NAME.to_owned(), "c".to_owned())].into(),
            owner_references: vec![OwnerReference {
                api_version: "cluster.x-k8s.io/v1beta2".into(),
                kind: "Machine".into(),
                name: "m".into(),
                uid: "m-uid".into(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }],
            ..Metadata::default()
        },
        ..ExternalObject::default()
    }
}

fn condition(type_: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        reason: reason.into(),
        message: message.into(),
        last_transition_time: time(1),
        ..Condition::default()
    }
}

fn node() -> Node {
    let good = |type_: &str, status: &str| NodeCondition {
        type_: type_.into(),
        status: status.into(),
        last_transition_time: Some(time(50)),
        message: String::new(),
    };
    Node {
        metadata: Metadata {
            name: "node".into(),
            resource_version: "9".into(),
            ..Metadata::default()
        },
        spec: NodeSpec {
            provider_id: Some("test://m".into()),
            ..NodeSpec::default()
        },
        status: NodeStatus {
            conditions: vec![
                good("Ready", "True"),
                good("MemoryPressure", "False"),
                good("DiskPressure", "False"),
                good("PIDPressure", "False"),
            ],
            ..NodeStatus::default()
        },
    }
}

/// A Machine with its objects, just created: nothing is ready yet.
fn fresh() -> MachineFacts {
    MachineFacts {
        machine: Object {
            metadata: Metadata {
                name: "m".into(),
                namespace: "ns".into(),
                uid: "m-uid".into(),
                generation: 1,
                labels: [
                    (labels::CLUSTER_NAME.to_owned(), "c".to_owned()),
                    (labels::SET_NAME.to_owned(), "set".to_owned()),
                ]
                .into(),
                finalizers: vec![finalizers::MACHINE.into()],
                ..Metadata::default()
            },
            spec: MachineSpec {
                cluster_name: "c".into(),
                bootstrap: crate::api::Bootstrap {
                    config_ref: Some(reference("Config")),
                    data_secret_name: None,
                },
                infrastructure_ref: reference("Host"),
                version: Some("v1.36.0".into()),
                ..MachineSpec::default()
            },
            status: MachineStatus::default(),
        },
        cluster: ClusterFacts {
            name: "c".into(),
            uid: "c-uid".into(),
            infrastructure_provisioned: true,
            control_plane_initialized: Some(time(10)),
            control_plane_ref: Some(reference("ControlPlane")),
            ..ClusterFacts::default()
        },
        bootstrap_config: Lookup::Found(BootstrapConfigView {
            object: owned("Config"),
            ..BootstrapConfigView::default()
        }),
        infra_machine: Lookup::Found(InfraMachineView {
            object: owned("Host"),
            ..InfraMachineView::default()
        }),
        connection: Connection {
            last_probe_success: Some(time(NOW - 5)),
            consecutive_failures: 0,
        },
        deletion: DeletionFacts {
            control_plane: Lookup::Found(Default::default()),
            control_plane_machines: 1,
            ..DeletionFacts::default()
        },
        ..MachineFacts::default()
    }
}

/// A Machine whose objects are done and whose Node is there.
fn running() -> MachineFacts {
    let mut facts = fresh();
    config(&mut facts).data_secret_created = Field::Present(true);
    config(&mut facts).data_secret_name = Field::Present("secret".into());
    infra(&mut facts).provisioned = Field::Present(true);
    infra(&mut facts).provider_id = Field::Present("test://m".into());
    facts.node = NodeLookup::Found(node());
    settle(facts)
}

fn infra(facts: &mut MachineFacts) -> &mut InfraMachineView {
    match &mut facts.infra_machine {
        Lookup::Found(infra) => infra,
        other => panic!("{other:?}"),
    }
}

fn config(facts: &mut MachineFacts) -> &mut BootstrapConfigView {
    match &mut facts.bootstrap_config {
        Lookup::Found(config) => config,
        other => panic!("{other:?}"),
    }
}

fn deleting(mut facts: MachineFacts) -> MachineFacts {
    facts.machine.metadata.deletion_timestamp = Some(time(NOW - 3));
    facts
}

/// The state after a plan was executed: what the API servers would hold.
fn executed(mut facts: MachineFacts, plan: &MachinePlan) -> MachineFacts {
    let machine = &mut facts.machine;
    apply(&mut machine.metadata, &plan.metadata);
    if let Some(id) = &plan.spec.provider_id {
        machine.spec.provider_id = Some(id.clone());
    }
    if let Some(name) = &plan.spec.data_secret_name {
        machine.spec.bootstrap.data_secret_name = Some(name.clone());
    }
    if let Some(domain) = &plan.spec.failure_domain {
        machine.spec.failure_domain = Some(domain.clone()).filter(|d| !d.is_empty());
    }
    machine.metadata.generation += i64::from(!plan.spec.is_empty());
    machine.status = plan.status.clone();
    for action in &plan.actions {
        match action {
            Action::Patch { object, patch } => {
                let found = if object.kind == "Host" {
                    &mut infra(&mut facts).object
                } else {
                    &mut config(&mut facts).object
                };
                merge(&mut found.metadata, &patch["metadata"]);
            }
            Action::PatchNode { patch, .. } => {
                if let NodeLookup::Found(node) = &mut facts.node {
                    let mut value = serde_json::to_value(&*node).unwrap();
                    apply_merge_patch(&mut value, patch);
                    *node = serde_json::from_value(value).unwrap();
                }
            }
            Action::Delete { object } if object.kind == "Host" => {
                infra(&mut facts).object.metadata.deletion_timestamp = Some(time(NOW));
            }
            Action::Delete { .. } => {
                config(&mut facts).object.metadata.deletion_timestamp = Some(time(NOW));
            }
            _ => {}
        }
    }
    facts
}

/// Executes plans until one is idle.
fn settle(mut facts: MachineFacts) -> MachineFacts {
    for _ in 0..5 {
        let plan = plan(&facts, at(NOW));
        if plan.is_idle() {
            return facts;
        }
        facts = executed(facts, &plan);
    }
    panic!("no plan is idle: {:#?}", plan(&facts, at(NOW)));
}

fn apply(metadata: &mut Metadata, change: &crate::plan::MetadataChange) {
    if let Some(patch) = change.to_merge_patch(metadata) {
        merge(metadata, &patch["metadata"]);
    }
}

fn merge(metadata: &mut Metadata, patch: &Value) {
    let mut value = serde_json::to_value(&*metadata).unwrap();
    apply_merge_patch(&mut value, patch);
    *metadata = serde_json::from_value(value).unwrap();
}

fn plan_now(facts: &MachineFacts) -> MachinePlan {
    plan(facts, at(NOW))
}

/// `Status Reason Message` of a condition; `-` when there is none.
fn said(plan: &MachinePlan, type_: &str) -> String {
    find(&plan.status.conditions, type_).map_or_else(
        || "-".to_owned(),
        |c| {
            format!("{} {} {}", c.status.as_str(), c.reason, c.message)
                .trim_end()
                .to_owned()
        },
    )
}

fn reasons(plan: &MachinePlan) -> Vec<&str> {
    plan.events
        .iter()
        .map(|event| event.reason.as_ref())
        .collect()
}

fn deletes(plan: &MachinePlan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { object } => Some(object.kind.as_str()),
            _ => None,
        })
        .collect()
}
