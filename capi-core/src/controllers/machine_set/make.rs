//! Making a machine: the Machine first, then the two objects that it refers to, with it as their
//! controller from birth.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::SetObject;
use crate::{
    api::{ContractVersionedObjectReference, Machine, MachineSpec},
    contract::{CloneTemplate, Metadata, clone_template, object::group_of},
    controllers::sets::{self, FoundTemplates, machines, reference_to_clone},
    plan::{
        machine_set::{controller_reference, new_machine},
        naming::{NamingError, Seed, machine_name},
        set_status::TemplateKind,
    },
    runtime::{Error, External, Object, ObjectKey, ResourceType, Runtime},
};

/// The field manager of Machines and, at their creation, of the objects that they are made of.
pub(super) use crate::controllers::sets::MACHINE_SET_MANAGER as MANAGER;

/// A Machine that is to be made.
pub(super) struct NewMachine {
    pub(super) key: ObjectKey,
    body: Value,
}

impl NewMachine {
    /// A machine of a set, with a new name.
    pub(super) fn of(set: &SetObject, seed: u64) -> Result<Self, NamingError> {
        let template = set.spec.machine_naming.template.as_deref();
        let mut seed = Seed::new(seed);
        let (cluster, name) = (&set.spec.cluster_name, &set.metadata.name);
        let name = machine_name(template, cluster, name, &mut seed)?;
        Ok(Self::named(set, name))
    }

    /// A machine of a set, with this name.
    pub(super) fn named(set: &SetObject, name: String) -> Self {
        let new = new_machine(set, name.clone());
        let mut spec: MachineSpec = new.spec;
        let from = &set.spec.template.spec;
        spec.infrastructure_ref = reference_to_clone(&from.infrastructure_ref, &name);
        spec.bootstrap.config_ref = from
            .bootstrap
            .config_ref
            .as_ref()
            .map(|found| reference_to_clone(found, &name));
        let kind = machines();
        Self {
            key: ObjectKey::new(set.metadata.namespace.as_str(), name),
            body: json!({
                "apiVersion": kind.api_version(),
                "kind": kind.kind(),
                "metadata": new.metadata,
                "spec": spec,
            }),
        }
    }

    /// Makes the Machine. Doing it again is harmless.
    pub(super) async fn make(&self, runtime: &Runtime) -> Result<Arc<Object>, Error> {
        runtime
            .writer()
            .apply(&machines(), &self.key, MANAGER, &self.body)
            .await
    }
}

/// The kind of what is made from a template, in the version that the template has.
pub(super) fn clone_kind(
    reference: &ContractVersionedObjectReference,
    template: &External,
) -> Option<ResourceType> {
    let kind = reference.kind.strip_suffix("Template")?;
    let (group, version) = (template.resource.group(), template.resource.version());
    Some(ResourceType::by_convention(group, version, kind))
}

/// Which of the objects that a Machine is made of do not exist, although they are named as they
/// would be made from the set's templates; `None` when all are known to be there, or to be none of
/// the set's.
///
/// # Errors
/// When their kinds cannot be listed.
pub(super) async fn missing(
    runtime: &Runtime,
    machine: &Object,
    templates: &FoundTemplates,
) -> Result<Option<Vec<TemplateKind>>, Error> {
    let key = machine.key();
    let machine = machine.decode::<Machine>()?;
    let spec = &machine.spec;
    let references = [
        (TemplateKind::Bootstrap, spec.bootstrap.config_ref.as_ref()),
        (TemplateKind::Infrastructure, Some(&spec.infrastructure_ref)),
    ];
    let (mut missing, mut known) = (Vec::new(), true);
    for (kind, reference) in references {
        let Some(reference) = reference else { continue };
        let Some(template) = templates.of(kind) else {
            known = false;
            continue;
        };
        let template_kind = template.resource.kind();
        let made = template_kind.strip_suffix("Template") == Some(&reference.kind)
            && reference.name == *key.name;
        if !made {
            continue;
        }
        if template.object.is_none() {
            known = false;
            continue;
        }
        let resource = ResourceType::by_convention(
            template.resource.group(),
            template.resource.version(),
            &reference.kind,
        );
        if runtime.cache().synced(&resource).await?.get(key).is_none() {
            missing.push(kind);
        }
    }
    Ok((!known || !missing.is_empty()).then_some(missing))
}

/// Makes objects that a Machine is made of. Doing it again is harmless.
pub(super) async fn complete(
    runtime: &Runtime,
    machine: &Object,
    templates: &FoundTemplates,
    kinds: &[TemplateKind],
) -> Result<(), Error> {
    let decoded = sets::machine(machine)?;
    let making = kinds.iter().map(|kind| async {
        let Some(template) = templates.of(*kind) else {
            return Ok(());
        };
        clone(
            runtime,
            &decoded.metadata,
            &decoded.spec.cluster_name,
            template,
        )
        .await
    });
    let results = futures::future::join_all(making).await;
    results.into_iter().collect()
}

async fn clone(
    runtime: &Runtime,
    machine: &Metadata,
    cluster: &str,
    template: &External,
) -> Result<(), Error> {
    let Some(object) = &template.object else {
        return Ok(());
    };
    let value = object.value()?;
    let owner = controller_reference("Machine", machine);
    let labels: BTreeMap<String, String> = machine.labels.clone();
    let made = clone_template(&CloneTemplate {
        template: &value,
        namespace: &machine.namespace,
        name: &machine.name,
        cluster_name: cluster,
        owner: Some(&owner),
        labels: &labels,
        annotations: &machine.annotations,
    })?;
    let text = |key: &str| made[key].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let resource = ResourceType::by_convention(group_of(api_version), version, kind);
    let key = ObjectKey::new(machine.namespace.as_str(), machine.name.as_str());
    runtime
        .writer()
        .apply(&resource, &key, MANAGER, &made)
        .await?;
    Ok(())
}
