//! Taking a machine out: deletion first, then out of etcd, then let go.
//!
//! Decides when etcd can do without a member. The hook on the machine keeps it running in
//! between, also when somebody else deleted it.

use jiff::Timestamp;

use super::{ControlPlaneAction, ControlPlaneFacts, ControlPlanePlan, Machine, blocked, retry};
use crate::{api::annotations, plan::condition::find};

/// The annotation that keeps a machine of a control plane from being terminated before it has
/// left etcd.
pub const REMOVAL_HOOK: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/control-plane-cleanup";

/// Votes in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    voters: usize,
    unhealthy: usize,
    learners: usize,
}

impl Quorum {
    /// The votes as they are. A member whose health nobody knows counts as unhealthy, and so does
    /// one that belongs to no machine while etcd as a whole is not healthy.
    #[must_use]
    pub fn of(facts: &ControlPlaneFacts) -> Self {
        let mut quorum = Self {
            voters: 0,
            unhealthy: 0,
            learners: 0,
        };
        for machine in &facts.machines {
            let health = facts.health_of(machine);
            match health.member {
                Some(false) => {}
                _ if machine.left => {}
                // A machine without node that nobody could ask has not joined yet.
                None if !machine.has_node() => {}
                _ if health.learner => quorum.learners += 1,
                _ => {
                    quorum.voters += 1;
                    quorum.unhealthy += usize::from(!health.is_healthy_voter());
                }
            }
        }
        let foreign = facts.health.foreign_members.len();
        quorum.voters += foreign;
        if facts.health.etcd_healthy != Some(true) {
            quorum.unhealthy += foreign;
        }
        quorum
    }

    /// The votes of a list of members: how many vote, how many of those are unhealthy, how many
    /// learn.
    #[must_use]
    pub fn new(voters: usize, unhealthy: usize, learners: usize) -> Self {
        Self {
            voters,
            unhealthy: unhealthy.min(voters),
            learners,
        }
    }

    /// The votes once a machine is out.
    pub(super) fn minus(self, healthy: bool) -> Self {
        Self {
            voters: self.voters.saturating_sub(1),
            unhealthy: if healthy {
                self.unhealthy
            } else {
                self.unhealthy.saturating_sub(1)
            },
            learners: self.learners,
        }
    }

    /// The votes once a member of no machine is out.
    pub(super) fn without_foreign(self) -> Self {
        self.minus(false)
    }

    /// The votes once one more is in, of which nobody knows whether it will be healthy.
    #[must_use]
    pub fn with_one_more(self) -> Self {
        // The second member of an etcd is always taken.
        let unhealthy = if self.voters <= 1 {
            self.unhealthy
        } else {
            self.unhealthy + 1
        };
        Self {
            voters: self.voters + 1,
            unhealthy,
            learners: self.learners,
        }
    }

    /// Whether etcd can decide, and nobody is still learning.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.learners == 0
            && self.voters > 0
            && self.voters - self.unhealthy.min(self.voters) > self.voters / 2
    }
}

impl Quorum {
    pub(super) fn without_learners(self) -> Self {
        Self {
            learners: 0,
            ..self
        }
    }

    /// Voters, healthy voters, votes that a decision needs.
    pub(super) fn numbers(self) -> (usize, usize, usize) {
        (
            self.voters,
            self.voters - self.unhealthy.min(self.voters),
            self.voters / 2 + 1,
        )
    }

    /// The votes once a machine is out.
    #[must_use]
    pub fn removing(self, facts: &ControlPlaneFacts, machine: &Machine) -> Self {
        let health = facts.health_of(machine);
        let votes = !machine.left && health.member != Some(false) && !health.learner;
        if votes {
            self.minus(health.is_healthy_voter())
        } else {
            self
        }
    }
}

/// The votes of a control plane without one of its machines.
pub(super) struct Without<'a> {
    facts: &'a ControlPlaneFacts,
    quorum: Quorum,
}

impl Without<'_> {
    pub(super) fn is_kept(&self) -> bool {
        !self.facts.etcd_managed || self.quorum.is_kept()
    }
}

impl ControlPlaneFacts {
    /// The votes without a machine.
    pub(super) fn without(&self, machine: &Machine) -> Without<'_> {
        Without {
            facts: self,
            quorum: Quorum::of(self).removing(self, machine),
        }
    }
}

/// Deletes a machine, guarded so that it can leave etcd before it is terminated.
pub(super) fn delete(facts: &ControlPlaneFacts, machine: &Machine, plan: &mut ControlPlanePlan) {
    let name = machine.name().to_owned();
    let guarded = machine.is_guarded()
        || plan
            .actions
            .contains(&ControlPlaneAction::GuardMachine { name: name.clone() });
    if !guarded && facts.etcd_managed {
        plan.actions
            .push(ControlPlaneAction::GuardMachine { name: name.clone() });
    }
    let uid = machine.object.metadata.uid.clone();
    plan.actions
        .push(ControlPlaneAction::DeleteMachine { name, uid });
}

/// Sees to machines that are being deleted, one at a time. True while there are any.
pub(super) fn machines_that_go(
    facts: &ControlPlaneFacts,
    now: Timestamp,
    plan: &mut ControlPlanePlan,
) -> bool {
    let mut going: Vec<&Machine> = facts
        .machines
        .iter()
        .filter(|machine| machine.is_deleting())
        .collect();
    going.sort_by_key(|machine| (machine.object.metadata.deletion_timestamp, machine.name()));
    if going.is_empty() {
        return false;
    }
    // One that has lost its hook is on its way out: the next waits until it is gone.
    let leaving = going
        .iter()
        .find(|machine| has_left(facts, machine) && !machine.is_guarded());
    if let Some(leaving) = leaving
        && facts.etcd_managed
        && facts.machines.len() > 1
        && going.len() > 1
    {
        let message = format!("Machine {} is being terminated", leaving.name());
        plan.blocked_on.push(blocked(facts, message));
        retry(plan, now);
        return true;
    }
    let Some(first) = going
        .into_iter()
        .find(|machine| machine.is_guarded() || (facts.etcd_managed && !has_left(facts, machine)))
    else {
        return true;
    };
    see_out(facts, first, now, plan);
    true
}

fn has_left(facts: &ControlPlaneFacts, machine: &Machine) -> bool {
    machine.left || facts.health_of(machine).member == Some(false)
}

fn see_out(
    facts: &ControlPlaneFacts,
    machine: &Machine,
    now: Timestamp,
    plan: &mut ControlPlanePlan,
) {
    let name = machine.name().to_owned();
    let waits_for_us = find(&machine.object.status.conditions, "Deleting")
        .is_some_and(|found| found.reason == "WaitingForPreTerminateHook");
    let release = || ControlPlaneAction::ReleaseMachine { name: name.clone() };
    let is_last = facts.machines.len() == 1;
    let never_joined = !machine.has_node() && facts.health_of(machine).member != Some(true);
    if is_last || !facts.etcd_managed || has_left(facts, machine) || never_joined {
        if machine.is_guarded() {
            plan.actions.push(release());
        }
        return;
    }
    let others =
        machine.object.metadata.annotations.keys().any(|key| {
            key.starts_with(annotations::PRE_TERMINATE_HOOK_PREFIX) && key != REMOVAL_HOOK
        });
    if machine.is_guarded() && (!waits_for_us || others) {
        // Its node is drained first, and the hooks of others go before ours.
        return;
    }
    if !facts.without(machine).is_kept() {
        let message = format!("removing Machine {name} from etcd would cost its quorum");
        plan.blocked_on.push(blocked(facts, message));
        retry(plan, now);
        return;
    }
    plan.actions
        .push(ControlPlaneAction::PrepareRemoval { name });
    retry(plan, now);
}
