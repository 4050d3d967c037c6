//! Counts of a Cluster's machines.

use super::{Descendants, Lookup, MachineFacts, ReplicasFacts, Work};
use crate::{
    api::{StatusVersion, cluster::CLUSTER},
    contract::{ContractVersion, ControlPlaneView, Field, Metadata},
    plan::{
        condition::{is_true, types},
        ownership,
        version::{MachineVersion, aggregate_versions, versions_of_machines},
    },
};

/// Counts that are there only when somebody reports them.
#[derive(Clone, Copy, Default)]
struct Counts {
    desired: Option<i32>,
    replicas: Option<i32>,
    ready: Option<i32>,
    available: Option<i32>,
    up_to_date: Option<i32>,
}

fn add(total: &mut Option<i32>, more: Option<i32>) {
    if let Some(more) = more {
        *total = Some(total.unwrap_or(0).saturating_add(more));
    }
}

impl Counts {
    fn add(&mut self, set: &ReplicasFacts) {
        add(&mut self.desired, set.desired);
        add(&mut self.replicas, set.replicas);
        add(&mut self.ready, set.ready);
        add(&mut self.available, set.available);
        add(&mut self.up_to_date, set.up_to_date);
    }

    /// A machine of its own: that it exists says that it is wanted.
    fn add_machine(&mut self, machine: &MachineFacts) {
        let count = |type_| is_true(&machine.status.conditions, type_).then_some(1);
        add(&mut self.desired, Some(1));
        add(&mut self.replicas, Some(1));
        add(&mut self.ready, count(types::READY));
        add(&mut self.available, count(types::AVAILABLE));
        add(&mut self.up_to_date, count(types::UP_TO_DATE));
    }
}

fn versions<'a>(machines: impl Iterator<Item = &'a MachineFacts>) -> Vec<StatusVersion> {
    versions_of_machines(machines.map(|machine| {
        MachineVersion {
            created: machine.metadata.creation_timestamp,
            name: &machine.metadata.name,
            kubelet: machine
                .status
                .node_info
                .as_ref()
                .map(|info| info.kubelet_version.as_str()),
            wanted: machine.version.as_deref(),
        }
    }))
}

impl Work<'_> {
    pub(super) fn is_owned(&self, object: &Metadata) -> bool {
        let cluster = &self.facts.cluster.metadata.name;
        ownership::is_owned_by(
            &object.owner_references,
            CLUSTER.group,
            CLUSTER.kind,
            cluster,
        )
    }

    pub(super) fn counters(&mut self) {
        self.count_control_plane();
        if let Some(descendants) = &self.facts.descendants {
            self.count_workers(descendants);
        }
    }

    /// What the control plane object reports, where it reports something; else a count of the
    /// control plane machines.
    fn count_control_plane(&mut self) {
        let facts = self.facts;
        if self.control_plane_ref().is_some() || self.spec.topology.is_some() {
            match &facts.control_plane {
                Lookup::Found(control_plane) => self.copy_control_plane(control_plane),
                _ => self.set_control_plane(Counts::default(), Vec::new()),
            }
            return;
        }
        let Some(descendants) = &facts.descendants else {
            return;
        };
        let machines = || descendants.machines.iter().filter(|m| m.is_control_plane());
        let mut counts = Counts::default();
        machines().for_each(|machine| counts.add_machine(machine));
        self.set_control_plane(counts, versions(machines()));
    }

    fn set_control_plane(&mut self, counts: Counts, versions: Vec<StatusVersion>) {
        let status = &mut self.status.control_plane;
        status.desired_replicas = counts.desired;
        status.replicas = counts.replicas;
        status.ready_replicas = counts.ready;
        status.available_replicas = counts.available;
        status.up_to_date_replicas = counts.up_to_date;
        status.versions = versions;
    }

    fn copy_control_plane(&mut self, view: &ControlPlaneView) {
        let status = &mut self.status.control_plane;
        let copy = |to: &mut Option<i32>, from: &Field<i32>| {
            if let Some(value) = from.get() {
                *to = Some(*value);
            }
        };
        copy(&mut status.desired_replicas, &view.desired_replicas);
        copy(&mut status.replicas, &view.replicas);
        copy(&mut status.ready_replicas, &view.ready_replicas);
        copy(&mut status.up_to_date_replicas, &view.up_to_date_replicas);
        match view.object.contract {
            ContractVersion::V1Beta2 => {
                copy(&mut status.available_replicas, &view.available_replicas);
            }
            ContractVersion::V1Beta1 => {
                if let (Some(unavailable), Some(desired)) =
                    (view.unavailable_replicas.get(), status.desired_replicas)
                {
                    status.available_replicas = Some(desired.saturating_sub(*unavailable).max(0));
                }
            }
        }
        match &view.versions {
            Field::Present(versions) => status.versions.clone_from(versions),
            Field::Absent => status.versions.clear(),
            Field::Malformed(_) => {}
        }
    }

    /// Pools, deployments, sets and machines of their own.
    fn count_workers(&mut self, descendants: &Descendants) {
        let mut counts = Counts::default();
        let sets = descendants
            .machine_sets
            .iter()
            .filter(|set| self.is_owned(&set.metadata));
        let groups: Vec<&ReplicasFacts> = descendants
            .machine_pools
            .iter()
            .chain(&descendants.machine_deployments)
            .chain(sets)
            .collect();
        groups.iter().for_each(|group| counts.add(group));
        let machines: Vec<&MachineFacts> = descendants
            .machines
            .iter()
            .filter(|m| !m.is_control_plane() && !m.is_of_pool() && self.is_owned(&m.metadata))
            .collect();
        machines
            .iter()
            .for_each(|machine| counts.add_machine(machine));
        let standalone = versions(machines.into_iter());
        let versions = aggregate_versions(
            groups
                .iter()
                .flat_map(|group| &group.versions)
                .chain(&standalone),
        );
        let status = &mut self.status.workers;
        status.desired_replicas = counts.desired;
        status.replicas = counts.replicas;
        status.ready_replicas = counts.ready;
        status.available_replicas = counts.available;
        status.up_to_date_replicas = counts.up_to_date;
        status.versions = versions;
    }
}
