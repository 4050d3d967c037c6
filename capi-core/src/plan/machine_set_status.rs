//! The status of a MachineSet: counters and conditions.
//!
//! Answers to `machineset_controller_status.go` of Cluster API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    condition::Wanted,
    machine_set::{MachineSetFacts, MachineSetPlan},
    set_status::{differ, scaling, selector_text, settle},
    tally::{Census, Tally, replicas},
};
use crate::{
    api::{MachineSetSpec, MachineSetStatus, StatusVersion},
    contract::Object,
};

/// The status that is wanted of a MachineSet, before it meets the one that the set has. What is
/// `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WantedSetStatus {
    /// `status.selector`.
    pub selector: Option<String>,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
    /// The counters.
    pub counters: Option<SetCounters>,
    /// `status.versions`.
    pub versions: Option<Vec<StatusVersion>>,
    /// The conditions; others that the set has stay.
    pub conditions: Vec<Wanted>,
}

/// The counters of a MachineSet's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetCounters {
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// `status.upToDateReplicas`.
    pub up_to_date: i32,
}

impl WantedSetStatus {
    /// The wanted condition of a type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Wanted> {
        self.conditions.iter().find(|wanted| wanted.type_ == type_)
    }

    /// The status to write onto a set at a time.
    #[must_use]
    pub fn onto(
        &self,
        object: &Object<MachineSetSpec, MachineSetStatus>,
        now: Timestamp,
    ) -> MachineSetStatus {
        let mut status = object.status.clone();
        if self.selector.is_some() {
            status.selector.clone_from(&self.selector);
        }
        if self.observed_generation.is_some() {
            status.observed_generation = self.observed_generation;
        }
        if let Some(counters) = self.counters {
            status.replicas = Some(counters.replicas);
            status.ready_replicas = Some(counters.ready);
            status.available_replicas = Some(counters.available);
            status.up_to_date_replicas = Some(counters.up_to_date);
        }
        if let Some(versions) = &self.versions {
            status.versions.clone_from(versions);
        }
        let generation = object.metadata.generation;
        status.conditions = settle(&status.conditions, self.conditions.clone(), generation, now);
        status
    }

    /// Whether all is as it is wanted, so that nothing more is on its way. Machines of an old set are
    /// not up to date and never will be; its deployment waits for the other counts.
    #[must_use]
    pub fn is_at_rest(&self, object: &Object<MachineSetSpec, MachineSetStatus>) -> bool {
        let deleting = object.metadata.is_deleting();
        let desired = if deleting {
            Some(0)
        } else {
            object.spec.replicas
        };
        self.counters.is_some_and(|counters| {
            [counters.replicas, counters.ready, counters.available]
                .into_iter()
                .all(|count| Some(count) == desired)
        })
    }
}

/// The status of a paused set: only that it is paused.
pub(super) fn only(facts: &MachineSetFacts, paused: Wanted, plan: &mut MachineSetPlan) {
    let object = &facts.object;
    let conditions = vec![paused];
    if differ(
        &object.status.conditions,
        &conditions,
        object.metadata.generation,
    ) {
        plan.status = Some(WantedSetStatus {
            conditions,
            ..WantedSetStatus::default()
        });
        plan.status_changed = true;
    }
}

/// The whole status.
pub(super) fn plan(
    facts: &MachineSetFacts,
    tally: &Tally,
    paused: Wanted,
    plan: &mut MachineSetPlan,
) {
    let object = &facts.object;
    let current = &object.status;
    let generation = object.metadata.generation;
    let mut wanted = WantedSetStatus::default();
    if plan.errors.is_empty() && generation > 0 && current.observed_generation != Some(generation) {
        wanted.observed_generation = Some(generation);
    }
    // The selector is part of the spec: at the same generation it is the same text.
    if current.observed_generation != Some(generation) || current.selector.is_none() {
        let selector = selector_text(&object.spec.selector);
        if current.selector.as_deref() != Some(&selector) {
            wanted.selector = Some(selector);
        }
    }
    if facts.list_failed {
        wanted.conditions = [
            "ScalingUp",
            "ScalingDown",
            "MachinesReady",
            "MachinesUpToDate",
            "Remediating",
            "Deleting",
        ]
        .map(Wanted::internal_error)
        .into();
        wanted.conditions.push(paused);
    } else {
        let counts = tally.counts();
        wanted.counters = Some(SetCounters {
            replicas: replicas(counts.replicas),
            ready: replicas(counts.ready),
            available: replicas(counts.available),
            up_to_date: replicas(counts.up_to_date),
        });
        if !tally.versions_are(&current.versions) {
            wanted.versions = Some(tally.versions());
        }
        wanted.conditions = vec![
            scaling_up(facts, tally),
            scaling_down(facts, tally),
            tally.machines_ready("MachinesReady"),
            tally.machines_up_to_date("MachinesUpToDate"),
            tally.remediating("Remediating", "MachineSet"),
            deleting(facts, tally),
            paused,
        ];
    }
    let same = wanted.selector.is_none()
        && wanted.observed_generation.is_none()
        && wanted.versions.is_none()
        && wanted.counters.is_none_or(|counters| {
            current.replicas == Some(counters.replicas)
                && current.ready_replicas == Some(counters.ready)
                && current.available_replicas == Some(counters.available)
                && current.up_to_date_replicas == Some(counters.up_to_date)
        });
    if !same || differ(&current.conditions, &wanted.conditions, generation) {
        plan.status = Some(wanted);
        plan.status_changed = true;
    }
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
pub(super) fn with_stale(mut message: String, census: &dyn Census) -> String {
    if let Some(stale) = census.stale() {
        message.push_str("\n* ");
        message.push_str(&stale);
    }
    message
}
