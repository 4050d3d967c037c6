//! The order in which a Cluster's objects go: workers, then the control plane, then the
//! infrastructure, then the Cluster.
//!
//! Machines of a control plane object are never deleted here; that is the object's own matter.

use std::{borrow::Cow, time::Duration};

use crate::{
    api::{
        annotations, cluster::CLUSTER, finalizers, machine::MACHINE,
        machine_deployment::MACHINE_DEPLOYMENT, machine_set::MACHINE_SET,
    },
    contract::{ExternalObject, Metadata},
    plan::{
        Action, Event, ObjectRef,
        cluster::{Lookup, Work},
        condition::CHECK_LOGS,
        delete::machine::Deletion,
        drain::shortened,
        ownership,
    },
};

/// When to look again while descendants are still there.
const RETRY: Duration = Duration::from_secs(5);

type Step = Result<(), Deletion>;

fn at(reason: &'static str, message: impl Into<String>) -> Deletion {
    Deletion {
        reason: Cow::Borrowed(reason),
        message: message.into(),
    }
}

impl Deletion {
    /// Plans the next step of deleting a Cluster.
    pub(in crate::plan) fn of_cluster(work: &mut Work<'_>) -> Self {
        match work.take_down() {
            Ok(()) => {
                let current = &work.facts.cluster.metadata;
                work.out
                    .metadata
                    .remove_finalizer(current, finalizers::CLUSTER);
                work.out.events.push(Event::normal(
                    "Deleted",
                    format!("Cluster {} has been deleted", current.name),
                ));
                at("DeletionCompleted", "Deletion completed")
            }
            Err(waiting) => waiting,
        }
    }
}

impl Work<'_> {
    fn take_down(&mut self) -> Step {
        let facts = self.facts;
        let waits_for_hook = facts.settings.topology_hooks
            && self.spec.topology.is_some()
            && !facts
                .cluster
                .metadata
                .has_annotation(annotations::OK_TO_DELETE);
        if waits_for_hook {
            return Err(at(
                "WaitingForBeforeDeleteHook",
                "Waiting for BeforeClusterDelete hook",
            ));
        }
        if facts.descendants.is_none() {
            return Err(at("InternalError", CHECK_LOGS));
        }
        self.descendants()?;
        let control_plane = self.spec.control_plane_ref.clone();
        if let Some(reference) = control_plane.filter(|r| r.is_defined()) {
            let object = facts.control_plane.as_ref().map(|c| &c.object);
            self.external(&object, &reference.kind, "WaitingForControlPlaneDeletion")?;
        }
        let infrastructure = self.spec.infrastructure_ref.clone();
        if let Some(reference) = infrastructure.filter(|r| r.is_defined()) {
            let object = facts.infra_cluster.as_ref().map(|i| &i.object);
            self.external(&object, &reference.kind, "WaitingForInfrastructureDeletion")?;
        }
        Ok(())
    }

    /// Deletes what the Cluster owns, and waits until no descendant is left, owned or not.
    fn descendants(&mut self) -> Step {
        let facts = self.facts;
        let Some(descendants) = &facts.descendants else {
            return Ok(());
        };
        let cluster = &facts.cluster.metadata.name;
        let standalone = !self
            .spec
            .control_plane_ref
            .as_ref()
            .is_some_and(|reference| reference.is_defined());
        let (mut control_plane, mut workers) = (Vec::new(), Vec::new());
        for machine in &descendants.machines {
            if machine.is_control_plane() {
                control_plane.push(&machine.metadata);
            } else {
                workers.push(&machine.metadata);
            }
        }
        if !standalone {
            control_plane.clear();
        }
        let pools = descendants.machine_pools.iter().map(|p| &p.metadata);
        let deployments = descendants.machine_deployments.iter().map(|d| &d.metadata);
        let sets = descendants.machine_sets.iter().map(|s| &s.metadata);
        let pool = ("MachinePool", MACHINE.api_version());
        let groups: [(&str, (&str, String), Vec<&Metadata>); 5] = [
            ("MachinePools", pool, pools.collect()),
            (
                "MachineDeployments",
                (MACHINE_DEPLOYMENT.kind, MACHINE_DEPLOYMENT.api_version()),
                deployments.collect(),
            ),
            (
                "MachineSets",
                (MACHINE_SET.kind, MACHINE_SET.api_version()),
                sets.collect(),
            ),
            (
                "Worker Machines",
                (MACHINE.kind, MACHINE.api_version()),
                workers,
            ),
            (
                "Control plane Machines",
                (MACHINE.kind, MACHINE.api_version()),
                control_plane,
            ),
        ];
        if groups.iter().all(|(_, _, objects)| objects.is_empty()) {
            return Ok(());
        }
        for (_, (kind, api_version), objects) in &groups {
            let mut owned: Vec<&Metadata> = objects
                .iter()
                .copied()
                .filter(|object| {
                    !object.is_deleting()
                        && ownership::is_owned_by(
                            &object.owner_references,
                            CLUSTER.group,
                            CLUSTER.kind,
                            cluster,
                        )
                })
                .collect();
            owned.sort_by(|a, b| a.name.cmp(&b.name));
            for object in owned {
                self.delete(ObjectRef {
                    api_version: api_version.clone(),
                    kind: (*kind).to_owned(),
                    namespace: object.namespace.clone(),
                    name: object.name.clone(),
                    uid: object.uid.clone(),
                })?;
            }
        }
        let order = [4, 1, 2, 0, 3];
        let mut lines = Vec::new();
        for (what, (kind, _), objects) in order.into_iter().filter_map(|i| groups.get(i)) {
            if objects.is_empty() {
                continue;
            }
            let mut names: Vec<&str> = objects.iter().map(|o| o.name.as_str()).collect();
            names.sort_unstable();
            lines.push(format!("* {what}: {}", shortened(&names, 5)));
            let namespace = facts.cluster.metadata.namespace.clone();
            self.out
                .blocked(kind, &namespace, &shortened(&names, 5), "to be deleted");
        }
        self.out.again_after(self.now, RETRY);
        Err(at("WaitingForWorkersDeletion", lines.join("\n")))
    }

    /// Deletes an object unless that was tried and failed.
    fn delete(&mut self, object: ObjectRef) -> Step {
        let failed =
            self.facts.failures.iter().any(
                |failure| matches!(&failure.action, Action::Delete { object: o } if *o == object),
            );
        if failed {
            return Err(at("InternalError", CHECK_LOGS));
        }
        self.out.actions.push(Action::Delete { object });
        Ok(())
    }

    fn external(
        &mut self,
        lookup: &Lookup<&ExternalObject>,
        kind: &str,
        reason: &'static str,
    ) -> Step {
        match lookup {
            Lookup::NotFound => Ok(()),
            Lookup::Failed(_) | Lookup::NotReferenced => Err(at("InternalError", CHECK_LOGS)),
            Lookup::Found(object) => {
                let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
                if !object.is_deleting() {
                    self.delete(ObjectRef::of(object))?;
                }
                self.out.blocked(kind, namespace, name, "to be deleted");
                Err(at(reason, format!("Waiting for {kind} to be deleted")))
            }
        }
    }
}
