//! What a control plane's plan is made from.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use secrecy::SecretString;
use serde_json::Value;

use super::ControlPlaneHost;
use crate::{
    api::{Cluster, Machine, MachineAddress, MachineSpec, MachineStatus, annotations, labels},
    contract::{InfraMachineView, Metadata, Object as PlainObject},
    controllers::host::{
        ports::{SlotTable, context},
        subject::Subject,
    },
    plan::{
        control_plane::{
            ControlPlaneCluster, ControlPlaneFacts, ControlPlaneHealth, ControlPlaneStatus, Guard,
            Kubeconfig, Machine as MachineFacts, MachineHealth, RemediationRecord,
            WantedControlPlane,
        },
        set_status::OwningCluster,
    },
    provider::{
        Again, ControlPlane, ControlPlaneContext, ControlPlaneMachine, DesiredControlPlane,
        Progress, StatusFields,
    },
    runtime::{Error, Object, ObjectKey, ResourceType, Runtime, secrets},
};

/// The annotation on a control plane that notes a remediation under way.
pub(super) const REMEDIATION_IN_PROGRESS: &str =
    "controlplane.cluster.x-k8s.io/remediation-in-progress";
/// The annotation on a machine that notes which it replaces.
pub(super) const REMEDIATION_FOR: &str = "controlplane.cluster.x-k8s.io/remediation-for";

/// A distribution that waits for something of its own is asked again after this time.
const SLOW_LOOK: Duration = Duration::from_secs(10);

/// Facts, and what the actions that follow from them need.
pub(super) struct Collected<P: ControlPlane> {
    pub(super) facts: ControlPlaneFacts,
    pub(super) desired: DesiredControlPlane,
    pub(super) cx: ControlPlaneContext<P::ControlPlane>,
    /// The objects of the machines, by name.
    pub(super) machines: BTreeMap<String, Arc<Object>>,
    /// Machines whose infrastructure machine or bootstrap object was not made yet.
    pub(super) incomplete: Vec<Arc<Object>>,
    /// The infrastructure template, when it exists.
    pub(super) template: Option<(ResourceType, Arc<Object>)>,
    /// The kubeconfig that the Secret is to have.
    pub(super) kubeconfig: Option<SecretString>,
    /// Status fields of the provider's own.
    pub(super) status: Option<StatusFields>,
    /// When the provider wants to be asked again.
    pub(super) retry: Option<Duration>,
    /// The name that a machine was to have which does not exist: the next one has it.
    pub(super) name: Option<String>,
}

impl<P: ControlPlane> ControlPlaneHost<P> {
    pub(super) async fn collect(
        &self,
        subject: &Subject<P::ControlPlane>,
        cluster: Arc<Cluster>,
        desired: DesiredControlPlane,
    ) -> Result<Collected<P>, Error> {
        let runtime = &subject.runtime;
        let namespace = subject.key().namespace.clone();
        let cluster_key = subject
            .key()
            .sibling(cluster.metadata.name.as_deref().unwrap_or_default());
        let reference = &desired.infrastructure_template;
        let template = match runtime.external(&namespace, reference).await {
            Ok(external) => external.object.map(|object| (external.resource, object)),
            Err(Error::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let context = context(
            runtime,
            &self.name,
            &self.resource,
            &subject.object,
            Some(Arc::clone(&cluster)),
            &SlotTable::default(),
        );
        let mut collected = Collected {
            facts: ControlPlaneFacts::default(),
            cx: ControlPlaneContext {
                context,
                cluster: Arc::clone(&cluster),
                control_plane: Arc::clone(&subject.typed),
                machines: Vec::new(),
            },
            machines: BTreeMap::new(),
            incomplete: Vec::new(),
            template,
            kubeconfig: None,
            status: None,
            retry: None,
            name: None,
            desired,
        };
        for object in runtime
            .cache()
            .store(&Machine::KIND.into())
            .of_cluster(&cluster_key)
        {
            if object.label(labels::CONTROL_PLANE).is_some() {
                self.machine(subject, &mut collected, object).await?;
            }
        }
        let metadata: Metadata = metadata_of(&subject.object)?;
        let deleting = metadata.is_deleting();
        let provisioned = cluster.status.initialization.infrastructure_provisioned == Some(true);
        let mut facts = ControlPlaneFacts {
            api_version: self.resource.api_version(),
            kind: self.resource.kind().to_owned(),
            remediation_in_progress: record(&metadata, REMEDIATION_IN_PROGRESS),
            finalizer: self.finalizer.clone(),
            status: subject.status().and_then(contract_status),
            conditions: subject.conditions(),
            wanted: wanted(&collected.desired),
            cluster: owning(
                &cluster,
                provisioned,
                self.workers(runtime, &cluster_key, deleting),
            ),
            template_exists: collected.template.is_some(),
            template_owned: collected.template.as_ref().is_some_and(|(_, template)| {
                let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
                template.owners().iter().any(|owner| owner.uid == uid)
            }),
            machines: std::mem::take(&mut collected.facts.machines),
            unseen: 0,
            health: ControlPlaneHealth::default(),
            etcd_managed: self.provider.etcd_managed(),
            prepared: false,
            kubeconfig: Kubeconfig::Missing,
            guard: Guard::default(),
            metadata,
        };
        if provisioned && !deleting && !facts.cluster.owner.paused {
            facts.prepared = match self.provider.prepare(&collected.cx).await? {
                Progress::Ready(()) => true,
                Progress::Waiting(wait) => {
                    collected.retry = Some(match wait.again {
                        Again::After(after) => after,
                        Again::OnEvent => SLOW_LOOK,
                    });
                    false
                }
            };
        }
        if !facts.machines.is_empty() && !facts.cluster.owner.paused {
            let health = self.provider.inspect(&collected.cx).await?;
            collected.status = Some(health.status);
            facts.health = ControlPlaneHealth {
                initialized: health.initialized,
                etcd_healthy: health.etcd_healthy,
                foreign_members: health.foreign_members,
                machines: health
                    .machines
                    .into_iter()
                    .map(|machine| {
                        (
                            machine.machine,
                            MachineHealth {
                                member: machine.member,
                                learner: machine.learner,
                                member_healthy: machine.member_healthy,
                                components: machine.components,
                                message: machine.message,
                            },
                        )
                    })
                    .collect(),
            };
        }
        if facts.prepared && facts.cluster.endpoint_valid {
            self.kubeconfig(subject, &cluster_key, &mut facts, &mut collected)
                .await?;
        }
        collected.facts = facts;
        Ok(collected)
    }

    async fn machine(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &mut Collected<P>,
        object: Arc<Object>,
    ) -> Result<(), Error> {
        let runtime = &subject.runtime;
        let machine: Arc<Machine> = object.decode()?;
        let plain: PlainObject<MachineSpec, MachineStatus> = serde_json::from_slice(object.bytes())
            .map_err(|source| Error::decode(&object.key().to_string(), source))?;
        let namespace = &object.key().namespace;
        let infrastructure = existing(runtime, namespace, &machine.spec.infrastructure_ref).await?;
        let bootstrap = match &machine.spec.bootstrap.config_ref {
            Some(reference) => existing(runtime, namespace, reference).await?,
            None => None,
        };
        let template = &collected.desired.infrastructure_template;
        let infrastructure_current = infrastructure.as_ref().and_then(|(_, found)| {
            let noted = found.pointer("/metadata/annotations")?;
            let name = noted.get(annotations::CLONED_FROM_NAME)?.as_str()?;
            let kind = noted.get(annotations::CLONED_FROM_GROUP_KIND)?.as_str()?;
            Some(
                name == template.name
                    && kind == format!("{}.{}", template.kind, template.api_group),
            )
        });
        let bootstrap_current = bootstrap
            .as_ref()
            .map(|(_, found)| self.provider.bootstrap_current(&subject.typed, found));
        let mut addresses: Vec<MachineAddress> = machine.status.addresses.clone();
        if addresses.is_empty()
            && let Some((contract, found)) = &infrastructure
        {
            let view = InfraMachineView::read(found, *contract)?;
            addresses = view.addresses.get().cloned().unwrap_or_default();
        }
        collected.facts.machines.push(MachineFacts {
            infrastructure_current,
            bootstrap_current,
            left: self.has_left(object.uid()),
            remediation_for: record(&plain.metadata, REMEDIATION_FOR),
            object: plain,
        });
        let made = infrastructure.is_some() && bootstrap.is_some();
        // One that had both lost one since: that is for health checks, not to be made again.
        if !made && !object.is_deleting() && machine.spec.provider_id.is_none() {
            collected.incomplete.push(Arc::clone(&object));
        }
        collected.cx.machines.push(ControlPlaneMachine {
            machine,
            addresses,
            bootstrap: bootstrap.map(|(_, found)| Arc::new(found)),
        });
        collected.machines.insert(object.name().to_owned(), object);
        Ok(())
    }

    async fn kubeconfig(
        &self,
        subject: &Subject<P::ControlPlane>,
        cluster: &ObjectKey,
        facts: &mut ControlPlaneFacts,
        collected: &mut Collected<P>,
    ) -> Result<(), Error> {
        let name = format!("{}-kubeconfig", cluster.name);
        let stored = subject
            .runtime
            .cache()
            .store(&secrets())
            .get(&cluster.sibling(&name));
        let ours = stored.as_ref().is_none_or(|secret| {
            secret
                .owners()
                .iter()
                .any(|owner| owner.uid == subject.object.uid())
        });
        let current = match &stored {
            None => None,
            Some(_) => collected
                .cx
                .context
                .secrets()
                .get(&cluster.namespace, &name)
                .await?
                .and_then(|secret| String::from_utf8(secret.expose("value")?.to_vec()).ok())
                .map(SecretString::from),
        };
        if ours {
            match self
                .provider
                .kubeconfig(&collected.cx, current.as_ref())
                .await?
            {
                Progress::Ready(new) => collected.kubeconfig = new,
                Progress::Waiting(_) => collected.retry = Some(SLOW_LOOK),
            }
        }
        facts.kubeconfig = match (stored, &collected.kubeconfig) {
            (Some(_), new) => Kubeconfig::Present {
                ours,
                renewal_due: new.is_some(),
            },
            (None, Some(_)) => Kubeconfig::Missing,
            // Nothing can be written yet, so nothing is planned.
            (None, None) => Kubeconfig::Present {
                ours: true,
                renewal_due: false,
            },
        };
        Ok(())
    }

    /// Workers that still exist, as messages name them.
    fn workers(&self, runtime: &Runtime, cluster: &ObjectKey, deleting: bool) -> Vec<String> {
        if !deleting {
            return Vec::new();
        }
        let machines = runtime.cache().store(&Machine::KIND.into());
        machines
            .of_cluster(cluster)
            .iter()
            .filter(|machine| machine.label(labels::CONTROL_PLANE).is_none())
            .map(|machine| machine.name().to_owned())
            .collect()
    }
}

/// The object that a reference names, when it and its kind exist.
async fn existing(
    runtime: &Runtime,
    namespace: &str,
    reference: &crate::api::ContractVersionedObjectReference,
) -> Result<Option<(crate::contract::ContractVersion, Value)>, Error> {
    match runtime.external(namespace, reference).await {
        Ok(external) => match external.object {
            Some(object) => Ok(Some((external.contract, object.value()?))),
            None => Ok(None),
        },
        Err(Error::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn metadata_of(object: &Object) -> Result<Metadata, Error> {
    #[derive(serde::Deserialize)]
    struct Head {
        metadata: Metadata,
    }
    serde_json::from_slice::<Head>(object.bytes())
        .map(|head| head.metadata)
        .map_err(|source| Error::decode(&object.key().to_string(), source))
}

fn record(metadata: &Metadata, annotation: &str) -> Option<RemediationRecord> {
    // A record that cannot be read counts as none: the chain starts anew.
    serde_json::from_str(metadata.annotations.get(annotation)?).ok()
}

fn wanted(desired: &DesiredControlPlane) -> WantedControlPlane {
    WantedControlPlane {
        replicas: desired.replicas,
        version: desired.version.clone(),
        infrastructure_template: desired.infrastructure_template.clone(),
        surge: desired.surge,
        on_delete: desired.on_delete,
        rollout_after: desired.rollout_after.map(crate::api::Time::new),
        max_remediations: desired.max_remediations,
        remediation_period_seconds: desired.remediation_period_seconds,
        min_healthy_period_seconds: desired.min_healthy_period_seconds,
    }
}

fn owning(cluster: &Cluster, provisioned: bool, workers: Vec<String>) -> ControlPlaneCluster {
    let endpoint = &cluster.spec.control_plane_endpoint;
    ControlPlaneCluster {
        owner: OwningCluster {
            name: cluster.metadata.name.clone().unwrap_or_default(),
            uid: cluster.metadata.uid.clone().unwrap_or_default(),
            paused: cluster.spec.paused == Some(true),
        },
        infrastructure_provisioned: provisioned,
        endpoint_valid: !endpoint.host.is_empty() && endpoint.port != 0,
        failure_domains: cluster.status.failure_domains.clone(),
        topology_version: None,
        upgrade_step: None,
        workers,
    }
}

/// The status of a control plane in the planner's terms. One that cannot be read is as good as
/// none: it is written anew.
pub(super) fn contract_status(status: &Value) -> Option<ControlPlaneStatus> {
    let mut read: ControlPlaneStatus = serde_json::from_value(status.clone()).ok()?;
    let at = |path| status.pointer(path).and_then(Value::as_bool) == Some(true);
    read.initialized = at("/initialization/controlPlaneInitialized") || at("/initialized");
    Some(read)
}
