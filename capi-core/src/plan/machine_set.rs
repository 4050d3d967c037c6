//! One MachineSet: how many machines there should be, which ones go, what its status says.
//!
//! Decides from the set, what is known of its surroundings and a [`Tally`] of its machines; its
//! cost does not depend on their number. Never decides which set is the current one of a
//! MachineDeployment: that is [`rollout`](super::rollout).
//!
//! Answers to `core/reconcilers/machineset` of Cluster API.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::machine_set_status::{SetCounters, WantedSetStatus};
pub use super::propagation::{
    OwnedFields, PropagatedFields, controller_reference, new_machine, propagated_fields,
};
use super::{
    Blocked, ObjectRef, Plan,
    defaults::{self, SetDefaults},
    machine_set_status, paused,
    row::Name,
    set_remediation,
    set_status::{OwningCluster, TemplateKind, Templates},
    tally::{Census, Tally},
};
use crate::{
    api::{
        ConditionStatus, IntOrString, MachineSetSpec, MachineSetStatus, annotations, finalizers,
        labels,
    },
    contract::{Metadata, Object, OwnerReference},
};

/// How long preflight checks that failed are left alone when nothing happens.
pub const PREFLIGHT_RETRY: Duration = Duration::from_secs(15);

/// What is decided from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSetFacts {
    /// The set.
    pub object: Object<MachineSetSpec, MachineSetStatus>,
    /// The Cluster.
    pub cluster: OwningCluster,
    /// The MachineDeployment that the set's label names; `None` for a set on its own.
    pub deployment: Option<OwningDeployment>,
    /// The templates.
    pub templates: Templates,
    /// Fingerprint of [`propagated_fields`] of the set; kept, because it only changes with the set.
    pub propagated: u64,
    /// Machines that match the selector and that nobody controls, by name and uid.
    pub orphans: Vec<(String, String)>,
    /// Infrastructure machines and bootstrap configs that the set still owns and no Machine uses.
    pub leftovers: Vec<ObjectRef>,
    /// Machines that were created and that the tally does not hold yet.
    pub unseen: u32,
    /// Why machines must not be created or remediated now; see [`preflight`](super::preflight).
    pub preflight: Preflight,
    /// The machines could not be listed.
    pub list_failed: bool,
    /// The set that machines are to be moved to, when an annotation names one.
    pub move_target: Option<MoveTarget>,
}

/// Result of the preflight checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preflight {
    /// Checks that fail, as messages.
    pub failures: Vec<String>,
    /// The checks could not be run.
    pub error: Option<String>,
}

impl Preflight {
    /// Whether nothing stands against it.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.error.is_none()
    }
}

/// What a set knows of its MachineDeployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwningDeployment {
    /// Its revision annotation.
    pub revision: Option<String>,
    /// `spec.replicas`.
    pub replicas: Option<i32>,
    /// `spec.remediation.maxInFlight`.
    pub max_in_flight: Option<IntOrString>,
}

/// The set that machines are moved to, to be updated in place there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MoveTarget {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Its label `machine-template-hash`.
    pub unique_label: Option<String>,
    /// Its annotation that names the sets it takes machines from.
    pub receives_from: Option<String>,
}

/// What is to be done about other objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
#[non_exhaustive]
pub enum MachineSetAction {
    /// Make the Cluster an owner of a template.
    OwnTemplate {
        /// Which one.
        template: TemplateKind,
    },
    /// Become the controller of a machine that nobody controls.
    AdoptMachine {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Delete an object that a creation which failed half-way left behind.
    DeleteLeftover {
        /// The object.
        object: ObjectRef,
    },
    /// Remove condition `OwnerRemediated` from machines that are healthy again.
    ClearRemediation {
        /// The machines.
        machines: Vec<Name>,
    },
    /// Set condition `OwnerRemediated` to False.
    MarkRemediation {
        /// The machines.
        machines: Vec<Name>,
        /// Why.
        reason: super::row::Remediation,
        /// Why, for people.
        message: String,
    },
    /// Apply the fields of the template that change without replacing machines.
    Propagate {
        /// The machines.
        machines: Vec<Name>,
    },
    /// Hand machines over to the set that will update them in place.
    MoveMachines {
        /// The machines, first to go first.
        machines: Vec<Name>,
    },
    /// Delete machines.
    DeleteMachines {
        /// The machines, first to go first.
        machines: Vec<Name>,
    },
    /// Create machines, each with its infrastructure machine and bootstrap config.
    CreateMachines {
        /// How many.
        count: u32,
    },
}

/// What is wanted of a MachineSet. The status is `None` when it is to stay as it is.
pub type MachineSetPlan = Plan<SetDefaults, Option<WantedSetStatus>, MachineSetAction>;

/// Plans one MachineSet. The tally must have been [advanced](Tally::advance) to `now`.
#[must_use]
pub fn plan(facts: &MachineSetFacts, tally: &Tally, now: Timestamp) -> MachineSetPlan {
    let object = &facts.object;
    let mut plan = MachineSetPlan::default();
    let paused = paused::condition(facts.cluster.paused, &object.metadata, "MachineSet");
    if paused.status == ConditionStatus::True {
        plan.blocked_on
            .push(blocked(object, paused.message.clone()));
        machine_set_status::only(facts, paused, &mut plan);
        return plan;
    }
    metadata(facts, &mut plan);
    plan.spec = match defaults::machine_set(object) {
        Ok(defaults) => defaults,
        Err(error) => {
            plan.errors.push(error.to_string());
            SetDefaults::default()
        }
    };
    for template in facts.templates.to_own(&object.spec.template) {
        plan.actions
            .push(MachineSetAction::OwnTemplate { template });
    }
    if facts.list_failed {
        plan.errors
            .push("the machines of the set could not be listed".to_owned());
    } else {
        for (name, uid) in &facts.orphans {
            let (name, uid) = (name.clone(), uid.clone());
            plan.actions
                .push(MachineSetAction::AdoptMachine { name, uid });
        }
        if object.metadata.is_deleting() {
            delete(facts, tally, &mut plan);
        } else {
            keep(facts, tally, now, &mut plan);
        }
    }
    machine_set_status::plan(facts, tally, paused, &mut plan);
    plan.again = match (plan.again, tally.next_deadline()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    plan
}

fn blocked(object: &Object<MachineSetSpec, MachineSetStatus>, message: String) -> Blocked {
    Blocked::on(
        "MachineSet",
        &object.metadata.namespace,
        &object.metadata.name,
        message,
    )
}

/// Whether the set belongs to a MachineDeployment.
fn has_deployment(metadata: &Metadata) -> bool {
    metadata.has_label(labels::DEPLOYMENT_NAME)
}

/// Whether the set is the one that its MachineDeployment rolls out to.
fn is_current(facts: &MachineSetFacts) -> bool {
    facts.deployment.as_ref().is_none_or(|deployment| {
        deployment.revision.as_ref() == facts.object.metadata.annotations.get(annotations::REVISION)
    })
}

fn metadata(facts: &MachineSetFacts, plan: &mut MachineSetPlan) {
    let metadata = &facts.object.metadata;
    if !metadata.is_deleting() {
        plan.metadata
            .add_finalizer(metadata, finalizers::MACHINE_SET);
    }
    plan.metadata.label(
        metadata,
        labels::CLUSTER_NAME,
        &facts.object.spec.cluster_name,
    );
    if let Some(owners) = adopted_by_cluster(metadata, &facts.cluster) {
        plan.metadata.owners(metadata, owners);
    }
}

/// The owner references of a set on its own, with its Cluster.
fn adopted_by_cluster(metadata: &Metadata, cluster: &OwningCluster) -> Option<Vec<OwnerReference>> {
    let owned = metadata.owner_references.iter().any(|owner| {
        owner.group() == "cluster.x-k8s.io"
            && matches!(owner.kind.as_str(), "MachineDeployment" | "Cluster")
    });
    if owned || has_deployment(metadata) || cluster.uid.is_empty() {
        return None;
    }
    let mut owners = metadata.owner_references.clone();
    owners.push(cluster_reference(cluster));
    Some(owners)
}

/// The reference that makes the Cluster an owner, not the controller.
#[must_use]
pub fn cluster_reference(cluster: &OwningCluster) -> OwnerReference {
    OwnerReference {
        api_version: "cluster.x-k8s.io/v1beta2".to_owned(),
        kind: "Cluster".to_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: None,
        block_owner_deletion: None,
    }
}

fn delete(facts: &MachineSetFacts, tally: &Tally, plan: &mut MachineSetPlan) {
    let object = &facts.object;
    if tally.counts().replicas == 0 && facts.unseen == 0 && facts.orphans.is_empty() {
        plan.metadata
            .remove_finalizer(&object.metadata, finalizers::MACHINE_SET);
        return;
    }
    let machines: Vec<Name> = tally.not_deleting().collect();
    if !machines.is_empty() {
        plan.actions
            .push(MachineSetAction::DeleteMachines { machines });
    }
    let count = tally.counts().replicas;
    plan.blocked_on.push(blocked(
        object,
        format!("{count} Machines are being deleted"),
    ));
}

fn keep(facts: &MachineSetFacts, tally: &Tally, now: Timestamp, plan: &mut MachineSetPlan) {
    let object = &facts.object;
    let missing = facts.templates.missing_message(&object.spec.template);
    if let Some(missing) = &missing
        && is_current(facts)
    {
        plan.errors
            .push(format!("machines cannot be made: {missing}"));
    }
    set_remediation::plan(facts, is_current(facts), tally, now, plan);

    let machines: Vec<Name> = tally.to_propagate(facts.propagated).collect();
    if !machines.is_empty() {
        plan.actions.push(MachineSetAction::Propagate { machines });
    }
    for object in &facts.leftovers {
        plan.actions.push(MachineSetAction::DeleteLeftover {
            object: object.clone(),
        });
    }

    let Some(desired) = object.spec.replicas else {
        if plan.spec.replicas.is_none() {
            plan.errors.push("spec.replicas is not set".to_owned());
        }
        return;
    };
    let counts = tally.counts();
    let adopted = facts.orphans.len();
    let existing =
        i64::from(counts.replicas) + i64::from(facts.unseen) + i64::try_from(adopted).unwrap_or(0);
    let surplus = existing - i64::from(desired.max(0));
    if surplus < 0 {
        create(
            facts,
            missing,
            u32::try_from(-surplus).unwrap_or(0),
            now,
            plan,
        );
        return;
    }
    let annotation = |key: &str| {
        object
            .metadata
            .annotations
            .get(key)
            .filter(|v| !v.is_empty())
    };
    let receives = annotation(annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS).is_some();
    let unacknowledged = if receives {
        i64::from(counts.pending_acknowledge)
    } else {
        0
    };
    let surplus = usize::try_from(surplus - unacknowledged).unwrap_or(0);
    if surplus == 0 {
        return;
    }
    match annotation(annotations::MOVE_MACHINES_TO_MACHINE_SET) {
        Some(target) => move_machines(facts, target, surplus, tally, plan),
        None => {
            // Machines that are being deleted already count as gone.
            let deleting = counts.deleting as usize;
            let count = surplus.saturating_sub(deleting);
            let machines: Vec<Name> = tally.not_deleting().take(count).collect();
            if !machines.is_empty() {
                plan.actions
                    .push(MachineSetAction::DeleteMachines { machines });
            }
        }
    }
}

fn create(
    facts: &MachineSetFacts,
    missing: Option<String>,
    count: u32,
    now: Timestamp,
    plan: &mut MachineSetPlan,
) {
    let object = &facts.object;
    let disabled = object
        .metadata
        .annotations
        .get(annotations::DISABLE_MACHINE_CREATE);
    if disabled.is_some_and(|value| value == "true") {
        return;
    }
    if let Some(error) = &facts.preflight.error {
        plan.errors.push(error.clone());
        return;
    }
    if !facts.preflight.passed() {
        plan.blocked_on
            .push(blocked(object, facts.preflight.failures.join("; ")));
        if let Ok(again) = now.checked_add(PREFLIGHT_RETRY) {
            plan.look_again(again);
        }
        return;
    }
    if let Some(missing) = missing {
        plan.blocked_on.push(blocked(object, missing));
        return;
    }
    plan.actions
        .push(MachineSetAction::CreateMachines { count });
}

/// Chooses machines to hand over: in order of deletion; unhealthy ones are deleted instead,
/// deleting ones count, updating and unprovisioned ones are passed over.
fn move_machines(
    facts: &MachineSetFacts,
    target: &str,
    mut count: usize,
    tally: &Tally,
    plan: &mut MachineSetPlan,
) {
    let metadata = &facts.object.metadata;
    let Some(found) = facts
        .move_target
        .as_ref()
        .filter(|found| found.name == target)
    else {
        plan.errors.push(format!(
            "MachineSet {target}, to move machines to, does not exist"
        ));
        return;
    };
    let receives = found.receives_from.as_deref().unwrap_or_default();
    if !receives.split(',').any(|source| source == metadata.name) {
        plan.errors.push(format!(
            "MachineSet {} is to move machines to {target}, which takes machines from {receives:?}",
            metadata.name
        ));
        return;
    }
    if found.unique_label.is_none() {
        plan.errors.push(format!(
            "MachineSet {target} has no label machine-template-hash"
        ));
        return;
    }
    let (mut moved, mut deleted) = (Vec::new(), Vec::new());
    for name in tally.deletion_candidates() {
        if count == 0 {
            break;
        }
        let Some(row) = tally.row(name) else { continue };
        if row.deleting.is_some() {
            count -= 1;
        } else if row.needs_remediation() {
            deleted.push(name);
            count -= 1;
        } else if !row.updating && row.has_node {
            moved.push(name);
            count -= 1;
        }
    }
    if !deleted.is_empty() {
        plan.actions
            .push(MachineSetAction::DeleteMachines { machines: deleted });
    }
    if !moved.is_empty() {
        plan.actions
            .push(MachineSetAction::MoveMachines { machines: moved });
    }
}
