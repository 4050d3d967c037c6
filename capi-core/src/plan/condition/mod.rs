//! The conditions engine: setting, ordering, mirroring, summarising and aggregating conditions,
//! with upstream's texts to the letter, because people and tools read and parse them.
//!
//! Decides how conditions of several sources become one. Never decides which conditions an object
//! reports; that is each kind's planner.
//!
//! Answers to `util/conditions` of Cluster API.

mod merge;
mod mirror;
#[cfg(test)]
mod tests;

pub(in crate::plan) use merge::indent;
pub use merge::{
    Aggregate, MergePriority, MergeStrategy, Owner, PriorityOverride, Reasons, Reported, Summary,
    default_priority,
};
pub use mirror::{Fallback, mirror, read_conditions};

use std::{borrow::Cow, cmp::Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{Condition, ConditionStatus, Time};

/// Reason of a condition that was expected and that nobody reports yet.
pub const NOT_YET_REPORTED: &str = "NotYetReported";
/// Reason given to a mirrored legacy condition that carries none.
pub const NO_REASON_REPORTED: &str = "NoReasonReported";
/// Message of conditions that are unknown because something could not be read.
pub const CHECK_LOGS: &str = "Please check controller logs for errors";

/// Condition types that Cluster API's core kinds report, by their wire names.
pub mod types {
    #![allow(missing_docs)] // the names are their own documentation
    pub const AVAILABLE: &str = "Available";
    pub const READY: &str = "Ready";
    pub const UP_TO_DATE: &str = "UpToDate";
    pub const REMOTE_CONNECTION_PROBE: &str = "RemoteConnectionProbe";
    pub const BOOTSTRAP_CONFIG_READY: &str = "BootstrapConfigReady";
    pub const INFRASTRUCTURE_READY: &str = "InfrastructureReady";
    pub const CONTROL_PLANE_INITIALIZED: &str = "ControlPlaneInitialized";
    pub const CONTROL_PLANE_AVAILABLE: &str = "ControlPlaneAvailable";
    pub const WORKERS_AVAILABLE: &str = "WorkersAvailable";
    pub const NODE_HEALTHY: &str = "NodeHealthy";
    pub const NODE_READY: &str = "NodeReady";
    pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
    pub const OWNER_REMEDIATED: &str = "OwnerRemediated";
    pub const EXTERNALLY_REMEDIATED: &str = "ExternallyRemediated";
    pub const TOPOLOGY_RECONCILED: &str = "TopologyReconciled";
    pub const UPDATING: &str = "Updating";
    pub const ROLLING_OUT: &str = "RollingOut";
    pub const REMEDIATING: &str = "Remediating";
    pub const SCALING_DOWN: &str = "ScalingDown";
    pub const SCALING_UP: &str = "ScalingUp";
    pub const MACHINES_READY: &str = "MachinesReady";
    pub const CONTROL_PLANE_MACHINES_READY: &str = "ControlPlaneMachinesReady";
    pub const WORKER_MACHINES_READY: &str = "WorkerMachinesReady";
    pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
    pub const CONTROL_PLANE_MACHINES_UP_TO_DATE: &str = "ControlPlaneMachinesUpToDate";
    pub const WORKER_MACHINES_UP_TO_DATE: &str = "WorkerMachinesUpToDate";
    pub const PAUSED: &str = "Paused";
    pub const DELETING: &str = "Deleting";
}

/// A condition as a planner wants it, before it meets the object that will carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: Cow<'static, str>,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// CamelCase reason; never empty on the wire.
    pub reason: Cow<'static, str>,
    /// Text for people; may be empty.
    pub message: String,
    /// Kept from a mirrored source; `None` is "when it is set".
    pub last_transition_time: Option<Time>,
}

impl Wanted {
    /// A condition without message.
    pub fn new(
        type_: impl Into<Cow<'static, str>>,
        status: ConditionStatus,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: String::new(),
            last_transition_time: None,
        }
    }

    /// True with `reason`.
    pub fn is_true(
        type_: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(type_, ConditionStatus::True, reason)
    }

    /// False with `reason`.
    pub fn is_false(
        type_: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(type_, ConditionStatus::False, reason)
    }

    /// Unknown with `reason`.
    pub fn unknown(
        type_: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(type_, ConditionStatus::Unknown, reason)
    }

    /// Unknown, because something could not be read: `reason` and [`CHECK_LOGS`].
    pub fn internal_error(type_: impl Into<Cow<'static, str>>) -> Self {
        Self::unknown(type_, "InternalError").message(CHECK_LOGS)
    }

    /// The same with a message.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// The condition of `type_` in `conditions`.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of `type_` is there and True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == ConditionStatus::True)
}

/// Whether the condition of `type_` is there and False.
#[must_use]
pub fn is_false(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == ConditionStatus::False)
}

/// The conditions of one object while its planner works on them.
///
/// Keeps what others wrote, stamps the generation, keeps transition times of unchanged statuses
/// and keeps upstream's order.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Conditions {
    /// Starts from the conditions an object has. `generation` is the one that is observed.
    #[must_use]
    pub fn new(list: Vec<Condition>, generation: i64, now: Timestamp) -> Self {
        Self {
            list,
            generation,
            now,
        }
    }

    /// Sets one condition. Whole seconds only; an unchanged status keeps its transition time; the
    /// list is sorted when something changed.
    pub fn set(&mut self, wanted: Wanted) {
        let time = wanted
            .last_transition_time
            .unwrap_or_else(|| Time::new(self.now));
        let generation = (self.generation > 0).then_some(self.generation);
        let changed = match self.list.iter_mut().find(|c| c.type_ == wanted.type_) {
            Some(existing) => {
                let before = existing.clone();
                if existing.status != wanted.status {
                    existing.status = wanted.status;
                    existing.last_transition_time = time;
                }
                existing.reason = wanted.reason.into_owned();
                existing.message = wanted.message;
                existing.observed_generation = generation;
                *existing != before
            }
            None => {
                self.list.push(Condition {
                    type_: wanted.type_.into_owned(),
                    status: wanted.status,
                    observed_generation: generation,
                    last_transition_time: time,
                    reason: wanted.reason.into_owned(),
                    message: wanted.message,
                });
                true
            }
        };
        if changed {
            self.list.sort_by(order);
        }
    }

    /// Removes the condition of `type_`.
    pub fn remove(&mut self, type_: &str) {
        self.list.retain(|c| c.type_ != type_);
    }

    /// The condition of `type_`.
    #[must_use]
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        find(&self.list, type_)
    }

    /// Whether there is a condition of `type_`.
    #[must_use]
    pub fn has(&self, type_: &str) -> bool {
        self.get(type_).is_some()
    }

    /// Whether the condition of `type_` is True.
    #[must_use]
    pub fn is_true(&self, type_: &str) -> bool {
        is_true(&self.list, type_)
    }

    /// All of them, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Condition] {
        &self.list
    }

    /// The list to write.
    #[must_use]
    pub fn into_vec(self) -> Vec<Condition> {
        self.list
    }
}

/// Upstream's order of conditions; types unknown to it sort by name before `Paused`.
#[must_use]
pub fn order(a: &Condition, b: &Condition) -> Ordering {
    rank(&a.type_)
        .cmp(&rank(&b.type_))
        .then_with(|| a.type_.cmp(&b.type_))
}

const ORDER: [&str; 35] = [
    "Available",
    "Ready",
    "UpToDate",
    "RemoteConnectionProbe",
    "BootstrapConfigReady",
    "InfrastructureReady",
    "ControlPlaneInitialized",
    "ControlPlaneAvailable",
    "WorkersAvailable",
    "CertificatesAvailable",
    "Initialized",
    "EtcdClusterHealthy",
    "ControlPlaneComponentsHealthy",
    "NodeHealthy",
    "NodeReady",
    "NodeKubeadmLabelsAndTaintsSet",
    "EtcdPodHealthy",
    "EtcdMemberHealthy",
    "APIServerPodHealthy",
    "ControllerManagerPodHealthy",
    "SchedulerPodHealthy",
    "HealthCheckSucceeded",
    "OwnerRemediated",
    "TopologyReconciled",
    "Updating",
    "RollingOut",
    "Remediating",
    "ScalingDown",
    "ScalingUp",
    "MachinesReady",
    "ControlPlaneMachinesReady",
    "WorkerMachinesReady",
    "MachinesUpToDate",
    "ControlPlaneMachinesUpToDate",
    "WorkerMachinesUpToDate",
];

fn rank(type_: &str) -> usize {
    match type_ {
        types::PAUSED => ORDER.len() + 1,
        types::DELETING => ORDER.len() + 2,
        other => ORDER
            .iter()
            .position(|o| *o == other)
            .unwrap_or(ORDER.len()),
    }
}
