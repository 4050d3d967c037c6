//! What decisions about a control plane are made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::remove::REMOVAL_HOOK;
use crate::{
    api::{
        Condition, ContractVersionedObjectReference, FailureDomain, MachineSpec, MachineStatus,
        Time, annotations,
    },
    contract::{Metadata, Object},
    plan::{
        condition::{Wanted, find, is_false},
        set_status::OwningCluster,
    },
};

/// What is decided from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneFacts {
    /// `group/version` of the control plane object.
    pub api_version: String,
    /// Kind of the control plane object.
    pub kind: String,
    /// Metadata of the control plane object.
    pub metadata: Metadata,
    /// The finalizer of its controller.
    pub finalizer: String,
    /// Conditions that it has.
    pub conditions: Vec<Condition>,
    /// Its status in the contract's terms, to see what changes.
    pub status: Option<super::ControlPlaneStatus>,
    /// What it asks for.
    pub wanted: WantedControlPlane,
    /// The Cluster.
    pub cluster: ControlPlaneCluster,
    /// The infrastructure template exists.
    pub template_exists: bool,
    /// The infrastructure template names the Cluster as owner.
    pub template_owned: bool,
    /// The machines that bear the control plane label of the Cluster, by name.
    pub machines: Vec<Machine>,
    /// Machines that were created and are not among them yet.
    pub unseen: u32,
    /// What the distribution sees.
    pub health: ControlPlaneHealth,
    /// etcd runs on the machines; false where it runs elsewhere.
    pub etcd_managed: bool,
    /// What must exist before the first machine exists.
    pub prepared: bool,
    /// The kubeconfig Secret.
    pub kubeconfig: Kubeconfig,
    /// When machines get the hook that keeps them until they have left etcd.
    pub guard: Guard,
    /// The remediation under way, as noted on the control plane.
    pub remediation_in_progress: Option<RemediationRecord>,
}

impl Default for ControlPlaneFacts {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            metadata: Metadata::default(),
            finalizer: String::new(),
            conditions: Vec::new(),
            status: None,
            wanted: WantedControlPlane::default(),
            cluster: ControlPlaneCluster::default(),
            template_exists: true,
            template_owned: true,
            machines: Vec::new(),
            unseen: 0,
            health: ControlPlaneHealth::default(),
            etcd_managed: true,
            prepared: false,
            kubeconfig: Kubeconfig::Missing,
            guard: Guard::default(),
            remediation_in_progress: None,
        }
    }
}

/// When machines get the hook that keeps them from being terminated before they have left etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// From the beginning, so that machines that somebody else deletes leave etcd too.
    #[default]
    Always,
    /// Only when this planner removes them, so that a controller that does not know the hook can
    /// take over at any other time.
    WhileRemoved,
}

/// What a control plane object asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WantedControlPlane {
    /// Machines wanted; `None` when nobody said.
    pub replicas: Option<i32>,
    /// Kubernetes version.
    pub version: String,
    /// Template of the infrastructure machines.
    pub infrastructure_template: ContractVersionedObjectReference,
    /// One machine more than `replicas` while one is replaced; false: one is removed first.
    pub surge: bool,
    /// Machines are replaced only when somebody deletes them.
    pub on_delete: bool,
    /// Machines made before this time are replaced once it has passed.
    pub rollout_after: Option<Time>,
    /// Remediations of one machine after another at most; no limit when `None`.
    pub max_remediations: Option<u32>,
    /// Seconds between remediations of the same chain.
    pub remediation_period_seconds: u32,
    /// Seconds after which a machine that replaced another counts as a success.
    pub min_healthy_period_seconds: Option<u32>,
}

impl WantedControlPlane {
    pub(super) fn template_is_template(&self) -> bool {
        self.infrastructure_template.kind.ends_with("Template")
    }
}

/// What a control plane knows of its Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneCluster {
    /// The Cluster.
    pub owner: OwningCluster,
    /// Its infrastructure is there.
    pub infrastructure_provisioned: bool,
    /// Its control plane endpoint is known.
    pub endpoint_valid: bool,
    /// Failure domains that it reports.
    pub failure_domains: Vec<FailureDomain>,
    /// Version of its managed topology.
    pub topology_version: Option<String>,
    /// Version of the current step of an upgrade of the topology.
    pub upgrade_step: Option<String>,
    /// Machines and pools of workers that still exist, as messages name them; only needed while
    /// the control plane is deleted.
    pub workers: Vec<String>,
}

/// The kubeconfig Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kubeconfig {
    /// There is none.
    #[default]
    Missing,
    /// There is one.
    Present {
        /// The control plane controls it; one of the user's is never touched.
        ours: bool,
        /// Its certificate has lived for more than half of its life.
        renewal_due: bool,
    },
}

/// What the distribution sees of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneHealth {
    /// The cluster has begun, once.
    pub initialized: bool,
    /// etcd as a whole is as it should be; `None` when nobody could be asked.
    pub etcd_healthy: Option<bool>,
    /// Members of etcd that belong to no machine.
    pub foreign_members: Vec<String>,
    /// Health of machines by name; a machine that is missing is unknown.
    pub machines: BTreeMap<String, MachineHealth>,
}

/// What the distribution sees of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineHealth {
    /// It is a member of etcd; `None` when nobody could be asked.
    pub member: Option<bool>,
    /// It is a member that does not vote yet.
    pub learner: bool,
    /// The member is healthy; `None` when nobody could be asked.
    pub member_healthy: Option<bool>,
    /// The control plane components on it are healthy; `None` when nobody could be asked.
    pub components: Option<bool>,
    /// What is wrong, for people.
    pub message: String,
}

impl MachineHealth {
    /// Votes in etcd, and well.
    #[must_use]
    pub fn is_healthy_voter(&self) -> bool {
        self.member == Some(true) && !self.learner && self.member_healthy == Some(true)
    }
}

/// One machine of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    /// The Machine.
    pub object: Object<MachineSpec, MachineStatus>,
    /// Its infrastructure machine was made from the template that is wanted; `None` when that
    /// cannot be told, which counts as yes.
    pub infrastructure_current: Option<bool>,
    /// Its bootstrap config is what is wanted; `None` when that cannot be told, which counts as
    /// yes.
    pub bootstrap_current: Option<bool>,
    /// The distribution said that it has left etcd.
    pub left: bool,
    /// The remediation that it was made for, as noted on it.
    pub remediation_for: Option<RemediationRecord>,
}

/// A remediation, as it is noted on the control plane and on the machine that replaces another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationRecord {
    /// The machine that was remediated.
    pub machine: String,
    /// When.
    pub timestamp: Time,
    /// How many remediations of the same chain came before.
    pub retry_count: u32,
}

impl Machine {
    /// Name of the Machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.metadata.name
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.metadata.is_deleting()
    }

    /// Whether it has a node.
    #[must_use]
    pub fn has_node(&self) -> bool {
        self.object.status.node_ref.is_some()
    }

    /// Whether the hook is on it.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.object.metadata.has_annotation(REMOVAL_HOOK)
    }

    /// Whether somebody wants it to go first.
    pub(super) fn delete_first(&self) -> bool {
        self.object
            .metadata
            .has_annotation(annotations::DELETE_MACHINE)
    }

    /// Whether its health check failed and it waits to be remediated.
    pub(super) fn is_condemned(&self) -> bool {
        let conditions = &self.object.status.conditions;
        is_false(conditions, "HealthCheckSucceeded") && is_false(conditions, "OwnerRemediated")
    }

    /// Whether it reports a condition as it is wanted.
    pub(super) fn reports(&self, wanted: &Wanted) -> bool {
        find(&self.object.status.conditions, &wanted.type_).is_some_and(|found| {
            found.status == wanted.status
                && found.reason == wanted.reason
                && found.message == wanted.message
        })
    }

    /// Age, oldest first.
    pub(super) fn age(&self) -> (Time, &str) {
        (self.object.metadata.creation_timestamp, self.name())
    }

    /// Where it is.
    pub(super) fn failure_domain(&self) -> Option<&str> {
        self.object
            .spec
            .failure_domain
            .as_deref()
            .filter(|domain| !domain.is_empty())
    }
}

impl ControlPlaneFacts {
    /// What the distribution sees of a machine.
    #[must_use]
    pub fn health_of(&self, machine: &Machine) -> MachineHealth {
        self.health
            .machines
            .get(machine.name())
            .cloned()
            .unwrap_or_default()
    }

    /// The oldest machine of some.
    pub(super) fn oldest(&self, chosen: impl Fn(&Machine) -> bool) -> Option<&Machine> {
        let machines = self.machines.iter().filter(|machine| chosen(machine));
        machines.min_by(|a, b| a.age().cmp(&b.age()))
    }

    /// Why a machine is not what is wanted; empty when it is.
    #[must_use]
    pub fn differences(&self, machine: &Machine, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        let spec = &machine.object.spec;
        let version = spec.version.as_deref().unwrap_or_default();
        if version != self.wanted.version {
            lines.push(format!(
                "Version {version}, {} required",
                self.wanted.version
            ));
        }
        if machine.bootstrap_current == Some(false) {
            let kind = spec
                .bootstrap
                .config_ref
                .as_ref()
                .map_or("", |found| &found.kind);
            lines.push(format!("{kind} is not up-to-date"));
        }
        if machine.infrastructure_current == Some(false) {
            lines.push(format!(
                "{} is not up-to-date",
                spec.infrastructure_ref.kind
            ));
        }
        let after = self
            .wanted
            .rollout_after
            .filter(|after| after.timestamp() <= now);
        if after.is_some_and(|after| machine.object.metadata.creation_timestamp < after) {
            lines.push(format!("{} spec.rolloutAfter expired", self.kind));
        }
        lines
    }

    /// Names of the machines that are not what is wanted and not being deleted.
    #[must_use]
    pub fn outdated(&self, now: Timestamp) -> Vec<&str> {
        self.machines
            .iter()
            .filter(|machine| !machine.is_deleting())
            .filter(|machine| !self.differences(machine, now).is_empty())
            .map(Machine::name)
            .collect()
    }
}
