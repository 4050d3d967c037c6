//! The controller of MachineSets: keeps rows of their machines, asks
//! [`plan::machine_set`](crate::plan::machine_set), does what it says.

mod collect;
mod execute;
mod make;

use std::sync::{Arc, Mutex, PoisonError};
use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    execute::Execution,
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
    unanswered: Mutex<BTreeMap<String, Vec<Arc<make::NewMachine>>>>,
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

/// A plan, with the names in the place of their symbols.
struct Planned {
    plan: MachineSetPlan,
    names: BTreeMap<Name, String>,
    wait: Option<Duration>,
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
                let names = collect::names(&plan, &entry.tally);
                let wait = plan
                    .status
                    .as_ref()
                    .and_then(|status| entry.pace.wait(status, status.is_at_rest(object), now));
                Planned { plan, names, wait }
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
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let read = ["get", "list", "watch"];
        vec![
            PolicyRule::new(CORE, ["machinesets"], ["get", "list", "watch", "patch"]),
            PolicyRule::new(CORE, ["machinesets/status", "machines/status"], ["patch"]),
            PolicyRule::new(
                CORE,
                ["machines"],
                ["get", "list", "watch", "create", "patch", "delete"],
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
        let now = runtime.clock().now();
        let collected = self.collect(runtime, &set, now).await?;
        let Planned { plan, names, wait } = self.plan(runtime, &collected.facts, now);

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
            .execute(runtime, &newest, &set, &collected, &plan, &names)
            .await;
        if lets_go {
            execution.write(&set.metadata, &plan.metadata, None).await?;
            return Ok(Outcome::done());
        }
        if let (Some(status), None) = (&plan.status, wait) {
            let status = status.onto(&set, now);
            execution.write_status(&set.status, &status).await?;
        }
        done?;
        if let Some(error) = plan.errors.first() {
            return Err(Error::Missing(error.clone()));
        }
        Ok(outcome(plan.again, wait, now, &plan.blocked_on))
    }
}

/// When to look again, and what is waited for.
pub(super) fn outcome(
    again: Option<Timestamp>,
    wait: Option<Duration>,
    now: Timestamp,
    blocked_on: &[crate::plan::Blocked],
) -> Outcome {
    let again = again.map(|again| {
        let left = Duration::try_from(again.duration_since(now)).unwrap_or_default();
        left.max(Duration::from_millis(1))
    });
    let after = [again, wait].into_iter().flatten().min();
    let outcome = after.map_or_else(Outcome::done, Outcome::after);
    match blocked_on.first() {
        Some(blocked) => outcome.blocked_on(format!("{}: {}", blocked.on, blocked.message)),
        None => outcome,
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
