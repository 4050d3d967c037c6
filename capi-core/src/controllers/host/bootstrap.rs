//! Bootstrap objects.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{
    ports::{SlotTable, context},
    subject::{CORE, Subject, of_cluster, rbac_of_clones},
};
use crate::{
    api::{Cluster, Machine, labels},
    plan::condition::{is_true, types},
    provider::{Bootstrap, BootstrapContext, BootstrapRole, Progress, SecretRequest},
    runtime::{
        Change, Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch,
    },
};

/// The controller of a provider's bootstrap objects.
pub struct BootstrapHost<P: Bootstrap> {
    provider: Arc<P>,
    resource: ResourceType,
    name: String,
}

impl<P: Bootstrap> BootstrapHost<P> {
    /// Hosts the bootstrap objects of a provider.
    pub fn new(provider: Arc<P>) -> Self {
        let resource = ResourceType::of::<P::Config>();
        Self {
            provider,
            name: resource.kind().to_ascii_lowercase(),
            resource,
        }
    }

    async fn ensure(
        &self,
        mut subject: Subject<P::Config>,
        cluster: Arc<Cluster>,
    ) -> Result<Outcome, Error> {
        let Some(machine) = subject.machine()? else {
            return subject
                .wait(
                    "Machine",
                    "WaitingForMachine",
                    "Waiting for the Machine that owns this object",
                )
                .await;
        };
        let infrastructure_ready =
            cluster.status.initialization.infrastructure_provisioned == Some(true);
        if !infrastructure_ready {
            return subject
                .wait(
                    "Cluster infrastructure",
                    "WaitingForClusterInfrastructureReady",
                    "Waiting for Cluster status.initialization.infrastructureProvisioned to be true",
                )
                .await;
        }
        let control_plane = machine
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(labels::CONTROL_PLANE));
        let initialized = is_true(&cluster.status.conditions, types::CONTROL_PLANE_INITIALIZED)
            || cluster.status.initialization.control_plane_initialized == Some(true);
        if !control_plane && !initialized && self.provider.workers_wait_for_control_plane() {
            return subject
                .wait(
                    "control plane",
                    "WaitingForControlPlaneInitialized",
                    "Waiting for the Cluster's control plane to be initialized",
                )
                .await;
        }
        let reference = &machine.spec.infrastructure_ref;
        let infrastructure = match subject
            .runtime
            .external(&subject.key().namespace, reference)
            .await
        {
            Ok(external) => external
                .object
                .map(|object| object.value().map(Arc::new))
                .transpose()?,
            Err(Error::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let control_plane_machines = if control_plane {
            let key = subject.key().sibling(&machine.spec.cluster_name);
            let machines = subject.runtime.cache().store(&Machine::KIND.into());
            machines
                .of_cluster(&key)
                .iter()
                .filter(|machine| machine.label(labels::CONTROL_PLANE).is_some())
                .map(|machine| machine.decode())
                .collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let cx = BootstrapContext {
            context: context(
                &subject.runtime,
                &self.name,
                &self.resource,
                &subject.object,
                Some(Arc::clone(&cluster)),
                &SlotTable::default(),
            ),
            cluster,
            machine,
            config: Arc::clone(&subject.typed),
            role: if control_plane {
                BootstrapRole::ControlPlane
            } else {
                BootstrapRole::Worker
            },
            infrastructure,
            control_plane_machines,
        };
        let name = self.provider.secret_name(&cx);
        let namespace = subject.key().namespace.clone();
        let written = match cx.context.secrets().get(&namespace, &name).await {
            Ok(found) => found.is_some_and(|secret| secret.expose("value").is_some()),
            Err(error) => return subject.unready(Err(error)).await,
        };
        if written {
            match self.provider.refresh(&cx).await {
                Ok(Progress::Ready(())) => {}
                Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
                Err(error) => return subject.unready(Err(error)).await,
            }
        } else {
            let data = match self.provider.generate(&cx).await {
                Ok(Progress::Ready(data)) => data,
                Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
                Err(error) => return subject.unready(Err(error)).await,
            };
            let mut request = SecretRequest::new(
                &*name,
                "value",
                secrecy::ExposeSecret::expose_secret(&data.value),
            );
            if let Some(format) = data.format {
                request = request.with("format", format);
            }
            if let Err(error) = cx.context.secrets().create(request).await {
                return subject.unready(Err(error)).await;
            }
            subject.merge_status(data.status);
        }
        subject.set_status("dataSecretName", json!(name));
        subject.set_status("initialization", json!({ "dataSecretCreated": true }));
        subject.set_status("ready", json!(true));
        subject.ready();
        subject.write_status().await?;
        Ok(Outcome::done())
    }
}

#[async_trait]
impl<P: Bootstrap> Controller for BootstrapHost<P> {
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
        let by_machine = move |_: &Runtime, change: &Change| {
            let Ok(machine) = change.object().decode::<Machine>() else {
                return Vec::new();
            };
            let reference = machine.spec.bootstrap.config_ref.iter();
            reference
                .filter(|reference| reference.kind == kind && reference.api_group == group)
                .map(|reference| change.object().key().sibling(&reference.name))
                .collect()
        };
        vec![
            Watch::kind(Machine::KIND.into(), by_machine),
            of_cluster(&self.resource),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let plural = self.resource.plural();
        vec![
            PolicyRule::new(self.resource.group(), [plural], ["list", "watch"]),
            PolicyRule::new(
                self.resource.group(),
                [&*format!("{plural}/status")],
                ["patch"],
            ),
            PolicyRule::new(CORE, ["clusters", "machines"], ["list", "watch"]),
            PolicyRule::new("", ["secrets"], ["get", "list", "watch", "create", "patch"]),
            // The infrastructure machine, of any provider of that group.
            PolicyRule::new("infrastructure.cluster.x-k8s.io", ["*"], ["list", "watch"]),
            PolicyRule::new(
                "apiextensions.k8s.io",
                ["customresourcedefinitions"],
                ["list", "watch"],
            ),
            PolicyRule::new("", ["events"], ["create"]),
        ]
    }

    fn rbac_of_core(&self) -> Vec<PolicyRule> {
        rbac_of_clones(&self.resource)
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let Some(mut subject) = Subject::<P::Config>::load(runtime, &self.resource, key)? else {
            return Ok(Outcome::done());
        };
        let Some(cluster) = subject.cluster()? else {
            return Ok(Outcome::done().blocked_on("the Cluster that its label names"));
        };
        if subject.paused(Some(&cluster)) {
            subject.write_status().await?;
            return Ok(Outcome::done().blocked_on("paused"));
        }
        if subject.object.is_deleting() {
            return self.destroy(subject, &cluster).await;
        }
        self.ensure(subject, cluster).await
    }
}

impl<P: Bootstrap> BootstrapHost<P> {
    /// Bootstrap objects own nothing outside the management cluster: what they own there goes with
    /// them by owner reference. A finalizer that another provider of the kind left is taken away.
    async fn destroy(
        &self,
        subject: Subject<P::Config>,
        _cluster: &Cluster,
    ) -> Result<Outcome, Error> {
        for finalizer in self.provider.foreign_finalizers() {
            subject.let_go(finalizer).await?;
        }
        Ok(Outcome::done())
    }
}
