//! The controller of MachineDeployments: keeps rows of their machines, asks
//! [`plan::rollout`](crate::plan::rollout), does what it says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::{
    execute::{Ending, Execution},
    sets::{
        CORE, FoundTemplates, Rows, cluster_of, deployment_name, machines, own_template,
        owned_fields, owning_cluster,
    },
};
use crate::{
    api::{Cluster, MachineDeployment, MachineSet, MachineSetSpec, MachineSetStatus},
    contract,
    plan::{
        naming::Seed,
        rollout::{
            self, Deployment, DesiredSet, InPlace, MachineDeploymentAction, MachineDeploymentFacts,
            MachineDeploymentPlan, SetFacts,
        },
    },
    runtime::{
        Change, Controller, Error, Object, ObjectKey, Outcome, PolicyRule, Propagation,
        ResourceType, Runtime, Watch,
    },
};

/// The field manager under which MachineDeployments apply MachineSets.
const MANAGER: &str = "capi-machinedeployment";
const NAME: &str = "machinedeployment";
const INDEX: &str = "machine-deployment";

fn sets() -> ResourceType {
    MachineSet::KIND.into()
}

/// `namespace/name` of the deployment that a machine's label names.
fn deployment_of(machine: &Object) -> Option<String> {
    deployment_name(machine).map(|name| machine.key().sibling(name).to_string())
}

/// The controller of MachineDeployments.
pub struct MachineDeploymentController {
    rows: Rows,
    /// New sets whose creation was not answered, by the deployment's key.
    unanswered: Mutex<BTreeMap<ObjectKey, Box<DesiredSet>>>,
}

impl Default for MachineDeploymentController {
    fn default() -> Self {
        Self {
            rows: Rows::new(INDEX, deployment_of, |object| {
                deployment_of(object).into_iter().collect()
            }),
            unanswered: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for MachineDeploymentController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineDeploymentController")
    }
}

impl MachineDeploymentController {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn plan(
        &self,
        runtime: &Runtime,
        key: &ObjectKey,
        facts: &MachineDeploymentFacts,
        now: Timestamp,
    ) -> MachineDeploymentPlan {
        let seed = Seed::new(runtime.next_seed());
        let prefix = format!("{}-", key.name);
        self.rows
            .with(runtime, &key.to_string(), &prefix, None, now, |entry| {
                rollout::plan(facts, &entry.tally, seed, now)
            })
    }

    async fn execute(
        &self,
        runtime: &Runtime,
        key: &ObjectKey,
        collected: &Collected,
        plan: &MachineDeploymentPlan,
    ) -> Result<(), Error> {
        for action in &plan.actions {
            match action {
                MachineDeploymentAction::OwnTemplate { template } => {
                    if let Some(found) = collected.templates.of(*template) {
                        own_template(runtime, found, &collected.facts.cluster).await?;
                    }
                }
                MachineDeploymentAction::CreateSet { set, .. } => {
                    self.create(runtime, key, set).await?;
                }
                MachineDeploymentAction::UpdateSet { set, .. } => {
                    let seen = collected.sets.get(&set.name);
                    match apply(runtime, set, seen.map(AsRef::as_ref)).await {
                        // The next plan knows.
                        Err(error) if error.is_not_found() => {}
                        result => result.map(drop)?,
                    }
                }
                MachineDeploymentAction::DeleteSet { name, .. } => {
                    if let Some(seen) = collected.sets.get(name) {
                        let writer = runtime.writer();
                        writer
                            .delete_unchanged(&sets(), seen, Propagation::Background)
                            .await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Creates a set. One whose creation is not answered is noted and created again by its name
    /// before the next plan, so that there are never two of one revision.
    async fn create(
        &self,
        runtime: &Runtime,
        key: &ObjectKey,
        set: &DesiredSet,
    ) -> Result<(), Error> {
        self.note(key, Some(Box::new(set.clone())));
        let result = apply(runtime, set, None).await;
        if !result.as_ref().is_err_and(Error::leaves_open) {
            self.note(key, None);
        }
        result.map(drop)
    }

    fn note(&self, key: &ObjectKey, set: Option<Box<DesiredSet>>) {
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match set {
            Some(set) => unanswered.insert(key.clone(), set),
            None => unanswered.remove(key),
        };
    }

    async fn answer(&self, runtime: &Runtime, key: &ObjectKey) -> Result<(), Error> {
        let noted = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned();
        match noted {
            Some(set) => self.create(runtime, key, &set).await,
            None => Ok(()),
        }
    }
}

/// Applies a set; one that exists only in the state in which it was `seen`, since how many machines
/// it is to have follows from how many it has.
async fn apply(
    runtime: &Runtime,
    set: &DesiredSet,
    seen: Option<&Object>,
) -> Result<Arc<Object>, Error> {
    let kind = sets();
    let mut body = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind(),
        "metadata": {
            "name": set.name,
            "namespace": set.namespace,
            "labels": set.labels,
            "annotations": set.annotations,
            "finalizers": set.finalizers,
            "ownerReferences": set.owner_references,
        },
        "spec": set.spec,
    });
    if !set.uid.is_empty() {
        body["metadata"]["uid"] = json!(set.uid);
    }
    if let Some(seen) = seen {
        body["metadata"]["resourceVersion"] = json!(seen.resource_version());
    }
    let key = ObjectKey::new(set.namespace.as_str(), set.name.as_str());
    runtime.writer().apply(&kind, &key, MANAGER, &body).await
}

/// Facts, and the objects that doing something about them needs.
struct Collected {
    facts: MachineDeploymentFacts,
    templates: FoundTemplates,
    /// The sets, by name.
    sets: BTreeMap<String, Arc<Object>>,
}

async fn collect(
    runtime: &Runtime,
    key: &ObjectKey,
    deployment: &Deployment,
) -> Result<Collected, Error> {
    let (object, cluster) = cluster_of(runtime, key, &deployment.spec.cluster_name)?;
    let owning = owning_cluster(&object, &cluster);
    let namespace = &deployment.metadata.namespace;
    let template = &deployment.spec.template;
    let templates = if deployment.metadata.is_deleting() {
        FoundTemplates::default()
    } else {
        FoundTemplates::find(runtime, namespace, template).await?
    };
    let sets = sets_of(runtime, key, deployment);
    let facts = MachineDeploymentFacts {
        object: deployment.clone(),
        templates: templates.facts(&owning)?,
        cluster: owning,
        sets: set_facts(&sets)?,
        list_failed: false,
        in_place: InPlace::default(),
    };
    let by_name = |set: Arc<Object>| (set.name().to_owned(), set);
    Ok(Collected {
        facts,
        templates,
        sets: sets.into_iter().map(by_name).collect(),
    })
}

/// The sets that the deployment controls, and those of its Cluster that nobody does.
fn sets_of(runtime: &Runtime, key: &ObjectKey, deployment: &Deployment) -> Vec<Arc<Object>> {
    let store = runtime.cache().store(&sets());
    let cluster = key.sibling(&deployment.spec.cluster_name);
    let mut found: BTreeMap<ObjectKey, Arc<Object>> = BTreeMap::new();
    for object in store.owned_by(&deployment.metadata.uid) {
        found.insert(object.key().clone(), object);
    }
    let unowned = store
        .of_cluster(&cluster)
        .into_iter()
        .filter(|set| set.controller().is_none());
    for object in unowned {
        found.insert(object.key().clone(), object);
    }
    found.into_values().collect()
}

fn set_facts(sets: &[Arc<Object>]) -> Result<Vec<SetFacts>, Error> {
    let mut facts = Vec::new();
    for object in sets {
        let set = object.decode::<contract::Object<MachineSetSpec, MachineSetStatus>>()?;
        let owned = owned_fields(object, MANAGER)?;
        facts.push(SetFacts {
            object: (*set).clone(),
            owned,
        });
    }
    Ok(facts)
}

#[async_trait]
impl Controller for MachineDeploymentController {
    fn name(&self) -> &str {
        NAME
    }

    fn resource(&self) -> ResourceType {
        MachineDeployment::KIND.into()
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::kind(sets(), deployments_of_set),
            Watch::kind(Cluster::KIND.into(), deployments_of_cluster),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let read = ["list", "watch"];
        vec![
            PolicyRule::new(CORE, ["machinedeployments"], ["list", "watch", "patch"]),
            PolicyRule::new(CORE, ["machinedeployments/status"], ["patch"]),
            PolicyRule::new(
                CORE,
                ["machinesets"],
                ["list", "watch", "create", "patch", "delete"],
            ),
            PolicyRule::new(CORE, ["clusters", "machines"], read),
            PolicyRule::new("apiextensions.k8s.io", ["customresourcedefinitions"], read),
            PolicyRule::new("", ["events"], ["create"]),
        ]
    }

    fn start(&self, runtime: &Runtime) {
        self.rows.start(runtime);
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let resource = self.resource();
        let Some(object) = runtime.cache().store(&resource).get(key) else {
            self.rows.forget(&key.to_string());
            self.note(key, None);
            return Ok(Outcome::done());
        };
        self.answer(runtime, key).await?;
        runtime.cache().synced(&machines()).await?;
        let deployment = object.decode::<Deployment>()?;
        let now = runtime.clock().now();
        let collected = collect(runtime, key, &deployment).await?;
        let plan = self.plan(runtime, key, &collected.facts, now);

        let current = &deployment.metadata;
        let lets_go = plan.metadata.lets_go(current);
        let mut execution = Execution {
            runtime,
            resource: &resource,
            object,
        };
        if !lets_go {
            execution
                .write(current, &plan.metadata, plan.spec.to_merge_patch())
                .await?;
        }
        let done = self.execute(runtime, key, &collected, &plan).await;
        if done.as_ref().is_err_and(Error::is_conflict) {
            // What this plan would say is out of date.
            return done.map(|()| Outcome::done());
        }
        let (mut status, mut rests) = (None, true);
        if let Some(wanted) = &plan.status {
            // A plan that still does something describes what was before it.
            rests = plan.actions.is_empty() && rollout::is_at_rest(&collected.facts, wanted, now);
            status = execution.status_patch(&deployment.status, wanted)?;
        }
        let hold = execution.hold(&status, rests || status.is_none());
        let ended = execution
            .finish(Ending {
                current,
                metadata: &plan.metadata,
                status,
                spec_waits: false,
                hold,
                events: &plan.events,
                errors: &plan.errors,
                again: plan.again,
                blocked_on: &plan.blocked_on,
            })
            .await;
        // What could not be done is told after what could be said.
        done.and(ended)
    }
}

fn deployments_of_set(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for object in [&change.old, &change.new].into_iter().flatten() {
        match object.controller() {
            Some(owner) if owner.is(CORE, "MachineDeployment") => {
                keys.push(object.key().sibling(&owner.name));
            }
            Some(_) => {}
            None => keys.extend(choosers(runtime, object)),
        }
    }
    keys.dedup();
    keys
}

/// Deployments whose selector chooses a set that nobody controls.
fn choosers(runtime: &Runtime, set: &Object) -> Vec<ObjectKey> {
    let labels: BTreeMap<String, String> = set
        .labels()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let namespace = &set.key().namespace;
    let deployments = runtime
        .cache()
        .store(&MachineDeployment::KIND.into())
        .list();
    deployments
        .iter()
        .filter(|deployment| deployment.key().namespace == *namespace)
        .filter(|deployment| {
            deployment.decode::<Deployment>().is_ok_and(|decoded| {
                let selector = &decoded.spec.selector;
                !selector.is_empty() && selector.matches(&labels)
            })
        })
        .map(|deployment| deployment.key().clone())
        .collect()
}

fn deployments_of_cluster(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && old.generation() == new.generation()
    {
        return Vec::new();
    }
    super::sets::of_cluster(
        runtime,
        &MachineDeployment::KIND.into(),
        change.object().key(),
    )
}
