//! A controller as a value: what it watches, what it may do, and one reconcile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Change, Error, Object, ObjectKey, ResourceType, Runtime};

/// Maps a change of an object to the objects of the controller that it concerns.
pub type MapChange = Arc<dyn Fn(&Runtime, &Change) -> Vec<ObjectKey> + Send + Sync>;
/// Maps a Node of a workload cluster to the objects of the controller that it concerns.
pub type MapNode = Arc<dyn Fn(&Runtime, &ObjectKey, &Object) -> Vec<ObjectKey> + Send + Sync>;
/// Maps a workload cluster whose connection came or went to the objects that it concerns.
pub type MapCluster = Arc<dyn Fn(&Runtime, &ObjectKey) -> Vec<ObjectKey> + Send + Sync>;

/// What wakes a controller beside its own objects.
#[derive(Clone)]
#[non_exhaustive]
pub enum Watch {
    /// Changes of a kind.
    Kind(ResourceType, MapChange),
    /// Changes of anything that has an owner of this group and kind, of whatever kind it is, once
    /// its kind is watched by somebody.
    Owned {
        /// API group of the owner.
        group: &'static str,
        /// Kind of the owner.
        kind: &'static str,
    },
    /// Changes of anything that has an owner of this group and kind, once its kind is watched by
    /// somebody.
    OwnedBy {
        /// API group of the owner.
        group: &'static str,
        /// Kind of the owner.
        kind: &'static str,
        /// The objects that it concerns.
        map: MapChange,
    },
    /// Changes of Nodes of connected workload clusters.
    Nodes(MapNode),
    /// A workload cluster's connection comes or goes.
    Connections(MapCluster),
}

impl Watch {
    /// Changes of a kind.
    pub fn kind(
        resource: ResourceType,
        map: impl Fn(&Runtime, &Change) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        Self::Kind(resource, Arc::new(map))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(resource, _) => write!(f, "Kind({resource:?})"),
            Self::Owned { group, kind } => write!(f, "Owned({kind}.{group})"),
            Self::OwnedBy { group, kind, .. } => write!(f, "OwnedBy({kind}.{group})"),
            Self::Nodes(_) => f.write_str("Nodes"),
            Self::Connections(_) => f.write_str("Connections"),
        }
    }
}

/// A rule of a ClusterRole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    /// API group.
    pub group: String,
    /// Resources, with subresources as `machines/status`.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<&'static str>,
}

impl PolicyRule {
    /// A rule of its parts.
    pub fn new<'a>(
        group: impl Into<String>,
        resources: impl IntoIterator<Item = &'a str>,
        verbs: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self {
            group: group.into(),
            resources: resources.into_iter().map(str::to_owned).collect(),
            verbs: verbs.into_iter().collect(),
        }
    }
}

/// A ClusterRole of these rules, one rule a resource.
#[must_use]
pub fn cluster_role(name: &str, rules: impl IntoIterator<Item = PolicyRule>) -> Value {
    let mut verbs = BTreeMap::<(String, String), BTreeSet<&'static str>>::new();
    for rule in rules {
        for resource in rule.resources {
            let known = verbs.entry((rule.group.clone(), resource)).or_default();
            known.extend(rule.verbs.iter().copied());
        }
    }
    let rules: Vec<Value> = verbs
        .into_iter()
        .map(|((group, resource), verbs)| {
            json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
        })
        .collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": rules,
    })
}

/// How a reconcile that went well ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    /// Reconcile again after this time, if nothing happens before.
    pub requeue_after: Option<Duration>,
    /// What the object waits for, for people.
    pub blocked_on: Option<String>,
}

impl Outcome {
    /// Nothing to wait for but events.
    pub fn done() -> Self {
        Self::default()
    }

    /// Again after a time.
    pub fn after(duration: Duration) -> Self {
        Self {
            requeue_after: Some(duration),
            blocked_on: None,
        }
    }

    /// The same, with what the object waits for.
    pub fn blocked_on(mut self, what: impl Into<String>) -> Self {
        self.blocked_on = Some(what.into());
        self
    }
}

/// A controller. The [`Manager`](super::Manager) is one host of it; anything that calls
/// [`reconcile`](Self::reconcile) with the keys that its watches give is another.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Its name in metrics and logs, as upstream's.
    fn name(&self) -> &str;

    /// The kind that it reconciles.
    fn resource(&self) -> ResourceType;

    /// What wakes it beside changes of that kind.
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    /// What it may do, for a ClusterRole: exactly the verbs that it uses.
    fn rbac(&self) -> Vec<PolicyRule>;

    /// What the core's controllers may do to the kinds of this one: for a ClusterRole with the
    /// label `cluster.x-k8s.io/aggregate-to-manager: "true"`, which grants it to a manager of the
    /// core in whatever process.
    fn rbac_of_core(&self) -> Vec<PolicyRule> {
        Vec::new()
    }

    /// Called once before the first reconcile: add indexes and listeners.
    fn start(&self, runtime: &Runtime) {
        let _ = runtime;
    }

    /// Brings one object a step nearer to what it asks for. Idempotent, and safe to drop at any
    /// await. Never called twice at once for one key by a Manager.
    ///
    /// # Errors
    /// Whatever kept it from deciding or writing; called again with backoff.
    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error>;
}
