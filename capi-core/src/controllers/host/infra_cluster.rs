//! Infrastructure clusters.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{
    ports::{SlotTable, context},
    subject::{CORE, Subject, conventional_finalizer},
};
use crate::{
    api::{Cluster, annotations},
    provider::{ClusterContext, Infrastructure, Progress, StatusFields},
    runtime::{
        Change, Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch,
    },
};

/// The controller of a provider's infrastructure clusters.
pub struct InfraClusterHost<P: Infrastructure> {
    provider: Arc<P>,
    resource: ResourceType,
    machines: ResourceType,
    name: String,
    finalizer: String,
}

impl<P: Infrastructure> InfraClusterHost<P> {
    /// Hosts the clusters of a provider.
    pub fn new(provider: Arc<P>) -> Self {
        let resource = ResourceType::of::<P::Cluster>();
        let machines = ResourceType::of::<P::Machine>();
        let finalizer = provider
            .cluster_finalizer()
            .unwrap_or_else(conventional_finalizer::<P::Cluster>);
        Self {
            provider,
            name: resource.kind().to_ascii_lowercase(),
            resource,
            machines,
            finalizer,
        }
    }

    fn context(
        &self,
        subject: &Subject<P::Cluster>,
        cluster: Arc<Cluster>,
    ) -> ClusterContext<P::Cluster> {
        let context = context(
            &subject.runtime,
            &self.name,
            &self.resource,
            &subject.object,
            Some(Arc::clone(&cluster)),
            &SlotTable::default(),
        );
        ClusterContext {
            context,
            cluster,
            infrastructure: Arc::clone(&subject.typed),
        }
    }

    async fn ensure(
        &self,
        mut subject: Subject<P::Cluster>,
        cluster: Arc<Cluster>,
    ) -> Result<Outcome, Error> {
        subject
            .write_spec(Some(&self.finalizer), StatusFields::new())
            .await?;
        let cx = self.context(&subject, cluster);
        let facts = match self.provider.ensure_cluster(&cx).await {
            Ok(Progress::Ready(facts)) => facts,
            Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
            Err(error) => return subject.unready(Err(error)).await,
        };
        if let Some(endpoint) = facts.control_plane_endpoint {
            let spec =
                StatusFields::from_iter([("controlPlaneEndpoint".to_owned(), json!(endpoint))]);
            subject.write_spec(None, spec).await?;
        }
        subject.set_status("initialization", json!({ "provisioned": true }));
        subject.set_status("ready", json!(true));
        if !facts.failure_domains.is_empty() {
            subject.set_status("failureDomains", json!(facts.failure_domains));
        }
        subject.merge_status(facts.status);
        subject.ready();
        subject.write_status().await?;
        Ok(Outcome::done())
    }

    async fn destroy(
        &self,
        subject: Subject<P::Cluster>,
        cluster: Arc<Cluster>,
    ) -> Result<Outcome, Error> {
        if !subject.object.has_finalizer(&self.finalizer) {
            return Ok(Outcome::done());
        }
        let key = cluster_key(&subject, &cluster);
        let machines = subject.runtime.cache().synced(&self.machines).await?;
        let left = machines.of_cluster(&key).len();
        if left > 0 {
            let message = format!("Waiting for {left} {} to be deleted", self.machines.kind());
            return subject
                .wait("machines", "WaitingForMachinesDeletion", &message)
                .await;
        }
        let cx = self.context(&subject, cluster);
        match self.provider.destroy_cluster(&cx).await {
            Ok(Progress::Ready(())) => {
                subject.let_go(&self.finalizer).await?;
                Ok(Outcome::done())
            }
            Ok(Progress::Waiting(wait)) => subject.unready(Ok(wait)).await,
            Err(error) => subject.unready(Err(error)).await,
        }
    }
}

fn cluster_key<K: crate::provider::ProviderKind>(
    subject: &Subject<K>,
    cluster: &Cluster,
) -> ObjectKey {
    subject
        .key()
        .sibling(cluster.metadata.name.as_deref().unwrap_or_default())
}

#[async_trait]
impl<P: Infrastructure> Controller for InfraClusterHost<P> {
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
        let clusters = self.resource.clone();
        let machines_gone = move |runtime: &Runtime, change: &Change| {
            // Only a machine that went can let a cluster go.
            if change.new.is_some() {
                return Vec::new();
            }
            let object = change.object();
            let Some(cluster) = object.label(crate::api::labels::CLUSTER_NAME) else {
                return Vec::new();
            };
            let store = runtime.cache().store(&clusters);
            let cluster = object.key().sibling(cluster);
            store
                .of_cluster(&cluster)
                .iter()
                .map(|object| object.key().clone())
                .collect()
        };
        vec![
            Watch::kind(Cluster::KIND.into(), move |_: &Runtime, change: &Change| {
                let Ok(cluster) = change.object().decode::<Cluster>() else {
                    return Vec::new();
                };
                let reference = cluster.spec.infrastructure_ref.iter();
                reference
                    .filter(|reference| reference.kind == kind && reference.api_group == group)
                    .map(|reference| change.object().key().sibling(&reference.name))
                    .collect()
            }),
            Watch::kind(self.machines.clone(), machines_gone),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let plural = self.resource.plural();
        vec![
            PolicyRule::new(self.resource.group(), [plural], ["list", "watch", "patch"]),
            PolicyRule::new(
                self.resource.group(),
                [&*format!("{plural}/status")],
                ["patch"],
            ),
            PolicyRule::new(
                self.machines.group(),
                [self.machines.plural()],
                ["list", "watch"],
            ),
            PolicyRule::new(CORE, ["clusters"], ["list", "watch"]),
            PolicyRule::new("", ["secrets"], ["get", "list", "watch"]),
            PolicyRule::new("", ["events"], ["create"]),
        ]
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
        let Some(mut subject) = Subject::<P::Cluster>::load(runtime, &self.resource, key)? else {
            return Ok(Outcome::done());
        };
        subject.sum_up(self.provider.cluster_condition());
        if subject.has_annotation(annotations::MANAGED_BY) {
            return Ok(Outcome::done().blocked_on("managed by another system"));
        }
        let Some(cluster) = subject.owning_cluster()? else {
            return Ok(Outcome::done().blocked_on("a Cluster that owns it"));
        };
        if subject.paused(Some(&cluster)) {
            subject.write_status().await?;
            return Ok(Outcome::done().blocked_on("paused"));
        }
        if subject.object.is_deleting() {
            self.destroy(subject, cluster).await
        } else {
            self.ensure(subject, cluster).await
        }
    }
}
