//! The status of a control plane in the contract's terms.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ControlPlaneFacts, ControlPlanePlan, Deletion, Holds, Machine, Quorum};
use crate::{
    api::{Condition, ConditionStatus, MachineDeletionOrder, StatusVersion, labels},
    plan::{
        census,
        condition::{Wanted, find},
        set_status::{differ, scaling, settle},
        tally::{Census, Tally, replicas},
    },
};

/// How long after its start a control plane may fail to list the members of etcd.
const GRACE_SECONDS: i64 = 120;

/// What the contract asks a control plane to report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneStatus {
    /// `status.selector`.
    pub selector: String,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`.
    pub ready_replicas: i32,
    /// `status.availableReplicas`.
    pub available_replicas: i32,
    /// `status.upToDateReplicas`.
    pub up_to_date_replicas: i32,
    /// `status.versions`.
    pub versions: Vec<StatusVersion>,
    /// `status.version`: the lowest of them; `None` while there is none.
    pub version: Option<String>,
    /// `status.initialization.controlPlaneInitialized`; never goes back.
    pub initialized: bool,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

pub(super) fn only_paused(facts: &ControlPlaneFacts, paused: Wanted, plan: &mut ControlPlanePlan) {
    let current = facts.status.clone().unwrap_or_default();
    let generation = facts.metadata.generation;
    let wanted = vec![paused];
    let changed = differ(&facts.conditions, &wanted, generation);
    let now = Timestamp::UNIX_EPOCH;
    plan.status = ControlPlaneStatus {
        conditions: settle(&facts.conditions, wanted, generation, now),
        ..current
    };
    plan.status_changed = changed;
}

/// The machines, counted like those of any owner.
fn tally(facts: &ControlPlaneFacts, now: Timestamp) -> Tally {
    let prefix = format!("{}-", facts.metadata.name);
    let mut tally = Tally::new(&prefix, MachineDeletionOrder::Random);
    tally.advance(now);
    for machine in &facts.machines {
        let object = &machine.object;
        tally.apply(&object.metadata, &object.spec, &object.status, 0);
    }
    tally
}

pub(super) fn plan(
    facts: &ControlPlaneFacts,
    paused: Wanted,
    holds: &Holds,
    deleting: Option<Deletion>,
    now: Timestamp,
    plan: &mut ControlPlanePlan,
) {
    let tally = tally(facts, now);
    let counts = tally.counts();
    let versions = tally.versions();
    let before = facts.status.as_ref();
    let initialized = facts.health.initialized || before.is_some_and(|status| status.initialized);
    let mut wanted = vec![
        available(facts, initialized, now),
        if initialized {
            Wanted::is_true("Initialized", "Initialized")
        } else {
            Wanted::is_false("Initialized", "NotInitialized")
        },
        components_healthy(facts, initialized),
        census::rolling_out(&tally),
        tally.remediating("Remediating", &facts.kind),
        scaling_down(facts, holds, &tally),
        scaling_up(facts, holds),
        tally.machines_ready("MachinesReady"),
        tally.machines_up_to_date("MachinesUpToDate"),
        paused,
        match deleting {
            None => Wanted::is_false("Deleting", "NotDeleting"),
            Some(Deletion { reason, message }) => {
                Wanted::is_true("Deleting", reason).message(message)
            }
        },
    ];
    if facts.etcd_managed {
        wanted.push(etcd_healthy(facts, initialized));
    }
    let generation = facts.metadata.generation;
    let status = ControlPlaneStatus {
        selector: format!(
            "{}={},{}",
            labels::CLUSTER_NAME,
            facts.cluster.owner.name,
            labels::CONTROL_PLANE
        ),
        replicas: replicas(counts.replicas),
        ready_replicas: replicas(counts.ready),
        available_replicas: replicas(counts.available),
        up_to_date_replicas: replicas(counts.up_to_date),
        version: versions
            .first()
            .map(|lowest| lowest.version.clone())
            .or_else(|| before.and_then(|status| status.version.clone())),
        versions,
        initialized,
        observed_generation: match plan.errors.is_empty() && generation > 0 {
            true => Some(generation),
            false => before.and_then(|status| status.observed_generation),
        },
        conditions: settle(&facts.conditions, wanted, generation, now),
    };
    plan.status_changed = before != Some(&status);
    plan.status = status;
    if let Some(deadline) = tally.next_deadline() {
        plan.look_again(deadline);
    }
    if let Some(after) = facts.wanted.rollout_after
        && after.timestamp() > now
    {
        plan.look_again(after.timestamp());
    }
}

fn scaling_up(facts: &ControlPlaneFacts, holds: &Holds) -> Wanted {
    const TYPE: &str = "ScalingUp";
    let Some(desired) = desired(facts) else {
        return waiting_for_replicas(TYPE);
    };
    let missing = (!facts.template_exists).then(|| {
        format!(
            "{} does not exist",
            facts.wanted.infrastructure_template.kind
        )
    });
    let current = count(facts);
    if current >= desired {
        let condition = Wanted::is_false(TYPE, "NotScalingUp");
        return match missing {
            None => condition,
            Some(missing) => {
                condition.message(format!("Scaling up would be blocked because {missing}"))
            }
        };
    }
    let message = blocked(
        scaling("up", current, desired),
        holds.0.iter().chain(&missing),
    );
    Wanted::is_true(TYPE, "ScalingUp").message(message)
}

fn scaling_down(facts: &ControlPlaneFacts, holds: &Holds, tally: &Tally) -> Wanted {
    const TYPE: &str = "ScalingDown";
    let Some(desired) = desired(facts) else {
        return waiting_for_replicas(TYPE);
    };
    let current = count(facts);
    if current <= desired {
        return Wanted::is_false(TYPE, "NotScalingDown");
    }
    let stale = tally.stale();
    let message = blocked(
        scaling("down", current, desired),
        holds.0.iter().chain(&stale),
    );
    Wanted::is_true(TYPE, "ScalingDown").message(message)
}

fn blocked<'a>(mut message: String, causes: impl Iterator<Item = &'a String>) -> String {
    let causes: Vec<String> = causes.map(|cause| format!("* {cause}")).collect();
    if !causes.is_empty() {
        message.push_str(" is blocked because:\n");
        message.push_str(&causes.join("\n"));
    }
    message
}

fn etcd_healthy(facts: &ControlPlaneFacts, initialized: bool) -> Wanted {
    const TYPE: &str = "EtcdClusterHealthy";
    if !initialized {
        return Wanted::unknown(TYPE, "InspectionFailed")
            .message("Waiting for Cluster control plane to be initialized");
    }
    let sick = |health: &super::MachineHealth| health.member_healthy == Some(false);
    match facts.health.etcd_healthy {
        Some(true) => Wanted::is_true(TYPE, "Healthy"),
        Some(false) => {
            Wanted::is_false(TYPE, "NotHealthy").message(per_machine(facts, sick, "etcd member"))
        }
        None => Wanted::unknown(TYPE, "HealthUnknown").message("etcd could not be asked"),
    }
}

fn components_healthy(facts: &ControlPlaneFacts, initialized: bool) -> Wanted {
    const TYPE: &str = "ControlPlaneComponentsHealthy";
    if !initialized {
        return Wanted::unknown(TYPE, "InspectionFailed")
            .message("Waiting for Cluster control plane to be initialized");
    }
    let of = |machine: &Machine| facts.health_of(machine).components;
    if facts
        .machines
        .iter()
        .any(|machine| of(machine) == Some(false))
    {
        let sick = |health: &super::MachineHealth| health.components == Some(false);
        return Wanted::is_false(TYPE, "NotHealthy").message(per_machine(
            facts,
            sick,
            "control plane components",
        ));
    }
    let unknown: Vec<&str> = facts
        .machines
        .iter()
        .filter(|machine| of(machine).is_none())
        .map(Machine::name)
        .collect();
    if unknown.is_empty() {
        return Wanted::is_true(TYPE, "Healthy");
    }
    Wanted::unknown(TYPE, "HealthUnknown").message(format!(
        "* Machines that could not be asked: {}",
        unknown.join(", ")
    ))
}

fn per_machine(
    facts: &ControlPlaneFacts,
    sick: impl Fn(&super::MachineHealth) -> bool,
    what: &str,
) -> String {
    let mut lines = Vec::new();
    for machine in &facts.machines {
        let health = facts.health_of(machine);
        if sick(&health) {
            let message = if health.message.is_empty() {
                format!("{what} not healthy")
            } else {
                health.message.clone()
            };
            lines.push(format!("* Machine {}: {message}", machine.name()));
        }
    }
    lines.join("\n")
}

fn available(facts: &ControlPlaneFacts, initialized: bool, now: Timestamp) -> Wanted {
    const TYPE: &str = "Available";
    let not = |message: String| Wanted::is_false(TYPE, "NotAvailable").message(message);
    if !initialized {
        return not("Control plane not yet initialized".to_owned());
    }
    let members: Vec<_> = facts
        .machines
        .iter()
        .map(|machine| facts.health_of(machine))
        .collect();
    let quorum = Quorum::of(facts);
    if facts.etcd_managed {
        let known = members.iter().any(|health| health.member.is_some());
        if !known && !facts.machines.is_empty() {
            let since = find(&facts.conditions, "Initialized")
                .filter(|found| found.status == ConditionStatus::True)
                .map(|found| now.as_second() - found.last_transition_time.timestamp().as_second());
            return match since {
                Some(since) if since >= GRACE_SECONDS => {
                    Wanted::unknown(TYPE, "InspectionFailed").message("Failed to get etcd members")
                }
                _ => not("Waiting for etcd to report the list of members".to_owned()),
            };
        }
        if !facts.health.foreign_members.is_empty() {
            let message = "The list of etcd members does not match the list of Machines and Nodes";
            return not(message.to_owned());
        }
    }
    let healthy = members
        .iter()
        .filter(|health| health.components == Some(true))
        .count();
    let mut causes = Vec::new();
    if facts.metadata.is_deleting() {
        causes.push("* Control plane metadata.deletionTimestamp is set".to_owned());
    }
    if !facts.prepared {
        causes.push("* Control plane certificates are not available".to_owned());
    }
    if facts.etcd_managed && !quorum.has_votes() {
        causes.push(quorum.describe());
    }
    if healthy == 0 {
        causes.push(
            "* There are no Machines with healthy control plane components, at least 1 required"
                .to_owned(),
        );
    }
    if causes.is_empty() {
        return Wanted::is_true(TYPE, "Available");
    }
    not(causes.join("\n"))
}

impl Quorum {
    /// Whether etcd can decide, whoever is still learning.
    fn has_votes(self) -> bool {
        self.without_learners().is_kept()
    }

    fn describe(self) -> String {
        let (total, healthy, required) = self.numbers();
        match healthy {
            0 => format!(
                "* There are no healthy etcd member, at least {required} healthy member required \
                 for etcd quorum"
            ),
            1 => format!(
                "* 1 of {total} etcd members is healthy, at least {required} healthy member \
                 required for etcd quorum"
            ),
            _ => format!(
                "* {healthy} of {total} etcd members are healthy, at least {required} healthy \
                 member required for etcd quorum"
            ),
        }
    }
}

fn desired(facts: &ControlPlaneFacts) -> Option<i32> {
    let replicas = facts.wanted.replicas?;
    Some(if facts.metadata.is_deleting() {
        0
    } else {
        replicas
    })
}

fn count(facts: &ControlPlaneFacts) -> i32 {
    i32::try_from(facts.machines.len()).unwrap_or(i32::MAX)
}

fn waiting_for_replicas(type_: &'static str) -> Wanted {
    Wanted::unknown(type_, "WaitingForReplicasSet").message("Waiting for spec.replicas set")
}
