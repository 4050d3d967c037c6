//! The objects of a cluster, kept current by watches, and each change of them in order.

use std::{collections::BTreeMap, sync::OnceLock};

use async_trait::async_trait;
use capi_core::runtime::{
    Change, Controller, Error, Manager, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime,
    Watch,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::plane::definitions;

/// A kind of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    /// How deep below the Cluster it is shown.
    pub(crate) depth: usize,
}

/// The kinds that belong to a cluster, in the order in which they are shown.
pub(crate) const TREE: [Branch; 11] = [
    branch("cluster.x-k8s.io", "Cluster", 0),
    branch("infrastructure.cluster.x-k8s.io", "ProxmoxCluster", 1),
    branch("ipam.cluster.x-k8s.io", "InClusterIPPool", 2),
    branch("controlplane.cluster.x-k8s.io", "TalosControlPlane", 1),
    branch("cluster.x-k8s.io", "MachineDeployment", 1),
    branch("cluster.x-k8s.io", "MachineSet", 2),
    branch("cluster.x-k8s.io", "Machine", 2),
    branch("infrastructure.cluster.x-k8s.io", "ProxmoxMachine", 3),
    branch("bootstrap.cluster.x-k8s.io", "TalosConfig", 3),
    branch("ipam.cluster.x-k8s.io", "IPAddressClaim", 3),
    branch("ipam.cluster.x-k8s.io", "IPAddress", 3),
];

const fn branch(group: &'static str, kind: &'static str, depth: usize) -> Branch {
    Branch { group, kind, depth }
}

impl Branch {
    pub(crate) fn of(kind: &str) -> Option<&'static Self> {
        TREE.iter().find(|branch| branch.kind == kind)
    }

    /// In the version that is stored: a server that converts nothing serves no other.
    pub(crate) fn resource(&self) -> ResourceType {
        static STORED: OnceLock<BTreeMap<String, String>> = OnceLock::new();
        let stored = STORED.get_or_init(stored_versions);
        let version = stored.get(self.kind).map_or("v1", String::as_str);
        ResourceType::by_convention(self.group, version, self.kind)
    }

    /// The path of its collection in a namespace.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        self.resource().path(namespace)
    }
}

/// The stored version of each kind of ours.
fn stored_versions() -> BTreeMap<String, String> {
    let stored = |definition: &Value| {
        let spec = &definition["spec"];
        let versions = spec["versions"].as_array()?;
        let stored = versions.iter().find(|version| version["storage"] == true)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some((text(&spec["names"]["kind"])?, text(&stored["name"])?))
    };
    definitions().iter().filter_map(stored).collect()
}

/// One state of one object, or its end.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) branch: &'static Branch,
    pub(crate) object: Value,
    pub(crate) gone: bool,
}

/// A controller that changes nothing: it tells what it sees.
struct Recorder(mpsc::UnboundedSender<Seen>);

#[async_trait]
impl Controller for Recorder {
    fn name(&self) -> &str {
        "quickstart-recorder"
    }

    fn resource(&self) -> ResourceType {
        TREE[0].resource()
    }

    fn watches(&self) -> Vec<Watch> {
        let watch = |branch: &'static Branch| {
            let told = self.0.clone();
            Watch::kind(branch.resource(), move |_: &Runtime, change: &Change| {
                match change.object().value() {
                    Ok(mut object) => {
                        object["kind"] = json!(branch.kind);
                        let gone = change.new.is_none();
                        let seen = Seen {
                            branch,
                            object,
                            gone,
                        };
                        // Whoever listened has gone.
                        let _ = told.send(seen);
                    }
                    Err(error) => tracing::warn!(%error, "an object is unreadable"),
                }
                Vec::new()
            })
        };
        TREE.iter().map(watch).collect()
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let rule = |branch: &Branch| {
            let resource = branch.resource();
            PolicyRule::new(branch.group, [resource.plural()], ["get", "list", "watch"])
        };
        TREE.iter().map(rule).collect()
    }

    async fn reconcile(&self, _: &Runtime, _: &ObjectKey) -> Result<Outcome, Error> {
        Ok(Outcome::done())
    }
}

/// The objects of one cluster as they are. Ends with its process.
pub(crate) struct Tree {
    namespace: String,
    cluster: String,
    changes: mpsc::UnboundedReceiver<Seen>,
    objects: BTreeMap<(usize, String), Value>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Tree {
    /// Begins to watch.
    pub(crate) fn watch(client: kube::Client, namespace: &str, cluster: &str) -> Self {
        let (told, changes) = mpsc::unbounded_channel();
        let manager = Manager::builder(client)
            .namespace(namespace)
            .controller(Recorder(told))
            .build();
        let watcher = tokio::spawn(async move {
            if let Err(error) = manager.run(std::future::pending()).await {
                tracing::warn!(%error, "watching ended");
            }
        });
        Self {
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            changes,
            objects: BTreeMap::new(),
            watcher,
        }
    }

    /// What changed since the last call, in order.
    pub(crate) fn news(&mut self) -> Vec<Seen> {
        let mut news = Vec::new();
        while let Ok(seen) = self.changes.try_recv() {
            if !self.is_ours(&seen) {
                continue;
            }
            let place = TREE
                .iter()
                .position(|branch| branch.kind == seen.branch.kind)
                .unwrap_or(TREE.len());
            let name = seen.object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if seen.gone {
                self.objects.remove(&(place, name));
            } else {
                self.objects.insert((place, name), seen.object.clone());
            }
            news.push(seen);
        }
        news
    }

    /// The objects in the order in which they are shown, with how deep each is.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&'static Branch, &Value)> {
        self.objects
            .iter()
            .filter_map(|((place, _), object)| Some((TREE.get(*place)?, object)))
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects()
            .filter(move |(branch, _)| branch.kind == kind)
            .map(|(_, object)| object)
    }

    fn is_ours(&self, seen: &Seen) -> bool {
        let metadata = &seen.object["metadata"];
        let labelled = metadata["labels"]["cluster.x-k8s.io/cluster-name"] == self.cluster.as_str();
        metadata["namespace"] == self.namespace.as_str()
            && match seen.branch.depth {
                0 => metadata["name"] == self.cluster.as_str(),
                1 => labelled || metadata["labels"]["cluster.x-k8s.io/cluster-name"].is_null(),
                _ => labelled,
            }
    }
}
