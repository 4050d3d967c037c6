//! What the controllers of MachineSets and MachineDeployments share: rows kept from watches, and
//! templates as facts.

mod owned;
mod rows;

pub(super) use super::collect::CORE;
pub(super) use owned::owned_fields;
pub(super) use rows::{MACHINE_SET_MANAGER, Rows};

use std::sync::Arc;

use serde_json::json;

use crate::{
    api::{
        Cluster, ContractVersionedObjectReference, Machine, MachineSpec, MachineStatus,
        MachineTemplateSpec, annotations, labels,
    },
    contract,
    plan::{
        machine_set::cluster_reference,
        ownership,
        set_status::{OwningCluster, TemplateFacts, TemplateKind, Templates},
    },
    runtime::{Error, External, Object, ObjectKey, ResourceType, Runtime},
};

/// A Machine as the planners see it.
pub(super) type MachineObject = contract::Object<MachineSpec, MachineStatus>;

/// The kind Machine.
pub(super) fn machines() -> ResourceType {
    Machine::KIND.into()
}

/// The Cluster of an object of Cluster API.
pub(super) fn cluster_of(
    runtime: &Runtime,
    object: &ObjectKey,
    name: &str,
) -> Result<(Arc<Object>, Arc<Cluster>), Error> {
    let key = object.sibling(name);
    let store = runtime.cache().store(&Cluster::KIND.into());
    let found = store.get(&key);
    let found = found.ok_or_else(|| Error::Missing(format!("Cluster {key} does not exist")))?;
    let cluster = found.decode()?;
    Ok((found, cluster))
}

pub(super) fn owning_cluster(object: &Object, cluster: &Cluster) -> OwningCluster {
    OwningCluster {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        paused: cluster.spec.paused == Some(true),
    }
}

/// The templates of machines, as objects and as facts.
#[derive(Default)]
pub(super) struct FoundTemplates {
    pub(super) infrastructure: Option<External>,
    pub(super) bootstrap: Option<External>,
}

impl FoundTemplates {
    /// Looks both templates up. What goes needs none, and must not be held up by a kind that is
    /// gone: it looks up nothing.
    pub(super) async fn find(
        runtime: &Runtime,
        namespace: &str,
        template: &MachineTemplateSpec,
    ) -> Result<Self, Error> {
        let spec = &template.spec;
        let infrastructure = runtime
            .external(namespace, &spec.infrastructure_ref)
            .await?;
        let bootstrap = match &spec.bootstrap.config_ref {
            Some(reference) => Some(runtime.external(namespace, reference).await?),
            None => None,
        };
        Ok(Self {
            infrastructure: Some(infrastructure),
            bootstrap,
        })
    }

    pub(super) fn facts(&self, cluster: &OwningCluster) -> Result<Templates, Error> {
        Ok(Templates {
            infrastructure: facts(self.infrastructure.as_ref(), cluster)?,
            bootstrap: facts(self.bootstrap.as_ref(), cluster)?,
        })
    }

    pub(super) fn of(&self, kind: TemplateKind) -> Option<&External> {
        match kind {
            TemplateKind::Infrastructure => self.infrastructure.as_ref(),
            TemplateKind::Bootstrap => self.bootstrap.as_ref(),
        }
    }
}

fn facts(found: Option<&External>, cluster: &OwningCluster) -> Result<TemplateFacts, Error> {
    let Some(found) = found else {
        return Ok(TemplateFacts::default());
    };
    let Some(object) = &found.object else {
        return Ok(TemplateFacts {
            exists: false,
            ..TemplateFacts::default()
        });
    };
    let metadata = metadata(object)?;
    Ok(TemplateFacts {
        exists: true,
        owned_by_cluster: ownership::has_exact(
            &metadata.owner_references,
            &cluster_reference(cluster),
        ),
        skip_preflight_checks: metadata
            .annotations
            .get(annotations::SKIP_PREFLIGHT_CHECKS)
            .cloned(),
    })
}

/// The metadata of an object whose kind is not known.
pub(super) fn metadata(object: &Object) -> Result<contract::Metadata, Error> {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        metadata: contract::Metadata,
    }
    let head: Head = serde_json::from_slice(object.bytes())
        .map_err(|source| Error::decode(&object.key().to_string(), source))?;
    Ok(head.metadata)
}

/// A Machine in the planners' form.
pub(super) fn machine(object: &Object) -> Result<MachineObject, Error> {
    let machine = object.decode::<Machine>()?;
    Ok(MachineObject {
        metadata: super::collect::metadata(&machine.metadata),
        spec: machine.spec.clone(),
        status: machine.status.clone(),
    })
}

/// Makes the Cluster an owner of a template.
pub(super) async fn own_template(
    runtime: &Runtime,
    template: &External,
    cluster: &OwningCluster,
) -> Result<(), Error> {
    let Some(object) = &template.object else {
        return Ok(());
    };
    let mut owners = metadata(object)?.owner_references;
    ownership::ensure(&mut owners, cluster_reference(cluster));
    let patch = json!({ "metadata": {
        "resourceVersion": object.resource_version(),
        "ownerReferences": owners,
    }});
    runtime
        .writer()
        .merge_patch(&template.resource, &template.key, &patch)
        .await?;
    Ok(())
}

/// The reference to the object that is made from a template, named as its machine.
pub(super) fn reference_to_clone(
    template: &ContractVersionedObjectReference,
    name: &str,
) -> ContractVersionedObjectReference {
    let kind = template
        .kind
        .strip_suffix("Template")
        .unwrap_or(&template.kind);
    ContractVersionedObjectReference {
        kind: kind.to_owned(),
        name: name.to_owned(),
        api_group: template.api_group.clone(),
    }
}

/// Keys of the objects of a kind that belong to a Cluster, by its label.
pub(super) fn of_cluster(
    runtime: &Runtime,
    kind: &ResourceType,
    cluster: &ObjectKey,
) -> Vec<ObjectKey> {
    let objects = runtime.cache().store(kind).of_cluster(cluster);
    objects.iter().map(|object| object.key().clone()).collect()
}

/// The deployment that an object's label names.
pub(super) fn deployment_name(object: &Object) -> Option<&str> {
    object.label(labels::DEPLOYMENT_NAME)
}
