//! Control planes: the generic planner on a distribution.

mod collect;
mod execute;
mod nodes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;

use self::collect::Collected;
use super::subject::{CORE, Subject, conventional_finalizer};
use crate::{
    api::{Cluster, ConditionStatus, Machine, StatusVersion, labels},
    plan::control_plane::{self, ControlPlanePlan, ControlPlaneStatus},
    provider::ControlPlane,
    runtime::{
        Change, Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch,
        secrets,
    },
};

/// How often one reconcile plans again because what it did is a fact of the next plan.
const ROUNDS: usize = 8;

/// The controller of a provider's control planes.
pub struct ControlPlaneHost<P: ControlPlane> {
    provider: Arc<P>,
    resource: ResourceType,
    name: String,
    finalizer: String,
    /// Machines, by uid, that the distribution said have left etcd. Asked again after a restart.
    left: Mutex<BTreeSet<String>>,
    /// Names of machines whose creation was not answered, by control plane.
    unanswered: Mutex<BTreeMap<ObjectKey, String>>,
}

impl<P: ControlPlane> ControlPlaneHost<P> {
    /// Hosts the control planes of a provider.
    pub fn new(provider: Arc<P>) -> Self {
        let resource = ResourceType::of::<P::ControlPlane>();
        let finalizer = provider
            .finalizer()
            .unwrap_or_else(conventional_finalizer::<P::ControlPlane>);
        Self {
            provider,
            name: resource.kind().to_ascii_lowercase(),
            resource,
            finalizer,
            left: Mutex::default(),
            unanswered: Mutex::default(),
        }
    }

    fn unanswered(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, String>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the API server, past the cache, what became of a machine whose creation was not
    /// answered: what comes next is decided from what is there. Returns its name when it is not;
    /// a creation that still comes late makes none that is not known.
    async fn ask(
        &self,
        runtime: &Runtime,
        key: &ObjectKey,
        cluster: &Cluster,
    ) -> Result<Option<String>, Error> {
        let Some(noted) = self.unanswered().get(key).cloned() else {
            return Ok(None);
        };
        let cluster = cluster.metadata.name.as_deref().unwrap_or_default();
        let selector = format!(
            "{}={cluster},{}",
            labels::CLUSTER_NAME,
            labels::CONTROL_PLANE
        );
        let machines = Machine::KIND.into();
        let writer = runtime.writer();
        writer.list(&machines, &key.namespace, &selector).await?;
        self.unanswered().remove(key);
        let made = runtime.cache().store(&machines).get(&key.sibling(&noted));
        Ok(made.is_none().then_some(noted))
    }

    fn has_left(&self, uid: &str) -> bool {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(uid)
    }

    fn note_left(&self, uid: &str) {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid.to_owned());
    }

    /// Writes the status; how long it is held back, where it is. It is not when the control plane
    /// is at rest or goes, or when others wait for what it says: that the control plane was begun,
    /// or which versions run, which decides whether workers are made.
    async fn write_status(
        &self,
        subject: &mut Subject<P::ControlPlane>,
        plan: &ControlPlanePlan,
        replicas: Option<i32>,
    ) -> Result<Option<Duration>, Error> {
        let before = subject.status().and_then(collect::contract_status);
        let before = before.unwrap_or_default();
        let status = &plan.status;
        let counts = [
            status.replicas,
            status.ready_replicas,
            status.available_replicas,
            status.up_to_date_replicas,
        ];
        let rests = plan.blocked_on.is_empty()
            && plan.errors.is_empty()
            && counts.into_iter().all(|count| Some(count) == replicas);
        let due = rests
            || subject.object.is_deleting()
            || before.initialized != plan.status.initialized
            || before.version != plan.status.version
            || versions_of(&before.versions) != versions_of(&plan.status.versions);
        let ControlPlaneStatus {
            selector,
            replicas,
            ready_replicas,
            available_replicas,
            up_to_date_replicas,
            versions,
            version,
            initialized,
            observed_generation,
            conditions,
        } = &plan.status;
        subject.set_status("selector", json!(selector));
        subject.set_status("replicas", json!(replicas));
        subject.set_status("readyReplicas", json!(ready_replicas));
        subject.set_status("availableReplicas", json!(available_replicas));
        subject.set_status("upToDateReplicas", json!(up_to_date_replicas));
        // The contract's older form, for kinds that have it.
        subject.set_status("updatedReplicas", json!(up_to_date_replicas));
        subject.set_status("unavailableReplicas", json!(replicas - available_replicas));
        subject.set_status("versions", json!(versions));
        if let Some(version) = version {
            subject.set_status("version", json!(version));
        }
        if *initialized {
            subject.set_status("initialization", json!({ "controlPlaneInitialized": true }));
            subject.set_status("initialized", json!(true));
        }
        subject.set_status("ready", json!(*ready_replicas > 0 && *initialized));
        if let Some(generation) = observed_generation {
            subject.set_status("observedGeneration", json!(generation));
        }
        // An error of the provider stands in `Ready` until it is over.
        let over = |condition: &&crate::api::Condition| {
            condition.type_ != "Ready" || condition.status != ConditionStatus::False
        };
        let conditions: Vec<_> = conditions.iter().filter(over).collect();
        subject.set_status("conditions", json!(conditions));
        subject.write_fields(due).await
    }
}

#[async_trait]
impl<P: ControlPlane> Controller for ControlPlaneHost<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn resource(&self) -> ResourceType {
        self.resource.clone()
    }

    fn watches(&self) -> Vec<Watch> {
        let (group, kind) = (
            self.resource.group().to_owned(),
            self.resource.kind().to_owned(),
        );
        let of = Arc::new(move |runtime: &Runtime, cluster: &ObjectKey| {
            let clusters = runtime.cache().store(&Cluster::KIND.into());
            let cluster = clusters.get(cluster)?;
            let typed = cluster.decode::<Cluster>().ok()?;
            let reference = typed.spec.control_plane_ref.as_ref()?;
            (reference.kind == kind && reference.api_group == group)
                .then(|| cluster.key().sibling(&reference.name))
        });
        let (by_cluster, by_machine, by_secret) =
            (Arc::clone(&of), Arc::clone(&of), Arc::clone(&of));
        let by_part = Arc::clone(&of);
        let (by_node, by_connection) = (Arc::clone(&of), of);
        vec![
            Watch::kind(
                Cluster::KIND.into(),
                move |runtime: &Runtime, change: &Change| {
                    by_cluster(runtime, change.object().key())
                        .into_iter()
                        .collect()
                },
            ),
            Watch::kind(
                Machine::KIND.into(),
                move |runtime: &Runtime, change: &Change| {
                    let machine = change.object();
                    if machine.label(labels::CONTROL_PLANE).is_none() {
                        return Vec::new();
                    }
                    let Some(cluster) = machine.label(labels::CLUSTER_NAME) else {
                        return Vec::new();
                    };
                    by_machine(runtime, &machine.key().sibling(cluster))
                        .into_iter()
                        .collect()
                },
            ),
            // What its machines are made of: a machine that runs can be the first of a cluster
            // before anybody says so of its Machine.
            Watch::OwnedBy {
                group: CORE,
                kind: Machine::KIND.kind,
                map: Arc::new(move |runtime: &Runtime, change: &Change| {
                    let part = change.object();
                    if part.label(labels::CONTROL_PLANE).is_none() {
                        return Vec::new();
                    }
                    by_part(runtime, &part.cluster_key()).into_iter().collect()
                }),
            },
            Watch::kind(secrets(), move |runtime: &Runtime, change: &Change| {
                let secret = change.object();
                let Some(cluster) = secret.label(labels::CLUSTER_NAME) else {
                    return Vec::new();
                };
                by_secret(runtime, &secret.key().sibling(cluster))
                    .into_iter()
                    .collect()
            }),
            Watch::Nodes(Arc::new(move |runtime, cluster, _node| {
                by_node(runtime, cluster).into_iter().collect()
            })),
            Watch::Connections(Arc::new(move |runtime, cluster| {
                by_connection(runtime, cluster).into_iter().collect()
            })),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let plural = self.resource.plural();
        let mut rules = vec![
            PolicyRule::new(self.resource.group(), [plural], ["list", "watch", "patch"]),
            PolicyRule::new(
                self.resource.group(),
                [&*format!("{plural}/status")],
                ["patch"],
            ),
            PolicyRule::new(CORE, ["clusters"], ["list", "watch"]),
            PolicyRule::new(
                CORE,
                ["machines"],
                ["list", "watch", "create", "patch", "delete"],
            ),
            PolicyRule::new(CORE, ["machines/status"], ["patch"]),
            PolicyRule::new("", ["secrets"], ["get", "list", "watch", "create", "patch"]),
            PolicyRule::new("", ["events"], ["create"]),
        ];
        // Infrastructure and bootstrap kinds of any provider of these groups.
        let made = ["list", "watch", "create"];
        let templates = ["list", "watch", "create", "patch"];
        rules.push(PolicyRule::new(
            "infrastructure.cluster.x-k8s.io",
            ["*"],
            templates,
        ));
        rules.push(PolicyRule::new("bootstrap.cluster.x-k8s.io", ["*"], made));
        rules.push(PolicyRule::new(
            "apiextensions.k8s.io",
            ["customresourcedefinitions"],
            ["list", "watch"],
        ));
        rules
    }

    fn rbac_of_core(&self) -> Vec<PolicyRule> {
        let verbs = ["list", "watch", "patch", "delete"];
        vec![PolicyRule::new(
            self.resource.group(),
            [self.resource.plural()],
            verbs,
        )]
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        for _ in 0..ROUNDS {
            let loaded = Subject::<P::ControlPlane>::load(runtime, &self.resource, key)?;
            let Some(mut subject) = loaded else {
                self.unanswered().remove(key);
                return Ok(Outcome::done());
            };
            let Some(cluster) = subject.owning_cluster()? else {
                return Ok(Outcome::done().blocked_on("a Cluster that owns it"));
            };
            let desired = match self.provider.desired(&subject.typed) {
                Ok(desired) => desired,
                Err(error) => return subject.unready(Err(error)).await,
            };
            let name = self.ask(runtime, key, &cluster).await?;
            let collected = match self.collect(&subject, cluster, desired).await {
                Ok(collected) => Collected { name, ..collected },
                Err(Error::Provider(error)) => return subject.unready(Err(error)).await,
                Err(error) => return Err(error),
            };
            let replicas = collected.desired.replicas;
            let now = runtime.clock().now();
            let plan = control_plane::plan(&collected.facts, now);
            let executed = self.execute(&mut subject, &collected, &plan).await;
            if let Some(fields) = collected.status.clone() {
                subject.merge_status(fields);
            }
            let again = match executed {
                Ok(again) => again,
                Err(error) => {
                    // What was found out is worth showing, also when something did not work.
                    self.write_status(&mut subject, &plan, replicas).await?;
                    return Err(error);
                }
            };
            if again {
                continue;
            }
            let gone = plan.metadata.lets_go(&collected.facts.metadata);
            let mut hold = None;
            if !gone {
                hold = self.write_status(&mut subject, &plan, replicas).await?;
                self.set_node_provider_ids(runtime, &collected).await?;
            }
            if let Some(message) = plan.errors.first() {
                return Err(Error::Missing(message.clone()));
            }
            outcome = Outcome::done();
            if let Some(at) = plan.again {
                let wait = at.duration_since(runtime.clock().now());
                outcome.requeue_after = Some(Duration::try_from(wait).unwrap_or_default());
            }
            let after = [outcome.requeue_after, collected.retry, hold];
            outcome.requeue_after = after.into_iter().flatten().min();
            outcome.blocked_on = plan
                .blocked_on
                .first()
                .map(|blocked| format!("{}: {}", blocked.on, blocked.message));
            return Ok(outcome);
        }
        // Still something to do at once: others get their turn first.
        outcome.requeue_after = Some(Duration::from_millis(10));
        Ok(outcome)
    }
}

/// Which versions run, whatever runs of each.
fn versions_of(versions: &[StatusVersion]) -> Vec<&str> {
    versions
        .iter()
        .map(|version| version.version.as_str())
        .collect()
}
