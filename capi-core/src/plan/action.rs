//! The vocabulary of plans: what is to be changed, said, waited for.
//!
//! Decides nothing and names no kind; whoever executes a plan needs no knowledge of Cluster API.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contract::{ExternalObject, Metadata, OwnerReference};

/// What a planner wants done about one object.
///
/// `Spec` is the change of the spec (its default: none), `Status` the whole status that is wanted.
/// Executing it: first `metadata` (unless it lets the object go) and `spec`, then `actions` in
/// order, then the status in one write when `status_changed`, last a `metadata` that lets the
/// object go. A plan over the state that a plan led to changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan<Spec, Status, A = Action> {
    /// Changes of labels, annotations, finalizers and owner references.
    pub metadata: MetadataChange,
    /// Changes of the spec.
    pub spec: Spec,
    /// The status that is wanted, whole.
    pub status: Status,
    /// Whether that is another one than the object has.
    pub status_changed: bool,
    /// Actions on other objects, in order.
    pub actions: Vec<A>,
    /// Events to record.
    pub events: Vec<Event>,
    /// What is waited for, for people.
    pub blocked_on: Vec<Blocked>,
    /// When to plan again even if no event comes.
    pub again: Option<Timestamp>,
    /// What went wrong; the caller backs off and plans again.
    pub errors: Vec<String>,
}

impl<Spec: Default, Status: Default, A> Default for Plan<Spec, Status, A> {
    fn default() -> Self {
        Self {
            metadata: MetadataChange::default(),
            spec: Spec::default(),
            status: Status::default(),
            status_changed: false,
            actions: Vec::new(),
            events: Vec::new(),
            blocked_on: Vec::new(),
            again: None,
            errors: Vec::new(),
        }
    }
}

impl<Spec: Default + PartialEq, Status, A> Plan<Spec, Status, A> {
    /// Whether executing the plan writes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.metadata.is_empty()
            && self.spec == Spec::default()
            && !self.status_changed
            && self.actions.is_empty()
    }

    /// Asks to plan again at `time`, or earlier when an earlier time was asked for.
    pub fn look_again(&mut self, time: Timestamp) {
        self.again = Some(self.again.map_or(time, |earlier| earlier.min(time)));
    }
}

/// Changes of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataChange {
    /// Labels to set (`Some`) and to remove (`None`).
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations to set (`Some`) and to remove (`None`).
    pub annotations: BTreeMap<String, Option<String>>,
    /// The whole list of finalizers, when it changes.
    pub finalizers: Option<Vec<String>>,
    /// The whole list of owner references, when it changes.
    pub owner_references: Option<Vec<OwnerReference>>,
}

impl MetadataChange {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Wants the label `key` to be `value`; nothing when it is.
    pub fn label(&mut self, current: &Metadata, key: &str, value: &str) {
        if current.labels.get(key).map(String::as_str) != Some(value) {
            self.labels.insert(key.to_owned(), Some(value.to_owned()));
        }
    }

    /// Wants the annotation `key` gone; nothing when it is.
    pub fn remove_annotation(&mut self, current: &Metadata, key: &str) {
        if current.has_annotation(key) {
            self.annotations.insert(key.to_owned(), None);
        }
    }

    /// Wants `finalizer` to be there; nothing when it is.
    pub fn add_finalizer(&mut self, current: &Metadata, finalizer: &str) {
        if !current.finalizers.iter().any(|f| f == finalizer) {
            let mut list = current.finalizers.clone();
            list.push(finalizer.to_owned());
            self.finalizers = Some(list);
        }
    }

    /// Wants `finalizer` gone; nothing when it is.
    pub fn remove_finalizer(&mut self, current: &Metadata, finalizer: &str) {
        if current.finalizers.iter().any(|f| f == finalizer) {
            self.finalizers = Some(
                current
                    .finalizers
                    .iter()
                    .filter(|f| *f != finalizer)
                    .cloned()
                    .collect(),
            );
        }
    }

    /// Wants exactly these owner references; nothing when they are.
    pub fn owners(&mut self, current: &Metadata, wanted: Vec<OwnerReference>) {
        if current.owner_references != wanted {
            self.owner_references = Some(wanted);
        }
    }

    /// Whether a list is replaced, so that the patch must carry the resource version it was
    /// computed from.
    #[must_use]
    pub fn replaces_a_list(&self) -> bool {
        self.finalizers.is_some() || self.owner_references.is_some()
    }

    /// Whether the change removes a finalizer, after which the object may be gone.
    #[must_use]
    pub fn lets_go(&self, current: &Metadata) -> bool {
        self.finalizers
            .as_ref()
            .is_some_and(|wanted| current.finalizers.iter().any(|f| !wanted.contains(f)))
    }

    /// The change as a JSON merge patch of the object; `None` when nothing changes. It carries
    /// the resource version of `current` when a list is replaced.
    #[must_use]
    pub fn to_merge_patch(&self, current: &Metadata) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        let mut metadata = Map::new();
        let map = |values: &BTreeMap<String, Option<String>>| -> Value {
            values
                .iter()
                .map(|(k, v)| (k.clone(), v.clone().map_or(Value::Null, Value::String)))
                .collect::<Map<_, _>>()
                .into()
        };
        if !self.labels.is_empty() {
            metadata.insert("labels".to_owned(), map(&self.labels));
        }
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), map(&self.annotations));
        }
        if let Some(list) = &self.finalizers {
            metadata.insert("finalizers".to_owned(), list.clone().into());
        }
        if let Some(list) = &self.owner_references {
            let list = list.iter().map(owner_reference).collect::<Vec<_>>();
            metadata.insert("ownerReferences".to_owned(), list.into());
        }
        if self.replaces_a_list() && !current.resource_version.is_empty() {
            metadata.insert(
                "resourceVersion".to_owned(),
                current.resource_version.clone().into(),
            );
        }
        let mut patch = Map::new();
        patch.insert("metadata".to_owned(), metadata.into());
        Some(patch.into())
    }
}

fn owner_reference(reference: &OwnerReference) -> Value {
    let mut map = Map::new();
    let mut text = |key: &str, value: &str| {
        map.insert(key.to_owned(), value.into());
    };
    text("apiVersion", &reference.api_version);
    text("kind", &reference.kind);
    text("name", &reference.name);
    text("uid", &reference.uid);
    for (key, value) in [
        ("controller", reference.controller),
        ("blockOwnerDeletion", reference.block_owner_deletion),
    ] {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.into());
        }
    }
    map.into()
}

/// An object of the management cluster, by its address and, where known, its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Group and version to address it by.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for objects of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id; a precondition of what is done to the object. Empty when not known.
    pub uid: String,
}

impl ObjectRef {
    /// The address and identity of a foreign object that was read.
    #[must_use]
    pub fn of(object: &ExternalObject) -> Self {
        Self {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
            uid: object.metadata.uid.clone(),
        }
    }
}

/// An action on another object. Doing it again is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
#[non_exhaustive]
pub enum Action {
    /// Create an object; that it exists already is success.
    Create {
        /// The whole object.
        object: Value,
    },
    /// Server-side apply, by force.
    Apply {
        /// The fields that are ours, with apiVersion, kind, name and namespace.
        object: Value,
        /// The name under which they are ours.
        field_manager: String,
    },
    /// A JSON merge patch. Gone is success.
    Patch {
        /// What to patch.
        object: ObjectRef,
        /// The patch; with a `metadata.resourceVersion` it fails with a conflict when the object
        /// changed since, and the caller plans again.
        patch: Value,
    },
    /// Delete an object, with its uid as precondition. Gone is success.
    Delete {
        /// What to delete.
        object: ObjectRef,
    },
    /// Make the kubeconfig secret of a cluster from the CA in its secret. That it exists already
    /// is success.
    CreateKubeconfig {
        /// Namespace of the Cluster.
        namespace: String,
        /// Name of the Cluster.
        cluster: String,
        /// URL of its API server.
        server: String,
    },
    /// A JSON merge patch of a Node of the workload cluster, with its resource version.
    PatchNode {
        /// Name of the Node.
        node: String,
        /// The patch.
        patch: Value,
    },
    /// Delete a Node of the workload cluster. Gone is success. The outcome is a fact of the plan
    /// that follows at once.
    DeleteNode {
        /// Name of the Node.
        node: String,
    },
    /// Read a Node of the workload cluster; what it is, is a fact of the plan that follows at once.
    InspectNode {
        /// Name of the Node.
        node: String,
    },
    /// List the pods of a Node, with what a drain needs to know of them; a fact of the plan that
    /// follows at once.
    ListPods {
        /// Name of the Node.
        node: String,
    },
    /// List the volumes that are attached to a Node; a fact of the plan that follows at once.
    ListVolumes {
        /// Name of the Node.
        node: String,
    },
    /// Evict pods of the workload cluster. The outcome of each is a fact of the next plan.
    EvictPods {
        /// The pods, in order.
        pods: Vec<PodRef>,
        /// Grace period in seconds; the pod's own when `None`.
        grace_period_seconds: Option<i64>,
    },
}

impl Action {
    /// Whether the outcome is a fact that the plan has to be made anew with, at once.
    #[must_use]
    pub fn is_question(&self) -> bool {
        matches!(
            self,
            Self::DeleteNode { .. }
                | Self::InspectNode { .. }
                | Self::ListPods { .. }
                | Self::ListVolumes { .. }
                | Self::EvictPods { .. }
        )
    }
}

/// A pod of a workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
}

/// An action of a plan that failed; a fact for the plan that follows at once, which then says so
/// in the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionFailure {
    /// The action.
    pub action: Action,
    /// Why it failed.
    pub error: String,
}

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// An event to record on the object that was planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Good or bad news.
    #[serde(rename = "type")]
    pub type_: EventType,
    /// CamelCase reason.
    pub reason: Cow<'static, str>,
    /// Text for people.
    pub message: String,
}

impl Event {
    /// Good news.
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Bad news.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The object, as a person would point at it: `DevMachine default/a`, `Node a`.
    pub on: String,
    /// What about it is missing.
    pub message: String,
}

impl Blocked {
    /// Waiting for `message` on the object `kind namespace/name`.
    pub fn on(kind: &str, namespace: &str, name: &str, message: impl Into<String>) -> Self {
        let on = if namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {namespace}/{name}")
        };
        Self {
            on,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_metadata_patch_with_a_list_carries_the_resource_version() {
        let current = Metadata {
            resource_version: "7".into(),
            finalizers: vec!["other".into()],
            ..Metadata::default()
        };
        let mut change = MetadataChange::default();
        assert_eq!(change.to_merge_patch(&current), None);
        change.label(&current, "l", "v");
        assert_eq!(
            change.to_merge_patch(&current),
            Some(json!({"metadata": {"labels": {"l": "v"}}}))
        );
        change.add_finalizer(&current, "ours");
        assert!(!change.lets_go(&current));
        assert_eq!(
            change.to_merge_patch(&current),
            Some(json!({"metadata": {
                "labels": {"l": "v"}, "finalizers": ["other", "ours"], "resourceVersion": "7",
            }}))
        );
        let mut change = MetadataChange::default();
        change.remove_finalizer(&current, "other");
        assert!(change.lets_go(&current));
    }
}
