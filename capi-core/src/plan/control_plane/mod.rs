//! A control plane of machines, whatever the distribution: which machine is made, joined,
//! replaced, removed next.
//!
//! Decides order, quorum, surge and choice. Never decides what a member of etcd is, how a machine
//! becomes one or stops being one, nor what a kubeconfig holds: the distribution supplies these
//! facts and does these acts.
//!
//! One machine at a time: nothing is added or removed while another machine comes or goes, and
//! nothing is removed that the rest could not do without. What is intended stands on the machine
//! (its deletion, its hook) before it is done, so that a restart resumes it.
//!
//! Answers to `controlplane/kubeadm/reconcilers/kubeadmcontrolplane` of Cluster API.

mod choose;
mod facts;
mod remediation;
mod remove;
mod status;
#[cfg(test)]
mod tests;

pub use choose::{machine_to_remove, place};
pub use facts::{
    ControlPlaneCluster, ControlPlaneFacts, ControlPlaneHealth, Guard, Kubeconfig, Machine,
    MachineHealth, RemediationRecord, WantedControlPlane,
};
pub use remove::{Quorum, REMOVAL_HOOK};
pub use status::ControlPlaneStatus;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Blocked, Plan, condition::Wanted, machine_set::cluster_reference, ownership, paused,
    row::Remediation,
};
use crate::{
    api::{ConditionStatus, labels},
    contract::OwnerReference,
};

/// How long a state that no event ends is left alone before it is looked at again.
pub const RETRY: Duration = Duration::from_secs(15);

/// What is to be done, in the words of the distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
#[non_exhaustive]
pub enum ControlPlaneAction {
    /// Make the Cluster an owner of the infrastructure template.
    OwnTemplate,
    /// Make what must exist before the first machine; again until it is there.
    Prepare,
    /// Make the Secret with the kubeconfig, or renew it.
    EnsureKubeconfig,
    /// Become the controller of a machine that nobody controls.
    AdoptMachine {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Begin the cluster on this machine; again until it has begun.
    Initialize {
        /// Its name.
        name: String,
    },
    /// Create a machine with its infrastructure machine and bootstrap config.
    CreateMachine {
        /// No machine exists: it begins the cluster. Else it joins.
        first: bool,
        /// Where it is to be.
        failure_domain: Option<String>,
        /// The remediation that it replaces a machine for.
        remediation_for: Option<RemediationRecord>,
    },
    /// Set conditions of a machine.
    MarkMachine {
        /// Its name.
        name: String,
        /// The conditions.
        conditions: Vec<Wanted>,
    },
    /// Remove condition `OwnerRemediated` from a machine that is healthy again.
    ClearRemediation {
        /// Its name.
        name: String,
    },
    /// Put [the hook](REMOVAL_HOOK) on a machine that keeps it from being terminated before it
    /// has left etcd.
    GuardMachine {
        /// Its name.
        name: String,
    },
    /// Delete a machine. It goes on to run until its hook is taken off.
    DeleteMachine {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Take a machine out of etcd; again until it is out.
    PrepareRemoval {
        /// Its name.
        name: String,
    },
    /// Take the hook off, so that the machine can be terminated.
    ReleaseMachine {
        /// Its name.
        name: String,
    },
    /// Take a member out of etcd that belongs to no machine.
    RemoveForeignMember {
        /// The member, as the distribution names it.
        member: String,
    },
    /// Note on the control plane that a remediation is under way, or that none is.
    RecordRemediation {
        /// What to note.
        record: Option<RemediationRecord>,
    },
}

/// What is wanted of a control plane. The status is in the contract's terms; the distribution's
/// own fields are for whoever writes it.
pub type ControlPlanePlan = Plan<(), ControlPlaneStatus, ControlPlaneAction>;

/// What stands against making or removing a machine now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds(Vec<String>);

impl Holds {
    fn add(&mut self, cause: impl Into<String>) {
        let cause = cause.into();
        if !self.0.contains(&cause) {
            self.0.push(cause);
        }
    }

    fn none(&self) -> bool {
        self.0.is_empty()
    }
}

/// Plans one control plane.
#[must_use]
pub fn plan(facts: &ControlPlaneFacts, now: Timestamp) -> ControlPlanePlan {
    let mut plan = ControlPlanePlan::default();
    let paused = paused::condition(facts.cluster.owner.paused, &facts.metadata, &facts.kind);
    if paused.status == ConditionStatus::True {
        plan.blocked_on.push(blocked(facts, paused.message.clone()));
        status::only_paused(facts, paused, &mut plan);
        return plan;
    }
    let mut holds = Holds::default();
    let mut deleting = None;
    if facts.metadata.is_deleting() {
        deleting = Some(delete(facts, now, &mut plan));
    } else {
        keep(facts, now, &mut holds, &mut plan);
    }
    status::plan(facts, paused, &holds, deleting, now, &mut plan);
    plan
}

fn blocked(facts: &ControlPlaneFacts, message: impl Into<String>) -> Blocked {
    Blocked::on(
        &facts.kind,
        &facts.metadata.namespace,
        &facts.metadata.name,
        message,
    )
}

fn retry(plan: &mut ControlPlanePlan, now: Timestamp) {
    if let Ok(again) = now.checked_add(RETRY) {
        plan.look_again(again);
    }
}

fn keep(facts: &ControlPlaneFacts, now: Timestamp, holds: &mut Holds, plan: &mut ControlPlanePlan) {
    metadata(facts, plan);
    if facts.template_exists && !facts.template_owned && facts.wanted.template_is_template() {
        plan.actions.push(ControlPlaneAction::OwnTemplate);
    }
    // Machines that go are seen to before anything that could hold the rest up.
    let going = remove::machines_that_go(facts, now, plan);
    if !facts.cluster.infrastructure_provisioned {
        plan.blocked_on.push(blocked(
            facts,
            "Waiting for Cluster infrastructure to be provisioned",
        ));
        return;
    }
    if !facts.prepared {
        plan.actions.push(ControlPlaneAction::Prepare);
        holds.add("cluster certificates are missing or unknown");
    }
    if !facts.cluster.endpoint_valid {
        let message = "Waiting for the Cluster's control plane endpoint";
        plan.blocked_on.push(blocked(facts, message));
        return;
    }
    kubeconfig(facts, plan);
    if !adopt(facts, plan) {
        return;
    }
    mark_up_to_date(facts, now, plan);
    guard(facts, plan);
    if !facts.prepared {
        return;
    }
    initialize(facts, plan);
    if going || foreign_members(facts, plan) {
        holds.add("waiting for a control plane Machine to complete deletion");
        retry(plan, now);
        return;
    }
    if remediation::plan(facts, now, plan) {
        return;
    }
    scale(facts, now, holds, plan);
}

fn metadata(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) {
    let metadata = &facts.metadata;
    if !facts.finalizer.is_empty() {
        plan.metadata.add_finalizer(metadata, &facts.finalizer);
    }
    plan.metadata
        .label(metadata, labels::CLUSTER_NAME, &facts.cluster.owner.name);
}

fn kubeconfig(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) {
    let wanted = match facts.kubeconfig {
        Kubeconfig::Missing => true,
        Kubeconfig::Present { ours, renewal_due } => ours && renewal_due,
    };
    if wanted && facts.prepared {
        plan.actions.push(ControlPlaneAction::EnsureKubeconfig);
    }
}

/// Adopts machines of nobody. False when machines of somebody else are among them: then nothing
/// is safe to decide.
fn adopt(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) -> bool {
    let mut ours = true;
    for machine in &facts.machines {
        let metadata = &machine.object.metadata;
        match metadata.controller() {
            None => plan.actions.push(ControlPlaneAction::AdoptMachine {
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
            }),
            Some(controller) if controller.uid == facts.metadata.uid => {}
            Some(controller) => {
                plan.errors.push(format!(
                    "control plane Machine {} is controlled by {} {}: a control plane cannot be \
                     shared, take the label {} off the one that does not belong",
                    metadata.name,
                    controller.kind,
                    controller.name,
                    labels::CONTROL_PLANE
                ));
                ours = false;
            }
        }
    }
    ours
}

/// The owner reference of machines of this control plane.
#[must_use]
pub fn machine_owner(facts: &ControlPlaneFacts) -> OwnerReference {
    OwnerReference {
        api_version: facts.api_version.clone(),
        kind: facts.kind.clone(),
        name: facts.metadata.name.clone(),
        uid: facts.metadata.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The annotations that a new machine is created with beside those that the control plane asks for.
#[must_use]
pub fn machine_annotations(facts: &ControlPlaneFacts) -> BTreeMap<String, String> {
    let guarded = facts.guard == Guard::Always && facts.etcd_managed;
    guarded
        .then(|| (REMOVAL_HOOK.to_owned(), String::new()))
        .into_iter()
        .collect()
}

/// The owner reference of the infrastructure template, with those that it has.
#[must_use]
pub fn template_owners(
    facts: &ControlPlaneFacts,
    mut owners: Vec<OwnerReference>,
) -> Vec<OwnerReference> {
    ownership::ensure(&mut owners, cluster_reference(&facts.cluster.owner));
    owners
}

fn mark_up_to_date(facts: &ControlPlaneFacts, now: Timestamp, plan: &mut ControlPlanePlan) {
    for machine in &facts.machines {
        let differences = facts.differences(machine, now);
        let wanted = if differences.is_empty() {
            Wanted::is_true("UpToDate", "UpToDate")
        } else {
            let lines: Vec<String> = differences.iter().map(|line| format!("* {line}")).collect();
            Wanted::is_false("UpToDate", "NotUpToDate").message(lines.join("\n"))
        };
        if !machine.reports(&wanted) {
            plan.actions.push(ControlPlaneAction::MarkMachine {
                name: machine.name().to_owned(),
                conditions: vec![wanted],
            });
        }
    }
}

fn guard(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) {
    if facts.guard != Guard::Always || !facts.etcd_managed {
        return;
    }
    let unguarded = facts
        .machines
        .iter()
        .filter(|machine| !machine.is_deleting() && !machine.is_guarded());
    for machine in unguarded {
        let name = machine.name().to_owned();
        plan.actions.push(ControlPlaneAction::GuardMachine { name });
    }
}

/// Begins the cluster on the first machine.
fn initialize(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) {
    if facts.health.initialized {
        return;
    }
    // A cluster that began while its only machine goes would have no machine.
    if let Some(first) = facts.oldest(|machine| !machine.is_deleting() && !machine.is_condemned()) {
        let name = first.name().to_owned();
        plan.actions.push(ControlPlaneAction::Initialize { name });
    }
}

/// Takes members out that belong to no machine, one at a time, unless a machine that still comes
/// up could be the one.
fn foreign_members(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) -> bool {
    let comes_up = facts.machines.iter().any(|machine| !machine.has_node());
    if comes_up || facts.health.etcd_healthy == Some(true) || !facts.etcd_managed {
        return false;
    }
    let mut members = facts.health.foreign_members.clone();
    members.sort();
    let Some(member) = members.into_iter().next() else {
        return false;
    };
    if !Quorum::of(facts).without_foreign().is_kept() {
        plan.blocked_on.push(blocked(
            facts,
            format!(
                "etcd member {member} has no Machine, and etcd would lose its quorum without it"
            ),
        ));
        return false;
    }
    plan.actions
        .push(ControlPlaneAction::RemoveForeignMember { member });
    true
}

fn scale(
    facts: &ControlPlaneFacts,
    now: Timestamp,
    holds: &mut Holds,
    plan: &mut ControlPlanePlan,
) {
    let Some(desired) = facts.wanted.replicas else {
        plan.errors.push("spec.replicas is not set".to_owned());
        return;
    };
    let count = i32::try_from(facts.machines.len()).unwrap_or(i32::MAX);
    let existing = count.saturating_add(i32::try_from(facts.unseen).unwrap_or(i32::MAX));
    if existing == 0 {
        if desired > 0 {
            create(facts, true, now, plan);
        }
        return;
    }
    let outdated = facts.outdated(now);
    let rolls = !outdated.is_empty() && !facts.wanted.on_delete;
    let limit = if rolls {
        desired.saturating_add(i32::from(facts.wanted.surge))
    } else {
        desired
    };
    if existing < limit {
        preflight(facts, None, holds);
        if !facts.health.initialized {
            holds.add("waiting for the control plane to be initialized");
        }
        if facts.unseen > 0 {
            holds.add("waiting for control plane components to become healthy");
        }
        if holds.none() {
            create(facts, false, now, plan);
        } else {
            hold(facts, "making a Machine", holds, now, plan);
        }
        return;
    }
    if !rolls && existing <= desired {
        return;
    }
    if count <= 1 {
        let message = "Cannot scale down control plane nodes to 0";
        holds.add(message);
        plan.blocked_on.push(blocked(facts, message));
        return;
    }
    let Some(victim) = machine_to_remove(facts, &outdated) else {
        return;
    };
    preflight(facts, Some(victim.name()), holds);
    if !facts.without(victim).is_kept() {
        holds.add("waiting for etcd cluster to become healthy");
    }
    if holds.none() {
        remove::delete(facts, victim, plan);
    } else {
        hold(
            facts,
            &format!("removing Machine {}", victim.name()),
            holds,
            now,
            plan,
        );
    }
}

fn hold(
    facts: &ControlPlaneFacts,
    what: &str,
    holds: &Holds,
    now: Timestamp,
    plan: &mut ControlPlanePlan,
) {
    plan.blocked_on
        .push(blocked(facts, format!("{what}: {}", holds.0.join(", "))));
    retry(plan, now);
}

fn create(facts: &ControlPlaneFacts, first: bool, now: Timestamp, plan: &mut ControlPlanePlan) {
    if !facts.template_exists {
        let kind = &facts.wanted.infrastructure_template.kind;
        plan.errors
            .push(format!("machines cannot be made: {kind} does not exist"));
        return;
    }
    plan.actions.push(ControlPlaneAction::CreateMachine {
        first,
        failure_domain: place(facts, now),
        remediation_for: facts.remediation_in_progress.clone(),
    });
}

/// What stands against a change of membership. `leaving` may be in any state.
fn preflight(facts: &ControlPlaneFacts, leaving: Option<&str>, holds: &mut Holds) {
    if let Some(topology) = &facts.cluster.topology_version {
        let step = facts.cluster.upgrade_step.as_ref();
        if *topology != facts.wanted.version && step != Some(&facts.wanted.version) {
            let pending = step.unwrap_or(topology);
            holds.add(format!(
                "waiting for a version upgrade to {pending} to be propagated"
            ));
        }
    }
    for machine in &facts.machines {
        if machine.is_deleting() {
            holds.add("waiting for a control plane Machine to complete deletion");
        }
        if Some(machine.name()) == leaving {
            continue;
        }
        let health = facts.health_of(machine);
        if !machine.has_node() || health.components != Some(true) {
            holds.add("waiting for control plane components to become healthy");
        }
        if facts.etcd_managed && !health.is_healthy_voter() {
            holds.add("waiting for etcd cluster to become healthy");
        }
    }
}

/// Why the control plane is still there.
pub(super) struct Deletion {
    reason: &'static str,
    message: String,
}

fn delete(facts: &ControlPlaneFacts, now: Timestamp, plan: &mut ControlPlanePlan) -> Deletion {
    if facts.machines.is_empty() && facts.unseen == 0 {
        plan.metadata
            .remove_finalizer(&facts.metadata, &facts.finalizer);
        return Deletion {
            reason: "DeletionCompleted",
            message: "Deletion completed".to_owned(),
        };
    }
    if !facts.cluster.workers.is_empty() {
        let lines: Vec<String> = facts
            .cluster
            .workers
            .iter()
            .map(|name| format!("* {name}"))
            .collect();
        plan.blocked_on
            .push(blocked(facts, "Waiting for worker Machines to be deleted"));
        retry(plan, now);
        return Deletion {
            reason: "WaitingForWorkersDeletion",
            message: format!(
                "{} deletion blocked because following objects still exist:\n{}",
                facts.kind,
                lines.join("\n")
            ),
        };
    }
    // etcd goes as a whole: nothing has to leave it.
    for machine in &facts.machines {
        if machine.is_guarded() {
            let name = machine.name().to_owned();
            plan.actions
                .push(ControlPlaneAction::ReleaseMachine { name });
        }
        if !machine.is_deleting() {
            plan.actions.push(ControlPlaneAction::DeleteMachine {
                name: machine.name().to_owned(),
                uid: machine.object.metadata.uid.clone(),
            });
        }
    }
    let count = facts.machines.len();
    Deletion {
        reason: "WaitingForMachineDeletion",
        message: match count {
            1 => "Deleting 1 Machine".to_owned(),
            _ => format!("Deleting {count} Machines"),
        },
    }
}

/// The condition `OwnerRemediated` that says what is done about a machine.
fn remediated(reason: Remediation, message: &str) -> Wanted {
    Wanted::is_false("OwnerRemediated", reason.reason()).message(message)
}
