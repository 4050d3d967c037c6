//! A world of one MachineDeployment: sets and machines that do what the planners want.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{
        Bootstrap, Condition, ConditionStatus, ContractVersionedObjectReference, IntOrString,
        MachineDeletionOrder, MachineNodeReference, MachineSetSpec, MachineSetStatus, MachineSpec,
        MachineStatus, RolloutStrategy, Time,
    },
    contract::{Metadata, Object},
    plan::{
        machine_set::{self, MachineSetAction, MachineSetFacts, MachineSetPlan, OwnedFields},
        naming::{Seed, machine_name},
        rollout::{
            self, Deployment, MachineDeploymentAction, MachineDeploymentFacts,
            MachineDeploymentPlan, SetFacts,
        },
        set_status::OwningCluster,
        tally::Tally,
        up_to_date::template_differences,
    },
};

pub(super) type Machine = Object<MachineSpec, MachineStatus>;
pub(super) type Set = Object<MachineSetSpec, MachineSetStatus>;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(super) fn reference(kind: &str, name: &str) -> ContractVersionedObjectReference {
    ContractVersionedObjectReference {
        kind: kind.into(),
        name: name.into(),
        api_group: "example.org".into(),
    }
}

pub(super) fn condition(type_: &str, status: ConditionStatus, message: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        reason: type_.into(),
        message: message.into(),
        ..Condition::default()
    }
}

pub(super) fn set_condition(conditions: &mut Vec<Condition>, new: Condition) {
    conditions.retain(|old| old.type_ != new.type_);
    conditions.push(new);
}

pub(super) fn cluster() -> OwningCluster {
    OwningCluster {
        name: "c".into(),
        uid: "cluster-uid".into(),
        paused: false,
    }
}

/// A deployment as a user writes it.
pub(super) fn deployment(
    replicas: i32,
    surge: IntOrString,
    unavailable: IntOrString,
) -> Deployment {
    let mut deployment = Deployment {
        metadata: Metadata {
            name: "md".into(),
            namespace: "default".into(),
            uid: "md-uid".into(),
            generation: 1,
            creation_timestamp: at(0).into(),
            ..Metadata::default()
        },
        ..Deployment::default()
    };
    let spec = &mut deployment.spec;
    spec.cluster_name = "c".into();
    spec.replicas = Some(replicas);
    let mut strategy = RolloutStrategy::default();
    strategy.rolling_update.max_surge = Some(surge);
    strategy.rolling_update.max_unavailable = Some(unavailable);
    spec.rollout.strategy = Some(strategy);
    spec.template.spec.cluster_name = "c".into();
    spec.template.spec.version = Some("v1.35.0".into());
    spec.template.spec.infrastructure_ref = reference("FakeMachineTemplate", "t1");
    spec.template.spec.bootstrap = Bootstrap {
        config_ref: Some(reference("FakeConfigTemplate", "b1")),
        ..Bootstrap::default()
    };
    deployment
}

/// Everything there is, and a generator for choices.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) deployment: Deployment,
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) machines: BTreeMap<String, Machine>,
    pub(super) order: MachineDeletionOrder,
    uids: u32,
    seed: u64,
    /// Writes so far.
    pub(super) writes: u32,
    /// Specs of sets after each write, as upstream's worked sequences note them.
    pub(super) sequence: Vec<String>,
}

impl World {
    pub(super) fn new(deployment: Deployment) -> Self {
        Self {
            now: at(0),
            deployment,
            sets: BTreeMap::new(),
            machines: BTreeMap::new(),
            order: MachineDeletionOrder::Random,
            uids: 0,
            seed: 1,
            writes: 0,
            sequence: Vec::new(),
        }
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    fn seed(&mut self) -> Seed {
        self.seed += 1;
        Seed::new(self.seed)
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self
            .now
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap();
    }

    pub(super) fn tally(&self, chosen: impl Fn(&Machine) -> bool, wanted: Option<&Set>) -> Tally {
        let mut tally = Tally::new("md-", self.order.clone());
        tally.advance(self.now);
        for machine in self.machines.values().filter(|machine| chosen(machine)) {
            let propagated = wanted.map_or(0, |set| propagated(set, machine));
            tally.apply(
                &machine.metadata,
                &machine.spec,
                &machine.status,
                propagated,
            );
        }
        tally
    }

    pub(super) fn deployment_facts(&self) -> MachineDeploymentFacts {
        let sets = self
            .sets
            .values()
            .map(|object| SetFacts {
                object: object.clone(),
                owned: OwnedFields::default(),
            })
            .collect();
        MachineDeploymentFacts {
            object: self.deployment.clone(),
            cluster: cluster(),
            sets,
            ..MachineDeploymentFacts::default()
        }
    }

    pub(super) fn plan_deployment(&mut self) -> MachineDeploymentPlan {
        let tally = self.tally(|_| true, None);
        let facts = self.deployment_facts();
        let seed = self.seed();
        rollout::plan(&facts, &tally, seed, self.now)
    }

    pub(super) fn set_facts(&self, name: &str) -> MachineSetFacts {
        let object = self.sets[name].clone();
        MachineSetFacts {
            propagated: machine_set::propagated_fields(&object).fingerprint(),
            object,
            cluster: cluster(),
            deployment: Some(machine_set::OwningDeployment {
                revision: self
                    .deployment
                    .metadata
                    .annotations
                    .get(crate::api::annotations::REVISION)
                    .cloned(),
                replicas: self.deployment.spec.replicas,
                max_in_flight: self.deployment.spec.remediation.max_in_flight.clone(),
            }),
            ..MachineSetFacts::default()
        }
    }

    pub(super) fn set_tally(&self, name: &str) -> Tally {
        let set = &self.sets[name];
        self.tally(|machine| owner(machine) == name, Some(set))
    }

    pub(super) fn plan_set(&mut self, name: &str) -> MachineSetPlan {
        machine_set::plan(&self.set_facts(name), &self.set_tally(name), self.now)
    }

    /// Plans the deployment and does what is wanted. True when something was written.
    pub(super) fn run_deployment(&mut self) -> bool {
        let plan = self.plan_deployment();
        assert_eq!(plan.errors, Vec::<String>::new());
        let idle = plan.is_idle();
        let metadata = &mut self.deployment.metadata;
        change_metadata(metadata, &plan.metadata);
        plan.spec.apply_to_deployment(&mut self.deployment.spec);
        if !plan.spec.is_empty() {
            self.deployment.metadata.generation += 1;
        }
        let scaled = !plan.actions.is_empty();
        for action in plan.actions {
            self.writes += 1;
            match action {
                MachineDeploymentAction::CreateSet { set, .. } => {
                    assert!(!self.sets.contains_key(&set.name));
                    let uid = self.uid();
                    let mut object = Set {
                        spec: set.spec,
                        ..Set::default()
                    };
                    object.metadata = Metadata {
                        name: set.name.clone(),
                        namespace: set.namespace,
                        uid,
                        generation: 1,
                        creation_timestamp: self.now.into(),
                        labels: set.labels,
                        annotations: set.annotations,
                        finalizers: set.finalizers,
                        owner_references: set.owner_references,
                        ..Metadata::default()
                    };
                    self.sets.insert(set.name, object);
                }
                MachineDeploymentAction::UpdateSet { set, .. } => {
                    let object = self.sets.get_mut(&set.name).unwrap();
                    assert_eq!(object.metadata.uid, set.uid);
                    if object.spec != set.spec {
                        object.metadata.generation += 1;
                        object.spec = set.spec;
                    }
                    object.metadata.labels.extend(set.labels);
                    object.metadata.annotations.extend(set.annotations);
                }
                MachineDeploymentAction::DeleteSet { name, .. } => {
                    let object = self.sets.get_mut(&name).unwrap();
                    object.metadata.deletion_timestamp = Some(self.now.into());
                }
                MachineDeploymentAction::OwnTemplate { .. } => panic!("templates are owned"),
            }
        }
        if scaled {
            let specs: Vec<String> = self
                .by_age()
                .iter()
                .map(|set| set.spec.replicas.unwrap().to_string())
                .collect();
            self.sequence.push(specs.join("/"));
        }
        if let Some(status) = plan.status {
            self.writes += 1;
            self.deployment.status = status;
        }
        if self.deployment.metadata.is_deleting() && self.deployment.metadata.finalizers.is_empty()
        {
            assert!(self.sets.is_empty());
        }
        !idle
    }

    pub(super) fn by_age(&self) -> Vec<&Set> {
        let mut sets: Vec<&Set> = self.sets.values().collect();
        sets.sort_by_key(|set| (set.metadata.creation_timestamp, set.metadata.uid.clone()));
        sets
    }

    /// Plans one set and does what is wanted. True when something was written.
    pub(super) fn run_set(&mut self, name: &str) -> bool {
        let tally = self.set_tally(name);
        let plan = machine_set::plan(&self.set_facts(name), &tally, self.now);
        assert_eq!(plan.errors, Vec::<String>::new());
        let idle = plan.is_idle();
        for action in plan.actions {
            match action {
                MachineSetAction::CreateMachines { count } => {
                    for _ in 0..count {
                        self.writes += 1;
                        self.create_machine(name);
                    }
                }
                MachineSetAction::DeleteMachines { machines } => {
                    for machine in machines {
                        self.writes += 1;
                        let machine = self
                            .machines
                            .get_mut(tally.symbols().name(machine))
                            .unwrap();
                        assert!(!machine.metadata.is_deleting(), "no second delete");
                        machine.metadata.deletion_timestamp = Some(self.now.into());
                    }
                }
                MachineSetAction::Propagate { machines } => {
                    let fields = machine_set::propagated_fields(&self.sets[name]);
                    for machine in machines {
                        self.writes += 1;
                        let machine = self
                            .machines
                            .get_mut(tally.symbols().name(machine))
                            .unwrap();
                        machine.metadata.labels.extend(fields.labels.clone());
                        machine
                            .metadata
                            .annotations
                            .extend(fields.annotations.clone());
                        machine.spec.deletion = fields.deletion.clone();
                        machine.spec.taints = fields.taints.clone();
                        machine.spec.readiness_gates = fields.readiness_gates.clone();
                        machine.spec.min_ready_seconds = fields.min_ready_seconds;
                    }
                }
                other => panic!("not expected here: {other:?}"),
            }
        }
        let set = self.sets.get_mut(name).unwrap();
        change_metadata(&mut set.metadata, &plan.metadata);
        plan.spec.apply_to_set(&mut set.spec);
        if let Some(status) = plan.status {
            self.writes += 1;
            set.status = status.onto(set, self.now);
        }
        if set.metadata.is_deleting() && set.metadata.finalizers.is_empty() {
            self.sets.remove(name);
        }
        !idle
    }

    fn create_machine(&mut self, set: &str) {
        let mut seed = self.seed();
        let name = machine_name(None, "c", set, &mut seed).unwrap();
        let new = machine_set::new_machine(&self.sets[set], name.clone());
        let mut machine = Machine {
            metadata: new.metadata,
            spec: new.spec,
            ..Machine::default()
        };
        machine.metadata.uid = self.uid();
        machine.metadata.creation_timestamp = Time::new(self.now);
        assert!(self.machines.insert(name, machine).is_none());
    }

    /// One machine goes on: it becomes available, or vanishes when it is being deleted. False
    /// when it has nothing to do.
    pub(super) fn run_machine(&mut self, name: &str) -> bool {
        let machine = self.machines.get_mut(name).unwrap();
        if machine.metadata.is_deleting() {
            self.machines.remove(name);
            return true;
        }
        let up_to_date = self.is_up_to_date(name);
        let machine = self.machines.get_mut(name).unwrap();
        let before = machine.status.clone();
        machine.status.node_ref = Some(MachineNodeReference {
            name: name.to_owned(),
        });
        for (type_, holds) in [
            ("Ready", true),
            ("Available", true),
            ("UpToDate", up_to_date),
        ] {
            let message = if holds {
                ""
            } else {
                "* Version v1.35.0, v1.36.0 required"
            };
            set_condition(
                &mut machine.status.conditions,
                condition(type_, holds.into(), message),
            );
        }
        machine.status != before
    }

    /// Marks a machine as broken: it is not available, and stays so until it is run again.
    pub(super) fn break_machine(&mut self, name: &str) {
        let machine = self.machines.get_mut(name).unwrap();
        for type_ in ["Ready", "Available"] {
            let broken = condition(type_, ConditionStatus::False, "broken");
            set_condition(&mut machine.status.conditions, broken);
        }
    }

    fn is_up_to_date(&self, name: &str) -> bool {
        let set = &self.sets[owner(&self.machines[name])];
        template_differences(&set.spec.template.spec, &self.deployment.spec.template.spec)
            .is_empty()
    }

    pub(super) fn available(&self) -> i32 {
        let available = |machine: &&Machine| {
            crate::plan::condition::is_true(&machine.status.conditions, "Available")
        };
        i32::try_from(self.machines.values().filter(available).count()).unwrap()
    }

    /// Whether each set has as many machines as it wants, and none of them goes.
    pub(super) fn has_caught_up(&self) -> bool {
        let going = self
            .machines
            .values()
            .any(|machine| machine.metadata.is_deleting());
        !going
            && self.sets.values().all(|set| {
                let name = set.metadata.name.as_str();
                let count = self
                    .machines
                    .values()
                    .filter(|machine| owner(machine) == name)
                    .count();
                i32::try_from(count).ok() == set.spec.replicas
            })
    }

    /// What can act now, by name; the deployment is `""`.
    pub(super) fn actors(&self) -> Vec<String> {
        let sets = self.sets.keys().cloned();
        let machines = self.machines.keys().cloned();
        [String::new()]
            .into_iter()
            .chain(sets)
            .chain(machines)
            .collect()
    }

    /// Lets one act. False when nothing changed.
    pub(super) fn act(&mut self, actor: &str) -> bool {
        if actor.is_empty() {
            self.run_deployment()
        } else if self.sets.contains_key(actor) {
            self.run_set(actor)
        } else if self.machines.contains_key(actor) {
            self.run_machine(actor)
        } else {
            false
        }
    }

    /// Lets everything act in turn until nothing changes, and then checks that it really rests.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            let mut changed = false;
            for actor in self.actors() {
                changed |= self.act(&actor);
            }
            self.pass(1);
            if !changed {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.sequence);
    }
}

pub(super) fn owner(machine: &Machine) -> &str {
    machine
        .metadata
        .controller()
        .map_or("", |owner| owner.name.as_str())
}

pub(super) fn propagated(set: &Set, machine: &Machine) -> u64 {
    let wanted = machine_set::propagated_fields(set);
    let owned = OwnedFields::default();
    machine_set::PropagatedFields::of_machine(&machine.metadata, &machine.spec, &wanted, &owned)
        .fingerprint()
}

pub(super) fn change_metadata(metadata: &mut Metadata, change: &crate::plan::MetadataChange) {
    for (found, changes) in [
        (&mut metadata.labels, &change.labels),
        (&mut metadata.annotations, &change.annotations),
    ] {
        for (key, value) in changes {
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
    }
    if let Some(finalizers) = &change.finalizers {
        metadata.finalizers.clone_from(finalizers);
    }
    if let Some(owners) = &change.owner_references {
        metadata.owner_references.clone_from(owners);
    }
}

impl World {
    /// Lets the sets act until they have nothing to do, without machines going on.
    pub(super) fn settle_sets(&mut self) {
        for _ in 0..100 {
            let names: Vec<String> = self.sets.keys().cloned().collect();
            let mut changed = false;
            for name in names {
                changed |= self.run_set(&name);
            }
            if !changed {
                return;
            }
        }
        panic!("the sets do not come to rest");
    }
}
