//! The status of a MachineDeployment: sums over its sets, phase, conditions.
//!
//! Answers to `machinedeployment_status.go` of Cluster API.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{
    census,
    condition::Wanted,
    desired_set::{Deployment, SetFacts},
    machine_set_status::with_stale,
    rollout::{MachineDeploymentFacts, MachineDeploymentPlan},
    rollout_scale::bounds,
    set_status::{differ, scaling, selector_text, settle},
    tally::Census,
    version,
};
use crate::{
    api::{
        IntOrString, MachineDeploymentPhase, MachineDeploymentStatus, RolloutStrategyType,
        StatusVersion,
    },
    plan::defaults,
};

/// Counters of a deployment: sums over its sets, `None` where no set reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) replicas: Option<i32>,
    pub(super) ready: Option<i32>,
    pub(super) available: Option<i32>,
    pub(super) up_to_date: Option<i32>,
    pub(super) versions: Vec<StatusVersion>,
}

impl Sums {
    pub(super) fn of(sets: &[&SetFacts]) -> Self {
        let sum = |count: fn(&SetFacts) -> Option<i32>| {
            sets.iter()
                .filter_map(|set| count(set))
                .fold(None, |sum: Option<i32>, count| {
                    Some(sum.unwrap_or(0).saturating_add(count))
                })
        };
        Self {
            replicas: sum(|set| set.object.status.replicas),
            ready: sum(|set| set.object.status.ready_replicas),
            available: sum(|set| set.object.status.available_replicas),
            up_to_date: sum(|set| set.object.status.up_to_date_replicas),
            versions: version::aggregate_versions(
                sets.iter().flat_map(|set| &set.object.status.versions),
            ),
        }
    }
}

/// The status of a paused deployment: only that it is paused.
pub(super) fn only(
    facts: &MachineDeploymentFacts,
    paused: Wanted,
    now: Timestamp,
    plan: &mut MachineDeploymentPlan,
) {
    settle_status(facts, facts.object.status.clone(), vec![paused], now, plan);
}

/// The whole status.
pub(super) fn plan(
    facts: &MachineDeploymentFacts,
    deployment: &Deployment,
    sets: &[&SetFacts],
    census: &dyn Census,
    paused: Wanted,
    now: Timestamp,
    plan: &mut MachineDeploymentPlan,
) {
    let current = &facts.object.status;
    let generation = deployment.metadata.generation;
    let sums = if facts.list_failed {
        Sums {
            replicas: current.replicas,
            ready: current.ready_replicas,
            available: current.available_replicas,
            up_to_date: current.up_to_date_replicas,
            versions: current.versions.clone(),
        }
    } else {
        Sums::of(sets)
    };
    let view = View {
        facts,
        deployment,
        sets,
        census,
        sums: &sums,
    };
    let conditions = vec![
        view.available(),
        census::rolling_out(census),
        view.scaling_up(),
        view.scaling_down(),
        census.machines_ready("MachinesReady"),
        census.machines_up_to_date("MachinesUpToDate"),
        census.remediating("Remediating", "MachineDeployment/MachineSet"),
        view.deleting(),
        paused,
    ];
    let phase = view.phase();
    let seen = current.observed_generation == Some(generation) && plan.spec.is_empty();
    let selector = match &current.selector {
        Some(selector) if seen => Cow::Borrowed(selector.as_str()),
        _ => Cow::Owned(selector_text(&deployment.spec.selector)),
    };
    let observed = if plan.errors.is_empty() && generation > 0 {
        Some(generation)
    } else {
        current.observed_generation
    };
    let same = current.replicas == sums.replicas
        && current.ready_replicas == sums.ready
        && current.available_replicas == sums.available
        && current.up_to_date_replicas == sums.up_to_date
        && current.versions == sums.versions
        && current.phase.as_ref() == Some(&phase)
        && current.selector.as_deref() == Some(&*selector)
        && current.observed_generation == observed;
    if same && !differ(&current.conditions, &conditions, generation) {
        return;
    }
    let status = MachineDeploymentStatus {
        conditions: Vec::new(),
        observed_generation: observed,
        selector: Some(selector.into_owned()),
        replicas: sums.replicas,
        ready_replicas: sums.ready,
        available_replicas: sums.available,
        up_to_date_replicas: sums.up_to_date,
        versions: sums.versions.clone(),
        phase: Some(phase),
        deprecated: current.deprecated.clone(),
    };
    settle_status(facts, status, conditions, now, plan);
}

fn settle_status(
    facts: &MachineDeploymentFacts,
    mut status: MachineDeploymentStatus,
    conditions: Vec<Wanted>,
    now: Timestamp,
    plan: &mut MachineDeploymentPlan,
) {
    let object = &facts.object;
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

struct View<'a> {
    facts: &'a MachineDeploymentFacts,
    deployment: &'a Deployment,
    sets: &'a [&'a SetFacts],
    census: &'a dyn Census,
    sums: &'a Sums,
}

impl View<'_> {
    fn is_deleting(&self) -> bool {
        self.deployment.metadata.is_deleting()
    }

    fn desired(&self) -> Option<i32> {
        self.deployment
            .spec
            .replicas
            .map(|count| if self.is_deleting() { 0 } else { count })
    }

    fn phase(&self) -> MachineDeploymentPhase {
        let Some(desired) = self
            .deployment
            .spec
            .replicas
            .filter(|_| !self.facts.list_failed)
        else {
            return MachineDeploymentPhase::Unknown;
        };
        if self.is_deleting() {
            return MachineDeploymentPhase::ScalingDown;
        }
        match self.sums.replicas.unwrap_or(0).cmp(&desired) {
            std::cmp::Ordering::Equal => MachineDeploymentPhase::Running,
            std::cmp::Ordering::Greater => MachineDeploymentPhase::ScalingDown,
            std::cmp::Ordering::Less => MachineDeploymentPhase::ScalingUp,
        }
    }

    fn available(&self) -> Wanted {
        const TYPE: &str = "Available";
        if self.facts.list_failed {
            return Wanted::internal_error(TYPE);
        }
        let Some(replicas) = self.deployment.spec.replicas else {
            return waiting_for_replicas(TYPE);
        };
        let Some(available) = self.sums.available else {
            return Wanted::unknown(TYPE, "WaitingForAvailableReplicasSet")
                .message("Waiting for status.availableReplicas set");
        };
        let strategy = defaults::strategy(self.deployment.spec.rollout.strategy.as_ref());
        let unavailable = bounds(&strategy, replicas).map_or(0, |bounds| bounds.unavailable);
        let required = replicas - unavailable;
        if available >= required {
            return Wanted::is_true(TYPE, "Available");
        }
        let mut message = format!("{available} available replicas, at least {required} required");
        if strategy.type_ == RolloutStrategyType::RollingUpdate {
            let limit = strategy
                .rolling_update
                .max_unavailable
                .unwrap_or(IntOrString::Int(0));
            message.push_str(&format!(
                " (spec.strategy.rollout.maxUnavailable is {limit}, spec.replicas is {replicas})"
            ));
        }
        if self.is_deleting() {
            message = "Deletion in progress".to_owned();
        }
        Wanted::is_false(TYPE, "NotAvailable").message(message)
    }

    fn scaling_up(&self) -> Wanted {
        const TYPE: &str = "ScalingUp";
        if self.facts.list_failed {
            return Wanted::internal_error(TYPE);
        }
        let Some(desired) = self.desired() else {
            return waiting_for_replicas(TYPE);
        };
        let missing = self
            .facts
            .templates
            .missing_message(&self.deployment.spec.template);
        let current = self.sums.replicas.unwrap_or(0);
        if current >= desired {
            let condition = Wanted::is_false(TYPE, "NotScalingUp");
            return match missing {
                Some(missing) if !self.is_deleting() => {
                    condition.message(format!("Scaling up would be blocked because {missing}"))
                }
                _ => condition,
            };
        }
        let mut message = scaling("up", current, desired);
        if let Some(missing) = missing {
            message.push_str(&format!(" is blocked because {missing}"));
        }
        Wanted::is_true(TYPE, "ScalingUp").message(message)
    }

    fn scaling_down(&self) -> Wanted {
        const TYPE: &str = "ScalingDown";
        if self.facts.list_failed {
            return Wanted::internal_error(TYPE);
        }
        let Some(desired) = self.desired() else {
            return waiting_for_replicas(TYPE);
        };
        let current = self.sums.replicas.unwrap_or(0);
        if current <= desired {
            return Wanted::is_false(TYPE, "NotScalingDown");
        }
        let message = with_stale(scaling("down", current, desired), self.census);
        Wanted::is_true(TYPE, "ScalingDown").message(message)
    }

    fn deleting(&self) -> Wanted {
        const TYPE: &str = "Deleting";
        if self.facts.list_failed {
            return Wanted::internal_error(TYPE);
        }
        if !self.is_deleting() {
            return Wanted::is_false(TYPE, "NotDeleting");
        }
        let message = match (self.census.counts().replicas, self.sets.len()) {
            (0, 0) => "Deletion completed".to_owned(),
            (0, sets) => format!("Deleting {sets} MachineSets"),
            (1, _) => with_stale("Deleting 1 Machine".to_owned(), self.census),
            (count, _) => with_stale(format!("Deleting {count} Machines"), self.census),
        };
        Wanted::is_true(TYPE, "Deleting").message(message)
    }
}

fn waiting_for_replicas(type_: &'static str) -> Wanted {
    Wanted::unknown(type_, "WaitingForReplicasSet").message("Waiting for spec.replicas set")
}
