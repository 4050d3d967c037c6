//! Remediation of the machines of one MachineSet: which unhealthy machines are deleted now, which
//! ones wait and why.
//!
//! Decides about machines that a health check marked. Never decides that a machine is unhealthy,
//! and never makes the replacement: the set does, once the machine is gone.
//!
//! Answers to `reconcileUnhealthyMachines` of Cluster API.

use jiff::Timestamp;

use super::{
    machine_set::{MachineSetAction, MachineSetFacts, MachineSetPlan, PREFLIGHT_RETRY},
    row::{Name, Remediation},
    tally::{Census, Tally},
};
use crate::api::Rounding;

/// Adds what is to be done about unhealthy machines.
pub(super) fn plan(
    facts: &MachineSetFacts,
    is_current: bool,
    tally: &Tally,
    now: Timestamp,
    plan: &mut MachineSetPlan,
) {
    let recovered: Vec<Name> = tally.recovered().collect();
    if !recovered.is_empty() {
        plan.actions.push(MachineSetAction::ClearRemediation {
            machines: recovered,
        });
    }
    let candidates = tally.remediation_candidates();
    if candidates.len() == 0 {
        return;
    }
    if !is_current {
        let message = "Machine won't be remediated because it is pending removal due to rollout";
        mark(
            tally,
            candidates.collect(),
            Remediation::CannotBeRemediated,
            message,
            plan,
        );
        return;
    }
    let tokens = match tokens(facts, tally) {
        Ok(tokens) => tokens,
        Err(error) => {
            plan.errors.push(error);
            return;
        }
    };
    let mut now_or_never: Vec<Name> = candidates.collect();
    let deferred = now_or_never.split_off(tokens.min(now_or_never.len()));
    if !deferred.is_empty() {
        let limit = facts
            .deployment
            .as_ref()
            .and_then(|found| found.max_in_flight.as_ref());
        let limit = limit.map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "Waiting because there are already too many remediations in progress \
             (spec.strategy.remediation.maxInFlight is {limit})"
        );
        mark(
            tally,
            deferred,
            Remediation::RemediationDeferred,
            &message,
            plan,
        );
    }
    if now_or_never.is_empty() {
        return;
    }
    if !facts.preflight.passed() {
        let causes = facts
            .preflight
            .failures
            .iter()
            .chain(&facts.preflight.error);
        let causes: Vec<String> = causes.map(|cause| format!("* {cause}")).collect();
        let message = causes.join("\n");
        mark(
            tally,
            now_or_never,
            Remediation::RemediationDeferred,
            &message,
            plan,
        );
        if let Some(error) = &facts.preflight.error {
            plan.errors.push(error.clone());
        } else if let Ok(again) = now.checked_add(PREFLIGHT_RETRY) {
            plan.look_again(again);
        }
        return;
    }
    // The mark comes first: a machine that is deleted and not marked would not be counted.
    let machines = now_or_never.clone();
    mark(
        tally,
        now_or_never,
        Remediation::MachineDeleting,
        "Machine is deleting",
        plan,
    );
    plan.actions
        .push(MachineSetAction::DeleteMachines { machines });
}

/// How many machines may be remediated now, those on their way taken off.
fn tokens(facts: &MachineSetFacts, tally: &Tally) -> Result<usize, String> {
    let Some(deployment) = &facts.deployment else {
        return Ok(usize::MAX);
    };
    let Some(limit) = &deployment.max_in_flight else {
        return Ok(usize::MAX);
    };
    let replicas = deployment.replicas.unwrap_or(1);
    let limit = limit.scaled(replicas, Rounding::Up).ok_or_else(|| {
        format!("spec.remediation.maxInFlight {limit} is no number and no percentage")
    })?;
    let in_flight = i64::from(tally.counts().remediations_in_flight);
    Ok(usize::try_from(i64::from(limit) - in_flight).unwrap_or(0))
}

/// Marks those of the machines that do not bear the mark already.
fn mark(
    tally: &Tally,
    machines: Vec<Name>,
    reason: Remediation,
    message: &str,
    plan: &mut MachineSetPlan,
) {
    let machines: Vec<Name> = machines
        .into_iter()
        .filter(|name| {
            tally.row(*name).is_some_and(|row| {
                row.remediation != reason
                    || tally.symbols().text(row.owner_remediated.message) != message
            })
        })
        .collect();
    if !machines.is_empty() {
        plan.actions.push(MachineSetAction::MarkRemediation {
            machines,
            reason,
            message: message.to_owned(),
        });
    }
}
