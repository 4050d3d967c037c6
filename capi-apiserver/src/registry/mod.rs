//! What is served: resources as data, built in or defined by CustomResourceDefinitions. A registry
//! is a value that requests share; a change of definitions makes a new one.

pub(crate) mod builtin;
pub(crate) mod custom;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    schema::Schema,
    storage::{Collection, Version},
    table::Columns,
};

/// The names of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
}

/// Which code beyond the generic one belongs to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Defined by a CustomResourceDefinition.
    Custom,
    /// Data only.
    Plain,
    Namespace,
    Secret,
    ConfigMap,
    Event,
    Node,
    Pod,
    PodDisruptionBudget,
    ServiceAccount,
    Lease,
    CustomResourceDefinition,
    /// Answered and never stored.
    Review,
}

/// Paths of the scale subresource, as member names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) spec_replicas: Vec<String>,
    pub(crate) status_replicas: Vec<String>,
    pub(crate) label_selector: Option<Vec<String>>,
}

/// One version in which a resource is read and written.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) group: String,
    pub(crate) version: String,
    /// `group/version`, or `version` in the core group.
    pub(crate) api_version: String,
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    /// Of built-in versions one that keeps everything.
    pub(crate) schema: Arc<Schema>,
    pub(crate) columns: Arc<Columns>,
    pub(crate) selectable: Vec<String>,
    /// The warning that each use of the version answers with.
    pub(crate) deprecated: Option<String>,
}

/// A resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) names: Names,
    pub(crate) namespaced: bool,
    pub(crate) collection: Collection,
    pub(crate) served: Vec<Served>,
    /// The version in which objects are stored; it may be one that is not served.
    pub(crate) storage_api_version: String,
    pub(crate) group: String,
    pub(crate) behaviour: Behaviour,
    /// Whether `metadata.generation` counts changes of what is desired.
    pub(crate) generation: bool,
    /// The version of the store when the definition was read: what was written later was judged
    /// by it.
    pub(crate) since: Version,
    /// Whether a PUT without resourceVersion is understood.
    pub(crate) unconditional_update: bool,
}

impl Resource {
    /// `plural.group`, by which hooks are registered.
    pub(crate) fn qualified(&self) -> String {
        crate::status::qualified(&self.group, &self.names.plural)
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.behaviour == Behaviour::Custom
    }

    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }

    /// The verbs that discovery tells.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.behaviour {
            Behaviour::Review => &["create"],
            Behaviour::Custom => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            Behaviour::Namespace => &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
            _ => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
        }
    }
}

/// A resource and the index of one of its served versions.
type Path = (Arc<Resource>, usize);

/// Everything that is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    /// By group and plural name of the version in which they are stored.
    resources: BTreeMap<(String, String), Arc<Resource>>,
    /// By group, version and plural name: the resource and the index of its served version.
    paths: BTreeMap<(String, String), BTreeMap<String, Path>>,
    collections: BTreeMap<Collection, Arc<Resource>>,
}

impl Registry {
    pub(crate) fn insert(&mut self, resource: Resource) {
        self.remove(&resource.group, &resource.names.plural);
        let resource = Arc::new(resource);
        for (index, served) in resource.served.iter().enumerate() {
            self.paths
                .entry((served.group.clone(), served.version.clone()))
                .or_default()
                .insert(resource.names.plural.clone(), (resource.clone(), index));
        }
        self.collections
            .insert(resource.collection, resource.clone());
        self.resources.insert(
            (resource.group.clone(), resource.names.plural.clone()),
            resource,
        );
    }

    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        let Some(resource) = self
            .resources
            .remove(&(group.to_owned(), plural.to_owned()))
        else {
            return;
        };
        self.collections.remove(&resource.collection);
        for served in &resource.served {
            let path = (served.group.clone(), served.version.clone());
            if let Some(resources) = self.paths.get_mut(&path) {
                resources.remove(plural);
                if resources.is_empty() {
                    self.paths.remove(&path);
                }
            }
        }
    }

    /// The resource behind a path.
    pub(crate) fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<(Arc<Resource>, usize)> {
        self.paths
            .get(&(group.to_owned(), version.to_owned()))?
            .get(plural)
            .cloned()
    }

    /// The resource of a kind, in any version.
    pub(crate) fn kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.values().find(|resource| {
            resource.names.kind == kind
                && resource.served.iter().any(|served| served.group == group)
        })
    }

    pub(crate) fn resource(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource whose objects are in a collection.
    pub(crate) fn collection(&self, collection: Collection) -> Option<&Arc<Resource>> {
        self.collections.get(&collection)
    }

    /// All resources, sorted by group and plural name.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        self.paths
            .contains_key(&(group.to_owned(), version.to_owned()))
    }

    /// The resources of a group version with the index of that version, sorted by plural name.
    pub(crate) fn in_version(
        &self,
        group: &str,
        version: &str,
    ) -> impl Iterator<Item = &(Arc<Resource>, usize)> {
        self.paths
            .get(&(group.to_owned(), version.to_owned()))
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Groups other than the core one with their versions, the preferred version first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version) in self.paths.keys() {
            if !group.is_empty() {
                groups.entry(group).or_default().push(version);
            }
        }
        groups
            .into_iter()
            .map(|(group, mut versions)| {
                versions.sort_by(|a, b| version_order(b, a));
                (
                    group.to_owned(),
                    versions.into_iter().map(str::to_owned).collect(),
                )
            })
            .collect()
    }
}

/// Kubernetes' order of versions: GA before beta before alpha, higher before lower, others last by name.
pub(crate) fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    fn rank(version: &str) -> (u8, u64, u64) {
        let Some(rest) = version.strip_prefix('v') else {
            return (0, 0, 0);
        };
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let Ok(major) = rest[..digits].parse() else {
            return (0, 0, 0);
        };
        match &rest[digits..] {
            "" => (3, major, 0),
            suffix => {
                let (stage, number) = if let Some(number) = suffix.strip_prefix("beta") {
                    (2, number)
                } else if let Some(number) = suffix.strip_prefix("alpha") {
                    (1, number)
                } else {
                    return (0, 0, 0);
                };
                match number.parse() {
                    Ok(number) => (stage, major, number),
                    Err(_) => (0, 0, 0),
                }
            }
        }
    }
    rank(a).cmp(&rank(b)).then_with(|| b.cmp(a))
}

/// `group/version`, or `version` in the core group.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Group and version of an `apiVersion`.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_and_number() {
        let mut versions = vec!["v1alpha1", "v2", "v1beta1", "foo", "v1", "v1beta2", "v10"];
        versions.sort_by(|a, b| version_order(b, a));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
        );
    }
}
