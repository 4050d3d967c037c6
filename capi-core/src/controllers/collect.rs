//! Facts that several controllers collect alike.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::{
    api::{ContractVersionedObjectReference, Time},
    contract::{ContractError, ContractVersion, Metadata, OwnerReference},
    plan::lookup::Lookup,
    runtime::Runtime,
};

/// API group of the core's kinds.
pub(crate) const CORE: &str = "cluster.x-k8s.io";

/// An object's metadata as plain values.
pub(crate) fn metadata(meta: &ObjectMeta) -> Metadata {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let owners = meta.owner_references.iter().flatten();
    Metadata {
        name: text(&meta.name),
        namespace: text(&meta.namespace),
        uid: text(&meta.uid),
        resource_version: text(&meta.resource_version),
        generation: meta.generation.unwrap_or_default(),
        creation_timestamp: meta
            .creation_timestamp
            .as_ref()
            .map(|t| Time::new(t.0))
            .unwrap_or_default(),
        deletion_timestamp: meta.deletion_timestamp.as_ref().map(|t| Time::new(t.0)),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        finalizers: meta.finalizers.clone().unwrap_or_default(),
        owner_references: owners
            .map(|owner| OwnerReference {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
                controller: owner.controller,
                block_owner_deletion: owner.block_owner_deletion,
            })
            .collect(),
    }
}

/// The view of the object that a reference names. What keeps it from being read is part of the
/// answer, since the plan says so in a condition.
pub(crate) async fn external<T>(
    runtime: &Runtime,
    namespace: &str,
    reference: Option<&ContractVersionedObjectReference>,
    read: impl Fn(&Value, ContractVersion) -> Result<T, ContractError>,
) -> Lookup<T> {
    let Some(reference) = reference.filter(|reference| reference.is_defined()) else {
        return Lookup::NotReferenced;
    };
    let found = match runtime.external(namespace, reference).await {
        Ok(found) => found,
        Err(error) => return Lookup::Failed(error.full_message()),
    };
    let Some(object) = found.object else {
        return Lookup::NotFound;
    };
    match object.value() {
        Ok(value) => match read(&value, found.contract) {
            Ok(view) => Lookup::Found(view),
            Err(error) => Lookup::Failed(error.to_string()),
        },
        Err(error) => Lookup::Failed(error.full_message()),
    }
}
