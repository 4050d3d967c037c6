//! The Machine controller: collects what a Machine's plan depends on, and executes the plan.
//!
//! It takes the Machine's external objects, copies what they report, matches its Node, and takes
//! it down in order. All decisions are [`plan::machine`](crate::plan::machine)'s.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    collect::{self, CORE, external},
    execute::{Ending, Execution, Hold, act},
    workload_node,
};
use crate::{
    api::{
        Cluster, ConditionStatus, Machine, MachineDeployment, MachineDrainRule, MachineSet, Time,
        annotations, labels,
    },
    contract::{BootstrapConfigView, ControlPlaneView, InfraMachineView, Object as Facts},
    plan::{
        Action, ActionFailure,
        condition::{find, is_true, types},
        delete::machine::ControlPlaneFacts,
        lookup::Lookup,
        machine::{
            self, ClusterFacts, Connection, DeploymentFacts, MachineFacts, MachinePlan,
            MachineSettings, SetFacts,
        },
        node::{self, Node, NodeLookup},
    },
    runtime::{
        Change, Controller, Error, Object, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime,
        Watch,
    },
};

/// Plans that one reconcile may make: each answers questions of the one before.
const PASSES: usize = 12;

/// The controller of Machines.
#[derive(Default)]
pub struct MachineController {
    settings: MachineSettings,
}

impl MachineController {
    /// A controller with these settings.
    #[must_use]
    pub fn new(settings: MachineSettings) -> Self {
        Self { settings }
    }

    /// Everything that the plan depends on; `None` when the Machine or its Cluster is not there.
    async fn facts(
        &self,
        runtime: &Runtime,
        object: &Arc<Object>,
    ) -> Result<Option<MachineFacts>, Error> {
        let machine = object.decode::<Machine>()?;
        let key = object.key();
        let cluster_key = key.sibling(&machine.spec.cluster_name);
        let cluster = runtime
            .cache()
            .get(&Cluster::KIND.into(), &cluster_key)
            .await?;
        let Some(cluster) = cluster else {
            return Ok(None);
        };
        let cluster = cluster.decode::<Cluster>()?;
        let namespace = &*key.namespace;
        let bootstrap_config = external(
            runtime,
            namespace,
            machine.spec.bootstrap.config_ref.as_ref(),
            BootstrapConfigView::read,
        )
        .await;
        let infra_machine = external(
            runtime,
            namespace,
            Some(&machine.spec.infrastructure_ref),
            InfraMachineView::read,
        )
        .await;
        let (machine_set, machine_deployment) = owners(runtime, object).await?;
        let mut facts = MachineFacts {
            machine: Facts {
                metadata: collect::metadata(&machine.metadata),
                spec: machine.spec.clone(),
                status: machine.status.clone(),
            },
            cluster: cluster_facts(&cluster),
            machine_set,
            machine_deployment,
            bootstrap_config,
            infra_machine,
            settings: self.settings.clone(),
            ..MachineFacts::default()
        };
        node_facts(runtime, &cluster_key, &mut facts)?;
        if object.is_deleting() {
            deletion_facts(runtime, &cluster_key, &cluster, &mut facts).await?;
        }
        Ok(Some(facts))
    }

    /// Executes the actions of a plan; adds what came of them to the facts. True when the plan has
    /// to be made anew with them.
    async fn act(
        &self,
        runtime: &Runtime,
        cluster: &ObjectKey,
        plan: &MachinePlan,
        facts: &mut MachineFacts,
    ) -> Result<bool, Error> {
        let mut anew = false;
        for action in &plan.actions {
            let done = match action {
                Action::PatchNode { .. } | Action::DeleteNode { .. } => {
                    workload_node::act(runtime, cluster, action).await
                }
                Action::InspectNode { node } => {
                    facts.deletion.node = workload_node::inspect(runtime, cluster, node);
                    Ok(())
                }
                Action::ListPods { node } => {
                    let pods = self.pods(runtime, cluster, node).await;
                    facts.deletion.pods = Some(pods.map_err(|error| error.full_message()));
                    Ok(())
                }
                Action::ListVolumes { node } => {
                    let volumes = workload_node::volumes(runtime, cluster, node).await;
                    facts.deletion.volumes = Some(volumes.map_err(|error| error.full_message()));
                    Ok(())
                }
                Action::EvictPods {
                    pods,
                    grace_period_seconds,
                } => {
                    let outcomes =
                        workload_node::evict(runtime, cluster, pods, *grace_period_seconds).await;
                    if let Some(Ok(drain)) = &mut facts.deletion.pods {
                        drain.evictions = Some(outcomes);
                    }
                    Ok(())
                }
                other => act(runtime, other).await,
            };
            anew |= action.is_question();
            if let Action::DeleteNode { .. } = action {
                facts.deletion.node_deletion = Some(done.map_err(|error| error.full_message()));
            } else if let Err(error) = done {
                if error.is_conflict() {
                    return Err(error); // it changed meanwhile; look again
                }
                anew = true;
                facts.failures.push(ActionFailure {
                    action: action.clone(),
                    error: error.full_message(),
                });
            }
        }
        Ok(anew)
    }

    /// The pods of a Node with the rules of the management cluster.
    async fn pods(
        &self,
        runtime: &Runtime,
        cluster: &ObjectKey,
        node: &str,
    ) -> Result<crate::plan::drain::DrainFacts, Error> {
        let mut facts = workload_node::pods(runtime, cluster, node).await?;
        let rules = runtime
            .cache()
            .synced(&MachineDrainRule::KIND.into())
            .await?;
        for rule in rules.list() {
            if rule.key().namespace == cluster.namespace {
                let typed = rule.decode::<MachineDrainRule>()?;
                facts
                    .rules
                    .insert(rule.name().to_owned(), typed.spec.clone());
            }
        }
        if let Some(object) = runtime.cache().store(&Cluster::KIND.into()).get(cluster) {
            facts.cluster_labels = object
                .labels()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
        }
        Ok(facts)
    }

    /// How long the plan's writes are held back. Not at all when the Machine is at rest, when its
    /// metadata changes, when it is no longer ready or available, which rollouts must know, or when
    /// a provider that is not of this manager waits for its spec.
    fn hold(&self, execution: &Execution<'_>, facts: &MachineFacts, plan: &MachinePlan) -> Hold {
        let rests = plan.blocked_on.is_empty() && plan.errors.is_empty();
        let infrastructure = &facts.machine.spec.infrastructure_ref;
        let waited_for = plan.spec.data_secret_name.is_some()
            && !execution
                .runtime
                .reconciles(&infrastructure.api_group, &infrastructure.kind);
        let before = &facts.machine.status.conditions;
        let fell = !facts.machine.metadata.is_deleting()
            && [types::READY, types::AVAILABLE]
                .iter()
                .any(|type_| is_true(before, type_) && !is_true(&plan.status.conditions, type_));
        let due = rests || waited_for || fell || !plan.metadata.is_empty();
        execution.hold(&(&plan.spec, &plan.status), due)
    }
}

fn cluster_facts(cluster: &Cluster) -> ClusterFacts {
    let metadata = collect::metadata(&cluster.metadata);
    let initialized = find(&cluster.status.conditions, types::CONTROL_PLANE_INITIALIZED)
        .filter(|condition| condition.status == ConditionStatus::True);
    ClusterFacts {
        deleting: metadata.is_deleting(),
        name: metadata.name,
        uid: metadata.uid,
        paused: cluster.spec.paused == Some(true),
        infrastructure_provisioned: cluster.status.initialization.infrastructure_provisioned
            == Some(true),
        control_plane_initialized: initialized.map(|condition| condition.last_transition_time),
        control_plane_ref: cluster.spec.control_plane_ref.clone(),
    }
}

/// The MachineSet that owns a Machine, and the MachineDeployment it belongs to.
async fn owners(
    runtime: &Runtime,
    object: &Object,
) -> Result<(Option<SetFacts>, Option<DeploymentFacts>), Error> {
    let Some(owner) = object
        .owners()
        .iter()
        .find(|owner| owner.is(CORE, "MachineSet"))
    else {
        return Ok((None, None));
    };
    let missing = |kind: &str, name: &str| Error::Missing(format!("{kind} {name} does not exist"));
    let key = object.key().sibling(&owner.name);
    let set = runtime.cache().get(&MachineSet::KIND.into(), &key).await?;
    let set = set.ok_or_else(|| missing("MachineSet", &owner.name))?;
    let typed = set.decode::<MachineSet>()?;
    let facts = SetFacts {
        metadata: collect::metadata(&typed.metadata),
        template: typed.spec.template.spec.clone(),
    };
    let Some(name) = set
        .label(labels::DEPLOYMENT_NAME)
        .filter(|name| !name.is_empty())
    else {
        return Ok((Some(facts), None));
    };
    let key = object.key().sibling(name);
    let deployment = runtime
        .cache()
        .get(&MachineDeployment::KIND.into(), &key)
        .await?;
    let deployment = deployment.ok_or_else(|| missing("MachineDeployment", name))?;
    let deployment = deployment.decode::<MachineDeployment>()?;
    let deployment = DeploymentFacts {
        metadata: collect::metadata(&deployment.metadata),
        template: deployment.spec.template.spec.clone(),
        rollout_after: deployment.spec.rollout.after,
    };
    Ok((Some(facts), Some(deployment)))
}

/// How the workload cluster is reached, and the Node of the Machine's provider id.
fn node_facts(
    runtime: &Runtime,
    cluster: &ObjectKey,
    facts: &mut MachineFacts,
) -> Result<(), Error> {
    if facts.cluster.control_plane_initialized.is_none() {
        facts.node = NodeLookup::NotConnected;
        return Ok(());
    }
    let state = runtime.workloads().state(cluster);
    facts.connection = Connection {
        last_probe_success: state.last_probe_success.map(Time::new),
        consecutive_failures: state.failures,
    };
    let Some(id) = machine::provider_id(&facts.machine, &facts.infra_machine) else {
        return Ok(());
    };
    let Some(workload) = state.workload else {
        facts.node = NodeLookup::NotConnected;
        return Ok(());
    };
    let store = workload.nodes();
    store.add_index(workload_node::BY_PROVIDER_ID, workload_node::provider_ids);
    let nodes = store
        .by_index(workload_node::BY_PROVIDER_ID, id)
        .iter()
        .map(|object| object.decode::<Node>())
        .collect::<Result<Vec<_>, _>>()?;
    facts.node = node::match_node(nodes.iter().map(AsRef::as_ref), id);
    Ok(())
}

/// What only a deletion depends on.
async fn deletion_facts(
    runtime: &Runtime,
    cluster_key: &ObjectKey,
    cluster: &Cluster,
    facts: &mut MachineFacts,
) -> Result<(), Error> {
    let control_plane: Lookup<ControlPlaneView> = external(
        runtime,
        &cluster_key.namespace,
        cluster.spec.control_plane_ref.as_ref(),
        ControlPlaneView::read,
    )
    .await;
    facts.deletion.control_plane = control_plane.map(|view| ControlPlaneFacts {
        deleting: view.object.is_deleting(),
        externally_managed: view.externally_managed,
    });
    let machines = runtime.cache().synced(&Machine::KIND.into()).await?;
    let active = machines
        .of_cluster(cluster_key)
        .iter()
        .filter(|machine| machine.label(labels::CONTROL_PLANE).is_some() && !machine.is_deleting())
        .count();
    facts.deletion.control_plane_machines = u32::try_from(active).unwrap_or(u32::MAX);
    Ok(())
}

/// Machines of a cluster.
fn of_cluster(runtime: &Runtime, cluster: &ObjectKey) -> Vec<ObjectKey> {
    let machines = runtime.cache().store(&Machine::KIND.into());
    let of_cluster = machines.of_cluster(cluster);
    of_cluster
        .iter()
        .map(|machine| machine.key().clone())
        .collect()
}

/// What of a Cluster matters to its Machines.
fn matters(cluster: &Arc<Object>) -> Option<(ClusterFacts, bool)> {
    let typed = cluster.decode::<Cluster>().ok()?;
    Some((cluster_facts(&typed), cluster.is_deleting()))
}

/// Machines that a change of their MachineSet or MachineDeployment concerns: its template or its
/// revision is another one.
fn of_owner(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let revision = |object: &Arc<Object>| {
        let value = object.value().ok()?;
        let annotations = value.pointer("/metadata/annotations")?;
        annotations.get(annotations::REVISION).cloned()
    };
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && old.generation() == new.generation()
        && revision(old) == revision(new)
    {
        return Vec::new();
    }
    let object = change.object();
    let machines = runtime.cache().store(&Machine::KIND.into());
    let found = if object.label(labels::DEPLOYMENT_NAME).is_some()
        || change.resource.kind() == MachineSet::KIND.kind
    {
        machines.owned_by(object.uid())
    } else {
        let Some(cluster) = object.label(labels::CLUSTER_NAME) else {
            return Vec::new();
        };
        let of_cluster = machines.of_cluster(&object.key().sibling(cluster));
        let name = Some(object.name());
        let belongs = |machine: &Arc<Object>| machine.label(labels::DEPLOYMENT_NAME) == name;
        of_cluster.into_iter().filter(belongs).collect()
    };
    found.iter().map(|machine| machine.key().clone()).collect()
}

/// The Machine of a Node: by the annotation that we wrote there, by the Node's name, by the
/// identity.
fn of_node(runtime: &Runtime, cluster: &ObjectKey, node: &Object) -> Vec<ObjectKey> {
    let machines = runtime.cache().store(&Machine::KIND.into());
    let id = workload_node::provider_ids(node).into_iter().next();
    let in_cluster = |machine: &Arc<Object>| {
        machine.key().namespace == cluster.namespace
            && machine.label(labels::CLUSTER_NAME) == Some(&cluster.name)
    };
    let by = |index: &'static str, value: &str| -> Vec<ObjectKey> {
        let found = machines.by_index(index, value);
        found
            .iter()
            .filter(|machine| in_cluster(machine))
            .map(|machine| machine.key().clone())
            .collect()
    };
    let by_name = by(BY_NODE, node.name());
    if by_name.len() == 1 {
        return by_name;
    }
    id.map(|id| by(BY_PROVIDER_ID, &id)).unwrap_or_default()
}

const BY_NODE: &str = "machine by node";
const BY_PROVIDER_ID: &str = "machine by provider id";

fn node_names(object: &Object) -> Vec<String> {
    let machine = object.decode::<Machine>().ok();
    let node = machine.and_then(|machine| machine.status.node_ref.clone());
    node.map(|node| node.name).into_iter().collect()
}

fn provider_ids(object: &Object) -> Vec<String> {
    let machine = object.decode::<Machine>().ok();
    machine
        .and_then(|machine| machine.spec.provider_id.clone())
        .into_iter()
        .collect()
}

#[async_trait]
impl Controller for MachineController {
    fn name(&self) -> &str {
        "machine"
    }

    fn resource(&self) -> ResourceType {
        Machine::KIND.into()
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::kind(
                Cluster::KIND.into(),
                |runtime: &Runtime, change: &Change| {
                    let old = change.old.as_ref().and_then(matters);
                    if change.new.as_ref().and_then(matters) == old {
                        return Vec::new();
                    }
                    of_cluster(runtime, change.object().key())
                },
            ),
            Watch::kind(MachineSet::KIND.into(), of_owner),
            Watch::kind(MachineDeployment::KIND.into(), of_owner),
            Watch::Owned {
                group: CORE,
                kind: Machine::KIND.kind,
            },
            Watch::Nodes(Arc::new(|runtime, cluster, node| {
                of_node(runtime, cluster, node)
            })),
            Watch::Connections(Arc::new(of_cluster)),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        vec![
            PolicyRule::new(CORE, ["machines"], ["list", "watch", "patch"]),
            PolicyRule::new(CORE, ["machines/status"], ["patch"]),
            PolicyRule::new(
                CORE,
                [
                    "clusters",
                    "machinesets",
                    "machinedeployments",
                    "machinedrainrules",
                ],
                ["list", "watch"],
            ),
            PolicyRule::new("", ["secrets"], ["list", "watch"]),
            PolicyRule::new("", ["events"], ["create"]),
            PolicyRule::new(
                "apiextensions.k8s.io",
                ["customresourcedefinitions"],
                ["list", "watch"],
            ),
            // The kinds of providers are not known here; a provider's own ClusterRole grants them
            // through the label cluster.x-k8s.io/aggregate-to-manager.
        ]
    }

    fn start(&self, runtime: &Runtime) {
        let machines = runtime.cache().store(&Machine::KIND.into());
        machines.add_index(BY_NODE, node_names);
        machines.add_index(BY_PROVIDER_ID, provider_ids);
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let resource = self.resource();
        let Some(object) = runtime.cache().get(&resource, key).await? else {
            return Ok(Outcome::done());
        };
        let mut execution = Execution {
            runtime,
            resource: &resource,
            object,
        };
        let Some(mut facts) = self.facts(runtime, &execution.object).await? else {
            return Ok(Outcome::done().blocked_on("its Cluster"));
        };
        let cluster = key.sibling(&facts.machine.spec.cluster_name);
        // Once one plan may be written, so may those that follow from it.
        let mut due = false;
        let mut events = Vec::new();
        for _ in 0..PASSES {
            let plan = machine::plan(&facts, runtime.clock().now());
            let lets_go = plan.metadata.lets_go(&facts.machine.metadata);
            let hold = match due {
                true => None,
                false => self.hold(&execution, &facts, &plan),
            };
            due = hold.is_none();
            let writes = !plan.metadata.is_empty() || !plan.spec.is_empty();
            if writes && hold.is_none() && !lets_go {
                let spec = plan.spec.to_merge_patch();
                execution
                    .write(&facts.machine.metadata, &plan.metadata, spec)
                    .await?;
                let machine = execution.object.decode::<Machine>()?;
                facts.machine.metadata = collect::metadata(&machine.metadata);
                facts.machine.spec = machine.spec.clone();
                facts.machine.status = machine.status.clone();
                continue;
            }
            if self.act(runtime, &cluster, &plan, &mut facts).await? {
                events.extend(plan.events);
                continue;
            }
            events.extend_from_slice(&plan.events);
            let status = execution.status_patch(&facts.machine.status, &plan.status)?;
            return execution
                .finish(Ending {
                    current: &facts.machine.metadata,
                    metadata: &plan.metadata,
                    status: status.filter(|_| plan.status_changed),
                    spec_waits: !plan.spec.is_empty(),
                    hold,
                    events: &events,
                    errors: &plan.errors,
                    again: plan.again,
                    blocked_on: &plan.blocked_on,
                })
                .await;
        }
        Err(Error::Missing(format!(
            "Machine {key} did not settle in {PASSES} plans"
        )))
    }
}
