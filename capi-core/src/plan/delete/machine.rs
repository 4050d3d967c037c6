//! The steps of a Machine's deletion: hooks, drain, volumes, hooks, infrastructure, bootstrap,
//! Node, finalizer.
//!
//! Every pass looks at all steps anew. Nothing records that a drain is done: an empty Node, a time
//! limit, or infrastructure that is being deleted tell it.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    api::{MachineNodeReference, Time, annotations, finalizers},
    contract::ExternalObject,
    plan::{
        Action, Event, ObjectRef,
        condition::CHECK_LOGS,
        drain::{self, DrainFacts},
        machine::{Lookup, Work},
        node::{Node, NodeLookup},
        volumes::{self, VolumeFacts},
    },
};

/// What only a deletion depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionFacts {
    /// The Cluster's control plane object.
    pub control_plane: Lookup<ControlPlaneFacts>,
    /// How many control plane Machines of the Cluster are not being deleted.
    pub control_plane_machines: u32,
    /// The Node by the name in `status.nodeRef`, read from the workload cluster; the answer to
    /// [`Action::InspectNode`].
    pub node: NodeLookup,
    /// The pods of the Node; the answer to [`Action::ListPods`].
    pub pods: Option<Result<DrainFacts, String>>,
    /// Volumes of the workload cluster; the answer to [`Action::ListVolumes`].
    pub volumes: Option<Result<VolumeFacts, String>>,
    /// What came of [`Action::DeleteNode`].
    pub node_deletion: Option<Result<(), String>>,
}

/// What a deletion needs to know of the control plane object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneFacts {
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has no machines of ours.
    pub externally_managed: bool,
}

/// Where a deletion is, as the condition Deleting says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Reason of the condition.
    pub reason: Cow<'static, str>,
    /// Message of the condition.
    pub message: String,
}

impl Deletion {
    fn at(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason: Cow::Borrowed(reason),
            message: message.into(),
        }
    }

    /// Plans the next step.
    pub(in crate::plan) fn plan(work: &mut Work<'_>) -> Self {
        match work.take_down() {
            Ok(()) => {
                let current = &work.facts.machine.metadata;
                work.out
                    .metadata
                    .remove_finalizer(current, finalizers::MACHINE);
                Self::at("DeletionCompleted", "Deletion completed")
            }
            Err(waiting) => waiting,
        }
    }
}

/// Why the Node is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeStays {
    ClusterIsDeleted,
    NoNode,
    ControlPlaneIsDeleted,
    NoControlPlaneMachines,
}

type Step<T = ()> = Result<T, Deletion>;

impl<'a> Work<'a> {
    /// All steps; an error is the step that has to be waited for.
    fn take_down(&mut self) -> Step {
        let node = match self.node_may_go()? {
            Ok(()) => self.status.node_ref.as_ref().map(|node| node.name.clone()),
            Err(_) => None,
        };
        if let Some(node) = &node {
            self.hooks(
                annotations::PRE_DRAIN_HOOK_PREFIX,
                "WaitingForPreDrainHook",
                "pre-drain",
            )?;
            let skipped = self.drain(node)?;
            self.volumes(node, &skipped)?;
        }
        self.hooks(
            annotations::PRE_TERMINATE_HOOK_PREFIX,
            "WaitingForPreTerminateHook",
            "pre-terminate",
        )?;
        let facts = self.facts;
        self.external(
            &facts.infra_machine.as_ref().map(|infra| &infra.object),
            &self.spec.infrastructure_ref.kind.clone(),
            "WaitingForInfrastructureDeletion",
        )?;
        if let Some(config) = self
            .spec
            .bootstrap
            .config_ref
            .clone()
            .filter(|reference| reference.is_defined())
        {
            self.external(
                &facts.bootstrap_config.as_ref().map(|config| &config.object),
                &config.kind,
                "WaitingForBootstrapDeletion",
            )?;
        }
        match node {
            Some(node) => self.delete_node(&node),
            None => Ok(()),
        }
    }

    /// Whether the Node is drained and deleted, or left alone. Recovers the Node's name when it
    /// was not known yet.
    fn node_may_go(&mut self) -> Step<Result<(), NodeStays>> {
        let facts = self.facts;
        if facts.cluster.deleting {
            return Ok(Err(NodeStays::ClusterIsDeleted));
        }
        if self.status.node_ref.is_none()
            && let NodeLookup::Found(node) = &facts.node
        {
            let name = node.metadata.name.clone();
            self.status.node_ref = Some(MachineNodeReference { name });
        }
        if self.status.node_ref.is_none() {
            return Ok(Err(NodeStays::NoNode));
        }
        if facts.cluster.control_plane_ref.is_some() {
            match &facts.deletion.control_plane {
                Lookup::Found(control_plane) if control_plane.deleting => {
                    return Ok(Err(NodeStays::ControlPlaneIsDeleted));
                }
                Lookup::Found(control_plane) if control_plane.externally_managed => {
                    return Ok(Ok(()));
                }
                Lookup::Failed(error) => {
                    self.out.errors.push(format!(
                        "failed to check if Kubernetes Node deletion is allowed: {error}"
                    ));
                    return Err(Deletion::at("InternalError", CHECK_LOGS));
                }
                _ => {}
            }
        }
        if facts.deletion.control_plane_machines == 0 {
            return Ok(Err(NodeStays::NoControlPlaneMachines));
        }
        Ok(Ok(()))
    }

    /// Waits while an annotation with `prefix` is there.
    fn hooks(&mut self, prefix: &str, reason: &'static str, name: &str) -> Step {
        let hooks: Vec<&str> = self
            .facts
            .machine
            .metadata
            .annotations
            .keys()
            .filter(|key| key.starts_with(prefix))
            .map(String::as_str)
            .collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let now = Time::new(self.now);
        let started = &mut self.status.deletion;
        let started = if name == "pre-drain" {
            &mut started.wait_for_pre_drain_hook_start_time
        } else {
            &mut started.wait_for_pre_terminate_hook_start_time
        };
        started.get_or_insert(now);
        let hooks = hooks.join(",");
        let (namespace, machine) = (
            self.metadata().namespace.clone(),
            self.metadata().name.clone(),
        );
        self.out.blocked(
            "Machine",
            &namespace,
            &machine,
            &format!("the owners of these annotations must remove them: {hooks}"),
        );
        Err(Deletion::at(
            reason,
            format!("Waiting for {name} hooks to succeed (hooks: {hooks})"),
        ))
    }

    /// Whether the steps before the infrastructure goes are still possible.
    fn node_can_be_prepared(
        &self,
        exclude: &str,
        timeout: Option<i32>,
        since: Option<Time>,
    ) -> bool {
        let infra = self.facts.infra_machine.found();
        let exceeded = match (timeout, since) {
            (Some(seconds), Some(since)) if seconds > 0 => {
                let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                Duration::try_from(self.now.duration_since(since.timestamp()))
                    .is_ok_and(|passed| passed >= limit)
            }
            _ => false,
        };
        !self.metadata().has_annotation(exclude)
            && self
                .status
                .deletion
                .wait_for_pre_terminate_hook_start_time
                .is_none()
            && infra.is_some_and(|infra| !infra.object.is_deleting())
            && !exceeded
    }

    /// Drains the Node; returns the claims of pods that stay.
    fn drain(&mut self, name: &str) -> Step<Vec<String>> {
        let deletion = &self.status.deletion;
        if !self.node_can_be_prepared(
            annotations::EXCLUDE_NODE_DRAINING,
            self.spec.deletion.node_drain_timeout_seconds,
            deletion.node_drain_start_time,
        ) {
            return Ok(Vec::new());
        }
        let now = Time::new(self.now);
        let started = *self
            .status
            .deletion
            .node_drain_start_time
            .get_or_insert(now);
        let waiting = || {
            let text = format!("Drain not completed yet (started at {started}):");
            Deletion::at("DrainingNode", text)
        };
        let Some(node) = self.inspect(name, &waiting, Self::drain_failed)? else {
            self.drained(name);
            return Ok(Vec::new()); // somebody deleted the Node
        };
        if !node.spec.unschedulable {
            let mut patch = json!({"spec": {"unschedulable": true}});
            if !node.metadata.resource_version.is_empty() {
                patch["metadata"] = json!({"resourceVersion": node.metadata.resource_version});
            }
            self.out.actions.push(Action::PatchNode {
                node: name.to_owned(),
                patch,
            });
        }
        let facts = match &self.facts.deletion.pods {
            None => {
                self.out.actions.push(Action::ListPods {
                    node: name.to_owned(),
                });
                return Err(waiting());
            }
            Some(Err(error)) => return Err(self.drain_failed(name, error)),
            Some(Ok(facts)) => facts,
        };
        let labels = &self.facts.machine.metadata.labels;
        let plan = match drain::plan(facts, labels, started, node.is_unreachable(), self.now) {
            Ok(plan) => plan,
            Err(error) => return Err(self.drain_failed(name, &error)),
        };
        if plan.complete {
            self.drained(name);
            return Ok(plan.claims_of_skipped_pods);
        }
        if !plan.evict.is_empty() {
            self.out.actions.push(Action::EvictPods {
                pods: plan.evict,
                grace_period_seconds: plan.grace_period_seconds,
            });
            return Err(waiting());
        }
        self.out
            .blocked("Node", "", name, "its pods are not gone yet");
        self.out.again_after(self.now, drain::RETRY);
        Err(Deletion::at("DrainingNode", plan.message))
    }

    fn drained(&mut self, node: &str) {
        // Said once, not on every pass that finds the Node empty.
        if self
            .facts
            .machine
            .status
            .deletion
            .wait_for_node_volume_detach_start_time
            .is_none()
        {
            self.out.events.push(Event::normal(
                "SuccessfulDrainNode",
                format!("success draining Machine's node {node:?}"),
            ));
        }
    }

    fn drain_failed(&mut self, node: &str, error: &str) -> Deletion {
        self.out
            .errors
            .push(format!("failed to drain Node {node}: {error}"));
        self.out.events.push(Event::warning(
            "FailedDrainNode",
            format!("error draining Machine's node {node:?}: {error}"),
        ));
        Deletion::at(
            "DrainingNode",
            "Error draining Node, please check controller logs for errors",
        )
    }

    /// Waits until the volumes of the Node are detached.
    fn volumes(&mut self, name: &str, skipped: &[String]) -> Step {
        let deletion = &self.status.deletion;
        if !self.node_can_be_prepared(
            annotations::EXCLUDE_WAIT_FOR_NODE_VOLUME_DETACH,
            self.spec.deletion.node_volume_detach_timeout_seconds,
            deletion.wait_for_node_volume_detach_start_time,
        ) {
            return Ok(());
        }
        let now = Time::new(self.now);
        let started = *self
            .status
            .deletion
            .wait_for_node_volume_detach_start_time
            .get_or_insert(now);
        let waiting = || {
            let text = format!("Waiting for Node volumes to be detached (started at {started})");
            Deletion::at("WaitingForVolumeDetach", text)
        };
        let node = self.inspect(name, &waiting, Self::volumes_failed)?;
        let Some(node) = node.filter(|node| !node.is_unreachable()) else {
            return Ok(());
        };
        let facts = match &self.facts.deletion.volumes {
            None => {
                self.out.actions.push(Action::ListVolumes {
                    node: name.to_owned(),
                });
                return Err(waiting());
            }
            Some(Err(error)) => return Err(self.volumes_failed(name, error)),
            Some(Ok(facts)) => facts,
        };
        match volumes::waiting_for(facts, node, skipped, started) {
            Ok(None) => {
                self.out.events.push(Event::normal(
                    "NodeVolumesDetached",
                    format!("success waiting for node volumes detaching Machine's node {name:?}"),
                ));
                Ok(())
            }
            Ok(Some(message)) => {
                self.out
                    .blocked("Node", "", name, "its volumes are not detached yet");
                self.out.again_after(self.now, drain::RETRY);
                Err(Deletion::at("WaitingForVolumeDetach", message))
            }
            Err(error) => Err(self.volumes_failed(name, &error)),
        }
    }

    fn volumes_failed(&mut self, node: &str, error: &str) -> Deletion {
        self.out.errors.push(error.to_owned());
        self.out.events.push(Event::warning(
            "FailedWaitForVolumeDetach",
            format!("error waiting for node volumes detaching, Machine's node {node:?}: {error}"),
        ));
        Deletion::at(
            "WaitingForVolumeDetach",
            "Error waiting for volumes to be detached from Node, please check controller logs for \
             errors",
        )
    }

    /// The Node by name: asked for when nobody looked yet; `None` when it is gone.
    fn inspect(
        &mut self,
        name: &str,
        waiting: &dyn Fn() -> Deletion,
        failed: fn(&mut Self, &str, &str) -> Deletion,
    ) -> Step<Option<&'a Node>> {
        let facts = self.facts;
        match &facts.deletion.node {
            NodeLookup::Found(node) => Ok(Some(node)),
            NodeLookup::NotFound => Ok(None),
            NodeLookup::NotLooked => {
                self.out.actions.push(Action::InspectNode {
                    node: name.to_owned(),
                });
                Err(waiting())
            }
            NodeLookup::NotConnected => Err(failed(
                self,
                name,
                "connection to the workload cluster is down",
            )),
            NodeLookup::Failed(error) => Err(failed(self, name, error)),
        }
    }

    /// Deletes an external object and waits until it is gone.
    fn external(
        &mut self,
        lookup: &Lookup<&ExternalObject>,
        kind: &str,
        reason: &'static str,
    ) -> Step {
        let object = match lookup {
            Lookup::NotFound | Lookup::NotReferenced => return Ok(()),
            Lookup::Failed(_) => None, // told by the condition of that object
            Lookup::Found(object) => Some(object),
        };
        if let Some(object) = object {
            let namespace = object.metadata.namespace.clone();
            let reference = ObjectRef::of(object);
            let failed = self.facts.failures.iter().any(|failure| {
                matches!(&failure.action, Action::Delete { object } if *object == reference)
            });
            if failed {
                let message =
                    format!("Failed to delete {kind}, please check controller logs for errors");
                return Err(Deletion::at("InternalError", message));
            }
            self.out.blocked(
                kind,
                &namespace,
                &object.metadata.name,
                "it is being deleted",
            );
            if !object.is_deleting() {
                self.out.actions.push(Action::Delete { object: reference });
            }
        }
        Err(Deletion::at(
            reason,
            format!("Waiting for {kind} to be deleted"),
        ))
    }

    /// Deletes the Node, once the host is gone.
    fn delete_node(&mut self, name: &str) -> Step {
        match &self.facts.deletion.node_deletion {
            Some(Ok(())) => Ok(()),
            None => {
                self.out.actions.push(Action::DeleteNode {
                    node: name.to_owned(),
                });
                Err(Deletion::at(
                    "DeletingNode",
                    format!("Deleting Node {name}"),
                ))
            }
            Some(Err(error)) => {
                self.out.events.push(Event::warning(
                    "FailedDeleteNode",
                    format!("error deleting Machine's Node: {error}"),
                ));
                let limit = self
                    .spec
                    .deletion
                    .node_deletion_timeout_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs);
                let since = self.metadata().deletion_timestamp.unwrap_or_default();
                let passed = Duration::try_from(self.now.duration_since(since.timestamp()))
                    .unwrap_or_default();
                if limit.is_some_and(|limit| passed >= limit) {
                    return Ok(()); // go on without
                }
                self.out.errors.push(error.clone());
                Err(Deletion::at(
                    "DeletingNode",
                    "Error deleting Node, please check controller logs for errors",
                ))
            }
        }
    }
}
