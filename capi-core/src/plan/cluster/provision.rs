//! Taking the external objects of a Cluster, and copying what they report.

use super::{KubeconfigFacts, Lookup, Work};
use crate::{
    api::{ApiEndpoint, ClusterPhase, ContractVersionedObjectReference, cluster::CLUSTER},
    contract::{ExternalObject, Field, OwnerReference},
    plan::{Action, Event, machine::EXTERNAL_WAIT, ownership},
};

impl Work<'_> {
    pub(super) fn infrastructure_ref(&self) -> Option<ContractVersionedObjectReference> {
        defined(self.spec.infrastructure_ref.as_ref())
    }

    pub(super) fn control_plane_ref(&self) -> Option<ContractVersionedObjectReference> {
        defined(self.spec.control_plane_ref.as_ref())
    }

    /// Makes the Cluster an owner of an external object: its controller when the Cluster is made
    /// from a class, a plain owner otherwise. Copies a failure it reports. False when the object
    /// cannot be taken.
    fn take(&mut self, object: &ExternalObject) -> bool {
        let cluster = &self.facts.cluster.metadata;
        let managed = self.spec.topology.is_some();
        let owner = OwnerReference {
            api_version: CLUSTER.api_version(),
            kind: CLUSTER.kind.to_owned(),
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
            controller: managed.then_some(true),
            block_owner_deletion: managed.then_some(true),
        };
        let mut owners = object.metadata.owner_references.clone();
        let owners = if ownership::has_exact(&owners, &owner) {
            Ok(owners)
        } else if managed {
            ownership::set_controller(&mut owners, owner).map(|()| owners)
        } else {
            ownership::ensure(&mut owners, owner);
            Ok(owners)
        };
        let Some(failure) = self.out.take(object, owners, &cluster.name) else {
            return false;
        };
        let known = &mut self.status.deprecated.v1beta1;
        failure.onto(&mut known.failure_reason, &mut known.failure_message);
        true
    }

    /// A referenced object that is not there: tolerated while deleting, an error once it has been
    /// there, else looked for again.
    fn missing<T>(
        &mut self,
        lookup: &Lookup<T>,
        reference: &ContractVersionedObjectReference,
        latched: bool,
        been: &str,
    ) {
        let namespace = self.facts.cluster.metadata.namespace.clone();
        match lookup {
            Lookup::Failed(error) => self.out.errors.push(error.clone()),
            _ if self.is_deleting() => {}
            _ if latched => self.out.errors.push(format!(
                "{} has been deleted after being {been}",
                reference.kind
            )),
            _ => {
                self.out.blocked(
                    &reference.kind,
                    &namespace,
                    &reference.name,
                    "it does not exist",
                );
                self.out.again_after(self.now, EXTERNAL_WAIT);
            }
        }
    }

    /// The InfraCluster: taken, and once it is provisioned, its endpoint and failure domains are
    /// copied, on every pass.
    pub(super) fn infrastructure(&mut self) {
        let facts = self.facts;
        let Some(reference) = self.infrastructure_ref() else {
            if !self.is_deleting() {
                self.status.initialization.infrastructure_provisioned = Some(true);
            }
            return;
        };
        let latched = self.status.initialization.infrastructure_provisioned == Some(true);
        let infra = match &facts.infra_cluster {
            Lookup::Found(infra) => infra,
            other => return self.missing(other, &reference, latched, "provisioned"),
        };
        if !self.take(&infra.object) {
            return;
        }
        let provisioned = match infra.provisioned.as_result() {
            Ok(provisioned) => provisioned == Some(&true),
            Err(error) => return self.out.errors.push(error.to_owned()),
        };
        if infra.object.is_deleting() {
            return;
        }
        if !provisioned && !latched {
            let metadata = &infra.object.metadata;
            return self.out.blocked(
                &reference.kind,
                &metadata.namespace,
                &metadata.name,
                "it is not provisioned yet",
            );
        }
        if !self.endpoint(&infra.control_plane_endpoint, "infrastructure") {
            return;
        }
        match infra.failure_domains.as_result() {
            Ok(domains) => self.status.failure_domains = domains.cloned().unwrap_or_default(),
            Err(error) => {
                return self.out.errors.push(format!(
                    "failed to retrieve status.failureDomains from infrastructure provider: {error}"
                ));
            }
        }
        if !latched {
            self.latched("InfrastructureReady", "InfrastructureProvisioned");
        }
        self.status.initialization.infrastructure_provisioned = Some(true);
    }

    /// The control plane object: taken, and once it is initialized, its endpoint is copied.
    pub(super) fn control_plane(&mut self) {
        let facts = self.facts;
        let Some(reference) = self.control_plane_ref() else {
            return;
        };
        let latched = self.status.initialization.control_plane_initialized == Some(true);
        let control_plane = match &facts.control_plane {
            Lookup::Found(control_plane) => control_plane,
            other => return self.missing(other, &reference, latched, "initialized"),
        };
        if !self.take(&control_plane.object) {
            return;
        }
        let initialized = match control_plane.initialized.as_result() {
            Ok(initialized) => initialized == Some(&true),
            Err(error) => return self.out.errors.push(error.to_owned()),
        };
        if control_plane.object.is_deleting() {
            return;
        }
        if !initialized && !latched {
            let metadata = &control_plane.object.metadata;
            return self.out.blocked(
                &reference.kind,
                &metadata.namespace,
                &metadata.name,
                "it is not initialized yet",
            );
        }
        if !self.endpoint(&control_plane.control_plane_endpoint, "control plane") {
            return;
        }
        if !latched {
            self.latched("ControlPlaneInitialized", "ControlPlaneInitialized");
        }
        self.status.initialization.control_plane_initialized = Some(true);
    }

    fn latched(&mut self, reason: &'static str, field: &str) {
        let name = &self.facts.cluster.metadata.name;
        self.out.events.push(Event::normal(
            reason,
            format!("Cluster {name} {field} is now True"),
        ));
    }

    /// Takes the endpoint that a provider reports, unless there is a valid one. False when it
    /// cannot be read.
    fn endpoint(&mut self, reported: &Field<ApiEndpoint>, provider: &str) -> bool {
        if self.spec.control_plane_endpoint.is_valid() {
            return true;
        }
        match reported.as_result() {
            Ok(None) => true,
            Ok(Some(endpoint)) => {
                if self.spec.control_plane_endpoint != *endpoint && !endpoint.is_zero() {
                    self.spec.control_plane_endpoint = endpoint.clone();
                    self.out.spec.control_plane_endpoint = Some(endpoint.clone());
                }
                true
            }
            Err(error) => {
                self.out.errors.push(format!(
                    "failed to retrieve spec.controlPlaneEndpoint from {provider} provider: {error}"
                ));
                false
            }
        }
    }

    /// A Cluster without control plane object gets its kubeconfig from its own CA.
    pub(super) fn kubeconfig(&mut self) {
        if !self.spec.control_plane_endpoint.is_valid() || self.control_plane_ref().is_some() {
            return;
        }
        match self.facts.kubeconfig {
            KubeconfigFacts::NotNeeded => {}
            KubeconfigFacts::Missing => self.out.actions.push(Action::CreateKubeconfig {
                cluster: self.facts.cluster.metadata.name.clone(),
                namespace: self.facts.cluster.metadata.namespace.clone(),
                server: format!("https://{}", self.spec.control_plane_endpoint),
            }),
            KubeconfigFacts::MissingAuthority => {
                let metadata = &self.facts.cluster.metadata;
                let (namespace, name) =
                    (metadata.namespace.clone(), format!("{}-ca", metadata.name));
                self.out.blocked(
                    "Secret",
                    &namespace,
                    &name,
                    "the cluster's CA, for its kubeconfig",
                );
                self.out.again_after(self.now, EXTERNAL_WAIT);
            }
        }
    }

    /// The phase; a change is an event whose reason is the phase.
    pub(super) fn phase(&mut self) {
        let mut phase = self.status.phase.clone().unwrap_or(ClusterPhase::Pending);
        if self.infrastructure_ref().is_some() || self.control_plane_ref().is_some() {
            phase = ClusterPhase::Provisioning;
        }
        if self.status.initialization.infrastructure_provisioned == Some(true)
            && self.spec.control_plane_endpoint.is_valid()
        {
            phase = ClusterPhase::Provisioned;
        }
        if self.is_deleting() {
            phase = ClusterPhase::Deleting;
        }
        if self.status.phase.as_ref() != Some(&phase) {
            let name = &self.facts.cluster.metadata.name;
            self.out.events.push(Event::normal(
                phase.as_str().to_owned(),
                format!("Cluster {name} is {phase}"),
            ));
            self.status.phase = Some(phase);
        }
    }
}

fn defined(
    reference: Option<&ContractVersionedObjectReference>,
) -> Option<ContractVersionedObjectReference> {
    reference.filter(|r| r.is_defined()).cloned()
}
