//! POST of a collection.

use crate::{
    builtin, clock,
    hooks::Operation,
    json::{Object, Value},
    object,
    registry::Behaviour,
    reply::Reply,
    server::Call,
    status::Status,
};

use super::{commit, fields, metadata, shape};

pub(crate) fn create(call: &Call<'_>) -> Result<Reply, Status> {
    if call.resource.behaviour == Behaviour::Review {
        return builtin::review::create(call);
    }
    let (mut object, duplicates) =
        shape::decode(call.kind(), &call.request.content_type, &call.request.body)?;
    shape::check_type(call, &mut object)?;
    let warnings = shape::prune_and_default(call, &mut object, &duplicates)?;
    insert(call, object, warnings, fields::Writer::Update)
}

/// Creates an object that has been decoded, pruned and defaulted.
pub(crate) fn insert(
    call: &Call<'_>,
    mut object: Value<'_>,
    warnings: Vec<String>,
    writer: fields::Writer,
) -> Result<Reply, Status> {
    if !object::text(&object, "resourceVersion").is_empty()
        && matches!(writer, fields::Writer::Update)
    {
        return Err(Status::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    metadata::fit_path(call, &mut object)?;
    prepare(call, &mut object);
    builtin::prepare_create(call, &mut object);
    shape::mutate(call, Operation::Create, &mut object, None)?;
    check_namespace(call, object::name(&object))?;
    shape::validate(call, &object, None)?;
    shape::admit(call, Operation::Create, &object, None)?;
    let mut warnings = warnings;
    warnings.extend(metadata::finalizer_warnings(call, &object, None));
    let key = call
        .resource
        .key(&call.path.namespace, object::name(&object));
    if call
        .server
        .store
        .get(call.resource.collection, &key)
        .is_some()
    {
        return Err(Status::already_exists(
            call.group(),
            call.plural(),
            object::name(&object),
        ));
    }
    fields::track(call, &mut object, None, writer);
    let bytes = commit::store(
        call,
        commit::Write {
            key: &key,
            old: None,
            old_object: None,
            object,
        },
    )?;
    commit::answer(call, 201, bytes, warnings)
}

/// Sets what only the server sets.
fn prepare(call: &Call<'_>, object: &mut Value<'_>) {
    if call.version().status
        && !builtin::keeps_status_on_create(call)
        && let Some(object) = object.as_object_mut()
    {
        object.remove("status");
    }
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return;
    };
    set(metadata, call);
}

fn set(metadata: &mut Object<'_>, call: &Call<'_>) {
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ] {
        metadata.remove(field);
    }
    let generate = metadata
        .get("generateName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let unnamed = metadata
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty();
    if unnamed && !generate.is_empty() {
        let name = call.server.entropy.name(generate);
        metadata.insert("name", name);
    }
    metadata.insert("uid", call.server.entropy.uid());
    metadata.insert("creationTimestamp", clock::seconds(call.now));
    if call.resource.generation {
        metadata.insert("generation", 1_i64);
    } else {
        metadata.remove("generation");
    }
}

/// A namespace must be there and not about to go.
fn check_namespace(call: &Call<'_>, name: &str) -> Result<(), Status> {
    if !call.resource.namespaced {
        return Ok(());
    }
    let namespace = &call.path.namespace;
    let Some(namespaces) = call.registry.resource("", "namespaces") else {
        return Ok(());
    };
    let Some(stored) = call.server.store.get(namespaces.collection, namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    if crate::peek::at(&stored.bytes, &["metadata", "deletionTimestamp"]).is_some() {
        return Err(builtin::namespace::terminating(call, namespace, name));
    }
    Ok(())
}
