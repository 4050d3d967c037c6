//! Objects of foreign kinds: found by group, kind and name, read in the version that answers
//! the contract.

use std::{collections::BTreeMap, sync::Arc};

use super::{Error, Object, ObjectKey, ResourceType, Runtime};
use crate::{
    api::ContractVersionedObjectReference,
    contract::{ContractVersion, crd_name, resolve_version},
};

/// CustomResourceDefinitions, of which only the metadata is kept.
#[must_use]
pub fn custom_resource_definitions() -> ResourceType {
    ResourceType::new(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    )
}

/// A foreign object as the contract sees it.
#[derive(Clone, Debug)]
pub struct External {
    /// Its kind, in the version that answers the contract.
    pub resource: ResourceType,
    /// That contract.
    pub contract: ContractVersion,
    /// Its key.
    pub key: ObjectKey,
    /// The object, when it exists.
    pub object: Option<Arc<Object>>,
}

impl Runtime {
    /// The version of a kind that answers the newest contract it fulfils.
    ///
    /// # Errors
    /// When the kind's CustomResourceDefinition does not exist, or bears no contract label.
    pub async fn contract(
        &self,
        group: &str,
        kind: &str,
    ) -> Result<(ResourceType, ContractVersion), Error> {
        let name = crd_name(group, kind);
        let store = self.cache().synced(&custom_resource_definitions()).await?;
        let crd = store
            .get(&ObjectKey::new("", name.as_str()))
            .ok_or_else(|| {
                Error::Missing(format!("CustomResourceDefinition {name} does not exist"))
            })?;
        let labels: BTreeMap<String, String> = crd
            .labels()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let (contract, version) = resolve_version(&name, &labels)?;
        let plural = name.split('.').next().unwrap_or_default();
        Ok((
            ResourceType::new(group, version, kind, plural, true),
            contract,
        ))
    }

    /// The object that a reference names. Its kind is watched from then on.
    ///
    /// # Errors
    /// As [`contract`](Self::contract), and when the kind cannot be listed.
    pub async fn external(
        &self,
        namespace: &str,
        reference: &ContractVersionedObjectReference,
    ) -> Result<External, Error> {
        let (resource, contract) = self.contract(&reference.api_group, &reference.kind).await?;
        let key = ObjectKey::new(namespace, reference.name.as_str());
        let object = self.cache().get(&resource, &key).await?;
        Ok(External {
            resource,
            contract,
            key,
            object,
        })
    }
}
