//! PUT of an object, and what every change of an object shares.

use crate::{
    builtin,
    hooks::Operation,
    json::{self, Object, Value},
    object,
    reply::Reply,
    server::Call,
    status::{Cause, Status},
    storage::Stored,
};

use super::{commit, fields, metadata, shape};

pub(crate) fn put(call: &Call<'_>) -> Result<Reply, Status> {
    let (mut object, duplicates) =
        shape::decode(call.kind(), &call.request.content_type, &call.request.body)?;
    shape::check_type(call, &mut object)?;
    let name = object::name(&object);
    if name.is_empty() {
        return Err(Status::bad_request(
            "the name of the object (based on URL) was undeterminable: name must be provided",
        ));
    }
    if name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    metadata::fit_path(call, &mut object)?;
    let key = call.key();
    let Some(stored) = call.server.store.get(call.resource.collection, &key) else {
        return Err(call.not_found());
    };
    if object::text(&object, "resourceVersion").is_empty() && !call.resource.unconditional_update {
        let cause = Cause::new(
            "FieldValueInvalid",
            "metadata.resourceVersion",
            "Invalid value: 0: must be specified for an update",
        );
        return Err(Status::invalid(
            call.group(),
            call.plural(),
            &call.path.name,
            vec![cause],
        ));
    }
    let warnings = shape::prune_and_default(call, &mut object, &duplicates)?;
    let old = shape::to_version(call, &stored.bytes)?;
    let old = json::parse(&old)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    change(
        call,
        &key,
        &stored,
        &old,
        object,
        warnings,
        fields::Writer::Update,
    )
}

/// Replaces a stored object by `new`, which has been pruned and defaulted. Both are in the version
/// of the request. The path's subresource decides which part of the object may change.
pub(crate) fn change<'v>(
    call: &Call<'_>,
    key: &str,
    stored: &Stored,
    old: &Value<'v>,
    mut new: Value<'v>,
    warnings: Vec<String>,
    writer: fields::Writer,
) -> Result<Reply, Status> {
    preconditions(call, stored, old, &new)?;
    let fixed = metadata::immutable(&new, old);
    keep_identity(old, &mut new);
    let status_only = call.path.subresource == "status";
    keep_part(call, old, &mut new, status_only);
    builtin::prepare_update(call, &mut new, old);
    shape::mutate(call, Operation::Update, &mut new, Some(old))?;
    count_generation(call, old, &mut new);
    let judged = stored.version > call.resource.since;
    shape::validate_with(call, &new, Some(old), fixed, judged)?;
    shape::admit(call, Operation::Update, &new, Some(old))?;
    let mut warnings = warnings;
    warnings.extend(metadata::finalizer_warnings(call, &new, Some(old)));
    fields::track(call, &mut new, Some(old), writer);
    if fields::same(old, &new) {
        return commit::answer(call, 200, stored.bytes.clone(), warnings);
    }
    if object::is_deleting(&new)
        && object::finalizers(&new).next().is_none()
        && !builtin::outlives_finalizers(&call.resource, &new)
    {
        // Watchers see the object as it was; the client gets it as it would have been.
        commit::remove(call, key, stored, old)?;
        return commit::answer(call, 200, new.to_vec().into(), warnings);
    }
    let write = commit::Write {
        key,
        old: Some(stored),
        old_object: Some(old),
        object: new,
    };
    let bytes = commit::store(call, write)?;
    commit::answer(call, 200, bytes, warnings)
}

fn preconditions(
    call: &Call<'_>,
    stored: &Stored,
    old: &Value<'_>,
    new: &Value<'_>,
) -> Result<(), Status> {
    let (uid, current) = (object::uid(new), object::uid(old));
    if call.request.method == http::Method::PUT && !uid.is_empty() && uid != current {
        return Err(Status::conflict(
            call.group(),
            call.plural(),
            &call.path.name,
            format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
            ),
        ));
    }
    let version = object::text(new, "resourceVersion");
    if version.is_empty() || version == "0" {
        return Ok(());
    }
    match version.parse::<u64>() {
        Ok(version) if version == stored.version => Ok(()),
        Ok(_) => Err(Status::modified(
            call.group(),
            call.plural(),
            &call.path.name,
        )),
        Err(_) => Err(Status::invalid(
            call.group(),
            call.kind(),
            &call.path.name,
            vec![Cause::new(
                "FieldValueInvalid",
                "metadata.resourceVersion",
                format!(
                    "Invalid value: \"{version}\": strconv.ParseUint: parsing \"{version}\": invalid syntax"
                ),
            )],
        )),
    }
}

/// Members of metadata that no client changes.
const IDENTITY: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

fn keep_identity<'v>(old: &Value<'v>, new: &mut Value<'v>) {
    let Some(Value::Object(metadata)) = new.get_mut("metadata") else {
        return;
    };
    metadata.remove("selfLink");
    let Some(old) = old.get("metadata").and_then(Value::as_object) else {
        return;
    };
    for field in IDENTITY {
        keep(old, metadata, field);
    }
}

/// With a status subresource, status changes only through it, and everything else only besides it.
/// Members are compared and, only where they differ, copied.
fn keep_part<'v>(call: &Call<'_>, old: &Value<'v>, new: &mut Value<'v>, status_only: bool) {
    if !call.version().status {
        return;
    }
    let (Some(old), Value::Object(new)) = (old.as_object(), new) else {
        return;
    };
    if !status_only {
        return keep(old, new, "status");
    }
    new.retain(|name, _| name == "status" || old.contains_key(name));
    for (name, value) in old.iter() {
        match name {
            "status" => {}
            "metadata" => {
                let (Some(old), Some(Value::Object(metadata))) =
                    (value.as_object(), new.get_mut(name))
                else {
                    continue;
                };
                metadata.retain(|name, _| name == "managedFields" || old.contains_key(name));
                for (name, _) in old.iter().filter(|(name, _)| *name != "managedFields") {
                    keep(old, metadata, name);
                }
            }
            _ => keep(old, new, name),
        }
    }
}

/// Makes a member what it was.
fn keep<'v>(old: &Object<'v>, new: &mut Object<'v>, name: &str) {
    match old.get(name) {
        Some(value) if new.get(name) == Some(value) => {}
        Some(value) => drop(new.insert(name.to_owned(), value.clone())),
        None => drop(new.remove(name)),
    }
}

fn count_generation(call: &Call<'_>, old: &Value<'_>, new: &mut Value<'_>) {
    if !call.resource.generation || call.path.subresource == "status" {
        return;
    }
    if desired_differs(call, old, new) {
        let generation = object::generation(old) + 1;
        new.set_at(&["metadata", "generation"], generation);
    }
}

fn desired_differs(call: &Call<'_>, old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    let counts = |field: &str| field != "metadata" && !(field == "status" && call.version().status);
    old.iter()
        .any(|(field, value)| counts(field) && new.get(field) != Some(value))
        || new
            .keys()
            .any(|field| counts(field) && !old.contains_key(field))
}
