//! Taking the external objects of a Machine, and copying what they report.

use super::{EXTERNAL_WAIT, Lookup, Work};
use crate::{
    api::{
        ContractVersionedObjectReference, Time, annotations, cluster::CLUSTER, labels,
        machine::MACHINE,
    },
    contract::{ExternalObject, OwnerReference},
    plan::ownership,
};

impl Work<'_> {
    /// A Machine that nobody controls and nobody is going to adopt belongs to its Cluster. Always
    /// labels it with the cluster's name.
    pub(super) fn owner_and_labels(&mut self) {
        let current = &self.facts.machine.metadata;
        let owners = &current.owner_references;
        let adopted_by_others = [
            labels::SET_NAME,
            labels::POOL_NAME,
            labels::CONTROL_PLANE_NAME,
        ];
        let standalone = current.controller().is_none()
            && !ownership::has_owner_of_kind(owners, CLUSTER.group, CLUSTER.kind)
            && !adopted_by_others
                .iter()
                .any(|label| current.has_label(label));
        if standalone {
            let mut wanted = owners.clone();
            wanted.push(OwnerReference {
                api_version: CLUSTER.api_version(),
                kind: CLUSTER.kind.to_owned(),
                name: self.facts.cluster.name.clone(),
                uid: self.facts.cluster.uid.clone(),
                ..OwnerReference::default()
            });
            self.out.metadata.owners(current, wanted);
        }
        self.out
            .metadata
            .label(current, labels::CLUSTER_NAME, &self.spec.cluster_name);
    }

    /// Makes the Machine the controller of an external object, instead of the set or control plane
    /// that made it, and copies a failure it reports. False when the object cannot be taken.
    fn take(&mut self, object: &ExternalObject) -> bool {
        let machine = self.metadata();
        let owner = OwnerReference {
            api_version: MACHINE.api_version(),
            kind: MACHINE.kind.to_owned(),
            name: machine.name.clone(),
            uid: machine.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let mut owners = object.metadata.owner_references.clone();
        ownership::remove_kind(
            &mut owners,
            crate::api::machine_set::MACHINE_SET.group,
            "MachineSet",
        );
        if let Some(control_plane) = &self.facts.cluster.control_plane_ref
            && self.is_control_plane()
        {
            ownership::remove_kind(&mut owners, &control_plane.api_group, &control_plane.kind);
        }
        let owners = if ownership::has_exact(&owners, &owner) {
            Ok(owners)
        } else {
            ownership::set_controller(&mut owners, owner).map(|()| owners)
        };
        let Some(failure) = self.out.take(object, owners, &self.spec.cluster_name) else {
            return false;
        };
        let known = &mut self.status.deprecated.v1beta1;
        failure.onto(&mut known.failure_reason, &mut known.failure_message);
        true
    }

    /// The BootstrapConfig: taken, and once its data secret exists, the secret's name is copied.
    pub(super) fn bootstrap(&mut self) {
        let facts = self.facts;
        let Some(reference) = defined(self.spec.bootstrap.config_ref.as_ref()) else {
            return; // the user gives the secret
        };
        let reference = reference.clone();
        let config = match &facts.bootstrap_config {
            Lookup::Found(config) => config,
            other => return self.missing(other, &reference),
        };
        if !self.take(&config.object) {
            return;
        }
        if self.spec.bootstrap.data_secret_name.is_some() {
            self.status.initialization.bootstrap_data_secret_created = Some(true);
            return;
        }
        let created = match config.data_secret_created.as_result() {
            Ok(created) => created == Some(&true),
            Err(error) => return self.out.errors.push(error.to_owned()),
        };
        if config.object.is_deleting() {
            return;
        }
        let (namespace, name) = (
            &config.object.metadata.namespace,
            &config.object.metadata.name,
        );
        if !created {
            self.out.blocked(
                &reference.kind,
                namespace,
                name,
                "its data secret is not created yet",
            );
            return;
        }
        match config.data_secret_name.as_result() {
            Ok(Some(secret)) if !secret.is_empty() => {
                self.spec.bootstrap.data_secret_name = Some(secret.clone());
                self.out.spec.data_secret_name = Some(secret.clone());
                self.status.initialization.bootstrap_data_secret_created = Some(true);
            }
            Ok(_) => self.out.errors.push(format!(
                "got empty .status.dataSecretName field from {} {namespace}/{name}",
                reference.kind
            )),
            Err(error) => self.out.errors.push(format!(
                "failed to read dataSecretName from {} {namespace}/{name}: {error}",
                reference.kind
            )),
        }
    }

    /// The InfraMachine: taken, and once it is provisioned and has an identity, what it reports
    /// is copied, on every pass.
    pub(super) fn infrastructure(&mut self) {
        let facts = self.facts;
        let reference = self.spec.infrastructure_ref.clone();
        let latched = self.status.initialization.infrastructure_provisioned == Some(true);
        let infra = match &facts.infra_machine {
            Lookup::Found(infra) => infra,
            Lookup::NotFound if latched && !self.is_deleting() => {
                return self.infrastructure_lost(&reference);
            }
            other => return self.missing(other, &reference),
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
        let (namespace, name) = (
            &infra.object.metadata.namespace,
            &infra.object.metadata.name,
        );
        if !provisioned && !latched {
            self.out.blocked(
                &reference.kind,
                namespace,
                name,
                "it is not provisioned yet",
            );
            return;
        }
        let id = match infra.provider_id.as_result() {
            Ok(id) => id.filter(|id| !id.is_empty()),
            Err(error) => return self.out.errors.push(error.to_owned()),
        };
        let Some(id) = id else {
            self.out.blocked(
                &reference.kind,
                namespace,
                name,
                "it has no spec.providerID yet",
            );
            return;
        };
        match infra.addresses.as_result() {
            Ok(Some(addresses)) => self.status.addresses.clone_from(addresses),
            Ok(None) => {}
            Err(error) => return self.out.errors.push(error.to_owned()),
        }
        match infra.deprecated_failure_domain.as_result() {
            Ok(Some(domain)) => {
                let wanted = Some(domain.clone()).filter(|domain| !domain.is_empty());
                if self.spec.failure_domain.clone().filter(|d| !d.is_empty()) != wanted {
                    self.out.spec.failure_domain = Some(domain.clone());
                    self.spec.failure_domain = wanted;
                }
            }
            Ok(None) => {}
            Err(error) => return self.out.errors.push(error.to_owned()),
        }
        match infra.failure_domain.as_result() {
            Ok(Some(domain)) => {
                self.status.failure_domain = Some(domain.clone()).filter(|d| !d.is_empty());
            }
            Ok(None) => {}
            Err(error) => return self.out.errors.push(error.to_owned()),
        }
        if self.spec.provider_id.as_ref() != Some(id) {
            self.out.spec.provider_id = Some(id.clone());
            self.spec.provider_id = Some(id.clone());
        }
        self.status.initialization.infrastructure_provisioned = Some(true);
    }

    /// A referenced object that is not there: tolerated while deleting, else looked for again.
    fn missing<T>(&mut self, lookup: &Lookup<T>, reference: &ContractVersionedObjectReference) {
        let namespace = self.metadata().namespace.clone();
        match lookup {
            Lookup::Failed(error) => self.out.errors.push(error.clone()),
            _ if self.is_deleting() => {}
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

    fn infrastructure_lost(&mut self, reference: &ContractVersionedObjectReference) {
        let (namespace, machine) = (&self.metadata().namespace, &self.metadata().name);
        let object = format!("{namespace}/{}", reference.name);
        let error = format!(
            "could not find {} {object} for Machine {namespace}/{machine}",
            reference.kind
        );
        let deprecated = &mut self.status.deprecated.v1beta1;
        deprecated.failure_reason = Some("InvalidConfiguration".to_owned());
        deprecated.failure_message = Some(format!(
            "Machine infrastructure resource {} {object} has been deleted after provisioning was \
             completed",
            reference.kind
        ));
        self.out.errors.push(error);
    }

    /// When the certificates of a control plane machine expire: what the Machine says, else what
    /// its BootstrapConfig says.
    pub(super) fn certificate_expiry(&mut self) {
        if !self.is_control_plane() {
            return;
        }
        let facts = self.facts;
        let config = facts.bootstrap_config.found().map(|config| &config.object);
        let sources = [
            Some(("Machine", &facts.machine.metadata)),
            config.map(|object| (object.kind.as_str(), &object.metadata)),
        ];
        let said = sources.into_iter().flatten().find_map(|(kind, metadata)| {
            let text = metadata.annotations.get(annotations::CERTIFICATES_EXPIRY)?;
            Some((kind, metadata, text))
        });
        let Some((kind, metadata, text)) = said else {
            self.status.certificates_expiry_date = None;
            return;
        };
        match text.parse::<Time>() {
            Ok(time) => self.status.certificates_expiry_date = Some(time),
            Err(error) => self.out.errors.push(format!(
                "failed to reconcile certificates expiry: failed to parse expiry date from \
                 annotation on {kind} {}/{}: {error}",
                metadata.namespace, metadata.name
            )),
        }
    }
}

/// A reference that refers to something.
pub(super) fn defined(
    reference: Option<&ContractVersionedObjectReference>,
) -> Option<&ContractVersionedObjectReference> {
    reference.filter(|reference| reference.is_defined())
}
