//! Kinds as values: what a path and an apiVersion need.

use std::{fmt, sync::Arc};

use crate::{api::KindInfo, contract::version::pluralize};

/// Group, version, kind, plural and scope of a kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(Arc<Names>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl ResourceType {
    /// A kind of its parts.
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
        plural: impl Into<String>,
        namespaced: bool,
    ) -> Self {
        Self(Arc::new(Names {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            namespaced,
        }))
    }

    /// A namespaced kind whose plural follows from its name, as Cluster API's contract demands.
    #[must_use]
    pub fn by_convention(group: &str, version: &str, kind: &str) -> Self {
        Self::new(group, version, kind, pluralize(&kind.to_lowercase()), true)
    }

    /// A kind of the type that stands for it, named as Cluster API's contract demands.
    #[must_use]
    pub fn of<K: kube_core::Resource<DynamicType = ()>>() -> Self {
        Self::by_convention(&K::group(&()), &K::version(&()), &K::kind(&()))
    }

    /// API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.0.group
    }

    /// Version, `v1beta2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Plural, as in paths.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.0.plural
    }

    /// Objects live in namespaces.
    #[must_use]
    pub fn namespaced(&self) -> bool {
        self.0.namespaced
    }

    /// `group/version`, or the version alone for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.0.group.is_empty() {
            self.0.version.clone()
        } else {
            format!("{}/{}", self.0.group, self.0.version)
        }
    }

    /// Path of the collection in a namespace, or of all namespaces for an empty one.
    #[must_use]
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.0.group.is_empty() {
            format!("/api/{}", self.0.version)
        } else {
            format!("/apis/{}/{}", self.0.group, self.0.version)
        };
        if namespace.is_empty() || !self.0.namespaced {
            format!("{root}/{}", self.0.plural)
        } else {
            format!("{root}/namespaces/{namespace}/{}", self.0.plural)
        }
    }
}

impl From<KindInfo> for ResourceType {
    fn from(kind: KindInfo) -> Self {
        Self::new(
            kind.group,
            kind.version,
            kind.kind,
            kind.plural,
            kind.namespaced,
        )
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.kind, self.api_version())
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        let machines = ResourceType::by_convention("cluster.x-k8s.io", "v1beta2", "Machine");
        assert_eq!(
            machines.path("default"),
            "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
        );
        assert_eq!(machines.path(""), "/apis/cluster.x-k8s.io/v1beta2/machines");
        let nodes = ResourceType::new("", "v1", "Node", "nodes", false);
        assert_eq!(nodes.path("ignored"), "/api/v1/nodes");
    }
}
