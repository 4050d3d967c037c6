//! The last step of a write: the version of storage, the bytes, the graph of owners, and what the
//! client is answered.

use bytes::Bytes;

use crate::{
    gc::ObjectId,
    json::{self, Value},
    object,
    registry::Resource,
    reply::Reply,
    server::{Call, Server},
    status::Status,
    storage::{Expect, Stored, Unmet},
};

/// What a write stores in place of what.
pub(crate) struct Write<'w, 'v> {
    pub(crate) key: &'w str,
    /// The stored object that is replaced.
    pub(crate) old: Option<&'w Stored>,
    /// Its decoded form, in any version.
    pub(crate) old_object: Option<&'w Value<'w>>,
    /// In the version of the request.
    pub(crate) object: Value<'v>,
}

/// Encodes `object` with the version of its write.
pub(crate) fn encode(object: &mut Value<'_>, version: u64, buffer: &mut Vec<u8>) {
    object.set_at(&["metadata", "resourceVersion"], version.to_string());
    object::normalise(object);
    object.write_to(buffer);
}

/// Stores an object; under dry run only pretends to. Returns its bytes in the version of storage.
pub(crate) fn store(call: &Call<'_>, write: Write<'_, '_>) -> Result<Bytes, Status> {
    let Write {
        key,
        old,
        old_object,
        object,
    } = write;
    let storage = &call.resource.storage_api_version;
    if *storage == call.version().api_version {
        return store_converted(call, key, old, old_object, object);
    }
    let bytes = object.to_vec();
    let converted = super::shape::convert(call.server, &call.resource, &bytes, storage)?;
    let tree = json::parse(&converted)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    store_converted(call, key, old, old_object, tree)
}

fn store_converted(
    call: &Call<'_>,
    key: &str,
    old: Option<&Stored>,
    old_object: Option<&Value<'_>>,
    mut object: Value<'_>,
) -> Result<Bytes, Status> {
    if call.options.dry_run {
        let mut buffer = Vec::new();
        match old {
            Some(old) => encode(&mut object, old.version, &mut buffer),
            None => {
                object::normalise(&mut object);
                object.write_to(&mut buffer);
            }
        }
        return Ok(buffer.into());
    }
    let stored = put(
        call.server,
        &call.resource,
        key,
        old,
        old_object,
        &mut object,
    );
    stored
        .map(|stored| stored.bytes)
        .map_err(|Unmet| match old {
            Some(_) => Status::modified(call.group(), call.plural(), object::name(&object)),
            None => Status::already_exists(call.group(), call.plural(), object::name(&object)),
        })
}

/// Stores an object that is in the version of storage, and notes what follows from it.
///
/// # Errors
/// [`Unmet`] when the stored object is another than `old`.
pub(crate) fn put(
    server: &Server,
    resource: &Resource,
    key: &str,
    old: Option<&Stored>,
    old_object: Option<&Value<'_>>,
    object: &mut Value<'_>,
) -> Result<Stored, Unmet> {
    let expect = old.map_or(Expect::Absent, |old| Expect::Version(old.version));
    let stored = server
        .store
        .put(resource.collection, key, expect, &mut |version, buffer| {
            encode(object, version, buffer);
        })?;
    let mut graph = server.graph();
    graph.written(ObjectId::new(resource, key), object, old_object);
    crate::builtin::written(resource, &mut graph, object, old_object);
    Ok(stored)
}

/// Removes an object, whose last state is `object`, and notes what follows from it.
///
/// # Errors
/// [`Unmet`] when the stored object is another than `old`.
pub(crate) fn delete(
    server: &Server,
    resource: &Resource,
    key: &str,
    old: &Stored,
    object: &mut Value<'_>,
) -> Result<Stored, Unmet> {
    let stored = server.store.delete(
        resource.collection,
        key,
        old.version,
        &mut |version, buffer| encode(object, version, buffer),
    )?;
    let mut graph = server.graph();
    graph.removed(&ObjectId::new(resource, key), object);
    crate::builtin::removed(resource, &mut graph, object);
    Ok(stored)
}

/// Removes an object for a client; under dry run only pretends to. `object` is in the version of
/// the request, and so are the bytes that are returned.
pub(crate) fn remove(
    call: &Call<'_>,
    key: &str,
    old: &Stored,
    object: &Value<'_>,
) -> Result<Bytes, Status> {
    let bytes = object.to_vec();
    let converted = super::shape::convert(
        call.server,
        &call.resource,
        &bytes,
        &call.resource.storage_api_version,
    )?;
    let mut tree = json::parse(&converted)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    if call.options.dry_run {
        let mut buffer = Vec::new();
        encode(&mut tree, old.version, &mut buffer);
        return Ok(buffer.into());
    }
    delete(call.server, &call.resource, key, old, &mut tree)
        .map(|stored| stored.bytes)
        .map_err(|Unmet| Status::modified(call.group(), call.plural(), object::name(&tree)))
}

/// The answer that carries one object, given in the version of storage.
pub(crate) fn answer(
    call: &Call<'_>,
    code: u16,
    bytes: Bytes,
    warnings: Vec<String>,
) -> Result<Reply, Status> {
    let mut reply = super::read::object(call, code, bytes)?;
    reply.warnings = warnings;
    Ok(reply)
}
