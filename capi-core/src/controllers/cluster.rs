//! The Cluster controller: collects what a Cluster's plan depends on, and executes the plan.
//!
//! It takes the Cluster's external objects, copies what they report, sums up its machines, and
//! takes it down in order. All decisions are [`plan::cluster`](crate::plan::cluster)'s.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    collect::{self, CORE, external},
    execute::{Ending, Execution, act},
};
use crate::{
    api::{Cluster, Machine, MachineDeployment, MachineSet, Time, labels},
    contract::{ControlPlaneView, InfraClusterView, Object as Facts},
    plan::{
        Action, ActionFailure,
        cluster::{
            self, ClusterFacts, ClusterPlan, ClusterSettings, Descendants, KubeconfigFacts,
            MachineFacts, ReplicasFacts,
        },
        condition::{is_true, types},
        machine::Connection,
    },
    runtime::{
        Change, Controller, Error, Object, ObjectKey, Outcome, PolicyRule, QUIET, ResourceType,
        Runtime, Watch, secrets,
    },
};

/// Plans that one reconcile may make.
const PASSES: usize = 4;

/// The controller of Clusters.
#[derive(Default)]
pub struct ClusterController {
    settings: ClusterSettings,
}

impl ClusterController {
    /// A controller with these settings.
    #[must_use]
    pub fn new(settings: ClusterSettings) -> Self {
        Self { settings }
    }

    /// Everything that the plan depends on.
    async fn facts(&self, runtime: &Runtime, object: &Arc<Object>) -> Result<ClusterFacts, Error> {
        let cluster = object.decode::<Cluster>()?;
        let key = object.key();
        let namespace = &*key.namespace;
        let infra_cluster = external(
            runtime,
            namespace,
            cluster.spec.infrastructure_ref.as_ref(),
            InfraClusterView::read,
        )
        .await;
        let control_plane = external(
            runtime,
            namespace,
            cluster.spec.control_plane_ref.as_ref(),
            ControlPlaneView::read,
        )
        .await;
        let provisioned = cluster.status.initialization.infrastructure_provisioned == Some(true);
        let connection = if provisioned && !object.is_deleting() {
            let state = runtime.workloads().state(key);
            Connection {
                last_probe_success: state.last_probe_success.map(Time::new),
                consecutive_failures: state.failures,
            }
        } else {
            Connection::default()
        };
        let descendants = match descendants(runtime, key).await {
            Ok(descendants) => Some(descendants),
            Err(error) => {
                // The plan says so in its conditions, and tries again.
                tracing::warn!(error = %error.full_message(), "descendants cannot be listed");
                None
            }
        };
        Ok(ClusterFacts {
            kubeconfig: kubeconfig(runtime, key, &cluster).await?,
            cluster: Facts {
                metadata: collect::metadata(&cluster.metadata),
                spec: cluster.spec.clone(),
                status: cluster.status.clone(),
            },
            infra_cluster,
            control_plane,
            descendants,
            connection,
            settings: self.settings.clone(),
            ..ClusterFacts::default()
        })
    }

    async fn finish(
        &self,
        execution: Execution<'_>,
        facts: &ClusterFacts,
        plan: ClusterPlan,
    ) -> Result<Outcome, Error> {
        if plan.metadata.lets_go(&facts.cluster.metadata)
            && let Some(left) = unseen(execution.runtime, execution.object.key()).await?
        {
            let on = format!("{left}, which the cache did not show");
            return Ok(Outcome::after(QUIET).blocked_on(on));
        }
        let (before, after) = (&facts.cluster.status, &plan.status);
        let becomes =
            |type_: &str| !is_true(&before.conditions, type_) && is_true(&after.conditions, type_);
        let initialized = becomes(types::CONTROL_PLANE_INITIALIZED);
        if initialized {
            // Until now it need not have answered.
            execution.runtime.workloads().retry(execution.object.key());
        }
        // Others wait for it, or nothing more is on its way.
        let due = before.initialization != after.initialization
            || initialized
            || becomes(types::AVAILABLE)
            || cluster::is_at_rest(facts, &plan);
        let status = execution.status_patch(before, after)?;
        let status = status.filter(|_| plan.status_changed);
        let hold = execution.hold(&status, due || status.is_none());
        execution
            .finish(Ending {
                current: &facts.cluster.metadata,
                metadata: &plan.metadata,
                status,
                spec_waits: false,
                hold,
                events: &plan.events,
                errors: &plan.errors,
                again: plan.again,
                blocked_on: &plan.blocked_on,
            })
            .await
    }
}

/// What is known of the kubeconfig of a Cluster without control plane object.
async fn kubeconfig(
    runtime: &Runtime,
    key: &ObjectKey,
    cluster: &Cluster,
) -> Result<KubeconfigFacts, Error> {
    let managed = cluster
        .spec
        .control_plane_ref
        .as_ref()
        .is_some_and(|r| r.is_defined());
    if managed {
        return Ok(KubeconfigFacts::NotNeeded);
    }
    let store = runtime.cache().synced(&secrets()).await?;
    let has = |suffix: &str| {
        store
            .get(&key.sibling(&format!("{}-{suffix}", key.name)))
            .is_some()
    };
    Ok(match (has("kubeconfig"), has("ca")) {
        (true, _) => KubeconfigFacts::NotNeeded,
        (false, true) => KubeconfigFacts::Missing,
        (false, false) => KubeconfigFacts::MissingAuthority,
    })
}

/// What belongs to the Cluster by label, by name.
async fn descendants(runtime: &Runtime, key: &ObjectKey) -> Result<Descendants, Error> {
    let cache = runtime.cache();
    let mut machines = Vec::new();
    for object in cache.synced(&Machine::KIND.into()).await?.of_cluster(key) {
        let machine = object.decode::<Machine>()?;
        machines.push(MachineFacts {
            metadata: collect::metadata(&machine.metadata),
            version: machine.spec.version.clone(),
            status: machine.status.clone(),
        });
    }
    let mut machine_sets = Vec::new();
    for object in cache
        .synced(&MachineSet::KIND.into())
        .await?
        .of_cluster(key)
    {
        let set = object.decode::<MachineSet>()?;
        machine_sets.push(ReplicasFacts {
            metadata: collect::metadata(&set.metadata),
            desired: set.spec.replicas,
            replicas: set.status.replicas,
            ready: set.status.ready_replicas,
            available: set.status.available_replicas,
            up_to_date: set.status.up_to_date_replicas,
            versions: set.status.versions.clone(),
            conditions: set.status.conditions.clone(),
        });
    }
    let mut machine_deployments = Vec::new();
    for object in cache
        .synced(&MachineDeployment::KIND.into())
        .await?
        .of_cluster(key)
    {
        let deployment = object.decode::<MachineDeployment>()?;
        machine_deployments.push(ReplicasFacts {
            metadata: collect::metadata(&deployment.metadata),
            desired: deployment.spec.replicas,
            replicas: deployment.status.replicas,
            ready: deployment.status.ready_replicas,
            available: deployment.status.available_replicas,
            up_to_date: deployment.status.up_to_date_replicas,
            versions: deployment.status.versions.clone(),
            conditions: deployment.status.conditions.clone(),
        });
    }
    Ok(Descendants {
        machines,
        machine_sets,
        machine_deployments,
        machine_pools: Vec::new(),
    })
}

/// Something of the Cluster that the API server itself still has. Asked before the last finalizer
/// goes: a watch that fell silent would let objects outlive their Cluster, with nobody to delete
/// them. A MachineDeployment bears the label only once its controller saw it.
async fn unseen(runtime: &Runtime, key: &ObjectKey) -> Result<Option<String>, Error> {
    let labelled = format!("{}={}", labels::CLUSTER_NAME, key.name);
    let kinds = [
        (MachineDeployment::KIND, ""),
        (MachineSet::KIND, labelled.as_str()),
        (Machine::KIND, labelled.as_str()),
    ];
    for (kind, selector) in kinds {
        let resource = kind.into();
        let writer = runtime.writer();
        for object in writer.list(&resource, &key.namespace, selector).await? {
            if object.cluster() == Some(&key.name) {
                return Ok(Some(format!("{} {}", kind.kind, object.name())));
            }
        }
    }
    Ok(None)
}

/// The Cluster that a changed object belongs to.
fn of_label(change: &Change) -> Vec<ObjectKey> {
    let object = change.object();
    let cluster = object.cluster();
    cluster
        .map(|cluster| object.key().sibling(cluster))
        .into_iter()
        .collect()
}

/// A control plane Machine that got its Node tells that the control plane is there; a Machine or a
/// MachineSet that is gone may let its Cluster go.
fn of_machine(runtime: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let keys = of_label(change);
    let object = change.object();
    let clusters = runtime.cache().store(&Cluster::KIND.into());
    keys.into_iter()
        .filter(|key| {
            let Some(cluster) = clusters.get(key) else {
                return false;
            };
            if change.new.is_none() {
                return cluster.is_deleting();
            }
            let Ok(typed) = cluster.decode::<Cluster>() else {
                return false;
            };
            object.label(labels::CONTROL_PLANE).is_some()
                && !is_true(&typed.status.conditions, types::CONTROL_PLANE_INITIALIZED)
                && object
                    .decode::<Machine>()
                    .is_ok_and(|m| m.status.node_ref.is_some())
        })
        .collect()
}

/// A MachineDeployment changed in what its Cluster sums up.
fn of_deployment(_: &Runtime, change: &Change) -> Vec<ObjectKey> {
    let told = |object: &Arc<Object>| -> Option<(Value, Value)> {
        let value = object.value().ok()?;
        Some((value["spec"]["replicas"].clone(), value["status"].clone()))
    };
    let unchanged = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.is_deleting() == new.is_deleting() && told(old) == told(new),
        _ => false,
    };
    if unchanged {
        Vec::new()
    } else {
        of_label(change)
    }
}

#[async_trait]
impl Controller for ClusterController {
    fn name(&self) -> &str {
        "cluster"
    }

    fn resource(&self) -> ResourceType {
        Cluster::KIND.into()
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::kind(Machine::KIND.into(), of_machine),
            Watch::kind(MachineDeployment::KIND.into(), of_deployment),
            Watch::kind(MachineSet::KIND.into(), |_: &Runtime, change: &Change| {
                let standalone = change.object().label(labels::DEPLOYMENT_NAME).is_none();
                if standalone || change.new.is_none() {
                    of_label(change)
                } else {
                    Vec::new()
                }
            }),
            Watch::Owned {
                group: CORE,
                kind: Cluster::KIND.kind,
            },
            Watch::Connections(Arc::new(|_: &Runtime, cluster: &ObjectKey| {
                vec![cluster.clone()]
            })),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        vec![
            PolicyRule::new(CORE, ["clusters"], ["list", "watch", "patch"]),
            PolicyRule::new(CORE, ["clusters/status"], ["patch"]),
            PolicyRule::new(
                CORE,
                ["machines", "machinesets", "machinedeployments"],
                ["list", "watch", "delete"],
            ),
            PolicyRule::new("", ["secrets"], ["list", "watch", "create"]),
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
        let mut facts = self.facts(runtime, &execution.object).await?;
        for _ in 0..PASSES {
            let plan = cluster::plan(&facts, runtime.clock().now());
            let lets_go = plan.metadata.lets_go(&facts.cluster.metadata);
            let writes = !plan.metadata.is_empty() || !plan.spec.is_empty();
            if writes && !lets_go {
                let spec = plan.spec.to_merge_patch();
                execution
                    .write(&facts.cluster.metadata, &plan.metadata, spec)
                    .await?;
                // What the write changed is looked at anew; what was said of it is not lost, since
                // latches and phase are in the status, which is not written yet.
                facts = self.facts(runtime, &execution.object).await?;
                continue;
            }
            let mut failed = false;
            for action in &plan.actions {
                let done = match action {
                    Action::CreateKubeconfig { server, .. } => {
                        super::kubeconfig::create(runtime, &execution.object, server).await
                    }
                    other => act(runtime, other).await,
                };
                match done {
                    Ok(()) => {}
                    Err(error) if error.is_conflict() => return Err(error),
                    Err(error) => {
                        failed = true;
                        facts.failures.push(ActionFailure {
                            action: action.clone(),
                            error: error.full_message(),
                        });
                    }
                }
            }
            if failed {
                continue;
            }
            return self.finish(execution, &facts, plan).await;
        }
        let plan = cluster::plan(&facts, runtime.clock().now());
        self.finish(execution, &facts, plan).await
    }
}
