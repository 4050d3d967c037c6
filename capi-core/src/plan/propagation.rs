//! What the machines of a MachineSet have of its template: at birth, and what follows in place.
//!
//! Decides the fields of a Machine. Never decides whether there is to be one.
//!
//! Answers to `computeDesiredMachine` of Cluster API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row::fingerprint;
use crate::{
    api::{
        ConditionGate, MachineDeletion, MachineSetSpec, MachineSetStatus, MachineSpec,
        MachineTaint, finalizers, labels,
    },
    contract::{Metadata, Object, OwnerReference},
};

/// The fields of a Machine that follow the template without the machine being replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PropagatedFields {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.readinessGates`.
    pub readiness_gates: Vec<ConditionGate>,
    /// `spec.deletion`.
    pub deletion: MachineDeletion,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: Option<i32>,
    /// `spec.taints`.
    pub taints: Vec<MachineTaint>,
}

impl PropagatedFields {
    /// What of a Machine is to be compared with `wanted`: labels and annotations that are wanted
    /// or that `owned` says were applied by us, and the fields of the spec. A field of the spec
    /// that is not wanted and that `owned` does not name belongs to somebody else.
    #[must_use]
    pub fn of_machine(
        metadata: &Metadata,
        spec: &MachineSpec,
        wanted: &Self,
        owned: &OwnedFields,
    ) -> Self {
        let pick = |all: &BTreeMap<String, String>,
                    wanted: &BTreeMap<String, String>,
                    owned: &[String]| {
            all.iter()
                .filter(|(key, _)| wanted.contains_key(*key) || owned.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let is_owned = |field: &str| owned.spec.iter().any(|found| found == field);
        let limit = |wanted: Option<i32>, found: Option<i32>, field: &str| {
            if wanted.is_some() || is_owned(field) {
                found
            } else {
                None
            }
        };
        Self {
            labels: pick(&metadata.labels, &wanted.labels, &owned.labels),
            annotations: pick(
                &metadata.annotations,
                &wanted.annotations,
                &owned.annotations,
            ),
            readiness_gates: spec.readiness_gates.clone(),
            deletion: MachineDeletion {
                node_drain_timeout_seconds: limit(
                    wanted.deletion.node_drain_timeout_seconds,
                    spec.deletion.node_drain_timeout_seconds,
                    "nodeDrainTimeoutSeconds",
                ),
                node_volume_detach_timeout_seconds: limit(
                    wanted.deletion.node_volume_detach_timeout_seconds,
                    spec.deletion.node_volume_detach_timeout_seconds,
                    "nodeVolumeDetachTimeoutSeconds",
                ),
                node_deletion_timeout_seconds: limit(
                    wanted.deletion.node_deletion_timeout_seconds,
                    spec.deletion.node_deletion_timeout_seconds,
                    "nodeDeletionTimeoutSeconds",
                ),
            },
            min_ready_seconds: limit(
                wanted.min_ready_seconds,
                spec.min_ready_seconds,
                "minReadySeconds",
            ),
            taints: spec.taints.clone(),
        }
    }

    /// The fingerprint that rows carry.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }
}

/// Names of the fields that a field manager of ours applied, from `metadata.managedFields`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnedFields {
    /// Keys of labels.
    pub labels: Vec<String>,
    /// Keys of annotations.
    pub annotations: Vec<String>,
    /// Names of fields of the spec, without their path.
    pub spec: Vec<String>,
}

/// What the machines of a set carry of its template.
#[must_use]
pub fn propagated_fields(object: &Object<MachineSetSpec, MachineSetStatus>) -> PropagatedFields {
    let template = &object.spec.template;
    let mut labels = template.metadata.labels.clone();
    let name = super::naming::label_value(&object.metadata.name);
    labels.insert(labels::SET_NAME.to_owned(), name);
    if let Some(deployment) = object.metadata.labels.get(labels::DEPLOYMENT_NAME) {
        labels.insert(labels::DEPLOYMENT_NAME.to_owned(), deployment.clone());
    }
    PropagatedFields {
        labels,
        annotations: template.metadata.annotations.clone(),
        readiness_gates: template.spec.readiness_gates.clone(),
        deletion: template.spec.deletion.clone(),
        min_ready_seconds: template.spec.min_ready_seconds,
        taints: template.spec.taints.clone(),
    }
}

/// A Machine of a set as it is to be created: the parts that the set decides. References to its
/// infrastructure machine and bootstrap config are for whoever creates those.
#[must_use]
pub fn new_machine(
    object: &Object<MachineSetSpec, MachineSetStatus>,
    name: String,
) -> Object<MachineSpec, ()> {
    let fields = propagated_fields(object);
    let mut spec = object.spec.template.spec.clone();
    spec.cluster_name.clone_from(&object.spec.cluster_name);
    spec.provider_id = None;
    spec.infrastructure_ref = Default::default();
    spec.bootstrap.config_ref = None;
    Object {
        metadata: Metadata {
            name,
            namespace: object.metadata.namespace.clone(),
            labels: fields.labels,
            annotations: fields.annotations,
            finalizers: vec![finalizers::MACHINE.to_owned()],
            owner_references: vec![controller_reference("MachineSet", &object.metadata)],
            ..Metadata::default()
        },
        spec,
        status: (),
    }
}

/// The reference that makes an object of Cluster API's core group the controller of another.
#[must_use]
pub fn controller_reference(kind: &str, owner: &Metadata) -> OwnerReference {
    OwnerReference {
        api_version: "cluster.x-k8s.io/v1beta2".to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
