//! The MachineSets of a MachineDeployment as they are to be: everything but their replica counts.
//!
//! Decides labels, annotations, selector and template of each set, and what of that differs from
//! what there is. Never decides how many machines a set has: that is the rollout's arithmetic.
//!
//! Answers to `computeDesiredMS` of Cluster API.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    machine_set::{OwnedFields, controller_reference},
    naming::{Seed, fnv32a, machine_set_name},
    row::fingerprint,
};
use crate::{
    api::{
        MachineDeploymentSpec, MachineDeploymentStatus, MachineSetSpec, MachineSetStatus,
        annotations, labels,
    },
    contract::{Metadata, Object, OwnerReference},
};

/// A MachineDeployment with metadata.
pub type Deployment = Object<MachineDeploymentSpec, MachineDeploymentStatus>;

/// A MachineSet of a deployment as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetFacts {
    /// The set.
    pub object: Object<MachineSetSpec, MachineSetStatus>,
    /// What the field manager of MachineDeployments applied to it.
    pub owned: OwnedFields,
}

/// A MachineSet as it is to be: the whole of what is applied under the field manager
/// `capi-machinedeployment`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DesiredSet {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Unique id of the set there is, so that a set that is gone is not made again; empty for a
    /// new one.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// Owners.
    pub owner_references: Vec<OwnerReference>,
    /// Spec.
    pub spec: MachineSetSpec,
}

/// A set that cannot be planned for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DesiredSetError {
    /// The label that tells sets of a deployment apart is missing.
    #[error(
        "MachineSet {0} has no label machine-template-hash; put it back as its selector has it"
    )]
    NoUniqueLabel(String),
    /// The revision of the current set is no number.
    #[error("MachineSet {set}: revision annotation {value:?} must be a number")]
    Revision {
        /// Name of the set.
        set: String,
        /// The annotation.
        value: String,
    },
}

/// Annotations of a deployment that its sets do not take over.
const SKIPPED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    annotations::REVISION,
    annotations::REVISION_HISTORY,
    annotations::DESIRED_REPLICAS,
    annotations::MAX_REPLICAS,
    annotations::CONVERSION_DATA,
];

/// The revision of a set; 0 without one or with one that is no number.
pub(super) fn revision(metadata: &Metadata) -> i64 {
    let value = metadata.annotations.get(annotations::REVISION);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The revision of the current set: one more than the old ones', never less than it has.
fn next_revision(
    current: Option<&SetFacts>,
    old: &[&SetFacts],
) -> Result<(String, Option<String>), DesiredSetError> {
    let newest_old = old
        .iter()
        .map(|set| revision(&set.object.metadata))
        .max()
        .unwrap_or(0);
    let next = newest_old.max(0) + 1;
    let Some(current) = current else {
        return Ok((next.to_string(), None));
    };
    let metadata = &current.object.metadata;
    let history = metadata
        .annotations
        .get(annotations::REVISION_HISTORY)
        .cloned();
    let Some(found) = metadata.annotations.get(annotations::REVISION) else {
        return Ok((next.to_string(), history));
    };
    let number: i64 = found.parse().map_err(|_| DesiredSetError::Revision {
        set: metadata.name.clone(),
        value: found.clone(),
    })?;
    if next <= number {
        return Ok((found.clone(), history));
    }
    let history = match history.filter(|history| !history.is_empty()) {
        None => found.clone(),
        Some(history) => format!("{history},{found}"),
    };
    Ok((next.to_string(), Some(history)))
}

/// The current set, and its revision.
pub(super) fn current_set(
    deployment: &Deployment,
    current: Option<&SetFacts>,
    old: &[&SetFacts],
    max_replicas: i32,
    seed: &mut Seed,
) -> Result<(DesiredSet, String), DesiredSetError> {
    let mut desired = match current {
        Some(set) => existing_set(deployment, set, max_replicas)?,
        None => new_set(deployment, max_replicas, seed),
    };
    let (revision, history) = next_revision(current, old)?;
    let annotations = &mut desired.annotations;
    annotations.insert(annotations::REVISION.to_owned(), revision.clone());
    if let Some(history) = history {
        annotations.insert(annotations::REVISION_HISTORY.to_owned(), history);
    }
    annotations.insert(
        annotations::DISABLE_MACHINE_CREATE.to_owned(),
        "false".to_owned(),
    );
    Ok((desired, revision))
}

/// An old set. Under OnDelete it makes no machines any more.
pub(super) fn old_set(
    deployment: &Deployment,
    set: &SetFacts,
    max_replicas: i32,
    on_delete: bool,
) -> Result<DesiredSet, DesiredSetError> {
    let mut desired = existing_set(deployment, set, max_replicas)?;
    for key in [annotations::REVISION, annotations::REVISION_HISTORY] {
        if let Some(value) = set.object.metadata.annotations.get(key) {
            desired.annotations.insert(key.to_owned(), value.clone());
        }
    }
    desired.annotations.insert(
        annotations::DISABLE_MACHINE_CREATE.to_owned(),
        on_delete.to_string(),
    );
    Ok(desired)
}

fn existing_set(
    deployment: &Deployment,
    set: &SetFacts,
    max_replicas: i32,
) -> Result<DesiredSet, DesiredSetError> {
    let metadata = &set.object.metadata;
    let unique = metadata
        .labels
        .get(labels::MACHINE_TEMPLATE_HASH)
        .ok_or_else(|| DesiredSetError::NoUniqueLabel(metadata.name.clone()))?;
    let mut spec = set.object.spec.clone();
    spec.cluster_name.clone_from(&deployment.spec.cluster_name);
    Ok(with_deployment(
        deployment,
        max_replicas,
        unique,
        DesiredSet {
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            finalizers: metadata.finalizers.clone(),
            spec,
            ..DesiredSet::default()
        },
    ))
}

fn new_set(deployment: &Deployment, max_replicas: i32, seed: &mut Seed) -> DesiredSet {
    let (name, suffix) = machine_set_name(&deployment.metadata.name, seed);
    let hash = fnv32a(&fingerprint(&deployment.spec.template.spec).to_be_bytes());
    let mut spec = MachineSetSpec {
        cluster_name: deployment.spec.cluster_name.clone(),
        replicas: Some(0),
        ..MachineSetSpec::default()
    };
    spec.template.spec = deployment.spec.template.spec.clone();
    with_deployment(
        deployment,
        max_replicas,
        &format!("{hash}-{suffix}"),
        DesiredSet {
            name,
            finalizers: vec![crate::api::finalizers::MACHINE_SET.to_owned()],
            spec,
            ..DesiredSet::default()
        },
    )
}

/// Puts in what follows the deployment without machines being replaced.
fn with_deployment(
    deployment: &Deployment,
    max_replicas: i32,
    unique: &str,
    mut set: DesiredSet,
) -> DesiredSet {
    let metadata = &deployment.metadata;
    let template = &deployment.spec.template;
    set.namespace.clone_from(&metadata.namespace);
    set.owner_references = vec![controller_reference("MachineDeployment", metadata)];

    let with_unique = |mut labels: BTreeMap<String, String>| {
        labels.insert(labels::MACHINE_TEMPLATE_HASH.to_owned(), unique.to_owned());
        labels
    };
    set.labels = with_unique(template.metadata.labels.clone());
    set.labels
        .insert(labels::DEPLOYMENT_NAME.to_owned(), metadata.name.clone());
    set.labels.insert(
        labels::CLUSTER_NAME.to_owned(),
        deployment.spec.cluster_name.clone(),
    );
    set.spec.template.metadata.labels = with_unique(template.metadata.labels.clone());
    set.spec.template.metadata.annotations = template.metadata.annotations.clone();
    set.spec.selector = deployment.spec.selector.clone();
    set.spec.selector.match_labels = with_unique(deployment.spec.selector.match_labels.clone());

    set.annotations = metadata
        .annotations
        .iter()
        .filter(|(key, _)| !SKIPPED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let replicas = deployment.spec.replicas.unwrap_or(0);
    for (key, value) in [
        (annotations::DESIRED_REPLICAS, replicas),
        (annotations::MAX_REPLICAS, max_replicas),
    ] {
        set.annotations.insert(key.to_owned(), value.to_string());
    }

    set.spec.deletion.clone_from(&deployment.spec.deletion);
    set.spec
        .machine_naming
        .clone_from(&deployment.spec.machine_naming);
    let (to, from) = (&mut set.spec.template.spec, &template.spec);
    to.min_ready_seconds = from.min_ready_seconds;
    to.readiness_gates.clone_from(&from.readiness_gates);
    to.deletion.clone_from(&from.deletion);
    to.taints.clone_from(&from.taints);
    set
}

/// Whether applying `desired` would change the set.
pub(super) fn differs(desired: &DesiredSet, set: &SetFacts) -> bool {
    let metadata = &set.object.metadata;
    !covered(&desired.labels, &metadata.labels, &set.owned.labels)
        || !covered(
            &desired.annotations,
            &metadata.annotations,
            &set.owned.annotations,
        )
        || desired
            .finalizers
            .iter()
            .any(|finalizer| !metadata.finalizers.contains(finalizer))
        || desired
            .owner_references
            .iter()
            .any(|owner| !metadata.owner_references.contains(owner))
        || desired.spec != set.object.spec
}

/// Whether all wanted values are there, and nothing that we once applied is left over.
fn covered(
    wanted: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
    owned: &[String],
) -> bool {
    /// Annotations that only a rollout sets.
    const OURS: [&str; 3] = [
        annotations::MOVE_MACHINES_TO_MACHINE_SET,
        annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS,
        annotations::ACKNOWLEDGED_MOVE,
    ];
    let ours: BTreeSet<&str> = owned.iter().map(String::as_str).chain(OURS).collect();
    wanted
        .iter()
        .all(|(key, value)| found.get(key) == Some(value))
        && found
            .keys()
            .all(|key| wanted.contains_key(key) || !ours.contains(key.as_str()))
}
