//! The life of one Cluster: it takes its infrastructure and control plane objects, copies what
//! they report, sums up its machines, and is taken down in order.
//!
//! Decides for one Cluster. Never makes machines, and never touches a workload cluster.
//!
//! Answers to `core/reconcilers/cluster` of Cluster API.

mod conditions;
mod counters;
mod provision;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ActionFailure, Plan, condition::Conditions, delete::machine::Deletion, paused};
use crate::{
    api::{
        ApiEndpoint, ClusterSpec, ClusterStatus, Condition, ConditionGate, ConditionStatus,
        MachineCounters, MachineStatus, StatusVersion, finalizers, labels,
    },
    contract::{ControlPlaneView, InfraClusterView, Metadata, Object},
};

pub use super::{lookup::Lookup, machine::Connection};

/// Everything a Cluster's plan depends on, besides the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterFacts {
    /// The Cluster.
    pub cluster: Object<ClusterSpec, ClusterStatus>,
    /// The object that `spec.infrastructureRef` refers to.
    pub infra_cluster: Lookup<InfraClusterView>,
    /// The object that `spec.controlPlaneRef` refers to.
    pub control_plane: Lookup<ControlPlaneView>,
    /// What belongs to the Cluster by label; `None` when it could not be listed.
    pub descendants: Option<Descendants>,
    /// Availability gates of the ClusterClass, when the Cluster is made from one.
    pub class_availability_gates: Vec<ConditionGate>,
    /// How the workload cluster is reached.
    pub connection: Connection,
    /// What is known of the kubeconfig of a Cluster without control plane object.
    pub kubeconfig: KubeconfigFacts,
    /// What failed of the plan before, when this one follows it at once.
    pub failures: Vec<ActionFailure>,
    /// Settings of the controller.
    pub settings: ClusterSettings,
}

/// What belongs to a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descendants {
    /// Machines.
    pub machines: Vec<MachineFacts>,
    /// MachineSets.
    pub machine_sets: Vec<ReplicasFacts>,
    /// MachineDeployments.
    pub machine_deployments: Vec<ReplicasFacts>,
    /// MachinePools.
    pub machine_pools: Vec<ReplicasFacts>,
}

/// What a Cluster needs to know of a Machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFacts {
    /// Metadata.
    pub metadata: Metadata,
    /// `spec.version`.
    pub version: Option<String>,
    /// Status.
    pub status: MachineStatus,
}

impl MachineFacts {
    /// Whether it is a machine of the control plane.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.metadata.has_label(labels::CONTROL_PLANE)
    }

    /// Whether a MachinePool made it.
    #[must_use]
    pub fn is_of_pool(&self) -> bool {
        self.metadata.has_label(labels::POOL_NAME)
    }
}

/// What a Cluster needs to know of something that has replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicasFacts {
    /// Metadata.
    pub metadata: Metadata,
    /// `spec.replicas`.
    pub desired: Option<i32>,
    /// `status.replicas`.
    pub replicas: Option<i32>,
    /// `status.readyReplicas`.
    pub ready: Option<i32>,
    /// `status.availableReplicas`.
    pub available: Option<i32>,
    /// `status.upToDateReplicas`.
    pub up_to_date: Option<i32>,
    /// `status.versions`.
    pub versions: Vec<StatusVersion>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// What is known of the kubeconfig secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KubeconfigFacts {
    /// Nobody looked, or it exists.
    #[default]
    NotNeeded,
    /// It does not exist and can be made from the cluster's CA.
    Missing,
    /// Neither it nor the cluster's CA exists.
    MissingAuthority,
}

/// Settings of the Cluster controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSettings {
    /// How long a failing probe of the workload cluster is not shown.
    pub remote_connection_grace_period: Duration,
    /// Whether deletion of a Cluster made from a class waits for its hook (feature gates
    /// `RuntimeSDK` and `ClusterTopology`).
    pub topology_hooks: bool,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            remote_connection_grace_period: Duration::from_secs(50),
            topology_hooks: false,
        }
    }
}

/// Changes of a Cluster's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpecChange {
    /// `spec.controlPlaneEndpoint`.
    pub control_plane_endpoint: Option<ApiEndpoint>,
}

impl ClusterSpecChange {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The change as a JSON merge patch; `None` when nothing changes.
    #[must_use]
    pub fn to_merge_patch(&self) -> Option<Value> {
        let endpoint = self.control_plane_endpoint.as_ref()?;
        Some(json!({"spec": {"controlPlaneEndpoint": {
            "host": endpoint.host, "port": endpoint.port,
        }}}))
    }
}

/// What is to be done about a Cluster.
pub type ClusterPlan = Plan<ClusterSpecChange, ClusterStatus>;

/// Whether all machines are as they are wanted, so that nothing more is on its way.
#[must_use]
pub fn is_at_rest(facts: &ClusterFacts, plan: &ClusterPlan) -> bool {
    let status = &plan.status;
    let even = |counters: &MachineCounters| {
        [
            counters.replicas,
            counters.ready_replicas,
            counters.available_replicas,
            counters.up_to_date_replicas,
        ]
        .into_iter()
        .all(|count| count == counters.desired_replicas)
    };
    let workers = facts.descendants.iter().all(|descendants| {
        let mut told = descendants.machine_deployments.iter();
        // One that is deleted, or that does not say yet how many it has, is not at rest.
        told.all(|group| group.replicas.is_some() && !group.metadata.is_deleting())
    });
    plan.blocked_on.is_empty()
        && plan.errors.is_empty()
        && !facts.cluster.metadata.is_deleting()
        && status.control_plane.desired_replicas.is_some()
        && even(&status.control_plane)
        && even(&status.workers)
        && workers
}

/// Plans for one Cluster.
#[must_use]
pub fn plan(facts: &ClusterFacts, now: Timestamp) -> ClusterPlan {
    let current = &facts.cluster;
    let mut work = Work {
        facts,
        now,
        spec: current.spec.clone(),
        status: current.status.clone(),
        out: ClusterPlan::default(),
    };
    if !current.metadata.is_deleting() {
        work.out
            .metadata
            .add_finalizer(&current.metadata, finalizers::CLUSTER);
    }
    let cluster_paused = current.spec.paused == Some(true);
    let paused = paused::condition(cluster_paused, &current.metadata, "Cluster");
    if paused.status == ConditionStatus::True {
        let mut list = Conditions::new(
            current.status.conditions.clone(),
            current.metadata.generation,
            now,
        );
        list.set(paused);
        work.status.conditions = list.into_vec();
        return work.finish();
    }
    let waits_for_topology = !work.is_deleting()
        && work.spec.topology.is_some()
        && (work.control_plane_ref().is_none() || work.infrastructure_ref().is_none());
    let mut deletion = None;
    if facts.descendants.is_none() {
        let error = "failed to list what belongs to the Cluster".to_owned();
        work.out.errors.push(error);
    }
    if !waits_for_topology {
        work.infrastructure();
        work.control_plane();
        if work.is_deleting() {
            deletion = Some(Deletion::of_cluster(&mut work));
        } else {
            work.kubeconfig();
        }
    }
    work.status(paused, deletion);
    work.finish()
}

/// A plan in the making.
pub(super) struct Work<'a> {
    pub(super) facts: &'a ClusterFacts,
    pub(super) now: Timestamp,
    /// The spec as it will be.
    pub(super) spec: ClusterSpec,
    /// The status as it will be.
    pub(super) status: ClusterStatus,
    pub(super) out: ClusterPlan,
}

impl Work<'_> {
    pub(super) fn is_deleting(&self) -> bool {
        self.facts.cluster.metadata.is_deleting()
    }

    /// The generation the Cluster has after this plan.
    fn generation(&self) -> i64 {
        self.facts.cluster.metadata.generation + i64::from(!self.out.spec.is_empty())
    }

    fn finish(mut self) -> ClusterPlan {
        let before = &self.facts.cluster;
        self.out.errors.extend(
            self.facts
                .failures
                .iter()
                .map(|failure| failure.error.clone()),
        );
        let vanishes = self.is_deleting() && self.out.lets_go();
        self.out.status_changed = self.status != before.status && !vanishes;
        self.out.status = self.status;
        self.out
    }
}

/// Labels that select what belongs to a Cluster.
#[must_use]
pub fn descendant_labels(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(labels::CLUSTER_NAME.to_owned(), cluster.to_owned())])
}
