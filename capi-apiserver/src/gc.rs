//! Garbage collection by owner references, and what else follows from a write: the emptying of
//! namespaces, the establishment of definitions. Consequences are drawn before the write that
//! caused them is answered, in order, so that they do not depend on timing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    builtin,
    json::{self, Value},
    object::{self, Owner},
    registry::{Registry, Resource, split_api_version},
    server::Server,
    storage::{Collection, Stored, Unmet},
    verbs::{
        commit,
        delete::{self, Order, Propagation},
    },
};

/// Holds an object until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) collection: Collection,
    pub(crate) key: Arc<str>,
}

impl ObjectId {
    pub(crate) fn new(resource: &Resource, key: &str) -> Self {
        Self {
            collection: resource.collection,
            key: key.into(),
        }
    }
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Whether the owners of an object are there; they are given if they are known.
    Owners(ObjectId, Option<Vec<Owner>>),
    /// An object that waits for its dependents.
    Dependents(ObjectId),
    /// A namespace that is about to go.
    Namespace(String),
    /// A definition that was written, by its name.
    Definition(String),
    /// The pods or budgets of a namespace changed.
    Budgets(String),
}

/// Who depends on whom, by uid.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    dependents: BTreeMap<String, BTreeSet<ObjectId>>,
    /// Objects under foreground deletion that wait for dependents.
    waiting: BTreeMap<String, ObjectId>,
    /// Namespaces that wait to be empty.
    pub(crate) terminating: BTreeSet<String>,
    /// Those of them in which everything has been marked for deletion.
    pub(crate) swept: BTreeSet<String>,
    /// Definitions that wait for their objects to go.
    pub(crate) terminating_definitions: BTreeSet<String>,
    queue: VecDeque<Task>,
}

impl Graph {
    pub(crate) fn queue(&mut self, task: Task) {
        // Of an object's owners there is at most one question at a time, and they can be many.
        if matches!(task, Task::Owners(..)) || !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    /// Notes a stored object.
    pub(crate) fn written(&mut self, id: ObjectId, object: &Value<'_>, old: Option<&Value<'_>>) {
        let references = |object: &Value<'_>| object.at(&["metadata", "ownerReferences"]).is_some();
        if references(object) || old.is_some_and(references) {
            let owners = object::owners(object);
            let before = old.map(object::owners).unwrap_or_default();
            if owners != before {
                for owner in &before {
                    if !owners.iter().any(|one| one.uid == owner.uid) {
                        self.forget(&owner.uid, &id);
                    }
                    self.recheck(&owner.uid);
                }
                for owner in &owners {
                    self.dependents
                        .entry(owner.uid.clone())
                        .or_default()
                        .insert(id.clone());
                }
                self.queue(Task::Owners(id.clone(), Some(owners)));
            }
        }
        if object::is_deleting(object)
            && (object::has_finalizer(object, FOREGROUND) || object::has_finalizer(object, ORPHAN))
        {
            self.queue(Task::Dependents(id));
        }
    }

    /// Notes that an object is gone.
    pub(crate) fn removed(&mut self, id: &ObjectId, object: &Value<'_>) {
        for owner in object::owners(object) {
            self.forget(&owner.uid, id);
            self.recheck(&owner.uid);
        }
        let uid = object::uid(object);
        self.waiting.remove(uid);
        if let Some(dependents) = self.dependents.get(uid) {
            let dependents: Vec<_> = dependents.iter().cloned().collect();
            for dependent in dependents {
                self.queue(Task::Owners(dependent, None));
            }
        }
    }

    fn forget(&mut self, uid: &str, id: &ObjectId) {
        if let Some(dependents) = self.dependents.get_mut(uid) {
            dependents.remove(id);
            if dependents.is_empty() {
                self.dependents.remove(uid);
            }
        }
    }

    fn recheck(&mut self, uid: &str) {
        if let Some(owner) = self.waiting.get(uid).cloned() {
            self.queue(Task::Dependents(owner));
        }
    }

    fn dependents(&self, uid: &str) -> Vec<ObjectId> {
        self.dependents
            .get(uid)
            .map(|ids| ids.iter().cloned().collect())
            .unwrap_or_default()
    }
}

/// Does what is queued, and what follows from it, until nothing is left.
pub(crate) fn settle(server: &Server) {
    loop {
        let task = server.graph().queue.pop_front();
        let Some(task) = task else { return };
        let done = match &task {
            Task::Owners(id, owners) => check_owners(server, id, owners.as_deref()),
            Task::Dependents(id) => check_dependents(server, id),
            Task::Namespace(name) => builtin::namespace::empty(server, name),
            Task::Definition(name) => builtin::definition::establish(server, name),
            Task::Budgets(namespace) => builtin::budget::recount(server, namespace),
        };
        if done.is_err() {
            // Writes are made one at a time: nobody can have been faster.
            tracing::error!(
                ?task,
                "a consequence of a write met a state that it did not expect"
            );
        }
    }
}

/// What an owner reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There, or of a kind that is not known.
    Solid,
    /// Not there.
    Dangling,
    /// There, and waiting for its dependents to go.
    Waiting,
}

fn find(
    server: &Server,
    registry: &Registry,
    resource: &Resource,
    id: &ObjectId,
    owner: &Owner,
) -> Found {
    let (group, _) = split_api_version(&owner.api_version);
    let Some(kind) = registry.kind(group, &owner.kind) else {
        return Found::Solid;
    };
    if kind.namespaced && !resource.namespaced {
        return Found::Solid;
    }
    let namespace = id
        .key
        .split_once('/')
        .map_or("", |(namespace, _)| namespace);
    let Some(stored) = server
        .store
        .get(kind.collection, &kind.key(namespace, &owner.name))
    else {
        return Found::Dangling;
    };
    let uid =
        crate::peek::at(&stored.bytes, &["metadata", "uid"]).and_then(crate::peek::plain_string);
    if uid != Some(owner.uid.as_str()) {
        return Found::Dangling;
    }
    if crate::peek::at(&stored.bytes, &["metadata", "deletionTimestamp"]).is_none() {
        return Found::Solid;
    }
    match json::parse(&stored.bytes) {
        Ok(document) if object::has_finalizer(&document.value, FOREGROUND) => Found::Waiting,
        _ => Found::Solid,
    }
}

fn check_owners(server: &Server, id: &ObjectId, known: Option<&[Owner]>) -> Result<(), Unmet> {
    let registry = server.registry();
    let Some(resource) = registry.collection(id.collection) else {
        return Ok(());
    };
    if let Some(owners) = known
        && owners
            .iter()
            .all(|owner| find(server, &registry, resource, id, owner) == Found::Solid)
    {
        return Ok(());
    }
    let Some(stored) = server.store.get(id.collection, &id.key) else {
        return Ok(());
    };
    let Ok(document) = json::parse(&stored.bytes) else {
        return Ok(());
    };
    let object = document.value;
    if object::is_deleting(&object) {
        if object::has_finalizer(&object, FOREGROUND) {
            server.graph().queue(Task::Dependents(id.clone()));
        }
        return Ok(());
    }
    let owners = object::owners(&object);
    let found: Vec<Found> = owners
        .iter()
        .map(|owner| find(server, &registry, resource, id, owner))
        .collect();
    if owners.is_empty() || found.iter().all(|found| *found == Found::Solid) {
        return Ok(());
    }
    if found.contains(&Found::Solid) {
        let gone: Vec<&str> = owners
            .iter()
            .zip(&found)
            .filter(|(_, found)| **found != Found::Solid)
            .map(|(owner, _)| owner.uid.as_str())
            .collect();
        return amend(server, resource, id, &stored, &object, |object| {
            drop_owners(object, &gone);
        });
    }
    let has_dependents = !server.graph().dependents(object::uid(&object)).is_empty();
    let propagation = if found.contains(&Found::Waiting) && has_dependents {
        Propagation::Foreground
    } else if object::has_finalizer(&object, ORPHAN) {
        Propagation::Orphan
    } else if object::has_finalizer(&object, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let order = Order {
        propagation: Some(propagation),
        ..Order::default()
    };
    delete::begin(server, resource, &id.key, &stored, &object, &order).map(drop)
}

fn check_dependents(server: &Server, id: &ObjectId) -> Result<(), Unmet> {
    let registry = server.registry();
    let Some(resource) = registry.collection(id.collection) else {
        return Ok(());
    };
    let Some(stored) = server.store.get(id.collection, &id.key) else {
        return Ok(());
    };
    let Ok(document) = json::parse(&stored.bytes) else {
        return Ok(());
    };
    let object = document.value;
    if !object::is_deleting(&object) {
        return Ok(());
    }
    let uid = object::uid(&object).to_owned();
    let dependents = server.graph().dependents(&uid);
    if object::has_finalizer(&object, ORPHAN) {
        for dependent in &dependents {
            orphan(server, &registry, dependent, &uid)?;
        }
        return amend(server, resource, id, &stored, &object, |object| {
            drop_finalizer(object, ORPHAN);
        });
    }
    if !object::has_finalizer(&object, FOREGROUND) {
        return Ok(());
    }
    if !server.graph().waiting.contains_key(&uid) {
        // Those that come later are looked at when they are written.
        for dependent in &dependents {
            check_owners(server, dependent, None)?;
        }
    }
    let blocked = dependents.iter().any(|dependent| {
        server
            .store
            .get(dependent.collection, &dependent.key)
            .is_some_and(|stored| {
                json::parse(&stored.bytes).is_ok_and(|document| {
                    object::owners(&document.value)
                        .iter()
                        .any(|owner| owner.uid == uid && owner.blocks_deletion)
                })
            })
    });
    if blocked {
        server.graph().waiting.insert(uid, id.clone());
        return Ok(());
    }
    amend(server, resource, id, &stored, &object, |object| {
        drop_finalizer(object, FOREGROUND);
    })
}

fn orphan(server: &Server, registry: &Registry, id: &ObjectId, uid: &str) -> Result<(), Unmet> {
    let Some(resource) = registry.collection(id.collection) else {
        return Ok(());
    };
    let Some(stored) = server.store.get(id.collection, &id.key) else {
        return Ok(());
    };
    let Ok(document) = json::parse(&stored.bytes) else {
        return Ok(());
    };
    amend(server, resource, id, &stored, &document.value, |object| {
        drop_owners(object, &[uid]);
    })
}

fn drop_owners(object: &mut Value<'_>, uids: &[&str]) {
    let Some(references) = object
        .at_mut(&["metadata", "ownerReferences"])
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    references.retain(|reference| {
        let uid = reference
            .get("uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        !uids.contains(&uid)
    });
    if references.is_empty() {
        object.remove_at(&["metadata", "ownerReferences"]);
    }
}

pub(crate) fn drop_finalizer(object: &mut Value<'_>, finalizer: &str) {
    let kept = object::finalizers(object)
        .filter(|one| *one != finalizer)
        .map(str::to_owned)
        .collect();
    object::set_finalizers(object, kept);
}

/// Changes a stored object as the system does: without admission; it goes if nothing holds it.
///
/// # Errors
/// [`Unmet`] when the stored object is another by now.
pub(crate) fn amend(
    server: &Server,
    resource: &Resource,
    id: &ObjectId,
    stored: &Stored,
    object: &Value<'_>,
    change: impl FnOnce(&mut Value<'_>),
) -> Result<(), Unmet> {
    let mut new = object.clone();
    change(&mut new);
    if new == *object {
        return Ok(());
    }
    let gone = object::is_deleting(&new)
        && object::finalizers(&new).next().is_none()
        && !builtin::outlives_finalizers(resource, &new);
    if gone {
        commit::delete(server, resource, &id.key, stored, &mut new).map(drop)
    } else {
        commit::put(
            server,
            resource,
            &id.key,
            Some(stored),
            Some(object),
            &mut new,
        )
        .map(drop)
    }
}
