//! An object's metadata as plain values, without a Kubernetes crate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::Time;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The parts of an object's metadata that decisions are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; empty for objects of the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Unique id, given by the API server.
    #[serde(skip_serializing_if = "is_default")]
    pub uid: String,
    /// Version for optimistic concurrency.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_version: String,
    /// Counts changes of the spec.
    #[serde(skip_serializing_if = "is_default")]
    pub generation: i64,
    /// When it was created.
    #[serde(skip_serializing_if = "is_default")]
    pub creation_timestamp: Time,
    /// When its deletion was asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion_timestamp: Option<Time>,
    /// Labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Who must be done before the object may vanish.
    #[serde(skip_serializing_if = "is_default")]
    pub finalizers: Vec<String>,
    /// Owners.
    #[serde(skip_serializing_if = "is_default")]
    pub owner_references: Vec<OwnerReference>,
}

impl Metadata {
    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether there is a label `key`.
    #[must_use]
    pub fn has_label(&self, key: &str) -> bool {
        self.labels.contains_key(key)
    }

    /// Whether there is an annotation `key`, whatever its value.
    #[must_use]
    pub fn has_annotation(&self, key: &str) -> bool {
        self.annotations.contains_key(key)
    }

    /// The owner that controls the object.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|r| r.is_controller())
    }
}

/// An object of a kind whose spec and status are known; decodes from the object's JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object<Spec, Status> {
    /// Metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: Spec,
    /// What was observed.
    pub status: Status,
}

/// A reference from an object to one of its owners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Unique id of the owner.
    pub uid: String,
    /// Whether the owner controls the object; at most one does.
    #[serde(skip_serializing_if = "is_default")]
    pub controller: Option<bool>,
    /// Whether foreground deletion of the owner waits for the object.
    #[serde(skip_serializing_if = "is_default")]
    pub block_owner_deletion: Option<bool>,
}

impl OwnerReference {
    /// API group of the owner; empty for Kubernetes' core group.
    #[must_use]
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether the owner controls the object.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.controller == Some(true)
    }
}

/// The group in `group/version`.
#[must_use]
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
