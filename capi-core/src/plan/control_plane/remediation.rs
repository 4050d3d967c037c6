//! Remediation of control plane machines: one at a time, and never at the price of etcd.
//!
//! Decides about machines that a health check marked. Never decides that a machine is unhealthy.
//!
//! Answers to `remediation.go` of Cluster API.

use jiff::Timestamp;

use super::{
    ControlPlaneAction, ControlPlaneFacts, ControlPlanePlan, Machine, RemediationRecord,
    remediated, remove, retry,
};
use crate::{
    api::{Time, annotations},
    plan::{
        condition::{is_false, is_true},
        row::{Remediation, seconds},
    },
};

/// A machine that replaced another and lived for this long was a success.
const MIN_HEALTHY_PERIOD: u32 = 3600;

/// Plans what is done about unhealthy machines. True when that is all for now.
pub(super) fn plan(facts: &ControlPlaneFacts, now: Timestamp, plan: &mut ControlPlanePlan) -> bool {
    clean_up(facts, plan);
    let Some(machine) = most_broken(facts) else {
        return false;
    };
    if facts.remediation_in_progress.is_some() && !facts.machines.is_empty() {
        // The machine that replaces the last one comes first; scaling up makes it.
        return false;
    }
    match check(facts, machine, now) {
        Err((reason, message)) => {
            mark(machine, reason, &message, plan);
            retry(plan, now);
            false
        }
        Ok(record) => {
            mark(
                machine,
                Remediation::MachineDeleting,
                "Machine is deleting",
                plan,
            );
            plan.actions.push(ControlPlaneAction::RecordRemediation {
                record: Some(record),
            });
            remove::delete(facts, machine, plan);
            true
        }
    }
}

fn mark(machine: &Machine, reason: Remediation, message: &str, plan: &mut ControlPlanePlan) {
    let wanted = remediated(reason, message);
    if !machine.reports(&wanted) {
        plan.actions.push(ControlPlaneAction::MarkMachine {
            name: machine.name().to_owned(),
            conditions: vec![wanted],
        });
    }
}

fn clean_up(facts: &ControlPlaneFacts, plan: &mut ControlPlanePlan) {
    for machine in facts
        .machines
        .iter()
        .filter(|machine| !machine.is_deleting())
    {
        let conditions = &machine.object.status.conditions;
        if is_true(conditions, "HealthCheckSucceeded") && is_false(conditions, "OwnerRemediated") {
            let name = machine.name().to_owned();
            plan.actions
                .push(ControlPlaneAction::ClearRemediation { name });
        }
    }
    if let Some(record) = &facts.remediation_in_progress {
        let replaced = facts.machines.iter().any(|machine| {
            machine.object.metadata.creation_timestamp > record.timestamp
                || machine.remediation_for.as_ref() == Some(record)
        });
        if replaced {
            plan.actions
                .push(ControlPlaneAction::RecordRemediation { record: None });
        }
    }
}

/// The machine to remediate first.
fn most_broken(facts: &ControlPlaneFacts) -> Option<&Machine> {
    let condemned = facts
        .machines
        .iter()
        .filter(|m| m.is_condemned() && !m.is_deleting());
    condemned.min_by_key(|machine| {
        let health = facts.health_of(machine);
        (
            !machine
                .object
                .metadata
                .has_annotation(annotations::REMEDIATE_MACHINE),
            machine.has_node(),
            health.member_healthy == Some(true),
            health.components == Some(true),
            machine.object.metadata.creation_timestamp,
            machine.name(),
        )
    })
}

/// Whether a machine can be remediated now, as which attempt; else why not.
fn check(
    facts: &ControlPlaneFacts,
    machine: &Machine,
    now: Timestamp,
) -> Result<RemediationRecord, (Remediation, String)> {
    let deferred = |message: &str| Err((Remediation::RemediationDeferred, message.to_owned()));
    let refused = |message: &str| Err((Remediation::CannotBeRemediated, message.to_owned()));
    if let Some(topology) = &facts.cluster.topology_version
        && *topology != facts.wanted.version
        && facts.cluster.upgrade_step.as_ref() != Some(&facts.wanted.version)
    {
        let step = facts.cluster.upgrade_step.as_ref().unwrap_or(topology);
        let message = format!("waiting for a version upgrade to {step} to be propagated");
        return Err((Remediation::RemediationDeferred, message));
    }
    let record = attempt(facts, machine, now)?;
    if !facts.health.initialized {
        return Ok(record);
    }
    if facts.machines.len() <= 1 {
        return refused(&format!(
            "{} can't remediate if current replicas are less or equal to 1",
            facts.kind
        ));
    }
    let others = || {
        facts
            .machines
            .iter()
            .filter(|other| other.name() != machine.name())
    };
    if others().any(|other| !other.has_node() && !other.is_condemned()) {
        return deferred(&format!(
            "{} waiting for control plane machine provisioning to complete before triggering \
             remediation",
            facts.kind
        ));
    }
    if others().any(Machine::is_deleting) {
        return deferred(&format!(
            "{} waiting for control plane machine deletion to complete before triggering \
             remediation",
            facts.kind
        ));
    }
    // A machine that never joined can be taken away freely.
    let joined = machine.has_node() || facts.health_of(machine).member == Some(true);
    if !joined {
        return Ok(record);
    }
    if !facts.etcd_managed {
        return Ok(record);
    }
    if others().any(|other| other.has_node() && facts.health_of(other).member.is_none()) {
        return deferred(&format!(
            "{} waiting for etcd to report the list of members",
            facts.kind
        ));
    }
    let healthy = others().any(|other| facts.health_of(other).components == Some(true));
    if !healthy || !facts.without(machine).is_kept() {
        return refused(&format!(
            "{} can't remediate this machine because this could result in etcd loosing quorum",
            facts.kind
        ));
    }
    Ok(record)
}

/// The attempt that this remediation would be, within the limits of a chain of attempts.
fn attempt(
    facts: &ControlPlaneFacts,
    machine: &Machine,
    now: Timestamp,
) -> Result<RemediationRecord, (Remediation, String)> {
    let fresh = RemediationRecord {
        machine: machine.name().to_owned(),
        timestamp: Time::new(now),
        retry_count: 0,
    };
    let Some(last) = &machine.remediation_for else {
        return Ok(fresh);
    };
    let since = now.as_second() - seconds(last.timestamp);
    let healthy_after = facts
        .wanted
        .min_healthy_period_seconds
        .unwrap_or(MIN_HEALTHY_PERIOD);
    if since >= i64::from(healthy_after) {
        return Ok(fresh);
    }
    let kind = &facts.kind;
    if since < i64::from(facts.wanted.remediation_period_seconds) {
        return Err((
            Remediation::RemediationDeferred,
            format!(
                "{kind} can't remediate this machine because the operation already failed in the \
                 latest {} seconds (RetryPeriod)",
                facts.wanted.remediation_period_seconds
            ),
        ));
    }
    if facts
        .wanted
        .max_remediations
        .is_some_and(|most| last.retry_count >= most)
    {
        return Err((
            Remediation::CannotBeRemediated,
            format!(
                "{kind} can't remediate this machine because the operation already failed {} \
                 times (MaxRetry)",
                last.retry_count
            ),
        ));
    }
    Ok(RemediationRecord {
        retry_count: last.retry_count + 1,
        ..fresh
    })
}
