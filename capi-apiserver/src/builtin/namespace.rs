//! Namespaces: their phase, and the emptying of those that are deleted.

use crate::{
    clock,
    gc::{ObjectId, amend},
    json::{self, Object, Value},
    object,
    server::{Call, Server},
    status::{Cause, Details, Status},
    storage::{Range, Unmet},
    verbs::delete::{self, Order, Propagation},
};

/// Namespaces that every server has, and that cannot be deleted.
pub(crate) const SYSTEM: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

pub(crate) fn prepare_create(namespace: &mut Value<'_>) {
    let name = object::name(namespace).to_owned();
    namespace.set_at(&["metadata", "labels", NAME_LABEL], name);
    let mut finalizers: Vec<Value<'_>> = namespace
        .at(&["spec", "finalizers"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    if !finalizers
        .iter()
        .any(|finalizer| finalizer.as_str() == Some(FINALIZER))
    {
        finalizers.push(FINALIZER.into());
    }
    namespace.set_at(&["spec", "finalizers"], finalizers);
    namespace.set_at(&["status", "phase"], "Active");
}

pub(crate) fn prepare_update(call: &Call<'_>, namespace: &mut Value<'_>, old: &Value<'_>) {
    let name = object::name(namespace).to_owned();
    namespace.set_at(&["metadata", "labels", NAME_LABEL], name);
    if call.path.subresource != "finalize" {
        match old.at(&["spec", "finalizers"]) {
            Some(finalizers) => {
                namespace.set_at(&["spec", "finalizers"], finalizers.clone().into_owned());
            }
            None => drop(namespace.remove_at(&["spec", "finalizers"])),
        }
    }
}

pub(crate) fn prepare_delete(namespace: &mut Value<'_>) {
    namespace.set_at(&["status", "phase"], "Terminating");
}

pub(crate) fn check_delete(call: &Call<'_>, namespace: &Value<'_>) -> Result<(), Status> {
    let name = object::name(namespace);
    if IMMORTAL.contains(&name) {
        return Err(Status::forbidden(
            "",
            call.plural(),
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

pub(crate) fn is_held(namespace: &Value<'_>) -> bool {
    namespace
        .at(&["spec", "finalizers"])
        .and_then(Value::as_array)
        .is_some_and(|finalizers| !finalizers.is_empty())
}

/// Creating something in a namespace that is about to go.
pub(crate) fn terminating(call: &Call<'_>, namespace: &str, name: &str) -> Status {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let status = Status::forbidden(call.group(), call.plural(), name, why);
    let mut details = status.details().cloned().unwrap_or_default();
    details.causes = vec![Cause::new(
        "NamespaceTerminating",
        "metadata.namespace",
        format!("namespace {namespace} is being terminated"),
    )];
    status.with_details(Details { ..details })
}

/// Deletes what is in a namespace that is about to go; the namespace goes with the last of it.
pub(crate) fn empty(server: &Server, name: &str) -> Result<(), Unmet> {
    let registry = server.registry();
    let Some(namespaces) = registry.resource("", "namespaces") else {
        return Ok(());
    };
    let Some(stored) = server.store.get(namespaces.collection, name) else {
        return Ok(());
    };
    let Ok(document) = json::parse(&stored.bytes) else {
        return Ok(());
    };
    let namespace = document.value;
    if !object::is_deleting(&namespace) {
        return Ok(());
    }
    let prefix = format!("{name}/");
    let id = ObjectId::new(namespaces, name);
    let swept = !server.graph().swept.insert(name.to_owned());
    let is_left = || {
        let mut namespaced = registry.resources().filter(|resource| resource.namespaced);
        namespaced.any(|resource| server.store.any(resource.collection, &prefix))
    };
    if swept && is_left() {
        // Everything is marked already, and nothing new can be created.
        return Ok(());
    }
    let mut left: Vec<(String, usize)> = Vec::new();
    let mut finalizers: std::collections::BTreeMap<String, usize> =
        std::collections::BTreeMap::new();
    for resource in registry.resources().filter(|resource| resource.namespaced) {
        let range = Range {
            prefix: &prefix,
            ..Range::default()
        };
        let Ok(listing) = server.store.list(resource.collection, range) else {
            continue;
        };
        for (key, stored) in listing.items {
            let Ok(document) = json::parse(&stored.bytes) else {
                continue;
            };
            let object = document.value;
            for finalizer in object::finalizers(&object) {
                *finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
            if !object::is_deleting(&object) {
                let order = Order {
                    propagation: Some(Propagation::Background),
                    grace: Some(0),
                    ..Order::default()
                };
                delete::begin(server, resource, &key, &stored, &object, &order)?;
            }
        }
        let count = server.store.count(resource.collection, &prefix);
        if count > 0 {
            left.push((resource.qualified(), count));
        }
    }
    if left.is_empty() {
        return amend(server, namespaces, &id, &stored, &namespace, |namespace| {
            let finalizers = namespace
                .at_mut(&["spec", "finalizers"])
                .and_then(Value::as_array_mut);
            if let Some(finalizers) = finalizers {
                finalizers.retain(|finalizer| finalizer.as_str() != Some(FINALIZER));
            }
        });
    }
    let now = clock::seconds(server.clock.now());
    amend(server, namespaces, &id, &stored, &namespace, |namespace| {
        let conditions = conditions(&left, &finalizers, &now, namespace);
        namespace.set_at(&["status", "conditions"], conditions);
    })
}

/// What the real namespace controller says about content that is left.
fn conditions(
    left: &[(String, usize)],
    finalizers: &std::collections::BTreeMap<String, usize>,
    now: &str,
    namespace: &Value<'_>,
) -> Vec<Value<'static>> {
    let resources: Vec<String> = left
        .iter()
        .map(|(name, count)| format!("{name} has {count} resource instances"))
        .collect();
    let holders: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", resources.join(", ")),
        ),
        if holders.is_empty() {
            (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    holders.join(", ")
                ),
            )
        },
    ];
    let before = namespace
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    rows.into_iter()
        .map(|(kind, status, reason, message)| {
            let since = before
                .iter()
                .find(|one| one.get("type").and_then(Value::as_str) == Some(kind))
                .filter(|one| one.get("status").and_then(Value::as_str) == Some(status))
                .and_then(|one| one.get("lastTransitionTime"))
                .and_then(Value::as_str)
                .unwrap_or(now)
                .to_owned();
            let mut condition = Object::new();
            condition.insert("type", kind);
            condition.insert("status", status);
            condition.insert("lastTransitionTime", since);
            condition.insert("reason", reason);
            condition.insert("message", message);
            Value::Object(condition)
        })
        .collect()
}
