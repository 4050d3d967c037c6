//! The controller of MachineSets: keeps rows of their machines, asks
//! [`plan::machine_set`](crate::plan::machine_set), does what it says.

mod collect;
mod execute;
mod make;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    execute::{Ending, Execution},
    sets::{CORE, Rows, machines},
};
use crate::{
    api::{Cluster, MachineDeployment, MachineSet, MachineSetSpec, MachineSetStatus},
    contract,
    plan::{
        machine_set::{self, MachineSetFacts, MachineSetPlan},
        row::Name,
    },
    runtime::{
        Change, Controller, Error, Object, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime,
        Watch,
    },
};

/// A MachineSet as the planners see it.
pub(super) type SetObject = contract::Object<MachineSetSpec, MachineSetStatus>;

const NAME: &str = "machineset";
const INDEX: &str = "machine-set";
const ORPHANS: &str = "machine-without-controller";

fn set_of(machine: &Object) -> Option<String> {
    let controller = machine.controller()?;
    controller
        .is(CORE, "MachineSet")
        .then(|| controller.uid.clone())
}

/// The controller of MachineSets.
pub struct MachineSetController {
    rows: Rows,
    /// Uids by key, to forget sets that are gone.
    known: Mutex<BTreeMap<ObjectKey, String>>,
    /// Machines whose creation was not answered, by set.
    unanswered: Mutex<BTreeMap<String, Vec<ObjectKey>>>,
}

impl Default for MachineSetController {
    fn default() -> Self {
        Self {
            rows: Rows::new(INDEX, set_of, |object| set_of(object).into_iter().collect()),
            known: Mutex::default(),
            unanswered: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for MachineSetController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineSetController")
    }
}

/// A plan, with the machines in the place of their symbols.
struct Planned {
    plan: MachineSetPlan,
    machines: BTreeMap<Name, Arc<Object>>,
}

impl MachineSetController {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn forget(&self, key: &ObjectKey) {
        let gone = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        if let Some(uid) = gone {
            self.rows.forget(&uid);
            self.unanswered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&uid);
        }
    }

    fn remember(&self, key: &ObjectKey, uid: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(key.clone(), uid.to_owned());
        if let Some(before) = before.filter(|before| before != uid) {
            self.rows.forget(&before);
        }
    }

    fn plan(&self, runtime: &Runtime, facts: &MachineSetFacts, now: Timestamp) -> Planned {
        let object = &facts.object;
        let prefix = format!("{}-", object.metadata.name);
        let wanted = machine_set::propagated_fields(object);
        let uid = &object.metadata.uid;
        self.rows
            .with(runtime, uid, &prefix, Some(&wanted), now, |entry| {
                let order = object.spec.deletion.order.clone();
                entry
                    .tally
                    .set_order(&order.unwrap_or(crate::api::MachineDeletionOrder::Random));
                let plan = machine_set::plan(facts, &entry.tally, now);
                let namespace = &object.metadata.namespace;
                let machines = collect::chosen(runtime, namespace, &plan, &entry.tally);
                Planned { plan, machines }
            })
    }
}

#[async_trait]
impl Controller for MachineSetController {
    fn name(&self) -> &str {
        NAME
    }

    fn resource(&self) -> ResourceType {
        MachineSet::KIND.into()
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::kind(machines(), sets_of_machine),
            Watch::kind(MachineDeployment::KIND.into(), sets_of_deployment),
            Watch::kind(Cluster::KIND.into(), sets_of_cluster),
            Watch::OwnedBy {
                group: CORE,
                kind: Cluster::KIND.kind,
                map: Arc::new(sets_of_control_plane),
            },
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let read = ["list", "watch"];
        vec![
            PolicyRule::new(CORE, ["machinesets"], ["list", "watch", "patch"]),
            PolicyRule::new(CORE, ["machinesets/status", "machines/status"], ["patch"]),
            PolicyRule::new(
                CORE,
                ["machines"],
                ["list", "watch", "create", "patch", "delete"],
            ),
            PolicyRule::new(CORE, ["clusters", "machinedeployments"], read),
            PolicyRule::new("apiextensions.k8s.io", ["customresourcedefinitions"], read),
            PolicyRule::new("", ["events"], ["create"]),
        ]
    }

    fn start(&self, runtime: &Runtime) {
        self.rows.start(runtime);
        runtime
            .cache()
            .store(&machines())
            .add_index(ORPHANS, |object| match object.controller() {
                None => vec![object.key().namespace.to_string()],
                Some(_) => Vec::new(),
            });
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let resource = self.resource();
        let Some(object) = runtime.cache().store(&resource).get(key) else {
            self.forget(key);
            return Ok(Outcome::done());
        };
        self.remember(key, object.uid());
        runtime.cache().synced(&machines()).await?;
        let set = object.decode::<SetObject>()?;
        let names = self.ask(runtime, &set).await?;
        let now = runtime.clock().now();
        let mut collected = self.collect(runtime, &set, now).await?;
        collected.names = names;
        let Planned { plan, machines } = self.plan(runtime, &collected.facts, now);

        let lets_go = plan.metadata.lets_go(&set.metadata);
        let mut execution = Execution {
            runtime,
            resource: &resource,
            object,
        };
        if !lets_go {
            let spec = plan.spec.to_merge_patch();
            execution.write(&set.metadata, &plan.metadata, spec).await?;
        }
        let newest = Arc::clone(&execution.object);
        let done = self
            .execute(runtime, &newest, &set, &collected, &plan, machines)
            .await;
        if done.as_ref().is_err_and(Error::is_conflict) {
            // What this plan would say is out of date.
            return done.map(|()| Outcome::done());
        }
        let (mut status, mut rests) = (None, true);
        if let Some(wanted) = &plan.status {
            rests = wanted.is_at_rest(&set);
            status = execution.status_patch(&set.status, &wanted.onto(&set, now))?;
        }
        let hold = execution.hold(&status, rests || status.is_none());
        let ended = execution
            .finish(Ending {
                current: &set.metadata,
                metadata: &plan.metadata,
                status,
                spec_waits: false,
                hold,
                events: &[],
                errors: &plan.errors,
                again: plan.again,
                blocked_on: &plan.blocked_on,
            })
            .await;
        // What could not be done is told after what could be said.
        done.and(ended)
    }
}

fn sets_of_machine(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for object in [&change.old, &change.new].into_iter().flatten() {
        match object.controller() {
            Some(owner) if owner.is(CORE, "MachineSet") => {
                keys.push(object.key().sibling(&owner.name));
            }
            Some(_) => {}
            None => keys.extend(choosers(runtime, object)),
        }
    }
    keys.dedup();
    keys
}

/// Sets whose selector chooses a machine that nobody controls.
fn choosers(runtime: &Runtime, machine: &Object) -> Vec<ObjectKey> {
    let labels: BTreeMap<String, String> = machine
        .labels()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let namespace = &machine.key().namespace;
    let sets = runtime.cache().store(&MachineSet::KIND.into()).list();
    sets.iter()
        .filter(|set| set.key().namespace == *namespace)
        .filter(|set| {
            set.decode::<SetObject>().is_ok_and(|decoded| {
                let selector = &decoded.spec.selector;
                !selector.is_empty() && selector.matches(&labels)
            })
        })
        .map(|set| set.key().clone())
        .collect()
}

/// Which set is the current one matters to remediation and to missing templates.
fn sets_of_deployment(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let same = |a: &Object, b: &Object| a.generation() == b.generation();
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && same(old, new)
    {
        return Vec::new();
    }
    let owner = change.object().uid();
    let sets = runtime
        .cache()
        .store(&MachineSet::KIND.into())
        .owned_by(owner);
    sets.iter().map(|set| set.key().clone()).collect()
}

fn sets_of_cluster(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && old.generation() == new.generation()
    {
        return Vec::new();
    }
    super::sets::of_cluster(runtime, &MachineSet::KIND.into(), change.object().key())
}

/// Which versions the control plane has decides whether machines are made.
fn sets_of_control_plane(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let versions = |object: &Arc<Object>| {
        let value = object.value().ok()?;
        let status = value.get("status")?;
        Some((
            value.pointer("/spec/version").cloned(),
            status.get("version").cloned(),
            status.get("versions").cloned(),
        ))
    };
    let control_plane = change.object();
    if change.resource.group() == CORE
        || change.old.as_ref().and_then(versions) == change.new.as_ref().and_then(versions)
    {
        return Vec::new();
    }
    let cluster = control_plane.cluster_key();
    super::sets::of_cluster(runtime, &MachineSet::KIND.into(), &cluster)
}
