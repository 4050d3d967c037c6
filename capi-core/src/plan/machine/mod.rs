//! The life of one Machine: it takes its external objects, copies what they report, finds its
//! Node, keeps conditions, and is taken down in order.
//!
//! Decides for one Machine at a time, whoever owns it. Never chooses how many machines there are,
//! and never talks to a machine API.
//!
//! Answers to `core/reconcilers/machine` of Cluster API.

mod conditions;
mod provision;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    ActionFailure, Event, Plan,
    condition::Conditions,
    delete::machine::{Deletion, DeletionFacts},
    node::{self, Node, NodeLookup, NodeSync, SyncedKeys},
    paused,
};
use crate::{
    api::{
        ContractVersionedObjectReference, MachineNodeReference, MachineSpec, MachineStatus, Time,
        finalizers, labels,
    },
    contract::{BootstrapConfigView, InfraMachineView, Metadata, Object},
};

pub use super::lookup::Lookup;
pub(super) use conditions::{ExternalCondition, elapsed, seen};

/// Time to look again for a referenced object that does not exist.
pub const EXTERNAL_WAIT: Duration = Duration::from_secs(30);

/// Everything a Machine's plan depends on, besides the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFacts {
    /// The Machine.
    pub machine: Object<MachineSpec, MachineStatus>,
    /// Its Cluster.
    pub cluster: ClusterFacts,
    /// The MachineSet that owns it, if one does.
    pub machine_set: Option<SetFacts>,
    /// The MachineDeployment that the set belongs to, if it does.
    pub machine_deployment: Option<DeploymentFacts>,
    /// The object that `spec.bootstrap.configRef` refers to.
    pub bootstrap_config: Lookup<BootstrapConfigView>,
    /// The object that `spec.infrastructureRef` refers to.
    pub infra_machine: Lookup<InfraMachineView>,
    /// The Node of [`provider_id`].
    pub node: NodeLookup,
    /// How the workload cluster is reached.
    pub connection: Connection,
    /// What only a deletion depends on.
    pub deletion: DeletionFacts,
    /// What failed of the plan before, when this one follows it at once.
    pub failures: Vec<ActionFailure>,
    /// Settings of the controller.
    pub settings: MachineSettings,
}

/// What a Machine needs to know of its Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterFacts {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `status.initialization.infrastructureProvisioned`.
    pub infrastructure_provisioned: bool,
    /// Since when the condition `ControlPlaneInitialized` is True.
    pub control_plane_initialized: Option<Time>,
    /// `spec.controlPlaneRef`.
    pub control_plane_ref: Option<ContractVersionedObjectReference>,
}

/// What a Machine needs to know of the MachineSet that owns it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetFacts {
    /// Metadata.
    pub metadata: Metadata,
    /// `spec.template.spec`.
    pub template: MachineSpec,
}

/// What a Machine needs to know of its MachineDeployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentFacts {
    /// Metadata.
    pub metadata: Metadata,
    /// `spec.template.spec`.
    pub template: MachineSpec,
    /// `spec.rollout.after`.
    pub rollout_after: Option<Time>,
}

/// How a workload cluster has been reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// When its API server answered last.
    pub last_probe_success: Option<Time>,
    /// Attempts that failed since.
    pub consecutive_failures: u32,
}

impl Connection {
    /// Whether it was never reached and it is too early to say that it cannot be.
    #[must_use]
    pub fn is_untried(&self) -> bool {
        self.last_probe_success.is_none() && self.consecutive_failures < 5
    }
}

/// Settings of the Machine controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSettings {
    /// How long the last known state of a Node is shown when its cluster cannot be reached.
    pub remote_conditions_grace_period: Duration,
    /// Whether taints of Machines go to Nodes (feature gate `MachineTaintPropagation`).
    pub propagate_taints: bool,
    /// Further labels and annotations that go to Nodes.
    pub synced_keys: SyncedKeys,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            remote_conditions_grace_period: Duration::from_secs(300),
            propagate_taints: false,
            synced_keys: SyncedKeys::default(),
        }
    }
}

/// Changes of a Machine's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSpecChange {
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// `spec.bootstrap.dataSecretName`.
    pub data_secret_name: Option<String>,
    /// `spec.failureDomain`; an empty text removes it.
    pub failure_domain: Option<String>,
}

impl MachineSpecChange {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The change as a JSON merge patch of the spec; `None` when nothing changes.
    #[must_use]
    pub fn to_merge_patch(&self) -> Option<Value> {
        let mut spec = Map::new();
        if let Some(id) = &self.provider_id {
            spec.insert("providerID".to_owned(), json!(id));
        }
        if let Some(name) = &self.data_secret_name {
            spec.insert("bootstrap".to_owned(), json!({"dataSecretName": name}));
        }
        if let Some(domain) = &self.failure_domain {
            let value = if domain.is_empty() {
                Value::Null
            } else {
                json!(domain)
            };
            spec.insert("failureDomain".to_owned(), value);
        }
        (!spec.is_empty()).then(|| json!({"spec": spec}))
    }
}

/// What is to be done about a Machine.
pub type MachinePlan = Plan<MachineSpecChange, MachineStatus>;

/// The provider id by which a Machine's Node is to be looked for: what the infrastructure says
/// once it is provisioned, else what the Machine says; of a Machine that is being deleted also
/// what an unfinished infrastructure says.
#[must_use]
pub fn provider_id<'a>(
    machine: &'a Object<MachineSpec, MachineStatus>,
    infra_machine: &'a Lookup<InfraMachineView>,
) -> Option<&'a str> {
    let infra = infra_machine.found();
    let reported = infra.and_then(|infra| infra.provider_id.get());
    let known = machine.spec.provider_id.as_ref();
    let latched = machine.status.initialization.infrastructure_provisioned == Some(true);
    let counts = infra.is_some_and(|infra| {
        !infra.object.is_deleting() && (latched || infra.provisioned.get() == Some(&true))
    });
    let filled = |id: Option<&'a String>| id.map(String::as_str).filter(|id| !id.is_empty());
    let unfinished = || machine.metadata.is_deleting().then_some(reported).flatten();
    filled(reported.filter(|_| counts))
        .or_else(|| filled(known))
        .or_else(|| filled(unfinished()))
}

/// Plans for one Machine.
#[must_use]
pub fn plan(facts: &MachineFacts, now: Timestamp) -> MachinePlan {
    let current = &facts.machine;
    let mut work = Work {
        facts,
        now,
        spec: current.spec.clone(),
        status: current.status.clone(),
        node: None,
        out: MachinePlan::default(),
    };
    if !current.metadata.is_deleting() {
        work.out
            .metadata
            .add_finalizer(&current.metadata, finalizers::MACHINE);
    }
    let paused = paused::condition(facts.cluster.paused, &current.metadata, "Machine");
    if paused.status == crate::api::ConditionStatus::True {
        let mut list = Conditions::new(
            current.status.conditions.clone(),
            current.metadata.generation,
            now,
        );
        list.set(paused);
        work.status.conditions = list.into_vec();
        return work.finish();
    }

    work.owner_and_labels();
    work.bootstrap();
    work.infrastructure();
    work.node();
    work.certificate_expiry();
    let deletion = current
        .metadata
        .is_deleting()
        .then(|| Deletion::plan(&mut work));
    work.conditions(paused, deletion);
    work.finish()
}

/// A plan in the making.
pub(super) struct Work<'a> {
    pub(super) facts: &'a MachineFacts,
    pub(super) now: Timestamp,
    /// The spec as it will be.
    pub(super) spec: MachineSpec,
    /// The status as it will be.
    pub(super) status: MachineStatus,
    /// The Node, when it was found.
    pub(super) node: Option<&'a Node>,
    pub(super) out: MachinePlan,
}

impl Work<'_> {
    pub(super) fn metadata(&self) -> &Metadata {
        &self.facts.machine.metadata
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.metadata().is_deleting()
    }

    pub(super) fn is_control_plane(&self) -> bool {
        self.metadata().has_label(labels::CONTROL_PLANE)
    }

    /// The generation the Machine has after this plan: a change of the spec makes one more.
    fn generation(&self) -> i64 {
        self.metadata().generation + i64::from(!self.out.spec.is_empty())
    }

    /// Finds the Node and plans what is written there.
    fn node(&mut self) {
        let facts = self.facts;
        if self
            .spec
            .provider_id
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            return;
        }
        let name = || self.metadata().name.clone();
        let node = match &facts.node {
            NodeLookup::Found(node) => node,
            NodeLookup::NotFound => {
                if !self.is_deleting() && self.status.node_ref.is_some() {
                    let error = format!("no matching Node for Machine {:?}", name());
                    self.out.errors.push(error);
                } else if !self.is_deleting() {
                    let id = self.spec.provider_id.clone().unwrap_or_default();
                    self.out
                        .blocked("Node", "", &id, "no Node has this spec.providerID yet");
                }
                return;
            }
            NodeLookup::NotLooked | NodeLookup::NotConnected => {
                self.look_when_the_grace_period_ends();
                let cluster = facts.cluster.name.clone();
                let namespace = self.metadata().namespace.clone();
                self.out.blocked(
                    "Cluster",
                    &namespace,
                    &cluster,
                    "its API server is not reached yet",
                );
                return;
            }
            NodeLookup::Failed(error) => {
                self.out.errors.push(error.clone());
                self.out.events.push(Event::warning(
                    "Failed to retrieve Node by ProviderID",
                    error.clone(),
                ));
                return;
            }
        };
        self.node = Some(node);
        if self.status.node_ref.is_none() {
            let name = node.metadata.name.clone();
            self.out
                .events
                .push(Event::normal("SuccessfulSetNodeRef", name.clone()));
            self.status.node_ref = Some(MachineNodeReference { name });
        }
        self.status.node_info = Some(node.status.node_info.clone());
        self.sync_node(node);
    }

    /// What is known of the Node is shown for a while after its cluster was lost; no event tells
    /// when that time is over.
    fn look_when_the_grace_period_ends(&mut self) {
        let grace = self.facts.settings.remote_conditions_grace_period;
        let end = self.facts.connection.last_probe_success.and_then(|seen| {
            let end = seen.timestamp().checked_add(grace).ok()?;
            end.checked_add(Duration::from_secs(1)).ok()
        });
        if let Some(end) = end.filter(|end| *end > self.now) {
            self.out.look_again(end);
        }
    }

    fn sync_node(&mut self, node: &Node) {
        let facts = self.facts;
        let infra = facts.infra_machine.found();
        let interruptible = match infra.map(|infra| infra.interruptible.as_result()) {
            Some(Err(error)) => {
                self.out.errors.push(error.to_owned());
                return;
            }
            Some(Ok(value)) => value == Some(&true),
            None => false,
        };
        let outdated = node::is_outdated(
            facts.machine_set.as_ref().map(|set| &set.metadata),
            facts.machine_deployment.as_ref().map(|d| &d.metadata),
        );
        let patch = outdated.and_then(|outdated| {
            NodeSync {
                machine: self.metadata(),
                spec: &self.spec,
                interruptible,
                outdated,
                propagate_taints: facts.settings.propagate_taints,
                keys: &facts.settings.synced_keys,
            }
            .patch(node)
        });
        let name = node.metadata.name.clone();
        match patch {
            Ok(None) => {}
            Ok(Some(patch)) => {
                if interruptible && !node.metadata.has_label(labels::INTERRUPTIBLE) {
                    self.out.events.push(Event::normal(
                        "SuccessfulSetInterruptibleNodeLabel",
                        name.clone(),
                    ));
                }
                self.out
                    .actions
                    .push(super::Action::PatchNode { node: name, patch });
            }
            Err(error) => self
                .out
                .errors
                .push(format!("failed to reconcile Node {name}: {error}")),
        }
    }

    fn finish(mut self) -> MachinePlan {
        let before = &self.facts.machine;
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
