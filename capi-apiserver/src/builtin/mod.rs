//! What is special about each built-in resource: defaults, rules, consequences. Generic code asks
//! here by name of the question; each resource's answers are in its own file.

pub(crate) mod budget;
pub(crate) mod definition;
pub(crate) mod event;
pub(crate) mod namespace;
pub(crate) mod pod;
pub(crate) mod review;
pub(crate) mod secret;

use crate::{
    gc::{Graph, Task},
    json::Value,
    object,
    registry::{Behaviour, Resource},
    server::Call,
    status::{Cause, Status},
};

/// Adds defaults.
pub(crate) fn default(call: &Call<'_>, object: &mut Value<'_>) {
    match call.resource.behaviour {
        Behaviour::Secret => secret::default(object),
        Behaviour::Pod => pod::default(object),
        Behaviour::CustomResourceDefinition => definition::default(object),
        _ => {}
    }
}

/// Faults of the object besides its metadata.
pub(crate) fn validate(call: &Call<'_>, object: &Value<'_>, old: Option<&Value<'_>>) -> Vec<Cause> {
    match call.resource.behaviour {
        Behaviour::Secret => secret::validate(object, old),
        Behaviour::ConfigMap => secret::validate_config_map(object, old),
        Behaviour::CustomResourceDefinition => definition::validate(call, object, old),
        _ => Vec::new(),
    }
}

/// Whether a client may say the status of a new object, although status is a subresource.
pub(crate) fn keeps_status_on_create(call: &Call<'_>) -> bool {
    call.resource.behaviour == Behaviour::Node
}

/// Sets what a new object begins with.
pub(crate) fn prepare_create(call: &Call<'_>, object: &mut Value<'_>) {
    match call.resource.behaviour {
        Behaviour::Namespace => namespace::prepare_create(object),
        Behaviour::Pod => pod::prepare_create(object),
        Behaviour::CustomResourceDefinition => definition::prepare_create(object),
        _ => {}
    }
}

/// Keeps what an update may not change.
pub(crate) fn prepare_update(call: &Call<'_>, object: &mut Value<'_>, old: &Value<'_>) {
    if call.resource.behaviour == Behaviour::Namespace {
        namespace::prepare_update(call, object, old);
    }
}

/// Changes of an object that is about to be deleted.
pub(crate) fn prepare_delete(resource: &Resource, object: &mut Value<'_>) {
    match resource.behaviour {
        Behaviour::Namespace => namespace::prepare_delete(object),
        Behaviour::CustomResourceDefinition => definition::prepare_delete(object),
        _ => {}
    }
}

/// Refuses deletions.
pub(crate) fn check_delete(call: &Call<'_>, object: &Value<'_>) -> Result<(), Status> {
    match call.resource.behaviour {
        Behaviour::Namespace => namespace::check_delete(call, object),
        _ => Ok(()),
    }
}

/// Whether a deleted object stays although no finalizer holds it.
pub(crate) fn outlives_finalizers(resource: &Resource, object: &Value<'_>) -> bool {
    match resource.behaviour {
        Behaviour::Namespace => namespace::is_held(object),
        Behaviour::Pod => pod::is_held(object),
        _ => false,
    }
}

/// Seconds between a deletion and its effect.
pub(crate) fn grace(resource: &Resource, object: &Value<'_>, asked: Option<i64>) -> i64 {
    match resource.behaviour {
        Behaviour::Pod => pod::grace(object, asked),
        _ => 0,
    }
}

/// Whether a deletion answers with the object that is gone.
pub(crate) fn returns_deleted(resource: &Resource) -> bool {
    matches!(
        resource.behaviour,
        Behaviour::Pod | Behaviour::ServiceAccount
    )
}

/// Notes what follows from a stored object.
pub(crate) fn written(
    resource: &Resource,
    graph: &mut Graph,
    object: &Value<'_>,
    _old: Option<&Value<'_>>,
) {
    match resource.behaviour {
        Behaviour::Namespace if object::is_deleting(object) => {
            let name = object::name(object).to_owned();
            graph.terminating.insert(name.clone());
            graph.queue(Task::Namespace(name));
        }
        Behaviour::CustomResourceDefinition => {
            graph.queue(Task::Definition(object::name(object).to_owned()));
        }
        Behaviour::Pod | Behaviour::PodDisruptionBudget => {
            graph.queue(Task::Budgets(object::namespace(object).to_owned()));
        }
        _ => {}
    }
}

/// Notes what follows from an object that is gone.
pub(crate) fn removed(resource: &Resource, graph: &mut Graph, object: &Value<'_>) {
    match resource.behaviour {
        Behaviour::Namespace => {
            graph.terminating.remove(object::name(object));
            graph.swept.remove(object::name(object));
        }
        Behaviour::CustomResourceDefinition => {
            graph.queue(Task::Definition(object::name(object).to_owned()));
        }
        Behaviour::Pod => graph.queue(Task::Budgets(object::namespace(object).to_owned())),
        _ => {}
    }
    if resource.namespaced {
        let namespace = object::namespace(object);
        if graph.terminating.contains(namespace) {
            graph.queue(Task::Namespace(namespace.to_owned()));
        }
        if resource.is_custom()
            && graph
                .terminating_definitions
                .contains(&resource.qualified())
        {
            graph.queue(Task::Definition(resource.qualified()));
        }
    } else if resource.is_custom()
        && graph
            .terminating_definitions
            .contains(&resource.qualified())
    {
        graph.queue(Task::Definition(resource.qualified()));
    }
}
