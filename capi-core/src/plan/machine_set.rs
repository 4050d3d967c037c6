//! One MachineSet: how many machines there should be, which ones go, what its status says.
//!
//! Decides from the set, what is known of its surroundings and a [`Tally`] of its machines; its
//! cost does not depend on their number. Never decides which set is the current one of a
//! MachineDeployment: that is [`rollout`](super::rollout).
//!
//! Answers to `core/reconcilers/machineset` of Cluster API.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Blocked, ObjectRef, Plan,
    condition::Wanted,
    defaults::{self, SetDefaults},
    paused,
    row::{Name, fingerprint},
    set_remediation,
    set_status::{OwningCluster, TemplateKind, Templates, differ, scaling, selector_text, settle},
    tally::{Tally, replicas},
};
use crate::{
    api::{
        ConditionGate, ConditionStatus, IntOrString, MachineDeletion, MachineSetSpec,
        MachineSetStatus, MachineSpec, MachineTaint, annotations, finalizers, labels,
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
pub type MachineSetPlan = Plan<SetDefaults, Option<MachineSetStatus>, MachineSetAction>;

/// Plans one MachineSet. The tally must have been [advanced](Tally::advance) to `now`.
#[must_use]
pub fn plan(facts: &MachineSetFacts, tally: &Tally, now: Timestamp) -> MachineSetPlan {
    let object = &facts.object;
    let mut plan = MachineSetPlan::default();
    let paused = paused::condition(facts.cluster.paused, &object.metadata, "MachineSet");
    if paused.status == ConditionStatus::True {
        plan.blocked_on
            .push(blocked(object, paused.message.clone()));
        let status = object.status.clone();
        settle_status(&mut plan, object, status, vec![paused], now);
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
    status(facts, tally, paused, now, &mut plan);
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

fn status(
    facts: &MachineSetFacts,
    tally: &Tally,
    paused: Wanted,
    now: Timestamp,
    plan: &mut MachineSetPlan,
) {
    let object = &facts.object;
    let current = &object.status;
    let counts = tally.counts();
    let conditions = if facts.list_failed {
        [
            "ScalingUp",
            "ScalingDown",
            "MachinesReady",
            "MachinesUpToDate",
            "Remediating",
            "Deleting",
        ]
        .map(Wanted::internal_error)
        .into_iter()
        .chain([paused])
        .collect()
    } else {
        vec![
            scaling_up(facts, tally),
            scaling_down(facts, tally),
            tally.machines_ready("MachinesReady"),
            tally.machines_up_to_date("MachinesUpToDate"),
            tally.remediating("Remediating", "MachineSet"),
            deleting(facts, tally),
            paused,
        ]
    };
    let generation = object.metadata.generation;
    // The selector is part of the spec: at the same generation it is the same text.
    let seen = current.observed_generation == Some(generation);
    let selector = match &current.selector {
        Some(selector) if seen => Cow::Borrowed(selector.as_str()),
        _ => Cow::Owned(selector_text(&object.spec.selector)),
    };
    let counted = |count: u32| Some(replicas(count));
    let versions = tally.versions();
    let same = current.selector.as_deref() == Some(&*selector)
        && (facts.list_failed
            || current.replicas == counted(counts.replicas)
                && current.ready_replicas == counted(counts.ready)
                && current.available_replicas == counted(counts.available)
                && current.up_to_date_replicas == counted(counts.up_to_date)
                && current.versions == versions);
    let observed = if plan.errors.is_empty() && generation > 0 {
        Some(generation)
    } else {
        current.observed_generation
    };
    if same
        && observed == current.observed_generation
        && !differ(&current.conditions, &conditions, generation)
    {
        return;
    }
    let selector = selector.into_owned();
    let mut status = current.clone();
    status.selector = Some(selector);
    status.observed_generation = observed;
    if !facts.list_failed {
        status.replicas = counted(counts.replicas);
        status.ready_replicas = counted(counts.ready);
        status.available_replicas = counted(counts.available);
        status.up_to_date_replicas = counted(counts.up_to_date);
        status.versions = versions;
    }
    settle_status(plan, object, status, conditions, now);
}

fn settle_status(
    plan: &mut MachineSetPlan,
    object: &Object<MachineSetSpec, MachineSetStatus>,
    mut status: MachineSetStatus,
    conditions: Vec<Wanted>,
    now: Timestamp,
) {
    status.conditions = settle(
        &object.status.conditions,
        conditions,
        object.metadata.generation,
        now,
    );
    if status != object.status {
        plan.status = Some(status);
        plan.status_changed = true;
    }
}

/// Whether a status says that all is as it is wanted, so that nothing more is on its way.
#[must_use]
pub fn is_at_rest(
    object: &Object<MachineSetSpec, MachineSetStatus>,
    status: &MachineSetStatus,
) -> bool {
    let desired = if object.metadata.is_deleting() {
        Some(0)
    } else {
        object.spec.replicas
    };
    [
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.up_to_date_replicas,
    ]
    .iter()
    .all(|count| *count == desired)
}

fn desired(facts: &MachineSetFacts) -> Option<i32> {
    let replicas = facts.object.spec.replicas?;
    Some(if facts.object.metadata.is_deleting() {
        0
    } else {
        replicas
    })
}

fn scaling_up(facts: &MachineSetFacts, tally: &Tally) -> Wanted {
    const TYPE: &str = "ScalingUp";
    let Some(desired) = desired(facts) else {
        return Wanted::unknown(TYPE, "WaitingForReplicasSet")
            .message("Waiting for spec.replicas set");
    };
    let missing = facts.templates.missing_message(&facts.object.spec.template);
    let current = replicas(tally.counts().replicas);
    if current >= desired {
        let condition = Wanted::is_false(TYPE, "NotScalingUp");
        return match missing {
            Some(missing) if !facts.object.metadata.is_deleting() => {
                condition.message(format!("Scaling up would be blocked because {missing}"))
            }
            _ => condition,
        };
    }
    let mut message = scaling("up", current, desired);
    let causes = facts.preflight.failures.iter().chain(&missing);
    let causes: Vec<String> = causes.map(|cause| format!("* {cause}")).collect();
    if !causes.is_empty() {
        message.push_str(" is blocked because:\n");
        message.push_str(&causes.join("\n"));
    }
    Wanted::is_true(TYPE, "ScalingUp").message(message)
}

fn scaling_down(facts: &MachineSetFacts, tally: &Tally) -> Wanted {
    const TYPE: &str = "ScalingDown";
    let Some(desired) = desired(facts) else {
        return Wanted::unknown(TYPE, "WaitingForReplicasSet")
            .message("Waiting for spec.replicas set");
    };
    let counts = tally.counts();
    let current = replicas(counts.replicas.saturating_sub(counts.pending_acknowledge));
    if current <= desired {
        return Wanted::is_false(TYPE, "NotScalingDown");
    }
    let message = with_stale(scaling("down", current, desired), tally);
    Wanted::is_true(TYPE, "ScalingDown").message(message)
}

fn deleting(facts: &MachineSetFacts, tally: &Tally) -> Wanted {
    const TYPE: &str = "Deleting";
    if !facts.object.metadata.is_deleting() {
        return Wanted::is_false(TYPE, "NotDeleting");
    }
    let message = match tally.counts().replicas {
        0 => "Deletion completed".to_owned(),
        1 => with_stale("Deleting 1 Machine".to_owned(), tally),
        count => with_stale(format!("Deleting {count} Machines"), tally),
    };
    Wanted::is_true(TYPE, "Deleting").message(message)
}

/// `message`, and below it what is said of machines that are being deleted for long.
pub(super) fn with_stale(mut message: String, tally: &Tally) -> String {
    if let Some(stale) = tally.stale() {
        message.push_str("\n* ");
        message.push_str(&stale);
    }
    message
}

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
