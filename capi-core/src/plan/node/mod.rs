//! Nodes: which Node a Machine is, and what the Machine writes there.
//!
//! Decides by provider id alone, compared exactly. What is written is one merge patch with the
//! Node's resource version, and nothing when nothing changes. Labels, annotations and taints that
//! did not come from the Machine are never touched.

mod identity;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::{
        MachineSpec, MachineTaint, NodeSystemInfo, TaintPropagation, Time,
        annotations::{
            ANNOTATIONS_FROM_MACHINE, CLUSTER_NAME, CLUSTER_NAMESPACE, LABELS_FROM_MACHINE,
            MACHINE, OWNER_KIND, OWNER_NAME, TAINTS_FROM_MACHINE,
        },
        labels,
        patch::merge_patch,
    },
    contract::{Metadata, Object},
};

pub use identity::NodeIdentity;

/// Taint that bootstrap providers may set and that goes when labels were synced first.
pub const UNINITIALIZED_TAINT: &str = "node.cluster.x-k8s.io/uninitialized";
/// Taint of Nodes that a rollout is going to replace.
pub const OUTDATED_REVISION_TAINT: &str = "node.cluster.x-k8s.io/outdated-revision";

/// A Node of the workload cluster, decoded from its JSON.
pub type Node = Object<NodeSpec, NodeStatus>;

/// The parts of a Node's spec that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Identity of the host.
    #[serde(rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Taints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Whether no new pods go there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
}

/// A taint of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Effect.
    pub effect: String,
    /// When a `NoExecute` taint was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Time>,
}

impl Taint {
    fn is(&self, key: &str, effect: &str) -> bool {
        self.key == key && self.effect == effect
    }
}

/// The parts of a Node's status that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Conditions.
    pub conditions: Vec<NodeCondition>,
    /// What the kubelet says of the host.
    pub node_info: NodeSystemInfo,
    /// Volumes that are attached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_attached: Vec<AttachedVolume>,
}

/// A condition of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// When the status changed.
    pub last_transition_time: Option<Time>,
    /// Text for people.
    pub message: String,
}

/// A volume that is attached to a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedVolume {
    /// Name of the volume.
    pub name: String,
}

impl Node {
    /// Whether the kubelet cannot be reached: condition Ready is Unknown.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "Unknown")
    }
}

/// The result of looking for the Node of a provider id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant)]
pub enum NodeLookup {
    /// Nobody looked, because there is no provider id yet.
    #[default]
    NotLooked,
    /// There is exactly one.
    Found(Node),
    /// There is none.
    NotFound,
    /// There is no connection to the workload cluster.
    NotConnected,
    /// Looking failed; the text says why.
    Failed(String),
}

/// Finds the Node of `provider_id`, compared exactly.
#[must_use]
pub fn match_node<'a>(nodes: impl IntoIterator<Item = &'a Node>, provider_id: &str) -> NodeLookup {
    let mut found = nodes
        .into_iter()
        .filter(|node| node.spec.provider_id.as_deref() == Some(provider_id));
    match (found.next(), found.next()) {
        (None, _) => NodeLookup::NotFound,
        (Some(node), None) => NodeLookup::Found(node.clone()),
        (Some(_), Some(_)) => NodeLookup::Failed(format!(
            "unexpectedly found more than one Node matching the providerID {provider_id}"
        )),
    }
}

/// Which further labels and annotations of Machines go to Nodes, by the part before the slash.
///
/// Upstream takes regular expressions; ours are exact domains and `*.domain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncedKeys {
    /// Further domains of labels.
    pub labels: Vec<String>,
    /// Further domains of annotations.
    pub annotations: Vec<String>,
}

fn in_domain(key: &str, domain: &str) -> bool {
    let prefix = key.split('/').next().unwrap_or_default();
    prefix == domain
        || prefix
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

fn in_any(key: &str, domains: &[String]) -> bool {
    domains.iter().any(|domain| {
        domain.strip_prefix("*.").map_or_else(
            || key.split('/').next() == Some(domain),
            |parent| in_domain(key, parent),
        )
    })
}

/// What a Machine wants on its Node.
pub struct NodeSync<'a> {
    /// Metadata of the Machine.
    pub machine: &'a Metadata,
    /// Spec of the Machine.
    pub spec: &'a MachineSpec,
    /// Whether the infrastructure may take the machine away.
    pub interruptible: bool,
    /// Whether a rollout is going to replace it.
    pub outdated: bool,
    /// Whether taints of Machines go to Nodes.
    pub propagate_taints: bool,
    /// Further keys that are synced.
    pub keys: &'a SyncedKeys,
}

/// The annotations that are always there and are not tracked.
const BOOKKEEPING: [&str; 5] = [
    CLUSTER_NAME,
    CLUSTER_NAMESPACE,
    MACHINE,
    OWNER_KIND,
    OWNER_NAME,
];

impl NodeSync<'_> {
    /// The merge patch that makes `node` as the Machine wants it; `None` when it is. It carries
    /// the Node's resource version.
    ///
    /// # Errors
    /// When the annotation that tracks taints cannot be read.
    pub fn patch(&self, node: &Node) -> Result<Option<Value>, String> {
        let mut wanted = node.clone();
        self.annotations(&mut wanted.metadata.annotations);
        self.labels(&mut wanted.metadata);
        remove_taint(&mut wanted.spec.taints, UNINITIALIZED_TAINT, "NoSchedule");
        if self.propagate_taints {
            self.taints(&mut wanted)?;
        }
        let outdated = (OUTDATED_REVISION_TAINT, "PreferNoSchedule");
        if self.outdated {
            if !wanted
                .spec
                .taints
                .iter()
                .any(|t| t.is(outdated.0, outdated.1))
            {
                wanted.spec.taints.push(Taint {
                    key: outdated.0.to_owned(),
                    effect: outdated.1.to_owned(),
                    ..Taint::default()
                });
            }
        } else {
            remove_taint(&mut wanted.spec.taints, outdated.0, outdated.1);
        }

        if wanted.metadata == node.metadata && wanted.spec == node.spec {
            return Ok(None);
        }
        let text = |error: serde_json::Error| error.to_string();
        let view = |node: &Node| -> Result<Value, String> {
            Ok(json!({
                "metadata": {
                    "annotations": serde_json::to_value(&node.metadata.annotations).map_err(text)?,
                    "labels": serde_json::to_value(&node.metadata.labels).map_err(text)?,
                },
                "spec": {"taints": serde_json::to_value(&node.spec.taints).map_err(text)?},
            }))
        };
        let mut patch = merge_patch(&view(node)?, &view(&wanted)?);
        if let Some(Value::Object(map)) = &mut patch {
            let metadata = map
                .entry("metadata")
                .or_insert_with(|| Value::Object(Map::new()));
            if !node.metadata.resource_version.is_empty() {
                metadata["resourceVersion"] = json!(node.metadata.resource_version);
            }
        }
        Ok(patch)
    }

    /// The annotations a Node gets from the Machine.
    fn managed_annotations(&self) -> BTreeMap<String, String> {
        let mut managed = BTreeMap::from([
            (CLUSTER_NAME.to_owned(), self.spec.cluster_name.clone()),
            (CLUSTER_NAMESPACE.to_owned(), self.machine.namespace.clone()),
            (MACHINE.to_owned(), self.machine.name.clone()),
        ]);
        if let Some(owner) = self.machine.controller() {
            managed.insert(OWNER_KIND.to_owned(), owner.kind.clone());
            managed.insert(OWNER_NAME.to_owned(), owner.name.clone());
        }
        for (key, value) in &self.machine.annotations {
            if in_domain(key, labels::MANAGED_NODE_DOMAIN) || in_any(key, &self.keys.annotations) {
                managed.insert(key.clone(), value.clone());
            }
        }
        managed
    }

    /// The labels a Node gets from the Machine.
    fn managed_labels(&self) -> BTreeMap<String, String> {
        let mut managed: BTreeMap<String, String> = self
            .machine
            .labels
            .iter()
            .filter(|(key, _)| {
                key.split('/').next() == Some(labels::NODE_ROLE_PREFIX)
                    || in_domain(key, labels::NODE_RESTRICTION_DOMAIN)
                    || in_domain(key, labels::MANAGED_NODE_DOMAIN)
                    || in_any(key, &self.keys.labels)
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if self.interruptible {
            managed.insert(labels::INTERRUPTIBLE.to_owned(), String::new());
        }
        managed
    }

    fn annotations(&self, on_node: &mut BTreeMap<String, String>) {
        let managed = self.managed_annotations();
        for key in tracked(on_node, ANNOTATIONS_FROM_MACHINE)
            .into_iter()
            .chain(BOOKKEEPING.map(str::to_owned))
        {
            if key != ANNOTATIONS_FROM_MACHINE && !managed.contains_key(&key) {
                on_node.remove(&key);
            }
        }
        let tracking = join(
            managed
                .keys()
                .filter(|key| !BOOKKEEPING.contains(&key.as_str())),
        );
        on_node.extend(managed);
        on_node.insert(ANNOTATIONS_FROM_MACHINE.to_owned(), tracking);
    }

    fn labels(&self, on_node: &mut Metadata) {
        let managed = self.managed_labels();
        for key in tracked(&on_node.annotations, LABELS_FROM_MACHINE) {
            if !managed.contains_key(&key) {
                on_node.labels.remove(&key);
            }
        }
        let tracking = join(managed.keys());
        on_node.labels.extend(managed);
        on_node
            .annotations
            .insert(LABELS_FROM_MACHINE.to_owned(), tracking);
    }

    fn taints(&self, node: &mut Node) -> Result<(), String> {
        let initialized = node.metadata.annotations.get(TAINTS_FROM_MACHINE).cloned();
        let name = |taint: &MachineTaint| format!("{}:{}", taint.key, taint.effect);
        let of = |propagation: &TaintPropagation| -> BTreeSet<String> {
            self.spec
                .taints
                .iter()
                .filter(|taint| taint.propagation == *propagation)
                .map(name)
                .collect()
        };
        let always = of(&TaintPropagation::Always);
        let once = of(&TaintPropagation::OnInitialization);
        for taint in &self.spec.taints {
            if taint.propagation == TaintPropagation::OnInitialization && initialized.is_some() {
                continue;
            }
            let wanted = Taint {
                key: taint.key.clone(),
                value: taint.value.clone().filter(|value| !value.is_empty()),
                effect: taint.effect.to_string(),
                time_added: None,
            };
            let taints = &mut node.spec.taints;
            match taints
                .iter_mut()
                .find(|t| t.is(&wanted.key, &wanted.effect))
            {
                Some(found) => {
                    if found.value.clone().filter(|value| !value.is_empty()) != wanted.value {
                        *found = wanted;
                    }
                }
                None => taints.push(wanted),
            }
        }
        for gone in tracked(&node.metadata.annotations, TAINTS_FROM_MACHINE) {
            if always.contains(&gone) || once.contains(&gone) {
                continue;
            }
            let (key, effect) = gone
                .split_once(':')
                .filter(|(_, effect)| !effect.contains(':'))
                .ok_or_else(|| format!("invalid taint format: {gone:?}"))?;
            remove_taint(&mut node.spec.taints, key, effect);
        }
        node.metadata
            .annotations
            .insert(TAINTS_FROM_MACHINE.to_owned(), join(always.iter()));
        Ok(())
    }
}

fn remove_taint(taints: &mut Vec<Taint>, key: &str, effect: &str) {
    taints.retain(|taint| !taint.is(key, effect));
}

/// The keys in a tracking annotation.
fn tracked(annotations: &BTreeMap<String, String>, key: &str) -> Vec<String> {
    annotations
        .get(key)
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

fn join<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    keys.join(",")
}

/// Whether the Node of a machine is to be replaced by a rollout: the revision of its set is less
/// than that of the deployment.
///
/// # Errors
/// When a revision is no number.
pub fn is_outdated(set: Option<&Metadata>, deployment: Option<&Metadata>) -> Result<bool, String> {
    let (Some(set), Some(deployment)) = (set, deployment) else {
        return Ok(false);
    };
    let revision = |metadata: &Metadata| -> Result<i64, String> {
        metadata
            .annotations
            .get(crate::api::annotations::REVISION)
            .map_or(Ok(0), |text| {
                text.parse()
                    .map_err(|_| format!("{}: revision {text:?} is no number", metadata.name))
            })
    };
    Ok(revision(set)? < revision(deployment)?)
}

#[cfg(test)]
mod tests;
