//! Conditions of a Cluster, in upstream's order and words.

use std::time::Duration;

use super::{Descendants, Lookup, MachineFacts, ReplicasFacts, Work};
use crate::{
    api::{Condition, ConditionPolarity, ConditionStatus},
    contract::Field,
    plan::{
        condition::{
            Aggregate, Conditions, MergePriority, MergeStrategy, Owner, Reasons, Reported, Summary,
            Wanted, find, is_false, types,
        },
        delete::machine::Deletion,
        drain::shortened,
        legacy::{self, LegacyConditions, Severity},
        machine::{ExternalCondition, elapsed, seen},
    },
};

const MACHINE: &str = "Machine";
const WAITING_FOR_TOPOLOGY: &str = "Waiting for cluster topology to be reconciled";

impl Work<'_> {
    /// Phase, counters and conditions.
    pub(super) fn status(&mut self, paused: Wanted, deletion: Option<Deletion>) {
        self.phase();
        self.counters();
        let mut list = Conditions::new(
            std::mem::take(&mut self.status.conditions),
            self.generation(),
            self.now,
        );
        list.set(paused);
        self.remote_connection_probe(&mut list);
        list.set(self.infrastructure_ready());
        list.set(self.control_plane_available());
        if !list.is_true(types::CONTROL_PLANE_INITIALIZED) {
            list.set(self.control_plane_initialized());
        }
        list.set(self.workers_available());
        for wanted in self.machines_conditions() {
            list.set(wanted);
        }
        for wanted in self.operations() {
            list.set(wanted);
        }
        list.set(self.remediating());
        list.set(match deletion {
            Some(deletion) => {
                Wanted::is_true(types::DELETING, deletion.reason).message(deletion.message)
            }
            None if self.is_deleting() => Wanted::is_true(types::DELETING, "Deleting"),
            None => Wanted::is_false(types::DELETING, "NotDeleting"),
        });
        list.set(self.available(&list));
        self.legacy_conditions();
        self.status.conditions = list.into_vec();
        if self.out.errors.is_empty() && self.facts.failures.is_empty() {
            self.status.observed_generation = Some(self.generation()).filter(|g| *g > 0);
        }
    }

    /// The conditions that providers of the v1beta1 contract read, such as
    /// `ControlPlaneInitialized`.
    fn legacy_conditions(&mut self) {
        const INFRASTRUCTURE: &str = "InfrastructureReady";
        const CONTROL_PLANE: &str = "ControlPlaneReady";
        const INITIALIZED: &str = "ControlPlaneInitialized";
        let facts = self.facts;
        let deleting = self.is_deleting();
        let deprecated = std::mem::take(&mut self.status.deprecated.v1beta1.conditions);
        let mut list = LegacyConditions::new(deprecated, self.now);
        let gone = |type_| legacy::is_false(type_, Severity::Info, "Deleted", "");
        match (&facts.infra_cluster, self.infrastructure_ref()) {
            (_, None) if !deleting => list.set(legacy::is_true(INFRASTRUCTURE)),
            (Lookup::Found(infra), Some(_)) => {
                let provisioned = infra.provisioned.get() == Some(&true);
                let (fallback, reason) = if deleting {
                    (false, "Deleting")
                } else {
                    (provisioned, "WaitingForInfrastructure")
                };
                let ready = &infra.legacy_ready;
                list.set(legacy::mirror(ready, INFRASTRUCTURE, fallback, reason));
            }
            (Lookup::NotFound, Some(_)) if deleting => list.set(gone(INFRASTRUCTURE)),
            _ => {}
        }
        match (&facts.control_plane, self.control_plane_ref()) {
            (Lookup::Found(control_plane), Some(_)) => {
                let initialized = control_plane.initialized.get() == Some(&true);
                let (fallback, reason) = if deleting {
                    (false, "Deleting")
                } else {
                    (initialized, "WaitingForControlPlane")
                };
                let ready = &control_plane.legacy_ready;
                list.set(legacy::mirror(ready, CONTROL_PLANE, fallback, reason));
                let known = list.is_true(INITIALIZED) || control_plane.object.is_deleting();
                if initialized && !known {
                    list.set(legacy::is_true(INITIALIZED));
                } else if !known {
                    list.set(legacy::is_false(
                        INITIALIZED,
                        Severity::Info,
                        "WaitingForControlPlaneProviderInitialized",
                        "Waiting for control plane provider to indicate the control plane has \
                         been initialized",
                    ));
                }
            }
            (Lookup::NotFound, Some(_)) if deleting => list.set(gone(CONTROL_PLANE)),
            (_, None) if !deleting && !list.is_true(INITIALIZED) => {
                let machines = facts.descendants.iter().flat_map(|d| &d.machines);
                let has_node = machines.into_iter().any(|machine| {
                    machine.is_control_plane()
                        && !machine.metadata.is_deleting()
                        && machine.status.node_ref.is_some()
                });
                list.set(if has_node {
                    legacy::is_true(INITIALIZED)
                } else {
                    legacy::is_false(
                        INITIALIZED,
                        Severity::Info,
                        "MissingNodeRef",
                        "Waiting for the first control plane machine to have its status.nodeRef \
                         set",
                    )
                });
            }
            _ => {}
        }
        list.summarize(&[CONTROL_PLANE, INFRASTRUCTURE], None);
        self.status.deprecated.v1beta1.conditions = list.into_vec();
    }

    fn remote_connection_probe(&self, list: &mut Conditions) {
        let connection = self.facts.connection;
        let failed = |message: String| {
            Wanted::is_false(types::REMOTE_CONNECTION_PROBE, "ProbeFailed").message(message)
        };
        if connection.is_untried() {
            if !list.has(types::REMOTE_CONNECTION_PROBE) {
                list.set(failed("Remote connection not established yet".to_owned()));
            }
            return;
        }
        let grace = self.facts.settings.remote_connection_grace_period;
        list.set(match connection.last_probe_success {
            None => failed("Remote connection probe failed".to_owned()),
            Some(time) if elapsed(time, self.now) > grace => failed(format!(
                "Remote connection probe failed, probe last succeeded at {time}"
            )),
            Some(_) => Wanted::is_true(types::REMOTE_CONNECTION_PROBE, "ProbeSucceeded"),
        });
    }

    /// What a Cluster made from a class says while its objects are not made yet.
    fn waiting_for_topology(&self, type_: &'static str, status: ConditionStatus) -> Wanted {
        let message = if self.is_deleting() {
            ""
        } else {
            WAITING_FOR_TOPOLOGY
        };
        Wanted::new(type_, status, "ObjectDoesNotExist").message(message)
    }

    fn infrastructure_ready(&self) -> Wanted {
        let target = types::INFRASTRUCTURE_READY;
        let Some(reference) = self.infrastructure_ref() else {
            if self.spec.topology.is_some() {
                return self.waiting_for_topology(target, ConditionStatus::False);
            }
            // There is nothing to wait for; upstream reports Unknown here, for ever.
            return Wanted::is_true(target, "Ready");
        };
        ExternalCondition {
            target,
            kind: &reference.kind,
            field: "status.initialization.provisioned",
            positive: "Ready",
            negative: "NotReady",
            latched: self.status.initialization.infrastructure_provisioned == Some(true),
            owner_deleting: self.is_deleting(),
            while_exists: Some("cluster"),
        }
        .of(seen(&self.facts.infra_cluster, |infra| &infra.ready))
    }

    fn control_plane_available(&self) -> Wanted {
        let target = types::CONTROL_PLANE_AVAILABLE;
        let Some(reference) = self.control_plane_ref() else {
            if self.spec.topology.is_some() {
                return self.waiting_for_topology(target, ConditionStatus::False);
            }
            return self.standalone_control_plane_available();
        };
        let available: Lookup<Field<Condition>> = self
            .facts
            .control_plane
            .as_ref()
            .map(|control_plane| control_plane.condition(types::AVAILABLE));
        ExternalCondition {
            target,
            kind: &reference.kind,
            field: "status.initialization.controlPlaneInitialized",
            positive: "Available",
            negative: "NotAvailable",
            latched: self.status.initialization.control_plane_initialized == Some(true),
            owner_deleting: self.is_deleting(),
            while_exists: Some("cluster"),
        }
        .of(seen(&available, |field| field))
    }

    /// Without a control plane object, the control plane machines tell. (Upstream reports Unknown.)
    fn standalone_control_plane_available(&self) -> Wanted {
        let target = types::CONTROL_PLANE_AVAILABLE;
        let Some(descendants) = &self.facts.descendants else {
            return Wanted::internal_error(target);
        };
        let machines = descendants.machines.iter().filter(|m| m.is_control_plane());
        Aggregate {
            source: types::AVAILABLE,
            target,
            strategy: MergeStrategy {
                reasons: Reasons {
                    issue: "NotAvailable",
                    unknown: "AvailableUnknown",
                    info: "Available",
                },
                ..MergeStrategy::default()
            },
        }
        .of(machines.map(reported_machine))
        .unwrap_or_else(|| {
            Wanted::is_false(target, "NotAvailable")
                .message("There are no control plane machines yet")
        })
    }

    fn control_plane_initialized(&self) -> Wanted {
        let target = types::CONTROL_PLANE_INITIALIZED;
        if let Some(reference) = self.control_plane_ref() {
            return match &self.facts.control_plane {
                Lookup::NotFound => Wanted::unknown(target, "ObjectDoesNotExist")
                    .message(format!("{} does not exist", reference.kind)),
                Lookup::Found(control_plane) => match control_plane.initialized.as_result() {
                    Ok(Some(true)) => Wanted::is_true(target, "Initialized"),
                    Ok(_) => Wanted::is_false(target, "NotInitialized")
                        .message("Control plane not yet initialized"),
                    Err(_) => Wanted::internal_error(target),
                },
                _ => Wanted::internal_error(target),
            };
        }
        if self.spec.topology.is_some() {
            return self.waiting_for_topology(target, ConditionStatus::Unknown);
        }
        let Some(descendants) = &self.facts.descendants else {
            return Wanted::internal_error(target);
        };
        let has_node = descendants
            .machines
            .iter()
            .any(|m| m.is_control_plane() && m.status.node_ref.is_some());
        if has_node {
            Wanted::is_true(target, "Initialized")
        } else {
            Wanted::is_false(target, "NotInitialized")
                .message("Waiting for the first control plane machine to have status.nodeRef set")
        }
    }

    fn workers_available(&self) -> Wanted {
        let target = types::WORKERS_AVAILABLE;
        let Some(descendants) = &self.facts.descendants else {
            return Wanted::internal_error(target);
        };
        Aggregate {
            source: types::AVAILABLE,
            target,
            strategy: MergeStrategy {
                reasons: Reasons {
                    issue: "NotAvailable",
                    unknown: "AvailableUnknown",
                    info: "Available",
                },
                ..MergeStrategy::default()
            },
        }
        .of(descendants
            .machine_deployments
            .iter()
            .map(|d| reported("MachineDeployment", d)))
        .unwrap_or_else(|| Wanted::is_true(target, "NoWorkers"))
    }

    /// Ready and UpToDate of the machines, control plane and workers apart.
    fn machines_conditions(&self) -> [Wanted; 4] {
        const READY: Reasons = Reasons {
            issue: "NotReady",
            unknown: "ReadyUnknown",
            info: "Ready",
        };
        const UP_TO_DATE: Reasons = Reasons {
            issue: "NotUpToDate",
            unknown: "UpToDateUnknown",
            info: "UpToDate",
        };
        // It takes a moment until a new machine has its condition.
        let settled = |machine: &&MachineFacts| {
            let created = machine.metadata.creation_timestamp;
            find(&machine.status.conditions, types::UP_TO_DATE).is_some()
                || elapsed(created, self.now) > Duration::from_secs(10)
        };
        let of = |target, source, reasons, control_plane: bool| {
            let Some(machines) = self.machines(control_plane) else {
                return Wanted::internal_error(target);
            };
            Aggregate {
                source,
                target,
                strategy: MergeStrategy {
                    reasons,
                    ..MergeStrategy::default()
                },
            }
            .of(machines
                .filter(|machine| source == types::READY || settled(machine))
                .map(reported_machine))
            .unwrap_or_else(|| Wanted::is_true(target, "NoReplicas"))
        };
        [
            of(
                types::CONTROL_PLANE_MACHINES_READY,
                types::READY,
                READY,
                true,
            ),
            of(types::WORKER_MACHINES_READY, types::READY, READY, false),
            of(
                types::CONTROL_PLANE_MACHINES_UP_TO_DATE,
                types::UP_TO_DATE,
                UP_TO_DATE,
                true,
            ),
            of(
                types::WORKER_MACHINES_UP_TO_DATE,
                types::UP_TO_DATE,
                UP_TO_DATE,
                false,
            ),
        ]
    }

    /// Machines of the control plane, or workers without those of pools.
    fn machines(&self, control_plane: bool) -> Option<impl Iterator<Item = &MachineFacts>> {
        let descendants = self.facts.descendants.as_ref()?;
        Some(descendants.machines.iter().filter(move |machine| {
            machine.is_control_plane() == control_plane && (control_plane || !machine.is_of_pool())
        }))
    }

    /// RollingOut, ScalingUp, ScalingDown of the control plane (if it reports them) and workers.
    fn operations(&self) -> [Wanted; 3] {
        let of = |type_: &'static str, reasons: Reasons, sets: bool| {
            let unreadable = self.control_plane_ref().is_some()
                && !matches!(
                    self.facts.control_plane,
                    Lookup::Found(_) | Lookup::NotFound
                );
            let (Some(descendants), false) = (&self.facts.descendants, unreadable) else {
                return Wanted::internal_error(type_);
            };
            Aggregate {
                source: type_,
                target: type_,
                strategy: MergeStrategy {
                    negative_polarity: &[type_],
                    negative_target: true,
                    reasons,
                    ..MergeStrategy::default()
                },
            }
            .of(self.reporting(descendants, type_, sets))
            .unwrap_or_else(|| Wanted::is_false(type_, reasons.info))
        };
        let reasons = |issue, unknown, info| Reasons {
            issue,
            unknown,
            info,
        };
        [
            of(
                types::ROLLING_OUT,
                reasons("RollingOut", "RollingOutUnknown", "NotRollingOut"),
                false,
            ),
            of(
                types::SCALING_UP,
                reasons("ScalingUp", "ScalingUpUnknown", "NotScalingUp"),
                true,
            ),
            of(
                types::SCALING_DOWN,
                reasons("ScalingDown", "ScalingDownUnknown", "NotScalingDown"),
                true,
            ),
        ]
    }

    /// Who reports on an operation.
    fn reporting<'b>(
        &'b self,
        descendants: &'b Descendants,
        type_: &str,
        sets: bool,
    ) -> Vec<Reported<'b>> {
        let mut all = Vec::new();
        if let Some(control_plane) = self.facts.control_plane.found()
            && let Field::Present(conditions) = &control_plane.conditions
            && find(conditions, type_).is_some()
        {
            all.push(Reported {
                owner: Owner {
                    kind: &control_plane.object.kind,
                    name: &control_plane.object.metadata.name,
                    control_plane_machine: false,
                },
                conditions,
            });
        }
        let deployments = descendants.machine_deployments.iter();
        all.extend(deployments.map(|d| reported("MachineDeployment", d)));
        if sets {
            let standalone = descendants
                .machine_sets
                .iter()
                .filter(|set| self.is_owned(&set.metadata));
            all.extend(standalone.map(|set| reported("MachineSet", set)));
        }
        all
    }

    fn remediating(&self) -> Wanted {
        let target = types::REMEDIATING;
        let Some(descendants) = &self.facts.descendants else {
            return Wanted::internal_error(target);
        };
        let unhealthy: Vec<&MachineFacts> = descendants
            .machines
            .iter()
            .filter(|m| {
                !m.is_of_pool() && is_false(&m.status.conditions, types::HEALTH_CHECK_SUCCEEDED)
            })
            .collect();
        let remediated = unhealthy
            .iter()
            .filter(|m| is_false(&m.status.conditions, types::OWNER_REMEDIATED));
        let aggregate = Aggregate {
            source: types::OWNER_REMEDIATED,
            target,
            strategy: MergeStrategy::default(),
        }
        .of(remediated.map(|machine| reported_machine(machine)));
        match aggregate {
            Some(aggregate) => Wanted::is_true(target, "Remediating").message(aggregate.message),
            None => Wanted::is_false(target, "NotRemediating").message(not_remediated(&unhealthy)),
        }
    }

    fn available(&self, list: &Conditions) -> Wanted {
        let mut in_scope = vec![
            types::DELETING,
            types::REMOTE_CONNECTION_PROBE,
            types::INFRASTRUCTURE_READY,
            types::CONTROL_PLANE_AVAILABLE,
            types::WORKERS_AVAILABLE,
            types::TOPOLOGY_RECONCILED,
        ];
        let mut negative = vec![types::DELETING];
        let gates = if self.spec.availability_gates.is_empty() {
            &self.facts.class_availability_gates
        } else {
            &self.spec.availability_gates
        };
        for gate in gates {
            in_scope.push(&gate.condition_type);
            if gate.polarity == Some(ConditionPolarity::Negative) {
                negative.push(&gate.condition_type);
            }
        }
        let deleting = self.is_deleting();
        let tolerated = |condition: &Condition| {
            let reason = condition.reason.as_str();
            let info = match condition.type_.as_str() {
                types::INFRASTRUCTURE_READY | types::CONTROL_PLANE_AVAILABLE => {
                    deleting && matches!(reason, "ObjectDeleted" | "ObjectDoesNotExist")
                }
                types::TOPOLOGY_RECONCILED => {
                    condition.status == ConditionStatus::False
                        && !matches!(reason, "ReconcileFailed" | "ClusterClassNotReconciled")
                }
                _ => false,
            };
            info.then_some(MergePriority::Info)
        };
        let ignored: &[&str] = if self.spec.topology.is_some() {
            &[]
        } else {
            &[types::TOPOLOGY_RECONCILED]
        };
        Summary {
            target: types::AVAILABLE,
            types: &in_scope,
            ignore_if_missing: ignored,
            overrides: &[],
            strategy: MergeStrategy {
                negative_polarity: &negative,
                reasons: Reasons {
                    issue: "NotAvailable",
                    unknown: "AvailableUnknown",
                    info: "Available",
                },
                priority: Some(&tolerated),
                ..MergeStrategy::default()
            },
        }
        .of(list.as_slice())
        .unwrap_or_else(|| Wanted::internal_error(types::AVAILABLE))
    }
}

fn reported_machine(machine: &MachineFacts) -> Reported<'_> {
    Reported {
        owner: Owner {
            kind: MACHINE,
            name: &machine.metadata.name,
            control_plane_machine: machine.is_control_plane(),
        },
        conditions: &machine.status.conditions,
    }
}

fn reported<'a>(kind: &'a str, object: &'a ReplicasFacts) -> Reported<'a> {
    Reported {
        owner: Owner {
            kind,
            name: &object.metadata.name,
            control_plane_machine: false,
        },
        conditions: &object.conditions,
    }
}

/// Machines that are not healthy and that nobody is going to replace.
fn not_remediated(machines: &[&MachineFacts]) -> String {
    let mut names: Vec<&str> = machines.iter().map(|m| m.metadata.name.as_str()).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("Machine {one} is not healthy (not to be remediated)"),
        many => format!(
            "Machines {} are not healthy (not to be remediated)",
            shortened(many, 3)
        ),
    }
}
